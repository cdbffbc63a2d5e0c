//! Ephemeral metadata: labels and annotations that a version carries only while it has a role (contract 3.8).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_crds::{PodTemplateMetadata, labels};

use crate::context::Context;
use crate::draft::Draft;
use crate::observed::{PodView, ReplicaSetView};
use crate::plan::Change;

/// What the new version carries while it is not promoted.
pub(crate) fn of_new<'a>(cx: &Context<'a>) -> Option<&'a PodTemplateMetadata> {
    if cx.stable_hash().is_empty() || cx.fully_promoted() {
        of_stable(cx)
    } else {
        cx.valid.new_metadata.as_ref()
    }
}

fn of_stable<'a>(cx: &Context<'a>) -> Option<&'a PodTemplateMetadata> {
    cx.valid.stable_metadata.as_ref()
}

/// The annotation that remembers what was injected, so that it can be taken away again.
pub(crate) fn recorded(metadata: &PodTemplateMetadata) -> String {
    serde_json::to_string(metadata).unwrap_or_default()
}

/// Gives each version the metadata of its role, on its template and on its live pods. One that is `promotable` gets that of the
/// stable version already, so that what is told to be promoted has it.
pub(crate) fn act(cx: &Context<'_>, promotable: bool, draft: &mut Draft) {
    if let Some(new) = cx.new {
        let wanted = if promotable { of_stable(cx) } else { of_new(cx) };
        apply(cx, new, wanted, draft);
    }
    if let Some(stable) = cx.stable.filter(|rs| !cx.is_new(rs)) {
        apply(cx, stable, of_stable(cx), draft);
    }
    for older in &cx.older {
        apply(cx, older, None, draft);
    }
}

/// Whether the new version can be promoted by this plan: its pods have the metadata of the stable version, or get it from [`act`].
/// A template that cannot be changed holds nobody up.
pub(crate) fn ready(cx: &Context<'_>, draft: &Draft) -> bool {
    let Some(new) = cx.new.filter(|_| !cx.fully_promoted()) else {
        return true;
    };
    if !has_pods(new) || draft.sizes_refused() {
        return true;
    }
    let had = new.annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION);
    let due = new.annotations.contains_key(labels::METADATA_OF_PODS_ANNOTATION);
    had == to_record(of_stable(cx)).as_ref()
        && (!due || template_is_known(new) && cx.seen.pods.contains_key(&new.hash))
}

fn has_pods(rs: &ReplicaSetView) -> bool {
    rs.spec_replicas > 0 || rs.replicas > 0
}

/// Pods that come from now on are made of the template as it is.
fn template_is_known(rs: &ReplicaSetView) -> bool {
    rs.observed_generation >= rs.generation
}

fn to_record(wanted: Option<&PodTemplateMetadata>) -> Option<String> {
    wanted
        .filter(|m| **m != PodTemplateMetadata::default())
        .map(recorded)
}

fn parsed(text: Option<&String>) -> PodTemplateMetadata {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn apply(cx: &Context<'_>, rs: &ReplicaSetView, wanted: Option<&PodTemplateMetadata>, draft: &mut Draft) {
    let had = rs.annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION);
    let of_pods = rs.annotations.get(labels::METADATA_OF_PODS_ANNOTATION);
    let empty = PodTemplateMetadata::default();
    if had != to_record(wanted).as_ref() {
        on_template(cx, rs, wanted.unwrap_or(&empty), draft);
    } else if of_pods.is_some() {
        on_pods(cx, rs, wanted.unwrap_or(&empty), draft);
    }
}

