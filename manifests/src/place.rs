//! Places in files, paths into documents, and how one leads to the other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A place in a file; it prints as `file:line:column`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The path, or the label that the text was read under.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, from 0.
    Index(usize),
}

impl From<&str> for PathPart {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for PathPart {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The path that Kubernetes writes as `spec.steps[0].pause` or `metadata.annotations[example.test/owner]`: keys with
/// dots in them stand in brackets, with quotes or without.
pub fn path(text: &str) -> Vec<PathPart> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            parts.push(match inside.parse() {
                Ok(index) => PathPart::Index(index),
                Err(_) => PathPart::from(inside.trim_matches(['"', '\''])),
            });
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).filter(|end| *end > 0).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if !key.is_empty() {
                parts.push(PathPart::from(key));
            }
            rest = after;
        }
    }
    parts
}

/// The places of a value and of all that is in it.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// Line and column of the key, or of the value where there is no key.
    pub(crate) key: (u32, u32),
    /// Line and column of the value.
    pub(crate) value: (u32, u32),
    pub(crate) children: Children,
}

#[derive(Debug, Clone)]
pub(crate) enum Children {
    None,
    List(Vec<Spot>),
    Map(BTreeMap<String, Spot>),
}

impl Spot {
    /// The spot at a path, or that of the nearest ancestor and false.
    pub(crate) fn find(&self, path: &[PathPart]) -> (&Self, bool) {
        let mut spot = self;
        for part in path {
            let child = match (&spot.children, part) {
                (Children::List(items), PathPart::Index(index)) => items.get(*index),
                (Children::Map(entries), PathPart::Key(key)) => entries.get(key),
                _ => None,
            };
            match child {
                Some(child) => spot = child,
                None => return (spot, false),
            }
        }
        (spot, true)
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPart, path};

    #[test]
    fn paths_of_kubernetes() {
        for (text, expected) in [
            ("", vec![]),
            ("spec", vec!["spec".into()]),
            (
                "spec.steps[0].pause",
                vec!["spec".into(), "steps".into(), 0.into(), "pause".into()],
            ),
            ("a[b.c/d].e", vec!["a".into(), "b.c/d".into(), "e".into()]),
            ("a['0x'][1][2]", vec!["a".into(), "0x".into(), 1.into(), 2.into()]),
            ("[0]", vec![0.into()]),
            ("a[b", vec!["a".into(), "[b".into()]),
            ("..a.", vec![".a.".into()]),
        ] {
            let expected: Vec<PathPart> = expected;
            assert_eq!(path(text), expected, "{text}");
        }
    }
}
