//! What releases cost, counted: numbers that are the same on every machine. A change of them is for the reviewer to see.

use tidegate_sim::faults::FaultPlan;
use tidegate_sim::scenario::catalogue;

/// A scenario, and what it costs from the first object to rest: writes (events and Lease aside), reads, plans.
type Cost = (&'static str, usize, u64, u64);

const COSTS: &[Cost] = &[
    ("canary", 26, 0, 41),
    ("nginx", 31, 0, 42),
    ("nginx-analysis-passes", 34, 0, 43),
    ("nginx-analysis-fails", 25, 0, 27),
    ("nginx-third-revision", 45, 0, 62),
    ("blue-green-promote", 19, 0, 24),
    ("blue-green-abort", 17, 0, 23),
];

#[test]
fn releases_cost_what_they_did() {
    let counted: Vec<Cost> = COSTS
        .iter()
        .map(|(name, ..)| {
            let scenario = catalogue::find(name).expect("a scenario of the catalogue");
            let stats = scenario.run(1, &FaultPlan::default()).stats;
            (*name, stats.writes.len(), stats.reads, stats.plans)
        })
        .collect();
    assert_eq!(counted, COSTS, "writes, reads, plans");
}
