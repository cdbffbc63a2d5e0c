//! The planner of analysis runs, asked as the shell asks it (contract 3.12, 4.3, 6.1).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]
#![expect(clippy::needless_pass_by_value, reason = "shorter to call")]

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_analysis::args::{SecretKey, Secrets};
use tidegate_analysis::plan::measured_metric;
use tidegate_analysis::{
    Answer, Measure, MeasureKind, Outcome, Reading, RunObserved, RunPlan, Trouble, plan,
};
use tidegate_crds::{AnalysisPhase, AnalysisRun};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn observed(spec: Value) -> RunObserved {
    let run = serde_json::from_value(json!({"metadata": {"name": "x", "uid": "u"}, "spec": spec})).unwrap();
    RunObserved {
        run,
        ..RunObserved::default()
    }
}

fn web(name: &str, more: Value) -> Value {
    let mut metric = json!({"name": name, "provider": {"web": {"url": "http://x"}}});
    metric
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    metric
}

fn job(name: &str) -> Value {
    json!({"name": name, "provider": {"job": {"spec": {}}}})
}

fn reading(metric: &str, number: i32, second: i64, outcome: Outcome) -> Reading {
    Reading {
        metric: metric.to_owned(),
        number,
        started_at: at(second),
        finished_at: at(second),
        outcome,
        metadata: [].into(),
        metric_metadata: [].into(),
    }
}

fn value(number: f64) -> Outcome {
    Outcome::Value(Answer::Number(number))
}

fn error() -> Outcome {
    Outcome::Error {
        trouble: Trouble::Timeout,
        message: "no answer within 10 s".to_owned(),
    }
}

/// One pass with these readings; the status is written if the plan says so.
fn pass(observed: &mut RunObserved, readings: Vec<Reading>, second: i64) -> RunPlan {
    observed.readings = readings;
    let plan = plan(observed, at(second));
    if plan.write_status {
        observed.run.status = plan.status.clone();
    }
    plan
}

/// What is to be measured, in short: `metric number kind`.
fn asked(plan: &RunPlan) -> Vec<String> {
    let short = |measure: &Measure| {
        let kind = match measure.kind {
            MeasureKind::Start => "start",
            MeasureKind::Resume(_) => "resume",
            MeasureKind::Terminate(_) => "terminate",
        };
        format!("{} {} {kind}", measure.metric, measure.number)
    };
    plan.measure.iter().map(short).collect()
}

fn phase(plan: &RunPlan) -> &str {
    plan.status.phase.as_str()
}

#[test]
fn the_start_is_written_with_the_first_measurement() {
    let mut run =
        observed(json!({"metrics": [web("a", json!({})), web("late", json!({"initialDelay": "1m"}))]}));
    let first = pass(&mut run, vec![], 0);
    assert_eq!(
        (asked(&first), first.write_status, first.wake),
        (vec!["a 1 start".to_owned()], false, Some(at(60)))
    );

    run.in_flight = ["a".to_owned()].into();
    let waiting = pass(&mut run, vec![], 1);
    assert_eq!(
        (asked(&waiting), waiting.write_status),
        (vec![], false),
        "one question at a time"
    );

    run.in_flight.clear();
    let second = pass(&mut run, vec![reading("a", 1, 2, value(1.0))], 3);
    assert_eq!(
        (phase(&second), second.write_status, second.wake),
        ("Running", true, Some(at(62)))
    );
    assert_eq!(
        second.status.started_at.unwrap().timestamp(),
        at(2),
        "the first question counts"
    );
    assert_eq!(asked(&pass(&mut run, vec![], 61)), Vec::<String>::new());
    assert_eq!(asked(&pass(&mut run, vec![], 62)), ["late 1 start"]);
}

#[test]
fn a_run_that_waits_says_that_it_runs() {
    let mut run = observed(json!({"metrics": [web("late", json!({"initialDelay": "1m"}))]}));
    let plan = pass(&mut run, vec![], 0);
    assert!(plan.write_status);
    assert_eq!(
        serde_json::to_value(&plan.status).unwrap(),
        json!({"phase": "Running", "startedAt": "1970-01-12T13:46:40Z", "runSummary": {"count": 1}, "dryRunSummary": {}})
    );
}

