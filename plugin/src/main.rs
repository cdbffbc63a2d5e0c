//! The `kubectl tidegate` binary.
fn main() {}
