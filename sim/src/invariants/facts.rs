//! What is stored, and what it means for one Rollout.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::merge;

use crate::actors::{condition, controller_of, kind_of, text, uid_of};
use crate::planes::{Given, PLANES};
use crate::process::Known;
use crate::store::Commit;

/// The label of a version.
pub const HASH: &str = "rollouts-pod-template-hash";

/// Kind, namespace, name.
#[derive(Clone, Debug)]
pub(super) struct Id {
    kind: &'static str,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Id {
    /// Whether a state of this object has been heard of.
    pub(super) fn is_known(&self, known: &Known, revision: u64) -> bool {
        known.has(self.kind, &self.namespace, &self.name, revision)
    }
}

/// Kinds of objects that the invariants depend on.
const KINDS: [&str; 9] = [
    "Rollout",
    "ReplicaSet",
    "Pod",
    "Service",
    "Ingress",
    "AnalysisRun",
    "AnalysisTemplate",
    "Deployment",
    "Job",
];

/// The object of a commit; `None` if the invariants do not depend on objects of its kind.
pub(super) fn id_of(commit: &Commit) -> Option<Id> {
    let mut kinds = KINDS.into_iter().chain(PLANES.iter().map(|plane| plane.kind));
    let kind = kinds.find(|kind| *kind == kind_of(commit))?;
    Some(Id {
        kind,
        namespace: commit.namespace.as_str().into(),
        name: commit.name.as_str().into(),
    })
}

/// All objects that matter, by kind, namespace and name. A copy shares what is not changed in it: the search for who is
/// guilty makes many.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    objects: BTreeMap<&'static str, BTreeMap<Arc<str>, Arc<Objects>>>,
}

type Objects = BTreeMap<Arc<str>, Arc<Value>>;

impl Picture {
    /// Puts an object in its place, or takes it away; answers what was there.
    pub(super) fn set(&mut self, id: &Id, object: Option<Arc<Value>>) -> Option<Arc<Value>> {
        let namespaces = self.objects.entry(id.kind).or_default();
        let objects = Arc::make_mut(namespaces.entry(id.namespace.clone()).or_default());
        match object {
            Some(object) => objects.insert(id.name.clone(), object),
            None => objects.remove(&id.name),
        }
    }

    /// Puts a commit on top of another state, and answers what was there: of an object that was there only what the commit changed.
    /// The rest is the other state's, be it counters or what another leader wrote.
    pub(super) fn apply(&mut self, id: &Id, commit: &Commit) -> Option<Arc<Value>> {
        let here = self.get(id.kind, &id.namespace, &id.name).cloned();
        let mut object = commit.after.clone();
        if let (Some(before), Some(after), Some(here)) = (&commit.before, &commit.after, here)
            && here != *before
        {
            let mut mixed = (*here).clone();
            if let Some(change) = merge::difference(before, after) {
                json_patch::merge(&mut mixed, &change);
            }
            object = Some(Arc::new(mixed));
        }
        self.set(id, object)
    }

    /// One object.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(kind)?.get(namespace)?.get(name)
    }

    /// All objects of a kind in a namespace.
    pub fn all(&self, kind: &str, namespace: &str) -> impl Iterator<Item = &Arc<Value>> + use<'_> {
        let objects = self.objects.get(kind).and_then(|kind| kind.get(namespace));
        objects.into_iter().flat_map(|objects| objects.values())
    }

    /// Names of the Rollouts of a namespace.
    pub fn rollouts(&self, namespace: &str) -> Vec<String> {
        self.all("Rollout", namespace)
            .map(|o| text(&o["metadata"]["name"]).to_owned())
            .collect()
    }
}

/// One version: a ReplicaSet.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// Name of the ReplicaSet.
    pub name: String,
    /// `spec.replicas`.
    pub wanted: i64,
    /// `status.availableReplicas`.
    pub available: i64,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// When it was created.
    pub created: String,
    /// `rollout.argoproj.io/revision`.
    pub revision: i64,
}

