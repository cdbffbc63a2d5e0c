//! What people ask for in the middle of things, and what a status tells of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "plan/mini.rs"]
mod mini;

use std::sync::Arc;

use serde_json::json;
use tidegate_crds::{
    AnalysisPhase, AnalysisRun, CompletionStatus, ConditionStatus, RolloutConditionType, Time, labels,
};
use tidegate_engine::{Change, Plan, Urgency};

use self::mini::{Mini, blue_green, nginx, templates};

fn pausing() -> Mini {
    Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "pause": {} }])))
}

/// An update to v2, as far as it goes by itself.
fn updated(mut world: Mini) -> Mini {
    world.settle();
    world.release("v2");
    world.pass(1);
    world.settle();
    world
}

fn abort(world: &mut Mini) {
    world.seen.rollout.status.abort = Some(true);
}

fn retry(world: &mut Mini) {
    world.seen.rollout.status.abort = Some(false);
}

fn promote_full(world: &mut Mini) {
    world.seen.rollout.status.promote_full = Some(true);
}

fn condition(world: &Mini, type_: &RolloutConditionType) -> (ConditionStatus, String) {
    let conditions = &world.seen.rollout.status.conditions;
    let found = conditions.iter().find(|c| c.type_ == *type_).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn analysed() -> Vec<(&'static str, Mini)> {
    vec![
        (
            "step",
            Mini::new(&nginx(&json!([{ "setWeight": 20 }, { "analysis": templates() }]))),
        ),
        (
            "background",
            Mini::new(&json!({ "canary": {
                "analysis": templates(), "steps": [{ "setWeight": 20 }, { "pause": {} }],
            } })),
        ),
        (
            "before",
            blue_green(&json!({ "prePromotionAnalysis": templates() })),
        ),
        (
            "after",
            blue_green(&json!({ "postPromotionAnalysis": templates() })),
        ),
    ]
}

#[test]
fn a_retry_measures_anew_whenever_it_comes() {
    for seconds in [0, 1] {
        for looks in [1, 2, 5] {
            for (kind, world) in analysed() {
                let case = format!("{kind}, {looks} looks, {seconds} s");
                let mut world = updated(world);
                assert_eq!(world.seen.analysis_runs.len(), 1, "{case}");
                world.end_run(AnalysisPhase::Failed);
                world.pass(seconds);
                for _ in 0..looks {
                    world.look();
                }
                assert_eq!(world.seen.rollout.status.abort, Some(true), "{case}");
                world.pass(seconds);
                retry(&mut world);
                world.settle();
                assert_eq!(world.seen.analysis_runs.len(), 2, "{case}");
                assert_eq!(world.seen.rollout.status.abort, Some(false), "{case}");
                world.end_run(AnalysisPhase::Failed);
                world.settle();
                assert_eq!(
                    world.seen.rollout.status.abort,
                    Some(true),
                    "{case}: the new one counts"
                );
            }
        }
    }
}

#[test]
fn a_full_promotion_after_an_abort_takes_it_away() {
    for (kind, world) in analysed() {
        let mut world = updated(world);
        world.end_run(AnalysisPhase::Failed);
        world.look();
        promote_full(&mut world);
        world.settle();
        let status = &world.seen.rollout.status;
        assert_eq!(
            (status.abort, status.aborted_at, status.promote_full),
            (None, None, None),
            "{kind}"
        );
        assert_eq!(
            world.selector(if world.seen.rollout.status.blue_green.is_some() {
                "active"
            } else {
                "stable"
            }),
            if kind == "background" { "-" } else { "v2" },
            "{kind}"
        );
        assert_eq!(world.phase(), "Healthy", "{kind}");
    }
    let mut world = updated(pausing());
    abort(&mut world);
    world.settle();
    promote_full(&mut world);
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("stable").as_str()),
        ("Healthy", "v2")
    );
}

#[test]
fn a_full_promotion_does_not_wait_for_an_analysis_that_cannot_decide() {
    for (kind, world) in analysed() {
        let mut world = updated(world);
        world.end_run(AnalysisPhase::Inconclusive);
        world.settle();
        let paused = &world.seen.rollout.status.pause_conditions;
        assert!(
            paused
                .iter()
                .any(|p| p.reason.to_string() == "InconclusiveAnalysisRun"),
            "{kind}"
        );
        promote_full(&mut world);
        world.settle();
        assert_eq!(world.phase(), "Healthy", "{kind}");
    }
}

