use serde_json::{Value, json};

use super::*;

/// What one Delivery's plan has, in the tests.
const PLENTY: u64 = 1_000_000;

fn object() -> Value {
    json!({
        "metadata": {"name": "a", "generation": 3, "labels": {"app": "web"}},
        "spec": {"replicas": 2},
        "status": {
            "phase": "Running", "ready": 2, "ratio": 0.5, "observedGeneration": "3", "nothing": null,
            "conditions": [
                {"type": "Ready", "status": "True", "message": "all is well"},
                {"type": "Synced", "status": "False"},
            ],
        },
    })
}

fn ask(text: &str) -> Result<bool, String> {
    let expression = Expression::parse(text).map_err(|problem| problem.to_string())?;
    expression.holds(&object(), &Budget::new(PLENTY))
}

#[test]
fn what_is_true() {
    for text in [
        "status.phase == 'Running'",
        "status['phase'] == \"Running\" // with a remark",
        "status.phase in ['Running', 'Done'] && !('x' in metadata.labels) && 'app' in metadata.labels",
        "status.ready >= spec.replicas && status.ready == 2.0 && status.ratio < 1 && 1 < 1.5",
        "has(status.phase) && !has(status.other) && has(status.nothing)",
        "status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "status.conditions.exists_one(c, c.status == 'True')",
        "!status.conditions.all(c, c.status == 'True')",
        "status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'False')",
        "status.conditions.map(c, c.type) == ['Ready', 'Synced']",
        "status.conditions.map(c, c.status == 'True', c.type + '!').join(',') == 'Ready!'",
        "size(status.conditions) == 2 && status.phase.size() == 7 && size({'a': 1}) == 1",
        "status.conditions[0].message.startsWith('all') && status.conditions[0].message.endsWith('well')",
        "status.phase.contains('unn') && status.phase.matches('^R[a-z]+$') && matches(status.phase, 'R.n')",
        "int(status.observedGeneration) == metadata.generation && string(status.ready) == '2'",
        "status.phase.lowerAscii() == 'running' && ' a '.trim() == 'a' && 'a,b'.split(',') == ['a', 'b']",
        "status.?phase.orValue('') == 'Running' && status.?other.?more.orValue(7) == 7 && !status.?x.hasValue()",
        "status.conditions[?9].hasValue() == false && status[?'phase'].hasValue()",
        "status.ready > 1 ? status.phase == 'Running' : false",
        "1 + 2 * 3 == 7 && -(2 - 5) == 3 && 7 % 4 == 3 && 7 / 2 == 3 && 0x10 == 16 && 1e1 == 10.0 && 3u == 3",
        "r'\\d' == '\\\\d' && '\\u00e9' == 'é' && '''a'b''' == \"a'b\"",
        "status.nothing == null && status.phase != 1 && {'a': [1]} == {'a': [1.0]}",
        "metadata.labels.exists(key, key == 'app')",
        // what settles it makes up for what is wrong elsewhere
        "status.missing == 1 || true",
        "!(status.missing == 1 && false)",
        "status.conditions.exists(c, c.message == 'all is well' || c.missing)",
    ] {
        assert_eq!(ask(text), Ok(true), "{text}");
    }
}

