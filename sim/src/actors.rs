//! What lives in a cluster around our controller: the controllers of Kubernetes' own workloads, the kubelet, the
//! endpoints, autoscaling, people and Git. Each looks at what changed and acts through the API, like the real ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{Api, Kind};
use crate::dataplane::DataPlane;
use crate::rng::Rng;
use crate::store::Commit;

pub mod deployment;
pub mod endpoints;
pub mod gitops;
pub mod hpa;
pub mod jobs;
pub mod kubelet;
pub mod replicasets;
pub mod user;

/// What an actor may touch while it acts.
pub struct Cx<'a> {
    /// The API server, as this actor.
    pub api: Api<'a>,
    /// The data plane, for what is really so of pods.
    pub dataplane: &'a mut DataPlane,
    /// Random numbers of this actor.
    pub rng: &'a mut Rng,
    /// The time.
    pub now: Timestamp,
}

/// One of them.
pub trait Actor: Send {
    /// Its name, as its user name is `system:sim:<name>`.
    fn name(&self) -> &'static str;
    /// Looks at a change; true when it wants to act on it.
    fn notice(&mut self, commit: &Commit) -> bool;
    /// It acts so long after what it noticed, between these.
    fn lag(&self) -> (SignedDuration, SignedDuration) {
        (SignedDuration::from_millis(1), SignedDuration::from_millis(20))
    }
    /// Acts on what it noticed and on what is due; returns when it wants to act again by itself.
    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp>;
    /// Whether it has nothing more to do of its own accord.
    fn is_done(&self) -> bool {
        true
    }
    /// What it still waits for, or was refused.
    fn open_ends(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The kind of the object that a commit changed.
pub(crate) fn kind_of(commit: &Commit) -> &str {
    &commit.resource.kind
}

pub(crate) fn is_kind(commit: &Commit, kind: &str) -> bool {
    kind_of(commit) == kind
}

/// The object after a commit, or before it when it is gone.
pub(crate) fn object_of(commit: &Commit) -> &Value {
    commit
        .after
        .as_deref()
        .or(commit.before.as_deref())
        .unwrap_or(&Value::Null)
}

/// `namespace/name`.
pub(crate) type Key = (String, String);

pub(crate) fn key_of(object: &Value) -> Key {
    (
        text(&object["metadata"]["namespace"]).to_owned(),
        text(&object["metadata"]["name"]).to_owned(),
    )
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn uid_of(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The owner reference that is marked as controller.
pub(crate) fn controller_of(object: &Value) -> Option<&Value> {
    object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|r| r["controller"] == Value::Bool(true))
}

pub(crate) fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// The status of a condition of a pod or a workload.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|c| c["type"] == *kind)
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|c| c["status"] == "True")
}

/// Neither deleting nor finished: it counts as a replica.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_deleting(pod) && !matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}

/// Whether a plain selector (`spec.selector` of a Service) selects an object; an empty one selects nothing.
pub(crate) fn selects(selector: &Value, object: &Value) -> bool {
    let Some(selector) = selector.as_object().filter(|s| !s.is_empty()) else {
        return false;
    };
    selector
        .iter()
        .all(|(label, value)| object["metadata"]["labels"].get(label) == Some(value))
}

/// Time as the API writes it: whole seconds.
pub(crate) fn stamp(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| String::new(), |t| t.to_string())
}

/// Keys that want a look, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty(BTreeSet<Key>);

impl Dirty {
    pub(crate) fn mark(&mut self, key: Key) -> bool {
        self.0.insert(key);
        true
    }

    pub(crate) fn take(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.0)
    }
}

/// The objects of a kind in a namespace that an owner controls.
pub(crate) fn controlled(api: &Api<'_>, kind: &Kind, namespace: &str, owner_uid: &str) -> Vec<Arc<Value>> {
    let mut all = api.list(kind, namespace);
    all.retain(|object| controller_of(object).is_some_and(|r| r["uid"] == *owner_uid));
    all
}

/// Short random names as Kubernetes makes them.
pub(crate) fn suffix(rng: &mut Rng) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .filter_map(|_| LETTERS.get(rng.below(LETTERS.len() as u64) as usize))
        .map(|letter| char::from(*letter))
        .collect()
}

/// Those that every cluster has, with a kubelet of one's own.
pub fn standard(kubelet: kubelet::Kubelet) -> Vec<Box<dyn Actor>> {
    vec![
        Box::new(deployment::Deployments::default()),
        Box::new(replicasets::ReplicaSets::default()),
        Box::new(kubelet),
        Box::new(endpoints::Endpoints::default()),
        Box::new(jobs::Jobs::default()),
        Box::new(hpa::Autoscaler::default()),
    ]
}
