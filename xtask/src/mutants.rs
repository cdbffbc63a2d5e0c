//! `cargo xtask mutants`: takes guards away, one at a time: a test of the engine or a scenario of the simulator has to fail for each.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::process;

/// A guard, and the code without it.
struct Mutant {
    /// What the guard is for.
    guard: &'static str,
    /// The fault that was there once without it, by its number in the list of those; empty where there was none.
    fault: &'static str,
    file: &'static str,
    /// Is there once.
    code: &'static str,
    instead: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        guard: "pods are kept until the data plane knows that their traffic is gone",
        fault: "",
        file: "engine/src/drain.rs",
        code: "match cx.unsettled_until() {",
        instead: "match cx.unsettled_until().filter(|_| false) {",
    },
    Mutant {
        guard: "no version becomes smaller than its traffic needs",
        fault: "",
        file: "engine/src/canary/scaling.rs",
        code: "let to = to.max(needed.min(rs.spec_replicas));",
        instead: "let to = to.max(needed.min(0));",
    },
    Mutant {
        guard: "weight of a step only once its pods are available",
        fault: "T4",
        file: "engine/src/canary/weight.rs",
        code: "&& (self.full || self.at_wanted())",
        instead: "",
    },
    Mutant {
        guard: "weight back to stable only as far as its pods can carry it",
        fault: "",
        file: "engine/src/canary/weight.rs",
        code: "|| !answered || self.stable_carries(total - goal) {",
        instead: "|| !answered || goal < total {",
    },
    Mutant {
        guard: "a Service is pointed at a version that can serve",
        fault: "",
        file: "engine/src/services.rs",
        code: "if ready || unconditional {",
        instead: "if ready || unconditional || !rs.hash.is_empty() {",
    },
    Mutant {
        guard: "after an abort the canary Service moves only when no weight goes to it",
        fault: "",
        file: "engine/src/services.rs",
        code: "cx.live.at_most() == 0 && served",
        instead: "served",
    },
    Mutant {
        guard: "the canary Service leaves an intermediate version only without weight",
        fault: "",
        file: "engine/src/services.rs",
        code: "if cx.live.at_most() > 0 {",
        instead: "if cx.live.at_most() > 1000 {",
    },
    Mutant {
        guard: "what goes to an intermediate version goes back to stable before the next one gets any",
        fault: "T5",
        file: "engine/src/canary/weight.rs",
        code: "&& !to.is_empty() && to != self.cx.hash",
        instead: "&& !to.is_empty() && to == self.cx.hash",
    },
    Mutant {
        guard: "a canary that goes on is not made smaller than its share",
        fault: "T3",
        file: "engine/src/routing.rs",
        code: "needed = share(most).min(asked_for.map_or(i32::MAX, |pods| pods.max(1)));",
        instead: "needed = share(most).min(if cx.is_new(rs) && !canary.aborting { 0 } else { asked_for.map_or(i32::MAX, |pods| pods.max(1)) });",
    },
    Mutant {
        guard: "a route that matches goes before the pods that it leads to",
        fault: "T8",
        file: "engine/src/routing.rs",
        code: "if matched(cx) && rs.hash",
        instead: "if matched(cx) && needed > 1000 && rs.hash",
    },
    Mutant {
        guard: "pods that do not serve go before those that do",
        fault: "T12",
        file: "engine/src/replicas.rs",
        code: "[|side| side.available, |side| side.desired",
        instead: "[|side| side.spec, |side| side.desired",
    },
    Mutant {
        guard: "a settled version becomes as small as the Rollout",
        fault: "T2",
        file: "engine/src/canary/scaling.rs",
        code: "&& canary < rs.spec_replicas\n",
        instead: "&& canary < rs.spec_replicas && !cx.fully_promoted()\n",
    },
    Mutant {
        guard: "a canary that is meant to have no pods is not waited for",
        fault: "T7",
        file: "engine/src/canary/weight.rs",
        code: "if self.wanted().0 > 0 {",
        instead: "if self.wanted().0 >= 0 {",
    },
    Mutant {
        guard: "an abort is one way: the rejected version does not grow again",
        fault: "",
        file: "engine/src/canary/scaling.rs",
        code: "&& (!self.aborting || cx.fully_promoted()) {",
        instead: "{",
    },
    Mutant {
        guard: "an analysis step ends when its run is successful",
        fault: "",
        file: "engine/src/canary.rs",
        code: "return verdict.step_successful();",
        instead: "return true;",
    },
    Mutant {
        guard: "a pause ends by its time or by a client",
        fault: "",
        file: "engine/src/canary.rs",
        code: "until.is_some_and(|until| draft.due(cx, until))\n    }\n\n    /// Why the new version",
        instead: "until.is_none_or(|until| draft.due(cx, until))\n    }\n\n    /// Why the new version",
    },
    Mutant {
        guard: "blue-green switches when all pods are available",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "if !saturated(new, cx.size) || self.new_size()",
        instead: "if cx.size < 0 || self.new_size()",
    },
    Mutant {
        guard: "blue-green switches after pause and analysis",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "if self.gates_open(verdict) {",
        instead: "if self.gates_open(verdict) || self.active.is_some() {",
    },
    Mutant {
        guard: "a Service that lost its selector is repaired, and no reason to promote",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "if !self.active_hash().is_empty() || cx.stable_hash().is_empty() {",
        instead: "if !self.active_hash().is_empty() || draft.status.stable_rs.is_some() {",
    },
    Mutant {
        guard: "the old colour is kept for its delay",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "_ if delay.is_zero() => true,",
        instead: "_ if delay.is_zero() || rs.spec_replicas > 0 => true,",
    },
    Mutant {
        guard: "a run that was made before a crash is found again",
        fault: "",
        file: "engine/src/runs.rs",
        code: "let newer = unrecorded(cx, role).filter(other);",
        instead: "let newer = unrecorded(cx, role).filter(other).filter(|_| false);",
    },
    Mutant {
        guard: "after a retry the runs of the attempt before do not count",
        fault: "C1",
        file: "engine/src/runs.rs",
        code: "!cx.retried() || run",
        instead: "cx.size >= 0 || run",
    },
    Mutant {
        guard: "a full promotion after an abort takes it away",
        fault: "C2",
        file: "engine/src/promotion.rs",
        code: "(status.abort != Some(true) || status.aborted_at.is_some())",
        instead: "status.abort != Some(true)",
    },
    Mutant {
        guard: "an aborted version gets nothing before the abort is taken back",
        fault: "",
        file: "engine/src/promotion.rs",
        code: "full(cx) && cx.status().abort == Some(true) && !cx.fully_promoted()",
        instead: "full(cx) && cx.status().abort == Some(true) && cx.size < 0",
    },
    Mutant {
        guard: "a run that was ended before it was through vouches for nothing",
        fault: "C7",
        file: "engine/src/runs.rs",
        code: "AnalysisPhase::Successful && !was_ended(run)",
        instead: "AnalysisPhase::Successful",
    },
    Mutant {
        guard: "runs of other steps do not count",
        fault: "",
        file: "engine/src/runs.rs",
        code: "            && of_these_steps(run)\n",
        instead: "",
    },
    Mutant {
        guard: "an analysis before the switch begins with the pods of this attempt",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "verdict.pre_begun() || self.new_ready()",
        instead: "cx.size > 0 || self.new_ready()",
    },
    Mutant {
        guard: "what is held gets no pods when the Rollout is scaled",
        fault: "",
        file: "engine/src/canary/scaling.rs",
        code: "if most >= canary {",
        instead: "if most >= 0 {",
    },
    Mutant {
        guard: "what is held gets no more requests",
        fault: "",
        file: "engine/src/canary/weight.rs",
        code: " && !self.cx.spec_paused()",
        instead: "",
    },
    Mutant {
        guard: "a restart keeps the last pod of a version that has requests",
        fault: "",
        file: "engine/src/restart.rs",
        code: "if *left <= 1 {",
        instead: "if *left == 0 {",
    },
    Mutant {
        guard: "a ReplicaSet is known by its name, whatever its template became",
        fault: "",
        file: "engine/src/context.rs",
        code: "rs.hash == identity.hash && rs.name == named",
        instead: "rs.digest == identity.digest && rs.name == named",
    },
    Mutant {
        guard: "counters above the size of a version count nobody",
        fault: "",
        file: "engine/src/observed.rs",
        code: "self.available.min(self.spec_replicas)",
        instead: "self.available",
    },
    Mutant {
        guard: "a preview that is to shrink is not switched to",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: " || self.new_size() < cx.size {",
        instead: " {",
    },
    Mutant {
        guard: "the Service of another instance's Rollout is left alone",
        fault: "T1",
        file: "controller/src/cache.rs",
        code: "self.is_mine(&rollout.metadata) && !refs::services",
        instead: "self.rollouts.synced() || self.is_mine(&rollout.metadata) && !refs::services",
    },
    Mutant {
        guard: "what does not depend on a refused write goes on",
        fault: "T9",
        file: "controller/src/controller.rs",
        code: "(execution.refused(), &job.key)",
        instead: "(execution.refused().filter(|_| false), &job.key)",
    },
    Mutant {
        guard: "a Deployment that runs beside the Rollout again is told",
        fault: "T11",
        file: "engine/src/workload.rs",
        code: "            tell_that_it_runs(scale_down, workload, cx, draft);",
        instead: "            tell_that_it_runs(ScaleDown::Never, workload, cx, draft);",
    },
    Mutant {
        guard: "going back at once needs no analysis",
        fault: "C12",
        file: "engine/src/bluegreen.rs",
        code: "        if revision::fast_rollback(cx) {\n            return Some(",
        instead: "        if revision::fast_rollback(cx) && cx.size < 0 {\n            return Some(",
    },
    Mutant {
        guard: "pods have the metadata of stable before they are Healthy",
        fault: "C13",
        file: "engine/src/metadata.rs",
        code: "    had == to_record(of_stable(cx)).as_ref()\n",
        instead: "    cx.size >= 0 || had == to_record(of_stable(cx)).as_ref()\n",
    },
    Mutant {
        guard: "a pause holds up no progress that is complete",
        fault: "C14",
        file: "engine/src/status/progressing.rs",
        code: "if facts.paused && !facts.completed {",
        instead: "if facts.paused {",
    },
    Mutant {
        guard: "the duration of an update begins anew with a retry",
        fault: "C16",
        file: "engine/src/duration.rs",
        code: "if over && rolls && (changed || retried) {",
        instead: "if over && rolls && (changed || retried && cx.size < 0) {",
    },
    Mutant {
        guard: "versions of the same second are told apart by their revisions",
        fault: "C17",
        file: "engine/src/revision.rs",
        code: "(one.created, first(one)) < (other.created, first(other))",
        instead: "(one.created, first(one).min(0)) < (other.created, first(other).min(0))",
    },
    Mutant {
        guard: "the generation of a workload goes with the reference to it",
        fault: "C19",
        file: "engine/src/status.rs",
        code: "    draft.status.workload_observed_generation = workload.map(|w| w.generation.to_string());",
        instead: "    draft.status.workload_observed_generation = workload.map(|w| w.generation.to_string()).or(cx.status().workload_observed_generation.clone());",
    },
    Mutant {
        guard: "no more old versions wait than the limit says",
        fault: "C20",
        file: "engine/src/bluegreen.rs",
        code: "let over = cx.valid.scale_down_limit.is_some_and(|limit| position >= limit);",
        instead: "let over = cx.valid.scale_down_limit.is_some_and(|limit| position >= limit + 99);",
    },
    Mutant {
        guard: "a deadline fires in its time",
        fault: "",
        file: "engine/src/deadline.rs",
        code: "    Some(after(at.timestamp(), cx.valid.deadline))",
        instead: "    Some(after(at.timestamp(), cx.valid.deadline + jiff::SignedDuration::from_secs(3)))",
    },
    Mutant {
        guard: "an old version goes when its delay is over",
        fault: "",
        file: "engine/src/canary/scaling.rs",
        code: "deadline if delay.is_zero() || deadline.is_some_and(|deadline| draft.due(cx, deadline)) => {",
        instead: "deadline if delay.is_zero() || deadline.is_some_and(|deadline| draft.due(cx, crate::time::after(deadline, jiff::SignedDuration::from_secs(5)))) => {",
    },
    Mutant {
        guard: "the rejected version keeps its pods for the delay of an abort",
        fault: "",
        file: "engine/src/canary/scaling.rs",
        code: "            Some(deadline) if draft.due(cx, deadline) => self.lower(rs, to, draft),",
        instead: "            Some(deadline) if draft.due(cx, crate::time::after(deadline, jiff::SignedDuration::from_secs(5))) => self.lower(rs, to, draft),",
    },
    Mutant {
        guard: "an abort outlives a change of strategy",
        fault: "",
        file: "engine/src/promotion.rs",
        code: "    if !stays {\n        status.abort = None;",
        instead: "    if !stays || cx.size >= 0 {\n        status.abort = None;",
    },
    Mutant {
        guard: "a refused run does not wind the deadline up",
        fault: "",
        file: "controller/src/controller.rs",
        code: "            Some(progress) => self.progress.insert(key.clone(), progress.clone()),\n            None => self.progress.remove(key),\n        };\n        let observed = self.cache",
        instead: "            Some(progress) if job.refused == 0 => self.progress.insert(key.clone(), progress.clone()),\n            _ => None,\n        };\n        let observed = self.cache",
    },
    Mutant {
        guard: "what measures or shows a canary waits for its Service",
        fault: "",
        file: "engine/src/canary/view.rs",
        code: "is_none_or(|service| service.selected() == self.cx.hash)",
        instead: "is_none_or(|_| true)",
    },
    Mutant {
        guard: "more requests only once the Service is known everywhere",
        fault: "",
        file: "engine/src/routing.rs",
        code: "&& replaces && !drain::settled(cx, draft)",
        instead: "&& replaces && cx.size < 0",
    },
    Mutant {
        guard: "no pods prove nothing",
        fault: "",
        file: "engine/src/deadline.rs",
        code: "late && cx.size == 0 && !cx.fully_promoted()",
        instead: "late && cx.size < 0",
    },
    Mutant {
        guard: "a promoted version that lost its pods is waited for",
        fault: "",
        file: "engine/src/services.rs",
        code: "let lacks = !canary.aborting && fewer",
        instead: "let lacks = cx.size < 0 && fewer",
    },
    Mutant {
        guard: "a pause that a client went past ends no other",
        fault: "",
        file: "engine/src/paused.rs",
        code: "same && self.step != status.current_step_index",
        instead: "same && self.step != self.step",
    },
    Mutant {
        guard: "a rejected version that is still active goes, whatever came after it",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "if !self.aborting && !rejected {",
        instead: "if !self.aborting {",
    },
    Mutant {
        guard: "the deadline waits for an analysis before the switch",
        fault: "",
        file: "engine/src/deadline.rs",
        code: "Strategy::BlueGreen(_) => measures(status),",
        instead: "Strategy::BlueGreen(_) => false,",
    },
    Mutant {
        guard: "an abort is recorded without a workload",
        fault: "",
        file: "engine/src/context.rs",
        code: ".filter(|_| template.is_null());",
        instead: ".filter(|_| template.is_null() && false);",
    },
    Mutant {
        guard: "pods that are ready answer, before they are available",
        fault: "",
        file: "engine/src/canary/weight.rs",
        code: "rs.hash == to && rs.answering() > 0",
        instead: "rs.hash == to && rs.serving() > 0",
    },
    Mutant {
        guard: "a version that both Services lead to keeps the pods of both",
        fault: "",
        file: "engine/src/routing.rs",
        code: "needed = of_stable.max(if from_canary_service { of_both } else { 0 });",
        instead: "needed = of_stable.max(needed.min(of_both));",
    },
    Mutant {
        guard: "requests go back while the spec is invalid",
        fault: "",
        file: "engine/src/lib.rs",
        code: "= Checked::legible(seen) {",
        instead: "= Checked::legible(seen).filter(|_| false) {",
    },
    Mutant {
        guard: "a share that nobody answers goes back",
        fault: "",
        file: "engine/src/canary/weight.rs",
        code: "self.routed() && self.cx.service(self.spec.canary_service.as_deref()).is_none()",
        instead: "self.routed() && self.cx.size < 0",
    },
    Mutant {
        guard: "a restart takes pods that are not ready",
        fault: "",
        file: "engine/src/restart.rs",
        code: "going = down.into_iter().chain(serving).collect();",
        instead: "down.clear();\n    going = serving;",
    },
    Mutant {
        guard: "a version that comes back is known when its delay has passed",
        fault: "",
        file: "engine/src/revision.rs",
        code: "&& (waits || returns)",
        instead: "&& (waits || returns && cx.size < 0)",
    },
    Mutant {
        guard: "a Deployment is left alone where the Rollout has no pods",
        fault: "",
        file: "engine/src/workload.rs",
        code: "if cx.size == 0 {",
        instead: "if cx.size < 0 {",
    },
    Mutant {
        guard: "an abort that nobody has seen outlives a new template",
        fault: "",
        file: "engine/src/promotion.rs",
        code: "same || cx.status().aborted_at.is_none();",
        instead: "same;",
    },
    Mutant {
        guard: "a run that somebody else made says nothing",
        fault: "",
        file: "engine/src/runs.rs",
        code: "ours.as_ref().is_some_and(|ours| is_made_as(run, ours))",
        instead: "ours.is_some()",
    },
    Mutant {
        guard: "a Service that is refused again and again costs no other writes",
        fault: "",
        file: "engine/src/draft.rs",
        code: "if sent_to_all && !refused_before {",
        instead: "if sent_to_all {",
    },
    Mutant {
        guard: "a pause before the switch waits for the preview Service",
        fault: "",
        file: "engine/src/bluegreen.rs",
        code: "service.is_none_or(shows)",
        instead: "service.is_none_or(|service| shows(service) || true)",
    },
    Mutant {
        guard: "a small stable version gets nothing before its Service is known everywhere",
        fault: "",
        file: "engine/src/routing.rs",
        code: "falls && !drain::settled(cx, draft)",
        instead: "falls && cx.size < 0",
    },
    Mutant {
        guard: "a Service that a Deployment's pods answer stays as it is",
        fault: "",
        file: "engine/src/services.rs",
        code: "let answers = others &&",
        instead: "let answers = cx.size < 0 && others &&",
    },
];

