//! Objects of scenarios.

#![allow(
    clippy::needless_pass_by_value,
    reason = "a json! literal reads best as a value"
)]

use serde_json::{Value, json};

use super::{NAMESPACE, ROLLOUT};

/// A Rollout of so many replicas with this `spec.strategy` and image `shop:v1`.
pub fn rollout(replicas: i64, strategy: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": ROLLOUT, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template("shop:v1"),
            "strategy": strategy,
        },
    })
}

/// A pod template with an image.
pub fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
    })
}

/// A Service that selects the pods of the Rollout.
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

/// An Ingress to a Service.
pub fn ingress(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "web.test", "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}},
        }]}}]},
    })
}

/// An analysis template with one Prometheus metric.
pub fn analysis_template(name: &str, mut metric: Value, query: &str) -> Value {
    metric["name"] = json!("success");
    metric["provider"] = json!({"prometheus": {"address": "http://prometheus:9090", "query": query}});
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"metrics": [metric]},
    })
}

/// The share of good answers of a Service in the last ten seconds.
pub fn success_rate(service: &str) -> String {
    format!(
        r#"sum(rate(http_requests_total{{service="{service}",code!~"5.."}}[10s])) / sum(rate(http_requests_total{{service="{service}"}}[10s]))"#
    )
}
