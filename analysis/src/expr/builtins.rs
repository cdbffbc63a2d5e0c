//! The functions of the language, and the ones that conditions have in addition (contract 3.12).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget::Budget;
use super::eval::{Run, conversion, fetch, string};
use super::value::{Element, Key, Value};
use super::{EvalError, base64, gotime};

type Evaluated = Result<Value, EvalError>;

fn error<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::new(message))
}

/// Calls a function that takes no predicate. The checker has seen to names and numbers of arguments.
pub(super) fn call(name: &str, args: &[Value], run: &mut Run<'_>) -> Evaluated {
    let budget = &mut run.budget;
    match (name, args) {
        ("asInt", [value]) => as_int(value, budget),
        ("asFloat", [value]) => as_float(value, budget),
        // upstream passes an argument and then looks at the result all the same
        ("isNil", _) => Ok(Value::Bool(matches!(run.env.result, Value::Nil))),
        ("default", [_, default]) => Ok(match &run.env.result {
            Value::Nil => default.clone(),
            result => result.clone(),
        }),
        ("isNaN" | "isInf", [value]) => no_ordinary_number(name, value),
        ("now", zone) => Ok(now_in(zone, run.env.now)),
        ("len", [value]) => len(value, budget),
        ("type", [value]) => Ok(Value::from(type_of(value))),
        ("string", [value]) => Ok(Value::from(value.text(budget)?)),
        ("abs", [value]) => abs(value),
        ("ceil" | "floor" | "round", [value]) => rounded(name, value),
        ("int", [value]) => int(value),
        ("float", [value]) => float(value),
        // one argument that is no number and no list is handed back
        ("max" | "min", [other @ (Value::Nil | Value::Str(_) | Value::Bool(_) | Value::Map(_))]) => {
            Ok(other.clone())
        }
        ("max" | "min", args) => {
            let mut best = None;
            extreme(name, args, &mut best, budget)?;
            Ok(best.unwrap_or(Value::Nil))
        }
        ("mean" | "median", args) => average(name, args, budget),
        ("toJSON", [value]) => Ok(Value::from(value.json(budget)?)),
        ("fromJSON", [text]) => from_json(string(text)?, budget),
        ("toBase64", [value]) => to_base64(string(value)?, budget),
        ("fromBase64", [value]) => from_base64(string(value)?, budget),
        ("duration", [text]) => Ok(Value::Duration(gotime::parse_duration(string(text)?)?)),
        ("timezone", [text]) => Ok(Value::Zone(gotime::zone(string(text)?)?)),
        ("date", args) => gotime::date(args, budget),
        ("bitnot", [value]) => Ok(Value::Int(!bits(name, value)?)),
        ("bitand" | "bitor" | "bitxor" | "bitnand" | "bitshl" | "bitshr" | "bitushr", [a, b]) => {
            bit_function(name, bits(name, a)?, bits(name, b)?)
        }
        (_, [first, rest @ ..]) if matches!(first, Value::Str(_)) && is_text_function(name) => {
            text_function(name, string(first)?, rest, budget)
        }
        (_, [first, ..]) if is_text_function(name) => Err(conversion(first, "string")),
        ("get", [from, index]) => get(from, index),
        ("keys" | "values" | "toPairs", [value]) => entries(name, value, budget),
        ("concat", lists) => concat(lists, budget),
        (_, [Value::List(list), rest @ ..]) => list_function(name, &list.items, list.element, rest, budget),
        // texts are bytes here; of everything else that is no list there is no first
        ("first", [other]) => get_byte(other, 0),
        ("last", [other]) => get_byte(other, -1),
        // upstream never looks at what it has at most one item of
        ("sort", [_, order @ ..]) => Value::list(sorted(&[], &[], order.first(), budget)?, Element::Any),
        (_, [other, ..]) => not_a_list(name, other),
        (name, []) => error(format!("not enough arguments to call {name}")),
    }
}

/// `isNaN` and `isInf`.
fn no_ordinary_number(name: &str, value: &Value) -> Evaluated {
    match value.number() {
        Some(number) if name == "isNaN" => Ok(Value::Bool(number.is_nan())),
        Some(number) => Ok(Value::Bool(number.is_infinite())),
        None => Err(conversion(value, "float64")),
    }
}

