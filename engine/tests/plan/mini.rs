//! One Rollout and what is around it, in memory, for the tests and the benchmarks of the planner.

#![allow(dead_code, reason = "each of them uses its own part")]

#[path = "../../../traffic/tests/apply/mod.rs"]
mod apply;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::{Rollout, labels, template::template_digest};
use tidegate_engine::observed::{PodView, ReplicaSetView, ServiceView};
use tidegate_engine::{Change, Observed, Paused, Plan, Refusal, Scale, Settings, plan, refusal};
use tidegate_traffic::{ObjectRef, RouteWrite, nginx::INGRESS};

use self::apply::merge;

pub(crate) fn ingress_ref(name: &str) -> ObjectRef {
    ObjectRef::new(&INGRESS, "shop", name)
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn template(version: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": format!("web:{version}") }] },
    })
}

fn rollout(strategy: &Value, version: &str) -> Rollout {
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7", "generation": 1 },
        "spec": {
            "replicas": 10,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(version),
            "strategy": strategy,
        },
    }))
    .unwrap()
}

fn service(name: &str, hash: &str) -> ServiceView {
    let mut selector: BTreeMap<String, String> = [("app".to_owned(), "web".to_owned())].into();
    if !hash.is_empty() {
        selector.insert(labels::POD_TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned());
    }
    ServiceView {
        name: name.to_owned(),
        uid: format!("svc-{name}"),
        resource_version: "1".to_owned(),
        selector,
        managed_by: (!hash.is_empty()).then(|| "web".to_owned()),
    }
}

/// A cluster that does at once what a plan says, for tables that follow an update.
pub(crate) struct Mini {
    pub(crate) seen: Observed,
    pub(crate) now: Timestamp,
    /// Most available pods of ReplicaSets, by their place; as many as they want where none is given.
    pub(crate) serving: BTreeMap<usize, i32>,
    /// Pods of a ReplicaSet that become available between two looks.
    pub(crate) ready_at_once: i32,
    /// Pods that a plan asked for, by hash.
    pub(crate) pods: BTreeMap<String, Vec<PodView>>,
    /// Writes whose key begins with one of these are refused.
    pub(crate) refuses: Vec<String>,
    version: u64,
}

