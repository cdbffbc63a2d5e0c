//! Upstream's `AnalysisSuite` and `RollbackSuite`.

use serde_json::{Value, json};
use tidegate_sim::actors::user::Op;
use tidegate_sim::scenario::build;

use super::Test;
use super::bench::{self, Bench, Outcome, rollout, sleep_job, sleeps, with};

pub(crate) const TESTS: &[Test] = &[
    ("TestCanaryBackgroundAnalysis", background),
    (
        "TestCanaryInconclusiveBackgroundAnalysis",
        inconclusive_background,
    ),
    ("TestCanaryInlineAnalysis", inline),
    ("TestCanaryInlineMultipleAnalysis", |b| {
        several(b, 0, "Successful", "Healthy")
    }),
    ("TestCanaryFailInlineMultipleAnalysis", |b| {
        several(b, 1, "Failed", "Degraded")
    }),
    ("TestBlueGreenAnalysis", pass_and_roll_back),
    ("TestBlueGreenPrePromotionFail", fails_before),
    ("TestBlueGreenPostPromotionFail", fails_after),
    ("TestBlueGreenAbortAndUpdate", aborted_then_updated),
    ("TestBlueGreenKitchenSink", kitchen_sink),
    ("TestRollbackAnalysisWithinWindow", |b| {
        rolled_back(b, &["two", "three", "four"], 3)
    }),
    ("TestRollbackAnalysisOutsideWindow", |b| {
        rolled_back(b, &["two", "three", "four", "five"], 5)
    }),
];

const VERSION: &str = "http://kubernetes/version";

/// A template that asks for a version each five seconds.
fn web(metric: Value) -> Value {
    let mut all = json!({"name": "web", "interval": "5s", "provider": {"web": {"url": VERSION}}});
    json_patch::merge(&mut all, &metric);
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "web"},
        "spec": {"metrics": [all]},
    })
}

fn background(b: &mut Bench) -> Outcome {
    b.world.metrics.set_page(VERSION, 200, r#"{"major": "1"}"#);
    let canary = json!({
        "analysis": {"templates": [{"templateName": "web"}]}, "steps": [{"setWeight": 10}, {"pause": {}}],
    });
    b.healthy([
        web(json!({"successCondition": "result.major == '1'"})),
        rollout(1, json!({"canary": canary})),
    ])?;
    b.runs(0)?;
    b.update()?;
    b.phase("Paused")?;
    b.runs(1)?;
    b.run_becomes("Running")?;
    b.promote()?;
    b.phase("Healthy")?;
    b.run_becomes("Successful")
}

fn inconclusive_background(b: &mut Bench) -> Outcome {
    b.world.metrics.set_page(VERSION, 200, r#"{"major": "1"}"#);
    let canary = json!({
        "analysis": {"templates": [{"templateName": "web"}], "startingStep": 1},
        "steps": [{"setWeight": 10}, {"pause": {"duration": "30s"}}],
    });
    b.healthy([
        web(json!({
            "inconclusiveLimit": 3, "successCondition": "result.major == '999'",
            "failureCondition": "result.major == '-1'",
        })),
        rollout(2, json!({"canary": canary})),
    ])?;
    b.runs(0)?;
    b.update()?;
    b.phase("Paused")?;
    b.run_becomes("Running")?;
    b.runs(1)?;
    b.run_becomes("Inconclusive")?;
    b.wait("the message", |rollout| {
        rollout["status"]["message"] == "InconclusiveAnalysisRun"
    })?;
    b.phase_is("Paused")
}

fn inline(b: &mut Bench) -> Outcome {
    let analysis = json!({"analysis": {"templates": [{"templateName": "sleep-job"}]}});
    let steps = json!([{"setWeight": 10}, analysis, {"pause": {}}, analysis, analysis]);
    b.healthy([sleep_job(), rollout(1, json!({"canary": {"steps": steps}}))])?;
    b.runs(0)?;
    b.update()?;
    b.phase("Paused")?;
    b.runs(1)?;
    b.run_becomes("Successful")?;
    b.promote()?;
    b.phase("Healthy")?;
    b.runs(3)
}

/// Two templates in one step, the second of which ends with this code.
fn several(b: &mut Bench, code: u32, run: &str, phase: &str) -> Outcome {
    let mut other = sleep_job();
    other["metadata"]["name"] = "other-job".into();
    other["spec"]["metrics"][0]["name"] = "other".into();
    let container = "/spec/metrics/0/provider/job/spec/template/spec/containers/0/args/0";
    if let Some(args) = other.pointer_mut(container) {
        *args = format!("exit {code}").into();
    }
    let mut analysis = sleeps(8, 0);
    analysis["templates"] = json!([{"templateName": "sleep-job"}, {"templateName": "other-job"}]);
    let steps = json!([{"setWeight": 10}, {"pause": {}}, {"analysis": analysis}]);
    b.healthy([
        sleep_job(),
        other,
        rollout(1, json!({"canary": {"steps": steps}})),
    ])?;
    b.runs(0)?;
    b.update()?;
    b.phase("Paused")?;
    b.promote()?;
    b.sleep(5);
    b.runs(1)?;
    b.phase_is("Progressing")?;
    b.run_becomes("Running")?;
    b.run_becomes(run)?;
    b.phase(phase)?;
    b.runs(1)
}

fn blue_green(replicas: i64, fields: Value) -> Vec<Value> {
    let mut objects = vec![sleep_job()];
    objects.extend(bench::blue_green(replicas, fields, true));
    objects
}

/// Which revision each Service selects.
fn services(b: &mut Bench, active: &str, preview: &str) -> Outcome {
    b.service_revision("active", active)?;
    b.service_revision("preview", preview)
}

fn pass_and_roll_back(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(
        1,
        json!({
            "prePromotionAnalysis": sleeps(5, 0), "postPromotionAnalysis": sleeps(5, 0),
            "autoPromotionEnabled": false,
        }),
    ))?;
    b.runs(0)?;
    b.image("shop:v2")?;
    b.phase("Progressing")?;
    b.phase("Paused")?;
    b.runs(1)?;
    services(b, "1", "2")?;
    b.sleep(2);
    b.promote()?;
    b.becomes_active("2")?;
    b.sleep(2);
    b.runs(2)?;
    b.counts([1, 2, 1, 1, 1])?;
    b.phase_is("Progressing")?;
    b.phase("Healthy")?;
    b.runs(2)?;
    services(b, "2", "2")?;
    // back within the delay: no pause, no analysis
    b.image("shop:v1")?;
    b.sleep(2);
    b.phase_is("Healthy")?;
    b.runs(2)?;
    b.stable_revision("3")?;
    services(b, "3", "3")
}

fn fails_before(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(
        2,
        json!({
            "abortScaleDownDelaySeconds": 0, "previewReplicaCount": 1, "prePromotionAnalysis": sleeps(5, 1),
        }),
    ))?;
    b.runs(0)?;
    b.update()?;
    b.phase("Degraded")?;
    b.runs(1)?;
    b.stable_revision("1")?;
    services(b, "1", "2")?;
    b.merge(json!({"spec": {"strategy": {"blueGreen": {"prePromotionAnalysis": sleeps(5, 0)}}}}))?;
    b.retry()?;
    b.phase("Healthy")?;
    b.runs(2)?;
    b.stable_revision("2")?;
    services(b, "2", "2")
}

