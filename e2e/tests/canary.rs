//! Canaries with NGINX routing, under load.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidegate_e2e::{Release, e2e, text};

const LIMIT: Duration = Duration::from_mins(1);

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
