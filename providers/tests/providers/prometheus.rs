//! F110: NaN, nothing, timeouts and faults are told apart.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_analysis::Trouble;
use tidegate_providers::ProviderConfig;
use wiremock::matchers::{basic_auth, body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::setup::{FakeJobs, SECRET, error, measure, providers, start, value};

async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/api/v1/query"))
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

fn success(kind: &str, result: &Value) -> Value {
    json!({"status": "success", "data": {"resultType": kind, "result": result}})
}

fn query(server: &MockServer) -> Value {
    json!({"prometheus": {"address": server.uri(), "query": "up"}})
}

#[tokio::test]
async fn results_of_all_kinds() {
    let cases = [
        (success("scalar", &json!([1, "1.5"])), "1.5"),
        (success("scalar", &json!([1, "NaN"])), "NaN"),
        (
            success("vector", &json!([{"metric": {"a": "b"}, "value": [1.781, "1"]}])),
            "[1]",
        ),
        (
            success(
                "vector",
                &json!([{"value": [1, "NaN"]}, {"value": [1, "+Inf"]}, {"value": [1, "-Inf"]}]),
            ),
            "[NaN,+Inf,-Inf]",
        ),
        (
            success("vector", &json!([{"value": [1, "1e+21"]}])),
            "[1000000000000000000000]",
        ),
        (success("vector", &json!([])), "[]"),
        (
            success(
                "matrix",
                &json!([{"values": [[1, "1"], [2, "2"]]}, {"values": [[1, "3"]]}]),
            ),
            "[1,2,3]",
        ),
    ];
    for (body, want) in cases {
        let server = answering(ResponseTemplate::new(200).set_body_json(&body)).await;
        let reading = measure(query(&server)).await;
        assert_eq!(
            reading.metric_metadata,
            [("ResolvedPrometheusQuery".to_owned(), "up".to_owned())].into()
        );
        assert_eq!(value(reading), want, "{body}");
    }
}

#[tokio::test]
async fn the_question_is_complete() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/base/api/v1/query"))
        .and(query_param("k", "v"))
        .and(basic_auth("me", "a word"))
        .and(header("X-Scope-OrgID", "tenant"))
        .and(body_string_contains("query=rate%28x%5B5m%5D%29"))
        .and(body_string_contains("time=1795255200.250"))
        .and(body_string_contains("timeout=7000ms"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(success("vector", &json!([{"value": [1, "4"]}]))),
        )
        .expect(1)
        .mount(&server)
        .await;
    let reading = measure(json!({"prometheus": {
        "address": format!("http://me:a%20word@{}/base/?k=v", server.address()), "query": "rate(x[5m])", "timeout": 7,
        "headers": [{"key": "X-Scope-OrgID", "value": "tenant"}]
    }}))
    .await;
    assert_eq!(value(reading), "[4]");
}

#[tokio::test]
async fn a_range_has_start_end_and_step() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/query_range"))
        .and(body_string_contains("start=1795251600&end=1795255200&step=60"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(success("matrix", &json!([{"values": [[1, "1"]]}]))),
        )
        .expect(1)
        .mount(&server)
        .await;
    let range =
        |range: Value| json!({"prometheus": {"address": server.uri(), "query": "up", "rangeQuery": range}});
    let good = range(json!({"start": "now() - duration('1h')", "end": "now()", "step": "1m"}));
    assert_eq!(value(measure(good).await), "[1]");

    let cases = [
        (
            json!({"end": "now()", "step": "1m"}),
            "failed to parse rangeQuery.start as time: ",
        ),
        (
            json!({"start": "1", "end": "now()", "step": "1m"}),
            "failed to parse rangeQuery.start as time: expected time.Time, but got int",
        ),
        (
            json!({"start": "now()", "end": "nw()", "step": "1m"}),
            "failed to parse rangeQuery.end as time: ",
        ),
        (
            json!({"start": "now()", "end": "now()"}),
            "failed to parse rangeQuery.step as duration: ",
        ),
        (
            json!({"start": "now()", "end": "now()", "step": "0s"}),
            "rangeQuery.step must be positive, but is 0s",
        ),
    ];
    for (json, want) in cases {
        let (trouble, message) = error(measure(range(json)).await);
        assert_eq!(trouble, Trouble::Configuration);
        assert!(message.starts_with(want), "{message}");
    }
}

#[tokio::test]
async fn the_address_comes_from_the_settings_if_the_metric_has_none() {
    let server =
        answering(ResponseTemplate::new(200).set_body_json(success("scalar", &json!([1, "2"])))).await;
    let config = ProviderConfig {
        prometheus_address: Some(server.uri()),
        ..ProviderConfig::default()
    };
    let providers = providers(config, FakeJobs::default());
    assert_eq!(
        value(start(&providers, json!({"prometheus": {"query": "up"}})).await),
        "2"
    );

    let configuration = |message: &str| (Trouble::Configuration, message.to_owned());
    assert_eq!(
        error(measure(json!({"prometheus": {"query": "up"}})).await),
        configuration("prometheus address is not configured")
    );
    assert_eq!(
        error(
            measure(json!({"prometheus": {"address": format!("{}?k=v", server.uri()), "query": "up"}})).await
        ),
        configuration(
            "prometheus address has a query but no path: name the path in front of /api/v1, or leave the query out"
        )
    );
    for bad in ["file:///etc/passwd", "prometheus:9090"] {
        assert_eq!(
            error(measure(json!({"prometheus": {"address": bad, "query": "up"}})).await),
            configuration("prometheus address is not a URL: write http:// or https:// and a host")
        );
    }
    assert_eq!(
        error(measure(json!({"prometheus": {"address": server.uri(), "query": "up", "timeout": -1}})).await),
        configuration("prometheus timeout should not be negative")
    );
}

#[tokio::test]
async fn warnings_are_kept() {
    let mut body = success("scalar", &json!([1, "2"]));
    body["warnings"] = json!(["one", "two"]);
    let server = answering(ResponseTemplate::new(200).set_body_json(&body)).await;
    let reading = measure(query(&server)).await;
    assert_eq!(
        reading.metadata,
        [("warnings".to_owned(), "\"one\", \"two\"".to_owned())].into()
    );
}

#[tokio::test]
async fn a_proxy_that_wants_get_gets_it() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(405))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/api/v1/query"))
        .and(query_param("query", "up"))
        .respond_with(ResponseTemplate::new(200).set_body_json(success("scalar", &json!([1, "2"]))))
        .mount(&server)
        .await;
    assert_eq!(value(measure(query(&server)).await), "2");
}

