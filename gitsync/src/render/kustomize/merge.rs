//! Strategic merge as Kustomize does it, with its peculiarities: items of a patch come first, items with equal keys
//! become one even where the patch says nothing, and nulls in the patch take away.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::object::{Quoted, text};
use super::schema::{self, Field};

const DIRECTIVE: &str = "$patch";
/// Directives of `kubectl patch` that Kustomize would copy into the object.
const UNKNOWN: [&str; 3] = ["$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"];

/// Merges a patch into an object, whose texts in quotes are known; nothing is left if the patch deletes it.
///
/// # Errors
/// The two do not fit together, or a directive is unknown.
pub(super) fn merge(object: Value, patch: Value, quoted: &Quoted) -> Result<Option<Value>, String> {
    refuse_unknown(&patch)?;
    let merged = walk(Some(object), Some(patch), None, quoted)?;
    if merged.as_ref().is_some_and(has_directive) {
        return Err("$patch: Kustomize does not apply this one and would leave it in the object".to_owned());
    }
    Ok(merged)
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_directive),
        Value::Object(map) => map.contains_key(DIRECTIVE) || map.values().any(has_directive),
        _ => false,
    }
}

fn refuse_unknown(patch: &Value) -> Result<(), String> {
    match patch {
        Value::Array(items) => items.iter().try_for_each(refuse_unknown),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            if UNKNOWN.iter().any(|unknown| key.starts_with(unknown)) {
                return Err(format!(
                    "{key}: Kustomize does not know this directive; use $patch or a JSON patch"
                ));
            }
            refuse_unknown(value)
        }),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Nothing,
    Map,
    List,
    Plain,
}

fn shape(value: Option<&Value>) -> Shape {
    match value {
        None | Some(Value::Null) => Shape::Nothing,
        Some(Value::Object(_)) => Shape::Map,
        Some(Value::Array(_)) => Shape::List,
        Some(_) => Shape::Plain,
    }
}

/// `field` is what is known of the value; the root, and what lies below unknown fields, tells its kind itself.
fn walk(
    dest: Option<Value>,
    patch: Option<Value>,
    field: Option<Field>,
    quoted: &Quoted,
) -> Result<Option<Value>, String> {
    let (have, want) = (shape(dest.as_ref()), shape(patch.as_ref()));
    if have != Shape::Nothing && want != Shape::Nothing && have != want {
        return Err(
            "the patch has another shape than what it is for: map, list and plain value do not mix".into(),
        );
    }
    let field = field.or_else(|| kind_of(dest.as_ref()).or_else(|| kind_of(patch.as_ref())));
    match if have == Shape::Nothing { want } else { have } {
        Shape::Map => maps(dest, patch, field, quoted),
        Shape::List => lists(dest, patch, field, quoted),
        Shape::Plain => Ok(patch.or(dest).filter(|value| !value.is_null())),
        // a null that was there stays, a null of the patch takes away
        Shape::Nothing => Ok(dest.filter(|_| patch.is_none())),
    }
}

fn kind_of(value: Option<&Value>) -> Option<Field> {
    let text = |field: &str| value?.get(field)?.as_str();
    schema::of_kind(text("apiVersion")?, text("kind")?)
}

#[derive(PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(value: &Value) -> Result<Directive, String> {
    match text(value).as_str() {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        _ => Err("$patch: only merge, replace and delete are known".to_owned()),
    }
}

fn maps(
    dest: Option<Value>,
    patch: Option<Value>,
    field: Option<Field>,
    quoted: &Quoted,
) -> Result<Option<Value>, String> {
    let as_map = |value: Option<Value>| match value {
        Some(Value::Object(map)) => Some(map),
        _ => None,
    };
    // a null of the patch takes the map away
    if patch.as_ref().is_some_and(Value::is_null) {
        return Ok(None);
    }
    let (dest, mut patch) = (as_map(dest), as_map(patch));
    let found = patch.as_mut().and_then(|patch| patch.remove(DIRECTIVE));
    let directive = found.as_ref().map_or(Ok(Directive::Merge), directive)?;
    if directive == Directive::Delete {
        return Ok(None);
    }
    // what is new is merged with itself: that settles the directives and nulls in it
    let (dest, patch) = match (dest, patch) {
        (Some(dest), patch) if directive == Directive::Merge => (dest, patch.unwrap_or_default()),
        (_, Some(patch)) => (patch.clone(), patch),
        (Some(dest), None) => (dest, Map::new()),
        (None, None) => return Ok(None),
    };
    entries(dest, patch, field, quoted).map(|map| Some(Value::Object(map)))
}

