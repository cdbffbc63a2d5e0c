//! Conditions that `kubectl wait`, kstatus and Argo CD's health understand.

use tidegate_crds::{DeliveryCondition, LedgerEntry, RejectedReason, TargetReason, Time, VerdictState};

use super::{Draft, shorten};
use crate::object::PIN_ANNOTATION;

impl Draft<'_> {
    /// The spec cannot be carried out.
    pub(super) fn stalled(&mut self, reason: &str, message: &str) {
        self.set("Ready", "False", reason, message);
        self.set("Stalled", "True", reason, message);
        self.unset("Reconciling");
    }

    /// A person does not want anything done.
    pub(super) fn suspended(&mut self) {
        self.set(
            "Ready",
            "False",
            "Suspended",
            "spec.suspend is true: nothing is done",
        );
        self.unset("Stalled");
        self.unset("Reconciling");
    }

    /// What is to be said in the end.
    pub(super) fn conditions(&mut self) {
        self.unset("Stalled");
        let head = self.head_entry().cloned();
        let target = self.plan.status.target.clone();
        let running = target
            .as_ref()
            .and_then(|target| self.entry(&target.digest))
            .cloned();
        let (ready, reason, message) = self.readiness(head.as_ref(), running.as_ref());
        self.set("Ready", ready, &reason, &message);
        if reason == "Rejected" || ready == "True" {
            self.unset("Reconciling");
        } else {
            self.set("Reconciling", "True", &reason, &message);
        }
        match self.failed_hook() {
            Some((phase, message)) => self.set("HookFailed", "True", phase.as_str(), &message),
            None => self.unset("HookFailed"),
        }
        let available = running
            .as_ref()
            .is_some_and(|entry| matches!(entry.state, VerdictState::Verified | VerdictState::Deployed));
        match &running {
            Some(entry) if available => {
                self.set("Available", "True", entry.state.as_str(), &super::short(entry));
            }
            Some(entry) => self.set("Available", "Unknown", entry.state.as_str(), &entry.message),
            None => self.unset("Available"),
        }
        if self.observed.delivery.spec.observe.is_some() {
            return self.observed_conditions();
        }
        let ahead = head.is_some()
            && self.plan.status.head.as_ref().map(|head| &head.digest)
                != target.as_ref().map(|target| &target.digest);
        let (Some(head), Some(target)) = (head.filter(|_| ahead), target) else {
            self.unset("GitAhead");
            self.unset("Pinned");
            return;
        };
        let by_hand = self.plan.status.why == Some(TargetReason::PinnedByHand);
        let reason = if by_hand { "PinnedByHand" } else { "Rejected" };
        let message = format!(
            "Git has {}, the cluster has {}",
            super::short(&head),
            target.revision
        );
        self.set("GitAhead", "True", reason, &message);
        match self.plan.status.why {
            Some(TargetReason::Pinned) => {
                let message = format!("held at {} until there is a newer commit", target.revision);
                self.set("Pinned", "True", reason, &message);
            }
            Some(TargetReason::PinnedByHand) => {
                let message = format!("held at {} by the annotation {PIN_ANNOTATION}", target.revision);
                self.set("Pinned", "True", reason, &message);
            }
            _ => self.unset("Pinned"),
        }
    }

    fn readiness(
        &self,
        head: Option<&LedgerEntry>,
        running: Option<&LedgerEntry>,
    ) -> (&'static str, String, String) {
        if let Some((reason, message)) = &self.trouble {
            return ("False", (*reason).to_owned(), message.clone());
        }
        let Some(head) = head else {
            return (
                "False",
                "Fetching".to_owned(),
                "the repository is being looked at".to_owned(),
            );
        };
        let with = |words: &str| {
            if head.message.is_empty() {
                words.to_owned()
            } else {
                format!("{words}: {}", head.message)
            }
        };
        let words = |words: &str| with(&format!("{} {words}", super::short(head)));
        match &head.state {
            VerdictState::Verified | VerdictState::Deployed => {
                ("True", head.state.to_string(), words("is good"))
            }
            VerdictState::Rejected => {
                let reason = head.reason.as_ref().map(ToString::to_string).unwrap_or_default();
                let back = match running.and_then(|entry| entry.commits.last()) {
                    Some(commit) if running != Some(head) => {
                        format!("; the cluster runs {}", commit.get(..8).unwrap_or(commit))
                    }
                    _ => String::new(),
                };
                (
                    "False",
                    "Rejected".to_owned(),
                    format!("{}{back}", words(&format!("was rejected ({reason})"))),
                )
            }
            VerdictState::Pending if head.reason == Some(RejectedReason::ApplyFailed) => {
                ("False", "ApplyFailed".to_owned(), words("cannot be applied"))
            }
            VerdictState::Pending if self.plan.status.why == Some(TargetReason::PinnedByHand) => (
                "False",
                "PinnedByHand".to_owned(),
                words("waits until the pin is taken away"),
            ),
            VerdictState::Regressed => (
                "False",
                "Regressed".to_owned(),
                words("was good and is not any more"),
            ),
            state => ("False", state.to_string(), words("is being released")),
        }
    }

    pub(super) fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let (now, generation) = (Time::from(self.now), self.plan.status.observed_generation);
        let conditions = &mut self.plan.status.conditions;
        let wanted = DeliveryCondition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: shorten(message),
            last_transition_time: now,
            observed_generation: generation,
        };
        match conditions.iter_mut().find(|condition| condition.kind == kind) {
            Some(known) => {
                let since = if known.status == status {
                    known.last_transition_time
                } else {
                    now
                };
                *known = DeliveryCondition {
                    last_transition_time: since,
                    ..wanted
                };
            }
            None => conditions.push(wanted),
        }
    }

    pub(super) fn unset(&mut self, kind: &str) {
        self.plan
            .status
            .conditions
            .retain(|condition| condition.kind != kind);
    }
}
