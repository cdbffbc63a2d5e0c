//! Every analysis run that was recorded from upstream, played again: the same answers of the providers have to give
//! the same status, to the letter, and the same events.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_analysis::{Answer, Measure, MeasureKind, Outcome, Reading, RunObserved, plan};
use tidegate_crds::AnalysisRun;

/// What was recorded of one run.
#[derive(Default)]
struct Recorded {
    spec: Value,
    status: Value,
    events: Vec<Value>,
}

fn recorded_runs() -> BTreeMap<String, Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recordings");
    let mut runs: BTreeMap<String, Recorded> = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let scenario = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let about = line["about"]
                .as_str()
                .and_then(|about| about.strip_prefix("AnalysisRun/"));
            if line["kind"] == "AnalysisRun" {
                let run = runs
                    .entry(format!("{scenario}/{}", line["name"].as_str().unwrap()))
                    .or_default();
                run.spec = line["spec"].clone();
                run.status = line["status"].clone();
            } else if let Some(name) = about {
                let run = runs.entry(format!("{scenario}/{name}")).or_default();
                run.events
                    .push(json!([line["type"], line["reason"], line["message"]]));
            }
        }
    }
    runs
}

/// Answers as the recorded measurement says, and keeps asking for a Job until its last `resumeAt`.
fn outcome(recorded: &Value, kind: &MeasureKind) -> Outcome {
    let time = |key: &str| {
        recorded[key]
            .as_str()
            .map(|text| text.parse::<Timestamp>().unwrap())
    };
    if let (Some(resume_at), MeasureKind::Start) = (time("resumeAt"), kind) {
        return Outcome::Running { resume_at };
    }
    match (recorded["value"].as_str(), recorded["message"].as_str()) {
        (Some(value), _) => Outcome::Value(numbers(value)),
        (None, Some(message)) if message.ends_with("no data returned from the metric provider") => {
            Outcome::Value(Answer::Numbers(Vec::new()))
        }
        (None, Some(_)) => Outcome::Value(Answer::Numbers(vec![1.0])),
        (None, None) => Outcome::Judged {
            phase: recorded["phase"].as_str().unwrap().into(),
            message: None,
        },
    }
}

fn numbers(text: &str) -> Answer {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap();
    Answer::Numbers(inner.split(',').map(|number| number.parse().unwrap()).collect())
}

/// What the recording says of each metric.
type Results<'r> = BTreeMap<&'r str, &'r Value>;

/// How many measurements upstream took.
fn taken(results: &Results<'_>, name: &str) -> i64 {
    let number = |key: &str| {
        let result = results.get(name);
        result.and_then(|result| result[key].as_i64()).unwrap_or(0)
    };
    number("count") + number("error")
}

/// The recorded answer to a measurement that the plan asks for; nothing where the recording has ended.
fn recorded_reading(results: &Results<'_>, measure: &Measure, now: Timestamp) -> Option<Reading> {
    let taken = taken(results, &measure.metric);
    if i64::from(measure.number) > taken {
        return None;
    }
    let result = results[measure.metric.as_str()];
    let kept = result["measurements"].as_array().unwrap();
    // Measurements that upstream no longer kept were like the first that it kept.
    let skipped = taken as usize - kept.len();
    let recorded = &kept[(measure.number as usize - 1).saturating_sub(skipped)];
    Some(Reading {
        metric: measure.metric.clone(),
        number: measure.number,
        started_at: now,
        finished_at: now,
        outcome: outcome(recorded, &measure.kind),
        metadata: serde_json::from_value(recorded["metadata"].clone()).unwrap_or_default(),
        metric_metadata: serde_json::from_value(result["metadata"].clone()).unwrap_or_default(),
    })
}

/// Whether the run has as many measurements of each metric as the recording.
fn all_taken(results: &Results<'_>, run: &AnalysisRun) -> bool {
    results.keys().all(|name| {
        let mut ours = run.status.metric_results.iter();
        let ended = ours
            .find(|result| result.name == *name)
            .map_or(0, |result| result.count.unwrap_or(0) + result.error.unwrap_or(0));
        i64::from(ended) == taken(results, name)
    })
}

