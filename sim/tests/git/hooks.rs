//! Hooks: each runs once for a commit, gates it or follows its verdict, and is in nobody's way.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use tidegate_crds::{RejectedReason, TargetReason, VerdictState};
use tidegate_gitsync::tree::Oid;
use tidegate_sim::api::kinds;
use tidegate_sim::faults::{CrashAt, FaultPlan, RequestFault};

use crate::each::each;
use crate::story::{Story, config, on_rejected, release, with};

fn none() -> FaultPlan {
    FaultPlan::default()
}

/// A Job that is a hook of that phase, and takes some seconds.
fn hook(name: &str, phase: &str, seconds: u32) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {"argocd.argoproj.io/hook": phase}},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"annotations": {"sim.tidegate.io/job-seconds": seconds.to_string()}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "tools:1"}]},
        }},
    })
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

fn failing(mut job: Value) -> Value {
    job["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["false"]);
    job
}

fn and(mut objects: Vec<Value>, more: &[Value]) -> Vec<Value> {
    objects.extend_from_slice(more);
    objects
}

fn is_complete(job: &Value) -> bool {
    job["status"]["conditions"][0]["type"] == "Complete"
}

impl Story {
    fn job(&self, name: &str) -> Value {
        self.get(&kinds::JOBS, name)
    }

    /// How many Jobs there ever were of a name, phase and digest.
    fn runs_ever(&self) -> BTreeMap<(String, String, String), usize> {
        let mut uids: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
        let commits = self.world.store().commits_since(0);
        for job in commits
            .filter(|commit| commit.resource.kind == "Job")
            .filter_map(|commit| commit.after.as_deref())
        {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let annotations = &job["metadata"]["annotations"];
            let key = (
                text(&job["metadata"]["name"]),
                text(&annotations["tidegate.io/hook-phase"]),
                text(&annotations["tidegate.io/digest"]),
            );
            uids.entry(key).or_default().insert(text(&job["metadata"]["uid"]));
        }
        uids.into_iter().map(|(key, uids)| (key, uids.len())).collect()
    }

    /// How many commits each hook ran for; fails if one ran twice for one.
    fn ran(&self) -> BTreeMap<(String, String), usize> {
        let mut ran = BTreeMap::new();
        for ((name, phase, digest), count) in self.runs_ever() {
            assert_eq!(count, 1, "{phase} hook {name} ran {count} times for {digest}");
            *ran.entry((name, phase)).or_insert(0) += 1;
        }
        ran
    }
}

fn counts(of: &[(&str, &str, usize)]) -> BTreeMap<(String, String), usize> {
    of.iter()
        .map(|(name, phase, count)| (((*name).to_owned(), (*phase).to_owned()), *count))
        .collect()
}

#[test]
fn what_comes_before_gates_the_commit_and_runs_once_for_it() {
    let with_migration = |name: &str| and(release(name), &[hook("migrate", "PreSync", 7)]);
    let mut story = Story::with_objects(&json!({}), &with_migration("v1"), &none());
    story.wait("v1", |story| story.is_ready() && story.runs("v1"));
    let good = story.push("Release 2", &with_migration("v2"));
    story.wait("the hook runs", |story| {
        story
            .entry(&good)
            .is_some_and(|entry| entry.message.contains("migrate"))
    });
    assert_eq!(story.state_of(&good), VerdictState::Pending);
    story.wait("on its way", |story| {
        let job = story.job("migrate");
        let released = story.image() == "shop:v2" || story.release().0 == "v2";
        assert!(!released || is_complete(&job), "released before its migration");
        released
    });
    story.wait("verified", |story| {
        story.state_of(&good) == VerdictState::Verified
    });
    // Nothing of it is compared, healed or deleted, and a commit that changes nothing runs nothing.
    story.push_files("Only words", |files| files.with("README.md", "words"));
    story.run_for(1500);
    assert!(is_complete(&story.job("migrate")));
    assert_eq!(story.ran(), counts(&[("migrate", "PreSync", 2)]));
    assert!(
        !story
            .delivery()
            .status
            .inventory
            .iter()
            .any(|id| id.contains("Job"))
    );
    story.end();
}

#[test]
fn a_migration_that_fails_stops_the_commit_before_anything_of_it_is_applied() {
    for action in ["Pin", "Hold"] {
        let mut story = Story::new(&on_rejected(action), &none());
        story.verified_v2();
        let migrate = failing(hook("migrate", "PreSync", 3));
        let bad = story.push("Release 3", &and(release("v3"), &[migrate]));
        story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
        story.run_for(700);
        assert!(story.runs("v2"), "{}", story.describe());
        assert!(!story.images_ever().contains(&json!("shop:v3")));
        let entry = story.entry(&bad).unwrap();
        assert_eq!(entry.reason, Some(RejectedReason::HookFailed));
        assert!(
            entry.message.starts_with("PreSync hook Job ")
                && entry.message.contains("/migrate: BackoffLimitExceeded"),
            "{}",
            entry.message
        );
        assert_eq!(story.condition("GitAhead").0, "True");
        assert_eq!(story.condition("Available").0, "True");
        // once more, by a person: the Job fails again
        story.annotate("tidegate.io/retry", "once more");
        story.wait("runs again", |story| {
            story.runs_ever().values().sum::<usize>() == 2
        });
        story.wait("rejected again", |story| {
            story.state_of(&bad) == VerdictState::Rejected && story.runs("v2")
        });
        let fix = story.push("A fix", &and(release("v4"), &[hook("migrate", "PreSync", 3)]));
        story.wait("verified", |story| {
            story.state_of(&fix) == VerdictState::Verified && story.runs("v4")
        });
        story.end();
    }
}

#[test]
fn a_first_commit_whose_migration_fails_leaves_nothing() {
    let objects = and(release("v1"), &[failing(hook("migrate", "PreSync", 3))]);
    let mut story = Story::with_objects(&json!({}), &objects, &none());
    let first = story.head();
    story.wait("rejected", |story| {
        story.state_of(&first) == VerdictState::Rejected
    });
    story.run_for(60);
    assert_eq!(story.image(), "");
    assert_eq!(story.delivery().status.target, None);
    let fix = story.push("A fix", &and(release("v2"), &[hook("migrate", "PreSync", 3)]));
    story.wait("good", |story| {
        story.state_of(&fix) == VerdictState::Deployed && story.runs("v2")
    });
    story.end();
}

#[test]
fn hooks_run_in_their_waves_and_after_the_verdict() {
    let wave = "argocd.argoproj.io/sync-wave";
    let policy = "argocd.argoproj.io/hook-delete-policy";
    let objects = |name: &str| {
        let mut late = annotated(config(name), wave, "1");
        late["metadata"]["name"] = json!("late");
        let warm = annotated(hook("warm", "Sync", 6), wave, "0");
        let smoke = annotated(hook("smoke", "PostSync", 2), policy, "HookSucceeded");
        and(release(name), &[late, warm, smoke])
    };
    let mut story = Story::with_objects(&json!({}), &objects("v1"), &none());
    story.wait("v1", |story| story.is_ready() && story.runs("v1"));
    let good = story.push("Release 2", &objects("v2"));
    story.wait("the next wave", |story| {
        let late = story.get(&kinds::CONFIG_MAPS, "late")["data"]["release"] == "v2";
        assert!(
            !late || is_complete(&story.job("warm")),
            "a wave before the hook of the one before it was done"
        );
        late
    });
    story.wait("after the verdict", |story| !story.job("smoke").is_null());
    assert_eq!(story.state_of(&good), VerdictState::Verified);
    story.wait("deleted as it says", |story| story.job("smoke").is_null());
    story.end();
    assert_eq!(
        story.ran(),
        counts(&[("smoke", "PostSync", 2), ("warm", "Sync", 2)])
    );
    assert!(story.is_ready());
}

#[test]
fn a_hook_among_the_last_objects_is_part_of_the_verdict() {
    let mut story = Story::new(&on_rejected("Pin"), &none());
    story.verified_v2();
    let bad = story.push(
        "Release 3",
        &and(release("v3"), &[failing(hook("warm", "Sync", 4))]),
    );
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    assert_eq!(
        story.entry(&bad).unwrap().reason,
        Some(RejectedReason::HookFailed)
    );
    story.wait("pinned", |story| story.runs("v2"));
    story.end();
    assert_eq!(story.ran(), counts(&[("warm", "Sync", 1)]));
}

#[test]
fn what_fails_after_the_verdict_is_told_and_takes_nothing_back() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let smoke = failing(hook("smoke", "PostSync", 2));
    let good = story.push("Release 3", &and(release("v3"), &[smoke]));
    story.wait("told", |story| {
        story.condition("HookFailed") == ("True".into(), "PostSync".into())
    });
    story.end();
    assert_eq!(story.state_of(&good), VerdictState::Verified);
    assert!(story.is_ready() && story.runs("v3"));
    assert_eq!(story.ran(), counts(&[("smoke", "PostSync", 1)]));
}

