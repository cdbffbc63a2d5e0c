//! A simulated cluster: versioned store, workload controllers, data plane, metrics source, clock and faults.

pub mod actors;
pub mod api;
pub mod behavior;
pub mod clock;
pub mod crowd;
pub mod dataplane;
pub mod faults;
pub mod forge;
pub mod http;
pub mod invariants;
pub mod live;
pub mod metrics;
pub mod planes;
mod process;
pub mod promql;
mod provider;
pub mod recording;
pub mod rng;
pub mod scenario;
pub mod store;
pub mod story;
pub mod upstream;
pub mod world;
