//! Stories that nobody wrote: a Rollout, a cluster and what people do, drawn from a seed; played, judged after every commit
//! and once nothing changes any more, and made as short as possible when something is wrong.
//!
//! A story is data. Printed as one line it plays again what was seen, long after the generator draws something else for its
//! seed.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_crds::labels::INSTANCE_ID_LABEL;
use tidegate_engine::Settings;

use crate::faults::FaultPlan;
use crate::metrics::SourceFault;

mod coverage;
mod draw;
mod history;
mod late;
#[cfg(test)]
mod planted;
mod play;
mod rest;
mod shrink;

pub use coverage::Coverage;
pub use play::Played;

/// Names of the Rollouts of a story, in order.
pub const NAMES: [&str; 2] = ["web", "api"];

/// What happens in a story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Story {
    /// What is left to chance in the cluster follows from it.
    pub seed: u64,
    /// One Rollout, or two in the same namespace.
    pub rollouts: Vec<Shape>,
    /// What people do, in order.
    pub acts: Vec<Act>,
    /// What goes wrong between the controller and the API server.
    #[serde(default, skip_serializing_if = "is_default")]
    pub faults: FaultPlan,
    /// A change reaches the data plane after so many milliseconds at most.
    #[serde(default = "usual_lag", skip_serializing_if = "is_usual_lag")]
    pub lag_ms: u32,
}

/// A Rollout as it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shape {
    /// `spec.replicas`.
    pub replicas: i64,
    /// `spec.strategy`.
    pub strategy: Value,
    /// Further fields of `spec`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub more: Value,
    /// Whether another instance of the controller acts on it, which has an id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub other_instance: bool,
    /// Its template is that of a Deployment, and this is what becomes of the pods of that: `scaleDown` of its `workloadRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<String>,
}

/// Id of the other instance.
const OTHER_INSTANCE: &str = "blue";

/// One thing that somebody does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Act {
    /// So many milliseconds after the one before.
    pub after_ms: u32,
    /// To which Rollout, or to what belongs to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on: usize,
    /// What.
    pub what: Deed,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// `set image` to this tag. Words in it say how its pods behave ([`crate::behavior`]).
    Image(String),
    /// `promote`.
    Promote,
    /// `promote --full`.
    Full,
    /// `promote --skip-current-step`.
    Skip,
    /// `abort`.
    Abort,
    /// `retry`.
    Retry,
    /// `pause`.
    Pause,
    /// Takes `spec.paused` away.
    Resume,
    /// `spec.replicas`.
    Scale(i64),
    /// The same through `/scale`, as an autoscaler does it.
    ScaleThrough(i64),
    /// A HorizontalPodAutoscaler that wants so many pods, or none any more.
    Autoscale(Option<i64>),
    /// `spec.replicas` of the Deployment that it takes the template of.
    ScaleWorkload(i64),
    /// `restart`.
    Restart,
    /// A merge patch of `spec`: steps, options.
    Set(Value),
    /// Another strategy instead of the one that is there.
    Strategy(Value),
    /// Deletes an object that belongs to the Rollout.
    Lose(Part),
    /// Makes it again, as it was in the beginning.
    Make(Part),
    /// Takes the selector of versions away from a Service, or our annotations from an Ingress: what a tool that knows nothing of Rollouts does.
    Reset(Part),
    /// Sets the weight of the canary Ingress by hand.
    Weight(i64),
    /// Deletes a pod of the Rollout.
    LosePod,
    /// Deletes the ReplicaSet of the version in the spec.
    LoseVersion,
    /// Puts an annotation into the template of that ReplicaSet, as an admission webhook does.
    TouchVersion,
    /// Deletes its newest analysis run.
    LoseRun,
    /// What the metrics answer from now on.
    Metrics(Answer),
    /// Deletes the Rollout.
    Delete,
    /// Creates it again.
    Create,
    /// Nothing: the next act waits until nothing changes any more.
    Rest,
}

