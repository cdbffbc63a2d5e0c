//! The shell around the planner: watches, slim caches, queue, guarded writes, leader election.
