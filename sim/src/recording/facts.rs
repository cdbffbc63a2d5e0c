//! What is compared of each object, and the states that follow one another.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Change, Flutter, State, Story, text};

/// What is so: a name for each thing that is compared, and its value.
pub type Facts = BTreeMap<String, String>;

/// Changes of a selector that follow one another this fast are a flutter, when there are [`FLUTTERS`] of them.
const FLUTTER: SignedDuration = SignedDuration::from_millis(500);
/// So many of them.
const FLUTTERS: usize = 6;

const HASH: &str = "rollouts-pod-template-hash";

/// Fields of a Rollout's status.
const OF_STATUS: [&str; 10] = [
    "phase",
    "message",
    "currentStepIndex",
    "currentStepHash",
    "currentPodHash",
    "stableRS",
    "abort",
    "promoteFull",
    "controllerPause",
    "selector",
];
/// Fields of its `canary`.
const OF_CANARY: [&str; 3] = [
    "currentStepAnalysisRunStatus",
    "currentBackgroundAnalysisRunStatus",
    "stablePingPong",
];
/// Fields of its `blueGreen`.
const OF_BLUE_GREEN: [&str; 4] = [
    "activeSelector",
    "previewSelector",
    "prePromotionAnalysisRunStatus",
    "postPromotionAnalysisRunStatus",
];

/// The facts of an object that is reduced as in a recording.
fn facts_of(kind: &str, name: &str, object: &Value) -> Facts {
    let mut facts = Facts::new();
    let status = &object["status"];
    let mut fact = |what: &str, value: &Value| {
        if let Some(value) = plain(value) {
            facts.insert(format!("{kind}/{name} {what}"), shown(&value));
        }
    };
    match kind {
        "Rollout" => {
            for field in OF_STATUS {
                fact(field, &status[field]);
            }
            let reasons: Vec<&Value> = entries(&status["pauseConditions"])
                .map(|pause| &pause["reason"])
                .collect();
            fact("pauseConditions", &json!(reasons));
            fact("weights", &status["canary"]["weights"]);
            for field in OF_CANARY {
                fact(field, &status["canary"][field]);
            }
            for field in OF_BLUE_GREEN {
                fact(field, &status["blueGreen"][field]);
            }
            for condition in entries(&status["conditions"]) {
                let says = ["status", "reason", "message"].map(|field| text(&condition[field]));
                fact(
                    &format!("condition {}", text(&condition["type"])),
                    &json!(says.join(" ")),
                );
            }
            fact("revision", &object["annotations"]["rollout.argoproj.io/revision"]);
        }
        "ReplicaSet" if object["labels"][HASH].is_string() => {
            fact("replicas", &object["replicas"]);
            fact("labels", &object["labels"]);
            fact("revision", &object["annotations"]["rollout.argoproj.io/revision"]);
            let deadline = &object["annotations"]["scale-down-deadline"];
            fact(
                "has a deadline",
                &json!(deadline.as_str().is_some_and(|deadline| !deadline.is_empty())),
            );
        }
        "Service" => {
            fact("selector", &object["selector"]);
            fact("annotations", &object["annotations"]);
        }
        "Ingress" => {
            fact("annotations", &object["annotations"]);
            fact("rules", &object["spec"]["rules"]);
            fact("owners", &object["ownedBy"]);
        }
        "Deployment" => fact("replicas", &object["replicas"]),
        "AnalysisRun" => {
            fact("phase", &status["phase"]);
            fact("message", &status["message"]);
            fact("labels", &object["labels"]);
            fact("annotations", &without_ours(&object["annotations"]));
            fact("owners", &object["ownedBy"]);
            fact("spec", &object["spec"]);
        }
        _ => {}
    }
    facts
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A value without what says nothing: nulls, `false`, empty texts, objects and lists.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(list) => {
            let list: Vec<Value> = list.iter().filter_map(plain).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Object(map) => {
            let map: serde_json::Map<_, _> = map
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), plain(value)?)))
                .collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        _ => Some(value.clone()),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A pod: the hash of its template, and its labels.
type Pod = (String, String);