async fn are_told_as(cases: impl IntoIterator<Item = (ResponseTemplate, Trouble, &'static str)>) {
    for (template, trouble, message) in cases {
        let server = answering(template).await;
        let got = error(measure(query(&server)).await);
        assert!(
            got.0 == trouble && got.1.starts_with(message),
            "{got:?} instead of {message}"
        );
    }
}

fn body(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

#[tokio::test]
async fn faults_are_told_apart() {
    let fault = |kind: &str| json!({"status": "error", "errorType": kind, "error": "what it says"});
    are_told_as([
        (
            body(400, fault("bad_data")),
            Trouble::Rejected,
            "bad_data: what it says",
        ),
        (
            body(422, fault("execution")),
            Trouble::Rejected,
            "execution: what it says",
        ),
        (
            body(503, fault("timeout")),
            Trouble::Timeout,
            "timeout: what it says",
        ),
        (
            body(503, fault("unavailable")),
            Trouble::ServerError,
            "unavailable: what it says",
        ),
        (
            ResponseTemplate::new(500),
            Trouble::ServerError,
            "server_error: server error: 500",
        ),
        (
            ResponseTemplate::new(403).set_body_string("no"),
            Trouble::Rejected,
            "client_error: client error: 403",
        ),
    ])
    .await;
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_told_apart() {
    are_told_as([
        (
            ResponseTemplate::new(200).set_body_string("<html>"),
            Trouble::Malformed,
            "the answer is not Prometheus': expected value at line 1 column 1",
        ),
        (
            body(200, json!({"status": "success"})),
            Trouble::Malformed,
            "Prometheus metric type not supported",
        ),
        (
            body(200, success("string", &json!([1, "x"]))),
            Trouble::Malformed,
            "Prometheus metric type not supported",
        ),
        (
            body(200, success("scalar", &json!([1, "x"]))),
            Trouble::Malformed,
            "the answer has a sample that is no number",
        ),
        (
            body(
                200,
                success(
                    "vector",
                    &json!([{"metric": {}, "histogram": [1, {"count": "1"}]}]),
                ),
            ),
            Trouble::Malformed,
            "the query gives a native histogram: use histogram_quantile() or histogram_count() on it",
        ),
        (
            body(
                200,
                json!({"status": "success", "data": {"resultType": "vector", "result": {}}}),
            ),
            Trouble::Malformed,
            "the answer is not Prometheus'",
        ),
        (
            ResponseTemplate::new(200).set_body_string("[".repeat(100_000)),
            Trouble::Malformed,
            "the answer is not Prometheus'",
        ),
        (
            ResponseTemplate::new(200).set_body_string(format!(
                "{{\"status\":\"success\",\"data\":{}",
                "{\"a\":".repeat(100_000)
            )),
            Trouble::Malformed,
            "the answer is not Prometheus'",
        ),
        (
            ResponseTemplate::new(200).set_body_string("x".repeat(5 << 20)),
            Trouble::TooLarge,
            "the answer has more than 4194304 bytes",
        ),
    ])
    .await;
}

#[tokio::test]
async fn too_many_series_are_refused() {
    let series = json!(vec![json!({"value": [1, "1"]}); 11]);
    let server = answering(ResponseTemplate::new(200).set_body_json(success("vector", &series))).await;
    let config = ProviderConfig {
        max_values: 10,
        ..ProviderConfig::default()
    };
    assert_eq!(
        error(start(&providers(config, FakeJobs::default()), query(&server)).await),
        (
            Trouble::TooLarge,
            "the query gives 11 values, more than 10: aggregate in the query".to_owned()
        )
    );
}

#[tokio::test]
async fn no_answer_in_time_and_no_server() {
    let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let slow = json!({"prometheus": {"address": server.uri(), "query": "up", "timeout": 1}});
    assert_eq!(
        error(measure(slow).await),
        (Trouble::Timeout, "no answer within 1 s".to_owned())
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let address = format!("http://user:{SECRET}@{closed}/{SECRET}?k={SECRET}");
    let (trouble, message) =
        error(measure(json!({"prometheus": {"address": address, "query": SECRET}})).await);
    assert_eq!(trouble, Trouble::Unreachable);
    assert!(
        message.starts_with("request to 127.0.0.1 failed: ") && message.contains("refused"),
        "{message}"
    );
    assert!(!message.contains("user"), "{message}");
}
