//! Upstream's `CanarySuite`. Where that has an AWS load balancer, this has NGINX.

use serde_json::{Value, json};

use super::Test;
use super::bench::{BAD, Bench, Outcome, rollout, routed, same, sleep_job, sleeps, slow, with};

pub(crate) const TESTS: &[Test] = &[
    ("TestCanarySetCanaryScale", set_canary_scale),
    ("TestRolloutScalingWhenPaused", scaled_when_paused),
    ("TestRolloutWithMaxSurgeScalingDuringUpdate", scaled_with_surge),
    ("TestRolloutScalingDuringUpdate", scaled_with_bad_pods),
    ("TestReduceWeightAndHonorMaxUnavailable", weight_goes_down),
    ("CanarySuite/TestEphemeralMetadata", metadata),
    ("TestCanaryProgressDeadlineExceededWithPause", late_pods),
    (
        "TestCanaryScaleDownDelayWithProgressDeadline",
        deadline_while_old_pods_wait,
    ),
    ("TestCanaryScaleDownDelay", old_pods_wait),
    ("TestCanaryScaleDownOnAbort", aborted_with_delay),
    (
        "TestCanaryScaleDownOnAbortNoTrafficRouting",
        aborted_without_routing,
    ),
    ("TestCanaryUnScaleDownOnAbort", aborted_with_pods_kept),
    ("TestCanaryWithSpecPause", paused_when_complete),
];

fn set_canary_scale(b: &mut Bench) -> Outcome {
    b.healthy(routed(
        4,
        json!({"steps": [
            {"pause": {}}, {"setCanaryScale": {"weight": 25}}, {"pause": {"duration": "100s"}},
            {"setWeight": 50}, {"pause": {"duration": "10s"}}, {"setCanaryScale": {"replicas": 3}},
            {"pause": {}}, {"setCanaryScale": {"matchTrafficWeight": true}}, {"pause": {"duration": "5s"}},
        ]}),
    ))?;
    b.update()?;
    b.phase("Paused")?;
    b.canary_and_stable(0, 4)?;
    for (step, canary) in [(2, 1), (4, 1), (6, 3), (8, 2)] {
        b.promote()?;
        b.step(step)?;
        b.canary_and_stable(canary, 4)?;
    }
    b.promote()?;
    b.phase("Healthy")?;
    b.canary_and_stable(4, 4)
}

fn scaled_when_paused(b: &mut Bench) -> Outcome {
    let steps = json!([{"setWeight": 25}, {"pause": {}}]);
    b.healthy([rollout(1, json!({"canary": {"steps": steps}}))])?;
    b.update()?;
    b.phase("Paused")?;
    b.canary_and_stable(1, 1)?;
    b.scale(8)?;
    b.available(8)?;
    b.canary_and_stable(2, 6)?;
    b.scale(4)?;
    b.available(4)?;
    b.canary_and_stable(1, 3)
}

fn scaled_with_surge(b: &mut Bench) -> Outcome {
    b.healthy([slow(rollout(4, json!({"canary": {"maxSurge": "100%"}})), 3)])?;
    b.update()?;
    b.replicas(7)?;
    b.canary_and_stable(4, 3)?;
    b.scale(8)?;
    b.replicas(11)?;
    b.canary_and_stable(8, 3)?;
    b.scale(4)?;
    b.replicas(7)?;
    b.canary_and_stable(4, 3)
}

fn scaled_with_bad_pods(b: &mut Bench) -> Outcome {
    b.healthy([rollout(
        4,
        json!({"canary": {"maxSurge": 2, "maxUnavailable": 0}}),
    )])?;
    b.image(BAD)?;
    b.replicas(6)?;
    b.canary_and_stable(2, 4)?;
    b.scale(8)?;
    b.replicas(10)?;
    b.canary_and_stable(6, 4)?;
    b.scale(4)?;
    b.replicas(6)?;
    b.canary_and_stable(2, 4)
}

fn weight_goes_down(b: &mut Bench) -> Outcome {
    let steps = json!([
        {"setWeight": 100}, {"pause": {}}, {"setWeight": 0}, {"pause": {}}, {"setWeight": 100},
        {"analysis": sleeps(0, 1)},
    ]);
    let strategy = json!({"canary": {"maxSurge": 2, "maxUnavailable": 0, "steps": steps}});
    b.healthy([sleep_job(), slow(rollout(3, strategy), 5)])?;
    b.update()?;
    b.phase("Paused")?;
    b.canary_and_stable(3, 0)?;
    b.promote()?;
    b.sleep(2);
    b.canary_and_stable(3, 2)?;
    b.step(3)?;
    b.promote()?;
    b.phase("Degraded")?;
    b.sleep(2);
    b.runs(1)?;
    b.canary_and_stable(3, 2)
}

fn metadata(b: &mut Bench) -> Outcome {
    let strategy = json!({"canary": {
        "canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}},
        "steps": [{"setWeight": 50}, {"pause": {}}],
    }});
    let patch = |of: &str, value: &str| -> Value {
        json!({"spec": {"strategy": {"canary": {of: {"labels": {"role": null, "role2": value}}}}}})
    };
    b.create([rollout(2, strategy)])?;
    b.replicas(2)?;
    b.revision_labels("1", &json!({"role": "stable"}))?;
    b.phase("Healthy")?;
    b.update()?;
    b.phase("Paused")?;
    b.revision_labels("2", &json!({"role": "canary"}))?;
    b.revision_labels("1", &json!({"role": "stable"}))?;
    b.merge(patch("canaryMetadata", "canary2"))?;
    b.sleep(1);
    b.revision_labels("2", &json!({"role": null, "role2": "canary2"}))?;
    b.promote()?;
    b.phase("Healthy")?;
    b.revision_labels("2", &json!({"role": "stable"}))?;
    b.merge(patch("stableMetadata", "stable2"))?;
    b.sleep(1);
    b.revision_labels("2", &json!({"role": null, "role2": "stable2"}))
}

