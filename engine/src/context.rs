//! One look at a Rollout, sorted out: which ReplicaSet is new, which is stable, what the spec says with its defaults.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::{
    AnalysisRun, LabelSelector, PauseReason, Rollout, RolloutStatus, RolloutTrafficRouting, Time, labels,
};
use tidegate_traffic::{Seen, WeightState, routers};

use crate::observed::{Identity, Observed, ReplicaSetView, ServiceView, Settings};
use crate::replicas::ceil_share;
use crate::time::after;
pub(crate) use crate::valid::Strategy;
use crate::valid::{DEFAULT_TOTAL, Valid};

/// What was observed, with roles given to the ReplicaSets. Nothing here decides.
pub(crate) struct Context<'a> {
    pub(crate) seen: &'a Observed,
    pub(crate) now: Timestamp,
    pub(crate) settings: &'a Settings,
    /// Resolved pod template.
    pub(crate) template: &'a Value,
    /// Hash that names the new version: the label of its ReplicaSet, or the computed one before there is one.
    pub(crate) hash: String,
    pub(crate) identity: Arc<Identity>,
    /// What the spec says.
    pub(crate) valid: &'a Valid,
    /// How versions change, as the spec says.
    pub(crate) strategy: &'a Strategy,
    /// ReplicaSet of the pod template in the spec.
    pub(crate) new: Option<&'a ReplicaSetView>,
    /// ReplicaSet that `status.stableRS` names.
    pub(crate) stable: Option<&'a ReplicaSetView>,
    /// All others that the Rollout owns, oldest first.
    pub(crate) older: Vec<&'a ReplicaSetView>,
    /// Pods that the Rollout shall have.
    pub(crate) size: i32,
    /// What the live route objects say, router by router.
    pub(crate) routes: Vec<Seen>,
    /// The canary's share as they give it, over all routers.
    pub(crate) live: WeightState,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        seen: &'a Observed,
        template: &'a Value,
        valid: &'a Valid,
        now: Timestamp,
        settings: &'a Settings,
    ) -> Self {
        let rollout = &seen.rollout;
        let identity = seen
            .identity
            .clone()
            .unwrap_or_else(|| Arc::new(Identity::of(rollout, template)));
        let owned: Vec<&ReplicaSetView> = seen
            .replica_sets
            .iter()
            .filter(|rs| rs.controller_uid.as_deref() == Some(rollout.metadata.uid.as_str()) && !rs.deleting)
            .collect();
        // By name first, as upstream has it: what a webhook or a role put into its template makes it no other version. Then by
        // template: a ReplicaSet keeps the hash that it was born with (contract 2.4).
        let named = name_of(rollout, &identity.hash);
        // Where the template is gone, with the workload that it is from, the version on record is the new one.
        let recorded = rollout
            .status
            .current_pod_hash
            .as_ref()
            .filter(|_| template.is_null());
        let new = match recorded {
            Some(recorded) => owned.iter().find(|rs| rs.hash == *recorded),
            None => owned
                .iter()
                .find(|rs| rs.hash == identity.hash && rs.name == named)
                .or_else(|| owned.iter().find(|rs| rs.digest == identity.digest)),
        };
        let new = new.copied();
        let hash = new
            .map_or(recorded.unwrap_or(&identity.hash), |rs| &rs.hash)
            .clone();
        let stable_hash = rollout.status.stable_rs.as_deref().unwrap_or_default();
        let stable = owned
            .iter()
            .find(|rs| !stable_hash.is_empty() && rs.hash == stable_hash)
            .copied();
        let is = |role: Option<&ReplicaSetView>, rs: &ReplicaSetView| role.is_some_and(|r| r.name == rs.name);
        let older = owned
            .iter()
            .filter(|rs| !is(new, rs) && !is(stable, rs))
            .copied()
            .collect();
        let routes = observe(seen);
        let live = WeightState::of(&routes, total_weight(&valid.strategy));
        Self {
            seen,
            now,
            settings,
            template,
            hash,
            identity,
            valid,
            strategy: &valid.strategy,
            new,
            stable,
            older,
            size: valid.size,
            routes,
            live,
        }
    }

    pub(crate) fn rollout(&self) -> &'a Rollout {
        &self.seen.rollout
    }

    pub(crate) fn name(&self) -> &'a str {
        &self.seen.rollout.metadata.name
    }

    pub(crate) fn uid(&self) -> &'a str {
        &self.seen.rollout.metadata.uid
    }

    pub(crate) fn status(&self) -> &'a RolloutStatus {
        &self.seen.rollout.status
    }

    pub(crate) fn stable_hash(&self) -> &'a str {
        self.status().stable_rs.as_deref().unwrap_or_default()
    }

    /// All ReplicaSets that the Rollout owns, oldest first.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &'a ReplicaSetView> + '_ {
        let roles = self
            .new
            .into_iter()
            .chain(self.stable.filter(|s| !self.is_new(s)));
        roles.chain(self.older.iter().copied())
    }

    pub(crate) fn is_new(&self, rs: &ReplicaSetView) -> bool {
        self.new.is_some_and(|new| new.name == rs.name)
    }

    /// The version in the spec has been fully promoted (contract 3.7): stable and new are the same.
    pub(crate) fn fully_promoted(&self) -> bool {
        !self.stable_hash().is_empty() && self.stable_hash() == self.hash
    }

    pub(crate) fn routing(&self) -> Option<&'a RolloutTrafficRouting> {
        self.strategy.routing()
    }

    /// What weights add up to (contract F47).
    pub(crate) fn total_weight(&self) -> i32 {
        total_weight(self.strategy)
    }

    /// The total that the Rollout asks for, if it does.
    pub(crate) fn max_weight(&self) -> Option<i32> {
        max_weight(self.strategy)
    }

    pub(crate) fn service(&self, name: Option<&str>) -> Option<&'a ServiceView> {
        name.and_then(|name| self.seen.services.get(name))
    }

    pub(crate) fn has_pause(&self, reason: &PauseReason) -> bool {
        self.pause(reason).is_some()
    }

    /// Since when the Rollout is paused for this reason.
    pub(crate) fn pause(&self, reason: &PauseReason) -> Option<Time> {
        self.status()
            .pause_conditions
            .iter()
            .find(|p| p.reason == *reason)
            .map(|p| p.start_time)
    }

    pub(crate) fn controller_pause(&self) -> bool {
        self.status().controller_pause == Some(true)
    }

    pub(crate) fn spec_paused(&self) -> bool {
        self.valid.paused
    }

    /// Progress stops: by the user, or because an analysis could not decide (contract 3.2, 3.11).
    pub(crate) fn halted(&self) -> bool {
        self.spec_paused()
            || self.has_pause(&PauseReason::InconclusiveAnalysisRun)
            || self.has_pause(&PauseReason::InconclusiveExperiment)
    }

    /// Pods of a version that follows the size of the Rollout down and not up: what is held, or waits to go, gets no more.
    pub(crate) fn held_size(&self, rs: &ReplicaSetView) -> i32 {
        let before = rs.desired_replicas().filter(|before| *before > 0);
        let share = before.map_or(rs.spec_replicas, |before| {
            ceil_share(self.size, rs.spec_replicas, before)
        });
        share.min(rs.spec_replicas)
    }

    pub(crate) fn run(&self, name: &str) -> Option<&'a Arc<AnalysisRun>> {
        self.seen
            .analysis_runs
            .iter()
            .find(|run| run.metadata.name == name)
    }

    /// Selects the pods: the Rollout's own, or that of the workload that it refers to.
    pub(crate) fn selector(&self) -> Option<&'a LabelSelector> {
        let own = self.seen.rollout.spec.selector.as_ref();
        own.or_else(|| self.seen.workload.as_ref()?.selector.as_ref())
    }

    /// Whether a Service of the Rollout selects no version, and so sends requests to all of them.
    pub(crate) fn sends_to_all(&self) -> bool {
        let names = match self.strategy {
            Strategy::BlueGreen(bg) => [&bg.active_service, &bg.preview_service],
            Strategy::Canary(c) => [&c.stable_service, &c.canary_service],
        };
        let services = names.into_iter().filter_map(|name| self.service(name.as_deref()));
        services.into_iter().any(|service| service.selected().is_empty())
    }

    /// Whether any Service that the Rollout names selects this version.
    pub(crate) fn is_selected(&self, hash: &str) -> bool {
        let mut services = self.seen.services.values();
        services.any(|service| service.selected() == hash)
    }

    /// A client took the abort back.
    pub(crate) fn retried(&self) -> bool {
        self.status().aborted_at.is_some() && self.status().abort != Some(true) && !self.fully_promoted()
    }

    /// Available pods of all versions.
    pub(crate) fn available(&self) -> i32 {
        self.owned().map(|rs| rs.available).fold(0, i32::saturating_add)
    }

    /// Until when a change of routing may not have reached the data plane: no version that it took traffic from may
    /// shrink before. `None` when all changes are old enough.
    pub(crate) fn unsettled_until(&self) -> Option<Timestamp> {
        let last = self.seen.routed_since.values().max()?;
        let until = after(*last, self.settings.propagation);
        (until > self.now).then_some(until)
    }
}

