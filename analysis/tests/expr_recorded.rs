//! What Go's expr-lang v1.17.8 answered, compiled with the environment of upstream's `EvalCondition` (contract 3.12).
//!
//! Each line of `recorded.jsonl` is one evaluation: `expr`, `result` (of `kind` json when there is none: the numbers
//! are floats; `floats` and `float` are written as strings, for NaN), and either `value`, with the type of every
//! number, or `error`, its message after `compile: ` or `run: `. `ours` is our own message where it is another one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tidegate_analysis::expr::{Env, EvalError, Kind, Program, Value};

fn result(line: &Json) -> Value {
    let result = &line["result"];
    let float = |text: &Json| text.as_str().unwrap().parse::<f64>().unwrap();
    match line["kind"].as_str() {
        None => Value::from_json(result).unwrap(),
        Some("floats") => Value::floats(result.as_array().unwrap().iter().map(float)),
        Some("float") => Value::Float(float(result)),
        Some("int") => Value::Int(result.as_i64().unwrap()),
        Some(other) => panic!("unknown kind {other}"),
    }
}

/// The value with the type of every number, as the recorder wrote it.
fn typed(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Str(s) => json!(&**s),
        Value::Int(i) => json!({"int": i.to_string()}),
        Value::Float(f) => json!({"float": format!("{f:?}")}),
        Value::List(list) => json!({"array": list.items().iter().map(typed).collect::<Vec<_>>()}),
        Value::Map(map) => {
            let entries = map
                .entries()
                .map(|(key, value)| (key.to_string(), typed(value)))
                .collect();
            json!({"map": Json::Object(entries)})
        }
        Value::Duration(nanos) => json!({"duration": nanos.to_string()}),
        Value::Time(time) => json!({"time": time.timestamp().to_string(), "offset": time.offset().seconds()}),
        other => panic!("no such value was recorded: {other:?}"),
    }
}

/// The recorded value in the same terms: floats as numbers where they are finite, times as instants.
fn recorded(value: &Json) -> Json {
    match value {
        Json::Object(object) => {
            if let Some(float) = object.get("float") {
                return json!({"float": format!("{:?}", float.as_str().unwrap().parse::<f64>().unwrap())});
            }
            if let Some(time) = object.get("time") {
                let time = time.as_str().unwrap();
                let stamp: Timestamp = time.parse().unwrap();
                let offset = stamp.to_zoned(jiff::tz::TimeZone::UTC).datetime();
                let civil: jiff::civil::DateTime =
                    time.trim_end_matches('Z').get(..19).unwrap().parse().unwrap();
                let seconds = civil
                    .duration_since(offset.with().subsec_nanosecond(0).build().unwrap())
                    .as_secs();
                return json!({"time": stamp.to_string(), "offset": seconds});
            }
            Json::Object(
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), recorded(value)))
                    .collect(),
            )
        }
        Json::Array(items) => Json::Array(items.iter().map(recorded).collect()),
        other => other.clone(),
    }
}

/// What we answer.
fn answer(line: &Json) -> Result<Value, EvalError> {
    let env = Env {
        result: result(line),
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
    };
    Program::compile(line["expr"].as_str().unwrap(), Kind::Condition)?.run(&env)
}

/// Random expressions over random results. Each line of `random.jsonl` has `value`, or `error: true`; of what is answered otherwise,
/// `named` says under which name `docs/compatibility.md` has it.
#[test]
fn random_expressions_are_answered_as_upstream_does() {
    let mut wrong = Vec::new();
    for line in include_str!("../testdata/expr/random.jsonl").lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let ours = answer(&line);
        let same = match &ours {
            Ok(value) => line.get("value").map(recorded) == Some(typed(value)),
            Err(_) => line.get("error").is_some(),
        };
        if same == line.get("named").is_some() {
            wrong.push(format!("{line}\n    ours: {:?}", ours.map(|value| typed(&value))));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn answers_as_upstream_does() {
    let mut wrong = Vec::new();
    let mut lines = 0;
    for line in include_str!("../testdata/expr/recorded.jsonl").lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        lines += 1;
        let ours = answer(&line);
        match (&ours, line.get("error")) {
            (Ok(value), None) if typed(value) == recorded(&line["value"]) => {}
            (Err(error), Some(theirs)) => {
                let theirs = theirs.as_str().unwrap();
                let theirs = theirs
                    .strip_prefix("compile: ")
                    .or(theirs.strip_prefix("run: "))
                    .unwrap();
                let expected = line
                    .get("ours")
                    .map_or(theirs.trim(), |ours| ours.as_str().unwrap());
                if error.to_string() != expected {
                    wrong.push(format!("{line}\n    ours: {error}"));
                }
            }
            _ => wrong.push(format!("{line}\n    ours: {ours:?}")),
        }
    }
    assert!(lines > 500, "{lines}");
    assert!(
        wrong.is_empty(),
        "{} of {lines}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
