//! What is wrong with the metrics of a template or a run, as far as it shows without the values of its arguments.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_analysis::args;
use tidegate_analysis::expr::{Kind, Program};
use tidegate_analysis::validate::validate_metrics;
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
        if let Ok(filled) = args::fill_metric(metric, &known)
            && let Some(problem) = validate_metrics(&[filled])
        {
            found.push(Problem {
                path: vec![index.into()],
                message: problem.trim_start_matches("metrics[0]: ").to_owned(),
            });
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
