//! Regular expressions as Go reads them (RE2 syntax).
//!
//! The `regex` crate has the same engine guarantees (linear time) and nearly the same syntax. The differences are
//! ironed out on the text of the pattern: `\d`, `\w`, `\s` and `\b` are ASCII in Go, a bracket inside a character
//! class is an ordinary character, so are `&&`, `--` and `~~`, and `\Q…\E` quotes. A `{` that begins no count is itself, and so
//! is what is escaped but no letter or digit.

use regex::{Regex, RegexBuilder};

/// How long a pattern may be.
const MAX_PATTERN: usize = 4096;
/// How large a compiled pattern may be, in bytes.
const MAX_COMPILED: usize = 256 << 10;

/// A pattern that is not a regular expression, or too large a one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexError(String);

/// Compiles a pattern of Go's `regexp` package. It matches anywhere in a text unless it is anchored.
///
/// # Errors
/// When the pattern is not valid, longer than 4 KiB, or larger than 256 KiB when compiled.
pub fn compile(pattern: &str) -> Result<Regex, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError(format!("pattern is longer than {MAX_PATTERN} bytes")));
    }
    RegexBuilder::new(&translate(pattern))
        .size_limit(MAX_COMPILED)
        .nest_limit(100)
        .build()
        .map_err(|error| {
            RegexError(match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("compiled pattern is larger than {limit} bytes")
                }
                // the last line says what is wrong, the others repeat the pattern
                error => error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned(),
            })
        })
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars();
    // inside [...]; the position counts characters of the class, for a `]` that comes first
    let mut class: Option<usize> = None;
    while let Some(c) = rest.next() {
        if let Some(position) = class.as_mut() {
            *position += 1;
        }
        match (c, class) {
            ('\\', _) => match rest.next() {
                Some('Q') => {
                    let text = rest.as_str();
                    let (quoted, after) = text.split_once("\\E").unwrap_or((text, ""));
                    out.push_str(&regex::escape(quoted));
                    rest = after.chars();
                }
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') if class.is_none() => out.push_str(r"(?-u:\b)"),
                Some('B') if class.is_none() => out.push_str(r"(?-u:\B)"),
                // the brace of `\x{e9}` and `\p{L}` is no count
                Some(named @ ('x' | 'p' | 'P')) if rest.as_str().starts_with('{') => {
                    let (name, after) = split_after(rest.as_str(), '}');
                    out.extend(['\\', named]);
                    out.push_str(name);
                    rest = after.chars();
                }
                // `\<` would be the start of a word
                Some(sign @ ('<' | '>')) => out.push(sign),
                Some(escaped) => out.extend(['\\', escaped]),
                None => out.push('\\'),
            },
            ('[', None) => {
                out.push('[');
                class = Some(0);
                if let Some(after) = rest.as_str().strip_prefix('^') {
                    out.push('^');
                    rest = after.chars();
                }
            }
            // [[:alpha:]] is a class by name, any other bracket is a bracket
            ('[', Some(_)) if rest.as_str().starts_with(':') => match rest.as_str().split_once(":]") {
                Some((name, after)) => {
                    out.push('[');
                    out.push_str(name);
                    out.push_str(":]");
                    rest = after.chars();
                }
                None => out.push_str("\\["),
            },
            (']', Some(1)) => out.push_str("\\]"),
            (']', Some(_)) => {
                out.push(']');
                class = None;
            }
            ('[' | '&' | '~', Some(_)) => out.extend(['\\', c]),
            ('{', None) if !counts(rest.as_str()) => out.push_str("\\{"),
            // `a--` would be a set difference
            ('-', Some(_)) if rest.as_str().starts_with('-') => out.push_str("\\-"),
            (c, _) => out.push(c),
        }
    }
    out
}

/// Whether what follows a `{` makes it a count: `2}`, `2,}` or `2,3}`.
fn counts(text: &str) -> bool {
    let Some((count, _)) = text.split_once('}') else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match count.split_once(',') {
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
        None => digits(count),
    }
}

/// The text up to and with a character, and the rest; all of it when the character does not come.
fn split_after(text: &str, end: char) -> (&str, &str) {
    text.split_at(text.find(end).map_or(text.len(), |at| at + end.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn matches_as_go_does() {
        // recorded from Go's regexp.MatchString
        for (pattern, text, expected) in [
            (r"^\d+$", "42", true),
            (r"^\d+$", "٤", false),
            (r"^\w+$", "é", false),
            (r"\bé", "é", false),
            (r"[[]", "[", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"[a&&b]", "&", true),
            (r"[\d\-x]+$", "4-x", true),
            (r"[[:alpha:]]+", "abc", true),
            (r"\Qa.b\E+", "a.bbb", true),
            (r"\Qa.b\E", "axb", false),
            (r"(?i)HELLO", "hello", true),
            (r"a{2}", "aa", true),
            (r"^p9[59]$", "p99", true),
            (r"\pL", "é", true),
            (r"(?s)a.b", "a\nb", true),
            (r"a.b", "a\nb", false),
            (r#""code":{"#, r#"{"code":{}}"#, true),
            ("{", "a{b", true),
            ("^{", "{x", true),
            ("a{,2}", "a{,2}", true),
            ("a{,2}", "aa", false),
            ("a{2", "a{2", true),
            ("a{ 2}", "a{ 2}", true),
            ("a{2,}", "aaa", true),
            ("^a{2,3}$", "aaaa", false),
            ("x}", "x}", true),
            ("(?i){", "{", true),
            ("[{]", "{", true),
            (r"\Q{\E{", "{{", true),
            (r"\{x", "{x", true),
            (r"\x{41}{1}", "A", true),
            (r"\p{L}{2}", "éé", true),
            (r"\pL{2}", "éé", true),
            (r"\b{start}", "x{start}", true),
            (r"\<a", "a", false),
            (r"\<a\>", "<a>", true),
            (r"[\<]", "<", true),
        ] {
            assert_eq!(
                compile(pattern).unwrap().is_match(text),
                expected,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_too_large() {
        for pattern in [
            "[",
            "(",
            r"a{1000}{1000}",
            "(?=a)",
            "{2}",
            r"\x{41",
            &"a".repeat(5000),
            r"(\pL{100}){100}",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
