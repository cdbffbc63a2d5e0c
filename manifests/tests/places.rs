//! Places of values, of keys, and of what is not there.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use tidegate_manifests::{Document, Limits, path, read};

fn one(text: &str) -> Document {
    let mut documents = read("f.yaml", text, &Limits::default()).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Line and column of the value and of the key.
fn places(document: &Document, at: &str) -> String {
    let (value, key) = (document.place(&path(at)), document.key_place(&path(at)));
    assert_eq!((&*value.file, document.file()), ("f.yaml", "f.yaml"));
    format!("{}:{} {}:{}", value.line, value.column, key.line, key.column)
}

#[test]
fn block_and_flow() {
    let document = one("\
# a rollout
kind: Rollout
metadata:
  annotations:
    example.test/owner: 'me'
spec:
  steps:
  - setWeight: 20
  -  pause: {duration: 1m, x: [1, 22]}
  -
    - nested
  text: |
    more
  é: ü
");
    for (at, expected) in [
        ("", "2:1 2:1"),
        ("kind", "2:7 2:1"),
        ("metadata", "4:3 3:1"),
        ("metadata.annotations[example.test/owner]", "5:25 5:5"),
        ("spec.steps", "8:5 7:3"),
        ("spec.steps[0]", "8:5 8:5"),
        ("spec.steps[0].setWeight", "8:16 8:5"),
        ("spec.steps[1].pause", "9:13 9:6"),
        ("spec.steps[1].pause.duration", "9:24 9:14"),
        ("spec.steps[1].pause.x[1]", "9:35 9:35"),
        ("spec.steps[2][0]", "11:7 11:7"),
        ("spec.text", "13:5 12:3"),
        ("spec.é", "14:6 14:3"),
        // what is not there is where its nearest ancestor's key is
        ("spec.replicas", "6:1 6:1"),
        ("spec.steps[7].pause", "7:3 7:3"),
        ("spec.steps[0].setWeight.more", "8:5 8:5"),
        ("nothing.at.all", "2:1 2:1"),
        ("kind[0]", "2:1 2:1"),
    ] {
        assert_eq!(places(&document, at), expected, "{at}");
    }
    assert_eq!(document.place(&path("kind")).to_string(), "f.yaml:2:7");
}

#[test]
fn json() {
    let document = one("{\n\t\"a\": [\n\t\t{\"b\":1}\n\t], \"c\": \"\\ud83d\\ude00\", \"d\": 1}\n");
    assert_eq!(
        document.value,
        serde_json::json!({"a": [{"b": 1}], "c": "😀", "d": 1})
    );
    assert_eq!(places(&document, "a[0].b"), "3:8 3:4");
    assert_eq!(places(&document, "d"), "4:31 4:26");
}

#[test]
fn aliases_and_merges_are_where_they_are_used() {
    let document = one("base: &base\n  x: 1\n  z: 2\nuse: *base\nmerge:\n  <<: *base\n  w: 3\n");
    assert_eq!(places(&document, "base.x"), "2:6 2:3");
    assert_eq!(places(&document, "use"), "4:6 4:1");
    assert_eq!(places(&document, "use.x"), "4:6 4:6");
    assert_eq!(places(&document, "merge.z"), "6:7 6:7");
    assert_eq!(places(&document, "merge.w"), "7:6 7:3");
}

#[test]
fn documents() {
    let text = "# only comments\n---\n# here too\n---\na: 1\n---\n---\n- b\n...\n---\nc: 2\n# end";
    let documents = read("f.yaml", text, &Limits::default()).unwrap();
    let shown: Vec<String> = documents
        .iter()
        .map(|d| format!("{} {}", d.value, d.place(&[])))
        .collect();
    assert_eq!(
        shown,
        [
            "{\"a\":1} f.yaml:5:1",
            "[\"b\"] f.yaml:8:1",
            "{\"c\":2} f.yaml:11:1"
        ]
    );
    for empty in [
        "",
        "\n\n",
        "# nothing",
        "---",
        "---\n---\n",
        "---\n# x\n...\n",
        "null",
    ] {
        assert_eq!(
            read("f.yaml", empty, &Limits::default()).unwrap().len(),
            0,
            "{empty:?}"
        );
    }
    let windows = one("\u{feff}a: 1\r\nb:\r\n  c: 2\r\n");
    assert_eq!(places(&windows, "b.c"), "3:6 3:3");
}

#[test]
fn errors_have_a_place() {
    for (text, expected) in [
        (
            "a: 1\nb:\n  c: 2\n  c: 3\n",
            "f.yaml:4:3: duplicate mapping key `c` is not allowed here",
        ),
        (
            "a: 1\nb: 2\na: 3\n",
            "f.yaml:3:1: duplicate mapping key `a` is not allowed here",
        ),
        (
            "a:\n  1: x\n  '1': y\n",
            "f.yaml:3:3: duplicate mapping key `1` is not allowed here",
        ),
        (
            "- true: x\n  yes: y\n",
            "f.yaml:2:3: duplicate mapping key `true` is not allowed here",
        ),
        (
            "{\"a\": 1,\n \"a\": 2}",
            "f.yaml:2:2: duplicate mapping key `a` is not allowed here",
        ),
        (
            "a:\n\tb: 1",
            "f.yaml:2:2: tabs disallowed within this context (block indentation)",
        ),
        ("a: 1\n---\nb: [\n", "f.yaml:3:4: unclosed bracket '['"),
        (
            "a: b: c\n",
            "f.yaml:1:5: mapping values are not allowed in this context",
        ),
        ("a: *b\n", "f.yaml:1:4: reference to unknown value"),
        ("a: &a [*a]\n", "f.yaml:1:8: Recursive reference not allowed here"),
        ("x: 1\na: .inf\n", "f.yaml:2:4: numbers must be finite"),
        (
            "x: 1\n? [a]\n: 1\n",
            "f.yaml:2:3: invalid type: sequence, expected a key: a string, a number or a boolean",
        ),
        (
            "a: {{ .Values.x }}\n",
            "f.yaml:1:5: invalid type: map, expected a key: a string, a number or a boolean",
        ),
        (
            "~: 1\n",
            "f.yaml:1:1: invalid type: unit value, expected a key: a string, a number or a boolean",
        ),
    ] {
        let error = read("f.yaml", text, &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text:?}");
    }
}

/// A value that is a secret does not get into an error.
#[test]
fn errors_repeat_no_value() {
    for text in [
        "password: hunter2: x\n",
        "password: 'hunter2\n",
        "password: !!int hunter2\n",
        "password: !!binary hunter2!\n",
        "password: !!float hunter2\n",
        "password: !!bool hunter2\n",
        "password: [hunter2\n",
        "password: \"hunter2\\q\"\n",
        "password: hunter2\n bad indent: 1\n",
        "password: @hunter2\n",
        "<<: hunter2\n",
        "!!map hunter2\n",
    ] {
        let error = read("f.yaml", text, &Limits::default()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
