//! Beside Argo CD: somebody else applies, and Tidegate judges, tells and takes back in Git (docs/git/observe.md).
//!
//! The test plays Argo CD: it applies what a commit has, and says so in an Application.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tidegate_e2e::{
    Cluster, Gitea, Namespace, Release, Source, TestDelivery, condition, e2e, entry, eventually, manifests,
    text,
};

const LIMIT: Duration = Duration::from_mins(1);
const QUICK: Duration = Duration::from_secs(20);
const CRD: &str = "applications.argoproj.io";
const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// As much of Argo CD's kind as the API server needs: like there, the status is no subresource.
fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": CRD },
        "spec": {
            "group": "argoproj.io", "scope": "Namespaced",
            "names": { "kind": "Application", "listKind": "ApplicationList", "plural": "applications", "singular": "application" },
            "versions": [{ "name": "v1alpha1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

/// The rights that docs/git/observe.md asks for.
fn observer(namespace: &Namespace) -> [Value; 3] {
    let rbac = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": "observer" });
    [
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({
            "apiVersion": rbac, "kind": "Role", "metadata": metadata,
            "rules": [{ "apiGroups": ["argoproj.io"], "resources": ["applications", "rollouts"], "verbs": ["get"] }],
        }),
        json!({
            "apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "observer" },
            "subjects": [{ "kind": "ServiceAccount", "name": "observer", "namespace": namespace.name() }],
        }),
    ]
}

/// A release that is judged by what the test says, without a router.
fn release(namespace: &Namespace, version: &str, source: &Source) -> Vec<(&'static str, String)> {
    let strategy = json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "steps": [{ "setWeight": 50 }, { "analysis": { "templates": [{ "templateName": "rate" }] } }],
    } });
    let analysis = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "rate" },
        "spec": { "metrics": [{
            "name": "rate", "interval": "1s", "count": 2, "failureLimit": 0, "successCondition": "result[0] >= 1",
            "provider": { "prometheus": { "address": source.address(), "query": "rate" } },
        }] },
    });
    let mut files = manifests(namespace, version, &[], &strategy);
    files.push(("prod/analysis.yaml", analysis.to_string()));
    files
}

/// What Argo CD does with a commit.
struct ArgoCd<'n> {
    namespace: &'n Namespace,
}

impl ArgoCd<'_> {
    async fn sync(&self, commit: &str, files: &[(&str, String)]) -> Result<()> {
        self.say(commit, "OutOfSync", "Running").await?;
        for (_, text) in files {
            self.namespace.apply(text).await?;
        }
        self.say(commit, "Synced", "Succeeded").await
    }

    async fn say(&self, commit: &str, sync: &str, phase: &str) -> Result<()> {
        let status = json!({
            "sync": { "status": sync, "revision": commit },
            "operationState": { "phase": phase, "syncResult": { "revision": commit } },
        });
        self.namespace
            .patch(CRD, "shop", &json!({ "status": status }))
            .await
    }
}

/// Who wrote what of an object: `tidegate f:spec`.
fn written(object: &Value) -> Vec<String> {
    let managers = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let fields = |manager: &Value| -> Vec<String> {
        let name = text(manager, "/manager").to_owned();
        let fields = manager.get("fieldsV1").and_then(Value::as_object);
        fields
            .into_iter()
            .flatten()
            .map(|(field, _)| format!("{name} {field}"))
            .collect()
    };
    managers.into_iter().flatten().flat_map(fields).collect()
}

/// That nothing was applied for the Delivery: what the rollout itself writes is known.
async fn assert_only_observed(namespace: &Namespace) -> Result<()> {
    let untouched = [
        (CRD, "shop"),
        ("configmaps", "web"),
        ("ingresses.networking.k8s.io", "web"),
        ("analysistemplates.argoproj.io", "rate"),
    ];
    for (resource, name) in untouched {
        let object = namespace.get(resource, name).await?.context(resource)?;
        let written = written(&object);
        assert!(!written.is_empty(), "{object}");
        assert!(
            !written.iter().any(|by| by.starts_with("tidegate ")),
            "{resource}: {written:?}"
        );
    }
    let rollout = Release::of(namespace).rollout().await?;
    assert!(
        !written(&rollout).contains(&"tidegate f:spec".to_owned()),
        "{rollout}"
    );
    for resource in ["rollouts.argoproj.io", "services", "configmaps"] {
        let ours = namespace.list(resource, "tidegate.io/delivery").await?;
        assert!(ours.is_empty(), "{ours:?}");
    }
    let delivery = namespace
        .get("deliveries.tidegate.io", "shop")
        .await?
        .context("no Delivery")?;
    assert_eq!(delivery.pointer("/status/inventory"), None, "{delivery}");
    Ok(())
}