/// `now`, in a zone or in UTC.
fn now_in(zone: &[Value], now: jiff::Timestamp) -> Value {
    Value::Time(Arc::new(match zone {
        [Value::Zone(zone)] => now.to_zoned(zone.clone()),
        _ => now.to_zoned(jiff::tz::TimeZone::UTC),
    }))
}

fn abs(value: &Value) -> Evaluated {
    match value {
        Value::Int(i) => Ok(Value::Int(i.wrapping_abs())),
        // as upstream, where -0 stays -0
        Value::Float(f) => Ok(Value::Float(if *f < 0.0 { -f } else { *f })),
        other => invalid("abs", other),
    }
}

/// `ceil`, `floor` and `round`.
fn rounded(name: &str, value: &Value) -> Evaluated {
    let Some(number) = value.number() else {
        return invalid(name, value);
    };
    Ok(Value::Float(match name {
        "ceil" => number.ceil(),
        "floor" => number.floor(),
        _ => number.round(),
    }))
}

/// `mean` and `median`.
fn average(name: &str, args: &[Value], budget: &mut Budget) -> Evaluated {
    let mut numbers = Vec::new();
    collect_numbers(name, args, &mut numbers, budget)?;
    Ok(Value::Float(if name == "mean" {
        mean(&numbers)
    } else {
        median(numbers)
    }))
}

fn to_base64(text: &str, budget: &mut Budget) -> Evaluated {
    budget.bytes(text.len() * 2)?;
    Ok(Value::from(base64::encode(text.as_bytes())))
}

fn from_base64(text: &str, budget: &mut Budget) -> Evaluated {
    budget.bytes(text.len())?;
    match base64::decode(text) {
        Ok(bytes) => Ok(Value::from(String::from_utf8_lossy(&bytes).as_ref())),
        Err(at) => error(format!("illegal base64 data at input byte {at}")),
    }
}

/// `keys`, `values` and `toPairs`: what a map holds, as a list.
fn entries(name: &str, value: &Value, budget: &mut Budget) -> Evaluated {
    let map = match value {
        Value::Map(map) => map,
        other if name == "toPairs" => return error(format!("cannot transform {} to pairs", kind(other))),
        other => return error(format!("cannot get {name} from {}", kind(other))),
    };
    budget.memory(map.entries.len() * if name == "toPairs" { 3 } else { 1 })?;
    let mut items = Vec::with_capacity(map.entries.len());
    for (key, value) in &map.entries {
        items.push(match name {
            "keys" => key.value(),
            "values" => value.clone(),
            _ => Value::list(vec![key.value(), value.clone()], Element::Any)?,
        });
    }
    Value::list(items, Element::Any)
}

fn concat(lists: &[Value], budget: &mut Budget) -> Evaluated {
    let mut items = Vec::new();
    for value in lists {
        let Value::List(list) = value else {
            return error(format!("cannot concat {}", kind(value)));
        };
        budget.memory(list.items.len())?;
        items.extend_from_slice(&list.items);
    }
    Value::list(items, Element::Any)
}

/// A function of lists was called with something else: upstream's words for it.
fn not_a_list(name: &str, other: &Value) -> Evaluated {
    match name {
        "fromPairs" => error(format!("cannot transform {} from pairs", kind(other))),
        "take" => error(format!("cannot take from {}", kind(other))),
        "join" => error(format!("invalid argument for join (type {})", other.type_name())),
        _ => error(format!("cannot {name} {}", kind(other))),
    }
}

/// The item or entry, and nil where there is none.
fn get(from: &Value, index: &Value) -> Evaluated {
    let length = match from {
        Value::Map(map) if !map.string_keys => {
            return Ok(map.entries.get(&index.key()?).cloned().unwrap_or(Value::Nil));
        }
        Value::Map(_) => return fetch(from, index),
        Value::List(list) => list.items.len(),
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => return Ok(Value::Nil),
    };
    let position = to_int(index)?;
    let position = if position < 0 {
        position.saturating_add(length as i64)
    } else {
        position
    };
    if (0..length as i64).contains(&position) {
        fetch(from, &Value::Int(position))
    } else {
        Ok(Value::Nil)
    }
}

