//! Records the last good and the last rejected commit in the repository, and starts from there where there is no history: a
//! cluster that is made anew never runs what was rejected (G4).

use tidegate_crds::{LedgerEntry, RejectedReason, VerdictState};

use super::{Draft, Task, commit_of, is_final};
use crate::spec::Spec;
use crate::tree::Oid;

/// Key of failures to record in `Observed::retry_at`.
const RECORD: &str = "record";

impl Draft<'_> {
    /// The commit to go on with when the newest is `head`; `None` while that is not known.
    pub(super) fn start_from(&self, spec: &Spec, head: &Oid) -> Option<Oid> {
        if !spec.bootstrap_from_verified || spec.observe.is_some() {
            return Some(head.clone());
        }
        let [verified, _] = self.observed.recorded.as_ref()?;
        let Some(verified) = verified else {
            return Some(head.clone());
        };
        match self.plan.status.ledger.as_slice() {
            [] => Some(verified.clone()),
            // Only when it is there does the newest commit get its turn, as an update with all its steps.
            [only]
                if !is_final(&only.state)
                    && only.commits.last().map(String::as_str) == Some(verified.as_str()) =>
            {
                Some(verified.clone())
            }
            _ => Some(head.clone()),
        }
    }

    /// Whether the repository says that a commit was rejected, and we know nothing of it.
    pub(super) fn rejected_elsewhere(&self, commit: &Oid) -> bool {
        let recorded = self.observed.recorded.as_ref();
        let rejected = recorded.is_some_and(|[_, rejected]| rejected.as_ref() == Some(commit));
        rejected && self.plan.status.recorded_rejected.as_deref() != Some(commit.as_str())
    }

    /// Records what is not recorded yet.
    pub(super) fn record_in_git(&mut self, spec: &Spec) {
        let metadata = &self.observed.delivery.metadata;
        let refs = spec.recorded_refs(&metadata.namespace, &metadata.name);
        let [verified, rejected] = refs.as_slice() else {
            return;
        };
        if let Some(at) = self.observed.retry_at.get(RECORD).filter(|at| **at > self.now) {
            self.wake_at(*at);
            return;
        }
        let status = &self.plan.status;
        let good = status
            .verified
            .as_ref()
            .map(|revision| commit_of(revision).to_owned());
        let bad = self.head_entry().filter(|entry| is_bad(entry));
        let bad = bad.and_then(|entry| entry.commits.last().cloned());
        let known = status.recorded_verified.clone();
        if let Some(commit) = self.point(verified, good, known.as_deref()) {
            self.status().recorded_verified = Some(commit);
        }
        let known = self.plan.status.recorded_rejected.clone();
        if let Some(commit) = self.point(rejected, bad, known.as_deref()) {
            self.status().recorded_rejected = Some(commit);
        }
    }

    /// Has a ref point to a commit. Answers the commit once it does.
    fn point(&mut self, reference: &str, wanted: Option<String>, known: Option<&str>) -> Option<String> {
        let wanted = wanted.filter(|wanted| known != Some(wanted))?;
        match self.observed.pointed.get(reference) {
            Some(Ok(())) => Some(wanted),
            Some(Err(_)) => None,
            None => {
                let task = Task::Point(reference.to_owned(), Oid::parse(&wanted)?);
                self.plan.tasks.push(task);
                None
            }
        }
    }
}

/// Rejected for what it does in the cluster, not for how it is written.
fn is_bad(entry: &LedgerEntry) -> bool {
    entry.state == VerdictState::Rejected
        && !matches!(
            entry.reason,
            Some(RejectedReason::RenderFailed | RejectedReason::ApplyFailed | RejectedReason::InvalidSpec)
        )
}
