//! How many pods canary and stable shall have, and whether they have them (contract 3.3, 3.4).

use super::view::Canary;
use crate::context::Annotated;
use crate::observed::{ReplicaSetView, ServiceView};
use crate::replicas::{Side, ceil_share, nearest_counts, rolling};
use crate::valid::{CanaryScale, Rejected, Threshold};

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
            // Where the stable Service leads to it as well it keeps the pods that those requests need: nobody waits for them to go.
            let more = rs.spec_replicas > canary && self.gets_requests_of_stable(rs);
            rs.observed_generation >= rs.generation
                && (rs.spec_replicas == canary || more)
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

    /// The stable Service selects this version, as where to point it elsewhere had to wait, or none and so all of them.
    fn gets_requests_of_stable(&self, rs: &ReplicaSetView) -> bool {
        let service = self.cx.service(self.spec.stable_service.as_deref());
        let selected = service.filter(|_| self.routed()).map(ServiceView::selected);
        selected.is_some_and(|hash| hash == rs.hash || hash.is_empty())
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

    /// Without a router a Service follows a promotion: until then its requests need a pod (S1).
    pub(super) fn kept_for_services(&self, rs: &ReplicaSetView) -> i32 {
        i32::from(!self.cx.is_new(rs) && self.may_wait_for_services(rs))
    }

    pub(super) fn may_wait_for_services(&self, rs: &ReplicaSetView) -> bool {
        // Where no pod may be added the old ones have to go first.
        let adds = self.spec.limits.surge > 0;
        adds && self.cx.size > 0 && self.cx.is_selected(&rs.hash)
    }
}