fn entries(
    mut dest: Map<String, Value>,
    mut patch: Map<String, Value>,
    field: Option<Field>,
    quoted: &Quoted,
) -> Result<Map<String, Value>, String> {
    dest.remove(DIRECTIVE);
    let names: BTreeSet<String> = dest.keys().chain(patch.keys()).cloned().collect();
    let mut merged = Map::new();
    for name in names {
        let below = field.map(|field| field.field(&name));
        let dest = dest.remove(&name);
        let in_quotes = dest
            .as_ref()
            .and_then(Value::as_str)
            .is_some_and(|text| quoted.has(&name, text));
        let value =
            walk(dest, patch.remove(&name), below, quoted).map_err(|message| format!("{name}: {message}"))?;
        let value = match value {
            Some(value @ (Value::Number(_) | Value::Bool(_))) if in_quotes => {
                Some(Value::String(text(&value)))
            }
            value => value,
        };
        if let Some(value) = value {
            merged.insert(name, value);
        }
    }
    Ok(merged)
}

fn lists(
    dest: Option<Value>,
    patch: Option<Value>,
    field: Option<Field>,
    quoted: &Quoted,
) -> Result<Option<Value>, String> {
    let Some(keys) = field.and_then(|field| field.merge_keys()) else {
        return Ok(patch.or(dest).filter(|value| !value.is_null()));
    };
    if patch.as_ref().is_some_and(Value::is_null) {
        return Ok(None);
    }
    let as_list = |value: Option<Value>| match value {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    };
    let (dest, mut patch) = (as_list(dest), as_list(patch));
    let mut replaces = false;
    if let Some(patch) = &mut patch {
        match list_directive(patch)? {
            Directive::Delete => return Ok(None),
            Directive::Replace => replaces = true,
            Directive::Merge => {}
        }
    }
    let (dest, patch) = match (dest.filter(|_| !replaces), patch) {
        (Some(dest), patch) => (dest, patch),
        (None, Some(patch)) => (patch.clone(), Some(patch)),
        (None, None) => return Ok(None),
    };
    let item = field.map(|field| field.item());
    Associative {
        dest,
        patch,
        keys,
        item,
        quoted,
    }
    .merged()
    .map(Some)
}

/// The directive of a list: an item that has nothing else. It is taken out of the list.
fn list_directive(patch: &mut Vec<Value>) -> Result<Directive, String> {
    let first = patch.iter().find_map(|item| {
        let value = item.get(DIRECTIVE)?;
        Some((value.clone(), item.as_object()?.len()))
    });
    let Some((value, 1)) = first else {
        return Ok(Directive::Merge);
    };
    let found = directive(&value)?;
    patch.retain(|item| item.get(DIRECTIVE) != Some(&value));
    Ok(found)
}

/// A list whose items are told apart by keys, or plain values if there are none.
struct Associative<'a> {
    dest: Vec<Value>,
    patch: Option<Vec<Value>>,
    keys: Vec<&'static str>,
    item: Option<Field>,
    quoted: &'a Quoted,
}

