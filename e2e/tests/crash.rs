//! Tidegate ends without warning, or another one takes over: releases end as if nothing had been.

#![allow(clippy::print_stdout, reason = "measurements")]

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::{Cluster, Release, Tidegate, e2e, eventually, is_full, text};

/// A lease of 15 s has to run out before another acts.
const LIMIT: Duration = Duration::from_mins(2);
const REPLICAS: u32 = 3;

fn canary() -> Value {
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary", "scaleDownDelaySeconds": 5, "abortScaleDownDelaySeconds": 5,
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": [{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 60 }, { "pause": { "duration": 1 } }],
    } })
}

fn blue_green() -> Value {
    json!({ "blueGreen": {
        "activeService": "active", "previewService": "preview",
        "autoPromotionEnabled": false, "scaleDownDelaySeconds": 5, "abortScaleDownDelaySeconds": 5,
    } })
}

/// Ends Tidegate in some way.
trait Blow {
    async fn strike(&self, tidegate: &Tidegate) -> Result<()>;
}

/// All of it is gone at once.
struct Kill;

impl Blow for Kill {
    async fn strike(&self, tidegate: &Tidegate) -> Result<()> {
        tidegate.kill().await
    }
}

/// The one that leads is gone, and another is there.
struct ChangeLeader;

impl Blow for ChangeLeader {
    async fn strike(&self, tidegate: &Tidegate) -> Result<()> {
        let leader = eventually("a leader", LIMIT, async || {
            let leader = tidegate.leader().await?;
            Ok((!leader.is_empty()).then_some(leader))
        });
        tidegate.kill_pod(&leader.await?).await
    }
}

/// Canaries and flips at once under load, with two blows in each round: in the middle of the update, and right after the word of a
/// client. Every third round the word is an abort.
async fn rounds(cluster: &Cluster, rounds: u32, blow: &impl Blow) -> Result<()> {
    let tidegate = Tidegate::of(cluster);
    let (first, second) = (
        cluster.namespace("kill-c").await?,
        cluster.namespace("kill-b").await?,
    );
    let canary = Release::create(&first, "stable", REPLICAS, &canary()).await?;
    let flip = Release::create(&second, "active", REPLICAS, &blue_green()).await?;
    let loads = [canary.load(100).await?, flip.load(100).await?];
    for round in 0..rounds {
        let version = format!("v{}", round + 2);
        let before = text(&canary.rollout().await?, "/status/stableRS").to_owned();
        canary.version(&version, &[]).await?;
        flip.version(&version, &[]).await?;
        // at another moment each time
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 370 % 2500)).await;
        blow.strike(&tidegate).await?;
        canary.wait_step(1, LIMIT).await?;
        flip.wait_phase("Paused", LIMIT).await?;
        if round % 3 == 2 {
            canary.abort().await?;
            flip.abort().await?;
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 130 % 400)).await;
            blow.strike(&tidegate).await?;
            for release in [&canary, &flip] {
                let rollout = release.wait_phase("Degraded", LIMIT).await?;
                assert_eq!(text(&rollout, "/status/stableRS"), before);
                release.status(&json!({ "abort": false })).await?;
            }
            canary.wait_step(1, LIMIT).await?;
            flip.wait_phase("Paused", LIMIT).await?;
            canary.promote().await?;
            flip.promote().await?;
        } else {
            canary.promote().await?;
            flip.promote().await?;
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 130 % 400)).await;
            blow.strike(&tidegate).await?;
        }
        for (release, services) in [(&canary, ["stable", "canary"]), (&flip, ["active", "preview"])] {
            let rollout = release.wait_phase("Healthy", LIMIT).await?;
            let new = text(&rollout, "/status/stableRS").to_owned();
            assert_ne!(new, before, "the promote was lost: {rollout}");
            // The record comes first, and the one that would do the rest may just have been ended.
            for service in services {
                eventually(&format!("{service} selects {new}"), LIMIT, async || {
                    Ok((release.selected(service).await? == new).then_some(()))
                })
                .await?;
            }
            assert_eq!(release.size(&new).await?, i64::from(REPLICAS));
            release.wait_size(&before, 0, LIMIT).await?;
        }
        eventually("the canary's weight is 0", LIMIT, async || {
            Ok((canary.weight().await? == "0").then_some(()))
        })
        .await?;
    }
    for load in loads {
        let report = load.stop().await?;
        assert_eq!(report.failed(), 0, "{report:?}");
        println!(
            "{rounds} rounds with two blows each: {} requests, 0 failed",
            report.sent
        );
    }
    Ok(())
}

#[test]
fn killed_in_the_middle() -> Result<()> {
    let (count, limit) = if is_full() { (25, 50) } else { (3, 10) };
    e2e(Duration::from_mins(limit), async |cluster| {
        rounds(&cluster, count, &Kill).await
    })
}

#[test]
fn another_takes_the_lead() -> Result<()> {
    let (count, limit) = if is_full() { (5, 15) } else { (1, 6) };
    e2e(Duration::from_mins(limit), async |cluster| {
        let tidegate = Tidegate::of(&cluster);
        tidegate.scale(2).await?;
        let result = rounds(&cluster, count, &ChangeLeader).await;
        tidegate.scale(1).await?;
        result
    })
}
