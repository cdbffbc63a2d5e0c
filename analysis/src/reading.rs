//! What a provider is asked and answers, and the measurement that it makes.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use tidegate_crds::{AnalysisPhase, Measurement, Metric, Time};

use crate::{
    args::Secrets,
    expr::{Env, Kind, Program, Value},
};

/// Key in the metadata of a measurement: why there is no good value, one of the words of [`Trouble`].
pub const REASON_KEY: &str = "tidegate.io/reason";
/// Key in the metadata of a measurement: the Job that measures.
pub const JOB_NAME_KEY: &str = "job-name";
/// Key in the metadata of a measurement: the namespace of that Job.
pub const JOB_NAMESPACE_KEY: &str = "job-namespace";

/// Most bytes of a value, message or piece of metadata that go into a status.
const MAX_TEXT: usize = 8 * 1024;

/// A question for a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The metric, by its name with arguments filled in; [`measured_metric`](crate::plan::measured_metric) has the rest.
    pub metric: String,
    /// Which measurement of the metric, from 1. Part of the name of a Job.
    pub number: i32,
    /// What to do.
    pub kind: MeasureKind,
}

/// What to do about a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum MeasureKind {
    /// Take it. Taking it again after a crash is harmless.
    Start,
    /// Ask how it goes.
    Resume(Measurement),
    /// Stop it. No reading is expected, and it may be that there is nothing to stop: the measurement is empty when
    /// none is known to have started.
    Terminate(Measurement),
}

/// What a provider answered to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The metric, by its name with arguments filled in.
    pub metric: String,
    /// Which measurement of the metric it is, from 1: that of the [`Measure`] it answers. A
    /// reading that comes twice, or too late, has a number that is over.
    pub number: i32,
    /// When the provider was asked.
    pub started_at: Timestamp,
    /// When it had answered.
    pub finished_at: Timestamp,
    /// The answer.
    pub outcome: Outcome,
    /// What the provider says of the measurement.
    pub metadata: BTreeMap<String, String>,
    /// What the provider says of the metric, such as the query that was sent.
    pub metric_metadata: BTreeMap<String, String>,
}

impl Reading {
    /// A question that could not be put to a provider: the metric cannot be filled in, a Secret is missing.
    pub fn of_trouble(
        measure: &Measure,
        at: Timestamp,
        trouble: Trouble,
        message: impl Into<String>,
    ) -> Self {
        Self {
            metric: measure.metric.clone(),
            number: measure.number,
            started_at: at,
            finished_at: at,
            outcome: Outcome::Error {
                trouble,
                message: message.into(),
            },
            metadata: BTreeMap::new(),
            metric_metadata: BTreeMap::new(),
        }
    }
}

/// The answer of a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A value, for the conditions to judge.
    Value(Answer),
    /// It is still measuring (a Job).
    Running {
        /// When to ask again.
        resume_at: Timestamp,
    },
    /// It has judged by itself (a Job).
    Judged {
        /// The result.
        phase: AnalysisPhase,
        /// Why.
        message: Option<String>,
    },
    /// It could not measure.
    Error {
        /// What kind of trouble it is.
        trouble: Trouble,
        /// What happened, without secrets.
        message: String,
    },
}

/// A value that was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number.
    Number(f64),
    /// A list of numbers, one for each series or point.
    Numbers(Vec<f64>),
    /// What a JSON path selected.
    Json(serde_json::Value),
    /// A text that is no JSON.
    Text(String),
}

/// Why there is no good value. Written to the measurement's metadata as [`REASON_KEY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The answer is empty.
    NoData,
    /// The answer is not a number: most often a ratio over no traffic (0/0).
    NotANumber,
    /// No answer in time.
    Timeout,
    /// No connection.
    Unreachable,
    /// The provider has a fault (HTTP 5xx).
    ServerError,
    /// The provider does not accept the request (HTTP 4xx, a query that it cannot parse).
    Rejected,
    /// The answer is larger than what is read.
    TooLarge,
    /// The answer cannot be read.
    Malformed,
    /// The metric is set up wrong.
    Configuration,
    /// The cluster does not let the measurement happen: a Secret or a Job.
    Cluster,
    /// A condition cannot be evaluated.
    Condition,
}

impl Trouble {
    /// The word in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoData => "no-data",
            Self::NotANumber => "not-a-number",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::ServerError => "server-error",
            Self::Rejected => "rejected",
            Self::TooLarge => "too-large",
            Self::Malformed => "malformed",
            Self::Configuration => "configuration",
            Self::Cluster => "cluster",
            Self::Condition => "condition",
        }
    }
}

