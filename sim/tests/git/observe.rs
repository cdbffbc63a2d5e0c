//! Another syncer applies, and Tidegate judges what it applied: nothing in the cluster is written for Git (contract 5.5).

use serde_json::{Value, json};
use tidegate_crds::{RejectedReason, TargetReason, VerdictState};
use tidegate_gitsync::object::DELIVERY_LABEL;
use tidegate_gitsync::remote::StatusState;
use tidegate_gitsync::tree::Oid;
use tidegate_sim::api::Kind;
use tidegate_sim::faults::{CrashAt, FaultPlan, RequestFault};
use tidegate_sim::forge::HOST;
use tidegate_sim::scenario::NAMESPACE;
use tidegate_sim::store::{PatchKind, Request, Resource};

use crate::story::{DEPLOY, Story, release, with};

static APPLICATIONS: Kind = Kind {
    api_version: "argoproj.io/v1alpha1",
    kind: "Application",
};
static KUSTOMIZATIONS: Kind = Kind {
    api_version: "kustomize.toolkit.fluxcd.io/v1",
    kind: "Kustomization",
};
const SYNCER: &str = "shop";

/// A cluster in which somebody else applies, and a Delivery that observes that.
fn begin(kind: &Kind, action: &str, faults: &FaultPlan) -> Story {
    let mut story = Story::empty(faults);
    let (group, version) = kind.api_version.split_once('/').unwrap();
    let plural = format!("{}s", kind.kind.to_lowercase());
    let resource = Resource::custom(group, version, kind.kind, &plural);
    story.world.api("setup").store().register(resource);
    let url = format!("{HOST}{DEPLOY}.git");
    let spec = match kind.kind {
        "Application" => json!({"source": {"repoURL": url, "path": "shop", "targetRevision": "main"}}),
        _ => json!({"sourceRef": {"kind": "GitRepository", "name": "deploy"}, "path": "./shop"}),
    };
    story.create(&json!({
        "apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": {"name": SYNCER, "namespace": NAMESPACE}, "spec": spec,
    }));
    let more = json!({
        "observe": {"kind": kind.kind, "name": SYNCER},
        "onRejected": {"action": action, "writeSecretRef": {"name": "deploy"}},
    });
    story.begin(&more, &release("v1"));
    story
}

/// Says which commit is applied.
fn say(story: &mut Story, kind: &Kind, commit: &Oid) {
    let status = if kind.kind == "Application" {
        json!({
            "sync": {"status": "Synced", "revision": commit.as_str()},
            "operationState": {"phase": "Succeeded", "syncResult": {"revision": commit.as_str()}},
        })
    } else {
        let revision = format!("main@sha1:{commit}");
        json!({"lastAppliedRevision": revision, "lastAttemptedRevision": revision})
    };
    let mut api = story.world.api("syncer");
    api.merge(kind, NAMESPACE, SYNCER, json!({"status": status}))
        .unwrap();
}

/// Applies what Git has, and says so.
fn sync(story: &mut Story, kind: &Kind) {
    let head = story.head();
    let files = story.repository().get(&head).unwrap().files.clone();
    let objects: Vec<Value> = files
        .iter()
        .filter(|(path, _)| path.starts_with("shop/"))
        .map(|(_, text)| serde_json::from_slice(text).unwrap())
        .collect();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = (
            object["apiVersion"].as_str().unwrap(),
            object["kind"].as_str().unwrap(),
        );
        let store = story.world.store();
        let resource = store.registry().by_kind(kind.0, kind.1).cloned().unwrap();
        // As a client-side apply: what Git does not say stays, such as the hash in the selector of a Service.
        let request = match store.get(&resource, NAMESPACE, &name) {
            Some(_) => Request::patch(&resource, NAMESPACE, &name, PatchKind::Merge, object),
            None => Request::create(&resource, NAMESPACE, object),
        };
        story.world.api("syncer").send(request).unwrap();
    }
    say(story, kind, &head);
}

/// Nothing was ever applied for the Delivery, and the syncer's object was written by nobody but the syncer.
fn assert_untouched(story: &Story, kind: &Kind) {
    story.assert_never(|object| object["metadata"]["labels"][DELIVERY_LABEL].is_string());
    story.assert_never(|object| object["kind"] == "Secret" && object["metadata"]["name"] != "deploy");
    let path = format!("{}s", kind.kind.to_lowercase());
    let writes = &story.world.stats.writes;
    assert!(
        writes.iter().all(|write| !write.what.contains(&path)),
        "{writes:#?}"
    );
    assert_eq!(story.delivery().status.inventory, [""; 0]);
}

