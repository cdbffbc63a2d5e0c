//! Git sync, driven by commits to a real forge (G1 to G10).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tidegate_e2e::{
    Change, Cluster, Gitea, HASH, Namespace, Release, Source, TestDelivery, Tidegate, condition, e2e, entry,
    eventually, manifests, text,
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
    let rollout = Release::of(namespace).rollout().await?;
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

/// A good version goes all the way by its metrics; how it stands in the ledger then.
async fn second_version_is_verified(namespace: &Namespace, delivery: &TestDelivery<'_>) -> Result<Value> {
    let second = delivery
        .repository
        .push("Second version", &manifests(namespace, "v2", &[], &gated("v2")))
        .await?;
    delivery.wait_state(&second, "Progressing", QUICK).await?;
    delivery.wait_status(&second, "pending", QUICK).await?;
    let seen = delivery.wait_state(&second, "Verified", LIMIT).await?;
    delivery.wait_status(&second, "success", QUICK).await?;
    runs(namespace, "v2").await?;
    Ok(entry(&seen, &second))
}

/// The merge brings Git back to what the cluster runs: nothing is released.
async fn merge_releases_nothing(
    namespace: &Namespace,
    delivery: &TestDelivery<'_>,
    request: u64,
) -> Result<()> {
    let before = Release::of(namespace).rollout().await?;
    delivery.repository.merge(request).await?;
    let merged = delivery.repository.head("main").await?;
    delivery.wait_condition("Ready", "True", QUICK).await?;
    delivery.wait_status(&merged, "success", QUICK).await?;
    let after = Release::of(namespace).rollout().await?;
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
    runs(namespace, "v2").await
}

/// G1: a bad commit is pinned away from at once, told, and taken back by a pull request; the merge closes it.
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
        let first = delivery.repository.push("First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        delivery.wait_condition("Ready", "True", QUICK).await?;
        delivery.wait_status(&first, "success", QUICK).await?;
        runs(&namespace, "v1").await?;
        let load = namespace.load(&format!("{}.test", namespace.name()), 150).await?;

        let good = second_version_is_verified(&namespace, &delivery).await?;
        println!("the good commit: {good}");
        assert_eq!(load.reset().await?.failed(), 0);

        // a bad one does not
        let bad = delivery
            .repository
            .push(
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
            Ok(runs_version(&namespace, "v2").await?.then_some(()))
        })
        .await?;
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

        merge_releases_nothing(&namespace, &delivery, requests[0].number).await
    })
}

/// Steps of the NGINX walkthrough: 20, a pause for a person, then 40, 60 and 80 by themselves.
fn walkthrough() -> Value {
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": [
            { "setWeight": 20 }, { "pause": {} }, { "setWeight": 40 }, { "pause": { "duration": 2 } },
            { "setWeight": 60 }, { "pause": { "duration": 2 } }, { "setWeight": 80 }, { "pause": { "duration": 2 } },
        ],
    } })
}

/// A setting without new pods is good at once; of the good commits, the last two are kept for when Git is not there.
async fn setting_is_good_at_once(namespace: &Namespace, delivery: &TestDelivery<'_>) -> Result<()> {
    let setting = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "web" }, "data": { "version": "v3", "more": "yes" },
    });
    let fourth = delivery
        .repository
        .push("A setting", &[("prod/config.yaml", setting.to_string())])
        .await?;
    delivery.wait_state(&fourth, "Deployed", QUICK).await?;
    eventually("two bundles are kept", QUICK, async || {
        let mut secrets = namespace.list("secrets", "").await?;
        secrets.retain(|secret| text(secret, "/type") == "tidegate.io/bundle.v1");
        Ok((secrets.len() == 2).then_some(()))
    })
    .await
}

