//! Conditions (contract 2.6). What makes them is what the rest of the status says.

use tidegate_crds::{ConditionStatus, RolloutCondition, RolloutConditionType, RolloutStatus, Time};

use crate::condition::{find, remove, replace};
use crate::context::{Context, Strategy};
use crate::counters::{active, positive};
use crate::draft::Draft;

/// What the conditions are made from.
pub(super) struct Facts {
    pub(super) paused: bool,
    pub(super) aborted: bool,
    pub(super) completed: bool,
    pub(super) healthy: bool,
}

/// What the rest of the status says.
pub(super) fn facts(cx: &Context<'_>, status: &RolloutStatus) -> Facts {
    Facts {
        paused: cx.spec_paused() || !status.pause_conditions.is_empty(),
        aborted: status.abort == Some(true),
        completed: status.stable_rs.is_some() && status.stable_rs.as_deref() == Some(cx.hash.as_str()),
        healthy: healthy(cx, status),
    }
}

/// Writes all but `Progressing`.
pub(super) fn write(cx: &Context<'_>, draft: &mut Draft, facts: &Facts) {
    use RolloutConditionType as Type;
    let minimum = minimum(cx, &draft.status);
    remove(&mut draft.status, &Type::InvalidSpec);
    if facts.healthy && !facts.paused {
        set(
            cx,
            draft,
            Type::Healthy,
            true,
            "RolloutHealthy",
            "Rollout is healthy",
        );
    } else if find(&draft.status, &Type::Healthy).is_some() {
        set(
            cx,
            draft,
            Type::Healthy,
            false,
            "RolloutHealthy",
            "Rollout is not healthy",
        );
    }
    let message = if minimum {
        "Rollout has minimum availability"
    } else {
        "Rollout does not have minimum availability"
    };
    set(cx, draft, Type::Available, minimum, "AvailableReason", message);
    let completed = "RolloutCompleted";
    set(cx, draft, Type::Completed, facts.completed, completed, completed);
    // Without ever having been paused there is no such condition; an abort leaves it as it is.
    let was_paused = find(&draft.status, &Type::Paused).is_some();
    if !facts.aborted && (facts.paused || was_paused) {
        set(
            cx,
            draft,
            Type::Paused,
            facts.paused,
            "RolloutPaused",
            "Rollout is paused",
        );
    }
    match cx.owned().find_map(|rs| rs.failure.as_ref()) {
        Some((reason, message)) => set(cx, draft, Type::ReplicaFailure, true, reason, message),
        None => remove(&mut draft.status, &Type::ReplicaFailure),
    }
}

/// As many pods as there are to be can serve.
fn minimum(cx: &Context<'_>, status: &RolloutStatus) -> bool {
    match cx.strategy {
        Strategy::Canary(_) => cx.available() >= cx.size,
        Strategy::BlueGreen(_) => {
            let active = active(status);
            cx.owned()
                // Counters say the same of pods whose labels have just been changed.
                .any(|rs| !active.is_empty() && rs.hash == active && rs.serving() >= cx.size)
        }
    }
}

/// Healthy as upstream defines it (contract 2.6).
fn healthy(cx: &Context<'_>, status: &RolloutStatus) -> bool {
    let current = cx.hash.as_str();
    let size = positive(cx.size);
    let complete = status.updated_replicas == size && status.available_replicas == size && cx.new.is_some();
    complete
        && match cx.strategy {
            Strategy::Canary(canary) => {
                let steps = canary.end();
                status.replicas == size
                    && status.stable_rs.as_deref() == Some(current)
                    && (steps == 0 || status.current_step_index == Some(steps))
            }
            Strategy::BlueGreen(spec) => {
                let bg = status.blue_green.clone().unwrap_or_default();
                bg.active_selector.as_deref() == Some(current)
                    && (spec.preview_service.is_none() || bg.preview_selector.as_deref() == Some(current))
            }
        }
}

/// Whether something is so; not every condition knows.
pub(super) struct Truth(ConditionStatus);

impl Truth {
    pub(super) const UNKNOWN: Self = Self(ConditionStatus::Unknown);
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        Self(if value {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        })
    }
}

/// Sets a condition; the same status and reason leave it as it is (contract 2.6).
pub(super) fn set(
    cx: &Context<'_>,
    draft: &mut Draft,
    type_: RolloutConditionType,
    to: impl Into<Truth>,
    reason: &str,
    message: &str,
) {
    let Truth(to) = to.into();
    let old = find(&draft.status, &type_);
    if old.is_some_and(|c| c.status == to && c.reason == reason) {
        return;
    }
    let time = Time::from(cx.now);
    let kept = old
        .filter(|c| c.status == to)
        .map_or(time, |c| c.last_transition_time);
    let condition = RolloutCondition {
        type_,
        status: to,
        last_update_time: time,
        last_transition_time: kept,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    replace(&mut draft.status, condition);
}
