//! Differential test against the crate `expr-lang`, on the part of the language where it is right: arithmetic,
//! comparison, strings, lists and predicates without leading dots, all within small numbers.

use expr::Context;
use jiff::Timestamp;
use proptest::prelude::*;
use tidegate_analysis::expr::{Env, Kind, Program, Value};

fn ours(source: &str) -> Option<String> {
    let env = Env {
        result: Value::Nil,
        now: Timestamp::UNIX_EPOCH,
    };
    let value = Program::compile(source, Kind::Condition).ok()?.run(&env).ok()?;
    Some(shown(&value))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Int(i) => format!("{:?}", *i as f64),
        Value::Float(f) => format!("{f:?}"),
        Value::List(list) => format!(
            "[{}]",
            list.items().iter().map(shown).collect::<Vec<_>>().join(",")
        ),
        Value::Str(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn theirs(source: &str) -> Option<String> {
    fn shown(value: &expr::Value) -> String {
        match value {
            expr::Value::Nil => "<nil>".to_owned(),
            expr::Value::Bool(b) => b.to_string(),
            expr::Value::Integer(i) => format!("{:?}", *i as f64),
            expr::Value::Float(f) => format!("{f:?}"),
            expr::Value::String(text) => format!("{text:?}"),
            expr::Value::Array(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            other => format!("{other:?}"),
        }
    }
    expr::eval(source, &Context::default())
        .ok()
        .map(|value| shown(&value))
}

fn number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (-20i32..20).prop_map(|i| format!("({i})")),
        (0i32..40).prop_map(|i| format!("{}", f64::from(i) / 4.0)),
        Just("len('abc')".to_owned()),
        Just("sum([1, 2, 3])".to_owned()),
        Just("max(1, 2.5)".to_owned()),
        Just("count([1, 2, 3], # > 1)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(&["+", "-", "*", "/"][..]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.prop_map(|a| format!("floor({a})")),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (
            number(),
            prop::sample::select(&["<", ">", "<=", ">=", "==", "!="][..]),
            number()
        )
            .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (number(), number()).prop_map(|(a, b)| format!("({a}) in [{b}, 1, 2]")),
        prop::sample::select(&["a", "b", "abc"][..]).prop_map(|s| format!("'{s}' contains 'b'")),
        prop::sample::select(&["a", "b", "abc"][..]).prop_map(|s| format!("upper('{s}') startsWith 'A'")),
        prop::sample::select(&["all", "any", "none", "one"][..])
            .prop_map(|f| format!("{f}([1, 2, 3], # > 1)")),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(&["and", "or", "&&", "||"][..]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("not ({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn numbers_agree(source in number()) {
        prop_assert_eq!(ours(&source), theirs(&source), "{}", source);
    }

    #[test]
    fn conditions_agree(source in condition()) {
        prop_assert_eq!(ours(&source), theirs(&source), "{}", source);
    }
}
