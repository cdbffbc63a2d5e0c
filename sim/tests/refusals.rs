//! What the API server refuses does not hold up what does not depend on it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use jiff::SignedDuration;
use tidegate_sim::clock::EPOCH;
use tidegate_sim::faults::FaultPlan;
use tidegate_sim::scenario::{Run, catalogue};

fn played(name: &str) -> Run {
    let scenario = catalogue::find(name).expect("a scenario of the catalogue");
    let run = scenario.run(1, &FaultPlan::default());
    assert!(run.failures.is_empty(), "{}", run.report());
    run
}

/// The abort comes after 40 s, and what the webhook does not let through until 120 s is tried on.
#[test]
fn weight_goes_back_although_other_annotations_are_refused() {
    let run = played("nginx-abort-while-headers-are-refused");
    let at = |second| EPOCH + SignedDuration::from_secs(second);
    let aborted = |write: &&tidegate_sim::world::Write| {
        write.what.contains("ingresses") && write.at >= at(40) && write.at < at(42)
    };
    let writes: Vec<bool> = run
        .stats
        .writes
        .iter()
        .filter(aborted)
        .map(|write| write.denied)
        .collect();
    assert_eq!(
        writes.first(),
        Some(&false),
        "the weight goes first, and is let through"
    );
    assert!(writes.contains(&true), "then the header, which is not");
    let tries = run.stats.writes.iter().filter(|write| write.denied).count();
    assert!(tries < 12, "{tries} tries");
}

/// The status says what is wrong, and no more than once.
#[test]
fn a_quota_is_told_and_the_deadline_runs() {
    let run = played("canary-quota-for-good");
    let rollout = &run.end["Rollout web"];
    let conditions = rollout["status"]["conditions"].to_string();
    assert!(
        conditions.contains("WriteRefused") && conditions.contains("exceeded quota"),
        "{rollout:#}"
    );
    assert_eq!(rollout["status"]["phase"], "Degraded");
    let after = EPOCH + SignedDuration::from_secs(12);
    let statuses = run
        .stats
        .writes
        .iter()
        .filter(|write| write.at > after && write.what.contains("rollouts/status"));
    assert!(statuses.count() <= 3, "{:?}", run.stats.writes);
}

/// A server that breaks on one write for minutes: the status says so soon, and traffic goes back although sizes cannot.
#[test]
fn what_the_server_breaks_on_is_told_and_holds_nothing_up() {
    let run = played("nginx-abort-while-sizes-break");
    let at = |second| EPOCH + SignedDuration::from_secs(second);
    let written = |what: &'static str, from, until| {
        run.stats.writes.iter().any(move |write| {
            write.what.contains(what) && !write.denied && write.at >= at(from) && write.at < at(until)
        })
    };
    assert!(written("rollouts/status", 44, 55), "{:?}", run.stats.writes);
    assert!(written("ingresses", 70, 71), "{:?}", run.stats.writes);
    assert!(written("rollouts/status", 70, 72), "{:?}", run.stats.writes);
    let tries = run.stats.writes.iter().filter(|write| write.denied).count();
    assert!(tries < 50, "{tries} tries");
}