#[test]
fn measurements_come_at_their_interval_and_errors_after_ten_seconds() {
    // interval, outcome, seconds until the next measurement
    let cases = [
        ("5m", value(1.0), 300),
        ("5m", error(), 10),
        ("2s", error(), 10),
        ("500ms", value(1.0), 1),
        ("0s", value(1.0), 1),
        ("-5s", value(1.0), 1),
    ];
    for (interval, outcome, want) in cases {
        let mut run = observed(json!({"metrics": [web("a", json!({"interval": interval}))]}));
        pass(&mut run, vec![], 0);
        let plan = pass(&mut run, vec![reading("a", 1, 0, outcome)], 0);
        assert_eq!(plan.wake, Some(at(want)), "{interval}");
        assert_eq!(asked(&pass(&mut run, vec![], want)), ["a 2 start"], "{interval}");
    }
    let mut once = observed(json!({"metrics": [web("a", json!({}))]}));
    let plan = pass(&mut once, vec![reading("a", 1, 0, error())], 0);
    assert_eq!(
        (phase(&plan), plan.wake),
        ("Running", Some(at(10))),
        "an error is tried again without an interval"
    );
}

#[test]
fn a_reading_counts_once_and_in_time() {
    let mut run = observed(json!({"metrics": [web("a", json!({"interval": "1m", "failureLimit": 3}))]}));
    let once = vec![reading("a", 1, 0, value(1.0))];
    pass(&mut run, [once.clone(), once.clone()].concat(), 0);
    let again = pass(&mut run, once, 1);
    assert_eq!(
        (again.status.metric_results[0].count, again.write_status),
        (Some(1), false)
    );
    let other = pass(
        &mut run,
        vec![reading("b", 1, 0, value(1.0)), reading("a", 7, 0, value(1.0))],
        1,
    );
    assert_eq!(
        (other.status.metric_results.len(), other.write_status),
        (1, false)
    );
}

#[test]
fn one_bad_metric_ends_the_run_in_the_same_pass() {
    let mut run = observed(json!({"metrics": [
        web("bad", json!({"interval": "1m", "successCondition": "result > 1"})),
        job("job"),
        web("good", json!({"interval": "1m"})),
        web("asked", json!({"interval": "1m"})),
        web("late", json!({"initialDelay": "1h"}))
    ]}));
    let running = Outcome::Running { resume_at: at(100) };
    pass(
        &mut run,
        vec![reading("job", 1, 0, running), reading("good", 1, 0, value(1.0))],
        0,
    );
    run.in_flight = ["asked".to_owned()].into();
    let plan = pass(&mut run, vec![reading("bad", 1, 1, value(1.0))], 1);
    assert_eq!(asked(&plan), ["job 1 terminate"]);
    assert_eq!(plan.cancel, ["asked".to_owned()].into());
    assert_eq!(plan.wake, None);
    let results: Vec<String> = plan
        .status
        .metric_results
        .iter()
        .map(|result| format!("{} {}", result.name, result.phase))
        .collect();
    assert_eq!(results, ["job Inconclusive", "good Successful", "bad Failed"]);
    assert_eq!(
        plan.status.metric_results[0].measurements[0].message.as_deref(),
        Some("Metric Terminated")
    );
    assert_eq!(phase(&plan), "Failed");
    assert_eq!(
        plan.status.message.as_deref(),
        Some("Metric \"bad\" assessed Failed due to failed (1) > failureLimit (0)")
    );
    assert_eq!(plan.status.completed_at.unwrap().timestamp(), at(1));
    let reasons: Vec<&str> = plan.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "MetricFailed",
            "MetricInconclusive",
            "MetricSuccessful",
            "AnalysisRunFailed"
        ]
    );

    let over = pass(&mut run, vec![reading("asked", 1, 1, value(1.0))], 2);
    assert!(
        !over.write_status && over.events.is_empty() && over.measure.is_empty(),
        "{over:?}"
    );
}

#[test]
fn a_dry_run_metric_does_not_end_the_run() {
    let mut run = observed(json!({"dryRun": [{"metricName": "dry"}], "metrics": [
        web("dry", json!({"interval": "1m", "successCondition": "result > 1"})),
        web("a", json!({"interval": "1m", "count": 2}))
    ]}));
    let plan = pass(
        &mut run,
        vec![reading("dry", 1, 0, value(1.0)), reading("a", 1, 0, value(1.0))],
        0,
    );
    assert_eq!((phase(&plan), plan.status.message.as_deref()), ("Running", None));
    let plan = pass(&mut run, vec![reading("a", 2, 60, value(1.0))], 60);
    assert_eq!(
        (phase(&plan), plan.status.message.as_deref()),
        ("Successful", None)
    );
}

