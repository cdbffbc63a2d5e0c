//! What is known of the cluster, kept small: Rollouts and routes as compact text, ReplicaSets and Services as the few
//! values that a plan needs, each with an index of who depends on it.
//!
//! Watches and the answers to our own writes feed the same stores and the newest version wins, so no plan is made from a
//! state that is older than our own last write.

mod recent;
pub(crate) mod refs;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::labels::INSTANCE_ID_LABEL;
use tidegate_crds::{
    AnalysisRun, AnalysisTemplate, AnalysisTemplateSpec, Delivery, LabelSelector, ObjectMeta, Rollout,
    decode::tolerant,
};
use tidegate_engine::observed::{ReplicaSetView, ServiceView};
use tidegate_engine::{Observed, Paused};
use tidegate_traffic::{Dialect, ObjectRef, RouteKind, Routes};

use self::recent::Recent;
use self::refs::Ref;
use self::store::{Entry, Store};
use crate::object::{Kind, Object, ObjectKey, controller_of};
use crate::options::{Options, Part};
use crate::slim::{self, KeptReplicaSet, RawMetadata, RawReplicaSet, RawService};

/// How deep templates may name each other.
const MAX_TEMPLATE_DEPTH: usize = 16;

/// Who has to look, after news.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// A Rollout.
    Rollout { key: ObjectKey, urgent: bool },
    /// An analysis run.
    Run(ObjectKey),
    /// A Service that may have to be let go of (contract 3.5).
    Service(ObjectKey),
    /// A Delivery.
    Delivery { key: ObjectKey, urgent: bool },
    /// A Rollout that is gone.
    Deleted {
        key: ObjectKey,
        uid: Box<str>,
        version: Box<str>,
    },
}

/// An object that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?} {name} cannot be read: {message}")]
pub(crate) struct Unreadable {
    kind: Kind,
    name: String,
    message: String,
}

#[derive(Clone, Debug)]
struct RolloutEntry {
    text: Box<str>,
    refs: Box<[Ref]>,
    templates: BTreeSet<TemplateKey>,
    selector: Option<LabelSelector>,
    paused: Option<Paused>,
}

#[derive(Clone, Debug)]
struct ReplicaSetEntry {
    kept: KeptReplicaSet,
    /// Labels, of one that nobody controls: it may be adopted.
    orphan: Option<BTreeMap<String, String>>,
}

/// A Service or route object. What no Rollout refers to is only known to exist.
#[derive(Clone, Debug)]
enum Slot<T> {
    Kept {
        data: T,
        /// Last change of what it routes.
        since: Timestamp,
    },
    Dropped,
}

impl<T> Slot<T> {
    fn data(&self) -> Option<&T> {
        match self {
            Self::Kept { data, .. } => Some(data),
            Self::Dropped => None,
        }
    }

    fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Kept { since, .. } => Some(*since),
            Self::Dropped => None,
        }
    }
}

/// Who controls an object, as the indexes have it: an owner is one of the object's own namespace, so that nobody is heard who says
/// otherwise of an object elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    namespace: Box<str>,
    /// `None`: nobody controls it.
    uid: Option<Box<str>>,
}

impl Holder {
    fn of(object: &ObjectKey, uid: Option<&str>) -> Self {
        Self {
            namespace: object.namespace.as_str().into(),
            uid: uid.map(Box::from),
        }
    }
}

#[derive(Clone, Debug)]
struct RouteEntry {
    text: Box<str>,
    owner: Option<String>,
}

#[derive(Clone, Debug)]
struct RunEntry {
    text: Box<str>,
    owner: Option<String>,
    finished: bool,
    /// This process created it.
    made_here: bool,
}

#[derive(Clone, Debug)]
struct DeliveryEntry {
    text: Box<str>,
    /// Rollouts of the commits that it remembers.
    rollouts: Box<[ObjectKey]>,
}

#[derive(Clone, Debug)]
struct TemplateEntry {
    spec: Arc<AnalysisTemplateSpec>,
}

/// All that is known.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    instance_id: Option<String>,
    /// What is known is what this needs.
    part: Part,
    /// Deliveries are known.
    with_deliveries: bool,
    /// When this process started: nothing is known of routes before.
    started: Timestamp,
    rollouts: Store<RolloutEntry>,
    /// Some of them, read.
    recent: Recent,
    /// Boxed, because half of a tree's places are empty.
    replica_sets: Store<Box<ReplicaSetEntry>>,
    services: Store<Slot<ServiceView>>,
    routes: BTreeMap<&'static RouteKind, Store<Slot<RouteEntry>>>,
    /// Kinds of route objects that the API server does not show, and why.
    unserved: BTreeMap<&'static RouteKind, String>,
    /// The versions of route objects that are spoken.
    dialect: Dialect,
    runs: Store<RunEntry>,
    templates: Store<TemplateEntry>,
    cluster_templates: Store<TemplateEntry>,
    jobs: Store<()>,
    deliveries: Store<DeliveryEntry>,
    /// Rollouts, and the Deliveries that are judged by them.
    followers: BTreeSet<(ObjectKey, ObjectKey)>,
    workloads: BTreeMap<Kind, Store<Option<Box<str>>>>,
    /// Rollouts, as the holders that they are.
    holders: BTreeMap<Holder, ObjectKey>,
    /// Objects by who holds them.
    owned: BTreeMap<Kind, BTreeMap<Holder, BTreeSet<ObjectKey>>>,
    /// What is named, and the Rollouts that name it. One set: a set of its own for each name would take half a kilobyte.
    users: BTreeSet<(Ref, ObjectKey)>,
}

impl Cache {
    pub(crate) fn new(options: &Options, started: Timestamp) -> Self {
        Self {
            instance_id: options.settings.instance_id.clone(),
            part: options.part,
            with_deliveries: options.deliveries,
            started,
            rollouts: Store::default(),
            recent: Recent::default(),
            replica_sets: Store::default(),
            services: Store::default(),
            routes: BTreeMap::new(),
            unserved: BTreeMap::new(),
            dialect: options.dialect.clone(),
            runs: Store::default(),
            templates: Store::default(),
            cluster_templates: Store::default(),
            jobs: Store::default(),
            deliveries: Store::default(),
            followers: BTreeSet::new(),
            workloads: BTreeMap::new(),
            holders: BTreeMap::new(),
            owned: BTreeMap::new(),
            users: BTreeSet::new(),
        }
    }

