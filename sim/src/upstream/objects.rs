//! What is there when a story begins.

use serde_json::{Value, json};

use super::Story;
use crate::metrics::Metrics;
use crate::scenario::build;

/// The templates, with the status and the body that their server answers.
const TEMPLATES: [(&str, u16, &str); 5] = [
    ("good", 200, "1"),
    ("bad", 200, "0"),
    ("odd", 200, "0.5"),
    ("broken", 500, "broken"),
    ("good-forever", 200, "1"),
];
/// From made to ready, as upstream's cluster had it.
const READY_AFTER: &str = "0.4";

/// All objects, the Rollout last.
pub(super) fn all(story: &Story) -> Vec<Value> {
    let services = ["stable", "canary", "active", "preview"].map(build::service);
    let ingress = build::ingress("web", "stable");
    let templates = TEMPLATES.map(|(name, ..)| template(name));
    let mut rollout = build::rollout(story.replicas, story.strategy.clone());
    rollout["spec"]["template"]["spec"]["containers"][0]["env"] = env("v1");
    for (field, value) in &story.other {
        rollout["spec"][field] = value.clone();
    }
    services
        .into_iter()
        .chain([ingress])
        .chain(templates)
        .chain([rollout])
        .collect()
}

/// The environment of the container in a version, which says how its pods behave.
pub(super) fn env(version: &str) -> Value {
    let never = if version.starts_with("bad") { "1" } else { "" };
    json!([
        {"name": "V", "value": version},
        {"name": "SIM_START_SECONDS", "value": READY_AFTER},
        {"name": "SIM_NEVER_READY", "value": never},
        // there was no kubelet that took its time to end pods
        {"name": "SIM_DRAIN_SECONDS", "value": "0"},
    ])
}

/// Puts up what the templates ask for.
pub(super) fn put_pages(metrics: &mut Metrics) {
    for (name, status, body) in TEMPLATES {
        metrics.set_page(&url(name), status, body);
    }
}

fn url(template: &str) -> String {
    format!("http://answers/{template}")
}

fn template(name: &str) -> Value {
    let mut metric = json!({
        "name": "m",
        "interval": "1s",
        "successCondition": "result == 1",
        "failureCondition": "result == 0",
        "provider": {"web": {"url": url(name)}},
    });
    if name != "good-forever" {
        metric["count"] = 2.into();
    }
    if name == "broken" {
        metric["consecutiveErrorLimit"] = 1.into();
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": name},
        "spec": {"metrics": [metric]},
    })
}
