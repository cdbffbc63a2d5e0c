//! Taking a rejected commit back in Git (contract 5.3): never by force, never for somebody's newer work, once.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tidegate_crds::{LedgerEntry, LedgerRevert, RejectedAction, TargetReason};

use super::head::REVERTS_TRAILER;
use super::{Draft, RestoreOrder, Task, commit_of, shorten};
use crate::remote::{ForgeAnswer, ForgeRequest, GitAnswer, PullRequestState, RemoteError};
use crate::spec::Spec;
use crate::tree::Oid;

/// Most files outside of the folder that go back with it, and most bytes of their paths: they are kept in the status.
const MOST_OUTSIDE: (usize, usize) = (20, 4096);

/// Key of failures to write in `Observed::retry_at`.
pub(super) const WRITE: &str = "write";

impl Draft<'_> {
    /// Takes the newest commit back if it was rejected and the spec wants it.
    pub(super) fn take_back(&mut self, spec: &Spec) {
        let Some((entry, good)) = self.to_take_back(spec) else {
            return;
        };
        if let Some(at) = self.observed.retry_at.get(WRITE).filter(|at| **at > self.now) {
            self.wake_at(*at);
            return;
        }
        let Some(tip) = self.observed.tip.clone() else {
            return;
        };
        let Some(good_commit) = good.commits.last().and_then(|commit| Oid::parse(commit)) else {
            return;
        };
        let mut revert = entry.revert.clone().unwrap_or_default();
        let proposes = proposes(spec, &revert);
        let branch = self.branch_of(spec, &entry, proposes);
        if revert.commit.is_empty() {
            match &self.observed.restored {
                None => {
                    let order = self.order(&entry, &good, &revert, tip, good_commit, &branch);
                    self.plan.tasks.push(Task::Restore(order));
                    return;
                }
                Some(answer) => self.note_restored(answer, &mut revert, spec, &branch),
            }
        }
        if !revert.commit.is_empty() && !revert.done && revert.pull_request.is_empty() {
            match &self.observed.pull_request {
                _ if !proposes => revert.done = true,
                None => {
                    let head = branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned();
                    self.plan.tasks.push(Task::PullRequest(ForgeRequest::PullRequest {
                        head,
                        base: spec.reference.short.clone(),
                        title: format!("Take back: {}", entry.subject),
                        body: self.text(&entry, &good, &revert),
                    }));
                }
                Some(Ok(ForgeAnswer::PullRequest { url, state, .. })) => {
                    revert.pull_request.clone_from(url);
                    revert.done = true;
                    revert.message = match state {
                        PullRequestState::Open => "a pull request waits to be merged".to_owned(),
                        PullRequestState::Merged => "the pull request was merged".to_owned(),
                        PullRequestState::Closed => "somebody closed the pull request".to_owned(),
                    };
                    let text = format!("{}: pull request {url} takes it back", super::short(&entry));
                    self.tell_event(false, "RevertProposed", text, entry.digest.clone());
                }
                Some(Ok(ForgeAnswer::Done)) => revert.done = true,
                Some(Err(error)) => revert.message = shorten(&error.to_string()),
            }
        }
        if let Some(entry) = self.entry_mut(&entry.digest) {
            entry.revert = Some(revert).filter(|revert| *revert != LedgerRevert::default());
        }
    }

    /// The commit to take back and the one to go back to.
    fn to_take_back(&self, spec: &Spec) -> Option<(LedgerEntry, LedgerEntry)> {
        let head = self.head_entry()?;
        let wanted = matches!(
            spec.action,
            RejectedAction::RevertPR | RejectedAction::RevertCommit
        );
        let reason = head
            .reason
            .as_ref()
            .is_some_and(|reason| spec.write_on.contains(reason));
        let why = self.plan.status.why.as_ref();
        let pinned = matches!(why, Some(TargetReason::Pinned | TargetReason::Observed));
        let done = head.revert.as_ref().is_some_and(|revert| revert.done);
        let rejected = head.state == tidegate_crds::VerdictState::Rejected;
        if !wanted || !reason || !rejected || !pinned || done || head.reverts {
            return None;
        }
        let target = self.plan.status.target.as_ref()?;
        // The cluster is safe before Git is touched; under another syncer, as safe as its Rollouts are.
        if self.plan.status.applied.as_ref() != Some(target) {
            return None;
        }
        // Somebody's newer commit is on its way to us.
        let newest = self.plan.status.head.as_ref().map(commit_of)?;
        let good = match &spec.observe {
            Some(_) if target.digest == head.digest => self.last_good(spec)?,
            Some(_) => return None,
            None => self.entry(&target.digest)?,
        };
        (head.commits.last().map(String::as_str) == Some(newest)).then(|| (head.clone(), good.clone()))
    }

    /// The ref that is pushed to.
    fn branch_of(&self, spec: &Spec, entry: &LedgerEntry, proposes: bool) -> String {
        if !proposes {
            return spec.reference.full.clone();
        }
        let metadata = &self.observed.delivery.metadata;
        let digest = entry.digest.strip_prefix("sha256:").unwrap_or(&entry.digest);
        let commit = entry.commits.last().map_or("", String::as_str);
        format!(
            "refs/heads/tidegate/revert/{}/{}/{}-{}",
            metadata.namespace,
            metadata.name,
            digest.get(..8).unwrap_or(digest),
            commit.get(..8).unwrap_or(commit)
        )
    }

    fn order(
        &self,
        entry: &LedgerEntry,
        good: &LedgerEntry,
        revert: &LedgerRevert,
        tip: Oid,
        good_commit: Oid,
        branch: &str,
    ) -> RestoreOrder {
        let bad = entry.commits.last().cloned().unwrap_or_default();
        let metadata = &self.observed.delivery.metadata;
        let message = format!(
            "Take back: {}\n\n{}\n\n{REVERTS_TRAILER}: {bad}\nTidegate-Digest: {}\nTidegate-Delivery: {}/{}\n",
            entry.subject,
            self.text(entry, good, revert),
            good.digest,
            metadata.namespace,
            metadata.name
        );
        RestoreOrder {
            tip,
            good: good_commit,
            outside: revert.outside.clone(),
            digest: good.digest.clone(),
            push_to: branch.to_owned(),
            message,
            // The same order at any time makes the same commit.
            time: entry.since.map_or(Timestamp::UNIX_EPOCH, Timestamp::from),
        }
    }

    /// Why, for whoever reads the commit or the pull request.
    fn text(&self, entry: &LedgerEntry, good: &LedgerEntry, revert: &LedgerRevert) -> String {
        let metadata = &self.observed.delivery.metadata;
        let bad = entry.commits.last().map_or("", String::as_str);
        let what = match self.syncer {
            Some(_) => "the last good commit",
            None => "what the cluster runs",
        };
        let back = good.commits.last().map_or("", String::as_str);
        let reason = entry.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut text = format!(
            "Commit {bad} was rejected in {}/{}: {reason}.\n{}\n\nThis puts the folder back to what it was in {back}, which is \
             {what}.",
            metadata.namespace, metadata.name, entry.message
        );
        if !revert.outside.is_empty() {
            text += "\n\nThese files outside of the folder go back as well, for every environment that is made from them:\n\n- ";
            text += &revert.outside.join("\n- ");
        }
        text
    }

    fn note_restored(
        &mut self,
        answer: &Result<GitAnswer, RemoteError>,
        revert: &mut LedgerRevert,
        spec: &Spec,
        branch: &str,
    ) {
        match answer {
            Ok(GitAnswer::Restored(commit)) => {
                commit.as_str().clone_into(&mut revert.commit);
                revert.message.clear();
                let text = format!(
                    "pushed {} to {branch}, which takes the rejected commit back",
                    commit.short()
                );
                self.tell_event(false, "Reverted", text, commit.as_str().to_owned());
                self.plan.ask_again = !proposes(spec, revert);
            }
            Ok(GitAnswer::NotTheSame(more)) => {
                let all: BTreeSet<&String> = revert.outside.iter().chain(more).collect();
                let bytes: usize = all.iter().map(|path| path.len()).sum();
                let few = all.len() <= MOST_OUTSIDE.0 && bytes <= MOST_OUTSIDE.1;
                if !more.is_empty() && few && spec.feedback.is_some() {
                    // with them it is proven anew, once they are written down
                    revert.outside = all.into_iter().cloned().collect();
                    return;
                }
                revert.done = true;
                "what was rejected is not in this folder alone: take it back by hand"
                    .clone_into(&mut revert.message);
                let text = format!("not taken back in Git: {}", revert.message);
                self.tell_event(true, "NotReverted", text, branch.to_owned());
            }
            Ok(GitAnswer::Moved) => {
                self.plan.ask_again = true;
                "the branch moved; looking again".clone_into(&mut revert.message);
            }
            Ok(_) => {}
            Err(error) => revert.message = shorten(&error.to_string()),
        }
    }
}

/// Whether a pull request takes it back, not a commit on the branch: what is outside of the folder may be others' as well.
fn proposes(spec: &Spec, revert: &LedgerRevert) -> bool {
    spec.action == RejectedAction::RevertPR || !revert.outside.is_empty()
}
