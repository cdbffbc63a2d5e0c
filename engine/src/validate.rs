//! What makes a Rollout invalid: as a function of its own, so that the planner, `lint` and a webhook say the same.
//!
//! The rules, their order and their words are upstream's (contract 4.1 to 4.3), and all that is wrong is reported, not
//! only the first. What upstream accepts and this controller cannot act on is a violation too, never ignored:
//! see [`unsupported`].

mod canary;
mod latest;
mod path;
mod pod_template;
mod read;
mod references;
mod routers;
mod rules;
mod spec;
mod unsupported;
pub(crate) mod violation;

use serde_json::Value;
use tidegate_crds::Rollout;

use self::violation::Found;
pub use self::{
    path::{FieldPath, Segment},
    references::{References, validate_references},
    violation::{Violation, ViolationKind},
};
use crate::observed::Observed;
use crate::valid::Valid;

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

#[cfg(test)]
mod tests;
