//! Logging in: basicAuth, oauth2; sigv4 is refused.

use serde_json::{Value, json};
use tidegate_analysis::Trouble;
use tidegate_providers::ProviderConfig;
use wiremock::matchers::{basic_auth, body_string_contains, header, header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::setup::{FakeJobs, SECRET, error, measure, providers, start, value};

fn web(server: &MockServer, authentication: &Value) -> Value {
    json!({"web": {"url": format!("{}/x", server.uri()), "authentication": authentication}})
}

fn oauth2(server: &MockServer) -> Value {
    let token_url = format!("{}/token", server.uri());
    json!({"oauth2": {"tokenUrl": token_url, "clientId": "me", "clientSecret": SECRET, "scopes": ["a", "b"]}})
}

async fn protected(server: &MockServer, authorization: &str) {
    Mock::given(path("/x"))
        .and(header("authorization", authorization))
        .respond_with(ResponseTemplate::new(200).set_body_string("1"))
        .mount(server)
        .await;
}

fn token(text: &str, seconds: u64) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({"access_token": text, "token_type": "bearer", "expires_in": seconds}))
}

#[tokio::test]
async fn name_and_password() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("1");
    Mock::given(basic_auth("me", SECRET))
        .respond_with(answer)
        .mount(&server)
        .await;
    let basic = json!({"basicAuth": {"username": "me", "password": SECRET}, "oauth2": {}, "sigv4": {}});
    assert_eq!(value(measure(web(&server, &basic)).await), "1");
    let query = json!({"prometheus": {"address": server.uri(), "query": "up", "authentication": basic}});
    assert_eq!(
        error(measure(query).await).0,
        Trouble::Malformed,
        "logged in, though the answer is not Prometheus'"
    );
}

#[tokio::test]
async fn a_token_is_fetched_once() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/token"))
        .and(basic_auth("me", SECRET))
        .and(body_string_contains("grant_type=client_credentials"))
        .and(body_string_contains("scope=a+b"))
        .respond_with(token("t1", 3600))
        .expect(1)
        .mount(&server)
        .await;
    protected(&server, "Bearer t1").await;
    let providers = providers(ProviderConfig::default(), FakeJobs::default());
    for _ in 0..3 {
        assert_eq!(
            value(start(&providers, web(&server, &oauth2(&server))).await),
            "1"
        );
    }
}

#[tokio::test]
async fn a_token_that_expires_or_is_refused_is_fetched_again() {
    let server = MockServer::start().await;
    // Expires within the margin, so that it is never used twice.
    Mock::given(path("/token"))
        .respond_with(token("t1", 5))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(path("/token"))
        .respond_with(token("t2", 3600))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(path("/token"))
        .respond_with(token("t3", 3600))
        .mount(&server)
        .await;
    protected(&server, "Bearer t1").await;
    protected(&server, "Bearer t3").await;
    Mock::given(path("/x"))
        .respond_with(ResponseTemplate::new(401))
        .mount(&server)
        .await;
    let providers = providers(ProviderConfig::default(), FakeJobs::default());
    let question = web(&server, &oauth2(&server));
    assert_eq!(value(start(&providers, question.clone()).await), "1");
    assert_eq!(
        error(start(&providers, question.clone()).await).1,
        "received non 2xx response code: 401"
    );
    assert_eq!(value(start(&providers, question).await), "1");
}

#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_body_gets_it() {
    let server = MockServer::start().await;
    let refusal = ResponseTemplate::new(401);
    Mock::given(path("/token"))
        .and(header_exists("authorization"))
        .respond_with(refusal)
        .mount(&server)
        .await;
    Mock::given(path("/token"))
        .and(body_string_contains(format!(
            "client_id=me&client_secret={SECRET}"
        )))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"access_token": "t", "expires_in": "60"})),
        )
        .mount(&server)
        .await;
    protected(&server, "Bearer t").await;
    assert_eq!(value(measure(web(&server, &oauth2(&server))).await), "1");
}

#[tokio::test]
async fn what_keeps_from_logging_in_is_said() {
    let server = MockServer::start().await;
    let cases = [
        (
            json!({"sigv4": {"region": "eu-west-1"}}),
            "authentication.sigv4 is not supported: use basicAuth or oauth2, or a proxy that signs requests",
        ),
        (
            json!({"oauth2": {"clientId": "x"}}),
            "authentication.oauth2 needs tokenUrl, clientId and clientSecret",
        ),
        (
            json!({"oauth2": {"tokenUrl": "file:///x", "clientId": "x", "clientSecret": "y"}}),
            "authentication.oauth2.tokenUrl is not a URL: write http:// or https:// and a host",
        ),
        (
            json!({"oauth2": {"clientId": "x"}, "basicAuth": {"username": "x"}}),
            "authentication has both basicAuth and oauth2: keep one",
        ),
    ];
    for (authentication, message) in cases {
        let got = error(measure(web(&server, &authentication)).await);
        assert_eq!(got, (Trouble::Configuration, message.to_owned()));
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);

    let cases = [
        (
            ResponseTemplate::new(500),
            Trouble::ServerError,
            "oauth2 token not granted: HTTP 500",
        ),
        (
            ResponseTemplate::new(403).set_body_string(SECRET),
            Trouble::Rejected,
            "oauth2 token not granted: HTTP 403",
        ),
        (
            ResponseTemplate::new(200).set_body_string(SECRET),
            Trouble::Malformed,
            "oauth2 token not understood: no access_token in the answer",
        ),
        (
            token("a\nb", 1),
            Trouble::Malformed,
            "oauth2 token not understood: no access_token in the answer",
        ),
    ];
    for (template, trouble, message) in cases {
        let server = MockServer::start().await;
        Mock::given(path("/token"))
            .respond_with(template)
            .mount(&server)
            .await;
        assert_eq!(
            error(measure(web(&server, &oauth2(&server))).await),
            (trouble, message.to_owned())
        );
    }
}
