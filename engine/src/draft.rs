//! A plan in the making.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_crds::{PauseCondition, PauseReason, RolloutStatus, Time, labels, merge};

use crate::context::{Annotated, Context};
use crate::observed::{Observed, ReplicaSetView, ServiceView};
use crate::plan::{Action, Change, Event, Plan, Scale, Urgency};
use crate::progress::Progress;
use crate::refusal::{self, LeftOut, Refusal};
use crate::time::after;
use crate::why::Reason;

/// Where so many writes of pods are refused the others would be, too: they wait until these are tried again.
const MOST_PODS_REFUSED: usize = 8;

/// Collects what shall be done. Nothing here decides either: it keeps one write for each object, words the events and
/// remembers the earliest moment to look again.
pub(crate) struct Draft {
    actions: Vec<Action>,
    pub(crate) status: RolloutStatus,
    events: Vec<Event>,
    wake: Option<Timestamp>,
    needs_pods: Vec<String>,
    pub(crate) why: Vec<Reason>,
    /// What the next look shall know of how far the update has come.
    pub(crate) progress: Option<Progress>,
    /// resourceVersion of the Rollout: makes an event different from an earlier one with the same words.
    version: String,
    refused: BTreeMap<String, Refusal>,
    /// What is left out because it was refused.
    pub(crate) left_out: Vec<LeftOut>,
    keys_left_out: Vec<String>,
    now: Timestamp,
}

impl Draft {
    pub(crate) fn new(seen: &Observed, now: Timestamp) -> Self {
        Self {
            actions: Vec::new(),
            status: seen.rollout.status.clone(),
            events: Vec::new(),
            wake: None,
            needs_pods: Vec::new(),
            why: Vec::new(),
            progress: None,
            version: seen.rollout.metadata.resource_version.clone(),
            refused: seen.refused.clone(),
            left_out: Vec::new(),
            keys_left_out: Vec::new(),
            now,
        }
    }

    /// Answers whether it will be tried: what depends on a write that was refused waits.
    pub(crate) fn act(&mut self, change: Change) -> bool {
        let tried = !self.stands_refused(&change);
        self.actions.push(Action { change, event: None });
        tried
    }

    /// Whether a write was refused and is not to be tried yet.
    pub(crate) fn stands_refused(&self, change: &Change) -> bool {
        refusal::standing(&self.refused, change, self.now).is_some()
    }

    /// Whether this ReplicaSet is to be changed.
    pub(crate) fn patches(&self, rs: &ReplicaSetView) -> bool {
        let of_it =
            |a: &Action| matches!(&a.change, Change::PatchReplicaSet { name, .. } if *name == rs.name);
        self.actions.iter().any(of_it)
    }

