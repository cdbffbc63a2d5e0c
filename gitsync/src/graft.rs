//! Fields that a rollout owns at run time: taken from the live object before an object is applied, or left out, so that a sync
//! never fights the controller that moves traffic (argo-rollouts #3437, #4750).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidegate_crds::labels::{MANAGED_BY_ANNOTATION, POD_TEMPLATE_HASH_LABEL};

use crate::object::ObjectId;

/// What the Rollouts and autoscalers of a commit own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    /// Services whose selector a Rollout completes: namespace and name.
    services: BTreeSet<(String, String)>,
    /// Objects whose replicas somebody else sets: group, kind, namespace and name.
    scaled: BTreeSet<(String, String, String, String)>,
}

impl Owned {
    /// Learns it from the objects of a commit, whose namespaces are filled in.
    pub(crate) fn by<'a>(objects: impl Iterator<Item = (&'a ObjectId, &'a Value)>) -> Self {
        let mut owned = Self::default();
        for (id, object) in objects {
            if id.is("argoproj.io", "Rollout") {
                owned.learn_rollout(id, object);
            } else if id.is("autoscaling", "HorizontalPodAutoscaler") || id.is("keda.sh", "ScaledObject") {
                owned.learn_scaler(id, object);
            }
        }
        owned
    }

    fn learn_rollout(&mut self, id: &ObjectId, rollout: &Value) {
        let service = |pointer: &str| {
            let name = rollout.pointer(pointer).and_then(Value::as_str)?;
            Some((id.namespace.clone(), name.to_owned()))
        };
        self.services.extend(
            [
                "/spec/strategy/canary/canaryService",
                "/spec/strategy/canary/stableService",
                "/spec/strategy/canary/pingPong/pingService",
                "/spec/strategy/canary/pingPong/pongService",
                "/spec/strategy/blueGreen/activeService",
                "/spec/strategy/blueGreen/previewService",
            ]
            .into_iter()
            .filter_map(service),
        );
        let workload = |field: &str| {
            let value = rollout.pointer("/spec/workloadRef")?.get(field)?.as_str()?;
            Some(value.to_owned())
        };
        if let (Some(kind), Some(name), Some(_)) = (workload("kind"), workload("name"), workload("scaleDown"))
        {
            self.scaled
                .insert(("apps".to_owned(), kind, id.namespace.clone(), name));
        }
    }

    fn learn_scaler(&mut self, id: &ObjectId, scaler: &Value) {
        let target = |field: &str| scaler.pointer("/spec/scaleTargetRef")?.get(field)?.as_str();
        let (Some(kind), Some(name)) = (target("kind"), target("name")) else {
            return;
        };
        let group = target("apiVersion").and_then(|version| version.split_once('/'));
        let group = group.map_or("apps", |(group, _)| group);
        self.scaled.insert((
            group.to_owned(),
            kind.to_owned(),
            id.namespace.clone(),
            name.to_owned(),
        ));
    }

    /// Whether the live object has to be read before this one is applied.
    pub(crate) fn needs_live(&self, id: &ObjectId) -> bool {
        id.is("", "Service") && self.services.contains(&(id.namespace.clone(), id.name.clone()))
    }

    /// Takes over from the live object what a Rollout owns in it, and leaves out what it may change.
    pub(crate) fn graft(&self, id: &ObjectId, desired: &mut Value, live: Option<&Value>) {
        let key = (
            id.group.clone(),
            id.kind.clone(),
            id.namespace.clone(),
            id.name.clone(),
        );
        if live.is_some() && self.scaled.contains(&key) {
            remove(desired, &["spec", "replicas"]);
        }
        if id.is("argoproj.io", "Rollout") {
            desired.as_object_mut().map(|object| object.remove("status"));
            if live.is_some() {
                remove(desired, &["spec", "paused"]);
                remove(desired, &["spec", "restartAt"]);
            }
        }
        if self.needs_live(id)
            && let Some(live) = live
        {
            // A selector is one unit under server-side apply: what is not sent is taken out.
            copy(live, desired, &["spec", "selector", POD_TEMPLATE_HASH_LABEL]);
            copy(live, desired, &["metadata", "annotations", MANAGED_BY_ANNOTATION]);
        }
    }
}

fn remove(object: &mut Value, path: &[&str]) {
    if let Some((last, parents)) = path.split_last() {
        let parent = parents
            .iter()
            .try_fold(object, |value, part| value.get_mut(*part))
            .and_then(Value::as_object_mut);
        parent.map(|parent| parent.remove(*last));
    }
}

fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let Some(value) = path.iter().try_fold(from, |value, part| value.get(*part)) else {
        return;
    };
    let parent = parents.iter().try_fold(to, |value, part| {
        let parent = value.as_object_mut()?;
        Some(parent.entry(*part).or_insert_with(|| Value::Object(Map::new())))
    });
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.insert((*last).to_owned(), value.clone());
    }
}

