//! Asking metric providers for a measurement: Prometheus, web, Job.
