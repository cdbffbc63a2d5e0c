//! What another syncer says of itself: which commit it has applied, from where it takes the manifests, and where it puts them.
//!
//! Argo CD's Application and Flux's Kustomization are only read. What they say is believed as far as a commit goes; whether the
//! Rollouts are what the commit says is compared by the plan.

use std::sync::Arc;

use serde_json::Value;

use crate::object::ObjectId;
use crate::render::{Manifest, Rendered};
use crate::spec::{Observe, Reference, Spec, Syncer, host_and_path};
use crate::tree::Oid;

/// Longest words of another controller that are repeated.
const MAX_WORDS: usize = 300;

/// A commit that was applied by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) commit: Oid,
    /// Why it cannot be called good yet although its Rollouts are healthy: the sync is not over, or failed.
    pub(crate) unfinished: Option<String>,
}

/// Where objects go that are applied by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// Where they say; those that do not say, where the Delivery is.
    #[default]
    Own,
    /// Where they say; those that do not say, there (Argo CD).
    Default(String),
    /// There, whatever they say (Flux).
    Always(String),
}

/// What a syncer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The commit that it has applied; `None` as long as it has not, or does not say.
    pub(crate) applied: Option<Applied>,
    pub(crate) namespace: Namespace,
    /// What it says went wrong.
    pub(crate) problem: Option<String>,
    /// The object that says where the manifests come from, if that is another one.
    pub(crate) source: Option<ObjectId>,
}

/// The object that is read.
pub(crate) fn id(observe: &Observe, own_namespace: &str) -> ObjectId {
    let (group, version, kind) = match observe.kind {
        Syncer::Application => ("argoproj.io", "v1alpha1", "Application"),
        Syncer::Kustomization => ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"),
    };
    ObjectId {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespace: observe
            .namespace
            .clone()
            .unwrap_or_else(|| own_namespace.to_owned()),
        name: observe.name.clone(),
    }
}

/// For people: `the Argo CD Application argocd/shop`.
pub(crate) fn words(id: &ObjectId) -> String {
    let product = if id.kind == "Application" {
        "Argo CD"
    } else {
        "Flux"
    };
    format!("the {product} {}", id.words())
}

