//! What the stories were about: a table of what was done, by strategy and by where the Rollout was at that moment.

use std::collections::BTreeMap;
use std::fmt;

use super::Deed;
use crate::invariants::facts::{Facts, Strategy};

/// Where a Rollout is when something is done to it.
pub(super) const PLACES: [&str; 7] = [
    "first", "settled", "moving", "paused", "aborted", "late", "halted",
];
/// How it updates.
const STRATEGIES: [&str; 3] = ["canary", "routed", "blue-green"];

/// How often each act was done, by strategy and place.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

/// Where a Rollout is.
pub(super) fn place(facts: &Facts) -> &'static str {
    let status = facts.status();
    let progressing = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Progressing");
    if facts.rollout["spec"]["paused"] == true {
        "halted"
    } else if facts.stable().is_empty() {
        "first"
    } else if facts.stable() == facts.current() {
        "settled"
    } else if facts.aborted() {
        "aborted"
    } else if progressing.is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        "late"
    } else if status["pauseConditions"]
        .as_array()
        .is_some_and(|p| !p.is_empty())
    {
        "paused"
    } else {
        "moving"
    }
}

impl Coverage {
    /// Counts an act.
    pub(super) fn count(&mut self, deed: &Deed, facts: &Facts) {
        let strategy = match facts.strategy {
            Strategy::Canary => "canary",
            Strategy::RoutedCanary => "routed",
            Strategy::BlueGreen => "blue-green",
            Strategy::None => return,
        };
        *self
            .counts
            .entry((deed.word(), strategy, place(facts)))
            .or_default() += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.counts {
            *self.counts.entry(*cell).or_default() += count;
        }
    }

    /// Cells that no story was in.
    pub fn empty(&self) -> Vec<String> {
        let mut empty = Vec::new();
        for word in Deed::WORDS {
            for strategy in STRATEGIES {
                // only a routed canary has a weight
                if word == "weight by hand" && strategy != "routed" {
                    continue;
                }
                for place in PLACES {
                    if !self.counts.contains_key(&(word, strategy, place)) {
                        empty.push(format!("{word}, {strategy}, {place}"));
                    }
                }
            }
        }
        empty
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}{:<12}", "act", "strategy")?;
        for place in PLACES {
            write!(f, "{place:>9}")?;
        }
        writeln!(f)?;
        for word in Deed::WORDS {
            for strategy in STRATEGIES {
                write!(f, "{word:<16}{strategy:<12}")?;
                for place in PLACES {
                    let count = self.counts.get(&(word, strategy, place)).copied().unwrap_or(0);
                    write!(f, "{count:>9}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
