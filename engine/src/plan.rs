//! What shall be done: ordered, guarded actions, the complete status, events, the next look and the reasons.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::{AnalysisRun, RolloutStatus};
use tidegate_traffic::RouteWrite;

use crate::progress::Progress;
use crate::why::Reason;

/// The outcome of one look at a Rollout.
///
/// The shell carries the actions out in order and stops at the first that fails; at one that the API server refuses it asks
/// again, with that in [`Observed::refused`](crate::Observed::refused). Then it writes the difference between
/// the observed status and [`Plan::status`], guarded by the resourceVersion that was observed; each event follows the
/// write that it tells of. Any prefix of that, followed by a crash and a new plan, ends in the same place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Ordered so that traffic is safe after each: capacity before traffic, traffic before removing capacity.
    pub actions: Vec<Action>,
    /// The complete desired status, computed from what was observed.
    pub status: RolloutStatus,
    /// Whether a changed status is worth a write at once.
    pub urgency: Urgency,
    /// What to tell once the status is written, in order.
    pub events: Vec<Event>,
    /// When something changes by itself, and the planner wants to be asked again.
    pub wake: Option<Timestamp>,
    /// Hashes whose pods the next look needs (restart, ephemeral metadata).
    pub needs_pods: Vec<String>,
    /// Writes that are left out because they were refused, by [`refusal::key`](crate::refusal::key).
    pub refused: Vec<String>,
    /// Why it is as it is: feeds the message, `explain`, the logs.
    pub why: Vec<Reason>,
    /// How far the update has come, for [`Observed::progress`](crate::Observed::progress) of the next look.
    pub progress: Option<Progress>,
}

/// When a status that differs from the observed one is to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Only counters, and what is derived from them, moved: the shell waits
    /// [`counters_delay`](crate::Settings::counters_delay) from when it first saw such a difference, so that pods becoming ready
    /// one by one do not cost a write each. Any other write of the status takes them along.
    #[default]
    Soon,
    /// At once.
    Now,
}

/// One guarded write. Repeating it is harmless, and one made from a stale cache loses with a conflict.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// What is written.
    pub change: Change,
    /// What to tell once it is done.
    pub event: Option<Event>,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Creates the ReplicaSet of a new revision at its size. An object of that name that is already there is success
    /// when it has the same owner and template, and a hash collision otherwise.
    CreateReplicaSet {
        /// Name: `<rollout>-<hash>`.
        name: String,
        /// The whole object.
        body: Value,
    },
    /// Changes a ReplicaSet: size, annotations, and the rest of its spec that the Rollout decides.
    PatchReplicaSet {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
        /// New size and the size that it replaces.
        scale: Option<Scale>,
        /// Annotations to set (`Some`) or to remove (`None`), with the value each replaces.
        annotations: BTreeMap<String, Option<String>>,
        /// A merge patch for the rest of the spec (template metadata, minReadySeconds, owner), `Null` when there is none.
        rest: Value,
    },
    /// Deletes an old ReplicaSet.
    DeleteReplicaSet {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
        /// resourceVersion it must still have, so that one that was scaled up meanwhile stays.
        resource_version: String,
    },
    /// Points a Service at a version, or away from any (`hash: None`).
    SetServiceSelector {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
        /// resourceVersion it must still have.
        resource_version: String,
        /// The pod template hash to select.
        hash: Option<String>,
        /// Rollout that manages the Service from now on; `None` takes the annotation away.
        managed_by: Option<String>,
    },
    /// A write of the traffic router.
    Route(RouteWrite),
    /// Creates an analysis run.
    CreateAnalysisRun(Box<AnalysisRun>),
    /// Asks a run to stop (`spec.terminate`).
    TerminateAnalysisRun {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
    },
    /// Deletes a run that is beyond the history limits.
    DeleteAnalysisRun {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
    },
    /// Changes the Rollout's own metadata or spec by a merge patch: revision annotation, defaulted replicas.
    PatchRollout {
        /// The merge patch, without the guard.
        patch: Value,
    },
    /// Scales the Deployment behind `spec.workloadRef`.
    ScaleWorkload {
        /// Name of the Deployment.
        name: String,
        /// uid it must still have.
        uid: String,
        /// New size and the size that it replaces.
        scale: Scale,
    },
    /// Evicts a pod (restart), so that disruption budgets hold.
    EvictPod {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
    },
    /// Changes labels and annotations of a live pod (ephemeral metadata).
    PatchPod {
        /// Name.
        name: String,
        /// uid it must still have.
        uid: String,
        /// The merge patch.
        patch: Value,
    },
}

/// A change of size, guarded by the size that it replaces: ReplicaSets change all the time by themselves, so a
/// resourceVersion would lose races that do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Size as observed.
    pub from: i32,
    /// Size to set.
    pub to: i32,
}

/// An event about the Rollout (contract 2.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// Reason, as upstream's.
    pub reason: &'static str,
    /// Message, as upstream's.
    pub message: String,
    /// What makes this occurrence different from an earlier one with the same words; part of the event's name, so
    /// that a crash does not double it. Empty for what happens once, before all else.
    pub occurrence: String,
}

impl Event {
    /// Whether it comes before all else that is told of the Rollout, whenever it is written.
    pub fn is_first(&self) -> bool {
        self.occurrence.is_empty()
    }
}
