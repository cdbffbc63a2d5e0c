//! A folder on the local disk as a commit has it: links are not followed, and nothing above the root is seen.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tidegate_gitsync::tree::{Entry, EntryKind, Oid, Tree, TreeError};

use crate::failure::Failure;

/// Longest file that is read.
const MAX_FILE: u64 = 32 << 20;

/// What git keeps for itself at the root of a checkout, or of a submodule.
const GIT: &str = ".git";

/// A folder that stands for the root of a repository.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// The checkout that a folder is in, and the path of the folder in it. Without a checkout around it the folder is the root.
    pub(crate) fn around(folder: &Path) -> Result<(Self, String), Failure> {
        let failed = |error| Failure::File(folder.display().to_string(), error);
        let full = fs::canonicalize(folder).map_err(failed)?;
        if !full.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        let root = full.ancestors().find(|above| above.join(GIT).exists());
        let root = root.unwrap_or(&full).to_owned();
        let below = full.strip_prefix(&root).unwrap_or(Path::new(""));
        let names: Option<Vec<&str>> = below
            .components()
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let Some(names) = names else {
            return Err(Failure::Usage(format!("{} is not UTF-8", below.display())));
        };
        let path = names.join("/");
        Ok((Self { root }, path))
    }

    /// Where a path is and what is there, if all above it are real folders.
    fn find(&self, path: &str) -> Option<(PathBuf, Metadata)> {
        let mut place = self.root.clone();
        let mut found = fs::symlink_metadata(&place).ok()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !found.is_dir() || name == ".." || name == "." {
                return None;
            }
            place.push(name);
            found = fs::symlink_metadata(&place).ok()?;
        }
        Some((place, found))
    }

    fn describe(&self, place: &Path, found: &Metadata) -> Option<Entry> {
        let (kind, size) = match found.file_type() {
            kind if kind.is_symlink() => (EntryKind::Link, found.len()),
            kind if kind.is_file() => (EntryKind::File, found.len()),
            kind if kind.is_dir() && place != self.root && place.join(GIT).exists() => {
                (EntryKind::Submodule, 0)
            }
            kind if kind.is_dir() => (EntryKind::Folder, 0),
            // sockets, devices and pipes are in no commit
            _ => return None,
        };
        // Names of contents tell two commits apart; here there is only one.
        Some(Entry {
            kind,
            oid: Oid::default(),
            size,
        })
    }
}

impl Tree for Disk {
    fn entry(&self, path: &str) -> Option<Entry> {
        let (place, found) = self.find(path)?;
        self.describe(&place, &found)
    }

    fn children(&self, path: &str) -> Vec<(String, Entry)> {
        let folder = self.find(path).filter(|(_, found)| found.is_dir());
        let listed = folder.and_then(|(place, _)| fs::read_dir(place).ok());
        let mut children: Vec<(String, Entry)> = listed
            .into_iter()
            .flatten()
            .filter_map(|child| {
                let child = child.ok()?;
                let name = child.file_name().into_string().ok()?;
                let entry = self.describe(&child.path(), &child.metadata().ok()?)?;
                (name != GIT).then_some((name, entry))
            })
            .collect();
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        children
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, TreeError> {
        let error = |message: String| TreeError {
            path: path.to_owned(),
            message,
        };
        let found = self.find(path).filter(|(_, found)| found.is_file());
        let (place, _) = found.ok_or_else(|| error("there is no such file".to_owned()))?;
        let mut bytes = Vec::new();
        File::open(place)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(|failed| error(failed.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(error(format!("is longer than {MAX_FILE} bytes")));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_checkout_is_seen_as_its_commit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, ".git/config", "");
        write(root, "prod/web.yaml", "a");
        write(root, "prod/a/b.yaml", "bc");
        write(root, "other/.git/config", "");
        symlink("web.yaml", root.join("prod/link.yaml")).unwrap();
        symlink("a", root.join("prod/linked")).unwrap();
        let (disk, path) = Disk::around(&root.join("prod/a/..")).unwrap();
        assert_eq!(path, "prod");
        let kinds: Vec<(String, EntryKind)> = disk
            .children("prod")
            .into_iter()
            .map(|(name, entry)| (name, entry.kind))
            .collect();
        let expected = [
            ("a", EntryKind::Folder),
            ("link.yaml", EntryKind::Link),
            ("linked", EntryKind::Link),
            ("web.yaml", EntryKind::File),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
        assert_eq!(&*disk.read("prod/a/b.yaml").unwrap(), b"bc");
        assert_eq!(disk.entry("other").unwrap().kind, EntryKind::Submodule);
        let names: Vec<String> = disk.children("").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["other", "prod"]);
        for path in [
            "prod/linked/b.yaml",
            "prod/../../etc",
            "prod/link.yaml/x",
            "prod/nothing",
        ] {
            assert_eq!(disk.entry(path), None, "{path}");
            assert!(disk.read(path).is_err(), "{path}");
        }
        assert!(disk.read("prod/link.yaml").is_err());
    }

    #[test]
    fn without_a_checkout_the_folder_is_all_there_is() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "web.yaml", "a");
        let (disk, path) = Disk::around(folder.path()).unwrap();
        assert_eq!((path.as_str(), disk.children("").len()), ("", 1));
        assert!(Disk::around(&folder.path().join("web.yaml")).is_err());
        assert!(Disk::around(&folder.path().join("nothing")).is_err());
    }
}
