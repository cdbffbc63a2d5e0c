//! The catalogue of scenarios.

#![allow(
    clippy::needless_pass_by_value,
    reason = "a json! literal reads best as a value"
)]

mod commands;
mod planes;
mod traffic;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::build::{analysis_template, ingress, rollout, service, success_rate, template};
use super::{Goal, NAMESPACE, ROLLOUT, Scenario};
use crate::actors::user::{Act, Op, When};
use crate::api::kinds;
use crate::dataplane::Load;
use crate::faults::SourceTrouble;
use crate::metrics::SourceFault;

mod instances;
mod refusals;

const HEALTHY: When = When::Phase("Healthy");

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn act(when: When, op: Op) -> Act {
    Act::new(when, op)
}

fn update(to: &str) -> Act {
    act(HEALTHY, Op::SetImage(format!("shop:{to}")))
}

fn healthy(image: &'static str) -> Goal {
    Goal::Stable {
        phase: "Healthy",
        image,
    }
}

fn degraded(image: &'static str) -> Goal {
    Goal::Stable {
        phase: "Degraded",
        image,
    }
}

fn scenario(name: &str, objects: Vec<Value>, acts: Vec<Act>, goal: Goal) -> Scenario {
    Scenario {
        name: name.to_owned(),
        bug: None,
        objects,
        further: Vec::new(),
        acts,
        git: None,
        loads: Vec::new(),
        metrics: false,
        source: Vec::new(),
        refusals: Vec::new(),
        goal,
        lossless: true,
        limit: SignedDuration::from_mins(15),
    }
}

impl Scenario {
    fn about(mut self, bug: &'static str) -> Self {
        self.bug = Some(bug);
        self
    }

    fn lossy(mut self) -> Self {
        self.lossless = false;
        self
    }
}

fn basic(name: &str, steps: Value, acts: Vec<Act>, goal: Goal) -> Scenario {
    let strategy = json!({"canary": {"steps": steps}});
    let mut scenario = scenario(name, vec![service("web"), rollout(5, strategy)], acts, goal);
    scenario.loads = vec![Load::service(NAMESPACE, "web", 50)];
    scenario
}

