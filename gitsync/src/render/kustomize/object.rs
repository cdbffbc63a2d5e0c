//! An object on its way through a build, with what it was called before.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidegate_manifests::Place;

use super::id::{Gvk, Id};
use super::schema;

/// What a generated object does to one that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behavior {
    #[default]
    Create,
    Merge,
    Replace,
}

/// An object and its history in this build.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) value: Value,
    pub(super) place: Place,
    /// The texts that stand in quotes in the file.
    pub(super) quoted: Quoted,
    /// What it was called, oldest first.
    history: Vec<Previous>,
    pub(super) prefixes: Vec<String>,
    pub(super) suffixes: Vec<String>,
    /// Whether its name gets a digest of its content.
    pub(super) hashed: bool,
    pub(super) behavior: Behavior,
}

#[derive(Clone, Debug)]
struct Previous {
    kind: String,
    name: String,
    namespace: String,
}

impl Object {
    pub(super) fn new(value: Value, place: Place) -> Self {
        Self {
            value,
            place,
            quoted: Quoted::default(),
            history: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            hashed: false,
            behavior: Behavior::default(),
        }
    }

    pub(super) fn kind(&self) -> &str {
        self.value.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn api_version(&self) -> &str {
        let found = self.value.get("apiVersion");
        found.and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn gvk(&self) -> Gvk {
        Gvk::new(self.api_version(), self.kind())
    }

    pub(super) fn name(&self) -> String {
        self.value.pointer("/metadata/name").map(text).unwrap_or_default()
    }

    /// As it is written; empty if it is not.
    pub(super) fn namespace(&self) -> String {
        let found = self.value.pointer("/metadata/namespace");
        found.map(text).unwrap_or_default()
    }

    pub(super) fn set_name(&mut self, name: String) {
        self.metadata().insert("name".to_owned(), Value::String(name));
    }

    /// Writes the namespace, or takes it away if it is empty.
    pub(super) fn set_namespace(&mut self, namespace: String) {
        if namespace.is_empty() {
            self.metadata().remove("namespace");
        } else {
            let namespace = Value::String(namespace);
            self.metadata().insert("namespace".to_owned(), namespace);
        }
    }

    pub(super) fn metadata(&mut self) -> &mut Map<String, Value> {
        child(map(&mut self.value), "metadata")
    }

    /// What it is called now.
    pub(super) fn id(&self) -> Id {
        Id {
            gvk: self.gvk(),
            name: self.name(),
            namespace: self.namespace(),
            cluster: schema::is_cluster_scoped(self.api_version(), self.kind()),
        }
    }

    /// What it was called before, oldest first.
    pub(super) fn previous_ids(&self) -> Vec<Id> {
        let gvk = self.gvk();
        let id = |previous: &Previous| Id {
            gvk: Gvk {
                kind: previous.kind.clone(),
                ..gvk.clone()
            },
            name: previous.name.clone(),
            namespace: previous.namespace.clone(),
            cluster: false,
        };
        self.history.iter().map(id).collect()
    }

    /// What it was called in its file.
    pub(super) fn original_id(&self) -> Id {
        self.previous_ids()
            .into_iter()
            .next()
            .unwrap_or_else(|| self.id())
    }

    /// Whether any of its names fits.
    pub(super) fn any_id(&self, fits: impl Fn(&Id) -> bool) -> bool {
        self.previous_ids().iter().any(&fits) || fits(&self.id())
    }

    /// Remembers what it is called now: it is about to change.
    pub(super) fn remember(&mut self) {
        let id = self.id();
        self.history.push(Previous {
            namespace: id.effective_namespace().to_owned(),
            kind: id.gvk.kind,
            name: id.name,
        });
    }

    pub(super) fn has_history(&self) -> bool {
        !self.history.is_empty()
    }

    /// Takes name, place in the build, labels and annotations over from the object that it merges into or replaces.
    pub(super) fn succeed(&mut self, old: &Self) {
        for field in ["labels", "annotations"] {
            let mut merged = old.texts(field);
            merged.append(&mut self.texts(field));
            self.set_texts(field, merged);
        }
        self.set_name(old.name());
        self.set_namespace(old.namespace());
        self.history.clone_from(&old.history);
        self.prefixes.clone_from(&old.prefixes);
        self.suffixes.clone_from(&old.suffixes);
        self.hashed &= old.hashed;
        self.behavior = old.behavior;
    }

    /// Labels or annotations, all values as text.
    pub(super) fn texts(&self, field: &str) -> Map<String, Value> {
        let found = self
            .value
            .pointer("/metadata")
            .and_then(|metadata| metadata.get(field));
        texts(found)
    }

    /// Writes labels or annotations; an empty map is taken away.
    pub(super) fn set_texts(&mut self, field: &str, texts: Map<String, Value>) {
        let metadata = self.metadata();
        if texts.is_empty() {
            metadata.remove(field);
        } else {
            metadata.insert(field.to_owned(), Value::Object(texts));
        }
    }
}

/// Texts in quotes, by the keys that they stand at: what replaces one becomes text as well.
#[derive(Clone, Debug, Default)]
pub(super) struct Quoted(BTreeSet<(String, String)>);

impl Quoted {
    /// Longer ones are not looked for.
    const LONGEST: usize = 100;

    pub(super) fn add(&mut self, key: &str, text: &str) {
        if text.len() <= Self::LONGEST {
            self.0.insert((key.to_owned(), text.to_owned()));
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// All texts of a value.
    pub(super) fn all(value: &Value) -> Self {
        fn add(quoted: &mut Quoted, value: &Value) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| add(quoted, item)),
                Value::Object(map) => {
                    for (key, value) in map {
                        match value {
                            Value::String(text) => quoted.add(key, text),
                            value => add(quoted, value),
                        }
                    }
                }
                _ => {}
            }
        }
        let mut quoted = Self::default();
        add(&mut quoted, value);
        quoted
    }

    /// Whether a text stands in quotes at a key, or must: without them it would be a number or the like.
    pub(super) fn has(&self, key: &str, text: &str) -> bool {
        text.contains('\n') || !plain(text).is_string() || self.0.contains(&(key.to_owned(), text.to_owned()))
    }
}

/// A text as YAML reads it when it has no quotes.
pub(super) fn plain(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
        _ => Value::from(text),
    }
}

/// A map with all values as text.
pub(super) fn texts(value: Option<&Value>) -> Map<String, Value> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), Value::String(text(value))))
        .collect()
}

/// A plain value as it would be written; nothing for a list or a map.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => String::new(),
        plain => plain.to_string(),
    }
}

/// The map that a value is; it becomes one if it is none.
pub(super) fn map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    #[expect(clippy::expect_used, reason = "an invariant")]
    value
        .as_object_mut()
        .expect("invariant: the value was made a map above")
}

/// The map under a key; it is made if there is none.
pub(super) fn child<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    map(parent.entry(key).or_insert(Value::Null))
}
