//! One table for each fault that was found.

use serde_json::{Value, json};
use tidegate_engine::{Observed, validate};

use super::laws::{Laws, shares};
use super::mini::{Mini, ingress_ref, nginx};

fn nginx_with(steps: &Value, more: &Value) -> Value {
    let mut strategy = nginx(steps);
    for (field, value) in more.as_object().unwrap() {
        strategy["canary"][field] = value.clone();
    }
    strategy
}

/// Looks once a second, the laws in force, and notes each state that differs from the one before.
fn watch(world: &mut Mini, seconds: u32) -> Vec<(String, Vec<i32>)> {
    let mut laws = Laws::default();
    let mut states = Vec::new();
    for _ in 0..seconds {
        laws.look(world);
        states.push((world.weight(), world.sizes()));
        world.pass(1);
    }
    assert!(laws.broken.is_empty(), "{:#?}\n{states:#?}", laws.broken);
    states.dedup();
    states
}

fn settled(strategy: &Value, replicas: i32) -> Mini {
    let mut world = Mini::new(strategy);
    world.scale(replicas);
    world.settle();
    world
}

#[test]
fn sizes_follow_the_rollout_when_all_is_settled() {
    for strategy in [
        nginx(&json!([])),
        nginx(&json!([{ "setWeight": 50 }])),
        nginx_with(
            &json!([{ "setWeight": 50 }]),
            &json!({ "dynamicStableScale": true }),
        ),
        json!({ "canary": {} }),
        json!({ "canary": { "steps": [{ "setWeight": 50 }] } }),
        json!({ "blueGreen": { "activeService": "active", "previewService": "preview" } }),
    ] {
        let mut world = settled(&strategy, 10);
        world.release("v2");
        for _ in 0..60 {
            world.look();
            world.pass(1);
        }
        for size in [4, 0, 7, 6] {
            world.scale(size);
            for _ in 0..10 {
                world.look();
                world.pass(1);
            }
            assert_eq!(world.sizes(), [0, size], "{strategy}");
            assert_eq!(world.phase(), "Healthy", "{strategy}");
        }
    }
}

#[test]
fn sizes_follow_the_rollout_while_it_is_paused_by_hand() {
    for (strategy, at_five, at_four) in [
        (
            nginx(&json!([{ "setWeight": 50 }, { "pause": {} }])),
            [10, 5],
            [4, 2],
        ),
        (
            json!({ "canary": { "steps": [{ "setWeight": 50 }, { "pause": {} }] } }),
            [5, 5],
            // One more than the size may be there on the way.
            [3, 2],
        ),
    ] {
        let mut world = settled(&strategy, 10);
        world.release("v2");
        world.settle();
        assert_eq!(world.sizes(), at_five);
        world.seen.rollout.spec.paused = Some(true);
        world.look();
        world.scale(4);
        for _ in 0..8 {
            world.look();
            world.pass(1);
        }
        assert_eq!(world.sizes(), at_four, "{strategy}");
    }
}

#[test]
fn a_larger_preview_shrinks_to_what_is_switched_to() {
    let mut world = Mini::new(&json!({ "blueGreen": {
        "activeService": "active", "previewService": "preview", "previewReplicaCount": 5,
    } }));
    world.scale(3);
    world.settle();
    world.release("v2");
    world.settle();
    // The preview Service has just been switched: what is smaller waits until the data plane knows.
    world.pass(2);
    world.settle();
    assert_eq!(
        (world.selector("active").as_str(), world.sizes()),
        ("v2", vec![3, 3])
    );
}

#[test]
fn what_an_abort_keeps_for_ever_follows_the_size() {
    let keeps = json!({ "abortScaleDownDelaySeconds": 0 });
    let mut world = settled(
        &nginx_with(&json!([{ "setWeight": 50 }, { "pause": {} }]), &keeps),
        10,
    );
    world.release("v2");
    world.settle();
    world.seen.rollout.status.abort = Some(true);
    watch(&mut world, 10);
    assert_eq!(world.sizes(), [10, 5]);
    world.scale(0);
    watch(&mut world, 10);
    assert_eq!(world.sizes(), [0, 0]);
}

