//! What kinds there are: the documents under `/api` and `/apis`, one by one or all at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::store::{Registry, Resource};

/// The served versions of every group, the core's (empty) first, then Kubernetes' own, then the others.
fn groups(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    for resource in registry.all() {
        let versions = groups
            .entry((resource.custom, resource.group.clone()))
            .or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|version| priority(version));
    }
    groups
        .into_iter()
        .map(|((_, group), versions)| (group, versions))
        .collect()
}

/// The preferred version comes first: v2 before v1 before v1beta1 before v1alpha1.
fn priority(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>, String) {
    let rest = version.strip_prefix('v').unwrap_or(version);
    let (stage, (major, minor)) = match (rest.split_once("beta"), rest.split_once("alpha")) {
        (Some(parts), _) => (1, parts),
        (_, Some(parts)) => (2, parts),
        _ => (0, (rest, "")),
    };
    let number = |text: &str| std::cmp::Reverse(text.parse().unwrap_or(0));
    (stage, number(major), number(minor), version.to_owned())
}

fn of<'a>(registry: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    registry
        .all()
        .map(|r| &**r)
        .filter(move |r| r.group == group && r.version == version)
}

/// `/api`.
pub(crate) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub(crate) fn group_list(registry: &Registry) -> Value {
    let named = groups(registry)
        .into_iter()
        .filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named
        .map(|(group, versions)| group_value(&group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (_, versions) = groups(registry)
        .into_iter()
        .find(|(group, _)| group == name && !group.is_empty())?;
    let mut value = group_value(name, &versions);
    if let Some(map) = value.as_object_mut() {
        map.insert("kind".to_owned(), json!("APIGroup"));
        map.insert("apiVersion".to_owned(), json!("v1"));
    }
    Some(value)
}

fn group_value(name: &str, versions: &[String]) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub(crate) fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut resources: Vec<Value> = Vec::new();
    for resource in of(registry, group, version) {
        resources.push(trimmed(json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs(), "shortNames": resource.short_names,
            "categories": resource.categories,
        })));
        for name in resource.subresources() {
            let (of_group, of_version, kind) = response_kind(resource, name);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": kind, "verbs": sub_verbs(name),
            });
            if let (true, Some(map)) = (name != "status", entry.as_object_mut()) {
                map.insert("group".to_owned(), json!(of_group));
                map.insert("version".to_owned(), json!(of_version));
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    )
}

/// Group, version and kind of what a subresource takes and gives.
fn response_kind(resource: &Resource, subresource: &str) -> (String, String, String) {
    let own =
        |group: &str, version: &str, kind: &str| (group.to_owned(), version.to_owned(), kind.to_owned());
    match subresource {
        "scale" => own("autoscaling", "v1", "Scale"),
        "eviction" => own("policy", "v1", "Eviction"),
        _ => own(&resource.group, &resource.version, &resource.kind),
    }
}

fn sub_verbs(name: &str) -> &'static [&'static str] {
    if name == "eviction" {
        &["create"]
    } else {
        &["get", "patch", "update"]
    }
}

/// Without what is empty, as Go's omitempty leaves it out.
fn trimmed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = |v: &Value| !v.as_array().is_some_and(Vec::is_empty);
            Value::Object(map.into_iter().filter(|(_, v)| kept(v)).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// The aggregated documents of `/api` (the core) and `/apis` (all others).
pub(crate) fn aggregated(registry: &Registry, core: bool) -> Value {
    let mine = groups(registry)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = mine
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = of(registry, &group, version).map(discovery).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn discovery(resource: &Resource) -> Value {
    let kind = |(group, version, kind): (String, String, String)| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<Value> = resource
        .subresources()
        .into_iter()
        .map(|name| json!({"subresource": name, "responseKind": kind(response_kind(resource, name)), "verbs": sub_verbs(name)}))
        .collect();
    trimmed(json!({
        "resource": resource.plural, "responseKind": kind(response_kind(resource, "")),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": resource.singular,
        "verbs": resource.verbs(), "shortNames": resource.short_names, "categories": resource.categories,
        "subresources": subresources,
    }))
}

/// `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.2+tidegate-sim", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-11-01T00:00:00Z", "goVersion": "none", "compiler": "none", "platform": "linux/amd64",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_is_first() {
        let mut versions = ["v1alpha1", "v1", "v1beta2", "v2", "v1beta1"].map(str::to_owned);
        versions.sort_by_key(|version| priority(version));
        assert_eq!(versions, ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]);
    }
}
