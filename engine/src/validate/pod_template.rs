//! The rules for pod templates that people run into; the API server knows the rest when it is given a ReplicaSet.
//!
//! Values of the wrong type count as absent, as they do everywhere (contract 2.1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tidegate_crds::{LabelSelector, names, template::drop_malformed_fields};

use super::path::FieldPath;
use super::rules;
use super::violation::{Found, Json, Violation, ViolationKind};

pub(super) fn check(template: &Value, selector: Option<&LabelSelector>, path: &FieldPath, found: &mut Found) {
    let labels = labels(template);
    if selector.is_some_and(|selector| !matches(selector, &labels)) {
        let shown = Some(&labels).filter(|labels| !labels.is_empty());
        found.add(
            Violation::invalid(
                path.child("metadata.labels"),
                Json(&shown),
                "`selector` does not match template `labels`",
            )
            .fix("give the template the labels that spec.selector asks for"),
        );
    }
    rules::labels(&path.child("metadata.labels"), &labels, found);
    let empty = Map::new();
    let pod = template.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let spec_path = path.child("spec");
    let volumes = volumes(pod, &spec_path, found);
    containers(pod, &volumes, &spec_path, found);
    pod_fields(pod, &spec_path, found);
    if has_ephemeral_containers(template) {
        found.add(
            Violation::new(
                path.child("spec.ephemeralContainers"),
                ViolationKind::Forbidden,
                "ephemeral containers not allowed in pod template",
            )
            .fix("remove them: kubectl debug adds ephemeral containers to running pods"),
        );
    }
    // as upstream, after everything else; other texts have been refused above
    let restart = text(pod, "restartPolicy");
    if matches!(restart, "OnFailure" | "Never") {
        found.add(
            Violation::unsupported(
                spec_path.child("restartPolicy"),
                restart,
                "supported values: \"Always\"",
            )
            .fix("remove restartPolicy, or set it to Always"),
        );
    }
    if pod.get("activeDeadlineSeconds").is_some_and(Value::is_number) {
        found.add(
            Violation::new(
                spec_path.child("activeDeadlineSeconds"),
                ViolationKind::Forbidden,
                "activeDeadlineSeconds in ReplicaSet is not Supported",
            )
            .fix("remove activeDeadlineSeconds: pods of a Rollout run for ever"),
        );
    }
}

fn labels(template: &Value) -> BTreeMap<String, String> {
    let labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
    selector.match_labels.iter().all(equal)
        && selector.match_expressions.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.contains(value));
            match requirement.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// Malformed ones are dropped before a ReplicaSet is made, so they do not count.
fn has_ephemeral_containers(template: &Value) -> bool {
    let pointer = "/spec/ephemeralContainers";
    let listed = |template: &Value| {
        template
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|containers| !containers.is_empty())
    };
    listed(template) && {
        let mut clean = template.clone();
        drop_malformed_fields(&mut clean);
        listed(&clean)
    }
}

/// The names of the volumes.
fn volumes<'a>(pod: &'a Map<String, Value>, path: &FieldPath, found: &mut Found) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in objects(pod, "volumes") {
        let name = text(volume, "name");
        let path = path.child("volumes").index(index).child("name");
        named(&path, name, &mut seen, "volume", found);
    }
    seen
}

fn containers(pod: &Map<String, Value>, volumes: &BTreeSet<&str>, path: &FieldPath, found: &mut Found) {
    let mut seen = BTreeSet::new();
    if objects(pod, "containers").next().is_none() {
        found.add(Violation::required(path.child("containers"), "").fix("list at least one container"));
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in objects(pod, list) {
            if found.is_full() {
                return;
            }
            let path = path.child(list).index(index);
            named(
                &path.child("name"),
                text(container, "name"),
                &mut seen,
                "container",
                found,
            );
            self::container(container, volumes, &path, found);
        }
    }
}

fn named<'a>(path: &FieldPath, name: &'a str, seen: &mut BTreeSet<&'a str>, what: &str, found: &mut Found) {
    if name.is_empty() {
        found.add(Violation::required(path.clone(), "").fix(format!("give the {what} a name")));
    } else if let Some(problem) = names::dns_label(name) {
        found.add(Violation::invalid(path.clone(), name, problem).fix(format!("rename the {what}")));
    }
    if !name.is_empty() && !seen.insert(name) {
        let kind = ViolationKind::Duplicate(super::violation::Quoted::quoted(name));
        found.add(Violation::new(path.clone(), kind, "").fix(format!("rename one {what} of the two")));
    }
}

