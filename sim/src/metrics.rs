//! The metrics source: counters of the requests that the data plane sent, scraped like Prometheus does, and asked
//! through Prometheus' own HTTP API.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::dataplane::DataPlane;
use crate::promql::{self, NAME};

/// Labels of a series, the name included as `__name__`.
pub type Labels = BTreeMap<String, String>;

/// All series with their samples, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: Vec<VecDeque<Sample>>,
    /// Where the samples are, in the order of every answer. Who scrapes each second keeps the place instead.
    places: BTreeMap<Labels, usize>,
}

impl Series {
    /// The samples of a series.
    pub fn get(&self, labels: &Labels) -> Option<&VecDeque<Sample>> {
        self.samples.get(*self.places.get(labels)?)
    }

    /// All that have samples, by their labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &VecDeque<Sample>)> {
        let all = self.places.iter();
        all.filter_map(|(labels, place)| Some((labels, self.samples.get(*place).filter(|s| !s.is_empty())?)))
    }

    fn place(&mut self, labels: Labels) -> usize {
        let samples = &mut self.samples;
        *self.places.entry(labels).or_insert_with(|| {
            samples.push(VecDeque::new());
            samples.len() - 1
        })
    }

    fn push(&mut self, place: usize, sample: Sample) {
        if let Some(samples) = self.samples.get_mut(place) {
            samples.push_back(sample);
        }
    }

    fn forget_before(&mut self, at_ms: i64) {
        for samples in &mut self.samples {
            while samples.front().is_some_and(|s| s.at_ms < at_ms) {
                samples.pop_front();
            }
        }
    }
}

impl FromIterator<(Labels, VecDeque<Sample>)> for Series {
    fn from_iter<T: IntoIterator<Item = (Labels, VecDeque<Sample>)>>(all: T) -> Self {
        let mut series = Self::default();
        for (labels, samples) in all {
            let place = series.place(labels);
            if let Some(kept) = series.samples.get_mut(place) {
                *kept = samples;
            }
        }
        series
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

/// What may be wrong with the source (fault 14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceFault {
    /// Nobody answers: the connection is refused.
    Down,
    /// It answers, this many milliseconds later.
    Slow(u32),
    /// Every number is `NaN`.
    Nan,
    /// Every vector is empty.
    Empty,
    /// It answers with this status.
    Status(u16),
}

/// An answer of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status; `None` when nobody answers.
    pub status: Option<u16>,
    /// Body.
    pub body: String,
    /// How long it takes.
    pub delay: SignedDuration,
}

/// How long samples are kept.
const RETENTION_MS: i64 = 15 * 60 * 1000;

/// The metrics source.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    series: Series,
    gauges: BTreeMap<Labels, f64>,
    pages: BTreeMap<String, (u16, String)>,
    /// The places of the data plane's counters, by their numbers.
    counters: Vec<Option<usize>>,
    /// What is wrong with it now.
    pub fault: Option<SourceFault>,
    /// How many queries it got.
    pub queries: u64,
}

/// Labels from pairs.
pub fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().filter(|(_, v)| !v.is_empty());
    std::iter::once((NAME, name))
        .chain(pairs.copied())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

impl Metrics {
    /// Sets a series that every later scrape samples.
    pub fn set(&mut self, labels: Labels, value: f64) {
        self.gauges.insert(labels, value);
    }

    /// Takes one sample of each gauge and of each of these.
    pub fn scrape(&mut self, now: Timestamp, counters: impl IntoIterator<Item = (Labels, f64)>) {
        let at_ms = now.as_millisecond();
        for (labels, value) in counters {
            let place = self.series.place(labels);
            self.series.push(place, Sample { at_ms, value });
        }
        for (labels, value) in &self.gauges {
            let place = self.series.place(labels.clone());
            self.series.push(place, Sample { at_ms, value: *value });
        }
        self.series.forget_before(at_ms - RETENTION_MS);
    }

