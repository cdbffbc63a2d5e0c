//! What the verbs write: from the object to the exact patches that upstream's plugin sends (contract 2.9).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_crds::labels::{
    EPHEMERAL_METADATA_ANNOTATION, POD_TEMPLATE_HASH_LABEL, REVISION_ANNOTATION, revision,
};
use tidegate_crds::template::{EphemeralMetadata, template_digest};
use tidegate_crds::{AnalysisPhase, Rollout};

use crate::canary;

/// Which part of the object a merge patch is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Patch {
    /// The object itself.
    Spec(Value),
    /// The status: sent to `/status`, and to the object itself where that does not exist.
    Status(Value),
}

/// How far to promote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    /// Ends the pause, or the step.
    Next,
    /// Skips all that is left.
    Full,
    /// Deprecated: ends the step.
    SkipStep,
    /// Deprecated: ends all steps.
    SkipSteps,
}

/// Why a verb makes no sense for an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("Cannot skip steps of a bluegreen rollout. Run without a flags")]
    BlueGreenHasNoSteps,
    #[error("Cannot skip steps of a rollout without steps")]
    NoSteps,
    #[error("unable to find specified revision {0} in history")]
    NoSuchRevision(i64),
    #[error("no revision found for rollout {0:?}")]
    NoPreviousRevision(String),
    #[error("unable to find container named {0:?}")]
    NoSuchContainer(String),
}

/// The patches that promote a Rollout, in order. Unpausing comes first: a paused Rollout does not act on the rest.
pub(crate) fn promote(rollout: &Rollout, how: Promotion) -> Result<Vec<Patch>, Refused> {
    let next = canary::position(rollout).map(|(index, steps)| if index < steps { index + 1 } else { index });
    let status = &rollout.status;
    let paused = !status.pause_conditions.is_empty();
    let status_patch = match (how, canary::position(rollout)) {
        (Promotion::SkipStep | Promotion::SkipSteps, None) => {
            let canary = canary::strategy(rollout).is_some();
            return Err(if canary {
                Refused::NoSteps
            } else {
                Refused::BlueGreenHasNoSteps
            });
        }
        (Promotion::SkipStep, Some(_)) => Some(json!({ "currentStepIndex": next })),
        (Promotion::SkipSteps, Some((_, steps))) => Some(json!({ "currentStepIndex": steps })),
        (Promotion::Full, _) => {
            (status.current_pod_hash != status.stable_rs).then(|| json!({ "promoteFull": true }))
        }
        (Promotion::Next, Some(_))
            if inconclusive(rollout) && paused && status.controller_pause == Some(true) =>
        {
            Some(json!({ "pauseConditions": null, "controllerPause": false, "currentStepIndex": next }))
        }
        (Promotion::Next, _) if paused => Some(json!({ "pauseConditions": null })),
        (Promotion::Next, Some(_)) => Some(json!({ "pauseConditions": null, "currentStepIndex": next })),
        (Promotion::Next, None) => None,
    };
    let unpauses = matches!(how, Promotion::Next | Promotion::Full) && rollout.spec.paused == Some(true);
    let spec = unpauses.then(|| Patch::Spec(json!({ "spec": { "paused": false } })));
    let status = status_patch.map(|status| Patch::Status(json!({ "status": status })));
    Ok(spec.into_iter().chain(status).collect())
}

fn inconclusive(rollout: &Rollout) -> bool {
    let canary = rollout.status.canary.as_ref();
    let run = canary.and_then(|canary| canary.current_step_analysis_run_status.as_ref());
    run.is_some_and(|run| run.status == AnalysisPhase::Inconclusive)
}

pub(crate) fn abort() -> Patch {
    Patch::Status(json!({ "status": { "abort": true } }))
}

pub(crate) fn retry() -> Patch {
    Patch::Status(json!({ "status": { "abort": false } }))
}

/// Experiments have no status subresource.
pub(crate) fn retry_experiment() -> Patch {
    Patch::Spec(json!({ "status": null }))
}

pub(crate) fn pause() -> Patch {
    Patch::Spec(json!({ "spec": { "paused": true } }))
}

pub(crate) fn restart(at: tidegate_crds::Time) -> Patch {
    Patch::Spec(json!({ "spec": { "restartAt": at } }))
}

