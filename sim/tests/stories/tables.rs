//! The differences that are there.

use super::{Row, row};

const INTERMEDIATE: &str = "a blue-green version that neither Service selects goes; upstream keeps the pods of those in the middle, and of the old one \
     when `scaleDownDelaySeconds` is 0";
const WHILE_PAUSED: &str =
    "`spec.paused` holds the release, not the size: upstream does not scale while it is set";
const LATE_DEADLINE: &str =
    "a progress deadline fires when it is over; upstream noticed this one only with the next act";

/// Differences that are meant, with the reason. `docs/compatibility.md` names those that users see.
pub(super) const MEANT: &[(&str, &[Row])] = &[
    (
        INTERMEDIATE,
        &[
            row(1008, 2, 2, &["sizes: bad3 [4 0], v1 [4 4]"]),
            row(1008, 3, 3, &["sizes: v4 [4 4]"]),
            row(1008, 4, 5, &["sizes: v4 [1 1]"]),
            row(1008, 6, 7, &["sizes: v2 [1 1]"]),
            row(1035, 4, 4, &["sizes: v1 [4 4], v3 [2 2]"]),
            row(1039, 3, 3, &["sizes: v1 [8 8]"]),
            row(1039, 4, 5, &["sizes: v1 [8 8], v3 [1 1]"]),
            row(1039, 6, 6, &["sizes: v1 [8 8], v4 [1 1]"]),
            row(1039, 7, 7, &["sizes: v4 [1 1]"]),
            row(1039, 8, 9, &["sizes: v5 [1 1]"]),
            row(1043, 1, 1, &["sizes: v2 [3 3]"]),
            row(1043, 2, 2, &["sizes: v2 [8 8]"]),
            row(1043, 3, 5, &["sizes: v3 [8 8]"]),
            row(1043, 6, 6, &["sizes: bad4 [8 0], v3 [8 8]"]),
            row(1043, 7, 7, &["sizes: v5 [8 8]"]),
            row(1049, 7, 8, &["sizes: v1 [5 5], v2 [1 1]"]),
        ],
    ),
    (WHILE_PAUSED, &[row(1005, 5, 5, &["sizes: v2 [5 5]"])]),
    (
        LATE_DEADLINE,
        &[row(
            1035,
            1,
            1,
            &[
                "abort: true",
                "message: RolloutAborted: Rollout aborted update to revision 2: ReplicaSet 'run' has timed out progressing.",
                "phase: Degraded",
            ],
        )],
    ),
];

