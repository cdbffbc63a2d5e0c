//! Conditions of a status by their type (contract 2.6).

use tidegate_crds::{RolloutCondition, RolloutConditionType, RolloutStatus};

/// A condition of this type, if there is one.
pub(crate) fn find<'s>(
    status: &'s RolloutStatus,
    type_: &RolloutConditionType,
) -> Option<&'s RolloutCondition> {
    status.conditions.iter().find(|c| c.type_ == *type_)
}

pub(crate) fn remove(status: &mut RolloutStatus, type_: &RolloutConditionType) {
    status.conditions.retain(|c| c.type_ != *type_);
}

pub(crate) fn replace(status: &mut RolloutStatus, condition: RolloutCondition) {
    match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
        Some(old) => *old = condition,
        None => status.conditions.push(condition),
    }
}
