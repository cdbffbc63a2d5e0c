//! What client-go v0.34.5 selects, whose `util/jsonpath` upstream's web metrics use.
//!
//! The first line of `recorded.jsonl` is the document; each other one is a path with `value`, what upstream takes as the result, or
//! `refused: true`, or `none: true`. `ours` is our value where it is another one: each is named in `docs/compatibility.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::Value;
use tidegate_analysis::jsonpath::Path;

fn select(path: &str, document: &Value) -> Option<Value> {
    Path::parse(path).ok()?.first(document).ok()?.cloned()
}

#[test]
fn paths_select_what_upstream_selects() {
    let mut lines = include_str!("../testdata/jsonpath/recorded.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let document = lines.next().unwrap()["document"].clone();
    let mut wrong = Vec::new();
    for line in lines {
        let expected = line
            .get("ours")
            .or(line.get("value"))
            .filter(|ours| **ours != "refused");
        let ours = select(line["path"].as_str().unwrap(), &document);
        if !same(ours.as_ref(), expected) {
            wrong.push(format!("{line}\n    ours: {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Numbers by value: Go has no other numbers than floats here.
fn same(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    match (ours, theirs) {
        (Some(Value::Number(ours)), Some(Value::Number(theirs))) => ours.as_f64() == theirs.as_f64(),
        (ours, theirs) => ours == theirs,
    }
}
