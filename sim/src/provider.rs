//! Answers the controller's questions to metric providers: from the simulated metrics and pages, and with Jobs in the
//! store. What an answer means is read by the product's own code.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::{Reading, Trouble};
use tidegate_controller::step::Ask;
use tidegate_providers::{Jobs, JobsError, MeasureRequest, RunRef};

use crate::api::{Api, kinds};
use crate::metrics::Metrics;
use crate::store::{Reason, Status, Store};
use crate::world::CONTROLLER;

/// After this long a question to Prometheus is given up, as upstream does (F110).
const PROMETHEUS_TIMEOUT: SignedDuration = SignedDuration::from_secs(30);
/// The same for a web metric (F111).
const WEB_TIMEOUT: SignedDuration = SignedDuration::from_secs(10);

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
    let provider = &ask.metric.provider;
    let (answer, timeout) = if let Some(prometheus) = &provider.prometheus {
        let query = prometheus.query.clone().unwrap_or_default();
        let parameters = BTreeMap::from([("query".to_owned(), query)]);
        (
            metrics.http("/api/v1/query", &parameters, now),
            PROMETHEUS_TIMEOUT,
        )
    } else if let Some(web) = &provider.web {
        (metrics.page(&web.url), WEB_TIMEOUT)
    } else {
        let why = "only Prometheus, web and Jobs are simulated";
        return (
            ask.failed(Trouble::Configuration, why, asked),
            SignedDuration::ZERO,
        );
    };
    let delay = answer.delay.min(timeout);
    let answered = match answer.status {
        _ if answer.delay > timeout => {
            let message = format!("no answer within {} s", timeout.as_secs());
            Err((Trouble::Timeout, message))
        }
        Some(status) => Ok((status, answer.body.as_str())),
        None => Err((Trouble::Unreachable, answer.body.clone())),
    };
    let run = run_of(ask);
    let reading = tidegate_providers::read_answer(request(ask, &run), answered, asked, now + skew + delay);
    let failed = || ask.failed(Trouble::Configuration, "the metric has no provider", asked);
    (reading.unwrap_or_else(failed), delay)
}

fn run_of(ask: &Ask) -> RunRef {
    RunRef {
        namespace: ask.run.namespace.clone(),
        name: ask.run.name.clone(),
        uid: ask.uid.clone(),
    }
}

fn request<'a>(ask: &'a Ask, run: &'a RunRef) -> MeasureRequest<'a> {
    MeasureRequest {
        run,
        metric: &ask.metric,
        measure: &ask.measure,
        secrets: &ask.secrets,
    }
}

/// The same, of a metric that is a Job; `None` for another one.
pub(crate) fn measure_job(
    store: &mut Store,
    ask: &Ask,
    now: Timestamp,
    skew: SignedDuration,
) -> Option<Reading> {
    let run = run_of(ask);
    let jobs = StoredJobs {
        store: Mutex::new(store),
        now,
    };
    // The store answers at once.
    tidegate_providers::measure_job(&jobs, request(ask, &run), now + skew)
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
