//! A Delivery whose folder somebody else applies: the commit that Argo CD or Flux says is applied gets a verdict, feedback and
//! the write to Git, and nothing in the cluster is touched.

use serde_json::Value;
use tidegate_crds::{DeliveryRevision, LedgerEntry, LedgerRollout, TargetReason, Time, VerdictState};

use super::apply::Missing;
use super::head::REVERTS_TRAILER;
use super::{Draft, Plan, Stage, Task, commit_of, is_final, revision, shorten};
use crate::desired::{Desired, Obstacle, template};
use crate::graft::difference;
use crate::object::{ObjectId, PIN_ANNOTATION};
use crate::observer::{self, Applied, Said, judged};
use crate::render::Rendered;
use crate::spec::{Observe, Spec};
use crate::tree::Oid;

/// Who applies, and what it says.
pub(super) struct Syncer {
    /// `the Argo CD Application argocd/shop`.
    pub(super) words: String,
    pub(super) said: Said,
}

/// Why there is nothing to go on with.
enum Stop {
    /// Something is asked for.
    Asked,
    /// Only another spec helps: reason and message.
    Stalled(&'static str, String),
    /// It may be over by itself: reason and message.
    Trouble(&'static str, String),
}

impl<'a> Draft<'a> {
    /// Plans for a Delivery that applies nothing.
    pub(super) fn observe(mut self, spec: &Spec, observe: &Observe) -> Plan {
        self.wake_at(self.now.saturating_add(spec.interval).unwrap_or(self.now));
        match self.meet(spec, observe) {
            Ok(syncer) => self.syncer = Some(syncer),
            Err(Stop::Asked) => return self.plan,
            Err(Stop::Stalled(reason, message)) => {
                self.stalled(reason, &message);
                return self.plan;
            }
            Err(Stop::Trouble(reason, message)) => {
                self.trouble = Some((reason, message));
                return self.finish();
            }
        }
        self.follow_head(spec);
        if self.plan.tasks.is_empty() {
            self.note_applied(spec);
        }
        if self.plan.tasks.is_empty() && self.compare() {
            self.judge(spec);
        }
        self.note_waiting();
        let stages: &[Stage<'a>] = &[Draft::tell, Draft::take_back, Draft::record_in_git, Draft::notify];
        self.run(spec, stages);
        self.finish()
    }

    /// Reads what the other syncer says of itself.
    fn meet(&mut self, spec: &Spec, observe: &Observe) -> Result<Syncer, Stop> {
        let id = observer::id(observe, &self.observed.delivery.metadata.namespace);
        let words = observer::words(&id);
        let api_version = id.api_version();
        match self.observed.kinds.get(&api_version) {
            None => {
                self.plan.tasks.push(Task::Discover(api_version));
                return Err(Stop::Asked);
            }
            Some(kinds) if kinds.as_ref().is_none_or(|kinds| !kinds.contains_key(&id.kind)) => {
                let message = format!(
                    "spec.observe: the cluster has no kind {} in {api_version}",
                    id.kind
                );
                return Err(Stop::Trouble("SyncerNotFound", message));
            }
            Some(_) => {}
        }
        let object = match self.observed.live.get(&id) {
            None => {
                self.plan.tasks.push(Task::Read(id));
                return Err(Stop::Asked);
            }
            Some(Ok(Some(object))) => object,
            Some(Ok(None)) => {
                let message = format!(
                    "spec.observe: there is no {}: name the one that applies this folder",
                    id.words()
                );
                return Err(Stop::Trouble("SyncerNotFound", message));
            }
            Some(Err(refusal)) => {
                let message = format!(
                    "{words} cannot be read as the service account {}: {}",
                    spec.service_account, refusal.message
                );
                return Err(Stop::Trouble("SyncerUnreadable", message));
            }
        };
        let mismatch = |problem: String| Stop::Stalled("SourceMismatch", format!("{words}: {problem}"));
        let said = observer::read(observe.kind, object, spec).map_err(mismatch)?;
        if let Some(source) = &said.source {
            self.meet_source(spec, source)?;
        }
        Ok(Syncer { words, said })
    }

    /// The GitRepository of Flux is compared as far as it may be seen.
    fn meet_source(&mut self, spec: &Spec, id: &ObjectId) -> Result<(), Stop> {
        let api_version = id.api_version();
        if !self.observed.kinds.contains_key(&api_version) {
            self.plan.tasks.push(Task::Discover(api_version));
            return Err(Stop::Asked);
        }
        match self.observed.live.get(id) {
            None => {
                self.plan.tasks.push(Task::Read(id.clone()));
                Err(Stop::Asked)
            }
            Some(Ok(Some(object))) => observer::same_git_repository(object, spec).map_err(|problem| {
                Stop::Stalled("SourceMismatch", format!("the Flux {}: {problem}", id.words()))
            }),
            Some(Ok(None) | Err(_)) => Ok(()),
        }
    }

    /// What of a commit is judged.
    pub(super) fn judged_of(&self, rendered: &Rendered) -> Result<Desired, Obstacle> {
        let syncer = self.syncer.as_ref();
        let namespace = syncer
            .map(|syncer| syncer.said.namespace.clone())
            .unwrap_or_default();
        Desired::of(&judged(rendered, &namespace), self.observed)
    }

    /// Takes down which commit is applied.
    fn note_applied(&mut self, spec: &Spec) {
        let Some(Applied { commit, .. }) = self
            .syncer
            .as_ref()
            .and_then(|syncer| syncer.said.applied.clone())
        else {
            return;
        };
        let Some(digest) = self.digest_of(&commit) else {
            return;
        };
        let now = Time::from(self.now);
        let before = self
            .plan
            .status
            .applied
            .as_ref()
            .map(|applied| applied.digest.clone());
        if before.as_ref() != Some(&digest) {
            let applied = DeliveryRevision {
                revision: revision(&spec.reference.short, commit.as_str()),
                digest: digest.clone(),
            };
            self.status().applied = Some(applied);
            let words = self.syncer.as_ref().map_or("", |syncer| syncer.words.as_str());
            let entry = self.entry(&digest).map(super::short).unwrap_or_default();
            let text = format!("{words} applied {entry}");
            self.tell_event(
                false,
                "Applied",
                text,
                format!("{digest}{}", self.now.as_second()),
            );
        }
        if let Some(entry) = self.entry_mut(&digest)
            && matches!(entry.state, VerdictState::Pending | VerdictState::Superseded)
        {
            entry.state = VerdictState::Applied;
            entry.since = Some(now);
            entry.reason = None;
            entry.message.clear();
        }
        let head = self.plan.status.head.as_ref().map(|head| head.digest.clone());
        let passed = |entry: &&LedgerEntry| {
            entry.digest != digest && head.as_ref() != Some(&entry.digest) && !is_final(&entry.state)
        };
        let ledger = &self.plan.status.ledger;
        let passed: Vec<String> = ledger
            .iter()
            .filter(passed)
            .map(|entry| entry.digest.clone())
            .collect();
        for old in passed {
            self.supersede(&old);
        }
        self.plan.status.target.clone_from(&self.plan.status.applied);
        self.status().why = Some(TargetReason::Observed);
    }

    /// What a commit renders to, which is in the ledger then; `None` while that is asked for, or cannot be had.
    fn digest_of(&mut self, commit: &Oid) -> Option<String> {
        let names = |entry: &&LedgerEntry| entry.commits.iter().any(|known| known == commit.as_str());
        let ledger = &self.plan.status.ledger;
        let known = ledger.iter().find(names).map(|entry| entry.digest.clone());
        let known = known.or_else(|| self.observed.renders_to.get(commit).cloned());
        // The newest commit may have nothing new in the folder.
        let head = self.plan.status.head.as_ref();
        let same = head.filter(|head| {
            let of = |answer: &Result<Oid, _>| answer.as_ref().ok().map(|head| head.as_str().to_owned());
            let looked_at = self.observed.head.as_ref().and_then(of);
            self.observed.tip.as_ref() == Some(commit) && looked_at.as_deref() == Some(commit_of(head))
        });
        let known = known.or_else(|| same.map(|head| head.digest.clone()));
        if let Some(digest) = known.filter(|digest| self.entry(digest).is_some()) {
            return Some(digest);
        }
        let (info, rendered) = match self.observed.rendered.get(commit) {
            None => {
                self.plan.tasks.push(Task::Render(commit.clone()));
                return None;
            }
            Some(Err(error)) => {
                self.trouble = Some(("FetchFailed", error.to_string()));
                return None;
            }
            Some(Ok((_, Err(error)))) => {
                self.not_rendered(commit, &error.to_string());
                return None;
            }
            Some(Ok((info, Ok(rendered)))) => (info, rendered),
        };
        if self.entry(&rendered.digest).is_none() {
            let rollouts = self.rollouts_of(commit, rendered)?;
            let entry = LedgerEntry {
                digest: rendered.digest.clone(),
                commits: vec![commit.as_str().to_owned()],
                subject: shorten(&info.subject),
                author: shorten(&info.author),
                state: VerdictState::Pending,
                since: Some(Time::from(self.now)),
                rollouts,
                reverts: info.trailers.iter().any(|(key, _)| key == REVERTS_TRAILER),
                ..LedgerEntry::default()
            };
            // Most likely it is older than what Git has by now.
            let behind_head = usize::from(self.head_entry().is_some());
            let ledger = &mut self.plan.status.ledger;
            ledger.insert(behind_head.min(ledger.len()), entry);
            self.plan.ask_again = true;
        }
        Some(rendered.digest.clone())
    }

    /// The Rollouts of a commit; `None` while something is missing.
    fn rollouts_of(&mut self, commit: &Oid, rendered: &Rendered) -> Option<Vec<LedgerRollout>> {
        match self.judged_of(rendered) {
            Ok(desired) => Some(desired.rollouts()),
            Err(obstacle) => {
                self.meet_obstacle(commit, obstacle);
                None
            }
        }
    }

    fn meet_obstacle(&mut self, commit: &Oid, obstacle: Obstacle) {
        match obstacle {
            Obstacle::Unknown(versions) => self.plan.tasks.extend(versions.into_iter().map(Task::Discover)),
            Obstacle::NoKind(problem) | Obstacle::Wrong(problem) => self.not_rendered(commit, &problem),
        }
    }

    /// What only the other syncer understands is no fault of the commit.
    pub(super) fn not_rendered(&mut self, commit: &Oid, problem: &str) {
        let message = format!(
            "commit {}: no verdict, because it cannot be read here: {problem}",
            commit.short()
        );
        self.trouble = Some(("RenderFailed", shorten(&message)));
    }

    /// Whether the Rollouts are what the applied commit says, so that what becomes of them says something about it.
    fn compare(&mut self) -> bool {
        let Some(applied) = self.plan.status.applied.clone() else {
            return false;
        };
        let Some(entry) = self.entry(&applied.digest).cloned() else {
            return false;
        };
        if entry.rollouts.iter().all(|rollout| !rollout.pod_hash.is_empty()) || is_final(&entry.state) {
            return true;
        }
        let Some(commit) = Oid::parse(commit_of(&applied)) else {
            return false;
        };
        let rendered = match self.find_rendered(&applied.digest) {
            Ok(rendered) => rendered,
            Err(Missing::Ask(task)) => {
                self.plan.tasks.push(*task);
                return false;
            }
            Err(Missing::Gone(message)) => {
                self.trouble = Some(("FetchFailed", message));
                return false;
            }
        };
        let desired = match self.judged_of(&rendered) {
            Ok(desired) => desired,
            Err(obstacle) => {
                self.meet_obstacle(&commit, obstacle);
                return false;
            }
        };
        let unread: Vec<Task> = compared(&desired)
            .filter(|id| !self.observed.live.contains_key(*id))
            .map(|id| Task::Read(id.clone()))
            .collect();
        if !unread.is_empty() {
            self.plan.tasks = unread;
            return false;
        }
        let mut rollouts = entry.rollouts;
        for rollout in rollouts.iter_mut().filter(|rollout| rollout.pod_hash.is_empty()) {
            match self.generation_of_same(&desired, rollout) {
                Ok(generation) => rollout.generation = Some(generation),
                Err(problem) => {
                    let words = format!("Rollout {}/{} {problem}", rollout.namespace, rollout.name);
                    if let Some(entry) = self.entry_mut(&applied.digest) {
                        entry.message = shorten(&words);
                    }
                    return false;
                }
            }
        }
        if let Some(entry) = self.entry_mut(&applied.digest) {
            entry.rollouts = rollouts;
        }
        true
    }

    /// The generation of a Rollout that is as the commit says, or what differs.
    fn generation_of_same(&self, desired: &Desired, rollout: &LedgerRollout) -> Result<i64, String> {
        let is = |id: &ObjectId| {
            id.is("argoproj.io", "Rollout") && id.namespace == rollout.namespace && id.name == rollout.name
        };
        let wanted = desired.objects.iter().find(|object| is(&object.id));
        let wanted = wanted.ok_or("is not in the commit any more")?;
        let live = match self.observed.live.get(&wanted.id) {
            Some(Ok(Some(live))) => live,
            Some(Err(refusal)) => {
                return Err(format!(
                    "cannot be read as the service account: {}",
                    refusal.message
                ));
            }
            _ => return Err("is not there".to_owned()),
        };
        let mut body = wanted.body.clone();
        desired.owned.graft(&wanted.id, &mut body, Some(live));
        let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
        self.says_the_same(&spec(&body), &spec(live), "spec")?;
        if let Some(workload) = desired.workload_of(wanted) {
            let Some(Ok(Some(there))) = self.observed.live.get(&workload.id) else {
                return Err(format!(
                    "has its pods from {}, which cannot be read",
                    workload.id.words()
                ));
            };
            let template = |object: &Value| template(object).cloned().unwrap_or_default();
            self.says_the_same(&template(&workload.body), &template(there), "template")?;
            let seen = live
                .pointer("/status/workloadObservedGeneration")
                .and_then(Value::as_str);
            let generation = there.pointer("/metadata/generation").map(ToString::to_string);
            if generation.is_some() && seen != generation.as_deref() {
                return Err(format!("has not seen {} yet", workload.id.words()));
            }
        }
        let generation = live.pointer("/metadata/generation").and_then(Value::as_i64);
        generation.ok_or_else(|| "has no generation".to_owned())
    }

    fn says_the_same(&self, wanted: &Value, live: &Value, field: &str) -> Result<(), String> {
        difference(wanted, live).map_or(Ok(()), |path| {
            let syncer = self.syncer.as_ref().map_or("the other syncer", |syncer| syncer.words.as_str());
            Err(format!(
                "is not what the commit says ({field}{path} differs): somebody changed it, or {syncer} has parameters of its own; \
                 no verdict is drawn"
            ))
        })
    }

    /// Says what is waited for while the newest commit is not the one that is applied.
    fn note_waiting(&mut self) {
        let metadata = &self.observed.delivery.metadata;
        let Some(syncer) = &self.syncer else { return };
        if self.trouble.is_some() || !self.plan.tasks.is_empty() {
            return;
        }
        if metadata.annotations.contains_key(PIN_ANNOTATION) {
            let message = format!(
                "{PIN_ANNOTATION} has no effect with spec.observe: {} applies, hold it there",
                syncer.words
            );
            self.trouble = Some(("PinFailed", message));
            return;
        }
        let Some(head) = self.head_entry() else { return };
        let applied = self.plan.status.applied.as_ref();
        if head.state == VerdictState::Rejected
            || applied.is_some_and(|applied| applied.digest == head.digest)
        {
            return;
        }
        let problem = syncer.said.problem.as_ref();
        let problem = problem
            .map(|problem| format!(" (it says: {problem})"))
            .unwrap_or_default();
        let message = format!(
            "{} waits until {} applies it{problem}",
            super::short(head),
            syncer.words
        );
        self.trouble = Some(("Pending", shorten(&message)));
    }

    /// Why a commit with healthy Rollouts is not good yet, if it is not.
    pub(super) fn unfinished(&self) -> Option<String> {
        let said = &self.syncer.as_ref()?.said;
        said.applied.as_ref()?.unfinished.clone()
    }

    /// What Git and the cluster have, when somebody else applies.
    pub(super) fn observed_conditions(&mut self) {
        let Some(syncer) = self.syncer.as_ref().map(|syncer| syncer.words.clone()) else {
            return;
        };
        let head = self.head_entry().cloned();
        let applied = self.plan.status.applied.clone();
        let (Some(head), Some(applied)) = (head, applied) else {
            self.unset("GitAhead");
            self.unset("Pinned");
            return;
        };
        if head.state == VerdictState::Rejected {
            let message = format!(
                "{} was rejected, and Git still has it: {syncer} goes on applying it",
                super::short(&head)
            );
            self.set("GitAhead", "True", "Rejected", &message);
            let message = format!("nothing is pinned: {syncer} applies");
            self.set("Pinned", "False", "Observed", &message);
            return;
        }
        self.unset("Pinned");
        if head.digest == applied.digest {
            self.unset("GitAhead");
        } else {
            let message = format!(
                "Git has {}, the cluster has {}",
                super::short(&head),
                applied.revision
            );
            self.set("GitAhead", "True", "Pending", &message);
        }
    }
}

/// What has to be read to compare a commit.
fn compared(desired: &Desired) -> impl Iterator<Item = &ObjectId> {
    let rollouts = desired
        .objects
        .iter()
        .filter(|object| object.id.is("argoproj.io", "Rollout"));
    rollouts.flat_map(|rollout| {
        [
            Some(&rollout.id),
            desired.workload_of(rollout).map(|workload| &workload.id),
        ]
        .into_iter()
        .flatten()
    })
}

#[cfg(test)]
mod tests;
