//! One look at a Delivery: plan, do what the plan asks, plan again, until it is content.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::decode::Encode as _;
use tidegate_crds::{DELIVERY_API_VERSION, Delivery, DeliveryStatus, merge};
use tidegate_gitsync::bundle::{BUNDLE_KEY, BUNDLE_TYPE, unpack};
use tidegate_gitsync::notify::{self, Key};
use tidegate_gitsync::object::ObjectId;
use tidegate_gitsync::observed::{Observed, Refusal, RunView};
use tidegate_gitsync::plan::{Event, Plan, RestoreOrder, Task, plan};
use tidegate_gitsync::remote::{
    Credentials, Forge, ForgeRequest, GitAnswer, GitRequest, Remote, RemoteError, Restore, Signers,
};
use tidegate_gitsync::render::Rendered;
use tidegate_gitsync::spec::Spec;
use tidegate_gitsync::tree::Oid;

use super::{Deliveries, Outside, OutsideAnswer, RefusedDigest, retry_delay, secret};
use crate::base64;
use crate::cache::Cache;
use crate::event::{self, Order, Subject, Words};
use crate::object::ObjectKey;
use crate::request::{DELIVERIES, Failure, Request, SECRETS, Verb};
use crate::step::{Outcome, Step};

/// Plans that one look may take: far more than any needs.
const MAX_ROUNDS: u32 = 50;
/// Commits whose digests are remembered.
const MAX_DIGESTS: usize = 50;
/// Author of commits that take others back.
const AUTHOR: (&str, &str) = ("Tidegate", "tidegate@users.noreply.tidegate.io");

/// What is being answered.
#[derive(Debug)]
enum Waiting {
    Secret(String),
    Signers(String),
    ChatKey(String),
    Task(Task),
    Status,
}

/// One look at a Delivery.
#[derive(Debug)]
pub(crate) struct DeliveryJob {
    key: ObjectKey,
    observed: Observed,
    spec: Option<Spec>,
    /// Secrets that were read.
    secrets: BTreeMap<String, Result<Credentials, String>>,
    /// Lists of signers that were read.
    signers: BTreeMap<String, Result<Signers, String>>,
    /// The same, of chats.
    chat_keys: BTreeMap<String, Result<Key, String>>,
    plan: Option<Plan>,
    rounds: u32,
    /// The difference of the status has been written, or there is none.
    written: bool,
    tasks: VecDeque<Task>,
    steps: VecDeque<Step>,
    waiting: Option<Waiting>,
    /// What the commit that is being rendered was asked for.
    rendering_head: bool,
    outcome: Option<Outcome>,
    wake: Option<Timestamp>,
    ask_again: bool,
    follow: bool,
}

