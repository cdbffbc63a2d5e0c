//! Files that want to cost more than they are worth.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidegate_manifests::{Limits, read};

/// Reads on a stack of the size that a worker has.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn error_of(text: String, limits: Limits) -> String {
    let begin = Instant::now();
    let answer = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            read("f.yaml", &text, &limits)
                .map(|documents| documents.len())
                .unwrap_err()
                .to_string()
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    answer
}

fn laughs(levels: usize, flow: bool) -> String {
    let mut text = String::from("a0: &a0 ha\n");
    for level in 1..=levels {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        if flow {
            writeln!(text, "a{level}: &a{level} [{below}]").unwrap();
        } else {
            writeln!(
                text,
                "a{level}: &a{level} {{<<: [*a{}], b{level}: [{below}]}}",
                level.max(2) - 1
            )
            .unwrap();
        }
    }
    text
}

/// Lists that are nested within the limit, each with the one before at its bottom.
fn deep_aliases() -> String {
    let (open, close) = ("[".repeat(90), "]".repeat(90));
    (1..60).fold(format!("a0: &a0 {open}{close}\n"), |text, level| {
        text + &format!("a{level}: &a{level} {open}*a{}{close}\n", level - 1)
    })
}

#[test]
fn bombs_are_refused() {
    let limits = Limits {
        nodes: 250_000,
        ..Limits::default()
    };
    for (text, expected) in [
        (deep_aliases(), "Depth"),
        (laughs(9, true), "too large or too complex"),
        (laughs(40, true), "too large or too complex"),
        (laughs(9, false), ""),
        (
            format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1000), "*a, ".repeat(200)),
            "too large or too complex",
        ),
        ("[".repeat(100_000), "f.yaml:1:101: "),
        ("{a: ".repeat(100_000), ""),
        ("- ".repeat(100_000), ""),
        (
            (0..5000).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n"),
            "",
        ),
        ("? ".repeat(100_000), ""),
        ("---\na: 1\n".repeat(3000), "Documents"),
        ("- 1\n".repeat(260_000), "Nodes"),
        ("&a [".repeat(10_000), ""),
        (format!("a: {}", "!".repeat(100_000)), ""),
        (" ".repeat(17 << 20), "f.yaml: file is larger than 16777216 bytes"),
        (
            (0..200_000).fold(String::new(), |text, i| text + "&a" + &i.to_string() + " "),
            "",
        ),
        (format!("{}: 1", "x".repeat(1 << 20)), "ok"),
        (format!("\"{}\": 1", "x".repeat(1 << 20)), "ok"),
        (format!("{{{}}}", "\"a\", ".repeat(100_000)), "duplicate"),
    ] {
        let shown: String = text.chars().take(40).collect();
        if expected == "ok" {
            assert_eq!(read("f.yaml", &text, &limits).unwrap().len(), 1, "{shown}");
            continue;
        }
        let error = error_of(text, limits);
        assert!(
            error.contains(expected) && error.starts_with("f.yaml:"),
            "{shown}: {error}"
        );
        assert!(error.len() < 300, "{error}");
    }
}

#[test]
fn the_largest_that_is_allowed() {
    let limits = Limits::default();
    let nested = format!("{}1{}", "[".repeat(99), "]".repeat(99));
    let block = (0..99).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    let large = (0..100_000).fold(String::new(), |text, i| {
        text + "- {name: n" + &i.to_string() + ", value: x}\n"
    });
    for text in [nested, block, large, "---\na: 1\n".repeat(1900)] {
        let answer = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || read("f.yaml", &text, &limits).map(|documents| documents.len()))
            .unwrap()
            .join()
            .unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = read("f.yaml", &text, &Limits::default());
    }

    #[test]
    fn any_tokens_are_answered(
        tokens in prop::collection::vec(
            prop::sample::select(&["a", "b", ": ", "- ", "\n", "  ", "\n  ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<: ", "|",
                ">", "'", "\"", "!!int ", "!t ", "---\n", "...\n", "1", "0644", "yes", "null", "# c\n", "? ", "\t", "%YAML 1.1\n"][..]),
            0..60,
        ),
    ) {
        if let Ok(documents) = read("f.yaml", &tokens.concat(), &Limits::default()) {
            for document in documents {
                prop_assert!(document.place(&[]).line >= 1);
            }
        }
    }
}
