use serde::{Deserialize, Serialize};

use super::RejectedReason;
use crate::{Time, text_enum};

/// What was observed: which commit runs, which was rejected, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryStatus {
    /// `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Available`, `Pinned`, `GitAhead`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<DeliveryCondition>,
    /// The newest commit that changed what is delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<DeliveryRevision>,
    /// Digest of what the spec said about rendering when `head` was rendered: another path or other values are news like a commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rendered_as: String,
    /// The commit that the cluster is held at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<DeliveryRevision>,
    /// Why it is that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<TargetReason>,
    /// The commit that was applied last, completely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<DeliveryRevision>,
    /// The newest commit that counts as good: where a rejection goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<DeliveryRevision>,
    /// What became of the last commits, newest first; at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<LedgerEntry>,
    /// All objects that are or may be applied: `GROUP/VERSION/KIND/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<String>,
    /// What is recorded in the repository: the last good commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_verified: Option<String>,
    /// What is recorded in the repository: the last rejected commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_rejected: Option<String>,
    /// The last `tidegate.io/retry` annotation that was obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_retry: Option<String>,
    /// The last `tidegate.io/sync` annotation that was obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_sync: Option<String>,
}

/// An observation with its reason, in the form that `kubectl wait` and kstatus understand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason in one word.
    pub reason: String,
    /// The reason in a sentence.
    pub message: String,
    /// When `status` changed last.
    pub last_transition_time: Time,
    /// `metadata.generation` that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A commit and what it renders to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryRevision {
    /// `main@sha1:COMMIT`.
    pub revision: String,
    /// `sha256:` and the digest of the rendered objects; empty if the commit does not render.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

text_enum! {
    /// Why the cluster is held at a commit.
    TargetReason {
        /// It is the newest one.
        Head,
        /// The newest one was rejected, and this is the last good one.
        Pinned,
        /// A person asked for it.
        PinnedByHand,
        /// The newest one was rejected, and it stays nevertheless: `onRejected.action: Hold`, or there is none to go back to.
        Held,
        /// Somebody else applied it: `spec.observe`.
        Observed,
    }
}

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct LedgerEntry {
    /// `sha256:` and the digest of the rendered objects; empty if the commit does not render.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The commits that render to it, oldest first; at most ten.
    pub commits: Vec<String>,
    /// Subject of the newest commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Author of the newest commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What became of it.
    pub state: VerdictState,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<RejectedReason>,
    /// The evidence, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it is in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Since when all of it has been healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Time>,
    /// The Rollouts of the commit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<LedgerRollout>,
    /// The last wave of it that is applied, while others are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<i64>,
    /// Other objects that have to be healthy: `GROUP/VERSION/KIND/NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<String>,
    /// Its hooks, as far as they are known; at most fifty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<LedgerHook>,
    /// An object of it says `tidegate.io/on-rejected: Hold`: the cluster does not go back to what was before it.
    #[serde(skip_serializing_if = "crate::scalars::is_default")]
    pub hold: bool,
    /// How many objects it has, once none is left over from commits before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// Its objects are kept in a Secret, for when Git cannot be reached.
    #[serde(skip_serializing_if = "crate::scalars::is_default")]
    pub stored: bool,
    /// Names of the analysis runs that it was judged by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub analysis_runs: Vec<String>,
    /// It is a commit that took another back, so it is never taken back itself.
    #[serde(skip_serializing_if = "crate::scalars::is_default")]
    pub reverts: bool,
    /// The state that the forge was told, with the commit: `COMMIT STATE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// What each chat was told last, with the commit: `TYPE/SECRET COMMIT NEWS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<String>,
    /// The state that the comment on its pull request shows, with the commit: `COMMIT STATE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commented: Option<String>,
    /// How it was taken back in Git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revert: Option<LedgerRevert>,
}

text_enum! {
    /// What became of a commit.
    VerdictState {
        /// It is known and not applied yet.
        Pending,
        /// It is applied, and no Rollout has seen it yet.
        Applied,
        /// Its Rollouts are on their way.
        Progressing,
        /// A Rollout waits for somebody, or for time.
        Paused,
        /// Everything is healthy, and metrics were measured.
        Verified,
        /// Everything is healthy, and nothing was measured.
        Deployed,
        /// It is bad.
        Rejected,
        /// A newer commit came before there was a verdict.
        Superseded,
        /// It was good and became unhealthy later.
        Regressed,
    }
}

/// A Rollout of a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct LedgerRollout {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Digest of its pod template in Git: what is quarantined when the commit is rejected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// `metadata.generation` after it was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// `rollouts-pod-template-hash` of its pods; empty until its controller has seen it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_hash: String,
}

/// An object that runs once for a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct LedgerHook {
    /// When it runs.
    pub phase: HookPhase,
    /// What runs: `GROUP/VERSION/KIND/NAMESPACE/NAME`.
    pub object: String,
    /// How far it is.
    pub state: HookState,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// It is to be deleted.
    #[serde(skip_serializing_if = "crate::scalars::is_default")]
    pub delete: bool,
}

text_enum! {
    /// When a hook runs.
    HookPhase {
        /// Before anything of the commit is applied.
        PreSync,
        /// In its wave.
        Sync,
        /// Once the commit is good.
        PostSync,
        /// Once the commit is rejected.
        SyncFail,
    }
}

text_enum! {
    /// How far a hook is.
    HookState {
        /// Its turn has not come.
        Pending,
        /// It is to run anew, whatever is left of it.
        Again,
        /// It is on its way.
        Running,
        /// It is done.
        Succeeded,
        /// It failed.
        Failed,
    }
}

/// How a commit was taken back in Git.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct LedgerRevert {
    /// The commit that takes it back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Address of the pull request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pull_request: String,
    /// Files outside of the folder, which it is rendered from, that go back as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 20)))]
    pub outside: Vec<String>,
    /// Why it was not taken back, or not yet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Nothing more will be tried.
    #[serde(skip_serializing_if = "crate::scalars::is_default")]
    pub done: bool,
}