/// Whether `live` says everything that `desired` says: then applying it changes nothing. Lists are compared item by item, and
/// what the server adds is overlooked.
pub(crate) fn holds(desired: &Value, live: &Value) -> bool {
    difference(desired, live).is_none()
}

/// The path of the first value that [`holds`] misses: `.spec.replicas`.
pub(crate) fn difference(desired: &Value, live: &Value) -> Option<String> {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().find_map(|(key, value)| {
            let below = match live.get(key) {
                None => (!value.is_null()).then(String::new),
                Some(found) => difference(value, found),
            };
            below.map(|below| format!(".{key}{below}"))
        }),
        (Value::Array(desired), Value::Array(live)) if desired.len() == live.len() => {
            let mut pairs = desired.iter().zip(live).enumerate();
            pairs.find_map(|(index, (desired, live))| {
                difference(desired, live).map(|below| format!("[{index}]{below}"))
            })
        }
        (desired, live) => (desired != live).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(objects: &[Value]) -> Owned {
        let ids: Vec<ObjectId> = objects.iter().map(ObjectId::of).collect();
        Owned::by(ids.iter().zip(objects))
    }

    fn rollout(strategy: &Value) -> Value {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 3, "paused": false, "strategy": strategy}})
    }

    fn service(name: &str, selector: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": {"selector": selector}})
    }

    fn grafted(owned: &Owned, desired: &Value, live: Option<&Value>) -> Value {
        let mut grafted = desired.clone();
        owned.graft(&ObjectId::of(desired), &mut grafted, live);
        grafted
    }

    #[test]
    fn the_selector_of_a_rollouts_service_keeps_its_hash() {
        let owned = owned(&[rollout(&json!({"blueGreen": {"activeService": "web"}}))]);
        let desired = service("web", &json!({"app": "web"}));
        let mut live = service("web", &json!({"app": "old", POD_TEMPLATE_HASH_LABEL: "abc"}));
        live["metadata"]["annotations"] = json!({MANAGED_BY_ANNOTATION: "web", "other": "x"});
        let grafted_service = grafted(&owned, &desired, Some(&live));
        assert_eq!(
            grafted_service["spec"]["selector"],
            json!({"app": "web", POD_TEMPLATE_HASH_LABEL: "abc"})
        );
        assert_eq!(
            grafted_service["metadata"]["annotations"],
            json!({MANAGED_BY_ANNOTATION: "web"})
        );
        // a Service that no Rollout names is applied as it is in Git
        let other = service("other", &json!({"app": "web"}));
        assert_eq!(grafted(&owned, &other, Some(&live)), other);
    }

    #[test]
    fn replicas_under_an_autoscaler_are_left_out_once_there() {
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"}}});
        let desired = rollout(&json!({}));
        let scaled = owned(&[desired.clone(), scaler]);
        assert_eq!(grafted(&scaled, &desired, None)["spec"]["replicas"], 3);
        assert_eq!(
            grafted(&scaled, &desired, Some(&desired))["spec"],
            json!({"strategy": {}})
        );
        let alone = owned(std::slice::from_ref(&desired));
        assert_eq!(grafted(&alone, &desired, Some(&desired))["spec"]["replicas"], 3);
    }

    #[test]
    fn what_the_server_adds_is_no_drift() {
        let desired = json!({"spec": {"ports": [{"port": 80}], "type": "ClusterIP"}});
        let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "type": "ClusterIP", "clusterIP": "1.2.3.4"}});
        assert!(holds(&desired, &live));
        for drifted in [
            json!({"spec": {"ports": [{"port": 81}], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [{"port": 80}, {"port": 81}], "type": "ClusterIP"}}),
            json!({"spec": {"ports": [{"port": 80}]}}),
        ] {
            assert!(!holds(&desired, &drifted), "{drifted}");
        }
    }

    proptest::proptest! {
        /// Applying the same commit is a no-op for every live hash; applying another changes only what Git changed.
        #[test]
        fn grafting_twice_is_grafting_once(hash in "[a-z0-9]{1,10}", app in "[a-z]{1,5}") {
            let owned = owned(&[rollout(&json!({"canary": {"stableService": "web", "canaryService": "next"}}))]);
            let desired = service("web", &json!({"app": app}));
            let live = service("web", &json!({"app": app, POD_TEMPLATE_HASH_LABEL: hash}));
            let once = grafted(&owned, &desired, Some(&live));
            proptest::prop_assert!(holds(&once, &live));
            proptest::prop_assert_eq!(&grafted(&owned, &once, Some(&live)), &once);
        }
    }
}
