//! Owners and what becomes of their dependents: the garbage collector and the namespace controller.
//!
//! The real ones run beside the server and so do these: a write only notes what there is to do, and
//! [`Store::collect_garbage`] does it, one round at a time, with ordinary requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::value::Fields as _;
use crate::store::{
    GARBAGE_COLLECTOR, Key, Store,
    request::{PatchKind, Propagation, Request},
    resource::Resource,
    value,
    write::{FOREGROUND, ORPHAN, Writing},
};

const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

/// Table, namespace and name of an object.
type Place = (String, Key);

/// What points to what, and what there is to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Garbage {
    /// Every object by uid.
    places: BTreeMap<String, Place>,
    /// Uids of dependents by the uid of the owner that they name.
    dependents: BTreeMap<String, BTreeSet<String>>,
    /// Uids of objects that may have lost their owner, or wait for dependents.
    suspects: BTreeSet<String>,
    /// Namespaces that are being deleted.
    terminating: BTreeSet<String>,
}

impl Garbage {
    /// Keeps the books on a commit.
    pub(crate) fn note(&mut self, table: &str, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let owners =
            |object: Option<&Value>| -> BTreeSet<String> { object.map(owner_uids).unwrap_or_default() };
        let (had, has) = (owners(before), owners(after));
        let Some(uid) = before
            .or(after)
            .map(|object| value::meta(object, "uid").to_owned())
        else {
            return;
        };
        for owner in had.difference(&has) {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(&uid);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
            // it may have waited for this one
            if self.places.contains_key(owner) {
                self.suspects.insert(owner.clone());
            }
        }
        for owner in has.difference(&had) {
            self.dependents
                .entry(owner.clone())
                .or_default()
                .insert(uid.clone());
            self.suspects.insert(uid.clone());
        }
        match (before, after) {
            (None, Some(_)) => drop(self.places.insert(uid.clone(), (table.to_owned(), key.clone()))),
            (_, None) => {
                self.places.remove(&uid);
                self.suspects.remove(&uid);
                self.suspects
                    .extend(self.dependents.get(&uid).into_iter().flatten().cloned());
                self.terminating.extend(
                    (!key.0.is_empty())
                        .then(|| key.0.clone())
                        .filter(|n| self.is_terminating(n)),
                );
            }
            _ => {}
        }
        if let Some(object) = after.filter(|object| !value::meta(object, "deletionTimestamp").is_empty()) {
            if has_finalizer(object, FOREGROUND) || has_finalizer(object, ORPHAN) {
                self.suspects.insert(uid);
            }
            if table == "namespaces" {
                self.terminating.insert(key.1.clone());
            }
        }
        if table == "namespaces" && after.is_none() {
            self.terminating.remove(&key.1);
        }
    }

    fn is_terminating(&self, namespace: &str) -> bool {
        self.terminating.contains(namespace)
    }
}

