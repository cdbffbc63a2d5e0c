//! Git sync: from commit trees, live objects and a ledger to what to apply, judge, pin, write and tell.
//!
//! Pure: [`remote`] holds what is asked of repositories and forges, as data.

pub mod base64;
pub mod bundle;
mod cel;
mod desired;
mod digest;
pub mod drift;
mod graft;
mod health;
mod hooks;
mod mac;
pub mod notify;
pub mod object;
pub mod observed;
mod observer;
pub mod plan;
pub mod preview;
pub mod remote;
pub mod render;
pub mod spec;
pub mod tree;
mod verdict;
pub mod webhook;
