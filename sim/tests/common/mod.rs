//! What the tests of scenarios share.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod each;

use tidegate_sim::scenario::{Scenario, catalogue};

pub(crate) use self::each::each;

/// The scenarios whose names contain `TIDEGATE_SIM_ONLY`; all when that is not set.
pub(crate) fn chosen() -> Vec<Scenario> {
    let only = std::env::var("TIDEGATE_SIM_ONLY").unwrap_or_default();
    catalogue::all()
        .into_iter()
        .filter(|scenario| scenario.name.contains(&only))
        .collect()
}
