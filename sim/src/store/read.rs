//! Reading: get, list (now and in the past), watch.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::store::value::Fields as _;
use crate::store::{
    Key, Store, event,
    history::WatchEvent,
    request::{List, Outcome, Request, Response},
    resource::Resource,
    selector::{self, Selector},
    status::Status,
    value,
};

impl Store {
    /// An object as it is now.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let object = self.object(resource, &(namespace.to_owned(), name.to_owned()))?;
        Some(present(resource, object))
    }

    pub(crate) fn object(&self, resource: &Resource, key: &Key) -> Option<&Arc<Value>> {
        self.tables.get(resource.table())?.get(key)
    }

    /// The objects of a kind as they are now, by namespace and name; of all namespaces if `namespace` is empty.
    pub fn objects<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: &'a str,
    ) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        self.objects_from(resource, namespace, (namespace.to_owned(), String::new()))
    }

    fn objects_from<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: &'a str,
        start: Key,
    ) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        let table = self.tables.get(resource.table());
        let mine = table
            .into_iter()
            .flat_map(move |table| table.range(start.clone()..));
        mine.take_while(move |((of, _), _)| namespace.is_empty() || of == namespace)
            .map(|(_, object)| present(resource, object))
    }

    /// The objects of a kind as they were at a revision.
    ///
    /// # Errors
    /// 410 if that is no longer kept, 504 if it is still to come.
    pub fn list_at(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
        revision: u64,
    ) -> Result<List, Status> {
        let state = self.table_at(resource.table(), revision)?;
        let mine = state
            .iter()
            .filter(|((of, _), _)| namespace.is_empty() || of == namespace);
        let items = mine
            .map(|(_, object)| object)
            .filter(|object| selector.matches(object));
        Ok(List {
            items: items.map(|object| present(resource, object)).collect(),
            revision,
            ..List::default()
        })
    }

    fn table_at(&self, table: &str, revision: u64) -> Result<BTreeMap<Key, Arc<Value>>, Status> {
        if revision > self.revision {
            return Err(Status::too_large(revision, self.revision));
        }
        if revision < self.history.compacted() {
            return Err(Status::list_too_old());
        }
        let mut state = self.tables.get(table).cloned().unwrap_or_default();
        for commit in self.history.table_since(table, revision).rev() {
            let key = (commit.namespace.clone(), commit.name.clone());
            match &commit.before {
                Some(before) => drop(state.insert(key, before.clone())),
                None => drop(state.remove(&key)),
            }
        }
        Ok(state)
    }

    /// Whether nothing of a kind has changed since a revision that is still kept.
    fn is_as_at(&self, resource: &Resource, revision: u64) -> bool {
        let kept = (self.history.compacted()..=self.revision).contains(&revision);
        kept && self
            .history
            .table_since(resource.table(), revision)
            .next()
            .is_none()
    }

    /// What a watch from `revision` on has seen since, oldest first.
    ///
    /// # Errors
    /// 410 if that revision is no longer kept, 504 if it is still to come.
    pub fn events_since(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
        revision: u64,
    ) -> Result<Vec<WatchEvent>, Status> {
        if revision > self.revision {
            return Err(Status::too_large(revision, self.revision));
        }
        let mut events = self
            .history
            .events(resource.table(), revision, namespace, selector)?;
        for event in &mut events {
            event.object = present(resource, &event.object);
        }
        Ok(events)
    }

    pub(crate) fn read(&self, request: &Request) -> Result<Response, Status> {
        let resource = &request.resource;
        let key = (request.namespace.clone(), request.name.clone());
        let object = self
            .object(resource, &key)
            .ok_or_else(|| Status::not_found(resource, &request.name))?;
        let object = match request.subresource.as_str() {
            "" => present(resource, object),
            "status" if resource.status => present(resource, object),
            "scale" => Arc::new(scale(resource, object)?),
            _ => return Err(Status::not_found(resource, &request.name)),
        };
        Ok(Response::new(Outcome::Object(object)))
    }

    pub(crate) fn list(&self, request: &Request) -> Result<Response, Status> {
        let (resource, options) = (&request.resource, &request.options);
        let selector = Selector::parse(resource, &options.label_selector, &options.field_selector)?;
        // with a selector the real server does not know how many are left
        let unselected = options.label_selector.is_empty() && options.field_selector.is_empty();
        let asked = options.resource_version.unwrap_or(0);
        if asked > self.revision {
            return Err(Status::too_large(asked, self.revision));
        }
        let page = (!options.continue_token.is_empty())
            .then(|| Page::parse(&options.continue_token))
            .transpose()?;
        let at = page
            .as_ref()
            .map(|page| page.revision)
            .or_else(|| options.exact.then_some(asked));
        let mut list = if let Some(revision) = at.filter(|at| !self.is_as_at(resource, *at)) {
            let state = self.list_at(resource, &request.namespace, &selector, revision);
            state.map_err(|status| {
                if page.is_some() {
                    expired_page(&status)
                } else {
                    status
                }
            })?
        } else {
            let single = !request.namespace.is_empty() || !resource.namespaced;
            // the list of one object is common: no need to walk through all
            let items = if let Some(name) = selector.name().filter(|_| single) {
                let one = self.get(resource, &request.namespace, name);
                one.filter(|object| selector.matches(object))
                    .into_iter()
                    .collect()
            } else {
                let first = || (request.namespace.clone(), String::new());
                let start = page.as_ref().map_or_else(first, |page| page.after.clone());
                // the last one of the page before and one more than asked for: nobody counts what a selector selects
                let most = if unselected || options.limit == 0 {
                    usize::MAX
                } else {
                    options.limit + 2
                };
                self.objects_from(resource, &request.namespace, start)
                    .filter(|object| selector.matches(object))
                    .take(most)
                    .collect::<Vec<_>>()
            };
            List {
                items,
                revision: at.unwrap_or(self.revision),
                ..List::default()
            }
        };
        if let Some(page) = page {
            list.items.retain(|item| key_of(item) > page.after);
        }
        if options.limit > 0 && list.items.len() > options.limit {
            let left = list.items.len() - options.limit;
            list.items.truncate(options.limit);
            let after = list.items.last().map(|item| key_of(item)).unwrap_or_default();
            list.continue_token = Page {
                revision: list.revision,
                after,
            }
            .to_text();
            list.remaining = unselected.then_some(left as u64);
        }
        Ok(Response::new(Outcome::List(list)))
    }
}

