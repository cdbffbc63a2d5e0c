//! The process: watches, workers, leadership, web pages, and an orderly end. Decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_analysis::Trouble;
use tidegate_engine::Settings;
use tidegate_providers::{PROMETHEUS_ADDRESS_VARIABLE, ProviderConfig};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Controllers};
use crate::client::Api;
use crate::controller::{Controller, Job};
use crate::deliveries::secret;
use crate::http::Pages;
use crate::leader::Leadership;
use crate::lease::{Election, lease_name};
use crate::measure::Providers;
use crate::metrics::Metrics;
use crate::object::{Kind, ObjectKey};
use crate::options::{Options, Part};
use crate::outside::Outsiders;
use crate::request::{Failure, Request, Resource, SECRETS};
use crate::signal::Signal;
use crate::step::{Ask, Step};
use crate::watch::{self, Scope, Sink, Troubles, Watched};
use crate::webhook::{self, Door};
use crate::{connect, http};

/// Longest time that a request of a job may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Events that may wait to be sent. More are dropped: they are told, not relied on.
const EVENTS: usize = 10_000;
/// Measurements that are taken at once.
const MEASUREMENTS: usize = 100;
/// Time that running jobs get to end when the process stops.
const GRACE: Duration = Duration::from_secs(15);
/// How often series of objects that are gone are dropped.
const SWEEP: Duration = Duration::from_mins(1);
/// Time between two tries to set up the client.
const RECONNECT: Duration = Duration::from_secs(5);

struct Shared {
    controller: Mutex<Controller>,
    /// Something may be due.
    news: Notify,
    metrics: Arc<Metrics>,
    leadership: Arc<Leadership>,
    troubles: Arc<Troubles>,
}

impl Shared {
    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shared {
    fn deliver(&self, watched: Watched, signals: &mut dyn Iterator<Item = Signal<'_>>) {
        let now = Timestamp::now();
        let mut controller = self.controller();
        for signal in signals {
            match watched {
                Watched::Kind(kind) => controller.deliver(kind, signal, now),
                Watched::Metadata(resource) => controller.deliver_metadata(resource, signal, now),
            }
        }
        drop(controller);
        self.news.notify_one();
    }

    fn restarted(&self, watched: Watched) {
        match watched {
            Watched::Kind(kind) => self.metrics.watch_restarted(kind),
            Watched::Metadata(resource) => self.controller().lost_metadata(resource),
        }
    }
}

impl Shared {
    /// What the command line asks for, before anything is known of the cluster.
    fn new(cli: &Cli) -> anyhow::Result<Self> {
        let dialect = cli.run.dialect().map_err(anyhow::Error::msg)?;
        let instance_id = cli.scope.instance();
        let part = match cli.run.controllers {
            None => Part::All,
            Some(Controllers::Analysis) => Part::Analysis,
            Some(Controllers::Deliveries) => Part::Deliveries,
        };
        let election = cli.run.leader_elect.then(|| {
            Election::new(
                &cli.run.lease_namespace,
                &lease_name(part, instance_id.as_deref()),
                &identity(),
            )
        });
        let options = Options {
            settings: Settings {
                propagation: SignedDuration::from_millis(cli.run.propagation),
                instance_id,
                ..Settings::default()
            },
            rollout_threads: cli.run.rollout_threads.into(),
            analysis_threads: cli.run.analysis_threads.into(),
            resync: SignedDuration::from_secs(cli.run.rollout_resync),
            part,
            job_namespace: job_namespace(),
            deliveries: cli.run.git_cache.is_some(),
            dialect,
            ..Options::default()
        };
        Ok(Self {
            controller: Mutex::new(Controller::new(options, Timestamp::now())),
            news: Notify::new(),
            metrics: Arc::default(),
            leadership: Arc::new(Leadership::new(election)),
            troubles: Arc::default(),
        })
    }
}

impl Pages for Shared {
    fn metrics(&self) -> String {
        let controller = self.controller();
        let depth = controller.depth(Timestamp::now());
        let broken = self.troubles.kinds();
        self.metrics
            .page(&controller, self.leadership.leads(), depth, &broken)
    }

