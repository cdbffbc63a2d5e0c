//! The rules for the spec that do not depend on a strategy, and those of blue-green (contract 4.1).

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_crds::{
    AntiAffinity, BlueGreenStrategy, LabelSelector, LabelSelectorRequirement, ObjectRef, Rollout, RolloutSpec,
};

use super::{FieldPath, Found, Json, Violation, canary, names, pod_template};

const DEFAULT_REVISION_HISTORY_LIMIT: i32 = 10;
const DEFAULT_PROGRESS_DEADLINE: i32 = 600;

pub(super) fn check(rollout: &Rollout, resolved_template: Option<&Value>, found: &mut Found) {
    let spec = &rollout.spec;
    let path = FieldPath::of("spec");
    if let Some(reference) = &spec.workload_ref {
        workload_kind(reference, found);
    }
    let replicas = spec.replicas.unwrap_or(1);
    not_negative(path.child("replicas"), replicas, found);
    if spec.workload_ref.is_none() {
        selector(spec.selector.as_ref(), found);
    } else if spec.template.as_ref().is_some_and(has_metadata) {
        found.add(
            Violation::new(
                path.child("template"),
                super::ViolationKind::Internal,
                "template must be empty for workload reference rollout",
            )
            .fix("remove spec.template: the pods come from the workload that spec.workloadRef names"),
        );
    }
    template(spec, resolved_template, found);

    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    not_negative(path.child("minReadySeconds"), min_ready, found);
    let history = spec
        .revision_history_limit
        .unwrap_or(DEFAULT_REVISION_HISTORY_LIMIT);
    not_negative(path.child("revisionHistoryLimit"), history, found);
    let deadline = spec
        .progress_deadline_seconds
        .unwrap_or(DEFAULT_PROGRESS_DEADLINE);
    let deadline_path = path.child("progressDeadlineSeconds");
    not_negative(deadline_path.clone(), deadline, found);
    if deadline <= min_ready {
        found.add(
            Violation::invalid(deadline_path, deadline, "must be greater than minReadySeconds").fix(format!(
                "set progressDeadlineSeconds to more than {}",
                min_ready.max(0)
            )),
        );
    }
    strategy(rollout, found);
}

fn strategy(rollout: &Rollout, found: &mut Found) {
    let strategy = rollout.spec.strategy.as_ref();
    let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
    let blue_green = strategy.and_then(|strategy| strategy.blue_green.as_ref());
    let path = FieldPath::of("spec.strategy");
    match (canary, blue_green) {
        (None, None) => found.add(
            Violation::required(
                path,
                "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'",
            )
            .said("spec.strategy.strategy")
            .fix("set either spec.strategy.canary or spec.strategy.blueGreen"),
        ),
        (Some(_), Some(_)) => found.add(
            Violation::invalid(
                path,
                "blueGreen: true canary: true",
                "Multiple Strategies can not be listed",
            )
            .said("spec.strategy.strategy")
            .fix("keep one of spec.strategy.canary and spec.strategy.blueGreen"),
        ),
        (Some(canary), None) => canary::check(rollout, canary, found),
        (None, Some(blue_green)) => self::blue_green(&rollout.spec, blue_green, found),
    }
}

fn blue_green(spec: &RolloutSpec, blue_green: &BlueGreenStrategy, found: &mut Found) {
    let path = FieldPath::of("spec.strategy.blueGreen");
    let active = blue_green.active_service.as_str();
    if active == blue_green.preview_service.as_deref().unwrap_or_default() {
        let fix = if active.is_empty() {
            "set activeService to the Service that clients use"
        } else {
            "name another Service in previewService, or none"
        };
        found.add(
            Violation::invalid(
                path.child("activeService"),
                active,
                "This rollout uses the same service for the active and preview services, but two different services \
                 are required.",
            )
            .said("spec.strategy.activeService")
            .fix(fix),
        );
    }
    let history = spec
        .revision_history_limit
        .unwrap_or(DEFAULT_REVISION_HISTORY_LIMIT);
    if let Some(limit) = blue_green
        .scale_down_delay_revision_limit
        .filter(|limit| history < *limit)
    {
        found.add(
            Violation::invalid(
                path.child("scaleDownDelayRevisionLimit"),
                limit,
                "This rollout's revision history limit can not be smaller than the rollout's scale down limit",
            )
            .said("spec.strategy.scaleDownDelayRevisionLimit")
            .fix(format!("set revisionHistoryLimit to at least {limit}, or this limit to at most {history}")),
        );
    }
    anti_affinity(&path, blue_green.anti_affinity.as_ref(), found);
}

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

