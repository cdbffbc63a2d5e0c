//! What a commit wants in the cluster: its objects with namespaces and labels filled in, checked, in the order in which they are
//! applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::LedgerRollout;
use tidegate_manifests::Place;

use crate::digest::sha256;
use crate::graft::Owned;
use crate::object::{DELIVERY_LABEL, DELIVERY_NAMESPACE_LABEL, ObjectId, rank};
use crate::observed::{Kinds, Observed};
use crate::render::{Manifest, Rendered};

/// One object of a commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) id: ObjectId,
    pub(crate) body: Value,
    pub(crate) place: Place,
    /// Waves are applied one after the other, lowest first, each when the one before is healthy.
    pub(crate) wave: i64,
    /// It may be refused before others of this commit are there: its kind or namespace comes with them.
    pub(crate) later: bool,
}

/// All objects of a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    pub(crate) objects: Vec<Wanted>,
    pub(crate) owned: Owned,
}

/// What stands between a commit and its objects.
#[derive(Clone, Debug, PartialEq)]
pub enum Obstacle {
    /// API versions that nobody has asked for yet.
    Unknown(BTreeSet<String>),
    /// The cluster does not know a kind, which may be installed any time.
    NoKind(String),
    /// Something is wrong with the commit.
    Wrong(String),
}

impl Desired {
    /// Reads a commit.
    pub(crate) fn of(rendered: &Arc<Rendered>, observed: &Observed) -> Result<Self, Obstacle> {
        let metadata = &observed.delivery.metadata;
        let brought = kinds_brought(&rendered.manifests);
        let namespaces: BTreeSet<&str> = rendered
            .manifests
            .iter()
            .filter(|manifest| ObjectId::of(&manifest.value).is("", "Namespace"))
            .filter_map(|manifest| manifest.value.pointer("/metadata/name")?.as_str())
            .collect();
        let mut unknown = BTreeSet::new();
        let mut objects: Vec<Wanted> = Vec::new();
        for Manifest { value, place } in &rendered.manifests {
            let mut id = ObjectId::of(value);
            let api_version = id.api_version();
            let from_crd = brought.get(&(id.group.clone(), id.kind.clone())).copied();
            let served = match observed.kinds.get(&api_version) {
                None if from_crd.is_none() => {
                    unknown.insert(api_version);
                    continue;
                }
                None => None,
                Some(kinds) => namespaced(kinds, &id.kind),
            };
            let Some(in_namespace) = served.or(from_crd) else {
                let message = format!("{place}: the cluster has no kind {} in {api_version}", id.kind);
                return Err(Obstacle::NoKind(message));
            };
            let mut body = value.clone();
            if in_namespace && id.namespace.is_empty() {
                id.namespace.clone_from(&metadata.namespace);
            } else if !in_namespace {
                id.namespace.clear();
            }
            if let Err(problem) = label(&mut body, &id, &metadata.namespace, &metadata.name) {
                return Err(Obstacle::Wrong(format!("{place}: {problem}")));
            }
            if id.group == "tidegate.io"
                && id.kind == "Delivery"
                && id.namespace == metadata.namespace
                && id.name == metadata.name
            {
                let message = format!(
                    "{place}: {} is the Delivery that delivers this; keep it elsewhere",
                    id.words()
                );
                return Err(Obstacle::Wrong(message));
            }
            let wave = match wave(value) {
                Ok(wave) => wave,
                Err(problem) => return Err(Obstacle::Wrong(format!("{place}: {}: {problem}", id.words()))),
            };
            let later = served.is_none() || namespaces.contains(id.namespace.as_str());
            objects.push(Wanted {
                id,
                body,
                place: place.clone(),
                wave,
                later,
            });
        }
        if !unknown.is_empty() {
            return Err(Obstacle::Unknown(unknown));
        }
        objects.sort_by_key(|object| (object.wave, rank(&object.id)));
        if let Some(twice) = twice(&objects) {
            return Err(Obstacle::Wrong(twice));
        }
        let owned = Owned::by(objects.iter().map(|object| (&object.id, &object.body)));
        Ok(Self { objects, owned })
    }

