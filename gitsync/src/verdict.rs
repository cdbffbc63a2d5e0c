//! The verdict on a commit, from the Rollouts that it changed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_crds::{
    AnalysisPhase, ConditionStatus, LedgerEntry, LedgerRollout, RejectedReason, Rollout,
    RolloutConditionType, RolloutPhase, VerdictState,
};

use crate::observed::{Observed, RunView};

/// What Git is not written for: a rejection that is found later than this after it happened (a fresh install, a long outage).
const OLD: SignedDuration = SignedDuration::from_mins(20);

/// What is to be said of a commit now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judged {
    pub(crate) state: VerdictState,
    pub(crate) reason: Option<RejectedReason>,
    pub(crate) message: String,
    pub(crate) runs: Vec<String>,
    pub(crate) rollouts: Vec<LedgerRollout>,
    /// The rejection is too old for a write to Git.
    pub(crate) old: bool,
    /// Something was changed behind our back: compare with Git now.
    pub(crate) drifted: bool,
}

/// One Rollout's part.
enum Part {
    Unseen,
    Progressing(String),
    Paused(String),
    Healthy {
        measured: bool,
    },
    Rejected(RejectedReason, String, Option<Timestamp>),
    /// Its pods are not those of the commit.
    Foreign,
}

/// Judges a commit that is applied.
pub(crate) fn judge(entry: &LedgerEntry, observed: &Observed, now: Timestamp) -> Judged {
    let mut judged = Judged {
        rollouts: entry.rollouts.clone(),
        ..Judged::default()
    };
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for known in &mut judged.rollouts {
        let words = format!("Rollout {}/{}", known.namespace, known.name);
        let key = (known.namespace.clone(), known.name.clone());
        let part = match observed.rollouts.get(&key) {
            Some(rollout) => of_rollout(known, rollout, &observed.runs),
            None => Part::Foreign,
        };
        for run in runs_of(known, &observed.runs).filter(|run| run.phase.completed()) {
            judged.runs.push(run.name.clone());
        }
        parts.insert(words, part);
    }
    judged.runs.sort();
    let mut measured = false;
    judged.state = VerdictState::Deployed;
    for (words, part) in parts {
        let (state, message) = match part {
            Part::Rejected(reason, message, since) => {
                judged.old = since.is_some_and(|since| now.duration_since(since) > OLD);
                judged.reason = Some(reason);
                (VerdictState::Rejected, message)
            }
            Part::Foreign => {
                judged.drifted = true;
                let then = match observed.delivery.spec.observe {
                    Some(_) => "no verdict is drawn from it",
                    None => "it is put back",
                };
                (
                    VerdictState::Progressing,
                    format!("was changed by somebody else; {then}"),
                )
            }
            Part::Unseen => (
                VerdictState::Applied,
                "has not been seen by its controller yet".to_owned(),
            ),
            Part::Progressing(message) => (VerdictState::Progressing, message),
            Part::Paused(message) => (VerdictState::Paused, message),
            Part::Healthy { measured: this } => {
                measured |= this;
                continue;
            }
        };
        if weight(&state) > weight(&judged.state) {
            judged.state = state;
            judged.message = format!("{words}: {message}");
        }
    }
    if judged.state == VerdictState::Deployed && measured {
        judged.state = VerdictState::Verified;
    }
    judged
}

/// The part that decides is the one with the greatest weight.
fn weight(state: &VerdictState) -> u8 {
    match state {
        VerdictState::Rejected => 4,
        VerdictState::Applied => 3,
        VerdictState::Progressing => 2,
        VerdictState::Paused => 1,
        _ => 0,
    }
}

fn runs_of<'a>(known: &'a LedgerRollout, runs: &'a [RunView]) -> impl Iterator<Item = &'a RunView> {
    runs.iter().filter(|run| {
        !known.pod_hash.is_empty()
            && run.namespace == known.namespace
            && run.rollout == known.name
            && run.pod_hash == known.pod_hash
    })
}

