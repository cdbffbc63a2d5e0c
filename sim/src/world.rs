//! A simulated cluster with our controller in it. Everything that happens has a place on one agenda and follows from the
//! seed, so a run can be repeated to the last byte.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher};
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_analysis::Reading;
use tidegate_controller::controller::Key;
use tidegate_controller::object::{Kind, ObjectKey};
use tidegate_controller::options::Options;
use tidegate_controller::request::{Failure, Request};
use tidegate_controller::step::{Ask, Outcome, Outside, OutsideAnswer, Step};

use crate::actors::kubelet::Kubelet;
use crate::actors::user::{Op, perform};
use crate::actors::{self, Actor, Cx, kind_of, object_of};
use crate::api::{Api, kinds};
use crate::clock::{Agenda, EPOCH};
use crate::dataplane::{Config, DataPlane, Load};
use crate::faults::{CrashAt, FaultPlan, HIDDEN_AT_MOST, RequestFault};
use crate::forge::{Forge, describe_question, unreachable};
use crate::invariants::{Cause, Judge};
use crate::metrics::Metrics;
use crate::planes::{PLANES, Plane, is_route};
use crate::process::{self, Process};
use crate::provider;
use crate::rng::Rng;
use crate::store::{self, Commit, Store, WatchEvent};

/// User name of the controller; those of further ones are this and their number: `tidegate-1`.
pub const CONTROLLER: &str = "tidegate";
/// User name of the other writer of fault 6.
const MEDDLER: &str = "meddler";
/// Label that it writes.
const MEDDLED: &str = "sim.tidegate.io/meddled";

/// What shall be simulated.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Whether the controller runs.
    pub controller: bool,
    /// Options of the controller.
    pub options: Options,
    /// Controllers beside it, each with its own options, as instances with an id of their own are.
    pub further: Vec<Options>,
    /// How often metrics are scraped; `None`: never.
    pub scrape: Option<SignedDuration>,
    /// Users of the data plane.
    pub loads: Vec<Load>,
    /// Namespace of everything.
    pub namespace: String,
    /// Between these, changes reach the data plane.
    pub lag: (SignedDuration, SignedDuration),
    /// Keep a line for each thing that happens.
    pub log: bool,
    /// So many things may happen; more is a loop that never rests.
    pub most: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            faults: FaultPlan::default(),
            controller: true,
            options: Options::default(),
            further: Vec::new(),
            scrape: None,
            loads: Vec::new(),
            namespace: "shop".to_owned(),
            lag: (SignedDuration::from_millis(100), SignedDuration::from_millis(900)),
            log: false,
            most: 30_000,
        }
    }
}

/// A write of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When it was sent.
    pub at: Timestamp,
    /// Whether validation, a quota or admission refuses it.
    pub denied: bool,
    /// Verb, kind and name.
    pub what: String,
}

/// What one Delivery took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Looks at it.
    pub looks: u64,
    /// Requests to the API server, events not counted.
    pub requests: u64,
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Looks of the controller that made a plan.
    pub plans: u64,
    /// Writes that it sent, events not counted.
    pub writes: Vec<Write>,
    /// Reads that it sent.
    pub reads: u64,
    /// Events that it sent.
    pub events: u64,
    /// What each Delivery took, by `NAMESPACE/NAME`.
    pub deliveries: BTreeMap<String, Work>,
    /// Writes to repositories and forges that it sent.
    pub outside: Vec<Write>,
    /// Questions to repositories that it sent.
    pub asked: u64,
    /// Requests that were refused with 409.
    pub conflicts: u64,
    /// Crashes.
    pub crashes: u32,
    /// Faults that were injected into requests, by number of the write.
    pub injected: BTreeMap<u32, RequestFault>,
    /// Plans that panicked.
    pub panics: u64,
}

impl Stats {
    /// What a Delivery took.
    fn delivery(&mut self, delivery: &ObjectKey) -> &mut Work {
        self.deliveries.entry(delivery.to_string()).or_default()
    }
}

enum Happening {
    Act(usize),
    Garbage,
    DataPlane,
    Scrape,
    Start {
        id: u32,
        instance: usize,
    },
    Stop(u32),
    Relist(Kind),
    Jump(SignedDuration),
    Wake(u32),
    Watch {
        id: u32,
        kind: Kind,
        epoch: u32,
        event: WatchEvent,
    },
    Unhide {
        id: u32,
        kind: Kind,
        epoch: u32,
        key: (String, String),
        revision: u64,
    },
    Arrive {
        id: u32,
        instance: usize,
        /// Of when it was sent: who decided it may be gone when it arrives.
        cause: Box<Cause>,
        request: Box<Request>,
        fault: Option<RequestFault>,
    },
    Answer {
        id: u32,
        job: u64,
        kind: &'static str,
        answer: Result<Value, Failure>,
        crash_ms: Option<u32>,
    },
    Outside {
        id: u32,
        job: u64,
        question: Box<Outside>,
        fault: Option<RequestFault>,
    },
    Told {
        id: u32,
        job: u64,
        answer: Box<OutsideAnswer>,
        crash_ms: Option<u32>,
    },
    Ask {
        id: u32,
        ask: Box<Ask>,
        asked: Timestamp,
    },
    Terminate {
        id: u32,
        job: u64,
        ask: Box<Ask>,
    },
    Measured {
        id: u32,
        ask: Box<Ask>,
        reading: Box<tidegate_analysis::Reading>,
    },
    Source(Option<crate::metrics::SourceFault>),
}

