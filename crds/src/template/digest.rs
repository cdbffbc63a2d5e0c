//! Whether two pod templates are the same one, at the price of comparing sixteen bytes.
//!
//! The third rule of contract 2.4: a ReplicaSet belongs to a template if the templates are equal after defaulting
//! and without what a controller put in. The digest is of that form, so a cache keeps the digest and no template.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    defaults::set_pod_template_defaults,
    gojson::{self, Form, Sink},
};
use crate::{PodTemplateMetadata, labels::POD_TEMPLATE_HASH_LABEL};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// A 128-bit digest (FNV-1a) of a template's meaning. Equal digests are equal templates; it is not a signature:
/// whoever can write a template could craft a collision, and would fool nobody but themselves. The default is that of
/// no template.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:032x})", self.0)
    }
}

impl Sink for Digest {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

/// Labels and annotations that a controller put on a ReplicaSet's template: the JSON in the ReplicaSet's
/// annotation `rollout.argoproj.io/ephemeral-metadata` (contract 3.8).
pub type EphemeralMetadata = PodTemplateMetadata;

/// The digest of a pod template, of a Rollout or of a live ReplicaSet alike. `ephemeral` is what was injected into
/// this one. The hash label, injected anti-affinity and the deprecated `serviceAccount` do not count.
pub fn template_digest(template: &Value, ephemeral: Option<&EphemeralMetadata>) -> Digest {
    let mut template = template.clone();
    set_pod_template_defaults(&mut template);
    if let Value::Object(template) = &mut template {
        if let Some(Value::Object(metadata)) = template.get_mut("metadata") {
            strip_metadata(metadata, ephemeral);
        }
        if let Some(Value::Object(spec)) = template.get_mut("spec") {
            strip_anti_affinity(spec);
            settle_service_account(spec);
            settle_host_ports(spec);
        }
    }
    // FNV's offset basis
    let mut digest = Digest(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    gojson::write_pod_template(&mut digest, Form::Semantic, &template);
    digest
}

fn strip_metadata(metadata: &mut Map<String, Value>, ephemeral: Option<&EphemeralMetadata>) {
    if let Some(Value::Object(labels)) = metadata.get_mut("labels") {
        labels.remove(POD_TEMPLATE_HASH_LABEL);
        for key in ephemeral.iter().flat_map(|ephemeral| ephemeral.labels.keys()) {
            labels.remove(key);
        }
    }
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        for key in ephemeral
            .iter()
            .flat_map(|ephemeral| ephemeral.annotations.keys())
        {
            annotations.remove(key);
        }
    }
}

/// Takes out the terms that keep versions apart, and what is empty without them.
fn strip_anti_affinity(spec: &mut Map<String, Value>) {
    let Some(Value::Object(affinity)) = spec.get_mut("affinity") else {
        return;
    };
    if let Some(Value::Object(anti)) = affinity.get_mut("podAntiAffinity") {
        if let Some(Value::Array(terms)) = anti.get_mut("requiredDuringSchedulingIgnoredDuringExecution") {
            terms.retain(|term| !is_injected(term));
        }
        if let Some(Value::Array(terms)) = anti.get_mut("preferredDuringSchedulingIgnoredDuringExecution") {
            terms.retain(|term| !term.get("podAffinityTerm").is_some_and(is_injected));
        }
        if anti.values().all(is_empty) {
            affinity.remove("podAntiAffinity");
        }
    }
    if affinity.values().all(is_empty) {
        spec.remove("affinity");
    }
}

/// Whether a controller made this term: nobody else selects by the hash label alone.
fn is_injected(term: &Value) -> bool {
    let selector = term.get("labelSelector");
    let expressions = selector
        .and_then(|selector| selector.get("matchExpressions"))
        .and_then(Value::as_array);
    term.get("topologyKey").and_then(Value::as_str) == Some(HOSTNAME)
        && selector
            .and_then(|selector| selector.get("matchLabels"))
            .is_none_or(is_empty)
        && matches!(expressions.map(Vec::as_slice), Some([only])
            if only.get("key").and_then(Value::as_str) == Some(POD_TEMPLATE_HASH_LABEL)
                && only.get("operator").and_then(Value::as_str) == Some("In"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// The API server keeps `serviceAccount` and `serviceAccountName` the same.
fn settle_service_account(spec: &mut Map<String, Value>) {
    let deprecated = spec.remove("serviceAccount");
    if spec
        .get("serviceAccountName")
        .is_none_or(|name| name.is_null() || name == "")
        && let Some(name) = deprecated
    {
        spec.insert("serviceAccountName".to_owned(), name);
    }
}

/// With `hostNetwork` a host port can only be the container's, and depending on its version the API server writes
/// it into templates.
fn settle_host_ports(spec: &mut Map<String, Value>) {
    if spec.get("hostNetwork") != Some(&Value::Bool(true)) {
        return;
    }
    for list in ["containers", "initContainers"] {
        let containers = spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for port in containers
            .filter_map(|container| container.get_mut("ports")?.as_array_mut())
            .flatten()
        {
            let Value::Object(port) = port else { continue };
            let unset = port
                .get("hostPort")
                .is_none_or(|host| host.is_null() || host == &json!(0));
            if unset && let Some(own) = port.get("containerPort").cloned() {
                port.insert("hostPort".to_owned(), own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::pod_template_hash;

    fn template() -> Value {
        json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": "web:1", "resources": { "limits": { "cpu": "1000m" } } }] },
        })
    }

    /// Sets what a JSON pointer says; its parent must be there.
    fn set(value: &mut Value, pointer: &str, new: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[key] = new;
    }

    fn digest_with(pointer: &str, new: Value) -> Digest {
        let mut template = template();
        set(&mut template, pointer, new);
        template_digest(&template, None)
    }

    fn injected_term() -> Value {
        let ours = json!({ "key": POD_TEMPLATE_HASH_LABEL, "operator": "In", "values": ["5b7b5bfbd4"] });
        json!({ "labelSelector": { "matchExpressions": [ours] }, "topologyKey": HOSTNAME })
    }

    /// What each client or server may write differently without meaning another template.
    #[test]
    fn the_same_template() {
        let digest = template_digest(&template(), None);
        let changes = [
            ("/metadata/labels/rollouts-pod-template-hash", json!("5b7b5bfbd4")),
            ("/metadata/creationTimestamp", json!(null)),
            ("/metadata/annotations", json!({})),
            ("/spec/volumes", json!([])),
            ("/spec/newer", json!(true)),
            ("/spec/restartPolicy", json!("Always")),
            ("/spec/containers/0/resources/limits/cpu", json!(1)),
            (
                "/spec/containers/0/resources/requests",
                json!({ "cpu": "not a quantity" }),
            ),
            ("/spec/affinity", json!({ "podAntiAffinity": {} })),
            (
                "/spec/affinity",
                json!({ "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [injected_term()],
                } }),
            ),
            (
                "/spec/affinity",
                json!({ "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        { "weight": 1, "podAffinityTerm": injected_term() },
                    ],
                } }),
            ),
        ];
        for (pointer, new) in changes {
            assert_eq!(digest_with(pointer, new.clone()), digest, "{pointer} {new}");
        }
        let mut defaulted = template();
        set_pod_template_defaults(&mut defaulted);
        assert_eq!(template_digest(&defaulted, None), digest);
    }

    #[test]
    fn another_template() {
        let digest = template_digest(&template(), None);
        let changes = [
            ("/metadata/labels/tier", json!("front")),
            ("/spec/containers/0/image", json!("web:2")),
            ("/spec/containers/0/resources/limits/cpu", json!("1001m")),
            ("/spec/automountServiceAccountToken", json!(false)),
            ("/spec/serviceAccountName", json!("web")),
            (
                "/spec/affinity",
                json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                    { "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": HOSTNAME },
                ] } }),
            ),
        ];
        for (pointer, new) in changes {
            assert_ne!(digest_with(pointer, new.clone()), digest, "{pointer} {new}");
        }
    }

    #[test]
    fn injected_metadata_does_not_count() {
        let ephemeral: EphemeralMetadata =
            serde_json::from_value(json!({ "labels": { "role": "canary" }, "annotations": { "note": "x" } }))
                .unwrap();
        let mut live = template();
        live["metadata"]["labels"]["role"] = json!("canary");
        live["metadata"]["annotations"] = json!({ "note": "x" });
        assert_eq!(
            template_digest(&live, Some(&ephemeral)),
            template_digest(&template(), None)
        );
        assert_ne!(template_digest(&live, None), template_digest(&template(), None));
        live["metadata"]["annotations"]["theirs"] = json!("y");
        assert_ne!(
            template_digest(&live, Some(&ephemeral)),
            template_digest(&template(), None)
        );
    }

    #[test]
    fn service_accounts_and_host_ports_settle() {
        assert_eq!(
            digest_with("/spec/serviceAccount", json!("web")),
            digest_with("/spec/serviceAccountName", json!("web"))
        );
        let host = |port: Value| {
            let mut template = template();
            set(&mut template, "/spec/hostNetwork", json!(true));
            set(&mut template, "/spec/containers/0/ports", json!([port]));
            template_digest(&template, None)
        };
        assert_eq!(
            host(json!({ "containerPort": 80 })),
            host(json!({ "containerPort": 80, "hostPort": 80, "protocol": "TCP" }))
        );
    }

    /// Objects as a real API server stored them: each dump has a Rollout and its ReplicaSets.
    #[test]
    fn recorded_replica_sets_have_the_digest_of_their_rollout() {
        let recordings = [
            include_str!("../../../testdata/recordings/bluegreen-manual.jsonl"),
            include_str!("../../../testdata/recordings/canary-analysis-fails.jsonl"),
            include_str!("../../../testdata/recordings/canary-nginx-abort-retry.jsonl"),
            include_str!("../../../testdata/recordings/canary-nginx.jsonl"),
            include_str!("../../../testdata/recordings/nginx-several-ingresses.jsonl"),
        ];
        let dumps = recordings
            .iter()
            .flat_map(|lines| lines.lines())
            .filter_map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line.get("dump")?;
                line.get("objects").cloned()
            });
        let mut compared = 0;
        for dump in dumps {
            let objects = dump.as_array().unwrap();
            let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
            for rollout in of_kind("Rollout") {
                let template = &rollout["spec"]["template"];
                let collisions = rollout["status"]["collisionCount"]
                    .as_i64()
                    .map(|count| count as i32);
                let hash = pod_template_hash(template, collisions);
                assert_eq!(rollout["status"]["currentPodHash"], json!(hash));
                for set in of_kind("ReplicaSet") {
                    let live = &set["spec"]["template"];
                    let ephemeral = set["metadata"]["annotations"]["rollout.argoproj.io/ephemeral-metadata"]
                        .as_str()
                        .map(|annotation| serde_json::from_str::<EphemeralMetadata>(annotation).unwrap());
                    assert_eq!(
                        template_digest(live, ephemeral.as_ref()) == template_digest(template, None),
                        set["metadata"]["labels"][POD_TEMPLATE_HASH_LABEL] == json!(hash),
                        "{}",
                        set["metadata"]["name"]
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared >= 10, "{compared} ReplicaSets compared");
    }

    /// Whatever a template looks like, defaults do not change its digest.
    #[test]
    fn defaulting_never_shows() {
        let mut seen = std::collections::BTreeSet::new();
        for line in include_str!("../../../testdata/vectors/pod-template-hash.jsonl").lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let mut defaulted = vector["template"].clone();
            set_pod_template_defaults(&mut defaulted);
            let digest = template_digest(&vector["template"], None);
            assert_eq!(template_digest(&defaulted, None), digest, "{line}");
            seen.insert(digest);
        }
        assert!(seen.len() > 280, "{} different templates", seen.len());
    }
}