pub(crate) fn terminate() -> Patch {
    Patch::Spec(json!({ "spec": { "terminate": true } }))
}

/// Going back to an earlier revision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Undo {
    /// The revision.
    pub(crate) revision: i64,
    /// The JSON patch; `None` when the template in force is that of the revision already.
    pub(crate) patch: Option<Value>,
}

/// Goes back to `revision`, or to the one before the newest when that is 0.
///
/// `replica_sets` are those of the Rollout, `template` is the pod template in force, and `path` is where it stands in the
/// object that is patched. What a controller put into the template (hash label, labels and annotations of canary and
/// stable pods) stays out of it.
pub(crate) fn undo(
    name: &str,
    replica_sets: &[Value],
    revision: i64,
    template: &Value,
    path: &str,
) -> Result<Undo, Refused> {
    let mut numbered: Vec<(i64, &Value)> = replica_sets
        .iter()
        .filter_map(|object| Some((revision_of(object)?, object)))
        .collect();
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let (revision, object) = if revision == 0 {
        *numbered
            .get(1)
            .ok_or_else(|| Refused::NoPreviousRevision(name.to_owned()))?
    } else {
        let wanted = numbered.into_iter().find(|(number, _)| *number == revision);
        wanted.ok_or(Refused::NoSuchRevision(revision))?
    };
    let ephemeral = ephemeral_metadata(object);
    let mut target = object.pointer("/spec/template").cloned().unwrap_or_default();
    if template_digest(&target, ephemeral.as_ref()) == template_digest(template, None) {
        return Ok(Undo {
            revision,
            patch: None,
        });
    }
    let ephemeral = ephemeral.unwrap_or_default();
    let hash = std::iter::once(POD_TEMPLATE_HASH_LABEL);
    remove_keys(
        &mut target,
        "labels",
        &hash.chain(ephemeral.labels.keys().map(String::as_str)).collect(),
    );
    remove_keys(
        &mut target,
        "annotations",
        &ephemeral.annotations.keys().map(String::as_str).collect(),
    );
    Ok(Undo {
        revision,
        patch: Some(json!([{ "op": "replace", "path": path, "value": target }])),
    })
}

/// A ReplicaSet without the annotation counts as revision 0; one whose annotation is no number is none.
fn revision_of(replica_set: &Value) -> Option<i64> {
    match annotation(replica_set, REVISION_ANNOTATION) {
        Some(text) => revision(text),
        None => Some(0),
    }
}

