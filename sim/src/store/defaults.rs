//! What the server fills into Kubernetes' own kinds, as far as clients of this project see it
//! (pkg/apis/*/v1/defaults.go and the strategies of Kubernetes 1.34).

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_crds::template::set_pod_template_defaults;

use crate::store::value::Fields as _;
use crate::store::{ids::Ids, resource::Resource, value};

type Object = Map<String, Value>;

/// Fills in the defaults of a spec that is about to be stored.
pub(crate) fn fill(resource: &Resource, object: &mut Value, ids: &mut Ids) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", kind) => workload(kind, object),
        ("batch", "jobs") => job(object),
        ("", "pods") => pod(object),
        ("", "services") => service(object, ids),
        ("", "secrets") => secret(object),
        ("autoscaling", "horizontalpodautoscalers") => {
            missing(section(object, "spec"), "minReplicas", || json!(1));
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            value::object(object).entry("rules").or_insert(Value::Null);
        }
        _ => {}
    }
}

/// Gives a new object the status that it starts with.
pub(crate) fn first_status(resource: &Resource, object: &mut Value, now: Timestamp) {
    let status = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => {
            section(object, "spec")
                .entry("finalizers")
                .or_insert_with(|| json!(["kubernetes"]));
            let name = value::meta(object, "name").to_owned();
            let labels = value::object(value::metadata(object).entry("labels").or_insert(Value::Null));
            labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
            json!({"phase": "Active"})
        }
        ("", "pods") => json!({"phase": "Pending", "qosClass": quality(object)}),
        ("", "services") | ("networking.k8s.io", "ingresses") => json!({"loadBalancer": {}}),
        ("apps", "replicasets") => json!({"replicas": 0}),
        ("apps", "statefulsets") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "daemonsets") => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }),
        ("autoscaling", _) => json!({"currentMetrics": null, "desiredReplicas": 0}),
        ("apiextensions.k8s.io", _) => return definition(object, now),
        _ => json!({}),
    };
    if resource.custom {
        value::object(object).remove("status");
    } else {
        value::object(object).insert("status".to_owned(), status);
    }
}

/// The server accepts a definition at once.
fn definition(object: &mut Value, now: Timestamp) {
    let time = value::time(now);
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": time});
    let names = object.field("/spec/names").cloned().unwrap_or_default();
    let versions = object.field("/spec/versions").and_then(Value::as_array);
    let stored = |v: &&Value| v.get("storage") == Some(&Value::Bool(true));
    let stored: Vec<Value> = versions
        .into_iter()
        .flatten()
        .filter(stored)
        .filter_map(|v| v.get("name").cloned())
        .collect();
    let status = json!({
        "acceptedNames": names,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": stored,
    });
    value::object(object).insert("status".to_owned(), status);
}

fn section<'a>(object: &'a mut Value, key: &str) -> &'a mut Object {
    value::object(value::object(object).entry(key).or_insert(Value::Null))
}

fn missing(map: &mut Object, key: &str, value: impl FnOnce() -> Value) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value());
    }
}

fn workload(kind: &str, object: &mut Value) {
    let spec = section(object, "spec");
    if kind != "daemonsets" {
        missing(spec, "replicas", || json!(1));
    }
    if let Some(template) = spec.get_mut("template") {
        set_pod_template_defaults(template);
    }
    match kind {
        "deployments" => {
            missing(spec, "revisionHistoryLimit", || json!(10));
            missing(spec, "progressDeadlineSeconds", || json!(600));
            let strategy = value::object(spec.entry("strategy").or_insert(Value::Null));
            missing(strategy, "type", || json!("RollingUpdate"));
            if strategy.get("type") == Some(&json!("RollingUpdate")) {
                let rolling = value::object(strategy.entry("rollingUpdate").or_insert(Value::Null));
                missing(rolling, "maxUnavailable", || json!("25%"));
                missing(rolling, "maxSurge", || json!("25%"));
            }
        }
        "statefulsets" => {
            missing(spec, "revisionHistoryLimit", || json!(10));
            missing(spec, "podManagementPolicy", || json!("OrderedReady"));
            missing(
                spec,
                "updateStrategy",
                || json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
            );
        }
        "daemonsets" => {
            missing(spec, "revisionHistoryLimit", || json!(10));
            let rolling = json!({"maxUnavailable": 1, "maxSurge": 0});
            missing(
                spec,
                "updateStrategy",
                || json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
            );
        }
        _ => {}
    }
}