impl DeliveryJob {
    pub(crate) fn new(key: ObjectKey, delivery: Delivery) -> Self {
        let spec = Spec::read(&delivery.spec).ok();
        Self {
            key,
            observed: Observed {
                delivery,
                ..Observed::default()
            },
            spec,
            secrets: BTreeMap::new(),
            signers: BTreeMap::new(),
            chat_keys: BTreeMap::new(),
            plan: None,
            rounds: 0,
            written: false,
            tasks: VecDeque::new(),
            steps: VecDeque::new(),
            waiting: None,
            rendering_head: false,
            outcome: None,
            wake: None,
            ask_again: false,
            follow: false,
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    pub(crate) fn wake(&self) -> Option<Timestamp> {
        self.wake
    }

    /// Whether the repository is to be asked at once.
    pub(crate) fn asks_again(&self) -> bool {
        self.ask_again
    }

    /// Whether a repository is followed since this look that nobody has asked yet.
    pub(crate) fn follows_anew(&self) -> bool {
        self.follow
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
            .clone()
            .unwrap_or_else(|| Outcome::Failed(Failure::no_answer("given up")))
    }

    pub(crate) fn step(
        &mut self,
        cache: &Cache,
        deliveries: &mut Deliveries,
        now: Timestamp,
    ) -> Option<Step> {
        loop {
            if self.waiting.is_some() {
                return None;
            }
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if self.outcome.is_some() {
                return None;
            }
            if let Some(request) = self.follow(deliveries) {
                return Some(request);
            }
            if let Some(task) = self.tasks.pop_front() {
                if let Some(step) = self.carry_out(task, deliveries, now) {
                    return Some(step);
                }
                continue;
            }
            match self.plan.take() {
                None => self.look(cache, deliveries, now),
                Some(plan) => {
                    if let Some(request) = self.act(plan, deliveries, now) {
                        return Some(request);
                    }
                }
            }
        }
    }

    /// Finds out which repository it is and as whom to ask there.
    fn follow(&mut self, deliveries: &mut Deliveries) -> Option<Step> {
        let spec = self.spec.clone()?;
        let metadata = &self.observed.delivery.metadata;
        let generation = metadata.generation;
        let memory = deliveries.memory(&self.key, &metadata.uid);
        let rendered_as = spec.rendered_as();
        if memory.rendered_as != rendered_as {
            memory.rendered_as = rendered_as;
            memory.closure = None;
            memory.same = None;
            memory.renders_to.clear();
        }
        let known = memory.remote.as_ref().filter(|(of, _)| *of == generation);
        let remote = if let Some((_, remote)) = known {
            remote.clone()
        } else {
            let credentials = match &spec.secret {
                None => Credentials::None,
                Some(name) => match self.secrets.get(name) {
                    None => return Some(self.read(Waiting::Secret, name.clone())),
                    Some(Ok(credentials)) => credentials.clone(),
                    Some(Err(problem)) => {
                        self.observed.head = Some(Err(RemoteError::Denied(problem.clone())));
                        return None;
                    }
                },
            };
            let remote = Remote {
                url: spec.url.clone(),
                credentials,
            };
            memory.remote = Some((generation, remote.clone()));
            remote
        };
        if spec.suspend {
            deliveries.repositories.leave(&self.key);
        } else {
            let mut references = vec![spec.reference.full.clone()];
            references.extend(spec.recorded_refs(&self.key.namespace, &self.key.name));
            self.follow |= deliveries
                .repositories
                .follow(&self.key, &remote, references, spec.interval);
        }
        None
    }

    fn read(&mut self, waiting: fn(String) -> Waiting, name: String) -> Step {
        let request = Request::get(&SECRETS, &self.key.namespace, &name);
        self.waiting = Some(waiting(name));
        Step::Request(request)
    }

    /// Gathers what is known, and plans.
    fn look(&mut self, cache: &Cache, deliveries: &mut Deliveries, now: Timestamp) {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            let message = "the plan does not come to an end";
            self.outcome = Some(Outcome::Failed(Failure::new(0, "Endless", message)));
            return;
        }
        let kinds = deliveries.kinds(now);
        let head = deliveries.repositories.head(&self.key);
        self.observed.recorded = deliveries.repositories.recorded(&self.key);
        let metadata = &self.observed.delivery.metadata;
        let memory = deliveries.memory(&self.key, &metadata.uid);
        if matches!(head, Some(Err(RemoteError::Denied(_)))) {
            // The Secret may have been mended.
            memory.remote = None;
        }
        self.observed.tip = head.as_ref().and_then(|head| head.as_ref().ok()).cloned();
        if self.observed.tip.is_some() || !matches!(self.observed.head, Some(Err(_))) {
            let known = recorded_head(&self.observed.delivery.status);
            self.observed.head = match (head, known) {
                (Some(Ok(commit)), Some(known)) if memory.same.as_ref() == Some(&commit) => Some(Ok(known)),
                (head, _) => head,
            };
        }
        self.observed.renders_to.clone_from(&memory.renders_to);
        let told = memory.notified.iter().map(|key| (key.clone(), Ok(())));
        self.observed.notified.extend(told);
        let refused = memory.refused.as_ref();
        self.observed.refused = refused.map(|(digest, _, at)| (digest.clone(), *at));
        self.observed.retry_at = memory.retry.iter().map(|(kind, (_, at))| (*kind, *at)).collect();
        for (version, kinds) in kinds {
            self.observed.kinds.entry(version).or_insert(kinds);
        }
        let compare = std::mem::take(&mut self.observed.compare);
        self.observed.compare = compare.and(deliveries.compare(&self.key, now));
        self.gather_rollouts(cache);
        let plan = plan(&self.observed, now);
        self.ask_again |= plan.ask_again;
        self.written = false;
        self.plan = Some(plan);
    }

    /// The Rollouts of what is applied and of what is to be applied.
    fn gather_rollouts(&mut self, cache: &Cache) {
        let status = &self.observed.delivery.status;
        let digests: Vec<&String> = [&status.applied, &status.target]
            .into_iter()
            .flatten()
            .map(|revision| &revision.digest)
            .collect();
        let entries = status
            .ledger
            .iter()
            .filter(|entry| digests.contains(&&entry.digest));
        let mut rollouts = BTreeMap::new();
        let mut runs = Vec::new();
        for known in entries.flat_map(|entry| &entry.rollouts) {
            let id = (known.namespace.clone(), known.name.clone());
            let key = ObjectKey::new(id.0.as_str(), id.1.as_str());
            let Some(rollout) = cache.rollout(&key).filter(|_| !rollouts.contains_key(&id)) else {
                continue;
            };
            let of_rollout = cache.runs_of(&key).into_iter();
            runs.extend(of_rollout.map(|run| RunView::of(run, &id.1)));
            rollouts.insert(id, rollout);
        }
        self.observed.rollouts = rollouts;
        self.observed.runs = runs;
    }

    /// Writes the status if it has to come now, then starts the tasks, or ends.
    fn act(&mut self, plan: Plan, deliveries: &mut Deliveries, now: Timestamp) -> Option<Step> {
        let last = plan.tasks.is_empty();
        if !self.written && (last || plan.write_first) {
            self.written = true;
            let patch = self.status_patch(&plan);
            if let Some(request) = patch {
                self.waiting = Some(Waiting::Status);
                self.plan = Some(plan);
                return Some(Step::Request(request));
            }
            self.tell(&plan.events, now);
        }
        if last {
            self.end(&plan, deliveries, now);
        } else {
            self.tasks = plan.tasks.into();
        }
        None
    }

    fn end(&mut self, plan: &Plan, deliveries: &mut Deliveries, now: Timestamp) {
        let uid = self.observed.delivery.metadata.uid.clone();
        let tip = self.observed.tip.clone();
        let head_known = matches!(self.observed.head, Some(Ok(_)));
        let memory = deliveries.memory(&self.key, &uid);
        let recorded = recorded_head(&plan.status);
        let rendered = tip
            .as_ref()
            .is_some_and(|tip| matches!(self.observed.rendered.get(tip), Some(Ok((_, Ok(_))))));
        if head_known && rendered && recorded != tip {
            // It renders to what is known already: nothing to ask of it again.
            if let (Some((of, _)), Some(recorded)) = (&mut memory.closure, recorded) {
                *of = recorded;
            }
            memory.same = tip;
        }
        if self.spec.as_ref().is_some_and(Spec::observes) {
            remember_digests(&mut memory.renders_to, &self.observed, &plan.status);
        }
        let applied = |id: &ObjectId| self.observed.applied.contains_key(id);
        let asked = &self.observed.compare;
        memory
            .drift
            .compared(asked, plan.all_compared, &plan.settled, applied, now);
        memory.drift.keep(&plan.status.inventory);
        let suspended = self.spec.as_ref().is_some_and(|spec| spec.suspend);
        if suspended {
            memory.drift.forget();
        }
        memory.notified.clear();
        let refused = self
            .observed
            .tried
            .values()
            .chain(self.observed.applied.values())
            .any(Result::is_err);
        let coming = plan.status.target.as_ref();
        let coming = coming.filter(|target| plan.status.applied.as_ref() != Some(target));
        memory.refused = coming.and_then(|target| {
            let before = memory.refused.take();
            let before = before.filter(|(digest, ..)| *digest == target.digest);
            if refused {
                Some(refused_again(&target.digest, before, now))
            } else {
                before
            }
        });
        let refused_until = memory
            .refused
            .as_ref()
            .map(|(_, _, at)| *at)
            .filter(|at| *at > now);
        let drift_at = memory.drift.wake().filter(|_| !suspended);
        self.wake = [
            plan.wake,
            refused_until,
            drift_at,
            memory
                .retry
                .values()
                .map(|(_, at)| *at)
                .filter(|at| *at > now)
                .min(),
        ]
        .into_iter()
        .flatten()
        .min();
        deliveries.watch(plan.settled.keys());
        self.outcome = Some(Outcome::Done);
    }

    fn status_patch(&self, plan: &Plan) -> Option<Request> {
        let delivery = &self.observed.delivery;
        let patch = merge::difference(&delivery.status.encode(), &plan.status.encode())?;
        let guard =
            json!({"uid": delivery.metadata.uid, "resourceVersion": delivery.metadata.resource_version});
        let body = json!({"metadata": guard, "status": patch});
        let request = Request::new(
            Verb::MergePatch,
            &DELIVERIES,
            &self.key.namespace,
            &self.key.name,
            body,
        );
        Some(request.on("status"))
    }

    fn tell(&mut self, events: &[Event], now: Timestamp) {
        let metadata = &self.observed.delivery.metadata;
        let subject = Subject {
            kind: "Delivery",
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        };
        let mut order = Order::of([metadata.resource_version.as_str()]);
        for event in events {
            let words = Words {
                warning: event.warning,
                reason: event.reason,
                message: &event.message,
                occurrence: &event.occurrence,
            };
            self.steps
                .push_back(Step::Event(event::record(&subject, words, order.step(), now)));
        }
    }

    // Tasks

    /// Reads a Secret that a task needs, and then begins the task anew.
    fn read_first(&mut self, task: Task, waiting: fn(String) -> Waiting, secret: String) -> Step {
        self.tasks.push_front(task);
        self.read(waiting, secret)
    }

    /// What to do for a task; `None` if it is over already.
    fn carry_out(&mut self, task: Task, deliveries: &mut Deliveries, now: Timestamp) -> Option<Step> {
        let spec = self.spec.clone()?;
        let secret = match &task {
            Task::Point(..) | Task::Restore(_) => spec.write_secret.clone(),
            Task::PullRequest(_) | Task::Tell(..) => spec.forge_secret.clone(),
            _ => None,
        };
        let credentials = match secret.map(|name| (self.secrets.get(&name).cloned(), name)) {
            None => Credentials::None,
            Some((Some(Ok(credentials)), _)) => credentials,
            Some((Some(Err(problem)), _)) => {
                self.failed_outside(&task, RemoteError::Denied(problem), deliveries, now);
                return None;
            }
            Some((None, name)) => {
                return Some(self.read_first(task, Waiting::Secret, name));
            }
        };
        let step = match &task {
            Task::Render(commit) => {
                if let Some(name) = spec.signers_secret.clone()
                    && !self.signers.contains_key(&name)
                {
                    return Some(self.read_first(task, Waiting::Signers, name));
                }
                self.render(commit, &spec, deliveries)
            }
            Task::Discover(api_version) => Some(Step::Request(Request::discover(api_version))),
            Task::Read(id) => self.request(Verb::Get, id, Value::Null, &spec, deliveries),
            Task::Try(id, body) => self
                .request(Verb::Apply, id, body.clone(), &spec, deliveries)
                .map(rehearsed),
            Task::Apply(id, body) => self.request(Verb::Apply, id, body.clone(), &spec, deliveries),
            Task::Delete(id, uid) | Task::End(id, uid) => {
                let ended = matches!(task, Task::End(..));
                let mut body = delete_options(if ended { "Foreground" } else { "Background" });
                body["preconditions"] = json!({"uid": uid});
                self.request(Verb::Delete, id, body, &spec, deliveries)
            }
            Task::Store(digest, name, packed) => Some(Step::Request(self.store(digest, name, packed))),
            Task::Fetch(_, name) => Some(Step::Request(Request::get(&SECRETS, &self.key.namespace, name))),
            Task::Drop(_, name) => {
                let body = delete_options("Background");
                let request = Request::new(Verb::Delete, &SECRETS, &self.key.namespace, name, body);
                Some(Step::Request(request))
            }
            Task::Point(reference, commit) => Some(point(reference, commit, &spec, credentials)),
            Task::Restore(order) => Some(restore(order, &self.key, &spec, credentials)),
            Task::Notify(index, _, note) => {
                let chat = spec.chats.get(*index)?;
                let key = match self.chat_keys.get(&chat.secret) {
                    Some(Ok(key)) => key,
                    Some(Err(problem)) => {
                        let error = RemoteError::Denied(problem.clone());
                        self.failed_outside(&task, error, deliveries, now);
                        return None;
                    }
                    None => return Some(self.read_first(task, Waiting::ChatKey, chat.secret.clone())),
                };
                let post = notify::post(chat.kind, note, key, now);
                Some(Step::Outside(Outside::Chat(Box::new(post))))
            }
            Task::PullRequest(request) | Task::Tell(_, request) => forge(request, &spec, credentials),
        };
        if step.is_some() {
            self.waiting = Some(Waiting::Task(task));
        }
        step
    }

    /// The Secret that keeps the objects of a digest; it goes with the Delivery.
    fn store(&self, digest: &str, name: &str, packed: &[u8]) -> Request {
        let metadata = &self.observed.delivery.metadata;
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": BUNDLE_TYPE,
            "metadata": {
                "name": name,
                "namespace": metadata.namespace,
                "annotations": {"tidegate.io/digest": digest},
                "ownerReferences": [{
                    "apiVersion": DELIVERY_API_VERSION,
                    "kind": "Delivery",
                    "name": metadata.name,
                    "uid": metadata.uid,
                }],
            },
            "data": {BUNDLE_KEY: base64::encode(packed)},
        });
        Request::create(&SECRETS, &metadata.namespace, body)
    }

    fn render(&mut self, commit: &Oid, spec: &Spec, deliveries: &mut Deliveries) -> Option<Step> {
        let uid = &self.observed.delivery.metadata.uid;
        let memory = deliveries.memory(&self.key, uid);
        let Some((_, remote)) = memory.remote.clone() else {
            let error = RemoteError::Unavailable("the repository's Secret has not been read yet".to_owned());
            self.observed.rendered.insert(commit.clone(), Err(error));
            return None;
        };
        let signers = match spec
            .signers_secret
            .as_ref()
            .and_then(|name| self.signers.get(name))
        {
            None => None,
            Some(Ok(signers)) => Some(signers.clone()),
            Some(Err(problem)) => {
                let error = RemoteError::Denied(problem.clone());
                self.observed.rendered.insert(commit.clone(), Err(error));
                return None;
            }
        };
        self.rendering_head = self.observed.tip.as_ref() == Some(commit);
        // "The same as the one in the status" is an answer only for a commit that is not in the status yet.
        let recorded = recorded_head(&self.observed.delivery.status);
        let known = memory
            .closure
            .as_ref()
            .filter(|(of, _)| self.rendering_head && recorded.as_ref() == Some(of) && of != commit)
            .map(|(_, closure)| closure.clone());
        Some(Step::Outside(Outside::Git(Box::new(GitRequest::Render {
            remote,
            commit: commit.clone(),
            path: spec.path.clone(),
            release: spec.release(&self.key.namespace, &self.key.name),
            known,
            signers: signers.map(Box::new),
        }))))
    }

    /// A request about an object of the commit, as the service account.
    fn request(
        &mut self,
        verb: Verb,
        id: &ObjectId,
        body: Value,
        spec: &Spec,
        deliveries: &Deliveries,
    ) -> Option<Step> {
        let Some(resource) = deliveries.resource(&id.api_version(), &id.kind) else {
            let refusal = Refusal {
                code: 404,
                message: format!("the cluster has no kind {} in {}", id.kind, id.api_version()),
            };
            match verb {
                // What has no kind is not there.
                Verb::Get => _ = self.observed.live.insert(id.clone(), Ok(None)),
                Verb::Delete => _ = self.observed.deleted.insert(id.clone(), Ok(())),
                _ => {
                    self.observed.tried.insert(id.clone(), Err(refusal.clone()));
                    self.observed.applied.insert(id.clone(), Err(refusal));
                }
            }
            return None;
        };
        let mut request = Request::new(verb, resource, &id.namespace, &id.name, body);
        request.service_account = Some(format!("{}:{}", self.key.namespace, spec.service_account));
        Some(Step::Request(request))
    }

    // Answers

    pub(crate) fn answer(
        &mut self,
        answer: Result<Value, Failure>,
        deliveries: &mut Deliveries,
        now: Timestamp,
    ) {
        match (self.waiting.take(), answer) {
            (Some(Waiting::Signers(name)), answer) => {
                if let Some(secret) = self.take_secret(&name, answer) {
                    let signers = secret.and_then(|object| secret::signers(&name, &object));
                    self.signers.insert(name, signers);
                }
            }
            (Some(Waiting::Secret(name)), answer) => {
                if let Some(secret) = self.take_secret(&name, answer) {
                    let credentials = secret.and_then(|object| secret::credentials(&name, &object));
                    self.secrets.insert(name, credentials);
                }
            }
            (Some(Waiting::ChatKey(name)), answer) => {
                if let Some(secret) = self.take_secret(&name, answer) {
                    let key = secret.and_then(|object| secret::chat_key(&name, &object));
                    self.chat_keys.insert(name, key);
                }
            }
            (Some(Waiting::Status), Ok(object)) => {
                let events = self
                    .plan
                    .as_ref()
                    .map(|plan| plan.events.clone())
                    .unwrap_or_default();
                self.learn_delivery(&object);
                self.tell(&events, now);
            }
            (Some(Waiting::Status), Err(failure)) => self.give_up(failure),
            (Some(Waiting::Task(task)), answer) => self.take_answer(task, answer, deliveries, now),
            (None, _) => {}
        }
    }

    /// A Secret, or why there is none; `None` if that is not known, and the look is given up.
    fn take_secret(&mut self, name: &str, answer: Result<Value, Failure>) -> Option<Result<Value, String>> {
        match answer {
            Ok(object) => Some(Ok(object)),
            Err(failure) if failure.is_not_found() => Some(Err(format!(
                "there is no Secret {name} in namespace {}: create it",
                self.key.namespace
            ))),
            Err(failure) if failure.code == 403 => Some(Err(format!(
                "Secret {name} must not be read: {}",
                failure.message
            ))),
            Err(failure) => {
                self.give_up(failure);
                None
            }
        }
    }

    fn learn_delivery(&mut self, object: &Value) {
        if let Ok(delivery) = serde_json::from_value::<Delivery>(object.clone()) {
            // Somebody may have changed the spec: that is for the next look.
            let same = delivery.metadata.generation == self.observed.delivery.metadata.generation;
            self.observed.delivery = delivery;
            if !same {
                let message = "the spec was changed meanwhile";
                self.outcome = Some(Outcome::LookAgain(Failure::new(409, "Conflict", message)));
            }
        }
    }

    fn give_up(&mut self, failure: Failure) {
        self.outcome = Some(match failure {
            failure if failure.is_not_found() => Outcome::Done,
            failure if failure.is_conflict() => Outcome::LookAgain(failure),
            failure => Outcome::Failed(failure),
        });
    }

    fn take_answer(
        &mut self,
        task: Task,
        answer: Result<Value, Failure>,
        deliveries: &mut Deliveries,
        now: Timestamp,
    ) {
        // Who has no answer asks again later; who lost a race looks again.
        if let Err(failure) = &answer
            && (failure.code == 0
                || failure.code == 401
                || failure.code == 429
                || failure.code >= 500
                || failure.is_conflict())
        {
            return self.give_up(failure.clone());
        }
        match task {
            Task::Discover(api_version) => {
                let list = answer.as_ref().ok();
                let kinds = deliveries.learn_kinds(&api_version, list, now);
                self.observed.kinds.insert(api_version, kinds);
            }
            Task::Read(id) => {
                let live = match answer {
                    Ok(object) => Ok(Some(object)),
                    Err(failure) if failure.is_not_found() => Ok(None),
                    Err(failure) => Err(refusal(&failure)),
                };
                self.observed.live.insert(id, live);
            }
            Task::Try(id, _) => {
                let tried = answer.map_err(|failure| refusal(&failure));
                self.observed.tried.insert(id, tried);
            }
            Task::Apply(id, _) => {
                let applied = answer.map_err(|failure| refusal(&failure));
                if applied.is_err() {
                    // What comes later may need it.
                    self.tasks.clear();
                }
                self.observed.applied.insert(id, applied);
            }
            Task::Delete(id, _) | Task::End(id, _) => {
                let deleted = done_unless(answer, Failure::is_not_found);
                self.observed.deleted.insert(id, deleted);
            }
            Task::Store(digest, ..) => {
                let stored = done_unless(answer, Failure::already_exists);
                self.observed.stored.insert(digest, stored);
            }
            Task::Drop(digest, _) => {
                let stored = done_unless(answer, Failure::is_not_found);
                self.observed.stored.insert(digest, stored);
            }
            Task::Fetch(digest, _) => {
                let rendered = bundle(&answer, &digest).map(Arc::new);
                self.observed.bundles.insert(digest, rendered);
            }
            Task::Render(_)
            | Task::Restore(_)
            | Task::Point(..)
            | Task::PullRequest(_)
            | Task::Tell(..)
            | Task::Notify(..) => {}
        }
    }

    /// The answer to a [`Step::Outside`].
    pub(crate) fn answer_outside(
        &mut self,
        answer: OutsideAnswer,
        deliveries: &mut Deliveries,
        now: Timestamp,
    ) {
        let Some(Waiting::Task(task)) = self.waiting.take() else {
            return;
        };
        match (task, answer) {
            (Task::Render(commit), OutsideAnswer::Git(answer)) => {
                self.take_rendered(commit, answer, deliveries);
            }
            (
                task,
                OutsideAnswer::Git(Err(error))
                | OutsideAnswer::Forge(Err(error))
                | OutsideAnswer::Chat(Err(error)),
            ) => {
                self.failed_outside(&task, error, deliveries, now);
            }
            (Task::Notify(index, key, _), OutsideAnswer::Chat(Ok(()))) => {
                self.forgive(retry_key(index), deliveries);
                let uid = self.observed.delivery.metadata.uid.clone();
                deliveries.memory(&self.key, &uid).notified.insert(key.clone());
                self.observed.notified.insert(key, Ok(()));
            }
            (Task::Restore(_), OutsideAnswer::Git(Ok(answer))) => {
                self.forgive("write", deliveries);
                self.observed.restored = Some(Ok(answer));
            }
            (Task::Point(reference, _), OutsideAnswer::Git(Ok(_))) => {
                self.forgive("record", deliveries);
                self.observed.pointed.insert(reference, Ok(()));
            }
            (Task::PullRequest(_), OutsideAnswer::Forge(Ok(answer))) => {
                self.forgive("write", deliveries);
                self.observed.pull_request = Some(Ok(answer));
            }
            (Task::Tell(key, _), OutsideAnswer::Forge(Ok(_))) => {
                self.forgive("feedback", deliveries);
                self.observed.told.insert(key, Ok(()));
            }
            _ => {}
        }
    }

    fn take_rendered(
        &mut self,
        commit: Oid,
        answer: Result<GitAnswer, RemoteError>,
        deliveries: &mut Deliveries,
    ) {
        let uid = self.observed.delivery.metadata.uid.clone();
        let memory = deliveries.memory(&self.key, &uid);
        match answer {
            Ok(GitAnswer::Unchanged) => {
                memory.same = Some(commit);
            }
            Ok(GitAnswer::Rendered(rendered)) => {
                let (info, rendered) = *rendered;
                if self.rendering_head {
                    let closure = rendered.as_ref().ok().map(|rendered| rendered.closure.clone());
                    memory.closure = closure.map(|closure| (commit.clone(), closure));
                }
                self.observed
                    .rendered
                    .insert(commit, Ok((info, rendered.map(Arc::new))));
            }
            Ok(_) => {
                let error =
                    RemoteError::Unavailable("the repository gave an answer to another question".to_owned());
                self.observed.rendered.insert(commit, Err(error));
            }
            Err(error) => {
                if matches!(error, RemoteError::Denied(_)) {
                    memory.remote = None;
                }
                self.observed.rendered.insert(commit, Err(error));
            }
        }
    }

    fn forgive(&mut self, kind: &'static str, deliveries: &mut Deliveries) {
        let uid = self.observed.delivery.metadata.uid.clone();
        deliveries.memory(&self.key, &uid).retry.remove(kind);
    }

    /// A repository or forge did not do it: it is told, and tried again later.
    fn failed_outside(
        &mut self,
        task: &Task,
        error: RemoteError,
        deliveries: &mut Deliveries,
        now: Timestamp,
    ) {
        let uid = self.observed.delivery.metadata.uid.clone();
        let kind = match task {
            Task::Tell(..) => "feedback",
            Task::Notify(index, ..) => retry_key(*index),
            Task::Point(..) => "record",
            _ => "write",
        };
        let memory = deliveries.memory(&self.key, &uid);
        let (failures, at) = memory.retry.entry(kind).or_insert((0, now));
        *at = now.saturating_add(retry_delay(*failures)).unwrap_or(now);
        *failures = failures.saturating_add(1);
        match task {
            Task::Restore(_) => self.observed.restored = Some(Err(error)),
            Task::Point(reference, _) => _ = self.observed.pointed.insert(reference.clone(), Err(error)),
            Task::PullRequest(_) => self.observed.pull_request = Some(Err(error)),
            Task::Tell(key, _) => {
                self.observed.told.insert(key.clone(), Err(error));
                self.tasks.clear();
            }
            Task::Notify(_, key, _) => _ = self.observed.notified.insert(key.clone(), Err(error)),
            _ => {}
        }
    }
}