#[test]
fn what_runs_after_a_rejection_does_not_keep_the_pin_waiting() {
    let mut story = Story::new(&on_rejected("Pin"), &none());
    story.verified_v2();
    let bad = story.push(
        "Release 3",
        &and(release("v3-bad"), &[hook("alarm", "SyncFail", 120)]),
    );
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    let rejected = story.world.now();
    story.wait("pinned", |story| story.runs("v2"));
    let took = story.world.now().duration_since(rejected).as_secs();
    assert!(took <= 5, "pinned after {took} s");
    story.wait("the alarm", |story| is_complete(&story.job("alarm")));
    story.end();
    assert_eq!(story.ran(), counts(&[("alarm", "SyncFail", 1)]));
    assert!(story.runs("v2"));
}

#[test]
fn the_newest_commit_ends_the_hook_of_the_one_before() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let stuck = json!({"generateName": "migrate-", "annotations": {"argocd.argoproj.io/hook": "PreSync"}});
    let mut job = hook("migrate", "PreSync", 100_000);
    job["metadata"] = stuck;
    let middle = story.push_files("Release 3", |files| {
        with(files, &release("v3")).with("shop/migrate.yaml", &job.to_string())
    });
    let running = |story: &Story| -> Vec<String> {
        let jobs = story.world.store().commits_since(0);
        let mut there: BTreeMap<String, bool> = BTreeMap::new();
        for commit in jobs.filter(|commit| commit.resource.kind == "Job") {
            let object = commit.after.as_deref().or(commit.before.as_deref());
            let name = object
                .and_then(|job| job["metadata"]["name"].as_str())
                .unwrap_or_default();
            let ended = commit.after.as_deref().is_none_or(is_complete);
            there.insert(name.to_owned(), !ended);
        }
        there
            .into_iter()
            .filter(|(_, runs)| *runs)
            .map(|(name, _)| name)
            .collect()
    };
    story.wait("the hook runs", |story| running(story).len() == 1);
    job["spec"]["template"]["metadata"]["annotations"]["sim.tidegate.io/job-seconds"] = json!("5");
    let newest = story.push_files("Release 4", |files| {
        with(files, &release("v4")).with("shop/migrate.yaml", &job.to_string())
    });
    story.wait("verified", |story| {
        assert!(running(story).len() <= 1, "two migrations at once");
        story.state_of(&newest) == VerdictState::Verified && story.runs("v4")
    });
    assert_eq!(story.state_of(&middle), VerdictState::Superseded);
    assert!(!story.images_ever().contains(&json!("shop:v3")));
    story.end();
    assert_eq!(
        story.ran().len(),
        2,
        "one Job for each commit, with a name of its own"
    );
}

