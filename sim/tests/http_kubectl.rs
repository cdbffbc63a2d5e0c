//! The real kubectl against the simulated API server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, says why it is skipped, and its helpers read better so"
)]

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_sim::{
    http::{Server, SharedStore},
    store::{ManagedFields, PatchKind, Request, Settings, Store},
};
use tokio::runtime::Runtime;

/// A cluster with kubectl in front of it. `None` where there is no kubectl.
struct Kubectl {
    runtime: Runtime,
    shared: Arc<SharedStore>,
    folder: PathBuf,
    server: Option<Server>,
}

impl Kubectl {
    fn start(test: &str) -> Option<Self> {
        let found = Command::new("kubectl").args(["version", "--client"]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: {test} needs kubectl on the PATH");
            return None;
        }
        let settings = Settings {
            managed_fields: ManagedFields::Always,
            ..Settings::default()
        };
        let mut store = Store::with_settings(3, settings);
        store.add_namespace("shop", Timestamp::now());
        let shared = Arc::new(SharedStore::new(store, Timestamp::now));
        let runtime = Runtime::new().unwrap();
        let server = runtime
            .block_on(Server::start(shared.clone(), ([127, 0, 0, 1], 0).into()))
            .unwrap();
        let folder =
            std::env::temp_dir().join(format!("tidegate-sim-{}-{}", std::process::id(), server.port()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config"), server.kubeconfig("shop")).unwrap();
        Some(Self {
            runtime,
            shared,
            folder,
            server: Some(server),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(self.folder.join("config"))
            .arg("--cache-dir")
            .arg(self.folder.join("cache"));
        command
            .args(args)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn output(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What it prints; it must succeed.
    fn run(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "kubectl {args:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// What it complains of; it must fail.
    fn fail(&self, args: &[&str], input: &str) -> String {
        let output = self.output(args, input);
        assert!(!output.status.success(), "kubectl {args:?} should have failed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["-o", "json"]].concat(), "")).unwrap()
    }

    /// What the controller would do.
    fn status(&self, status: &Value) {
        self.shared.with(|store, now| {
            let kind = store
                .registry()
                .by_group("argoproj.io", "rollouts")
                .unwrap()
                .clone();
            let request = Request::patch(&kind, "shop", "web", PatchKind::Merge, json!({"status": status}));
            store.request(request.subresource("status"), now).unwrap();
        });
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
        // a leftover folder in the temporary one does no harm
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

const MANIFEST: &str = "\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: 'app:1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: stable}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: admin, port: 81}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: side}
spec:
  selector: {matchLabels: {app: side}}
  template:
    metadata: {labels: {app: side}}
    spec: {containers: [{name: app, image: 'side:1', env: [{name: A, value: '1'}]}]}
";

#[test]
fn apply_merges_by_key() {
    let Some(kubectl) = Kubectl::start("apply_merges_by_key") else {
        return;
    };
    let first = kubectl.run(&["apply", "-f", "-"], MANIFEST);
    assert_eq!(
        first,
        "rollout.argoproj.io/web created\nservice/stable created\ndeployment.apps/side created\n"
    );
    let second = kubectl.run(&["apply", "-f", "-"], MANIFEST);
    assert_eq!(
        second,
        "rollout.argoproj.io/web unchanged\nservice/stable unchanged\ndeployment.apps/side unchanged\n"
    );
    let changed = MANIFEST
        .replace("replicas: 3", "replicas: 4")
        .replace("port: 81", "port: 82")
        .replace("name: A,", "name: B,");
    kubectl.run(&["apply", "-f", "-"], &changed);
    assert_eq!(kubectl.json(&["get", "ro", "web"])["spec"]["replicas"], 4);
    let ports = kubectl.json(&["get", "svc", "stable"])["spec"]["ports"].clone();
    assert_eq!(
        (ports[1]["port"].clone(), ports.as_array().unwrap().len()),
        (json!(82), 2)
    );
    let env =
        kubectl.json(&["get", "deploy", "side"])["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    assert_eq!(
        env,
        json!([{"name": "B", "value": "1"}]),
        "a three-way merge by key"
    );
}

#[test]
fn get_and_describe() {
    let Some(kubectl) = Kubectl::start("get_and_describe") else {
        return;
    };
    let manifest = MANIFEST.replace("replicas: 3", "replicas: 4");
    kubectl.run(&["apply", "-f", "-"], &manifest);
    kubectl.status(&json!({"replicas": 4, "updatedReplicas": 1, "availableReplicas": 3}));
    let table = kubectl.run(&["get", "rollouts"], "");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["NAME", "DESIRED", "CURRENT", "UP-TO-DATE", "AVAILABLE", "AGE"]
    );
    assert_eq!(lines[1][..5], ["web", "4", "4", "1", "3"]);
    let wide = kubectl.run(&["get", "deployments", "-o", "wide"], "");
    assert!(
        wide.contains("CONTAINERS") && wide.contains("side:1") && wide.contains("app=side"),
        "{wide}"
    );
    assert!(kubectl.run(&["get", "all"], "").contains("service/stable"));
    assert!(
        kubectl
            .run(&["get", "ro", "web", "-o", "yaml"], "")
            .contains("setWeight: 20")
    );
    assert_eq!(
        kubectl.run(&["get", "ro", "-o", "jsonpath={.items[*].metadata.name}"], ""),
        "web"
    );

    let uid = kubectl.run(&["get", "ro", "web", "-o", "jsonpath={.metadata.uid}"], "");
    let event = r#"{"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e1"},
        "involvedObject": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "namespace": "shop", "uid": "UID"},
        "reason": "RolloutUpdated", "message": "Rollout updated to revision 1", "type": "Normal", "count": 1,
        "lastTimestamp": "2026-11-21T10:00:00Z"}"#;
    kubectl.run(&["create", "-f", "-"], &event.replace("UID", &uid));
    let described = kubectl.run(&["describe", "rollout", "web"], "");
    for part in [
        "Name:         web",
        "Set Weight:",
        "RolloutUpdated",
        "Rollout updated to revision 1",
    ] {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    assert!(
        kubectl
            .run(&["describe", "service", "stable"], "")
            .contains("Selector:")
    );
    assert!(
        kubectl
            .run(&["describe", "deployment", "side"], "")
            .contains("RollingUpdate")
    );
    assert!(kubectl.run(&["get", "events"], "").contains("rollout/web"));
}

#[test]
fn server_side_apply_and_its_conflicts() {
    let Some(kubectl) = Kubectl::start("server_side_apply_and_its_conflicts") else {
        return;
    };
    let apply = ["apply", "--server-side", "-f", "-"];
    assert!(
        kubectl
            .run(&apply, MANIFEST)
            .contains("rollout.argoproj.io/web serverside-applied")
    );
    kubectl.run(&["scale", "rollout/web", "--replicas=7"], "");
    let conflict = kubectl.fail(&apply, MANIFEST);
    assert!(
        conflict.contains("conflict with \"kubectl\" with subresource \"scale\""),
        "{conflict}"
    );
    assert!(conflict.contains(".spec.replicas"), "{conflict}");
    kubectl.run(
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        MANIFEST,
    );
    assert_eq!(kubectl.json(&["get", "ro", "web"])["spec"]["replicas"], 3);
    // from client-side to server-side: kubectl moves the owners itself
    kubectl.run(&["create", "ns", "other"], "");
    kubectl.run(&["apply", "-n", "other", "-f", "-"], MANIFEST);
    let moved = kubectl.run(
        &["apply", "-n", "other", "--server-side", "-f", "-"],
        &MANIFEST.replace("app:1", "app:2"),
    );
    assert!(
        moved.contains("rollout.argoproj.io/web serverside-applied"),
        "{moved}"
    );
    let managed = kubectl.json(&["get", "ro", "web", "-n", "other", "--show-managed-fields"])["metadata"]["managedFields"].clone();
    let managers: Vec<_> = managed
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["manager"].clone(), m["operation"].clone()))
        .collect();
    // the second is kubectl's own keeper of the old annotation
    let expected = ["kubectl", "kubectl-last-applied"].map(|manager| (json!(manager), json!("Apply")));
    assert_eq!(managers, expected);
}

#[test]
fn patch_label_and_scale() {
    let Some(kubectl) = Kubectl::start("patch_label_and_scale") else {
        return;
    };
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    for (what, patch) in [
        (&["ro", "web", "--type=merge"][..], r#"{"spec":{"paused":true}}"#),
        (
            &["ro", "web", "--type=json"][..],
            r#"[{"op":"remove","path":"/spec/paused"}]"#,
        ),
        (
            &["ro", "web", "--subresource=status", "--type=merge"][..],
            r#"{"status":{"abort":true}}"#,
        ),
        (
            &["deploy", "side"][..],
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"side:2"}]}}}}"#,
        ),
    ] {
        kubectl.run(&[&["patch"], what, &["-p", patch]].concat(), "");
    }
    kubectl.run(&["set", "image", "deploy/side", "app=side:3"], "");
    kubectl.run(&["label", "ro", "web", "team=a"], "");
    kubectl.run(&["annotate", "ro", "web", "note=b"], "");
    kubectl.run(
        &["scale", "ro", "web", "--current-replicas=3", "--replicas=5"],
        "",
    );
    kubectl.run(&["scale", "deploy", "side", "--replicas=2"], "");
    let rollout = kubectl.json(&["get", "ro", "web"]);
    assert_eq!(
        (&rollout["spec"]["replicas"], rollout["spec"].get("paused")),
        (&json!(5), None)
    );
    assert_eq!(
        (
            &rollout["status"]["abort"],
            &rollout["metadata"]["labels"]["team"]
        ),
        (&json!(true), &json!("a"))
    );
    assert_eq!(rollout["metadata"]["annotations"]["note"], "b");
    let deployment = kubectl.json(&["get", "deploy", "side"]);
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "side:3"
    );
    assert_eq!(deployment["spec"]["replicas"], 2);
    let scale = kubectl.json(&["get", "ro", "web", "--subresource=scale"]);
    assert_eq!(scale["kind"], "Scale");
}