/// The walkthrough, driven only by commits; a newer commit in the middle of it wins; what is changed by hand is put back; what
/// Git has no more is deleted when the commit is good.
#[test]
fn commits_drive_the_walkthrough() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("walkthrough").await?;
        let delivery = TestDelivery::create(&namespace, &gitea, &json!({})).await?;
        let mut files = manifests(&namespace, "v1", &[], &walkthrough());
        let old = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "old" } });
        files.push(("prod/old.yaml", old.to_string()));
        let first = delivery.repository.push("First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        let load = namespace.load(&format!("{}.test", namespace.name()), 150).await?;
        let release = Release::of(&namespace);

        let second = delivery
            .repository
            .push(
                "Second version",
                &manifests(&namespace, "v2", &[], &walkthrough()),
            )
            .await?;
        release.wait_step(1, LIMIT).await?;
        assert_eq!(release.weight().await?, "20");
        delivery.wait_state(&second, "Paused", QUICK).await?;
        let report = load.window(Duration::from_secs(4)).await?;
        println!("at 20: {report:?}");
        assert_eq!(report.failed(), 0);

        // a newer commit, which misses one object, wins in the middle of the pause
        delivery
            .repository
            .push_to(
                "main",
                "Third version",
                &changes(&manifests(&namespace, "v3", &[], &walkthrough()), "prod/old.yaml"),
            )
            .await?;
        let third = delivery.repository.head("main").await?;
        delivery.wait_state(&second, "Superseded", QUICK).await?;
        delivery.wait_state(&third, "Paused", LIMIT).await?;
        assert!(
            namespace.get("configmaps", "old").await?.is_some(),
            "nothing is deleted before the verdict"
        );

        // somebody's edit is put back
        namespace
            .patch("configmaps", "web", &json!({ "data": { "version": "by hand" } }))
            .await?;
        delivery.annotate("tidegate.io/sync", "now").await?;
        namespace
            .wait("configmaps", "web", "put back", QUICK, |config| {
                text(config, "/data/version") == "v3"
            })
            .await?;

        release.promote().await?;
        for (step, weight) in [(3, "40"), (5, "60"), (7, "80")] {
            release.wait_step(step, LIMIT).await?;
            assert_eq!(release.weight().await?, weight);
        }
        delivery.wait_state(&third, "Deployed", LIMIT).await?;
        runs(&namespace, "v3").await?;
        eventually("the old object is deleted", QUICK, async || {
            Ok(namespace.get("configmaps", "old").await?.is_none().then_some(()))
        })
        .await?;
        setting_is_good_at_once(&namespace, &delivery).await?;
        assert_eq!(load.reset().await?.failed(), 0);
        Ok(())
    })
}

/// The analysis of [`gated`], whose answers the test chooses.
fn measured_by(source: &Source) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": { "name": "success-rate" },
        "spec": { "args": [{ "name": "version" }], "metrics": [{
            "name": "rate", "interval": "1s", "count": 2, "failureLimit": 0,
            "successCondition": "result[0] >= 0.95",
            "provider": { "prometheus": { "address": source.address(), "query": "rate" } },
        }] },
    })
}

/// Broken files disturb nothing, and the condition names file and line.
async fn broken_files_disturb_nothing(namespace: &Namespace, delivery: &TestDelivery<'_>) -> Result<()> {
    let broken = delivery
        .repository
        .push(
            "Broken",
            &[("prod/config.yaml", "kind: ConfigMap\ndata: [\n".to_owned())],
        )
        .await?;
    let rejected = delivery.wait_state(&broken, "Rejected", QUICK).await?;
    assert!(
        text(&entry(&rejected, &broken), "/message").starts_with("prod/config.yaml:"),
        "{rejected}"
    );
    runs(namespace, "v1").await?;
    delivery.wait_status(&broken, "failure", QUICK).await
}

