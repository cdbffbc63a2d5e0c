//! Carries a plan out: typed changes in, guarded requests out, one at a time, in order, stopping at the first failure.
//!
//! Sans-IO: whoever drives it sends the requests and gives the answers. The simulator crashes it between any two.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_analysis::run::is_made_as;
use tidegate_crds::decode::{Encode as _, tolerant};
use tidegate_crds::labels::{MANAGED_BY_ANNOTATION, POD_TEMPLATE_HASH_LABEL, RUN_NOT_WANTED_ANNOTATION};
use tidegate_crds::{AnalysisRun, RolloutStatus, merge};
use tidegate_engine::refusal;
use tidegate_engine::{Action, Change, Event, Observed, Plan, Scale};
use tidegate_traffic::{RouteOp, RouteWrite};

use crate::event::{self, Order, Subject};
use crate::request::{
    ANALYSIS_RUNS, DEPLOYMENTS, Failure, PODS, REPLICA_SETS, ROLLOUTS, Request, Resource, SERVICES, Verb,
};
use crate::step::{Outcome, Step};

/// What is being answered.
#[derive(Debug)]
enum Waiting {
    Action(Action),
    /// Whether the ReplicaSet of that name is the one that was to be created.
    Compare {
        key: String,
        body: Value,
        event: Option<Event>,
    },
    /// The ReplicaSet of that name gets the label back by which its watch knows it.
    Relabel {
        key: String,
        event: Option<Event>,
    },
    /// Whether the run of that name is the one that was to be created.
    Adopt {
        key: String,
        run: Box<AnalysisRun>,
        event: Option<Event>,
    },
    Status,
    Collision,
}

/// A plan that is being carried out.
#[derive(Debug)]
pub struct Execution {
    subject: Subject,
    now: Timestamp,
    actions: VecDeque<Action>,
    /// The difference of the status, until it is written.
    status: Option<Value>,
    collisions: i64,
    events: Vec<Event>,
    /// Annotations of ReplicaSets as observed, for the guards.
    annotations: BTreeMap<String, BTreeMap<String, String>>,
    /// resourceVersions by plural and name: of ReplicaSets as observed, of others as our own writes left them.
    versions: BTreeMap<(&'static str, String), String>,
    steps: VecDeque<Step>,
    waiting: Option<Waiting>,
    outcome: Option<Outcome>,
    /// What the log says once the status is written.
    change_of_state: Option<String>,
    /// A write that the API server refused: what to do without it is for the planner to say.
    refused: Option<Refused>,
    /// Orders the events of this plan, after those of earlier ones.
    order: Order,
}

/// A write that the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the planner knows it by.
    pub key: String,
    /// The answer.
    pub failure: Failure,
    /// It may be over in a moment: a refusal only once it lasts.
    pub may_pass: bool,
}

/// One line for each change of state.
fn change_of_state(old: &RolloutStatus, new: &RolloutStatus) -> Option<String> {
    if old.phase == new.phase
        && old.current_step_index == new.current_step_index
        && old.stable_rs == new.stable_rs
    {
        return None;
    }
    let phase = new.phase.as_ref().map(ToString::to_string).unwrap_or_default();
    let message = new.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    let step = new
        .current_step_index
        .map(|index| format!(", step {index}"))
        .unwrap_or_default();
    Some(format!("{phase}{message}{step}"))
}

/// The merge patch for the status of a plan; `None` when it is as observed.
pub fn status_difference(plan: &Plan, observed: &Observed) -> Option<Value> {
    // At rest nothing differs, and to compare is cheaper than to write it all down.
    if observed.rollout.status == plan.status {
        return None;
    }
    merge::difference(&observed.rollout.status.encode(), &plan.status.encode())
}

