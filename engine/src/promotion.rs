//! Turning points of an update, the same for both strategies: it begins, is promoted, aborted or retried (contract 3.7).

use tidegate_crds::{
    CanaryStatus, CompletionStatus, ConditionStatus, RolloutConditionType, RolloutDuration, RolloutStatus,
    Time, labels,
};

use crate::context::{Annotated, Context, Strategy};
use crate::draft::Draft;
use crate::revision::{self, new_revision};
use crate::runs::Verdict;
use crate::status;
use crate::why::Reason;

/// The template, or the steps of a canary, are not what the status was made for.
pub(crate) fn changed(cx: &Context<'_>) -> bool {
    let status = cx.status();
    let same_template = status.current_pod_hash.as_deref() == Some(cx.hash.as_str());
    let same_steps = match cx.strategy {
        Strategy::Canary(_) => status.current_step_hash.as_deref() == Some(cx.identity.step_hash.as_str()),
        // Coming from a canary, there are steps to forget.
        Strategy::BlueGreen(_) => status.current_step_index.is_none(),
    };
    !same_template || !same_steps
}

/// Starts the record anew for the version in the spec.
pub(crate) fn reset(cx: &Context<'_>, draft: &mut Draft, index: Option<i32>) {
    let status = &mut draft.status;
    let new_template = status.current_pod_hash.as_deref() != Some(cx.hash.as_str());
    status.current_pod_hash = Some(cx.hash.clone());
    status.current_step_hash = match cx.strategy {
        Strategy::Canary(_) => Some(cx.identity.step_hash.clone()),
        Strategy::BlueGreen(_) => None,
    };
    status.current_step_index = index;
    status.pause_conditions.clear();
    status.controller_pause = None;
    status.abort = None;
    status.aborted_at = None;
    status.promote_full = None;
    match cx.strategy {
        Strategy::Canary(_) => {
            status.blue_green = None;
            let canary = status.canary.get_or_insert_with(CanaryStatus::default);
            canary.current_step_analysis_run_status = None;
            canary.current_background_analysis_run_status = None;
            canary.current_experiment = None;
            canary.step_plugin_statuses.clear();
        }
        Strategy::BlueGreen(_) => {
            status.canary = None;
            let bg = status.blue_green.get_or_insert_default();
            bg.pre_promotion_analysis_run_status = None;
            bg.post_promotion_analysis_run_status = None;
            bg.scale_up_preview_check_point = None;
        }
    }
    if new_template && !(cx.fully_promoted() && cx.stable.is_some()) {
        status.duration = Some(RolloutDuration {
            rollout_started_at: Some(Time::from(cx.now)),
            ..RolloutDuration::default()
        });
    }
}

/// Tells that an update begins (contract 2.8).
pub(crate) fn tell_begin(cx: &Context<'_>, draft: &mut Draft) {
    if !cx.fully_promoted() {
        let (revision, hash) = (new_revision(cx), &cx.hash);
        draft.tell(
            false,
            "RolloutNotCompleted",
            format!("Rollout not completed, started update to revision {revision} ({hash})"),
        );
    }
}

/// Whether the update is being taken back: because a client said so, an analysis failed, or pods did not come in time
/// (`progressDeadlineAbort`).
pub(crate) fn aborting(cx: &Context<'_>, verdict: &Verdict<'_>, draft: &mut Draft) -> bool {
    let status = cx.status();
    if cx.fully_promoted() || cx.stable.is_none() && cx.stable_hash().is_empty() {
        return false;
    }
    if let Some(because) = verdict.failure(cx) {
        draft.because(Reason::Aborted { because });
        return true;
    }
    if status.abort == Some(true) {
        draft.because(Reason::Aborted {
            because: String::new(),
        });
        return true;
    }
    let exceeded = status::find(status, &RolloutConditionType::Progressing)
        .is_some_and(|c| c.reason == "ProgressDeadlineExceeded" && c.status == ConditionStatus::False);
    let late = exceeded || status::deadline(cx, status).is_some_and(|deadline| cx.now >= deadline);
    if late && cx.rollout().spec.progress_deadline_abort == Some(true) {
        let name = cx.new.map_or(cx.name(), |rs| rs.name.as_str());
        draft.because(Reason::Aborted {
            because: format!("ReplicaSet \"{name}\" has timed out progressing."),
        });
        return true;
    }
    false
}

/// A client took the abort back.
pub(crate) fn retried(cx: &Context<'_>) -> bool {
    cx.status().aborted_at.is_some() && cx.status().abort != Some(true) && !cx.fully_promoted()
}

/// Records the abort.
pub(crate) fn abort(cx: &Context<'_>, draft: &mut Draft, index: Option<i32>) {
    let now = Time::from(cx.now);
    let status = &mut draft.status;
    status.abort = Some(true);
    status.aborted_at = status.aborted_at.or(Some(now));
    status.current_step_index = index;
    status.pause_conditions.clear();
    status.controller_pause = None;
    finish(status, now, CompletionStatus::Aborted);
}