#[test]
fn an_abort_ends_a_full_promotion_for_good() {
    for world in [pausing(), blue_green(&json!({ "autoPromotionEnabled": false }))] {
        let mut world = updated(world);
        // No pod comes, so that the promotion is on its way when the abort comes.
        let mut plan = None;
        promote_full(&mut world);
        world.serving.insert(1, 0);
        world.let_pods_come();
        for _ in 0..3 {
            plan = Some(world.look());
        }
        assert_eq!(plan.unwrap().status.promote_full, Some(true));
        abort(&mut world);
        world.settle();
        assert_eq!(world.seen.rollout.status.promote_full, None);
        assert!(
            world.phase().starts_with("Degraded RolloutAborted"),
            "{}",
            world.phase()
        );
        world.serving.clear();
        retry(&mut world);
        world.settle();
        // What the promotion had made larger becomes smaller once the data plane knows.
        world.pass(2);
        world.settle();
        assert!(world.phase().starts_with("Paused"), "{}", world.phase());
    }
}

#[test]
fn a_retry_past_the_checkpoint_begins_with_the_preview() {
    for looks in [1, 8] {
        let mut world = updated(blue_green(
            &json!({ "previewReplicaCount": 1, "autoPromotionSeconds": 5 }),
        ));
        assert_eq!(
            (world.phase().as_str(), world.sizes()),
            ("Paused BlueGreenPause", vec![10, 1])
        );
        world.pass(5);
        let checked = |world: &Mini| {
            let bg = world.seen.rollout.status.blue_green.as_ref();
            bg.and_then(|bg| bg.scale_up_preview_check_point) == Some(true)
        };
        while !checked(&world) || world.sizes() != [10, 10] {
            world.look();
        }
        abort(&mut world);
        for _ in 0..looks {
            world.look();
        }
        world.pass(1);
        retry(&mut world);
        world.settle();
        world.pass(3);
        world.settle();
        assert_eq!(
            (
                world.phase().as_str(),
                world.sizes(),
                world.selector("active").as_str()
            ),
            ("Paused BlueGreenPause", vec![10, 1], "v1")
        );
        world.pass(5);
        world.settle();
        assert_eq!(
            (world.phase().as_str(), world.selector("active").as_str()),
            ("Healthy", "v2")
        );
    }
}

fn restart(world: &mut Mini) {
    world.pass(1);
    world.seen.rollout.spec.restart_at = Some(Time::from(world.now));
    world.pass(1);
}

#[test]
fn a_new_update_cancels_a_restart() {
    for world in [pausing(), blue_green(&json!({}))] {
        let mut world = world;
        world.settle();
        restart(&mut world);
        let at = world.seen.rollout.spec.restart_at;
        world.release("v2");
        let plan = world.look();
        assert!(
            !plan
                .actions
                .iter()
                .any(|a| matches!(a.change, Change::EvictPod { .. }))
        );
        assert_eq!(plan.status.restarted_at, at);
        world.settle();
        assert!(!world.phase().contains("restarting"));
    }
}

fn evicts(plan: &Plan) -> bool {
    plan.actions
        .iter()
        .any(|a| matches!(a.change, Change::EvictPod { .. }))
}

fn shrinks(plan: &Plan) -> bool {
    plan.actions.iter().any(
        |a| matches!(&a.change, Change::PatchReplicaSet { scale: Some(scale), .. } if scale.to < scale.from),
    )
}

#[test]
fn nothing_becomes_smaller_by_counters_that_do_not_know_of_an_eviction() {
    let canary = json!({ "canary": { "steps": [{ "setWeight": 50 }, { "pause": {} }] } });
    for (strategy, resized) in [(&canary, false), (&canary, true)] {
        let mut world = Mini::new(strategy);
        world.settle();
        world.release("v2");
        world.look();
        if resized {
            world.seen.rollout.spec.replicas = Some(8);
        }
        restart(&mut world);
        let plan = world.look();
        assert!(evicts(&plan) && !shrinks(&plan), "{:#?}", plan.actions);
        // The counters are as before: the pods are only being deleted.
        let plan = world.look();
        assert!(!shrinks(&plan), "{:#?}", plan.actions);
        for rs in &mut world.seen.replica_sets {
            if let Some(pods) = world.pods.get_mut(&rs.hash) {
                pods.retain(|pod| !pod.deleting);
            }
            let left = world.pods.get(&rs.hash).map_or(0, Vec::len);
            rs.available = i32::try_from(left).unwrap();
        }
        assert!(!world.phase().contains("Healthy"));
    }
}

/// They may be what the restart is for, and nobody misses them.
#[test]
fn a_restart_takes_pods_that_are_not_ready_whatever_is_missing() {
    let mut world = pausing();
    world.settle();
    world.serving.insert(0, 5);
    world.let_pods_come();
    restart(&mut world);
    let hash = world.seen.replica_sets[0].hash.clone();
    // with the next look the pods are known
    world.plan();
    for pod in world.pods.get_mut(&hash).unwrap().iter_mut().take(5) {
        pod.ready = false;
    }
    let plan = world.look();
    let taken = plan.actions.iter().filter_map(|action| match &action.change {
        Change::EvictPod { name, .. } => Some(name),
        _ => None,
    });
    let pods = &world.pods[&hash];
    let ready: Vec<bool> = taken
        .map(|name| pods.iter().find(|pod| pod.name == *name).unwrap().ready)
        .collect();
    assert!(!ready.is_empty() && ready.iter().all(|ready| !ready), "{ready:?}");
}

