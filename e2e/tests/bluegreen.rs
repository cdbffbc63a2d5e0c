//! Blue-green updates under load.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidegate_e2e::{Release, e2e, is_full, text};

const LIMIT: Duration = Duration::from_mins(1);

/// Flip after flip, and aborts in between, at 200 requests a second: no request fails, the old colour is kept for its delay.
#[test]
fn flips_and_aborts_lose_nothing() -> Result<()> {
    let (flips, aborts) = if is_full() { (20, 5) } else { (4, 2) };
    e2e(
        Duration::from_mins(if is_full() { 25 } else { 8 }),
        async |cluster| {
            let namespace = cluster.namespace("flips").await?;
            let strategy = json!({ "blueGreen": {
            "activeService": "active", "previewService": "preview",
            "autoPromotionEnabled": false, "scaleDownDelaySeconds": 5, "abortScaleDownDelaySeconds": 5,
        } });
            let release = Release::create(&namespace, "active", 3, &strategy).await?;
            let load = release.load(200).await?;
            let mut aborted = 0;
            for flip in 0..flips {
                let old = release.selected("active").await?;
                release.version(&format!("v{}", flip + 2), &[]).await?;
                let rollout = release.wait_phase("Paused", LIMIT).await?;
                let new = text(&rollout, "/status/currentPodHash").to_owned();
                assert_eq!(
                    release.selected("preview").await?,
                    new,
                    "the preview is reachable before the switch"
                );
                assert_eq!(release.selected("active").await?, old);
                if aborted < aborts && flip % 2 == 1 {
                    aborted += 1;
                    release.abort().await?;
                    release.wait_phase("Degraded", LIMIT).await?;
                    assert_eq!(release.selected("active").await?, old);
                    release.wait_size(&new, 0, LIMIT).await?;
                    release.status(&json!({ "abort": false })).await?;
                    release.wait_phase("Paused", LIMIT).await?;
                }
                release.promote().await?;
                release.wait_phase("Healthy", LIMIT).await?;
                assert_eq!(release.selected("active").await?, new);
                assert!(
                    release.size(&old).await? > 0,
                    "the old colour is kept for its delay"
                );
                release.wait_size(&old, 0, LIMIT).await?;
            }
            assert_eq!(aborted, aborts.min(flips / 2));
            let report = load.stop().await?;
            assert_eq!(report.failed(), 0, "{report:?}");
            println!(
                "{flips} flips, {aborted} aborts, {} requests, 0 failed",
                report.sent
            );
            Ok(())
        },
    )
}
