//! Random stories that upstream's controller played, and the same played with ours: after each act, the state in which
//! everything came to rest.
//!
//! `testdata/stories/README.md` says what is in a story.

mod objects;
mod play;
mod rest;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::play::{Played, play};
pub use self::rest::Rest;

/// A story that cannot be read or played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line that is no story.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// An act that the player does not know.
    #[error("unknown act `{0}`: teach it to the player")]
    Act(String),
    /// An act that was refused.
    #[error("{act} was refused: {answer}")]
    Refused {
        /// The act.
        act: String,
        /// The answer.
        answer: String,
    },
}

/// A story.
#[derive(Clone, Debug, Deserialize)]
pub struct Story {
    /// Its number.
    pub seed: u64,
    replicas: i64,
    strategy: Value,
    /// Further fields of `spec`.
    other: Map<String, Value>,
    /// What was done, in order.
    pub acts: Vec<Turn>,
}

/// What a client did, and what came of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Turn {
    /// A verb and at most one argument.
    act: Vec<Value>,
    /// What was there once nothing had changed for a while.
    rest: Rest,
    /// It had not come to rest: such a state is not compared.
    #[serde(default)]
    restless: bool,
}

impl Turn {
    /// The act in words: `image v2`.
    pub fn says(&self) -> String {
        let word = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        self.act.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// The state that upstream came to; `None` when it did not come to rest.
    pub fn rest(&self) -> Option<&Rest> {
        (!self.restless).then_some(&self.rest)
    }
}

/// Reads stories, one a line.
pub fn read(text: &str) -> Result<Vec<Story>, Error> {
    text.lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|source| Error::Line {
                line: number + 1,
                source,
            })
        })
        .collect()
}

/// In what two states differ: the name of the field, and how it is on either side.
pub fn differences<'a>(theirs: &'a Rest, ours: &'a Rest) -> Vec<(&'a str, &'a Value, &'a Value)> {
    let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    names
        .into_iter()
        .map(|name| {
            let of = |rest: &'a Rest| rest.get(name).unwrap_or(&Value::Null);
            (name.as_str(), of(theirs), of(ours))
        })
        .filter(|(_, theirs, ours)| theirs != ours)
        .collect()
}
