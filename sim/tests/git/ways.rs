//! What else happens to commits: newer ones in the middle, broken ones, people and servers that interfere.

use serde_json::{Value, json};
use tidegate_crds::{RejectedReason, TargetReason, VerdictState};
use tidegate_gitsync::remote::StatusState;
use tidegate_gitsync::tree::Files;
use tidegate_sim::api::kinds;
use tidegate_sim::faults::{FaultPlan, SourceTrouble};
use tidegate_sim::metrics::SourceFault;
use tidegate_sim::scenario::{NAMESPACE, ROLLOUT};

use crate::story::{
    DELIVERY, MAIN, Story, canary_with, config, on_rejected, path_of, release, stable_service, with,
};

fn none() -> FaultPlan {
    FaultPlan::default()
}

/// G3.
#[test]
fn the_same_pods_are_not_released_again_and_a_fix_is_at_once() {
    let mut story = Story::new(&on_rejected("Pin"), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("pinned", |story| {
        story.state_of(&bad) == VerdictState::Rejected && story.runs("v2")
    });
    let again = story.push("Another setting", &[config("v3-again")]);
    story.wait("quarantined", |story| {
        story.state_of(&again) == VerdictState::Rejected
    });
    assert_eq!(
        story.entry(&again).unwrap().reason,
        Some(RejectedReason::Quarantined)
    );
    story.run_for(60);
    assert!(story.runs("v2"), "{}", story.describe());
    assert_eq!(story.delivery().status.why, Some(TargetReason::Pinned));
    let fix = story.push("A fix", &release("v4"));
    let pushed = story.world.now();
    story.wait("in the cluster", |story| story.image() == "shop:v4");
    let took = story.world.now().duration_since(pushed).as_secs();
    assert!(took <= 10, "applied after {took} s");
    story.wait("verified", |story| {
        story.state_of(&fix) == VerdictState::Verified && story.runs("v4")
    });
    assert_eq!(story.condition("Pinned").0, "");
    assert_eq!(story.repository().pushes(), []);
    story.end();
}

#[test]
fn a_person_has_a_rejected_commit_released_again() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    story.wait("pinned", |story| story.runs("v2"));
    story.annotate("tidegate.io/retry", "once more");
    story.wait("released again", |story| story.image() == "shop:v3-bad");
    story.wait("rejected again", |story| {
        story.state_of(&bad) == VerdictState::Rejected && story.runs("v2")
    });
    story.end();
    assert_eq!(story.repository().pull_requests().len(), 1);
}

#[test]
fn the_newest_commit_wins_in_the_middle_of_a_canary() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let middle = story.push("Release 3", &release("v3"));
    story.wait("on its way", |story| story.image() == "shop:v3");
    story.run_for(8);
    assert_eq!(story.state_of(&middle), VerdictState::Paused);
    let newest = story.push("Release 4", &release("v4"));
    story.wait("verified", |story| {
        story.state_of(&newest) == VerdictState::Verified && story.runs("v4")
    });
    assert_eq!(story.state_of(&middle), VerdictState::Superseded);
    story.end();
    assert_eq!(
        story.told(&middle),
        [StatusState::Pending, StatusState::Cancelled]
    );
}

#[test]
fn broken_files_never_disturb_what_runs() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    // in the middle of a canary
    let on_its_way = story.push("Release 3", &release("v3"));
    story.wait("on its way", |story| story.image() == "shop:v3");
    let broken = story.push_files("Oops", |files| files.with("shop/broken.yaml", "a: [1,\nb"));
    story.wait("rejected", |story| {
        story.state_of(&broken) == VerdictState::Rejected
    });
    let entry = story.entry(&broken).unwrap();
    assert_eq!(entry.reason, Some(RejectedReason::RenderFailed));
    assert!(entry.message.contains("shop/broken.yaml"), "{}", entry.message);
    story.wait("verified", |story| {
        story.state_of(&on_its_way) == VerdictState::Verified && story.runs("v3")
    });
    assert_eq!(story.told(&broken), [StatusState::Failure]);
    // nothing at all would delete everything
    let empty = story.push_files("Empty", |_| Files::new().with("README.md", "nothing"));
    story.wait("rejected", |story| {
        story.state_of(&empty) == VerdictState::Rejected
    });
    story.run_for(60);
    assert!(story.runs("v3"));
    let fixed = story.push_files("Fixed", |files| with(files, &release("v4")));
    story.wait("verified", |story| {
        story.state_of(&fixed) == VerdictState::Verified && story.runs("v4")
    });
    story.end();
}

