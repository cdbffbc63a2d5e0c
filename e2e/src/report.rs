//! What the load generator reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The requests of one window: from a start, or from a reset, on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How long requests were sent, in seconds.
    pub seconds: f64,
    /// Requests that were sent. Once they have all ended this is the sum of all answers and failures.
    pub sent: u64,
    /// Answers by the version that gave them and by status code.
    pub answers: Vec<Answers>,
    /// Requests without an answer, by kind: `connect`, `timeout`, `closed`, `overload`.
    pub failures: BTreeMap<String, u64>,
    /// What the first few failures and server errors were, for the one who has to find out why.
    pub samples: Vec<String>,
    /// The slowest answer, in milliseconds.
    pub slowest_ms: u64,
}

/// A number of equal answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The app's version; empty if the answer was not the app's.
    pub version: String,
    /// HTTP status code.
    pub code: u16,
    /// How many.
    pub count: u64,
}

impl Report {
    /// Requests that did not succeed: no answer, or a status of 400 and above.
    pub fn failed(&self) -> u64 {
        let bad = self.answers.iter().filter(|answers| answers.code >= 400);
        bad.map(|answers| answers.count).sum::<u64>() + self.failures.values().sum::<u64>()
    }

    /// Answers of a version, whatever their status.
    pub fn answers_of(&self, version: &str) -> u64 {
        self.answers
            .iter()
            .filter(|answers| answers.version == version)
            .map(|answers| answers.count)
            .sum()
    }

    /// The share of a version in all requests, in percent.
    pub fn share(&self, version: &str) -> f64 {
        if self.sent == 0 {
            0.0
        } else {
            self.answers_of(version) as f64 * 100.0 / self.sent as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_failures_count_all_requests() {
        let answers = |version: &str, code, count| Answers {
            version: version.into(),
            code,
            count,
        };
        let report = Report {
            sent: 200,
            answers: vec![
                answers("v1", 200, 150),
                answers("v1", 500, 4),
                answers("v2", 200, 40),
                answers("", 502, 5),
            ],
            failures: BTreeMap::from([("timeout".into(), 1)]),
            ..Report::default()
        };
        assert_eq!(report.failed(), 10);
        assert_eq!(report.answers_of("v1"), 154);
        assert!((report.share("v2") - 20.0).abs() < 1e-9);
        assert!(Report::default().share("v1").abs() < 1e-9);
    }
}
