//! A commit whose analysis fails (G1).

use serde_json::json;
use tidegate_crds::{RejectedReason, TargetReason, VerdictState};
use tidegate_gitsync::remote::StatusState;
use tidegate_sim::faults::FaultPlan;

use crate::story::{MAIN, Story, based, config, on_rejected, release};

#[test]
fn a_good_commit_is_verified_and_said_to_be() {
    let mut story = Story::new(&json!({}), &FaultPlan::default());
    let first = story.head();
    let good = story.verified_v2();
    assert!(story.runs("v2"), "{}", story.describe());
    story.wait("told", |story| {
        story.told(&good).last() == Some(&StatusState::Success)
    });
    assert_eq!(story.state_of(&first), VerdictState::Deployed);
    assert_eq!(story.told(&good), [StatusState::Pending, StatusState::Success]);
    assert_eq!(story.delivery().status.why, Some(TargetReason::Head));
    assert_eq!(story.repository().pushes(), []);
    story.end();
}

#[test]
fn a_bad_commit_is_pinned_away_from_and_a_pull_request_takes_it_back() {
    let mut story = Story::new(&json!({}), &FaultPlan::default());
    let good = story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    let rejected = story.world.now();
    assert_eq!(
        story.entry(&bad).unwrap().reason,
        Some(RejectedReason::AnalysisFailed)
    );
    story.wait("N in the cluster", |story| story.runs("v2"));
    let took = story.world.now().duration_since(rejected).as_secs();
    assert!(took <= 5, "pinned after {took} s");
    assert_eq!(story.condition("Pinned"), ("True".into(), "Rejected".into()));
    assert_eq!(story.condition("Ready"), ("False".into(), "Rejected".into()));
    assert_eq!(story.condition("GitAhead").0, "True");
    story.wait("the pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    assert_eq!(story.told(&bad).last(), Some(&StatusState::Failure));
    let took = story.world.now().duration_since(rejected).as_secs();
    assert!(took <= 30, "pull request after {took} s");
    story.run_for(60);
    let releases = story.world.stats.writes.len();
    let now = story.world.now();
    let merged = story.repository().merge(1, now).unwrap();
    let repository = story.repository();
    let files = |oid| repository.get(oid).unwrap().files.clone();
    assert_eq!(files(&merged), files(&good));
    story.wait("Ready again", |story| story.is_ready());
    story.end();
    assert!(story.runs("v2"));
    assert_eq!(story.repository().pull_requests().len(), 1);
    assert_eq!(story.repository().pushes().len(), 1);
    // nothing but the status of the Delivery
    let after: Vec<_> = story.world.stats.writes.iter().skip(releases).collect();
    assert!(
        after.iter().all(|write| write.what.contains("deliveries/status")),
        "{after:#?}"
    );
}

#[test]
fn a_bad_commit_is_taken_back_by_a_commit() {
    let mut story = Story::new(&on_rejected("RevertCommit"), &FaultPlan::default());
    let good = story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("taken back", |story| story.repository().pushes().len() == 1);
    story.wait("Ready again", |story| story.is_ready() && story.runs("v2"));
    let head = story.head();
    let repository = story.repository();
    assert_eq!(repository.get(&head).unwrap().parents, std::slice::from_ref(&bad));
    assert_eq!(
        repository.get(&head).unwrap().files,
        repository.get(&good).unwrap().files
    );
    assert_eq!(story.told(&bad), [StatusState::Pending, StatusState::Failure]);
    story.end();
    assert_eq!(story.repository().pushes().len(), 1);
    assert_eq!(story.repository().pull_requests(), []);
}

/// G10: what is in a base that others use as well is proposed to people, whatever the action says.
#[test]
fn a_shared_base_is_taken_back_by_a_pull_request_that_names_its_files() {
    for action in ["RevertPR", "RevertCommit"] {
        let mut story = Story::new(&on_rejected(action), &FaultPlan::default());
        story.verified(|story| story.push_files("Release 2", |_| based(&release("v2"))));
        let bad = story.push_files("Release 3", |_| {
            based(&release("v3-bad")).with("base/notes.txt", "not rendered")
        });
        story.wait("proposed", |story| story.repository().pull_requests().len() == 1);
        let revert = story.entry(&bad).unwrap().revert.unwrap();
        let outside = [
            "base/configmap-settings.yaml",
            "base/rollout-web.yaml",
            "base/service-stable.yaml",
        ];
        assert_eq!(revert.outside, outside, "{action}");
        story.run_for(120);
        assert_eq!(story.head(), bad, "the branch is the people's");
        let repository = story.repository();
        assert_eq!(repository.pushes().len(), 1);
        let body = repository.pull_requests()[0].body.clone();
        assert!(
            body.ends_with(&format!("made from them:\n\n- {}", outside.join("\n- "))),
            "{body}"
        );
        let now = story.world.now();
        story.repository().merge(1, now).unwrap();
        let files = based(&release("v2")).with("base/notes.txt", "not rendered");
        assert_eq!(story.repository().files(MAIN), files);
        story.wait("Ready again", |story| story.is_ready() && story.runs("v2"));
        story.end();
    }
}

/// A whole platform's base is no matter of one folder.
#[test]
fn many_files_outside_of_the_folder_are_left_to_people_alone() {
    let mut story = Story::new(&json!({}), &FaultPlan::default());
    let everything = |name: &str| {
        let settings = (0..20).map(|number| {
            let mut config = config(name);
            config["metadata"]["name"] = json!(format!("settings-{number}"));
            config
        });
        based(&settings.chain(release(name)).collect::<Vec<_>>())
    };
    story.verified(|story| story.push_files("Release 2", |_| everything("v2")));
    let bad = story.push_files("Release 3", |_| everything("v3-bad"));
    story.wait("given up", |story| {
        let revert = story.entry(&bad).and_then(|entry| entry.revert);
        revert.is_some_and(|revert| revert.done)
    });
    let revert = story.entry(&bad).unwrap().revert.unwrap();
    assert_eq!(
        revert.message,
        "what was rejected is not in this folder alone: take it back by hand"
    );
    assert!(revert.outside.is_empty(), "{revert:?}");
    assert!(story.runs("v2"));
    story.end();
    assert_eq!(story.repository().pushes(), []);
}
