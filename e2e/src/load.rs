//! Load from a pod in the cluster, and what it measures.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::sleep;

use crate::{Namespace, Report, namespace::pod};

/// Where load goes, and how much.
#[derive(Debug, Clone, Copy)]
pub struct LoadSpec<'a> {
    /// Of the pod that it comes from.
    pub name: &'a str,
    /// Where to: `http://ADDRESS:PORT/PATH`.
    pub url: &'a str,
    /// The Host header.
    pub host: &'a str,
    /// Requests a second, at most 5000.
    pub rate: u32,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A running load generator. It runs until its namespace is removed, or until [`LoadGenerator::stop`].
pub struct LoadGenerator {
    namespace: Namespace,
    name: String,
}

impl LoadGenerator {
    pub(crate) async fn start(namespace: Namespace, spec: &LoadSpec<'_>) -> Result<Self> {
        let mut arguments = vec!["load".to_owned()];
        arguments.push(format!("--url={}", spec.url));
        arguments.push(format!("--host={}", spec.host));
        arguments.push(format!("--rate={}", spec.rate));
        arguments.extend(
            spec.headers
                .iter()
                .map(|(name, value)| format!("--header={name}={value}")),
        );
        namespace.apply(&pod(spec.name, &arguments).to_string()).await?;
        let ready = |pod: &Value| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
            conditions.into_iter().flatten().any(|condition| {
                condition.get("type").is_some_and(|kind| kind == "Ready")
                    && condition.get("status").is_some_and(|status| status == "True")
            })
        };
        namespace
            .wait(
                "pods",
                spec.name,
                "the load generator is ready",
                Duration::from_mins(1),
                ready,
            )
            .await?;
        Ok(Self {
            namespace,
            name: spec.name.to_owned(),
        })
    }

    /// The requests since the last reset, without those that are in flight.
    pub async fn so_far(&self) -> Result<Report> {
        self.ask("/report").await
    }

    /// The requests since the last reset, each of them ended; the next window begins.
    pub async fn reset(&self) -> Result<Report> {
        self.ask("/report?reset=1").await
    }

    /// Drops what was counted and counts for `time`.
    pub async fn window(&self, time: Duration) -> Result<Report> {
        self.reset().await?;
        sleep(time).await;
        self.reset().await
    }

    /// Ends the load, and returns what was counted since the last reset.
    pub async fn stop(self) -> Result<Report> {
        let report = self.reset().await?;
        self.namespace.delete("pods", &self.name).await?;
        Ok(report)
    }

    async fn ask(&self, path: &str) -> Result<Report> {
        let target = format!("{}/pods/{}:8080", self.namespace.name(), self.name);
        let text = self.namespace.cluster().through(&target, path).await?;
        serde_json::from_str(&text).context("the load generator's report")
    }
}
