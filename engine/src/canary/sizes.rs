//! How many pods canary, stable and older versions shall have, and when they get or lose them (contract 3.3, 3.4).

use tidegate_crds::labels;

use super::Canary;
use crate::context::Annotated;
use crate::draft::Draft;
use crate::observed::ReplicaSetView;
use crate::replicas::{Side, ceil_share, nearest_counts, rolling};
use crate::valid::{CanaryScale, Rejected, Threshold};
use crate::why::Reason;
use crate::{routing, services};

impl Canary<'_, '_> {
    /// Pods that canary and stable shall have at this weight and step.
    pub(crate) fn wanted(&self) -> (i32, i32) {
        let (cx, size) = (self.cx, self.cx.size);
        if cx.stable.is_none() || cx.fully_promoted() {
            return (size, 0);
        }
        let (weight, total) = (self.scale_weight(), cx.total_weight());
        if !self.routed() {
            return nearest_counts(size, weight, total, self.spec.limits.surge);
        }
        let mut canary = self
            .pods_asked_for()
            .unwrap_or_else(|| self.at_least(ceil_share(size, weight, total)));
        let mut stable = size;
        if self.dynamic() {
            let live = cx.live.at_most();
            // A canary that shall have no pods gives its requests back first.
            let goal = if self.hands_over() || canary == 0 {
                0
            } else {
                weight
            };
            let share = |weight| ceil_share(size, weight, total);
            // Where the stable Service has no pods at all, a router may answer 503 whatever share its canary has.
            let one = share(total).min(1);
            stable = self.at_least(share(total - goal).max(share(total - live)).max(one));
            if self.aborting {
                canary = canary.max(self.at_least(ceil_share(size, live, total)));
            }
        }
        (canary, stable)
    }

    /// `minPodsPerReplicaSet` holds for every version that has any.
    fn at_least(&self, count: i32) -> i32 {
        if count > 0 {
            count.max(self.spec.min_pods)
        } else {
            count
        }
    }

    /// Pods that the `setCanaryScale` in force asks for, whatever the weight.
    pub(crate) fn pods_asked_for(&self) -> Option<i32> {
        match self.canary_scale()? {
            CanaryScale::Pods(pods) => Some(pods),
            CanaryScale::MatchTraffic => None,
        }
    }

    /// The `setCanaryScale` in force: the nearest at or before the current step; not after the steps, and not while aborting
    /// unless the canary is to be kept for ever (contract 3.4).
    fn canary_scale(&self) -> Option<CanaryScale> {
        let kept = self.cx.valid.rejected == Rejected::KeptForEver;
        if self.finished() || self.full || self.aborting && !kept {
            return None;
        }
        let so_far = self.spec.steps.iter().take(self.index? + 1);
        so_far.rev().find_map(|step| step.canary_scale)
    }

    pub(super) fn size_at_birth(&self) -> i32 {
        let (canary, stable) = self.wanted();
        // Where no version is stable yet there may be others all the same: the record of the first was lost in a crash.
        if self.routed() || self.cx.stable.is_none() && self.cx.older.is_empty() {
            return canary;
        }
        let cx = self.cx;
        let side = |rs: Option<&ReplicaSetView>, desired| Side {
            spec: rs.map_or(0, |rs| rs.spec_replicas),
            available: rs.map_or(0, ReplicaSetView::serving),
            desired,
        };
        let older = cx
            .older
            .iter()
            .map(|rs| rs.spec_replicas)
            .fold(0, i32::saturating_add);
        rolling(
            cx.size,
            self.spec.limits,
            side(None, canary),
            side(cx.stable, stable),
            older,
        )
        .0
    }

    /// Enough of a version is available for what it is wanted for: all of it, or as much as the threshold says (contract F45).
    pub(crate) fn meets(&self, available: i32, wanted: i32) -> bool {
        let met = match self.spec.threshold {
            Threshold::All => false,
            Threshold::Percent(percent) => {
                i64::from(available) * 100 >= i64::from(percent) * i64::from(wanted)
            }
            Threshold::Pods(pods) => available >= pods,
        };
        met || available >= wanted
    }

    /// Sizes are as the current step wants them (contract 3.3, last point).
    pub(crate) fn at_wanted(&self) -> bool {
        let (canary, stable) = self.wanted();
        let new = self.cx.new;
        let new_ok = new.map_or(canary == 0, |rs| {
            rs.observed_generation >= rs.generation
                && rs.spec_replicas == canary
                && self.meets(rs.serving(), canary)
        });
        let stable_ok = self.cx.fully_promoted()
            || self.cx.stable.is_none_or(|rs| {
                // A dynamic stable version follows the weight, so it is larger than wanted once the weight is set. And the last pod of
                // one that a Service selects goes after the promotion.
                let kept = if self.routed() {
                    0
                } else {
                    self.kept_for_services(rs)
                };
                let right =
                    |pods| pods == stable || pods == stable.max(kept) || self.dynamic() && pods > stable;
                rs.observed_generation >= rs.generation && right(rs.spec_replicas) && right(rs.replicas)
            });
        // With a router they get no requests, and may have to wait for a Service that selects them.
        let gone = |rs: &ReplicaSetView| rs.available == 0 || rs.scale_down_deadline().is_some();
        let drained = self.routed() || self.cx.older.iter().copied().all(gone);
        new_ok && stable_ok && drained
    }

    /// More pods than the Rollout may have: its size became smaller, and not all of them could go at once.
    pub(super) fn oversized(&self) -> bool {
        let cx = self.cx;
        if self.routed() {
            let mut roles = cx.new.into_iter().chain(cx.stable);
            return roles.any(|rs| rs.spec_replicas > cx.size);
        }
        let all = cx.owned().map(|rs| rs.spec_replicas).fold(0, i32::saturating_add);
        all > cx.size.saturating_add(self.spec.limits.surge)
    }

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

    /// Without a router a Service follows a promotion: until then its requests need a pod (S1).
    fn kept_for_services(&self, rs: &ReplicaSetView) -> i32 {
        i32::from(!self.cx.is_new(rs) && self.may_wait_for_services(rs))
    }

    fn may_wait_for_services(&self, rs: &ReplicaSetView) -> bool {
        // Where no pod may be added the old ones have to go first.
        let adds = self.spec.limits.surge > 0;
        adds && self.cx.size > 0 && services::selects(self.cx, &rs.hash)
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
        if to < rs.spec_replicas && (!self.routed() || draft.settled(self.cx)) {
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
                if routing::needed(self, rs) > 0 || cx.size > 0 && services::selects(cx, &rs.hash) {
                    continue;
                }
                // What was stable before had requests until the promotion: a newer version that came at once does not shorten that.
                let was_stable = cx.stable.is_some_and(|stable| rs.revision() < stable.revision());
                let delayed = cx.fully_promoted() || was_stable || rs.scale_down_deadline().is_some();
                let over = cx.valid.scale_down_limit.is_some_and(|limit| waiting >= limit);
                if delayed && !over {
                    waiting += 1;
                    self.lower_delayed(rs, draft);
                } else if draft.drained(cx, rs) {
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
            if to == 0 && rs.spec_replicas > 0 && self.is_named() && !draft.settled(cx) {
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
                if draft.settled(cx) {
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
