//! What people ordered, and what must have become of it once nothing changes any more: no command is lost. And what time
//! alone had to bring about, when.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Deed, Story};
use crate::actors::text;
use crate::invariants::facts::{Facts, Strategy};
use crate::store::Commit;

/// The last order to a Rollout, with what was so when it was given.
#[derive(Clone, Debug)]
enum Order {
    /// An update was taken back.
    Abort,
    /// An update was to be finished whatever there is.
    Full,
    /// What was taken back was to be tried again.
    Retry,
    /// A pause was ended: version, step and start of the pause.
    Promote(Value, Value, Value),
}

/// What was ordered of one Rollout.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    order: Option<Order>,
    /// `restartAt`, when nothing has superseded it.
    restart: Option<String>,
}

impl History {
    /// Takes note of what was done; `before` is the Rollout just before.
    pub(super) fn note(&mut self, deed: &Deed, before: &Facts, after: &Facts) {
        if before.rollout["spec"]["template"] != after.rollout["spec"]["template"]
            || before.rollout["spec"]["strategy"] != after.rollout["spec"]["strategy"]
        {
            // another update: orders were for the one before
            *self = Self::default();
        }
        let status = before.status();
        // an order is for the update that is on record, so it means nothing while that is not the one in the spec, or not for its strategy
        let seen =
            *before.rollout["metadata"]["generation"].to_string() == *text(&status["observedGeneration"]);
        let of_canary = before.strategy != Strategy::BlueGreen;
        let recorded = of_canary != status["currentStepHash"].is_null();
        let moving = seen && recorded && !before.stable().is_empty() && before.stable() != before.current();
        let pause = status["pauseConditions"][0]["startTime"].clone();
        match deed {
            Deed::Abort => self.order = moving.then_some(Order::Abort),
            // beside an abort that was never looked at, nobody can tell which came first
            Deed::Full if before.aborted() && status["abortedAt"].is_null() => {}
            Deed::Full => self.order = moving.then_some(Order::Full),
            Deed::Retry => self.order = (moving && before.aborted()).then_some(Order::Retry),
            Deed::Promote => {
                // an analysis that cannot decide may hold it again within the second
                let held = status["pauseConditions"][0]["reason"] != "InconclusiveAnalysisRun";
                self.order = (moving && held && !pause.is_null() && !before.aborted()).then(|| {
                    Order::Promote(
                        status["currentPodHash"].clone(),
                        status["currentStepIndex"].clone(),
                        pause,
                    )
                });
            }
            Deed::Skip | Deed::Set(_) => self.order = None,
            Deed::Restart => {
                self.restart = after.rollout["spec"]["restartAt"].as_str().map(str::to_owned);
            }
            Deed::Delete | Deed::Create => *self = Self::default(),
            _ => {}
        }
    }

    /// What is wrong at rest.
    pub(super) fn lost(&self, facts: &Facts) -> Vec<String> {
        let mut lost = Vec::new();
        let settled = facts.stable() == facts.current();
        let status = facts.status();
        match &self.order {
            Some(Order::Abort) if !settled && !facts.aborted() => lost.push("the abort is lost".to_owned()),
            // a deadline that aborts is the user's own word too
            Some(Order::Full)
                if !settled
                    && (status["promoteFull"] != true || facts.aborted() && !is_invalid(facts))
                    && !text(&status["message"]).contains("has timed out progressing") =>
            {
                lost.push("the full promotion is lost".to_owned());
            }
            // whatever takes it back again says why
            Some(Order::Retry)
                if facts.aborted()
                    && !text(&status["message"]).contains(": Rollout aborted update to revision ") =>
            {
                lost.push("the retry is lost".to_owned());
            }
            Some(Order::Promote(hash, step, start))
                if status["currentPodHash"] == *hash
                    && status["currentStepIndex"] == *step
                    && status["pauseConditions"][0]["startTime"] == *start =>
            {
                lost.push("the promotion is lost".to_owned());
            }
            _ => {}
        }
        if let Some(at) = &self.restart
            && settled
            && status["phase"] == "Healthy"
            && text(&status["restartedAt"]) < at.as_str()
        {
            lost.push(format!("the restart of {at} is lost"));
        }
        lost
    }
}

