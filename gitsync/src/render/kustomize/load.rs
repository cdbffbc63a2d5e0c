//! Files of the repository: paths, limits, and YAML as Kustomize reads it.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::Value;
use tidegate_manifests::{Document, Limits as ReadLimits, PathPart, Place, read};

use super::object::Object;
use crate::render::{KUSTOMIZATION, Limits, RenderError};
use crate::tree::{EntryKind, Tree};

/// Reads files and counts what they cost.
pub(super) struct Loader<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) limits: &'a Limits,
    files: Cell<usize>,
    bytes: Cell<u64>,
}

/// What stands at a path that a kustomization names.
pub(super) enum Target {
    File(String),
    Folder(String),
}

impl<'a> Loader<'a> {
    pub(super) fn new(tree: &'a dyn Tree, limits: &'a Limits) -> Self {
        Self {
            tree,
            limits,
            files: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    /// What stands at `relative`, seen from a folder. A folder itself is not looked at, only its kustomization: what
    /// else is in it does not matter.
    ///
    /// # Errors
    /// There is nothing, or nothing that may be read; says why and what to do.
    pub(super) fn find(&self, folder: &str, relative: &str) -> Result<Target, String> {
        let path = resolve(folder, relative)?;
        let file = [".yaml", ".yml", ".json"]
            .iter()
            .any(|ending| path.ends_with(ending));
        if !file && self.kustomizations(&path).next().is_some() {
            return Ok(Target::Folder(path));
        }
        match self.tree.entry(&path).map(|entry| entry.kind) {
            Some(EntryKind::File) => Ok(Target::File(path)),
            Some(EntryKind::Folder) => Ok(Target::Folder(path)),
            Some(EntryKind::Link) => Err(not_followed(&path)),
            Some(EntryKind::Submodule) => Err(not_fetched(&path)),
            None => Err(self.missing(&path, relative)),
        }
    }

    /// Why there is nothing at a path.
    fn missing(&self, path: &str, relative: &str) -> String {
        let above = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        for folder in above {
            match self.tree.entry(folder).map(|entry| entry.kind) {
                Some(EntryKind::Link) => return not_followed(folder),
                Some(EntryKind::Submodule) => return not_fetched(folder),
                _ => {}
            }
        }
        format!("`{relative}`: the commit has no {path}")
    }

    /// The kustomizations of a folder. All names are asked for: such a file may come later.
    pub(super) fn kustomizations(&self, folder: &str) -> impl Iterator<Item = String> {
        let path = |name: &str| {
            if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/{name}")
            }
        };
        let mut found = KUSTOMIZATION.map(path).to_vec();
        found.retain(|path| self.tree.entry(path).is_some());
        found.into_iter()
    }

    /// The bytes of a file that a kustomization names.
    pub(super) fn bytes(&self, folder: &str, relative: &str) -> Result<(String, Arc<[u8]>), LoadError> {
        match self.find(folder, relative)? {
            Target::File(path) => {
                let bytes = self.read(&path)?;
                Ok((path, bytes))
            }
            Target::Folder(path) => Err(format!("{path} is a folder, not a file").into()),
        }
    }

    /// The text of a file that a kustomization names.
    pub(super) fn text(&self, folder: &str, relative: &str) -> Result<(String, String), LoadError> {
        let (path, bytes) = self.bytes(folder, relative)?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("{path} is not UTF-8 text"))?;
        Ok((path, text))
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: &str) -> Result<Arc<[u8]>, RenderError> {
        let size = self.tree.entry(path).map_or(0, |entry| entry.size);
        self.files.set(self.files.get() + 1);
        self.bytes.set(self.bytes.get().saturating_add(size));
        let too_much = |limit, what| RenderError::TooMuch {
            path: path.to_owned(),
            limit,
            what,
        };
        if self.files.get() > self.limits.files {
            return Err(too_much(self.limits.files as u64, "files"));
        }
        if self.bytes.get() > self.limits.bytes {
            return Err(too_much(self.limits.bytes, "bytes of files"));
        }
        Ok(self.tree.read(path)?)
    }
}

fn not_followed(path: &str) -> String {
    format!("{path} is a symbolic link, which is not followed: put the file itself there")
}

fn not_fetched(path: &str) -> String {
    format!("{path} is a submodule, which is not fetched: copy its files")
}

/// Either a matter of the field that names the file, or one of the file.
pub(super) enum LoadError {
    Field(String),
    File(RenderError),
}

impl From<String> for LoadError {
    fn from(message: String) -> Self {
        Self::Field(message)
    }
}

impl From<RenderError> for LoadError {
    fn from(error: RenderError) -> Self {
        Self::File(error)
    }
}

/// The path from the root of the repository.
fn resolve(folder: &str, relative: &str) -> Result<String, String> {
    if is_remote(relative) {
        return Err(format!(
            "`{}` is in another place than this repository, which would make the result change without a commit: copy it here",
            without_credentials(relative)
        ));
    }
    if relative.starts_with('/') {
        return Err(format!(
            "`{relative}` is an absolute path: make it relative to this folder"
        ));
    }
    let mut names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    for name in relative.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                if names.pop().is_none() {
                    return Err(format!("`{relative}` leaves the repository"));
                }
            }
            name => names.push(name),
        }
    }
    Ok(names.join("/"))
}

fn is_remote(path: &str) -> bool {
    path.contains("://")
        || path.starts_with("git@")
        || path.starts_with("github.com/")
        || path.contains("?ref=")
}

