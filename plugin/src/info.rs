//! The tree of a Rollout or an experiment, from the objects as they are: what `get` prints, without its layout.

pub(crate) mod pod;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_analysis::reading::JOB_NAME_KEY;
use tidegate_crds::labels::{
    EXPERIMENT_TEMPLATE_NAME_ANNOTATION, POD_TEMPLATE_HASH_LABEL, REVISION_ANNOTATION,
    SCALE_DOWN_DEADLINE_ANNOTATION, revision as revision_of,
};
use tidegate_crds::{AnalysisRun, Experiment, ObjectMeta, PingPongType, Rollout, Time, decode::tolerant};

use self::pod::Pod;
use crate::{age, canary, phase};

/// The objects around a Rollout, or around an experiment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) replica_sets: Vec<Value>,
    pub(crate) pods: Vec<Value>,
    pub(crate) analysis_runs: Vec<Value>,
    pub(crate) experiments: Vec<Value>,
}

/// What `get` says of an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) status: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<CanaryInfo>,
    pub(crate) images: Vec<Image>,
    /// An experiment has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<Replicas>,
    pub(crate) tree: Node,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CanaryInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<String>,
    pub(crate) set_weight: i32,
    pub(crate) actual_weight: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Image {
    pub(crate) image: String,
    pub(crate) tags: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Replicas {
    pub(crate) desired: i32,
    pub(crate) current: i32,
    pub(crate) updated: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
}

/// A line of the tree, with what is below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Node {
    /// Empty for a revision.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Time>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) info: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) children: Vec<Node>,
    #[serde(skip)]
    pub(crate) glyph: &'static str,
    #[serde(skip)]
    pub(crate) icon: &'static str,
    /// The word whose colour the name has.
    #[serde(skip)]
    pub(crate) tint: String,
}

pub(crate) const ICON_WAITING: &str = "◷";
pub(crate) const ICON_PROGRESSING: &str = "◌";
pub(crate) const ICON_WARNING: &str = "⚠";
pub(crate) const ICON_UNKNOWN: &str = "?";
pub(crate) const ICON_OK: &str = "✔";
pub(crate) const ICON_BAD: &str = "✖";
pub(crate) const ICON_PAUSED: &str = "॥";
pub(crate) const ICON_NEUTRAL: &str = "•";

/// The icon of a state, of whatever kind of object.
pub(crate) fn icon(status: &str) -> &'static str {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| status.starts_with(prefix));
    match status {
        "Healthy" | "Successful" | "Completed" => ICON_OK,
        "Paused" => ICON_PAUSED,
        "Degraded" | "ReplicaFailure" | "Failed" | "InvalidImageName" | "CrashLoopBackOff" => ICON_BAD,
        "ScaledDown" => ICON_NEUTRAL,
        "Unknown" | "Inconclusive" => ICON_UNKNOWN,
        "Progressing" | "Terminating" | "ContainerCreating" => ICON_PROGRESSING,
        "ImagePullBackOff" | "RegistryUnavailable" | "InvalidSpec" => ICON_WARNING,
        _ if starts(&["Init:"]) => ICON_PROGRESSING,
        _ if starts(&["Signal:", "ExitCode:"]) => ICON_BAD,
        _ if starts(&["Err"]) || status.ends_with("Error") => ICON_WARNING,
        _ => " ",
    }
}

fn pod_icon(status: &str) -> &'static str {
    match status {
        "Running" => ICON_OK,
        "Pending" => ICON_PROGRESSING,
        other => icon(other),
    }
}

fn analysis_icon(phase: &str) -> &'static str {
    match phase {
        "Running" => ICON_PROGRESSING,
        "Pending" => ICON_WAITING,
        other => icon(other),
    }
}

