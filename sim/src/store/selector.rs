//! Label and field selectors, in the form of query parameters.

use serde_json::Value;

use crate::store::value::Fields as _;
use crate::store::{resource::Resource, status::Status, value};

/// What a list, watch or deletecollection is limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads both selectors; empty text selects everything.
    ///
    /// # Errors
    /// 400 for a selector that does not parse, or a field that the kind cannot be selected by.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(resource, fields)?,
        })
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|r| r.matches(object)) && self.fields.iter().all(|f| field_matches(object, f))
    }

    /// The one name that is asked for, if `metadata.name=…` is in the field selector.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _, equal)| key == "metadata.name" && *equal)
            .map(|(_, name, _)| name.as_str())
    }
}

impl Requirement {
    fn matches(&self, object: &Value) -> bool {
        let label = object
            .field("/metadata/labels")
            .and_then(|l| l.get(&self.key))
            .and_then(Value::as_str);
        match (&self.op, label) {
            (Op::In(values), Some(label)) => values.iter().any(|v| v == label),
            (Op::NotIn(values), Some(label)) => values.iter().all(|v| v != label),
            (Op::Exists, label) => label.is_some(),
            (Op::Absent, label) => label.is_none(),
            (Op::In(_), None) => false,
            (Op::NotIn(_), None) => true,
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, Status> {
    let wrong = |part: &str| {
        Status::bad_request(format!(
            "unable to parse requirement: {part:?} is not a label selector"
        ))
    };
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = requirement_end(rest);
        let part = rest.get(..end).unwrap_or(rest).trim();
        rest = rest
            .get(end..)
            .unwrap_or_default()
            .trim_start_matches(',')
            .trim_start();
        out.push(parse_requirement(part).ok_or_else(|| wrong(part))?);
    }
    Ok(out)
}

/// The first comma that is not in parentheses.
fn requirement_end(text: &str) -> usize {
    let mut depth = 0_u32;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return index,
            _ => {}
        }
    }
    text.len()
}

fn parse_requirement(part: &str) -> Option<Requirement> {
    let new = |key: &str, op: Op| {
        (is_key(key.trim())).then(|| Requirement {
            key: key.trim().to_owned(),
            op,
        })
    };
    if let Some(key) = part.strip_prefix('!') {
        return new(key, Op::Absent);
    }
    if let Some((key, value)) = part.split_once("!=") {
        return new(key, Op::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return new(key, Op::In(vec![value.trim().to_owned()]));
    }
    if let Some((head, list)) = part.split_once('(') {
        let values = list
            .trim_end()
            .strip_suffix(')')?
            .split(',')
            .map(|v| v.trim().to_owned())
            .collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => new(key, Op::In(values)),
            (Some(key), Some("notin"), None) => new(key, Op::NotIn(values)),
            _ => None,
        };
    }
    new(part, Op::Exists)
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<(String, String, bool)>, Status> {
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value, equal) = if let Some((key, value)) = part.split_once("!=") {
            (key, value, false)
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, value, true)
        } else {
            return Err(Status::bad_request(format!(
                "Unable to find \"{}\" that match label selector \"\", field selector \"{part}\": invalid selector: '{part}'; can't understand '{part}'",
                resource.group_resource()
            )));
        };
        let known = key == "metadata.name"
            || (key == "metadata.namespace" && resource.namespaced)
            || resource.field_labels.iter().any(|label| label == key);
        if !known {
            let message = if resource.custom {
                format!("field label not supported: {key}")
            } else {
                format!(
                    "\"{key}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            };
            return Err(Status::bad_request(message));
        }
        out.push((key.to_owned(), value.to_owned(), equal));
    }
    Ok(out)
}

fn field_matches(object: &Value, (key, wanted, equal): &(String, String, bool)) -> bool {
    let found = match key.as_str() {
        "source" => {
            let component = value::text(object, &["source", "component"]);
            if component.is_empty() {
                value::text(object, &["reportingComponent"])
            } else {
                component
            }
            .to_owned()
        }
        "status.successful" => scalar(object.field("/status/succeeded"), "0"),
        "status.replicas" => scalar(object.field("/status/replicas"), "0"),
        "spec.unschedulable" | "spec.hostNetwork" => scalar(value::at(object, &value::path(key)), "false"),
        // events are kept in the core's form
        "reportingController" => value::text(object, &["reportingComponent"]).to_owned(),
        _ => match key.strip_prefix("regarding.") {
            Some(inner) => value::text(object, &["involvedObject", inner]).to_owned(),
            None => scalar(value::at(object, &value::path(key)), ""),
        },
    };
    (found == *wanted) == *equal
}

fn scalar(value: Option<&Value>, absent: &str) -> String {
    match value {
        None | Some(Value::Null) => absent.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A workload's `spec.selector` (a LabelSelector, or a plain map) as text, as the scale subresource gives it.
pub fn to_text(selector: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let labels = selector
        .get("matchLabels")
        .or((!selector.get("matchExpressions").is_some_and(Value::is_array)).then_some(selector));
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = value::text(expression, &["key"]);
        let mut values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        parts.push(match value::text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort_unstable();
    parts.join(",")
}
