//! Upstream's `BlueGreenSuite`, and what of its `FunctionalSuite` is about blue-green.

use serde_json::{Value, json};

use super::Test;
use super::bench::{BAD, Bench, Outcome, and, blue_green, same, slow};

pub(crate) const TESTS: &[Test] = &[
    ("BlueGreenSuite/TestEphemeralMetadata", metadata),
    ("TestBlueGreenProgressDeadlineExceededWithPause", late_with_pause),
    (
        "TestBlueGreenProgressDeadlineExceededWithoutPause",
        late_without_pause,
    ),
    ("TestBlueGreenPreviewReplicaCount", preview_count),
    (
        "TestBlueGreenPreviewReplicaCountPromoteFull",
        preview_count_promoted_fully,
    ),
    ("TestBlueGreenUpdate", update),
    ("TestBlueGreenToCanary", becomes_canary),
    ("TestBlueGreenScaleDownDelay", scale_down_delay),
    ("TestBlueGreenExceedProgressDeadlineAbort", deadline_aborts),
    ("TestBlueGreenScaleDownOnAbort", scaled_down_on_abort),
    ("TestKubectlWaitForPaused", condition_paused),
    ("TestKubectlWaitForCompleted", condition_healthy),
];

fn metadata(b: &mut Bench) -> Outcome {
    let patch = |of: &str, value: &str| -> Value {
        json!({"spec": {"strategy": {"blueGreen": {of: {"labels": {"role": null, "role2": value}}}}}})
    };
    let fields = json!({
        "previewMetadata": {"labels": {"role": "preview"}}, "activeMetadata": {"labels": {"role": "active"}},
        "autoPromotionEnabled": false,
    });
    b.create(blue_green(2, fields, false))?;
    b.replicas(2)?;
    b.revision_labels("1", &json!({"role": "active"}))?;
    b.phase("Healthy")?;
    b.update()?;
    b.phase("Paused")?;
    b.revision_labels("2", &json!({"role": "preview"}))?;
    b.revision_labels("1", &json!({"role": "active"}))?;
    b.merge(patch("previewMetadata", "preview2"))?;
    b.sleep(1);
    b.revision_labels("2", &json!({"role": null, "role2": "preview2"}))?;
    b.promote()?;
    b.phase("Healthy")?;
    b.sleep(1);
    b.revision_labels("2", &json!({"role": "active"}))?;
    b.merge(patch("activeMetadata", "active2"))?;
    b.sleep(2);
    b.revision_labels("2", &json!({"role": null, "role2": "active2"}))
}

/// Slow pods, whose deadline is shorter than they take.
fn late(fields: Value) -> Vec<Value> {
    let mut objects = and(
        blue_green(1, fields, false),
        json!({"progressDeadlineSeconds": 5}),
    );
    let rollout = objects.pop().map(|rollout| slow(rollout, 12));
    objects.extend(rollout);
    objects
}

fn late_with_pause(b: &mut Bench) -> Outcome {
    b.create(late(json!({"autoPromotionEnabled": false})))?;
    b.replicas(1)?;
    b.phase("Degraded")?;
    b.phase("Healthy")?;
    b.update()?;
    b.phase("Degraded")?;
    b.phase("Paused")?;
    b.promote()?;
    b.phase("Healthy")?;
    b.service_revision("active", "2")
}

fn late_without_pause(b: &mut Bench) -> Outcome {
    b.create(late(json!({"autoPromotionEnabled": true})))?;
    b.replicas(1)?;
    b.phase("Degraded")?;
    b.phase("Healthy")?;
    b.update()?;
    b.phase("Degraded")?;
    b.phase("Healthy")?;
    b.service_revision("active", "2")
}

fn preview_count(b: &mut Bench) -> Outcome {
    let fields = json!({"previewReplicaCount": 1, "scaleDownDelaySeconds": 5, "autoPromotionEnabled": false});
    b.healthy(blue_green(2, fields, true))?;
    b.update()?;
    b.phase("Paused")?;
    b.revision_pods("2", 1)?;
    b.revision_pods("1", 2)?;
    b.counts([2, 3, 1, 2, 2])?;
    b.promote()?;
    b.phase("Healthy")?;
    b.counts([2, 4, 2, 2, 2])
}

fn preview_count_promoted_fully(b: &mut Bench) -> Outcome {
    let fields = json!({"previewReplicaCount": 1, "autoPromotionEnabled": false});
    b.healthy(and(
        blue_green(2, fields, false),
        json!({"progressDeadlineSeconds": 1}),
    ))?;
    b.update()?;
    b.phase("Paused")?;
    b.sleep(2);
    b.phase_is("Paused")?;
    b.counts([2, 3, 1, 2, 2])?;
    b.promote_full()?;
    b.phase("Healthy")?;
    b.counts([2, 4, 2, 2, 2])
}

