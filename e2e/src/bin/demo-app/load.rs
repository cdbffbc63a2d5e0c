//! The load: requests at a constant rate, whether or not the earlier ones were answered, counted by what came back.
//!
//! `/report` is the window so far; `/report?reset=1` ends it, waits until its last request is answered, and starts the next
//! one, so that every request is counted in exactly one window.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use clap::Args;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tidegate_e2e::{Answers, Report};
use tokio::{
    net::TcpListener,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::terminated;

/// More requests than this without an answer are not sent but counted as `overload`.
const MOST_IN_FLIGHT: u64 = 5000;
/// Longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
const MOST_SAMPLES: usize = 5;

type Http = Client<HttpConnector, Empty<&'static [u8]>>;

/// Where the requests go, and how many.
#[derive(Args)]
pub(crate) struct Load {
    /// Where to: http://ADDRESS:PORT/PATH
    #[arg(long, env = "URL")]
    url: Uri,
    /// The Host header, if it is not the address
    #[arg(long, env = "HOST_HEADER")]
    host: Option<HeaderValue>,
    /// More headers: NAME=VALUE
    #[arg(long = "header", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Requests per second
    #[arg(long, env = "RATE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// How long an answer may take
    #[arg(long, env = "TIMEOUT_MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Where /report is
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

/// The requests between two resets.
struct Window {
    start: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    ended: u64,
    answers: BTreeMap<(String, u16), u64>,
    failures: BTreeMap<String, u64>,
    samples: Vec<String>,
    slowest: Duration,
}

struct Generator {
    load: Load,
    client: Http,
    window: Mutex<Arc<Window>>,
}

#[derive(Deserialize)]
struct Asked {
    reset: Option<u8>,
}

/// The part of the app's answer that counts.
#[derive(Deserialize)]
struct Body {
    version: String,
}

pub(crate) async fn run(load: Load) -> anyhow::Result<()> {
    anyhow::ensure!(
        load.url.scheme_str() == Some("http"),
        "the URL begins with http://"
    );
    let limit = load.seconds.map_or(Duration::MAX, Duration::from_secs);
    let port = load.port;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let generator = Arc::new(Generator {
        load,
        client,
        window: Mutex::new(Window::new()),
    });

    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/report", get(report))
        .with_state(Arc::clone(&generator));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .context("cannot listen")?;
    let server = tokio::spawn(axum::serve(listener, router).into_future());

    tokio::select! {
        () = generator.send() => {}
        () = terminated() => {}
        () = async { if limit == Duration::MAX { std::future::pending().await } else { sleep(limit).await } } => {}
    }
    println!("{}", serde_json::to_string(&generator.reset().await)?);
    server.abort();
    Ok(())
}

async fn report(State(generator): State<Arc<Generator>>, Query(asked): Query<Asked>) -> Json<Report> {
    Json(if asked.reset == Some(1) {
        generator.reset().await
    } else {
        lock(&generator.window).clone().report(None)
    })
}

impl Generator {
    /// Sends requests for ever.
    async fn send(self: &Arc<Self>) {
        let mut ticks = interval(Duration::from_secs(1) / self.load.rate);
        // a late tick is made up for, so that the rate is constant on average
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            ticks.tick().await;
            let window = Arc::clone(&lock(&self.window));
            let mut counts = lock(&window.counts);
            counts.sent += 1;
            if counts.sent - counts.ended > MOST_IN_FLIGHT {
                counts.failed("overload", "too many requests without an answer");
                continue;
            }
            drop(counts);
            let generator = Arc::clone(self);
            tokio::spawn(async move {
                let limit = Duration::from_millis(generator.load.timeout_ms);
                let start = Instant::now();
                let outcome = timeout(limit, generator.ask()).await;
                let mut counts = lock(&window.counts);
                match outcome {
                    Ok(Ok((version, code))) => counts.answered(version, code, start.elapsed()),
                    Ok(Err((kind, text))) => counts.failed(kind, &text),
                    Err(_) => counts.failed("timeout", &format!("no answer within {limit:?}")),
                }
            });
        }
    }

    /// One request: the version and the status code, or the kind of failure and its text.
    async fn ask(&self) -> Result<(String, u16), (&'static str, String)> {
        let mut request = Request::get(&self.load.url);
        if let Some(host) = &self.load.host {
            request = request.header(header::HOST, host);
        }
        for (name, value) in &self.load.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| ("closed", error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { "connect" } else { "closed" };
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            (kind, format!("{error}: {cause}"))
        })?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| ("closed", error.to_string()))?.to_bytes();
        let version = serde_json::from_slice::<Body>(&body)
            .map(|body| body.version)
            .unwrap_or_default();
        Ok((version, code))
    }

    /// Ends the window and starts the next one.
    async fn reset(&self) -> Report {
        let ended = std::mem::replace(&mut *lock(&self.window), Window::new());
        let seconds = ended.start.elapsed().as_secs_f64();
        // every request ends within the time limit
        let end = Instant::now() + Duration::from_millis(self.load.timeout_ms + 500);
        while ended.in_flight() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(2)).await;
        }
        ended.report(Some(seconds))
    }
}

impl Window {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            counts: Mutex::default(),
        })
    }

    fn in_flight(&self) -> u64 {
        let counts = lock(&self.counts);
        counts.sent - counts.ended
    }

    fn report(&self, seconds: Option<f64>) -> Report {
        let counts = lock(&self.counts);
        let answers = counts.answers.iter();
        Report {
            seconds: seconds.unwrap_or_else(|| self.start.elapsed().as_secs_f64()),
            sent: counts.sent,
            answers: answers
                .map(|((version, code), count)| Answers {
                    version: version.clone(),
                    code: *code,
                    count: *count,
                })
                .collect(),
            failures: counts.failures.clone(),
            samples: counts.samples.clone(),
            slowest_ms: u64::try_from(counts.slowest.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Counts {
    fn answered(&mut self, version: String, code: u16, took: Duration) {
        self.ended += 1;
        self.slowest = self.slowest.max(took);
        if code >= 500 {
            self.sample(format!("status {code} of version {version:?}"));
        }
        *self.answers.entry((version, code)).or_default() += 1;
    }

    fn failed(&mut self, kind: &str, text: &str) {
        self.ended += 1;
        self.sample(format!("{kind}: {text}"));
        *self.failures.entry(kind.to_owned()).or_default() += 1;
    }

    fn sample(&mut self, text: String) {
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push(text);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
    Ok((
        name.parse().map_err(|_| "not a header's name")?,
        value.parse().map_err(|_| "not a header's value")?,
    ))
}
