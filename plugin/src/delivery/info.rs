//! What is to be said of a Delivery, from the object alone: the line of `list`, `get` and `history`.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_crds::{Delivery, DeliveryCondition, DeliveryRevision, LedgerEntry, TargetReason};

use crate::age;
use crate::output::{Cell, columns, printable};

/// A line of `delivery list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `True`, `False`, or empty while nobody has said.
    pub(super) ready: String,
    /// What became of the newest commit.
    pub(super) state: String,
    /// The commit that the cluster is held at.
    pub(super) target: String,
    pub(super) pinned: &'static str,
    pub(super) age: String,
    pub(super) message: String,
}

impl Row {
    pub(super) fn of(delivery: &Delivery, now: Timestamp) -> Self {
        let ready = condition(delivery, "Ready");
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            namespace: delivery.metadata.namespace.clone(),
            name: delivery.metadata.name.clone(),
            ready: text(ready.map(|ready| ready.status.as_str())),
            state: text(head_entry(delivery).map(|entry| entry.state.as_str())),
            target: text(delivery.status.target.as_ref().map(commit_of)),
            pinned: pinned(delivery),
            age: age::age(delivery.metadata.creation_timestamp.map(Timestamp::from), now),
            message: text(ready.map(|ready| ready.message.as_str())),
        }
    }
}

/// The table of Deliveries.
pub(super) fn table(rows: &[Row], all_namespaces: bool) -> String {
    let cells = |namespace: &str, own: [&str; 7]| {
        let namespace = all_namespaces.then_some(namespace);
        let all = namespace.into_iter().chain(own);
        all.map(Cell::plain).collect::<Vec<_>>()
    };
    let head = cells(
        "NAMESPACE",
        ["NAME", "READY", "STATE", "TARGET", "PINNED", "AGE", "MESSAGE"],
    );
    let lines = rows.iter().map(|row| {
        let own = [
            row.name.as_str(),
            dash(&row.ready),
            dash(&row.state),
            dash(short(&row.target)),
            row.pinned,
            &row.age,
            &row.message,
        ];
        cells(&row.namespace, own)
    });
    columns(&std::iter::once(head).chain(lines).collect::<Vec<_>>(), &[])
}

/// What `delivery get` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Info {
    name: String,
    namespace: String,
    ready: String,
    reason: String,
    message: String,
    source: Source,
    /// The newest commit in Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    git: Option<Commit>,
    /// The commit that the cluster is held at.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Commit>,
    /// Why it is that one.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    /// Whether all of that commit is applied.
    applied: bool,
    /// The newest commit that counts as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Commit>,
    objects: usize,
    ledger: Vec<LedgerEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    url: String,
    reference: String,
    path: String,
}

/// A commit and the first line of its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commit {
    pub(super) commit: String,
    pub(super) subject: String,
}

impl Commit {
    fn of(delivery: &Delivery, revision: Option<&DeliveryRevision>) -> Option<Self> {
        let commit = commit_of(revision?).to_owned();
        let subject = entry_of(delivery, &commit).map(|entry| entry.subject.clone());
        Some(Self {
            commit,
            subject: subject.unwrap_or_default(),
        })
    }

    /// `1a2b3c4d (Subject)`.
    pub(super) fn words(&self) -> String {
        let short = short(&self.commit);
        if self.subject.is_empty() {
            short.to_owned()
        } else {
            format!("{short} ({})", self.subject)
        }
    }
}

impl From<&Delivery> for Info {
    fn from(delivery: &Delivery) -> Self {
        let Delivery {
            metadata,
            spec,
            status,
            ..
        } = delivery;
        let ready = condition(delivery, "Ready").cloned().unwrap_or_default();
        let git = &spec.source.git;
        let reference = git.reference.clone().unwrap_or_default();
        let digest =
            |revision: &Option<DeliveryRevision>| revision.as_ref().map(|known| known.digest.clone());
        Self {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            ready: ready.status,
            reason: ready.reason,
            message: ready.message,
            source: Source {
                url: without_password(&git.url),
                reference: match (reference.tag, reference.branch) {
                    (Some(tag), _) => format!("tag {tag}"),
                    (None, branch) => format!("branch {}", branch.as_deref().unwrap_or("main")),
                },
                path: git.path.clone().unwrap_or_default(),
            },
            git: Commit::of(delivery, status.head.as_ref()),
            cluster: Commit::of(delivery, status.target.as_ref()),
            why: why(delivery).to_owned(),
            applied: status.target.is_some() && digest(&status.target) == digest(&status.applied),
            verified: Commit::of(delivery, status.verified.as_ref()),
            objects: status.inventory.len(),
            ledger: status.ledger.clone(),
        }
    }
}