fn container(container: &Map<String, Value>, volumes: &BTreeSet<&str>, path: &FieldPath, found: &mut Found) {
    if text(container, "image").is_empty() {
        found.add(Violation::required(path.child("image"), "").fix("name the container's image"));
    }
    ports(container, path, found);
    for (index, variable) in objects(container, "env") {
        if text(variable, "name").is_empty() {
            let path = path.child("env").index(index).child("name");
            found.add(Violation::required(path, "").fix("give the variable a name"));
        }
    }
    for (index, mount) in objects(container, "volumeMounts") {
        let path = path.child("volumeMounts").index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            found.add(Violation::required(path.child("name"), "").fix("name one of the template's volumes"));
        } else if !volumes.contains(name) {
            let kind = ViolationKind::NotFound(super::violation::Quoted::quoted(name));
            found.add(
                Violation::new(path.child("name"), kind, "")
                    .fix("add a volume of this name to the template, or correct the name"),
            );
        }
        if text(mount, "mountPath").is_empty() {
            found.add(Violation::required(path.child("mountPath"), "").fix("say where to mount the volume"));
        }
    }
    let policy = text(container, "imagePullPolicy");
    if !matches!(policy, "" | "Always" | "IfNotPresent" | "Never") {
        found.add(
            Violation::unsupported(
                path.child("imagePullPolicy"),
                policy,
                "supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            )
            .fix("use Always, IfNotPresent or Never"),
        );
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get(name).and_then(Value::as_object) {
            self::probe(probe, &path.child(name), found);
        }
    }
}

fn ports(container: &Map<String, Value>, path: &FieldPath, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (index, port) in objects(container, "ports") {
        let path = path.child("ports").index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            if let Some(problem) = names::port_name(name) {
                found.add(
                    Violation::invalid(path.child("name"), name, problem)
                        .fix("use a short name of small letters, such as http"),
                );
            } else if !seen.insert(name) {
                let kind = ViolationKind::Duplicate(super::violation::Quoted::quoted(name));
                found.add(Violation::new(path.child("name"), kind, "").fix("rename one port of the two"));
            }
        }
        match port.get("containerPort").and_then(Value::as_i64).unwrap_or(0) {
            0 => found.add(
                Violation::required(path.child("containerPort"), "")
                    .fix("say which port the container listens on"),
            ),
            number => port_number(path.child("containerPort"), number, found),
        }
        match port.get("hostPort").and_then(Value::as_i64).unwrap_or(0) {
            0 => {}
            number => port_number(path.child("hostPort"), number, found),
        }
        let protocol = text(port, "protocol");
        if !matches!(protocol, "" | "SCTP" | "TCP" | "UDP") {
            found.add(
                Violation::unsupported(
                    path.child("protocol"),
                    protocol,
                    "supported values: \"SCTP\", \"TCP\", \"UDP\"",
                )
                .fix("use TCP, UDP or SCTP"),
            );
        }
    }
}

fn probe(probe: &Map<String, Value>, path: &FieldPath, found: &mut Found) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    if !handlers
        .iter()
        .any(|handler| probe.get(*handler).is_some_and(Value::is_object))
    {
        found.add(
            Violation::required(path.clone(), "must specify a handler type")
                .fix("set one of exec, httpGet, tcpSocket and grpc"),
        );
    }
    for handler in ["httpGet", "tcpSocket"] {
        let Some(action) = probe.get(handler).and_then(Value::as_object) else {
            continue;
        };
        let path = path.child(handler).child("port");
        match action.get("port") {
            Some(Value::String(name)) => {
                if let Some(problem) = names::port_name(name) {
                    found.add(
                        Violation::invalid(path, name.as_str(), problem)
                            .fix("use the name or number of a port"),
                    );
                }
            }
            port => port_number(path, port.and_then(Value::as_i64).unwrap_or(0), found),
        }
    }
}

fn pod_fields(pod: &Map<String, Value>, path: &FieldPath, found: &mut Found) {
    let restart = text(pod, "restartPolicy");
    if !matches!(restart, "" | "Always" | "OnFailure" | "Never") {
        found.add(
            Violation::unsupported(
                path.child("restartPolicy"),
                restart,
                "supported values: \"Always\", \"OnFailure\", \"Never\"",
            )
            .fix("remove restartPolicy, or set it to Always"),
        );
    }
    if let Some(grace) = pod
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .filter(|grace| *grace < 0)
    {
        found.add(
            Violation::invalid(
                path.child("terminationGracePeriodSeconds"),
                grace,
                "must be greater than or equal to 0",
            )
            .fix("set it to 0 or more, or remove it"),
        );
    }
}

fn port_number(path: FieldPath, number: i64, found: &mut Found) {
    if let Some(problem) = names::port_number(number) {
        found.add(Violation::invalid(path, number, problem).fix("use a port from 1 to 65535"));
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn objects<'a>(
    holder: &'a Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = (usize, &'a Map<String, Value>)> {
    let items = holder.get(key).and_then(Value::as_array).into_iter().flatten();
    items
        .enumerate()
        .filter_map(|(index, item)| Some((index, item.as_object()?)))
}
