//! Two Tidegates with instance ids of their own, in one namespace and beside the one without: each keeps to what is its own.

#![allow(clippy::print_stdout, reason = "measurements")]

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{
    AuditedRequest, HASH, Namespace, Source, TIDEGATE_USER, Tidegate, condition_of, e2e, eventually,
    template, text,
};
use tokio::time::Instant;

/// A lease of 15 s has to run out before another acts.
const LIMIT: Duration = Duration::from_mins(1);
const ROLLOUTS: &str = "rollouts.argoproj.io";
const LABEL: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// What both of them write.
const WRITTEN: [&str; 6] = [
    "analysisruns.argoproj.io",
    "events",
    "ingresses.networking.k8s.io",
    "replicasets.apps",
    "rollouts.argoproj.io/status",
    "services",
];

/// One instance, with a canary and a blue-green. All that is its own has a name that begins with its id.
struct Instance<'n> {
    namespace: &'n Namespace,
    id: &'n str,
    tidegate: Tidegate,
}

impl<'n> Instance<'n> {
    async fn start(namespace: &'n Namespace, id: &'n str) -> Result<Self> {
        Ok(Self {
            namespace,
            id,
            tidegate: Tidegate::install(namespace, id).await?,
        })
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.id)
    }

    async fn deploy(&self, source: &Source) -> Result<()> {
        for (service, app) in [
            ("stable", "web"),
            ("canary", "web"),
            ("active", "flip"),
            ("preview", "flip"),
        ] {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": self.name(service) },
                "spec": { "selector": { "app": self.name(app) }, "ports": [{ "port": 80, "targetPort": 8080 }] },
            });
            self.namespace.apply(&service.to_string()).await?;
        }
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": self.name("entry") },
            "spec": { "ingressClassName": "nginx", "rules": [{
                "host": format!("{}.{}.test", self.id, self.namespace.name()),
                "http": { "paths": [{
                    "path": "/", "pathType": "Prefix",
                    "backend": { "service": { "name": self.name("stable"), "port": { "number": 80 } } },
                }] },
            }] },
        });
        self.namespace.apply(&ingress.to_string()).await?;
        let smoke = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
            "metadata": { "name": self.name("smoke"), "labels": { LABEL: self.id } },
            "spec": { "metrics": [{
                "name": "smoke", "successCondition": "result[0] >= 1",
                "provider": { "prometheus": { "address": source.address(), "query": "smoke" } },
            }] },
        });
        self.namespace.apply(&smoke.to_string()).await?;
        let analysis = json!({ "templates": [{ "templateName": self.name("smoke") }] });
        let canary = json!({ "canary": {
            "stableService": self.name("stable"), "canaryService": self.name("canary"), "scaleDownDelaySeconds": 1,
            "trafficRouting": { "nginx": { "stableIngress": self.name("entry") } },
            "steps": [{ "setWeight": 50 }, { "analysis": analysis }, { "pause": {} }],
        } });
        let blue_green = json!({ "blueGreen": {
            "activeService": self.name("active"), "previewService": self.name("preview"),
            "autoPromotionEnabled": false, "scaleDownDelaySeconds": 1, "prePromotionAnalysis": analysis,
        } });
        for (app, strategy) in [("web", canary), ("flip", blue_green)] {
            let rollout = json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
                "metadata": { "name": self.name(app), "labels": { LABEL: self.id } },
                "spec": {
                    "replicas": 1, "selector": { "matchLabels": { "app": self.name(app) } }, "strategy": strategy,
                    "template": self.template(app, "v1"),
                },
            });
            self.namespace.apply(&rollout.to_string()).await?;
        }
        Ok(())
    }

    fn template(&self, app: &str, version: &str) -> Value {
        let mut template = template(version, &[]);
        template["metadata"] = json!({ "labels": { "app": self.name(app) } });
        template
    }

    async fn release(&self, version: &str) -> Result<()> {
        for app in ["web", "flip"] {
            let patch = json!({ "spec": { "template": self.template(app, version) } });
            self.namespace.patch(ROLLOUTS, &self.name(app), &patch).await?;
        }
        Ok(())
    }

    async fn promote(&self) -> Result<()> {
        let patch = json!({ "status": { "pauseConditions": null } });
        for app in ["web", "flip"] {
            self.namespace
                .patch_status(ROLLOUTS, &self.name(app), &patch)
                .await?;
        }
        Ok(())
    }

    /// Waits until both are in this phase with a version that is the stable one, or is not.
    async fn wait(&self, phase: &str, stable: bool) -> Result<()> {
        for app in ["web", "flip"] {
            let so = |rollout: &Value| {
                text(rollout, "/status/phase") == phase
                    && (text(rollout, "/status/currentPodHash") == text(rollout, "/status/stableRS"))
                        == stable
            };
            self.namespace
                .wait(ROLLOUTS, &self.name(app), phase, LIMIT, so)
                .await?;
        }
        Ok(())
    }

    /// What the others have to leave as it is.
    async fn picture(&self) -> Result<BTreeMap<String, Value>> {
        let mut picture = BTreeMap::new();
        for (kind, path) in [
            ("services", "/spec/selector"),
            ("ingresses.networking.k8s.io", "/metadata/annotations"),
            ("replicasets.apps", "/spec/replicas"),
            ("analysisruns.argoproj.io", "/spec"),
        ] {
            for object in self.namespace.list(kind, "").await? {
                let name = text(&object, "/metadata/name");
                if name.starts_with(self.id) {
                    let part = object.pointer(path).cloned().unwrap_or_default();
                    picture.insert(format!("{kind} {name}"), part);
                }
            }
        }
        Ok(picture)
    }

    /// Whether it may write this: what is its own, and its Lease.
    fn owns(&self, request: &AuditedRequest) -> bool {
        request.namespace == self.namespace.name()
            && if request.resource.starts_with("leases.") {
                request.name == self.tidegate.lease()
            } else {
                request.name.starts_with(&format!("{}-", self.id))
            }
    }
}