#[test]
fn what_the_api_server_refuses_is_applied_not_even_in_part() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let mut service = stable_service("v3");
    service["spec"]["ports"] = json!([{"port": 99_999}]);
    let mut objects = release("v3");
    objects[1] = service;
    let refused = story.push("A port that is none", &objects);
    story.wait("refused", |story| story.condition("Ready").1 == "ApplyFailed");
    story.run_for(60);
    assert!(story.runs("v2"), "{}", story.describe());
    assert!(story.entry(&refused).unwrap().message.contains("99999"));
    assert_eq!(story.told(&refused).last(), Some(&StatusState::Failure));
    let fixed = story.push("Mended", &release("v3"));
    story.wait("verified", |story| {
        story.state_of(&fixed) == VerdictState::Verified && story.runs("v3")
    });
    story.end();
}

/// G5.
#[test]
fn the_pin_does_not_wait_for_the_git_server() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("on its way", |story| story.image() == "shop:v3-bad");
    story.run_for(5);
    story.world.forge.down = true;
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    let rejected = story.world.now();
    story.wait("N in the cluster", |story| story.runs("v2"));
    let took = story.world.now().duration_since(rejected).as_secs();
    assert!(took <= 5, "pinned after {took} s");
    story.run_for(300);
    assert_eq!(story.repository().pushes(), []);
    assert_eq!(story.told(&bad), [StatusState::Pending]);
    story.world.forge.down = false;
    story.wait("the pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    story.end();
    assert_eq!(story.told(&bad), [StatusState::Pending, StatusState::Failure]);
    assert_eq!(story.repository().pushes().len(), 1);
}

/// G6.
#[test]
fn trouble_of_the_metrics_source_pins_and_writes_nothing_to_git() {
    let faults = FaultPlan {
        source: vec![SourceTrouble {
            from_ms: 30_000,
            until_ms: 600_000,
            fault: SourceFault::Status(503),
        }],
        ..none()
    };
    let mut story = Story::new(&json!({}), &faults);
    story.verified_v2();
    story.wait("trouble", |story| story.world.elapsed().as_secs() >= 30);
    let commit = story.push("Release 3", &release("v3"));
    story.wait("rejected", |story| {
        story.state_of(&commit) == VerdictState::Rejected
    });
    assert_eq!(
        story.entry(&commit).unwrap().reason,
        Some(RejectedReason::AnalysisError)
    );
    story.wait("pinned", |story| story.runs("v2"));
    story.end();
    assert_eq!(story.repository().pushes(), []);
    assert_eq!(story.repository().pull_requests(), []);
    assert_eq!(story.told(&commit), [StatusState::Pending, StatusState::Error]);
}

#[test]
fn an_abort_by_hand_pins_and_writes_nothing_to_git() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let commit = story.push("Release 3", &release("v3"));
    story.wait("on its way", |story| story.image() == "shop:v3");
    story.run_for(5);
    let abort = json!({"status": {"abort": true}});
    let mut api = story.world.api("ann");
    api.merge_status(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT, abort)
        .unwrap();
    story.wait("rejected", |story| {
        story.state_of(&commit) == VerdictState::Rejected
    });
    assert_eq!(
        story.entry(&commit).unwrap().reason,
        Some(RejectedReason::ManualAbort)
    );
    story.wait("pinned", |story| story.runs("v2"));
    story.end();
    assert_eq!(story.repository().pushes(), []);
    assert_eq!(
        story.told(&commit),
        [StatusState::Pending, StatusState::Cancelled]
    );
}

