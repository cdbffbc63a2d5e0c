//! Blue-green updates under load.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tidegate_e2e::{HASH, Release, Source, e2e, eventually, is_full, text};
use tokio::time::Instant;

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

/// G7: Git's Services, applied by force by somebody else in the middle of an update, promote nothing and skip
/// nothing. A Service's selector is replaced as a whole, so the hash is gone for a moment each time.
#[test]
fn services_applied_by_force_do_not_promote() -> Result<()> {
    e2e(Duration::from_mins(3), async |cluster| {
        let namespace = cluster.namespace("foreign").await?;
        let source = Source::start(&namespace).await?;
        // goes on for as long as the test lets it
        let analysis = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "smoke" },
            "spec": { "metrics": [{
                "name": "smoke", "interval": "1s", "count": 600, "failureLimit": 0, "successCondition": "result[0] >= 1",
                "provider": { "prometheus": { "address": source.address(), "query": "smoke" } },
            }] },
        });
        namespace.apply(&analysis.to_string()).await?;
        let strategy = json!({ "blueGreen": {
            "activeService": "active", "previewService": "preview", "autoPromotionEnabled": false,
            "prePromotionAnalysis": { "templates": [{ "templateName": "smoke" }] },
        } });
        let release = Release::create(&namespace, "active", 2, &strategy).await?;
        let old = release.selected("active").await?;
        release.version("v2", &[]).await?;
        let rollout = release
            .wait("its analysis runs", LIMIT, |rollout| {
                text(rollout, "/status/blueGreen/prePromotionAnalysisRunStatus/status") == "Running"
            })
            .await?;
        let new = text(&rollout, "/status/currentPodHash").to_owned();
        assert_ne!(old, new);

        let mut happenings = namespace.watch("services").await?;
        for service in ["active", "preview"].repeat(3) {
            let git = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": service },
                "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
            });
            namespace.apply(&git.to_string()).await?;
            let wanted = if service == "active" { &old } else { &new };
            eventually("its hash is back", LIMIT, async || {
                Ok((release.selected(service).await? == *wanted).then_some(()))
            })
            .await?;
        }
        let seen = release.rollout().await?;
        let running = "/status/blueGreen/prePromotionAnalysisRunStatus/status";
        assert_eq!(text(&seen, running), "Running", "it was not skipped: {seen}");
        assert_eq!(text(&seen, "/status/stableRS"), old);
        // and it still decides
        source.set("value=0").await?;
        release.wait_phase("Degraded", LIMIT).await?;

        let (mut gone, mut longest): (Option<Instant>, _) = (None, Duration::ZERO);
        while let Ok(happening) = happenings.try_recv() {
            if text(&happening.object, "/metadata/name") != "active" {
                continue;
            }
            let hash = text(&happening.object, &format!("/spec/selector/{HASH}"));
            assert_ne!(hash, new, "the active Service never has the new version");
            if hash.is_empty() {
                gone = Some(happening.at);
            } else if let Some(since) = gone.take() {
                longest = longest.max(happening.at - since);
            }
        }
        gone.is_none().then_some(()).context("the hash stays away")?;
        assert!(longest > Duration::ZERO, "nobody took the hash away");
        println!("the active Service was without a hash for at most {longest:?}");
        Ok(())
    })
}
