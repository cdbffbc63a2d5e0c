//! Sizes that change at every moment, weights that fall, and versions that are small when they are asked for more.

use super::{
    Act, HEALTHY, Op, Scenario, When, act, basic, blue_green, degraded, healthy, json, routed, routed_with,
    seconds, update, with_spec,
};

pub(super) fn scenarios(all: &mut Vec<Scenario>) {
    sizes(all);
    nothing(all);
    falling(all);
    small_stable(all);
    others(all);
}

fn sizes(all: &mut Vec<Scenario>) {
    let smaller = || {
        vec![
            update("v2"),
            act(HEALTHY, Op::Scale(2)),
            act(When::After(seconds(60)), Op::ScaleThrough(4)),
            act(When::After(seconds(20)), Op::ScaleThrough(3)),
        ]
    };
    all.push(routed(
        "nginx-settled-and-scaled",
        json!([{"setWeight": 20}]),
        smaller(),
        healthy("shop:v2"),
    ));
    all.push(basic(
        "canary-settled-and-scaled",
        json!([{"setWeight": 20}]),
        smaller(),
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-settled-and-scaled",
        &json!({}),
        smaller(),
        healthy("shop:v2"),
    ));
    all.push(with_spec(
        basic(
            "canary-scaled-while-broken",
            json!([]),
            vec![
                act(HEALTHY, Op::SetImage("shop:v2-stuck".into())),
                act(When::After(seconds(10)), Op::Scale(8)),
                act(When::After(seconds(10)), Op::Scale(4)),
                act(When::After(seconds(20)), Op::Abort),
            ],
            degraded("shop:v1"),
        ),
        &json!({"replicas": 4, "strategy": {"canary": {"maxSurge": 2, "maxUnavailable": 0}}}),
    ));
}

/// KEDA takes all pods away while nobody asks for anything.
fn nothing(all: &mut Vec<Scenario>) {
    let from_nothing = || {
        vec![
            update("v2"),
            act(When::After(seconds(30)), Op::Scale(3)),
            act(When::After(seconds(30)), Op::Scale(0)),
            act(When::After(seconds(60)), Op::SetImage("shop:v3".into())),
            act(When::After(seconds(60)), Op::Scale(2)),
        ]
    };
    let routed = routed(
        "nginx-from-nothing",
        json!([{"setWeight": 50}]),
        from_nothing(),
        healthy("shop:v3"),
    );
    all.push(with_spec(routed.lossy(), &json!({"replicas": 0})));
    let colours = blue_green(
        "blue-green-from-nothing",
        &json!({"previewReplicaCount": 1}),
        from_nothing(),
        healthy("shop:v3"),
    );
    all.push(with_spec(colours.lossy(), &json!({"replicas": 0})));
    for (name, step) in [
        ("nginx-to-nothing-in-the-middle", 1),
        ("nginx-to-nothing-at-the-end", 2),
    ] {
        let acts = vec![
            update("v2"),
            act(When::Step(step), Op::Scale(0)),
            act(When::After(seconds(90)), Op::Scale(3)),
        ];
        all.push(
            super::routed(
                name,
                json!([{"setWeight": 50}, {"pause": {"duration": 3}}]),
                acts,
                healthy("shop:v2"),
            )
            .lossy(),
        );
    }
}

fn falling(all: &mut Vec<Scenario>) {
    let steps = || {
        json!([{"setWeight": 50}, {"pause": {"duration": 2}}, {"setWeight": 0}, {"pause": {"duration": 2}},
               {"setWeight": 75}, {"pause": {"duration": 2}}, {"setWeight": 25}, {"pause": {"duration": 2}}])
    };
    for (name, dynamic) in [
        ("nginx-weight-falls", false),
        ("nginx-dynamic-stable-scale-weight-falls", true),
    ] {
        let more = json!({"dynamicStableScale": dynamic});
        let scenario = routed_with(name, steps(), &more, vec![update("v2")], healthy("shop:v2"));
        all.push(with_spec(scenario, &json!({"replicas": 8})));
    }
    all.push(routed_with(
        "nginx-header-then-match",
        json!([{"setCanaryScale": {"replicas": 1}},
               {"setHeaderRoute": {"name": "testers", "match": [{"headerName": "X-Test", "headerValue": {"exact": "true"}}]}},
               {"pause": {"duration": 2}}, {"setCanaryScale": {"matchTrafficWeight": true}}, {"pause": {"duration": 2}},
               {"setWeight": 40}, {"pause": {"duration": 2}}]),
        &json!({"trafficRouting": {"managedRoutes": [{"name": "testers"}], "nginx": {"stableIngress": "web"}}}),
        vec![update("v2")],
        healthy("shop:v2"),
    ));
}

fn small_stable(all: &mut Vec<Scenario>) {
    let story = |name: &str, then: Vec<Act>, goal| {
        let mut acts = vec![update("v2"), act(When::PausedAt(1), Op::Promote)];
        acts.extend(then);
        let steps = json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 80}, {"pause": {}}]);
        with_spec(
            routed_with(name, steps, &json!({"dynamicStableScale": true}), acts, goal),
            &json!({"replicas": 10}),
        )
    };
    all.push(story(
        "nginx-dynamic-stable-scale-back",
        vec![act(When::PausedAt(3), Op::SetImage("shop:v1".into()))],
        healthy("shop:v1"),
    ));
    all.push(story(
        "nginx-dynamic-stable-scale-third-revision",
        vec![
            act(When::PausedAt(3), Op::SetImage("shop:v3".into())),
            act(When::PausedAt(1), Op::Promote),
            act(When::PausedAt(3), Op::Promote),
        ],
        healthy("shop:v3"),
    ));
}

fn others(all: &mut Vec<Scenario>) {
    all.push(with_spec(
        routed(
            "nginx-promoted-in-the-middle",
            json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 80}, {"pause": {"duration": 5}}]),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::Promote),
                act(When::Step(2), Op::SkipStep),
            ],
            healthy("shop:v2"),
        ),
        &json!({"replicas": 10}),
    ));
    let mut back = act(When::Phase("Healthy"), Op::SetImage("shop:v1".into()));
    back.delay = seconds(34);
    all.push(with_spec(
        routed_with(
            "nginx-back-within-the-window",
            json!([{"setWeight": 50}, {"pause": {"duration": 2}}]),
            &json!({"scaleDownDelaySeconds": 30}),
            vec![update("v2"), back],
            healthy("shop:v1"),
        ),
        &json!({"rollbackWindow": {"revisions": 3}, "replicas": 10}),
    ));
    all.push(routed(
        "nginx-third-revision-without-pods",
        json!([{"setCanaryScale": {"matchTrafficWeight": true}}, {"setWeight": 20}, {"pause": {}}, {"setWeight": 0}]),
        vec![
            update("v2"),
            act(When::PausedAt(2), Op::Scale(3)),
            act(When::After(seconds(10)), Op::SetImage("shop:v3".into())),
            act(When::PausedAt(2), Op::Promote),
        ],
        healthy("shop:v3"),
    ));
}
