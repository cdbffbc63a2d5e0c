//! What is set in all objects: namespace, prefix and suffix, labels, annotations, images and replicas.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::fields::{FieldSpec, Fields, Make, merge_all, visit};
use super::id::{Gvk, Id};
use super::object::{Object, map, text};
use super::schema;
use super::select::pattern;

type Done = Result<(), String>;

fn set_text(value: &mut Value, text: String) -> Done {
    if value.is_array() || value.is_object() {
        return Err("there is a list or a map where a plain value was expected".to_owned());
    }
    *value = Value::String(text);
    Ok(())
}

/// Puts all objects that can be in a namespace there.
pub(super) fn namespace(objects: &mut [Object], namespace: &str, fields: &Fields) -> Done {
    for object in objects.iter_mut() {
        object.remember();
        let (api_version, kind) = (object.api_version().to_owned(), object.kind().to_owned());
        let set = &mut |value: &mut Value| set_text(value, namespace.to_owned());
        if !schema::is_cluster_scoped(&api_version, &kind) {
            visit(
                &FieldSpec::everywhere("metadata/namespace"),
                Make::Text,
                object,
                set,
            )?;
        }
        let binding = ["RoleBinding", "ClusterRoleBinding"].contains(&kind.as_str());
        if binding {
            default_subjects(object, namespace);
        }
        for spec in &fields.namespace {
            let own = spec.path == "metadata/namespace"
                || (spec.path == "metadata/name" && api_version != "v1")
                || (spec.path == "subjects/namespace" && binding);
            if !own {
                visit(spec, Make::Text, object, set)?;
            }
        }
    }
    match twice(objects) {
        None => Ok(()),
        Some(id) => Err(format!("two objects become {}", id.text())),
    }
}

/// An id that two objects have.
pub(super) fn twice(objects: &[Object]) -> Option<Id> {
    let mut seen = BTreeSet::new();
    objects.iter().map(Object::id).find(|id| !seen.insert(id.key()))
}

/// A subject that is called `default` is the service account of the namespace.
fn default_subjects(object: &mut Object, namespace: &str) {
    let subjects = object.value.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if subject.get("name").is_some_and(|name| text(name) == "default") {
            map(subject).insert("namespace".to_owned(), Value::from(namespace));
        }
    }
}

/// Which end of a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Prefix,
    Suffix,
}

/// Adds to the names, but not to those of namespaces, custom resource definitions and API services.
pub(super) fn rename(objects: &mut [Object], end: End, add: &str, fields: &Fields) -> Done {
    let specs = match end {
        End::Prefix => &fields.name_prefix,
        End::Suffix => &fields.name_suffix,
    };
    for object in objects {
        let id = object.original_id();
        let service = id.gvk.kind == "APIService" && id.gvk.group == "apiregistration.k8s.io";
        if service || ["CustomResourceDefinition", "Namespace"].contains(&id.gvk.kind.as_str()) {
            continue;
        }
        for spec in specs {
            if !id.gvk.selected_by(&spec.gvk()) {
                continue;
            }
            if spec.path == "metadata/name" {
                match end {
                    End::Prefix => object.prefixes.push(add.to_owned()),
                    End::Suffix => object.suffixes.push(add.to_owned()),
                }
                object.remember();
            }
            visit(spec, Make::Text, object, &mut |value| {
                let name = text(value);
                let renamed = if end == End::Prefix {
                    format!("{add}{name}")
                } else {
                    format!("{name}{add}")
                };
                set_text(value, renamed)
            })?;
        }
    }
    Ok(())
}

/// Labels, and where they go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Labels {
    pairs: BTreeMap<String, String>,
    include_selectors: bool,
    include_templates: bool,
    fields: Vec<FieldSpec>,
}

impl Labels {
    pub(super) fn apply(&self, objects: &mut [Object], fields: &Fields) -> Done {
        let mut specs = self.fields.clone();
        merge_all(&mut specs, &fields.labels)?;
        if self.include_selectors {
            merge_all(&mut specs, &fields.common_labels)?;
        } else {
            if self.include_templates {
                merge_all(&mut specs, &fields.template_labels)?;
            }
            merge_all(&mut specs, &[FieldSpec::everywhere("metadata/labels")])?;
        }
        entries(objects, &self.pairs, &specs)
    }
}