impl Execution {
    /// Starts carrying `plan` out. `status` is the merge patch to write at the end, `None` for none; events of the plan
    /// follow it, or are told at once if the status already is as planned (`tell`).
    pub fn new(plan: Plan, observed: &Observed, status: Option<Value>, tell: bool, now: Timestamp) -> Self {
        let rollout = &observed.rollout;
        let annotations = observed
            .replica_sets
            .iter()
            .map(|rs| (rs.name.clone(), rs.annotations.clone()))
            .collect();
        let versions = observed
            .replica_sets
            .iter()
            .map(|rs| {
                (
                    (REPLICA_SETS.plural, rs.name.clone()),
                    rs.resource_version.clone(),
                )
            })
            .collect();
        let change_of_state = change_of_state(&rollout.status, &plan.status);
        let events = if tell { plan.events } else { Vec::new() };
        Self {
            subject: Subject {
                kind: "Rollout",
                namespace: rollout.metadata.namespace.clone(),
                name: rollout.metadata.name.clone(),
                uid: rollout.metadata.uid.clone(),
                resource_version: rollout.metadata.resource_version.clone(),
            },
            now,
            actions: plan.actions.into(),
            status,
            collisions: rollout.status.collision_count.unwrap_or_default().into(),
            events,
            annotations,
            versions,
            steps: VecDeque::new(),
            waiting: None,
            outcome: None,
            change_of_state,
            refused: None,
            order: Order::of(versions_of(observed)),
        }
    }

