//! `plan(observed, now)` for a Delivery: what to record, what to ask, what to do.
//!
//! A plan asks for what it needs, or acts, or is content; whoever carries it out puts the answers into [`Observed`] and plans
//! again, until a plan has no task. What is recorded is computed from what was observed, never from what was intended, so
//! it may be written before the tasks: a verdict is in the status before anything follows from it.

mod apply;
mod bundle;
mod conditions;
mod head;
mod hooks;
mod notify;
mod observe;
mod record;
mod revert;
mod tell;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize as _;
use serde_json::Value;
use tidegate_crds::{
    Delivery, DeliveryRevision, DeliveryStatus, LedgerEntry, RejectedAction, RejectedReason, TargetReason,
    Time, VerdictState,
};

use crate::cel::Budget;
use crate::drift::{Compare, Fingerprint, Metadata};
use crate::health::{Checks, Health, health_by};
use crate::notify::Note;
use crate::object::{ObjectId, PIN_ANNOTATION, RETRY_ANNOTATION, SYNC_ANNOTATION};
use crate::observed::Observed;
use crate::remote::ForgeRequest;
use crate::spec::Spec;
use crate::tree::Oid;
use crate::verdict::{Judged, judge};

/// Objects that are on their way are read again after about as long as that takes, between these.
const HEALTH: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_mins(1));
/// How many commits are remembered.
const LEDGER: usize = 10;
/// Longest text that goes into a status.
const MAX_MESSAGE: usize = 1000;

/// Something to ask or to do. The answer goes into the field of [`Observed`] that is named here.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Render a commit: `rendered`.
    Render(Oid),
    /// Learn what an API version serves: `kinds`.
    Discover(String),
    /// Read an object, as the service account: `live`.
    Read(ObjectId),
    /// Apply an object without keeping the result, as the service account: `tried`.
    Try(ObjectId, Value),
    /// Apply an object, as the service account: `applied`.
    Apply(ObjectId, Value),
    /// Delete an object if it has this uid, as the service account: `deleted`.
    Delete(ObjectId, String),
    /// The same of a hook, which stays until all that it started is gone: `deleted`.
    End(ObjectId, String),
    /// Keep the objects of a digest in the Secret of that name: `stored`.
    Store(String, String, Vec<u8>),
    /// Read the Secret of that name, which keeps the objects of a digest: `bundles`.
    Fetch(String, String),
    /// Delete the Secret of that name, which keeps the objects of a digest: `stored`.
    Drop(String, String),
    /// Put the folder back to an earlier commit and push it: `restored`.
    Restore(RestoreOrder),
    /// Make a ref of the repository point to a commit: `pointed`.
    Point(String, Oid),
    /// Open a pull request: `pull_request`.
    PullRequest(ForgeRequest),
    /// Tell the forge: `told`, under this key.
    Tell(String, ForgeRequest),
    /// Tell that chat of the spec: `notified`, under this key.
    Notify(usize, String, Box<Note>),
}

impl Task {
    /// Whether it changes the cluster, or may take long and cannot be undone: what is recorded has to be written before.
    fn changes(&self) -> bool {
        matches!(
            self,
            Self::Apply(..) | Self::Delete(..) | Self::End(..) | Self::Notify(..)
        )
    }
}

/// [`Restore`](crate::remote::Restore) without what only the process knows.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreOrder {
    /// The commit that the branch must be at.
    pub tip: Oid,
    /// The commit whose folder is taken.
    pub good: Oid,
    /// Files outside of the folder that are taken from it as well.
    pub outside: Vec<String>,
    /// What the folder must render to.
    pub digest: String,
    /// The ref that is pushed to, in full.
    pub push_to: String,
    /// Message of the commit.
    pub message: String,
    /// Time of the commit.
    pub time: Timestamp,
}

/// An event to record on the Delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// Tells two events of the same reason apart.
    pub occurrence: String,
}

