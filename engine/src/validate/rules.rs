//! Rules that several parts of a spec share, and those whose outcome is what the planner reads.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tidegate_crds::{AntiAffinity, BlueGreenStrategy, CanaryStrategy, RolloutPause, RolloutSpec, names};

use super::path::FieldPath;
use super::violation::{Found, Violation};
use crate::valid::Pause;

/// Default of `revisionHistoryLimit` (contract F5).
pub(super) const DEFAULT_HISTORY: i32 = 10;
/// Default of `progressDeadlineSeconds` (contract F7).
pub(super) const DEFAULT_DEADLINE: i32 = 600;

/// The one strategy that a spec has.
pub(super) enum Chosen<'a> {
    Canary(&'a CanaryStrategy),
    BlueGreen(&'a BlueGreenStrategy),
}

/// Finds it.
pub(super) fn strategy(spec: &RolloutSpec) -> Result<Chosen<'_>, Box<Violation>> {
    let strategy = spec.strategy.as_ref();
    let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
    let blue_green = strategy.and_then(|strategy| strategy.blue_green.as_ref());
    let path = FieldPath::of("spec.strategy");
    match (canary, blue_green) {
        (Some(canary), None) => Ok(Chosen::Canary(canary)),
        (None, Some(blue_green)) => Ok(Chosen::BlueGreen(blue_green)),
        (None, None) => Err(Box::new(
            Violation::required(
                path,
                "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
            )
            .said("spec.strategy.strategy")
            .fix("set either spec.strategy.canary or spec.strategy.blueGreen"),
        )),
        (Some(_), Some(_)) => Err(Box::new(
            Violation::invalid(
                path,
                "blueGreen: true canary: true",
                "Multiple Strategies can not be listed",
            )
            .said("spec.strategy.strategy")
            .fix("keep one of spec.strategy.canary and spec.strategy.blueGreen"),
        )),
    }
}

/// How long the pause of the step at `index` lasts.
pub(super) fn pause(pause: &RolloutPause, index: usize) -> Result<Pause, Box<Violation>> {
    let seconds = match pause.duration_seconds() {
        Ok(None) => return Ok(Pause { length: None }),
        Ok(Some(seconds)) => seconds,
        // upstream's value for what it cannot read
        Err(_) => -1,
    };
    if seconds >= 0 {
        let length = Some(SignedDuration::from_secs(seconds));
        return Ok(Pause { length });
    }
    let path = FieldPath::of("spec.strategy.canary.steps").index(index);
    let violation = Violation::invalid(
        path.child("pause.duration"),
        seconds,
        "Duration needs to be greater than 0",
    );
    Err(Box::new(violation
        .said(format!("spec.strategy.steps[{index}].pause.duration"))
        .fix("write seconds, such as 30, or a duration, such as 5m or 1h30m; without it, a promotion is awaited")))
}

/// Pods of two versions are kept apart in exactly one way.
pub(super) fn anti_affinity(strategy: &FieldPath, anti_affinity: Option<&AntiAffinity>, found: &mut Found) {
    let Some(anti_affinity) = anti_affinity else {
        return;
    };
    let path = strategy.child("antiAffinity");
    let preferred = anti_affinity
        .preferred_during_scheduling_ignored_during_execution
        .as_ref();
    let required = anti_affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref();
    if preferred.is_some() == required.is_some() {
        let value = format!(
            "antiAffinity.PreferredDuringSchedulingIgnoredDuringExecution: {} \
             antiAffinity.RequiredDuringSchedulingIgnoredDuringExecution: {}",
            preferred.is_some(),
            required.is_some()
        );
        found.add(
            Violation::invalid(
                path.clone(),
                value.as_str(),
                "AntiAffinity must have exactly one strategy listed",
            )
            .said("spec.strategy.antiAffinity")
            .fix(
                "set one of preferredDuringSchedulingIgnoredDuringExecution and \
                     requiredDuringSchedulingIgnoredDuringExecution",
            ),
        );
    }
    if let Some(preferred) = preferred.filter(|preferred| !(1..=100).contains(&preferred.weight)) {
        found.add(
            Violation::invalid(
                path.child("preferredDuringSchedulingIgnoredDuringExecution.weight"),
                preferred.weight,
                "AntiAffinity weight must be between 1-100",
            )
            .said("spec.strategy.antiAffinity.weight")
            .fix("set the weight to a number from 1 to 100"),
        );
    }
}

/// Keys and values of labels. Kubernetes names the map, not the entry.
pub(super) fn labels(path: &FieldPath, labels: &BTreeMap<String, String>, found: &mut Found) {
    for (key, value) in labels {
        if let Some(problem) = names::qualified_name(key) {
            found.add(
                Violation::invalid(path.clone(), key.as_str(), problem)
                    .fix("rename the label, such as to app or example.com/app"),
            );
        }
        if let Some(problem) = names::label_value(value) {
            found.add(
                Violation::invalid(path.clone(), value.as_str(), problem).fix("shorten or change the value"),
            );
        }
    }
}

/// Counts and seconds.
pub(super) fn not_negative(path: FieldPath, value: i32, found: &mut Found) {
    if value < 0 {
        found.add(
            Violation::invalid(path, value, "must be greater than or equal to 0")
                .fix("set it to 0 or more, or remove it"),
        );
    }
}
