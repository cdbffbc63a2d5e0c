//! Upstream's `DurationSuite`: what `status.duration` says of each sort of release.

use serde_json::{Value, json};

use super::Test;
use super::bench::{self, Bench, Outcome, and, rollout, same, with};

pub(crate) const TESTS: &[Test] = &[
    ("TestCanaryDuration_InitialRollout", |b| {
        b.healthy(canary(timed()))?;
        first(b)
    }),
    ("TestCanaryDuration_SpecPaused", |b| {
        b.healthy(canary(timed()))?;
        paused_by_hand(b)
    }),
    ("TestCanaryDuration_PauseStep", |b| {
        b.healthy(canary(timed()))?;
        b.update()?;
        b.phase("Progressing")?;
        b.phase("Healthy")?;
        ended(b, "Promoted", Manual::Absent)
    }),
    ("TestCanaryDuration_IndefinitePauseStep", |b| {
        b.healthy(canary(endless()))?;
        b.update()?;
        b.phase("Paused")?;
        has(b, "manualPauseStartedAt", true)?;
        b.sleep(2);
        b.promote()?;
        b.phase("Healthy")?;
        ended(b, "Promoted", Manual::Some)
    }),
    ("TestCanaryDuration_FullyPromoted", |b| {
        b.healthy(canary(json!([
            {"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}, {"setWeight": 75}, {"pause": {}},
        ])))?;
        promoted_fully(b)
    }),
    ("TestCanaryDuration_Abort", |b| {
        b.healthy(canary(endless()))?;
        aborted(b)
    }),
    ("TestCanaryDuration_Retry", |b| {
        b.healthy(canary(endless()))?;
        retried(b)
    }),
    ("TestCanaryDuration_SupersededRollout", |b| {
        b.healthy(canary(endless()))?;
        superseded(b)
    }),
    ("TestCanaryDuration_SupersededRollback", |b| {
        b.healthy(canary(endless()))?;
        superseded_by_stable(b)
    }),
    ("TestCanaryDuration_RollbackOutsideWindow", |b| {
        b.healthy(windowed(canary(endless())))?;
        version_promoted(b, "2")?;
        version_promoted(b, "3")?;
        version_paused(b, "4")?;
        version_promoted(b, "1")?;
        ended(b, "RolledBack", Manual::Whatever)
    }),
    ("TestCanaryDuration_RollbackInsideWindow", |b| {
        b.healthy(windowed(canary(endless())))?;
        rolled_back_inside(b)
    }),
    ("TestCanaryDuration_ScalingOnly", |b| {
        b.healthy(canary(timed()))?;
        scaled(b)
    }),
    ("TestBlueGreenDuration_InitialRollout", |b| {
        b.healthy(blue_green(json!({"autoPromotionSeconds": 2})))?;
        first(b)
    }),
    ("TestBlueGreenDuration_SpecPaused", |b| {
        b.healthy(blue_green(json!({"autoPromotionSeconds": 2})))?;
        paused_by_hand(b)
    }),
    ("TestBlueGreenDuration_AutoPromotion", |b| {
        b.healthy(blue_green(json!({"autoPromotionSeconds": 2})))?;
        b.update()?;
        b.phase("Healthy")?;
        ended(b, "Promoted", Manual::Absent)
    }),
    ("TestBlueGreenDuration_ManualPromotion", |b| {
        b.healthy(blue_green(by_hand()))?;
        b.update()?;
        b.phase("Paused")?;
        b.promote()?;
        b.phase("Healthy")?;
        ended(b, "Promoted", Manual::Any)
    }),
    ("TestBlueGreenDuration_FullyPromoted", |b| {
        b.healthy(blue_green(by_hand()))?;
        promoted_fully(b)
    }),
    ("TestBlueGreenDuration_Abort", |b| {
        b.healthy(blue_green(by_hand()))?;
        aborted(b)
    }),
    ("TestBlueGreenDuration_Retry", |b| {
        b.healthy(blue_green(by_hand()))?;
        retried(b)
    }),
    ("TestBlueGreenDuration_SupersededRollout", |b| {
        b.healthy(blue_green(by_hand()))?;
        superseded(b)
    }),
    ("TestBlueGreenDuration_SupersededRollbackToStable", |b| {
        b.healthy(blue_green(at_once()))?;
        superseded_by_stable(b)
    }),
    ("TestBlueGreenDuration_SupersededRollback", |b| {
        b.healthy(blue_green(
            json!({"autoPromotionEnabled": false, "scaleDownDelaySeconds": 30}),
        ))?;
        rolled_back_inside(b)
    }),
    ("TestBlueGreenDuration_RollbackOutsideWindow", |b| {
        b.healthy(windowed(blue_green(at_once())))?;
        version_promoted(b, "2")?;
        version_promoted(b, "3")?;
        version_paused(b, "4")?;
        version_promoted(b, "1")?;
        ended(b, "RolledBack", Manual::Whatever)
    }),
    ("TestBlueGreenDuration_RollbackInsideWindow", |b| {
        b.healthy(windowed(blue_green(at_once())))?;
        rolled_back_inside(b)
    }),
    ("TestBlueGreenDuration_ScalingOnly", |b| {
        b.healthy(blue_green(json!({"autoPromotionSeconds": 2})))?;
        scaled(b)
    }),
];

fn timed() -> Value {
    json!([{"setWeight": 50}, {"pause": {"duration": "1s"}}])
}

fn endless() -> Value {
    json!([{"setWeight": 50}, {"pause": {}}])
}

fn by_hand() -> Value {
    json!({"autoPromotionEnabled": false})
}

fn at_once() -> Value {
    json!({"autoPromotionEnabled": false, "scaleDownDelaySeconds": 0})
}

fn canary(steps: Value) -> Vec<Value> {
    let version = json!({"template": {"metadata": {"annotations": {"version": "1"}}}});
    vec![with(rollout(1, json!({"canary": {"steps": steps}})), version)]
}

fn blue_green(fields: Value) -> Vec<Value> {
    let version = json!({"template": {"metadata": {"annotations": {"version": "1"}}}});
    and(bench::blue_green(1, fields, true), version)
}

fn windowed(objects: Vec<Value>) -> Vec<Value> {
    let fields = json!({"revisionHistoryLimit": 5, "rollbackWindow": {"revisions": 1}});
    and(objects, fields)
}

/// How `totalManualPauseDurationSeconds` has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manual {
    Absent,
    /// A number.
    Any,
    /// A number above 0.
    Some,
    Whatever,
}

