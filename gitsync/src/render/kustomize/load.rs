//! Files of the repository: paths, limits, and YAML as Kustomize reads it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use tidegate_manifests::{Document, Limits as ReadLimits, PathPart, Place, read};

use super::object::{Object, Quoted};
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

/// A document as Kustomize reads it.
pub(super) struct Written {
    pub(super) value: Value,
    place: Place,
    quoted: Quoted,
}

/// The documents of a YAML text, as Kustomize reads them: it keeps `yes` and `on` as text, and numbers in annotations
/// as they are written.
pub(super) fn documents(path: &str, text: &str) -> Result<Vec<Written>, RenderError> {
    let lines: Vec<&str> = text.lines().collect();
    let written = |mut document: Document| {
        let mut value = std::mem::take(&mut document.value);
        let mut source = Source {
            document: &document,
            lines: &lines,
            quoted: Quoted::default(),
        };
        source.restore(&mut Vec::new(), &mut value);
        Written {
            value,
            quoted: source.quoted,
            place: document.place(&[]),
        }
    };
    let documents = read(path, text, &ReadLimits::default())?.into_iter();
    Ok(documents.map(written).collect())
}

/// The text that a document was read from.
struct Source<'a> {
    document: &'a Document,
    lines: &'a [&'a str],
    quoted: Quoted,
}

impl Source<'_> {
    fn restore(&mut self, at: &mut Vec<PathPart>, value: &mut Value) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    at.push(PathPart::Index(index));
                    self.restore(at, item);
                    at.pop();
                }
            }
            Value::Object(map) => {
                for (key, mut value) in std::mem::take(map) {
                    at.push(PathPart::Key(key.clone()));
                    self.restore(at, &mut value);
                    map.insert(self.key(at, key), value);
                    at.pop();
                }
            }
            Value::String(text) => self.restore_text(at, text),
            Value::Bool(_) | Value::Number(_) => {
                let bool = value.is_boolean();
                let kept =
                    |word: &&str| bool && !["true", "false"].contains(&word.to_ascii_lowercase().as_str());
                let word = self.word(&self.document.place(at));
                let word = word.filter(|word| !quotes(word) && (in_annotations(at) || kept(word)));
                if let Some(word) = word {
                    *value = Value::from(word);
                }
            }
            Value::Null => {}
        }
    }

    fn restore_text(&mut self, at: &[PathPart], text: &mut String) {
        match self.word(&self.document.place(at)) {
            Some(word) if word == text && is_date(text) && !in_annotations(at) => text.push_str("T00:00:00Z"),
            Some(word) if !quotes(word) => {}
            _ => {
                if let Some(PathPart::Key(key)) = at.last() {
                    self.quoted.add(key, text);
                }
            }
        }
    }

    /// A key such as `y`, `on` or `1.10` is a text.
    fn key(&self, at: &[PathPart], key: String) -> String {
        if !["true", "false"].contains(&key.as_str()) && key.parse::<f64>().is_err() {
            return key;
        }
        match self.word(&self.document.key_place(at)) {
            Some(word) if !quotes(word) => word.trim_end_matches(':').to_owned(),
            _ => key,
        }
    }

    /// What stands at a place, up to the next space or bracket; nothing on lines so long that to look would cost too
    /// much: such are written by programs, with quotes.
    fn word(&self, place: &Place) -> Option<&str> {
        let line = self.lines.get((place.line as usize).checked_sub(1)?)?;
        let line = Some(line).filter(|line| line.len() <= LONGEST_LINE)?;
        let (start, _) = line.char_indices().nth((place.column as usize).checked_sub(1)?)?;
        let rest = line.get(start..)?;
        let end = rest.find(|c: char| c.is_whitespace() || ",]}".contains(c));
        rest.get(..end.unwrap_or(rest.len()))
    }
}

const LONGEST_LINE: usize = 1000;

/// Whether a word begins a value that is no plain one: in quotes, as a block, with a tag or by an alias.
fn quotes(word: &str) -> bool {
    word.starts_with(['"', '\'', '|', '>', '!', '*', '&'])
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

/// The objects of a text; items of a list are objects of their own and come last.
pub(super) fn objects(path: &str, text: &str) -> Result<Vec<Object>, RenderError> {
    let mut objects = Vec::new();
    let mut nested = VecDeque::new();
    for written in documents(path, text)? {
        if written.value.is_null() || written.value.as_object().is_some_and(serde_json::Map::is_empty) {
            continue;
        }
        object(written, &mut objects, &mut nested)?;
    }
    let mut count = 0;
    while let Some(item) = nested.pop_front() {
        count += 1;
        if count > MAX_ITEMS {
            return Err(invalid(&item.place, "too many items of lists".to_owned()));
        }
        object(item, &mut objects, &mut nested)?;
    }
    Ok(objects)
}

const MAX_ITEMS: usize = 100_000;

fn object(
    written: Written,
    objects: &mut Vec<Object>,
    nested: &mut VecDeque<Written>,
) -> Result<(), RenderError> {
    let Written {
        mut value,
        place,
        quoted,
    } = written;
    if !value.is_object() {
        let message = "an object is a map with apiVersion, kind and metadata".to_owned();
        return Err(invalid(&place, message));
    }
    let text = |pointer: &str| {
        let found = value.pointer(pointer);
        found.map(super::object::text).unwrap_or_default()
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    if kind.is_empty() {
        return Err(invalid(&place, "an object needs a kind".to_owned()));
    }
    let list = kind.ends_with("List");
    if list && let Some(items) = value.get_mut("items") {
        let items = items.as_array_mut().map(std::mem::take).unwrap_or_default();
        // they go through JSON, where all texts have quotes
        nested.extend(items.into_iter().map(|value| Written {
            quoted: Quoted::all(&value),
            value,
            place: place.clone(),
        }));
        return Ok(());
    }
    if !list && name.is_empty() {
        return Err(invalid(&place, format!("{kind}: an object needs metadata.name")));
    }
    let mut object = Object::new(value, place);
    object.quoted = quoted;
    objects.push(object);
    Ok(())
}

fn invalid(place: &Place, message: String) -> RenderError {
    RenderError::Invalid {
        place: place.clone(),
        message,
    }
}
