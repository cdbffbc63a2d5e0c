//! Canary steps.
//!
//! The hash of the steps is part of the API (contract 2.4): fields stand in the order of upstream's Go types, and
//! what Go's `omitempty` leaves out is left out, what it cannot leave out (structs, lists without it) is written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{
    AnalysisRunMetadata, AnalysisTemplateRef, DryRun, FieldRef, GoDuration, GoDurationError, IntOrString,
    LabelSelector, MeasurementRetention, TemplateService,
    scalars::{blank, not_true},
    text_enum,
};

/// One step of a canary update: one of weight, pause, experiment and analysis, or one of the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryStep {
    /// Share of traffic for the canary, 0 to 100 or `maxTrafficWeight`; without traffic routing, share of
    /// pods (F25).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_weight: Option<i32>,
    /// Waits (F26, F27).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<RolloutPause>,
    /// Runs an experiment and waits for it (F32).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<RolloutExperimentStep>,
    /// Runs an analysis and waits for it (F31).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RolloutAnalysis>,
    /// Sets the number of canary pods apart from the traffic; with traffic routing only (F28 to F30).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_canary_scale: Option<SetCanaryScale>,
    /// Sends requests with certain headers to the canary (F33).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_header_route: Option<SetHeaderRoute>,
    /// Copies requests to the canary (F34).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_mirror_route: Option<SetMirrorRoute>,
    /// Runs a step plugin (F35).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginStep>,
}

/// A pause of a canary update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutPause {
    /// Seconds, or text such as `"30"`, `"5m"`, `"1h"`. Default: until promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<IntOrString>,
}

/// Number of canary pods; one of the three.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SetCanaryScale {
    /// In percent of `spec.replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Exactly so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Follow `setWeight` again. Default false.
    #[serde(skip_serializing_if = "not_true")]
    pub match_traffic_weight: Option<bool>,
}

/// Sends requests with certain headers to the canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SetHeaderRoute {
    /// Name of the route; one of `managedRoutes`.
    #[serde(skip_serializing_if = "blank")]
    pub name: Option<String>,
    /// Which requests. None: removes the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_: Vec<HeaderRoutingMatch>,
}

/// A header that a request must have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct HeaderRoutingMatch {
    /// The header.
    pub header_name: String,
    /// Its value.
    pub header_value: Option<StringMatch>,
}

/// A text to match; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct StringMatch {
    /// The whole text.
    #[serde(skip_serializing_if = "blank")]
    pub exact: Option<String>,
    /// Its start.
    #[serde(skip_serializing_if = "blank")]
    pub prefix: Option<String>,
    /// A regular expression for it.
    #[serde(skip_serializing_if = "blank")]
    pub regex: Option<String>,
}

/// Copies requests to the canary; answers to copies are dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SetMirrorRoute {
    /// Name of the route; one of `managedRoutes`.
    pub name: String,
    /// Which requests. None: removes the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_: Vec<RouteMatch>,
    /// How many of them, in percent. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<i32>,
}

/// What a request must be like; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RouteMatch {
    /// Its method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<StringMatch>,
    /// Its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<StringMatch>,
    /// Its headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, StringMatch>,
}

/// A step that a plugin carries out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PluginStep {
    /// The plugin.
    pub name: String,
    /// Its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub config: Option<Value>,
}

/// An analysis that a Rollout starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutAnalysis {
    /// Templates with the metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<AnalysisTemplateRef>,
    /// Values for the templates' arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<AnalysisRunArgument>,
    /// Metrics that are measured without effect on the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements to keep of which metric. Default 10 of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_run_metadata: Option<AnalysisRunMetadata>,
}

/// A value for an argument of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisRunArgument {
    /// The argument.
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "blank")]
    pub value: Option<String>,
    /// Where to take the value from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ArgumentValueFrom>,
}

/// Where to take the value of an argument from; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ArgumentValueFrom {
    /// Hash of one of the two versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_hash_value: Option<ValueFromPodTemplateHash>,
    /// A field of the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// An experiment within an update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutExperimentStep {
    /// Versions to run side by side. (`null` and an empty list hash differently, as in Go.)
    pub templates: Option<Vec<RolloutExperimentTemplate>>,
    /// How long to run. Default: until the analyses end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Analyses of the experiment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analyses: Vec<RolloutExperimentStepAnalysisTemplateRef>,
    /// Metrics that are measured without effect on the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// Labels and annotations for the runs.
    #[cfg_attr(feature = "schema", schemars(extend("x-optional" = true)))]
    pub analysis_run_metadata: AnalysisRunMetadata,
    /// Seconds between the end of the experiment and the scale-down of its ReplicaSets. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
}

/// A version that an experiment runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutExperimentTemplate {
    /// Name of the template in the experiment.
    pub name: String,
    /// Which version.
    pub spec_ref: ReplicaSetSpecRef,
    /// Number of pods. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Labels and annotations of the pods.
    #[cfg_attr(feature = "schema", schemars(extend("x-optional" = true)))]
    pub metadata: PodTemplateMetadata,
    /// Selects the pods. Default: made from the Rollout's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Share of traffic, in percent; with SMI, ALB, Istio and plugins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    /// Creates a Service in front of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<TemplateService>,
}

/// Labels and annotations of pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PodTemplateMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An analysis of an experiment within an update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutExperimentStepAnalysisTemplateRef {
    /// Name of the analysis in the experiment.
    pub name: String,
    /// The AnalysisTemplate or ClusterAnalysisTemplate.
    pub template_name: String,
    /// True: the template is a ClusterAnalysisTemplate. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_scope: Option<bool>,
    /// Values for the template's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<AnalysisRunArgument>,
    /// The experiment completes when all analyses with this flag are Successful. Default false.
    #[serde(skip_serializing_if = "not_true")]
    pub required_for_completion: Option<bool>,
}

impl RolloutPause {
    /// How long to pause, in whole seconds; `None` until promoted (F26, F27).
    ///
    /// Text is tried as a number of seconds first, then as a Go duration. A negative number comes back as it is;
    /// validation rejects it (contract 4.1).
    pub fn duration_seconds(&self) -> Result<Option<i64>, GoDurationError> {
        self.duration.as_ref().map(IntOrString::seconds).transpose()
    }
}

text_enum! {
    /// Which version's hash is the value of an argument.
    ValueFromPodTemplateHash {
        /// The stable version.
        Stable,
        /// The new version.
        Latest,
    }
}

text_enum! {
    /// Which version an experiment runs.
    ReplicaSetSpecRef {
        /// The new version.
        Canary = "canary",
        /// The stable version.
        Stable = "stable",
    }
}
