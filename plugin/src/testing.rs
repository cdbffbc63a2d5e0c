//! Objects for tests: what upstream's controller left in a real cluster.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::{Rollout, decode::tolerant};

use crate::info::Objects;

/// A Rollout and what is around it.
pub(crate) struct Dump {
    pub(crate) rollout: Rollout,
    pub(crate) objects: Objects,
    /// The rest: Services, Ingresses, templates.
    pub(crate) others: Vec<Value>,
    /// A minute after the Rollout was created.
    pub(crate) now: Timestamp,
}

/// The first dump of a recording.
pub(crate) fn dump(recording: &str) -> Dump {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/recordings/{recording}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = lines.find(|line| line.get("dump").is_some()).unwrap();
    let mut dump = Dump {
        rollout: Rollout::default(),
        objects: Objects::default(),
        others: Vec::new(),
        now: Timestamp::UNIX_EPOCH,
    };
    for object in found["objects"].as_array().unwrap() {
        let object = object.clone();
        match object["kind"].as_str().unwrap() {
            "Rollout" => dump.rollout = tolerant(object).0,
            "ReplicaSet" => dump.objects.replica_sets.push(object),
            "Pod" => dump.objects.pods.push(object),
            "AnalysisRun" => dump.objects.analysis_runs.push(object),
            "Experiment" => dump.objects.experiments.push(object),
            _ => dump.others.push(object),
        }
    }
    let created = Timestamp::from(dump.rollout.metadata.creation_timestamp.unwrap());
    dump.now = created + jiff::SignedDuration::from_mins(1);
    dump
}
