//! F112, contract 2.2, 2.3 and 3.12.

use serde_json::{Value, json};
use tidegate_analysis::{MeasureKind, Outcome, Trouble};
use tidegate_crds::{AnalysisPhase, Measurement};
use tidegate_providers::{ProviderConfig, Providers};

use crate::setup::{FakeJobs, NOW, ask, error, providers, run, start};

const NAME: &str = "ac17f661-5da3-4b58-b11b-3bdd173e0820.m.1";

fn job() -> Value {
    json!({"job": {
        "metadata": {"labels": {"team": "a"}, "annotations": {"x": "y"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"containers": []}}}
    }})
}

fn measured(started_at: &str, namespace: &str) -> Measurement {
    serde_json::from_value(json!({
        "phase": "Running", "startedAt": started_at, "metadata": {"job-name": NAME, "job-namespace": namespace}
    }))
    .unwrap()
}

async fn resume(providers: &Providers<FakeJobs>) -> tidegate_analysis::Reading {
    ask(
        providers,
        job(),
        MeasureKind::Resume(measured("2026-11-21T09:59:10Z", "shop")),
    )
    .await
}

#[tokio::test]
async fn the_job_is_what_upstream_creates() {
    let jobs = FakeJobs::default();
    let providers = providers(ProviderConfig::default(), jobs.clone());
    let reading = start(&providers, job()).await;
    let metadata = [
        ("job-name".to_owned(), NAME.to_owned()),
        ("job-namespace".to_owned(), "shop".to_owned()),
    ];
    assert_eq!(reading.metadata, metadata.into(), "recorded");
    assert_eq!(
        reading.outcome,
        Outcome::Running {
            resume_at: "2026-11-21T10:00:01.25Z".parse().unwrap()
        }
    );
    let uid = run().uid;
    assert_eq!(
        jobs.0.lock().unwrap().jobs[&("shop".to_owned(), NAME.to_owned())],
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": NAME,
                "namespace": "shop",
                "labels": {"team": "a", "analysisrun.argoproj.io/uid": uid},
                "annotations": {"x": "y", "analysisrun.argoproj.io/name": "web-1",
                                "analysisrun.argoproj.io/namespace": "shop", "analysisrun.argoproj.io/metric-name": "m"},
                "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "name": "web-1",
                                     "uid": uid, "controller": true, "blockOwnerDeletion": true}]
            },
            "spec": {"backoffLimit": 0, "template": {
                "metadata": {"labels": {"analysisrun.argoproj.io/uid": uid}}, "spec": {"containers": []}
            }}
        })
    );
    let again = start(&providers, job()).await;
    assert_eq!(
        (again.outcome, again.metadata),
        (reading.outcome, reading.metadata),
        "after a crash it is adopted"
    );
}

#[tokio::test]
async fn a_job_of_somebody_else_is_not_adopted() {
    for (field, value) in [
        ("labels", json!({})),
        ("annotations", json!({"analysisrun.argoproj.io/metric-name": "n"})),
    ] {
        let jobs = FakeJobs::default();
        let providers = providers(ProviderConfig::default(), jobs.clone());
        start(&providers, job()).await;
        jobs.0
            .lock()
            .unwrap()
            .jobs
            .values_mut()
            .for_each(|job| job["metadata"][field] = value.clone());
        assert_eq!(
            error(start(&providers, job()).await),
            (
                Trouble::Cluster,
                format!("creation of job {NAME:?} failed: already exists")
            )
        );
    }
}

