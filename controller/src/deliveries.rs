//! What is remembered of Deliveries between two looks: repositories, what the cluster serves, what was rendered last.
//!
//! All of it can be lost: it saves questions, it decides nothing.

pub(crate) mod drift;
mod job;
mod repository;
pub(crate) mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_gitsync::drift::Compare;
use tidegate_gitsync::object::ObjectId;
use tidegate_gitsync::observed::Kinds;
use tidegate_gitsync::remote::Remote;
use tidegate_gitsync::tree::{Closure, Oid};

use self::drift::{Drift, Kinds as WatchedKinds};
pub(crate) use self::job::DeliveryJob;
pub(crate) use self::repository::{Repositories, RepositoryJob};
use crate::object::ObjectKey;
use crate::options::Part;
use crate::request::Resource;
use crate::signal::Signal;
use crate::step::{Outside, OutsideAnswer};

/// How long it is believed what an API version serves.
const SERVED_FOR: SignedDuration = SignedDuration::from_secs(30);
/// Longest wait after the forge could not be reached.
const MAX_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// A digest that the API server refused, how often in a row, and when to try again.
type RefusedDigest = (String, u32, Timestamp);

/// What is remembered of one Delivery.
#[derive(Debug, Default)]
struct Memory {
    uid: String,
    /// Where its commits are, as long as its spec is of this generation.
    remote: Option<(Option<i64>, Remote)>,
    /// [`Spec::rendered_as`] when what follows was found out.
    rendered_as: String,
    /// What a commit was rendered from: of use once that is the newest in its status.
    closure: Option<(Oid, Closure)>,
    /// A commit that has the same files, or renders to the same.
    same: Option<Oid>,
    /// What commits render to that another syncer may have applied.
    renders_to: BTreeMap<Oid, String>,
    /// What was refused last, unless it has been applied since.
    refused: Option<RefusedDigest>,
    drift: Drift,
    /// Failures in a row and when to try again, by the kind of work.
    retry: BTreeMap<&'static str, (u32, Timestamp)>,
    /// What chats were told and is not in the status yet: that may lose a race, and chats do not notice repetitions.
    notified: BTreeSet<String>,
}

/// What an API version serves.
#[derive(Debug)]
struct Served {
    at: Timestamp,
    kinds: Kinds,
    resources: BTreeMap<String, &'static Resource>,
}

/// What is remembered of all Deliveries.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    memory: BTreeMap<ObjectKey, Memory>,
    pub(crate) repositories: Repositories,
    served: BTreeMap<String, Served>,
    /// Kinds whose objects are watched.
    pub(crate) watched: WatchedKinds,
}

impl Deliveries {
    /// Nothing yet, in a controller of which this part acts.
    pub(crate) fn beside(part: Part) -> Self {
        Self {
            watched: WatchedKinds::beside(part),
            ..Self::default()
        }
    }

    /// Forgets a Delivery that is gone.
    pub(crate) fn forget(&mut self, key: &ObjectKey) {
        self.memory.remove(key);
        self.repositories.leave(key);
    }

    fn memory(&mut self, key: &ObjectKey, uid: &str) -> &mut Memory {
        let memory = self.memory.entry(key.clone()).or_default();
        if memory.uid != uid {
            *memory = Memory {
                uid: uid.to_owned(),
                ..Memory::default()
            };
        }
        memory
    }

    /// Forgets all but what is watched.
    pub(crate) fn forget_all(&mut self) {
        *self = Self {
            watched: std::mem::take(&mut self.watched),
            ..Self::default()
        };
    }

