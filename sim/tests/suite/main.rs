//! Upstream's own end-to-end suite, as far as it is about the controller and needs no other router, told again in the simulated
//! cluster: what its users do, and the states and values that it expects.
//!
//! `TIDEGATE_SIM_ONLY=NAME` plays the tests whose names contain it, `TIDEGATE_SIM_LOG=1` prints all that happens in them.

#![allow(
    clippy::needless_pass_by_value,
    reason = "a json! literal reads best as a value"
)]

mod analysis;
mod bench;
mod bluegreen;
mod canary;
mod duration;
#[path = "../common/each.rs"]
mod each;
mod features;

use self::bench::{Bench, Outcome};

/// A test: its name as upstream has it, and what it does.
type Test = (&'static str, fn(&mut Bench) -> Outcome);

/// Tests that fail because of what is known, with a part of what they say, and what is to be mended. A row goes when that is done.
const KNOWN: &[(&str, &[(&str, &str)])] = &[(
    "C21: counters come late",
    &[(
        "TestRolloutWithMaxSurgeScalingDuringUpdate",
        "waited for 11 replicas",
    )],
)];

/// The row of a test: a part of what it says, and what is to be mended.
fn known(test: &str) -> Option<(&'static str, &'static str)> {
    KNOWN.iter().find_map(|(why, tests)| {
        let (_, says) = tests.iter().find(|(name, _)| *name == test)?;
        Some((*says, *why))
    })
}

fn all() -> Vec<Test> {
    let only = std::env::var("TIDEGATE_SIM_ONLY").unwrap_or_default();
    [
        analysis::TESTS,
        bluegreen::TESTS,
        canary::TESTS,
        duration::TESTS,
        features::TESTS,
    ]
    .concat()
    .into_iter()
    .filter(|(name, _)| name.contains(&only))
    .collect()
}

#[test]
fn what_upstreams_suite_expects() {
    each::each(&all(), |(name, test)| match (Bench::run(*test), known(name)) {
        (Ok(()), None) => String::new(),
        (Err(is), Some((says, _))) if is.contains(says) => String::new(),
        (Err(is), _) => format!("{name}: {is}"),
        (Ok(()), Some((_, why))) => format!("{name}: passes by now, take its row away ({why})"),
    });
}

#[test]
fn rows_are_about_tests_that_are_there() {
    let all = all();
    for (name, _) in KNOWN.iter().flat_map(|(_, tests)| *tests) {
        let there = all.iter().any(|(test, _)| test == name);
        assert!(there || std::env::var_os("TIDEGATE_SIM_ONLY").is_some(), "{name}");
    }
}
