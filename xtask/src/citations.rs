//! `cargo xtask citations`: every rule that the code cites has its place in the docs, so that a clone explains itself.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// Where rules are written down, each with an anchor: `<a id="3.6"></a>`.
const PAGES: [&str; 2] = ["docs/contract.md", "docs/invariants.md"];

/// Fails if a citation leads nowhere, or an anchor is there twice.
pub(crate) fn check() -> Result<()> {
    let root = process::workspace();
    let mut anchors = BTreeSet::new();
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).with_context(|| format!("cannot read {page}"))?;
        for anchor in text
            .split("<a id=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            ensure!(
                anchors.insert(anchor.to_owned()),
                "{page}: the anchor {anchor} is there twice"
            );
        }
    }
    let files = process::output(
        Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-z", "*.rs"]),
    )?;
    let mut lost = Vec::new();
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        // A file that was removed without being committed cites nothing.
        let source = fs::read_to_string(root.join(name)).unwrap_or_default();
        let unknown = citations(&source)
            .into_iter()
            .filter(|(_, rule)| !anchors.contains(rule));
        lost.extend(unknown.map(|(line, rule)| format!("{name}:{line}: {rule}")));
    }
    ensure!(
        lost.is_empty(),
        "no anchor in {} for:\n{}",
        PAGES.join(" or "),
        lost.join("\n")
    );
    Ok(())
}

/// The rules that a source cites, each with its line: `F12`, `S3`, `L4` and `G5` wherever they stand, and in comments the
/// numbers that follow "contract" or "fault" (`contract 2.2, 2.3 and 3.1`). A list may go on in the next line.
fn citations(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut list = None;
    for (line, text) in (1..).zip(source.lines()) {
        let (code, comment) = text.split_once("//").unwrap_or((text, ""));
        found.extend(
            words(code)
                .filter(|word| is_lettered(word))
                .map(|word| (line, word.to_owned())),
        );
        if comment.is_empty() {
            list = None;
        }
        for chunk in comment.split_whitespace() {
            for word in words(chunk) {
                match (word, list) {
                    ("contract" | "Contract", _) => list = Some(""),
                    ("fault" | "Fault", _) => list = Some("fault-"),
                    _ if is_lettered(word) => found.push((line, word.to_owned())),
                    (_, Some(prefix)) if is_numbered(word) => found.push((line, format!("{prefix}{word}"))),
                    ("and" | "to", Some(_)) => {}
                    _ => list = None,
                }
            }
            if chunk.contains([')', ':', ';']) {
                list = None;
            }
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c));
    words
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
}

fn is_lettered(word: &str) -> bool {
    word.strip_prefix(['F', 'S', 'L', 'G'])
        .is_some_and(|digits| is_numbered(digits) && !digits.contains('.'))
}

fn is_numbered(word: &str) -> bool {
    word.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_is_cited_is_written_down() {
        check().unwrap();
    }

    #[test]
    fn citations_are_found_in_comments() {
        let source = "\
//! One (contract 2.2, 2.3 and
//! 3.1), two F14 to F16.
self.convict(\"S9\", 7); // S3; 12 of them
/// Contract 4: fault 7, and 8 (of fault 9), 10. In all 5 (default 11, L2).
let contract = 9;
";
        let found: Vec<String> = citations(source)
            .into_iter()
            .map(|(line, rule)| format!("{line}:{rule}"))
            .collect();
        let wanted = "1:2.2 1:2.3 2:3.1 2:F14 2:F16 3:S9 3:S3 4:4 4:fault-7 4:fault-8 4:fault-9 4:L2";
        assert_eq!(found.join(" "), wanted);
    }
}
