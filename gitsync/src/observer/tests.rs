#![allow(
    clippy::needless_pass_by_value,
    reason = "a json! literal reads best as a value"
)]

use serde_json::{Value, json};
use tidegate_crds::DeliverySpec;

use super::*;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";

fn spec(kind: &str) -> Spec {
    let spec = json!({
        "source": {"git": {"url": "git@git.example.com:shop/deploy.git", "path": "prod"}},
        "observe": {"kind": kind, "name": "shop"},
    });
    let spec: DeliverySpec = serde_json::from_value(spec).unwrap();
    Spec::read(&spec).unwrap()
}

/// An object with some fields over those that are right.
fn with(mut object: Value, patch: &Value) -> Value {
    for (pointer, value) in patch.as_object().unwrap() {
        let mut at = &mut object;
        for part in pointer.split('.') {
            at = &mut at[part];
        }
        *at = value.clone();
    }
    object
}

fn application(patch: Value) -> Result<Said, String> {
    let object = json!({
        "metadata": {"name": "shop", "namespace": "argocd"},
        "spec": {
            "source": {"repoURL": "https://git.example.com/shop/deploy", "path": "./prod/", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc"},
        },
    });
    read(Syncer::Application, &with(object, &patch), &spec("Application"))
}

fn kustomization(patch: Value) -> Result<Said, String> {
    let object = json!({
        "metadata": {"name": "shop", "namespace": "flux-system"},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "deploy"}, "path": "./prod"},
    });
    read(
        Syncer::Kustomization,
        &with(object, &patch),
        &spec("Kustomization"),
    )
}

/// The commit that counts as applied, and why it is not finished.
fn applied(said: Result<Said, String>) -> (String, String) {
    let applied = said.unwrap().applied;
    applied.map_or_else(Default::default, |applied| {
        (
            applied.commit.as_str().to_owned(),
            applied.unfinished.unwrap_or_default(),
        )
    })
}

fn is(commit: &str, unfinished: &str) -> (String, String) {
    (commit.to_owned(), unfinished.to_owned())
}

fn operation(phase: &str, revision: &str, more: Value) -> Value {
    let mut patch = json!({"status.operationState": {"phase": phase, "message": "waiting", "syncResult": {"revision": revision}}});
    patch
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    patch
}

fn sync(status: &str, revision: &str) -> Value {
    json!({"status.sync": {"status": status, "revision": revision}})
}

