//! Requests to servers that tenants name: every one has a time limit, every answer a size limit, and errors carry
//! neither secrets nor whole URLs.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tidegate_analysis::Trouble;
use tidegate_crds::WebMetricHeader;
use url::Url;

use crate::{Failure, SetupError};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Longest time that one request may take, whatever a metric says.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest time to get a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most headers of a request.
const MAX_HEADERS: usize = 100;

/// The clients, one for each way to look at certificates; connections are shared by all metrics.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    verifying: Client,
    trusting: Client,
    max_body: usize,
}

/// An answer, read as a whole.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn new(status: u16, body: &str) -> Result<Self, Failure> {
        let status = StatusCode::from_u16(status)
            .map_err(|_| Failure::new(Trouble::Malformed, format!("{status} is no HTTP status")))?;
        Ok(Self {
            status,
            body: body.as_bytes().to_vec(),
        })
    }
}

impl Http {
    pub(crate) fn new(max_body: usize) -> Result<Self, SetupError> {
        // Without one, building a client panics.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(SetupError::NoCryptography);
        }
        let builder = || {
            Client::builder()
                .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .referer(false)
                .redirect(Policy::custom(follow))
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| SetupError::Client(chain(&error)))
        };
        Ok(Self {
            // an image may hold no certificates: then nobody is trusted, but addresses without TLS can be asked
            verifying: build(builder()).or_else(|_| build(builder().tls_certs_only([])))?,
            trusting: build(builder().tls_danger_accept_invalid_certs(true))?,
            max_body,
        })
    }

    /// The client to use.
    pub(crate) fn client(&self, insecure: bool) -> &Client {
        if insecure { &self.trusting } else { &self.verifying }
    }

    /// Sends a request and reads the whole answer, within the time and size limits.
    pub(crate) async fn send(&self, request: RequestBuilder, timeout: Duration) -> Result<Answered, Failure> {
        let response = async { request.send().await.map_err(|error| failure(&error)) };
        self.receive(response, timeout).await
    }

    /// Awaits a response and reads it as a whole, within the time and size limits.
    pub(crate) async fn receive(
        &self,
        response: impl Future<Output = Result<Response, Failure>>,
        timeout: Duration,
    ) -> Result<Answered, Failure> {
        let timeout = timeout.min(MAX_TIMEOUT);
        let exchange = async {
            let response = response.await?;
            let status = response.status();
            if status.is_redirection() {
                return Err(Failure::new(
                    Trouble::Rejected,
                    "the server redirects to another host, or too often: name the right address",
                ));
            }
            let body = self.read(response).await?;
            Ok(Answered { status, body })
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::new(
                Trouble::Timeout,
                format!("no answer within {} s", timeout.as_secs_f64()),
            )),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > self.max_body {
                return Err(Failure::new(
                    Trouble::TooLarge,
                    format!("the answer has more than {} bytes", self.max_body),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// Follows redirects to the same host only: headers with credentials go along. Never from TLS to no TLS.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same_host = attempt.previous().last().is_some_and(|from| {
        from.host_str() == attempt.url().host_str()
            && !(from.scheme() == "https" && attempt.url().scheme() == "http")
    });
    if same_host && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// An address that may be asked: http or https, with a host.
pub(crate) fn address(text: &str, what: &str) -> Result<Url, Failure> {
    let url = Url::parse(text.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        Failure::new(
            Trouble::Configuration,
            format!("{what} is not a URL: write http:// or https:// and a host"),
        )
    })
}

/// The headers of a metric.
pub(crate) fn headers(given: &[WebMetricHeader]) -> Result<HeaderMap, Failure> {
    if given.len() > MAX_HEADERS {
        return Err(Failure::new(
            Trouble::Configuration,
            format!("more than {MAX_HEADERS} headers"),
        ));
    }
    let mut headers = HeaderMap::new();
    for header in given {
        let name = HeaderName::try_from(header.key.as_str());
        let value = HeaderValue::try_from(header.value.as_str());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            let message = format!(
                "header {:?} is not valid: check its name, and its value for line breaks",
                header.key
            );
            return Err(Failure::new(Trouble::Configuration, message));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What went wrong with a request, without its URL.
pub(crate) fn failure(error: &reqwest::Error) -> Failure {
    let trouble = if error.is_timeout() {
        Trouble::Timeout
    } else if error.is_builder() {
        Trouble::Configuration
    } else if error.is_body() || error.is_decode() {
        Trouble::Malformed
    } else {
        Trouble::Unreachable
    };
    let at = error
        .url()
        .and_then(Url::host_str)
        .map(|host| format!(" to {host}"))
        .unwrap_or_default();
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    // The last one is the operating system's or the TLS library's; those before only say where it happened.
    let cause = causes.pop().unwrap_or_else(|| "the request failed".to_owned());
    Failure::new(trouble, format!("request{at} failed: {cause}"))
}

/// The causes of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_may_be_asked() {
        for good in [
            "http://prometheus:9090",
            "https://user:word@x.test/base/",
            " http://127.0.0.1:1 ",
        ] {
            assert!(address(good, "it").is_ok(), "{good}");
        }
        for bad in [
            "",
            "prometheus:9090",
            "file:///etc/passwd",
            "http://",
            "ftp://x",
            "unix:/run/x",
            "//x",
        ] {
            assert_eq!(
                address(bad, "the address").unwrap_err(),
                Failure::new(
                    Trouble::Configuration,
                    "the address is not a URL: write http:// or https:// and a host"
                ),
                "{bad}"
            );
        }
    }
}