#[tokio::test]
async fn how_a_job_goes() {
    let judged = |phase: AnalysisPhase, message: Option<&str>| Outcome::Judged {
        phase,
        message: message.map(str::to_owned),
    };
    let running = Outcome::Running {
        resume_at: "2026-11-21T10:00:10.274968788Z".parse().unwrap(),
    };
    let condition = |kind: &str, status: &str| json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": kind, "status": status, "reason": "Why"}]);
    let image = format!("the image of job {NAME:?} cannot be pulled: ErrImagePull");
    let cases = [
        (json!(null), vec![], running.clone(), None),
        (
            condition("Complete", "True"),
            vec![],
            judged(AnalysisPhase::Successful, None),
            Some("Why"),
        ),
        (
            condition("Failed", "True"),
            vec![],
            judged(AnalysisPhase::Failed, None),
            Some("Why"),
        ),
        (condition("Complete", "False"), vec![], running.clone(), None),
        (
            condition("FailureTarget", "True"),
            vec!["PodInitializing"],
            running,
            None,
        ),
        (
            json!([]),
            vec!["PodInitializing", "ErrImagePull"],
            judged(AnalysisPhase::Inconclusive, Some(&image)),
            None,
        ),
        (
            condition("Complete", "True"),
            vec!["ErrImagePull"],
            judged(AnalysisPhase::Successful, None),
            Some("Why"),
        ),
    ];
    for (conditions, waiting, want, reason) in cases {
        let jobs = FakeJobs::default();
        let providers = providers(ProviderConfig::default(), jobs.clone());
        start(&providers, job()).await;
        {
            let mut cluster = jobs.0.lock().unwrap();
            cluster.waiting = waiting.into_iter().map(str::to_owned).collect();
            cluster
                .jobs
                .values_mut()
                .for_each(|job| job["status"] = json!({"conditions": conditions}));
        }
        let reading = resume(&providers).await;
        assert_eq!(reading.metadata.get("job-reason").map(String::as_str), reason);
        match (reading.outcome, want) {
            // √(2 · 50.25 s) after now
            (Outcome::Running { resume_at }, Outcome::Running { .. }) => {
                let pause = resume_at.duration_since(NOW.parse().unwrap()).as_secs_f64();
                assert!((pause - 10.0249).abs() < 0.001, "{pause}");
            }
            (got, want) => assert_eq!(got, want, "{conditions}"),
        }
    }
}

#[tokio::test]
async fn a_job_is_deleted_when_it_is_terminated() {
    let jobs = FakeJobs::default();
    let providers = providers(ProviderConfig::default(), jobs.clone());
    let terminated = Outcome::Judged {
        phase: AnalysisPhase::Inconclusive,
        message: Some("Metric Terminated".to_owned()),
    };
    // Known from the measurement, or started without being noted; gone already.
    for measurement in [measured(NOW, "shop"), Measurement::default()] {
        start(&providers, job()).await;
        for _ in 0..2 {
            let reading = ask(&providers, job(), MeasureKind::Terminate(measurement.clone())).await;
            assert_eq!(reading.outcome, terminated);
            assert!(jobs.0.lock().unwrap().jobs.is_empty());
        }
    }
    start(&providers, job()).await;
    providers.delete_job(&run(), NAME).await.unwrap();
    providers.delete_job(&run(), NAME).await.unwrap();
    assert!(jobs.0.lock().unwrap().jobs.is_empty());
}

#[tokio::test]
async fn jobs_may_have_a_namespace_of_their_own() {
    let jobs = FakeJobs::default();
    let config = ProviderConfig {
        job_namespace: Some("jobs".to_owned()),
        ..ProviderConfig::default()
    };
    let providers = providers(config, jobs.clone());
    assert_eq!(start(&providers, job()).await.metadata["job-namespace"], "jobs");
    {
        let cluster = jobs.0.lock().unwrap();
        let job = &cluster.jobs[&("jobs".to_owned(), NAME.to_owned())];
        assert_eq!(
            job["metadata"]["ownerReferences"],
            json!([]),
            "an owner is in the same namespace"
        );
    }
    let reading = ask(&providers, job(), MeasureKind::Resume(measured(NOW, "jobs"))).await;
    assert!(matches!(reading.outcome, Outcome::Running { .. }));
    providers.delete_job(&run(), NAME).await.unwrap();
    assert!(jobs.0.lock().unwrap().jobs.is_empty());
}

#[tokio::test]
async fn what_the_cluster_refuses_is_said() {
    let jobs = FakeJobs::default();
    let providers = providers(ProviderConfig::default(), jobs.clone());
    assert_eq!(
        error(resume(&providers).await),
        (
            Trouble::Cluster,
            format!("lookup of job {NAME:?} failed: not found")
        )
    );
    let lost = ask(&providers, job(), MeasureKind::Resume(Measurement::default())).await;
    assert_eq!(
        error(lost),
        (Trouble::Cluster, "job metadata reference missing".to_owned())
    );
    jobs.0.lock().unwrap().down = true;
    let away = "the API server is away";
    assert_eq!(
        error(start(&providers, job()).await).1,
        format!("creation of job {NAME:?} failed: {away}")
    );
    assert_eq!(
        error(resume(&providers).await).1,
        format!("lookup of job {NAME:?} failed: {away}")
    );
    let terminate = ask(&providers, job(), MeasureKind::Terminate(Measurement::default())).await;
    assert_eq!(
        error(terminate).1,
        format!("deletion of job {NAME:?} failed: {away}")
    );
}