/// Git is down when a commit is rejected: the cluster is back at once, and the commit taken back when Git is there again.
async fn rejected_while_git_is_down(
    namespace: &Namespace,
    delivery: &TestDelivery<'_>,
    gitea: &mut Gitea,
    bad: &str,
) -> Result<()> {
    delivery.wait_state(bad, "Progressing", QUICK).await?;
    gitea.stop()?;
    delivery.wait_state(bad, "Rejected", LIMIT).await?;
    eventually("the cluster is back at v3", QUICK, async || {
        Ok(runs_version(namespace, "v3").await?.then_some(()))
    })
    .await?;
    gitea.start_again().await?;
    delivery.wait_condition("Ready", "True", LIMIT).await?;
    let log = delivery.repository.log("main").await?;
    assert!(log[0].message.starts_with("Take back: A bad one"), "{log:?}");
    assert!(
        log[0].message.contains(&format!("Tidegate-Reverts: {bad}")),
        "{log:?}"
    );
    assert_eq!(log[1].commit, bad, "exactly one commit takes it back");
    delivery.wait_status(bad, "failure", QUICK).await
}

/// G3, G5 and G6: a quarantine; Git that is down when it is needed; metrics that cannot be measured; broken files.
#[test]
fn what_is_not_the_commits_fault_is_not_taken_back() -> Result<()> {
    e2e(Duration::from_mins(8), async |cluster| {
        let Some(mut gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("faults").await?;
        let source = Source::start(&namespace).await?;
        let spec =
            json!({ "onRejected": { "action": "RevertCommit", "writeSecretRef": { "name": "deploy" } } });
        let delivery = TestDelivery::create(&namespace, &gitea, &spec).await?;
        let mut analysis = measured_by(&source);
        analysis["spec"]["metrics"][0]["consecutiveErrorLimit"] = json!(0);
        let version = |version: &str| manifests(&namespace, version, &[], &gated(version));
        let mut files = version("v1");
        files.push(("prod/analysis.yaml", analysis.to_string()));
        let first = delivery.repository.push("First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;

        broken_files_disturb_nothing(&namespace, &delivery).await?;

        // metrics that cannot be measured: back in the cluster, not in Git
        source.set("body=nonsense").await?;
        let unmeasured = delivery.repository.push("Not measured", &version("v2")).await?;
        let rejected = delivery.wait_state(&unmeasured, "Rejected", LIMIT).await?;
        assert_eq!(
            text(&entry(&rejected, &unmeasured), "/reason"),
            "AnalysisError",
            "{rejected}"
        );
        delivery.wait_status(&unmeasured, "error", QUICK).await?;
        eventually("the cluster is back at v1", QUICK, async || {
            Ok(runs_version(&namespace, "v1").await?.then_some(()))
        })
        .await?;
        assert_eq!(
            delivery.repository.head("main").await?,
            unmeasured,
            "nothing is written"
        );

        // the same pods again are not released, something else is
        source.set("value=1").await?;
        let mut again = version("v2");
        again.push((
            "prod/more.yaml",
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "more" } }).to_string(),
        ));
        let quarantined = delivery.repository.push("The same pods", &again).await?;
        let rejected = delivery.wait_state(&quarantined, "Rejected", QUICK).await?;
        assert_eq!(text(&entry(&rejected, &quarantined), "/reason"), "Quarantined");
        assert!(namespace.get("configmaps", "more").await?.is_none());
        let fix = delivery.repository.push("A fix", &version("v3")).await?;
        delivery.wait_state(&fix, "Verified", LIMIT).await?;

        source.set("value=0").await?;
        let bad = delivery.repository.push("A bad one", &version("v4")).await?;
        rejected_while_git_is_down(&namespace, &delivery, &mut gitea, &bad).await?;
        runs(&namespace, "v3").await
    })
}

