//! What many Deliveries cost, on a real API server: the first sync, rest, and a push that a webhook tells of.
//!
//! `cargo xtask bench --deliveries` runs it in a box without a kubelet, so nothing but the API server and its database stands
//! between a commit and its objects. The repositories are folders of this machine.

#![allow(clippy::print_stdout, reason = "a command line program")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures::TryStreamExt as _;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// Most memory of the controller, in MiB.
const MAX_MEMORY: f64 = 150.0;
/// Most requests in a second while nothing happens.
const MAX_AT_REST: f64 = 0.5;
/// Time for the first sync.
const LIMIT: Duration = Duration::from_mins(5);
/// How long the controller is watched at rest.
const REST: Duration = Duration::from_mins(1);
/// Time for one push.
const PUSH_LIMIT: Duration = Duration::from_secs(30);
/// What the webhooks are signed with.
const TOKEN: &str = "bench";
/// Units of processor time in a second; Linux has no other value for programs.
const TICKS: f64 = 100.0;

#[derive(Parser)]
struct Arguments {
    /// The controller's binary.
    binary: PathBuf,
    /// Deliveries, each of its own folder.
    #[arg(long, default_value_t = 1000)]
    deliveries: usize,
    /// Repositories that they share, each with a namespace.
    #[arg(long, default_value_t = 20)]
    repositories: usize,
    /// Pushes that a webhook tells of.
    #[arg(long, default_value_t = 30)]
    pushes: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.repositories > 0, "--repositories must be at least 1");
    tokio::runtime::Runtime::new()?.block_on(measure(&arguments))
}

/// How long it takes from a commit to its object.
async fn measure_pushes(
    arguments: &Arguments,
    client: &Client,
    controller: &Controller,
    folder: &Path,
    apps: &[App],
) -> Result<()> {
    let mut times = Vec::new();
    for round in 0..arguments.pushes {
        // far apart in the list, and never the same twice in a row
        let Some(app) = apps.get(round * 37 % apps.len().max(1)) else {
            break;
        };
        times.push(controller.push(client, folder, app, round).await?);
    }
    times.sort();
    let of = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!(
        "{} pushes: from the commit to its object p50 {:.2} s, p90 {:.2} s, most {:.2} s",
        times.len(),
        of(50).as_secs_f64(),
        of(90).as_secs_f64(),
        times.last().copied().unwrap_or_default().as_secs_f64(),
    );
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let client = Client::try_default().await?;
    let folder = tempfile::Builder::new()
        .prefix("tidegate-deliveries-")
        .tempdir()?;
    let apps: Vec<App> = (0..arguments.deliveries)
        .map(|number| App {
            number,
            repository: number % arguments.repositories,
        })
        .collect();
    for repository in 0..arguments.repositories {
        let of: Vec<&App> = apps.iter().filter(|app| app.repository == repository).collect();
        make_repository(folder.path(), repository, &of)?;
        make_namespace(&client, repository).await?;
    }
    for app in &apps {
        apply(&client, app.delivery(folder.path())).await?;
    }
    println!(
        "{} Deliveries of {} objects in {} repositories",
        apps.len(),
        OBJECTS,
        arguments.repositories
    );

    let controller = Controller::start(&arguments.binary, folder.path())?;
    let ready = until_all_are_ready(&client, apps.len()).await?;
    let at = |share: usize| ready.get((ready.len() * share / 100).saturating_sub(1)).copied();
    println!(
        "first sync: half after {:.1} s, all after {:.1} s, {:.1} s on a processor; memory {:.1} MiB, at most {:.1} MiB",
        at(50).unwrap_or_default().as_secs_f64(),
        at(100).unwrap_or_default().as_secs_f64(),
        controller.processor_time()?,
        controller.memory("VmRSS:")?,
        controller.memory("VmHWM:")?,
    );
    println!("requests: {}", controller.requests()?);

    tokio::time::sleep(Duration::from_secs(15)).await;
    let (processor, requests) = (controller.processor_time()?, controller.count()?);
    tokio::time::sleep(REST).await;
    let at_rest = (controller.count()? - requests) / REST.as_secs_f64();
    println!(
        "at rest: {:.1} % of a processor, {at_rest:.2} requests/s; memory {:.1} MiB",
        (controller.processor_time()? - processor) / REST.as_secs_f64() * 100.0,
        controller.memory("VmRSS:")?,
    );

    measure_pushes(arguments, &client, &controller, folder.path(), &apps).await?;
    let peak = controller.memory("VmHWM:")?;
    ensure!(
        peak <= MAX_MEMORY,
        "the controller took {peak:.1} MiB, more than {MAX_MEMORY}"
    );
    ensure!(
        at_rest <= MAX_AT_REST,
        "{at_rest:.2} requests/s at rest, more than {MAX_AT_REST}"
    );
    Ok(())
}

