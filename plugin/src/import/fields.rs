//! Reading an object so that nothing in it is passed over in silence.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::failure::Failure;
use crate::output::yaml;

/// An object of somebody else, what of it was read, and what there is to say about it.
pub(super) struct Fields<'a> {
    object: &'a Value,
    read: BTreeSet<String>,
    notes: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(object: &'a Value) -> Self {
        Self {
            object,
            read: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// A field, which counts as read with all that is in it; `None` as well if there is nothing in it.
    pub(super) fn take(&mut self, path: &str) -> Option<&'a Value> {
        self.read.insert(path.to_owned());
        let found = path
            .split('.')
            .try_fold(self.object, |value, part| value.get(part))?;
        (!is_nothing(found)).then_some(found)
    }

    /// Whether a field is there, even with nothing in it.
    pub(super) fn is_there(&self, path: &str) -> bool {
        let found = path
            .split('.')
            .try_fold(self.object, |value, part| value.get(part));
        found.is_some_and(|found| !found.is_null())
    }

    /// A text.
    pub(super) fn text(&mut self, path: &str) -> Option<&'a str> {
        self.take(path).and_then(Value::as_str)
    }

    /// Whether a switch is on; `None` if it is not there.
    pub(super) fn switch(&mut self, path: &str) -> Option<bool> {
        self.take(path).and_then(Value::as_bool)
    }

    /// Says something about a field.
    pub(super) fn note(&mut self, path: &str, words: &str) {
        self.notes.push(format!("{path}: {words}"));
    }

    /// Says something about a field if it is there.
    pub(super) fn note_if(&mut self, path: &str, words: &str) {
        if self.take(path).is_some() {
            self.note(path, words);
        }
    }

    /// Says of a field what to write into the kustomization instead.
    pub(super) fn kustomization(&mut self, path: &str, lines: &Value) -> Result<(), Failure> {
        let lines = yaml(lines)?;
        let lines: Vec<&str> = lines.lines().collect();
        let words = format!(
            "commit this in the folder's kustomization.yaml instead:\n    {}",
            lines.join("\n    ")
        );
        self.note(path, &words);
        Ok(())
    }

    /// Everything that there is to say; last what nobody has read.
    pub(super) fn into_notes(mut self, part: &str) -> Vec<String> {
        let mut unread = Vec::new();
        if let Some(value) = self.object.get(part) {
            self.find_unread(value, part, &mut unread);
        }
        let unread = unread
            .into_iter()
            .map(|path| format!("{path}: is not carried over"));
        self.notes.extend(unread);
        self.notes
    }

    fn find_unread(&self, value: &Value, path: &str, unread: &mut Vec<String>) {
        if self.read.contains(path) || is_nothing(value) {
            return;
        }
        let below = format!("{path}.");
        let partly = self.read.iter().any(|read| read.starts_with(&below));
        match value {
            Value::Object(fields) if partly => {
                for (key, value) in fields {
                    self.find_unread(value, &format!("{path}.{key}"), unread);
                }
            }
            _ => unread.push(path.to_owned()),
        }
    }
}

/// What says nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
