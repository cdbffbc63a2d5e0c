//! What upstream's controller and its clients really stored goes through our types without loss.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tidegate_crds::{
    API_VERSION, AnalysisRun, AnalysisRunStatus, AnalysisTemplate, CanaryStep, ClusterAnalysisTemplate,
    Experiment, Rollout, RolloutStatus,
    decode::{Decode, tolerant},
};

fn testdata(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(path)
}

/// All lines of all recordings.
fn lines() -> Vec<Value> {
    let folder = testdata("recordings");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    assert_eq!(files.len(), 23);
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| {
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The same with a whole object, of which nothing is dropped.
fn object<T>(kind: &str, value: &Value, differences: &mut BTreeSet<String>)
where
    T: Decode + DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    assert_eq!(tolerant::<T>(value.clone()).1, [], "{value}");
    round_trip::<T>(kind, value, differences);
}

/// Reads and writes a value; notes what became different, without list indexes.
fn round_trip<T>(name: &str, before: &Value, differences: &mut BTreeSet<String>)
where
    T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug,
{
    let object: T = serde_json::from_value(before.clone()).unwrap();
    let after = serde_json::to_value(&object).unwrap();
    assert_eq!(
        serde_json::from_value::<T>(after.clone()).unwrap(),
        object,
        "reads what it writes"
    );
    compare(name, Some(before), Some(&after), differences);
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, differences: &mut BTreeSet<String>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                compare(
                    &format!("{path}.{name}"),
                    before.get(name),
                    after.get(name),
                    differences,
                );
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if before.len() == after.len() => {
            for (before, after) in before.iter().zip(after) {
                compare(&format!("{path}[]"), Some(before), Some(after), differences);
            }
        }
        _ if before == after => {}
        _ => {
            let text = |value: Option<&Value>| value.map_or("absent".to_owned(), Value::to_string);
            differences.insert(format!("{path}: {} became {}", text(before), text(after)));
        }
    }
}

#[test]
fn recorded_objects_survive() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut differences = BTreeSet::new();
    for line in lines() {
        for value in line["objects"].as_array().into_iter().flatten() {
            if value["apiVersion"] != API_VERSION {
                continue;
            }
            let kind = value["kind"].as_str().unwrap();
            *seen.entry(kind.to_owned()).or_default() += 1;
            match kind {
                "Rollout" => object::<Rollout>(kind, value, &mut differences),
                "AnalysisTemplate" => object::<AnalysisTemplate>(kind, value, &mut differences),
                "ClusterAnalysisTemplate" => {
                    object::<ClusterAnalysisTemplate>(kind, value, &mut differences);
                }
                "AnalysisRun" => object::<AnalysisRun>(kind, value, &mut differences),
                "Experiment" => object::<Experiment>(kind, value, &mut differences),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(differences, BTreeSet::new());
    assert_eq!(
        seen,
        BTreeMap::from(
            [("AnalysisRun", 14), ("AnalysisTemplate", 9), ("Rollout", 26)]
                .map(|(kind, count): (&str, usize)| (kind.to_owned(), count))
        )
    );
}

#[test]
fn recorded_statuses_survive() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut differences = BTreeSet::new();
    for line in lines() {
        let status = &line["status"];
        if let (Some(kind @ ("Rollout" | "AnalysisRun")), true) = (line["kind"].as_str(), status.is_object())
        {
            *seen.entry(kind.to_owned()).or_default() += 1;
            match kind {
                "Rollout" => round_trip::<RolloutStatus>(kind, status, &mut differences),
                _ => round_trip::<AnalysisRunStatus>(kind, status, &mut differences),
            }
        }
    }
    assert_eq!(differences, BTreeSet::new());
    assert_eq!(
        seen,
        BTreeMap::from(
            [("AnalysisRun", 89), ("Rollout", 681)]
                .map(|(kind, count): (&str, usize)| (kind.to_owned(), count))
        )
    );
}

/// Steps as upstream's own types write them, byte for byte but for what Go escapes: their
/// hash is part of the API (contract 2.4).
#[test]
fn steps_are_written_as_go_writes_them() {
    let text = fs::read_to_string(testdata("vectors/step-hash.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 60);
    for line in text.lines() {
        let (_, rest) = line.split_once("\"steps\":").unwrap();
        let (steps, _) = rest.rsplit_once('}').unwrap();
        let typed: Vec<CanaryStep> = serde_json::from_str(steps).unwrap();
        let mut written = serde_json::to_string(&typed).unwrap();
        for (character, escaped) in [
            ('<', "\\u003c"),
            ('>', "\\u003e"),
            ('&', "\\u0026"),
            ('\u{2028}', "\\u2028"),
            ('\u{2029}', "\\u2029"),
        ] {
            written = written.replace(character, escaped);
        }
        assert_eq!(written, steps);
    }
}
