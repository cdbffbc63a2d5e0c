//! What the status says: counters, conditions, phase and message (contract 2.5 to 2.7).

use jiff::Timestamp;
use tidegate_crds::{
    ConditionStatus, LabelSelector, PauseReason, RolloutCondition, RolloutConditionType, RolloutPhase,
    RolloutStatus, Time,
};

use crate::context::{Context, Strategy, saturated};
use crate::draft::Draft;
use crate::plan::Urgency;
use crate::progress;
use crate::refusal;
use crate::why::Reason;

/// Fills in what follows from the rest of the status: counters, conditions, phase, message.
pub(crate) fn complete(cx: &Context<'_>, draft: &mut Draft) {
    counters(cx, &mut draft.status);
    conditions(cx, draft);
    refusal::record(cx, draft);
    let (phase, mut message) = phase(cx, &draft.status);
    if let Some(refused) = refusal::in_short(draft).filter(|_| phase == RolloutPhase::Progressing) {
        message = format!("{message} ({refused})");
    }
    draft.status.phase = Some(phase);
    draft.status.message = (!message.is_empty()).then_some(message);
    draft.status.observed_generation = Some(cx.rollout().metadata.generation.unwrap_or(0).to_string());
    let workload = cx
        .seen
        .workload
        .as_ref()
        .filter(|_| cx.rollout().spec.workload_ref.is_some());
    draft.status.workload_observed_generation = workload.map(|w| w.generation.to_string());
}

fn positive(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Counts the pods (contract 2.5).
pub(crate) fn counters(cx: &Context<'_>, status: &mut RolloutStatus) {
    let sum = |count: fn(&crate::observed::ReplicaSetView) -> i32| {
        cx.owned().map(count).fold(0, i32::saturating_add)
    };
    let replicas = sum(|rs| rs.replicas);
    status.replicas = positive(replicas);
    status.updated_replicas = cx.new.and_then(|rs| positive(rs.replicas));
    let base = selector_text(cx);
    match cx.strategy {
        Strategy::Canary(_) => {
            status.ready_replicas = positive(sum(|rs| rs.ready));
            status.available_replicas = positive(sum(|rs| rs.available));
            status.hpa_replicas = positive(replicas);
            status.selector = Some(base);
        }
        Strategy::BlueGreen(_) => {
            let active = status
                .blue_green
                .as_ref()
                .and_then(|bg| bg.active_selector.clone())
                .unwrap_or_default();
            let rs = cx.owned().find(|rs| !active.is_empty() && rs.hash == active);
            status.ready_replicas = rs.and_then(|rs| positive(rs.ready));
            status.available_replicas = rs.and_then(|rs| positive(rs.available));
            // Before there is an active version, the newest stands for it.
            let scaled = rs.or(cx.new.filter(|_| active.is_empty()));
            status.hpa_replicas = scaled.and_then(|rs| positive(rs.replicas));
            status.selector = Some(match rs {
                Some(_) => format!(
                    "{base},{}={active}",
                    tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL
                ),
                None => base,
            });
        }
    }
}

/// A label selector in the text form that the scale subresource wants.
fn selector_text(cx: &Context<'_>) -> String {
    let own = cx.rollout().spec.selector.as_ref();
    let selector: Option<&LabelSelector> =
        own.or_else(|| cx.seen.workload.as_ref().and_then(|w| w.selector.as_ref()));
    let Some(selector) = selector else {
        return String::new();
    };
    let mut terms: Vec<String> = selector
        .match_labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for term in &selector.match_expressions {
        let (key, mut values) = (&term.key, term.values.clone());
        values.sort();
        terms.push(match term.operator.as_str() {
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            _ => format!("{key} in ({})", values.join(",")),
        });
    }
    terms.sort();
    terms.join(",")
}

fn conditions(cx: &Context<'_>, draft: &mut Draft) {
    use RolloutConditionType as Type;
    let status = &draft.status;
    let paused = cx.spec_paused() || !status.pause_conditions.is_empty();
    let aborted = status.abort == Some(true);
    let completed = status.stable_rs.is_some() && status.stable_rs.as_deref() == Some(cx.hash.as_str());
    let healthy = healthy(cx, status);
    let minimum = match cx.strategy {
        Strategy::Canary(_) => cx.available() >= cx.size,
        Strategy::BlueGreen(_) => {
            let active = status
                .blue_green
                .as_ref()
                .and_then(|bg| bg.active_selector.as_deref())
                .unwrap_or_default();
            cx.owned()
                .any(|rs| !active.is_empty() && rs.hash == active && saturated(rs, cx.size))
        }
    };
    let facts = Facts {
        paused,
        aborted,
        completed,
        healthy,
    };
    progressing(cx, draft, &facts);

    let status = &mut draft.status;
    remove(status, &Type::InvalidSpec);
    if healthy && !paused {
        set(
            status,
            cx.now,
            Type::Healthy,
            true.into(),
            "RolloutHealthy",
            "Rollout is healthy",
        );
    } else if find(status, &Type::Healthy).is_some() {
        set(
            status,
            cx.now,
            Type::Healthy,
            false.into(),
            "RolloutHealthy",
            "Rollout is not healthy",
        );
    }
    let message = if minimum {
        "Rollout has minimum availability"
    } else {
        "Rollout does not have minimum availability"
    };
    set(
        status,
        cx.now,
        Type::Available,
        minimum.into(),
        "AvailableReason",
        message,
    );
    set(
        status,
        cx.now,
        Type::Completed,
        completed.into(),
        "RolloutCompleted",
        "RolloutCompleted",
    );
    if paused && !aborted {
        set(
            status,
            cx.now,
            Type::Paused,
            true.into(),
            "RolloutPaused",
            "Rollout is paused",
        );
    } else if find(status, &Type::Paused).is_some() && !aborted {
        set(
            status,
            cx.now,
            Type::Paused,
            false.into(),
            "RolloutPaused",
            "Rollout is paused",
        );
    }
    match cx.owned().find_map(|rs| rs.failure.as_ref()) {
        Some((reason, message)) => set(status, cx.now, Type::ReplicaFailure, true.into(), reason, message),
        None => remove(status, &Type::ReplicaFailure),
    }
}

struct Truth(ConditionStatus);

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        Self(if value {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        })
    }
}

