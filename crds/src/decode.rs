//! Reading objects that are not what they should be (contract 2.1, F3).
//!
//! A cluster stores what its CRDs allow, which may be more, or older, than these types. One bad field of one
//! tenant must not lose the object, so it is read as if the field were absent.

use serde::Deserialize as _;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::{
    AnalysisRun, AnalysisRunStatus, AnalysisTemplate, ClusterAnalysisTemplate, Delivery, DeliveryStatus,
    Experiment, Rollout, RolloutStatus,
};

/// Bad fields that are dropped one by one. In an object with more of them, what else is bad goes by the whole
/// `spec`, `status` or field of `metadata`.
const MAX_DROPPED: usize = 64;

/// Longest text of a path and of a message, in characters. Both may quote what a tenant wrote.
const MAX_TEXT: usize = 200;

/// A field that could not be read, and is read as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Where it is, such as `spec.strategy.canary.steps`; empty for the whole object.
    pub path: String,
    /// What is wrong with it. May quote the field.
    pub message: String,
}

/// What [`tolerant`] reads. All code for it is compiled here, once, and not again in each crate that uses it.
pub trait Decode: Default {
    /// Reads it; `None` if a field is bad.
    fn decode(value: &Value) -> Option<Self>;
    /// Reads it, or says which field is bad.
    ///
    /// # Errors
    /// The first field that cannot be read, and why.
    fn decode_and_locate(value: &Value) -> Result<Self, serde_path_to_error::Error<serde_json::Error>>;
}

/// What is written as JSON, with the code for it compiled here, too.
pub trait Encode {
    /// As JSON.
    fn encode(&self) -> Value;
}

macro_rules! decoded {
    ($($kind:ty),*) => {$(
        impl Decode for $kind {
            #[inline(never)]
            fn decode(value: &Value) -> Option<Self> {
                Self::deserialize(value).ok()
            }

            #[inline(never)]
            fn decode_and_locate(
                value: &Value,
            ) -> Result<Self, serde_path_to_error::Error<serde_json::Error>> {
                serde_path_to_error::deserialize(value)
            }
        }
    )*};
}

macro_rules! encoded {
    ($($kind:ty),*) => {$(
        impl Encode for $kind {
            #[inline(never)]
            fn encode(&self) -> Value {
                serde_json::to_value(self).unwrap_or_default()
            }
        }
    )*};
}

decoded!(
    Rollout,
    AnalysisRun,
    AnalysisTemplate,
    ClusterAnalysisTemplate,
    Experiment,
    Delivery
);
encoded!(AnalysisRun, RolloutStatus, AnalysisRunStatus, DeliveryStatus);

/// Reads an object without its bad fields, and says which ones those are.
///
/// The innermost field is dropped, and only that; a list goes as a whole when one of its elements cannot be read
/// at all, for a list without an element would mean something else. `null` is read as absent without further
/// words, as Go does. What is no object at all is read as an empty one.
pub fn tolerant<T: Decode>(mut value: Value) -> (T, Vec<Dropped>) {
    let mut dropped = Vec::new();
    // Most objects are well, and to know where one is not costs time.
    if let Some(object) = T::decode(&value) {
        return (object, dropped);
    }
    for round in 0.. {
        let error = match T::decode_and_locate(&value) {
            Ok(object) => return (object, dropped),
            Err(error) => error,
        };
        let path = field(error.path(), round >= MAX_DROPPED);
        // Each round takes a field out, so that this ends.
        let removed = remove(&mut value, &path);
        if !removed.as_ref().is_some_and(Value::is_null) {
            let path = path
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(".")
                .replace(".[", "[");
            dropped.push(Dropped {
                path: short(&path),
                message: short(&error.inner().to_string()),
            });
        }
        if removed.is_none() {
            break;
        }
    }
    (T::default(), dropped)
}

/// The path of the field to drop: the innermost one, or a great part of the object. Empty for the whole object.
fn field(path: &Path, coarse: bool) -> Vec<&Segment> {
    let mut segments: Vec<&Segment> = path.iter().collect();
    let is_key = |segment: &&Segment| matches!(segment, Segment::Map { .. });
    segments.truncate(segments.iter().rposition(is_key).map_or(0, |last| last + 1));
    if coarse {
        // The name of an object is the last thing to lose.
        let of_metadata = matches!(segments.first(), Some(Segment::Map { key }) if key == "metadata");
        segments.truncate(if of_metadata { 2 } else { 1 });
    }
    segments
}

/// Takes a field out. Answers what was there; `None` if there is no such field.
fn remove(value: &mut Value, path: &[&Segment]) -> Option<Value> {
    let (Segment::Map { key }, parents) = path.split_last()? else {
        return None;
    };
    let parent = parents.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        _ => None,
    })?;
    parent.as_object_mut()?.remove(key)
}