    /// Takes in what a watch says of objects that may be applied ones. Answers who has to look, and when.
    pub(crate) fn watched(
        &mut self,
        resource: &'static Resource,
        signal: Signal<'_>,
        now: Timestamp,
    ) -> Vec<(ObjectKey, Timestamp)> {
        let (object, gone) = match signal {
            Signal::ListStart => {
                self.watched.list_start(resource);
                return Vec::new();
            }
            Signal::ListEnd { .. } => {
                let there = self.watched.list_end(resource);
                let all = self.memory.iter_mut();
                let all = all.map(|(key, memory)| (key, &mut memory.drift));
                return drift::missing(resource, &there, all, now);
            }
            Signal::Applied(object) => (object, false),
            Signal::Deleted(object) => (object, true),
            // The end of the watch says so.
            Signal::Unserved { .. } => return Vec::new(),
        };
        let Some(metadata) = object.metadata().filter(|_| !self.memory.is_empty()) else {
            return Vec::new();
        };
        let id = drift::id_of(resource, &metadata);
        self.watched.note(resource, &id);
        let labelled = metadata
            .delivery()
            .map(|(namespace, name)| ObjectKey::new(namespace, name));
        // The labels may be what somebody took away.
        let key = labelled.or_else(|| {
            let mut all = self.memory.iter();
            all.find_map(|(key, memory)| memory.drift.knows(&id).then(|| key.clone()))
        });
        let state = (!gone).then(|| metadata.fingerprint());
        let seen = key.and_then(|key| {
            let due = self.memory.get_mut(&key)?.drift.seen(id, state, now)?;
            Some((key, due))
        });
        seen.into_iter().collect()
    }

    /// What of a Delivery's objects is to be compared with Git now.
    fn compare(&mut self, key: &ObjectKey, now: Timestamp) -> Compare {
        let memory = self.memory.get_mut(key);
        memory.map_or(Compare::Nothing, |memory| {
            memory.drift.due(key, &self.watched, now)
        })
    }

    /// Has the kinds of these objects watched from now on.
    fn watch<'a>(&mut self, ids: impl Iterator<Item = &'a ObjectId>) {
        for id in ids {
            if let Some(resource) = self.resource(&id.api_version(), &id.kind) {
                self.watched.want(resource);
            }
        }
    }

    /// Kinds that are known for certain at the moment.
    fn kinds(&self, now: Timestamp) -> BTreeMap<String, Kinds> {
        let fresh = |served: &Served| now.duration_since(served.at) < SERVED_FOR;
        let known = self.served.iter().filter(|(_, served)| fresh(served));
        known
            .map(|(version, served)| (version.clone(), served.kinds.clone()))
            .collect()
    }

    /// Takes in what an API version serves: an `APIResourceList`, or `None` if there is none.
    fn learn_kinds(&mut self, api_version: &str, list: Option<&Value>, now: Timestamp) -> Kinds {
        let mut resources = BTreeMap::new();
        let items = list.and_then(|list| list.get("resources")?.as_array());
        for item in items.into_iter().flatten() {
            let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
            let (name, kind) = (text("name"), text("kind"));
            if name.is_empty() || kind.is_empty() || name.contains('/') {
                continue;
            }
            let namespaced = item.get("namespaced") == Some(&Value::Bool(true));
            resources.insert(
                kind.to_owned(),
                Resource::discovered(api_version, name, kind, namespaced),
            );
        }
        let of = |(kind, resource): (&String, &&'static Resource)| (kind.clone(), resource.namespaced);
        let kinds: Kinds = list.map(|_| Arc::new(resources.iter().map(of).collect()));
        let served = Served {
            at: now,
            kinds: kinds.clone(),
            resources,
        };
        self.served.insert(api_version.to_owned(), served);
        kinds
    }

    fn resource(&self, api_version: &str, kind: &str) -> Option<&'static Resource> {
        self.served.get(api_version)?.resources.get(kind).copied()
    }
}

/// Doubling from five seconds.
fn retry_delay(failures: u32) -> SignedDuration {
    SignedDuration::from_secs(5)
        .saturating_mul(2_i32.saturating_pow(failures.min(10)))
        .min(MAX_RETRY)
}