/// Contract 5.2: the schema of a database does not go back.
#[test]
fn a_commit_that_cannot_go_back_is_held_and_git_is_left_alone() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let migrate = annotated(hook("migrate", "PreSync", 3), "tidegate.io/on-rejected", "Hold");
    let bad = story.push("Release 3", &and(release("v3-bad"), &[migrate]));
    story.wait("rejected", |story| story.state_of(&bad) == VerdictState::Rejected);
    story.run_for(120);
    assert_eq!(story.delivery().status.why, Some(TargetReason::Held));
    assert_eq!(story.image(), "shop:v3-bad");
    // one without it, and just as bad, must not go back behind it either
    let again = story.push_files("Release 4", |files| {
        with(files.without("shop/job-migrate.yaml"), &release("v4-bad"))
    });
    story.wait("rejected", |story| {
        story.state_of(&again) == VerdictState::Rejected
    });
    story.run_for(60);
    assert_eq!(story.image(), "shop:v4-bad");
    assert_eq!(story.repository().pushes(), []);
    let fix = story.push("A fix", &release("v5"));
    story.wait("verified", |story| {
        story.state_of(&fix) == VerdictState::Verified && story.runs("v5")
    });
    story.end();
}

#[test]
fn a_job_that_is_there_and_no_hook_is_not_touched() {
    let mut story = Story::new(&json!({}), &none());
    story.verified_v2();
    let mut theirs = hook("migrate", "PreSync", 1);
    theirs["metadata"] = json!({"name": "migrate"});
    story.create(&theirs);
    story.push("Release 3", &and(release("v3"), &[hook("migrate", "PreSync", 3)]));
    story.wait("refused", |story| story.condition("Ready").1 == "ApplyFailed");
    story.run_for(120);
    assert!(story.runs("v2"));
    let message = story.entry_of_head().message;
    assert!(
        message.contains("job-migrate.yaml:1:1: Job") && message.contains("not as a hook"),
        "{message}"
    );
    let uid = story.job("migrate")["metadata"]["uid"].clone();
    assert!(uid.is_string());
}

