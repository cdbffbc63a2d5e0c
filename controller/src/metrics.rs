//! What `/metrics` says, in Prometheus' text format: upstream's names (contract 1.12) and our own.
//!
//! Written by hand because client libraries append `_total` to counters, and five of upstream's counters have none. What
//! describes objects is computed when it is asked for, so the series of a deleted object end by themselves.

mod objects;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidegate_crds::RolloutDuration;

use crate::controller::{Controller, Key};
use crate::object::Kind;
use crate::request::{EVENTS, Failure, ROLLOUTS, Request};
use crate::step::Outcome;

/// Buckets of `rollout_reconcile` (F169).
const RECONCILE: &[f64] = &[0.01, 0.15, 0.25, 0.5, 1.0];
/// Buckets of the time that a plan takes.
const PLAN: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1];

/// Buckets of how long updates take: a minute to a day. Upstream's are not documented.
const UPDATE: &[f64] = &[60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0, 86_400.0];
type PartOfUpdate = fn(&Update) -> &Histogram;
/// How long updates took (F172): name, help, and which part of [`Update`].
const UPDATES: [(&str, &str, PartOfUpdate); 3] = [
    (
        "rollout_duration_seconds",
        "Time from the start of an update to its end.",
        |update| &update.whole,
    ),
    (
        "rollout_progression_duration_seconds",
        "Time of an update, less the time that it waited for people.",
        |update| &update.progression,
    ),
    (
        "rollout_manual_pause_duration_seconds",
        "Time that an update waited for people.",
        |update| &update.manual_pause,
    ),
];

/// What is counted while it happens.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    reconciles: BTreeMap<(&'static str, String, String), Histogram>,
    errors: BTreeMap<(&'static str, String, String), u64>,
    events: BTreeMap<[String; 4], u64>,
    /// By namespace, name, and how the update ended.
    updates: BTreeMap<[String; 3], Update>,
    requests: BTreeMap<(&'static str, String, String, &'static str, u16), u64>,
    writes: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    steps: Histogram,
    watch_restarts: BTreeMap<Kind, u64>,
}

/// Durations of the updates of one Rollout.
#[derive(Debug, Default)]
struct Update {
    whole: Histogram,
    progression: Histogram,
    manual_pause: Histogram,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        self.buckets.resize(bounds.len(), 0);
        for (bucket, bound) in self.buckets.iter_mut().zip(bounds) {
            *bucket += u64::from(value <= *bound);
        }
        self.sum += value;
        self.count += 1;
    }
}