    fn missing(&self) -> Vec<String> {
        if self.controller().synced() {
            return Vec::new();
        }
        let troubles = self.troubles.lines();
        if troubles.is_empty() {
            vec!["not everything has been listed yet".to_owned()]
        } else {
            troubles
        }
    }
}

/// What webhooks need of the process.
struct Hooks {
    shared: Arc<Shared>,
    api: Api,
}

impl Door for Hooks {
    fn closed(&self) -> Option<&'static str> {
        if !self.shared.leadership.leads() {
            return Some("this replica does not lead: send it again, or wait for the next look");
        }
        let synced = self.shared.controller().synced();
        (!synced).then_some("not everything has been listed yet: send it again")
    }

    fn secret_of(&self, delivery: &ObjectKey) -> Option<String> {
        self.shared.controller().webhook_secret_of(delivery)
    }

    fn token<'a>(
        &'a self,
        namespace: &'a str,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Failure>> {
        Box::pin(async move {
            let request = Request::get(&SECRETS, namespace, secret);
            match self.api.send(&request, TIMEOUT).await {
                Ok(object) => Ok(secret::webhook_token(&object)),
                Err(failure) if failure.is_not_found() => Ok(None),
                Err(failure) => Err(failure),
            }
        })
    }

    fn pushed(&self, delivery: &ObjectKey) {
        self.shared
            .controller()
            .ask_repository_of(delivery, Timestamp::now());
        self.shared.news.notify_one();
    }
}

/// Runs the controller until `stop`.
pub async fn run(cli: Cli, stop: CancellationToken) -> anyhow::Result<()> {
    let outside = Arc::new(Outsiders::new(&cli.run).context("repositories cannot be set up")?);
    let shared = Arc::new(Shared::new(&cli)?);
    let (metrics, health) = (
        http::bind(cli.run.metrics_port).await?,
        http::bind(cli.run.healthz_port).await?,
    );
    let mut background = JoinSet::new();
    background.spawn(http::serve(
        metrics,
        health,
        Arc::clone(&shared) as Arc<dyn Pages>,
    ));
    let hooks = match cli.run.webhook_port {
        port if port > 0 && cli.run.git_cache.is_some() => Some(http::bind(port).await?),
        _ => None,
    };

    let Some((client, namespace)) = client(&cli, &stop).await else {
        return Ok(());
    };
    let api = Api::new(client, Arc::clone(&shared.metrics));
    let scope = scope(&cli, namespace);
    tell_started(&scope);
    background.spawn(watches(Arc::clone(&shared), api.clone(), scope));
    background.spawn(elect(Arc::clone(&shared), api.clone()));
    background.spawn(sweep(Arc::clone(&shared)));
    if let Some(listener) = hooks {
        let hooks = Hooks {
            shared: Arc::clone(&shared),
            api: api.clone(),
        };
        background.spawn(webhook::serve(listener, Arc::new(hooks)));
    }
    let (events, queue) = mpsc::channel(EVENTS);
    let telling = tokio::spawn(tell(queue, api.clone()));
    let config = ProviderConfig {
        prometheus_address: environment(PROMETHEUS_ADDRESS_VARIABLE),
        job_namespace: job_namespace(),
        ..ProviderConfig::default()
    };
    let providers = Providers::new(api.clone(), Arc::clone(&shared.leadership), config)
        .context("metric providers cannot be set up")?;
    let worker = Worker {
        shared: Arc::clone(&shared),
        api: api.clone(),
        events,
        providers,
        outside,
        measuring: Arc::new(Semaphore::new(MEASUREMENTS)),
    };
    worker.work(&stop).await;

    // All jobs are over; what they told is sent, then the next one may lead.
    drop(worker);
    _ = tokio::time::timeout(Duration::from_secs(3), telling).await;
    background.shutdown().await;
    shared.leadership.release(&api).await;
    tracing::info!("stopped");
    Ok(())
}

