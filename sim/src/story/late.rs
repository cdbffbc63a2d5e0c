//! What time alone had to bring about, and when it did: the end of a pause, a deadline, the end of a delay. In a story without
//! faults each happens within a second of its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Story;
use crate::actors::{condition, controller_of, is_kind, kind_of, text, uid_of};
use crate::clock::EPOCH;
use crate::invariants::facts::HASH;
use crate::store::Commit;
use crate::world::is_controller;

/// How late it may be: times in the status are whole seconds, and a write takes its time.
const SLACK: SignedDuration = SignedDuration::from_millis(1500);
/// So long news may take.
const NEWS: SignedDuration = SignedDuration::from_millis(200);
/// The controller takes a change of routing for known after this (`Settings::propagation`), in whole seconds.
const REACH: SignedDuration = SignedDuration::from_secs(3);
/// Until when a version keeps its pods.
const DELAYED: &str = "scale-down-deadline";

/// What came too late or too early until `end`, in a story without faults.
pub(super) fn wrong<'c>(
    story: &Story,
    name: &str,
    end: Timestamp,
    commits: impl Iterator<Item = &'c Commit>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if !story.is_calm() {
        return wrong;
    }
    let mut scene = Scene {
        name: name.to_owned(),
        ..Scene::default()
    };
    let (mut pauses, mut deadline, mut delays) = (Pauses::default(), Deadline::default(), Delays::default());
    for commit in commits {
        pauses.follow(commit, name, &mut wrong);
        // nothing follows from what was so before a commit that is late
        deadline.was_due(commit.at, &mut wrong);
        delays.were_due(commit.at, &mut wrong);
        let before = scene.rollout.clone();
        if !scene.take(commit) {
            continue;
        }
        deadline.follow(commit, before.as_deref(), &scene, &mut wrong);
        delays.follow(commit, &scene, &mut wrong);
    }
    pauses.was_due(end, &mut wrong);
    deadline.was_due(end, &mut wrong);
    delays.were_due(end, &mut wrong);
    wrong
}

/// What is stored of one Rollout.
#[derive(Default)]
struct Scene {
    name: String,
    rollout: Option<Arc<Value>>,
    sets: BTreeMap<String, Arc<Value>>,
    services: BTreeMap<String, Arc<Value>>,
    /// When a Service or an Ingress last changed.
    routed: Option<Timestamp>,
}

impl Scene {
    /// Takes a commit in; whether it is about this Rollout.
    fn take(&mut self, commit: &Commit) -> bool {
        let put = |all: &mut BTreeMap<String, Arc<Value>>| match &commit.after {
            Some(object) => all.insert(commit.name.clone(), object.clone()),
            None => all.remove(&commit.name),
        };
        match kind_of(commit) {
            "Rollout" if commit.name == self.name => self.rollout.clone_from(&commit.after),
            "ReplicaSet" if commit.name.starts_with(&self.name) => drop(put(&mut self.sets)),
            "Service" if commit.name.starts_with(&self.name) => {
                self.routed = Some(commit.at);
                put(&mut self.services);
            }
            "Ingress" if commit.name.starts_with(&self.name) => self.routed = Some(commit.at),
            _ => return false,
        }
        true
    }

    /// ReplicaSets of the Rollout, but not those of a Deployment that it took over.
    fn versions(&self) -> impl Iterator<Item = &Value> {
        let uid = self.rollout.as_deref().map_or("", uid_of);
        let owned = move |set: &&Value| controller_of(set).is_some_and(|owner| owner["uid"] == *uid);
        self.sets.values().map(|set| &**set).filter(owned)
    }

    fn version(&self, field: &str) -> Option<&Value> {
        let hash = text(&self.rollout.as_deref()?["status"][field]);
        self.versions()
            .find(|set| set["metadata"]["labels"][HASH] == *hash)
    }
}

/// Pauses that end by themselves.
#[derive(Default)]
struct Pauses {
    due: Option<Timestamp>,
    free_since: Option<Timestamp>,
    unwhole: BTreeSet<String>,
}

impl Pauses {
    fn was_due(&self, now: Timestamp, wrong: &mut Vec<String>) {
        if let Some(due) = self.due
            && now > due + SLACK
        {
            wrong.push(format!("a pause that was over at {due} was still there at {now}"));
        }
    }

