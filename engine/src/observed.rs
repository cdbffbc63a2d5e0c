//! All that a decision may depend on, as the shell, a test or the simulator gathers it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::template::{self, Digest};
use tidegate_crds::{AnalysisRun, AnalysisTemplateSpec, Rollout, labels};
use tidegate_traffic::Routes;

use crate::checked::Checked;
use crate::paused::Paused;
use crate::progress::Progress;
use crate::refusal::Refusal;

/// What the controller saw of one Rollout and of everything around it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Rollout itself.
    pub rollout: Rollout,
    /// Hashes of `rollout`'s pod template and steps when the shell has them from an earlier look at the same generation;
    /// the planner computes what is missing.
    pub identity: Option<Arc<Identity>>,
    /// What validation said at an earlier look, when the shell has it; of no use where an object has another version since.
    pub checked: Option<Arc<Checked>>,
    /// The workload that `spec.workloadRef` names; `None` where there is no reference or no such object.
    pub workload: Option<Workload>,
    /// ReplicaSets of the namespace that match the selector or are owned by the Rollout, oldest first, then by name.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Services that the Rollout names, by name. A name that is missing here does not exist.
    pub services: BTreeMap<String, ServiceView>,
    /// Route objects that the Rollout names and those that it owns, whole.
    pub routes: Routes,
    /// Analysis runs that the Rollout owns, oldest first, then by name.
    pub analysis_runs: Vec<Arc<AnalysisRun>>,
    /// uids of those that this process created, and that are there.
    pub made_here: BTreeSet<String>,
    /// Analysis templates that the Rollout names, directly or through another template.
    pub templates: BTreeMap<TemplateKey, Arc<AnalysisTemplateSpec>>,
    /// Pods by pod template hash, gathered only for the hashes that an earlier plan asked for
    /// ([`Plan::needs_pods`](crate::Plan::needs_pods)).
    pub pods: BTreeMap<String, Vec<PodView>>,
    /// When the watcher of a Service (`"Service/web"`) or of a route object (as [`ObjectRef`](tidegate_traffic::ObjectRef)
    /// prints itself) last saw its routing change. A process that
    /// has just started puts its start here, so that the propagation time is kept, never shortened, by a restart.
    pub routed_since: BTreeMap<String, Timestamp>,
    /// [`Plan::progress`](crate::Plan::progress) of the last look that this process made a plan at.
    pub progress: Option<Progress>,
    /// The last pause of a step that the status told of.
    pub paused: Option<Paused>,
    /// Writes that the API server refused, by [`refusal::key`](crate::refusal::key), for the spec and workload as they are.
    pub refused: BTreeMap<String, Refusal>,
}

/// The pod template in force: the Rollout's own, or that of the workload that it refers to.
pub fn resolved_template(seen: &Observed) -> Option<&Value> {
    match &seen.rollout.spec.workload_ref {
        Some(_) => seen.workload.as_ref().map(|w| w.template.as_ref()),
        None => seen.rollout.spec.template.as_ref(),
    }
}

/// What names a version: computed once for a generation of the Rollout (and of its workload).
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Digest of the pod template, to find its ReplicaSet.
    pub digest: Digest,
    /// Pod template hash, for the collision count that was in the status.
    pub hash: String,
    /// Hash of the canary steps; empty for blue-green.
    pub step_hash: String,
    /// Fields of the Rollout's own template that the Go types cannot hold.
    pub malformed: Vec<String>,
}

impl Identity {
    /// Computes the identity of a Rollout whose resolved pod template is `template`.
    pub fn of(rollout: &Rollout, template: &Value) -> Self {
        let canary = rollout.spec.strategy.as_ref().and_then(|s| s.canary.as_ref());
        let step_hash = canary.filter(|_| {
            rollout
                .spec
                .strategy
                .as_ref()
                .is_some_and(|s| s.blue_green.is_none())
        });
        Self {
            malformed: match &rollout.spec.template {
                Some(own) => template::drop_malformed_fields(&mut own.clone()),
                None => Vec::new(),
            },
            digest: template::template_digest(template, None),
            hash: template::pod_template_hash(template, rollout.status.collision_count),
            step_hash: step_hash.map_or_else(String::new, |canary| {
                let steps: Vec<Value> = canary
                    .steps
                    .iter()
                    .map(|step| serde_json::to_value(step).unwrap_or_default())
                    .collect();
                template::step_hash(&steps)
            }),
        }
    }
}

