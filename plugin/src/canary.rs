//! Where a canary is in its steps, as clients count it.

use tidegate_crds::{CanaryStrategy, Rollout};

/// The canary strategy, if that is the strategy.
pub(crate) fn strategy(rollout: &Rollout) -> Option<&CanaryStrategy> {
    rollout.spec.strategy.as_ref()?.canary.as_ref()
}

/// `Canary`, `BlueGreen`, or nothing.
pub(crate) fn strategy_name(rollout: &Rollout) -> &'static str {
    match &rollout.spec.strategy {
        Some(strategy) if strategy.canary.is_some() => "Canary",
        Some(strategy) if strategy.blue_green.is_some() => "BlueGreen",
        _ => "",
    }
}

/// Number of the step in progress, counted from 0, and the number of steps; `None` without steps.
pub(crate) fn position(rollout: &Rollout) -> Option<(usize, usize)> {
    let steps = strategy(rollout)?.steps.len();
    let index = rollout.status.current_step_index.unwrap_or_default();
    (steps > 0).then(|| (usize::try_from(index).unwrap_or_default(), steps))
}

/// `1/4`; nothing without steps, or before the controller has looked.
pub(crate) fn step_text(rollout: &Rollout) -> Option<String> {
    rollout.status.current_step_index?;
    position(rollout).map(|(index, steps)| format!("{index}/{steps}"))
}

/// The share of traffic that the steps ask for now.
pub(crate) fn set_weight(rollout: &Rollout) -> i32 {
    let Some(canary) = strategy(rollout) else {
        return 0;
    };
    if rollout.status.abort == Some(true) {
        return 0;
    }
    match position(rollout) {
        Some((index, steps)) if index < steps => {
            let until_now = canary.steps.iter().take(index + 1);
            until_now
                .rev()
                .find_map(|step| step.set_weight)
                .unwrap_or_default()
        }
        _ => {
            let routing = canary.traffic_routing.as_ref();
            routing
                .and_then(|routing| routing.max_traffic_weight)
                .unwrap_or(100)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn weights_and_steps() {
        let steps = json!([{"pause": {}}, {"setWeight": 20}, {"pause": {}}, {"setWeight": 60}]);
        let canary = |steps: &Value, status: Value| {
            let object = json!({"spec": {"strategy": {"canary": {"steps": steps}}}, "status": status});
            let rollout: Rollout = serde_json::from_value(object).unwrap();
            (step_text(&rollout), set_weight(&rollout))
        };
        let at = |index: i32| canary(&steps, json!({"currentStepIndex": index}));
        assert_eq!(at(0), (Some("0/4".to_owned()), 0));
        assert_eq!(at(2), (Some("2/4".to_owned()), 20));
        assert_eq!(at(4), (Some("4/4".to_owned()), 100));
        assert_eq!(at(9), (Some("9/4".to_owned()), 100));
        assert_eq!(at(-1), (Some("0/4".to_owned()), 0));
        assert_eq!(canary(&steps, json!({})), (None, 0));
        assert_eq!(canary(&json!([]), json!({"currentStepIndex": 0})), (None, 100));
        assert_eq!(
            canary(&steps, json!({"currentStepIndex": 2, "abort": true})),
            (Some("2/4".to_owned()), 0)
        );
    }
}
