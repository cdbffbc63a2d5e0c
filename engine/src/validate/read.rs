//! From a spec in which nothing is wrong to what the planner reads: defaults are filled in here, and nowhere else.

use jiff::SignedDuration;
use tidegate_crds::{
    AntiAffinity, BlueGreenStrategy, CanaryStep, CanaryStrategy, IntOrString, ReplicaProgressThreshold,
    ReplicaProgressThresholdType, Rollout, RolloutPause, RolloutSpec, ScaleDownStrategy, SetCanaryScale,
};

use super::rules::{self, Chosen, DEFAULT_DEADLINE, DEFAULT_HISTORY};
use super::violation::Violation;
use crate::replicas::{Limits, ceil_share};
use crate::valid::{
    self, Background, BlueGreenSpec, CanaryScale, CanarySpec, DEFAULT_TOTAL, Rejected, ScaleDown, Step,
    StepKind, Strategy, Switch, Threshold, Valid,
};

/// Default of `scaleDownDelaySeconds` and `abortScaleDownDelaySeconds` (contract F39, F41, F54, F56).
const DEFAULT_SCALE_DOWN_DELAY: i32 = 30;
/// Default of both limits of analysis runs (contract F11, F12).
const DEFAULT_RUNS: i32 = 5;

/// Reads a spec that has passed all rules.
pub(super) fn valid(rollout: &Rollout) -> Result<Valid, Box<Violation>> {
    let spec = &rollout.spec;
    let size = spec.replicas.unwrap_or(1).max(0);
    let own = match rules::strategy(spec)? {
        Chosen::Canary(canary) => Own::of_canary(canary, size)?,
        Chosen::BlueGreen(blue_green) => Own::of_blue_green(blue_green, size),
    };
    let runs = spec.analysis.as_ref();
    let good_runs = runs.and_then(|runs| runs.successful_run_history_limit);
    let bad_runs = runs.and_then(|runs| runs.unsuccessful_run_history_limit);
    let window = spec.rollback_window.as_ref().and_then(|window| window.revisions);
    Ok(Valid {
        size,
        size_missing: spec.replicas.is_none(),
        paused: spec.paused == Some(true),
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0).max(0),
        history: count(spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY)),
        deadline: seconds(spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE)),
        deadline_aborts: spec.progress_deadline_abort == Some(true),
        restart_at: spec.restart_at,
        restart_limit: own.restart_limit,
        rollback_window: count(window.unwrap_or(0)),
        good_runs: count(good_runs.unwrap_or(DEFAULT_RUNS)),
        bad_runs: count(bad_runs.unwrap_or(DEFAULT_RUNS)),
        workload: workload(spec),
        scale_down_delay: own.scale_down_delay,
        scale_down_limit: own.scale_down_limit.map(count),
        rejected: own.rejected,
        anti_affinity: own.anti_affinity.map(anti_affinity),
        new_metadata: own.new_metadata.cloned(),
        stable_metadata: own.stable_metadata.cloned(),
        strategy: own.strategy,
    })
}

/// What both strategies say in their own words.
struct Own<'a> {
    restart_limit: i32,
    scale_down_delay: SignedDuration,
    scale_down_limit: Option<i32>,
    rejected: Rejected,
    anti_affinity: Option<&'a AntiAffinity>,
    new_metadata: Option<&'a tidegate_crds::PodTemplateMetadata>,
    stable_metadata: Option<&'a tidegate_crds::PodTemplateMetadata>,
    strategy: Strategy,
}

impl<'a> Own<'a> {
    fn of_canary(canary: &'a CanaryStrategy, size: i32) -> Result<Self, Box<Violation>> {
        let routed = canary.traffic_routing.is_some();
        let dynamic = routed && canary.dynamic_stable_scale == Some(true);
        // As small as its share all along, it is not kept beyond it.
        let delay = if routed && !dynamic {
            canary
                .scale_down_delay_seconds
                .unwrap_or(DEFAULT_SCALE_DOWN_DELAY)
        } else {
            0
        };
        let rejected = match canary.abort_scale_down_delay_seconds {
            None if dynamic => Rejected::GoWithTraffic,
            delay => rejected(delay),
        };
        let surge = canary.max_surge.as_ref();
        Ok(Self {
            restart_limit: restart_limit(surge, canary.max_unavailable.as_ref(), size),
            scale_down_delay: seconds(delay.max(0)),
            scale_down_limit: canary.scale_down_delay_revision_limit,
            rejected,
            anti_affinity: canary.anti_affinity.as_ref(),
            new_metadata: canary.canary_metadata.as_ref(),
            stable_metadata: canary.stable_metadata.as_ref(),
            strategy: Strategy::Canary(Box::new(self::canary(canary, size, dynamic)?)),
        })
    }

