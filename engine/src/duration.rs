//! `status.duration`: how long an update took, how long people kept it paused, and how it ended (contract 2.5).

use jiff::SignedDuration;
use tidegate_crds::{
    CompletionStatus, PauseReason, RolloutConditionType, RolloutDuration, RolloutStatus, Time,
};

use crate::condition::find;
use crate::context::{Context, Strategy};
use crate::draft::Draft;
use crate::revision::{fast_rollback, older};
use crate::runs;
use crate::time::after;
use crate::valid::Switch;

/// Keeps the record, once the rest of the status is known: what counts are the differences from the observed one.
pub(crate) fn keep(cx: &Context<'_>, draft: &mut Draft) {
    let now = Time::from(cx.now);
    let (seen, status) = (cx.status(), &draft.status);
    let mut duration = status.duration.clone();
    let changed = seen.current_pod_hash.is_none() || crate::promotion::begins(cx);
    let there = cx.new.is_some_and(|rs| rs.available >= cx.size);
    let completed = there && status.stable_rs.is_some() && status.stable_rs == status.current_pod_hash;
    let aborted = status.abort == Some(true);

    if let Some(duration) = &mut duration
        && duration.rollout_started_at.is_some()
        && duration.finished_at.is_none()
    {
        match goes_back(cx).filter(|_| changed) {
            // A return ends what it interrupts, so it is the same update that goes on.
            Some(back) => duration.completion_status = Some(back),
            None if changed => finish(duration, now, CompletionStatus::Superseded),
            None => {}
        }
        if completed || aborted {
            let as_yet = if completed {
                CompletionStatus::Promoted
            } else {
                CompletionStatus::Aborted
            };
            let ending = duration.completion_status.clone().unwrap_or(as_yet);
            finish(duration, now, ending);
        }
    }
    let over = duration.as_ref().is_none_or(|d| d.finished_at.is_some());
    let retried = !aborted
        && find(seen, &RolloutConditionType::Progressing).is_some_and(|c| c.reason == "RolloutAborted");
    // Back at what is stable already nothing is rolled out. The first version is stable from the start, and its pods may be there
    // before this is written for the first time.
    let rolls = !completed || seen.stable_rs.is_none();
    if over && rolls && (changed || retried) {
        duration = Some(RolloutDuration {
            rollout_started_at: Some(beginning(cx)),
            ..RolloutDuration::default()
        });
    }
    if let Some(duration) = duration.as_mut().filter(|d| d.finished_at.is_none()) {
        match (by_hand(cx, status), duration.manual_pause_started_at) {
            (true, None) => duration.manual_pause_started_at = Some(now),
            (false, Some(_)) => end_pause(duration, now),
            _ => {}
        }
    }
    draft.status.duration = duration;
}

/// When an update begins: now, but after the runs of the attempt before where the clock of who made them is ahead of this one. What they say
/// is not about this attempt.
fn beginning(cx: &Context<'_>) -> Time {
    let now = Time::from(cx.now);
    let ahead = runs::newest(cx).filter(|newest| *newest > now);
    ahead.map_or(now, |newest| {
        Time::from(after(newest.timestamp(), SignedDuration::from_secs(1)))
    })
}

/// What an update that returns to an earlier version is called; `None` when it goes forward.
fn goes_back(cx: &Context<'_>) -> Option<CompletionStatus> {
    let (new, stable) = cx.new.zip(cx.stable)?;
    if fast_rollback(cx) {
        return Some(CompletionStatus::FastRolledBack);
    }
    older(new, stable).then_some(CompletionStatus::RolledBack)
}

fn finish(duration: &mut RolloutDuration, now: Time, ending: CompletionStatus) {
    // What was superseded in this look is over.
    if duration.finished_at.is_none() {
        end_pause(duration, now);
        duration.finished_at = Some(now);
        duration.completion_status = Some(ending);
    }
}

/// 0 is a time too: clients read it once there was a pause.
fn end_pause(duration: &mut RolloutDuration, now: Time) {
    if let Some(since) = duration.manual_pause_started_at.take() {
        let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
        let before = duration.total_manual_pause_duration_seconds.unwrap_or(0);
        duration.total_manual_pause_duration_seconds = Some(before.saturating_add(seconds));
    }
}

/// Only a person ends the pause in force.
fn by_hand(cx: &Context<'_>, status: &RolloutStatus) -> bool {
    cx.spec_paused()
        || status
            .pause_conditions
            .iter()
            .any(|pause| match (&pause.reason, cx.strategy) {
                (PauseReason::CanaryPauseStep, Strategy::Canary(canary)) => status
                    .current_step_index
                    .and_then(|i| usize::try_from(i).ok())
                    .and_then(|i| canary.steps.get(i)?.pause())
                    .is_some_and(|pause| pause.length.is_none()),
                (PauseReason::BlueGreenPause, Strategy::BlueGreen(bg)) => bg.switch == Switch::ByHand,
                (PauseReason::InconclusiveAnalysisRun | PauseReason::InconclusiveExperiment, _) => true,
                _ => false,
            })
}
