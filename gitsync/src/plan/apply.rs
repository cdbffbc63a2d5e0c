//! Bringing the cluster to the target: read what is owned at run time, try everything, then apply in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;
use tidegate_crds::{
    HookPhase, LedgerEntry, LedgerRollout, PruneAfter, RejectedReason, TargetReason, Time, VerdictState,
};

use super::hooks::Turn;
use super::{Draft, Task, shorten};
use crate::desired::{Desired, Obstacle, Wanted};
use crate::drift::Compare;
use crate::graft::holds;
use crate::health::has_health;
use crate::object::{ObjectId, other_owner};
use crate::observed::Refusal;
use crate::preview::is_deleted;
use crate::render::Rendered;
use crate::spec::Spec;
use crate::tree::Oid;

/// How long until a kind that the cluster does not have is looked for again.
const NO_KIND: SignedDuration = SignedDuration::from_secs(30);

/// Why the objects of a digest are not at hand.
pub(super) enum Missing {
    /// This has to be asked first.
    Ask(Box<Task>),
    /// They cannot be had, for this reason.
    Gone(String),
}

/// A commit on its way into the cluster.
struct Release<'r> {
    desired: &'r Desired,
    digest: &'r str,
    /// Whether it runs hooks.
    hooks: bool,
    /// The wave that was applied last.
    begun: Option<i64>,
    /// The objects of later waves.
    missing: Vec<&'r Wanted>,
}