/// G9: a person pushes while the commit that takes a bad one back is on its way: theirs is kept, and it is tried again.
#[test]
fn a_push_of_a_person_in_the_middle_is_kept() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("person").await?;
        let source = Source::start(&namespace).await?;
        let spec =
            json!({ "onRejected": { "action": "RevertCommit", "writeSecretRef": { "name": "deploy" } } });
        let delivery = TestDelivery::create(&namespace, &gitea, &spec).await?;
        let mut files = manifests(&namespace, "v1", &[], &gated("v1"));
        files.push(("prod/analysis.yaml", measured_by(&source).to_string()));
        let first = delivery.repository.push("First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;

        source.set("value=0").await?;
        let held = gitea.hold_pushes(&delivery.repository)?;
        let bad = delivery
            .repository
            .push("A bad one", &manifests(&namespace, "v2", &[], &gated("v2")))
            .await?;
        held.wait(LIMIT).await?;
        let persons = delivery
            .repository
            .push("A person's", &[("README.md", "words\n".to_owned())])
            .await?;
        held.release()?;

        delivery.wait_condition("Ready", "True", LIMIT).await?;
        let log = delivery.repository.log("main").await?;
        println!("{log:?}");
        assert!(log[0].message.starts_with("Take back: A bad one"), "{log:?}");
        let below: Vec<&str> = log[1..].iter().map(|logged| &*logged.commit).collect();
        assert_eq!(below, [&*persons, &bad, &first]);
        assert!(delivery.repository.file("main", "README.md").await?.is_some());
        runs(&namespace, "v1").await
    })
}

/// Whether the live template is of a version.
async fn runs_version(namespace: &Namespace, version: &str) -> Result<bool> {
    let rollout = Release::of(namespace).rollout().await?;
    Ok(text(&rollout, "/spec/template/spec/containers/0/env/0/value") == version)
}

/// Files to write, and one to delete.
fn changes<'a>(files: &'a [(&'a str, String)], gone: &'a str) -> Vec<Change<'a>> {
    let writes = files
        .iter()
        .map(|(path, text)| Change::Write(path, text.as_str()));
    writes.chain([Change::Delete(gone)]).collect()
}

/// What is seen of the sequence of a rejection, in order: each is a moment to kill the controller at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    Verdict,
    Pinned,
    Told,
    Pushed,
    Proposed,
}

impl Moment {
    /// Whether a commit has come so far; pull requests there were so many before.
    async fn has_come(
        self,
        namespace: &Namespace,
        delivery: &TestDelivery<'_>,
        bad: &str,
        requests: usize,
    ) -> Result<bool> {
        let seen = delivery.get().await?;
        Ok(match self {
            Self::Verdict => text(&entry(&seen, bad), "/state") == "Rejected",
            Self::Pinned => {
                text(&entry(&seen, bad), "/state") == "Rejected" && runs_version(namespace, "v1").await?
            }
            Self::Told => delivery
                .repository
                .statuses(bad)
                .await?
                .iter()
                .any(|status| status.state == "failure"),
            Self::Pushed => delivery
                .repository
                .branches()
                .await?
                .iter()
                .any(|branch| branch.contains("revert") && branch.ends_with(&bad[..8])),
            Self::Proposed => delivery.repository.pull_requests().await?.len() > requests,
        })
    }
}

/// G2: the controller is killed between every two steps of a rejection; the end is the same, with exactly one pull request.
#[test]
fn a_kill_between_any_two_steps_changes_nothing() -> Result<()> {
    e2e(Duration::from_mins(14), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("kills").await?;
        let source = Source::start(&namespace).await?;
        let spec = json!({ "onRejected": { "action": "RevertPR", "writeSecretRef": { "name": "deploy" } } });
        let delivery = TestDelivery::create(&namespace, &gitea, &spec).await?;
        let analysis = measured_by(&source);
        let mut files = manifests(&namespace, "v1", &[], &gated("v1"));
        files.push(("prod/analysis.yaml", analysis.to_string()));
        let first = delivery.repository.push("First version", &files).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        source.set("value=0").await?;
        let tidegate = Tidegate::of(&cluster);
        let all = [
            Moment::Verdict,
            Moment::Pinned,
            Moment::Told,
            Moment::Pushed,
            Moment::Proposed,
        ];
        // the rest is in the simulator, at every write
        for (round, moment) in all.iter().enumerate() {
            let version = format!("v{}", round + 2);
            let bad = delivery
                .repository
                .push(&version, &manifests(&namespace, &version, &[], &gated(&version)))
                .await?;
            let what = format!("the moment {moment:?}");
            eventually(&what, LIMIT, async || {
                let there = moment.has_come(&namespace, &delivery, &bad, round).await?;
                Ok(there.then_some(()))
            })
            .await?;
            tidegate.kill().await?;
            let told = delivery
                .wait("a pull request takes it back", LIMIT, |d| {
                    !text(&entry(d, &bad), "/revert/pullRequest").is_empty()
                })
                .await?;
            delivery.wait_status(&bad, "failure", QUICK).await?;
            assert_eq!(condition(&told, "Pinned"), "True");
            assert!(runs_version(&namespace, "v1").await?, "{moment:?}");
            let requests = delivery.repository.pull_requests().await?;
            assert_eq!(
                requests.len(),
                round + 1,
                "{moment:?}: exactly one for each: {requests:?}"
            );
            let failures = delivery.repository.statuses(&bad).await?;
            let failures = failures.iter().filter(|status| status.state == "failure").count();
            assert_eq!(failures, 1, "{moment:?}: told once");
            println!("{moment:?}: {}", text(&entry(&told, &bad), "/revert/pullRequest"));
        }
        runs(&namespace, "v1").await
    })
}

