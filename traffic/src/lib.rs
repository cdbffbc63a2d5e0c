//! Traffic routers as pure functions: intended traffic and live objects in, writes out; live objects in, "what is it now"
//! out. One module for each data plane, and one row for each in [`PLANES`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tidegate_crds::{Rollout, RolloutTrafficRouting, SetHeaderRoute};

pub mod nginx;
mod object;
mod share;
pub mod smi;
pub mod traefik;

pub use share::{Seen, Share, WeightState};

/// All data planes that there is a router for, in the fixed order in which they are driven (contract F48).
pub static PLANES: [&Plane; 3] = [&nginx::PLANE, &smi::PLANE, &traefik::PLANE];

/// A data plane, whatever a Rollout says of it.
#[derive(Debug)]
pub struct Plane {
    /// Name as in `status` and metrics: `Nginx`.
    pub id: &'static str,
    /// The field of `trafficRouting` that chooses it.
    pub field: &'static str,
    /// Kinds of its route objects, in all versions that are spoken, the default first.
    pub kinds: &'static [&'static RouteKind],
    /// What it is able to do.
    pub can: Can,
    router: MakeRouter,
}

type MakeRouter = for<'a> fn(
    &'a RolloutTrafficRouting,
    Subject<'a>,
    &'static RouteKind,
) -> Option<Box<dyn TrafficRouter + 'a>>;

/// What a data plane is able to do, beside weights.
#[derive(Clone, Copy, Debug)]
pub struct Can {
    /// Lead requests with a header to the canary (`setHeaderRoute`).
    pub headers: bool,
    /// Send copies of requests to the canary (`setMirrorRoute`).
    pub mirrors: bool,
    /// Have weights add up to something else than 100, by itself (`maxTrafficWeight`). Beside one that can, all do.
    pub total: bool,
    /// Give shares to Services beside the canary's and stable's, such as those of an experiment.
    pub additional: bool,
}

/// A kind of route object, as the API server names it. Its objects live in namespaces.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKind {
    /// API group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Kind, as in objects.
    pub kind: &'static str,
    /// Whether every cluster serves it. Others are only watched while a Rollout needs them, or may have left one behind.
    pub everywhere: bool,
    /// Whether the router makes objects of it: one may be left behind, by a Rollout that does not name it any more.
    pub made: bool,
    /// Names of the annotations, below whatever prefix, that decide where requests go, beside the spec. All others may change at any
    /// time, by whatever tool, and nothing moves.
    pub routes_by: &'static [&'static str],
}

impl RouteKind {
    /// Whether an annotation of one of its objects decides where requests go.
    pub fn routes_by(&self, annotation: &str) -> bool {
        let name = annotation.rsplit_once('/').map_or(annotation, |(_, name)| name);
        self.routes_by.contains(&name)
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

impl fmt::Debug for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)
    }
}

/// All kinds of route objects, in all versions.
pub fn kinds() -> impl Iterator<Item = &'static RouteKind> {
    PLANES.iter().flat_map(|plane| plane.kinds.iter().copied())
}

/// The versions of route objects that are spoken, where it is not the default one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialect(Vec<&'static RouteKind>);

impl Dialect {
    /// The same, with another version of one kind.
    #[must_use]
    pub fn with(mut self, kind: &'static RouteKind) -> Self {
        self.0.push(kind);
        self
    }

    /// The kind of each data plane, in the version that is spoken.
    pub fn kinds(&self) -> impl Iterator<Item = &'static RouteKind> {
        PLANES.iter().filter_map(|plane| self.of(plane))
    }

    fn of(&self, plane: &Plane) -> Option<&'static RouteKind> {
        let chosen = self.0.iter().rev().find(|chosen| plane.kinds.contains(chosen));
        chosen.or(plane.kinds.first()).copied()
    }
}

/// A route object: keys live objects and writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: &'static RouteKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// An object of a kind.
    pub fn new(kind: &'static RouteKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteKind { group, plural, .. } = self.kind;
        write!(f, "{plural}.{group}/{}/{}", self.namespace, self.name)
    }
}

