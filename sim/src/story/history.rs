//! What people ordered, and what must have become of it once nothing changes any more: no command is lost.

use serde_json::Value;

use super::{Deed, Part};
use crate::actors::text;
use crate::invariants::facts::{Facts, Picture, Strategy};

/// The last order to a Rollout, with what was so when it was given.
#[derive(Clone, Debug)]
enum Order {
    /// An update was taken back.
    Abort,
    /// An update was to be finished whatever there is.
    Full,
    /// What was taken back was to be tried again.
    Retry,
    /// A pause was ended: version, step and the pause.
    Promote(Value, Value, Value),
}

/// A Rollout just before, or just after, somebody did something.
pub(super) struct Moment {
    pub(super) facts: Facts,
    /// Of its pods, wherever it comes from.
    template: Value,
    /// Whether what the spec says now, and the Deployment that it refers to, is what the status tells of.
    seen: bool,
    /// Whether a template in the spec itself may be another one than the status tells of.
    renewed: bool,
}

impl Moment {
    pub(super) fn of(picture: &Picture, namespace: &str, name: &str) -> Option<Self> {
        let facts = Facts::of(picture, namespace, name)?;
        let reference = &facts.rollout["spec"]["workloadRef"];
        let workload = picture.get("Deployment", namespace, text(&reference["name"]));
        let source = workload.map_or(&facts.rollout, |workload| workload);
        let is_recorded = |object: &Value, field: &str| {
            *object["metadata"]["generation"].to_string() == *text(&facts.status()[field])
        };
        let recorded = is_recorded(&facts.rollout, "observedGeneration");
        let seen =
            recorded && workload.is_none_or(|workload| is_recorded(workload, "workloadObservedGeneration"));
        Some(Self {
            template: source["spec"]["template"].clone(),
            seen,
            renewed: !recorded && reference.is_null(),
            facts,
        })
    }
}

/// What was ordered of one Rollout.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    order: Option<Order>,
    /// `restartAt`, when nothing has superseded it.
    restart: Option<String>,
}

impl History {
    /// Takes note of what was done between two moments.
    pub(super) fn note(&mut self, deed: &Deed, before: &Moment, after: &Moment) {
        let facts = &before.facts;
        let status = facts.status();
        // one that is not on record holds for what the spec says then
        let unrecorded = facts.aborted() && status["abortedAt"].is_null();
        if before.template != after.template || matches!(deed, Deed::Lose(Part::Workload)) {
            // another update: orders were for the one before
            // but for one beside it in the same object: the news of a Deployment comes by itself
            let own = before.facts.rollout["spec"]["workloadRef"].is_null();
            let abort = |order: &Order| unrecorded && own && matches!(order, Order::Abort);
            let order = self.order.take().filter(abort);
            *self = Self {
                order,
                ..Self::default()
            };
        }
        if facts.rollout["spec"]["strategy"] != after.facts.rollout["spec"]["strategy"] {
            // no pause or step of another way to update is the one that somebody meant; but what is taken back stays so
            let order = self.order.take().filter(|order| matches!(order, Order::Abort));
            *self = Self {
                order,
                ..Self::default()
            };
        }
        // an order is for the update that is on record, so it means nothing while that is not the one in the spec, or not for its strategy
        let recorded = is_canary(facts) != status["currentStepHash"].is_null();
        let moving =
            before.seen && recorded && !facts.stable().is_empty() && facts.stable() != facts.current();
        let pause = status["pauseConditions"][0].clone();
        match deed {
            Deed::Abort => {
                // one that is on record already, for another version, cannot be told from this; and who sees an abort sees the spec beside
                // it, but the news of a Deployment may be on its way
                let recorded = !status["abortedAt"].is_null();
                let of_the_next = before.renewed && !facts.stable().is_empty() && !recorded;
                self.order = (moving || of_the_next).then_some(Order::Abort);
            }
            // beside an abort that was never looked at, nobody can tell which came first
            Deed::Full if unrecorded => {}
            Deed::Full => self.order = moving.then_some(Order::Full),
            Deed::Retry => self.order = (moving && facts.aborted()).then_some(Order::Retry),
            // none of these takes an abort back
            Deed::Promote | Deed::Skip | Deed::Set(_) | Deed::Strategy(_)
                if matches!(self.order, Some(Order::Abort)) => {}
            Deed::Promote => {
                // an analysis that cannot decide may hold it again within the second
                let held = status["pauseConditions"][0]["reason"] != "InconclusiveAnalysisRun";
                self.order = (moving && held && !pause.is_null() && !facts.aborted()).then(|| {
                    Order::Promote(
                        status["currentPodHash"].clone(),
                        status["currentStepIndex"].clone(),
                        pause,
                    )
                });
            }
            Deed::Skip | Deed::Set(_) => self.order = None,
            Deed::Restart => {
                self.restart = after.facts.rollout["spec"]["restartAt"]
                    .as_str()
                    .map(str::to_owned);
            }
            Deed::Delete | Deed::Create => *self = Self::default(),
            _ => {}
        }
    }

    /// What is wrong at rest.
    pub(super) fn lost(&self, facts: &Facts) -> Vec<String> {
        let mut lost = Vec::new();
        let settled = facts.stable() == facts.current();
        let status = facts.status();
        match &self.order {
            Some(Order::Abort) if !settled && !facts.aborted() => lost.push("the abort is lost".to_owned()),
            // a deadline that aborts is the user's own word too
            Some(Order::Full)
                if !settled
                    && (status["promoteFull"] != true || facts.aborted() && !is_invalid(facts))
                    && !text(&status["message"]).contains("has timed out progressing") =>
            {
                lost.push("the full promotion is lost".to_owned());
            }
            // whatever takes it back again says why
            Some(Order::Retry)
                if facts.aborted()
                    && !is_invalid(facts)
                    && !text(&status["message"]).contains(": Rollout aborted update to revision ") =>
            {
                lost.push("the retry is lost".to_owned());
            }
            Some(Order::Promote(hash, step, pause))
                if status["currentPodHash"] == *hash
                    && status["currentStepIndex"] == *step
                    && status["pauseConditions"][0] == *pause =>
            {
                lost.push("the promotion is lost".to_owned());
            }
            _ => {}
        }
        if let Some(at) = &self.restart
            && settled
            && status["phase"] == "Healthy"
            && text(&status["restartedAt"]) < at.as_str()
        {
            lost.push(format!("the restart of {at} is lost"));
        }
        lost
    }
}

fn is_canary(facts: &Facts) -> bool {
    matches!(facts.strategy, Strategy::Canary | Strategy::RoutedCanary)
}

/// Whether nothing is decided until somebody mends the spec or what it names.
fn is_invalid(facts: &Facts) -> bool {
    text(&facts.status()["message"]).starts_with("InvalidSpec")
}
