//! A cluster in the middle of an update, as upstream's controller left it (contract 2.10).

#![allow(clippy::print_stdout, reason = "measurements")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{Cluster, HASH, Namespace, Tidegate, e2e, eventually, recording, restore, text};

const LIMIT: Duration = Duration::from_mins(2);
const ROLLOUTS: &str = "rollouts.argoproj.io";

/// A namespace with the dump of a recording in it, all its pods ready, and the uids of these.
async fn left_behind(cluster: &Cluster, name: &str) -> Result<(Namespace, Vec<String>)> {
    let namespace = cluster.namespace("takeover").await?;
    let lines = recording(name)?;
    let dump = lines
        .iter()
        .find(|line| line.get("dump").is_some())
        .context("a dump")?;
    restore(&namespace, dump).await?;
    eventually("the ReplicaSets have their pods", LIMIT, async || {
        let sets = namespace.list("replicasets.apps", "").await?;
        let whole = sets.iter().all(|set| {
            let number = |path| set.pointer(path).and_then(Value::as_i64).unwrap_or(0);
            number("/spec/replicas") == number("/status/readyReplicas")
        });
        Ok(whole.then_some(()))
    })
    .await?;
    let pods = pods(&namespace).await?;
    assert!(!pods.is_empty());
    Ok((namespace, pods))
}

async fn pods(namespace: &Namespace) -> Result<Vec<String>> {
    let pods = namespace.list("pods", "").await?;
    let mut uids: Vec<_> = pods
        .iter()
        .map(|pod| text(pod, "/metadata/uid").to_owned())
        .collect();
    uids.sort();
    Ok(uids)
}

/// What must be as it was: where the update stands, who gets the traffic, and which pods run.
async fn picture(namespace: &Namespace) -> Result<Value> {
    let rollout = namespace.get(ROLLOUTS, "web").await?.context("the Rollout")?;
    let status = |field: &str| rollout.pointer(&format!("/status/{field}")).cloned();
    let fields = [
        "phase",
        "message",
        "currentStepIndex",
        "currentPodHash",
        "stableRS",
        "pauseConditions",
        "canary",
        "blueGreen",
        "currentStepHash",
    ];
    let mut picture = json!({ "status": fields.map(status), "pods": pods(namespace).await? });
    for set in namespace.list("replicasets.apps", "").await? {
        picture["sets"][text(&set, "/metadata/name")] =
            set.pointer("/spec/replicas").cloned().unwrap_or_default();
    }
    for service in namespace.list("services", "").await? {
        picture["services"][text(&service, "/metadata/name")] =
            service.pointer("/spec/selector").cloned().unwrap_or_default();
    }
    for ingress in namespace.list("ingresses.networking.k8s.io", "").await? {
        picture["ingresses"][text(&ingress, "/metadata/name")] = ingress
            .pointer("/metadata/annotations")
            .cloned()
            .unwrap_or_default();
    }
    Ok(picture)
}

#[test]
fn a_canary_and_a_blue_green_go_on_where_they_were() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let tidegate = Tidegate::of(&cluster);
        tidegate.scale(0).await?;
        let taken = take_over(&cluster, &tidegate).await;
        tidegate.scale(1).await?;
        taken
    })
}

async fn take_over(cluster: &Cluster, tidegate: &Tidegate) -> Result<()> {
    let mut all = Vec::new();
    for name in ["canary-nginx", "bluegreen-manual"] {
        let (namespace, pods) = left_behind(cluster, name).await?;
        let before = picture(&namespace).await?;
        all.push((name, namespace, pods, before));
    }
    tidegate.scale(1).await?;
    eventually("it leads", LIMIT, async || {
        let leader = tidegate.leader().await?;
        Ok((!leader.is_empty()).then_some(()))
    })
    .await?;
    // more than a pass needs, and more than counters wait
    tokio::time::sleep(Duration::from_secs(12)).await;
    for (name, namespace, _, before) in &all {
        assert_eq!(picture(namespace).await?, *before, "{name}");
    }

    for (name, namespace, pods, before) in &all {
        let promote = json!({ "status": { "pauseConditions": null } });
        namespace.patch_status(ROLLOUTS, "web", &promote).await?;
        let healthy = |rollout: &Value| text(rollout, "/status/phase") == "Healthy";
        let rollout = namespace.wait(ROLLOUTS, "web", "Healthy", LIMIT, healthy).await?;
        let hash = before
            .pointer("/status/3")
            .and_then(Value::as_str)
            .unwrap_or_default();
        assert_eq!(text(&rollout, "/status/stableRS"), hash, "{name}");
        let events = namespace.list("events", "").await?;
        let steps: Vec<_> = events
            .iter()
            .filter(|event| text(event, "/reason") == "RolloutStepCompleted")
            .collect();
        let first = steps
            .iter()
            .any(|event| text(event, "/message").contains("step 1/"));
        assert!(!first, "{name}: the first step was repeated: {steps:?}");
        let revisions = namespace.list("replicasets.apps", "").await?.len();
        assert_eq!(revisions, 2, "{name}: adopted, not made anew");
        // those of the new version that were there before
        let new = namespace.list("pods", &format!("{HASH}={hash}")).await?;
        let kept = new
            .iter()
            .filter(|pod| pods.contains(&text(pod, "/metadata/uid").to_owned()))
            .count();
        assert!(kept > 0, "{name}: its pods were replaced");
        println!(
            "{name}: taken over, {kept} of its {} new pods from before",
            new.len()
        );
    }
    Ok(())
}