/// What follows from what was observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The status as it should be.
    pub status: DeliveryStatus,
    /// What to ask or do, in order, stopping at the first that gets no answer.
    pub tasks: Vec<Task>,
    /// The status is to be written before the tasks.
    pub write_first: bool,
    /// What to tell once the status is written.
    pub events: Vec<Event>,
    /// When to look again without news.
    pub wake: Option<Timestamp>,
    /// The repository is to be asked again at once.
    pub ask_again: bool,
    /// Objects that are as Git has them, and the state in which they were seen to be.
    pub settled: BTreeMap<ObjectId, Fingerprint>,
    /// Whether that is so of everything that is applied.
    pub all_compared: bool,
}

/// Plans.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut draft = Draft::new(observed, now);
    let spec = match Spec::read(&observed.delivery.spec) {
        Ok(spec) => spec,
        Err(error) => {
            draft.stalled("InvalidSpec", &error.to_string());
            return draft.plan;
        }
    };
    if spec.suspend {
        draft.suspended();
        return draft.plan;
    }
    draft.retry();
    draft.sync();
    if let Some(observe) = &spec.observe {
        return draft.observe(&spec, observe);
    }
    draft.follow_head(&spec);
    draft.watch_hooks();
    draft.judge_hooks();
    draft.judge(&spec);
    draft.choose_target(&spec);
    draft.end_hooks();
    let stages: &[Stage<'_>] = &[
        Draft::bring_about,
        Draft::run_late_hooks,
        Draft::clear_hooks,
        Draft::prune,
        Draft::tell,
        Draft::take_back,
        Draft::record_in_git,
        Draft::keep_bundles,
        Draft::notify,
    ];
    draft.run(&spec, stages);
    draft.finish()
}

/// A part of a plan.
type Stage<'a> = fn(&mut Draft<'a>, &Spec);

/// A plan in the making.
struct Draft<'a> {
    observed: &'a Observed,
    now: Timestamp,
    plan: Plan,
    /// Why nothing can be fetched or applied at the moment.
    trouble: Option<(&'static str, String)>,
    /// What of the applied objects is to be compared with Git.
    compare: Compare,
    /// Who applies instead of us, if somebody does.
    syncer: Option<observe::Syncer>,
    /// What the expressions of health checks may still spend.
    budget: Budget,
}

impl<'a> Draft<'a> {
    fn new(observed: &'a Observed, now: Timestamp) -> Self {
        let Delivery { metadata, status, .. } = &observed.delivery;
        let mut status = status.clone();
        status.observed_generation = metadata.generation;
        Self {
            observed,
            now,
            plan: Plan {
                status,
                ..Plan::default()
            },
            trouble: None,
            compare: observed.compare.clone(),
            syncer: None,
            budget: Checks::budget(),
        }
    }