/// The `canary` strategy by NGINX, with more fields.
fn nginx(steps: Value, more: &Value) -> Value {
    let mut canary = json!({
        "stableService": "stable",
        "canaryService": "canary",
        "trafficRouting": {"nginx": {"stableIngress": "web"}},
        "steps": steps,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        canary[field] = value.clone();
    }
    json!({"canary": canary})
}

fn routed_with(name: &str, steps: Value, more: &Value, acts: Vec<Act>, goal: Goal) -> Scenario {
    let objects = vec![
        service("stable"),
        service("canary"),
        ingress("web", "stable"),
        rollout(5, nginx(steps, more)),
    ];
    let mut scenario = scenario(name, objects, acts, goal);
    scenario.loads = vec![Load::ingress(NAMESPACE, "web.test", "/", 50)];
    scenario
}

fn routed(name: &str, steps: Value, acts: Vec<Act>, goal: Goal) -> Scenario {
    routed_with(name, steps, &json!({}), acts, goal)
}

fn blue_green(name: &str, more: &Value, acts: Vec<Act>, goal: Goal) -> Scenario {
    let mut strategy = json!({"activeService": "active", "previewService": "preview"});
    for (field, value) in more.as_object().into_iter().flatten() {
        strategy[field] = value.clone();
    }
    let objects = vec![
        service("active"),
        service("preview"),
        rollout(3, json!({"blueGreen": strategy})),
    ];
    let mut scenario = scenario(name, objects, acts, goal);
    scenario.loads = vec![Load::service(NAMESPACE, "active", 50)];
    scenario
}

fn with_analysis(mut scenario: Scenario, metric: Value, query: &str) -> Scenario {
    scenario
        .objects
        .insert(0, analysis_template("success", metric, query));
    scenario.metrics = true;
    scenario
}

fn with_spec(mut scenario: Scenario, more: &Value) -> Scenario {
    if let Some(rollout) = scenario.objects.iter_mut().find(|o| o["kind"] == "Rollout") {
        for (field, value) in more.as_object().into_iter().flatten() {
            rollout["spec"][field] = value.clone();
        }
    }
    scenario
}

fn two_pauses() -> Value {
    json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": 2}}, {"setWeight": 80}])
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    canaries(&mut all);
    canaries_in_other_hands(&mut all);
    routed_canaries(&mut all);
    routed_canaries_that_turn(&mut all);
    dynamic_stable_scales(&mut all);
    sizes_of_routed_canaries(&mut all);
    routed_canaries_that_break(&mut all);
    blue_greens(&mut all);
    blue_greens_in_other_hands(&mut all);
    analyses(&mut all);
    others(&mut all);
    traffic::scenarios(&mut all);
    planes::scenarios(&mut all);
    commands::all(&mut all);
    instances::add(&mut all);
    refusals::add(&mut all);
    all
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

fn canaries(all: &mut Vec<Scenario>) {
    let timed = || json!([{"setWeight": 20}, {"pause": {"duration": 2}}, {"setWeight": 60}, {"pause": {"duration": "3s"}}]);
    all.push(basic("canary", timed(), vec![update("v2")], healthy("shop:v2")));
    all.push(basic(
        "canary-without-steps",
        json!([]),
        vec![update("v2")],
        healthy("shop:v2"),
    ));
    all.push(
        basic(
            "canary-promote",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        )
        .about("argo #4694"),
    );
    all.push(basic(
        "canary-abort",
        two_pauses(),
        vec![update("v2"), act(When::PausedAt(1), Op::Abort)],
        degraded("shop:v1"),
    ));
    all.push(with_spec(
        basic(
            "canary-abort-without-surplus",
            json!([{"setWeight": 40}, {"pause": {}}]),
            vec![update("v2"), act(When::PausedAt(1), Op::Abort)],
            degraded("shop:v1"),
        )
        .about("argo #777"),
        &json!({"strategy": {"canary": {
            "maxUnavailable": 0, "maxSurge": 1, "steps": [{"setWeight": 40}, {"pause": {}}],
        }}}),
    ));
}

/// Canaries without a router that somebody meddles with.
fn canaries_in_other_hands(all: &mut Vec<Scenario>) {
    all.push(
        basic(
            "canary-third-revision",
            two_pauses(),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::SetImage("shop:v3".into())),
                act(When::PausedAt(1), Op::Promote),
            ],
            healthy("shop:v3"),
        )
        .about("argo #1372"),
    );
    all.push(
        basic(
            "canary-scaled-in-the-middle",
            two_pauses(),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::Scale(10)),
                act(When::After(seconds(5)), Op::Scale(3)),
                act(When::After(seconds(5)), Op::Promote),
            ],
            healthy("shop:v2"),
        )
        .about("argo #3316"),
    );
    all.push(
        basic(
            "canary-paused-by-hand",
            two_pauses(),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::Pause),
                act(
                    When::After(seconds(3)),
                    Op::MergeStatus(json!({"status": {"pauseConditions": null}})),
                ),
                act(When::After(seconds(10)), Op::Unpause),
            ],
            healthy("shop:v2"),
        )
        .about("argo #720"),
    );
    all.push(with_spec(
        basic(
            "canary-back-within-the-window",
            json!([{"setWeight": 20}, {"pause": {"duration": 2}}]),
            vec![update("v2"), act(HEALTHY, Op::SetImage("shop:v1".into()))],
            healthy("shop:v1"),
        ),
        &json!({"rollbackWindow": {"revisions": 3}}),
    ));
}

fn routed_canaries(all: &mut Vec<Scenario>) {
    all.push(
        routed(
            "nginx",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        )
        .about("argo #3681"),
    );
    for step in [0, 1, 2, 3] {
        let when = if step == 1 {
            When::PausedAt(1)
        } else {
            When::Step(step)
        };
        let mut acts = vec![update("v2")];
        if step > 1 {
            acts.push(act(When::PausedAt(1), Op::Promote));
        }
        let mut abort = act(when, Op::Abort);
        abort.delay = SignedDuration::from_millis(100);
        acts.push(abort);
        all.push(
            routed(
                &format!("nginx-abort-at-{step}"),
                two_pauses(),
                acts,
                degraded("shop:v1"),
            )
            .about("argo #1838"),
        );
    }
    all.push(routed(
        "nginx-abort-and-retry",
        two_pauses(),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Abort),
            act(When::Phase("Degraded"), Op::Retry),
            act(When::PausedAt(1), Op::Promote),
        ],
        healthy("shop:v2"),
    ));
}

