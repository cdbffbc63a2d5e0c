//! Sets of field paths, as server-side apply keeps them in `metadata.managedFields` (FieldsV1).
//!
//! Path elements are kept in their written form: `f:replicas`, `k:{"name":"app"}`, `v:"a"`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::store::schema::{ListType, Schema};

/// A tree of path elements; an element may be a member itself, have members below it, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Reads FieldsV1; what is not understood is left out.
    pub(crate) fn parse(fields: &Value) -> Self {
        let mut set = Self::default();
        for (key, inner) in fields.as_object().into_iter().flatten() {
            if key == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::parse(inner);
            child.member |= child.children.is_empty();
            set.children.insert(key.clone(), child);
        }
        set
    }

    /// Writes FieldsV1.
    pub(crate) fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), json!({}));
        }
        for (key, child) in &self.children {
            map.insert(key.clone(), child.to_value());
        }
        Value::Object(map)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    fn add(&mut self, key: String, child: Self) {
        if !child.is_empty() {
            self.children.entry(key).or_default().union(child);
        }
    }

    /// Adds all of another set.
    pub(crate) fn union(&mut self, other: Self) {
        self.member |= other.member;
        for (key, child) in other.children {
            match self.children.get_mut(&key) {
                Some(mine) => mine.union(child),
                None => drop(self.children.insert(key, child)),
            }
        }
    }

    /// Takes the members of another set away.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (key, theirs) in &other.children {
            if let Some(mine) = self.children.get_mut(key) {
                mine.subtract(theirs);
                if mine.is_empty() {
                    self.children.remove(key);
                }
            }
        }
    }

    /// The members that both sets have.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut out = Self {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (key, mine) in &self.children {
            if let Some(theirs) = other.children.get(key) {
                out.add(key.clone(), mine.intersection(theirs));
            }
        }
        out
    }

    /// The members of this set that another neither has nor has anything below.
    pub(crate) fn without_held(&self, other: &Self) -> Self {
        let mut out = Self {
            member: self.member && other.is_empty(),
            children: BTreeMap::new(),
        };
        let nothing = Self::default();
        for (key, mine) in &self.children {
            out.add(
                key.clone(),
                mine.without_held(other.children.get(key).unwrap_or(&nothing)),
            );
        }
        out
    }

    /// Takes a path and everything below away.
    pub(crate) fn cut(&mut self, path: &[&str]) {
        match path {
            [] => *self = Self::default(),
            [last] => drop(self.children.remove(*last)),
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.cut(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// The members as people read them: `.spec.containers[name="app"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        if self.member {
            out.push(path.clone());
        }
        for (key, child) in &self.children {
            let length = path.len();
            path.push_str(&readable(key));
            child.collect(path, out);
            path.truncate(length);
        }
    }

    /// The fields that an applied object names.
    pub(crate) fn of(value: &Value, schema: &Schema) -> Self {
        let mut set = Self::default();
        match shape(schema, value) {
            Shape::Leaf => set.member = true,
            Shape::Map(map) => {
                for (key, inner) in map {
                    let child_schema = schema.field_or_any(key);
                    let mut child = Self::of(inner, &child_schema);
                    let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                    // the key of a map is owned itself, a field of a struct only by what is in it
                    child.member |= empty || (!schema.declares(key) && schema.additional.is_some());
                    set.add(format!("f:{key}"), child);
                }
            }
            Shape::List(items) => {
                let inner = schema.items_or_any();
                for item in items {
                    let Some(key) = item_key(item, schema, &inner) else {
                        return Self::leaf();
                    };
                    let mut child = if key.starts_with('v') {
                        Self::default()
                    } else {
                        Self::of(item, &inner)
                    };
                    child.member = true;
                    set.add(key, child);
                }
            }
        }
        set
    }
}

/// `f:replicas` as `.replicas`, `k:{"name":"a"}` as `[name="a"]`, `v:"a"` as `[="a"]`.
fn readable(key: &str) -> String {
    match key.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let mut keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            keys.sort_unstable();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{key}]"),
    }
}

enum Shape<'a> {
    Leaf,
    Map(&'a Map<String, Value>),
    List(&'a [Value]),
}

/// How a value is owned: as a whole, by field or by element.
fn shape<'a>(schema: &Schema, value: &'a Value) -> Shape<'a> {
    match value {
        Value::Object(map) if !schema.atomic => Shape::Map(map),
        Value::Array(items) if schema.list != ListType::Atomic => Shape::List(items),
        _ => Shape::Leaf,
    }
}

/// The path element of a list item; `None` if it lacks its keys, which makes the list one whole.
fn item_key(item: &Value, list: &Schema, inner: &Schema) -> Option<String> {
    match &list.list {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{item}")),
        ListType::Map(keys) => {
            let mut parts = Vec::new();
            for key in keys {
                let given = item
                    .get(key)
                    .or_else(|| inner.properties.get(key).and_then(|s| s.default.as_ref()));
                if let Some(value) = given {
                    parts.push(format!("{}:{value}", json!(key)));
                }
            }
            parts.sort_unstable();
            (!parts.is_empty()).then(|| format!("k:{{{}}}", parts.join(",")))
        }
    }
}

/// What a write changed.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Fields that are new or have another value.
    pub(crate) changed: FieldSet,
    /// Fields that are gone.
    pub(crate) removed: FieldSet,
}

/// Compares two objects field by field.
pub(crate) fn compare(old: &Value, new: &Value, schema: &Schema) -> Difference {
    let mut difference = Difference::default();
    (difference.changed, difference.removed) = compare_at(Some(old), Some(new), schema);
    difference
}

