//! Requests to forges: time and size limits, no redirects, errors without credentials.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_gitsync::remote::{Credentials, Forge, ForgeKind, RemoteError};
use url::Url;

use crate::{SetupError, trouble};

/// Most bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;
/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to get a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries on a page, where there is a choice.
pub(super) const PAGE: usize = 50;
/// Most pages that are read.
pub(super) const MAX_PAGES: usize = 20;

pub(super) fn client() -> Result<Client, SetupError> {
    // Without one, building a client panics.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(SetupError::NoCryptography);
    }
    let builder = || {
        Client::builder()
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .referer(false)
            .redirect(Policy::none())
    };
    // an image may hold no certificates: then nobody is trusted, but addresses without TLS can be asked
    let client = builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build());
    client.map_err(|error| SetupError::Client(error.to_string()))
}

/// The API of a forge, with what lets us in.
pub(super) struct Api<'a> {
    client: &'a Client,
    base: Url,
    /// `OWNER/NAME`
    pub(super) repository: &'a str,
    authorization: Option<HeaderValue>,
    secret: Option<&'a str>,
}

/// One request. `right` is what the token has to be allowed.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Parts of the path, which are percent-encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Value>,
    pub(super) right: &'static str,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a [&'a str], query: &'a [(&'a str, &'a str)], right: &'static str) -> Self {
        Self {
            method: Method::GET,
            path,
            query,
            body: None,
            right,
        }
    }

    pub(super) fn send(method: Method, path: &'a [&'a str], body: Value, right: &'static str) -> Self {
        Self {
            method,
            path,
            query: &[],
            body: Some(body),
            right,
        }
    }
}

impl<'a> Api<'a> {
    /// Looks at a forge's address, repository and credentials. `scheme` is what a token without a user name
    /// goes by.
    pub(super) fn new(client: &'a Client, forge: &'a Forge, scheme: &str) -> Result<Self, RemoteError> {
        let refused = |text: String| Err(RemoteError::Refused(text));
        let base = Url::parse(&forge.api).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        let Some(base) = base else {
            return refused(
                "the forge's API address is not valid: write https://HOST/PATH, without credentials"
                    .to_owned(),
            );
        };
        let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
        let parts = forge.repository.split('/').count();
        if !(2..=20).contains(&parts) || !forge.repository.split('/').all(good) {
            let name = trouble::quote(&forge.repository);
            return refused(format!("repository {name} of the forge: write OWNER/NAME"));
        }
        let (authorization, secret) = match &forge.credentials {
            Credentials::None => (None, None),
            Credentials::Basic { username, password } => (
                // GitLab's API knows tokens only, whatever name stands beside one for git.
                Some(match forge.kind {
                    ForgeKind::GitLab => authorization(scheme, "", password)?,
                    _ => authorization(scheme, username, password)?,
                }),
                Some(password.as_str()),
            ),
            Credentials::Ssh { .. } => {
                return refused(format!("{base}: a forge needs a token, not a private key"));
            }
        };
        Ok(Self {
            client,
            base,
            repository: &forge.repository,
            authorization,
            secret: secret.filter(|secret| !secret.is_empty()),
        })
    }

    /// Owner and name of the repository, as parts of a path.
    pub(super) fn repository_parts(&self) -> Vec<&'a str> {
        self.repository.split('/').collect()
    }

    /// Asks and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, RemoteError> {
        let doing = format!(
            "{} {}/{}",
            ask.method,
            self.base.as_str().trim_end_matches('/'),
            ask.path.join("/")
        );
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(ask.path);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let mut request = self
            .client
            .request(ask.method, url)
            .headers(headers)
            .query(ask.query);
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let failed = |error: reqwest::Error| RemoteError::Unavailable(format!("{doing}: {}", cause(&error)));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let later = response.headers().contains_key(RETRY_AFTER)
            || response
                .headers()
                .get("x-ratelimit-remaining")
                .is_some_and(|left| left == "0");
        let body = read(response).await.map_err(|error| match error {
            ReadError::Failed(error) => failed(error),
            ReadError::TooMuch => {
                RemoteError::Refused(format!("{doing}: an answer of more than {MAX_ANSWER} bytes"))
            }
        })?;
        if !status.is_success() || status == StatusCode::ACCEPTED {
            return Err(self.failure(&doing, status, later, &body, ask.right));
        }
        // some answers to an order are empty
        let body = if body.is_empty() { b"null".to_vec() } else { body };
        serde_json::from_slice(&body).map_err(|error| {
            RemoteError::Unavailable(format!("{doing}: the answer is not understood: {error}"))
        })
    }

    fn failure(&self, doing: &str, status: StatusCode, later: bool, body: &[u8], right: &str) -> RemoteError {
        let said = self.words(body);
        let text = |advice: &str| format!("{doing}: {}{advice}{said}", status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED => RemoteError::Denied(text(&format!(
                ", the token is not valid; it needs the right {right}"
            ))),
            StatusCode::FORBIDDEN if !later => {
                RemoteError::Denied(text(&format!(", the token needs the right {right}")))
            }
            StatusCode::NOT_FOUND => RemoteError::NotFound(text(&format!(
                ", not there, or the token does not show it; it needs the right {right}"
            ))),
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                RemoteError::Unavailable(text(", too many requests"))
            }
            status if status.is_server_error() || status == StatusCode::ACCEPTED => {
                RemoteError::Unavailable(text(", not ready"))
            }
            status if status.is_redirection() => {
                RemoteError::Refused(text(", it redirects: name the right address"))
            }
            _ => RemoteError::Refused(text("")),
        }
    }

    /// What a forge says about its refusal.
    fn words(&self, body: &[u8]) -> String {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let found = ["/error/message", "/message", "/error"]
            .iter()
            .find_map(|pointer| value.pointer(pointer))
            .filter(|found| !found.is_null());
        let Some(found) = found else {
            return String::new();
        };
        let mut said = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        if let Some(errors) = value.get("errors").filter(|errors| errors.is_array()) {
            said = format!("{said} {errors}");
        }
        if let Some(secret) = self.secret {
            said = said.replace(secret, "***");
        }
        format!(": {}", trouble::quote(&said))
    }
}

fn authorization(scheme: &str, username: &str, password: &str) -> Result<HeaderValue, RemoteError> {
    let text = if username.is_empty() {
        format!("{scheme} {password}")
    } else {
        format!(
            "Basic {}",
            tidegate_gitsync::base64::encode(format!("{username}:{password}").as_bytes())
        )
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        RemoteError::Refused(
            "the token of the forge holds a line break or another control character".to_owned(),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) enum ReadError {
    Failed(reqwest::Error),
    TooMuch,
}

pub(crate) async fn read(mut response: Response) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Failed)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ReadError::TooMuch);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost reason: the operating system's or the TLS library's.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut last = "the request failed".to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        last = cause.to_string();
        source = cause.source();
    }
    last
}

/// What is there, or nothing.
pub(super) fn found<T>(answer: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(RemoteError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