/// Routed canaries that do not take the way of their steps.
fn routed_canaries_that_turn(all: &mut Vec<Scenario>) {
    all.push(
        routed(
            "nginx-third-revision",
            two_pauses(),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::Promote),
                act(When::Step(3), Op::SetImage("shop:v3".into())),
                act(When::PausedAt(1), Op::Promote),
            ],
            healthy("shop:v3"),
        )
        .about("argo #3372"),
    );
    all.push(routed(
        "nginx-back-to-stable",
        two_pauses(),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::SetImage("shop:v1".into())),
        ],
        healthy("shop:v1"),
    ));
    all.push(routed(
        "nginx-promote-full",
        two_pauses(),
        vec![update("v2"), act(When::PausedAt(1), Op::PromoteFull)],
        healthy("shop:v2"),
    ));
    all.push(routed(
        "nginx-skip-a-step",
        two_pauses(),
        vec![update("v2"), act(When::PausedAt(1), Op::SkipStep)],
        healthy("shop:v2"),
    ));
}

/// Routed canaries whose stable version is as large as its traffic.
fn dynamic_stable_scales(all: &mut Vec<Scenario>) {
    all.push(
        routed_with(
            "nginx-dynamic-stable-scale",
            two_pauses(),
            &json!({"dynamicStableScale": true}),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        )
        .about("argo #2235"),
    );
    let mut two_routes = routed_with(
        "nginx-dynamic-stable-scale-two-ingresses",
        two_pauses(),
        &json!({
            "dynamicStableScale": true,
            "trafficRouting": {"nginx": {"stableIngresses": ["web", "other"]}},
        }),
        vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
        healthy("shop:v2"),
    );
    let mut other = ingress("other", "stable");
    other["spec"]["rules"][0]["host"] = json!("other.test");
    two_routes.objects.insert(0, other);
    two_routes
        .loads
        .push(Load::ingress(NAMESPACE, "other.test", "/", 50));
    all.push(two_routes);
    all.push(routed_with(
        "nginx-dynamic-stable-scale-abort",
        json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]),
        &json!({"dynamicStableScale": true}),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Promote),
            act(When::PausedAt(3), Op::Abort),
        ],
        degraded("shop:v1"),
    ));
    all.push(routed_with(
        "nginx-dynamic-stable-scale-abort-and-scaled",
        json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]),
        &json!({"dynamicStableScale": true}),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Promote),
            act(When::PausedAt(3), Op::Abort),
            act(When::After(SignedDuration::from_millis(100)), Op::Scale(10)),
        ],
        degraded("shop:v1"),
    ));
}

fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": ROLLOUT},
            "minReplicas": 3, "maxReplicas": 10,
        },
    })
}

/// Routed canaries whose size is not that of their weight.
fn sizes_of_routed_canaries(all: &mut Vec<Scenario>) {
    all.push(
        routed_with(
            "nginx-abort-with-min-pods",
            two_pauses(),
            &json!({"minPodsPerReplicaSet": 2}),
            vec![update("v2"), act(When::PausedAt(1), Op::Abort)],
            degraded("shop:v1"),
        )
        .about("argo #4841"),
    );
    all.push(routed(
        "nginx-canary-scale",
        json!([{"setCanaryScale": {"replicas": 2}}, {"setWeight": 20}, {"pause": {"duration": 2}},
               {"setCanaryScale": {"matchTrafficWeight": true}}, {"setWeight": 60}, {"pause": {"duration": 2}}]),
        vec![update("v2")],
        healthy("shop:v2"),
    ));
    let mut scaled = routed(
        "nginx-autoscaled-after-abort",
        two_pauses(),
        vec![
            update("v2"),
            act(When::PausedAt(1), Op::Abort),
            act(When::Phase("Degraded"), Op::ScaleThrough(8)),
        ],
        degraded("shop:v1"),
    )
    .about("argo #4973");
    scaled.objects.push(autoscaler());
    all.push(scaled);
    let mut autoscaled = routed(
        "nginx-autoscaled",
        two_pauses(),
        vec![
            update("v2"),
            act(
                When::PausedAt(1),
                Op::MergeOther(
                    &kinds::AUTOSCALERS,
                    "web".into(),
                    json!({
                        "metadata": {"annotations": {"sim.tidegate.io/replicas": "9"}},
                    }),
                ),
            ),
            act(When::After(seconds(40)), Op::Promote),
        ],
        healthy("shop:v2"),
    );
    autoscaled.objects.push(autoscaler());
    all.push(autoscaled);
}