fn key_of(object: &Value) -> Key {
    (
        value::meta(object, "namespace").to_owned(),
        value::meta(object, "name").to_owned(),
    )
}

/// Where a page of a list ended.
struct Page {
    revision: u64,
    after: Key,
}

impl Page {
    fn to_text(&self) -> String {
        format!("{}:{}:{}", self.revision, self.after.0, self.after.1)
    }

    fn parse(text: &str) -> Result<Self, Status> {
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next();
        match (next().and_then(|revision| revision.parse().ok()), next(), next()) {
            (Some(revision), Some(namespace), Some(name)) => Ok(Self {
                revision,
                after: (namespace.to_owned(), name.to_owned()),
            }),
            _ => Err(Status::bad_request(
                "continue key is not valid: it is not one of this server",
            )),
        }
    }
}

fn expired_page(status: &Status) -> Status {
    let message = "The provided continue parameter is too old to display a consistent list result. You must start a new \
        list without the continue parameter.";
    Status {
        message: message.to_owned(),
        ..status.clone()
    }
}

/// An object in the version that was asked for.
pub(crate) fn present(resource: &Resource, object: &Arc<Value>) -> Arc<Value> {
    if resource.is_api_version(value::text(object, &["apiVersion"])) {
        return object.clone();
    }
    let mut object = (**object).clone();
    if resource.is_new_event() {
        event::from_core(&mut object);
    } else {
        value::object(&mut object).insert("apiVersion".to_owned(), json!(resource.api_version()));
    }
    Arc::new(object)
}

/// The Scale of an object.
pub(crate) fn scale(resource: &Resource, object: &Value) -> Result<Value, Status> {
    let name = value::meta(object, "name");
    let Some(paths) = &resource.scale else {
        return Err(Status::not_found(resource, name));
    };
    let metadata = object.get("metadata");
    let mut kept = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(inner) = metadata.and_then(|m| m.get(key)) {
            value::object(&mut kept).insert(key.to_owned(), inner.clone());
        }
    }
    let number = |path: &[String]| value::at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = match &paths.selector {
        Some(path) => value::at(object, path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None => object
            .field("/spec/selector")
            .map(selector::to_text)
            .unwrap_or_default(),
    };
    if !selector.is_empty() {
        value::object(&mut status).insert("selector".to_owned(), json!(selector));
    }
    // a number that is not there is left out, as Go's omitempty does with 0
    let replicas = number(&paths.spec_replicas);
    let spec = if replicas == 0 {
        json!({})
    } else {
        json!({"replicas": replicas})
    };
    Ok(
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": spec, "status": status}),
    )
}