impl Associative<'_> {
    fn merged(mut self) -> Result<Value, String> {
        if self.keys.is_empty() {
            return Ok(self.plain_values());
        }
        let mut all = self.key_values();
        if self.keys.len() > 1 {
            complete(&mut all);
        }
        let mut fresh = Vec::new();
        let mut used = Vec::new();
        for values in &all {
            let pairs = used_keys(&all, &self.keys, values);
            used = pairs.iter().map(|(key, _)| *key).collect();
            self.merge_item(&pairs, &mut fresh)?;
        }
        if !all.is_empty() {
            self.append_rest(&mut fresh, &used)?;
            self.dest = fresh;
        }
        Ok(Value::Array(self.dest))
    }

    /// Values of the patch first, each once.
    fn plain_values(self) -> Value {
        let mut seen = BTreeSet::new();
        let all = self.patch.into_iter().flatten().chain(self.dest);
        Value::Array(
            all.filter(|value| !value.is_null() && seen.insert(text(value)))
                .collect(),
        )
    }

    /// The keys' values of all items, those of the patch first, each once; empty where an item has no such key.
    fn key_values(&self) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = Vec::new();
        for item in self.patch.iter().flatten().chain(&self.dest) {
            let value = |key: &&str| item.get(key).filter(|value| !value.is_null()).map(text);
            let values = self
                .keys
                .iter()
                .map(|key| value(key).unwrap_or_default())
                .collect();
            if !all.contains(&values) {
                all.push(values);
            }
        }
        all
    }

    /// Merges what both lists have under these keys.
    fn merge_item(&mut self, pairs: &[(&'static str, String)], fresh: &mut Vec<Value>) -> Result<(), String> {
        let filled: Vec<_> = pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .cloned()
            .collect();
        let wanted = if filled.is_empty() { pairs } else { &filled };
        let matches = |item: &Value| {
            item.is_object()
                && wanted
                    .iter()
                    .all(|(key, value)| item.get(key).is_some_and(|have| text(have) == *value))
        };
        let at = self.dest.iter().position(matches);
        let dest = at.and_then(|at| self.dest.get(at)).cloned();
        let patch = self
            .patch
            .as_ref()
            .and_then(|patch| patch.iter().find(|item| matches(item)))
            .cloned();
        let replaced = patch.as_ref().and_then(|item| item.get(DIRECTIVE)) == Some(&Value::from("replace"));
        let same = dest == patch;
        let merged = walk(dest, patch, self.item, self.quoted)?;
        let Some(Value::Object(mut merged)) =
            merged.filter(|value| value.as_object().is_none_or(|map| !map.is_empty()))
        else {
            return set_item(&mut self.dest, None, pairs);
        };
        for (key, value) in pairs {
            if !merged.contains_key(*key) && !value.is_empty() {
                merged.insert((*key).to_owned(), Value::String(value.clone()));
            }
        }
        let merged = Value::Object(merged);
        // an item that is replaced keeps its old self in the list that was there, and that one wins
        if let Some(old) = at.and_then(|at| self.dest.get_mut(at))
            && (same || !replaced)
        {
            old.clone_from(&merged);
        }
        set_item(fresh, Some(merged), pairs)
    }

    /// Adds the items that were there, in their order; those that were merged stay where they are.
    fn append_rest(&mut self, fresh: &mut Vec<Value>, keys: &[&'static str]) -> Result<(), String> {
        for item in std::mem::take(&mut self.dest) {
            let mut pairs: Vec<(&'static str, String)> = Vec::new();
            let mut values = Vec::new();
            for key in keys {
                match item.get(key) {
                    Some(value) if !value.is_null() => values.push(text(value)),
                    _ => fresh.push(item.clone()),
                }
            }
            // values stand beside keys by position, also where one is missing
            pairs.extend(keys.iter().copied().zip(values));
            if keys.len() > 1 {
                set_item(fresh, None, &pairs)?;
            }
            set_item(fresh, Some(item), &pairs)?;
        }
        Ok(())
    }
}

/// The keys that any item has, with the values of one.
fn used_keys(all: &[Vec<String>], keys: &[&'static str], values: &[String]) -> Vec<(&'static str, String)> {
    let has = |at: usize| {
        all.iter()
            .any(|values| values.get(at).is_some_and(|value| !value.is_empty()))
    };
    let none = (0..keys.len()).all(|at| !has(at));
    let pairs = keys.iter().zip(values).enumerate();
    pairs
        .filter(|(at, _)| none || has(*at))
        .map(|(_, (key, value))| (*key, value.clone()))
        .collect()
}

/// Items that agree in one key, and in the others as far as both have them, are the same.
fn complete(all: &mut [Vec<String>]) {
    for first in 0..all.len() {
        for second in 0..all.len() {
            let (Some(one), Some(other)) = (all.get(first), all.get(second)) else {
                continue;
            };
            let fits = |(a, b): (&String, &String)| a == b || a.is_empty() || b.is_empty();
            if !one.iter().zip(other).all(fits) || !one.iter().zip(other).any(|(a, b)| a == b) {
                continue;
            }
            let full = |(a, b): (&String, &String)| if a.is_empty() { b.clone() } else { a.clone() };
            let full: Vec<String> = one.iter().zip(other).map(full).collect();
            for at in [first, second] {
                if let Some(values) = all.get_mut(at) {
                    values.clone_from(&full);
                }
            }
        }
    }
}

/// Puts an item in the place of those with these keys, or at the end; without an item, takes those away. A value that
/// is empty fits whatever the key has.
fn set_item(
    list: &mut Vec<Value>,
    item: Option<Value>,
    pairs: &[(&'static str, String)],
) -> Result<(), String> {
    let by_key = pairs.first().is_some_and(|(_, value)| !value.is_empty());
    let mut kept = Vec::with_capacity(list.len() + 1);
    let mut found = false;
    for have in list.drain(..) {
        if have.is_null() || have.as_object().is_some_and(Map::is_empty) {
            continue;
        }
        if !have.is_object() {
            if !by_key {
                return Err("an item of the list is not a map".to_owned());
            }
            kept.push(have);
            continue;
        }
        let fits = |(key, value): &(&'static str, String)| {
            have.get(key)
                .is_some_and(|have| value.is_empty() || text(have) == *value)
        };
        if pairs.is_empty() {
            continue;
        }
        if !pairs.iter().all(fits) {
            kept.push(have);
            continue;
        }
        found = true;
        kept.extend(item.clone());
    }
    *list = kept;
    if !found {
        list.extend(item);
    }
    Ok(())
}
