//! `kubectl tidegate delivery` and `explain delivery` against the simulated API server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::fs;
use std::sync::Arc;

use common::{Ran, command, run, same_as_file};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_sim::http::{Server, SharedStore};
use tidegate_sim::store::{PatchKind, Request, Store};
use tokio::runtime::Runtime;

const GOOD: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c";
const BAD: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

/// A simulated cluster with a Delivery in it whose newest commit was rejected. Its clock is a week behind, so that ages do
/// not depend on the moment.
struct Cluster {
    _runtime: Runtime,
    _server: Server,
    store: Arc<SharedStore>,
    folder: TempDir,
}

fn week_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(7 * 24) - SignedDuration::from_secs(5)
}

fn labels() -> Value {
    json!({"tidegate.io/delivery": "web", "tidegate.io/delivery-namespace": "shop"})
}

fn service(labels: &Value, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "labels": labels},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": port}]},
    })
}

fn status() -> Value {
    let since = week_ago() - SignedDuration::from_mins(1);
    let good = json!({"revision": format!("main@sha1:{GOOD}"), "digest": "sha256:aa"});
    let rollouts = json!([{"namespace": "shop", "name": "web", "podHash": "5b7b"}]);
    json!({
        "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "Rejected", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "message": "commit 1a2b3c4d (Third version) was rejected (AnalysisFailed): x; the cluster runs 9f8e7d6c",
        }],
        "head": {"revision": format!("main@sha1:{BAD}"), "digest": "sha256:bb"},
        "target": good, "why": "Pinned", "applied": good, "verified": good,
        "ledger": [
            {"digest": "sha256:bb", "commits": [BAD], "subject": "Third version", "author": "Ann", "state": "Rejected",
             "reason": "AnalysisFailed", "message": "x", "since": since, "rollouts": rollouts, "analysisRuns": ["web-5b7b-3"]},
            {"digest": "sha256:aa", "commits": [GOOD], "subject": "Second version", "author": "Ann", "state": "Verified",
             "since": since},
        ],
        "inventory": ["/v1/ConfigMap/shop/old", "/v1/Service/shop/web"],
    })
}

impl Cluster {
    fn new() -> Self {
        let mut store = Store::new(7);
        store.add_namespace("shop", week_ago());
        let store = Arc::new(SharedStore::new(store, week_ago));
        let runtime = Runtime::new().unwrap();
        let server = runtime
            .block_on(Server::start(store.clone(), ([127, 0, 0, 1], 0).into()))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config"), server.kubeconfig("shop")).unwrap();
        let cluster = Self {
            _runtime: runtime,
            _server: server,
            store,
            folder,
        };
        let delivery = json!({
            "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"source": {"git": {"url": "https://git.test/shop/deploy.git", "path": "prod"}}},
        });
        cluster.create(delivery);
        cluster.send("Delivery", |resource| {
            let patch = json!({"status": status()});
            Request::patch(resource, "shop", "web", PatchKind::Merge, patch).subresource("status")
        });
        cluster.create(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "web-5b7b-3", "namespace": "shop"},
            "spec": {"metrics": []},
            "status": {"phase": "Failed", "metricResults": [{
                "name": "success-rate", "phase": "Failed", "measurements": [{"phase": "Failed", "value": "[0.801]"}],
            }]},
        }));
        // as the controller applied them
        for object in [
            service(&labels(), 80),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old", "namespace": "shop", "labels": labels()},
                "data": {"a": "b"}}),
        ] {
            cluster.apply(object);
        }
        cluster
    }

    fn apply(&self, object: Value) {
        let text = |field: &str| object[field].as_str().unwrap().to_owned();
        let (kind, name) = (
            text("kind"),
            object["metadata"]["name"].as_str().unwrap().to_owned(),
        );
        self.send(&kind, |resource| {
            let request = Request::patch(resource, "shop", &name, PatchKind::Apply, object);
            request.with(|options| "tidegate".clone_into(&mut options.field_manager))
        });
    }

    fn create(&self, object: Value) -> Value {
        let kind = object["kind"].as_str().unwrap().to_owned();
        self.send(&kind, |resource| Request::create(resource, "shop", object))
    }

    fn send(
        &self,
        kind: &str,
        request: impl FnOnce(&Arc<tidegate_sim::store::Resource>) -> Request,
    ) -> Value {
        self.store.with(|store, now| {
            let api_version = match kind {
                "Delivery" => "tidegate.io/v1alpha1",
                "AnalysisRun" => "argoproj.io/v1alpha1",
                _ => "v1",
            };
            let resource = store.registry().by_kind(api_version, kind).unwrap().clone();
            let response = store.request(request(&resource), now);
            let response = response.unwrap_or_else(|status| panic!("{kind}: {status:?}"));
            response.object().unwrap().as_ref().clone()
        })
    }

    fn annotation(&self, key: &str) -> Value {
        let delivery = self.send("Delivery", |resource| Request::get(resource, "shop", "web"));
        delivery["metadata"]["annotations"][key].clone()
    }

    /// Writes a file of the checkout.
    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join("checkout").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, line: &str) -> std::process::Command {
        let config = self.folder.path().join("config");
        let checkout = self.folder.path().join("checkout");
        let line = line.replace("CHECKOUT", &checkout.display().to_string());
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = command(&words);
        command.arg("--kubeconfig").arg(config);
        command
    }

    fn run(&self, line: &str) -> Ran {
        run(self.command(line))
    }

    /// It must fail with this on standard error.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, stderr: &str) {
        let ran = self.run(line);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (code, "", stderr),
            "{line}"
        );
    }
}