impl Answer {
    /// No value, or a list without items.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.is_empty(),
            Self::Json(json) => json.is_null() || json.as_array().is_some_and(Vec::is_empty),
            Self::Number(_) | Self::Text(_) => false,
        }
    }

    fn has_nan(&self) -> bool {
        match self {
            Self::Number(number) => number.is_nan(),
            Self::Numbers(numbers) => numbers.iter().any(|number| number.is_nan()),
            Self::Json(_) | Self::Text(_) => false,
        }
    }
}

/// As in a status: `1.5`, `[1,NaN]`, JSON.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write_number(f, *number),
            Self::Numbers(numbers) => {
                f.write_str("[")?;
                for (index, number) in numbers.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    write_number(f, *number)?;
                }
                f.write_str("]")
            }
            Self::Json(json) => write_json(f, json),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// With keys in order, as Go writes a map.
fn write_json(f: &mut fmt::Formatter<'_>, json: &serde_json::Value) -> fmt::Result {
    match json {
        serde_json::Value::Array(items) => {
            f.write_str("[")?;
            for (index, item) in items.iter().enumerate() {
                f.write_str(if index > 0 { "," } else { "" })?;
                write_json(f, item)?;
            }
            f.write_str("]")
        }
        serde_json::Value::Object(fields) => {
            let fields: BTreeMap<&String, &serde_json::Value> = fields.iter().collect();
            f.write_str("{")?;
            for (index, (key, value)) in fields.into_iter().enumerate() {
                f.write_str(if index > 0 { "," } else { "" })?;
                write!(f, "{}:", serde_json::Value::from(key.as_str()))?;
                write_json(f, value)?;
            }
            f.write_str("}")
        }
        scalar => write!(f, "{scalar}"),
    }
}

/// As Prometheus' Go library writes a sample.
fn write_number(f: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    if number.is_infinite() {
        f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(f, "{number}")
    }
}

/// The measurement that a reading makes. `metric` has its arguments filled in, Secrets included; `unfinished` is the
/// measurement that was running.
pub(crate) fn measurement(
    reading: &Reading,
    metric: &Metric,
    unfinished: Option<&Measurement>,
    secrets: &Secrets,
) -> Measurement {
    let mut measured = unfinished.cloned().unwrap_or_default();
    measured.started_at.get_or_insert(Time::from(reading.started_at));
    measured.metadata.extend(reading.metadata.clone());
    let mut trouble = None;
    match &reading.outcome {
        Outcome::Running { resume_at } => {
            measured.phase = AnalysisPhase::Running;
            measured.resume_at = Some(Time::from(*resume_at));
        }
        Outcome::Judged { phase, message } => {
            measured.phase = phase.clone();
            measured.message.clone_from(message);
        }
        Outcome::Error {
            trouble: kind,
            message,
        } => {
            measured.phase = AnalysisPhase::Error;
            measured.message = Some(message.clone());
            trouble = Some(*kind);
        }
        Outcome::Value(answer) => {
            let judgement = judge(answer, metric, reading.finished_at);
            measured.phase = judgement.phase;
            measured.message = judgement.message;
            trouble = judgement.trouble;
            // Upstream leaves the value of an error out.
            measured.value = (measured.phase != AnalysisPhase::Error).then(|| answer.to_string());
        }
    }
    if measured.phase.completed() {
        measured.finished_at = Some(Time::from(reading.finished_at));
    }
    if let Some(trouble) = trouble {
        measured
            .metadata
            .insert(REASON_KEY.to_owned(), trouble.as_str().to_owned());
    }
    let clean = |text: &mut String| *text = shortened(secrets.redact(text));
    measured.message.iter_mut().for_each(clean);
    measured.value.iter_mut().for_each(clean);
    measured.metadata.values_mut().for_each(clean);
    measured
}

/// A text that a status can carry.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// What the conditions say of a value.
#[derive(Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) phase: AnalysisPhase,
    pub(crate) message: Option<String>,
    pub(crate) trouble: Option<Trouble>,
}

