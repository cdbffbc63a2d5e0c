//! How fast the simulated cluster is: whole releases, from the first version at rest to the second one at rest, with the
//! real planner and executor, pods, data plane, load, and all invariants checked after every commit.
//!
//! `cargo bench -p tidegate-sim`

#![allow(missing_docs, reason = "what criterion's macros make")]
#![allow(clippy::expect_used, reason = "nobody is harmed")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate_sim::faults::FaultPlan;
use tidegate_sim::scenario::catalogue;

/// A canary by replicas, one by weights in the data plane, one that metrics promote.
const SCENARIOS: [&str; 3] = ["canary", "nginx", "nginx-analysis-passes"];

fn canaries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulated");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(20)
        .measurement_time(Duration::from_secs(10));
    for name in SCENARIOS {
        let scenario = catalogue::find(name).expect("a scenario of the catalogue");
        let mut seed = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                seed += 1;
                let run = scenario.run(seed, &FaultPlan::default());
                assert_eq!(run.report(), "");
                run.stats
            });
        });
    }
    group.finish();
}

criterion_group!(benches, canaries);
criterion_main!(benches);