/// What the conditions are made from.
struct Facts {
    paused: bool,
    aborted: bool,
    completed: bool,
    healthy: bool,
}

/// The condition that carries the clock of the progress deadline (contract 2.6).
fn progressing(cx: &Context<'_>, draft: &mut Draft, facts: &Facts) {
    use RolloutConditionType as Type;

    let Facts {
        paused,
        aborted,
        completed,
        healthy,
    } = *facts;
    let old = find(&draft.status, &Type::Progressing).cloned();
    let reason = old.as_ref().map_or("", |c| c.reason.as_str()).to_owned();
    let seen = cx.status();
    let revision = crate::revision::new_revision(cx);
    let unknown = || Truth(ConditionStatus::Unknown);

    if aborted {
        let message = format!("Rollout aborted update to revision {revision}");
        // The message says by what; it is written once, when the abort is.
        let message = match draft.why.iter().find_map(|w| {
            if let Reason::Aborted { because } = w {
                Some(because)
            } else {
                None
            }
        }) {
            Some(because) if !because.is_empty() => format!("{message}: {because}"),
            _ if reason == "RolloutAborted" => return,
            _ => message,
        };
        if reason != "RolloutAborted" {
            draft.tell(true, "RolloutAborted", message.clone());
        }
        set(
            &mut draft.status,
            cx.now,
            Type::Progressing,
            false.into(),
            "RolloutAborted",
            &message,
        );
        return;
    }
    if seen.aborted_at.is_some() && reason == "RolloutAborted" && !completed {
        set(
            &mut draft.status,
            cx.now,
            Type::Progressing,
            unknown(),
            "RolloutRetry",
            "Retrying Rollout after abort",
        );
        return;
    }
    // Once the update is complete there is no progress that a pause could hold up.
    if paused && !completed {
        if reason != "RolloutPaused" {
            set(
                &mut draft.status,
                cx.now,
                Type::Progressing,
                unknown(),
                "RolloutPaused",
                "Rollout is paused",
            );
            let why = draft
                .status
                .pause_conditions
                .first()
                .map_or(String::new(), |p| format!(" ({})", p.reason));
            draft.tell(false, "RolloutPaused", format!("Rollout is paused{why}"));
        }
        return;
    }
    // Told when the controller itself ends a pause, not when a client did.
    if reason == "RolloutPaused" && !seen.pause_conditions.is_empty() {
        draft.tell(false, "RolloutResumed", "Rollout is resumed".to_owned());
    }
    let subject = format!("ReplicaSet \"{}-{}\"", cx.name(), cx.hash);
    if healthy {
        let message = format!("{subject} has successfully progressed.");
        set(
            &mut draft.status,
            cx.now,
            Type::Progressing,
            true.into(),
            "NewReplicaSetAvailable",
            &message,
        );
        return;
    }
    let refused = refusal::of_creation(draft);
    if let Some(message) = refused.as_ref().filter(|_| reason != "ProgressDeadlineExceeded") {
        set(
            &mut draft.status,
            cx.now,
            Type::Progressing,
            false.into(),
            "ReplicaSetCreateError",
            message,
        );
    }
    if refused.is_none()
        && reason == "NewReplicaSetAvailable"
        && completed
        && seen.current_pod_hash.as_deref() == Some(cx.hash.as_str())
    {
        if cx.available() < cx.size {
            // A fully promoted Rollout lost pods: the clock starts anew.
            let message = "Rollout does not have minimum availability";
            set(
                &mut draft.status,
                cx.now,
                Type::Progressing,
                true.into(),
                "ReplicaSetNotAvailable",
                message,
            );
        }
        return;
    }
    let running = [
        "ReplicaSetUpdated",
        "ReplicaSetNotAvailable",
        "ProgressDeadlineExceeded",
    ];
    let selectors = |status: &RolloutStatus| {
        let bg = status.blue_green.as_ref();
        bg.map(|bg| (bg.active_selector.clone(), bg.preview_selector.clone()))
    };
    // While the ReplicaSet is refused the clock goes on, also when it is tried again.
    let waits = cx.new.is_none() && reason == "ReplicaSetCreateError";
    let turned = !waits && !running.contains(&reason.as_str())
        || draft.status.current_step_index != seen.current_step_index
        || draft.status.stable_rs != seen.stable_rs
        || selectors(&draft.status) != selectors(seen);
    let at = progress::follow(cx, turned, draft);
    let stuck = reason == "ProgressDeadlineExceeded";
    // What counts as stuck has got no better since before that was told.
    let better = |written: Time| written < at || stuck && written == at;
    let told = old.as_ref().is_none_or(|c| turned || better(c.last_update_time));
    if refused.is_none() && !waits && told {
        let condition = RolloutCondition {
            type_: Type::Progressing,
            status: ConditionStatus::True,
            last_update_time: at,
            last_transition_time: old
                .filter(|c| c.status == ConditionStatus::True)
                .map_or(Time::from(cx.now), |c| c.last_transition_time),
            reason: "ReplicaSetUpdated".to_owned(),
            message: format!("{subject} is progressing."),
        };
        replace(&mut draft.status, condition);
    }
    let overdue = progress::overdue(cx, at, draft);
    let still =
        find(&draft.status, &Type::Progressing).is_some_and(|c| c.reason == "ProgressDeadlineExceeded");
    if overdue || still {
        draft.because(Reason::DeadlineExceeded {
            replica_set: cx.new.map_or(String::new(), |rs| rs.name.clone()),
        });
    }
    if overdue && !stuck {
        let message = format!("{subject} has timed out progressing.");
        set(
            &mut draft.status,
            cx.now,
            Type::Progressing,
            false.into(),
            "ProgressDeadlineExceeded",
            &message,
        );
    }
}