/// Sets keys of maps, such as labels and annotations.
pub(super) fn entries(objects: &mut [Object], pairs: &BTreeMap<String, String>, specs: &[FieldSpec]) -> Done {
    if pairs.is_empty() {
        return Ok(());
    }
    for object in objects {
        for spec in specs {
            visit(spec, Make::Map, object, &mut |value| {
                let Value::Object(map) = value else {
                    return Err("there is no map to put a label or annotation into".to_owned());
                };
                let pairs = pairs
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
                map.extend(pairs);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Another name, tag or digest for an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Image {
    name: String,
    new_name: String,
    new_tag: String,
    tag_suffix: String,
    digest: String,
}

impl Image {
    pub(super) fn apply(&self, objects: &mut [Object], fields: &Fields) -> Done {
        const REST: &str = "(:[a-zA-Z0-9_.{}-]*)?(@sha256:[a-zA-Z0-9_.{}-]*)?$";
        let pattern = pattern(&format!("^{}{REST}", self.name))?;
        let mut set = |value: &mut Value| {
            if value.is_array() || value.is_object() || value.is_null() {
                return Err("there is no image".to_owned());
            }
            let image = text(value);
            if pattern.is_match(&image) {
                *value = Value::String(self.renamed(&image));
            }
            Ok(())
        };
        for object in objects
            .iter_mut()
            .filter(|object| object.kind() != "CustomResourceDefinition")
        {
            containers(&mut object.value, &mut set)?;
            for spec in &fields.images {
                visit(spec, Make::Nothing, object, &mut set)?;
            }
        }
        Ok(())
    }

    fn renamed(&self, image: &str) -> String {
        let (mut name, mut tag, mut digest) = parts(image);
        if !self.new_name.is_empty() {
            name = &self.new_name;
        }
        let suffixed = format!("{tag}{}", self.tag_suffix);
        if !(self.new_tag.is_empty() && self.digest.is_empty()) {
            (tag, digest) = (&self.new_tag, &self.digest);
        } else if !self.tag_suffix.is_empty() {
            (tag, digest) = (&suffixed, "");
        }
        let mut renamed = name.to_owned();
        for (mark, part) in [(':', tag), ('@', digest)] {
            if !part.is_empty() {
                renamed.push(mark);
                renamed.push_str(part);
            }
        }
        renamed
    }
}

/// Images of lists called `containers` and `initContainers`, wherever they stand.
fn containers(value: &mut Value, set: &mut dyn FnMut(&mut Value) -> Done) -> Done {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(|item| containers(item, set)),
        Value::Object(map) => {
            for (key, value) in map {
                containers(value, set)?;
                if key != "containers" && key != "initContainers" {
                    continue;
                }
                for container in value.as_array_mut().into_iter().flatten() {
                    if let Some(image) = container.get_mut("image") {
                        set(image)?;
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Name, tag and digest; a colon before the first slash is of a port.
fn parts(image: &str) -> (&str, &str, &str) {
    let path = image.find('/').unwrap_or(0);
    let find = |mark: char| {
        image
            .get(path..)
            .and_then(|rest| rest.find(mark))
            .map(|at| at + path)
    };
    let split = |at: usize| {
        (
            image.get(..at).unwrap_or_default(),
            image.get(at + 1..).unwrap_or_default(),
        )
    };
    match (find(':'), find('@')) {
        (Some(colon), at) if at.is_none_or(|at| colon < at) => {
            let (name, rest) = split(colon);
            let (tag, digest) = rest.split_once('@').unwrap_or((rest, ""));
            (name, tag, digest)
        }
        (_, Some(at)) => {
            let (name, digest) = split(at);
            (name, "", digest)
        }
        _ => (image, "", ""),
    }
}

/// How many replicas an object has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Replicas {
    name: String,
    count: i64,
}

impl Replicas {
    pub(super) fn apply(&self, objects: &mut [Object], fields: &Fields) -> Done {
        let mut found = false;
        for spec in &fields.replicas {
            let gvk = spec.gvk();
            let named =
                |object: &Object| object.any_id(|id| id.name == self.name && id.gvk.selected_by(&gvk));
            for object in objects.iter_mut().filter(|object| named(object)) {
                found = true;
                visit(spec, Make::Text, object, &mut |value| {
                    *value = Value::from(self.count);
                    Ok(())
                })?;
            }
        }
        if found {
            return Ok(());
        }
        let kinds: Vec<String> = fields
            .replicas
            .iter()
            .map(FieldSpec::gvk)
            .map(|Gvk { kind, .. }| kind)
            .collect();
        Err(format!("there is no {} called {}", kinds.join(" or "), self.name))
    }
}

/// Annotations as Kustomize writes them: all values as text, and no empty map.
pub(super) fn tidy_annotations(object: &mut Object) {
    if object.value.pointer("/metadata/annotations").is_some() {
        let texts: Map<String, Value> = object.texts("annotations");
        object.set_texts("annotations", texts);
    }
}
