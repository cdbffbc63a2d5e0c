//! A folder of YAML and JSON files, with all below it.

use serde_json::Value;
use tidegate_manifests::{Document, Limits as ReadLimits, PathPart, path, read};

use super::{Limits, Manifest, RenderError};
use crate::hooks::is_hook;
use crate::tree::{EntryKind, Tree};

/// Files whose names end so are manifests; all others are left alone.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];

/// What has been read so far.
#[derive(Default)]
struct Spent {
    files: usize,
    bytes: u64,
}

/// All objects of a folder, in the order of the files' paths.
pub(super) fn folder(tree: &dyn Tree, folder: &str, limits: &Limits) -> Result<Vec<Manifest>, RenderError> {
    let mut manifests = Vec::new();
    walk(
        tree,
        folder,
        limits,
        limits.depth,
        &mut Spent::default(),
        &mut manifests,
    )?;
    Ok(manifests)
}

fn walk(
    tree: &dyn Tree,
    folder: &str,
    limits: &Limits,
    depth: usize,
    spent: &mut Spent,
    into: &mut Vec<Manifest>,
) -> Result<(), RenderError> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(too_much(folder, limits.depth as u64, "folders in one another"));
    };
    for (name, entry) in tree.children(folder) {
        // .git, .github and the like are not for a cluster
        if name.starts_with('.') {
            continue;
        }
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let manifest = ENDINGS.iter().any(|ending| name.ends_with(ending));
        match entry.kind {
            EntryKind::Folder => walk(tree, &path, limits, deeper, spent, into)?,
            EntryKind::File if manifest => {
                spent.files += 1;
                spent.bytes += entry.size;
                if spent.files > limits.files {
                    return Err(too_much(&path, limits.files as u64, "files"));
                }
                if spent.bytes > limits.bytes {
                    return Err(too_much(&path, limits.bytes, "bytes of manifests"));
                }
                into.extend(file(tree, &path)?);
                if into.len() > limits.objects {
                    return Err(too_much(&path, limits.objects as u64, "objects"));
                }
            }
            EntryKind::Link if manifest => {
                let message =
                    "is a symbolic link, which is not followed: put the file itself here".to_owned();
                return Err(RenderError::File { path, message });
            }
            EntryKind::File | EntryKind::Link | EntryKind::Submodule => {}
        }
    }
    Ok(())
}

/// The objects of one file; items of a `List` are objects of their own.
pub(super) fn file(tree: &dyn Tree, path: &str) -> Result<Vec<Manifest>, RenderError> {
    let bytes = tree.read(path)?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let message = "is not UTF-8 text".to_owned();
        return Err(RenderError::File {
            path: path.to_owned(),
            message,
        });
    };
    let mut manifests = Vec::new();
    for document in read(path, text, &ReadLimits::default())? {
        objects(&document, &mut manifests)?;
    }
    Ok(manifests)
}

/// The objects of one document.
pub(super) fn objects(document: &Document, into: &mut Vec<Manifest>) -> Result<(), RenderError> {
    object(document, &document.value, &mut Vec::new(), into)
}

fn object(
    document: &Document,
    value: &Value,
    at: &mut Vec<PathPart>,
    into: &mut Vec<Manifest>,
) -> Result<(), RenderError> {
    let place = |below: &str| {
        let mut full = at.clone();
        full.extend(path(below));
        document.place(&full)
    };
    let invalid = |below: &str, message: String| RenderError::Invalid {
        place: place(below),
        message,
    };
    if value.is_null() {
        return Ok(());
    }
    let text = |pointer: &str| {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    };
    let Some(kind) = text("/kind") else {
        return Err(invalid("kind", "an object needs a kind".to_owned()));
    };
    if text("/apiVersion").is_none() {
        return Err(invalid(
            "apiVersion",
            format!("{kind}: an object needs an apiVersion"),
        ));
    }
    if kind.ends_with("List")
        && let Some(items) = value.get("items").and_then(Value::as_array)
    {
        if !at.is_empty() {
            return Err(invalid("items", "a list within a list".to_owned()));
        }
        for (index, item) in items.iter().enumerate() {
            at.extend([PathPart::Key("items".to_owned()), PathPart::Index(index)]);
            object(document, item, at, into)?;
            at.clear();
        }
        return Ok(());
    }
    // A hook gets a name for each commit.
    let named_later = text("/metadata/generateName").is_some() && is_hook(value);
    if text("/metadata/name").is_none() && !named_later {
        let message = if text("/metadata/generateName").is_some() {
            format!("{kind}: metadata.generateName makes a new object at each sync; give it a name")
        } else {
            format!("{kind}: an object needs metadata.name")
        };
        return Err(invalid("metadata", message));
    }
    into.push(Manifest {
        value: value.clone(),
        place: place(""),
    });
    Ok(())
}

fn too_much(path: &str, limit: u64, what: &'static str) -> RenderError {
    RenderError::TooMuch {
        path: path.to_owned(),
        limit,
        what,
    }
}