/// The template first, so that a pod that comes meanwhile has it; with the record of it, and of what pods that are there have still.
fn on_template(cx: &Context<'_>, rs: &ReplicaSetView, wanted: &PodTemplateMetadata, draft: &mut Draft) {
    let old = parsed(rs.annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION));
    let patch = Patch::between(cx, rs, &old, wanted);
    let mut metadata = Map::new();
    for (field, patch) in [("labels", patch.labels), ("annotations", patch.annotations)] {
        if !patch.is_empty() {
            metadata.insert(field.to_owned(), json!(patch));
        }
    }
    if !metadata.is_empty() {
        draft.amend(rs, json!({ "spec": { "template": { "metadata": metadata } } }));
    }
    draft.annotate(rs, labels::EPHEMERAL_METADATA_ANNOTATION, to_record(Some(wanted)));
    let mut of_pods = parsed(rs.annotations.get(labels::METADATA_OF_PODS_ANNOTATION));
    of_pods.labels.extend(old.labels);
    of_pods.annotations.extend(old.annotations);
    let of_pods = has_pods(rs).then(|| recorded(&of_pods));
    draft.annotate(rs, labels::METADATA_OF_PODS_ANNOTATION, of_pods);
}

/// Then the pods that were there before, and last the record that they are done.
fn on_pods(cx: &Context<'_>, rs: &ReplicaSetView, wanted: &PodTemplateMetadata, draft: &mut Draft) {
    if has_pods(rs) {
        if !template_is_known(rs) {
            return;
        }
        let Some(pods) = cx.seen.pods.get(&rs.hash) else {
            draft.need_pods(&rs.hash);
            draft.wake_at(cx.now);
            return;
        };
        let old = parsed(rs.annotations.get(labels::METADATA_OF_PODS_ANNOTATION));
        let patch = Patch::between(cx, rs, &old, wanted);
        let mut done = true;
        for pod in pods.iter().filter(|p| !p.deleting) {
            if let Some(patch) = patch.of_pod(pod) {
                done &= draft.act(Change::PatchPod {
                    name: pod.name.clone(),
                    uid: pod.uid.clone(),
                    patch,
                });
            }
        }
        if !done {
            return;
        }
        if draft.patches(rs) {
            // That write comes before those of the pods.
            draft.wake_at(cx.now);
            return;
        }
    }
    draft.annotate(rs, labels::METADATA_OF_PODS_ANNOTATION, None);
}

/// Keys to set (`Some`) and to take away.
struct Patch {
    labels: BTreeMap<String, Option<String>>,
    annotations: BTreeMap<String, Option<String>>,
}

impl Patch {
    fn between(
        cx: &Context<'_>,
        rs: &ReplicaSetView,
        old: &PodTemplateMetadata,
        new: &PodTemplateMetadata,
    ) -> Self {
        Self {
            labels: difference(&old.labels, &new.labels, of_template(cx, rs, "labels")),
            annotations: difference(
                &old.annotations,
                &new.annotations,
                of_template(cx, rs, "annotations"),
            ),
        }
    }

    /// What is left to do on a pod.
    fn of_pod(&self, pod: &PodView) -> Option<Value> {
        let changed = |live: &BTreeMap<String, String>,
                       patch: &BTreeMap<String, Option<String>>|
         -> Map<String, Value> {
            patch
                .iter()
                .filter(|(k, v)| live.get(*k) != v.as_ref())
                .map(|(k, v)| (k.clone(), json!(v)))
                .collect()
        };
        let mut metadata = Map::new();
        for (field, entries) in [
            ("labels", changed(&pod.labels, &self.labels)),
            ("annotations", changed(&pod.annotations, &self.annotations)),
        ] {
            if !entries.is_empty() {
                metadata.insert(field.to_owned(), Value::Object(entries));
            }
        }
        (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
    }
}

/// What the template of a version says itself, which comes back when a role ends. Only that of the new version is known.
fn of_template<'a>(cx: &Context<'a>, rs: &ReplicaSetView, field: &str) -> Option<&'a Map<String, Value>> {
    let metadata = cx.template.get("metadata").filter(|_| cx.is_new(rs))?;
    metadata.get(field)?.as_object()
}

/// Keys to set, and keys of ours to take away or to give back.
fn difference(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    template: Option<&Map<String, Value>>,
) -> BTreeMap<String, Option<String>> {
    let own = |key: &String| template?.get(key)?.as_str().map(str::to_owned);
    let gone = old
        .keys()
        .filter(|k| !new.contains_key(*k))
        .map(|k| (k.clone(), own(k)));
    gone.chain(new.iter().map(|(k, v)| (k.clone(), Some(v.clone()))))
        .collect()
}
