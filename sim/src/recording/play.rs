//! Plays a recording in the simulated cluster: the same objects, the same actions at the same times, pods that become
//! ready when theirs did, and our controller instead of upstream's.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_controller::options::Options;
use tidegate_engine::Settings;

use super::{Change, Error, Event, Made, Recording, Story, facts, is_ours, says, text};
use crate::actors::kubelet::Kubelet;
use crate::actors::{object_of, stamp};
use crate::api::kinds;
use crate::clock::EPOCH;
use crate::store::{Request, Response, Status};
use crate::world::{CONTROLLER, Setup, World};

/// Who acts.
const USER: &str = "user";
/// The last thing that was recorded may come a little later with us.
const AFTER: SignedDuration = SignedDuration::from_secs(1);

/// Plays it, and answers what came of it in the same terms. `log` keeps a line for each thing that happens.
pub fn play(recording: &Recording, settings: Settings, log: bool) -> Result<(Story, Vec<String>), Error> {
    let setup = Setup {
        namespace: format!("rec-{}", recording.name),
        options: Options {
            settings,
            ..Options::default()
        },
        log,
        ..Setup::default()
    };
    let namespace = setup.namespace.clone();
    let mut world = World::with_kubelet(setup, Kubelet::with_ready_times(pods_ready(recording)));
    for (at, action) in actions(recording) {
        world.run_to(EPOCH + at);
        act(&mut world, &namespace, &action)?;
    }
    let end = recording.end() + AFTER;
    world.run_to(EPOCH + end);
    Ok((story(&world, recording.has_pods(), end), world.log().to_vec()))
}

