//! What upstream's controller did on a real cluster, change by change, and the same played with ours.
//!
//! `testdata/recordings/README.md` says what is in a recording and what is compared: the sequence of states that
//! lasted, of everything that the controller writes at once, and the events.

mod compare;
mod facts;
mod play;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Value;

pub use self::compare::{Difference, differences};
pub use self::facts::Facts;
pub use self::play::play;

/// A state that lasted less is one of upstream's own extra passes.
pub const LASTING: SignedDuration = SignedDuration::from_millis(600);

/// A recording that cannot be read or played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line that is no JSON.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// An action that the player does not know.
    #[error("unknown action `{0}`: teach it to the player")]
    Action(String),
    /// An action that was refused here and not there, or with other words.
    #[error("{action} was answered with `{answer}`")]
    Refused {
        /// The action.
        action: String,
        /// The answer.
        answer: String,
    },
}

/// A recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name, which is that of the file.
    pub name: String,
    lines: Vec<Line>,
}

/// A line of it.
#[derive(Clone, Debug)]
struct Line {
    /// Since the start.
    at: SignedDuration,
    value: Value,
}

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The states, from the first status on.
    pub states: Vec<State>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// Selectors that went to and fro.
    pub flutters: Vec<Flutter>,
}

/// A Service whose selector went to and fro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flutter {
    /// From when on.
    pub at: SignedDuration,
    /// The Service: `Service/canary`.
    pub name: String,
    /// How often it changed.
    pub times: usize,
}

/// A state of everything.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// When it began.
    pub at: SignedDuration,
    /// How long it was so.
    pub lasted: SignedDuration,
    /// What was so.
    pub facts: Facts,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was told.
    pub at: SignedDuration,
    /// The object that it is about: `Rollout/web`; for the third Rollout of that name `Rollout/web 3`.
    pub about: String,
    /// `Normal` or `Warning`.
    pub level: String,
    /// Reason and message.
    pub says: String,
}

/// A change of an object.
#[derive(Clone, Debug)]
struct Change {
    at: SignedDuration,
    kind: String,
    name: String,
    /// Reduced as in a recording; `None` when the object is gone.
    object: Option<Value>,
}

impl Story {
    /// The same with only some of the facts, and without the events.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut states: Vec<State> = Vec::new();
        for state in &self.states {
            let mut state = state.clone();
            state.facts.retain(|what, _| keep(what));
            match states.last_mut() {
                Some(last) if last.facts == state.facts => last.lasted += state.lasted,
                _ => states.push(state),
            }
        }
        Self {
            states,
            ..Self::default()
        }
    }
}

impl Recording {
    /// Reads a recording.
    pub fn read(name: &str, text: &str) -> Result<Self, Error> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(line).map_err(|source| Error::Line {
                line: number + 1,
                source,
            })?;
            let at = milliseconds(&value["t"]);
            lines.push(Line { at, value });
        }
        // the watches of the kinds were written one after the other
        lines.sort_by_key(|line| line.at);
        Ok(Self {
            name: name.to_owned(),
            lines,
        })
    }

    /// What was recorded.
    pub fn story(&self) -> Story {
        let changes = self.changes().map(|(line, what)| Change {
            at: line.at,
            kind: text(&line.value["kind"]),
            name: text(&line.value["name"]),
            object: (what != "deleted").then(|| line.value.clone()),
        });
        let mut story = facts::story(changes.collect(), self.has_pods(), self.end());
        let mut made = Made::default();
        for line in &self.lines {
            let value = &line.value;
            if value["kind"] != "Event" {
                made.note(
                    &text(&value["kind"]),
                    &text(&value["name"]),
                    value["what"] == "added",
                );
            } else if is_ours(&text(&value["about"])) {
                story.events.push(Event {
                    at: line.at,
                    about: made.name(text(&value["about"])),
                    level: text(&value["type"]),
                    says: says(value),
                });
            }
        }
        story
    }

    /// The lines about objects, and what happened to them.
    fn changes(&self) -> impl Iterator<Item = (&Line, &str)> {
        self.lines.iter().filter_map(|line| {
            let what = line.value["what"].as_str()?;
            (line.value["kind"] != "Event").then_some((line, what))
        })
    }

    /// Whether pods were watched.
    fn has_pods(&self) -> bool {
        self.changes().any(|(line, _)| line.value["kind"] == "Pod")
    }

    /// When it ends.
    fn end(&self) -> SignedDuration {
        self.lines.last().map_or(SignedDuration::ZERO, |line| line.at)
    }
}

/// How often objects of a name were made.
#[derive(Default)]
struct Made(BTreeMap<String, u32>);

impl Made {
    fn note(&mut self, kind: &str, name: &str, made: bool) {
        if made && kind == "Rollout" {
            *self.0.entry(format!("{kind}/{name}")).or_default() += 1;
        }
    }

    /// The name with the number of the object, from the second on.
    fn name(&self, about: String) -> String {
        match self.0.get(&about) {
            Some(times) if *times > 1 => format!("{about} {times}"),
            _ => about,
        }
    }
}

/// Whether our controller writes events about it.
fn is_ours(about: &str) -> bool {
    about.starts_with("Rollout/") || about.starts_with("AnalysisRun/")
}

/// What an event says. Upstream's client puts words before those that are like many others.
fn says(event: &Value) -> String {
    let message = text(&event["message"]);
    let message = message
        .trim_start_matches("(combined from similar events): ")
        .trim_end();
    format!("{} {message}", text(&event["reason"]))
}

fn milliseconds(seconds: &Value) -> SignedDuration {
    SignedDuration::from_millis((seconds.as_f64().unwrap_or(0.0) * 1000.0).round() as i64)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
