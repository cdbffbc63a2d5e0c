//! Writes that the API server refuses: by validation, by quota, by admission. They are a part of the contract: what
//! depends on a refused write waits, everything else goes on, and people are told in the server's words.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use tidegate_traffic::{RouteOp, RouteWrite};

use crate::plan::Change;
use crate::time::after;

/// Longest words of the server that are repeated.
const MAX_WORDS: usize = 400;
/// Longest value that is repeated of what the server quotes: a whole object says nothing.
const MAX_QUOTED: usize = 80;
/// First delay before a refused write is tried again; it doubles with each refusal.
const FIRST: SignedDuration = SignedDuration::from_secs(1);
/// Longest delay: nobody tells when a quota has room again, or a webhook has changed its mind.
const LONGEST: SignedDuration = SignedDuration::from_secs(60);
/// Longest delay of what the API server breaks on, as that of any request that fails.
const LONGEST_OF_TROUBLE: SignedDuration = SignedDuration::from_secs(10);
/// Longest delay of a weight: traffic that shall go back to stable is tried again soon.
const LONGEST_OF_WEIGHT: SignedDuration = SignedDuration::from_secs(5);

/// So often in a row an eviction is refused before people are told: that takes a minute.
const TOLD_OF_EVICTIONS: u32 = 7;

/// A write that the API server refused, as the shell remembers it for as long as spec and workload are what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The server's words when it refused first: later ones may count or tell the time, and are no news.
    pub words: String,
    /// How often it was refused in a row.
    pub times: u32,
    /// When it was refused last.
    pub at: Timestamp,
    /// The API server broke on it, rather than say no: that may be over at any moment.
    pub trouble: bool,
}

impl Refusal {
    /// When the write is tried again.
    fn until(&self, change: &Change) -> Timestamp {
        let longest = match change {
            Change::Route(RouteWrite {
                op: RouteOp::SetWeight { .. },
                ..
            }) => LONGEST_OF_WEIGHT,
            _ if self.trouble => LONGEST_OF_TROUBLE,
            _ => LONGEST,
        };
        let doubled = FIRST.saturating_mul(1 << self.times.saturating_sub(1).min(10));
        after(self.at, doubled.min(longest))
    }
}

/// A write that a plan leaves out because it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// What it would do: `create ReplicaSet web-5c`; empty where there is no request for it.
    pub(crate) what: String,
    /// Reason of the event and of the condition, upstream's where it has one (contract 2.8).
    pub(crate) reason: &'static str,
    pub(crate) words: String,
    /// Name of the ReplicaSet that it would create.
    pub(crate) creates: Option<String>,
}

impl LeftOut {
    /// What a router cannot render is told as what the server refuses is.
    pub(crate) fn unroutable(error: &str) -> Self {
        Self {
            what: String::new(),
            reason: "TrafficRoutingError",
            words: error.to_owned(),
            creates: None,
        }
    }

    pub(crate) fn message(&self) -> String {
        match &self.creates {
            Some(name) => format!("Failed to create new replica set \"{name}\": {}", self.words),
            None if self.what.is_empty() => self.words.clone(),
            None => format!("Failed to {}: {}", self.what, self.words),
        }
    }
}

/// What a write does, for people, with the reason of the event that tells of its refusal.
fn describe(change: &Change) -> (String, &'static str) {
    match change {
        Change::CreateReplicaSet { name, .. } => {
            (format!("create ReplicaSet {name}"), "ReplicaSetCreateError")
        }
        Change::PatchReplicaSet { name, scale, .. } => {
            let what = match scale {
                Some(scale) => format!("scale ReplicaSet {name} to {}", scale.to),
                None => format!("change ReplicaSet {name}"),
            };
            (what, "ReplicaSetUpdateError")
        }
        Change::DeleteReplicaSet { name, .. } => {
            (format!("delete ReplicaSet {name}"), "ReplicaSetUpdateError")
        }
        Change::SetServiceSelector { name, hash, .. } => {
            let hash = hash.as_deref().unwrap_or("nothing");
            (format!("point Service {name} at {hash}"), "ServiceUpdateError")
        }
        Change::Route(RouteWrite { object, op, .. }) => {
            let object = format!("{} {}", object.kind.kind, object.name);
            let what = match op {
                RouteOp::Create(_) => format!("create {object}"),
                RouteOp::SetWeight { to, .. } => format!("set weight {to} of {object}"),
                RouteOp::Patch { .. } => format!("change {object}"),
                RouteOp::Delete { .. } => format!("delete {object}"),
            };
            (what, "TrafficRoutingError")
        }
        Change::CreateAnalysisRun(run) => (
            format!("create AnalysisRun {}", run.metadata.name),
            "AnalysisRunCreateError",
        ),
        Change::TerminateAnalysisRun { name, .. } => (format!("stop AnalysisRun {name}"), "WriteRefused"),
        Change::DeleteAnalysisRun { name, .. } => (format!("delete AnalysisRun {name}"), "WriteRefused"),
        Change::PatchRollout { .. } => ("change the Rollout".to_owned(), "WriteRefused"),
        Change::ScaleWorkload { name, .. } => (format!("scale Deployment {name}"), "WriteRefused"),
        Change::EvictPod { name, .. } => (format!("evict pod {name}"), "WriteRefused"),
        Change::PatchPod { name, .. } => (format!("change pod {name}"), "WriteRefused"),
    }
}