    /// Takes one sample of each gauge and of each counter of the data plane.
    pub fn scrape_data_plane(&mut self, now: Timestamp, plane: &DataPlane) {
        let at_ms = now.as_millisecond();
        let Self { series, counters, .. } = self;
        plane.count(|number, labels, value| {
            if counters.len() <= number {
                counters.resize(number + 1, None);
            }
            let Some(counter) = counters.get_mut(number) else {
                return;
            };
            let place = *counter.get_or_insert_with(|| series.place(labels()));
            series.push(place, Sample { at_ms, value });
        });
        self.scrape(now, []);
    }

    /// All series.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Answers a request to `/api/v1/query` or `/api/v1/query_range`.
    pub fn http(&mut self, path: &str, parameters: &BTreeMap<String, String>, now: Timestamp) -> Answer {
        self.queries += 1;
        let (status, body) = self.api(path, parameters, now);
        self.answered(status, body)
    }

    /// Puts a page of any other server at an address, for web metrics.
    pub fn set_page(&mut self, url: &str, status: u16, body: &str) {
        self.pages.insert(url.to_owned(), (status, body.to_owned()));
    }

    /// Answers a request to an address of any other server.
    pub fn page(&mut self, url: &str) -> Answer {
        self.queries += 1;
        let page = self.pages.get(url).cloned();
        let (status, body) = page.unwrap_or_else(|| (404, "404 page not found\n".to_owned()));
        self.answered(status, body)
    }

    /// An answer, with what is wrong with the source.
    fn answered(&self, status: u16, body: String) -> Answer {
        let at_once = Answer {
            status: Some(status),
            body,
            delay: SignedDuration::from_millis(5),
        };
        match &self.fault {
            Some(SourceFault::Down) => Answer {
                status: None,
                body: "connection refused".to_owned(),
                ..at_once
            },
            Some(SourceFault::Status(status)) => Answer {
                status: Some(*status),
                body: "upstream request failed".to_owned(),
                ..at_once
            },
            Some(SourceFault::Slow(ms)) => Answer {
                delay: SignedDuration::from_millis(i64::from(*ms)),
                ..at_once
            },
            Some(SourceFault::Nan | SourceFault::Empty) | None => at_once,
        }
    }

    fn api(&self, path: &str, parameters: &BTreeMap<String, String>, now: Timestamp) -> (u16, String) {
        let query = parameters.get("query").map_or("", String::as_str);
        let time = |name: &str| parameters.get(name).and_then(|t| milliseconds(t));
        let answer = match path.rsplit_once("/api/v1/").map(|(_, last)| last) {
            Some("query") => {
                promql::answer(query, &self.series, time("time").unwrap_or(now.as_millisecond()))
            }
            Some("query_range") => {
                let step = parameters
                    .get("step")
                    .and_then(|s| s.trim_end_matches('s').parse::<f64>().ok());
                promql::answer_range(
                    query,
                    &self.series,
                    time("start").unwrap_or_default(),
                    time("end").unwrap_or(-1),
                    (step.unwrap_or_default() * 1000.0) as i64,
                )
            }
            _ => return (404, "404 page not found\n".to_owned()),
        };
        match answer {
            Ok(mut answer) => {
                self.spoil(&mut answer["data"]["result"]);
                (200, answer.to_string())
            }
            Err(e) => {
                let kind = if matches!(e, promql::PromqlError::Evaluation(_)) {
                    "execution"
                } else {
                    "bad_data"
                };
                let status = if kind == "execution" { 422 } else { 400 };
                let body = serde_json::json!({"status": "error", "errorType": kind, "error": e.to_string()});
                (status, body.to_string())
            }
        }
    }

