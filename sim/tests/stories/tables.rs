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
            row(1043, 1, 1, &["sizes: v2 [3 3]"]),
            row(1043, 2, 2, &["sizes: v2 [8 8]"]),
            row(1043, 3, 5, &["sizes: v3 [8 8]"]),
            row(1043, 6, 6, &["sizes: bad4 [8 0], v3 [8 8]"]),
            row(1043, 7, 7, &["sizes: v5 [8 8]"]),
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
        "an inconclusive analysis in the background holds steps that are done, and what comes after a timed pause; upstream goes on through what needs no pods",
        &[
            row(1032, 1, 2, &["step: 0"]),
            row(1032, 3, 3, &["sizes: v1 [10 10], v3 [5 5]", "step: 1"]),
            row(1032, 4, 4, &["step: 2"]),
            row(1032, 7, 7, &["sizes: bad4 [1 0], v1 [3 3], v3 [8 8]"]),
            row(
                1032,
                8,
                8,
                &[
                    "current: v5",
                    "route: [20]",
                    "selectors.canary: v5",
                    "sizes: v1 [3 3], v3 [8 8], v5 [2 2]",
                    "weight: 20",
                ],
            ),
            row(
                1032,
                9,
                9,
                &[
                    "current: v6",
                    "route: [20]",
                    "selectors.canary: v6",
                    "sizes: v1 [3 3], v3 [8 8], v5 [2 2], v6 [2 2]",
                    "weight: 20",
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
                    "route: [20]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v2 [1 1], v3 [1 1]",
                    "stable: v1",
                    "step: 0",
                    "weight: 20",
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
                    "route: [20]",
                    "selectors.stable: v1",
                    "sizes: v1 [2 2], v3 [1 1], v4 [1 1], v5 [1 1]",
                    "stable: v1",
                    "step: 0",
                    "weight: 20",
                ],
            ),
            row(1053, 1, 1, &["step: 0"]),
            row(1053, 4, 4, &["step: 0"]),
        ],
    ),
    (
        "a new version of a blue-green Rollout gets no pods while `spec.paused`; upstream brings up its preview",
        &[row(1008, 8, 8, &["sizes: v2 [1 1]"])],
    ),
    (
        "a blue-green Rollout of size 0 has no preview; upstream keeps `previewReplicaCount` pods of it",
        &[row(1039, 7, 9, &["sizes: "])],
    ),
    (
        "not looked at yet: sizes of versions in the middle",
        &[
            row(1002, 9, 9, &["sizes: v3 [5 5], v4 [2 2]"]),
            row(1018, 4, 5, &["sizes: v1 [10 10], v2 [1 1], v3 [1 1]"]),
            row(1049, 9, 9, &["sizes: v2 [5 5]"]),
        ],
    ),
];

/// Invariants that do not hold, by the seed of the story, with what is to be mended.
pub(super) const BROKEN: &[(&str, &[(u64, &str)])] = &[];
