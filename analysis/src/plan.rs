//! [`plan`]: what to do about an analysis run now.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tidegate_crds::{
    AnalysisPhase, AnalysisRun, AnalysisRunSpec, AnalysisRunStatus, GoDuration, Measurement, Metric,
    MetricResult, TTLStrategy, Time, labels,
};

use crate::{
    args::{self, ArgsError, Secrets},
    assess::{self, Terminated},
    reading::{self, JOB_NAME_KEY, Measure, MeasureKind, Outcome, REASON_KEY, Reading, Trouble},
    validate,
};

/// Measurements kept of a metric, unless a rule says otherwise (F103).
pub const DEFAULT_RETENTION: usize = 10;
/// Most measurements kept of a metric, whatever a rule says: a status has to fit into an object.
pub const MAX_RETENTION: usize = 500;
/// Time between an error and the next try (contract 3.12).
pub const ERROR_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Shortest time between measurements: the times in a status are whole seconds.
pub const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// All that a decision about a run depends on.
#[derive(Clone, Debug, Default)]
pub struct RunObserved {
    /// The run.
    pub run: AnalysisRun,
    /// Answers of providers that are not in the status yet. The shell keeps them until a status with them is written.
    pub readings: Vec<Reading>,
    /// Metrics that a provider is being asked about.
    pub in_flight: BTreeSet<String>,
    /// Values of the Secrets that the run's arguments name ([`args::secret_keys`]).
    pub secrets: Secrets,
}

/// What to do about a run.
///
/// The shell drops the requests in [`cancel`](Self::cancel), carries out [`measure`](Self::measure) and deletes
/// [`garbage`](Self::garbage) without waiting for answers to anything but `Terminate` and the deletions, which it sends
/// before it writes the status, so that a crash leaves no Job behind; a failure of one of those does not hold the status
/// up. The status is written guarded by the resourceVersion that was observed, then the events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPlan {
    /// The complete desired status, computed from what was observed.
    pub status: AnalysisRunStatus,
    /// Whether the status is worth a write.
    pub write_status: bool,
    /// Questions for providers.
    pub measure: Vec<Measure>,
    /// Metrics whose outstanding request is of no use any more.
    pub cancel: BTreeSet<String>,
    /// Jobs of the run, by name, that measured what is no longer kept.
    pub garbage: Vec<String>,
    /// The run has outlived its `ttlStrategy`.
    pub delete_run: bool,
    /// When something is due by itself.
    pub wake: Option<Timestamp>,
    /// What to tell once the status is written, in order.
    pub events: Vec<RunEvent>,
}

/// An event about the run (contract 2.8). A run tells each reason and message once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// Reason, as upstream's.
    pub reason: String,
    /// Message, as upstream's.
    pub message: String,
    /// What makes this event different from another of the same reason: the metric, or empty for the run.
    pub occurrence: String,
}

/// The metric of a run with its arguments filled in, Secrets included: for a provider, never for a log. `None` if the
/// run has no such metric.
pub fn measured_metric(
    run: &AnalysisRun,
    name: &str,
    secrets: &Secrets,
) -> Result<Option<Metric>, ArgsError> {
    let shapes = filled_metrics(&run.spec, None)?;
    let Some(index) = shapes.iter().position(|metric| metric.name == name) else {
        return Ok(None);
    };
    let Some(metric) = run.spec.metrics.get(index) else {
        return Ok(None);
    };
    let values = args::values(&run.spec.args, Some(secrets))?;
    let mut metric = args::fill_metric(metric, &values)?;
    // Results are kept under the name without secrets.
    name.clone_into(&mut metric.name);
    Ok(Some(metric))
}

fn filled_metrics(spec: &AnalysisRunSpec, secrets: Option<&Secrets>) -> Result<Vec<Metric>, ArgsError> {
    let values = args::values(&spec.args, secrets)?;
    spec.metrics
        .iter()
        .map(|metric| args::fill_metric(metric, &values))
        .collect()
}

/// Decides what to do about a run. Never fails: what is wrong with a run is in its status.
pub fn plan(observed: &RunObserved, now: Timestamp) -> RunPlan {
    let run = &observed.run;
    if run.metadata.deletion_timestamp.is_some() {
        return RunPlan {
            status: run.status.clone(),
            cancel: observed.in_flight.clone(),
            ..RunPlan::default()
        };
    }
    if run.status.phase.completed() {
        return completed(observed, now);
    }
    match Checked::of(&run.spec) {
        Ok(checked) => running(observed, &checked, now),
        Err(message) => invalid(observed, message, now),
    }
}

