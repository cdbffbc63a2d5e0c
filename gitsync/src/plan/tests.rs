//! Decisions at one moment, each from a whole [`Observed`]. Stories over time are in the simulator's tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::{Delivery, DeliverySpec};

use super::*;
use crate::observed::Refusal;
use crate::remote::CommitInfo;
use crate::render::{Limits, render};
use crate::tree::Files;

const GOOD: &str = "1111111111111111111111111111111111111111";
const BAD: &str = "2222222222222222222222222222222222222222";
const NEWER: &str = "3333333333333333333333333333333333333333";

fn oid(commit: &str) -> Oid {
    Oid::parse(commit).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A Delivery that looks at a commit with these files.
fn observed(spec: &Value, commit: &str, files: &Files) -> Observed {
    let mut whole = json!({"source": {"git": {"url": "https://git.example.com/shop/deploy.git"}}});
    whole
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    let mut delivery = Delivery {
        spec: serde_json::from_value::<DeliverySpec>(whole).unwrap(),
        ..Delivery::default()
    };
    delivery.metadata.name = "shop".to_owned();
    delivery.metadata.namespace = "prod".to_owned();
    let rendered = render(files, "", &Limits::default()).map(Arc::new);
    Observed {
        delivery,
        head: Some(Ok(oid(commit))),
        tip: Some(oid(commit)),
        kinds: BTreeMap::from([(
            "v1".to_owned(),
            Some(Arc::new([("ConfigMap".to_owned(), true)].into())),
        )]),
        rendered: BTreeMap::from([(oid(commit), Ok((CommitInfo::default(), rendered)))]),
        ..Observed::default()
    }
}

fn config(data: &str) -> Files {
    Files::new().with(
        "a.yaml",
        &format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{x: {data}}}}}"),
    )
}

/// Carries out what is asked, as an API server that takes everything would, until the plan is content.
fn settle(mut observed: Observed, now: Timestamp) -> (Observed, Plan) {
    for _ in 0..20 {
        let plan = plan(&observed, now);
        observed.delivery.status = plan.status.clone();
        if plan.tasks.is_empty() {
            return (observed, plan);
        }
        for task in &plan.tasks {
            match task {
                Task::Try(id, body) => _ = observed.tried.insert(id.clone(), Ok(body.clone())),
                Task::Apply(id, body) => _ = observed.applied.insert(id.clone(), Ok(body.clone())),
                Task::Read(id) => _ = observed.live.insert(id.clone(), Ok(None)),
                Task::Store(digest, ..) | Task::Drop(digest, _) => {
                    _ = observed.stored.insert(digest.clone(), Ok(()));
                }
                task => panic!("not asked for here: {task:?}"),
            }
        }
    }
    panic!("the plan does not come to an end")
}

/// The same Delivery, looking at another commit later.
fn later(before: Observed, commit: &str, files: &Files) -> Observed {
    let mut next = observed(&json!({}), commit, files);
    next.delivery = before.delivery;
    next.bundles = before
        .rendered
        .into_values()
        .filter_map(|rendered| rendered.ok()?.1.ok())
        .map(|rendered| (rendered.digest.clone(), Some(rendered)))
        .collect();
    next
}

fn condition<'a>(plan: &'a Plan, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = plan
        .status
        .conditions
        .iter()
        .find(|condition| condition.kind == kind)?;
    Some((&found.status, &found.reason, &found.message))
}

fn states(plan: &Plan) -> Vec<(&str, &str)> {
    let of = |entry: &'_ LedgerEntry| {
        entry
            .reason
            .as_ref()
            .map_or("", |reason| reason.as_str())
            .to_owned()
    };
    let ledger = &plan.status.ledger;
    assert!(
        ledger
            .iter()
            .all(|entry| entry.state == VerdictState::Rejected || of(entry).is_empty())
    );
    ledger
        .iter()
        .map(|entry| {
            let reason = entry.reason.as_ref().map_or("", |reason| reason.as_str());
            (entry.state.as_str(), reason)
        })
        .collect()
}

#[test]
fn a_first_commit_is_tried_applied_and_kept() {
    let (_, plan) = settle(observed(&json!({}), GOOD, &config("a")), at(0));
    assert_eq!(states(&plan), [("Deployed", "")]);
    assert_eq!(condition(&plan, "Ready").unwrap().0, "True");
    assert_eq!(plan.status.inventory, ["/v1/ConfigMap/prod/a"]);
    assert_eq!(
        plan.status.verified.unwrap().revision,
        format!("main@sha1:{GOOD}")
    );
    assert!(plan.status.ledger[0].stored);
}

