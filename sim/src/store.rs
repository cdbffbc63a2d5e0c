//! The heart of the simulated API server: a versioned store of objects with the semantics of the real one.
//!
//! It is synchronous and deterministic: no clock (`now` is an argument), no IO, names and uids from a seed. The
//! simulator calls [`Store::request`] directly, and the HTTP face ([`crate::http`]) calls it for real clients.
//!
//! What it is: create, read, update, patch (merge, JSON, strategic, server-side apply), delete; optimistic
//! concurrency, generations, subresources, finalizers, owners and garbage, selectors, watches, lists of the past, the
//! real server's errors in its words. What it is not: admission, authorization, conversion webhooks, CEL beyond
//! `self == oldSelf`.

mod check;
mod defaults;
mod event;
mod fieldset;
mod garbage;
mod history;
mod ids;
mod managed;
mod patch;
mod read;
mod request;
mod resource;
pub(crate) mod schema;
mod selector;
mod status;
mod validate;
pub(crate) mod value;
mod write;

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::write::copy_but;
use self::{garbage::Garbage, history::History, ids::Ids};
pub use self::{
    history::{ChangeKind, Commit, WatchEvent},
    request::{FieldValidation, List, Options, Outcome, PatchKind, Propagation, Request, Response, Verb},
    resource::{Column, Generation, Registry, Resource, ScalePaths},
    schema::{ListType, Schema, Type},
    selector::{Selector, to_text as selector_text},
    status::{Cause, Reason, Status},
};

/// Who deletes what has lost its owner, in the commit log.
pub const GARBAGE_COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

/// Namespace and name; the namespace is empty for kinds without.
pub(crate) type Key = (String, String);

/// When `metadata.managedFields` is kept. The real server always does; it costs time and space in every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManagedFields {
    /// From the first server-side apply of an object on: what the simulator needs.
    #[default]
    FromFirstApply,
    /// For every object: what real clients see.
    Always,
}

/// How a store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Ownership of fields.
    pub managed_fields: ManagedFields,
    /// So many commits are kept for watches and lists of the past; older ones are gone (410).
    pub history: usize,
    /// Largest object, in bytes of JSON (etcd's limit is 1.5 MiB).
    pub max_object_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            managed_fields: ManagedFields::default(),
            history: 200_000,
            max_object_bytes: 3 << 19,
        }
    }
}

/// The store. See the module's page.
#[derive(Clone, Debug)]
pub struct Store {
    registry: Registry,
    tables: BTreeMap<String, BTreeMap<Key, Arc<Value>>>,
    history: History,
    garbage: Garbage,
    ids: Ids,
    settings: Settings,
    revision: u64,
}

impl Store {
    /// An empty cluster with the namespaces that every cluster has. The same seed and the same requests give the
    /// same names, uids and revisions.
    pub fn new(seed: u64) -> Self {
        Self::with_settings(seed, Settings::default())
    }

    /// The same, with other settings.
    pub fn with_settings(seed: u64, settings: Settings) -> Self {
        let mut store = Self {
            registry: Registry::standard(),
            tables: BTreeMap::new(),
            history: History::new(settings.history.max(16)),
            garbage: Garbage::default(),
            ids: Ids::new(seed),
            settings,
            revision: 0,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            store.add_namespace(name, Timestamp::UNIX_EPOCH);
        }
        store
    }

    /// Makes a namespace if it is not there.
    pub fn add_namespace(&mut self, name: &str, now: Timestamp) {
        if let Some(namespaces) = self.registry.by_group("", "namespaces").cloned() {
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            // it was there already, or the name is none: either way there is nothing to do
            drop(self.request(Request::create(&namespaces, "", body).by("system:apiserver"), now));
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What the real server refuses, with its reason, code and words.
    pub fn request(&mut self, request: Request, now: Timestamp) -> Result<Response, Status> {
        match request.verb {
            Verb::Get => self.read(&request),
            Verb::List => self.list(&request),
            _ => self.write(request, now),
        }
    }

    /// The known kinds.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Adds a kind that is not defined by a CustomResourceDefinition in the store.
    pub fn register(&mut self, resource: Resource) -> Arc<Resource> {
        self.registry.register(resource)
    }

    /// The revision of the last commit; 0 before the first.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The commits after a revision, oldest first, as far as they are kept.
    pub fn commits_since(&self, revision: u64) -> impl Iterator<Item = &Arc<Commit>> {
        self.history.since(revision)
    }

    /// Forgets what happened up to a revision: watches and lists from before get 410.
    pub fn compact(&mut self, revision: u64) {
        self.history.compact(revision.min(self.revision));
    }
}