/// A run that has ended: nothing to do but to delete it in time.
fn completed(observed: &RunObserved, now: Timestamp) -> RunPlan {
    let mut plan = RunPlan {
        status: observed.run.status.clone(),
        cancel: observed.in_flight.clone(),
        ..RunPlan::default()
    };
    // Upstream leaves it out when the spec is wrong, and its ttlStrategy never fires.
    let completed_at = *plan.status.completed_at.get_or_insert(Time::from(now));
    plan.write_status = plan.status != observed.run.status;
    if let Some(ttl) = observed
        .run
        .spec
        .ttl_strategy
        .as_ref()
        .and_then(|ttl| time_to_live(ttl, &plan.status.phase))
    {
        let due = after(completed_at, ttl);
        plan.delete_run = due <= now;
        plan.wake = (due > now).then_some(due);
    }
    plan
}

/// How long a run is kept after it ended (F106).
fn time_to_live(ttl: &TTLStrategy, phase: &AnalysisPhase) -> Option<SignedDuration> {
    let own = match phase {
        AnalysisPhase::Successful => ttl.seconds_after_success,
        _ => ttl.seconds_after_failure,
    };
    own.or(ttl.seconds_after_completion)
        .map(|seconds| SignedDuration::from_secs(i64::from(seconds)))
}

/// A run whose spec cannot be used.
fn invalid(observed: &RunObserved, message: String, now: Timestamp) -> RunPlan {
    let mut status = observed.run.status.clone();
    status.phase = AnalysisPhase::Error;
    status.message = Some(reading::shortened(message));
    status.completed_at = Some(Time::from(now));
    RunPlan {
        events: vec![run_event(&status.phase)],
        status,
        write_status: true,
        cancel: observed.in_flight.clone(),
        ..RunPlan::default()
    }
}

/// A spec that can be used.
struct Checked {
    /// With arguments filled in, Secrets as placeholders.
    metrics: Vec<Metric>,
    dry_run: BTreeSet<String>,
    retention: BTreeMap<String, usize>,
}

impl Checked {
    fn of(spec: &AnalysisRunSpec) -> Result<Self, String> {
        let metrics = filled_metrics(spec, None)
            .map_err(|error| format!("Unable to resolve metric arguments: {error}"))?;
        let spec_invalid = |problem| format!("Analysis spec invalid: {problem}");
        if let Some(problem) = validate::validate_metrics(&metrics) {
            return Err(spec_invalid(problem));
        }
        let dry_run = validate::dry_run_metrics(&spec.dry_run, &metrics).map_err(spec_invalid)?;
        let retention =
            validate::retention_limits(&spec.measurement_retention, &metrics).map_err(spec_invalid)?;
        Ok(Self {
            metrics,
            dry_run,
            retention,
        })
    }
}

fn running(observed: &RunObserved, checked: &Checked, now: Timestamp) -> RunPlan {
    let run = &observed.run;
    let mut plan = RunPlan {
        status: run.status.clone(),
        ..RunPlan::default()
    };

    for reading in &observed.readings {
        add_reading(&mut plan.status, checked, observed, reading);
    }
    if plan.status.started_at.is_none() {
        let first = observed.readings.iter().map(|reading| reading.started_at).min();
        plan.status.started_at = Some(Time::from(first.unwrap_or(now)));
    }

    let terminated = (run.spec.terminate == Some(true)).then(|| {
        let role = run.metadata.labels.get(labels::ROLLOUT_TYPE_LABEL);
        if role.is_some_and(|role| role == labels::ROLLOUT_TYPE_BACKGROUND) {
            Terminated::Background
        } else {
            Terminated::Awaited
        }
    });
    let mut terminating = terminated.is_some() || has_bad_result(&plan.status);
    assess_metrics(&mut plan, checked, terminating);
    if !terminating && has_bad_result(&plan.status) {
        // One bad metric ends the others in the same pass, so that the Rollout hears of it at once.
        terminating = true;
    }
    if terminating {
        terminate_measurements(&mut plan, checked, now);
        assess_metrics(&mut plan, checked, true);
    }
    assess::assess_run(
        &mut plan.status,
        &checked.metrics,
        &checked.dry_run,
        terminated,
        terminating,
    );
    if plan.status.phase.completed() {
        plan.status.completed_at = Some(Time::from(now));
        plan.events.push(run_event(&plan.status.phase));
        plan.cancel.clone_from(&observed.in_flight);
    } else {
        for metric in &checked.metrics {
            schedule(&mut plan, metric, &observed.in_flight, now);
        }
    }
    trim(&mut plan, checked);

    // The start alone is not worth a write when the first measurement is under way: it comes with that.
    let only_started = run.status.started_at.is_none()
        && plan.status.phase == AnalysisPhase::Running
        && plan.status.metric_results == run.status.metric_results
        && !(plan.measure.is_empty() && observed.in_flight.is_empty());
    plan.write_status = plan.status != run.status && !only_started;
    plan
}

