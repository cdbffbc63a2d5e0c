//! Scenarios: what is there, what people do, and how it must end, whatever goes wrong on the way.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_controller::options::Options;

use crate::actors::gitops::GitOps;
use crate::actors::user::{Act, Op, User};
use crate::actors::{controller_of, text};
use crate::api::kinds;
use crate::clock::EPOCH;
use crate::dataplane::Load;
use crate::faults::{FaultPlan, Refusal, RequestFault, SourceTrouble};
use crate::invariants::facts::Facts;
use crate::planes::PLANES;
use crate::world::{Setup, Stats, World};

pub mod build;
pub mod catalogue;

/// The namespace of every scenario.
pub const NAMESPACE: &str = "shop";
/// The name of its Rollout.
pub const ROLLOUT: &str = "web";

/// How it must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The Rollout has this phase, the stable version this image, and every request.
    Stable {
        /// Phase.
        phase: &'static str,
        /// Image of the stable version.
        image: &'static str,
    },
    /// The Rollout and everything of it are gone.
    Gone,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Which of the 22 public bugs of upstream it is about: `argo #2235`.
    pub bug: Option<&'static str>,
    /// What is created at the start, in this order.
    pub objects: Vec<Value>,
    /// Controllers beside the first, as [`Setup::further`].
    pub further: Vec<Options>,
    /// What people do.
    pub acts: Vec<Act>,
    /// What Git has, applied every so often.
    pub git: Option<(SignedDuration, Vec<Value>)>,
    /// Users of the data plane.
    pub loads: Vec<Load>,
    /// Whether there is a metrics source.
    pub metrics: bool,
    /// Trouble of the metrics source that belongs to the story.
    pub source: Vec<SourceTrouble>,
    /// What the API server refuses.
    pub refusals: Vec<Refusal>,
    /// How it must end.
    pub goal: Goal,
    /// Whether every request must be answered, when pods behave.
    pub lossless: bool,
    /// How long it may take without faults.
    pub limit: SignedDuration,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed.
    pub seed: u64,
    /// Faults.
    pub faults: FaultPlan,
    /// Everything that is wrong.
    pub failures: Vec<String>,
    /// What was counted.
    pub stats: Stats,
    /// What is left, without what differs from run to run.
    pub end: BTreeMap<String, Value>,
    /// Weights in the order in which they were set.
    pub weights: Vec<i64>,
    /// Differs when anything that was committed differs; 0 when faults were played, where nobody compares it.
    pub trace: u64,
    /// How often each invariant was in question.
    pub activations: BTreeMap<&'static str, u64>,
    /// What happened, line by line, when that is kept.
    pub log: Vec<String>,
    /// How long it took, in the world's time.
    pub took: SignedDuration,
}

impl Run {
    /// How to see it again.
    pub fn replay(&self) -> String {
        let faults = serde_json::to_string(&self.faults).unwrap_or_default();
        format!(
            "TIDEGATE_SIM_REPLAY='{{\"scenario\":\"{}\",\"seed\":{},\"faults\":{faults}}}' cargo test -p tidegate-sim --test replay -- --nocapture",
            self.scenario, self.seed
        )
    }

    /// What is wrong and how to see it again; empty when nothing is.
    pub fn report(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let mut text = format!("{} (seed {}):\n", self.scenario, self.seed);
        for failure in &self.failures {
            let _ = writeln!(text, "  {failure}");
        }
        let _ = writeln!(text, "  {}", self.replay());
        text
    }
}

/// After this the data plane has heard of the first pods.
const PROPAGATION: SignedDuration = SignedDuration::from_secs(2);
/// Quiet for so long means that nothing is coming any more: longer than every delay in the catalogue.
const QUIET: SignedDuration = SignedDuration::from_secs(130);
/// So often may be tried at rest what the API server refuses: once a minute, of each of two writes.
const DENIED_AT_REST: usize = 20;
/// Time at rest in which nothing may be written (S13).
const REST: SignedDuration = SignedDuration::from_mins(10);

impl Scenario {
    /// Plays it.
    pub fn run(&self, seed: u64, faults: &FaultPlan) -> Run {
        self.play(seed, faults, false)
    }

