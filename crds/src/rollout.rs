//! Rollouts (contract 1.1 to 1.5, 2.5).

mod spec;
mod status;
mod steps;
mod traffic;

use serde::{Deserialize, Serialize};

pub use self::{spec::*, status::*, steps::*, traffic::*};
use crate::{ObjectMeta, scalars::is_default};

/// Brings new versions of pods into service step by step (canary) or at once beside the old ones
/// (blue-green).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Rollout {
    /// `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// `Rollout`.
    pub kind: String,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: RolloutSpec,
    /// What was observed, and the requests of clients: abort, promote, step index (contract 2.9).
    #[serde(skip_serializing_if = "is_default")]
    pub status: RolloutStatus,
}
