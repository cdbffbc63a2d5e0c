//! Which objects of a commit are hooks, by the annotations of Argo CD and of Helm: they run once for a commit, and are not kept
//! as Git has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_crds::{HookPhase, HookState};

use crate::health::{Health, health};
use crate::object::{DELIVERY_LABEL, DELIVERY_NAMESPACE_LABEL, ObjectId, other_owner};

/// Annotation of a hook that runs: the digest that it runs for.
const DIGEST_ANNOTATION: &str = "tidegate.io/digest";
/// Annotation of a hook that runs: the phase that it runs in.
const PHASE_ANNOTATION: &str = "tidegate.io/hook-phase";
/// Annotation of an object in Git: what a rejection of its commit does.
const ON_REJECTED: &str = "tidegate.io/on-rejected";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const ARGO_WAVE: &str = "argocd.argoproj.io/sync-wave";
const ARGO_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
const HELM_HOOK: &str = "helm.sh/hook";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const HELM_POLICY: &str = "helm.sh/hook-delete-policy";
/// A Job stays at least this many seconds after its end: long enough for a controller that was away to see how it ended.
const LEAST_TTL: u64 = 3600;

/// For which commits a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// For all.
    Always,
    /// For those before the first that is good.
    Install,
    /// For those after the first that was good.
    Upgrade,
}

/// What an object of a commit is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is kept in the cluster as Git has it.
    Ordinary,
    /// It is left alone.
    Apart,
    /// It runs once, in these phases.
    Hook(BTreeMap<HookPhase, Occasion>),
}

/// The words of Helm, and what each means here: nothing, or a phase.
const HELM_WORDS: [(&str, Option<(HookPhase, Occasion)>); 12] = [
    ("pre-install", Some((HookPhase::PreSync, Occasion::Install))),
    ("pre-upgrade", Some((HookPhase::PreSync, Occasion::Upgrade))),
    ("post-install", Some((HookPhase::PostSync, Occasion::Install))),
    ("post-upgrade", Some((HookPhase::PostSync, Occasion::Upgrade))),
    ("crd-install", None),
    ("test", None),
    ("test-success", None),
    ("test-failure", None),
    ("pre-delete", None),
    ("post-delete", None),
    ("pre-rollback", None),
    ("post-rollback", None),
];
const ARGO_WORDS: [(&str, Option<HookPhase>); 7] = [
    ("PreSync", Some(HookPhase::PreSync)),
    ("Sync", Some(HookPhase::Sync)),
    ("PostSync", Some(HookPhase::PostSync)),
    ("SyncFail", Some(HookPhase::SyncFail)),
    ("Skip", None),
    ("PreDelete", None),
    ("PostDelete", None),
];
const ARGO_POLICIES: [(&str, Option<HookState>); 3] = [
    ("BeforeHookCreation", None),
    ("HookSucceeded", Some(HookState::Succeeded)),
    ("HookFailed", Some(HookState::Failed)),
];
const HELM_POLICIES: [(&str, Option<HookState>); 3] = [
    ("before-hook-creation", None),
    ("hook-succeeded", Some(HookState::Succeeded)),
    ("hook-failed", Some(HookState::Failed)),
];

/// What an object is there for. Argo CD's annotation is the one that counts where there are both.
///
/// # Errors
/// An annotation with a word that is unknown: which, and the words that there are.
pub(crate) fn role(object: &Value) -> Result<Role, String> {
    meanings(object, ARGO_POLICY, &ARGO_POLICIES)?;
    meanings(object, HELM_POLICY, &HELM_POLICIES)?;
    holds(object)?;
    if let Some(found) = meanings(object, ARGO_HOOK, &ARGO_WORDS)? {
        let skipped = words(object, ARGO_HOOK).any(|word| word == "Skip");
        let phases = found.into_iter().flatten();
        return Ok(hook(
            phases.filter(|_| !skipped).map(|phase| (phase, Occasion::Always)),
        ));
    }
    let Some(found) = meanings(object, HELM_HOOK, &HELM_WORDS)? else {
        return Ok(Role::Ordinary);
    };
    if words(object, HELM_HOOK).any(|word| word == "crd-install") {
        return Ok(Role::Ordinary);
    }
    Ok(hook(found.into_iter().flatten()))
}

