//! What the rules of rest are for: end states that are wrong, as a fault of the controller would leave them. Each is written
//! by the controller, or comes about because it does nothing, at rest, and none of S1 to S21 has anything to say about it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::play::Player;
use super::{NAMES, Part, Story};
use crate::api::{Kind, kinds};
use crate::invariants::Cause;
use crate::invariants::facts::{Facts, HASH};
use crate::process::Known;
use crate::scenario::NAMESPACE;
use crate::world::CONTROLLER;

/// What is wrong, and who finds it.
struct Fault {
    what: &'static str,
    /// The story at whose end it is planted.
    story: &'static str,
    plant: fn(&Facts) -> Vec<Plant>,
    /// The rule that finds it.
    rule: &'static str,
}

/// How it comes about.
enum Plant {
    /// The controller patches the status of the Rollout.
    Status(Value),
    /// The controller patches another object.
    Ours(&'static Kind, String, Value),
    /// A user patches an object, and the controller does not look.
    Theirs(&'static Kind, String, Value),
    /// The pods of a ReplicaSet have become as many as it wants.
    Counted(String, i64),
    /// A user deletes an object, and the controller does not look.
    Lost(Part),
    /// `explain` says this.
    Says(fn(&Facts) -> Vec<String>),
}

use Plant::{Counted, Lost, Ours, Says, Status, Theirs};

/// Halfway: weight 50 of 4 pods, in a pause without an end.
const PAUSED: &str = r#"{"seed":1,"rollouts":[{"replicas":4,"strategy":{"canary":{"stableService":"web-stable",
    "canaryService":"web-canary","trafficRouting":{"nginx":{"stableIngress":"web"}},
    "steps":[{"setWeight":50},{"pause":{}},{"setWeight":75}]}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}}]}"#;
/// The same taken back.
const ABORTED: &str = r#"{"seed":1,"rollouts":[{"replicas":4,"strategy":{"canary":{"stableService":"web-stable",
    "canaryService":"web-canary","trafficRouting":{"nginx":{"stableIngress":"web"}},"abortScaleDownDelaySeconds":1,
    "steps":[{"setWeight":50},{"pause":{}}]}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}},{"afterMs":15000,"what":"abort"}]}"#;
/// The same when it is through.
const SETTLED: &str = r#"{"seed":1,"rollouts":[{"replicas":4,"strategy":{"canary":{"stableService":"web-stable",
    "canaryService":"web-canary","trafficRouting":{"nginx":{"stableIngress":"web"}},"scaleDownDelaySeconds":1,
    "steps":[{"setWeight":50}]}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}},{"afterMs":40000,"what":"restart"}]}"#;
/// Without a router: weight 25 of 8 pods.
const PLAIN: &str = r#"{"seed":1,"rollouts":[{"replicas":8,"strategy":{"canary":{"maxSurge":4,
    "steps":[{"setWeight":25},{"pause":{}}]}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}}]}"#;
/// Blue-green that waits for somebody, with a preview of one pod.
const PREVIEW: &str = r#"{"seed":1,"rollouts":[{"replicas":4,"strategy":{"blueGreen":{"activeService":"web-active",
    "previewService":"web-preview","autoPromotionEnabled":false,"previewReplicaCount":1}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}}]}"#;
/// A step whose analysis still measures.
const MEASURED: &str = r#"{"seed":1,"rollouts":[{"replicas":2,"strategy":{"canary":{
    "steps":[{"setWeight":50},{"analysis":{"templates":[{"templateName":"web-check"}],"args":[{"name":"count","value":"100000"}]}}]}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}}]}"#;
/// The template of a Deployment, which is at 0 by now.
const TAKEN_OVER: &str =
    r#"{"seed":1,"rollouts":[{"replicas":2,"takenOver":"onsuccess","strategy":{"canary":{}}}],"acts":[]}"#;
