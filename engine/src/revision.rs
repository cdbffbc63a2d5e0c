//! Versions: finding, creating, adopting and forgetting ReplicaSets (contract 2.2, 2.3, 3.1, 3.8, F5).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_crds::{API_VERSION, PodTemplateMetadata, labels};

use crate::context::{Annotated, Context, Strategy, name_of};
use crate::draft::{Draft, scaling_message};
use crate::observed::{Observed, ReplicaSetView};
use crate::plan::{Change, Event};
use crate::valid::AntiAffinity;

/// Longest chain of earlier revisions that an annotation keeps.
const MAX_HISTORY_BYTES: usize = 2000;

/// Annotations of the Rollout that its ReplicaSets do not get (contract 2.2), beside those below [`OF_CONTROLLERS`].
const NOT_COPIED: [&str; 3] = [
    labels::LAST_APPLIED_ANNOTATION,
    labels::NOTIFIED_ANNOTATION,
    labels::SCALE_DOWN_DEADLINE_ANNOTATION,
];

/// Prefixes of the annotations that a controller writes on ReplicaSets to know later what it did. What somebody puts on a Rollout says
/// nothing of that.
const OF_CONTROLLERS: [&str; 3] = ["rollout.argoproj.io/", "experiment.argoproj.io/", "tidegate.io/"];

/// The revision that the new version has or gets: one above all others (contract 3.1).
pub(crate) fn new_revision(cx: &Context<'_>) -> i64 {
    let others = cx.owned().filter(|rs| !cx.is_new(rs)).map(Annotated::revision);
    // What is at the limit nobody has counted up to, and it leaves no number for the new version.
    let others = others
        .filter(|revision| *revision < labels::MAX_REVISION)
        .max()
        .unwrap_or(0);
    match cx.new.map(Annotated::revision) {
        Some(current) if current > others => current,
        _ => others + 1,
    }
}

/// Takes ReplicaSets without a controller that match the selector. Answers whether that is tried: then all else is decided on the next
/// look, which sees them as owned. One of them may be the version in the spec.
pub(crate) fn adopt(cx: &Context<'_>, draft: &mut Draft) -> bool {
    let seen = cx.seen;
    let orphan = |rs: &&ReplicaSetView| rs.controller_uid.is_none() && !rs.deleting && !rs.hash.is_empty();
    let mut adopts = false;
    for rs in seen.replica_sets.iter().filter(orphan) {
        draft.amend(rs, json!({ "metadata": { "ownerReferences": [owner(seen)] } }));
        adopts = true;
    }
    // Traffic back to stable does not wait for it.
    adopts && !draft.sizes_refused() && cx.status().abort != Some(true)
}

fn owner(seen: &Observed) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "Rollout",
        "name": seen.rollout.metadata.name,
        "uid": seen.rollout.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Mirrors the revision on the Rollout and renumbers a ReplicaSet that is used again.
pub(crate) fn number(cx: &Context<'_>, draft: &mut Draft) {
    let revision = new_revision(cx);
    let text = revision.to_string();
    if let Some(new) = cx.new
        && new.revision() != revision
    {
        if new.revision() > 0 {
            let history = new.annotations.get(labels::REVISION_HISTORY_ANNOTATION);
            let history = history.map_or_else(String::new, |h| format!("{h},")) + &new.revision().to_string();
            let start = history.len().saturating_sub(MAX_HISTORY_BYTES);
            let kept = history.get(start..).unwrap_or(&history).to_owned();
            draft.annotate(new, labels::REVISION_HISTORY_ANNOTATION, Some(kept));
        }
        draft.annotate(new, labels::REVISION_ANNOTATION, Some(text.clone()));
        for (key, value) in copied_annotations(cx) {
            draft.annotate(new, &key, Some(value));
        }
        if let Some(affinity) = apart_anew(cx, new) {
            draft.amend(
                new,
                json!({ "spec": { "template": { "spec": { "affinity": affinity } } } }),
            );
        }
    }
    let mirrored = cx.rollout().metadata.annotations.get(labels::REVISION_ANNOTATION);
    if mirrored != Some(&text) {
        draft.act_and_tell(
            Change::PatchRollout {
                patch: json!({ "metadata": { "annotations": { labels::REVISION_ANNOTATION: text } } }),
            },
            "RolloutUpdated",
            format!("Rollout updated to revision {revision}"),
            text,
        );
    }
}

