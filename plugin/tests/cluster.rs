//! The binary against the simulated API server, with objects that upstream's controller left in a real cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Ran, command, run, same_as_file};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_sim::http::{Server, SharedStore};
use tidegate_sim::store::{PatchKind, Request, Resource, Store};
use tokio::runtime::Runtime;

/// Longest wait for the binary to say something.
const PATIENCE: Duration = Duration::from_mins(1);

/// A simulated cluster whose clock is a week behind, so that ages do not depend on the moment.
struct Cluster {
    _runtime: Runtime,
    _server: Server,
    store: Arc<SharedStore>,
    folder: TempDir,
    namespace: String,
}

fn week_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(7 * 24) - SignedDuration::from_secs(5)
}

impl Cluster {
    /// A cluster with the first dump of a recording in it.
    fn of(recording: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/recordings/{recording}.jsonl"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let dump = lines.find(|line| line.get("dump").is_some()).unwrap();
        let objects = dump["objects"].as_array().unwrap();
        let namespace = objects[0]["metadata"]["namespace"].as_str().unwrap().to_owned();

        let mut store = Store::new(7);
        store.add_namespace(&namespace, week_ago());
        let store = Arc::new(SharedStore::new(store, week_ago));
        let runtime = Runtime::new().unwrap();
        let server = runtime
            .block_on(Server::start(store.clone(), ([127, 0, 0, 1], 0).into()))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), server.kubeconfig(&namespace)).unwrap();
        let cluster = Self {
            _runtime: runtime,
            _server: server,
            store,
            folder,
            namespace,
        };
        cluster.fill(objects);
        cluster
    }

    /// The Rollout first: the uid that it gets replaces the one in the owner references of the rest.
    fn fill(&self, objects: &[Value]) {
        let (rollouts, rest): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object["kind"] == "Rollout");
        let mut uid = String::new();
        for object in rollouts.into_iter().chain(rest) {
            let mut object = object.clone();
            let status = object["status"].take();
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for field in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
                "generation",
            ] {
                metadata.remove(field);
            }
            for owner in metadata
                .get_mut("ownerReferences")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                owner["uid"] = json!(uid);
            }
            let kind = object["kind"].as_str().unwrap().to_owned();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let stored = self.write(&kind, |resource| {
                Request::create(resource, &self.namespace, object)
            });
            if kind == "Rollout" {
                stored["metadata"]["uid"].as_str().unwrap().clone_into(&mut uid);
            }
            if status.as_object().is_some_and(|status| !status.is_empty()) {
                let mut status = status;
                // What the new object counts by itself.
                if let Some(generation) = status.get_mut("observedGeneration") {
                    let counted = stored["metadata"]["generation"].clone();
                    *generation = if generation.is_string() {
                        json!(counted.to_string())
                    } else {
                        counted
                    };
                }
                self.patch(&kind, &name, "status", json!({"status": status}));
            }
        }
    }

    fn write(&self, kind: &str, request: impl FnOnce(&Arc<Resource>) -> Request) -> Value {
        self.store.with(|store, now| {
            let (group, plural) = match kind {
                "Rollout" => ("argoproj.io", "rollouts"),
                "AnalysisRun" => ("argoproj.io", "analysisruns"),
                "AnalysisTemplate" => ("argoproj.io", "analysistemplates"),
                "ReplicaSet" => ("apps", "replicasets"),
                "Service" => ("", "services"),
                "Ingress" => ("networking.k8s.io", "ingresses"),
                "Pod" => ("", "pods"),
                other => panic!("{other} in a dump"),
            };
            let resource = store.registry().by_group(group, plural).unwrap().clone();
            let response = store
                .request(request(&resource), now)
                .unwrap_or_else(|status| panic!("{kind}: {status:?}"));
            response.object().unwrap().as_ref().clone()
        })
    }

    fn patch(&self, kind: &str, name: &str, subresource: &str, patch: Value) {
        self.write(kind, |resource| {
            let request = Request::patch(resource, &self.namespace, name, PatchKind::Merge, patch);
            if subresource.is_empty() || kind.starts_with("Analysis") {
                request
            } else {
                request.subresource(subresource)
            }
        });
    }

    fn stored(&self, kind: &str, name: &str) -> Value {
        self.write(kind, |resource| Request::get(resource, &self.namespace, name))
    }

    fn command(&self, line: &str) -> std::process::Command {
        let config = self.folder.path().join("config");
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
    fn fails(&self, line: &str, code: i32, stderr: &str) -> String {
        let ran = self.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (code, stderr), "{line}");
        ran.stdout
    }
}

