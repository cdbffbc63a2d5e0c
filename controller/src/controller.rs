//! The controller without IO: news come in, jobs go out. The process and the simulator drive exactly this.
//!
//! ```text
//! deliver(kind, signal)          what a watch says
//! next_job() -> Job              an object that is due
//!   step(job) -> Step            what to send next; None: the job is over
//!   answer(job, result)          what the API server said
//! finish(job)                    schedules the next look
//! next_wake()                    when something falls due by itself
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::Reading;
use tidegate_crds::AnalysisTemplateSpec;
use tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL;
use tidegate_engine::observed::{Identity, PodView};
use tidegate_engine::{Checked, Observed, Plan, Progress, Refusal, Urgency, refusal};
use tidegate_gitsync::remote::Remote;

use crate::cache::{Cache, Look};
use crate::deliveries::{Deliveries, DeliveryJob, RepositoryJob};
use crate::event::{self, Order, Subject, Words};
use crate::execute::{self, Execution, Refused};
use crate::object::{Kind, Object, ObjectKey};
use crate::options::{Options, Part};
use crate::queue::{Lane, Queue};
use crate::request::{Failure, PODS, ROLLOUTS, Request, Resource, SERVICES, Verb};
use crate::runs::{RunJob, RunMemory};
use crate::signal::Signal;
use crate::slim;
use crate::step::{Outcome, OutsideAnswer, Step};

/// Longest time that one 429 keeps all work back, whatever the server says.
const MAX_HOLD: SignedDuration = SignedDuration::from_secs(60);

/// How many refused writes one look gets to know; more is left to later ones.
const MOST_REFUSED: u32 = 32;
/// What the API server breaks on for so long is refused, for all that we can tell: all else goes on, and it is told.
const TROUBLE_PASSES: SignedDuration = SignedDuration::from_secs(5);
/// How soon pods that could not be listed are asked for again.
const UNREAD_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// A Service that the API server does not let us let go of, or ask about, is left alone for so long.
const REFUSED_AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// How long the end of a Rollout is worth an event.
const DELETED_IS_NEWS: SignedDuration = SignedDuration::from_mins(1);

/// What is worked on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A Rollout.
    Rollout(ObjectKey),
    /// An analysis run.
    Run(ObjectKey),
    /// A Service that may have to be let go of (contract 3.5).
    Service(ObjectKey),
    /// A Rollout that is gone, which an event tells.
    Deleted(Deleted),
    /// A Delivery.
    Delivery(ObjectKey),
    /// A repository that Deliveries follow.
    Repository(Remote),
}

/// A Rollout that is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deleted {
    key: ObjectKey,
    uid: Box<str>,
    version: Box<str>,
    seen: Timestamp,
}

impl Deleted {
    /// The event; `None` when it is no news any more: a process that did not lead then has nothing to add.
    fn event(&self, now: Timestamp) -> Option<Request> {
        let age = now.duration_since(self.seen);
        if age > DELETED_IS_NEWS {
            return None;
        }
        let ObjectKey { namespace, name } = &self.key;
        let subject = Subject {
            kind: "Rollout",
            namespace: namespace.clone(),
            name: name.clone(),
            uid: self.uid.to_string(),
            resource_version: self.version.to_string(),
        };
        // Name before namespace, as upstream has it (contract 2.8).
        let message = format!("Rollout {name}/{namespace} is deleted.");
        let words = Words {
            warning: false,
            reason: "RolloutDeleted",
            message: &message,
            occurrence: "",
        };
        let order = Order::of([&*self.version]);
        Some(event::record(&subject, words, order, now))
    }
}

/// One look at one object, with what follows from it.
#[derive(Debug)]
pub struct Job {
    key: Key,
    stage: Stage,
    waiting: Option<Request>,
    wake: Option<Timestamp>,
    plans: u32,
    /// Writes that were refused in this look.
    refused: u32,
    /// How far its update had come at the last look.
    progress: Option<Progress>,
}

impl Job {
    /// Ends the look: its slot and its key are free again, after a while.
    fn panicked(&mut self) {
        tracing::error!(object = ?self.key, "panicked; it is left alone and looked at again");
        self.waiting = None;
        self.stage = Stage::panicked();
    }

    /// What is worked on.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// How many plans were made: none in a look at what is gone, one more after each write that was refused.
    pub fn plans(&self) -> u32 {
        self.plans
    }
}

#[derive(Debug)]
enum Stage {
    Reading(Reads),
    Executing(Box<Execution>),
    /// Whether a Rollout exists that is not known here: it may be another instance's.
    Asking {
        ask: Option<Request>,
        then: Box<Then>,
    },
    Cleaning(Option<Request>),
    Telling(Option<Request>),
    Run(Box<RunJob>),
    Delivery(Box<DeliveryJob>),
    Repository(RepositoryJob),
    Over(Outcome),
}

/// What follows from the end of a Rollout, once the API server has confirmed it.
#[derive(Debug)]
enum Then {
    /// A Service is let go of.
    Release(ObjectKey, Request),
    /// An event tells it. The Rollout of that uid.
    Tell(Box<str>, Request),
}

/// What the identity of a version depends on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Generations {
    uid: String,
    generation: Option<i64>,
    collisions: Option<i32>,
    workload: Option<(String, i64)>,
}