fn is_copied(annotation: &str) -> bool {
    !NOT_COPIED.contains(&annotation) && !OF_CONTROLLERS.iter().any(|prefix| annotation.starts_with(prefix))
}

fn copied_annotations(cx: &Context<'_>) -> BTreeMap<String, String> {
    let all = &cx.rollout().metadata.annotations;
    all.iter()
        .filter(|(key, _)| is_copied(key))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Creates the ReplicaSet of the new version at `replicas`, and tells of its size. Answers whether it is tried.
pub(crate) fn create(cx: &Context<'_>, draft: &mut Draft, replicas: i32) -> bool {
    let name = name_of(cx.rollout(), &cx.hash);
    let revision = new_revision(cx);
    let mut annotations = copied_annotations(cx);
    annotations.insert(labels::REVISION_ANNOTATION.to_owned(), revision.to_string());
    annotations.insert(
        labels::DESIRED_REPLICAS_ANNOTATION.to_owned(),
        cx.size.to_string(),
    );

    let mut template = cx.template.clone();
    // A stored `memory: invalid` would have the API server refuse the ReplicaSet (contract 2.1).
    tidegate_crds::template::drop_malformed_fields(&mut template);
    let labels_of_template = object(object(&mut template, "metadata"), "labels");
    labels_of_template
        .as_object_mut()
        .map(|l| l.insert(labels::POD_TEMPLATE_HASH_LABEL.to_owned(), json!(cx.hash)));
    let labels_of_rs = labels_of_template.clone();
    if let Some(metadata) = crate::metadata::of_new(cx) {
        inject(&mut template, metadata);
        annotations.insert(
            labels::EPHEMERAL_METADATA_ANNOTATION.to_owned(),
            crate::metadata::recorded(metadata),
        );
    }
    anti_affinity(cx, &mut template);

    let mut selector = cx.selector().map_or(Value::Null, |selector| json!(selector));
    object(&mut selector, "matchLabels")
        .as_object_mut()
        .map(|l| l.insert(labels::POD_TEMPLATE_HASH_LABEL.to_owned(), json!(cx.hash)));

    let mut spec = json!({ "replicas": replicas, "selector": selector, "template": template });
    if cx.valid.min_ready_seconds > 0 {
        spec["minReadySeconds"] = json!(cx.valid.min_ready_seconds);
    }
    let body = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": cx.rollout().metadata.namespace,
            "labels": labels_of_rs,
            "annotations": annotations,
            "ownerReferences": [owner(cx.seen)],
        },
        "spec": spec,
    });
    draft.act_and_tell(
        Change::CreateReplicaSet {
            name: name.clone(),
            body,
        },
        "NewReplicaSetCreated",
        format!("Created ReplicaSet {name} (revision {revision})"),
        revision.to_string(),
    )
}

/// What to tell of the size that a ReplicaSet was created with.
pub(crate) fn created_at_size(cx: &Context<'_>, replicas: i32) -> Option<Event> {
    let name = name_of(cx.rollout(), &cx.hash);
    let revision = new_revision(cx);
    (replicas > 0).then(|| Event {
        warning: false,
        reason: "ScalingReplicaSet",
        message: scaling_message(&name, revision, 0, replicas),
        occurrence: revision.to_string(),
    })
}

/// The object at `key`, made when it is missing or something else.
fn object<'v>(value: &'v mut Value, key: &str) -> &'v mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let child = &mut value[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

pub(crate) fn inject(template: &mut Value, metadata: &PodTemplateMetadata) {
    for (field, entries) in [
        ("labels", &metadata.labels),
        ("annotations", &metadata.annotations),
    ] {
        if entries.is_empty() {
            continue;
        }
        let target = object(object(template, "metadata"), field);
        for (key, value) in entries {
            target[key] = json!(value);
        }
    }
}

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// What keeps pods of the new version off the nodes of the stable one (contract 3.8, F37): the list, and its entry.
fn apart(cx: &Context<'_>) -> Option<(&'static str, Value)> {
    let stable = cx.stable_hash();
    let beside = !stable.is_empty() && stable != cx.hash;
    let anti_affinity = cx.valid.anti_affinity.filter(|_| beside)?;
    let term = json!({
        "labelSelector": { "matchExpressions": [{
            "key": labels::POD_TEMPLATE_HASH_LABEL, "operator": "In", "values": [stable],
        }] },
        "topologyKey": "kubernetes.io/hostname",
    });
    Some(match anti_affinity {
        AntiAffinity::Preferred { weight } => {
            (PREFERRED, json!({ "weight": weight, "podAffinityTerm": term }))
        }
        AntiAffinity::Required => (REQUIRED, term),
    })
}

