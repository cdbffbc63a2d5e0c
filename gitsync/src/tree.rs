//! The files of one commit, as a renderer sees them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Name of a Git object: 40 hexadecimal digits, or 64 in a SHA-256 repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Oid(String);

impl Oid {
    /// Takes a name in full; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (hex && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A symbolic link: its content is the path that it points to.
    Link,
    /// A folder.
    Folder,
    /// A submodule: a commit of another repository.
    Submodule,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Name of its content: equal names are equal content, of a folder with all below.
    pub oid: Oid,
    /// Bytes of a file or link; 0 for the others.
    pub size: u64,
}

/// Why a file could not be read although it is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct TreeError {
    /// Path from the root of the repository.
    pub path: String,
    /// What went wrong.
    pub message: String,
}

/// The files of one commit. Paths are relative to the root, with `/` between names, without `.`, `..` or a slash at
/// either end; the root is the empty path.
pub trait Tree {
    /// What stands at a path; links are not followed.
    fn entry(&self, path: &str) -> Option<Entry>;
    /// What a folder holds, sorted by name; empty if it is no folder.
    fn children(&self, path: &str) -> Vec<(String, Entry)>;
    /// The bytes of a file.
    ///
    /// # Errors
    /// There is no file, or it cannot be fetched.
    fn read(&self, path: &str) -> Result<Arc<[u8]>, TreeError>;
}

/// Every path that a renderer looked at and what it found there, `None` for nothing. As long as a commit has the same at all
/// of them it renders to the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure(BTreeMap<String, Option<Oid>>);

impl Closure {
    /// Whether another commit has the same at all these paths.
    pub fn holds(&self, tree: &dyn Tree) -> bool {
        self.0
            .iter()
            .all(|(path, oid)| tree.entry(path).map(|entry| entry.oid) == *oid)
    }

    /// What outside of a folder it was rendered from and another commit has differently: what is to go back beside the folder so
    /// that it renders to the same. Of folders the files that were read.
    pub fn outside(&self, folder: &str, other: impl Fn(&str) -> Option<Entry>) -> Vec<String> {
        let differs = |(path, before): &(&String, &Option<Oid>)| match other(path) {
            Some(entry) => entry.kind != EntryKind::Folder && Some(&entry.oid) != before.as_ref(),
            None => before.is_some(),
        };
        let outside = self.0.iter().filter(|(path, _)| !is_within(path, folder));
        outside.filter(differs).map(|(path, _)| path.clone()).collect()
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether a path is a folder's, or something's in it.
fn is_within(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A tree that remembers what was looked at.
pub(crate) struct Recorded<'a> {
    tree: &'a dyn Tree,
    seen: RefCell<Closure>,
}

impl<'a> Recorded<'a> {
    pub(crate) fn new(tree: &'a dyn Tree) -> Self {
        Self {
            tree,
            seen: RefCell::default(),
        }
    }

    pub(crate) fn closure(self) -> Closure {
        self.seen.into_inner()
    }
}

impl Tree for Recorded<'_> {
    fn entry(&self, path: &str) -> Option<Entry> {
        let entry = self.tree.entry(path);
        let oid = entry.as_ref().map(|entry| entry.oid.clone());
        self.seen.borrow_mut().0.insert(path.to_owned(), oid);
        entry
    }

    /// The folder's own name stands for all that is in it.
    fn children(&self, path: &str) -> Vec<(String, Entry)> {
        self.entry(path);
        self.tree.children(path)
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, TreeError> {
        self.entry(path);
        self.tree.read(path)
    }
}

/// Files in memory, for tests, the simulator and a folder on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Arc<[u8]>>);

impl Files {
    /// No file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a file.
    #[must_use]
    pub fn with(self, path: &str, content: &str) -> Self {
        self.with_bytes(path, content.as_bytes())
    }

    /// Writes a file that need not be text.
    #[must_use]
    pub fn with_bytes(mut self, path: &str, content: &[u8]) -> Self {
        self.0.insert(path.to_owned(), content.into());
        self
    }

    /// Takes a file, or all below a folder, away.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.0.retain(|file, _| file != path && !file.starts_with(&below));
        self
    }

    /// Path and content of each, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, content)| (path.as_str(), &**content))
    }

    /// The same files, but below `path` those of `other`.
    #[must_use]
    pub fn restored(&self, path: &str, other: &Self) -> Self {
        let kept = self.0.iter().filter(|(file, _)| !is_within(file, path));
        let taken = other.0.iter().filter(|(file, _)| is_within(file, path));
        Self(
            kept.chain(taken)
                .map(|(path, content)| (path.clone(), Arc::clone(content)))
                .collect(),
        )
    }

    fn folder_oid(&self, prefix: &str) -> Oid {
        let below = self.0.iter().filter(|(file, _)| file.starts_with(prefix));
        let text = below.fold(String::new(), |text, (file, content)| {
            format!("{text}{file}\0{}\n", content_oid(content))
        });
        content_oid(text.as_bytes())
    }
}

fn content_oid(content: &[u8]) -> Oid {
    let digest = crate::digest::sha256(content);
    Oid(digest.get(..40).unwrap_or(&digest).to_owned())
}

impl Tree for Files {
    fn entry(&self, path: &str) -> Option<Entry> {
        if let Some(content) = self.0.get(path) {
            return Some(Entry {
                kind: EntryKind::File,
                oid: content_oid(content),
                size: content.len() as u64,
            });
        }
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        self.0
            .keys()
            .any(|file| file.starts_with(&prefix))
            .then(|| Entry {
                kind: EntryKind::Folder,
                oid: self.folder_oid(&prefix),
                size: 0,
            })
    }

    fn children(&self, path: &str) -> Vec<(String, Entry)> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let names = self.0.keys().filter_map(|file| file.strip_prefix(&prefix));
        let mut names: Vec<&str> = names.filter_map(|rest| rest.split('/').next()).collect();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.entry(&format!("{prefix}{name}"))?)))
            .collect()
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, TreeError> {
        self.0.get(path).cloned().ok_or_else(|| TreeError {
            path: path.to_owned(),
            message: "there is no such file".to_owned(),
        })
    }
}
