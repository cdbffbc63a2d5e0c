//! Server-side apply: owners, conflicts, removal of what is no longer applied.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    reason = "a test fails by panicking, and its helpers read better so"
)]

#[path = "store_support/cluster.rs"]
mod cluster;

use cluster::{Cluster, config_map, replica_set, rollout};
use serde_json::{Value, json};
use tidegate_sim::store::{ManagedFields, PatchKind, Reason, Request, Settings};

fn data(fields: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": fields})
}

/// Manager, operation and fields of every entry.
fn owners(object: &Value) -> Vec<(String, String, Value)> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|e| (text(&e["manager"]), text(&e["operation"]), e["fieldsV1"].clone()))
        .collect()
}

#[test]
fn apply_creates_changes_and_removes() {
    let mut cluster = Cluster::new();
    let made = cluster
        .apply("configmaps", "c", "git", false, data(json!({"a": "1", "b": "2"})))
        .unwrap();
    assert_eq!(made["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(
        owners(&made),
        [(
            "git".to_owned(),
            "Apply".to_owned(),
            json!({"f:data": {"f:a": {}, "f:b": {}}})
        )]
    );
    let revision = cluster.store.revision();
    let same = cluster
        .apply("configmaps", "c", "git", false, data(json!({"a": "1", "b": "2"})))
        .unwrap();
    assert_eq!(
        (same, cluster.store.revision()),
        (made, revision),
        "applying the same again writes nothing"
    );
    // somebody else's field stays, one's own that is no longer named goes
    cluster.merge("configmaps", "c", json!({"data": {"x": "9"}}));
    let after = cluster
        .apply("configmaps", "c", "git", false, data(json!({"a": "3"})))
        .unwrap();
    assert_eq!(after["data"], json!({"a": "3", "x": "9"}));
}

#[test]
fn a_changed_field_of_another_manager_is_a_conflict() {
    let mut cluster = Cluster::new();
    cluster
        .apply("configmaps", "c", "git", false, data(json!({"a": "1", "b": "2"})))
        .unwrap();
    let status = cluster
        .apply("configmaps", "c", "me", false, data(json!({"a": "5"})))
        .unwrap_err();
    assert_eq!(status.reason, Reason::Conflict);
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"git\": .data.a"
    );
    assert_eq!(
        status.to_value()["details"]["causes"][0]["reason"],
        "FieldManagerConflict"
    );
    let status = cluster
        .apply("configmaps", "c", "me", false, data(json!({"a": "5", "b": "6"})))
        .unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"git\":\n- .data.a\n- .data.b"
    );
    // the same value is shared
    let shared = cluster
        .apply("configmaps", "c", "me", false, data(json!({"b": "2"})))
        .unwrap();
    assert_eq!(owners(&shared).len(), 2);
    // force takes it away
    let forced = cluster
        .apply("configmaps", "c", "me", true, data(json!({"a": "5", "b": "2"})))
        .unwrap();
    assert_eq!(forced["data"], json!({"a": "5", "b": "2"}));
    let git = owners(&forced)
        .into_iter()
        .find(|(manager, ..)| manager == "git")
        .unwrap();
    assert_eq!(git.2, json!({"f:data": {"f:b": {}}}));
    // and what two own stays when one lets go
    let after = cluster
        .apply("configmaps", "c", "me", false, data(json!({"a": "5"})))
        .unwrap();
    assert_eq!(after["data"], json!({"a": "5", "b": "2"}));
}

#[test]
fn plain_writes_own_fields_too() {
    let mut cluster = Cluster::with(Settings {
        managed_fields: ManagedFields::Always,
        ..Settings::default()
    });
    let request = Request::create(&cluster.kind("rollouts"), "shop", rollout("web"))
        .with(|o| o.field_manager = "kubectl".to_owned());
    let made = cluster.send(request).unwrap();
    assert_eq!(owners(&made)[0].0, "kubectl");
    let scale = Request::patch(
        &cluster.kind("rollouts"),
        "shop",
        "web",
        PatchKind::Merge,
        json!({"spec": {"replicas": 8}}),
    );
    cluster
        .send(
            scale
                .subresource("scale")
                .with(|o| o.field_manager = "hpa".to_owned()),
        )
        .unwrap();
    let status = cluster
        .apply("rollouts", "web", "git", false, rollout("web"))
        .unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using argoproj.io/v1alpha1: .spec.replicas"
    );
    let mut without = rollout("web");
    without["spec"].as_object_mut().unwrap().remove("replicas");
    let after = cluster.apply("rollouts", "web", "git", false, without).unwrap();
    assert_eq!(after["spec"]["replicas"], 8);
}

