//! A kubeconfig file for a simulated cluster.

use serde_json::json;

/// A kubeconfig (as JSON, which is YAML) with one cluster, user and context named `tidegate-sim`.
pub fn kubeconfig(url: &str, namespace: &str, token: Option<&str>) -> String {
    let name = "tidegate-sim";
    let user = token.map_or_else(|| json!({}), |token| json!({"token": token}));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    });
    format!("{config:#}\n")
}
