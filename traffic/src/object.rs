//! Reading and patching JSON objects: what several routers need.

use serde_json::{Value, json};

use crate::{RouteKind, Subject};

pub(crate) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn list<'v>(object: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(crate) fn controlled_by(object: &Value, uid: &str) -> bool {
    list(object, "/metadata/ownerReferences")
        .any(|owner| owner["uid"].as_str() == Some(uid) && owner["controller"].as_bool() == Some(true))
}

/// A new object of a Rollout, without its annotations.
pub(crate) fn owned(kind: &RouteKind, subject: &Subject<'_>, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": subject.namespace,
            "ownerReferences": [{
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Rollout",
                "name": subject.rollout,
                "uid": subject.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

/// uid and resourceVersion, as guards.
pub(crate) fn guards(object: &Value) -> (String, String) {
    let own = |pointer| text(object, pointer).to_owned();
    (own("/metadata/uid"), own("/metadata/resourceVersion"))
}

/// An operation of a JSON patch: `test`, `replace` or `add`.
pub(crate) fn operation(op: &str, path: &str, value: impl Into<Value>) -> Value {
    json!({"op": op, "path": path, "value": value.into()})
}