#[test]
fn what_is_changed_by_hand_is_put_back() {
    let mut story = Story::new(&json!({}), &none());
    let good = story.verified_v2();
    let undo =
        json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v1"}]);
    let mut api = story.world.api("ann");
    api.json_patch(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT, undo)
        .unwrap();
    let changed = story.world.now();
    story.wait("put back", |story| story.image() == "shop:v2");
    let took = story.world.now().duration_since(changed).as_secs();
    assert!(took <= 10, "put back after {took} s");
    story.wait("v2 again", |story| story.runs("v2") && story.is_ready());
    assert_eq!(story.state_of(&good), VerdictState::Verified);
    // its watch tells of a Service, and of a label that is gone
    for patch in [
        json!({"release": "by-hand"}),
        json!({"tidegate.io/delivery": null}),
    ] {
        let mut api = story.world.api("ann");
        let patch = json!({"metadata": {"labels": patch}});
        let name = stable_service("v2")["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        api.merge(&kinds::SERVICES, NAMESPACE, &name, patch).unwrap();
        let changed = story.world.now();
        let ours = |story: &Story| {
            let labels = story.get(&kinds::SERVICES, &name)["metadata"]["labels"].clone();
            labels["release"] == "v2" && labels["tidegate.io/delivery"] == DELIVERY
        };
        story.wait("put back", |story| ours(story));
        let took = story.world.now().duration_since(changed).as_secs();
        assert!(took <= 2, "put back after {took} s");
    }
    // no watch tells of a ConfigMap here: it is found when everything is compared
    let patch = json!({"data": {"release": "by hand"}});
    let mut api = story.world.api("ann");
    api.merge(&kinds::CONFIG_MAPS, NAMESPACE, "settings", patch)
        .unwrap();
    story.run_for(1300);
    assert!(story.runs("v2"), "{}", story.describe());
    assert_eq!(story.repository().pushes(), []);
}

/// G9.
#[test]
fn the_commit_of_a_person_during_the_revert_is_kept_and_released() {
    let mut story = Story::new(&on_rejected("RevertCommit"), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("on its way", |story| story.image() == "shop:v3-bad");
    // Rejected, and not yet looked at Git again: nobody has seen the newer commit when the revert is pushed.
    while story.state_of(&bad) != VerdictState::Rejected {
        story.world.run_for(jiff::SignedDuration::from_millis(1));
    }
    let theirs = story.push("Release 4", &release("v4"));
    story.wait("verified", |story| {
        story.state_of(&theirs) == VerdictState::Verified && story.runs("v4")
    });
    let pushed = story.world.stats.outside.iter();
    let tried = pushed.filter(|write| write.what.starts_with("restore")).count();
    assert!(tried > 0, "the revert was not even tried");
    story.end();
    assert_eq!(story.repository().pushes(), []);
    assert_eq!(story.head(), theirs);
    assert!(story.is_ready());
}

#[test]
fn what_git_has_no_more_is_deleted_after_the_verdict() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let extra = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {}});
    let mut kept = extra.clone();
    kept["metadata"] = json!({"name": "kept", "annotations": {"helm.sh/resource-policy": "keep"}});
    story.push("More", &[extra, kept]);
    story.wait("there", |story| !story.get(&kinds::CONFIG_MAPS, "kept").is_null());
    story.wait("ready", |story| story.is_ready());
    let commit = story.push_files("Release 3, with less", |files| {
        with(
            files
                .without("shop/configmap-extra.yaml")
                .without("shop/configmap-kept.yaml"),
            &release("v3"),
        )
    });
    story.wait("on its way", |story| story.image() == "shop:v3");
    while story.state_of(&commit) != VerdictState::Verified {
        assert!(
            !story.get(&kinds::CONFIG_MAPS, "extra").is_null(),
            "deleted before the verdict"
        );
        story.world.run_for(jiff::SignedDuration::from_millis(20));
    }
    story.wait("deleted", |story| {
        story.get(&kinds::CONFIG_MAPS, "extra").is_null()
    });
    story.end();
    assert!(!story.get(&kinds::CONFIG_MAPS, "kept").is_null());
    assert_eq!(story.delivery().status.inventory.len(), 6);
}

#[test]
fn what_belongs_to_somebody_else_is_not_touched() {
    let mut theirs = config("theirs");
    theirs["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/tracking-id": "shop:/ConfigMap:shop/settings"});
    let mut story = Story::empty(&none());
    story.create(&theirs);
    story.begin(&json!({}), &release("v1"));
    story.wait("refused", |story| story.condition("Ready").1 == "ApplyFailed");
    story.run_for(120);
    assert_eq!(story.release().0, "theirs");
    assert!(
        story.get(&kinds::ROLLOUTS, ROLLOUT).is_null(),
        "nothing else of it either"
    );
    let message = story.entry_of_head().message;
    assert!(message.contains("the Argo CD application shop"), "{message}");
    // they let go
    let patch = json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": null}}});
    let mut api = story.world.api("ann");
    api.merge(&kinds::CONFIG_MAPS, NAMESPACE, "settings", patch)
        .unwrap();
    story.wait("applied", |story| story.is_ready() && story.runs("v1"));
    story.end();
}