    /// Whether anything is to be written beside the status.
    pub(crate) fn writes(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Takes out what was refused and is not to be tried yet.
    pub(crate) fn leave_out(&mut self) {
        let of_a_pod = |change: &Change| matches!(change, Change::PatchPod { .. } | Change::EvictPod { .. });
        let refused = |a: &&Action| of_a_pod(&a.change) && self.stands_refused(&a.change);
        let no_pods = self.actions.iter().filter(refused).count() >= MOST_PODS_REFUSED;
        for action in std::mem::take(&mut self.actions) {
            if no_pods && of_a_pod(&action.change) && !self.stands_refused(&action.change) {
                continue;
            }
            match refusal::standing(&self.refused, &action.change, self.now) {
                None => self.actions.push(action),
                Some((refusal, until)) => {
                    self.left_out.extend(refusal::left_out(&action.change, refusal));
                    self.keys_left_out.push(refusal::key(&action.change));
                    self.wake_at(until);
                }
            }
        }
    }

    pub(crate) fn act_and_tell(
        &mut self,
        change: Change,
        reason: &'static str,
        message: String,
        occurrence: String,
    ) -> bool {
        let event = Event {
            warning: false,
            reason,
            message,
            occurrence,
        };
        let tried = self.act(change);
        if let Some(action) = self.actions.last_mut() {
            action.event = Some(event);
        }
        tried
    }

    /// The same with a warning.
    pub(crate) fn act_and_warn(
        &mut self,
        change: Change,
        reason: &'static str,
        message: String,
        occurrence: String,
    ) {
        self.act_and_tell(change, reason, message, occurrence);
        if let Some(event) = self.actions.last_mut().and_then(|action| action.event.as_mut()) {
            event.warning = true;
        }
    }

    /// An event that follows the write of the status.
    pub(crate) fn tell(&mut self, warning: bool, reason: &'static str, message: String) {
        self.events.push(Event {
            warning,
            reason,
            message,
            occurrence: self.version.clone(),
        });
    }

    /// An event of what happens once, before all else.
    pub(crate) fn tell_first(&mut self, reason: &'static str, message: String) {
        self.events.push(Event {
            warning: false,
            reason,
            message,
            occurrence: String::new(),
        });
    }

    pub(crate) fn tell_scaling(&mut self, event: Option<Event>) {
        self.events.extend(event);
    }

    /// A pause that a person, or time, has to end.
    pub(crate) fn pause(&mut self, reason: PauseReason) {
        let conditions = &mut self.status.pause_conditions;
        if !conditions.iter().any(|pause| pause.reason == reason) {
            conditions.push(PauseCondition {
                reason,
                start_time: Time::from(self.now),
            });
        }
        self.status.controller_pause = Some(true);
    }

    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    pub(crate) fn need_pods(&mut self, hash: &str) {
        if !self.needs_pods.iter().any(|h| h == hash) {
            self.needs_pods.push(hash.to_owned());
        }
    }

    pub(crate) fn because(&mut self, reason: Reason) {
        self.why.push(reason);
    }

    /// Changes annotations of a ReplicaSet (`None` removes one), in the same write as its other changes of this plan.
    pub(crate) fn annotate(&mut self, rs: &ReplicaSetView, key: &str, value: Option<String>) {
        if rs.annotations.get(key) == value.as_ref() {
            return;
        }
        if let Change::PatchReplicaSet { annotations, .. } = self.patch(rs) {
            annotations.insert(key.to_owned(), value);
        }
    }

    /// Merges into the rest of a ReplicaSet's spec or metadata.
    pub(crate) fn amend(&mut self, rs: &ReplicaSetView, patch: Value) {
        if let Change::PatchReplicaSet { rest, .. } = self.patch(rs) {
            merge::overlay(rest, patch);
        }
    }

    /// Scales a ReplicaSet and tells of it (contract 2.8 ScalingReplicaSet).
    pub(crate) fn scale(&mut self, cx: &Context<'_>, rs: &ReplicaSetView, to: i32) {
        if rs.spec_replicas == to {
            return;
        }
        let desired = cx.size.to_string();
        self.annotate(rs, labels::DESIRED_REPLICAS_ANNOTATION, Some(desired));
        let from = rs.spec_replicas;
        if let Change::PatchReplicaSet { scale, .. } = self.patch(rs) {
            *scale = Some(Scale { from, to });
        }
        let event = Event {
            warning: false,
            reason: "ScalingReplicaSet",
            message: scaling_message(&rs.name, rs.revision(), from, to),
            // The generation moves with every change of the spec: no two scalings share it.
            occurrence: format!("{}/{}", rs.uid, rs.generation),
        };
        if let Some(action) = self.action_of(&rs.name) {
            action.event = Some(event);
        }
    }

    /// Points a Service at a version and tells of it (contract 2.8 SwitchService).
    pub(crate) fn switch(&mut self, cx: &Context<'_>, service: &ServiceView, hash: &str) -> bool {
        let old = service.selected();
        let change = Change::SetServiceSelector {
            name: service.name.clone(),
            uid: service.uid.clone(),
            resource_version: service.resource_version.clone(),
            hash: Some(hash.to_owned()),
            managed_by: Some(cx.name().to_owned()),
        };
        // First, or after a crash in between a version may go too early. But where it was refused before it may be in vain again, and
        // deadlines that every attempt takes away never come.
        let refused_before = self.refused.contains_key(&refusal::key(&change));
        let sent_to_all = old.is_empty();
        if sent_to_all && !refused_before {
            self.forget_deadlines(cx, hash);
        }
        let tried = self.act_and_tell(
            change,
            "SwitchService",
            format!(
                "Switched selector for service '{}' from '{old}' to '{hash}'",
                service.name
            ),
            service.resource_version.clone(),
        );
        if sent_to_all && refused_before && tried {
            self.forget_deadlines(cx, hash);
        }
        tried
    }

    /// A Service sent requests to every version until now: what a deadline tells of when one lost them is not true any more.
    fn forget_deadlines(&mut self, cx: &Context<'_>, hash: &str) {
        for other in cx.owned().filter(|other| other.hash != hash) {
            self.annotate(other, labels::SCALE_DOWN_DEADLINE_ANNOTATION, None);
        }
    }

    /// Asks to look again when a deadline passes; true when it has passed already.
    pub(crate) fn due(&mut self, cx: &Context<'_>, deadline: Timestamp) -> bool {
        if cx.now >= deadline {
            return true;
        }
        self.wake_at(deadline);
        false
    }

    /// Whether this plan changes where requests go. What it changes was not observed yet: sizes by what was before would be wrong.
    /// What was refused is not tried, and changes nothing.
    pub(crate) fn routes(&self) -> bool {
        self.tries(|change| matches!(change, Change::Route(_) | Change::SetServiceSelector { .. }))
    }

    /// Whether this plan has such a change, and it is tried.
    fn tries(&self, such: impl Fn(&Change) -> bool) -> bool {
        let mut changes = self.actions.iter().map(|action| &action.change);
        changes.any(|change| such(change) && !self.stands_refused(change))
    }

    /// Whether the size of a version cannot be changed, because that was refused.
    pub(crate) fn sizes_refused(&self) -> bool {
        let sizes = |a: &&Action| matches!(a.change, Change::PatchReplicaSet { .. });
        self.actions
            .iter()
            .filter(sizes)
            .any(|a| self.stands_refused(&a.change))
    }

    /// Whether this plan points a Service at this version.
    pub(crate) fn points_at(&self, version: &str) -> bool {
        self.tries(|change| matches!(change, Change::SetServiceSelector { hash, .. } if hash.as_deref() == Some(version)))
    }

    /// Whether this plan points a Service at another version; one that was refused is not tried.
    pub(crate) fn switches(&self) -> bool {
        self.tries(|change| matches!(change, Change::SetServiceSelector { .. }))
    }

    pub(crate) fn deadline(&mut self, cx: &Context<'_>, rs: &ReplicaSetView, delay: SignedDuration) {
        let deadline = Time::from(after(cx.now, delay));
        self.annotate(
            rs,
            labels::SCALE_DOWN_DEADLINE_ANNOTATION,
            Some(deadline.to_string()),
        );
        self.wake_at(deadline.timestamp());
    }

    pub(crate) fn finish(mut self, urgency: Urgency) -> Plan {
        self.why.dedup();
        Plan {
            actions: self.actions,
            status: self.status,
            urgency,
            events: self.events,
            wake: self.wake,
            needs_pods: self.needs_pods,
            refused: self.keys_left_out,
            why: self.why,
            progress: self.progress,
        }
    }

    fn action_of(&mut self, replica_set: &str) -> Option<&mut Action> {
        self.actions
            .iter_mut()
            .find(|a| matches!(&a.change, Change::PatchReplicaSet { name, .. } if name == replica_set))
    }

    fn patch(&mut self, rs: &ReplicaSetView) -> &mut Change {
        let known = self
            .actions
            .iter()
            .position(|a| matches!(&a.change, Change::PatchReplicaSet { name, .. } if *name == rs.name));
        let index = known.unwrap_or_else(|| {
            self.act(Change::PatchReplicaSet {
                name: rs.name.clone(),
                uid: rs.uid.clone(),
                scale: None,
                annotations: BTreeMap::new(),
                rest: Value::Null,
            });
            self.actions.len() - 1
        });
        &mut self.actions[index].change
    }
}

pub(crate) fn scaling_message(name: &str, revision: i64, from: i32, to: i32) -> String {
    let direction = if to > from { "up" } else { "down" };
    format!("Scaled {direction} ReplicaSet {name} (revision {revision}) from {from} to {to}")
}
