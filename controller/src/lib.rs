//! The shell around the planner: watches, slim caches, queue, guarded writes, leader election.
//!
//! [`controller`] is the controller without IO; the process ([`shell`]) and the simulator drive exactly that.

pub mod args;
mod base64;
mod cache;
pub mod check;
mod client;
mod connect;
pub mod controller;
pub mod deliveries;
pub mod event;
pub mod execute;
mod http;
mod leader;
pub mod lease;
pub mod look;
mod measure;
mod metrics;
pub mod object;
pub mod options;
mod outside;
pub mod queue;
pub mod request;
pub mod runs;
pub mod shell;
pub mod signal;
mod slim;
pub mod step;
mod watch;
mod webhook;
