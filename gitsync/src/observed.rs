//! All that a decision about a Delivery may depend on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::labels::{POD_TEMPLATE_HASH_LABEL, RUN_NOT_WANTED_ANNOTATION};
use tidegate_crds::{AnalysisPhase, AnalysisRun, Delivery, MetricResult, Rollout};

use crate::drift::Compare;
use crate::object::ObjectId;
use crate::remote::{CommitInfo, ForgeAnswer, GitAnswer, RemoteError};
use crate::render::{RenderError, Rendered};
use crate::tree::Oid;

/// Why the API server did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Its words.
    pub message: String,
}

/// A commit that was rendered.
pub type RenderedCommit = (CommitInfo, Result<Arc<Rendered>, RenderError>);

/// What is known of one API version: its kinds and whether they live in namespaces; `None` if it is not served.
pub type Kinds = Option<Arc<BTreeMap<String, bool>>>;

/// An analysis run, as far as a verdict needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name of the Rollout that controls it.
    pub rollout: String,
    /// Hash of the version that it measures.
    pub pod_hash: String,
    /// Its result.
    pub phase: AnalysisPhase,
    /// The controller ended it before it had measured anything good: that it did not fail says nothing.
    pub empty: bool,
}

impl RunView {
    /// What a verdict needs of a run of this Rollout.
    pub fn of(run: AnalysisRun, rollout: &str) -> Self {
        let ended = run.metadata.annotations.contains_key(RUN_NOT_WANTED_ANNOTATION);
        let counts = |metric: &MetricResult| metric.dry_run != Some(true) && metric.successful > Some(0);
        let hash = run.metadata.labels.get(POD_TEMPLATE_HASH_LABEL);
        Self {
            pod_hash: hash.cloned().unwrap_or_default(),
            rollout: rollout.to_owned(),
            empty: ended && !run.status.metric_results.iter().any(counts),
            namespace: run.metadata.namespace,
            name: run.metadata.name,
            phase: run.status.phase,
        }
    }
}

/// All that a decision about a Delivery may depend on. What is missing is asked for by the plan, and the plan is made again.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Delivery as stored.
    pub delivery: Delivery,
    /// The commit that what is followed points to, or an earlier one that has the same files; `None` as long as nobody has
    /// asked.
    pub head: Option<Result<Oid, RemoteError>>,
    /// The commit that what is followed points to.
    pub tip: Option<Oid>,
    /// The commits that are recorded in the repository as last found good and last rejected; `None` as long as nobody has asked.
    pub recorded: Option<[Option<Oid>; 2]>,
    /// Whether those were recorded as asked, by ref.
    pub pointed: BTreeMap<String, Result<(), RemoteError>>,
    /// The Rollouts that the ledger names, as stored now; those that are gone are left out.
    pub rollouts: BTreeMap<(String, String), Rollout>,
    /// Analysis runs of those Rollouts.
    pub runs: Vec<RunView>,
    /// What of the applied objects is to be compared with Git although there is no news.
    pub compare: Compare,
    /// What API versions serve.
    pub kinds: BTreeMap<String, Kinds>,
    /// Commits that were rendered.
    pub rendered: BTreeMap<Oid, Result<RenderedCommit, RemoteError>>,
    /// Digests of commits that were rendered before, as far as they are remembered; only for who observes another syncer.
    pub renders_to: BTreeMap<Oid, String>,
    /// Objects that were read; `None`: there is none.
    pub live: BTreeMap<ObjectId, Result<Option<Value>, Refusal>>,
    /// What a dry run of applying would leave.
    pub tried: BTreeMap<ObjectId, Result<Value, Refusal>>,
    /// What applying left.
    pub applied: BTreeMap<ObjectId, Result<Value, Refusal>>,
    /// What deleting left.
    pub deleted: BTreeMap<ObjectId, Result<(), Refusal>>,
    /// Objects of a digest that a Secret kept; `None` if there is no such Secret, or nothing of use in it.
    pub bundles: BTreeMap<String, Option<Arc<Rendered>>>,
    /// Whether Secrets that keep the objects of a digest were written or deleted as asked.
    pub stored: BTreeMap<String, Result<(), Refusal>>,
    /// What became of the order to take a commit back.
    pub restored: Option<Result<GitAnswer, RemoteError>>,
    /// What the forge said to a pull request.
    pub pull_request: Option<Result<ForgeAnswer, RemoteError>>,
    /// What the forge said to statuses, by what was told: see `LedgerEntry::told`.
    pub told: BTreeMap<String, Result<(), RemoteError>>,
    /// Whether chats took what they were told: see `LedgerEntry::notified`.
    pub notified: BTreeMap<String, Result<(), RemoteError>>,
    /// The digest that the API server refused, and when to try it again.
    pub refused: Option<(String, Timestamp)>,
    /// Earliest time for each kind of work that failed before.
    pub retry_at: BTreeMap<&'static str, Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_run_that_was_ended_says_something_once_it_has_measured_something_good() {
        let ended = json!({RUN_NOT_WANTED_ANNOTATION: "true"});
        let metric = |successful: Value, dry_run: bool| json!([{"name": "m", "phase": "Successful", "successful": successful, "dryRun": dry_run}]);
        for (annotations, metrics, empty) in [
            (json!({}), json!([]), false),
            (ended.clone(), json!([]), true),
            (ended.clone(), metric(Value::Null, false), true),
            (ended.clone(), metric(json!(0), false), true),
            (ended.clone(), metric(json!(3), true), true),
            (ended, metric(json!(3), false), false),
        ] {
            let run = json!({
                "metadata": {"name": "web-1", "namespace": "shop", "annotations": annotations, "labels": {POD_TEMPLATE_HASH_LABEL: "5c"}},
                "status": {"phase": "Successful", "metricResults": metrics},
            });
            let view = RunView::of(serde_json::from_value(run.clone()).unwrap(), "web");
            assert_eq!((view.empty, view.pod_hash.as_str()), (empty, "5c"), "{run}");
        }
    }
}