/// A good release is verified, a bad one is rejected and taken back in Git, and then the other syncer takes it back.
fn play(kind: &Kind, action: &str, faults: &FaultPlan) -> Story {
    let mut story = begin(kind, action, faults);
    sync(&mut story, kind);
    story.wait("v1 is good", |story| story.is_ready() && story.runs("v1"));
    let good = story.push("Release 2", &release("v2"));
    story.run_for(20);
    assert_eq!(
        story.state_of(&good),
        VerdictState::Pending,
        "seen, and not applied"
    );
    assert_eq!(story.condition("Ready"), ("False".into(), "Pending".into()));
    sync(&mut story, kind);
    story.wait("v2 is verified", |story| {
        story.state_of(&good) == VerdictState::Verified
    });
    let bad = story.push("Release 3", &release("v3-bad"));
    sync(&mut story, kind);
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    assert_eq!(
        story.entry(&bad).unwrap().reason,
        Some(RejectedReason::AnalysisFailed)
    );
    story.wait("taken back in Git", |story| {
        let entry = story.entry(&bad);
        entry.is_some_and(|entry| entry.revert.is_some_and(|revert| revert.done))
    });
    assert_eq!(
        story.image(),
        "shop:v3-bad",
        "what is applied is the other's alone"
    );
    assert_eq!(story.delivery().status.why, Some(TargetReason::Observed));
    if action == "RevertPR" {
        assert_eq!(story.condition("GitAhead"), ("True".into(), "Rejected".into()));
        assert_eq!(story.condition("Pinned"), ("False".into(), "Observed".into()));
        let now = story.world.now();
        story.repository().merge(1, now).unwrap();
    }
    sync(&mut story, kind);
    story.wait("good again", |story| story.is_ready() && story.runs("v2"));
    assert_eq!(story.condition("GitAhead").0, "");
    let repository = story.repository();
    let head = repository.head("main").cloned().unwrap();
    let files = |oid| repository.get(oid).unwrap().files.clone();
    assert_eq!(files(&head), files(&good));
    assert_eq!(repository.pushes().len(), 1);
    assert_eq!(story.told(&bad).last(), Some(&StatusState::Failure));
    assert_untouched(&story, kind);
    story.end();
    story
}

#[test]
fn beside_argo_cd_a_bad_commit_is_taken_back_by_a_pull_request() {
    let mut story = play(&APPLICATIONS, "RevertPR", &FaultPlan::default());
    assert_eq!(story.repository().pull_requests().len(), 1);
}

#[test]
fn beside_flux_a_bad_commit_is_taken_back_by_a_commit() {
    let mut story = play(&KUSTOMIZATIONS, "RevertCommit", &FaultPlan::default());
    assert_eq!(story.repository().pull_requests(), []);
}

/// The status is written, the branch is pushed, the pull request is opened: killed at each of these, before and after, it ends
/// the same.
#[test]
fn a_crash_anywhere_changes_nothing() {
    let reference = play(&APPLICATIONS, "RevertPR", &FaultPlan::default());
    let count = reference.world.stats.outside.len() as u32;
    assert!(count > 5, "{count}");
    for number in 0..count {
        for at in [CrashAt::BeforeSend, CrashAt::AppliedNoResponse] {
            let fault = RequestFault::Crash { at, down_ms: 2_000 };
            let mut story = play(&APPLICATIONS, "RevertPR", &FaultPlan::outside(number, fault));
            assert_eq!(story.repository().pull_requests().len(), 1, "{number} {at:?}");
        }
    }
}

/// Argo CD renders with an image of its own: what becomes of that says nothing about the commit.
#[test]
fn what_argo_cd_renders_otherwise_gets_no_verdict() {
    let mut story = begin(&APPLICATIONS, "RevertCommit", &FaultPlan::default());
    sync(&mut story, &APPLICATIONS);
    story.wait("v1 is good", |story| story.is_ready() && story.runs("v1"));
    let commit = story.push("Release 2", &release("v2"));
    let other = with(tidegate_gitsync::tree::Files::new(), &release("v3-bad"));
    for (path, text) in other.iter().filter(|(path, _)| path.contains("rollout")) {
        let object: Value = serde_json::from_slice(text).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(path.contains(&name));
        let patch = json!({"spec": object["spec"]});
        let mut api = story.world.api("syncer");
        api.merge(&tidegate_sim::api::kinds::ROLLOUTS, NAMESPACE, &name, patch)
            .unwrap();
    }
    say(&mut story, &APPLICATIONS, &commit);
    story.run_for(300);
    assert_eq!(story.state_of(&commit), VerdictState::Applied);
    let message = story.entry(&commit).unwrap().message;
    assert!(
        message.contains("spec.template.spec.containers[0].image differs"),
        "{message}"
    );
    assert_eq!(story.repository().pushes(), []);
    assert_untouched(&story, &APPLICATIONS);
    story.end();
}
