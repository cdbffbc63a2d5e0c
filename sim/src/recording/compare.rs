//! What is different between a recording and what ours did.

use std::collections::BTreeSet;
use std::fmt;

use jiff::SignedDuration;

use super::{Event, Facts, LASTING, State, Story};

/// Events closer than this may be told in any order: upstream's client sends them on the side.
const ORDERED: SignedDuration = SignedDuration::from_millis(500);
/// Our own events of one look are sent at once, and arrive within this.
const SENDING: SignedDuration = SignedDuration::from_millis(20);
/// Upstream's client drops what is more, for each object.
const BURST: usize = 25;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When, in the recording if it is there.
    pub at: SignedDuration,
    /// What it is about: a fact's name, `event` or `flutter`.
    pub what: String,
    /// How it was recorded; empty: not at all.
    pub recorded: String,
    /// How it is with ours; empty: not at all.
    pub ours: String,
}

impl Difference {
    /// One side has a state that the other has not.
    fn state(at: SignedDuration, recorded: String, ours: String) -> Self {
        Self {
            at,
            what: "state".to_owned(),
            recorded,
            ours,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at.as_millis();
        writeln!(f, "{:>4}.{:03} {}", ms / 1000, ms % 1000, self.what)?;
        writeln!(f, "    recorded: {}", self.recorded)?;
        write!(f, "    ours:     {}", self.ours)
    }
}

/// All differences: of the states that lasted, of the events and of what went to and fro.
pub fn differences(recorded: &Story, ours: &Story) -> Vec<Difference> {
    let mut all = of_states(&recorded.states, &ours.states);
    all.extend(of_events(recorded, ours));
    let times = |story: &Story, name: &str| -> String {
        let times: usize = story
            .flutters
            .iter()
            .filter(|f| f.name == name)
            .map(|f| f.times)
            .sum();
        if times == 0 {
            "settles".to_owned()
        } else {
            format!("changes {times} times")
        }
    };
    let mut names: Vec<&String> = recorded
        .flutters
        .iter()
        .chain(&ours.flutters)
        .map(|f| &f.name)
        .collect();
    names.sort();
    names.dedup();
    all.extend(names.into_iter().map(|name| Difference {
        at: SignedDuration::ZERO,
        what: format!("flutter of {name}"),
        recorded: times(recorded, name),
        ours: times(ours, name),
    }));
    all
}

/// How two sequences go together, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Both,
    Recorded,
    Ours,
}

/// What is left to pay from a recorded state and one of ours on, and how it goes on there.
type Costs = Vec<Vec<(u32, Pace)>>;

/// What it costs to leave a state without one on the other side.
fn alone(state: &State) -> u32 {
    if state.lasted >= LASTING { 1000 } else { 0 }
}

/// What it costs to put two states side by side.
fn unlike(a: &State, b: &State) -> u32 {
    if a.facts == b.facts {
        0
    } else if a.lasted < LASTING || b.lasted < LASTING {
        // one that did not last proves nothing
        u32::MAX / 4
    } else {
        600 + 10 * changes(&a.facts, &b.facts).len() as u32
    }
}

fn costs_of(recorded: &[State], ours: &[State]) -> Costs {
    let (rows, columns) = (recorded.len(), ours.len());
    let mut costs = vec![vec![(0_u32, Pace::Both); columns + 1]; rows + 1];
    let cost = |costs: &Costs, i: usize, j: usize| -> u32 {
        let cell = costs.get(i).and_then(|row| row.get(j));
        cell.map_or(u32::MAX / 4, |(cost, _)| *cost)
    };
    for i in (0..=rows).rev() {
        for j in (0..=columns).rev() {
            let (a, b) = (recorded.get(i), ours.get(j));
            let equal = matches!((a, b), (Some(a), Some(b)) if a.facts == b.facts);
            let mut best = (u32::MAX / 2, Pace::Both);
            let mut offer = |cost: u32, pace: Pace| {
                if cost < best.0 {
                    best = (cost, pace);
                }
            };
            if let (Some(a), Some(b)) = (a, b) {
                offer(
                    unlike(a, b).saturating_add(cost(&costs, i + 1, j + 1)),
                    Pace::Both,
                );
            }
            // one side may have been there twice, with something short in between
            if let Some(a) = a {
                let price = if equal { 0 } else { alone(a) };
                offer(price.saturating_add(cost(&costs, i + 1, j)), Pace::Recorded);
            }
            if let Some(b) = b {
                let price = if equal { 0 } else { alone(b) };
                offer(price.saturating_add(cost(&costs, i, j + 1)), Pace::Ours);
            }
            if a.is_none() && b.is_none() {
                best = (0, Pace::Both);
            }
            if let Some(cell) = costs.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = best;
            }
        }
    }
    costs
}

