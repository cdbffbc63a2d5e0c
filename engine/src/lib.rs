//! The planner: [`plan`] for Rollouts. Pure: no client, no clock, no runtime; Cargo enforces it.
//!
//! [`Observed`] is all that a decision may depend on, [`Plan`] is all that shall be done. A newcomer reads [`canary`] or
//! [`bluegreen`] from the top; what they call is named after what it decides.
//!
//! Files use only those below them: the strategies stand on what has one subject (`routing`, `services`, `runs`, `promotion`,
//! `restart`, …), that on [`draft`] and [`context`], these on [`observed`], [`valid`], [`mod@plan`] and [`why`]. `status` looks at
//! what has become of the draft.

mod bluegreen;
mod canary;
mod checked;
mod condition;
mod context;
mod counters;
mod deadline;
mod draft;
mod drain;
mod duration;
mod heal;
mod metadata;
pub mod observed;
mod paused;
pub mod plan;
mod progress;
mod promotion;
pub mod refusal;
mod replicas;
mod restart;
mod revision;
mod routing;
mod runs;
mod services;
mod status;
mod time;
pub mod valid;
pub mod validate;
pub mod why;
mod workload;

use jiff::Timestamp;
use serde_json::json;
use tidegate_crds::Rollout;

pub use checked::Checked;
pub use observed::{Observed, Settings, resolved_template};
pub use paused::Paused;
pub use plan::{Action, Change, Event, Plan, Scale, Urgency};
pub use progress::Progress;
pub use refusal::Refusal;

use crate::context::Context;
use crate::draft::Draft;
use crate::valid::Strategy;
use crate::validate::Violation;
use crate::why::Reason;

/// How soon an invalid Rollout is looked at again, beside every change of it and of what it names (contract 3.1).
const INVALID_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(20);

/// Plans what shall be done about one Rollout, as observed, at this moment.
///
/// It cannot fail: an invalid spec is a status. It is a function: the same arguments give the same plan.
pub fn plan(seen: &Observed, now: Timestamp, settings: &Settings) -> Plan {
    let rollout = &seen.rollout;
    let mut draft = Draft::new(seen, now);
    if rollout.metadata.deletion_timestamp.is_some() {
        return draft.finish(Urgency::Soon);
    }
    if rollout.status == tidegate_crds::RolloutStatus::default() {
        let meta = &rollout.metadata;
        let text = format!(
            "Rollout resource added to informer: {}/{}",
            meta.namespace, meta.name
        );
        draft.tell_first("RolloutAddedToInformer", text);
    }
    heal::act(seen, &mut draft);
    let checked = Checked::latest(seen.checked.as_ref(), seen);
    let (valid, template) = match checked.valid(seen) {
        Ok(read) => read,
        Err(violation) => {
            if let Some((valid, template)) = Checked::legible(seen) {
                take_back(&Context::new(seen, template, &valid, now, settings), &mut draft);
            }
            // What the update has come to is not forgotten over a mistake that is mended in a moment.
            draft.progress.clone_from(&seen.progress);
            return invalid(rollout, &violation, now, draft);
        }
    };
    let cx = Context::new(seen, template, &valid, now, settings);
    if valid.size_missing {
        draft.act(Change::PatchRollout {
            patch: json!({ "spec": { "replicas": valid.size } }),
        });
    }
    workload::act(&cx, &mut draft);
    match &valid.strategy {
        Strategy::Canary(spec) => canary::plan(&cx, spec, &mut draft),
        Strategy::BlueGreen(spec) => bluegreen::plan(&cx, spec, &mut draft),
    }
    routing::clean_up(&cx, &mut draft);
    draft.leave_out();
    status::complete(&cx, &mut draft);
    duration::keep(&cx, &mut draft);
    let urgency = status::urgency(&cx, &draft);
    draft.finish(urgency)
}

/// While a Rollout is invalid nothing goes on, but requests go back to stable all the same: that needs none of what is missing or wrong.
fn take_back(cx: &Context<'_>, draft: &mut Draft) {
    match cx.strategy {
        Strategy::Canary(spec) => canary::take_back(cx, spec, draft),
        Strategy::BlueGreen(spec) => bluegreen::take_back(cx, spec, draft),
    }
    draft.leave_out();
}

fn invalid(rollout: &Rollout, violation: &Violation, now: Timestamp, mut draft: Draft) -> Plan {
    let text = violation.condition_text(&rollout.metadata.name);
    let fix = violation.fix.clone();
    let known = condition::find(&rollout.status, &tidegate_crds::RolloutConditionType::InvalidSpec)
        .is_some_and(|c| c.message == text);
    status::invalid(&mut draft.status, now, &text);
    draft.status.observed_generation = Some(rollout.metadata.generation.unwrap_or(0).to_string());
    if !known {
        draft.tell(true, "InvalidSpec", format!("{text}: {fix}"));
    }
    draft.because(Reason::Invalid { text, fix });
    draft.wake_at(time::after(now, INVALID_AGAIN));
    draft.finish(Urgency::Now)
}
