use tidegate_crds::{AnalysisRun, Rollout};
use tidegate_engine::observed::ReplicaSetView;
use tidegate_traffic::{ObjectRef, nginx::INGRESS};

use super::*;
use crate::object::Kind;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn observed() -> Observed {
    let mut rollout = Rollout::default();
    rollout.metadata.namespace = "shop".into();
    rollout.metadata.name = "web".into();
    rollout.metadata.uid = "ro-1".into();
    rollout.metadata.resource_version = "10".into();
    let replica_set = ReplicaSetView {
        name: "web-5c".into(),
        uid: "rs-1".into(),
        resource_version: "7".into(),
        annotations: [
            ("scale-down-deadline".into(), "soon".into()),
            ("a/b".into(), "1".into()),
        ]
        .into(),
        ..ReplicaSetView::default()
    };
    Observed {
        rollout,
        replica_sets: vec![replica_set],
        ..Observed::default()
    }
}

fn event(reason: &'static str) -> Event {
    Event {
        warning: false,
        reason,
        message: reason.to_owned(),
        occurrence: String::new(),
    }
}

fn execution(changes: Vec<Change>, status: Option<Value>) -> Execution {
    let actions = changes
        .into_iter()
        .map(|change| Action {
            change,
            event: Some(event("Acted")),
        })
        .collect();
    let plan = Plan {
        actions,
        events: vec![event("Planned")],
        ..Plan::default()
    };
    Execution::new(plan, &observed(), status, true, NOW)
}

