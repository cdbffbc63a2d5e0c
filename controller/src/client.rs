//! Requests over HTTP: one [`Request`] in, the object or a [`Failure`] out.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt, Limited};
use jiff::SignedDuration;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use tidegate_gitsync::object::FIELD_MANAGER;

use crate::metrics::Metrics;
use crate::request::{Failure, Request, Verb};

/// Largest answer that is read: a page of a list of the largest objects.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// Largest answer that tells of a failure.
const MAX_FAILURE: usize = 64 * 1024;
/// The form in which objects are read.
pub(crate) const JSON: &str = "application/json";
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// The API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    metrics: Arc<Metrics>,
}

impl Api {
    pub(crate) fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// Sends a request; no answer within `timeout` is a failure.
    pub(crate) async fn send(&self, request: &Request, timeout: Duration) -> Result<Value, Failure> {
        let answer = async {
            let response = self.respond(http_request(request)?).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(no_answer)?;
            serde_json::from_slice(&body.to_bytes()).map_err(no_answer)
        };
        let result = match tokio::time::timeout(timeout, answer).await {
            Ok(result) => result,
            Err(_) => Err(Failure::no_answer(format!("no answer within {timeout:?}"))),
        };
        self.metrics.request(request, result.as_ref().err());
        result
    }

    /// Reads a page of a list, in one of the forms that the server has, as text.
    pub(crate) async fn page(
        &self,
        path_and_query: &str,
        form: &'static str,
        timeout: Duration,
    ) -> Result<String, Failure> {
        let answer = async {
            let response = self.respond(get(path_and_query, form)?).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(no_answer)?;
            String::from_utf8(body.to_bytes().into()).map_err(no_answer)
        };
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(Failure::no_answer(format!("no answer within {timeout:?}"))))
    }

    /// Opens a watch, whose objects come in one of the forms that the server has.
    pub(crate) async fn watch(
        &self,
        path_and_query: &str,
        form: &'static str,
        timeout: Duration,
    ) -> Result<http::Response<Body>, Failure> {
        let answer = self.respond(get(path_and_query, form)?);
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or_else(|_| Err(Failure::no_answer(format!("no answer within {timeout:?}"))))
    }

    async fn respond(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Failure> {
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| Failure::no_answer(chain(&error)))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(failure(response).await)
        }
    }
}

/// An error with all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn no_answer(error: impl std::fmt::Display) -> Failure {
    Failure::no_answer(error.to_string())
}

fn get(path_and_query: &str, form: &'static str) -> Result<http::Request<Body>, Failure> {
    // Servers from 1.37 on would compress a watch event by event.
    let request = http::Request::get(path_and_query)
        .header(ACCEPT, form)
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, AGENT);
    request.body(Body::empty()).map_err(no_answer)
}

fn http_request(request: &Request) -> Result<http::Request<Body>, Failure> {
    let (method, content_type) = match request.verb {
        Verb::Create => (http::Method::POST, "application/json"),
        Verb::Replace => (http::Method::PUT, "application/json"),
        Verb::MergePatch => (http::Method::PATCH, "application/merge-patch+json"),
        Verb::JsonPatch => (http::Method::PATCH, "application/json-patch+json"),
        Verb::Apply => (http::Method::PATCH, "application/apply-patch+yaml"),
        Verb::Delete => (http::Method::DELETE, "application/json"),
        Verb::Get | Verb::List => (http::Method::GET, "application/json"),
    };
    let mut query = Vec::new();
    if !request.selector.is_empty() {
        query.push(format!("labelSelector={}", escape(&request.selector)));
    }
    if request.verb == Verb::Apply {
        query.push(format!(
            "fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict"
        ));
    }
    if request.dry_run {
        query.push("dryRun=All".to_owned());
    }
    let path = match query.join("&") {
        query if query.is_empty() => request.path(),
        query => format!("{}?{query}", request.path()),
    };
    let body = if request.body.is_null() {
        Body::empty()
    } else {
        Body::from(request.body.to_string().into_bytes())
    };
    let mut builder = http::Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, content_type)
        .header(USER_AGENT, AGENT);
    if let Some(account) = &request.service_account {
        builder = builder.header("Impersonate-User", format!("system:serviceaccount:{account}"));
    }
    builder.body(body).map_err(no_answer)
}

/// Percent-encodes a value of a query.
pub(crate) fn escape(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    value
        .bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// What a `Status` object says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: Option<i64>,
}

async fn failure(response: http::Response<Body>) -> Failure {
    let code = response.status().as_u16();
    let header = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    let body = Limited::new(response.into_body(), MAX_FAILURE).collect().await;
    let text = body
        .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
        .unwrap_or_default();
    let status: Status = serde_json::from_str(&text).unwrap_or_default();
    let seconds = header.or(status.details.and_then(|details| details.retry_after_seconds));
    Failure {
        code,
        reason: status.reason.unwrap_or_default(),
        message: status
            .message
            .unwrap_or_else(|| text.trim().chars().take(300).collect()),
        retry_after: seconds
            .filter(|seconds| *seconds > 0)
            .map(SignedDuration::from_secs),
    }
}