#[test]
fn a_restart_that_is_to_come_is_told_and_waits() {
    let mut world = pausing();
    world.settle();
    world.seen.rollout.spec.restart_at = Some(Time::from(world.now + jiff::SignedDuration::from_secs(60)));
    let plan = world.look();
    assert!(!evicts(&plan));
    assert_eq!(world.phase(), "Progressing rollout is restarting");
    world.pass(60);
    assert!(evicts(&world.look()));
}

/// The shell: counters alone are written six seconds late.
struct Late {
    world: Mini,
    since: Option<jiff::Timestamp>,
}

impl Late {
    fn look(&mut self) -> Plan {
        let plan = self.world.plan();
        let delay = jiff::SignedDuration::from_secs(6);
        if plan.status == self.world.seen.rollout.status {
            self.since = None;
        } else if plan.urgency == Urgency::Now
            || *self.since.get_or_insert(self.world.now) + delay <= self.world.now
        {
            self.since = None;
            self.world.seen.rollout.status = plan.status.clone();
        }
        plan
    }

    fn stuck(&self) -> bool {
        self.world.phase().contains("ProgressDeadlineExceeded")
    }
}

#[test]
fn the_deadline_follows_what_got_better() {
    // When a pod becomes ready, when one is lost (its replacement comes a second later), and when the update is stuck.
    for (deadline, ready, lost, stuck) in [
        (20, vec![], vec![], 20),
        (6, vec![3], vec![], 9),
        (6, vec![1, 4, 9], vec![], 15),
        (20, vec![1], vec![5, 10, 15, 20], 21),
        (20, vec![1, 9], vec![12, 25], 29),
        (600, vec![100], vec![300, 301, 302], 700),
    ] {
        for strategy in [
            nginx(&json!([{ "setWeight": 50 }])),
            json!({ "canary": { "maxSurge": 10, "maxUnavailable": 0 } }),
        ] {
            let mut world = Mini::new(&strategy);
            world.seen.rollout.spec.progress_deadline_seconds = Some(deadline);
            world.settle();
            world.release("v2");
            world.pass(1);
            world.look();
            let new = world.seen.replica_sets.len() - 1;
            let made = world.seen.replica_sets[new].spec_replicas;
            let rs = &mut world.seen.replica_sets[new];
            (rs.replicas, rs.ready, rs.available) = (made, 0, 0);
            let mut late = Late { world, since: None };
            late.look();
            let mut fired = None;
            for second in 1..=720 {
                late.world.pass(1);
                let rs = &mut late.world.seen.replica_sets[new];
                if ready.contains(&second) {
                    (rs.ready, rs.available) = (rs.ready + 1, rs.available + 1);
                }
                if lost.contains(&second) {
                    (rs.replicas, rs.ready, rs.available) =
                        (made - 1, (rs.ready - 1).max(0), (rs.available - 1).max(0));
                } else if lost.contains(&(second - 1)) {
                    let there = i32::try_from(ready.iter().filter(|r| **r < second).count()).unwrap();
                    (rs.replicas, rs.ready, rs.available) = (made, there, there);
                }
                late.look();
                if late.stuck() {
                    fired = Some(second);
                    break;
                }
            }
            assert_eq!(fired, Some(stuck), "{deadline} s, ready {ready:?}, lost {lost:?}");
        }
    }
}

#[test]
fn what_was_stuck_goes_on_when_it_gets_better() {
    let mut world = Mini::new(&nginx(&json!([{ "setWeight": 50 }])));
    world.seen.rollout.spec.progress_deadline_seconds = Some(5);
    world.settle();
    world.release("v2");
    world.serving.insert(1, 0);
    world.look();
    world.look();
    world.pass(5);
    world.look();
    assert!(
        world.phase().contains("ProgressDeadlineExceeded"),
        "{}",
        world.phase()
    );
    for forgets in [false, true] {
        if forgets {
            world.seen.progress = None;
        }
        world.look();
        assert!(
            world.phase().contains("ProgressDeadlineExceeded"),
            "{}",
            world.phase()
        );
    }
    // In the same second.
    world.serving.insert(1, 1);
    world.let_pods_come();
    world.look();
    assert!(world.phase().starts_with("Progressing"), "{}", world.phase());
    world.pass(4);
    world.look();
    assert!(world.phase().starts_with("Progressing"), "{}", world.phase());
}