/// The request that one change becomes.
fn request(change: Change) -> Request {
    match execution(vec![change], None).step() {
        Some(Step::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn reason(step: Option<Step>) -> Option<String> {
    match step {
        Some(Step::Event(request)) => Some(request.body["reason"].as_str().unwrap().to_owned()),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn conflict() -> Failure {
    Failure::new(409, "Conflict", "the object has been modified")
}

fn patch_replica_set(scale: Option<Scale>, annotations: &[(&str, Option<&str>)], rest: Value) -> Change {
    Change::PatchReplicaSet {
        name: "web-5c".into(),
        uid: "rs-1".into(),
        scale,
        annotations: annotations
            .iter()
            .map(|(key, value)| ((*key).into(), value.map(str::to_owned)))
            .collect(),
        rest,
    }
}

fn of(verb: Verb, resource: &'static Resource, name: &str, body: Value) -> Request {
    Request::new(verb, resource, "shop", name, body)
}

fn are_requested_as(cases: impl IntoIterator<Item = (Change, Request)>) {
    for (change, expected) in cases {
        assert_eq!(request(change), expected);
    }
}

fn delete(preconditions: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        "preconditions": preconditions,
    })
}

#[test]
fn changes_of_replica_sets_as_requests() {
    are_requested_as([
        (
            Change::CreateReplicaSet {
                name: "web-6d".into(),
                body: json!({"metadata": {"name": "web-6d"}}),
            },
            of(
                Verb::Create,
                &REPLICA_SETS,
                "",
                json!({"metadata": {"name": "web-6d"}}),
            ),
        ),
        (
            patch_replica_set(
                Some(Scale { from: 1, to: 3 }),
                &[
                    ("scale-down-deadline", None),
                    ("a/b", Some("2")),
                    ("c~d", Some("3")),
                    ("gone", None),
                ],
                Value::Null,
            ),
            of(
                Verb::JsonPatch,
                &REPLICA_SETS,
                "web-5c",
                json!([
                    {"op": "test", "path": "/metadata/uid", "value": "rs-1"},
                    {"op": "test", "path": "/spec/replicas", "value": 1},
                    {"op": "replace", "path": "/spec/replicas", "value": 3},
                    {"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"},
                    {"op": "add", "path": "/metadata/annotations/a~1b", "value": "2"},
                    {"op": "add", "path": "/metadata/annotations/c~0d", "value": "3"},
                    {"op": "test", "path": "/metadata/annotations/scale-down-deadline", "value": "soon"},
                    {"op": "remove", "path": "/metadata/annotations/scale-down-deadline"},
                ]),
            ),
        ),
        (
            patch_replica_set(
                Some(Scale { from: 1, to: 3 }),
                &[("a/b", None)],
                json!({"spec": {"minReadySeconds": 5}}),
            ),
            of(
                Verb::MergePatch,
                &REPLICA_SETS,
                "web-5c",
                json!({
                    "metadata": {"uid": "rs-1", "resourceVersion": "7", "annotations": {"a/b": null}},
                    "spec": {"minReadySeconds": 5, "replicas": 3},
                }),
            ),
        ),
        (
            Change::DeleteReplicaSet {
                name: "old".into(),
                uid: "u".into(),
                resource_version: "3".into(),
            },
            of(
                Verb::Delete,
                &REPLICA_SETS,
                "old",
                delete(&json!({"uid": "u", "resourceVersion": "3"})),
            ),
        ),
    ]);
}

#[test]
fn changes_of_services_as_requests() {
    are_requested_as([(
        Change::SetServiceSelector {
            name: "web".into(),
            uid: "u".into(),
            resource_version: "3".into(),
            hash: Some("5c".into()),
            managed_by: Some("web".into()),
        },
        of(
            Verb::MergePatch,
            &SERVICES,
            "web",
            json!({
                "metadata": {
                    "uid": "u", "resourceVersion": "3",
                    "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "web"},
                },
                "spec": {"selector": {"rollouts-pod-template-hash": "5c"}},
            }),
        ),
    )]);
}

#[test]
fn changes_of_routes_as_requests() {
    let route = |op| {
        Change::Route(RouteWrite {
            object: ObjectRef::new(&INGRESS, "shop", "web"),
            op,
            event: None,
        })
    };
    are_requested_as([
        (
            route(RouteOp::Create(json!({"kind": "Ingress"}))),
            of(
                Verb::Create,
                Kind::INGRESS.resource(),
                "",
                json!({"kind": "Ingress"}),
            ),
        ),
        (
            route(RouteOp::Patch {
                uid: "u".into(),
                resource_version: "3".into(),
                patch: json!({"metadata": {"annotations": {"w": "20"}}}),
            }),
            of(
                Verb::MergePatch,
                Kind::INGRESS.resource(),
                "web",
                json!({"metadata": {"annotations": {"w": "20"}, "uid": "u", "resourceVersion": "3"}}),
            ),
        ),
        (
            route(RouteOp::SetWeight {
                uid: "u".into(),
                resource_version: "3".into(),
                operations: vec![json!({"op": "test", "path": "/w", "value": "20"})],
                from: 20,
                to: 0,
            }),
            of(
                Verb::JsonPatch,
                Kind::INGRESS.resource(),
                "web",
                json!([
                    {"op": "test", "path": "/metadata/uid", "value": "u"},
                    {"op": "test", "path": "/w", "value": "20"},
                ]),
            ),
        ),
        (
            route(RouteOp::Delete { uid: "u".into() }),
            of(
                Verb::Delete,
                Kind::INGRESS.resource(),
                "web",
                delete(&json!({"uid": "u"})),
            ),
        ),
    ]);
}

#[test]
fn changes_of_analysis_runs_as_requests() {
    let run = {
        let mut run = AnalysisRun::default();
        run.metadata.name = "web-5c-2".into();
        Box::new(run)
    };
    are_requested_as([
        (
            Change::CreateAnalysisRun(run),
            of(
                Verb::Create,
                &ANALYSIS_RUNS,
                "",
                json!({
                    "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "web-5c-2"},
                    "spec": {"metrics": []},
                }),
            ),
        ),
        (
            Change::TerminateAnalysisRun {
                name: "run".into(),
                uid: "u".into(),
            },
            of(
                Verb::MergePatch,
                &ANALYSIS_RUNS,
                "run",
                json!({
                    "metadata": {"uid": "u", "annotations": {"tidegate.io/not-wanted": "true"}},
                    "spec": {"terminate": true},
                }),
            ),
        ),
        (
            Change::DeleteAnalysisRun {
                name: "run".into(),
                uid: "u".into(),
            },
            of(Verb::Delete, &ANALYSIS_RUNS, "run", delete(&json!({"uid": "u"}))),
        ),
    ]);
}

#[test]
fn changes_of_the_rollout_its_workload_and_its_pods_as_requests() {
    are_requested_as([
        (
            Change::PatchRollout { patch: json!({"spec": {"replicas": 1}}) },
            of(
                Verb::MergePatch,
                &ROLLOUTS,
                "web",
                json!({"metadata": {"uid": "ro-1", "resourceVersion": "10"}, "spec": {"replicas": 1}}),
            ),
        ),
        (
            Change::ScaleWorkload { name: "old".into(), uid: "u".into(), scale: Scale { from: 3, to: 0 } },
            of(
                Verb::JsonPatch,
                &DEPLOYMENTS,
                "old",
                json!([
                    {"op": "test", "path": "/metadata/uid", "value": "u"},
                    {"op": "test", "path": "/spec/replicas", "value": 3},
                    {"op": "replace", "path": "/spec/replicas", "value": 0},
                ]),
            ),
        ),
        (
            Change::EvictPod { name: "pod".into(), uid: "u".into() },
            of(
                Verb::Create,
                &PODS,
                "pod",
                json!({
                    "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "shop", "name": "pod"},
                    "deleteOptions": {"preconditions": {"uid": "u"}},
                }),
            )
            .on("eviction"),
        ),
        (
            Change::PatchPod {
                name: "pod".into(),
                uid: "u".into(),
                patch: json!({"metadata": {"labels": {"role": "stable"}}}),
            },
            of(
                Verb::MergePatch,
                &PODS,
                "pod",
                json!({"metadata": {"labels": {"role": "stable"}, "uid": "u"}}),
            ),
        ),
    ]);
}

#[test]
fn annotations_of_an_object_that_has_none() {
    let change = Change::PatchReplicaSet {
        name: "other".into(),
        uid: "u".into(),
        scale: None,
        annotations: [("a".into(), Some("1".into())), ("b".into(), None)].into(),
        rest: Value::Null,
    };
    assert_eq!(
        request(change).body,
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u"},
            {"op": "add", "path": "/metadata/annotations", "value": {"a": "1"}},
        ])
    );
}

#[test]
fn actions_then_the_status_then_the_events() {
    let mut execution = execution(
        vec![Change::PatchRollout {
            patch: json!({"spec": {"replicas": 1}}),
        }],
        Some(json!({"phase": "Healthy"})),
    );
    let Some(Step::Request(_)) = execution.step() else {
        panic!("the action comes first")
    };
    assert_eq!(execution.step(), None, "waits for the answer");
    execution.answer(Ok(&json!({"metadata": {"resourceVersion": "11"}})));
    assert_eq!(reason(execution.step()).as_deref(), Some("Acted"));
    let Some(Step::Request(status)) = execution.step() else {
        panic!("then the status")
    };
    // The version that our own write left, not the one that was observed.
    assert_eq!(
        status,
        of(
            Verb::MergePatch,
            &ROLLOUTS,
            "web",
            json!({"metadata": {"uid": "ro-1", "resourceVersion": "11"}, "status": {"phase": "Healthy"}}),
        )
        .on("status")
    );
    execution.answer(Ok(&json!({"metadata": {"resourceVersion": "12"}})));
    assert_eq!(reason(execution.step()).as_deref(), Some("Planned"));
    assert_eq!(execution.step(), None);
    assert_eq!(execution.outcome(), Outcome::Done);
}

/// What happens once comes first for clients that sort by time and name, and has one name, whatever was seen when it is told again.
#[test]
fn what_happens_once_comes_before_all_else() {
    let told = |version: &str| {
        let mut observed = observed();
        observed.rollout.metadata.resource_version = version.to_owned();
        let later = Event {
            occurrence: "1".to_owned(),
            ..event("Later")
        };
        let plan = Plan {
            events: vec![later, event("Once")],
            ..Plan::default()
        };
        let mut execution = Execution::new(plan, &observed, None, true, NOW);
        let mut names = Vec::new();
        while let Some(Step::Event(request)) = execution.step() {
            names.push(request.body["metadata"]["name"].as_str().unwrap().to_owned());
        }
        names
    };
    let (first, again) = (told("9"), told("12"));
    assert!(first[1] < first[0], "{first:?}");
    assert_eq!(first[1], again[1]);
    assert_ne!(first[0], again[0]);
}

#[test]
fn two_writes_of_one_service_chain_their_versions() {
    let set = |hash: Option<&str>| Change::SetServiceSelector {
        name: "web".into(),
        uid: "u".into(),
        resource_version: "3".into(),
        hash: hash.map(str::to_owned),
        managed_by: None,
    };
    let mut execution = execution(vec![set(Some("a")), set(Some("b"))], None);
    execution.step().unwrap();
    execution.answer(Ok(&json!({"metadata": {"resourceVersion": "4"}})));
    reason(execution.step()).unwrap();
    let Some(Step::Request(second)) = execution.step() else {
        panic!("a second write")
    };
    assert_eq!(second.body["metadata"]["resourceVersion"], json!("4"));
}

#[test]
fn stops_at_the_first_failure() {
    let scale = || patch_replica_set(Some(Scale { from: 1, to: 3 }), &[], Value::Null);
    let forbidden = Failure::new(403, "Forbidden", "quota");
    let test_failed = Failure::new(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    );
    let gone = Failure::new(404, "NotFound", "not found");
    for (failure, outcome) in [
        (conflict(), Outcome::LookAgain(conflict())),
        (test_failed.clone(), Outcome::LookAgain(test_failed)),
        (gone.clone(), Outcome::LookAgain(gone)),
        (forbidden.clone(), Outcome::Failed(forbidden)),
    ] {
        let mut execution = execution(vec![scale(), scale()], Some(json!({"phase": "x"})));
        execution.step().unwrap();
        execution.answer(Err(failure));
        assert_eq!(execution.step(), None);
        assert_eq!(execution.outcome(), outcome);
    }
}

#[test]
fn what_is_gone_already_is_deleted() {
    let mut execution = execution(
        vec![Change::DeleteAnalysisRun {
            name: "run".into(),
            uid: "u".into(),
        }],
        None,
    );
    execution.step().unwrap();
    execution.answer(Err(Failure::new(404, "NotFound", "")));
    assert_eq!(reason(execution.step()).as_deref(), Some("Acted"));
    assert_eq!(reason(execution.step()).as_deref(), Some("Planned"));
    assert_eq!((execution.step(), execution.outcome()), (None, Outcome::Done));
}

fn replica_set(owner: &str, image: &str) -> Value {
    json!({
        "metadata": {
            "name": "web-6d", "namespace": "shop", "uid": "rs-2", "resourceVersion": "20",
            "labels": {"rollouts-pod-template-hash": "6d"},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": owner, "controller": true}],
        },
        "spec": {
            "selector": {"matchLabels": {"rollouts-pod-template-hash": "6d"}},
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}},
        },
    })
}

