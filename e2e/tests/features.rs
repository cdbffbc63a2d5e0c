//! What the other releases do not need: each feature that has a right of its own, on real pods.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::{HASH, Namespace, Release, Source, condition_of, e2e, eventually, template, text};

const LIMIT: Duration = Duration::from_secs(90);
const ROLLOUTS: &str = "rollouts.argoproj.io";

fn phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |rollout| text(rollout, "/status/phase") == phase
}

async fn rollout(namespace: &Namespace, name: &str, spec: Value) -> Result<()> {
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": name }, "spec": spec,
    });
    rollout["spec"]["selector"] = json!({ "matchLabels": { "app": "web" } });
    namespace.apply(&rollout.to_string()).await
}

fn older_template() -> Value {
    let mut template = template("v0", &[]);
    template["metadata"]["labels"]["set"] = json!("older");
    template
}

/// The spec of a Rollout over another object.
fn over(kind: &str, api: &str, name: &str) -> Value {
    json!({
        "replicas": 2, "strategy": { "canary": {} },
        "workloadRef": { "apiVersion": api, "kind": kind, "name": name, "scaleDown": "onsuccess" },
    })
}

fn named(version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": "web" }, "template": template(version, &[]),
    })
}

/// Templates that were there before anybody referred to them, but after others did; the name `taken` is a ReplicaSet's.
async fn templates_that_were_there(third: &Namespace, taken: &str) -> Result<()> {
    third.apply(&named("v1").to_string()).await?;
    for name in ["older", taken] {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": name },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "web", "set": "older" } },
                "template": older_template(),
            },
        });
        third.apply(&set.to_string()).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (name, kind, api, target) in [
        ("one", "Deployment", "apps/v1", "old"),
        ("two", "PodTemplate", "v1", "web"),
        ("three", "ReplicaSet", "apps/v1", "older"),
    ] {
        rollout(third, name, over(kind, api, target)).await?;
        let healthy = third
            .wait(ROLLOUTS, name, "Healthy", LIMIT, phase("Healthy"))
            .await?;
        let collisions = healthy.pointer("/status/collisionCount").and_then(Value::as_i64);
        assert_eq!(collisions.unwrap_or(0), i64::from(name == "one"), "{healthy}");
        third.delete(ROLLOUTS, name).await?;
    }
    Ok(())
}

/// A Rollout over a Deployment takes its place, and one over a PodTemplate follows it.
#[test]
fn templates_of_other_objects() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let namespace = cluster.namespace("refs").await?;
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "old" },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": template("v1", &[]) },
        });
        namespace.apply(&deployment.to_string()).await?;
        namespace.wait_for_deployment("old", LIMIT).await?;
        rollout(&namespace, "web", over("Deployment", "apps/v1", "old")).await?;
        namespace
            .wait(ROLLOUTS, "web", "Healthy", LIMIT, phase("Healthy"))
            .await?;
        let gone = |deployment: &Value| {
            deployment
                .pointer("/spec/replicas")
                .is_some_and(|replicas| replicas == 0)
        };
        namespace
            .wait("deployments.apps", "old", "scaled down", LIMIT, gone)
            .await?;

        let second = cluster.namespace("refs").await?;
        second.apply(&named("v1").to_string()).await?;
        rollout(&second, "web", over("PodTemplate", "v1", "web")).await?;
        let first = second
            .wait(ROLLOUTS, "web", "Healthy", LIMIT, phase("Healthy"))
            .await?;
        let third = cluster.namespace("refs").await?;
        third.apply(&deployment.to_string()).await?;
        // the name of the first ReplicaSet is taken by somebody else's
        templates_that_were_there(&third, &format!("one-{}", text(&first, "/status/stableRS"))).await?;

        second.apply(&named("v2").to_string()).await?;
        second
            .wait(
                ROLLOUTS,
                "web",
                "Healthy with the next template",
                LIMIT,
                |rollout| {
                    phase("Healthy")(rollout)
                        && text(rollout, "/status/stableRS") != text(&first, "/status/stableRS")
                },
            )
            .await?;
        Ok(())
    })
}