impl Generations {
    fn of(observed: &Observed) -> Self {
        let Observed {
            rollout, workload, ..
        } = observed;
        Self {
            uid: rollout.metadata.uid.clone(),
            generation: rollout.metadata.generation,
            collisions: rollout.status.collision_count,
            workload: workload
                .as_ref()
                .map(|workload| (workload.uid.clone(), workload.generation)),
        }
    }
}

/// Reads that have to come before the plan.
#[derive(Debug, Default)]
struct Reads {
    requests: VecDeque<Request>,
    pods: BTreeMap<String, Vec<PodView>>,
    /// Hashes whose pods could not be read: what depends on them waits, and nothing else does.
    unread: BTreeSet<String>,
}

/// The whole of it, for one process.
#[derive(Debug)]
pub struct Controller {
    options: Options,
    cache: Cache,
    /// Rollouts and Services.
    rollouts: Queue<Key>,
    runs: Queue<Key>,
    /// Deliveries and repositories.
    delivering: Queue<Key>,
    deliveries: Deliveries,
    /// A Delivery or a repository was looked at since this process last stood by.
    delivered: bool,
    /// Since when the counters in the status of a Rollout differ from what is observed.
    counters_since: BTreeMap<ObjectKey, Timestamp>,
    /// How far each update has come that has a deadline.
    progress: BTreeMap<ObjectKey, Progress>,
    /// Hashes of the version of each Rollout, for as long as neither its spec nor its workload changes.
    identities: BTreeMap<ObjectKey, (Generations, Arc<Identity>)>,
    /// What validation said of each Rollout, for as long as nothing that it read changes.
    checked: BTreeMap<ObjectKey, Arc<Checked>>,
    /// Writes that the API server refused. Of no use for another spec: then they are tried at once.
    refusals: BTreeMap<ObjectKey, (Generations, BTreeMap<String, Refusal>)>,
    /// Since when the API server breaks on writes of a Rollout.
    troubles: BTreeMap<ObjectKey, Timestamp>,
    /// What the next look at a Rollout reads first: a write to it lost a race or had no answer, so that the cache may be behind.
    unsure: BTreeMap<ObjectKey, Vec<Request>>,
    /// What is remembered of analysis runs between two looks.
    memory: BTreeMap<ObjectKey, RunMemory>,
    /// The server asked us to wait.
    hold_until: Option<Timestamp>,
}

impl Controller {
    /// A controller that knows nothing yet. `started` is now.
    pub fn new(options: Options, started: Timestamp) -> Self {
        let cache = Cache::new(&options, started);
        let deliveries = Deliveries::beside(options.part);
        Self {
            options,
            cache,
            rollouts: Queue::default(),
            runs: Queue::default(),
            delivering: Queue::default(),
            deliveries,
            delivered: false,
            counters_since: BTreeMap::new(),
            progress: BTreeMap::new(),
            identities: BTreeMap::new(),
            checked: BTreeMap::new(),
            refusals: BTreeMap::new(),
            troubles: BTreeMap::new(),
            unsure: BTreeMap::new(),
            memory: BTreeMap::new(),
            hold_until: None,
        }
    }

    /// Kinds to watch. Grows when a Rollout names a workload, or needs a route object, of a kind that was not watched before.
    pub fn wanted(&self) -> BTreeSet<Kind> {
        self.cache.wanted()
    }

    /// Whether a watch may end: the API server does not show its kind, and nobody needs it any more.
    pub fn is_in_vain(&self, kind: Kind) -> bool {
        self.cache.is_unserved(kind) && !self.cache.wanted().contains(&kind)
    }

    /// Whether all kinds have been listed once; no job is given out before.
    pub fn synced(&self) -> bool {
        self.cache.synced()
    }

    /// Whether a kind has been listed once.
    pub fn listed(&self, kind: Kind) -> bool {
        self.cache.listed(kind)
    }

    /// Forgets looks at what is gone. For a process that does not lead: nobody takes them off its queues.
    pub fn forget_gone(&mut self) {
        let cache = &self.cache;
        let is_there = |key: &Key| match key {
            Key::Rollout(key) => cache.has_rollout(key),
            Key::Run(key) => cache.has_run(key),
            Key::Service(key) => cache.maybe_abandoned(key).is_some(),
            Key::Delivery(key) => cache.has_delivery(key),
            Key::Deleted(_) | Key::Repository(_) => false,
        };
        self.rollouts.retain(is_there);
        self.runs.retain(is_there);
        self.delivering.retain(is_there);
    }