/// Faults that were found once, and that the simulator does not show by taking a guard away, and where they are tested.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "T6",
        "a threshold that is set and not met, whose loss no scenario and no story notices: engine/tests/traffic/tables.rs",
    ),
    (
        "T10",
        "annotations that the spec no longer asks for: traffic/testdata/nginx/no-longer-asked-for.json",
    ),
    (
        "C3",
        "a retry past the checkpoint, which several guards prevent: engine/tests/commands.rs",
    ),
    (
        "C4",
        "an update cancels a restart, with the same end either way: engine/tests/commands.rs",
    ),
    (
        "C5",
        "a status without a step, which no client in a story leaves: engine/tests/traffic/tables.rs",
    ),
    ("C6", "a lost pod is no progress: engine/tests/commands.rs"),
    ("C8", "limits that are no numbers: engine/testdata/validate"),
    ("C9", "differences that are named: docs/compatibility.md"),
    (
        "C10",
        "limits of an analysis that are never reached: plugin/src/lint/metrics.rs",
    ),
    (
        "C11",
        "a first step that needs no pods, which several guards let pass: engine/tests/traffic/tables.rs",
    ),
    ("C15", "templates that Go cannot decode: crds/src/template"),
    (
        "C18",
        "the order of events of one second: controller/src/execute/tests.rs",
    ),
    (
        "C21",
        "late counters: sim/tests/costs.rs, and KNOWN in sim/tests/suite/main.rs",
    ),
];