/// G4: a cluster that is made anew starts from the last good commit, and never runs the rejected one.
#[test]
fn a_cluster_made_anew_starts_from_what_is_verified() -> Result<()> {
    e2e(Duration::from_mins(6), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let spec = json!({
            "bootstrapFrom": "Verified", "onRejected": { "action": "Pin", "writeSecretRef": { "name": "deploy" } },
        });
        let before = cluster.namespace("anew").await?;
        let source = Source::start(&before).await?;
        let delivery = TestDelivery::create(&before, &gitea, &spec).await?;
        let analysis = measured_by(&source);
        let mut files = manifests(&before, "v1", &[], &gated("v1"));
        files.push(("prod/analysis.yaml", analysis.to_string()));
        let good = delivery.repository.push("Good", &files).await?;
        delivery.wait_state(&good, "Deployed", LIMIT).await?;
        source.set("value=0").await?;
        let bad = delivery
            .repository
            .push("Bad", &manifests(&before, "v2", &[], &gated("v2")))
            .await?;
        delivery.wait_state(&bad, "Rejected", LIMIT).await?;
        delivery
            .wait("both are recorded", QUICK, |d| {
                text(d, "/status/recordedVerified") == good && text(d, "/status/recordedRejected") == bad
            })
            .await?;
        // the same namespace without anything in it, as a restored cluster would find it
        before.delete("deliveries.tidegate.io", "shop").await?;
        before.delete("rollouts.argoproj.io", "web").await?;
        eventually("the pods are gone", LIMIT, async || {
            Ok(before.list("pods", "app=web").await?.is_empty().then_some(()))
        })
        .await?;
        let mut happenings = before.watch("pods").await?;
        delivery.apply_again(&spec).await?;
        delivery.wait_state(&good, "Deployed", LIMIT).await?;
        let seen = delivery.wait_state(&bad, "Rejected", LIMIT).await?;
        assert_eq!(condition(&seen, "GitAhead"), "True", "{seen}");
        runs(&before, "v1").await?;
        while let Ok(happening) = happenings.try_recv() {
            let variable = text(&happening.object, "/spec/containers/0/env/0/value").to_owned();
            assert_ne!(
                variable, "v2",
                "the rejected version never ran: {}",
                happening.object
            );
        }
        Ok(())
    })
}

/// A canary without a router, judged by the AnalysisTemplate of its environment.
fn judged() -> Value {
    let analysis = json!({ "templates": [{ "templateName": "success-rate" }], "args": [{ "name": "version", "value": "any" }] });
    json!({ "canary": {
        "stableService": "stable", "canaryService": "canary", "steps": [{ "setWeight": 50 }, { "analysis": analysis }],
    } })
}

/// An environment: the base, and the analysis with the source of that environment.
fn overlay(folder: &str, source: &Source) -> [(String, String); 2] {
    let kustomization = "resources: [../base, analysis.yaml]\n".to_owned();
    [
        (format!("{folder}/kustomization.yaml"), kustomization),
        (format!("{folder}/analysis.yaml"), measured_by(source).to_string()),
    ]
}