#[test]
fn what_is_there() {
    let cluster = Cluster::new();
    for (line, file) in [
        ("delivery list", "delivery-list.txt"),
        ("dl ls -A", "delivery-list-of-all.txt"),
        ("dl get web", "delivery-get.txt"),
        ("explain delivery web", "delivery-explain.txt"),
        ("explain dl web", "delivery-explain.txt"),
    ] {
        same_as_file(file, &cluster.run(line).ok());
    }
    let json = |line: &str| -> Value { serde_json::from_str(&cluster.run(line).ok()).unwrap() };
    let row = &json("dl list -o json")[0];
    assert_eq!(
        (&row["state"], &row["target"], &row["pinned"]),
        (&json!("Rejected"), &json!(GOOD), &json!("yes"))
    );
    assert_eq!(
        json("dl get web -o json")["git"],
        json!({"commit": BAD, "subject": "Third version"})
    );
    assert_eq!(json("dl history web -o json")[1]["commits"], json!([GOOD]));
    let history = cluster.run("dl history web").ok();
    let heads: Vec<&str> = history
        .lines()
        .filter(|line| !line.starts_with(' ') && !line.is_empty())
        .collect();
    assert!(
        heads[0].starts_with(&format!("{BAD}  Rejected (AnalysisFailed), since ")),
        "{history}"
    );
    assert!(
        heads[1].starts_with(&format!("{GOOD}  Verified, since ")),
        "{history}"
    );
    let explained = json("explain delivery web -o json");
    assert_eq!(
        explained["reasons"][0]["evidence"],
        json!(["metric success-rate of analysis run web-5b7b-3: Failed: [0.801]"])
    );
}

#[test]
fn what_is_not_there() {
    let cluster = Cluster::new();
    let said = "Error: deliveries.tidegate.io \"nope\" not found in namespace shop (what is there: kubectl tidegate delivery list -n shop)\n";
    for line in [
        "dl get nope",
        "dl history nope",
        "dl sync nope",
        "dl retry nope",
        "dl pin nope 1a2b3c4d",
        "dl unpin nope",
        "explain delivery nope",
    ] {
        cluster.fails(line, 1, said);
    }
    cluster.fails("dl diff nope --path .", 2, said);
}

#[test]
fn annotations_tell_the_controller() {
    let cluster = Cluster::new();
    assert_eq!(cluster.run("dl sync web").ok(), "delivery 'web' syncs\n");
    let first = cluster.annotation("tidegate.io/sync");
    assert!(first.as_str().unwrap().parse::<Timestamp>().is_ok(), "{first}");
    cluster.run("dl sync web").ok();
    assert_ne!(
        cluster.annotation("tidegate.io/sync"),
        first,
        "each is another one"
    );

    let said = "delivery 'web' retries commit 1a2b3c4d (Third version)\n";
    assert_eq!(cluster.run("dl retry web").ok(), said);
    assert!(cluster.annotation("tidegate.io/retry").is_string());

    assert_eq!(
        cluster.run("dl pin web 9f8e7d").ok(),
        "delivery 'web' pinned to commit 9f8e7d6c\n"
    );
    assert_eq!(cluster.annotation("tidegate.io/pin"), json!(GOOD));
    let unknown = "Error: delivery \"web\" knows no commit abcdef that could be released (what it knows: kubectl tidegate delivery history web -n shop)\n";
    cluster.fails("dl pin web abcdef", 1, unknown);
    assert_eq!(cluster.annotation("tidegate.io/pin"), json!(GOOD));
    assert_eq!(cluster.run("dl unpin web").ok(), "delivery 'web' unpinned\n");
    assert_eq!(cluster.annotation("tidegate.io/pin"), Value::Null);
}

#[test]
fn only_what_was_rejected_is_retried() {
    let cluster = Cluster::new();
    cluster.send("Delivery", |resource| {
        let patch = json!({"status": {"head": {"revision": format!("main@sha1:{GOOD}")}}});
        Request::patch(resource, "shop", "web", PatchKind::Merge, patch).subresource("status")
    });
    let said = "Error: delivery \"web\": its newest commit 9f8e7d6c (Second version) is not rejected: there is nothing to retry\n";
    cluster.fails("dl retry web", 1, said);
    assert_eq!(cluster.annotation("tidegate.io/retry"), Value::Null);
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
const OLD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old}\ndata: {a: b}\n";