/// G4: Git says N again, so a new cluster never runs N+1.
#[test]
fn a_new_cluster_runs_what_git_was_taken_back_to() {
    let mut story = Story::new(&on_rejected("RevertCommit"), &none());
    story.verified_v2();
    story.push("Release 3", &release("v3-bad"));
    story.wait("taken back", |story| story.repository().pushes().len() == 1);
    let forge = story.world.forge.clone();
    let mut story = Story::empty(&none());
    story.world.forge = forge;
    story.create(&crate::story::secret());
    story.create(&crate::story::delivery(&on_rejected("RevertCommit")));
    story.wait("N runs", |story| story.is_ready() && story.runs("v2"));
    story.end();
    let images: Vec<Value> = story.images_ever();
    assert_eq!(images, [json!("shop:v2")]);
}

/// G7, by our own syncer and again and again.
#[test]
fn a_paused_blue_green_keeps_its_active_service_however_often_it_is_synced() {
    let strategy = json!({"blueGreen": {"activeService": "stable", "previewService": "canary", "autoPromotionEnabled": false}});
    let blue_green = |release: &str| {
        let mut rollout = canary_with(&format!("shop:{release}"), json!([]));
        rollout["spec"]["strategy"] = strategy.clone();
        let mut objects = crate::story::release(release);
        objects.retain(|object| object["kind"] != "Rollout");
        objects.push(rollout);
        objects
    };
    let mut story = Story::with_objects(&json!({}), &blue_green("v1"), &none());
    story.wait("v1 runs", |story| story.is_ready() && story.runs("v1"));
    let active = |story: &Story| {
        story.get(&kinds::SERVICES, "stable")["spec"]["selector"]["rollouts-pod-template-hash"].clone()
    };
    let old = active(&story);
    assert!(old.is_string());
    let commit = story.push("Release 2", &blue_green("v2"));
    story.wait("paused", |story| story.state_of(&commit) == VerdictState::Paused);
    // a commit that changes the Service itself, and a selector taken away by hand
    let newer = story.push("Another label", &[stable_service("v2-again")]);
    story.wait("synced", |story| story.release().1 == "v2-again");
    let patch = json!([{"op": "remove", "path": "/spec/selector/rollouts-pod-template-hash"}]);
    let mut api = story.world.api("ann");
    api.json_patch(&kinds::SERVICES, NAMESPACE, "stable", patch)
        .unwrap();
    story.run_for(700);
    assert_eq!(active(&story), old);
    story.assert_never(|object| {
        object["kind"] == "Service" && object["metadata"]["name"] == "stable" && {
            let hash = &object["spec"]["selector"]["rollouts-pod-template-hash"];
            hash.is_string() && *hash != old
        }
    });
    let mut api = story.world.api("ann");
    let promote = json!({"status": {"pauseConditions": null}});
    api.merge_status(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT, promote)
        .unwrap();
    story.wait("promoted", |story| {
        story.serving() == "shop:v2" && active(story) != old
    });
    story.wait("good", |story| story.state_of(&newer) == VerdictState::Deployed);
}

/// A commit outside of the folder, and one that renders to the same, are no news.
#[test]
fn commits_that_change_nothing_cost_nothing_in_the_cluster() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    // what no watch covers is compared now, and then for ten minutes no more
    story.annotate("tidegate.io/sync", "now");
    story.run_for(60);
    let before = story.world.stats.clone();
    story.push_files("Elsewhere", |files| files.with("other/thing.yaml", "a: 1"));
    story.run_for(60);
    story.push_files("A file that is no manifest", |files| {
        files.with("shop/README.md", "words")
    });
    story.run_for(60);
    let after = &story.world.stats;
    assert_eq!(after.writes.len(), before.writes.len());
    assert_eq!(after.reads, before.reads);
    assert_eq!(after.outside.len(), before.outside.len());
    // and the commits after them are released as ever
    let next = story.push("Release 3", &release("v3"));
    story.wait("verified", |story| {
        story.state_of(&next) == VerdictState::Verified && story.runs("v3")
    });
    story.end();
}

