use serde_json::json;
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

fn chats() -> Chats {
    _ = rustls::crypto::ring::default_provider().install_default();
    Chats::beside(&Forges::new().unwrap())
}

fn to(server: &MockServer, kind: ChatKind) -> Post {
    Post {
        kind,
        address: format!("{}/robot/send?access_token=abcdef123", server.uri()),
        body: json!({"text": "hello"}).to_string(),
        signature: None,
    }
}

/// What becomes of a message that is answered like this.
async fn answered(kind: ChatKind, answer: ResponseTemplate) -> Result<(), RemoteError> {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/robot/send"))
        .and(query_param("access_token", "abcdef123"))
        .and(header("content-type", "application/json; charset=utf-8"))
        .and(body_json(json!({"text": "hello"})))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    chats().tell(&to(&server, kind)).await
}

#[tokio::test]
async fn each_says_yes_in_its_way() {
    let json = |value| ResponseTemplate::new(200).set_body_json(value);
    let table = [
        (ChatKind::DingTalk, json(json!({"errcode": 0, "errmsg": "ok"}))),
        (ChatKind::WeCom, json(json!({"errcode": 0, "errmsg": "ok"}))),
        (
            ChatKind::Feishu,
            json(json!({"code": 0, "msg": "success", "data": {}})),
        ),
        (
            ChatKind::Feishu,
            json(json!({"StatusCode": 0, "StatusMessage": "success", "Extra": null})),
        ),
        (ChatKind::Slack, ResponseTemplate::new(200).set_body_string("ok")),
        (ChatKind::Webhook, ResponseTemplate::new(204)),
    ];
    for (kind, answer) in table {
        assert_eq!(answered(kind, answer).await, Ok(()), "{kind:?}");
    }
}

#[tokio::test]
async fn each_says_no_in_its_way() {
    let json = |value| ResponseTemplate::new(200).set_body_json(value);
    let refused = |text: &str| RemoteError::Refused(text.to_owned());
    let table = [
        (
            ChatKind::DingTalk,
            json(json!({"errcode": 310_000, "errmsg": "sign not match"})),
            refused("127.0.0.1: 310000: sign not match"),
        ),
        (
            ChatKind::WeCom,
            json(json!({"errcode": 93000, "errmsg": "invalid webhook url, key abcdef123"})),
            refused("127.0.0.1: 93000: invalid webhook url, key ***"),
        ),
        (
            ChatKind::Feishu,
            json(
                json!({"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"}),
            ),
            refused(
                "127.0.0.1: 19021: sign match fail or timestamp is not within one hour from current time",
            ),
        ),
        (
            ChatKind::Slack,
            ResponseTemplate::new(404).set_body_string("no_service"),
            refused("127.0.0.1: 404: no_service"),
        ),
        (
            ChatKind::Slack,
            ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
            refused("127.0.0.1: 302, it redirects: put the right address into the Secret"),
        ),
        (
            ChatKind::DingTalk,
            ResponseTemplate::new(200).set_body_string("<html>"),
            refused("127.0.0.1: the answer is not that of such a chat: check the address and the type"),
        ),
        (
            ChatKind::Webhook,
            ResponseTemplate::new(503).set_body_string("busy"),
            RemoteError::Unavailable("127.0.0.1: 503".to_owned()),
        ),
        (
            ChatKind::Slack,
            ResponseTemplate::new(429),
            RemoteError::Unavailable("127.0.0.1: 429".to_owned()),
        ),
    ];
    for (kind, answer, error) in table {
        assert_eq!(answered(kind, answer).await, Err(error), "{kind:?}");
    }
}

#[tokio::test]
async fn a_signature_goes_into_the_header_that_forges_use() {
    let server = MockServer::start().await;
    Mock::given(header("x-hub-signature-256", "sha256=00"))
        .respond_with(ResponseTemplate::new(200))
        .expect(1)
        .mount(&server)
        .await;
    let post = Post {
        signature: Some("sha256=00".to_owned()),
        ..to(&server, ChatKind::Webhook)
    };
    assert_eq!(chats().tell(&post).await, Ok(()));
}

#[tokio::test]
async fn who_is_not_there_is_named_without_the_rest_of_the_address() {
    let post = |address: &str| Post {
        kind: ChatKind::Slack,
        address: address.to_owned(),
        body: "{}".to_owned(),
        signature: None,
    };
    let error = chats()
        .tell(&post("http://127.0.0.1:1/services/abcdef123"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, RemoteError::Unavailable(_)) && !error.to_string().contains("abcdef123"),
        "{error}"
    );
    let error = chats().tell(&post("chat:abcdef123")).await.unwrap_err();
    assert!(
        matches!(error, RemoteError::Refused(_)) && !error.to_string().contains("abcdef123"),
        "{error}"
    );
}
