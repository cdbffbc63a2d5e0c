//! `metadata.managedFields`: who wrote which field, and server-side apply with its conflicts.

use serde_json::{Value, json};

use crate::store::value::Fields as _;
use crate::store::{
    fieldset::{self, FieldSet},
    resource::Resource,
    schema::Schema,
    status::{Cause, Reason, Status},
    value,
};

/// The manager that kubectl names in server-side apply, and its annotation in client-side apply.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The writer of a request, as `managedFields` names it.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    /// As in `managedFields[].time`.
    pub(crate) time: Value,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: Value,
    fields: FieldSet,
}

impl Entry {
    fn is(&self, manager: &Manager, apply: bool) -> bool {
        self.apply == apply
            && self.manager == manager.name
            && self.subresource == manager.subresource
            && (apply || self.api_version == manager.api_version)
    }

    fn new(manager: &Manager, apply: bool, fields: FieldSet) -> Self {
        Self {
            manager: manager.name.clone(),
            apply,
            api_version: manager.api_version.clone(),
            subresource: manager.subresource.clone(),
            time: manager.time.clone(),
            fields,
        }
    }

    /// How a conflict names its owner.
    fn described(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.apply {
            text
        } else {
            format!("{text} using {}", self.api_version)
        }
    }
}

fn decode(object: &Value) -> Vec<Entry> {
    let entries = object.field("/metadata/managedFields").and_then(Value::as_array);
    let text = |entry: &Value, key: &str| value::text(entry, &[key]).to_owned();
    entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("fieldsV1").is_some())
        .map(|entry| Entry {
            manager: text(entry, "manager"),
            apply: text(entry, "operation") == "Apply",
            api_version: text(entry, "apiVersion"),
            subresource: text(entry, "subresource"),
            time: entry.get("time").cloned().unwrap_or_default(),
            fields: FieldSet::parse(entry.get("fieldsV1").unwrap_or(&Value::Null)),
        })
        .collect()
}

fn encode(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (
                !e.apply,
                e.time.to_string(),
                e.manager.clone(),
                e.api_version.clone(),
                e.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let list: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut out = json!({
                "manager": entry.manager, "operation": if entry.apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version, "fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_value(),
            });
            let map = value::object(&mut out);
            if !entry.time.is_null() {
                map.insert("time".to_owned(), entry.time.clone());
            }
            if !entry.subresource.is_empty() {
                map.insert("subresource".to_owned(), json!(entry.subresource));
            }
            out
        })
        .collect();
    let metadata = value::metadata(object);
    if list.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), Value::Array(list));
    }
}

/// Records a write that was not an apply. `new` may carry the writer's own version of `managedFields`; an object that
/// exists and has none stays without.
pub(crate) fn update(old: &Value, new: &mut Value, manager: &Manager, schema: &Schema) {
    let given = new.field("/metadata/managedFields").and_then(Value::as_array);
    let mut entries = match given.filter(|_| manager.subresource.is_empty()) {
        // an empty list, or one empty entry, is an order to forget the owners
        Some(list) if list.iter().all(|entry| entry == &json!({})) => Vec::new(),
        Some(_) => decode(new),
        None => decode(old),
    };
    if entries.is_empty() && old.field("/metadata/uid").is_some() {
        value::metadata(new).remove("managedFields");
        return;
    }
    let mut difference = fieldset::compare(old, new, schema);
    difference.changed.strip_system();
    difference.removed.strip_system();
    if difference.changed.is_empty() && difference.removed.is_empty() {
        encode(new, entries);
        return;
    }
    let mut mine = FieldSet::default();
    for entry in &mut entries {
        entry.fields.subtract(&difference.changed);
        entry.fields.subtract(&difference.removed);
    }
    if let Some(index) = entries.iter().position(|entry| entry.is(manager, false)) {
        mine = entries.remove(index).fields;
    }
    mine.union(difference.changed);
    entries.push(Entry::new(manager, false, mine));
    encode(new, entries);
}

