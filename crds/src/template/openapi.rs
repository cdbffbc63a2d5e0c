//! The schema of a pod's spec in the CRDs: what the Go types cannot hold is refused, and so is never stored. One stored
//! value that they cannot read makes every typed Go client fail to list its whole namespace.

use serde_json::{Map, Value, json};

use super::schema::{Kind, Schema};

/// What `resource.ParseQuantity` takes. It is read from JSON numbers, too, and those have no pattern.
const QUANTITY: &str = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?[0-9]+)?\s*$";

/// The schema of `PodSpec`. Fields that are newer than our table are kept; `null` is what Go reads as absent.
pub(crate) fn pod_spec() -> Value {
    let spec = match &Schema::get().pod_template {
        Kind::Struct(index) => Schema::get()
            .fields(*index)
            .iter()
            .find(|field| field.name == "spec"),
        _ => None,
    };
    spec.map_or(Value::Null, |field| of(&field.kind))
}

fn of(kind: &Kind) -> Value {
    let mut schema = match kind {
        Kind::Pointer(inner) => return of(inner),
        Kind::String => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int(_, most) if *most == i64::from(i32::MAX) => json!({ "type": "integer", "format": "int32" }),
        Kind::Int(..) => json!({ "type": "integer", "format": "int64" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::IntOrString => json!({
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "x-kubernetes-int-or-string": true,
        }),
        Kind::Quantity => json!({ "pattern": QUANTITY, "x-kubernetes-preserve-unknown-fields": true }),
        Kind::Raw => json!({ "x-kubernetes-preserve-unknown-fields": true }),
        Kind::List(inner) => json!({ "type": "array", "items": of(inner) }),
        Kind::Map(inner) => json!({ "type": "object", "additionalProperties": of(inner) }),
        Kind::Struct(index) => {
            let fields = Schema::get().fields(*index).iter();
            let properties: Map<String, Value> = fields
                .map(|field| (field.name.clone(), of(&field.kind)))
                .collect();
            json!({
                "type": "object",
                "properties": properties,
                "x-kubernetes-preserve-unknown-fields": true,
            })
        }
    };
    schema["x-nullable"] = json!(true);
    schema
}
