//! The rules for the spec that do not depend on a strategy, and those of blue-green (contract 4.1).

use serde_json::Value;
use tidegate_crds::{
    BlueGreenStrategy, LabelSelector, LabelSelectorRequirement, ObjectRef, Rollout, RolloutSpec, names,
};

use super::path::FieldPath;
use super::rules::{self, Chosen, DEFAULT_DEADLINE, DEFAULT_HISTORY, anti_affinity, labels, not_negative};
use super::violation::{Found, Json, Violation};
use super::{canary, pod_template};

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
                super::violation::ViolationKind::Internal,
                "template must be empty for workload reference rollout",
            )
            .fix("remove spec.template: the pods come from the workload that spec.workloadRef names"),
        );
    }
    template(spec, resolved_template, found);

    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    not_negative(path.child("minReadySeconds"), min_ready, found);
    let history = spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY);
    not_negative(path.child("revisionHistoryLimit"), history, found);
    let deadline = spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE);
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
    match rules::strategy(&rollout.spec) {
        Ok(Chosen::Canary(canary)) => canary::check(rollout, canary, found),
        Ok(Chosen::BlueGreen(blue_green)) => self::blue_green(&rollout.spec, blue_green, found),
        Err(violation) => found.add(*violation),
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
    let history = spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY);
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
                super::violation::ViolationKind::Forbidden,
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
