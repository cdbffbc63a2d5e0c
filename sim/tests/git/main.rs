//! Git sync in the simulated cluster: what happens to commits, good and bad ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crashes;
mod crowded;
#[path = "../common/each.rs"]
mod each;
mod rejection;
mod story;
mod ways;
