//! Plans of whole situations, as tables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "plan/mini.rs"]
mod mini;

use serde_json::json;
use tidegate_crds::labels;
use tidegate_engine::Change;

use self::mini::{Mini, nginx};

/// Weight, version that the canary Service selects, sizes.
type Row = (String, String, Vec<i32>);

#[test]
fn a_routed_canary_goes_step_by_step() {
    let mut world = Mini::new(&nginx(
        &json!([{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 50 }, { "pause": { "duration": 3 } }]),
    ));
    let told = world.settle();
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str(), world.sizes()),
        ("Healthy", "0", vec![10])
    );
    assert_eq!(
        told,
        [
            "RolloutUpdated: Rollout updated to revision 1",
            "NewReplicaSetCreated: Created ReplicaSet web-$1 (revision 1)",
            "RolloutAddedToInformer: Rollout resource added to informer: shop/web",
            "RolloutNotCompleted: Rollout not completed, started update to revision 1 ($1)",
            "ScalingReplicaSet: Scaled up ReplicaSet web-$1 (revision 1) from 0 to 10",
            "RolloutCompleted: Rollout completed update to revision 1 ($1): Initial deploy",
            "SwitchService: Switched selector for service 'stable' from '' to '$1'",
            "SwitchService: Switched selector for service 'canary' from '' to '$1'",
            "CreatingCanaryIngress: Creating canary ingress `web-web-canary` with weight `0`",
            "TrafficWeightUpdated: Traffic weight updated to 0",
        ]
        .map(|line| line.replace("$1", &world.seen.replica_sets[0].hash))
    );

    world.release("v2");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str(), world.sizes()),
        ("Paused CanaryPauseStep", "20", vec![10, 2])
    );
    assert_eq!(
        (
            world.selector("stable").as_str(),
            world.selector("canary").as_str()
        ),
        ("v1", "v2")
    );

    world.promote();
    world.settle();
    assert_eq!((world.weight().as_str(), world.sizes()), ("50", vec![10, 5]));
    world.pass(3);
    let told = world.settle();
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str(), world.sizes()),
        ("Healthy", "0", vec![10, 10])
    );
    assert!(
        told.iter().any(|t| t.ends_with("Completed all 4 canary steps")),
        "{told:#?}"
    );
    assert_eq!(
        (
            world.selector("stable").as_str(),
            world.selector("canary").as_str()
        ),
        ("v2", "v2")
    );
    world.pass(30);
    world.settle();
    assert_eq!((world.phase().as_str(), world.sizes()), ("Healthy", vec![0, 10]));
}

#[test]
fn an_abort_takes_the_traffic_at_once_and_the_pods_later() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])));
    world.settle();
    world.release("v2");
    world.settle();
    world.seen.rollout.status.abort = Some(true);
    world.look();
    assert_eq!(world.weight(), "0", "in the same pass");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.sizes()),
        (
            "Degraded RolloutAborted: Rollout aborted update to revision 2",
            vec![10, 2]
        )
    );
    assert_eq!(world.selector("canary"), "v1");
    world.pass(30);
    world.settle();
    assert_eq!(world.sizes(), [10, 0]);

    world.seen.rollout.status.abort = None;
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str(), world.sizes()),
        ("Paused CanaryPauseStep", "20", vec![10, 2])
    );
}

/// Whatever is refused, weight goes back to stable at the abort.
#[test]
fn an_abort_waits_for_nothing_that_is_refused() {
    let writes = [
        "change the Rollout",
        "change Ingress",
        "change ReplicaSet",
        "scale ReplicaSet",
        "point Service",
        "delete",
    ];
    for refused in writes {
        let mut world = Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])));
        world.settle();
        world.release("v2");
        world.settle();
        assert_eq!(world.weight(), "20");
        world.refuses = vec![refused.to_owned()];
        // Something else of the Ingress has to change as well.
        let strategy = world.seen.rollout.spec.strategy.as_mut().unwrap();
        let routing = strategy
            .canary
            .as_mut()
            .unwrap()
            .traffic_routing
            .as_mut()
            .unwrap();
        let annotations = &mut routing.nginx.as_mut().unwrap().canary_ingress_annotations;
        annotations.insert("example.test/a".to_owned(), "b".to_owned());
        world.seen.rollout.status.abort = Some(true);
        world.look();
        assert_eq!(world.weight(), "0", "{refused}");
    }
}

