//! What live objects say about the traffic, of one router and of all.

/// What the objects of one router say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the routes give the canary by weight; `None`: there is no route for it yet.
    pub share: Option<Share>,
    /// Whether the data plane says that it does what the objects say; `None` where it says nothing. Until it does, `share` has
    /// what it did before as well.
    pub taken: Option<bool>,
    /// A live route leads requests to the canary by what they carry, such as a header, whatever its weight is.
    pub matches: bool,
}

/// What routes give the canary by weight: `0 <= least <= most <= total` and `1 <= total`, whatever stands in the objects. Data planes
/// give no more than all and no less than nothing, and whoever reckons with a share may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    least: i32,
    most: i32,
    total: i32,
    partial: bool,
}

impl Share {
    /// Of one weight.
    pub fn of(weight: i32, total: i32) -> Self {
        Self::between(weight, weight, total)
    }

    fn between(least: i32, most: i32, total: i32) -> Self {
        let total = total.max(1);
        let most = most.clamp(0, total);
        Self {
            least: least.clamp(0, most),
            most,
            total,
            partial: false,
        }
    }

    /// Of several routes; those that are not there yet send the canary nothing. `None`: none is there.
    pub fn join(routes: &[Option<Self>]) -> Option<Self> {
        let total = routes.iter().flatten().map(|share| share.total).max()?;
        let there = || routes.iter().flatten().map(|share| share.in_parts_of(total));
        let missing = routes.iter().any(Option::is_none);
        let least = there().map(|share| share.least).min().filter(|_| !missing);
        let most = there().map(|share| share.most).max();
        Some(Self {
            partial: routes.iter().any(|share| share.is_none_or(|share| share.partial)),
            ..Self::between(least.unwrap_or(0), most.unwrap_or(0), total)
        })
    }

    /// Anything may be so: the objects say nothing that can be understood.
    pub fn unknown() -> Self {
        Self::between(0, 100, 100)
    }

    /// The least that one of the routes gives the canary.
    pub fn least(self) -> i32 {
        self.least
    }

    /// The most that one of them gives it.
    pub fn most(self) -> i32 {
        self.most
    }

    /// A route is not there yet.
    pub fn partial(self) -> bool {
        self.partial
    }

    /// The same in parts of another total, where in doubt the larger span.
    #[must_use]
    pub fn in_parts_of(self, total: i32) -> Self {
        let (whole, parts) = (i64::from(self.total), i64::from(total));
        let narrow = |parts: i64| i32::try_from(parts).unwrap_or(total);
        let least = narrow(i64::from(self.least) * parts / whole);
        let most = narrow((i64::from(self.most) * parts + whole - 1) / whole);
        Self {
            partial: self.partial,
            ..Self::between(least, most, total)
        }
    }
}

/// What all routers of a Rollout say, in the total that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightState {
    /// There is no route for the canary yet: no traffic goes to it by weight.
    Absent,
    /// Every route gives the canary this share, as far as anybody knows.
    Set(i32),
    /// Routes disagree (between two writes), or the data plane has not taken what they say.
    Mixed {
        /// The least that the canary may be getting.
        least: i32,
        /// The most.
        most: i32,
    },
}

impl WeightState {
    /// What several routers say together.
    pub fn of(seen: &[Seen], total: i32) -> Self {
        let shares: Vec<Option<Share>> = seen.iter().map(|seen| seen.share).collect();
        let Some(share) = Share::join(&shares) else {
            return Self::Absent;
        };
        let taken = seen.iter().all(|seen| seen.taken != Some(false));
        let share = share.in_parts_of(total);
        let (least, most) = (share.least(), share.most());
        if least == most && !share.partial() && taken {
            Self::Set(most)
        } else {
            Self::Mixed { least, most }
        }
    }

    /// The share that the canary may be getting at least.
    pub fn at_least(&self) -> i32 {
        match self {
            Self::Absent => 0,
            Self::Set(weight) => *weight,
            Self::Mixed { least, .. } => *least,
        }
    }

    /// The share that the canary may be getting at most.
    pub fn at_most(&self) -> i32 {
        match self {
            Self::Absent => 0,
            Self::Set(weight) => *weight,
            Self::Mixed { most, .. } => *most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(share: Option<(i32, i32, i32)>) -> Seen {
        Seen {
            share: share.map(|(least, most, total)| Share::between(least, most, total)),
            ..Seen::default()
        }
    }

    #[test]
    fn several_routers_say_one_thing_or_a_span() {
        let mixed = |least, most| WeightState::Mixed { least, most };
        let table = [
            (vec![], WeightState::Absent),
            (vec![None, None], WeightState::Absent),
            (vec![Some((20, 20, 100))], WeightState::Set(20)),
            (vec![Some((20, 20, 100)), Some((1, 1, 5))], WeightState::Set(20)),
            (vec![Some((20, 20, 100)), None], mixed(0, 20)),
            (vec![Some((0, 0, 100)), None], mixed(0, 0)),
            (vec![Some((20, 50, 100))], mixed(20, 50)),
            // Where a part cannot be said exactly, nobody may be given less than they get.
            (vec![Some((1, 1, 3))], mixed(33, 34)),
            // NGINX gives no more than all.
            (vec![Some((200, 200, 50))], WeightState::Set(100)),
            (vec![Some((0, 0, 0))], WeightState::Set(0)),
        ];
        for (shares, state) in table {
            let seen: Vec<Seen> = shares.iter().copied().map(seen).collect();
            assert_eq!(WeightState::of(&seen, 100), state, "{shares:?}");
        }
    }

    /// Anybody may write anything into an object.
    #[test]
    fn a_share_is_between_nothing_and_all() {
        let numbers = [i32::MIN, -5, -1, 0, 1, 20, 100, 200, i32::MAX];
        for (weight, total, wanted) in numbers
            .into_iter()
            .flat_map(|weight| numbers.map(|total| (weight, total)))
            .flat_map(|(weight, total)| numbers.map(|wanted| (weight, total, wanted)))
        {
            let share = Share::of(weight, total);
            for share in [
                share,
                share.in_parts_of(wanted),
                Share::join(&[Some(share), Some(Share::of(wanted, 100))]).unwrap(),
                Share::join(&[None, Some(share)]).unwrap(),
            ] {
                let right = 0 <= share.least && share.least <= share.most && share.most <= share.total;
                assert!(
                    right && 1 <= share.total,
                    "{weight}/{total} in {wanted}: {share:?}"
                );
            }
        }
        for (weight, state) in [(i32::MIN, 0), (-5, 0), (20, 20), (100, 100), (200, 100)] {
            let seen = seen(Some((weight, weight, 100)));
            assert_eq!(WeightState::of(&[seen], 100), WeightState::Set(state), "{weight}");
        }
    }

    #[test]
    fn what_the_data_plane_has_not_taken_is_not_set() {
        let said = |taken| Seen {
            taken,
            ..seen(Some((20, 20, 100)))
        };
        for (taken, state) in [
            (None, WeightState::Set(20)),
            (Some(true), WeightState::Set(20)),
            (Some(false), WeightState::Mixed { least: 20, most: 20 }),
        ] {
            assert_eq!(WeightState::of(&[said(taken)], 100), state, "{taken:?}");
        }
    }
}