fn hook(found: impl Iterator<Item = (HookPhase, Occasion)>) -> Role {
    let mut phases: BTreeMap<HookPhase, Occasion> = BTreeMap::new();
    for (phase, occasion) in found {
        let known = phases.entry(phase).or_insert(occasion);
        if *known != occasion {
            *known = Occasion::Always;
        }
    }
    if phases.is_empty() {
        Role::Apart
    } else {
        Role::Hook(phases)
    }
}

/// The wave that an object belongs to; 0 if it says nothing.
///
/// # Errors
/// An annotation that is no whole number.
pub(crate) fn wave(object: &Value) -> Result<i64, String> {
    let key = [ARGO_WAVE, HELM_WEIGHT]
        .into_iter()
        .find(|key| annotation(object, key).is_some());
    let text = key.and_then(|key| Some((key, annotation(object, key)?)));
    text.map_or(Ok(0), |(key, text)| {
        let number = text.trim().parse();
        number.map_err(|_| format!("the annotation {key} is {text:?}: use a whole number"))
    })
}

/// Whether the cluster must not go back behind a commit with this object.
///
/// # Errors
/// An annotation that is something else than `Hold`.
pub(crate) fn holds(object: &Value) -> Result<bool, String> {
    match annotation(object, ON_REJECTED) {
        None => Ok(false),
        Some("Hold") => Ok(true),
        Some(other) => Err(format!(
            "the annotation {ON_REJECTED} is {other:?}: use Hold, or take it out"
        )),
    }
}

/// Whether an object says of itself that it is a hook.
pub(crate) fn is_hook(object: &Value) -> bool {
    [ARGO_HOOK, HELM_HOOK]
        .iter()
        .any(|key| annotation(object, key).is_some())
}

/// The object as it runs in a phase for a digest.
pub(crate) fn stamped(mut body: Value, phase: &HookPhase, digest: &str) -> Value {
    let annotations = body
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(DIGEST_ANNOTATION.to_owned(), json!(digest));
        annotations.insert(PHASE_ANNOTATION.to_owned(), json!(phase.as_str()));
    }
    if let Some(ttl) = body.pointer_mut("/spec/ttlSecondsAfterFinished")
        && ttl.as_u64().is_some_and(|seconds| seconds < LEAST_TTL)
    {
        *ttl = json!(LEAST_TTL);
    }
    body
}

/// Whether an object runs, or ran, in that phase for that digest.
pub(crate) fn is_of(live: &Value, phase: &HookPhase, digest: &str) -> bool {
    annotation(live, DIGEST_ANNOTATION) == Some(digest)
        && annotation(live, PHASE_ANNOTATION) == Some(phase.as_str())
}

/// Whether an object may be deleted so that a hook of that name can run: it is what is left of a hook, and nobody else's.
pub(crate) fn gives_way(live: &Value, namespace: &str, name: &str) -> bool {
    let label = |key: &str| live.get("metadata")?.get("labels")?.get(key)?.as_str();
    let ours = label(DELIVERY_LABEL) == Some(name) && label(DELIVERY_NAMESPACE_LABEL) == Some(namespace);
    ours || is_hook(live) && other_owner(live, namespace, name).is_none()
}

