//! What is wrong with the metrics of a template or a run, as far as it shows without the values of its arguments.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_analysis::args;
use tidegate_analysis::expr::{Kind, Program};
use tidegate_analysis::jsonpath;
use tidegate_analysis::validate::{remarks, validate_metrics};
use tidegate_crds::{Argument, Metric};
use tidegate_manifests::PathPart;

/// A problem: where it is below the list of metrics, and what it is.
pub(super) struct Problem {
    pub(super) path: Vec<PathPart>,
    pub(super) message: String,
}

/// The problems of metrics, with the defaults of the arguments filled in; what needs a value that is not there is left
/// to the Rollout that gives it.
pub(super) fn problems(metrics: &[Metric], args: &[Argument]) -> Vec<Problem> {
    let known: BTreeMap<String, String> = args
        .iter()
        .filter_map(|arg| Some((format!("args.{}", arg.name), arg.value.clone()?)))
        .collect();
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        if !names.insert(metric.name.as_str()) {
            found.push(Problem {
                path: vec![index.into(), "name".into()],
                message: format!("duplicate name '{}'", metric.name),
            });
        }
        if let Ok(filled) = args::fill_metric(metric, &known) {
            found.extend(of_filled(index, &filled));
        }
        for (field, condition) in [
            ("successCondition", &metric.success_condition),
            ("failureCondition", &metric.failure_condition),
        ] {
            let text = condition.as_deref().unwrap_or_default();
            let Ok(filled) = args::fill(text, &known) else {
                continue;
            };
            if !filled.is_empty()
                && let Err(error) = Program::compile(&filled, Kind::Condition)
            {
                found.push(Problem {
                    path: vec![index.into(), field.into()],
                    message: format!("Invalid value: {text:?}: {error}"),
                });
            }
        }
    }
    found
}

/// What is wrong with a metric whose arguments are filled in.
fn of_filled(index: usize, metric: &Metric) -> Vec<Problem> {
    let at = |path: &[&str], message: String| Problem {
        path: std::iter::once(index.into())
            .chain(path.iter().map(|part| PathPart::from(*part)))
            .collect(),
        message,
    };
    let mut found = Vec::new();
    if let Some(problem) = validate_metrics(std::slice::from_ref(metric)) {
        found.push(at(&[], problem.trim_start_matches("metrics[0]: ").to_owned()));
    } else {
        found.extend(
            remarks(metric)
                .into_iter()
                .map(|(field, message)| at(&[field], message)),
        );
    }
    let path = metric
        .provider
        .web
        .as_ref()
        .and_then(|web| web.json_path.as_deref());
    if let Some(path) = path.filter(|path| !path.is_empty())
        && let Err(error) = jsonpath::Path::parse(path)
    {
        found.push(at(&["provider", "web", "jsonPath"], error.to_string()));
    }
    found
}

/// Arguments of a template or a run that say where their value is, in a way that only those of a Rollout can.
pub(super) fn arguments(args: &[Argument]) -> Vec<Problem> {
    args.iter()
        .enumerate()
        .filter_map(|(index, arg)| {
            let from = arg.value_from.as_ref()?;
            from.field_ref.as_ref()?;
            Some(Problem {
                path: vec![index.into(), "valueFrom".into(), "fieldRef".into()],
                message: "is looked at in the arguments of a Rollout only: give the argument there, or a value here".to_owned(),
            })
        })
        .collect()
}
