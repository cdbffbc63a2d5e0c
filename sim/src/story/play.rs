//! Plays a story and judges it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_controller::look;
use tidegate_controller::object::{Kind, ObjectKey};
use tidegate_controller::options::Options;

use super::history::{History, Moment};
use super::late;
use super::rest::{Refused, Rest};
use super::{Act, Coverage, Deed, NAMES, Part, Story};
use crate::actors::user::Op;
use crate::actors::{controller_of, is_kind, kind_of, text};
use crate::api::kinds;
use crate::clock::EPOCH;
use crate::faults::RequestFault;
use crate::invariants::facts::{Facts, Strategy};
use crate::metrics::labels;
use crate::scenario::{NAMESPACE, create};
use crate::world::{Setup, World};

/// Nothing changes any more: longer than every delay of a story.
const QUIET: SignedDuration = SignedDuration::from_secs(75);
/// An act that waits for rest waits so long at most.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// Once people and faults are done, it has to come to rest within this.
const LIMIT: SignedDuration = SignedDuration::from_mins(25);
/// What is refused for good is tried again within this.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_secs(65);

/// What became of a story.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Everything that is wrong.
    pub failures: Vec<String>,
    /// What was done, and where the Rollouts were.
    pub coverage: Coverage,
    /// What happened, line by line, when that is kept.
    pub log: Vec<String>,
}

