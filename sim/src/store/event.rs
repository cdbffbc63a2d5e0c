//! The two forms of an event: `v1` is kept, `events.k8s.io/v1` is another view of it.

use serde_json::Value;

use crate::store::value;

/// Field of `events.k8s.io/v1`, field of `v1`.
const FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// From `events.k8s.io/v1` to `v1`.
pub(crate) fn to_core(event: &mut Value) {
    rename(event, FIELDS.iter().copied(), "v1");
    let map = value::object(event);
    for key in ["firstTimestamp", "lastTimestamp"] {
        map.entry(key).or_insert(Value::Null);
    }
    for (key, empty) in [
        ("source", Value::Object(serde_json::Map::new())),
        ("reportingInstance", Value::from("")),
    ] {
        map.entry(key).or_insert(empty);
    }
}

/// From `v1` to `events.k8s.io/v1`.
pub(crate) fn from_core(event: &mut Value) {
    rename(
        event,
        FIELDS.iter().map(|&(new, core)| (core, new)),
        "events.k8s.io/v1",
    );
}

fn rename<'a>(event: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>, api_version: &str) {
    let map = value::object(event);
    for (from, to) in fields {
        if let Some(inner) = map.remove(from) {
            map.insert(to.to_owned(), inner);
        }
    }
    map.insert("apiVersion".to_owned(), Value::from(api_version));
}