struct Slot {
    actor: Box<dyn Actor>,
    rng: Rng,
    wake: Option<Timestamp>,
}

/// The world.
pub struct World {
    setup: Setup,
    agenda: Agenda<Happening>,
    store: Store,
    seen: u64,
    actors: Vec<Slot>,
    /// The data plane.
    pub dataplane: DataPlane,
    /// The metrics source.
    pub metrics: Metrics,
    /// The Git server.
    pub forge: Forge,
    processes: BTreeMap<u32, Process>,
    next_process: u32,
    lags: Rng,
    garbage_due: bool,
    /// What is counted.
    pub stats: Stats,
    /// The invariants.
    pub judge: Judge,
    last_write: Timestamp,
    happened: u64,
    log: Vec<String>,
}

/// A store with the kinds that every world has; made once, because reading the kinds takes longer than a run.
fn empty_store(namespace: &str) -> Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    let mut store = STORE.get_or_init(|| Store::new(1)).clone();
    store.add_namespace(namespace, EPOCH);
    store
}

impl World {
    /// A cluster with its own controllers and, if wanted, ours.
    pub fn new(setup: Setup) -> Self {
        Self::with_kubelet(setup, Kubelet::default())
    }

    /// The same, where pods start as this kubelet says.
    pub fn with_kubelet(setup: Setup, kubelet: Kubelet) -> Self {
        let rng = Rng::new(setup.seed);
        let store = empty_store(&setup.namespace);
        let mut dataplane = DataPlane::new(EPOCH);
        dataplane.lag = setup.lag;
        dataplane.set_loads(setup.loads.iter().cloned());
        let mut world = Self {
            agenda: Agenda::new(EPOCH),
            seen: store.revision(),
            store,
            actors: Vec::new(),
            dataplane,
            metrics: Metrics::default(),
            forge: Forge::default(),
            processes: BTreeMap::new(),
            next_process: 0,
            lags: rng.fork("lags"),
            garbage_due: false,
            stats: Stats::default(),
            judge: Judge::new(setup.faults.longest_delay()),
            last_write: EPOCH,
            happened: 0,
            log: Vec::new(),
            setup,
        };
        for actor in actors::standard(kubelet) {
            world.add_actor(actor);
        }
        let options = [&world.setup.options].into_iter().chain(&world.setup.further);
        world.judge.instances = options
            .enumerate()
            .map(|(number, options)| (user_of(number), options.settings.instance_id.clone()))
            .collect();
        world.plan_faults();
        world
    }

    fn plan_faults(&mut self) {
        let ms = |n: u64| SignedDuration::from_millis(n as i64);
        if self.setup.controller {
            for instance in 0..=self.setup.further.len() {
                let id = self.next_process;
                self.next_process += 1;
                self.agenda.put(EPOCH, Happening::Start { id, instance });
            }
        }
        if let Some(every) = self.setup.scrape {
            self.agenda.put_in(every, Happening::Scrape);
        }
        let faults = self.setup.faults.clone();
        for relist in &faults.relists {
            if let Some(kind) = Kind::all().find(|k| k.resource().kind == relist.kind) {
                self.agenda.put_in(ms(relist.at_ms), Happening::Relist(kind));
            }
        }
        for jump in &faults.clock_jumps {
            self.agenda.put_in(
                ms(jump.at_ms),
                Happening::Jump(SignedDuration::from_millis(jump.by_ms)),
            );
        }
        for second in &faults.second_leaders {
            let id = self.next_process;
            self.next_process += 1;
            self.agenda
                .put_in(ms(second.at_ms), Happening::Start { id, instance: 0 });
            self.agenda
                .put_in(ms(second.at_ms + second.for_ms), Happening::Stop(id));
        }
        for trouble in &faults.source {
            self.agenda.put_in(
                ms(trouble.from_ms),
                Happening::Source(Some(trouble.fault.clone())),
            );
            self.agenda.put_in(ms(trouble.until_ms), Happening::Source(None));
        }
    }

    /// Adds somebody who acts.
    pub fn add_actor(&mut self, actor: Box<dyn Actor>) {
        let rng = Rng::new(self.setup.seed).fork(actor.name());
        self.actors.push(Slot {
            actor,
            rng,
            wake: None,
        });
        self.wake_actor(self.actors.len() - 1, self.agenda.now());
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.agenda.now()
    }

    /// How long the world has existed.
    pub fn elapsed(&self) -> SignedDuration {
        self.now().duration_since(EPOCH)
    }

