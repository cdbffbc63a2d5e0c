//! What the status says of writes that are refused.

use tidegate_crds::{ConditionStatus, RolloutCondition, RolloutConditionType, Time};

use crate::condition;
use crate::context::Context;
use crate::draft::Draft;
use crate::refusal::LeftOut;
use crate::why::Reason;

/// So many refused writes are named at once.
const MAX_NAMED: usize = 3;

/// The message of the condition when the ReplicaSet of the new version was refused (contract 2.6).
pub(super) fn of_creation(draft: &Draft) -> Option<String> {
    let refused = draft.left_out.iter().find(|left| left.creates.is_some())?;
    Some(refused.message())
}

/// What the message of a Rollout that does not move on says beside upstream's words.
pub(super) fn in_short(draft: &Draft) -> Option<String> {
    Some(draft.left_out.first()?.message())
}

/// What the condition and its event say: a few of them, and how many more there are.
fn told(left_out: &[LeftOut]) -> String {
    let named: Vec<String> = left_out.iter().take(MAX_NAMED).map(LeftOut::message).collect();
    let message = named.join("; ");
    match left_out.len().saturating_sub(MAX_NAMED) {
        0 => message,
        more => format!("{message} (and {more} more)"),
    }
}

/// The type of our own condition: something that was to be written is refused.
fn condition_type() -> RolloutConditionType {
    RolloutConditionType::Other("WriteRefused".to_owned())
}

/// Says in the status, and once in an event, what is refused. Without the memory of it, as after a restart, the write is in
/// the plan again and is refused before the status is written, so nothing is said twice.
pub(super) fn record(cx: &Context<'_>, draft: &mut Draft) {
    let type_ = condition_type();
    for left in draft.left_out.iter().filter(|left| !left.what.is_empty()) {
        draft.why.push(Reason::Refused {
            what: left.what.clone(),
            words: left.words.clone(),
        });
    }
    let old = condition::find(&draft.status, &type_).cloned();
    let Some(first) = draft.left_out.first().cloned() else {
        if let Some(old) = old {
            // Whoever only asks why it is so, as `explain` does, knows it from the condition.
            if draft.writes() {
                draft.because(Reason::RefusedBefore { text: old.message });
            }
            condition::remove(&mut draft.status, &type_);
        }
        return;
    };
    let message = told(&draft.left_out);
    if old.as_ref().is_some_and(|old| old.message == message) {
        return;
    }
    draft.tell(true, first.reason, message.clone());
    let time = Time::from(cx.now);
    condition::replace(
        &mut draft.status,
        RolloutCondition {
            type_,
            status: ConditionStatus::True,
            last_update_time: time,
            last_transition_time: old.map_or(time, |old| old.last_transition_time),
            reason: first.reason.to_owned(),
            message,
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_refused_writes_are_named() {
        let left = |what: &str| LeftOut {
            what: what.to_owned(),
            reason: "WriteRefused",
            words: "no".to_owned(),
            creates: None,
        };
        let all = ["a", "b", "c", "d"].map(left);
        for (count, wanted) in [
            (1, "Failed to a: no"),
            (2, "Failed to a: no; Failed to b: no"),
            (3, "Failed to a: no; Failed to b: no; Failed to c: no"),
            (
                4,
                "Failed to a: no; Failed to b: no; Failed to c: no (and 1 more)",
            ),
        ] {
            assert_eq!(told(&all[..count]), wanted);
        }
    }
}
