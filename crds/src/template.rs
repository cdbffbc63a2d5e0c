//! Pod templates as JSON: the hashes that name them, their defaults, and whether two are the same.
//!
//! A template stays a `serde_json::Value` everywhere: typing it would drag all of `core/v1` in, and a field that
//! is newer than us must not get lost on its way to a ReplicaSet.

mod defaults;
mod digest;
mod gojson;
mod hash;
mod malformed;
#[cfg(feature = "schema")]
pub(crate) mod openapi;
mod quantity;
mod schema;

pub use self::{
    defaults::set_pod_template_defaults,
    digest::{Digest, EphemeralMetadata, template_digest},
    hash::{pod_template_hash, step_hash},
    malformed::drop_malformed_fields,
};