/// Pods are replaced on demand, get the metadata of their role, and what is not needed any more is removed.
#[test]
fn restart_metadata_and_history() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let namespace = cluster.namespace("pods").await?;
        let strategy = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary", "scaleDownDelaySeconds": 1,
            "canaryMetadata": { "labels": { "role": "canary" } }, "stableMetadata": { "labels": { "role": "stable" } },
            "trafficRouting": { "nginx": { "stableIngress": "web" } },
            "steps": [{ "setWeight": 50 }, { "pause": {} }],
        } });
        let release = Release::create(&namespace, "stable", 2, &strategy).await?;
        let roles = async |hash: &str| -> Result<Vec<String>> {
            let pods = namespace.list("pods", &format!("{HASH}={hash}")).await?;
            Ok(pods
                .iter()
                .map(|pod| text(pod, "/metadata/labels/role").to_owned())
                .collect())
        };
        for version in ["v2", "v3", "v4", "v5", "v6"] {
            release.version(version, &[]).await?;
            let rollout = release.wait_step(1, LIMIT).await?;
            let hash = text(&rollout, "/status/currentPodHash");
            assert_eq!(roles(hash).await?, ["canary"]);
            release.promote().await?;
            release.wait_phase("Healthy", LIMIT).await?;
            eventually("all pods are stable ones", LIMIT, async || {
                Ok((roles(hash).await? == ["stable"; 2]).then_some(()))
            })
            .await?;
        }
        eventually("old revisions are removed", LIMIT, async || {
            let sets = namespace.list("replicasets.apps", "").await?;
            Ok((sets.len() == 4).then_some(()))
        })
        .await?;

        let before = release.pods().await?;
        let now: jiff::Timestamp = std::time::SystemTime::now().try_into()?;
        let restart = json!({ "spec": { "restartAt": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() } });
        tokio::time::sleep(Duration::from_secs(1)).await;
        namespace.patch(ROLLOUTS, "web", &restart).await?;
        eventually("all pods are others", LIMIT, async || {
            let pods = release.pods().await?;
            Ok((pods.len() == 2 && pods.iter().all(|pod| !before.contains(pod))).then_some(()))
        })
        .await?;
        release.wait_phase("Healthy", LIMIT).await?;

        // without routing nobody needs the clone
        let plain = json!({ "spec": { "strategy": { "canary": {
            "trafficRouting": null, "steps": [{ "setWeight": 50 }], "scaleDownDelaySeconds": null,
        } } } });
        namespace.patch(ROLLOUTS, "web", &plain).await?;
        eventually("the canary Ingress is removed", LIMIT, async || {
            let clone = namespace
                .get("ingresses.networking.k8s.io", "web-web-canary")
                .await?;
            Ok(clone.is_none().then_some(()))
        })
        .await?;
        Ok(())
    })
}

/// A Secret, a template that measures by a Job, and one of the cluster that needs the Secret.
fn templates(source: &Source, shared: &str) -> [Value; 3] {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "access" }, "stringData": { "token": "s3cr3t" },
    });
    let job = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "job" },
        "spec": { "metrics": [{ "name": "job", "provider": { "job": { "spec": {
            "backoffLimit": 0,
            "template": { "spec": { "restartPolicy": "Never", "containers": [{
                "name": "check", "image": "tidegate/demo-app:dev",
                "args": ["load", "--rate=5", "--seconds=1", format!("--url={}/healthz", source.address())],
            }] } },
        } } } }] },
    });
    let web = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ClusterAnalysisTemplate", "metadata": { "name": shared },
        "spec": {
            "args": [{ "name": "token", "valueFrom": { "secretKeyRef": { "name": "access", "key": "token" } } }],
            "metrics": [{
                "name": "web", "successCondition": "result == \"success\"",
                "provider": { "web": {
                    "url": format!("{}/any", source.address()), "jsonPath": "{$.status}",
                    "headers": [{ "key": "Authorization", "value": "Bearer {{args.token}}" }],
                } },
            }],
        },
    });
    [secret, job, web]
}

/// A run that nobody's Rollout asked for.
fn somebodys_run(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": { "name": name },
        "spec": { "terminate": true, "metrics": [{ "name": "m", "provider": { "job": { "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "a", "image": "tidegate/demo-app:dev", "args": ["pause"] }],
        } } } } } }] },
    })
}

