//! Asking metric providers for a measurement: Prometheus, web, Job.
//!
//! [`Providers::measure`] answers a [`Measure`] of an analysis plan with a [`Reading`]; what the value means is decided
//! by the planner, not here. A measurement never fails otherwise than by a reading that says so.

mod auth;
mod http;
mod job;
mod prometheus;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tidegate_analysis::args::Secrets;
use tidegate_analysis::{Measure, Outcome, Reading, Trouble};
use tidegate_crds::{AnalysisRun, Metric};

pub use self::job::{Jobs, JobsError};
use self::{
    auth::Tokens,
    http::{Answered, Http},
    job::Place,
};

/// Environment variable with the address of Prometheus for metrics that name none.
pub const PROMETHEUS_ADDRESS_VARIABLE: &str = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS";

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of the providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Address of Prometheus for metrics that name none ([`PROMETHEUS_ADDRESS_VARIABLE`]).
    pub prometheus_address: Option<String>,
    /// Namespace for the Jobs of all runs. Default: that of the run.
    pub job_namespace: Option<String>,
    /// Most bytes of an answer. Default 4 MiB.
    pub max_answer_bytes: usize,
    /// Most numbers that a Prometheus query may give. Default 10 000.
    pub max_values: usize,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            prometheus_address: None,
            job_namespace: None,
            max_answer_bytes: 4 << 20,
            max_values: 10_000,
        }
    }
}

/// Why the providers cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The binary has to install the TLS library's cryptography first.
    #[error("no cryptography for TLS: install rustls' default provider before asking for measurements")]
    NoCryptography,
    /// The HTTP client.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}

/// The run that a measurement is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl From<&AnalysisRun> for RunRef {
    fn from(run: &AnalysisRun) -> Self {
        let metadata = &run.metadata;
        Self {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        }
    }
}

/// A question about a metric.
#[derive(Clone, Copy, Debug)]
pub struct MeasureRequest<'a> {
    /// The run.
    pub run: &'a RunRef,
    /// The metric with its arguments filled in ([`tidegate_analysis::plan::measured_metric`]).
    pub metric: &'a Metric,
    /// What to do.
    pub measure: &'a Measure,
    /// The Secrets that were filled in, to keep them out of the reading.
    pub secrets: &'a Secrets,
}

impl MeasureRequest<'_> {
    fn reading(
        &self,
        answer: Result<Measured, Failure>,
        started_at: Timestamp,
        finished_at: Timestamp,
    ) -> Reading {
        let (outcome, metadata) = match answer {
            Ok(measured) => (measured.outcome, measured.metadata),
            Err(Failure { trouble, message }) => (Outcome::Error { trouble, message }, BTreeMap::new()),
        };
        let clean = |(key, value): (String, String)| (key, self.secrets.redact(&value));
        let outcome = match outcome {
            Outcome::Error { trouble, message } => Outcome::Error {
                trouble,
                message: self.secrets.redact(&message),
            },
            other => other,
        };
        let prometheus = self.metric.provider.prometheus.as_ref();
        let metric_metadata = prometheus.map(prometheus::metadata).unwrap_or_default();
        Reading {
            metric: self.measure.metric.clone(),
            number: self.measure.number,
            started_at,
            finished_at,
            outcome,
            metadata: metadata.into_iter().map(clean).collect(),
            metric_metadata: metric_metadata.into_iter().map(clean).collect(),
        }
    }
}

/// What a provider answered.
struct Measured {
    outcome: Outcome,
    metadata: BTreeMap<String, String>,
}

/// Why a provider did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    trouble: Trouble,
    message: String,
}

impl Failure {
    fn new(trouble: Trouble, message: impl Into<String>) -> Self {
        Self {
            trouble,
            message: message.into(),
        }
    }
}

