//! The Go types of a pod template as a schema, so that the API server refuses what no Go client could read.

use serde_json::{Map, Value, json};

use super::schema::{Kind, Schema};

/// What Go's parser of quantities takes. A quantity may also be a number, with a fraction too, so that it can have no type here.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// The schema of `spec` of a pod template. Fields that are newer than the table stay, and `null` is an absent value, as it is in Go.
pub(crate) fn pod_spec() -> Value {
    let schema = Schema::get();
    let Kind::Struct(template) = schema.pod_template else {
        return json!({});
    };
    let spec = schema.fields(template).iter().find(|field| field.name == "spec");
    spec.map_or_else(|| json!({}), |field| of(&field.kind))
}

fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Pointer(inner) => of(inner),
        Kind::String => json!({ "type": "string", "x-nullable": true }),
        Kind::Bool => json!({ "type": "boolean", "x-nullable": true }),
        Kind::Int(_, most) => {
            let format = if *most > i64::from(i32::MAX) {
                "int64"
            } else {
                "int32"
            };
            json!({ "type": "integer", "format": format, "x-nullable": true })
        }
        Kind::Raw => json!({ "x-kubernetes-preserve-unknown-fields": true, "x-nullable": true }),
        Kind::Quantity => {
            json!({ "x-kubernetes-preserve-unknown-fields": true, "x-nullable": true, "pattern": QUANTITY })
        }
        Kind::IntOrString => json!({ "x-kubernetes-int-or-string": true, "x-nullable": true }),
        Kind::Time => json!({ "type": "string", "format": "date-time", "x-nullable": true }),
        Kind::List(inner) => json!({ "type": "array", "items": of(inner), "x-nullable": true }),
        Kind::Map(inner) => {
            json!({ "type": "object", "additionalProperties": of(inner), "x-nullable": true })
        }
        Kind::Struct(index) => {
            let fields = Schema::get().fields(*index).iter();
            let properties: Map<String, Value> = fields
                .map(|field| (field.name.clone(), of(&field.kind)))
                .collect();
            json!({
                "type": "object", "properties": properties, "x-nullable": true,
                "x-kubernetes-preserve-unknown-fields": true,
            })
        }
    }
}