    fn spoil(&self, result: &mut serde_json::Value) {
        let Some(rows) = result.as_array_mut() else { return };
        match self.fault {
            Some(SourceFault::Empty) if rows.first().is_none_or(serde_json::Value::is_object) => rows.clear(),
            Some(SourceFault::Nan) => {
                for row in rows {
                    if let Some(value) = row.get_mut("value").and_then(|v| v.get_mut(1)) {
                        *value = "NaN".into();
                    } else if row.is_string() {
                        *row = "NaN".into();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Seconds with a fraction, or RFC 3339, to milliseconds.
fn milliseconds(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.abs() < 1e11 => Some((seconds * 1000.0).round() as i64),
        _ => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EPOCH;

    fn ask(metrics: &mut Metrics, path: &str, query: &str) -> (Option<u16>, String) {
        let parameters = BTreeMap::from([("query".to_owned(), query.to_owned())]);
        let answer = metrics.http(path, &parameters, EPOCH + SignedDuration::from_secs(60));
        (answer.status, answer.body)
    }

    fn source() -> Metrics {
        let mut metrics = Metrics::default();
        metrics.set(labels("up", &[("pod", "a")]), 1.0);
        for second in 0..=60 {
            let count = (labels("requests_total", &[]), f64::from(second) * 2.0);
            metrics.scrape(EPOCH + SignedDuration::from_secs(i64::from(second)), [count]);
        }
        metrics
    }

    #[test]
    fn it_answers_like_prometheus() {
        let mut metrics = source();
        let (status, body) = ask(
            &mut metrics,
            "http://prom/api/v1/query",
            "sum(requests_total) / 60",
        );
        let want = r#"{"data":{"result":[{"metric":{},"value":[1767225660.0,"2"]}],"resultType":"vector"},"status":"success"}"#;
        assert_eq!((status, body.as_str()), (Some(200), want));
        assert_eq!(ask(&mut metrics, "http://prom/api/v1/query", "sum(").0, Some(400));
        assert_eq!(
            ask(&mut metrics, "http://prom/api/v1/query", "up[1m]").0,
            Some(422)
        );
        assert_eq!(ask(&mut metrics, "http://prom/graph", "up").0, Some(404));
        assert_eq!(metrics.queries, 4);
    }

    #[test]
    fn its_faults_show() {
        let mut metrics = source();
        let mut with = |fault, query: &str| {
            metrics.fault = Some(fault);
            ask(&mut metrics, "/api/v1/query", query)
        };
        assert_eq!(with(SourceFault::Down, "up").0, None);
        assert_eq!(with(SourceFault::Status(503), "up").0, Some(503));
        assert!(with(SourceFault::Empty, "up").1.contains(r#""result":[]"#));
        assert!(
            with(SourceFault::Nan, "up")
                .1
                .contains(r#""value":[1767225660.0,"NaN"]"#)
        );
        assert!(
            with(SourceFault::Nan, "scalar(vector(1))")
                .1
                .contains(r#""result":[1767225660.0,"NaN"]"#)
        );
        assert!(
            with(SourceFault::Slow(7), "up")
                .1
                .contains(r#""value":[1767225660.0,"1"]"#)
        );
    }

    #[test]
    fn pages_are_answered_as_they_were_set() {
        let mut metrics = Metrics::default();
        metrics.set_page("http://metrics/half", 200, "0.5");
        let page = metrics.page("http://metrics/half");
        assert_eq!((page.status, page.body.as_str()), (Some(200), "0.5"));
        assert_eq!(metrics.page("http://metrics/other").status, Some(404));
        metrics.fault = Some(SourceFault::Down);
        assert_eq!(metrics.page("http://metrics/half").status, None);
    }

    #[test]
    fn old_samples_go() {
        let mut metrics = source();
        metrics.scrape(EPOCH + SignedDuration::from_mins(16), []);
        let oldest = metrics
            .series()
            .get(&labels("requests_total", &[]))
            .and_then(|s| s.front())
            .map(|s| s.at_ms);
        assert_eq!(
            oldest,
            Some((EPOCH + SignedDuration::from_secs(60)).as_millisecond())
        );
    }
}
