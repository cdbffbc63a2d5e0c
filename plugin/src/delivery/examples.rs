//! Deliveries for tests: as the controller leaves them.

use serde_json::{Value, json};
use tidegate_crds::Delivery;

pub(crate) const NOW: &str = "2026-11-21T10:10:00Z";
pub(crate) const BAD: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";
pub(crate) const GOOD: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c";

fn read(value: Value) -> Delivery {
    serde_json::from_value(value).unwrap()
}

fn revision(commit: &str, digest: &str) -> Value {
    json!({"revision": format!("main@sha1:{commit}"), "digest": digest})
}

fn entry(commits: &[&str], digest: &str, subject: &str, state: &str, hash: &str) -> Value {
    json!({
        "digest": digest, "commits": commits, "subject": subject, "author": "Ann", "state": state,
        "since": "2026-11-21T10:00:00Z", "objects": 3,
        "rollouts": [{"namespace": "shop", "name": "web", "template": "00ff", "generation": 2, "podHash": hash}],
    })
}

fn delivery(status: &Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-11-21T08:10:00Z"},
        "spec": {
            "source": {"git": {"url": "https://git.test/shop/deploy.git", "path": "prod", "secretRef": {"name": "deploy"}}},
            "onRejected": {"action": "RevertPR", "writeSecretRef": {"name": "deploy"}},
        },
        "status": status,
    })
}

fn conditions(ready: (&str, &str, &str)) -> Value {
    json!([{"type": "Ready", "status": ready.0, "reason": ready.1, "message": ready.2, "lastTransitionTime": "2026-11-21T10:00:00Z"}])
}

/// Nobody has looked at it yet.
pub(crate) fn fresh() -> Delivery {
    read(delivery(&json!({})))
}

/// Its newest commit is good.
pub(crate) fn verified() -> Delivery {
    let mut good = entry(
        &["0123456789abcdef0123456789abcdef01234567", GOOD],
        "sha256:aa",
        "Second version",
        "Verified",
        "7c9f",
    );
    good["analysisRuns"] = json!(["web-7c9f-2"]);
    let here = revision(GOOD, "sha256:aa");
    read(delivery(&json!({
        "observedGeneration": 1, "conditions": conditions(("True", "Verified", "commit 9f8e7d6c (Second version) is good")),
        "head": here, "target": here, "why": "Head", "applied": here, "verified": here, "ledger": [good],
        "inventory": ["/v1/Service/shop/web", "argoproj.io/v1alpha1/Rollout/shop/web"],
    })))
}

/// Its newest commit was rejected by its metrics, and a pull request takes it back.
pub(crate) fn rejected() -> Delivery {
    let message = "Rollout shop/web: Rollout aborted update to revision 3: Step-based analysis phase error/failed: Metric \
                   \"success-rate\" assessed Failed due to failed (2) > failureLimit (1)";
    let mut bad = entry(&[BAD], "sha256:bb", "Third version", "Rejected", "5b7b");
    bad["reason"] = json!("AnalysisFailed");
    bad["message"] = json!(message);
    bad["analysisRuns"] = json!(["web-5b7b-3"]);
    bad["revert"] = json!({
        "commit": "ffffffffffffffffffffffffffffffffffffffff", "pullRequest": "https://git.test/shop/deploy/pulls/1",
        "message": "a pull request waits to be merged", "done": true,
    });
    let mut rejected = delivery(&json!({}));
    let said = format!(
        "commit 1a2b3c4d (Third version) was rejected (AnalysisFailed): {message}; the cluster runs 9f8e7d6c"
    );
    let good = serde_json::to_value(verified()).unwrap();
    rejected["status"] = good["status"].clone();
    let status = &mut rejected["status"];
    status["conditions"] = conditions(("False", "Rejected", &said));
    status["head"] = revision(BAD, "sha256:bb");
    status["why"] = json!("Pinned");
    status["ledger"] = json!([bad, good["status"]["ledger"][0]]);
    read(rejected)
}
