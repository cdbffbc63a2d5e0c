//! The three patch forms on the same objects.

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
use tidegate_sim::store::{PatchKind, Reason};

#[test]
fn merge_patches_replace_lists_and_remove_nulls() {
    let mut cluster = Cluster::new();
    cluster.create("rollouts", rollout("web"));
    let cases = [
        (
            json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}]}}}}),
            "/spec/strategy/canary/steps",
            json!([{"setWeight": 20}]),
        ),
        (
            json!({"spec": {"strategy": {"canary": {"steps": [{"pause": {}}]}}}}),
            "/spec/strategy/canary/steps",
            json!([{"pause": {}}]),
        ),
        (
            json!({"spec": {"strategy": {"canary": {"steps": null}}}}),
            "/spec/strategy/canary",
            json!({}),
        ),
        (
            json!({"spec": {"strategy": {"blueGreen": {"a": null, "b": 1}}}}),
            "/spec/strategy/blueGreen",
            json!({"b": 1}),
        ),
    ];
    for (patch, path, expected) in cases {
        let after = cluster.merge("rollouts", "web", patch.clone());
        assert_eq!(after.pointer(path), Some(&expected), "{patch}");
    }
}

#[test]
fn json_patches_are_all_or_nothing() {
    let mut cluster = Cluster::new();
    let made = cluster.create("rollouts", rollout("web"));
    let failing = json!([
        {"op": "replace", "path": "/spec/replicas", "value": 9}, {"op": "remove", "path": "/spec/nothing"},
    ]);
    assert_eq!(
        cluster
            .patch("rollouts", "web", PatchKind::Json, failing)
            .unwrap_err()
            .reason,
        Reason::Invalid
    );
    assert_eq!(cluster.get("rollouts", "web"), Some(made));
    // the guard of a ReplicaSet's scale: it loses against whoever was faster
    let guard = |from: i64, to: i64| {
        json!([
            {"op": "test", "path": "/spec/replicas", "value": from}, {"op": "replace", "path": "/spec/replicas", "value": to},
        ])
    };
    assert_eq!(
        cluster
            .patch("rollouts", "web", PatchKind::Json, guard(3, 5))
            .unwrap()["spec"]["replicas"],
        5
    );
    assert_eq!(
        cluster
            .patch("rollouts", "web", PatchKind::Json, guard(3, 7))
            .unwrap_err()
            .code(),
        422
    );
    let status = cluster
        .patch("rollouts", "web", PatchKind::Json, json!({"op": "test"}))
        .unwrap_err();
    assert_eq!(status.reason, Reason::BadRequest);
}

fn pod(patch: &Value) -> Value {
    json!({"spec": {"template": {"spec": patch}}})
}

fn containers(patch: &Value) -> Value {
    pod(&json!({"containers": patch}))
}

/// What it is, patch, where to look in the pod, what is there afterwards. Each starts from the same ReplicaSet.
fn strategic_merges(cases: Vec<(&str, Value, &str, Value)>) {
    let mut object = replica_set("web");
    object["spec"]["template"]["spec"] = json!({
        "containers": [
            {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 80, "name": "http"}], "args": ["x", "y"]},
            {"name": "side", "image": "side:1"},
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
    });
    let base = "/spec/template/spec";
    for (what, patch, at, expected) in cases {
        let mut cluster = Cluster::new();
        cluster.create("replicasets", object.clone());
        let after = cluster
            .patch("replicasets", "web", PatchKind::Strategic, patch)
            .unwrap_or_else(|s| panic!("{what}: {s}"));
        assert_eq!(
            after.pointer(&format!("{base}{at}")).unwrap_or(&Value::Null),
            &expected,
            "{what}"
        );
    }
}

#[test]
fn strategic_merge_joins_lists_by_key() {
    strategic_merges(vec![
        (
            "an element by its key",
            containers(&json!([{"name": "app", "image": "app:2"}])),
            "/containers/0/image",
            json!("app:2"),
        ),
        (
            "the others stay",
            containers(&json!([{"name": "app", "image": "app:2"}])),
            "/containers/1/image",
            json!("side:1"),
        ),
        (
            "a new element",
            containers(&json!([{"name": "new", "image": "n"}])),
            "/containers/2/image",
            json!("n"),
        ),
        (
            "delete an element",
            containers(&json!([{"name": "app", "$patch": "delete"}])),
            "/containers/0/name",
            json!("side"),
        ),
        (
            "inner lists too",
            containers(
                &json!([{"name": "app", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}]),
            ),
            "/containers/0/env",
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}]),
        ),
        (
            "ports by containerPort",
            containers(&json!([{"name": "app", "ports": [{"containerPort": 80, "name": "web"}]}])),
            "/containers/0/ports",
            json!([{"containerPort": 80, "name": "web", "protocol": "TCP"}]),
        ),
    ]);
}

#[test]
fn strategic_merge_replaces_what_it_is_told_to() {
    strategic_merges(vec![
        (
            "plain lists are replaced",
            containers(&json!([{"name": "app", "args": ["z"]}])),
            "/containers/0/args",
            json!(["z"]),
        ),
        (
            "atomic lists are replaced",
            pod(&json!({"tolerations": [{"key": "b"}]})),
            "/tolerations",
            json!([{"key": "b"}]),
        ),
        (
            "replace the whole list",
            containers(&json!([{"$patch": "replace"}, {"name": "only", "image": "o"}])),
            "/containers/1",
            Value::Null,
        ),
        (
            "keep only some keys of a union",
            pod(
                &json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
            ),
            "/volumes/0/emptyDir",
            Value::Null,
        ),
        (
            "an order",
            pod(
                &json!({"$setElementOrder/containers": [{"name": "side"}, {"name": "app"}], "containers": [{"name": "side", "image": "s"}]}),
            ),
            "/containers/0/name",
            json!("side"),
        ),
    ]);
}

#[test]
fn strategic_merge_of_metadata_and_services() {
    let mut cluster = Cluster::new();
    let mut body = config_map("c");
    body["metadata"]["finalizers"] = json!(["a/a", "b/b"]);
    cluster.create("configmaps", body);
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"], "finalizers": ["c/c"]}});
    let after = cluster
        .patch("configmaps", "c", PatchKind::Strategic, patch)
        .unwrap();
    assert_eq!(after["metadata"]["finalizers"], json!(["b/b", "c/c"]));
    let after = cluster
        .patch(
            "configmaps",
            "c",
            PatchKind::Strategic,
            json!({"data": {"$patch": "replace", "z": "1"}}),
        )
        .unwrap();
    assert_eq!(after["data"], json!({"z": "1"}));

    cluster.create(
        "services",
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}], "selector": {"app": "x"}},
        }),
    );
    let patch = json!({"spec": {"ports": [{"port": 81, "targetPort": 9}], "selector": {"hash": "h"}}});
    let after = cluster
        .patch("services", "s", PatchKind::Strategic, patch)
        .unwrap();
    assert_eq!(
        after["spec"]["ports"][1],
        json!({"port": 81, "name": "b", "protocol": "TCP", "targetPort": 9})
    );
    assert_eq!(after["spec"]["selector"], json!({"app": "x", "hash": "h"}));
    let status = cluster
        .patch(
            "services",
            "s",
            PatchKind::Strategic,
            json!({"spec": {"ports": [{"name": "x"}]}}),
        )
        .unwrap_err();
    assert_eq!(
        status.message,
        r#"map: {"name":"x"} does not contain declared merge key: port"#
    );
}
