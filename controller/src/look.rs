//! One look at one Rollout by somebody who does not watch: what the controller would know from objects that were listed
//! once. For `explain`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_crds::Rollout;
use tidegate_crds::labels::INSTANCE_ID_LABEL;
use tidegate_engine::{Observed, Settings};

use crate::cache::Cache;
use crate::object::{Kind, Object, ObjectKey};
use crate::options::Options;
use crate::{cache, slim};

/// Longer than any route needs to take effect.
const LONG_AGO: SignedDuration = SignedDuration::from_hours(1);

/// The Services, route objects and workload that a Rollout names. What it owns, and analysis templates, come beside that.
pub fn named(rollout: &Rollout) -> BTreeSet<(Kind, ObjectKey)> {
    cache::refs::of(rollout, &tidegate_traffic::Dialect::default())
}

/// What the controller would know of the Rollout `key` at `now`, with routes that have been as they are for long.
/// `pods` may hold those of other owners. `None` when the Rollout is not among the objects, or cannot be read.
pub fn observed(
    objects: &[(Kind, Value)],
    pods: &[Value],
    key: &ObjectKey,
    now: Timestamp,
) -> Option<Observed> {
    let instance = objects
        .iter()
        .find(|(kind, object)| *kind == Kind::Rollout && is_named(object, key))?;
    let instance = instance
        .1
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(INSTANCE_ID_LABEL));
    let instance = instance.and_then(Value::as_str).map(str::to_owned);
    let options = Options {
        settings: Settings {
            instance_id: instance,
            ..Settings::default()
        },
        ..Options::default()
    };
    let mut cache = Cache::new(&options, now.saturating_sub(LONG_AGO).unwrap_or(Timestamp::MIN));
    // Rollouts first: they say which of the rest matter.
    for wanted in Kind::all() {
        for (kind, object) in objects.iter().filter(|(kind, _)| *kind == wanted) {
            // As in the controller, what cannot be read is not there.
            let _ = cache.apply(*kind, Object::Value(object), now);
        }
    }
    let mut seen = cache.observe(key)?;
    let list = serde_json::json!({ "items": pods });
    let owners: BTreeMap<String, String> = seen
        .replica_sets
        .iter()
        .map(|set| (set.uid.clone(), set.hash.clone()))
        .collect();
    for (owner, pod) in slim::pods(&list) {
        if let Some(hash) = owners.get(&owner) {
            seen.pods.entry(hash.clone()).or_default().push(pod);
        }
    }
    Some(seen)
}

fn is_named(object: &Value, key: &ObjectKey) -> bool {
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    text("/metadata/name") == key.name && text("/metadata/namespace") == key.namespace
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_listed_once_is_observed() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let meta = |name: &str, uid: &str| json!({"name": name, "namespace": "shop", "uid": uid, "resourceVersion": "1"});
        let mut rollout = json!({
            "metadata": meta("web", "ro-1"),
            "spec": {"strategy": {"blueGreen": {"activeService": "active"}}},
        });
        rollout["metadata"]["labels"] = json!({INSTANCE_ID_LABEL: "blue"});
        let mut set = json!({"metadata": meta("web-5c", "rs-1"), "spec": {"replicas": 1}});
        set["metadata"]["ownerReferences"] =
            json!([{"kind": "Rollout", "name": "web", "uid": "ro-1", "controller": true}]);
        set["metadata"]["labels"] = json!({"rollouts-pod-template-hash": "5c"});
        set["spec"]["selector"] = json!({"matchLabels": {"rollouts-pod-template-hash": "5c"}});
        let mut pod = json!({"metadata": meta("web-5c-x", "pod-1")});
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": "ReplicaSet", "name": "web-5c", "uid": "rs-1", "controller": true}]);
        let objects = [
            (Kind::Service, json!({"metadata": meta("active", "s-1")})),
            (Kind::Service, json!({"metadata": meta("other", "s-2")})),
            (Kind::ReplicaSet, set),
            (Kind::Rollout, rollout),
        ];
        let key = ObjectKey::new("shop", "web");
        let seen = observed(&objects, &[pod], &key, now).unwrap();
        let services: Vec<_> = seen.services.keys().map(String::as_str).collect();
        let sets: Vec<_> = seen.replica_sets.iter().map(|set| set.name.as_str()).collect();
        let pods: Vec<_> = seen
            .pods
            .iter()
            .flat_map(|(hash, pods)| pods.iter().map(move |pod| (hash.as_str(), pod.name.as_str())))
            .collect();
        assert_eq!(
            (services, sets, pods),
            (vec!["active"], vec!["web-5c"], vec![("5c", "web-5c-x")])
        );
        assert_eq!(seen.routed_since.get("Service/active"), Some(&(now - LONG_AGO)));
        assert!(observed(&objects, &[], &ObjectKey::new("shop", "api"), now).is_none());
    }
}
