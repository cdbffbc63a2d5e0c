//! Conditions, arguments, assessment and planning of analysis runs: all pure.

pub mod expr;
