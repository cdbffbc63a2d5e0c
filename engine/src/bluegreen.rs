//! The blue-green strategy: preview, pause, switch, abort (contract 3.11).

use jiff::SignedDuration;
use tidegate_crds::{PauseReason, labels};

use crate::context::{Annotated, Context, saturated};
use crate::draft::Draft;
use crate::observed::{ReplicaSetView, ServiceView};
use crate::promotion::Because;
use crate::runs::{self, Verdict};
use crate::time::after;
use crate::valid::{self, Rejected, Switch};
use crate::why::Reason;
use crate::{deadline, drain, metadata, promotion, revision, services};

/// A blue-green update at one look.
struct BlueGreen<'c, 'a> {
    cx: &'c Context<'a>,
    spec: &'a valid::BlueGreenSpec,
    active: Option<&'a ServiceView>,
    /// The update is being taken back.
    aborting: bool,
    /// Neither pause nor pre-promotion analysis stand in the way (contract F62, F64).
    fast: bool,
}

/// Plans one look at a Rollout with the blue-green strategy.
pub(crate) fn plan(cx: &Context<'_>, spec: &valid::BlueGreenSpec, draft: &mut Draft) {
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
    let blue_green = BlueGreen {
        cx,
        spec,
        active: cx.service(spec.active_service.as_deref()),
        aborting: promotion::aborting(cx, &verdict, draft),
        fast: promotion::fast(cx) || cx.stable_hash().is_empty() || cx.fully_promoted(),
    };
    blue_green.act(&verdict, draft);
    blue_green.advance(&verdict, draft);
}

/// Gives users the stable version back while the Rollout is invalid.
pub(crate) fn take_back(cx: &Context<'_>, spec: &valid::BlueGreenSpec, draft: &mut Draft) {
    let verdict = runs::judge(cx);
    if !promotion::aborting(cx, &verdict, draft) {
        return;
    }
    // What makes it invalid may be that the Service is another Rollout's.
    let mine = |service: &&ServiceView| service.managed_by.as_deref() == Some(cx.name());
    let blue_green = BlueGreen {
        cx,
        spec,
        active: cx.service(spec.active_service.as_deref()).filter(mine),
        aborting: true,
        fast: false,
    };
    blue_green.goes_back(draft);
    // One that came with another template is for a version that is not on record yet.
    if !promotion::changed(cx) {
        runs::record(cx, &verdict, draft);
        promotion::abort(cx, draft, None);
    }
}

/// `previewReplicaCount`. A Rollout that is to have no pods has none to look at either.
fn preview_size(cx: &Context<'_>, spec: &valid::BlueGreenSpec) -> Option<i32> {
    spec.preview_size.filter(|_| cx.size > 0)
}

fn begin(cx: &Context<'_>, spec: &valid::BlueGreenSpec, draft: &mut Draft) {
    promotion::reset(cx, draft, None);
    if let Some(new) = cx.new {
        let waits = revision::waits_for_its_delay(cx, new);
        if waits {
            draft.deadline(cx, new, cx.valid.scale_down_delay);
        }
        if waits || revision::kept(cx, new) {
            revision::returns(cx, new, draft);
        }
    }
    let size = match cx.new {
        Some(_) => 0,
        None if cx.spec_paused() || draft.status.abort == Some(true) => 0,
        None if cx.stable.is_some() => preview_size(cx, spec).unwrap_or(cx.size),
        None => cx.size,
    };
    let made = cx.new.is_none() && revision::create(cx, draft, size);
    // Not told of the first version, as upstream has it.
    if !cx.stable_hash().is_empty() {
        promotion::tell_begin(cx, draft);
    }
    draft.tell_scaling(revision::created_at_size(cx, size).filter(|_| made));
    if cx.stable_hash().is_empty() && (made || cx.new.is_some()) {
        promotion::promote(cx, draft, Because::First, None);
    }
}

