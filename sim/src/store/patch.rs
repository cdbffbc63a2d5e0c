//! JSON patch (RFC 6902) and Kubernetes' strategic merge patch.

use serde_json::{Map, Value};

use crate::store::{
    schema::{Schema, Type},
    status::{Reason, Status},
    value,
};

/// RFC 6902.
///
/// # Errors
/// 400 for a body that is no patch, 422 for an operation that does not apply, a failed `test` among them.
pub(crate) fn json(target: &mut Value, patch: Value) -> Result<(), Status> {
    if patch
        .as_array()
        .is_some_and(|operations| operations.len() > 10_000)
    {
        let message = "The allowed maximum operations in a JSON patch is 10000";
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    // a failed patch leaves `target` half changed: the caller throws it away
    json_patch::patch_unsafe(target, &patch).map_err(|_| {
        Status::new(
            Reason::Invalid,
            "the server rejected our request due to an error in our request",
        )
    })
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Kubernetes' own: lists with a merge key are joined, `$patch`, `$retainKeys`, `$setElementOrder` and
/// `$deleteFromPrimitiveList` are followed.
///
/// # Errors
/// 400 for a list element without its merge key.
pub(crate) fn strategic(target: &mut Value, patch: Value, schema: &Schema) -> Result<(), Status> {
    let Value::Object(patch) = patch else {
        *target = patch;
        return Ok(());
    };
    strategic_map(value::object(target), patch, schema)
}

fn strategic_map(
    target: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: &Schema,
) -> Result<(), Status> {
    match patch.remove(DIRECTIVE).as_ref().and_then(Value::as_str) {
        Some("replace") => {
            *target = patch;
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        _ => {}
    }
    if let Some(Value::Array(keep)) = patch.remove(RETAIN_KEYS) {
        target.retain(|key, _| keep.iter().any(|k| k == key));
    }
    let (directives, fields): (Vec<_>, Vec<_>) = patch.into_iter().partition(|(key, _)| key.starts_with('$'));
    for (key, values) in &directives {
        if let (Some(field), Value::Array(gone)) = (key.strip_prefix(DELETE_VALUES), values)
            && let Some(Value::Array(list)) = target.get_mut(field)
        {
            list.retain(|item| !gone.contains(item));
        }
    }
    let mut orders: Vec<(String, Vec<Value>, Vec<Value>)> = Vec::new();
    for (key, order) in directives {
        if let (Some(field), Value::Array(order)) = (key.strip_prefix(SET_ORDER), order) {
            let before = target
                .get(field)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            orders.push((field.to_owned(), order, before));
        }
    }
    for (key, new) in fields {
        let inner = schema.field_or_any(&key);
        match new {
            Value::Null => drop(target.remove(&key)),
            Value::Object(new)
                if inner.kind != Type::Any || target.get(&key).is_some_and(Value::is_object) =>
            {
                strategic_map(
                    value::object(target.entry(key).or_insert(Value::Null)),
                    new,
                    &inner,
                )?;
            }
            Value::Array(new) if inner.patch_merge => {
                let list = target.entry(key).or_insert(Value::Null);
                if !list.is_array() {
                    *list = Value::Array(Vec::new());
                }
                if let Value::Array(list) = list {
                    strategic_list(list, new, &inner)?;
                }
            }
            new => drop(target.insert(key, new)),
        }
    }
    for (field, order, before) in orders {
        let key = schema.field(&field).and_then(|inner| inner.merge_key.clone());
        if let Some(Value::Array(list)) = target.get_mut(&field) {
            sort(list, &order, &before, key.as_deref());
        }
    }
    Ok(())
}

fn strategic_list(list: &mut Vec<Value>, patch: Vec<Value>, schema: &Schema) -> Result<(), Status> {
    let Some(key) = &schema.merge_key else {
        // a set of plain values
        for item in patch {
            if !list.contains(&item) {
                list.push(item);
            }
        }
        return Ok(());
    };
    let directive = |item: &Value| value::text(item, &[DIRECTIVE]).to_owned();
    if patch
        .iter()
        .any(|item| directive(item) == "replace" && item.get(key).is_none())
    {
        *list = patch
            .into_iter()
            .filter(|item| directive(item) != "replace")
            .collect();
        return Ok(());
    }
    let inner = schema.items_or_any();
    for item in patch {
        let Some(id) = item.get(key).cloned() else {
            return Err(Status::bad_request(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        if directive(&item) == "delete" {
            list.retain(|live| live.get(key) != Some(&id));
            continue;
        }
        if let Some(live) = list.iter_mut().find(|live| live.get(key) == Some(&id)) {
            strategic(live, item, &inner)?;
        } else {
            let mut new = Value::Null;
            strategic(&mut new, item, &inner)?;
            list.push(new);
        }
    }
    Ok(())
}

/// Puts a list in the order that the patch names; elements that only the server has keep their place among them.
fn sort(list: &mut Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) {
    let id =
        |item: &Value| key.map_or_else(|| item.clone(), |key| item.get(key).cloned().unwrap_or_default());
    let before: Vec<Value> = before.iter().map(id).collect();
    let order: Vec<Value> = order.iter().map(id).collect();
    let wanted = |item: &Value| order.iter().position(|o| *o == id(item));
    let was = |item: &Value| before.iter().position(|b| *b == id(item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|item| wanted(item).is_some());
    named.sort_by_key(|item| wanted(item));
    let mut others = others.into_iter().peekable();
    for item in named {
        while let Some(other) =
            others.next_if(|other| was(&item).is_some_and(|place| was(other) < Some(place)))
        {
            list.push(other);
        }
        list.push(item);
    }
    list.extend(others);
}