#[test]
fn a_weight_that_falls_goes_before_the_pods() {
    for dynamic in [false, true] {
        let steps = json!([
            { "setWeight": 50 }, { "pause": {} }, { "setWeight": 0 }, { "pause": {} },
            { "setWeight": 75 }, { "pause": {} }, { "setWeight": 25 }, { "pause": {} },
        ]);
        let mut world = settled(&nginx_with(&steps, &json!({ "dynamicStableScale": dynamic })), 8);
        world.release("v2");
        let mut canary = Vec::new();
        for _ in 0..4 {
            watch(&mut world, 12);
            canary.push((world.weight(), world.sizes()[1], world.phase()));
            world.promote();
        }
        let paused = |weight: &str, pods| (weight.to_owned(), pods, "Paused CanaryPauseStep".to_owned());
        assert_eq!(
            canary,
            [paused("50", 4), paused("0", 0), paused("75", 6), paused("25", 2)]
        );
    }
}

#[test]
fn a_version_that_both_services_lead_to_keeps_the_pods_of_both() {
    let mut world = settled(&nginx(&json!([{ "setWeight": 40 }, { "pause": {} }])), 4);
    world.release("v2");
    watch(&mut world, 10);
    assert_eq!((world.weight().as_str(), world.sizes()), ("40", vec![4, 2]));
    // The pods that were stable are gone, somebody applied the stable Service as it was, and others asked for more of the new ones.
    world.serving.insert(0, 0);
    watch(&mut world, 2);
    let stable = world.seen.services.get_mut("stable").unwrap();
    stable
        .selector
        .remove(tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL);
    world.seen.replica_sets[1].spec_replicas = 4;
    watch(&mut world, 10);
    assert_eq!((world.selector("stable").as_str(), world.sizes()[1]), ("-", 4));
}

#[test]
fn a_weight_waits_for_the_pods_wherever_the_steps_are() {
    // A step that is promoted while its pods are coming.
    let mut world = settled(
        &nginx(&json!([{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 60 }, { "pause": {} }])),
        10,
    );
    world.release("v2");
    world.settle();
    world.promote();
    world.serving.insert(1, 3);
    watch(&mut world, 5);
    assert_eq!((world.weight().as_str(), world.sizes()), ("20", vec![10, 6]));
    world.seen.rollout.status.current_step_index = Some(3);
    watch(&mut world, 5);
    assert_eq!(world.weight(), "20");
    world.serving.clear();
    watch(&mut world, 5);
    assert_eq!(world.weight(), "60");

    // A return within the window, while a part of the old version is left.
    let mut world = settled(&nginx(&json!([{ "setWeight": 50 }])), 10);
    world.seen.rollout.spec.rollback_window = serde_json::from_value(json!({ "revisions": 3 })).unwrap();
    world.release("v2");
    watch(&mut world, 10);
    world.seen.replica_sets[0].spec_replicas = 2;
    world.serving.insert(0, 2);
    world.release("v1");
    watch(&mut world, 10);
    assert_eq!(world.weight(), "0");
    world.serving.clear();
    watch(&mut world, 40);
    assert_eq!((world.phase().as_str(), world.sizes()), ("Healthy", vec![10, 0]));
}

/// Version 2 has 80 % of the requests, stable two of ten pods, and its new ones come one by one.
fn mostly_moved() -> Mini {
    let steps = json!([{ "setWeight": 20 }, { "setWeight": 80 }, { "pause": {} }]);
    let mut world = settled(&nginx_with(&steps, &json!({ "dynamicStableScale": true })), 10);
    world.release("v2");
    watch(&mut world, 20);
    assert_eq!((world.weight().as_str(), world.sizes()), ("80", vec![2, 8]));
    world.ready_at_once = 1;
    world
}

#[test]
fn a_small_stable_version_grows_before_it_gets_the_requests_back() {
    let mut world = mostly_moved();
    world.release("v1");
    watch(&mut world, 40);
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str(), world.sizes()),
        ("Healthy", "0", vec![10, 0])
    );

    let mut world = mostly_moved();
    world.release("v3");
    watch(&mut world, 40);
    assert_eq!((world.weight().as_str(), world.sizes()), ("80", vec![2, 0, 8]));

    let mut world = mostly_moved();
    world.seen.rollout.status.abort = Some(true);
    watch(&mut world, 3);
    assert_ne!(world.weight(), "0", "stable has {:?} pods", world.sizes());
    world.serving.insert(1, 0);
    watch(&mut world, 2);
    assert_eq!(world.weight(), "0", "the canary is dead");
}

