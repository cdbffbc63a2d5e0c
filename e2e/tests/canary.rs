//! Canaries with NGINX routing, under load.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::{LoadGenerator, Namespace, Release, e2e, text};

const LIMIT: Duration = Duration::from_mins(1);
const ROLLOUTS: &str = "rollouts.argoproj.io";

fn canary(steps: &serde_json::Value) -> serde_json::Value {
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary", "scaleDownDelaySeconds": 10,
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": steps,
    } })
}

/// The walkthrough: 20, pause, 40, 60, 80, each with its measured share; nobody notices.
#[test]
fn the_walkthrough() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let namespace = cluster.namespace("walk").await?;
        let steps = json!([
            { "setWeight": 20 }, { "pause": {} }, { "setWeight": 40 }, { "pause": {} },
            { "setWeight": 60 }, { "pause": {} }, { "setWeight": 80 }, { "pause": {} },
        ]);
        let release = Release::create(&namespace, "stable", 5, &canary(&steps)).await?;
        let load = release.load(150).await?;
        let v1 = text(&release.rollout().await?, "/status/stableRS").to_owned();

        release.version("v2", &[]).await?;
        for (step, weight) in [(1, 20.0), (3, 40.0), (5, 60.0), (7, 80.0)] {
            let rollout = release.wait_step(step, LIMIT).await?;
            let v2 = text(&rollout, "/status/currentPodHash");
            assert_eq!(release.weight().await?, format!("{weight:.0}"));
            assert_eq!(release.selected("stable").await?, v1);
            assert_eq!(release.selected("canary").await?, v2);
            // the data plane follows within its throttle
            tokio::time::sleep(Duration::from_secs(1)).await;
            load.reset().await?;
            let report = load.window(Duration::from_secs(4)).await?;
            assert!(
                (report.share("v2") - weight).abs() <= 2.0,
                "at {weight}: {report:?}"
            );
            println!(
                "step {step}: weight {weight}, measured {:.1} %",
                report.share("v2")
            );
            release.promote().await?;
        }
        let rollout = release.wait_phase("Healthy", LIMIT).await?;
        let v2 = text(&rollout, "/status/stableRS").to_owned();
        assert_ne!(v1, v2);
        release.wait_size(&v1, 0, LIMIT).await?;
        assert_eq!(release.weight().await?, "0");
        assert_eq!(
            (
                release.selected("stable").await?,
                release.selected("canary").await?
            ),
            (v2.clone(), v2)
        );
        let report = load.stop().await?;
        assert_eq!(report.failed(), 0, "{report:?}");
        Ok(())
    })
}

/// An abort takes the traffic back at once; a retry begins anew.
#[test]
fn abort_and_retry() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let namespace = cluster.namespace("abort").await?;
        let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
        let release = Release::create(&namespace, "stable", 3, &canary(&steps)).await?;
        let load = release.load(100).await?;
        release.version("v2", &[]).await?;
        release.wait_step(1, LIMIT).await?;
        release.abort().await?;
        let rollout = release.wait_phase("Degraded", LIMIT).await?;
        assert_eq!(
            text(&rollout, "/status/message"),
            "RolloutAborted: Rollout aborted update to revision 2"
        );
        assert_eq!(release.weight().await?, "0");
        release.status(&json!({ "abort": false })).await?;
        release.wait_step(1, LIMIT).await?;
        assert_eq!(release.weight().await?, "50");
        release.promote().await?;
        release.wait_phase("Healthy", LIMIT).await?;
        let report = load.stop().await?;
        assert_eq!(report.failed(), 0, "{report:?}");
        Ok(())
    })
}

/// Waits until it has this many pods that are available and wants no others.
async fn scaled(namespace: &Namespace, replicas: i64) -> Result<()> {
    let patch = json!({ "spec": { "replicas": replicas } });
    namespace.patch(ROLLOUTS, "web", &patch).await?;
    let so = |rollout: &Value| {
        let number = |field: &str| rollout.pointer(field).and_then(Value::as_i64).unwrap_or(0);
        number("/status/replicas") == replicas && number("/status/availableReplicas") == replicas
    };
    let what = format!("{replicas} pods");
    namespace.wait(ROLLOUTS, "web", &what, LIMIT, so).await?;
    Ok(())
}

/// Weights that fall, a return past all steps to a version without pods, and no pods at all in the middle of an update and after it: who
/// gets requests always has the pods for them.
#[test]
fn down_back_and_to_nothing() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let namespace = cluster.namespace("down").await?;
        let strategy = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary", "dynamicStableScale": true,
            "trafficRouting": { "nginx": { "stableIngress": "web" } },
            "steps": [{ "setWeight": 60 }, { "pause": {} }, { "setWeight": 20 }, { "pause": {} }],
        } });
        let release = Release::create(&namespace, "stable", 5, &strategy).await?;
        let window = json!({ "spec": { "rollbackWindow": { "revisions": 3 } } });
        namespace.patch(ROLLOUTS, "web", &window).await?;
        let load = release.load(150).await?;
        let v1 = text(&release.rollout().await?, "/status/stableRS").to_owned();

        release.version("v2", &[]).await?;
        let rollout = release.wait_step(1, LIMIT).await?;
        let v2 = text(&rollout, "/status/currentPodHash").to_owned();
        assert_eq!(release.weight().await?, "60");
        release.wait_size(&v1, 2, LIMIT).await?;
        release.promote().await?;
        release.wait_step(3, LIMIT).await?;
        release.wait_size(&v2, 1, LIMIT).await?;
        assert_eq!(
            (release.size(&v1).await?, release.weight().await?),
            (4, "20".into())
        );
        let report = load.reset().await?;
        assert_eq!(report.failed(), 0, "60, then 20: {report:?}");

        // in the middle of the update; while there is no pod, nobody answers
        scaled(&namespace, 0).await?;
        scaled(&namespace, 5).await?;
        serves(&load, &[("v1", 80.0), ("v2", 20.0)]).await?;
        assert_eq!((release.size(&v1).await?, release.size(&v2).await?), (4, 1));
        release.wait_step(3, LIMIT).await?;
        release.promote().await?;
        release.wait_phase("Healthy", LIMIT).await?;
        release.wait_size(&v1, 0, LIMIT).await?;

        release.version("v1", &[]).await?;
        let rollout = release.wait_phase("Healthy", LIMIT).await?;
        assert_eq!(text(&rollout, "/status/stableRS"), v1, "past all pauses");
        release.wait_size(&v2, 0, LIMIT).await?;
        let report = load.reset().await?;
        assert_eq!(report.failed(), 0, "to v2, and back to v1: {report:?}");

        scaled(&namespace, 0).await?;
        scaled(&namespace, 5).await?;
        serves(&load, &[("v1", 100.0)]).await?;
        release.wait_phase("Healthy", LIMIT).await?;
        Ok(())
    })
}

/// Nobody fails from now on, and each version has its share.
async fn serves(load: &LoadGenerator, shares: &[(&str, f64)]) -> Result<()> {
    // the data plane follows within its throttle
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.window(Duration::from_secs(3)).await?;
    assert_eq!(report.failed(), 0, "{report:?}");
    for (version, share) in shares {
        assert!(
            (report.share(version) - share).abs() <= 2.0,
            "{version}: {report:?}"
        );
    }
    Ok(())
}
