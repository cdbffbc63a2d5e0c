//! One controller process: the real controller without IO, its watches, and its requests on their way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_controller::controller::{Controller, Job};
use tidegate_controller::object::{Kind, Object};
use tidegate_controller::options::Options;
use tidegate_controller::request::{Failure, Request, Verb};
use tidegate_controller::signal::Signal;
use tidegate_gitsync::object::FIELD_MANAGER;

use crate::actors::text;
use crate::http::discovery;
use crate::store::{self, ChangeKind, FieldValidation, PatchKind, Propagation, Selector, Store, WatchEvent};

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) controller: Controller,
    /// Which of the controllers of the world it is.
    pub(crate) instance: usize,
    /// `--instance-id`.
    instance_id: Option<String>,
    /// Its wall clock less the world's.
    pub(crate) skew: SignedDuration,
    pub(crate) watches: BTreeMap<Kind, Watch>,
    /// Kinds that it wants to watch and that the API server does not serve.
    unserved: BTreeSet<Kind>,
    pub(crate) jobs: BTreeMap<u64, Running>,
    /// What it has heard of.
    pub(crate) known: Arc<Known>,
    /// When it is woken next.
    pub(crate) wake: Option<Timestamp>,
    last_job: u64,
}

/// What a process has heard of by its watches and by answers.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The revision of the last list, by kind: all before it is known.
    listed: BTreeMap<&'static str, u64>,
    /// The revision of each object, by [`name_of`]: every decision keeps a copy of all of them.
    objects: HashMap<u64, u64>,
}

impl Known {
    /// Whether a commit has been heard of.
    pub fn has(&self, kind: &'static str, namespace: &str, name: &str, revision: u64) -> bool {
        let heard = self.objects.get(&name_of(kind, namespace, name));
        heard
            .max(self.listed.get(kind))
            .is_some_and(|heard| *heard >= revision)
    }

    fn hear(&mut self, kind: &'static str, object: &Value, revision: u64) {
        let metadata = &object["metadata"];
        let name = name_of(kind, text(&metadata["namespace"]), text(&metadata["name"]));
        let heard = self.objects.entry(name).or_default();
        *heard = (*heard).max(revision);
    }
}

/// Kind, namespace and name as one number, the same in every run.
fn name_of(kind: &str, namespace: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, namespace, name).hash(&mut hasher);
    hasher.finish()
}

/// A watch of one kind.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Counts its lists: events for an earlier one are of no use.
    pub(crate) epoch: u32,
    pub(crate) selector: Selector,
    /// When the last event that is under way comes.
    pub(crate) last: Timestamp,
    /// How many events there were.
    pub(crate) count: u32,
}

/// A job under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) job: Job,
    pub(crate) awaiting: bool,
    /// What had been heard of when its plan was made.
    pub(crate) known: Arc<Known>,
}

impl Process {
    pub(crate) fn new(instance: usize, options: Options, skew: SignedDuration, now: Timestamp) -> Self {
        Self {
            instance,
            instance_id: options.settings.instance_id.clone(),
            controller: Controller::new(options, now + skew),
            skew,
            watches: BTreeMap::new(),
            unserved: BTreeSet::new(),
            jobs: BTreeMap::new(),
            known: Arc::default(),
            wake: None,
            last_job: 0,
        }
    }

    /// Lists what it wants to watch and does not yet, as it was at a revision. Answers the kinds.
    pub(crate) fn list_wanted(&mut self, store: &Store, revision: u64, now: Timestamp) -> Vec<Kind> {
        let mut listed = Vec::new();
        loop {
            // a list of Rollouts may make it want more
            let wanted = self.controller.wanted();
            let Some(kind) = Kind::all().find(|kind| {
                wanted.contains(kind) && !self.watches.contains_key(kind) && !self.unserved.contains(kind)
            }) else {
                return listed;
            };
            self.list(store, kind, revision, now);
            listed.push(kind);
        }
    }

    /// Lists anew what was not served before: a definition was installed or taken away.
    pub(crate) fn list_unserved(&mut self, store: &Store, revision: u64, now: Timestamp) {
        let lost: Vec<Kind> = self.watches.keys().copied().collect();
        for kind in lost
            .into_iter()
            .filter(|kind| resource_of(store, *kind).is_none())
        {
            self.list(store, kind, revision, now);
        }
        self.unserved.retain(|kind| resource_of(store, *kind).is_none());
        self.list_wanted(store, revision, now);
    }

    /// Lists a kind as it was at a revision.
    pub(crate) fn list(&mut self, store: &Store, kind: Kind, revision: u64, now: Timestamp) {
        let epoch = self.watches.get(&kind).map_or(0, |watch| watch.epoch + 1);
        let Some(resource) = resource_of(store, kind) else {
            let why = "the API server does not serve it";
            let signal = Signal::Unserved { why, gone: true };
            self.controller.deliver(kind, signal, now + self.skew);
            self.watches.remove(&kind);
            self.unserved.insert(kind);
            return;
        };
        let narrowed = kind.selector(self.instance_id.as_deref());
        let Ok(selector) = Selector::parse(&resource, &narrowed, "") else {
            return;
        };
        let items = store
            .list_at(&resource, "", &selector, revision)
            .map(|list| list.items)
            .unwrap_or_default();
        let at = now + self.skew;
        self.controller.deliver(kind, Signal::ListStart, at);
        for item in &items {
            self.controller
                .deliver(kind, Signal::Applied(Object::Value(item)), at);
        }
        self.controller.deliver(
            kind,
            Signal::ListEnd {
                version: &revision.to_string(),
            },
            at,
        );
        let known = Arc::make_mut(&mut self.known);
        known.listed.insert(kind.resource().kind, revision);
        self.watches.insert(
            kind,
            Watch {
                epoch,
                selector,
                last: now,
                count: 0,
            },
        );
    }