fn have_applied(table: impl IntoIterator<Item = (&'static str, Value, (String, String))>) {
    for (name, patch, expected) in table {
        assert_eq!(applied(application(patch)), expected, "{name}");
    }
}

#[test]
fn what_an_application_has_applied() {
    have_applied([
        ("nothing yet", json!({}), is("", "")),
        ("synced by hand or by nothing", sync("Synced", NEW), is(NEW, "")),
        (
            "synced",
            operation("Succeeded", NEW, sync("Synced", NEW)),
            is(NEW, ""),
        ),
        (
            "synced, and then a commit elsewhere",
            operation("Succeeded", OLD, sync("Synced", NEW)),
            is(NEW, ""),
        ),
        (
            "Git is ahead",
            operation("Succeeded", OLD, sync("OutOfSync", NEW)),
            is(OLD, ""),
        ),
        (
            "some objects only",
            operation(
                "Succeeded",
                NEW,
                json!({"status.operationState.operation": {"sync": {"resources": [{"kind": "Service"}]}}}),
            ),
            is("", ""),
        ),
        (
            "a dry run",
            operation(
                "Succeeded",
                NEW,
                json!({"status.operationState.operation": {"sync": {"dryRun": true}}}),
            ),
            is("", ""),
        ),
        ("no commit", sync("Synced", "1.2.3"), is("", "")),
    ]);
}

#[test]
fn what_an_application_has_applied_although_it_is_not_finished() {
    let resources = |status: &str| {
        json!({"status.operationState.syncResult.resources": [
            {"group": "argoproj.io", "kind": "Rollout", "name": "web", "status": status},
            {"kind": "ConfigMap", "name": "late", "status": ""},
        ]})
    };
    have_applied([
        (
            "on its way",
            operation("Running", NEW, sync("OutOfSync", NEW)),
            is("", ""),
        ),
        (
            "not yet its Rollout",
            operation("Running", NEW, resources("")),
            is("", ""),
        ),
        (
            "a later wave waits for the Rollout",
            operation("Running", NEW, resources("Synced")),
            is(NEW, "Argo CD's sync of it is Running: waiting"),
        ),
        (
            "a Rollout that is degraded makes the sync fail",
            operation("Failed", NEW, resources("Synced")),
            is(NEW, "Argo CD's sync of it is Failed: waiting"),
        ),
        (
            "all there, and a hook runs",
            operation("Running", NEW, sync("Synced", NEW)),
            is(NEW, "Argo CD's sync of it is Running: waiting"),
        ),
    ]);
}

#[test]
fn what_a_kustomization_has_applied() {
    let long = "3".repeat(64);
    let revisions = |applied: &str, attempted: &str| json!({"status": {"lastAppliedRevision": applied, "lastAttemptedRevision": attempted}});
    let and = |mut patch: Value, kind: &str, status: &str, reason: &str| {
        patch["status.conditions"] =
            json!([{"type": kind, "status": status, "reason": reason, "message": "timeout"}]);
        patch
    };
    let of = |commit: &str| format!("main@sha1:{commit}");
    let table = [
        ("nothing yet", json!({}), is("", "")),
        ("applied", revisions(&of(NEW), &of(NEW)), is(NEW, "")),
        (
            "of an older Flux",
            revisions(&format!("main/{NEW}"), ""),
            is(NEW, ""),
        ),
        (
            "without a name",
            revisions(&format!("sha1:{NEW}"), ""),
            is(NEW, ""),
        ),
        (
            "a longer name",
            revisions(&format!("main@sha256:{long}"), ""),
            is(&long, ""),
        ),
        (
            "a branch with slashes",
            revisions(&format!("release/1@sha1:{NEW}"), ""),
            is(NEW, ""),
        ),
        (
            "on its way",
            and(revisions(&of(OLD), &of(NEW)), "Ready", "Unknown", "Progressing"),
            is(OLD, ""),
        ),
        (
            "its health is waited for",
            and(revisions(&of(OLD), &of(NEW)), "Healthy", "Unknown", "Progressing"),
            is(NEW, "the health checks of Flux are not over"),
        ),
        (
            "it is not healthy",
            and(
                revisions(&of(OLD), &of(NEW)),
                "Ready",
                "False",
                "HealthCheckFailed",
            ),
            is(NEW, "the health checks of Flux are not over: timeout"),
        ),
        (
            "it was refused",
            and(
                revisions(&of(OLD), &of(NEW)),
                "Ready",
                "False",
                "ReconciliationFailed",
            ),
            is(OLD, ""),
        ),
        ("no commit", revisions("v1.2.3@sha256:abc", ""), is("", "")),
    ];
    for (name, patch, expected) in table {
        assert_eq!(applied(kustomization(patch)), expected, "{name}");
    }
}

#[test]
fn what_goes_wrong_there_is_repeated() {
    let failed = application(
        json!({"status.operationState": {"phase": "Failed", "message": "one or more objects failed to apply"}}),
    );
    assert_eq!(
        failed.unwrap().problem.unwrap(),
        "its last sync is Failed: one or more objects failed to apply"
    );
    let error =
        application(json!({"status.conditions": [{"type": "ComparisonError", "message": "no such path"}]}));
    assert_eq!(error.unwrap().problem.unwrap(), "ComparisonError: no such path");
    let not_ready = json!({"status.conditions": [{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "x"}]});
    assert_eq!(
        kustomization(not_ready).unwrap().problem.unwrap(),
        "BuildFailed: x"
    );
}

#[test]
fn another_source_is_refused_and_both_are_named() {
    let table = [
        (
            application(json!({"spec.source.repoURL": "https://git.example.com/shop/other.git"})),
            "spec.source.repoURL is https://git.example.com/shop/other.git, and spec.source.git.url of the Delivery is \
             git@git.example.com:shop/deploy.git",
        ),
        (
            application(json!({"spec.source.path": "staging"})),
            "spec.source.path is \"staging\", and spec.source.git.path of the Delivery is \"prod\"",
        ),
        (
            application(json!({"spec.source.targetRevision": "live"})),
            "spec.source.targetRevision is live, and spec.source.git.ref of the Delivery is main",
        ),
        (
            application(json!({"spec.sources": [{"repoURL": "a"}, {"repoURL": "b"}]})),
            "has several sources (spec.sources), so no one commit is what it applies: observe one with a single spec.source",
        ),
        (
            application(json!({"spec.source.chart": "redis"})),
            "delivers the chart redis of a Helm repository, not a folder of git@git.example.com:shop/deploy.git",
        ),
        (
            application(json!({"spec.destination": {"name": "edge-7"}})),
            "applies to another cluster (edge-7): observe it from a Delivery there",
        ),
        (
            kustomization(json!({"spec.path": "./staging"})),
            "spec.path is \"./staging\", and spec.source.git.path of the Delivery is \"prod\"",
        ),
        (
            kustomization(json!({"spec.sourceRef": {"kind": "OCIRepository", "name": "shop"}})),
            "takes its manifests from the OCIRepository shop, not from git@git.example.com:shop/deploy.git",
        ),
        (
            kustomization(json!({"spec.kubeConfig": {"secretRef": {"name": "edge"}}})),
            "applies to another cluster (spec.kubeConfig): observe it from a Delivery there",
        ),
    ];
    for (said, expected) in table {
        assert_eq!(said.unwrap_err(), expected);
    }
    for fine in ["HEAD", "", "refs/heads/main", NEW] {
        assert!(
            application(json!({"spec.source.targetRevision": fine})).is_ok(),
            "{fine}"
        );
    }
}

#[test]
fn the_git_repository_of_flux_is_compared_too() {
    let check = |spec_of: Value| same_git_repository(&json!({"spec": spec_of}), &spec("Kustomization"));
    let url = "ssh://git@git.example.com:2222/shop/deploy.git";
    assert_eq!(check(json!({"url": url, "ref": {"branch": "main"}})), Ok(()));
    assert_eq!(
        check(json!({"url": url, "ref": {"name": "refs/heads/main", "branch": "other"}})),
        Ok(())
    );
    assert_eq!(
        check(json!({"url": url, "ref": {"commit": NEW, "branch": "other"}})),
        Ok(())
    );
    assert_eq!(
        check(json!({"url": url, "ref": {"semver": ">=1.0"}})).unwrap_err(),
        "spec.ref.semver is >=1.0, and spec.source.git.ref of the Delivery is main"
    );
    assert_eq!(
        check(json!({"url": url})).unwrap_err(),
        "spec.ref.branch is master, and spec.source.git.ref of the Delivery is main"
    );
}

#[test]
fn objects_are_looked_for_where_they_are_put() {
    let rendered = crate::render::render(
        &crate::tree::Files::new().with(
            "a.yaml",
            "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: a, annotations: {argocd.argoproj.io/hook: Odd}}}\n---\n\
             {apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: b, namespace: own}}\n---\n\
             {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n",
        ),
        "",
        &crate::render::Limits::default(),
    )
    .unwrap();
    let found = |namespace: Namespace| {
        let judged = judged(&rendered, &namespace);
        assert_eq!(judged.digest, rendered.digest);
        let ids = judged
            .manifests
            .iter()
            .map(|manifest| ObjectId::of(&manifest.value).words());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found(Namespace::Own), ["Rollout a", "Rollout own/b"]);
    assert_eq!(
        found(Namespace::Default("shop".to_owned())),
        ["Rollout shop/a", "Rollout own/b"]
    );
    assert_eq!(
        found(Namespace::Always("shop".to_owned())),
        ["Rollout shop/a", "Rollout shop/b"]
    );
    let said = application(json!({"spec.destination.namespace": "shop"})).unwrap();
    assert_eq!(said.namespace, Namespace::Default("shop".to_owned()));
    let said = kustomization(json!({"spec.targetNamespace": "shop"})).unwrap();
    assert_eq!(said.namespace, Namespace::Always("shop".to_owned()));
}
