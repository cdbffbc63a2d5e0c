//! Requests to Gitea's API, as one of its users.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer that is read.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct Api {
    client: Client<HttpConnector, String>,
    base: String,
    user: &'static str,
    token: String,
}

impl Api {
    pub(super) fn new(base: String, user: &'static str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base,
            user,
            token: String::new(),
        }
    }

    pub(super) fn with_token(&self, token: String) -> Self {
        Self {
            token,
            ..self.clone()
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.read(path).await
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.find(path).await?;
        let text = text.with_context(|| format!("{} finds nothing at {path}", self.user))?;
        serde_json::from_str(&text).with_context(|| format!("the answer to {path}"))
    }

    /// The text at a path; `None` if there is nothing.
    pub(super) async fn find(&self, path: &str) -> Result<Option<String>> {
        match self.ask(Method::GET, path, None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, text) if status.is_success() => Ok(Some(text)),
            (status, text) => bail!("GET {path} as {}: {status}: {text}", self.user),
        }
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.change(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.change(Method::PUT, path, body).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.change(Method::PATCH, path, body).await
    }

    async fn change(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let what = format!("{method} {path} as {}", self.user);
        let (status, text) = self.ask(method, path, Some(body)).await?;
        if !status.is_success() {
            bail!("{what}: {status}: {text}");
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("the answer to {what}"))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, String)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("token {}", self.token))
            .body(body.map(Value::to_string).unwrap_or_default())?;
        let answered = async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER);
            let bytes = body
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("the answer breaks off: {error}"))?;
            anyhow::Ok((status, String::from_utf8(bytes.to_bytes().to_vec())?))
        };
        timeout(LIMIT, answered)
            .await
            .with_context(|| format!("no answer to {path}"))?
            .with_context(|| format!("no answer to {path}"))
    }
}
