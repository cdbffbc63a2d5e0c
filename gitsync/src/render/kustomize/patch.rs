//! Patches: strategic merge and JSON, for one object by its name or for all that a target selects.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_manifests::{Limits as ReadLimits, read};

use super::json_patch::{self, Operation};
use super::load::{LoadError, Loader, objects as read_objects};
use super::merge::merge;
use super::object::{Object, Quoted, child, map, texts};
use super::select::Selector;
use super::transform::twice;
use crate::render::RenderError;

/// An entry of `patches` or `patchesJson6902`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Patch {
    path: String,
    #[serde(rename = "patch")]
    inline: String,
    target: Option<Selector>,
    options: BTreeMap<String, bool>,
}

/// What a patch may change besides.
#[derive(Clone, Copy, Default)]
struct May {
    name: bool,
    kind: bool,
}

enum Content {
    Merge(Vec<Object>),
    Json(Vec<Operation>),
}

impl Patch {
    /// Applies an entry of `patches`.
    pub(super) fn apply(
        &self,
        loader: &Loader<'_>,
        at: (&str, &str),
        objects: &mut Vec<Object>,
    ) -> Result<(), LoadError> {
        let known = ["allowNameChange", "allowKindChange"];
        if let Some(unknown) = self.options.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("options.{unknown}: only {} are known", known.join(" and ")).into());
        }
        let option = |name: &str| self.options.get(name).copied().unwrap_or_default();
        let may = May {
            name: option("allowNameChange"),
            kind: option("allowKindChange"),
        };
        match (content(&self.text(loader, at)?)?, &self.target) {
            (Content::Json(_), None) => Err("a JSON patch needs a target".to_owned().into()),
            (Content::Json(operations), Some(target)) => {
                for selected in target.matching(objects)? {
                    let Some(object) = objects.get_mut(selected) else {
                        continue;
                    };
                    object.remember();
                    apply_json(object, &operations)?;
                }
                Ok(())
            }
            (Content::Merge(patches), None) => {
                for patch in &patches {
                    let found = only(objects, patch)?;
                    apply_merge(objects, found, patch.clone(), may)?;
                }
                drop_deleted(objects);
                Ok(())
            }
            (Content::Merge(patches), Some(target)) => {
                let [patch] = patches.as_slice() else {
                    return Err("a patch with a target has exactly one object".to_owned().into());
                };
                let selected = target.matching(objects)?;
                Ok(apply_to_all(objects, &selected, patch, may)?)
            }
        }
    }

    /// Applies an entry of `patchesJson6902`.
    pub(super) fn apply_as_json(
        &self,
        loader: &Loader<'_>,
        at: (&str, &str),
        objects: &mut [Object],
    ) -> Result<(), LoadError> {
        let target = self.target.as_ref().filter(|target| !target.name.is_empty());
        let target = target.ok_or_else(|| "target.name: it needs one".to_owned())?;
        let Content::Json(operations) = content(&self.text(loader, at)?)? else {
            return Err("this is no JSON patch: a list of operations".to_owned().into());
        };
        for selected in target.matching(objects)? {
            if let Some(object) = objects.get_mut(selected) {
                apply_json(object, &operations)?;
            }
        }
        Ok(())
    }

    /// The name and the text of the patch; `at` is the folder and the file of the kustomization.
    fn text(&self, loader: &Loader<'_>, (folder, file): (&str, &str)) -> Result<(String, String), LoadError> {
        match (self.path.as_str(), self.inline.trim()) {
            ("", "") => Err("it needs a path or a patch".to_owned().into()),
            ("", patch) => Ok((format!("{file}: patch"), patch.to_owned())),
            (path, "") => loader.text(folder, path),
            _ => Err("it has both a path and a patch; leave one out".to_owned().into()),
        }
    }
}

/// Applies an entry of `patchesStrategicMerge`: the patch itself, or a path.
pub(super) fn apply_strategic(
    entry: &str,
    loader: &Loader<'_>,
    (folder, file): (&str, &str),
) -> Result<Vec<Object>, LoadError> {
    if entry.trim_start().starts_with('{') || entry.contains('\n') {
        return Ok(read_objects(&format!("{file}: patch"), entry)?);
    }
    let (path, text) = loader.text(folder, entry)?;
    Ok(read_objects(&path, &text)?)
}

