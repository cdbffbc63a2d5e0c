//! One request to the simulated API server, and what it answers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::resource::Resource;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    #[default]
    Get,
    /// Read many.
    List,
    /// Make a new one.
    Create,
    /// Replace one (PUT).
    Update,
    /// Change one.
    Patch,
    /// Remove one.
    Delete,
    /// Remove many.
    DeleteCollection,
}

impl Verb {
    /// The verb as in Kubernetes' own words (RBAC, audit).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Whether the request can change something.
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// The form of a patch body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7396.
    #[default]
    Merge,
    /// RFC 6902: a list of operations.
    Json,
    /// Kubernetes' own: lists are joined by key. Not for custom resources.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    #[default]
    Background,
    /// They are deleted first; the owner waits with a finalizer.
    Foreground,
    /// They stay, without the owner reference.
    Orphan,
}

/// What to do with fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    #[default]
    Ignore,
    /// Drop them and say so in [`Response::warnings`].
    Warn,
    /// Refuse the request.
    Strict,
}

/// The rest of a request: query parameters and delete options.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Do everything but keep the result.
    pub dry_run: bool,
    /// Who owns the written fields; needed for [`PatchKind::Apply`].
    pub field_manager: String,
    /// Take fields from other managers ([`PatchKind::Apply`] only).
    pub force: bool,
    /// Unknown fields.
    pub field_validation: FieldValidation,
    /// For lists and deletecollection.
    pub label_selector: String,
    /// For lists and deletecollection.
    pub field_selector: String,
    /// For lists: at least this revision (0: any), or exactly it with `exact`.
    pub resource_version: Option<u64>,
    /// Lists: the state at `resource_version`, however long ago.
    pub exact: bool,
    /// Lists: at most so many items; 0 is no limit.
    pub limit: usize,
    /// Lists: where the last page ended.
    pub continue_token: String,
    /// Deletes: dependents. `None` is the kind's default, background, unless a finalizer says otherwise.
    pub propagation: Option<Propagation>,
    /// Deletes of pods: seconds that the kubelet has. `None` is the pod's own.
    pub grace_period_seconds: Option<i64>,
    /// Deletes: only the object with this uid.
    pub precondition_uid: Option<String>,
    /// Deletes: only at this resourceVersion.
    pub precondition_resource_version: Option<String>,
}

/// A request. Build it with the functions below and set the rest.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked for.
    pub verb: Verb,
    /// Of which kind.
    pub resource: Arc<Resource>,
    /// In which namespace; empty for kinds without, and for lists over all.
    pub namespace: String,
    /// Of which object; empty for lists, create and deletecollection.
    pub name: String,
    /// `status`, `scale`, `eviction`, or empty.
    pub subresource: String,
    /// The object or patch.
    pub body: Value,
    /// The form of a patch.
    pub patch: PatchKind,
    /// Query parameters and delete options.
    pub options: Options,
    /// Who asks; ends up in the commit log.
    pub user: String,
}

impl Request {
    fn new(verb: Verb, resource: &Arc<Resource>, namespace: &str, name: &str) -> Self {
        Self {
            verb,
            resource: resource.clone(),
            namespace: if resource.namespaced {
                namespace.to_owned()
            } else {
                String::new()
            },
            name: name.to_owned(),
            subresource: String::new(),
            body: Value::Null,
            patch: PatchKind::default(),
            options: Options::default(),
            user: "admin".to_owned(),
        }
    }

    /// Reads an object.
    pub fn get(resource: &Arc<Resource>, namespace: &str, name: &str) -> Self {
        Self::new(Verb::Get, resource, namespace, name)
    }

    /// Reads all objects of a namespace, or of all if it is empty.
    pub fn list(resource: &Arc<Resource>, namespace: &str) -> Self {
        Self::new(Verb::List, resource, namespace, "")
    }

