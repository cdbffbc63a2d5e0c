//! A metrics source whose answers a test chooses, and which notes when it gave them.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use clap::Args;
use serde::Deserialize;
use tidegate_e2e::SourceAnswer;
use tokio::net::TcpListener;

use super::terminated;

/// More answers than this are not noted.
const MOST_ANSWERS: usize = 10_000;

/// Where it listens.
#[derive(Args)]
pub(crate) struct Source {
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

struct Inner {
    /// What `/admin` set last, for the notes.
    value: String,
    body: String,
    answers: Vec<SourceAnswer>,
}

type Shared = Arc<Mutex<Inner>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// A vector of one sample with this value
    value: Option<String>,
    /// These bytes, whatever they are
    body: Option<String>,
    /// A vector of one sample with a label of this length
    bytes: Option<usize>,
}

pub(crate) async fn run(source: Source) -> anyhow::Result<()> {
    let shared = Arc::new(Mutex::new(Inner {
        value: "1".to_owned(),
        body: vector("1", ""),
        answers: Vec::new(),
    }));
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/admin", any(admin))
        .route("/answers", get(answers))
        .fallback(answer)
        .with_state(shared);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, source.port)).await?;
    tokio::select! {
        served = axum::serve(listener, router).into_future() => Ok(served?),
        () = terminated() => Ok(()),
    }
}

async fn answer(State(shared): State<Shared>) -> Response {
    let mut inner = lock(&shared);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if inner.answers.len() < MOST_ANSWERS {
        let value = inner.value.clone();
        inner.answers.push(SourceAnswer {
            value,
            micros: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        });
    }
    ([(header::CONTENT_TYPE, "application/json")], inner.body.clone()).into_response()
}

async fn admin(State(shared): State<Shared>, Query(change): Query<Change>) -> &'static str {
    let mut inner = lock(&shared);
    if let Some(value) = change.value {
        inner.body = vector(&value, "");
        inner.value = value;
    } else if let Some(body) = change.body {
        inner.body = body;
        "body".clone_into(&mut inner.value);
    } else if let Some(bytes) = change.bytes {
        inner.body = vector("1", &"x".repeat(bytes.min(1 << 28)));
        "bytes".clone_into(&mut inner.value);
    }
    inner.answers.clear();
    "ok\n"
}

async fn answers(State(shared): State<Shared>) -> Json<Vec<SourceAnswer>> {
    Json(lock(&shared).answers.clone())
}

/// What Prometheus answers to an instant query.
fn vector(value: &str, label: &str) -> String {
    serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"label": label}, "value": [1.0, value]},
    ]}})
    .to_string()
}

fn lock(shared: &Shared) -> MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