/// Creates a ReplicaSet where there is one of that name already.
fn create_over(existing: &Value) -> Execution {
    let body = replica_set("ro-1", "i:2");
    let mut execution = execution(
        vec![Change::CreateReplicaSet {
            name: "web-6d".into(),
            body,
        }],
        None,
    );
    execution.step().unwrap();
    execution.answer(Err(Failure::new(409, "AlreadyExists", "")));
    assert_eq!(
        execution.step(),
        Some(Step::Request(Request::get(&REPLICA_SETS, "shop", "web-6d")))
    );
    execution.answer(Ok(existing));
    execution
}

#[test]
fn a_create_whose_answer_was_lost_succeeds() {
    let mut execution = create_over(&replica_set("ro-1", "i:2"));
    assert_eq!(reason(execution.step()).as_deref(), Some("Acted"));
    assert_eq!(reason(execution.step()).as_deref(), Some("Planned"));
    assert_eq!(execution.outcome(), Outcome::Done);
}

/// Without the label its watch does not show it: it would be created for ever, and the release stand still.
#[test]
fn a_replica_set_that_lost_its_label_gets_it_back() {
    for label in [Value::Null, json!("another")] {
        let mut existing = replica_set("ro-1", "i:2");
        existing["metadata"]["labels"] = json!({"rollouts-pod-template-hash": label});
        let mut relabelling = create_over(&existing);
        let Some(Step::Request(request)) = relabelling.step() else {
            panic!("the label is put back")
        };
        let patch = json!({
            "metadata": {"uid": "rs-2", "resourceVersion": "20", "labels": {"rollouts-pod-template-hash": "6d"}},
        });
        assert_eq!(request, of(Verb::MergePatch, &REPLICA_SETS, "web-6d", patch));
        relabelling.answer(Ok(&replica_set("ro-1", "i:2")));
        assert_eq!(reason(relabelling.step()).as_deref(), Some("Acted"));
        // A webhook that says no is told of.
        let mut refused = create_over(&existing);
        refused.step().unwrap();
        refused.answer(Err(Failure::new(403, "Forbidden", "labels are ours")));
        assert_eq!(refused.refused().unwrap().key, "create ReplicaSet web-6d");
    }
}

