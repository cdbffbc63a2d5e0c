//! Releases that Prometheus decides about.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::{Cluster, Namespace, Release, e2e, text};

const LIMIT: Duration = Duration::from_secs(90);

/// Success rate of the canary by the app's own metrics, over the last four seconds.
async fn success_rate(cluster: &Cluster, namespace: &Namespace) -> Result<()> {
    let query = format!(
        r#"sum(rate(http_requests_total{{namespace="{0}",version="{{{{args.version}}}}",code!~"5.."}}[4s])) / sum(rate(http_requests_total{{namespace="{0}",version="{{{{args.version}}}}"}}[4s]))"#,
        namespace.name()
    );
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "success-rate" },
        "spec": {
            "args": [{ "name": "version" }],
            "metrics": [{
                "name": "success-rate", "interval": "1s", "count": 4, "failureLimit": 0, "initialDelay": "4s",
                "successCondition": "result[0] >= 0.95",
                "provider": { "prometheus": { "address": cluster.prometheus().await?, "query": query } },
            }],
        },
    });
    namespace.apply(&template.to_string()).await
}

fn gated(version: &str, pause: u32) -> Value {
    let analysis = json!({ "analysis": {
        "templates": [{ "templateName": "success-rate" }], "args": [{ "name": "version", "value": version }],
    } });
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": [{ "setWeight": 30 }, { "pause": { "duration": pause } }, analysis, { "setWeight": 60 }, analysis],
    } })
}

/// A good version goes all the way without a human; a bad one is taken back, and the run says why.
#[test]
fn metrics_promote_and_roll_back() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let namespace = cluster.namespace("gated").await?;
        success_rate(&cluster, &namespace).await?;
        let release = Release::create(&namespace, "stable", 3, &gated("v2", 1)).await?;
        let load = release.load(150).await?;
        release.version("v2", &[]).await?;
        release
            .wait("v2 is updated", LIMIT, |r| {
                text(r, "/status/phase") == "Progressing"
            })
            .await?;
        let rollout = release.wait_phase("Healthy", LIMIT).await?;
        let v2 = text(&rollout, "/status/stableRS").to_owned();
        assert_eq!(load.reset().await?.failed(), 0);

        namespace
            .patch(
                "rollouts.argoproj.io",
                "web",
                &json!({ "spec": { "strategy": gated("v3", 1) } }),
            )
            .await?;
        release.version("v3", &[("ERROR_RATE", "0.5")]).await?;
        let rollout = release.wait_phase("Degraded", LIMIT).await?;
        assert!(
            text(&rollout, "/status/message").contains("Metric \"success-rate\" assessed Failed"),
            "{rollout}"
        );
        assert_eq!(release.weight().await?, "0");
        assert_eq!(text(&rollout, "/status/stableRS"), v2);
        assert_eq!(release.size(&v2).await?, 3, "stable is whole");
        let runs = namespace.list("analysisruns.argoproj.io", "").await?;
        let failed = runs
            .iter()
            .find(|run| text(run, "/status/phase") == "Failed")
            .expect("a failed run");
        let results = failed.pointer("/status/metricResults/0").expect("results");
        println!(
            "why: {} {}",
            text(failed, "/status/message"),
            results.pointer("/measurements").unwrap_or(&Value::Null)
        );
        assert!(results.pointer("/measurements/0/value").is_some());
        load.stop().await?;
        Ok(())
    })
}