fn get_byte(text: &Value, position: i64) -> Evaluated {
    match text {
        Value::Str(_) | Value::Bytes(_) => get(text, &Value::Int(position)),
        _ => Ok(Value::Nil),
    }
}

/// Go's kind of a value, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Nil => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Month(_) | Value::Weekday(_) => "int",
        Value::Duration(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::Bytes(_) | Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Time(_) => "struct",
        Value::Zone(_) => "ptr",
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "string",
        Value::Bytes(_) | Value::List(_) => "array",
        Value::Map(_) => "map",
        Value::Zone(_) => "time.Location",
        other => other.type_name(),
    }
}

fn invalid<T>(name: &str, value: &Value) -> Result<T, EvalError> {
    error(format!(
        "invalid argument for {name} (type {})",
        value.type_name()
    ))
}

fn len(value: &Value, budget: &mut Budget) -> Evaluated {
    let length = match value {
        Value::Str(text) => {
            budget.scan(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        other => return invalid("len", other),
    };
    Ok(Value::Int(length as i64))
}

/// Go's conversion of a float to an integer on amd64: out of range is the smallest one.
fn truncate(number: f64) -> i64 {
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    if in_range { number as i64 } else { i64::MIN }
}

/// The integer that an index, a bound of a range or a count is.
pub(super) fn to_int(value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Int(i) => Ok(*i),
        Value::Float(f) => Ok(truncate(*f)),
        other => error(format!("invalid operation: int({})", other.type_name())),
    }
}

fn int(value: &Value) -> Evaluated {
    match value {
        Value::Str(text) => match text.parse::<i64>() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => error(format!("invalid operation: int({text})")),
        },
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        Value::Month(n) | Value::Weekday(n) => Ok(Value::Int(i64::from(*n))),
        other => Ok(Value::Int(to_int(other)?)),
    }
}

fn float(value: &Value) -> Evaluated {
    match value {
        Value::Str(text) => match parse_float(text) {
            Some(number) if in_range(text, number) => Ok(Value::Float(number)),
            _ => error(format!("invalid operation: float({text})")),
        },
        other => match other.number() {
            Some(number) => Ok(Value::Float(number)),
            None => error(format!("invalid operation: float({})", other.type_name())),
        },
    }
}

fn as_int(value: &Value, budget: &mut Budget) -> Evaluated {
    match value {
        Value::Int(i) => Ok(Value::Int(*i)),
        Value::Float(f) => Ok(Value::Int(truncate(*f))),
        Value::Str(text) => match text.parse::<i64>() {
            Ok(number) => Ok(Value::Int(number)),
            Err(reason) => {
                use std::num::IntErrorKind::{NegOverflow, PosOverflow};
                let out_of_range = matches!(reason.kind(), PosOverflow | NegOverflow);
                let reason = if out_of_range {
                    "value out of range"
                } else {
                    "invalid syntax"
                };
                error(format!("strconv.ParseInt: parsing {text:?}: {reason}"))
            }
        },
        other => unsupported("asInt", other, budget),
    }
}

fn as_float(value: &Value, budget: &mut Budget) -> Evaluated {
    match value {
        Value::Str(text) => match parse_float(text) {
            Some(number) if in_range(text, number) => Ok(Value::Float(number)),
            Some(_) => error(format!(
                "strconv.ParseFloat: parsing {text:?}: value out of range"
            )),
            None => error(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        },
        other => match other.number() {
            Some(number) => Ok(Value::Float(number)),
            None => unsupported("asFloat", other, budget),
        },
    }
}

fn unsupported<T>(function: &str, value: &Value, budget: &mut Budget) -> Result<T, EvalError> {
    error(format!(
        "{function}() not supported on {} {}",
        value.type_name(),
        value.text(budget)?
    ))
}

/// Whether a number that was read is the one that was written: infinity only by its name.
fn in_range(text: &str, number: f64) -> bool {
    number.is_finite() || !text.contains(|c: char| c.is_ascii_digit())
}

/// A float as `strconv.ParseFloat` reads it: decimal, `inf`, `nan` and hexadecimal.
fn parse_float(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)?),
        Some(b'+') => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = without_underscores(magnitude)?.to_ascii_lowercase();
    let number = if let Some(hex) = lower.strip_prefix("0x") {
        let (digits, exponent) = hex.split_once('p')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 13 {
            return None;
        }
        let mantissa = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
        let exponent = exponent
            .parse::<i32>()
            .ok()?
            .checked_sub(4 * fraction.len() as i32)?;
        mantissa as f64 * 2f64.powi(exponent)
    } else {
        if lower.starts_with(['+', '-']) {
            return None;
        }
        lower.parse::<f64>().ok()?
    };
    Some(if negative { -number } else { number })
}

