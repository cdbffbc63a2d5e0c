//! A metrics source whose answers the test chooses.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Namespace, namespace::pod, text};

const NAME: &str = "source";

/// A pod that answers as Prometheus does, with what the test says.
pub struct Source {
    namespace: Namespace,
    address: String,
}

/// One answer of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAnswer {
    /// What it was told to answer.
    pub value: String,
    /// When it answered, in microseconds since 1970.
    pub micros: i64,
}

impl Source {
    /// Starts one; it answers 1.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        namespace
            .apply(&pod(NAME, &["source".to_owned()]).to_string())
            .await?;
        let ready = |pod: &serde_json::Value| {
            pod.pointer("/status/containerStatuses/0/ready")
                .is_some_and(|ready| ready == true)
        };
        let limit = Duration::from_mins(1);
        let pod = namespace
            .wait("pods", NAME, "the source is ready", limit, ready)
            .await?;
        Ok(Self {
            namespace: namespace.clone(),
            address: format!("http://{}:8080", text(&pod, "/status/podIP")),
        })
    }

    /// Where it is, for pods.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes its answers: `value=0.5`, `body=TEXT` or `bytes=N`. The answers so far are forgotten.
    pub async fn set(&self, change: &str) -> Result<()> {
        self.ask(&format!("/admin?{change}")).await?;
        Ok(())
    }

    /// Its answers since the last change.
    pub async fn answers(&self) -> Result<Vec<SourceAnswer>> {
        serde_json::from_str(&self.ask("/answers").await?).context("the source's answers")
    }

    async fn ask(&self, path: &str) -> Result<String> {
        let target = format!("{}/pods/{NAME}:8080", self.namespace.name());
        self.namespace.cluster().through(&target, path).await
    }
}
