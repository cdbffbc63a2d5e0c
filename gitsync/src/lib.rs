//! Git sync: from commit trees, live objects and a ledger to what to apply, judge, pin, write and tell.
//!
//! Pure: [`remote`] holds what is asked of repositories and forges, as data.

mod digest;
pub mod remote;
pub mod render;
pub mod tree;
