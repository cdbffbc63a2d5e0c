//! What is kept of objects that are not ours: a few names and numbers, read straight from the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_crds::labels::{
    EPHEMERAL_METADATA_ANNOTATION, LAST_APPLIED_ANNOTATION, MANAGED_BY_ANNOTATION, POD_TEMPLATE_HASH_LABEL,
};
use tidegate_crds::template::{Digest, EphemeralMetadata, template_digest};
use tidegate_crds::{LabelSelector, ObjectMeta};
use tidegate_engine::observed::{PodView, ReplicaSetView, ServiceView, Workload};

use crate::object::{Object, controller_of};

/// A ReplicaSet, its labels and its digest still to be computed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RawReplicaSet {
    pub(crate) metadata: ObjectMeta,
    spec: RawReplicaSetSpec,
    status: RawReplicaSetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawReplicaSetSpec {
    replicas: Option<i32>,
    min_ready_seconds: i32,
    selector: LabelSelector,
    template: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawReplicaSetStatus {
    replicas: i32,
    ready_replicas: i32,
    available_replicas: i32,
    observed_generation: i64,
    conditions: Vec<RawCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

impl RawReplicaSet {
    /// Whether it is of a version: its watch is narrowed to those with the label, and its pods are told from others by its selector.
    pub(crate) fn is_of_a_version(&self) -> bool {
        let label = |labels: &BTreeMap<String, String>| {
            labels
                .get(POD_TEMPLATE_HASH_LABEL)
                .is_some_and(|hash| !hash.is_empty())
        };
        label(&self.metadata.labels) && label(&self.spec.selector.match_labels)
    }

    /// What the planner needs of it.
    pub(crate) fn view(self) -> ReplicaSetView {
        let Self {
            metadata,
            mut spec,
            status,
        } = self;
        let failure = status
            .conditions
            .into_iter()
            .find(|c| c.kind == "ReplicaFailure" && c.status == "True");
        let controller_uid = controller_of(&metadata).map(|owner| owner.uid);
        let digest = digest(&spec.template, &metadata.annotations);
        let mut annotations = metadata.annotations;
        annotations.remove(LAST_APPLIED_ANNOTATION);
        ReplicaSetView {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            created: metadata
                .creation_timestamp
                .map(Timestamp::from)
                .unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            controller_uid,
            hash: spec
                .selector
                .match_labels
                .remove(POD_TEMPLATE_HASH_LABEL)
                .unwrap_or_default(),
            annotations,
            digest,
            min_ready_seconds: spec.min_ready_seconds,
            // The API server fills in 1 for an absent value.
            spec_replicas: spec.replicas.unwrap_or(1),
            replicas: status.replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            failure: failure.map(|c| (c.reason, c.message)),
            apart_from: kept_apart_from(&spec.template),
        }
    }
}

/// A [`ReplicaSetView`] as it is kept, without what its place in the cache says already. Nothing else is kept so often: its
/// size is that of the controller.
#[derive(Clone, Debug)]
pub(crate) struct KeptReplicaSet {
    generation: i64,
    observed_generation: i64,
    created: Timestamp,
    pub(crate) controller_uid: Option<Box<str>>,
    pub(crate) hash: Box<str>,
    /// JSON: a map takes a kilobyte for two annotations.
    annotations: Box<str>,
    digest: Digest,
    min_ready_seconds: i32,
    spec_replicas: i32,
    replicas: i32,
    ready: i32,
    available: i32,
    failure: Option<Box<(String, String)>>,
    deleting: bool,
    apart_from: Option<Box<str>>,
}

impl KeptReplicaSet {
    pub(crate) fn new(view: ReplicaSetView) -> Self {
        Self {
            generation: view.generation,
            observed_generation: view.observed_generation,
            created: view.created,
            controller_uid: view.controller_uid.map(String::into_boxed_str),
            hash: view.hash.into(),
            annotations: json!(view.annotations).to_string().into(),
            digest: view.digest,
            min_ready_seconds: view.min_ready_seconds,
            spec_replicas: view.spec_replicas,
            replicas: view.replicas,
            ready: view.ready,
            available: view.available,
            failure: view.failure.map(Box::new),
            deleting: view.deleting,
            apart_from: view.apart_from.map(String::into_boxed_str),
        }
    }

    /// The view, with what is known beside it.
    pub(crate) fn view(&self, name: &str, uid: &str, version: &str) -> ReplicaSetView {
        ReplicaSetView {
            name: name.to_owned(),
            uid: uid.to_owned(),
            resource_version: version.to_owned(),
            generation: self.generation,
            observed_generation: self.observed_generation,
            created: self.created,
            deleting: self.deleting,
            controller_uid: self.controller_uid.as_deref().map(str::to_owned),
            hash: self.hash.clone().into(),
            annotations: serde_json::from_str(&self.annotations).unwrap_or_default(),
            digest: self.digest,
            min_ready_seconds: self.min_ready_seconds,
            spec_replicas: self.spec_replicas,
            replicas: self.replicas,
            ready: self.ready,
            available: self.available,
            failure: self.failure.as_deref().cloned(),
            apart_from: self.apart_from.as_deref().map(str::to_owned),
        }
    }
}

fn digest(template: &Value, annotations: &BTreeMap<String, String>) -> Digest {
    let ephemeral = annotations.get(EPHEMERAL_METADATA_ANNOTATION);
    let ephemeral = ephemeral.and_then(|text| serde_json::from_str::<EphemeralMetadata>(text).ok());
    template_digest(template, ephemeral.as_ref())
}

/// The digest of the template of a whole ReplicaSet; `None` for what is none.
pub(crate) fn digest_of_replica_set(object: &Value) -> Option<Digest> {
    let raw: RawReplicaSet = Object::Value(object).decode().ok()?;
    Some(digest(&raw.spec.template, &raw.metadata.annotations))
}

/// Which version its pods are kept away from. Nobody but a Rollout controller does that by this label (contract 3.8).
fn kept_apart_from(template: &Value) -> Option<String> {
    let anti = template.pointer("/spec/affinity/podAntiAffinity")?;
    let list = |field| anti.get(field).and_then(Value::as_array).into_iter().flatten();
    let terms = list("requiredDuringSchedulingIgnoredDuringExecution");
    let weighted = list("preferredDuringSchedulingIgnoredDuringExecution")
        .filter_map(|term| term.get("podAffinityTerm"));
    terms.chain(weighted).find_map(|term| {
        let expressions = term.pointer("/labelSelector/matchExpressions")?.as_array()?;
        let by_hash = expressions.iter().find(|expression| {
            expression.get("key").and_then(Value::as_str) == Some(POD_TEMPLATE_HASH_LABEL)
        })?;
        let hash = by_hash.pointer("/values/0").and_then(Value::as_str);
        Some(hash.unwrap_or_default().to_owned())
    })
}

/// A Service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawService {
    pub(crate) metadata: ObjectMeta,
    spec: RawServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawServiceSpec {
    selector: BTreeMap<String, String>,
}

impl RawService {
    /// What the planner needs of it.
    pub(crate) fn view(mut self) -> ServiceView {
        ServiceView {
            name: self.metadata.name,
            uid: self.metadata.uid,
            resource_version: self.metadata.resource_version,
            selector: self.spec.selector,
            managed_by: self.metadata.annotations.remove(MANAGED_BY_ANNOTATION),
        }
    }
}

/// Only the metadata of an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawMetadata {
    pub(crate) metadata: ObjectMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawWorkload {
    metadata: ObjectMeta,
    spec: RawWorkloadSpec,
    /// A PodTemplate has it here.
    template: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawWorkloadSpec {
    replicas: Option<i32>,
    template: Option<Value>,
    selector: Option<LabelSelector>,
}

/// The object that a `workloadRef` names, from its text.
pub(crate) fn workload(kind: &str, text: &str) -> Option<Workload> {
    let RawWorkload {
        metadata,
        spec,
        template,
    } = Object::Text(text).decode().ok()?;
    let replicas = if template.is_some() {
        0
    } else {
        spec.replicas.unwrap_or(1)
    };
    Some(Workload {
        kind: kind.to_owned(),
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation.unwrap_or_default(),
        replicas,
        template: template.or(spec.template).unwrap_or_default().into(),
        selector: spec.selector,
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |field: &str, value: &str| condition.get(field).and_then(Value::as_str) == Some(value);
        is("type", "Ready") && is("status", "True")
    })
}

/// Pods of a list, by the uid of their controller.
pub(crate) fn pods(list: &Value) -> Vec<(String, PodView)> {
    let items = list.get("items").and_then(Value::as_array);
    let pods = items.into_iter().flatten().filter_map(|item| {
        let metadata = Object::Value(item).decode::<RawMetadata>().ok()?;
        Some((metadata, is_ready(item)))
    });
    pods.filter_map(|(RawMetadata { metadata }, ready)| {
        let owner = controller_of(&metadata)?.uid;
        let pod = PodView {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created: metadata
                .creation_timestamp
                .map(Timestamp::from)
                .unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            ready,
            labels: metadata.labels,
            annotations: metadata.annotations,
        };
        Some((owner, pod))
    })
    .collect()
}

/// Whether labels match a selector, as Kubernetes matches them: an empty selector matches all, an operator that nobody
/// knows matches nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    selector
        .match_labels
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|value| requirement.values.contains(value)),
                "NotIn" => value.is_none_or(|value| !requirement.values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica_set() -> Value {
        json!({
            "metadata": {
                "name": "web-5c", "namespace": "shop", "uid": "rs-1", "resourceVersion": "12", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "web", "rollouts-pod-template-hash": "5c"},
                "annotations": {"rollout.argoproj.io/revision": "2", "kubectl.kubernetes.io/last-applied-configuration": "x"},
                "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "ro-1", "controller": true}],
                "managedFields": [{"manager": "m"}],
            },
            "spec": {
                "replicas": 3, "minReadySeconds": 5,
                "selector": {"matchLabels": {"app": "web", "rollouts-pod-template-hash": "5c"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
            },
            "status": {
                "replicas": 3, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 3,
                "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}],
            },
        })
    }

    #[test]
    fn a_replica_set_as_the_planner_sees_it() {
        let object = replica_set();
        let view = Object::Value(&object).decode::<RawReplicaSet>().unwrap().view();
        assert_eq!(
            view,
            ReplicaSetView {
                name: "web-5c".into(),
                uid: "rs-1".into(),
                resource_version: "12".into(),
                generation: 3,
                observed_generation: 3,
                created: "2026-01-01T00:00:00Z".parse().unwrap(),
                deleting: false,
                controller_uid: Some("ro-1".into()),
                hash: "5c".into(),
                annotations: [("rollout.argoproj.io/revision".into(), "2".into())].into(),
                digest: template_digest(&object["spec"]["template"], None),
                min_ready_seconds: 5,
                spec_replicas: 3,
                replicas: 3,
                ready: 2,
                available: 1,
                failure: Some(("FailedCreate".into(), "quota".into())),
                apart_from: None,
            }
        );
    }

    /// Somebody may take its label or change it; its pods have what its selector says.
    #[test]
    fn the_hash_is_that_of_the_selector() {
        let raw = |pointer: &str, hash: Value| {
            let mut object = replica_set();
            object.pointer_mut(pointer).unwrap()["rollouts-pod-template-hash"] = hash;
            Object::Value(&object).decode::<RawReplicaSet>().unwrap()
        };
        let (labels, selector) = ("/metadata/labels", "/spec/selector/matchLabels");
        for (pointer, hash, of_a_version) in [
            (labels, json!("5c"), true),
            (labels, json!("6d"), true),
            (labels, json!(""), false),
            (selector, json!(""), false),
        ] {
            assert_eq!(raw(pointer, hash).is_of_a_version(), of_a_version, "{pointer}");
        }
        assert_eq!(raw(labels, json!("6d")).view().hash, "5c");
    }

    #[test]
    fn who_pods_are_kept_apart_from_is_noticed() {
        let mut object = replica_set();
        object["spec"]["template"]["spec"]["affinity"] = json!({"podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchExpressions": [
                    {"key": "rollouts-pod-template-hash", "operator": "In", "values": ["4b"]},
                ]},
            }}],
        }});
        let view = Object::Value(&object).decode::<RawReplicaSet>().unwrap().view();
        assert_eq!(view.apart_from.as_deref(), Some("4b"));
    }

    #[test]
    fn selectors() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let table = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "api"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Like"}]}),
                false,
            ),
        ];
        for (selector, expected) in table {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, &labels), expected, "{selector}");
        }
    }
}
