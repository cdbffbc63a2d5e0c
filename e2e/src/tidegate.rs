//! Tidegate itself, as `deploy/install.yaml` installs it.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{Cluster, Namespace, eventually, text};

const NAMESPACE: &str = "argo-rollouts";
const NAME: &str = "tidegate";
const LEASE: &str = "argo-rollouts-controller-lock";
const LIMIT: Duration = Duration::from_mins(1);

/// The user that its requests come from.
pub const TIDEGATE_USER: &str = "system:serviceaccount:argo-rollouts:tidegate";

/// An installed controller.
pub struct Tidegate {
    namespace: Namespace,
    /// Of its Deployment, its service account and the label of its pods.
    name: String,
    lease: String,
}

impl Tidegate {
    /// The one of this cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            namespace: Namespace::new(cluster.clone(), NAMESPACE.to_owned()),
            name: NAME.to_owned(),
            lease: LEASE.to_owned(),
        }
    }

    /// Installs a further one, from the same manifests, that acts on what has this instance id, in the whole cluster. It goes with
    /// the namespace that it is in.
    pub async fn install(namespace: &Namespace, instance: &str) -> Result<Self> {
        let name = format!("{NAME}-{instance}");
        for mut document in shipped()? {
            // what is called otherwise is not needed to run, or there already
            let of_one = match text(&document, "/kind") {
                "ServiceAccount" | "ClusterRoleBinding" | "Deployment" => NAME,
                "Role" | "RoleBinding" => "tidegate-leader",
                _ => continue,
            };
            if text(&document, "/metadata/name") != of_one {
                continue;
            }
            document["metadata"] = json!({ "name": name });
            if document.get("subjects").is_some() {
                document["subjects"] =
                    json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace.name() }]);
            }
            match text(&document, "/kind") {
                "ClusterRoleBinding" => {
                    document["metadata"]["name"] = json!(format!("{}-{instance}", namespace.name()));
                    namespace.apply_with_it(document).await?;
                    continue;
                }
                "RoleBinding" => document["roleRef"]["name"] = json!(name),
                "Deployment" => {
                    let labels = json!({ "app.kubernetes.io/name": name });
                    document["spec"]["selector"] = json!({ "matchLabels": labels });
                    let pod = &mut document["spec"]["template"];
                    pod["metadata"]["labels"] = labels;
                    pod["spec"]["serviceAccountName"] = json!(name);
                    pod["spec"]["containers"][0]["args"] = json!([format!("--instance-id={instance}")]);
                }
                _ => {}
            }
            namespace.apply(&document.to_string()).await?;
        }
        namespace.wait_for_deployment(&name, LIMIT).await?;
        Ok(Self {
            namespace: namespace.clone(),
            name,
            lease: format!("{LEASE}-{instance}"),
        })
    }

    /// The user that its requests come from.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace.name(), self.name)
    }

    /// The Lease that the one of its pods holds that leads.
    pub fn lease(&self) -> &str {
        &self.lease
    }

    fn labels(&self) -> String {
        format!("app.kubernetes.io/name={}", self.name)
    }

    /// Names of its pods that are not on their way out.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let pods = self.namespace.list("pods", &self.labels()).await?;
        let alive = pods
            .iter()
            .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        Ok(alive.map(|pod| text(pod, "/metadata/name").to_owned()).collect())
    }

    /// The pod that holds the lease; empty if none does.
    pub async fn leader(&self) -> Result<String> {
        let lease = self
            .namespace
            .get("leases.coordination.k8s.io", &self.lease)
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
                &self.name,
                &json!({ "spec": { "replicas": replicas } }),
            )
            .await?;
        self.namespace.wait_for_deployment(&self.name, LIMIT).await?;
        eventually("as many pods as wanted", LIMIT, async || {
            let pods = self.namespace.list("pods", &self.labels()).await?;
            Ok((pods.len() == replicas as usize).then_some(()))
        })
        .await
    }

    /// How often its containers were started again, in the pods that are there.
    pub async fn restarts(&self) -> Result<u64> {
        let pods = self.namespace.list("pods", &self.labels()).await?;
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
        let target = format!("{}/pods/{pod}:8090", self.namespace.name());
        self.namespace.cluster().through(&target, "/metrics").await
    }
}

/// The objects of `deploy/install.yaml`: what is shipped.
pub fn shipped() -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/install.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    serde_saphyr::from_multiple(&text).context("deploy/install.yaml")
}
