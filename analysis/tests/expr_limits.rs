//! Whatever a tenant writes as a condition, the controller answers it soon and goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use proptest::prelude::*;
use tidegate_analysis::expr::{Env, Kind, MAX_SOURCE, Program, Value};

fn run(source: &str, result: Value) -> Result<Value, String> {
    let env = Env {
        result,
        now: Timestamp::UNIX_EPOCH,
    };
    let program = Program::compile(source, Kind::Condition).map_err(|error| error.to_string())?;
    program.run(&env).map_err(|error| error.to_string())
}

/// Runs within a stack of the size that a worker of the controller has, and within a few seconds even when unoptimized.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn error_of(source: &str) -> String {
    let source = source.to_owned();
    let begin = Instant::now();
    let answer = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            run(&source, Value::from("x".repeat(100_000)))
                .map(|_| ())
                .unwrap_err()
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    answer
}

const DEEP: &str = "expression is nested too deeply: at most 128 levels are allowed";
const MEMORY: &str = "memory budget exceeded";
const STEPS: &str = "step budget exceeded";

/// Each of these sources ends with this error; with none where the text is empty.
fn end_with<'e>(cases: impl IntoIterator<Item = (String, &'e str)>) {
    for (source, expected) in cases {
        let shown: String = source.chars().take(60).collect();
        if expected.is_empty() {
            assert!(run(&source, Value::Nil).is_ok(), "{shown}");
        } else {
            assert_eq!(error_of(&source), expected, "{shown}");
        }
    }
}

#[test]
fn sources_that_are_too_deep_or_too_long_are_errors() {
    let nested = |open: &str, close: &str| {
        let levels = 16_000 / (open.len() + close.len());
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    };
    end_with([
        ("(".repeat(5000), DEEP),
        (nested("(", ")"), DEEP),
        (nested("[", "]"), DEEP),
        (nested("{a:", "}"), DEEP),
        (nested("abs(", ")"), DEEP),
        (nested("map([1], {", "})"), DEEP),
        (nested("if true {", "} else {1}"), DEEP),
        ("-".repeat(5000) + "1", DEEP),
        ("not ".repeat(3000) + "true", DEEP),
        ("true ? ".repeat(2000) + "1", DEEP),
        ("2 ** ".repeat(3000) + "1", DEEP),
        ("let a = ".repeat(1500), DEEP),
        (
            "1 + ".repeat(4000) + "1 + ".repeat(80).as_str() + "[]",
            "invalid operation: + (mismatched types int and []interface {})",
        ),
        (
            "1+".repeat(5500) + "1",
            "compilation failed: expression exceeds maximum allowed nodes",
        ),
        (
            "x".repeat(MAX_SOURCE + 1),
            "expression is longer than 16384 bytes",
        ),
    ]);
}

#[test]
fn bombs_are_errors() {
    end_with([
        ("len(1..200000000)".to_owned(), MEMORY),
        (
            "len(-9223372036854775807..9223372036854775807)".to_owned(),
            MEMORY,
        ),
        ("repeat('ab', 900000)".to_owned(), MEMORY),
        ("repeat(result, 9223372036854775807)".to_owned(), MEMORY),
        (
            "reduce(1..60, #acc + #acc, 'xxxxxxxxxxxxxxxx')".to_owned(),
            MEMORY,
        ),
        ("reduce(1..60, concat(#acc, #acc), [1])".to_owned(), MEMORY),
        (
            "reduce(1..60, replace(#acc, 'x', 'xx'), 'xxxxxxxx')".to_owned(),
            MEMORY,
        ),
        (
            "reduce(1..1000, [#acc], 1)".to_owned(),
            "value is nested too deeply",
        ),
        (
            "reduce(1..100, [#acc, #acc], 1) == reduce(1..100, [#acc, #acc], 1)".to_owned(),
            STEPS,
        ),
        ("flatten(reduce(1..100, [#acc, #acc], 1))".to_owned(), MEMORY),
        ("string(reduce(1..100, [#acc, #acc], 1))".to_owned(), STEPS),
        ("toJSON(reduce(1..100, [#acc, #acc], 1))".to_owned(), STEPS),
        ("max(reduce(1..100, [#acc, #acc], 1))".to_owned(), STEPS),
        ("median(reduce(1..100, [#acc, #acc], 1))".to_owned(), MEMORY),
        ("uniq(1..900000)".to_owned(), STEPS),
        ("let a = 1..1000; all(a, all(a, all(a, true)))".to_owned(), STEPS),
        ("filter(1..100000, 'a' matches string(#))".to_owned(), STEPS),
        ("all(1..100000, result contains 'y' == false)".to_owned(), STEPS),
        ("all(1..100000, result matches 'y' == false)".to_owned(), STEPS),
        (
            "all(1..100000, len(trim(result, 'abcdefgh')) > 0)".to_owned(),
            STEPS,
        ),
        ("all(1..100000, len(split(result, 'y')) > 0)".to_owned(), MEMORY),
        ("map(1..900, repeat('a', 900))".to_owned(), ""),
        (
            r"'a' matches '(\\pL{100}){100}'".to_owned(),
            "error parsing regexp: compiled pattern is larger than 262144 bytes",
        ),
    ]);
}

#[test]
fn messages_are_short() {
    for source in [
        "asInt(result)",
        "result > 1",
        "[result] | asInt()",
        "asFloat(result + 'é')",
    ] {
        let answer = run(source, Value::from("é".repeat(100_000))).unwrap_err();
        assert!(answer.len() < 1100, "{source}: {}", answer.len());
    }
    assert!(run(&"x".repeat(16_000), Value::Nil).unwrap_err().len() < 1100);
}