/// Reads what a syncer says.
///
/// # Errors
/// It does not deliver what the Delivery looks at: both are named.
pub(crate) fn read(kind: Syncer, object: &Value, spec: &Spec) -> Result<Said, String> {
    match kind {
        Syncer::Application => application(object, spec),
        Syncer::Kustomization => kustomization(object, spec),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn some(object: &Value, pointer: &str) -> Option<String> {
    Some(text(object, pointer).to_owned()).filter(|text| !text.is_empty())
}

/// Whether there is something in a list or map.
fn has(object: &Value, pointer: &str) -> bool {
    match object.pointer(pointer) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        _ => false,
    }
}

// Argo CD

fn application(object: &Value, spec: &Spec) -> Result<Said, String> {
    if has(object, "/spec/sources") {
        return Err("has several sources (spec.sources), so no one commit is what it applies: observe one with a single \
                    spec.source"
            .to_owned());
    }
    if let Some(chart) = some(object, "/spec/source/chart") {
        return Err(format!(
            "delivers the chart {chart} of a Helm repository, not a folder of {}",
            spec.url
        ));
    }
    let elsewhere = match (
        text(object, "/spec/destination/name"),
        text(object, "/spec/destination/server"),
    ) {
        ("" | "in-cluster", "" | "https://kubernetes.default.svc") => None,
        (name, "") => Some(name.to_owned()),
        (_, server) => Some(server.to_owned()),
    };
    if let Some(elsewhere) = elsewhere {
        return Err(format!(
            "applies to another cluster ({elsewhere}): observe it from a Delivery there"
        ));
    }
    same_repository("spec.source.repoURL", text(object, "/spec/source/repoURL"), spec)?;
    same_path("spec.source.path", text(object, "/spec/source/path"), spec)?;
    let revision = text(object, "/spec/source/targetRevision");
    if !matches!(revision, "" | "HEAD") {
        same_reference("spec.source.targetRevision", revision, &spec.reference)?;
    }
    Ok(Said {
        applied: synced(object).or_else(|| operated(object)),
        namespace: some(object, "/spec/destination/namespace").map_or(Namespace::Own, Namespace::Default),
        problem: failure(object),
        source: None,
    })
}

/// The revision of the last operation that was about all of the Application.
fn operation(object: &Value) -> Option<(Oid, &str)> {
    let partial = has(object, "/status/operationState/operation/sync/resources")
        || object.pointer("/status/operationState/operation/sync/dryRun") == Some(&Value::Bool(true));
    let commit =
        Oid::parse(text(object, "/status/operationState/syncResult/revision")).filter(|_| !partial)?;
    Some((commit, text(object, "/status/operationState/phase")))
}

/// Argo CD found everything as the commit says.
fn synced(object: &Value) -> Option<Applied> {
    if text(object, "/status/sync/status") != "Synced" {
        return None;
    }
    let commit = Oid::parse(text(object, "/status/sync/revision"))?;
    let of_it = operation(object).filter(|(of, phase)| *of == commit && *phase != "Succeeded");
    let unfinished = of_it.map(|(_, phase)| unfinished(object, phase));
    Some(Applied { commit, unfinished })
}

/// Argo CD applied the commit, or at least its Rollouts: what comes in later waves may wait for them.
fn operated(object: &Value) -> Option<Applied> {
    let (commit, phase) = operation(object)?;
    if phase == "Succeeded" {
        return Some(Applied {
            commit,
            unfinished: None,
        });
    }
    let resources = object
        .pointer("/status/operationState/syncResult/resources")
        .and_then(Value::as_array)?;
    let mut rollouts = resources
        .iter()
        .filter(|resource| text(resource, "/group") == "argoproj.io" && text(resource, "/kind") == "Rollout")
        .peekable();
    rollouts.peek()?;
    rollouts
        .all(|rollout| text(rollout, "/status") == "Synced")
        .then(|| Applied {
            commit,
            unfinished: Some(unfinished(object, phase)),
        })
}

fn unfinished(object: &Value, phase: &str) -> String {
    let message = text(object, "/status/operationState/message");
    clip(&format!("Argo CD's sync of it is {phase}: {message}"))
}

/// The errors of an Application, and the failure of its last operation.
fn failure(object: &Value) -> Option<String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    let error = conditions.find(|condition| text(condition, "/type").ends_with("Error"));
    if let Some(error) = error {
        return Some(clip(&format!(
            "{}: {}",
            text(error, "/type"),
            text(error, "/message")
        )));
    }
    let phase = text(object, "/status/operationState/phase");
    let failed = matches!(phase, "Failed" | "Error");
    failed.then(|| {
        clip(&format!(
            "its last sync is {phase}: {}",
            text(object, "/status/operationState/message")
        ))
    })
}

// Flux

fn kustomization(object: &Value, spec: &Spec) -> Result<Said, String> {
    if has(object, "/spec/kubeConfig") {
        return Err(
            "applies to another cluster (spec.kubeConfig): observe it from a Delivery there".to_owned(),
        );
    }
    let source = text(object, "/spec/sourceRef/kind");
    if source != "GitRepository" {
        let name = text(object, "/spec/sourceRef/name");
        return Err(format!(
            "takes its manifests from the {source} {name}, not from {}",
            spec.url
        ));
    }
    same_path("spec.path", text(object, "/spec/path"), spec)?;
    let namespace = some(object, "/spec/sourceRef/namespace");
    Ok(Said {
        applied: reconciled(object),
        namespace: some(object, "/spec/targetNamespace").map_or(Namespace::Own, Namespace::Always),
        problem: not_ready(object),
        source: Some(ObjectId {
            group: "source.toolkit.fluxcd.io".to_owned(),
            version: "v1".to_owned(),
            kind: "GitRepository".to_owned(),
            namespace: namespace.unwrap_or_else(|| text(object, "/metadata/namespace").to_owned()),
            name: text(object, "/spec/sourceRef/name").to_owned(),
        }),
    })
}

/// Status, reason and message of a condition.
fn condition<'a>(object: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| text(condition, "/type") == kind);
    found.map_or(("", "", ""), |found| {
        (
            text(found, "/status"),
            text(found, "/reason"),
            text(found, "/message"),
        )
    })
}

/// A revision counts as applied for Flux only once the health checks are over: those of `wait` would be waiting for the
/// verdict. They are run on what is applied.
fn reconciled(object: &Value) -> Option<Applied> {
    let attempted = commit_of(text(object, "/status/lastAttemptedRevision"));
    let applied = commit_of(text(object, "/status/lastAppliedRevision"));
    let (_, reason, message) = condition(object, "Ready");
    let checked = reason == "HealthCheckFailed" || condition(object, "Healthy").0 == "Unknown";
    match (attempted, applied) {
        (Some(commit), applied) if checked && applied.as_ref() != Some(&commit) => Some(Applied {
            commit,
            unfinished: Some(clip(&format!(
                "the health checks of Flux are not over: {message}"
            ))),
        }),
        (_, Some(commit)) => Some(Applied {
            commit,
            unfinished: None,
        }),
        _ => None,
    }
}