fn ephemeral_metadata(replica_set: &Value) -> Option<EphemeralMetadata> {
    serde_json::from_str(annotation(replica_set, EPHEMERAL_METADATA_ANNOTATION)?).ok()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

fn remove_keys(template: &mut Value, field: &str, keys: &BTreeSet<&str>) {
    let map = template
        .pointer_mut(&format!("/metadata/{field}"))
        .and_then(Value::as_object_mut);
    if let Some(map) = map {
        map.retain(|key, _| !keys.contains(key.as_str()));
    }
}

/// Sets images of containers in the pod template of `object`; `*` is every container.
pub(crate) fn set_images(object: &mut Value, images: &[(String, String)]) -> Result<(), Refused> {
    for (container, image) in images {
        let mut found = false;
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            let pointer = format!("/spec/template/spec/{list}");
            let containers = object.pointer_mut(&pointer).and_then(Value::as_array_mut);
            for entry in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                let name = entry.get("name").and_then(Value::as_str);
                if container == "*" || name == Some(container.as_str()) {
                    entry.insert("image".to_owned(), Value::String(image.clone()));
                    found = true;
                }
            }
        }
        if !found {
            return Err(Refused::NoSuchContainer(container.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(spec: &Value, status: &Value) -> Rollout {
        serde_json::from_value(json!({ "spec": spec, "status": status })).unwrap()
    }

    fn canary(steps: usize, extra: &Value) -> Value {
        let steps = vec![json!({ "setWeight": 10 }); steps];
        let mut spec = json!({ "strategy": { "canary": { "steps": steps } } });
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    fn status(patch: &Value) -> Patch {
        Patch::Status(json!({ "status": patch }))
    }

    fn unpause() -> Patch {
        Patch::Spec(json!({"spec": {"paused": false}}))
    }

    /// A row of contract 2.9: spec, status, what is asked for, and what is written.
    type Row = (Value, Value, Promotion, Result<Vec<Patch>, Refused>);

    fn are_patched_as(rows: impl IntoIterator<Item = Row>) {
        for (spec, state, how, expected) in rows {
            assert_eq!(
                promote(&rollout(&spec, &state), how),
                expected,
                "{spec} {state} {how:?}"
            );
        }
    }

    #[test]
    fn promotions_of_a_pause() {
        let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]);
        let inconclusive = json!({"currentStepAnalysisRunStatus": {"name": "r", "status": "Inconclusive"}});
        let none = json!({});
        are_patched_as([
            (
                canary(3, &none),
                json!({"currentStepIndex": 1, "pauseConditions": pause, "controllerPause": true}),
                Promotion::Next,
                Ok(vec![status(&json!({"pauseConditions": null}))]),
            ),
            (
                canary(3, &none),
                json!({
                    "currentStepIndex": 1, "pauseConditions": pause, "controllerPause": true, "canary": inconclusive,
                }),
                Promotion::Next,
                Ok(vec![status(
                    &json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": 2}),
                )]),
            ),
            (
                canary(3, &none),
                json!({"currentStepIndex": 1, "pauseConditions": pause, "canary": inconclusive}),
                Promotion::Next,
                Ok(vec![status(&json!({"pauseConditions": null}))]),
            ),
        ]);
    }

    #[test]
    fn promotions_of_a_canary_to_its_next_step() {
        let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]);
        let none = json!({});
        are_patched_as([
            (
                canary(3, &none),
                json!({"currentStepIndex": 1}),
                Promotion::Next,
                Ok(vec![status(
                    &json!({"pauseConditions": null, "currentStepIndex": 2}),
                )]),
            ),
            (
                canary(3, &none),
                json!({}),
                Promotion::Next,
                Ok(vec![status(
                    &json!({"pauseConditions": null, "currentStepIndex": 1}),
                )]),
            ),
            (
                canary(3, &none),
                json!({"currentStepIndex": 3}),
                Promotion::Next,
                Ok(vec![status(
                    &json!({"pauseConditions": null, "currentStepIndex": 3}),
                )]),
            ),
            (
                canary(3, &json!({"paused": true})),
                json!({"currentStepIndex": 0, "pauseConditions": pause}),
                Promotion::Next,
                Ok(vec![unpause(), status(&json!({"pauseConditions": null}))]),
            ),
            (
                canary(0, &json!({"paused": true})),
                json!({}),
                Promotion::Next,
                Ok(vec![unpause()]),
            ),
            (canary(0, &none), json!({}), Promotion::Next, Ok(vec![])),
        ]);
    }

    #[test]
    fn promotions_of_blue_green_and_full_ones() {
        let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]);
        let blue_green = json!({"strategy": {"blueGreen": {"activeService": "a"}}});
        let none = json!({});
        are_patched_as([
            (blue_green.clone(), json!({}), Promotion::Next, Ok(vec![])),
            (
                blue_green.clone(),
                json!({"pauseConditions": pause}),
                Promotion::Next,
                Ok(vec![status(&json!({"pauseConditions": null}))]),
            ),
            (
                canary(3, &json!({"paused": true})),
                json!({"currentPodHash": "b", "stableRS": "a"}),
                Promotion::Full,
                Ok(vec![unpause(), status(&json!({"promoteFull": true}))]),
            ),
            (
                blue_green.clone(),
                json!({"currentPodHash": "b", "stableRS": "a"}),
                Promotion::Full,
                Ok(vec![status(&json!({"promoteFull": true}))]),
            ),
            (
                canary(3, &none),
                json!({"currentPodHash": "a", "stableRS": "a"}),
                Promotion::Full,
                Ok(vec![]),
            ),
        ]);
    }

    #[test]
    fn promotions_that_skip_steps() {
        let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]);
        let blue_green = json!({"strategy": {"blueGreen": {"activeService": "a"}}});
        let none = json!({});
        are_patched_as([
            (
                canary(3, &none),
                json!({"currentStepIndex": 1, "pauseConditions": pause}),
                Promotion::SkipStep,
                Ok(vec![status(&json!({"currentStepIndex": 2}))]),
            ),
            (
                canary(3, &none),
                json!({"currentStepIndex": 1}),
                Promotion::SkipSteps,
                Ok(vec![status(&json!({"currentStepIndex": 3}))]),
            ),
            (
                canary(0, &none),
                json!({}),
                Promotion::SkipStep,
                Err(Refused::NoSteps),
            ),
            (
                blue_green,
                json!({}),
                Promotion::SkipSteps,
                Err(Refused::BlueGreenHasNoSteps),
            ),
        ]);
    }

    #[test]
    fn the_plain_ones() {
        let at: tidegate_crds::Time = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(abort(), status(&json!({"abort": true})));
        assert_eq!(retry(), status(&json!({"abort": false})));
        assert_eq!(retry_experiment(), Patch::Spec(json!({"status": null})));
        assert_eq!(pause(), Patch::Spec(json!({"spec": {"paused": true}})));
        assert_eq!(
            restart(at),
            Patch::Spec(json!({"spec": {"restartAt": "2026-11-21T10:00:00Z"}}))
        );
        assert_eq!(terminate(), Patch::Spec(json!({"spec": {"terminate": true}})));
    }

    fn template(image: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        })
    }

    fn replica_set(revision: &str, image: &str) -> Value {
        let mut template = template(image);
        template["metadata"]["labels"][POD_TEMPLATE_HASH_LABEL] = json!("abc");
        template["metadata"]["labels"]["role"] = json!("stable");
        json!({
            "metadata": {"annotations": {
                REVISION_ANNOTATION: revision,
                EPHEMERAL_METADATA_ANNOTATION: r#"{"labels":{"role":"stable"}}"#,
            }},
            "spec": {"template": template},
        })
    }

    #[test]
    fn undo_puts_an_earlier_template_back() {
        let sets = [
            replica_set("2", "web:2"),
            replica_set("7", "web:7"),
            replica_set("5", "web:5"),
        ];
        let go = |revision| undo("web", &sets, revision, &template("web:7"), "/spec/template");
        let patch =
            |image| Some(json!([{"op": "replace", "path": "/spec/template", "value": template(image)}]));
        assert_eq!(
            go(0),
            Ok(Undo {
                revision: 5,
                patch: patch("web:5")
            })
        );
        assert_eq!(
            go(2),
            Ok(Undo {
                revision: 2,
                patch: patch("web:2")
            })
        );
        assert_eq!(
            go(7),
            Ok(Undo {
                revision: 7,
                patch: None
            })
        );
        assert_eq!(go(3), Err(Refused::NoSuchRevision(3)));
        let alone = undo("web", &sets[..1], 0, &template("web:2"), "/spec/template");
        assert_eq!(alone, Err(Refused::NoPreviousRevision("web".to_owned())));
    }

    #[test]
    fn images() {
        let before = json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "setup", "image": "setup:1"}],
            "containers": [{"name": "web", "image": "web:1", "args": ["x"]}, {"name": "log", "image": "log:1"}],
        }}}});
        let set = |images: &[(&str, &str)]| {
            let mut object = before.clone();
            let images: Vec<_> = images
                .iter()
                .map(|(c, i)| ((*c).to_owned(), (*i).to_owned()))
                .collect();
            set_images(&mut object, &images).map(|()| object["spec"]["template"]["spec"].take())
        };
        assert_eq!(
            set(&[("web", "r/web@sha256:0a"), ("setup", "setup:2")]),
            Ok(json!({
                "initContainers": [{"name": "setup", "image": "setup:2"}],
                "containers": [
                    {"name": "web", "image": "r/web@sha256:0a", "args": ["x"]},
                    {"name": "log", "image": "log:1"},
                ],
            }))
        );
        assert_eq!(
            set(&[("*", "x:1")]),
            Ok(json!({
                "initContainers": [{"name": "setup", "image": "x:1"}],
                "containers": [{"name": "web", "image": "x:1", "args": ["x"]}, {"name": "log", "image": "x:1"}],
            }))
        );
        assert_eq!(
            set(&[("nope", "x:1")]),
            Err(Refused::NoSuchContainer("nope".to_owned()))
        );
    }
}