fn consistent(b: &mut Bench) -> Outcome {
    let duration = b.duration();
    has(b, "rolloutStartedAt", true)?;
    if !duration["finishedAt"].is_null() {
        has(b, "completionStatus", true)?;
        has(b, "manualPauseStartedAt", false)?;
        let (start, end) = (
            duration["rolloutStartedAt"].as_str(),
            duration["finishedAt"].as_str(),
        );
        same("whether it ended after its start", &true, &(start <= end))?;
    }
    Ok(())
}

fn ended(b: &mut Bench, how: &str, manual: Manual) -> Outcome {
    consistent(b)?;
    has(b, "finishedAt", true)?;
    let duration = b.duration();
    same("completionStatus", &json!(how), &duration["completionStatus"])?;
    let total = &duration["totalManualPauseDurationSeconds"];
    let right = match manual {
        Manual::Absent => total.is_null(),
        Manual::Any => total.as_i64().is_some_and(|total| total >= 0),
        Manual::Some => total.as_i64().is_some_and(|total| total > 0),
        Manual::Whatever => true,
    };
    same(
        &format!("whether totalManualPauseDurationSeconds is right ({total})"),
        &true,
        &right,
    )
}

fn has(b: &mut Bench, field: &str, expected: bool) -> Outcome {
    let is = !b.duration()[field].is_null();
    same(&format!("whether duration has {field}"), &expected, &is)
}

fn version(b: &mut Bench, version: &str) -> Outcome {
    b.merge(json!({"spec": {"template": {"metadata": {"annotations": {"version": version}}}}}))
}

fn version_paused(b: &mut Bench, to: &str) -> Outcome {
    version(b, to)?;
    b.phase("Paused")
}

fn version_promoted(b: &mut Bench, to: &str) -> Outcome {
    version_paused(b, to)?;
    b.promote()?;
    b.phase("Healthy")
}

fn first(b: &mut Bench) -> Outcome {
    ended(b, "Promoted", Manual::Absent)
}

fn paused_by_hand(b: &mut Bench) -> Outcome {
    b.merge(json!({"spec": {"paused": true}}))?;
    b.update()?;
    b.phase("Paused")?;
    consistent(b)?;
    has(b, "manualPauseStartedAt", true)?;
    b.sleep(2);
    b.merge(json!({"spec": {"paused": false}}))?;
    b.phase("Healthy")?;
    ended(b, "Promoted", Manual::Some)
}

fn promoted_fully(b: &mut Bench) -> Outcome {
    b.update()?;
    b.phase("Paused")?;
    b.promote_full()?;
    b.phase("Healthy")?;
    ended(b, "FastPromoted", Manual::Any)
}

fn aborted(b: &mut Bench) -> Outcome {
    b.update()?;
    b.phase("Paused")?;
    b.abort()?;
    b.phase("Degraded")?;
    ended(b, "Aborted", Manual::Any)
}

fn retried(b: &mut Bench) -> Outcome {
    b.update()?;
    b.phase("Paused")?;
    b.abort()?;
    b.phase("Degraded")?;
    let before = b.duration()["rolloutStartedAt"].clone();
    b.sleep(2);
    b.retry()?;
    b.phase("Paused")?;
    consistent(b)?;
    let anew = b.duration()["rolloutStartedAt"] != before;
    same("whether it began anew", &true, &anew)?;
    has(b, "finishedAt", false)?;
    has(b, "completionStatus", false)
}

fn superseded(b: &mut Bench) -> Outcome {
    version_paused(b, "2")?;
    let before = b.duration()["rolloutStartedAt"].clone();
    // times are whole seconds
    b.sleep(1);
    version_promoted(b, "3")?;
    let anew = b.duration()["rolloutStartedAt"] != before;
    same("whether it began anew", &true, &anew)?;
    ended(b, "Promoted", Manual::Whatever)
}

fn superseded_by_stable(b: &mut Bench) -> Outcome {
    version_paused(b, "2")?;
    let before = b.duration()["rolloutStartedAt"].clone();
    version(b, "1")?;
    b.phase("Healthy")?;
    same(
        "rolloutStartedAt",
        &before,
        &b.duration()["rolloutStartedAt"].clone(),
    )?;
    ended(b, "FastRolledBack", Manual::Any)
}

fn rolled_back_inside(b: &mut Bench) -> Outcome {
    version_promoted(b, "2")?;
    version_paused(b, "3")?;
    version(b, "1")?;
    b.phase("Healthy")?;
    ended(b, "FastRolledBack", Manual::Whatever)
}

fn scaled(b: &mut Bench) -> Outcome {
    let before = b.duration()["rolloutStartedAt"].clone();
    b.scale(2)?;
    b.replicas(2)?;
    consistent(b)?;
    same(
        "rolloutStartedAt",
        &before,
        &b.duration()["rolloutStartedAt"].clone(),
    )
}
