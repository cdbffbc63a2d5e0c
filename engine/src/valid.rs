//! A spec that cannot be wrong: what validation gives back, with each default filled in, and each limit resolved for the size
//! of the Rollout. The planner reads this alone; types of the API are in it only where they are passed on unread.

use jiff::SignedDuration;
use tidegate_crds::{PodTemplateMetadata, RolloutAnalysis, RolloutTrafficRouting, SetHeaderRoute, Time};

use crate::replicas::Limits;

/// What weights add up to where the Rollout does not say (contract F47).
pub(crate) const DEFAULT_TOTAL: i32 = 100;

/// The spec of a Rollout in which nothing is wrong, nor in what it refers to. Only [`validate`](crate::validate::validate)
/// makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Pods that the Rollout shall have.
    pub(crate) size: i32,
    /// The spec does not say how many that are.
    pub(crate) size_missing: bool,
    /// The user holds the update.
    pub(crate) paused: bool,
    pub(crate) min_ready_seconds: i32,
    /// Old ReplicaSets without pods that are kept.
    pub(crate) history: usize,
    /// How long an update may get no better.
    pub(crate) deadline: SignedDuration,
    /// The deadline takes the update back.
    pub(crate) deadline_aborts: bool,
    /// Pods that are older are restarted.
    pub(crate) restart_at: Option<Time>,
    /// Pods that may be missing for a restart.
    pub(crate) restart_limit: i32,
    /// Going back over fewer revisions than this skips pauses and analysis.
    pub(crate) rollback_window: usize,
    /// Analysis runs that ended well and are kept.
    pub(crate) good_runs: usize,
    /// Those that ended otherwise.
    pub(crate) bad_runs: usize,
    /// Set where the pod template is that of another object.
    pub(crate) workload: Option<ScaleDown>,
    /// How long a version that lost its traffic keeps its pods.
    pub(crate) scale_down_delay: SignedDuration,
    /// How many versions may wait for that; `None` for all of them.
    pub(crate) scale_down_limit: Option<usize>,
    pub(crate) rejected: Rejected,
    pub(crate) anti_affinity: Option<AntiAffinity>,
    /// What pods carry while their version is new.
    pub(crate) new_metadata: Option<PodTemplateMetadata>,
    /// What pods carry while their version is stable.
    pub(crate) stable_metadata: Option<PodTemplateMetadata>,
    pub(crate) strategy: Strategy,
}

/// When the workload that the pod template is from is scaled down (contract F14 to F16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleDown {
    Never,
    OnSuccess,
    Progressively,
}

/// What becomes of the pods of a version that is taken back (contract F41, F56).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// They go as their requests do: the stable version grows meanwhile.
    GoWithTraffic,
    /// They are kept for so long once the stable version is whole.
    Kept(SignedDuration),
    KeptForEver,
}

/// How strongly pods of two versions are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AntiAffinity {
    Preferred { weight: i32 },
    Required,
}

/// How versions change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Strategy {
    Canary(Box<CanarySpec>),
    BlueGreen(Box<BlueGreenSpec>),
}

impl Strategy {
    pub(crate) fn routing(&self) -> Option<&RolloutTrafficRouting> {
        match self {
            Self::Canary(canary) => canary.traffic_routing.as_ref(),
            Self::BlueGreen(_) => None,
        }
    }
}

/// The new version takes a growing share.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CanarySpec {
    pub(crate) steps: Vec<Step>,
    pub(crate) stable_service: Option<String>,
    pub(crate) canary_service: Option<String>,
    /// Passed on to the routers.
    pub(crate) traffic_routing: Option<RolloutTrafficRouting>,
    /// What weights add up to, where the Rollout says so.
    pub(crate) max_weight: Option<i32>,
    /// The stable version shrinks as requests leave it.
    pub(crate) dynamic: bool,
    /// Of a rolling change, which it is without a router.
    pub(crate) limits: Limits,
    /// Least pods of a version that has any.
    pub(crate) min_pods: i32,
    pub(crate) threshold: Threshold,
    /// Analysis beside the steps.
    pub(crate) background: Option<Background>,
}

impl CanarySpec {
    /// The index that a status records once all steps are done.
    pub(crate) fn end(&self) -> i32 {
        i32::try_from(self.steps.len()).unwrap_or(i32::MAX)
    }
}

/// How much of a version has to be available to be enough (contract F45).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threshold {
    All,
    Percent(i32),
    Pods(i32),
}

/// Analysis beside the steps of a canary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Background {
    /// The step that it starts at.
    pub(crate) start: usize,
    pub(crate) analysis: RolloutAnalysis,
}

/// One step of a canary. Upstream takes a size and a header route beside what a step waits for, so they are no alternatives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) canary_scale: Option<CanaryScale>,
    /// Passed on to the routers.
    pub(crate) header_route: Option<SetHeaderRoute>,
    /// What events call it (contract 2.8).
    pub(crate) words: String,
}

/// What a step waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StepKind {
    /// The canary has that share.
    SetWeight(i32),
    /// So much time, or a person.
    Pause(Pause),
    /// An analysis ends well.
    Analysis(Box<RolloutAnalysis>),
    /// Only what it sets beside.
    Set,
}

impl Step {
    pub(crate) fn weight(&self) -> Option<i32> {
        match &self.kind {
            StepKind::SetWeight(weight) => Some(*weight),
            _ => None,
        }
    }

    pub(crate) fn pause(&self) -> Option<Pause> {
        match &self.kind {
            StepKind::Pause(pause) => Some(*pause),
            _ => None,
        }
    }

    pub(crate) fn analysis(&self) -> Option<&RolloutAnalysis> {
        match &self.kind {
            StepKind::Analysis(analysis) => Some(analysis),
            _ => None,
        }
    }
}

/// A pause of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// `None`: until it is promoted.
    pub(crate) length: Option<SignedDuration>,
}

/// Pods of a canary apart from its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CanaryScale {
    Pods(i32),
    MatchTraffic,
}

/// The new version is started beside the old one; then the Service is switched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlueGreenSpec {
    pub(crate) active_service: Option<String>,
    pub(crate) preview_service: Option<String>,
    /// Pods of the new version before the switch; `None` for as many as the Rollout has.
    pub(crate) preview_size: Option<i32>,
    pub(crate) switch: Switch,
    pub(crate) pre_analysis: Option<RolloutAnalysis>,
    pub(crate) post_analysis: Option<RolloutAnalysis>,
}

/// What a new version that is ready waits for before the switch (contract F52, F53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    AtOnce,
    After(SignedDuration),
    ByHand,
}