impl<'a> BlueGreen<'_, 'a> {
    fn active_hash(&self) -> &'a str {
        self.active.map_or("", ServiceView::selected)
    }

    /// The version that the active Service selected when the status was written last.
    fn recorded_active(&self) -> &'a str {
        let bg = self.cx.status().blue_green.as_ref();
        bg.and_then(|b| b.active_selector.as_deref()).unwrap_or_default()
    }

    fn is_active(&self, rs: &ReplicaSetView) -> bool {
        !rs.hash.is_empty() && self.active_hash() == rs.hash
    }

    /// The active Service lost its selector: nobody knows whom users get until it is repaired.
    fn awaits_repair(&self) -> bool {
        self.active_hash().is_empty() && !self.recorded_active().is_empty()
    }

    /// The active Service selects no version, so it sends requests to all of them and none may go.
    fn everybody_serves(&self) -> bool {
        self.cx.size > 0 && self.active.is_some_and(|service| service.selected().is_empty())
    }

    /// Pods that the new version shall have: the preview's number until it is about to be switched to (contract F51).
    fn new_size(&self) -> i32 {
        let cx = self.cx;
        let whole = cx.new.is_some_and(|rs| self.is_active(rs))
            || self.fast
            || cx.stable.is_none()
            || self.checked() && cx.status().pause_conditions.is_empty();
        let has = cx.new.map_or(0, |rs| rs.spec_replicas.min(cx.size));
        match preview_size(cx, self.spec) {
            Some(preview) if !whole && self.everybody_serves() => preview.max(has),
            Some(preview) if !whole => preview,
            _ => cx.size,
        }
    }

    /// The new version has what it shall have now, all of it available.
    fn new_ready(&self) -> bool {
        self.cx.new.is_some_and(|rs| saturated(rs, self.new_size()))
    }

    /// Whoever asks the preview Service gets the new version: what measures or shows it begins no sooner. To point it there may have been
    /// refused.
    fn previewed(&self) -> bool {
        let service = self.cx.service(self.spec.preview_service.as_deref());
        let shows = |service: &ServiceView| self.cx.new.is_some_and(|rs| service.selected() == rs.hash);
        service.is_none_or(shows)
    }

    /// Pause and pre-promotion analysis are over.
    fn gates_open(&self, verdict: &Verdict<'_>) -> bool {
        self.fast || self.pause_over() && (self.spec.pre_analysis.is_none() || verdict.pre_successful())
    }

    fn pauses(&self) -> bool {
        self.spec.switch != Switch::AtOnce
    }

    fn auto_promotion(&self) -> Option<SignedDuration> {
        match self.spec.switch {
            Switch::After(time) => Some(time),
            Switch::AtOnce | Switch::ByHand => None,
        }
    }

    /// The new version went through all gates at the preview's size.
    fn checked(&self) -> bool {
        let bg = self.cx.status().blue_green.as_ref();
        bg.and_then(|b| b.scale_up_preview_check_point) == Some(true)
    }

    /// There is no pause, or it was begun and has been taken away.
    fn pause_over(&self) -> bool {
        !self.pauses()
            || self.checked()
            || self.cx.controller_pause() && !self.cx.has_pause(&PauseReason::BlueGreenPause)
    }

    fn act(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        // Traffic back to stable waits for nothing else, and nothing else that fails may come before it.
        let back = self.goes_back(draft);
        revision::min_ready_seconds(cx, draft);
        if cx.new.is_none() {
            // S5: what is taken back gets no pods, also when somebody deleted its ReplicaSet.
            let size = if cx.halted() || self.aborting {
                0
            } else {
                self.new_size()
            };
            let made = revision::create(cx, draft, size);
            draft.tell_scaling(revision::created_at_size(cx, size).filter(|_| made));
        }
        // What is taken back is not given again, whatever the status says of the Service.
        let stable_serves = cx.stable.is_some_and(|rs| rs.serving() > 0 || cx.size == 0);
        let repaired = self.aborting && stable_serves || self.repair(draft);
        if let Some(preview) = cx.service(self.spec.preview_service.as_deref())
            && let Some(new) = cx.new.filter(|_| !cx.halted() && !self.aborting)
        {
            // Before its pods are ready: a preview is there to be looked at (contract F50).
            services::target(cx, preview, new, true, draft);
        }
        let restart = crate::restart::look(cx, draft);
        let counted = restart.counted;
        let halted = cx.halted() && !self.aborting;
        if halted {
            promotion::tell_hold(cx, draft);
        }
        if counted && promotion::resized(cx, draft) || !halted {
            self.scale_live(counted, draft);
        }
        if !repaired && !halted && !back {
            self.switch(verdict, draft);
        }
        metadata::act(cx, self.promotable(verdict).is_some(), draft);
        restart.evict(draft);
        runs::act(cx, verdict, &self.wanted_runs(verdict), draft);
        if !halted && counted {
            self.scale_down(draft);
        }
        revision::unmark(cx, draft);
        revision::forget(cx, draft);
    }

    /// An active Service that lost its selector would send traffic to every version: it gets back what it had. That is drift,
    /// never a reason to promote.
    fn repair(&self, draft: &mut Draft) -> bool {
        let cx = self.cx;
        if !self.active_hash().is_empty() || cx.stable_hash().is_empty() {
            return false;
        }
        let recorded = self.recorded_active();
        // Somebody may have deleted the stable version: then the newest of the others, rather than one that was not promoted.
        let others = cx.older.iter().filter(|rs| rs.serving() > 0);
        let stable = cx
            .stable
            .or_else(|| others.max_by_key(|rs| rs.revision()).copied());
        if recorded.is_empty() && (cx.fully_promoted() || stable.is_none_or(|rs| rs.serving() == 0)) {
            // First deployment: the Service waits for all of its pods. With another version beside it, it would send requests to
            // both, so then it is enough that anybody of the stable one can answer.
            return false;
        }
        let known = cx
            .owned()
            .find(|rs| rs.hash == recorded && rs.serving() > 0)
            .or(stable);
        let (Some(service), Some(rs)) = (self.active, known) else {
            return false;
        };
        if rs.serving() == 0 && cx.older.iter().any(|older| older.serving() > 0) {
            // As long as it sends requests to every version, one that users had before answers (S1).
            if cx.size > 0 {
                draft.because(Reason::WaitingForPods {
                    replica_set: rs.name.clone(),
                    available: 0,
                    wanted: cx.size,
                });
            }
            return false;
        }
        services::target(cx, service, rs, true, draft);
        true
    }

    /// Sizes of the versions that users see or may see. Without `counted` none becomes smaller.
    fn scale_live(&self, counted: bool, draft: &mut Draft) {
        let cx = self.cx;
        for rs in cx.owned() {
            let stable = cx.stable.is_some_and(|s| s.name == rs.name);
            let wanted = if cx.is_new(rs) && self.aborting && !stable {
                // An abort is one way, also while its Service still selects it; but what it keeps follows the size too.
                rs.spec_replicas.min(cx.size)
            } else if stable || self.is_active(rs) {
                cx.size
            } else if cx.is_new(rs) {
                // An autoscaler releases nothing that is held (contract F6).
                if cx.halted() {
                    self.new_size().min(cx.held_size(rs))
                } else {
                    self.new_size()
                }
            } else if cx.size > 0 && rs.spec_replicas > 0 && revision::kept(cx, rs) {
                // No larger than the Rollout while it waits to go, once nobody is sent there any more.
                let most = cx.held_size(rs);
                if most < rs.spec_replicas && !self.everybody_serves() && drain::settled(cx, draft) {
                    draft.scale(cx, rs, most);
                }
                continue;
            } else {
                continue;
            };
            // What is taken back is kept for its whole delay from when users had it last, whatever deadline it came with, and what is kept
            // for ever goes at no time. What only comes back is known by its deadline.
            let waits = if self.aborting {
                !self.is_active(rs) && cx.valid.rejected != Rejected::KeptForEver
            } else {
                !stable && revision::fast_rollback(cx)
            };
            if !(cx.is_new(rs) && waits) {
                draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
            }
            // A preview that was larger, before an abort or a promotion of it, shrinks once nobody is sent there any more.
            let preview = !stable && !self.is_active(rs);
            if rs.spec_replicas < wanted || counted && (!preview || drain::settled(cx, draft)) {
                draft.scale(cx, rs, wanted);
            }
        }
    }

    /// The active Service goes back from a rejected version: at once on abort, and as soon as it may where that was refused, or stable had
    /// no pods, and another version came meanwhile. Whatever became of the new version: stable is whole, and takes the traffic back.
    /// Answers whether it leads to stable now.
    fn goes_back(&self, draft: &mut Draft) -> bool {
        let cx = self.cx;
        let mut older = cx.older.iter().copied();
        let rejected = older.any(|rs| self.is_active(rs) && revision::is_rejected(cx, rs));
        if !self.aborting && !rejected {
            return false;
        }
        let stable = cx.stable.filter(|rs| rs.serving() > 0 || cx.size == 0);
        if let (Some(service), Some(stable)) = (self.active, stable) {
            services::target(cx, service, stable, true, draft);
            return true;
        }
        self.aborting
    }

    /// The active Service goes forward when the new version can carry everything and all gates are open.
    fn switch(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        let Some(service) = self.active else { return };
        let Some(new) = cx.new else { return };
        if self.is_active(new) || deadline::unproven(cx) && !promotion::full(cx) {
            return;
        }
        // One that is to shrink to the preview's size first, as after a retry, is not whole any more.
        if !saturated(new, cx.size) || self.new_size() < cx.size {
            let wanted = self.new_size();
            // A preview that is whole waits for something else, which says so itself.
            if new.serving() < wanted {
                draft.because(Reason::WaitingForPods {
                    replica_set: new.name.clone(),
                    available: new.serving(),
                    wanted,
                });
            }
            return;
        }
        if self.gates_open(verdict) {
            services::target(cx, service, new, false, draft);
        } else if let Some(preview) = self.spec.preview_service.as_ref().filter(|_| !self.previewed()) {
            draft.because(Reason::WaitingForService {
                service: preview.clone(),
                replica_set: new.name.clone(),
            });
        }
    }

    fn wanted_runs(&self, verdict: &Verdict<'_>) -> runs::Wanted<'a> {
        let cx = self.cx;
        let mut wanted = runs::Wanted::default();
        let over = self.aborting || self.fast;
        if cx.spec_paused() || over {
            wanted.keep = cx.spec_paused() && !over;
            return wanted;
        }
        let active = cx.new.is_some_and(|rs| self.is_active(rs));
        if self.awaits_repair() {
            // What measures goes on.
            wanted.keep = true;
            return wanted;
        }
        if active {
            // Once begun, it goes on even when a pod is lost.
            if verdict.post_begun() || cx.new.is_some_and(|rs| saturated(rs, cx.size)) {
                wanted.post = self.spec.post_analysis.as_ref();
            }
        } else if verdict.pre_begun() || self.new_ready() && self.previewed() && !deadline::unproven(cx) {
            wanted.pre = self.spec.pre_analysis.as_ref();
        }
        wanted
    }

    fn scale_down(&self, draft: &mut Draft) {
        let cx = self.cx;
        if self.everybody_serves() {
            return;
        }
        if let Some(new) = cx
            .new
            .filter(|rs| self.aborting && !self.is_active(rs) && rs.spec_replicas > 0)
            && let Rejected::Kept(delay) = cx.valid.rejected
        {
            self.lower_delayed(new, delay, draft);
        }
        let mut old: Vec<&ReplicaSetView> = cx
            .older
            .iter()
            .filter(|rs| rs.spec_replicas > 0 && !self.is_active(rs))
            .copied()
            .collect();
        old.sort_by_key(|rs| std::cmp::Reverse(rs.revision()));
        for (position, rs) in old.into_iter().enumerate() {
            let over = cx.valid.scale_down_limit.is_some_and(|limit| position >= limit);
            if over {
                self.lower(rs, draft);
            } else {
                self.lower_delayed(rs, cx.valid.scale_down_delay, draft);
            }
        }
    }

    /// Takes the pods of a version that no Service of users selects, once its delay has passed and the data plane knows.
    fn lower_delayed(&self, rs: &ReplicaSetView, delay: SignedDuration, draft: &mut Draft) {
        let cx = self.cx;
        let due = match rs.scale_down_deadline() {
            _ if delay.is_zero() => true,
            None => {
                draft.deadline(cx, rs, delay);
                false
            }
            Some(deadline) => {
                let due = draft.due(cx, deadline);
                if !due {
                    draft.because(Reason::ScaleDownDelayed {
                        replica_set: rs.name.clone(),
                        until: deadline,
                    });
                }
                due
            }
        };
        if due {
            self.lower(rs, draft);
        }
    }

    /// Takes the pods of a version at once, unless requests may still come to it.
    fn lower(&self, rs: &ReplicaSetView, draft: &mut Draft) {
        let cx = self.cx;
        if drain::drained(cx, rs, draft) {
            draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
            draft.scale(cx, rs, 0);
        }
    }

    fn advance(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        let hash = |service: Option<&ServiceView>| {
            service
                .map(ServiceView::selected)
                .filter(|h| !h.is_empty())
                .map(str::to_owned)
        };
        let bg = draft.status.blue_green.get_or_insert_default();
        let lost = self.active.is_some() && self.active_hash().is_empty();
        if !lost {
            bg.active_selector = hash(self.active);
        }
        bg.preview_selector = hash(cx.service(self.spec.preview_service.as_deref()));
        runs::record(cx, verdict, draft);
        if let Some(because) = self.promotable(verdict).filter(|_| metadata::ready(cx, draft)) {
            promotion::promote(cx, draft, because, None);
            return;
        }
        if self.aborting {
            promotion::abort(cx, draft, None);
            return;
        }
        if self.fast {
            promotion::unblock(cx, draft);
            return;
        }
        if cx.retried() {
            promotion::retry(cx, draft, None);
            return;
        }
        if verdict.inconclusive(&self.wanted_runs(verdict)) {
            draft.pause(PauseReason::InconclusiveAnalysisRun);
            return;
        }
        draft
            .status
            .pause_conditions
            .retain(|p| p.reason != PauseReason::InconclusiveAnalysisRun);
        if verdict.measures_again() && !cx.has_pause(&PauseReason::BlueGreenPause) {
            // What was resumed is the analysis; the pause before the switch is still to come.
            draft.status.controller_pause = None;
        }
        self.pause(verdict, draft);
    }

    fn pause(&self, verdict: &Verdict<'_>, draft: &mut Draft) {
        let cx = self.cx;
        let active = cx.new.is_some_and(|rs| self.is_active(rs));
        let analysed = self.spec.pre_analysis.is_none() || verdict.pre_successful();
        if active && draft.status.pause_conditions.is_empty() {
            // What was paused for has happened: clients take this for a Rollout that waits to go on.
            draft.status.controller_pause = None;
        }
        if active || cx.spec_paused() {
            return;
        }
        let paused = cx.pause(&PauseReason::BlueGreenPause);
        let until = paused
            .zip(self.auto_promotion())
            .map(|(since, duration)| after(since.timestamp(), duration));
        if paused.is_some() {
            draft.because(Reason::Paused {
                reason: PauseReason::BlueGreenPause.to_string(),
                until,
            });
        }
        if !self.new_ready() || !analysed {
            return;
        }
        if paused.is_none() && (self.awaits_repair() || !self.previewed()) {
            // Users may have the new version already: no pause begins before a switch that has happened. And one is there to look at the
            // preview.
            return;
        }
        if paused.is_some() {
            if until.is_some_and(|until| draft.due(cx, until)) {
                draft
                    .status
                    .pause_conditions
                    .retain(|p| p.reason != PauseReason::BlueGreenPause);
            }
        } else if !self.pause_over() {
            draft.pause(PauseReason::BlueGreenPause);
            if let Some(duration) = self.auto_promotion() {
                draft.wake_at(after(cx.now, duration));
            }
        } else if preview_size(cx, self.spec).is_some() {
            // Through all gates at preview size: from here on the new version grows to take the traffic.
            draft
                .status
                .blue_green
                .get_or_insert_default()
                .scale_up_preview_check_point = Some(true);
        }
    }

    /// Why the new version is to be fully promoted now, if it is (contract 3.7).
    fn promotable(&self, verdict: &Verdict<'_>) -> Option<Because> {
        let cx = self.cx;
        if cx.fully_promoted() {
            // Also while somebody has deleted its ReplicaSet: what a client asks for beside that is over.
            return Some(Because::Again);
        }
        let new = cx.new?;
        if cx.stable_hash().is_empty() {
            return Some(Because::First);
        }
        if !self.is_active(new) || self.aborting || new.serving() == 0 && cx.size > 0 {
            return None;
        }
        if promotion::full(cx) {
            return Some(Because::Full);
        }
        if revision::fast_rollback(cx) {
            return Some(if revision::within_window(cx, new) {
                Because::WithinWindow
            } else {
                Because::FastRollback
            });
        }
        let analysed = self.spec.post_analysis.is_none() || verdict.post_successful();
        analysed.then_some(Because::Switched)
    }
}
