//! Small helpers on JSON objects: reading and writing by path.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// `.spec.replicas` as its parts.
pub(crate) fn path(dotted: &str) -> Vec<String> {
    dotted
        .split('.')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The value at a path of object fields.
pub(crate) fn at<'a, S: AsRef<str>>(value: &'a Value, path: &[S]) -> Option<&'a Value> {
    path.iter().try_fold(value, |inner, key| inner.get(key.as_ref()))
}

/// Fields by the path of a JSON pointer in which nothing is escaped: [`Value::pointer`] makes two texts for each part of it, and the
/// invariants ask a hundred times for each commit.
pub(crate) trait Fields {
    /// The value at a path such as `/metadata/labels`.
    fn field(&self, pointer: &str) -> Option<&Value>;
}

impl Fields for Value {
    fn field(&self, pointer: &str) -> Option<&Value> {
        let mut keys = pointer.split('/').skip(1);
        keys.try_fold(self, |inner, key| inner.get(key))
    }
}

/// The text at a path, empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// A field of `metadata` as text, empty if there is none.
pub(crate) fn meta<'a>(value: &'a Value, key: &str) -> &'a str {
    text(value, &["metadata", key])
}

/// Makes `value` an object if it is not one and gives it.
#[expect(
    clippy::expect_used,
    reason = "the type of a JSON value cannot say that it is an object"
)]
pub(crate) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
        .as_object_mut()
        .expect("invariant: the line above made it an object")
}

/// `metadata`, created if need be.
pub(crate) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    object(object(value).entry("metadata").or_insert(Value::Null))
}

/// Sets a path, creating the objects on the way; `None` removes it.
pub(crate) fn set<S: AsRef<str>>(value: &mut Value, path: &[S], new: Option<Value>) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut inner = value;
    for key in parents {
        if new.is_none() && inner.get(key.as_ref()).is_none() {
            return;
        }
        inner = object(inner).entry(key.as_ref()).or_insert(Value::Null);
    }
    match new {
        Some(new) => drop(object(inner).insert(last.as_ref().to_owned(), new)),
        None => drop(inner.as_object_mut().and_then(|map| map.remove(last.as_ref()))),
    }
}

/// Copies a path from one object to another, or removes it there.
pub(crate) fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    set(to, path, at(from, path).cloned());
}

/// A time as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
pub(crate) fn time(now: Timestamp) -> Value {
    Value::String(Timestamp::from_second(now.as_second()).unwrap_or(now).to_string())
}

/// The value itself if nobody else holds it, else a copy.
pub(crate) fn own(value: Arc<Value>) -> Value {
    Arc::unwrap_or_clone(value)
}

/// Size as JSON text, near enough for limits: exact but for escapes and floating point numbers.
pub(crate) fn size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(number) => number
            .as_i64()
            .map_or(20, |n| n.checked_ilog10().map_or(2, |d| d as usize + 1)),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, inner)| key.len() + 4 + size(inner))
                .sum::<usize>()
        }
    }
}

/// RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
