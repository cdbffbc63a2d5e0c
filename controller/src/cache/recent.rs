//! The Rollouts that changed last, as they are read: a release looks at its Rollout a hundred times, and to read its text each time
//! would be half of the work. All others are text only.

use std::collections::VecDeque;

use tidegate_crds::Rollout;

use crate::object::ObjectKey;

/// So many: one takes some ten kilobytes, and a controller of hundreds has few that change at a time.
const MOST: usize = 16;

/// The last few that changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<(ObjectKey, Rollout)>);

impl Recent {
    /// A Rollout has changed.
    pub(super) fn put(&mut self, key: ObjectKey, rollout: Rollout) {
        self.forget(&key);
        self.0.truncate(MOST - 1);
        self.0.push_front((key, rollout));
    }

    /// A Rollout is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.0.retain(|(known, _)| known != key);
    }

    /// A Rollout, if it changed not long ago.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Rollout> {
        let known = self.0.iter().find(|(known, _)| known == key)?;
        Some(&known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: usize, generation: i64) -> (ObjectKey, Rollout) {
        let mut rollout = Rollout::default();
        rollout.metadata.generation = Some(generation);
        (ObjectKey::new("shop", number.to_string()), rollout)
    }

    #[test]
    fn the_last_few_are_kept_as_they_were_last() {
        let mut recent = Recent::default();
        for number in 0..2 * MOST {
            let (key, rollout) = named(number, 1);
            recent.put(key, rollout);
        }
        let (last, changed) = named(2 * MOST - 1, 2);
        recent.put(last.clone(), changed);
        let generation = |recent: &Recent, number| recent.get(&named(number, 0).0)?.metadata.generation;
        assert_eq!(
            (recent.0.len(), generation(&recent, 0), generation(&recent, MOST)),
            (MOST, None, Some(1))
        );
        assert_eq!(generation(&recent, 2 * MOST - 1), Some(2));
        recent.forget(&last);
        assert_eq!(generation(&recent, 2 * MOST - 1), None);
    }
}
