//! Replica arithmetic: how many pods of which version (contract 3.3 and 3.4). Integers only, 64 bits inside, so that no size
//! that the API accepts overflows.

use tidegate_crds::IntOrString;

/// Limits of a rolling change, resolved against the size of the Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Pods above the size that may exist.
    pub(crate) surge: i32,
    /// Pods below the size that may be unavailable.
    pub(crate) unavailable: i32,
}

/// Upstream's default is the text `"25"`, which its helper reads as a percentage (contract F21, F22).
const DEFAULT_PERCENT: i64 = 25;

impl Limits {
    /// Resolves `maxSurge` (rounded up) and `maxUnavailable` (rounded down); when both come out as 0 one pod may be
    /// unavailable, or nothing could ever move.
    pub(crate) fn resolve(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, size: i32) -> Self {
        let surge = share(surge, size, Round::Up).min(size);
        let unavailable = share(unavailable, size, Round::Down);
        let unavailable = if surge == 0 && unavailable == 0 {
            1
        } else {
            unavailable
        };
        Self {
            surge,
            unavailable: unavailable.min(size),
        }
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

fn share(value: Option<&IntOrString>, size: i32, round: Round) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(count)) => return (*count).max(0),
        Some(IntOrString::String(text)) => text
            .trim_end_matches('%')
            .trim()
            .parse()
            .unwrap_or(DEFAULT_PERCENT),
        None => DEFAULT_PERCENT,
    };
    let product = i64::from(size).max(0) * percent.clamp(0, 1_000_000);
    saturate(match round {
        Round::Up => div_ceil(product, 100),
        Round::Down => product / 100,
    })
}

/// `ceil(weight * size / total)`; 0 for a total that makes no sense.
pub(crate) fn ceil_share(size: i32, weight: i32, total: i32) -> i32 {
    if total <= 0 {
        return 0;
    }
    saturate(div_ceil(i64::from(size) * i64::from(weight), i64::from(total)))
}

/// `floor(weight * size / total)`; 0 for a total that makes no sense.
pub(crate) fn floor_share(size: i32, weight: i32, total: i32) -> i32 {
    if total <= 0 {
        return 0;
    }
    saturate((i64::from(size) * i64::from(weight)).div_euclid(i64::from(total)))
}

fn div_ceil(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

fn saturate(value: i64) -> i32 {
    i32::try_from(value.max(0)).unwrap_or(i32::MAX)
}

/// Canary and stable pods that come nearest to a weight without a traffic router (contract 3.3).
pub(crate) fn nearest_counts(size: i32, weight: i32, total: i32, surge: i32) -> (i32, i32) {
    if size <= 0 || total <= 0 {
        return (0, 0);
    }
    let product = i64::from(size) * i64::from(weight);
    let (floor, ceil) = (
        product.div_euclid(i64::from(total)),
        div_ceil(product, i64::from(total)),
    );
    let tied =
        |size: i64| (2 * size * i64::from(weight)).rem_euclid(2 * i64::from(total)) == i64::from(total);
    let extremes = weight == 0 || weight == total || (size == 1 && surge == 0);
    let size = i64::from(size);

    let mut options = Vec::with_capacity(4);
    if ceil < size || extremes {
        options.push((ceil, size));
    }
    if !tied(size) && (floor != 0 || extremes) {
        options.push((floor, size));
    }
    if surge > 0 {
        options.push((ceil, size + 1));
        if !tied(size + 1) && (floor != 0 || extremes) {
            options.push((floor, size + 1));
        }
    }
    // |canary * total / pods - weight|, compared as fractions; the first of equals wins.
    let delta = |&(canary, pods): &(i64, i64)| (canary * i64::from(total) - i64::from(weight) * pods).abs();
    let mut best: Option<(i64, i64)> = None;
    for option in options {
        best = match best {
            Some(b) if delta(&option) * b.1 >= delta(&b) * option.1 => Some(b),
            _ => Some(option),
        };
    }
    // Without an option upstream gives the canary no pod at all, so that 90 % of 5 would be released unseen. Half a pod less is near.
    let (canary, pods) = best.unwrap_or((floor, size));
    (saturate(canary), saturate(pods - canary))
}

/// One version's pods as the rolling arithmetic sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// `spec.replicas`.
    pub(crate) spec: i32,
    /// Available pods.
    pub(crate) available: i32,
    /// Where it shall end.
    pub(crate) desired: i32,
}

