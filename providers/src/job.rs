//! Job: a Kubernetes Job for each measurement; success is a Job that completes (F112).

use std::collections::BTreeMap;
use std::future::Future;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidegate_analysis::reading::{JOB_NAME_KEY, JOB_NAMESPACE_KEY};
use tidegate_analysis::{Measure, MeasureKind, Outcome, Trouble};
use tidegate_crds::{
    API_VERSION, AnalysisPhase, JobMetadata, JobMetric, Measurement, Time,
    labels::{
        ANALYSIS_RUN_METRIC_ANNOTATION, ANALYSIS_RUN_NAME_ANNOTATION, ANALYSIS_RUN_NAMESPACE_ANNOTATION,
        ANALYSIS_RUN_UID_LABEL,
    },
};

use crate::{Failure, Measured, RunRef};

/// The Job controller writes the name of a Job into a label of its pods.
const MAX_NAME: usize = 63;
/// Key in the metadata of a measurement: why Kubernetes says that the Job ended.
const JOB_REASON_KEY: &str = "job-reason";
/// Waiting reasons of containers whose image will not come.
const IMAGE_REASONS: [&str; 3] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"];
/// Longest time between two looks at a Job.
const MAX_POLL: SignedDuration = SignedDuration::from_secs(60);

/// Jobs and their pods, as the shell reaches them: over the network, or in a simulated cluster.
pub trait Jobs: Send + Sync {
    /// Creates a Job and answers with it.
    fn create(&self, namespace: &str, job: &Value) -> impl Future<Output = Result<Value, JobsError>> + Send;
    /// Finds a Job by name.
    fn get(&self, namespace: &str, name: &str) -> impl Future<Output = Result<Value, JobsError>> + Send;
    /// Deletes a Job with its pods (foreground). One that is not there is deleted already.
    fn delete(&self, namespace: &str, name: &str) -> impl Future<Output = Result<(), JobsError>> + Send;
    /// Why containers of the Job's pods are waiting (`state.waiting.reason`, init containers included).
    fn waiting_reasons(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Vec<String>, JobsError>> + Send;
}

/// Why the cluster did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// There is an object of that name.
    #[error("already exists")]
    AlreadyExists,
    /// There is no object of that name.
    #[error("not found")]
    NotFound,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// Where the Jobs of a run are.
pub(crate) struct Place<'a> {
    pub(crate) run: &'a RunRef,
    /// Namespace for all Jobs, instead of that of the run.
    pub(crate) namespace: Option<&'a str>,
}

impl Place<'_> {
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.unwrap_or(&self.run.namespace)
    }
}

/// Name of the Job of a measurement (contract 2.3). A metric's name that does not fit, or does not belong into a name, is
/// cut and marked, so that two metrics never share a Job.
pub(crate) fn job_name(run_uid: &str, metric: &str, number: i32) -> String {
    let room = MAX_NAME.saturating_sub(run_uid.len() + number.to_string().len() + 2);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_whole = metric.len() <= room
        && metric.chars().all(allowed)
        && metric
            .split('.')
            .all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'));
    if is_whole {
        return format!("{run_uid}.{metric}.{number}");
    }
    // Eight hexadecimal digits.
    let digest = Sha256::digest(metric);
    let mark = format!(
        "{:08x}",
        digest
            .iter()
            .take(4)
            .fold(0_u32, |mark, byte| mark << 8 | u32::from(*byte))
    );
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let cut: String = metric
        .chars()
        .map(plain)
        .take(room.saturating_sub(mark.len() + 1))
        .collect();
    let cut = cut.trim_matches('-');
    let separator = if cut.is_empty() { "" } else { "-" };
    format!("{run_uid}.{cut}{separator}{mark}.{number}")
}

