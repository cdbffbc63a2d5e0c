//! Answers the controller's questions to metric providers from the simulated metrics.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::{Answer, Outcome, Reading, Trouble};
use tidegate_controller::runs::Ask;

use crate::metrics::Metrics;
use crate::store::Store;

/// After this long a question is given up, as upstream's Prometheus provider does (F110).
const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// Takes a measurement: the reading, and after how long it comes.
pub(crate) fn measure(
    _store: &mut Store,
    metrics: &mut Metrics,
    ask: &Ask,
    asked: Timestamp,
    now: Timestamp,
    skew: SignedDuration,
) -> (Reading, SignedDuration) {
    let provider = &ask.metric.provider;
    let Some(prometheus) = &provider.prometheus else {
        let why = "only Prometheus is simulated";
        return (
            ask.failed(Trouble::Configuration, why, asked),
            SignedDuration::ZERO,
        );
    };
    let query = prometheus.query.clone().unwrap_or_default();
    let parameters = BTreeMap::from([("query".to_owned(), query.clone())]);
    let answer = metrics.http("/api/v1/query", &parameters, now);
    let delay = answer.delay.min(TIMEOUT);
    let outcome = if answer.delay > TIMEOUT {
        Outcome::Error {
            trouble: Trouble::Timeout,
            message: "no answer within 30 s".to_owned(),
        }
    } else {
        outcome(answer.status, &answer.body)
    };
    let reading = Reading {
        metric: ask.measure.metric.clone(),
        number: ask.measure.number,
        started_at: asked,
        finished_at: now + skew + delay,
        outcome,
        metadata: BTreeMap::new(),
        metric_metadata: BTreeMap::from([("ResolvedPrometheusQuery".to_owned(), query)]),
    };
    (reading, delay)
}

fn outcome(status: Option<u16>, body: &str) -> Outcome {
    let error = |trouble, message: String| Outcome::Error { trouble, message };
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    match status {
        None => error(Trouble::Unreachable, body.to_owned()),
        Some(200) => match numbers(&parsed["data"]) {
            Some(answer) => Outcome::Value(answer),
            None => error(Trouble::Malformed, "the answer cannot be read".to_owned()),
        },
        Some(status) => {
            let trouble = if status >= 500 {
                Trouble::ServerError
            } else {
                Trouble::Rejected
            };
            let message = parsed["error"]
                .as_str()
                .map_or_else(|| format!("HTTP {status}"), str::to_owned);
            error(trouble, message)
        }
    }
}

fn numbers(data: &Value) -> Option<Answer> {
    let number = |pair: &Value| -> Option<f64> {
        match pair.get(1)?.as_str()? {
            "+Inf" => Some(f64::INFINITY),
            "-Inf" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        }
    };
    match data["resultType"].as_str()? {
        "scalar" => number(&data["result"]).map(Answer::Number),
        "vector" => data["result"]
            .as_array()?
            .iter()
            .map(|row| number(&row["value"]))
            .collect::<Option<_>>()
            .map(Answer::Numbers),
        _ => None,
    }
}