/// An object beside a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Service of the stable version.
    Stable,
    /// Service of the canary.
    Canary,
    /// Service of the active version.
    Active,
    /// Service of the preview.
    Preview,
    /// The Ingress.
    Ingress,
    /// The canary Ingress that the controller makes.
    CanaryIngress,
    /// The analysis template that both kinds of analysis use.
    Template,
    /// The Deployment that it takes the template of.
    Workload,
}

/// What the metrics answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// A success.
    Good,
    /// A failure.
    Bad,
    /// Neither.
    Neither,
    /// An empty vector.
    Nothing,
    /// Not a number.
    Nan,
    /// Status 500.
    Error,
    /// After 35 seconds: too late.
    Late,
}

impl Answer {
    /// The value of the metric, and what is wrong with its source.
    pub(crate) fn of_source(self) -> (f64, Option<SourceFault>) {
        match self {
            Self::Good => (1.0, None),
            Self::Bad => (0.0, None),
            Self::Neither => (0.5, None),
            Self::Nothing => (1.0, Some(SourceFault::Empty)),
            Self::Nan => (1.0, Some(SourceFault::Nan)),
            Self::Error => (1.0, Some(SourceFault::Status(500))),
            Self::Late => (1.0, Some(SourceFault::Slow(35_000))),
        }
    }
}

impl Story {
    /// The story of a seed.
    pub fn of(seed: u64) -> Self {
        draw::story(seed)
    }

    /// One line that plays it again.
    pub fn replay(&self) -> String {
        let text = serde_json::to_string(self)
            .unwrap_or_default()
            .replace('\'', "'\\''");
        format!("TIDEGATE_SIM_STORY='{text}' cargo test -p tidegate-sim --test random replay -- --nocapture")
    }

    /// Whether nothing comes between the controller and the API server: then times are exact.
    pub(crate) fn is_calm(&self) -> bool {
        self.faults == FaultPlan::default()
    }

    pub(crate) fn lag(&self) -> (SignedDuration, SignedDuration) {
        let most = SignedDuration::from_millis(i64::from(self.lag_ms));
        (most / 10, most)
    }
}

impl Shape {
    /// The Rollout as it is created.
    pub(crate) fn rollout(&self, name: &str) -> Value {
        let mut spec = json!({
            "replicas": self.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 20,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name),
            "strategy": self.strategy,
        });
        for (field, value) in self.more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        if let Some(scale_down) = &self.taken_over {
            let named =
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "scaleDown": scale_down});
            spec["workloadRef"] = named;
            if let Some(fields) = spec.as_object_mut() {
                fields.remove("template");
            }
        }
        let mut rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": name, "namespace": crate::scenario::NAMESPACE},
            "spec": spec,
        });
        if self.other_instance {
            rollout["metadata"]["labels"] = json!({INSTANCE_ID_LABEL: OTHER_INSTANCE});
        }
        rollout
    }

    /// An object beside it as it is in the beginning; nothing for what the controller makes. Templates belong to an instance, too.
    pub(crate) fn object(&self, part: Part, name: &str) -> Option<Value> {
        if part == Part::Workload && self.taken_over.is_none() {
            return None;
        }
        let mut object = part.object(name)?;
        if part == Part::Workload {
            object["spec"]["replicas"] = self.replicas.into();
        }
        if self.other_instance && part == Part::Template {
            object["metadata"]["labels"] = json!({INSTANCE_ID_LABEL: OTHER_INSTANCE});
        }
        Some(object)
    }

    /// Settings of the controller that acts on it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            instance_id: self.other_instance.then(|| OTHER_INSTANCE.to_owned()),
            ..Settings::default()
        }
    }
}

/// The pods of the first version.
fn template(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "shop:v1", "ports": [{"containerPort": 80}]}]},
    })
}

impl Part {
    /// All that exist before the controller comes.
    pub(crate) const GIVEN: [Self; 7] = [
        Self::Workload,
        Self::Stable,
        Self::Canary,
        Self::Active,
        Self::Preview,
        Self::Ingress,
        Self::Template,
    ];