    /// Makes an object.
    pub fn create(resource: &Arc<Resource>, namespace: &str, body: Value) -> Self {
        Self {
            body,
            ..Self::new(Verb::Create, resource, namespace, "")
        }
    }

    /// Replaces the object that the body names.
    pub fn update(resource: &Arc<Resource>, body: Value) -> Self {
        let meta = |key: &str| crate::store::value::meta(&body, key).to_owned();
        let (namespace, name) = (meta("namespace"), meta("name"));
        Self {
            body,
            ..Self::new(Verb::Update, resource, &namespace, &name)
        }
    }

    /// Changes an object.
    pub fn patch(
        resource: &Arc<Resource>,
        namespace: &str,
        name: &str,
        patch: PatchKind,
        body: Value,
    ) -> Self {
        Self {
            body,
            patch,
            ..Self::new(Verb::Patch, resource, namespace, name)
        }
    }

    /// Removes an object.
    pub fn delete(resource: &Arc<Resource>, namespace: &str, name: &str) -> Self {
        Self::new(Verb::Delete, resource, namespace, name)
    }

    /// Removes the objects of a namespace.
    pub fn delete_collection(resource: &Arc<Resource>, namespace: &str) -> Self {
        Self::new(Verb::DeleteCollection, resource, namespace, "")
    }

    /// The same request to a subresource.
    #[must_use]
    pub fn subresource(self, name: &str) -> Self {
        Self {
            subresource: name.to_owned(),
            ..self
        }
    }

    /// The same request from another user.
    #[must_use]
    pub fn by(self, user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..self
        }
    }

    /// The same request with other options.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }
}

/// What a list found.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// By namespace and name.
    pub items: Vec<Arc<Value>>,
    /// The revision of the state that was listed: where a watch continues.
    pub revision: u64,
    /// Where the next page starts; empty after the last.
    pub continue_token: String,
    /// How many items are left, if more than this page.
    pub remaining: Option<u64>,
}

/// What was found or done.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The object as it now is.
    Object(Arc<Value>),
    /// The object that was made.
    Created(Arc<Value>),
    /// A list.
    List(List),
    /// The object that is gone.
    Deleted(Arc<Value>),
}

/// The answer to a request that was not refused.
#[derive(Clone, Debug)]
pub struct Response {
    /// What was found or done.
    pub outcome: Outcome,
    /// Fields that were dropped ([`FieldValidation::Warn`]).
    pub warnings: Vec<String>,
}

impl Response {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            warnings: Vec::new(),
        }
    }

    /// The object, for any request but a list.
    pub fn object(&self) -> Option<&Arc<Value>> {
        match &self.outcome {
            Outcome::Object(object) | Outcome::Created(object) | Outcome::Deleted(object) => Some(object),
            Outcome::List(_) => None,
        }
    }

    /// The list, for a list request.
    pub fn list(&self) -> Option<&List> {
        match &self.outcome {
            Outcome::List(list) => Some(list),
            _ => None,
        }
    }

    /// The HTTP code.
    pub const fn code(&self) -> u16 {
        match self.outcome {
            Outcome::Created(_) => 201,
            _ => 200,
        }
    }

    /// A list as an object; everything else as it is.
    pub fn to_value(&self, resource: &Resource) -> Value {
        match &self.outcome {
            Outcome::Object(object) | Outcome::Created(object) | Outcome::Deleted(object) => {
                (**object).clone()
            }
            Outcome::List(list) => {
                let items: Vec<Value> = list.items.iter().map(|item| (**item).clone()).collect();
                json!({
                    "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
                    "metadata": list.metadata(), "items": items,
                })
            }
        }
    }
}

impl List {
    /// The list's `metadata`.
    pub fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        let map = crate::store::value::object(&mut metadata);
        if !self.continue_token.is_empty() {
            map.insert("continue".to_owned(), json!(self.continue_token));
        }
        if let Some(remaining) = self.remaining {
            map.insert("remainingItemCount".to_owned(), json!(remaining));
        }
        metadata
    }
}
