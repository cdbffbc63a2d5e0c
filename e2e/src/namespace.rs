//! A namespace of one test, and the usual verbs on its objects.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use kube::{
    Api,
    api::{
        DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, TypeMeta,
        WatchEvent, WatchParams,
    },
    core::discovery::Scope,
};
use serde_json::{Value, json};

use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

use crate::{Cluster, LoadGenerator, LoadSpec, eventually, text};

const MANAGER: &str = "tidegate-e2e";

/// A namespace of one test. Clones are the same one.
#[derive(Clone)]
pub struct Namespace {
    // a namespace does not own the cluster's list of namespaces: both end with the test
    cluster: Cluster,
    name: String,
}

/// Something that happened to an object.
#[derive(Debug, Clone)]
pub struct Happening {
    /// The object after it, or before it was gone.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
    /// When it was told.
    pub at: Instant,
}

impl Namespace {
    pub(crate) fn new(cluster: Cluster, name: String) -> Self {
        Self { cluster, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its objects of a resource as kubectl names it: `pods`, `rollouts.argoproj.io`.
    pub async fn api(&self, resource: &str) -> Result<Api<DynamicObject>> {
        self.cluster.api(resource, Some(&self.name)).await
    }

    /// Creates an object just as it is: nobody is noted as the owner of its fields but its maker.
    pub async fn create(&self, object: &Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let types: &TypeMeta = object.types.as_ref().context("an object without a kind")?;
        let (resource, _) = self
            .cluster
            .resource_of(&GroupVersionKind::try_from(types)?)
            .await?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.cluster.client(), &self.name, &resource);
        let what = || format!("cannot create {} {:?}", resource.kind, object.metadata.name);
        api.create(&PostParams::default(), &object)
            .await
            .with_context(what)?;
        Ok(())
    }

    /// Changes an object by a JSON patch.
    pub async fn json_patch(&self, resource: &str, name: &str, operations: &Value) -> Result<()> {
        let url = format!("{}/{name}", self.api(resource).await?.resource_url());
        let request = http::Request::patch(url)
            .header("content-type", "application/json-patch+json")
            .body(serde_json::to_vec(operations)?)?;
        self.cluster.client().request::<Value>(request).await?;
        Ok(())
    }

    /// Applies every document of a YAML text, here or, for kinds without a namespace, in the cluster.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("the manifest")?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            let object: DynamicObject = serde_json::from_value(document)?;
            let name = object.metadata.name.clone().context("an object without a name")?;
            let types: &TypeMeta = object.types.as_ref().context("an object without a kind")?;
            let (resource, scope) = self
                .cluster
                .resource_of(&GroupVersionKind::try_from(types)?)
                .await?;
            let api: Api<DynamicObject> = match scope {
                Scope::Namespaced => Api::namespaced_with(self.cluster.client(), &self.name, &resource),
                Scope::Cluster => Api::all_with(self.cluster.client(), &resource),
            };
            let what = || format!("cannot apply {} {name}", resource.kind);
            let params = PatchParams::apply(MANAGER).force();
            api.patch(&name, &params, &Patch::Apply(&object))
                .await
                .with_context(what)?;
        }
        Ok(())
    }

    /// Applies an object that is in no namespace, and goes with this one however the test ends.
    pub async fn apply_with_it(&self, mut object: Value) -> Result<()> {
        let namespaces = self.cluster.api("namespaces", None).await?;
        let uid = namespaces.get(&self.name).await?.metadata.uid;
        object["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "Namespace", "name": self.name, "uid": uid }]);
        self.apply(&object.to_string()).await
    }

    /// An object, or `None` if there is none.
    pub async fn get(&self, resource: &str, name: &str) -> Result<Option<Value>> {
        let object = self.api(resource).await?.get_opt(name).await?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    /// All objects with these labels (`app=demo`; empty for all).
    pub async fn list(&self, resource: &str, labels: &str) -> Result<Vec<Value>> {
        let objects = self
            .api(resource)
            .await?
            .list(&ListParams::default().labels(labels))
            .await?;
        objects
            .items
            .into_iter()
            .map(|object| Ok(serde_json::to_value(object)?))
            .collect()
    }

    /// What events with this reason say about the object of this name.
    pub async fn told(&self, name: &str, reason: &str) -> Result<Vec<String>> {
        let mut events = self.list("events", "").await?;
        events
            .retain(|event| text(event, "/involvedObject/name") == name && text(event, "/reason") == reason);
        Ok(events
            .iter()
            .map(|event| text(event, "/message").to_owned())
            .collect())
    }

    /// All that happens to its objects of a resource, until the receiver is dropped or the API server ends the watch after some
    /// minutes.
    pub async fn watch(&self, resource: &str) -> Result<UnboundedReceiver<Happening>> {
        let changes = self
            .api(resource)
            .await?
            .watch(&WatchParams::default(), "0")
            .await?;
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes);
            while let Some(Ok(change)) = changes.next().await {
                let (object, gone) = match change {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(_) => return,
                };
                let Ok(object) = serde_json::to_value(object) else {
                    return;
                };
                let at = Instant::now();
                if sender.send(Happening { object, gone, at }).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, resource: &str, name: &str, patch: &Value) -> Result<()> {
        let api = self.api(resource).await?;
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Changes an object's status by a merge patch, as the clients that promote and abort do.
    pub async fn patch_status(&self, resource: &str, name: &str, patch: &Value) -> Result<()> {
        let api = self.api(resource).await?;
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Deletes an object; does not wait until it is gone.
    pub async fn delete(&self, resource: &str, name: &str) -> Result<()> {
        self.api(resource)
            .await?
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until an object is as it should be, and returns it.
    ///
    /// # Errors
    /// When it is not so within `limit`: says what the object's status is.
    pub async fn wait(
        &self,
        resource: &str,
        name: &str,
        what: &str,
        limit: Duration,
        so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let api = self.api(resource).await?;
        let what = format!("{resource} {name}: {what}");
        eventually(&what, limit, async || {
            let object = api.get_opt(name).await?.context("there is no such object")?;
            let object = serde_json::to_value(object)?;
            ensure!(
                so(&object),
                "the status is {}",
                object.get("status").unwrap_or(&Value::Null)
            );
            Ok(Some(object))
        })
        .await
    }

    /// Waits until all replicas of a Deployment are available and of its newest template.
    pub async fn wait_for_deployment(&self, name: &str, limit: Duration) -> Result<()> {
        self.wait(
            "deployments.apps",
            name,
            "all replicas are available",
            limit,
            |deployment| {
                let number = |path| deployment.pointer(path).and_then(Value::as_i64).unwrap_or(0);
                let wanted = number("/spec/replicas");
                number("/status/observedGeneration") >= number("/metadata/generation")
                    && [
                        "/status/replicas",
                        "/status/updatedReplicas",
                        "/status/availableReplicas",
                    ]
                    .iter()
                    .all(|path| number(path) == wanted)
            },
        )
        .await?;
        Ok(())
    }

    /// Changes how the demo app behaves, in each of its pods with these labels: `error_rate=0.5&latency_ms=100&ready=false`.
    pub async fn behave(&self, labels: &str, change: &str) -> Result<()> {
        let pods = self.list("pods", labels).await?;
        ensure!(!pods.is_empty(), "there is no pod with {labels}");
        for pod in pods {
            let name = pod
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let target = format!("{}/pods/{name}:8080", self.name);
            self.cluster.through(&target, &format!("/admin?{change}")).await?;
        }
        Ok(())
    }

    /// Load on a host of the data plane: `rate` requests a second, from a pod in this namespace.
    pub async fn load(&self, host: &str, rate: u32) -> Result<LoadGenerator> {
        let url = format!("{}/", self.cluster.data_plane().await?);
        self.load_with(&LoadSpec {
            name: "load",
            url: &url,
            host,
            rate,
            headers: &[],
        })
        .await
    }

    /// Load on any address.
    pub async fn load_with(&self, spec: &LoadSpec<'_>) -> Result<LoadGenerator> {
        LoadGenerator::start(self.clone(), spec).await
    }

    #[allow(clippy::print_stderr, reason = "for whoever runs the tests")]
    pub(crate) async fn print_what_happened(&self) {
        for pod in self.list("pods", "").await.unwrap_or_default() {
            let name = pod.pointer("/metadata/name").unwrap_or(&Value::Null);
            let labels = pod.pointer("/metadata/labels").unwrap_or(&Value::Null);
            let status = |field: &str| {
                pod.pointer(&format!("/status/{field}"))
                    .unwrap_or(&Value::Null)
                    .clone()
            };
            eprintln!(
                "{} pod {name} {labels}: {} {}",
                self.name,
                status("phase"),
                status("containerStatuses")
            );
        }
        let mut events = self.list("events", "").await.unwrap_or_default();
        events.sort_by_key(|event| event.pointer("/metadata/creationTimestamp").map(Value::to_string));
        for event in events {
            let part = |field: &str| {
                event
                    .pointer(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let about = format!(
                "{} {}",
                part("/involvedObject/kind"),
                part("/involvedObject/name")
            );
            let time = part("/metadata/creationTimestamp");
            eprintln!(
                "{} {time} {about}: {} {}",
                self.name,
                part("/reason"),
                part("/message")
            );
        }
    }
}

/// A pod's manifest is JSON: no quoting to get wrong.
pub(crate) fn pod(name: &str, arguments: &[String]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "main",
                "image": "tidegate/demo-app:dev",
                "args": arguments,
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
            }],
        },
    })
}
