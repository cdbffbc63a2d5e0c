//! Whether an object is as it should be (git-sync 2.6): natively for the usual kinds, by the conditions of kstatus for all others.

use serde_json::Value;

use crate::object::ObjectId;

/// How an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// As it should be.
    Current,
    /// On its way, and why it is not there.
    Progressing(String),
    /// It will not get there by itself.
    Failed(String),
}

/// Kinds that are as they should be as soon as they are there.
const WITHOUT_HEALTH: [(&str, &[&str]); 10] = [
    (
        "",
        &[
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "Namespace",
            "Service",
            "ResourceQuota",
            "LimitRange",
            "Endpoints",
            "PersistentVolume",
            "Event",
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"],
    ),
    ("networking.k8s.io", &["NetworkPolicy", "Ingress", "IngressClass"]),
    ("policy", &["PodDisruptionBudget"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("storage.k8s.io", &["StorageClass"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    (
        "argoproj.io",
        &["Rollout", "AnalysisTemplate", "ClusterAnalysisTemplate"],
    ),
    ("batch", &["CronJob"]),
];

/// Whether an object has to be read to know how it does. Rollouts have a verdict of their own.
pub(crate) fn has_health(id: &ObjectId) -> bool {
    !WITHOUT_HEALTH
        .iter()
        .any(|(group, kinds)| *group == id.group && kinds.contains(&id.kind.as_str()))
}

/// How an object does.
pub(crate) fn health(id: &ObjectId, object: &Value) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::Progressing("is being deleted".to_owned());
    }
    let generation = number(object, "/metadata/generation");
    let observed = number(object, "/status/observedGeneration");
    if observed.is_some() && observed < generation {
        return Health::Progressing("has not been seen by its controller yet".to_owned());
    }
    match (id.group.as_str(), id.kind.as_str()) {
        ("apps", "Deployment") => deployment(object, observed),
        ("apps", "StatefulSet" | "ReplicaSet") => replicas(object, observed),
        ("apps", "DaemonSet") => daemon_set(object, observed),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => phase(object, &["Bound"], &["Lost"]),
        ("", "Pod") => phase(object, &["Running", "Succeeded"], &["Failed"]),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => wanted(object, "Established"),
        ("apiregistration.k8s.io", "APIService") => wanted(object, "Available"),
        _ => by_conditions(object),
    }
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let text =
        |condition: &'a Value, field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
    let found = conditions
        .iter()
        .find(|condition| text(condition, "type") == kind)?;
    Some((
        text(found, "status"),
        text(found, "reason"),
        text(found, "message"),
    ))
}

fn deployment(object: &Value, observed: Option<i64>) -> Health {
    if let Some((_, "ProgressDeadlineExceeded", message)) = condition(object, "Progressing") {
        return Health::Failed(message.to_owned());
    }
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let (updated, all, available) = (of("updatedReplicas"), of("replicas"), of("availableReplicas"));
    if observed.is_none() || updated < wanted {
        Health::Progressing(format!("{updated} of {wanted} pods are updated"))
    } else if all > updated {
        Health::Progressing(format!("{} old pods are still there", all - updated))
    } else if available < updated {
        Health::Progressing(format!("{available} of {updated} pods are available"))
    } else {
        Health::Current
    }
}

fn replicas(object: &Value, observed: Option<i64>) -> Health {
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let on_delete = object
        .pointer("/spec/updateStrategy/type")
        .and_then(Value::as_str)
        == Some("OnDelete");
    let revisions =
        ["/status/currentRevision", "/status/updateRevision"].map(|pointer| object.pointer(pointer));
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    if observed.is_none() || of("readyReplicas") < wanted {
        Health::Progressing(format!("{} of {wanted} pods are ready", of("readyReplicas")))
    } else if !on_delete && partition == 0 && revisions[0] != revisions[1] {
        Health::Progressing(format!("{} of {wanted} pods are updated", of("updatedReplicas")))
    } else if !on_delete && partition > 0 && of("updatedReplicas") < wanted - partition {
        Health::Progressing(format!(
            "{} of {} pods are updated",
            of("updatedReplicas"),
            wanted - partition
        ))
    } else {
        Health::Current
    }
}

fn daemon_set(object: &Value, observed: Option<i64>) -> Health {
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    let wanted = of("desiredNumberScheduled");
    let on_delete = object
        .pointer("/spec/updateStrategy/type")
        .and_then(Value::as_str)
        == Some("OnDelete");
    if observed.is_none() || !on_delete && of("updatedNumberScheduled") < wanted {
        Health::Progressing(format!(
            "{} of {wanted} pods are updated",
            of("updatedNumberScheduled")
        ))
    } else if of("numberAvailable") < wanted {
        Health::Progressing(format!(
            "{} of {wanted} pods are available",
            of("numberAvailable")
        ))
    } else {
        Health::Current
    }
}

fn job(object: &Value) -> Health {
    if let Some(("True", reason, message)) = condition(object, "Failed") {
        return Health::Failed(format!("{reason}: {message}"));
    }
    match condition(object, "Complete") {
        Some(("True", ..)) => Health::Current,
        _ if object.pointer("/spec/suspend") == Some(&Value::Bool(true)) => Health::Current,
        _ => Health::Progressing("has not ended yet".to_owned()),
    }
}

fn phase(object: &Value, good: &[&str], bad: &[&str]) -> Health {
    let phase = object
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or("Pending");
    if good.contains(&phase) {
        Health::Current
    } else if bad.contains(&phase) {
        Health::Failed(format!("is {phase}"))
    } else {
        Health::Progressing(format!("is {phase}"))
    }
}

fn wanted(object: &Value, kind: &str) -> Health {
    match condition(object, kind) {
        Some(("True", ..)) => Health::Current,
        Some((_, _, message)) => Health::Progressing(message.to_owned()),
        None => Health::Progressing(format!("is not {kind} yet")),
    }
}

/// kstatus: `Stalled` and `Reconciling` when they are True, else `Ready`; an object that has none of them is as it should be.
fn by_conditions(object: &Value) -> Health {
    if let Some(("True", _, message)) = condition(object, "Stalled") {
        return Health::Failed(message.to_owned());
    }
    if let Some(("True", _, message)) = condition(object, "Reconciling") {
        return Health::Progressing(message.to_owned());
    }
    match condition(object, "Ready") {
        Some(("False" | "Unknown", _, message)) => Health::Progressing(message.to_owned()),
        _ => Health::Current,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_the_usual_kinds_do() {
        let progressing = |words: &str| Health::Progressing(words.to_owned());
        let deployment = "apps/v1/Deployment/a/a";
        let status = |updated: i64, all: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {
                "observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available}})
        };
        let table = [
            (deployment, status(3, 3, 3), Health::Current),
            (
                deployment,
                status(1, 3, 3),
                progressing("1 of 3 pods are updated"),
            ),
            (
                deployment,
                status(3, 4, 3),
                progressing("1 old pods are still there"),
            ),
            (
                deployment,
                status(3, 3, 2),
                progressing("2 of 3 pods are available"),
            ),
            (
                deployment,
                json!({"spec": {}}),
                progressing("0 of 1 pods are updated"),
            ),
            (
                deployment,
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}),
                progressing("has not been seen by its controller yet"),
            ),
            (
                deployment,
                json!({"status": {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}}),
                Health::Failed("timed out".to_owned()),
            ),
            ("batch/v1/Job/a/a", json!({}), progressing("has not ended yet")),
            (
                "batch/v1/Job/a/a",
                json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]}}),
                Health::Failed("BackoffLimitExceeded: too often".to_owned()),
            ),
            (
                "/v1/PersistentVolumeClaim/a/a",
                json!({"status": {"phase": "Bound"}}),
                Health::Current,
            ),
            ("example.com/v1/Thing/a/a", json!({}), Health::Current),
            (
                "external-secrets.io/v1/ExternalSecret/a/a",
                json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "no such key"}]}}),
                progressing("no such key"),
            ),
            (
                "example.com/v1/Thing/a/a",
                json!({"metadata": {"deletionTimestamp": "x"}}),
                progressing("is being deleted"),
            ),
        ];
        for (id, object, expected) in table {
            assert_eq!(
                health(&ObjectId::parse(id).unwrap(), &object),
                expected,
                "{id} {object}"
            );
        }
    }
}
