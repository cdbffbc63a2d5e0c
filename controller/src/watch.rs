//! Lists and watches one kind of object, page by page and line by line, straight into the cache.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_gitsync::object::DELIVERY_LABEL;

use crate::client::{Api, JSON, escape};
use crate::object::{Kind, Object};
use crate::request::{Failure, Resource};
use crate::signal::Signal;

/// Objects on a page: small enough to keep the peak low, large enough to keep the start fast.
const PAGE: usize = 100;
/// Time for a page, and for a watch to start.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long the server is asked to keep a watch open.
const WATCH_SECONDS: u32 = 300;
/// A watch that says nothing for so long, not even a bookmark (about one a minute), is taken as broken.
const IDLE: Duration = Duration::from_mins(2);
/// Longest wait before the next try.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// The same, where the right to watch is missing, which nobody has to give.
const NO_RIGHT: Duration = Duration::from_mins(10);
/// Longest line of a watch: the largest object that the API server stores, with room for its encoding.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Which objects to watch.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Only this namespace; empty for all.
    pub(crate) namespace: String,
    /// Only objects of this instance (F19).
    pub(crate) instance_id: Option<String>,
}

impl Scope {
    fn query(&self, watched: Watched) -> String {
        let (resource, selector) = match watched {
            Watched::Kind(kind) => (kind.resource(), kind.selector(self.instance_id.as_deref())),
            Watched::Metadata(resource) => (resource, DELIVERY_LABEL.to_owned()),
        };
        let path = resource.path(&self.namespace);
        if selector.is_empty() {
            format!("{path}?")
        } else {
            format!("{path}?labelSelector={}&", escape(&selector))
        }
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watched {
    /// A kind that the cache keeps.
    Kind(Kind),
    /// The metadata alone, of what Deliveries applied.
    Metadata(&'static Resource),
}

impl Watched {
    /// Forms of a list and of a watch that are asked for.
    fn forms(self) -> (&'static str, &'static str) {
        match self {
            Self::Kind(_) => (JSON, JSON),
            Self::Metadata(_) => (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            ),
        }
    }
}

/// Where news go.
pub(crate) trait Sink: Send + Sync {
    /// Takes a batch of news about one kind.
    fn deliver(&self, watched: Watched, signals: &mut dyn Iterator<Item = Signal<'_>>);
    /// A watch broke or a list failed.
    fn restarted(&self, watched: Watched);
}

/// What is wrong with the watches, for `/readyz` and `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<Kind, String>>);

impl Troubles {
    fn set(&self, kind: Kind, trouble: Option<String>) -> bool {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert(kind, trouble.clone()).as_ref() != Some(&trouble),
            None => troubles.remove(&kind).is_some(),
        }
    }

    /// The kinds that cannot be watched: what is known of them is old.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.keys().copied().collect()
    }

    /// One line for each kind that cannot be watched.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: PageMetadata,
}

#[derive(Deserialize)]
struct ErrorStatus {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// Keeps the cache of one kind up to date until it is dropped.
pub(crate) async fn run(kind: Kind, api: Api, scope: Scope, sink: Arc<dyn Sink>, troubles: Arc<Troubles>) {
    let watched = Watched::Kind(kind);
    let mut wait = Duration::ZERO;
    let mut seen = false;
    loop {
        let failure = match list(watched, &api, &scope, &*sink).await {
            Ok(version) => {
                wait = Duration::ZERO;
                seen = true;
                if troubles.set(kind, None) {
                    tracing::info!(kind = ?kind, "can be watched again");
                }
                follow(watched, &api, &scope, &*sink, version).await
            }
            Err(failure) => failure,
        };
        sink.restarted(watched);
        // A version that is too old is nobody's fault: list again at once.
        if failure.code == 410 {
            continue;
        }
        let trouble = advice(kind, &failure);
        if kind.is_optional() {
            // Nobody else waits for it. As long as nothing of it was seen, whoever needs it is told by a condition.
            // Only these answers are about the kind; all others are about a server in trouble.
            if matches!(failure.code, 403 | 404) {
                let (why, gone) = (unserved(&failure), failure.code == 404);
                sink.deliver(
                    watched,
                    &mut std::iter::once(Signal::Unserved { why: &why, gone }),
                );
            }
        }
        if kind.is_optional() && !seen {
            tracing::debug!(kind = ?kind, "{trouble}");
        } else if troubles.set(kind, Some(trouble.clone())) {
            tracing::warn!(kind = ?kind, "{trouble}");
        }
        let asked = failure
            .retry_after
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        wait = (wait * 2).clamp(Duration::from_millis(200), MAX_WAIT);
        tokio::time::sleep(wait.max(asked)).await;
    }
}

/// Watches the metadata of one kind until it is dropped. It may do without the right to: what it does not see is compared
/// with Git from time to time instead.
pub(crate) async fn metadata(resource: &'static Resource, api: Api, scope: Scope, sink: Arc<dyn Sink>) {
    let watched = Watched::Metadata(resource);
    loop {
        let failure = match list(watched, &api, &scope, &*sink).await {
            Ok(version) => follow(watched, &api, &scope, &*sink, version).await,
            Err(failure) => failure,
        };
        sink.restarted(watched);
        if failure.code == 410 {
            continue;
        }
        let (kind, version) = (resource.kind, resource.api_version());
        tracing::debug!(kind, version, %failure, "is not watched");
        let may = !matches!(failure.code, 401 | 403 | 404 | 405);
        tokio::time::sleep(if may { MAX_WAIT } else { NO_RIGHT }).await;
    }
}

/// Why a kind that not every cluster has cannot be seen.
fn unserved(failure: &Failure) -> String {
    match failure.code {
        404 => "the API server does not serve it".to_owned(),
        _ => failure.message.clone(),
    }
}

/// What is wrong and what to do about it.
fn advice(kind: Kind, failure: &Failure) -> String {
    let resource = kind.resource();
    let (plural, group) = (resource.plural, resource.api_version());
    match failure.code {
        404 => format!(
            "the API server does not know {plural} of {group}: install the CRDs (kubectl apply --server-side -f deploy/crds); \
             trying again"
        ),
        401 => format!(
            "the API server does not accept our credentials ({}): check the kubeconfig",
            failure.message
        ),
        403 => format!(
            "no right to list and watch {plural}: {}; apply deploy/install.yaml; trying again",
            failure.message
        ),
        0 => format!(
            "the API server cannot be reached for {plural}: {}; trying again",
            failure.message
        ),
        _ => format!("{plural} cannot be watched: {failure}; trying again"),
    }
}

/// Lists all pages; answers the version to watch from.
async fn list(watched: Watched, api: &Api, scope: &Scope, sink: &dyn Sink) -> Result<String, Failure> {
    let query = scope.query(watched);
    let form = watched.forms().0;
    let mut next: Option<String> = None;
    let mut started = false;
    loop {
        let token = next
            .map(|token| format!("&continue={}", escape(&token)))
            .unwrap_or_default();
        let path = format!("{query}limit={PAGE}{token}");
        let text = api.page(&path, form, TIMEOUT).await?;
        let page: Page<'_> =
            serde_json::from_str(&text).map_err(|error| Failure::no_answer(error.to_string()))?;
        if !started {
            started = true;
            sink.deliver(watched, &mut std::iter::once(Signal::ListStart));
        }
        let items = page.items.unwrap_or_default();
        sink.deliver(
            watched,
            &mut items.iter().map(|item| Signal::Applied(Object::Text(item.get()))),
        );
        next = page.metadata.next.filter(|token| !token.is_empty());
        if next.is_none() {
            let version = page.metadata.resource_version;
            sink.deliver(
                watched,
                &mut std::iter::once(Signal::ListEnd { version: &version }),
            );
            return Ok(version);
        }
    }
}

/// Watches from a version on, over as many connections as it takes, until a list is needed.
async fn follow(watched: Watched, api: &Api, scope: &Scope, sink: &dyn Sink, mut version: String) -> Failure {
    let query = scope.query(watched);
    let form = watched.forms().1;
    let mut failures = 0_u32;
    loop {
        let path = format!(
            "{query}watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}",
            escape(&version)
        );
        let before = version.clone();
        let failure = match api.watch(&path, form, TIMEOUT).await {
            // The server ends each watch after a while: that is no failure.
            Ok(response) => read(watched, response.into_body(), sink, &mut version)
                .await
                .err(),
            Err(failure) => Some(failure),
        };
        if version != before {
            failures = 0;
        }
        match failure {
            None => {}
            Some(failure) if failure.code == 0 && failures < 3 => {
                sink.restarted(watched);
                failures += 1;
                tracing::debug!(?watched, %failure, "watch broke");
                tokio::time::sleep(Duration::from_millis(100 << failures)).await;
            }
            Some(failure) => return failure,
        }
    }
}

/// Reads a watch to its end.
async fn read(
    watched: Watched,
    mut body: Body,
    sink: &dyn Sink,
    version: &mut String,
) -> Result<(), Failure> {
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let frame = match tokio::time::timeout(IDLE, body.frame()).await {
            Err(_) => return Err(Failure::no_answer("the watch went silent")),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(Failure::no_answer(error.to_string())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        let mut start = 0;
        while let Some(length) = buffer
            .get(start..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line = buffer.get(start..start + length).unwrap_or_default();
            start += length + 1;
            if !line.is_empty() {
                take_line(watched, line, sink, version)?;
            }
        }
        buffer.drain(..start);
        if buffer.len() > MAX_LINE {
            return Err(Failure::new(410, "TooLarge", "a line of the watch is too long"));
        }
        if buffer.is_empty() && buffer.capacity() > 256 * 1024 {
            buffer = Vec::new();
        }
    }
}

fn take_line(watched: Watched, line: &[u8], sink: &dyn Sink, version: &mut String) -> Result<(), Failure> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        Failure::new(
            410,
            "Unreadable",
            format!("a line of the watch cannot be read: {error}"),
        )
    })?;
    let object = Object::Text(line.object.get());
    let signal = match line.kind {
        "ADDED" | "MODIFIED" => Signal::Applied(object),
        "DELETED" => Signal::Deleted(object),
        "ERROR" => {
            let status: ErrorStatus = serde_json::from_str(line.object.get()).unwrap_or(ErrorStatus {
                code: 0,
                message: String::new(),
            });
            return Err(Failure::new(status.code, "WatchError", status.message));
        }
        _ => {
            return note_version(line.object.get(), version);
        }
    };
    sink.deliver(watched, &mut std::iter::once(signal));
    note_version(line.object.get(), version)
}

/// The next connection goes on from here.
fn note_version(object: &str, version: &mut String) -> Result<(), Failure> {
    let bookmark: Bookmark = serde_json::from_str(object)
        .map_err(|error| Failure::new(410, "Unreadable", format!("an object without a version: {error}")))?;
    if !bookmark.metadata.resource_version.is_empty() {
        *version = bookmark.metadata.resource_version;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
