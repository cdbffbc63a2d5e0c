//! The people behind the requests of the data plane: each sends one in turn, so that it can be said how many of them met
//! an error, and not only how many requests did.

use std::collections::BTreeSet;

use crate::dataplane::{DataPlane, Tally};
use crate::rng::Rng;

/// The people who use what runs in a world. The data plane says how many requests failed in a while; which of those who
/// asked in that while it was is drawn from the seed.
#[derive(Clone, Debug)]
pub struct Crowd {
    people: u64,
    rng: Rng,
    total: Count,
    begun: Count,
    hurt: BTreeSet<u64>,
}

/// Requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub requests: u64,
    /// Answered with an error, or lost.
    pub failed: u64,
}

impl Count {
    /// What the data plane has counted so far.
    pub fn of(dataplane: &DataPlane) -> Self {
        Self::sum(dataplane.tallies().values().flat_map(|pods| pods.values()))
    }

    /// The requests of some tallies.
    pub fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Self {
        tallies.fold(Self::default(), |sum, tally| Self {
            requests: sum.requests + tally.ok + tally.errors + tally.lost,
            failed: sum.failed + tally.errors + tally.lost,
        })
    }

    /// What came after an earlier count.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            failed: self.failed - before.failed,
        }
    }
}

impl Crowd {
    /// So many people, at least one.
    pub fn new(people: u64, seed: u64) -> Self {
        Self {
            people: people.max(1),
            rng: Rng::new(seed).fork("crowd"),
            total: Count::default(),
            begun: Count::default(),
            hurt: BTreeSet::new(),
        }
    }

    /// Forgets who was hurt: a new release begins.
    pub fn begin(&mut self) {
        self.begun = self.total;
        self.hurt.clear();
    }

    /// Takes in what was asked since the last look.
    pub fn look(&mut self, dataplane: &DataPlane) {
        let total = Count::of(dataplane);
        let Count { requests, failed } = total.since(self.total);
        let mut left = failed;
        for place in 0..requests {
            // one after the other, each taken with the share that is left: every choice is equally likely
            if self.rng.below(requests - place) < left {
                left -= 1;
                self.hurt.insert((self.total.requests + place) % self.people);
            }
        }
        self.total = total;
    }

    /// Requests since the release began.
    pub fn count(&self) -> Count {
        self.total.since(self.begun)
    }

    /// How many people asked for something since the release began.
    pub fn active(&self) -> u64 {
        self.count().requests.min(self.people)
    }

    /// How many of them met an error.
    pub fn hurt(&self) -> u64 {
        self.hurt.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::clock::EPOCH;
    use crate::dataplane::Load;

    /// Every request is lost: there is no route.
    fn lost(people: u64, looks: &[i64]) -> Crowd {
        let mut plane = DataPlane::new(EPOCH);
        plane.add_load(Load::ingress("shop", "web.test", "/", 10));
        let mut crowd = Crowd::new(people, 1);
        for second in looks {
            plane.advance(EPOCH + SignedDuration::from_secs(*second));
            crowd.look(&plane);
        }
        crowd
    }

    #[test]
    fn somebody_who_is_hurt_twice_is_one() {
        let crowd = lost(25, &[1, 2, 6]);
        let want = Count {
            requests: 60,
            failed: 60,
        };
        assert_eq!((crowd.count(), crowd.active(), crowd.hurt()), (want, 25, 25));
    }

    #[test]
    fn only_those_who_asked_are_hurt() {
        let crowd = lost(1000, &[3]);
        assert_eq!((crowd.active(), crowd.hurt()), (30, 30));
    }

    #[test]
    fn a_new_release_counts_anew() {
        let mut crowd = lost(1000, &[3]);
        crowd.begin();
        assert_eq!(
            (crowd.count(), crowd.active(), crowd.hurt()),
            (Count::default(), 0, 0)
        );
    }
}
