//! What validation said of certain versions of a Rollout and of what it refers to, so that a look at rest need not ask again.

use std::sync::Arc;

use tidegate_crds::AnalysisTemplateSpec;

use crate::validate::violation::Violation;

/// The outcome of validation, with the versions of all objects that it read. It says nothing of others. There is one in memory for
/// each Rollout, so it is small: what the planner reads is read from the spec again.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(crate) violations: Vec<Violation>,
    /// `None` where an object has no version, so that nobody can say whether it is the same.
    pub(crate) versions: Option<Box<str>>,
    /// Held on to, so that the same place in memory is the same version.
    pub(crate) templates: Vec<Arc<AnalysisTemplateSpec>>,
}