#[test]
fn what_is_there() {
    let cluster = Cluster::of("canary-nginx");
    for (line, file) in [
        ("get rollout web", "get-rollout.txt"),
        ("get ro web --no-color", "get-rollout.txt"),
        ("list rollouts", "list-rollouts.txt"),
        ("get rollouts", "list-rollouts.txt"),
        ("list ro -A", "list-rollouts-of-all.txt"),
        ("explain web", "explain.txt"),
        ("status web --watch=false -o yaml", "status.yaml"),
    ] {
        same_as_file(file, &cluster.run(line).ok());
    }
    assert_eq!(
        cluster.run("status web --watch=false").ok(),
        "Paused - CanaryPauseStep\n"
    );
    let info: Value = serde_json::from_str(&cluster.run("get ro web -o json").ok()).unwrap();
    assert_eq!(
        (
            &info["status"],
            &info["canary"],
            &info["tree"]["children"][0]["children"][0]["info"]
        ),
        (
            &json!("Paused"),
            &json!({"step": "1/8", "setWeight": 20, "actualWeight": 20}),
            &json!(["canary"])
        )
    );
    let rows: Value = serde_json::from_str(&cluster.run("list ro --name web -o json").ok()).unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["desired"], &rows[1]),
        (&json!("web"), &json!(5), &Value::Null)
    );
    let nothing = cluster.run("list ro --name nope");
    assert_eq!(
        (nothing.code, nothing.stdout.as_str(), nothing.stderr.as_str()),
        (0, "", "No resources found.\n")
    );
}

#[test]
fn what_is_not_there() {
    let cluster = Cluster::of("canary-nginx");
    let hint = "(what is there: kubectl tidegate list rollouts -n rec-canary-nginx)";
    let said =
        format!("Error: rollouts.argoproj.io \"nope\" not found in namespace rec-canary-nginx {hint}\n");
    for line in [
        "get ro nope",
        "get ro nope -w",
        "status nope",
        "promote nope",
        "explain nope",
        "undo nope",
    ] {
        assert_eq!(cluster.fails(line, 1, &said), "", "{line}");
    }
    assert_eq!(
        cluster.fails("abort web nope", 1, &said),
        "rollout 'web' aborted\n"
    );
    let said = "Error: \"we/b\" is not a name: use lower case letters, digits, - and . (see --help)\n";
    cluster.fails("get ro we/b", 1, said);
    assert_eq!(cluster.run("promote").code, 1);
    assert_eq!(cluster.run("fly").code, 1);
}