    fn follow(&mut self, commit: &Commit, name: &str, wrong: &mut Vec<String>) {
        // blue-green does not leave its pause while pods are missing, so the time starts anew with each that is lost
        if is_kind(commit, "ReplicaSet") && commit.name.starts_with(name) {
            if commit.after.as_deref().is_none_or(is_whole) {
                self.unwhole.remove(&commit.name);
            } else {
                self.unwhole.insert(commit.name.clone());
            }
            self.free_since = Some(commit.at);
            let free = self.unwhole.is_empty();
            self.due = self.due.filter(|_| free).map(|due| due.max(commit.at));
        }
        if commit.name != name || !is_kind(commit, "Rollout") {
            return;
        }
        self.was_due(commit.at, wrong);
        self.due = None;
        let Some(after) = &commit.after else { return };
        if is_held(after) || !self.unwhole.is_empty() {
            self.free_since = Some(commit.at);
        } else {
            self.due = pause_ends(after).map(|at| at.max(self.free_since.unwrap_or(EPOCH)));
        }
    }
}

fn count(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or(0)
}

fn is_whole(set: &Value) -> bool {
    count(&set["status"], "availableReplicas") >= count(&set["spec"], "replicas")
}

/// Whether the status tells of the spec as it is, which nothing holds: neither a person nor a mistake in it.
fn is_free(rollout: &Value) -> bool {
    let status = &rollout["status"];
    let seen = *rollout["metadata"]["generation"].to_string() == *text(&status["observedGeneration"]);
    seen && rollout["spec"]["paused"] != true
        && !rollout["metadata"]["deletionTimestamp"].is_string()
        && !text(&status["message"]).starts_with("InvalidSpec")
}

fn pauses(rollout: &Value) -> usize {
    rollout["status"]["pauseConditions"]
        .as_array()
        .map_or(0, Vec::len)
}

/// Time does not end a pause while somebody, or a spec that is wrong, holds the Rollout.
fn is_held(rollout: &Value) -> bool {
    !is_free(rollout) || rollout["status"]["abort"] == true || pauses(rollout) != 1
}

fn pause_ends(rollout: &Value) -> Option<Timestamp> {
    let status = &rollout["status"];
    let pause = &status["pauseConditions"][0];
    let start: Timestamp = text(&pause["startTime"]).parse().ok()?;
    let seconds = match text(&pause["reason"]) {
        "BlueGreenPause" => {
            let spec = &rollout["spec"]["strategy"]["blueGreen"];
            // an analysis that came into the spec after the pause had begun
            let run = &status["blueGreen"]["prePromotionAnalysisRunStatus"];
            let measures = spec["prePromotionAnalysis"].is_object() && run["status"] != "Successful";
            if spec["autoPromotionEnabled"] == false || measures {
                return None;
            }
            spec["autoPromotionSeconds"].as_i64()?
        }
        "CanaryPauseStep" => match &current_step(rollout)?["pause"]["duration"] {
            Value::Number(seconds) => seconds.as_i64()?,
            // stories write them in seconds
            Value::String(text) => text.strip_suffix('s')?.parse().ok()?,
            _ => return None,
        },
        _ => return None,
    };
    Some(start + SignedDuration::from_secs(seconds))
}

fn current_step(rollout: &Value) -> Option<&Value> {
    let index = usize::try_from(rollout["status"]["currentStepIndex"].as_i64()?).ok()?;
    rollout["spec"]["strategy"]["canary"]["steps"].get(index)
}

fn reason(rollout: &Value) -> &str {
    condition(rollout, "Progressing").map_or("", |c| text(&c["reason"]))
}

/// `progressDeadlineSeconds`.
#[derive(Default)]
struct Deadline {
    due: Option<Timestamp>,
    /// When anything last changed that may be progress.
    moved: Option<Timestamp>,
    /// The new version: what it is compared within, the most pods that were available, and since when.
    best: Option<(Value, i64, Timestamp)>,
}

impl Deadline {
    fn was_due(&mut self, now: Timestamp, wrong: &mut Vec<String>) {
        if let Some(due) = self.due
            && now > due + SLACK
        {
            wrong.push(format!(
                "the progress deadline passed at {due}, and nobody had said so at {now}"
            ));
            self.due = None;
        }
    }

