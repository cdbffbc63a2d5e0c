//! The providers against servers that behave, misbehave and attack.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]
#![expect(clippy::needless_pass_by_value, reason = "shorter to call")]

#[path = "providers/auth.rs"]
mod auth;
#[path = "providers/jobs.rs"]
mod jobs;
#[path = "providers/prometheus.rs"]
mod prometheus;
#[path = "providers/setup.rs"]
mod setup;
#[path = "providers/tls.rs"]
mod tls;
#[path = "providers/web.rs"]
mod web;