/// What was done, and when. A Rollout is made when upstream's controller first looked at it, which was long after the
/// start in some recordings; and what vanished was deleted.
fn actions(recording: &Recording) -> Vec<(SignedDuration, Value)> {
    let mut actions: Vec<(SignedDuration, Value)> = Vec::new();
    for line in &recording.lines {
        let value = &line.value;
        let is_rollout = value["kind"] == "Rollout";
        if value["action"].is_string() {
            let makes_rollout = value["objects"]
                .as_array()
                .is_some_and(|objects| objects.iter().any(|object| object["kind"] == "Rollout"));
            let at = if makes_rollout {
                first_look(recording).unwrap_or(line.at)
            } else {
                line.at
            };
            actions.push((at, value.clone()));
        } else if is_rollout && value["what"] == "deleted" {
            actions.push((line.at, json!({"action": "delete"})));
        }
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}

/// When the controller first told that it saw the Rollout.
fn first_look(recording: &Recording) -> Option<SignedDuration> {
    let seen = |line: &&super::Line| line.value["reason"] == "RolloutAddedToInformer";
    recording.lines.iter().find(seen).map(|line| line.at)
}

/// By hash: when the pods of a ReplicaSet became ready, in the order in which they came.
fn pods_ready(recording: &Recording) -> BTreeMap<String, VecDeque<Option<Timestamp>>> {
    let mut all: BTreeMap<String, VecDeque<Option<Timestamp>>> = BTreeMap::new();
    // by name: pods wanted and ready at the last look, and which of them are on their way
    let mut sets: BTreeMap<String, (usize, usize, VecDeque<usize>)> = BTreeMap::new();
    for (line, what) in recording.changes() {
        let hash = text(&line.value["labels"]["rollouts-pod-template-hash"]);
        if line.value["kind"] != "ReplicaSet" || hash.is_empty() {
            continue;
        }
        let (wanted, ready, coming) = sets.entry(hash.clone()).or_default();
        if what == "deleted" {
            (*wanted, *ready) = (0, 0);
            coming.clear();
            continue;
        }
        let number = |value: &Value| usize::try_from(value.as_i64().unwrap_or(0)).unwrap_or(0);
        let (wants, has) = (
            number(&line.value["replicas"]),
            number(&line.value["status"]["readyReplicas"]),
        );
        let pods = all.entry(hash).or_default();
        for _ in *wanted..wants {
            coming.push_back(pods.len());
            pods.push_back(None);
        }
        for _ in *ready..has {
            // one that was replaced is not seen as wanted again
            let place = coming.pop_front().unwrap_or_else(|| {
                pods.push_back(None);
                pods.len() - 1
            });
            if let Some(pod) = pods.get_mut(place) {
                *pod = Some(EPOCH + line.at);
            }
        }
        // those not ready go first
        coming.truncate(wants.saturating_sub(has));
        (*wanted, *ready) = (wants, has);
    }
    all
}

/// Creates a Rollout, which is answered as it was in the recording.
fn created_as_recorded(world: &mut World, namespace: &str, action: &Value) -> Result<(), Error> {
    let answer = create(world, namespace, rollout_of(action));
    let code = answer
        .as_ref()
        .map_or_else(|status| i64::from(status.code()), |_| 201);
    let message = answer.map_or_else(|status| json!(status.message), |_| Value::Null);
    if action["answer"] != code || action["message"] != message {
        return Err(Error::Refused {
            action: action.to_string(),
            answer: format!("{code} {message}"),
        });
    }
    Ok(())
}

/// The scale of the Rollout is the one in the recording.
fn scale_as_recorded(world: &mut World, namespace: &str, action: &Value) -> Result<(), Error> {
    let mut api = world.api(USER);
    let scale = api
        .get_scale(&kinds::ROLLOUTS, namespace, "web")
        .unwrap_or_default();
    for part in ["spec", "status"] {
        if scale[part] != action["answer"][part] {
            return Err(Error::Refused {
                action: text(&action["action"]),
                answer: scale.to_string(),
            });
        }
    }
    Ok(())
}

fn act(world: &mut World, namespace: &str, action: &Value) -> Result<(), Error> {
    let name = text(&action["action"]);
    let now = stamp(world.now());
    let mut api = world.api(USER);
    let answer = match name.split(' ').collect::<Vec<_>>()[..] {
        ["create"] if action["objects"].is_array() => {
            for object in action["objects"].as_array().into_iter().flatten() {
                create(world, namespace, complete(object)).map_err(|status| refused(&name, &status))?;
            }
            return Ok(());
        }
        ["create"] => return created_as_recorded(world, namespace, action),
        ["invalid:", ..] => return Ok(()),
        ["delete"] => api.delete(&kinds::ROLLOUTS, namespace, "web"),
        ["patch", "spec"] => {
            let mut ops = action["ops"].clone();
            for op in ops
                .as_array_mut()
                .into_iter()
                .flatten()
                .filter(|op| op["path"] == "/spec/restartAt")
            {
                op["value"] = now.clone().into();
            }
            api.json_patch(&kinds::ROLLOUTS, namespace, "web", ops).map(drop)
        }
        ["patch", "status"] => api
            .merge_status(&kinds::ROLLOUTS, namespace, "web", action["body"].clone())
            .map(drop),
        ["patch", plural, object] => {
            let kind = if plural == "deployments" {
                &kinds::DEPLOYMENTS
            } else {
                &kinds::ANALYSIS_RUNS
            };
            let body = action["body"].clone();
            if body.is_array() {
                api.json_patch(kind, namespace, object, body).map(drop)
            } else {
                api.merge(kind, namespace, object, body).map(drop)
            }
        }
        ["get", "scale"] => return scale_as_recorded(world, namespace, action),
        ["scale", "to", replicas, "through", "/scale"] => {
            let replicas = replicas.parse().map_err(|_| Error::Action(name.clone()))?;
            api.set_scale(&kinds::ROLLOUTS, namespace, "web", replicas)
        }
        _ => return Err(Error::Action(name)),
    };
    answer.map_err(|status| refused(&name, &status))
}

fn refused(action: &str, status: &Status) -> Error {
    Error::Refused {
        action: action.to_owned(),
        answer: status.message.clone(),
    }
}

fn create(world: &mut World, namespace: &str, object: Value) -> Result<Response, Status> {
    let found = world
        .store()
        .registry()
        .by_kind(&text(&object["apiVersion"]), &text(&object["kind"]))
        .cloned();
    let resource = found.ok_or_else(|| Status::bad_request(format!("no kind {}", object["kind"])))?;
    world
        .api(USER)
        .send(Request::create(&resource, namespace, object))
}

/// The recorder left the kinds out of what it made through typed clients.
fn complete(object: &Value) -> Value {
    let mut object = object.clone();
    if object["kind"].is_null() {
        let (version, kind) = if object["spec"]["rules"].is_array() {
            ("networking.k8s.io/v1", "Ingress")
        } else if object["spec"]["template"].is_object() {
            ("apps/v1", "Deployment")
        } else {
            ("v1", "Service")
        };
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
    }
    object
}

/// The Rollout of a recording of invalid ones, where only what is special was written down.
fn rollout_of(action: &Value) -> Value {
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "web",
                        "image": "nginx:1.19-alpine",
                        "env": [{"name": "V", "value": "v1"}],
                        "command": ["sh", "-c", "echo $V > /www/index.html; exec httpd -f -p 80 -h /www"],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
                    }],
                },
            },
            "strategy": {"canary": {}},
        },
    });
    if action["strategy"].is_object() {
        rollout["spec"]["strategy"] = action["strategy"].clone();
    }
    for (field, value) in action["spec"].as_object().into_iter().flatten() {
        rollout["spec"][field] = value.clone();
    }
    rollout
}

/// What happened in the world, in the terms of a recording.
fn story(world: &World, pods: bool, end: SignedDuration) -> Story {
    let mut changes = Vec::new();
    let mut events = Vec::new();
    let mut made = Made::default();
    for commit in world.store().commits_since(0) {
        let at = commit.at.duration_since(EPOCH);
        let object = object_of(commit);
        if commit.resource.kind == "Event" && commit.user == CONTROLLER {
            let involved = &object["involvedObject"];
            let about = format!("{}/{}", text(&involved["kind"]), text(&involved["name"]));
            if is_ours(&about) {
                events.push(Event {
                    at,
                    about: made.name(about),
                    level: text(&object["type"]),
                    says: says(object),
                });
            }
        } else {
            made.note(&commit.resource.kind, &commit.name, commit.before.is_none());
            changes.push(Change {
                at,
                kind: commit.resource.kind.clone(),
                name: commit.name.clone(),
                object: commit.after.as_deref().map(reduced),
            });
        }
    }
    Story {
        events,
        ..facts::story(changes, pods, end)
    }
}

/// An object as a recording has it.
fn reduced(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let owners: Vec<&Value> = metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|owner| &owner["kind"])
        .collect();
    json!({
        "labels": metadata["labels"],
        "annotations": metadata["annotations"],
        "deleting": metadata["deletionTimestamp"].is_string(),
        "replicas": object["spec"]["replicas"],
        "selector": object["spec"]["selector"],
        "spec": object["spec"],
        "status": object["status"],
        "ownedBy": owners,
    })
}
