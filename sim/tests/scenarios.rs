//! Every scenario of the catalogue, without faults: it reaches its goal, breaks nothing, and is the same each time.

mod common;

use tidegate_sim::faults::FaultPlan;

#[test]
fn without_faults() {
    common::each(&common::chosen(), |scenario| {
        let run = scenario.run(1, &FaultPlan::default());
        let again = scenario.run(1, &FaultPlan::default());
        let mut report = run.report();
        if run.trace != again.trace {
            report += &scenario.name;
            report += ": S14: two runs with the same seed differ\n";
        }
        report
    });
}
