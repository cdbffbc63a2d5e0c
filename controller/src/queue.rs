//! The work queue: one entry for each object, an urgent lane, delayed looks and backoff. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

/// First delay after a failure (contract 3.1).
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_millis(1);
/// Longest delay after a failure (contract 3.1).
const BACKOFF_CAP: SignedDuration = SignedDuration::from_secs(10);

/// Which line an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Aborts and failed analysis: before everything else.
    Urgent,
    /// All other work, in the order in which it fell due.
    Normal,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// When it is to be looked at, if at all.
    due: Option<Due>,
    /// Whether somebody is at it now: the same key never runs twice at once.
    running: bool,
    /// Failures in a row.
    failures: u32,
    /// Until when a failure keeps it away; only the urgent lane passes.
    held: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    lane: Lane,
    at: Timestamp,
    /// First come, first served among equals.
    order: u64,
}

/// Keys that wait to be looked at.
#[derive(Clone, Debug)]
pub struct Queue<K> {
    entries: BTreeMap<K, Entry>,
    waiting: BTreeSet<(Due, K)>,
    order: u64,
    latest: Timestamp,
}

impl<K: Ord + Clone + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            waiting: BTreeSet::new(),
            order: 0,
            latest: Timestamp::MIN,
        }
    }
}

impl<K: Ord + Clone + Hash> Queue<K> {
    /// Wants a look at `key` as soon as possible. Coalesces with a look that is already wanted.
    pub fn add(&mut self, key: K, lane: Lane, now: Timestamp) {
        let held = self.entries.get(&key).and_then(|entry| entry.held);
        let at = match (lane, held) {
            (Lane::Normal, Some(held)) => held.max(now),
            _ => now,
        };
        self.schedule(key, lane, at);
    }

    /// Wants a look at `key` at a time; an earlier one that is already wanted stays.
    pub fn add_at(&mut self, key: K, at: Timestamp) {
        self.schedule(key, Lane::Normal, at);
    }

    fn schedule(&mut self, key: K, lane: Lane, at: Timestamp) {
        self.order += 1;
        let wanted = Due {
            lane,
            at,
            order: self.order,
        };
        let entry = self.entries.entry(key.clone()).or_default();
        let due = match entry.due {
            // An entry keeps its place in the line.
            Some(due) if due.lane <= lane && due.at <= at => return,
            Some(due) => Due {
                lane: due.lane.min(lane),
                at: due.at.min(at),
                order: due.order,
            },
            None => wanted,
        };
        if let Some(old) = entry.due.replace(due) {
            self.waiting.remove(&(old, key.clone()));
        }
        if !entry.running {
            self.waiting.insert((due, key));
        }
    }

    /// The next key that is due and that nobody is at; it runs until [`Queue::done`] or [`Queue::failed`].
    pub fn next(&mut self, now: Timestamp) -> Option<K> {
        self.notice_jump(now);
        let (due, key) = self.first_due(now)?;
        self.waiting.remove(&(due, key.clone()));
        let entry = self.entries.entry(key.clone()).or_default();
        entry.due = None;
        entry.running = true;
        Some(key)
    }

    fn first_due(&self, now: Timestamp) -> Option<(Due, K)> {
        [Lane::Urgent, Lane::Normal].into_iter().find_map(|lane| {
            let mut of_lane = self.waiting.iter().skip_while(|(due, _)| due.lane < lane);
            of_lane
                .next()
                .filter(|(due, _)| due.lane == lane && due.at <= now)
                .cloned()
        })
    }