    /// Whether every kind that matters to all has been listed completely. For the others only those wait that name such objects.
    pub(crate) fn synced(&self) -> bool {
        // Asked before each job: of no use to sort them.
        let mut needed = self.wanting().filter(|kind| !kind.is_optional());
        needed.all(|kind| self.listed(kind))
    }

    /// Whether a Rollout names an object of a kind that has not been listed yet.
    pub(crate) fn waits_for_a_list(&self, rollout: &ObjectKey) -> bool {
        let entry = self.rollouts.get(rollout);
        let mut kinds = entry
            .into_iter()
            .flat_map(|entry| &entry.data.refs)
            .map(|(kind, _)| *kind);
        kinds.any(|kind| kind.is_optional() && !self.listed(kind))
    }

    /// Whether a kind has been listed completely once.
    pub(crate) fn listed(&self, kind: Kind) -> bool {
        match kind {
            Kind::Rollout => self.rollouts.synced(),
            Kind::ReplicaSet => self.replica_sets.synced(),
            Kind::Service => self.services.synced(),
            Kind::Route(route) => self.is_unserved(kind) || self.routes.get(route).is_some_and(Store::synced),
            Kind::AnalysisRun => self.runs.synced(),
            Kind::AnalysisTemplate => self.templates.synced(),
            Kind::ClusterAnalysisTemplate => self.cluster_templates.synced(),
            Kind::Job => self.jobs.synced(),
            Kind::Delivery => self.deliveries.synced(),
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                self.workloads.get(&kind).is_some_and(Store::synced)
            }
        }
    }

    /// Kinds to watch: the ones that are always, those of workloads and routes that Rollouts name, and those of routes that we make,
    /// where they are served.
    pub(crate) fn wanted(&self) -> BTreeSet<Kind> {
        self.wanting().collect()
    }

    /// The same, some of them more than once.
    fn wanting(&self) -> Box<dyn Iterator<Item = Kind> + '_> {
        match self.part {
            Part::All => {}
            Part::Analysis => return Box::new([Kind::AnalysisRun, Kind::Job].into_iter()),
            Part::Deliveries => {
                return Box::new([Kind::Rollout, Kind::AnalysisRun, Kind::Delivery].into_iter());
            }
        }
        let named = self.users.iter().map(|((kind, _), _)| *kind);
        // What a process left behind that ended before it could delete it is named by nobody.
        let left_behind = self.dialect.kinds().filter(|kind| kind.made).map(Kind::Route);
        let always =
            Kind::all().filter(|kind| kind.always() || *kind == Kind::Delivery && self.with_deliveries);
        let left_behind = left_behind.filter(|kind| !self.is_unserved(*kind));
        Box::new(always.chain(left_behind).chain(named))
    }

    /// Whether the API server does not show a kind.
    pub(crate) fn is_unserved(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Route(kind) if self.unserved.contains_key(kind))
    }

    /// How many objects of each kind are known.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Kind, usize)> {
        let first = [
            (Kind::Rollout, self.rollouts.len()),
            (Kind::ReplicaSet, self.replica_sets.len()),
            (Kind::Service, self.services.len()),
        ];
        let routes =
            tidegate_traffic::kinds().filter(|kind| kind.everywhere || self.routes.contains_key(kind));
        let routes = routes.map(|kind| (Kind::Route(kind), self.routes.get(kind).map_or(0, Store::len)));
        let runs = [(Kind::AnalysisRun, self.runs.len())];
        first.into_iter().chain(routes).chain(runs)
    }

    pub(crate) fn list_start(&mut self, kind: Kind) {
        match kind {
            Kind::Rollout => self.rollouts.list_start(),
            Kind::ReplicaSet => self.replica_sets.list_start(),
            Kind::Service => self.services.list_start(),
            Kind::Route(kind) => self.routes.entry(kind).or_default().list_start(),
            Kind::AnalysisRun => self.runs.list_start(),
            Kind::AnalysisTemplate => self.templates.list_start(),
            Kind::ClusterAnalysisTemplate => self.cluster_templates.list_start(),
            Kind::Job => self.jobs.list_start(),
            Kind::Delivery => self.deliveries.list_start(),
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                self.workloads.entry(kind).or_default().list_start();
            }
        }
    }

    /// The end of a list of the given resourceVersion: what it has not shown is gone.
    pub(crate) fn list_end(&mut self, kind: Kind, version: &str) -> Vec<Look> {
        fn keys<T>(gone: Vec<(ObjectKey, Entry<T>)>) -> Vec<(ObjectKey, Box<str>)> {
            gone.into_iter().map(|(key, entry)| (key, entry.uid)).collect()
        }
        match kind {
            Kind::Rollout => {
                let gone = self.rollouts.list_end(version);
                gone.into_iter()
                    .flat_map(|(key, entry)| self.rollout_gone(&key, &entry))
                    .collect()
            }
            Kind::ReplicaSet => {
                let gone = self.replica_sets.list_end(version);
                gone.into_iter()
                    .flat_map(|(key, entry)| self.replica_set_gone(&key, &entry.data))
                    .collect()
            }
            Kind::Service => {
                let gone = keys(self.services.list_end(version));
                gone.into_iter()
                    .flat_map(|(key, _)| self.users_of(kind, &key))
                    .collect()
            }
            Kind::Route(route) => {
                let gone = self.routes.entry(route).or_default().list_end(version);
                let gone = gone.into_iter();
                let looks = gone.flat_map(|(key, entry)| self.route_gone(route, &key, &entry.data));
                let looks: Vec<Look> = looks.collect();
                let now_served = self.unserved.remove(route).is_some();
                let waiting = now_served.then(|| self.users_of_kind(kind)).into_iter().flatten();
                looks.into_iter().chain(waiting).collect()
            }
            Kind::AnalysisRun => {
                let gone = self.runs.list_end(version);
                gone.into_iter()
                    .flat_map(|(key, entry)| self.run_gone(&key, &entry.data))
                    .collect()
            }
            Kind::AnalysisTemplate => {
                let gone = keys(self.templates.list_end(version));
                gone.into_iter()
                    .flat_map(|(key, _)| self.template_users(false, &key))
                    .collect()
            }
            Kind::ClusterAnalysisTemplate => {
                let gone = keys(self.cluster_templates.list_end(version));
                gone.into_iter()
                    .flat_map(|(key, _)| self.template_users(true, &key))
                    .collect()
            }
            Kind::Job => {
                self.jobs.list_end(version);
                Vec::new()
            }
            Kind::Delivery => {
                let gone = self.deliveries.list_end(version);
                gone.into_iter()
                    .flat_map(|(key, entry)| self.delivery_gone(&key, &entry.data))
                    .collect()
            }
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                let gone = self.workloads.entry(kind).or_default().list_end(version);
                gone.into_iter()
                    .flat_map(|(key, _)| self.users_of(kind, &key))
                    .collect()
            }
        }
    }

    /// Takes in an object. News answer who has to look; old versions answer nobody.
    pub(crate) fn apply(
        &mut self,
        kind: Kind,
        object: Object<'_>,
        now: Timestamp,
    ) -> Result<Vec<Look>, Unreadable> {
        let unreadable = |message: serde_json::Error| Unreadable {
            kind,
            name: match object.decode::<RawMetadata>() {
                Ok(raw) => format!("{}/{}", raw.metadata.namespace, raw.metadata.name),
                Err(_) => "(no readable name)".to_owned(),
            },
            message: message.to_string(),
        };
        match kind {
            Kind::Rollout => self
                .apply_rollout(object)
                .map(|looks| self.with_followers(looks))
                .map_err(unreadable),
            Kind::ReplicaSet => self.apply_replica_set(object).map_err(unreadable),
            Kind::Service => self.apply_service(object, now).map_err(unreadable),
            Kind::Route(kind) => self.apply_route(kind, object, now).map_err(unreadable),
            Kind::AnalysisRun => self
                .apply_run(object)
                .map(|looks| self.with_followers(looks))
                .map_err(unreadable),
            Kind::AnalysisTemplate => self.apply_template(false, object).map_err(unreadable),
            Kind::ClusterAnalysisTemplate => self.apply_template(true, object).map_err(unreadable),
            Kind::Job => Self::job(object).map_err(unreadable),
            Kind::Delivery => self.apply_delivery(object).map_err(unreadable),
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                self.apply_workload(kind, object).map_err(unreadable)
            }
        }
    }

    /// Takes out an object that the watch says is gone.
    pub(crate) fn delete(&mut self, kind: Kind, object: Object<'_>) -> Vec<Look> {
        let Ok(RawMetadata { metadata }) = object.decode() else {
            return Vec::new();
        };
        let key = ObjectKey::new(metadata.namespace, metadata.name);
        if kind == Kind::Job {
            return Self::job(object).unwrap_or_default();
        }
        self.gone(kind, &key, &metadata.uid, Some(&metadata.resource_version))
    }

    /// Takes out an object that we deleted.
    pub(crate) fn deleted_by_us(&mut self, kind: Kind, key: &ObjectKey, uid: &str) -> Vec<Look> {
        self.gone(kind, key, uid, None)
    }

    /// `end` is the version with which the watch says that it is gone.
    fn gone(&mut self, kind: Kind, key: &ObjectKey, uid: &str, end: Option<&str>) -> Vec<Look> {
        fn take<T>(store: &mut Store<T>, key: &ObjectKey, uid: &str, end: Option<&str>) -> Option<Entry<T>> {
            match end {
                Some(version) => store.end(key, uid, version),
                None => store.bury(key, uid),
            }
        }
        match kind {
            Kind::Rollout => match take(&mut self.rollouts, key, uid, end) {
                Some(entry) => {
                    let looks = self.rollout_gone(key, &entry);
                    self.with_followers(looks)
                }
                None => Vec::new(),
            },
            Kind::ReplicaSet => match take(&mut self.replica_sets, key, uid, end) {
                Some(entry) => self.replica_set_gone(key, &entry.data),
                None => Vec::new(),
            },
            Kind::Service => match take(&mut self.services, key, uid, end) {
                Some(_) => self.users_of(kind, key),
                None => Vec::new(),
            },
            Kind::Route(kind) => match take(self.routes.entry(kind).or_default(), key, uid, end) {
                Some(entry) => self.route_gone(kind, key, &entry.data),
                None => Vec::new(),
            },
            Kind::AnalysisRun => match take(&mut self.runs, key, uid, end) {
                Some(entry) => self.run_gone(key, &entry.data),
                None => Vec::new(),
            },
            Kind::AnalysisTemplate => match take(&mut self.templates, key, uid, end) {
                Some(_) => self.template_users(false, key),
                None => Vec::new(),
            },
            Kind::ClusterAnalysisTemplate => match take(&mut self.cluster_templates, key, uid, end) {
                Some(_) => self.template_users(true, key),
                None => Vec::new(),
            },
            Kind::Job => Vec::new(),
            Kind::Delivery => match take(&mut self.deliveries, key, uid, end) {
                Some(entry) => self.delivery_gone(key, &entry.data),
                None => Vec::new(),
            },
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                match take(self.workloads.entry(kind).or_default(), key, uid, end) {
                    Some(_) => self.users_of(kind, key),
                    None => Vec::new(),
                }
            }
        }
    }

    // Rollouts

    fn apply_rollout(&mut self, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        if !self.is_mine(&metadata) {
            return Ok(self.gone(
                Kind::Rollout,
                &key,
                &metadata.uid,
                Some(&metadata.resource_version),
            ));
        }
        self.rollouts.list_shows(&key);
        if !self
            .rollouts
            .is_news(&key, &metadata.uid, &metadata.resource_version)
        {
            return Ok(Vec::new());
        }
        let text = object.compact()?;
        let (rollout, dropped) = tolerant::<Rollout>(serde_json::from_str(&text)?);
        for field in &dropped {
            tracing::warn!(rollout = %key, path = field.path, "a field that cannot be read is taken as absent");
        }
        let mut looks = BTreeSet::new();
        let old = self.rollouts.get(&key).cloned();
        let changes = old.is_some();
        let mut paused = None;
        if let Some(old) = old {
            if *old.uid != *metadata.uid {
                looks.extend(self.rollout_gone(&key, &old));
            }
            self.forget_refs(&key, &old.data.refs);
            paused = old.data.paused.filter(|_| *old.uid == *metadata.uid);
        }
        let entry = RolloutEntry {
            refs: refs::of(&rollout, &self.dialect).into_iter().collect(),
            templates: refs::templates(&rollout.spec),
            selector: rollout.spec.selector.clone(),
            paused: Paused::after(paused, &rollout.status),
            text,
        };
        for reference in &entry.refs {
            self.users.insert((reference.clone(), key.clone()));
        }
        self.holders
            .insert(Holder::of(&key, Some(&metadata.uid)), key.clone());
        let named = entry.refs.clone();
        let urgent = rollout.status.abort == Some(true) && rollout.status.aborted_at.is_none();
        if changes {
            // The first list tells of all of them, and of those few are released.
            self.recent.put(key.clone(), rollout);
        }
        self.rollouts.put(
            key.clone(),
            Entry {
                uid: metadata.uid.into(),
                version: metadata.resource_version.into(),
                data: entry,
            },
        );
        looks.extend(
            self.managed_by(&key)
                .filter(|service| !named.contains(&(Kind::Service, service.clone())))
                .map(Look::Service),
        );
        looks.insert(Look::Rollout { key, urgent });
        Ok(looks.into_iter().collect())
    }

    fn rollout_gone(&mut self, key: &ObjectKey, entry: &Entry<RolloutEntry>) -> Vec<Look> {
        self.recent.forget(key);
        self.holders.remove(&Holder::of(key, Some(&entry.uid)));
        self.forget_refs(key, &entry.data.refs);
        let services: Vec<ObjectKey> = self.managed_by(key).collect();
        let looks = services.into_iter().map(Look::Service);
        looks
            .chain([
                Look::Rollout {
                    key: key.clone(),
                    urgent: false,
                },
                Look::Deleted {
                    key: key.clone(),
                    uid: entry.uid.clone(),
                    version: entry.version.clone(),
                },
            ])
            .collect()
    }

    fn forget_refs(&mut self, key: &ObjectKey, refs: &[Ref]) {
        for reference in refs {
            self.users.remove(&(reference.clone(), key.clone()));
        }
    }

    /// Services that say that a Rollout manages them.
    fn managed_by<'a>(&'a self, rollout: &'a ObjectKey) -> impl Iterator<Item = ObjectKey> + 'a {
        let kept = self.services.within(&rollout.namespace).filter(|(_, entry)| {
            let view = entry.data.data();
            view.is_some_and(|view| view.managed_by.as_deref() == Some(rollout.name.as_str()))
        });
        kept.map(|(key, _)| key.clone())
    }

    /// Whether an object is this instance's (F19).
    fn is_mine(&self, metadata: &ObjectMeta) -> bool {
        metadata.labels.get(INSTANCE_ID_LABEL) == self.instance_id.as_ref()
    }

    /// Rollouts that name an object.
    fn naming(&self, kind: Kind, key: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        let reference = (kind, key.clone());
        let from = (reference.clone(), ObjectKey::default());
        let users = self.users.range(from..);
        users
            .take_while(move |(named, _)| *named == reference)
            .map(|(_, user)| user)
    }

    fn users_of(&self, kind: Kind, key: &ObjectKey) -> Vec<Look> {
        self.naming(kind, key)
            .map(|key| Look::Rollout {
                key: key.clone(),
                urgent: false,
            })
            .collect()
    }

    /// The Rollout that controls an object.
    fn owner(&self, object: &ObjectKey, uid: Option<&str>) -> Option<&ObjectKey> {
        self.holders.get(&Holder::of(object, Some(uid?)))
    }

    /// Who holds an object, before and after what is known of it changed.
    fn own(&mut self, kind: Kind, key: &ObjectKey, before: Option<&Holder>, after: Option<&Holder>) {
        if before == after {
            return;
        }
        let owned = self.owned.entry(kind).or_default();
        if let Some(keys) = before.and_then(|before| owned.get_mut(before)) {
            keys.remove(key);
        }
        if let Some(before) = before
            && owned.get(before).is_some_and(BTreeSet::is_empty)
        {
            owned.remove(before);
        }
        if let Some(after) = after {
            owned.entry(after.clone()).or_default().insert(key.clone());
        }
    }

    /// Objects of a kind that a Rollout of that uid controls; without one, those of its namespace that nobody does.
    fn owned_by<'a>(
        &'a self,
        kind: Kind,
        rollout: &ObjectKey,
        uid: Option<&str>,
    ) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.owned
            .get(&kind)
            .and_then(|owned| owned.get(&Holder::of(rollout, uid)))
            .into_iter()
            .flatten()
    }

    // ReplicaSets

    fn apply_replica_set(&mut self, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let raw: RawReplicaSet = object.decode()?;
        let key = ObjectKey::new(raw.metadata.namespace.as_str(), raw.metadata.name.as_str());
        if !raw.is_of_a_version() {
            // As its watch has it, whoever tells of it.
            return Ok(self.gone(
                Kind::ReplicaSet,
                &key,
                &raw.metadata.uid,
                Some(&raw.metadata.resource_version),
            ));
        }
        self.replica_sets.list_shows(&key);
        if !self
            .replica_sets
            .is_news(&key, &raw.metadata.uid, &raw.metadata.resource_version)
        {
            return Ok(Vec::new());
        }
        let orphan = controller_of(&raw.metadata)
            .is_none()
            .then(|| raw.metadata.labels.clone());
        let view = raw.view();
        let (uid, version) = (view.uid.as_str().into(), view.resource_version.as_str().into());
        let kept = KeptReplicaSet::new(view);
        let owner = holder(&key, &kept);
        let entry = Entry {
            uid,
            version,
            data: Box::new(ReplicaSetEntry { kept, orphan }),
        };
        let mut looks: BTreeSet<Look> = self.replica_set_users(&key, &entry.data).into_iter().collect();
        let before = self.replica_sets.put(key.clone(), entry);
        let before_owner = before.as_ref().map(|entry| holder(&key, &entry.data.kept));
        self.own(Kind::ReplicaSet, &key, before_owner.as_ref(), Some(&owner));
        if let Some(before) = before.filter(|_| before_owner.as_ref() != Some(&owner)) {
            looks.extend(self.replica_set_users(&key, &before.data));
        }
        Ok(looks.into_iter().collect())
    }

    fn replica_set_gone(&mut self, key: &ObjectKey, entry: &ReplicaSetEntry) -> Vec<Look> {
        self.own(Kind::ReplicaSet, key, Some(&holder(key, &entry.kept)), None);
        self.replica_set_users(key, entry)
    }

    /// The Rollout that owns it; of an orphan, the ones that select it.
    fn replica_set_users(&self, key: &ObjectKey, entry: &ReplicaSetEntry) -> Vec<Look> {
        let Some(labels) = &entry.orphan else {
            let owner = self.owner(key, entry.kept.controller_uid.as_deref());
            return owner
                .map(|key| Look::Rollout {
                    key: key.clone(),
                    urgent: false,
                })
                .into_iter()
                .collect();
        };
        let selecting = self.rollouts.within(&key.namespace).filter(|(_, rollout)| {
            rollout
                .data
                .selector
                .as_ref()
                .is_some_and(|selector| slim::matches(selector, labels))
        });
        selecting
            .map(|(key, _)| Look::Rollout {
                key: key.clone(),
                urgent: false,
            })
            .collect()
    }

    // Services and routes

    fn apply_service(&mut self, object: Object<'_>, now: Timestamp) -> Result<Vec<Look>, serde_json::Error> {
        let raw: RawService = object.decode()?;
        let key = ObjectKey::new(raw.metadata.namespace.as_str(), raw.metadata.name.as_str());
        self.services.list_shows(&key);
        if !self
            .services
            .is_news(&key, &raw.metadata.uid, &raw.metadata.resource_version)
            && !self.is_dropped(Kind::Service, &key)
        {
            return Ok(Vec::new());
        }
        let view = raw.view();
        let looks = self.users_of(Kind::Service, &key);
        let (uid, version) = (view.uid.as_str().into(), view.resource_version.as_str().into());
        let managed = view.managed_by.is_some();
        let data = if looks.is_empty() && !managed {
            Slot::Dropped
        } else {
            let before = self.services.get(&key);
            let same = before
                .and_then(|entry| entry.data.data())
                .is_some_and(|old| old.uid == view.uid && old.selector == view.selector);
            let since = since(before, same, self.services.synced(), self.started, now);
            Slot::Kept { data: view, since }
        };
        self.services.put(key.clone(), Entry { uid, version, data });
        Ok(looks
            .into_iter()
            .chain(managed.then_some(Look::Service(key)))
            .collect())
    }

    fn apply_route(
        &mut self,
        kind: &'static RouteKind,
        object: Object<'_>,
        now: Timestamp,
    ) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        let dropped = self.is_dropped(Kind::Route(kind), &key);
        let store = self.routes.entry(kind).or_default();
        store.list_shows(&key);
        if !store.is_news(&key, &metadata.uid, &metadata.resource_version) && !dropped {
            return Ok(Vec::new());
        }
        let owner = controller_of(&metadata)
            .filter(|owner| owner.kind == "Rollout")
            .map(|owner| owner.uid);
        let users = self.users_of(Kind::Route(kind), &key);
        let before = self.route(kind, &key);
        let before_owner = before
            .and_then(|entry| entry.data.data())
            .and_then(|entry| entry.owner.clone());
        let data = if users.is_empty() && owner.is_none() {
            Slot::Dropped
        } else {
            let text = object.compact()?;
            let same = before
                .and_then(|entry| entry.data.data())
                .is_some_and(|old| routing_of(kind, &old.text) == routing_of(kind, &text));
            let synced = self.routes.get(kind).is_some_and(Store::synced);
            let since = since(before, same, synced, self.started, now);
            Slot::Kept {
                data: RouteEntry {
                    text,
                    owner: owner.clone(),
                },
                since,
            }
        };
        let [before_holder, holder] = [&before_owner, &owner].map(|uid| held(&key, uid.as_deref()));
        self.own(Kind::Route(kind), &key, before_holder.as_ref(), holder.as_ref());
        let owners = [before_owner.as_deref(), owner.as_deref()];
        let mut looks: BTreeSet<Look> = users.into_iter().collect();
        for owner in owners.into_iter().filter_map(|uid| self.owner(&key, uid)) {
            looks.insert(Look::Rollout {
                key: owner.clone(),
                urgent: false,
            });
        }
        let entry = Entry {
            uid: metadata.uid.into(),
            version: metadata.resource_version.into(),
            data,
        };
        self.routes.entry(kind).or_default().put(key, entry);
        Ok(looks.into_iter().collect())
    }

    fn route(&self, kind: &'static RouteKind, key: &ObjectKey) -> Option<&Entry<Slot<RouteEntry>>> {
        self.routes.get(kind)?.get(key)
    }

    fn route_gone(
        &mut self,
        kind: &'static RouteKind,
        key: &ObjectKey,
        slot: &Slot<RouteEntry>,
    ) -> Vec<Look> {
        let owner = slot.data().and_then(|entry| entry.owner.as_deref());
        self.own(Kind::Route(kind), key, held(key, owner).as_ref(), None);
        let mut looks: BTreeSet<Look> = self.users_of(Kind::Route(kind), key).into_iter().collect();
        looks.extend(self.owner(key, owner).map(|key| Look::Rollout {
            key: key.clone(),
            urgent: false,
        }));
        looks.into_iter().collect()
    }

    /// The API server does not show a kind, and says why: those who name such objects are told, and nobody else waits for it.
    /// What was seen of it before is kept, unless the kind itself is `gone`.
    pub(crate) fn unserved(&mut self, kind: Kind, why: &str, gone: bool) -> Vec<Look> {
        let Kind::Route(route) = kind else {
            return Vec::new();
        };
        if route.everywhere || !gone && self.routes.get(route).is_some_and(Store::synced) {
            return Vec::new();
        }
        if self.unserved.insert(route, why.to_owned()).as_deref() == Some(why) {
            return Vec::new();
        }
        let mut looks = self.users_of_kind(kind);
        for (key, entry) in self
            .routes
            .remove(route)
            .into_iter()
            .flat_map(Store::into_entries)
        {
            looks.extend(self.route_gone(route, &key, &entry.data));
        }
        looks
    }

    /// Rollouts that name any object of a kind.
    fn users_of_kind(&self, kind: Kind) -> Vec<Look> {
        let users = self.users.iter().filter(|((named, _), _)| *named == kind);
        users
            .map(|(_, key)| Look::Rollout {
                key: key.clone(),
                urgent: false,
            })
            .collect()
    }

    /// Whether an object that a Rollout refers to is only known to exist: it has to be read.
    fn is_dropped(&self, kind: Kind, key: &ObjectKey) -> bool {
        if self.naming(kind, key).next().is_none() {
            return false;
        }
        match kind {
            Kind::Service => self
                .services
                .get(key)
                .is_some_and(|entry| entry.data.data().is_none()),
            Kind::Route(kind) => self
                .route(kind, key)
                .is_some_and(|entry| entry.data.data().is_none()),
            Kind::Deployment | Kind::PodTemplate | Kind::WorkloadReplicaSet => {
                let entry = self.workloads.get(&kind).and_then(|store| store.get(key));
                entry.is_some_and(|entry| entry.data.is_none())
            }
            _ => false,
        }
    }

    /// What a Rollout refers to and has to be read first, because it was not kept while nobody referred to it.
    pub(crate) fn unread(&self, rollout: &ObjectKey) -> Vec<(Kind, ObjectKey)> {
        let refs = self.rollouts.get(rollout).map(|entry| &entry.data.refs);
        refs.into_iter()
            .flatten()
            .filter(|(kind, key)| self.is_dropped(*kind, key))
            .cloned()
            .collect()
    }

    fn apply_workload(&mut self, kind: Kind, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        let dropped = self.is_dropped(kind, &key);
        let looks = self.users_of(kind, &key);
        let store = self.workloads.entry(kind).or_default();
        store.list_shows(&key);
        if !store.is_news(&key, &metadata.uid, &metadata.resource_version) && !dropped {
            return Ok(Vec::new());
        }
        let data = if looks.is_empty() {
            None
        } else {
            Some(object.compact()?)
        };
        store.put(
            key,
            Entry {
                uid: metadata.uid.into(),
                version: metadata.resource_version.into(),
                data,
            },
        );
        Ok(looks)
    }

    // Analysis

    fn apply_run(&mut self, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        if !self.is_mine(&metadata) {
            return Ok(self.gone(
                Kind::AnalysisRun,
                &key,
                &metadata.uid,
                Some(&metadata.resource_version),
            ));
        }
        self.runs.list_shows(&key);
        if !self.runs.is_news(&key, &metadata.uid, &metadata.resource_version) {
            return Ok(Vec::new());
        }
        let text = object.compact()?;
        let (run, dropped) = tolerant::<AnalysisRun>(serde_json::from_str(&text)?);
        for field in &dropped {
            tracing::warn!(run = %key, path = field.path, "a field that cannot be read is taken as absent");
        }
        let owner = controller_of(&metadata).map(|owner| owner.uid);
        let phase = &run.status.phase;
        let known = self.runs.get(&key);
        let entry = RunEntry {
            text,
            owner: owner.clone(),
            finished: phase.completed(),
            made_here: known.is_some_and(|known| *known.uid == *metadata.uid && known.data.made_here),
        };
        let before = self.runs.put(
            key.clone(),
            Entry {
                uid: metadata.uid.into(),
                version: metadata.resource_version.into(),
                data: entry,
            },
        );
        let before_owner = before.as_ref().and_then(|entry| entry.data.owner.as_deref());
        let [before_holder, holder] = [before_owner, owner.as_deref()].map(|uid| held(&key, uid));
        self.own(Kind::AnalysisRun, &key, before_holder.as_ref(), holder.as_ref());
        let was_finished = before.is_some_and(|entry| entry.data.finished);
        let urgent = !was_finished && phase.completed() && *phase != tidegate_crds::AnalysisPhase::Successful;
        let rollout = self.owner(&key, owner.as_deref());
        let looks = rollout
            .map(|key| Look::Rollout {
                key: key.clone(),
                urgent,
            })
            .into_iter();
        Ok(looks.chain([Look::Run(key)]).collect())
    }

    /// Notes that this process created a run that is known: the answer to its creation has been taken in.
    pub(crate) fn made(&mut self, key: &ObjectKey, uid: &str) {
        if let Some(entry) = self.runs.get_mut(key).filter(|entry| *entry.uid == *uid) {
            entry.data.made_here = true;
        }
    }

    fn run_gone(&mut self, key: &ObjectKey, entry: &RunEntry) -> Vec<Look> {
        let owner = entry.owner.as_deref();
        self.own(Kind::AnalysisRun, key, held(key, owner).as_ref(), None);
        let rollout = self.owner(key, owner);
        let looks = rollout
            .map(|key| Look::Rollout {
                key: key.clone(),
                urgent: false,
            })
            .into_iter();
        looks.chain([Look::Run(key.clone())]).collect()
    }

    /// A Job says only which run has to look.
    fn job(object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let owner = controller_of(&metadata).filter(|owner| owner.kind == "AnalysisRun");
        Ok(owner
            .map(|owner| Look::Run(ObjectKey::new(metadata.namespace, owner.name)))
            .into_iter()
            .collect())
    }

    // Deliveries

    fn apply_delivery(&mut self, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let RawMetadata { metadata } = object.decode()?;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        if !self.is_mine(&metadata) {
            return Ok(self.gone(
                Kind::Delivery,
                &key,
                &metadata.uid,
                Some(&metadata.resource_version),
            ));
        }
        self.deliveries.list_shows(&key);
        if !self
            .deliveries
            .is_news(&key, &metadata.uid, &metadata.resource_version)
        {
            return Ok(Vec::new());
        }
        let text = object.compact()?;
        let (delivery, dropped) = tolerant::<Delivery>(serde_json::from_str(&text)?);
        for field in &dropped {
            tracing::warn!(delivery = %key, path = field.path, "a field that cannot be read is taken as absent");
        }
        let named = delivery.status.ledger.iter().flat_map(|entry| &entry.rollouts);
        let named: BTreeSet<ObjectKey> = named
            .map(|rollout| ObjectKey::new(rollout.namespace.as_str(), rollout.name.as_str()))
            .collect();
        let data = DeliveryEntry {
            text,
            rollouts: named.iter().cloned().collect(),
        };
        let entry = Entry {
            uid: metadata.uid.into(),
            version: metadata.resource_version.into(),
            data,
        };
        if let Some(before) = self.deliveries.put(key.clone(), entry) {
            self.unfollow(&key, &before.data);
        }
        self.followers
            .extend(named.into_iter().map(|rollout| (rollout, key.clone())));
        Ok(vec![Look::Delivery { key, urgent: false }])
    }

    fn delivery_gone(&mut self, key: &ObjectKey, entry: &DeliveryEntry) -> Vec<Look> {
        self.unfollow(key, entry);
        vec![Look::Delivery {
            key: key.clone(),
            urgent: false,
        }]
    }

    fn unfollow(&mut self, key: &ObjectKey, entry: &DeliveryEntry) {
        for rollout in &entry.rollouts {
            self.followers.remove(&(rollout.clone(), key.clone()));
        }
    }

    /// Adds the Deliveries that are judged by the Rollouts that have to look.
    fn with_followers(&self, mut looks: Vec<Look>) -> Vec<Look> {
        let mut more = Vec::new();
        for look in &looks {
            let Look::Rollout { key, urgent } = look else {
                continue;
            };
            let from = (key.clone(), ObjectKey::default());
            let following = self
                .followers
                .range(from..)
                .take_while(|(rollout, _)| rollout == key);
            more.extend(following.map(|(_, delivery)| Look::Delivery {
                key: delivery.clone(),
                urgent: *urgent,
            }));
        }
        looks.extend(more);
        looks
    }

    fn apply_template(&mut self, cluster: bool, object: Object<'_>) -> Result<Vec<Look>, serde_json::Error> {
        let (template, dropped) = tolerant::<AnalysisTemplate>(object.decode::<Value>()?);
        let metadata = template.metadata;
        let key = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        for field in &dropped {
            tracing::warn!(template = %key, path = field.path, "a field that cannot be read is taken as absent");
        }
        let mine = self.is_mine(&metadata);
        let store = if cluster {
            &mut self.cluster_templates
        } else {
            &mut self.templates
        };
        if mine {
            store.list_shows(&key);
            if !store.is_news(&key, &metadata.uid, &metadata.resource_version) {
                return Ok(Vec::new());
            }
            let data = TemplateEntry {
                spec: Arc::new(template.spec),
            };
            store.put(
                key.clone(),
                Entry {
                    uid: metadata.uid.into(),
                    version: metadata.resource_version.into(),
                    data,
                },
            );
        } else {
            store.end(&key, &metadata.uid, &metadata.resource_version);
        }
        Ok(self.template_users(cluster, &key))
    }

    /// Rollouts that name a template, directly or through others. Templates change rarely, so there is no index.
    fn template_users(&self, cluster: bool, key: &ObjectKey) -> Vec<Look> {
        let rollouts = self
            .rollouts
            .iter()
            .filter(|(rollout, _)| cluster || rollout.namespace == key.namespace);
        let using = rollouts.filter(|(rollout, entry)| {
            let wanted = TemplateKey {
                cluster,
                name: key.name.clone(),
            };
            self.template_names(&rollout.namespace, &entry.data.templates)
                .contains(&wanted)
        });
        using
            .map(|(key, _)| Look::Rollout {
                key: key.clone(),
                urgent: false,
            })
            .collect()
    }

    /// The names themselves, and what those templates name in turn.
    fn template_names(&self, namespace: &str, direct: &BTreeSet<TemplateKey>) -> BTreeSet<TemplateKey> {
        let mut names = direct.clone();
        let mut fresh = direct.clone();
        for _ in 0..MAX_TEMPLATE_DEPTH {
            let named: BTreeSet<_> = fresh
                .iter()
                .filter_map(|key| self.template(namespace, key))
                .flat_map(|spec| spec.templates.iter().map(TemplateKey::from))
                .filter(|name| !names.contains(name))
                .collect();
            if named.is_empty() {
                break;
            }
            names.extend(named.iter().cloned());
            fresh = named;
        }
        names
    }

    fn template(&self, namespace: &str, key: &TemplateKey) -> Option<&Arc<AnalysisTemplateSpec>> {
        let (store, namespace) = if key.cluster {
            (&self.cluster_templates, "")
        } else {
            (&self.templates, namespace)
        };
        store
            .get(&ObjectKey::new(namespace, key.name.as_str()))
            .map(|entry| &entry.data.spec)
    }

    // What is asked of it

    /// Rollouts, with their text.
    pub(crate) fn rollouts(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.rollouts.iter().map(|(key, entry)| (key, &*entry.data.text))
    }

    /// Analysis runs, with their text.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.runs.iter().map(|(key, entry)| (key, &*entry.data.text))
    }

    /// Analysis templates: cluster-scoped or not, key, spec.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (bool, &ObjectKey, &AnalysisTemplateSpec)> {
        let own = self
            .templates
            .iter()
            .map(|(key, entry)| (false, key, &*entry.data.spec));
        own.chain(
            self.cluster_templates
                .iter()
                .map(|(key, entry)| (true, key, &*entry.data.spec)),
        )
    }

    /// A Delivery.
    pub(crate) fn delivery(&self, key: &ObjectKey) -> Option<Delivery> {
        let text = &self.deliveries.get(key)?.data.text;
        serde_json::from_str(text)
            .ok()
            .map(|value| tolerant::<Delivery>(value).0)
    }

    /// A Rollout, without what it depends on.
    pub(crate) fn rollout(&self, key: &ObjectKey) -> Option<Rollout> {
        if let Some(rollout) = self.recent.get(key) {
            return Some(rollout.clone());
        }
        let text = &self.rollouts.get(key)?.data.text;
        let value = serde_json::from_str(text).ok()?;
        Some(tolerant::<Rollout>(value).0)
    }

    /// Analysis runs of a Rollout.
    pub(crate) fn runs_of(&self, rollout: &ObjectKey) -> Vec<AnalysisRun> {
        let Some(entry) = self.rollouts.get(rollout) else {
            return Vec::new();
        };
        self.owned_by(Kind::AnalysisRun, rollout, Some(&entry.uid))
            .filter_map(|key| self.run(key))
            .collect()
    }

    /// All Deliveries.
    pub(crate) fn delivery_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.deliveries.iter().map(|(key, _)| key)
    }

    /// Whether there is a Delivery of that name.
    pub(crate) fn has_delivery(&self, key: &ObjectKey) -> bool {
        self.deliveries.get(key).is_some()
    }

    /// The analysis run of that name.
    pub(crate) fn has_rollout(&self, key: &ObjectKey) -> bool {
        self.rollouts.get(key).is_some()
    }

    pub(crate) fn has_run(&self, key: &ObjectKey) -> bool {
        self.runs.get(key).is_some()
    }

    pub(crate) fn run(&self, key: &ObjectKey) -> Option<AnalysisRun> {
        let text = &self.runs.get(key)?.data.text;
        serde_json::from_str(text)
            .ok()
            .map(|value| tolerant::<AnalysisRun>(value).0)
    }

    /// uids of the ReplicaSets of a Rollout with a pod template hash.
    pub(crate) fn replica_set_uids(&self, rollout: &ObjectKey, hash: &str) -> BTreeSet<String> {
        let Some(entry) = self.rollouts.get(rollout) else {
            return BTreeSet::new();
        };
        let owned = self
            .owned_by(Kind::ReplicaSet, rollout, Some(&entry.uid))
            .filter_map(|key| self.replica_sets.get(key));
        owned
            .filter(|entry| *entry.data.kept.hash == *hash)
            .map(|entry| entry.uid.clone().into())
            .collect()
    }

    /// A Service that says that a Rollout manages it, when no Rollout of that name is known to name it, and the name of
    /// that Rollout. It may be another instance's, so this is only what to ask the API server about (contract 3.5).
    pub(crate) fn maybe_abandoned(&self, key: &ObjectKey) -> Option<(&ServiceView, ObjectKey)> {
        let view = self.services.get(key)?.data.data()?;
        let rollout = ObjectKey::new(key.namespace.as_str(), view.managed_by.as_deref()?);
        let entry = self.rollouts.get(&rollout);
        let named = entry.is_some_and(|entry| entry.data.refs.contains(&(Kind::Service, key.clone())));
        (self.rollouts.synced() && !named).then_some((view, rollout))
    }

    /// Whether a Rollout, as the API server has it, is this instance's and does not name a Service.
    pub(crate) fn disowns(&self, rollout: &Value, service: &ObjectKey) -> bool {
        let (rollout, _) = tolerant::<Rollout>(rollout.clone());
        self.is_mine(&rollout.metadata) && !refs::services(&rollout.spec).contains(service.name.as_str())
    }

    /// Everything that a plan for a Rollout may depend on, but for pods.
    pub(crate) fn observe(&self, key: &ObjectKey) -> Option<Observed> {
        let entry = self.rollouts.get(key)?;
        let rollout = self.rollout(key)?;
        let workload = self.workload(key, &rollout);
        let selector = rollout
            .spec
            .selector
            .as_ref()
            .or_else(|| workload.as_ref().and_then(|workload| workload.selector.as_ref()));
        let replica_sets = self.observe_replica_sets(key, &entry.uid, selector);
        let mut observed = Observed {
            workload,
            replica_sets,
            templates: self.observe_templates(key, entry),
            routes: Routes {
                dialect: self.dialect.clone(),
                ..Routes::default()
            },
            rollout,
            paused: entry.data.paused,
            ..Observed::default()
        };
        for (kind, named) in &entry.data.refs {
            match kind {
                Kind::Service => {
                    let Some(slot) = self.services.get(named).map(|entry| &entry.data) else {
                        continue;
                    };
                    if let (Some(view), Some(since)) = (slot.data(), slot.since()) {
                        observed.services.insert(named.name.clone(), view.clone());
                        observed
                            .routed_since
                            .insert(format!("Service/{}", named.name), since);
                    }
                }
                Kind::Route(kind) => self.observe_route(kind, named, &mut observed),
                _ => {}
            }
        }
        for kind in self.routes.keys().copied() {
            for owned in self.owned_by(Kind::Route(kind), key, Some(&entry.uid)) {
                self.observe_route(kind, owned, &mut observed);
            }
        }
        for key in self.owned_by(Kind::AnalysisRun, key, Some(&entry.uid)) {
            let made_here = self.runs.get(key).filter(|entry| entry.data.made_here);
            observed
                .made_here
                .extend(made_here.map(|entry| entry.uid.to_string()));
            observed.analysis_runs.extend(self.run(key).map(Arc::new));
        }
        observed.analysis_runs.sort_by(|a, b| {
            let key = |run: &AnalysisRun| (run.metadata.creation_timestamp, run.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        Some(observed)
    }

    fn workload(&self, key: &ObjectKey, rollout: &Rollout) -> Option<tidegate_engine::observed::Workload> {
        let reference = rollout.spec.workload_ref.as_ref()?;
        let kind = reference.kind.as_deref()?;
        let named = ObjectKey::new(key.namespace.as_str(), reference.name.as_deref()?);
        let entry = self.workloads.get(&Kind::of_workload(kind)?)?.get(&named)?;
        slim::workload(kind, entry.data.as_deref()?)
    }

    fn observe_replica_sets(
        &self,
        key: &ObjectKey,
        uid: &str,
        selector: Option<&LabelSelector>,
    ) -> Vec<ReplicaSetView> {
        let known = |key| Some((key, self.replica_sets.get(key)?));
        let view = |(key, entry): (&ObjectKey, &Entry<Box<ReplicaSetEntry>>)| {
            entry.data.kept.view(&key.name, &entry.uid, &entry.version)
        };
        let owned = self.owned_by(Kind::ReplicaSet, key, Some(uid)).filter_map(known);
        let mut views: Vec<ReplicaSetView> = owned.map(view).collect();
        if let Some(selector) = selector {
            let orphans = self.owned_by(Kind::ReplicaSet, key, None);
            let selected = orphans.filter_map(known).filter(|(_, entry)| {
                entry
                    .data
                    .orphan
                    .as_ref()
                    .is_some_and(|labels| slim::matches(selector, labels))
            });
            views.extend(selected.map(view));
        }
        views.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        views
    }

    fn observe_route(&self, kind: &'static RouteKind, key: &ObjectKey, observed: &mut Observed) {
        if let Some(why) = self.unserved.get(kind) {
            observed.routes.unserved.insert(kind, why.clone());
        }
        let Some(slot) = self.route(kind, key).map(|entry| &entry.data) else {
            return;
        };
        if let (Some(entry), Some(since)) = (slot.data(), slot.since())
            && let Ok(value) = serde_json::from_str::<Value>(&entry.text)
        {
            let object = ObjectRef::new(kind, key.namespace.as_str(), key.name.as_str());
            observed.routed_since.insert(object.to_string(), since);
            observed.routes.live.insert(object, Arc::new(value));
        }
    }

    fn observe_templates(
        &self,
        key: &ObjectKey,
        entry: &Entry<RolloutEntry>,
    ) -> BTreeMap<TemplateKey, Arc<AnalysisTemplateSpec>> {
        let names = self.template_names(&key.namespace, &entry.data.templates);
        let found = names.into_iter().filter_map(|name| {
            let spec = Arc::clone(self.template(&key.namespace, &name)?);
            Some((name, spec))
        });
        found.collect()
    }
}

/// Who holds a ReplicaSet: one that nobody controls may be adopted.
fn holder(key: &ObjectKey, kept: &KeptReplicaSet) -> Holder {
    Holder::of(key, kept.controller_uid.as_deref())
}

/// Who holds what is of no interest without a controller.
fn held(key: &ObjectKey, uid: Option<&str>) -> Option<Holder> {
    uid.map(|uid| Holder::of(key, Some(uid)))
}

/// Since when an object routes as it does: unchanged when `same`; from the start of the process when it was there when we
/// came; otherwise from now.
fn since<T>(
    before: Option<&Entry<Slot<T>>>,
    same: bool,
    synced: bool,
    started: Timestamp,
    now: Timestamp,
) -> Timestamp {
    match before.and_then(|entry| entry.data.since()) {
        Some(since) if same => since,
        Some(_) => now,
        None if synced || before.is_some() => now,
        None => started,
    }
}

/// What of a route object decides where requests go.
fn routing_of(kind: &RouteKind, text: &str) -> Option<(BTreeMap<String, String>, Value)> {
    #[derive(Deserialize)]
    struct Routing {
        metadata: ObjectMeta,
        #[serde(default)]
        spec: Value,
    }
    let Routing { mut metadata, spec } = serde_json::from_str(text).ok()?;
    metadata.annotations.retain(|key, _| kind.routes_by(key));
    Some((metadata.annotations, spec))
}
