//! Chats: one request each, and the ways in which they say that they did not take it.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tidegate_gitsync::notify::{ChatKind, Post};
use tidegate_gitsync::remote::RemoteError;
use url::Url;

use crate::forges::{Forges, ReadError, cause, read};
use crate::trouble;

/// Shorter parts of an address are no secrets.
const MIN_SECRET: usize = 6;

/// Tells chats. Connections are shared with the forges.
pub struct Chats {
    client: Client,
}

impl Chats {
    /// By the client of the forges: the same limits.
    pub fn beside(forges: &Forges) -> Self {
        Self {
            client: forges.client(),
        }
    }

    /// Sends a message. It may arrive although this fails: the answer may be lost.
    ///
    /// # Errors
    /// Says which host did not take it and why, without the rest of the address.
    pub async fn tell(&self, post: &Post) -> Result<(), RemoteError> {
        let url = Url::parse(&post.address).ok();
        let valid = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let Some(url) = url.filter(valid) else {
            let text = "the key address of its Secret holds no address of the web: write https://HOST/PATH";
            return Err(RemoteError::Refused(text.to_owned()));
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(post.body.clone());
        if let Some(signature) = &post.signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        let failed = |error: reqwest::Error| RemoteError::Unavailable(format!("{host}: {}", cause(&error)));
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = match read(response).await {
            Ok(body) => body,
            // it has taken it, whatever it goes on to say
            Err(ReadError::TooMuch) => Vec::new(),
            Err(ReadError::Failed(error)) => return Err(failed(error)),
        };
        match complaint(post.kind, status, &body) {
            None => Ok(()),
            Some(words) => Err(refusal(
                status,
                format!("{host}: {}", without_secrets(&words, &url)),
            )),
        }
    }
}

fn refusal(status: StatusCode, text: String) -> RemoteError {
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        RemoteError::Unavailable(text)
    } else if status.is_redirection() {
        RemoteError::Refused(format!(
            "{text}, it redirects: put the right address into the Secret"
        ))
    } else {
        RemoteError::Refused(text)
    }
}

/// Why a message was not taken; `None` if it was. DingTalk, WeCom and Feishu say so in the body of a 200.
fn complaint(kind: ChatKind, status: StatusCode, body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let (codes, words): (&[&str], &str) = match kind {
        ChatKind::DingTalk | ChatKind::WeCom => (&["errcode"], "errmsg"),
        ChatKind::Feishu => (&["code", "StatusCode"], "msg"),
        ChatKind::Slack | ChatKind::Webhook => (&[], ""),
    };
    let code = codes.iter().find_map(|code| json.get(code)?.as_i64());
    let said = match kind {
        ChatKind::Slack => String::from_utf8_lossy(body).into_owned(),
        _ => json
            .get(words)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    };
    let said = match said.as_str() {
        "" => String::new(),
        said => format!(": {}", trouble::quote(said)),
    };
    match code {
        _ if !status.is_success() => Some(format!("{}{said}", status.as_u16())),
        Some(0) => None,
        Some(code) => Some(format!("{code}{said}")),
        None if codes.is_empty() => None,
        None => Some("the answer is not that of such a chat: check the address and the type".to_owned()),
    }
}

/// What a chat says about a request may repeat its address.
fn without_secrets(text: &str, url: &Url) -> String {
    let mut text = text.to_owned();
    let path = url.path_segments().into_iter().flatten().map(str::to_owned);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    for secret in path.chain(query).filter(|part| part.len() >= MIN_SECRET) {
        text = text.replace(&secret, "***");
    }
    text
}

#[cfg(test)]
mod tests;
