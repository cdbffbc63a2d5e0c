//! The newest commit: what it renders to, and what became of that before.

use std::collections::BTreeSet;

use tidegate_crds::{DeliveryRevision, LedgerEntry, LedgerRollout, RejectedReason, Time, VerdictState};

use super::{Draft, Task, commit_of, revision, shorten};
use crate::desired::{Desired, Obstacle};
use crate::hooks::holds;
use crate::observed::RenderedCommit;
use crate::render::RenderError;
use crate::spec::Spec;
use crate::tree::Oid;

/// Trailer of the commits that we write.
pub(super) const REVERTS_TRAILER: &str = "Tidegate-Reverts";
/// Commits that are remembered of one entry.
const COMMITS: usize = 10;

impl Draft<'_> {
    /// Takes the newest commit into the ledger.
    pub(super) fn follow_head(&mut self, spec: &Spec) {
        let commit = match &self.observed.head {
            None => return,
            Some(Err(error)) => {
                self.trouble = Some(("FetchFailed", error.to_string()));
                return;
            }
            Some(Ok(commit)) => match self.start_from(spec, commit) {
                Some(commit) => commit,
                None => return,
            },
        };
        let commit = &commit;
        let rendered_as = spec.rendered_as();
        let head = self.plan.status.head.as_ref();
        let before = &self.plan.status.rendered_as;
        if head.is_some_and(|head| commit_of(head) == commit.as_str())
            && (before.is_empty() || *before == rendered_as)
        {
            return;
        }
        let rendered = match self.observed.rendered.get(commit) {
            None => {
                self.plan.tasks.push(Task::Render(commit.clone()));
                return;
            }
            Some(Err(error)) => {
                self.trouble = Some(("FetchFailed", error.to_string()));
                return;
            }
            Some(Ok(rendered)) => rendered,
        };
        // A commit that renders as the one before it is no news.
        let before = self.plan.status.head.as_ref().map(|head| &head.digest);
        let signed_now = |entry: &LedgerEntry| {
            entry.reason == Some(RejectedReason::NotSigned) && rendered.0.unsigned.is_none()
        };
        if let (_, Ok(rendered)) = rendered
            && before == Some(&rendered.digest)
            && !self.head_entry().is_some_and(signed_now)
        {
            self.status().rendered_as = rendered_as;
            return;
        }
        match self.read(rendered) {
            Ok(None) => {}
            Ok(Some(rollouts)) => self.record(spec, commit, rendered, Ok(rollouts)),
            Err(problem) if self.syncer.is_some() => self.not_rendered(commit, &problem),
            Err(problem) => self.record(spec, commit, rendered, Err(problem)),
        }
    }

    /// The Rollouts of a commit; `None` if more has to be known first; or what is wrong with it.
    fn read(&mut self, (_, rendered): &RenderedCommit) -> Result<Option<Vec<LedgerRollout>>, String> {
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(RenderError::Tree(error)) => {
                self.trouble = Some(("FetchFailed", error.to_string()));
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        // Nothing is never good: a rollback to it would delete everything.
        if rendered.manifests.is_empty() {
            return Err(match self.plan.status.inventory.len() {
                0 => "the commit has no manifest there: push some, or set spec.source.git.path".to_owned(),
                count => format!(
                    "the commit has no manifest there: all {count} objects would be deleted; delete the Delivery instead"
                ),
            });
        }
        let desired = match self.syncer {
            Some(_) => self.judged_of(rendered),
            None => Desired::of(rendered, self.observed),
        };
        match desired {
            Ok(desired) => Ok(Some(desired.rollouts())),
            Err(Obstacle::Unknown(versions)) => {
                self.plan.tasks.extend(versions.into_iter().map(Task::Discover));
                Ok(None)
            }
            // That is no fault of the commit: it waits.
            Err(Obstacle::NoKind(_)) => Ok(Some(Vec::new())),
            Err(Obstacle::Wrong(problem)) => Err(problem),
        }
    }

    fn record(
        &mut self,
        spec: &Spec,
        commit: &Oid,
        (info, rendered): &RenderedCommit,
        rollouts: Result<Vec<LedgerRollout>, String>,
    ) {
        let digest = match (&rollouts, rendered) {
            (Ok(_), Ok(rendered)) => rendered.digest.clone(),
            _ => String::new(),
        };
        let head = DeliveryRevision {
            revision: revision(&spec.reference.short, commit.as_str()),
            digest: digest.clone(),
        };
        let subject = shorten(&info.subject);
        // What was found good before is good whoever brings it back: our own commits that take others back are not signed.
        let good =
            |entry: &LedgerEntry| matches!(entry.state, VerdictState::Verified | VerdictState::Deployed);
        let trusted = self.entry(&digest).is_some_and(good);
        let unsigned = info.unsigned.clone().filter(|_| !trusted);
        let mut entry = self.found_entry(digest, &info.trailers);
        entry.commits.push(commit.as_str().to_owned());
        if entry.commits.len() > COMMITS {
            entry.commits.remove(0);
        }
        entry.subject = subject;
        entry.author = shorten(&info.author);
        entry.hold = rendered
            .as_ref()
            .is_ok_and(|rendered| rendered.manifests.iter().any(|it| holds(&it.value) == Ok(true)));
        match rollouts {
            Err(problem) => {
                entry.state = VerdictState::Rejected;
                entry.reason = Some(RejectedReason::RenderFailed);
                entry.message = shorten(&problem);
            }
            Ok(_) if unsigned.is_some() => {
                entry.state = VerdictState::Rejected;
                entry.reason = Some(RejectedReason::NotSigned);
                entry.message = shorten(&unsigned.unwrap_or_default());
            }
            Ok(rollouts) => self.expect_good(&mut entry, commit, rollouts),
        }
        self.note_reverts(commit, &info.trailers);
        let text = format!(
            "{}: {}",
            super::short(&entry),
            if entry.message.is_empty() {
                "found"
            } else {
                &entry.message
            }
        );
        let bad = entry.state == VerdictState::Rejected;
        self.tell_event(
            bad,
            if bad { "Rejected" } else { "CommitFound" },
            text,
            commit.as_str().to_owned(),
        );
        self.status().ledger.insert(0, entry);
        self.status().head = Some(head);
        self.status().rendered_as = spec.rendered_as();
    }

    /// The entry of a digest, taken out of the ledger; a new one if the digest is new.
    fn found_entry(&mut self, digest: String, trailers: &[(String, String)]) -> LedgerEntry {
        let ledger = &mut self.plan.status.ledger;
        let known = ledger
            .iter()
            .position(|entry| !digest.is_empty() && entry.digest == digest);
        match known {
            Some(index) => ledger.remove(index),
            None => LedgerEntry {
                digest,
                state: VerdictState::Pending,
                since: Some(Time::from(self.now)),
                reverts: trailers.iter().any(|(key, _)| key == REVERTS_TRAILER),
                ..LedgerEntry::default()
            },
        }
    }

    /// A commit that renders and is signed waits for its verdict, unless it is known to be bad already.
    fn expect_good(&self, entry: &mut LedgerEntry, commit: &Oid, rollouts: Vec<LedgerRollout>) {
        let signed_now = entry.reason == Some(RejectedReason::NotSigned);
        if entry.state == VerdictState::Superseded || signed_now {
            entry.reason = None;
            entry.message.clear();
            entry.state = VerdictState::Pending;
            entry.since = Some(Time::from(self.now));
        }
        if entry.rollouts.is_empty() {
            entry.rollouts = rollouts;
        }
        if self.syncer.is_some() || entry.state != VerdictState::Pending {
            // Of another syncer, whether it is released again is not ours to say: then it is measured again.
            return;
        }
        let known_bad = if self.rejected_elsewhere(commit) {
            "it was rejected before this cluster was made, which is recorded in the repository".to_owned()
        } else if let Some(name) = self.quarantined(entry) {
            format!(
                "Rollout {name}: its pods would be those of a commit that was rejected; \
                 change them, or annotate the Delivery with tidegate.io/retry"
            )
        } else {
            return;
        };
        entry.state = VerdictState::Rejected;
        entry.reason = Some(RejectedReason::Quarantined);
        entry.message = known_bad;
    }

    /// A commit of ours says what it takes back: that it was pushed may never have been written down.
    fn note_reverts(&mut self, commit: &Oid, trailers: &[(String, String)]) {
        for (_, bad) in trailers.iter().filter(|(key, _)| key == REVERTS_TRAILER) {
            for entry in &mut self.plan.status.ledger {
                if entry.commits.contains(bad) && entry.state == VerdictState::Rejected {
                    let revert = entry.revert.get_or_insert_default();
                    revert.done = true;
                    commit.as_str().clone_into(&mut revert.commit);
                }
            }
        }
    }

    /// The first Rollout whose template was rejected before and never found good.
    fn quarantined(&self, entry: &LedgerEntry) -> Option<String> {
        let of = |states: fn(&LedgerEntry) -> bool| -> BTreeSet<(&str, &str, &str)> {
            let entries = self.plan.status.ledger.iter().filter(move |entry| states(entry));
            entries.flat_map(|entry| entry.rollouts.iter().map(key)).collect()
        };
        let bad = of(|entry| {
            entry.state == VerdictState::Rejected
                && matches!(
                    entry.reason,
                    Some(
                        RejectedReason::AnalysisFailed
                            | RejectedReason::AnalysisError
                            | RejectedReason::DeadlineExceeded
                            | RejectedReason::ManualAbort
                    )
                )
        });
        let good = of(|entry| matches!(entry.state, VerdictState::Verified | VerdictState::Deployed));
        let found = entry.rollouts.iter().find(|rollout| {
            !rollout.template.is_empty() && bad.contains(&key(rollout)) && !good.contains(&key(rollout))
        });
        found.map(|rollout| format!("{}/{}", rollout.namespace, rollout.name))
    }
}

fn key(rollout: &LedgerRollout) -> (&str, &str, &str) {
    (&rollout.namespace, &rollout.name, &rollout.template)
}
