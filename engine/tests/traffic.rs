//! Requests and capacity: tables of what must not happen, and random stories in which it is looked for after every action.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "plan/mini.rs"]
mod mini;

#[path = "traffic/laws.rs"]
mod laws;

#[path = "traffic/tables.rs"]
mod tables;

#[path = "traffic/stories.rs"]
mod stories;
