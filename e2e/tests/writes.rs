//! What the controller costs the API server, by its audit log.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tidegate_e2e::{AuditedRequest, Release, e2e, text};

const LIMIT: Duration = Duration::from_secs(90);
/// Neither counts.
const ASIDE: [&str; 2] = ["leases.coordination.k8s.io", "events"];

fn counted(request: &AuditedRequest) -> bool {
    request.user.rsplit(':').next() == Some("tidegate")
        && !ASIDE.contains(&request.resource.as_str())
        && request.verb != "watch"
}

/// The four-step canary of ten replicas: at most 20 writes, no read, from the change until a minute after it is Healthy; and
/// then silence.
#[test]
fn a_canary_costs_twenty_writes_and_rest_costs_none() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let namespace = cluster.namespace("writes").await?;
        let strategy = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary",
            "trafficRouting": { "nginx": { "stableIngress": "web" } },
            "steps": [
                { "setWeight": 20 }, { "pause": { "duration": 3 } },
                { "setWeight": 50 }, { "pause": { "duration": 3 } },
            ],
        } });
        let log = cluster.audit_log()?.context("the box has an audit log")?;
        let release = Release::create(&namespace, "stable", 10, &strategy).await?;
        let v1 = text(&release.rollout().await?, "/status/stableRS").to_owned();
        tokio::time::sleep(Duration::from_secs(5)).await;
        // namespaces of other tests may still be on their way out
        let here = |request: &AuditedRequest| ["", namespace.name()].contains(&request.namespace.as_str());
        let ours = |requests: Vec<AuditedRequest>| -> Vec<AuditedRequest> {
            requests.into_iter().filter(|r| counted(r) && here(r)).collect()
        };
        let first = ours(log.requests()?);
        println!("first deployment: {:?}", AuditedRequest::count(&first));

        let log = cluster.audit_log()?.context("the box has an audit log")?;
        release.version("v2", &[]).await?;
        release
            .wait("v2 is on its way", LIMIT, |r| {
                text(r, "/status/phase") != "Healthy"
            })
            .await?;
        release.wait_phase("Healthy", LIMIT).await?;
        release.wait_size(&v1, 0, LIMIT).await?;
        tokio::time::sleep(Duration::from_secs(30)).await;
        let canary = ours(log.requests()?);
        println!("canary: {:?}", AuditedRequest::count(&canary));
        let writes = canary.iter().filter(|r| r.is_write()).count();
        let reads: Vec<_> = canary.iter().filter(|r| !r.is_write()).collect();

        let log = cluster.audit_log()?.context("the box has an audit log")?;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let idle = ours(log.requests()?);

        for request in canary.iter().filter(|r| r.is_write()) {
            println!(
                "{} {} {} {}",
                request.at, request.verb, request.resource, request.name
            );
        }
        assert!(first.iter().filter(|r| r.is_write()).count() <= 9, "{first:#?}");
        assert!(writes <= 20, "{writes} writes: {canary:#?}");
        assert!(reads.is_empty(), "{reads:#?}");
        assert!(idle.is_empty(), "an idle controller is silent: {idle:#?}");
        Ok(())
    })
}
