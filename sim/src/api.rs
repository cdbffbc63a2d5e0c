//! The API server as the simulated actors use it: short calls on whole objects.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::{PatchKind, Request, Response, Status, Store, copy_but};

/// Names a kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `apiVersion` of its objects.
    pub api_version: &'static str,
    /// `kind` of its objects.
    pub kind: &'static str,
}

/// The kinds that the actors deal with.
pub mod kinds {
    use super::Kind;

    macro_rules! kinds {
        ($($name:ident = $api_version:literal $kind:literal;)*) => {
            $(#[doc = concat!("`", $kind, "`")] pub static $name: Kind = Kind { api_version: $api_version, kind: $kind };)*
        };
    }

    kinds! {
        ROLLOUTS = "argoproj.io/v1alpha1" "Rollout";
        ANALYSIS_RUNS = "argoproj.io/v1alpha1" "AnalysisRun";
        ANALYSIS_TEMPLATES = "argoproj.io/v1alpha1" "AnalysisTemplate";
        CLUSTER_ANALYSIS_TEMPLATES = "argoproj.io/v1alpha1" "ClusterAnalysisTemplate";
        DEPLOYMENTS = "apps/v1" "Deployment";
        REPLICA_SETS = "apps/v1" "ReplicaSet";
        PODS = "v1" "Pod";
        SERVICES = "v1" "Service";
        EVENTS = "v1" "Event";
        ENDPOINT_SLICES = "discovery.k8s.io/v1" "EndpointSlice";
        INGRESSES = "networking.k8s.io/v1" "Ingress";
        JOBS = "batch/v1" "Job";
        SECRETS = "v1" "Secret";
        CONFIG_MAPS = "v1" "ConfigMap";
        DELIVERIES = "tidegate.io/v1alpha1" "Delivery";
        AUTOSCALERS = "autoscaling/v2" "HorizontalPodAutoscaler";
    }
}

/// The API server as one user sees it at one time.
pub struct Api<'a> {
    store: &'a mut Store,
    user: &'a str,
    now: Timestamp,
}

impl<'a> Api<'a> {
    /// The API server for a user at a time.
    pub fn new(store: &'a mut Store, user: &'a str, now: Timestamp) -> Self {
        Self { store, user, now }
    }

    /// The store behind it.
    pub fn store(&mut self) -> &mut Store {
        self.store
    }

    /// Sends any request as this user.
    pub fn send(&mut self, request: Request) -> Result<Response, Status> {
        self.store.request(request.by(self.user), self.now)
    }

    /// Reads an object.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let resource = self.store.registry().by_kind(kind.api_version, kind.kind)?;
        self.store.get(resource, namespace, name)
    }

    /// Reads all objects of a namespace, by name.
    pub fn list(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Value>> {
        let resource = self.store.registry().by_kind(kind.api_version, kind.kind);
        resource
            .map(|resource| self.store.objects(resource, namespace).collect())
            .unwrap_or_default()
    }

    fn resource(&self, kind: &Kind) -> Result<Arc<crate::store::Resource>, Status> {
        let found = self
            .store
            .registry()
            .by_kind(kind.api_version, kind.kind)
            .cloned();
        found.ok_or_else(|| Status::bad_request(format!("no kind {} in {}", kind.kind, kind.api_version)))
    }

    /// Makes an object.
    pub fn create(&mut self, kind: &Kind, namespace: &str, body: Value) -> Result<Arc<Value>, Status> {
        let request = Request::create(&self.resource(kind)?, namespace, body);
        object(&self.send(request)?)
    }

    /// Changes an object by a merge patch.
    pub fn merge(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Arc<Value>, Status> {
        let request = Request::patch(&self.resource(kind)?, namespace, name, PatchKind::Merge, patch);
        object(&self.send(request)?)
    }

    /// Changes an object by a JSON patch.
    pub fn json_patch(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        ops: Value,
    ) -> Result<Arc<Value>, Status> {
        let request = Request::patch(&self.resource(kind)?, namespace, name, PatchKind::Json, ops);
        object(&self.send(request)?)
    }

    /// Changes an object's status by a merge patch.
    pub fn merge_status(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Arc<Value>, Status> {
        let request = Request::patch(&self.resource(kind)?, namespace, name, PatchKind::Merge, patch);
        object(&self.send(request.subresource("status"))?)
    }

    /// Replaces an object's status, whatever its resourceVersion is by now; what one of the cluster's own controllers does, so
    /// that nothing is checked.
    pub fn replace_status(&mut self, kind: &Kind, live: &Value, status: Value) -> Result<(), Status> {
        let of = |key: &str| live["metadata"][key].as_str().unwrap_or_default();
        // it may have been changed since, or made again
        let now = self.get(kind, of("namespace"), of("name"));
        let Some(now) = now.filter(|now| now["metadata"]["uid"] == live["metadata"]["uid"]) else {
            return Err(Status::not_found(&*self.resource(kind)?, of("name")));
        };
        let mut object = copy_but(&now, "status");
        object["status"] = status;
        let request = Request::update(&self.resource(kind)?, named(of("namespace"), of("name")));
        let request = request.subresource("status").by(self.user);
        self.store.put(&request, self.now, object)
    }

    /// Replaces an object but for its metadata, as one of the cluster's own controllers does it: nothing is checked.
    pub fn replace(&mut self, kind: &Kind, namespace: &str, name: &str, object: Value) -> Result<(), Status> {
        let request = Request::update(&self.resource(kind)?, named(namespace, name));
        self.store.put(&request.by(self.user), self.now, object)
    }

    /// Asks for an object's removal; a pod gets its time to end.
    pub fn delete(&mut self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let request = Request::delete(&self.resource(kind)?, namespace, name);
        self.send(request).map(drop)
    }

    /// Removes an object at once, as the kubelet does with a pod that has ended.
    pub fn remove(&mut self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        let request = Request::delete(&self.resource(kind)?, namespace, name);
        self.send(request.with(|o| o.grace_period_seconds = Some(0)))
            .map(drop)
    }

    /// Reads the `/scale` of an object.
    pub fn get_scale(&mut self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let request = Request::get(&self.resource(kind).ok()?, namespace, name);
        object(&self.send(request.subresource("scale")).ok()?).ok()
    }

    /// Writes `spec.replicas` through `/scale`.
    pub fn set_scale(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        replicas: i64,
    ) -> Result<(), Status> {
        let body = json!({"spec": {"replicas": replicas}});
        let request = Request::patch(&self.resource(kind)?, namespace, name, PatchKind::Merge, body);
        self.send(request.subresource("scale")).map(drop)
    }
}

fn named(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}})
}

fn object(response: &Response) -> Result<Arc<Value>, Status> {
    response
        .object()
        .cloned()
        .ok_or_else(|| Status::bad_request("the answer is no object"))
}
