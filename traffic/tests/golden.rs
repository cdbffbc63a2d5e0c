//! Golden folders, one for each data plane: input objects and intent, expected writes. `UPDATE_GOLDEN=1` rewrites what is
//! expected, for a person to read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::NginxTrafficRouting;
use tidegate_traffic::{
    HeaderRoute, HeaderValue, LiveObjects, RouteOp, RouteWrite, TrafficIntent, TrafficRouter, WeightState,
    nginx::Nginx,
};

fn live(case: &Value) -> LiveObjects {
    let objects = case["live"].as_array().unwrap();
    objects
        .iter()
        .map(|o| {
            (
                o["metadata"]["name"].as_str().unwrap().to_owned(),
                Arc::new(o.clone()),
            )
        })
        .collect()
}

fn headers(intent: &Value) -> Vec<HeaderRoute> {
    intent["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|h| HeaderRoute {
            name: "by-header".to_owned(),
            header: h["header"].as_str().unwrap().to_owned(),
            value: match h["exact"].as_str() {
                Some(exact) => HeaderValue::Exact(exact.to_owned()),
                None => HeaderValue::Regex(h["regex"].as_str().unwrap().to_owned()),
            },
        })
        .collect()
}

fn shown(write: &RouteWrite) -> Value {
    let (verb, body) = match &write.op {
        RouteOp::Create(body) => ("create", body.clone()),
        RouteOp::Patch { patch, .. } => ("patch", patch.clone()),
        RouteOp::SetWeight { from, to, .. } => ("weight", json!({ "from": from, "to": to })),
        RouteOp::Delete { .. } => ("delete", Value::Null),
    };
    json!({ "name": write.name, verb: body })
}

/// What the API server makes of the writes: a second rendering must find nothing to do.
fn applied(mut objects: LiveObjects, writes: &[RouteWrite]) -> LiveObjects {
    for write in writes {
        let object = match &write.op {
            RouteOp::Create(body) => body.clone(),
            RouteOp::Patch { patch, .. } => {
                let mut object = (*objects[&write.name]).clone();
                merge(&mut object, patch);
                object
            }
            RouteOp::SetWeight {
                annotation, from, to, ..
            } => {
                let mut object = (*objects[&write.name]).clone();
                let weight = &mut object["metadata"]["annotations"][annotation];
                assert_eq!(*weight, from.to_string(), "the guard of {}", write.name);
                *weight = json!(to.to_string());
                object
            }
            RouteOp::Delete { .. } => {
                objects.remove(&write.name);
                continue;
            }
        };
        objects.insert(write.name.clone(), Arc::new(object));
    }
    objects
}

fn merge(into: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

#[test]
fn nginx() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/nginx");
    let mut seen = 0;
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let mut case: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let spec: NginxTrafficRouting = serde_json::from_value(case["spec"].clone()).unwrap();
        let router = Nginx { spec: &spec };
        let intent = &case["intent"];
        let number =
            |key: &str, default: i64| i32::try_from(intent[key].as_i64().unwrap_or(default)).unwrap();
        let intent = TrafficIntent {
            rollout: "web",
            uid: "u1",
            namespace: "shop",
            stable_service: "stable",
            canary_service: "canary",
            weight: number("weight", 0),
            total: intent["total"]
                .as_i64()
                .map(|total| i32::try_from(total).unwrap()),
            headers: headers(intent),
        };
        let live = live(&case);
        let mut result = BTreeMap::new();
        match router.render(&intent, &live) {
            Ok(writes) => {
                let after = applied(live.clone(), &writes);
                assert_eq!(
                    router.render(&intent, &after),
                    Ok(vec![]),
                    "{}: not idempotent",
                    file.display()
                );
                assert_eq!(
                    router.observe("web", "u1", &after),
                    WeightState::Set(intent.weight),
                    "{}",
                    file.display()
                );
                result.insert("writes", json!(writes.iter().map(shown).collect::<Vec<_>>()));
            }
            Err(error) => {
                result.insert("error", json!(error.to_string()));
            }
        }
        result.insert(
            "before",
            json!(format!("{:?}", router.observe("web", "u1", &live))),
        );
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            case["expected"] = json!(result);
            fs::write(&file, serde_json::to_string_pretty(&case).unwrap() + "\n").unwrap();
        }
        assert_eq!(case["expected"], json!(result), "{}", file.display());
        seen += 1;
    }
    assert!(seen >= 10, "the golden files are gone");
}
