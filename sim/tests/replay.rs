//! Plays one run again: `TIDEGATE_SIM_REPLAY='{"scenario":"…","seed":1,"faults":{…}}'`, as a failed run prints it.

use serde::Deserialize;
use tidegate_sim::faults::FaultPlan;
use tidegate_sim::scenario::catalogue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    scenario: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default)]
    faults: FaultPlan,
}

fn one() -> u64 {
    1
}

#[test]
fn replay() {
    let Ok(text) = std::env::var("TIDEGATE_SIM_REPLAY") else {
        return;
    };
    let replay: Replay =
        serde_json::from_str(&text).expect("TIDEGATE_SIM_REPLAY is what a failed run printed");
    let scenario = catalogue::find(&replay.scenario).expect("a scenario of the catalogue");
    let run = scenario.play(replay.seed, &replay.faults, true);
    for line in &run.log {
        println!("{line}");
    }
    println!(
        "took {:#}, {} plans, {} writes, invariants in question: {:?}",
        run.took,
        run.stats.plans,
        run.stats.writes.len(),
        run.activations
    );
    assert!(run.failures.is_empty(), "{}", run.report());
}
