//! Custom resources with a schema: pruning, defaults, validation, versions, columns.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    reason = "a test fails by panicking, and its helpers read better so"
)]

#[path = "store_support/cluster.rs"]
mod cluster;

use cluster::Cluster;
use serde_json::{Value, json};
use tidegate_sim::store::{PatchKind, Reason, Request};

fn definition() -> Value {
    let schema = json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 10, "format": "int32"},
                    "mode": {"type": "string", "enum": ["slow", "fast"], "default": "slow"},
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                    "port": {"x-kubernetes-int-or-string": true},
                    "at": {"type": "string", "format": "date-time"},
                    "fixed": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                              "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed is immutable"}]},
                    "items": {"type": "array", "maxItems": 2, "items": {"type": "object", "required": ["key"], "properties": {
                        "key": {"type": "string"}, "on": {"type": "boolean", "default": true}}},
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "integer"}}},
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gates.tide.test"},
        "spec": {
            "group": "tide.test", "scope": "Namespaced",
            "names": {"kind": "Gate", "plural": "gates", "singular": "gate", "shortNames": ["gt"], "listKind": "GateList"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready"}},
                 "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]},
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    })
}

fn gate(spec: Value) -> Value {
    json!({"apiVersion": "tide.test/v1", "kind": "Gate", "metadata": {"name": "g"}, "spec": spec})
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    let kind = cluster.kind("customresourcedefinitions");
    let made = cluster.send(Request::create(&kind, "", definition())).unwrap();
    assert_eq!(made["status"]["conditions"][1]["type"], "Established");
    cluster
}

#[test]
fn a_definition_makes_a_kind() {
    let cluster = cluster();
    let kind = cluster
        .store
        .registry()
        .by_path("tide.test", "v1", "gates")
        .unwrap();
    assert_eq!(
        (kind.short_names.as_slice(), kind.namespaced, kind.status),
        (&["gt".to_owned()][..], true, true)
    );
    assert_eq!(kind.columns[0].path, ".spec.size");
    assert!(kind.scale.is_some());
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let mut cluster = cluster();
    let made = cluster.create("gates", gate(json!({"size": 3, "what": 1, "fixed": {"any": "thing"}, "items": [{"key": "a", "x": 1}], "mode": null})));
    assert_eq!(
        made["spec"],
        json!({"size": 3, "mode": "slow", "fixed": {"any": "thing"}, "items": [{"key": "a", "on": true}]})
    );
}

/// Spec, message after the object's name.
#[test]
fn the_schema_is_checked_in_the_servers_words() {
    let cases = [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": "x"}),
            r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#,
        ),
        (
            json!({"size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"size": 11}),
            "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
        ),
        (
            json!({"size": 1, "mode": "x"}),
            r#"spec.mode: Unsupported value: "x": supported values: "slow", "fast""#,
        ),
        (
            json!({"size": 1, "name": "A"}),
            r#"spec.name: Invalid value: "A": spec.name in body should match '^[a-z]+$'"#,
        ),
        (
            json!({"size": 1, "name": "abcdef"}),
            "spec.name: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"size": 1, "at": "noon"}),
            r#"spec.at: Invalid value: "noon": spec.at in body must be of type date-time: "noon""#,
        ),
        (
            json!({"size": 1, "port": true}),
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"size": 1, "items": [{}]}),
            "spec.items[0].key: Required value",
        ),
        (
            json!({"size": 1, "items": [{"key": "a"}, {"key": "b"}, {"key": "c"}]}),
            "spec.items: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"size": 1, "labels": {"a": 1}}),
            r#"spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer""#,
        ),
        (
            json!({"size": null}),
            r#"spec.size: Invalid value: "null": spec.size in body must be of type integer: "null""#,
        ),
    ];
    for (spec, message) in cases {
        let status = cluster().try_create("gates", gate(spec.clone())).unwrap_err();
        assert_eq!(status.reason, Reason::Invalid, "{spec}");
        assert_eq!(
            status.message,
            format!("Gate.tide.test \"g\" is invalid: {message}"),
            "{spec}"
        );
    }
}

