//! The bytes that Go's `encoding/json` writes for a pod template or a list of steps.
//!
//! Hashes are made of these bytes (contract 2.4), so they must be exact: fields in struct order, map keys
//! sorted, HTML characters escaped, unknown fields dropped, each field's own rule for what is left out.
//! A value that does not fit its type counts as absent (contract 2.1): one bad field never spoils the rest.

use std::borrow::Cow;

use jiff::{Timestamp, fmt::strtime};
use serde_json::{Map, Number, Value};

use super::{
    quantity::Quantity,
    schema::{Field, Kind, Omit, Schema},
};

/// Takes the bytes as they come, so that hashing needs no buffer.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Which differences the bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Exactly as Go.
    Go,
    /// Values that Kubernetes takes for equal give equal bytes: quantities by value, nil lists as empty ones.
    Semantic,
}

/// Writes a `PodTemplateSpec`.
pub(super) fn write_pod_template(sink: &mut impl Sink, form: Form, template: &Value) {
    let schema = Schema::get();
    Writer { sink, form, schema }.value(&schema.pod_template, Some(template));
}

/// Writes a list of `CanaryStep`. Without any it is `null`: `omitempty` has made it nil on the way.
pub(super) fn write_canary_steps(sink: &mut impl Sink, steps: &[Value]) {
    if steps.is_empty() {
        return sink.put(b"null");
    }
    let schema = Schema::get();
    let mut writer = Writer {
        sink,
        form: Form::Go,
        schema,
    };
    writer.list(&schema.canary_step, steps);
}

struct Writer<'a, S> {
    sink: &'a mut S,
    form: Form,
    schema: &'static Schema,
}

impl<S: Sink> Writer<'_, S> {
    /// Writes a value of a kind; what is absent, null or of another type is the kind's zero value.
    fn value(&mut self, kind: &Kind, value: Option<&Value>) {
        let value = value.filter(|value| fits(kind, value));
        match kind {
            Kind::String => self.string(value.and_then(Value::as_str).unwrap_or_default()),
            Kind::Bool => self.put(if value == Some(&Value::Bool(true)) {
                "true"
            } else {
                "false"
            }),
            Kind::Int(..) => self.put(&value.and_then(integer).unwrap_or_default().to_string()),
            Kind::Raw => self.raw(value.unwrap_or(&Value::Null)),
            Kind::Quantity => {
                let text = value.and_then(quantity).map_or(Cow::Borrowed("0"), |quantity| {
                    Cow::Owned(match self.form {
                        Form::Go => quantity.go_text(),
                        Form::Semantic => quantity.canonical(),
                    })
                });
                self.string(&text);
            }
            Kind::IntOrString => match value {
                Some(Value::String(text)) => self.string(text),
                value => self.put(&value.and_then(integer).unwrap_or_default().to_string()),
            },
            Kind::Time => match value.and_then(time) {
                Some(time) => self.string(&time),
                None => self.put("null"),
            },
            Kind::Struct(index) => self.structure(*index, value.and_then(Value::as_object)),
            Kind::Pointer(inner) => match value {
                Some(value) => self.value(inner, Some(value)),
                None => self.put("null"),
            },
            Kind::List(inner) => match (value.and_then(Value::as_array), self.form) {
                (Some(items), _) => self.list(inner, items),
                (None, Form::Semantic) => self.put("[]"),
                (None, Form::Go) => self.put("null"),
            },
            Kind::Map(inner) => match (value.and_then(Value::as_object), self.form) {
                (Some(entries), _) => self.map(inner, entries),
                (None, Form::Semantic) => self.put("{}"),
                (None, Form::Go) => self.put("null"),
            },
        }
    }

    fn structure(&mut self, index: usize, object: Option<&Map<String, Value>>) {
        let schema = self.schema;
        let mut separator = "{";
        for field in schema.fields(index) {
            let value = object
                .and_then(|object| object.get(&field.name))
                .filter(|value| accepts(field, value));
            if omitted(field, value) {
                continue;
            }
            self.put(separator);
            separator = ",";
            self.string(&field.name);
            self.put(":");
            self.value(&field.kind, value);
        }
        self.put(if separator == "{" { "{}" } else { "}" });
    }

    fn list(&mut self, inner: &Kind, items: &[Value]) {
        self.put("[");
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                self.put(",");
            }
            self.value(inner, Some(item));
        }
        self.put("]");
    }

    fn map(&mut self, inner: &Kind, entries: &Map<String, Value>) {
        let mut entries: Vec<_> = entries
            .iter()
            .filter(|(_, value)| value.is_null() || fits(inner, value))
            .collect();
        entries.sort_unstable_by_key(|(key, _)| key.as_str());
        self.put("{");
        for (position, (key, value)) in entries.into_iter().enumerate() {
            if position > 0 {
                self.put(",");
            }
            self.string(key);
            self.put(":");
            self.value(inner, Some(value));
        }
        self.put("}");
    }

    /// JSON of no known type, as Go writes a decoded document again: keys sorted, numbers in its own format.
    fn raw(&mut self, value: &Value) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Value::Number(number) => self.put(&number_text(number)),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.put("[");
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        self.put(",");
                    }
                    self.raw(item);
                }
                self.put("]");
            }
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| key.as_str());
                self.put("{");
                for (position, (key, value)) in entries.into_iter().enumerate() {
                    if position > 0 {
                        self.put(",");
                    }
                    self.string(key);
                    self.put(":");
                    self.raw(value);
                }
                self.put("}");
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.put("\"");
        let mut rest = text;
        while let Some(position) = rest.find(needs_escape) {
            let (plain, tail) = rest.split_at(position);
            self.put(plain);
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                self.escape(character);
            }
            rest = characters.as_str();
        }
        self.put(rest);
        self.put("\"");
    }

    fn escape(&mut self, character: char) {
        match character {
            '"' => self.put("\\\""),
            '\\' => self.put("\\\\"),
            '\n' => self.put("\\n"),
            '\r' => self.put("\\r"),
            '\t' => self.put("\\t"),
            '\u{8}' => self.put("\\b"),
            '\u{c}' => self.put("\\f"),
            other => self.put(&format!("\\u{:04x}", u32::from(other))),
        }
    }

    fn put(&mut self, text: &str) {
        self.sink.put(text.as_bytes());
    }
}

