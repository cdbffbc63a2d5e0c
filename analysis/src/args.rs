//! Arguments: given by a Rollout, merged with what the templates declare, filled into metrics (contract 3.12).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use tidegate_crds::{AnalysisRunArgument, Argument, Metric, Rollout, ValueFromPodTemplateHash};

/// What a Secret's value is shown as.
pub const REDACTED: &str = "*****";

/// Stands in for a Secret's value where only the shape of a metric matters.
const SECRET_PLACEHOLDER: &str = "temp-for-secret";

/// Most bytes of text that the arguments may make of one metric.
const MAX_FILLED: usize = 1 << 20;

/// Why arguments cannot be used. The words are upstream's where upstream has the case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A template declares an argument without a value, and nobody gives one.
    #[error("args.{0} was not resolved")]
    NotResolved(String),
    /// A run has an argument without a value.
    #[error("argument \"{0}\" was not supplied")]
    NotSupplied(String),
    /// A metric uses a name that is no argument.
    #[error("failed to resolve {{{{{0}}}}}")]
    Unknown(String),
    /// The path of a `fieldRef` leads nowhere.
    #[error("{0}")]
    Field(String),
    /// The Secret was not handed over, or does not have the key.
    #[error("key '{key}' does not exist in secret '{name}'")]
    Secret {
        /// The Secret.
        name: String,
        /// The key.
        key: String,
    },
    /// The filled metric is no metric any more, or too large.
    #[error("metric '{metric}' with its arguments {problem}")]
    Metric {
        /// The metric.
        metric: String,
        /// What is wrong.
        problem: String,
    },
}

/// A key of a Secret in the namespace of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// Values of Secrets, for as long as a measurement needs them. Prints itself without the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretKey, String>);

impl Secrets {
    /// Adds a value.
    pub fn insert(&mut self, key: SecretKey, value: String) {
        self.0.insert(key, value);
    }

    /// The value of a key.
    pub fn get(&self, key: &SecretKey) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Replaces every value that occurs in the text by `*****`, the longest first, so that a value within another
    /// does not leave the rest of the other behind.
    pub fn redact(&self, text: &str) -> String {
        let mut values: Vec<&str> = self
            .0
            .values()
            .map(String::as_str)
            .filter(|value| !value.is_empty())
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values
            .into_iter()
            .fold(text.to_owned(), |text, value| text.replace(value, REDACTED))
    }
}

impl FromIterator<(SecretKey, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretKey, String)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The keys of Secrets that the arguments of a run need.
pub fn secret_keys(args: &[Argument]) -> BTreeSet<SecretKey> {
    args.iter().filter_map(secret_key).collect()
}

fn secret_key(arg: &Argument) -> Option<SecretKey> {
    let reference = arg.value_from.as_ref()?.secret_key_ref.as_ref()?;
    Some(SecretKey {
        name: reference.name.clone(),
        key: reference.key.clone(),
    })
}

/// What `{{…}}` may name in the metrics of a run: `args.<name>`. Without `secrets`, their values are placeholders.
pub fn values(args: &[Argument], secrets: Option<&Secrets>) -> Result<BTreeMap<String, String>, ArgsError> {
    let mut values = BTreeMap::new();
    for arg in args {
        let value = match (secret_key(arg), secrets) {
            (Some(_), None) => SECRET_PLACEHOLDER.to_owned(),
            (Some(key), Some(secrets)) => match secrets.get(&key) {
                Some(value) => value.to_owned(),
                None => {
                    return Err(ArgsError::Secret {
                        name: key.name,
                        key: key.key,
                    });
                }
            },
            (None, _) => match &arg.value {
                Some(value) => value.clone(),
                None => return Err(ArgsError::NotSupplied(arg.name.clone())),
            },
        };
        values.insert(format!("args.{}", arg.name), value);
    }
    Ok(values)
}

/// Fills `{{name}}` in a text; spaces around the name do not matter. An opening without a closing stays as it is.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, ArgsError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((tag, next)) = after.split_once("}}") else {
            break;
        };
        let value = values
            .get(tag.trim())
            .ok_or_else(|| ArgsError::Unknown(tag.to_owned()))?;
        filled.push_str(before);
        filled.push_str(value);
        rest = next;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Fills the values into every text of a metric, the specs of Jobs and bodies of requests included.