fn owner_uids(object: &Value) -> BTreeSet<String> {
    owners(object)
        .map(|owner| value::text(owner, &["uid"]).to_owned())
        .collect()
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object
        .field("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object
        .field("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|f| f == name))
}

impl Store {
    /// Whether the garbage collector or the namespace controller has something to look at.
    pub fn has_garbage(&self) -> bool {
        !self.garbage.suspects.is_empty() || self.garbage.terminating.iter().any(|ns| self.can_empty(ns))
    }

    /// One round: dependents of what is gone are deleted, owners that waited for them are let go, namespaces that are
    /// being deleted are emptied. Gives the number of commits; call it until it is 0 to see all of it done.
    pub fn collect_garbage(&mut self, now: Timestamp) -> u64 {
        let before = self.revision;
        // an owner that waits only names its dependents: they are this round's work too
        while self.revision == before && !self.garbage.suspects.is_empty() {
            for uid in std::mem::take(&mut self.garbage.suspects) {
                self.examine(&uid, now);
            }
        }
        for namespace in self.garbage.terminating.clone() {
            self.empty_namespace(&namespace, now);
        }
        self.revision - before
    }

    /// Rounds of [`Store::collect_garbage`] until nothing more happens.
    pub fn collect_all_garbage(&mut self, now: Timestamp) {
        while self.collect_garbage(now) > 0 {}
    }

    fn place(&self, uid: &str) -> Option<(Arc<Resource>, Key, Arc<Value>)> {
        let (table, key) = self.garbage.places.get(uid)?;
        let object = self.tables.get(table)?.get(key)?.clone();
        let kind = self
            .registry
            .by_kind(
                value::text(&object, &["apiVersion"]),
                value::text(&object, &["kind"]),
            )?
            .clone();
        Some((kind, key.clone(), object))
    }

    fn examine(&mut self, uid: &str, now: Timestamp) {
        let Some((kind, key, object)) = self.place(uid) else {
            return;
        };
        let deleting = !value::meta(&object, "deletionTimestamp").is_empty();
        if deleting && has_finalizer(&object, ORPHAN) {
            for dependent in self.dependents_of(uid) {
                self.drop_owners(&dependent, &BTreeSet::from([uid.to_owned()]), now);
            }
            self.drop_finalizer(&kind, &key, &object, ORPHAN, now);
            return;
        }
        if deleting && has_finalizer(&object, FOREGROUND) {
            let dependents = self.dependents_of(uid);
            let blocked = dependents
                .iter()
                .filter_map(|dependent| self.place(dependent))
                .any(|(_, _, dependent)| {
                    owners(&dependent).any(|owner| {
                        value::text(owner, &["uid"]) == uid
                            && owner.get("blockOwnerDeletion") == Some(&Value::Bool(true))
                    })
                });
            if blocked {
                let stays = |dependent: &String| {
                    let place = self.place(dependent);
                    place.is_some_and(|(_, _, object)| value::meta(&object, "deletionTimestamp").is_empty())
                };
                let next: Vec<String> = dependents.into_iter().filter(stays).collect();
                self.garbage.suspects.extend(next);
            } else {
                self.drop_finalizer(&kind, &key, &object, FOREGROUND, now);
            }
            return;
        }
        self.judge_owned(uid, &kind, &key, &object, now);
    }

    /// Deletes an object whose owners are gone or wait for it, and drops references to owners that are gone.
    fn judge_owned(&mut self, uid: &str, kind: &Arc<Resource>, key: &Key, object: &Value, now: Timestamp) {
        let (mut solid, mut waiting, mut dangling) = (0, BTreeSet::new(), BTreeSet::new());
        for owner in owner_uids(object) {
            match self
                .place(&owner)
                .filter(|(_, of, _)| of.0.is_empty() || of.0 == key.0)
            {
                None => drop(dangling.insert(owner)),
                Some((_, _, found)) => {
                    let leaving = !value::meta(&found, "deletionTimestamp").is_empty();
                    if leaving && has_finalizer(&found, FOREGROUND) {
                        waiting.insert(owner);
                    } else {
                        solid += 1;
                    }
                }
            }
        }
        if dangling.is_empty() && waiting.is_empty() {
            return;
        }
        if solid > 0 {
            dangling.append(&mut waiting);
            self.drop_owners(uid, &dangling, now);
            return;
        }
        if !value::meta(object, "deletionTimestamp").is_empty() {
            return;
        }
        let propagation = if !waiting.is_empty() && !self.dependents_of(uid).is_empty() {
            Propagation::Foreground
        } else if has_finalizer(object, ORPHAN) {
            Propagation::Orphan
        } else {
            Propagation::Background
        };
        let request = Request::delete(kind, &key.0, &key.1)
            .by(GARBAGE_COLLECTOR)
            .with(|options| {
                options.precondition_uid = Some(uid.to_owned());
                options.propagation = Some(propagation);
            });
        // it can only have gone by itself meanwhile, which is as good
        drop(self.request(request, now));
    }

    fn dependents_of(&self, uid: &str) -> Vec<String> {
        self.garbage
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    fn drop_owners(&mut self, uid: &str, gone: &BTreeSet<String>, now: Timestamp) {
        let Some((kind, key, object)) = self.place(uid) else {
            return;
        };
        let kept: Vec<&Value> = owners(&object)
            .filter(|owner| !gone.contains(value::text(owner, &["uid"])))
            .collect();
        let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
        let patch = json!({"metadata": {"uid": uid, "ownerReferences": kept}});
        self.patch_as_collector(&kind, &key, patch, now);
    }

    fn drop_finalizer(
        &mut self,
        kind: &Arc<Resource>,
        key: &Key,
        object: &Value,
        name: &str,
        now: Timestamp,
    ) {
        let list = object.field("/metadata/finalizers").and_then(Value::as_array);
        let kept: Vec<&Value> = list.into_iter().flatten().filter(|f| *f != name).collect();
        self.patch_as_collector(kind, key, json!({"metadata": {"finalizers": kept}}), now);
    }

    fn patch_as_collector(&mut self, kind: &Arc<Resource>, key: &Key, patch: Value, now: Timestamp) {
        let request = Request::patch(kind, &key.0, &key.1, PatchKind::Merge, patch).by(GARBAGE_COLLECTOR);
        // it can only have gone by itself meanwhile, which is as good
        drop(self.request(request, now));
    }

    /// Whether there is anything in a namespace that can be deleted, or nothing at all.
    fn can_empty(&self, namespace: &str) -> bool {
        let mut content = self.content(namespace).peekable();
        content.peek().is_none()
            || content.any(|(_, object)| value::meta(object, "deletionTimestamp").is_empty())
    }

    fn content<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let start = (namespace.to_owned(), String::new());
        self.tables.values().flat_map(move |table| {
            table
                .range(start.clone()..)
                .take_while(move |(key, _)| key.0 == namespace)
                .map(|(key, object)| (key, &**object))
        })
    }

    fn empty_namespace(&mut self, namespace: &str, now: Timestamp) {
        let content: Vec<(Arc<Resource>, Key)> = self
            .content(namespace)
            .filter(|(_, object)| value::meta(object, "deletionTimestamp").is_empty())
            .filter_map(|(key, object)| {
                let kind = self.registry.by_kind(
                    value::text(object, &["apiVersion"]),
                    value::text(object, &["kind"]),
                )?;
                Some((kind.clone(), key.clone()))
            })
            .collect();
        for (kind, key) in content {
            let request = Request::delete(&kind, &key.0, &key.1).by(NAMESPACE_CONTROLLER);
            let request = request.with(|options| options.propagation = Some(Propagation::Background));
            // it can only have gone by itself meanwhile, which is as good
            drop(self.request(request, now));
        }
        if self.content(namespace).next().is_some() {
            return;
        }
        let key = (String::new(), namespace.to_owned());
        let Some(kind) = self.registry.by_group("", "namespaces").cloned() else {
            return;
        };
        let Some(object) = self.object(&kind, &key).cloned() else {
            return;
        };
        let request = Request::delete(&kind, "", namespace).by(NAMESPACE_CONTROLLER);
        let writing = Writing {
            request: &request,
            stored: kind,
            now,
            warnings: Vec::new(),
        };
        let last = (*object).clone();
        self.commit(&writing, &key, Some(object), None, Some(last));
    }
}