/// Live route objects; an object that is missing here does not exist.
pub type LiveObjects = BTreeMap<ObjectRef, Arc<Value>>;

/// What is known of route objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// Those that are there.
    pub live: LiveObjects,
    /// Kinds of which nothing is known, because the API server does not show them, with the reason.
    pub unserved: BTreeMap<&'static RouteKind, String>,
    /// The versions that are spoken.
    pub dialect: Dialect,
}

/// Whose traffic it is, and where it may go: what is read of live objects and what is written to them is about the same Services. Only
/// here is said which Service is whose, so two that change places with a promotion (`pingPong`, refused today) are no matter of routers.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
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
    /// Services that get shares beside the two, where the data plane can ([`Can::additional`]): experiments have such, which
    /// validation refuses, so [`routers`] knows none. One that shall get nothing any more is named until its weight is 0.
    pub additional_services: &'a [&'a str],
}

impl<'a> Subject<'a> {
    /// The Services that get shares, in upstream's order: the canary's, additional ones, stable's.
    pub fn services(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let additional = self.additional_services.iter().copied();
        std::iter::once(self.canary_service)
            .chain(additional)
            .chain([self.stable_service])
    }
}

/// A Service, and what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Its name.
    pub service: &'a str,
    /// Its share.
    pub weight: i32,
}

/// The traffic that shall flow.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficIntent {
    /// Share of the canary, out of [`TrafficIntent::whole`].
    pub weight: i32,
    /// Shares of [`Subject::additional_services`]; one that is not here gets nothing.
    pub additional: BTreeMap<String, i32>,
    /// What weights add up to, if the Rollout says so (`maxTrafficWeight`); 100 otherwise.
    pub total: Option<i32>,
    /// Header routes that are in force, by the order of `managedRoutes`.
    pub headers: Vec<HeaderRoute>,
}

impl TrafficIntent {
    /// What weights add up to.
    pub fn whole(&self) -> i32 {
        self.total.unwrap_or(100)
    }

    /// What each of [`Subject::services`] gets, in that order. Stable has what the others leave.
    pub fn destinations<'a>(&self, subject: &Subject<'a>) -> Vec<Destination<'a>> {
        let others = subject.additional_services.iter().map(|service| Destination {
            service,
            weight: self.additional.get(*service).copied().unwrap_or(0),
        });
        let mut all = vec![Destination {
            service: subject.canary_service,
            weight: self.weight,
        }];
        all.extend(others);
        let given: i32 = all.iter().map(|destination| destination.weight).sum();
        all.push(Destination {
            service: subject.stable_service,
            weight: (self.whole() - given).max(0),
        });
        all
    }
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

/// A guarded write of a route object.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteWrite {
    /// Which object.
    pub object: ObjectRef,
    /// What to do.
    pub op: RouteOp,
    /// The event that tells of it, if one does.
    pub event: Option<Words>,
}

/// Reason and message of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
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
    /// Changes the weight and what it is a part of, and nothing else, guarded by what it replaces: the smallest request that there is, so that nothing
    /// else can have it refused.
    SetWeight {
        /// uid it must still have.
        uid: String,
        /// resourceVersion as observed; no guard, but it tells this change from a later one.
        resource_version: String,
        /// The JSON patch, with tests of what it replaces, without that of the uid.
        operations: Vec<Value>,
        /// The canary's weight that it replaces, in the total of the intent.
        from: i32,
        /// The canary's weight that it sets.
        to: i32,
    },
    /// Deletes it.
    Delete {
        /// uid it must still have.
        uid: String,
    },
}