#[test]
fn the_verbs_write_what_upstream_writes() {
    let cluster = Cluster::of("canary-nginx");
    let status = |field: &str| cluster.stored("Rollout", "web")["status"][field].clone();
    let spec = |field: &str| cluster.stored("Rollout", "web")["spec"][field].clone();

    assert_eq!(cluster.run("pause web").ok(), "rollout 'web' paused\n");
    assert_eq!(spec("paused"), json!(true));
    assert_eq!(cluster.run("promote web").ok(), "rollout 'web' promoted\n");
    assert_eq!(
        (spec("paused"), status("pauseConditions")),
        (json!(false), Value::Null)
    );
    assert_eq!(
        (status("currentStepIndex"), status("controllerPause")),
        (json!(1), json!(true))
    );

    assert_eq!(cluster.run("promote web").ok(), "rollout 'web' promoted\n");
    assert_eq!(status("currentStepIndex"), json!(2));
    let ran = cluster.run("promote web --skip-all-steps");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "rollout 'web' promoted\n"));
    assert_eq!(
        ran.stderr,
        "Flag --skip-all-steps has been deprecated, use --full instead\n"
    );
    assert_eq!(status("currentStepIndex"), json!(8));
    assert_eq!(
        cluster.run("promote web --full").ok(),
        "rollout 'web' fully promoted\n"
    );
    assert_eq!(status("promoteFull"), json!(true));

    assert_eq!(cluster.run("abort web").ok(), "rollout 'web' aborted\n");
    assert_eq!(status("abort"), json!(true));
    for line in ["retry rollout web", "retry web"] {
        assert_eq!(cluster.run(line).ok(), "rollout 'web' retried\n");
        assert_eq!(status("abort"), json!(false));
        cluster.patch("Rollout", "web", "status", json!({"status": {"abort": true}}));
    }

    assert_eq!(
        cluster.run("restart web --in 10m").ok(),
        "rollout 'web' restarts in 10m\n"
    );
    let at: Timestamp = spec("restartAt").as_str().unwrap().parse().unwrap();
    let seconds = at.as_second() - Timestamp::now().as_second();
    assert!((540..=600).contains(&seconds), "{seconds}");

    assert_eq!(
        cluster.run("set image web web=nginx:2").ok(),
        "rollout \"web\" image updated\n"
    );
    assert_eq!(spec("template")["spec"]["containers"][0]["image"], "nginx:2");
    let said = "Error: unable to find container named \"nope\"\n";
    cluster.fails("set image web nope=nginx:2", 1, said);
}

#[test]
fn undo_goes_back_to_the_template_of_a_replica_set() {
    let cluster = Cluster::of("canary-nginx");
    let template = || cluster.stored("Rollout", "web")["spec"]["template"].clone();
    let before = template();
    let skipped = "skipped rollback (current template already matches revision 2)\n";
    assert_eq!(cluster.run("undo web --to-revision=2").ok(), skipped);
    assert_eq!(template(), before);
    assert_eq!(cluster.run("undo web").ok(), "rollout 'web' undo\n");
    assert_eq!(template()["spec"]["containers"][0]["env"][0]["value"], "v1");
    assert_eq!(template()["metadata"]["labels"], json!({"app": "web"}));
    cluster.fails(
        "undo web --to-revision=9",
        1,
        "Error: unable to find specified revision 9 in history\n",
    );
}

#[test]
fn terminate_an_analysis_run() {
    let cluster = Cluster::of("canary-analysis-fails");
    let run = "web-5b7b5bfbd4-2-2";
    assert_eq!(
        cluster.run(&format!("terminate ar {run}")).ok(),
        format!("analysisRun '{run}' terminated\n")
    );
    assert_eq!(
        cluster.stored("AnalysisRun", run)["spec"]["terminate"],
        json!(true)
    );
    same_as_file("get-aborted.txt", &cluster.run("get ro web").ok());
}

#[test]
fn status_waits_for_the_end() {
    let cluster = Cluster::of("canary-nginx");
    let late = "Error: Rollout status watch exceeded timeout\n";
    assert_eq!(
        cluster.fails("status web --timeout 1s", 1, late),
        "Paused - CanaryPauseStep\n"
    );

    let mut lines = Running::of(cluster.command("status web"));
    assert_eq!(lines.next(), "Paused - CanaryPauseStep");
    let progressing = json!({
        "phase": "Progressing", "message": "waiting for all steps to complete",
        "pauseConditions": null, "controllerPause": null,
    });
    cluster.patch("Rollout", "web", "status", json!({ "status": progressing }));
    assert_eq!(lines.next(), "Progressing - waiting for all steps to complete");
    cluster.patch(
        "Rollout",
        "web",
        "status",
        json!({"status": {"phase": "Healthy", "message": null}}),
    );
    assert_eq!(lines.next(), "Healthy");
    assert_eq!(lines.end(), 0);

    cluster.patch(
        "Rollout",
        "web",
        "status",
        json!({"status": {"phase": "Degraded", "message": "RolloutAborted: x"}}),
    );
    let said = "Error: The rollout is in a degraded state with message: RolloutAborted: x\n";
    for (line, stdout) in [
        ("status web", "Degraded - RolloutAborted: x\n"),
        ("status web --watch=false", "Degraded\n"),
    ] {
        assert_eq!(cluster.fails(line, 1, said), stdout, "{line}");
    }
}

