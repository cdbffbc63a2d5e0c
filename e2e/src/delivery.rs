//! A Delivery in a namespace of a test, fed from a repository of the test's Gitea.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Gitea, Namespace, Repository, condition_of, eventually, template, text};

const DELIVERIES: &str = "deliveries.tidegate.io";
const NAME: &str = "shop";

/// The Delivery `shop`, which applies the folder `prod` as the service account `deployer`.
pub struct TestDelivery<'n> {
    namespace: &'n Namespace,
    /// Its repository.
    pub repository: Repository,
}

impl<'n> TestDelivery<'n> {
    /// Makes a repository, credentials, the service account and the Delivery; `spec` is laid over the usual one.
    pub async fn create(namespace: &'n Namespace, gitea: &Gitea, spec: &Value) -> Result<Self> {
        let repository = gitea.create_repository(namespace.name()).await?;
        Self::of(namespace, gitea, repository, spec).await
    }

    /// The same for a repository that is there.
    pub async fn of(
        namespace: &'n Namespace,
        gitea: &Gitea,
        repository: Repository,
        spec: &Value,
    ) -> Result<Self> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "deploy" },
            "stringData": { "username": gitea.robot(), "password": gitea.token() },
        });
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "deployer" } });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "deployer" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "deployer", "namespace": namespace.name() }],
        });
        for object in [secret, account, binding] {
            namespace.apply(&object.to_string()).await?;
        }
        let made = Self {
            namespace,
            repository,
        };
        made.apply_again(spec).await?;
        Ok(made)
    }

    /// Applies the Delivery, once more if it is there or was deleted.
    pub async fn apply_again(&self, spec: &Value) -> Result<()> {
        let mut delivery = json!({
            "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery", "metadata": { "name": NAME },
            "spec": {
                "source": { "git": { "url": self.repository.url(), "path": "prod", "secretRef": { "name": "deploy" } } },
                "interval": "5s",
                "serviceAccountName": "deployer",
                "feedback": { "forge": { "type": "Gitea" } },
            },
        });
        if let (Some(into), Some(spec)) = (
            delivery.get_mut("spec").and_then(Value::as_object_mut),
            spec.as_object(),
        ) {
            into.extend(spec.clone());
        }
        self.namespace.apply(&delivery.to_string()).await
    }

    /// The Delivery as it is.
    pub async fn get(&self) -> Result<Value> {
        self.namespace
            .get(DELIVERIES, NAME)
            .await?
            .context("the Delivery is gone")
    }

    /// Waits until a condition of it has this status, for the newest commit.
    pub async fn wait_condition(&self, kind: &str, status: &str, limit: Duration) -> Result<Value> {
        let what = format!("{kind} is {status}");
        self.wait(&what, limit, |delivery| condition(delivery, kind) == status)
            .await
    }

    /// Waits until what became of a commit is this.
    pub async fn wait_state(&self, commit: &str, state: &str, limit: Duration) -> Result<Value> {
        let what = format!("{} is {state}", commit.get(..8).unwrap_or(commit));
        self.wait(&what, limit, |delivery| {
            text(&entry(delivery, commit), "/state") == state
        })
        .await
    }

    /// Waits until it is as it should be.
    pub async fn wait(&self, what: &str, limit: Duration, so: impl Fn(&Value) -> bool) -> Result<Value> {
        self.namespace.wait(DELIVERIES, NAME, what, limit, so).await
    }

    /// Annotates it.
    pub async fn annotate(&self, key: &str, value: &str) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.namespace.patch(DELIVERIES, NAME, &patch).await
    }

    /// Changes its spec.
    pub async fn change(&self, spec: &Value) -> Result<()> {
        self.namespace
            .patch(DELIVERIES, NAME, &json!({ "spec": spec }))
            .await
    }

    /// Waits until the forge shows this status of it on a commit.
    pub async fn wait_status(&self, commit: &str, state: &str, limit: Duration) -> Result<()> {
        let context = format!("tidegate/{}/{NAME}", self.namespace.name());
        eventually(&format!("the status of {commit} is {state}"), limit, async || {
            let mut statuses = self.repository.statuses(commit).await?;
            statuses.retain(|status| status.context == context);
            // the newest comes last
            let newest = statuses.last().map(|status| status.state.clone());
            ensure!(newest.as_deref() == Some(state), "it is {newest:?}");
            Ok(Some(()))
        })
        .await
    }
}

/// The status of a condition; empty if it is not there.
pub fn condition(object: &Value, kind: &str) -> String {
    text(condition_of(object, kind), "/status").to_owned()
}

/// What a Delivery remembers of a commit; `Null` if nothing.
pub fn entry(delivery: &Value, commit: &str) -> Value {
    let ledger = delivery.pointer("/status/ledger").and_then(Value::as_array);
    let is = |entry: &&Value| {
        let commits = entry.get("commits").and_then(Value::as_array);
        commits.into_iter().flatten().any(|known| known == commit)
    };
    ledger.into_iter().flatten().find(is).cloned().unwrap_or_default()
}

/// Manifests of the demo app: Services, an Ingress, a ConfigMap with the version, and the Rollout `web`.
pub fn manifests(
    namespace: &Namespace,
    version: &str,
    env: &[(&str, &str)],
    strategy: &Value,
) -> Vec<(&'static str, String)> {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        })
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "web" },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": format!("{}.test", namespace.name()), "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "stable", "port": { "number": 80 } } },
        }] } }] },
    });
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "web" },
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 3, "selector": { "matchLabels": { "app": "web" } },
            "strategy": strategy, "template": template(version, env),
        },
    });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" }, "data": { "version": version },
    });
    let services = format!("{}\n---\n{}\n", service("stable"), service("canary"));
    vec![
        ("prod/services.yaml", services),
        ("prod/ingress.yaml", ingress.to_string()),
        ("prod/config.yaml", config.to_string()),
        ("prod/rollout.yaml", rollout.to_string()),
    ]
}
