use serde_json::json;

use super::*;

fn note() -> Note {
    Note {
        news: News::Rejected,
        delivery: ("shop".to_owned(), "web".to_owned()),
        commit: "9f3c1234aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        subject: "Faster <!channel> & better".to_owned(),
        author: "Ann".to_owned(),
        message: "AnalysisFailed: error-rate is 0.08\nThe cluster is held at main@sha1:41d0".to_owned(),
        link: "https://git.example.com/shop/deploy/commit/9f3c1234".to_owned(),
        since: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

const TEXT: &str = "Tidegate shop/web: commit 9f3c1234 was rejected\nFaster <!channel> & better (Ann)\n\
                    AnalysisFailed: error-rate is 0.08\nThe cluster is held at main@sha1:41d0\n\
                    https://git.example.com/shop/deploy/commit/9f3c1234";

fn send(kind: ChatKind, secret: Option<&str>) -> (Post, Value) {
    let key = Key::new(" https://chat.example.com/send?key=abcdef\n", secret).unwrap();
    let post = post(
        kind,
        &note(),
        &key,
        Timestamp::from_second(1_700_000_000).unwrap(),
    );
    let body = serde_json::from_str(&post.body).unwrap();
    (post, body)
}

#[test]
fn what_each_chat_gets() {
    let text = json!({"msgtype": "text", "text": {"content": TEXT}});
    assert_eq!(send(ChatKind::DingTalk, None).1, text);
    assert_eq!(send(ChatKind::WeCom, None).1, text);
    // nobody is called by what a commit says
    let escaped = TEXT.replace("<!channel> &", "&lt;!channel&gt; &amp;");
    assert_eq!(
        send(ChatKind::Slack, None).1,
        json!({"text": escaped, "unfurl_links": false})
    );
    let lines = "Faster <!channel> & better (Ann)\nAnalysisFailed: error-rate is 0.08\nThe cluster is held at main@sha1:41d0";
    let link = note().link;
    assert_eq!(
        send(ChatKind::Feishu, None).1,
        json!({"msg_type": "post", "content": {"post": {"zh_cn": {
            "title": "Tidegate shop/web: commit 9f3c1234 was rejected",
            "content": [[{"tag": "text", "text": lines}], [{"tag": "a", "text": link, "href": link}]],
        }}}})
    );
    assert_eq!(
        send(ChatKind::Webhook, None).1,
        json!({
            "id": "shop/web 9f3c1234aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa Rejected",
            "news": "Rejected",
            "delivery": {"namespace": "shop", "name": "web"},
            "commit": "9f3c1234aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "subject": "Faster <!channel> & better",
            "author": "Ann",
            "message": "AnalysisFailed: error-rate is 0.08\nThe cluster is held at main@sha1:41d0",
            "link": link,
            "since": "2026-01-02T03:04:05Z",
            "text": TEXT,
        })
    );
    for kind in [
        ChatKind::DingTalk,
        ChatKind::Feishu,
        ChatKind::WeCom,
        ChatKind::Slack,
        ChatKind::Webhook,
    ] {
        let (post, _) = send(kind, None);
        assert_eq!(post.address, "https://chat.example.com/send?key=abcdef");
        assert_eq!((post.signature, post.kind), (None, kind));
    }
}

/// Computed by Python's `hmac`, as the services' own examples do it.
#[test]
fn signatures() {
    let (post, _) = send(ChatKind::DingTalk, Some("SECthis is secret\n"));
    assert_eq!(
        post.address,
        "https://chat.example.com/send?key=abcdef&timestamp=1700000000000&sign=Rtm2YK4Eu5oP8gxZgn2C87ziY6Py5sJyH4pcuwAafMU%3D"
    );
    let (post, body) = send(ChatKind::Feishu, Some("this is secret"));
    assert_eq!(post.address, "https://chat.example.com/send?key=abcdef");
    assert_eq!(
        (&body["timestamp"], &body["sign"]),
        (
            &json!("1700000000"),
            &json!("OfGzRzoUICBOoc8wVra1e4A1hPfbZ9zqXozA8CWVUuY=")
        )
    );
    let (post, _) = send(ChatKind::Webhook, Some("hook"));
    let header = |name: &str| {
        (name == "x-hub-signature-256")
            .then_some(post.signature.as_deref())
            .flatten()
    };
    let verified = crate::webhook::verify(header, post.body.as_bytes(), "hook");
    assert_eq!(verified, Ok(crate::webhook::Hook::Other));
}

#[test]
fn a_text_has_a_largest_size_and_keeps_its_link() {
    let note = Note {
        message: "é".repeat(3000),
        ..note()
    };
    let text = note.text();
    assert!((MAX_TEXT - 1..=MAX_TEXT).contains(&text.len()), "{}", text.len());
    assert!(text.ends_with(&note.link));
}

#[test]
fn addresses_are_never_printed() {
    let key = Key::new("https://chat.example.com/send?key=abcdef", Some("hush")).unwrap();
    let (post, _) = send(ChatKind::DingTalk, Some("hush"));
    let printed = format!("{key:?} {post:?}");
    assert!(
        !printed.contains("abcdef") && !printed.contains("hush") && !printed.contains("sign="),
        "{printed}"
    );
    let error = Key::new("ftp://chat.example.com/abcdef", None).unwrap_err();
    assert!(!error.contains("abcdef"), "{error}");
}

#[test]
fn what_is_wrong_in_a_spec_is_named() {
    let read = |notify: Value| {
        let feedback: DeliveryFeedback = serde_json::from_value(json!({"notify": notify})).unwrap();
        chats(&feedback).map_err(|error| error.to_string())
    };
    let good = json!({"type": "Slack", "secretRef": {"name": "team"}});
    let table = [
        (
            json!([{"type": "Telegram", "secretRef": {"name": "team"}}]),
            "spec.feedback.notify.type: \"Telegram\" is not known: use DingTalk, Feishu (also for Lark), WeCom, Slack or Webhook",
        ),
        (
            json!([{"type": "Slack"}]),
            "spec.feedback.notify.secretRef.name: is needed: the name of a Secret with the key address",
        ),
        (
            json!([{"type": "Slack", "secretRef": {"name": "team"}, "on": ["Rejected", "Always"]}]),
            "spec.feedback.notify.on: \"Always\" is not known: use Rejected, TakenBack, Recovered or Good",
        ),
        (
            json!([good, good, good, good, good, good]),
            "spec.feedback.notify: has 6: keep 5 at most",
        ),
    ];
    for (notify, message) in table {
        assert_eq!(read(notify).unwrap_err(), message);
    }
    let chats = read(json!([good])).unwrap();
    let wanted = |news| chats.first().unwrap().wants(news);
    assert!(
        wanted(News::Rejected)
            && wanted(News::Regressed)
            && wanted(News::TakenBack)
            && wanted(News::Recovered)
    );
    assert!(!wanted(News::Good));
}