#[test]
fn an_immutable_field_stays() {
    let mut cluster = cluster();
    cluster.create("gates", gate(json!({"size": 1, "fixed": {"a": 1}})));
    let status = cluster
        .patch(
            "gates",
            "g",
            PatchKind::Merge,
            json!({"spec": {"fixed": {"a": 2}}}),
        )
        .unwrap_err();
    assert_eq!(
        status.message,
        "Gate.tide.test \"g\" is invalid: spec.fixed: Invalid value: \"object\": fixed is immutable"
    );
    cluster.merge("gates", "g", json!({"spec": {"size": 2}}));
}

#[test]
fn all_versions_show_the_same_objects() {
    let mut cluster = cluster();
    cluster.create("gates", gate(json!({"size": 3})));
    let beta = cluster
        .store
        .registry()
        .by_path("tide.test", "v1beta1", "gates")
        .unwrap()
        .clone();
    let seen = cluster.store.get(&beta, "shop", "g").unwrap();
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]["size"]),
        (&json!("tide.test/v1beta1"), &json!(3))
    );
}

#[test]
fn deleting_a_definition_removes_its_objects() {
    let mut cluster = cluster();
    cluster.create("gates", gate(json!({"size": 3})));
    let kind = cluster.kind("customresourcedefinitions");
    cluster
        .send(Request::delete(&kind, "", "gates.tide.test"))
        .unwrap();
    assert!(
        cluster
            .store
            .registry()
            .by_path("tide.test", "v1", "gates")
            .is_none()
    );
    let last = cluster.store.commits_since(0).last().unwrap();
    assert_eq!((last.name.as_str(), last.after.is_none()), ("g", true));
}

/// What no Go client could read is refused by the shipped definitions; what they can read, and what is newer, is kept as it is.
#[test]
fn a_pod_template_that_go_cannot_read_is_refused() {
    let mut cluster = Cluster::new();
    let shipped: Value = serde_saphyr::from_str(include_str!("../../deploy/crds/rollouts.yaml")).unwrap();
    let kind = cluster.kind("customresourcedefinitions");
    cluster.send(Request::create(&kind, "", shipped)).unwrap();
    let container = |field: &str, value: Value| {
        let mut rollout = cluster::rollout("web");
        rollout["spec"]["template"]["spec"]["containers"][0][field] = value;
        rollout
    };
    let requests = |value: Value| container("resources", json!({"requests": {"memory": value}}));
    let taken = [
        requests(json!("1.5Gi")),
        requests(json!(0.5)),
        requests(json!(128_974_848)),
        requests(json!(null)),
        container("resources", json!(null)),
        container("command", json!(null)),
        container("newField", json!({"a": [1]})),
        container("readinessProbe", json!({"httpGet": {"port": "http"}})),
        container(
            "readinessProbe",
            json!({"httpGet": {"port": 80}, "timeoutSeconds": 5}),
        ),
        container("env", json!([{"name": "A", "value": "5", "newer": 1}])),
    ];
    for (number, mut rollout) in taken.into_iter().enumerate() {
        rollout["metadata"]["name"] = json!(format!("taken-{number}"));
        let stored = cluster.create("rollouts", rollout.clone());
        assert_eq!(stored["spec"]["template"], rollout["spec"]["template"]);
    }
    let path = "spec.template.spec.containers[0]";
    for (rollout, field) in [
        (requests(json!("invalid")), "resources.requests.memory"),
        (
            container("env", json!([{"name": "A", "value": 5}])),
            "env[0].value",
        ),
        (container("command", json!("sh")), "command"),
        (container("stdin", json!("yes")), "stdin"),
        (
            container("readinessProbe", json!({"timeoutSeconds": "5s"})),
            "readinessProbe.timeoutSeconds",
        ),
    ] {
        let refused = cluster.try_create("rollouts", rollout).unwrap_err();
        let field = format!("{path}.{field}");
        assert!(refused.message.contains(&field), "{field}: {}", refused.message);
    }
}