/// Three replicas of slow pods, whose deadline is shorter than they take.
fn late(steps: Value) -> Value {
    with(
        slow(rollout(3, json!({"canary": {"steps": steps}})), 12),
        json!({"progressDeadlineSeconds": 5, "revisionHistoryLimit": 2}),
    )
}

fn late_pods(b: &mut Bench) -> Outcome {
    b.create([late(json!([{"setWeight": 20}, {"pause": {}}]))])?;
    b.phase("Degraded")?;
    b.phase("Healthy")?;
    b.replicas(3)?;
    b.update()?;
    b.phase("Degraded")?;
    b.phase("Paused")?;
    b.canary_and_stable(1, 3)?;
    b.promote()?;
    b.phase("Degraded")?;
    b.phase("Healthy")
}

fn paused_when_complete(b: &mut Bench) -> Outcome {
    b.create([late(json!([{"setWeight": 20}]))])?;
    b.phase("Degraded")?;
    b.phase("Healthy")?;
    b.replicas(3)?;
    b.merge(json!({"spec": {"paused": true}}))?;
    let progressing = |rollout: &Value| {
        let conditions = rollout["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions
            .find(|condition| condition["type"] == "Progressing")
            .map(|condition| (condition["status"].clone(), condition["reason"].clone()))
    };
    for _ in 0..5 {
        b.sleep(1);
        b.is("Progressing not to be Unknown", |rollout| {
            progressing(rollout) != Some((json!("Unknown"), json!("RolloutPaused")))
        })?;
    }
    b.phase("Paused")
}

fn deadline_while_old_pods_wait(b: &mut Bench) -> Outcome {
    b.healthy(routed(1, json!({"scaleDownDelayRevisionLimit": 1})))?;
    b.merge(json!({"spec": {"progressDeadlineSeconds": 5}}))?;
    b.update()?;
    b.phase("Healthy")?;
    b.sleep(10);
    b.phase_is("Healthy")
}

fn old_pods_wait(b: &mut Bench) -> Outcome {
    let to = |b: &mut Bench, rev: &str| -> Outcome {
        b.merge(json!({"spec": {"template": {"metadata": {"annotations": {"rev": rev}}}}}))?;
        b.phase("Healthy")
    };
    let is = |b: &mut Bench, revision: &str, size: i64, deadline: bool| -> Outcome {
        b.set_size(revision, size)?;
        b.has_deadline(revision, deadline)
    };
    b.healthy(routed(1, json!({"scaleDownDelayRevisionLimit": 1})))?;
    to(b, "two")?;
    b.sleep(2);
    is(b, "1", 1, true)?;
    to(b, "three")?;
    b.sleep(1);
    is(b, "1", 0, false)?;
    is(b, "2", 1, true)?;
    to(b, "two")?;
    b.sleep(1);
    is(b, "1", 0, false)?;
    is(b, "4", 1, false)?;
    is(b, "3", 1, true)
}

/// Aborts it in its pause.
fn abort_in_pause(b: &mut Bench, objects: Vec<Value>) -> Outcome {
    b.healthy(objects)?;
    b.update()?;
    b.phase("Paused")?;
    b.abort()?;
    b.phase("Degraded")
}

fn canary_service_is_stable(b: &mut Bench) -> Outcome {
    let hash = b.rollout()["status"]["stableRS"].clone();
    let selector = b.selector("canary");
    same("selector of the canary Service", &hash, &selector)
}

fn aborted_with_delay(b: &mut Bench) -> Outcome {
    let steps = json!([{"setCanaryScale": {"replicas": 1}}, {"pause": {}}]);
    let fields = json!({
        "abortScaleDownDelaySeconds": 1, "scaleDownDelayRevisionLimit": 1, "steps": steps,
    });
    abort_in_pause(b, routed(1, fields))?;
    canary_service_is_stable(b)?;
    b.sleep(3);
    b.revision_pods("2", 0)
}

fn aborted_without_routing(b: &mut Bench) -> Outcome {
    let mut objects = routed(
        1,
        json!({"steps": [{"setWeight": 50}, {"pause": {}}], "trafficRouting": null}),
    );
    objects.retain(|object| object["kind"] != "Ingress");
    abort_in_pause(b, objects)?;
    canary_service_is_stable(b)?;
    b.sleep(3);
    b.revision_pods("2", 0)
}

fn aborted_with_pods_kept(b: &mut Bench) -> Outcome {
    let steps = json!([{"setCanaryScale": {"replicas": 1}}, {"pause": {}}]);
    let fields = json!({
        "abortScaleDownDelaySeconds": 0, "scaleDownDelayRevisionLimit": 1, "steps": steps,
    });
    abort_in_pause(b, routed(1, fields))?;
    b.sleep(3);
    b.revision_pods("2", 1)?;
    b.has_deadline("2", false)
}