/// Applies the patches of `patchesStrategicMerge`.
pub(super) fn apply_all_strategic(objects: &mut Vec<Object>, patches: &[Object]) -> Result<(), String> {
    for patch in patches {
        let found = only(objects, patch)?;
        apply_to_all(objects, &[found], patch, May::default())?;
    }
    Ok(())
}

fn content((path, text): &(String, String)) -> Result<Content, LoadError> {
    let found = read(path, text, &ReadLimits::default()).map_err(RenderError::from)?;
    let list = |value: &Value| value.is_array();
    match found.as_slice() {
        [] => Err("the patch is empty".to_owned().into()),
        [only] if list(&only.value) => {
            let operations: Result<Vec<Operation>, _> = only
                .value
                .as_array()
                .into_iter()
                .flatten()
                .map(|operation| Operation::deserialize(operation).map_err(|_| {
                    "each operation of a JSON patch has an op (add, remove, replace, move, copy or test) and a path".to_owned()
                }))
                .collect();
            Ok(Content::Json(operations?))
        }
        all if all.iter().any(|document| list(&document.value)) => {
            Err("a JSON patch stands alone in its file".to_owned().into())
        }
        _ => Ok(Content::Merge(read_objects(path, text)?)),
    }
}

/// The one object that a patch without target is for.
fn only(objects: &[Object], patch: &Object) -> Result<usize, String> {
    let id = patch.id();
    let mut found = (0..objects.len()).filter(|at| {
        objects
            .get(*at)
            .is_some_and(|object| !object.value.is_null() && object.any_id(|other| other.same(&id)))
    });
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(format!("there is no {} to patch", id.text())),
        _ => Err(format!("there are several {} to patch", id.text())),
    }
}

fn apply_json(object: &mut Object, operations: &[Operation]) -> Result<(), String> {
    // Kustomize keeps the history in annotations: they are there as soon as there is any
    if object.has_history() {
        child(object.metadata(), "annotations");
    }
    let id = object.id();
    json_patch::apply(&mut object.value, operations)
        .map_err(|message| format!("{}: {message}", id.text()))?;
    // it went through JSON: the quotes are gone
    object.quoted = Quoted::default();
    if !object.value.is_object() {
        return Err(format!("{}: the patch leaves no object", id.text()));
    }
    Ok(())
}

fn apply_to_all(
    objects: &mut Vec<Object>,
    selected: &[usize],
    patch: &Object,
    may: May,
) -> Result<(), String> {
    for at in selected {
        let Some(object) = objects.get(*at) else { continue };
        let api_version = object.api_version().to_owned();
        let mut patch = patch.clone();
        // as Kustomize copies a patch: labels and annotations as text, nulls among them too
        for field in ["labels", "annotations"] {
            let entries = texts(patch.metadata().get(field));
            patch.set_texts(field, entries);
        }
        let namespace = patch.namespace();
        patch.set_namespace(namespace);
        map(&mut patch.value).insert("apiVersion".to_owned(), Value::String(api_version));
        apply_merge(objects, *at, patch, may)?;
    }
    drop_deleted(objects);
    match twice(objects) {
        None => Ok(()),
        Some(id) => Err(format!("the patch makes two objects {}", id.text())),
    }
}

fn apply_merge(objects: &mut [Object], at: usize, patch: Object, may: May) -> Result<(), String> {
    let Some(object) = objects.get_mut(at) else {
        return Ok(());
    };
    let (id, name, namespace, kind) = (
        object.id(),
        object.name(),
        object.namespace(),
        object.kind().to_owned(),
    );
    if may.name || may.kind {
        object.remember();
    }
    let merged = merge(std::mem::take(&mut object.value), patch.value, &object.quoted);
    object.quoted.extend(&patch.quoted);
    let merged = merged.map_err(|message| format!("{}: {message}", id.text()))?;
    let Some(merged) = merged.filter(|merged| merged.as_object().is_some_and(|map| !map.is_empty())) else {
        return Ok(());
    };
    object.value = merged;
    if !may.kind {
        map(&mut object.value).insert("kind".to_owned(), Value::String(kind));
    }
    if !may.name {
        object.set_name(name);
    }
    object.set_namespace(namespace);
    Ok(())
}

/// A patch that deletes leaves null.
fn drop_deleted(objects: &mut Vec<Object>) {
    let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    objects.retain(|object| !empty(&object.value));
}