#[test]
fn a_pause_of_what_is_complete_leaves_its_progress() {
    let mut world = pausing();
    world.settle();
    let before = condition(&world, &RolloutConditionType::Progressing);
    world.seen.rollout.spec.paused = Some(true);
    world.settle();
    assert_eq!(condition(&world, &RolloutConditionType::Progressing), before);
    assert_eq!(
        condition(&world, &RolloutConditionType::Healthy).0,
        ConditionStatus::False
    );
    assert_eq!(
        condition(&world, &RolloutConditionType::Paused).0,
        ConditionStatus::True
    );
    assert_eq!(world.phase(), "Paused manually paused");
    world.seen.rollout.spec.paused = None;
    world.settle();
    assert_eq!(
        condition(&world, &RolloutConditionType::Healthy).0,
        ConditionStatus::True
    );
    assert_eq!(world.phase(), "Healthy");
}

#[test]
fn back_within_the_delay_asks_no_analysis() {
    for (analysis, seconds) in [
        ("postPromotionAnalysis", 0),
        ("prePromotionAnalysis", 0),
        ("postPromotionAnalysis", 20),
    ] {
        let mut world = blue_green(&json!({ analysis: templates(), "autoPromotionEnabled": false }));
        world.settle();
        world.release("v2");
        world.pass(1);
        for _ in 0..2 {
            world.settle();
            if !world.seen.analysis_runs.is_empty() {
                world.end_run(AnalysisPhase::Successful);
                world.settle();
            }
            world.promote();
            world.settle();
        }
        world.end_run(AnalysisPhase::Successful);
        world.settle();
        assert_eq!(
            (world.phase().as_str(), world.selector("active").as_str()),
            ("Healthy", "v2"),
            "{analysis}"
        );
        let runs = world.seen.analysis_runs.len();
        world.pass(seconds);
        world.release("v1");
        world.settle();
        assert_eq!(
            (world.phase().as_str(), world.selector("active").as_str()),
            ("Healthy", "v1"),
            "{analysis}"
        );
        assert_eq!(world.seen.analysis_runs.len(), runs, "{analysis}");
    }
}

/// However long the pods take that a larger size asks for: that it began within the delay is what counts.
#[test]
fn back_within_the_delay_outlasts_it() {
    let mut world = blue_green(&json!({ "autoPromotionEnabled": false, "scaleDownDelaySeconds": 10 }));
    world.settle();
    world.release("v2");
    world.pass(1);
    world.settle();
    world.promote();
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Healthy", "v2")
    );
    world.scale(20);
    world.serving.insert(0, 10);
    world.pass(3);
    world.release("v1");
    world.settle();
    world.pass(60);
    world.settle();
    assert_eq!(world.selector("active"), "v2");
    world.serving.clear();
    world.settle();
    assert_eq!(
        (world.phase().as_str(), world.selector("active").as_str()),
        ("Healthy", "v1")
    );
    assert_eq!(world.annotation(0, labels::RETURNS_ANNOTATION), None);
    // Another version in between ends it.
    world.release("v2");
    world.look();
    assert!(world.annotation(1, labels::RETURNS_ANNOTATION).is_some());
    world.release("v3");
    world.settle();
    assert_eq!(world.annotation(1, labels::RETURNS_ANNOTATION), None);
}

#[test]
fn what_was_late_is_not_promoted_because_of_size_0() {
    let canary = json!({ "canary": { "steps": [{ "setWeight": 50 }] } });
    for strategy in [canary, json!({ "blueGreen": { "activeService": "active" } })] {
        let mut world = Mini::new(&strategy);
        world.settle();
        world.serving.insert(1, 0);
        world.release("v2");
        world.settle();
        world.pass(601);
        world.settle();
        let late = "Degraded ProgressDeadlineExceeded";
        assert!(world.phase().starts_with(late), "{}", world.phase());
        world.scale(0);
        world.pass(60);
        world.settle();
        assert!(world.phase().starts_with(late), "{}", world.phase());
        assert_eq!(world.seen.rollout.status.stable_rs.as_ref(), world.hash(0));
        world.serving.clear();
        world.scale(4);
        world.settle();
        world.pass(60);
        world.settle();
        assert_eq!(world.phase(), "Healthy");
    }
}

#[test]
fn a_pause_begins_where_a_client_went_past_a_step() {
    let steps = [
        json!({ "pause": {} }),
        json!({ "setWeight": 20 }),
        json!({ "pause": {} }),
    ];
    let mut world = updated(Mini::new(&nginx(&json!(steps))));
    assert_eq!(world.phase(), "Paused CanaryPauseStep");
    for step in [1, 2] {
        world.seen.rollout.status.pause_conditions.clear();
        world.seen.rollout.status.current_step_index = Some(step);
        world.serving.insert(1, 0);
        world.look();
    }
    world.serving.clear();
    world.settle();
    assert_eq!(world.phase(), "Paused CanaryPauseStep");
    assert_eq!(world.seen.rollout.status.current_step_index, Some(2));
}

#[test]
fn a_client_is_not_told_to_resume_what_runs_its_last_analysis() {
    let mut world = updated(blue_green(
        &json!({ "postPromotionAnalysis": templates(), "autoPromotionEnabled": false }),
    ));
    world.promote();
    world.settle();
    assert_eq!(world.phase(), "Progressing waiting for analysis to complete");
    assert_eq!(world.seen.rollout.status.controller_pause, None);
}

