//! Reading objects that are not what they should be (contract 2.1, F3).
//!
//! A cluster stores what its CRDs allow, which may be more, or older, than these types. One bad field of one
//! tenant must not lose the object, so it is read as if the field were absent.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Bad fields that are dropped one by one. An object with more of them is read as an empty one.
const MAX_DROPPED: usize = 64;

/// A field that could not be read, and is read as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Where it is, such as `spec.strategy.canary.steps`.
    pub path: String,
    /// What is wrong with it. May quote the field.
    pub message: String,
}

/// Reads an object without its bad fields, and says which ones those are.
///
/// The innermost field is dropped, and only that; a list goes as a whole when one of its elements cannot be read
/// at all, for a list without an element would mean something else. `null` is read as absent without further
/// words, as Go does. Of more than 64 bad fields nothing is worth keeping: the object comes back empty.
pub fn tolerant<T: DeserializeOwned + Default>(mut value: Value) -> (T, Vec<Dropped>) {
    let mut dropped = Vec::new();
    for _ in 0..MAX_DROPPED {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(object) => return (object, dropped),
            Err(error) => error,
        };
        let (path, removed) = remove(&mut value, error.path());
        if !removed.as_ref().is_some_and(Value::is_null) {
            dropped.push(Dropped {
                path,
                message: error.inner().to_string(),
            });
        }
        if removed.is_none() {
            break;
        }
    }
    (T::default(), dropped)
}

/// Takes the field at the end of the path out, or the list that the path ends in. Answers its path, and what was
/// there; `None` if the object as a whole is bad.
fn remove(value: &mut Value, path: &Path) -> (String, Option<Value>) {
    let segments: Vec<&Segment> = path.iter().collect();
    let length = segments
        .iter()
        .rposition(|segment| matches!(segment, Segment::Map { .. }))
        .map_or(0, |last| last + 1);
    let (Some((Segment::Map { key }, parents)), Some(kept)) = (
        segments.get(..length).and_then(|kept| kept.split_last()),
        segments.get(..length),
    ) else {
        return (String::new(), None);
    };
    let written = kept
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(".")
        .replace(".[", "[");
    let parent = parents.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(index),
        _ => None,
    });
    (
        written,
        parent
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(key)),
    )
}