fn job(object: &mut Value) {
    let uid = value::meta(object, "uid").to_owned();
    let name = value::meta(object, "name").to_owned();
    let spec = section(object, "spec");
    let single = spec.get("completions").is_none() && spec.get("parallelism").is_none();
    if single {
        missing(spec, "completions", || json!(1));
    }
    missing(spec, "parallelism", || json!(1));
    missing(spec, "backoffLimit", || json!(6));
    missing(spec, "completionMode", || json!("NonIndexed"));
    missing(spec, "suspend", || json!(false));
    missing(spec, "podReplacementPolicy", || json!("TerminatingOrFailed"));
    missing(spec, "manualSelector", || json!(false));
    if let Some(template) = spec.get_mut("template") {
        // the default policy of a template is not allowed in a Job, which says so itself
        let given = template.field("/spec/restartPolicy").is_some();
        set_pod_template_defaults(template);
        if !given && let Some(inner) = template.get_mut("spec") {
            value::object(inner).insert("restartPolicy".to_owned(), json!("Always"));
        }
    }
    if spec.get("manualSelector") == Some(&json!(true)) || uid.is_empty() {
        return;
    }
    missing(
        spec,
        "selector",
        || json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
    let labels = value::object(
        value::metadata(spec.entry("template").or_insert(Value::Null))
            .entry("labels")
            .or_insert(Value::Null),
    );
    for (prefix, key, of) in [
        ("", "controller-uid", &uid),
        ("batch.kubernetes.io/", "controller-uid", &uid),
        ("", "job-name", &name),
        ("batch.kubernetes.io/", "job-name", &name),
    ] {
        missing(labels, &format!("{prefix}{key}"), || json!(of));
    }
}

fn pod(object: &mut Value) {
    let spec = section(object, "spec");
    // a pod's spec is a template's with a few more defaults
    let mut template = json!({"spec": Value::Object(std::mem::take(spec))});
    set_pod_template_defaults(&mut template);
    if let Some(Value::Object(filled)) = template.get_mut("spec").map(Value::take) {
        *spec = filled;
    }
    missing(spec, "enableServiceLinks", || json!(true));
    missing(spec, "serviceAccountName", || json!("default"));
    missing(spec, "preemptionPolicy", || json!("PreemptLowerPriority"));
    missing(spec, "priority", || json!(0));
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
                continue;
            };
            if let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() {
                let requests = value::object(resources.entry("requests").or_insert(Value::Null));
                for (key, limit) in limits {
                    missing(requests, &key, || limit);
                }
            }
        }
    }
}

/// Guaranteed if every container's limits are its requests, best effort if none has any.
fn quality(pod: &Value) -> &'static str {
    let containers = pod
        .field("/spec/containers")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let of = |container: &Value, what: &str, resource: &str| {
        container.get("resources")?.get(what)?.get(resource).cloned()
    };
    let both = ["cpu", "memory"];
    let any = containers.iter().any(|c| {
        both.iter()
            .any(|r| of(c, "requests", r).is_some() || of(c, "limits", r).is_some())
    });
    let full = containers.iter().all(|c| {
        both.iter().all(|r| {
            of(c, "limits", r)
                .is_some_and(|limit| of(c, "requests", r).is_none_or(|request| request == limit))
        })
    });
    match (any, full) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn service(object: &mut Value, ids: &mut Ids) {
    let spec = section(object, "spec");
    missing(spec, "sessionAffinity", || json!("None"));
    missing(spec, "type", || json!("ClusterIP"));
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let port = value::object(port);
        missing(port, "protocol", || json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        missing(port, "targetPort", || number);
    }
    if spec.get("type") == Some(&json!("ExternalName")) {
        return;
    }
    missing(spec, "internalTrafficPolicy", || json!("Cluster"));
    if spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        spec.insert("clusterIP".to_owned(), json!(ids.cluster_ip()));
        spec.remove("clusterIPs");
    }
    let address = spec.get("clusterIP").cloned().unwrap_or_default();
    missing(spec, "clusterIPs", || json!([address]));
    missing(spec, "ipFamilies", || json!(["IPv4"]));
    missing(spec, "ipFamilyPolicy", || json!("SingleStack"));
}

fn secret(object: &mut Value) {
    let map = value::object(object);
    missing(map, "type", || json!("Opaque"));
    if let Some(Value::Object(plain)) = map.remove("stringData") {
        let data = value::object(map.entry("data").or_insert(Value::Null));
        for (key, text) in plain {
            data.insert(
                key,
                json!(value::base64(text.as_str().unwrap_or_default().as_bytes())),
            );
        }
    }
}