/// How late a deadline may be acted upon: times in the status are whole seconds, and a write takes its time.
const SLACK: SignedDuration = SignedDuration::from_millis(1500);

/// Pauses that ended later than they should have, in a story without faults.
pub(super) fn late<'c>(story: &Story, name: &str, commits: impl Iterator<Item = &'c Commit>) -> Vec<String> {
    let mut late = Vec::new();
    if !story.is_calm() {
        return late;
    }
    let mut due: Option<Timestamp> = None;
    let mut free_since = crate::clock::EPOCH;
    let mut unwhole = BTreeSet::new();
    for commit in commits {
        // blue-green does not leave its pause while pods are missing, so the time starts anew with each that is lost
        if crate::actors::is_kind(commit, "ReplicaSet") && commit.name.starts_with(name) {
            if commit.after.as_deref().is_none_or(is_whole) {
                unwhole.remove(&commit.name);
            } else {
                unwhole.insert(commit.name.clone());
            }
            free_since = commit.at;
            due = due
                .filter(|_| unwhole.is_empty())
                .map(|due: Timestamp| due.max(free_since));
        }
        if commit.name != name || !crate::actors::is_kind(commit, "Rollout") {
            continue;
        }
        if let Some(due) = due
            && commit.at > due + SLACK
        {
            late.push(format!(
                "a pause that was over at {due} was still there at {}",
                commit.at
            ));
        }
        let Some(after) = &commit.after else {
            due = None;
            continue;
        };
        if is_held(after) || !unwhole.is_empty() {
            free_since = commit.at;
            due = None;
        } else {
            due = pause_ends(after).map(|at| at.max(free_since));
        }
    }
    late
}

fn is_whole(set: &Value) -> bool {
    set["status"]["availableReplicas"].as_i64().unwrap_or(0) >= set["spec"]["replicas"].as_i64().unwrap_or(0)
}

/// Time does not end a pause while somebody, or a spec that is wrong, holds the Rollout.
fn is_held(rollout: &Value) -> bool {
    let status = &rollout["status"];
    let seen = *rollout["metadata"]["generation"].to_string() == *text(&status["observedGeneration"]);
    !seen
        || rollout["spec"]["paused"] == true
        || status["abort"] == true
        || rollout["metadata"]["deletionTimestamp"].is_string()
        || text(&status["message"]).starts_with("InvalidSpec")
        || status["pauseConditions"]
            .as_array()
            .is_none_or(|all| all.len() != 1)
}

fn pause_ends(rollout: &Value) -> Option<Timestamp> {
    let status = &rollout["status"];
    let pause = &status["pauseConditions"][0];
    let start: Timestamp = text(&pause["startTime"]).parse().ok()?;
    let seconds = match text(&pause["reason"]) {
        "BlueGreenPause" => {
            let spec = &rollout["spec"]["strategy"]["blueGreen"];
            if spec["autoPromotionEnabled"] == false {
                return None;
            }
            spec["autoPromotionSeconds"].as_i64()?
        }
        "CanaryPauseStep" => {
            let step = usize::try_from(status["currentStepIndex"].as_i64()?).ok()?;
            match &rollout["spec"]["strategy"]["canary"]["steps"][step]["pause"]["duration"] {
                Value::Number(seconds) => seconds.as_i64()?,
                // stories write them in seconds
                Value::String(text) => text.strip_suffix('s')?.parse().ok()?,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(start + SignedDuration::from_secs(seconds))
}

/// Whether nothing is decided until somebody mends the spec or what it names.
fn is_invalid(facts: &Facts) -> bool {
    text(&facts.status()["message"]).starts_with("InvalidSpec")
}
