//! The shell around the planner: watches, slim caches, queue, guarded writes, leader election.
//!
//! [`controller`] is the controller without IO; the process (`shell`) and the simulator drive exactly that.

mod base64;
mod cache;
pub mod controller;
pub mod event;
pub mod execute;
pub mod lease;
pub mod merge;
pub mod object;
pub mod queue;
pub mod request;
pub mod runs;
mod slim;
