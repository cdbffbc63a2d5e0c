//! What the forge is told of each commit: a status when its state changes, in coarse words (contract 5.4).

use tidegate_crds::{LedgerEntry, RejectedReason, VerdictState};

use super::{Draft, Task, shorten};
use crate::remote::{ForgeRequest, StatusState};
use crate::spec::Spec;
use crate::tree::Oid;

/// Key of failures of the forge in `Observed::retry_at`.
pub(super) const TELL: &str = "feedback";
/// Longest description that every forge takes.
const MAX_DESCRIPTION: usize = 140;

impl Draft<'_> {
    /// Tells what has not been told yet.
    pub(super) fn tell(&mut self, spec: &Spec) {
        let Some(feedback) = &spec.feedback else { return };
        if let Some(at) = self.observed.retry_at.get(TELL).filter(|at| **at > self.now) {
            self.wake_at(*at);
            return;
        }
        let metadata = &self.observed.delivery.metadata;
        let context = format!("tidegate/{}/{}", metadata.namespace, metadata.name);
        let mut tasks = Vec::new();
        let mut failed = None;
        for entry in &mut self.plan.status.ledger {
            let Some(commit) = entry.commits.last().and_then(|commit| Oid::parse(commit)) else {
                continue;
            };
            let state = state_of(entry);
            if feedback.comment && state != StatusState::Pending {
                let key = format!("{commit} {state:?}");
                let asked = format!("comment {key}");
                match self.observed.told.get(&asked) {
                    _ if entry.commented.as_ref() == Some(&key) => {}
                    Some(Ok(())) => entry.commented = Some(key),
                    Some(Err(error)) => failed = Some(error.to_string()),
                    None => {
                        let request = ForgeRequest::Comment {
                            commit: commit.clone(),
                            marker: context.clone(),
                            body: comment(entry, &context),
                        };
                        tasks.push(Task::Tell(asked, request));
                    }
                }
            }
            let key = format!("{commit} {state:?}");
            if !feedback.commit_status || entry.told.as_ref() == Some(&key) {
                continue;
            }
            match self.observed.told.get(&key) {
                Some(Ok(())) => entry.told = Some(key),
                Some(Err(error)) => failed = Some(error.to_string()),
                None => {
                    let request = ForgeRequest::Status {
                        commit,
                        context: context.clone(),
                        state,
                        description: description(entry),
                        target_url: String::new(),
                    };
                    tasks.push(Task::Tell(key, request));
                }
            }
        }
        if let Some(message) = failed {
            let text = format!("the forge could not be told: {message}");
            self.tell_event(true, "FeedbackFailed", shorten(&text), message);
        } else {
            // The oldest news first, so that the newest is what people see.
            tasks.reverse();
            self.plan.tasks = tasks;
        }
    }
}

/// The state in the forge's words.
fn state_of(entry: &LedgerEntry) -> StatusState {
    match (&entry.state, &entry.reason) {
        (VerdictState::Verified | VerdictState::Deployed, _) => StatusState::Success,
        (VerdictState::Rejected, Some(RejectedReason::AnalysisError)) => StatusState::Error,
        (VerdictState::Rejected, Some(RejectedReason::ManualAbort)) | (VerdictState::Superseded, _) => {
            StatusState::Cancelled
        }
        (VerdictState::Rejected | VerdictState::Regressed, _)
        | (VerdictState::Pending, Some(RejectedReason::ApplyFailed)) => StatusState::Failure,
        _ => StatusState::Pending,
    }
}

/// What stands on the pull request, in Markdown.
fn comment(entry: &LedgerEntry, context: &str) -> String {
    let state = &entry.state;
    let reason = entry
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let evidence = if entry.message.is_empty() {
        String::new()
    } else {
        format!("\n\n> {}", entry.message)
    };
    let runs: Vec<String> = entry.analysis_runs.iter().map(|run| format!("`{run}`")).collect();
    let runs = if runs.is_empty() {
        String::new()
    } else {
        format!("\n\nAnalysis runs: {}", runs.join(", "))
    };
    let revert = entry
        .revert
        .as_ref()
        .filter(|revert| !revert.pull_request.is_empty());
    let revert = revert
        .map(|revert| format!("\n\nTaken back by {}", revert.pull_request))
        .unwrap_or_default();
    format!("**{context}**: {state}{reason}{evidence}{runs}{revert}")
}

pub(super) fn description(entry: &LedgerEntry) -> String {
    let words = match &entry.state {
        VerdictState::Verified => "verified by its metrics".to_owned(),
        VerdictState::Deployed => "deployed; nothing was measured".to_owned(),
        VerdictState::Superseded => "replaced by a newer commit before there was a verdict".to_owned(),
        VerdictState::Pending | VerdictState::Applied | VerdictState::Progressing | VerdictState::Paused
            if entry.reason.is_none() =>
        {
            "being released".to_owned()
        }
        state => {
            let reason = entry.reason.as_ref().map(ToString::to_string);
            format!(
                "{}: {}",
                reason.unwrap_or_else(|| state.to_string()),
                entry.message
            )
        }
    };
    words.chars().take(MAX_DESCRIPTION).collect()
}