impl Metrics {
    fn with(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A request was answered.
    pub(crate) fn request(&self, request: &Request, failure: Option<&Failure>) {
        // Names of other objects come and go without end.
        let name = if *request.resource == ROLLOUTS {
            request.name.clone()
        } else {
            String::new()
        };
        let code = failure.map_or(200, |failure| failure.code);
        let result = match failure {
            None => "ok",
            Some(failure) if failure.is_conflict() || failure.is_test_failed() => "conflict",
            Some(failure) if failure.code == 0 => "no_answer",
            Some(_) => "error",
        };
        let verb = request.verb.as_str();
        self.with(|counts| {
            let key = (request.resource.kind, request.namespace.clone(), name, verb, code);
            *counts.requests.entry(key).or_default() += 1;
            if request.verb.writes() {
                *counts
                    .writes
                    .entry((request.resource.plural, verb, result))
                    .or_default() += 1;
            }
        });
    }

    /// An event was sent.
    pub(crate) fn event(&self, request: &Request) {
        if *request.resource != EVENTS {
            return;
        }
        let text = |path| {
            request
                .body
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if text("/involvedObject/kind") != "Rollout" {
            return;
        }
        let key = [
            request.namespace.clone(),
            text("/involvedObject/name"),
            text("/type"),
            text("/reason"),
        ];
        self.with(|counts| *counts.events.entry(key).or_default() += 1);
    }

    /// A write was accepted: if it ended the update of a Rollout, how long that took (F172).
    pub(crate) fn written(&self, request: &Request, answer: &Value) {
        if *request.resource != ROLLOUTS
            || request
                .body
                .pointer("/status/duration/finishedAt")
                .is_none_or(Value::is_null)
        {
            return;
        }
        let duration = answer.pointer("/status/duration").cloned().unwrap_or_default();
        let Ok(duration) = serde_json::from_value::<RolloutDuration>(duration) else {
            return;
        };
        let (Some(started), Some(finished), Some(completion)) = (
            duration.rollout_started_at,
            duration.finished_at,
            duration.completion_status,
        ) else {
            return;
        };
        let whole = finished.as_second().saturating_sub(started.as_second()).max(0) as f64;
        let paused = duration.total_manual_pause_duration_seconds.unwrap_or(0).max(0) as f64;
        let series = [
            request.namespace.clone(),
            request.name.clone(),
            completion.to_string(),
        ];
        self.with(|counts| {
            let update = counts.updates.entry(series).or_default();
            update.whole.observe(UPDATE, whole);
            update.progression.observe(UPDATE, (whole - paused).max(0.0));
            update.manual_pause.observe(UPDATE, paused);
        });
    }

    /// A job is over.
    pub(crate) fn job(&self, key: &Key, took: Duration, outcome: &Outcome) {
        let (kind, object) = match key {
            Key::Rollout(key) => ("rollout", key),
            Key::Run(key) => ("analysis_run", key),
            Key::Service(_) | Key::Deleted(_) | Key::Delivery(_) | Key::Repository(_) => return,
        };
        let series = (kind, object.namespace.clone(), object.name.clone());
        self.with(|counts| {
            counts
                .reconciles
                .entry(series.clone())
                .or_default()
                .observe(RECONCILE, took.as_secs_f64());
            let errors = counts.errors.entry(series).or_default();
            *errors += u64::from(matches!(outcome, Outcome::Failed(_)));
        });
    }

    /// An object is gone: its series end.
    pub(crate) fn forget(&self, known: impl Fn(&'static str, &str, &str) -> bool) {
        self.with(|counts| {
            counts
                .reconciles
                .retain(|(kind, namespace, name), _| known(kind, namespace, name));
            counts
                .errors
                .retain(|(kind, namespace, name), _| known(kind, namespace, name));
            counts
                .events
                .retain(|[namespace, name, ..], _| known("rollout", namespace, name));
            counts
                .updates
                .retain(|[namespace, name, _], _| known("rollout", namespace, name));
            counts
                .requests
                .retain(|(_, namespace, name, ..), _| name.is_empty() || known("rollout", namespace, name));
        });
    }

    /// One step of a job was decided in this time.
    pub(crate) fn step(&self, took: Duration) {
        self.with(|counts| counts.steps.observe(PLAN, took.as_secs_f64()));
    }

    /// A watch broke or a list failed.
    pub(crate) fn watch_restarted(&self, kind: Kind) {
        self.with(|counts| *counts.watch_restarts.entry(kind).or_default() += 1);
    }

    /// The whole page; `broken` are the kinds that cannot be watched.
    pub(crate) fn page(
        &self,
        controller: &Controller,
        leads: bool,
        depth: [usize; 3],
        broken: &[Kind],
    ) -> String {
        let mut page = Page::default();
        objects::write(&mut page, controller);
        self.with(|counts| counts.write(&mut page));
        page.head("argo_rollouts_controller_info", "gauge", "Running controller");
        page.sample(
            "argo_rollouts_controller_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        );
        page.head("tidegate_leader", "gauge", "Whether this process may act");
        page.sample("tidegate_leader", &[], f64::from(u8::from(leads)));
        page.head("tidegate_queue_depth", "gauge", "Objects that are due for a look");
        for (queue, depth) in ["rollouts", "analysis_runs", "deliveries"].into_iter().zip(depth) {
            page.sample("tidegate_queue_depth", &[("queue", queue)], depth as f64);
        }
        page.head("tidegate_cached_objects", "gauge", "Objects that are known");
        for (kind, size) in controller.sizes() {
            page.sample("tidegate_cached_objects", &[("kind", &kind.name())], size as f64);
        }
        page.head(
            "tidegate_watch_broken",
            "gauge",
            "Kinds that cannot be listed or watched, as after a right was taken away",
        );
        for kind in broken {
            page.sample("tidegate_watch_broken", &[("kind", &kind.name())], 1.0);
        }
        page.0
    }
}

impl Counts {
    fn write(&self, page: &mut Page) {
        self.write_looks(page);
        self.write_events(page);
        self.write_updates(page);
        self.write_requests(page);
        self.write_own(page);
    }

    /// How long looks took and how many failed, by what was looked at.
    fn write_looks(&self, page: &mut Page) {
        for (kind, name, help) in [
            (
                "rollout",
                "rollout_reconcile",
                "Rollout reconciliation performance.",
            ),
            (
                "analysis_run",
                "analysis_run_reconcile",
                "Analysis Run reconciliation performance.",
            ),
        ] {
            page.head(name, "histogram", help);
            for ((of, namespace, object), histogram) in &self.reconciles {
                if *of == kind {
                    page.histogram(
                        name,
                        &[("namespace", namespace), ("name", object)],
                        RECONCILE,
                        histogram,
                    );
                }
            }
            let errors = format!("{kind}_reconcile_error");
            page.head(&errors, "counter", "Error occurring during the reconciliation");
            for ((of, namespace, object), count) in &self.errors {
                if *of == kind {
                    page.sample(
                        &errors,
                        &[("namespace", namespace), ("name", object)],
                        *count as f64,
                    );
                }
            }
        }
    }

    fn write_events(&self, page: &mut Page) {
        page.head(
            "rollout_events_total",
            "counter",
            "The total number of events of a Rollout",
        );
        for ([namespace, name, kind, reason], count) in &self.events {
            let labels = [
                ("namespace", namespace.as_str()),
                ("name", name),
                ("type", kind),
                ("reason", reason),
            ];
            page.sample("rollout_events_total", &labels, *count as f64);
        }
    }

    fn write_updates(&self, page: &mut Page) {
        for (metric, help, part) in UPDATES {
            page.head(metric, "histogram", help);
            for ([namespace, name, status], update) in &self.updates {
                let labels = [
                    ("namespace", namespace.as_str()),
                    ("name", name),
                    ("status", status),
                ];
                page.histogram(metric, &labels, UPDATE, part(update));
            }
        }
    }

    fn write_requests(&self, page: &mut Page) {
        let requests = "controller_clientset_k8s_request_total";
        page.head(
            requests,
            "counter",
            "Number of kubernetes requests executed during application reconciliation.",
        );
        for ((kind, namespace, name, verb, code), count) in &self.requests {
            let code = code.to_string();
            let labels = [
                ("kind", *kind),
                ("namespace", namespace),
                ("name", name),
                ("verb", verb),
                ("status_code", &code),
            ];
            page.sample(requests, &labels, *count as f64);
        }
    }

    /// What upstream does not count.
    fn write_own(&self, page: &mut Page) {
        page.head("tidegate_writes_total", "counter", "Writes by result");
        for ((resource, verb, result), count) in &self.writes {
            let labels = [("resource", *resource), ("verb", verb), ("result", result)];
            page.sample("tidegate_writes_total", &labels, *count as f64);
        }
        let steps = "tidegate_step_duration_seconds";
        page.head(
            steps,
            "histogram",
            "Time to decide what to do next, plans included",
        );
        page.histogram(steps, &[], PLAN, &self.steps);
        page.head(
            "tidegate_watch_restarts_total",
            "counter",
            "Watches that broke and lists that failed",
        );
        for (kind, count) in &self.watch_restarts {
            page.sample(
                "tidegate_watch_restarts_total",
                &[("kind", &kind.name())],
                *count as f64,
            );
        }
    }
}

/// The text format.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    character => self.0.push(character),
                }
            }
            self.0.push('"');
        }
        _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], bounds: &[f64], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in bounds.iter().zip(&histogram.buckets) {
            let bound = bound.to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&bucket, &labels, *count as f64);
        }
        let labels_inf: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&bucket, &labels_inf, histogram.count as f64);
        self.sample(&format!("{name}_sum"), labels, histogram.sum);
        self.sample(&format!("{name}_count"), labels, histogram.count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;
    use crate::request::Verb;

    #[test]
    fn the_text_format() {
        let mut page = Page::default();
        page.head("a", "gauge", "Help");
        page.sample("a", &[], 1.0);
        page.sample("a", &[("x", "q\"b\\n\n"), ("y", "z")], 0.5);
        assert_eq!(
            page.0,
            "# HELP a Help\n# TYPE a gauge\na 1\na{x=\"q\\\"b\\\\n\\n\",y=\"z\"} 0.5\n"
        );
    }

    /// Contract 1.12, F172: once, when the status that ends the update is written.
    #[test]
    fn updates_are_timed() {
        let metrics = Metrics::default();
        let duration = serde_json::json!({
            "rolloutStartedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:10:00Z",
            "totalManualPauseDurationSeconds": 240,
            "completionStatus": "Promoted",
        });
        let write = |status| {
            let body = serde_json::json!({"status": status});
            Request::new(Verb::MergePatch, &ROLLOUTS, "shop", "web", body).on("status")
        };
        let object = serde_json::json!({"status": {"duration": duration}});
        metrics.written(&write(serde_json::json!({"phase": "Healthy"})), &object);
        let ends = serde_json::json!({"duration": {"finishedAt": "2026-01-01T00:10:00Z"}});
        metrics.written(&write(ends), &object);
        let controller = Controller::new(crate::options::Options::default(), jiff::Timestamp::UNIX_EPOCH);
        let page = metrics.page(&controller, true, [0, 0, 0], &[]);
        let labels = "namespace=\"shop\",name=\"web\",status=\"Promoted\"";
        for line in [
            format!("rollout_duration_seconds_sum{{{labels}}} 600"),
            format!("rollout_duration_seconds_count{{{labels}}} 1"),
            format!("rollout_progression_duration_seconds_sum{{{labels}}} 360"),
            format!("rollout_manual_pause_duration_seconds_bucket{{{labels},le=\"300\"}} 1"),
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is missing in\n{page}"
            );
        }
    }

    #[test]
    fn counters_have_upstreams_names() {
        let metrics = Metrics::default();
        let key = Key::Rollout(ObjectKey::new("shop", "web"));
        metrics.job(&key, Duration::from_millis(200), &Outcome::Done);
        metrics.job(
            &key,
            Duration::from_secs(2),
            &Outcome::Failed(Failure::no_answer("x")),
        );
        let controller = Controller::new(crate::options::Options::default(), jiff::Timestamp::UNIX_EPOCH);
        let page = metrics.page(&controller, true, [1, 2, 0], &[Kind::Service]);
        for line in [
            "rollout_reconcile_bucket{namespace=\"shop\",name=\"web\",le=\"0.15\"} 0",
            "rollout_reconcile_bucket{namespace=\"shop\",name=\"web\",le=\"0.25\"} 1",
            "rollout_reconcile_bucket{namespace=\"shop\",name=\"web\",le=\"+Inf\"} 2",
            "rollout_reconcile_count{namespace=\"shop\",name=\"web\"} 2",
            "rollout_reconcile_error{namespace=\"shop\",name=\"web\"} 1",
            "tidegate_leader 1",
            "tidegate_queue_depth{queue=\"analysis_runs\"} 2",
            "tidegate_watch_broken{kind=\"Service\"} 1",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is missing in\n{page}"
            );
        }
        metrics.forget(|_, _, _| false);
        assert!(
            !metrics
                .page(&controller, true, [0, 0, 0], &[])
                .contains("name=\"web\"")
        );
    }
}