/// What tells a refused write from others of the same Rollout. What may be mended outside of the Rollout is a part of it,
/// so that it is tried at once when it is; a deadline, which is another one at each look, is not.
pub fn key(change: &Change) -> String {
    let (what, _) = describe(change);
    let content = match change {
        Change::Route(RouteWrite {
            op: RouteOp::Create(body),
            ..
        }) => body,
        Change::Route(RouteWrite {
            op: RouteOp::Patch { patch, .. },
            ..
        })
        | Change::PatchRollout { patch } => patch,
        _ => return what,
    };
    let mut digest = DefaultHasher::new();
    content.to_string().hash(&mut digest);
    format!("{what} {:016x}", digest.finish())
}

/// The server's words as they are repeated: one line of limited length, without long values, which may be whole objects.
pub fn words(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::with_capacity(line.len().min(MAX_WORDS));
    for (index, part) in line.split('"').enumerate() {
        if index > 0 {
            out.push('"');
        }
        // Every second part is within quotes.
        let quoted = index % 2 == 1;
        out.push_str(if quoted && part.len() > MAX_QUOTED {
            "…"
        } else {
            part
        });
    }
    if let Some((end, _)) = out.char_indices().nth(MAX_WORDS) {
        out.truncate(end);
        out.push('…');
    }
    out
}

/// Until when a write is not tried, if it was refused.
pub(crate) fn standing<'r>(
    refused: &'r BTreeMap<String, Refusal>,
    change: &Change,
    now: Timestamp,
) -> Option<(&'r Refusal, Timestamp)> {
    if refused.is_empty() {
        return None;
    }
    let refusal = refused.get(&key(change))?;
    let until = refusal.until(change);
    // A refusal of the future means that the clock was set back.
    (now < until && refusal.at <= now).then_some((refusal, until))
}

/// Whether a refusal is not worth a word: a disruption budget lets one pod go after the other, and says no in between.
fn is_usual(change: &Change, refusal: &Refusal) -> bool {
    matches!(change, Change::EvictPod { .. }) && refusal.times < TOLD_OF_EVICTIONS
}

/// What a plan leaves out when it leaves this out.
pub(crate) fn left_out(change: &Change, refusal: &Refusal) -> Option<LeftOut> {
    if is_usual(change, refusal) {
        return None;
    }
    let (what, reason) = describe(change);
    let creates = match change {
        Change::CreateReplicaSet { name, .. } => Some(name.clone()),
        _ => None,
    };
    Some(LeftOut {
        what,
        reason,
        words: refusal.words.clone(),
        creates,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_traffic::{ObjectRef, nginx::INGRESS};

    use super::*;

    #[test]
    fn words_are_one_short_line_without_objects() {
        assert_eq!(words("a\n  b"), "a b");
        let long = format!("Invalid value: \"{}\": no", "x".repeat(500));
        assert_eq!(words(&long), "Invalid value: \"…\": no");
        assert_eq!(words(&"é".repeat(900)).chars().count(), MAX_WORDS + 1);
        assert_eq!(
            words("admission webhook \"w\" denied the request: no \"why"),
            "admission webhook \"w\" denied the request: no \"why"
        );
    }

    #[test]
    fn delays_double_to_a_minute_and_those_of_weights_to_five_seconds() {
        let patch = Change::PatchRollout { patch: json!({}) };
        let weight = Change::Route(RouteWrite {
            object: ObjectRef::new(&INGRESS, "shop", "web"),
            event: None,
            op: RouteOp::SetWeight {
                uid: String::new(),
                resource_version: String::new(),
                operations: Vec::new(),
                from: 20,
                to: 0,
            },
        });
        let delays = |change: &Change, trouble: bool| -> Vec<i64> {
            let refused = |times| Refusal {
                words: String::new(),
                times,
                at: Timestamp::UNIX_EPOCH,
                trouble,
            };
            let delay = |times| refused(times).until(change).as_second();
            [1, 2, 3, 4, 7, 99].map(delay).to_vec()
        };
        assert_eq!(delays(&patch, false), [1, 2, 4, 8, 60, 60]);
        assert_eq!(delays(&patch, true), [1, 2, 4, 8, 10, 10]);
        assert_eq!(delays(&weight, false), [1, 2, 4, 5, 5, 5]);
    }

    #[test]
    fn what_is_mended_elsewhere_is_another_write_and_a_deadline_is_not() {
        let create = |class: &str| {
            key(&Change::Route(RouteWrite {
                object: ObjectRef::new(&INGRESS, "shop", "web"),
                event: None,
                op: RouteOp::Create(json!({"spec": {"ingressClassName": class}})),
            }))
        };
        assert_ne!(create("a"), create("b"));
        let annotate = |deadline: &str| {
            key(&Change::PatchReplicaSet {
                name: "web-5c".to_owned(),
                uid: String::new(),
                scale: None,
                annotations: [("deadline".to_owned(), Some(deadline.to_owned()))].into(),
                rest: serde_json::Value::Null,
            })
        };
        assert_eq!(annotate("1"), annotate("2"));
    }
}