/// What is the same however a story goes.
#[derive(Debug, PartialEq)]
struct Ending {
    states: Vec<VerdictState>,
    ran: BTreeMap<(String, String), usize>,
    jobs: Vec<String>,
    runs_v2: bool,
}

/// A good commit with hooks, and a bad one.
fn play(faults: &FaultPlan) -> (Ending, (u32, u32)) {
    let policy = "argocd.argoproj.io/hook-delete-policy";
    let objects = |name: &str| {
        let smoke = annotated(hook("smoke", "PostSync", 2), policy, "HookSucceeded");
        let hooks = [
            hook("migrate", "PreSync", 2),
            hook("warm", "Sync", 2),
            smoke,
            hook("alarm", "SyncFail", 2),
        ];
        and(release(name), &hooks)
    };
    let mut story = Story::with_objects(&on_rejected("Pin"), &objects("v1"), faults);
    let done = |story: &Story, commit: &Oid, phase: &str| {
        story.entry(commit).is_some_and(|entry| {
            let mut of = entry.hooks.iter().filter(|hook| hook.phase.as_str() == phase);
            of.all(|hook| hook.state.as_str() == "Succeeded" && !hook.delete)
        })
    };
    let first = story.head();
    story.wait("v1", |story| {
        story.is_ready() && story.runs("v1") && done(story, &first, "PostSync")
    });
    let before = story.world.stats.writes.len() as u32;
    let good = story.push("Release 2", &objects("v2"));
    story.wait("v2", |story| {
        story.state_of(&good) == VerdictState::Verified && done(story, &good, "PostSync")
    });
    let bad = story.push("Release 3", &objects("v3-bad"));
    story.wait("v3", |story| {
        story.state_of(&bad) == VerdictState::Rejected && story.runs("v2") && done(story, &bad, "SyncFail")
    });
    let writes = (before, story.world.stats.writes.len() as u32);
    story.end();
    let jobs = ["migrate", "warm", "smoke", "alarm"].into_iter();
    let ending = Ending {
        states: [&first, &good, &bad].map(|commit| story.state_of(commit)).into(),
        ran: story.ran(),
        jobs: jobs
            .filter(|name| !story.job(name).is_null())
            .map(str::to_owned)
            .collect(),
        runs_v2: story.runs("v2"),
    };
    (ending, writes)
}

#[test]
fn each_runs_once_whatever_crashes() {
    let (reference, (from, to)) = play(&none());
    assert_eq!(
        reference.ran,
        counts(&[
            ("alarm", "SyncFail", 1),
            ("migrate", "PreSync", 3),
            ("smoke", "PostSync", 2),
            ("warm", "Sync", 3)
        ])
    );
    assert_eq!(reference.jobs, ["migrate", "warm", "alarm"]);
    assert!(from + 20 < to, "{from} {to}");
    let faults = |number: u32| {
        let crash = |at: &CrashAt| RequestFault::Crash {
            at: *at,
            down_ms: 3000,
        };
        let lost = match number % 2 {
            0 => RequestFault::TimeoutAfterEffect,
            _ => RequestFault::Refused(500),
        };
        let faults: Vec<RequestFault> = CrashAt::ALL.iter().map(crash).chain([lost]).collect();
        faults
            .into_iter()
            .map(move |fault| FaultPlan::request(number, fault))
    };
    let plans: Vec<FaultPlan> = (from..to).flat_map(faults).collect();
    each(&plans, |plan| {
        let ending = catch_unwind(AssertUnwindSafe(|| play(plan).0));
        match ending {
            Ok(ending) if ending == reference => String::new(),
            Ok(ending) => format!("{}: {ending:?}", serde_json::to_string(plan).unwrap()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let lines: Vec<&str> = text.lines().take(6).collect();
                format!(
                    "{}: {}",
                    serde_json::to_string(plan).unwrap(),
                    lines.join("\n    ")
                )
            }
        }
    });
}
