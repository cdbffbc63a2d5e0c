//! `POST /hook/NAMESPACE/DELIVERY`: a forge says that a repository has changed, so that nobody waits for the next look.
//!
//! It only says "look": the repository itself is asked what is new, as always. Only the leader asks, so other replicas
//! answer 503. What is lost by that, or in any other way, is found when the repository is next looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tidegate_gitsync::webhook::{Hook, HookError, verify};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::object::ObjectKey;
use crate::request::Failure;

/// Largest webhook. Forges send up to 25 MiB, for thousands of commits: then the next look finds them.
const MAX_BODY: usize = 1 << 20;
/// Requests for one Delivery in a second.
const MAX_RATE: u32 = 5;
/// Deliveries that are named in a second, whether they exist or not.
const MAX_NAMES: usize = 1000;
/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 50;
/// Longest time of a connection.
const CONNECTION: Duration = Duration::from_secs(20);
/// How long a Secret is remembered, and that there is none.
const REMEMBERED: Duration = Duration::from_secs(15);
/// Wait after a connection could not be accepted: too many files are open.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// What the listener knows and does outside of itself.
pub(crate) trait Door: Send + Sync + 'static {
    /// Why nothing can be done at the moment.
    fn closed(&self) -> Option<&'static str>;
    /// The Secret that the webhooks of a Delivery are signed with; `None` if it has none, and if there is no such Delivery.
    fn secret_of(&self, delivery: &ObjectKey) -> Option<String>;
    /// The token that a Secret holds, if it does.
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        secret: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, Failure>>;
    /// The repository of a Delivery is to be asked.
    fn pushed(&self, delivery: &ObjectKey);
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, door: Arc<dyn Door>) {
    let state = Arc::new(Listener {
        door,
        rate: Mutex::new(Rate::new(Instant::now())),
        tokens: Mutex::default(),
    });
    let router = Router::new()
        .route("/hook/{namespace}/{delivery}", post(receive))
        .with_state(state);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a webhook's connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            // one request for each connection, so that its time limits both
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            _ = tokio::time::timeout(CONNECTION, connection).await;
            drop(place);
        });
    }
}

/// Name of a Secret, what it held and when.
type Token = (String, Option<String>, Instant);

struct Listener {
    door: Arc<dyn Door>,
    rate: Mutex<Rate>,
    tokens: Mutex<BTreeMap<ObjectKey, Token>>,
}

impl Listener {
    /// The secret of a Delivery's webhooks; `None` if it has none.
    async fn secret(&self, delivery: &ObjectKey) -> Result<Option<String>, Answer> {
        let Some(name) = self.door.secret_of(delivery) else {
            return Ok(None);
        };
        let now = Instant::now();
        if let Some((of, token, _)) = self.remembered(delivery, now)
            && of == name
        {
            return Ok(token);
        }
        let token = self.door.token(&delivery.namespace, &name).await;
        let token = token.map_err(|failure| {
            tracing::warn!(%delivery, secret = name, %failure, "the Secret of the webhook cannot be read");
            Answer::Closed("the Secret of the webhook cannot be read")
        })?;
        let token = token.filter(|token| !token.is_empty());
        self.tokens().insert(delivery.clone(), (name, token.clone(), now));
        Ok(token)
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, delivery: &ObjectKey, now: Instant) -> Option<Token> {
        let mut tokens = self.tokens();
        tokens.retain(|_, (_, _, at)| now.duration_since(*at) < REMEMBERED);
        tokens.get(delivery).cloned()
    }

    async fn take(&self, delivery: &ObjectKey, headers: &HeaderMap, body: Body) -> Result<Answer, Answer> {
        if let Some(reason) = self.door.closed() {
            return Err(Answer::Closed(reason));
        }
        let admitted = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admits(delivery, Instant::now());
        if !admitted {
            return Err(Answer::TooMany);
        }
        let secret = self.secret(delivery).await?.ok_or(Answer::Unknown)?;
        let body = read(body).await?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match verify(header, &body, &secret).map_err(Answer::Denied)? {
            Hook::Push => {
                self.door.pushed(delivery);
                Ok(Answer::Taken)
            }
            Hook::Ping => Ok(Answer::Fine("pong")),
            Hook::Other => Ok(Answer::Fine("only pushes are of interest here")),
        }
    }
}

async fn receive(
    State(listener): State<Arc<Listener>>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let delivery = ObjectKey::new(namespace, name);
    let (head, body) = request.into_parts();
    let answer = listener.take(&delivery, &head.headers, body).await;
    let answer = answer.unwrap_or_else(|answer| answer);
    tracing::debug!(%delivery, ?answer, "webhook");
    answer
}

async fn read(body: Body) -> Result<Vec<u8>, Answer> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(Answer::TooLarge),
        Err(_) => Err(Answer::Broken),
    }
}

/// What a forge is told; people read it there, in its list of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The repository is being asked.
    Taken,
    /// It is right, and there is nothing to do.
    Fine(&'static str),
    /// It is not signed with the secret.
    Denied(HookError),
    /// There is no such Delivery, or it has no secret: which of the two is not for everybody to know.
    Unknown,
    TooLarge,
    TooMany,
    /// It did not arrive whole.
    Broken,
    /// Nothing can be done here at the moment.
    Closed(&'static str),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, words) = match self {
            Self::Taken => (StatusCode::ACCEPTED, "the repository is being asked".to_owned()),
            Self::Fine(words) => (StatusCode::OK, words.to_owned()),
            Self::Denied(error) => (StatusCode::UNAUTHORIZED, error.to_string()),
            Self::Unknown => (
                StatusCode::NOT_FOUND,
                "no such Delivery, or its spec.source.git.webhookSecretRef names no Secret with the key token".to_owned(),
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("more than {MAX_BODY} bytes: the next look finds what was pushed"),
            ),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                format!("more than {MAX_RATE} webhooks a second: the next look finds what was pushed"),
            ),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body ended early".to_owned()),
            Self::Closed(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned()),
        };
        let mut response = (status, words + "\n").into_response();
        if matches!(self, Self::TooMany | Self::Closed(_)) {
            let later = header::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, later);
        }
        response
    }
}

/// Counts requests, second by second, before anything is done for them.
struct Rate {
    since: Instant,
    counts: BTreeMap<ObjectKey, u32>,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            counts: BTreeMap::new(),
        }
    }

    fn admits(&mut self, delivery: &ObjectKey, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            self.counts.clear();
            self.since = now;
        }
        if self.counts.len() >= MAX_NAMES && !self.counts.contains_key(delivery) {
            return false;
        }
        let count = self.counts.entry(delivery.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= MAX_RATE
    }
}

#[cfg(test)]
mod tests;
