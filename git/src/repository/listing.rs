//! All paths of a commit, compact: kept in memory so that a commit that changes nothing costs no render.

use tidegate_gitsync::remote::RemoteError;
use tidegate_gitsync::tree::{Entry, EntryKind, Oid};

/// Most entries of a commit.
const MAX_ENTRIES: usize = 250_000;

/// The entries of a commit, sorted by path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    root: Oid,
    /// All paths, one after the other.
    paths: String,
    /// All object names, one after the other, equally long.
    oids: String,
    nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    start: usize,
    kind: EntryKind,
    size: u64,
}

impl Listing {
    /// Reads what `git ls-tree -r -t -z -l --full-tree` writes.
    ///
    /// # Errors
    /// `Refused` if there is too much of it, `Unavailable` if it is something else.
    pub(crate) fn parse(root: Oid, output: &[u8]) -> Result<Self, RemoteError> {
        let mut lines = Vec::new();
        for line in output.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            lines.push(Line::parse(line).ok_or_else(|| {
                RemoteError::Unavailable("git ls-tree wrote what is not a listing".to_owned())
            })?);
            if lines.len() > MAX_ENTRIES {
                let message = format!("the commit has more than {MAX_ENTRIES} files and folders");
                return Err(RemoteError::Refused(message));
            }
        }
        lines.sort_by(|a, b| a.path.cmp(&b.path));
        let mut listing = Self {
            root,
            paths: String::new(),
            oids: String::with_capacity(lines.len() * 40),
            nodes: Vec::with_capacity(lines.len()),
        };
        for line in lines {
            listing.nodes.push(Node {
                start: listing.paths.len(),
                kind: line.kind,
                size: line.size,
            });
            listing.paths.push_str(&line.path);
            listing.oids.push_str(line.oid);
        }
        listing.paths.shrink_to_fit();
        Ok(listing)
    }

    /// What stands at a path.
    pub(crate) fn entry(&self, path: &str) -> Option<Entry> {
        if path.is_empty() {
            return Some(Entry {
                kind: EntryKind::Folder,
                oid: self.root.clone(),
                size: 0,
            });
        }
        let index = self.first(|found| found < path);
        (self.path(index) == Some(path)).then(|| self.at(index))?
    }

    /// What a folder holds, sorted by name.
    pub(crate) fn children(&self, folder: &str) -> Vec<(String, Entry)> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let start = self.first(|found| found < prefix.as_str());
        let below = (start..self.nodes.len())
            .map_while(|index| Some((index, self.path(index)?.strip_prefix(prefix.as_str())?)));
        below
            .filter(|(_, rest)| !rest.contains('/'))
            .filter_map(|(index, name)| Some((name.to_owned(), self.at(index)?)))
            .collect()
    }

    fn first(&self, before: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (0, self.nodes.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.path(middle).is_some_and(&before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn path(&self, index: usize) -> Option<&str> {
        let start = self.nodes.get(index)?.start;
        let end = self
            .nodes
            .get(index + 1)
            .map_or(self.paths.len(), |next| next.start);
        self.paths.get(start..end)
    }

    fn at(&self, index: usize) -> Option<Entry> {
        let node = self.nodes.get(index)?;
        let width = self.root.as_str().len();
        let oid = self.oids.get(index * width..(index + 1) * width)?;
        Some(Entry {
            kind: node.kind,
            oid: Oid::parse(oid)?,
            size: node.size,
        })
    }
}

struct Line<'a> {
    path: String,
    kind: EntryKind,
    oid: &'a str,
    size: u64,
}

impl<'a> Line<'a> {
    /// `<mode> <type> <oid> <size>\t<path>`, the size padded and `-` for what has none.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let (facts, path) = (line.get(..tab)?, line.get(tab + 1..)?);
        let mut facts = std::str::from_utf8(facts).ok()?.split_ascii_whitespace();
        let (mode, _, oid, size) = (facts.next()?, facts.next()?, facts.next()?, facts.next()?);
        let kind = match mode {
            "040000" => EntryKind::Folder,
            "120000" => EntryKind::Link,
            "160000" => EntryKind::Submodule,
            _ => EntryKind::File,
        };
        Some(Self {
            path: readable(path),
            kind,
            oid,
            size: size.parse().unwrap_or(0),
        })
    }
}

/// A path as text; bytes that are not UTF-8 become `\xNN`.
fn readable(path: &[u8]) -> String {
    path.utf8_chunks().fold(String::new(), |text, chunk| {
        let rest = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        text + chunk.valid() + &rest.collect::<String>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(digit: char) -> Oid {
        Oid::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn line(mode: &str, digit: char, size: &str, path: &str) -> String {
        format!("{mode} x {} {size:>7}\t{path}\0", oid(digit))
    }

    #[test]
    fn a_listing_answers_by_path_and_by_folder() {
        // git's order: a folder sorts as if its name ended in a slash
        let mut output = [
            line("100644", '1', "5", "a-b"),
            line("040000", '2', "-", "a"),
            line("100755", '3', "7", "a/x.yaml"),
            line("040000", '4', "-", "a/x"),
            line("100644", '5', "0", "a/x/\n y"),
            line("120000", '6', "9", "link"),
            line("160000", '7', "-", "sub"),
        ]
        .concat()
        .into_bytes();
        output.extend_from_slice(line("100644", '8', "1", "caf").trim_end_matches('\0').as_bytes());
        output.extend_from_slice(b"\xe9.yaml\0");
        let listing = Listing::parse(oid('0'), &output).unwrap();
        let entry = |kind, digit, size| Entry {
            kind,
            oid: oid(digit),
            size,
        };
        let named = |name: &str, entry| (name.to_owned(), entry);
        assert_eq!(listing.entry(""), Some(entry(EntryKind::Folder, '0', 0)));
        assert_eq!(listing.entry("a/x.yaml"), Some(entry(EntryKind::File, '3', 7)));
        assert_eq!(listing.entry("a/x/\n y"), Some(entry(EntryKind::File, '5', 0)));
        for path in ["a/", "/a", "b", "a/x.yam", "a/x.yaml/z", "zzz"] {
            assert_eq!(listing.entry(path), None, "{path}");
        }
        assert_eq!(
            listing.children(""),
            [
                named("a", entry(EntryKind::Folder, '2', 0)),
                named("a-b", entry(EntryKind::File, '1', 5)),
                named("caf\\xe9.yaml", entry(EntryKind::File, '8', 1)),
                named("link", entry(EntryKind::Link, '6', 9)),
                named("sub", entry(EntryKind::Submodule, '7', 0)),
            ]
        );
        assert_eq!(
            listing.children("a"),
            [
                named("x", entry(EntryKind::Folder, '4', 0)),
                named("x.yaml", entry(EntryKind::File, '3', 7)),
            ]
        );
        assert_eq!(listing.children("a-b"), []);
        assert!(Listing::parse(oid('0'), b"nonsense\0").is_err());
        assert_eq!(Listing::parse(oid('0'), b"").unwrap().children(""), []);
    }
}