#[test]
fn a_hash_collision_counts_up() {
    let mut other = replica_set("ro-1", "i:1");
    other["spec"]["selector"]["matchLabels"]["rollouts-pod-template-hash"] = json!("5c");
    let mut selects_all = replica_set("ro-1", "i:2");
    selects_all["spec"]["selector"]["matchLabels"] = json!({"app": "web"});
    for existing in [other, replica_set("ro-2", "i:2"), selects_all] {
        let mut execution = create_over(&existing);
        let Some(Step::Request(request)) = execution.step() else {
            panic!("the count is written")
        };
        assert_eq!(
            request.body,
            json!({"metadata": {"uid": "ro-1", "resourceVersion": "10"}, "status": {"collisionCount": 1}})
        );
        execution.answer(Ok(&json!({})));
        assert_eq!(execution.step(), None);
        assert!(matches!(execution.outcome(), Outcome::LookAgain(_)));
    }
}

/// Whoever may create runs may take the name: the release must not take it for measured.
#[test]
fn only_the_very_run_counts_as_made() {
    let made: AnalysisRun = serde_json::from_value(json!({
        "metadata": {
            "name": "web-6d-2", "namespace": "shop", "labels": {"rollout-type": "Background"},
            "annotations": {"rollout.argoproj.io/revision": "2"},
            "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "ro-1", "controller": true}],
        },
        "spec": {"metrics": [{"name": "rate", "provider": {"web": {"url": "http://x"}}}]},
    }))
    .unwrap();
    let existing = made.encode();
    let with = |pointer: &str, field: &str, value: Value| {
        let mut run = existing.clone();
        run.pointer_mut(pointer).unwrap()[field] = value;
        run
    };
    let (meta, labels) = ("/metadata", "/metadata/labels");
    for (existing, ours) in [
        (existing.clone(), true),
        (with(labels, "added-by-a-webhook", json!("x")), true),
        (with("", "status", json!({"phase": "Running"})), true),
        (
            with(
                labels,
                "argo-rollouts.argoproj.io/controller-instance-id",
                json!("nobody"),
            ),
            false,
        ),
        (with(labels, "rollout-type", json!("Step")), false),
        (
            with(
                "/metadata/annotations",
                "rollout.argoproj.io/revision",
                json!("1"),
            ),
            false,
        ),
        (with("/metadata/ownerReferences/0", "uid", json!("ro-2")), false),
        (
            with(meta, "deletionTimestamp", json!("2026-01-01T00:00:00Z")),
            false,
        ),
        (
            with("/spec/metrics/0/provider/web", "url", json!("http://evil")),
            false,
        ),
    ] {
        let change = Change::CreateAnalysisRun(Box::new(made.clone()));
        let mut execution = execution(vec![change], None);
        execution.step().unwrap();
        execution.answer(Err(Failure::new(409, "AlreadyExists", "")));
        let get = Request::get(&ANALYSIS_RUNS, "shop", "web-6d-2");
        assert_eq!(execution.step(), Some(Step::Request(get)));
        execution.answer(Ok(&existing));
        let told = execution.step().is_some();
        let refused = execution.refused().map(|refused| refused.key);
        let expected = (!ours).then(|| "create AnalysisRun web-6d-2".to_owned());
        assert_eq!((told, refused), (ours, expected), "{existing}");
    }
}

#[test]
fn one_that_is_being_deleted_is_waited_for() {
    let mut existing = replica_set("ro-1", "i:2");
    existing["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(matches!(create_over(&existing).outcome(), Outcome::LookAgain(_)));
}

#[test]
fn a_disruption_budget_does_not_stop_the_rest() {
    let evict = Change::EvictPod {
        name: "pod".into(),
        uid: "u".into(),
    };
    // One budget, and several over the same pod, which is always an error of the server.
    for code in [429, 500] {
        let mut execution = execution(vec![evict.clone()], Some(json!({"phase": "x"})));
        execution.step().unwrap();
        execution.answer(Err(Failure::new(code, "TooManyRequests", "budget")));
        assert_eq!(execution.refused().unwrap().failure.code, code);
    }
}