/// How a hook that runs does: [`Health::Current`] is that it is done.
pub(crate) fn outcome(id: &ObjectId, live: &Value) -> Health {
    let progressing = || Health::Progressing("has not ended yet".to_owned());
    let phase = || {
        live.pointer("/status/phase")
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let message = || {
        let message = live.pointer("/status/message").and_then(Value::as_str);
        format!("{}: {}", phase(), message.unwrap_or("no message"))
    };
    let deleted = live.pointer("/metadata/deletionTimestamp").is_some();
    match (id.group.as_str(), id.kind.as_str()) {
        ("batch", "Job") if live.pointer("/spec/suspend") == Some(&Value::Bool(true)) => {
            Health::Progressing("is suspended".to_owned())
        }
        ("", "Pod") | ("argoproj.io", "Workflow" | "AnalysisRun") if !deleted => match phase() {
            "Succeeded" | "Successful" => Health::Current,
            "Failed" | "Error" | "Inconclusive" => Health::Failed(message()),
            _ => progressing(),
        },
        _ => health(id, live),
    }
}

/// Whether a hook that ended so is to be deleted.
pub(crate) fn is_cleared(live: &Value, state: &HookState) -> bool {
    let of = |key: &str, table| meanings(live, key, table).ok().flatten().unwrap_or_default();
    let found = [of(ARGO_POLICY, &ARGO_POLICIES), of(HELM_POLICY, &HELM_POLICIES)].concat();
    found.iter().flatten().any(|of| of == state)
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

fn words<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    annotation(object, key)
        .into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
}

/// What the words of an annotation mean; `None` if there is no such annotation.
fn meanings<T: Clone>(object: &Value, key: &str, table: &[(&str, T)]) -> Result<Option<Vec<T>>, String> {
    let Some(text) = annotation(object, key) else {
        return Ok(None);
    };
    let meaning = |word: &str| {
        let found = table.iter().find(|(known, _)| *known == word);
        found.map(|(_, meaning)| meaning.clone())
    };
    let found: Option<Vec<T>> = words(object, key).map(meaning).collect();
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
        format!(
            "the annotation {key} is {text:?}: use words of {}, with commas between them",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: &Value) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "annotations": annotations}})
    }

    fn hook(phases: &[(HookPhase, Occasion)]) -> Role {
        Role::Hook(phases.iter().cloned().collect())
    }

    #[test]
    fn annotations_say_what_an_object_is_there_for() {
        use HookPhase::{PostSync, PreSync, Sync, SyncFail};
        use Occasion::{Always, Install, Upgrade};
        let argo = |text: &str| json!({ARGO_HOOK: text});
        let helm = |text: &str| json!({HELM_HOOK: text});
        let table = [
            (json!({}), Role::Ordinary),
            (json!({ARGO_WAVE: "1"}), Role::Ordinary),
            (argo("PreSync"), hook(&[(PreSync, Always)])),
            (
                argo("Sync, SyncFail"),
                hook(&[(Sync, Always), (SyncFail, Always)]),
            ),
            (argo("PostDelete,PostSync"), hook(&[(PostSync, Always)])),
            (argo("PreDelete"), Role::Apart),
            (argo("Skip"), Role::Apart),
            (helm("pre-install"), hook(&[(PreSync, Install)])),
            (helm("pre-upgrade,pre-install"), hook(&[(PreSync, Always)])),
            (helm("post-upgrade,test"), hook(&[(PostSync, Upgrade)])),
            (helm("test-success"), Role::Apart),
            (helm("pre-rollback, post-delete"), Role::Apart),
            (helm("crd-install"), Role::Ordinary),
            (
                json!({ARGO_HOOK: "Sync", HELM_HOOK: "test"}),
                hook(&[(Sync, Always)]),
            ),
        ];
        for (annotations, expected) in table {
            assert_eq!(role(&object(&annotations)), Ok(expected), "{annotations}");
        }
    }

    #[test]
    fn unknown_words_are_refused_with_those_that_there_are() {
        let table = [
            (
                json!({ARGO_HOOK: "PreSync,Presync"}),
                "the annotation argocd.argoproj.io/hook is \"PreSync,Presync\": use words of PreSync, Sync, PostSync, SyncFail, \
                 Skip, PreDelete, PostDelete, with commas between them",
            ),
            (
                json!({ARGO_HOOK: "PreSync", ARGO_POLICY: ""}),
                "the annotation argocd.argoproj.io/hook-delete-policy is \"\": use words of BeforeHookCreation, HookSucceeded, \
                 HookFailed, with commas between them",
            ),
            (
                json!({ON_REJECTED: "Pin"}),
                "the annotation tidegate.io/on-rejected is \"Pin\": use Hold, or take it out",
            ),
        ];
        for (annotations, expected) in table {
            assert_eq!(role(&object(&annotations)), Err(expected.to_owned()));
        }
        assert_eq!(
            wave(&object(&json!({HELM_WEIGHT: "high"}))),
            Err("the annotation helm.sh/hook-weight is \"high\": use a whole number".to_owned())
        );
        assert_eq!(wave(&object(&json!({HELM_WEIGHT: "-5"}))), Ok(-5));
        assert_eq!(wave(&object(&json!({HELM_WEIGHT: "-5", ARGO_WAVE: "2"}))), Ok(2));
    }

    #[test]
    fn how_hooks_do() {
        let progressing = |words: &str| Health::Progressing(words.to_owned());
        let table = [
            (
                "batch/v1/Job/a/a",
                json!({"spec": {"suspend": true}}),
                progressing("is suspended"),
            ),
            (
                "batch/v1/Job/a/a",
                json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
                Health::Current,
            ),
            (
                "/v1/Pod/a/a",
                json!({"status": {"phase": "Running"}}),
                progressing("has not ended yet"),
            ),
            (
                "/v1/Pod/a/a",
                json!({"status": {"phase": "Succeeded"}}),
                Health::Current,
            ),
            (
                "argoproj.io/v1alpha1/Workflow/a/a",
                json!({"status": {"phase": "Error", "message": "no image"}}),
                Health::Failed("Error: no image".to_owned()),
            ),
            (
                "argoproj.io/v1alpha1/AnalysisRun/a/a",
                json!({"status": {"phase": "Inconclusive"}}),
                Health::Failed("Inconclusive: no message".to_owned()),
            ),
            ("/v1/ConfigMap/a/a", json!({}), Health::Current),
        ];
        for (id, live, expected) in table {
            assert_eq!(
                outcome(&ObjectId::parse(id).unwrap(), &live),
                expected,
                "{id} {live}"
            );
        }
    }

    #[test]
    fn what_runs_says_for_which_commit_and_stays_a_while() {
        let mut job = object(&json!({ARGO_HOOK: "PreSync", ARGO_POLICY: "HookSucceeded"}));
        job["spec"] = json!({"ttlSecondsAfterFinished": 0});
        let runs = stamped(job, &HookPhase::PreSync, "sha256:abc");
        assert!(is_of(&runs, &HookPhase::PreSync, "sha256:abc"));
        assert!(!is_of(&runs, &HookPhase::PostSync, "sha256:abc"));
        assert!(!is_of(&runs, &HookPhase::PreSync, "sha256:other"));
        assert_eq!(runs["spec"]["ttlSecondsAfterFinished"], 3600);
        assert!(is_cleared(&runs, &HookState::Succeeded));
        assert!(!is_cleared(&runs, &HookState::Failed));
    }

    #[test]
    fn what_is_left_of_a_hook_gives_way_and_nothing_else_does() {
        let of = |metadata: Value| gives_way(&json!({"metadata": metadata}), "shop", "web");
        assert!(!of(json!({"name": "a"})));
        assert!(of(
            json!({"labels": {DELIVERY_LABEL: "web", DELIVERY_NAMESPACE_LABEL: "shop"}})
        ));
        assert!(of(json!({"annotations": {HELM_HOOK: "pre-install"}})));
        let theirs = json!({ARGO_HOOK: "Sync", "argocd.argoproj.io/tracking-id": "web:batch/Job:a/b"});
        assert!(!of(json!({ "annotations": theirs })));
        let other = json!({DELIVERY_LABEL: "other", DELIVERY_NAMESPACE_LABEL: "shop"});
        assert!(!of(json!({"annotations": {ARGO_HOOK: "Sync"}, "labels": other})));
    }
}