fn retry_key(chat: usize) -> &'static str {
    notify::RETRY.get(chat).copied().unwrap_or_default()
}

/// Takes down what commits render to: another syncer may name any of them for long.
fn remember_digests(known: &mut BTreeMap<Oid, String>, observed: &Observed, status: &DeliveryStatus) {
    let rendered = observed.rendered.iter().filter_map(|(commit, answer)| {
        let (_, rendered) = answer.as_ref().ok()?;
        Some((commit.clone(), rendered.as_ref().ok()?.digest.clone()))
    });
    let head = status.head.as_ref().map(|head| head.digest.clone());
    let is_head = matches!(&observed.head, Some(Ok(head)) if recorded_head(status).as_ref() == Some(head));
    let tip = observed.tip.clone().filter(|_| is_head).zip(head);
    let found: Vec<(Oid, String)> = rendered.chain(tip).collect();
    if known.len() + found.len() > MAX_DIGESTS {
        known.clear();
    }
    known.extend(found);
}

/// The newest commit of a status.
fn recorded_head(status: &DeliveryStatus) -> Option<Oid> {
    Oid::parse(status.head.as_ref()?.revision.rsplit_once(':')?.1)
}

/// The API server refused what was to be applied: how often in a row by now, and when to try again.
fn refused_again(digest: &str, before: Option<RefusedDigest>, now: Timestamp) -> RefusedDigest {
    let failures = before.map_or(0, |(_, failures, _)| failures.saturating_add(1));
    let at = now.saturating_add(retry_delay(failures)).unwrap_or(now);
    (digest.to_owned(), failures, at)
}