    /// The API server as somebody sees it now. What is written is noticed when time goes on.
    pub fn api<'a>(&'a mut self, user: &'a str) -> Api<'a> {
        Api::new(&mut self.store, user, self.agenda.now())
    }

    /// Somebody does something at once, as a person with the plugin.
    pub fn perform(&mut self, namespace: &str, rollout: &str, op: &Op) -> Result<(), store::Status> {
        let now = self.agenda.now();
        let mut rng = Rng::new(self.setup.seed).fork("people");
        let mut cx = Cx {
            api: Api::new(&mut self.store, "user", now),
            dataplane: &mut self.dataplane,
            rng: &mut rng,
            now,
        };
        let done = perform(&mut cx, namespace, rollout, op);
        self.notice();
        done
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether everybody has done what they wanted to do.
    pub fn everybody_is_done(&self) -> bool {
        self.actors.iter().all(|slot| slot.actor.is_done())
    }

    /// What actors still wait for or were refused, for messages.
    pub fn open_ends(&self) -> Vec<String> {
        self.actors
            .iter()
            .flat_map(|slot| slot.actor.open_ends())
            .collect()
    }

    /// When the controller wrote last.
    pub fn last_write(&self) -> Timestamp {
        self.last_write
    }

    /// When the last fault of the plan is over.
    pub fn faults_end(&self) -> Timestamp {
        let faults = &self.setup.faults;
        let last = faults
            .relists
            .iter()
            .map(|r| r.at_ms)
            .chain(faults.clock_jumps.iter().map(|j| j.at_ms))
            .chain(faults.second_leaders.iter().map(|s| s.at_ms + s.for_ms))
            .chain(faults.source.iter().map(|s| s.until_ms))
            .chain(faults.refusals.iter().filter_map(|r| r.until_ms))
            .chain(faults.stops_ms)
            .max();
        EPOCH + SignedDuration::from_millis(last.unwrap_or(0) as i64)
    }

    /// A number that differs when anything that was committed differs.
    pub fn trace(&self) -> u64 {
        let mut trace = Trace::default();
        for commit in self.store.commits_since(0) {
            (commit.revision, commit.at, &commit.user, &commit.name).hash(&mut trace);
            commit.after.hash(&mut trace);
        }
        trace.finish()
    }

    /// What happened, line by line, when that is kept.
    pub fn log(&self) -> &[String] {
        &self.log
    }

    /// Stops scraping metrics, for long times in which nothing is asked.
    pub fn stop_scraping(&mut self) {
        self.setup.scrape = None;
    }

    /// Whether more happened than may: time stands still from then on.
    pub fn is_exhausted(&self) -> bool {
        self.happened >= self.setup.most
    }

    /// Lets things happen up to a time.
    pub fn run_to(&mut self, until: Timestamp) {
        self.notice();
        while !self.is_exhausted()
            && let Some(what) = self.agenda.take(until)
        {
            self.happened += 1;
            self.happen(what);
            self.notice();
        }
        self.dataplane.advance(until);
    }

    /// Lets things happen for a while.
    pub fn run_for(&mut self, time: SignedDuration) {
        self.run_to(self.now() + time);
    }

    /// Lets things happen until something is so, looked at each second; false when that was not before `limit`.
    pub fn run_until(&mut self, limit: SignedDuration, mut so: impl FnMut(&mut Self) -> bool) -> bool {
        let limit = self.now() + limit;
        loop {
            if so(self) {
                return true;
            }
            if self.now() >= limit || self.is_exhausted() {
                return false;
            }
            self.run_for(SignedDuration::from_secs(1));
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.setup.log {
            let ms = self.now().duration_since(EPOCH).as_millis();
            self.log
                .push(format!("{:>9}.{:03} {}", ms / 1000, ms % 1000, line()));
        }
    }

    fn faulty(&self) -> bool {
        let stops = self.setup.faults.stops_ms;
        stops.is_none_or(|ms| self.now() < EPOCH + SignedDuration::from_millis(ms as i64))
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Act(index) => self.act(index),
            Happening::Garbage => {
                self.garbage_due = false;
                let now = self.now();
                self.store.collect_garbage(now);
            }
            Happening::DataPlane => self.dataplane.advance(self.agenda.now()),
            Happening::Scrape => self.scrape(),
            Happening::Source(fault) => self.metrics.fault = fault,
            Happening::Start { id, instance } => self.start(id, instance),
            Happening::Stop(id) => self.stop(id),
            Happening::Relist(kind) => self.relist(kind),
            Happening::Jump(by) => {
                for process in self.processes.values_mut() {
                    process.skew += by;
                }
                self.pump_all();
            }
            Happening::Wake(id) => self.wake(id),
            Happening::Watch {
                id,
                kind,
                epoch,
                event,
            } => self.deliver(id, kind, epoch, &event),
            Happening::Unhide {
                id,
                kind,
                epoch,
                key,
                revision,
            } => self.unhide(id, kind, epoch, &key, revision),
            Happening::Arrive {
                id,
                instance,
                cause,
                request,
                fault,
            } => self.arrive(id, instance, &cause, &request, fault.as_ref()),
            Happening::Answer {
                id,
                job,
                kind,
                answer,
                crash_ms,
            } => self.answer(id, job, kind, answer, crash_ms),
            Happening::Outside {
                id,
                job,
                question,
                fault,
            } => self.arrive_outside(id, job, &question, fault.as_ref()),
            Happening::Told {
                id,
                job,
                answer,
                crash_ms,
            } => self.told(id, job, *answer, crash_ms),
            Happening::Ask { id, ask, asked } => self.ask(id, ask, asked),
            Happening::Terminate { id, job, ask } => self.terminate(id, job, &ask),
            Happening::Measured { id, ask, reading } => self.measured(id, &ask, *reading),
        }
    }

    /// The source of metrics asks the data plane.
    fn scrape(&mut self) {
        let now = self.now();
        self.dataplane.advance(now);
        if let Some(every) = self.setup.scrape {
            self.metrics.scrape_data_plane(now, &self.dataplane);
            self.agenda.put_in(every, Happening::Scrape);
        }
    }

    /// One of two processes ends.
    fn stop(&mut self, id: u32) {
        // the younger process stays when it is the only one
        let first = |process: &&Process| process.instance == 0;
        if self.processes.values().filter(first).count() > 1 {
            self.note(|| format!("process {id} ends"));
            self.processes.remove(&id);
        }
    }

    /// Watches of a kind break: everybody lists anew.
    fn relist(&mut self, kind: Kind) {
        let now = self.now();
        let revision = self.store.revision();
        for process in self.processes.values_mut() {
            process.list(&self.store, kind, revision, now);
        }
        self.pump_all();
    }

    /// A process wanted to look again now.
    fn wake(&mut self, id: u32) {
        let now = self.now();
        if let Some(process) = self.processes.get_mut(&id) {
            if process.wake.is_some_and(|at| at <= now) {
                process.wake = None;
            }
            self.pump(id);
        }
    }

    /// A measurement is called off.
    fn terminate(&mut self, id: u32, job: u64, ask: &Ask) {
        let now = self.now();
        // There is nothing to stop at a Prometheus.
        provider::measure_job(&mut self.store, ask, now, SignedDuration::ZERO);
        self.notice();
        self.answer(id, job, "", Ok(Value::Null), None);
    }

    /// A measurement is over.
    fn measured(&mut self, id: u32, ask: &Ask, reading: Reading) {
        let now = self.now();
        if let Some(process) = self.processes.get_mut(&id) {
            let at = now + process.skew;
            process.controller.measured(&ask.run, &ask.uid, reading, at);
            self.pump(id);
        }
    }

    // ------------------------------------------------------------------------------------------- the cluster itself

    fn wake_actor(&mut self, index: usize, at: Timestamp) {
        let Some(slot) = self.actors.get_mut(index) else {
            return;
        };
        if slot.wake.is_none_or(|wake| at < wake) {
            slot.wake = Some(at);
            self.agenda.put(at, Happening::Act(index));
        }
    }

    fn act(&mut self, index: usize) {
        let now = self.agenda.now();
        let Some(slot) = self.actors.get_mut(index) else {
            return;
        };
        if slot.wake.is_none_or(|wake| wake > now) {
            return;
        }
        slot.wake = None;
        self.dataplane.advance(now);
        let user = slot.actor.name();
        let mut cx = Cx {
            api: Api::new(&mut self.store, user, now),
            dataplane: &mut self.dataplane,
            rng: &mut slot.rng,
            now,
        };
        if let Some(again) = slot.actor.act(&mut cx) {
            self.wake_actor(index, again.max(now));
        }
    }

    /// Takes notice of what was committed: every commit by every actor, watch, the data plane and the invariants.
    fn notice(&mut self) {
        self.notice_as(None);
    }

    fn notice_as(&mut self, cause: Option<&Cause>) {
        let commits: Vec<Arc<Commit>> = self.store.commits_since(self.seen).cloned().collect();
        let now = self.now();
        for commit in &commits {
            self.seen = commit.revision;
            if self.setup.log {
                let line = describe(commit);
                self.note(|| line);
            }
            let kind = kind_of(commit);
            if kind == "CustomResourceDefinition" {
                self.definitions_changed();
            }
            if kind == "Ingress" || kind == "EndpointSlice" || is_route(kind) {
                self.tell_data_plane();
            }
            self.judge.commit(commit, cause, &self.dataplane);
            for index in 0..self.actors.len() {
                let Some(slot) = self.actors.get_mut(index) else {
                    continue;
                };
                if slot.actor.notice(commit) {
                    let delay = slot.rng.between(slot.actor.lag());
                    self.wake_actor(index, now + delay);
                }
            }
            self.watchers(commit);
        }
        if !self.garbage_due && self.store.has_garbage() {
            self.garbage_due = true;
            let delay = self
                .lags
                .between((SignedDuration::from_millis(20), SignedDuration::from_millis(200)));
            self.agenda.put_in(delay, Happening::Garbage);
        }
    }

    /// Kinds have come or gone: who waits for one tries again.
    fn definitions_changed(&mut self) {
        let now = self.now();
        let ids: Vec<u32> = self.processes.keys().copied().collect();
        for id in ids {
            if let Some(process) = self.processes.get_mut(&id) {
                process.list_unserved(&self.store, self.seen, now);
            }
            self.pump(id);
        }
    }

    fn tell_data_plane(&mut self) {
        let all = |api_version: &str, kind: &str| -> Vec<Arc<Value>> {
            let resource = self.store.registry().by_kind(api_version, kind);
            resource
                .map(|r| self.store.objects(r, "").collect())
                .unwrap_or_default()
        };
        let of = |kind: &crate::api::Kind| all(kind.api_version, kind.kind);
        let (ingresses, slices) = (of(&kinds::INGRESSES), of(&kinds::ENDPOINT_SLICES));
        let others: Vec<(&'static Plane, Arc<Value>)> = PLANES
            .iter()
            .flat_map(|plane| {
                let objects = all(&plane.api_version(), plane.kind);
                objects.into_iter().map(|object| (*plane, object))
            })
            .collect();
        let config = Config::read(
            ingresses.iter().map(|o| &**o),
            others.iter().map(|(plane, object)| (*plane, &**object)),
            slices.iter().map(|o| &**o),
        );
        let at = self.now() + self.lags.between(self.dataplane.lag);
        self.dataplane.learn(config, at);
        if let Some(due) = self.dataplane.due() {
            self.agenda.put(due.max(at), Happening::DataPlane);
        }
    }

    // ---------------------------------------------------------------------------------------------------- processes

    fn start(&mut self, id: u32, instance: usize) {
        let now = self.now();
        let further = instance.checked_sub(1).and_then(|n| self.setup.further.get(n));
        let options = further.unwrap_or(&self.setup.options).clone();
        let mut process = Process::new(instance, options, SignedDuration::ZERO, now);
        let revision = self.store.revision().max(1);
        self.note(|| format!("process {id} starts"));
        process.list_wanted(&self.store, revision, now);
        self.processes.insert(id, process);
        self.pump(id);
    }

    fn crash(&mut self, id: u32, down_ms: u32) {
        let Some(process) = self.processes.remove(&id) else {
            return;
        };
        self.stats.crashes += 1;
        self.note(|| format!("process {id} dies"));
        let next = self.next_process;
        self.next_process += 1;
        self.agenda.put_in(
            SignedDuration::from_millis(i64::from(down_ms)),
            Happening::Start {
                id: next,
                instance: process.instance,
            },
        );
    }

    fn watchers(&mut self, commit: &Arc<Commit>) {
        let ids: Vec<u32> = self.processes.keys().copied().collect();
        for id in ids {
            self.watch_of(id, commit);
        }
    }

    fn watch_of(&mut self, id: u32, commit: &Arc<Commit>) {
        let faulty = self.faulty();
        let now = self.agenda.now();
        let faults = &self.setup.faults;
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        for (kind, watch) in &mut process.watches {
            let resource = kind.resource();
            if commit.resource.plural != resource.plural || commit.resource.group != resource.group {
                continue;
            }
            let Some(event) = commit.event(&watch.selector) else {
                continue;
            };
            let named = resource.kind;
            let number = watch.count;
            watch.count += 1;
            if faulty
                && faults
                    .hidden
                    .get(named)
                    .is_some_and(|hidden| hidden.contains(&number))
            {
                let key = actors::key_of(&event.object);
                let what = Happening::Unhide {
                    id,
                    kind: *kind,
                    epoch: watch.epoch,
                    key,
                    revision: event.revision,
                };
                self.agenda.put_in(HIDDEN_AT_MOST, what);
                continue;
            }
            let (low, high) = match faults
                .watch_delays
                .get(named)
                .or_else(|| faults.watch_delays.get(""))
            {
                Some(delay) if faulty => *delay,
                _ => (1, 15),
            };
            let span = (
                SignedDuration::from_millis(i64::from(low)),
                SignedDuration::from_millis(i64::from(high)),
            );
            watch.last = watch.last.max(now + self.lags.between(span));
            self.agenda.put(
                watch.last,
                Happening::Watch {
                    id,
                    kind: *kind,
                    epoch: watch.epoch,
                    event,
                },
            );
        }
    }

    fn deliver(&mut self, id: u32, kind: Kind, epoch: u32, event: &WatchEvent) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process
            .watches
            .get(&kind)
            .is_none_or(|watch| watch.epoch != epoch)
        {
            return;
        }
        process.deliver(kind, event, now);
        if kind == Kind::Rollout {
            process.list_wanted(&self.store, self.seen, now);
        }
        self.pump(id);
    }

    fn unhide(&mut self, id: u32, kind: Kind, epoch: u32, key: &(String, String), revision: u64) {
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let Some(watch) = process.watches.get(&kind) else {
            return;
        };
        let heard = process.has_heard_of(kind, key, revision);
        if watch.epoch != epoch || heard {
            return;
        }
        let commits = self.store.commits_since(revision - 1);
        let last = commits
            .filter(|c| {
                c.resource.plural == kind.resource().plural && (&c.namespace, &c.name) == (&key.0, &key.1)
            })
            .last();
        if let Some(event) = last.and_then(|commit| commit.event(&watch.selector)) {
            self.deliver(id, kind, epoch, &event);
        }
    }

    fn pump_all(&mut self) {
        let ids: Vec<u32> = self.processes.keys().copied().collect();
        for id in ids {
            self.pump(id);
        }
    }

    /// Begins every job that is due.
    fn pump(&mut self, id: u32) {
        let now = self.now();
        while let Some(job) = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.next_job(now))
        {
            self.drive(id, job);
        }
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Some(wake) = process.controller.next_wake() else {
            return;
        };
        let wake = wake - process.skew;
        // what is due and not begun waits for a job to end, or for a list
        if wake > now && process.wake.is_none_or(|at| wake < at) {
            process.wake = Some(wake);
            self.agenda.put(wake, Happening::Wake(id));
        }
    }