/// What is read of a ReplicaSet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaSet {
    metadata: ObjectMeta,
    spec: ReplicaSetSpec,
    status: ReplicaSetStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReplicaSetSpec {
    replicas: Option<i32>,
    template: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ReplicaSetStatus {
    replicas: i32,
    available_replicas: i32,
    observed_generation: i64,
    conditions: Vec<Value>,
}

impl ReplicaSet {
    fn health(&self) -> &'static str {
        let wanted = self.spec.replicas.unwrap_or(1);
        let failed = |condition: &Value| {
            condition.get("type").and_then(Value::as_str) == Some("ReplicaFailure")
                && condition.get("status").and_then(Value::as_str) == Some("True")
        };
        if self.metadata.generation.unwrap_or_default() > self.status.observed_generation {
            "Progressing"
        } else if self.status.conditions.iter().any(failed) {
            "ReplicaFailure"
        } else if self.status.available_replicas < wanted {
            "Progressing"
        } else if wanted == 0 {
            "ScaledDown"
        } else {
            "Healthy"
        }
    }

    fn hash(&self) -> &str {
        self.metadata
            .labels
            .get(POD_TEMPLATE_HASH_LABEL)
            .map_or("", String::as_str)
    }

    fn images(&self) -> impl Iterator<Item = &str> {
        let containers = self
            .spec
            .template
            .pointer("/spec/containers")
            .and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .filter_map(|container| container.get("image")?.as_str())
    }
}

/// The objects, decoded and sorted.
struct Decoded {
    replica_sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
    runs: Vec<AnalysisRun>,
    experiments: Vec<Experiment>,
}

impl Decoded {
    fn of(objects: &Objects) -> Self {
        fn read<T: for<'de> Deserialize<'de>>(values: &[Value]) -> Vec<T> {
            values
                .iter()
                .filter_map(|value| T::deserialize(value).ok())
                .collect()
        }
        let mut all = Self {
            replica_sets: read(&objects.replica_sets),
            pods: read(&objects.pods),
            runs: objects
                .analysis_runs
                .iter()
                .map(|value| tolerant(value.clone()).0)
                .collect(),
            experiments: objects
                .experiments
                .iter()
                .map(|value| tolerant(value.clone()).0)
                .collect(),
        };
        all.replica_sets
            .sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        all.pods.sort_by(|a, b| age_order(&a.metadata, &b.metadata));
        all.runs.sort_by(|a, b| age_order(&a.metadata, &b.metadata));
        all.experiments
            .sort_by(|a, b| age_order(&a.metadata, &b.metadata));
        all
    }

    fn pods_of(&self, owner: &str) -> Vec<Node> {
        self.pods
            .iter()
            .filter(|pod| is_owned(&pod.metadata, owner))
            .map(pod_node)
            .collect()
    }

    fn run_nodes<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = (i64, Node)> + 'a {
        let runs = self.runs.iter().filter(move |run| is_owned(&run.metadata, owner));
        runs.map(|run| (revision(&run.metadata), run_node(run)))
    }

    fn experiment_node(&self, experiment: &Experiment) -> Node {
        let meta = &experiment.metadata;
        let sets = self
            .replica_sets
            .iter()
            .filter(|set| is_owned(&set.metadata, &meta.uid));
        let mut children: Vec<Node> = sets
            .map(|set| replica_set_node(set, Vec::new(), self.pods_of(&set.metadata.uid)))
            .collect();
        children.extend(self.run_nodes(&meta.uid).map(|(_, node)| node));
        let status = experiment
            .status
            .phase
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        Node {
            kind: "Experiment",
            name: meta.name.clone(),
            icon: analysis_icon(&status),
            tint: status.clone(),
            status,
            created: meta.creation_timestamp,
            children,
            glyph: "Σ",
            ..Node::default()
        }
    }

    fn experiment_images(&self, experiment: &Experiment, images: &mut BTreeMap<String, BTreeSet<String>>) {
        let sets = self
            .replica_sets
            .iter()
            .filter(|set| is_owned(&set.metadata, &experiment.metadata.uid));
        for set in sets.filter(|set| set.status.replicas > 0) {
            let template = set.metadata.annotations.get(EXPERIMENT_TEMPLATE_NAME_ANNOTATION);
            for image in set.images() {
                images
                    .entry(image.to_owned())
                    .or_default()
                    .extend(template.map(|name| format!("Σ:{name}")));
            }
        }
    }
}

fn age_order(a: &ObjectMeta, b: &ObjectMeta) -> std::cmp::Ordering {
    (a.creation_timestamp, &a.name).cmp(&(b.creation_timestamp, &b.name))
}

fn is_owned(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.owner_references.iter().any(|owner| owner.uid == uid)
}

fn revision(metadata: &ObjectMeta) -> i64 {
    metadata
        .annotations
        .get(REVISION_ANNOTATION)
        .and_then(|text| revision_of(text))
        .unwrap_or_default()
}