#[test]
fn render_prints_what_a_commit_renders_to() {
    let cluster = Cluster::new();
    cluster.write(".git/config", "");
    cluster.write("base/kustomization.yaml", "resources: [web.yaml]\n");
    cluster.write("base/web.yaml", SERVICE);
    cluster.write(
        "prod/kustomization.yaml",
        "resources: [../base]\nnamePrefix: prod-\n",
    );
    let text = cluster.run("dl render CHECKOUT/prod").ok();
    same_as_file("delivery-render.yaml", &text);
    let list: Value = serde_json::from_str(&cluster.run("dl render CHECKOUT/prod -o json").ok()).unwrap();
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&json!("List"), &json!("prod-web"))
    );

    std::os::unix::fs::symlink(
        "/etc/passwd",
        cluster.folder.path().join("checkout/base/passwd.yaml"),
    )
    .unwrap();
    let link =
        "Error: base/passwd.yaml: is a symbolic link, which is not followed: put the file itself here\n";
    assert!(
        cluster
            .run("dl render CHECKOUT/prod")
            .ok()
            .contains("name: prod-web")
    );
    fs::remove_file(cluster.folder.path().join("checkout/base/kustomization.yaml")).unwrap();
    cluster.fails("dl render CHECKOUT/base", 1, link);
    cluster.write("bad/a.yaml", "kind: Service\n");
    cluster.fails(
        "dl render CHECKOUT/bad",
        1,
        "Error: bad/a.yaml:1:1: Service: an object needs an apiVersion\n",
    );
    let ran = cluster.run("dl render CHECKOUT/nothing");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("Error: cannot read "), "{}", ran.stderr);
}

/// A chart is rendered by the helm of the PATH, as the Delivery's manifest says.
#[test]
fn render_prints_what_a_chart_renders_to() {
    let cluster = Cluster::new();
    cluster.write(".git/config", "");
    cluster.write(
        "chart/Chart.yaml",
        "{apiVersion: v2, name: website, version: 1.0.0}\n",
    );
    cluster.write("chart/values.yaml", "{color: red, size: small}\n");
    cluster.write("chart/values-prod.yaml", "size: large\n");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {{ toJson .Values }}\n";
    cluster.write("chart/templates/map.yaml", map);
    let delivery = "apiVersion: tidegate.io/v1alpha1\nkind: Delivery\nmetadata: {name: web, namespace: shop}\nspec:\n  \
        source:\n    git: {url: 'https://example.com/a.git'}\n    \
        helm: {valueFiles: [values-prod.yaml], values: {color: blue}}\n";
    cluster.write("web.yaml", delivery);
    let none = tempfile::tempdir().unwrap();
    let render = |path: &std::path::Path| {
        let mut command = cluster.command("dl render CHECKOUT/chart --delivery CHECKOUT/web.yaml");
        command.env("PATH", path);
        run(command)
    };
    let said = "Error: chart/Chart.yaml: is a Helm chart, and there is no helm on the PATH: install Helm 3\n";
    let ran = render(none.path());
    assert_eq!((ran.code, ran.stderr.as_str()), (1, said));
    let Some(helm) = std::env::var_os("TIDEGATE_HELM") else {
        eprintln!("skipped: set TIDEGATE_HELM=\"$(cargo xtask helm)\"");
        return;
    };
    same_as_file(
        "delivery-render-chart.yaml",
        &render(std::path::Path::new(&helm).parent().unwrap()).ok(),
    );
}

#[test]
fn diff_says_what_would_change_and_changes_nothing() {
    let cluster = Cluster::new();
    let revision = || cluster.store.with(|store, _| store.revision());
    cluster.write("prod/web.yaml", SERVICE);
    cluster.write("prod/old.yaml", OLD);
    let before = revision();
    assert_eq!(cluster.run("dl diff web --path CHECKOUT/prod").ok(), "");

    cluster.write("prod/web.yaml", &SERVICE.replace("port: 80", "port: 81"));
    cluster.write("prod/new.yaml", &OLD.replace("name: old", "name: new"));
    fs::remove_file(cluster.folder.path().join("checkout/prod/old.yaml")).unwrap();
    let ran = cluster.run("dl diff web --path CHECKOUT/prod");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
    same_as_file("delivery-diff.txt", &ran.stdout);

    // of the kinds that nobody serves, and of manifests that are none, the place is said
    cluster.write(
        "prod/new.yaml",
        "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n",
    );
    let said = "Error: new.yaml:1:1: the cluster has no kind Thing in example.com/v1\n";
    cluster.fails("dl diff web -p CHECKOUT/prod", 2, said);
    cluster.write("prod/new.yaml", &OLD.replace("data: {a: b}", "data: {a: 1}"));
    let ran = cluster.run("dl diff web -p CHECKOUT/prod");
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(
        ran.stderr
            .starts_with("Error: new.yaml:1:1: ConfigMap shop/old: "),
        "{}",
        ran.stderr
    );
    assert_eq!(revision(), before, "nothing was written");
}