#[test]
fn healthy_pods_have_the_metadata_of_their_role() {
    let role = |name: &str| json!({ "labels": { "role": name } });
    let canary = json!({ "canary": { "canaryMetadata": role("canary"), "stableMetadata": role("stable"), "steps": [{ "pause": {} }] } });
    let blue_green = json!({ "blueGreen": { "activeService": "active", "previewMetadata": role("preview"), "activeMetadata": role("stable") } });
    for strategy in [canary, blue_green] {
        let mut world = Mini::new(&strategy);
        world.settle();
        world.release("v2");
        world.pass(1);
        let mut healthy = 0;
        for _ in 0..30 {
            world.look();
            world.promote();
            let promoted = world.seen.rollout.status.stable_rs == world.seen.rollout.status.current_pod_hash;
            if world.phase() == "Healthy" || promoted {
                healthy += 1;
                let pods = &world.pods[&world.seen.replica_sets[1].hash];
                assert!(
                    pods.iter()
                        .all(|pod| pod.labels.get("role").is_some_and(|role| role == "stable")),
                    "{pods:#?}"
                );
            }
        }
        assert!(healthy > 0, "{}", world.phase());
    }
}

/// A pod that comes while the role changes is made of the new template, and all that were there are changed after it.
#[test]
fn the_template_gets_the_metadata_of_a_role_before_the_pods() {
    let role = |name: &str| json!({ "labels": { "role": name } });
    let mut world = Mini::new(&json!({ "canary": {
        "canaryMetadata": role("canary"), "stableMetadata": role("stable"), "steps": [{ "pause": {} }],
    } }));
    world.settle();
    world.release("v2");
    world.pass(1);
    world.settle();
    world.promote();
    let mut changed = 0;
    for look in 0..30 {
        // The ReplicaSet's controller does not know of the template yet.
        let behind =
            (1..20).contains(&look) && world.annotation(1, labels::METADATA_OF_PODS_ANNOTATION).is_some();
        world.seen.replica_sets[1].generation = 1 + i64::from(behind);
        world.look_and(|change, before, now| {
            let Change::PatchPod { name, .. } = change else {
                return;
            };
            let of = before.replica_sets.iter().find(|rs| {
                let pods = now.pods.get(&rs.hash);
                pods.is_some_and(|pods| pods.iter().any(|pod| pod.name == *name))
            });
            let of = of.unwrap();
            assert!(!behind || of.hash != before.replica_sets[1].hash);
            assert!(of.annotations.contains_key(labels::METADATA_OF_PODS_ANNOTATION));
            changed += 1;
        });
    }
    assert!(changed >= 10, "{changed}");
    assert_eq!(world.phase(), "Healthy");
    for place in 0..2 {
        assert_eq!(world.annotation(place, labels::METADATA_OF_PODS_ANNOTATION), None);
    }
    assert_eq!(
        world
            .annotation(1, labels::EPHEMERAL_METADATA_ANNOTATION)
            .as_deref(),
        Some(r#"{"labels":{"role":"stable"}}"#)
    );
}

#[test]
fn what_is_beyond_the_revision_limit_goes_unless_requests_may_still_come() {
    let strategy = json!({ "scaleDownDelaySeconds": 86_400, "scaleDownDelayRevisionLimit": 2 });
    let mut world = blue_green(&strategy);
    world.settle();
    for (version, seconds) in [("v2", 2), ("v3", 2), ("v4", 1)] {
        world.pass(seconds);
        world.release(version);
        world.settle();
    }
    assert_eq!(
        (world.phase().as_str(), world.sizes()),
        ("Healthy", vec![0, 10, 10, 10])
    );

    // All of them within a second: the data plane may not know yet, and that is told.
    let mut world = blue_green(&strategy);
    world.settle();
    for version in ["v2", "v3", "v4"] {
        world.release(version);
        world.settle();
    }
    let plan = world.look();
    assert_eq!(world.sizes(), [10; 4]);
    assert!(
        plan.why
            .iter()
            .any(|why| why.to_string().contains("since requests may still come to it")),
        "{:?}",
        plan.why
    );
    assert_eq!(plan.wake, Some(world.now + jiff::SignedDuration::from_secs(2)));
    world.pass(2);
    world.settle();
    assert_eq!(world.sizes(), [0, 10, 10, 10]);
}

#[test]
fn a_window_counts_versions_in_the_order_in_which_they_were_made() {
    // Versions that were promoted, the one in the middle, where it goes back to, whether steps are skipped; and seconds between versions.
    for seconds in [0, 2] {
        for (promoted, half, skips) in [(vec!["v2"], "v3", true), (vec!["v2", "v3"], "v4", false)] {
            let steps = json!([{ "pause": {} }, { "setWeight": 50 }, { "pause": {} }]);
            let mut world = Mini::new(&json!({ "canary": { "steps": steps } }));
            world.seen.rollout.spec.rollback_window =
                serde_json::from_value(json!({ "revisions": 1 })).unwrap();
            world.settle();
            for version in promoted {
                world.pass(seconds);
                world.release(version);
                world.settle();
                world.promote();
                world.settle();
                world.promote();
                world.settle();
                assert_eq!(world.phase(), "Healthy");
            }
            world.pass(seconds);
            world.release(half);
            world.settle();
            world.pass(seconds);
            world.release("v1");
            world.settle();
            let phase = if skips {
                "Healthy"
            } else {
                "Paused CanaryPauseStep"
            };
            assert_eq!(world.phase(), phase, "{half}, {seconds} s");
        }
    }
}

/// What there is of `status.duration`: how it ended, whether it is over, whether people hold it now, and how long they did.
fn duration(world: &Mini) -> (Option<CompletionStatus>, bool, bool, Option<i64>) {
    let duration = world.seen.rollout.status.duration.clone().unwrap();
    (
        duration.completion_status,
        duration.finished_at.is_some(),
        duration.manual_pause_started_at.is_some(),
        duration.total_manual_pause_duration_seconds,
    )
}

/// Worlds whose update waits for a person.
fn waiting() -> [Mini; 2] {
    [
        Mini::new(&json!({ "canary": { "steps": [{ "setWeight": 50 }, { "pause": {} }] } })),
        blue_green(&json!({ "autoPromotionEnabled": false, "scaleDownDelaySeconds": 60 })),
    ]
}

/// When the update that the duration tells of began.
fn began(world: &Mini) -> Option<Time> {
    let duration = world.seen.rollout.status.duration.as_ref();
    duration.unwrap().rollout_started_at
}

#[test]
fn a_duration_is_kept_as_upstream_keeps_it() {
    use CompletionStatus::{Aborted, FastPromoted, FastRolledBack, Promoted, RolledBack};

    for mut world in waiting() {
        world.settle();
        assert_eq!(
            duration(&world),
            (Some(Promoted), true, false, None),
            "the first version"
        );
        let mut world = updated(world);
        assert_eq!(duration(&world), (None, false, true, None), "paused");
        let before = began(&world);
        world.promote();
        world.settle();
        assert_eq!(
            duration(&world),
            (Some(Promoted), true, false, Some(0)),
            "promoted at once"
        );

        world.pass(1);
        world.release("v3");
        world.settle();
        world.pass(2);
        abort(&mut world);
        world.settle();
        assert_eq!(duration(&world), (Some(Aborted), true, false, Some(2)));
        world.pass(1);
        retry(&mut world);
        world.settle();
        assert_eq!(duration(&world), (None, false, true, None), "retried");
        assert_ne!(began(&world), before);
        world.pass(3);
        promote_full(&mut world);
        world.settle();
        assert_eq!(duration(&world), (Some(FastPromoted), true, false, Some(3)));

        world.pass(1);
        world.release("v4");
        world.settle();
        let before = began(&world);
        world.pass(1);
        world.release("v3");
        world.settle();
        assert_eq!(
            duration(&world),
            (Some(FastRolledBack), true, false, Some(1)),
            "back to stable"
        );
        assert_eq!(began(&world), before);
        world.pass(1);
        world.release("v5");
        world.settle();
        world.pass(1);
        world.release("v6");
        world.settle();
        assert_eq!(duration(&world), (None, false, true, None), "superseded");
        world.pass(100);
        world.settle();
        world.release("v1");
        world.settle();
        assert_eq!(duration(&world).0, Some(RolledBack));
        world.promote();
        world.settle();
        assert_eq!((duration(&world).0, duration(&world).1), (Some(RolledBack), true));
    }
}

#[test]
fn a_duration_counts_a_pause_of_the_spec() {
    for mut world in waiting() {
        world.settle();
        world.seen.rollout.spec.paused = Some(true);
        world.settle();
        assert_eq!(
            duration(&world),
            (Some(CompletionStatus::Promoted), true, false, None)
        );
        world.release("v2");
        world.pass(1);
        world.settle();
        assert_eq!(duration(&world), (None, false, true, None));
        world.pass(2);
        world.seen.rollout.spec.paused = None;
        world.look();
        assert_eq!(duration(&world), (None, false, false, Some(2)));
    }
}

#[test]
fn the_generation_of_a_workload_goes_with_the_reference_to_it() {
    let mut world = pausing();
    world.seen.rollout.status.workload_observed_generation = Some("3".to_owned());
    world.seen.rollout.metadata.annotations.insert(
        tidegate_crds::labels::WORKLOAD_GENERATION_ANNOTATION.to_owned(),
        "3".to_owned(),
    );
    world.settle();
    assert_eq!(world.seen.rollout.status.workload_observed_generation, None);
    let annotations = &world.seen.rollout.metadata.annotations;
    assert!(!annotations.contains_key(tidegate_crds::labels::WORKLOAD_GENERATION_ANNOTATION));
}

#[test]
fn switched_off_is_off_whatever_time_there_is() {
    let mut world = updated(blue_green(
        &json!({ "autoPromotionEnabled": false, "autoPromotionSeconds": 5 }),
    ));
    assert_eq!(world.phase(), "Paused BlueGreenPause");
    world.pass(60);
    world.settle();
    assert_eq!(world.phase(), "Paused BlueGreenPause");
}

/// The analysis holds the release, not the time of a pause that has begun: who resumes it does not wait for that again.
#[test]
fn a_pause_ends_in_its_time_beside_an_analysis_that_cannot_decide() {
    let mut strategy = nginx(
        &json!([{ "setWeight": 20 }, { "pause": { "duration": 10 } }, { "setWeight": 60 }, { "pause": {} }]),
    );
    strategy["canary"]["analysis"] = templates();
    let mut world = updated(Mini::new(&strategy));
    world.end_run(AnalysisPhase::Inconclusive);
    world.settle();
    assert_eq!(world.phase(), "Paused CanaryPauseStep");
    world.pass(10);
    world.settle();
    assert_eq!(
        (
            world.phase().as_str(),
            world.weight().as_str(),
            world.seen.rollout.status.current_step_index
        ),
        ("Paused InconclusiveAnalysisRun", "20", Some(1))
    );
    world.promote();
    world.settle();
    assert_eq!(world.weight(), "60");
}

/// They say what a controller did to a ReplicaSet: on a Rollout they say nothing.
#[test]
fn what_controllers_write_on_replica_sets_is_not_copied_from_the_rollout() {
    let mut world = pausing();
    let of_controllers = [
        labels::SCALE_DOWN_DEADLINE_ANNOTATION,
        labels::ABORTED_ANNOTATION,
        labels::METADATA_OF_PODS_ANNOTATION,
        labels::EPHEMERAL_METADATA_ANNOTATION,
        labels::EXPERIMENT_NAME_ANNOTATION,
        labels::REVISION_HISTORY_ANNOTATION,
        labels::RUN_NOT_WANTED_ANNOTATION,
        "tidegate.io/whatever-comes-next",
    ];
    let annotations = &mut world.seen.rollout.metadata.annotations;
    for key in of_controllers
        .into_iter()
        .chain(["team", labels::DESIRED_REPLICAS_ANNOTATION])
    {
        annotations.insert(key.to_owned(), "77".to_owned());
    }
    world.settle();
    world.release("v2");
    world.settle();
    let last = world.seen.replica_sets.len() - 1;
    for key in of_controllers {
        assert_eq!(world.annotation(last, key), None, "{key}");
    }
    assert_eq!(world.annotation(last, "team").as_deref(), Some("77"));
    assert_eq!(
        world
            .annotation(last, labels::DESIRED_REPLICAS_ANNOTATION)
            .as_deref(),
        Some("10")
    );
}

/// A number that nobody has counted up to would be the last one for all versions.
#[test]
fn a_revision_that_cannot_be_counts_for_none() {
    for (odd, next) in [
        ("9223372036854775807", "2"),
        ("1000000000001", "2"),
        ("1000000000000", "2"),
        ("999999999999", "1000000000000"),
        ("-7", "2"),
    ] {
        let mut world = updated(pausing());
        world.seen.replica_sets[0]
            .annotations
            .insert(labels::REVISION_ANNOTATION.to_owned(), odd.to_owned());
        world.settle();
        assert_eq!(
            world.annotation(1, labels::REVISION_ANNOTATION).as_deref(),
            Some(next),
            "{odd}"
        );
        assert!(world.look().actions.is_empty(), "{odd}");
        world.release("v3");
        world.settle();
        let third = world.annotation(2, labels::REVISION_ANNOTATION).unwrap();
        assert!(labels::revision(&third).is_some(), "{odd}: {third}");
        assert!(world.look().actions.is_empty(), "{odd}");
    }
}

/// Whoever may create analysis runs may write anything into one. Only what is named in the status counts, what this process made, and
/// the very run that would be made now: it was made just before a crash.
#[test]
fn a_run_that_somebody_else_made_says_nothing() {
    type Change = fn(&mut AnalysisRun);
    let forgeries: [(&str, Change); 8] = [
        ("name", |run| "ok-1".clone_into(&mut run.metadata.name)),
        ("metrics", |run| run.spec.metrics[0].provider.web = None),
        ("no metrics", |run| run.spec.metrics.clear()),
        ("steps", |run| {
            run.metadata.annotations.remove(labels::RUN_STEP_HASH_ANNOTATION);
        }),
        ("owner", |run| run.metadata.owner_references.clear()),
        ("instance", |run| {
            let other = (labels::INSTANCE_ID_LABEL.to_owned(), "other".to_owned());
            run.metadata.labels.extend([other]);
        }),
        ("deletion", |run| {
            run.metadata.deletion_timestamp = run.metadata.creation_timestamp;
        }),
        ("revision", |run| {
            let other = (labels::REVISION_ANNOTATION.to_owned(), "9".to_owned());
            run.metadata.annotations.extend([other]);
        }),
    ];
    for phase in [AnalysisPhase::Running, AnalysisPhase::Successful] {
        let counts = |forge: Change, made_here: bool| {
            let steps = json!([{ "setWeight": 20 }, { "analysis": templates() }, { "pause": {} }]);
            let mut world = updated(Mini::new(&nginx(&steps)));
            world.pass(1);
            // The process ends before it has recorded the run.
            let canary = world.seen.rollout.status.canary.get_or_insert_default();
            canary.current_step_analysis_run_status = None;
            let run = Arc::make_mut(world.seen.analysis_runs.last_mut().unwrap());
            run.status.phase = phase.clone();
            run.metadata.uid = "run-1".to_owned();
            forge(run);
            if made_here {
                world.seen.made_here.insert("run-1".to_owned());
            }
            world.settle();
            let runs = &world.seen.analysis_runs;
            // It is measured once, or once more.
            (runs.len(), world.seen.rollout.status.current_step_index)
        };
        let index = if phase == AnalysisPhase::Successful { 2 } else { 1 };
        assert_eq!(counts(|_| {}, false), (1, Some(index)), "{phase}");
        // A webhook changed what this process made.
        assert_eq!(
            counts(|run| run.spec.metrics.clear(), true),
            (1, Some(index)),
            "{phase}"
        );
        for (what, forge) in forgeries {
            assert_eq!(counts(forge, false), (2, Some(1)), "{what}, {phase}");
        }
    }
}

#[test]
fn who_goes_past_a_pause_comes_to_the_next_one() {
    let steps = json!([{ "setWeight": 20 }, { "pause": { "duration": 60 } }, { "pause": {} }]);
    // Some clients take the pause along, some leave it.
    for takes_it in [true, false] {
        let mut world = updated(Mini::new(&nginx(&steps)));
        world.pass(30);
        let status = &mut world.seen.rollout.status;
        assert_eq!(status.current_step_index, Some(1));
        status.current_step_index = Some(2);
        if takes_it {
            status.pause_conditions.clear();
        }
        for _ in 0..2 {
            world.settle();
            let status = &world.seen.rollout.status;
            let pauses = status.pause_conditions.iter();
            let since: Vec<i64> = pauses.map(|p| p.start_time.timestamp().as_second()).collect();
            assert_eq!(
                (status.current_step_index, since.len()),
                (Some(2), 1),
                "{takes_it}"
            );
            assert_eq!(world.phase(), "Paused CanaryPauseStep", "{takes_it}");
            assert!(since[0] > world.now.as_second() - 1000, "{takes_it}");
            world.pass(900);
        }
        world.promote();
        world.settle();
        assert_eq!(world.phase(), "Healthy", "{takes_it}");
    }
}

#[test]
fn a_rejected_version_loses_its_requests_though_another_one_came_meanwhile() {
    let mut world = blue_green(&json!({ "postPromotionAnalysis": templates() }));
    world = updated(world);
    assert_eq!(world.selector("active"), "v2");
    abort(&mut world);
    world.refuses = vec!["point Service active".to_owned()];
    world.settle();
    assert_eq!(world.selector("active"), "v2");
    world.serving.insert(2, 0);
    world.release("v3");
    world.settle();
    world.refuses.clear();
    world.pass(60);
    world.settle();
    assert_eq!(world.selector("active"), "v1");
}

#[test]
fn an_analysis_before_the_switch_takes_its_time() {
    let options = json!({ "previewReplicaCount": 1, "prePromotionAnalysis": templates() });
    let mut world = blue_green(&options);
    world.seen.rollout.spec.progress_deadline_seconds = Some(20);
    world = updated(world);
    world.pass(60);
    world.settle();
    assert_eq!(
        world.phase().split(' ').next(),
        Some("Progressing"),
        "{}",
        world.phase()
    );
}

#[test]
fn an_abort_is_recorded_while_the_workload_is_gone() {
    let mut world = updated(pausing());
    let hash = world.seen.rollout.status.current_pod_hash.clone();
    world.seen.rollout.spec.template = None;
    world.seen.rollout.spec.workload_ref =
        serde_json::from_value(json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }))
            .unwrap();
    abort(&mut world);
    world.settle();
    let status = &world.seen.rollout.status;
    assert_eq!(
        (world.weight().as_str(), status.aborted_at.is_some()),
        ("0", true),
        "{}",
        world.phase()
    );
    assert_eq!(status.current_pod_hash, hash);
}