///
/// Upstream fills the metric's JSON with values quoted as Go quotes them. Filling the texts themselves gives the same
/// for every value that upstream can fill, and works for those whose Go quoting is no JSON.
pub fn fill_metric(metric: &Metric, values: &BTreeMap<String, String>) -> Result<Metric, ArgsError> {
    let problem = |problem: String| ArgsError::Metric {
        metric: metric.name.clone(),
        problem,
    };
    let json = serde_json::to_value(metric).map_err(|error| problem(format!("is not valid: {error}")))?;
    let mut budget = MAX_FILLED;
    let filled = fill_json(json, values, &mut budget)?;
    match filled {
        Some(filled) => {
            serde_json::from_value(filled).map_err(|error| problem(format!("is not valid: {error}")))
        }
        None => Err(problem(format!("has more than {MAX_FILLED} bytes of text"))),
    }
}

/// Fills a JSON value, keys included; `None` when the budget of bytes is used up.
fn fill_json(
    json: Value,
    values: &BTreeMap<String, String>,
    budget: &mut usize,
) -> Result<Option<Value>, ArgsError> {
    let mut text = |text: String| -> Result<Option<String>, ArgsError> {
        let filled = if text.contains("{{") {
            fill(&text, values)?
        } else {
            text
        };
        Ok(match budget.checked_sub(filled.len()) {
            Some(left) => {
                *budget = left;
                Some(filled)
            }
            None => None,
        })
    };
    Ok(match json {
        Value::String(string) => text(string)?.map(Value::String),
        Value::Array(items) => {
            let items: Result<Option<Vec<Value>>, ArgsError> = items
                .into_iter()
                .map(|item| fill_json(item, values, budget).transpose())
                .collect::<Option<_>>()
                .transpose();
            items?.map(Value::Array)
        }
        Value::Object(fields) => {
            let mut filled = serde_json::Map::new();
            for (key, value) in fields {
                let key = if key.contains("{{") {
                    fill(&key, values)?
                } else {
                    key
                };
                let Some(value) = fill_json(value, values, budget)? else {
                    return Ok(None);
                };
                filled.insert(key, value);
            }
            Some(Value::Object(filled))
        }
        other => Some(other),
    })
}

/// The arguments of a run: those that the templates declare, with the given values in place of the defaults. Given
/// arguments that no template declares are left out.
pub fn merge(given: &[Argument], declared: &[Argument]) -> Result<Vec<Argument>, ArgsError> {
    let mut merged = declared.to_vec();
    for arg in given {
        let Some(target) = merged.iter_mut().find(|target| target.name == arg.name) else {
            continue;
        };
        if arg.value.is_some() || arg.value_from.is_some() {
            target.value.clone_from(&arg.value);
            target.value_from.clone_from(&arg.value_from);
        }
    }
    match merged
        .iter()
        .find(|arg| arg.value.is_none() && arg.value_from.is_none())
    {
        Some(arg) => Err(ArgsError::NotResolved(arg.name.clone())),
        None => Ok(merged),
    }
}

/// The values that a Rollout gives to the arguments of its analysis, everything but Secrets resolved.
pub fn of_rollout(
    args: &[AnalysisRunArgument],
    rollout: &Rollout,
    stable_hash: &str,
    latest_hash: &str,
) -> Result<Vec<Argument>, ArgsError> {
    args.iter()
        .map(|arg| {
            let from = arg.value_from.as_ref();
            let hash = from.and_then(|from| from.pod_template_hash_value.as_ref());
            let field_ref = from.and_then(|from| from.field_ref.as_ref());
            let value = match (hash, field_ref) {
                (Some(ValueFromPodTemplateHash::Stable), _) => stable_hash.to_owned(),
                (Some(ValueFromPodTemplateHash::Latest), _) => latest_hash.to_owned(),
                (None, Some(field_ref)) => field(rollout, &field_ref.field_path)?,
                // Without a value the argument is the empty text, as in upstream.
                _ => arg.value.clone().unwrap_or_default(),
            };
            Ok(Argument {
                name: arg.name.clone(),
                value: Some(value),
                value_from: None,
            })
        })
        .collect()
}

/// The value of a field of a Rollout, as text. A path that starts with `metadata` is one of the downward API; any
/// other walks the JSON, with `.` and `[…]`.
pub fn field(rollout: &Rollout, path: &str) -> Result<String, ArgsError> {
    if path.starts_with("metadata") {
        metadata_field(rollout, path)
    } else {
        json_field(rollout, path)
    }
}

