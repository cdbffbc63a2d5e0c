//! The state of a Rollout as a client says it: that of its status, unless the controller has not seen the last change yet.

use tidegate_crds::Rollout;
use tidegate_crds::labels::WORKLOAD_GENERATION_ANNOTATION;

/// Phase and message (contract 2.7, the wrapper of clients).
pub(crate) fn of(rollout: &Rollout) -> (String, String) {
    let progressing = |message: &str| ("Progressing".to_owned(), message.to_owned());
    if !generation_observed(rollout) {
        return progressing("waiting for rollout spec update to be observed");
    }
    let status = &rollout.status;
    if status.controller_pause == Some(true) && status.pause_conditions.is_empty() {
        return progressing("waiting for rollout to unpause");
    }
    if !workload_observed(rollout) {
        return progressing("waiting for rollout spec update to be observed for the reference workload");
    }
    match &status.phase {
        Some(phase) if !phase.as_str().is_empty() => {
            (phase.to_string(), status.message.clone().unwrap_or_default())
        }
        _ if rollout.spec.paused == Some(true) => ("Paused".to_owned(), "manually paused".to_owned()),
        // No controller has looked at it yet.
        _ => progressing("more replicas need to be updated"),
    }
}

/// Text that is no number, or a greater number, comes from a controller that counted otherwise: it counts as observed.
fn generation_observed(rollout: &Rollout) -> bool {
    let observed = rollout.status.observed_generation.as_deref();
    let generation = rollout.metadata.generation.unwrap_or_default();
    observed
        .and_then(|text| text.parse::<i64>().ok())
        .is_none_or(|observed| observed >= generation)
}

fn workload_observed(rollout: &Rollout) -> bool {
    if rollout.spec.workload_ref.is_none() {
        return true;
    }
    let wanted = rollout.metadata.annotations.get(WORKLOAD_GENERATION_ANNOTATION);
    let wanted = wanted.and_then(|text| text.parse::<i64>().ok());
    let observed = rollout.status.workload_observed_generation.as_deref();
    let observed = observed.and_then(|text| text.parse::<i64>().ok());
    wanted.is_none() || observed.is_none() || wanted == observed
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_comes_first_wins() {
        let observing = "waiting for rollout spec update to be observed";
        let workload = "waiting for rollout spec update to be observed for the reference workload";
        let rows: &[(Value, &str, &str)] = &[
            (json!({}), "Progressing", "more replicas need to be updated"),
            (json!({"spec": {"paused": true}}), "Paused", "manually paused"),
            (
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "2", "phase": "Healthy"}}),
                "Progressing",
                observing,
            ),
            (
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "3", "phase": "Healthy"}}),
                "Healthy",
                "",
            ),
            (
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "84", "phase": "Healthy"}}),
                "Healthy",
                "",
            ),
            (
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "b7f9", "phase": "Healthy"}}),
                "Healthy",
                "",
            ),
            (
                json!({"status": {"controllerPause": true, "phase": "Paused", "message": "CanaryPauseStep"}}),
                "Progressing",
                "waiting for rollout to unpause",
            ),
            (
                json!({"status": {
                    "controllerPause": true, "phase": "Paused", "message": "CanaryPauseStep",
                    "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}],
                }}),
                "Paused",
                "CanaryPauseStep",
            ),
            (
                json!({
                    "metadata": {"annotations": {"rollout.argoproj.io/workload-generation": "4"}},
                    "spec": {"workloadRef": {"name": "web"}},
                    "status": {"workloadObservedGeneration": "3", "phase": "Healthy"},
                }),
                "Progressing",
                workload,
            ),
            (
                json!({
                    "metadata": {"annotations": {"rollout.argoproj.io/workload-generation": "4"}},
                    "spec": {"workloadRef": {"name": "web"}},
                    "status": {"workloadObservedGeneration": "4", "phase": "Degraded", "message": "RolloutAborted: x"},
                }),
                "Degraded",
                "RolloutAborted: x",
            ),
        ];
        for (object, phase, message) in rows {
            let rollout: Rollout = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(
                of(&rollout),
                ((*phase).to_owned(), (*message).to_owned()),
                "{object}"
            );
        }
    }
}