/// The Job of a measurement (contract 2.2).
fn new_job(place: &Place<'_>, metric_name: &str, metric: &JobMetric, name: &str) -> Value {
    let RunRef {
        namespace,
        name: run_name,
        uid,
    } = place.run;
    let JobMetadata {
        mut labels,
        mut annotations,
    } = metric.metadata.clone().unwrap_or_default();
    labels.insert(ANALYSIS_RUN_UID_LABEL.to_owned(), uid.clone());
    annotations.extend([
        (ANALYSIS_RUN_NAME_ANNOTATION.to_owned(), run_name.clone()),
        (ANALYSIS_RUN_NAMESPACE_ANNOTATION.to_owned(), namespace.clone()),
        (ANALYSIS_RUN_METRIC_ANNOTATION.to_owned(), metric_name.to_owned()),
    ]);
    // An owner must be in the namespace of what it owns.
    let owners = if place.namespace() == namespace {
        json!([{"apiVersion": API_VERSION, "kind": "AnalysisRun", "name": run_name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true}])
    } else {
        json!([])
    };
    let mut spec = metric.spec.clone();
    // Its pods carry the label, so that they can be watched by it.
    if let Some(template) = object(&mut spec, "template")
        && let Some(metadata) = object(template, "metadata")
        && let Some(Value::Object(labels)) = object(metadata, "labels")
    {
        labels.insert(ANALYSIS_RUN_UID_LABEL.to_owned(), Value::String(uid.clone()));
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": place.namespace(), "labels": labels, "annotations": annotations,
                     "ownerReferences": owners},
        "spec": spec
    })
}

/// The object under a key, made if it is not there.
fn object<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let child = parent.as_object_mut()?.entry(key).or_insert_with(|| json!({}));
    if child.is_null() {
        *child = json!({});
    }
    Some(child)
}

fn cluster(what: &str, name: &str, error: &JobsError) -> Failure {
    Failure::new(
        Trouble::Cluster,
        format!("{what} of job {name:?} failed: {error}"),
    )
}

/// Takes, resumes or ends a measurement.
pub(crate) async fn measure<J: Jobs>(
    jobs: &J,
    place: &Place<'_>,
    measure: &Measure,
    metric: &JobMetric,
    now: Timestamp,
) -> Result<Measured, Failure> {
    let (name, number) = (&measure.metric, measure.number);
    match &measure.kind {
        MeasureKind::Start => start(jobs, place, name, metric, number, now).await,
        MeasureKind::Resume(measurement) => resume(jobs, measurement, now).await,
        MeasureKind::Terminate(measurement) => terminate(jobs, place, name, number, measurement).await,
    }
}

/// Creates the Job. One of that name that belongs to the same measurement is that Job, created before a crash.
async fn start<J: Jobs>(
    jobs: &J,
    place: &Place<'_>,
    metric_name: &str,
    metric: &JobMetric,
    number: i32,
    now: Timestamp,
) -> Result<Measured, Failure> {
    let name = job_name(&place.run.uid, metric_name, number);
    let job = new_job(place, metric_name, metric, &name);
    match jobs.create(place.namespace(), &job).await {
        Ok(_) => {}
        Err(JobsError::AlreadyExists) => {
            let found = jobs
                .get(place.namespace(), &name)
                .await
                .map_err(|error| cluster("lookup", &name, &error))?;
            if !is_of(&found, &place.run.uid, metric_name) {
                return Err(cluster("creation", &name, &JobsError::AlreadyExists));
            }
        }
        Err(error) => return Err(cluster("creation", &name, &error)),
    }
    let metadata = [
        (JOB_NAME_KEY.to_owned(), name),
        (JOB_NAMESPACE_KEY.to_owned(), place.namespace().to_owned()),
    ];
    Ok(Measured {
        outcome: Outcome::Running {
            resume_at: poll(now, now),
        },
        metadata: metadata.into(),
    })
}

fn is_of(job: &Value, run_uid: &str, metric_name: &str) -> bool {
    let metadata = job.get("metadata");
    let field = |map: &str, key: &str| metadata?.get(map)?.get(key)?.as_str();
    field("labels", ANALYSIS_RUN_UID_LABEL) == Some(run_uid)
        && field("annotations", ANALYSIS_RUN_METRIC_ANNOTATION) == Some(metric_name)
}

/// Asks how the Job goes.
async fn resume<J: Jobs>(jobs: &J, measurement: &Measurement, now: Timestamp) -> Result<Measured, Failure> {
    let (Some(namespace), Some(name)) = (namespace_of(measurement), measurement.metadata.get(JOB_NAME_KEY))
    else {
        return Err(Failure::new(Trouble::Cluster, "job metadata reference missing"));
    };
    let job = jobs
        .get(namespace, name)
        .await
        .map_err(|error| cluster("lookup", name, &error))?;
    if let Some((phase, reason)) = ended(&job) {
        let metadata = reason
            .map(|reason| (JOB_REASON_KEY.to_owned(), reason))
            .into_iter()
            .collect();
        return Ok(Measured {
            outcome: Outcome::Judged { phase, message: None },
            metadata,
        });
    }
    // A Job whose pods cannot be looked at is still a Job that runs.
    let waiting = jobs.waiting_reasons(namespace, name).await.unwrap_or_default();
    let outcome = match waiting
        .into_iter()
        .find(|reason| IMAGE_REASONS.contains(&reason.as_str()))
    {
        Some(reason) => Outcome::Judged {
            phase: AnalysisPhase::Inconclusive,
            message: Some(format!("the image of job {name:?} cannot be pulled: {reason}")),
        },
        None => Outcome::Running {
            resume_at: poll(measurement.started_at.map_or(now, Time::timestamp), now),
        },
    };
    Ok(Measured {
        outcome,
        metadata: BTreeMap::new(),
    })
}

