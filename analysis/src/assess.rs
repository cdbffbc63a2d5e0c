//! From measurements to the phases of metrics, and from those to the phase of the run (contract 3.12).

use std::collections::BTreeSet;

use tidegate_crds::{AnalysisPhase, AnalysisRunStatus, Metric, MetricResult, RunSummary};

use crate::validate::{Limits, effective_count};

/// Counts a finished measurement.
pub(crate) fn count_measurement(result: &mut MetricResult, phase: &AnalysisPhase) {
    match phase {
        AnalysisPhase::Successful => {
            add_one(&mut result.successful);
            add_one(&mut result.consecutive_success);
        }
        AnalysisPhase::Failed => add_one(&mut result.failed),
        AnalysisPhase::Inconclusive => add_one(&mut result.inconclusive),
        AnalysisPhase::Error => {
            add_one(&mut result.error);
            add_one(&mut result.consecutive_error);
        }
        _ => return,
    }
    if *phase != AnalysisPhase::Error {
        add_one(&mut result.count);
        result.consecutive_error = None;
    }
    if *phase != AnalysisPhase::Successful {
        result.consecutive_success = None;
    }
}

fn add_one(counter: &mut Option<i32>) {
    *counter = Some(counter.unwrap_or(0).saturating_add(1));
}

fn number(counter: Option<i32>) -> i64 {
    i64::from(counter.unwrap_or(0))
}

/// The number of the measurement that comes next, or is running: one more than those that have ended.
pub(crate) fn next_number(result: Option<&MetricResult>) -> i32 {
    let ended = result.map_or(0, |result| number(result.count) + number(result.error));
    i32::try_from(ended + 1).unwrap_or(i32::MAX)
}

/// The phase of a metric.
pub(crate) fn metric_phase(metric: &Metric, result: &MetricResult, terminating: bool) -> AnalysisPhase {
    if result.phase.completed() {
        return result.phase.clone();
    }
    let ended = if terminating {
        AnalysisPhase::Successful
    } else {
        AnalysisPhase::Running
    };
    let Some(last) = result.measurements.last() else {
        return if terminating {
            ended
        } else {
            AnalysisPhase::Pending
        };
    };
    if !last.phase.completed() {
        return AnalysisPhase::Running;
    }
    if let Some((phase, _)) = limit_passed(metric, result) {
        return phase;
    }
    let limits = Limits::of(metric);
    if limits.consecutive_success > 0 && number(result.consecutive_success) >= limits.consecutive_success {
        return AnalysisPhase::Successful;
    }
    if count_used_up(metric, result) {
        return match (limits.consecutive_success > 0, limits.failure) {
            (false, _) => AnalysisPhase::Successful,
            (true, Some(_)) => AnalysisPhase::Inconclusive,
            (true, None) => AnalysisPhase::Failed,
        };
    }
    ended
}

fn count_used_up(metric: &Metric, result: &MetricResult) -> bool {
    effective_count(metric).is_some_and(|count| number(result.count) >= count)
}

/// The limit that the measurements pass, in words. A later check overrides an earlier one, as in upstream.
fn limit_passed(metric: &Metric, result: &MetricResult) -> Option<(AnalysisPhase, String)> {
    let limits = Limits::of(metric);
    let checks = [
        (
            AnalysisPhase::Error,
            "consecutiveErrors",
            number(result.consecutive_error),
            Some(limits.consecutive_error),
            "consecutiveErrorLimit",
        ),
        (
            AnalysisPhase::Inconclusive,
            "inconclusive",
            number(result.inconclusive),
            Some(limits.inconclusive),
            "inconclusiveLimit",
        ),
        (
            AnalysisPhase::Failed,
            "failed",
            number(result.failed),
            limits.failure,
            "failureLimit",
        ),
    ];
    checks.into_iter().find_map(|(phase, what, value, limit, name)| {
        let limit = limit.filter(|limit| value > *limit)?;
        Some((phase, format!("{what} ({value}) > {name} ({limit})")))
    })
}