fn anti_affinity(cx: &Context<'_>, template: &mut Value) {
    let Some((list, entry)) = apart(cx) else {
        return;
    };
    let affinity = object(object(object(template, "spec"), "affinity"), "podAntiAffinity");
    match affinity[list].as_array_mut() {
        Some(terms) => terms.push(entry),
        None => affinity[list] = json!([entry]),
    }
}

/// A merge patch for the affinity of a version that is used again: another one may be stable now. Beside what is injected it is that of
/// the template.
fn apart_anew(cx: &Context<'_>, rs: &ReplicaSetView) -> Option<Value> {
    apart(cx)?;
    if rs.apart_from.as_deref() == Some(cx.stable_hash()) {
        return None;
    }
    let mut template = cx.template.clone();
    anti_affinity(cx, &mut template);
    let wanted = template.pointer("/spec/affinity/podAntiAffinity")?;
    // One of the other sort may be left of an earlier time.
    let lists = [PREFERRED, REQUIRED].map(|list| (list, wanted.get(list).cloned().unwrap_or_default()));
    Some(json!({ "podAntiAffinity": BTreeMap::from(lists) }))
}

/// `minReadySeconds` of the Rollout holds for every ReplicaSet (contract F4).
pub(crate) fn min_ready_seconds(cx: &Context<'_>, draft: &mut Draft) {
    let seconds = cx.valid.min_ready_seconds;
    for rs in cx.owned().filter(|rs| rs.min_ready_seconds != seconds) {
        draft.amend(rs, json!({ "spec": { "minReadySeconds": seconds } }));
    }
}

/// Deletes old ReplicaSets beyond `revisionHistoryLimit`: only empty ones, oldest first, never one that a Service still
/// names (contract F5).
pub(crate) fn forget(cx: &Context<'_>, draft: &mut Draft) {
    let limit = cx.valid.history;
    let mut old: Vec<&ReplicaSetView> = cx.older.clone();
    // A window counts the versions that are there: none may go on the way back, or what was outside comes to lie within it.
    let back = cx
        .new
        .zip(cx.stable)
        .is_some_and(|(new, stable)| older(new, stable));
    let goes_back = cx.valid.rollback_window > 0 && back;
    if old.len() <= limit || goes_back {
        return;
    }
    old.sort_by_key(|rs| (rs.revision(), rs.created, rs.name.clone()));
    for rs in old.iter().take(old.len() - limit) {
        if rs.spec_replicas == 0
            && rs.replicas == 0
            && rs.observed_generation >= rs.generation
            && !cx.is_selected(&rs.hash)
        {
            draft.act(Change::DeleteReplicaSet {
                name: rs.name.clone(),
                uid: rs.uid.clone(),
                resource_version: rs.resource_version.clone(),
            });
        }
    }
}

/// Whether a version was made before another. Creation times are whole seconds; where they are the same, the first revision that each
/// had tells, since it was one above all that there were.
pub(crate) fn older(one: &ReplicaSetView, other: &ReplicaSetView) -> bool {
    let first = |rs: &ReplicaSetView| {
        let history = rs.annotations.get(labels::REVISION_HISTORY_ANNOTATION);
        let first = history.and_then(|history| history.split(',').next());
        first.and_then(labels::revision).unwrap_or_else(|| rs.revision())
    };
    (one.created, first(one)) < (other.created, first(other))
}

/// Whether going to `target` stays within `rollbackWindow` (contract F10, 3.7).
pub(crate) fn within_window(cx: &Context<'_>, target: &ReplicaSetView) -> bool {
    if cx.valid.rollback_window == 0 {
        return false;
    }
    let Some(stable) = cx
        .stable
        .filter(|stable| older(target, stable) && !was_aborted(target))
    else {
        return false;
    };
    let between = cx
        .owned()
        .filter(|rs| older(target, rs) && older(rs, stable) && !rs.of_experiment());
    between.count() < cx.valid.rollback_window
}

