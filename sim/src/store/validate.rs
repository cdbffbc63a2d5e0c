//! Validation beyond the schema: metadata of every kind, and what clients run into of Kubernetes' own kinds.
//!
//! Words and order follow apimachinery and pkg/apis/*/validation of Kubernetes 1.34.

use serde_json::{Map, Value, json};

use crate::store::value::Fields as _;
use crate::store::{
    check,
    resource::Resource,
    status::{Cause, Status},
    value,
};

const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Validates a new object, or a changed one against what it was.
///
/// # Errors
/// 422 with every field that is wrong.
pub(crate) fn validate(resource: &Resource, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let mut causes = Vec::new();
    metadata(resource, new, old, &mut causes);
    if resource.custom {
        causes.extend(check::validate(new, old, &resource.schema));
        if let Some(scale) = &resource.scale
            && let Some(replicas) = value::at(new, &scale.spec_replicas)
            && replicas.as_i64().is_some_and(|n| n < 0)
        {
            let path = format!(".{}", scale.spec_replicas.join("."));
            causes.push(Cause::invalid(path, replicas, "should be a non-negative integer"));
        }
    } else {
        builtin(resource, new, old, &mut causes);
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(resource, value::meta(new, "name"), causes))
    }
}

fn metadata(resource: &Resource, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let name = value::meta(new, "name");
    if old.is_none()
        && let Some(detail) = wrong_name(resource, name)
    {
        causes.push(Cause::invalid("metadata.name", &json!(name), detail));
    }
    let map = |key: &str| {
        new.get("metadata")
            .and_then(|m| m.get(key))
            .and_then(Value::as_object)
    };
    for (key, label) in map("labels").into_iter().flatten() {
        if let Some(detail) = wrong_label_key(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), detail));
        }
        let label = label.as_str().unwrap_or_default();
        if label.len() > 63 {
            causes.push(Cause::invalid(
                "metadata.labels",
                &json!(label),
                "must be no more than 63 bytes",
            ));
        } else if !is_label_value(label) {
            causes.push(Cause::invalid("metadata.labels", &json!(label), LABEL_VALUE));
        }
    }
    let mut total = 0;
    for (key, annotation) in map("annotations").into_iter().flatten() {
        total += key.len() + annotation.as_str().map_or(0, str::len);
        if let Some(detail) = wrong_label_key(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), detail));
        }
    }
    if total > MAX_ANNOTATIONS {
        causes.push(Cause::too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
    owners(new, causes);
    finalizers(new, old, causes);
}

fn owners(new: &Value, causes: &mut Vec<Cause>) {
    let owners = new.field("/metadata/ownerReferences").and_then(Value::as_array);
    let mut controllers = 0;
    for (index, owner) in owners.into_iter().flatten().enumerate() {
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if value::text(owner, &[key]).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{key}");
                causes.push(Cause::invalid(field, &json!(""), detail));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &json!(controllers),
            detail,
        ));
    }
}

fn finalizers(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let list = |object: &Value| -> Vec<String> {
        let list = object.field("/metadata/finalizers").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    if let Some(old) = old.filter(|old| !value::meta(old, "deletionTimestamp").is_empty()) {
        let before = list(old);
        let extra: Vec<String> = list(new).into_iter().filter(|f| !before.contains(f)).collect();
        if !extra.is_empty() {
            let shown = extra
                .iter()
                .map(|f| format!("{f:?}"))
                .collect::<Vec<_>>()
                .join(", ");
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
            );
            causes.push(Cause::forbidden("metadata.finalizers", &detail));
        }
    }
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Whether the first and last byte are letters or digits and all between are those or one of `extra`.
fn is_word(text: &str, extra: &[u8], upper: bool) -> bool {
    let plain = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || (upper && b.is_ascii_uppercase());
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|&b| plain(b)))
        && bytes.iter().all(|&b| plain(b) || extra.contains(&b))
}

fn wrong_name(resource: &Resource, name: &str) -> Option<&'static str> {
    if resource.group == "rbac.authorization.k8s.io" {
        return (name.contains('/') || name.contains('%')).then_some("may not contain '/' or '%'");
    }
    if resource.is("", "services") {
        let starts = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        return match name.len() {
            64.. => Some("must be no more than 63 bytes"),
            _ => (!starts || !is_word(name, b"-", false)).then_some(LABEL_1035),
        };
    }
    if resource.is("", "namespaces") {
        return match name.len() {
            64.. => Some("must be no more than 63 bytes"),
            _ => (!is_word(name, b"-", false)).then_some(LABEL_1123),
        };
    }
    if name.len() > 253 {
        return Some("must be no more than 253 bytes");
    }
    (!name.split('.').all(|part| is_word(part, b"-", false))).then_some(SUBDOMAIN)
}

