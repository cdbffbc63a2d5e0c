//! Tables: objects as rows for people, which is what `kubectl get` asks for.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    http::{cells, jsonpath},
    store::Resource,
};

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Metadata.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// Draws objects as a Table.
pub(crate) fn draw(
    resource: &Resource,
    objects: &[Arc<Value>],
    metadata: &Value,
    include: Include,
    now: Timestamp,
) -> Value {
    let mut columns = vec![column("Name", "string", "name", 0)];
    let builtin = cells::columns(resource);
    if resource.custom {
        columns.extend(
            resource
                .columns
                .iter()
                .map(|c| column(&c.name, &c.kind, "", c.priority)),
        );
    } else {
        columns.extend(
            builtin
                .iter()
                .map(|c| column(c.name, c.kind, "", i64::from(c.wide))),
        );
    }
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![json!(object.pointer("/metadata/name"))];
            if resource.custom {
                cells.extend(
                    resource
                        .columns
                        .iter()
                        .map(|c| custom_cell(object, &c.kind, &c.path, now)),
                );
            } else {
                cells.extend(builtin.iter().map(|c| (c.cell)(object, now)));
            }
            let shown = match include {
                Include::None => Value::Null,
                Include::Metadata => partial(object),
                Include::Object => (**object).clone(),
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows,
    })
}

/// Metadata alone.
pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata")})
}

fn column(name: &str, kind: &str, format: &str, priority: i64) -> Value {
    json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
}

fn custom_cell(object: &Value, kind: &str, path: &str, now: Timestamp) -> Value {
    let Some(found) = jsonpath::find(object, path).first().copied() else {
        return Value::Null;
    };
    match (kind, found) {
        ("date", Value::String(time)) => json!(cells::since(time, now)),
        ("string", Value::String(_)) | (_, Value::Null) => found.clone(),
        ("string", other) => json!(other.to_string()),
        ("integer", value) if value.is_i64() => value.clone(),
        ("number", value) if value.is_number() => value.clone(),
        ("boolean", value) if value.is_boolean() => value.clone(),
        // a value of another type than the column's is not shown
        _ => Value::Null,
    }
}