fn pace_at(costs: &Costs, recorded: usize, ours: usize) -> Pace {
    let cell = costs.get(recorded).and_then(|row| row.get(ours));
    cell.map_or(Pace::Both, |(_, pace)| *pace)
}

/// Puts the states side by side: each that lasted needs an equal one on the other side, in the same order, however
/// short that one was. Where there is none, those that are most alike are compared.
fn of_states(recorded: &[State], ours: &[State]) -> Vec<Difference> {
    let costs = costs_of(recorded, ours);
    let (rows, columns) = (recorded.len(), ours.len());
    let mut all = Vec::new();
    let (mut i, mut j) = (0, 0);
    // what was before on either side, to say in what a lone state is new
    let (mut before, mut before_ours): (Option<&State>, Option<&State>) = (None, None);
    while i < rows || j < columns {
        let (a, b) = (recorded.get(i), ours.get(j));
        let pace = pace_at(&costs, i, j);
        let equal = matches!((a, b), (Some(a), Some(b)) if a.facts == b.facts);
        match pace {
            Pace::Both => {
                if let (Some(a), Some(b)) = (a, b) {
                    all.extend(
                        changes(&a.facts, &b.facts)
                            .into_iter()
                            .map(|(what, recorded, ours)| Difference {
                                at: a.at,
                                what,
                                recorded,
                                ours,
                            }),
                    );
                }
                (before, before_ours) = (a, b);
                (i, j) = (i + 1, j + 1);
            }
            Pace::Recorded => {
                if let Some(a) = a.filter(|a| !equal && a.lasted >= LASTING) {
                    all.push(Difference::state(a.at, news(before, a), String::new()));
                    before = Some(a);
                }
                i += 1;
            }
            Pace::Ours => {
                if let Some(b) = b.filter(|b| !equal && b.lasted >= LASTING) {
                    all.push(Difference::state(b.at, String::new(), news(before_ours, b)));
                    before_ours = Some(b);
                }
                j += 1;
            }
        }
    }
    all
}

/// In which facts two states differ.
fn changes(a: &Facts, b: &Facts) -> Vec<(String, String, String)> {
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let of = |facts: &Facts, name: &str| facts.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| (name.clone(), of(a, name), of(b, name)))
        .collect()
}

fn news(before: Option<&State>, state: &State) -> String {
    let none = Facts::new();
    let ms = state.lasted.as_millis();
    let news: Vec<String> = changes(before.map_or(&none, |state| &state.facts), &state.facts)
        .into_iter()
        .map(|(name, _, now)| format!("{name}: {now}"))
        .collect();
    format!("for {}.{:03} s {}", ms / 1000, ms % 1000, news.join("; "))
}

fn of_events(recorded: &Story, ours: &Story) -> Vec<Difference> {
    let mut all = Vec::new();
    let difference = |at, recorded: String, ours: String| Difference {
        at,
        what: "event".to_owned(),
        recorded,
        ours,
    };
    // a flutter takes what the client lets through
    let flutter = recorded.flutters.iter().map(|flutter| flutter.at).min();
    let subjects: BTreeSet<&str> = recorded
        .events
        .iter()
        .chain(&ours.events)
        .map(|e| e.about.as_str())
        .collect();
    for subject in subjects {
        let told = |story: &'_ Story| -> Vec<Event> {
            story
                .events
                .iter()
                .filter(|event| event.about == subject)
                .cloned()
                .collect()
        };
        let (recorded, all_of_ours) = (told(recorded), told(ours));
        let burst = all_of_ours.get(BURST).map(|event| event.at);
        let dropped = flutter.into_iter().chain(burst).min();
        let (recorded, ours) = (once(&recorded), once(&all_of_ours));
        let mut left: Vec<Option<&Event>> = ours.into_iter().map(Some).collect();
        let mut pairs: Vec<(&Event, &Event)> = Vec::new();
        for event in recorded {
            let found = left
                .iter_mut()
                .find(|other| other.is_some_and(|other| same(other, event)));
            match found.and_then(Option::take) {
                Some(other) => pairs.push((event, other)),
                None => all.push(difference(event.at, said(event), String::new())),
            }
        }
        for event in left.into_iter().flatten() {
            if dropped.is_none_or(|dropped| event.at + ORDERED < dropped) {
                all.push(difference(event.at, String::new(), said(event)));
            }
        }
        let turned = |(a, ours_a): &(&Event, &Event), (b, ours_b): &(&Event, &Event)| {
            a.at + ORDERED < b.at && ours_b.at + SENDING < ours_a.at
        };
        for (index, first) in pairs.iter().enumerate() {
            if let Some(then) = pairs.iter().skip(index + 1).find(|then| turned(first, then)) {
                let order = |a: &Event, b: &Event| format!("{}, then {}", said(a), said(b));
                all.push(difference(
                    first.0.at,
                    order(first.0, then.0),
                    order(then.1, first.1),
                ));
            }
        }
    }
    all.sort_by_key(|difference| difference.at);
    all
}

