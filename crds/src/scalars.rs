//! Scalars of the API that JSON does not have: times, durations, numbers that may be text.

mod duration;
mod int_or_string;
mod time;

pub use self::{
    duration::{GoDuration, GoDurationError, parse_go_duration},
    int_or_string::{IntOrString, PercentError, Rounding},
    time::Time,
};

/// Whether a value is what an absent one is read as.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Go's `omitempty` for text.
#[expect(clippy::ref_option, reason = "what serde passes")]
pub(crate) fn blank(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

/// Go's `omitempty` for a flag.
#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde passes"
)]
pub(crate) fn not_true(flag: &Option<bool>) -> bool {
    *flag != Some(true)
}
