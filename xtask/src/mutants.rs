//! `cargo xtask mutants`: takes guards away, one at a time, and runs the simulator: a scenario has to fail for each.

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
    file: &'static str,
    /// Is there once.
    code: &'static str,
    instead: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        guard: "pods are kept until the data plane knows that their traffic is gone",
        file: "engine/src/draft.rs",
        code: "match cx.unsettled_until() {",
        instead: "match cx.unsettled_until().filter(|_| false) {",
    },
    Mutant {
        guard: "no version becomes smaller than its traffic needs",
        file: "engine/src/canary/sizes.rs",
        code: "let to = to.max(needed.min(rs.spec_replicas));",
        instead: "let to = to.max(needed.min(0));",
    },
    Mutant {
        guard: "weight of a step only once its pods are available",
        file: "engine/src/canary/weight.rs",
        code: "&& (self.full || self.at_wanted())",
        instead: "",
    },
    Mutant {
        guard: "weight back to stable only as far as its pods can carry it",
        file: "engine/src/canary/weight.rs",
        code: "|| !answered || self.stable_carries(total - goal) {",
        instead: "|| !answered || goal < total {",
    },
    Mutant {
        guard: "a Service is pointed at a version that can serve",
        file: "engine/src/services.rs",
        code: "if ready || unconditional {",
        instead: "if ready || unconditional || !rs.hash.is_empty() {",
    },
    Mutant {
        guard: "after an abort the canary Service moves only when no weight goes to it",
        file: "engine/src/services.rs",
        code: "cx.live.at_most() == 0 && served",
        instead: "served",
    },
    Mutant {
        guard: "the canary Service leaves an intermediate version only without weight",
        file: "engine/src/services.rs",
        code: "if cx.live.at_most() > 0 {",
        instead: "if cx.live.at_most() > 1000 {",
    },
    Mutant {
        guard: "what goes to an intermediate version goes back to stable before the next one gets any",
        file: "engine/src/canary/weight.rs",
        code: "&& !to.is_empty() && to != self.cx.hash",
        instead: "&& !to.is_empty() && to == self.cx.hash",
    },
    Mutant {
        guard: "a canary that goes on is not made smaller than its share",
        file: "engine/src/routing.rs",
        code: "needed = share(most).min(asked_for.unwrap_or(i32::MAX));",
        instead: "needed = share(most).min(if cx.is_new(rs) && !canary.aborting { 0 } else { asked_for.unwrap_or(i32::MAX) });",
    },
    Mutant {
        guard: "a route that matches goes before the pods that it leads to",
        file: "engine/src/routing.rs",
        code: "if matched(cx) && rs.hash",
        instead: "if matched(cx) && needed > 1000 && rs.hash",
    },
    Mutant {
        guard: "pods that do not serve go before those that do",
        file: "engine/src/replicas.rs",
        code: "[|side| side.available, |side| side.desired",
        instead: "[|side| side.spec, |side| side.desired",
    },
    Mutant {
        guard: "a settled version becomes as small as the Rollout",
        file: "engine/src/canary/sizes.rs",
        code: "&& canary < rs.spec_replicas\n",
        instead: "&& canary < rs.spec_replicas && !cx.fully_promoted()\n",
    },
    Mutant {
        guard: "a canary that is meant to have no pods is not waited for",
        file: "engine/src/canary/weight.rs",
        code: "if self.wanted().0 > 0 {",
        instead: "if self.wanted().0 >= 0 {",
    },
    Mutant {
        guard: "an abort is one way: the rejected version does not grow again",
        file: "engine/src/canary/sizes.rs",
        code: "&& (!self.aborting || cx.fully_promoted()) {",
        instead: "{",
    },
    Mutant {
        guard: "an analysis step ends when its run is successful",
        file: "engine/src/canary.rs",
        code: "StepKind::Analysis(_) => return verdict.step_successful(),",
        instead: "StepKind::Analysis(_) => return true,",
    },
    Mutant {
        guard: "a pause ends by its time or by a client",
        file: "engine/src/canary.rs",
        code: "until.is_some_and(|until| draft.due(cx, until))\n    }\n\n    /// Why the new version",
        instead: "until.is_none_or(|until| draft.due(cx, until))\n    }\n\n    /// Why the new version",
    },
    Mutant {
        guard: "blue-green switches when all pods are available",
        file: "engine/src/bluegreen.rs",
        code: "if !saturated(new, cx.size) || self.new_size()",
        instead: "if cx.size < 0 || self.new_size()",
    },
    Mutant {
        guard: "blue-green switches after pause and analysis",
        file: "engine/src/bluegreen.rs",
        code: "if self.gates_open(verdict) {",
        instead: "if self.gates_open(verdict) || self.active.is_some() {",
    },
    Mutant {
        guard: "a Service that lost its selector is repaired, and no reason to promote",
        file: "engine/src/bluegreen.rs",
        code: "if !self.active_hash().is_empty() || cx.stable_hash().is_empty() {",
        instead: "if !self.active_hash().is_empty() || draft.status.stable_rs.is_some() {",
    },
    Mutant {
        guard: "the old colour is kept for its delay",
        file: "engine/src/bluegreen.rs",
        code: "_ if delay.is_zero() => true,",
        instead: "_ if delay.is_zero() || rs.spec_replicas > 0 => true,",
    },
    Mutant {
        guard: "a run that was made before a crash is found again",
        file: "engine/src/runs.rs",
        code: "let newer = unrecorded(cx, role).filter(other);",
        instead: "let newer = unrecorded(cx, role).filter(other).filter(|_| false);",
    },
    Mutant {
        guard: "after a retry the runs of the attempt before do not count",
        file: "engine/src/runs.rs",
        code: "!promotion::retried(cx) || run",
        instead: "cx.size >= 0 || run",
    },
    Mutant {
        guard: "a full promotion after an abort takes it away",
        file: "engine/src/promotion.rs",
        code: "(status.abort != Some(true) || status.aborted_at.is_some())",
        instead: "status.abort != Some(true)",
    },
    Mutant {
        guard: "an aborted version gets nothing before the abort is taken back",
        file: "engine/src/promotion.rs",
        code: "full(cx) && cx.status().abort == Some(true) && !cx.fully_promoted()",
        instead: "full(cx) && cx.status().abort == Some(true) && cx.size < 0",
    },
    Mutant {
        guard: "a run that was ended before it was through vouches for nothing",
        file: "engine/src/runs.rs",
        code: "AnalysisPhase::Successful && !was_ended(run)",
        instead: "AnalysisPhase::Successful",
    },
    Mutant {
        guard: "runs of other steps do not count",
        file: "engine/src/runs.rs",
        code: "            && !of_other_steps(run)\n",
        instead: "",
    },
    Mutant {
        guard: "an analysis before the switch begins with the pods of this attempt",
        file: "engine/src/bluegreen.rs",
        code: "verdict.pre_begun() || self.new_ready()",
        instead: "cx.size > 0 || self.new_ready()",
    },
    Mutant {
        guard: "what is held gets no pods when the Rollout is scaled",
        file: "engine/src/canary/sizes.rs",
        code: "if most >= canary {",
        instead: "if most >= 0 {",
    },
    Mutant {
        guard: "what is held gets no more requests",
        file: "engine/src/canary/weight.rs",
        code: "            && !self.cx.spec_paused()\n",
        instead: "",
    },
    Mutant {
        guard: "a restart keeps the last pod of a version that has requests",
        file: "engine/src/restart.rs",
        code: "if *left <= 1 {",
        instead: "if *left == 0 {",
    },
    Mutant {
        guard: "a ReplicaSet is known by its name, whatever its template became",
        file: "engine/src/context.rs",
        code: "rs.hash == identity.hash && rs.name == named",
        instead: "rs.digest == identity.digest && rs.name == named",
    },
    Mutant {
        guard: "counters above the size of a version count nobody",
        file: "engine/src/observed.rs",
        code: "self.available.min(self.spec_replicas)",
        instead: "self.available",
    },
    Mutant {
        guard: "a preview that is to shrink is not switched to",
        file: "engine/src/bluegreen.rs",
        code: " || self.new_size() < cx.size {",
        instead: " {",
    },
];