#[test]
fn a_release_in_a_folder_of_somebody_else_is_taken_back_alone() {
    let mut story = Story::new(&on_rejected("RevertCommit"), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("on its way", |story| story.image() == "shop:v3-bad");
    // it does not touch our folder
    story.push_files("Elsewhere", |files| files.with("other/thing.yaml", "a: 1"));
    story.wait("taken back", |story| story.repository().pushes().len() == 1);
    story.wait("ready", |story| story.is_ready() && story.runs("v2"));
    assert_eq!(story.state_of(&bad), VerdictState::Rejected);
    story.end();
    let files = story.repository().files(MAIN);
    assert!(files.iter().any(|(path, _)| path == "other/thing.yaml"), "kept");
    assert_eq!(story.repository().pushes().len(), 1);
}

#[test]
fn suspended_nothing_is_done() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let mut api = story.world.api("ann");
    let suspend = json!({"spec": {"suspend": true}});
    api.merge(&kinds::DELIVERIES, NAMESPACE, DELIVERY, suspend)
        .unwrap();
    story.run_for(30);
    let commit = story.push("Release 3", &release("v3"));
    story.run_for(120);
    assert!(story.runs("v2"));
    assert!(story.entry(&commit).is_none());
    let mut api = story.world.api("ann");
    let resume = json!({"spec": {"suspend": false}});
    api.merge(&kinds::DELIVERIES, NAMESPACE, DELIVERY, resume)
        .unwrap();
    story.wait("verified", |story| {
        story.state_of(&commit) == VerdictState::Verified && story.runs("v3")
    });
    story.end();
}

/// Without `progressDeadlineAbort` traffic is left split: the pin makes it whole.
#[test]
fn a_deadline_that_passes_is_a_rejection() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let mut objects = release("v3-unready");
    for object in objects.iter_mut().filter(|object| object["kind"] == "Rollout") {
        object["spec"]["progressDeadlineSeconds"] = json!(30);
    }
    let commit = story.push("Release 3", &objects);
    story.wait("rejected", |story| {
        story.state_of(&commit) == VerdictState::Rejected
    });
    assert_eq!(
        story.entry(&commit).unwrap().reason,
        Some(RejectedReason::DeadlineExceeded)
    );
    story.wait("pinned", |story| story.runs("v2"));
    story.wait("the pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    story.end();
    assert_eq!(story.told(&commit), [StatusState::Pending, StatusState::Failure]);
}

#[test]
fn without_anything_to_go_back_to_a_rejected_commit_is_held() {
    let mut objects = release("v1-unready");
    for object in objects.iter_mut().filter(|object| object["kind"] == "Rollout") {
        object["spec"]["progressDeadlineSeconds"] = json!(30);
    }
    let mut story = Story::with_objects(&json!({}), &objects, &none());
    let first = story.head();
    story.wait("rejected", |story| {
        story.state_of(&first) == VerdictState::Rejected
    });
    story.run_for(120);
    assert_eq!(story.delivery().status.why, Some(TargetReason::Held));
    assert_eq!(story.image(), "shop:v1-unready");
    assert_eq!(story.repository().pushes(), []);
    let fix = story.push("A fix", &release("v2"));
    story.wait("on its way", |story| story.image() == "shop:v2");
    // A canary beside a version that never was available waits for a person, as upstream's does.
    let mut api = story.world.api("ann");
    let promote = json!({"status": {"promoteFull": true}});
    api.merge_status(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT, promote)
        .unwrap();
    story.wait("good", |story| {
        story.state_of(&fix) == VerdictState::Deployed && story.runs("v2")
    });
    story.end();
}

