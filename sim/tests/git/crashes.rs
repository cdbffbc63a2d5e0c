//! Everything that a rejection does goes wrong at each place where it can: it ends as it does without (G2).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;
use tidegate_crds::VerdictState;
use tidegate_gitsync::remote::StatusState;
use tidegate_sim::faults::{CrashAt, FaultPlan, RequestFault};
use tidegate_sim::scenario::{differences, end_state};

use crate::each::each;
use crate::story::{Story, based, on_rejected, release};

/// How a story ended.
#[derive(Debug)]
struct Ending {
    /// The writes of the rejection and of what follows, to the API server and outside: first and last number.
    writes: [(u32, u32); 2],
    end: BTreeMap<String, Value>,
    /// What was counted outside.
    outside: Outside,
}

#[derive(Debug, PartialEq)]
struct Outside {
    pushes: usize,
    pull_requests: usize,
    commits: usize,
    /// What was said of the bad commit, and of the one that took it back, once that was known.
    told: [Vec<StatusState>; 2],
}

fn numbers(story: &Story) -> [u32; 2] {
    [
        story.world.stats.writes.len() as u32,
        story.world.stats.outside.len() as u32,
    ]
}

/// `RevertCommit` where all objects are in a base outside of the folder, so that a pull request takes it back.
const SHARED: &str = "shared";

fn play(action: &str, faults: &FaultPlan) -> Ending {
    let spec = if action == SHARED { "RevertCommit" } else { action };
    let mut story = Story::new(&on_rejected(spec), faults);
    let push = |story: &mut Story, name: &str, objects: &[Value]| match action {
        SHARED => story.push_files(name, |_| based(objects)),
        _ => story.push(name, objects),
    };
    let good = story.verified(|story| push(story, "Release 2", &release("v2")));
    story.wait("told", |story| {
        story.told(&good).last() == Some(&StatusState::Success)
    });
    let before = numbers(&story);
    let bad = push(&mut story, "Release 3", &release("v3-bad"));
    story.wait("taken back", |story| {
        story.state_of(&bad) == VerdictState::Rejected
            && story.runs("v2")
            && story
                .entry(&bad)
                .is_some_and(|entry| entry.revert.is_some_and(|revert| revert.done))
    });
    if action != "RevertCommit" {
        let now = story.world.now();
        story.repository().merge(1, now).unwrap();
    }
    let back = story.head();
    story.wait("Ready again", |story| story.is_ready() && story.runs("v2"));
    let [writes, outside] = numbers(&story);
    story.end();
    let told = [&bad, &back].map(|commit| {
        let told = story.told(commit).into_iter();
        told.filter(|state| *state != StatusState::Pending).collect()
    });
    let repository = story.repository();
    Ending {
        writes: [(before[0], writes), (before[1], outside)],
        outside: Outside {
            pushes: repository.pushes().len(),
            pull_requests: repository.pull_requests().len(),
            commits: repository.commits(),
            told,
        },
        end: end_state(&story.world),
    }
}

/// Plays it with faults; what is different then.
fn compare(reference: &Ending, action: &str, faults: &FaultPlan) -> String {
    let label = || format!("{action} {}", serde_json::to_string(faults).unwrap());
    let ending = match catch_unwind(AssertUnwindSafe(|| play(action, faults))) {
        Ok(ending) => ending,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let lines: Vec<&str> = text.lines().take(6).collect();
            return format!("{}: {}", label(), lines.join("\n    "));
        }
    };
    let mut wrong = differences(&reference.end, &ending.end);
    // Left on a ReplicaSet without pods it means nothing.
    wrong.retain(|line| !line.contains("scale-down-deadline"));
    if reference.outside != ending.outside {
        wrong.push(format!("{:?} instead of {:?}", ending.outside, reference.outside));
    }
    if wrong.is_empty() {
        String::new()
    } else {
        format!("{}: {}", label(), wrong.join("\n    "))
    }
}