/// Healthy as upstream defines it (contract 2.6).
fn healthy(cx: &Context<'_>, status: &RolloutStatus) -> bool {
    let current = cx.hash.as_str();
    let size = positive(cx.size);
    let complete = status.updated_replicas == size
        && status.available_replicas == size
        && cx.new.is_some_and(|rs| rs.observed_generation >= rs.generation);
    complete
        && match cx.strategy {
            Strategy::Canary(canary) => {
                let steps = i32::try_from(canary.steps.len()).unwrap_or(i32::MAX);
                status.replicas == size
                    && status.stable_rs.as_deref() == Some(current)
                    && (steps == 0 || status.current_step_index == Some(steps))
            }
            Strategy::BlueGreen(spec) => {
                let bg = status.blue_green.clone().unwrap_or_default();
                let preview = spec.preview_service.as_deref().unwrap_or_default();
                bg.active_selector.as_deref() == Some(current)
                    && (preview.is_empty() || bg.preview_selector.as_deref() == Some(current))
            }
        }
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
    if let Some(at) = cx.rollout().spec.restart_at
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
            let active = status
                .blue_green
                .as_ref()
                .and_then(|bg| bg.active_selector.as_deref())
                .unwrap_or_default();
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

pub(crate) fn find<'s>(
    status: &'s RolloutStatus,
    type_: &RolloutConditionType,
) -> Option<&'s RolloutCondition> {
    status.conditions.iter().find(|c| c.type_ == *type_)
}

pub(crate) fn remove(status: &mut RolloutStatus, type_: &RolloutConditionType) {
    status.conditions.retain(|c| c.type_ != *type_);
}

pub(crate) fn replace(status: &mut RolloutStatus, condition: RolloutCondition) {
    match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(old) => *old = condition,
        None => status.conditions.push(condition),
    }
}

/// Sets a condition; the same status and reason leave it as it is (contract 2.6).
fn set(
    status: &mut RolloutStatus,
    now: Timestamp,
    type_: RolloutConditionType,
    to: Truth,
    reason: &str,
    message: &str,
) {
    let old = find(status, &type_);
    if old.is_some_and(|c| c.status == to.0 && c.reason == reason) {
        return;
    }
    let time = Time::from(now);
    let kept = old
        .filter(|c| c.status == to.0)
        .map_or(time, |c| c.last_transition_time);
    replace(
        status,
        RolloutCondition {
            type_,
            status: to.0,
            last_update_time: time,
            last_transition_time: kept,
            reason: reason.to_owned(),
            message: message.to_owned(),
        },
    );
}

/// A pause that a person, or time, has to end.
pub(crate) fn pause(cx: &Context<'_>, status: &mut RolloutStatus, reason: PauseReason) {
    if !status.pause_conditions.iter().any(|p| p.reason == reason) {
        status.pause_conditions.push(tidegate_crds::PauseCondition {
            reason,
            start_time: Time::from(cx.now),
        });
    }
    status.controller_pause = Some(true);
}
