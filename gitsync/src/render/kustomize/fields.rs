//! Which fields are set: the built-in lists, those of a kustomization's own, and the way to a field.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::id::Gvk;
use super::object::Object;

/// A field of some kinds of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FieldSpec {
    group: String,
    version: String,
    kind: String,
    /// Names with `/` between; lists on the way stand for all their items.
    pub(super) path: String,
    /// Whether the field is made where it is missing.
    create: bool,
}

impl FieldSpec {
    /// A field of all kinds that is made where it is missing.
    pub(super) fn everywhere(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            create: true,
            ..Self::default()
        }
    }

    /// A field of all kinds that is left alone where it is missing.
    pub(super) fn anywhere(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn gvk(&self) -> Gvk {
        Gvk {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// A kind whose names are referred to, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NameReference {
    group: String,
    version: String,
    kind: String,
    #[serde(rename = "fieldSpecs")]
    pub(super) referrers: Vec<FieldSpec>,
}

impl NameReference {
    pub(super) fn gvk(&self) -> Gvk {
        Gvk {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// Which fields each transformation sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Fields {
    pub(super) name_prefix: Vec<FieldSpec>,
    pub(super) name_suffix: Vec<FieldSpec>,
    pub(super) namespace: Vec<FieldSpec>,
    pub(super) common_labels: Vec<FieldSpec>,
    pub(super) labels: Vec<FieldSpec>,
    pub(super) template_labels: Vec<FieldSpec>,
    pub(super) common_annotations: Vec<FieldSpec>,
    pub(super) images: Vec<FieldSpec>,
    pub(super) replicas: Vec<FieldSpec>,
    pub(super) name_reference: Vec<NameReference>,
    /// Of `vars`, which are refused: files that other tools share have it.
    var_reference: Vec<FieldSpec>,
}

impl Fields {
    /// What is set without any configuration.
    pub(super) fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Both, and an error where they disagree.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), String> {
        if self == other {
            return Ok(());
        }
        if *self == Self::default() {
            self.clone_from(other);
            return Ok(());
        }
        let pairs = [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.labels, &other.labels),
            (&mut self.template_labels, &other.template_labels),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
        ];
        for (own, others) in pairs {
            merge_all(own, others)?;
        }
        for reference in &other.name_reference {
            let mut found = false;
            for own in &mut self.name_reference {
                if own.gvk() == reference.gvk() {
                    merge_all(&mut own.referrers, &reference.referrers)?;
                    found = true;
                }
            }
            if !found {
                self.name_reference.push(reference.clone());
            }
        }
        Ok(())
    }
}

/// Adds what is not there yet.
pub(super) fn merge_all(own: &mut Vec<FieldSpec>, others: &[FieldSpec]) -> Result<(), String> {
    for spec in others {
        let same = |have: &&FieldSpec| have.path == spec.path && have.gvk().selected_by(&spec.gvk());
        match own.iter().find(same) {
            None => own.push(spec.clone()),
            Some(have) if have.create == spec.create => {}
            Some(_) => {
                return Err(format!(
                    "{} is to be created in one list of fields and not in another; make `create` the same",
                    spec.path
                ));
            }
        }
    }
    Ok(())
}

static BUILT_IN: LazyLock<Fields> = LazyLock::new(|| {
    let mut fields = Fields::default();
    let lines = include_str!("fields.tsv").lines();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let (what, target, path, gvk, create) = (column(), column(), column(), column(), column());
        let parts = |text: &str| {
            let mut parts = text.split(',').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            (part(), part(), part())
        };
        let (group, version, kind) = parts(gvk);
        let spec = FieldSpec {
            group,
            version,
            kind,
            path: path.to_owned(),
            create: create == "create",
        };
        let list = match what {
            "namePrefix" => &mut fields.name_prefix,
            "nameSuffix" => &mut fields.name_suffix,
            "namespace" => &mut fields.namespace,
            "commonLabels" => &mut fields.common_labels,
            "templateLabels" => &mut fields.template_labels,
            "commonAnnotations" => &mut fields.common_annotations,
            "images" => &mut fields.images,
            "replicas" => &mut fields.replicas,
            _ => {
                let (group, version, kind) = parts(target);
                let known = fields
                    .name_reference
                    .iter()
                    .position(|known| known.group == group && known.version == version && known.kind == kind);
                match known.and_then(|at| fields.name_reference.get_mut(at)) {
                    Some(known) => known.referrers.push(spec),
                    None => fields.name_reference.push(NameReference {
                        group,
                        version,
                        kind,
                        referrers: vec![spec],
                    }),
                }
                continue;
            }
        };
        list.push(spec);
    }
    fields
});

/// What is made where a field is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Nothing,
    Map,
    Text,
}

/// Calls `set` with each value that a field leads to in an object, if the object is of its kind.
pub(super) fn visit(
    spec: &FieldSpec,
    make: Make,
    object: &mut Object,
    set: &mut dyn FnMut(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    if !object.gvk().selected_by(&spec.gvk()) {
        return Ok(());
    }
    let path = split(&spec.path, '/');
    let make = if spec.create { make } else { Make::Nothing };
    walk(&path, make, &mut object.value, set)
        .map_err(|message| format!("{}: {}: {message}", object.id().text(), spec.path))
}

fn walk(
    path: &[String],
    make: Make,
    value: &mut Value,
    set: &mut dyn FnMut(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    let Some((name, rest)) = path.split_first() else {
        return set(value);
    };
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.iter_mut().try_for_each(|item| walk(path, make, item, set)),
        Value::Object(map) => {
            let (name, list) = match name.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (name.as_str(), false),
            };
            if name.is_empty() {
                return Err("the path has an empty name".to_owned());
            }
            let empty = match make {
                _ if list => None,
                Make::Nothing => None,
                Make::Text if rest.is_empty() => Some(Value::String(String::new())),
                Make::Map | Make::Text => Some(Value::Object(Map::new())),
            };
            if !map.contains_key(name)
                && let Some(empty) = &empty
            {
                map.insert(name.to_owned(), empty.clone());
            }
            let Some(field) = map.get_mut(name) else {
                return Ok(());
            };
            if field.is_null() {
                match empty {
                    Some(empty) => *field = empty,
                    None if list => *field = Value::Array(Vec::new()),
                    None => {}
                }
            }
            walk(rest, make, field, set)
        }
        _ => Err("there is a plain value where a list or a map was expected".to_owned()),
    }
}

/// Splits at a character; one that follows a backslash belongs to the name.
pub(super) fn split(path: &str, at: char) -> Vec<String> {
    let mut parts = path.split(at);
    let mut names: Vec<String> = Vec::new();
    // a path may begin with the character
    if path.starts_with(at) {
        parts.next();
    }
    for part in parts {
        match names.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
                last.push(at);
                last.push_str(part);
            }
            _ => names.push(part.to_owned()),
        }
    }
    names
}