/// What fits the limits works, in the same small stack.
#[test]
fn the_deepest_and_longest_that_is_allowed() {
    let deepest = format!("{}result{}", "(".repeat(120), ")".repeat(120));
    let longest = vec!["true"; 2000].join(" && ");
    let chain = format!("{{}}{}", "?.a".repeat(4000));
    let pipes = format!("1{}", " | string()".repeat(1400));
    let all = format!("{}true{}", "all([1], {".repeat(60), "})".repeat(60));
    for source in [deepest, longest, chain, pipes, all] {
        let answer = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || run(&source, Value::Bool(true)).map(|_| ()))
            .unwrap()
            .join()
            .unwrap();
        assert_eq!(answer, Ok(()));
    }
}

const TOKENS: [&str; 96] = [
    "result",
    "1",
    "0",
    "-1",
    "2.5",
    "'a'",
    "\"b\"",
    "`c`",
    "b'x'",
    "true",
    "false",
    "nil",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    ".",
    "?.",
    "?",
    "??",
    "|",
    "..",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "^",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "in",
    "not",
    "and",
    "or",
    "&&",
    "||",
    "!",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "let",
    "x",
    "=",
    "if",
    "else",
    "#",
    "#index",
    "#acc",
    "$env",
    "::",
    "len",
    "all",
    "any",
    "map",
    "filter",
    "reduce",
    "sum",
    "sortBy",
    "groupBy",
    "find",
    "count",
    "max",
    "mean",
    "sort",
    "date",
    "duration",
    "now()",
    "string",
    "toJSON",
    "split",
    "join",
    "repeat",
    "asInt",
    "asFloat",
    "default",
    "isNil",
    "9223372036854775807",
    "1e308",
    "999999",
    "a",
    "foo",
    "'2020-01-01'",
    "'1h'",
    "keys",
    "flatten",
];

fn results() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Nil),
        Just(Value::Float(1.5)),
        Just(Value::floats([1.0, f64::NAN])),
        Just(Value::from("text")),
        Just(Value::from_json(&serde_json::json!({"a": [1, {"x": "y"}], "foo": null})).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(source in any::<String>(), result in results()) {
        let _ = run(&source, result);
    }

    #[test]
    fn any_tokens_are_answered(words in prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..40), result in results()) {
        let _ = run(&words.join(" "), result);
    }

    /// Calls that parse, with any arguments.
    #[test]
    fn any_call_is_answered(
        name in prop::sample::select(&FUNCTIONS[..]),
        args in prop::collection::vec(prop::sample::select(&ARGUMENTS[..]), 0..4),
        result in results(),
    ) {
        let _ = run(&format!("{name}({})", args.join(", ")), result);
    }

    #[test]
    fn any_operation_is_answered(
        a in prop::sample::select(&ARGUMENTS[..]),
        op in prop::sample::select(&OPERATORS[..]),
        b in prop::sample::select(&ARGUMENTS[..]),
        result in results(),
    ) {
        let _ = run(&format!("{a} {op} {b}"), result.clone());
        // known only at run time, so that no check comes before
        let _ = run(&format!("[nil, {a}][1] {op} [nil, {b}][1]"), result.clone());
        let _ = run(&format!("({a})[{b}]"), result.clone());
        let _ = run(&format!("[nil, {a}][1][{b}:]"), result);
    }
}

const OPERATORS: [&str; 23] = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "in",
    "not in",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "..",
    "??",
    "and",
    "or",
    "|",
];

const ARGUMENTS: [&str; 36] = [
    "result",
    "nil",
    "true",
    "1",
    "-1",
    "0",
    "2.5",
    "-9223372036854775807 - 1",
    "9223372036854775807",
    "0/0",
    "1/0",
    "'a'",
    "''",
    "'é🙂'",
    "','",
    "'desc'",
    "'2006-01-02T15:04:05.999Z07:00'",
    "'2023-08-14'",
    "'Europe/Zurich'",
    "'1h'",
    "b'x\\xff'",
    "[]",
    "[1, 2.5]",
    "['a', 'b']",
    "[[1, 2], ['a', 3]]",
    "{a: 1}",
    "1..5",
    "duration('1h')",
    "now()",
    "timezone('UTC')",
    "now().Month()",
    "now().Weekday()",
    "date('0001-01-01')",
    "#",
    "# > 1",
    "fromPairs([[1, 2]])",
];

const FUNCTIONS: [&str; 88] = [
    "all",
    "none",
    "any",
    "one",
    "filter",
    "map",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "count",
    "sum",
    "groupBy",
    "sortBy",
    "reduce",
    "len",
    "type",
    "abs",
    "ceil",
    "floor",
    "round",
    "int",
    "float",
    "string",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "upper",
    "lower",
    "split",
    "splitAfter",
    "replace",
    "repeat",
    "join",
    "indexOf",
    "lastIndexOf",
    "hasPrefix",
    "hasSuffix",
    "max",
    "min",
    "mean",
    "median",
    "toJSON",
    "fromJSON",
    "toBase64",
    "fromBase64",
    "now",
    "duration",
    "date",
    "timezone",
    "first",
    "last",
    "get",
    "take",
    "keys",
    "values",
    "toPairs",
    "fromPairs",
    "reverse",
    "uniq",
    "concat",
    "flatten",
    "sort",
    "bitand",
    "bitor",
    "bitxor",
    "bitnand",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitnot",
    "asInt",
    "asFloat",
    "isNaN",
    "isInf",
    "isNil",
    "default",
    "now().AddDate",
    "now().Round",
    "now().Truncate",
    "now().Add",
    "now().Format",
    "now().In",
    "now().Sub",
    "duration('90m').Round",
    "duration('90m').Truncate",
    "duration('90m').Abs",
    "now().Compare",
];