    /// Forgets what repositories said: who leads meanwhile may have released newer commits than are known here. For a
    /// process that does not lead.
    pub fn stand_by(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.delivered) {
            return;
        }
        self.deliveries.forget_all();
        for key in self.cache.delivery_keys() {
            self.delivering.add(Key::Delivery(key.clone()), Lane::Normal, now);
        }
    }

    /// Kinds of objects of Deliveries whose metadata is to be watched, so that a change by hand is noticed. Grows.
    pub fn wanted_metadata(&self) -> impl Iterator<Item = &'static Resource> {
        self.deliveries.watched.wanted()
    }

    /// Takes in what a watch says of the metadata of a kind.
    pub fn deliver_metadata(&mut self, resource: &'static Resource, signal: Signal<'_>, now: Timestamp) {
        for (key, due) in self.deliveries.watched(resource, signal, now) {
            self.delivering.add_at(Key::Delivery(key), due);
        }
    }

    /// The watch of the metadata of a kind has ended: it is looked at from time to time instead.
    pub fn lost_metadata(&mut self, resource: &'static Resource) {
        self.deliveries.watched.lost(resource);
    }

    /// Takes in what a watch says.
    pub fn deliver(&mut self, kind: Kind, signal: Signal<'_>, now: Timestamp) {
        if self.options.deliveries && self.deliveries.watched.has_anyway(kind) {
            self.deliver_metadata(kind.resource(), signal, now);
        }
        let looks = guarded(|| match signal {
            Signal::ListStart => {
                self.cache.list_start(kind);
                Vec::new()
            }
            Signal::Applied(object) => self.take_in(kind, object, now),
            Signal::Deleted(object) => self.cache.delete(kind, object),
            Signal::ListEnd { version } => self.cache.list_end(kind, version),
            Signal::Unserved { why, gone } => self.cache.unserved(kind, why, gone),
        });
        if let Some(looks) = looks {
            self.schedule(looks, now);
        } else {
            tracing::error!(?kind, "panicked over an object; it is ignored until it changes");
        }
    }

    fn take_in(&mut self, kind: Kind, object: Object<'_>, now: Timestamp) -> Vec<Look> {
        self.cache.apply(kind, object, now).unwrap_or_else(|error| {
            // Nobody else is disturbed by it, and it is read again when it changes.
            tracing::warn!(%error, "object ignored until it is mended");
            Vec::new()
        })
    }

    fn schedule(&mut self, looks: Vec<Look>, now: Timestamp) {
        for look in looks {
            match look {
                Look::Rollout { .. } | Look::Run(_) | Look::Service(_) | Look::Deleted { .. }
                    if self.options.part == Part::Deliveries => {}
                Look::Rollout { key, urgent } => {
                    let lane = if urgent { Lane::Urgent } else { Lane::Normal };
                    self.rollouts.add(Key::Rollout(key), lane, now);
                }
                Look::Service(key) => self.rollouts.add(Key::Service(key), Lane::Normal, now),
                Look::Delivery { key, urgent } => {
                    let lane = if urgent { Lane::Urgent } else { Lane::Normal };
                    self.delivering.add(Key::Delivery(key), lane, now);
                }
                Look::Run(key) => self.runs.add(Key::Run(key), Lane::Normal, now),
                Look::Deleted { key, uid, version } => {
                    let seen = now;
                    let deleted = Deleted {
                        key,
                        uid,
                        version,
                        seen,
                    };
                    self.rollouts.add(Key::Deleted(deleted), Lane::Normal, now);
                }
            }
        }
    }

    /// The next object that is due, urgent ones first. `None` when nothing is, when as many as allowed are being worked
    /// on, before everything was listed, and while the server wants to be left alone.
    pub fn next_job(&mut self, now: Timestamp) -> Option<Job> {
        if self.hold_until.is_some_and(|until| now < until) || !self.cache.synced() {
            return None;
        }
        self.hold_until = None;
        if self.rollouts.running() < self.options.rollout_threads
            && let Some(key) = self.rollouts.next(now)
        {
            return Some(self.start(key, now));
        }
        if self.runs.running() < self.options.analysis_threads
            && let Some(key) = self.runs.next(now)
        {
            return Some(self.start(key, now));
        }
        if self.delivering.running() < self.options.delivery_threads
            && let Some(key) = self.delivering.next(now)
        {
            return Some(self.start(key, now));
        }
        None
    }

    fn start(&mut self, key: Key, now: Timestamp) -> Job {
        let stage = guarded(|| self.first_stage(&key, now)).unwrap_or_else(Stage::panicked);
        let progress = match &key {
            Key::Rollout(rollout) => self.progress.get(rollout).cloned(),
            _ => None,
        };
        Job {
            progress,
            key,
            stage,
            waiting: None,
            wake: None,
            plans: 0,
            refused: 0,
        }
    }

    fn first_stage(&mut self, key: &Key, now: Timestamp) -> Stage {
        match key {
            Key::Rollout(rollout) => {
                let unread = self.cache.unread(rollout).into_iter();
                let get =
                    |(kind, key): (Kind, ObjectKey)| Request::get(kind.resource(), &key.namespace, &key.name);
                let unsure = self.unsure.remove(rollout).unwrap_or_default();
                Stage::Reading(Reads {
                    requests: unread.map(get).chain(unsure).collect(),
                    ..Reads::default()
                })
            }
            Key::Run(key) => {
                if let Some(run) = self.cache.run(key) {
                    let job_namespace = self.options.job_namespace.clone();
                    Stage::Run(Box::new(RunJob::new(run, self.memory.get(key), job_namespace)))
                } else {
                    self.memory.remove(key);
                    Stage::Over(Outcome::Done)
                }
            }
            Key::Service(service) => match self.cache.maybe_abandoned(service) {
                Some((view, rollout)) => {
                    let body = execute::service_patch(&view.uid, &view.resource_version, None, None);
                    let ObjectKey { namespace, name } = service;
                    let release = Request::new(Verb::MergePatch, &SERVICES, namespace, name, body);
                    Stage::asking(&rollout, Then::Release(service.clone(), release))
                }
                None => Stage::Over(Outcome::Done),
            },
            Key::Deleted(deleted) => match deleted.event(now) {
                Some(event) => Stage::asking(&deleted.key, Then::Tell(deleted.uid.clone(), event)),
                None => Stage::Over(Outcome::Done),
            },
            Key::Delivery(key) => match self.cache.delivery(key) {
                Some(delivery) if delivery.metadata.deletion_timestamp.is_none() => {
                    Stage::Delivery(Box::new(DeliveryJob::new(key.clone(), delivery)))
                }
                _ => {
                    self.deliveries.forget(key);
                    Stage::Over(Outcome::Done)
                }
            },
            Key::Repository(remote) => match self.deliveries.repositories.job(remote) {
                Some(job) => Stage::Repository(job),
                None => Stage::Over(Outcome::Done),
            },
        }
    }

    /// What to do next for a job; `None` when it waits for an answer, and when it is over.
    pub fn step(&mut self, job: &mut Job, now: Timestamp) -> Option<Step> {
        guarded(|| self.next_step(job, now)).unwrap_or_else(|| {
            job.panicked();
            None
        })
    }

    fn next_step(&mut self, job: &mut Job, now: Timestamp) -> Option<Step> {
        loop {
            if job.waiting.is_some() {
                return None;
            }
            match &mut job.stage {
                Stage::Over(_) => return None,
                Stage::Asking { ask, .. } => match ask.take() {
                    Some(request) => return Some(send(&mut job.waiting, request)),
                    None => job.stage = Stage::Over(Outcome::Done),
                },
                Stage::Cleaning(request) => match request.take() {
                    Some(request) => return Some(send(&mut job.waiting, request)),
                    None => job.stage = Stage::Over(Outcome::Done),
                },
                Stage::Telling(event) => {
                    let event = event.take();
                    job.stage = Stage::Over(Outcome::Done);
                    return event.map(Step::Event);
                }
                Stage::Reading(reading) => {
                    if let Some(request) = reading.requests.pop_front() {
                        return Some(send(&mut job.waiting, request));
                    }
                    let reading = std::mem::take(reading);
                    job.stage = self.plan(&job.key, reading, &mut job.wake, now);
                    job.plans += 1;
                }
                Stage::Executing(execution) => match execution.step() {
                    Some(Step::Request(request)) => return Some(send(&mut job.waiting, request)),
                    Some(step) => return Some(step),
                    None => {
                        let stage = std::mem::replace(&mut job.stage, Stage::Over(Outcome::Done));
                        if let Stage::Executing(execution) = stage {
                            self.executed(job, *execution, now);
                        }
                    }
                },
                Stage::Delivery(_) => return self.step_of_delivery(job, now),
                Stage::Repository(repository) => return repository.step().map(Step::Outside),
                Stage::Run(_) => return self.step_of_run(job, now),
            }
        }
    }

    /// The next step of a look at a Delivery. The look is over when there is none and it waits for nothing.
    fn step_of_delivery(&mut self, job: &mut Job, now: Timestamp) -> Option<Step> {
        let Stage::Delivery(delivery) = &mut job.stage else {
            return None;
        };
        job.plans = 1;
        if let Some(step) = delivery.step(&self.cache, &mut self.deliveries, now) {
            if let Step::Request(request) = &step {
                job.waiting = Some(request.clone());
            }
            return Some(step);
        }
        if !delivery.waits() {
            job.wake = delivery.wake();
            self.delivery_over(delivery, &job.key, now);
            job.stage = Stage::Over(delivery.outcome());
        }
        None
    }

    /// The next step of a look at an AnalysisRun. The look is over when there is none and it waits for nothing.
    fn step_of_run(&mut self, job: &mut Job, now: Timestamp) -> Option<Step> {
        let Stage::Run(run) = &mut job.stage else {
            return None;
        };
        job.plans = 1;
        if let Some(step) = run.step(now) {
            if let Step::Request(request) = &step {
                job.waiting = Some(request.clone());
            }
            self.remember(&step);
            return Some(step);
        }
        if !run.waits() {
            job.wake = run.wake();
            if let (Key::Run(key), used) = (&job.key, run.used_readings())
                && let Some(memory) = self.memory.get_mut(key)
            {
                memory.readings.drain(..used.min(memory.readings.len()));
            }
            job.stage = Stage::Over(run.outcome());
        }
        None
    }

    /// A plan was carried out, or given up. One with a refused write is made again, with that known: so all that does not
    /// depend on it is done in the same look.
    fn executed(&mut self, job: &mut Job, mut execution: Execution, now: Timestamp) {
        let (Some(refused), Key::Rollout(key)) = (execution.refused(), &job.key) else {
            job.stage = Stage::Over(execution.outcome());
            return;
        };
        let Refused {
            key: write,
            failure,
            may_pass,
        } = refused;
        if may_pass && self.may_pass(key, now) {
            job.stage = Stage::Over(Outcome::Failed(failure));
            return;
        }
        tracing::warn!(rollout = %key, write, %failure, "refused by the API server");
        job.refused += 1;
        // What the plan would have moved on by what was refused did not come about.
        match &job.progress {
            Some(progress) => self.progress.insert(key.clone(), progress.clone()),
            None => self.progress.remove(key),
        };
        let observed = self.cache.observe(key).filter(|_| job.refused <= MOST_REFUSED);
        let Some(observed) = observed else {
            job.stage = Stage::Over(Outcome::Failed(failure));
            return;
        };
        let known = self.refusals.entry(key.clone());
        let (_, writes) = known.or_insert_with(|| (Generations::of(&observed), BTreeMap::new()));
        let refusal = writes.entry(write).or_insert_with(|| Refusal {
            words: refusal::words(&failure.message),
            times: 0,
            at: now,
            trouble: may_pass,
        });
        refusal.trouble = may_pass;
        refusal.times = refusal.times.saturating_add(1);
        refusal.at = now;
        job.stage = Stage::Reading(Reads::default());
    }

    /// Whether a write on which the API server broke is tried again at once: it has not broken on this Rollout for long.
    fn may_pass(&mut self, key: &ObjectKey, now: Timestamp) -> bool {
        let known = self.refusals.get(key);
        if known.is_some_and(|(_, writes)| writes.values().any(|refusal| refusal.trouble)) {
            return false;
        }
        let since = self.troubles.entry(key.clone()).or_insert(now);
        // A time of the future means that the clock was set back.
        *since = now.min(*since);
        now.duration_since(*since) < TROUBLE_PASSES
    }

    /// A look at a Delivery is over: its repository may have to be asked now.
    fn delivery_over(&mut self, delivery: &DeliveryJob, key: &Key, now: Timestamp) {
        let Key::Delivery(key) = key else { return };
        if delivery.asks_again() || delivery.follows_anew() {
            self.ask_repository_of(key, now);
        }
    }

    /// The repository that a Delivery follows is asked at once: it may have changed.
    pub fn ask_repository_of(&mut self, delivery: &ObjectKey, now: Timestamp) {
        if let Some(remote) = self.deliveries.repositories.of(delivery) {
            self.delivering
                .add(Key::Repository(remote.clone()), Lane::Normal, now);
        }
    }

    /// The Secret that the webhooks of a Delivery are signed with; `None` if it has none, or there is no such Delivery.
    pub fn webhook_secret_of(&self, delivery: &ObjectKey) -> Option<String> {
        let git = self.cache.delivery(delivery)?.spec.source.git;
        let secret = git.webhook_secret_ref?.name;
        (!secret.is_empty()).then_some(secret)
    }

    /// The answer to the last [`Step::Outside`] of a job.
    pub fn answer_outside(&mut self, job: &mut Job, answer: OutsideAnswer, now: Timestamp) {
        if guarded(|| self.take_outside(job, answer, now)).is_none() {
            job.panicked();
        }
    }

    fn take_outside(&mut self, job: &mut Job, answer: OutsideAnswer, now: Timestamp) {
        match (&mut job.stage, &job.key) {
            (Stage::Delivery(delivery), _) => delivery.answer_outside(answer, &mut self.deliveries, now),
            (Stage::Repository(_), Key::Repository(remote)) => {
                if let OutsideAnswer::Git(answer) = answer {
                    let (due, look) = self.deliveries.repositories.answered(remote, answer, now);
                    job.wake = due;
                    for key in look {
                        self.delivering.add(Key::Delivery(key), Lane::Normal, now);
                    }
                }
                job.stage = Stage::Over(Outcome::Done);
            }
            _ => {}
        }
    }

    /// Remembers which questions are under way.
    fn remember(&mut self, step: &Step) {
        match step {
            Step::Measure(ask) => {
                let memory = self.memory.entry(ask.run.clone()).or_default();
                if memory.uid != ask.uid {
                    *memory = RunMemory {
                        uid: ask.uid.clone(),
                        ..RunMemory::default()
                    };
                }
                memory.in_flight.insert(ask.measure.metric.clone());
            }
            Step::Cancel { run, metric } => {
                if let Some(memory) = self.memory.get_mut(run) {
                    memory.in_flight.remove(metric);
                }
            }
            _ => {}
        }
    }

    /// The reading of a [`Step::Measure`], for the run with that key and uid.
    pub fn measured(&mut self, run: &ObjectKey, uid: &str, reading: Reading, now: Timestamp) {
        let Some(memory) = self.memory.get_mut(run).filter(|memory| memory.uid == uid) else {
            return;
        };
        if memory.in_flight.remove(&reading.metric) {
            memory.readings.push(reading);
            self.runs.add(Key::Run(run.clone()), Lane::Normal, now);
        }
    }

    /// Looks at a Rollout. Ends in reading pods when the plan asks for them first.
    fn plan(&mut self, key: &Key, mut reading: Reads, wake: &mut Option<Timestamp>, now: Timestamp) -> Stage {
        let Key::Rollout(key) = key else {
            return Stage::Over(Outcome::Done);
        };
        if self.cache.waits_for_a_list(key) {
            // The end of the list wakes it. Until then nobody knows where its requests go.
            *wake = now.saturating_add(UNREAD_AGAIN).ok();
            return Stage::Over(Outcome::Done);
        }
        let Some(mut observed) = self.cache.observe(key) else {
            self.counters_since.remove(key);
            self.progress.remove(key);
            self.identities.remove(key);
            self.checked.remove(key);
            self.refusals.remove(key);
            self.troubles.remove(key);
            self.unsure.remove(key);
            return Stage::Over(Outcome::Done);
        };
        let generations = Generations::of(&observed);
        observed.identity = self.identity(key, &generations, &observed);
        observed.refused = self.refused(key, &generations);
        if observed.rollout.metadata.deletion_timestamp.is_some() {
            // What it owns goes by garbage collection (contract 2.1).
            return Stage::Over(Outcome::Done);
        }
        observed.checked = Some(self.checked(key, &observed));
        observed.progress = self.progress.get(key).cloned();
        observed.pods.clone_from(&reading.pods);
        observed.pods.retain(|hash, _| !reading.unread.contains(hash));
        let plan = tidegate_engine::plan(&observed, now, &self.options.settings);
        let missing: Vec<String> = plan
            .needs_pods
            .iter()
            .filter(|hash| !reading.pods.contains_key(*hash))
            .cloned()
            .collect();
        if !missing.is_empty() {
            for hash in missing {
                let mut request = Request::new(Verb::List, &PODS, &key.namespace, "", Value::Null);
                request.selector = format!("{POD_TEMPLATE_HASH_LABEL}={hash}");
                reading.requests.push_back(request);
                reading.pods.insert(hash, Vec::new());
            }
            return Stage::Reading(reading);
        }
        match &plan.progress {
            Some(progress) => self.progress.insert(key.clone(), progress.clone()),
            None => self.progress.remove(key),
        };
        self.forget_refusals(key, &plan);
        let resync = now.saturating_add(self.options.resync).unwrap_or(Timestamp::MAX);
        *wake = Some(plan.wake.map_or(resync, |wake| wake.min(resync)));
        if !reading.unread.is_empty() {
            // The plan wants to look again at once, for the pods that it did not see.
            *wake = now.saturating_add(UNREAD_AGAIN).ok();
        }
        let status = self.status_to_write(key, &plan, &observed, wake, now);
        let tell = match &status {
            Held::Write(_) | Held::Same => true,
            Held::Later => false,
        };
        let patch = if let Held::Write(patch) = status {
            Some(patch)
        } else {
            None
        };
        Stage::Executing(Box::new(Execution::new(plan, &observed, patch, tell, now)))
    }

    /// What was refused of this Rollout, with the spec and workload that it has now.
    fn refused(&mut self, key: &ObjectKey, generations: &Generations) -> BTreeMap<String, Refusal> {
        match self.refusals.get(key) {
            Some((of, writes)) if of == generations => writes.clone(),
            Some(_) => {
                self.refusals.remove(key);
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        }
    }

    /// Forgets refused writes that a plan neither does nor leaves out: they are not needed, or were done.
    fn forget_refusals(&mut self, key: &ObjectKey, plan: &Plan) {
        let Some((_, writes)) = self.refusals.get_mut(key) else {
            return;
        };
        let tried: BTreeSet<String> = plan
            .actions
            .iter()
            .map(|action| refusal::key(&action.change))
            .collect();
        writes.retain(|write, _| plan.refused.contains(write) || tried.contains(write));
        if writes.is_empty() {
            self.refusals.remove(key);
        }
    }

    /// The hashes of the current version, computed once for each generation.
    fn identity(
        &mut self,
        key: &ObjectKey,
        generations: &Generations,
        observed: &Observed,
    ) -> Option<Arc<Identity>> {
        let Observed {
            rollout, workload, ..
        } = observed;
        // Without a generation nobody says when the spec is another one.
        generations.generation?;
        if let Some((known, identity)) = self.identities.get(key)
            && known == generations
        {
            return Some(Arc::clone(identity));
        }
        let template = match workload {
            Some(workload) => Some(&*workload.template),
            None => rollout.spec.template.as_ref(),
        };
        let identity = Arc::new(Identity::of(rollout, template?));
        self.identities
            .insert(key.clone(), (generations.clone(), Arc::clone(&identity)));
        Some(identity)
    }

    /// What validation says, asked again only where it would read another version of anything.
    fn checked(&mut self, key: &ObjectKey, observed: &Observed) -> Arc<Checked> {
        let checked = Checked::latest(self.checked.get(key), observed);
        self.checked.insert(key.clone(), Arc::clone(&checked));
        checked
    }

    /// The difference of the status, unless it is only counters and they are to wait.
    fn status_to_write(
        &mut self,
        key: &ObjectKey,
        plan: &Plan,
        observed: &Observed,
        wake: &mut Option<Timestamp>,
        now: Timestamp,
    ) -> Held {
        let Some(patch) = execute::status_difference(plan, observed) else {
            self.counters_since.remove(key);
            return Held::Same;
        };
        if plan.urgency == Urgency::Soon {
            let since = *self.counters_since.entry(key.clone()).or_insert(now);
            let due = since
                .saturating_add(self.options.settings.counters_delay)
                .unwrap_or(now);
            // A `since` of the future means that the clock was set back.
            if now < due && since <= now {
                *wake = Some(wake.map_or(due, |wake| wake.min(due)));
                return Held::Later;
            }
        }
        self.counters_since.remove(key);
        Held::Write(patch)
    }

    /// The answer to the last [`Step::Request`] of a job. What was written is known from now on.
    pub fn answer(&mut self, job: &mut Job, answer: Result<Value, Failure>, now: Timestamp) {
        if guarded(|| self.take_answer(job, answer, now)).is_none() {
            job.panicked();
        }
    }

    fn take_answer(&mut self, job: &mut Job, answer: Result<Value, Failure>, now: Timestamp) {
        let request = job.waiting.take();
        match (&request, &answer) {
            (Some(request), Ok(object)) => self.learn(request, object, now),
            (Some(request), Err(failure)) => {
                self.notice(request, failure, now);
                self.doubt(job, request, failure);
            }
            (None, _) => {}
        }
        match &mut job.stage {
            Stage::Over(_) | Stage::Telling(_) | Stage::Repository(_) => {}
            Stage::Asking { then, .. } => {
                job.stage = match &answer {
                    Err(failure) if !failure.is_not_found() => {
                        Stage::Over(Outcome::Failed(patiently(failure.clone())))
                    }
                    found => follow(&self.cache, then, found.as_ref().ok()),
                };
            }
            Stage::Cleaning(_) => {
                job.stage = Stage::Over(match answer {
                    Ok(_) => Outcome::Done,
                    Err(failure) if failure.is_not_found() => Outcome::Done,
                    Err(failure) if failure.is_conflict() => Outcome::LookAgain(failure),
                    Err(failure) => Outcome::Failed(patiently(failure)),
                });
            }
            Stage::Reading(reading) => match answer {
                Ok(list) => {
                    let listed = request.filter(|request| request.verb == Verb::List);
                    let (Key::Rollout(rollout), Some(request)) = (&job.key, listed) else {
                        return;
                    };
                    let hash = request.selector.split_once('=').map_or("", |(_, hash)| hash);
                    let uids = self.cache.replica_set_uids(rollout, hash);
                    let pods = slim::pods(&list)
                        .into_iter()
                        .filter(|(owner, _)| uids.contains(owner));
                    reading
                        .pods
                        .insert(hash.to_owned(), pods.map(|(_, pod)| pod).collect());
                }
                // The watch will say so, too.
                Err(failure) if failure.is_not_found() => {}
                Err(failure) if request.as_ref().is_some_and(|request| request.resource == &PODS) => {
                    tracing::warn!(%failure, "pods cannot be listed");
                    let selector = request.as_ref().map_or("", |request| request.selector.as_str());
                    let hash = selector.split_once('=').map_or("", |(_, hash)| hash);
                    reading.unread.insert(hash.to_owned());
                }
                Err(failure) => job.stage = Stage::Over(Outcome::Failed(failure)),
            },
            Stage::Executing(execution) => execution.answer(answer.as_ref().map_err(Clone::clone)),
            Stage::Run(run) => run.answer(answer, now),
            Stage::Delivery(delivery) => delivery.answer(answer, &mut self.deliveries, now),
        }
    }

    /// Takes an answer into the cache, so that the next plan is not made from an older state.
    fn learn(&mut self, request: &Request, object: &Value, now: Timestamp) {
        let Some(kind) = Kind::of(request.resource) else {
            return;
        };
        let looks = match request.verb {
            _ if request.dry_run => return,
            Verb::List => return,
            Verb::Delete => {
                let key = ObjectKey::new(request.namespace.as_str(), request.name.as_str());
                if object.pointer("/metadata/deletionTimestamp").is_some() {
                    self.take_in(kind, Object::Value(object), now)
                } else {
                    let uid = request
                        .body
                        .pointer("/preconditions/uid")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    self.cache.deleted_by_us(kind, &key, uid)
                }
            }
            _ if object.pointer("/metadata/uid").is_none() => return,
            _ => self.take_in(kind, Object::Value(object), now),
        };
        if kind == Kind::AnalysisRun && request.verb == Verb::Create {
            let text = |pointer| {
                object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let key = ObjectKey::new(text("/metadata/namespace"), text("/metadata/name"));
            self.cache.made(&key, text("/metadata/uid"));
        }
        self.schedule(looks, now);
    }

    /// A server that asks us to wait is left alone, by everybody; a disruption budget's 429 is none.
    fn notice(&mut self, request: &Request, failure: &Failure, now: Timestamp) {
        if failure.code == 429 && request.subresource != Some("eviction") {
            let wait = failure
                .retry_after
                .unwrap_or(SignedDuration::from_secs(1))
                .min(MAX_HOLD);
            let until = now.saturating_add(wait).unwrap_or(now);
            self.hold_until = Some(self.hold_until.map_or(until, |held| held.max(until)));
        }
    }

    /// Has the next look read an object whose state nobody here knows: somebody else wrote it, or nobody said whether we did. Watches
    /// may be late, and a plan made from what was there before would repeat a write, or count without it.
    fn doubt(&mut self, job: &Job, request: &Request, failure: &Failure) {
        let Key::Rollout(rollout) = &job.key else { return };
        let known = failure.is_not_found() || failure.already_exists() || failure.is_refusal();
        let cached = Kind::of(request.resource).is_some() && !request.name.is_empty();
        if known || !cached || request.verb == Verb::List {
            return;
        }
        let read = Request::get(request.resource, &request.namespace, &request.name);
        let reads = self.unsure.entry(rollout.clone()).or_default();
        // what this look did not come to read
        let rest = match &job.stage {
            Stage::Reading(reading) => reading
                .requests
                .iter()
                .filter(|r| r.verb == Verb::Get)
                .cloned()
                .collect(),
            _ => Vec::new(),
        };
        for read in std::iter::once(read).chain(rest) {
            if !reads.contains(&read) {
                reads.push(read);
            }
        }
    }

    /// The job is over, or given up: schedules the next look. Answers how it ended.
    pub fn finish(&mut self, job: Job, now: Timestamp) -> Outcome {
        let Job { key, stage, wake, .. } = job;
        let outcome = match stage {
            Stage::Over(outcome) => outcome,
            _ => Outcome::Failed(Failure::no_answer("given up")),
        };
        let queue = match key {
            Key::Run(_) => &mut self.runs,
            Key::Delivery(_) | Key::Repository(_) => {
                self.delivered = true;
                &mut self.delivering
            }
            Key::Rollout(_) | Key::Service(_) | Key::Deleted(_) => &mut self.rollouts,
        };
        match &outcome {
            Outcome::Done => {
                if let Key::Rollout(rollout) = &key {
                    self.troubles.remove(rollout);
                }
                queue.done(&key);
                if let Some(wake) = wake {
                    queue.add_at(key, wake);
                }
            }
            Outcome::LookAgain(_) => queue.conflict(&key, now),
            Outcome::Failed(failure) => {
                queue.failed(&key, now, failure.retry_after);
            }
        }
        outcome
    }

    /// When to ask for a job again, if no news come and no job ends before; `None` when nothing waits that could start.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if !self.cache.synced() {
            return None;
        }
        let rollouts = self
            .rollouts
            .next_due()
            .filter(|_| self.rollouts.running() < self.options.rollout_threads);
        let runs = self
            .runs
            .next_due()
            .filter(|_| self.runs.running() < self.options.analysis_threads);
        let delivering = self
            .delivering
            .next_due()
            .filter(|_| self.delivering.running() < self.options.delivery_threads);
        let due = rollouts.into_iter().chain(runs).chain(delivering).min()?;
        Some(self.hold_until.map_or(due, |hold| due.max(hold)))
    }

    /// How many looks are due: at Rollouts and Services, at analysis runs, and at Deliveries.
    pub fn depth(&self, now: Timestamp) -> [usize; 3] {
        [
            self.rollouts.depth(now),
            self.runs.depth(now),
            self.delivering.depth(now),
        ]
    }

    /// How many objects of each kind are known.
    pub fn sizes(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.cache.sizes()
    }

    /// Rollouts as text, for metrics.
    pub fn rollouts(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.cache.rollouts()
    }

    /// Analysis runs as text, for metrics.
    pub fn runs(&self) -> impl Iterator<Item = (&ObjectKey, &str)> {
        self.cache.runs()
    }

    /// Analysis templates, for metrics: whether cluster-scoped, key, spec.
    pub fn templates(&self) -> impl Iterator<Item = (bool, &ObjectKey, &AnalysisTemplateSpec)> {
        self.cache.templates()
    }
}

