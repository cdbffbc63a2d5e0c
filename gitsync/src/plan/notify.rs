//! What chats are told of each commit: the outbox (contract 5.4).
//!
//! A chat cannot be asked what it has, so what was sent is recorded afterwards: everything is sent at least once, and twice
//! only if the process ends between sending and recording. Bodies for `Webhook` have an `id` to tell.

use jiff::{SignedDuration, Timestamp};
use tidegate_crds::{LedgerEntry, TargetReason, VerdictState};

use super::tell::description;
use super::{Draft, Task, shorten};
use crate::notify::{Chat, News, Note, RETRY};
use crate::remote::ForgeKind;
use crate::spec::{Spec, host_and_path};

/// What happened longer ago is no news for a chat that has not heard of the commit: one that is added later is not told the
/// past.
const NEWS_FOR: SignedDuration = SignedDuration::from_hours(3);

impl Draft<'_> {
    /// Tells what has not been told yet, the oldest first.
    pub(super) fn notify(&mut self, spec: &Spec) {
        for (index, chat) in spec.chats.iter().enumerate() {
            let retry_at = RETRY.get(index).and_then(|key| self.observed.retry_at.get(key));
            let waits = retry_at.copied().filter(|at| *at > self.now);
            if let Some(at) = waits {
                self.wake_at(at);
            }
            let ledger = self.plan.status.ledger.clone();
            for (at, entry) in ledger.iter().enumerate().rev() {
                let Some(note) = self.note(spec, chat, entry, ledger.get(at + 1)) else {
                    continue;
                };
                let key = format!("{} {} {:?}", chat.name(), note.commit, note.news);
                if entry.notified.contains(&key) {
                    continue;
                }
                match self.observed.notified.get(&key) {
                    Some(Ok(())) => self.note_told(at, chat, key),
                    Some(Err(error)) => {
                        let text = format!("{} could not be told: {error}", chat.name());
                        self.tell_event(true, "NotifyFailed", shorten(&text), text.clone());
                    }
                    None if waits.is_some() => {}
                    None => self.plan.tasks.push(Task::Notify(index, key, Box::new(note))),
                }
            }
        }
    }

    /// Records the last that a chat was told of a commit.
    fn note_told(&mut self, at: usize, chat: &Chat, key: String) {
        let Some(entry) = self.plan.status.ledger.get_mut(at) else {
            return;
        };
        entry.notified.retain(|told| !is_of(told, chat));
        entry.notified.push(key);
    }

    /// What there is to tell a chat of a commit, told before or not.
    fn note(
        &self,
        spec: &Spec,
        chat: &Chat,
        entry: &LedgerEntry,
        older: Option<&LedgerEntry>,
    ) -> Option<Note> {
        let news = news(entry, older).into_iter().find(|news| chat.wants(*news))?;
        let since = entry.since.map_or(self.now, Timestamp::from);
        let heard = entry.notified.iter().any(|told| is_of(told, chat));
        if !heard && self.now.duration_since(since) > NEWS_FOR {
            return None;
        }
        let commit = entry.commits.last()?.clone();
        let metadata = &self.observed.delivery.metadata;
        Some(Note {
            news,
            delivery: (metadata.namespace.clone(), metadata.name.clone()),
            subject: entry.subject.clone(),
            author: entry.author.clone(),
            message: self.message(news, entry),
            link: link(spec, news, entry, &commit),
            commit,
            since,
        })
    }

    /// The evidence, and what became of the cluster.
    fn message(&self, news: News, entry: &LedgerEntry) -> String {
        if !matches!(news, News::Rejected | News::TakenBack) {
            return description(entry);
        }
        let mut text = match &entry.reason {
            Some(reason) => format!("{reason}: {}", entry.message),
            None => entry.message.clone(),
        };
        let is_head = self
            .head_entry()
            .is_some_and(|head| head.commits == entry.commits);
        let status = &self.plan.status;
        if let (true, Some(target)) = (is_head, &status.target) {
            let held = match status.why {
                Some(TargetReason::Pinned | TargetReason::PinnedByHand) => "The cluster is held at",
                Some(TargetReason::Observed) => "Still applied by another syncer:",
                _ => "The cluster stays at",
            };
            text = format!("{text}\n{held} {}", target.revision);
        }
        let revert = entry.revert.as_ref().filter(|_| news == News::TakenBack);
        match revert {
            Some(revert) if !revert.message.is_empty() => format!("{text}\n{}", revert.message),
            Some(revert) => format!("{text}\nTaken back by {}", revert.commit),
            None => text,
        }
    }
}

/// Whether a record is about what this chat was told.
fn is_of(told: &str, chat: &Chat) -> bool {
    told.strip_prefix(&chat.name())
        .is_some_and(|rest| rest.starts_with(' '))
}

/// What happened to a commit, and what it also is for who does not want to know that.
fn news(entry: &LedgerEntry, older: Option<&LedgerEntry>) -> Vec<News> {
    let taken_back = entry
        .revert
        .as_ref()
        .is_some_and(|revert| revert.done && !revert.commit.is_empty());
    match &entry.state {
        VerdictState::Rejected if taken_back => vec![News::TakenBack, News::Rejected],
        VerdictState::Rejected => vec![News::Rejected],
        VerdictState::Regressed => vec![News::Regressed],
        VerdictState::Verified | VerdictState::Deployed
            if older.is_some_and(|older| older.state == VerdictState::Rejected) =>
        {
            vec![News::Recovered]
        }
        VerdictState::Verified | VerdictState::Deployed => vec![News::Good],
        _ => Vec::new(),
    }
}

/// Where to read more: the pull request, or a commit, if the forge is known.
fn link(spec: &Spec, news: News, entry: &LedgerEntry, commit: &str) -> String {
    let revert = entry.revert.as_ref().filter(|_| news == News::TakenBack);
    let pull_request = revert.map(|revert| revert.pull_request.as_str());
    if let Some(url) = pull_request.filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
        return url.to_owned();
    }
    let commit = revert.map_or(commit, |revert| revert.commit.as_str());
    let parts = host_and_path(&spec.url);
    let (Some((scheme, host, path)), Some(feedback)) = (parts, &spec.feedback) else {
        return String::new();
    };
    let middle = match feedback.kind {
        ForgeKind::GitHub | ForgeKind::Gitea => "commit",
        ForgeKind::GitLab => "-/commit",
        ForgeKind::Bitbucket => "commits",
    };
    format!("{scheme}://{host}/{path}/{middle}/{commit}")
}

#[cfg(test)]
mod tests;