/// `delivery get` as text.
pub(super) fn text(info: &Info, now: Timestamp) -> String {
    let words = |commit: &Option<Commit>| commit.as_ref().map_or_else(|| "-".to_owned(), Commit::words);
    let with = |text: String, more: &str| {
        if more.is_empty() {
            text
        } else {
            format!("{text}, {more}")
        }
    };
    let reason = if info.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", info.reason)
    };
    let folder = if info.source.path.is_empty() {
        String::new()
    } else {
        format!("folder {}", info.source.path)
    };
    let coming = if info.cluster.is_none() || info.applied {
        ""
    } else {
        "being applied"
    };
    let cluster = with(with(words(&info.cluster), &info.why), coming);
    let lines = [
        ("Name:", info.name.clone()),
        ("Namespace:", info.namespace.clone()),
        ("Ready:", format!("{}{reason}", dash(&info.ready))),
        ("Message:", info.message.clone()),
        (
            "Source:",
            with(format!("{}, {}", info.source.url, info.source.reference), &folder),
        ),
        ("Git:", words(&info.git)),
        ("Cluster:", cluster),
        ("Verified:", words(&info.verified)),
        ("Objects:", info.objects.to_string()),
    ];
    let mut text = fields("", 12, &lines);
    if !info.ledger.is_empty() {
        text.push('\n');
        text.push_str(&ledger(&info.ledger, now));
    }
    text
}

/// A line for each field that has a value.
fn fields(indent: &str, width: usize, fields: &[(&str, String)]) -> String {
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    given.fold(String::new(), |text, (name, value)| {
        format!("{text}{indent}{name:<width$}{}\n", printable(value))
    })
}

/// The ledger as a table, newest first.
fn ledger(entries: &[LedgerEntry], now: Timestamp) -> String {
    let head = ["COMMIT", "STATE", "REASON", "SINCE", "SUBJECT", "REVERT"];
    let lines = entries.iter().map(|entry| {
        let reason = entry.reason.as_ref().map_or("", |reason| reason.as_str());
        let since = age::age(entry.since.map(Timestamp::from), now);
        let cells = [
            short(newest(entry)),
            dash(entry.state.as_str()),
            dash(reason),
            &since,
            &entry.subject,
            &reverted(entry),
        ];
        cells.map(Cell::plain).to_vec()
    });
    let rows: Vec<_> = std::iter::once(head.map(Cell::plain).to_vec())
        .chain(lines)
        .collect();
    columns(&rows, &[])
}

/// How a commit was taken back, in one word or address.
fn reverted(entry: &LedgerEntry) -> String {
    let Some(revert) = &entry.revert else {
        return String::new();
    };
    if !revert.pull_request.is_empty() {
        revert.pull_request.clone()
    } else if !revert.commit.is_empty() {
        short(&revert.commit).to_owned()
    } else {
        revert.message.clone()
    }
}

/// `delivery history` as text: everything that the ledger knows.
pub(super) fn history(entries: &[LedgerEntry], now: Timestamp) -> String {
    let entry = |entry: &LedgerEntry| {
        let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})"));
        let since = entry.since.map(|since| {
            let ago = age::age(Some(since.into()), now);
            format!(", since {since} ({ago})")
        });
        let head = format!(
            "{}  {}{}{}",
            newest(entry),
            dash(entry.state.as_str()),
            reason.unwrap_or_default(),
            since.unwrap_or_default()
        );
        let earlier: Vec<&str> = entry.commits.iter().rev().skip(1).map(String::as_str).collect();
        let rollouts: Vec<String> = entry
            .rollouts
            .iter()
            .map(|known| {
                let pods = if known.pod_hash.is_empty() {
                    String::new()
                } else {
                    format!(" (pods {})", known.pod_hash)
                };
                format!("{}/{}{pods}", known.namespace, known.name)
            })
            .collect();
        let revert = entry.revert.clone().unwrap_or_default();
        let reverted = [&revert.pull_request, &revert.commit, &revert.message].map(String::as_str);
        let reverted: Vec<&str> = reverted.into_iter().filter(|part| !part.is_empty()).collect();
        let lines = [
            ("Subject:", entry.subject.clone()),
            ("Author:", entry.author.clone()),
            ("Message:", entry.message.clone()),
            ("Same as:", earlier.join(", ")),
            ("Digest:", entry.digest.clone()),
            ("Rollouts:", rollouts.join(", ")),
            ("Runs:", entry.analysis_runs.join(", ")),
            ("Revert:", reverted.join("; ")),
        ];
        let below = fields("  ", 10, &lines);
        format!("{}\n{below}", printable(&head))
    };
    entries.iter().map(entry).collect::<Vec<_>>().join("\n")
}