    /// Each stage comes only when the one before has nothing left to ask or do.
    fn run(&mut self, spec: &Spec, stages: &[Stage<'a>]) {
        for stage in stages {
            if !self.plan.tasks.is_empty() {
                break;
            }
            stage(self, spec);
        }
    }

    fn finish(mut self) -> Plan {
        self.trim();
        self.conditions();
        self.plan.write_first = self.plan.tasks.iter().any(Task::changes);
        self.plan
    }

    fn status(&mut self) -> &mut DeliveryStatus {
        &mut self.plan.status
    }

    fn entry(&self, digest: &str) -> Option<&LedgerEntry> {
        self.plan
            .status
            .ledger
            .iter()
            .find(|entry| entry.digest == digest && !digest.is_empty())
    }

    fn entry_mut(&mut self, digest: &str) -> Option<&mut LedgerEntry> {
        self.plan
            .status
            .ledger
            .iter_mut()
            .find(|entry| entry.digest == digest && !digest.is_empty())
    }

    /// The entry of the newest commit.
    fn head_entry(&self) -> Option<&LedgerEntry> {
        let head = self.plan.status.head.as_ref()?;
        let commit = commit_of(head);
        let has = |entry: &&LedgerEntry| entry.commits.iter().any(|known| known == commit);
        self.plan.status.ledger.iter().find(has)
    }

    /// Notes that an object is as Git has it.
    fn settle(&mut self, id: &ObjectId, object: &Value) {
        let metadata = object.get("metadata").map(Metadata::deserialize);
        if let Some(Ok(metadata)) = metadata {
            self.plan.settled.insert(id.clone(), metadata.fingerprint());
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        let wake = &mut self.plan.wake;
        *wake = Some(wake.map_or(at, |wake| wake.min(at)));
    }

    fn tell_event(&mut self, warning: bool, reason: &'static str, message: String, occurrence: String) {
        self.plan.events.push(Event {
            warning,
            reason,
            message,
            occurrence,
        });
    }

    /// Obeys a person who wants everything looked at now.
    fn sync(&mut self) {
        let asked = self
            .observed
            .delivery
            .metadata
            .annotations
            .get(SYNC_ANNOTATION)
            .cloned();
        if asked.is_some() && asked != self.plan.status.handled_sync {
            self.status().handled_sync = asked;
            self.plan.ask_again = true;
            self.compare = Compare::Everything;
        }
    }

    /// Obeys a person who wants a rejected commit released again.
    fn retry(&mut self) {
        let annotations = &self.observed.delivery.metadata.annotations;
        let asked = annotations.get(RETRY_ANNOTATION).cloned();
        if asked.is_none() || asked == self.plan.status.handled_retry {
            return;
        }
        self.status().handled_retry = asked;
        let now = Time::from(self.now);
        let Some(head) = self
            .head_entry()
            .map(|entry| (entry.digest.clone(), entry.commits.clone()))
        else {
            return;
        };
        if head.0.is_empty() {
            // It did not render: it is looked at as if it had just been pushed.
            self.status().ledger.retain(|entry| entry.commits != head.1);
            self.status().head = None;
            return;
        }
        for entry in &mut self.plan.status.ledger {
            if entry.digest == head.0 && entry.commits == head.1 && entry.state == VerdictState::Rejected {
                entry.state = VerdictState::Pending;
                entry.since = Some(now);
                entry.healthy_since = None;
                entry.reason = None;
                entry.message.clear();
                entry.revert = None;
                hooks::run_again(&mut entry.hooks);
                // what quarantined it is forgiven, too
                for rollout in &mut entry.rollouts {
                    rollout.generation = None;
                }
            }
        }
        let templates: Vec<String> = self
            .head_entry()
            .map(|entry| {
                entry
                    .rollouts
                    .iter()
                    .map(|rollout| rollout.template.clone())
                    .collect()
            })
            .unwrap_or_default();
        for entry in &mut self.plan.status.ledger {
            for rollout in entry
                .rollouts
                .iter_mut()
                .filter(|rollout| templates.contains(&rollout.template))
            {
                if entry.state == VerdictState::Rejected {
                    rollout.template.clear();
                }
            }
        }
        if self
            .plan
            .status
            .applied
            .as_ref()
            .is_some_and(|applied| applied.digest == head.0)
        {
            self.status().applied = None;
        }
    }

    /// What Rollouts and other objects say of an entry that is applied.
    fn judged(&mut self, spec: &Spec, entry: &LedgerEntry, good: bool) -> Judged {
        let judged = judge(entry, self.observed, self.now);
        if judged.drifted {
            self.compare = Compare::Everything;
        }
        match judged.state {
            _ if good => stays_good(entry, judged),
            VerdictState::Verified | VerdictState::Deployed => self.judge_others(spec, entry, judged),
            _ => judged,
        }
    }

    /// Gives or renews the verdict on what is applied.
    fn judge(&mut self, spec: &Spec) {
        let Some(applied) = self.plan.status.applied.clone() else {
            return;
        };
        let Some(entry) = self.entry(&applied.digest).cloned() else {
            return;
        };
        if matches!(entry.state, VerdictState::Rejected | VerdictState::Superseded) {
            return;
        }
        let good = matches!(
            entry.state,
            VerdictState::Verified | VerdictState::Deployed | VerdictState::Regressed
        );
        let target = self.plan.status.target.as_ref();
        if good && target.is_some_and(|target| target.digest != applied.digest) {
            // Another commit is on its way in: what is seen now says nothing about this one.
            return;
        }
        let judged = self.judged(spec, &entry, good);
        let healthy = matches!(judged.state, VerdictState::Verified | VerdictState::Deployed);
        let since = entry.healthy_since.map_or(self.now, Timestamp::from);
        let over = since.saturating_add(spec.soak).unwrap_or(self.now);
        let soaking = healthy && !good && over > self.now;
        if soaking {
            self.wake_at(over);
        }
        let now = Time::from(self.now);
        let reference = spec.reference.short.clone();
        let Some(entry) = self.entry_mut(&applied.digest) else {
            return;
        };
        entry.healthy_since = healthy.then(|| entry.healthy_since.unwrap_or(now));
        entry.rollouts.clone_from(&judged.rollouts);
        let state = if soaking {
            VerdictState::Progressing
        } else {
            judged.state.clone()
        };
        if entry.state != state {
            entry.state = state.clone();
            entry.since = Some(now);
        }
        entry.message = if soaking {
            format!("healthy, and watched until {}", Time::from(over))
        } else {
            shorten(&judged.message)
        };
        if healthy && !soaking || state == VerdictState::Rejected {
            entry.analysis_runs.clone_from(&judged.runs);
            entry.analysis_runs.truncate(10);
        }
        let mut event = None;
        if state == VerdictState::Rejected {
            event = Some((true, "Rejected", reject(entry, &judged)));
        } else if healthy && !soaking {
            if !good {
                event = Some((false, "Verified", format!("{} is good: {state}", short(entry))));
            }
            let commit = entry.commits.last().cloned().unwrap_or_default();
            let verified = DeliveryRevision {
                revision: revision(&reference, &commit),
                digest: applied.digest.clone(),
            };
            self.status().verified = Some(verified);
        }
        if let Some((warning, reason, text)) = event {
            self.tell_event(warning, reason, text, applied.digest);
        }
    }

    /// A commit whose Rollouts are healthy waits for its other objects.
    fn judge_others(&mut self, spec: &Spec, entry: &LedgerEntry, judged: Judged) -> Judged {
        if let Some(message) = self.unfinished().or_else(|| Self::unfinished_hook(entry)) {
            return Judged {
                state: VerdictState::Progressing,
                message,
                ..judged
            };
        }
        let ids: Vec<ObjectId> = entry
            .watched
            .iter()
            .filter_map(|id| ObjectId::parse(id))
            .collect();
        let mut asks = Vec::new();
        for id in &ids {
            let api_version = id.api_version();
            if !self.observed.kinds.contains_key(&api_version) {
                let ask = Task::Discover(api_version);
                if !asks.contains(&ask) {
                    asks.push(ask);
                }
            } else if !self.observed.live.contains_key(id) {
                asks.push(Task::Read(id.clone()));
            }
        }
        let waits = |state: VerdictState, message: String| Judged {
            state,
            message,
            ..judged.clone()
        };
        if !asks.is_empty() {
            self.plan.tasks.extend(asks);
            return waits(entry.state.clone(), entry.message.clone());
        }
        let ill: Vec<(&ObjectId, Health)> = ids
            .iter()
            .map(|id| (id, self.health_of(spec, id)))
            .filter(|(_, health)| *health != Health::Current)
            .collect();
        let words = |id: &ObjectId, problem: &str| format!("{}: {problem}", id.words());
        for (id, health) in &ill {
            if let Health::Failed(problem) = health {
                let reason = match id.kind.as_str() {
                    "Job" => RejectedReason::HookFailed,
                    _ => RejectedReason::DeadlineExceeded,
                };
                return Judged {
                    reason: Some(reason),
                    ..waits(VerdictState::Rejected, words(id, problem))
                };
            }
        }
        if let Some((id, Health::Progressing(problem))) = ill.first() {
            self.wake_for_health(entry.since.map_or(self.now, Timestamp::from));
            return waits(VerdictState::Progressing, words(id, problem));
        }
        judged
    }

    /// How an object does that was asked for.
    fn health_of(&self, spec: &Spec, id: &ObjectId) -> Health {
        match self.observed.live.get(id) {
            Some(Ok(Some(live))) => health_by(&spec.health, &self.budget, id, live),
            Some(Ok(None)) => Health::Progressing("is not there".to_owned()),
            Some(Err(refusal)) => Health::Progressing(refusal.message.clone()),
            None => Health::Current,
        }
    }

    /// What is wrong with an object that was read, in words.
    fn unhealthy(&self, spec: &Spec, id: &ObjectId) -> Option<String> {
        match self.health_of(spec, id) {
            Health::Current => None,
            Health::Progressing(problem) | Health::Failed(problem) => {
                Some(format!("{}: {problem}", id.words()))
            }
        }
    }

    /// Objects on their way are read again after about as long as it has been.
    fn wake_for_health(&mut self, since: Timestamp) {
        let wait = self.now.duration_since(since).clamp(HEALTH.0, HEALTH.1);
        self.wake_at(self.now.saturating_add(wait).unwrap_or(self.now));
    }

    /// Where a rejection goes back to: the newest commit that counts as good.
    fn last_good(&self, spec: &Spec) -> Option<&LedgerEntry> {
        self.plan.status.ledger.iter().find(|entry| match entry.state {
            VerdictState::Verified => true,
            VerdictState::Deployed => !spec.require_verified,
            _ => false,
        })
    }

    /// Decides what the cluster is held at.
    fn choose_target(&mut self, spec: &Spec) {
        let Some(head) = self.head_entry().cloned() else {
            return;
        };
        let reference = &spec.reference.short;
        let as_target = |entry: &LedgerEntry| DeliveryRevision {
            revision: revision(reference, entry.commits.last().map_or("", String::as_str)),
            digest: entry.digest.clone(),
        };
        let before = self.plan.status.target.clone();
        let pinned = match self.pinned_by_hand() {
            Ok(pinned) => pinned,
            Err(problem) => {
                self.trouble = Some(("PinFailed", problem));
                return;
            }
        };
        let running = self.what_runs().cloned();
        let nothing = running.is_none();
        let (target, why) = if let Some(pinned) = pinned {
            (Some(as_target(&pinned)), TargetReason::PinnedByHand)
        } else if head.state != VerdictState::Rejected {
            (Some(as_target(&head)), TargetReason::Head)
        } else if spec.action == RejectedAction::Hold || self.cannot_go_back(spec) {
            match running {
                Some(running) => (Some(as_target(&running)), TargetReason::Held),
                None => (None, TargetReason::Held),
            }
        } else if let Some(running) = running.filter(|running| running.state != VerdictState::Rejected) {
            // What never came into the cluster does not disturb what is on its way there.
            (Some(as_target(&running)), TargetReason::Pinned)
        } else if let Some(good) = self.last_good(spec) {
            (Some(as_target(good)), TargetReason::Pinned)
        } else {
            (before.clone().filter(|_| !nothing), TargetReason::Held)
        };
        let digest =
            |revision: &Option<DeliveryRevision>| revision.as_ref().map(|revision| revision.digest.clone());
        if digest(&target) != digest(&before) {
            if let Some(old) = digest(&before) {
                self.supersede(&old);
                if self.entry(&old).is_some_and(|entry| entry.wave.is_some()) {
                    // Some of its waves are there: what was applied before is applied again.
                    self.status().applied = None;
                }
            }
            if let Some(entry) = digest(&target).and_then(|digest| self.entry_mut(&digest)) {
                entry.wave = None;
            }
            if why == TargetReason::Pinned
                && let Some(target) = &target
            {
                let text = format!(
                    "{} was rejected; the cluster goes back to {}",
                    short(&head),
                    target.revision
                );
                self.tell_event(
                    true,
                    "Pinned",
                    text,
                    head.commits.last().cloned().unwrap_or_default(),
                );
            }
        }
        // A commit that brings back what is applied already, such as a revert, only changes the name.
        if self.plan.status.applied.as_ref().map(|applied| &applied.digest)
            == target.as_ref().map(|target| &target.digest)
        {
            self.status().applied.clone_from(&target);
        }
        self.status().why = target.is_some().then_some(why);
        self.status().target = target;
    }

    /// The commit that a person wants the cluster to be held at.
    fn pinned_by_hand(&self) -> Result<Option<LedgerEntry>, String> {
        let Some(wanted) = self.observed.delivery.metadata.annotations.get(PIN_ANNOTATION) else {
            return Ok(None);
        };
        let wanted = wanted.trim();
        let is = |entry: &&LedgerEntry| {
            let named = |commit: &String| wanted.len() >= 7 && commit.starts_with(wanted);
            entry.commits.iter().any(named) && !entry.digest.is_empty()
        };
        let found = self.plan.status.ledger.iter().find(is).cloned();
        match found {
            Some(entry) => Ok(Some(entry)),
            None => Err(format!(
                "the annotation {PIN_ANNOTATION} names {wanted:?}, which is not among the last commits: use one of status.ledger"
            )),
        }
    }

    fn supersede(&mut self, digest: &str) {
        let now = Time::from(self.now);
        let Some(entry) = self.entry_mut(digest) else {
            return;
        };
        if !is_final(&entry.state) {
            entry.state = VerdictState::Superseded;
            entry.since = Some(now);
            entry.message.clear();
        }
    }

    /// Keeps the ledger short: what is of use for a rollback or a quarantine goes last.
    fn trim(&mut self) {
        let status = &mut self.plan.status;
        let kept: Vec<String> = [&status.target, &status.applied, &status.verified]
            .into_iter()
            .flatten()
            .map(|revision| revision.digest.clone())
            .collect();
        let of_use = |entry: &LedgerEntry| {
            kept.contains(&entry.digest)
                || entry.state == VerdictState::Rejected && entry.reason != Some(RejectedReason::RenderFailed)
        };
        while status.ledger.len() > LEDGER {
            let least = status.ledger.iter().rposition(|entry| !of_use(entry));
            let last = status
                .ledger
                .iter()
                .rposition(|entry| !kept.contains(&entry.digest));
            let Some(index) = least
                .filter(|index| *index > 0)
                .or(last)
                .filter(|index| *index > 0)
            else {
                break;
            };
            status.ledger.remove(index);
        }
    }
}

/// Writes into an entry why it is rejected, and tells it in one line.
fn reject(entry: &mut LedgerEntry, judged: &Judged) -> String {
    entry.reason.clone_from(&judged.reason);
    if judged.old {
        entry.revert = Some(tidegate_crds::LedgerRevert {
            message: "found too late for a write to Git".to_owned(),
            done: true,
            ..tidegate_crds::LedgerRevert::default()
        });
    }
    let reason = judged
        .reason
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("{} was rejected: {reason}: {}", short(entry), entry.message)
}

/// A good commit becomes Regressed when it fails later, and good again when that is over.
fn stays_good(entry: &LedgerEntry, judged: Judged) -> Judged {
    let was_verified = entry.state == VerdictState::Verified || !entry.analysis_runs.is_empty();
    let state = match judged.state {
        VerdictState::Rejected => VerdictState::Regressed,
        VerdictState::Deployed if was_verified => VerdictState::Verified,
        VerdictState::Verified | VerdictState::Deployed => judged.state,
        _ => entry.state.clone(),
    };
    Judged { state, ..judged }
}

fn is_final(state: &VerdictState) -> bool {
    matches!(
        state,
        VerdictState::Verified
            | VerdictState::Deployed
            | VerdictState::Rejected
            | VerdictState::Superseded
            | VerdictState::Regressed
    )
}

/// `main@sha1:COMMIT`, as Flux writes it.
fn revision(reference: &str, commit: &str) -> String {
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    format!("{reference}@{algorithm}:{commit}")
}

/// The commit of a revision.
fn commit_of(revision: &DeliveryRevision) -> &str {
    revision
        .revision
        .rsplit_once(':')
        .map_or("", |(_, commit)| commit)
}

/// The newest commit of an entry, for people.
fn short(entry: &LedgerEntry) -> String {
    let commit = entry.commits.last().map_or("", String::as_str);
    let subject = if entry.subject.is_empty() {
        String::new()
    } else {
        format!(" ({})", entry.subject)
    };
    format!("commit {}{subject}", commit.get(..8).unwrap_or(commit))
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
