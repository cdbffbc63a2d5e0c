//! Whether an object is as it should be (contract 5.6): by the expressions of the Delivery if it has some for the kind, natively for
//! the usual kinds, by conditions for all others.

mod expressions;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(crate) use self::expressions::Checks;
use crate::cel::Budget;
use crate::desired::Wanted;
use crate::object::ObjectId;

/// Annotation of an object whose health does not count, as Argo CD knows it.
const IGNORE_ANNOTATION: &str = "argocd.argoproj.io/ignore-healthcheck";

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

/// Kinds that are as they should be as soon as they are there. Load balancers are not waited for: many clusters have none.
const WITHOUT_HEALTH: [(&str, &[&str]); 15] = [
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
            "PodTemplate",
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
    (
        "storage.k8s.io",
        &["StorageClass", "CSIDriver", "VolumeAttributesClass"],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    (
        "argoproj.io",
        &[
            "Rollout",
            "AnalysisTemplate",
            "ClusterAnalysisTemplate",
            "AppProject",
            "WorkflowTemplate",
            "ClusterWorkflowTemplate",
            "CronWorkflow",
        ],
    ),
    ("batch", &["CronJob"]),
    ("discovery.k8s.io", &["EndpointSlice"]),
    ("coordination.k8s.io", &["Lease"]),
    ("node.k8s.io", &["RuntimeClass"]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["FlowSchema", "PriorityLevelConfiguration"],
    ),
    ("gateway.networking.k8s.io", &["ReferenceGrant"]),
];

/// Kinds whose controllers always say whether they are ready: until they do, they have not looked.
const ALWAYS_READY: [(&str, &[&str]); 6] = [
    ("cert-manager.io", &["Certificate", "Issuer", "ClusterIssuer"]),
    (
        "external-secrets.io",
        &[
            "ExternalSecret",
            "ClusterExternalSecret",
            "SecretStore",
            "ClusterSecretStore",
        ],
    ),
    ("serving.knative.dev", &["Service", "Configuration", "Route"]),
    ("kustomize.toolkit.fluxcd.io", &["Kustomization"]),
    ("helm.toolkit.fluxcd.io", &["HelmRelease"]),
    ("tidegate.io", &["Delivery"]),
];

fn is_of(list: &[(&str, &[&str])], id: &ObjectId) -> bool {
    list.iter()
        .any(|(group, kinds)| *group == id.group && kinds.contains(&id.kind.as_str()))
}

/// Whether an object has to be read to know how it does. Rollouts have a verdict of their own.
pub(crate) fn has_health(checks: &Checks, object: &Wanted) -> bool {
    !is_ignored(&object.body) && (checks.know(&object.id) || !is_of(&WITHOUT_HEALTH, &object.id))
}

fn is_ignored(object: &Value) -> bool {
    let annotations = object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let value = annotations.and_then(|annotations| annotations.get(IGNORE_ANNOTATION)?.as_str());
    value == Some("true")
}

/// How an object does, by what is built in.
pub(crate) fn health(id: &ObjectId, object: &Value) -> Health {
    health_by(&Checks::default(), &Checks::budget(), id, object)
}

/// How an object does, by the expressions of a Delivery and what is built in.
pub(crate) fn health_by(checks: &Checks, budget: &Budget, id: &ObjectId, object: &Value) -> Health {
    if is_ignored(object) {
        return Health::Current;
    }
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::Progressing("is being deleted".to_owned());
    }
    let generation = number(object, "/metadata/generation");
    let observed = observed_generation(object);
    if observed.is_some() && observed < generation {
        return Health::Progressing("has not been seen by its controller yet".to_owned());
    }
    if let Some(health) = checks.health(id, object, budget) {
        return health;
    }
    match (id.group.as_str(), id.kind.as_str()) {
        ("apps", "Deployment") => deployment(object, observed),
        ("apps", "StatefulSet" | "ReplicaSet") => replicas(object, observed),
        ("apps", "DaemonSet") => daemon_set(object, observed),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => phase(object, &["Bound"], &["Lost"]),
        ("", "Pod") => phase(object, &["Running", "Succeeded"], &["Failed"]),
        ("argoproj.io", "AnalysisRun" | "Experiment") => {
            phase(object, &["Successful"], &["Failed", "Error", "Inconclusive"])
        }
        ("argoproj.io", "Workflow") => phase(object, &["Succeeded"], &["Failed", "Error"]),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => wanted(object, "Established"),
        ("apiregistration.k8s.io", "APIService") => wanted(object, "Available"),
        ("bitnami.com", "SealedSecret") => wanted(object, "Synced"),
        ("gateway.networking.k8s.io", "GatewayClass") => wanted(object, "Accepted"),
        ("gateway.networking.k8s.io", "Gateway") => match wanted(object, "Accepted") {
            Health::Current => wanted(object, "Programmed"),
            health => health,
        },
        ("gateway.networking.k8s.io", kind) if kind.ends_with("Route") => route(object),
        _ => match by_conditions(object) {
            Health::Current if is_of(&ALWAYS_READY, id) => wanted(object, "Ready"),
            health => health,
        },
    }
}

/// A Rollout and others of Argo write it as text; what is no number there is a digest of older versions.
fn observed_generation(object: &Value) -> Option<i64> {
    let observed = object.pointer("/status/observedGeneration")?;
    observed.as_i64().or_else(|| observed.as_str()?.parse().ok())
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Status, reason and message of a condition of an object.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    condition_among(object.pointer("/status/conditions")?, generation(object), kind)
}

fn generation(object: &Value) -> i64 {
    number(object, "/metadata/generation").unwrap_or(0)
}

/// What a condition says; of an earlier generation it says nothing yet.
fn condition_among<'a>(
    conditions: &'a Value,
    generation: i64,
    kind: &str,
) -> Option<(&'a str, &'a str, &'a str)> {
    let text =
        |condition: &'a Value, field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
    let found = conditions
        .as_array()?
        .iter()
        .find(|condition| text(condition, "type") == kind)?;
    let observed = found.get("observedGeneration").and_then(Value::as_i64);
    if observed.is_some_and(|observed| observed < generation) {
        return Some(("Unknown", "", "has not been seen by its controller yet"));
    }
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
    is_true(condition(object, kind), kind)
}

fn is_true(condition: Option<(&str, &str, &str)>, kind: &str) -> Health {
    match condition {
        Some(("True", ..)) => Health::Current,
        Some((_, _, message)) if !message.is_empty() => Health::Progressing(message.to_owned()),
        _ => Health::Progressing(format!("is not {kind} yet")),
    }
}

/// A route of Gateway API: all Gateways that it names have taken it.
fn route(object: &Value) -> Health {
    let list = |pointer: &str| object.pointer(pointer).and_then(Value::as_array);
    let asked = list("/spec/parentRefs").map_or(0, Vec::len);
    let parents = list("/status/parents").map_or(&[][..], Vec::as_slice);
    for parent in parents {
        let conditions = parent.get("conditions").unwrap_or(&Value::Null);
        let of = |kind: &str| condition_among(conditions, generation(object), kind);
        for kind in ["Accepted", "ResolvedRefs"] {
            let health = is_true(of(kind), kind);
            if health != Health::Current {
                return health;
            }
        }
    }
    if asked > 0 && parents.is_empty() {
        return Health::Progressing("no Gateway has taken it yet".to_owned());
    }
    Health::Current
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