/// Events without those that say again what one before said: upstream's client only counts them.
fn once(events: &[Event]) -> Vec<&Event> {
    let mut kept: Vec<&Event> = Vec::new();
    for event in events {
        if !kept.iter().any(|other| same(other, event)) {
            kept.push(event);
        }
    }
    kept
}

fn same(a: &Event, b: &Event) -> bool {
    (&a.level, &a.says) == (&b.level, &b.says)
}

fn said(event: &Event) -> String {
    format!("{} {} {}", event.about, event.level, event.says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(of: &[(i64, &str)]) -> Vec<State> {
        let mut at = SignedDuration::ZERO;
        of.iter()
            .map(|(ms, value)| {
                let lasted = SignedDuration::from_millis(*ms);
                let facts = Facts::from([("x".to_owned(), (*value).to_owned())]);
                at += lasted;
                State {
                    at: at - lasted,
                    lasted,
                    facts,
                }
            })
            .collect()
    }

    fn different(recorded: &[(i64, &str)], ours: &[(i64, &str)]) -> Vec<(String, String)> {
        of_states(&states(recorded), &states(ours))
            .into_iter()
            .map(|difference| (difference.recorded, difference.ours))
            .collect()
    }

    #[test]
    fn states_that_last_need_an_equal_one() {
        type States<'a> = &'a [(i64, &'a str)];
        let same: &[(States<'_>, States<'_>)] = &[
            (&[(900, "a"), (10, "b"), (900, "c")], &[(900, "a"), (900, "c")]),
            (&[(900, "a"), (10, "b"), (900, "a")], &[(1800, "a")]),
            (
                &[(900, "a"), (500, "b"), (900, "c")],
                &[(900, "a"), (700, "b"), (900, "c")],
            ),
        ];
        for (recorded, ours) in same {
            assert_eq!(different(recorded, ours), []);
            assert_eq!(different(ours, recorded), []);
        }
    }

    #[test]
    fn what_differs_is_told() {
        let text = str::to_owned;
        assert_eq!(
            different(&[(900, "a"), (900, "b")], &[(900, "a"), (900, "c")]),
            [(text("b"), text("c"))]
        );
        assert_eq!(
            different(&[(900, "a"), (900, "b"), (900, "c")], &[(900, "a"), (900, "c")]),
            [(text("b"), text("a"))],
            "ours stays where it was"
        );
        assert_eq!(
            different(&[(900, "a"), (900, "b")], &[(900, "b"), (900, "a")]).len(),
            2,
            "the order counts"
        );
    }

    #[test]
    fn events_count_and_those_far_apart_have_an_order() {
        let event = |ms, says: &str| Event {
            at: SignedDuration::from_millis(ms),
            about: "Rollout/web".to_owned(),
            level: "Normal".to_owned(),
            says: says.to_owned(),
        };
        let story = |events: &[Event]| Story {
            events: events.to_vec(),
            ..Story::default()
        };
        let recorded = [event(0, "a"), event(100, "b"), event(2000, "c")];
        let count = |recorded: &[Event], ours: &[Event]| of_events(&story(recorded), &story(ours)).len();
        assert_eq!(
            count(
                &recorded,
                &[event(0, "b"), event(1, "a"), event(1, "a"), event(2, "c")]
            ),
            0
        );
        assert_eq!(
            count(&recorded, &[event(0, "c"), event(100, "a"), event(200, "b")]),
            2
        );
        assert_eq!(count(&recorded, &[event(0, "a"), event(1, "c")]), 1);
        assert_eq!(count(&recorded[..2], &recorded), 1);
        let many: Vec<Event> = (0..30).map(|n| event(n * 1000, &n.to_string())).collect();
        assert_eq!(count(&many[..25], &many), 0, "more are dropped");
        assert_eq!(count(&many[..24], &many), 1);
    }
}
