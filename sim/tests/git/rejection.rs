//! A commit whose analysis fails (git-sync 4.10, 1).

use serde_json::json;
use tidegate_crds::{RejectedReason, TargetReason, VerdictState};
use tidegate_gitsync::remote::StatusState;
use tidegate_sim::faults::FaultPlan;

use crate::story::{Story, on_rejected, release};

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
