//! What must hold after every commit (S1 to S20 of `docs/invariants.md`), judged on what is stored, not on what the
//! controller says.
//!
//! The rule of attribution: a commit of the controller is guilty only if what it breaks held before, and it breaks it as well
//! in the state that the controller had heard of when it decided ([`Known`]). A pod that dies while the news of it travels
//! convicts nobody; a guard that was not true of what was known does. What fails only in what is stored is counted apart
//! ([`Judge::strict`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::actors::{is_kind, kind_of, object_of, uid_of};
use crate::dataplane::DataPlane;
use crate::planes::is_route;
use crate::process::Known;
use crate::store::Commit;
use crate::world::is_controller;

pub mod facts;
mod objects;
mod progress;
mod runs;
mod status;
mod traffic;

use facts::{Facts, Id, Picture};

/// The request behind a commit of the controller.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// The process and its job; nothing depends on what is no job's: events.
    pub job: Option<(u32, u64)>,
    /// What the controller had heard of when it decided.
    pub known: Arc<Known>,
    /// The request, for messages.
    pub request: String,
}

/// A commit that broke something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant: `S1`.
    pub id: &'static str,
    /// When.
    pub at: Timestamp,
    /// The revision of the commit; 0 for what is no commit.
    pub revision: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at.duration_since(crate::clock::EPOCH).as_millis();
        write!(
            f,
            "{} at {}.{:03} s (revision {}): {}",
            self.id,
            ms / 1000,
            ms % 1000,
            self.revision,
            self.what
        )
    }
}

/// What one commit looked like from all sides.
struct Scene<'a> {
    commit: &'a Arc<Commit>,
    cause: Option<&'a Cause>,
    /// Whether the controller did it.
    ours: bool,
    before: &'a Facts,
    after: &'a Facts,
    /// Share of requests by hash as the data plane routes now.
    routed: BTreeMap<String, f64>,
}

/// What is remembered of one Rollout.
#[derive(Debug, Default)]
struct Memory {
    traffic: traffic::Memory,
    progress: progress::Memory,
    runs: runs::Memory,
    status: status::Memory,
    objects: objects::Memory,
}

/// Checks every commit.
#[derive(Debug)]
pub struct Judge {
    window: SignedDuration,
    picture: Picture,
    /// What the picture means for each Rollout: what comes after one commit is what was before the next.
    facts: BTreeMap<(String, String), Facts>,
    /// Uids of all Rollouts that there ever were: who has not heard of an end yet may act for it, and what it makes is collected.
    uids: BTreeSet<String>,
    /// Services that a Rollout has named.
    services: BTreeSet<String>,
    past: VecDeque<Past>,
    memory: BTreeMap<(String, String), Memory>,
    violations: Vec<Violation>,
    strict: BTreeMap<&'static str, u64>,
    activations: BTreeMap<&'static str, u64>,
    /// Clock jumps make the controller's times useless for judging pauses.
    pub clock_is_steady: bool,
    /// Two that lead at once may undo what the other does, until one of them is gone.
    pub one_leader: bool,
    /// The instance id of each controller, by its user name.
    pub instances: BTreeMap<String, Option<String>>,
    /// Whether anything is judged at all.
    pub enabled: bool,
}

#[derive(Debug)]
struct Past {
    commit: Arc<Commit>,
    id: Id,
    job: Option<(u32, u64)>,
}

/// What fails: a name that stays the same from state to state, and the words for it.
type Failing = BTreeMap<String, String>;

impl Judge {
    /// A judge for a world in which news may take so long to reach the controller.
    pub fn new(longest_delay: SignedDuration) -> Self {
        Self {
            // and as long as a slow request takes, and two quick ones
            window: longest_delay + SignedDuration::from_millis(200),
            picture: Picture::default(),
            facts: BTreeMap::new(),
            uids: BTreeSet::new(),
            services: BTreeSet::new(),
            past: VecDeque::new(),
            memory: BTreeMap::new(),
            violations: Vec::new(),
            strict: BTreeMap::new(),
            activations: BTreeMap::new(),
            clock_is_steady: true,
            one_leader: true,
            instances: BTreeMap::new(),
            enabled: true,
        }
    }

