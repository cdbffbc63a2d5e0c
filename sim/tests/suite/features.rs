//! What else is in upstream's `FunctionalSuite`.

use serde_json::{Value, json};
use tidegate_sim::actors::user::Op;
use tidegate_sim::scenario::build;

use super::Test;
use super::bench::{
    BAD, BAD_TOO, Bench, GOOD, Outcome, and, blue_green, rollout, same, sleep_job, sleeps, slow, with,
};

pub(crate) const TESTS: &[Test] = &[
    ("TestRolloutAbortRetryPromote", abort_retry_promote),
    ("TestCanaryPromoteFull", canary_promoted_fully),
    ("TestBlueGreenPromoteFull", blue_green_promoted_fully),
    ("TestRolloutRestart", restart),
    ("TestCompleteRolloutRestart", restart_after_the_deadline),
    ("TestRolloutGoodToBadUpdate", good_to_bad),
    ("TestRolloutBadToGoodUpdate", bad_to_good),
    ("TestRolloutBadToBadUpdate", bad_to_bad),
    ("TestRolloutBadToGoodSetWeightUpdate", bad_to_good_with_steps),
    ("TestFixInvalidSpec", invalid_then_valid),
    ("TestWorkloadRefTemplate", reference_and_template),
    ("TestWorkloadRef", reference),
    (
        "TestRolloutPauseDurationGreaterThanProgressDeadlineSeconds",
        long_pause,
    ),
    ("TestScaleDownOnSuccess", |b| scale_down(b, "onsuccess", 0)),
    ("TestScaleDownProgressively", |b| {
        scale_down(b, "progressively", 0)
    }),
    ("TestNeverScaleDown", |b| scale_down(b, "never", 2)),
    ("TestScaleDownProgressivelyCompleted", scaled_after_progressively),
    ("TestSpecAndReplicaChangeSameTime", spec_and_replicas),
];

fn abort_retry_promote(b: &mut Bench) -> Outcome {
    let steps = json!([{"setWeight": 50}, {"pause": {"duration": "3s"}}]);
    b.healthy([rollout(1, json!({"canary": {"steps": steps}}))])?;
    b.update()?;
    b.phase("Paused")?;
    b.revision_pods("1", 1)?;
    b.revision_pods("2", 1)?;
    b.abort()?;
    b.phase("Degraded")?;
    b.retry()?;
    b.phase("Paused")?;
    b.revision_pods("1", 1)?;
    b.revision_pods("2", 1)?;
    b.phase("Healthy")?;
    b.revision_pods("1", 0)?;
    b.revision_pods("2", 1)?;
    b.events(&[
        "RolloutAddedToInformer",
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "ScalingReplicaSet",
        "RolloutCompleted",
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "ScalingReplicaSet",
        "RolloutStepCompleted",
        "RolloutPaused",
        "ScalingReplicaSet",
        "RolloutAborted",
        "ScalingReplicaSet",
        "RolloutStepCompleted",
        "RolloutPaused",
        "RolloutStepCompleted",
        "RolloutResumed",
        "ScalingReplicaSet",
        "RolloutCompleted",
    ])
}

fn canary_promoted_fully(b: &mut Bench) -> Outcome {
    let sleep = json!([{"templateName": "sleep-job"}]);
    let canary = json!({
        "analysis": {"templates": sleep, "startingStep": 4},
        "steps": [
            {"pause": {"duration": "24h"}}, {"analysis": sleeps(86_400, 0)}, {"pause": {}},
            {"analysis": {"templates": sleep}},
        ],
    });
    b.healthy([sleep_job(), rollout(1, json!({"canary": canary}))])?;
    b.update()?;
    b.phase("Paused")?;
    b.promote()?;
    b.sleep(3);
    b.run_becomes("Running")?;
    b.phase_is("Progressing")?;
    b.runs(1)?;
    b.is("step 1", |rollout| rollout["status"]["currentStepIndex"] == 1)?;
    b.promote()?;
    b.sleep(2);
    b.phase("Paused")?;
    b.abort()?;
    b.sleep(1);
    b.promote_full()?;
    b.phase("Healthy")?;
    b.runs(1)
}

fn blue_green_promoted_fully(b: &mut Bench) -> Outcome {
    let fields = json!({
        "autoPromotionEnabled": false, "prePromotionAnalysis": sleeps(10, 0),
        "postPromotionAnalysis": {"templates": [{"templateName": "sleep-job"}]},
    });
    let mut objects = vec![sleep_job()];
    objects.extend(blue_green(3, fields, false));
    b.healthy(objects)?;
    b.update()?;
    b.sleep(5);
    b.run_becomes("Running")?;
    b.promote_full()?;
    b.phase("Healthy")?;
    b.runs(1)
}