/// What a Rollout owns.
#[derive(Default)]
struct OwnedByRollout {
    /// Tags by image.
    images: BTreeMap<String, BTreeSet<String>>,
    revisions: BTreeMap<i64, Vec<Node>>,
    /// Pods of the canary that are available, if there is one.
    canary_available: Option<i32>,
}

impl OwnedByRollout {
    fn of(rollout: &Rollout, all: &Decoded, now: Timestamp) -> Self {
        let uid = &rollout.metadata.uid;
        let mut owned = Self::default();
        for set in all.replica_sets.iter().filter(|set| is_owned(&set.metadata, uid)) {
            let tags = tags(rollout, set.hash());
            if tags.contains(&"canary") {
                owned.canary_available = Some(set.status.available_replicas);
            }
            if set.status.replicas > 0 {
                for image in set.images() {
                    owned
                        .images
                        .entry(image.to_owned())
                        .or_default()
                        .extend(tags.iter().map(|tag| (*tag).to_owned()));
                }
            }
            let node = replica_set_node(set, info(&tags, set, now), all.pods_of(&set.metadata.uid));
            let tint = tags.last().map_or_else(String::new, |tag| (*tag).to_owned());
            owned
                .revisions
                .entry(revision(&set.metadata))
                .or_default()
                .push(Node { tint, ..node });
        }
        for experiment in all
            .experiments
            .iter()
            .filter(|experiment| is_owned(&experiment.metadata, uid))
        {
            all.experiment_images(experiment, &mut owned.images);
            owned
                .revisions
                .entry(revision(&experiment.metadata))
                .or_default()
                .push(all.experiment_node(experiment));
        }
        for (number, node) in all.run_nodes(uid) {
            owned.revisions.entry(number).or_default().push(node);
        }
        owned
    }
}

/// What `get rollout` says.
pub(crate) fn rollout(rollout: &Rollout, objects: &Objects, now: Timestamp) -> Info {
    let all = Decoded::of(objects);
    let meta = &rollout.metadata;
    let (status, message) = phase::of(rollout);
    let owned = OwnedByRollout::of(rollout, &all, now);
    let children = owned.revisions.into_iter().rev().map(|(number, children)| Node {
        name: format!("revision:{number}"),
        glyph: "#",
        children,
        ..Node::default()
    });
    let counts = &rollout.status;
    Info {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        strategy: canary::strategy_name(rollout),
        canary: canary::strategy(rollout).map(|_| canary_info(rollout, owned.canary_available)),
        images: owned
            .images
            .into_iter()
            .map(|(image, tags)| Image { image, tags })
            .collect(),
        replicas: Some(Replicas {
            desired: rollout.spec.replicas.unwrap_or(1),
            current: counts.replicas.unwrap_or_default(),
            updated: counts.updated_replicas.unwrap_or_default(),
            ready: counts.ready_replicas.unwrap_or_default(),
            available: counts.available_replicas.unwrap_or_default(),
        }),
        tree: Node {
            kind: "Rollout",
            name: meta.name.clone(),
            icon: icon(&status),
            status: status.clone(),
            created: meta.creation_timestamp,
            children: children.collect(),
            glyph: "⟳",
            ..Node::default()
        },
        status,
        message,
    }
}

/// What `get experiment` says.
pub(crate) fn experiment(experiment: &Experiment, objects: &Objects) -> Info {
    let all = Decoded::of(objects);
    let mut images = BTreeMap::new();
    all.experiment_images(experiment, &mut images);
    let tree = all.experiment_node(experiment);
    Info {
        name: experiment.metadata.name.clone(),
        namespace: experiment.metadata.namespace.clone(),
        status: tree.status.clone(),
        message: experiment.status.message.clone().unwrap_or_default(),
        strategy: "",
        canary: None,
        images: images
            .into_iter()
            .map(|(image, tags)| Image { image, tags })
            .collect(),
        replicas: None,
        tree,
    }
}

fn canary_info(rollout: &Rollout, canary_available: Option<i32>) -> CanaryInfo {
    let set_weight = canary::set_weight(rollout);
    let at_end = canary::position(rollout).is_none_or(|(index, steps)| index >= steps);
    let available = rollout.status.available_replicas.unwrap_or_default();
    let routed = canary::strategy(rollout).is_some_and(|canary| canary.traffic_routing.is_some());
    let weights = rollout
        .status
        .canary
        .as_ref()
        .and_then(|canary| canary.weights.as_ref());
    let actual_weight = match weights {
        _ if at_end => 100,
        _ if available <= 0 => 0,
        Some(weights) if routed => weights.canary.weight,
        None if routed => set_weight,
        _ => canary_available.map_or(0, |canary| {
            i32::try_from(i64::from(canary) * 100 / i64::from(available)).unwrap_or(i32::MAX)
        }),
    };
    CanaryInfo {
        step: canary::step_text(rollout),
        set_weight,
        actual_weight,
    }
}