    /// The Rollouts, with digests of their templates.
    pub(crate) fn rollouts(&self) -> Vec<LedgerRollout> {
        let rollouts = self
            .objects
            .iter()
            .filter(|object| object.id.is("argoproj.io", "Rollout"));
        rollouts
            .map(|object| LedgerRollout {
                namespace: object.id.namespace.clone(),
                name: object.id.name.clone(),
                template: self.template(object),
                generation: None,
                pod_hash: String::new(),
            })
            .collect()
    }

    /// Digest of the pod template of a Rollout, or of the workload that it names.
    fn template(&self, rollout: &Wanted) -> String {
        let inline = rollout.body.pointer("/spec/template");
        let template = inline.or_else(|| {
            let text = |field: &str| rollout.body.pointer("/spec/workloadRef")?.get(field)?.as_str();
            let (kind, name) = (text("kind")?, text("name")?);
            let of = |object: &&Wanted| {
                object.id.kind == kind
                    && object.id.name == name
                    && object.id.namespace == rollout.id.namespace
            };
            let workload = self.objects.iter().find(of)?;
            workload
                .body
                .pointer("/spec/template")
                .or_else(|| workload.body.get("template"))
        });
        let digest = template.map(|template| sha256(template.to_string().as_bytes()));
        digest
            .and_then(|digest| digest.get(..16).map(str::to_owned))
            .unwrap_or_default()
    }
}

/// The wave that an object says it belongs to, as Argo CD's annotation has it; 0 if it says nothing.
fn wave(object: &Value) -> Result<i64, String> {
    let annotation = |key: &str| object.get("metadata")?.get("annotations")?.get(key)?.as_str();
    for key in ["argocd.argoproj.io/hook", "helm.sh/hook"] {
        if annotation(key).is_some() {
            return Err(format!(
                "the annotation {key} is not supported yet: run it as an ordinary Job, or take it out"
            ));
        }
    }
    let key = "argocd.argoproj.io/sync-wave";
    match annotation(key) {
        None => Ok(0),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("the annotation {key} is {text:?}: use a whole number")),
    }
}

fn namespaced(kinds: &Kinds, kind: &str) -> Option<bool> {
    kinds.as_ref()?.get(kind).copied()
}

/// Kinds that the commit itself defines.
fn kinds_brought(manifests: &[Manifest]) -> BTreeMap<(String, String), bool> {
    let definitions = manifests.iter().filter(|manifest| {
        ObjectId::of(&manifest.value).is("apiextensions.k8s.io", "CustomResourceDefinition")
    });
    let read = |manifest: &Manifest| {
        let text = |pointer: &str| Some(manifest.value.pointer(pointer)?.as_str()?.to_owned());
        let scope = text("/spec/scope")?;
        Some((
            (text("/spec/group")?, text("/spec/names/kind")?),
            scope == "Namespaced",
        ))
    };
    definitions.filter_map(read).collect()
}

/// Puts the namespace and our labels on.
fn label(body: &mut Value, id: &ObjectId, namespace: &str, name: &str) -> Result<(), String> {
    let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or("metadata is no object")?;
    if id.namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), json!(id.namespace));
    }
    for field in [
        "uid",
        "resourceVersion",
        "managedFields",
        "generation",
        "creationTimestamp",
    ] {
        metadata.remove(field);
    }
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    let labels = labels.as_object_mut().ok_or("metadata.labels is no object")?;
    labels.insert(DELIVERY_LABEL.to_owned(), json!(name));
    labels.insert(DELIVERY_NAMESPACE_LABEL.to_owned(), json!(namespace));
    Ok(())
}

fn twice(objects: &[Wanted]) -> Option<String> {
    let mut seen: BTreeMap<(&str, &str, &str, &str), &Place> = BTreeMap::new();
    for Wanted { id, place, .. } in objects {
        let key = (
            id.group.as_str(),
            id.kind.as_str(),
            id.namespace.as_str(),
            id.name.as_str(),
        );
        if let Some(first) = seen.insert(key, place) {
            return Some(format!("{place}: {} is in {first} too", id.words()));
        }
    }
    None
}