fn restart(b: &mut Bench) -> Outcome {
    let canary = json!({"maxUnavailable": "75%", "steps": [{"setWeight": 25}, {"pause": {}}]});
    b.healthy([slow(rollout(4, json!({"canary": canary})), 5)])?;
    b.update()?;
    b.phase("Paused")?;
    b.sleep(1);
    b.act(&Op::Restart)?;
    b.sleep(2);
    b.counts([4, 4, 1, 1, 1])
}

fn restart_after_the_deadline(b: &mut Bench) -> Outcome {
    let fields = json!({"progressDeadlineAbort": true, "progressDeadlineSeconds": 15});
    b.healthy([with(
        rollout(2, json!({"canary": {"steps": [{"setWeight": 20}]}})),
        fields,
    )])?;
    b.sleep(16);
    b.act(&Op::Restart)?;
    for _ in 0..20 {
        b.sleep(1);
        b.is("no abort and no failure", |rollout| {
            rollout["status"]["phase"] != "Degraded"
        })?;
    }
    b.phase_is("Healthy")
}

/// Four replicas, one more at most, none less.
fn careful(image: &str, deadline: i64, fields: &Value) -> Value {
    let mut canary = json!({"maxSurge": 1, "maxUnavailable": 0});
    json_patch::merge(&mut canary, fields);
    let mut rollout = rollout(4, json!({"canary": canary}));
    rollout["spec"]["template"] = build::template(image);
    with(rollout, json!({"progressDeadlineSeconds": deadline}))
}

fn good_to_bad(b: &mut Bench) -> Outcome {
    b.healthy([careful("shop:v1", 600, &json!({}))])?;
    b.merge(json!({"spec": {"progressDeadlineSeconds": 10}}))?;
    b.image(BAD)?;
    b.phase("Degraded")?;
    b.canary_and_stable(1, 4)?;
    b.image(BAD_TOO)?;
    b.phase("Progressing")?;
    b.phase("Degraded")?;
    b.revision_pods("1", 4)?;
    b.revision_pods("2", 0)?;
    b.revision_pods("3", 1)
}

fn bad_to_good(b: &mut Bench) -> Outcome {
    b.create([careful(BAD, 10, &json!({}))])?;
    b.phase("Degraded")?;
    b.merge(json!({"spec": {"progressDeadlineSeconds": 60}}))?;
    b.image(GOOD)?;
    b.phase("Healthy")?;
    b.revision_pods("2", 4)?;
    b.revision_pods("1", 0)
}

fn bad_to_bad(b: &mut Bench) -> Outcome {
    b.create([careful(BAD, 10, &json!({}))])?;
    b.phase("Degraded")?;
    b.image(BAD_TOO)?;
    b.phase("Progressing")?;
    b.phase("Degraded")?;
    b.revision_pods("2", 1)?;
    b.revision_pods("1", 4)
}

fn bad_to_good_with_steps(b: &mut Bench) -> Outcome {
    let steps = json!({"steps": [{"setWeight": 50}, {"pause": {"duration": "5s"}}]});
    b.create([careful(BAD, 10, &steps)])?;
    b.phase("Degraded")?;
    b.image(GOOD)?;
    b.phase("Healthy")?;
    b.revision_pods("2", 4)?;
    b.revision_pods("1", 0)
}

fn invalid_then_valid(b: &mut Bench) -> Outcome {
    let analysis = json!({"templates": [{"templateName": "sleep-job"}]});
    b.create([rollout(0, json!({"canary": {"analysis": analysis}}))])?;
    b.phase("Degraded")?;
    b.create([sleep_job()])?;
    b.phase("Healthy")
}

fn deployment(replicas: i64) -> Value {
    let mut template = build::template("shop:v1");
    template["metadata"]["labels"] = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ref"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    })
}

/// A blue-green Rollout that has its template from the Deployment `ref`.
fn referring(replicas: i64, reference: Value) -> Vec<Value> {
    let mut workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "ref"});
    json_patch::merge(&mut workload, &reference);
    and(
        blue_green(replicas, json!({}), false),
        json!({"workloadRef": workload, "template": null, "selector": null}),
    )
}

