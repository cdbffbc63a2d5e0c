//! Which applied objects are to be compared with Git although there is no news: at once those that a watch shows to be other
//! than they were left, and from time to time those of kinds that no watch covers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tidegate_gitsync::drift::{Compare, Fingerprint, Metadata};
use tidegate_gitsync::object::ObjectId;

use crate::object::{Kind, ObjectKey};
use crate::options::Part;
use crate::queue::Fnv;
use crate::request::Resource;

/// What no watch covers is compared so often.
const PERIOD: SignedDuration = SignedDuration::from_mins(10);
/// How long a change waits for others, so that one comparison does for all.
const GATHER: SignedDuration = SignedDuration::from_secs(1);
/// Most kinds that are watched for this alone.
const MAX_KINDS: usize = 40;

/// What one Delivery applied, and what of it may have changed since.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// When what no watch covers is compared next.
    next: Option<Timestamp>,
    /// Whether all was compared since this process leads: before, nothing is known.
    begun: bool,
    settled: BTreeMap<ObjectId, Settled>,
    suspects: BTreeMap<ObjectId, Suspect>,
}

/// An object that was as Git has it.
#[derive(Debug)]
struct Settled {
    state: Fingerprint,
    /// How often in a row a change turned out to be none that matters.
    false_alarms: u32,
    quiet_until: Option<Timestamp>,
}

/// An object that seems to have changed.
#[derive(Debug)]
struct Suspect {
    due: Timestamp,
    /// `None`: it is gone.
    state: Option<Fingerprint>,
}

impl Drift {
    /// What is to be compared now.
    pub(super) fn due(&mut self, key: &ObjectKey, kinds: &Kinds, now: Timestamp) -> Compare {
        // The first comparison comes some time after the start, not for all at once.
        let next = *self.next.get_or_insert_with(|| {
            let spread = Fnv::of(key) % PERIOD.as_secs().unsigned_abs();
            later(now, SignedDuration::from_secs(spread.cast_signed()))
        });
        if next <= now && !self.begun {
            return Compare::Everything;
        }
        let suspects = self.suspects.iter().filter(|(_, suspect)| suspect.due <= now);
        let mut ids: BTreeSet<ObjectId> = suspects.map(|(id, _)| id.clone()).collect();
        if next <= now {
            let uncovered = self.settled.keys().filter(|id| !kinds.cover(id));
            ids.extend(uncovered.cloned());
            self.next = Some(later(now, PERIOD));
        }
        if ids.is_empty() {
            Compare::Nothing
        } else {
            Compare::These(ids)
        }
    }

    /// Whether an object is one of those that were as Git has them.
    pub(super) fn knows(&self, id: &ObjectId) -> bool {
        self.settled.contains_key(id)
    }

    /// A watch shows an object, or that it is gone. Answers when to look, if it has changed.
    pub(super) fn seen(
        &mut self,
        id: ObjectId,
        state: Option<Fingerprint>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let settled = self.settled.get(&id)?;
        if state == Some(settled.state) {
            self.suspects.remove(&id);
            return None;
        }
        let due = settled.quiet_until.map_or(now, |until| until.max(now));
        let suspect = self.suspects.entry(id).or_insert(Suspect {
            due: later(due, GATHER),
            state,
        });
        suspect.state = state;
        Some(suspect.due)
    }

    /// A list of a kind shows what is there: what is missing is gone.
    fn listed(
        &mut self,
        (group, kind): (&str, &str),
        there: &BTreeSet<ObjectId>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let gone = self
            .settled
            .keys()
            .filter(|id| id.is(group, kind) && !there.contains(id));
        let gone: Vec<ObjectId> = gone.cloned().collect();
        gone.into_iter().filter_map(|id| self.seen(id, None, now)).min()
    }

    /// A look is over: this was to be compared, and these were found, or made, as Git has them.
    pub(super) fn compared(
        &mut self,
        asked: &Compare,
        all: bool,
        settled: &BTreeMap<ObjectId, Fingerprint>,
        changed: impl Fn(&ObjectId) -> bool,
        now: Timestamp,
    ) {
        self.begun |= all;
        if all || *asked == Compare::Everything {
            self.next = Some(later(now, PERIOD));
        }
        for (id, state) in settled {
            let alarmed = self.suspects.remove(&id.unversioned());
            let known = self.settled.entry(id.unversioned()).or_insert(Settled {
                state: *state,
                false_alarms: 0,
                quiet_until: None,
            });
            known.state = *state;
            if changed(id) {
                known.false_alarms = 0;
                known.quiet_until = None;
            } else if alarmed.is_some() {
                let pause = SignedDuration::from_secs(1 << known.false_alarms.min(10)).min(PERIOD);
                known.false_alarms += 1;
                known.quiet_until = Some(later(now, pause));
            }
        }
        // What could not be compared is not asked for again at once.
        for suspect in self.suspects.values_mut().filter(|suspect| suspect.due <= now) {
            suspect.due = later(now, PERIOD);
        }
    }

