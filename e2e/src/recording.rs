//! The recordings of upstream's controller in `testdata/`: what its users did, and the objects as it left them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Namespace;

/// What a line says that is of no use in another cluster.
const FOREIGN: [&str; 6] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "namespace",
    "managedFields",
];

/// The lines of a recording in their order.
pub fn recording(name: &str) -> Result<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/recordings/{name}.jsonl"));
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut lines = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let at = |line: &Value| line.get("t").and_then(Value::as_f64).unwrap_or(0.0);
    lines.sort_by(|a, b| at(a).total_cmp(&at(b)));
    Ok(lines)
}

/// An object of a recording, with the kind that the recorder left out, on a host of this namespace.
pub fn recorded_object(namespace: &Namespace, object: &Value) -> Value {
    let mut object = object.clone();
    if object.get("kind").is_none_or(Value::is_null) {
        let (version, kind) = if object.pointer("/spec/rules").is_some() {
            ("networking.k8s.io/v1", "Ingress")
        } else if object.pointer("/spec/template").is_some() {
            ("apps/v1", "Deployment")
        } else {
            ("v1", "Service")
        };
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !FOREIGN.contains(&field.as_str()));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // the cluster gives others
        spec.retain(|field, _| !["clusterIP", "clusterIPs"].contains(&field.as_str()));
    }
    let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        rule["host"] = json!(format!("{}.test", namespace.name()));
    }
    object
}

/// Creates what a dump holds as it is stored there: owners have other uids here, and each status is written through `/status`.
/// Returns the Rollout's name.
pub async fn restore(namespace: &Namespace, dump: &Value) -> Result<String> {
    let objects = dump
        .get("objects")
        .and_then(Value::as_array)
        .context("a dump holds objects")?;
    let rollout = objects
        .iter()
        .find(|object| object.get("kind").is_some_and(|kind| kind == "Rollout"))
        .context("a dump holds a Rollout")?;
    let name = crate::text(rollout, "/metadata/name").to_owned();
    namespace.create(&recorded_object(namespace, rollout)).await?;
    let created = namespace
        .get("rollouts.argoproj.io", &name)
        .await?
        .context("the Rollout is there")?;
    let uid = crate::text(&created, "/metadata/uid");
    for object in objects.iter().filter(|object| *object != rollout) {
        let mut object = recorded_object(namespace, object);
        let owners = object
            .pointer_mut("/metadata/ownerReferences")
            .and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            owner["uid"] = json!(uid);
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        namespace.create(&object).await?;
    }
    let mut status = rollout.get("status").cloned().unwrap_or(Value::Null);
    // the generation that was observed is this one
    status["observedGeneration"] = json!(created.pointer("/metadata/generation").map(Value::to_string));
    namespace
        .patch_status("rollouts.argoproj.io", &name, &json!({ "status": status }))
        .await?;
    Ok(name)
}