    /// Takes in an event of a watch.
    pub(crate) fn deliver(&mut self, kind: Kind, event: &WatchEvent, now: Timestamp) {
        let known = Arc::make_mut(&mut self.known);
        known.hear(kind.resource().kind, &event.object, event.revision);
        let object = Object::Value(&event.object);
        let signal = match event.kind {
            ChangeKind::Added | ChangeKind::Modified => Signal::Applied(object),
            ChangeKind::Deleted => Signal::Deleted(object),
        };
        self.controller.deliver(kind, signal, now + self.skew);
    }

    /// Begins a job if one is due.
    pub(crate) fn next_job(&mut self, now: Timestamp) -> Option<u64> {
        let job = self.controller.next_job(now + self.skew)?;
        self.last_job += 1;
        self.jobs.insert(
            self.last_job,
            Running {
                job,
                awaiting: false,
                known: self.known.clone(),
            },
        );
        Some(self.last_job)
    }

    /// Whether it knows this state of an object, or a later one.
    pub(crate) fn has_heard_of(
        &self,
        kind: Kind,
        (namespace, name): &(String, String),
        revision: u64,
    ) -> bool {
        self.known.has(kind.resource().kind, namespace, name, revision)
    }

    /// What was answered is known as well as what was delivered.
    pub(crate) fn learned(&mut self, kind: &'static str, object: &Value) {
        if !kind.is_empty() {
            Arc::make_mut(&mut self.known).hear(kind, object, revision_of(object));
        }
    }
}

fn revision_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

fn resource_of(store: &Store, kind: Kind) -> Option<Arc<store::Resource>> {
    let resource = kind.resource();
    store
        .registry()
        .by_path(resource.group, resource.version, resource.plural)
        .cloned()
}

/// The request as the store takes it.
pub(crate) fn translate(store: &Store, request: &Request, user: &str) -> Option<store::Request> {
    let Request {
        verb,
        resource,
        namespace,
        name,
        subresource,
        selector,
        body,
        dry_run,
        service_account,
    } = request;
    let kind = store
        .registry()
        .by_path(resource.group, resource.version, resource.plural)?;
    let mut out = match verb {
        Verb::Create => {
            let mut create = store::Request::create(kind, namespace, body.clone());
            create.name.clone_from(name);
            create
        }
        Verb::Replace => store::Request::update(kind, body.clone()),
        Verb::MergePatch => store::Request::patch(kind, namespace, name, PatchKind::Merge, body.clone()),
        Verb::JsonPatch => store::Request::patch(kind, namespace, name, PatchKind::Json, body.clone()),
        Verb::Apply => {
            store::Request::patch(kind, namespace, name, PatchKind::Apply, body.clone()).with(|options| {
                FIELD_MANAGER.clone_into(&mut options.field_manager);
                options.force = true;
                options.field_validation = FieldValidation::Strict;
            })
        }
        Verb::Delete => store::Request::delete(kind, namespace, name).with(|options| {
            let text = |path| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
            options.precondition_uid = text("/preconditions/uid");
            options.precondition_resource_version = text("/preconditions/resourceVersion");
            options.propagation = match text("/propagationPolicy").as_deref() {
                Some("Background") => Some(Propagation::Background),
                Some("Foreground") => Some(Propagation::Foreground),
                Some("Orphan") => Some(Propagation::Orphan),
                _ => None,
            };
        }),
        Verb::Get => store::Request::get(kind, namespace, name),
        Verb::List => {
            store::Request::list(kind, namespace).with(|options| options.label_selector.clone_from(selector))
        }
    };
    if let Some(subresource) = subresource {
        out = out.subresource(subresource);
    }
    out.options.dry_run = *dry_run;
    let account = service_account
        .as_ref()
        .map(|account| format!("system:serviceaccount:{account}"));
    Some(out.by(account.as_deref().unwrap_or(user)))
}

/// What an API version serves, if that is what is asked for.
pub(crate) fn discover(store: &Store, request: &Request) -> Option<Result<Value, Failure>> {
    let resource = request.resource;
    if !resource.plural.is_empty() {
        return None;
    }
    let list = discovery::resource_list(store.registry(), resource.group, resource.version);
    Some(list.ok_or_else(|| {
        Failure::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }))
}

/// The answer as the process reads it.
pub(crate) fn answer_of(
    resource: &store::Resource,
    answer: &Result<store::Response, store::Status>,
) -> Result<Value, Failure> {
    match answer {
        Ok(response) => Ok(response.to_value(resource)),
        Err(status) => Err(Failure {
            code: status.code(),
            reason: status.reason.as_str().to_owned(),
            message: status.message.clone(),
            retry_after: status
                .details
                .retry_after
                .map(|s| SignedDuration::from_secs(i64::from(s))),
        }),
    }
}
