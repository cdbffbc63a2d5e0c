//! The tables of `list`.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_crds::{Experiment, Rollout};

use crate::output::{Cell, columns};
use crate::{age, canary, phase};

/// A line of `list rollouts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolloutRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) strategy: String,
    pub(crate) status: String,
    pub(crate) step: Option<String>,
    pub(crate) set_weight: Option<i32>,
    pub(crate) ready: i32,
    pub(crate) current: i32,
    pub(crate) desired: i32,
    pub(crate) up_to_date: i32,
    pub(crate) available: i32,
}

impl From<&Rollout> for RolloutRow {
    fn from(rollout: &Rollout) -> Self {
        let status = &rollout.status;
        let strategy = canary::strategy_name(rollout);
        Self {
            namespace: rollout.metadata.namespace.clone(),
            name: rollout.metadata.name.clone(),
            strategy: if strategy.is_empty() { "unknown" } else { strategy }.to_owned(),
            status: phase::of(rollout).0,
            step: canary::step_text(rollout),
            set_weight: canary::strategy(rollout).map(|_| canary::set_weight(rollout)),
            ready: status.ready_replicas.unwrap_or_default(),
            current: status.replicas.unwrap_or_default(),
            desired: rollout.spec.replicas.unwrap_or(1),
            up_to_date: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
        }
    }
}

/// Which columns a table has beside its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Columns {
    /// The time of printing, for `--timestamps`.
    pub(crate) time: Option<Timestamp>,
    /// For `--all-namespaces`.
    pub(crate) namespace: bool,
}

impl Columns {
    fn before(self, time: &str, namespace: &str) -> Vec<Cell> {
        let time = self.time.map(|_| Cell::plain(time));
        let namespace = self.namespace.then(|| Cell::plain(namespace));
        time.into_iter().chain(namespace).collect()
    }

    fn head(self, names: &[&str]) -> Vec<Cell> {
        let mut cells = self.before("TIMESTAMP", "NAMESPACE");
        cells.extend(names.iter().map(|name| Cell::plain(name)));
        cells
    }

    fn widths(self, own: &[usize]) -> Vec<usize> {
        let time = self.time.map(|_| 20);
        let namespace = self.namespace.then_some(9);
        time.into_iter()
            .chain(namespace)
            .chain(own.iter().copied())
            .collect()
    }

    fn time_text(self) -> String {
        self.time
            .map_or_else(String::new, |time| tidegate_crds::Time::from(time).to_string())
    }
}

const HEAD: [&str; 9] = [
    "NAME",
    "STRATEGY",
    "STATUS",
    "STEP",
    "SET-WEIGHT",
    "READY",
    "DESIRED",
    "UP-TO-DATE",
    "AVAILABLE",
];
/// Wide enough for most values, so that lines printed later stand below the earlier ones.
const WIDTHS: [usize; 9] = [10, 9, 12, 4, 10, 5, 7, 10, 9];

/// The table of Rollouts; lines that are printed later have no head.
pub(crate) fn rollouts(rows: &[RolloutRow], with: Columns, head: bool) -> String {
    let dash = || "-".to_owned();
    let lines = rows.iter().map(|row| {
        let mut cells = with.before(&with.time_text(), &row.namespace);
        let values = [
            row.name.clone(),
            row.strategy.clone(),
            row.status.clone(),
            row.step.clone().unwrap_or_else(dash),
            row.set_weight.map_or_else(dash, |weight| weight.to_string()),
            format!("{}/{}", row.ready, row.current),
            row.desired.to_string(),
            row.up_to_date.to_string(),
            row.available.to_string(),
        ];
        cells.extend(values.iter().map(|value| Cell::plain(value)));
        cells
    });
    let rows: Vec<_> = head.then(|| with.head(&HEAD)).into_iter().chain(lines).collect();
    columns(&rows, &with.widths(&WIDTHS))
}

/// A line of `list experiments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExperimentRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) duration: Option<String>,
    pub(crate) remaining: Option<String>,
    pub(crate) age: String,
}

impl ExperimentRow {
    pub(crate) fn of(experiment: &Experiment, now: Timestamp) -> Self {
        let status = &experiment.status;
        let phase = status.phase.clone().unwrap_or_default();
        let duration = experiment
            .spec
            .duration
            .as_ref()
            .and_then(|duration| duration.parse().ok());
        let passed = status
            .available_at
            .map(|since| now.as_second() - since.as_second());
        let remaining = duration
            .zip(passed)
            .map(|(duration, passed)| duration.as_secs() - passed);
        Self {
            namespace: experiment.metadata.namespace.clone(),
            name: experiment.metadata.name.clone(),
            duration: duration.map(|duration| age::human(duration.as_secs())),
            remaining: remaining
                .filter(|left| *left > 0 && !phase.completed())
                .map(age::human),
            status: phase.to_string(),
            age: age::age(experiment.metadata.creation_timestamp.map(Timestamp::from), now),
        }
    }
}

/// The table of experiments.
pub(crate) fn experiments(rows: &[ExperimentRow], with: Columns) -> String {
    let lines = rows.iter().map(|row| {
        let mut cells = with.before(&with.time_text(), &row.namespace);
        let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let values = [
            row.name.clone(),
            row.status.clone(),
            dash(&row.duration),
            dash(&row.remaining),
            row.age.clone(),
        ];
        cells.extend(values.iter().map(|value| Cell::plain(value)));
        cells
    });
    let head = with.head(&["NAME", "STATUS", "DURATION", "REMAINING", "AGE"]);
    let rows: Vec<_> = std::iter::once(head).chain(lines).collect();
    columns(&rows, &with.widths(&[10, 6, 8, 9, 3]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::dump;

    #[test]
    fn tables() {
        let canary = dump("canary-nginx").rollout;
        let blue_green = dump("bluegreen-manual").rollout;
        let rows = [
            RolloutRow::from(&canary),
            RolloutRow::from(&blue_green),
            RolloutRow::from(&Rollout::default()),
        ];
        let time = Some("2026-11-21T10:00:00.5Z".parse().unwrap());
        insta::assert_snapshot!("rollouts", rollouts(&rows, Columns::default(), true));
        insta::assert_snapshot!(
            "rollouts-of-all",
            rollouts(
                &rows,
                Columns {
                    time,
                    namespace: true
                },
                false
            )
        );
    }

    #[test]
    fn a_running_experiment() {
        let experiment = json!({
            "metadata": {"name": "e", "namespace": "shop", "creationTimestamp": "2026-11-21T09:00:00Z"},
            "spec": {"duration": "2h"},
            "status": {"phase": "Running", "availableAt": "2026-11-21T09:30:00Z"},
        });
        let experiment = serde_json::from_value(experiment).unwrap();
        let row = ExperimentRow::of(&experiment, "2026-11-21T10:00:00Z".parse().unwrap());
        insta::assert_snapshot!(
            "experiments",
            experiments(
                &[row],
                Columns {
                    time: None,
                    namespace: true
                }
            )
        );
    }
}