/// Remembers that the version before the one in the spec was aborted, when another one begins: it is none to go back to, until it is
/// promoted.
pub(crate) fn mark(cx: &Context<'_>, draft: &mut Draft) {
    let status = cx.status();
    let old = status.current_pod_hash.as_deref().unwrap_or_default();
    if let Some(before) = cx.owned().find(|rs| rs.hash == old && old != cx.hash) {
        draft.annotate(before, labels::RETURNS_ANNOTATION, None);
    }
    if status.aborted_at.is_none() && status.abort != Some(true) || old == cx.hash || old == cx.stable_hash()
    {
        return;
    }
    if let Some(aborted) = cx.owned().find(|rs| rs.hash == old) {
        draft.annotate(aborted, labels::ABORTED_ANNOTATION, Some("true".to_owned()));
    }
}

/// Forgets that a version was aborted once it is promoted.
pub(crate) fn unmark(cx: &Context<'_>, draft: &mut Draft) {
    if let Some(new) = cx.new.filter(|_| cx.fully_promoted()) {
        draft.annotate(new, labels::ABORTED_ANNOTATION, None);
        draft.annotate(new, labels::RETURNS_ANNOTATION, None);
    }
}

/// Remembers that a version comes back whose delay has not passed.
pub(crate) fn returns(cx: &Context<'_>, rs: &ReplicaSetView, draft: &mut Draft) {
    let from = cx.stable_hash().to_owned();
    if !from.is_empty() && from != rs.hash {
        draft.annotate(rs, labels::RETURNS_ANNOTATION, Some(from));
    }
}

fn was_aborted(rs: &ReplicaSetView) -> bool {
    rs.annotations.contains_key(labels::ABORTED_ANNOTATION)
}

/// Whether a version has been aborted: the one in the spec, or one before it.
pub(crate) fn is_rejected(cx: &Context<'_>, rs: &ReplicaSetView) -> bool {
    was_aborted(rs) || cx.is_new(rs) && cx.status().abort == Some(true)
}

/// Whether the new version is one that was stable before and may come back without pauses and analysis (contract 3.7).
pub(crate) fn fast_rollback(cx: &Context<'_>) -> bool {
    let Some(new) = cx.new else { return false };
    let Some(stable) = cx.stable else { return false };
    if new.name == stable.name {
        return true;
    }
    older(new, stable) && (kept(cx, new) || within_window(cx, new))
}

/// A blue-green version that waits to be scaled down may come back as it is. That it does is remembered until it is promoted again: its
/// delay may pass on the way.
pub(crate) fn kept(cx: &Context<'_>, rs: &ReplicaSetView) -> bool {
    let waits = rs.scale_down_deadline().is_some_and(|deadline| deadline > cx.now);
    let from = rs.annotations.get(labels::RETURNS_ANNOTATION);
    let returns = cx.is_new(rs) && from.is_some_and(|from| from == cx.stable_hash());
    matches!(cx.strategy, Strategy::BlueGreen(_)) && !was_aborted(rs) && (waits || returns)
}

/// Whether a version has just lost its requests, to one that is promoted, and its delay has not been written on it yet: whoever goes
/// back so soon is not later than others.
pub(crate) fn waits_for_its_delay(cx: &Context<'_>, rs: &ReplicaSetView) -> bool {
    let status = cx.status();
    let whole = rs.spec_replicas > 0 && rs.desired_replicas() == Some(rs.spec_replicas);
    let promoted = status.blue_green.is_some() && status.current_pod_hash == status.stable_rs;
    let newer = |other: &&&ReplicaSetView| other.spec_replicas > 0 && other.revision() > rs.revision();
    let at_once = cx
        .valid
        .scale_down_limit
        .is_some_and(|limit| cx.older.iter().filter(newer).count() >= limit);
    whole
        && promoted
        && !at_once
        && rs.scale_down_deadline().is_none()
        && cx.stable.is_some_and(|stable| older(rs, stable))
        && !was_aborted(rs)
}
