//! People: what they do, in order, when what they wait for is so. They write what `kubectl argo rollouts` writes
//! (contract 2.9).

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Actor, Cx, kind_of, text};
use crate::api::kinds;
use crate::store::Commit;

/// What somebody does to a Rollout, or around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Creates objects.
    Create(Vec<Value>),
    /// `set image`, for the first container.
    SetImage(String),
    /// Sets the first environment variable of the first container.
    SetVersion(String),
    /// Writes `spec.replicas`.
    Scale(i64),
    /// Writes `spec.replicas` through `/scale`.
    ScaleThrough(i64),
    /// `promote`.
    Promote,
    /// `promote --full`.
    PromoteFull,
    /// `promote --skip-current-step`.
    SkipStep,
    /// `abort`.
    Abort,
    /// `retry`.
    Retry,
    /// `pause`.
    Pause,
    /// Takes `spec.paused` away.
    Unpause,
    /// `restart`.
    Restart,
    /// A merge patch of the Rollout.
    Merge(Value),
    /// A JSON patch of the Rollout.
    JsonPatch(Value),
    /// A merge patch of its status.
    MergeStatus(Value),
    /// A merge patch of another object: kind, name, patch.
    MergeOther(&'static crate::api::Kind, String, Value),
    /// A JSON patch of another object.
    JsonPatchOther(&'static crate::api::Kind, String, Value),
    /// Deletes another object.
    DeleteOther(&'static crate::api::Kind, String),
    /// Deletes the Rollout.
    Delete,
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// A time after the start.
    At(SignedDuration),
    /// A time after the operation before.
    After(SignedDuration),
    /// The phase, of the spec as it is.
    Phase(&'static str),
    /// The phase of another Rollout, of its spec as it is.
    PhaseOf(&'static str, &'static str),
    /// A pause at this step.
    PausedAt(i64),
    /// This step, paused or not.
    Step(i64),
    /// Steps are done or aborted and the phase is one of these.
    Settled,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// What it waits for.
    pub when: When,
    /// How long after that.
    pub delay: SignedDuration,
    /// What is done.
    pub op: Op,
}

impl Act {
    /// An operation half a second after something is so.
    pub fn new(when: When, op: Op) -> Self {
        let exact = matches!(when, When::At(_) | When::After(_));
        Self {
            when,
            delay: SignedDuration::from_millis(if exact { 0 } else { 500 }),
            op,
        }
    }
}

/// Somebody who works on one Rollout.
#[derive(Debug)]
pub struct User {
    namespace: String,
    rollout: String,
    acts: VecDeque<Act>,
    start: Timestamp,
    last: Timestamp,
    due: Option<Timestamp>,
    refused: Vec<String>,
}

impl User {
    /// Somebody with a list of things to do.
    pub fn new(
        namespace: &str,
        rollout: &str,
        acts: impl IntoIterator<Item = Act>,
        start: Timestamp,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            rollout: rollout.to_owned(),
            acts: acts.into_iter().collect(),
            start,
            last: start,
            due: None,
            refused: Vec::new(),
        }
    }

    fn is_so(&self, when: &When, cx: &Cx<'_>) -> bool {
        let name = match when {
            When::PhaseOf(other, _) => other,
            _ => self.rollout.as_str(),
        };
        let rollout = cx.api.get(&kinds::ROLLOUTS, &self.namespace, name);
        let Some(rollout) = rollout else { return false };
        let status = &rollout["status"];
        // The status has it as text.
        let generation = rollout["metadata"]["generation"].to_string();
        let seen = status["observedGeneration"] == *generation;
        let paused = status["pauseConditions"]
            .as_array()
            .is_some_and(|p| !p.is_empty());
        match when {
            When::At(_) | When::After(_) => true,
            When::Phase(phase) | When::PhaseOf(_, phase) => seen && status["phase"] == *phase,
            When::PausedAt(step) => {
                seen && status["currentStepIndex"] == *step && status["phase"] == "Paused" && paused
            }
            When::Step(step) => {
                seen && status["currentStepIndex"] == *step
                    && status["currentPodHash"] != status["stableRS"]
                    && status["abort"] != true
            }
            When::Settled => seen && matches!(text(&status["phase"]), "Healthy" | "Degraded"),
        }
    }
}

impl Actor for User {
    fn name(&self) -> &'static str {
        "user"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        kind_of(commit) == "Rollout" && !self.acts.is_empty()
    }

    fn is_done(&self) -> bool {
        self.acts.is_empty()
    }

    fn open_ends(&self) -> Vec<String> {
        let waits = self
            .acts
            .front()
            .map(|act| format!("still waits for {:?} to do {:?}", act.when, act.op));
        self.refused
            .iter()
            .map(|why| format!("refused {why}"))
            .chain(waits)
            .collect()
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        loop {
            let next = self.acts.front()?.clone();
            let due = match (self.due, &next.when) {
                (Some(due), _) => due,
                (None, When::At(after)) => self.start + *after + next.delay,
                (None, When::After(after)) => self.last + *after + next.delay,
                (None, when) if self.is_so(when, cx) => cx.now + next.delay,
                _ => return None,
            };
            if due > cx.now {
                self.due = Some(due);
                return Some(due);
            }
            self.due = None;
            self.last = cx.now;
            self.acts.pop_front();
            if let Err(refused) = perform(cx, &self.namespace, &self.rollout, &next.op) {
                self.refused.push(format!("{:?}: {}", next.op, refused.message));
            }
        }
    }
}

fn create(cx: &mut Cx<'_>, namespace: &str, objects: &[Value]) -> Result<(), crate::store::Status> {
    for object in objects {
        let registry = cx.api.store().registry();
        let found = registry
            .by_kind(text(&object["apiVersion"]), text(&object["kind"]))
            .cloned();
        let Some(resource) = found else {
            return Err(crate::store::Status::bad_request(format!(
                "no kind {}",
                object["kind"]
            )));
        };
        let namespace = if resource.namespaced { namespace } else { "" };
        cx.api.send(crate::store::Request::create(
            &resource,
            namespace,
            object.clone(),
        ))?;
    }
    Ok(())
}

fn promote_full(cx: &mut Cx<'_>, namespace: &str, name: &str) -> Result<(), crate::store::Status> {
    let rollouts = &kinds::ROLLOUTS;
    unpause(cx, namespace, name)?;
    let live = cx.api.get(rollouts, namespace, name).unwrap_or_default();
    if live["status"]["currentPodHash"] == live["status"]["stableRS"] {
        return Ok(());
    }
    cx.api
        .merge_status(
            rollouts,
            namespace,
            name,
            json!({"status": {"promoteFull": true}}),
        )
        .map(drop)
}

/// Does it, with the payloads of upstream's plugin.
pub fn perform(cx: &mut Cx<'_>, namespace: &str, name: &str, op: &Op) -> Result<(), crate::store::Status> {
    let rollouts = &kinds::ROLLOUTS;
    let image = "/spec/template/spec/containers/0/image";
    let version = "/spec/template/spec/containers/0/env/0/value";
    match op {
        Op::Create(objects) => create(cx, namespace, objects),
        Op::SetImage(to) => {
            let ops = json!([{"op": "replace", "path": image, "value": to}]);
            cx.api.json_patch(rollouts, namespace, name, ops).map(drop)
        }
        Op::SetVersion(to) => {
            let ops = json!([{"op": "replace", "path": version, "value": to}]);
            cx.api.json_patch(rollouts, namespace, name, ops).map(drop)
        }
        Op::Scale(to) => cx
            .api
            .merge(rollouts, namespace, name, json!({"spec": {"replicas": to}}))
            .map(drop),
        Op::ScaleThrough(to) => cx.api.set_scale(rollouts, namespace, name, *to),
        Op::Promote => promote(cx, namespace, name),
        Op::PromoteFull => promote_full(cx, namespace, name),
        Op::SkipStep => {
            let live = cx.api.get(rollouts, namespace, name).unwrap_or_default();
            let patch = json!({"status": {"pauseConditions": null, "currentStepIndex": next_step(&live)}});
            cx.api.merge_status(rollouts, namespace, name, patch).map(drop)
        }
        Op::Abort => cx
            .api
            .merge_status(rollouts, namespace, name, json!({"status": {"abort": true}}))
            .map(drop),
        Op::Retry => cx
            .api
            .merge_status(rollouts, namespace, name, json!({"status": {"abort": false}}))
            .map(drop),
        Op::Pause => cx
            .api
            .merge(rollouts, namespace, name, json!({"spec": {"paused": true}}))
            .map(drop),
        Op::Unpause => unpause(cx, namespace, name),
        Op::Restart => {
            let at = super::stamp(cx.now);
            cx.api
                .merge(rollouts, namespace, name, json!({"spec": {"restartAt": at}}))
                .map(drop)
        }
        Op::Merge(patch) => cx.api.merge(rollouts, namespace, name, patch.clone()).map(drop),
        Op::JsonPatch(ops) => cx
            .api
            .json_patch(rollouts, namespace, name, ops.clone())
            .map(drop),
        Op::MergeStatus(patch) => cx
            .api
            .merge_status(rollouts, namespace, name, patch.clone())
            .map(drop),
        Op::MergeOther(kind, other, patch) => cx.api.merge(kind, namespace, other, patch.clone()).map(drop),
        Op::JsonPatchOther(kind, other, ops) => {
            cx.api.json_patch(kind, namespace, other, ops.clone()).map(drop)
        }
        Op::DeleteOther(kind, other) => cx.api.delete(kind, namespace, other),
        Op::Delete => cx.api.delete(rollouts, namespace, name),
    }
}

fn unpause(cx: &mut Cx<'_>, namespace: &str, name: &str) -> Result<(), crate::store::Status> {
    let live = cx.api.get(&kinds::ROLLOUTS, namespace, name).unwrap_or_default();
    if live["spec"]["paused"] != true {
        return Ok(());
    }
    cx.api
        .merge(
            &kinds::ROLLOUTS,
            namespace,
            name,
            json!({"spec": {"paused": false}}),
        )
        .map(drop)
}

fn next_step(rollout: &Value) -> i64 {
    let steps = rollout["spec"]["strategy"]["canary"]["steps"]
        .as_array()
        .map_or(0, Vec::len) as i64;
    let index = rollout["status"]["currentStepIndex"].as_i64().unwrap_or(0);
    (index + 1).min(steps)
}

fn promote(cx: &mut Cx<'_>, namespace: &str, name: &str) -> Result<(), crate::store::Status> {
    unpause(cx, namespace, name)?;
    let live = cx.api.get(&kinds::ROLLOUTS, namespace, name).unwrap_or_default();
    let status = &live["status"];
    let paused = status["pauseConditions"]
        .as_array()
        .is_some_and(|p| !p.is_empty());
    let inconclusive = status["canary"]["currentStepAnalysisRunStatus"]["status"] == "Inconclusive";
    let has_steps = live["spec"]["strategy"]["canary"]["steps"]
        .as_array()
        .is_some_and(|s| !s.is_empty());
    let patch = if paused && inconclusive && status["controllerPause"] == true {
        json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": next_step(&live)})
    } else if paused {
        json!({"pauseConditions": null})
    } else if has_steps {
        json!({"pauseConditions": null, "currentStepIndex": next_step(&live)})
    } else {
        return Ok(());
    };
    cx.api
        .merge_status(&kinds::ROLLOUTS, namespace, name, json!({"status": patch}))
        .map(drop)
}
