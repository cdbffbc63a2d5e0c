//! Conditions, arguments, assessment and planning of analysis runs: all pure.
//!
//! A run is created by [`run::new_run`] from templates ([`templates`]) and arguments ([`args`]), and carried through
//! by [`plan::plan`]: the shell asks providers what the plan wants measured, hands the [`reading::Reading`]s to the
//! next plan, and writes its status. [`expr`] is the language of the conditions,
//! [`jsonpath`] that of the paths into an answer.

pub mod args;
mod assess;
pub mod expr;
pub mod jsonpath;
pub mod plan;
pub mod reading;
pub mod run;
pub mod templates;
pub mod validate;

pub use self::plan::{RunEvent, RunObserved, RunPlan, plan};
pub use self::reading::{Answer, Measure, MeasureKind, Outcome, Reading, Trouble};
