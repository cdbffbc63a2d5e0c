//! `lint`: what it finds, where, and its exit code.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::process::Stdio;

use common::{Ran, command, run, same_as_file};
use serde_json::{Value, json};

fn lint(arguments: &[&str]) -> Ran {
    run(command(&[&["lint"], arguments].concat()))
}

#[test]
fn a_good_file_is_quiet() {
    assert_eq!(lint(&["lint/good.yaml"]).ok(), "");
    assert_eq!(lint(&["-f", "lint/good.yaml"]).ok(), "");
}

#[test]
fn what_is_wrong_has_a_place() {
    for file in [
        "bad-metrics",
        "bad-references",
        "bad-spec",
        "bad-types",
        "bad-yaml",
        "doubtful-metrics",
    ] {
        let ran = lint(&[&format!("lint/{file}.yaml")]);
        assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{file}");
        same_as_file(&format!("lint/{file}.txt"), &ran.stdout);
    }
}

#[test]
fn a_directory_is_all_its_files() {
    let files = [
        "lint/bad-metrics.yaml",
        "lint/bad-references.yaml",
        "lint/bad-spec.yaml",
        "lint/bad-types.yaml",
        "lint/bad-yaml.yaml",
        "lint/doubtful-metrics.yaml",
        "lint/good.yaml",
    ];
    let (together, directory) = (lint(&files), lint(&["lint"]));
    assert_eq!(directory.code, 1);
    assert_eq!(directory, together);
}

#[test]
fn for_programs() {
    let ran = lint(&["lint/bad-yaml.yaml", "-o", "json"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code, 1);
    let place = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["file"], one["line"], one["path"]]));
    assert_eq!(place.collect::<Vec<_>>(), [json!(["lint/bad-yaml.yaml", 3, ""])]);
    assert_eq!(lint(&["lint/good.yaml", "-o", "json"]).ok(), "[]\n");
    assert_eq!(lint(&["lint/good.yaml", "-o", "yaml"]).ok(), "[]\n");
}

#[test]
fn standard_input() {
    let mut command = command(&["lint", "-"]);
    let file = std::fs::File::open(common::testdata().join("lint/bad-yaml.yaml")).unwrap();
    command.stdin(Stdio::from(file));
    let ran = run(command);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.starts_with("stdin:3:"), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_read() {
    let ran = lint(&["lint/none.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr.starts_with("Error: cannot read lint/none.yaml: "),
        "{}",
        ran.stderr
    );
    assert_eq!(lint(&[]).code, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let ran = lint(&[path]);
    let said = format!("Error: no .yaml, .yml or .json file in {path}; folders in it are not read\n");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr), (1, "", said));
}
