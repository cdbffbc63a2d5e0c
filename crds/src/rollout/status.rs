use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{AnalysisPhase, GoDuration, Time, text_enum};

/// What was observed of a Rollout. Clients write some fields too: `abort`, `promoteFull`, `pauseConditions`,
/// `controllerPause`, `currentStepIndex` (contract 2.9); never overwrite those with an older value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutStatus {
    /// A client or the controller asks to go back to stable; false or absent: not aborted (F65).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<bool>,
    /// Why the Rollout is paused; a client removes them to go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pause_conditions: Vec<PauseCondition>,
    /// The controller paused. Stays true after a client removed the conditions, which tells that it was
    /// resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller_pause: Option<bool>,
    /// When it was aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<Time>,
    /// Hash label of the new ReplicaSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_pod_hash: Option<String>,
    /// Hash of the steps that `currentStepIndex` counts (contract 2.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_hash: Option<String>,
    /// Pods of all versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Pods of the new version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_replicas: Option<i32>,
    /// Ready pods: of all versions (canary), of the active one (blue-green).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Available pods: of all versions (canary), of the active one (blue-green).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// The step in progress, counted from 0; the number of steps when all are done; absent without steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_index: Option<i32>,
    /// How many ReplicaSet names were taken; part of the pod template hash. Absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// `metadata.generation` that this status is about, as decimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<String>,
    /// Observations with their reasons (contract 2.6).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RolloutCondition>,
    /// What only a canary has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// What only blue-green has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreenStatus>,
    /// Pods for the scale subresource (F17).
    #[serde(rename = "HPAReplicas", skip_serializing_if = "Option::is_none")]
    pub hpa_replicas: Option<i32>,
    /// Selector for the scale subresource, as text (F17).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Hash label of the ReplicaSet that was fully promoted last.
    #[serde(rename = "stableRS", skip_serializing_if = "Option::is_none")]
    pub stable_rs: Option<String>,
    /// `spec.restartAt` of the last restart that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Time>,
    /// A client asks to skip analysis, pauses and steps (F64). Cleared by the promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promote_full: Option<bool>,
    /// The state in one word (contract 2.7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RolloutPhase>,
    /// Why it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Generation of the referenced workload that this status is about, as decimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_observed_generation: Option<String>,
    /// The load balancer; with weight verification only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alb: Option<ALBStatus>,
    /// The load balancers of several Ingresses; with weight verification only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub albs: Vec<ALBStatus>,
    /// How long the update took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<RolloutDuration>,
}

/// A reason for a pause and its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct PauseCondition {
    /// The reason.
    pub reason: PauseReason,
    /// When the pause began: timed pauses count from here.
    pub start_time: Time,
}

/// What only a canary has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct CanaryStatus {
    /// The analysis run of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step_analysis_run_status: Option<RolloutAnalysisRunStatus>,
    /// The analysis run in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_background_analysis_run_status: Option<RolloutAnalysisRunStatus>,
    /// Name of the experiment of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_experiment: Option<String>,
    /// The traffic as it was set last; with traffic routing only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<TrafficWeights>,
    /// Which of the two Services is the stable one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_ping_pong: Option<PingPongType>,
    /// State of the step plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_plugin_statuses: Vec<StepPluginStatus>,
}

/// What only blue-green has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct BlueGreenStatus {
    /// Hash that the preview Service selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview_selector: Option<String>,
    /// Hash that the active Service selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_selector: Option<String>,
    /// The smaller preview has become available; from now on it has all pods (F51).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up_preview_check_point: Option<bool>,
    /// The analysis run before the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_promotion_analysis_run_status: Option<RolloutAnalysisRunStatus>,
    /// The analysis run after the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_promotion_analysis_run_status: Option<RolloutAnalysisRunStatus>,
}

/// An analysis run of a Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutAnalysisRunStatus {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub status: AnalysisPhase,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The traffic as it was set last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficWeights {
    /// The new version.
    pub canary: WeightDestination,
    /// The stable version.
    pub stable: WeightDestination,
    /// Versions of experiments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<WeightDestination>,
    /// Whether the data plane has it so; absent: it cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
}

