//! The corpus of the crate `expr-lang`, which was made with Go's expr-lang v1.17.8 and an empty environment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tidegate_analysis::expr::{Env, Kind, Program, Value};

/// Cases that we answer otherwise, and why.
const DIFFERENT: [(&str, &str); 6] = [
    (
        "false and unknown",
        "unknown names are refused before the expression runs, as upstream's environment has it",
    ),
    ("true or unknown", "the same"),
    (
        "date(\"4 Aug 2023 PST\", \"2 Jan 2006 MST\").Format(\"MST -0700\")",
        "made-up zone names are not kept",
    ),
    (
        "date(\"2023-08-14\").Local().Location().String()",
        "the local zone is UTC and says so",
    ),
    ("timezone(\"Local\").String()", "the same"),
    (
        "date(\"2023-08-14\", \"2006-01-02\", \"Local\").Location().String()",
        "the same",
    ),
];

fn run(expression: &str) -> Result<Value, String> {
    let env = Env {
        result: Value::Nil,
        now: Timestamp::UNIX_EPOCH,
    };
    let program =
        Program::compile(expression, Kind::Condition).map_err(|error| format!("compile: {error}"))?;
    program.run(&env).map_err(|error| format!("run: {error}"))
}

/// Go's JSON of a value, as the corpus has it.
fn canonical(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(i) => json!(i),
        Value::Float(f) => json!(f),
        Value::Str(s) => json!(&**s),
        Value::List(list) => list.items().iter().map(canonical).collect(),
        Value::Map(map) => Json::Object(
            map.entries()
                .map(|(k, v)| (k.to_string(), canonical(v)))
                .collect(),
        ),
        Value::Duration(nanos) => json!(nanos),
        Value::Month(n) | Value::Weekday(n) => json!(n),
        Value::Time(time) => {
            let text = time.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string();
            json!(
                text.strip_suffix("+00:00")
                    .map_or(text.clone(), |text| format!("{text}Z"))
            )
        }
        Value::Bytes(bytes) => match run(&format!("fromJSON(toJSON(b\"{}\"))", escaped(bytes))) {
            Ok(value) => canonical(&value),
            Err(error) => json!(error),
        },
        Value::Zone(_) => json!({}),
    }
}

fn escaped(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\x{byte:02x}").unwrap();
        text
    })
}

/// Numbers compare by value: the corpus writes the float 2.0 as 2.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn values_are_those_of_the_corpus() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in include_str!("../testdata/expr/compat-cases.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (expression, expected) = line.split_once('\t').unwrap();
        cases += 1;
        if DIFFERENT.iter().any(|(different, _)| *different == expression) {
            continue;
        }
        let expected: Json = serde_json::from_str(expected).unwrap();
        match run(expression) {
            Ok(value) if same(&canonical(&value), &expected) => {}
            other => wrong.push(format!("{expression}\n    {expected}\n    {other:?}")),
        }
    }
    assert!(cases > 250, "{cases}");
    assert!(
        wrong.is_empty(),
        "{} of {cases}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_the_corpus_refuses_is_refused() {
    let accepted: Vec<_> = include_str!("../testdata/expr/compat-errors.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && run(line).is_ok())
        .collect();
    assert_eq!(accepted, [""; 0]);
}
