//! Replacements: a value of one object goes into fields of others.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fields::split;
use super::object::{Object, plain, text};
use super::select::{Selector, pattern};

/// Where a value comes from and where it goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Replacement {
    /// Of a file that holds replacements instead.
    pub(super) path: String,
    source: Option<Source>,
    source_value: Option<String>,
    targets: Vec<Target>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Source {
    group: String,
    version: String,
    kind: String,
    name: String,
    namespace: String,
    field_path: String,
    options: Option<Options>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Target {
    select: Option<Selector>,
    reject: Vec<Selector>,
    field_paths: Vec<String>,
    options: Option<Options>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    delimiter: String,
    index: i64,
    create: bool,
    encoding: String,
}

impl Replacement {
    /// Whether it is but a path.
    pub(super) fn is_path(&self) -> Result<bool, String> {
        if self.path.is_empty() {
            return Ok(false);
        }
        if self.source.is_some() || self.source_value.is_some() || !self.targets.is_empty() {
            return Err("it has both a path and a replacement; leave one out".to_owned());
        }
        Ok(true)
    }

    pub(super) fn apply(&self, objects: &mut [Object]) -> Result<(), String> {
        let value = self.value(objects)?;
        if self.targets.is_empty() {
            return Err("targets: it needs at least one".to_owned());
        }
        for target in &self.targets {
            target.fill(objects, &value)?;
        }
        Ok(())
    }

    fn value(&self, objects: &[Object]) -> Result<Value, String> {
        match (&self.source, &self.source_value) {
            (Some(source), None) => source.value(objects),
            (None, Some(value)) => Ok(Value::from(value.as_str())),
            (Some(_), Some(_)) => Err("it has both source and sourceValue; leave one out".to_owned()),
            (None, None) => Err("source: it needs one".to_owned()),
        }
    }
}

const NAME: &str = "metadata.name";

impl Source {
    fn value(&self, objects: &[Object]) -> Result<Value, String> {
        let selector = Selector::named([
            &self.group,
            &self.version,
            &self.kind,
            &self.name,
            &self.namespace,
        ]);
        let mut found = objects.iter().filter(|object| selector.names(object));
        let object = match (found.next(), found.next()) {
            (Some(object), None) => object,
            (None, _) => return Err(format!("source: there is no {} {}", self.kind, self.name)),
            _ => return Err(format!("source: there are several {} {}", self.kind, self.name)),
        };
        let path = if self.field_path.is_empty() {
            NAME
        } else {
            &self.field_path
        };
        let empty = |value: &&Value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let value = look_up(&object.value, &names(path))?.filter(|value| !empty(value));
        let value = value.ok_or_else(|| format!("source.fieldPath: {} has no {path}", object.id().text()))?;
        let Some(options) = self
            .options
            .as_ref()
            .filter(|options| !options.delimiter.is_empty())
        else {
            return Ok(value.clone());
        };
        options.check()?;
        if value.is_array() || value.is_object() {
            return Err(format!("source.options.delimiter: {path} is no plain value"));
        }
        let value = text(value);
        let part = usize::try_from(options.index)
            .ok()
            .and_then(|at| value.split(&options.delimiter).nth(at));
        let part =
            part.ok_or_else(|| format!("source.options.index: {path} has no part {}", options.index))?;
        Ok(Value::from(part))
    }
}

impl Options {
    fn check(&self) -> Result<(), String> {
        if self.encoding.is_empty() {
            return Ok(());
        }
        Err("options.encoding: Kustomize does nothing with it; leave it out".to_owned())
    }
}

/// The value at a path of names, indices and `[key=value]`.
fn look_up<'a>(value: &'a Value, path: &[String]) -> Result<Option<&'a Value>, String> {
    let mut found = value;
    for name in path
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
    {
        let next = match found {
            Value::Array(items) if name == "-" => items.last(),
            Value::Array(items) => match (name.parse::<usize>(), item(name)) {
                (Ok(at), _) => items.get(at),
                (_, Some((key, wanted))) => items.iter().find(|item| {
                    let value = if key.is_empty() {
                        Some(*item)
                    } else {
                        item.get(key)
                    };
                    value.is_some_and(|value| text(value) == wanted)
                }),
                _ => return Err(format!("`{name}` is no place in a list")),
            },
            Value::Object(map) => map.get(name),
            Value::Null => None,
            _ => return Err(format!("`{name}` cannot be in a plain value")),
        };
        match next {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// The names of a path with dots between; what stands in brackets is one name, or `[key=value]` for items of a list.
fn names(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut parts = split(path, '.').into_iter();
    while let Some(part) = parts.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            names.push(part);
            continue;
        }
        let mut whole = part;
        for next in parts.by_ref() {
            whole.push('.');
            whole.push_str(&next);
            if next.ends_with(']') {
                break;
            }
        }
        if whole.contains('=') {
            names.push(whole);
        } else {
            names.push(whole.trim_matches(['[', ']']).to_owned());
        }
    }
    names
}

