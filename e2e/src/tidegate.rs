//! Tidegate itself, as `deploy/install.yaml` installs it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{Cluster, Namespace, eventually, text};

const NAMESPACE: &str = "argo-rollouts";
const DEPLOYMENT: &str = "tidegate";
const PODS: &str = "app.kubernetes.io/name=tidegate";
const LIMIT: Duration = Duration::from_mins(1);

/// The user that its requests come from.
pub const TIDEGATE_USER: &str = "system:serviceaccount:argo-rollouts:tidegate";

/// The installed controller.
pub struct Tidegate {
    namespace: Namespace,
}

impl Tidegate {
    /// The one of this cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            namespace: Namespace::new(cluster.clone(), NAMESPACE.to_owned()),
        }
    }

    /// Names of its pods that are not on their way out.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let pods = self.namespace.list("pods", PODS).await?;
        let alive = pods
            .iter()
            .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        Ok(alive.map(|pod| text(pod, "/metadata/name").to_owned()).collect())
    }

    /// The pod that holds the lease; empty if none does.
    pub async fn leader(&self) -> Result<String> {
        let lease = self
            .namespace
            .get("leases.coordination.k8s.io", "argo-rollouts-controller-lock")
            .await?;
        let holder = lease
            .as_ref()
            .map(|lease| text(lease, "/spec/holderIdentity"))
            .unwrap_or_default();
        let pods = self.pods().await?;
        Ok(pods
            .into_iter()
            .find(|pod| holder.starts_with(pod.as_str()))
            .unwrap_or_default())
    }

    /// Deletes all its pods without grace: nothing is ended in order, and no back-off hides it. Returns at once.
    pub async fn kill(&self) -> Result<()> {
        for pod in self.pods().await? {
            self.kill_pod(&pod).await?;
        }
        Ok(())
    }

    /// Deletes one of its pods without grace.
    pub async fn kill_pod(&self, name: &str) -> Result<()> {
        let pods = self.namespace.api("pods").await?;
        pods.delete(name, &DeleteParams::default().grace_period(0))
            .await?;
        Ok(())
    }

    /// Runs so many replicas of it, and waits until they are available.
    pub async fn scale(&self, replicas: u32) -> Result<()> {
        self.namespace
            .patch(
                "deployments.apps",
                DEPLOYMENT,
                &json!({ "spec": { "replicas": replicas } }),
            )
            .await?;
        self.namespace.wait_for_deployment(DEPLOYMENT, LIMIT).await?;
        eventually("as many pods as wanted", LIMIT, async || {
            Ok((self.namespace.list("pods", PODS).await?.len() == replicas as usize).then_some(()))
        })
        .await
    }

    /// How often its containers were started again, in the pods that are there.
    pub async fn restarts(&self) -> Result<u64> {
        let pods = self.namespace.list("pods", PODS).await?;
        Ok(pods
            .iter()
            .filter_map(|pod| {
                pod.pointer("/status/containerStatuses/0/restartCount")
                    .and_then(Value::as_u64)
            })
            .sum())
    }

    /// Its metrics, in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        let pod = self.pods().await?.pop().context("Tidegate has no pod")?;
        let target = format!("{NAMESPACE}/pods/{pod}:8090");
        self.namespace.cluster().through(&target, "/metrics").await
    }
}
