//! Arithmetic of moments.

use jiff::{SignedDuration, Timestamp};

/// `time + duration`, held at the end of time.
pub(crate) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
