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

/// Whether the new version can be promoted by this plan: [`act`] has its pods, or needs none.
pub(crate) fn ready(cx: &Context<'_>) -> bool {
    let Some(new) = cx.new.filter(|_| !cx.fully_promoted()) else {
        return true;
    };
    let had = new.annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION);
    had == to_record(of_stable(cx)).as_ref() || !has_pods(new) || cx.seen.pods.contains_key(&new.hash)
}

fn has_pods(rs: &ReplicaSetView) -> bool {
    rs.spec_replicas > 0 || rs.replicas > 0
}

fn to_record(wanted: Option<&PodTemplateMetadata>) -> Option<String> {
    wanted
        .filter(|m| **m != PodTemplateMetadata::default())
        .map(recorded)
}

fn apply(cx: &Context<'_>, rs: &ReplicaSetView, wanted: Option<&PodTemplateMetadata>, draft: &mut Draft) {
    let had = rs.annotations.get(labels::EPHEMERAL_METADATA_ANNOTATION);
    let empty = PodTemplateMetadata::default();
    let recorded_now = to_record(wanted);
    if had == recorded_now.as_ref() {
        return;
    }
    let old: PodTemplateMetadata = had
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let wanted = wanted.unwrap_or(&empty);
    let labels_patch = difference(&old.labels, &wanted.labels, of_template(cx, rs, "labels"));
    let annotations_patch = difference(
        &old.annotations,
        &wanted.annotations,
        of_template(cx, rs, "annotations"),
    );
    let mut done = true;
    // Pods first: the annotation on the ReplicaSet is the record that they are done.
    if has_pods(rs) {
        let Some(pods) = cx.seen.pods.get(&rs.hash) else {
            draft.need_pods(&rs.hash);
            draft.wake_at(cx.now);
            return;
        };
        for pod in pods.iter().filter(|p| !p.deleting) {
            if let Some(patch) = pod_patch(pod, &labels_patch, &annotations_patch) {
                done &= draft.act(Change::PatchPod {
                    name: pod.name.clone(),
                    uid: pod.uid.clone(),
                    patch,
                });
            }
        }
    }
    if !done {
        return;
    }
    let mut metadata = Map::new();
    for (field, patch) in [("labels", labels_patch), ("annotations", annotations_patch)] {
        if !patch.is_empty() {
            metadata.insert(field.to_owned(), json!(patch));
        }
    }
    if !metadata.is_empty() {
        draft.amend(rs, json!({ "spec": { "template": { "metadata": metadata } } }));
    }
    draft.annotate(rs, labels::EPHEMERAL_METADATA_ANNOTATION, recorded_now);
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

fn pod_patch(
    pod: &PodView,
    labels: &BTreeMap<String, Option<String>>,
    annotations: &BTreeMap<String, Option<String>>,
) -> Option<Value> {
    let changed =
        |live: &BTreeMap<String, String>, patch: &BTreeMap<String, Option<String>>| -> Map<String, Value> {
            patch
                .iter()
                .filter(|(k, v)| live.get(*k) != v.as_ref())
                .map(|(k, v)| (k.clone(), json!(v)))
                .collect()
        };
    let (labels, annotations) = (
        changed(&pod.labels, labels),
        changed(&pod.annotations, annotations),
    );
    let mut metadata = Map::new();
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
}