/// Runs the planner from nothing to where the recording ends.
fn replay(recorded: &Recorded) -> (Value, Vec<Value>) {
    let mut run: AnalysisRun =
        serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": recorded.spec})).unwrap();
    let terminate = run.spec.terminate.take();
    let results: Results<'_> = recorded.status["metricResults"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|result| (result["name"].as_str().unwrap(), result))
        .collect();
    let start = recorded.status["startedAt"]
        .as_str()
        .unwrap_or("2026-11-21T10:00:00Z");
    let mut now: Timestamp = start.parse().unwrap();
    let mut readings = Vec::new();
    let mut events = Vec::new();
    for _ in 0..100 {
        let observed = RunObserved {
            run: run.clone(),
            readings: std::mem::take(&mut readings),
            ..RunObserved::default()
        };
        let plan = plan(&observed, now);
        if plan.write_status {
            run.status = plan.status.clone();
        }
        events.extend(plan.events.iter().map(|event| {
            let kind = if event.warning { "Warning" } else { "Normal" };
            json!([kind, event.reason, event.message])
        }));
        if plan.status.phase.completed() {
            break;
        }
        let asked = plan.measure.iter();
        readings.extend(asked.filter_map(|measure| recorded_reading(&results, measure, now)));
        if readings.is_empty() {
            let all_taken = all_taken(&results, &run);
            match plan.wake {
                _ if all_taken && terminate.is_some() && run.spec.terminate.is_none() => {
                    run.spec.terminate = terminate;
                }
                Some(wake) if !all_taken => now = now.max(wake),
                _ => break,
            }
        }
    }
    (serde_json::to_value(&run.status).unwrap(), events)
}

/// Takes out what differs on purpose.
fn without_differences(name: &str, ours: &mut Value, recorded: &mut Value) {
    let completed_at = ours.as_object_mut().unwrap().remove("completedAt");
    if recorded.get("metricResults").is_some() {
        let at = recorded.as_object_mut().unwrap().remove("completedAt");
        assert!(
            name.ends_with("/retained") || completed_at == at,
            "{name}: {completed_at:?} {at:?}"
        );
    } else {
        // Upstream forgets it when the spec is wrong.
        assert!(completed_at.is_some(), "{name}");
    }
    for result in ours
        .get_mut("metricResults")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for measurement in result["measurements"].as_array_mut().unwrap() {
            let reason = measurement["metadata"]
                .as_object_mut()
                .and_then(|data| data.remove("tidegate.io/reason"));
            let measurement = measurement.as_object_mut().unwrap();
            if measurement
                .get("metadata")
                .is_some_and(|data| *data == json!({}) || data.is_null())
            {
                measurement.remove("metadata");
            }
            if reason == Some(json!("not-a-number")) {
                measurement.remove("message").unwrap();
            }
        }
    }
    if name.ends_with("/retained") {
        // Its interval of half a second is one of a second here.
        for status in [ours, recorded] {
            for measurement in status["metricResults"][0]["measurements"].as_array_mut().unwrap() {
                measurement
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| !key.ends_with("edAt"));
            }
        }
    }
}

#[test]
fn recorded_runs_end_the_same() {
    let runs = recorded_runs();
    let mut phases = BTreeSet::new();
    for (name, recorded) in &runs {
        let (mut ours, mut events) = replay(recorded);
        let mut theirs = recorded.status.clone();
        phases.insert(theirs["phase"].as_str().unwrap_or_default().to_owned());
        without_differences(name, &mut ours, &mut theirs);
        assert_eq!(ours, theirs, "{name}");
        // Two metrics that end at once may tell of it in any order.
        let mut recorded_events = recorded.events.clone();
        events.sort_by_key(Value::to_string);
        recorded_events.sort_by_key(Value::to_string);
        assert_eq!(events, recorded_events, "{name}");
    }
    let phases: Vec<&str> = phases.iter().map(String::as_str).collect();
    assert_eq!(
        (runs.len(), phases),
        (
            24,
            vec!["Error", "Failed", "Inconclusive", "Running", "Successful"]
        ),
        "the recordings have all of this"
    );
}
