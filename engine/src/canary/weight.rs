//! Which share of the requests the canary shall have (contract 3.6): weight first when it falls, pods first when it rises.

use tidegate_traffic::WeightState::{Mixed, Set};

use super::view::Canary;
use crate::observed::{ReplicaSetView, ServiceView};
use crate::replicas::floor_share;
use crate::valid::{Step, Threshold};

impl Canary<'_, '_> {
    /// The last `setWeight` of the first `count` steps, 0 when there is none.
    pub(super) fn weight_of_first(&self, count: usize) -> i32 {
        self.spec
            .steps
            .iter()
            .take(count)
            .rev()
            .find_map(Step::weight)
            .unwrap_or(0)
    }

    /// The weight that sizes follow (contract 3.3).
    pub(super) fn scale_weight(&self) -> i32 {
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

    /// The version that the canary Service selects: what the canary's share goes to. Empty before it was ever switched.
    fn share_goes_to(&self) -> &str {
        let service = self.cx.service(self.spec.canary_service.as_deref());
        service.map_or("", ServiceView::selected)
    }

    /// The canary's share still goes to another version, an intermediate one or the one that was rolled back: before the new
    /// version gets any, it is taken back to stable.
    pub(super) fn hands_over(&self) -> bool {
        let to = self.share_goes_to();
        self.cx.live.at_most() > 0 && !to.is_empty() && to != self.cx.hash
    }

    /// The weight of the current step as it can be: none for a canary that is meant to have no pods, be it that `replicas` is 0
    /// or that `setCanaryScale` says so.
    pub(crate) fn step_weight(&self) -> i32 {
        if self.wanted().0 > 0 {
            self.scale_weight()
        } else {
            0
        }
    }

    /// The routes give the new version the weight of the current step, and not the same weight to another one.
    pub(super) fn placed(&self) -> bool {
        !self.routed() || self.cx.live == Set(self.step_weight()) && !self.hands_over()
    }

    /// Where the weight is to go, however long that takes.
    fn goal(&self) -> i32 {
        let cx = self.cx;
        let available = cx.new.map_or(0, ReplicaSetView::serving);
        if self.takes_back() || available == 0 {
            return 0;
        }
        if self.full {
            return if self.dynamic() && cx.size > 0 {
                floor_share(cx.total_weight(), available, cx.size).min(cx.total_weight())
            } else {
                cx.live.at_most()
            };
        }
        // Without steps there is no weight before the promotion.
        self.index.map_or(0, |_| self.step_weight())
    }

    /// All requests are to go to stable.
    pub(super) fn takes_back(&self) -> bool {
        self.cx.fully_promoted()
            || self.cx.stable.is_none()
            || self.aborting
            || self.hands_over()
            || self.leads_nowhere()
    }

    /// Somebody deleted the canary Service, so that its share of the requests is answered by nobody.
    pub(super) fn leads_nowhere(&self) -> bool {
        self.routed() && self.cx.service(self.spec.canary_service.as_deref()).is_none()
    }

    /// The weight that the canary shall have now; `None` leaves it as it is.
    pub(crate) fn intended_weight(&self, stable_served: bool) -> Option<i32> {
        let cx = self.cx;
        let live = cx.live.at_most();
        if cx.fully_promoted() && !stable_served || cx.stable.is_none() && live > 0 {
            // All to stable, once the stable Service selects the promoted version.
            return None;
        }
        let goal = self.goal();
        // Between two writes, to bring all routes to the larger share is to raise it.
        let mixed = live > 0 && matches!(cx.live, Mixed { .. });
        let held = (!mixed).then_some(live);
        if goal < live {
            self.lowest(goal).or(held)
        } else if goal == live && !mixed || self.may_rise() {
            Some(goal)
        } else {
            held
        }
    }

    /// More requests only to a version that has the pods for them. What stable lacks does not count: it gets fewer.
    fn may_rise(&self) -> bool {
        // Or others would get them (S1).
        self.share_goes_to() == self.cx.hash && !self.cx.spec_paused() && (self.full || self.at_wanted())
    }

    /// The version that requests come to which do not go to the canary, and its pods. What the stable Service selects decides, not what
    /// is recorded: to point it at the stable version may have been refused.
    fn stable_side(&self) -> (&str, i32) {
        let cx = self.cx;
        let service = cx.service(self.spec.stable_service.as_deref());
        let live = service.map(ServiceView::selected).filter(|hash| !hash.is_empty());
        // A promoted version is selected by this plan at the latest, or nothing moves.
        match live.filter(|_| !cx.fully_promoted()) {
            Some(hash) => (
                hash,
                cx.owned()
                    .filter(|rs| rs.hash == hash)
                    .map(ReplicaSetView::serving)
                    .sum(),
            ),
            None => (
                cx.stable_hash(),
                cx.stable.or(cx.new).map_or(0, ReplicaSetView::serving),
            ),
        }
    }

    /// How far the weight may fall now on its way to `goal`: as far as stable carries what it is given (S2). `None`: not at all.
    fn lowest(&self, goal: i32) -> Option<i32> {
        let cx = self.cx;
        let total = cx.total_weight();
        let to = self.share_goes_to();
        // Where the same version answers, or none does, nothing is gained by waiting.
        let answered = to.is_empty() || cx.owned().any(|rs| rs.hash == to && rs.answering() > 0);
        let (stable, pods) = self.stable_side();
        if answered && to == cx.stable_hash() && to != stable {
            // The way back to stable would lead away from it, as long as the stable Service selects another version.
            return None;
        }
        if to == stable || !answered || self.stable_carries(total - goal) {
            return Some(goal);
        }
        if !self.takes_back() || pods == 0 {
            return None;
        }
        if !self.dynamic() && stable == cx.stable_hash() {
            // Stable is whole, but for pods that it has just lost.
            return Some(goal);
        }
        let carried = floor_share(total, pods, cx.size.max(1));
        let weight = (total - carried).max(goal);
        (weight < cx.live.at_most()).then_some(weight)
    }

    /// Stable has the pods for this share. A threshold in percent holds for it too; one in pods says what is enough of a canary.
    fn stable_carries(&self, share: i32) -> bool {
        let cx = self.cx;
        let (_, pods) = self.stable_side();
        let needed = floor_share(cx.size, share, cx.total_weight());
        let percent = matches!(self.spec.threshold, Threshold::Percent(_));
        pods >= needed || percent && self.meets(pods, needed)
    }
}
