//! The values of the language and how they compare.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::budget::Budget;
use super::{EvalError, MAX_DEPTH, gotime};

/// A value of the condition language. Cloning is cheap: what is large is shared.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number; arithmetic wraps around, as in Go.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Bytes, from `b"…"`.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<List>),
    /// A map.
    Map(Arc<Map>),
    /// A span of time in nanoseconds.
    Duration(i64),
    /// A moment with its time zone.
    Time(Arc<Zoned>),
    /// A time zone.
    Zone(TimeZone),
    /// A month, 1 to 12.
    Month(i8),
    /// A day of the week, 0 (Sunday) to 6.
    Weekday(i8),
}

/// What Go would declare the elements of a list to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Any,
    Int,
    Float,
    Str,
}

/// The items of a list.
#[derive(Debug)]
pub struct List {
    pub(super) items: Vec<Value>,
    pub(super) element: Element,
    depth: usize,
}

/// The entries of a map, ordered by key.
#[derive(Debug)]
pub struct Map {
    pub(super) entries: BTreeMap<Key, Value>,
    /// Whether all keys are strings by declaration, as in JSON.
    pub(super) string_keys: bool,
    /// Whether the values are lists by declaration: what is missing is then an empty list.
    pub(super) of_lists: bool,
    depth: usize,
}

/// A key of a map. Numbers that are equal but of different types are different keys, as in Go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Nil,
    Bool(bool),
    Int(i64),
    Float(FloatKey),
    Str(Arc<str>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FloatKey(pub(super) f64);

impl PartialEq for FloatKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for FloatKey {}
impl PartialOrd for FloatKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for FloatKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // -0 and 0 are the same key
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl Key {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => Value::Int(*i),
            Self::Float(f) => Value::Float(f.0),
            Self::Str(s) => Value::Str(s.clone()),
        }
    }
}

impl List {
    /// The items in their order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    fn build(items: Vec<Value>, element: Element) -> Result<Self, EvalError> {
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        if depth > MAX_VALUE_DEPTH {
            return Err(too_deep());
        }
        Ok(Self {
            items,
            element,
            depth,
        })
    }
}

impl Map {
    /// The entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (Value, &Value)> {
        self.entries.iter().map(|(key, value)| (key.value(), value))
    }
}

/// How deep lists and maps may be nested: one document of JSON inside the deepest literal that can be written.
const MAX_VALUE_DEPTH: usize = 2 * MAX_DEPTH;

fn too_deep() -> EvalError {
    EvalError::new("value is nested too deeply")
}

