//! Analysis: S6, S7.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::facts::{Facts, HASH, Picture, Strategy};
use super::{Judge, Scene};
use crate::actors::{controller_of, is_kind, text, uid_of};
use crate::store::value::Fields as _;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Versions that users got while nothing was to be analysed before that, or by a full promotion: nothing later takes it back.
    passed: BTreeSet<String>,
    /// It has been seen before.
    met: bool,
    /// When the attempt began: a change of template or steps, or a retry. What was made before that measured another one.
    began: Option<Timestamp>,
    /// Uids of runs that ended well, and by themselves.
    ended_well: BTreeSet<String>,
}

impl Memory {
    /// Whether a run says that this attempt is good: it ended by itself, and well.
    fn vouches(&self, run: &Value) -> bool {
        let created: Option<Timestamp> = text(&run["metadata"]["creationTimestamp"]).parse().ok();
        // Times of objects are whole seconds.
        let of_this_attempt = created.map(Timestamp::as_second) >= self.began.map(Timestamp::as_second);
        self.ended_well.contains(uid_of(run)) && of_this_attempt
    }
}

/// Whether users may get a blue-green version without an analysis before that.
fn needs_no_run(facts: &Facts) -> bool {
    let blue_green = &facts.rollout["spec"]["strategy"]["blueGreen"];
    blue_green["prePromotionAnalysis"].is_null() || facts.status()["promoteFull"] == true
}

/// Whether a commit begins an attempt: another template or other steps, once they are on record, or a retry. What was taken back before
/// anybody looked at it is none.
fn begins(scene: &Scene<'_>) -> bool {
    let (before, after) = (&scene.before.rollout, &scene.after.rollout);
    let differs = |path: &str| before.field(path) != after.field(path);
    let was_aborted = before["status"]["abort"] == true && before["status"]["abortedAt"].is_string();
    differs("/status/currentPodHash")
        || differs("/status/currentStepHash")
        || was_aborted && after["status"]["abort"] != true
}

impl Judge {
    pub(super) fn judge_runs(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        self.passes_by_the_active_service(scene, memory);
        if begins(scene) {
            memory.began = Some(scene.commit.at);
        }
        if let Some(run) = scene
            .commit
            .after
            .as_deref()
            .filter(|_| is_kind(scene.commit, "AnalysisRun"))
            && run["status"]["phase"] == "Successful"
            && run["spec"]["terminate"] != true
        {
            memory.ended_well.insert(uid_of(run).to_owned());
        }
        if !scene.ours {
            return;
        }
        if is_kind(scene.commit, "AnalysisRun") && scene.commit.before.is_none() {
            self.one_active_run(scene);
            self.measures_what_it_shows(scene);
        }
        if is_kind(scene.commit, "Rollout") && scene.commit.name == scene.after.name {
            self.steps_pass_with_success(scene, memory);
            self.promotion_needs_success(scene, memory);
        }
        if scene.after.weight > scene.before.weight {
            self.no_weight_after_failure(scene);
        }
    }

    /// Notes a version that the active Service leads to for a good reason: whatever a run says of it then comes too late.
    fn passes_by_the_active_service(&self, scene: &Scene<'_>, memory: &mut Memory) {
        let active = text(&scene.after.rollout["spec"]["strategy"]["blueGreen"]["activeService"]);
        let shows = scene.after.selected.get(active);
        let changes = shows != scene.before.selected.get(active);
        let found = !std::mem::replace(&mut memory.met, true);
        // A run that was asked for while the request to switch was under way.
        let switches = scene.ours && is_kind(scene.commit, "Service");
        let well = |hash: &String| {
            let run = latest(self.runs_heard_of(scene), "PrePromotion", hash);
            run.is_some_and(|run| memory.vouches(&run))
        };
        let passes = needs_no_run(scene.after)
            || switches && self.was_so(scene, needs_no_run)
            // left from a Rollout before this one, or chosen by somebody else
            || found
            || changes && !scene.ours
            || changes && shows.is_some_and(well);
        if passes {
            memory.passed.extend(shows.cloned());
        }
    }

    fn runs_of(&self, facts: &Facts) -> Vec<Arc<Value>> {
        runs_in(&self.picture, facts)
    }