#[test]
fn what_cannot_be_answered() {
    for (text, expected) in [
        ("data.x == 1", "the object has no data"),
        ("status.x == 1", "there is no x"),
        ("status.phase.x == 1", "a string has no field x"),
        ("status.conditions[2].type == 'a'", "there is no item 2 among 2"),
        ("status.conditions[-1].type == 'a'", "there is no item -1 among 2"),
        ("status.phase", "gives a string: it has to be true or false"),
        ("status.phase > 1", "a string and an int cannot be compared"),
        (
            "status.ready + 'a' == 'a'",
            "an int and a string cannot be reckoned with",
        ),
        ("1 / 0 == 1", "division by zero"),
        (
            "9223372036854775807 + 1 > 0",
            "the number does not fit into 64 bits",
        ),
        (
            "(-9223372036854775807 - 1) / -1 > 0",
            "the number does not fit into 64 bits",
        ),
        (
            "-(-9223372036854775807 - 1) > 0",
            "the number does not fit into 64 bits",
        ),
        ("int(1e300) > 0", "the number does not fit into 64 bits"),
        ("int('x') > 0", "int() of a string that is no whole number"),
        ("status.phase.all(c, true)", "a string has no items to go through"),
        ("status.ready && true", "an int where true or false is needed"),
        ("size(status.ready) > 0", "size() does not work on an int"),
        ("status.missing == 1 && true", "there is no missing"),
    ] {
        assert_eq!(ask(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_expression() {
    for (text, expected) in [
        ("", "at character 1: a value is missing before the end"),
        ("status.", "at character 8: a name is missing before the end"),
        ("a == ", "at character 6: a value is missing before the end"),
        (
            "a b",
            "at character 3: `b` is too much: the expression ends before it",
        ),
        (
            "é",
            "at character 1: 'é' means nothing here: put texts into quotes",
        ),
        (
            "'é' & a",
            "at character 5: '&' means nothing here: put texts into quotes",
        ),
        ("'abc", "at character 1: the text has no end: close it with '"),
        (
            "'\\q'",
            "at character 2: this escape is not known: use \\n, \\t, \\\", \\\\ or \\u00E9, or write the text as r\"…\"",
        ),
        (
            "99999999999999999999",
            "at character 1: 99999999999999999999 is no number that fits into 64 bits",
        ),
        (
            "has(a)",
            "at character 1: has() asks for a field of something: write it as has(status.phase)",
        ),
        (
            "a.all(c.d, true)",
            "at character 3: all() begins with a name for the items: write it as all(c, c.status == \"True\")",
        ),
        (
            "a.matches(b)",
            "at character 3: the pattern of matches() has to be a text in quotes",
        ),
        ("a.matches('(')", "at character 3: \"(\" is no regular expression"),
        (
            "a.matches('(x{100}){100}')",
            "at character 3: the pattern takes too much work: use smaller counts",
        ),
    ] {
        assert_eq!(ask(text), Err(expected.to_owned()), "{text}");
    }
    let unknown = ask("now() > 1").unwrap_err();
    assert!(
        unknown.starts_with("at character 1: now() is not known like this: there are has, all,"),
        "{unknown}"
    );
    let long = ask(&format!("'{}' == ''", "x".repeat(1024))).unwrap_err();
    assert_eq!(long, "at character 1: is 1032 bytes long: at most 1024 are taken");
}

#[test]
fn nothing_is_nested_without_limit() {
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{'a':", "1", "}"),
        ("-", "1", ""),
        ("!", "true", ""),
        ("", "a", ".b"),
        ("", "a", "[0]"),
        ("1+", "1", ""),
        ("1<", "1", ""),
        ("true?1:", "1", ""),
        ("", "a", ".trim()"),
        ("a.map(x,", "1", ")"),
        ("{", "", ""),
        ("((!!", "", ""),
    ] {
        let times = (MAX_LENGTH - inner.len()) / (open.len() + close.len());
        let text = format!("{}{inner}{}", open.repeat(times), close.repeat(times));
        let answer = ask(&text).unwrap_err();
        assert!(
            answer.contains("is nested deeper than"),
            "{open}{inner}{close}: {answer}"
        );
    }
    // wide is not deep
    let wide = vec!["true"; 100].join("&&");
    assert_eq!(ask(&wide), Ok(true));
}

/// An object as large as an API server takes, and what can be asked of it at most.
#[test]
fn the_worst_expressions_come_to_an_end() {
    let numbers: Vec<u32> = (0..100_000).collect();
    let object = json!({"a": numbers, "t": "x".repeat(1 << 20), "s": "ab".repeat(2000), "m": vec!["ab".repeat(2000); 100]});
    let nested = |depth: usize| {
        let inner = "a.all(x, x >= 0)".to_owned();
        (0..depth).fold(inner, |inner, _| format!("a.all(x, {inner})"))
    };
    let doubled = (0..20).fold("t".to_owned(), |text, _| format!("({text}+t)"));
    let worst = [
        nested(0),
        nested(20),
        "a.map(x, a.map(y, a)).size() > 0".to_owned(),
        "a.map(x, t + t).size() > 0".to_owned(),
        format!("{doubled} == t"),
        "a == a && a == a && a == a && a == a".to_owned(),
        "a.map(x, a) == a.map(x, a)".to_owned(),
        "a.all(x, !(x in a) || x in a)".to_owned(),
        "a.all(x, t.contains('xxxxxxxxxxxxxxxy') == false)".to_owned(),
        "a.all(x, s.matches('(a?b?){40}(ab|ba)*c$') == false)".to_owned(),
        "m.all(x, x.matches('([ab]{3}|[ab]{5}|[ab]{7}){12}c$') == false)".to_owned(),
        "t.split('').size() > 0".to_owned(),
        "a.map(x, t.split('')).size() > 0".to_owned(),
        "a.all(x, x.y == 1)".to_owned(),
        "a.all(x, {t: x}[t] == x)".to_owned(),
        "a.map(x, string(x)).join(t) == ''".to_owned(),
        "a.map(x, a.map(y, {'a': {'b': {'c': x}}})) == []".to_owned(),
        "a.all(x, !''.matches('[a-z]{60}{3}'))".to_owned(),
    ];
    for text in worst {
        let expression = Expression::parse(&text).unwrap();
        let budget = Budget::new(PLENTY);
        let answer = expression.holds(&object, &budget);
        let spent = PLENTY - budget.0.get();
        assert!(spent > 10_000 && spent < 2 * MOST_STEPS, "{text}: {spent}");
        let refusal = "takes more than 100000 steps on this object: let it look at less";
        assert_eq!(answer, Err(refusal.to_owned()), "{text}");
    }
}

#[test]
fn a_plan_has_a_budget_for_all() {
    let object = json!({"a": (0..1000).collect::<Vec<u32>>()});
    let expression = Expression::parse("a.all(x, x >= 0)").unwrap();
    let budget = Budget::new(10_000);
    assert_eq!(expression.holds(&object, &budget), Ok(true));
    let answers: Vec<_> = (0..9).map(|_| expression.holds(&object, &budget)).collect();
    let refusal = "is not asked any more: the health checks of this Delivery take too many steps together";
    assert_eq!(answers.last(), Some(&Err(refusal.to_owned())));
    assert_eq!(
        Expression::parse("true").unwrap().holds(&object, &budget),
        Err(refusal.to_owned())
    );
}
