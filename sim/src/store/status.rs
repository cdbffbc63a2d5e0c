//! The errors that an API server answers with: `Status` objects with reason, code and the real server's words.

use serde_json::{Value, json};

use crate::store::resource::Resource;

/// Why a request was refused; the closed list of reasons that clients tell apart (metav1.StatusReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// 400: the request itself makes no sense.
    BadRequest,
    /// 401: no user.
    Unauthorized,
    /// 403: not allowed, among others creating in a namespace that is being deleted.
    Forbidden,
    /// 404: no such object or kind.
    NotFound,
    /// 405: the resource does not have that verb.
    MethodNotAllowed,
    /// 409: an object of this name is there already.
    AlreadyExists,
    /// 409: the object changed, or somebody else owns a field.
    Conflict,
    /// 410: that resource version is no longer kept.
    Expired,
    /// 413: larger than the limit.
    RequestEntityTooLarge,
    /// 415: a body of an unknown type.
    UnsupportedMediaType,
    /// 422: the object is not valid.
    Invalid,
    /// 429: try again later.
    TooManyRequests,
    /// 500: the server failed.
    InternalError,
    /// 503: the server is not there.
    ServiceUnavailable,
    /// 504: the server did not answer in time, or does not know that resource version yet.
    Timeout,
}

impl Reason {
    /// The HTTP code.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The word in `status.reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

/// One field's part of an error (metav1.StatusCause).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`…
    pub reason: &'static str,
    /// What is wrong, without the field.
    pub message: String,
    /// The path of the field.
    pub field: String,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// What clients decide on.
    pub reason: Reason,
    /// What people read.
    pub message: String,
    /// What it is about.
    pub details: Box<Details>,
}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object concerned, empty if none.
    pub name: String,
    /// API group of the object concerned.
    pub group: String,
    /// Kind (validation errors) or plural (all others) of the object concerned.
    pub kind: String,
    /// Field by field.
    pub causes: Vec<Cause>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
}

impl Status {
    /// An error that concerns no object.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            details: Box::default(),
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details.group.clone_from(&resource.group);
        self.details.kind.clone_from(&resource.plural);
        name.clone_into(&mut self.details.name);
        self
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// 404 for an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            Reason::NotFound,
            format!("{} \"{name}\" not found", resource.group_resource()),
        )
        .about(resource, name)
    }

    /// 409 for a name that is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            Reason::AlreadyExists,
            format!("{} \"{name}\" already exists", resource.group_resource()),
        )
        .about(resource, name)
    }

    /// 409 with a cause in words.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.group_resource()
        );
        Self::new(Reason::Conflict, message).about(resource, name)
    }

    /// 409 for a write that names a resourceVersion which is no longer the newest.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 403.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        Self::new(
            Reason::Forbidden,
            format!("{}{subject} is forbidden: {why}", resource.group_resource()),
        )
        .about(resource, name)
    }

    /// 405 for a verb that the resource does not have.
    pub fn method_not_allowed(resource: &Resource, verb: &str) -> Self {
        let message = format!(
            "{verb} is not supported on resources of kind \"{}\"",
            resource.group_resource()
        );
        Self::new(Reason::MethodNotAllowed, message).about(resource, "")
    }

    /// 422 with one cause a field.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        let group_kind = resource.group_kind();
        let mut parts: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        parts.dedup();
        let detail = match parts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status = Self::new(
            Reason::Invalid,
            format!("{group_kind} \"{name}\" is invalid: {detail}"),
        );
        status.details.group.clone_from(&resource.group);
        status.details.kind.clone_from(&resource.kind);
        name.clone_into(&mut status.details.name);
        status.details.causes = causes;
        status
    }

    /// 410 for a watch from before the kept history.
    pub fn too_old(asked: u64, forgotten: u64) -> Self {
        Self::new(
            Reason::Expired,
            format!("too old resource version: {asked} ({forgotten})"),
        )
    }

    /// 410 for a list at a revision from before the kept history.
    pub fn list_too_old() -> Self {
        Self::new(
            Reason::Expired,
            "The resourceVersion for the provided list is too old.",
        )
    }

    /// 504 for a revision that is still to come.
    pub fn too_large(asked: u64, current: u64) -> Self {
        let mut status = Self::new(
            Reason::Timeout,
            format!("Too large resource version: {asked}, current: {current}"),
        );
        status.details.retry_after = Some(1);
        status.details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".to_owned(),
            field: String::new(),
        }];
        status
    }

    /// The HTTP code.
    pub const fn code(&self) -> u16 {
        self.reason.code()
    }

    /// The object as it goes over the wire.
    pub fn to_value(&self) -> Value {
        let about = &self.details;
        let mut details = serde_json::Map::new();
        for (key, text) in [
            ("name", &about.name),
            ("group", &about.group),
            ("kind", &about.kind),
        ] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        if !about.causes.is_empty() {
            let causes = about
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}));
            details.insert("causes".to_owned(), causes.collect());
        }
        if let Some(seconds) = about.retry_after {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(), "code": self.code(),
        });
        if let (false, Some(object)) = (details.is_empty(), status.as_object_mut()) {
            object.insert("details".to_owned(), Value::Object(details));
        }
        status
    }
}

/// The validation errors of the real server, in its words (apimachinery's field package).
impl Cause {
    /// A field that must be there.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            reason: "FieldValueRequired",
            message,
            field: field.into(),
        }
    }

    /// A value that is wrong.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {detail}"),
            field: field.into(),
        }
    }

    /// A change that is not allowed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }

    /// A value of the wrong type (schema validation).
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self {
            reason: "FieldValueTypeInvalid",
            message: format!("Invalid value: {value}: {detail}"),
            field: field.into(),
        }
    }

    /// A value outside a closed list.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[Value]) -> Self {
        let list = supported
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Unsupported value: {value}: supported values: {list}");
        Self {
            reason: "FieldValueNotSupported",
            message,
            field: field.into(),
        }
    }

    /// Something said twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}"),
            field: field.into(),
        }
    }

    /// Longer than the limit.
    pub fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self {
            reason: "FieldValueTooLong",
            message,
            field: field.into(),
        }
    }
}