fn needs_escape(character: char) -> bool {
    matches!(
        character,
        '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}'
    )
}

/// Whether a field takes a value, null aside. A list of ephemeral containers is all or nothing: a template may
/// not have any, so half a list would make a ReplicaSet impossible where upstream makes one without (contract 2.1).
pub(super) fn accepts(field: &Field, value: &Value) -> bool {
    fits(&field.kind, value) && (field.name != "ephemeralContainers" || well_formed(&field.kind, value))
}

/// Whether the value is of the kind, not looking inside structs and maps. Null fits nothing; a list with an
/// element of another kind does not fit as a whole.
pub(super) fn fits(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::String => value.is_string(),
        Kind::Bool => value.is_boolean(),
        Kind::Int(least, most) => integer(value).is_some_and(|number| (*least..=*most).contains(&number)),
        Kind::Raw => !value.is_null(),
        Kind::Quantity => quantity(value).is_some(),
        Kind::IntOrString => {
            value.is_string() || integer(value).is_some_and(|number| i32::try_from(number).is_ok())
        }
        Kind::Time => time(value).is_some(),
        Kind::Struct(_) | Kind::Map(_) => value.is_object(),
        Kind::Pointer(inner) => fits(inner, value),
        Kind::List(inner) => value
            .as_array()
            .is_some_and(|items| items.iter().all(|item| item.is_null() || fits(inner, item))),
    }
}

/// Whether the value and everything in it fits.
fn well_formed(kind: &Kind, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    match (kind, value) {
        (Kind::Pointer(inner), _) => well_formed(inner, value),
        (Kind::List(inner), Value::Array(items)) => items.iter().all(|item| well_formed(inner, item)),
        (Kind::Map(inner), Value::Object(entries)) => entries.values().all(|entry| well_formed(inner, entry)),
        (Kind::Struct(index), Value::Object(object)) => Schema::get().fields(*index).iter().all(|field| {
            object
                .get(&field.name)
                .is_none_or(|value| well_formed(&field.kind, value))
        }),
        _ => fits(kind, value),
    }
}

/// Whether a field is left out; `value` is already known to fit.
fn omitted(field: &Field, value: Option<&Value>) -> bool {
    if field.omit == Omit::Never {
        return false;
    }
    let Some(value) = value else {
        let is_struct = matches!(
            field.kind,
            Kind::Struct(_) | Kind::Quantity | Kind::IntOrString | Kind::Time
        );
        return field.omit == Omit::Zero || !is_struct;
    };
    match (&field.kind, value) {
        (Kind::Bool, _) => value == &Value::Bool(false),
        (Kind::Int(..), _) => integer(value) == Some(0),
        (Kind::String, Value::String(text)) => text.is_empty(),
        (Kind::List(_), Value::Array(items)) => items.is_empty(),
        (Kind::Map(inner), Value::Object(entries)) => !entries
            .values()
            .any(|value| value.is_null() || fits(inner, value)),
        _ => false,
    }
}

/// A whole number, also one that was written as `30.0`: the API server stores that as 30.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
        // a float beyond 2^53 does not say which whole number was meant
        (float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// A quantity, sent as text or as a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number_text(number)),
        _ => None,
    }
}

/// `metav1.Time`: whole seconds in UTC.
fn time(value: &Value) -> Option<String> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    strtime::format("%Y-%m-%dT%H:%M:%SZ", time).ok()
}

/// A number as Go writes it: exponents only below 1e-6 and from 1e21 on.
fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            let size = float.abs();
            if float == 0.0 || (1e-6..1e21).contains(&size) {
                format!("{float}")
            } else {
                let text = format!("{float:e}");
                if size < 1.0 { text } else { text.replace('e', "e+") }
            }
        }
        _ => number.to_string(),
    }
}