/// Objects of one app.
const OBJECTS: usize = 5;

/// A folder and its Delivery.
struct App {
    number: usize,
    repository: usize,
}

impl App {
    fn name(&self) -> String {
        format!("app-{:04}", self.number)
    }

    fn namespace(&self) -> String {
        format!("team-{:02}", self.repository)
    }

    fn delivery(&self, folder: &Path) -> Value {
        let address = format!("file://{}", repository(folder, self.repository).display());
        json!({
            "apiVersion": "tidegate.io/v1alpha1",
            "kind": "Delivery",
            "metadata": {"namespace": self.namespace(), "name": self.name()},
            "spec": {"source": {"git": {
                "url": address, "path": self.name(), "webhookSecretRef": {"name": "webhook"},
            }}},
        })
    }

    /// A Rollout without pods, and what stands around one.
    fn files(&self, version: usize) -> [(&'static str, String); OBJECTS] {
        let name = self.name();
        [
            (
                "account.yaml",
                format!("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n"),
            ),
            (
                "config.yaml",
                format!(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  version: \"{version}\"\n"
                ),
            ),
            (
                "service.yaml",
                format!(
                    "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector:\n    app: {name}\n  ports:\n\
                     \x20 - port: 80\n    targetPort: 8080\n"
                ),
            ),
            (
                "ingress.yaml",
                format!(
                    "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\nspec:\n  rules:\n  - host: \
                     {name}.test\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n\
                     \x20         service:\n            name: {name}\n            port:\n              number: 80\n"
                ),
            ),
            (
                "rollout.yaml",
                format!(
                    "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: {name}\nspec:\n  replicas: 0\n  \
                     selector:\n    matchLabels:\n      app: {name}\n  strategy:\n    canary:\n      steps:\n      - \
                     setWeight: 20\n  template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      \
                     serviceAccountName: {name}\n      containers:\n      - name: app\n        image: example.test/app:1\n"
                ),
            ),
        ]
    }
}

fn repository(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("repository-{number:02}"))
}

fn make_repository(folder: &Path, number: usize, apps: &[&App]) -> Result<()> {
    let repository = repository(folder, number);
    fs::create_dir(&repository)?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    for app in apps {
        fs::create_dir(repository.join(app.name()))?;
        for (file, text) in app.files(0) {
            fs::write(repository.join(app.name()).join(file), text)?;
        }
    }
    commit(&repository, "First")
}

fn commit(repository: &Path, message: &str) -> Result<()> {
    git(repository, &["add", "--all"])?;
    git(
        repository,
        &[
            "-c",
            "user.name=dev",
            "-c",
            "user.email=dev@example.test",
            "commit",
            "--quiet",
            "--message",
            message,
        ],
    )
}

fn git(repository: &Path, arguments: &[&str]) -> Result<()> {
    let ended = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(arguments)
        .output()?;
    ensure!(
        ended.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// A namespace whose default service account may do there what an administrator may.
async fn make_namespace(client: &Client, number: usize) -> Result<()> {
    let name = format!("team-{number:02}");
    apply(
        client,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    )
    .await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"namespace": name, "name": "deliver"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": name}],
    });
    apply(client, binding).await?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": name, "name": "webhook"},
        "stringData": {"token": TOKEN},
    });
    apply(client, secret).await
}

async fn apply(client: &Client, object: Value) -> Result<()> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let api_version = text("/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let name = text("/metadata/name").to_owned();
    api.patch(
        &name,
        &PatchParams::apply("bench").force(),
        &Patch::Apply(&object),
    )
    .await?;
    Ok(())
}

fn deliveries(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("tidegate.io", "v1alpha1", "Delivery");
    Api::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "deliveries"),
    )
}

/// When each became ready, in order.
async fn until_all_are_ready(client: &Client, wanted: usize) -> Result<Vec<Duration>> {
    let start = Instant::now();
    let api = deliveries(client);
    let mut ready = BTreeMap::new();
    let list = api.list(&ListParams::default()).await?;
    let mut version = list.metadata.resource_version.unwrap_or_default();
    for delivery in &list.items {
        note(&mut ready, delivery, start);
    }
    let follow = async {
        while ready.len() < wanted {
            let events = api.watch(&WatchParams::default().timeout(60), &version).await?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(delivery) | WatchEvent::Modified(delivery) = event {
                    version = delivery.metadata.resource_version.clone().unwrap_or_default();
                    note(&mut ready, &delivery, start);
                }
                if ready.len() == wanted {
                    break;
                }
            }
        }
        anyhow::Ok(())
    };
    let followed = tokio::time::timeout(LIMIT, follow).await;
    ensure!(
        followed.is_ok(),
        "{} of {wanted} Deliveries are ready after {LIMIT:?}",
        ready.len()
    );
    followed??;
    let mut times: Vec<Duration> = ready.into_values().collect();
    times.sort();
    Ok(times)
}

