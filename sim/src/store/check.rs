//! Bringing an object into the form of its schema: unknown fields go, types are checked, custom resources get their
//! defaults and are validated.

use serde_json::{Map, Value, json};

use crate::store::{
    schema::{Limits, Schema, Type},
    status::Cause,
};

/// Drops what the schema does not know and collects the paths of what was dropped.
pub(crate) fn prune(object: &mut Value, schema: &Schema, dropped: &mut Vec<String>) {
    prune_at(object, schema, &Path::Top, dropped);
}

/// Where a field is: `spec.steps[0].setWeight`. Only what is refused needs the words, so each part knows the one before it
/// and nothing is put together on the way.
#[derive(Clone, Copy)]
enum Path<'a> {
    Top,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Field(Self::Top, key) => (*key).to_owned(),
            Self::Field(parent, key) => format!("{}.{key}", parent.text()),
            Self::Item(parent, index) => format!("{}[{index}]", parent.text()),
        }
    }
}

fn prune_at(object: &mut Value, schema: &Schema, path: &Path<'_>, dropped: &mut Vec<String>) {
    match object {
        Value::Object(map) if schema.kind != Type::Any || !schema.properties.is_empty() => {
            let known = |key: &str| {
                schema.preserve_unknown
                    || schema.field(key).is_some()
                    || (schema.embedded && matches!(key, "apiVersion" | "kind" | "metadata"))
            };
            // almost always nothing goes, and to look is cheaper than to take apart
            if !map.keys().all(|key| known(key)) {
                map.retain(|key, _| {
                    let keep = known(key);
                    if !keep {
                        dropped.push(Path::Field(path, key).text());
                    }
                    keep
                });
            }
            for (key, inner) in map.iter_mut() {
                if let Some(schema) = schema.field(key) {
                    prune_at(inner, schema, &Path::Field(path, key), dropped);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter_mut().enumerate() {
                    prune_at(item, schema, &Path::Item(path, index), dropped);
                }
            }
        }
        _ => {}
    }
}

/// What Go's decoder and encoder do to Kubernetes' own types: nulls go, and so do empty lists and maps that are not
/// required.
///
/// # Errors
/// The decoder's words for a value of the wrong type.
pub(crate) fn retype(object: &mut Value, schema: &Schema) -> Result<(), String> {
    retype_at(object, schema, &Path::Top)
}

fn retype_at(object: &mut Value, schema: &Schema, path: &Path<'_>) -> Result<(), String> {
    let fits = match &*object {
        Value::Null => true,
        Value::Object(_) => matches!(schema.kind, Type::Any | Type::Object),
        Value::Array(_) => matches!(schema.kind, Type::Any | Type::Array),
        Value::String(_) => matches!(schema.kind, Type::Any | Type::String | Type::IntOrString),
        Value::Bool(_) => matches!(schema.kind, Type::Any | Type::Boolean),
        Value::Number(number) => match schema.kind {
            Type::Integer => number.is_i64(),
            kind => matches!(kind, Type::Any | Type::Number | Type::IntOrString),
        },
    };
    if !fits {
        let found = match object {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            Value::Number(_) | Value::Null => "number",
        };
        let wanted = match schema.kind {
            Type::Object => "map",
            Type::Array => "slice",
            Type::Integer => "int",
            Type::Boolean => "bool",
            Type::Number => "float64",
            _ => "string",
        };
        return Err(format!(
            "json: cannot unmarshal {found} into Go struct field {} of type {wanted}",
            path.text()
        ));
    }
    match object {
        Value::Object(map) if schema.kind == Type::Object => {
            for (key, inner) in map.iter_mut() {
                if let Some(schema) = schema.field(key) {
                    retype_at(inner, schema, &Path::Field(path, key))?;
                }
            }
            let keeps = |key: &String, inner: &Value| match inner {
                Value::Null => schema.field(key).is_some_and(|s| s.kind == Type::Any),
                // an empty list of owners is an order to forget them
                Value::Array(_) if key == "managedFields" => true,
                Value::Array(items) if items.is_empty() => {
                    schema.required.contains(key) || schema.field(key).is_none()
                }
                Value::Object(fields) if fields.is_empty() => {
                    let is_map = schema.field(key).is_some_and(|s| s.additional.is_some());
                    !is_map || schema.required.contains(key)
                }
                _ => true,
            };
            if !map.iter().all(|(key, inner)| keeps(key, inner)) {
                map.retain(|key, inner| keeps(key, inner));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter_mut().enumerate() {
                    retype_at(item, schema, &Path::Item(path, index))?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Fills in the defaults of a custom resource's schema. A null where null is no value gives way to the default.
pub(crate) fn fill(object: &mut Value, schema: &Schema) {
    match object {
        Value::Object(map) => {
            for (key, inner) in &schema.properties {
                let absent = match map.get(key) {
                    None => true,
                    Some(Value::Null) => !inner.nullable,
                    Some(_) => false,
                };
                if let (true, Some(default)) = (absent, &inner.default) {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, value) in map.iter_mut() {
                if let Some(inner) = schema.field(key) {
                    fill(value, inner);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for item in items {
                    fill(item, inner);
                }
            }
        }
        _ => {}
    }
}

/// Validates a custom resource against its schema; `old` is the object before an update.
pub(crate) fn validate(object: &Value, old: Option<&Value>, schema: &Schema) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Value::Object(map) = object else { return causes };
    let path = Path::Top;
    require(map, schema, &path, &mut causes);
    for (key, inner) in map {
        // metadata has rules of its own
        if let (Some(schema), true) = (schema.properties.get(key), key != "metadata") {
            let old = old.and_then(|old| old.get(key));
            validate_at(inner, old, schema, &Path::Field(&path, key), &mut causes);
        }
    }
    causes
}

fn require(map: &Map<String, Value>, schema: &Schema, path: &Path<'_>, causes: &mut Vec<Cause>) {
    for key in &schema.required {
        if !map.contains_key(key) {
            causes.push(Cause::required(Path::Field(path, key).text(), ""));
        }
    }
}

fn validate_at(
    value: &Value,
    old: Option<&Value>,
    schema: &Schema,
    path: &Path<'_>,
    causes: &mut Vec<Cause>,
) {
    if value.is_null() && (schema.nullable || schema.kind == Type::Any) {
        return;
    }
    let (wanted, fits) = match schema.kind {
        Type::Any => ("", true),
        Type::Object => ("object", value.is_object()),
        Type::Array => ("array", value.is_array()),
        Type::String => ("string", value.is_string()),
        Type::Boolean => ("boolean", value.is_boolean()),
        Type::Number => ("number", value.is_number()),
        Type::Integer => ("integer", value.as_f64().is_some_and(|n| n.fract() == 0.0)),
        Type::IntOrString => (
            "integer,string",
            value.is_string() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        ),
    };
    if !fits {
        let found = json!(type_name(value));
        let at = path.text();
        let detail = format!("{at} in body must be of type {wanted}: {found}");
        causes.push(Cause::type_invalid(at, &found, &detail));
        return;
    }
    if let Some(limits) = &schema.limits {
        limit(value, old, limits, path, causes);
    }
    match value {
        Value::Object(map) => {
            require(map, schema, path, causes);
            for (key, inner) in map {
                if let Some(schema) = schema.field(key) {
                    let old = old.and_then(|old| old.get(key));
                    validate_at(inner, old, schema, &Path::Field(path, key), causes);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    // elements of a list have no "before" that they could be compared with
                    validate_at(item, None, schema, &Path::Item(path, index), causes);
                }
            }
        }
        _ => {}
    }
}

fn limit(value: &Value, old: Option<&Value>, limits: &Limits, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if let Some(number) = value.as_f64() {
        limit_number(value, number, limits, path, causes);
    }
    if let Some(text) = value.as_str() {
        limit_text(value, text, limits, path, causes);
    }
    let count = value
        .as_array()
        .map(Vec::len)
        .or_else(|| value.as_object().map(Map::len))
        .map(|n| n as u64);
    if let Some(count) = count {
        limit_count(value, count, limits, path, causes);
    }
    if !limits.values.is_empty() && !limits.values.contains(value) {
        causes.push(Cause::not_supported(path.text(), value, &limits.values));
    }
    if let (Some(message), Some(old)) = (&limits.immutable, old)
        && old != value
    {
        let shown = json!(type_name(value));
        let shown = if value.is_object() || value.is_array() {
            &shown
        } else {
            value
        };
        causes.push(Cause::invalid(path.text(), shown, message));
    }
}

fn wrong(path: &Path<'_>, value: &Value, detail: &str) -> Cause {
    let at = path.text();
    Cause::invalid(at.as_str(), value, &format!("{at} in body {detail}"))
}

fn limit_number(value: &Value, number: f64, limits: &Limits, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if let Some(min) = limits
        .minimum
        .filter(|&min| number < min || (limits.exclusive_minimum && number <= min))
    {
        let or_equal = if limits.exclusive_minimum {
            ""
        } else {
            " or equal to"
        };
        causes.push(wrong(
            path,
            value,
            &format!("should be greater than{or_equal} {min}"),
        ));
    }
    if let Some(max) = limits
        .maximum
        .filter(|&max| number > max || (limits.exclusive_maximum && number >= max))
    {
        let or_equal = if limits.exclusive_maximum {
            ""
        } else {
            " or equal to"
        };
        causes.push(wrong(
            path,
            value,
            &format!("should be less than{or_equal} {max}"),
        ));
    }
    if limits.format.as_deref() == Some("int32") && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
        causes.push(wrong(path, value, "must be of type integer with format int32"));
    }
}

fn limit_text(value: &Value, text: &str, limits: &Limits, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(min) = limits.min_length.filter(|&min| length < min) {
        causes.push(wrong(
            path,
            value,
            &format!("should be at least {min} chars long"),
        ));
    }
    if let Some(pattern) = limits.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        causes.push(wrong(path, value, &format!("should match '{pattern}'")));
    }
    if limits.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        causes.push(wrong(path, value, &format!("must be of type date-time: {value}")));
    }
    if let Some(max) = limits.max_length.filter(|&max| length > max) {
        causes.push(Cause::too_long(path.text(), max as usize));
    }
}

/// Items of a list, or properties of an object.
fn limit_count(value: &Value, count: u64, limits: &Limits, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let (min, max, what) = if value.is_array() {
        (limits.min_items, limits.max_items, "items")
    } else {
        (limits.min_properties, limits.max_properties, "properties")
    };
    if let Some(min) = min.filter(|&min| count < min) {
        let at = path.text();
        causes.push(Cause::invalid(
            at.as_str(),
            &json!(count),
            &format!("{at} in body should have at least {min} {what}"),
        ));
    }
    if let Some(max) = max.filter(|&max| count > max) {
        let message = format!("Too many: {count}: must have at most {max} {what}");
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message,
            field: path.text(),
        });
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
