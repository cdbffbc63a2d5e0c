//! What upstream's controller did on a real cluster, played with ours: the same states, the same events.
//!
//! `TIDEGATE_SIM_ONLY=NAME` plays one of them, `TIDEGATE_SIM_LOG=1` prints each change that ours made.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]
#![expect(clippy::print_stdout, reason = "what happened, for who asks for it")]

use std::fmt::Write as _;
use std::path::Path;

use jiff::SignedDuration;
use tidegate_engine::Settings;
use tidegate_sim::recording::{Difference, Recording, State, Story, differences, play};

/// So many there are.
const RECORDINGS: usize = 23;

/// A difference that is there, and why.
struct Row {
    /// In which recording; `*` is any.
    recording: &'static str,
    /// What [`Difference::what`] says.
    what: &'static str,
    /// A part of how it was recorded; empty: it was not.
    recorded: &'static str,
    /// A part of how it is with ours; empty: it is not.
    ours: &'static str,
    /// Why it is so.
    why: &'static str,
}

const PROMOTED_WHILE_PAUSED: &str = "a promotion while the Rollout is paused by hand counts once it goes on; upstream forgets it and begins the pause anew";
const WRITTEN_TWICE: &str = "upstream writes the condition again 40 ms later, when it sees its own write";
const RESTARTED: &str = "a restart is over when the last old pod is replaced; upstream says for 30 s more that it goes on, until it looks again";
const REMEMBERED: &str = "annotations that the spec gives are remembered on the canary Ingress, so that they can be taken away again";
const DROPPED: &str = "lost in the recording: upstream's client drops what is more than 25 events";

const INTERVAL: &str = "intervals shorter than one second are one second; upstream measures without a pause";
const TTL: &str = "a run goes when its `ttlStrategy` says; upstream's stayed, because nothing else woke it";

const UP_FIRST: &str =
    "pods that there is room for come first, the old ones go in the next pass; upstream does both in one";

/// The differences that are meant. `docs/compatibility.md` names them; here they are checked, and one that is no longer
/// there fails. Two more are settings, and 0 here: pods of a version that lost its traffic are kept for the
/// propagation time, and counters and messages that follow from them alone are written up to 6 s later. What is so of
/// the states with these settings as delivered is in [`the_same_as_delivered`].
const MEANT: &[Row] = &[
    Row {
        recording: "nginx-several-ingresses",
        what: "Ingress/web-web-canary annotations",
        recorded: "example.test/team",
        ours: "tidegate.io/canary-ingress-annotations",
        why: REMEMBERED,
    },
    Row {
        recording: "nginx-several-ingresses",
        what: "Ingress/web-web2-canary annotations",
        recorded: "example.test/team",
        ours: "tidegate.io/canary-ingress-annotations",
        why: REMEMBERED,
    },
    Row {
        recording: "canary-analysis-fails",
        what: "flutter of Service/canary",
        recorded: "changes 56 times",
        ours: "settles",
        why: "one change of the canary Service after an abort; upstream flips it until the canary is scaled down",
    },
    Row {
        recording: "canary-nginx-abort-retry",
        what: "flutter of Service/canary",
        recorded: "changes 205 times",
        ours: "settles",
        why: "one change of the canary Service after an abort; upstream flips it until the canary is scaled down",
    },
    Row {
        recording: "workload-ref-never",
        what: "event",
        recorded: "",
        ours: "NewReplicaSetCreated Created ReplicaSet web-7457868d9f (revision 1)",
        why: "lost in the recording; the two others of a workloadRef have it",
    },
    Row {
        recording: "invalid-specs",
        what: "event",
        recorded: "",
        ours: " Warning InvalidSpec The Rollout \"web\" is invalid: ",
        why: "field, value and fix of an invalid spec are told in an event; upstream only writes the condition",
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web controllerPause",
        recorded: "",
        ours: "true",
        why: PROMOTED_WHILE_PAUSED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web pauseConditions",
        recorded: "",
        ours: "CanaryPauseStep",
        why: PROMOTED_WHILE_PAUSED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web message",
        recorded: "CanaryPauseStep",
        ours: "manually paused",
        why: PROMOTED_WHILE_PAUSED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web pauseConditions",
        recorded: "CanaryPauseStep",
        ours: "",
        why: PROMOTED_WHILE_PAUSED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web condition Progressing",
        recorded: "ReplicaSetUpdated",
        ours: "ReplicaSetNotAvailable",
        why: WRITTEN_TWICE,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web condition Available",
        recorded: "True",
        ours: "False",
        why: RESTARTED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web condition Healthy",
        recorded: "True",
        ours: "False",
        why: RESTARTED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web condition Progressing",
        recorded: "NewReplicaSetAvailable",
        ours: "ReplicaSetNotAvailable",
        why: RESTARTED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "Rollout/web message",
        recorded: "rollout is restarting",
        ours: "updated replicas are still becoming available",
        why: RESTARTED,
    },
    Row {
        recording: "canary-scale-and-pause",
        what: "event",
        recorded: "",
        ours: "RolloutCompleted",
        why: DROPPED,
    },
    Row {
        recording: "analysis-runs-alone",
        what: "AnalysisRun/retained phase",
        recorded: "Successful",
        ours: "Running",
        why: INTERVAL,
    },
    Row {
        recording: "analysis-runs-alone",
        what: "AnalysisRun/ttl phase",
        recorded: "Successful",
        ours: "",
        why: TTL,
    },
    Row {
        recording: "analysis-runs-alone",
        what: "AnalysisRun/ttl spec",
        recorded: "secondsAfterCompletion",
        ours: "",
        why: TTL,
    },
    Row {
        recording: "analysis-runs-alone",
        what: "state",
        recorded: "",
        ours: "AnalysisRun/job-fails phase: Failed",
        why: TTL,
    },
    Row {
        recording: "scale-subresource",
        what: "event",
        recorded: "Scaled up ReplicaSet web-5b7b5bfbd4 (revision 2) from 3 to 6",
        ours: "",
        why: UP_FIRST,
    },
    Row {
        recording: "scale-subresource",
        what: "event",
        recorded: "",
        ours: "Scaled up ReplicaSet web-5b7b5bfbd4 (revision 2) from ",
        why: UP_FIRST,
    },
];

