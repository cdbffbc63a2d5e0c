//! When the data plane knows that requests go elsewhere (S2): before that no version loses the pods that answered them.

use jiff::SignedDuration;

use crate::context::{Annotated, Context};
use crate::draft::Draft;
use crate::observed::ReplicaSetView;
use crate::revision;
use crate::time::after;
use crate::valid::Rejected;
use crate::why::Reason;

/// Whether routing has been as it is for long enough that every data plane knows it; wakes when it has.
pub(crate) fn settled(cx: &Context<'_>, draft: &mut Draft) -> bool {
    if draft.routes() {
        return false;
    }
    match cx.unsettled_until() {
        None => true,
        Some(until) => {
            draft.wake_at(until);
            false
        }
    }
}

/// Whether no request can come to a version any more. It may have lost its traffic long before routing last changed: its deadline
/// tells when at the latest, unless a Service sends requests to every version.
pub(crate) fn drained(cx: &Context<'_>, rs: &ReplicaSetView, draft: &mut Draft) -> bool {
    let delay = match cx.valid.rejected {
        // It may have been given before or after that.
        Rejected::Kept(delay) if revision::is_rejected(cx, rs) => delay.min(cx.valid.scale_down_delay),
        _ => cx.valid.scale_down_delay,
    };
    let deadline = rs.scale_down_deadline().filter(|_| !cx.sends_to_all());
    // The delay may have been another one. Who lost its traffic last is known by its deadline: that one did so before it, and nobody can
    // tell how long before.
    let mut deadlines = cx.older.iter().filter_map(|rs| rs.scale_down_deadline());
    let later = deadlines.any(|other| Some(other) > deadline);
    let delay = if later { delay } else { SignedDuration::ZERO };
    let lost = deadline.and_then(|deadline| deadline.checked_sub(delay).ok());
    if lost.is_none() && draft.routes() {
        return false;
    }
    // Deadlines are cut to whole seconds.
    let reach = cx
        .settings
        .propagation
        .saturating_add(SignedDuration::from_secs(1));
    let by_deadline = lost.map(|lost| after(lost, reach));
    let Some(until) = cx
        .unsettled_until()
        .map(|all| by_deadline.map_or(all, |own| own.min(all)))
    else {
        return true;
    };
    let drained = draft.due(cx, until);
    if !drained {
        draft.because(Reason::Draining {
            replica_set: rs.name.clone(),
            until,
        });
    }
    drained
}
