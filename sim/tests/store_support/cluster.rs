//! A store with short words for what the tests do to it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_sim::store::{Options, PatchKind, Request, Resource, Response, Settings, Status, Store};

pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) now: Timestamp,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let mut store = Store::with_settings(7, settings);
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        store.add_namespace("shop", now);
        Self { store, now }
    }

    /// The kind with this plural, whatever its group.
    pub(crate) fn kind(&self, plural: &str) -> Arc<Resource> {
        let mut all = self.store.registry().all();
        all.find(|r| r.plural == plural)
            .unwrap_or_else(|| panic!("no kind {plural}"))
            .clone()
    }

    pub(crate) fn send(&mut self, request: Request) -> Result<Value, Status> {
        let kind = request.resource.clone();
        let response: Response = self.store.request(request, self.now)?;
        Ok(response.to_value(&kind))
    }

    pub(crate) fn create(&mut self, plural: &str, body: Value) -> Value {
        self.try_create(plural, body)
            .unwrap_or_else(|status| panic!("{status}"))
    }

    pub(crate) fn try_create(&mut self, plural: &str, body: Value) -> Result<Value, Status> {
        self.send(Request::create(&self.kind(plural), "shop", body))
    }

    pub(crate) fn patch(
        &mut self,
        plural: &str,
        name: &str,
        kind: PatchKind,
        body: Value,
    ) -> Result<Value, Status> {
        self.send(Request::patch(&self.kind(plural), "shop", name, kind, body))
    }

    pub(crate) fn merge(&mut self, plural: &str, name: &str, body: Value) -> Value {
        self.patch(plural, name, PatchKind::Merge, body)
            .unwrap_or_else(|status| panic!("{status}"))
    }

    pub(crate) fn apply(
        &mut self,
        plural: &str,
        name: &str,
        manager: &str,
        force: bool,
        body: Value,
    ) -> Result<Value, Status> {
        let request = Request::patch(&self.kind(plural), "shop", name, PatchKind::Apply, body);
        self.send(request.with(|options: &mut Options| {
            options.field_manager = manager.to_owned();
            options.force = force;
        }))
    }

    pub(crate) fn delete(&mut self, plural: &str, name: &str) -> Result<Value, Status> {
        self.send(Request::delete(&self.kind(plural), "shop", name))
    }

    pub(crate) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let kind = self.kind(plural);
        let namespace = if kind.namespaced { "shop" } else { "" };
        self.store
            .get(&kind, namespace, name)
            .map(|object| (*object).clone())
    }
}

pub(crate) fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": template(name)},
    })
}

pub(crate) fn template(name: &str) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

pub(crate) fn replica_set(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template(name)},
    })
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// An object with its owner.
pub(crate) fn owned(mut object: Value, owner: &Value, blocks: bool) -> Value {
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": blocks,
    }]);
    object
}