#[test]
fn the_old_version_of_a_dynamic_canary_goes_when_the_data_plane_knows() {
    let mut world = mostly_moved();
    world.ready_at_once = i32::MAX;
    world.promote();
    let states = watch(&mut world, 12);
    assert_eq!(
        states.last().unwrap(),
        &("0".to_owned(), vec![0, 10]),
        "{states:#?}"
    );
}

#[test]
fn a_progress_threshold_is_asked_whether_it_is_met() {
    let threshold = |value: i32| json!({ "replicaProgressThreshold": { "type": "Percent", "value": value } });
    for (value, ends) in [(80, "0"), (95, "50")] {
        let mut world = settled(
            &nginx_with(&json!([{ "setWeight": 50 }, { "pause": {} }]), &threshold(value)),
            10,
        );
        world.release("v2");
        world.settle();
        world.serving.insert(1, 9);
        world.promote();
        watch(&mut world, 20);
        assert_eq!(
            world.weight(),
            ends,
            "{value} %: {} {:?}",
            world.phase(),
            world.sizes()
        );
        let promoted = world.seen.rollout.status.stable_rs == world.seen.rollout.status.current_pod_hash;
        assert_eq!(promoted, value == 80);
    }
}

#[test]
fn an_unknown_type_of_threshold_is_told() {
    for (kind, known) in [
        ("Percent", true),
        ("Pods", true),
        ("Percentage", false),
        ("", false),
    ] {
        let threshold = json!({ "replicaProgressThreshold": { "type": kind, "value": 80 } });
        let world = Mini::new(&nginx_with(&json!([]), &threshold));
        let violations = validate::validate(&world.seen, world.seen.rollout.spec.template.as_ref());
        assert_eq!(violations.is_ok(), known, "{kind}: {violations:?}");
    }
}

fn shared(seen: &Observed) -> Vec<i32> {
    let shares = shares(seen);
    let share = |hash: &String| shares.get(hash).copied().unwrap_or(0);
    seen.replica_sets.iter().map(|rs| share(&rs.hash)).collect()
}

#[test]
fn at_size_0_updates_end_and_what_is_not_promoted_gets_nothing() {
    // From the start.
    let scale = json!([{ "setCanaryScale": { "replicas": 1 } }, { "pause": {} }, { "setCanaryScale": { "matchTrafficWeight": true } }, { "setWeight": 50 }]);
    for dynamic in [false, true] {
        let mut world = settled(&nginx_with(&scale, &json!({ "dynamicStableScale": dynamic })), 0);
        assert_eq!(world.selector("stable"), "v1");
        world.release("v2");
        watch(&mut world, 10);
        assert_eq!((world.sizes(), shared(&world.seen)), (vec![0, 1], vec![100, 0]));
        world.promote();
        watch(&mut world, 10);
        assert_eq!((world.phase().as_str(), world.sizes()), ("Healthy", vec![0, 0]));
        world.scale(3);
        watch(&mut world, 10);
        assert_eq!(
            (world.phase().as_str(), shared(&world.seen)),
            ("Healthy", vec![0, 100])
        );
    }
    // In the middle, and at the end.
    for looks in 1..12 {
        let mut world = settled(&nginx(&json!([{ "setWeight": 50 }])), 10);
        world.release("v2");
        for _ in 0..looks {
            world.look();
        }
        world.scale(0);
        watch(&mut world, 60);
        assert_eq!(
            (world.phase().as_str(), world.sizes()),
            ("Healthy", vec![0, 0]),
            "after {looks} looks"
        );
        world.scale(3);
        watch(&mut world, 10);
        assert_eq!(
            (world.phase().as_str(), shared(&world.seen)),
            ("Healthy", vec![0, 100])
        );
    }
}