#[test]
fn a_binding_is_not_refused_for_a_role_that_comes_with_it() {
    let rbac = "rbac.authorization.k8s.io/v1";
    for (bound, expected) in [("reader", "Deployed"), ("writer", "Pending")] {
        let role = format!("{{apiVersion: {rbac}, kind: Role, metadata: {{name: reader}}, rules: []}}");
        let binding = format!(
            "{{apiVersion: {rbac}, kind: RoleBinding, metadata: {{name: b}}, subjects: [], \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {bound}}}}}"
        );
        let files = Files::new()
            .with("role.yaml", &role)
            .with("binding.yaml", &binding);
        let mut observed = observed(&json!({}), GOOD, &files);
        let kinds = ["Role", "RoleBinding"].map(|kind| (kind.to_owned(), true));
        observed
            .kinds
            .insert(rbac.to_owned(), Some(Arc::new(kinds.into())));
        let id = ObjectId::parse(&format!("{rbac}/RoleBinding/prod/b")).unwrap();
        let refusal = Refusal {
            code: 404,
            message: format!("role {bound:?} not found"),
        };
        observed.tried.insert(id, Err(refusal));
        let (_, plan) = settle(observed, at(0));
        assert_eq!(
            plan.status.ledger[0].state.as_str(),
            expected,
            "{:?}",
            plan.status
        );
    }
}

#[test]
fn a_status_is_written_before_anything_changes() {
    let mut observed = observed(&json!({}), GOOD, &config("a"));
    let first = plan(&observed, at(0));
    assert!(matches!(first.tasks.as_slice(), [Task::Try(..)]) && !first.write_first);
    let [Task::Try(id, body)] = first.tasks.as_slice() else {
        unreachable!()
    };
    observed.tried.insert(id.clone(), Ok(body.clone()));
    let second = plan(&observed, at(0));
    assert!(matches!(second.tasks.as_slice(), [Task::Apply(..)]) && second.write_first);
    assert_eq!(
        second.status.inventory,
        ["/v1/ConfigMap/prod/a"],
        "what may exist is known before it does"
    );
}

#[test]
fn nothing_is_never_good() {
    let (_, plan) = settle(observed(&json!({}), GOOD, &Files::new()), at(0));
    assert_eq!(states(&plan), [("Rejected", "RenderFailed")]);
    assert_eq!(plan.status.target, None);
    assert!(
        condition(&plan, "Ready")
            .unwrap()
            .2
            .contains("no manifest there: push some")
    );
}

#[test]
fn what_cannot_be_rendered_leaves_what_runs() {
    let (before, _) = settle(observed(&json!({}), GOOD, &config("a")), at(0));
    let broken = Files::new().with("a.yaml", "kind: [");
    let (_, plan) = settle(later(before, BAD, &broken), at(60));
    assert_eq!(states(&plan), [("Rejected", "RenderFailed"), ("Deployed", "")]);
    assert_eq!(
        plan.status.applied.as_ref().unwrap().revision,
        format!("main@sha1:{GOOD}")
    );
    assert_eq!(condition(&plan, "Pinned").unwrap().1, "Rejected");
    assert!(condition(&plan, "Ready").unwrap().2.contains("a.yaml:1"));
}

#[test]
fn a_commit_that_nobody_signed_waits_for_one_that_somebody_did() {
    let spec = json!({"source": {"git": {"url": "https://git.example.com/a/b", "verify": {"secretRef": {"name": "signers"}}}}});
    let mut unsigned = observed(&spec, GOOD, &config("a"));
    let sign = |observed: &mut Observed, problem: Option<&str>| {
        for rendered in observed.rendered.values_mut().flatten() {
            rendered.0.unsigned = problem.map(str::to_owned);
        }
    };
    sign(&mut unsigned, Some("no signature"));
    let (before, plan) = settle(unsigned, at(0));
    assert_eq!(states(&plan), [("Rejected", "NotSigned")]);
    assert_eq!(plan.status.inventory, [""; 0]);
    let mut signed = later(before, NEWER, &config("a"));
    sign(&mut signed, None);
    let (before, plan) = settle(signed, at(60));
    assert_eq!(states(&plan), [("Deployed", "")]);
    // what is good needs no signature when it comes back
    let mut back = later(before, BAD, &config("a"));
    sign(&mut back, Some("no signature"));
    let (_, plan) = settle(back, at(120));
    assert_eq!(states(&plan), [("Deployed", "")]);
}

