//! The canary strategy: steps, weights, sizes, promotion and abort (contract 3.2 to 3.7, 3.13).

mod scaling;
mod sizes;
pub(crate) mod view;
mod weight;

use tidegate_crds::PauseReason;

use self::view::{Canary, position};
use crate::context::Context;
use crate::draft::Draft;
use crate::observed::ReplicaSetView;
use crate::promotion::Because;
use crate::runs::{self, Verdict};
use crate::time::after;
use crate::valid::{self, Pause, Step, StepKind};
use crate::why::Reason;
use crate::{deadline, metadata, promotion, revision, routing, services};

/// Plans one look at a Rollout with the canary strategy.
pub(crate) fn plan(cx: &Context<'_>, spec: &valid::CanarySpec, draft: &mut Draft) {
    if revision::adopt(cx, draft) {
        return;
    }
    revision::number(cx, draft);
    if promotion::changed(cx) {
        begin(cx, spec, draft);
        return;
    }
    if promotion::overruled(cx) {
        promotion::unblock(cx, draft);
        return;
    }
    let verdict = runs::judge(cx);
    let status = cx.status();
    let aborting = promotion::aborting(cx, &verdict, draft);
    let canary = Canary {
        cx,
        spec,
        index: position(spec, status.current_step_index),
        aborting,
        full: !aborting && promotion::full(cx),
    };
    let measured = canary.act(&verdict, draft);
    canary.advance(&verdict, measured, draft);
}

/// Takes requests back to stable while the Rollout is invalid: from a version that is aborted, and from a canary Service that is gone.
pub(crate) fn take_back(cx: &Context<'_>, spec: &valid::CanarySpec, draft: &mut Draft) {
    let verdict = runs::judge(cx);
    let canary = Canary {
        cx,
        spec,
        index: position(spec, cx.status().current_step_index),
        aborting: promotion::aborting(cx, &verdict, draft),
        full: false,
    };
    // Where the stable Service is gone nobody answers there.
    let answers = cx.service(spec.stable_service.as_deref()).is_some();
    if answers && (canary.aborting || canary.leads_nowhere()) {
        routing::take_back(&canary, draft);
        routing::record(&canary, draft);
    }
    // One that came with another template is for a version that is not on record yet.
    if canary.aborting && !promotion::changed(cx) {
        let first = (spec.end() > 0).then_some(0);
        runs::record(cx, &verdict, draft);
        promotion::abort(cx, draft, first);
    }
}

/// The template or the steps changed: a new update begins, or the Rollout returns to a version that it knows (contract 3.2).
/// Only the record is made; all else follows from it on the next look.
fn begin(cx: &Context<'_>, spec: &valid::CanarySpec, draft: &mut Draft) {
    let end = spec.end();
    let back_to_stable = cx.fully_promoted();
    let in_window = cx
        .new
        .is_some_and(|new| new.serving() > 0 && revision::within_window(cx, new));
    let index = match end {
        0 => None,
        _ if back_to_stable || in_window => Some(end),
        _ => Some(0),
    };
    promotion::reset(cx, draft, index);
    let mut there = cx.new.is_some();
    if cx.new.is_none() {
        let fresh = Canary {
            cx,
            spec,
            index: position(spec, index),
            aborting: false,
            full: false,
        };
        let size = if cx.spec_paused() || draft.status.abort == Some(true) {
            0
        } else {
            fresh.size_at_birth()
        };
        there = revision::create(cx, draft, size);
        promotion::tell_begin(cx, draft);
        draft.tell_scaling(revision::created_at_size(cx, size).filter(|_| there));
    } else {
        promotion::tell_begin(cx, draft);
    }
    if cx.stable_hash().is_empty() && there {
        // Nothing to release it against: the first version is stable from the start.
        promotion::promote(cx, draft, Because::First, (end > 0).then_some(end));
    }
    if index == Some(end) && cx.stable.is_some() {
        let target = if back_to_stable {
            "Rollback to stable ReplicaSets"
        } else {
            "Rollback within the rollback window"
        };
        draft.tell(false, "SkipSteps", target.to_owned());
    }
}

