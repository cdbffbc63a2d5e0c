//! What users get wrong: said clearly, nothing else disturbed, and mended without a restart.

#![allow(clippy::print_stdout, reason = "what was said, for whoever runs the tests")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{Namespace, Release, Source, Tidegate, condition_of, e2e, eventually, template, text};

const LIMIT: Duration = Duration::from_mins(1);
const ROLLOUTS: &str = "rollouts.argoproj.io";

fn rollout(name: &str, strategy: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": name } }, "strategy": strategy,
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": template("v1", &[]).get("spec"),
            },
        },
    })
}

/// Waits until the Rollout is refused with these words, and an event says the value and what to do.
async fn refused(namespace: &Namespace, name: &str, words: &str) -> Result<()> {
    let rollout = namespace
        .wait(ROLLOUTS, name, words, LIMIT, |rollout| {
            text(rollout, "/status/phase") == "Degraded" && text(rollout, "/status/message").contains(words)
        })
        .await?;
    let condition = condition_of(&rollout, "InvalidSpec");
    assert!(text(condition, "/message").contains(words), "{condition}");
    let event = eventually("an event InvalidSpec", LIMIT, async || {
        Ok(namespace.told(name, "InvalidSpec").await?.pop())
    })
    .await?;
    let fix = event
        .split_once(words)
        .map(|(_, fix)| fix.trim_start_matches([':', ' ']));
    assert!(
        fix.is_some_and(|fix| !fix.is_empty()),
        "the event says what to do: {event}"
    );
    println!("{event}");
    Ok(())
}

async fn healthy(namespace: &Namespace, name: &str) -> Result<()> {
    let so = |rollout: &Value| text(rollout, "/status/phase") == "Healthy";
    namespace.wait(ROLLOUTS, name, "Healthy", LIMIT, so).await?;
    Ok(())
}

/// Name, strategy, and the words that refuse it.
fn wrong_specs(routed: &Value) -> [(&'static str, Value, &'static str); 5] {
    [
        (
            "weight",
            json!({ "canary": { "steps": [{ "setWeight": 101 }] } }),
            "spec.strategy.steps[0].setWeight: Invalid value: 101: SetWeight needs to be between 0 and 100",
        ),
        (
            "pause",
            json!({ "canary": { "steps": [{ "pause": { "duration": "soon" } }] } }),
            "spec.strategy.steps[0].pause.duration: Invalid value: -1: Duration needs to be greater than 0",
        ),
        (
            "both",
            json!({ "canary": {}, "blueGreen": { "activeService": "a" } }),
            "Multiple Strategies can not be listed",
        ),
        (
            "template",
            json!({ "canary": { "steps": [{ "analysis": { "templates": [{ "templateName": "none" }] } }] } }),
            "spec.strategy.canary.steps[0].analysis.templates: Invalid value: \"none\": AnalysisTemplate 'none' not found",
        ),
        ("service", routed.clone(), "service \"stable\" not found"),
    ]
}

/// An AnalysisTemplate, Services and an Ingress, one after the other.
async fn what_was_missing_appears(namespace: &Namespace) -> Result<()> {
    let check = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "none" },
        "spec": { "metrics": [{ "name": "m", "provider": { "prometheus": { "address": "http://127.0.0.1", "query": "up" } } }] },
    });
    namespace.apply(&check.to_string()).await?;
    healthy(namespace, "template").await?;
    for service in ["stable", "canary"] {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": service },
            "spec": { "selector": { "app": "service" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        });
        namespace.apply(&service.to_string()).await?;
    }
    namespace
        .wait(ROLLOUTS, "service", "the Ingress is missed", LIMIT, |rollout| {
            text(rollout, "/status/message").contains("ingress")
        })
        .await?;
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "web" },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": format!("{}.test", namespace.name()), "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "stable", "port": { "number": 80 } } },
        }] } }] },
    });
    namespace.apply(&ingress.to_string()).await?;
    healthy(namespace, "service").await
}

