//! Every scenario under every single fault: it must end as it does without (L4), and break nothing on the way.
//!
//! A failed run prints a line that plays it again. `TIDEGATE_SIM_ONLY` narrows the catalogue.

mod common;

use tidegate_sim::faults::{CrashAt, FaultPlan, RequestFault};
use tidegate_sim::scenario::{Run, Scenario, differences};

/// A scenario, and how it ends without faults.
struct Reference {
    scenario: Scenario,
    run: Run,
}

fn references() -> Vec<Reference> {
    let reference = |scenario: Scenario| Reference {
        run: scenario.run(1, &FaultPlan::default()),
        scenario,
    };
    common::chosen()
        .into_iter()
        .map(reference)
        .filter(|reference| reference.run.failures.is_empty())
        .collect()
}

fn check(reference: &Reference, seed: u64, faults: &FaultPlan) -> String {
    let mut run = reference.scenario.run(seed, faults);
    let mut differences = differences(&reference.run.end, &run.end);
    if reference.scenario.name == "nginx-promoted-past-the-analysis" {
        // Whoever is quicker: the run that is skipped may never have been made.
        differences.retain(|difference| !difference.contains("AnalysisRun"));
    }
    run.failures.extend(differences);
    run.report()
}

/// Plays each scenario with each of its writes going wrong in one way.
fn each_write(faults: impl Fn(&Scenario, u32) -> Vec<FaultPlan> + Sync) {
    let references = references();
    let mut items = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        for write in 0..reference.run.stats.writes.len() as u32 {
            items.extend(
                faults(&reference.scenario, write)
                    .into_iter()
                    .map(|plan| (index, plan)),
            );
        }
    }
    common::each(&items, |(index, plan)| check(&references[*index], 1, plan));
}

#[test]
fn a_crash_at_every_write() {
    each_write(|_, write| {
        CrashAt::ALL
            .iter()
            .map(|at| FaultPlan::crash(write, *at))
            .collect()
    });
}

#[test]
fn every_write_refused_or_unanswered() {
    each_write(|_, write| {
        let faults = [
            RequestFault::Refused(409),
            RequestFault::Refused(429),
            RequestFault::Refused(500),
            RequestFault::TimeoutAfterEffect,
            RequestFault::Meddling,
        ];
        // one of them at each write, so that all meet every kind of write
        vec![FaultPlan::request(
            write,
            faults[write as usize % faults.len()].clone(),
        )]
    });
}

/// Longer than the data plane needs to hear of what was written before it.
#[test]
fn a_write_refused_for_seconds() {
    each_write(|scenario, write| {
        // Only the first revision scales the Deployment down (F15); here the second one is quicker.
        if scenario.name == "deployment-taken-over" {
            return Vec::new();
        }
        // The delays double from a millisecond: the last of these comes four seconds after the first.
        let refused = |number| (number, RequestFault::Refused(500));
        vec![FaultPlan {
            requests: (write..write + 13).map(refused).collect(),
            ..FaultPlan::default()
        }]
    });
}

/// Lists are consistent, because the shell asks for no version of them; what comes after them may be late.
#[test]
fn a_restart_with_slow_watches() {
    each_write(|_, write| {
        if write % 5 != 0 {
            return Vec::new();
        }
        let mut plan = FaultPlan::crash(write, CrashAt::AppliedNoResponse);
        plan.watch_delays.insert(String::new(), (0, 3_000));
        vec![plan]
    });
}

#[test]
fn slow_watches() {
    let references = references();
    let mut items = Vec::new();
    for index in 0..references.len() {
        items.push((index, FaultPlan::slow_watches(200, 2_000)));
        for kind in ["Rollout", "ReplicaSet", "Service", "Ingress"] {
            let mut plan = FaultPlan::default();
            plan.watch_delays.insert(kind.to_owned(), (1_000, 4_000));
            items.push((index, plan));
        }
    }
    common::each(&items, |(index, plan)| check(&references[*index], 1, plan));
}
