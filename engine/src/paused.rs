//! Which step a pause was begun at (S9). The status does not say: a client that goes past the step leaves what it has of the pause, and
//! that is nothing of the step that it went to.

use tidegate_crds::{PauseReason, RolloutStatus, Time};

/// The last pause of a step that the status told of. The shell keeps it from one version of a Rollout to the next; without it, as after
/// a restart, what the status has of a pause is taken for one of the step that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// The step that it was begun at.
    step: Option<i32>,
    since: Time,
    /// The status still tells of it.
    there: bool,
}

impl Paused {
    /// What is known of it once the status is as given.
    pub fn after(before: Option<Self>, status: &RolloutStatus) -> Option<Self> {
        match (since(status), before) {
            (Some(since), Some(before)) if before.there && before.since == since => Some(before),
            (Some(since), _) => Some(Self {
                step: status.current_step_index,
                since,
                there: true,
            }),
            (None, before) => before.map(|before| Self {
                there: false,
                ..before
            }),
        }
    }

    /// Whether what the status has of a pause is of another step than the one that it is at.
    pub(crate) fn is_left_over(self, status: &RolloutStatus) -> bool {
        let same = since(status).is_none_or(|since| self.there && self.since == since);
        same && self.step != status.current_step_index
    }
}

fn since(status: &RolloutStatus) -> Option<Time> {
    let mut pauses = status.pause_conditions.iter();
    let pause = pauses.find(|pause| pause.reason == PauseReason::CanaryPauseStep)?;
    Some(pause.start_time)
}
