//! Templates: several, and templates of templates, made one (contract 3.12, F105).

use std::collections::BTreeSet;
use std::fmt;

use tidegate_crds::{AnalysisTemplateRef, AnalysisTemplateSpec, Argument, DryRun, MeasurementRetention};

/// Most templates that one analysis may consist of, nested ones included.
pub const MAX_TEMPLATES: usize = 100;
/// Most metrics that one analysis may have.
pub const MAX_METRICS: usize = 200;

/// Finds a template by scope (`true`: ClusterAnalysisTemplate) and name.
pub type Lookup<'a> = dyn Fn(bool, &str) -> Option<&'a AnalysisTemplateSpec> + 'a;

/// Names an analysis template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TemplateKey {
    /// A ClusterAnalysisTemplate, or an AnalysisTemplate of the namespace.
    pub cluster: bool,
    /// Name of the object.
    pub name: String,
}

impl From<&AnalysisTemplateRef> for TemplateKey {
    fn from(reference: &AnalysisTemplateRef) -> Self {
        Self {
            cluster: reference.cluster_scope == Some(true),
            name: reference.template_name.clone(),
        }
    }
}

impl fmt::Display for TemplateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.cluster {
            "ClusterAnalysisTemplate"
        } else {
            "AnalysisTemplate"
        };
        write!(f, "{kind} '{}'", self.name)
    }
}

/// Why templates cannot be used together. The words are upstream's where upstream has the case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplatesError {
    /// Templates that are not there; the message names the first.
    #[error("{} not found", Self::first(.0))]
    Missing(Vec<TemplateKey>),
    /// Two metrics of one name.
    #[error("two metrics have the same name '{0}'")]
    SameMetric(String),
    /// Two values for one argument.
    #[error("Argument `{name}` specified multiple times with different values: '{first}', '{second}'")]
    DifferentValues {
        /// The argument.
        name: String,
        /// A value.
        first: String,
        /// The other.
        second: String,
    },
    /// Two dry-run rules of one name.
    #[error("two Dry-Run metric rules have the same name '{0}'")]
    SameDryRun(String),
    /// Two retention rules of one name.
    #[error("two Measurement Retention metric rules have the same name '{0}'")]
    SameRetention(String),
    /// Too many templates.
    #[error("more than {MAX_TEMPLATES} analysis templates in one analysis: split it up")]
    TooManyTemplates,
    /// Too many metrics.
    #[error("more than {MAX_METRICS} metrics in one analysis: split it up")]
    TooManyMetrics,
}

impl TemplatesError {
    fn first(missing: &[TemplateKey]) -> String {
        missing.first().map(ToString::to_string).unwrap_or_default()
    }
}

/// The templates that the references name, directly or through another template, each once, in the order in which
/// they are met. Templates that name each other are no error.
pub fn gather<'a>(
    references: &[AnalysisTemplateRef],
    lookup: &Lookup<'a>,
) -> Result<Vec<(TemplateKey, &'a AnalysisTemplateSpec)>, TemplatesError> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    let mut seen = BTreeSet::new();
    // Last in, first out, so that a template's own come before the next reference.
    let mut open: Vec<TemplateKey> = references.iter().rev().map(TemplateKey::from).collect();
    while let Some(key) = open.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        if seen.len() > MAX_TEMPLATES {
            return Err(TemplatesError::TooManyTemplates);
        }
        match lookup(key.cluster, &key.name) {
            Some(spec) => {
                open.extend(spec.templates.iter().rev().map(TemplateKey::from));
                found.push((key, spec));
            }
            None => missing.push(key),
        }
    }
    if missing.is_empty() {
        Ok(found)
    } else {
        Err(TemplatesError::Missing(missing))
    }
}

/// The references as one template: metrics and rules one after the other, AnalysisTemplates before
/// ClusterAnalysisTemplates, arguments of one name once.
pub fn flatten(
    references: &[AnalysisTemplateRef],
    lookup: &Lookup<'_>,
) -> Result<AnalysisTemplateSpec, TemplatesError> {
    let mut templates = gather(references, lookup)?;
    templates.sort_by_key(|(key, _)| key.cluster);
    let mut flat = AnalysisTemplateSpec::default();
    for (_, spec) in templates {
        flat.metrics.extend_from_slice(&spec.metrics);
        flat.dry_run.extend_from_slice(&spec.dry_run);
        flat.measurement_retention
            .extend_from_slice(&spec.measurement_retention);
        for arg in &spec.args {
            add_argument(&mut flat.args, arg)?;
        }
        if flat.metrics.len() > MAX_METRICS {
            return Err(TemplatesError::TooManyMetrics);
        }
    }
    if let Some(name) = repeated(flat.metrics.iter().map(|metric| metric.name.as_str())) {
        return Err(TemplatesError::SameMetric(name.to_owned()));
    }
    check_rules(&flat.dry_run, &flat.measurement_retention)?;
    Ok(flat)
}

/// The rules of the Rollout before those of the templates.
pub fn merge_rules(
    flat: &mut AnalysisTemplateSpec,
    dry_run: &[DryRun],
    retention: &[MeasurementRetention],
) -> Result<(), TemplatesError> {
    flat.dry_run.splice(0..0, dry_run.iter().cloned());
    flat.measurement_retention.splice(0..0, retention.iter().cloned());
    check_rules(&flat.dry_run, &flat.measurement_retention)
}

fn check_rules(dry_run: &[DryRun], retention: &[MeasurementRetention]) -> Result<(), TemplatesError> {
    if let Some(name) = repeated(dry_run.iter().map(|rule| rule.metric_name.as_str())) {
        return Err(TemplatesError::SameDryRun(name.to_owned()));
    }
    match repeated(retention.iter().map(|rule| rule.metric_name.as_str())) {
        Some(name) => Err(TemplatesError::SameRetention(name.to_owned())),
        None => Ok(()),
    }
}