    /// Its name beside a Rollout.
    pub(crate) fn name(self, rollout: &str) -> String {
        match self {
            Self::Stable => format!("{rollout}-stable"),
            Self::Canary => format!("{rollout}-canary"),
            Self::Active => format!("{rollout}-active"),
            Self::Preview => format!("{rollout}-preview"),
            Self::Ingress | Self::Workload => rollout.to_owned(),
            Self::CanaryIngress => format!("{rollout}-{rollout}-canary"),
            Self::Template => format!("{rollout}-check"),
        }
    }

    /// Its kind.
    pub(crate) fn kind(self) -> &'static crate::api::Kind {
        use crate::api::kinds;
        match self {
            Self::Stable | Self::Canary | Self::Active | Self::Preview => &kinds::SERVICES,
            Self::Ingress | Self::CanaryIngress => &kinds::INGRESSES,
            Self::Template => &kinds::ANALYSIS_TEMPLATES,
            Self::Workload => &kinds::DEPLOYMENTS,
        }
    }

    /// The object in the beginning; nothing for what the controller makes.
    fn object(self, rollout: &str) -> Option<Value> {
        let (name, namespace) = (self.name(rollout), crate::scenario::NAMESPACE);
        let metadata = json!({"name": name, "namespace": namespace});
        Some(match self {
            Self::Stable | Self::Canary | Self::Active | Self::Preview => json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {"selector": {"app": rollout}, "ports": [{"port": 80}]},
            }),
            Self::Ingress => {
                let service = json!({"name": Self::Stable.name(rollout), "port": {"number": 80}});
                json!({
                    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
                    "spec": {"ingressClassName": "nginx", "rules": [{"host": format!("{rollout}.test"), "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": {"service": service}},
                    ]}}]},
                })
            }
            Self::Template => json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": metadata,
                "spec": {"args": [{"name": "count", "value": "2"}], "metrics": [{
                    "name": "answer", "interval": "1s", "count": "{{args.count}}",
                    "successCondition": "result[0] == 1", "failureCondition": "result[0] == 0",
                    "consecutiveErrorLimit": 1,
                    "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "answer"}},
                }]},
            }),
            Self::Workload => json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                "spec": {"selector": {"matchLabels": {"app": rollout}}, "template": template(rollout)},
            }),
            Self::CanaryIngress => return None,
        })
    }
}

impl Deed {
    /// One word for it, for the table of coverage.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Image(tag) if tag.contains("stuck") || tag.contains("crash") => "broken image",
            Self::Image(_) => "image",
            Self::Promote => "promote",
            Self::Full => "promote full",
            Self::Skip => "skip",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Scale(0) | Self::ScaleThrough(0) => "scale to 0",
            Self::Scale(_) | Self::ScaleThrough(_) => "scale",
            Self::Autoscale(_) => "autoscale",
            Self::ScaleWorkload(_) => "scale workload",
            Self::Restart => "restart",
            Self::Set(_) => "options",
            Self::Strategy(_) => "strategy",
            Self::Lose(_) => "lose object",
            Self::Make(_) => "make object",
            Self::Reset(_) => "reset object",
            Self::Weight(_) => "weight by hand",
            Self::LosePod => "lose pod",
            Self::LoseVersion => "lose version",
            Self::TouchVersion => "touch version",
            Self::LoseRun => "lose run",
            Self::Metrics(_) => "metrics",
            Self::Delete => "delete",
            Self::Create => "create",
            Self::Rest => "rest",
        }
    }

    /// All words, in the order of the table.
    pub(crate) const WORDS: [&'static str; 26] = [
        "image",
        "broken image",
        "promote",
        "promote full",
        "skip",
        "abort",
        "retry",
        "pause",
        "resume",
        "scale",
        "scale to 0",
        "autoscale",
        "scale workload",
        "restart",
        "options",
        "strategy",
        "lose object",
        "make object",
        "reset object",
        "weight by hand",
        "lose pod",
        "lose version",
        "touch version",
        "lose run",
        "metrics",
        "delete",
    ];
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn usual_lag() -> u32 {
    900
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_usual_lag(lag_ms: &u32) -> bool {
    *lag_ms == usual_lag()
}