#[test]
fn a_pin_by_hand_says_so_and_newer_commits_wait() {
    let (mut before, _) = settle(observed(&json!({}), GOOD, &config("a")), at(0));
    before
        .delivery
        .metadata
        .annotations
        .insert(PIN_ANNOTATION.to_owned(), GOOD[..8].to_owned());
    let (mut pinned, plan) = settle(later(before, NEWER, &config("b")), at(60));
    assert_eq!(states(&plan), [("Pending", ""), ("Deployed", "")]);
    assert_eq!(condition(&plan, "Pinned").unwrap().1, "PinnedByHand");
    assert_eq!(condition(&plan, "Ready").unwrap().1, "PinnedByHand");
    pinned.delivery.metadata.annotations.clear();
    let (_, plan) = settle(later(pinned, NEWER, &config("b")), at(120));
    assert_eq!(states(&plan), [("Deployed", ""), ("Deployed", "")]);
    assert_eq!(condition(&plan, "Pinned"), None);
}

#[test]
fn what_somebody_else_looks_after_is_not_touched() {
    let mut observed = observed(&json!({}), GOOD, &config("a"));
    let first = plan(&observed, at(0));
    let [Task::Try(id, body)] = first.tasks.as_slice() else {
        unreachable!()
    };
    let (id, mut there) = (id.clone(), body.clone());
    there["metadata"]["resourceVersion"] = json!("7");
    observed.tried.insert(id.clone(), Ok(there.clone()));
    assert_eq!(plan(&observed, at(0)).tasks, [Task::Read(id.clone())]);
    there["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});
    observed.live.insert(id, Ok(Some(there)));
    let plan = plan(&observed, at(0));
    assert_eq!(plan.tasks, []);
    let message = condition(&plan, "Ready").unwrap().2;
    assert!(
        message.contains("a.yaml:1:1: ConfigMap prod/a belongs to the Flux Kustomization apps"),
        "{message}"
    );
}

#[test]
fn a_kind_that_the_cluster_does_not_have_is_waited_for() {
    let mut observed = observed(&json!({}), GOOD, &config("a"));
    observed.kinds = BTreeMap::from([("v1".to_owned(), Some(Arc::new(BTreeMap::new())))]);
    let waiting = plan(&observed, at(0));
    assert_eq!(waiting.tasks, []);
    assert_eq!(waiting.wake, Some(at(30)));
    let (status, reason, message) = condition(&waiting, "Ready").unwrap();
    assert_eq!((status, reason), ("False", "ApplyFailed"));
    assert!(
        message.contains("a.yaml:1:1: the cluster has no kind ConfigMap in v1"),
        "{message}"
    );
    observed.delivery.status = waiting.status;
    observed.kinds = BTreeMap::from([(
        "v1".to_owned(),
        Some(Arc::new([("ConfigMap".to_owned(), true)].into())),
    )]);
    let (_, plan) = settle(observed, at(30));
    assert_eq!(states(&plan), [("Deployed", "")]);
}

#[test]
fn a_retry_renders_again_what_did_not_render() {
    let broken = Files::new().with("a.yaml", "kind: [");
    let (mut before, plan) = settle(observed(&json!({}), GOOD, &broken), at(0));
    assert_eq!(states(&plan), [("Rejected", "RenderFailed")]);
    before
        .delivery
        .metadata
        .annotations
        .insert(RETRY_ANNOTATION.to_owned(), "1".to_owned());
    let (_, plan) = settle(later(before, GOOD, &config("a")), at(60));
    assert_eq!(states(&plan), [("Deployed", "")]);
}

#[test]
fn what_cannot_be_read_is_not_as_git_has_it() {
    let (before, plan) = settle(observed(&json!({}), GOOD, &config("a")), at(0));
    let applied: Vec<ObjectId> = plan.settled.keys().cloned().collect();
    assert_eq!(applied.len(), 1);
    let mut observed = later(before, GOOD, &config("a"));
    observed.compare = Compare::Everything;
    let (_, plan) = settle(observed.clone(), at(600));
    assert!(plan.all_compared && plan.settled.contains_key(&applied[0]));
    let refusal = Refusal {
        code: 403,
        message: "forbidden".to_owned(),
    };
    observed.live.insert(applied[0].clone(), Err(refusal));
    let (_, plan) = settle(observed, at(600));
    assert!(!plan.all_compared && plan.settled.is_empty());
    let (_, _, message) = condition(&plan, "Ready").unwrap();
    assert!(message.contains("forbidden"), "{message}");
}