/// Test programs, the quick ones first.
const PROGRAMS: [&str; 4] = ["scenarios", "mended", "swarm", "faults"];

/// `cargo xtask mutants`
#[derive(Debug, Args)]
pub(crate) struct Mutants {
    /// Only guards whose description contains this.
    filter: Option<String>,
}

/// Prints a line of Markdown for each guard; one that nothing misses is an error.
pub(crate) fn run(arguments: &Mutants) -> Result<()> {
    let copy = copy()?;
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let mut missed = 0;
    println!("| without this guard | fails | for example | because of |\n| --- | --- | --- | --- |");
    for mutant in MUTANTS.iter().filter(|mutant| mutant.guard.contains(filter)) {
        let file = copy.join(mutant.file);
        let text = fs::read_to_string(&file)?;
        fs::write(&file, text.replace(mutant.code, mutant.instead))?;
        let found = first_failure(&copy)?;
        fs::write(&file, text)?;
        if let Some((program, example, rules)) = found {
            println!("| {} | `{program}` | `{example}` | {rules} |", mutant.guard);
        } else {
            missed += 1;
            println!("| {} | nothing | | |", mutant.guard);
        }
    }
    ensure!(
        missed == 0,
        "{missed} guards that no scenario needs: remove them, or add scenarios"
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
    for program in PROGRAMS {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(sources)
            // Not ours: cargo takes equal paths within a workspace for equal packages.
            .env("CARGO_TARGET_DIR", sources.join("target"))
            .args(["test", "--quiet", "--package", "tidegate-sim", "--test", program])
            .stdin(Stdio::null())
            .output()
            .context("cannot run cargo")?;
        if output.status.success() {
            continue;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let example = text
            .lines()
            .find_map(|line| line.split_once(" (seed ").map(|(name, _)| name.trim()));
        let example = example.with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!(
                "{program} failed without a scenario:\n{}",
                process::tail(&said, 30)
            )
        })?;
        return Ok(Some((program, example.to_owned(), rules(&text))));
    }
    Ok(None)
}

/// Invariants that a report names: `S1`, `L4`.
fn rules(report: &str) -> String {
    let is_rule = |word: &&str| {
        word.strip_prefix(['S', 'L'])
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

    /// Its last column says which invariant misses which guard.
    #[test]
    fn every_guard_is_on_the_page_of_invariants() {
        let page = fs::read_to_string(process::workspace().join("docs/invariants.md")).unwrap();
        for mutant in MUTANTS {
            assert!(page.contains(mutant.guard), "{}", mutant.guard);
        }
    }

    #[test]
    fn rules_are_found_in_a_report() {
        assert_eq!(rules("a-b (seed 7):\n  S12 at 3 s: L4, SX\n  S12"), "L4, S12");
    }
}
