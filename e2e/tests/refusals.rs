//! What the API server refuses, by quota and by admission: told in its words, waited for, and in nobody's way.

#![allow(clippy::print_stdout, reason = "measurements")]

use std::time::Duration;

use anyhow::Result;
use kube::Client;
use serde_json::{Value, json};
use tidegate_e2e::{
    Cluster, LoadGenerator, Namespace, Release, TIDEGATE_USER, condition_of, e2e, eventually, text,
};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_mins(1);
/// A refused weight is tried again after at most 5 s, and a policy that is removed counts for a moment more.
const WEIGHT_LIMIT: Duration = Duration::from_secs(8);
const ROLLOUTS: &str = "rollouts.argoproj.io";
const QUOTAS: &str = "resourcequotas";
const FREEZE: &str = "frozen by the platform team";

fn says(object: &Value, condition: &str, words: &str) -> bool {
    let condition = condition_of(object, condition);
    text(condition, "/status") == "True" && text(condition, "/message").contains(words)
}

/// Sets what the namespace may have, and waits until that is in force.
async fn quota(namespace: &Namespace, hard: &Value) -> Result<()> {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "small" }, "spec": { "hard": hard },
    });
    namespace.apply(&quota.to_string()).await?;
    let in_force = |quota: &Value| {
        let used = quota.pointer("/status/used").and_then(Value::as_object);
        quota.pointer("/status/hard") == Some(hard) && used.is_some_and(|used| !used.is_empty())
    };
    namespace
        .wait(QUOTAS, "small", "in force", LIMIT, in_force)
        .await?;
    Ok(())
}

/// First no ReplicaSet more, then no pod more: the Rollout says both, loses nothing, and goes on when there is room.
#[test]
fn a_quota_is_told_and_waited_for() -> Result<()> {
    e2e(Duration::from_mins(3), async |cluster| {
        let namespace = cluster.namespace("quota").await?;
        let release = Release::create(&namespace, "stable", 2, &json!({ "canary": {} })).await?;
        let v1 = text(&release.rollout().await?, "/status/stableRS").to_owned();
        let pods = release.pods().await?;

        quota(&namespace, &json!({ "count/replicasets.apps": "1" })).await?;
        release.version("v2", &[]).await?;
        let rollout = release
            .wait("the ReplicaSet is refused", LIMIT, |rollout| {
                says(rollout, "WriteRefused", "exceeded quota: small")
            })
            .await?;
        let progressing = condition_of(&rollout, "Progressing");
        assert_eq!(
            (text(progressing, "/status"), text(progressing, "/reason")),
            ("False", "ReplicaSetCreateError"),
            "{rollout}"
        );
        assert!(
            text(&rollout, "/status/message").contains("exceeded quota"),
            "{rollout}"
        );
        let told = eventually("an event", LIMIT, async || {
            Ok(namespace.told("web", "ReplicaSetCreateError").await?.pop())
        })
        .await?;
        assert!(told.contains("exceeded quota: small"), "{told}");
        println!("{told}");

        quota(&namespace, &json!({ "pods": "2" })).await?;
        let rollout = release
            .wait("its pods are refused", LIMIT, |rollout| {
                says(rollout, "ReplicaFailure", "exceeded quota: small")
            })
            .await?;
        assert!(condition_of(&rollout, "WriteRefused").is_null(), "{rollout}");
        println!("{}", condition_of(&rollout, "ReplicaFailure"));
        assert_eq!(release.pods().await?, pods, "what serves is not touched");
        assert_eq!(text(&rollout, "/status/stableRS"), v1);

        namespace.delete(QUOTAS, "small").await?;
        let rollout = release.wait_phase("Healthy", LIMIT).await?;
        assert_ne!(text(&rollout, "/status/stableRS"), v1);
        for gone in ["WriteRefused", "ReplicaFailure"] {
            assert!(condition_of(&rollout, gone).is_null(), "{rollout}");
        }
        Ok(())
    })
}

/// Refuses writes of Tidegate in one namespace.
struct Policy<'n> {
    namespace: &'n Namespace,
    /// Its requests, as the API server sees them.
    as_tidegate: Client,
}

impl<'n> Policy<'n> {
    fn of(cluster: &Cluster, namespace: &'n Namespace) -> Result<Self> {
        Ok(Self {
            namespace,
            as_tidegate: cluster.impersonate(TIDEGATE_USER)?,
        })
    }

    /// Refuses, where these rules fit, all but what the expression lets through. It is in force when this returns; one of the rules
    /// has to fit changes of Services.
    async fn refuse(&self, reason: &str, rules: &Value, unless: &str) -> Result<()> {
        let name = self.namespace.name();
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } },
                    "resourceRules": rules,
                },
                "matchConditions": [{
                    "name": "tidegate", "expression": format!("request.userInfo.username == '{TIDEGATE_USER}'"),
                }],
                "validations": [{ "expression": unless, "message": FREEZE, "reason": reason }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        for object in [policy, binding] {
            self.namespace.apply_with_it(object).await?;
        }
        eventually("the policy is in force", LIMIT, async || {
            Ok(self.refuses().await?.then_some(()))
        })
        .await
    }

    /// Whether Tidegate's changes are refused now: tried, and not done.
    async fn refuses(&self) -> Result<bool> {
        let uri = format!(
            "/api/v1/namespaces/{}/services/stable?dryRun=All",
            self.namespace.name()
        );
        let body = json!({ "metadata": { "annotations": { "example.com/tried": "true" } } });
        let request = http::Request::patch(uri)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&body)?)?;
        match self.as_tidegate.request::<Value>(request).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.message.contains(FREEZE) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn lift(&self) -> Result<()> {
        for resource in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
            let resource = format!("{resource}.admissionregistration.k8s.io");
            let api = self.namespace.cluster().api(&resource, None).await?;
            api.delete(self.namespace.name(), &kube::api::DeleteParams::default())
                .await?;
        }
        Ok(())
    }
}

