//! The ReplicaSet controller: pods to the number that is wanted, and counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Actor, Cx, Dirty, Key, condition, controller_of, is_active, is_deleting, is_ready, key_of, kind_of,
    object_of, owner_reference, stamp, suffix, text, uid_of,
};
use crate::api::kinds;
use crate::store::Commit;

/// The ReplicaSet controller.
#[derive(Debug, Default)]
pub struct ReplicaSets {
    dirty: Dirty,
    /// When a pod of it becomes available by the passing of `minReadySeconds`.
    waiting: BTreeMap<Key, Timestamp>,
    /// How many pods a namespace may have, where that is limited (fault 11).
    pub quota: Option<usize>,
}

impl Actor for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        match kind_of(commit) {
            "ReplicaSet" => self.dirty.mark(key_of(object_of(commit))),
            "Pod" => match controller_of(object_of(commit)) {
                Some(owner) if owner["kind"] == "ReplicaSet" => {
                    let (namespace, _) = key_of(object_of(commit));
                    self.dirty.mark((namespace, text(&owner["name"]).to_owned()))
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        let mut keys = self.dirty.take();
        keys.extend(
            self.waiting
                .iter()
                .filter(|(_, at)| **at <= cx.now)
                .map(|(key, _)| key.clone()),
        );
        for key in keys {
            self.waiting.remove(&key);
            if let Some(set) = cx.api.get(&kinds::REPLICA_SETS, &key.0, &key.1) {
                self.sync(cx, &key, &set);
            }
        }
        self.waiting.values().min().copied()
    }
}

impl ReplicaSets {
    fn sync(&mut self, cx: &mut Cx<'_>, key: &Key, set: &Value) {
        let mut pods = super::controlled(&cx.api, &kinds::PODS, &key.0, uid_of(set));
        pods.retain(|pod| is_active(pod));
        let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let mut failure = None;
        if !is_deleting(set) {
            while pods.len() < wanted {
                match self.create(cx, &key.0, set) {
                    Ok(pod) => pods.push(pod),
                    Err(message) => {
                        failure = Some(message);
                        break;
                    }
                }
            }
            // not ready before ready, young before old
            pods.sort_by_key(|pod| {
                (
                    is_ready(pod),
                    std::cmp::Reverse(text(&pod["metadata"]["creationTimestamp"]).to_owned()),
                )
            });
            let surplus = pods.len().saturating_sub(wanted);
            for pod in pods.drain(..surplus) {
                let (namespace, name) = key_of(&pod);
                // a pod that is gone already is as good
                let _ = cx.api.delete(&kinds::PODS, &namespace, &name);
            }
        }
        let min_ready = SignedDuration::from_secs(set["spec"]["minReadySeconds"].as_i64().unwrap_or(0));
        let ready: Vec<Timestamp> = pods
            .iter()
            .filter(|pod| is_ready(pod))
            .map(|pod| ready_since(pod))
            .collect();
        let available = ready.iter().filter(|since| **since + min_ready <= cx.now).count();
        if let Some(next) = ready
            .iter()
            .map(|since| *since + min_ready)
            .filter(|at| *at > cx.now)
            .min()
        {
            self.waiting.insert(key.clone(), next);
        }
        let status = Self::status(cx.now, set, &pods, ready.len(), available, failure);
        if set["status"] != status {
            let _ = cx.api.replace_status(&kinds::REPLICA_SETS, set, status);
        }
    }

    fn create(&self, cx: &mut Cx<'_>, namespace: &str, set: &Value) -> Result<Arc<Value>, String> {
        if let Some(quota) = self.quota
            && cx.api.list(&kinds::PODS, namespace).len() >= quota
        {
            return Err(format!("pods is forbidden: exceeded quota: pods={quota}"));
        }
        let template = &set["spec"]["template"];
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{}-{}", text(&set["metadata"]["name"]), suffix(cx.rng)),
                "namespace": namespace,
                "labels": template["metadata"].get("labels").cloned().unwrap_or_else(|| json!({})),
                "annotations": template["metadata"].get("annotations").cloned().unwrap_or_else(|| json!({})),
                "ownerReferences": [owner_reference(set)],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        });
        cx.api
            .create(&kinds::PODS, namespace, pod)
            .map_err(|e| e.to_string())
    }

    fn status(
        now: Timestamp,
        set: &Value,
        pods: &[Arc<Value>],
        ready: usize,
        available: usize,
        failure: Option<String>,
    ) -> Value {
        let mut status = json!({"replicas": pods.len(), "observedGeneration": set["metadata"]["generation"]});
        for (field, count) in [
            ("fullyLabeledReplicas", pods.len()),
            ("readyReplicas", ready),
            ("availableReplicas", available),
        ] {
            if count > 0 {
                status[field] = count.into();
            }
        }
        if let Some(message) = failure {
            let since = condition(set, "ReplicaFailure")
                .map_or_else(|| stamp(now), |c| text(&c["lastTransitionTime"]).to_owned());
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
                "lastTransitionTime": since,
            }]);
        }
        status
    }
}

fn ready_since(pod: &Value) -> Timestamp {
    condition(pod, "Ready")
        .and_then(|c| text(&c["lastTransitionTime"]).parse().ok())
        .unwrap_or(Timestamp::MIN)
}
