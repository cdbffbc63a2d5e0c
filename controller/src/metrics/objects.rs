//! The series that describe objects: `rollout_info` and the like (F166 to F174).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Page;
use crate::controller::Controller;
use crate::object::ObjectKey;

/// Phases of upstream's metrics; not those of the status (F166).
const PHASES: [&str; 7] = [
    "Completed",
    "Progressing",
    "Paused",
    "Timeout",
    "Error",
    "Abort",
    "InvalidSpec",
];
const RUN_PHASES: [&str; 6] = [
    "Pending",
    "Running",
    "Successful",
    "Failed",
    "Error",
    "Inconclusive",
];

/// Something whose presence is all that matters.
#[derive(Deserialize)]
struct Ignored {}

/// A gauge: name, help and value.
type Gauge = (&'static str, &'static str, fn(&Rollout) -> f64);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rollout {
    spec: RolloutSpec,
    status: RolloutStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RolloutSpec {
    replicas: Option<f64>,
    strategy: Strategy,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Strategy {
    blue_green: Option<Ignored>,
    canary: Option<Canary>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Canary {
    traffic_routing: Option<BTreeMap<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RolloutStatus {
    replicas: f64,
    available_replicas: f64,
    updated_replicas: f64,
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Run {
    spec: RunSpec,
    status: RunStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunSpec {
    metrics: Vec<Metric>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metric {
    name: String,
    provider: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RunStatus {
    phase: String,
    metric_results: Vec<Result>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Result {
    name: String,
    phase: String,
    dry_run: bool,
}

pub(super) fn write(page: &mut Page, controller: &Controller) {
    let rollouts: Vec<(&ObjectKey, Rollout)> = controller
        .rollouts()
        .map(|(key, text)| (key, serde_json::from_str(text).unwrap_or_default()))
        .collect();
    page.head("rollout_info", "gauge", "Information about rollout.");
    for (key, rollout) in &rollouts {
        let (strategy, router) = strategy(&rollout.spec.strategy);
        let labels = [
            ("namespace", key.namespace.as_str()),
            ("name", &key.name),
            ("strategy", strategy),
            ("traffic_router", router),
            ("phase", phase(&rollout.status.conditions)),
        ];
        page.sample("rollout_info", &labels, 1.0);
    }
    let replicas: [Gauge; 4] = [
        (
            "rollout_info_replicas_available",
            "The number of available replicas per rollout.",
            |rollout| rollout.status.available_replicas,
        ),
        (
            "rollout_info_replicas_unavailable",
            "The number of unavailable replicas per rollout.",
            |rollout| rollout.status.replicas - rollout.status.available_replicas,
        ),
        (
            "rollout_info_replicas_desired",
            "The number of desired replicas per rollout.",
            |rollout| rollout.spec.replicas.unwrap_or(1.0),
        ),
        (
            "rollout_info_replicas_updated",
            "The number of updated replicas per rollout.",
            |rollout| rollout.status.updated_replicas,
        ),
    ];
    for (name, help, value) in replicas {
        page.head(name, "gauge", help);
        for (key, rollout) in &rollouts {
            page.sample(
                name,
                &[("namespace", &key.namespace), ("name", &key.name)],
                value(rollout),
            );
        }
    }
    page.head(
        "rollout_phase",
        "gauge",
        "[DEPRECATED - use rollout_info] Information on the state of the rollout",
    );
    for (key, rollout) in &rollouts {
        let current = phase(&rollout.status.conditions);
        for phase in PHASES {
            let labels = [
                ("namespace", key.namespace.as_str()),
                ("name", &key.name),
                ("strategy", strategy(&rollout.spec.strategy).0),
                ("phase", phase),
            ];
            page.sample("rollout_phase", &labels, f64::from(u8::from(phase == current)));
        }
    }
    write_runs(page, controller);
    write_templates(page, controller);
}

fn write_runs(page: &mut Page, controller: &Controller) {
    let runs: Vec<(&ObjectKey, Run)> = controller
        .runs()
        .map(|(key, text)| (key, serde_json::from_str(text).unwrap_or_default()))
        .collect();
    page.head("analysis_run_info", "gauge", "Information about analysis run.");
    for (key, run) in &runs {
        let labels = [
            ("namespace", key.namespace.as_str()),
            ("name", &key.name),
            ("phase", &run.status.phase),
        ];
        page.sample("analysis_run_info", &labels, 1.0);
    }
    let name = "analysis_run_phase";
    page.head(
        name,
        "gauge",
        "Information on the state of the Analysis Run (DEPRECATED - use analysis_run_info)",
    );
    for (key, run) in &runs {
        for phase in RUN_PHASES {
            let labels = [
                ("namespace", key.namespace.as_str()),
                ("name", &key.name),
                ("phase", phase),
            ];
            page.sample(name, &labels, f64::from(u8::from(phase == run.status.phase)));
        }
    }
    write_run_metrics(page, &runs);
}

/// What an AnalysisRun measures, and how each of its metrics does.
fn write_run_metrics(page: &mut Page, runs: &[(&ObjectKey, Run)]) {
    let name = "analysis_run_metric_type";
    page.head(
        name,
        "gauge",
        "Information on the type of a specific metric in the Analysis Runs",
    );
    for (key, run) in runs {
        for metric in &run.spec.metrics {
            let kind = provider(&metric.provider);
            let labels = [
                ("namespace", key.namespace.as_str()),
                ("name", &key.name),
                ("metric", &metric.name),
                ("type", &kind),
            ];
            page.sample(name, &labels, 1.0);
        }
    }
    let name = "analysis_run_metric_phase";
    page.head(
        name,
        "gauge",
        "Information on the duration of a specific metric in the Analysis Run",
    );
    for (key, run) in runs {
        for result in &run.status.metric_results {
            let metric = run.spec.metrics.iter().find(|metric| metric.name == result.name);
            let kind = metric
                .map(|metric| provider(&metric.provider))
                .unwrap_or_default();
            for phase in RUN_PHASES {
                let labels = [
                    ("namespace", key.namespace.as_str()),
                    ("name", &key.name),
                    ("metric", &result.name),
                    ("type", &kind),
                    ("dry_run", if result.dry_run { "true" } else { "false" }),
                    ("phase", phase),
                ];
                page.sample(name, &labels, f64::from(u8::from(phase == result.phase)));
            }
        }
    }
}

fn write_templates(page: &mut Page, controller: &Controller) {
    page.head(
        "analysis_template_info",
        "gauge",
        "Information about analysis templates.",
    );
    for (_, key, _) in controller.templates() {
        page.sample(
            "analysis_template_info",
            &[("namespace", &key.namespace), ("name", &key.name)],
            1.0,
        );
    }
    let name = "analysis_template_metric_info";
    page.head(name, "gauge", "Information on metrics in analysis templates.");
    for (_, key, spec) in controller.templates() {
        for metric in &spec.metrics {
            let given = serde_json::to_value(&metric.provider).ok();
            let given: BTreeMap<String, Value> = given
                .and_then(|given| serde_json::from_value(given).ok())
                .unwrap_or_default();
            let kind = provider(&given);
            let labels = [
                ("namespace", key.namespace.as_str()),
                ("name", &key.name),
                ("type", &kind),
                ("metric", &metric.name),
            ];
            page.sample(name, &labels, 1.0);
        }
    }
}

/// Upstream's word for a provider.
fn provider(given: &BTreeMap<String, Value>) -> String {
    let Some((name, spec)) = given.iter().find(|(_, spec)| !spec.is_null()) else {
        return String::new();
    };
    match name.as_str() {
        "prometheus" => "Prometheus",
        "job" => "Job",
        "web" => "WebMetric",
        "datadog" => "Datadog",
        "wavefront" => "Wavefront",
        "newRelic" => "NewRelic",
        "kayenta" => "Kayenta",
        "cloudWatch" => "CloudWatch",
        "graphite" => "Graphite",
        "influxdb" => "Influxdb",
        "skywalking" => "SkyWalking",
        "plugin" => {
            let plugin = spec.as_object().and_then(|plugins| plugins.keys().next());
            plugin.map_or("", String::as_str)
        }
        other => other,
    }
    .to_owned()
}

fn strategy(strategy: &Strategy) -> (&'static str, &'static str) {
    if strategy.blue_green.is_some() {
        return ("blueGreen", "");
    }
    let Some(canary) = &strategy.canary else {
        return ("none", "");
    };
    let routing = canary.traffic_routing.iter().flat_map(BTreeMap::keys);
    let known = [
        ("alb", "ALB"),
        ("ambassador", "Ambassador"),
        ("istio", "Istio"),
        ("nginx", "Nginx"),
        ("smi", "SMI"),
        ("appMesh", "AppMesh"),
        ("traefik", "Traefik"),
        ("apisix", "Apisix"),
        ("plugins", "Plugins"),
    ];
    let router = routing
        .filter_map(|key| known.iter().find(|(field, _)| field == key))
        .map(|(_, name)| *name)
        .next();
    ("canary", router.unwrap_or_default())
}

fn phase(conditions: &[Condition]) -> &'static str {
    if conditions.iter().any(|condition| condition.kind == "InvalidSpec") {
        return "InvalidSpec";
    }
    let progressing = conditions
        .iter()
        .find(|condition| condition.kind == "Progressing");
    match progressing.map(|condition| condition.reason.as_str()) {
        Some("NewReplicaSetAvailable") => "Completed",
        Some("RolloutPaused") => "Paused",
        Some("ProgressDeadlineExceeded") => "Timeout",
        Some("RolloutAborted") => "Abort",
        Some("ReplicaSetCreateError") => "Error",
        _ => "Progressing",
    }
}