fn workload_kind(reference: &ObjectRef, found: &mut Found) {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = reference.kind.as_deref().unwrap_or_default();
    if !matches!(
        (group, kind),
        ("apps", "Deployment" | "ReplicaSet") | ("", "PodTemplate")
    ) {
        found.add(
            Violation::invalid(
                FieldPath::of("spec.workloadRef"),
                Json(reference),
                format!("workload of type {group}/{kind} is not supported"),
            )
            .fix("refer to a Deployment or ReplicaSet of apps/v1, or to a PodTemplate of v1"),
        );
    }
}

/// Upstream looks at labels and annotations only: a template without them is ignored (contract 4.1).
fn has_metadata(template: &Value) -> bool {
    ["/metadata/labels", "/metadata/annotations"]
        .into_iter()
        .any(|pointer| {
            template
                .pointer(pointer)
                .and_then(Value::as_object)
                .is_some_and(|entries| !entries.is_empty())
        })
}

fn template(spec: &RolloutSpec, resolved: Option<&Value>, found: &mut Found) {
    let path = FieldPath::of("spec.template");
    let template = match &spec.workload_ref {
        Some(_) => resolved,
        None => spec.template.as_ref(),
    };
    let selector = spec.selector.as_ref();
    if let Some(selector) = selector.filter(|selector| !selector_problems(selector).is_empty()) {
        found.add(
            Violation::invalid(
                FieldPath::of("spec.selector"),
                Json(selector),
                "invalid label selector",
            )
            .fix("correct the selector's keys, operators and values"),
        );
        return;
    }
    match template {
        Some(template) => pod_template::check(template, selector, &path, found),
        None if spec.workload_ref.is_some() => {}
        None => pod_template::check(&Value::Null, selector, &path, found),
    }
}

fn selector(selector: Option<&LabelSelector>, found: &mut Found) {
    let path = FieldPath::of("spec.selector");
    let Some(selector) = selector else {
        found.add(
            Violation::required(path, "Rollout has missing field '.spec.selector'")
                .fix("set spec.selector.matchLabels to labels of the pod template"),
        );
        return;
    };
    for problem in selector_problems(selector) {
        found.add(problem);
    }
    if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
        found.add(
            Violation::invalid(path, Json(selector), "empty selector is invalid for deployment")
                .fix("set spec.selector.matchLabels to labels of the pod template"),
        );
    }
}

fn selector_problems(selector: &LabelSelector) -> Vec<Violation> {
    let path = FieldPath::of("spec.selector");
    let mut found = Found::default();
    labels(&path.child("matchLabels"), &selector.match_labels, &mut found);
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        self::requirement(
            &path.child("matchExpressions").index(index),
            requirement,
            &mut found,
        );
    }
    found.violations
}

fn requirement(path: &FieldPath, requirement: &LabelSelectorRequirement, found: &mut Found) {
    let values = path.child("values");
    match (requirement.operator.as_str(), requirement.values.is_empty()) {
        ("In" | "NotIn", true) => found.add(
            Violation::required(
                values.clone(),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )
            .fix("list at least one value"),
        ),
        ("Exists" | "DoesNotExist", false) => found.add(
            Violation::new(
                values.clone(),
                super::ViolationKind::Forbidden,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )
            .fix("remove the values"),
        ),
        ("In" | "NotIn", false) | ("Exists" | "DoesNotExist", true) => {}
        (operator, _) => found.add(
            Violation::invalid(path.child("operator"), operator, "not a valid selector operator")
                .fix("use In, NotIn, Exists or DoesNotExist"),
        ),
    }
    if let Some(problem) = names::qualified_name(&requirement.key) {
        found.add(
            Violation::invalid(path.child("key"), requirement.key.as_str(), problem)
                .fix("use the key of a label, such as app or example.com/app"),
        );
    }
    for (index, value) in requirement.values.iter().enumerate() {
        if let Some(problem) = names::label_value(value) {
            found.add(
                Violation::invalid(values.index(index), value.as_str(), problem)
                    .fix("use the value of a label"),
            );
        }
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

fn not_negative(path: FieldPath, value: i32, found: &mut Found) {
    if value < 0 {
        found.add(
            Violation::invalid(path, value, "must be greater than or equal to 0")
                .fix("set it to 0 or more, or remove it"),
        );
    }
}
