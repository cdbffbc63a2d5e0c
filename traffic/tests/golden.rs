//! Golden folders, one for each data plane: input objects and intent, expected writes. `UPDATE_GOLDEN=1` rewrites what is
//! expected, for a person to read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod apply;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::{CanaryStrategy, Rollout, RolloutTrafficRouting};
use tidegate_traffic::{
    Dialect, HeaderRoute, HeaderValue, LiveObjects, ObjectRef, PLANES, Plane, RouteOp, RouteWrite, Seen,
    Subject, TrafficIntent, kinds, routers_of,
};

fn live(case: &Value) -> LiveObjects {
    let objects = case["live"].as_array().unwrap();
    objects
        .iter()
        .map(|object| {
            let kind = kinds().find(|kind| kind.api_version() == *object["apiVersion"].as_str().unwrap());
            let name = object["metadata"]["name"].as_str().unwrap();
            (
                ObjectRef::new(kind.unwrap(), "shop", name),
                Arc::new(object.clone()),
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
        RouteOp::SetWeight {
            from, to, operations, ..
        } => {
            let sets: BTreeMap<&str, &Value> = operations
                .iter()
                .filter(|operation| operation["op"] != "test")
                .map(|operation| (operation["path"].as_str().unwrap(), &operation["value"]))
                .collect();
            ("weight", json!({ "from": from, "to": to, "sets": sets }))
        }
        RouteOp::Delete { .. } => ("delete", Value::Null),
    };
    json!({ "name": write.object.name, verb: body })
}

/// What the API server makes of the writes: a second rendering must find nothing to do.
fn applied(mut objects: LiveObjects, writes: &[RouteWrite]) -> LiveObjects {
    for RouteWrite { object, op, .. } in writes {
        match apply::applied(objects.get(object).map(AsRef::as_ref), op) {
            Some(after) => objects.insert(object.clone(), Arc::new(after)),
            None => objects.remove(object),
        };
    }
    objects
}

/// The share as it stands in the objects.
fn stands(seen: &Seen) -> String {
    match seen.share {
        None => "Absent".to_owned(),
        Some(share) if share.least() == share.most() && !share.partial() => format!("Set({})", share.most()),
        Some(share) => format!("Mixed({})", share.most()),
    }
}

fn rollout(plane: &Plane, spec: &Value) -> Rollout {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1" },
        "spec": { "strategy": { "canary": {
            "stableService": "stable", "canaryService": "canary", "trafficRouting": { plane.field: spec },
        } } },
    }))
    .unwrap()
}

fn canary(rollout: &Rollout) -> &CanaryStrategy {
    let strategy = rollout.spec.strategy.as_ref().unwrap();
    strategy.canary.as_ref().unwrap()
}

fn routing(rollout: &Rollout) -> &RolloutTrafficRouting {
    canary(rollout).traffic_routing.as_ref().unwrap()
}

fn subject<'a>(rollout: &'a Rollout, additional_services: &'a [&'a str]) -> Subject<'a> {
    Subject {
        rollout: &rollout.metadata.name,
        uid: &rollout.metadata.uid,
        namespace: &rollout.metadata.namespace,
        stable_service: "stable",
        canary_service: "canary",
        additional_services,
    }
}

/// The version that the objects of a case are in: the one that it names, or the default.
fn dialect(plane: &Plane, case: &Value) -> Dialect {
    let version = case["version"].as_str();
    let chosen = plane
        .kinds
        .iter()
        .find(|kind| version == Some(&kind.api_version()));
    chosen.map_or_else(Dialect::default, |kind| Dialect::default().with(kind))
}

fn check(plane: &Plane, file: &Path) {
    let mut case: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let rollout = rollout(plane, &case["spec"]);
    let dialect = dialect(plane, &case);
    let names = case["additional"].as_array();
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let additional: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(
        plane.can.additional || additional.is_empty(),
        "{}",
        file.display()
    );
    let routers = routers_of(routing(&rollout), subject(&rollout, &additional), &dialect);
    let [router] = routers.as_slice() else {
        panic!("{}: not one router", file.display());
    };
    let intent = &case["intent"];
    let number = |value: &Value| value.as_i64().map(|number| i32::try_from(number).unwrap());
    let intent = TrafficIntent {
        weight: number(&intent["weight"]).unwrap_or(0),
        additional: serde_json::from_value(intent.get("additional").cloned().unwrap_or_else(|| json!({})))
            .unwrap(),
        total: number(&intent["total"]),
        headers: headers(intent),
    };
    let live = live(&case);
    let mut result = BTreeMap::new();
    match router.render(&intent, &live) {
        Ok(writes) => {
            let after = applied(live.clone(), &writes);
            let again = router.render(&intent, &after);
            assert_eq!(again, Ok(vec![]), "{}: not idempotent", file.display());
            let stands = stands(&router.observe(&after));
            assert_eq!(stands, format!("Set({})", intent.weight), "{}", file.display());
            result.insert("writes", json!(writes.iter().map(shown).collect::<Vec<_>>()));
        }
        Err(error) => {
            result.insert("error", json!(error.to_string()));
        }
    }
    result.insert("before", json!(stands(&router.observe(&live))));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        case["expected"] = json!(result);
        fs::write(file, serde_json::to_string_pretty(&case).unwrap() + "\n").unwrap();
    }
    assert_eq!(case["expected"], json!(result), "{}", file.display());
}

#[test]
fn every_data_plane() {
    for plane in PLANES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("testdata")
            .join(plane.field);
        let entries = fs::read_dir(&folder).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 5, "the golden files of {} are gone", plane.id);
        for file in files {
            check(plane, &file);
        }
    }
}
