//! Deliveries (`tidegate.io/v1alpha1`): a folder of a Git repository that is applied, judged, and if need be taken back.

mod spec;
mod status;

use serde::{Deserialize, Serialize};

pub use self::{spec::*, status::*};
use crate::{ObjectMeta, scalars::is_default};

/// Group of our own kinds.
pub const DELIVERY_GROUP: &str = "tidegate.io";
/// `apiVersion` of our own kinds.
pub const DELIVERY_API_VERSION: &str = "tidegate.io/v1alpha1";

/// Applies a folder of a Git repository, gives each commit a verdict from the rollouts that it causes, and goes back to the
/// last good commit when one is rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Delivery {
    /// `tidegate.io/v1alpha1`.
    pub api_version: String,
    /// `Delivery`.
    pub kind: String,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: DeliverySpec,
    /// What was observed: which commit runs, which was rejected, and why.
    #[serde(skip_serializing_if = "is_default")]
    pub status: DeliveryStatus,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            api_version: DELIVERY_API_VERSION.to_owned(),
            kind: "Delivery".to_owned(),
            metadata: ObjectMeta::default(),
            spec: DeliverySpec::default(),
            status: DeliveryStatus::default(),
        }
    }
}