    /// The next step; `None` while an answer is missing, and at the end.
    pub fn step(&mut self) -> Option<Step> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        if self.waiting.is_some() || self.outcome.is_some() || self.refused.is_some() {
            return None;
        }
        if let Some(action) = self.actions.pop_front() {
            let request = self.request(&action.change);
            self.waiting = Some(Waiting::Action(action));
            return Some(Step::Request(request));
        }
        if let Some(patch) = self.status.take() {
            self.waiting = Some(Waiting::Status);
            return Some(Step::Request(self.status_patch(&patch)));
        }
        let events = std::mem::take(&mut self.events);
        self.tell(events);
        self.outcome = Some(Outcome::Done);
        self.steps.pop_front()
    }

    /// The answer to the last [`Step::Request`].
    pub fn answer(&mut self, answer: Result<&Value, Failure>) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Action(action), Ok(object)) => self.succeeded(action, object),
            (Waiting::Action(action), Err(failure)) => self.action_failed(action, failure),
            (Waiting::Compare { key, body, event }, Ok(object)) => self.compare(key, &body, object, event),
            (Waiting::Relabel { event, .. }, Ok(object)) => self.found_replica_set(object, event),
            (Waiting::Relabel { key, .. }, Err(failure)) if failure.is_refusal() => {
                self.refused = Some(Refused {
                    key,
                    failure,
                    may_pass: false,
                });
            }
            (Waiting::Adopt { key, run, event }, Ok(object)) => {
                let (found, _) = tolerant::<AnalysisRun>(object.clone());
                if is_made_as(&found, &run) {
                    self.tell(event);
                } else {
                    let message = "an analysis run of that name is there, which is not the one that is needed: delete it";
                    let failure = Failure::new(409, "AlreadyExists", message);
                    self.refused = Some(Refused {
                        key,
                        failure,
                        may_pass: false,
                    });
                }
            }
            (Waiting::Status, Ok(object)) => {
                self.remember(&ROLLOUTS, &self.subject.name.clone(), object);
                if let Some(change) = self.change_of_state.take() {
                    let Subject { namespace, name, .. } = &self.subject;
                    tracing::info!(namespace, name, "{change}");
                }
            }
            (Waiting::Collision, Ok(_)) => {
                self.outcome = Some(Outcome::LookAgain(Failure::new(
                    409,
                    "Conflict",
                    "hash collision",
                )));
            }
            (_, Err(failure)) => self.fail(failure),
        }
    }

    /// The write that the API server refused, or broke on, if one was: the plan is over, and another one is to be made.
    pub fn refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// How it ended; a plan that was given up in the middle has failed.
    pub fn outcome(self) -> Outcome {
        let given_up = || Failure::no_answer("given up");
        self.outcome.unwrap_or_else(|| {
            let refused = self.refused.map(|refused| refused.failure);
            Outcome::Failed(refused.unwrap_or_else(given_up))
        })
    }

    fn succeeded(&mut self, action: Action, object: &Value) {
        if let Some((resource, name)) = target(&action.change, &self.subject.name) {
            self.remember(resource, &name, object);
        }
        self.tell(action.event);
    }

    fn action_failed(&mut self, action: Action, failure: Failure) {
        let get = |resource, name: &str| Step::Request(Request::get(resource, &self.subject.namespace, name));
        let key = refusal::key(&action.change);
        match action.change {
            Change::CreateReplicaSet { name, body } if failure.already_exists() => {
                self.steps.push_back(get(&REPLICA_SETS, &name));
                self.waiting = Some(Waiting::Compare {
                    key,
                    body,
                    event: action.event,
                });
            }
            Change::CreateAnalysisRun(run) if failure.already_exists() => {
                self.steps.push_back(get(&ANALYSIS_RUNS, &run.metadata.name));
                self.waiting = Some(Waiting::Adopt {
                    key,
                    run,
                    event: action.event,
                });
            }
            // What shall not be there is not there.
            Change::DeleteReplicaSet { .. }
            | Change::DeleteAnalysisRun { .. }
            | Change::TerminateAnalysisRun { .. }
            | Change::EvictPod { .. }
            | Change::PatchPod { .. }
            | Change::Route(RouteWrite {
                op: RouteOp::Delete { .. },
                ..
            }) if failure.is_not_found() => {
                self.tell(action.event);
            }
            change
                if failure.is_refusal() || failure.is_trouble() || is_of_a_pod_alone(&change, &failure) =>
            {
                let may_pass = failure.is_trouble() && !is_of_a_pod_alone(&change, &failure);
                self.refused = Some(Refused {
                    key,
                    failure,
                    may_pass,
                });
            }
            _ => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) {
        let guard = failure.is_conflict() || failure.is_test_failed() || failure.is_not_found();
        self.outcome = Some(if guard || failure.already_exists() {
            Outcome::LookAgain(failure)
        } else {
            Outcome::Failed(failure)
        });
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            // What comes first needs no place among the others, and so has the same name whoever tells it again.
            let order = if event.is_first() {
                Order::default()
            } else {
                self.order.step()
            };
            self.steps
                .push_back(Step::Event(event::record(&self.subject, &event, order, self.now)));
        }
    }

    /// An object of the name is there already: ours from an attempt whose answer was lost, or a hash collision.
    fn compare(&mut self, key: String, body: &Value, object: &Value, event: Option<Event>) {
        let hash = hash_of(object).filter(|hash| Some(*hash) == hash_of(body) || same_template(body, object));
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            self.outcome = Some(Outcome::LookAgain(Failure::new(
                409,
                "Conflict",
                "the ReplicaSet is being deleted",
            )));
        } else if let Some(hash) = hash.filter(|_| self.owns(object)) {
            if text(object, "/metadata/labels", POD_TEMPLATE_HASH_LABEL) == Some(hash) {
                self.found_replica_set(object, event);
                return;
            }
            let guard = |field| object.pointer(field).cloned().unwrap_or_default();
            let patch = json!({"metadata": {
                "uid": guard("/metadata/uid"),
                "resourceVersion": guard("/metadata/resourceVersion"),
                "labels": {POD_TEMPLATE_HASH_LABEL: hash},
            }});
            let name = text(object, "/metadata", "name").unwrap_or_default();
            let request = self.merge_patch(&REPLICA_SETS, name, patch);
            self.steps.push_back(Step::Request(request));
            self.waiting = Some(Waiting::Relabel { key, event });
        } else {
            let patch = json!({"collisionCount": self.collisions + 1});
            self.steps.push_back(Step::Request(self.status_patch(&patch)));
            self.waiting = Some(Waiting::Collision);
        }
    }

    /// The ReplicaSet that was to be created is there.
    fn found_replica_set(&mut self, object: &Value, event: Option<Event>) {
        let name = text(object, "/metadata", "name").unwrap_or_default();
        self.remember(&REPLICA_SETS, name, object);
        self.tell(event);
    }

    fn owns(&self, object: &Value) -> bool {
        let owners = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| {
            owner.get("controller") == Some(&Value::Bool(true))
                && owner.get("uid").and_then(Value::as_str) == Some(&self.subject.uid)
        })
    }

    fn remember(&mut self, resource: &'static Resource, name: &str, object: &Value) {
        if let Some(version) = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
        {
            self.versions
                .insert((resource.plural, name.to_owned()), version.to_owned());
        }
    }

    /// The version that the next write of the object must find: as observed, or as our last write left it.
    fn version<'a>(&'a self, resource: &Resource, name: &str, observed: &'a str) -> &'a str {
        self.versions
            .get(&(resource.plural, name.to_owned()))
            .map_or(observed, String::as_str)
    }

    fn status_patch(&self, status: &Value) -> Request {
        let guard = self.rollout_guard();
        self.merge_patch(
            &ROLLOUTS,
            &self.subject.name,
            json!({"metadata": guard, "status": status}),
        )
        .on("status")
    }

    fn rollout_guard(&self) -> Value {
        let version = self.version(&ROLLOUTS, &self.subject.name, &self.subject.resource_version);
        json!({"uid": self.subject.uid, "resourceVersion": version})
    }

    fn merge_patch(&self, resource: &'static Resource, name: &str, body: Value) -> Request {
        Request::new(Verb::MergePatch, resource, &self.subject.namespace, name, body)
    }

    fn json_patch(&self, resource: &'static Resource, name: &str, operations: Vec<Value>) -> Request {
        Request::new(
            Verb::JsonPatch,
            resource,
            &self.subject.namespace,
            name,
            Value::Array(operations),
        )
    }

    fn delete(&self, resource: &'static Resource, name: &str, preconditions: &Value) -> Request {
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        });
        Request::new(Verb::Delete, resource, &self.subject.namespace, name, body)
    }

    fn create_run(&self, run: &AnalysisRun) -> Request {
        let mut body = run.encode();
        if let Some(body) = body.as_object_mut() {
            // A new run has no status: that is for whoever measures to write.
            body.remove("status");
        }
        Request::create(&ANALYSIS_RUNS, &self.subject.namespace, body)
    }

    fn evict(&self, pod: &str, uid: &str) -> Request {
        let namespace = self.subject.namespace.as_str();
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": pod},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        Request::new(Verb::Create, &PODS, namespace, pod, body).on("eviction")
    }

    fn request(&self, change: &Change) -> Request {
        let namespace = self.subject.namespace.as_str();
        match change {
            Change::CreateReplicaSet { body, .. } => Request::create(&REPLICA_SETS, namespace, body.clone()),
            Change::PatchReplicaSet {
                name,
                uid,
                scale,
                annotations,
                rest,
            } => self.patch_replica_set(name, uid, *scale, annotations, rest),
            Change::DeleteReplicaSet {
                name,
                uid,
                resource_version,
            } => {
                let version = self.version(&REPLICA_SETS, name, resource_version);
                self.delete(
                    &REPLICA_SETS,
                    name,
                    &json!({"uid": uid, "resourceVersion": version}),
                )
            }
            Change::SetServiceSelector {
                name,
                uid,
                resource_version,
                hash,
                managed_by,
            } => {
                let version = self.version(&SERVICES, name, resource_version);
                self.merge_patch(
                    &SERVICES,
                    name,
                    service_patch(uid, version, hash.as_deref(), managed_by.as_deref()),
                )
            }
            Change::Route(write) => self.route(write),
            Change::CreateAnalysisRun(run) => self.create_run(run),
            Change::TerminateAnalysisRun { name, uid } => {
                let annotations = json!({RUN_NOT_WANTED_ANNOTATION: "true"});
                let metadata = json!({"uid": uid, "annotations": annotations});
                let body = json!({"metadata": metadata, "spec": {"terminate": true}});
                self.merge_patch(&ANALYSIS_RUNS, name, body)
            }
            Change::DeleteAnalysisRun { name, uid } => {
                self.delete(&ANALYSIS_RUNS, name, &json!({"uid": uid}))
            }
            Change::PatchRollout { patch } => {
                let mut body = patch.clone();
                merge::overlay(&mut body, json!({"metadata": self.rollout_guard()}));
                self.merge_patch(&ROLLOUTS, &self.subject.name, body)
            }
            Change::ScaleWorkload { name, uid, scale } => {
                let mut operations = vec![test("/metadata/uid", uid.as_str())];
                operations.extend(scale_operations(*scale));
                self.json_patch(&DEPLOYMENTS, name, operations)
            }
            Change::EvictPod { name, uid } => self.evict(name, uid),
            Change::PatchPod { name, uid, patch } => {
                let mut body = patch.clone();
                merge::overlay(&mut body, json!({"metadata": {"uid": uid}}));
                self.merge_patch(&PODS, name, body)
            }
        }
    }

    /// A ReplicaSet changes all the time by itself, so its size and annotations are guarded by the values that they
    /// replace. The rest, which changes rarely, is guarded by the resourceVersion.
    fn patch_replica_set(
        &self,
        name: &str,
        uid: &str,
        scale: Option<Scale>,
        annotations: &BTreeMap<String, Option<String>>,
        rest: &Value,
    ) -> Request {
        if !rest.is_null() {
            let mut body = rest.clone();
            let mut metadata = json!({"uid": uid});
            if let Some(version) = self.versions.get(&(REPLICA_SETS.plural, name.to_owned())) {
                metadata["resourceVersion"] = json!(version);
            }
            if !annotations.is_empty() {
                metadata["annotations"] = json!(annotations);
            }
            merge::overlay(&mut body, json!({"metadata": metadata}));
            if let Some(scale) = scale {
                merge::overlay(&mut body, json!({"spec": {"replicas": scale.to}}));
            }
            return self.merge_patch(&REPLICA_SETS, name, body);
        }
        let mut operations = vec![test("/metadata/uid", uid)];
        operations.extend(scale.into_iter().flat_map(scale_operations));
        operations.extend(self.annotation_operations(name, annotations));
        self.json_patch(&REPLICA_SETS, name, operations)
    }

    fn annotation_operations(&self, name: &str, changes: &BTreeMap<String, Option<String>>) -> Vec<Value> {
        let none = BTreeMap::new();
        let observed = self.annotations.get(name).unwrap_or(&none);
        if observed.is_empty() {
            let added: Map<String, Value> = changes
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), json!(value.as_ref()?))))
                .collect();
            return if added.is_empty() {
                Vec::new()
            } else {
                vec![add("/metadata/annotations", Value::Object(added))]
            };
        }
        let mut operations = Vec::new();
        for (key, value) in changes {
            let path = annotation_path(key);
            let before = observed.get(key);
            operations.extend(before.map(|before| test(&path, before.as_str())));
            match value {
                Some(value) => operations.push(add(&path, value.as_str())),
                None if before.is_some() => operations.push(json!({"op": "remove", "path": path})),
                None => {}
            }
        }
        operations
    }

    fn route(&self, write: &RouteWrite) -> Request {
        let resource = Resource::of_route(write.object.kind);
        let name = write.object.name.as_str();
        let mut request = match &write.op {
            RouteOp::Create(body) => Request::create(resource, "", body.clone()),
            RouteOp::Patch {
                uid,
                resource_version,
                patch,
            } => {
                let version = self.version(resource, name, resource_version);
                let mut body = patch.clone();
                merge::overlay(
                    &mut body,
                    json!({"metadata": {"uid": uid, "resourceVersion": version}}),
                );
                self.merge_patch(resource, name, body)
            }
            RouteOp::SetWeight { uid, operations, .. } => {
                let guard = test("/metadata/uid", uid.as_str());
                let operations = std::iter::once(guard).chain(operations.iter().cloned());
                self.json_patch(resource, name, operations.collect())
            }
            RouteOp::Delete { uid } => self.delete(resource, name, &json!({"uid": uid})),
        };
        request.namespace.clone_from(&write.object.namespace);
        request
    }
}