/// Routed canaries whose pods do not work.
fn routed_canaries_that_break(all: &mut Vec<Scenario>) {
    all.push(with_spec(
        routed(
            "nginx-pods-never-ready",
            two_pauses(),
            vec![act(HEALTHY, Op::SetImage("shop:v2-stuck".into()))],
            degraded("shop:v1"),
        )
        .about("argo #2118"),
        &json!({"progressDeadlineSeconds": 30, "progressDeadlineAbort": true}),
    ));
    all.push(with_spec(
        routed(
            "nginx-pods-crash",
            json!([{"setWeight": 20}, {"pause": {}}]),
            vec![
                act(HEALTHY, Op::SetImage("shop:v2-crash".into())),
                act(When::PausedAt(1), Op::Abort),
            ],
            degraded("shop:v1"),
        )
        .lossy()
        .about("argo #2050"),
        &json!({"progressDeadlineSeconds": 120}),
    ));
}

fn blue_greens(all: &mut Vec<Scenario>) {
    let manual = || json!({"autoPromotionEnabled": false});
    all.push(blue_green(
        "blue-green",
        &json!({}),
        vec![update("v2")],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-promote",
        &manual(),
        vec![update("v2"), act(When::Phase("Paused"), Op::Promote)],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-timed",
        &json!({"autoPromotionSeconds": 5}),
        vec![update("v2")],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-abort",
        &manual(),
        vec![update("v2"), act(When::Phase("Paused"), Op::Abort)],
        degraded("shop:v1"),
    ));
    all.push(blue_green(
        "blue-green-third-revision",
        &manual(),
        vec![
            update("v2"),
            act(When::Phase("Paused"), Op::SetImage("shop:v3".into())),
            act(When::Phase("Paused"), Op::Promote),
        ],
        healthy("shop:v3"),
    ));
    all.push(blue_green(
        "blue-green-small-preview",
        &json!({"autoPromotionEnabled": false, "previewReplicaCount": 1}),
        vec![update("v2"), act(When::Phase("Paused"), Op::Promote)],
        healthy("shop:v2"),
    ));
    all.push(blue_green(
        "blue-green-back-at-once",
        &json!({"scaleDownDelaySeconds": 60}),
        vec![update("v2"), act(HEALTHY, Op::SetImage("shop:v1".into()))],
        healthy("shop:v1"),
    ));
}

/// Blue-green updates that somebody meddles with.
fn blue_greens_in_other_hands(all: &mut Vec<Scenario>) {
    let manual = || json!({"autoPromotionEnabled": false});
    all.push(blue_green(
        "blue-green-selector-lost",
        &manual(),
        vec![
            update("v2"),
            act(
                When::Phase("Paused"),
                Op::JsonPatchOther(
                    &kinds::SERVICES,
                    "active".into(),
                    json!([{"op": "remove", "path": "/spec/selector/rollouts-pod-template-hash"}]),
                ),
            ),
        ],
        Goal::Stable {
            phase: "Paused",
            image: "shop:v1",
        },
    ));
    all.push(blue_green(
        "blue-green-scaled-while-paused",
        &manual(),
        vec![
            update("v2"),
            act(When::Phase("Paused"), Op::Scale(5)),
            act(When::After(seconds(8)), Op::Promote),
        ],
        healthy("shop:v2"),
    ));
}

/// Nearly all requests must be answered, three times.
fn answers_enough() -> Value {
    json!({"interval": "2s", "count": 3, "successCondition": "result[0] >= 0.95"})
}

