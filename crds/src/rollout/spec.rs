use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{
    AnalysisRunArgument, AnalysisRunMetadata, AnalysisTemplateRef, CanaryStep, DryRun, IntOrString,
    LabelSelector, MeasurementRetention, PodTemplateMetadata, RolloutAnalysis, RolloutTrafficRouting, Time,
    text_enum,
};

/// What is wanted of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Number of pods. Default 1 (F1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Selects the pods; immutable, and required unless `workloadRef` is set (F2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "field is immutable"}])))]
    pub selector: Option<LabelSelector>,
    /// The pods. Kept as it is: Kubernetes is its judge (F3). Absent or empty with `workloadRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::PodTemplate"))]
    pub template: Option<Value>,
    /// Takes the pods of a Deployment, ReplicaSet or PodTemplate instead of `template` (F13).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<ObjectRef>,
    /// Seconds that a pod must be ready to count as available. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i32>,
    /// How versions change; exactly one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RolloutStrategy>,
    /// Old ReplicaSets without pods that are kept. Default 10 (F5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Stops scaling of the new version, steps and promotion. Default false (F6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Seconds without progress after which the Rollout counts as stuck. Default 600; more than
    /// `minReadySeconds` (F7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_seconds: Option<i32>,
    /// Abort when the deadline passes, instead of only reporting it. Default false (F8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline_abort: Option<bool>,
    /// Pods that were started before this time are restarted, by eviction. Ignored until the time has come
    /// (F9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_at: Option<Time>,
    /// How many finished analysis runs are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisRunStrategy>,
    /// Going back this little skips steps, pauses and analysis. Default: never (F10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_window: Option<RollbackWindowSpec>,
}

/// Names a workload whose pod template is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectRef {
    /// `group/version` of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// `Deployment`, `ReplicaSet` or `PodTemplate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the Deployment is scaled down. Default `never` (F14 to F16).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleDownStrategy>,
}

/// How many finished analysis runs are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AnalysisRunStrategy {
    /// Successful ones. Default 5 (F11).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_run_history_limit: Option<i32>,
    /// Failed, errored and inconclusive ones. Default 5 (F12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsuccessful_run_history_limit: Option<i32>,
}

/// How far back is near.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RollbackWindowSpec {
    /// Revisions behind the stable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<i32>,
}

/// How versions change; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutStrategy {
    /// The new version is started beside the old one; then the Service is switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenStrategy>,
    /// The new version takes a growing share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStrategy>,
}

/// The new version is started beside the old one; then the Service is switched (contract 1.3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct BlueGreenStrategy {
    /// The Service of the version in use; its selector is patched (F49).
    pub active_service: String,
    /// The Service of the newest version; its selector is patched (F50).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_service: Option<String>,
    /// Pods of the new version before the switch. Default: `spec.replicas` (F51).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_replica_count: Option<i32>,
    /// False: wait for a promotion before the switch. Default true (F52).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_promotion_enabled: Option<bool>,
    /// Wait this many seconds before the switch. Default 0: do not wait (F53).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_promotion_seconds: Option<i32>,
    /// Pods that may be restarted at a time. Default 25 percent (F61).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Seconds that the old version stays after the switch. Default 30 (F54).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// Old versions that may wait for their delay. Default: no limit (F55).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Seconds that the new version stays after an abort. 0: for ever. Default 30 (F56).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<i32>,
    /// Analysis before the switch; failure aborts (F57).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promotion_analysis: Option<RolloutAnalysis>,
    /// Keeps the pods of the two versions apart (F60).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<AntiAffinity>,
    /// Analysis after the switch; failure aborts (F58).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promotion_analysis: Option<RolloutAnalysis>,
    /// Labels and annotations of the pods while they are the preview (F59).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_metadata: Option<PodTemplateMetadata>,
    /// Labels and annotations of the pods while they are active (F59).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_metadata: Option<PodTemplateMetadata>,
}

