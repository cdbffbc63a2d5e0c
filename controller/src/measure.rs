//! Asks metric providers, and carries their Jobs to the API server.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_analysis::{Outcome, Reading};
use tidegate_providers::{
    Jobs, JobsError, MeasureRequest, ProviderConfig, Providers as All, RunRef, SetupError,
};

use crate::client::Api;
use crate::leader::Leadership;
use crate::request::{Failure, JOBS, PODS, Request, Verb};
use crate::step::Ask;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Label that the Job controller puts on pods.
const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";

/// The providers of this build.
#[derive(Clone)]
pub(crate) struct Providers(Arc<All<JobsOf>>);

impl Providers {
    pub(crate) fn new(
        api: Api,
        leadership: Arc<Leadership>,
        config: ProviderConfig,
    ) -> Result<Self, SetupError> {
        let jobs = JobsOf { api, leadership };
        let all = All::new(config, jobs, Arc::new(Timestamp::now))?;
        Ok(Self(Arc::new(all)))
    }

    /// Takes or resumes a measurement.
    pub(crate) fn measure(&self, ask: Ask) -> BoxFuture<'static, Reading> {
        let all = Arc::clone(&self.0);
        async move {
            let run = RunRef {
                namespace: ask.run.namespace,
                name: ask.run.name,
                uid: ask.uid,
            };
            let request = MeasureRequest {
                run: &run,
                metric: &ask.metric,
                measure: &ask.measure,
                secrets: &ask.secrets,
            };
            all.measure(request).await
        }
        .boxed()
    }

    /// Stops a measurement.
    pub(crate) fn terminate(&self, ask: Ask) -> BoxFuture<'static, Result<(), Failure>> {
        let reading = self.measure(ask);
        async move {
            match reading.await.outcome {
                Outcome::Error { message, .. } => Err(Failure::no_answer(message)),
                _ => Ok(()),
            }
        }
        .boxed()
    }
}

/// Jobs on the API server. Writes only while we lead.
struct JobsOf {
    api: Api,
    leadership: Arc<Leadership>,
}

impl JobsOf {
    async fn send(&self, request: Request) -> Result<Value, JobsError> {
        let mut timeout = TIMEOUT;
        if request.verb.writes() {
            timeout = timeout.min(self.leadership.remaining());
            if timeout.is_zero() {
                return Err(JobsError::Other("not leading any more".to_owned()));
            }
        }
        self.api
            .send(&request, timeout)
            .await
            .map_err(|failure| match failure {
                failure if failure.already_exists() => JobsError::AlreadyExists,
                failure if failure.is_not_found() => JobsError::NotFound,
                failure => JobsError::Other(failure.to_string()),
            })
    }
}

impl Jobs for JobsOf {
    async fn create(&self, namespace: &str, job: &Value) -> Result<Value, JobsError> {
        self.send(Request::create(&JOBS, namespace, job.clone())).await
    }

    async fn get(&self, namespace: &str, name: &str) -> Result<Value, JobsError> {
        self.send(Request::get(&JOBS, namespace, name)).await
    }

    async fn delete(&self, namespace: &str, name: &str) -> Result<(), JobsError> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"});
        match self
            .send(Request::new(Verb::Delete, &JOBS, namespace, name, body))
            .await
        {
            Ok(_) | Err(JobsError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn waiting_reasons(&self, namespace: &str, name: &str) -> Result<Vec<String>, JobsError> {
        let mut request = Request::new(Verb::List, &PODS, namespace, "", Value::Null);
        request.selector = format!("{JOB_NAME_LABEL}={name}");
        Ok(waiting_reasons(&self.send(request).await?))
    }
}

fn waiting_reasons(list: &Value) -> Vec<String> {
    let pods = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let statuses = pods.flat_map(|pod| {
        ["/status/initContainerStatuses", "/status/containerStatuses"]
            .into_iter()
            .filter_map(|path| pod.pointer(path).and_then(Value::as_array))
            .flatten()
    });
    statuses
        .filter_map(|status| status.pointer("/state/waiting/reason").and_then(Value::as_str))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_all_containers() {
        let list = json!({"items": [
            {"status": {
                "initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}],
                "containerStatuses": [{"state": {"running": {}}}, {"state": {"waiting": {"reason": "PodInitializing"}}}],
            }},
            {"status": {}},
        ]});
        assert_eq!(waiting_reasons(&list), ["ErrImagePull", "PodInitializing"]);
        assert_eq!(waiting_reasons(&Value::Null), [""; 0]);
    }
}