/// Judges a value (contract 3.12, Outcome). Phases are upstream's; a NaN and an empty answer are named besides.
pub(crate) fn judge(answer: &Answer, metric: &Metric, now: Timestamp) -> Judgement {
    let success = condition(
        "successCondition",
        metric.success_condition.as_deref(),
        answer,
        now,
    );
    let failure = condition(
        "failureCondition",
        metric.failure_condition.as_deref(),
        answer,
        now,
    );
    let phase = match (success, failure) {
        (Err(message), _) | (_, Err(message)) => {
            let trouble = if answer.is_empty() {
                Trouble::NoData
            } else {
                Trouble::Condition
            };
            return Judgement {
                phase: AnalysisPhase::Error,
                message: Some(message),
                trouble: Some(trouble),
            };
        }
        (Ok(_), Ok(Some(true))) | (Ok(Some(false)), Ok(None)) => AnalysisPhase::Failed,
        (Ok(Some(false)), Ok(Some(false))) => AnalysisPhase::Inconclusive,
        (Ok(Some(true) | None), Ok(_)) => AnalysisPhase::Successful,
    };
    let (message, trouble) = if answer.has_nan() {
        (
            Some("the answer is NaN: a ratio over no traffic (0/0) looks like this"),
            Some(Trouble::NotANumber),
        )
    } else if answer.is_empty() {
        (
            Some("the answer is empty: nothing matched the query"),
            Some(Trouble::NoData),
        )
    } else {
        (None, None)
    };
    Judgement {
        phase,
        message: message.map(str::to_owned),
        trouble,
    }
}

/// Evaluates a condition; `None` if there is none.
fn condition(
    name: &str,
    source: Option<&str>,
    answer: &Answer,
    now: Timestamp,
) -> Result<Option<bool>, String> {
    let Some(source) = source.filter(|source| !source.is_empty()) else {
        return Ok(None);
    };
    evaluate(source, answer, now).map(Some).map_err(|error| {
        let error = if answer.is_empty() {
            "metric result is nil or empty: no data returned from the metric provider"
        } else {
            &error
        };
        format!("could not evaluate {name} \"{source}\": {error}")
    })
}

