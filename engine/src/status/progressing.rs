//! The condition `Progressing`, which carries the clock of the progress deadline (contract 2.6).

use tidegate_crds::{ConditionStatus, RolloutCondition, RolloutConditionType, RolloutStatus, Time};

use super::conditions::{Facts, Truth, set};
use super::refused;
use crate::condition::{find, replace};
use crate::context::Context;
use crate::deadline;
use crate::draft::Draft;
use crate::why::Reason;

/// Its reason, as it is before this plan.
struct Before {
    condition: Option<RolloutCondition>,
    reason: String,
}

/// Writes it: the first that is so.
pub(super) fn write(cx: &Context<'_>, draft: &mut Draft, facts: &Facts) {
    let condition = find(&draft.status, &RolloutConditionType::Progressing).cloned();
    let reason = condition.as_ref().map_or("", |c| c.reason.as_str()).to_owned();
    let before = Before { condition, reason };
    let seen = cx.status();
    if facts.aborted {
        return aborted(cx, draft, &before);
    }
    if seen.aborted_at.is_some() && before.reason == "RolloutAborted" && !facts.completed {
        say(
            cx,
            draft,
            Truth::UNKNOWN,
            "RolloutRetry",
            "Retrying Rollout after abort",
        );
        return;
    }
    // Once the update is complete there is no progress that a pause could hold up.
    if facts.paused && !facts.completed {
        return paused(cx, draft, &before);
    }
    // Told when the controller itself ends a pause, not when a client did.
    if before.reason == "RolloutPaused" && !seen.pause_conditions.is_empty() {
        draft.tell(false, "RolloutResumed", "Rollout is resumed".to_owned());
    }
    if facts.healthy {
        let message = format!("{} has successfully progressed.", subject(cx));
        say(cx, draft, true, "NewReplicaSetAvailable", &message);
        return;
    }
    let refused = refused::of_creation(draft);
    if let Some(message) = refused
        .as_ref()
        .filter(|_| before.reason != "ProgressDeadlineExceeded" || crate::promotion::begins(cx))
    {
        say(cx, draft, false, "ReplicaSetCreateError", message);
    }
    let settled = before.reason == "NewReplicaSetAvailable"
        && facts.completed
        && seen.current_pod_hash.as_deref() == Some(cx.hash.as_str());
    if refused.is_none() && settled {
        if cx.available() < cx.size {
            // A fully promoted Rollout lost pods: the clock starts anew.
            let message = "Rollout does not have minimum availability";
            say(cx, draft, true, "ReplicaSetNotAvailable", message);
        }
        return;
    }
    under_way(cx, draft, &before, refused.is_some());
}

fn say(cx: &Context<'_>, draft: &mut Draft, to: impl Into<Truth>, reason: &str, message: &str) {
    set(cx, draft, RolloutConditionType::Progressing, to, reason, message);
}

fn subject(cx: &Context<'_>) -> String {
    format!("ReplicaSet \"{}-{}\"", cx.name(), cx.hash)
}

fn aborted(cx: &Context<'_>, draft: &mut Draft, before: &Before) {
    let revision = crate::revision::new_revision(cx);
    let message = format!("Rollout aborted update to revision {revision}");
    let because = draft.why.iter().find_map(|why| match why {
        Reason::Aborted { because } => Some(because),
        _ => None,
    });
    // The message says by what; it is written once, when the abort is.
    let message = match because {
        Some(because) if !because.is_empty() => format!("{message}: {because}"),
        _ if before.reason == "RolloutAborted" => return,
        _ => message,
    };
    if before.reason != "RolloutAborted" {
        draft.tell(true, "RolloutAborted", message.clone());
    }
    say(cx, draft, false, "RolloutAborted", &message);
}

fn paused(cx: &Context<'_>, draft: &mut Draft, before: &Before) {
    if before.reason == "RolloutPaused" {
        return;
    }
    say(cx, draft, Truth::UNKNOWN, "RolloutPaused", "Rollout is paused");
    let pause = draft.status.pause_conditions.first();
    let why = pause.map_or(String::new(), |pause| format!(" ({})", pause.reason));
    draft.tell(false, "RolloutPaused", format!("Rollout is paused{why}"));
}

/// An update that is not complete: how far it has come, and whether that is too slow.
fn under_way(cx: &Context<'_>, draft: &mut Draft, before: &Before, refused: bool) {
    let Before {
        condition: old,
        reason,
    } = before;
    // While the ReplicaSet is refused the clock goes on, also when it is tried again.
    let waits = cx.new.is_none() && reason == "ReplicaSetCreateError";
    let turned = turned(cx, draft, reason, waits);
    let at = deadline::follow(cx, turned, draft);
    let stuck = reason == "ProgressDeadlineExceeded";
    // What counts as stuck has got no better since before that was told.
    let better = |written: Time| written < at || stuck && written == at;
    let told = old.as_ref().is_none_or(|c| turned || better(c.last_update_time));
    if !refused && !waits && told {
        let since = old.as_ref().filter(|c| c.status == ConditionStatus::True);
        let condition = RolloutCondition {
            type_: RolloutConditionType::Progressing,
            status: ConditionStatus::True,
            last_update_time: at,
            last_transition_time: since.map_or(Time::from(cx.now), |c| c.last_transition_time),
            reason: "ReplicaSetUpdated".to_owned(),
            message: format!("{} is progressing.", subject(cx)),
        };
        replace(&mut draft.status, condition);
    }
    let overdue = deadline::overdue(cx, at, draft);
    let still = find(&draft.status, &RolloutConditionType::Progressing)
        .is_some_and(|c| c.reason == "ProgressDeadlineExceeded");
    if overdue || still {
        draft.because(Reason::DeadlineExceeded {
            replica_set: cx.new.map_or(String::new(), |rs| rs.name.clone()),
        });
    }
    if overdue && !stuck {
        let message = format!("{} has timed out progressing.", subject(cx));
        say(cx, draft, false, "ProgressDeadlineExceeded", &message);
    }
}

/// Whether the update has reached something that starts its clock anew.
fn turned(cx: &Context<'_>, draft: &Draft, reason: &str, waits: bool) -> bool {
    let running = [
        "ReplicaSetUpdated",
        "ReplicaSetNotAvailable",
        "ProgressDeadlineExceeded",
    ];
    let selectors = |status: &RolloutStatus| {
        let bg = status.blue_green.as_ref();
        bg.map(|bg| (bg.active_selector.clone(), bg.preview_selector.clone()))
    };
    let seen = cx.status();
    !waits && !running.contains(&reason)
        || draft.status.current_pod_hash != seen.current_pod_hash
        || draft.status.current_step_index != seen.current_step_index
        || draft.status.stable_rs != seen.stable_rs
        || selectors(&draft.status) != selectors(seen)
        || deadline::measures(seen) && !deadline::measures(&draft.status)
}