    /// Plays it; `log` keeps a line for each thing that happens.
    pub fn play(&self, seed: u64, faults: &FaultPlan, log: bool) -> Run {
        let mut world = self.world(seed, faults, log);
        let mut failures = Vec::new();
        for object in &self.objects {
            if let Err(refused) = create(&mut world, object) {
                failures.push(format!(
                    "{} {} refused: {refused}",
                    object["kind"], object["metadata"]["name"]
                ));
            }
        }
        let user = User::new(NAMESPACE, ROLLOUT, self.acts.iter().cloned(), EPOCH);
        world.add_actor(Box::new(user));
        if let Some((every, manifests)) = &self.git {
            let git = GitOps::new(NAMESPACE, manifests.clone(), *every, EPOCH + *every);
            world.add_actor(Box::new(git));
        }
        let limit = self.limit + world.faults_end().duration_since(EPOCH) + faults.longest_delay() * 10;
        let arrived = world.run_until(limit, |world| {
            world.everybody_is_done()
                && world.now() >= world.faults_end()
                && world.now() >= world.last_write() + QUIET
                && self.reached(world)
        });
        if world.is_exhausted() {
            failures.push(format!(
                "S18: a loop without rest; it wrote last: {}",
                last_writes(&world)
            ));
        }
        if arrived {
            self.rest(&mut world, &mut failures);
        } else {
            failures.push(format!(
                "L1: not at its goal {:?} after {:#}: {}",
                self.goal,
                world.elapsed(),
                state(&world)
            ));
            failures.extend(world.open_ends());
        }
        failures.extend(
            world
                .open_ends()
                .into_iter()
                .filter(|end| end.starts_with("refused") && arrived),
        );
        failures.extend(violations(&world));
        if world.stats.panics > 0 {
            failures.push(format!("the planner panicked {} times", world.stats.panics));
        }
        if self.lossless {
            failures.extend(losses(&world));
        }
        Run {
            scenario: self.name.clone(),
            seed,
            faults: faults.clone(),
            failures,
            end: end_state(&world),
            weights: weights(&world),
            trace: if *faults == FaultPlan::default() {
                world.trace()
            } else {
                0
            },
            activations: world.judge.activations().clone(),
            took: world.elapsed(),
            log: world.log().to_vec(),
            stats: world.stats,
        }
    }

    /// The world as it is before anybody acts.
    fn world(&self, seed: u64, faults: &FaultPlan, log: bool) -> World {
        let mut all_faults = faults.clone();
        all_faults.source.extend(self.source.iter().cloned());
        all_faults.refusals.extend(self.refusals.iter().cloned());
        let mut world = World::new(Setup {
            seed,
            faults: all_faults,
            scrape: self.metrics.then(|| SignedDuration::from_secs(1)),
            loads: self.loads.clone(),
            further: self.further.clone(),
            namespace: NAMESPACE.to_owned(),
            log,
            ..Setup::default()
        });
        world.judge.clock_is_steady = faults.clock_jumps.is_empty();
        world.judge.one_leader = faults.second_leaders.is_empty();
        let slowest = faults.requests.values().filter_map(slowness).max();
        let by_chance = faults
            .rates
            .as_ref()
            .filter(|rates| rates.slow > 0)
            .map(|_| 10_000);
        let slow = slowest.max(by_chance).unwrap_or(0);
        world.judge.widen(SignedDuration::from_millis(i64::from(slow)));
        world
    }

    /// Ten minutes in which nothing happens: nothing may be written, and nothing may be left over.
    fn rest(&self, world: &mut World, failures: &mut Vec<String>) {
        let written = world.stats.writes.len();
        world.stop_scraping();
        if self.git.is_none() {
            world.run_for(REST);
            let since = world.stats.writes.get(written..).unwrap_or_default();
            let denied = since.iter().filter(|write| write.denied).count();
            if denied > DENIED_AT_REST {
                failures.push(format!("S13: {denied} tries of what is refused, at rest"));
            }
            for write in since.iter().filter(|write| !write.denied).take(5) {
                let at = write.at.duration_since(EPOCH);
                failures.push(format!("S13: {} at {at:#}, at rest", write.what));
            }
            if !self.reached(world) {
                failures.push(format!("L1: did not stay at its goal: {}", state(world)));
            }
        }
        failures.extend(
            world
                .judge
                .leftovers(NAMESPACE)
                .into_iter()
                .map(|what| format!("S11: {what}")),
        );
    }