    fn follow(&mut self, commit: &Commit, before: Option<&Value>, scene: &Scene, wrong: &mut Vec<String>) {
        let Some(rollout) = scene.rollout.as_deref() else {
            *self = Self::default();
            return;
        };
        let pods = |object: Option<&Arc<Value>>| {
            object.map(|o| {
                let fields = ["replicas", "readyReplicas", "availableReplicas"];
                (
                    o["spec"]["replicas"].clone(),
                    fields.map(|field| o["status"][field].clone()),
                )
            })
        };
        let of_update = |rollout: &Value| {
            let fields = [
                "currentPodHash",
                "stableRS",
                "currentStepIndex",
                "pauseConditions",
                "abort",
            ];
            (
                rollout["spec"].clone(),
                fields.map(|field| rollout["status"][field].clone()),
            )
        };
        let moved = match kind_of(commit) {
            "ReplicaSet" => pods(commit.before.as_ref()) != pods(commit.after.as_ref()),
            "Rollout" => before.map(of_update) != Some(of_update(rollout)),
            _ => false,
        };
        if moved {
            self.moved = Some(commit.at);
        }
        let deadline = SignedDuration::from_secs(count(&rollout["spec"], "progressDeadlineSeconds"));
        if let Some(early) = self.early(commit.at, before, rollout, deadline) {
            wrong.push(early);
        }
        self.compare(commit.at, scene, rollout);
        self.due = runs(scene, rollout)
            .zip(self.moved)
            .map(|(written, moved)| written.max(moved) + deadline);
    }

    /// The most pods that the new version has had available: whoever counts fewer again has not got better.
    fn compare(&mut self, now: Timestamp, scene: &Scene, rollout: &Value) {
        let Some(new) = scene.version("currentPodHash") else {
            self.best = None;
            return;
        };
        let attempt = serde_json::json!([
            new["metadata"]["name"],
            new["spec"]["replicas"],
            rollout["spec"]["replicas"],
            rollout["status"]["currentStepIndex"],
            rollout["status"]["stableRS"],
        ]);
        let available = count(&new["status"], "availableReplicas");
        match &mut self.best {
            Some((known, best, at)) if *known == attempt => {
                // what comes while nothing goes on, as the spec is wrong, nobody counts
                let counted = if is_free(rollout) { now } else { EPOCH };
                if available > *best {
                    (*best, *at) = (available, counted);
                }
            }
            // what there is when something else begins did not come by itself
            best => *best = Some((attempt, available, EPOCH)),
        }
    }

    fn early(
        &self,
        now: Timestamp,
        before: Option<&Value>,
        rollout: &Value,
        deadline: SignedDuration,
    ) -> Option<String> {
        let exceeded = |rollout: &Value| reason(rollout) == "ProgressDeadlineExceeded";
        let (_, best, at) = self.best.as_ref()?;
        let told = exceeded(rollout) && !before.is_some_and(exceeded);
        let same = before.is_some_and(|before| before["spec"] == rollout["spec"]);
        // the sums of a blue-green Rollout do not show what its new version won
        let canary = rollout["spec"]["strategy"]["canary"].is_object();
        // the news of it may be on its way
        let heard = now > *at + NEWS;
        let early =
            told && same && canary && heard && now < *at + deadline - SignedDuration::from_millis(1100);
        early.then(|| {
            format!("the progress deadline of {deadline:#} is said to have passed at {now}, and pod {best} came at {at}")
        })
    }
}

/// The time of the condition whose deadline runs now: pods of the new version are missing, and nothing else is waited for.
fn runs(scene: &Scene, rollout: &Value) -> Option<Timestamp> {
    let progressing = condition(rollout, "Progressing")?;
    let new = scene.version("currentPodHash")?;
    let waits =
        current_step(rollout).is_some_and(|step| step["pause"].is_object() || step["analysis"].is_object());
    // whoever is whole has come to the end of this way
    let missing =
        !is_whole(new) && count(&new["status"], "availableReplicas") < count(&rollout["spec"], "replicas");
    let runs = is_free(rollout)
        && pauses(rollout) == 0
        && rollout["status"]["abort"] != true
        && progressing["status"] == "True"
        && reason(rollout) == "ReplicaSetUpdated"
        && missing
        && !waits;
    runs.then(|| text(&progressing["lastUpdateTime"]).parse().ok())
        .flatten()
}

