//! All cores at work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Works through all items on all cores, and fails with every report that is not empty.
pub(crate) fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> String + Sync) {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = work(item);
                    if !report.is_empty() {
                        reports.lock().unwrap().push(report);
                    }
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort();
    assert!(
        reports.is_empty(),
        "{} of {} failed:\n{}",
        reports.len(),
        items.len(),
        reports.join("\n")
    );
}
