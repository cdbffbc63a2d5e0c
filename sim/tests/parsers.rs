//! Whatever a tenant writes, each parser of ours answers, and soon: every loop of every one of them takes something or is the last.
//!
//! Random texts, and valid ones with something changed, with fixed seeds; and texts that repeat a piece up to the longest that is taken, which
//! would show a parser whose time grows with the square of it. A parser that does not answer fails the test instead of holding it up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use tidegate_analysis::expr::{Env, Kind, Program};
use tidegate_analysis::{args, expr, jsonpath};
use tidegate_gitsync::render::{self, render};
use tidegate_gitsync::spec::Spec;
use tidegate_gitsync::tree::Files;
use tidegate_sim::promql;

/// How long one text may take, unoptimized and on a busy machine: each takes milliseconds.
const PATIENCE: Duration = Duration::from_mins(2);
/// Random texts of each parser.
const CASES: u32 = 400;
/// Bytes of a text that repeats a piece.
const LONG: usize = 32 << 10;

struct Parser {
    name: &'static str,
    parse: fn(&str),
    valid: &'static [&'static str],
}

const PARSERS: [Parser; 10] = [
    Parser {
        name: "JSONPath",
        parse: |text| {
            let document = json!({"a": [1, {"b": "x"}], "n": [{"n": 1}, {"n": "1"}]});
            if let Ok(path) = jsonpath::Path::parse(text) {
                let _ = path.first(&document);
            }
        },
        valid: &[
            "{$.a[1].b}",
            "{.n[?(@.n>\"1\")][?(@.n==1)].n}",
            "{@ ['a','n'][::-1]}",
            "{..b}",
            "{.a[0:2,-1]}",
            "{(.a)}",
        ],
    },
    Parser {
        name: "conditions",
        parse: |text| {
            let env = Env {
                result: expr::Value::from_json(&json!({"a": [1, 2], "s": "x"})).unwrap(),
                now: jiff::Timestamp::UNIX_EPOCH,
            };
            if let Ok(program) = Program::compile(text, Kind::Condition) {
                let _ = program.run(&env);
            }
        },
        valid: &[
            "all(result.a, # > 0) && result.s matches '^[a-z]{1,2}$'",
            "let x = result.a[0] ?? 1; x in [1, 2.5] ? x + 1 : len(result.s[1:])",
            "date(\"2026-01-02\").Add(duration(\"1h30m\")) /* c */ | string() // d",
            "{a: 1, \"b\": b'\\x01'}.a?.b not in 1..3",
        ],
    },
    Parser {
        name: "patterns",
        parse: |text| drop(expr::goregex::compile(text)),
        valid: &["^[[:alpha:]\\]]+\\Qa.b\\E{2,3}\\p{L}$", "(?i)a{,2}|\\x{41}[^]a]"],
    },
    Parser {
        name: "CEL",
        parse: |text| {
            let check = json!({"apiVersion": "v1", "kind": "X", "current": text});
            let spec = json!({"source": {"git": {"url": "https://h/a/b"}}, "healthChecks": [check]});
            drop(Spec::read(&serde_json::from_value(spec).unwrap()));
        },
        valid: &[
            "status.conditions.exists(c, c.type == 'Ready' && c.status == \"True\")",
            "has(a.b) ? a.b[?0].c > 1.5e3 : !(x in [1, 0x1f, {'a': -1}])",
            "a.matches(r'^x') || size(b) % 2 == 0 // c",
        ],
    },
    Parser {
        name: "PromQL",
        parse: |text| drop(promql::parse(text)),
        valid: &[
            "sum by (a) (rate(x{a=\"b\",c!~\"d.*\"}[5m30s] offset 1h)) / ignoring (b) -y ^ 2e3",
            "histogram_quantile(0.95, sum(increase(x_bucket[1m])) without (le)) > bool 1 or vector(0) # c",
        ],
    },
    Parser {
        name: "arguments",
        parse: |text| {
            drop(args::fill(
                text,
                &BTreeMap::from([("args.a".to_owned(), "b".to_owned())]),
            ));
        },
        valid: &["x{{args.a}}y{{ args.a }}{{"],
    },
    Parser {
        name: "durations and times",
        parse: |text| {
            drop(tidegate_crds::parse_go_duration(text));
            drop(text.parse::<tidegate_crds::Time>());
        },
        valid: &["-1h30m1.5s", "2026-11-21T12:00:00Z", "5µs"],
    },
    Parser {
        name: "quantities",
        parse: |text| {
            let mut template =
                json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": text}}}]}});
            tidegate_crds::template::drop_malformed_fields(&mut template);
            tidegate_crds::template::set_pod_template_defaults(&mut template);
            drop(tidegate_crds::template::pod_template_hash(&template, None));
        },
        valid: &["1.5Gi", "-100m", "1e3", "0.000000000001", "12E"],
    },
    Parser {
        name: "manifests",
        parse: |text| {
            drop(tidegate_manifests::read(
                "a.yaml",
                text,
                &tidegate_manifests::Limits::default(),
            ));
            drop(tidegate_manifests::path(text));
        },
        valid: &[
            "a: &x {b: [1, 'c', \"\\u00e9\"]}\nd: *x\n---\n- |-\n  e\n   f\n- >+\n  g\n\n# h\n",
            "spec.steps[0].metadata.annotations[example.test/owner]",
            "? {a: b}\n: <<: {c: !!str 1}\n%YAML 1.2\n...",
        ],
    },
    Parser {
        name: "Kustomize",
        parse: |text| {
            let files = |kustomization: &str, base: &str| {
                let tree = Files::new()
                    .with("kustomization.yaml", kustomization)
                    .with("a.yaml", base);
                drop(render(&tree, "", &render::Limits::default()));
            };
            let base = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
            files(text, base);
            files("resources: [a.yaml]\nnamePrefix: b-\n", text);
            let patch: Value =
                json!({"resources": ["a.yaml"], "patches": [{"patch": text, "target": {"name": text}}]});
            files(&patch.to_string(), base);
        },
        valid: &[
            "resources: [a.yaml]\nimages: [{name: x, newTag: \"1\"}]\nlabels: [{pairs: {a: b}, includeSelectors: true}]\n",
            "resources: [a.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {name: a}, fieldPaths: [data.x.[a=b].c]}]}]\n",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {b: }}\ndata: {c: |2-\n   d}\n",
            "[{op: replace, path: /data/x~1y, value: 1}]",
        ],
    },
];