#[test]
fn replace_and_delete() {
    let Some(kubectl) = Kubectl::start("replace_and_delete") else {
        return;
    };
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    let edited = kubectl
        .run(&["get", "ro", "web", "-o", "yaml"], "")
        .replace("replicas: 3", "replicas: 6");
    kubectl.run(&["replace", "-f", "-"], &edited);
    assert_eq!(
        kubectl.run(&["get", "ro", "web", "-o", "jsonpath={.spec.replicas}"], ""),
        "6"
    );
    let stale = kubectl.fail(&["replace", "-f", "-"], &edited);
    assert!(stale.contains("the object has been modified"), "{stale}");
    assert!(
        kubectl
            .fail(&["get", "ro", "none"], "")
            .contains("rollouts.argoproj.io \"none\" not found")
    );
    let dry = kubectl.run(&["delete", "ro", "web", "--dry-run=server"], "");
    assert!(dry.contains("deleted (server dry run)"), "{dry}");
    assert!(
        kubectl
            .run(&["delete", "ro", "web", "--cascade=foreground"], "")
            .contains("\"web\" deleted")
    );
    kubectl.run(&["delete", "svc,deploy", "--all"], "");
    assert_eq!(kubectl.run(&["get", "svc,deploy,ro", "-o", "name"], ""), "");
    kubectl.run(&["delete", "ns", "shop"], "");
    assert!(kubectl.fail(&["get", "ns", "shop"], "").contains("not found"));
}

