//! The cluster under test, as its administrator sees it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use http::Request;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    config::KubeConfigOptions,
    core::discovery::Scope,
    discovery::Discovery,
};
use serde_json::{Value, json};

use crate::{AuditLog, Namespace, eventually, prometheus};

/// Where `cargo xtask` installs the data plane and Prometheus.
pub(crate) const SYSTEM: &str = "tidegate-e2e";

/// A connection to the cluster, and what one test made in it. Clones share both.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    config: Config,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    discovery: tokio::sync::Mutex<Option<Discovery>>,
    namespaces: Mutex<Vec<Namespace>>,
}

impl Cluster {
    /// Connects to the cluster that `KUBECONFIG` names.
    pub(crate) async fn connect() -> Result<Self> {
        let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config.clone())?,
            config,
            shared: Arc::default(),
        })
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A new namespace, removed when the test is over. Its name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let name = format!("{prefix}-{:08x}", now.as_micros() & 0xffff_ffff);
        let namespace = Namespace::new(self.clone(), name.clone());
        let object: DynamicObject = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let namespaces = self.api("namespaces", None).await?;
        namespaces
            .create(&kube::api::PostParams::default(), &object)
            .await?;
        self.shared
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(namespace.clone());
        // pods are refused until it is there
        let accounts = self.api("serviceaccounts", Some(&name)).await?;
        eventually(
            "the namespace's service account",
            Duration::from_secs(20),
            async || Ok(accounts.get_opt("default").await?),
        )
        .await?;
        Ok(namespace)
    }

    /// Objects of a resource as kubectl names it: `pods`, `rollouts.argoproj.io`.
    pub async fn api(&self, resource: &str, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let found = self.discover(|discovery| {
            let all = discovery.get(group)?.recommended_resources();
            all.into_iter()
                .find(|(known, _)| known.plural == plural)
                .map(|(known, _)| known)
        });
        let known = found
            .await?
            .with_context(|| format!("the cluster has no resource {resource}"))?;
        Ok(match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &known),
            None => Api::all_with(self.client(), &known),
        })
    }

    /// What the cluster calls a kind, and whether its objects are in namespaces.
    pub(crate) async fn resource_of(&self, kind: &GroupVersionKind) -> Result<(ApiResource, Scope)> {
        let found = self.discover(|discovery| {
            discovery
                .resolve_gvk(kind)
                .map(|(known, capabilities)| (known, capabilities.scope))
        });
        found
            .await?
            .with_context(|| format!("the cluster has no kind {} in {}", kind.kind, kind.api_version()))
    }

    /// Looks something up in what the cluster serves; asks the cluster again if it is not there.
    async fn discover<T>(&self, look: impl Fn(&Discovery) -> Option<T>) -> Result<Option<T>> {
        let mut known = self.shared.discovery.lock().await;
        if let Some(found) = known.as_ref().and_then(&look) {
            return Ok(Some(found));
        }
        let fresh = Discovery::new(self.client()).run_aggregated().await?;
        let found = look(&fresh);
        *known = Some(fresh);
        Ok(found)
    }

    /// The address of the data plane, as pods reach it: `http://ADDRESS`.
    pub async fn data_plane(&self) -> Result<String> {
        Ok(format!("http://{}", self.service_address("traefik").await?))
    }

    /// The address of Prometheus, as pods reach it: `http://ADDRESS:9090`.
    pub async fn prometheus(&self) -> Result<String> {
        Ok(format!(
            "http://{}:9090",
            self.service_address("prometheus").await?
        ))
    }

    async fn service_address(&self, name: &str) -> Result<String> {
        let service = self.api("services", Some(SYSTEM)).await?.get(name).await?;
        let address = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
        Ok(address
            .with_context(|| format!("the Service {name} has no address"))?
            .to_owned())
    }

    /// The result of a PromQL expression, now.
    pub async fn query(&self, expression: &str) -> Result<Vec<prometheus::Sample>> {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let path = format!("/api/v1/query?query={query}");
        let answer = self
            .through(&format!("{SYSTEM}/services/prometheus:9090"), &path)
            .await?;
        prometheus::samples(&answer).with_context(|| format!("the answer to {expression}"))
    }

    /// The text at a path of a pod or Service: the API server asks for us, so that a test needs only a kubeconfig.
    ///
    /// `target` is NAMESPACE/pods/NAME:PORT or NAMESPACE/services/NAME:PORT.
    pub async fn through(&self, target: &str, path: &str) -> Result<String> {
        let uri = format!("/api/v1/namespaces/{target}/proxy{path}");
        let text = self
            .client
            .request_text(Request::get(uri).body(Vec::new())?)
            .await;
        text.with_context(|| format!("{path} of {target}"))
    }

    /// The requests of the counted users from now on; `None` on a cluster that is not ours, which has no such log.
    pub fn audit_log(&self) -> Result<Option<AuditLog>> {
        std::env::var_os("TIDEGATE_E2E_AUDIT_LOG")
            .map(|file| AuditLog::from_now(file.into()))
            .transpose()
    }

    /// The same, from the cluster's first moment on.
    pub fn whole_audit_log(&self) -> Option<AuditLog> {
        std::env::var_os("TIDEGATE_E2E_AUDIT_LOG").map(|file| AuditLog::from_start(file.into()))
    }

    /// The same cluster, seen by somebody else: the administrator may act for anyone.
    pub fn impersonate(&self, user: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(Client::try_from(config)?)
    }

    /// What the tests made, for whoever has to find out why one failed.
    pub(crate) async fn print_what_happened(&self) {
        for namespace in self.namespaces() {
            namespace.print_what_happened().await;
        }
    }

    pub(crate) async fn remove_namespaces(&self) -> Result<()> {
        for namespace in self.namespaces() {
            self.api("namespaces", None)
                .await?
                .delete(namespace.name(), &kube::api::DeleteParams::default())
                .await?;
        }
        Ok(())
    }

    fn namespaces(&self) -> Vec<Namespace> {
        self.shared
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