    /// Takes a job as far as it goes without an answer.
    fn drive(&mut self, id: u32, number: u64) {
        let now = self.now();
        loop {
            let Some(process) = self.processes.get_mut(&id) else {
                return;
            };
            let Some(running) = process.jobs.get_mut(&number) else {
                return;
            };
            let plans = running.job.plans();
            let step = process.controller.step(&mut running.job, now + process.skew);
            if running.job.plans() > plans {
                running.known = process.known.clone();
            }
            match step {
                Some(Step::Request(request)) => {
                    running.awaiting = true;
                    if let Key::Delivery(delivery) = running.job.key() {
                        self.stats.delivery(delivery).requests += 1;
                    }
                    if self.send(id, number, request) {
                        return;
                    }
                }
                Some(Step::Event(request)) => {
                    self.stats.events += 1;
                    let instance = process.instance;
                    let delay = self.latency();
                    let request = Box::new(request);
                    self.agenda.put_in(
                        delay,
                        Happening::Arrive {
                            id,
                            instance,
                            cause: Box::default(),
                            request,
                            fault: None,
                        },
                    );
                }
                Some(Step::Outside(question)) => {
                    running.awaiting = true;
                    self.send_outside(id, number, question);
                    return;
                }
                Some(Step::Measure(ask)) => {
                    let asked = now + process.skew;
                    let delay = self.latency();
                    self.agenda.put_in(delay, Happening::Ask { id, ask, asked });
                }
                Some(Step::Terminate(ask)) => {
                    running.awaiting = true;
                    let delay = self.latency();
                    let job = number;
                    self.agenda.put_in(delay, Happening::Terminate { id, job, ask });
                }
                // its reading is refused when it comes
                Some(Step::Cancel { .. }) => {}
                None if running.awaiting => return,
                None => return self.job_over(id, number),
            }
        }
    }

