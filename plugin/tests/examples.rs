//! `examples/`: everything there is valid, and nothing in it is lost by the types.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{command, run};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_crds::{AnalysisTemplate, Delivery, Rollout};
use tidegate_manifests::{Limits, read};

/// The files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The folders, and those in them.
fn folders() -> Vec<PathBuf> {
    let below = |folder: &Path| {
        files(folder)
            .into_iter()
            .filter(|path| path.is_dir())
            .collect::<Vec<_>>()
    };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut folders = below(&examples);
    assert!(folders.len() >= 3, "{folders:?}");
    let inner: Vec<PathBuf> = folders.iter().flat_map(|folder| below(folder)).collect();
    folders.extend(inner);
    folders
}

#[test]
fn they_lint_clean() {
    for folder in folders() {
        for path in files(&folder).iter().chain([&folder]) {
            let ran = run(command(&["lint", path.to_str().unwrap()]));
            assert_eq!(ran.ok(), "", "{}", path.display());
        }
    }
}

fn through<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let object: T = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(object).unwrap()
}

#[test]
fn they_round_trip() {
    let mut kinds = Vec::new();
    let files = folders().into_iter().flat_map(|folder| files(&folder));
    for file in files.filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in read(&file.display().to_string(), &text, &Limits::default()).unwrap() {
            let value = document.value;
            let kind = value["kind"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "Rollout" => assert_eq!(through::<Rollout>(&value), value, "{}", file.display()),
                "AnalysisTemplate" => {
                    assert_eq!(through::<AnalysisTemplate>(&value), value, "{}", file.display());
                }
                "Delivery" => assert_eq!(through::<Delivery>(&value), value, "{}", file.display()),
                "Service" | "Ingress" | "ConfigMap" | "Secret" | "ServiceAccount" | "Role"
                | "RoleBinding" => {}
                other => panic!("{other} in {}", file.display()),
            }
            kinds.push(kind);
        }
    }
    for kind in ["Rollout", "AnalysisTemplate", "Delivery", "Service", "Ingress"] {
        assert!(kinds.iter().any(|one| one == kind), "no {kind}");
    }
}