#[test]
fn unknown_fields_are_refused_by_the_server() {
    let Some(kubectl) = Kubectl::start("unknown_fields_are_refused_by_the_server") else {
        return;
    };
    let wrong = MANIFEST.replace("selector: {app: web}\n  ports", "selektor: {app: web}\n  ports");
    let message = kubectl.fail(&["create", "-f", "-"], &wrong);
    assert!(
        message.contains("strict decoding error: unknown field \"spec.selektor\""),
        "{message}"
    );
}

#[test]
fn wait_and_watch() {
    let Some(kubectl) = Kubectl::start("wait_and_watch") else {
        return;
    };
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    let mut watch = kubectl.command(&["get", "ro", "-w"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || {
        lines
            .next()
            .unwrap()
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(next()[0], "NAME");
    assert_eq!(next()[..2], ["web", "3"]);
    let waiting = kubectl
        .command(&["wait", "ro/web", "--for=condition=Healthy", "--timeout=20s"])
        .spawn()
        .unwrap();
    let phase = kubectl
        .command(&[
            "wait",
            "ro/web",
            "--for=jsonpath={.status.phase}=Healthy",
            "--timeout=20s",
        ])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kubectl.status(&json!({
        "phase": "Healthy", "availableReplicas": 3, "conditions": [{"type": "Healthy", "status": "True"}],
    }));
    let row = next();
    assert_eq!((row[0].as_str(), row[2].as_str()), ("web", "3"), "{row:?}");
    for child in [waiting, phase] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "rollout.argoproj.io/web condition met\n"
        );
    }
    let gone = kubectl
        .command(&["wait", "ro/web", "--for=delete", "--timeout=20s"])
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    kubectl.run(&["delete", "ro", "web"], "");
    assert!(gone.wait_with_output().unwrap().status.success());
    assert!(started.elapsed() < Duration::from_secs(10));
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn discovery_rights_and_definitions() {
    let Some(kubectl) = Kubectl::start("discovery_rights_and_definitions") else {
        return;
    };
    let resources = kubectl.run(&["api-resources"], "");
    let rollouts = resources
        .lines()
        .find(|line| line.starts_with("rollouts "))
        .unwrap();
    assert_eq!(
        rollouts.split_whitespace().collect::<Vec<_>>(),
        ["rollouts", "ro", "argoproj.io/v1alpha1", "true", "Rollout"]
    );
    assert_eq!(kubectl.run(&["auth", "can-i", "create", "rollouts"], ""), "yes\n");
    assert!(kubectl.run(&["auth", "whoami"], "").contains("kubernetes-admin"));
    assert!(kubectl.run(&["version"], "").contains("Server Version: v1.34.2"));
    assert!(
        kubectl
            .run(&["explain", "deployment.spec.template.spec.containers"], "")
            .contains("image")
    );
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gates.tide.test"},
        "spec": {
            "group": "tide.test", "scope": "Namespaced",
            "names": {"kind": "Gate", "plural": "gates", "singular": "gate", "listKind": "GateList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "open": {"type": "boolean"}}}}}},
                "additionalPrinterColumns": [{"name": "Open", "type": "boolean", "jsonPath": ".spec.open"}],
            }],
        },
    });
    kubectl.run(&["apply", "--server-side", "-f", "-"], &definition.to_string());
    kubectl.run(
        &[
            "wait",
            "crd/gates.tide.test",
            "--for=condition=Established",
            "--timeout=10s",
        ],
        "",
    );
    kubectl.run(
        &["apply", "-f", "-"],
        "apiVersion: tide.test/v1\nkind: Gate\nmetadata: {name: g}\nspec: {open: true}\n",
    );
    let row = kubectl.run(&["get", "gates"], "");
    assert!(row.contains("OPEN") && row.contains("true"), "{row}");
    let wrong = "apiVersion: tide.test/v1\nkind: Gate\nmetadata: {name: h}\nspec: {open: 3}\n";
    let message = kubectl.fail(&["create", "-f", "-"], wrong);
    assert!(
        message.contains("spec.open in body must be of type boolean"),
        "{message}"
    );
}
