//! Turning points of an update, the same for both strategies: it begins, is promoted, aborted or retried (contract 3.7).

use std::fmt;

use tidegate_crds::{
    CanaryStatus, CompletionStatus, ConditionStatus, PauseReason, RolloutConditionType, Time, labels,
};

use crate::condition;
use crate::context::{Annotated, Context, Strategy};
use crate::deadline;
use crate::draft::Draft;
use crate::revision::{self, new_revision};
use crate::runs::{self, Verdict};
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

/// The look at which an update begins, as `status.duration` counts it: a change from canary to blue-green alone is none.
pub(crate) fn begins(cx: &Context<'_>) -> bool {
    match cx.strategy {
        Strategy::Canary(_) => changed(cx),
        Strategy::BlueGreen(_) => cx.status().current_pod_hash.as_deref() != Some(cx.hash.as_str()),
    }
}

/// Starts the record anew for the version in the spec.
pub(crate) fn reset(cx: &Context<'_>, draft: &mut Draft, index: Option<i32>) {
    revision::mark(cx, draft);
    // Another strategy or other steps for the same version are no retry: what was rejected stays so. Nor is another template one for an
    // abort that is not on record yet: nobody can tell which came first, and stable is the safe side.
    let same = cx.status().current_pod_hash.as_deref() == Some(cx.hash.as_str());
    let stays = same || cx.status().aborted_at.is_none();
    let status = &mut draft.status;
    status.current_pod_hash = Some(cx.hash.clone());
    status.current_step_hash = match cx.strategy {
        Strategy::Canary(_) => Some(cx.identity.step_hash.clone()),
        Strategy::BlueGreen(_) => None,
    };
    status.current_step_index = index;
    status.pause_conditions.clear();
    status.controller_pause = None;
    if !stays {
        status.abort = None;
        status.aborted_at = None;
    }
    status.promote_full = None;
    // A new update cancels a restart (contract 3.9); one of the steps alone does too, as upstream has it.
    status.restarted_at = cx.valid.restart_at;
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

/// Full promotion was asked for, and that is the last word. An abort takes `promoteFull` away when it is recorded, so beside a
/// recorded abort the promotion came later. Beside one that is not recorded nobody can tell: then stable is the safe side.
pub(crate) fn full(cx: &Context<'_>) -> bool {
    let status = cx.status();
    status.promote_full == Some(true) && (status.abort != Some(true) || status.aborted_at.is_some())
}

/// A full promotion came after an abort that is still recorded. That is taken back first, and nothing else is done: an aborted version
/// gets neither pods nor traffic.
pub(crate) fn overruled(cx: &Context<'_>) -> bool {
    full(cx) && cx.status().abort == Some(true) && !cx.fully_promoted()
}

/// Takes away what stands in the way of a promotion that skips everything: pauses, and an abort that came before it.
pub(crate) fn unblock(cx: &Context<'_>, draft: &mut Draft) {
    if cx.status().aborted_at.is_some() {
        runs::clear(draft);
        keep(cx, draft);
    }
    let status = &mut draft.status;
    status.pause_conditions.clear();
    status.controller_pause = None;
    status.abort = None;
    status.aborted_at = None;
}

/// Whether the update is being taken back: because a client said so, an analysis failed, or pods did not come in time
/// (`progressDeadlineAbort`).
pub(crate) fn aborting(cx: &Context<'_>, verdict: &Verdict<'_>, draft: &mut Draft) -> bool {
    let status = cx.status();
    if cx.fully_promoted() || cx.stable.is_none() && cx.stable_hash().is_empty() {
        return false;
    }
    // No verdict holds a full promotion back; that pods do not come does.
    let full = full(cx);
    if let Some(because) = verdict.failure().filter(|_| !full) {
        draft.because(Reason::Aborted { because });
        return true;
    }
    if status.abort == Some(true) && !full {
        draft.because(Reason::Aborted {
            because: String::new(),
        });
        return true;
    }
    let exceeded = condition::find(status, &RolloutConditionType::Progressing)
        .is_some_and(|c| c.reason == "ProgressDeadlineExceeded" && c.status == ConditionStatus::False);
    if cx.valid.deadline_aborts && (exceeded || deadline::late(cx, draft)) {
        let name = cx.new.map_or(cx.name(), |rs| rs.name.as_str());
        draft.because(Reason::Aborted {
            because: format!("ReplicaSet \"{name}\" has timed out progressing."),
        });
        return true;
    }
    false
}

/// Records the abort. It is the last word: a full promotion from before is off, and a retry begins with the preview's size.
pub(crate) fn abort(cx: &Context<'_>, draft: &mut Draft, index: Option<i32>) {
    let status = &mut draft.status;
    status.abort = Some(true);
    // No run of this attempt may look younger than its end, whatever the clock of who made it.
    let now = Some(Time::from(cx.now)).max(runs::newest(cx));
    status.aborted_at = status.aborted_at.or(now);
    status.promote_full = None;
    status.current_step_index = index;
    status.pause_conditions.clear();
    status.controller_pause = None;
    if let Some(bg) = &mut status.blue_green {
        bg.scale_up_preview_check_point = None;
    }
}

/// A version that is not taken back any more has no deadline: another abort gives it the whole delay again.
fn keep(cx: &Context<'_>, draft: &mut Draft) {
    if let Some(new) = cx.new {
        draft.annotate(new, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
    }
}

/// Begins a new attempt at the same version: with the first step, and with none of the runs so far.
pub(crate) fn retry(cx: &Context<'_>, draft: &mut Draft, index: Option<i32>) {
    keep(cx, draft);
    draft.status.current_step_index = index;
    draft.status.aborted_at = None;
    if let Some(bg) = &mut draft.status.blue_green {
        bg.scale_up_preview_check_point = None;
    }
    runs::clear(draft);
}

/// Why a version is promoted, in upstream's words (contract 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// There is nothing to release it against.
    First,
    /// It is the stable version.
    Again,
    /// A client asked for a full promotion.
    Full,
    /// It was stable a few revisions before.
    WithinWindow,
    /// It was stable before, and its pods are still there.
    FastRollback,
    /// All so many steps of a canary are done.
    Steps(usize),
    /// All that a blue-green update waits for has come.
    Switched,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("Initial deploy"),
            Self::Again => Ok(()),
            Self::Full => f.write_str("Full promotion requested"),
            Self::WithinWindow => f.write_str("Rollback within window"),
            Self::FastRollback => f.write_str("Fast rollback"),
            Self::Steps(steps) => write!(f, "Completed all {steps} canary steps"),
            Self::Switched => f.write_str("Completed blue-green update"),
        }
    }
}

/// Makes the new version the stable one. Repeating it is harmless.
pub(crate) fn promote(cx: &Context<'_>, draft: &mut Draft, because: Because, index: Option<i32>) {
    let promoted = !cx.fully_promoted();
    let full = full(cx);
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
        let completion = if full {
            CompletionStatus::FastPromoted
        } else {
            CompletionStatus::Promoted
        };
        if let Some(duration) = &mut status.duration {
            // A return to an earlier version is known as one since it began.
            duration.completion_status.get_or_insert(completion);
        }
        let (revision, hash) = (new_revision(cx), &cx.hash);
        draft.tell(
            false,
            "RolloutCompleted",
            format!("Rollout completed update to revision {revision} ({hash}): {because}"),
        );
    }
}

/// Says who holds the update: the user, or an analysis that could not decide.
pub(crate) fn tell_hold(cx: &Context<'_>, draft: &mut Draft) {
    draft.because(if cx.spec_paused() {
        Reason::ManuallyPaused
    } else {
        Reason::Paused {
            reason: PauseReason::InconclusiveAnalysisRun.to_string(),
            until: None,
        }
    });
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
    full(cx) || revision::fast_rollback(cx)
}
