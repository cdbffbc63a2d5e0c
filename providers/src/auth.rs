//! Logging in: name and password, OAuth 2 client credentials.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tidegate_analysis::Trouble;
use tidegate_crds::{Authentication, BasicAuthConfig, OAuth2Config};

use crate::{
    Failure,
    http::{Answered, Http, address},
};

/// Most tokens kept.
const MAX_TOKENS: usize = 256;
/// A token is not used any more this long before it expires.
const EARLY: Duration = Duration::from_secs(10);
/// How long a token is used that does not say when it expires.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);
/// Longest time that a token is used, whatever it says.
const MAX_LIFE: Duration = Duration::from_hours(1);
/// Time to get a token.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tokens of OAuth 2, by a digest of all that they depend on.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<BTreeMap<[u8; 32], Token>>);

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

/// How a request logs in.
pub(crate) struct Login<'a> {
    pub(crate) authentication: Option<&'a Authentication>,
    pub(crate) insecure: bool,
}

impl Tokens {
    /// Adds what the metric's authentication asks for to a request.
    pub(crate) async fn log_in(
        &self,
        http: &Http,
        request: RequestBuilder,
        login: &Login<'_>,
    ) -> Result<RequestBuilder, Failure> {
        let Some(Authentication {
            sigv4,
            oauth2,
            basic_auth,
        }) = login.authentication
        else {
            return Ok(request);
        };
        let configuration = |message: &str| Err(Failure::new(Trouble::Configuration, message));
        if given(sigv4.as_ref()).is_some() {
            return configuration(
                "authentication.sigv4 is not supported: use basicAuth or oauth2, or a proxy that signs requests",
            );
        }
        match (given(basic_auth.as_ref()), given(oauth2.as_ref())) {
            (None, None) => Ok(request),
            (Some(BasicAuthConfig { username, password }), None) => Ok(request.basic_auth(
                username.as_deref().unwrap_or_default(),
                password.as_deref().or(Some("")),
            )),
            (None, Some(oauth2)) => {
                Ok(request.header(AUTHORIZATION, self.token(http, oauth2, login.insecure).await?))
            }
            (Some(_), Some(_)) => configuration("authentication has both basicAuth and oauth2: keep one"),
        }
    }

    /// Forgets the token of this login, because a server did not accept it.
    pub(crate) fn forget(&self, login: &Login<'_>) {
        if let Some(oauth2) = login
            .authentication
            .and_then(|authentication| authentication.oauth2.as_ref())
        {
            self.lock().remove(&digest(oauth2, login.insecure));
        }
    }

    async fn token(
        &self,
        http: &Http,
        oauth2: &OAuth2Config,
        insecure: bool,
    ) -> Result<HeaderValue, Failure> {
        let key = digest(oauth2, insecure);
        let now = Instant::now();
        if let Some(token) = self.lock().get(&key).filter(|token| token.until > now) {
            return Ok(token.header.clone());
        }
        let token = fetch(http, oauth2, insecure, now).await?;
        let mut tokens = self.lock();
        tokens.retain(|_, token| token.until > now);
        if tokens.len() >= MAX_TOKENS {
            tokens.pop_first();
        }
        tokens.insert(key, token.clone());
        Ok(token.header)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Token>> {
        // The map is whole after every operation, so a panic elsewhere has not spoilt it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block with something in it; upstream stores empty ones.
fn given<T: Default + PartialEq>(block: Option<&T>) -> Option<&T> {
    block.filter(|block| **block != T::default())
}

fn digest(oauth2: &OAuth2Config, insecure: bool) -> [u8; 32] {
    let mut digest = Sha256::new();
    let texts = [&oauth2.token_url, &oauth2.client_id, &oauth2.client_secret];
    let texts = texts.into_iter().map(|text| text.as_deref().unwrap_or_default());
    for text in texts.chain(oauth2.scopes.iter().map(String::as_str)) {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    digest.update([u8::from(insecure)]);
    digest.finalize().into()
}

/// Asks for a token, with the client's name and secret in the header first, then in the body: servers differ.
async fn fetch(http: &Http, oauth2: &OAuth2Config, insecure: bool, now: Instant) -> Result<Token, Failure> {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (Some(token_url), Some(id), Some(secret)) = (
        filled(&oauth2.token_url),
        filled(&oauth2.client_id),
        filled(&oauth2.client_secret),
    ) else {
        return Err(Failure::new(
            Trouble::Configuration,
            "authentication.oauth2 needs tokenUrl, clientId and clientSecret",
        ));
    };
    let url = address(&token_url, "authentication.oauth2.tokenUrl")?;
    let scope = oauth2.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials")];
    if !scope.is_empty() {
        form.push(("scope", &scope));
    }
    let request = || http.client(insecure).post(url.clone());
    let mut answered = http
        .send(request().basic_auth(&id, Some(&secret)).form(&form), TIMEOUT)
        .await?;
    if answered.status.is_client_error() {
        form.extend([("client_id", id.as_str()), ("client_secret", secret.as_str())]);
        answered = http.send(request().form(&form), TIMEOUT).await?;
    }
    read_token(&answered, now)
}

fn read_token(answered: &Answered, now: Instant) -> Result<Token, Failure> {
    if !answered.status.is_success() {
        let trouble = if answered.status.is_server_error() {
            Trouble::ServerError
        } else {
            Trouble::Rejected
        };
        return Err(Failure::new(
            trouble,
            format!("oauth2 token not granted: HTTP {}", answered.status.as_u16()),
        ));
    }
    let malformed = || {
        Failure::new(
            Trouble::Malformed,
            "oauth2 token not understood: no access_token in the answer",
        )
    };
    let answer: TokenAnswer = serde_json::from_slice(&answered.body).map_err(|_| malformed())?;
    let kind = answer
        .token_type
        .filter(|kind| !kind.eq_ignore_ascii_case("bearer") && !kind.is_empty());
    let text = format!("{} {}", kind.as_deref().unwrap_or("Bearer"), answer.access_token);
    let mut header = HeaderValue::try_from(text).map_err(|_| malformed())?;
    header.set_sensitive(true);
    // Some servers write the number as text.
    let seconds = answer.expires_in.and_then(|life| match life {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    });
    let life = seconds
        .map_or(DEFAULT_LIFE, Duration::from_secs)
        .min(MAX_LIFE)
        .saturating_sub(EARLY);
    Ok(Token {
        header,
        until: now + life,
    })
}