impl Played {
    /// What sort of thing is wrong first, to tell whether a shorter story shows the same.
    pub fn kind(&self) -> Option<String> {
        let first = self.failures.first()?;
        Some(
            first
                .split(':')
                .next()
                .unwrap_or_default()
                .split(" at ")
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

impl Story {
    /// Plays it; `log` keeps a line for each thing that happens.
    pub fn play(&self, log: bool) -> Played {
        let mut player = Player::new(self, log);
        player.begin();
        player.end();
        player.played
    }
}

/// Who plays a story.
pub(super) struct Player<'s> {
    story: &'s Story,
    pub(super) world: World,
    played: Played,
    histories: Vec<History>,
    /// When something last changed that is not a measurement, and how far the commits were looked at.
    changed: Timestamp,
    seen: u64,
}

impl<'s> Player<'s> {
    pub(super) fn new(story: &'s Story, log: bool) -> Self {
        let mut world = World::new(Setup {
            seed: story.seed,
            faults: story.faults.clone(),
            scrape: Some(SignedDuration::from_secs(10)),
            namespace: NAMESPACE.to_owned(),
            lag: story.lag(),
            log,
            most: 200_000,
            further: story
                .rollouts
                .iter()
                .filter(|shape| shape.other_instance)
                .map(|shape| Options {
                    settings: shape.settings(),
                    ..Options::default()
                })
                .collect(),
            ..Setup::default()
        });
        world.judge.clock_is_steady = story.faults.clock_jumps.is_empty();
        world.judge.one_leader = story.faults.second_leaders.is_empty();
        if story.faults.rates.as_ref().is_some_and(|rates| rates.slow > 0) {
            world.judge.widen(SignedDuration::from_secs(10));
        }
        Self {
            story,
            world,
            played: Played::default(),
            histories: vec![History::default(); story.rollouts.len()],
            changed: EPOCH,
            seen: 0,
        }
    }

    /// Everything that people do.
    fn begin(&mut self) {
        self.create();
        let story = self.story;
        for act in &story.acts {
            self.act(act);
        }
    }

    /// As far as it is judged at rest, without judging it.
    #[cfg(test)]
    pub(super) fn play_to_rest(&mut self) {
        self.begin();
        assert!(self.run_to_rest(LIMIT), "it comes to rest");
    }

    fn create(&mut self) {
        self.answer(super::Answer::Good);
        for (shape, name) in self.story.rollouts.iter().zip(NAMES) {
            let parts = Part::GIVEN
                .into_iter()
                .filter_map(|part| shape.object(part, name));
            for object in parts.chain([shape.rollout(name)]) {
                if let Err(refused) = create(&mut self.world, &object) {
                    self.fail(format!("refused {} {name}: {refused}", object["kind"]));
                }
            }
        }
    }

    fn fail(&mut self, what: String) {
        self.played.failures.push(what);
    }

    fn answer(&mut self, answer: super::Answer) {
        let (value, fault) = answer.of_source();
        let now = self.world.now();
        self.world.metrics.set(labels("answer", &[]), value);
        self.world.metrics.scrape(now, []);
        self.world.metrics.fault = fault;
    }

    pub(super) fn facts(&self, on: usize) -> Option<Facts> {
        Facts::of(self.world.judge.picture(), NAMESPACE, NAMES[on])
    }

    fn moment(&self, on: usize) -> Option<Moment> {
        Moment::of(self.world.judge.picture(), NAMESPACE, NAMES[on])
    }

    fn act(&mut self, act: &Act) {
        self.world
            .run_for(SignedDuration::from_millis(i64::from(act.after_ms)));
        if act.what == Deed::Rest {
            if self.run_to_rest(PATIENCE) {
                self.judge_rest();
            }
            return;
        }
        let before = self.moment(act.on);
        if let Some(before) = &before {
            self.played.coverage.count(&act.what, &before.facts);
        }
        let done = self.perform(act.on, &act.what);
        // a deed that is refused, or that finds nothing, changes nothing
        if let (true, Some(before), Some(after)) = (done, before, self.moment(act.on)) {
            self.histories[act.on].note(&act.what, &before, &after);
        } else if matches!(act.what, Deed::Delete | Deed::Create) {
            self.histories[act.on] = History::default();
        }
    }

    fn perform(&mut self, on: usize, deed: &Deed) -> bool {
        let name = NAMES[on];
        let op = match deed {
            Deed::Image(tag) if self.story.rollouts[on].taken_over.is_some() => {
                let image = "/spec/template/spec/containers/0/image";
                let set = json!([{"op": "replace", "path": image, "value": format!("shop:{tag}")}]);
                Op::JsonPatchOther(&kinds::DEPLOYMENTS, Part::Workload.name(name), set)
            }
            Deed::Image(tag) => Op::SetImage(format!("shop:{tag}")),
            Deed::Promote => Op::Promote,
            Deed::Full => Op::PromoteFull,
            // there are no steps to skip
            Deed::Skip if self.facts(on).is_some_and(|f| f.strategy == Strategy::BlueGreen) => return false,
            Deed::Skip => Op::SkipStep,
            Deed::Abort => Op::Abort,
            Deed::Retry => Op::Retry,
            Deed::Pause => Op::Pause,
            Deed::Resume => Op::Unpause,
            Deed::Scale(to) => Op::Scale(*to),
            Deed::ScaleThrough(to) => Op::ScaleThrough(*to),
            Deed::Autoscale(pods) => self.autoscale(name, *pods),
            Deed::ScaleWorkload(to) => {
                let patch = json!({"spec": {"replicas": to}});
                Op::MergeOther(&kinds::DEPLOYMENTS, Part::Workload.name(name), patch)
            }
            Deed::Restart => Op::Restart,
            // the strategy may be another one by now: options of both are no Rollout
            Deed::Set(patch) if self.is_of_another_strategy(on, patch) => return false,
            Deed::Set(patch) => Op::Merge(json!({"spec": patch})),
            Deed::Strategy(strategy) => {
                let replace = json!([{"op": "replace", "path": "/spec/strategy", "value": strategy}]);
                Op::JsonPatch(replace)
            }
            Deed::Lose(part) => Op::DeleteOther(part.kind(), part.name(name)),
            Deed::Make(part) => match self.story.rollouts[on].object(*part, name) {
                Some(object) => Op::Create(vec![object]),
                None => return false,
            },
            Deed::Reset(part) => reset(*part, name),
            Deed::Weight(weight) => {
                let key = "nginx.ingress.kubernetes.io/canary-weight";
                let patch = json!({"metadata": {"annotations": {key: weight.to_string()}}});
                Op::MergeOther(&kinds::INGRESSES, Part::CanaryIngress.name(name), patch)
            }
            Deed::LosePod | Deed::LoseVersion | Deed::TouchVersion | Deed::LoseRun => {
                match self.victim(on, deed) {
                    Some(op) => op,
                    None => return false,
                }
            }
            Deed::Metrics(answer) => {
                self.answer(*answer);
                return true;
            }
            Deed::Delete => Op::Delete,
            Deed::Create => Op::Create(vec![self.story.rollouts[on].rollout(name)]),
            Deed::Rest => return true,
        };
        self.world.perform(NAMESPACE, name, &op).is_ok()
    }

    /// Makes an autoscaler, tells the one that is there what to want, or takes it away.
    fn autoscale(&mut self, name: &str, pods: Option<i64>) -> Op {
        let is_there = self
            .world
            .api("user")
            .get(&kinds::AUTOSCALERS, NAMESPACE, name)
            .is_some();
        let Some(pods) = pods else {
            return Op::DeleteOther(&kinds::AUTOSCALERS, name.to_owned());
        };
        let wanted = json!({"sim.tidegate.io/replicas": pods.to_string()});
        if is_there {
            let patch = json!({"metadata": {"annotations": wanted}});
            return Op::MergeOther(&kinds::AUTOSCALERS, name.to_owned(), patch);
        }
        let target = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name});
        Op::Create(vec![json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name, "namespace": NAMESPACE, "annotations": wanted},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 20},
        })])
    }

    fn is_of_another_strategy(&self, on: usize, patch: &Value) -> bool {
        let Some(facts) = self.facts(on) else { return true };
        let live = &facts.rollout["spec"]["strategy"];
        let mut options = patch["strategy"].as_object().into_iter().flatten();
        options.any(|(strategy, _)| live[strategy].is_null())
    }

    fn victim(&self, on: usize, deed: &Deed) -> Option<Op> {
        let facts = self.facts(on)?;
        let version = facts.versions.get(facts.current())?;
        if *deed == Deed::LoseVersion {
            return Some(Op::DeleteOther(&kinds::REPLICA_SETS, version.name.clone()));
        }
        if *deed == Deed::LoseRun {
            let runs = self.world.judge.picture().all("AnalysisRun", NAMESPACE);
            let mine = runs.filter(|run| {
                controller_of(run).is_some_and(|owner| owner["uid"] == facts.rollout["metadata"]["uid"])
            });
            let newest = mine.max_by_key(|run| text(&run["metadata"]["creationTimestamp"]).to_owned())?;
            let name = text(&newest["metadata"]["name"]).to_owned();
            return Some(Op::DeleteOther(&kinds::ANALYSIS_RUNS, name));
        }
        if *deed == Deed::TouchVersion {
            let annotations = json!({"policy.example.com/checked": "yes"});
            let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
            return Some(Op::MergeOther(&kinds::REPLICA_SETS, version.name.clone(), patch));
        }
        let mut pods = self.world.judge.picture().all("Pod", NAMESPACE);
        let pod = pods.find(|pod| controller_of(pod).is_some_and(|owner| owner["name"] == *version.name))?;
        Some(Op::DeleteOther(
            &kinds::PODS,
            text(&pod["metadata"]["name"]).to_owned(),
        ))
    }

    /// Whether it came to rest: nothing was written for a while, measurements left out.
    fn run_to_rest(&mut self, patience: SignedDuration) -> bool {
        let limit = self.world.now() + patience;
        loop {
            let commits = self.world.store().commits_since(self.seen);
            for commit in commits {
                self.seen = commit.revision;
                // a measurement is none, the end of a run is one
                let phase =
                    |object: &Option<Arc<Value>>| object.as_ref().map(|run| run["status"]["phase"].clone());
                let measures = match kind_of(commit) {
                    "AnalysisRun" => phase(&commit.before) == phase(&commit.after),
                    kind => matches!(kind, "Event" | "Lease"),
                };
                if !measures || commit.user == "user" {
                    self.changed = commit.at;
                }
            }
            // deadlines that were written by a clock that jumped are later by that
            let jumps = self.story.faults.clock_jumps.iter().map(|jump| jump.by_ms.abs());
            // what was refused is tried again now and then
            let refused = self
                .story
                .faults
                .refusals
                .iter()
                .filter_map(|refusal| refusal.until_ms);
            let refused = EPOCH + SignedDuration::from_millis(refused.max().unwrap_or(0) as i64);
            let since = self.changed.max(refused);
            let quiet_at = since + QUIET + SignedDuration::from_millis(jumps.max().unwrap_or(0));
            if self.world.now() >= quiet_at {
                return true;
            }
            if self.world.now() >= limit || self.world.is_exhausted() {
                return false;
            }
            self.world.run_to(quiet_at.min(limit));
        }
    }

    fn end(&mut self) {
        let faults = self.world.faults_end();
        if self.world.now() < faults {
            self.world.run_to(faults);
        }
        let rests = self.run_to_rest(LIMIT);
        if rests {
            self.judge_rest();
            self.stays_at_rest();
        } else if !self.is_restless() {
            let last: Vec<&str> = self
                .world
                .stats
                .writes
                .iter()
                .rev()
                .take(4)
                .map(|w| w.what.as_str())
                .collect();
            self.fail(format!(
                "L1: it does not come to rest; last written: {}",
                last.join(", ")
            ));
        }
        let mut seen = BTreeMap::new();
        let mut violations = Vec::new();
        for violation in self.world.judge.violations() {
            let times: &mut u32 = seen.entry(violation.id).or_default();
            *times += 1;
            if *times <= 2 {
                violations.push(violation.to_string());
            }
        }
        self.played.failures.extend(violations);
        if self.world.stats.panics > 0 {
            self.fail(format!(
                "P10: the planner panicked {} times",
                self.world.stats.panics
            ));
        }
        for (on, name) in NAMES.iter().enumerate().take(self.story.rollouts.len()) {
            let commits = self.world.store().commits_since(0).map(|commit| &**commit);
            let late = late::wrong(self.story, name, self.world.now(), commits);
            self.played.failures.extend(
                late.into_iter()
                    .take(1)
                    .map(|what| format!("D{on}: {name}: {what}")),
            );
        }
        self.played.log = self.world.log().to_vec();
    }

    /// Pods that crash and start again for ever change something for ever.
    fn is_restless(&self) -> bool {
        let pods = self.world.judge.picture().all("Pod", NAMESPACE);
        pods.into_iter()
            .any(|pod| text(&pod["spec"]["containers"][0]["image"]).contains("crash"))
    }

    fn judge_rest(&mut self) {
        let leftovers = self.world.judge.leftovers(NAMESPACE);
        for (on, name) in NAMES.iter().enumerate().take(self.story.rollouts.len()) {
            let Some(facts) = self.facts(on) else { continue };
            let wrong = self.wrong(on, None);
            let at = self.world.elapsed();
            let about = crate::scenario::state_of(&facts);
            for what in wrong {
                self.fail(format!("{what} ({name}, {about}, at {at:#})"));
            }
        }
        for what in leftovers.iter().filter(|what| what.contains("outlived")) {
            self.fail(format!("S11: {what}"));
        }
    }

    /// What is wrong with one Rollout at rest; `said` is what is said of what it waits for, if not the controller is asked.
    pub(super) fn wrong(&self, on: usize, said: Option<Vec<String>>) -> Vec<String> {
        let Some(facts) = self.facts(on) else {
            return Vec::new();
        };
        let rest = Rest {
            facts: &facts,
            picture: self.world.judge.picture(),
            why: &said.unwrap_or_else(|| self.why(on)),
            refused: &self.refused(on),
        };
        let mut wrong = rest.wrong();
        if wrong.is_empty() {
            let lost = self.histories[on].lost(&facts);
            wrong.extend(lost.into_iter().map(|what| format!("R11: {what}")));
        }
        wrong
    }

    /// At rest nothing is written, unless an analysis measures.
    fn stays_at_rest(&mut self) {
        let measuring = self
            .world
            .judge
            .picture()
            .all("AnalysisRun", NAMESPACE)
            .any(|run| {
                !matches!(
                    text(&run["status"]["phase"]),
                    "Successful" | "Failed" | "Error" | "Inconclusive"
                )
            });
        if measuring {
            return;
        }
        let written = self.world.stats.writes.len();
        let restless = self.is_restless();
        self.world.run_for(SignedDuration::from_mins(3));
        let late: Vec<String> = self
            .world
            .stats
            .writes
            .iter()
            .skip(written)
            // what is refused for good is tried again now and then
            .filter(|write| !write.denied)
            .take(2)
            .map(|w| w.what.clone())
            .collect();
        if !late.is_empty() && !restless {
            self.fail(format!("S13: written at rest: {}", late.join(", ")));
        }
    }

    /// What is refused for good of one Rollout: it was tried not long ago.
    fn refused(&self, on: usize) -> Vec<Refused> {
        let since = self.world.now() - TRIED_AGAIN;
        let writes = self.world.stats.writes.iter().enumerate();
        let mut all = Vec::new();
        for (number, write) in writes.rev().take_while(|(_, write)| write.at >= since) {
            let named = write.what.rsplit('/').next().unwrap_or_default();
            let fault = u32::try_from(number)
                .ok()
                .and_then(|n| self.world.stats.injected.get(&n));
            let what: Vec<&str> = write.what.split(' ').take(2).collect();
            // a Service that no Rollout names any more is nobody's
            let mine = what != ["patch", "services"] || self.names_service(on, named);
            if let Some(RequestFault::Denied { message, .. }) = fault.filter(|_| write.denied && mine)
                && named.starts_with(NAMES[on])
            {
                all.push(Refused {
                    what: what.join(" "),
                    words: message.clone(),
                    is_told: self.is_told(on, message),
                });
            }
        }
        all
    }

    fn names_service(&self, on: usize, name: &str) -> bool {
        self.facts(on).is_some_and(|facts| {
            let strategy = facts.rollout["spec"]["strategy"].as_object();
            let fields = strategy.into_iter().flatten();
            fields
                .filter_map(|(_, spec)| spec.as_object())
                .flatten()
                .any(|(field, value)| field.ends_with("Service") && *value == *name)
        })
    }

    /// Whether an event of the Rollout has these words.
    fn is_told(&self, on: usize, words: &str) -> bool {
        let mut commits = self.world.store().commits_since(0);
        commits.any(|commit| {
            is_kind(commit, "Event")
                && commit.after.as_deref().is_some_and(|event| {
                    event["involvedObject"]["name"] == *NAMES[on] && text(&event["message"]).contains(words)
                })
        })
    }

    /// What the controller would say now of what it waits for.
    fn why(&self, on: usize) -> Vec<String> {
        let key = ObjectKey::new(NAMESPACE, NAMES[on]);
        let all = [
            (Kind::Rollout, "Rollout"),
            (Kind::ReplicaSet, "ReplicaSet"),
            (Kind::Service, "Service"),
            (Kind::INGRESS, "Ingress"),
            (Kind::AnalysisRun, "AnalysisRun"),
            (Kind::AnalysisTemplate, "AnalysisTemplate"),
            (Kind::Deployment, "Deployment"),
        ];
        let picture = self.world.judge.picture();
        let mut objects: Vec<(Kind, Value)> = Vec::new();
        for (kind, name) in all {
            objects.extend(
                picture
                    .all(name, NAMESPACE)
                    .map(|object| (kind, (**object).clone())),
            );
        }
        let pods: Vec<Value> = picture.all("Pod", NAMESPACE).map(|pod| (**pod).clone()).collect();
        let now = self.world.now();
        let Some(seen) = look::observed(&objects, &pods, &key, now) else {
            return Vec::new();
        };
        let plan = tidegate_engine::plan(&seen, now, &self.story.rollouts[on].settings());
        plan.why.iter().map(ToString::to_string).collect()
    }
}

/// What somebody does who applies the object as it was, knowing nothing of versions.
fn reset(part: Part, name: &str) -> Op {
    if part == Part::CanaryIngress {
        let patch = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary": null}}});
        return Op::MergeOther(&kinds::INGRESSES, part.name(name), patch);
    }
    let patch = json!({"spec": {"selector": {crate::invariants::facts::HASH: null}}});
    Op::MergeOther(part.kind(), part.name(name), patch)
}