impl Mini {
    pub(crate) fn new(strategy: &Value) -> Self {
        let mut seen = Observed {
            rollout: rollout(strategy, "v1"),
            ..Observed::default()
        };
        for name in ["stable", "canary", "active", "preview"] {
            seen.services.insert(name.to_owned(), service(name, ""));
        }
        let ingress = json!({
            "metadata": { "name": "web", "uid": "i1", "resourceVersion": "1" },
            "spec": { "ingressClassName": "nginx", "rules": [{ "http": { "paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": "stable", "port": { "number": 80 } } },
            }] } }] },
        });
        seen.routes.live.insert(ingress_ref("web"), Arc::new(ingress));
        let rate =
            json!({ "metrics": [{ "name": "rate", "provider": { "web": { "url": "http://metrics" } } }] });
        let key = TemplateKey {
            cluster: false,
            name: "rate".to_owned(),
        };
        seen.templates
            .insert(key, Arc::new(serde_json::from_value(rate).unwrap()));
        Self {
            seen,
            now: now(),
            serving: BTreeMap::new(),
            ready_at_once: i32::MAX,
            pods: BTreeMap::new(),
            refuses: Vec::new(),
            version: 10,
        }
    }

    pub(crate) fn release(&mut self, version: &str) {
        self.seen.rollout.spec.template = Some(template(version));
        let generation = self.seen.rollout.metadata.generation.unwrap_or(0) + 1;
        self.seen.rollout.metadata.generation = Some(generation);
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = self
            .now
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap();
    }

    /// One look: plan, do all of it, and let pods become available. What is refused is known to the next plan of the look.
    pub(crate) fn look(&mut self) -> Plan {
        self.look_and(|_, _, _| {})
    }

    /// One look, with something to say after each of its actions: the change, what was before, what is now.
    pub(crate) fn look_and(&mut self, mut after: impl FnMut(&Change, &Observed, &Self)) -> Plan {
        loop {
            let plan = self.plan();
            if self.carry_out(&plan, &mut after) {
                self.seen.rollout.status = plan.status.clone();
                self.seen.paused = Paused::after(self.seen.paused, &plan.status);
                self.let_pods_come();
                return plan;
            }
        }
    }

    /// False at the first write that is refused.
    fn carry_out(&mut self, plan: &Plan, after: &mut impl FnMut(&Change, &Observed, &Self)) -> bool {
        for action in &plan.actions {
            let key = refusal::key(&action.change);
            if self.refuses.iter().any(|refused| key.starts_with(refused)) {
                let refused = self.seen.refused.entry(key).or_insert(Refusal {
                    words: "no room".to_owned(),
                    times: 0,
                    at: self.now,
                    trouble: false,
                });
                refused.times += 1;
                refused.at = self.now;
                return false;
            }
            self.version += 1;
            let before = self.seen.clone();
            self.apply(&action.change);
            after(&action.change, &before, self);
        }
        true
    }

    /// Pods become available, or are lost, as [`Mini::serving`] has it.
    pub(crate) fn let_pods_come(&mut self) {
        for (i, rs) in self.seen.replica_sets.iter_mut().enumerate() {
            let most = self.serving.get(&i).copied().unwrap_or(i32::MAX);
            let next = rs.available.saturating_add(self.ready_at_once);
            rs.available = rs.spec_replicas.min(most).min(next);
            rs.ready = rs.available;
        }
    }

    /// What is planned now, with the pods that it takes to know.
    pub(crate) fn plan(&mut self) -> Plan {
        self.seen.pods.clear();
        self.seen.paused = Paused::after(self.seen.paused, &self.seen.rollout.status);
        loop {
            let plan = plan(&self.seen, self.now, &Settings::default());
            let missing = plan.needs_pods.iter().find(|h| !self.seen.pods.contains_key(*h));
            let Some(hash) = missing else {
                self.seen.progress.clone_from(&plan.progress);
                return plan;
            };
            let rs = self.seen.replica_sets.iter().find(|rs| rs.hash == *hash).unwrap();
            let pods = self.pods.entry(hash.clone()).or_default();
            let there = pods.iter().filter(|pod| !pod.deleting).count();
            for _ in there..usize::try_from(rs.spec_replicas).unwrap() {
                self.version += 1;
                pods.push(PodView {
                    name: format!("pod-{}", self.version),
                    created: rs.created,
                    ready: true,
                    ..PodView::default()
                });
            }
            self.seen.pods.insert(hash.clone(), pods.clone());
        }
    }

    pub(crate) fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..30 {
            let before = (self.seen.rollout.status.clone(), self.seen.replica_sets.clone());
            let plan = self.look();
            for action in &plan.actions {
                told.extend(
                    action
                        .event
                        .iter()
                        .map(|e| format!("{}: {}", e.reason, e.message)),
                );
            }
            told.extend(plan.events.iter().map(|e| format!("{}: {}", e.reason, e.message)));
            let same = before.0 == self.seen.rollout.status && before.1 == self.seen.replica_sets;
            if plan.actions.is_empty() && same {
                return told;
            }
        }
        panic!("does not settle: {:#?}", self.look());
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::CreateReplicaSet { name, body } => self.create_replica_set(name, body),
            Change::PatchReplicaSet {
                name,
                scale,
                annotations,
                ..
            } => self.patch_replica_set(name, scale.as_ref(), annotations),
            Change::SetServiceSelector {
                name,
                hash,
                managed_by,
                ..
            } => {
                let version = self.version.to_string();
                let service = self.seen.services.get_mut(name).unwrap();
                service
                    .selector
                    .insert(labels::POD_TEMPLATE_HASH_LABEL.to_owned(), hash.clone().unwrap());
                service.managed_by.clone_from(managed_by);
                service.resource_version = version;
                self.seen.routed_since.insert(format!("Service/{name}"), self.now);
            }
            Change::Route(write) => self.route(write),
            Change::PatchRollout { patch } => {
                let mut object = serde_json::to_value(&self.seen.rollout).unwrap();
                merge(&mut object, patch);
                self.seen.rollout = serde_json::from_value(object).unwrap();
            }
            Change::CreateAnalysisRun(run) => {
                let mut run = *run.clone();
                run.metadata.creation_timestamp = Some(self.now.into());
                self.seen.analysis_runs.push(Arc::new(run));
            }
            Change::TerminateAnalysisRun { name, .. } => {
                let run = self
                    .seen
                    .analysis_runs
                    .iter_mut()
                    .find(|run| run.metadata.name == *name);
                Arc::make_mut(run.unwrap()).spec.terminate = Some(true);
            }
            Change::PatchPod { name, patch, .. } => {
                let pod = self.pod(name);
                for (key, value) in patch["metadata"]["labels"].as_object().into_iter().flatten() {
                    match value.as_str() {
                        Some(value) => pod.labels.insert(key.clone(), value.to_owned()),
                        None => pod.labels.remove(key),
                    };
                }
            }
            Change::EvictPod { name, .. } => self.pod(name).deleting = true,
            Change::DeleteAnalysisRun { name, .. } => {
                self.seen.analysis_runs.retain(|run| run.metadata.name != *name);
            }
            other => panic!("not in these tables: {other:?}"),
        }
    }

    fn pod(&mut self, name: &str) -> &mut PodView {
        let mut pods = self.pods.values_mut().flatten();
        pods.find(|pod| pod.name == name).unwrap()
    }

    fn create_replica_set(&mut self, name: &str, body: &Value) {
        let replicas = i32::try_from(body["spec"]["replicas"].as_i64().unwrap()).unwrap();
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(body["metadata"]["annotations"].clone()).unwrap();
        let injected = annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION);
        let injected = injected.map(|text| serde_json::from_str(text).unwrap());
        self.seen.replica_sets.push(ReplicaSetView {
            name: name.to_owned(),
            uid: format!("rs-{name}"),
            generation: 1,
            observed_generation: 1,
            created: self.now,
            controller_uid: Some("u1".to_owned()),
            hash: body["metadata"]["labels"][labels::POD_TEMPLATE_HASH_LABEL]
                .as_str()
                .unwrap()
                .to_owned(),
            annotations,
            digest: template_digest(&body["spec"]["template"], injected.as_ref()),
            spec_replicas: replicas,
            replicas,
            ..ReplicaSetView::default()
        });
    }

    fn patch_replica_set(
        &mut self,
        name: &str,
        scale: Option<&Scale>,
        annotations: &BTreeMap<String, Option<String>>,
    ) {
        let rs = self
            .seen
            .replica_sets
            .iter_mut()
            .find(|rs| rs.name == name)
            .unwrap();
        if let Some(scale) = scale {
            assert_eq!(rs.spec_replicas, scale.from);
            (rs.spec_replicas, rs.replicas) = (scale.to, scale.to);
            // Those that are not available go first.
            rs.available = rs.available.min(scale.to);
            rs.ready = rs.available;
        }
        for (key, value) in annotations {
            match value {
                Some(value) => rs.annotations.insert(key.clone(), value.clone()),
                None => rs.annotations.remove(key),
            };
        }
    }

    fn route(&mut self, write: &RouteWrite) {
        let live = &mut self.seen.routes.live;
        let Some(mut object) = apply::applied(live.get(&write.object).map(AsRef::as_ref), &write.op) else {
            live.remove(&write.object);
            return;
        };
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!("canary-ingress");
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        live.insert(write.object.clone(), Arc::new(object));
        self.seen.routed_since.insert(write.object.to_string(), self.now);
    }

    pub(crate) fn weight(&self) -> String {
        let canary = self.seen.routes.live.get(&ingress_ref("web-web-canary"));
        canary.map_or("-".to_owned(), |c| {
            c["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    }

    /// The hash of a version, by its place.
    pub(crate) fn hash(&self, place: usize) -> Option<&String> {
        self.seen.replica_sets.get(place).map(|rs| &rs.hash)
    }

    /// What an annotation of a ReplicaSet says.
    pub(crate) fn annotation(&self, place: usize, key: &str) -> Option<String> {
        self.seen.replica_sets.get(place)?.annotations.get(key).cloned()
    }

    pub(crate) fn sizes(&self) -> Vec<i32> {
        self.seen.replica_sets.iter().map(|rs| rs.spec_replicas).collect()
    }

    pub(crate) fn phase(&self) -> String {
        let status = &self.seen.rollout.status;
        let phase = status.phase.as_ref().map_or("", |p| p.as_str());
        format!("{phase} {}", status.message.as_deref().unwrap_or_default())
            .trim()
            .to_owned()
    }

    pub(crate) fn selector(&self, name: &str) -> String {
        let hash = &self.seen.services[name]
            .selector
            .get(labels::POD_TEMPLATE_HASH_LABEL);
        let index = self
            .seen
            .replica_sets
            .iter()
            .position(|rs| Some(&rs.hash) == *hash);
        index.map_or("-".to_owned(), |i| format!("v{}", i + 1))
    }

    pub(crate) fn scale(&mut self, replicas: i32) {
        self.seen.rollout.spec.replicas = Some(replicas);
        let generation = self.seen.rollout.metadata.generation.unwrap_or(0) + 1;
        self.seen.rollout.metadata.generation = Some(generation);
    }

    /// The run that was made last ends.
    pub(crate) fn end_run(&mut self, phase: tidegate_crds::AnalysisPhase) {
        let run = Arc::make_mut(self.seen.analysis_runs.last_mut().unwrap());
        run.status.phase = phase;
        run.status.message = Some("it says so".to_owned());
    }

    pub(crate) fn promote(&mut self) {
        self.seen.rollout.status.pause_conditions.clear();
    }
}

pub(crate) fn nginx(steps: &Value) -> Value {
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": steps,
    } })
}

/// An analysis of the template that [`Mini`] has.
pub(crate) fn templates() -> Value {
    json!({ "templates": [{ "templateName": "rate" }] })
}

/// A blue-green Rollout with both Services, and whatever else.
pub(crate) fn blue_green(more: &Value) -> Mini {
    let mut strategy = json!({ "activeService": "active", "previewService": "preview" });
    for (key, value) in more.as_object().unwrap() {
        strategy[key] = value.clone();
    }
    Mini::new(&json!({ "blueGreen": strategy }))
}