/// It is told once and tried again, later each time; the deadline runs, and a new spec is tried at once.
#[test]
fn a_refused_replicaset_is_told_and_not_tried_all_the_time() {
    let mut world = Mini::new(&json!({ "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }] } }));
    world.settle();
    world.refuses = vec!["create ReplicaSet".to_owned()];
    world.release("v2");
    world.seen.rollout.spec.progress_deadline_seconds = Some(60);
    let told = world.settle().join("\n");
    assert_eq!(
        told.matches("ReplicaSetCreateError: Failed to create new replica set")
            .count(),
        1,
        "{told}"
    );
    assert!(
        told.contains("no room") && !told.contains("ScalingReplicaSet"),
        "{told}"
    );
    assert!(world.phase().contains("no room"), "{}", world.phase());
    let reason = |world: &Mini| {
        let conditions = &world.seen.rollout.status.conditions;
        let progressing = conditions
            .iter()
            .find(|c| c.type_.as_str() == "Progressing")
            .unwrap();
        progressing.reason.clone()
    };
    assert_eq!(reason(&world), "ReplicaSetCreateError");
    let tries = |world: &Mini| {
        world
            .seen
            .refused
            .values()
            .map(|refusal| refusal.times)
            .sum::<u32>()
    };
    // A restart forgets what was refused: it is tried once more and nothing else changes.
    world.seen.refused.clear();
    let status = world.seen.rollout.status.clone();
    world.look();
    assert_eq!((tries(&world), &world.seen.rollout.status), (1, &status));
    for _ in 0..58 {
        world.pass(1);
        world.look();
    }
    assert_eq!(
        (tries(&world), reason(&world).as_str()),
        (6, "ReplicaSetCreateError")
    );
    world.pass(3);
    world.look();
    assert_eq!(reason(&world), "ProgressDeadlineExceeded");
    world.refuses.clear();
    world.pass(60);
    world.settle();
    assert_eq!(world.sizes().len(), 2);
    let conditions = &world.seen.rollout.status.conditions;
    assert!(conditions.iter().all(|c| c.type_.as_str() != "WriteRefused"));
}

/// A Service that may not be moved keeps the weight where it is: or it would go to the wrong version.
#[test]
fn weight_waits_for_a_service_that_is_refused() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])));
    world.settle();
    world.release("v2");
    world.settle();
    world.refuses = vec!["point Service stable".to_owned()];
    world.promote();
    for _ in 0..100 {
        world.pass(1);
        world.look();
    }
    assert_eq!(
        (world.weight().as_str(), world.selector("stable").as_str()),
        ("100", "v1")
    );
    world.refuses.clear();
    world.pass(60);
    world.settle();
    assert_eq!(
        (world.weight().as_str(), world.selector("stable").as_str()),
        ("0", "v2")
    );
}