/// The facts about pods: which labels those of a template have.
fn pod_facts(pods: &BTreeMap<String, Pod>, facts: &mut Facts) {
    facts.retain(|what, _| !what.starts_with("Pods "));
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (hash, of_pod) in pods.values() {
        labels.entry(hash).or_default().insert(of_pod);
    }
    for (hash, labels) in labels {
        let labels: Vec<&str> = labels.into_iter().collect();
        facts.insert(format!("Pods {hash} labels"), labels.join(" and "));
    }
}

/// The states that follow from changes in order, without the events.
pub(super) fn story(mut changes: Vec<Change>, pods_count: bool, end: SignedDuration) -> Story {
    let flutters = settle(&mut changes);
    let mut facts = Facts::new();
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let mut states: Vec<State> = Vec::new();
    // what was before the controller did something depends on when it was started
    let mut begun = false;
    for change in changes {
        if change.kind == "Pod" {
            if !pods_count {
                continue;
            }
            let living = change
                .object
                .filter(|pod| pod["deleting"] != true && pod["labels"][HASH].is_string());
            match living {
                Some(pod) => pods.insert(
                    change.name,
                    (text(&pod["labels"][HASH]), pod["labels"].to_string()),
                ),
                None => pods.remove(&change.name),
            };
            pod_facts(&pods, &mut facts);
        } else {
            let prefix = format!("{}/{} ", change.kind, change.name);
            facts.retain(|what, _| !what.starts_with(&prefix));
            if let Some(object) = &change.object {
                facts.extend(facts_of(&change.kind, &change.name, object));
                let ours = matches!(change.kind.as_str(), "Rollout" | "AnalysisRun");
                begun |= ours && object["status"]["phase"].is_string();
            }
        }
        if !begun {
            continue;
        }
        if let Some(last) = states.last_mut() {
            if last.facts == facts {
                continue;
            }
            last.lasted = change.at - last.at;
            if last.lasted.is_zero() {
                states.pop();
            }
        }
        states.push(State {
            at: change.at,
            lasted: SignedDuration::ZERO,
            facts: facts.clone(),
        });
    }
    if let Some(last) = states.last_mut() {
        // how it ended counts, however late it came
        last.lasted = (end - last.at).max(super::LASTING);
    }
    Story {
        states,
        events: Vec::new(),
        flutters,
    }
}

/// Takes out the changes of a Service's selector that went to and fro; what is left is the first and, if that was not
/// the end of everything, the last. Answers which Services did that, and how often.
fn settle(changes: &mut Vec<Change>) -> Vec<Flutter> {
    let mut runs: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        if change.kind != "Service" || change.object.is_none() {
            continue;
        }
        let runs = runs.entry(change.name.clone()).or_default();
        let near = runs
            .last()
            .and_then(|run| changes.get(*run.last()?))
            .is_some_and(|before| change.at - before.at <= FLUTTER);
        match runs.last_mut() {
            Some(run) if near => run.push(index),
            _ => runs.push(vec![index]),
        }
    }
    let last = changes.last().map_or(SignedDuration::ZERO, |change| change.at);
    let mut gone = BTreeSet::new();
    let mut flutters = Vec::new();
    for (name, runs) in runs {
        for run in runs.into_iter().filter(|run| run.len() >= FLUTTERS) {
            let at = |index: Option<&usize>| {
                index
                    .and_then(|index| changes.get(*index))
                    .map_or(last, |change| change.at)
            };
            flutters.push(Flutter {
                at: at(run.first()),
                name: format!("Service/{name}"),
                times: run.len(),
            });
            let until = at(run.last());
            let kept_at_end = usize::from(last - until > FLUTTER);
            gone.extend(run.iter().skip(1).take(run.len() - 1 - kept_at_end).copied());
        }
    }
    let mut index = 0;
    changes.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    flutters
}

/// Annotations without those that upstream does not have (contract 2.2).
fn without_ours(annotations: &Value) -> Value {
    let mut theirs = annotations.clone();
    if let Some(theirs) = theirs.as_object_mut() {
        theirs.retain(|key, _| !key.starts_with("tidegate.io/"));
    }
    theirs
}