/// The next sizes of canary and stable on the way to the desired ones, without a traffic router: never more than `size +
/// surge` pods, never fewer than `size - unavailable` available (contract 3.3 "Up" and "Down"). `older` is the sum of the sizes of
/// all other ReplicaSets: while there are any, they drain first.
pub(crate) fn rolling(size: i32, limits: Limits, canary: Side, stable: Side, older: i32) -> (i32, i32) {
    let most = i64::from(size) + i64::from(limits.surge);
    let mut room = (most - i64::from(canary.spec) - i64::from(stable.spec) - i64::from(older)).max(0);
    let mut up = |side: Side| {
        let grown = i64::from(side.desired)
            .min(i64::from(side.spec) + room)
            .max(i64::from(side.spec));
        room -= grown - i64::from(side.spec);
        grown
    };
    let stable_up = up(stable);
    let canary_up = up(canary);
    let grown = (saturate(canary_up), saturate(stable_up));
    if grown != (canary.spec, stable.spec) {
        return grown;
    }
    if older > 0 {
        // They drain first. But pods that serve nobody may hold the room that another version needs to let them go.
        let shed = |side: Side| {
            let missing = side.spec - side.available.clamp(0, side.spec);
            side.spec.min(side.desired.max(side.spec - missing))
        };
        return (shed(canary), shed(stable));
    }

    let least = i64::from(size) - i64::from(limits.unavailable);
    let drained = drain(least, canary, stable);
    trim(most, canary, stable, drained)
}

/// Makes the side that shrinks smaller, as far as `least` pods stay available. It counts by spec: pods that never become
/// available must not block their own removal, and a ReplicaSet lets them go first.
fn drain(least: i64, canary: Side, stable: Side) -> (i32, i32) {
    let increasing = canary.desired >= canary.spec;
    let (drain, other) = if increasing {
        (stable, canary)
    } else {
        (canary, stable)
    };
    let spare = i64::from(drain.spec) + i64::from(other.spec.min(other.available)) - least;
    let kept = saturate(i64::from(drain.desired).max(i64::from(drain.spec) - spare.max(0))).min(drain.spec);
    if increasing {
        (canary.spec, kept)
    } else {
        (kept, stable.spec)
    }
}

