//! What a Delivery applied is put back when it is changed by hand: at once where its metadata is watched.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{Gitea, Namespace, TestDelivery, e2e, text};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_mins(1);
/// A second to gather, and time for a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// An object of a kind, with these fields.
fn object(api_version: &str, kind: &str, more: Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "idle" } });
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// One of each kind of workload, none of which starts a pod.
fn workloads() -> Vec<(&'static str, Value)> {
    let labels = json!({ "app": "idle" });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "nodeSelector": { "nobody": "has" }, "containers": [{ "name": "idle", "image": "example.test/idle" }] },
    });
    let workload =
        json!({ "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template } });
    let mut stateful = workload.clone();
    stateful["spec"]["serviceName"] = json!("idle");
    let job = json!({ "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "idle", "image": "example.test/idle" }],
    } } });
    vec![
        ("deployments.apps", object("apps/v1", "Deployment", workload)),
        ("statefulsets.apps", object("apps/v1", "StatefulSet", stateful)),
        (
            "daemonsets.apps",
            object(
                "apps/v1",
                "DaemonSet",
                json!({ "spec": { "selector": { "matchLabels": labels }, "template": template } }),
            ),
        ),
        (
            "cronjobs.batch",
            object(
                "batch/v1",
                "CronJob",
                json!({ "spec": {
                "schedule": "0 0 * * *", "suspend": true, "jobTemplate": { "spec": job },
            } }),
            ),
        ),
    ]
}

/// One object of each kind that the role `tidegate-drift` is for, and how kubectl calls it. None of them starts a pod.
fn one_of_each() -> Vec<(&'static str, Value)> {
    let labels = json!({ "app": "idle" });
    let scaler = json!({ "spec": {
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "idle" },
        "minReplicas": 1, "maxReplicas": 2,
    } });
    let role = json!({ "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }] });
    let binding = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "idle" },
        "subjects": [{ "kind": "ServiceAccount", "name": "idle" }],
    });
    let rbac = "rbac.authorization.k8s.io/v1";
    let others = vec![
        (
            "configmaps",
            object("v1", "ConfigMap", json!({ "data": { "a": "1" } })),
        ),
        ("serviceaccounts", object("v1", "ServiceAccount", json!({}))),
        (
            "horizontalpodautoscalers.autoscaling",
            object("autoscaling/v2", "HorizontalPodAutoscaler", scaler),
        ),
        (
            "poddisruptionbudgets.policy",
            object(
                "policy/v1",
                "PodDisruptionBudget",
                json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": labels } } }),
            ),
        ),
        (
            "networkpolicies.networking.k8s.io",
            object(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                json!({ "spec": { "podSelector": { "matchLabels": labels } } }),
            ),
        ),
        ("roles.rbac.authorization.k8s.io", object(rbac, "Role", role)),
        (
            "rolebindings.rbac.authorization.k8s.io",
            object(rbac, "RoleBinding", binding),
        ),
    ];
    others.into_iter().chain(workloads()).collect()
}

/// Waits until an object is as Git has it, but for what `so` does not look at; how long that took.
async fn put_back(namespace: &Namespace, resource: &str, so: impl Fn(&Value) -> bool) -> Result<Duration> {
    let start = Instant::now();
    let what = format!("{resource} is as Git has it");
    namespace.wait(resource, "idle", &what, SOON, so).await?;
    Ok(start.elapsed())
}

#[test]
fn what_is_changed_by_hand_is_put_back_at_once() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("drift").await?;
        let delivery = TestDelivery::create(&namespace, &gitea, &json!({})).await?;
        let objects = one_of_each();
        let files: Vec<(String, String)> = objects
            .iter()
            .map(|(resource, object)| (format!("prod/{resource}.yaml"), object.to_string()))
            .collect();
        let commit = delivery.repository.push("One of each", &files).await?;
        delivery.wait_state(&commit, "Deployed", LIMIT).await?;

        // a label that is taken away shows in the metadata of every kind
        let mut slowest = Duration::ZERO;
        let ours = |object: &Value| text(object, "/metadata/labels/tidegate.io~1delivery") == "shop";
        for (resource, _) in &objects {
            let patch = json!({ "metadata": { "labels": { "tidegate.io/delivery": null } } });
            namespace.patch(resource, "idle", &patch).await?;
            slowest = slowest.max(put_back(&namespace, resource, ours).await?);
        }
        println!(
            "{} kinds, the slowest was put back after {slowest:?}",
            objects.len()
        );

        // what Git says, and an object that is deleted
        namespace
            .patch("configmaps", "idle", &json!({ "data": { "a": "2" } }))
            .await?;
        put_back(&namespace, "configmaps", |object| text(object, "/data/a") == "1").await?;
        let policies = cluster
            .api("networkpolicies.networking.k8s.io", Some(namespace.name()))
            .await?;
        let before = namespace
            .get("networkpolicies.networking.k8s.io", "idle")
            .await?
            .context("no NetworkPolicy")?;
        policies
            .delete("idle", &kube::api::DeleteParams::default())
            .await?;
        let another = |object: &Value| text(object, "/metadata/uid") != text(&before, "/metadata/uid");
        put_back(&namespace, "networkpolicies.networking.k8s.io", another).await?;
        // and nothing of it is news for the commit
        let seen = delivery.wait_condition("Ready", "True", LIMIT).await?;
        assert_eq!(text(&seen, "/status/ledger/0/state"), "Deployed");
        Ok(())
    })
}