/// Why a completed metric is not Successful, in words.
pub(crate) fn reason(metric: &Metric, result: &MetricResult) -> Option<String> {
    if let Some((_, words)) = limit_passed(metric, result) {
        return Some(words);
    }
    // Upstream says nothing here.
    let limit = Limits::of(metric).consecutive_success;
    let missed = limit > 0
        && matches!(result.phase, AnalysisPhase::Failed | AnalysisPhase::Inconclusive)
        && count_used_up(metric, result);
    missed.then(|| {
        let (successes, count) = (number(result.consecutive_success), number(result.count));
        format!("consecutiveSuccess ({successes}) < consecutiveSuccessLimit ({limit}) after count ({count})")
    })
}

/// From best to worst.
fn badness(phase: &AnalysisPhase) -> u8 {
    match phase {
        AnalysisPhase::Running => 1,
        AnalysisPhase::Pending => 2,
        AnalysisPhase::Inconclusive => 3,
        AnalysisPhase::Error => 4,
        AnalysisPhase::Failed => 5,
        _ => 0,
    }
}

/// A run that was told to end (`spec.terminate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminated {
    /// A step, a switch or somebody else waits for its result.
    Awaited,
    /// It ran in the background: it is ended with the update, whatever it has seen, and nothing waits for it.
    Background,
}

/// Whether none of the metrics that decide has a good measurement: a step must not pass for want of bad ones.
fn nothing_good(status: &AnalysisRunStatus, metrics: &[Metric], dry_run: &BTreeSet<String>) -> bool {
    let decides = |name: &str| !dry_run.contains(name);
    let good = |result: &MetricResult| decides(&result.name) && number(result.successful) > 0;
    metrics.iter().any(|metric| decides(&metric.name)) && !status.metric_results.iter().any(good)
}

