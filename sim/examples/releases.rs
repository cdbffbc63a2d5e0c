//! How fast the simulated cluster is, in the profile in which it is built: `cargo xtask bench --sim`.
//!
//! `releases [SECONDS]` plays each scenario from seed 1 on for so many seconds of processor time, and prints releases a
//! second and core. Processor time, because a machine that is busy with other things gives the same number.
//!
//! `releases --prints` prints a number for each run of the catalogue, with and without faults, that differs when anything
//! of it differs: what is the same before and after a change has not been changed by it.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_sim::faults::FaultPlan;
use tidegate_sim::scenario::{Run, catalogue};

/// A canary by replicas, one by weights in the data plane, one that metrics promote, a switch of colours.
const SCENARIOS: [&str; 4] = ["canary", "nginx", "nginx-analysis-passes", "blue-green-promote"];

fn main() -> Result<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("--prints") {
        prints();
        return Ok(());
    }
    let seconds = argument.map_or(Ok(3.0), |text| text.parse::<f64>())?;
    for name in SCENARIOS {
        let scenario = catalogue::find(name).context("no such scenario")?;
        // what is made once is not counted
        scenario.run(0, &FaultPlan::default());
        let (began, mut seed) = (processor_time()?, 0);
        let took = loop {
            seed += 1;
            let run = scenario.run(seed, &FaultPlan::default());
            ensure!(run.failures.is_empty(), "{}", run.report());
            let took = processor_time()?.saturating_sub(began).as_secs_f64();
            if took >= seconds {
                break took;
            }
        };
        let (rate, each) = (seed as f64 / took, took * 1000.0 / seed as f64);
        println!("{name}: {rate:.1} releases a second and core, {each:.2} ms each");
    }
    Ok(())
}

/// Time that this thread has been on a processor.
fn processor_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().context("no time in schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn prints() {
    for scenario in catalogue::all() {
        println!(
            "{} {:016x}",
            scenario.name,
            print(&scenario.run(1, &FaultPlan::default()))
        );
        let faulty = scenario.run(2, &FaultPlan::swarm(2));
        println!("{} with faults {:016x}", scenario.name, print(&faulty));
    }
}

/// FNV-1a of all that a run says of itself.
fn print(run: &Run) -> u64 {
    let text = format!("{run:?}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |print, byte| {
        (print ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
