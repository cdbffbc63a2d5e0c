//! The canary strategy: steps, weights, sizes, promotion and abort (contract 3.2 to 3.7, 3.13).

use tidegate_crds::{
    CanaryStep, CanaryStrategy, PauseReason, ReplicaProgressThresholdType, RolloutStatus, labels,
};

use crate::context::{Annotated, Context, after, saturated};
use crate::draft::{Draft, selected};
use crate::observed::ReplicaSetView;
use crate::replicas::{Limits, Side, ceil_share, floor_share, nearest_counts, rolling};
use crate::runs::{self, Verdict};
use crate::why::Reason;
use crate::{promotion, revision, routing, services, status};

/// A canary at one look: the spec, and where in its steps the Rollout is.
pub(crate) struct Canary<'c, 'a> {
    pub(crate) cx: &'c Context<'a>,
    pub(crate) spec: &'a CanaryStrategy,
    /// Index into `spec.steps` as the status records it; `None` without steps.
    pub(crate) index: Option<usize>,
    /// The update is being taken back, by the user or by what was just observed.
    pub(crate) aborting: bool,
    /// `status.promoteFull`: skip steps, pauses and analysis.
    pub(crate) full: bool,
}

/// Plans one look at a Rollout with the canary strategy.
pub(crate) fn plan(cx: &Context<'_>, spec: &CanaryStrategy, draft: &mut Draft) {
    revision::number(cx, draft);
    if promotion::changed(cx) {
        begin(cx, spec, draft);
        return;
    }
    let verdict = runs::judge(cx);
    let status = cx.status();
    let canary = Canary {
        cx,
        spec,
        index: status.current_step_index.and_then(|i| usize::try_from(i).ok()),
        aborting: promotion::aborting(cx, &verdict, draft),
        full: status.promote_full == Some(true),
    };
    canary.act(&verdict, draft);
    canary.advance(&verdict, draft);
}

