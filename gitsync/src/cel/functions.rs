//! What expressions may call.

use regex::bytes::{Regex, RegexBuilder};

use super::evaluate::{Fault, Run, too_large, wrong};
use super::value::Val;

/// Longest text that is looked through for a pattern, in bytes; and the longest pattern.
const MAX_MATCHED: usize = 4096;
const MAX_PATTERN: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Int,
    Double,
    String,
    Dyn,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Join,
    OrValue,
    HasValue,
}

/// Name, whether it is called on a value, arguments with that value.
const ALL: [(&str, bool, usize, Function); 19] = [
    ("size", false, 1, Function::Size),
    ("size", true, 1, Function::Size),
    ("int", false, 1, Function::Int),
    ("double", false, 1, Function::Double),
    ("string", false, 1, Function::String),
    ("dyn", false, 1, Function::Dyn),
    ("contains", true, 2, Function::Contains),
    ("startsWith", true, 2, Function::StartsWith),
    ("endsWith", true, 2, Function::EndsWith),
    ("matches", true, 2, Function::Matches),
    ("matches", false, 2, Function::Matches),
    ("lowerAscii", true, 1, Function::LowerAscii),
    ("upperAscii", true, 1, Function::UpperAscii),
    ("trim", true, 1, Function::Trim),
    ("split", true, 2, Function::Split),
    ("join", true, 2, Function::Join),
    ("join", true, 1, Function::Join),
    ("orValue", true, 2, Function::OrValue),
    ("hasValue", true, 1, Function::HasValue),
];

impl Function {
    pub(super) fn find(name: &str, method: bool, args: usize) -> Option<Self> {
        let found = ALL
            .iter()
            .find(|function| (function.0, function.1, function.2) == (name, method, args));
        found.map(|function| function.3)
    }
}

/// All of them, for people.
pub(super) fn known() -> String {
    let mut names = vec!["has", "all", "exists", "exists_one", "filter", "map"];
    for (name, ..) in ALL {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// Reads a regular expression; its classes are those of ASCII, as in RE2.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > MAX_PATTERN {
        return Err(format!("the pattern is longer than {MAX_PATTERN} bytes"));
    }
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(16 << 10)
        .dfa_size_limit(64 << 10)
        .nest_limit(20)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the pattern takes too much work: use smaller counts".to_owned()
            }
            _ => format!("{text:?} is no regular expression"),
        })
}