/// Whether, and by whom, the cluster is kept from what is newest in Git.
fn pinned(delivery: &Delivery) -> &'static str {
    match delivery.status.why {
        Some(TargetReason::Pinned) => "yes",
        Some(TargetReason::PinnedByHand) => "by hand",
        Some(TargetReason::Held) => "held",
        _ => "-",
    }
}

/// Why the cluster is held at its commit, if that is not the newest one.
pub(super) fn why(delivery: &Delivery) -> &'static str {
    match delivery.status.why {
        Some(TargetReason::Pinned) => "pinned, because the newest commit was rejected",
        Some(TargetReason::PinnedByHand) => "pinned by hand",
        Some(TargetReason::Held) => "held, although the newest commit was rejected",
        Some(TargetReason::Observed) => "applied by another than Tidegate",
        _ => "",
    }
}

pub(super) fn condition<'a>(delivery: &'a Delivery, kind: &str) -> Option<&'a DeliveryCondition> {
    let conditions = &delivery.status.conditions;
    conditions.iter().find(|condition| condition.kind == kind)
}

/// The newest commit in Git, if it is known.
pub(super) fn head(delivery: &Delivery) -> Option<Commit> {
    Commit::of(delivery, delivery.status.head.as_ref())
}

/// The commit that the cluster is held at.
pub(super) fn target(delivery: &Delivery) -> Option<Commit> {
    Commit::of(delivery, delivery.status.target.as_ref())
}

/// What became of the newest commit.
pub(super) fn head_entry(delivery: &Delivery) -> Option<&LedgerEntry> {
    entry_of(delivery, commit_of(delivery.status.head.as_ref()?))
}

fn entry_of<'a>(delivery: &'a Delivery, commit: &str) -> Option<&'a LedgerEntry> {
    let ledger = &delivery.status.ledger;
    ledger
        .iter()
        .find(|entry| entry.commits.iter().any(|known| known == commit))
}

/// The commit of `main@sha1:COMMIT`.
fn commit_of(revision: &DeliveryRevision) -> &str {
    let parts = revision.revision.rsplit_once(':');
    parts.map_or(revision.revision.as_str(), |(_, commit)| commit)
}

fn newest(entry: &LedgerEntry) -> &str {
    entry.commits.last().map_or("", String::as_str)
}

pub(super) fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// An address as it may be shown: a spec that holds a password is refused by the controller, and is there nevertheless.
pub(super) fn without_password(url: &str) -> String {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}/{path}"))
    });
    parts.unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::examples::{NOW, fresh, rejected, verified};

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    #[test]
    fn tables() {
        let rows = [rejected(), verified(), fresh()].map(|delivery| Row::of(&delivery, now()));
        insta::assert_snapshot!("list", table(&rows, false));
        insta::assert_snapshot!("list-of-all", table(&rows, true));
    }

    #[test]
    fn one_in_full() {
        insta::assert_snapshot!("get-rejected", text(&Info::from(&rejected()), now()));
        insta::assert_snapshot!("get-verified", text(&Info::from(&verified()), now()));
        insta::assert_snapshot!("get-fresh", text(&Info::from(&fresh()), now()));
        insta::assert_snapshot!("history", history(&rejected().status.ledger, now()));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("https://git.test/a/b", "https://git.test/a/b"),
            ("https://me:hunter2@git.test/a/b", "https://me:***@git.test/a/b"),
            ("ssh://git@git.test/a", "ssh://git@git.test/a"),
            ("git@git.test:a/b", "git@git.test:a/b"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