fn result_of<'a>(status: &'a AnalysisRunStatus, name: &str) -> Option<&'a MetricResult> {
    status.metric_results.iter().find(|result| result.name == name)
}

/// The measurement that has not ended.
fn unfinished(result: &MetricResult) -> Option<&Measurement> {
    result.measurements.last().filter(|last| !last.phase.completed())
}

fn has_bad_result(status: &AnalysisRunStatus) -> bool {
    let bad = |phase: &AnalysisPhase| phase.completed() && *phase != AnalysisPhase::Successful;
    status
        .metric_results
        .iter()
        .any(|result| result.dry_run != Some(true) && bad(&result.phase))
}

/// Adds the measurement that a reading makes to the result of its metric.
fn add_reading(status: &mut AnalysisRunStatus, checked: &Checked, observed: &RunObserved, reading: &Reading) {
    let Some(metric) = checked
        .metrics
        .iter()
        .find(|metric| metric.name == reading.metric)
    else {
        return;
    };
    let result = result_of(status, &metric.name);
    if result.is_some_and(|result| result.phase.completed()) || reading.number != assess::next_number(result)
    {
        return;
    }
    let unfinished = result.and_then(unfinished).cloned();
    let measurement = match measured_metric(&observed.run, &metric.name, &observed.secrets) {
        Ok(filled) => {
            let filled = filled.as_ref().unwrap_or(metric);
            reading::measurement(reading, filled, unfinished.as_ref(), &observed.secrets)
        }
        Err(error) => {
            let outcome = Outcome::Error {
                trouble: Trouble::Cluster,
                message: error.to_string(),
            };
            let reading = Reading {
                outcome,
                ..reading.clone()
            };
            reading::measurement(&reading, metric, unfinished.as_ref(), &observed.secrets)
        }
    };

    if result.is_none() {
        let metadata = reading.metric_metadata.iter();
        status.metric_results.push(MetricResult {
            name: metric.name.clone(),
            phase: AnalysisPhase::Running,
            dry_run: checked.dry_run.contains(&metric.name).then_some(true),
            metadata: metadata
                .map(|(key, value)| (key.clone(), reading::shortened(observed.secrets.redact(value))))
                .collect(),
            ..MetricResult::default()
        });
    }
    if let Some(result) = status
        .metric_results
        .iter_mut()
        .find(|result| result.name == metric.name)
    {
        assess::count_measurement(result, &measurement.phase);
        if unfinished.is_some() {
            result.measurements.pop();
        }
        result.measurements.push(measurement);
    }
}

/// Sets the phases of metrics, and tells of those that ended.
fn assess_metrics(plan: &mut RunPlan, checked: &Checked, terminating: bool) {
    for metric in &checked.metrics {
        let results = &mut plan.status.metric_results;
        let Some(result) = results.iter_mut().find(|result| result.name == metric.name) else {
            continue;
        };
        let phase = assess::metric_phase(metric, result, terminating);
        if phase == result.phase {
            continue;
        }
        if phase.completed() {
            plan.events.push(RunEvent {
                warning: is_warning(&phase),
                reason: format!("Metric{phase}"),
                message: format!("Metric '{}' Completed. Result: {phase}", metric.name),
                occurrence: metric.name.clone(),
            });
        }
        result.message = result.measurements.last().and_then(said_by_provider);
        result.phase = phase;
    }
}