    /// Takes in what is applied: forgets what is no more, and needs no comparison of everything once each object was seen.
    pub(super) fn keep(&mut self, inventory: &[String]) {
        if self.settled.len() > inventory.len() || !self.begun {
            let ids = inventory
                .iter()
                .filter_map(|id| Some(ObjectId::parse(id)?.unversioned()));
            let ids: BTreeSet<ObjectId> = ids.collect();
            self.settled.retain(|id, _| ids.contains(id));
            self.suspects.retain(|id, _| ids.contains(id));
            self.begun |= !ids.is_empty() && self.settled.len() == ids.len();
        }
    }

    /// Nothing is known any more: all is compared at the next occasion.
    pub(super) fn forget(&mut self) {
        *self = Self {
            next: Some(Timestamp::MIN),
            ..Self::default()
        };
    }

    /// When to look again without news.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let suspects = self.suspects.values().map(|suspect| suspect.due);
        suspects.chain(self.next).min()
    }
}

/// The kinds whose objects are watched.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// Those that the controller watches for Rollouts: their news do for this as well.
    anyway: &'static [Kind],
    wanted: BTreeSet<&'static Resource>,
    /// Those that have been listed, and what a list that is under way has shown.
    listed: BTreeSet<&'static Resource>,
    listing: BTreeMap<&'static Resource, BTreeSet<ObjectId>>,
}

impl Kinds {
    /// None yet, in a controller of which this part acts.
    pub(super) fn beside(part: Part) -> Self {
        let anyway: &[Kind] = match part {
            Part::All => &[
                Kind::Rollout,
                Kind::Service,
                Kind::INGRESS,
                Kind::AnalysisTemplate,
                Kind::ClusterAnalysisTemplate,
                Kind::Delivery,
            ],
            Part::Analysis | Part::Deliveries => &[Kind::Rollout, Kind::Delivery],
        };
        Self {
            anyway,
            ..Self::default()
        }
    }

    /// Whether objects of a kind are watched for Rollouts.
    pub(crate) fn has_anyway(&self, kind: Kind) -> bool {
        self.anyway.contains(&kind)
    }

    /// Kinds that are watched for this alone.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &'static Resource> {
        self.wanted.iter().copied()
    }

    /// Something of this kind was applied.
    pub(super) fn want(&mut self, resource: &'static Resource) {
        let anyway = Kind::of(resource).is_some_and(|kind| self.has_anyway(kind));
        if !anyway && is_harmless(resource) && self.wanted.len() < MAX_KINDS {
            self.wanted.insert(resource);
        }
    }

    /// Whether changes of an object are noticed.
    fn cover(&self, id: &ObjectId) -> bool {
        self.listed
            .iter()
            .any(|resource| id.is(resource.group, resource.kind))
    }

    /// The watch of a kind has ended.
    pub(crate) fn lost(&mut self, resource: &'static Resource) {
        self.listed.remove(resource);
        self.listing.remove(resource);
    }

    pub(super) fn list_start(&mut self, resource: &'static Resource) {
        self.listing.insert(resource, BTreeSet::new());
    }

    pub(super) fn list_end(&mut self, resource: &'static Resource) -> BTreeSet<ObjectId> {
        self.listed.insert(resource);
        self.listing.remove(resource).unwrap_or_default()
    }

    /// Notes an object that is there.
    pub(super) fn note(&mut self, resource: &'static Resource, id: &ObjectId) {
        if let Some(there) = self.listing.get_mut(resource) {
            there.insert(id.clone());
        }
    }
}

/// Annotations of Secrets may hold what the Secrets do.
fn is_harmless(resource: &Resource) -> bool {
    !(resource.group.is_empty() && resource.kind == "Secret")
}

/// An object of a watch, as it is known here.
pub(super) fn id_of(resource: &Resource, metadata: &Metadata) -> ObjectId {
    ObjectId {
        group: resource.group.to_owned(),
        version: String::new(),
        kind: resource.kind.to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
    }
}

/// Notes for all Deliveries what a list of a kind does not show. Answers who has to look, and when.
pub(super) fn missing<'a>(
    resource: &Resource,
    there: &BTreeSet<ObjectId>,
    all: impl Iterator<Item = (&'a ObjectKey, &'a mut Drift)>,
    now: Timestamp,
) -> Vec<(ObjectKey, Timestamp)> {
    let of = (resource.group, resource.kind);
    all.filter_map(|(key, drift)| Some((key.clone(), drift.listed(of, there, now)?)))
        .collect()
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(now)
}

#[cfg(test)]
mod tests;
