//! The planner: plan(observed, now) for Rollouts. Pure: no client, no clock, no runtime.
