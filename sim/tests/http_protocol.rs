//! The HTTP face, request by request: what clients rely on that kubectl does not show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and its helpers read better so"
)]

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_sim::{
    http::{Server, ServerOptions, SharedStore},
    store::{ManagedFields, Settings, Store},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const ROLLOUTS: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts";

/// A server and a client that speaks just enough HTTP to see every byte.
struct Face {
    server: Server,
    shared: Arc<SharedStore>,
}

struct Answer {
    code: u16,
    headers: String,
    body: Value,
}

impl Face {
    async fn start(options: ServerOptions) -> Self {
        let settings = Settings {
            managed_fields: ManagedFields::Always,
            ..Settings::default()
        };
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut store = Store::with_settings(1, settings);
        store.add_namespace("shop", now);
        let shared = Arc::new(SharedStore::new(store, move || now));
        let server = Server::start_with(shared.clone(), ([127, 0, 0, 1], 0).into(), options)
            .await
            .unwrap();
        Self { server, shared }
    }

    async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port()))
            .await
            .unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head = format!("{head}{name}: {value}\r\n");
        }
        head = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.open(method, path, headers, body).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        let code = headers.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        Answer {
            code,
            headers: headers.to_lowercase(),
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[
                ("Content-Type", "application/json"),
                ("User-Agent", "robot/1.0 (x)"),
            ],
            &body.to_string(),
        )
        .await
    }

    async fn patch(&self, path: &str, media: &str, body: &str) -> Answer {
        self.send("PATCH", path, &[("Content-Type", media)], body).await
    }

    /// The events of a watch until it has told `count` of them.
    async fn watch(&self, path: &str, accept: &str, count: usize) -> Vec<(String, Value)> {
        let mut stream = self.open("GET", path, &[("Accept", accept)], "").await;
        let mut events = Vec::new();
        let mut line = String::new();
        while events.len() < count {
            line.clear();
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line)).await;
            assert!(
                read.expect("an event in time").unwrap() > 0,
                "the watch ended after {events:?}"
            );
            // chunk sizes and headers are no events
            if let Ok(mut event) = serde_json::from_str::<Value>(&line)
                && let Some(kind) = event["type"].as_str().map(str::to_owned)
            {
                events.push((kind, event["object"].take()));
            }
        }
        events
    }
}

fn rollout(name: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 2},
    })
}

fn kinds(events: &[(String, Value)]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|(kind, o)| (kind.as_str(), o["metadata"]["name"].as_str().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn codes_bodies_and_warnings() {
    let face = Face::start(ServerOptions::default()).await;
    let made = face.post(ROLLOUTS, &rollout("web")).await;
    assert_eq!((made.code, &made.body["metadata"]["name"]), (201, &json!("web")));
    assert_eq!(
        made.body["metadata"]["managedFields"][0]["manager"], "robot",
        "the first word of the client's name"
    );
    let again = face.post(ROLLOUTS, &rollout("web")).await;
    assert_eq!(
        (again.code, &again.body["reason"]),
        (409, &json!("AlreadyExists"))
    );
    assert_eq!(
        again.body["details"],
        json!({"name": "web", "group": "argoproj.io", "kind": "rollouts"})
    );
    let missing = face.get(&format!("{ROLLOUTS}/none")).await;
    assert_eq!(
        (missing.code, &missing.body["message"]),
        (404, &json!("rollouts.argoproj.io \"none\" not found"))
    );
    assert_eq!(face.get("/apis/nobody.test/v1/things").await.code, 404);
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "typo": 1}});
    let warned = face.post("/api/v1/namespaces/shop/services", &service).await;
    assert!(
        warned
            .headers
            .contains(r#"warning: 299 - "unknown field \"spec.typo\"""#),
        "{}",
        warned.headers
    );
    let strict = face
        .post(
            "/api/v1/namespaces/shop/services?fieldValidation=Strict",
            &service,
        )
        .await;
    assert_eq!(strict.code, 400);
    let gone = face.send("DELETE", &format!("{ROLLOUTS}/web"), &[], "").await;
    assert_eq!(
        (gone.code, &gone.body["status"], &gone.body["details"]["kind"]),
        (200, &json!("Success"), &json!("rollouts"))
    );
    assert_eq!(face.get("/healthz").await.body, json!("ok"));
    assert_eq!(face.send("POST", "/apis", &[], "{}").await.code, 405);
}

#[tokio::test]
async fn every_patch_form_has_its_media_type() {
    let face = Face::start(ServerOptions::default()).await;
    face.post(ROLLOUTS, &rollout("web")).await;
    let at = format!("{ROLLOUTS}/web");
    let cases = [
        ("application/merge-patch+json", r#"{"spec":{"replicas":3}}"#, 200),
        (
            "application/json-patch+json",
            r#"[{"op":"test","path":"/spec/replicas","value":3}]"#,
            200,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"test","path":"/spec/replicas","value":4}]"#,
            422,
        ),
        ("application/strategic-merge-patch+json", "{}", 415),
        ("application/json", "{}", 415),
        ("application/merge-patch+json; charset=utf-8", "{}", 200),
        ("application/merge-patch+json", "{", 400),
    ];
    for (media, body, code) in cases {
        assert_eq!(face.patch(&at, media, body).await.code, code, "{media} {body}");
    }
    let yaml = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nspec:\n  paused: true\n";
    let applied = face
        .patch(
            &format!("{at}?fieldManager=git"),
            "application/apply-patch+yaml",
            yaml,
        )
        .await;
    assert_eq!(
        (applied.code, &applied.body["spec"]),
        (200, &json!({"replicas": 3, "paused": true}))
    );
}

