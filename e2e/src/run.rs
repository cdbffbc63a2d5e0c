//! Running one test: skipped without a cluster, limited in time, and cleaned up after, however it ended.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{runtime::Runtime, time::timeout};

use crate::Cluster;

/// `1`, or `full` for the long tests as well. Set by `cargo xtask e2e`.
const SWITCH: &str = "TIDEGATE_E2E";

const CLEANUP_LIMIT: Duration = Duration::from_secs(20);

/// Runs a test on the cluster that `KUBECONFIG` names; says that it is skipped if `TIDEGATE_E2E` is not set.
///
/// # Errors
/// The test's own, or that it took longer than `limit`. What happened in its namespaces is printed then.
#[allow(clippy::print_stderr, reason = "for whoever runs the tests")]
pub fn e2e(limit: Duration, test: impl AsyncFnOnce(Cluster) -> Result<()>) -> Result<()> {
    if std::env::var_os(SWITCH).is_none() {
        eprintln!("skipped: it needs a cluster; `cargo xtask e2e` starts one");
        return Ok(());
    }
    let runtime = Runtime::new()?;
    let cluster = runtime.block_on(Cluster::connect())?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let what = || format!("the test took longer than {} s", limit.as_secs());
            timeout(limit, test(cluster.clone())).await.with_context(what)?
        })
    }));
    let failed = !matches!(outcome, Ok(Ok(())));
    let cleaned = runtime.block_on(async {
        let cleanup = async {
            if failed {
                cluster.print_what_happened().await;
            }
            cluster.remove_namespaces().await
        };
        timeout(CLEANUP_LIMIT, cleanup)
            .await
            .context("the cleanup took too long")?
    });
    match outcome {
        Ok(Ok(())) => cleaned,
        Ok(Err(error)) => Err(error),
        Err(panic) => resume_unwind(panic),
    }
}

/// Whether all tests run in this cluster, one after the other: what is counted over all of them is complete in the last one.
pub fn is_whole() -> bool {
    std::env::var_os("TIDEGATE_E2E_WHOLE").is_some()
}

/// Whether the long tests shall run as well: `cargo xtask e2e --full`.
pub fn is_full() -> bool {
    std::env::var_os(SWITCH).is_some_and(|value| value == "full")
}