/// Takes, resumes or ends the measurement of a `job` metric at once, for a cluster that is simulated; `None` for a metric of
/// another provider.
pub async fn measure_job<J: Jobs>(jobs: &J, request: MeasureRequest<'_>, now: Timestamp) -> Option<Reading> {
    let job = request.metric.provider.job.as_ref()?;
    let place = Place {
        run: request.run,
        namespace: None,
    };
    let answer = job::measure(jobs, &place, request.measure, job, now).await;
    Some(request.reading(answer, now, now))
}

/// Reads what a server answered to the question of a `prometheus` or `web` metric, for a cluster that is simulated; `None`
/// for a metric of another provider. `answered` is the HTTP status and the body, or why there is none.
pub fn read_answer(
    request: MeasureRequest<'_>,
    answered: Result<(u16, &str), (Trouble, String)>,
    started_at: Timestamp,
    finished_at: Timestamp,
) -> Option<Reading> {
    let provider = &request.metric.provider;
    let answered = answered
        .map_err(|(trouble, message)| Failure::new(trouble, message))
        .and_then(|(status, body)| Answered::new(status, body));
    let answer = if provider.prometheus.is_some() {
        let max_values = ProviderConfig::default().max_values;
        answered.and_then(|answered| prometheus::read(&answered, max_values))
    } else {
        let web = provider.web.as_ref()?;
        web::path_of(web).and_then(|path| web::read(&answered?, &path))
    };
    Some(request.reading(answer, started_at, finished_at))
}

/// The metric providers.
pub struct Providers<J> {
    config: ProviderConfig,
    http: Http,
    tokens: Tokens,
    jobs: J,
    clock: Clock,
}

impl<J: Jobs> Providers<J> {
    /// Sets the providers up. The binary must have installed a default cryptography provider of rustls.
    pub fn new(config: ProviderConfig, jobs: J, clock: Clock) -> Result<Self, SetupError> {
        let http = Http::new(config.max_answer_bytes)?;
        Ok(Self {
            config,
            http,
            tokens: Tokens::default(),
            jobs,
            clock,
        })
    }

    /// Takes, resumes or ends a measurement. Drop the future to give it up; a Job that it created stays until it is
    /// terminated. How many run at a time is for the caller to limit.
    pub async fn measure(&self, request: MeasureRequest<'_>) -> Reading {
        let started_at = (self.clock)();
        let answer = self.ask(&request, started_at).await;
        request.reading(answer, started_at, (self.clock)())
    }

    /// Deletes a Job of a run that measured what is no longer kept (a plan's `garbage`).
    pub async fn delete_job(&self, run: &RunRef, name: &str) -> Result<(), JobsError> {
        match self.jobs.delete(self.place(run).namespace(), name).await {
            Err(JobsError::NotFound) => Ok(()),
            other => other,
        }
    }

    fn place<'a>(&'a self, run: &'a RunRef) -> Place<'a> {
        Place {
            run,
            namespace: self.config.job_namespace.as_deref(),
        }
    }

    async fn ask(&self, request: &MeasureRequest<'_>, now: Timestamp) -> Result<Measured, Failure> {
        let provider = &request.metric.provider;
        if let Some(job) = &provider.job {
            return job::measure(&self.jobs, &self.place(request.run), request.measure, job, now).await;
        }
        if let Some(prometheus) = &provider.prometheus {
            let address = self
                .config
                .prometheus_address
                .as_deref()
                .filter(|address| !address.is_empty());
            let max_values = self.config.max_values;
            return prometheus::measure(&self.http, &self.tokens, address, max_values, prometheus, now).await;
        }
        if let Some(web) = &provider.web {
            return web::measure(&self.http, &self.tokens, web).await;
        }
        let known = serde_json::to_value(provider).ok();
        let name = known
            .as_ref()
            .and_then(|json| json.as_object()?.keys().next())
            .map_or("none", String::as_str);
        Err(Failure::new(
            Trouble::Configuration,
            format!("metric provider {name} is not supported yet: use prometheus, web or job"),
        ))
    }
}
