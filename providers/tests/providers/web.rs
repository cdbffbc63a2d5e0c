//! F111.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_analysis::Trouble;
use wiremock::matchers::{body_json, body_string, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::setup::{error, measure, value};

async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

fn web(server: &MockServer, more: Value) -> Value {
    let mut web = json!({"url": format!("{}/x", server.uri())});
    web.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"web": web})
}

#[tokio::test]
async fn a_path_selects_of_the_answer() {
    let document = json!({"data": {"ok": true, "items": [{"v": 1.5}]}, "none": null});
    let server = answering(ResponseTemplate::new(200).set_body_json(&document)).await;
    let cases = [
        (
            json!({}),
            r#"{"data":{"items":[{"v":1.5}],"ok":true},"none":null}"#,
        ),
        (
            json!({"jsonPath": ""}),
            r#"{"data":{"items":[{"v":1.5}],"ok":true},"none":null}"#,
        ),
        (json!({"jsonPath": "{$.data.ok}"}), "true"),
        (json!({"jsonPath": "{$.data.items[?(@.v>1)].v}"}), "1.5"),
        (json!({"jsonPath": "{$.none}"}), "null"),
    ];
    for (more, want) in cases {
        assert_eq!(value(measure(web(&server, more.clone())).await), want, "{more}");
    }
    let cases = [
        (
            "{$.gone}",
            Trouble::NoData,
            "Could not find JSONPath in body: gone is not found",
        ),
        (
            "{$.data.items[?(@.v>9)]}",
            Trouble::NoData,
            "result of web metric produced no value",
        ),
        (
            "{$.data.items[x]}",
            Trouble::Configuration,
            "jsonPath \"{$.data.items[x]}\": invalid array index x",
        ),
    ];
    for (json_path, trouble, message) in cases {
        let got = error(measure(web(&server, json!({"jsonPath": json_path}))).await);
        assert_eq!(got, (trouble, message.to_owned()));
    }
}

#[tokio::test]
async fn bodies_and_methods() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(body_json(json!({"a": [1]})))
        .and(header("content-type", "application/json"))
        .and(header("x-key", "v"))
        .respond_with(ResponseTemplate::new(201).set_body_string("1"))
        .mount(&server)
        .await;
    Mock::given(method("PUT"))
        .and(body_string("text"))
        .and(header("content-type", "text/plain"))
        .respond_with(ResponseTemplate::new(200).set_body_string("up"))
        .mount(&server)
        .await;
    let headers = json!([{"key": "Content-Type", "value": "text/plain"}, {"key": "X-Key", "value": "v"}]);
    let posted = json!({"method": "POST", "jsonBody": {"a": [1]}, "headers": headers});
    assert_eq!(value(measure(web(&server, posted)).await), "1");
    let put = json!({"method": "PUT", "body": "text", "headers": headers});
    assert_eq!(
        value(measure(web(&server, put)).await),
        "up",
        "what is no JSON is text"
    );

    let cases = [
        (
            json!({"body": "x"}),
            "Body/JSONBody can only be used with POST or PUT WebMetric Method types",
        ),
        (
            json!({"jsonBody": {}}),
            "Body/JSONBody can only be used with POST or PUT WebMetric Method types",
        ),
        (
            json!({"method": "PUT", "body": "x", "jsonBody": {}}),
            "use either Body or JSONBody; both cannot exists for WebMetric payload",
        ),
        (
            json!({"method": "DELETE"}),
            "method \"DELETE\" is none of GET, POST and PUT",
        ),
        (
            json!({"headers": [{"key": "a b", "value": "x"}]}),
            "header \"a b\" is not valid: check its name, and its value for line breaks",
        ),
        (
            json!({"headers": [{"key": "a", "value": "x\r\nHost: y"}]}),
            "header \"a\" is not valid: check its name, and its value for line breaks",
        ),
        (
            json!({"url": "file:///etc/passwd"}),
            "url is not a URL: write http:// or https:// and a host",
        ),
        (
            json!({"url": ""}),
            "url is not a URL: write http:// or https:// and a host",
        ),
    ];
    for (more, message) in cases {
        let got = error(measure(web(&server, more)).await);
        assert_eq!(got, (Trouble::Configuration, message.to_owned()));
    }
}

#[tokio::test]
async fn faults_are_told_apart() {
    let cases = [
        (
            ResponseTemplate::new(500),
            Trouble::ServerError,
            "received non 2xx response code: 500",
        ),
        (
            ResponseTemplate::new(404),
            Trouble::Rejected,
            "received non 2xx response code: 404",
        ),
        (
            ResponseTemplate::new(200).set_body_string("x".repeat(5 << 20)),
            Trouble::TooLarge,
            "the answer has more than 4194304 bytes",
        ),
        (
            ResponseTemplate::new(200).set_body_string("[".repeat(100_000)),
            Trouble::Malformed,
            "the answer is nested too deeply",
        ),
    ];
    for (template, trouble, message) in cases {
        let server = answering(template).await;
        assert_eq!(
            error(measure(web(&server, json!({}))).await),
            (trouble, message.to_owned())
        );
    }
    let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let slow = measure(web(&server, json!({"timeoutSeconds": 1}))).await;
    assert_eq!(error(slow), (Trouble::Timeout, "no answer within 1 s".to_owned()));
}

#[tokio::test]
async fn redirects_stay_on_the_host() {
    let other = answering(ResponseTemplate::new(200).set_body_string("stolen")).await;
    // The same server under another name.
    let elsewhere = other.uri().replace("127.0.0.1", "localhost");
    let refused = (
        Trouble::Rejected,
        "the server redirects to another host, or too often: name the right address".to_owned(),
    );
    for (target, want) in [
        ("/there", Ok("\"here\"")),
        (elsewhere.as_str(), Err(&refused)),
        ("/x", Err(&refused)),
    ] {
        let server = MockServer::start().await;
        let redirect = ResponseTemplate::new(302).insert_header("location", target);
        Mock::given(path("/x"))
            .respond_with(redirect)
            .mount(&server)
            .await;
        let there = ResponseTemplate::new(200).set_body_string("\"here\"");
        Mock::given(path("/there"))
            .respond_with(there)
            .mount(&server)
            .await;
        let reading = measure(web(&server, json!({}))).await;
        match want {
            Ok(text) => assert_eq!(value(reading), text),
            Err(refused) => assert_eq!(error(reading), *refused, "{target}"),
        }
    }
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_named() {
    for (provider, name) in [
        (json!({"datadog": {"query": "x"}}), "datadog"),
        (json!({"plugin": {"p": {}}}), "plugin"),
    ] {
        assert_eq!(
            error(measure(provider).await),
            (
                Trouble::Configuration,
                format!("metric provider {name} is not supported yet: use prometheus, web or job")
            )
        );
    }
}