fn of_rollout(known: &mut LedgerRollout, rollout: &Rollout, runs: &[RunView]) -> Part {
    let status = &rollout.status;
    let seen = status
        .observed_generation
        .as_deref()
        .and_then(|text| text.parse::<i64>().ok());
    let live = rollout.metadata.generation;
    // A status is about the commit only if its controller has seen what applying the commit left.
    if known.generation.is_none() || live < known.generation || seen < known.generation {
        return Part::Unseen;
    }
    let hash = status.current_pod_hash.clone().unwrap_or_default();
    let invalid = condition(
        rollout,
        &RolloutConditionType::InvalidSpec,
        &ConditionStatus::True,
    );
    if let Some((_, message)) = invalid.filter(|_| live == known.generation) {
        return Part::Rejected(RejectedReason::InvalidSpec, message, None);
    }
    if hash.is_empty() {
        return Part::Unseen;
    }
    if known.pod_hash.is_empty() {
        // Only a status that is about exactly what we applied tells which pods are the commit's.
        if seen != known.generation {
            return if live == known.generation {
                Part::Unseen
            } else {
                Part::Foreign
            };
        }
        known.pod_hash.clone_from(&hash);
    }
    if known.pod_hash != hash {
        return Part::Foreign;
    }
    if let Some(rejected) = rejection(known, rollout, runs) {
        return rejected;
    }
    let message = status.message.clone().unwrap_or_default();
    match status.phase {
        Some(RolloutPhase::Healthy) if settled(rollout, &hash) => Part::Healthy {
            measured: runs_of(known, runs).any(|run| run.phase == AnalysisPhase::Successful && !run.empty),
        },
        Some(RolloutPhase::Paused) => Part::Paused(step(rollout, "paused")),
        _ if message.is_empty() => Part::Progressing(step(rollout, "progressing")),
        _ => Part::Progressing(step(rollout, &message)),
    }
}

/// Where a canary is, in words.
fn step(rollout: &Rollout, what: &str) -> String {
    let strategy = rollout.spec.strategy.as_ref();
    let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
    let steps = canary.map_or(0, |canary| canary.steps.len());
    match rollout.status.current_step_index {
        Some(index) if steps > 0 => format!("{what}, step {index} of {steps}"),
        _ => what.to_owned(),
    }
}

fn settled(rollout: &Rollout, hash: &str) -> bool {
    let status = &rollout.status;
    let strategy = rollout.spec.strategy.as_ref();
    let active = status
        .blue_green
        .as_ref()
        .and_then(|blue_green| blue_green.active_selector.as_deref());
    status.stable_rs.as_deref() == Some(hash)
        && status.abort != Some(true)
        && (strategy.is_none_or(|strategy| strategy.blue_green.is_none()) || active == Some(hash))
}

fn condition(
    rollout: &Rollout,
    kind: &RolloutConditionType,
    status: &ConditionStatus,
) -> Option<(String, String)> {
    let found = rollout
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == *kind && condition.status == *status)?;
    Some((found.reason.clone(), found.message.clone()))
}

/// Why the Rollout gave the version up, if it did (contract 5.1).
fn rejection(known: &LedgerRollout, rollout: &Rollout, runs: &[RunView]) -> Option<Part> {
    let status = &rollout.status;
    let (reason, message) = condition(
        rollout,
        &RolloutConditionType::Progressing,
        &ConditionStatus::False,
    )
    .unwrap_or_default();
    let since = status.aborted_at.map(jiff::Timestamp::from);
    if reason == "ProgressDeadlineExceeded" {
        return Some(Part::Rejected(RejectedReason::DeadlineExceeded, message, since));
    }
    if status.abort != Some(true) {
        return None;
    }
    let message = if message.is_empty() {
        "the rollout was aborted".to_owned()
    } else {
        message
    };
    let ended = |phase: AnalysisPhase| runs_of(known, runs).any(|run| run.phase == phase);
    let named = |phase: &str| message.contains(&format!("assessed {phase}"));
    let words = if message.contains("assessed ") {
        None
    } else {
        Some(())
    };
    let reason = if named("Failed") || words.is_some() && ended(AnalysisPhase::Failed) {
        RejectedReason::AnalysisFailed
    } else if named("Error") || words.is_some() && ended(AnalysisPhase::Error) {
        RejectedReason::AnalysisError
    } else if message.contains("progressDeadline") || message.contains("timed out progressing") {
        RejectedReason::DeadlineExceeded
    } else {
        RejectedReason::ManualAbort
    };
    Some(Part::Rejected(reason, message, since))
}
