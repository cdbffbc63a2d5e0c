//! The kinds, by name.

use crate::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, DELIVERY_GROUP, Delivery, Experiment, ObjectMeta,
    Rollout,
};

/// Group of upstream's five kinds.
pub const GROUP: &str = "argoproj.io";
/// Version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of upstream's five kinds.
pub const API_VERSION: &str = "argoproj.io/v1alpha1";

/// A kind of this API.
pub trait Kind {
    /// Group of its objects.
    const GROUP: &str = GROUP;
    /// `kind` of its objects.
    const KIND: &str;
    /// Name of the resource in URLs.
    const PLURAL: &str;
    /// Whether its objects live in a namespace.
    const NAMESPACED: bool;

    /// Metadata of the object.
    fn metadata(&self) -> &ObjectMeta;
    /// Metadata of the object, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

/// Implements [`Kind`], and a default that names the kind: objects in a list come without `kind` and `apiVersion`.
macro_rules! kind {
    ($kind:ident, $plural:literal, namespaced: $namespaced:literal, $($rest:ident),+) => {
        impl Kind for $kind {
            const KIND: &str = stringify!($kind);
            const PLURAL: &str = $plural;
            const NAMESPACED: bool = $namespaced;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl Default for $kind {
            fn default() -> Self {
                Self {
                    api_version: API_VERSION.to_owned(),
                    kind: Self::KIND.to_owned(),
                    metadata: ObjectMeta::default(),
                    $($rest: Default::default()),+
                }
            }
        }
    };
}

kind!(Rollout, "rollouts", namespaced: true, spec, status);
kind!(AnalysisTemplate, "analysistemplates", namespaced: true, spec);
kind!(ClusterAnalysisTemplate, "clusteranalysistemplates", namespaced: false, spec);
kind!(AnalysisRun, "analysisruns", namespaced: true, spec, status);
kind!(Experiment, "experiments", namespaced: true, spec, status);

impl Kind for Delivery {
    const GROUP: &str = DELIVERY_GROUP;
    const KIND: &str = "Delivery";
    const PLURAL: &str = "deliveries";
    const NAMESPACED: bool = true;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
