//! Commits: what they hold, and the name that follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tidegate_gitsync::remote::CommitInfo;
use tidegate_gitsync::tree::{Files, Oid};

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// All its files.
    pub files: Files,
    /// What it was built upon; two for a merge.
    pub parents: Vec<Oid>,
    /// Its message.
    pub message: String,
    /// Name of its author.
    pub author: String,
    /// When it was committed.
    pub time: Timestamp,
}

impl Commit {
    #[expect(clippy::expect_used, reason = "a digest is hexadecimal")]
    /// Its name: the same for the same content.
    pub(super) fn oid(&self) -> Oid {
        let mut hash = Sha256::new();
        for (path, content) in self.files.iter() {
            hash.update(format!("{path}\0{}\0", content.len()));
            hash.update(content);
        }
        let parents: Vec<&str> = self.parents.iter().map(Oid::as_str).collect();
        hash.update(format!(
            "{}\0{}\0{}\0{}",
            parents.join(" "),
            self.author,
            self.time.as_second(),
            self.message
        ));
        let hex = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let name = hex.get(..40).and_then(Oid::parse);
        name.expect("invariant: 40 hexadecimal digits are a name")
    }

    /// What is told of it.
    pub(super) fn info(&self) -> CommitInfo {
        CommitInfo {
            subject: self.message.lines().next().unwrap_or_default().to_owned(),
            author: self.author.clone(),
            trailers: trailers(&self.message),
            time: self.time,
            unsigned: None,
        }
    }
}

/// `Key: value` lines at the end of a message.
fn trailers(message: &str) -> Vec<(String, String)> {
    let Some((_, last)) = message.trim().rsplit_once("\n\n") else {
        return Vec::new();
    };
    let pair = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        (!key.contains(' ')).then(|| (key.to_owned(), value.to_owned()))
    };
    // One line that is none makes it a paragraph of text.
    last.lines()
        .map(pair)
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default()
}

/// What `ours` becomes with the files that differ between `before` and `theirs`.
pub(super) fn merged(ours: &Files, before: &Files, theirs: &Files) -> Files {
    let by_path = |files: &Files| -> BTreeMap<String, Vec<u8>> {
        let files = files.iter();
        files
            .map(|(path, content)| (path.to_owned(), content.to_owned()))
            .collect()
    };
    let (before, theirs) = (by_path(before), by_path(theirs));
    let paths: BTreeSet<&String> = before.keys().chain(theirs.keys()).collect();
    let changed = paths
        .into_iter()
        .filter(|path| before.get(*path) != theirs.get(*path));
    changed.fold(ours.clone(), |files, path| match theirs.get(path) {
        Some(content) => files.with_bytes(path, content),
        None => files.without(path),
    })
}
