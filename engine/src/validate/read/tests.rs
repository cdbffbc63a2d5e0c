//! What the planner reads of a spec: defaults, and limits for the size of the Rollout.

use serde_json::{Value, json};

use super::*;

fn read(spec: &Value) -> Valid {
    let rollout = json!({ "metadata": { "name": "web" }, "spec": spec });
    valid(&serde_json::from_value(rollout).unwrap()).unwrap()
}

fn read_canary(replicas: i32, canary: &Value) -> (Valid, CanarySpec) {
    let valid = read(&json!({ "replicas": replicas, "strategy": { "canary": canary } }));
    let Strategy::Canary(canary) = valid.strategy.clone() else {
        panic!("a canary")
    };
    (valid, *canary)
}

fn read_blue_green(blue_green: &Value) -> (Valid, BlueGreenSpec) {
    let valid = read(&json!({ "replicas": 10, "strategy": { "blueGreen": blue_green } }));
    let Strategy::BlueGreen(blue_green) = valid.strategy.clone() else {
        panic!("blue-green")
    };
    (valid, *blue_green)
}

#[test]
fn what_a_spec_does_not_say_has_the_contracts_defaults() {
    let valid = read(&json!({ "strategy": { "canary": {} } }));
    assert_eq!((valid.size, valid.size_missing, valid.paused), (1, true, false));
    assert_eq!(
        (valid.history, valid.deadline, valid.deadline_aborts),
        (10, seconds(600), false)
    );
    assert_eq!(
        (valid.good_runs, valid.bad_runs, valid.rollback_window),
        (5, 5, 0)
    );
    assert_eq!(
        (valid.scale_down_delay, valid.scale_down_limit),
        (seconds(0), None)
    );
    assert_eq!(
        (valid.rejected, valid.workload),
        (Rejected::Kept(seconds(30)), None)
    );

    let (_, canary) = read_canary(10, &json!({ "stableService": "" }));
    assert_eq!((canary.limits.surge, canary.limits.unavailable), (3, 2));
    assert_eq!(
        (canary.threshold, canary.min_pods, canary.max_weight),
        (Threshold::All, 0, None)
    );
    assert_eq!(canary.stable_service, None, "the empty text names no Service");

    let (valid, blue_green) = read_blue_green(&json!({ "activeService": "web" }));
    assert_eq!((valid.scale_down_delay, valid.restart_limit), (seconds(30), 2));
    assert_eq!(
        (blue_green.switch, blue_green.preview_size),
        (Switch::AtOnce, None)
    );
}

/// What is wrong is told; until it is corrected nothing is reckoned with it.
#[test]
fn a_weight_is_between_nothing_and_all() {
    for (weight, read) in [(i32::MIN, 0), (-1, 0), (20, 20), (101, 100), (i32::MAX, 100)] {
        let (_, canary) = read_canary(4, &json!({ "steps": [{ "setWeight": weight }] }));
        assert_eq!(canary.steps[0].kind, StepKind::SetWeight(read), "{weight}");
    }
}

#[test]
fn limits_are_those_of_the_size() {
    let (valid, canary) = read_canary(
        4,
        &json!({ "maxSurge": "50%", "maxUnavailable": 9, "minPodsPerReplicaSet": 7 }),
    );
    assert_eq!(
        (canary.limits.surge, canary.limits.unavailable, canary.min_pods),
        (2, 4, 4)
    );
    assert_eq!(valid.restart_limit, 4);
    let (valid, _) = read_canary(4, &json!({ "maxSurge": 1, "maxUnavailable": 0 }));
    assert_eq!(valid.restart_limit, 1, "or a restart would never end");
}

