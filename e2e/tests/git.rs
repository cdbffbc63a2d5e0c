//! Git sync, driven by commits to a real forge (git-sync 4.10).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{
    Cluster, Gitea, HASH, Namespace, TestDelivery, condition, e2e, entry, eventually, manifests, text,
};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(90);
const QUICK: Duration = Duration::from_secs(30);

/// Success rate of a version by the app's own metrics, over the last four seconds.
async fn success_rate(cluster: &Cluster, namespace: &Namespace) -> Result<Value> {
    let query = format!(
        r#"sum(rate(http_requests_total{{namespace="{0}",version="{{{{args.version}}}}",code!~"5.."}}[4s])) / sum(rate(http_requests_total{{namespace="{0}",version="{{{{args.version}}}}"}}[4s]))"#,
        namespace.name()
    );
    Ok(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "success-rate" },
        "spec": {
            "args": [{ "name": "version" }],
            "metrics": [{
                "name": "success-rate", "interval": "1s", "count": 3, "failureLimit": 0, "initialDelay": "4s",
                "successCondition": "result[0] >= 0.95",
                "provider": { "prometheus": { "address": cluster.prometheus().await?, "query": query } },
            }],
        },
    }))
}

fn gated(version: &str) -> Value {
    let analysis = json!({ "analysis": {
        "templates": [{ "templateName": "success-rate" }], "args": [{ "name": "version", "value": version }],
    } });
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": [{ "setWeight": 40 }, { "pause": { "duration": 1 } }, analysis],
    } })
}

/// What the cluster runs: the version in the live template, in the ConfigMap, and whether the Services select the stable version.
async fn runs(namespace: &Namespace, version: &str) -> Result<()> {
    let rollout = namespace
        .get("rollouts.argoproj.io", "web")
        .await?
        .context("no Rollout")?;
    assert_eq!(
        text(&rollout, "/spec/template/spec/containers/0/env/0/value"),
        version
    );
    let config = namespace
        .get("configmaps", "web")
        .await?
        .context("no ConfigMap")?;
    assert_eq!(text(&config, "/data/version"), version);
    let service = namespace.get("services", "stable").await?.context("no Service")?;
    assert_eq!(
        text(&service, &format!("/spec/selector/{HASH}")),
        text(&rollout, "/status/stableRS")
    );
    Ok(())
}

async fn push(delivery: &TestDelivery<'_>, message: &str, files: &[(&str, String)]) -> Result<String> {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    delivery.repository.push(message, &files).await
}

/// 4.10 (1): a bad commit is pinned away from at once, told, and taken back by a pull request; the merge closes it.
#[test]
fn a_bad_commit_is_taken_back() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("revert").await?;
        let spec = json!({ "onRejected": { "action": "RevertPR", "writeSecretRef": { "name": "deploy" } } });
        let delivery = TestDelivery::create(&namespace, &gitea, &spec).await?;
        let analysis = (
            "prod/analysis.yaml",
            success_rate(&cluster, &namespace).await?.to_string(),
        );
        let mut files = manifests(&namespace, "v1", &[], &gated("v1"));
        files.push(analysis);
        let first = push(&delivery, "First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        delivery.wait_condition("Ready", "True", QUICK).await?;
        delivery.wait_status(&first, "success", QUICK).await?;
        runs(&namespace, "v1").await?;
        let load = namespace.load(&format!("{}.test", namespace.name()), 150).await?;

        // a good version goes all the way by its metrics
        let second = push(
            &delivery,
            "Second version",
            &manifests(&namespace, "v2", &[], &gated("v2")),
        )
        .await?;
        delivery.wait_state(&second, "Progressing", QUICK).await?;
        delivery.wait_status(&second, "pending", QUICK).await?;
        let seen = delivery.wait_state(&second, "Verified", LIMIT).await?;
        println!("the good commit: {}", entry(&seen, &second));
        delivery.wait_status(&second, "success", QUICK).await?;
        runs(&namespace, "v2").await?;
        assert_eq!(load.reset().await?.failed(), 0);

        // a bad one does not
        let bad = push(
            &delivery,
            "Third version",
            &manifests(&namespace, "v3", &[("ERROR_RATE", "0.5")], &gated("v3")),
        )
        .await?;
        let rejected = delivery.wait_state(&bad, "Rejected", LIMIT).await?;
        let at = Instant::now();
        assert_eq!(
            text(&entry(&rejected, &bad), "/reason"),
            "AnalysisFailed",
            "{rejected}"
        );
        eventually("the cluster is back at v2", Duration::from_secs(5), async || {
            Ok(runs(&namespace, "v2").await.is_ok().then_some(()))
        })
        .await
        .ok();
        let pinned = delivery
            .wait_condition("Pinned", "True", Duration::from_secs(5))
            .await?;
        println!("pinned {:?} after the verdict", at.elapsed());
        assert_eq!(condition(&pinned, "GitAhead"), "True");
        assert_eq!(condition(&pinned, "Ready"), "False");
        delivery
            .wait_status(&bad, "failure", Duration::from_secs(10))
            .await?;
        println!("red after {:?}", at.elapsed());
        let what = "a pull request takes the commit back";
        let told = delivery
            .wait(what, QUICK, |d| {
                !text(&entry(d, &bad), "/revert/pullRequest").is_empty()
            })
            .await?;
        println!("proposed after {:?}: {}", at.elapsed(), entry(&told, &bad));
        runs(&namespace, "v2").await?;
        let requests = delivery.repository.pull_requests().await?;
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!(
            delivery.repository.head("main").await?,
            bad,
            "the branch is not touched"
        );

        // the merge brings Git back to what the cluster runs: nothing is released
        let before = namespace
            .get("rollouts.argoproj.io", "web")
            .await?
            .context("no Rollout")?;
        delivery.repository.merge(requests[0].number).await?;
        let merged = delivery.repository.head("main").await?;
        delivery.wait_condition("Ready", "True", QUICK).await?;
        delivery.wait_status(&merged, "success", QUICK).await?;
        let after = namespace
            .get("rollouts.argoproj.io", "web")
            .await?
            .context("no Rollout")?;
        let hash = |rollout: &Value| text(rollout, "/status/currentPodHash").to_owned();
        assert_eq!(hash(&before), hash(&after));
        let config = delivery
            .repository
            .file("main", "prod/config.yaml")
            .await?
            .context("no file")?;
        assert!(config.contains("v2"), "{config}");
        let closed = delivery.get().await?;
        assert_eq!(condition(&closed, "GitAhead"), "", "{closed}");
        runs(&namespace, "v2").await
    })
}
