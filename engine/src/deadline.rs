//! The clock of the progress deadline (contract 2.6): when the update last got better, and when it counts as stuck.

use jiff::Timestamp;
use tidegate_crds::{RolloutConditionType, RolloutStatus, Time};

use crate::condition::find;
use crate::context::{Context, Strategy};
use crate::counters;
use crate::draft::Draft;
use crate::progress::{Attempt, Pods, Progress};
use crate::time::after;
use crate::valid::StepKind;

impl Attempt {
    fn of(cx: &Context<'_>) -> Self {
        Self {
            uid: cx.uid().to_owned(),
            hash: cx.hash.clone(),
            step: cx.status().current_step_index,
            stable: cx.status().stable_rs.clone(),
            size: cx.size,
            wanted: cx.new.map_or(0, |rs| rs.spec_replicas),
        }
    }
}

impl Pods {
    fn now(cx: &Context<'_>, status: &RolloutStatus) -> Self {
        let old = cx
            .owned()
            // At size 0 all of them go, and nobody takes their place.
            .filter(|rs| !cx.is_new(rs) && cx.size > 0)
            // A pod that was lost, and not taken away, is no progress.
            .map(|rs| rs.replicas.max(rs.spec_replicas))
            .fold(0, i32::saturating_add);
        Self::of(cx, status, old)
    }

    fn recorded(cx: &Context<'_>, status: &RolloutStatus) -> Self {
        let updated = status.updated_replicas.unwrap_or(0);
        Self::of(cx, status, status.replicas.unwrap_or(0).saturating_sub(updated))
    }

    fn of(cx: &Context<'_>, status: &RolloutStatus, old: i32) -> Self {
        // In a rolling change one version's gain is another's loss, so the sums alone would not show it.
        let new = cx.new.filter(|_| matches!(cx.strategy, Strategy::Canary(_)));
        Self([
            status.updated_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            new.map_or(0, |rs| rs.ready),
            new.map_or(0, |rs| rs.available),
            old.saturating_neg(),
        ])
    }
}

/// What is known from the last look, or else from the status.
fn known(cx: &Context<'_>, pods: Pods) -> Option<Progress> {
    let condition = find(cx.status(), &RolloutConditionType::Progressing)?;
    let mut written = condition.last_update_time;
    if condition.reason == "ProgressDeadlineExceeded" {
        // It got no better for the whole deadline before that was told.
        let before = written.timestamp().checked_sub(cx.valid.deadline);
        written = Time::from(before.unwrap_or(Timestamp::MIN));
    }
    let attempt = Attempt::of(cx);
    Some(match &cx.seen.progress {
        Some(last) if last.attempt == attempt => Progress {
            at: last.at.max(written),
            ..last.clone()
        },
        // Another step or size: what there is now is what has to get better.
        Some(last) if last.attempt.uid == attempt.uid => Progress {
            at: last.at.max(written),
            best: pods,
            attempt,
        },
        // The status does not count the new version by itself: of that, what there is now.
        _ => {
            let Pods([updated, ready, available, .., old]) = Pods::recorded(cx, cx.status());
            let Pods([.., new_ready, new_available, _]) = pods;
            Progress {
                at: written,
                best: Pods([updated, ready, available, new_ready, new_available, old]),
                attempt,
            }
        }
    })
}

/// Whether the update got better since the last look, or `turned` says that the clock starts anew; answers when it last did.
pub(crate) fn follow(cx: &Context<'_>, turned: bool, draft: &mut Draft) -> Time {
    let now = Time::from(cx.now);
    let pods = Pods::now(cx, &draft.status);
    let progress = match known(cx, pods) {
        Some(known) if !turned => {
            let best = known.best.best(pods);
            Progress {
                at: if best == known.best { known.at } else { now },
                best,
                ..known
            }
        }
        _ => Progress {
            at: now,
            best: pods,
            attempt: Attempt::of(cx),
        },
    };
    let at = progress.at;
    draft.progress = Some(progress);
    at
}

/// Whether the update counts as stuck; looks again when it will.
pub(crate) fn overdue(cx: &Context<'_>, at: Time, draft: &mut Draft) -> bool {
    let deadline = deadline(cx, &draft.status, at);
    deadline.is_some_and(|deadline| draft.due(cx, deadline))
}

/// Whether the update that the status tells of is stuck at this moment.
pub(crate) fn late(cx: &Context<'_>, draft: &Draft) -> bool {
    let mut status = draft.status.clone();
    counters::count(cx, &mut status);
    let pods = Pods::now(cx, &status);
    known(cx, pods).is_some_and(|known| {
        known.best.best(pods) == known.best
            && deadline(cx, cx.status(), known.at).is_some_and(|deadline| cx.now >= deadline)
    })
}

/// Pods of the new version did not come in time, and then the Rollout was scaled to 0: that nothing is waited for any more shows
/// nothing. Whatever there is goes on once there may be pods again.
pub(crate) fn unproven(cx: &Context<'_>) -> bool {
    let condition = find(cx.status(), &RolloutConditionType::Progressing);
    let late = condition.is_some_and(|condition| condition.reason == "ProgressDeadlineExceeded");
    late && cx.size == 0 && !cx.fully_promoted()
}

/// An analysis before the switch is under way: it takes its time, however many pods are there to look at.
pub(crate) fn measures(status: &RolloutStatus) -> bool {
    let blue_green = status.blue_green.as_ref();
    let run = blue_green.and_then(|bg| bg.pre_promotion_analysis_run_status.as_ref());
    run.is_some_and(|run| !run.status.completed())
}

/// When the update counts as stuck, if it got no better since `at`; `None` while the clock does not run.
fn deadline(cx: &Context<'_>, status: &RolloutStatus, at: Time) -> Option<Timestamp> {
    let condition = find(status, &RolloutConditionType::Progressing)?;
    let stopped =
        ["RolloutAborted", "RolloutPaused", "NewReplicaSetAvailable"].contains(&condition.reason.as_str());
    let waiting = match cx.strategy {
        Strategy::Canary(canary) => {
            let index = status.current_step_index.and_then(|i| usize::try_from(i).ok());
            let step = index.and_then(|i| canary.steps.get(i));
            step.is_some_and(|s| matches!(s.kind, StepKind::Pause(_) | StepKind::Analysis(_)))
        }
        Strategy::BlueGreen(_) => measures(status),
    };
    let updated = cx
        .new
        .is_some_and(|rs| rs.available >= cx.size && rs.replicas == cx.size);
    if stopped || waiting || updated || !status.pause_conditions.is_empty() || cx.spec_paused() {
        return None;
    }
    Some(after(at.timestamp(), cx.valid.deadline))
}