#[test]
fn terminate_ends_what_was_started_even_if_it_was_not_noted() {
    let mut run = observed(json!({"metrics": [web("a", json!({})), job("b")], "terminate": true}));
    let plan = pass(&mut run, vec![], 0);
    assert_eq!(
        (phase(&plan), plan.status.message.as_deref()),
        (
            "Inconclusive",
            Some("Run Terminated before a measurement was successful")
        )
    );
    assert_eq!(asked(&plan), ["b 1 terminate"]);
    assert_eq!(plan.status.metric_results, []);
}

#[test]
fn a_run_that_is_ended_is_a_success_only_if_something_was_good() {
    let metrics = json!([
        web(
            "a",
            json!({"count": 5, "interval": "1s", "inconclusiveLimit": 2, "successCondition": "result > 1", "failureCondition": "result < 0"})
        ),
        web("dry", json!({"count": 5, "interval": "1s"}))
    ]);
    let ended = |label: &str, measured: &[f64]| {
        let mut run = observed(json!({"metrics": metrics, "dryRun": [{"metricName": "dry"}]}));
        let mut labels = run.run.metadata.labels.clone();
        labels.insert("rollout-type".to_owned(), label.to_owned());
        run.run.metadata.labels = labels;
        for (at, measured) in (0_i32..).zip(measured) {
            let readings = vec![
                reading("a", at + 1, i64::from(at), value(*measured)),
                reading("dry", at + 1, i64::from(at), value(1.0)),
            ];
            pass(&mut run, readings, i64::from(at));
        }
        run.run.spec.terminate = Some(true);
        phase(&pass(&mut run, vec![], 9)).to_owned()
    };
    for (label, measured, want) in [
        ("Step", &[][..], "Inconclusive"),
        ("Step", &[1.0], "Inconclusive"),
        ("Step", &[1.0, 2.0], "Successful"),
        ("Step", &[-1.0], "Failed"),
        ("PrePromotion", &[], "Inconclusive"),
        ("", &[], "Inconclusive"),
        // it ends with the update, which may be over before the first measurement
        ("Background", &[], "Successful"),
    ] {
        assert_eq!(ended(label, measured), want, "{label} {measured:?}");
    }
}

#[test]
fn a_job_is_asked_again_when_it_is_time() {
    let mut run = observed(json!({"metrics": [job("a")]}));
    assert_eq!(asked(&pass(&mut run, vec![], 0)), ["a 1 start"]);
    let mut started = reading("a", 1, 0, Outcome::Running { resume_at: at(2) });
    started.metadata = [("job-name".to_owned(), "u.a.1".to_owned())].into();
    let plan = pass(&mut run, vec![started], 0);
    assert_eq!((plan.wake, plan.write_status), (Some(at(2)), true));
    let plan = pass(&mut run, vec![], 2);
    let MeasureKind::Resume(measurement) = &plan.measure[0].kind else {
        panic!("{plan:?}")
    };
    assert_eq!(measurement.metadata["job-name"], "u.a.1");
    let done = Outcome::Judged {
        phase: AnalysisPhase::Successful,
        message: None,
    };
    let plan = pass(&mut run, vec![reading("a", 1, 3, done)], 3);
    assert_eq!(phase(&plan), "Successful");
    let measurement = &plan.status.metric_results[0].measurements[0];
    assert_eq!(
        (
            measurement.started_at.unwrap().timestamp(),
            measurement.finished_at.unwrap().timestamp()
        ),
        (at(0), at(3))
    );
}

#[test]
fn old_measurements_go_with_their_jobs() {
    let metrics = json!([job("a"), web("b", json!({"interval": "1s", "failureLimit": 99}))]);
    let mut run =
        observed(json!({"metrics": metrics, "measurementRetention": [{"metricName": "^a$", "limit": 2}]}));
    run.run.spec.metrics[0].interval = Some("1s".into());
    let mut garbage = Vec::new();
    for number in 1..=12 {
        let ended = Outcome::Judged {
            phase: AnalysisPhase::Successful,
            message: None,
        };
        let mut of_job = reading("a", number, i64::from(number), ended);
        of_job.metadata = [("job-name".to_owned(), format!("u.a.{number}"))].into();
        let plan = pass(
            &mut run,
            vec![of_job, reading("b", number, i64::from(number), value(1.0))],
            i64::from(number),
        );
        garbage.extend(plan.garbage);
    }
    assert_eq!(
        garbage,
        (1..=10).map(|number| format!("u.a.{number}")).collect::<Vec<_>>()
    );
    let kept: Vec<(usize, Option<i32>)> = run
        .run
        .status
        .metric_results
        .iter()
        .map(|r| (r.measurements.len(), r.count))
        .collect();
    assert_eq!(kept, [(2, Some(12)), (10, Some(12))]);
}