#[tokio::test]
async fn bodies_are_limited() {
    let face = Face::start(ServerOptions::default()).await;
    let mut body = rollout("big");
    body["spec"]["text"] = json!("x".repeat(3 << 20));
    let refused = face.post(ROLLOUTS, &body).await;
    assert_eq!(
        (refused.code, &refused.body["reason"]),
        (413, &json!("RequestEntityTooLarge"))
    );
    body["spec"]["text"] = json!("x".repeat(2 << 20));
    assert_eq!(face.post(ROLLOUTS, &body).await.code, 413, "more than etcd takes");
}

#[tokio::test]
async fn tokens_are_checked_if_there_are_any() {
    let tokens = [("secret".to_owned(), "alice".to_owned())].into();
    let face = Face::start(ServerOptions {
        tokens,
        ..ServerOptions::default()
    })
    .await;
    assert_eq!(face.get(ROLLOUTS).await.code, 401);
    assert_eq!(
        face.send("GET", ROLLOUTS, &[("Authorization", "Bearer wrong")], "")
            .await
            .code,
        401
    );
    let headers = [
        ("Authorization", "Bearer secret"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(
        face.send("POST", ROLLOUTS, &headers, &rollout("web").to_string())
            .await
            .code,
        201
    );
    let user = face
        .shared
        .with(|store, _| store.commits_since(0).last().unwrap().user.clone());
    assert_eq!(user, "alice");
    assert_eq!(face.get("/readyz").await.code, 200, "health is for everybody");
    assert!(face.server.kubeconfig("shop").contains("secret"));
}

#[tokio::test]
async fn a_watch_starts_where_it_is_told_to() {
    let face = Face::start(ServerOptions::default()).await;
    face.post(ROLLOUTS, &rollout("a")).await;
    let list = face.get(ROLLOUTS).await;
    let version = list.body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(list.body["kind"], "RolloutList");
    face.post(ROLLOUTS, &rollout("b")).await;
    face.send("DELETE", &format!("{ROLLOUTS}/a"), &[], "").await;

    // the state first, if no version is named
    let events = face.watch(&format!("{ROLLOUTS}?watch=true"), "*/*", 1).await;
    assert_eq!(kinds(&events), [("ADDED", "b")]);
    // from a version on
    let events = face
        .watch(&format!("{ROLLOUTS}?watch=1&resourceVersion={version}"), "*/*", 2)
        .await;
    assert_eq!(kinds(&events), [("ADDED", "b"), ("DELETED", "a")]);
    // the state and a mark at its end, as kube-rs and client-go ask for
    let path = format!(
        "{ROLLOUTS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let events = face.watch(&path, "*/*", 2).await;
    assert_eq!(kinds(&events), [("ADDED", "b"), ("BOOKMARK", "")]);
    assert_eq!(
        events[1].1["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    assert_eq!(events[1].1["kind"], "Rollout");
    // from before the kept history
    face.shared.with(|store, _| store.compact(store.revision()));
    let events = face
        .watch(
            &format!("{ROLLOUTS}?watch=true&resourceVersion={version}"),
            "*/*",
            1,
        )
        .await;
    assert_eq!(
        (events[0].0.as_str(), &events[0].1["code"], &events[0].1["reason"]),
        ("ERROR", &json!(410), &json!("Expired"))
    );
}

#[tokio::test]
async fn a_watch_goes_on_while_things_happen() {
    let options = ServerOptions {
        bookmark_every: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let face = Arc::new(Face::start(options).await);
    let watcher = tokio::spawn({
        let face = face.clone();
        async move {
            face.watch(
                &format!("{ROLLOUTS}?watch=true&labelSelector=app%3Dweb"),
                "*/*",
                3,
            )
            .await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for name in ["web", "other"] {
        face.post(ROLLOUTS, &rollout(name)).await;
    }
    let at = format!("{ROLLOUTS}/web");
    face.patch(&at, "application/merge-patch+json", r#"{"spec":{"replicas":9}}"#)
        .await;
    face.send("DELETE", &at, &[], "").await;
    assert_eq!(
        kinds(&watcher.await.unwrap()),
        [("ADDED", "web"), ("MODIFIED", "web"), ("DELETED", "web")]
    );
    let events = face
        .watch(
            &format!("{ROLLOUTS}?watch=true&allowWatchBookmarks=true&resourceVersion=0"),
            "*/*",
            3,
        )
        .await;
    assert_eq!(
        kinds(&events),
        [("ADDED", "other"), ("BOOKMARK", ""), ("BOOKMARK", "")]
    );
    let revision = face.shared.with(|store, _| store.revision());
    assert_eq!(events[1].1["metadata"]["resourceVersion"], revision.to_string());
}

#[tokio::test]
async fn a_watch_ends_in_time_and_with_the_server() {
    let face = Face::start(ServerOptions::default()).await;
    let path = format!("{ROLLOUTS}?watch=true&timeoutSeconds=1");
    let answer = tokio::time::timeout(Duration::from_secs(10), face.get(&path))
        .await
        .expect("the watch ends by itself");
    assert_eq!(answer.code, 200);
    let mut endless = face.open("GET", &format!("{ROLLOUTS}?watch=true"), &[], "").await;
    let mut line = String::new();
    endless.read_line(&mut line).await.unwrap();
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    face.server.shutdown().await;
    let mut rest = String::new();
    tokio::time::timeout(Duration::from_secs(10), endless.read_to_string(&mut rest))
        .await
        .expect("the server ends it")
        .unwrap();
}

#[tokio::test]
async fn answers_come_in_the_form_that_is_asked_for() {
    let face = Face::start(ServerOptions::default()).await;
    face.post(ROLLOUTS, &rollout("web")).await;
    let accept = |form: &str| format!("application/json;as={form};v=v1;g=meta.k8s.io");
    let table = face
        .send("GET", ROLLOUTS, &[("Accept", &accept("Table"))], "")
        .await
        .body;
    assert_eq!(table["kind"], "Table");
    let names: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["Name", "Desired", "Current", "Up-to-date", "Available", "Age"]
    );
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["web", 2, null, null, null, "0s"])
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = face
        .send(
            "GET",
            ROLLOUTS,
            &[("Accept", &accept("PartialObjectMetadataList"))],
            "",
        )
        .await
        .body;
    assert_eq!(
        (&partial["kind"], partial["items"][0].get("spec")),
        (&json!("PartialObjectMetadataList"), None)
    );
    let protobuf = face
        .send(
            "GET",
            ROLLOUTS,
            &[("Accept", "application/vnd.kubernetes.protobuf")],
            "",
        )
        .await;
    assert!(protobuf.headers.contains("content-type: application/json"));
    let events = face
        .watch(&format!("{ROLLOUTS}?watch=true"), &accept("Table"), 1)
        .await;
    assert_eq!(
        (events[0].0.as_str(), &events[0].1["rows"][0]["cells"][0]),
        ("ADDED", &json!("web"))
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let face = Face::start(ServerOptions::default()).await;
    for name in ["a", "b", "c"] {
        face.post(ROLLOUTS, &rollout(name)).await;
    }
    let first = face.get(&format!("{ROLLOUTS}?limit=2")).await.body;
    let token = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(
        (
            first["items"].as_array().unwrap().len(),
            &first["metadata"]["remainingItemCount"]
        ),
        (2, &json!(1))
    );
    let second = face
        .get(&format!(
            "{ROLLOUTS}?limit=2&continue={}",
            token.replace(':', "%3A")
        ))
        .await
        .body;
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
}

#[tokio::test]
async fn discovery_in_both_forms_says_the_same() {
    let face = Face::start(ServerOptions::default()).await;
    let groups = face.get("/apis").await.body;
    let group = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["name"] == "argoproj.io")
        .unwrap()
        .clone();
    assert_eq!(group["preferredVersion"]["groupVersion"], "argoproj.io/v1alpha1");
    let list = face.get("/apis/argoproj.io/v1alpha1").await.body;
    let mut names: Vec<_> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "analysisruns",
            "analysistemplates",
            "clusteranalysistemplates",
            "experiments",
            "rollouts",
            "rollouts/scale",
            "rollouts/status",
        ]
    );
    let accept = [(
        "Accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    )];
    let all = face.send("GET", "/apis", &accept, "").await;
    assert!(
        all.headers
            .contains("content-type: application/json;g=apidiscovery.k8s.io;v=v2;as=apigroupdiscoverylist")
    );
    let item = all.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["metadata"]["name"] == "argoproj.io")
        .unwrap()
        .clone();
    let rollouts = item["versions"][0]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["resource"] == "rollouts")
        .unwrap()
        .clone();
    assert_eq!(
        (&rollouts["scope"], &rollouts["shortNames"]),
        (&json!("Namespaced"), &json!(["ro"]))
    );
    assert_eq!(
        rollouts["subresources"][0]["responseKind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(face.get("/version").await.body["minor"], "34");
}

#[tokio::test]
async fn openapi_says_by_which_key_lists_are_merged() {
    let face = Face::start(ServerOptions::default()).await;
    let index = face.get("/openapi/v3").await.body;
    let at = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = face.get(at).await.body;
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    assert_eq!(
        item["patch"]["x-kubernetes-group-version-kind"]["kind"],
        "Deployment"
    );
    let schema = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    let containers = &schema["properties"]["spec"]["properties"]["template"]["properties"]["spec"]["properties"]
        ["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
}