fn update(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(3, json!({"scaleDownDelaySeconds": 10}), false))?;
    b.counts([3, 3, 3, 3, 3])?;
    b.update()?;
    b.phase("Progressing")?;
    b.wait("revision 2", |rollout| {
        rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "2"
    })?;
    b.becomes_active("2")?;
    b.counts([3, 6, 3, 3, 3])?;
    b.phase("Healthy")?;
    b.counts([3, 6, 3, 3, 3])?;
    b.events(&[
        "RolloutAddedToInformer",
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "ScalingReplicaSet",
        "RolloutCompleted",
        "SwitchService",
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "ScalingReplicaSet",
        "SwitchService",
        "RolloutCompleted",
    ])
}

fn becomes_canary(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(2, json!({"scaleDownDelaySeconds": 5}), false))?;
    b.merge(json!({"spec": {
        "template": {"metadata": {"annotations": {"foo": "bar"}}},
        "strategy": {"blueGreen": null, "canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
    }}))?;
    b.phase("Paused")?;
    b.available(2)?;
    b.counts([2, 2, 1, 2, 2])?;
    let selector = b.selector("active");
    same("selector of the active Service", &Value::Null, &selector)
}

fn scale_down_delay(b: &mut Bench) -> Outcome {
    let fields = json!({"scaleDownDelaySeconds": 86_400, "scaleDownDelayRevisionLimit": 2});
    let next = |b: &mut Bench| -> Outcome {
        b.update()?;
        b.phase("Progressing")?;
        b.phase("Healthy")
    };
    b.healthy(blue_green(1, fields, false))?;
    next(b)?;
    b.revision_pods("2", 1)?;
    b.revision_pods("1", 1)?;
    b.counts([1, 2, 1, 1, 1])?;
    next(b)?;
    next(b)?;
    b.sleep(1);
    for (revision, pods) in [("4", 1), ("3", 1), ("2", 1), ("1", 0)] {
        b.revision_pods(revision, pods)?;
    }
    b.counts([1, 3, 1, 1, 1])?;
    b.merge(json!({"spec": {"strategy": {"blueGreen": {"scaleDownDelayRevisionLimit": 1}}}}))?;
    b.sleep(1);
    for (revision, pods) in [("4", 1), ("3", 1), ("2", 0), ("1", 0)] {
        b.revision_pods(revision, pods)?;
    }
    b.counts([1, 2, 1, 1, 1])
}

fn deadline_aborts(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(1, json!({"abortScaleDownDelaySeconds": 2}), false))?;
    b.merge(json!({"spec": {"progressDeadlineAbort": false, "progressDeadlineSeconds": 1}}))?;
    b.image(BAD)?;
    b.phase("Degraded")?;
    b.sleep(3);
    b.revision_pods("2", 1)?;
    b.is("no abort", |rollout| rollout["status"]["abort"] != true)?;
    b.merge(json!({"spec": {"progressDeadlineAbort": true}}))?;
    b.phase("Degraded")?;
    b.sleep(3);
    b.revision_pods("2", 0)?;
    b.is("an abort and four conditions", |rollout| {
        let status = &rollout["status"];
        status["abort"] == true && status["conditions"].as_array().is_some_and(|all| all.len() == 4)
    })
}

fn scaled_down_on_abort(b: &mut Bench) -> Outcome {
    let fields = json!({
        "abortScaleDownDelaySeconds": 1, "previewReplicaCount": 1, "scaleDownDelaySeconds": 5,
        "autoPromotionEnabled": false,
    });
    b.healthy(blue_green(2, fields, true))?;
    b.update()?;
    b.phase("Paused")?;
    b.revision_pods("2", 1)?;
    b.revision_pods("1", 2)?;
    b.abort()?;
    b.phase("Degraded")?;
    b.sleep(3);
    b.revision_pods("2", 0)
}

/// What `kubectl wait --for=condition=KIND=STATUS` does.
fn condition(b: &mut Bench, kind: &str, status: &str) -> Outcome {
    b.wait(&format!("condition {kind}={status}"), |rollout| {
        let conditions = rollout["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == *kind && condition["status"] == *status)
    })
}

fn condition_paused(b: &mut Bench) -> Outcome {
    b.healthy(blue_green(1, json!({"autoPromotionEnabled": false}), false))?;
    b.update()?;
    condition(b, "Paused", "True")?;
    b.phase_is("Paused")?;
    b.service_revision("active", "1")?;
    b.promote()?;
    condition(b, "Paused", "False")?;
    b.phase_is("Healthy")?;
    b.service_revision("active", "2")
}

fn condition_healthy(b: &mut Bench) -> Outcome {
    let mut objects = blue_green(1, json!({"autoPromotionEnabled": true}), false);
    let rollout = objects.pop().map(|rollout| slow(rollout, 8));
    objects.extend(rollout);
    b.healthy(objects)?;
    b.update()?;
    condition(b, "Healthy", "False")?;
    b.phase_is("Progressing")?;
    b.service_revision("active", "1")?;
    condition(b, "Healthy", "True")?;
    b.service_revision("active", "2")
}
