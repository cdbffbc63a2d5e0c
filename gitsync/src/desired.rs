//! What a commit wants in the cluster: its objects with namespaces and labels filled in, checked, in the order in which they are
//! applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::{HookPhase, LedgerRollout};
use tidegate_manifests::Place;

use crate::digest::sha256;
use crate::graft::Owned;
use crate::hooks::{Occasion, Role, role, stamped, wave};
use crate::object::{DELIVERY_LABEL, DELIVERY_NAMESPACE_LABEL, ObjectId, rank};
use crate::observed::{Kinds, Observed};
use crate::render::{Manifest, Rendered};

/// How many hooks a commit may have: each has a place in the status.
const MAX_HOOKS: usize = 50;

const RBAC: &str = "rbac.authorization.k8s.io";

/// One object of a commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) id: ObjectId,
    pub(crate) body: Value,
    pub(crate) place: Place,
    /// Waves are applied one after the other, lowest first, each when the one before is healthy.
    pub(crate) wave: i64,
    /// It may be refused before others of this commit are there: its kind, its namespace or the role that it binds comes with them.
    pub(crate) later: bool,
}

/// What runs once for a commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hook {
    pub(crate) phase: HookPhase,
    pub(crate) occasion: Occasion,
    /// As it runs.
    pub(crate) wanted: Wanted,
}

/// All objects of a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    /// What the cluster is kept at.
    pub(crate) objects: Vec<Wanted>,
    /// What runs once, by phase and wave.
    pub(crate) hooks: Vec<Hook>,
    /// What is in Git and not in `objects`, which is nothing to delete either.
    apart: BTreeSet<ObjectId>,
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
        let (namespaces, roles) = (namespaces_brought(rendered), roles_brought(rendered));
        let mut unknown = BTreeSet::new();
        let mut found: Vec<(Wanted, Role)> = Vec::new();
        for Manifest { value, place } in &rendered.manifests {
            let named = named(value, &rendered.digest).map_err(|problem| wrong(place, &problem))?;
            let mut id = ObjectId::of(&named);
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
            let mut body = named;
            if in_namespace && id.namespace.is_empty() {
                id.namespace.clone_from(&metadata.namespace);
            } else if !in_namespace {
                id.namespace.clear();
            }
            label(&mut body, &id, &metadata.namespace, &metadata.name)
                .map_err(|problem| wrong(place, &problem))?;
            if id.group == "tidegate.io"
                && id.kind == "Delivery"
                && id.namespace == metadata.namespace
                && id.name == metadata.name
            {
                let message = format!(
                    "{} is the Delivery that delivers this; keep it elsewhere",
                    id.words()
                );
                return Err(wrong(place, &message));
            }
            let of_object = |problem: String| wrong(place, &format!("{}: {problem}", id.words()));
            let (role, wave) = (role(value).map_err(of_object)?, wave(value).map_err(of_object)?);
            // Who may not bind any role has to have the rights of this one, so the API server looks it up.
            let bound = named_by(value, "/roleRef/kind", "/roleRef/name").filter(|_| id.group == RBAC);
            let later = served.is_none()
                || namespaces.contains(id.namespace.as_str())
                || bound.is_some_and(|role| roles.contains(&role));
            let wanted = Wanted {
                id,
                body,
                place: place.clone(),
                wave,
                later,
            };
            found.push((wanted, role));
        }
        if !unknown.is_empty() {
            return Err(Obstacle::Unknown(unknown));
        }
        found.sort_by_key(|(object, _)| (object.wave, rank(&object.id)));
        if let Some(twice) = twice(found.iter().map(|(object, _)| object)) {
            return Err(Obstacle::Wrong(twice));
        }
        Self::divided(found, &rendered.digest)
    }

    /// Puts what runs once aside.
    fn divided(found: Vec<(Wanted, Role)>, digest: &str) -> Result<Self, Obstacle> {
        let mut desired = Self::default();
        for (wanted, role) in found {
            let phases = match role {
                Role::Ordinary => {
                    desired.objects.push(wanted);
                    continue;
                }
                Role::Apart => BTreeMap::new(),
                Role::Hook(phases) => phases,
            };
            desired.apart.insert(wanted.id.clone());
            for (phase, occasion) in phases {
                if desired.hooks.len() == MAX_HOOKS {
                    let message = format!("more than {MAX_HOOKS} hooks: make some of them one");
                    return Err(wrong(&wanted.place, &message));
                }
                let body = stamped(wanted.body.clone(), &phase, digest);
                desired.hooks.push(Hook {
                    phase,
                    occasion,
                    wanted: Wanted {
                        body,
                        ..wanted.clone()
                    },
                });
            }
        }
        desired.hooks.sort_by_key(|hook| hook.phase.clone());
        desired.owned = Owned::by(desired.objects.iter().map(|object| (&object.id, &object.body)));
        Ok(desired)
    }

    /// Whether the commit says nothing of how an object is to be, and yet has it.
    pub(crate) fn leaves_alone(&self, id: &ObjectId) -> bool {
        self.apart.iter().any(|apart| apart.same(id))
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

    /// The object of the commit that a Rollout has its pod template from, if it names one.
    pub(crate) fn workload_of(&self, rollout: &Wanted) -> Option<&Wanted> {
        let text = |field: &str| rollout.body.pointer("/spec/workloadRef")?.get(field)?.as_str();
        let (kind, name) = (text("kind")?, text("name")?);
        self.objects.iter().find(|object| {
            object.id.kind == kind && object.id.name == name && object.id.namespace == rollout.id.namespace
        })
    }

    /// Digest of the pod template of a Rollout, or of the workload that it names.
    fn template(&self, rollout: &Wanted) -> String {
        let inline = rollout.body.pointer("/spec/template");
        let template = inline.or_else(|| template(&self.workload_of(rollout)?.body));
        let digest = template.map(|template| sha256(template.to_string().as_bytes()));
        digest
            .and_then(|digest| digest.get(..16).map(str::to_owned))
            .unwrap_or_default()
    }
}