fn compare_at(old: Option<&Value>, new: Option<&Value>, schema: &Schema) -> (FieldSet, FieldSet) {
    if old == new {
        return Default::default();
    }
    let (mut changed, mut removed) = (FieldSet::default(), FieldSet::default());
    let mut descend = |key: &str, old: Option<&Value>, new: Option<&Value>, inner: &Schema| {
        let (more, less) = compare_at(old, new, inner);
        changed.add(key.to_owned(), more);
        removed.add(key.to_owned(), less);
    };
    // whether a value that came or went counts itself, and whether it is compared as a whole
    let (counts, whole) = match (old.map(|v| shape(schema, v)), new.map(|v| shape(schema, v))) {
        (Some(Shape::Map(_)), None | Some(Shape::Map(_))) | (None, Some(Shape::Map(_))) => {
            let maps = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = maps.0.is_none_or(Map::is_empty) && maps.1.is_none_or(Map::is_empty);
            for (key, value) in maps.0.into_iter().flatten() {
                let other = maps.1.and_then(|map| map.get(key));
                if other != Some(value) {
                    descend(&format!("f:{key}"), Some(value), other, &schema.field_or_any(key));
                }
            }
            for (key, value) in maps.1.into_iter().flatten() {
                if maps.0.is_none_or(|map| !map.contains_key(key)) {
                    descend(&format!("f:{key}"), None, Some(value), &schema.field_or_any(key));
                }
            }
            // the zero value of a Go struct is always there: nobody adds it
            (empty || schema.name.is_empty(), false)
        }
        (Some(Shape::List(_)), None | Some(Shape::List(_))) | (None, Some(Shape::List(_))) => {
            let inner = schema.items_or_any();
            let keyed = |list: Option<&Value>| -> Option<BTreeMap<String, Value>> {
                let items = list
                    .and_then(Value::as_array)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                items
                    .iter()
                    .map(|item| Some((item_key(item, schema, &inner)?, item.clone())))
                    .collect()
            };
            match (keyed(old), keyed(new)) {
                (Some(before), Some(after)) => {
                    let scalar = schema.list == ListType::Set;
                    for (key, value) in &before {
                        if !scalar || !after.contains_key(key) {
                            descend(key, Some(value), after.get(key), &inner);
                        }
                    }
                    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                        descend(key, None, Some(value), &inner);
                    }
                    let mark =
                        |set: &mut FieldSet, from: &BTreeMap<String, Value>, to: &BTreeMap<String, Value>| {
                            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                                set.children.entry(key.clone()).or_default().member = true;
                            }
                        };
                    mark(&mut removed, &before, &after);
                    mark(&mut changed, &after, &before);
                    (true, false)
                }
                _ => (true, true),
            }
        }
        _ => (true, true),
    };
    match (old, new) {
        (None, Some(_)) => changed.member = counts,
        (Some(_), None) => removed.member = counts,
        _ => changed.member = whole,
    }
    (changed, removed)
}

/// Lays an applied object over the live one.
pub(crate) fn merge(live: &mut Value, applied: &Value, schema: &Schema) {
    match (shape(schema, applied), live) {
        (Shape::Map(applied), Value::Object(live)) => {
            for (key, value) in applied {
                match live.get_mut(key) {
                    Some(inner) => merge(inner, value, &schema.field_or_any(key)),
                    None => drop(live.insert(key.clone(), value.clone())),
                }
            }
        }
        (Shape::List(applied), Value::Array(live)) => {
            let inner = schema.items_or_any();
            for item in applied {
                let key = item_key(item, schema, &inner);
                match live
                    .iter_mut()
                    .find(|live| key.is_some() && item_key(live, schema, &inner) == key)
                {
                    Some(found) if schema.list != ListType::Set => merge(found, item, &inner),
                    Some(_) => {}
                    None => live.push(item.clone()),
                }
            }
        }
        (_, live) => *live = applied.clone(),
    }
}

/// Removes fields from an object, and what held only them.
pub(crate) fn remove(value: &mut Value, fields: &FieldSet, schema: &Schema) {
    match value {
        Value::Object(map) => {
            for (key, child) in &fields.children {
                let Some(name) = key.strip_prefix("f:") else {
                    continue;
                };
                let Some(inner) = map.get_mut(name) else { continue };
                remove(inner, child, &schema.field_or_any(name));
                if goes(inner, child) {
                    map.remove(name);
                }
            }
        }
        Value::Array(items) => {
            let inner = schema.items_or_any();
            items.retain_mut(|item| {
                let child = item_key(item, schema, &inner).and_then(|key| fields.children.get(&key));
                let Some(child) = child else { return true };
                remove(item, child, &inner);
                !child.member
            });
        }
        _ => {}
    }
}

/// Whether a field goes once the fields below it are gone: it was named itself, or nothing is left in it.
fn goes(value: &Value, fields: &FieldSet) -> bool {
    let empty = match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    (fields.member && fields.children.is_empty()) || empty
}

impl FieldSet {
    /// Takes away what nobody owns: the server's part of an object.
    pub(crate) fn strip_system(&mut self) {
        const SYSTEM: &[&str] = &[
            "f:name",
            "f:namespace",
            "f:uid",
            "f:resourceVersion",
            "f:generation",
            "f:creationTimestamp",
            "f:selfLink",
            "f:managedFields",
            "f:deletionTimestamp",
            "f:deletionGracePeriodSeconds",
        ];
        self.cut(&["f:apiVersion"]);
        self.cut(&["f:kind"]);
        for field in SYSTEM {
            self.cut(&["f:metadata", field]);
        }
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.member = false;
            if metadata.is_empty() {
                self.children.remove("f:metadata");
            }
        }
        self.member = false;
    }
}
