//! When canary, stable and older versions get or lose pods (contract 3.3, 3.4).

use tidegate_crds::labels;

use super::view::Canary;
use crate::context::Annotated;
use crate::draft::Draft;
use crate::observed::ReplicaSetView;
use crate::replicas::{Side, rolling};
use crate::valid::Rejected;
use crate::why::Reason;
use crate::{drain, routing};

impl Canary<'_, '_> {
    pub(super) fn scale(&self, draft: &mut Draft) {
        self.scale_up(draft);
        self.scale_down(draft);
    }

    /// What [`Canary::wanted`] says, but that a held update gets no more than what it has when the Rollout is scaled, beside what its
    /// requests need: an autoscaler releases nothing (contract F6).
    fn wanted_if_held(&self) -> (i32, i32) {
        let (cx, (canary, stable)) = (self.cx, self.wanted());
        let held = cx
            .new
            .filter(|_| cx.halted() && !self.aborting && !cx.fully_promoted());
        let Some(new) = held else {
            return (canary, stable);
        };
        let needed = if self.routed() {
            routing::needed(self, new)
        } else {
            0
        };
        let most = cx.held_size(new).max(needed);
        if most >= canary {
            return (canary, stable);
        }
        let stable = if self.routed() { stable } else { cx.size - most };
        (most, stable)
    }

    fn sides(&self) -> (Side, Side) {
        let (canary, stable) = self.wanted_if_held();
        let side = |rs: Option<&ReplicaSetView>, desired| Side {
            spec: rs.map_or(0, |rs| rs.spec_replicas),
            available: rs.map_or(0, ReplicaSetView::serving),
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
        rolling(self.cx.size, self.spec.limits, canary, stable, older)
    }

    pub(super) fn scale_up(&self, draft: &mut Draft) {
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
            // What is kept for ever goes at no time.
            if !self.aborting || cx.valid.rejected == Rejected::KeptForEver {
                draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
            }
            // S5: an abort is one way, so that an autoscaler cannot bring the rejected version back.
            if canary > rs.spec_replicas && (!self.aborting || cx.fully_promoted()) {
                draft.scale(cx, rs, canary);
            }
        }
    }

    pub(super) fn scale_down(&self, draft: &mut Draft) {
        let cx = self.cx;
        let (canary, stable) = self.next_sizes();
        if let Some(rs) = cx.stable.filter(|rs| !cx.is_new(rs))
            && stable < rs.spec_replicas
        {
            self.lower(rs, stable, draft);
        }
        if let Some(rs) = cx.new
            && canary < rs.spec_replicas
        {
            if self.aborting && self.routed() {
                self.lower_rejected(rs, canary, draft);
            } else {
                self.lower(rs, canary, draft);
            }
        }
        self.lower_older(draft);
    }

    /// The Rollout has Services that select its versions.
    fn is_named(&self) -> bool {
        !self.cx.seen.services.is_empty()
    }

    /// Makes a ReplicaSet smaller, never below what its traffic needs, and not before the data plane knows (S2).
    fn lower(&self, rs: &ReplicaSetView, to: i32, draft: &mut Draft) {
        let needed = if self.routed() {
            routing::needed(self, rs)
        } else {
            // Its Service leaves the new version before its pods go, unless that was refused.
            let left = self.cx.is_new(rs) && !draft.switches() && self.may_wait_for_services(rs);
            // Nor do the last pods of one go that a Service is just given.
            let given = self.spec.limits.surge > 0 && self.cx.size > 0 && draft.points_at(&rs.hash);
            self.kept_for_services(rs).max(i32::from(left || given))
        };
        let to = to.max(needed.min(rs.spec_replicas));
        if to < rs.spec_replicas && (!self.routed() || drain::settled(self.cx, draft)) {
            draft.scale(self.cx, rs, to);
        }
    }

    /// The rejected version goes once stable is whole again and the abort delay has passed (contract 3.4).
    fn lower_rejected(&self, rs: &ReplicaSetView, to: i32, draft: &mut Draft) {
        let cx = self.cx;
        let delay = match cx.valid.rejected {
            Rejected::GoWithTraffic => return self.lower(rs, to, draft),
            // But not beyond the size of the Rollout.
            Rejected::KeptForEver => return self.lower(rs, rs.spec_replicas.min(cx.size), draft),
            Rejected::Kept(delay) => delay,
        };
        let stable_whole = cx.stable.is_some_and(|stable| stable.serving() >= cx.size);
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
        let limits = self.spec.limits;
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
                // At size 0 its Service has nowhere else to go.
                if routing::needed(self, rs) > 0 || cx.size > 0 && cx.is_selected(&rs.hash) {
                    continue;
                }
                // What was stable before had requests until the promotion: a newer version that came at once does not shorten that.
                let was_stable = cx.stable.is_some_and(|stable| rs.revision() < stable.revision());
                let delayed = cx.fully_promoted() || was_stable || rs.scale_down_deadline().is_some();
                let over = cx.valid.scale_down_limit.is_some_and(|limit| waiting >= limit);
                if delayed && !over {
                    waiting += 1;
                    self.lower_delayed(rs, draft);
                } else if drain::drained(cx, rs, draft) {
                    draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
                    draft.scale(cx, rs, 0);
                }
            }
            return;
        }
        // Unhealthy pods first: they serve nobody and would hold the budget. Then within maxUnavailable. Counters do not know yet of
        // pods that are on their way out.
        let serving = ReplicaSetView::serving;
        let all = cx.owned().map(serving).fold(0, i32::saturating_add);
        let mut budget = all.saturating_sub(cx.size - limits.unavailable);
        for rs in &older {
            let unhealthy = rs.spec_replicas - serving(rs);
            let spare = unhealthy.saturating_add(budget.max(0).min(serving(rs)));
            let to = (rs.spec_replicas - spare.min(rs.spec_replicas)).max(self.kept_for_services(rs));
            budget -= (serving(rs) - to).max(0);
            if to == 0 && rs.spec_replicas > 0 && self.is_named() && !drain::settled(cx, draft) {
                continue;
            }
            draft.scale(cx, rs, to);
        }
    }

    fn lower_delayed(&self, rs: &ReplicaSetView, draft: &mut Draft) {
        let cx = self.cx;
        let delay = cx.valid.scale_down_delay;
        match rs.scale_down_deadline() {
            deadline if delay.is_zero() || deadline.is_some_and(|deadline| draft.due(cx, deadline)) => {
                if drain::settled(cx, draft) {
                    draft.annotate(rs, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
                    draft.scale(cx, rs, 0);
                }
            }
            None => draft.deadline(cx, rs, delay),
            Some(until) => {
                // No larger than the Rollout while it waits to go.
                if cx.size > 0 {
                    draft.scale(cx, rs, cx.held_size(rs));
                }
                draft.because(Reason::ScaleDownDelayed {
                    replica_set: rs.name.clone(),
                    until,
                });
            }
        }
    }
}