/// A quota that has no room for the new version.
const REFUSED: &str = r#"{"seed":1,"rollouts":[{"replicas":2,"strategy":{"canary":{}}}],
    "acts":[{"afterMs":5000,"what":{"image":"v2"}}],
    "faults":{"refusals":[{"kind":"ReplicaSet","verb":"create","fromMs":4000,"code":403,"message":"exceeded quota: small"}]}}"#;

const FAULTS: &[Fault] = &[
    Fault {
        what: "a change of the spec is never looked at",
        story: PAUSED,
        plant: |_| {
            vec![Theirs(
                &kinds::ROLLOUTS,
                NAMES[0].to_owned(),
                json!({"spec": {"minReadySeconds": 1}}),
            )]
        },
        rule: "R1",
    },
    Fault {
        what: "a Service that the spec names is gone, and nobody says so",
        story: PAUSED,
        plant: |_| vec![Lost(Part::Canary)],
        rule: "R2",
    },
    Fault {
        what: "the spec still counts as invalid after it was mended",
        story: PAUSED,
        plant: |facts| vec![with_condition(facts, "InvalidSpec", "True")],
        rule: "R2",
    },
    Fault {
        what: "pods are counted that are not there",
        story: PAUSED,
        plant: |_| vec![Status(json!({"replicas": 7}))],
        rule: "R3",
    },
    Fault {
        what: "the counter of the new version stays what it was before it shrank",
        story: PLAIN,
        plant: |_| vec![Status(json!({"updatedReplicas": 8}))],
        rule: "R3",
    },
    Fault {
        what: "the counter that clients wait for stays behind",
        story: PLAIN,
        plant: |_| vec![Status(json!({"availableReplicas": 1}))],
        rule: "R3",
    },
    Fault {
        what: "a pause is not the phase",
        story: PAUSED,
        plant: |_| {
            vec![Status(
                json!({"phase": "Progressing", "message": "more replicas need to be updated"}),
            )]
        },
        rule: "R5",
    },
    Fault {
        what: "what was taken back looks as if it went on",
        story: ABORTED,
        plant: |_| vec![Status(json!({"phase": "Progressing"}))],
        rule: "R5",
    },
    Fault {
        what: "a complete update never becomes Healthy",
        story: SETTLED,
        plant: |_| {
            vec![Status(
                json!({"phase": "Progressing", "message": "waiting for all steps to complete"}),
            )]
        },
        rule: "R5",
    },
    Fault {
        what: "the phase is Healthy without the condition that Argo CD reads",
        story: SETTLED,
        plant: |facts| vec![with_condition(facts, "Healthy", "False")],
        rule: "R5",
    },
    Fault {
        what: "a full promotion is kept for the next update",
        story: SETTLED,
        plant: |_| vec![Status(json!({"promoteFull": true}))],
        rule: "R5",
    },
    Fault {
        what: "the step stays short of the last one",
        story: SETTLED,
        plant: |_| vec![Status(json!({"currentStepIndex": 0}))],
        rule: "R5",
    },
    Fault {
        what: "a canary is larger than its weight",
        story: PAUSED,
        plant: |facts| sized(facts, facts.current(), 4),
        rule: "R6",
    },
    Fault {
        what: "without a router the canary is twice its share",
        story: PLAIN,
        plant: |facts| sized(facts, facts.current(), 4),
        rule: "R6",
    },
    Fault {
        what: "a preview is larger than previewReplicaCount",
        story: PREVIEW,
        plant: |facts| sized(facts, facts.current(), 3),
        rule: "R6",
    },
    Fault {
        what: "after an abort stable is larger than the Rollout",
        story: ABORTED,
        plant: |facts| sized(facts, facts.stable(), 5),
        rule: "R6",
    },
    Fault {
        what: "the preview Service stays with the version before",
        story: PREVIEW,
        plant: |facts| vec![selects(Part::Preview, facts.stable())],
        rule: "R7",
    },
    Fault {
        what: "after an abort the canary Service stays with the rejected version",
        story: ABORTED,
        plant: |facts| vec![selects(Part::Canary, facts.current())],
        rule: "R7",
    },
    Fault {
        what: "after the promotion the canary Service stays with the version before",
        story: SETTLED,
        plant: |facts| {
            let older = facts.versions.keys().find(|hash| *hash != facts.stable());
            vec![selects(Part::Canary, older.map_or("", String::as_str))]
        },
        rule: "R7",
    },
    Fault {
        what: "the route has less weight than the step",
        story: PAUSED,
        plant: |_| vec![weighed(25), recorded(25)],
        rule: "R9",
    },
    Fault {
        what: "weight is left on the canary after the end",
        story: SETTLED,
        plant: |_| vec![weighed(10), recorded(10)],
        rule: "R9",
    },
    Fault {
        what: "the status tells another weight than the route has",
        story: PAUSED,
        plant: |_| vec![recorded(75)],
        rule: "R9",
    },
    Fault {
        what: "an analysis is over, and nobody takes note",
        story: MEASURED,
        plant: |facts| {
            let run = &facts.status()["canary"]["currentStepAnalysisRunStatus"]["name"];
            let over = json!({"status": {"phase": "Inconclusive"}});
            vec![Theirs(
                &kinds::ANALYSIS_RUNS,
                run.as_str().unwrap_or_default().to_owned(),
                over,
            )]
        },
        rule: "R10",
    },
    Fault {
        what: "nothing says what a paused update waits for",
        story: PAUSED,
        plant: |_| vec![Says(|_| Vec::new())],
        rule: "R8",
    },
    Fault {
        what: "it is said to wait for pods that are there",
        story: PAUSED,
        plant: |_| {
            vec![Says(|facts| {
                let name = &facts.versions[facts.stable()].name;
                vec![
                    format!("waiting for pods of {name}: 4 of 5"),
                    "CanaryPauseStep".to_owned(),
                ]
            })]
        },
        rule: "R8",
    },
    Fault {
        what: "an abort is forgotten",
        story: ABORTED,
        plant: |_| vec![Status(json!({"abort": null, "abortedAt": null}))],
        rule: "R5",
    },
    Fault {
        what: "a restart is forgotten",
        story: SETTLED,
        plant: |_| vec![Status(json!({"restartedAt": "2026-01-01T00:00:01Z"}))],
        rule: "R11",
    },
    Fault {
        what: "a change of the Deployment is never looked at",
        story: TAKEN_OVER,
        plant: |_| vec![Status(json!({"workloadObservedGeneration": "1"}))],
        rule: "R12",
    },
    Fault {
        what: "the Deployment runs beside the Rollout that took it over",
        story: TAKEN_OVER,
        plant: |_| {
            let up = json!({"spec": {"replicas": 2}});
            vec![
                Theirs(&kinds::DEPLOYMENTS, NAMES[0].to_owned(), up),
                Status(json!({"workloadObservedGeneration": "3"})),
            ]
        },
        rule: "R12",
    },
    Fault {
        what: "what is refused is not told by a condition",
        story: REFUSED,
        plant: |facts| vec![with_condition(facts, "WriteRefused", "False")],
        rule: "R13",
    },
    Fault {
        what: "a refusal is told that is over",
        story: SETTLED,
        plant: |facts| vec![with_condition(facts, "WriteRefused", "True")],
        rule: "R13",
    },
];

