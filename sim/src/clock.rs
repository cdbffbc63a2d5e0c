//! Virtual time: what shall happen, in order. Time passes only from one entry to the next.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// When every simulated world begins: 2026-01-01T00:00:00Z.
pub const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// What shall happen, by time and then by the order in which it was put here.
#[derive(Clone, Debug)]
pub struct Agenda<T> {
    now: Timestamp,
    put: u64,
    entries: BTreeMap<(Timestamp, u64), T>,
}

impl<T> Agenda<T> {
    /// An empty agenda that begins at a time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            put: 0,
            entries: BTreeMap::new(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Puts something at a time; a time in the past means now.
    pub fn put(&mut self, at: Timestamp, what: T) {
        self.put += 1;
        self.entries.insert((at.max(self.now), self.put), what);
    }

    /// Puts something after a while.
    pub fn put_in(&mut self, after: SignedDuration, what: T) {
        self.put(self.now + after, what);
    }

    /// When the next entry is due.
    pub fn due(&self) -> Option<Timestamp> {
        self.entries.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next entry that is due until a time, and lets time pass to it. Without one, time passes to `until`.
    pub fn take(&mut self, until: Timestamp) -> Option<T> {
        if self.due().is_none_or(|at| at > until) {
            self.now = self.now.max(until);
            return None;
        }
        let ((at, _), what) = self.entries.pop_first()?;
        self.now = at;
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_by_time_and_then_by_order() {
        let mut agenda = Agenda::new(EPOCH);
        let second = SignedDuration::from_secs(1);
        agenda.put_in(second * 2, "c");
        agenda.put_in(second, "a");
        agenda.put_in(second, "b");
        agenda.put(EPOCH - second, "late");
        let order: Vec<_> = std::iter::from_fn(|| agenda.take(EPOCH + second)).collect();
        assert_eq!((order, agenda.now()), (vec!["late", "a", "b"], EPOCH + second));
        assert_eq!(agenda.take(EPOCH + second * 5), Some("c"));
        assert_eq!(agenda.now(), EPOCH + second * 2);
    }
}