/// Differences that are our faults, with what is to be mended. A row goes when that is done; what follows from one in later
/// acts is with it.
pub(super) const FAULTS: &[(&str, &[Row])] = &[
    (
        "C2: `promoteFull` while aborted, or while an analysis was inconclusive, is kept and not done",
        &[
            row(
                1002,
                5,
                5,
                &[
                    "abort: true",
                    "active: v2",
                    "full: true",
                    "message: RolloutAborted: Rollout aborted update to revision 3",
                    "phase: Degraded",
                    "selectors.active: v2",
                    "sizes: v2 [5 5], v3 [2 2]",
                    "stable: v2",
                ],
            ),
            row(
                1002,
                6,
                6,
                &[
                    "active: v2",
                    "selectors.active: v2",
                    "sizes: v2 [5 5], v3 [2 2], v4 [2 2]",
                    "stable: v2",
                ],
            ),
            row(
                1002,
                7,
                9,
                &[
                    "active: v2",
                    "selectors.active: v2",
                    "sizes: v2 [5 5], v4 [2 2]",
                    "stable: v2",
                ],
            ),
            row(
                1019,
                4,
                4,
                &[
                    "abort: true",
                    "full: true",
                    "message: RolloutAborted: Rollout aborted update to revision 3: Step-based analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1019,
                5,
                7,
                &[
                    "abort: false",
                    "message: none",
                    "phase: Healthy",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                    "step: 5",
                ],
            ),
            row(1019, 8, 8, &["sizes: v1 [3 3]"]),
            row(
                1024,
                2,
                3,
                &[
                    "abort: true",
                    "full: true",
                    "message: RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "sizes: v1 [4 4]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(1024, 4, 7, &["sizes: v1 [4 4]", "stable: v1"]),
            row(
                1024,
                8,
                8,
                &[
                    "abort: true",
                    "message: RolloutAborted: Rollout aborted update to revision 6: Step-based analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "sizes: v1 [4 4]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1024,
                9,
                9,
                &[
                    "abort: true",
                    "message: RolloutAborted: Rollout aborted update to revision 6: Step-based analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1044,
                2,
                2,
                &[
                    "abort: true",
                    "full: true",
                    "message: RolloutAborted: Rollout aborted update to revision 2: Background analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "selectors.canary: v1",
                    "selectors.stable: v1",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1044,
                3,
                3,
                &[
                    "selectors.canary: v1",
                    "selectors.stable: v1",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                ],
            ),
            row(
                1044,
                4,
                4,
                &[
                    "abort: true",
                    "message: RolloutAborted: Rollout aborted update to revision 4: Background analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "selectors.canary: v1",
                    "selectors.stable: v1",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1044,
                5,
                9,
                &[
                    "abort: true",
                    "full: true",
                    "message: RolloutAborted: Rollout aborted update to revision 4: Background analysis phase error/failed: Metric…",
                    "phase: Degraded",
                    "selectors.canary: v1",
                    "selectors.stable: v1",
                    "sizes: v1 [3 3]",
                    "stable: v1",
                    "step: 0",
                ],
            ),
            row(
                1049,
                9,
                9,
                &[
                    "active: v1",
                    "controllerPause: true",
                    "full: true",
                    "message: InconclusiveAnalysisRun",
                    "pauses: [InconclusiveAnalysisRun]",
                    "phase: Paused",
                    "selectors.active: v1",
                    "sizes: v1 [5 5], v2 [1 1]",
                    "stable: v1",
                ],
            ),
        ],
    ),
    (
        "T2: a settled canary does not shrink",
        &[
            row(1005, 3, 4, &["sizes: v2 [4 4]"]),
            row(1017, 5, 5, &["sizes: v4 [10 10]"]),
            row(1023, 3, 6, &["sizes: v3 [10 10]"]),
            row(1034, 4, 5, &["sizes: v3 [10 10]"]),
        ],
    ),
    (
        "T7: a routed canary of no replicas never completes",
        &[
            row(
                1017,
                6,
                7,
                &[
                    "message: waiting for all steps to complete",
                    "phase: Progressing",
                    "stable: v4",
                    "step: 0",
                ],
            ),
            row(
                1017,
                9,
                9,
                &[
                    "message: waiting for all steps to complete",
                    "phase: Progressing",
                    "stable: v4",
                    "step: 0",
                ],
            ),
        ],
    ),
    (
        "new: with `dynamicStableScale` the old version waits 30 s for its pods to go; upstream has no delay there",
        &[
            row(1004, 1, 1, &["sizes: v1 [1 1], v2 [1 1]"]),
            row(1004, 2, 2, &["sizes: v1 [1 1], v2 [1 1], v3 [1 1]"]),
            row(1004, 3, 3, &["sizes: v2 [1 1], v3 [1 1]"]),
            row(1004, 4, 4, &["sizes: v2 [1 1], v3 [1 1], v4 [1 1]"]),
            row(1004, 5, 6, &["sizes: v2 [1 1], v4 [1 1]"]),
            row(1053, 2, 3, &["sizes: v1 [3 3], v2 [3 3]"]),
            row(1053, 5, 6, &["sizes: v1 [3 3], v2 [3 3]"]),
            row(1053, 7, 7, &["sizes: bad3 [1 0], v1 [3 3], v2 [3 3]"]),
        ],
    ),
    (
        "new: an inconclusive analysis in the background holds steps that are done, and timed pauses; upstream goes on through what needs no pods",
        &[
            row(1032, 1, 1, &["step: 0"]),
            row(1032, 2, 2, &["route: [0]", "step: 0", "weight: 0"]),
            row(
                1032,
                3,
                3,
                &[
                    "route: [20]",
                    "sizes: v1 [10 10], v3 [2 2]",
                    "step: 0",
                    "weight: 20",
                ],
            ),
            row(
                1032,
                4,
                4,
                &[
                    "route: [45]",
                    "sizes: v1 [10 10], v3 [5 5]",
                    "step: 1",
                    "weight: 45",
                ],
            ),
            row(1032, 5, 6, &["sizes: bad4 [2 0], v1 [10 10], v3 [5 5]"]),
            row(1032, 7, 7, &["sizes: bad4 [2 0], v1 [3 3], v3 [5 5]"]),
            row(
                1032,
                8,
                8,
                &[
                    "current: v5",
                    "selectors.canary: v5",
                    "sizes: v1 [3 3], v3 [5 5], v5 [2 2]",
                ],
            ),
            row(
                1032,
                9,
                9,
                &[
                    "current: v6",
                    "selectors.canary: v6",
                    "sizes: v1 [3 3], v5 [2 2], v6 [2 2]",
                ],
            ),
            row(1040, 1, 1, &["route: [20]", "step: 0", "weight: 20"]),
            row(
                1040,
                2,
                3,
                &[
                    "controllerPause: true",
                    "message: InconclusiveAnalysisRun",
                    "pauses: [InconclusiveAnalysisRun]",
                    "phase: Paused",
                    "route: [30]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v2 [1 1]",
                    "stable: v1",
                    "step: 1",
                    "weight: 30",
                ],
            ),
            row(
                1040,
                4,
                4,
                &[
                    "route: [0]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v2 [1 1], v3 [1 1]",
                    "stable: v1",
                    "step: 0",
                    "weight: 0",
                ],
            ),
            row(
                1040,
                5,
                5,
                &[
                    "selectors.canary: v1",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v3 [1 1]",
                    "stable: v1",
                ],
            ),
            row(
                1040,
                6,
                6,
                &[
                    "route: [20]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v3 [1 1], v4 [1 1]",
                    "stable: v1",
                    "step: 0",
                    "weight: 20",
                ],
            ),
            row(
                1040,
                7,
                7,
                &[
                    "route: [0]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v3 [1 1], v4 [1 1], v5 [1 1]",
                    "stable: v1",
                    "step: 0",
                    "weight: 0",
                ],
            ),
            row(1053, 1, 1, &["step: 0"]),
            row(1053, 4, 4, &["step: 1"]),
        ],
    ),
    (
        "new: a new version of a blue-green Rollout gets no pods while `spec.paused`; upstream brings up its preview",
        &[row(1008, 8, 8, &["sizes: v2 [1 1]"])],
    ),
];

/// Invariants that do not hold, by the seed of the story, with what is to be mended.
pub(super) const BROKEN: &[(&str, &[(u64, &str)])] =
    &[("T3: pods go before the weight does", &[(1004, "S1")])];