    /// A job has nothing left to do.
    fn job_over(&mut self, id: u32, number: u64) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Some(running) = process.jobs.remove(&number) else {
            return;
        };
        let planned = running.job.plans() > 0 && matches!(running.job.key(), Key::Rollout(_));
        self.stats.plans += u64::from(planned);
        if let Key::Delivery(delivery) = running.job.key() {
            self.stats.delivery(delivery).looks += 1;
        }
        let key = running.job.key().clone();
        let outcome = process.controller.finish(running.job, now + process.skew);
        if let Outcome::Failed(failure) | Outcome::LookAgain(failure) = &outcome {
            self.stats.panics += u64::from(failure.reason == "Panic");
            let line = format!("{key:?}: {failure}");
            self.note(|| line);
        }
    }

    fn latency(&mut self) -> SignedDuration {
        self.lags
            .between((SignedDuration::from_millis(1), SignedDuration::from_millis(8)))
    }

    /// Sends a request; true when the process did not survive that.
    fn send(&mut self, id: u32, job: u64, request: Request) -> bool {
        let mut fault = None;
        if request.writes() {
            let number = self.stats.writes.len() as u32;
            let ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(0);
            fault = self.setup.faults.refusal(&request, ms);
            let denied = fault.is_some();
            if !denied {
                self.last_write = self.now();
            }
            self.stats.writes.push(Write {
                at: self.now(),
                denied,
                what: request.to_string(),
            });
            if self.faulty() && !denied {
                fault = self.setup.faults.of_request(number, self.stats.crashes);
            }
            if let Some(fault) = &fault {
                self.stats.injected.insert(number, fault.clone());
                let line = format!("write {number} {request}: {fault:?}");
                self.note(|| line);
            }
        } else {
            self.stats.reads += 1;
        }
        if let Some(RequestFault::Crash {
            at: CrashAt::BeforeSend,
            down_ms,
        }) = fault
        {
            self.crash(id, down_ms);
            return true;
        }
        let instance = self.processes.get(&id).map_or(0, |process| process.instance);
        let mut delay = self.latency();
        if let Some(RequestFault::Slow(ms)) = fault {
            delay += SignedDuration::from_millis(i64::from(ms));
        }
        let request = Box::new(request);
        let running = self.processes.get(&id).and_then(|process| process.jobs.get(&job));
        let cause = Cause {
            job: Some((id, job)),
            known: running.map(|running| running.known.clone()).unwrap_or_default(),
            request: request.to_string(),
        };
        self.agenda.put_in(
            delay,
            Happening::Arrive {
                id,
                instance,
                cause: Box::new(cause),
                request,
                fault,
            },
        );
        false
    }

    /// A request reaches the API server.
    fn arrive(
        &mut self,
        id: u32,
        instance: usize,
        cause: &Cause,
        request: &Request,
        fault: Option<&RequestFault>,
    ) {
        let now = self.now();
        let job = cause.job.map(|(_, job)| job);
        if matches!(fault, Some(RequestFault::Meddling)) {
            self.meddle(request);
        }
        if let Some(RequestFault::Refused(code)) = fault {
            self.reply(id, job, request, Err(refusal(*code)), None);
            return;
        }
        if let Some(RequestFault::Denied { code, message }) = fault {
            let reason = if *code == 422 { "Invalid" } else { "Forbidden" };
            let denied = Failure::new(*code, reason, message.as_str());
            self.reply(id, job, request, Err(denied), None);
            return;
        }
        if let Some(answer) = process::discover(&self.store, request) {
            self.reply(id, job, request, answer, None);
            return;
        }
        let user = user_of(instance);
        let Some(translated) = process::translate(&self.store, request, &user) else {
            self.reply(
                id,
                job,
                request,
                Err(Failure::new(404, "NotFound", "no such kind")),
                None,
            );
            return;
        };
        let before = self.store.revision();
        let resource = translated.resource.clone();
        let answer = self.store.request(translated, now);
        let ours = request.writes() && request.service_account.is_none() && job.is_some();
        if ours && answer.is_ok() && self.store.revision() == before {
            self.judge.empty_write(now, request);
        }
        if let Err(status) = &answer {
            self.stats.conflicts += u64::from(status.code() == 409);
            let line = format!("refused {request}: {status}");
            self.note(|| line);
        }
        self.notice_as(Some(cause));
        let answer = process::answer_of(&resource, &answer);
        match fault {
            Some(RequestFault::Crash {
                at: CrashAt::AppliedNoResponse,
                down_ms,
            }) => self.crash(id, *down_ms),
            Some(RequestFault::Crash { down_ms, .. }) => self.reply(id, job, request, answer, Some(*down_ms)),
            Some(RequestFault::TimeoutAfterEffect) => {
                self.reply(
                    id,
                    job,
                    request,
                    Err(Failure::no_answer("the request timed out")),
                    None,
                );
            }
            _ => self.reply(id, job, request, answer, None),
        }
    }

    fn reply(
        &mut self,
        id: u32,
        job: Option<u64>,
        request: &Request,
        answer: Result<Value, Failure>,
        crash_ms: Option<u32>,
    ) {
        let Some(job) = job else { return };
        let delay = self.latency();
        let kind = if request.subresource == Some("eviction") || request.dry_run {
            ""
        } else {
            request.resource.kind
        };
        self.agenda.put_in(
            delay,
            Happening::Answer {
                id,
                job,
                kind,
                answer,
                crash_ms,
            },
        );
    }

    fn answer(
        &mut self,
        id: u32,
        job: u64,
        kind: &'static str,
        answer: Result<Value, Failure>,
        crash_ms: Option<u32>,
    ) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if let Ok(object) = &answer {
            process.learned(kind, object);
        }
        let at = now + process.skew;
        let Some(running) = process.jobs.get_mut(&job) else {
            return;
        };
        running.awaiting = false;
        process.controller.answer(&mut running.job, answer, at);
        if let Some(down_ms) = crash_ms {
            self.crash(id, down_ms);
            return;
        }
        self.drive(id, job);
        self.pump(id);
    }

    /// Sends a question to a repository or a forge.
    fn send_outside(&mut self, id: u32, job: u64, question: Outside) {
        let (what, writes) = describe_question(&question);
        let mut fault = None;
        if writes {
            let number = self.stats.outside.len() as u32;
            self.last_write = self.now();
            let at = self.now();
            if self.faulty() {
                fault = self.setup.faults.of_outside(number, self.stats.crashes);
            }
            let line = format!("outside {number} {what}: {fault:?}");
            self.note(|| line);
            let denied = false;
            self.stats.outside.push(Write { at, denied, what });
        } else {
            self.stats.asked += 1;
        }
        if let Some(RequestFault::Crash {
            at: CrashAt::BeforeSend,
            down_ms,
        }) = fault
        {
            self.crash(id, down_ms);
            return;
        }
        let mut delay = self.far();
        if let Some(RequestFault::Slow(ms)) = fault {
            delay += SignedDuration::from_millis(i64::from(ms));
        }
        let question = Box::new(question);
        self.agenda.put_in(
            delay,
            Happening::Outside {
                id,
                job,
                question,
                fault,
            },
        );
    }

    /// It takes longer than within the cluster.
    fn far(&mut self) -> SignedDuration {
        self.lags
            .between((SignedDuration::from_millis(5), SignedDuration::from_millis(50)))
    }

    /// A question reaches the Git server.
    fn arrive_outside(&mut self, id: u32, job: u64, question: &Outside, fault: Option<&RequestFault>) {
        let mut answer = match fault {
            Some(RequestFault::Refused(_)) => unreachable(question),
            _ => self.forge.answer(question),
        };
        let mut crash_ms = None;
        match fault {
            Some(RequestFault::Crash {
                at: CrashAt::AppliedNoResponse,
                down_ms,
            }) => return self.crash(id, *down_ms),
            Some(RequestFault::Crash { down_ms, .. }) => crash_ms = Some(*down_ms),
            Some(RequestFault::TimeoutAfterEffect) => answer = unreachable(question),
            _ => {}
        }
        let delay = self.far();
        let answer = Box::new(answer);
        self.agenda.put_in(
            delay,
            Happening::Told {
                id,
                job,
                answer,
                crash_ms,
            },
        );
    }

    /// The Git server's answer reaches the process.
    fn told(&mut self, id: u32, job: u64, answer: OutsideAnswer, crash_ms: Option<u32>) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Some(running) = process.jobs.get_mut(&job) else {
            return;
        };
        running.awaiting = false;
        let at = now + process.skew;
        process.controller.answer_outside(&mut running.job, answer, at);
        if let Some(down_ms) = crash_ms {
            self.crash(id, down_ms);
            return;
        }
        self.drive(id, job);
        self.pump(id);
    }

    /// Somebody else writes the object first.
    fn meddle(&mut self, request: &Request) {
        let number = self.stats.writes.len();
        let (Some(resource), now) = (
            self.store
                .registry()
                .by_path(
                    request.resource.group,
                    request.resource.version,
                    request.resource.plural,
                )
                .cloned(),
            self.now(),
        ) else {
            return;
        };
        let patch = json!({"metadata": {"labels": {MEDDLED: number.to_string()}}});
        let meddling = store::Request::patch(
            &resource,
            &request.namespace,
            &request.name,
            store::PatchKind::Merge,
            patch,
        );
        // an object that is not there cannot be meddled with
        let _ = self.store.request(meddling.by(MEDDLER), now);
        self.notice();
    }

    fn ask(&mut self, id: u32, ask: Box<Ask>, asked: Timestamp) {
        let now = self.now();
        self.dataplane.advance(now);
        let Some(skew) = self.processes.get(&id).map(|process| process.skew) else {
            return;
        };
        let (reading, delay) = provider::measure(&mut self.store, &mut self.metrics, &ask, asked, now, skew);
        let line = format!("measured {} {}: {:?}", ask.run, reading.metric, reading.outcome);
        self.note(|| line);
        self.notice();
        self.agenda.put_in(
            delay,
            Happening::Measured {
                id,
                ask,
                reading: Box::new(reading),
            },
        );
    }
}