    /// With those that were there when the controller decided: to delete one takes nothing back of what it said.
    fn runs_heard_of(&self, scene: &Scene<'_>) -> Vec<Arc<Value>> {
        let mut runs = self.runs_of(scene.after);
        let known = runs_in(&self.known_to(scene), scene.after);
        runs.extend(known.into_iter().filter(|run| {
            let uid = uid_of(run);
            !self.runs_of(scene.after).iter().any(|other| uid_of(other) == uid)
        }));
        runs
    }

    /// S7: one active run for each role.
    fn one_active_run(&mut self, scene: &Scene<'_>) {
        let Some(new) = &scene.commit.after else { return };
        let role = |run: &Value| {
            let labels = &run["metadata"]["labels"];
            let revision = run["metadata"]["annotations"]["rollout.argoproj.io/revision"].clone();
            (
                labels[HASH].clone(),
                labels["rollout-type"].clone(),
                labels["step-index"].clone(),
                revision,
            )
        };
        self.active("S7");
        let known = self.known_to(scene);
        let is_known = |run: &Value| {
            let name = text(&run["metadata"]["name"]);
            let heard_of = known.get("AnalysisRun", &scene.after.namespace, name);
            run == &**new || heard_of.is_some_and(|known| uid_of(known) == uid_of(run))
        };
        let active: Vec<String> = self
            .runs_of(scene.after)
            .iter()
            .filter(|run| role(run) == role(new) && !is_completed(run) && run["spec"]["terminate"] != true)
            // one that the other leader has just made
            .filter(|run| self.one_leader || is_known(run))
            .map(|run| text(&run["metadata"]["name"]).to_owned())
            .collect();
        if active.len() > 1 {
            self.violated(
                "S7",
                scene.commit,
                format!("{} do the same at once", active.join(" and ")),
            );
        }
    }

    /// S6: what measures begins once the Service that it asks selects the version, if that has pods. Without a router a version that
    /// is to have none loses its Service first.
    fn measures_what_it_shows(&mut self, scene: &Scene<'_>) {
        let Some(run) = &scene.commit.after else { return };
        let labels = &run["metadata"]["labels"];
        let strategy = &scene.after.rollout["spec"]["strategy"];
        let service = match text(&labels["rollout-type"]) {
            "Step" | "Background" if scene.after.strategy == Strategy::RoutedCanary => {
                text(&strategy["canary"]["canaryService"])
            }
            "PrePromotion" => text(&strategy["blueGreen"]["previewService"]),
            _ => return,
        };
        let hash = text(&labels[HASH]);
        let shows = |facts: &Facts| {
            let selected = facts.selected.get(service);
            let pods = facts.versions.get(hash).map_or(0, |v| v.available.min(v.wanted));
            pods == 0 || selected.is_none_or(|selected| selected == hash)
        };
        self.active("S6");
        if !self.was_so(scene, shows) {
            let what = format!("a run measures {hash}, and Service {service} selects another version");
            self.violated("S6", scene.commit, what);
        }
    }

    /// S6: a step with an analysis is passed only with a successful run of it.
    fn steps_pass_with_success(&mut self, scene: &Scene<'_>, memory: &Memory) {
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let (Some(from), Some(to)) = (before.step(), after.step()) else {
            return;
        };
        let skips =
            before.status()["promoteFull"] == true || after.stable() == after.current() || before.aborted();
        if to <= from || skips || before.current() != after.current() {
            return;
        }
        // made in the same second, nobody can tell
        let rollback = after.created(after.current()) <= after.created(after.stable());
        if rollback && to == after.steps().len() as i64 {
            return;
        }
        for index in from..to {
            let step = usize::try_from(index).ok().and_then(|i| before.steps().get(i));
            if step.is_none_or(|step| step["analysis"].is_null()) {
                continue;
            }
            self.active("S6");
            let passed = self.runs_heard_of(scene).iter().any(|run| {
                let labels = &run["metadata"]["labels"];
                labels["step-index"] == *index.to_string()
                    && labels[HASH] == *after.current()
                    && memory.vouches(run)
            });
            if !passed {
                self.violated(
                    "S6",
                    commit,
                    format!("step {index} was passed without a successful analysis run"),
                );
            }
        }
    }