    fn of_blue_green(blue_green: &'a BlueGreenStrategy, size: i32) -> Self {
        let delay = blue_green
            .scale_down_delay_seconds
            .unwrap_or(DEFAULT_SCALE_DOWN_DELAY);
        Self {
            restart_limit: restart_limit(None, blue_green.max_unavailable.as_ref(), size),
            scale_down_delay: seconds(delay.max(0)),
            scale_down_limit: blue_green.scale_down_delay_revision_limit,
            rejected: rejected(blue_green.abort_scale_down_delay_seconds),
            anti_affinity: blue_green.anti_affinity.as_ref(),
            new_metadata: blue_green.preview_metadata.as_ref(),
            stable_metadata: blue_green.active_metadata.as_ref(),
            strategy: Strategy::BlueGreen(Box::new(self::blue_green(blue_green))),
        }
    }
}

fn canary(canary: &CanaryStrategy, size: i32, dynamic: bool) -> Result<CanarySpec, Box<Violation>> {
    let routing = canary.traffic_routing.as_ref();
    let max_weight = routing
        .and_then(|routing| routing.max_traffic_weight)
        .filter(|most| *most > 0);
    let pods = Pods {
        size,
        total: max_weight.unwrap_or(DEFAULT_TOTAL),
        least: canary.min_pods_per_replica_set.unwrap_or(0).min(size),
    };
    let steps = canary.steps.iter().enumerate();
    let steps: Result<Vec<Step>, Box<Violation>> =
        steps.map(|(index, step)| self::step(step, index, pods)).collect();
    Ok(CanarySpec {
        steps: steps?,
        stable_service: named(canary.stable_service.as_ref()),
        canary_service: named(canary.canary_service.as_ref()),
        traffic_routing: routing.cloned(),
        max_weight,
        dynamic,
        limits: Limits::resolve(canary.max_surge.as_ref(), canary.max_unavailable.as_ref(), size),
        min_pods: pods.least,
        threshold: threshold(canary.replica_progress_threshold.as_ref()),
        background: canary.analysis.as_ref().map(|background| Background {
            start: count(background.starting_step.unwrap_or(0)),
            analysis: background.analysis(),
        }),
    })
}

/// What pods of a share are counted by.
#[derive(Clone, Copy)]
struct Pods {
    size: i32,
    total: i32,
    least: i32,
}

fn step(step: &CanaryStep, index: usize, pods: Pods) -> Result<Step, Box<Violation>> {
    let kind = if let Some(weight) = step.set_weight {
        // Also where the spec is not valid: requests go back to stable all the same, and that is reckoned with.
        StepKind::SetWeight(weight.clamp(0, pods.total))
    } else if let Some(pause) = &step.pause {
        StepKind::Pause(rules::pause(pause, index)?)
    } else if let Some(analysis) = &step.analysis {
        StepKind::Analysis(Box::new(analysis.clone()))
    } else {
        StepKind::Set
    };
    Ok(Step {
        kind,
        canary_scale: step.set_canary_scale.as_ref().map(|set| canary_scale(set, pods)),
        header_route: step.set_header_route.clone(),
        words: words(step),
    })
}

fn canary_scale(set: &SetCanaryScale, pods: Pods) -> CanaryScale {
    if set.match_traffic_weight == Some(true) {
        return CanaryScale::MatchTraffic;
    }
    let by_weight = |weight| match ceil_share(pods.size, weight, pods.total) {
        none if none <= 0 => none,
        some => some.max(pods.least),
    };
    let asked_for = set.replicas.or(set.weight.map(by_weight));
    asked_for.map_or(CanaryScale::MatchTraffic, |asked_for| {
        CanaryScale::Pods(asked_for.max(0))
    })
}