/// What all environments have in common. The Ingress is not among it: hosts differ.
fn base(namespace: &Namespace, version: &str) -> Vec<(String, String)> {
    let kustomization = "resources: [services.yaml, config.yaml, rollout.yaml]\n".to_owned();
    let app = manifests(namespace, version, &[], &judged()).into_iter();
    app.filter(|(path, _)| !path.contains("ingress"))
        .map(|(path, text)| (path.replace("prod/", "base/"), text))
        .chain([("base/kustomization.yaml".to_owned(), kustomization)])
        .collect()
}

/// G10: a change of a base that two environments share is bad in one of them: the cluster goes back there, and in Git it is
/// left to people, by a pull request that names the files, since the other environment would go back with it.
#[test]
fn a_shared_base_is_left_to_people() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let (prod, staging) = (
            cluster.namespace("prod").await?,
            cluster.namespace("staging").await?,
        );
        let (in_prod, in_staging) = (Source::start(&prod).await?, Source::start(&staging).await?);
        let repository = gitea.create_repository("shared").await?;
        let source = |path: &str| json!({ "git": { "url": repository.url(), "path": path, "secretRef": { "name": "deploy" } } });
        let on_rejected = json!({ "action": "RevertCommit", "writeSecretRef": { "name": "deploy" } });
        let spec = |path: &str| json!({ "source": source(path), "onRejected": on_rejected });
        let prod_delivery = TestDelivery::of(&prod, &gitea, repository.clone(), &spec("prod")).await?;
        let staging_delivery =
            TestDelivery::of(&staging, &gitea, repository.clone(), &spec("staging")).await?;
        let both = [(&prod_delivery, &prod), (&staging_delivery, &staging)];

        let files: Vec<(String, String)> = base(&prod, "v1")
            .into_iter()
            .chain(overlay("prod", &in_prod))
            .chain(overlay("staging", &in_staging))
            .collect();
        let first = repository.push("First version", &files).await?;
        for (delivery, namespace) in both {
            delivery.wait_state(&first, "Deployed", LIMIT).await?;
            assert!(runs_version(namespace, "v1").await?);
        }

        in_prod.set("value=0").await?;
        let bad = repository.push("A new base", &base(&prod, "v2")).await?;
        staging_delivery.wait_state(&bad, "Verified", LIMIT).await?;
        prod_delivery.wait_state(&bad, "Rejected", LIMIT).await?;
        eventually("production is back at v1", QUICK, async || {
            Ok(runs_version(&prod, "v1").await?.then_some(()))
        })
        .await?;
        let told = prod_delivery
            .wait("it is proposed to people", QUICK, |delivery| {
                !text(&entry(delivery, &bad), "/revert/pullRequest").is_empty()
            })
            .await?;
        assert_eq!(condition(&told, "Pinned"), "True");
        assert_eq!(condition(&told, "GitAhead"), "True");
        prod_delivery.wait_status(&bad, "failure", QUICK).await?;
        assert_eq!(repository.head("main").await?, bad, "the branch is not touched");
        assert!(runs_version(&staging, "v2").await?, "the other environment stays");
        let requests = repository.pull_requests().await?;
        let [request] = requests.as_slice() else {
            panic!("{requests:?}");
        };
        println!("{}", request.body);
        let named =
            "for every environment that is made from them:\n\n- base/config.yaml\n- base/rollout.yaml";
        assert!(request.body.trim_end().ends_with(named), "{}", request.body);

        // people decide that both go back
        repository.merge(request.number).await?;
        prod_delivery.wait_condition("Ready", "True", QUICK).await?;
        assert_eq!(condition(&prod_delivery.get().await?, "GitAhead"), "");
        eventually("staging is back at v1, as people wanted", LIMIT, async || {
            Ok(runs_version(&staging, "v1").await?.then_some(()))
        })
        .await?;
        assert!(runs_version(&prod, "v1").await?);
        Ok(())
    })
}