/// The message of a measurement, without our own remark on a value that was judged all the same: upstream has none,
/// and the message of the run is built from it.
fn said_by_provider(measurement: &Measurement) -> Option<String> {
    let remark = measurement.phase != AnalysisPhase::Error && measurement.metadata.contains_key(REASON_KEY);
    measurement.message.clone().filter(|_| !remark)
}

fn run_event(phase: &AnalysisPhase) -> RunEvent {
    RunEvent {
        warning: is_warning(phase),
        reason: format!("AnalysisRun{phase}"),
        message: format!("Analysis Completed. Result: {phase}"),
        occurrence: String::new(),
    }
}

fn is_warning(phase: &AnalysisPhase) -> bool {
    matches!(phase, AnalysisPhase::Failed | AnalysisPhase::Error)
}

/// Ends what is being measured by Jobs, those included that may have been started without being noted.
fn terminate_measurements(plan: &mut RunPlan, checked: &Checked, now: Timestamp) {
    for metric in &checked.metrics {
        let results = &mut plan.status.metric_results;
        let result = results.iter_mut().find(|result| result.name == metric.name);
        if result.as_ref().is_some_and(|result| result.phase.completed()) {
            continue;
        }
        let number = assess::next_number(result.as_deref());
        let mut terminated = Measurement::default();
        if let Some(result) = result
            && let Some(last) = result
                .measurements
                .last_mut()
                .filter(|last| !last.phase.completed())
        {
            terminated = last.clone();
            last.phase = AnalysisPhase::Inconclusive;
            last.message = Some("Metric Terminated".to_owned());
            last.finished_at = Some(Time::from(now));
            assess::count_measurement(result, &AnalysisPhase::Inconclusive);
        }
        if metric.provider.job.is_some() {
            let kind = MeasureKind::Terminate(terminated);
            plan.measure.push(Measure {
                metric: metric.name.clone(),
                number,
                kind,
            });
        }
    }
}

/// Asks for the next measurement of a metric, or remembers when it is due (contract 3.12, Scheduling).
fn schedule(plan: &mut RunPlan, metric: &Metric, in_flight: &BTreeSet<String>, now: Timestamp) {
    let result = result_of(&plan.status, &metric.name);
    if in_flight.contains(&metric.name) || result.is_some_and(|result| result.phase.completed()) {
        return;
    }
    let (kind, due) = match result.and_then(|result| result.measurements.last()) {
        None => {
            let started_at = plan.status.started_at.unwrap_or(Time::from(now));
            (
                MeasureKind::Start,
                metric
                    .initial_delay
                    .as_ref()
                    .and_then(parsed)
                    .map(|delay| after(started_at, delay)),
            )
        }
        Some(last) if !last.phase.completed() => (
            MeasureKind::Resume(last.clone()),
            last.resume_at.map(Time::timestamp),
        ),
        Some(last) => {
            let interval = match last.phase {
                AnalysisPhase::Error => ERROR_RETRY,
                _ => metric
                    .interval
                    .as_ref()
                    .and_then(parsed)
                    .unwrap_or(ERROR_RETRY)
                    .max(MIN_INTERVAL),
            };
            (
                MeasureKind::Start,
                Some(
                    last.finished_at
                        .map_or(now, |finished_at| after(finished_at, interval)),
                ),
            )
        }
    };
    if let Some(due) = due.filter(|due| *due > now) {
        plan.wake = Some(plan.wake.map_or(due, |wake| wake.min(due)));
    } else {
        let number = assess::next_number(result);
        plan.measure.push(Measure {
            metric: metric.name.clone(),
            number,
            kind,
        });
    }
}

fn parsed(duration: &GoDuration) -> Option<SignedDuration> {
    duration.parse().ok()
}

fn after(time: Time, duration: SignedDuration) -> Timestamp {
    time.timestamp().checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Keeps the latest measurements only.
fn trim(plan: &mut RunPlan, checked: &Checked) {
    for result in &mut plan.status.metric_results {
        let keep = checked
            .retention
            .get(&result.name)
            .copied()
            .unwrap_or(DEFAULT_RETENTION)
            .min(MAX_RETENTION);
        let surplus = result.measurements.len().saturating_sub(keep);
        let dropped = result.measurements.drain(..surplus);
        plan.garbage
            .extend(dropped.filter_map(|measurement| measurement.metadata.get(JOB_NAME_KEY).cloned()));
    }
}
