//! The web service: `/` answers with its version, `/healthz` is for probes, `/metrics` for Prometheus, and `/admin` changes at
//! run time how it behaves.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use super::terminated;

/// Requests that are in flight after the drain delay get this long.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// How the service starts; every value is an environment variable as well.
#[derive(Args)]
pub(crate) struct App {
    /// What it says that it is
    #[arg(long, env = "VERSION", default_value = "v1")]
    version: String,
    /// The pod it says that it is in
    #[arg(long, env = "POD_NAME", default_value = "")]
    pod: String,
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Share of requests that are answered with status 500, from 0 to 1
    #[arg(long, env = "ERROR_RATE", default_value_t = 0.0, value_parser = share)]
    error_rate: f64,
    /// How long every answer takes at least
    #[arg(long, env = "LATENCY_MS", default_value_t = 0)]
    latency_ms: u64,
    /// How long it takes to start: until then nothing listens
    #[arg(long, env = "START_DELAY_MS", default_value_t = 0)]
    start_delay_ms: u64,
    /// How long it goes on serving after SIGTERM, until every router has learned that it goes
    #[arg(long, env = "DRAIN_MS", default_value_t = 10_000)]
    drain_ms: u64,
    /// Start without being ready, until /admin?ready=true
    #[arg(long, env = "UNREADY")]
    unready: bool,
}

/// What `/admin` shows.
#[derive(Clone, Serialize)]
struct Behaviour {
    error_rate: f64,
    latency_ms: u64,
    ready: bool,
}

/// What `/admin` changes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    error_rate: Option<f64>,
    latency_ms: Option<u64>,
    ready: Option<bool>,
}

struct Service {
    version: String,
    pod: String,
    state: Mutex<Inner>,
}

struct Inner {
    behaviour: Behaviour,
    draining: bool,
    /// Errors that are due: grows by the error rate with each request, so that shares are exact.
    due: f64,
    /// Answers by status code.
    answers: BTreeMap<u16, u64>,
    /// Answers within each bucket's bound, and all of them.
    within: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

pub(crate) async fn run(app: App) -> anyhow::Result<()> {
    // the first process of a container is not ended by SIGTERM unless it asks to be
    let terminated = terminated();
    tokio::pin!(terminated);
    tokio::select! {
        () = sleep(Duration::from_millis(app.start_delay_ms)) => {}
        () = &mut terminated => return Ok(()),
    }
    let behaviour = Behaviour {
        error_rate: app.error_rate,
        latency_ms: app.latency_ms,
        ready: !app.unready,
    };
    let service = Arc::new(Service {
        version: app.version,
        pod: app.pod,
        state: Mutex::new(Inner::new(behaviour)),
    });
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/admin", any(admin))
        .fallback(answer)
        .with_state(Arc::clone(&service));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, app.port)).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        stopped.await.ok();
    });
    let server = tokio::spawn(server.into_future());
    terminated.await;
    service.lock().draining = true;
    sleep(Duration::from_millis(app.drain_ms)).await;
    stop.send(()).ok();
    // who still has a request then has had its time
    if let Ok(served) = timeout(LAST_REQUESTS, server).await {
        served??;
    }
    Ok(())
}

