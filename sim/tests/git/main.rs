//! Git sync in the simulated cluster: what happens to commits, good and bad ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "a json! literal reads best as a value"
)]

mod crashes;
mod crowded;
#[path = "../common/each.rs"]
mod each;
mod hooks;
mod observe;
mod rejection;
mod story;
mod ways;
