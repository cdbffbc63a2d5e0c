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

/// Cells that no story can be in, and why: act, strategy, place; an empty word stands for all.
const UNREACHABLE: &[(&str, &str, &str, &str)] = &[
    (
        "weight by hand",
        "canary",
        "",
        "without a router there is no weight",
    ),
    ("weight by hand", "blue-green", "", "blue-green has no weight"),
];

fn is_unreachable(word: &str, strategy: &str, place: &str) -> bool {
    let is = |which: &str, one: &str| which.is_empty() || which == one;
    UNREACHABLE
        .iter()
        .any(|(w, s, p, _)| is(w, word) && is(s, strategy) && is(p, place))
}

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

    /// Cells that a story can be in, and none was.
    pub fn empty(&self) -> Vec<String> {
        let mut empty = Vec::new();
        for word in Deed::WORDS {
            for strategy in STRATEGIES {
                for place in PLACES {
                    if !is_unreachable(word, strategy, place)
                        && !self.counts.contains_key(&(word, strategy, place))
                    {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_about_cells() {
        for (word, strategy, place, why) in UNREACHABLE {
            assert!(word.is_empty() || Deed::WORDS.contains(word), "{word}");
            assert!(strategy.is_empty() || STRATEGIES.contains(strategy), "{strategy}");
            assert!(place.is_empty() || PLACES.contains(place), "{place}");
            assert!(!why.is_empty());
        }
        let cells = Deed::WORDS.len() * STRATEGIES.len() * PLACES.len();
        // two rows of the table, each a whole line of places
        assert_eq!(Coverage::default().empty().len(), cells - 2 * PLACES.len());
    }
}
