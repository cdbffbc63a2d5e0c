//! Against a web server on this machine that answers by a script.

use std::collections::VecDeque;

use axum::body::Body as ServerBody;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::metrics::Metrics;
use crate::request::{Request, SERVICES, Verb};

/// An answer: status, `Retry-After`, and the pieces that the body comes in.
type Answer = (u16, Option<&'static str>, Vec<String>);

/// What the server answers next, and what it was asked. When the script is at its end, it does not answer.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
}

async fn answer(State(script): State<Arc<Script>>, uri: Uri) -> Response {
    script.asked.lock().unwrap().push(uri.to_string());
    let next = script.answers.lock().unwrap().pop_front();
    let Some((status, retry_after, pieces)) = next else {
        return std::future::pending().await;
    };
    let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header("Retry-After", seconds);
    }
    response
        .body(ServerBody::from_stream(futures::stream::iter(pieces)))
        .unwrap()
}

async fn server(answers: Vec<Answer>) -> (Api, Arc<Script>) {
    _ = rustls::crypto::ring::default_provider().install_default();
    let script = Arc::new(Script {
        answers: Mutex::new(answers.into()),
        asked: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&script));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    (Api::new(client, Arc::new(Metrics::default())), script)
}

/// Writes down what is delivered.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<String>>,
    news: tokio::sync::Notify,
}

impl Sink for Notes {
    fn deliver(&self, _: Watched, signals: &mut dyn Iterator<Item = Signal<'_>>) {
        for signal in signals {
            let name = |object: Object<'_>| {
                let Object::Text(text) = object else {
                    panic!("text from the wire")
                };
                serde_json::from_str::<Value>(text).unwrap()["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            self.lines.lock().unwrap().push(match signal {
                Signal::ListStart => "start".to_owned(),
                Signal::Applied(object) => format!("+{}", name(object)),
                Signal::Deleted(object) => format!("-{}", name(object)),
                Signal::ListEnd { version } => format!("end {version}"),
                Signal::Unserved { why, gone } => format!("unserved {gone}: {why}"),
            });
        }
        self.news.notify_one();
    }

    fn restarted(&self, _: Watched) {}
}

/// Watches Services against a script until so many lines are noted; answers the lines and what was asked.
async fn watched(answers: Vec<Answer>, lines: usize) -> (Vec<String>, Vec<String>, Vec<String>) {
    watched_of(Kind::Service, answers, lines).await
}

async fn watched_of(
    kind: Kind,
    answers: Vec<Answer>,
    lines: usize,
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (api, script) = server(answers).await;
    let (notes, troubles) = (Arc::new(Notes::default()), Arc::new(Troubles::default()));
    let scope = Scope {
        namespace: String::new(),
        instance_id: None,
    };
    let sink = Arc::clone(&notes) as Arc<dyn Sink>;
    let task = tokio::spawn(run(kind, api, scope, sink, Arc::clone(&troubles)));
    let enough = async {
        while notes.lines.lock().unwrap().len() < lines {
            notes.news.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), enough)
        .await
        .expect("the lines come in time");
    task.abort();
    let (noted, asked) = (
        notes.lines.lock().unwrap().clone(),
        script.asked.lock().unwrap().clone(),
    );
    (noted, asked, troubles.lines())
}

fn page(names: &[&str], version: &str, next: &str) -> Answer {
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name}}))
        .collect();
    let body = json!({"metadata": {"resourceVersion": version, "continue": next}, "items": items});
    (200, None, vec![body.to_string()])
}

fn line(kind: &str, name: &str, version: &str) -> String {
    format!(
        "{}\n",
        json!({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}})
    )
}

fn status(code: u16, message: &str) -> Answer {
    (
        code,
        None,
        vec![json!({"kind": "Status", "reason": "R", "message": message, "code": code}).to_string()],
    )
}

#[tokio::test]
async fn pages_then_a_watch_that_goes_on_where_it_ended() {
    let whole = line("ADDED", "c", "11");
    let (first, second) = whole.split_at(20);
    let (noted, asked, troubles) = watched(
        vec![
            page(&["a"], "10", "next page"),
            page(&["b"], "10", ""),
            // A line in two pieces, and two lines in one.
            (
                200,
                None,
                vec![
                    first.to_owned(),
                    format!("{second}{}", line("DELETED", "a", "12")),
                    line("BOOKMARK", "", "20"),
                ],
            ),
            (200, None, vec![line("MODIFIED", "c", "21")]),
        ],
        7,
    )
    .await;
    assert_eq!(noted, ["start", "+a", "+b", "end 10", "+c", "-a", "+c"]);
    let watch = |version| {
        format!(
            "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={version}"
        )
    };
    let expected = [
        "/api/v1/services?limit=100".to_owned(),
        "/api/v1/services?limit=100&continue=next%20page".to_owned(),
        watch(10),
        watch(20),
    ];
    assert_eq!(asked[..4], expected);
    assert_eq!(troubles, [""; 0]);
}

#[tokio::test]
async fn a_version_that_is_too_old_is_listed_again() {
    let expired = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}});
    let (noted, ..) = watched(
        vec![
            page(&["a"], "10", ""),
            (200, None, vec![format!("{expired}\n")]),
            page(&["b"], "30", ""),
        ],
        6,
    )
    .await;
    assert_eq!(noted, ["start", "+a", "end 10", "start", "+b", "end 30"]);
}