/// Waits until the weight is 0, and says how long that took.
async fn back_to_stable(release: &Release<'_>) -> Result<()> {
    let since = Instant::now();
    eventually("the weight is 0", WEIGHT_LIMIT, async || {
        Ok((release.weight().await? == "0").then_some(()))
    })
    .await?;
    println!("weight 0 after {:?}", since.elapsed());
    Ok(())
}

/// Requests since the last look: none has failed.
async fn none_failed(load: &LoadGenerator) -> Result<()> {
    let report = load.reset().await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    Ok(())
}

/// An abort while nothing at all may be written ends as if nothing had been, as soon as something may. One while everything but the
/// weight is refused takes the traffic back at once, and does the rest when it may.
#[test]
fn an_abort_waits_for_nothing_that_is_refused() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let namespace = cluster.namespace("frozen").await?;
        let strategy = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary", "abortScaleDownDelaySeconds": 1,
            "trafficRouting": { "nginx": { "stableIngress": "web" } },
            "steps": [{ "setWeight": 50 }, { "pause": {} }],
        } });
        let release = Release::create(&namespace, "stable", 2, &strategy).await?;
        let load = release.load(100).await?;
        let policy = Policy::of(&cluster, &namespace)?;
        release.version("v2", &[]).await?;
        let rollout = release.wait_step(1, LIMIT).await?;
        let (v1, v2) = (
            text(&rollout, "/status/stableRS").to_owned(),
            text(&rollout, "/status/currentPodHash").to_owned(),
        );

        let everything =
            json!([{ "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"] }]);
        policy.refuse("Invalid", &everything, "false").await?;
        release.abort().await?;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(release.weight().await?, "50", "nothing may be written");
        assert_eq!(text(&release.rollout().await?, "/status/phase"), "Paused");
        policy.lift().await?;
        back_to_stable(&release).await?;
        taken_back(&release, &v1, &v2).await?;

        release.status(&json!({ "abort": false })).await?;
        release.wait_step(1, LIMIT).await?;
        assert_eq!(release.weight().await?, "50");
        none_failed(&load).await?;
        while_all_but_the_weight_is_refused(&release, &namespace, &policy, &load, &v2).await?;
        policy.lift().await?;
        taken_back(&release, &v1, &v2).await?;
        let canary = namespace
            .get("ingresses.networking.k8s.io", "web-web-canary")
            .await?
            .unwrap_or_default();
        assert_eq!(text(&canary, "/metadata/annotations/example.com~1team"), "shop");
        let report = load.stop().await?;
        assert_eq!(report.failed(), 0, "{report:?}");
        Ok(())
    })
}

async fn while_all_but_the_weight_is_refused(
    release: &Release<'_>,
    namespace: &Namespace,
    policy: &Policy<'_>,
    load: &LoadGenerator,
    v2: &str,
) -> Result<()> {
    let rules = json!([
        { "apiGroups": ["networking.k8s.io"], "apiVersions": ["*"], "operations": ["*"], "resources": ["ingresses"] },
        { "apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["*"], "resources": ["replicasets"] },
        { "apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["services"] },
    ]);
    let only_the_weight = "request.operation == 'UPDATE' && request.resource.resource == 'ingresses' \
        && object.spec == oldObject.spec && object.metadata.annotations.all(key, \
        key == 'nginx.ingress.kubernetes.io/canary-weight' || (key in oldObject.metadata.annotations \
        && object.metadata.annotations[key] == oldObject.metadata.annotations[key]))";
    policy.refuse("Invalid", &rules, only_the_weight).await?;
    let annotated = json!({ "spec": { "strategy": { "canary": { "trafficRouting": { "nginx": {
        "canaryIngressAnnotations": { "example.com/team": "shop" },
    } } } } } });
    namespace.patch(ROLLOUTS, "web", &annotated).await?;
    release
        .wait("the annotation is refused", LIMIT, |rollout| {
            says(rollout, "WriteRefused", FREEZE)
        })
        .await?;
    let told = eventually("an event", LIMIT, async || {
        Ok(namespace.told("web", "TrafficRoutingError").await?.pop())
    })
    .await?;
    assert!(told.contains(FREEZE), "{told}");
    println!("{told}");

    release.abort().await?;
    back_to_stable(release).await?;
    let rollout = release.wait_phase("Degraded", LIMIT).await?;
    assert!(says(&rollout, "WriteRefused", FREEZE), "{rollout}");
    // the data plane follows within its throttle
    sleep(Duration::from_secs(1)).await;
    none_failed(load).await?;
    sleep(Duration::from_secs(2)).await;
    let report = load.reset().await?;
    assert_eq!((report.failed(), report.answers_of("v2")), (0, 0), "{report:?}");
    // it was in force all the time
    assert_eq!(release.selected("canary").await?, v2);
    assert!(release.size(v2).await? > 0);
    Ok(())
}

/// Waits until all is as after an abort.
async fn taken_back(release: &Release<'_>, v1: &str, v2: &str) -> Result<()> {
    let rollout = release
        .wait("aborted, and nothing is refused", LIMIT, |rollout| {
            text(rollout, "/status/phase") == "Degraded" && condition_of(rollout, "WriteRefused").is_null()
        })
        .await?;
    assert!(
        text(&rollout, "/status/message").starts_with("RolloutAborted"),
        "{rollout}"
    );
    release.wait_size(v2, 0, LIMIT).await?;
    assert_eq!(release.weight().await?, "0");
    assert_eq!(release.selected("stable").await?, v1);
    assert_eq!(release.selected("canary").await?, v1);
    Ok(())
}