pub(super) fn call<'v>(run: &Run<'v>, function: Function, args: &[Val<'v>]) -> Result<Val<'v>, Fault> {
    for arg in args {
        if let Val::Text(text) = arg {
            run.read(text)?;
        }
    }
    match (function, args) {
        (Function::Dyn, [value]) => Ok(value.clone()),
        (Function::Size, [Val::Text(text)]) => Ok(Val::Int(text.chars().count() as i64)),
        (Function::Size, [Val::List(items)]) => Ok(Val::Int(items.len() as i64)),
        (Function::Size, [Val::Map(fields)]) => Ok(Val::Int(fields.len() as i64)),
        (Function::Int, [value]) => int(value),
        (Function::Double, [value]) => double(value),
        (Function::String, [value]) => string(value),
        (Function::Contains, [Val::Text(text), Val::Text(part)]) => Ok(Val::Bool(text.contains(&**part))),
        (Function::StartsWith, [Val::Text(text), Val::Text(part)]) => {
            Ok(Val::Bool(text.starts_with(&**part)))
        }
        (Function::EndsWith, [Val::Text(text), Val::Text(part)]) => Ok(Val::Bool(text.ends_with(&**part))),
        (Function::Matches, [Val::Text(text), Val::Text(with)]) => matches(run, text, with),
        (Function::LowerAscii, [Val::Text(text)]) => Ok(Val::text(text.to_ascii_lowercase())),
        (Function::UpperAscii, [Val::Text(text)]) => Ok(Val::text(text.to_ascii_uppercase())),
        (Function::Trim, [Val::Text(text)]) => Ok(Val::text(text.trim())),
        (Function::Split, [Val::Text(text), Val::Text(at)]) => split(run, text, at),
        (Function::Join, [Val::List(items)]) => join(run, items.iter(), ""),
        (Function::Join, [Val::List(items), Val::Text(between)]) => join(run, items.iter(), between),
        (Function::OrValue, [Val::Maybe(value), other]) => Ok(value
            .as_ref()
            .map_or_else(|| other.clone(), |value| (**value).clone())),
        (Function::HasValue, [Val::Maybe(value)]) => Ok(Val::Bool(value.is_some())),
        (_, args) => {
            let kinds: Vec<&str> = args.iter().map(Val::kind).collect();
            let name = ALL
                .iter()
                .find(|(.., of)| *of == function)
                .map_or("", |(name, ..)| name);
            wrong(format!("{name}() does not work on {}", kinds.join(" and ")))
        }
    }
}

fn int<'v>(value: &Val<'v>) -> Result<Val<'v>, Fault> {
    match value {
        Val::Int(value) => Ok(Val::Int(*value)),
        // the ends themselves do not come back as they were
        Val::Double(value) if value.abs() < i64::MAX as f64 => Ok(Val::Int(*value as i64)),
        Val::Double(_) => Err(too_large()),
        Val::Text(text) => match text.parse() {
            Ok(value) => Ok(Val::Int(value)),
            Err(_) => wrong("int() of a string that is no whole number"),
        },
        other => wrong(format!("int() does not work on {}", other.kind())),
    }
}

fn double<'v>(value: &Val<'v>) -> Result<Val<'v>, Fault> {
    match value {
        Val::Int(value) => Ok(Val::Double(*value as f64)),
        Val::Double(value) => Ok(Val::Double(*value)),
        Val::Text(text) => match text.parse() {
            Ok(value) => Ok(Val::Double(value)),
            Err(_) => wrong("double() of a string that is no number"),
        },
        other => wrong(format!("double() does not work on {}", other.kind())),
    }
}

fn string<'v>(value: &Val<'v>) -> Result<Val<'v>, Fault> {
    match value {
        Val::Text(text) => Ok(Val::Text(text.clone())),
        Val::Int(value) => Ok(Val::text(value.to_string())),
        Val::Double(value) => Ok(Val::text(value.to_string())),
        Val::Bool(value) => Ok(Val::text(value.to_string())),
        other => wrong(format!("string() does not work on {}", other.kind())),
    }
}

fn matches<'v>(run: &Run<'v>, text: &str, with: &str) -> Result<Val<'v>, Fault> {
    if text.len() > MAX_MATCHED {
        return wrong(format!("matches() looks through {MAX_MATCHED} bytes at most"));
    }
    // reading the pattern costs more than most of what it is used for
    run.spend(2000 + text.len() * 16)?;
    let pattern = pattern(with).map_err(Fault::Wrong)?;
    Ok(Val::Bool(pattern.is_match(text.as_bytes())))
}

fn split<'v>(run: &Run<'v>, text: &str, at: &str) -> Result<Val<'v>, Fault> {
    let mut parts = Vec::new();
    for part in text.split(at) {
        run.spend(1)?;
        parts.push(Val::text(part));
    }
    Ok(Val::list(parts))
}

fn join<'v>(run: &Run<'v>, items: impl Iterator<Item = Val<'v>>, between: &str) -> Result<Val<'v>, Fault> {
    let mut text = String::new();
    for (index, item) in items.enumerate() {
        let Val::Text(part) = item else {
            return wrong("join() works on lists of strings");
        };
        run.spend(1)?;
        run.read(&part)?;
        if index > 0 {
            run.read(between)?;
            text.push_str(between);
        }
        text.push_str(&part);
    }
    Ok(Val::text(text))
}