fn metadata_field(rollout: &Rollout, path: &str) -> Result<String, ArgsError> {
    let metadata = &rollout.metadata;
    let subscript = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
        .filter(|(map, _)| !map.is_empty());
    if let Some((map, key)) = subscript {
        // A missing key is the empty text, as in the downward API.
        return match map {
            "metadata.annotations" => Ok(metadata.annotations.get(key).cloned().unwrap_or_default()),
            "metadata.labels" => Ok(metadata.labels.get(key).cloned().unwrap_or_default()),
            _ => Err(ArgsError::Field(format!(
                "fieldPath {path:?} does not support subscript"
            ))),
        };
    }
    match path {
        "metadata.annotations" => Ok(lines(&metadata.annotations)),
        "metadata.labels" => Ok(lines(&metadata.labels)),
        "metadata.name" => Ok(metadata.name.clone()),
        "metadata.namespace" => Ok(metadata.namespace.clone()),
        "metadata.uid" => Ok(metadata.uid.clone()),
        _ => Err(ArgsError::Field(format!("unsupported fieldPath: {path}"))),
    }
}

/// `key="value"` lines, as the downward API writes a map.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn json_field(rollout: &Rollout, path: &str) -> Result<String, ArgsError> {
    let invalid = || ArgsError::Field(format!("invalid path {path} in rollout"));
    let json = serde_json::to_value(rollout).map_err(|_| invalid())?;
    let mut here = &json;
    for section in path.split(['.', '[', ']']).filter(|section| !section.is_empty()) {
        here = match here {
            Value::Array(items) => {
                let index: usize = section
                    .parse()
                    .map_err(|_| ArgsError::Field(format!("invalid index '{section}'")))?;
                items
                    .get(index)
                    .ok_or_else(|| ArgsError::Field(format!("index {index} out of range")))?
            }
            Value::Object(fields) => fields.get(section).unwrap_or(&Value::Null),
            _ => return Err(invalid()),
        };
    }
    match here {
        Value::Null => Err(invalid()),
        Value::Array(_) | Value::Object(_) => Err(ArgsError::Field(format!(
            "path {path} in rollout must terminate in a primitive value"
        ))),
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(here.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arg(name: &str, value: Option<&str>) -> Argument {
        Argument {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            value_from: None,
        }
    }

    fn secret(name: &str) -> Argument {
        serde_json::from_value(
            json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        )
        .unwrap()
    }

    fn metric(json: Value) -> Metric {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn values_reach_every_text_of_a_metric() {
        let args = [
            arg("n", Some("5")),
            arg("host", Some("a\"b\\c\u{7}\n")),
            arg("q", Some("{{args.n}}")),
        ];
        let filled = fill_metric(
            &metric(json!({
                "name": "{{args.n}}", "count": "{{ args.n }}", "successCondition": "result > {{args.n}}{{args.n}}",
                "provider": {"job": {"spec": {"a": [{"b": "{{args.host}}"}], "{{args.n}}": 1, "lone": "{{x"}},
                             "plugin": {"p": {"raw": "{{args.q}}"}}}
            })),
            &values(&args, None).unwrap(),
        )
        .unwrap();
        assert_eq!(
            filled,
            metric(json!({
                "name": "5", "count": "5", "successCondition": "result > 55",
                "provider": {"job": {"spec": {"a": [{"b": "a\"b\\c\u{7}\n"}], "5": 1, "lone": "{{x"}},
                             "plugin": {"p": {"raw": "{{args.n}}"}}}
            }))
        );
    }

    #[test]
    fn what_cannot_be_filled_is_said() {
        let uses = metric(json!({"name": "m", "successCondition": "result > {{args.y}}"}));
        let x = values(&[arg("x", Some("1"))], None).unwrap();
        assert_eq!(
            fill_metric(&uses, &x).unwrap_err().to_string(),
            "failed to resolve {{args.y}}"
        );
        assert_eq!(
            values(&[arg("x", None)], None).unwrap_err().to_string(),
            "argument \"x\" was not supplied",
            "recorded: analysis-runs-alone, unresolved"
        );
        assert_eq!(
            values(&[secret("x")], Some(&Secrets::default()))
                .unwrap_err()
                .to_string(),
            "key 'k' does not exist in secret 's'"
        );
        let huge = values(&[arg("x", Some(&"x".repeat(MAX_FILLED / 2)))], None).unwrap();
        let uses = metric(
            json!({"name": "m", "provider": {"job": {"spec": ["{{args.x}}", "{{args.x}}", "{{args.x}}"]}}}),
        );
        assert_eq!(
            fill_metric(&uses, &huge).unwrap_err().to_string(),
            "metric 'm' with its arguments has more than 1048576 bytes of text"
        );
    }

    #[test]
    fn given_arguments_replace_declared_ones() {
        let declared = [
            arg("a", Some("1")),
            arg("b", None),
            secret("c"),
            arg("d", Some("4")),
        ];
        let given = [
            arg("b", Some("2")),
            arg("c", Some("3")),
            arg("d", None),
            arg("unknown", Some("9")),
        ];
        assert_eq!(
            merge(&given, &declared).unwrap(),
            [
                arg("a", Some("1")),
                arg("b", Some("2")),
                arg("c", Some("3")),
                arg("d", Some("4"))
            ]
        );
        assert_eq!(
            merge(&[], &declared).unwrap_err().to_string(),
            "args.b was not resolved"
        );
    }

    #[test]
    fn a_rollout_gives_hashes_and_fields() {
        let rollout: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"a": "x\"y", "b": "2"}},
            "spec": {"replicas": 1_000_000, "paused": true, "template": {"spec": {"containers": [{"image": "web:2"}]}}}
        }))
        .unwrap();
        let cases = [
            ("metadata.name", Ok("web")),
            ("metadata.namespace", Ok("shop")),
            ("metadata.uid", Ok("u1")),
            ("metadata.labels['a']", Ok("x\"y")),
            ("metadata.annotations['a']", Ok("")),
            ("metadata.labels", Ok("a=\"x\\\"y\"\nb=\"2\"")),
            (
                "metadata.generation",
                Err("unsupported fieldPath: metadata.generation"),
            ),
            (
                "metadata.name['a']",
                Err("fieldPath \"metadata.name['a']\" does not support subscript"),
            ),
            ("spec.replicas", Ok("1000000")),
            ("spec.paused", Ok("true")),
            ("spec.template.spec.containers[0].image", Ok("web:2")),
            (
                "spec.template.spec.containers[1].image",
                Err("index 1 out of range"),
            ),
            ("spec.template.spec.containers[-1]", Err("invalid index '-1'")),
            (
                "spec.template.spec",
                Err("path spec.template.spec in rollout must terminate in a primitive value"),
            ),
            ("spec.nothing", Err("invalid path spec.nothing in rollout")),
            (
                "spec.replicas.more",
                Err("invalid path spec.replicas.more in rollout"),
            ),
        ];
        for (path, want) in cases {
            let got = field(&rollout, path);
            assert_eq!(
                got.map_err(|error| error.to_string()),
                want.map(str::to_owned).map_err(str::to_owned),
                "{path}"
            );
        }
        let args: Vec<AnalysisRunArgument> = serde_json::from_value(json!([
            {"name": "s", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "l", "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": "f", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "v", "value": "1"},
            {"name": "empty"}
        ]))
        .unwrap();
        assert_eq!(
            of_rollout(&args, &rollout, "old", "new").unwrap(),
            [
                arg("s", Some("old")),
                arg("l", Some("new")),
                arg("f", Some("web")),
                arg("v", Some("1")),
                arg("empty", Some(""))
            ]
        );
    }

    #[test]
    fn secrets_are_filled_and_hidden() {
        let key = |key: &str| SecretKey {
            name: "s".to_owned(),
            key: key.to_owned(),
        };
        let secrets: Secrets = [
            (key("k"), "hunter2".to_owned()),
            (key("prefix"), "hunter".to_owned()),
            (key("empty"), String::new()),
        ]
        .into_iter()
        .collect();
        assert_eq!(secret_keys(&[secret("x"), arg("y", None)]), [key("k")].into());
        assert_eq!(
            values(&[secret("x")], Some(&secrets)).unwrap(),
            [("args.x".to_owned(), "hunter2".to_owned())].into()
        );
        assert_eq!(
            values(&[secret("x")], None).unwrap(),
            [("args.x".to_owned(), "temp-for-secret".to_owned())].into()
        );
        assert_eq!(
            secrets.redact("a hunter2, a hunter, a hunt"),
            "a *****, a *****, a hunt"
        );
        assert!(!format!("{secrets:?}").contains("hunter"));
    }
}
