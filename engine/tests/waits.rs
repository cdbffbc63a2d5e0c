//! What waits for what: guards whose loss only a special moment shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "plan/mini.rs"]
mod mini;

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::{AnalysisPhase, Time, labels};
use tidegate_engine::Change;
use tidegate_engine::observed::Workload;

use self::mini::{Mini, blue_green, nginx, templates};

fn update(world: &mut Mini) {
    world.release("v2");
    world.pass(1);
    world.settle();
}

/// One is there to look at the preview.
#[test]
fn a_pause_begins_once_the_preview_service_shows_the_version() {
    let mut world = blue_green(&json!({ "autoPromotionEnabled": false }));
    world.settle();
    world.refuses.push("point Service preview".to_owned());
    update(&mut world);
    assert!(world.seen.rollout.status.pause_conditions.is_empty());
    world.refuses.clear();
    world.pass(60);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("preview").as_str()),
        ("Paused BlueGreenPause", "v2")
    );
}

/// It would get them all, and a data plane may go on sending those of its Service to the one pod of before.
#[test]
fn a_small_stable_version_gets_nothing_before_its_service_is_known_everywhere() {
    let mut strategy = nginx(&json!([{ "setWeight": 50 }, { "pause": {} }]));
    strategy["canary"]["dynamicStableScale"] = json!(true);
    let mut world = Mini::new(&strategy);
    world.settle();
    update(&mut world);
    world.pass(5);
    world.settle();
    world.promote();
    world.settle();
    assert_eq!(
        (world.selector("stable").as_str(), world.weight().as_str()),
        ("v2", "100")
    );
    world.pass(2);
    world.settle();
    assert_eq!(world.weight(), "0");
}

#[test]
fn a_service_that_a_deployments_pods_answer_stays_as_it_is() {
    let mut world = blue_green(&json!({}));
    let template = world.seen.rollout.spec.template.take().unwrap();
    let reference = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    world.seen.rollout.spec.workload_ref = serde_json::from_value(reference).unwrap();
    world.seen.workload = Some(Workload {
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        generation: 1,
        replicas: 5,
        template: Arc::new(template),
        ..Workload::default()
    });
    world.scale(0);
    world.settle();
    assert_eq!(world.selector("active"), "-");
    world.seen.workload.as_mut().unwrap().replicas = 0;
    world.settle();
    assert_eq!(world.selector("active"), "v1");
}

/// What it said was of another weight, or of something else.
#[test]
fn a_run_of_other_steps_says_nothing_of_these() {
    let steps = |second: &Value| json!([{ "analysis": templates() }, second, { "pause": {} }]);
    let mut world = Mini::new(&nginx(&steps(&json!({ "setWeight": 20 }))));
    world.settle();
    update(&mut world);
    let run = Arc::make_mut(world.seen.analysis_runs.last_mut().unwrap());
    run.metadata.uid = "run-1".to_owned();
    world.seen.made_here.insert("run-1".to_owned());
    world.end_run(AnalysisPhase::Successful);
    let other = nginx(&steps(&json!({ "setWeight": 40 })));
    world.seen.rollout.spec.strategy = serde_json::from_value(other).unwrap();
    world.settle();
    assert_eq!(
        (
            world.seen.analysis_runs.len(),
            world.seen.rollout.status.current_step_index
        ),
        (2, Some(0))
    );
}

#[test]
fn an_analysis_before_the_switch_begins_when_the_pods_are_there() {
    let mut world = blue_green(&json!({ "prePromotionAnalysis": templates() }));
    world.settle();
    world.serving.insert(1, 9);
    update(&mut world);
    assert!(world.seen.analysis_runs.is_empty());
    world.serving.clear();
    world.settle();
    assert_eq!(world.seen.analysis_runs.len(), 1);
}

#[test]
fn a_preview_that_is_to_shrink_is_not_switched_to() {
    let mut world = blue_green(&json!({ "previewReplicaCount": 1 }));
    world.settle();
    world.serving.insert(1, 9);
    update(&mut world);
    world.settle();
    assert_eq!(
        (world.sizes(), world.selector("active").as_str()),
        (vec![10, 10], "v1")
    );
    world.seen.rollout.status.abort = Some(true);
    world.look();
    world.look();
    world.serving.clear();
    world.let_pods_come();
    world.pass(5);
    world.seen.rollout.status.abort = Some(false);
    for _ in 0..20 {
        world.look();
        world.pass(1);
        let switched = world.selector("active") == "v2";
        assert!(!switched || world.sizes()[1] == 10, "{:?}", world.sizes());
    }
    assert_eq!(world.phase(), "Healthy");
}

#[test]
fn a_restart_keeps_the_last_pod_of_each_version_that_has_requests() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])));
    world.scale(1);
    world.settle();
    update(&mut world);
    assert_eq!(world.sizes(), [1, 1]);
    world.pass(1);
    world.seen.rollout.spec.restart_at = Some(Time::from(world.now));
    world.pass(1);
    world.plan();
    for (hash, pods) in &mut world.pods {
        for pod in pods {
            let label = (labels::POD_TEMPLATE_HASH_LABEL.to_owned(), hash.clone());
            pod.labels.extend([label]);
        }
    }
    let plan = world.look();
    let evicts = |change: &Change| matches!(change, Change::EvictPod { .. });
    assert!(
        !plan.actions.iter().any(|action| evicts(&action.change)),
        "{:#?}",
        plan.actions
    );
}
