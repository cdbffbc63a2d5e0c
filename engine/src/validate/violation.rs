//! What is wrong with a Rollout, in the words of Kubernetes.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::path::FieldPath;

/// Most violations that one validation reports; a spec can hold thousands of steps.
pub(super) const MAX_VIOLATIONS: usize = 100;
/// Most bytes of a value that a message quotes.
pub(super) const MAX_QUOTED: usize = 512;

/// One thing that is wrong with a Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field to change.
    pub path: FieldPath,
    /// What sort of wrong it is, with the value as upstream prints it.
    pub kind: ViolationKind,
    /// Upstream's words; empty where upstream has none.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// The path as upstream writes it into the condition, where that is not `path`.
    said_path: Option<String>,
}

/// The sorts of violation, with the value in question as Kubernetes prints it (`"text"`, `101`, `{"app":"web"}`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// A value that is wrong.
    Invalid(String),
    /// A value that is missing.
    Required,
    /// A value that is right elsewhere, but not acted on.
    Unsupported(String),
    /// A value that may not be there.
    Forbidden,
    /// A value that another one has already.
    Duplicate(String),
    /// A name that nothing has.
    NotFound(String),
    /// Upstream's word for fields that contradict each other.
    Internal,
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(value) => write!(f, "Invalid value: {value}"),
            Self::Required => f.write_str("Required value"),
            Self::Unsupported(value) => write!(f, "Unsupported value: {value}"),
            Self::Forbidden => f.write_str("Forbidden"),
            Self::Duplicate(value) => write!(f, "Duplicate value: {value}"),
            Self::NotFound(value) => write!(f, "Not found: {value}"),
            Self::Internal => f.write_str("Internal error"),
        }
    }
}

impl Violation {
    /// The text of the InvalidSpec condition for a Rollout of this name, word for word upstream's (contract 4).
    pub fn condition_text(&self, rollout_name: &str) -> String {
        format!("The Rollout \"{rollout_name}\" is invalid: {self}")
    }

    pub(super) fn new(path: FieldPath, kind: ViolationKind, message: impl Into<String>) -> Self {
        Self {
            path,
            kind,
            message: message.into(),
            fix: String::new(),
            said_path: None,
        }
    }

    pub(super) fn invalid(path: FieldPath, value: impl Quoted, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Invalid(value.quoted()), message)
    }

    pub(super) fn required(path: FieldPath, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Required, message)
    }

    pub(super) fn unsupported(path: FieldPath, value: impl Quoted, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Unsupported(value.quoted()), message)
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Upstream writes another path than the field's.
    pub(super) fn said(mut self, path: impl Into<String>) -> Self {
        self.said_path = Some(path.into());
        self
    }
}

/// Path, kind and message, as Kubernetes prints a field error.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said_path {
            Some(path) => f.write_str(path)?,
            None => write!(f, "{}", self.path)?,
        }
        write!(f, ": {}", self.kind)?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

/// Collects violations up to a limit.
#[derive(Default)]
pub(super) struct Found {
    pub(super) violations: Vec<Violation>,
}

impl Found {
    pub(super) fn add(&mut self, violation: Violation) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        for violation in more.violations {
            self.add(violation);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }
}

/// A value that prints itself as Kubernetes does in a field error.
pub(super) trait Quoted {
    fn quoted(self) -> String;
}

impl Quoted for &str {
    fn quoted(self) -> String {
        shortened(go_quote(self))
    }
}

impl Quoted for i32 {
    fn quoted(self) -> String {
        self.to_string()
    }
}

impl Quoted for i64 {
    fn quoted(self) -> String {
        self.to_string()
    }
}

impl Quoted for bool {
    fn quoted(self) -> String {
        self.to_string()
    }
}

/// A value that is printed as JSON.
pub(super) struct Json<'a, T: Serialize>(pub(super) &'a T);

impl<T: Serialize> Quoted for Json<'_, T> {
    fn quoted(self) -> String {
        shortened(serde_json::to_string(self.0).unwrap_or_default())
    }
}

/// Text as Go's `%q` prints it.
fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            other if other.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Cuts a value that would make a condition unreadable.
fn shortened(text: String) -> String {
    if text.len() <= MAX_QUOTED {
        return text;
    }
    let end = (0..=MAX_QUOTED)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_go_does_and_cut() {
        assert_eq!("a\"\\\n\u{7}\u{1}é".quoted(), r#""a\"\\\n\a\x01é""#);
        assert_eq!(
            "é".repeat(600).as_str().quoted().len(),
            "\"".len() + MAX_QUOTED - 1 + "… (1202 bytes)".len() - 1
        );
    }
}
