//! Answers the controller's questions to metric providers: from the simulated metrics, and with Jobs in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::{Answer, Outcome, Reading, Trouble};
use tidegate_controller::runs::Ask;
use tidegate_providers::{Jobs, JobsError, MeasureRequest, RunRef};

use crate::api::{Api, kinds};
use crate::metrics::Metrics;
use crate::store::{Reason, Status, Store};
use crate::world::CONTROLLER;

/// After this long a question is given up, as upstream's Prometheus provider does (F110).
const TIMEOUT: SignedDuration = SignedDuration::from_secs(30);

/// Takes a measurement: the reading, and after how long it comes.
pub(crate) fn measure(
    store: &mut Store,
    metrics: &mut Metrics,
    ask: &Ask,
    asked: Timestamp,
    now: Timestamp,
    skew: SignedDuration,
) -> (Reading, SignedDuration) {
    if let Some(reading) = measure_job(store, ask, now, skew) {
        return (reading, SignedDuration::ZERO);
    }
    let Some(prometheus) = &ask.metric.provider.prometheus else {
        let why = "only Prometheus and Jobs are simulated";
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

/// The same, of a metric that is a Job; `None` for another one.
pub(crate) fn measure_job(
    store: &mut Store,
    ask: &Ask,
    now: Timestamp,
    skew: SignedDuration,
) -> Option<Reading> {
    let run = RunRef {
        namespace: ask.run.namespace.clone(),
        name: ask.run.name.clone(),
        uid: ask.uid.clone(),
    };
    let request = MeasureRequest {
        run: &run,
        metric: &ask.metric,
        measure: &ask.measure,
        secrets: &ask.secrets,
    };
    let jobs = StoredJobs {
        store: Mutex::new(store),
        now,
    };
    // The store answers at once.
    tidegate_providers::measure_job(&jobs, request, now + skew)
        .now_or_never()
        .flatten()
}

/// Jobs in the store.
struct StoredJobs<'a> {
    store: Mutex<&'a mut Store>,
    now: Timestamp,
}

impl StoredJobs<'_> {
    fn with<T>(&self, act: impl FnOnce(&mut Api<'_>) -> Result<T, Status>) -> Result<T, JobsError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = act(&mut Api::new(&mut store, CONTROLLER, self.now));
        answer.map_err(|status| match status.reason {
            Reason::NotFound => JobsError::NotFound,
            Reason::AlreadyExists => JobsError::AlreadyExists,
            _ => JobsError::Other(status.message),
        })
    }
}

impl Jobs for StoredJobs<'_> {
    async fn create(&self, namespace: &str, job: &Value) -> Result<Value, JobsError> {
        self.with(|api| api.create(&kinds::JOBS, namespace, job.clone()))
            .map(Arc::unwrap_or_clone)
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Value, JobsError> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = store
            .registry()
            .by_kind(kinds::JOBS.api_version, kinds::JOBS.kind);
        let found = kind.and_then(|kind| store.get(kind, namespace, name));
        found.map(Arc::unwrap_or_clone).ok_or(JobsError::NotFound)
    }

    async fn delete(&self, namespace: &str, name: &str) -> Result<(), JobsError> {
        self.with(|api| api.delete(&kinds::JOBS, namespace, name))
    }

    async fn waiting_reasons(&self, _namespace: &str, _name: &str) -> Result<Vec<String>, JobsError> {
        Ok(Vec::new())
    }
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