fn refusal(failure: &Failure) -> Refusal {
    Refusal {
        code: failure.code,
        message: failure.message.clone(),
    }
}

/// Whether it was done, where this failure says that it had been done before.
fn done_unless(
    answer: Result<Value, Failure>,
    done_before: impl Fn(&Failure) -> bool,
) -> Result<(), Refusal> {
    match answer {
        Err(failure) if !done_before(&failure) => Err(refusal(&failure)),
        _ => Ok(()),
    }
}

/// What a Secret holds of an application's objects; nothing if it is not there or not of this digest.
fn bundle(answer: &Result<Value, Failure>, digest: &str) -> Option<Rendered> {
    let data = answer
        .as_ref()
        .ok()
        .and_then(|secret| secret.get("data")?.get(BUNDLE_KEY)?.as_str());
    data.and_then(base64::decode_bytes)
        .and_then(|packed| unpack(&packed, digest))
}

/// The same step, of which nothing stays.
fn rehearsed(step: Step) -> Step {
    match step {
        Step::Request(request) => Step::Request(Request {
            dry_run: true,
            ..request
        }),
        step => step,
    }
}

fn delete_options(propagation: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation})
}

fn point(reference: &str, commit: &Oid, spec: &Spec, credentials: Credentials) -> Step {
    Step::Outside(Outside::Git(Box::new(GitRequest::Point {
        remote: Remote {
            url: spec.url.clone(),
            credentials,
        },
        reference: reference.to_owned(),
        commit: commit.clone(),
    })))
}

fn restore(order: &RestoreOrder, key: &ObjectKey, spec: &Spec, credentials: Credentials) -> Step {
    Step::Outside(Outside::Git(Box::new(GitRequest::Restore(Box::new(Restore {
        remote: Remote {
            url: spec.url.clone(),
            credentials,
        },
        base: spec.reference.full.clone(),
        tip: order.tip.clone(),
        path: spec.path.clone(),
        release: spec.release(&key.namespace, &key.name),
        good: order.good.clone(),
        outside: order.outside.clone(),
        digest: order.digest.clone(),
        push_to: order.push_to.clone(),
        message: order.message.clone(),
        author: (AUTHOR.0.to_owned(), AUTHOR.1.to_owned()),
        time: order.time,
    })))))
}

fn forge(request: &ForgeRequest, spec: &Spec, credentials: Credentials) -> Option<Step> {
    let feedback = spec.feedback.clone()?;
    let forge = Forge {
        kind: feedback.kind,
        api: feedback.api,
        repository: feedback.repository,
        credentials,
    };
    Some(Step::Outside(Outside::Forge(Box::new((forge, request.clone())))))
}