/// The same for as long as the update runs.
fn answers_enough_all_along() -> Value {
    json!({"interval": "2s", "successCondition": "len(result) == 0 || isNaN(result[0]) || result[0] >= 0.95", "failureLimit": 1})
}

/// An analysis by the template of [`with_analysis`].
fn analysis() -> Value {
    json!({"templates": [{"templateName": "success"}]})
}

/// Steps of which one is an analysis.
fn measured_once() -> Value {
    json!([{"setWeight": 20}, {"pause": {"duration": 12}}, {"analysis": analysis()}, {"setWeight": 60}])
}

/// A metric that is to be 1, twice.
fn is_one() -> Value {
    json!({"interval": "2s", "count": 2, "successCondition": "result[0] == 1"})
}

fn analyses(all: &mut Vec<Scenario>) {
    analyses_as_steps(all);
    analyses_in_the_background(all);
    metrics_in_trouble(all);
    analyses_of_blue_green(all);
    all.push(with_analysis(
        routed(
            "nginx-inconclusive-then-promoted",
            json!([{"setWeight": 20}, {"analysis": analysis()}, {"setWeight": 60}]),
            vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
            healthy("shop:v2"),
        ),
        json!({"count": 1, "successCondition": "result[0] > 2", "failureCondition": "result[0] < 1"}),
        "vector(1)",
    ));
}

fn analyses_as_steps(all: &mut Vec<Scenario>) {
    all.push(
        with_analysis(
            routed(
                "nginx-analysis-passes",
                measured_once(),
                vec![update("v2")],
                healthy("shop:v2"),
            ),
            answers_enough(),
            &success_rate("canary"),
        )
        .about("argo #1107"),
    );
    all.push(
        with_analysis(
            routed(
                "nginx-analysis-fails",
                measured_once(),
                vec![update("v2-bad")],
                degraded("shop:v1"),
            ),
            answers_enough(),
            &success_rate("canary"),
        )
        .about("argo #1411"),
    );
    all.push(with_analysis(
        routed(
            "nginx-promoted-past-the-analysis",
            json!([{"setWeight": 20}, {"analysis": analysis()}, {"setWeight": 60}, {"pause": {"duration": 5}}]),
            vec![update("v2"), act(When::Step(1), Op::Promote)],
            healthy("shop:v2"),
        ),
        json!({"interval": "30s", "count": 3, "successCondition": "result[0] >= 0"}),
        "vector(1)",
    ).about("argo #3220"));
}

fn analyses_in_the_background(all: &mut Vec<Scenario>) {
    all.push(with_analysis(
        routed_with(
            "nginx-background-fails",
            json!([{"setWeight": 20}, {"pause": {"duration": 60}}]),
            &json!({"analysis": {"templates": [{"templateName": "success"}], "startingStep": 1}}),
            vec![update("v2-bad")],
            degraded("shop:v1"),
        ),
        answers_enough_all_along(),
        &success_rate("canary"),
    ));
    all.push(with_analysis(
        routed_with(
            "nginx-background-passes",
            json!([{"setWeight": 20}, {"pause": {"duration": 8}}, {"setWeight": 50}, {"pause": {"duration": 8}}]),
            &json!({"analysis": {"templates": [{"templateName": "success"}], "startingStep": 1}}),
            vec![update("v2")],
            healthy("shop:v2"),
        ),
        answers_enough_all_along(),
        &success_rate("canary"),
    ));
}

/// The source of the metrics does not answer, or not with numbers.
fn metrics_in_trouble(all: &mut Vec<Scenario>) {
    let few_errors = json!({"interval": "2s", "count": 3, "successCondition": "result[0] >= 0.95", "consecutiveErrorLimit": 2});
    for (name, metric, fault) in [
        ("nginx-metrics-are-down", few_errors, SourceFault::Down),
        ("nginx-metrics-are-nan", answers_enough(), SourceFault::Nan),
    ] {
        let scenario = routed(name, measured_once(), vec![update("v2")], degraded("shop:v1"));
        let mut troubled = with_analysis(scenario, metric, &success_rate("canary"));
        troubled.source = vec![SourceTrouble {
            from_ms: 0,
            until_ms: 600_000,
            fault,
        }];
        all.push(troubled);
    }
}