    fn reached(&self, world: &World) -> bool {
        let picture = world.judge.picture();
        match &self.goal {
            Goal::Gone => {
                let owned = |kind| {
                    picture
                        .all(kind, NAMESPACE)
                        .any(|o| controller_of(o).is_some_and(|owner| owner["kind"] == "Rollout"))
                };
                picture.rollouts(NAMESPACE).is_empty()
                    && !owned("ReplicaSet")
                    && !owned("AnalysisRun")
                    && !owned("Ingress")
                    && !PLANES.iter().any(|plane| owned(plane.kind))
            }
            Goal::Stable { phase, image } => Facts::of(picture, NAMESPACE, ROLLOUT).is_some_and(|facts| {
                let set = facts
                    .versions
                    .get(facts.stable())
                    .and_then(|v| picture.get("ReplicaSet", NAMESPACE, &v.name));
                let generation = facts.rollout["metadata"]["generation"].to_string();
                // Without routes and Services there is nothing to see of it.
                let served = facts.shares.keys().all(|hash| hash == facts.stable());
                let mut others = picture
                    .all("Rollout", NAMESPACE)
                    .filter(|o| o["metadata"]["name"] != ROLLOUT);
                served
                    && others.all(|other| other["status"]["phase"] == "Healthy")
                    && facts.status()["phase"] == **phase
                    && facts.status()["observedGeneration"] == *generation
                    && set.is_some_and(|set| {
                        set["spec"]["template"]["spec"]["containers"][0]["image"] == **image
                    })
            }),
        }
    }
}

fn first_healthy(world: &World) -> Option<jiff::Timestamp> {
    let healthy = |o: &Value| {
        o["kind"] == "Rollout" && o["metadata"]["name"] == ROLLOUT && o["status"]["phase"] == "Healthy"
    };
    let mut commits = world.store().commits_since(0);
    commits
        .find(|commit| commit.after.as_deref().is_some_and(healthy))
        .map(|commit| commit.at)
}

/// What was written last, newest first.
fn last_writes(world: &World) -> String {
    let writes = world.stats.writes.iter().rev().take(6);
    let last: Vec<&str> = writes.map(|write| write.what.as_str()).collect();
    last.join(", ")
}

/// What the judge saw: the first of each kind says enough.
fn violations(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeMap::new();
    for violation in world.judge.violations() {
        let times: &mut u32 = seen.entry(violation.id).or_default();
        *times += 1;
        if *times <= 2 {
            lines.push(violation.to_string());
        }
    }
    for (id, times) in seen.into_iter().filter(|(_, times)| *times > 2) {
        lines.push(format!("{id}: {times} times in all"));
    }
    lines
}

/// Requests that nobody answered, the first few of them.
fn losses(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    // before the first version is there, nobody can answer
    let served = first_healthy(world);
    let lost = world
        .dataplane
        .losses()
        .iter()
        .filter(|loss| served.is_some_and(|served| loss.from >= served + PROPAGATION));
    for loss in lost.take(5) {
        let at = loss.from.duration_since(EPOCH);
        let to = if loss.pod.is_empty() { "nobody" } else { &loss.pod };
        lines.push(format!(
            "{} requests to {} lost at {at:#} ({to})",
            loss.requests, loss.service
        ));
    }
    lines
}

fn slowness(fault: &RequestFault) -> Option<u32> {
    match fault {
        RequestFault::Slow(ms) => Some(*ms),
        _ => None,
    }
}

/// Creates an object as a user.
pub fn create(world: &mut World, object: &Value) -> Result<(), String> {
    let registry = world.store().registry();
    let found = registry
        .by_kind(text(&object["apiVersion"]), text(&object["kind"]))
        .cloned();
    let resource = found.ok_or_else(|| format!("no kind {}", object["kind"]))?;
    let namespace = if resource.namespaced { NAMESPACE } else { "" };
    let request = crate::store::Request::create(&resource, namespace, object.clone());
    world
        .api("user")
        .send(request)
        .map(drop)
        .map_err(|status| status.message)
}

/// One line about the Rollout, for messages.
pub fn state(world: &World) -> String {
    Facts::of(world.judge.picture(), NAMESPACE, ROLLOUT)
        .map_or_else(|| "no Rollout".to_owned(), |facts| state_of(&facts))
}