fn add_argument(args: &mut Vec<Argument>, new: &Argument) -> Result<(), TemplatesError> {
    let Some(known) = args.iter_mut().find(|arg| arg.name == new.name) else {
        args.push(new.clone());
        return Ok(());
    };
    match (&known.value, &new.value) {
        (Some(first), Some(second)) if first != second => Err(TemplatesError::DifferentValues {
            name: new.name.clone(),
            first: first.clone(),
            second: second.clone(),
        }),
        (Some(_), _) => Ok(()),
        (None, _) => {
            // A declaration without anything does not take a Secret away.
            if new.value.is_some() || new.value_from.is_some() {
                *known = new.clone();
            }
            Ok(())
        }
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    type Store = BTreeMap<(bool, String), AnalysisTemplateSpec>;

    fn store(templates: &[(bool, &str, Value)]) -> Store {
        let entry = |(cluster, name, spec): &(bool, &str, Value)| {
            (
                (*cluster, (*name).to_owned()),
                serde_json::from_value(spec.clone()).unwrap(),
            )
        };
        templates.iter().map(entry).collect()
    }

    fn refs(names: &[(bool, &str)]) -> Vec<AnalysisTemplateRef> {
        names
            .iter()
            .map(|(cluster, name)| AnalysisTemplateRef {
                template_name: (*name).to_owned(),
                cluster_scope: cluster.then_some(true),
            })
            .collect()
    }

    fn flat(store: &Store, names: &[(bool, &str)]) -> Result<Value, String> {
        let lookup = |cluster: bool, name: &str| store.get(&(cluster, name.to_owned()));
        let flat = flatten(&refs(names), &lookup).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(flat).unwrap())
    }

    fn metrics(names: &[&str]) -> Value {
        names.iter().map(|name| json!({"name": name})).collect()
    }

    #[test]
    fn nested_templates_come_once_and_in_order() {
        let store = store(&[
            (
                false,
                "a",
                json!({"metrics": metrics(&["a"]), "templates": [{"templateName": "c", "clusterScope": true}, {"templateName": "b"}]}),
            ),
            (
                false,
                "b",
                json!({"metrics": metrics(&["b"]), "templates": [{"templateName": "a"}]}),
            ),
            (
                true,
                "c",
                json!({"metrics": metrics(&["c"]), "templates": [{"templateName": "b"}], "args": [{"name": "x"}]}),
            ),
            (
                true,
                "a",
                json!({"metrics": metrics(&["cluster-a"]), "args": [{"name": "x", "value": "1"}]}),
            ),
        ]);
        let names: Vec<String> = flat(&store, &[(false, "a"), (true, "a")]).unwrap()["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a", "b", "c", "cluster-a"]);
        assert_eq!(
            flat(&store, &[(false, "a"), (true, "a")]).unwrap()["args"],
            json!([{"name": "x", "value": "1"}])
        );
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let rule = json!([{"metricName": "m"}]);
        let retention = json!([{"metricName": "m", "limit": 1}]);
        let store = store(&[
            (
                false,
                "a",
                json!({"metrics": metrics(&["m"]), "args": [{"name": "x", "value": "1"}], "dryRun": rule, "measurementRetention": retention}),
            ),
            (false, "same", json!({"metrics": metrics(&["m"])})),
            (false, "other", json!({"args": [{"name": "x", "value": "2"}]})),
            (false, "dry", json!({"dryRun": rule})),
            (true, "keep", json!({"measurementRetention": retention})),
            (
                false,
                "gone",
                json!({"templates": [{"templateName": "x"}, {"templateName": "y", "clusterScope": true}]}),
            ),
            (false, "many", json!({"metrics": metrics(&["m"; 201])})),
        ]);
        let cases = [
            (
                vec![(false, "a"), (false, "same")],
                "two metrics have the same name 'm'",
            ),
            (
                vec![(false, "a"), (false, "other")],
                "Argument `x` specified multiple times with different values: '1', '2'",
            ),
            (
                vec![(false, "a"), (false, "dry")],
                "two Dry-Run metric rules have the same name 'm'",
            ),
            (
                vec![(false, "a"), (true, "keep")],
                "two Measurement Retention metric rules have the same name 'm'",
            ),
            (vec![(false, "gone")], "AnalysisTemplate 'x' not found"),
            (
                vec![(true, "z"), (false, "gone")],
                "ClusterAnalysisTemplate 'z' not found",
            ),
            (
                vec![(false, "many")],
                "more than 200 metrics in one analysis: split it up",
            ),
        ];
        for (names, want) in cases {
            assert_eq!(flat(&store, &names).unwrap_err(), want, "{names:?}");
        }
        let names: Vec<String> = (0..=MAX_TEMPLATES).map(|n| n.to_string()).collect();
        let names: Vec<(bool, &str)> = names.iter().map(|name| (false, name.as_str())).collect();
        assert_eq!(
            flat(&store, &names).unwrap_err(),
            "more than 100 analysis templates in one analysis: split it up"
        );
    }

    #[test]
    fn all_missing_templates_are_named() {
        let store = store(&[(
            false,
            "a",
            json!({"templates": [{"templateName": "x"}, {"templateName": "y"}]}),
        )]);
        let lookup = |cluster: bool, name: &str| store.get(&(cluster, name.to_owned()));
        let key = |name: &str| TemplateKey {
            cluster: false,
            name: name.to_owned(),
        };
        assert_eq!(
            gather(&refs(&[(false, "a"), (false, "z")]), &lookup).unwrap_err(),
            TemplatesError::Missing(vec![key("x"), key("y"), key("z")])
        );
    }
}