fn without_credentials(url: &str) -> String {
    match url
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1)))
    {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => url.to_owned(),
    }
}

/// The documents of a YAML text, as Kustomize reads them: it keeps `yes` and `on` as text, and numbers in annotations
/// as they are written.
pub(super) fn documents(path: &str, text: &str) -> Result<Vec<Document>, RenderError> {
    let mut documents = read(path, text, &ReadLimits::default())?;
    let lines: Vec<&str> = text.lines().collect();
    for document in &mut documents {
        let mut value = std::mem::take(&mut document.value);
        as_written(document, &lines, &mut Vec::new(), &mut value);
        document.value = value;
    }
    Ok(documents)
}

fn as_written(document: &Document, lines: &[&str], at: &mut Vec<PathPart>, value: &mut Value) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                at.push(PathPart::Index(index));
                as_written(document, lines, at, item);
                at.pop();
            }
        }
        Value::Object(map) => {
            let entries = std::mem::take(map);
            for (key, mut value) in entries {
                at.push(PathPart::Key(key.clone()));
                as_written(document, lines, at, &mut value);
                map.insert(key_as_written(document, lines, at, key), value);
                at.pop();
            }
        }
        Value::Bool(_) => {
            let Some(source) = source(document, lines, at) else {
                return;
            };
            if in_annotations(at) || !["true", "false"].contains(&source.to_ascii_lowercase().as_str()) {
                *value = Value::String(source);
            }
        }
        Value::Number(_) if in_annotations(at) => {
            if let Some(source) = source(document, lines, at) {
                *value = Value::String(source);
            }
        }
        Value::String(text)
            if is_date(text) && !in_annotations(at) && source(document, lines, at).as_ref() == Some(text) =>
        {
            text.push_str("T00:00:00Z");
        }
        _ => {}
    }
}

/// A key such as `y`, `on` or `1.10`, which is one of text.
fn key_as_written(document: &Document, lines: &[&str], at: &[PathPart], key: String) -> String {
    if !["true", "false"].contains(&key.as_str()) && key.parse::<f64>().is_err() {
        return key;
    }
    match word(lines, &document.key_place(at)) {
        Some(word) => word.trim_end_matches(':').to_owned(),
        None => key,
    }
}

fn in_annotations(at: &[PathPart]) -> bool {
    let key = |index: usize, name: &str| at.get(index) == Some(&PathPart::from(name));
    key(0, "metadata") && key(1, "annotations")
}

fn is_date(text: &str) -> bool {
    let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split('-');
    let mut part = |len| parts.next().is_some_and(|part| digits(part, len));
    part(4) && part(2) && part(2) && parts.next().is_none()
}

/// A plain value as it stands in the file; `None` if it comes by an alias or has a tag.
fn source(document: &Document, lines: &[&str], at: &[PathPart]) -> Option<String> {
    word(lines, &document.place(at))
}

fn word(lines: &[&str], place: &Place) -> Option<String> {
    let line = lines.get((place.line as usize).checked_sub(1)?)?;
    let rest: String = line
        .chars()
        .skip((place.column as usize).checked_sub(1)?)
        .collect();
    let end = rest.find(|c: char| c.is_whitespace() || ",]}".contains(c));
    let word = rest.get(..end.unwrap_or(rest.len()))?;
    (!word.starts_with(['*', '&', '!', '"', '\''])).then(|| word.to_owned())
}

/// The objects of a text; items of a list are objects of their own and come last.
pub(super) fn objects(path: &str, text: &str) -> Result<Vec<Object>, RenderError> {
    let mut objects = Vec::new();
    let mut nested = Vec::new();
    for document in documents(path, text)? {
        let place = document.place(&[]);
        if document.value.is_null() || document.value.as_object().is_some_and(serde_json::Map::is_empty) {
            continue;
        }
        object(document.value, place, &mut objects, &mut nested)?;
    }
    let mut at = 0;
    while let Some((value, place)) = nested.get(at).cloned() {
        at += 1;
        if at > MAX_ITEMS {
            return Err(invalid(&place, "too many lists in lists".to_owned()));
        }
        object(value, place, &mut objects, &mut nested)?;
    }
    Ok(objects)
}

const MAX_ITEMS: usize = 100_000;

fn object(
    value: Value,
    place: Place,
    objects: &mut Vec<Object>,
    nested: &mut Vec<(Value, Place)>,
) -> Result<(), RenderError> {
    let text = |pointer: &str| {
        let found = value.pointer(pointer);
        found.map(super::object::text).unwrap_or_default()
    };
    if !value.is_object() {
        return Err(invalid(
            &place,
            "an object is a map with apiVersion, kind and metadata".to_owned(),
        ));
    }
    let kind = text("/kind");
    if kind.is_empty() {
        return Err(invalid(&place, "an object needs a kind".to_owned()));
    }
    let list = kind.ends_with("List");
    if list && let Some(items) = value.get("items") {
        let items = items.as_array().into_iter().flatten();
        nested.extend(items.map(|item| (item.clone(), place.clone())));
        return Ok(());
    }
    if !list && text("/metadata/name").is_empty() {
        return Err(invalid(&place, format!("{kind}: an object needs metadata.name")));
    }
    objects.push(Object::new(value, place));
    Ok(())
}

fn invalid(place: &Place, message: String) -> RenderError {
    RenderError::Invalid {
        place: place.clone(),
        message,
    }
}