#[test]
fn at_size_0_blue_green_cuts_over_and_back() {
    let analysed = json!({ "blueGreen": {
        "activeService": "active", "postPromotionAnalysis": { "templates": [{ "templateName": "rate" }] },
    } });
    let mut world = settled(&analysed, 0);
    assert_eq!(world.selector("active"), "v1");
    world.release("v2");
    for _ in 0..6 {
        world.look();
    }
    assert_eq!(world.selector("active"), "v2");
    world.seen.rollout.status.abort = Some(true);
    world.look();
    assert_eq!(world.selector("active"), "v1");

    let mut world = settled(
        &json!({ "blueGreen": { "activeService": "active", "previewReplicaCount": 1 } }),
        0,
    );
    world.release("v2");
    world.settle();
    world.pass(2);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Healthy", "v2")
    );
}

#[test]
fn an_unhashed_stable_service_is_hashed_before_another_version_has_pods() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])));
    world.serving.insert(0, 9);
    world.settle();
    assert_eq!(world.selector("stable"), "-", "it waits for all pods");
    world.release("v2");
    world.look();
    world.look();
    assert_eq!(world.selector("stable"), "v1");
}

#[test]
fn a_route_goes_before_the_pods_that_it_leads_to() {
    let steps = json!([
        { "setCanaryScale": { "replicas": 1 } },
        { "setHeaderRoute": { "name": "testers", "match": [{ "headerName": "X-Test", "headerValue": { "exact": "true" } }] } },
        { "pause": {} },
        { "setCanaryScale": { "matchTrafficWeight": true } },
        { "pause": {} },
        { "setWeight": 34 },
        { "pause": {} },
    ]);
    let routing = |extra: &Value| {
        json!({ "trafficRouting": { "managedRoutes": [{ "name": "testers" }], "nginx": {
            "stableIngress": "web", "additionalIngressAnnotations": extra,
        } } })
    };
    let led = |world: &Mini, key: &str| {
        let key = format!("nginx.ingress.kubernetes.io/{key}");
        world.seen.routes.live[&ingress_ref("web-web-canary")]["metadata"]["annotations"]
            .get(key)
            .is_some()
    };
    for (key, extra) in [
        ("canary-by-header", json!({})),
        ("canary-by-cookie", json!({ "canary-by-cookie": "test" })),
    ] {
        let mut world = settled(&nginx_with(&steps, &routing(&extra)), 3);
        world.release("v2");
        for _ in 0..40 {
            world.look();
            world.pass(1);
            let pods = world.seen.replica_sets.get(1).map_or(0, |rs| rs.spec_replicas);
            if led(&world, key) && world.selector("canary") == "v2" {
                assert!(
                    pods > 0,
                    "a route leads to no pods: {} {:?}",
                    world.phase(),
                    world.sizes()
                );
            }
            if world.phase().starts_with("Paused") && world.seen.rollout.status.current_step_index < Some(6) {
                if world.seen.rollout.status.current_step_index == Some(4) {
                    assert_eq!(pods, 0);
                } else {
                    assert!(led(&world, "canary-by-header"));
                }
                world.promote();
            }
        }
        assert_eq!(
            (
                world.weight().as_str(),
                world.sizes(),
                world.selector("canary").as_str()
            ),
            ("34", vec![3, 2], "v2")
        );
        assert!(led(&world, "canary-by-header"));
    }
}

#[test]
fn a_status_without_an_index_is_at_the_first_step() {
    let mut world = settled(
        &json!({ "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }] } }),
        10,
    );
    world.release("v2");
    world.settle();
    world.seen.rollout.status.current_step_index = None;
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.sizes()),
        ("Paused CanaryPauseStep", vec![8, 2])
    );
}

#[test]
fn a_third_version_begins_without_pods() {
    let steps = json!([
        { "setCanaryScale": { "matchTrafficWeight": true } }, { "setWeight": 20 }, { "pause": {} }, { "setWeight": 0 },
    ]);
    let mut world = settled(&nginx(&steps), 2);
    world.release("v2");
    watch(&mut world, 10);
    world.scale(3);
    watch(&mut world, 10);
    world.release("v3");
    watch(&mut world, 20);
    assert_eq!(
        (world.phase().as_str(), world.weight().as_str()),
        ("Paused CanaryPauseStep", "20")
    );
    assert_eq!(world.sizes(), [3, 0, 1]);
}

