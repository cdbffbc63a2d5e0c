//! What upstream's controller did on a real cluster, done by ours on a real cluster: the same states that last, the same events.
//!
//! `testdata/recordings/README.md` says what is compared. The simulated cluster plays all recordings with exact times; here pods
//! start when they start, so each action waits for the state in which it was done there.

#![allow(clippy::print_stdout, reason = "what differs, for whoever runs the tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_e2e::{Cluster, HASH, Happening, Namespace, e2e, recorded_object, recording, text};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep},
};

const ROLLOUTS: &str = "rollouts.argoproj.io";
const LIMIT: Duration = Duration::from_secs(90);
/// Shorter ones exist only because of upstream's own extra passes.
const LASTING: f64 = 0.6;
/// Upstream's client drops what is more than 25, and one told twice is stored once.
const MOST_EVENTS: usize = 24;
/// Words without content, which are said or not, as caches come.
const EMPTY: &str = "Normal TrafficWeightUpdated Traffic weight updated";
/// Fields of a Rollout's status that say where the update stands.
const STAGE: [&str; 6] = [
    "phase",
    "message",
    "currentStepIndex",
    "abort",
    "currentPodHash",
    "stableRS",
];

/// What is compared.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    rollout: BTreeMap<String, String>,
    selectors: BTreeMap<String, String>,
    replicas: BTreeMap<String, i64>,
    weights: BTreeMap<String, String>,
}

impl State {
    /// Puts in what an object says, whether it is as stored or as a recording has it.
    fn see(&mut self, kind: &str, object: &Value) {
        let name = [text(object, "/name"), text(object, "/metadata/name")].concat();
        let either = |path: &str| {
            object
                .pointer(path)
                .or_else(|| object.pointer(&format!("/metadata{path}")))
        };
        match kind {
            "Rollout" => {
                for field in STAGE {
                    let value = object
                        .pointer(&format!("/status/{field}"))
                        .cloned()
                        .unwrap_or_default();
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    let value = if value == "null" || value == "false" {
                        String::new()
                    } else {
                        value
                    };
                    self.rollout.insert(field.to_owned(), value);
                }
                // what it says under way follows the counters, and ours writes these alone a little later
                if self
                    .rollout
                    .get("phase")
                    .is_some_and(|phase| phase == "Progressing")
                {
                    self.rollout.remove("message");
                }
            }
            "Service" => {
                let selector = object
                    .get("selector")
                    .or_else(|| object.pointer("/spec/selector"));
                let hash = selector
                    .and_then(|selector| selector.get(HASH))
                    .and_then(Value::as_str);
                self.selectors.insert(name, hash.unwrap_or_default().to_owned());
            }
            "ReplicaSet" => {
                let replicas = object
                    .get("replicas")
                    .or_else(|| object.pointer("/spec/replicas"));
                self.replicas
                    .insert(name, replicas.and_then(Value::as_i64).unwrap_or(0));
            }
            "Ingress" => {
                let weight = either("/annotations/nginx.ingress.kubernetes.io~1canary-weight");
                if let Some(weight) = weight.and_then(Value::as_str) {
                    self.weights.insert(name, weight.to_owned());
                }
            }
            _ => {}
        }
    }

    /// Whether the other one is the same but for selectors: after an abort upstream changes these to and fro.
    fn is_like(&self, other: &Self) -> bool {
        (&self.rollout, &self.replicas, &self.weights) == (&other.rollout, &other.replicas, &other.weights)
    }

    /// Where the update stands.
    fn stage(&self) -> Vec<&str> {
        let field = |name| self.rollout.get(name).map_or("", String::as_str);
        STAGE.map(field).to_vec()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} {:?} {:?}",
            self.stage(),
            self.selectors,
            self.replicas,
            self.weights
        )
    }
}

/// States in their order, and how long each was.
#[derive(Default)]
struct Story(Vec<(State, f64)>);

impl Story {
    fn add(&mut self, state: &State, seconds: f64) {
        match self.0.last_mut() {
            Some((last, lasted)) if last == state => *lasted += seconds,
            _ => self.0.push((state.clone(), seconds)),
        }
    }

    /// Those that lasted and are not in the other one at their place.
    fn missing_in<'s>(&'s self, other: &Story, lasting: f64) -> Vec<&'s State> {
        let mut at = 0;
        let mut missing = Vec::new();
        for (state, _) in self.0.iter().filter(|(_, lasted)| *lasted >= lasting) {
            match other.0.iter().skip(at).position(|(known, _)| known == state) {
                // the same one may be there twice, with something short in between
                Some(found) => at += found,
                None => missing.push(state),
            }
        }
        missing
    }
}