#[test]
fn a_spec_that_is_wrong_is_a_status() {
    let cases = [
        (
            json!({"metrics": []}),
            "Analysis spec invalid: no metrics specified",
        ),
        (
            json!({"metrics": [{"name": "m"}]}),
            "Analysis spec invalid: metrics[0]: no provider specified",
        ),
        (
            json!({"metrics": [web("m", json!({}))], "args": [{"name": "x"}]}),
            "Unable to resolve metric arguments: argument \"x\" was not supplied",
        ),
        (
            json!({"metrics": [web("m", json!({"successCondition": "{{args.y}}"}))]}),
            "Unable to resolve metric arguments: failed to resolve {{args.y}}",
        ),
        (
            json!({"metrics": [web("m", json!({}))], "dryRun": [{"metricName": "x"}]}),
            "Analysis spec invalid: dryRun[0]: Rule didn't match any metric name(s)",
        ),
        (
            json!({"metrics": [web("m", json!({}))], "measurementRetention": [{"metricName": "x", "limit": 1}]}),
            "Analysis spec invalid: measurementRetention[0]: Rule didn't match any metric name(s)",
        ),
    ];
    for (spec, message) in cases {
        let plan = pass(&mut observed(spec), vec![], 5);
        assert_eq!(
            serde_json::to_value(&plan.status).unwrap(),
            json!({"phase": "Error", "message": message, "completedAt": "1970-01-12T13:46:45Z"})
        );
        assert_eq!(plan.events[0].reason, "AnalysisRunError");
    }
}

#[test]
fn a_run_that_ended_is_deleted_in_time() {
    // ttlStrategy, phase, seconds
    let cases = [
        (json!({"secondsAfterCompletion": 30}), "Successful", Some(30)),
        (json!({"secondsAfterCompletion": 30}), "Inconclusive", Some(30)),
        (
            json!({"secondsAfterCompletion": 30, "secondsAfterSuccess": 5}),
            "Successful",
            Some(5),
        ),
        (
            json!({"secondsAfterCompletion": 30, "secondsAfterSuccess": 5}),
            "Failed",
            Some(30),
        ),
        (json!({"secondsAfterFailure": 5}), "Error", Some(5)),
        (json!({"secondsAfterFailure": 5}), "Successful", None),
        (json!({}), "Failed", None),
    ];
    for (ttl, phase, seconds) in cases {
        let mut run = observed(json!({"metrics": [], "ttlStrategy": ttl}));
        run.run.status.phase = phase.into();
        // As upstream leaves a run whose spec is wrong: the time of completion is missing.
        let plan = pass(&mut run, vec![], 0);
        assert!(plan.write_status && !plan.delete_run);
        assert_eq!(plan.wake, seconds.map(at), "{ttl} {phase}");
        if let Some(seconds) = seconds {
            assert!(!pass(&mut run, vec![], seconds - 1).delete_run);
            let plan = pass(&mut run, vec![], seconds);
            assert!(plan.delete_run && !plan.write_status);
        }
    }
}

#[test]
fn a_run_that_is_being_deleted_is_left_alone() {
    let mut run = observed(json!({"metrics": [web("a", json!({}))]}));
    run.run.metadata.deletion_timestamp = Some(at(0).into());
    run.in_flight = ["a".to_owned()].into();
    let plan = pass(&mut run, vec![reading("a", 1, 0, value(1.0))], 0);
    assert_eq!(
        plan,
        RunPlan {
            cancel: ["a".to_owned()].into(),
            ..RunPlan::default()
        }
    );
}