/// What the canary Service sends to the stable version stays there while the stable Service selects another one: that the rest
/// goes to the wrong version is no reason to send it more.
#[test]
fn what_comes_next_does_not_take_the_weight_to_the_wrong_version() {
    let all_of_them = i32::MAX;
    for (dynamic, next, aborted, serving, weight) in [
        (false, "v3", false, all_of_them, "100"),
        (true, "v3", false, all_of_them, "100"),
        (false, "v3", true, all_of_them, "100"),
        (true, "v3", true, all_of_them, "100"),
        (false, "v1", false, all_of_them, "100"),
        (true, "v1", false, all_of_them, "100"),
        // Few pods of the right version are better than many of another one; none are not, and the update goes on.
        (false, "v3", false, 1, "100"),
        (false, "v3", false, 0, "20"),
    ] {
        let mut strategy = nginx(&json!([{ "setWeight": 20 }, { "pause": {} }]));
        strategy["canary"]["dynamicStableScale"] = json!(dynamic);
        let mut world = Mini::new(&strategy);
        world.settle();
        world.release("v2");
        world.settle();
        world.refuses = vec!["point Service stable".to_owned()];
        world.promote();
        for _ in 0..100 {
            world.pass(1);
            world.look();
        }
        let case = format!("{next}, aborted {aborted}, dynamic {dynamic}, {serving} pods");
        assert_eq!(world.weight(), "100", "{case}");
        world.release(next);
        world.look();
        world.seen.rollout.status.abort = aborted.then_some(true);
        world.serving.insert(1, serving);
        for _ in 0..100 {
            world.pass(1);
            world.look();
        }
        assert_eq!(
            (world.weight().as_str(), world.selector("stable").as_str()),
            (weight, "v1"),
            "{case}"
        );
        world.serving.clear();
        world.refuses.clear();
        for _ in 0..100 {
            world.pass(1);
            world.look();
        }
        let at_the_step = if aborted { "0" } else { "20" };
        assert_eq!(
            (world.weight().as_str(), world.selector("stable").as_str()),
            (at_the_step, "v2"),
            "{case}"
        );
    }
}

/// What a Go client cannot read is taken out of the object; the version stays the same.
#[test]
fn malformed_values_of_a_template_are_taken_out() {
    let mut world = Mini::new(&json!({ "canary": {} }));
    world.settle();
    let template = world.seen.rollout.spec.template.as_mut().unwrap();
    template["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": "1", "memory": "invalid" } });
    let told = world.settle().join("\n");
    assert!(
        told.contains("MalformedFieldsDropped") && told.contains("resources.limits.memory"),
        "{told}"
    );
    let template = world.seen.rollout.spec.template.as_ref().unwrap();
    assert_eq!(
        template["spec"]["containers"][0]["resources"],
        json!({ "limits": { "cpu": "1" } })
    );
}

#[test]
fn a_third_revision_takes_the_traffic_from_the_second_before_it_gets_its_service() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 50 }, { "pause": {} }])));
    world.settle();
    world.release("v2");
    world.settle();
    world.release("v3");
    let mut order = Vec::new();
    for _ in 0..12 {
        world.look();
        order.push((world.weight(), world.selector("canary"), world.sizes()));
        order.dedup();
        world.pass(1);
    }
    let at = |what: fn(&Row) -> bool| order.iter().position(what).unwrap();
    let zero = at(|(weight, _, _)| weight == "0");
    let switched = at(|(_, selector, _)| selector == "v3");
    let gone = at(|(_, _, sizes)| sizes[1] == 0);
    assert!(zero < switched && zero < gone, "{order:#?}");
    assert_eq!(
        order.last().unwrap(),
        &("50".to_owned(), "v3".to_owned(), vec![10, 0, 5])
    );
}

#[test]
fn a_canary_without_routing_follows_the_weights_with_pods() {
    let mut world = Mini::new(
        &json!({ "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 60 }] } }),
    );
    world.settle();
    world.release("v2");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.sizes()),
        ("Paused CanaryPauseStep", vec![8, 2])
    );
    world.promote();
    world.settle();
    assert_eq!((world.phase().as_str(), world.sizes()), ("Healthy", vec![0, 10]));
}

#[test]
fn blue_green_pauses_switches_and_keeps_the_old_colour() {
    let mut world = Mini::new(&json!({ "blueGreen": {
        "activeService": "active", "previewService": "preview", "autoPromotionEnabled": false,
    } }));
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Healthy", "v1")
    );
    world.release("v2");
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.sizes()),
        ("Paused BlueGreenPause", vec![10, 10])
    );
    assert_eq!(
        (
            world.selector("active").as_str(),
            world.selector("preview").as_str()
        ),
        ("v1", "v2")
    );
    world.promote();
    world.settle();
    assert_eq!(
        (
            world.phase().as_str(),
            world.selector("active").as_str(),
            world.sizes()
        ),
        ("Healthy", "v2", vec![10, 10])
    );
    world.pass(30);
    world.settle();
    assert_eq!(world.sizes(), [0, 10]);
}