/// A number without the underscores that stand between its digits; nothing when one stands elsewhere.
fn without_underscores(number: &str) -> Option<String> {
    let digit = |c: Option<&str>| c.is_some_and(|c| c.ends_with(|c: char| c.is_ascii_hexdigit()));
    for (at, _) in number.match_indices('_') {
        let (before, after) = (number.get(..at), number.get(at + 1..at + 2));
        if !(digit(before) || before.is_some_and(|before| before.eq_ignore_ascii_case("0x"))) || !digit(after)
        {
            return None;
        }
    }
    Some(number.replace('_', ""))
}

fn extreme(
    name: &str,
    values: &[Value],
    best: &mut Option<Value>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    for value in values {
        budget.step(1)?;
        match value {
            Value::List(list) => extreme(name, &list.items, best, budget)?,
            Value::Int(_) | Value::Float(_) | Value::Duration(_) => {
                let better = match best {
                    None => true,
                    Some(best) => {
                        let order = best.order("<", value)?;
                        order
                            == Some(if name == "max" {
                                Ordering::Less
                            } else {
                                Ordering::Greater
                            })
                    }
                };
                if better {
                    *best = Some(value.clone());
                }
            }
            other => return invalid(name, other),
        }
    }
    Ok(())
}

fn collect_numbers(
    name: &str,
    values: &[Value],
    out: &mut Vec<f64>,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    for value in values {
        budget.step(1)?;
        let number = match value {
            Value::List(list) => {
                collect_numbers(name, &list.items, out, budget)?;
                continue;
            }
            Value::Duration(nanos) => *nanos as f64,
            value => match value.number() {
                Some(number) => number,
                None => return invalid(name, value),
            },
        };
        budget.memory(1)?;
        out.push(number);
    }
    Ok(())
}

fn mean(numbers: &[f64]) -> f64 {
    if numbers.is_empty() {
        0.0
    } else {
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(|a, b| float_order(*a, *b));
    let half = numbers.len() / 2;
    match (numbers.get(half), numbers.len() % 2) {
        (Some(middle), 1) => *middle,
        (Some(upper), _) => numbers
            .get(half - 1)
            .map_or(*upper, |lower| f64::midpoint(*lower, *upper)),
        (None, _) => 0.0,
    }
}

/// All floats in order, NaN first, as Go's `sort.Float64s` has them.
fn float_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn from_json(text: &str, budget: &mut Budget) -> Evaluated {
    budget.bytes(text.len())?;
    // an item of a list takes two bytes of text at least
    budget.memory(
        text.bytes()
            .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
            .count(),
    )?;
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => Value::from_json(&json),
        Err(reason) if reason.is_eof() => error("unexpected end of JSON input"),
        Err(reason) => error(format!(
            "invalid JSON at line {} column {}",
            reason.line(),
            reason.column()
        )),
    }
}

fn bits(name: &str, value: &Value) -> Result<i64, EvalError> {
    match value {
        Value::Int(i) => Ok(*i),
        other => error(format!(
            "cannot use {} as argument (type int) to call {name}",
            other.type_name()
        )),
    }
}

fn bit_function(name: &str, a: i64, b: i64) -> Evaluated {
    let shift = u32::try_from(b);
    if name.contains("sh") && b < 0 {
        return error(format!("invalid operation: negative shift count {b} (type int)"));
    }
    Ok(Value::Int(match name {
        "bitand" => a & b,
        "bitor" => a | b,
        "bitxor" => a ^ b,
        "bitnand" => a & !b,
        // a shift by the width or more shifts everything out
        "bitshl" => shift.ok().and_then(|shift| a.checked_shl(shift)).unwrap_or(0),
        "bitshr" => a >> shift.unwrap_or(63).min(63),
        _ => shift
            .ok()
            .and_then(|shift| (a as u64).checked_shr(shift))
            .unwrap_or(0) as i64,
    }))
}