/// Key and value of `[key=value]`.
fn item(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix('[')?.strip_suffix(']')?.split_once('=')
}

impl Target {
    fn fill(&self, objects: &mut [Object], value: &Value) -> Result<(), String> {
        let select = self.select.as_ref().ok_or("targets: each needs a select")?;
        if let Some(options) = &self.options {
            options.check()?;
        }
        for object in objects {
            if self.selects(select, object)? {
                self.fill_object(object, value)?;
            }
        }
        Ok(())
    }

    fn selects(&self, select: &Selector, object: &Object) -> Result<bool, String> {
        if !select.fits_metadata(object)? || !select.names(object) {
            return Ok(false);
        }
        for reject in &self.reject {
            if (reject.wants_metadata() && reject.fits_metadata(object)?)
                || (reject.wants_id() && reject.names(object))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill_object(&self, object: &mut Object, value: &Value) -> Result<(), String> {
        let id = object.id();
        let default = [NAME.to_owned()];
        let paths = if self.field_paths.is_empty() {
            &default
        } else {
            self.field_paths.as_slice()
        };
        for path in paths {
            let create = self.options.as_ref().is_some_and(|options| options.create);
            let mut filler = Filler {
                value,
                options: self.options.as_ref(),
                create,
                filled: 0,
            };
            filler
                .walk(&mut object.value, &names(path), false)
                .map_err(|message| format!("{}: {path}: {message}", id.text()))?;
            if filler.filled == 0 {
                return Err(format!("{}: there is no field {path}", id.text()));
            }
        }
        Ok(())
    }
}

struct Filler<'a> {
    value: &'a Value,
    options: Option<&'a Options>,
    create: bool,
    filled: usize,
}

impl Filler<'_> {
    fn walk(&mut self, at: &mut Value, path: &[String], fresh: bool) -> Result<(), String> {
        let Some((name, rest)) = path.split_first() else {
            self.filled += 1;
            return self.set(at, fresh);
        };
        if let Ok(index) = name.parse::<usize>() {
            return self.walk_index(at, index, rest);
        }
        if name.starts_with('[') && name.ends_with(']') {
            let (key, wanted) = item(name).ok_or_else(|| format!("`{name}` is not [key=value]"))?;
            return self.walk_matching(at, (key, wanted), rest);
        }
        if name == "*" {
            let items = at
                .as_array_mut()
                .ok_or("`*` stands for the items of a list, and this is none")?;
            return items.iter_mut().try_for_each(|item| self.walk(item, rest, false));
        }
        match at {
            Value::Null => Ok(()),
            Value::Object(map) => {
                let fresh = !map.contains_key(name);
                if fresh && !self.create {
                    return Ok(());
                }
                let made = self.made(rest);
                self.walk(map.entry(name.clone()).or_insert(made), rest, fresh)
            }
            _ => Err(format!("`{name}` cannot be in a list or plain value")),
        }
    }