    /// What was broken.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often something failed at once that may be excused by old news.
    pub fn strict(&self) -> &BTreeMap<&'static str, u64> {
        &self.strict
    }

    /// How often each invariant was in question: one that never is tests nothing.
    pub fn activations(&self) -> &BTreeMap<&'static str, u64> {
        &self.activations
    }

    /// What is stored, as judged.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Allows news to take longer, for requests that are slow by themselves.
    pub fn widen(&mut self, by: SignedDuration) {
        self.window += by;
    }

    /// Looks at a commit.
    pub fn commit(&mut self, commit: &Arc<Commit>, cause: Option<&Cause>, dataplane: &DataPlane) {
        let Some(id) = facts::id_of(commit).filter(|_| self.enabled) else {
            return;
        };
        if is_kind(commit, "Pod") {
            if is_controller(&commit.user) {
                let known = self.picture.clone();
                self.evicts_no_last_pod(commit, &known);
            }
            // counted through the ReplicaSet's counters: no fact depends on it
            self.picture.set(&id, commit.after.clone());
            return;
        }
        let before: Vec<Facts> = self
            .picture
            .rollouts(&commit.namespace)
            .into_iter()
            .filter_map(|name| {
                let key = (commit.namespace.clone(), name);
                let known = self.facts.remove(&key);
                known.or_else(|| Facts::of(&self.picture, &key.0, &key.1))
            })
            .collect();
        if is_kind(commit, "Rollout") {
            self.uids.insert(uid_of(object_of(commit)).to_owned());
            self.services.extend(objects::named_services(object_of(commit)));
        }
        self.picture.set(&id, commit.after.clone());
        self.past.push_back(Past {
            commit: commit.clone(),
            id,
            job: cause.and_then(|cause| cause.job),
        });
        let oldest = commit.at - self.window;
        while self.past.front().is_some_and(|past| past.commit.at < oldest) {
            self.past.pop_front();
        }
        let ours = is_controller(&commit.user) && cause.is_some_and(|cause| cause.job.is_some());
        if ours {
            self.objects_of_nobody(commit);
            self.objects_of_others(commit);
        }
        for before in &before {
            let key = (before.namespace.clone(), before.name.clone());
            let Some(after) = Facts::of(&self.picture, &key.0, &key.1) else {
                self.memory.remove(&key);
                continue;
            };
            let routed = if ours && is_kind(commit, "ReplicaSet") {
                traffic::routed(before, dataplane)
            } else {
                BTreeMap::new()
            };
            let scene = Scene {
                commit,
                cause,
                ours,
                before,
                after: &after,
                routed,
            };
            let mut memory = self.memory.remove(&key).unwrap_or_default();
            self.judge_traffic(&scene, &mut memory.traffic);
            self.judge_progress(&scene, &mut memory.progress);
            self.judge_runs(&scene, &mut memory.runs);
            self.judge_status(&scene, &mut memory.status);
            self.judge_objects(&scene, &mut memory.objects);
            self.memory.insert(key.clone(), memory);
            self.facts.insert(key, after);
        }
    }

    fn active(&mut self, id: &'static str) {
        *self.activations.entry(id).or_default() += 1;
    }

    fn violated(&mut self, id: &'static str, commit: &Commit, what: String) {
        self.violations.push(Violation {
            id,
            at: commit.at,
            revision: commit.revision,
            what,
        });
    }

    /// Notes a violation that is no commit's.
    pub fn note(&mut self, id: &'static str, at: Timestamp, what: String) {
        self.violations.push(Violation {
            id,
            at,
            revision: 0,
            what,
        });
    }

    /// A write that changed nothing (S20; S13 for all objects).
    pub(crate) fn empty_write(&mut self, at: Timestamp, request: &tidegate_controller::request::Request) {
        let kind = request.resource.kind;
        if self.enabled && (kind == "Ingress" || is_route(kind)) {
            self.note("S20", at, format!("{request} changed nothing"));
        }
    }

    /// Applies the rule of attribution to what fails after a commit of the controller.
    fn convict(&mut self, id: &'static str, scene: &Scene<'_>, failing: impl Fn(&Facts) -> Failing) {
        if !scene.ours {
            return;
        }
        let mut guilty = failing(scene.after);
        let before = failing(scene.before);
        guilty.retain(|key, _| !before.contains_key(key));
        if guilty.is_empty() {
            return;
        }
        *self.strict.entry(id).or_default() += 1;
        let mut state = self.known_to(scene);
        let facts_of = |state: &Picture| Facts::of(state, &scene.after.namespace, &scene.after.name);
        let alone = facts_of(&state);
        if let Some(id) = facts::id_of(scene.commit) {
            state.apply(&id, scene.commit);
        }
        let Some(decided_on) = facts_of(&state) else {
            return;
        };
        let then = failing(&decided_on);
        // What failed already did not fail by the commit.
        let before = alone.map(|facts| failing(&facts)).unwrap_or_default();
        guilty.retain(|key, _| then.contains_key(key) && !before.contains_key(key));
        let request = scene.cause.map_or("", |cause| cause.request.as_str());
        for what in guilty.into_values() {
            self.violated(id, scene.commit, format!("{request}: {what}"));
        }
    }

    /// What is stored, without the commit, as far as the controller had heard of it when it decided; with what it has done
    /// since by the same decision.
    fn known_to(&self, scene: &Scene<'_>) -> Picture {
        let mut state = self.picture.clone();
        let Some(cause) = scene.cause else {
            return state;
        };
        let unheard = |past: &&Past| !past.id.is_known(&cause.known, past.commit.revision);
        for past in self.past.iter().rev().filter(unheard) {
            state.set(&past.id, past.commit.before.clone());
        }
        let earlier = |past: &&Past| past.job == cause.job && past.commit.revision < scene.commit.revision;
        for past in self.past.iter().filter(unheard).filter(earlier) {
            state.apply(&past.id, &past.commit);
        }
        state
    }

    /// Whether something is so, and was in what the controller had heard of.
    fn is_known_to_be_so(&self, scene: &Scene<'_>, so: impl Fn(&Facts) -> bool) -> bool {
        so(scene.after) && !self.was_so(scene, |facts| !so(facts))
    }

    /// Whether something is so, or was in what the controller had heard of.
    fn was_so(&self, scene: &Scene<'_>, so: impl Fn(&Facts) -> bool) -> bool {
        let known = |state: &Picture| Facts::of(state, &scene.after.namespace, &scene.after.name);
        so(scene.after) || known(&self.known_to(scene)).is_some_and(|facts| so(&facts))
    }
}

/// Kinds that the controller may write besides what a Rollout names or owns.
fn is_free(kind: &str) -> bool {
    matches!(kind, "Event" | "Lease")
}

/// Steps between two commits: the object of a commit, for messages.
fn named(commit: &Commit) -> String {
    let (namespace, name) = crate::actors::key_of(object_of(commit));
    format!("{} {namespace}/{name}", kind_of(commit))
}