fn analyses_of_blue_green(all: &mut Vec<Scenario>) {
    all.push(
        with_analysis(
            blue_green(
                "blue-green-analysis-passes",
                &json!({"prePromotionAnalysis": analysis(), "postPromotionAnalysis": analysis()}),
                vec![update("v2")],
                healthy("shop:v2"),
            ),
            is_one(),
            "vector(1)",
        )
        .about("argo #926"),
    );
    all.push(with_analysis(
        blue_green(
            "blue-green-pre-promotion-fails",
            &json!({"prePromotionAnalysis": analysis()}),
            vec![update("v2")],
            degraded("shop:v1"),
        ),
        is_one(),
        "vector(0)",
    ));
    all.push(with_analysis(
        blue_green(
            "blue-green-post-promotion-fails",
            &json!({"postPromotionAnalysis": analysis()}),
            vec![update("v2")],
            degraded("shop:v1"),
        ),
        is_one(),
        "vector(0)",
    ));
}

fn others(all: &mut Vec<Scenario>) {
    all.push(git_takes_replicas_back());
    deleted(all);
    all.push(basic(
        "canary-restarted",
        json!([]),
        vec![act(HEALTHY, Op::Restart)],
        healthy("shop:v1"),
    ));
    let mut switched = basic(
        "canary-becomes-blue-green",
        two_pauses(),
        vec![
            update("v2"),
            act(
                When::PausedAt(1),
                Op::Merge(json!({"spec": {"strategy": {
                    "canary": null, "blueGreen": {"activeService": "web"},
                }}})),
            ),
        ],
        healthy("shop:v2"),
    )
    .about("argo #3275");
    switched.limit = SignedDuration::from_mins(20);
    all.push(switched);
    all.push(deployment_taken_over());
}

/// Somebody applies from Git what the number of replicas was.
fn git_takes_replicas_back() -> Scenario {
    let mut git = routed(
        "nginx-git-takes-replicas-back",
        two_pauses(),
        vec![update("v2"), act(When::PausedAt(1), Op::Promote)],
        healthy("shop:v2"),
    )
    .about("argo #2522");
    let manifest = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {"team": "a"}},
        "spec": ingress("web", "stable")["spec"],
    });
    let replicas = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": ROLLOUT, "namespace": NAMESPACE}, "spec": {"replicas": 5},
    });
    git.git = Some((seconds(10), vec![manifest, replicas]));
    git
}

fn deleted(all: &mut Vec<Scenario>) {
    all.push(
        routed(
            "nginx-deleted",
            two_pauses(),
            vec![update("v2"), act(When::PausedAt(1), Op::Delete)],
            Goal::Gone,
        )
        .lossy(),
    );
    let again = {
        let mut again = rollout(5, nginx(two_pauses(), &json!({})));
        again["spec"]["template"] = template("shop:v3");
        again
    };
    all.push(
        routed(
            "nginx-deleted-and-created-again",
            two_pauses(),
            vec![
                update("v2"),
                act(When::PausedAt(1), Op::Delete),
                act(When::After(seconds(2)), Op::Create(vec![again])),
            ],
            healthy("shop:v3"),
        )
        .lossy(),
    );
}

/// The template is that of a Deployment, which is scaled down in the end.
fn deployment_taken_over() -> Scenario {
    let mut reference = scenario(
        "deployment-taken-over",
        vec![
            service("web"),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": NAMESPACE},
                "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template("shop:v1")},
            }),
            json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": {"name": ROLLOUT, "namespace": NAMESPACE},
                "spec": {
                    "replicas": 3,
                    "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": "onsuccess"},
                    "strategy": {"canary": {"steps": [{"setWeight": 34}, {"pause": {}}]}},
                },
            }),
        ],
        vec![
            act(
                HEALTHY,
                Op::JsonPatchOther(
                    &kinds::DEPLOYMENTS,
                    "web".into(),
                    json!([
                        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"},
                    ]),
                ),
            ),
            act(When::PausedAt(1), Op::Promote),
        ],
        healthy("shop:v2"),
    );
    reference.acts[0].delay = seconds(5);
    reference
}