/// The patch that points a Service at a version, or away from any (contract 2.2), guarded by uid and resourceVersion.
pub(crate) fn service_patch(uid: &str, version: &str, hash: Option<&str>, managed_by: Option<&str>) -> Value {
    json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": version,
            "annotations": {MANAGED_BY_ANNOTATION: managed_by},
        },
        "spec": {"selector": {POD_TEMPLATE_HASH_LABEL: hash}},
    })
}

/// The resourceVersions of what a plan was made from: with each write of ours the largest one grows.
fn versions_of(observed: &Observed) -> impl Iterator<Item = &str> {
    let sets = observed.replica_sets.iter().map(|rs| &*rs.resource_version);
    let services = observed
        .services
        .values()
        .map(|service| &*service.resource_version);
    let routes = observed.routes.live.values();
    let routes = routes.filter_map(|object| object.pointer("/metadata/resourceVersion")?.as_str());
    let runs = observed
        .analysis_runs
        .iter()
        .map(|run| &*run.metadata.resource_version);
    let own = [&*observed.rollout.metadata.resource_version];
    own.into_iter()
        .chain(sets)
        .chain(services)
        .chain(routes)
        .chain(runs)
}

/// The object that a change is about, where its next version matters to later changes of the plan.
fn target(change: &Change, rollout: &str) -> Option<(&'static Resource, String)> {
    match change {
        Change::CreateReplicaSet { name, .. } | Change::PatchReplicaSet { name, .. } => {
            Some((&REPLICA_SETS, name.clone()))
        }
        Change::SetServiceSelector { name, .. } => Some((&SERVICES, name.clone())),
        Change::Route(write) => Some((Resource::of_route(write.object.kind), write.object.name.clone())),
        Change::PatchRollout { .. } => Some((&ROLLOUTS, rollout.to_owned())),
        _ => None,
    }
}