/// The same pods, another setting: the canary goes on, and its verdict is the newer commit's.
#[test]
fn a_setting_changed_in_the_middle_of_a_canary_shares_its_verdict() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let bad = story.push("Release 3", &release("v3-bad"));
    story.wait("on its way", |story| story.image() == "shop:v3-bad");
    story.run_for(5);
    let newer = story.push("Another setting", &[config("v3-again")]);
    story.wait("rejected", |story| {
        story.state_of(&newer) == VerdictState::Rejected
    });
    assert_eq!(story.state_of(&bad), VerdictState::Superseded);
    assert_eq!(
        story.entry(&newer).unwrap().reason,
        Some(RejectedReason::AnalysisFailed)
    );
    story.wait("pinned", |story| story.runs("v2"));
    story.wait("the pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    let now = story.world.now();
    story.repository().merge(1, now).unwrap();
    story.wait("ready", |story| story.is_ready());
    story.end();
    assert!(story.runs("v2"));
}

#[test]
fn a_person_who_takes_it_back_in_the_middle_of_a_canary_is_obeyed() {
    let mut story = Story::new(&json!({}), &none());
    let good = story.verified_v2();
    let middle = story.push("Release 3", &release("v3"));
    story.wait("on its way", |story| story.image() == "shop:v3");
    story.run_for(5);
    let back = story.push("Release 2 again", &release("v2"));
    story.wait("ready", |story| story.is_ready() && story.runs("v2"));
    assert_eq!(story.state_of(&middle), VerdictState::Superseded);
    assert_eq!(story.entry(&back), story.entry(&good));
    story.end();
    assert_eq!(story.told(&back), [StatusState::Success]);
}

/// Two Rollouts of one commit: what the one is rejected for, the other goes back for as well.
#[test]
fn all_of_a_commit_goes_back_together() {
    let other = |release: &str| {
        let mut rollout = tidegate_sim::scenario::build::rollout(2, json!({"canary": {"steps": []}}));
        rollout["metadata"]["name"] = json!("other");
        rollout["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
        rollout["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
        rollout["spec"]["template"]["spec"]["containers"][0]["image"] = json!(format!("other:{release}"));
        rollout
    };
    let both = |name: &str, label: &str| {
        let mut objects = release(name);
        objects.push(other(label));
        objects
    };
    let mut story = Story::with_objects(&json!({}), &both("v1", "v1"), &none());
    story.wait("v1", |story| story.is_ready());
    story.push("Release 2", &both("v2", "v2"));
    story.wait("v2", |story| story.is_ready() && story.runs("v2"));
    let image = |story: &Story| {
        let other = story.get(&kinds::ROLLOUTS, "other");
        other["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let bad = story.push("Release 3", &both("v3-bad", "v3"));
    story.wait("on its way", |story| image(story) == "other:v3");
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    story.wait("pinned", |story| story.runs("v2") && image(story) == "other:v2");
    story.wait("the pull request", |story| {
        story.repository().pull_requests().len() == 1
    });
    story.end();
}

/// Objects in a folder besides the usual one.
fn beside(files: Files, folder: &str, objects: &[Value]) -> Files {
    objects.iter().fold(files, |files, object| {
        let path = path_of(object).replace("shop/", folder);
        files.with(&path, &format!("{object:#}\n"))
    })
}

/// Another folder of the same commit is released as another commit would be. Nothing in Git brought it, so nothing there is
/// taken back when it is bad (docs/git/helm.md has the same of another value).
#[test]
fn another_folder_of_the_same_commit_is_a_release() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let commit = story.push_files("Two more folders", |files| {
        let files = beside(files, "good/", &release("v3"));
        beside(files, "bad/", &release("v4-bad"))
    });
    let point_to = |story: &mut Story, path: &str| {
        let path = json!({"spec": {"source": {"git": {"path": path}}}});
        let mut api = story.world.api("ann");
        api.merge(&kinds::DELIVERIES, NAMESPACE, DELIVERY, path).unwrap();
    };
    story.run_for(30);
    assert!(
        story.runs("v2"),
        "nothing of it is in the folder that is delivered"
    );
    point_to(&mut story, "good");
    story.wait("verified", |story| story.runs("v3") && story.is_ready());
    point_to(&mut story, "bad");
    story.wait("rejected", |story| {
        story.state_of(&commit) == VerdictState::Rejected && story.runs("v3")
    });
    assert_eq!(story.delivery().status.why, Some(TargetReason::Pinned));
    story.run_for(120);
    point_to(&mut story, "good");
    story.wait("good again", |story| story.runs("v3") && story.is_ready());
    story.end();
    assert_eq!(story.repository().pushes(), []);
    assert_eq!(story.repository().pull_requests().len(), 0);
}
