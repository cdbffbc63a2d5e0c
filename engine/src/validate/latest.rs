//! Validates only what has changed since the last look.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::violation::Violation;
use super::violations;
use crate::checked::Checked;
use crate::observed::{Observed, resolved_template};
use crate::valid::Valid;

impl Checked {
    /// What is known already, if it was said of what is observed; else validates.
    pub fn latest(known: Option<&Arc<Self>>, seen: &Observed) -> Arc<Self> {
        let versions = versions(seen);
        if let Some(known) = known
            && versions.is_some()
            && known.versions.as_deref() == versions.as_deref()
            && known.templates.len() == seen.templates.len()
            && known
                .templates
                .iter()
                .zip(seen.templates.values())
                .all(|(known, seen)| Arc::ptr_eq(known, seen))
        {
            return Arc::clone(known);
        }
        Arc::new(Self {
            violations: violations(seen, resolved_template(seen)),
            versions: versions.map(String::into_boxed_str),
            templates: seen.templates.values().cloned().collect(),
        })
    }

    /// The spec as the planner reads it and the pod template in force, or the first thing that is wrong.
    pub(crate) fn valid<'a>(&self, seen: &'a Observed) -> Result<(Valid, &'a Value), Box<Violation>> {
        match self.violations.first() {
            Some(violation) => Err(Box::new(violation.clone())),
            None => super::read(&seen.rollout, resolved_template(seen)),
        }
    }

    /// The spec of a Rollout that is invalid, as far as it can be read. Without a pod template there is no version that it is for.
    pub(crate) fn legible(seen: &Observed) -> Option<(Valid, &Value)> {
        let valid = super::legible(&seen.rollout).ok()?;
        Some((valid, resolved_template(seen).unwrap_or(&Value::Null)))
    }
}

/// resourceVersions of all that validation reads, by name, in one text. Analysis templates are known by their place in memory.
fn versions(seen: &Observed) -> Option<String> {
    let workload = seen.workload.iter();
    let services = seen.services.iter();
    let routes = seen.routes.live.iter();
    let others = workload
        .map(|workload| (workload.name.as_str(), workload.resource_version.as_str()))
        .chain(services.map(|(name, service)| (name.as_str(), service.resource_version.as_str())))
        .map(|(name, version)| (name.to_owned(), version))
        .chain(routes.map(|(route, object)| (route.to_string(), version_of(object))));
    let meta = &seen.rollout.metadata;
    let counts = (
        seen.workload.is_some(),
        seen.services.len(),
        seen.routes.live.len(),
    );
    let mut text = format!("{} {} {counts:?}", meta.uid, meta.resource_version);
    for (name, version) in others {
        if version.is_empty() {
            return None;
        }
        // To write to a text cannot fail.
        let _ = write!(text, "\n{name} {version}");
    }
    for (kind, reason) in &seen.routes.unserved {
        let _ = write!(text, "\n{} {reason}", kind.kind);
    }
    for template in seen.templates.keys() {
        let _ = write!(text, "\n{template}");
    }
    (!meta.resource_version.is_empty()).then_some(text)
}

/// resourceVersion of an object that is kept whole.
fn version_of(object: &Value) -> &str {
    let version = object
        .get("metadata")
        .and_then(|metadata| metadata.get("resourceVersion"));
    version.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