fn wrong_label_key(key: &str) -> Option<&'static str> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() {
        return Some("name part must be non-empty");
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes");
    }
    if !is_word(name, b"-_.", true) {
        return Some(QUALIFIED);
    }
    let prefix = prefix?;
    (prefix.len() > 253 || !prefix.split('.').all(|part| is_word(part, b"-", false))).then_some(SUBDOMAIN)
}

fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text, b"-_.", true)
}

fn builtin(resource: &Resource, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets") => workload(new, old, causes),
        ("batch", "jobs") => job(new, old, causes),
        ("", "pods") => pod(new, old, causes),
        ("", "services") => service(new, old, causes),
        ("", "configmaps" | "secrets") => data(resource, new, old, causes),
        ("", "events") => event(new, causes),
        ("networking.k8s.io", "ingresses") => ingress(new, causes),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler(new, causes),
        _ => {}
    }
}

fn negative(new: &Value, path: &str, causes: &mut Vec<Cause>) {
    let found = value::at(new, &value::path(path)).filter(|n| n.as_i64().is_some_and(|n| n < 0));
    if let Some(number) = found {
        causes.push(Cause::invalid(path, number, "must be greater than or equal to 0"));
    }
}

fn workload(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    for path in [
        "spec.replicas",
        "spec.minReadySeconds",
        "spec.revisionHistoryLimit",
    ] {
        negative(new, path, causes);
    }
    let selector = new.field("/spec/selector");
    let labels = new.field("/spec/template/metadata/labels");
    match selector.filter(|s| !s.as_object().is_none_or(Map::is_empty)) {
        None if selector.is_none() => causes.push(Cause::required("spec.selector", "")),
        None => {
            causes.push(Cause::invalid(
                "spec.selector",
                &json!({}),
                "empty selector is invalid for deployment",
            ));
        }
        Some(selector) => {
            let wanted = selector.get("matchLabels").and_then(Value::as_object);
            let fits = wanted
                .into_iter()
                .flatten()
                .all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value));
            if !fits {
                let shown = labels.cloned().unwrap_or_else(|| json!({}));
                let detail = "`selector` does not match template `labels`";
                causes.push(Cause::invalid("spec.template.metadata.labels", &shown, detail));
            }
            let before = old.and_then(|old| old.field("/spec/selector"));
            if before.is_some_and(|before| before != selector) {
                causes.push(Cause::invalid("spec.selector", selector, "field is immutable"));
            }
        }
    }
    let spec = new.field("/spec/template/spec").unwrap_or(&Value::Null);
    let policy = value::text(spec, &["restartPolicy"]);
    if policy != "Always" && !policy.is_empty() {
        causes.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            &json!(policy),
            &[json!("Always")],
        ));
    }
    pod_spec(spec, "spec.template.spec", causes);
}

fn pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let containers = spec
        .get("containers")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = format!("{path}.containers[{index}]");
        let name = value::text(container, &["name"]);
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if name.len() > 63 || !is_word(name, b"-", false) {
            causes.push(Cause::invalid(format!("{at}.name"), &json!(name), LABEL_1123));
        } else if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &json!(name)));
        }
        // a pod template may leave the image to an admission webhook, a pod may not
        if path == "spec" && value::text(container, &["image"]).trim().is_empty() {
            causes.push(Cause::required(format!("{at}.image"), ""));
        }
    }
}