/// The start of a text.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::CanaryStep;

    /// A Rollout of 3 pods with two steps, and the given changes at JSON pointers.
    fn rollout(changes: &[(&str, Value)]) -> Value {
        let mut rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": { "name": "web", "labels": { "team": "a" } },
            "spec": {
                "replicas": 3,
                "minReadySeconds": 1,
                "paused": false,
                "strategy": { "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }] } },
                "template": { "spec": { "containers": [{ "name": "web", "resources": {} }] } },
            },
            "status": { "phase": "Healthy", "replicas": 3 },
        });
        for (pointer, value) in changes {
            *rollout.pointer_mut(pointer).unwrap() = value.clone();
        }
        rollout
    }

    fn paths(value: Value) -> (Rollout, Vec<String>) {
        let (rollout, dropped) = tolerant(value);
        (rollout, dropped.into_iter().map(|dropped| dropped.path).collect())
    }

    /// Contract 2.1: upstream's own tests have `memory: invalid`, and the Rollout becomes healthy.
    #[test]
    fn bad_quantities_stay_in_the_template() {
        let resources = "/spec/template/spec/containers/0/resources";
        let before = rollout(&[(resources, json!({ "limits": { "memory": "invalid", "cpu": 7 } }))]);
        let (after, dropped) = paths(before.clone());
        assert_eq!(
            (after.spec.template.as_ref(), dropped),
            (Some(&before["spec"]["template"]), vec![])
        );
    }

    #[test]
    fn each_bad_field_goes_alone() {
        let good: Rollout = tolerant(rollout(&[])).0;
        let (read, dropped) = paths(rollout(&[
            ("/spec/replicas", json!("three")),
            ("/spec/minReadySeconds", json!(3_000_000_000_u64)),
            ("/spec/paused", json!({})),
            ("/metadata/labels/team", json!(7)),
            ("/status/replicas", json!([1])),
        ]));
        let mut expected = good;
        expected.spec.replicas = None;
        expected.spec.min_ready_seconds = None;
        expected.spec.paused = None;
        expected.metadata.labels.clear();
        expected.status.replicas = None;
        assert_eq!(read, expected);
        assert_eq!(
            dropped,
            [
                "metadata.labels.team",
                "spec.minReadySeconds",
                "spec.paused",
                "spec.replicas",
                "status.replicas"
            ]
        );
    }

    /// A step without its weight is an empty step, which validation rejects; without the list it would be a rolling
    /// update.
    #[test]
    fn a_bad_field_of_an_element_leaves_the_element() {
        let (read, dropped) = paths(rollout(&[(
            "/spec/strategy/canary/steps/0/setWeight",
            json!("20"),
        )]));
        let steps = read.spec.strategy.unwrap().canary.unwrap().steps;
        assert_eq!(steps.first(), Some(&CanaryStep::default()));
        assert_eq!(
            (steps.len(), dropped),
            (2, vec!["spec.strategy.canary.steps[0].setWeight".to_owned()])
        );
    }

    #[test]
    fn a_bad_element_takes_its_list_along() {
        let (read, dropped) = paths(rollout(&[("/spec/strategy/canary/steps/1", json!("pause"))]));
        assert_eq!(read.spec.strategy.unwrap().canary.unwrap().steps, []);
        assert_eq!(dropped, ["spec.strategy.canary.steps"]);
    }

    #[test]
    fn messages_say_what_is_wrong() {
        let (_, dropped) = tolerant::<Rollout>(rollout(&[("/spec/replicas", json!("three"))]));
        let message = "invalid type: string \"three\", expected i32".to_owned();
        assert_eq!(
            dropped,
            [Dropped {
                path: "spec.replicas".to_owned(),
                message
            }]
        );
    }

    #[test]
    fn null_is_absent_and_missing_is_zero() {
        let nulls = [
            ("/spec/replicas", Value::Null),
            ("/spec/strategy/canary/steps", Value::Null),
        ];
        let (read, dropped) = paths(rollout(&nulls));
        assert_eq!(
            (
                read.spec.replicas,
                read.spec.strategy.unwrap().canary.unwrap().steps,
                dropped
            ),
            (None, vec![], vec![])
        );
        let template = json!({ "spec": { "metrics": [{ "provider": null, "interval": "5m" }] } });
        let (read, dropped) = tolerant::<AnalysisTemplate>(template);
        assert_eq!(
            read.spec.metrics.first().map(|metric| metric.name.as_str()),
            Some("")
        );
        assert_eq!((read.kind.as_str(), dropped), ("AnalysisTemplate", vec![]));
    }

    #[test]
    fn what_is_no_object_at_all_is_an_empty_one() {
        for value in [json!([1]), json!("web"), Value::Null] {
            let (read, dropped) = tolerant::<Rollout>(value);
            assert_eq!((read, dropped.len()), (Rollout::default(), 1));
        }
    }

    #[test]
    fn of_many_bad_fields_the_rest_goes_at_once() {
        let labels: Value = (0..200)
            .map(|n| (format!("l{n}"), json!(n)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let (read, dropped) = paths(rollout(&[
            ("/metadata/labels", labels),
            ("/spec/replicas", json!("x")),
        ]));
        assert_eq!(
            (read.metadata.name.as_str(), read.metadata.labels.len()),
            ("web", 0)
        );
        assert_eq!(dropped.len(), MAX_DROPPED + 2);
        assert_eq!(
            dropped.get(MAX_DROPPED..),
            Some(&["metadata.labels".to_owned(), "spec".to_owned()][..])
        );
    }

    #[test]
    fn messages_are_short() {
        let (_, dropped) = tolerant::<Rollout>(rollout(&[("/spec/replicas", json!("x".repeat(1 << 20)))]));
        assert_eq!(
            dropped.first().map(|dropped| dropped.message.len()),
            Some(MAX_TEXT)
        );
    }
}