/// The template or the steps changed: a new update begins, or the Rollout returns to a version that it knows (contract 3.2).
/// Only the record is made; all else follows from it on the next look.
fn begin(cx: &Context<'_>, spec: &CanaryStrategy, draft: &mut Draft) {
    let end = i32::try_from(spec.steps.len()).unwrap_or(i32::MAX);
    let back_to_stable = cx.fully_promoted();
    let in_window = cx
        .new
        .is_some_and(|new| new.available > 0 && revision::within_window(cx, new));
    let index = match end {
        0 => None,
        _ if back_to_stable || in_window => Some(end),
        _ => Some(0),
    };
    promotion::reset(cx, draft, index);
    if cx.new.is_none() {
        let fresh = Canary {
            cx,
            spec,
            index: index.and_then(|i| usize::try_from(i).ok()),
            aborting: false,
            full: false,
        };
        let size = if cx.spec_paused() {
            0
        } else {
            fresh.size_at_birth()
        };
        revision::create(cx, draft, size);
        promotion::tell_begin(cx, draft);
        draft.tell_scaling(revision::created_at_size(cx, size));
    } else {
        promotion::tell_begin(cx, draft);
    }
    if cx.stable_hash().is_empty() {
        // Nothing to release it against: the first version is stable from the start.
        promotion::promote(cx, draft, "Initial deploy", (end > 0).then_some(end));
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
    fn routed(&self) -> bool {
        self.spec.traffic_routing.is_some()
    }

    fn dynamic(&self) -> bool {
        self.routed() && self.spec.dynamic_stable_scale == Some(true)
    }

    pub(crate) fn step(&self) -> Option<&'a CanaryStep> {
        self.spec.steps.get(self.index?)
    }

    fn finished(&self) -> bool {
        self.index.is_none_or(|i| i >= self.spec.steps.len())
    }

    /// The last `setWeight` of the first `count` steps, 0 when there is none.
    fn weight_of_first(&self, count: usize) -> i32 {
        self.spec
            .steps
            .iter()
            .take(count)
            .rev()
            .find_map(|s| s.set_weight)
            .unwrap_or(0)
    }

    /// The weight that sizes follow (contract 3.3).
    fn scale_weight(&self) -> i32 {
        let total = self.cx.total_weight();
        if self.full || self.cx.stable.is_none() || self.cx.fully_promoted() {
            return total;
        }
        if self.aborting {
            return 0;
        }
        match self.index {
            Some(i) if i < self.spec.steps.len() => self.weight_of_first(i + 1),
            _ => total,
        }
    }

    /// Pods that canary and stable shall have at this weight and step.
    pub(crate) fn wanted(&self) -> (i32, i32) {
        let (cx, size) = (self.cx, self.cx.size);
        if cx.stable.is_none() || cx.fully_promoted() {
            return (size, 0);
        }
        let (weight, total) = (self.scale_weight(), cx.total_weight());
        if !self.routed() {
            return nearest_counts(size, weight, total, Limits::of_canary(self.spec, size).surge);
        }
        let least = |count: i32| match self.spec.min_pods_per_replica_set {
            Some(pods) if count > 0 => count.max(pods.min(size)),
            _ => count,
        };
        let set = self.set_canary_scale();
        let by_step = set.and_then(|s| {
            s.replicas
                .or_else(|| s.weight.map(|w| least(ceil_share(size, w, total))))
        });
        let mut canary = by_step
            .unwrap_or_else(|| least(ceil_share(size, weight, total)))
            .max(0);
        let mut stable = size;
        if self.dynamic() {
            let live = cx.live.at_most();
            stable =
                least(ceil_share(size, total - weight, total).max(ceil_share(size, total - live, total)));
            if self.aborting {
                canary = canary.max(least(ceil_share(size, live, total)));
            }
        }
        (canary, stable)
    }

    /// The `setCanaryScale` in force: the nearest at or before the current step; not after the steps, and not while aborting
    /// unless the canary is to be kept for ever (contract 3.4).
    fn set_canary_scale(&self) -> Option<&'a tidegate_crds::SetCanaryScale> {
        if self.finished()
            || self.full
            || (self.aborting && self.spec.abort_scale_down_delay_seconds != Some(0))
        {
            return None;
        }
        let set = self
            .spec
            .steps
            .iter()
            .take(self.index? + 1)
            .rev()
            .find_map(|s| s.set_canary_scale.as_ref())?;
        (set.match_traffic_weight != Some(true)).then_some(set)
    }

    fn size_at_birth(&self) -> i32 {
        let (canary, stable) = self.wanted();
        if self.routed() || self.cx.stable.is_none() {
            return canary;
        }
        let cx = self.cx;
        let side = |rs: Option<&ReplicaSetView>, desired| Side {
            spec: rs.map_or(0, |rs| rs.spec_replicas),
            available: rs.map_or(0, |rs| rs.available),
            desired,
        };
        let older = cx
            .older
            .iter()
            .map(|rs| rs.spec_replicas)
            .fold(0, i32::saturating_add);
        rolling(
            cx.size,
            Limits::of_canary(self.spec, cx.size),
            side(None, canary),
            side(cx.stable, stable),
            older,
        )
        .0
    }

    /// Enough of the canary is available for what it is wanted for (contract F45).
    fn meets(&self, available: i32, wanted: i32) -> bool {
        match &self.spec.replica_progress_threshold {
            Some(t) if t.value >= 0 => match t.type_ {
                ReplicaProgressThresholdType::Percent => {
                    wanted == 0 || i64::from(available) * 100 >= i64::from(t.value) * i64::from(wanted)
                }
                _ => available >= t.value.min(wanted),
            },
            _ => available >= wanted,
        }
    }

    /// Sizes are as the current step wants them (contract 3.3, last point).
    pub(crate) fn at_wanted(&self) -> bool {
        let (canary, stable) = self.wanted();
        let new = self.cx.new;
        let new_ok = new.map_or(canary == 0, |rs| {
            rs.observed_generation >= rs.generation
                && rs.spec_replicas == canary
                && self.meets(rs.available, canary)
        });
        let stable_ok = self.cx.fully_promoted()
            || self.cx.stable.is_none_or(|rs| {
                // A dynamic stable version follows the weight, so it is larger than wanted once the weight is set.
                let right = |pods| pods == stable || self.dynamic() && pods > stable;
                rs.observed_generation >= rs.generation && right(rs.spec_replicas) && right(rs.replicas)
            });
        let drained = self
            .cx
            .older
            .iter()
            .all(|rs| rs.available == 0 || rs.scale_down_deadline().is_some());
        new_ok && stable_ok && drained
    }

    fn act(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        revision::adopt(cx.seen, draft);
        revision::min_ready_seconds(cx, draft);
        if cx.new.is_none() {
            let size = if cx.halted() { 0 } else { self.size_at_birth() };
            revision::create(cx, draft, size);
            draft.tell_scaling(revision::created_at_size(cx, size));
        }
        crate::metadata::act(cx, draft);
        crate::restart::act(cx, draft);
        if promotion::resized(cx, draft) {
            // The size of the Rollout changed: sizes first, all else on the next look (contract 3.1).
            self.scale(draft);
            return;
        }
        if cx.halted() && !self.aborting {
            draft.because(if cx.spec_paused() {
                Reason::ManuallyPaused
            } else {
                Reason::Paused {
                    reason: PauseReason::InconclusiveAnalysisRun.to_string(),
                    until: None,
                }
            });
        } else {
            self.scale_up(draft);
        }
        // Before the first version is recorded as stable there is nothing to route between.
        if !cx.stable_hash().is_empty() {
            let stable_served = services::of_canary(self, draft);
            if self.routed() {
                routing::act(self, stable_served, draft);
            }
        }
        runs::act(self.cx, verdict, &self.wanted_runs(), draft);
        if !cx.halted() || self.aborting {
            self.scale_down(draft);
        }
        revision::forget(cx, draft);
    }

    fn scale(&self, draft: &mut Draft) {
        self.scale_up(draft);
        self.scale_down(draft);
    }

    fn sides(&self) -> (Side, Side) {
        let (canary, stable) = self.wanted();
        let side = |rs: Option<&ReplicaSetView>, desired| Side {
            spec: rs.map_or(0, |rs| rs.spec_replicas),
            available: rs.map_or(0, |rs| rs.available),
            desired,
        };
        (
            side(self.cx.new, canary),
            side(self.cx.stable.filter(|s| !self.cx.is_new(s)), stable),
        )
    }

    /// The next sizes of canary and stable.
    fn next_sizes(&self) -> (i32, i32) {
        let (canary, stable) = self.sides();
        if self.routed() {
            return (canary.desired, stable.desired);
        }
        let older = self
            .cx
            .older
            .iter()
            .map(|rs| rs.spec_replicas)
            .fold(0, i32::saturating_add);
        rolling(
            self.cx.size,
            Limits::of_canary(self.spec, self.cx.size),
            canary,
            stable,
            older,
        )
    }

    fn scale_up(&self, draft: &mut Draft) {
        let cx = self.cx;
        let (canary, stable) = self.next_sizes();
        if let Some(rs) = cx.stable.filter(|rs| !cx.is_new(rs)) {
            if stable > 0 {
                draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
            }
            if stable > rs.spec_replicas {
                draft.scale(cx, rs, stable);
            }
        }
        if let Some(rs) = cx.new {
            if !self.aborting {
                draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
            }
            // S5: an abort is one way, so that an autoscaler cannot bring the rejected version back.
            if canary > rs.spec_replicas && (!self.aborting || cx.fully_promoted()) {
                draft.scale(cx, rs, canary);
            }
        }
    }

    fn scale_down(&self, draft: &mut Draft) {
        let cx = self.cx;
        let (canary, stable) = self.next_sizes();
        if let Some(rs) = cx.stable.filter(|rs| !cx.is_new(rs))
            && stable < rs.spec_replicas
        {
            self.lower(rs, stable, draft);
        }
        if let Some(rs) = cx.new
            && canary < rs.spec_replicas
            && !cx.fully_promoted()
        {
            if self.aborting && self.routed() {
                self.lower_rejected(rs, canary, draft);
            } else {
                self.lower(rs, canary, draft);
            }
        }
        self.lower_older(draft);
    }

    /// Makes a ReplicaSet smaller, never below what its traffic needs, and not before the data plane knows (S2).
    fn lower(&self, rs: &ReplicaSetView, to: i32, draft: &mut Draft) {
        let needed = if self.routed() {
            routing::needed(self, rs)
        } else {
            0
        };
        let to = to.max(needed.min(rs.spec_replicas));
        if to < rs.spec_replicas && (!self.routed() || draft.settled(self.cx)) {
            draft.scale(self.cx, rs, to);
        }
    }

    /// The rejected version goes once stable is whole again and the abort delay has passed (contract 3.4).
    fn lower_rejected(&self, rs: &ReplicaSetView, to: i32, draft: &mut Draft) {
        let cx = self.cx;
        if self.dynamic() && self.spec.abort_scale_down_delay_seconds.is_none() {
            self.lower(rs, to, draft);
            return;
        }
        let Some(delay) = cx.abort_delay() else { return };
        let stable_whole = cx.stable.is_some_and(|stable| stable.available >= cx.size);
        if !stable_whole || cx.live.at_most() > 0 {
            return;
        }
        match rs.scale_down_deadline() {
            None => draft.deadline(cx, rs, delay),
            Some(deadline) if draft.due(cx, deadline) => self.lower(rs, to, draft),
            Some(until) => draft.because(Reason::ScaleDownDelayed {
                replica_set: rs.name.clone(),
                until,
            }),
        }
    }

    /// ReplicaSets that are neither new nor stable (contract 3.3, 3.4).
    fn lower_older(&self, draft: &mut Draft) {
        let cx = self.cx;
        let limits = Limits::of_canary(self.spec, cx.size);
        let mut older: Vec<&ReplicaSetView> = cx
            .older
            .iter()
            .filter(|rs| rs.spec_replicas > 0)
            .copied()
            .collect();
        older.sort_by_key(|rs| std::cmp::Reverse(rs.revision()));
        if self.routed() {
            let mut waiting = 0;
            for rs in older {
                if routing::needed(self, rs) > 0 || services::selects(cx, &rs.hash) {
                    continue;
                }
                // What was stable before had requests until the promotion: a newer version that came at once does not shorten that.
                let was_stable = cx.stable.is_some_and(|stable| rs.revision() < stable.revision());
                let delayed = cx.fully_promoted() || was_stable || rs.scale_down_deadline().is_some();
                let over = cx
                    .scale_down_revision_limit()
                    .is_some_and(|limit| waiting >= limit);
                if delayed && !over {
                    waiting += 1;
                    self.lower_delayed(rs, draft);
                } else {
                    self.lower(rs, 0, draft);
                }
            }
            return;
        }
        // Unhealthy pods first: they serve nobody and would hold the budget. Then within maxUnavailable.
        let mut budget = cx.available() - (cx.size - limits.unavailable);
        for rs in &older {
            let unhealthy = (rs.spec_replicas - rs.available).max(0);
            let spare = unhealthy + budget.max(0).min(rs.available);
            let to = rs.spec_replicas - spare.min(rs.spec_replicas);
            budget -= (rs.available - to).max(0);
            draft.scale(cx, rs, to);
        }
    }

    fn lower_delayed(&self, rs: &ReplicaSetView, draft: &mut Draft) {
        let cx = self.cx;
        match rs.scale_down_deadline() {
            None => draft.deadline(cx, rs, cx.scale_down_delay()),
            Some(deadline) if draft.due(cx, deadline) => {
                if draft.settled(cx) {
                    draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
                    draft.scale(cx, rs, 0);
                }
            }
            Some(until) => draft.because(Reason::ScaleDownDelayed {
                replica_set: rs.name.clone(),
                until,
            }),
        }
    }

    /// The weight that the canary shall have; `None` leaves it as it is (contract 3.6).
    pub(crate) fn intended_weight(&self, stable_served: bool) -> Option<i32> {
        let cx = self.cx;
        let total = cx.total_weight();
        let live = cx.live.at_most();
        if cx.fully_promoted() || cx.stable.is_none() {
            // All to stable, once the stable Service selects the promoted version.
            let whole = cx
                .stable
                .or(cx.new)
                .is_some_and(|rs| rs.available >= floor_share(cx.size, total, total));
            return (stable_served && (whole || live == 0 && cx.stable.is_none())).then_some(0);
        }
        let new_available = cx.new.map_or(0, |rs| rs.available);
        let stable = cx.stable?;
        let weight = if self.aborting {
            if self.dynamic() { self.weight_back() } else { 0 }
        } else if new_available == 0 {
            0
        } else if self.full {
            if self.dynamic() && cx.size > 0 {
                floor_share(total, new_available, cx.size).min(total)
            } else {
                live
            }
        } else {
            match self.index {
                None => 0,
                Some(i) if !self.at_wanted() => self.weight_of_first(i.min(self.spec.steps.len())),
                Some(i) if i < self.spec.steps.len() => self.weight_of_first(i + 1),
                Some(_) => total,
            }
        };
        let enough = stable.available >= floor_share(cx.size, total - weight, total);
        let rescue = (self.aborting || new_available == 0)
            && weight < live
            && (stable.available > 0 || new_available == 0);
        (enough || rescue || self.spec.replica_progress_threshold.is_some()).then_some(weight)
    }

    /// With a shrunk stable version, an abort walks back through the weights that its pods can carry (contract 3.4).
    fn weight_back(&self) -> i32 {
        let cx = self.cx;
        let total = cx.total_weight();
        let live = cx.live.at_most();
        let stable = cx.stable.map_or(0, |rs| rs.available);
        if stable >= cx.size {
            return 0;
        }
        // Stable must be able to carry what it is given: the canary keeps the rest.
        let carried = floor_share(total, stable, cx.size.max(1));
        (total - carried).clamp(0, live)
    }

    /// Which runs shall exist now.
    fn wanted_runs(&self) -> runs::Wanted<'a> {
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
        if let Some(background) = &self.spec.analysis {
            let start = usize::try_from(background.starting_step.unwrap_or(0)).unwrap_or(0);
            if self.index.is_none_or(|i| i >= start) {
                wanted.background = Some(background);
            }
        }
        if let (Some(index), Some(analysis)) = (self.index, self.step().and_then(|s| s.analysis.as_ref())) {
            wanted.step = Some((index, analysis));
        }
        wanted
    }

    /// Moves the record on by what was observed: promotion, abort, or at most one step (contract 3.2).
    fn advance(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        let end = i32::try_from(self.spec.steps.len()).unwrap_or(i32::MAX);
        let end_index = (end > 0).then_some(end);
        routing::record(self, draft);
        runs::record(cx, verdict, draft);
        let in_window = cx
            .new
            .is_some_and(|new| new.available > 0 && !cx.fully_promoted() && revision::within_window(cx, new));
        if self.full || in_window && !self.aborting {
            draft.status.pause_conditions.clear();
            draft.status.controller_pause = None;
            draft.status.current_step_index = end_index;
        }
        if let Some(reason) = self.promotable() {
            promotion::promote(cx, draft, &reason, end_index);
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
        if promotion::retried(cx) {
            draft.status.current_step_index = end_index.map(|_| 0);
            draft.status.aborted_at = None;
            runs::clear(draft);
            return;
        }
        if verdict.inconclusive(&self.wanted_runs()) {
            status::pause(cx, &mut draft.status, PauseReason::InconclusiveAnalysisRun);
            return;
        }
        draft
            .status
            .pause_conditions
            .retain(|p| p.reason != PauseReason::InconclusiveAnalysisRun);
        if verdict.measures_again() && self.step().is_none_or(|step| step.pause.is_none()) {
            draft.status.controller_pause = None;
        }
        if self.full || in_window || cx.spec_paused() || cx.fully_promoted() {
            return;
        }
        let Some(index) = self.index.filter(|i| *i < self.spec.steps.len()) else {
            return;
        };
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
            let text = step_text(self.spec.steps.get(index));
            draft.tell(
                false,
                "RolloutStepCompleted",
                format!("Rollout step {current}/{end} completed ({text})"),
            );
        }
        // A pause begins with the step before it ending: one write for both.
        if let Some(step) = self.spec.steps.get(current)
            && let Some(pause) = &step.pause
            && draft.status.controller_pause != Some(true)
        {
            status::pause(cx, &mut draft.status, PauseReason::CanaryPauseStep);
            if let Ok(Some(seconds)) = pause.duration_seconds() {
                draft.wake_at(after(cx.now, jiff::SignedDuration::from_secs(seconds)));
            }
        }
    }

    /// Whether the step at `index` is over.
    fn step_done(&self, index: usize, verdict: &Verdict<'_>, draft: &mut Draft) -> bool {
        let Some(step) = self.spec.steps.get(index) else {
            return false;
        };
        if let Some(pause) = &step.pause {
            return self.pause_done(pause, draft);
        }
        if step.analysis.is_some() {
            return verdict.step_successful();
        }
        let placed = !self.routed()
            || step.set_weight.is_none()
            || self.cx.live == tidegate_traffic::WeightState::Set(step.set_weight.unwrap_or(0));
        let done = self.at_wanted() && placed && routing::headers_placed(self);
        if !done && let Some(new) = self.cx.new {
            let (wanted, _) = self.wanted();
            draft.because(Reason::WaitingForPods {
                replica_set: new.name.clone(),
                available: new.available,
                wanted,
            });
        }
        done
    }

    fn pause_done(&self, pause: &tidegate_crds::RolloutPause, draft: &mut Draft) -> bool {
        let cx = self.cx;
        let Some(since) = cx.pause(&PauseReason::CanaryPauseStep) else {
            // The condition is gone but the controller had paused: a client resumed it.
            return cx.controller_pause();
        };
        let until = match pause.duration_seconds() {
            Ok(Some(seconds)) => Some(after(since.timestamp(), jiff::SignedDuration::from_secs(seconds))),
            _ => None,
        };
        draft.because(Reason::Paused {
            reason: PauseReason::CanaryPauseStep.to_string(),
            until,
        });
        until.is_some_and(|until| draft.due(cx, until))
    }

    /// Why the new version is to be fully promoted now, if it is (contract 3.7).
    fn promotable(&self) -> Option<String> {
        let cx = self.cx;
        let new = cx.new?;
        if cx.stable.is_none() && !cx.fully_promoted() {
            return Some("Initial deploy".to_owned());
        }
        if cx.fully_promoted() {
            return Some(String::new());
        }
        let available = new.available >= cx.size || self.meets(new.available, cx.size);
        if self.aborting || !available || new.observed_generation < new.generation {
            return None;
        }
        if self.full {
            return Some("Full promotion requested".to_owned());
        }
        if revision::fast_rollback(cx) && self.finished() {
            return Some("Rollback within window".to_owned());
        }
        let placed = !self.routed()
            || self.spec.steps.is_empty()
            || cx.live == tidegate_traffic::WeightState::Set(cx.total_weight());
        let whole =
            !self.routed() || saturated(new, cx.size) || self.spec.replica_progress_threshold.is_some();
        let steps = self.spec.steps.len();
        (self.finished() && placed && whole && (self.routed() || self.at_wanted()))
            .then(|| format!("Completed all {steps} canary steps"))
    }

    /// The stable Service of a routed canary points at the stable version.
    pub(crate) fn stable_service_right(&self) -> bool {
        let service = self.cx.service(self.spec.stable_service.as_deref());
        service.is_none_or(|s| selected(s) == self.cx.stable_hash())
    }
}

/// Words of a step in an event (contract 2.8).
fn step_text(step: Option<&CanaryStep>) -> String {
    let Some(step) = step else { return String::new() };
    if let Some(weight) = step.set_weight {
        return format!("setWeight: {weight}");
    }
    if let Some(pause) = &step.pause {
        return pause
            .duration
            .as_ref()
            .map_or("pause".to_owned(), |d| format!("pause: {d}"));
    }
    if step.analysis.is_some() {
        return "analysis".to_owned();
    }
    if let Some(set) = &step.set_canary_scale {
        return match (set.replicas, set.weight) {
            (Some(replicas), _) => format!("setCanaryScale{{replicas: {replicas}}}"),
            (None, Some(weight)) => format!("setCanaryScale{{weight: {weight}}}"),
            _ => "setCanaryScale{matchTrafficWeight: true}".to_owned(),
        };
    }
    if let Some(route) = &step.set_header_route {
        return format!("setHeaderRoute: {}", route.name.as_deref().unwrap_or_default());
    }
    "invalid".to_owned()
}

/// The weights that a status remembers.
pub(crate) fn recorded_weight(status: &RolloutStatus) -> Option<i32> {
    status.canary.as_ref()?.weights.as_ref().map(|w| w.canary.weight)
}