/// Sets summaries, phase and message of the run from the phases of its metrics.
pub(crate) fn assess_run(
    status: &mut AnalysisRunStatus,
    metrics: &[Metric],
    dry_run: &BTreeSet<String>,
    terminated: Option<Terminated>,
    terminating: bool,
) {
    let mut worst: Option<AnalysisPhase> = None;
    let mut message = terminated.map(|_| "Run Terminated".to_owned());
    let mut all_completed = true;
    let (mut summary, mut dry_summary) = (RunSummary::default(), RunSummary::default());
    for metric in metrics {
        let dry = dry_run.contains(&metric.name);
        let summary = if dry { &mut dry_summary } else { &mut summary };
        add_one(&mut summary.count);
        let Some(result) = status
            .metric_results
            .iter_mut()
            .find(|result| result.name == metric.name && result.phase.completed())
        else {
            all_completed = false;
            continue;
        };
        add_one(match result.phase {
            AnalysisPhase::Failed => &mut summary.failed,
            AnalysisPhase::Error => &mut summary.error,
            AnalysisPhase::Inconclusive => &mut summary.inconclusive,
            _ => &mut summary.successful,
        });
        let reason = reason(metric, result);
        if dry {
            if let Some(reason) = reason {
                result.message = Some(format!("Metric assessed {} due to {reason}", result.phase));
            }
            worst.get_or_insert(AnalysisPhase::Successful);
        } else if worst
            .as_ref()
            .is_none_or(|worst| badness(&result.phase) > badness(worst))
        {
            worst = Some(result.phase.clone());
            if let Some(reason) = reason {
                let error = result.message.as_ref().filter(|text| !text.is_empty());
                let error = error
                    .map(|text| format!(": \"Error Message: {text}\""))
                    .unwrap_or_default();
                message = Some(format!(
                    "Metric \"{}\" assessed {} due to {reason}{error}",
                    metric.name, result.phase
                ));
            }
        }
    }
    status.run_summary = Some(summary);
    status.dry_run_summary = Some(dry_summary);
    let phase = match worst {
        Some(worst) if terminating || all_completed => worst,
        None if terminating => AnalysisPhase::Successful,
        _ => AnalysisPhase::Running,
    };
    let unknown = phase == AnalysisPhase::Successful
        && terminated == Some(Terminated::Awaited)
        && nothing_good(status, metrics, dry_run);
    let phase = if unknown {
        message = Some("Run Terminated before a measurement was successful".to_owned());
        AnalysisPhase::Inconclusive
    } else {
        phase
    };
    status.message = message.filter(|_| phase.completed());
    status.phase = phase;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_crds::Measurement;

    use super::*;

    fn measured(phases: &str) -> MetricResult {
        let mut result = MetricResult {
            phase: AnalysisPhase::Running,
            ..MetricResult::default()
        };
        for letter in phases.chars() {
            let phase = match letter {
                's' => AnalysisPhase::Successful,
                'f' => AnalysisPhase::Failed,
                'i' => AnalysisPhase::Inconclusive,
                'e' => AnalysisPhase::Error,
                'r' => AnalysisPhase::Running,
                other => panic!("{other}"),
            };
            count_measurement(&mut result, &phase);
            result.measurements.push(Measurement {
                phase,
                ..Measurement::default()
            });
        }
        result
    }

    #[test]
    fn counters() {
        let result = MetricResult {
            measurements: Vec::new(),
            ..measured("sseefis")
        };
        assert_eq!(
            result,
            MetricResult {
                phase: AnalysisPhase::Running,
                count: Some(5),
                successful: Some(3),
                failed: Some(1),
                inconclusive: Some(1),
                error: Some(2),
                consecutive_success: Some(1),
                ..MetricResult::default()
            }
        );
        assert_eq!(next_number(Some(&result)), 8);
        assert_eq!(next_number(None), 1);
        assert_eq!(measured("sse").consecutive_error, Some(1));
        assert_eq!(measured("sse").consecutive_success, None);
    }

    /// Metric, measurements, phase, phase when the run is terminating.
    type Case = (serde_json::Value, &'static str, &'static str, &'static str);

    fn metric_ends_as(cases: impl IntoIterator<Item = Case>) {
        for (metric, phases, want, want_terminating) in cases {
            let metric: Metric = serde_json::from_value(metric).unwrap();
            let result = measured(phases);
            assert_eq!(
                metric_phase(&metric, &result, false).as_str(),
                want,
                "{metric:?} {phases}"
            );
            assert_eq!(
                metric_phase(&metric, &result, true).as_str(),
                want_terminating,
                "{metric:?} {phases}"
            );
        }
    }

    #[test]
    fn phases_of_a_metric_that_is_measured_once() {
        metric_ends_as([
            (json!({}), "", "Pending", "Successful"),
            (json!({}), "r", "Running", "Running"),
            (json!({}), "s", "Successful", "Successful"),
            (json!({}), "f", "Failed", "Failed"),
            (json!({}), "i", "Inconclusive", "Inconclusive"),
            (json!({}), "e", "Running", "Successful"),
            (json!({}), "eeee", "Running", "Successful"),
            (json!({}), "eeeee", "Error", "Error"),
            (json!({}), "eeees", "Successful", "Successful"),
            (json!({"consecutiveErrorLimit": 0}), "e", "Error", "Error"),
        ]);
    }

    #[test]
    fn phases_of_a_metric_that_is_measured_again() {
        let minute = json!({"interval": "1m"});
        let both = json!({"interval": "1m", "count": 4, "consecutiveSuccessLimit": 2});
        let success_only =
            json!({"interval": "1m", "count": 4, "consecutiveSuccessLimit": 2, "failureLimit": -1});
        metric_ends_as([
            (minute.clone(), "sssss", "Running", "Successful"),
            (
                json!({"interval": "1m", "count": 3, "failureLimit": 1}),
                "sf",
                "Running",
                "Successful",
            ),
            (
                json!({"interval": "1m", "count": 3, "failureLimit": 1}),
                "sfs",
                "Successful",
                "Successful",
            ),
            (
                json!({"interval": "1m", "count": 3, "failureLimit": 1}),
                "sff",
                "Failed",
                "Failed",
            ),
            (
                json!({"interval": "1m", "count": 3, "failureLimit": "1", "inconclusiveLimit": 1}),
                "fi",
                "Running",
                "Successful",
            ),
            (
                json!({"interval": "1m", "failureLimit": 1, "inconclusiveLimit": 1}),
                "fifi",
                "Inconclusive",
                "Inconclusive",
            ),
            (
                json!({"interval": "1m", "consecutiveErrorLimit": 1}),
                "fee",
                "Error",
                "Error",
            ),
            (
                json!({"interval": "1m", "consecutiveSuccessLimit": 2}),
                "ss",
                "Successful",
                "Successful",
            ),
            (both.clone(), "ses", "Running", "Successful"),
            (both, "sess", "Successful", "Successful"),
            (
                json!({"interval": "1m", "count": 4, "failureLimit": 2, "consecutiveSuccessLimit": 2}),
                "sfsf",
                "Inconclusive",
                "Inconclusive",
            ),
            (success_only, "fsfs", "Failed", "Failed"),
        ]);
    }

    /// Runs the assessment over metrics with the given measurements: `name: (metric, measurements, message)`.
    fn run(metrics: &[(&str, Value, &str)], dry_run: &[&str], terminated: bool) -> Value {
        let metrics: Vec<(Metric, MetricResult)> = metrics
            .iter()
            .map(|(name, metric, phases)| {
                let mut metric: Metric = serde_json::from_value(metric.clone()).unwrap();
                (*name).clone_into(&mut metric.name);
                let mut result = measured(phases);
                (*name).clone_into(&mut result.name);
                result.phase = metric_phase(&metric, &result, terminated);
                result.message = (result.phase == AnalysisPhase::Error).then(|| "no route".to_owned());
                (metric, result)
            })
            .collect();
        let (metrics, metric_results): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
        let mut status = AnalysisRunStatus {
            metric_results,
            ..AnalysisRunStatus::default()
        };
        let dry_run = dry_run.iter().map(|name| (*name).to_owned()).collect();
        let terminating = terminated
            || status
                .metric_results
                .iter()
                .any(|r| r.phase.completed() && r.phase != AnalysisPhase::Successful);
        let terminated = terminated.then_some(Terminated::Awaited);
        assess_run(&mut status, &metrics, &dry_run, terminated, terminating);
        let dry_messages: Vec<_> = status
            .metric_results
            .iter()
            .filter(|r| dry_run.contains(&r.name))
            .map(|r| r.message.clone())
            .collect();
        json!([
            status.phase,
            status.message,
            status.run_summary,
            status.dry_run_summary,
            dry_messages
        ])
    }

    #[test]
    fn phases_and_messages_of_a_run() {
        let minute = || json!({"interval": "1m"});
        let once = || json!({});
        assert_eq!(
            run(&[("a", once(), "s"), ("b", minute(), "s")], &[], false),
            json!(["Running", null, {"count": 2, "successful": 1}, {}, []])
        );
        assert_eq!(
            run(&[("a", once(), "s"), ("b", once(), "s")], &[], false),
            json!(["Successful", null, {"count": 2, "successful": 2}, {}, []])
        );
        assert_eq!(
            run(
                &[
                    ("a", minute(), "eeeee"),
                    ("b", minute(), "f"),
                    ("c", minute(), "i")
                ],
                &[],
                false
            ),
            json!([
                "Failed",
                "Metric \"b\" assessed Failed due to failed (1) > failureLimit (0)",
                {"count": 3, "failed": 1, "error": 1, "inconclusive": 1},
                {},
                []
            ])
        );
        assert_eq!(
            run(&[("a", minute(), "eeeee"), ("b", minute(), "s")], &[], false),
            json!([
                "Error",
                "Metric \"a\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: no route\"",
                {"count": 2, "error": 1},
                {},
                []
            ])
        );
        assert_eq!(
            run(&[("a", minute(), "ss")], &[], true),
            json!(["Successful", "Run Terminated", {"count": 1, "successful": 1}, {}, []])
        );
        assert_eq!(
            run(&[("a", once(), "f")], &["a"], false),
            json!([
                "Successful",
                null,
                {},
                {"count": 1, "failed": 1},
                ["Metric assessed Failed due to failed (1) > failureLimit (0)"]
            ])
        );
        assert_eq!(
            run(
                &[(
                    "a",
                    json!({"interval": "1m", "count": 2, "failureLimit": 1, "consecutiveSuccessLimit": 2}),
                    "fs"
                )],
                &[],
                false
            ),
            json!([
                "Inconclusive",
                "Metric \"a\" assessed Inconclusive due to consecutiveSuccess (1) < consecutiveSuccessLimit (2) after count (2)",
                {"count": 1, "inconclusive": 1},
                {},
                []
            ])
        );
    }
}