fn not_ready(object: &Value) -> Option<String> {
    let (status, reason, message) = condition(object, "Ready");
    (status == "False").then(|| clip(&format!("{reason}: {message}")))
}

/// The commit of `main@sha1:COMMIT`, `sha1:COMMIT` or the older `main/COMMIT`.
fn commit_of(revision: &str) -> Option<Oid> {
    Oid::parse(revision.rsplit([':', '/']).next()?)
}

/// Whether a GitRepository is the source of the Delivery.
///
/// # Errors
/// It is not: both are named.
pub(crate) fn same_git_repository(object: &Value, spec: &Spec) -> Result<(), String> {
    same_repository("spec.url", text(object, "/spec/url"), spec)?;
    let of = |field: &str| some(object, &format!("/spec/ref/{field}"));
    // The order in which Flux looks at them.
    if of("commit").is_some() {
        return Ok(());
    }
    for field in ["name", "semver", "tag", "branch"] {
        if let Some(name) = of(field) {
            return same_reference(&format!("spec.ref.{field}"), &name, &spec.reference);
        }
    }
    // What Flux takes if nothing is said.
    same_reference("spec.ref.branch", "master", &spec.reference)
}

// The same source

fn same_repository(field: &str, url: &str, spec: &Spec) -> Result<(), String> {
    if repository(url) == repository(&spec.url) {
        return Ok(());
    }
    Err(format!(
        "{field} is {url}, and spec.source.git.url of the Delivery is {}",
        spec.url
    ))
}

/// Host and path, so that the same repository by another protocol is the same.
fn repository(url: &str) -> (String, String) {
    match host_and_path(url) {
        Some((_, host, path)) => {
            let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
            (host, path)
        }
        None => (String::new(), url.trim_end_matches(".git").to_owned()),
    }
}

fn same_path(field: &str, path: &str, spec: &Spec) -> Result<(), String> {
    let clean = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    let clean = if clean == "." { "" } else { clean };
    if clean == spec.path {
        return Ok(());
    }
    Err(format!(
        "{field} is {path:?}, and spec.source.git.path of the Delivery is {:?}",
        spec.path
    ))
}

/// A fixed commit may be any branch's: that is how a person goes back there.
fn same_reference(field: &str, name: &str, reference: &Reference) -> Result<(), String> {
    let same = name == reference.short || name == reference.full || Oid::parse(name).is_some();
    if same {
        return Ok(());
    }
    Err(format!(
        "{field} is {name}, and spec.source.git.ref of the Delivery is {}",
        reference.short
    ))
}

fn clip(words: &str) -> String {
    words
        .trim_end_matches([':', ' '])
        .chars()
        .take(MAX_WORDS)
        .collect()
}

// What of a commit is compared

/// The objects of a commit that say what its Rollouts are, where the syncer puts them. Everything else is the syncer's alone:
/// also what only it understands, such as its hooks.
pub(crate) fn judged(rendered: &Rendered, namespace: &Namespace) -> Arc<Rendered> {
    let matters = |manifest: &&Manifest| {
        let id = ObjectId::of(&manifest.value);
        id.is("argoproj.io", "Rollout")
            || id.is("autoscaling", "HorizontalPodAutoscaler")
            || id.is("keda.sh", "ScaledObject")
            || id.is("", "PodTemplate")
            || id.group == "apps"
    };
    let place = |manifest: &Manifest| {
        let mut manifest = manifest.clone();
        if let Some(metadata) = manifest.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("annotations");
            let unsaid = metadata
                .get("namespace")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty);
            match namespace {
                Namespace::Default(name) if unsaid => {
                    _ = metadata.insert("namespace".to_owned(), name.as_str().into());
                }
                Namespace::Always(name) => _ = metadata.insert("namespace".to_owned(), name.as_str().into()),
                _ => {}
            }
        }
        manifest
    };
    Arc::new(Rendered {
        manifests: rendered.manifests.iter().filter(matters).map(place).collect(),
        digest: rendered.digest.clone(),
        closure: rendered.closure.clone(),
    })
}

#[cfg(test)]
mod tests;