impl Value {
    /// The value of a JSON document, numbers being floats as in Go.
    ///
    /// # Errors
    /// When lists and objects are nested more than 256 deep.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, EvalError> {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: &serde_json::Value, depth: usize) -> Result<Self, EvalError> {
        use serde_json::Value as Json;
        if depth > MAX_VALUE_DEPTH {
            return Err(too_deep());
        }
        Ok(match json {
            Json::Null => Self::Nil,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::from(text.as_str()),
            Json::Array(items) => Self::list(
                items
                    .iter()
                    .map(|item| Self::from_json_at(item, depth + 1))
                    .collect::<Result<_, _>>()?,
                Element::Any,
            )?,
            Json::Object(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| {
                        Ok((
                            Key::Str(Arc::from(key.as_str())),
                            Self::from_json_at(value, depth + 1)?,
                        ))
                    })
                    .collect::<Result<_, EvalError>>()?;
                Self::map(entries, true)?
            }
        })
    }

    /// A list of floats: the vector that a Prometheus query answers with.
    pub fn floats(items: impl IntoIterator<Item = f64>) -> Self {
        let items = items.into_iter().map(Self::Float).collect();
        Self::List(Arc::new(List {
            items,
            element: Element::Float,
            depth: 1,
        }))
    }

    /// A moment in UTC.
    pub fn time(at: Timestamp) -> Self {
        Self::Time(Arc::new(at.to_zoned(TimeZone::UTC)))
    }

    pub(super) fn list(items: Vec<Self>, element: Element) -> Result<Self, EvalError> {
        Ok(Self::List(Arc::new(List::build(items, element)?)))
    }

    pub(super) fn map(entries: BTreeMap<Key, Self>, string_keys: bool) -> Result<Self, EvalError> {
        let depth = 1 + entries.values().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_VALUE_DEPTH {
            return Err(too_deep());
        }
        Ok(Self::Map(Arc::new(Map {
            entries,
            string_keys,
            of_lists: false,
            depth,
        })))
    }

    /// The groups of `groupBy`.
    pub(super) fn groups(groups: BTreeMap<Key, Vec<Self>>) -> Result<Self, EvalError> {
        let mut depth = 0;
        let mut entries = BTreeMap::new();
        for (key, items) in groups {
            let list = Self::list(items, Element::Any)?;
            depth = depth.max(list.depth());
            entries.insert(key, list);
        }
        if depth >= MAX_VALUE_DEPTH {
            return Err(too_deep());
        }
        Ok(Self::Map(Arc::new(Map {
            entries,
            string_keys: false,
            of_lists: true,
            depth: depth + 1,
        })))
    }

    fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// The name of the type as Go prints it, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::List(list) => match list.element {
                Element::Any => "[]interface {}",
                Element::Int => "[]int",
                Element::Float => "[]float64",
                Element::Str => "[]string",
            },
            Self::Map(map) if map.string_keys => "map[string]interface {}",
            Self::Map(_) => "map[interface {}]interface {}",
            Self::Duration(_) => "time.Duration",
            Self::Time(_) => "time.Time",
            Self::Zone(_) => "*time.Location",
            Self::Month(_) => "time.Month",
            Self::Weekday(_) => "time.Weekday",
        }
    }

    /// The number as a float; months and weekdays are not numbers.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The value as a key of a map.
    pub(super) fn key(&self) -> Result<Key, EvalError> {
        Ok(match self {
            Self::Nil => Key::Nil,
            Self::Bool(b) => Key::Bool(*b),
            Self::Int(i) => Key::Int(*i),
            Self::Float(f) => Key::Float(FloatKey(*f)),
            Self::Str(s) => Key::Str(s.clone()),
            other => {
                return Err(EvalError::new(format!(
                    "runtime error: hash of unhashable type {}",
                    other.type_name()
                )));
            }
        })
    }

    /// Whether two values are equal; 1 and 1.0 are, but not inside a map (`reflect.DeepEqual` decides there).
    pub(super) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, EvalError> {
        self.equals_in(other, false, budget)
    }

    fn equals_in(&self, other: &Self, same_types: bool, budget: &mut Budget) -> Result<bool, EvalError> {
        budget.step(1)?;
        Ok(match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) | (Self::Duration(a), Self::Duration(b)) => a == b,
            #[expect(clippy::float_cmp, reason = "equality of the language is exact")]
            (Self::Float(a), Self::Float(b)) => a == b,
            #[expect(clippy::float_cmp, reason = "equality of the language is exact")]
            (Self::Int(a), Self::Float(b)) | (Self::Float(b), Self::Int(a)) => !same_types && *a as f64 == *b,
            (Self::Str(a), Self::Str(b)) => {
                budget.scan(a.len().min(b.len()))?;
                a == b
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                budget.scan(a.len().min(b.len()))?;
                a == b
            }
            (Self::Time(a), Self::Time(b)) => a.timestamp() == b.timestamp(),
            (Self::Month(a), Self::Month(b)) | (Self::Weekday(a), Self::Weekday(b)) => a == b,
            (Self::Zone(a), Self::Zone(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals_in(b, same_types, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for ((key, a), (other_key, b)) in a.entries.iter().zip(&b.entries) {
                    if key != other_key || !a.equals_in(b, true, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }

    /// How two values are ordered: numbers with numbers, strings with strings, times with times, durations with
    /// durations. `Ok(None)` for NaN, `Err` for values that have no order.
    pub(super) fn order(&self, operator: &str, other: &Self) -> Result<Option<Ordering>, EvalError> {
        Ok(match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Str(a), Self::Str(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.timestamp().cmp(&b.timestamp())),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => return Err(EvalError::operation(operator, a, b)),
            },
        })
    }

    /// The text that Go's `%v` gives.
    pub(super) fn text(&self, budget: &mut Budget) -> Result<String, EvalError> {
        let mut text = String::new();
        self.write_text(&mut text, budget)?;
        budget.bytes(text.len())?;
        Ok(text)
    }

    fn write_text(&self, text: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
        use fmt::Write as _;
        budget.step(1)?;
        match self {
            Self::Str(s) => {
                budget.scan(s.len())?;
                text.push_str(s);
            }
            Self::Bytes(bytes) => {
                budget.step(bytes.len())?;
                let _ = write!(
                    text,
                    "[{}]",
                    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
                );
            }
            Self::List(list) => {
                text.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    if index > 0 {
                        text.push(' ');
                    }
                    item.write_text(text, budget)?;
                }
                text.push(']');
            }
            Self::Map(map) => {
                text.push_str("map[");
                for (index, (key, value)) in map.entries.iter().enumerate() {
                    if index > 0 {
                        text.push(' ');
                    }
                    key.value().write_text(text, budget)?;
                    text.push(':');
                    value.write_text(text, budget)?;
                }
                text.push(']');
            }
            scalar => {
                let _ = write!(text, "{scalar}");
            }
        }
        Ok(())
    }

    /// The value as indented JSON, as Go writes it.
    pub(super) fn json(&self, budget: &mut Budget) -> Result<String, EvalError> {
        let mut text = String::new();
        self.write_json(&mut text, 0, budget)?;
        budget.bytes(text.len())?;
        Ok(text)
    }

    fn write_json(&self, text: &mut String, depth: usize, budget: &mut Budget) -> Result<(), EvalError> {
        use fmt::Write as _;
        // the indentation counts: it is what grows with depth
        budget.step(1 + depth)?;
        match self {
            Self::Nil => text.push_str("null"),
            Self::Str(s) => {
                budget.step(s.len() / 8)?;
                write_json_string(text, s);
            }
            Self::Bytes(bytes) => {
                budget.step(bytes.len() / 8)?;
                let _ = write!(text, "\"{}\"", super::base64::encode(bytes));
            }
            Self::Float(f) => {
                let written = json_float(*f).ok_or_else(|| {
                    EvalError::new(format!("json: unsupported value: {}", gotime::float(*f)))
                })?;
                text.push_str(&written);
            }
            Self::Duration(nanos) => {
                let _ = write!(text, "{nanos}");
            }
            Self::Month(n) | Self::Weekday(n) => {
                let _ = write!(text, "{n}");
            }
            Self::Time(time) => write_json_string(text, &gotime::rfc3339(time)),
            Self::Zone(_) => text.push_str("{}"),
            Self::Bool(_) | Self::Int(_) => {
                let _ = write!(text, "{self}");
            }
            Self::List(list) => list.write_json(text, depth, budget)?,
            Self::Map(map) => {
                if !map.string_keys {
                    return Err(EvalError::new(format!(
                        "json: unsupported type: {}",
                        self.type_name()
                    )));
                }
                map.write_json(text, depth, budget)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    /// The text of a scalar as Go's `%v` prints it; lists and maps by their type only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<nil>"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Float(x) => f.write_str(&gotime::float(*x)),
            Self::Str(s) => f.write_str(s),
            Self::Duration(nanos) => f.write_str(&gotime::duration_text(*nanos)),
            Self::Time(time) => f.write_str(&gotime::time_text(time)),
            Self::Zone(zone) => f.write_str(&gotime::zone_name(zone)),
            Self::Month(month) => f.write_str(gotime::month_name(*month)),
            Self::Weekday(day) => f.write_str(gotime::weekday_name(*day)),
            Self::Bytes(_) | Self::List(_) | Self::Map(_) => f.write_str(self.type_name()),
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Arc::from(text))
    }
}

/// Go's encoding of a float in JSON; nothing for NaN and the infinities.
fn json_float(f: f64) -> Option<String> {
    if !f.is_finite() {
        return None;
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{f:e}");
        return Some(match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        });
    }
    Some(format!("{f}"))
}

/// A new line, indented as deep as this.
fn json_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

impl List {
    fn write_json(&self, text: &mut String, depth: usize, budget: &mut Budget) -> Result<(), EvalError> {
        text.push('[');
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            json_line(text, depth + 1);
            item.write_json(text, depth + 1, budget)?;
        }
        if !self.items.is_empty() {
            json_line(text, depth);
        }
        text.push(']');
        Ok(())
    }
}

impl Map {
    fn write_json(&self, text: &mut String, depth: usize, budget: &mut Budget) -> Result<(), EvalError> {
        text.push('{');
        for (index, (key, value)) in self.entries.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            json_line(text, depth + 1);
            if let Key::Str(key) = key {
                budget.step(key.len() / 8)?;
                write_json_string(text, key);
            }
            text.push_str(": ");
            value.write_json(text, depth + 1, budget)?;
        }
        if !self.entries.is_empty() {
            json_line(text, depth);
        }
        text.push('}');
        Ok(())
    }
}

/// A JSON string with the escapes of Go, which are safe inside HTML.
fn write_json_string(text: &mut String, s: &str) {
    use fmt::Write as _;
    text.push('"');
    for c in s.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