/// Brings both within `most` pods: what is not available goes first, whosever it is, then what is more than desired, then the
/// canary. Only where all are available do available ones go, and `most` of them are enough.
fn trim(most: i64, canary: Side, stable: Side, sizes: (i32, i32)) -> (i32, i32) {
    let sides = [canary, stable];
    let mut sizes = [i64::from(sizes.0), i64::from(sizes.1)];
    let kept: [fn(Side) -> i32; 3] = [|side| side.available, |side| side.desired, |_| 0];
    for kept in kept {
        for (i, side) in sides.into_iter().enumerate() {
            let excess = sizes[0] + sizes[1] - most;
            sizes[i] -= (sizes[i] - i64::from(kept(side))).min(excess).max(0);
        }
    }
    (saturate(sizes[0]), saturate(sizes[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_default_to_a_quarter_contract_f21_f22() {
        let limits = |s: Option<&IntOrString>, u: Option<&IntOrString>, n| {
            let l = Limits::resolve(s, u, n);
            (l.surge, l.unavailable)
        };
        assert_eq!(limits(None, None, 10), (3, 2));
        assert_eq!(limits(None, None, 1), (1, 0));
        assert_eq!(
            limits(Some(&IntOrString::Int(0)), Some(&IntOrString::Int(0)), 5),
            (0, 1)
        );
        assert_eq!(
            limits(Some(&IntOrString::Int(9)), Some(&IntOrString::Int(9)), 5),
            (5, 5)
        );
        assert_eq!(
            limits(
                Some(&IntOrString::String("50%".into())),
                Some(&IntOrString::Int(0)),
                5
            ),
            (3, 0)
        );
        assert_eq!(limits(None, None, 0), (0, 0));
    }

    #[test]
    fn nearest_counts_contract_3_3() {
        // (size, weight, total, surge) -> (canary, stable)
        for (input, want) in [
            ((10, 0, 100, 0), (0, 10)),
            ((10, 100, 100, 0), (10, 0)),
            ((10, 20, 100, 0), (2, 8)),
            ((10, 1, 100, 0), (1, 9)),
            ((10, 99, 100, 0), (9, 1)),
            ((1, 20, 100, 0), (0, 1)),
            ((1, 20, 100, 1), (1, 1)),
            ((2, 50, 100, 1), (1, 1)),
            ((5, 30, 100, 1), (2, 4)),
            ((5, 50, 100, 0), (3, 2)),
            // where upstream's arithmetic leaves nothing to choose from
            ((5, 90, 100, 0), (4, 1)),
            ((2, 75, 100, 0), (1, 1)),
            ((5, 50, 100, 1), (3, 3)),
            ((4, 20, 100, 1), (1, 4)),
            ((0, 50, 100, 1), (0, 0)),
            ((10, 500, 1000, 0), (5, 5)),
            ((i32::MAX, 50, 100, 0), (1_073_741_824, 1_073_741_823)),
        ] {
            let (size, weight, total, surge) = input;
            assert_eq!(nearest_counts(size, weight, total, surge), want, "{input:?}");
        }
    }

    /// Neither side is without pods while both have a share.
    #[test]
    fn a_share_has_pods_contract_3_3() {
        for size in 2..=60 {
            for weight in 1..100 {
                for surge in [0, 1, size] {
                    let (canary, stable) = nearest_counts(size, weight, 100, surge);
                    assert!(
                        canary > 0 && stable > 0,
                        "{weight} % of {size} with {surge}: {canary}/{stable}"
                    );
                }
            }
        }
    }

    /// Every step of every rolling change keeps both limits and ends at the desired sizes.
    #[test]
    fn rolling_keeps_the_limits_and_arrives() {
        for size in 1..=12 {
            for (surge, unavailable) in [(1, 0), (0, 1), (2, 1), (3, 3), (1, 1)] {
                let limits = Limits {
                    surge: surge.min(size),
                    unavailable: unavailable.min(size),
                };
                for weight in [0, 10, 25, 50, 75, 90, 100] {
                    for (start_canary, start_stable) in [(0, size), (size, 0), (size / 2, size - size / 2)] {
                        let (want_canary, want_stable) = nearest_counts(size, weight, 100, limits.surge);
                        let (mut c, mut s) = (start_canary, start_stable);
                        let mut rounds = 0;
                        while (c, s) != (want_canary, want_stable) {
                            let side = |spec, desired| Side {
                                spec,
                                available: spec,
                                desired,
                            };
                            let next = rolling(size, limits, side(c, want_canary), side(s, want_stable), 0);
                            assert!(
                                next.0 + next.1 <= size + limits.surge,
                                "{size} {limits:?} {weight} {next:?}"
                            );
                            let kept = next.0.min(c) + next.1.min(s);
                            assert!(
                                kept >= size - limits.unavailable,
                                "{size} {limits:?} {weight} {c}/{s} {next:?}"
                            );
                            assert_ne!(next, (c, s), "stuck: {size} {limits:?} {weight} {next:?}");
                            (c, s) = next;
                            rounds += 1;
                            assert!(rounds < 100);
                        }
                    }
                }
            }
        }
    }

    /// Scaled back while a broken version is rolled out: no pod that serves goes for one that does not.
    #[test]
    fn pods_that_are_not_available_go_first() {
        let side = |spec, available, desired| Side {
            spec,
            available,
            desired,
        };
        let limits = |surge, unavailable| Limits { surge, unavailable };
        for (size, limits, canary, stable, want) in [
            // 6 broken and 4 good ones, 8 to 4: upstream's TestRolloutScalingDuringUpdate.
            (4, limits(2, 0), side(6, 0, 4), side(4, 4, 0), (2, 4)),
            // Nothing to spare, but more than there may be.
            (4, limits(2, 0), side(4, 0, 4), side(4, 4, 0), (2, 4)),
            // Also where some may be unavailable: what does not serve goes before what does.
            (8, limits(2, 2), side(6, 0, 4), side(8, 8, 4), (2, 8)),
            // On the other side too: an abort with broken stable pods.
            (4, limits(1, 0), side(5, 5, 0), side(4, 1, 4), (3, 2)),
            // All serve: from both, towards what is desired.
            (4, limits(1, 1), side(4, 4, 2), side(4, 4, 2), (2, 3)),
            // Settled.
            (4, limits(1, 1), side(10, 10, 4), side(0, 0, 0), (4, 0)),
            (0, limits(0, 0), side(10, 10, 0), side(0, 0, 0), (0, 0)),
        ] {
            let got = rolling(size, limits, canary, stable, 0);
            assert_eq!(got, want, "{size} {limits:?} {canary:?} {stable:?}");
        }
    }
}