/// The same, of facts.
pub(crate) fn state_of(facts: &Facts) -> String {
    let status = facts.status();
    let sizes: Vec<String> = facts
        .versions
        .values()
        .map(|v| format!("{} {}/{}", v.name, v.available, v.wanted))
        .collect();
    format!(
        "{} {}, step {}, stable {}, current {}, weight {}, {}",
        status["phase"],
        status["message"],
        status["currentStepIndex"],
        facts.stable(),
        facts.current(),
        facts.weight,
        sizes.join(", ")
    )
}

/// Weights in the order in which they were set, repetitions left out.
fn weights(world: &World) -> Vec<i64> {
    let mut all = Vec::new();
    for commit in world.store().commits_since(0) {
        let annotations =
            |o: &Value| o["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].clone();
        if let Some(after) = &commit.after
            && let Some(weight) = annotations(after).as_str().and_then(|w| w.parse().ok())
            && all.last() != Some(&weight)
        {
            all.push(weight);
        }
    }
    all
}

/// What is left in the end, without times, uids, versions and random names: two runs of a scenario must leave the same.
pub fn end_state(world: &World) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let kinds = [
        &kinds::ROLLOUTS,
        &kinds::REPLICA_SETS,
        &kinds::SERVICES,
        &kinds::INGRESSES,
        &kinds::ANALYSIS_RUNS,
        &kinds::DEPLOYMENTS,
    ];
    let kinds = kinds.map(|kind| (kind.api_version.to_owned(), kind.kind));
    let others = PLANES.iter().map(|plane| (plane.api_version(), plane.kind));
    for (api_version, kind) in kinds.into_iter().chain(others) {
        let Some(resource) = world.store().registry().by_kind(&api_version, kind) else {
            continue;
        };
        for object in world.store().objects(resource, NAMESPACE) {
            let name = format!("{kind} {}", text(&object["metadata"]["name"]));
            all.insert(name, normal(kind, &object));
        }
    }
    all
}

/// An object without what differs from run to run.
fn normal(kind: &str, object: &Value) -> Value {
    let mut object = object.clone();
    let generation = object["metadata"]["generation"].to_string();
    if object["status"]["observedGeneration"].as_str().map(str::to_owned) == Some(generation) {
        object["status"]["observedGeneration"] = json!("current");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| {
            matches!(
                field.as_str(),
                "name" | "labels" | "annotations" | "ownerReferences"
            )
        });
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove("sim.tidegate.io/meddled");
        }
        for field in ["labels", "annotations"] {
            if metadata.get(field).is_some_and(|map| *map == json!({})) {
                metadata.remove(field);
            }
        }
    }
    if kind == "ReplicaSet" || kind == "Deployment" {
        object["status"] = json!({"replicas": object["status"]["replicas"]});
    }
    if kind == "AnalysisRun" {
        object["status"] = json!({"phase": object["status"]["phase"]});
    }
    if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
        // they stand in the order in which they came about, and an abort leaves `Paused` as it found it
        conditions.retain(|c| c["type"] != "Paused");
        conditions.sort_by(|a, b| text(&a["type"]).cmp(text(&b["type"])));
    }
    // how long a pause of people lasted, and when things happened
    if let Some(duration) = object["status"]["duration"].as_object_mut() {
        duration.retain(|field, _| field == "completionStatus");
    }
    timeless(&mut object);
    object
}

fn timeless(value: &mut Value) {
    match value {
        Value::String(text) if text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok() => {
            *value = json!("a time");
        }
        Value::Object(fields) => {
            fields.remove("uid");
            fields.values_mut().for_each(timeless);
        }
        Value::Array(items) => items.iter_mut().for_each(timeless),
        _ => {}
    }
}

/// Where two end states differ, one line each.
pub fn differences(want: &BTreeMap<String, Value>, got: &BTreeMap<String, Value>) -> Vec<String> {
    let mut lines = Vec::new();
    for name in want
        .keys()
        .chain(got.keys().filter(|name| !want.contains_key(*name)))
    {
        match (want.get(name), got.get(name)) {
            (Some(want), Some(got)) => {
                if let Some(difference) = tidegate_crds::merge::difference(want, got) {
                    lines.push(format!("L4: {name} differs: {difference}"));
                }
            }
            (Some(_), None) => lines.push(format!("L4: {name} is missing")),
            _ => lines.push(format!("L4: {name} should not be there")),
        }
    }
    lines
}

/// An operation of people.
pub fn act(when: crate::actors::user::When, op: Op) -> Act {
    Act::new(when, op)
}