#[test]
fn changes_are_told_line_by_line_where_there_is_no_terminal() {
    let cluster = Cluster::of("canary-nginx");
    let mut lines = Running::of(cluster.command("get rollout web --watch"));
    while !lines.next().contains("stable") || !lines.last.contains("ReplicaSet") {}
    cluster.patch(
        "ReplicaSet",
        "web-5b7b5bfbd4",
        "status",
        json!({"status": {"availableReplicas": 0}}),
    );
    assert_eq!(lines.next(), "ReplicaSet web-5b7b5bfbd4 Progressing canary");
    let status = json!({"phase": "Degraded", "message": "RolloutAborted: x", "abort": true});
    cluster.patch("Rollout", "web", "status", json!({ "status": status }));
    assert_eq!(
        lines.next(),
        "Rollout Degraded - RolloutAborted: x (step 1/8, weight 20)"
    );
    drop(lines);

    let mut lines = Running::of(cluster.command("list rollouts -w"));
    assert!(lines.next().starts_with("NAME "));
    assert!(lines.next().contains("Degraded"));
    cluster.patch(
        "Rollout",
        "web",
        "status",
        json!({"status": {"phase": "Healthy", "message": null}}),
    );
    assert!(lines.next().contains("Healthy"));
    drop(lines);

    let stopped = cluster.run("get ro web -w --timeout-seconds 1");
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
}

#[test]
fn what_needs_no_cluster() {
    let version = format!("kubectl-tidegate: v{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(command(&["version", "--short"])).ok(), version);
    assert!(run(command(&["version"])).ok().starts_with(&version));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(command(&["completion", shell])).ok();
        assert!(
            script.contains("promote") && script.contains("kubectl-tidegate"),
            "{shell}"
        );
    }
    let ran = run(command(&["get", "ro", "web", "--kubeconfig", "/nonexistent"]));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.starts_with("Error: cannot use the kubeconfig: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1);
    for help in [&["--help"][..], &["help", "get"], &["--version"]] {
        assert!(!run(command(help)).ok().is_empty(), "{help:?}");
    }
    for wrong in [
        &[][..],
        &["get"],
        &["get", "ro", "web", "-o", "xml"],
        &["status", "web", "-t", "5"],
    ] {
        let ran = run(command(wrong));
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{wrong:?}");
        assert!(!ran.stderr.is_empty(), "{wrong:?}");
    }
}

/// Each in one line, and none with what stands in the file.
#[test]
fn kubeconfigs_that_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let good = |server: &str| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "hunter2"}}],
        })
        .to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    for (text, expected) in [
        (
            "users: [{user: {token: hunter2}}".to_owned(),
            "Error: cannot use the kubeconfig: ",
        ),
        ("foo: hunter2".to_owned(), "Error: cannot use the kubeconfig: "),
        (good("::"), "Error: cannot use the kubeconfig: "),
        (
            good(&nobody),
            &format!("Error: cannot reach the cluster at {nobody}: client error (Connect): "),
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let path = file.display().to_string();
        for line in [
            "get rollouts",
            "status web",
            "promote web",
            "explain web",
            "list ro -w",
            "get ro web -w",
        ] {
            let words = line.split(' ').chain(["--kubeconfig", &path]);
            let ran = run(command(&words.collect::<Vec<_>>()));
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{line} {text}");
            assert!(ran.stderr.starts_with(expected), "{line} {text}: {}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        }
    }
}

/// A running binary, line by line. It is ended when this goes.
struct Running {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
    last: String,
}

impl Running {
    fn of(mut command: std::process::Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if send.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            last: String::new(),
        }
    }

    #[track_caller]
    fn next(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        self.last = line.unwrap_or_else(|_| panic!("nothing after {:?}", self.last));
        self.last.clone()
    }

    fn end(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