#[tokio::test]
async fn what_is_mended_is_taken_up_without_a_restart() {
    let garbage = (200, None, vec!["no json".to_owned()]);
    let (noted, _, troubles) = watched(
        vec![
            status(404, "no such resource"),
            status(403, "forbidden"),
            garbage,
            page(&[], "5", ""),
        ],
        2,
    )
    .await;
    assert_eq!(
        (noted, troubles),
        (vec!["start".to_owned(), "end 5".to_owned()], Vec::new())
    );
}

/// Who does without it is not told, and the process is ready.
#[tokio::test]
async fn a_kind_that_not_every_cluster_has_is_told_to_the_cache() {
    let (noted, asked, troubles) = watched_of(
        Kind::Route(&tidegate_traffic::smi::V1ALPHA1),
        vec![
            status(404, "no such resource"),
            status(403, "forbidden"),
            page(&["a"], "5", ""),
        ],
        5,
    )
    .await;
    let unserved = [
        "unserved true: the API server does not serve it",
        "unserved false: forbidden",
    ];
    assert_eq!(noted, [&unserved[..], &["start", "+a", "end 5"]].concat());
    assert_eq!(
        asked[0],
        "/apis/split.smi-spec.io/v1alpha1/trafficsplits?limit=100"
    );
    assert_eq!(troubles, [""; 0]);
}

/// Whoever needs it goes on with what is known, and people are told: the cache has no words for that.
#[tokio::test]
async fn a_right_that_is_taken_away_is_told() {
    let (noted, _, troubles) = watched_of(
        Kind::Route(&tidegate_traffic::smi::V1ALPHA1),
        vec![
            page(&["a"], "5", ""),
            status(403, "forbidden"),
            status(403, "forbidden"),
        ],
        4,
    )
    .await;
    assert_eq!(noted, ["start", "+a", "end 5", "unserved false: forbidden"]);
    assert_eq!(
        troubles,
        ["no right to list and watch trafficsplits: forbidden; apply deploy/install.yaml; trying again"]
    );
}

#[tokio::test]
async fn a_broken_line_means_a_new_list() {
    let (noted, ..) = watched(
        vec![
            page(&[], "1", ""),
            (200, None, vec!["{\"type\":\"ADDED\"\n".to_owned()]),
            page(&["a"], "2", ""),
        ],
        5,
    )
    .await;
    assert_eq!(noted, ["start", "end 1", "start", "+a", "end 2"]);
}

#[test]
fn advice_says_what_to_do() {
    for (code, words) in [
        (404, "install the CRDs"),
        (403, "apply deploy/install.yaml"),
        (401, "kubeconfig"),
        (0, "reached"),
    ] {
        let text = advice(Kind::Rollout, &Failure::new(code, "R", "m"));
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn selectors_narrow_the_watch_on_the_server() {
    let all = Scope {
        namespace: String::new(),
        instance_id: None,
    };
    let one = Scope {
        namespace: "shop".into(),
        instance_id: Some("x".into()),
    };
    let label = "argo-rollouts.argoproj.io/controller-instance-id";
    assert_eq!(
        all.query(Watched::Kind(Kind::Rollout)),
        format!("/apis/argoproj.io/v1alpha1/rollouts?labelSelector=%21{label}&")
    );
    assert_eq!(
        one.query(Watched::Kind(Kind::Rollout)),
        format!("/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts?labelSelector={label}%3Dx&")
    );
    assert_eq!(
        all.query(Watched::Kind(Kind::ReplicaSet)),
        "/apis/apps/v1/replicasets?labelSelector=rollouts-pod-template-hash&"
    );
    assert_eq!(
        one.query(Watched::Kind(Kind::Service)),
        "/api/v1/namespaces/shop/services?"
    );
    assert_eq!(
        all.query(Watched::Metadata(&SERVICES)),
        "/api/v1/services?labelSelector=tidegate.io/delivery&"
    );
}

#[tokio::test]
async fn answers_and_failures_of_requests() {
    let request = Request::new(Verb::MergePatch, &SERVICES, "shop", "web", json!({"a": 1}));
    let (mut busy, second) = (Duration::from_secs(5), Duration::from_secs(1));
    let overload = (429, Some("7"), vec!["Too many requests".to_owned()]);
    let (api, script) = server(vec![
        (200, None, vec!["{\"ok\":true}".to_owned()]),
        status(409, "changed"),
        overload,
    ])
    .await;
    assert_eq!(api.send(&request, busy).await, Ok(json!({"ok": true})));
    assert_eq!(
        api.send(&request, busy).await,
        Err(Failure::new(409, "R", "changed"))
    );
    assert_eq!(
        api.send(&request, busy).await,
        Err(Failure {
            retry_after: Some(SignedDuration::from_secs(7)),
            ..Failure::new(429, "", "Too many requests")
        })
    );
    busy = second;
    assert_eq!(
        api.send(&request, busy).await,
        Err(Failure::no_answer("no answer within 1s"))
    );
    assert_eq!(
        script.asked.lock().unwrap()[0],
        "/api/v1/namespaces/shop/services/web"
    );
}