impl Draft<'_> {
    /// Asks for, and does, what is missing between the cluster and the target.
    pub(super) fn bring_about(&mut self, spec: &Spec) {
        for (id, answer) in &self.observed.applied {
            if let Ok(object) = answer {
                self.settle(id, object);
            }
        }
        let Some(target) = self.plan.status.target.clone() else {
            return;
        };
        let applied = self
            .plan
            .status
            .applied
            .as_ref()
            .is_some_and(|applied| applied.digest == target.digest);
        if applied && self.compare == Compare::Nothing || target.digest.is_empty() {
            return;
        }
        let Some(desired) = self.desired_of(&target.digest) else {
            return;
        };
        let rejected = |entry: &LedgerEntry| entry.state == VerdictState::Rejected;
        let by_hand = self.plan.status.why == Some(TargetReason::PinnedByHand);
        if applied {
            self.heal(&desired, &target.digest);
        } else if by_hand || !self.entry(&target.digest).is_some_and(rejected) {
            self.release(spec, &desired, &target.digest);
        }
    }

    /// The objects of a digest; `None` while something is missing, which is asked for.
    pub(super) fn desired_of(&mut self, digest: &str) -> Option<Desired> {
        let rendered = self.rendered(digest)?;
        match Desired::of(&rendered, self.observed) {
            Ok(desired) => Some(desired),
            Err(Obstacle::Unknown(versions)) => {
                self.plan.tasks.extend(versions.into_iter().map(Task::Discover));
                None
            }
            Err(Obstacle::NoKind(problem)) => {
                self.refuse(digest, &problem);
                self.wake_at(self.now.saturating_add(NO_KIND).unwrap_or(self.now));
                None
            }
            Err(Obstacle::Wrong(problem)) => {
                self.trouble = Some(("ApplyFailed", problem));
                None
            }
        }
    }

    /// What a digest stands for; `None` while it is asked for, or cannot be had.
    fn rendered(&mut self, digest: &str) -> Option<Arc<Rendered>> {
        match self.find_rendered(digest) {
            Ok(rendered) => return Some(rendered),
            Err(Missing::Ask(task)) => self.plan.tasks.push(*task),
            Err(Missing::Gone(message)) => self.trouble = Some(("FetchFailed", message)),
        }
        None
    }

    /// What a digest stands for, or how to find out.
    pub(super) fn find_rendered(&self, digest: &str) -> Result<Arc<Rendered>, Missing> {
        let found = self
            .observed
            .rendered
            .values()
            .flatten()
            .find_map(|(_, rendered)| {
                let rendered = rendered.as_ref().ok()?;
                (rendered.digest == digest).then(|| Arc::clone(rendered))
            });
        if let Some(found) = found.or_else(|| self.observed.bundles.get(digest)?.clone()) {
            return Ok(found);
        }
        let gone = || Missing::Gone("the commit does not render to what it did before".to_owned());
        let entry = self.entry(digest).ok_or_else(gone)?;
        // The Secret is nearer than Git, and there when Git is not.
        if entry.stored && !self.observed.bundles.contains_key(digest) {
            let task = Task::Fetch(digest.to_owned(), self.bundle_name(digest));
            return Err(Missing::Ask(Box::new(task)));
        }
        // Any commit of the entry will do; the newest is the likeliest to be there.
        let commits = entry.commits.iter().rev().filter_map(|commit| Oid::parse(commit));
        let commits: Vec<Oid> = commits.collect();
        let unasked = commits
            .iter()
            .find(|commit| !self.observed.rendered.contains_key(commit));
        if let Some(commit) = unasked {
            return Err(Missing::Ask(Box::new(Task::Render(commit.clone()))));
        }
        let failed = commits
            .iter()
            .find_map(|commit| self.observed.rendered.get(commit)?.as_ref().err());
        Err(failed.map_or_else(gone, |error| Missing::Gone(error.to_string())))
    }

    /// A commit comes into the cluster, wave by wave; everything is tried before anything is applied.
    fn release(&mut self, spec: &Spec, desired: &Desired, digest: &str) {
        let waiting = self.observed.refused.as_ref();
        if waiting.is_some_and(|(of, at)| of == digest && *at > self.now) {
            return;
        }
        let hooks = self.runs_hooks(digest);
        if hooks {
            self.note_hooks(desired, digest);
        }
        // All was tried before the first of them began.
        if hooks
            && self.has_begun(digest, &HookPhase::PreSync)
            && self.run_hooks(desired, digest, &HookPhase::PreSync, i64::MAX) != Turn::Ended
        {
            return;
        }
        let begun = self.entry(digest).and_then(|entry| entry.wave);
        let missing = desired
            .objects
            .iter()
            .filter(|object| begun.is_none_or(|begun| object.wave > begun))
            .collect();
        let release = Release {
            desired,
            digest,
            hooks,
            begun,
            missing,
        };
        if self.all_tried(&release) && self.all_allowed(&release) {
            self.note_inventory(desired);
            self.apply_next_wave(spec, &release);
        }
    }

    /// Whether everything was tried, hooks included; asks for what was not.
    fn all_tried(&mut self, release: &Release<'_>) -> bool {
        let desired = release.desired;
        let missing = release.missing.iter().copied();
        let reads = missing
            .clone()
            .filter(|object| desired.owned.needs_live(&object.id));
        let known = |draft: &Self, id: &ObjectId| draft.observed.live.contains_key(id);
        if self.ask_for(reads, known, read) {
            return false;
        }
        let tried = |draft: &Self, id: &ObjectId| {
            draft.observed.tried.contains_key(id) || draft.observed.applied.contains_key(id)
        };
        let tries: Vec<Task> = missing
            .filter(|object| release.begun.is_none() && !tried(self, &object.id))
            .map(|object| Task::Try(object.id.clone(), self.body(desired, object)))
            .collect();
        if !tries.is_empty() {
            self.plan.tasks = tries;
            return false;
        }
        !(release.hooks && release.begun.is_none() && self.try_hooks(desired, release.digest))
    }

    /// Whether nothing speaks against applying what was tried, and everything that comes before it is over.
    fn all_allowed(&mut self, release: &Release<'_>) -> bool {
        let (desired, digest) = (release.desired, release.digest);
        // Whose it is, of what is there already and not ours yet.
        let strangers: Vec<&Wanted> = release
            .missing
            .iter()
            .filter(|object| !self.in_inventory(&object.id) && self.exists(&object.id))
            .copied()
            .collect();
        let known = |draft: &Self, id: &ObjectId| {
            draft.observed.live.contains_key(id) || draft.observed.applied.contains_key(id)
        };
        if self.ask_for(strangers.into_iter(), known, read) {
            return false;
        }
        let hook_refusal = if release.hooks {
            self.hook_refusal(desired, digest)
        } else {
            None
        };
        if let Some(problem) = self.refusal(desired).or(hook_refusal) {
            self.refuse(digest, &problem);
            return false;
        }
        !release.hooks || release.begun.is_some() || self.may_apply(desired, digest)
    }

    /// The wave that has begun ends first: then the next one is applied, or the commit is complete.
    fn apply_next_wave(&mut self, spec: &Spec, release: &Release<'_>) {
        let (desired, digest, begun) = (release.desired, release.digest, release.begun);
        let sync = if release.hooks {
            self.sync_waves(desired, digest)
        } else {
            Vec::new()
        };
        let of_objects = release.missing.iter().map(|object| object.wave);
        let of_hooks = sync.iter().copied();
        let of_hooks = of_hooks.filter(|wave| begun.is_none_or(|begun| *wave > begun));
        let waves: BTreeSet<i64> = of_objects.chain(of_hooks).collect();
        if let Some(begun) = begun
            && self.waits_in_wave(spec, release, begun, waves.is_empty())
        {
            return;
        }
        let Some(wave) = waves.first().copied() else {
            return self.complete(spec, desired, digest);
        };
        if !self.wave_applied(release, wave) {
            return;
        }
        let last = waves.len() == 1;
        let sync = sync.contains(&wave);
        if last && !sync {
            return self.complete(spec, desired, digest);
        }
        if let Some(entry) = self.entry_mut(digest) {
            entry.wave = Some(wave);
        }
        let turn = if sync {
            self.run_hooks(desired, digest, &HookPhase::Sync, wave)
        } else {
            Turn::Ended
        };
        if last && turn != Turn::Waits {
            return self.complete(spec, desired, digest);
        }
        self.wake_at(self.now.saturating_add(super::HEALTH.0).unwrap_or(self.now));
    }

    /// Whether the wave that has begun is not over yet: its hooks, and the health of its objects unless it is the last.
    fn waits_in_wave(&mut self, spec: &Spec, release: &Release<'_>, begun: i64, last: bool) -> bool {
        let turn = if release.hooks {
            self.run_hooks(release.desired, release.digest, &HookPhase::Sync, begun)
        } else {
            Turn::Ended
        };
        if turn == Turn::Waits || turn == Turn::Begun && !last {
            return true;
        }
        !last && self.waits_for_wave(spec, release.desired, begun, release.digest)
    }

    /// Whether all objects of a wave are in the cluster; applies those that are not.
    fn wave_applied(&mut self, release: &Release<'_>, wave: i64) -> bool {
        let of_wave = release.missing.iter().filter(|object| object.wave == wave);
        let applies: Vec<Task> = of_wave
            .clone()
            .filter(|object| !self.observed.applied.contains_key(&object.id))
            .map(|object| Task::Apply(object.id.clone(), self.body(release.desired, object)))
            .collect();
        if !applies.is_empty() {
            self.plan.tasks = applies;
            return false;
        }
        let failed = of_wave
            .copied()
            .find_map(|object| match self.observed.applied.get(&object.id) {
                Some(Err(refusal)) => Some(refused(object, refusal)),
                _ => None,
            });
        if let Some(problem) = &failed {
            self.refuse(release.digest, problem);
        }
        failed.is_none()
    }

    /// Whether the hooks that come before everything else have ended, and nothing of other commits is in the way.
    fn may_apply(&mut self, desired: &Desired, digest: &str) -> bool {
        if self.has_hooks_to_run(digest) && self.waits_for_others(digest) {
            return false;
        }
        self.run_hooks(desired, digest, &HookPhase::PreSync, i64::MAX) == Turn::Ended
    }

    /// Asks for what is not known of some objects; whether there is anything to ask.
    fn ask_for<'o>(
        &mut self,
        objects: impl Iterator<Item = &'o Wanted>,
        known: impl Fn(&Self, &ObjectId) -> bool,
        ask: fn(&ObjectId) -> Task,
    ) -> bool {
        let asks: Vec<Task> = objects
            .filter(|object| !known(self, &object.id))
            .map(|object| ask(&object.id))
            .collect();
        let any = !asks.is_empty();
        self.plan.tasks.extend(asks);
        any
    }

    /// Whether objects of a wave that is applied are not healthy yet. Rollouts are not waited for: they have a verdict.
    fn waits_for_wave(&mut self, spec: &Spec, desired: &Desired, wave: i64, digest: &str) -> bool {
        let of_wave = desired
            .objects
            .iter()
            .filter(|object| object.wave == wave && has_health(&spec.health, object));
        let of_wave: Vec<&Wanted> = of_wave.collect();
        let known = |draft: &Self, id: &ObjectId| draft.observed.live.contains_key(id);
        if self.ask_for(of_wave.iter().copied(), known, read) {
            return true;
        }
        let Some(problem) = of_wave.iter().find_map(|object| self.unhealthy(spec, &object.id)) else {
            return false;
        };
        let since = self.entry(digest).and_then(|entry| entry.since);
        self.wake_for_health(since.map_or(self.now, jiff::Timestamp::from));
        if let Some(entry) = self.entry_mut(digest) {
            entry.message = shorten(&format!("wave {wave}: {problem}"));
        }
        true
    }

    /// The object as it is sent.
    fn body(&self, desired: &Desired, object: &Wanted) -> Value {
        let read = self
            .observed
            .live
            .get(&object.id)
            .and_then(|live| live.as_ref().ok()?.as_ref());
        let tried = self
            .observed
            .tried
            .get(&object.id)
            .and_then(|tried| tried.as_ref().ok());
        let live = read.or_else(|| tried.filter(|_| self.exists(&object.id)));
        let mut body = object.body.clone();
        desired.owned.graft(&object.id, &mut body, live);
        if desired.owned.needs_live(&object.id)
            && let Some(version) = read.and_then(|live| live.pointer("/metadata/resourceVersion"))
            && let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut)
        {
            // Whoever writes the selector meanwhile wins, and we look again.
            metadata.insert("resourceVersion".to_owned(), version.clone());
        }
        body
    }

    fn in_inventory(&self, id: &ObjectId) -> bool {
        self.plan.status.inventory.contains(&id.to_string())
    }

    /// Whether an object was there when it was tried: what a dry run would only create has no version.
    fn exists(&self, id: &ObjectId) -> bool {
        let tried = self.observed.tried.get(id).and_then(|tried| tried.as_ref().ok());
        let version = tried.and_then(|tried| tried.pointer("/metadata/resourceVersion")?.as_str());
        version.is_some_and(|version| !version.is_empty())
    }

    /// What speaks against applying the commit, after everything was tried.
    fn refusal(&self, desired: &Desired) -> Option<String> {
        let metadata = &self.observed.delivery.metadata;
        desired
            .objects
            .iter()
            .find_map(|object| match self.observed.tried.get(&object.id)? {
                Err(refusal) if object.later && refusal.code == 404 => None,
                Err(refusal) => Some(refused(object, refusal)),
                Ok(_) => {
                    let live = self.observed.live.get(&object.id)?.as_ref().ok()?.as_ref()?;
                    let owner = other_owner(live, &metadata.namespace, &metadata.name)?;
                    let text = || {
                        format!(
                            "{}: {} belongs to {owner}: let go of it there first",
                            object.place,
                            object.id.words()
                        )
                    };
                    (!self.in_inventory(&object.id)).then(text)
                }
            })
    }

    pub(super) fn refuse(&mut self, digest: &str, problem: &str) {
        let now = Time::from(self.now);
        let message = shorten(problem);
        let judged = self.entry(digest).is_some_and(|entry| {
            matches!(
                entry.state,
                VerdictState::Verified
                    | VerdictState::Deployed
                    | VerdictState::Regressed
                    | VerdictState::Rejected
            )
        });
        if judged {
            // Going back is refused: that says nothing about the commit.
            self.trouble = Some(("ApplyFailed", message));
            return;
        }
        let mut event = None;
        if let Some(entry) = self.entry_mut(digest) {
            if entry.reason != Some(RejectedReason::ApplyFailed) || entry.message != message {
                event = Some(format!("{} cannot be applied: {message}", super::short(entry)));
                entry.since = Some(now);
            }
            entry.state = VerdictState::Pending;
            entry.reason = Some(RejectedReason::ApplyFailed);
            entry.message.clone_from(&message);
        }
        if let Some(text) = event {
            self.tell_event(true, "ApplyFailed", text, format!("{digest}{message}"));
        }
    }

    /// Everything that may exist from now on is known before it does.
    fn note_inventory(&mut self, desired: &Desired) {
        let wanted: BTreeSet<String> = desired
            .objects
            .iter()
            .map(|object| object.id.to_string())
            .collect();
        let mut all: BTreeSet<String> = self.plan.status.inventory.iter().cloned().collect();
        all.extend(wanted);
        self.status().inventory = all.into_iter().collect();
    }

    /// All of the commit is applied.
    fn complete(&mut self, spec: &Spec, desired: &Desired, digest: &str) {
        let now = Time::from(self.now);
        let rollouts = desired
            .objects
            .iter()
            .filter(|object| object.id.is("argoproj.io", "Rollout"));
        let known = |draft: &Self, id: &ObjectId| {
            draft.observed.applied.contains_key(id) || draft.observed.live.contains_key(id)
        };
        // Those of earlier waves were applied at an earlier look.
        if self.ask_for(rollouts, known, read) {
            return;
        }
        let rollouts: Vec<LedgerRollout> = desired
            .rollouts()
            .into_iter()
            .map(|mut rollout| {
                rollout.generation = self.generation_of(&rollout);
                rollout
            })
            .collect();
        let target = self.plan.status.target.clone();
        self.status().applied = target;
        let watched = desired
            .objects
            .iter()
            .filter(|object| has_health(&spec.health, object));
        let watched: Vec<String> = watched.map(|object| object.id.to_string()).collect();
        if let Some(entry) = self.entry_mut(digest) {
            entry.watched = watched;
            entry.wave = None;
            entry.rollouts = rollouts
                .into_iter()
                .map(|mut rollout| {
                    let known = entry
                        .rollouts
                        .iter()
                        .find(|known| known.namespace == rollout.namespace && known.name == rollout.name);
                    let same = known.filter(|known| known.template == rollout.template);
                    rollout.pod_hash = same.map(|known| known.pod_hash.clone()).unwrap_or_default();
                    rollout
                })
                .collect();
            if entry.state == VerdictState::Pending {
                entry.state = VerdictState::Applied;
                entry.reason = None;
                entry.message.clear();
                entry.since = Some(now);
            }
        }
        let message = format!(
            "applied {} objects of {}",
            desired.objects.len(),
            self.entry(digest).map(super::short).unwrap_or_default()
        );
        self.tell_event(
            false,
            "Applied",
            message,
            format!("{digest}{}", self.now.as_second()),
        );
        // What it says of its Rollouts is known at the next look.
        self.judge(spec);
    }

    /// The generation of a Rollout as applying left it.
    fn generation_of(&self, rollout: &LedgerRollout) -> Option<i64> {
        let is = |id: &ObjectId| {
            id.is("argoproj.io", "Rollout") && id.namespace == rollout.namespace && id.name == rollout.name
        };
        let applied = self.observed.applied.iter().find(|(id, _)| is(id));
        let applied = applied.and_then(|(_, answer)| answer.as_ref().ok());
        let live = self.observed.live.iter().find(|(id, _)| is(id));
        let live = live.and_then(|(_, answer)| answer.as_ref().ok()?.as_ref());
        applied.or(live)?.pointer("/metadata/generation")?.as_i64()
    }

    /// What was changed behind our back is put back; what was not is not touched.
    fn heal(&mut self, desired: &Desired, digest: &str) {
        let compared = desired
            .objects
            .iter()
            .filter(|object| self.compare.has(&object.id));
        let compared: Vec<&Wanted> = compared.collect();
        let known = |draft: &Self, id: &ObjectId| draft.observed.live.contains_key(id);
        if self.ask_for(compared.iter().copied(), known, read) {
            return;
        }
        let mut healed = Vec::new();
        for object in compared {
            let live = match self.observed.live.get(&object.id) {
                Some(Ok(live)) => live.as_ref(),
                Some(Err(refusal)) => {
                    self.trouble = Some(("ApplyFailed", refused(object, refusal)));
                    continue;
                }
                None => continue,
            };
            let body = self.body(desired, object);
            let answer = self.observed.applied.get(&object.id);
            if let Some(live) = live.filter(|live| holds(&body, live)) {
                self.settle(&object.id, live);
                self.note_generation(digest, &object.id, live);
                continue;
            }
            match answer {
                None => self.plan.tasks.push(Task::Apply(object.id.clone(), body)),
                Some(Ok(now_live)) => {
                    self.note_generation(digest, &object.id, now_live);
                    // The server's own way to write a value (`1000m` is `1`) is no drift.
                    let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
                    if live.and_then(version) != version(now_live) {
                        healed.push(object.id.words());
                    }
                }
                Some(Err(refusal)) => self.trouble = Some(("ApplyFailed", refused(object, refusal))),
            }
        }
        // What was refused is not known: all is compared again later.
        let settled = |object: &Wanted| self.plan.settled.contains_key(&object.id);
        self.plan.all_compared = self.compare == Compare::Everything && desired.objects.iter().all(settled);
        if self.plan.tasks.is_empty() && !healed.is_empty() {
            let text = format!("put back what was changed by hand: {}", healed.join(", "));
            self.tell_event(true, "Drifted", shorten(&text), self.now.as_second().to_string());
        }
    }

    fn note_generation(&mut self, digest: &str, id: &ObjectId, live: &Value) {
        let generation = live.pointer("/metadata/generation").and_then(Value::as_i64);
        if !id.is("argoproj.io", "Rollout") {
            return;
        }
        if let Some(entry) = self.entry_mut(digest) {
            let of = entry
                .rollouts
                .iter_mut()
                .find(|known| known.namespace == id.namespace && known.name == id.name);
            if let Some(known) = of.filter(|known| known.pod_hash.is_empty()) {
                known.generation = generation;
            }
        }
    }

    /// Deletes what is in Git no more, once the commit that misses it counts as good.
    pub(super) fn prune(&mut self, spec: &Spec) {
        let Some(after) = spec.prune.clone() else { return };
        let Some(applied) = self.plan.status.applied.clone() else {
            return;
        };
        let Some(entry) = self.entry(&applied.digest) else {
            return;
        };
        let good = matches!(entry.state, VerdictState::Verified | VerdictState::Deployed);
        if !good && after != PruneAfter::Applied || self.plan.status.target.as_ref() != Some(&applied) {
            return;
        }
        let known: BTreeSet<ObjectId> = self
            .plan
            .status
            .inventory
            .iter()
            .filter_map(|id| ObjectId::parse(id))
            .collect();
        if entry.objects == i64::try_from(known.len()).ok() {
            return;
        }
        let Some(desired) = self.desired_of(&applied.digest) else {
            return;
        };
        let mut kept = BTreeSet::new();
        for id in known {
            if desired.objects.iter().any(|object| object.id.same(&id)) {
                if desired.objects.iter().any(|object| object.id == id) {
                    kept.insert(id.to_string());
                }
                continue;
            }
            if desired.leaves_alone(&id) {
                continue;
            }
            if self.is_gone(&id) {
                continue;
            }
            kept.insert(id.to_string());
        }
        let count = i64::try_from(kept.len()).ok();
        self.status().inventory = kept.into_iter().collect();
        if self.plan.tasks.is_empty()
            && let Some(entry) = self.entry_mut(&applied.digest)
        {
            entry.objects = count;
        }
    }

    /// Whether an object that is in Git no more needs no more attention; asks and deletes what does.
    fn is_gone(&mut self, id: &ObjectId) -> bool {
        if !self.observed.kinds.contains_key(&id.api_version()) {
            self.plan.tasks.push(Task::Discover(id.api_version()));
            return false;
        }
        match (self.observed.live.get(id), self.observed.deleted.get(id)) {
            (_, Some(Ok(()))) | (Some(Ok(None)), _) => true,
            (None, _) => {
                self.plan.tasks.push(Task::Read(id.clone()));
                false
            }
            (Some(Err(refusal)), _) | (_, Some(Err(refusal))) => {
                self.trouble = Some(("PruneFailed", format!("{}: {}", id.words(), refusal.message)));
                false
            }
            (Some(Ok(Some(live))), None) => {
                if !is_deleted(&self.observed.delivery, live) {
                    return true;
                }
                if let Some(uid) = live.pointer("/metadata/uid").and_then(Value::as_str) {
                    self.plan.tasks.push(Task::Delete(id.clone(), uid.to_owned()));
                }
                false
            }
        }
    }
}

fn read(id: &ObjectId) -> Task {
    Task::Read(id.clone())
}

pub(super) fn refused(object: &Wanted, refusal: &Refusal) -> String {
    format!("{}: {}: {}", object.place, object.id.words(), refusal.message)
}
