//! Random stories, as upstream's controller played them: ours comes to rest in the same states.
//!
//! `TIDEGATE_SIM_ONLY=SEED` plays one of them, `TIDEGATE_SIM_LOG=1` prints each change that ours made, and ours beside upstream's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]
#![expect(clippy::print_stdout, reason = "what happened, for who asks for it")]

#[path = "../common/each.rs"]
mod each;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;
use tidegate_sim::upstream::{self, Played, Rest, Story, differences};

use self::each::each;
use self::tables::{BROKEN, FAULTS, MEANT};

/// So many there are.
const STORIES: usize = 60;
/// A value is shown up to here.
const SHOWN: usize = 100;

/// Differences of one story, in some acts that follow one another.
struct Row {
    seed: u64,
    /// The first and the last act, counted from 0.
    acts: (usize, usize),
    /// Each field that differs, with what is so with ours: `FIELD: VALUE`.
    ours: &'static [&'static str],
}

const fn row(seed: u64, first: usize, last: usize, ours: &'static [&'static str]) -> Row {
    Row {
        seed,
        acts: (first, last),
        ours,
    }
}

/// An act, and a difference after it.
type Found = BTreeSet<(usize, String)>;

fn all() -> Vec<Story> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/stories/upstream.jsonl");
    let mut all = upstream::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(all.len(), STORIES);
    let only = std::env::var("TIDEGATE_SIM_ONLY").unwrap_or_default();
    all.retain(|story| story.seed.to_string().contains(&only));
    all
}

#[test]
fn the_same_states_at_rest() {
    each(&all(), |story| {
        let played = played(story);
        let mut report = compared(story, &found(story, &played));
        report += &judged(story, &played);
        if report.is_empty() {
            return report;
        }
        format!(
            "{} (TIDEGATE_SIM_ONLY={} TIDEGATE_SIM_LOG=1 shows it)\n{report}",
            story.seed, story.seed
        )
    });
}

/// What is said twice hides what is no longer so.
#[test]
fn tables_name_each_difference_once() {
    let mut named = BTreeSet::new();
    for row in MEANT.iter().chain(FAULTS).flat_map(|(_, rows)| *rows) {
        for act in row.acts.0..=row.acts.1 {
            for ours in row.ours {
                assert!(named.insert((row.seed, act, *ours)), "{} {act}: {ours}", row.seed);
            }
        }
    }
}

fn played(story: &Story) -> Played {
    let log = std::env::var_os("TIDEGATE_SIM_LOG").is_some();
    let played = upstream::play(story, log).unwrap();
    if log {
        println!("{}", played.log.join("\n"));
        show(story, &played);
    }
    played
}

/// Both sides, of the acts after which anything changed on either.
fn show(story: &Story, played: &Played) {
    println!("--- {}", story.seed);
    let mut before = BTreeMap::new();
    for (turn, ours) in story.acts.iter().zip(&played.rests) {
        println!("{}", turn.says());
        let empty = Rest::default();
        let (theirs, ours) = (turn.rest().unwrap_or(&empty), ours.as_ref().unwrap_or(&empty));
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            let of = |rest: &Rest| rest.get(name).map_or_else(|| "restless".to_owned(), plain);
            let now = (of(theirs), of(ours));
            if before.get(name) == Some(&now) {
                continue;
            }
            if now.0 == now.1 {
                println!("      {name}: {}", now.0);
            } else {
                println!("   !  {name}: {}   OURS: {}", now.0, now.1);
            }
            before.insert(name.clone(), now);
        }
    }
}

/// The differences of a story.
fn found(story: &Story, played: &Played) -> Found {
    let mut found = Found::new();
    for (act, (turn, ours)) in story.acts.iter().zip(&played.rests).enumerate() {
        let Some(theirs) = turn.rest() else { continue };
        match ours {
            Some(ours) => found.extend(
                differences(theirs, ours)
                    .into_iter()
                    .map(|(name, _, ours)| (act, format!("{name}: {}", shown(ours)))),
            ),
            None => {
                found.insert((act, "restless".to_owned()));
            }
        }
    }
    found
}

/// What the tables do not say of a story, and what they say of it and is not so.
fn compared(story: &Story, found: &Found) -> String {
    let mut left = found.clone();
    let mut report = String::new();
    for (why, rows) in MEANT.iter().chain(FAULTS) {
        for row in rows.iter().filter(|row| row.seed == story.seed) {
            for act in row.acts.0..=row.acts.1 {
                for ours in row.ours {
                    let difference = (act, (*ours).to_owned());
                    if !found.contains(&difference) {
                        let _ = writeln!(report, "    act {act}: no longer so: {ours} ({why})");
                    }
                    left.remove(&difference);
                }
            }
        }
    }
    report + &as_rows(story.seed, &left)
}

/// As they would stand in a table.
fn as_rows(seed: u64, found: &Found) -> String {
    let mut acts: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (act, ours) in found {
        acts.entry(*act).or_default().push(ours);
    }
    let mut rows: Vec<(usize, usize, Vec<&str>)> = Vec::new();
    for (act, ours) in acts {
        match rows.last_mut() {
            Some((_, last, same)) if *last + 1 == act && *same == ours => *last = act,
            _ => rows.push((act, act, ours)),
        }
    }
    rows.into_iter()
        .fold(String::new(), |mut text, (first, last, ours)| {
            let _ = writeln!(text, "    row({seed}, {first}, {last}, &{ours:?}),");
            text
        })
}

/// Invariants that did not hold, against the table of those that are known.
fn judged(story: &Story, played: &Played) -> String {
    let mut report = String::new();
    let known = |id: &str| BROKEN.iter().any(|(_, seeds)| seeds.contains(&(story.seed, id)));
    let id = |broken: &String| broken.split(' ').next().unwrap_or_default().to_owned();
    for broken in played.broken.iter().filter(|broken| !known(&id(broken))).take(5) {
        let _ = writeln!(report, "    {broken}");
    }
    let seen: BTreeSet<String> = played.broken.iter().map(id).collect();
    for (why, seeds) in BROKEN {
        for (_, id) in seeds
            .iter()
            .filter(|(seed, id)| *seed == story.seed && !seen.contains(*id))
        {
            let _ = writeln!(report, "    {id} holds by now ({why})");
        }
    }
    report
}

/// A value in a table: short, without quotes.
fn shown(value: &Value) -> String {
    let text = plain(value).replace('"', "'");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let each = map.iter().map(|(name, value)| format!("{name} {}", plain(value)));
            each.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