#[test]
fn an_object_from_before_apply_belongs_to_its_maker() {
    let mut cluster = Cluster::new();
    cluster.create("configmaps", config_map("c"));
    assert_eq!(
        cluster.get("configmaps", "c").unwrap()["metadata"].get("managedFields"),
        None
    );
    let status = cluster
        .apply("configmaps", "c", "git", false, data(json!({"a": "2"})))
        .unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
}

#[test]
fn list_elements_are_owned_by_their_key() {
    let mut cluster = Cluster::new();
    let mut mine = replica_set("web");
    mine["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    mine["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    cluster
        .apply("replicasets", "web", "git", false, mine.clone())
        .unwrap();
    let side = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [
            {"name": "app", "env": [{"name": "B", "value": "2"}]}, {"name": "side", "image": "side:1"},
        ]}}},
    });
    let after = cluster
        .apply("replicasets", "web", "injector", false, side)
        .unwrap();
    let containers = &after["spec"]["template"]["spec"]["containers"];
    assert_eq!(
        containers[0]["env"],
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    );
    assert_eq!(containers[1]["name"], "side");
    let fields = owners(&after)
        .into_iter()
        .find(|(manager, ..)| manager == "injector")
        .unwrap()
        .2;
    assert_eq!(
        fields,
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:env": {"k:{\"name\":\"B\"}": {".": {}, "f:name": {}, "f:value": {}}}},
            "k:{\"name\":\"side\"}": {".": {}, "f:name": {}, "f:image": {}},
        }}}}})
    );
    // the injector leaves: its container and variable go, the other's stay
    let nothing = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"}});
    let after = cluster
        .apply("replicasets", "web", "injector", false, nothing)
        .unwrap();
    let containers = after["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    assert_eq!(
        (containers.len(), &containers[0]["env"]),
        (1, &json!([{"name": "A", "value": "1"}]))
    );
    assert_eq!(owners(&after).len(), 1);
    // a port without protocol is the TCP one
    let revision = cluster.store.revision();
    cluster.apply("replicasets", "web", "git", false, mine).unwrap();
    assert_eq!(cluster.store.revision(), revision);
}

#[test]
fn apply_needs_a_manager_and_its_own_form() {
    let mut cluster = Cluster::new();
    let status = cluster
        .apply("configmaps", "c", "", false, data(json!({})))
        .unwrap_err();
    assert_eq!(
        status.message,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let mut body = data(json!({}));
    body["metadata"]["managedFields"] = json!([]);
    let status = cluster.apply("configmaps", "c", "me", false, body).unwrap_err();
    assert_eq!(status.message, "metadata.managedFields must be nil");
}

#[test]
fn status_is_applied_through_its_subresource_only() {
    let mut cluster = Cluster::new();
    cluster
        .apply("rollouts", "web", "git", false, rollout("web"))
        .unwrap();
    let kind = cluster.kind("rollouts");
    let status = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"replicas": 99}, "status": {"phase": "Healthy"},
    });
    let request = Request::patch(&kind, "shop", "web", PatchKind::Apply, status).subresource("status");
    let after = cluster
        .send(request.with(|o| o.field_manager = "controller".to_owned()))
        .unwrap();
    assert_eq!(
        (&after["status"]["phase"], &after["spec"]["replicas"]),
        (&json!("Healthy"), &json!(3))
    );
    let entry = owners(&after)
        .into_iter()
        .find(|(manager, ..)| manager == "controller")
        .unwrap();
    assert_eq!(entry.2, json!({"f:status": {"f:phase": {}}}));
}
