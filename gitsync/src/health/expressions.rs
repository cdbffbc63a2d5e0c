//! Health of kinds by expressions, in the shape and the order of Flux (`healthCheckExprs`, RFC-0009): in progress, failed,
//! current; and what is none of these is in progress.

use serde_json::Value;
use tidegate_crds::DeliveryHealthCheck;

use super::Health;
use crate::cel::{Budget, Expression};
use crate::object::ObjectId;
use crate::spec::{InvalidSpec, invalid};

/// Most entries of `spec.healthChecks`.
const MAX_CHECKS: usize = 20;
/// How many steps the expressions of a plan may take: about as many as 20,000 ordinary ones need.
const STEPS: u64 = 1_000_000;

/// How kinds are asked for their health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks(Vec<Check>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    group: String,
    kind: String,
    in_progress: Option<Expression>,
    failed: Option<Expression>,
    current: Expression,
}

impl Checks {
    /// Reads `spec.healthChecks`.
    pub(crate) fn read(checks: &[DeliveryHealthCheck]) -> Result<Self, InvalidSpec> {
        if checks.len() > MAX_CHECKS {
            let message = format!("has {} entries: at most {MAX_CHECKS} are taken", checks.len());
            return Err(invalid("spec.healthChecks", message));
        }
        let mut read: Vec<Check> = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let check = Check::read(index, check)?;
            if read
                .iter()
                .any(|other| (&other.group, &other.kind) == (&check.group, &check.kind))
            {
                let message = format!("{} has an entry already: make one of both", check.kind);
                return Err(invalid(field(index, "kind"), message));
            }
            read.push(check);
        }
        Ok(Self(read))
    }

    fn of(&self, id: &ObjectId) -> Option<&Check> {
        self.0.iter().find(|check| id.is(&check.group, &check.kind))
    }

    /// Whether a kind is asked by expressions.
    pub(super) fn know(&self, id: &ObjectId) -> bool {
        self.of(id).is_some()
    }

    /// How an object does, if its kind is asked by expressions.
    pub(super) fn health(&self, id: &ObjectId, object: &Value, budget: &Budget) -> Option<Health> {
        self.of(id).map(|check| check.health(object, budget))
    }

    /// What the expressions of one plan may spend.
    pub(crate) fn budget() -> Budget {
        Budget::new(STEPS)
    }
}

fn field(index: usize, name: &str) -> String {
    format!("spec.healthChecks[{index}].{name}")
}

impl Check {
    fn read(index: usize, check: &DeliveryHealthCheck) -> Result<Self, InvalidSpec> {
        let expression = |name: &str, text: &str| {
            Expression::parse(text).map_err(|problem| invalid(field(index, name), problem.to_string()))
        };
        let optional = |name: &str, text: &Option<String>| {
            let text = text.as_deref().filter(|text| !text.trim().is_empty());
            text.map(|text| expression(name, text)).transpose()
        };
        for (name, text) in [
            ("apiVersion", &check.api_version),
            ("kind", &check.kind),
            ("current", &check.current),
        ] {
            if text.trim().is_empty() {
                return Err(invalid(field(index, name), "is needed"));
            }
        }
        let (group, _) = check.api_version.split_once('/').unwrap_or_default();
        Ok(Self {
            group: group.to_owned(),
            kind: check.kind.clone(),
            in_progress: optional("inProgress", &check.in_progress)?,
            failed: optional("failed", &check.failed)?,
            current: expression("current", &check.current)?,
        })
    }

    fn health(&self, object: &Value, budget: &Budget) -> Health {
        let questions = [
            ("inProgress", self.in_progress.as_ref()),
            ("failed", self.failed.as_ref()),
            ("current", Some(&self.current)),
        ];
        for (name, expression) in questions {
            let Some(expression) = expression else {
                continue;
            };
            let kind = &self.kind;
            match (expression.holds(object, budget), name) {
                (Ok(false), _) => {}
                (Ok(true), "inProgress") => {
                    return Health::Progressing(format!("inProgress of the health check of {kind} is true"));
                }
                (Ok(true), "failed") => {
                    return Health::Failed(format!("failed of the health check of {kind} is true"));
                }
                (Ok(true), _) => return Health::Current,
                (Err(problem), name) => {
                    return Health::Progressing(format!("{name} of the health check of {kind}: {problem}"));
                }
            }
        }
        Health::Progressing(format!(
            "current of the health check of {} is not true",
            self.kind
        ))
    }
}
