//! Hooks of a commit: each runs once, and what is recorded of it decides, not what is left of it in the cluster.
//!
//! That a hook runs is recorded before it is made, and how it ended before it is deleted; so whatever crashes, the next look
//! goes on from the record.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::{
    HookPhase, HookState, LedgerEntry, LedgerHook, RejectedReason, TargetReason, Time, VerdictState,
};

use super::apply::refused;
use super::{Draft, HEALTH, Task, shorten};
use crate::desired::{Desired, Hook};
use crate::health::Health;
use crate::hooks::{Occasion, gives_way, is_cleared, is_of, outcome};
use crate::object::ObjectId;
use crate::spec::Spec;

/// How far the hooks of a phase are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Some have not begun.
    Waits,
    /// All run or have ended.
    Begun,
    /// All have ended well.
    Ended,
}

impl Draft<'_> {
    /// Records how hooks that run ended.
    pub(super) fn watch_hooks(&mut self) {
        for (digest, hook) in self.recorded(|hook| hook.state == HookState::Running) {
            let Some(id) = ObjectId::parse(&hook.object) else {
                continue;
            };
            match self.found(&id) {
                Some(Ok(Some(live))) if is_of(&live, &hook.phase, &digest) => {
                    self.note_outcome(&digest, &hook, &id, &live);
                }
                Some(Ok(_)) if !self.is_its_time(&hook.phase, &digest) => {
                    self.set_hook(&digest, &hook, HookState::Again, "");
                }
                Some(Err(problem)) => self.trouble = Some(("ApplyFailed", problem)),
                // It is not known yet, or it is made again.
                _ => {}
            }
        }
    }

    fn note_outcome(&mut self, digest: &str, hook: &LedgerHook, id: &ObjectId, live: &Value) {
        let (state, message) = match outcome(id, live) {
            Health::Current => (HookState::Succeeded, String::new()),
            Health::Failed(problem) => (HookState::Failed, problem),
            Health::Progressing(_) => {
                self.wake_for_health(hook.since.map_or(self.now, Timestamp::from));
                return;
            }
        };
        self.set_hook(digest, hook, state.clone(), &message);
        if let Some(hook) = self.hook_mut(digest, hook) {
            hook.delete = is_cleared(live, &state);
        }
        if state == HookState::Failed && !gates(&hook.phase) {
            self.tell_hook_failed(digest, hook, &message);
        }
    }

    fn tell_hook_failed(&mut self, digest: &str, hook: &LedgerHook, problem: &str) {
        let commit = self.entry(digest).map(super::short).unwrap_or_default();
        let text = format!("{commit}: {}: {problem}", words(hook));
        self.tell_event(
            true,
            "HookFailed",
            shorten(&text),
            format!("{digest}{}", hook.object),
        );
    }

    /// Rejects the commit that is being released if one of its hooks failed.
    pub(super) fn judge_hooks(&mut self) {
        let Some(digest) = self
            .plan
            .status
            .target
            .as_ref()
            .map(|target| target.digest.clone())
        else {
            return;
        };
        if !self.runs_hooks(&digest) {
            return;
        }
        let now = Time::from(self.now);
        let Some(entry) = self.entry_mut(&digest) else {
            return;
        };
        let failed = |hook: &&LedgerHook| gates(&hook.phase) && hook.state == HookState::Failed;
        let Some(hook) = entry.hooks.iter().find(failed) else {
            return;
        };
        entry.message = shorten(&format!("{}: {}", words(hook), hook.message));
        entry.state = VerdictState::Rejected;
        entry.reason = Some(RejectedReason::HookFailed);
        entry.since = Some(now);
        entry.healthy_since = None;
        let text = format!(
            "{} was rejected: HookFailed: {}",
            super::short(entry),
            entry.message
        );
        self.tell_event(true, "Rejected", text, digest);
    }

    /// Ends what runs for a commit that is not being released any more, so that it does not meddle with the next.
    pub(super) fn end_hooks(&mut self) {
        let target = self
            .plan
            .status
            .target
            .as_ref()
            .map(|target| target.digest.clone());
        for entry in &mut self.plan.status.ledger {
            if Some(&entry.digest) == target.as_ref() {
                continue;
            }
            let running = |hook: &&mut LedgerHook| gates(&hook.phase) && hook.state == HookState::Running;
            for hook in entry.hooks.iter_mut().filter(running) {
                hook.state = HookState::Again;
                hook.delete = true;
            }
        }
    }

    /// Deletes the hooks that are to be deleted.
    pub(super) fn clear_hooks(&mut self, _: &Spec) {
        for (digest, hook) in self.recorded(|hook| hook.delete) {
            let Some(id) = ObjectId::parse(&hook.object) else {
                continue;
            };
            let live = match self.found(&id) {
                None => continue,
                Some(Ok(live)) => live.filter(|live| is_of(live, &hook.phase, &digest)),
                Some(Err(problem)) => {
                    self.tell_hook_failed(&digest, &hook, &problem);
                    None
                }
            };
            let done = match live {
                None => true,
                Some(live) => match self.delete_hook(&id, &live) {
                    Ok(()) => false,
                    Err(problem) => {
                        self.tell_hook_failed(&digest, &hook, &problem);
                        true
                    }
                },
            };
            if done && let Some(hook) = self.hook_mut(&digest, &hook) {
                hook.delete = false;
            }
        }
    }

    /// Runs the hooks that come after the verdict.
    pub(super) fn run_late_hooks(&mut self, _: &Spec) {
        let Some((digest, phase)) = self.late_phase() else {
            return;
        };
        let due = |hook: &LedgerHook| hook.phase == phase && hook.state != HookState::Succeeded;
        let hooks = self.entry(&digest).map_or(&[][..], |entry| &entry.hooks);
        let failed = hooks
            .iter()
            .any(|hook| due(hook) && hook.state == HookState::Failed);
        if failed || !hooks.iter().any(due) {
            return;
        }
        if let Some(desired) = self.desired_of(&digest) {
            self.run_hooks(&desired, &digest, &phase, i64::MAX);
        }
    }

    /// The digest and the phase of what runs after a verdict: of the newest commit only.
    fn late_phase(&self) -> Option<(String, HookPhase)> {
        let head = self.head_entry()?;
        let phase = match head.state {
            VerdictState::Verified | VerdictState::Deployed => {
                let applied = self.plan.status.applied.as_ref()?;
                (applied.digest == head.digest && self.plan.status.target.as_ref() == Some(applied))
                    .then_some(HookPhase::PostSync)?
            }
            VerdictState::Rejected if began(head) => HookPhase::SyncFail,
            _ => return None,
        };
        Some((head.digest.clone(), phase))
    }

    fn is_its_time(&self, phase: &HookPhase, digest: &str) -> bool {
        if gates(phase) {
            let target = self.plan.status.target.as_ref();
            return target.is_some_and(|target| target.digest == digest);
        }
        self.late_phase()
            .is_some_and(|(of, now)| of == digest && now == *phase)
    }

    /// Whether hooks of a commit run at its release: they do until there is a verdict.
    pub(super) fn runs_hooks(&self, digest: &str) -> bool {
        self.entry(digest).is_some_and(|entry| {
            !matches!(
                entry.state,
                VerdictState::Verified
                    | VerdictState::Deployed
                    | VerdictState::Regressed
                    | VerdictState::Rejected
            )
        })
    }

    /// Takes the hooks of a commit that is to be released into the ledger.
    pub(super) fn note_hooks(&mut self, desired: &Desired, digest: &str) {
        let occasion = match self.plan.status.verified {
            None => Occasion::Install,
            Some(_) => Occasion::Upgrade,
        };
        let Some(entry) = self.entry_mut(digest).filter(|entry| entry.hooks.is_empty()) else {
            return;
        };
        let hooks = desired.hooks.iter();
        let hooks = hooks.filter(|hook| [Occasion::Always, occasion].contains(&hook.occasion));
        entry.hooks = hooks
            .map(|hook| LedgerHook {
                phase: hook.phase.clone(),
                object: hook.wanted.id.to_string(),
                state: HookState::Pending,
                ..LedgerHook::default()
            })
            .collect();
    }

    /// Whether a hook of a phase has begun, so that everything was tried before.
    pub(super) fn has_begun(&self, digest: &str, phase: &HookPhase) -> bool {
        let begun = |hook: &LedgerHook| {
            hook.phase == *phase && !matches!(hook.state, HookState::Pending | HookState::Again)
        };
        self.entry(digest)
            .is_some_and(|entry| entry.hooks.iter().any(begun))
    }

    /// Whether hooks of commits before are still to be ended.
    pub(super) fn waits_for_others(&mut self, digest: &str) -> bool {
        let ending = |hook: &LedgerHook| hook.delete && hook.state == HookState::Again;
        let of_others = |entry: &LedgerEntry| entry.digest != digest && entry.hooks.iter().any(ending);
        let waits = self.plan.status.ledger.iter().any(of_others);
        if waits && let Some(entry) = self.entry_mut(digest) {
            "a hook of an earlier commit is being ended".clone_into(&mut entry.message);
        }
        waits
    }

    /// Whether a commit has hooks that come before its verdict and have not ended.
    pub(super) fn has_hooks_to_run(&self, digest: &str) -> bool {
        self.entry(digest)
            .is_some_and(|entry| Self::unfinished_hook(entry).is_some())
    }

    /// The waves that have hooks which run among the other objects.
    pub(super) fn sync_waves(&self, desired: &Desired, digest: &str) -> Vec<i64> {
        let hooks = desired.hooks.iter();
        let sync = |hook: &&Hook| {
            hook.phase == HookPhase::Sync && self.hook(digest, &hook.phase, &hook.wanted.id).is_some()
        };
        hooks.filter(sync).map(|hook| hook.wanted.wave).collect()
    }

    /// What a commit whose Rollouts are healthy still waits for.
    pub(super) fn unfinished_hook(entry: &LedgerEntry) -> Option<String> {
        let unfinished = |hook: &&LedgerHook| gates(&hook.phase) && hook.state != HookState::Succeeded;
        entry.hooks.iter().find(unfinished).map(running)
    }

    /// Asks for the dry runs of hooks that have not run yet; whether there is anything to ask.
    pub(super) fn try_hooks(&mut self, desired: &Desired, digest: &str) -> bool {
        let mut tries = Vec::new();
        for hook in self.to_run(desired, digest) {
            if self.observed.applied.contains_key(&hook.wanted.id) {
                continue;
            }
            if let Some((id, body)) = self.rehearsal(hook, digest)
                && !self.observed.tried.contains_key(&id)
            {
                tries.push(Task::Try(id, body));
            }
        }
        self.plan.tasks.extend(tries);
        !self.plan.tasks.is_empty()
    }

    /// What speaks against the hooks, after everything was tried.
    pub(super) fn hook_refusal(&mut self, desired: &Desired, digest: &str) -> Option<String> {
        self.to_run(desired, digest).into_iter().find_map(|hook| {
            match self.found(&hook.wanted.id)? {
                Err(problem) => return Some(format!("{}: {problem}", hook.wanted.place)),
                Ok(Some(live)) if !is_of(&live, &hook.phase, digest) => {
                    if let Err(problem) = self.may_replace(hook, &live) {
                        return Some(problem);
                    }
                }
                Ok(_) => {}
            }
            let (id, _) = self.rehearsal(hook, digest)?;
            let refusal = self.observed.tried.get(&id)?.as_ref().err()?;
            (!hook.wanted.later || refusal.code != 404).then(|| refused(&hook.wanted, refusal))
        })
    }

    /// The hooks of a commit that have not ended.
    fn to_run<'d>(&self, desired: &'d Desired, digest: &str) -> Vec<&'d Hook> {
        let to_run = |hook: &&Hook| {
            let known = self.hook(digest, &hook.phase, &hook.wanted.id);
            known.is_some_and(|known| known.state != HookState::Succeeded)
        };
        desired.hooks.iter().filter(to_run).collect()
    }

    /// What a hook is tried as: under another name where something is left of an earlier commit, because that goes away first.
    /// `None` while that is not known.
    fn rehearsal(&mut self, hook: &Hook, digest: &str) -> Option<(ObjectId, Value)> {
        let live = self.found(&hook.wanted.id)?;
        let (mut id, mut body) = (hook.wanted.id.clone(), hook.wanted.body.clone());
        let left = live.is_ok_and(|live| live.is_some_and(|live| !is_of(&live, &hook.phase, digest)));
        if left {
            let name: String = id.name.chars().take(50).collect();
            id.name = format!("{name}-try");
            body["metadata"]["name"] = json!(id.name);
        }
        Some((id, body))
    }

    fn may_replace(&self, hook: &Hook, live: &Value) -> Result<(), String> {
        let metadata = &self.observed.delivery.metadata;
        let free = gives_way(live, &metadata.namespace, &metadata.name);
        free.then_some(()).ok_or_else(|| {
            let (place, words) = (&hook.wanted.place, hook.wanted.id.words());
            format!("{place}: {words} is there, and not as a hook of this Delivery: delete it, or give the hook another name")
        })
    }

    /// Runs the hooks of a phase up to a wave, one wave after the other.
    pub(super) fn run_hooks(
        &mut self,
        desired: &Desired,
        digest: &str,
        phase: &HookPhase,
        last: i64,
    ) -> Turn {
        let mut turn = Turn::Ended;
        let mut wave = None;
        for hook in self.to_run(desired, digest) {
            if hook.phase != *phase || hook.wanted.wave > last {
                continue;
            }
            if *wave.get_or_insert(hook.wanted.wave) != hook.wanted.wave {
                turn = Turn::Waits;
                break;
            }
            let Some(known) = self.hook(digest, phase, &hook.wanted.id).cloned() else {
                continue;
            };
            let begun = known.state != HookState::Failed && self.begin(hook, digest, &known);
            turn = match turn {
                Turn::Waits => Turn::Waits,
                _ if begun => Turn::Begun,
                _ => Turn::Waits,
            };
            if begun
                && gates(phase)
                && let Some(entry) = self
                    .entry_mut(digest)
                    .filter(|entry| entry.state == VerdictState::Pending)
            {
                entry.reason = None;
                entry.message = running(&known);
            }
        }
        turn
    }

    /// Brings a hook into the cluster; whether it is there.
    fn begin(&mut self, hook: &Hook, digest: &str, known: &LedgerHook) -> bool {
        let id = &hook.wanted.id;
        if let Some(Err(refusal)) = self.observed.applied.get(id) {
            self.refuse_hook(digest, known, &refused(&hook.wanted, refusal));
            return false;
        }
        let live = match self.found(id) {
            None => return false,
            Some(Err(problem)) => {
                self.refuse_hook(digest, known, &problem);
                return false;
            }
            Some(Ok(live)) => live,
        };
        let Some(live) = live else {
            self.set_hook(digest, known, HookState::Running, "");
            let task = Task::Apply(id.clone(), hook.wanted.body.clone());
            self.plan.tasks.push(task);
            return false;
        };
        if known.state != HookState::Again && is_of(&live, &hook.phase, digest) {
            if known.state != HookState::Running {
                self.set_hook(digest, known, HookState::Running, "");
                self.wake_at(self.now);
            }
            return true;
        }
        let left = self.may_replace(hook, &live);
        if let Err(problem) = left.and_then(|()| self.delete_hook(id, &live)) {
            self.refuse_hook(digest, known, &problem);
        }
        false
    }

    /// Deletes what is left of a hook, which takes until its pods are gone.
    fn delete_hook(&mut self, id: &ObjectId, live: &Value) -> Result<(), String> {
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        match (self.observed.deleted.get(id), uid) {
            (Some(Err(refusal)), _) => {
                return Err(format!("{} cannot be deleted: {}", id.words(), refusal.message));
            }
            (None, Some(uid)) if live.pointer("/metadata/deletionTimestamp").is_none() => {
                self.plan.tasks.push(Task::End(id.clone(), uid.to_owned()));
            }
            _ => self.wake_at(self.now.saturating_add(HEALTH.0).unwrap_or(self.now)),
        }
        Ok(())
    }

    /// A hook cannot run: the release waits; what comes after the verdict has failed.
    fn refuse_hook(&mut self, digest: &str, hook: &LedgerHook, problem: &str) {
        if gates(&hook.phase) {
            self.refuse(digest, problem);
        } else {
            self.set_hook(digest, hook, HookState::Failed, problem);
            self.tell_hook_failed(digest, hook, problem);
        }
    }

    /// What is there under a name; `None` while it is asked for.
    fn found(&mut self, id: &ObjectId) -> Option<Result<Option<Value>, String>> {
        if let Some(Ok(applied)) = self.observed.applied.get(id) {
            return Some(Ok(Some(applied.clone())));
        }
        let api_version = id.api_version();
        let ask = if !self.observed.kinds.contains_key(&api_version) {
            Task::Discover(api_version)
        } else if let Some(live) = self.observed.live.get(id) {
            let refusal = |refusal: &crate::observed::Refusal| format!("{}: {}", id.words(), refusal.message);
            return Some(live.clone().map_err(|it| refusal(&it)));
        } else {
            Task::Read(id.clone())
        };
        if !self.plan.tasks.contains(&ask) {
            self.plan.tasks.push(ask);
        }
        None
    }

    /// Digests and records of hooks.
    fn recorded(&self, like: impl Fn(&LedgerHook) -> bool) -> Vec<(String, LedgerHook)> {
        let entries = self.plan.status.ledger.iter();
        let hooks = entries.flat_map(|entry| entry.hooks.iter().map(|hook| (&entry.digest, hook)));
        hooks
            .filter(|(_, hook)| like(hook))
            .map(|(digest, hook)| (digest.clone(), hook.clone()))
            .collect()
    }

    fn hook(&self, digest: &str, phase: &HookPhase, id: &ObjectId) -> Option<&LedgerHook> {
        let object = id.to_string();
        let hooks = &self.entry(digest)?.hooks;
        hooks
            .iter()
            .find(|hook| hook.phase == *phase && hook.object == object)
    }

    fn hook_mut(&mut self, digest: &str, hook: &LedgerHook) -> Option<&mut LedgerHook> {
        let hooks = &mut self.entry_mut(digest)?.hooks;
        hooks
            .iter_mut()
            .find(|known| known.phase == hook.phase && known.object == hook.object)
    }

    fn set_hook(&mut self, digest: &str, hook: &LedgerHook, state: HookState, message: &str) {
        let now = Time::from(self.now);
        let Some(known) = self.hook_mut(digest, hook) else {
            return;
        };
        if known.state != state || known.since.is_none() {
            known.since = Some(now);
        }
        known.delete &= state == HookState::Again;
        known.state = state;
        known.message = shorten(message);
    }

    /// Whether a commit that cannot be gone back behind came after the one that a rejection would go back to.
    pub(super) fn cannot_go_back(&self, spec: &Spec) -> bool {
        let good = self.last_good(spec).map(|entry| entry.digest.as_str());
        let newer = self.plan.status.ledger.iter();
        newer
            .take_while(|entry| Some(entry.digest.as_str()) != good)
            .any(|entry| entry.hold && began(entry))
    }

    /// What runs: the target, or what is still applied if a hook stopped the target before anything of it was.
    pub(super) fn what_runs(&self) -> Option<&LedgerEntry> {
        let status = &self.plan.status;
        let target = self.entry(&status.target.as_ref()?.digest)?;
        let applied = status.applied.as_ref();
        let applied = applied.and_then(|applied| self.entry(&applied.digest));
        let stopped = target.state == VerdictState::Rejected
            && target.reason == Some(RejectedReason::HookFailed)
            && target.wave.is_none()
            && applied.is_none_or(|applied| applied.digest != target.digest)
            && status.why != Some(TargetReason::PinnedByHand);
        if stopped { applied } else { Some(target) }
    }

    /// What failed after the verdict, of what is applied or was rejected last: phase and message.
    pub(super) fn failed_hook(&self) -> Option<(HookPhase, String)> {
        let head = self.head_entry()?;
        let failed = |hook: &&LedgerHook| !gates(&hook.phase) && hook.state == HookState::Failed;
        let hook = head.hooks.iter().find(failed)?;
        let text = format!("{}: {}: {}", super::short(head), words(hook), hook.message);
        Some((hook.phase.clone(), text))
    }
}

/// A person wants the commit released again: what failed runs again.
pub(super) fn run_again(hooks: &mut [LedgerHook]) {
    for hook in hooks {
        if hook.state == HookState::Failed
            || hook.phase == HookPhase::SyncFail && hook.state != HookState::Pending
        {
            hook.state = HookState::Again;
            hook.delete = false;
            hook.message.clear();
        }
    }
}

/// Whether a release waits for hooks of that phase.
fn gates(phase: &HookPhase) -> bool {
    matches!(phase, HookPhase::PreSync | HookPhase::Sync)
}

/// Whether anything of a commit ever came into the cluster.
fn began(entry: &LedgerEntry) -> bool {
    entry.hooks.iter().any(|hook| hook.state != HookState::Pending)
        || entry.wave.is_some()
        || !entry.watched.is_empty()
        || entry.rollouts.iter().any(|rollout| rollout.generation.is_some())
        || entry.objects.is_some()
}

/// For people: `PreSync hook Job shop/migrate`.
fn words(hook: &LedgerHook) -> String {
    let id = ObjectId::parse(&hook.object).unwrap_or_default();
    format!("{} hook {}", hook.phase, id.words())
}

fn running(hook: &LedgerHook) -> String {
    format!("waits for {}", words(hook))
}