#[test]
fn secrets_reach_conditions_and_nothing_else() {
    let mut run = observed(json!({
        "args": [{"name": "limit", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "metrics": [web("a", json!({"interval": "1m", "successCondition": "result < {{args.limit}} && x"}))]
    }));
    let asked = pass(&mut run, vec![], 0);
    let error = measured_metric(&run.run, "a", &run.secrets)
        .unwrap_err()
        .to_string();
    let unasked = Reading::of_trouble(&asked.measure[0], at(0), Trouble::Cluster, error);
    // The same message, whether the Secret was missing before the question or is missing after the answer.
    let answered = pass(&mut run.clone(), vec![reading("a", 1, 0, value(1.0))], 0);
    let missing = pass(&mut run, vec![unasked], 0);
    assert_eq!(missing, answered);
    let measurement = &missing.status.metric_results[0].measurements[0];
    assert_eq!(measurement.phase, AnalysisPhase::Error);
    assert_eq!(
        measurement.message.as_deref(),
        Some("key 'k' does not exist in secret 's'")
    );
    assert_eq!(phase(&missing), "Running", "a Secret may come back");

    let key = SecretKey {
        name: "s".to_owned(),
        key: "k".to_owned(),
    };
    run.secrets = [(key, "4711".to_owned())].into_iter().collect::<Secrets>();
    let plan = pass(&mut run, vec![reading("a", 2, 10, value(1.0))], 10);
    let message = plan.status.metric_results[0].measurements[1]
        .message
        .clone()
        .unwrap();
    assert!(
        message.starts_with("could not evaluate successCondition \"result < ***** && x\": "),
        "{message}"
    );
    let metric = measured_metric(&run.run, "a", &run.secrets).unwrap().unwrap();
    assert_eq!(metric.success_condition.as_deref(), Some("result < 4711 && x"));
    assert_eq!(measured_metric(&run.run, "b", &run.secrets).unwrap(), None);
    assert!(!format!("{run:?}").contains("4711"));
}

/// Wherever the shell dies, the run ends the same: only the status survives, and providers answer again.
#[test]
fn a_crash_at_any_point_ends_in_the_same_place() {
    let spec = json!({"metrics": [
        web("a", json!({"interval": "10s", "count": 3, "successCondition": "result > 0"})), job("b")
    ]});
    let walk = |crashes: u32| -> AnalysisRun {
        let mut run = observed(spec.clone());
        let mut second = 0;
        for step in 0..60 {
            let plan = plan(&run, at(second));
            // A crash: what was measured and not written is lost.
            if crashes & (1 << (step % 8)) != 0 && step < 40 {
                run.readings.clear();
                second += 1;
                continue;
            }
            if plan.write_status {
                run.run.status = plan.status.clone();
            }
            if run.run.status.phase.completed() {
                break;
            }
            run.readings = plan
                .measure
                .iter()
                .map(|measure| {
                    let outcome = match (&measure.metric[..], &measure.kind) {
                        ("a", _) => value(1.0),
                        (_, MeasureKind::Start) => Outcome::Running {
                            resume_at: at(second + 3),
                        },
                        _ => Outcome::Judged {
                            phase: AnalysisPhase::Successful,
                            message: None,
                        },
                    };
                    reading(&measure.metric, measure.number, second, outcome)
                })
                .collect();
            if run.readings.is_empty() {
                second = plan.wake.map_or(second + 1, |wake| {
                    wake.duration_since(at(0)).as_secs().max(second)
                });
            }
        }
        run.run
    };
    let timeless = |run: &AnalysisRun| {
        let results = &run.status.metric_results;
        let mut results: Vec<_> = results
            .iter()
            .map(|r| {
                (
                    r.name.clone(),
                    r.phase.clone(),
                    r.count,
                    r.error,
                    r.measurements.len(),
                )
            })
            .collect();
        results.sort();
        (run.status.phase.clone(), run.status.message.clone(), results)
    };
    let calm = walk(0);
    assert_eq!(calm.status.phase, AnalysisPhase::Successful);
    for crashes in 1..255 {
        assert_eq!(timeless(&walk(crashes)), timeless(&calm), "{crashes:08b}");
    }
}

#[test]
fn times_far_away_do_no_harm() {
    let mut run = observed(json!({
        "metrics": [web("a", json!({"initialDelay": "2540400h"})), web("b", json!({"interval": "2540400h"}))]
    }));
    run.readings = vec![reading("b", 1, 0, value(1.0))];
    let far = Timestamp::MAX.checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(plan(&run, far).status.phase, AnalysisPhase::Running);
    assert_eq!(plan(&run, Timestamp::MIN).status.phase, AnalysisPhase::Running);
}