/// What happens in a namespace, told by watches. All kinds share one count of versions, which orders it.
struct Watches {
    receivers: Vec<(&'static str, UnboundedReceiver<Happening>)>,
    seen: BTreeMap<u64, (&'static str, Happening)>,
}

impl Watches {
    async fn start(namespace: &Namespace) -> Result<Self> {
        let mut receivers = Vec::new();
        for (kind, resource) in [
            ("Rollout", ROLLOUTS),
            ("ReplicaSet", "replicasets.apps"),
            ("Service", "services"),
            ("Ingress", "ingresses.networking.k8s.io"),
        ] {
            receivers.push((kind, namespace.watch(resource).await?));
        }
        Ok(Self {
            receivers,
            seen: BTreeMap::new(),
        })
    }

    /// What was, up to now.
    fn story(&mut self) -> Story {
        for (kind, receiver) in &mut self.receivers {
            while let Ok(happening) = receiver.try_recv() {
                let version = text(&happening.object, "/metadata/resourceVersion")
                    .parse()
                    .unwrap_or(0);
                self.seen.insert(version, (kind, happening));
            }
        }
        let mut story = Story::default();
        let mut state = State::default();
        let mut happenings = self.seen.values().peekable();
        while let Some((kind, happening)) = happenings.next() {
            if happening.gone {
                state.replicas.remove(text(&happening.object, "/metadata/name"));
            } else {
                state.see(kind, &happening.object);
            }
            let until = happenings.peek().map_or_else(Instant::now, |(_, next)| next.at);
            story.add(
                &state,
                until.saturating_duration_since(happening.at).as_secs_f64(),
            );
        }
        story
    }

    /// Waits until it is so.
    async fn until(&mut self, what: &str, so: impl Fn(&State) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let state = self.story().0.pop().unwrap_or_default().0;
            if so(&state) {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "{what}: it is not so, but {state}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn act(namespace: &Namespace, line: &Value) -> Result<()> {
    match text(line, "/action") {
        "create" => {
            for object in line
                .get("objects")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                namespace.create(&recorded_object(namespace, object)).await?;
            }
            Ok(())
        }
        "patch spec" => {
            let operations = line.get("ops").cloned().unwrap_or_default();
            namespace.json_patch(ROLLOUTS, "web", &operations).await
        }
        "patch status" => {
            let body = line.get("body").cloned().unwrap_or_default();
            namespace.patch_status(ROLLOUTS, "web", &body).await
        }
        other => anyhow::bail!("unknown action {other:?}"),
    }
}

/// An event in one line.
fn says(event: &Value) -> String {
    let message = text(event, "/message").trim_end();
    format!("{} {} {message}", text(event, "/type"), text(event, "/reason"))
}

/// The events of the Rollout.
async fn events_of_the_rollout(namespace: &Namespace) -> Result<BTreeSet<String>> {
    let events = namespace.list("events", "").await?;
    let ours = events
        .iter()
        .filter(|event| text(event, "/involvedObject/kind") == "Rollout");
    Ok(ours.map(says).filter(|event| event != EMPTY).collect())
}

/// Events that only one side has; of ours none count where the recording may have lost some.
fn differences_of_events(name: &str, recorded: Vec<String>, ours: &BTreeSet<String>) -> Vec<String> {
    let whole = recorded.len() < MOST_EVENTS;
    let recorded: BTreeSet<String> = recorded.into_iter().filter(|event| event != EMPTY).collect();
    let mut differences: Vec<String> = recorded
        .difference(ours)
        .map(|event| format!("{name}: only recorded: {event}"))
        .collect();
    if whole {
        differences.extend(
            ours.difference(&recorded)
                .map(|event| format!("{name}: only ours: {event}")),
        );
    }
    differences
}

/// Plays one recording; returns what is different.
async fn play(cluster: &Cluster, name: &str) -> Result<Vec<String>> {
    let namespace = cluster.namespace("rec").await?;
    let mut watches = Watches::start(&namespace).await?;
    let mut theirs = Story::default();
    let mut recorded = State::default();
    let mut recorded_events = Vec::new();
    let lines = recording(name)?;
    let at = |line: &Value| line.get("t").and_then(Value::as_f64).unwrap_or(0.0);
    for (index, line) in lines.iter().enumerate() {
        let kind = text(line, "/kind");
        if line.get("action").is_some() {
            if !text(line, "/action").starts_with("create") {
                watches
                    .until(&format!("{name}: {recorded}"), |state| state.is_like(&recorded))
                    .await?;
                // long enough to count
                sleep(Duration::from_secs(1)).await;
            }
            act(&namespace, line).await?;
        } else if kind == "Event" {
            if text(line, "/about") == "Rollout/web" {
                let says = says(line);
                recorded_events.push(says.replace(&format!("rec-{name}"), namespace.name()));
            }
        } else if text(line, "/what") == "deleted" {
            recorded.replicas.remove(text(line, "/name"));
        } else {
            recorded.see(kind, line);
        }
        let next = lines.get(index + 1).map_or(at(line) + LASTING, at);
        // before the controller began there is nothing to compare
        if recorded
            .rollout
            .get("phase")
            .is_some_and(|phase| !phase.is_empty())
        {
            theirs.add(&recorded, next - at(line));
        }
    }
    watches
        .until(&format!("{name}: the end is {recorded}"), |state| {
            *state == recorded
        })
        .await?;
    let ours = watches.story();

    let mut differences = Vec::new();
    for state in theirs.missing_in(&ours, LASTING) {
        differences.push(format!("{name}: only recorded: {state}"));
    }
    let our_events = events_of_the_rollout(&namespace).await?;
    differences.extend(differences_of_events(name, recorded_events, &our_events));
    println!(
        "{name}: {} states, {} events, {} differences",
        theirs.0.len(),
        our_events.len(),
        differences.len()
    );
    Ok(differences)
}

#[test]
fn four_recordings() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        // at once: most of the time is pauses and delays
        let (basic, nginx, abort, blue_green) = tokio::join!(
            play(&cluster, "canary-basic"),
            play(&cluster, "canary-nginx"),
            play(&cluster, "canary-nginx-abort-retry"),
            play(&cluster, "bluegreen-manual"),
        );
        let mut differences = Vec::new();
        for result in [basic, nginx, abort, blue_green] {
            match result {
                Ok(found) => differences.extend(found),
                Err(error) => differences.push(format!("{error:#}")),
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        Ok(())
    })
}