impl<'a> Canary<'_, 'a> {
    /// Answers whether all that the update is measured by exists, or is created by this plan.
    fn act(&self, verdict: &Verdict<'_>, draft: &mut Draft) -> bool {
        let cx = self.cx;
        let back = self.takes_back() && !cx.fully_promoted();
        if back {
            // Traffic back to stable waits for nothing else, and nothing else that fails may come before it.
            self.route(draft);
        }
        revision::min_ready_seconds(cx, draft);
        if cx.new.is_none() {
            // S5: what is taken back gets no pods, also when somebody deleted its ReplicaSet.
            let size = if cx.halted() || self.aborting {
                0
            } else {
                self.size_at_birth()
            };
            let made = revision::create(cx, draft, size);
            draft.tell_scaling(revision::created_at_size(cx, size).filter(|_| made));
        }
        let restart = crate::restart::look(cx, draft);
        let held = cx.halted() && !self.aborting;
        if held {
            promotion::tell_hold(cx, draft);
        }
        if restart.counted && promotion::resized(cx, draft) {
            // The size of the Rollout changed: sizes first, all else on the next look (contract 3.1), unless they are refused.
            self.scale(draft);
            if !back && !draft.sizes_refused() {
                // This look does not see to the analysis: without it the update goes no further.
                return verdict.measures(&self.wanted_runs(verdict));
            }
        }
        if !held {
            self.scale_up(draft);
        }
        if !back {
            self.route(draft);
        }
        metadata::act(cx, self.promotable().is_some(), draft);
        restart.evict(draft);
        let measured = runs::act(self.cx, verdict, &self.wanted_runs(verdict), draft);
        // A pause holds the update, not the size of the Rollout.
        if restart.counted && (!held || self.oversized()) {
            self.scale_down(draft);
        }
        revision::unmark(cx, draft);
        revision::forget(cx, draft);
        measured
    }

    /// Services and routes.
    fn route(&self, draft: &mut Draft) {
        // Before the first version is recorded as stable there is nothing to route between.
        if self.cx.stable_hash().is_empty() {
            return;
        }
        let stable_served = services::of_canary(self, draft);
        if self.routed() {
            routing::act(self, stable_served, draft);
        }
    }

    /// Which runs shall exist now.
    fn wanted_runs(&self, verdict: &Verdict<'_>) -> runs::Wanted<'a> {
        let cx = self.cx;
        let mut wanted = runs::Wanted::default();
        let over = self.aborting
            || self.full
            || cx.fully_promoted()
            || cx.stable.is_none()
            || revision::fast_rollback(cx);
        if over || cx.spec_paused() {
            wanted.keep = cx.spec_paused() && !over;
            return wanted;
        }
        let background = self.spec.background.as_ref();
        let begun = background.filter(|background| self.index.is_none_or(|i| i >= background.start));
        let introduced = self.introduced();
        wanted.background = begun
            .filter(|_| introduced || verdict.background_begun())
            .map(|background| &background.analysis);
        let step = self.step().and_then(Step::analysis);
        wanted.step = self
            .index
            .zip(step)
            .filter(|_| introduced || verdict.step_begun());
        wanted
    }

    /// Moves the record on by what was observed: promotion, abort, or at most one step (contract 3.2).
    fn advance(&self, verdict: &Verdict<'_>, measured: bool, draft: &mut Draft) {
        let cx = self.cx;
        let end = self.spec.end();
        let end_index = (end > 0).then_some(end);
        routing::record(self, draft);
        runs::record(cx, verdict, draft);
        let in_window = !cx.fully_promoted() && cx.new.is_some_and(|new| revision::within_window(cx, new));
        let skips = self.full || in_window && !self.aborting && !cx.spec_paused();
        if skips {
            promotion::unblock(cx, draft);
            draft.status.current_step_index = end_index;
        }
        if let Some(because) = self
            .promotable()
            .filter(|_| measured && metadata::ready(cx, draft))
        {
            promotion::promote(cx, draft, because, end_index);
            return;
        }
        if self.aborting {
            promotion::abort(
                cx,
                draft,
                if cx.fully_promoted() {
                    end_index
                } else {
                    end_index.map(|_| 0)
                },
            );
            return;
        }
        if skips {
            return;
        }
        if cx.retried() {
            promotion::retry(cx, draft, end_index.map(|_| 0));
            return;
        }
        if self.pause_left_over() {
            let status = &mut draft.status;
            status
                .pause_conditions
                .retain(|p| p.reason != PauseReason::CanaryPauseStep);
            status.controller_pause = None;
        }
        if verdict.inconclusive(&self.wanted_runs(verdict)) {
            self.hold(draft);
            return;
        }
        draft
            .status
            .pause_conditions
            .retain(|p| p.reason != PauseReason::InconclusiveAnalysisRun);
        // Where a client went on to, no pause has been ended yet.
        let over = draft.status.pause_conditions.is_empty() || verdict.measures_again();
        if over && self.step().and_then(Step::pause).is_none() {
            draft.status.controller_pause = None;
        }
        // What cannot be measured goes no further: no verdict is not a good one.
        if cx.spec_paused() || cx.fully_promoted() || !measured || deadline::unproven(cx) {
            return;
        }
        if cx.stable_hash().is_empty() {
            // The first version has no steps, also while its ReplicaSet cannot be created.
            return;
        }
        if let Some(index) = self.index.filter(|i| *i < self.spec.steps.len()) {
            self.step_on(index, verdict, draft);
        }
    }

    /// An analysis that cannot decide holds the update. A pause that has begun ends in its time; what comes after it waits for
    /// somebody who looks at the analysis.
    fn hold(&self, draft: &mut Draft) {
        let cx = self.cx;
        draft.pause(PauseReason::InconclusiveAnalysisRun);
        let pause = self.step().and_then(Step::pause);
        if let Some(pause) = pause.filter(|_| cx.has_pause(&PauseReason::CanaryPauseStep))
            && self.pause_done(pause, draft)
        {
            draft
                .status
                .pause_conditions
                .retain(|p| p.reason != PauseReason::CanaryPauseStep);
        }
    }

    /// Goes on to the next step when this one is over.
    fn step_on(&self, index: usize, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        let end = self.spec.steps.len();
        let mut current = index;
        if self.step_done(index, verdict, draft) {
            current += 1;
            draft.status.current_step_index = i32::try_from(current).ok();
            draft
                .status
                .pause_conditions
                .retain(|p| p.reason != PauseReason::CanaryPauseStep);
            draft.status.controller_pause = None;
            if let Some(canary) = &mut draft.status.canary {
                canary.current_step_analysis_run_status = None;
            }
            let words = self.spec.steps.get(index).map_or("", |step| &step.words);
            draft.tell(
                false,
                "RolloutStepCompleted",
                format!("Rollout step {current}/{end} completed ({words})"),
            );
        }
        // A pause begins with the step before it ending: one write for both.
        if let Some(pause) = self.spec.steps.get(current).and_then(Step::pause)
            && draft.status.controller_pause != Some(true)
        {
            draft.pause(PauseReason::CanaryPauseStep);
            if let Some(length) = pause.length {
                draft.wake_at(after(cx.now, length));
            }
        }
    }

    /// Whether the step at `index` is over.
    fn step_done(&self, index: usize, verdict: &Verdict<'_>, draft: &mut Draft) -> bool {
        let Some(step) = self.spec.steps.get(index) else {
            return false;
        };
        let placed = match &step.kind {
            StepKind::Pause(pause) => return self.pause_done(*pause, draft),
            StepKind::Analysis(_) => {
                if let Some(lacks) = self.not_introduced().filter(|_| !verdict.step_begun()) {
                    draft.because(lacks);
                }
                return verdict.step_successful();
            }
            StepKind::SetWeight(_) => self.placed(),
            StepKind::Set => true,
        };
        let done = self.at_wanted() && placed && self.introduced() && routing::headers_placed(self);
        if !done && let Some(new) = self.cx.new {
            let (wanted, _) = self.wanted();
            draft.because(self.what_a_step_lacks(new, wanted));
        }
        done
    }

    /// What keeps the current step from being over: its pods, those of another version, or the routes.
    fn what_a_step_lacks(&self, new: &ReplicaSetView, wanted: i32) -> Reason {
        let cx = self.cx;
        if !self.meets(new.serving(), wanted) {
            return Reason::WaitingForPods {
                replica_set: new.name.clone(),
                available: new.serving(),
                wanted,
            };
        }
        if self.placed() {
            // The new version may be too large itself, when a weight falls.
            let others = cx
                .stable
                .filter(|rs| !cx.is_new(rs))
                .map(|rs| (rs, self.wanted().1));
            let older = cx.older.iter().map(|rs| (*rs, 0));
            let surplus = [(new, wanted)].into_iter().chain(others).chain(older);
            if let Some((rs, wanted)) = surplus.into_iter().find(|(rs, wanted)| rs.replicas > *wanted) {
                return Reason::WaitingForPodsToGo {
                    replica_set: rs.name.clone(),
                    pods: rs.replicas,
                    wanted,
                };
            }
        }
        self.not_introduced().unwrap_or_else(|| Reason::WaitingForWeight {
            live: cx.live.at_most(),
            wanted: self.step_weight(),
        })
    }

    /// A client went past a step that pauses. What it left of that pause ends none that comes after it (S9).
    fn pause_left_over(&self) -> bool {
        let paused = self.cx.seen.paused;
        paused.is_some_and(|paused| paused.is_left_over(self.cx.status()))
    }

    fn pause_done(&self, pause: Pause, draft: &mut Draft) -> bool {
        let cx = self.cx;
        if self.pause_left_over() {
            return false;
        }
        let Some(since) = cx.pause(&PauseReason::CanaryPauseStep) else {
            // The condition is gone but the controller had paused: a client resumed it.
            return cx.controller_pause();
        };
        let until = pause.length.map(|length| after(since.timestamp(), length));
        draft.because(Reason::Paused {
            reason: PauseReason::CanaryPauseStep.to_string(),
            until,
        });
        until.is_some_and(|until| draft.due(cx, until))
    }

    /// Why the new version is to be fully promoted now, if it is (contract 3.7).
    fn promotable(&self) -> Option<Because> {
        let cx = self.cx;
        if cx.fully_promoted() {
            // Also while somebody has deleted its ReplicaSet: what a client asks for beside that is over.
            return Some(Because::Again);
        }
        let new = cx.new?;
        if cx.stable.is_none() {
            return Some(Because::First);
        }
        if self.aborting || !self.meets(new.serving(), cx.size) || new.observed_generation < new.generation {
            return None;
        }
        if self.full {
            return Some(Because::Full);
        }
        if deadline::unproven(cx) {
            return None;
        }
        if cx.spec_paused() {
            // A person holds it (contract F6).
            return None;
        }
        if revision::fast_rollback(cx) && self.finished() {
            return Some(Because::WithinWindow);
        }
        let placed = self.spec.steps.is_empty() || self.placed();
        let whole = !self.routed() || new.spec_replicas == cx.size;
        let steps = self.spec.steps.len();
        (self.finished() && placed && whole && (self.routed() || self.at_wanted()))
            .then_some(Because::Steps(steps))
    }
}
