//! Releases that Prometheus decides about.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tidegate_e2e::{Cluster, Namespace, Release, Source, e2e, eventually, is_full, text};

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
        // before Prometheus had seen the new pods there may have been one without data
        let measurements = results.pointer("/measurements").and_then(Value::as_array);
        let last = measurements.and_then(|all| all.last()).expect("a measurement");
        assert_eq!(text(last, "/phase"), "Failed");
        assert!(!text(last, "/value").is_empty(), "{last}");
        load.stop().await?;
        Ok(())
    })
}

/// Middle and worst, in milliseconds; the worst of a hundred or fewer is the 99th percentile.
fn percentiles(mut millis: Vec<f64>) -> (f64, f64) {
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
    (at(0.5), at(0.99))
}

/// A request that does nothing but set the weight of the canary Ingress to 0.
fn takes_the_weight_away(patch: &Value) -> bool {
    let operations = patch.as_array().into_iter().flatten();
    operations
        .filter(|operation| operation["op"] == "replace" && operation["value"] == "0")
        .any(|operation| {
            operation["path"] == "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight"
        })
}

/// From the answer of the metrics source that fails to the request that takes the weight away: the source notes the one, the
/// API server's audit log the other, by the same clock. Measured, not asserted: a machine that also compiles would decide.
#[test]
fn a_failing_answer_takes_the_traffic_away_at_once() -> Result<()> {
    let (count, limit) = if is_full() { (50, 20) } else { (8, 6) };
    e2e(Duration::from_mins(limit), async |cluster| {
        let Some(log) = cluster.audit_log()? else {
            return Ok(());
        };
        let namespace = cluster.namespace("latency").await?;
        let source = Source::start(&namespace).await?;
        let template = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "check" },
            "spec": { "metrics": [{
                "name": "check", "interval": "1s", "count": 1000, "successCondition": "result[0] >= 0.95",
                "provider": { "prometheus": { "address": source.address(), "query": "up" } },
            }] },
        });
        namespace.apply(&template.to_string()).await?;
        let strategy = json!({ "canary": {
            "stableService": "stable", "canaryService": "canary",
            "trafficRouting": { "nginx": { "stableIngress": "web" } },
            "steps": [{ "setWeight": 50 }, { "analysis": { "templates": [{ "templateName": "check" }] } }],
        } });
        let release = Release::create(&namespace, "stable", 1, &strategy).await?;
        release.version("v2", &[]).await?;
        let mut millis = Vec::new();
        for round in 0..count {
            eventually("a good answer at full weight", LIMIT, async || {
                Ok((release.weight().await? == "50" && !source.answers().await?.is_empty()).then_some(()))
            })
            .await?;
            source.set("value=0.5").await?;
            release.wait_phase("Degraded", LIMIT).await?;
            assert_eq!(release.weight().await?, "0");
            let answers = source.answers().await?;
            let failing = answers.first().map(|answer| answer.micros).unwrap_or_default();
            let written = log.requests()?.into_iter().find(|request| {
                request.namespace == namespace.name()
                    && request.body.as_ref().is_some_and(takes_the_weight_away)
                    && request.at.as_microsecond() >= failing
            });
            let written = written
                .map(|request| request.at.as_microsecond())
                .unwrap_or_default();
            assert!(
                failing > 0 && written > failing,
                "round {round}: {failing} {written}"
            );
            millis.push((written - failing) as f64 / 1000.0);
            source.set("value=1").await?;
            release.status(&json!({ "abort": false })).await?;
        }
        let (p50, p99) = percentiles(millis.clone());
        println!(
            "from the failing answer to the route write, {count} times: p50 {p50:.1} ms, p99 {p99:.1} ms: {millis:?}"
        );
        Ok(())
    })
}