/// The new version takes a growing share (contract 1.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryStrategy {
    /// The Service of the new version; its selector is patched (F23).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_service: Option<String>,
    /// The Service of the stable version; its selector is patched (F23).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_service: Option<String>,
    /// What happens, in this order. Default: a rolling update (F24).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<CanaryStep>,
    /// Who splits the traffic. Default: the ratio of pods does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_routing: Option<RolloutTrafficRouting>,
    /// Pods that may be missing during an update without traffic routing, rounded down. Default 25 percent
    /// (F22).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Pods that may be added during an update without traffic routing, rounded up. Default 25 percent
    /// (F21).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// Analysis in the background of the update (F36).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<RolloutAnalysisBackground>,
    /// Keeps the pods of the two versions apart (F37).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<AntiAffinity>,
    /// Labels and annotations of the pods while they are the canary (F38).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_metadata: Option<PodTemplateMetadata>,
    /// Labels and annotations of the pods while they are stable (F38).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_metadata: Option<PodTemplateMetadata>,
    /// Seconds that the old version stays after promotion; with traffic routing only. Default 30 (F39).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_seconds: Option<i32>,
    /// Old versions that may wait for their delay. Default: no limit (F40).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Seconds that the canary stays after an abort; with traffic routing only. 0: for ever. Default 30
    /// (F41).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_scale_down_delay_seconds: Option<i32>,
    /// Shrinks the stable version as traffic leaves it; with traffic routing only. Default false (F42).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_stable_scale: Option<bool>,
    /// Two Services that change roles on promotion (F43).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_pong: Option<PingPongSpec>,
    /// Least pods of a version that has any; with traffic routing only. Default 1 (F44).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pods_per_replica_set: Option<i32>,
    /// How much of the canary must be available for a step to be complete. Default: all (F45).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_progress_threshold: Option<ReplicaProgressThreshold>,
}

/// Two Services that change roles on promotion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PingPongSpec {
    /// One Service.
    pub ping_service: String,
    /// The other.
    pub pong_service: String,
}

/// Keeps the pods of two versions apart; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AntiAffinity {
    /// If possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_during_scheduling_ignored_during_execution:
        Option<PreferredDuringSchedulingIgnoredDuringExecution>,
    /// Always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_during_scheduling_ignored_during_execution:
        Option<RequiredDuringSchedulingIgnoredDuringExecution>,
}

/// A preference of the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PreferredDuringSchedulingIgnoredDuringExecution {
    /// How strong, 1 to 100.
    pub weight: i32,
}

/// A demand to the scheduler; it has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RequiredDuringSchedulingIgnoredDuringExecution {}

/// How much of the canary must be available for a step to be complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaProgressThreshold {
    /// What `value` counts.
    pub type_: ReplicaProgressThresholdType,
    /// The threshold. Negative: off.
    pub value: i32,
}

/// Analysis in the background of a canary update: [`RolloutAnalysis`] and the step that it starts at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutAnalysisBackground {
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
    /// Step, counted from 0, that starts the analysis. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_step: Option<i32>,
}

impl RolloutAnalysisBackground {
    /// The analysis without its starting step.
    pub fn analysis(&self) -> RolloutAnalysis {
        RolloutAnalysis {
            templates: self.templates.clone(),
            args: self.args.clone(),
            dry_run: self.dry_run.clone(),
            measurement_retention: self.measurement_retention.clone(),
            analysis_run_metadata: self.analysis_run_metadata.clone(),
        }
    }
}

text_enum! {
    /// Whether the Deployment of a `workloadRef` is scaled down.
    ScaleDownStrategy {
        /// Left alone; the default.
        Never = "never",
        /// To 0 once the Rollout is healthy.
        OnSuccess = "onsuccess",
        /// As the Rollout's own pods become ready.
        Progressively = "progressively",
    }
}

text_enum! {
    /// What a replica progress threshold counts.
    ReplicaProgressThresholdType {
        /// Percent of the desired pods.
        Percent = "Percent",
        /// Pods.
        Pods = "Pods",
    }
}
