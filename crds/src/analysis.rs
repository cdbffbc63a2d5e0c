//! Analysis: templates, runs, metrics and the providers that measure them (contract 1.6, 1.7, 3.12).

mod provider;
mod run;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{provider::*, run::*};
use crate::{GoDuration, IntOrString, ObjectMeta};

/// Metrics to measure, for the Rollouts of its namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisTemplate {
    /// `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// `AnalysisTemplate`.
    pub kind: String,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What to measure.
    pub spec: AnalysisTemplateSpec,
}

/// Metrics to measure, for the Rollouts of all namespaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterAnalysisTemplate {
    /// `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// `ClusterAnalysisTemplate`.
    pub kind: String,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What to measure.
    pub spec: AnalysisTemplateSpec,
}

/// What to measure, with arguments left open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisTemplateSpec {
    /// The metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Metrics that are measured without effect on the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements to keep of which metric. Default 10 of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Arguments that the metrics use as `{{args.<name>}}`; one without a value must be supplied by whoever
    /// starts the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// Further templates whose metrics and arguments are included, recursively.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<AnalysisTemplateRef>,
}

/// Names an analysis template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisTemplateRef {
    /// The template.
    #[cfg_attr(feature = "schema", schemars(extend("x-optional" = true)))]
    pub template_name: String,
    /// True: the template is a ClusterAnalysisTemplate. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_scope: Option<bool>,
}

/// One thing to measure, how often, and what counts as success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Metric {
    /// Key of the result; unique in the run.
    pub name: String,
    /// Time between measurements. Needed for more than one measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Time between the start of the run and the first measurement. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<GoDuration>,
    /// Number of measurements. Absent or 0: one without `interval`, endless with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<IntOrString>,
    /// Expression that is true for a successful measurement. With neither condition every value is a
    /// success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_condition: Option<String>,
    /// Expression that is true for a failed measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_condition: Option<String>,
    /// The metric fails with more failed measurements than this. Negative: no limit. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_limit: Option<IntOrString>,
    /// The metric is inconclusive with more inconclusive measurements than this. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inconclusive_limit: Option<IntOrString>,
    /// The metric errs with more errors in a row than this. Default 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_error_limit: Option<IntOrString>,
    /// The metric succeeds with this many successes in a row. 0: off. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_success_limit: Option<IntOrString>,
    /// Who measures; exactly one.
    pub provider: MetricProvider,
}

/// Metrics that are measured without effect on the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DryRun {
    /// Regular expression, not anchored, for names of metrics.
    pub metric_name: String,
}

/// How many measurements to keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct MeasurementRetention {
    /// Regular expression, not anchored, for names of metrics.
    pub metric_name: String,
    /// Measurements to keep. Not positive: the default of 10.
    pub limit: i32,
}

/// An argument of a template, or its value for a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Argument {
    /// The argument.
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where to take the value from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where to take the value of an argument from; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ValueFrom {
    /// A key of a Secret in the namespace of the run. Never written to the object or a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// A field of the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// A field of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct FieldRef {
    /// Path such as `metadata.labels['region']` or `spec.replicas`.
    pub field_path: String,
}

/// Labels and annotations that an analysis run gets in addition to the controller's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisRunMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}
