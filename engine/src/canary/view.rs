//! A canary at one look: where in its steps the Rollout is, and what can be told from that.

use crate::context::Context;
use crate::valid::{self, Step};
use crate::why::Reason;

/// A canary at one look: the spec, and where in its steps the Rollout is.
pub(crate) struct Canary<'c, 'a> {
    pub(crate) cx: &'c Context<'a>,
    pub(crate) spec: &'a valid::CanarySpec,
    /// Index into `spec.steps` as the status records it, the first when it records none; `None` without steps.
    pub(crate) index: Option<usize>,
    /// The update is being taken back, by the user or by what was just observed.
    pub(crate) aborting: bool,
    /// `status.promoteFull`: skip steps, pauses and analysis.
    pub(crate) full: bool,
}

/// Where in the steps a recorded index is. A status without one is at the beginning, never at the end: somebody took it away.
pub(super) fn position(spec: &valid::CanarySpec, recorded: Option<i32>) -> Option<usize> {
    let recorded = recorded.and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
    (!spec.steps.is_empty()).then_some(recorded)
}

impl<'a> Canary<'_, 'a> {
    pub(super) fn routed(&self) -> bool {
        self.spec.traffic_routing.is_some()
    }

    pub(super) fn dynamic(&self) -> bool {
        self.spec.dynamic
    }

    pub(crate) fn step(&self) -> Option<&'a Step> {
        self.spec.steps.get(self.index?)
    }

    pub(super) fn finished(&self) -> bool {
        self.index.is_none_or(|i| i >= self.spec.steps.len())
    }

    /// Whoever asks the canary Service gets the new version, if anybody of it is there: what measures or shows it begins no sooner. To point
    /// it there may have been refused, or waits for the requests of another version to go.
    pub(crate) fn introduced(&self) -> bool {
        let service = self.cx.service(self.spec.canary_service.as_deref());
        let there = self.cx.new.is_some_and(|new| new.serving() > 0);
        !there || service.is_none_or(|service| service.selected() == self.cx.hash)
    }

    pub(super) fn not_introduced(&self) -> Option<Reason> {
        let new = self.cx.new.filter(|_| !self.introduced())?;
        Some(Reason::WaitingForService {
            service: self.spec.canary_service.clone()?,
            replica_set: new.name.clone(),
        })
    }

    /// The stable Service of a routed canary points at the stable version.
    pub(crate) fn stable_service_right(&self) -> bool {
        let service = self.cx.service(self.spec.stable_service.as_deref());
        service.is_none_or(|s| s.selected() == self.cx.stable_hash())
    }
}
