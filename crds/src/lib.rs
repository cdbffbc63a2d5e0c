//! The argoproj.io/v1alpha1 API, field for field, the hashes that name its versions, our own kind, Delivery, and
//! merge patches of all of them.
//!
//! Types have upstream's Go names and document meaning and default of each field; "F12" and "contract 2.5" name
//! the rules of `docs/contract.md`. Whatever Kubernetes itself judges (pod templates, Job specs) is kept as it
//! is. A missing field is read as the zero value, as Go does; [`decode::tolerant`] also survives wrong ones.

mod analysis;
pub mod decode;
mod delivery;
mod experiment;
mod kind;
pub mod labels;
pub mod merge;
mod meta;
pub mod names;
mod rollout;
mod scalars;
#[cfg(feature = "schema")]
pub mod schema;
pub mod template;
mod text_enum;

pub(crate) use self::text_enum::text_enum;
pub use self::{analysis::*, delivery::*, experiment::*, kind::*, meta::*, rollout::*, scalars::*};