/// Both update a canary and a blue-green; one of them is killed in the middle and comes back while the other goes on.
#[test]
fn each_keeps_to_its_own() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let log = cluster.audit_log()?.context("the box has an audit log")?;
        let namespace = cluster.namespace("instances").await?;
        let (source, east, west) = tokio::try_join!(
            Source::start(&namespace),
            Instance::start(&namespace, "east"),
            Instance::start(&namespace, "west"),
        )?;
        let both = [&east, &west];
        for instance in both {
            instance.deploy(&source).await?;
        }
        for instance in both {
            instance.wait("Healthy", true).await?;
            instance.release("v2").await?;
        }
        for instance in both {
            instance.wait("Paused", false).await?;
        }
        let before = west.picture().await?;
        let hashed = |(what, part): (&String, &Value)| {
            what.starts_with("services") && !text(part, &format!("/{HASH}")).is_empty()
        };
        assert_eq!(
            before.iter().filter(|entry| hashed(*entry)).count(),
            4,
            "{before:?}"
        );

        let killed = west.tidegate.pods().await?;
        west.tidegate.kill().await?;
        let since = Instant::now();
        east.promote().await?;
        east.wait("Healthy", true).await?;
        let leader = west.tidegate.leader().await?;
        println!(
            "finished after {:?}, while the other is led by {leader:?}",
            since.elapsed()
        );
        assert_eq!(west.picture().await?, before);
        west.promote().await?;
        west.wait("Healthy", true).await?;
        // The one that was told to end may have done that on its way out.
        eventually("another one leads", LIMIT, async || {
            let back = west.tidegate.leader().await?;
            Ok((!back.is_empty() && !killed.contains(&back)).then_some(()))
        })
        .await?;
        println!("the one that was killed has finished after {:?}", since.elapsed());
        for instance in both {
            for app in ["web", "flip"] {
                eventually("one ReplicaSet has pods", LIMIT, async || {
                    let label = format!("app={}", instance.name(app));
                    let mut sets = namespace.list("replicasets.apps", &label).await?;
                    sets.retain(|set| set.pointer("/spec/replicas").is_some_and(|wanted| *wanted != 0));
                    Ok((sets.len() == 1).then_some(()))
                })
                .await?;
                let rollout = namespace.get(ROLLOUTS, &instance.name(app)).await?;
                let refused = rollout.unwrap_or_default();
                assert!(condition_of(&refused, "WriteRefused").is_null(), "{refused}");
            }
        }
        judge(&log.requests()?, &namespace, &both);
        Ok(())
    })
}

/// What the audit log says: nobody wrote what is another's, nobody lacked a right, and nothing of this is so because nothing was
/// written.
fn judge(requests: &[AuditedRequest], namespace: &Namespace, instances: &[&Instance<'_>]) {
    let by = |user: &str| -> Vec<&AuditedRequest> {
        let theirs = requests.iter().filter(|request| request.user == user);
        theirs.collect()
    };
    for instance in instances {
        let requests = by(&instance.tidegate.user());
        let denied: Vec<_> = requests.iter().filter(|request| request.denied).collect();
        assert!(denied.is_empty(), "{}: {denied:#?}", instance.id);
        let writes: Vec<_> = requests
            .into_iter()
            .filter(|request| request.is_write())
            .collect();
        let foreign: Vec<_> = writes.iter().filter(|request| !instance.owns(request)).collect();
        assert!(foreign.is_empty(), "{}: {foreign:#?}", instance.id);
        for resource in WRITTEN {
            let written = writes.iter().any(|request| request.resource == resource);
            assert!(written, "{} wrote no {resource}", instance.id);
        }
        println!(
            "{}: {:?}",
            instance.id,
            AuditedRequest::count(writes.iter().copied())
        );
    }
    let mut foreign = by(TIDEGATE_USER);
    foreign.retain(|request| request.is_write() && request.namespace == namespace.name());
    assert!(foreign.is_empty(), "the one without an id: {foreign:#?}");
}
