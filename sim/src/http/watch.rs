//! Watches: a stream of events, one JSON object a line.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{sync::watch as signal, time::Instant};

use crate::{
    http::{
        Backend,
        accept::Form,
        serve::App,
        table::{self, Include},
    },
    store::{Resource, Selector, Status, Store, WatchEvent},
};

/// What a client wants to watch.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) selector: Selector,
    /// Where to start; `None` or 0 is the current state, told first.
    pub(crate) resource_version: Option<u64>,
    /// Whether to tell the current state first and mark its end.
    pub(crate) initial: Option<bool>,
    pub(crate) bookmarks: bool,
    pub(crate) form: Form,
    pub(crate) include: Include,
    pub(crate) seconds: Option<u64>,
}

/// One watch under way.
struct Watching {
    backend: Arc<dyn Backend>,
    wanted: Wanted,
    /// Everything up to here has been told; `None` before the first look.
    told: Option<u64>,
    changes: signal::Receiver<u64>,
    stopped: signal::Receiver<bool>,
    ends: Instant,
    bookmark: tokio::time::Interval,
    over: bool,
}

/// The answer to a watch: it goes on until the time is up, the server stops or the history is gone.
pub(crate) fn body(app: &App, wanted: Wanted) -> Body {
    let timeout = wanted
        .seconds
        .map_or(app.options.watch_timeout, std::time::Duration::from_secs);
    let every = app.options.bookmark_every;
    let watching = Watching {
        backend: app.backend.clone(),
        changes: app.backend.subscribe(),
        stopped: app.stopped.clone(),
        // a time that is too far away is no time at all
        ends: Instant::now() + timeout.min(std::time::Duration::from_hours(24)),
        bookmark: tokio::time::interval_at(Instant::now() + every, every),
        told: None,
        over: false,
        wanted,
    };
    Body::from_stream(stream::unfold(watching, next))
}

/// The next lines.
async fn next(mut watching: Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    if watching.over {
        return None;
    }
    loop {
        watching.changes.mark_unchanged();
        let lines = watching.look();
        if !lines.is_empty() {
            return Some((Ok(lines.into()), watching));
        }
        if watching.over {
            return None;
        }
        let due = tokio::select! {
            // an error means that the backend is gone
            changed = watching.changes.changed() => changed.ok().map(|()| false)?,
            _ = watching.bookmark.tick() => watching.wanted.bookmarks,
            () = tokio::time::sleep_until(watching.ends) => return None,
            _ = watching.stopped.wait_for(|stop| *stop) => return None,
        };
        if due {
            let line = watching.bookmark(false);
            return Some((Ok(line.into()), watching));
        }
    }
}

impl Watching {
    /// What there is to tell now.
    fn look(&mut self) -> Vec<u8> {
        let backend = self.backend.clone();
        // asked for before: a backend that is being read may not be asked for anything else
        let now = backend.now();
        let mut lines = Vec::new();
        backend.read(&mut |store| lines = self.look_at(store, now));
        lines
    }

    fn look_at(&mut self, store: &Store, now: Timestamp) -> Vec<u8> {
        let mut lines = Vec::new();
        let revision = store.revision();
        let asked = self.wanted.resource_version.unwrap_or(0);
        if self.told.is_none() && self.wanted.initial.unwrap_or(asked == 0) {
            let objects = store.objects(&self.wanted.resource, &self.wanted.namespace);
            for object in objects.filter(|object| self.wanted.selector.matches(object)) {
                self.line(&mut lines, "ADDED", &object, now);
            }
            self.told = Some(revision);
            if self.wanted.initial == Some(true) && self.wanted.bookmarks {
                lines.extend(self.bookmark(true));
            }
            return lines;
        }
        let from = self.told.unwrap_or(if asked == 0 { revision } else { asked });
        match store.events_since(
            &self.wanted.resource,
            &self.wanted.namespace,
            &self.wanted.selector,
            from,
        ) {
            Ok(events) => {
                for WatchEvent { kind, object, .. } in events {
                    self.line(&mut lines, kind.as_str(), &object, now);
                }
                self.told = Some(revision);
            }
            Err(status) => {
                lines.extend(error(&status));
                self.over = true;
            }
        }
        lines
    }

    fn line(&self, lines: &mut Vec<u8>, kind: &str, object: &Arc<Value>, now: Timestamp) {
        let wanted = &self.wanted;
        let shown = match wanted.form {
            Form::Table => {
                let version = object
                    .pointer("/metadata/resourceVersion")
                    .cloned()
                    .unwrap_or_default();
                let metadata = json!({"resourceVersion": version});
                Some(table::draw(
                    &wanted.resource,
                    std::slice::from_ref(object),
                    &metadata,
                    wanted.include,
                    now,
                ))
            }
            Form::Metadata => Some(table::partial(object)),
            Form::Plain | Form::Discovery => None,
        };
        push(lines, kind, shown.as_ref().unwrap_or(object));
    }

    fn bookmark(&self, end_of_state: bool) -> Vec<u8> {
        let resource = &self.wanted.resource;
        let mut metadata =
            json!({"resourceVersion": self.told.unwrap_or(0).to_string(), "creationTimestamp": null});
        if let (true, Some(map)) = (end_of_state, metadata.as_object_mut()) {
            map.insert(
                "annotations".to_owned(),
                json!({"k8s.io/initial-events-end": "true"}),
            );
        }
        let object = match self.wanted.form {
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [],
                "rows": [],
            }),
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Plain | Form::Discovery => {
                json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata})
            }
        };
        let mut lines = Vec::new();
        push(&mut lines, "BOOKMARK", &object);
        lines
    }
}

fn error(status: &Status) -> Vec<u8> {
    let mut lines = Vec::new();
    push(&mut lines, "ERROR", &status.to_value());
    lines
}

fn push(lines: &mut Vec<u8>, kind: &str, object: &Value) {
    lines.extend_from_slice(b"{\"type\":\"");
    lines.extend_from_slice(kind.as_bytes());
    lines.extend_from_slice(b"\",\"object\":");
    lines.extend_from_slice(object.to_string().as_bytes());
    lines.extend_from_slice(b"}\n");
}
