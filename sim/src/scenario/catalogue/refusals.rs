//! What the API server refuses: by validation, by quota, by admission.

use serde_json::json;

use super::{
    Scenario, act, basic, degraded, healthy, routed, routed_with, seconds, two_pauses, update, with_spec,
};
use crate::actors::user::{Act, Op, When};
use crate::faults::Refusal;

const QUOTA: &str = "replicasets.apps \"web\" is forbidden: exceeded quota: small, requested: count/replicasets.apps=1, used: \
     count/replicasets.apps=1, limited: count/replicasets.apps=1";
const INVALID: &str = "Ingress.networking.k8s.io \"web-web-canary\" is invalid: metadata.annotations: Invalid value: \
                       \"a/b/c\": a valid label key must consist of alphanumeric characters";
const WEBHOOK: &str =
    "admission webhook \"routes.example.com\" denied the request: headers are not yours to change";
const TOO_LARGE: &str = "etcdserver: request is too large";

fn refusal(kind: &str, verb: &str, from: u64, until: Option<u64>, code: u16, message: &str) -> Refusal {
    Refusal {
        kind: kind.to_owned(),
        verb: verb.to_owned(),
        name: None,
        only: None,
        from_ms: from * 1000,
        until_ms: until.map(|seconds| seconds * 1000),
        code,
        message: message.to_owned(),
    }
}

fn refusing(mut scenario: Scenario, refusal: Refusal) -> Scenario {
    scenario.refusals.push(refusal);
    scenario
}

fn to_v2() -> Act {
    act(When::At(seconds(12)), Op::SetImage("shop:v2".into()))
}

pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(refusing(
        routed(
            "nginx-canary-ingress-refused",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        ),
        refusal("Ingress", "create", 0, Some(60), 422, INVALID),
    ));
    quotas(all);
    all.push(sizes_break());
    all.push(headers_refused());
    all.push(refusing(
        routed(
            "nginx-status-refused",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        ),
        refusal("Rollout/status", "patch", 6, Some(40), 403, WEBHOOK),
    ));
    all.push(refusing(
        routed(
            "nginx-rollout-refused",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        ),
        refusal("Rollout", "patch", 0, Some(60), 403, WEBHOOK),
    ));
}

/// New ReplicaSets are refused.
fn quotas(all: &mut Vec<Scenario>) {
    let one_pause = || json!([{"setWeight": 20}, {"pause": {"duration": 2}}]);
    all.push(refusing(
        basic(
            "canary-quota-for-a-minute",
            one_pause(),
            vec![to_v2()],
            healthy("shop:v2"),
        ),
        refusal("ReplicaSet", "create", 10, Some(70), 403, QUOTA),
    ));
    all.push(refusing(
        with_spec(
            basic(
                "canary-quota-for-good",
                one_pause(),
                vec![to_v2()],
                degraded("shop:v1"),
            ),
            &json!({"progressDeadlineSeconds": 30}),
        ),
        refusal("ReplicaSet", "create", 10, None, 403, QUOTA),
    ));
    all.push(refusing(
        basic(
            "canary-first-version-refused",
            one_pause(),
            vec![],
            healthy("shop:v1"),
        ),
        refusal("ReplicaSet", "create", 0, Some(30), 403, QUOTA),
    ));
}

/// The API server breaks on every change of a ReplicaSet while a step is promoted and the update is aborted.
fn sizes_break() -> Scenario {
    refusing(
        routed(
            "nginx-abort-while-sizes-break",
            two_pauses(),
            vec![
                update("v2"),
                act(When::At(seconds(40)), Op::Promote),
                act(When::At(seconds(70)), Op::Abort),
            ],
            degraded("shop:v1"),
        ),
        refusal("ReplicaSet", "patch", 35, Some(150), 500, TOO_LARGE),
    )
}

/// An abort while the header route cannot be taken away.
fn headers_refused() -> Scenario {
    let mut headers = refusal("Ingress", "patch", 35, Some(120), 403, WEBHOOK);
    headers.only = Some("canary-by-header".to_owned());
    refusing(
        routed_with(
            "nginx-abort-while-headers-are-refused",
            json!([
                {"setWeight": 20},
                {"setHeaderRoute": {"name": "by-header", "match": [{"headerName": "x", "headerValue": {"exact": "1"}}]}},
                {"pause": {}},
            ]),
            &json!({"trafficRouting": {"nginx": {"stableIngress": "web"}, "managedRoutes": [{"name": "by-header"}]}}),
            vec![to_v2(), act(When::At(seconds(40)), Op::Abort)],
            degraded("shop:v1"),
        ),
        headers,
    )
}
