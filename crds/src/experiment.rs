//! Experiments: short-lived ReplicaSets side by side, with analysis (contract 1.8, 3.17).

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{
    AnalysisPhase, AnalysisRunMetadata, Argument, ConditionStatus, DryRun, GoDuration, LabelSelector,
    MeasurementRetention, ObjectMeta, Time,
    scalars::{blank, is_default},
    text_enum,
};

/// Runs one ReplicaSet for each template until its analyses end, its duration is over or it is terminated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct Experiment {
    /// `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// `Experiment`.
    pub kind: String,
    /// Name, labels and the rest.
    pub metadata: ObjectMeta,
    /// What to run.
    pub spec: ExperimentSpec,
    /// What was observed. There is no status subresource (contract 2.1).
    #[serde(skip_serializing_if = "is_default")]
    pub status: ExperimentStatus,
}

/// What an experiment runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// Pods to run; each template becomes a ReplicaSet `<experiment>-<template>`.
    pub templates: Vec<TemplateSpec>,
    /// How long to run, counted from `status.availableAt`. Default: until the analyses end or `terminate` is
    /// set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Seconds that a template may take to become available before it fails with ProgressDeadlineExceeded.
    /// Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Ends the experiment now. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminate: Option<bool>,
    /// Analyses that start once all templates are available.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analyses: Vec<ExperimentAnalysisTemplateRef>,
    /// Seconds between the end of the experiment and the scale-down of its ReplicaSets. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// Metrics that are measured without effect on the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
    /// How many measurements to keep of which metric. Default 10 of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measurement_retention: Vec<MeasurementRetention>,
    /// Labels and annotations for the analysis runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis_run_metadata: Option<AnalysisRunMetadata>,
}

/// One kind of pod of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TemplateSpec {
    /// Name of the template, unique in the experiment.
    pub name: String,
    /// Number of pods. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Seconds that a pod must be ready to count as available. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// Selects the pods of this template; required, not empty.
    pub selector: LabelSelector,
    /// The pods. Kept as it is: Kubernetes is its judge.
    #[cfg_attr(feature = "schema", schemars(with = "schema::PodTemplate"))]
    pub template: Value,
    /// Creates a Service in front of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<TemplateService>,
}

/// A Service for the pods of a template, with the ports of their containers. It goes when the experiment
/// ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TemplateService {
    /// Name of the Service. Default: the name of the ReplicaSet.
    #[serde(skip_serializing_if = "blank")]
    pub name: Option<String>,
}

/// An analysis of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentAnalysisTemplateRef {
    /// Name of the analysis, unique in the experiment; the run is called `<experiment>-<name>`.
    pub name: String,
    /// The AnalysisTemplate or ClusterAnalysisTemplate.
    pub template_name: String,
    /// True: the template is a ClusterAnalysisTemplate. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_scope: Option<bool>,
    /// Values for the template's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// The experiment completes, even before its duration is over, when all analyses with this flag are
    /// Successful. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_for_completion: Option<bool>,
}

/// What was observed of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// Where the experiment is. Stays empty when the spec is invalid (contract 4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<AnalysisPhase>,
    /// Why it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When all templates were available: the start of `duration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_at: Option<Time>,
    /// One for each template.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub template_statuses: Vec<TemplateStatus>,
    /// One for each analysis that was started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analysis_runs: Vec<ExperimentAnalysisRunStatus>,
    /// Progressing and InvalidExperimentSpec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ExperimentCondition>,
}

/// What was observed of one template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TemplateStatus {
    /// The template.
    pub name: String,
    /// Pods of the ReplicaSet.
    pub replicas: i32,
    /// Pods of the ReplicaSet that have the template of the spec.
    pub updated_replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Pods that have been ready for `minReadySeconds`.
    pub available_replicas: i32,
    /// How many names were taken when the ReplicaSet was created; part of the hash. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Where the template is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TemplateStatusCode>,
    /// Why it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `status` changed last: start of the progress deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// The Service that was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Hash of the pod template: label of the ReplicaSet and its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_hash: Option<String>,
}

/// An analysis run of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentAnalysisRunStatus {
    /// Name of the analysis in the spec.
    pub name: String,
    /// Name of the AnalysisRun.
    pub analysis_run: String,
    /// Its phase.
    pub phase: AnalysisPhase,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One observation with its reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentCondition {
    /// What was observed.
    pub type_: ExperimentConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// When it was written last.
    pub last_update_time: Time,
    /// When `status` changed last.
    pub last_transition_time: Time,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

text_enum! {
    /// Where a template of an experiment is.
    TemplateStatusCode {
        /// Pods are being started.
        Progressing,
        /// All pods are available.
        Running,
        /// Ended as intended.
        Successful,
        /// Did not become available in time, or lost its pods.
        Failed,
        /// Could not be run.
        Error,
    }
}

text_enum! {
    /// Kinds of conditions of an experiment.
    ExperimentConditionType {
        /// The spec cannot be run.
        InvalidExperimentSpec,
        /// The experiment moves on.
        Progressing,
    }
}