/// Where a share of traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct WeightDestination {
    /// The share.
    pub weight: i32,
    /// The Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_hash: Option<String>,
}

/// State of one operation of a step plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct StepPluginStatus {
    /// The step.
    pub index: i32,
    /// The plugin.
    pub name: String,
    /// Why it is in this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the operation started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the plugin was called last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
    /// When the operation ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Which operation.
    pub operation: StepPluginOperation,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<StepPluginPhase>,
    /// The controller's configuration turns the plugin off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Calls so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executions: Option<i32>,
    /// Time until the next call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<GoDuration>,
    /// The plugin's own memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "schema::Opaque"))]
    pub status: Option<Value>,
}

/// One observation with its reason (contract 2.6).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutCondition {
    /// What was observed.
    pub type_: RolloutConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// When it was written last; the progress deadline counts from here.
    pub last_update_time: Time,
    /// When `status` changed last.
    pub last_transition_time: Time,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A load balancer and its target groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct ALBStatus {
    /// The load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<AwsResourceRef>,
    /// Target group of the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_target_group: Option<AwsResourceRef>,
    /// Target group of the stable version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_target_group: Option<AwsResourceRef>,
    /// The Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
}

/// A resource of AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct AwsResourceRef {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its name in metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
}

/// How long the update took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct RolloutDuration {
    /// When the update started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_started_at: Option<Time>,
    /// When the pause that a person must end started; absent: none now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual_pause_started_at: Option<Time>,
    /// Seconds that were spent in such pauses before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_manual_pause_duration_seconds: Option<i64>,
    /// When the update ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How the update ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_status: Option<CompletionStatus>,
}

text_enum! {
    /// The state of a Rollout in one word (contract 2.7).
    RolloutPhase {
        /// The wanted version serves, with all pods.
        Healthy,
        /// Aborted, stuck or invalid.
        Degraded,
        /// On its way.
        Progressing,
        /// Waits for a person or for time.
        Paused,
    }
}

text_enum! {
    /// Why a Rollout is paused.
    PauseReason {
        /// An analysis ended neither well nor badly.
        InconclusiveAnalysisRun,
        /// An experiment ended neither well nor badly.
        InconclusiveExperiment,
        /// A pause step.
        CanaryPauseStep,
        /// The pause before the switch.
        BlueGreenPause,
    }
}

text_enum! {
    /// Kinds of conditions of a Rollout (contract 2.6).
    RolloutConditionType {
        /// Enough pods are available.
        Available,
        /// The update moves on.
        Progressing,
        /// Pods cannot be created or deleted; copied from a ReplicaSet.
        ReplicaFailure,
        /// The spec cannot be carried out.
        InvalidSpec,
        /// The Rollout is paused.
        Paused,
        /// The stable version is the wanted one.
        Completed,
        /// The wanted version serves, with all pods.
        Healthy,
    }
}

text_enum! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It holds.
        True,
        /// It does not hold.
        False,
        /// Nobody can tell.
        Unknown,
    }
}

text_enum! {
    /// Which of the two ping-pong Services.
    PingPongType {
        /// `pingService`.
        Ping = "ping",
        /// `pongService`.
        Pong = "pong",
    }
}

text_enum! {
    /// What a step plugin is asked to do.
    StepPluginOperation {
        /// Carry out the step.
        Run,
        /// Stop: the step is skipped.
        Terminate,
        /// Undo: the update was aborted.
        Abort,
    }
}

text_enum! {
    /// Where an operation of a step plugin is.
    StepPluginPhase {
        /// Started, not ended.
        Running,
        /// Ended well.
        Successful,
        /// Ended badly.
        Failed,
        /// Could not be carried out; tried again.
        Error,
    }
}

text_enum! {
    /// How an update ended.
    CompletionStatus {
        /// All steps done.
        Promoted,
        /// Promoted in full by a client.
        FastPromoted,
        /// Aborted.
        Aborted,
        /// Replaced by a newer version.
        Superseded,
        /// Back at the stable version.
        RolledBack,
        /// Back within the rollback window.
        FastRolledBack,
    }
}