fn pod(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = new.get("spec").unwrap_or(&Value::Null);
    pod_spec(spec, "spec", causes);
    let Some(old) = old.and_then(|old| old.get("spec")) else {
        return;
    };
    // binding to a node goes through here too, as the simulated scheduler has no subresource of its own
    let free = |spec: &Value| {
        let mut spec = spec.clone();
        let map = value::object(&mut spec);
        for key in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "nodeName",
        ] {
            map.remove(key);
        }
        for list in ["containers", "initContainers"] {
            for container in map
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                value::object(container).remove("image");
            }
        }
        spec
    };
    let bound = value::text(old, &["nodeName"]);
    let moved = !bound.is_empty() && bound != value::text(spec, &["nodeName"]);
    if old != spec && (moved || free(old) != free(spec)) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
            `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
            tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
}

fn job(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    for path in [
        "spec.parallelism",
        "spec.completions",
        "spec.backoffLimit",
        "spec.ttlSecondsAfterFinished",
    ] {
        negative(new, path, causes);
    }
    let spec = new.field("/spec/template/spec").unwrap_or(&Value::Null);
    let policy = value::text(spec, &["restartPolicy"]);
    if policy != "OnFailure" && policy != "Never" {
        let shown = if policy == "Always" {
            json!("Always")
        } else {
            json!(policy)
        };
        let supported = [json!("OnFailure"), json!("Never")];
        causes.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            &shown,
            &supported,
        ));
    }
    pod_spec(spec, "spec.template.spec", causes);
    let template = |object: &Value| object.field("/spec/template").cloned();
    if let Some(old) = old
        && template(old) != template(new)
    {
        let shown = template(new).unwrap_or_default();
        causes.push(Cause::invalid("spec.template", &shown, "field is immutable"));
    }
}

fn service(new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let kind = value::text(new, &["spec", "type"]);
    let address = value::text(new, &["spec", "clusterIP"]);
    let ports = new
        .field("/spec/ports")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && kind != "ExternalName" && address != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (index, port) in ports.iter().enumerate() {
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        if !(1..=65535).contains(&number) {
            let detail = "must be between 1 and 65535, inclusive";
            causes.push(Cause::invalid(
                format!("spec.ports[{index}].port"),
                &json!(number),
                detail,
            ));
        }
        if ports.len() > 1 && value::text(port, &["name"]).is_empty() {
            causes.push(Cause::required(format!("spec.ports[{index}].name"), ""));
        }
    }
    let before = old
        .map(|old| value::text(old, &["spec", "clusterIP"]))
        .unwrap_or_default();
    if !before.is_empty() && before != address && kind != "ExternalName" {
        let detail = "may not change once set";
        causes.push(Cause::invalid("spec.clusterIPs[0]", &json!([address]), detail));
    }
}

fn data(resource: &Resource, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let Some(old) = old else { return };
    if resource.plural == "secrets" && old.get("type") != new.get("type") {
        let shown = new.get("type").cloned().unwrap_or_default();
        causes.push(Cause::invalid("type", &shown, "field is immutable"));
    }
    if old.get("immutable") == Some(&Value::Bool(true)) {
        for key in ["data", "binaryData", "stringData"] {
            if old.get(key) != new.get(key) {
                causes.push(Cause::forbidden(
                    key,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
}

fn event(new: &Value, causes: &mut Vec<Cause>) {
    let about = value::text(new, &["involvedObject", "namespace"]);
    let namespace = value::meta(new, "namespace");
    // events about cluster-scoped objects live in `default`
    if about != namespace && !(about.is_empty() && namespace == "default") {
        causes.push(Cause::invalid(
            "involvedObject.namespace",
            &json!(about),
            "does not match event.namespace",
        ));
    }
}

fn ingress(new: &Value, causes: &mut Vec<Cause>) {
    let rules = new
        .field("/spec/rules")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if rules.is_empty() && new.field("/spec/defaultBackend").is_none() {
        causes.push(Cause::invalid(
            "spec",
            &json!([]),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    for (index, rule) in rules.iter().enumerate() {
        let paths = rule.field("/http/paths").and_then(Value::as_array);
        for (number, path) in paths.into_iter().flatten().enumerate() {
            let at = format!("spec.rules[{index}].http.paths[{number}]");
            let kind = value::text(path, &["pathType"]);
            if kind.is_empty() {
                causes.push(Cause::required(
                    format!("{at}.pathType"),
                    "pathType must be specified",
                ));
            }
            let route = value::text(path, &["path"]);
            if kind != "ImplementationSpecific" && !route.starts_with('/') {
                causes.push(Cause::invalid(
                    format!("{at}.path"),
                    &json!(route),
                    "must be an absolute path",
                ));
            }
        }
    }
}

fn autoscaler(new: &Value, causes: &mut Vec<Cause>) {
    let max = new
        .field("/spec/maxReplicas")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let min = new
        .field("/spec/minReplicas")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    if max < 1 {
        causes.push(Cause::invalid(
            "spec.maxReplicas",
            &json!(max),
            "must be greater than 0",
        ));
    } else if max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &json!(max), detail));
    }
}