/// A runner whose cases are the same each time.
fn runner() -> TestRunner {
    TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]),
    )
}

/// A valid text with pieces of it taken out, doubled, or replaced by pieces of others.
fn changed(valid: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = (
        prop::sample::select(valid),
        any::<(prop::sample::Index, prop::sample::Index)>(),
    )
        .prop_map(|(text, (from, to))| {
            let characters: Vec<char> = text.chars().collect();
            let (from, to) = (from.index(characters.len() + 1), to.index(characters.len() + 1));
            characters[from.min(to)..from.max(to)].iter().collect::<String>()
        });
    prop::collection::vec(
        prop_oneof![6 => piece, 1 => "[\\[\\](){}@$.,:;'\"\\\\ ?*#&|!<>=~+-]{1,3}", 1 => ".{0,3}"],
        1..8,
    )
    .prop_map(|pieces| pieces.concat())
}

/// Texts that repeat a piece, up to the longest.
fn repeated(valid: &[&str]) -> Vec<String> {
    let signs = "[ ] ( ) { } @ $ . .. , : ; ' \" \\ ? * # & | ! < > = ~ + - ` / // /* -- 1 a 1. e [?( [0] {{ {a: - &a *a";
    let pieces = signs
        .split(' ')
        .chain([" ", "\n", "\t", "é", "- ", "a: ", "a.", "1h", "\n---\n"]);
    let pieces = pieces
        .map(str::to_owned)
        .chain(valid.iter().map(|text| (*text).to_owned()));
    pieces
        .flat_map(|piece| {
            // as long as each parser takes, and longer
            [1_000, 8_000, LONG].map(|length| piece.repeat(length / piece.len()))
        })
        .collect()
}

fn texts(parser: &Parser) -> Vec<String> {
    let mut runner = runner();
    let mut texts: Vec<String> = parser.valid.iter().map(|text| (*text).to_owned()).collect();
    let changed = prop_oneof![4 => changed(parser.valid), 1 => any::<String>()];
    texts.extend((0..CASES).map(|_| changed.new_tree(&mut runner).unwrap().current()));
    texts.extend(repeated(parser.valid));
    texts
}

#[test]
fn every_parser_answers_whatever_it_gets() {
    let parsers = PARSERS.iter().map(|parser| {
        let (sender, answers) = mpsc::channel();
        let texts = texts(parser);
        let count = texts.len();
        let (parse, name) = (parser.parse, parser.name);
        // the stack of a worker of the controller
        std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || {
                for text in texts {
                    let begun: String = text.chars().take(200).collect();
                    if sender.send(Some(begun)).is_err() {
                        return;
                    }
                    parse(&text);
                }
                let _ = sender.send(None);
            })
            .unwrap();
        (name, count, answers)
    });
    for (name, count, answers) in parsers.collect::<Vec<_>>() {
        let mut last = None;
        let mut answered = 0;
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok(Some(text)) => {
                    answered += 1;
                    last = Some(text);
                }
                Ok(None) => break,
                Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                    panic!("{name} does not end, or failed, after {answered} of {count} texts: {last:?}")
                }
            }
        }
    }
}
