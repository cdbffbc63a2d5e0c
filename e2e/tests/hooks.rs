//! Hooks of a commit, which are real Jobs: what they keep from being applied, and the order (docs/git/hooks.md).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{Gitea, Happening, Namespace, TestDelivery, condition, e2e, entry, manifests, text};
use tokio::sync::mpsc::UnboundedReceiver;

const LIMIT: Duration = Duration::from_mins(1);
const QUICK: Duration = Duration::from_secs(20);

/// A Job that ends at once, by itself: the demo app says its version, or refuses an error rate of 2.
fn job(name: &str, hook: &str, succeeds: bool) -> (String, String) {
    let arguments = if succeeds {
        vec!["--version"]
    } else {
        vec!["app", "--error-rate=2"]
    };
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "annotations": { "argocd.argoproj.io/hook": hook } },
        "spec": {
            "backoffLimit": 0, "activeDeadlineSeconds": 60,
            "template": { "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "main", "image": "tidegate/demo-app:dev", "args": arguments }],
            } },
        },
    });
    (format!("prod/{name}.yaml"), job.to_string())
}

/// The app, a migration before it, a ConfigMap of a later wave and a smoke test after it.
fn release(namespace: &Namespace, version: &str, migrates: bool) -> Vec<(String, String)> {
    let app = manifests(namespace, version, &[], &json!({ "canary": {} }));
    let late = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "late", "annotations": { "argocd.argoproj.io/sync-wave": "1" } },
        "data": { "version": version },
    });
    let mut files: Vec<(String, String)> = app
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text))
        .collect();
    files.push(("prod/late.yaml".to_owned(), late.to_string()));
    files.push(job("migrate", "PreSync", migrates));
    files.push(job("smoke", "PostSync", true));
    files
}

/// How each hook of a commit ended: `PreSync Succeeded`.
fn hooks(delivery: &Value, commit: &str) -> Vec<String> {
    let entry = entry(delivery, commit);
    let hooks = entry.get("hooks").and_then(Value::as_array);
    let words = |hook: &Value| format!("{} {}", text(hook, "/phase"), text(hook, "/state"));
    hooks.into_iter().flatten().map(words).collect()
}

/// Its place in the one order of all writes of the cluster.
fn place(object: &Value) -> Result<u64> {
    Ok(text(object, "/metadata/resourceVersion").parse()?)
}

/// When the object of this name was first as it should be.
async fn first(
    happenings: &mut UnboundedReceiver<Happening>,
    name: &str,
    so: impl Fn(&Value) -> bool,
) -> Result<u64> {
    let found = async {
        loop {
            let happening = happenings.recv().await.context("the watch has ended")?;
            if text(&happening.object, "/metadata/name") == name && so(&happening.object) {
                return place(&happening.object);
            }
        }
    };
    tokio::time::timeout(QUICK, found)
        .await
        .with_context(|| format!("{name} was never so"))?
}

fn is_complete(job: &Value) -> bool {
    condition(job, "Complete") == "True"
}

/// The versions that are in the cluster: of the Rollout, of its settings, and of what comes in a later wave.
async fn versions(namespace: &Namespace) -> Result<[String; 3]> {
    let of = async |resource: &str, name: &str, pointer: &str| -> Result<String> {
        let object = namespace.get(resource, name).await?.context("it is gone")?;
        Ok(text(&object, pointer).to_owned())
    };
    let variable = "/spec/template/spec/containers/0/env/0/value";
    Ok([
        of("rollouts.argoproj.io", "web", variable).await?,
        of("configmaps", "web", "/data/version").await?,
        of("configmaps", "late", "/data/version").await?,
    ])
}

#[test]
fn hooks_come_in_order_and_a_failed_one_keeps_the_commit_out() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("hooks").await?;
        let mut jobs = namespace.watch("jobs.batch").await?;
        let mut configs = namespace.watch("configmaps").await?;
        let mut rollouts = namespace.watch("rollouts.argoproj.io").await?;
        let delivery = TestDelivery::create(&namespace, &gitea, &json!({})).await?;
        let good = delivery
            .repository
            .push("First version", &release(&namespace, "v1", true))
            .await?;
        delivery.wait_state(&good, "Deployed", LIMIT).await?;
        let all = ["PreSync Succeeded", "PostSync Succeeded"];
        let seen = delivery
            .wait("its hooks are done", QUICK, |d| hooks(d, &good) == all)
            .await?;
        assert_eq!(condition(&seen, "Ready"), "True", "{seen}");

        let is_there = |_: &Value| true;
        let healthy = |rollout: &Value| text(rollout, "/status/phase") == "Healthy";
        let order = [
            first(&mut jobs, "migrate", is_there).await?,
            first(&mut jobs, "migrate", is_complete).await?,
            first(&mut configs, "web", is_there).await?,
            first(&mut configs, "late", is_there).await?,
            first(&mut rollouts, "web", healthy).await?,
            first(&mut jobs, "smoke", is_there).await?,
            first(&mut jobs, "smoke", is_complete).await?,
        ];
        assert!(order.is_sorted(), "{order:?}");

        // a migration that fails: nothing of the commit is applied
        let bad = delivery
            .repository
            .push("Second version", &release(&namespace, "v2", false))
            .await?;
        let rejected = delivery.wait_state(&bad, "Rejected", LIMIT).await?;
        let told = entry(&rejected, &bad);
        assert_eq!(text(&told, "/reason"), "HookFailed", "{told}");
        assert!(text(&told, "/message").contains("migrate"), "{told}");
        let pinned = delivery.wait_condition("Pinned", "True", QUICK).await?;
        assert_eq!(condition(&pinned, "GitAhead"), "True");
        assert_eq!(condition(&pinned, "Ready"), "False");
        delivery.wait_status(&bad, "failure", QUICK).await?;
        assert_eq!(hooks(&pinned, &bad), ["PreSync Failed", "PostSync Pending"]);
        assert_eq!(versions(&namespace).await?, ["v1", "v1", "v1"]);
        while let Ok(happening) = configs.try_recv() {
            assert_ne!(
                text(&happening.object, "/data/version"),
                "v2",
                "it was applied meanwhile"
            );
        }

        // the next one takes the place of the failed Job, and is not in quarantine for pods that never ran
        let fixed = delivery
            .repository
            .push("It migrates", &release(&namespace, "v2", true))
            .await?;
        delivery.wait_state(&fixed, "Deployed", LIMIT).await?;
        let seen = delivery
            .wait("its hooks are done", QUICK, |d| hooks(d, &fixed) == all)
            .await?;
        assert_eq!(condition(&seen, "Pinned"), "");
        assert_eq!(versions(&namespace).await?, ["v2", "v2", "v2"]);
        Ok(())
    })
}