/// Whether its delay is written on it already depends on who is quicker.
#[test]
fn blue_green_back_before_the_delay_has_begun_is_back_at_once() {
    let mut world =
        Mini::new(&json!({ "blueGreen": { "activeService": "active", "autoPromotionEnabled": false } }));
    world.settle();
    world.release("v2");
    world.settle();
    world.promote();
    let promoted = |world: &Mini| world.seen.rollout.status.stable_rs.as_ref() == world.hash(1);
    while !promoted(&world) {
        world.look();
    }
    assert_eq!(world.sizes(), [10, 10]);
    let deadline = |world: &Mini| world.annotation(0, labels::SCALE_DOWN_DEADLINE_ANNOTATION);
    assert_eq!(deadline(&world), None);
    world.release("v1");
    world.look();
    assert!(deadline(&world).is_some());
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Healthy", "v1")
    );
    assert_eq!(deadline(&world), None);
}

/// What keeps the pods of a version away from the stable one was made when another version was stable.
#[test]
fn a_version_that_is_used_again_is_kept_apart_from_the_one_that_is_stable_now() {
    let mut world = Mini::new(&json!({ "canary": {
        "antiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {} },
        "steps": [{ "setWeight": 20 }, { "pause": {} }],
    } }));
    let release = |world: &mut Mini, version: &str| {
        world.release(version);
        let own = json!({ "topologyKey": "zone", "labelSelector": { "matchLabels": { "app": "db" } } });
        let template = world.seen.rollout.spec.template.as_mut().unwrap();
        template["spec"]["affinity"] =
            json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [own] } });
        world.pass(1);
        world.look()
    };
    release(&mut world, "v1");
    world.settle();
    release(&mut world, "v2");
    world.settle();
    world.promote();
    world.settle();
    assert_eq!(world.phase(), "Healthy");
    let plan = release(&mut world, "v1");
    let stable = world.hash(1).unwrap();
    let terms = plan.actions.iter().find_map(|action| match &action.change {
        Change::PatchReplicaSet { name, rest, .. } if *name == world.seen.replica_sets[0].name => Some(rest),
        _ => None,
    });
    let terms = &terms.unwrap()["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"];
    let required = &terms["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(required[0]["topologyKey"], "zone");
    assert_eq!(
        required[1]["labelSelector"]["matchExpressions"][0]["values"],
        json!([stable])
    );
    assert_eq!(required.as_array().unwrap().len(), 2);
    assert!(terms["preferredDuringSchedulingIgnoredDuringExecution"].is_null());
    // Known by then, and no news any more.
    world.seen.replica_sets[0].apart_from = Some(world.hash(1).unwrap().clone());
    world.settle();
    assert_eq!(world.phase(), "Paused CanaryPauseStep");
}

#[test]
fn blue_green_abort_goes_back_also_when_the_new_colour_is_broken_contract_6_1() {
    let mut world = Mini::new(
        &json!({ "blueGreen": { "activeService": "active", "postPromotionAnalysis": { "templates": [{ "templateName": "rate" }] } } }),
    );
    world.settle();
    assert_eq!(world.phase(), "Healthy");
    world.release("v2");
    for _ in 0..4 {
        world.look();
    }
    assert_eq!(world.selector("active"), "v2");
    world.seen.replica_sets[1].available = 0;
    world.seen.rollout.status.abort = Some(true);
    world.look();
    assert_eq!(world.selector("active"), "v1");
}

#[test]
fn a_lost_selector_is_repaired_and_promotes_nothing() {
    let mut world =
        Mini::new(&json!({ "blueGreen": { "activeService": "active", "autoPromotionEnabled": false } }));
    world.settle();
    world.release("v2");
    world.settle();
    world
        .seen
        .services
        .get_mut("active")
        .unwrap()
        .selector
        .remove(labels::POD_TEMPLATE_HASH_LABEL);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Paused BlueGreenPause", "v1")
    );
}
