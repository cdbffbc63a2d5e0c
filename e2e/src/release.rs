//! A demo app released by a Rollout, and what a user does to it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{LoadGenerator, Namespace, eventually};

const ROLLOUTS: &str = "rollouts.argoproj.io";
/// Label that names a version.
pub const HASH: &str = "rollouts-pod-template-hash";

/// A Rollout named `web` with its Services and its Ingress.
pub struct Release<'n> {
    namespace: &'n Namespace,
}

impl<'n> Release<'n> {
    /// Creates the Services `stable`, `canary`, `active` and `preview`, an Ingress of a host of its own to the Service `entry`, and
    /// the Rollout of version `v1` with this `spec.strategy`. It is Healthy when this returns.
    pub async fn create(
        namespace: &'n Namespace,
        entry: &str,
        replicas: u32,
        strategy: &Value,
    ) -> Result<Self> {
        for service in ["stable", "canary", "active", "preview"] {
            namespace
                .apply(&format!(
                    "{{apiVersion: v1, kind: Service, metadata: {{name: {service}}}, \
                     spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}}}"
                ))
                .await?;
        }
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "web" },
            "spec": { "ingressClassName": "nginx", "rules": [{ "host": host(namespace), "http": { "paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": entry, "port": { "number": 80 } } },
            }] } }] },
        });
        namespace.apply(&ingress.to_string()).await?;
        let rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 3,
                "selector": { "matchLabels": { "app": "web" } },
                "strategy": strategy,
                "template": template("v1", &[]),
            },
        });
        namespace.apply(&rollout.to_string()).await?;
        let release = Self { namespace };
        release.wait_phase("Healthy", Duration::from_secs(90)).await?;
        Ok(release)
    }

    /// The Rollout `web` of a namespace, which somebody else made.
    pub fn of(namespace: &'n Namespace) -> Self {
        Self { namespace }
    }

    /// Load on the app, from a pod in its namespace.
    pub async fn load(&self, rate: u32) -> Result<LoadGenerator> {
        self.namespace.load(&host(self.namespace), rate).await
    }

    /// The Rollout as it is.
    pub async fn rollout(&self) -> Result<Value> {
        self.namespace
            .get(ROLLOUTS, "web")
            .await?
            .context("the Rollout is gone")
    }

    /// Releases a version; `env` are more variables of the app (`ERROR_RATE`, …).
    pub async fn version(&self, version: &str, env: &[(&str, &str)]) -> Result<()> {
        self.namespace
            .patch(
                ROLLOUTS,
                "web",
                &json!({ "spec": { "template": template(version, env) } }),
            )
            .await
    }

    /// `kubectl argo rollouts promote`: takes the pause away.
    pub async fn promote(&self) -> Result<()> {
        self.status(&json!({ "pauseConditions": null })).await
    }

    /// `kubectl argo rollouts abort`.
    pub async fn abort(&self) -> Result<()> {
        self.status(&json!({ "abort": true })).await
    }

    /// Patches the status as clients do.
    pub async fn status(&self, status: &Value) -> Result<()> {
        self.namespace
            .patch_status(ROLLOUTS, "web", &json!({ "status": status }))
            .await
    }

    /// Waits until the Rollout is in this phase, with its newest spec observed.
    pub async fn wait_phase(&self, phase: &str, limit: Duration) -> Result<Value> {
        self.wait(phase, limit, |rollout| {
            text(rollout, "/status/phase") == phase && observed(rollout)
        })
        .await
    }

    /// Waits until the Rollout is paused at this step.
    pub async fn wait_step(&self, step: i64, limit: Duration) -> Result<Value> {
        self.wait(&format!("paused at step {step}"), limit, |rollout| {
            text(rollout, "/status/phase") == "Paused"
                && rollout
                    .pointer("/status/currentStepIndex")
                    .and_then(Value::as_i64)
                    == Some(step)
                && observed(rollout)
        })
        .await
    }

    /// Waits until the Rollout is as it should be.
    pub async fn wait(&self, what: &str, limit: Duration, so: impl Fn(&Value) -> bool) -> Result<Value> {
        self.namespace.wait(ROLLOUTS, "web", what, limit, so).await
    }

    /// The canary's weight in the live Ingress.
    pub async fn weight(&self) -> Result<String> {
        let ingress = self
            .namespace
            .get("ingresses.networking.k8s.io", "web-web-canary")
            .await?;
        let ingress = ingress.context("there is no canary Ingress")?;
        let annotation = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";
        Ok(text(&ingress, annotation).to_owned())
    }

    /// The version that a Service selects, by hash.
    pub async fn selected(&self, service: &str) -> Result<String> {
        let service = self
            .namespace
            .get("services", service)
            .await?
            .context("the Service is gone")?;
        Ok(text(&service, &format!("/spec/selector/{HASH}")).to_owned())
    }

    /// Pods wanted of the version with this hash.
    pub async fn size(&self, hash: &str) -> Result<i64> {
        let sets = self
            .namespace
            .list("replicasets.apps", &format!("{HASH}={hash}"))
            .await?;
        Ok(sets
            .iter()
            .filter_map(|rs| rs.pointer("/spec/replicas").and_then(Value::as_i64))
            .sum())
    }

    /// Waits until the version with this hash has this many pods wanted.
    pub async fn wait_size(&self, hash: &str, size: i64, limit: Duration) -> Result<()> {
        eventually(&format!("{hash} has {size} pods"), limit, async || {
            Ok((self.size(hash).await? == size).then_some(()))
        })
        .await
    }

    /// uids of all pods of the app.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let pods = self.namespace.list("pods", "app=web").await?;
        let mut uids: Vec<String> = pods
            .iter()
            .map(|pod| text(pod, "/metadata/uid").to_owned())
            .collect();
        uids.sort();
        Ok(uids)
    }

    /// Reasons of the Rollout's events, oldest first.
    pub async fn events(&self) -> Result<Vec<String>> {
        let mut events = self.namespace.list("events", "").await?;
        events.retain(|e| text(e, "/involvedObject/kind") == "Rollout");
        events.sort_by_key(|e| text(e, "/metadata/resourceVersion").parse::<u64>().unwrap_or(0));
        Ok(events.iter().map(|e| text(e, "/reason").to_owned()).collect())
    }
}

/// Text in an object, empty where there is none.
pub fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A condition of an object; `Null` if it is not there.
pub fn condition_of<'v>(object: &'v Value, kind: &str) -> &'v Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|condition| text(condition, "/type") == kind)
        .unwrap_or(&Value::Null)
}

/// Two tests on one host would share its traffic.
fn host(namespace: &Namespace) -> String {
    format!("{}.test", namespace.name())
}

fn observed(rollout: &Value) -> bool {
    let generation = rollout
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    text(rollout, "/status/observedGeneration")
        .parse::<i64>()
        .is_ok_and(|seen| seen >= generation)
}

/// Pod template of the demo app.
pub fn template(version: &str, env: &[(&str, &str)]) -> Value {
    let mut variables = vec![json!({ "name": "VERSION", "value": version })];
    variables.extend(
        env.iter()
            .map(|(name, value)| json!({ "name": name, "value": value })),
    );
    json!({
        "metadata": {
            "labels": { "app": "web" },
            "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": "8080" },
        },
        "spec": {
            "terminationGracePeriodSeconds": 15,
            "containers": [{
                "name": "web",
                "image": "tidegate/demo-app:dev",
                "args": ["app"],
                "env": variables,
                "ports": [{ "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 1 },
            }],
        },
    })
}