fn fails_after(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(
        1,
        json!({"autoPromotionEnabled": false, "postPromotionAnalysis": sleeps(5, 1)}),
    ))?;
    b.runs(0)?;
    b.update()?;
    b.phase("Progressing")?;
    b.phase("Paused")?;
    b.stable_revision("1")?;
    services(b, "1", "2")?;
    b.promote()?;
    b.sleep(2);
    b.stable_revision("1")?;
    services(b, "2", "2")?;
    b.phase("Degraded")?;
    b.runs(1)?;
    b.stable_revision("1")?;
    services(b, "1", "2")
}

fn aborted_then_updated(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(1, json!({"postPromotionAnalysis": sleeps(0, 1)})))?;
    b.runs(0)?;
    b.update()?;
    b.phase("Degraded")?;
    b.runs(1)?;
    services(b, "1", "2")?;
    b.act(&Op::Merge(json!({"spec": {
        "template": {"metadata": {"annotations": {"foo": "bar"}}},
        "strategy": {"blueGreen": {"autoPromotionEnabled": false, "postPromotionAnalysis": sleeps(0, 0)}},
    }})))?;
    b.phase("Paused")?;
    b.sleep(2);
    b.revision_pods("1", 1)?;
    b.has_deadline("2", true)?;
    b.revision_pods("3", 1)?;
    services(b, "1", "3")?;
    b.promote()?;
    b.phase("Healthy")?;
    b.sleep(2);
    b.revision_pods("1", 1)?;
    b.has_deadline("1", true)?;
    b.has_deadline("2", true)?;
    b.revision_pods("3", 1)?;
    services(b, "3", "3")?;
    b.runs(2)
}

fn kitchen_sink(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(
        2,
        json!({
            "previewReplicaCount": 1, "autoPromotionSeconds": 10, "scaleDownDelaySeconds": 5,
            "prePromotionAnalysis": sleeps(10, 0), "postPromotionAnalysis": sleeps(10, 1),
        }),
    ))?;
    b.update()?;
    b.phase("Paused")?;
    services(b, "1", "2")?;
    b.stable_revision("1")?;
    b.revision_pods("1", 2)?;
    b.revision_pods("2", 1)?;
    b.counts([2, 3, 1, 2, 2])?;
    b.runs(1)?;
    b.sleep(5);
    b.service_revision("active", "1")?;
    b.stable_revision("1")?;
    b.revision_pods("1", 2)?;
    b.revision_pods("2", 1)?;
    b.counts([2, 3, 1, 2, 2])?;
    b.becomes_active("2")?;
    b.revision_pods("2", 2)?;
    b.revision_pods("1", 2)?;
    b.counts([2, 4, 2, 2, 2])?;
    b.sleep(1);
    b.runs(2)?;
    b.phase("Degraded")?;
    services(b, "1", "2")?;
    b.stable_revision("1")?;
    b.revision_pods("2", 2)?;
    b.revision_pods("1", 2)?;
    b.counts([2, 4, 2, 2, 2])
}

/// Through the revisions and back to `two`; so many runs there are at the end.
fn rolled_back(b: &mut Bench, revisions: &[&str], runs: usize) -> Outcome {
    let to = |b: &mut Bench, rev: &str| -> Outcome {
        b.merge(json!({"spec": {"template": {"metadata": {"labels": {"rev": rev}}}}}))?;
        b.phase("Healthy")
    };
    let mut template = build::template("shop:v1");
    template["metadata"]["labels"]["rev"] = "initial".into();
    let steps = json!([{"setWeight": 50}, {"analysis": sleeps(0, 0)}]);
    let rollout = rollout(2, json!({"canary": {"steps": steps}}));
    b.healthy([
        sleep_job(),
        with(
            rollout,
            json!({"rollbackWindow": {"revisions": 2}, "template": template}),
        ),
    ])?;
    for (index, revision) in revisions.iter().enumerate() {
        to(b, revision)?;
        b.runs(index + 1)?;
    }
    to(b, "two")?;
    b.runs(runs)
}