/// Words of a step in an event (contract 2.8).
fn words(step: &CanaryStep) -> String {
    if let Some(weight) = step.set_weight {
        return format!("setWeight: {weight}");
    }
    if let Some(RolloutPause { duration }) = &step.pause {
        return match duration {
            Some(duration) => format!("pause: {duration}"),
            None => "pause".to_owned(),
        };
    }
    if step.analysis.is_some() {
        return "analysis".to_owned();
    }
    if let Some(set) = &step.set_canary_scale {
        return match (set.replicas, set.weight) {
            (Some(replicas), _) => format!("setCanaryScale{{replicas: {replicas}}}"),
            (None, Some(weight)) => format!("setCanaryScale{{weight: {weight}}}"),
            _ => "setCanaryScale{matchTrafficWeight: true}".to_owned(),
        };
    }
    let route = step.set_header_route.as_ref();
    let name = route.and_then(|route| route.name.as_deref()).unwrap_or_default();
    format!("setHeaderRoute: {name}")
}

fn threshold(threshold: Option<&ReplicaProgressThreshold>) -> Threshold {
    match threshold {
        Some(threshold) if threshold.value >= 0 => match threshold.type_ {
            ReplicaProgressThresholdType::Pods => Threshold::Pods(threshold.value),
            ReplicaProgressThresholdType::Percent => Threshold::Percent(threshold.value),
            _ => Threshold::All,
        },
        _ => Threshold::All,
    }
}

fn blue_green(blue_green: &BlueGreenStrategy) -> BlueGreenSpec {
    let switch = match blue_green.auto_promotion_seconds {
        // Who switched automatic promotion off has the last word, whatever time there is (contract F52).
        _ if blue_green.auto_promotion_enabled == Some(false) => Switch::ByHand,
        Some(after) if after > 0 => Switch::After(seconds(after)),
        _ => Switch::AtOnce,
    };
    BlueGreenSpec {
        active_service: named(Some(&blue_green.active_service)),
        preview_service: named(blue_green.preview_service.as_ref()),
        preview_size: blue_green.preview_replica_count.map(|size| size.max(0)),
        switch,
        pre_analysis: blue_green.pre_promotion_analysis.clone(),
        post_analysis: blue_green.post_promotion_analysis.clone(),
    }
}

fn workload(spec: &RolloutSpec) -> Option<ScaleDown> {
    let reference = spec.workload_ref.as_ref()?;
    Some(match reference.scale_down {
        Some(ScaleDownStrategy::OnSuccess) => ScaleDown::OnSuccess,
        Some(ScaleDownStrategy::Progressively) => ScaleDown::Progressively,
        _ => ScaleDown::Never,
    })
}

fn anti_affinity(anti_affinity: &AntiAffinity) -> valid::AntiAffinity {
    match &anti_affinity.preferred_during_scheduling_ignored_during_execution {
        Some(preferred) => valid::AntiAffinity::Preferred {
            weight: preferred.weight,
        },
        None => valid::AntiAffinity::Required,
    }
}

/// What `abortScaleDownDelaySeconds` says (contract F41, F56).
fn rejected(delay: Option<i32>) -> Rejected {
    match delay.unwrap_or(DEFAULT_SCALE_DOWN_DELAY) {
        0 => Rejected::KeptForEver,
        delay => Rejected::Kept(seconds(delay)),
    }
}

/// Pods that may be missing for a restart: at least one, or it would never end. A surge that is not given is no quarter here.
fn restart_limit(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, size: i32) -> i32 {
    let one = IntOrString::Int(1);
    let limits = Limits::resolve(Some(surge.unwrap_or(&one)), unavailable, size);
    limits.unavailable.max(1)
}

/// The name of a Service; the empty text names none.
fn named(name: Option<&String>) -> Option<String> {
    name.filter(|name| !name.is_empty()).cloned()
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn seconds(number: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(number))
}

#[cfg(test)]
mod tests;
