//! Random faults of every kind at once, from seeds. `TIDEGATE_SIM_RUNS` plays more of them (10 000 for a night),
//! `TIDEGATE_SIM_SEED` begins elsewhere.

mod common;

use tidegate_sim::faults::FaultPlan;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn swarm() {
    let scenarios = common::chosen();
    let runs = number("TIDEGATE_SIM_RUNS", 150);
    let first = number("TIDEGATE_SIM_SEED", 1);
    let items: Vec<u64> = (first..first + runs).collect();
    common::each(&items, |seed| {
        let scenario = &scenarios[*seed as usize % scenarios.len()];
        scenario.run(*seed, &FaultPlan::swarm(*seed)).report()
    });
}
