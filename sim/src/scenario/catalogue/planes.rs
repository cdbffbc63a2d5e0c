//! Data planes beside NGINX: a release, an abort and a third version for each, and what only they know.

use super::{
    Act, Goal, HEALTHY, Load, NAMESPACE, Op, Scenario, Value, When, act, degraded, healthy, ingress, json,
    rollout, scenario, service, two_pauses, update,
};
use crate::planes::{PLANES, entry};

pub(super) fn scenarios(all: &mut Vec<Scenario>) {
    for plane in [smi as fn(&str, Vec<Act>, Goal) -> Scenario, traefik] {
        all.push(plane("release", release(), healthy("shop:v2")));
        all.push(plane("abort", abort(), degraded("shop:v1")));
        all.push(plane("third-revision", third(), healthy("shop:v3")));
    }
    installed_late(all);
    taken_away(all);
    beside_nginx(all);
}

fn release() -> Vec<Act> {
    vec![update("v2"), act(When::PausedAt(1), Op::Promote)]
}

fn abort() -> Vec<Act> {
    vec![
        update("v2"),
        act(When::PausedAt(1), Op::Promote),
        act(When::PausedAt(3), Op::Abort),
    ]
}

fn third() -> Vec<Act> {
    vec![
        update("v2"),
        act(When::PausedAt(1), Op::Promote),
        act(When::Step(3), Op::SetImage("shop:v3".into())),
        act(When::PausedAt(1), Op::Promote),
    ]
}

/// The `canary` strategy by some routers.
fn canary(routing: &Value) -> Value {
    json!({"canary": {
        "stableService": "stable",
        "canaryService": "canary",
        "trafficRouting": routing,
        "steps": two_pauses(),
    }})
}

fn definition(field: &str) -> Value {
    let plane = PLANES.iter().find(|plane| plane.is_chosen_by(field));
    plane.map_or(Value::Null, |plane| plane.definition())
}

fn smi(name: &str, acts: Vec<Act>, goal: Goal) -> Scenario {
    let objects = vec![
        definition("smi"),
        service("stable"),
        service("canary"),
        rollout(5, canary(&json!({"smi": {}}))),
    ];
    let mut scenario = scenario(&format!("smi-{name}"), objects, acts, goal);
    scenario.loads = vec![Load::service(NAMESPACE, "stable", 50)];
    scenario
}

fn traefik_service() -> Value {
    // Without weights, as upstream advises where the object is in Git.
    json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "TraefikService",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"weighted": {"services": [{"name": "stable", "port": 80}, {"name": "canary", "port": 80}]}},
    })
}

fn traefik(name: &str, acts: Vec<Act>, goal: Goal) -> Scenario {
    let objects = vec![
        definition("traefik"),
        service("stable"),
        service("canary"),
        traefik_service(),
        rollout(
            5,
            canary(&json!({"traefik": {"weightedTraefikServiceName": "web"}})),
        ),
    ];
    let mut scenario = scenario(&format!("traefik-{name}"), objects, acts, goal);
    scenario.loads = vec![Load::ingress(NAMESPACE, &entry("TraefikService", "web"), "", 50)];
    scenario
}

/// A Rollout may come before the mesh that it needs.
fn installed_late(all: &mut Vec<Scenario>) {
    let install = act(When::Phase("Degraded"), Op::Create(vec![definition("smi")]));
    let mut acts = vec![install];
    acts.extend(release());
    let mut scenario = smi("installed-late", acts, healthy("shop:v2"));
    scenario.objects.remove(0);
    all.push(scenario.lossy());
}

/// What was made for a router goes with it, also when the process ends in between.
fn taken_away(all: &mut Vec<Scenario>) {
    let no_router = json!({"spec": {"strategy": {"canary": {"trafficRouting": null}}}});
    let mut acts = vec![act(HEALTHY, Op::Merge(no_router))];
    acts.extend(release());
    all.push(smi("taken-away", acts, healthy("shop:v2")));
}

/// Two routers are driven, one after the other.
fn beside_nginx(all: &mut Vec<Scenario>) {
    let objects = vec![
        definition("smi"),
        service("stable"),
        service("canary"),
        ingress("web", "stable"),
        rollout(
            5,
            canary(&json!({"nginx": {"stableIngress": "web"}, "smi": {"trafficSplitName": "split"}})),
        ),
    ];
    let mut acts = release();
    acts.push(act(HEALTHY, Op::SetImage("shop:v3".into())));
    acts.push(act(When::PausedAt(1), Op::Abort));
    let mut both = scenario("nginx-and-smi", objects, acts, degraded("shop:v2"));
    both.loads = vec![
        Load::ingress(NAMESPACE, "web.test", "/", 50),
        Load::service(NAMESPACE, "stable", 50),
    ];
    all.push(both);
}