/// The conditions with one of them changed, or put to them.
fn with_condition(facts: &Facts, kind: &str, status: &str) -> Plant {
    let mut conditions = facts.status()["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if let Some(found) = conditions.iter_mut().find(|c| c["type"] == *kind) {
        found["status"] = status.into();
    } else {
        let time = "2026-01-01T00:00:00Z";
        conditions.push(json!({
            "type": kind, "status": status, "reason": kind, "message": "of before",
            "lastTransitionTime": time, "lastUpdateTime": time,
        }));
    }
    Status(json!({"conditions": conditions}))
}

fn sized(facts: &Facts, hash: &str, size: i64) -> Vec<Plant> {
    let name = facts.versions[hash].name.clone();
    let patch = json!({"spec": {"replicas": size}});
    vec![
        Ours(&kinds::REPLICA_SETS, name.clone(), patch),
        Counted(name, size),
    ]
}

fn selects(part: Part, hash: &str) -> Plant {
    Ours(
        part.kind(),
        part.name(NAMES[0]),
        json!({"spec": {"selector": {HASH: hash}}}),
    )
}

fn weighed(weight: i64) -> Plant {
    let annotations = json!({"nginx.ingress.kubernetes.io/canary-weight": weight.to_string()});
    let patch = json!({"metadata": {"annotations": annotations}});
    Ours(&kinds::INGRESSES, Part::CanaryIngress.name(NAMES[0]), patch)
}