/// Packages and their test programs, the quick ones first.
const PROGRAMS: [(&str, &str); 11] = [
    ("tidegate-engine", "waits"),
    ("tidegate-engine", "plan"),
    ("tidegate-engine", "commands"),
    ("tidegate-engine", "traffic"),
    ("tidegate-sim", "scenarios"),
    ("tidegate-sim", "mended"),
    ("tidegate-sim", "suite"),
    ("tidegate-sim", "stories"),
    ("tidegate-sim", "random"),
    ("tidegate-sim", "swarm"),
    ("tidegate-sim", "faults"),
];

/// `cargo xtask mutants`
#[derive(Debug, Args)]
pub(crate) struct Mutants {
    /// Only guards whose description contains this.
    filter: Option<String>,
}

/// Prints a line of Markdown for each guard; one whose loss nothing notices is an error.
pub(crate) fn run(arguments: &Mutants) -> Result<()> {
    let copy = copy()?;
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let mut missed = 0;
    println!(
        "| without this guard | once | fails | for example | because of |\n| --- | --- | --- | --- | --- |"
    );
    for mutant in MUTANTS.iter().filter(|mutant| mutant.guard.contains(filter)) {
        let file = copy.join(mutant.file);
        let text = fs::read_to_string(&file)?;
        fs::write(&file, text.replace(mutant.code, mutant.instead))?;
        let found = first_failure(&copy)?;
        fs::write(&file, text)?;
        if let Some((program, example, rules)) = found {
            let Mutant { guard, fault, .. } = mutant;
            println!("| {guard} | {fault} | `{program}` | `{example}` | {rules} |");
        } else {
            missed += 1;
            println!("| {} | {} | nothing | | |", mutant.guard, mutant.fault);
        }
    }
    println!("\n| not shown here | where it is tested |\n| --- | --- |");
    for (fault, tested) in ELSEWHERE {
        println!("| {fault} | {tested} |");
    }
    ensure!(
        missed == 0,
        "nothing noticed the loss of {missed} guards: remove them, or add scenarios"
    );
    Ok(())
}