    /// S6: a version becomes stable only if the analysis that has to be is successful.
    fn promotion_needs_success(&mut self, scene: &Scene<'_>, memory: &Memory) {
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let (old, new) = (before.stable(), after.stable());
        if old.is_empty() || old == new || before.status()["promoteFull"] == true {
            return;
        }
        // Made in the same second, nobody can tell. The news that the other one is gone may be on its way.
        let older = |facts: &Facts| facts.created(new) <= facts.created(old);
        if self.was_so(scene, older) {
            return;
        }
        let strategy = &after.rollout["spec"]["strategy"];
        let mut wanting = Vec::new();
        if after.strategy == Strategy::BlueGreen {
            for (field, kind) in [
                ("prePromotionAnalysis", "PrePromotion"),
                ("postPromotionAnalysis", "PostPromotion"),
            ] {
                let passed = kind == "PrePromotion" && memory.passed.contains(new);
                if !strategy["blueGreen"][field].is_null() && !passed {
                    wanting.push((
                        kind,
                        latest(self.runs_heard_of(scene), kind, new).is_some_and(|run| memory.vouches(&run)),
                    ));
                }
            }
        } else if !strategy["canary"]["analysis"].is_null() {
            // The news of a failure may be on its way.
            let heard_of = runs_in(&self.known_to(scene), after);
            let bad = latest(heard_of, "Background", new)
                .is_some_and(|run| matches!(text(&run["status"]["phase"]), "Failed" | "Error"));
            wanting.push(("Background", !bad));
        }
        for (kind, well) in wanting {
            self.active("S6");
            if !well {
                self.violated(
                    "S6",
                    commit,
                    format!("{new} became stable in spite of its {kind} analysis"),
                );
            }
        }
    }

    /// S6: after a failed run the weight is not raised.
    fn no_weight_after_failure(&mut self, scene: &Scene<'_>) {
        let status = scene.after.status();
        let current = [
            "currentStepAnalysisRunStatus",
            "currentBackgroundAnalysisRunStatus",
        ]
        .map(|field| text(&status["canary"][field]["name"]).to_owned());
        let runs = self.runs_of(scene.after);
        // a client may have gone past the step of one that is still named
        let step = scene.after.step().map(|step| step.to_string());
        let is_current = |run: &&Arc<Value>| {
            let of = &run["metadata"]["labels"]["step-index"];
            current.iter().any(|name| run["metadata"]["name"] == **name)
                && (of.is_null() || step.as_deref() == of.as_str())
        };
        let mine = runs.iter().filter(is_current);
        let failed: Vec<&str> = mine
            .filter(|run| matches!(text(&run["status"]["phase"]), "Failed" | "Error"))
            .map(|run| text(&run["metadata"]["name"]))
            .collect();
        if runs.is_empty() {
            return;
        }
        self.active("S6");
        if let Some(name) = failed.first()
            && scene.after.status()["promoteFull"] != true
        {
            // the news of the failure may be on its way
            let known = self.known_to(scene);
            let run = known.get("AnalysisRun", &scene.after.namespace, name);
            if run.is_some_and(|run| matches!(text(&run["status"]["phase"]), "Failed" | "Error")) {
                self.violated(
                    "S6",
                    scene.commit,
                    format!("the weight was raised after {name} failed"),
                );
            }
        }
    }
}

/// The runs of a Rollout.
fn runs_in(picture: &Picture, facts: &Facts) -> Vec<Arc<Value>> {
    let uid = uid_of(&facts.rollout);
    let all = picture.all("AnalysisRun", &facts.namespace);
    all.filter(|run| controller_of(run).is_some_and(|owner| owner["uid"] == *uid))
        .cloned()
        .collect()
}

/// The last run of a role that a version had.
fn latest(runs: Vec<Arc<Value>>, role: &str, hash: &str) -> Option<Arc<Value>> {
    let mine = runs.into_iter().filter(|run| {
        let labels = &run["metadata"]["labels"];
        labels["rollout-type"] == *role && labels[HASH] == *hash
    });
    mine.max_by_key(|run| {
        (
            text(&run["metadata"]["creationTimestamp"]).to_owned(),
            text(&run["metadata"]["name"]).to_owned(),
        )
    })
}

pub(super) fn is_completed(run: &Value) -> bool {
    matches!(
        text(&run["status"]["phase"]),
        "Successful" | "Failed" | "Error" | "Inconclusive"
    )
}