/// How a Rollout updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By replica counts.
    Canary,
    /// By traffic routing.
    RoutedCanary,
    /// By switching Services.
    BlueGreen,
    /// Nothing valid.
    None,
}

/// What is so of one Rollout and around it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub rollout: Arc<Value>,
    /// `spec.replicas`.
    pub replicas: i64,
    /// How it updates.
    pub strategy: Strategy,
    /// Versions by hash.
    pub versions: BTreeMap<String, Version>,
    /// Largest share of requests by hash when routes and selectors are composed; only versions that get some.
    pub shares: BTreeMap<String, f64>,
    /// Which hash each Service with users selects, when it selects one.
    pub selected: BTreeMap<String, String>,
    /// Weight of the canary, the largest of all routes.
    pub weight: i64,
    /// What weights add up to.
    pub total: i64,
    /// A route leads requests with some header to the canary, whatever the weight.
    pub matched: bool,
}

impl Facts {
    /// Reads them from a picture; `None` when there is no such Rollout.
    pub fn of(picture: &Picture, namespace: &str, name: &str) -> Option<Self> {
        let rollout = picture.get("Rollout", namespace, name)?.clone();
        let uid = uid_of(&rollout).to_owned();
        let mut versions = BTreeMap::new();
        for set in picture.all("ReplicaSet", namespace) {
            if controller_of(set).is_some_and(|owner| owner["uid"] == *uid) {
                versions.insert(text(&set["metadata"]["labels"][HASH]).to_owned(), version(set));
            }
        }
        let canary = &rollout["spec"]["strategy"]["canary"];
        let blue_green = &rollout["spec"]["strategy"]["blueGreen"];
        let nginx = &canary["trafficRouting"]["nginx"];
        let others = PLANES.iter().any(|plane| plane.is_used(&rollout));
        let strategy = match (canary.is_object(), blue_green.is_object()) {
            (true, false) if nginx.is_object() || others => Strategy::RoutedCanary,
            (true, false) => Strategy::Canary,
            (false, true) => Strategy::BlueGreen,
            _ => Strategy::None,
        };
        let mut facts = Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas: rollout["spec"]["replicas"].as_i64().unwrap_or(1),
            strategy,
            versions,
            shares: BTreeMap::new(),
            selected: BTreeMap::new(),
            weight: 0,
            total: canary["trafficRouting"]["maxTrafficWeight"]
                .as_i64()
                .filter(|t| *t > 0)
                .unwrap_or(100),
            matched: false,
            rollout,
        };
        facts.compose(picture);
        Some(facts)
    }

    fn compose(&mut self, picture: &Picture) {
        let rollout = Arc::clone(&self.rollout);
        let canary = &rollout["spec"]["strategy"]["canary"];
        let (stable_service, canary_service) =
            (text(&canary["stableService"]), text(&canary["canaryService"]));
        match self.strategy {
            Strategy::BlueGreen => {
                let active = text(&rollout["spec"]["strategy"]["blueGreen"]["activeService"]);
                self.send(picture, active, 1.0);
                self.select(picture, active);
            }
            Strategy::RoutedCanary => {
                let routes = self.stable_ingresses();
                let weights = routes.iter().map(|name| self.weight_of(picture, name));
                let weights: Vec<Given> = weights.chain(self.given_by_others(picture)).collect();
                // In parts of the total that the spec asks for; in doubt more.
                let most = |(weight, of): &Given| (weight * self.total + of - 1) / of;
                let highest = weights.iter().map(most).max().unwrap_or(0);
                // Between two writes one route sends more to the one version, another one to the other.
                let least = weights.iter().map(|(weight, of)| weight * self.total / of).min();
                let least = least.unwrap_or(0);
                self.weight = highest;
                let share = self.weight as f64 / self.total as f64;
                self.send(picture, stable_service, 1.0 - least as f64 / self.total as f64);
                self.select(picture, stable_service);
                self.matched = routes.iter().any(|name| self.matches(picture, name));
                if share > 0.0 {
                    self.send(picture, canary_service, share);
                }
                if share > 0.0 || self.matched {
                    self.select(picture, canary_service);
                }
            }
            Strategy::Canary => {
                self.select(picture, stable_service);
                self.select(picture, canary_service);
            }
            Strategy::None => {}
        }
        // Both sides may be the same version.
        for share in self.shares.values_mut() {
            *share = share.min(1.0);
        }
    }

    /// Names of the Ingresses that the routes hang on.
    pub fn stable_ingresses(&self) -> Vec<String> {
        let nginx = &self.rollout["spec"]["strategy"]["canary"]["trafficRouting"]["nginx"];
        let several = nginx["stableIngresses"].as_array().into_iter().flatten();
        std::iter::once(&nginx["stableIngress"])
            .chain(several)
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// What the route objects of other data planes give the canary.
    fn given_by_others(&self, picture: &Picture) -> Vec<Given> {
        let used = PLANES.iter().filter(|plane| plane.is_used(&self.rollout));
        let given = used.map(|plane| {
            let name = plane.object_of(&self.rollout);
            let object = picture.get(plane.kind, &self.namespace, &name);
            object.map_or((0, 1), |object| plane.given(object, &self.rollout))
        });
        given.collect()
    }

    /// What a canary Ingress gives the canary; its total is its own while another one is on its way.
    fn weight_of(&self, picture: &Picture, ingress: &str) -> Given {
        let name = format!("{}-{ingress}-canary", self.name);
        let Some(canary) = picture.get("Ingress", &self.namespace, &name) else {
            return (0, 1);
        };
        let annotations = &canary["metadata"]["annotations"];
        let get = |name: &str| annotations[format!("nginx.ingress.kubernetes.io/{name}")].as_str();
        if get("canary") != Some("true") {
            return (0, 1);
        }
        let number = |name: &str| get(name).and_then(|number| number.parse().ok());
        let total = number("canary-weight-total").filter(|total| *total > 0);
        (number("canary-weight").unwrap_or(0), total.unwrap_or(100))
    }

    fn matches(&self, picture: &Picture, ingress: &str) -> bool {
        let name = format!("{}-{ingress}-canary", self.name);
        picture
            .get("Ingress", &self.namespace, &name)
            .is_some_and(|canary| {
                let annotations = &canary["metadata"]["annotations"];
                ["header", "cookie"]
                    .iter()
                    .any(|by| annotations[format!("nginx.ingress.kubernetes.io/canary-by-{by}")].is_string())
            })
    }

    fn send(&mut self, picture: &Picture, service: &str, share: f64) {
        if share <= 0.0 {
            return;
        }
        let Some(service) = picture.get("Service", &self.namespace, service) else {
            return;
        };
        if let Some(hash) = service["spec"]["selector"][HASH].as_str() {
            *self.shares.entry(hash.to_owned()).or_default() += share;
            return;
        }
        let all: i64 = self.versions.values().map(|v| v.available).sum();
        for (hash, version) in self.versions.iter().filter(|(_, v)| v.available > 0) {
            *self.shares.entry(hash.clone()).or_default() += share * version.available as f64 / all as f64;
        }
    }

    fn select(&mut self, picture: &Picture, service: &str) {
        if let Some(object) = picture.get("Service", &self.namespace, service)
            && let Some(hash) = object["spec"]["selector"][HASH].as_str()
        {
            self.selected.insert(service.to_owned(), hash.to_owned());
        }
    }

    /// Its status.
    pub fn status(&self) -> &Value {
        &self.rollout["status"]
    }

    /// The hash of the stable version, empty before the first.
    pub fn stable(&self) -> &str {
        text(&self.status()["stableRS"])
    }

    /// The hash of the version that the spec wants.
    pub fn current(&self) -> &str {
        text(&self.status()["currentPodHash"])
    }

    /// Whether the update has not progressed for as long as it may.
    pub fn is_late(&self, now: Timestamp) -> bool {
        let progressing = condition(&self.rollout, "Progressing");
        let since = progressing.and_then(|c| text(&c["lastUpdateTime"]).parse::<Timestamp>().ok());
        let most = self.rollout["spec"]["progressDeadlineSeconds"]
            .as_i64()
            .unwrap_or(600);
        since.is_some_and(|since| now.duration_since(since).as_secs() >= most)
    }

    /// Whether the update is aborted.
    pub fn aborted(&self) -> bool {
        self.status()["abort"] == true
    }

    /// Steps of the canary.
    pub fn steps(&self) -> &[Value] {
        self.rollout["spec"]["strategy"]["canary"]["steps"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// Index of the current step.
    pub fn step(&self) -> Option<i64> {
        self.status()["currentStepIndex"].as_i64()
    }

    /// Whether a `setCanaryScale` says how large the canary is, whatever its weight.
    pub fn has_own_scale(&self) -> bool {
        let index = self.step().and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
        let running = index < self.steps().len() && !self.aborted();
        let mut so_far = self.steps().iter().take(index + 1).rev();
        let last = so_far.find(|step| step["setCanaryScale"].is_object());
        running && last.is_some_and(|step| step["setCanaryScale"]["matchTrafficWeight"] != true)
    }

    /// The largest weight that the steps finished so far allow.
    pub fn allowed_weight(&self) -> i64 {
        if self.aborted() {
            return 0;
        }
        if self.status()["promoteFull"] == true || self.stable() == self.current() {
            return self.total;
        }
        let steps = self.steps();
        let Some(index) = self.step().and_then(|i| usize::try_from(i).ok()) else {
            return 0;
        };
        if index >= steps.len() {
            return if steps.is_empty() { 0 } else { self.total };
        }
        steps
            .iter()
            .take(index + 1)
            .rev()
            .find_map(|step| step["setWeight"].as_i64())
            .unwrap_or(0)
    }

    /// Resolved `maxUnavailable` and `maxSurge` (contract F21, F22).
    pub fn limits(&self) -> (i64, i64) {
        let canary = &self.rollout["spec"]["strategy"]["canary"];
        let resolve = |value: &Value, up: bool| {
            let percent = |p: i64| {
                let product = p * self.replicas;
                if up {
                    product.div_ceil_checked(100)
                } else {
                    product / 100
                }
            };
            let count = match value {
                Value::Null => percent(25),
                Value::String(s) => percent(s.trim_end_matches('%').parse().unwrap_or(0)),
                other => other.as_i64().unwrap_or(0),
            };
            count.min(self.replicas)
        };
        let surge = resolve(&canary["maxSurge"], true);
        let unavailable = resolve(&canary["maxUnavailable"], false);
        if surge == 0 && unavailable == 0 && self.replicas > 0 {
            (1, 0)
        } else {
            (unavailable, surge)
        }
    }

    /// Time of creation of a version.
    pub fn created(&self, hash: &str) -> Option<Timestamp> {
        self.versions.get(hash)?.created.parse().ok()
    }
}

trait DivCeil {
    fn div_ceil_checked(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_checked(self, by: i64) -> i64 {
        (self + by - 1) / by
    }
}

fn version(set: &Value) -> Version {
    Version {
        name: text(&set["metadata"]["name"]).to_owned(),
        wanted: set["spec"]["replicas"].as_i64().unwrap_or(0),
        available: set["status"]["availableReplicas"].as_i64().unwrap_or(0),
        ready: set["status"]["readyReplicas"].as_i64().unwrap_or(0),
        created: text(&set["metadata"]["creationTimestamp"]).to_owned(),
        revision: text(&set["metadata"]["annotations"]["rollout.argoproj.io/revision"])
            .parse()
            .unwrap_or(0),
    }
}