/// The sources once more, to be changed.
fn copy() -> Result<PathBuf> {
    let (from, to) = (process::workspace(), process::workspace().join("target/mutants"));
    let files = process::output(Command::new("git").current_dir(from).args(["ls-files", "-z"]))?;
    for name in files.split('\0').filter(|name| !name.is_empty()) {
        let (old, new) = (from.join(name), to.join(name));
        if let Some(folder) = new.parent() {
            fs::create_dir_all(folder)?;
        }
        // What has not changed is not built again. A file that was removed without being committed is none.
        match fs::read(&old) {
            Ok(text) if fs::read(&new).ok().as_ref() != Some(&text) => fs::write(&new, text)?,
            _ => {}
        }
    }
    Ok(to)
}

/// The first test program that fails, one of its scenarios, and what was broken.
fn first_failure(sources: &Path) -> Result<Option<(&'static str, String, String)>> {
    for (package, program) in PROGRAMS {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(sources)
            // Not ours: cargo takes equal paths within a workspace for equal packages.
            .env("CARGO_TARGET_DIR", sources.join("target"))
            .args(["test", "--quiet", "--package", package, "--test", program])
            // which stories fail is enough
            .env("TIDEGATE_SIM_SHRINK", "0")
            .stdin(Stdio::null())
            .output()
            .context("cannot run cargo")?;
        if output.status.success() {
            continue;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let example = example(&text, &said).with_context(|| {
            format!(
                "{program} failed without a scenario:\n{}",
                process::tail(&said, 30)
            )
        })?;
        return Ok(Some((program, example, rules(&text))));
    }
    Ok(None)
}

/// What failed first: a scenario, a story by its seed, a test of upstream's, or one of the engine's.
fn example(text: &str, said: &str) -> Option<String> {
    let by_seed = |line: &str| {
        let (name, _) = line.split_once(" (seed ")?;
        Some(name.trim().to_owned())
    };
    let of_random = |line: &str| {
        let (seed, _) = line.strip_prefix("seed ")?.split_once(": ")?;
        Some(format!("seed {seed}"))
    };
    let after_the_count = |line: &str| line.contains(" failed:") || line.contains(" of them:");
    let mut lines = text.lines().chain(said.lines());
    let first = text
        .lines()
        .find_map(by_seed)
        .or_else(|| text.lines().find_map(of_random));
    let counted = first.or_else(|| {
        lines.find(|line| after_the_count(line))?;
        let (name, _) = lines.next()?.split_once(": ")?;
        Some(name.trim().to_owned())
    });
    let test = |line: &str| {
        Some(
            line.strip_prefix("---- ")?
                .strip_suffix(" stdout ----")?
                .to_owned(),
        )
    };
    counted.or_else(|| text.lines().find_map(test))
}

/// Invariants and rules of rest that a report names: `S1`, `L4`, `R6`; `D0` for what time alone had to bring about.
fn rules(report: &str) -> String {
    let is_rule = |word: &&str| {
        word.strip_prefix(['S', 'L', 'R', 'D'])
            .is_some_and(|number| number.parse::<u8>().is_ok())
    };
    let words = report.split(|c: char| !c.is_ascii_alphanumeric());
    let rules: BTreeSet<&str> = words.filter(is_rule).collect();
    rules.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_is_there_once() {
        for mutant in MUTANTS {
            let text = fs::read_to_string(process::workspace().join(mutant.file)).unwrap();
            assert_eq!(
                text.matches(mutant.code).count(),
                1,
                "{}: {}",
                mutant.file,
                mutant.code
            );
        }
    }

    /// It says which invariant notices the loss of which guard.
    #[test]
    fn every_guard_is_on_the_page_of_invariants() {
        let page = fs::read_to_string(process::workspace().join("docs/invariants.md")).unwrap();
        for mutant in MUTANTS {
            assert!(page.contains(mutant.guard), "{}", mutant.guard);
        }
    }

    /// The list of faults that were found once has rows T1 to T12 and C1 to C21.
    #[test]
    fn every_fault_has_a_guard_or_is_tested_elsewhere() {
        let shown: BTreeSet<&str> = MUTANTS
            .iter()
            .map(|mutant| mutant.fault)
            .filter(|f| !f.is_empty())
            .collect();
        assert!(shown.len() >= 18, "{shown:?}");
        let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(fault, _)| *fault).collect();
        let all = (1..=12)
            .map(|n| format!("T{n}"))
            .chain((1..=21).map(|n| format!("C{n}")));
        for fault in all {
            assert_ne!(shown.contains(&*fault), elsewhere.contains(&*fault), "{fault}");
        }
        let place = |word: &&str| word.contains('/');
        for (fault, tested) in ELSEWHERE {
            for file in tested.split([' ', ',']).filter(place) {
                assert!(process::workspace().join(file).exists(), "{fault}: {file}");
            }
        }
    }

    #[test]
    fn what_failed_first_is_found() {
        let found = |text: &str| example(text, "");
        assert_eq!(
            found("x\nnginx-abort (seed 7):\n  S2").as_deref(),
            Some("nginx-abort")
        );
        assert_eq!(found("1 stories\nseed 12: R5: no\n").as_deref(), Some("seed 12"));
        assert_eq!(
            found("2 of 60 failed:\nTestA: waited for it").as_deref(),
            Some("TestA")
        );
        assert_eq!(
            found("\n---- a_weight_waits stdout ----\nassertion failed").as_deref(),
            Some("a_weight_waits")
        );
        assert_eq!(found("take these out of the table"), None);
    }

    #[test]
    fn rules_are_found_in_a_report() {
        assert_eq!(rules("a-b (seed 7):\n  S12 at 3 s: L4, SX\n  S12"), "L4, S12");
    }
}