/// Whether a failure concerns one pod and nothing else: what a disruption budget forbids (429, which is not a server under load here),
/// several of them over one pod (always 500), or a webhook that breaks on it. It must not hold up sizes and traffic.
fn is_of_a_pod_alone(change: &Change, failure: &Failure) -> bool {
    match change {
        Change::EvictPod { .. } => matches!(failure.code, 429 | 500),
        Change::PatchPod { .. } => failure.code == 500,
        _ => false,
    }
}

/// The version that a ReplicaSet was made for: its selector has it, which nobody can change. What a webhook, a role or a hand has put
/// into its template since makes it no other one; to take it for a collision would make another ReplicaSet, and another after that.
fn hash_of(replica_set: &Value) -> Option<&str> {
    text(replica_set, "/spec/selector/matchLabels", POD_TEMPLATE_HASH_LABEL)
}

fn text<'v>(object: &'v Value, pointer: &str, key: &str) -> Option<&'v str> {
    object.pointer(pointer)?.get(key)?.as_str()
}

fn same_template(body: &Value, object: &Value) -> bool {
    let digest = |object: &Value| crate::slim::digest_of_replica_set(object);
    digest(body) == digest(object)
}

fn scale_operations(scale: Scale) -> [Value; 2] {
    [
        test("/spec/replicas", scale.from),
        json!({"op": "replace", "path": "/spec/replicas", "value": scale.to}),
    ]
}

fn annotation_path(key: &str) -> String {
    format!(
        "/metadata/annotations/{}",
        key.replace('~', "~0").replace('/', "~1")
    )
}

fn test(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "test", "path": path, "value": value.into()})
}

fn add(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "add", "path": path, "value": value.into()})
}

#[cfg(test)]
mod tests;
