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

/// What routes give the canary by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The least that one of them gives it.
    pub least: i32,
    /// The most.
    pub most: i32,
    /// What both are parts of.
    pub total: i32,
    /// A route is not there yet.
    pub partial: bool,
}

impl Share {
    /// Of one weight.
    pub fn of(weight: i32, total: i32) -> Self {
        Self {
            least: weight,
            most: weight,
            total,
            partial: false,
        }
    }

    /// Of several routes; those that are not there yet send the canary nothing. `None`: none is there.
    pub fn join(routes: &[Option<Self>]) -> Option<Self> {
        let total = routes.iter().flatten().map(|share| share.total).max()?;
        let there = || routes.iter().flatten().map(|share| share.in_parts_of(total));
        let partial = routes.iter().any(|share| share.is_none_or(|share| share.partial));
        let missing = routes.iter().any(Option::is_none);
        let least = there().map(|share| share.least).min().filter(|_| !missing);
        Some(Self {
            least: least.unwrap_or(0),
            most: there().map(|share| share.most).max().unwrap_or(0),
            total,
            partial,
        })
    }

    /// Anything may be so: the objects say nothing that can be understood.
    pub fn unknown() -> Self {
        Self {
            least: 0,
            most: 100,
            total: 100,
            partial: false,
        }
    }

    /// The same in parts of another total, where in doubt the larger span.
    #[must_use]
    pub fn in_parts_of(self, total: i32) -> Self {
        if self.total == total {
            return self;
        }
        let whole = i64::from(self.total.max(1));
        let product = |weight: i32| i64::from(weight.clamp(0, self.total.max(1))) * i64::from(total);
        let narrow = |parts: i64| i32::try_from(parts).unwrap_or(total);
        Self {
            least: narrow(product(self.least) / whole),
            most: narrow((product(self.most) + whole - 1) / whole),
            total,
            ..self
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
        let Share {
            least, most, partial, ..
        } = share.in_parts_of(total);
        if least == most && !partial && taken {
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
            share: share.map(|(least, most, total)| Share {
                least,
                most,
                total,
                partial: false,
            }),
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