/// What the live route objects say, router by router.
fn observe(seen: &Observed) -> Vec<Seen> {
    let routers = routers(&seen.rollout, &seen.routes.dialect);
    routers
        .iter()
        .map(|router| router.observe(&seen.routes.live))
        .collect()
}

/// What weights add up to (contract F47).
fn total_weight(strategy: &Strategy) -> i32 {
    max_weight(strategy).unwrap_or(DEFAULT_TOTAL)
}

fn max_weight(strategy: &Strategy) -> Option<i32> {
    match strategy {
        Strategy::Canary(canary) => canary.max_weight,
        Strategy::BlueGreen(_) => None,
    }
}

/// What annotations say of a ReplicaSet.
pub(crate) trait Annotated {
    fn revision(&self) -> i64;
    fn scale_down_deadline(&self) -> Option<Timestamp>;
    fn desired_replicas(&self) -> Option<i32>;
    fn of_experiment(&self) -> bool;
}

impl Annotated for ReplicaSetView {
    fn revision(&self) -> i64 {
        let written = self.annotations.get(labels::REVISION_ANNOTATION);
        written.and_then(|text| labels::revision(text)).unwrap_or(0)
    }

    fn scale_down_deadline(&self) -> Option<Timestamp> {
        self.annotations
            .get(labels::SCALE_DOWN_DEADLINE_ANNOTATION)
            .and_then(|t| t.parse().ok())
    }

    fn desired_replicas(&self) -> Option<i32> {
        self.annotations
            .get(labels::DESIRED_REPLICAS_ANNOTATION)
            .and_then(|n| n.parse().ok())
    }

    fn of_experiment(&self) -> bool {
        self.annotations.contains_key(labels::EXPERIMENT_NAME_ANNOTATION)
    }
}

/// All of its pods are there and available.
pub(crate) fn saturated(rs: &ReplicaSetView, size: i32) -> bool {
    rs.spec_replicas == size && rs.available == size && rs.observed_generation >= rs.generation
}

/// The name of the ReplicaSet that is made for a version.
pub(crate) fn name_of(rollout: &Rollout, hash: &str) -> String {
    format!("{}-{hash}", rollout.metadata.name)
}