async fn answer(State(service): State<Arc<Service>>) -> Response {
    let start = Instant::now();
    let (latency, fails, draining) = service.lock().begin();
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let code = if fails {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    service.lock().end(code, start.elapsed());
    let mut response = (
        code,
        Json(json!({"version": service.version, "pod": service.pod})),
    )
        .into_response();
    if draining {
        // the client's next request goes to another pod
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn healthz(State(service): State<Arc<Service>>) -> StatusCode {
    let inner = service.lock();
    if inner.behaviour.ready && !inner.draining {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn admin(State(service): State<Arc<Service>>, Query(change): Query<Change>) -> Response {
    if change.error_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return (StatusCode::BAD_REQUEST, "error_rate is from 0 to 1\n").into_response();
    }
    let mut inner = service.lock();
    let behaviour = &mut inner.behaviour;
    behaviour.error_rate = change.error_rate.unwrap_or(behaviour.error_rate);
    behaviour.latency_ms = change.latency_ms.unwrap_or(behaviour.latency_ms);
    behaviour.ready = change.ready.unwrap_or(behaviour.ready);
    Json(behaviour.clone()).into_response()
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let text = service.lock().metrics(&service.version);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new(behaviour: Behaviour) -> Self {
        // both codes are there from the start, or the first rate of a new one would be missing
        let answers = BTreeMap::from([(200, 0), (500, 0)]);
        Self {
            behaviour,
            draining: false,
            due: 0.0,
            answers,
            within: [0; BUCKETS.len()],
            count: 0,
            seconds: 0.0,
        }
    }

    /// A request has come: how long it shall take, whether it shall fail, and whether the service is going.
    fn begin(&mut self) -> (Duration, bool, bool) {
        self.due += self.behaviour.error_rate;
        // sums of a share like 0.1 stay a little below the whole number
        let fails = self.due >= 1.0 - 1e-9;
        if fails {
            self.due -= 1.0;
        }
        (
            Duration::from_millis(self.behaviour.latency_ms),
            fails,
            self.draining,
        )
    }

    fn end(&mut self, code: StatusCode, took: Duration) {
        let seconds = took.as_secs_f64();
        *self.answers.entry(code.as_u16()).or_default() += 1;
        for (bound, within) in BUCKETS.iter().zip(&mut self.within) {
            *within += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.seconds += seconds;
    }

    /// The Prometheus text format.
    fn metrics(&self, version: &str) -> String {
        let version = version
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let mut text = "# TYPE http_requests_total counter\n".to_owned();
        for (code, count) in &self.answers {
            // writing to a string cannot fail
            writeln!(
                text,
                "http_requests_total{{version=\"{version}\",code=\"{code}\"}} {count}"
            )
            .ok();
        }
        let name = "http_request_duration_seconds";
        writeln!(text, "# TYPE {name} histogram").ok();
        for (bound, within) in BUCKETS.iter().zip(&self.within) {
            writeln!(
                text,
                "{name}_bucket{{version=\"{version}\",le=\"{bound}\"}} {within}"
            )
            .ok();
        }
        writeln!(
            text,
            "{name}_bucket{{version=\"{version}\",le=\"+Inf\"}} {}",
            self.count
        )
        .ok();
        writeln!(text, "{name}_sum{{version=\"{version}\"}} {}", self.seconds).ok();
        writeln!(text, "{name}_count{{version=\"{version}\"}} {}", self.count).ok();
        text
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse::<f64>()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(error_rate: f64) -> Inner {
        Inner::new(Behaviour {
            error_rate,
            latency_ms: 0,
            ready: true,
        })
    }

    #[test]
    fn error_rates_are_exact() {
        for (rate, failures) in [(0.0, 0), (0.1, 100), (0.25, 250), (0.333, 333), (1.0, 1000)] {
            let mut inner = service(rate);
            assert_eq!((0..1000).filter(|_| inner.begin().1).count(), failures, "{rate}");
        }
    }

    #[test]
    fn metrics_in_the_text_format() {
        let mut inner = service(0.0);
        inner.end(StatusCode::OK, Duration::from_millis(7));
        inner.end(StatusCode::INTERNAL_SERVER_ERROR, Duration::from_secs(3));
        let expected = r#"# TYPE http_requests_total counter
http_requests_total{version="v\"1",code="200"} 1
http_requests_total{version="v\"1",code="500"} 1
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{version="v\"1",le="0.005"} 0
http_request_duration_seconds_bucket{version="v\"1",le="0.01"} 1
http_request_duration_seconds_bucket{version="v\"1",le="0.025"} 1
http_request_duration_seconds_bucket{version="v\"1",le="0.05"} 1
http_request_duration_seconds_bucket{version="v\"1",le="0.1"} 1
http_request_duration_seconds_bucket{version="v\"1",le="0.25"} 1
http_request_duration_seconds_bucket{version="v\"1",le="0.5"} 1
http_request_duration_seconds_bucket{version="v\"1",le="1"} 1
http_request_duration_seconds_bucket{version="v\"1",le="2.5"} 1
http_request_duration_seconds_bucket{version="v\"1",le="+Inf"} 2
http_request_duration_seconds_sum{version="v\"1"} 3.007
http_request_duration_seconds_count{version="v\"1"} 2
"#;
        assert_eq!(inner.metrics("v\"1"), expected);
    }
}
