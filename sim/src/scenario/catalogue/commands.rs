//! What people ask for in the middle of things: the later word counts.

use serde_json::{Value, json};

use super::{HEALTHY, act, basic, blue_green, healthy, routed, seconds, two_pauses, update, with_analysis};
use crate::actors::user::{Act, Op, When};
use crate::faults::SourceTrouble;
use crate::metrics::SourceFault;
use crate::scenario::Scenario;
use crate::scenario::build::{ingress, service};

const DEGRADED: When = When::Phase("Degraded");

/// Nobody measures anything for two minutes.
fn measured_later(scenario: Scenario) -> Scenario {
    let metric = json!({"interval": "2s", "count": 2, "successCondition": "result[0] == 1", "consecutiveErrorLimit": 1});
    let mut scenario = with_analysis(scenario, metric, "vector(1)");
    scenario.source = vec![SourceTrouble {
        from_ms: 0,
        until_ms: 120_000,
        fault: SourceFault::Down,
    }];
    scenario
}

fn retry_later() -> Act {
    let mut retry = act(DEGRADED, Op::Retry);
    retry.delay = seconds(120);
    retry
}

fn analysis() -> Value {
    json!({"templates": [{"templateName": "success"}]})
}

/// The other strategy, whose Services were never switched and send requests to every version: one that lost its requests under the
/// strategy before has them again, whatever its deadline says.
fn strategy_changed() -> Scenario {
    let strategy = json!({"strategy": {"blueGreen": null, "canary": {
        "stableService": "stable",
        "canaryService": "canary",
        "trafficRouting": {"nginx": {"stableIngress": "web"}},
        "scaleDownDelayRevisionLimit": 0,
        "steps": [{"setWeight": 70}],
    }}});
    let mut scenario = blue_green(
        "blue-green-becomes-a-canary",
        &json!({"autoPromotionEnabled": false}),
        vec![
            update("v2"),
            act(When::Phase("Paused"), Op::SetImage("shop:v1".into())),
            act(When::After(seconds(10)), Op::Merge(json!({"spec": strategy}))),
        ],
        healthy("shop:v1"),
    );
    let others = [service("stable"), service("canary"), ingress("web", "stable")];
    scenario.objects.splice(0..0, others);
    scenario
}

/// All of them.
pub(super) fn all(all: &mut Vec<Scenario>) {
    all.push(strategy_changed());
    retries(all);
    after_an_abort(all);
    all.push(with_analysis(
        blue_green(
            "blue-green-back-at-once-without-analysis",
            &json!({"scaleDownDelaySeconds": 60, "postPromotionAnalysis": analysis()}),
            vec![update("v2"), act(HEALTHY, Op::SetImage("shop:v1".into()))],
            healthy("shop:v1"),
        ),
        json!({"interval": "2s", "count": 2, "successCondition": "result[0] == 1"}),
        "vector(1)",
    ));
    restarts(all);
}

/// A retry measures anew.
fn retries(all: &mut Vec<Scenario>) {
    for (name, field) in [
        ("blue-green-retry-measures-anew", "prePromotionAnalysis"),
        ("blue-green-retry-measures-anew-after", "postPromotionAnalysis"),
    ] {
        all.push(measured_later(blue_green(
            name,
            &json!({field: analysis()}),
            vec![update("v2"), retry_later()],
            healthy("shop:v2"),
        )));
    }
    all.push(measured_later(routed(
        "nginx-retry-measures-anew",
        json!([{"setWeight": 20}, {"analysis": analysis()}, {"setWeight": 60}]),
        vec![update("v2"), retry_later()],
        healthy("shop:v2"),
    )));
}

/// What is asked for after an abort ends it.
fn after_an_abort(all: &mut Vec<Scenario>) {
    all.push(routed(
        "nginx-promote-full-after-abort",
        two_pauses(),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Abort),
            act(DEGRADED, Op::PromoteFull),
        ],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-promote-full-after-abort",
        &json!({"autoPromotionEnabled": false}),
        vec![
            update("v2"),
            act(When::Phase("Paused"), Op::Abort),
            act(DEGRADED, Op::PromoteFull),
        ],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-retry-of-a-small-preview",
        &json!({"autoPromotionSeconds": 5, "previewReplicaCount": 1}),
        vec![
            update("v2"),
            act(When::Phase("Paused"), Op::Abort),
            act(DEGRADED, Op::Retry),
        ],
        healthy("shop:v2"),
    ));
}

fn restarts(all: &mut Vec<Scenario>) {
    all.push(basic(
        "canary-restarted-and-promoted",
        json!([{"setWeight": 40}, {"pause": {}}]),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Restart),
            act(When::After(seconds(1)), Op::Promote),
        ],
        healthy("shop:v2"),
    ));
    all.push(basic(
        "canary-updated-while-restarting",
        json!([{"setWeight": 40}, {"pause": {"duration": 2}}]),
        vec![
            act(HEALTHY, Op::Restart),
            act(When::After(seconds(1)), Op::SetImage("shop:v2".into())),
        ],
        healthy("shop:v2"),
    ));
}