/// Makes the new version the stable one; `reason` tells why (contract 3.7). Repeating it is harmless.
pub(crate) fn promote(cx: &Context<'_>, draft: &mut Draft, reason: &str, index: Option<i32>) {
    let promoted = !cx.fully_promoted();
    let rolled_back = promoted
        && cx
            .stable
            .zip(cx.new)
            .is_some_and(|(stable, new)| new.created < stable.created);
    let full = cx.status().promote_full == Some(true);
    let status = &mut draft.status;
    status.pause_conditions.clear();
    status.controller_pause = None;
    status.abort = None;
    status.aborted_at = None;
    status.promote_full = None;
    status.current_step_index = index;
    status.stable_rs = Some(cx.hash.clone());
    if let Some(bg) = &mut status.blue_green {
        bg.scale_up_preview_check_point = None;
    }
    if let Some(canary) = &mut status.canary {
        canary.current_step_analysis_run_status = None;
        canary.current_background_analysis_run_status = None;
    }
    if promoted {
        let completion = match (rolled_back, full || reason.contains("ollback")) {
            (true, true) => CompletionStatus::FastRolledBack,
            (true, false) => CompletionStatus::RolledBack,
            (false, true) => CompletionStatus::FastPromoted,
            (false, false) => CompletionStatus::Promoted,
        };
        if let Some(duration) = &mut status.duration {
            duration.completion_status = Some(completion);
        }
        let (revision, hash) = (new_revision(cx), &cx.hash);
        draft.tell(
            false,
            "RolloutCompleted",
            format!("Rollout completed update to revision {revision} ({hash}): {reason}"),
        );
    }
}

fn finish(status: &mut RolloutStatus, now: Time, completion: CompletionStatus) {
    let duration = status.duration.get_or_insert_with(RolloutDuration::default);
    if duration.finished_at.is_none() {
        duration.finished_at = Some(now);
        duration.completion_status = Some(completion);
    }
}

/// Keeps the clock of the update: when it was finished, how long people kept it paused (contract 2.5 `duration`).
pub(crate) fn time_keeping(cx: &Context<'_>, draft: &mut Draft) {
    let now = Time::from(cx.now);
    let healthy = status::find(&draft.status, &RolloutConditionType::Healthy)
        .is_some_and(|c| c.status == ConditionStatus::True);
    let unlimited = draft
        .status
        .pause_conditions
        .iter()
        .any(|_| !timed_pause(cx, &draft.status))
        || cx.spec_paused();
    let Some(duration) = &mut draft.status.duration else {
        return;
    };
    if duration.finished_at.is_some() {
        return;
    }
    match duration.manual_pause_started_at {
        None if unlimited => duration.manual_pause_started_at = Some(now),
        Some(since) if !unlimited => {
            let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
            let total = duration
                .total_manual_pause_duration_seconds
                .unwrap_or(0)
                .saturating_add(seconds);
            duration.total_manual_pause_duration_seconds = (total > 0).then_some(total);
            duration.manual_pause_started_at = None;
        }
        _ => {}
    }
    if healthy && duration.completion_status.is_some() {
        duration.finished_at = Some(now);
    }
}

/// The pause in force ends by itself.
fn timed_pause(cx: &Context<'_>, status: &RolloutStatus) -> bool {
    match cx.strategy {
        Strategy::Canary(canary) => status
            .current_step_index
            .and_then(|i| usize::try_from(i).ok())
            .and_then(|i| canary.steps.get(i))
            .and_then(|s| s.pause.as_ref())
            .is_some_and(|p| matches!(p.duration_seconds(), Ok(Some(_)))),
        Strategy::BlueGreen(bg) => bg.auto_promotion_seconds.is_some_and(|s| s > 0),
    }
}

/// The size of the Rollout changed since its versions were last sized (contract 3.1): their annotations are
/// brought up to date, and only sizes move on this look.
pub(crate) fn resized(cx: &Context<'_>, draft: &mut Draft) -> bool {
    let mut resized = false;
    for rs in cx.new.into_iter().chain(cx.stable.filter(|s| !cx.is_new(s))) {
        if rs.spec_replicas > 0 && rs.desired_replicas() != Some(cx.size) {
            draft.annotate(rs, labels::DESIRED_REPLICAS_ANNOTATION, Some(cx.size.to_string()));
            resized = true;
        }
    }
    resized
}

/// Ends what an older revision left: nothing of it may outlive a full promotion.
pub(crate) fn fast(cx: &Context<'_>) -> bool {
    cx.status().promote_full == Some(true) || revision::fast_rollback(cx)
}