/// Without what ours does later than upstream on purpose.
fn at_once() -> Settings {
    Settings {
        propagation: SignedDuration::ZERO,
        counters_delay: SignedDuration::ZERO,
        ..Settings::default()
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recordings")
}

fn all() -> Vec<Recording> {
    let only = std::env::var("TIDEGATE_SIM_ONLY").unwrap_or_default();
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".jsonl")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    assert_eq!(names.len(), RECORDINGS);
    names.retain(|name| name.contains(&only));
    let read = |name: &String| {
        let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
        Recording::read(name, &text).unwrap()
    };
    names.iter().map(read).collect()
}

fn part(part: &str, whole: &str) -> bool {
    if part.is_empty() {
        whole.is_empty()
    } else {
        whole.contains(part)
    }
}

impl Row {
    fn is(&self, recording: &str, difference: &Difference) -> bool {
        (self.recording == recording || self.recording == "*")
            && self.what == difference.what
            && part(self.recorded, &difference.recorded)
            && part(self.ours, &difference.ours)
    }
}

#[test]
fn the_same_states_and_events() {
    let mut report = String::new();
    let mut used = vec![false; MEANT.len()];
    let all = all();
    for recording in &all {
        let name = &recording.name;
        let left: Vec<Difference> = played(recording, at_once())
            .into_iter()
            .filter(|difference| {
                let mut known = false;
                for (row, used) in MEANT.iter().zip(&mut used) {
                    if row.is(name, difference) {
                        (known, *used) = (true, true);
                    }
                }
                !known
            })
            .collect();
        report += &told(name, &left);
    }
    for (row, used) in MEANT.iter().zip(used) {
        let played = |name: &str| all.iter().any(|recording| recording.name == name);
        if !used && (played(row.recording) || all.len() == RECORDINGS) {
            let _ = writeln!(
                report,
                "{}: no longer so: {} ({})",
                row.recording, row.what, row.why
            );
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// With the settings as delivered all else is the same: what is left out comes later, or with the next write (messages
/// and conditions of the Rollout, hashes beside weights, desired replicas).
#[test]
fn the_same_as_delivered() {
    let late = |what: &str| {
        let counted =
            what.ends_with(" message") || what.ends_with(" weights") || what.contains(" condition ");
        counted && what.starts_with("Rollout/")
            || what.starts_with("ReplicaSet/")
            || what.starts_with("Pods ")
    };
    let mut report = String::new();
    for recording in all() {
        let meant = |what: &str| {
            MEANT
                .iter()
                .any(|row| row.recording == recording.name && row.what == what)
        };
        let compared = |what: &str| !late(what) && !meant(what);
        let theirs = recording.story().only(compared);
        let (ours, _) = play(&recording, Settings::default(), false).unwrap();
        report += &told(&recording.name, &differences(&theirs, &ours.only(compared)));
    }
    assert!(report.is_empty(), "{report}");
}

/// Plays a recording.
fn played(recording: &Recording, settings: Settings) -> Vec<Difference> {
    let theirs = recording.story();
    let log = std::env::var_os("TIDEGATE_SIM_LOG").is_some();
    let (ours, lines) = play(recording, settings, log).unwrap();
    if log {
        println!("{}", lines.join("\n"));
        show("RECORDED", &theirs);
        show("OURS", &ours);
    }
    differences(&theirs, &ours)
}

fn told(name: &str, differences: &[Difference]) -> String {
    differences.iter().fold(String::new(), |mut text, difference| {
        let _ = writeln!(text, "{name} {difference}");
        text
    })
}

fn show(title: &str, story: &Story) {
    println!("--- {title}");
    let mut before: Option<&State> = None;
    for state in &story.states {
        println!("{:#} for {:#}", state.at, state.lasted);
        for (name, value) in &state.facts {
            if before.and_then(|state| state.facts.get(name)) != Some(value) {
                println!("      {name}: {value}");
            }
        }
        before = Some(state);
    }
    for event in &story.events {
        println!("{:#} {} {} {}", event.at, event.about, event.level, event.says);
    }
}
