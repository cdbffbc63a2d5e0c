//! The horizontal pod autoscaler, for targets with a `/scale` subresource: as many pods as the requests need.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Actor, Cx, Key, key_of, kind_of, object_of, text};
use crate::api::{Kind, kinds};
use crate::store::Commit;

/// How often it looks.
const PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// The autoscaler. The wanted number is `spec.minReplicas` and `spec.maxReplicas` around the annotation
/// `sim.tidegate.io/replicas`, which scenarios set; without it, around the requests a second (all of the data plane's)
/// divided by the first metric's `pods.target.averageValue`.
#[derive(Debug, Default)]
pub struct Autoscaler {
    next: BTreeMap<Key, Timestamp>,
}

impl Actor for Autoscaler {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        kind_of(commit) == "HorizontalPodAutoscaler" && {
            self.next.insert(key_of(object_of(commit)), Timestamp::MIN);
            true
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        let due: Vec<Key> = self
            .next
            .iter()
            .filter(|(_, at)| **at <= cx.now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            match cx.api.get(&kinds::AUTOSCALERS, &key.0, &key.1) {
                None => {
                    self.next.remove(&key);
                }
                Some(autoscaler) => {
                    look(cx, &key, &autoscaler);
                    self.next.insert(key, cx.now + PERIOD);
                }
            }
        }
        self.next.values().min().copied()
    }
}

fn look(cx: &mut Cx<'_>, (namespace, _): &Key, autoscaler: &Value) {
    let spec = &autoscaler["spec"];
    let Some(kind) = target_kind(&spec["scaleTargetRef"]) else {
        return;
    };
    let target = text(&spec["scaleTargetRef"]["name"]);
    let Some(scale) = cx.api.get_scale(kind, namespace, target) else {
        return;
    };
    let current = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    let asked = autoscaler["metadata"]["annotations"]["sim.tidegate.io/replicas"].as_str();
    let per_pod = text(&spec["metrics"][0]["pods"]["target"]["averageValue"])
        .parse::<u32>()
        .ok();
    let wanted = match (
        asked.and_then(|a| a.parse::<i64>().ok()),
        per_pod.filter(|p| *p > 0),
    ) {
        (Some(asked), _) => asked,
        (None, Some(per_pod)) => {
            let requests: u32 = cx.dataplane.loads().map(|load| load.per_second).sum();
            i64::from(requests.div_ceil(per_pod))
        }
        (None, None) => current,
    };
    let bound = |field: &str, none: i64| spec[field].as_i64().unwrap_or(none);
    let lowest = bound("minReplicas", 1);
    let wanted = wanted.clamp(lowest, bound("maxReplicas", i64::MAX).max(lowest));
    // a target of 0 pods is switched off
    if current != 0 && wanted != current {
        let _ = cx.api.set_scale(kind, namespace, target, wanted);
    }
    let status = json!({"currentReplicas": scale["status"]["replicas"], "desiredReplicas": wanted});
    if autoscaler["status"] != status {
        let _ = cx.api.replace_status(&kinds::AUTOSCALERS, autoscaler, status);
    }
}

fn target_kind(reference: &Value) -> Option<&'static Kind> {
    match text(&reference["kind"]) {
        "Rollout" => Some(&kinds::ROLLOUTS),
        "Deployment" => Some(&kinds::DEPLOYMENTS),
        "ReplicaSet" => Some(&kinds::REPLICA_SETS),
        _ => None,
    }
}