    /// A clock that was set back would make every delay longer by the jump: then everything is looked at again.
    fn notice_jump(&mut self, now: Timestamp) {
        if now.duration_since(self.latest) < SignedDuration::from_secs(-1) {
            let waiting = std::mem::take(&mut self.waiting);
            for (due, key) in waiting {
                let due = Due {
                    at: due.at.min(now),
                    ..due
                };
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.due = Some(due);
                    entry.held = None;
                }
                self.waiting.insert((due, key));
            }
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    /// The look at `key` is over and went well.
    pub fn done(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running = false;
        entry.failures = 0;
        entry.held = None;
        match entry.due {
            Some(due) => {
                self.waiting.insert((due, key.clone()));
            }
            None => {
                self.entries.remove(key);
            }
        }
    }

    /// The look at `key` failed: it comes back after a delay that doubles with each failure in a row, from 1 ms to 10 s,
    /// or after what the server asked for. Returns when that is.
    pub fn failed(&mut self, key: &K, now: Timestamp, retry_after: Option<SignedDuration>) -> Timestamp {
        let entry = self.entries.entry(key.clone()).or_default();
        let delay = backoff(key, entry.failures).max(retry_after.unwrap_or_default());
        let until = now.saturating_add(delay).unwrap_or(Timestamp::MAX);
        entry.failures = entry.failures.saturating_add(1);
        entry.running = false;
        entry.held = Some(until);
        if let Some(due) = entry.due.take() {
            let at = if due.lane == Lane::Urgent {
                due.at
            } else {
                due.at.max(until)
            };
            let due = Due { at, ..due };
            entry.due = Some(due);
            self.waiting.insert((due, key.clone()));
        }
        self.schedule(key.clone(), Lane::Normal, until);
        until
    }

    /// The look at `key` lost a race: the cache is behind. It comes back after the same delays, but news of the object
    /// ends the wait.
    pub fn conflict(&mut self, key: &K, now: Timestamp) {
        self.failed(key, now, None);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.held = None;
        }
    }

    /// Forgets the keys that are not wanted any more, but for those that somebody is at.
    pub fn retain(&mut self, wanted: impl Fn(&K) -> bool) {
        let waiting = &mut self.waiting;
        self.entries.retain(|key, entry| {
            let keep = entry.running || wanted(key);
            if let Some(due) = entry.due.filter(|_| !keep) {
                waiting.remove(&(due, key.clone()));
            }
            keep
        });
    }

    /// When the first waiting key falls due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let urgent = self.waiting.iter().next();
        let normal = self.waiting.iter().find(|(due, _)| due.lane == Lane::Normal);
        urgent.into_iter().chain(normal).map(|(due, _)| due.at).min()
    }

    /// How many keys are due.
    pub fn depth(&self, now: Timestamp) -> usize {
        self.waiting.iter().filter(|(due, _)| due.at <= now).count()
    }

    /// How many keys are being looked at.
    pub fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.running).count()
    }
}

/// Doubling delay, less up to a quarter that differs from key to key, so that many keys do not come back together.
fn backoff<K: Hash>(key: &K, failures: u32) -> SignedDuration {
    let doubled = BACKOFF_FIRST
        .saturating_mul(2_i32.saturating_pow(failures.min(20)))
        .min(BACKOFF_CAP);
    let mut hasher = Fnv::default();
    key.hash(&mut hasher);
    failures.hash(&mut hasher);
    let part = i64::try_from(hasher.finish() % 256).unwrap_or_default();
    let micros = i64::try_from(doubled.as_micros()).unwrap_or(i64::MAX);
    SignedDuration::from_micros(micros - micros / 4 * part / 256)
}

