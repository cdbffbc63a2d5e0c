//! What makes a Rollout invalid: as a function of its own, so that the planner, `lint` and a webhook say the same.
//!
//! The rules, their order and their words are upstream's (contract 4.1 to 4.3), and all that is wrong is reported, not
//! only the first. What upstream accepts and this controller cannot act on is a violation too, never ignored:
//! see [`unsupported`].

mod canary;
mod path;
mod pod_template;
mod read;
mod references;
mod routers;
mod rules;
mod spec;
mod unsupported;

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;
use tidegate_crds::{Rollout, names};

pub use self::{
    path::{FieldPath, Segment},
    references::{References, validate_references},
};
use crate::observed::Observed;
use crate::valid::Valid;

/// Most violations that one validation reports; a spec can hold thousands of steps.
const MAX_VIOLATIONS: usize = 100;
/// Most bytes of a value that a message quotes.
const MAX_QUOTED: usize = 512;

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

    fn new(path: FieldPath, kind: ViolationKind, message: impl Into<String>) -> Self {
        Self {
            path,
            kind,
            message: message.into(),
            fix: String::new(),
            said_path: None,
        }
    }

    fn invalid(path: FieldPath, value: impl Quoted, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Invalid(value.quoted()), message)
    }

    fn required(path: FieldPath, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Required, message)
    }

    fn unsupported(path: FieldPath, value: impl Quoted, message: impl Into<String>) -> Self {
        Self::new(path, ViolationKind::Unsupported(value.quoted()), message)
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Upstream writes another path than the field's.
    fn said(mut self, path: impl Into<String>) -> Self {
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

/// The spec as the planner reads it, or all that is wrong with the Rollout and what it refers to, as observed.
pub fn validate(seen: &Observed, resolved_template: Option<&Value>) -> Result<Valid, Vec<Violation>> {
    let violations = violations(seen, resolved_template);
    if !violations.is_empty() {
        return Err(violations);
    }
    let read = read(&seen.rollout, resolved_template);
    read.map(|(valid, _)| valid).map_err(|violation| vec![*violation])
}

/// All that is wrong with the Rollout and what it refers to. References are looked at only when the spec itself is right, as
/// upstream does: the first violation is what the condition says.
pub(crate) fn violations(seen: &Observed, resolved_template: Option<&Value>) -> Vec<Violation> {
    let violations = validate_spec(&seen.rollout, resolved_template);
    if !violations.is_empty() {
        return violations;
    }
    validate_references(&seen.rollout, resolved_template, &References::from(seen))
}

/// Reads a spec in which nothing is wrong, and the pod template in force. What cannot be read would be wrong.
pub(crate) fn read<'a>(
    rollout: &Rollout,
    resolved_template: Option<&'a Value>,
) -> Result<(Valid, &'a Value), Box<Violation>> {
    let template = resolved_template.ok_or_else(|| {
        let missing = Violation::required(FieldPath::of("spec.template"), "there is no pod template");
        Box::new(missing.fix("set spec.template, or spec.workloadRef"))
    })?;
    Ok((read::valid(rollout)?, template))
}

/// Reads a spec in which something is wrong, but nothing that keeps it from being read.
pub(crate) fn legible(rollout: &Rollout) -> Result<Valid, Box<Violation>> {
    read::valid(rollout)
}

/// All that is wrong with the spec by itself, in upstream's order (contract 4.1), and after it what this controller
/// does not support. `resolved_template` is that of the workload that the spec refers to, if there is one and it is
/// known; without a reference the spec's own template counts.
pub fn validate_spec(rollout: &Rollout, resolved_template: Option<&Value>) -> Vec<Violation> {
    let mut found = Found::default();
    spec::check(rollout, resolved_template, &mut found);
    unsupported::check(rollout, &mut found);
    found.violations
}

/// Collects violations up to a limit.
#[derive(Default)]
struct Found {
    violations: Vec<Violation>,
}

impl Found {
    fn add(&mut self, violation: Violation) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        }
    }

    fn extend(&mut self, more: Self) {
        for violation in more.violations {
            self.add(violation);
        }
    }

    fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }
}

/// A value that prints itself as Kubernetes does in a field error.
trait Quoted {
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
struct Json<'a, T: Serialize>(&'a T);

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
mod tests;