/// Specs that cannot be, and names of what is not there: each is refused in its words, and goes its way once mended.
#[test]
fn invalid_specs_are_told_and_mended() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let tidegate = Tidegate::of(&cluster);
        let pods = tidegate.pods().await?;
        let namespace = cluster.namespace("invalid").await?;
        let routed = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary", "trafficRouting": { "nginx": { "stableIngress": "web" } },
        } });
        let cases = wrong_specs(&routed);
        for (name, strategy, _) in &cases {
            namespace.apply(&rollout(name, strategy).to_string()).await?;
        }
        // a neighbour that is right
        namespace
            .apply(&rollout("right", &json!({ "canary": {} })).to_string())
            .await?;
        for (name, _, words) in &cases {
            refused(&namespace, name, words).await?;
        }
        healthy(&namespace, "right").await?;

        what_was_missing_appears(&namespace).await?;
        for name in ["weight", "pause"] {
            let mended = json!({ "spec": { "strategy": { "canary": { "steps": [{ "setWeight": 10 }] } } } });
            namespace.patch(ROLLOUTS, name, &mended).await?;
            healthy(&namespace, name).await?;
        }

        // somebody else's Ingress
        namespace.apply(&rollout("thief", &routed).to_string()).await?;
        namespace
            .wait(ROLLOUTS, "thief", "refused", LIMIT, |rollout| {
                text(rollout, "/status/phase") == "Degraded"
            })
            .await?;
        let claimed = namespace.get(ROLLOUTS, "thief").await?.context("the Rollout")?;
        println!(
            "an Ingress of another Rollout: {}",
            text(&claimed, "/status/message")
        );
        healthy(&namespace, "service").await?;

        assert_eq!(tidegate.pods().await?, pods);
        assert_eq!(tidegate.restarts().await?, 0);
        Ok(())
    })
}

/// What the schema lets through and nobody can act on is an error of its own, and disturbs no other, also over a start of Tidegate.
#[test]
fn nonsense_disturbs_nobody() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let tidegate = Tidegate::of(&cluster);
        let namespace = cluster.namespace("odd").await?;
        let prometheus = json!({ "prometheus": { "address": "http://127.0.0.1:1", "query": "up" } });
        let odd = [
            (
                "interval",
                json!({ "interval": "soon", "count": 2, "provider": prometheus }),
            ),
            ("count", json!({ "count": "many", "provider": prometheus })),
            (
                "condition",
                json!({ "successCondition": ")(", "provider": prometheus }),
            ),
            (
                "address",
                json!({ "provider": { "web": { "url": "::", "jsonPath": "{" } } }),
            ),
            (
                "job",
                json!({ "provider": { "job": { "spec": { "template": { "spec": { "containers": [] } } } } } }),
            ),
            ("nothing", json!({ "provider": {} })),
        ];
        for (name, metric) in &odd {
            let mut metric = metric.clone();
            metric["name"] = json!("m");
            metric["consecutiveErrorLimit"] = json!(0);
            let run = json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": { "name": name },
                "spec": { "metrics": [metric] },
            });
            namespace.create(&run).await?;
        }
        namespace
            .apply(&rollout("right", &json!({ "canary": {} })).to_string())
            .await?;
        healthy(&namespace, "right").await?;
        for (name, _) in &odd {
            let run = namespace
                .wait("analysisruns.argoproj.io", name, "ended", LIMIT, |run| {
                    text(run, "/status/phase") == "Error"
                })
                .await?;
            let said = text(&run, "/status/message");
            assert!(!said.is_empty(), "{run}");
            println!("{name}: {said}");
        }
        tidegate.kill().await?;
        namespace
            .patch(ROLLOUTS, "right", &json!({ "spec": { "replicas": 2 } }))
            .await?;
        namespace
            .wait(ROLLOUTS, "right", "two replicas", LIMIT, |rollout| {
                rollout
                    .pointer("/status/availableReplicas")
                    .is_some_and(|replicas| replicas == 2)
            })
            .await?;
        assert_eq!(tidegate.restarts().await?, 0);
        Ok(())
    })
}

/// A metrics source that answers nonsense, or too much of it, is an error of that measurement and of nothing else.
#[test]
fn hostile_answers_are_errors_of_the_measurement() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let tidegate = Tidegate::of(&cluster);
        let namespace = cluster.namespace("hostile").await?;
        let source = Source::start(&namespace).await?;
        let deep = "%5B".repeat(20_000);
        for (name, change) in [
            ("nonsense", "body=%3Chtml%3E".to_owned()),
            ("deep", format!("body={deep}")),
            ("huge", "bytes=100000000".to_owned()),
        ] {
            source.set(&change).await?;
            let run = json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": { "name": name },
                "spec": { "metrics": [{
                    "name": name, "consecutiveErrorLimit": 0, "successCondition": "result[0] > 0",
                    "provider": { "prometheus": { "address": source.address(), "query": "up" } },
                }] },
            });
            namespace.apply(&run.to_string()).await?;
            let run = namespace
                .wait("analysisruns.argoproj.io", name, "ended", LIMIT, |run| {
                    text(run, "/status/phase") == "Error"
                })
                .await?;
            let said = text(&run, "/status/metricResults/0/measurements/0/message");
            assert!(!said.is_empty() && said.len() < 2000, "{run}");
            println!("{name}: {said}");
        }
        source.set("value=1").await?;
        let release = Release::create(&namespace, "stable", 1, &json!({ "canary": {} })).await?;
        release.wait_phase("Healthy", LIMIT).await?;
        assert_eq!(tidegate.restarts().await?, 0);
        Ok(())
    })
}