/// What is refused is not asked for again and again.
fn patiently(failure: Failure) -> Failure {
    let wait = failure.is_refusal().then_some(REFUSED_AGAIN);
    Failure {
        retry_after: failure.retry_after.or(wait),
        ..failure
    }
}

/// A bug that one object meets must not stop the others: what panics fails, and is looked at again.
fn guarded<T>(what: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(what)).ok()
}

impl Stage {
    fn panicked() -> Self {
        Self::Over(Outcome::Failed(Failure::new(
            0,
            "Panic",
            "a bug: the controller panicked",
        )))
    }

    fn asking(rollout: &ObjectKey, then: Then) -> Self {
        Self::Asking {
            ask: Some(Request::get(&ROLLOUTS, &rollout.namespace, &rollout.name)),
            then: Box::new(then),
        }
    }
}

/// What follows from what the API server said about a Rollout; `None`: there is none of that name.
fn follow(cache: &Cache, then: &Then, rollout: Option<&Value>) -> Stage {
    let uid = |rollout: &Value| rollout.pointer("/metadata/uid").cloned();
    match then {
        Then::Release(service, release) if rollout.is_none_or(|rollout| cache.disowns(rollout, service)) => {
            Stage::Cleaning(Some(release.clone()))
        }
        Then::Tell(of, event) if rollout.and_then(uid).is_none_or(|uid| uid != **of) => {
            Stage::Telling(Some(event.clone()))
        }
        // It is there, whoever acts on it.
        Then::Release(..) | Then::Tell(..) => Stage::Over(Outcome::Done),
    }
}

/// What happens to a difference of the status.
enum Held {
    Same,
    Later,
    Write(Value),
}

fn send(waiting: &mut Option<Request>, request: Request) -> Step {
    *waiting = Some(request.clone());
    Step::Request(request)
}

#[cfg(test)]
mod tests;
