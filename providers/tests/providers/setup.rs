//! What the tests have in common: a clock that stands still, a cluster of Jobs in memory, questions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_analysis::args::{SecretKey, Secrets};
use tidegate_analysis::{Measure, MeasureKind, Outcome, Reading, Trouble};
use tidegate_crds::Metric;
use tidegate_providers::{Jobs, JobsError, MeasureRequest, ProviderConfig, Providers, RunRef};

/// What every test measures at.
pub(crate) const NOW: &str = "2026-11-21T10:00:00.25Z";
/// A value that must not be seen anywhere.
pub(crate) const SECRET: &str = "hunter2-hunter2";

/// Jobs in memory, with what was done to them.
#[derive(Clone, Default)]
pub(crate) struct FakeJobs(pub(crate) Arc<Mutex<Cluster>>);

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) jobs: BTreeMap<(String, String), Value>,
    pub(crate) waiting: Vec<String>,
    pub(crate) down: bool,
}

impl Cluster {
    fn up(&mut self) -> Result<&mut Self, JobsError> {
        if self.down {
            Err(JobsError::Other("the API server is away".to_owned()))
        } else {
            Ok(self)
        }
    }
}

impl Jobs for FakeJobs {
    async fn create(&self, namespace: &str, job: &Value) -> Result<Value, JobsError> {
        let mut cluster = self.0.lock().unwrap();
        let name = job["metadata"]["name"].as_str().unwrap().to_owned();
        let jobs = &mut cluster.up()?.jobs;
        let key = (namespace.to_owned(), name);
        if jobs.contains_key(&key) {
            return Err(JobsError::AlreadyExists);
        }
        jobs.insert(key, job.clone());
        Ok(job.clone())
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Value, JobsError> {
        let mut cluster = self.0.lock().unwrap();
        let key = (namespace.to_owned(), name.to_owned());
        cluster.up()?.jobs.get(&key).cloned().ok_or(JobsError::NotFound)
    }

    async fn delete(&self, namespace: &str, name: &str) -> Result<(), JobsError> {
        let mut cluster = self.0.lock().unwrap();
        let key = (namespace.to_owned(), name.to_owned());
        cluster
            .up()?
            .jobs
            .remove(&key)
            .map(drop)
            .ok_or(JobsError::NotFound)
    }

    async fn waiting_reasons(&self, _: &str, _: &str) -> Result<Vec<String>, JobsError> {
        Ok(self.0.lock().unwrap().up()?.waiting.clone())
    }
}

pub(crate) fn run() -> RunRef {
    RunRef {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "ac17f661-5da3-4b58-b11b-3bdd173e0820".to_owned(),
    }
}

pub(crate) fn providers(config: ProviderConfig, jobs: FakeJobs) -> Providers<FakeJobs> {
    // Every test may be the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Providers::new(config, jobs, Arc::new(|| NOW.parse::<Timestamp>().unwrap())).unwrap()
}

/// Asks about a provider with this configuration, for the first time.
pub(crate) async fn start(providers: &Providers<FakeJobs>, provider: Value) -> Reading {
    ask(providers, provider, MeasureKind::Start).await
}

pub(crate) async fn ask(providers: &Providers<FakeJobs>, provider: Value, kind: MeasureKind) -> Reading {
    let metric: Metric = serde_json::from_value(json!({"name": "m", "provider": provider})).unwrap();
    let measure = Measure {
        metric: "m".to_owned(),
        number: 1,
        kind,
    };
    let key = SecretKey {
        name: "s".to_owned(),
        key: "k".to_owned(),
    };
    let secrets: Secrets = [(key, SECRET.to_owned())].into_iter().collect();
    let request = MeasureRequest {
        run: &run(),
        metric: &metric,
        measure: &measure,
        secrets: &secrets,
    };
    let reading = providers.measure(request).await;
    assert!(!format!("{reading:?}").contains(SECRET), "{reading:?}");
    reading
}

/// A measurement with the default settings and no Jobs.
pub(crate) async fn measure(provider: Value) -> Reading {
    start(
        &providers(ProviderConfig::default(), FakeJobs::default()),
        provider,
    )
    .await
}

/// The trouble and the words of a reading that is an error.
pub(crate) fn error(reading: Reading) -> (Trouble, String) {
    match reading.outcome {
        Outcome::Error { trouble, message } => (trouble, message),
        other => panic!("{other:?}"),
    }
}

/// The value of a reading, as a status shows it.
pub(crate) fn value(reading: Reading) -> String {
    match reading.outcome {
        Outcome::Value(answer) => answer.to_string(),
        other => panic!("{other:?}"),
    }
}