fn note(ready: &mut BTreeMap<String, Duration>, delivery: &DynamicObject, start: Instant) {
    let conditions = delivery
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let is_ready = conditions.into_iter().flatten().any(|condition| {
        condition.get("type") == Some(&json!("Ready")) && condition.get("status") == Some(&json!("True"))
    });
    if is_ready {
        let name = delivery.metadata.name.clone().unwrap_or_default();
        ready.entry(name).or_insert_with(|| start.elapsed());
    }
}

/// The controller; killed with this value.
struct Controller {
    child: Child,
    metrics: u16,
    webhooks: u16,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Controller {
    fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let [metrics, health, webhooks] = free_ports()?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new(binary);
        command.args([
            format!("--metricsPort={metrics}"),
            format!("--healthzPort={health}"),
            format!("--webhook-port={webhooks}"),
            format!("--git-cache={}", folder.join("cache").display()),
            "--git-protocols=file".to_owned(),
            "--leader-elect=false".to_owned(),
        ]);
        let child = command
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("{} cannot be started", binary.display()))?;
        Ok(Self {
            child,
            metrics,
            webhooks,
        })
    }

    /// In MiB.
    fn memory(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(number.with_context(|| format!("no {field} in /proc/PID/status"))? / 1024.0)
    }

    /// Seconds of processor time so far, with that of children that have ended.
    fn processor_time(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').context("/proc/PID/stat not understood")?.1;
        let ticks = fields.split_whitespace().skip(11).take(4);
        Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
    }

    /// Requests to the API server so far, by verb.
    fn requests(&self) -> Result<String> {
        let page = http(self.metrics, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut by_verb: BTreeMap<String, f64> = BTreeMap::new();
        let lines = page
            .lines()
            .filter_map(|line| line.strip_prefix("controller_clientset_k8s_request_total{"));
        for line in lines {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let count = line
                .rsplit_once(' ')
                .and_then(|(_, count)| count.parse::<f64>().ok());
            if let (Some(verb), Some(kind), Some(count)) = (label("verb"), label("kind"), count) {
                *by_verb.entry(format!("{verb} {kind}")).or_default() += count;
            }
        }
        let words: Vec<String> = by_verb
            .iter()
            .map(|(verb, count)| format!("{verb} {count}"))
            .collect();
        Ok(words.join(", "))
    }

    fn count(&self) -> Result<f64> {
        let words = self.requests()?;
        Ok(words
            .split(", ")
            .filter_map(|word| word.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum())
    }

    /// How long it takes from a commit to its object.
    async fn push(&self, client: &Client, folder: &Path, app: &App, round: usize) -> Result<Duration> {
        let repository = repository(folder, app.repository);
        for (file, text) in app.files(round + 1) {
            fs::write(repository.join(app.name()).join(file), text)?;
        }
        commit(&repository, &format!("Version {round}"))?;
        let start = Instant::now();
        let request = format!(
            "POST /hook/{}/{} HTTP/1.0\r\nHost: localhost\r\nX-Gitlab-Token: {TOKEN}\r\nX-Gitlab-Event: Push Hook\r\n\
             Content-Length: 2\r\n\r\n{{}}",
            app.namespace(),
            app.name()
        );
        http(self.webhooks, &request)?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &app.namespace(), &resource);
        let wanted = json!((round + 1).to_string());
        while start.elapsed() < PUSH_LIMIT {
            let object = api.get(&app.name()).await?;
            if object.data.pointer("/data/version") == Some(&wanted) {
                return Ok(start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("{} was not applied within {PUSH_LIMIT:?}", app.name())
    }
}

fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let listeners: Vec<TcpListener> = (0..COUNT)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let ports: BTreeSet<u16> = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<Result<_>>()?;
    let ports: Vec<u16> = ports.into_iter().collect();
    ports.try_into().ok().context("no free ports")
}

/// The body of a local server's answer.
fn http(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let first = head.lines().next().unwrap_or_default();
    ensure!(first.contains(" 20"), "{first}");
    Ok(body.to_owned())
}
