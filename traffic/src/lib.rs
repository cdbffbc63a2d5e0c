//! Traffic routers as pure functions: intended traffic and live objects in, writes out; live objects in, "what is it now"
//! out. One module for each data plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_crds::RolloutTrafficRouting;

pub mod nginx;

/// The traffic that shall flow, for one Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficIntent<'a> {
    /// Name of the Rollout.
    pub rollout: &'a str,
    /// Its uid, for owner references.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Service that selects the stable version.
    pub stable_service: &'a str,
    /// Service that selects the canary version.
    pub canary_service: &'a str,
    /// Share of the canary, out of [`TrafficIntent::total`].
    pub weight: i32,
    /// What weights add up to, if the Rollout says so (`maxTrafficWeight`); 100 otherwise.
    pub total: Option<i32>,
    /// Header routes that are in force, by the order of `managedRoutes`.
    pub headers: Vec<HeaderRoute>,
}

/// Requests with a header go to the canary, whatever the weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRoute {
    /// Name of the route, one of `managedRoutes`.
    pub name: String,
    /// Name of the header.
    pub header: String,
    /// What its value must be.
    pub value: HeaderValue,
}

/// How a header's value is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Equal.
    Exact(String),
    /// Matches a regular expression.
    Regex(String),
}

/// Live route objects by name; an object that is missing here does not exist.
pub type LiveObjects = BTreeMap<String, Arc<Value>>;

/// A guarded write of a route object.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteWrite {
    /// Which kind of object.
    pub kind: RouteKind,
    /// Its name.
    pub name: String,
    /// What to do.
    pub op: RouteOp,
}

/// Kinds of route objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
}

/// What a write of a route object does.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteOp {
    /// Creates it whole.
    Create(Value),
    /// Changes it by a merge patch.
    Patch {
        /// uid it must still have.
        uid: String,
        /// resourceVersion it must still have.
        resource_version: String,
        /// The patch, without the guard.
        patch: Value,
    },
    /// Changes the weight and nothing else, guarded by the weight that it replaces: the smallest request that there is, so that
    /// nothing else can have it refused.
    SetWeight {
        /// uid it must still have.
        uid: String,
        /// resourceVersion as observed; no guard, but it tells this change from a later one.
        resource_version: String,
        /// The annotation that holds the weight.
        annotation: String,
        /// The weight that it replaces.
        from: i32,
        /// The weight to set.
        to: i32,
    },
    /// Deletes it.
    Delete {
        /// uid it must still have.
        uid: String,
    },
}

/// What live objects say about the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightState {
    /// There is no canary route yet: no traffic goes to the canary by weight.
    Absent,
    /// Every route gives the canary this share.
    Set(i32),
    /// Routes disagree (between two writes): the largest share given.
    Mixed(i32),
}

impl WeightState {
    /// The share that the canary may be getting at most.
    pub fn at_most(&self) -> i32 {
        match self {
            Self::Absent => 0,
            Self::Set(w) | Self::Mixed(w) => *w,
        }
    }
}

/// Why a router cannot render the intended traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// A route object that the Rollout names is not there.
    #[error("{kind} `{name}` not found: create it or correct trafficRouting")]
    Missing {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// No rule of the Ingress uses the stable Service (contract 3.14).
    #[error("ingress `{ingress}` has no rules using service {service} backend")]
    NoBackend {
        /// The Ingress.
        ingress: String,
        /// The stable Service.
        service: String,
    },
    /// The canary object belongs to somebody else.
    #[error("canary ingress `{0}` is controlled by different object")]
    Foreign(String),
}

/// A data plane.
pub trait TrafficRouter {
    /// Name as in `status` and metrics: `Nginx`.
    fn id(&self) -> &'static str;
    /// Objects that the Rollout names and that the router reads or writes.
    fn wants(&self, rollout: &str) -> Vec<(RouteKind, String)>;
    /// Writes that bring the live objects to the intended traffic; empty when it is so already.
    fn render(&self, intent: &TrafficIntent<'_>, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError>;
    /// What the live objects say now.
    fn observe(&self, rollout: &str, uid: &str, live: &LiveObjects) -> WeightState;
    /// Whether a live route leads requests to the canary by what they carry, such as a header, whatever its weight is.
    fn matches(&self, rollout: &str, uid: &str, live: &LiveObjects) -> bool;
    /// Whether the spec gives the canary such a route for good, beside those that steps set and take away.
    fn always_matches(&self) -> bool;
}

/// The routers that a spec configures, in the fixed order in which they are driven (contract F48).
pub fn routers(routing: &RolloutTrafficRouting) -> Vec<Box<dyn TrafficRouter + '_>> {
    let mut all: Vec<Box<dyn TrafficRouter + '_>> = Vec::new();
    if let Some(spec) = &routing.nginx {
        all.push(Box::new(nginx::Nginx { spec }));
    }
    all
}