fn namespace_of(measurement: &Measurement) -> Option<&String> {
    measurement.metadata.get(JOB_NAMESPACE_KEY)
}

/// Deletes the Job, if there is one.
async fn terminate<J: Jobs>(
    jobs: &J,
    place: &Place<'_>,
    metric_name: &str,
    number: i32,
    measurement: &Measurement,
) -> Result<Measured, Failure> {
    let name = measurement.metadata.get(JOB_NAME_KEY).cloned();
    let name = name.unwrap_or_else(|| job_name(&place.run.uid, metric_name, number));
    let namespace = namespace_of(measurement).map_or(place.namespace(), String::as_str);
    match jobs.delete(namespace, &name).await {
        Ok(()) | Err(JobsError::NotFound) => Ok(Measured {
            outcome: Outcome::Judged {
                phase: AnalysisPhase::Inconclusive,
                message: Some("Metric Terminated".to_owned()),
            },
            metadata: BTreeMap::new(),
        }),
        Err(error) => Err(cluster("deletion", &name, &error)),
    }
}

/// How a Job has ended, and why in Kubernetes' word.
fn ended(job: &Value) -> Option<(AnalysisPhase, Option<String>)> {
    let conditions = job.get("status")?.get("conditions")?.as_array()?;
    conditions.iter().find_map(|condition| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str);
        let phase = match (text("type")?, text("status")?) {
            ("Complete", "True") => AnalysisPhase::Successful,
            ("Failed", "True") => AnalysisPhase::Failed,
            _ => return None,
        };
        Some((phase, text("reason").map(str::to_owned)))
    })
}

/// When to look again: the longer it runs, the rarer, about √(2t) seconds after t seconds.
fn poll(started_at: Timestamp, now: Timestamp) -> Timestamp {
    let elapsed = now.duration_since(started_at).as_secs_f64().max(0.0);
    let pause = SignedDuration::from_secs_f64((2.0 * elapsed).sqrt().clamp(1.0, MAX_POLL.as_secs_f64()));
    now.checked_add(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let uid = "ac17f661-5da3-4b58-b11b-3bdd173e0820";
        assert_eq!(
            job_name(uid, "m", 1),
            "ac17f661-5da3-4b58-b11b-3bdd173e0820.m.1",
            "recorded"
        );
        let odd = [
            "Success Rate",
            "success rate",
            "-x-",
            "a..b",
            "",
            "ä",
            &"m".repeat(40),
            &format!("{}x", "m".repeat(40)),
        ];
        let names: std::collections::BTreeSet<String> =
            odd.iter().map(|metric| job_name(uid, metric, 12)).collect();
        assert_eq!(names.len(), odd.len());
        for name in names {
            assert!(name.len() <= MAX_NAME, "{name}");
            for part in name.split('.') {
                let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                assert!(edge(part.chars().next()) && edge(part.chars().last()), "{name}");
                assert!(part.chars().all(|c| edge(Some(c)) || c == '-'), "{name}");
            }
        }
        assert_eq!(
            job_name(uid, "Success Rate", 1),
            format!("{uid}.success-rate-5068c6c3.1")
        );
    }

    #[test]
    fn jobs_are_looked_at_ever_more_rarely() {
        let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
        let cases = [
            (0, 1000),
            (100, 1000),
            (2_000, 2000),
            (50_000, 10_000),
            (1_800_000, 60_000),
            (86_400_000, 60_000),
        ];
        for (elapsed, pause) in cases {
            assert_eq!(poll(at(0), at(elapsed)), at(elapsed + pause), "{elapsed}");
        }
        assert_eq!(poll(at(5_000), at(0)), at(1000), "a clock that went back");
    }
}