fn reference_and_template(b: &mut Bench) -> Outcome {
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "ref"});
    let mut objects = vec![deployment(0)];
    objects.extend(and(
        blue_green(1, json!({}), false),
        json!({"workloadRef": workload, "template": {"spec": null}}),
    ));
    b.create(objects)?;
    b.phase("Degraded")?;
    b.is("one condition that says why", |rollout| {
        let conditions = rollout["status"]["conditions"].as_array();
        conditions.is_some_and(|conditions| match &conditions[..] {
            [one] => one["message"].as_str().is_some_and(|message| {
                message.contains("template must be empty for workload reference rollout")
            }),
            _ => false,
        })
    })
}

fn reference(b: &mut Bench) -> Outcome {
    let observed = |b: &mut Bench, generation: &Value| -> Outcome {
        let is = b.rollout()["status"]["workloadObservedGeneration"].clone();
        same("workloadObservedGeneration", generation, &is)
    };
    let image = |image: &str| -> Value {
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
    };
    let name = |name: &str| json!({"spec": {"workloadRef": {"name": name}}});
    let fields = json!({"progressDeadlineSeconds": 5, "revisionHistoryLimit": 2});
    b.create(and(referring(1, json!({})), fields))?;
    b.phase("Degraded")?;
    let selector = b.selector("active");
    same("selector of the active Service", &Value::Null, &selector)?;
    b.create([deployment(0)])?;
    b.phase("Healthy")?;
    observed(b, &json!("1"))?;
    b.merge_deployment(image(BAD))?;
    b.phase("Degraded")?;
    observed(b, &json!("2"))?;
    b.merge_deployment(image(GOOD))?;
    b.phase("Healthy")?;
    b.merge(name("nobody"))?;
    b.phase("Degraded")?;
    b.merge(name("ref"))?;
    b.phase("Healthy")?;
    let hash = b.rollout()["status"]["currentPodHash"].clone();
    let selector = b.selector("active");
    same("selector of the active Service", &hash, &selector)?;
    b.is("no template from the Deployment", |rollout| {
        rollout["spec"]["template"].is_null() && rollout["spec"]["selector"].is_null()
    })?;
    let mut template = build::template(GOOD);
    template["spec"]["containers"] = json!([{"name": "web", "image": GOOD}]);
    b.merge(json!({"spec": {
        "workloadRef": null, "selector": {"matchLabels": {"app": "web"}}, "template": template,
    }}))?;
    b.phase("Healthy")?;
    observed(b, &Value::Null)
}

fn long_pause(b: &mut Bench) -> Outcome {
    let steps = json!([{"setWeight": 32}, {"pause": {"duration": "30s"}}, {"setWeight": 67}]);
    let rollout = rollout(3, json!({"canary": {"steps": steps}}));
    b.healthy([with(rollout, json!({"progressDeadlineSeconds": 5}))])?;
    b.update()?;
    for _ in 0..45 {
        b.sleep(1);
        b.is("no failure", |rollout| rollout["status"]["phase"] != "Degraded")?;
    }
    b.phase_is("Healthy")
}

fn scale_down(b: &mut Bench, how: &str, left: i64) -> Outcome {
    let mut objects = referring(2, json!({"scaleDown": how}));
    objects.push(deployment(2));
    b.healthy(objects)?;
    b.sleep(5);
    b.deployment_size(left)
}

fn scaled_after_progressively(b: &mut Bench) -> Outcome {
    let mut objects = referring(3, json!({"scaleDown": "progressively"}));
    objects.push(deployment(3));
    b.healthy(objects)?;
    b.sleep(3);
    b.deployment_size(0)?;
    for replicas in [6, 2] {
        b.scale(replicas)?;
        b.available(replicas)?;
        b.sleep(3);
        b.deployment_size(0)?;
        b.counts([replicas; 5])?;
    }
    b.merge_deployment(json!({"spec": {"template": {"metadata": {"annotations": {"update": "1"}}}}}))?;
    b.phase("Progressing")?;
    b.phase("Healthy")?;
    b.sleep(2);
    b.deployment_size(0)
}

fn spec_and_replicas(b: &mut Bench) -> Outcome {
    let change = |replicas: i64, test: &str| -> Value {
        let annotations = json!({"test": test});
        json!({"spec": {"replicas": replicas, "template": {"metadata": {"annotations": annotations}}}})
    };
    let steps = json!([
        {"setWeight": 10}, {"pause": {"duration": "10s"}}, {"setWeight": 20}, {"pause": {"duration": "5s"}},
    ]);
    b.healthy([rollout(2, json!({"canary": {"steps": steps}}))])?;
    b.merge(change(3, "one"))?;
    b.phase("Paused")?;
    b.merge(change(4, "two"))?;
    b.phase("Healthy")?;
    b.counts([4, 4, 4, 4, 4])
}