/// Upstream takes these fields beside each other.
#[test]
fn a_step_sets_sizes_and_routes_beside_what_it_waits_for() {
    let scale = |set: Value| {
        let routing = json!({ "nginx": { "stableIngress": "web" }, "maxTrafficWeight": 1000 });
        let step = json!({ "setWeight": 100, "setCanaryScale": set, "setHeaderRoute": { "name": "beta" } });
        let strategy = json!({ "trafficRouting": routing, "minPodsPerReplicaSet": 2, "steps": [step] });
        let step = read_canary(10, &strategy).1.steps.remove(0);
        assert_eq!(
            (step.weight(), step.words.as_str()),
            (Some(100), "setWeight: 100")
        );
        assert!(step.header_route.is_some());
        step.canary_scale
    };
    for (set, wanted) in [
        (json!({ "replicas": 3 }), CanaryScale::Pods(3)),
        (json!({ "replicas": -3 }), CanaryScale::Pods(0)),
        (json!({ "weight": 500 }), CanaryScale::Pods(5)),
        (json!({ "weight": 1 }), CanaryScale::Pods(2)),
        (json!({ "weight": 0 }), CanaryScale::Pods(0)),
        (
            json!({ "replicas": 3, "matchTrafficWeight": true }),
            CanaryScale::MatchTraffic,
        ),
        (json!({}), CanaryScale::MatchTraffic),
    ] {
        assert_eq!(scale(set.clone()), Some(wanted), "{set}");
    }
}

#[test]
fn a_pause_lasts_as_long_as_it_says() {
    for (pause, length, words) in [
        (json!({}), None, "pause"),
        (json!({ "duration": 0 }), Some(0), "pause: 0"),
        (json!({ "duration": "90" }), Some(90), "pause: 90"),
        (json!({ "duration": "1h30m" }), Some(5400), "pause: 1h30m"),
    ] {
        let (_, canary) = read_canary(1, &json!({ "steps": [{ "pause": pause }] }));
        let step = &canary.steps[0];
        let length = length.map(seconds);
        assert_eq!(
            (step.pause().unwrap().length, step.words.as_str()),
            (length, words)
        );
    }
}

/// Contract F39, F41, F56.
#[test]
fn a_version_that_is_taken_back_keeps_its_pods_as_long_as_the_spec_says() {
    let routing = json!({ "nginx": { "stableIngress": "web" } });
    for (dynamic, delay, rejected, kept) in [
        (false, Value::Null, Rejected::Kept(seconds(30)), 30),
        (false, json!(5), Rejected::Kept(seconds(5)), 30),
        (false, json!(0), Rejected::KeptForEver, 30),
        (true, Value::Null, Rejected::GoWithTraffic, 0),
        (true, json!(5), Rejected::Kept(seconds(5)), 0),
        (true, json!(0), Rejected::KeptForEver, 0),
    ] {
        let strategy = json!({
            "trafficRouting": routing, "dynamicStableScale": dynamic, "abortScaleDownDelaySeconds": delay,
        });
        let (valid, _) = read_canary(10, &strategy);
        assert_eq!(
            (valid.rejected, valid.scale_down_delay),
            (rejected, seconds(kept)),
            "{strategy}"
        );
    }
}

/// Contract F52, F53: who switched automatic promotion off has the last word.
#[test]
fn a_switch_waits_for_what_the_spec_says() {
    for (enabled, after, switch) in [
        (Value::Null, Value::Null, Switch::AtOnce),
        (json!(true), json!(0), Switch::AtOnce),
        (json!(true), json!(5), Switch::After(seconds(5))),
        (json!(false), Value::Null, Switch::ByHand),
        (json!(false), json!(5), Switch::ByHand),
    ] {
        let strategy = json!({
            "activeService": "web", "autoPromotionEnabled": enabled, "autoPromotionSeconds": after,
        });
        assert_eq!(read_blue_green(&strategy).1.switch, switch, "{strategy}");
    }
}

#[test]
fn one_strategy_is_read_and_no_more() {
    for strategy in [json!({}), json!({ "canary": {}, "blueGreen": {} })] {
        let rollout = json!({ "metadata": { "name": "web" }, "spec": { "strategy": strategy } });
        assert!(valid(&serde_json::from_value(rollout).unwrap()).is_err());
    }
}
