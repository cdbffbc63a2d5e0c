//! What the API server makes of a write, for tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::{Value, json};
use tidegate_traffic::RouteOp;

/// The object after a write; `None`: it is gone. A test of a JSON patch that does not hold fails the test.
pub(crate) fn applied(object: Option<&Value>, op: &RouteOp) -> Option<Value> {
    let mut object = match (op, object) {
        (RouteOp::Create(body), _) => return Some(body.clone()),
        (RouteOp::Delete { .. }, _) => return None,
        (_, object) => object.unwrap().clone(),
    };
    match op {
        RouteOp::Patch { patch, .. } => merge(&mut object, patch),
        RouteOp::SetWeight { operations, .. } => {
            for operation in operations {
                json_patch(&mut object, operation);
            }
        }
        RouteOp::Create(_) | RouteOp::Delete { .. } => {}
    }
    Some(object)
}

fn json_patch(object: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap();
    let value = &operation["value"];
    match operation["op"].as_str().unwrap() {
        "test" => assert_eq!(object.pointer(path), Some(value), "{operation}"),
        "replace" => *object.pointer_mut(path).unwrap() = value.clone(),
        op @ ("add" | "remove") => {
            let (parent, field) = path.rsplit_once('/').unwrap();
            let field = field.replace("~1", "/").replace("~0", "~");
            let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            if op == "add" {
                parent.insert(field, value.clone());
            } else {
                assert!(parent.remove(&field).is_some(), "{operation}");
            }
        }
        other => panic!("not in these tests: {other}"),
    }
}

/// Applies a merge patch.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