    /// What is made on the way: a list if the next name is a place in one.
    fn made(&self, rest: &[String]) -> Value {
        match rest.first() {
            None => match self.value {
                Value::Object(_) => Value::Object(Map::new()),
                Value::Array(_) => Value::Array(Vec::new()),
                _ => Value::from(""),
            },
            Some(next) if next.starts_with('[') && next.ends_with(']') || next.parse::<usize>().is_ok() => {
                Value::Array(Vec::new())
            }
            Some(_) => Value::Object(Map::new()),
        }
    }

    fn walk_index(&mut self, at: &mut Value, index: usize, rest: &[String]) -> Result<(), String> {
        let made = self.made(rest);
        let items = at.as_array_mut().ok_or("there is no list")?;
        let fresh = items.len() == index && self.create;
        if fresh {
            items.push(made);
        }
        let len = items.len();
        let item = items
            .get_mut(index)
            .ok_or_else(|| format!("the list has only {len} items"))?;
        self.walk(item, rest, fresh)
    }

    fn walk_matching(
        &mut self,
        at: &mut Value,
        (key, wanted): (&str, &str),
        rest: &[String],
    ) -> Result<(), String> {
        let items = at.as_array_mut().ok_or("there is no list")?;
        let wanted_pattern = pattern(wanted)?;
        let before = self.filled;
        for item in items.iter_mut() {
            if matches(item, key, &wanted_pattern) {
                // a plain item is the end of the path
                let rest = if key.is_empty() { &[] } else { rest };
                self.walk(item, rest, false)?;
            }
        }
        if self.filled > before || !self.create {
            return Ok(());
        }
        let mut made = if key.is_empty() {
            plain(wanted)
        } else {
            Value::Object([(key.to_owned(), plain(wanted))].into_iter().collect())
        };
        if !matches(&made, key, &wanted_pattern) {
            return Err(format!(
                "`{wanted}` does not match itself, so no item can be made for it"
            ));
        }
        self.walk(&mut made, if key.is_empty() { &[] } else { rest }, false)?;
        items.push(made);
        Ok(())
    }

    fn set(&self, at: &mut Value, fresh: bool) -> Result<(), String> {
        let mut value = self.value.clone();
        if let Some(options) = self.options.filter(|options| !options.delimiter.is_empty()) {
            if at.is_array() || at.is_object() {
                return Err("options.delimiter is for plain values".to_owned());
            }
            value = Value::String(options.joined(&text(at), text(&value)));
        }
        *at = match &*at {
            Value::Array(_) | Value::Object(_) => value,
            _ if fresh => plain(&text(&value)),
            plain => typed(plain, &text(&value))?,
        };
        Ok(())
    }
}

impl Options {
    /// Puts a part into a text: before it, after it, or in the place of another.
    fn joined(&self, old: &str, part: String) -> String {
        let mut parts: Vec<String> = old.split(&self.delimiter).map(str::to_owned).collect();
        match usize::try_from(self.index) {
            Err(_) => parts.insert(0, part),
            Ok(at) => match parts.get_mut(at) {
                Some(old) => *old = part,
                None => parts.push(part),
            },
        }
        parts.join(&self.delimiter)
    }
}

fn matches(item: &Value, key: &str, wanted: &Regex) -> bool {
    let value = if key.is_empty() { Some(item) } else { item.get(key) };
    value.is_some_and(|value| wanted.is_match(&text(value)))
}

/// A text as the type that the field has: Kustomize replaces the text and leaves the type.
fn typed(old: &Value, text: &str) -> Result<Value, String> {
    let new = match old {
        Value::String(_) => return Ok(Value::from(text)),
        _ => plain(text),
    };
    let fits = match old {
        Value::Number(_) => new.is_number(),
        Value::Bool(_) => new.is_boolean(),
        _ => true,
    };
    if fits {
        return Ok(new);
    }
    Err("the value has another type than the field".to_owned())
}