impl RouteOp {
    /// Whether it only gives the canary more.
    pub fn raises(&self) -> bool {
        matches!(self, Self::SetWeight { from, to, .. } if to > from)
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
    /// A route object is not such that it could be set, in the router's words.
    #[error("{0}")]
    Unfit(String),
}

/// What is wrong with what a Rollout says of a data plane, or with the objects that it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The field, below what was checked: `nginx.stableIngresses[0]`.
    pub path: String,
    /// The field as upstream writes it, where that is not `path`.
    pub said: Option<String>,
    /// What sort of wrong it is.
    pub wrong: Wrong,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// The sorts of wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    /// The value names an object that is not there. Where it is a list of names it is one value for all that are missing.
    Missing(Arc<Value>),
    /// The value is wrong, or names an object that is.
    Invalid(Value),
    /// The value is right elsewhere.
    Unsupported(Value),
    /// Fields contradict each other.
    Contradiction,
}

/// A data plane, as one Rollout uses it.
pub trait TrafficRouter {
    /// Which it is.
    fn plane(&self) -> &'static Plane;
    /// The kind of its objects, in the version that is spoken.
    fn kind(&self) -> &'static RouteKind;
    /// Objects that the Rollout names and that the router reads or writes.
    fn objects(&self) -> Vec<ObjectRef>;
    /// What is wrong with its part of the spec, by itself. Paths are below `trafficRouting`.
    fn check_spec(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// What is wrong with a header route, after those of earlier steps. Paths are below `setHeaderRoute`.
    fn check_header_route(&self, _route: &SetHeaderRoute, _earlier: &[&SetHeaderRoute]) -> Vec<Problem> {
        Vec::new()
    }
    /// What is wrong with the objects that it names. Paths are below `trafficRouting`.
    fn check_objects(&self, live: &LiveObjects) -> Vec<Problem>;
    /// Writes that bring the live objects to the intended traffic; empty when it is so already.
    fn render(&self, intent: &TrafficIntent, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError>;
    /// What the live objects say now.
    fn observe(&self, live: &LiveObjects) -> Seen;
    /// Whether the spec leads requests to the canary by what they carry for good, beside routes that steps set and take away.
    fn always_matches(&self) -> bool {
        false
    }
}

/// The routers that a Rollout configures, in the fixed order in which they are driven (contract F48).
pub fn routers<'a>(rollout: &'a Rollout, dialect: &Dialect) -> Vec<Box<dyn TrafficRouter + 'a>> {
    let strategy = rollout.spec.strategy.as_ref();
    let Some(canary) = strategy.and_then(|strategy| strategy.canary.as_ref()) else {
        return Vec::new();
    };
    let Some(routing) = &canary.traffic_routing else {
        return Vec::new();
    };
    let subject = Subject {
        rollout: &rollout.metadata.name,
        uid: &rollout.metadata.uid,
        namespace: &rollout.metadata.namespace,
        stable_service: canary.stable_service.as_deref().unwrap_or_default(),
        canary_service: canary.canary_service.as_deref().unwrap_or_default(),
        additional_services: &[],
    };
    routers_of(routing, subject, dialect)
}

/// The same, for traffic that goes where `subject` says.
pub fn routers_of<'a>(
    routing: &'a RolloutTrafficRouting,
    subject: Subject<'a>,
    dialect: &Dialect,
) -> Vec<Box<dyn TrafficRouter + 'a>> {
    let routers = PLANES
        .iter()
        .filter_map(|plane| (plane.router)(routing, subject, dialect.of(plane)?));
    routers.collect()
}

/// Deletes route objects that the Rollout controls and that none of its routers wants: left behind by a change of the spec.
pub fn leftovers(routers: &[Box<dyn TrafficRouter + '_>], uid: &str, live: &LiveObjects) -> Vec<RouteWrite> {
    let wanted: Vec<ObjectRef> = routers.iter().flat_map(|router| router.objects()).collect();
    live.iter()
        .filter(|(key, object)| object::controlled_by(object, uid) && !wanted.contains(key))
        .map(|(key, object)| RouteWrite {
            object: key.clone(),
            op: RouteOp::Delete {
                uid: object::text(object, "/metadata/uid").to_owned(),
            },
            event: None,
        })
        .collect()
}