/// Plays these actions with each write of the rejection going wrong in these ways.
fn each_write(
    actions: &[&'static str],
    of_api: impl Fn(u32) -> Vec<RequestFault>,
    outside: impl Fn(u32) -> Vec<RequestFault>,
) {
    let mut items = Vec::new();
    for action in actions.iter().copied() {
        let reference = Arc::new(play(action, &FaultPlan::default()));
        let [api, out] = reference.writes;
        assert!(api.0 + 10 < api.1 && out.0 + 3 <= out.1, "{:?}", reference.writes);
        let plans = (api.0..api.1).flat_map(|number| {
            of_api(number)
                .into_iter()
                .map(move |fault| FaultPlan::request(number, fault))
        });
        let plans = plans.chain((out.0..out.1).flat_map(|number| {
            outside(number)
                .into_iter()
                .map(move |fault| FaultPlan::outside(number, fault))
        }));
        items.extend(plans.map(|plan| (Arc::clone(&reference), action, plan)));
    }
    each(&items, |(reference, action, plan)| {
        compare(reference, action, plan)
    });
}

/// What the controller knows of Rollouts, of Deliveries and of the rest is late.
#[test]
fn slow_watches() {
    let mut items = Vec::new();
    for action in ["RevertPR", "RevertCommit"] {
        let reference = Arc::new(play(action, &FaultPlan::default()));
        items.push((
            Arc::clone(&reference),
            action,
            FaultPlan::slow_watches(200, 2_000),
        ));
        for kind in ["Rollout", "ReplicaSet", "AnalysisRun", "Delivery"] {
            let mut plan = FaultPlan::default();
            plan.watch_delays.insert(kind.to_owned(), (1_000, 4_000));
            items.push((Arc::clone(&reference), action, plan));
        }
    }
    each(&items, |(reference, action, plan)| {
        compare(reference, action, plan)
    });
}

/// Many faults at once, from seeds. `TIDEGATE_SIM_RUNS` plays more of them, `TIDEGATE_SIM_SEED` begins elsewhere.
#[test]
fn swarm() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (first, runs) = (number("TIDEGATE_SIM_SEED", 1), number("TIDEGATE_SIM_RUNS", 60));
    let references = ["RevertPR", "RevertCommit"].map(|action| (action, play(action, &FaultPlan::default())));
    // the last found a canary Service that moved before the weight did
    let seeds: Vec<u64> = (first..first + runs).chain([1152]).collect();
    each(&seeds, |seed| {
        let (action, reference) = &references[*seed as usize % 2];
        // Two that lead at once may undo what the other does.
        let faults = FaultPlan {
            second_leaders: Vec::new(),
            ..FaultPlan::swarm(*seed)
        };
        compare(reference, action, &faults)
    });
}

#[test]
fn what_happens_without_faults() {
    for (action, pull_requests, commits) in [("RevertPR", 1, 5), ("RevertCommit", 0, 4), (SHARED, 1, 5)] {
        let ending = play(action, &FaultPlan::default());
        let told = [vec![StatusState::Failure], vec![StatusState::Success]];
        let outside = Outside {
            pushes: 1,
            pull_requests,
            commits,
            told,
        };
        assert_eq!(ending.outside, outside);
    }
}

#[test]
fn a_crash_at_every_write() {
    let crashes = |_| -> Vec<RequestFault> {
        let crash = |at: &CrashAt| RequestFault::Crash {
            at: *at,
            down_ms: 3000,
        };
        CrashAt::ALL.iter().map(crash).collect()
    };
    each_write(&["RevertPR", "RevertCommit", SHARED], crashes, crashes);
}

#[test]
fn every_write_refused_or_unanswered() {
    let faults = [
        RequestFault::Refused(409),
        RequestFault::Refused(429),
        RequestFault::Refused(500),
        RequestFault::TimeoutAfterEffect,
        RequestFault::Meddling,
    ];
    each_write(
        &["RevertPR", "RevertCommit"],
        |number| {
            vec![
                faults[number as usize % 5].clone(),
                faults[(number as usize + 2) % 5].clone(),
            ]
        },
        |_| vec![RequestFault::Refused(503), RequestFault::TimeoutAfterEffect],
    );
}
