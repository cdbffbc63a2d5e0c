//! A cluster with many Rollouts of many revisions, served to real clients: `cargo xtask bench` measures the controller
//! in front of it.
//!
//! `large_cluster KUBECONFIG ROLLOUTS REPLICA_SETS` writes a kubeconfig, prints `ready`, and serves until its input ends.
//! Nobody runs the pods: the ReplicaSets have the status that they would have at rest.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a command line program"
)]

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::labels::{DESIRED_REPLICAS_ANNOTATION, POD_TEMPLATE_HASH_LABEL, REVISION_ANNOTATION};
use tidegate_crds::template::pod_template_hash;
use tidegate_sim::api::{Api, Kind, kinds};
use tidegate_sim::http::{Server, SharedStore};
use tidegate_sim::store::{ManagedFields, Settings, Store};

/// Rollouts of a namespace.
const TEAM: usize = 10;
/// Pods of a Rollout.
const PODS: i64 = 3;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("{what} is missing"));
    let kubeconfig = PathBuf::from(next("KUBECONFIG")?);
    let rollouts: usize = next("ROLLOUTS")?.parse()?;
    let revisions: usize = next("REPLICA_SETS")?.parse()?;

    let mut store = Store::with_settings(
        1,
        Settings {
            managed_fields: ManagedFields::Always,
            ..Settings::default()
        },
    );
    let now = Timestamp::now();
    store.add_namespace("argo-rollouts", now);
    for number in 0..rollouts {
        let namespace = format!("team-{}", number / TEAM);
        if number.is_multiple_of(TEAM) {
            store.add_namespace(&namespace, now);
        }
        application(&mut store, now, &namespace, &format!("shop-{number}"), revisions)?;
    }

    let runtime = tokio::runtime::Runtime::new()?;
    let _running = runtime.enter();
    let shared = Arc::new(SharedStore::new(store, Timestamp::now));
    let server = runtime.block_on(Server::start(shared, ([127, 0, 0, 1], 0).into()))?;
    std::fs::write(&kubeconfig, server.kubeconfig("default"))
        .with_context(|| format!("{} cannot be written", kubeconfig.display()))?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(server.shutdown());
    Ok(())
}

/// A Rollout with NGINX routing, its Services and Ingress, and a ReplicaSet for each of its revisions.
fn application(
    store: &mut Store,
    now: Timestamp,
    namespace: &str,
    name: &str,
    revisions: usize,
) -> Result<()> {
    let mut api = Api::new(store, "kubernetes-admin", now);
    for suffix in ["stable", "canary"] {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("{name}-{suffix}"), "labels": {"app": name}},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        });
        api.create(&kinds::SERVICES, namespace, service)?;
    }
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": name, "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"}},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": [format!("{name}.example.com")], "secretName": format!("{name}-tls")}],
            "rules": [{"host": format!("{name}.example.com"), "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": format!("{name}-stable"), "port": {"number": 80}}},
            }]}}],
        },
    });
    api.create(&kinds::INGRESSES, namespace, ingress)?;

    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": name, "labels": {"app": name, "team": namespace}},
        "spec": {
            "replicas": PODS,
            "revisionHistoryLimit": revisions.saturating_sub(1),
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, revisions),
            "strategy": {"canary": {
                "stableService": format!("{name}-stable"),
                "canaryService": format!("{name}-canary"),
                "trafficRouting": {"nginx": {"stableIngress": name}},
                "steps": [
                    {"setWeight": 20}, {"pause": {}},
                    {"setWeight": 50}, {"pause": {"duration": "10m"}},
                ],
            }},
        },
    });
    let rollout = api.create(&kinds::ROLLOUTS, namespace, rollout)?;
    for revision in 1..=revisions {
        let pods = if revision == revisions { PODS } else { 0 };
        replica_set(&mut api, &rollout, revision, pods)?;
    }
    Ok(())
}

fn replica_set(api: &mut Api<'_>, rollout: &Value, revision: usize, pods: i64) -> Result<()> {
    let metadata = &rollout["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    let (namespace, app) = (text("namespace"), text("name"));
    let mut template = template(app, revision);
    let hash = pod_template_hash(&template, None);
    template["metadata"]["labels"][POD_TEMPLATE_HASH_LABEL] = json!(hash);
    let name = format!("{app}-{hash}");
    let replica_set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            "annotations": {
                REVISION_ANNOTATION: revision.to_string(),
                DESIRED_REPLICAS_ANNOTATION: PODS.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": rollout["apiVersion"], "kind": rollout["kind"], "name": app,
                "uid": metadata["uid"], "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": {"app": app, POD_TEMPLATE_HASH_LABEL: hash}},
            "template": template,
        },
    });
    let kind: &Kind = &kinds::REPLICA_SETS;
    api.create(kind, namespace, replica_set)?;
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": pods, "fullyLabeledReplicas": pods,
        "readyReplicas": pods, "availableReplicas": pods,
    }});
    api.merge_status(kind, namespace, &name, status)?;
    Ok(())
}

/// A pod template as people write them.
fn template(app: &str, revision: usize) -> Value {
    let environment: Vec<Value> = (0..12)
        .map(|number| match number % 3 {
            0 => json!({"name": format!("SETTING_{number}"), "value": format!("https://service-{number}.internal.example.com/api")}),
            1 => json!({"name": format!("SETTING_{number}"), "valueFrom": {"secretKeyRef": {"name": format!("{app}-secrets"), "key": format!("key-{number}")}}}),
            _ => json!({"name": format!("SETTING_{number}"), "valueFrom": {"configMapKeyRef": {"name": format!("{app}-settings"), "key": format!("key-{number}")}}}),
        })
        .collect();
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10, "failureThreshold": 3});
    json!({
        "metadata": {
            "labels": {"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
        },
        "spec": {
            "serviceAccountName": app,
            "terminationGracePeriodSeconds": 60,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "app",
                    "image": format!("registry.example.com/shop/{app}:1.{revision}.0"),
                    "args": ["--listen=:8080", "--log-format=json", "--shutdown-delay=10s"],
                    "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                    "env": environment,
                    "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                    "readinessProbe": probe("/ready"),
                    "livenessProbe": probe("/alive"),
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "settings", "mountPath": "/etc/shop"}, {"name": "scratch", "mountPath": "/tmp"}],
                },
                {
                    "name": "proxy",
                    "image": "registry.example.com/platform/proxy:3.2.1",
                    "ports": [{"name": "proxy", "containerPort": 15001}],
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                },
            ],
            "volumes": [{"name": "settings", "configMap": {"name": format!("{app}-settings")}}, {"name": "scratch", "emptyDir": {}}],
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": app}},
            }],
        },
    })
}