fn is_text_function(name: &str) -> bool {
    matches!(
        name,
        "trim"
            | "trimPrefix"
            | "trimSuffix"
            | "upper"
            | "lower"
            | "split"
            | "splitAfter"
            | "replace"
            | "repeat"
            | "indexOf"
            | "lastIndexOf"
            | "hasPrefix"
            | "hasSuffix"
    )
}

fn text_function(name: &str, text: &str, rest: &[Value], budget: &mut Budget) -> Evaluated {
    budget.scan(text.len())?;
    Ok(match (name, rest) {
        ("trim", []) => Value::from(text.trim()),
        ("trim", [cut, ..]) => {
            let cut = string(cut)?;
            budget.step(text.len().saturating_mul(cut.len()) / 64)?;
            Value::from(text.trim_matches(|c| cut.contains(c)))
        }
        ("trimPrefix", rest) => {
            let prefix = rest.first().map(string).transpose()?.unwrap_or(" ");
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        ("trimSuffix", rest) => {
            let suffix = rest.first().map(string).transpose()?.unwrap_or(" ");
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        ("upper", _) => {
            budget.bytes(text.len())?;
            Value::from(text.chars().flat_map(simple_upper).collect::<String>())
        }
        ("lower", _) => {
            budget.bytes(text.len())?;
            Value::from(text.chars().flat_map(char::to_lowercase).collect::<String>())
        }
        ("split" | "splitAfter", [separator, rest @ ..]) => {
            let limit = rest.first().map(to_int).transpose()?.unwrap_or(-1);
            let parts = split(text, string(separator)?, limit, name == "splitAfter", budget)?;
            Value::list(parts, Element::Str)?
        }
        ("replace", [old, new, rest @ ..]) => {
            let limit = rest.first().map(to_int).transpose()?.unwrap_or(-1);
            Value::from(replace(text, string(old)?, string(new)?, limit, budget)?)
        }
        ("repeat", [count]) => {
            let count = to_int(count)?;
            if count < 0 {
                return error(format!(
                    "invalid argument for repeat (expected positive integer, got {count})"
                ));
            }
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            // by the byte here, as upstream counts it
            budget.memory(count.max(text.len().saturating_mul(count)))?;
            Value::from(text.repeat(count))
        }
        ("indexOf", [part]) => index(text.find(string(part)?)),
        ("lastIndexOf", [part]) => index(text.rfind(string(part)?)),
        ("hasPrefix", [prefix]) => Value::Bool(text.starts_with(string(prefix)?)),
        ("hasSuffix", [suffix]) => Value::Bool(text.ends_with(string(suffix)?)),
        _ => return error(format!("not enough arguments to call {name}")),
    })
}

/// Go maps one character to one: ß stays ß.
fn simple_upper(c: char) -> impl Iterator<Item = char> {
    let mut upper = c.to_uppercase();
    let single = if upper.len() == 1 { upper.next() } else { None };
    std::iter::once(single.unwrap_or(c))
}

fn index(found: Option<usize>) -> Value {
    Value::Int(found.map_or(-1, |at| at as i64))
}

/// `strings.SplitN` and `SplitAfterN`: at most `limit` parts; below zero all of them, zero none.
fn split(
    text: &str,
    separator: &str,
    limit: i64,
    after: bool,
    budget: &mut Budget,
) -> Result<Vec<Value>, EvalError> {
    let mut parts = Vec::new();
    if limit == 0 {
        return Ok(parts);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rest = text;
    budget.bytes(text.len())?;
    while parts.len() + 1 < limit {
        let cut = if separator.is_empty() {
            rest.chars()
                .next()
                .map(char::len_utf8)
                .filter(|length| *length < rest.len())
        } else {
            rest.find(separator)
        };
        let Some(cut) = cut else { break };
        budget.memory(1)?;
        let (part, tail) = rest.split_at(if after { cut + separator.len() } else { cut });
        parts.push(Value::from(part));
        rest = if after {
            tail
        } else {
            tail.get(separator.len()..).unwrap_or_default()
        };
    }
    if !(separator.is_empty() && rest.is_empty()) {
        parts.push(Value::from(rest));
    }
    Ok(parts)
}

fn replace(text: &str, old: &str, new: &str, limit: i64, budget: &mut Budget) -> Result<String, EvalError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(old).take(limit).count();
    budget.bytes(text.len().saturating_add(count.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, limit))
}

fn list_function(
    name: &str,
    items: &[Value],
    element: Element,
    rest: &[Value],
    budget: &mut Budget,
) -> Evaluated {
    match (name, rest) {
        ("first", _) => Ok(items.first().cloned().unwrap_or(Value::Nil)),
        ("last", _) => Ok(items.last().cloned().unwrap_or(Value::Nil)),
        ("join", glue) => {
            let glue = glue.first().map(string).transpose()?.unwrap_or_default();
            let mut text = String::new();
            for (index, item) in items.iter().enumerate() {
                let item = string(item)?;
                budget.step(1)?;
                budget.bytes(item.len() + glue.len())?;
                if index > 0 {
                    text.push_str(glue);
                }
                text.push_str(item);
            }
            Ok(Value::from(text))
        }
        ("take", [count]) => {
            let count = bits("take", count)?;
            let Ok(count) = usize::try_from(count) else {
                return error("reflect.Value.Slice: slice index out of bounds");
            };
            budget.memory(count.min(items.len()))?;
            Value::list(items.get(..count).unwrap_or(items).to_vec(), element)
        }
        ("reverse", _) => {
            budget.memory(items.len())?;
            Value::list(items.iter().rev().cloned().collect(), Element::Any)
        }
        ("uniq", _) => {
            let mut kept: Vec<Value> = Vec::new();
            'items: for item in items {
                for other in &kept {
                    if item.equals(other, budget)? {
                        continue 'items;
                    }
                }
                budget.memory(1)?;
                kept.push(item.clone());
            }
            Value::list(kept, Element::Any)
        }
        ("flatten", _) => {
            let mut flat = Vec::new();
            flatten(items, &mut flat, budget)?;
            Value::list(flat, Element::Any)
        }
        ("fromPairs", _) => {
            budget.memory(items.len())?;
            let mut entries: BTreeMap<Key, Value> = BTreeMap::new();
            for item in items {
                let Value::List(pair) = item else {
                    return error(format!("invalid pair {}", item.text(budget)?));
                };
                let [key, value] = pair.items.as_slice() else {
                    return error(format!("invalid pair length {}", item.text(budget)?));
                };
                entries.insert(key.key()?, value.clone());
            }
            Value::map(entries, false)
        }
        ("sort", order) => {
            budget.memory(items.len())?;
            Value::list(sorted(items, items, order.first(), budget)?, Element::Any)
        }
        _ => error(format!("unknown builtin {name}")),
    }
}

fn flatten(items: &[Value], flat: &mut Vec<Value>, budget: &mut Budget) -> Result<(), EvalError> {
    for item in items {
        budget.step(1)?;
        match item {
            Value::List(list) => flatten(&list.items, flat, budget)?,
            item => {
                budget.memory(1)?;
                flat.push(item.clone());
            }
        }
    }
    Ok(())
}

/// The items in the order of their keys; equal keys keep the order of the items.
pub(super) fn sorted(
    items: &[Value],
    keys: &[Value],
    order: Option<&Value>,
    budget: &mut Budget,
) -> Result<Vec<Value>, EvalError> {
    let descending = match order.map(string).transpose()? {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => return error(format!("invalid order {other}, expected asc or desc")),
    };
    // every pair must have an order, or the sort could not be trusted
    let floats = keys.iter().any(|key| matches!(key, Value::Float(_)));
    for pair in keys.windows(2) {
        if let [a, b] = pair {
            b.order("<", a)?;
        }
    }
    budget.step(
        items
            .len()
            .saturating_mul(items.len().max(1).ilog2() as usize + 1),
    )?;
    let mut pairs: Vec<(&Value, &Value)> = keys.iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| {
        let order = match (a.number(), b.number()) {
            (Some(a), Some(b)) if floats => float_order(a, b),
            _ => a.order("<", b).ok().flatten().unwrap_or(Ordering::Equal),
        };
        if descending { order.reverse() } else { order }
    });
    Ok(pairs.into_iter().map(|(_, item)| item.clone()).collect())
}