fn strategy(world: &mut Mini, strategy: &Value) {
    world.seen.rollout.spec.strategy = Some(serde_json::from_value(strategy.clone()).unwrap());
    let replicas = world.seen.rollout.spec.replicas.unwrap_or(1);
    world.scale(replicas);
}

fn send_to_all(world: &mut Mini, service: &str) {
    let service = world.seen.services.get_mut(service).unwrap();
    service
        .selector
        .remove(tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL);
    service.managed_by = None;
}

/// The deadline of a version tells when it lost its requests, until a Service that selects every version is named.
#[test]
fn a_service_that_was_never_switched_makes_deadlines_untrue() {
    let colours = json!({ "blueGreen": {
        "activeService": "active", "previewService": "preview", "autoPromotionEnabled": false,
    } });
    let mut world = settled(&colours, 4);
    world.release("v2");
    world.settle();
    world.release("v1");
    world.settle();
    world.pass(10);
    let waits = |world: &Mini| {
        world.seen.replica_sets[1]
            .annotations
            .contains_key(tidegate_crds::labels::SCALE_DOWN_DEADLINE_ANNOTATION)
    };
    assert!(waits(&world));
    let more = json!({ "scaleDownDelayRevisionLimit": 0 });
    strategy(&mut world, &nginx_with(&json!([{ "setWeight": 70 }]), &more));
    world.settle();
    assert_eq!(
        (world.selector("stable").as_str(), world.sizes()),
        ("v1", vec![4, 4])
    );
    world.pass(60);
    world.settle();
    assert_eq!((world.sizes(), waits(&world)), (vec![4, 0], false));
}

/// What is not promoted gets no requests because somebody deleted the stable version.
#[test]
fn without_the_stable_version_users_get_the_newest_of_the_others() {
    let colours = json!({ "blueGreen": { "activeService": "active", "autoPromotionEnabled": false } });
    let mut world = settled(&colours, 4);
    world.release("v2");
    world.settle();
    send_to_all(&mut world, "active");
    let status = &mut world.seen.rollout.status;
    status.stable_rs = Some("lost".to_owned());
    status.blue_green = None;
    world.settle();
    assert_eq!(
        (world.selector("active").as_str(), world.phase().as_str()),
        ("v1", "Paused BlueGreenPause")
    );
}

/// One more than may wait goes at once, and takes its deadline along.
#[test]
fn beyond_the_limit_nothing_is_left_of_a_deadline() {
    let mut world = settled(
        &nginx_with(&json!([]), &json!({ "scaleDownDelayRevisionLimit": 1 })),
        2,
    );
    for version in ["v2", "v3"] {
        world.release(version);
        for _ in 0..8 {
            world.look();
            world.pass(1);
        }
    }
    let deadlines: Vec<bool> = world
        .seen
        .replica_sets
        .iter()
        .map(|rs| {
            rs.annotations
                .contains_key(tidegate_crds::labels::SCALE_DOWN_DEADLINE_ANNOTATION)
        })
        .collect();
    assert_eq!(
        (world.sizes(), deadlines),
        (vec![0, 2, 2], vec![false, true, false])
    );
}

/// Where the API server does not let a Service leave the new version, there stays a pod for who comes through it.
#[test]
fn a_service_that_may_not_be_switched_keeps_a_pod() {
    let strategy = json!({ "canary": {
        "stableService": "stable", "canaryService": "canary", "steps": [{ "setWeight": 50 }, { "pause": {} }],
    } });
    let mut world = settled(&strategy, 4);
    world.release("v2");
    world.settle();
    assert_eq!(
        (world.selector("canary").as_str(), world.sizes()),
        ("v2", vec![2, 2])
    );
    world.refuses = vec!["point Service".to_owned()];
    self::strategy(
        &mut world,
        &json!({ "canary": {
            "stableService": "stable", "canaryService": "canary", "steps": [{ "pause": {} }],
        } }),
    );
    world.settle();
    assert_eq!((world.selector("canary").as_str(), world.sizes()[1]), ("v2", 1));
    world.refuses.clear();
    world.pass(600);
    world.settle();
    world.pass(5);
    world.settle();
    assert_eq!(
        (world.selector("canary").as_str(), world.sizes()),
        ("v1", vec![4, 0])
    );
}