async fn play(cluster: &Cluster, gitea: &Gitea) -> Result<()> {
    let namespace = cluster.namespace("observe").await?;
    let source = Source::start(&namespace).await?;
    for object in observer(&namespace) {
        namespace.apply(&object.to_string()).await?;
    }
    let spec = json!({
        "observe": { "kind": "Application", "name": "shop" }, "serviceAccountName": "observer",
        "onRejected": { "action": "RevertPR", "writeSecretRef": { "name": "deploy" } },
    });
    let delivery = TestDelivery::create(&namespace, gitea, &spec).await?;
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": { "name": "shop" },
        "spec": {
            "source": { "repoURL": delivery.repository.url(), "path": "prod", "targetRevision": "main" },
            "destination": { "server": "https://kubernetes.default.svc", "namespace": namespace.name() },
        },
    });
    eventually("the kind is served", QUICK, async || {
        namespace.apply(&application.to_string()).await.map(Some)
    })
    .await?;
    let argo = ArgoCd {
        namespace: &namespace,
    };
    let files = release(&namespace, "v1", &source);
    let first = delivery.repository.push("First version", &files).await?;
    argo.sync(&first, &files).await?;
    delivery.wait_state(&first, "Deployed", LIMIT).await?;
    let files = release(&namespace, "v2", &source);
    let good = delivery.repository.push("Second version", &files).await?;
    let seen = delivery.wait_state(&good, "Pending", QUICK).await?;
    assert_eq!(condition(&seen, "Ready"), "False", "it is not applied yet");
    argo.sync(&good, &files).await?;
    delivery.wait_state(&good, "Verified", LIMIT).await?;
    delivery.wait_condition("Ready", "True", QUICK).await?;
    delivery.wait_status(&good, "success", QUICK).await?;

    source.set("value=0").await?;
    let files = release(&namespace, "v3", &source);
    let bad = delivery.repository.push("Third version", &files).await?;
    argo.sync(&bad, &files).await?;
    let rejected = delivery.wait_state(&bad, "Rejected", LIMIT).await?;
    assert_eq!(
        text(&entry(&rejected, &bad), "/reason"),
        "AnalysisFailed",
        "{rejected}"
    );
    delivery.wait_status(&bad, "failure", QUICK).await?;
    let told = delivery
        .wait("a pull request takes it back", QUICK, |delivery| {
            !text(&entry(delivery, &bad), "/revert/pullRequest").is_empty()
        })
        .await?;
    assert_eq!(condition(&told, "GitAhead"), "True", "{told}");
    assert_eq!(condition(&told, "Pinned"), "False", "{told}");
    assert_eq!(condition(&told, "Ready"), "False", "{told}");
    let requests = delivery.repository.pull_requests().await?;
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(delivery.repository.head("main").await?, bad);
    assert_only_observed(&namespace).await?;

    // Git goes back, Argo CD with it, and nothing is left to say
    delivery.repository.merge(requests[0].number).await?;
    let merged = delivery.repository.head("main").await?;
    argo.sync(&merged, &release(&namespace, "v2", &source)).await?;
    delivery.wait_condition("Ready", "True", LIMIT).await?;
    let closed = delivery.get().await?;
    assert_eq!(condition(&closed, "GitAhead"), "", "{closed}");
    assert_only_observed(&namespace).await
}

#[test]
fn what_argo_cd_applies_is_judged_and_taken_back_in_git() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let crds = cluster.api(CRDS, None).await?;
        let setup = cluster.namespace("setup").await?;
        setup.apply(&crd().to_string()).await?;
        let played = AssertUnwindSafe(play(&cluster, &gitea)).catch_unwind().await;
        // other tests do not have it
        crds.delete(CRD, &DeleteParams::default()).await?;
        played.unwrap_or_else(|panic| resume_unwind(panic))
    })
}