fn wrong(place: &Place, problem: &str) -> Obstacle {
    Obstacle::Wrong(format!("{place}: {problem}"))
}

/// The object with a name: a hook may leave it to us, and gets one for its commit.
fn named(object: &Value, digest: &str) -> Result<Value, String> {
    let mut object = object.clone();
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or("metadata is no object")?;
    let prefix = metadata.remove("generateName");
    let prefix = prefix.as_ref().and_then(Value::as_str).unwrap_or_default();
    if metadata.get("name").is_none() {
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
        let name = format!("{prefix}{}", digest.get(..10).unwrap_or(digest));
        metadata.insert("name".to_owned(), json!(name));
    }
    Ok(object)
}

/// The pod template of a workload.
pub(crate) fn template(workload: &Value) -> Option<&Value> {
    workload
        .pointer("/spec/template")
        .or_else(|| workload.get("template"))
}

/// Kind and name of a role, where an object has them.
fn named_by<'a>(object: &'a Value, kind: &str, name: &str) -> Option<(&'a str, &'a str)> {
    Some((object.pointer(kind)?.as_str()?, object.pointer(name)?.as_str()?))
}

fn namespaced(kinds: &Kinds, kind: &str) -> Option<bool> {
    kinds.as_ref()?.get(kind).copied()
}

/// The namespaces that come with a commit.
fn namespaces_brought(rendered: &Rendered) -> BTreeSet<&str> {
    let values = rendered.manifests.iter().map(|manifest| &manifest.value);
    values
        .filter(|value| ObjectId::of(value).is("", "Namespace"))
        .filter_map(|value| value.pointer("/metadata/name")?.as_str())
        .collect()
}

/// The roles that come with a commit, by kind and name.
fn roles_brought(rendered: &Rendered) -> BTreeSet<(&str, &str)> {
    let values = rendered.manifests.iter().map(|manifest| &manifest.value);
    values
        .filter(|value| ObjectId::of(value).group == RBAC)
        .filter_map(|value| named_by(value, "/kind", "/metadata/name"))
        .collect()
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

fn twice<'a>(objects: impl Iterator<Item = &'a Wanted>) -> Option<String> {
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