/// User name of a controller.
fn user_of(instance: usize) -> String {
    match instance {
        0 => CONTROLLER.to_owned(),
        number => format!("{CONTROLLER}-{number}"),
    }
}

/// Whether a user is a controller.
pub(crate) fn is_controller(user: &str) -> bool {
    user.strip_prefix(CONTROLLER)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The same for the same in every process, and eight bytes at a time: objects are hashed as they are, not as text.
#[derive(Default)]
struct Trace(u64);

impl Hasher for Trace {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn refusal(code: u16) -> Failure {
    match code {
        409 => Failure::new(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version",
        ),
        429 => Failure {
            retry_after: Some(SignedDuration::from_secs(1)),
            ..Failure::new(
                429,
                "TooManyRequests",
                "the server has received too many requests",
            )
        },
        503 => Failure::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => Failure::new(
            504,
            "Timeout",
            "the request timed out before it reached the storage",
        ),
        code => Failure::new(code, "InternalError", "an internal error occurred"),
    }
}

fn describe(commit: &Commit) -> String {
    let what = match (&commit.before, &commit.after) {
        (None, _) => "created",
        (_, None) => "deleted",
        _ => "changed",
    };
    let difference = match (&commit.before, &commit.after) {
        (Some(before), Some(after)) => {
            tidegate_crds::merge::difference(before, after).map(|mut difference| {
                if let Some(metadata) = difference["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
                difference.to_string()
            })
        }
        (None, Some(after)) if kind_of(commit) == "Event" => {
            Some(format!("{}: {}", after["reason"], after["message"]))
        }
        _ => None,
    };
    let subresource = if commit.subresource.is_empty() {
        String::new()
    } else {
        format!("/{}", commit.subresource)
    };
    format!(
        "{} {what} {}{subresource} {} {}",
        commit.user,
        kind_of(commit),
        actors::key_of(object_of(commit)).1,
        difference.unwrap_or_default()
    )
}