/// What a version is, as the status says.
fn tags(rollout: &Rollout, hash: &str) -> Vec<&'static str> {
    let status = &rollout.status;
    let is = |field: &Option<String>| !hash.is_empty() && field.as_deref() == Some(hash);
    let mut tags = Vec::new();
    if is(&status.stable_rs) {
        tags.push("stable");
    }
    if let Some(canary) = canary::strategy(rollout) {
        let is_canary = !is(&status.stable_rs) && is(&status.current_pod_hash);
        if is_canary {
            tags.push("canary");
        }
        if canary.ping_pong.is_some() && !tags.is_empty() {
            let role = status
                .canary
                .as_ref()
                .and_then(|canary| canary.stable_ping_pong.as_ref());
            let stable_is_ping = role == Some(&PingPongType::from("ping"));
            tags.push(if stable_is_ping == is_canary {
                "pong"
            } else {
                "ping"
            });
        }
    } else if let Some(blue_green) = &status.blue_green {
        if is(&blue_green.active_selector) {
            tags.push("active");
        } else if is(&blue_green.preview_selector) {
            tags.push("preview");
        }
    }
    tags
}

fn info(tags: &[&'static str], set: &ReplicaSet, now: Timestamp) -> Vec<String> {
    let mut info: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let deadline = set.metadata.annotations.get(SCALE_DOWN_DEADLINE_ANNOTATION);
    if let Some(deadline) = deadline.and_then(|text| text.parse::<Timestamp>().ok()) {
        let left = deadline.as_second() - now.as_second();
        info.push(if left < 0 {
            "delay:passed".to_owned()
        } else {
            format!("delay:{}", age::human(left))
        });
    }
    info
}

fn replica_set_node(set: &ReplicaSet, info: Vec<String>, children: Vec<Node>) -> Node {
    let status = set.health();
    Node {
        kind: "ReplicaSet",
        name: set.metadata.name.clone(),
        status: status.to_owned(),
        icon: icon(status),
        created: set.metadata.creation_timestamp,
        info,
        children,
        glyph: "⧉",
        ..Node::default()
    }
}

fn pod_node(pod: &Pod) -> Node {
    let summary = pod.summary();
    let mut info = vec![format!("ready:{}/{}", summary.ready, summary.containers)];
    if summary.restarts > 0 {
        info.push(format!("restarts:{}", summary.restarts));
    }
    Node {
        kind: "Pod",
        name: pod.metadata.name.clone(),
        icon: pod_icon(&summary.status),
        status: summary.status,
        created: pod.metadata.creation_timestamp,
        info,
        glyph: "□",
        ..Node::default()
    }
}

fn run_node(run: &AnalysisRun) -> Node {
    let status = run.status.phase.to_string();
    let results = &run.status.metric_results;
    let sum = |count: fn(&tidegate_crds::MetricResult) -> Option<i32>| {
        results.iter().filter_map(count).map(i64::from).sum::<i64>()
    };
    let counts = [
        (ICON_OK, sum(|result| result.successful)),
        (ICON_BAD, sum(|result| result.failed)),
        (ICON_UNKNOWN, sum(|result| result.inconclusive)),
        (ICON_WARNING, sum(|result| result.error)),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let measurements = results.iter().flat_map(|result| &result.measurements);
    let jobs = measurements.filter_map(|measurement| {
        let phase = measurement.phase.to_string();
        Some(Node {
            kind: "Job",
            name: measurement.metadata.get(JOB_NAME_KEY)?.clone(),
            icon: analysis_icon(&phase),
            tint: phase.clone(),
            status: phase,
            created: measurement.started_at,
            glyph: "⊞",
            ..Node::default()
        })
    });
    Node {
        kind: "AnalysisRun",
        name: run.metadata.name.clone(),
        icon: analysis_icon(&status),
        tint: status.clone(),
        status,
        created: run.metadata.creation_timestamp,
        info: counts.map(|(icon, count)| format!("{icon} {count}")).collect(),
        children: jobs.collect(),
        glyph: "α",
    }
}
