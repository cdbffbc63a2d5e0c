//! A simulated cluster: versioned store, workload controllers, data plane, metrics source, clock and faults.