/// Server-side apply: lays `applied` over `live`, removes what this manager applied before and no longer does, and
/// records it.
///
/// # Errors
/// 409 if another manager owns a field that would change, unless `force`.
pub(crate) fn apply(
    resource: &Resource,
    live: &Value,
    applied: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, Status> {
    let schema = &resource.schema;
    let mut entries = decode(live);
    if entries.is_empty() && live.field("/metadata/uid").is_some() {
        let mut fields = fieldset::compare(&json!({}), live, schema).changed;
        fields.strip_system();
        let before = Manager {
            name: "before-first-apply".to_owned(),
            subresource: String::new(),
            ..manager.clone()
        };
        entries.push(Entry::new(&before, false, fields));
    }
    let mut wanted = FieldSet::of(applied, schema);
    wanted.strip_system();

    let mut merged = live.clone();
    fieldset::merge(&mut merged, applied, schema);
    let mut changed = fieldset::compare(live, &merged, schema).changed;
    changed.strip_system();

    let previous = entries
        .iter()
        .position(|entry| entry.is(manager, true))
        .map(|index| entries.remove(index));
    let of = |fields: &FieldSet| -> Vec<(usize, FieldSet)> {
        let all = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (index, entry.fields.intersection(fields)));
        all.filter(|(_, fields)| !fields.is_empty()).collect()
    };
    let conflicts = of(&changed);
    if !conflicts.is_empty() && !force {
        let mut forbidden = changed.clone();
        if manager.name == KUBECTL {
            forbidden.subtract(&client_side(live, schema));
        }
        let left = of(&forbidden);
        if !left.is_empty() {
            return Err(conflict(resource, &entries, &left));
        }
    }
    for (index, fields) in &conflicts {
        if let Some(entry) = entries.get_mut(*index) {
            entry.fields.subtract(fields);
        }
    }
    if let Some(previous) = &previous {
        let mut held = wanted.clone();
        for entry in &entries {
            held.union(entry.fields.clone());
        }
        let gone = previous.fields.without_held(&held);
        fieldset::remove(&mut merged, &gone, schema);
    }
    let time = previous
        .as_ref()
        .filter(|p| p.fields == wanted && changed.is_empty())
        .map(|p| p.time.clone());
    let mut entry = Entry::new(manager, true, wanted);
    if let Some(time) = time {
        entry.time = time;
    }
    entries.push(entry);
    encode(&mut merged, entries);
    if manager.name == KUBECTL {
        renew_last_applied(&mut merged, applied);
    }
    Ok(merged)
}

/// What `kubectl apply` without `--server-side` has applied and nobody has changed since: kubectl may take it over.
fn client_side(live: &Value, schema: &Schema) -> FieldSet {
    let applied: Option<Value> = live
        .field("/metadata/annotations")
        .and_then(|annotations| annotations.get(LAST_APPLIED)?.as_str())
        .and_then(|text| serde_json::from_str(text).ok());
    let Some(applied) = applied.filter(|applied| applied.get("apiVersion") == live.get("apiVersion")) else {
        return FieldSet::default();
    };
    let mut fields = FieldSet::of(&applied, schema);
    let difference = fieldset::compare(&applied, live, schema);
    fields.subtract(&difference.changed);
    fields.subtract(&difference.removed);
    fields
}

/// Keeps the annotation of client-side apply true when kubectl goes on with server-side apply.
fn renew_last_applied(merged: &mut Value, applied: &Value) {
    let annotations = merged
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut);
    let Some(slot) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else {
        return;
    };
    let mut applied = applied.clone();
    value::set(&mut applied, &["metadata", "annotations", LAST_APPLIED], None);
    *slot = json!(format!("{applied}\n"));
}

fn conflict(resource: &Resource, entries: &[Entry], conflicts: &[(usize, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut by_manager: Vec<(String, Vec<String>)> = Vec::new();
    for (index, fields) in conflicts {
        let Some(entry) = entries.get(*index) else {
            continue;
        };
        let (who, paths) = (entry.described(), fields.paths());
        causes.extend(paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {who}"),
            field: path.clone(),
        }));
        by_manager.push((who, paths));
    }
    by_manager.sort();
    let message = if let ([one], [(who, _)]) = (causes.as_slice(), by_manager.as_slice()) {
        format!("Apply failed with 1 conflict: conflict with {who}: {}", one.field)
    } else {
        let mut lines = Vec::new();
        for (who, paths) in &by_manager {
            lines.push(format!("conflicts with {who}:"));
            lines.extend(paths.iter().map(|path| format!("- {path}")));
        }
        format!(
            "Apply failed with {} conflicts: {}",
            causes.len(),
            lines.join("\n")
        )
    };
    let mut status = Status::new(Reason::Conflict, message);
    status.details.group.clone_from(&resource.group);
    status.details.causes = causes;
    status
}
