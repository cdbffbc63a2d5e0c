//! What the controller asks of the API server, as data: the shell sends it, the simulator answers it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::SignedDuration;
use serde_json::Value;
use tidegate_traffic::RouteKind;

/// A kind of object, as the API server names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Kind, as in objects.
    pub kind: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $group:literal $version:literal $plural:literal $kind:literal $namespaced:literal;)*) => {
        $(
            $(#[$doc])*
            pub static $name: Resource = Resource {
                group: $group,
                version: $version,
                plural: $plural,
                kind: $kind,
                namespaced: $namespaced,
            };
        )*
        /// Every kind of object that the controller touches, beside route objects.
        pub static RESOURCES: &[&Resource] = &[$(&$name),*];
    };
}

resources! {
    /// Rollouts.
    ROLLOUTS = "argoproj.io" "v1alpha1" "rollouts" "Rollout" true;
    /// Analysis runs.
    ANALYSIS_RUNS = "argoproj.io" "v1alpha1" "analysisruns" "AnalysisRun" true;
    /// Analysis templates.
    ANALYSIS_TEMPLATES = "argoproj.io" "v1alpha1" "analysistemplates" "AnalysisTemplate" true;
    /// Cluster-scoped analysis templates.
    CLUSTER_ANALYSIS_TEMPLATES = "argoproj.io" "v1alpha1" "clusteranalysistemplates" "ClusterAnalysisTemplate" false;
    /// ReplicaSets.
    REPLICA_SETS = "apps" "v1" "replicasets" "ReplicaSet" true;
    /// Deployments, for `spec.workloadRef`.
    DEPLOYMENTS = "apps" "v1" "deployments" "Deployment" true;
    /// Pod templates, for `spec.workloadRef`.
    POD_TEMPLATES = "" "v1" "podtemplates" "PodTemplate" true;
    /// Pods, for restarts and ephemeral metadata.
    PODS = "" "v1" "pods" "Pod" true;
    /// Services.
    SERVICES = "" "v1" "services" "Service" true;
    /// Events.
    EVENTS = "" "v1" "events" "Event" true;
    /// Leases, for leader election.
    LEASES = "coordination.k8s.io" "v1" "leases" "Lease" true;
    /// Jobs, for the job metric provider.
    JOBS = "batch" "v1" "jobs" "Job" true;
    /// Secrets, for arguments of analysis runs and for repositories.
    SECRETS = "" "v1" "secrets" "Secret" true;
    /// Service accounts, which commits are applied as.
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts" "ServiceAccount" true;
    /// Deliveries.
    DELIVERIES = "tidegate.io" "v1alpha1" "deliveries" "Delivery" true;
}

/// Kinds of route objects.
static ROUTES: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let routes = tidegate_traffic::kinds().map(|kind| Resource {
        group: kind.group,
        version: kind.version,
        plural: kind.plural,
        kind: kind.kind,
        namespaced: true,
    });
    routes.collect()
});

/// Every kind of object that the controller touches.
pub fn resources() -> impl Iterator<Item = &'static Resource> {
    RESOURCES.iter().copied().chain(ROUTES.iter())
}

/// Kinds that only discovery knows, each once: what a cluster serves is bounded, and so is what is kept here.
static DISCOVERED: Mutex<BTreeSet<&'static Resource>> = Mutex::new(BTreeSet::new());

impl Resource {
    /// The resource of a kind of route object.
    #[expect(
        clippy::expect_used,
        reason = "all kinds come from the one list that this is made of"
    )]
    pub fn of_route(kind: &RouteKind) -> &'static Self {
        let is = |known: &&'static Self| {
            (known.group, known.version, known.plural) == (kind.group, kind.version, kind.plural)
        };
        ROUTES
            .iter()
            .find(is)
            .expect("invariant: every kind of route object is listed")
    }

    /// The kind of that description, for as long as the process runs.
    pub fn discovered(api_version: &str, plural: &str, kind: &str, namespaced: bool) -> &'static Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is = |known: &&'static Self| {
            (
                known.group,
                known.version,
                known.plural,
                known.kind,
                known.namespaced,
            ) == (group, version, plural, kind, namespaced)
        };
        if let Some(known) = resources().find(is) {
            return known;
        }
        let mut discovered = DISCOVERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = discovered.iter().copied().find(is) {
            return known;
        }
        let text = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let resource: &'static Self = Box::leak(Box::new(Self {
            group: text(group),
            version: text(version),
            plural: text(plural),
            kind: text(kind),
            namespaced,
        }));
        discovered.insert(resource);
        resource
    }

    /// `apiVersion` of its objects: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path of the collection: of one namespace, or of all when `namespace` is empty.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            "/api".to_owned()
        } else {
            format!("/apis/{}", self.group)
        };
        let within = if self.namespaced && !namespace.is_empty() {
            format!("/namespaces/{namespace}")
        } else {
            String::new()
        };
        // What a version serves has no name of its own.
        let plural = if self.plural.is_empty() {
            String::new()
        } else {
            format!("/{}", self.plural)
        };
        format!("{root}/{}{within}{plural}", self.version)
    }
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `POST` of the collection, or of a subresource such as `eviction`.
    Create,
    /// `PUT`.
    Replace,
    /// `PATCH` with `application/merge-patch+json`.
    MergePatch,
    /// `PATCH` with `application/json-patch+json`.
    JsonPatch,
    /// `PATCH` with `application/apply-patch+yaml`, as the field manager `tidegate`, by force.
    Apply,
    /// `DELETE`; the body is `DeleteOptions`.
    Delete,
    /// `GET` of one object.
    Get,
    /// `GET` of the collection; [`Request::selector`] may narrow it.
    List,
}