/// `scaleDownDelaySeconds` and `abortScaleDownDelaySeconds`.
#[derive(Default)]
struct Delays {
    due: BTreeMap<String, Timestamp>,
    /// Since when nothing but its delay keeps a version.
    free: BTreeMap<String, Timestamp>,
}

fn delayed_until(set: &Value) -> Option<Timestamp> {
    let annotations = set["metadata"]["annotations"].as_object()?;
    let (_, until) = annotations.iter().find(|(key, _)| key.ends_with(DELAYED))?;
    text(until).parse().ok()
}

impl Delays {
    fn were_due(&mut self, now: Timestamp, wrong: &mut Vec<String>) {
        self.due.retain(|name, due| {
            let late = now > *due + SLACK;
            if late {
                wrong.push(format!("{name} was to go at {due}, and was still there at {now}"));
            }
            !late
        });
    }

    fn follow(&mut self, commit: &Commit, scene: &Scene, wrong: &mut Vec<String>) {
        if let (true, true, Some(rollout)) = (
            is_kind(commit, "ReplicaSet"),
            is_controller(&commit.user),
            scene.rollout.as_deref(),
        ) && let Some(what) = wrong_delay(commit, rollout)
        {
            wrong.push(what);
        }
        let mut due = BTreeMap::new();
        let mut free = BTreeMap::new();
        for set in scene.versions() {
            if let Some(until) = delayed_until(set)
                && count(&set["spec"], "replicas") > 0
                && may_go(set, scene)
            {
                let name = text(&set["metadata"]["name"]).to_owned();
                let since = self.free.get(&name).copied().unwrap_or(commit.at);
                let known = scene.routed.map_or(EPOCH, |routed| routed + REACH);
                due.insert(name.clone(), until.max(since).max(known));
                free.insert(name, since);
            }
        }
        (self.due, self.free) = (due, free);
    }
}

/// Whether nothing but its delay keeps a version: nobody holds the Rollout, others are whole, and no Service leads to it.
fn may_go(set: &Value, scene: &Scene) -> bool {
    let Some(rollout) = scene.rollout.as_deref() else {
        return false;
    };
    let status = &rollout["status"];
    let hash = &set["metadata"]["labels"][HASH];
    let rejected = *hash == status["currentPodHash"] && status["abort"] == true;
    let old = *hash != status["currentPodHash"] && status["stableRS"] == status["currentPodHash"];
    let whole =
        |set: &Value| is_whole(set) && count(&set["spec"], "replicas") >= count(&rollout["spec"], "replicas");
    let restarts = text(&rollout["spec"]["restartAt"]) > text(&status["restartedAt"]);
    is_free(rollout)
        && pauses(rollout) == 0
        && *hash != status["stableRS"]
        && (rejected || old)
        && !restarts
        && scene.version("stableRS").is_some_and(whole)
        && !scene
            .services
            .values()
            .any(|service| service["spec"]["selector"][HASH] == *hash)
}

/// What is wrong with a delay that was just written.
fn wrong_delay(commit: &Commit, rollout: &Value) -> Option<String> {
    let set = commit.after.as_deref()?;
    let until = delayed_until(set)?;
    if commit.before.as_deref().and_then(delayed_until) == Some(until) || !is_free(rollout) {
        return None;
    }
    let strategy = &rollout["spec"]["strategy"];
    let spec = if strategy["blueGreen"].is_object() {
        &strategy["blueGreen"]
    } else {
        &strategy["canary"]
    };
    // who is new in the status is so still when the spec is that of the status
    let rejected = set["metadata"]["labels"][HASH] == rollout["status"]["currentPodHash"];
    let field = if rejected {
        "abortScaleDownDelaySeconds"
    } else {
        "scaleDownDelaySeconds"
    };
    let delay = spec[field].as_i64().unwrap_or(30);
    let wanted = commit.at + SignedDuration::from_secs(delay);
    let wrong = until > wanted + SLACK || until < wanted - SLACK;
    wrong.then(|| format!("{} is to go at {until}, not {wanted} ({field})", commit.name))
}
