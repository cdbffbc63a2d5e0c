//! What is remembered of how far an update has come, from one look to the next (contract 2.6).

use tidegate_crds::Time;

/// How far an update had come at the last look. The status tells this too, but late ([`Urgency::Soon`](crate::Urgency::Soon)) and
/// without the best that there was, so the shell hands this back with the next look. Without it the status has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// When it last got better.
    pub(crate) at: Time,
    /// The most that there was of each, since then.
    pub(crate) best: Pods,
    pub(crate) attempt: Attempt,
}

/// What is compared: pods of another version, step or size are not better or worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) uid: String,
    pub(crate) hash: String,
    pub(crate) step: Option<i32>,
    pub(crate) stable: Option<String>,
    pub(crate) size: i32,
    /// Size of the new version: a larger one brings pods that are not there yet.
    pub(crate) wanted: i32,
}

/// Pods, as far as more of them is better; `old` with its sign turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pods(pub(crate) [i32; 6]);

impl Pods {
    /// The most of each.
    pub(crate) fn best(self, other: Self) -> Self {
        let mut best = self.0;
        for (one, other) in best.iter_mut().zip(other.0) {
            *one = other.max(*one);
        }
        Self(best)
    }
}