/// The object that `spec.workloadRef` names.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// `Deployment`, `ReplicaSet` or `PodTemplate`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its generation.
    pub generation: i64,
    /// `spec.replicas` (0 for a PodTemplate).
    pub replicas: i32,
    /// Its pod template.
    pub template: Arc<Value>,
    /// Its selector as in `spec.selector`.
    pub selector: Option<tidegate_crds::LabelSelector>,
}

/// What the planner needs of a ReplicaSet: names, counters and a digest, not its template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaSetView {
    /// Name.
    pub name: String,
    /// uid, the guard of every write.
    pub uid: String,
    /// resourceVersion as seen.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `status.observedGeneration`: counters are only to be believed when it has caught up.
    pub observed_generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// uid of its controller, if any.
    pub controller_uid: Option<String>,
    /// Pod template hash that its selector has: nobody can change that one, and its pods have it.
    pub hash: String,
    /// Annotations without kubectl's last-applied.
    pub annotations: BTreeMap<String, String>,
    /// Digest of its template after defaulting, without what a controller injects.
    pub digest: Digest,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.replicas`.
    pub spec_replicas: i32,
    /// `status.replicas`.
    pub replicas: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// Reason and message of its `ReplicaFailure` condition, when that is true.
    pub failure: Option<(String, String)>,
    /// The version that the anti-affinity which was injected into its template keeps its pods away from.
    pub apart_from: Option<String>,
}

impl ReplicaSetView {
    /// Pods that serve and are to go on serving: those above its size are about to go, whatever its counters still say.
    pub(crate) fn serving(&self) -> i32 {
        self.available.min(self.spec_replicas)
    }

    /// Pods that answer what a Service sends there: they are ready, and may not have been for `minReadySeconds` yet. A larger
    /// `minReadySeconds` leaves nobody available for a while, and all of them answer.
    pub(crate) fn answering(&self) -> i32 {
        self.ready.max(self.available).min(self.spec_replicas)
    }
}

/// What the planner needs of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceView {
    /// Name.
    pub name: String,
    /// uid.
    pub uid: String,
    /// resourceVersion as seen.
    pub resource_version: String,
    /// `spec.selector`.
    pub selector: BTreeMap<String, String>,
    /// Value of the managed-by-rollouts annotation.
    pub managed_by: Option<String>,
}

impl ServiceView {
    /// The version that it selects; empty when it selects none, and so sends requests to all of them.
    pub(crate) fn selected(&self) -> &str {
        let hash = self.selector.get(labels::POD_TEMPLATE_HASH_LABEL);
        hash.map_or("", String::as_str)
    }
}

/// What the planner needs of a pod, for restarts and ephemeral metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    /// Name.
    pub name: String,
    /// uid.
    pub uid: String,
    /// resourceVersion as seen.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// Whether it can serve: its Ready condition is True.
    pub ready: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// How long counters alone wait to be written: longer than the pods of one step take to become ready one after the other, so
/// that they cost one write.
const COUNTERS_DELAY: SignedDuration = SignedDuration::from_secs(6);

/// Settings of the controller that a decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long the data plane may go on sending requests to where it sent them before: pods that lost their traffic
    /// are kept this long.
    pub propagation: SignedDuration,
    /// Counters alone are written this long after the last write that mattered, so that pods becoming ready one by
    /// one do not cost a write each.
    pub counters_delay: SignedDuration,
    /// `--instance-id`: copied to created analysis runs.
    pub instance_id: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            propagation: SignedDuration::from_secs(2),
            counters_delay: COUNTERS_DELAY,
            instance_id: None,
        }
    }
}