/// A run that is ended early: its Job is of no use any more.
async fn run_ends_early(namespace: &Namespace) -> Result<()> {
    let long = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": { "name": "long" },
        "spec": { "metrics": [{ "name": "long", "provider": { "job": { "spec": {
            "template": { "spec": { "restartPolicy": "Never", "containers": [{
                "name": "wait", "image": "tidegate/demo-app:dev", "args": ["pause"],
            }] } },
        } } } }] },
    });
    namespace.apply(&long.to_string()).await?;
    eventually("its Job is there", LIMIT, async || {
        let jobs = namespace.list("jobs.batch", "").await?;
        Ok(jobs
            .iter()
            .any(|job| text(job, "/metadata/ownerReferences/0/name") == "long")
            .then_some(()))
    })
    .await?;
    let end = json!({ "spec": { "terminate": true } });
    namespace.patch("analysisruns.argoproj.io", "long", &end).await?;
    namespace
        .wait("analysisruns.argoproj.io", "long", "ended", LIMIT, |run| {
            !["", "Pending", "Running"].contains(&text(run, "/status/phase"))
        })
        .await?;
    Ok(())
}

/// A Rollout that is measured by a Job and by a template of the cluster.
fn measured(version: &str, shared: &str) -> Value {
    json!({
        "replicas": 1, "template": template(version, &[]), "revisionHistoryLimit": 2,
        "analysis": { "successfulRunHistoryLimit": 0 },
        "strategy": { "canary": { "steps": [
            { "setWeight": 50 },
            { "analysis": { "templates": [
                { "templateName": "job" }, { "templateName": shared, "clusterScope": true },
            ] } },
        ] } },
    })
}

/// Whether the newest spec has been seen, and its version is promoted and healthy.
fn healthy(rollout: &Value) -> bool {
    let generation = rollout.pointer("/metadata/generation").map(Value::to_string);
    phase("Healthy")(rollout)
        && text(rollout, "/status/currentPodHash") == text(rollout, "/status/stableRS")
        && text(rollout, "/status/observedGeneration") == generation.unwrap_or_default()
}

/// A Job measures, a Secret holds what a question needs, and templates are the cluster's as well.
#[test]
fn jobs_secrets_and_cluster_templates() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let namespace = cluster.namespace("measure").await?;
        let source = Source::start(&namespace).await?;
        let shared = format!("e2e-{}", namespace.name());
        for object in templates(&source, &shared) {
            namespace.apply(&object.to_string()).await?;
        }
        let spec = |version: &str| measured(version, &shared);
        rollout(&namespace, "web", spec("v1")).await?;
        namespace.wait(ROLLOUTS, "web", "Healthy", LIMIT, healthy).await?;
        rollout(&namespace, "web", spec("v2")).await?;
        let runs = async || namespace.list("analysisruns.argoproj.io", "").await;
        let name = eventually("a run", LIMIT, async || {
            let run = runs().await?.pop();
            Ok(run.map(|run| text(&run, "/metadata/name").to_owned()))
        });
        let name = name.await?;
        let mut said = String::new();
        // a successful run is one too many
        eventually("the run is removed", LIMIT, async || {
            let run = namespace.get("analysisruns.argoproj.io", &name).await?;
            said = run.as_ref().map_or(said.clone(), Value::to_string);
            Ok(run.is_none().then_some(()))
        })
        .await?;
        assert!(
            said.contains("secretKeyRef") && !said.contains("s3cr3t"),
            "{said}"
        );
        let second = namespace.wait(ROLLOUTS, "web", "Healthy", LIMIT, healthy).await?;
        let hash = text(&second, "/status/stableRS");

        // the name of the next run is taken by somebody else's
        rollout(&namespace, "web", spec("v1")).await?;
        let third = namespace.wait(ROLLOUTS, "web", "Healthy", LIMIT, healthy).await?;
        assert_ne!(text(&third, "/status/stableRS"), hash);
        let taken = format!("web-{hash}-4-1");
        namespace.create(&somebodys_run(&taken)).await?;
        rollout(&namespace, "web", spec("v2")).await?;
        namespace
            .wait(ROLLOUTS, "web", "the name is taken", LIMIT, |rollout| {
                let refused = condition_of(rollout, "WriteRefused");
                text(refused, "/reason") == "AnalysisRunCreateError"
                    && text(refused, "/message").contains(&taken)
            })
            .await?;
        assert!(
            namespace.get("analysisruns.argoproj.io", &taken).await?.is_some(),
            "it is not ours to remove"
        );
        namespace.delete("analysisruns.argoproj.io", &taken).await?;
        namespace.wait(ROLLOUTS, "web", "Healthy", LIMIT, healthy).await?;
        run_ends_early(&namespace).await?;
        let cluster_templates = cluster.api("clusteranalysistemplates.argoproj.io", None).await?;
        cluster_templates
            .delete(&shared, &kube::api::DeleteParams::default())
            .await?;
        Ok(())
    })
}