fn evaluate(source: &str, answer: &Answer, now: Timestamp) -> Result<bool, String> {
    let program = Program::compile(source, Kind::Condition).map_err(|error| error.to_string())?;
    let result = match answer {
        Answer::Number(number) => Value::Float(*number),
        Answer::Numbers(numbers) => Value::floats(numbers.iter().copied()),
        Answer::Json(json) => Value::from_json(json).map_err(|error| error.to_string())?,
        Answer::Text(text) => Value::from(text.as_str()),
    };
    program
        .run_bool(&Env { result, now })
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metric(success: &str, failure: &str) -> Metric {
        Metric {
            success_condition: Some(success.to_owned()),
            failure_condition: Some(failure.to_owned()),
            ..Metric::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Answer, successCondition, failureCondition, phase, trouble.
    type Case = (Answer, &'static str, &'static str, &'static str, Option<Trouble>);

    fn judged_as(cases: impl IntoIterator<Item = Case>) {
        for (answer, success, failure, phase, trouble) in cases {
            let judgement = judge(&answer, &metric(success, failure), at(0));
            assert_eq!(
                (judgement.phase.as_str(), judgement.trouble),
                (phase, trouble),
                "{answer} {success} {failure}: {:?}",
                judgement.message
            );
            assert_eq!(judgement.message.is_some(), trouble.is_some());
        }
    }

    fn list(numbers: &[f64]) -> Answer {
        Answer::Numbers(numbers.to_vec())
    }

    #[test]
    fn outcomes() {
        judged_as([
            (list(&[1.0]), "", "", "Successful", None),
            (list(&[1.0]), "result[0] == 1", "", "Successful", None),
            (list(&[0.0]), "result[0] == 1", "", "Failed", None),
            (list(&[0.0]), "", "result[0] == 1", "Successful", None),
            (list(&[1.0]), "", "result[0] == 1", "Failed", None),
            (list(&[1.0]), "result[0] == 1", "result[0] == 1", "Failed", None),
            (
                list(&[1.5]),
                "result[0] > 2",
                "result[0] < 1",
                "Inconclusive",
                None,
            ),
            (list(&[2.5]), "result[0] > 2", "result[0] < 1", "Successful", None),
            (
                Answer::Json(json!({"ok": true, "n": 3})),
                "result.ok && result.n > 2",
                "",
                "Successful",
                None,
            ),
            (
                Answer::Json(json!(null)),
                "result > 2",
                "",
                "Error",
                Some(Trouble::NoData),
            ),
            (
                Answer::Json(json!(null)),
                "default(result, 0) < 1",
                "",
                "Successful",
                Some(Trouble::NoData),
            ),
            (
                Answer::Text("up".to_owned()),
                "result == 'up'",
                "",
                "Successful",
                None,
            ),
        ]);
    }

    #[test]
    fn what_is_no_number_and_what_is_empty_are_judged_all_the_same() {
        let nan = f64::NAN;
        judged_as([
            // recorded: canary-analysis-nan, canary-analysis-empty, analysis-runs-alone/bad-condition
            (
                list(&[nan]),
                "result[0] >= 1",
                "",
                "Failed",
                Some(Trouble::NotANumber),
            ),
            (
                list(&[nan]),
                "",
                "result[0] >= 1",
                "Successful",
                Some(Trouble::NotANumber),
            ),
            (
                list(&[1.0, nan]),
                "result[0] >= 1",
                "",
                "Successful",
                Some(Trouble::NotANumber),
            ),
            (
                Answer::Number(nan),
                "isNaN(result)",
                "",
                "Successful",
                Some(Trouble::NotANumber),
            ),
            (list(&[]), "result[0] >= 1", "", "Error", Some(Trouble::NoData)),
            (
                list(&[]),
                "len(result) == 0",
                "",
                "Successful",
                Some(Trouble::NoData),
            ),
            (list(&[]), "", "", "Successful", Some(Trouble::NoData)),
        ]);
    }

    #[test]
    fn a_condition_that_does_not_hold_water_is_an_error() {
        judged_as([
            (
                list(&[1.0]),
                "result[0] ==",
                "",
                "Error",
                Some(Trouble::Condition),
            ),
            (list(&[1.0]), "result[0]", "", "Error", Some(Trouble::Condition)),
            (
                list(&[1.0]),
                "result[3] > 1",
                "",
                "Error",
                Some(Trouble::Condition),
            ),
        ]);
    }

    #[test]
    fn messages_of_conditions_are_upstreams() {
        let message =
            |answer: Answer, success: &str| judge(&answer, &metric(success, ""), at(0)).message.unwrap();
        assert_eq!(
            message(Answer::Numbers(vec![1.0]), "result[0] =="),
            "could not evaluate successCondition \"result[0] ==\": unexpected token EOF"
        );
        assert_eq!(
            message(Answer::Numbers(vec![]), "result[0] >= 1"),
            "could not evaluate successCondition \"result[0] >= 1\": \
             metric result is nil or empty: no data returned from the metric provider"
        );
    }

    #[test]
    fn values_are_written_as_upstream_writes_them() {
        let cases = [
            (Answer::Number(1.0), "1"),
            (Answer::Number(0.1), "0.1"),
            (Answer::Numbers(vec![]), "[]"),
            (
                Answer::Numbers(vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21]),
                "[1.5,NaN,+Inf,-Inf,1000000000000000000000]",
            ),
            (
                Answer::Json(json!({"b": [1, "x"], "a": null})),
                r#"{"a":null,"b":[1,"x"]}"#,
            ),
            (Answer::Text("up".to_owned()), "up"),
        ];
        for (answer, want) in cases {
            assert_eq!(answer.to_string(), want);
        }
    }

    #[test]
    fn a_reading_becomes_a_measurement_without_secrets() {
        let secrets: Secrets = [(
            crate::args::SecretKey {
                name: "s".to_owned(),
                key: "k".to_owned(),
            },
            "hunter2".to_owned(),
        )]
        .into_iter()
        .collect();
        let reading = Reading {
            metric: "m".to_owned(),
            number: 1,
            started_at: "2026-11-21T10:00:00.9Z".parse().unwrap(),
            finished_at: "2026-11-21T10:00:05.9Z".parse().unwrap(),
            outcome: Outcome::Error {
                trouble: Trouble::Timeout,
                message: "no answer from hunter2".to_owned(),
            },
            metadata: [("query".to_owned(), "x{k='hunter2'}".to_owned())].into(),
            metric_metadata: BTreeMap::new(),
        };
        assert_eq!(
            serde_json::to_value(measurement(&reading, &Metric::default(), None, &secrets)).unwrap(),
            json!({
                "phase": "Error", "message": "no answer from *****",
                "startedAt": "2026-11-21T10:00:00Z", "finishedAt": "2026-11-21T10:00:05Z",
                "metadata": {"query": "x{k='*****'}", "tidegate.io/reason": "timeout"}
            })
        );
        let long = Reading {
            outcome: Outcome::Value(Answer::Text("é".repeat(10_000))),
            ..reading
        };
        let value = measurement(&long, &Metric::default(), None, &secrets)
            .value
            .unwrap();
        assert_eq!(
            (value.chars().count(), value.ends_with('…')),
            (MAX_TEXT / 2 + 1, true)
        );
    }
}
