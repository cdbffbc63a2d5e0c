//! What kubectl's YAML reader (`sigs.k8s.io/yaml`, strict) made of the same texts.
//!
//! Each line of `kubectl.jsonl` has the text as `yaml`, and its answer as `json` or `error`. Where we answer
//! otherwise, `ours` has our own, and `why` the reason.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use serde_json::Value;
use tidegate_manifests::{Limits, read};

/// Numbers by value, since Go writes floats beyond 2^53 as integers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (!(a.is_i64() && b.is_i64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn reads_what_kubectl_reads() {
    let mut wrong = Vec::new();
    let mut lines = 0;
    for line in include_str!("../testdata/kubectl.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        lines += 1;
        let ours = read("f", line["yaml"].as_str().unwrap(), &Limits::default());
        let right = match (&ours, line.get("ours").or(line.get("json"))) {
            (Ok(documents), Some(json)) => documents.len() == 1 && same(&documents[0].value, json),
            (Err(error), Some(Value::String(message))) if line.get("ours").is_some() => {
                error.to_string() == *message
            }
            (Err(_), None) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!(
                "{line}\n    {:?}",
                ours.map(|documents| documents[0].value.clone())
            ));
        }
    }
    assert!(lines > 120, "{lines}");
    assert!(
        wrong.is_empty(),
        "{} of {lines}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
