//! End-to-end tests on a real API server with real pods, data plane and Prometheus, and the app they release.
//!
//! A test is a plain `#[test]` that calls [`e2e`]. With `cargo test` alone it says that it is skipped; `cargo xtask e2e` starts
//! a cluster, fills it and runs the tests inside. Everything that a test makes is in a [`Namespace`] of its own.
//!
//! ```no_run
//! # use std::time::Duration;
//! #[test]
//! fn the_canary_gets_its_share() -> anyhow::Result<()> {
//!     tidegate_e2e::e2e(Duration::from_mins(1), async |cluster| {
//!         let namespace = cluster.namespace("canary").await?;
//!         namespace.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}").await?;
//!         let load = namespace.load("demo.test", 100).await?;
//!         let report = load.window(Duration::from_secs(2)).await?;
//!         assert_eq!(report.failed(), 0, "{report:?}");
//!         Ok(())
//!     })
//! }
//! ```

pub use audit::{AuditLog, AuditedRequest};
pub use cluster::Cluster;
pub use delivery::{TestDelivery, condition, entry, manifests};
pub use gitea::{
    Change, Comment, Gitea, HeldPush, Logged, PullRequest, PullRequestBranch, Repository, Status,
};
pub use load::{LoadGenerator, LoadSpec};
pub use namespace::{Happening, Namespace};
pub use prometheus::Sample;
pub use recording::{recorded_object, recording, restore};
pub use release::{HASH, Release, condition_of, template, text};
pub use report::{Answers, Report};
pub use run::{e2e, is_full, is_whole};
pub use source::{Source, SourceAnswer};
pub use tidegate::{TIDEGATE_USER, Tidegate, shipped};
pub use wait::eventually;

mod audit;
mod cluster;
mod delivery;
mod gitea;
mod load;
mod namespace;
mod prometheus;
mod recording;
mod release;
mod report;
mod run;
mod source;
mod tidegate;
mod wait;
