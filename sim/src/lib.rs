//! A simulated cluster: versioned store, workload controllers, data plane, metrics source, clock and faults.

pub mod behavior;
pub mod clock;
pub mod dataplane;
pub mod metrics;
pub mod promql;
pub mod rng;