fn recorded(weight: i64) -> Plant {
    Status(json!({"canary": {"weights": {"canary": {"weight": weight}, "stable": {"weight": 100 - weight}}}}))
}

/// Plants it; answers what is said instead of what the controller would say.
fn plant(player: &mut Player<'_>, plants: Vec<Plant>) -> Option<Vec<String>> {
    let facts = player.facts(0)?;
    let world = &mut player.world;
    let mut said = None;
    for plant in plants {
        let revision = world.store().revision();
        let ours = matches!(plant, Status(_) | Ours(..));
        let mut api = world.api(if ours { CONTROLLER } else { "user" });
        match plant {
            Status(patch) => {
                let patch = json!({"status": patch});
                api.merge_status(&kinds::ROLLOUTS, NAMESPACE, NAMES[0], patch)
                    .map(drop)
            }
            Ours(kind, name, patch) | Theirs(kind, name, patch) => {
                api.merge(kind, NAMESPACE, &name, patch).map(drop)
            }
            Counted(name, pods) => {
                let patch =
                    json!({"status": {"replicas": pods, "readyReplicas": pods, "availableReplicas": pods}});
                api.merge_status(&kinds::REPLICA_SETS, NAMESPACE, &name, patch)
                    .map(drop)
            }
            Lost(part) => api.delete(part.kind(), NAMESPACE, &part.name(NAMES[0])),
            Says(words) => {
                said = Some(words(&facts));
                Ok(())
            }
        }
        .expect("invariant: what is planted is there");
        let commits: Vec<_> = world.store().commits_since(revision).cloned().collect();
        let cause = Cause {
            job: Some((0, u64::MAX)),
            known: Arc::new(Known::default()),
            request: "planted".to_owned(),
        };
        for commit in commits {
            world
                .judge
                .commit(&commit, ours.then_some(&cause), &world.dataplane);
        }
    }
    said
}

/// What the rules of rest say of it, and what the invariants do.
fn found(fault: &Fault) -> (Vec<String>, Vec<String>) {
    let story: Story = serde_json::from_str(fault.story).unwrap();
    let mut player = Player::new(&story, false);
    player.play_to_rest();
    assert_eq!(
        player.wrong(0, None),
        Vec::<String>::new(),
        "{}: before it is planted",
        fault.what
    );
    assert!(player.facts(0).is_some(), "{}", fault.what);
    let plants = (fault.plant)(&player.facts(0).unwrap());
    let said = plant(&mut player, plants);
    let judge = &player.world.judge;
    let mut by_invariants: Vec<String> = judge.violations().iter().map(ToString::to_string).collect();
    by_invariants.extend(judge.leftovers(NAMESPACE));
    (player.wrong(0, said), by_invariants)
}

#[test]
fn what_the_invariants_miss_is_found_at_rest() {
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let (by_rest, by_invariants) = found(fault);
        if !by_invariants.is_empty() {
            wrong.push(format!(
                "{}: no planted fault of this table, {by_invariants:?}",
                fault.what
            ));
        }
        if !by_rest
            .iter()
            .any(|what| what.starts_with(&format!("{}:", fault.rule)))
        {
            wrong.push(format!(
                "{}: {} does not find it, only {by_rest:?}",
                fault.what, fault.rule
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(FAULTS.len() >= 20);
}