impl Verb {
    /// The verb as RBAC and upstream's request metric say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "update",
            Self::MergePatch | Self::JsonPatch | Self::Apply => "patch",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::List => "list",
        }
    }

    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// One request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is done.
    pub verb: Verb,
    /// To which kind of object.
    pub resource: &'static Resource,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name; empty for [`Verb::List`] and for [`Verb::Create`] of a whole object.
    pub name: String,
    /// `status` or `eviction`.
    pub subresource: Option<&'static str>,
    /// Label selector, for [`Verb::List`].
    pub selector: String,
    /// Object, patch or options; `Null` when there is none.
    pub body: Value,
    /// Do everything but keep the result.
    pub dry_run: bool,
    /// The service account that it is done as, by impersonation: `NAMESPACE:NAME`.
    pub service_account: Option<String>,
}

impl Request {
    /// A request about one object.
    pub fn new(verb: Verb, resource: &'static Resource, namespace: &str, name: &str, body: Value) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: None,
            selector: String::new(),
            body,
            dry_run: false,
            service_account: None,
        }
    }

    /// Creates an object.
    pub fn create(resource: &'static Resource, namespace: &str, body: Value) -> Self {
        Self::new(Verb::Create, resource, namespace, "", body)
    }

    /// Reads an object.
    pub fn get(resource: &'static Resource, namespace: &str, name: &str) -> Self {
        Self::new(Verb::Get, resource, namespace, name, Value::Null)
    }

    /// What an API version serves.
    pub fn discover(api_version: &str) -> Self {
        Self::get(
            Resource::discovered(api_version, "", "APIResourceList", false),
            "",
            "",
        )
    }

    /// Whether it changes something that is kept.
    pub fn writes(&self) -> bool {
        self.verb.writes() && !self.dry_run
    }

    /// The same on a subresource.
    #[must_use]
    pub fn on(mut self, subresource: &'static str) -> Self {
        self.subresource = Some(subresource);
        self
    }

    /// Path of what is asked for, without the query.
    pub fn path(&self) -> String {
        let mut path = self.resource.path(&self.namespace);
        if !self.name.is_empty() {
            path.push('/');
            path.push_str(&self.name);
        }
        if let Some(subresource) = self.subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() {
            self.body
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
        } else {
            &self.name
        };
        write!(f, "{} {}", self.verb.as_str(), self.resource.plural)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        write!(f, " {}/{name}", self.namespace)
    }
}

/// Why a request failed: what the API server answered, or why there was no answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code}, reason {reason})")]
pub struct Failure {
    /// HTTP status; 0 when there was no answer.
    pub code: u16,
    /// `reason` of the `Status` object: `Conflict`, `AlreadyExists`, `Timeout`.
    pub reason: String,
    /// `message` of the `Status` object.
    pub message: String,
    /// How long the server asks us to wait (`Retry-After`).
    pub retry_after: Option<SignedDuration>,
}

/// What the API server says of a JSON patch that does not apply.
const PATCH_FAILED: &str = "the server rejected our request due to an error in our request";

impl Failure {
    /// A failure with the given code, reason and message.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// No answer: the write may or may not have happened.
    pub fn no_answer(message: impl Into<String>) -> Self {
        Self::new(0, "NoAnswer", message)
    }

    /// Somebody else wrote the object first, or a guarded value was not as expected: look again.
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason != "AlreadyExists"
    }

    /// A JSON patch whose `test` did not hold is answered by 422 `Invalid`, as is an object that is not valid, or that a policy
    /// does not want. Only this one has these words, which name nothing.
    pub fn is_test_failed(&self) -> bool {
        self.code == 422 && self.message.starts_with(PATCH_FAILED)
    }

    /// The API server understood the request and does not take it: validation, a quota, admission or a missing right stand
    /// against it, and trying again at once would not help.
    pub fn is_refusal(&self) -> bool {
        match self.code {
            400 | 403 | 405 | 413 | 415 => true,
            422 => !self.is_test_failed(),
            // What a webhook that cannot be reached decides on: nobody else's writes are concerned.
            500 => self.message.contains("failed calling webhook"),
            _ => false,
        }
    }

    /// The API server, or something that it asks, broke on the request: that may be over in a moment, or last as long as the object is as
    /// it is.
    pub fn is_trouble(&self) -> bool {
        self.code == 500 && !self.is_refusal()
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// An object of that name exists already.
    pub fn already_exists(&self) -> bool {
        self.code == 409 && self.reason == "AlreadyExists"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_refuses_is_told_from_lost_races_and_from_trouble() {
        let lost = "the server rejected our request due to an error in our request";
        let invalid = "ReplicaSet.apps \"web\" is invalid: metadata.name: Invalid value";
        let policy = "ingresses.networking.k8s.io \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' \
            denied request: no";
        let denied = "admission webhook \"w\" denied the request: no";
        let down = "Internal error occurred: failed calling webhook \"w\": connection refused";
        for (code, message, refused) in [
            (422, lost, false),
            (422, invalid, true),
            (422, denied, true),
            (422, policy, true),
            (400, denied, true),
            (403, "exceeded quota: small", true),
            (500, down, true),
            (500, "etcdserver: leader changed", false),
            (404, "not found", false),
            (409, "the object has been modified", false),
            (429, "too many requests", false),
            (0, "no answer", false),
        ] {
            assert_eq!(
                Failure::new(code, "", message).is_refusal(),
                refused,
                "{code} {message}"
            );
        }
    }
}
