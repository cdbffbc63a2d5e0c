//! What the status says: counters, conditions, phase and message (contract 2.5 to 2.7).

use jiff::Timestamp;
use tidegate_crds::{
    ConditionStatus, RolloutCondition, RolloutConditionType, RolloutPhase, RolloutStatus, Time,
};

use crate::condition::{find, replace};
use crate::context::{Context, Strategy};
use crate::counters::{self, active};
use crate::draft::Draft;
use crate::plan::Urgency;

mod conditions;
mod progressing;
mod refused;

/// Fills in what follows from the rest of the status: counters, conditions, phase, message.
pub(crate) fn complete(cx: &Context<'_>, draft: &mut Draft) {
    counters::count(cx, &mut draft.status);
    let facts = conditions::facts(cx, &draft.status);
    progressing::write(cx, draft, &facts);
    conditions::write(cx, draft, &facts);
    refused::record(cx, draft);
    let (phase, mut message) = phase(cx, &draft.status);
    if let Some(refused) = refused::in_short(draft).filter(|_| phase == RolloutPhase::Progressing) {
        message = format!("{message} ({refused})");
    }
    draft.status.phase = Some(phase);
    draft.status.message = (!message.is_empty()).then_some(message);
    draft.status.observed_generation = Some(cx.rollout().metadata.generation.unwrap_or(0).to_string());
    let workload = cx.seen.workload.as_ref().filter(|_| cx.valid.workload.is_some());
    draft.status.workload_observed_generation = workload.map(|w| w.generation.to_string());
}

/// Phase and message (contract 2.7, order matters).
fn phase(cx: &Context<'_>, status: &RolloutStatus) -> (RolloutPhase, String) {
    use RolloutConditionType as Type;
    let progressing = |text: &str| (RolloutPhase::Progressing, text.to_owned());
    if let Some(c) = find(status, &Type::InvalidSpec) {
        return (RolloutPhase::Degraded, format!("{}: {}", c.reason, c.message));
    }
    if let Some(c) = find(status, &Type::Progressing)
        && (c.reason == "RolloutAborted" || c.reason == "ProgressDeadlineExceeded")
    {
        return (RolloutPhase::Degraded, format!("{}: {}", c.reason, c.message));
    }
    if cx.spec_paused() {
        return (RolloutPhase::Paused, "manually paused".to_owned());
    }
    if let Some(pause) = status.pause_conditions.first() {
        return (RolloutPhase::Paused, pause.reason.to_string());
    }
    // One of the future counts too.
    if let Some(at) = cx.valid.restart_at
        && status.restarted_at != Some(at)
    {
        return progressing("rollout is restarting");
    }
    let updated = status.updated_replicas.unwrap_or(0);
    if updated < cx.size {
        return progressing("more replicas need to be updated");
    }
    if status.available_replicas.unwrap_or(0) < updated {
        return progressing("updated replicas are still becoming available");
    }
    let current = status.current_pod_hash.as_deref().unwrap_or_default();
    let stable = status.stable_rs.as_deref().unwrap_or_default();
    match cx.strategy {
        Strategy::BlueGreen(_) => {
            let active = active(status);
            if active != current {
                return progressing("active service cutover pending");
            }
            if stable != current {
                return progressing("waiting for analysis to complete");
            }
        }
        Strategy::Canary(canary) => {
            if canary.traffic_routing.is_none() && status.replicas.unwrap_or(0) > updated {
                return progressing("old replicas are pending termination");
            }
            if stable != current {
                return progressing("waiting for all steps to complete");
            }
        }
    }
    if cx.new.is_some_and(|rs| rs.available < updated) {
        // The pods of other versions do not make up for those of this one.
        return progressing("updated replicas are still becoming available");
    }
    (RolloutPhase::Healthy, String::new())
}

/// The status of a Rollout whose spec, or what it refers to, is invalid: condition, phase and nothing else
/// (contract 4).
pub(crate) fn invalid(status: &mut RolloutStatus, now: Timestamp, text: &str) {
    let same = find(status, &RolloutConditionType::InvalidSpec).is_some_and(|c| c.message == text);
    if !same {
        let time = Time::from(now);
        let condition = RolloutCondition {
            type_: RolloutConditionType::InvalidSpec,
            status: ConditionStatus::True,
            last_update_time: time,
            last_transition_time: time,
            reason: "InvalidSpec".to_owned(),
            message: text.to_owned(),
        };
        replace(status, condition);
    }
    status.phase = Some(RolloutPhase::Degraded);
    status.message = Some(format!("InvalidSpec: {text}"));
}

/// Whether a changed status is worth a write at once: anything but counters and the words that follow from them, and these
/// as well once nothing moves any more. Clients and autoscalers wait for where counters end, not for the way there.
pub(crate) fn urgency(cx: &Context<'_>, draft: &Draft) -> Urgency {
    let still = |rs: &crate::observed::ReplicaSetView| {
        rs.observed_generation >= rs.generation
            && rs.replicas == rs.spec_replicas
            && rs.available == rs.spec_replicas
    };
    if !draft.writes() && cx.owned().all(still) {
        return Urgency::Now;
    }
    urgency_of(cx.status(), &draft.status)
}

fn urgency_of(old: &RolloutStatus, new: &RolloutStatus) -> Urgency {
    let mut masked = new.clone();
    masked.replicas = old.replicas;
    masked.updated_replicas = old.updated_replicas;
    masked.ready_replicas = old.ready_replicas;
    masked.available_replicas = old.available_replicas;
    masked.hpa_replicas = old.hpa_replicas;
    // What turns in the duration turns elsewhere too; its end alone can wait for that.
    masked.duration.clone_from(&old.duration);
    if masked.phase == old.phase {
        masked.message.clone_from(&old.message);
    }
    // The clock of the deadline moves with the counters.
    let clock = find(old, &RolloutConditionType::Progressing).map(|c| c.last_update_time);
    for condition in &mut masked.conditions {
        if condition.type_ == RolloutConditionType::Progressing
            && condition.reason == "ReplicaSetUpdated"
            && let Some(clock) = clock
        {
            condition.last_update_time = clock;
        }
    }
    // Which version the weights are for follows from the rest, as long as they are the same weights.
    let weights = |status: &RolloutStatus| status.canary.as_ref().and_then(|c| c.weights.clone());
    if let (Some(before), Some(after)) = (weights(old), weights(&masked))
        && before.canary.weight == after.canary.weight
        && before.stable.weight == after.stable.weight
        && let Some(canary) = &mut masked.canary
    {
        canary.weights = Some(before);
    }
    if masked == *old {
        Urgency::Soon
    } else {
        Urgency::Now
    }
}