/// What is watched: the namespace of the kubeconfig, or all.
fn scope(cli: &Cli, namespace: String) -> Scope {
    Scope {
        namespace: if cli.scope.namespaced {
            namespace
        } else {
            String::new()
        },
        instance_id: cli.scope.instance(),
    }
}

fn tell_started(scope: &Scope) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = if scope.namespace.is_empty() {
            "all"
        } else {
            &scope.namespace
        },
        instance_id = scope.instance_id.as_deref().unwrap_or_default(),
        "started"
    );
}

/// Where the Jobs of measurements run, if not beside their AnalysisRuns.
fn job_namespace() -> Option<String> {
    environment("ARGO_ROLLOUTS_ANALYSIS_JOB_NAMESPACE")
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Tries until there is a client: a kubeconfig may be mended while we wait.
async fn client(cli: &Cli, stop: &CancellationToken) -> Option<(kube::Client, String)> {
    let mut last = String::new();
    loop {
        match connect::connect(&cli.cluster).await {
            Ok(client) => return Some(client),
            Err(error) => {
                let text = format!("{error:#}");
                if text != last {
                    tracing::error!("{text}; trying again");
                    last = text;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

/// Differs from process to process, like upstream's: host name and something random.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .unwrap_or_default();
    let nanos = Timestamp::now().as_nanosecond();
    format!("{}_tidegate-{:x}-{:x}", host.trim(), std::process::id(), nanos)
}

/// Keeps one watch running for each kind that is wanted. Rollouts come first: they say what else matters.
async fn watches(shared: Arc<Shared>, api: Api, scope: Scope) {
    let mut running = JoinSet::new();
    let mut watched: BTreeMap<Kind, Option<AbortHandle>> = BTreeMap::new();
    let mut of_metadata = std::collections::BTreeSet::new();
    loop {
        let (wanted, listed) = {
            let controller = shared.controller();
            let wanted = controller.wanted();
            let listed = controller.listed(Kind::Rollout) || !wanted.contains(&Kind::Rollout);
            watched.retain(|kind, watch| {
                let ends = controller.is_in_vain(*kind);
                if let Some(watch) = watch.as_ref().filter(|_| ends) {
                    watch.abort();
                }
                !ends
            });
            (wanted, listed)
        };
        for kind in wanted {
            if (kind == Kind::Rollout || listed) && !watched.contains_key(&kind) {
                // One namespace has no cluster-scoped templates, and perhaps no right to see them.
                if kind == Kind::ClusterAnalysisTemplate && !scope.namespace.is_empty() {
                    let mut empty = [Signal::ListStart, Signal::ListEnd { version: "" }].into_iter();
                    shared.deliver(Watched::Kind(kind), &mut empty);
                    watched.insert(kind, None);
                    continue;
                }
                let sink = Arc::clone(&shared) as Arc<dyn Sink>;
                let troubles = Arc::clone(&shared.troubles);
                let watch = running.spawn(watch::run(kind, api.clone(), scope.clone(), sink, troubles));
                watched.insert(kind, Some(watch));
            }
        }
        let metadata: Vec<&'static Resource> = shared.controller().wanted_metadata().collect();
        for resource in metadata {
            if (resource.namespaced || scope.namespace.is_empty()) && of_metadata.insert(resource) {
                let sink = Arc::clone(&shared) as Arc<dyn Sink>;
                running.spawn(watch::metadata(resource, api.clone(), scope.clone(), sink));
            }
        }
        tokio::time::sleep(Duration::from_millis(if listed { 500 } else { 10 })).await;
    }
}

async fn elect(shared: Arc<Shared>, api: Api) {
    let woken = async {
        loop {
            shared.leadership.changed().await;
            shared.news.notify_one();
        }
    };
    tokio::select! {
        () = shared.leadership.run(api) => std::future::pending().await,
        () = woken => {}
    }
}

/// Ends the series of objects that are gone, and looks at them that nobody will take.
async fn sweep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut controller = shared.controller();
        if !shared.leadership.leads() {
            controller.forget_gone();
        }
        let of = |keys: Vec<&ObjectKey>| -> std::collections::BTreeSet<ObjectKey> {
            keys.into_iter().cloned().collect()
        };
        let rollouts = of(controller.rollouts().map(|(key, _)| key).collect());
        let runs = of(controller.runs().map(|(key, _)| key).collect());
        drop(controller);
        shared.metrics.forget(|kind, namespace, name| {
            let known = if kind == "rollout" { &rollouts } else { &runs };
            known.contains(&ObjectKey::new(namespace, name))
        });
    }
}

/// Sends events, one after the other; what cannot be sent is lost.
async fn tell(mut queue: mpsc::Receiver<Waiting>, api: Api) {
    while let Some(waiting) = queue.recv().await {
        let request = waiting.request();
        let mut sent = api.send(&request, TIMEOUT).await;
        if sent
            .as_ref()
            .is_err_and(|failure| failure.code == 0 || failure.code == 429 || failure.code >= 500)
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sent = api.send(&request, TIMEOUT).await;
        }
        match sent {
            Ok(_) => {}
            Err(failure) if failure.already_exists() => {}
            Err(failure) => tracing::debug!(%failure, %request, "event lost"),
        }
    }
}

/// An event that waits to be sent. Its body is text: thousands may wait, and as a tree each takes some kilobytes.
struct Waiting {
    request: Request,
    body: Box<str>,
}

impl Waiting {
    fn new(mut request: Request) -> Self {
        let body = request.body.take().to_string().into();
        Self { request, body }
    }

    fn request(mut self) -> Request {
        self.request.body = serde_json::from_str(&self.body).unwrap_or_default();
        self.request
    }
}

#[derive(Clone)]
struct Worker {
    shared: Arc<Shared>,
    api: Api,
    events: mpsc::Sender<Waiting>,
    providers: Providers,
    outside: Arc<Outsiders>,
    measuring: Arc<Semaphore>,
}

impl Worker {
    /// Works until `stop`, then lets the jobs that run come to their end.
    async fn work(&self, stop: &CancellationToken) {
        let mut jobs = JoinSet::new();
        let mut measurements = JoinSet::new();
        let (ask, mut asked) = mpsc::unbounded_channel();
        while !stop.is_cancelled() {
            let due = self.start_jobs(&mut jobs, &ask);
            let wait = due.map_or(Duration::from_hours(1), |due| {
                let wait = due.duration_since(Timestamp::now());
                Duration::try_from(wait)
                    .unwrap_or_default()
                    .max(Duration::from_millis(1))
            });
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shared.news.notified() => {}
                () = tokio::time::sleep(wait) => {}
                Some(ask) = asked.recv() => {
                    measurements.spawn(self.clone().measure(ask));
                }
                Some(_) = jobs.join_next() => {}
                Some(_) = measurements.join_next() => {}
            }
        }
        measurements.abort_all();
        if !jobs.is_empty() {
            tracing::info!(jobs = jobs.len(), "stopping when they are done");
        }
        _ = tokio::time::timeout(GRACE, async { while jobs.join_next().await.is_some() {} }).await;
    }

    /// Starts all jobs that are due; answers when the next one is.
    fn start_jobs(&self, jobs: &mut JoinSet<()>, ask: &mpsc::UnboundedSender<Ask>) -> Option<Timestamp> {
        let mut controller = self.shared.controller();
        if !self.shared.leadership.leads() {
            controller.stand_by(Timestamp::now());
            return None;
        }
        while let Some(job) = controller.next_job(Timestamp::now()) {
            jobs.spawn(self.clone().carry_out(job, ask.clone()));
        }
        controller.next_wake()
    }

    async fn carry_out(self, job: Job, ask: mpsc::UnboundedSender<Ask>) {
        let started = Instant::now();
        let mut held = Held {
            shared: Arc::clone(&self.shared),
            job: Some(job),
        };
        let Some(job) = &mut held.job else { return };
        loop {
            let decided = Instant::now();
            let step = self.shared.controller().step(job, Timestamp::now());
            self.shared.metrics.step(decided.elapsed());
            let answer = match step {
                None => break,
                Some(Step::Request(request)) => {
                    let answer = self.send(&request).await;
                    match &answer {
                        Ok(object) => {
                            self.shared.metrics.written(&request, object);
                            tracing::debug!(%request, "done");
                        }
                        Err(failure) => tracing::debug!(%request, %failure, "failed"),
                    }
                    answer
                }
                Some(Step::Terminate(ask)) => {
                    let stopped = tokio::time::timeout(TIMEOUT, self.providers.terminate(*ask)).await;
                    let stopped = stopped.unwrap_or_else(|_| Err(Failure::no_answer("no answer in time")));
                    stopped.map(|()| Value::Null)
                }
                Some(Step::Outside(question)) => {
                    let answer = self.outside.ask(question, &self.shared.leadership).await;
                    self.shared
                        .controller()
                        .answer_outside(job, answer, Timestamp::now());
                    continue;
                }
                Some(Step::Event(request)) => {
                    log_event(&request);
                    self.shared.metrics.event(&request);
                    if self.events.try_send(Waiting::new(request)).is_err() {
                        tracing::debug!("event dropped: too many wait");
                    }
                    continue;
                }
                Some(Step::Measure(question)) => {
                    _ = ask.send(*question);
                    continue;
                }
                // The reading, when it comes, finds nobody who waits for it.
                Some(Step::Cancel { .. }) => continue,
            };
            self.shared.controller().answer(job, answer, Timestamp::now());
        }
        let Some(job) = held.job.take() else { return };
        let key = job.key().clone();
        let outcome = self.shared.controller().finish(job, Timestamp::now());
        if let crate::step::Outcome::Failed(failure) = &outcome {
            tracing::warn!(object = ?key, %failure, "failed; trying again");
        }
        self.shared.metrics.job(&key, started.elapsed(), &outcome);
    }

    /// A write takes no longer than what is left of the Lease, and is not sent when nothing is left.
    async fn send(&self, request: &Request) -> Result<Value, Failure> {
        let mut timeout = TIMEOUT;
        if request.writes() {
            timeout = timeout.min(self.shared.leadership.remaining());
            if timeout.is_zero() {
                return Err(Failure::new(0, "NotLeader", "not leading any more"));
            }
        }
        self.api.send(request, timeout).await
    }

    async fn measure(self, ask: Ask) {
        let _permit = self.measuring.acquire().await;
        let (run, uid) = (ask.run.clone(), ask.uid.clone());
        let mut asking = Asking {
            shared: Arc::clone(&self.shared),
            ask: Some(ask.clone()),
        };
        let reading = self.providers.measure(ask).await;
        asking.ask = None;
        self.shared
            .controller()
            .measured(&run, &uid, reading, Timestamp::now());
        self.shared.news.notify_one();
    }
}

/// A job that is given back whatever becomes of the task that works on it: its key and its slot are not lost to a panic.
struct Held {
    shared: Arc<Shared>,
    job: Option<Job>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        tracing::error!(object = ?job.key(), "given up; it is looked at again");
        self.shared.controller().finish(job, Timestamp::now());
        self.shared.news.notify_one();
    }
}

/// A question to a provider that has an answer even if it panics: the run would wait for it without end.
struct Asking {
    shared: Arc<Shared>,
    ask: Option<Ask>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        // A process that stops has no reading: the next one asks.
        let Some(ask) = self.ask.take().filter(|_| std::thread::panicking()) else {
            return;
        };
        let now = Timestamp::now();
        let message = "a bug: the provider panicked";
        let reading = ask.failed(Trouble::Unreachable, message, now);
        self.shared
            .controller()
            .measured(&ask.run, &ask.uid, reading, now);
        self.shared.news.notify_one();
    }
}

/// Each event is a change of state, so it has its line in the log.
fn log_event(request: &Request) {
    let text = |path| {
        request
            .body
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    tracing::info!(
        namespace = request.namespace,
        name = text("/involvedObject/name"),
        reason = text("/reason"),
        "{}",
        text("/message")
    );
}