/// FNV-1a, because the same key must give the same delay in every process.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// The hash of one key.
    pub(crate) fn of(key: &impl Hash) -> u64 {
        let mut hasher = Self::default();
        key.hash(&mut hasher);
        hasher.finish()
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + millis).unwrap()
    }

    #[test]
    fn first_come_first_served_and_coalesced() {
        let mut queue = Queue::default();
        for key in ["b", "a", "b", "c"] {
            queue.add(key, Lane::Normal, at(0));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next(at(0))).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn an_abort_overtakes() {
        let mut queue = Queue::default();
        queue.add("a", Lane::Normal, at(0));
        queue.add("b", Lane::Normal, at(1));
        queue.add("b", Lane::Urgent, at(2));
        assert_eq!(queue.next(at(2)), Some("b"));
        assert_eq!(queue.next(at(2)), Some("a"));
    }

    #[test]
    fn an_urgent_entry_of_the_future_does_not_block() {
        let mut queue = Queue::default();
        queue.add("later", Lane::Urgent, at(50));
        queue.add("now", Lane::Normal, at(0));
        assert_eq!(queue.next_due(), Some(at(0)));
        assert_eq!(queue.next(at(0)), Some("now"));
        assert_eq!(queue.next(at(0)), None);
        assert_eq!(queue.next(at(50)), Some("later"));
    }

    #[test]
    fn never_twice_at_once() {
        let mut queue = Queue::default();
        queue.add("a", Lane::Normal, at(0));
        assert_eq!(queue.next(at(0)), Some("a"));
        queue.add("a", Lane::Normal, at(1));
        assert_eq!(queue.next(at(1)), None);
        queue.done(&"a");
        assert_eq!(queue.next(at(1)), Some("a"));
        queue.done(&"a");
        assert_eq!(
            (queue.next(at(9)), queue.next_due(), queue.running()),
            (None, None, 0)
        );
    }

    #[test]
    fn the_earlier_of_two_times_stays() {
        let mut queue = Queue::default();
        queue.add_at("a", at(100));
        queue.add_at("a", at(50));
        queue.add_at("a", at(70));
        assert_eq!(queue.next_due(), Some(at(50)));
        assert_eq!(queue.next(at(49)), None);
        assert_eq!(queue.next(at(50)), Some("a"));
    }

    #[test]
    fn failures_back_off_to_ten_seconds_and_success_resets() {
        let mut queue = Queue::default();
        let mut delays = Vec::new();
        let mut now = at(0);
        queue.add("a", Lane::Normal, now);
        for _ in 0..20 {
            assert_eq!(queue.next(now), Some("a"));
            let until = queue.failed(&"a", now, None);
            delays.push(until.duration_since(now));
            now = until;
        }
        assert!(
            delays
                .windows(2)
                .all(|pair| pair[0] < pair[1] || pair[1] > SignedDuration::from_secs(7))
        );
        assert!(delays[0] <= BACKOFF_FIRST && delays[19] <= BACKOFF_CAP);
        queue.next(now).unwrap();
        queue.done(&"a");
        queue.add("a", Lane::Normal, now);
        queue.next(now).unwrap();
        assert!(queue.failed(&"a", now, None).duration_since(now) <= BACKOFF_FIRST);
    }

    #[test]
    fn news_does_not_cut_the_wait_that_the_server_asked_for() {
        let mut queue = Queue::default();
        queue.add("a", Lane::Normal, at(0));
        queue.next(at(0)).unwrap();
        queue.failed(&"a", at(0), Some(SignedDuration::from_secs(3)));
        queue.add("a", Lane::Normal, at(1));
        assert_eq!(queue.next(at(2_999)), None);
        assert_eq!(queue.next(at(3_000)), Some("a"));
    }

    #[test]
    fn news_ends_the_wait_after_a_conflict() {
        let mut queue = Queue::default();
        for _ in 0..15 {
            queue.add("a", Lane::Normal, at(0));
            queue.next(at(0)).unwrap();
            queue.conflict(&"a", at(0));
        }
        assert_eq!(queue.next(at(5)), None);
        queue.add("a", Lane::Normal, at(5));
        assert_eq!(queue.next(at(5)), Some("a"));
    }

    #[test]
    fn a_clock_set_back_does_not_strand_anybody() {
        let mut queue = Queue::default();
        queue.add_at("a", at(3_600_000));
        assert_eq!(queue.next(at(3_599_000)), None);
        assert_eq!(queue.next(at(0)), Some("a"));
    }
}
