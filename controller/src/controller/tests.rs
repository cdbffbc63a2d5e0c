use serde_json::json;
use tidegate_engine::Settings;
use tidegate_gitsync::remote::GitAnswer;
use tidegate_gitsync::tree::Oid;

use super::*;
use crate::request::ANALYSIS_RUNS;
use crate::step::Outside;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// A controller that has listed these objects and nothing else.
fn listed(objects: &[(Kind, Value)]) -> Controller {
    let mut controller = Controller::new(Options::default(), at(0));
    list(&mut controller, objects);
    controller
}

fn list(controller: &mut Controller, objects: &[(Kind, Value)]) {
    for kind in Kind::all() {
        controller.deliver(kind, Signal::ListStart, at(0));
        for (_, object) in objects.iter().filter(|(of, _)| *of == kind) {
            controller.deliver(kind, Signal::Applied(Object::Value(object)), at(0));
        }
        controller.deliver(kind, Signal::ListEnd { version: "100" }, at(0));
    }
}

fn rollout(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "generation": 1, "creationTimestamp": "1970-01-12T13:46:40Z",
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
            "strategy": {"canary": {}},
        },
    })
}

fn service(name: &str, version: u32, managed_by: Option<&str>) -> Value {
    let mut service = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("svc-{name}"), "resourceVersion": version.to_string()},
        "spec": {"selector": {"app": "web", "rollouts-pod-template-hash": "5c"}},
    });
    if let Some(rollout) = managed_by {
        service["metadata"]["annotations"] =
            json!({"argo-rollouts.argoproj.io/managed-by-rollouts": rollout});
    }
    service
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

/// Names of the Rollouts that are due, in order; each is looked at without effect.
fn due(controller: &mut Controller, now: Timestamp) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(job) = controller.next_job(now) {
        if let Key::Rollout(key) = job.key() {
            names.push(key.name.clone());
        }
        let mut job = job;
        job.stage = Stage::Over(Outcome::Done);
        controller.finish(job, now);
    }
    names
}

fn first_request(controller: &mut Controller, job: &mut Job) -> Request {
    match controller.step(job, at(1)) {
        Some(Step::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_done_before_everything_is_listed() {
    let mut controller = Controller::new(Options::default(), at(0));
    let rollout = rollout("web", 1);
    for kind in Kind::all().filter(|kind| kind.always()) {
        assert!(!controller.synced());
        assert!(controller.next_job(at(1)).is_none(), "before {kind:?}");
        controller.deliver(kind, Signal::ListStart, at(0));
        if kind == Kind::Rollout {
            controller.deliver(kind, Signal::Applied(Object::Value(&rollout)), at(0));
        }
        controller.deliver(kind, Signal::ListEnd { version: "5" }, at(0));
    }
    assert_eq!(due(&mut controller, at(1)), ["web"]);
}

#[test]
fn an_abort_and_a_failed_analysis_go_first() {
    let mut controller = listed(&[]);
    let mut aborted = rollout("aborted", 1);
    aborted["status"] = json!({"abort": true});
    for rollout in [rollout("a", 1), rollout("analysed", 1), rollout("b", 1), aborted] {
        controller.deliver(Kind::Rollout, Signal::Applied(Object::Value(&rollout)), at(0));
    }
    let run = json!({
        "metadata": {
            "name": "run", "namespace": "shop", "uid": "run-1", "resourceVersion": "9",
            "ownerReferences": [{"kind": "Rollout", "name": "analysed", "uid": "uid-analysed", "controller": true}],
        },
        "status": {"phase": "Failed"},
    });
    controller.deliver(Kind::AnalysisRun, Signal::Applied(Object::Value(&run)), at(0));
    let order = due(&mut controller, at(1));
    assert_eq!(order, ["analysed", "aborted", "a", "b"]);
}

#[test]
fn what_was_not_kept_is_read_before_the_plan() {
    let mut controller = listed(&[(Kind::Service, service("web", 3, None))]);
    let mut rollout = rollout("web", 1);
    rollout["spec"]["strategy"]["canary"] = json!({"stableService": "web", "canaryService": "absent"});
    controller.deliver(Kind::Rollout, Signal::Applied(Object::Value(&rollout)), at(0));
    let mut job = controller.next_job(at(1)).unwrap();
    // What does not exist is known not to exist, and not asked for.
    assert_eq!(
        first_request(&mut controller, &mut job),
        Request::get(&SERVICES, "shop", "web")
    );
    controller.answer(&mut job, Ok(service("web", 3, None)), at(1));
    let observed = controller.cache.observe(&key("web")).unwrap();
    assert_eq!(observed.services.keys().collect::<Vec<_>>(), ["web"]);
    assert!(controller.cache.unread(&key("web")).is_empty());
}

#[test]
fn our_own_write_is_known_before_the_watch_tells() {
    let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
    let mut job = controller.next_job(at(1)).unwrap();
    let request = first_request(&mut controller, &mut job);
    assert!(request.verb.writes());
    let mut written = rollout("web", 7);
    written["metadata"]["annotations"] = json!({"rollout.argoproj.io/revision": "1"});
    controller.answer(&mut job, Ok(written), at(1));
    // An older state that comes late changes nothing.
    controller.deliver(
        Kind::Rollout,
        Signal::Applied(Object::Value(&rollout("web", 5))),
        at(1),
    );
    let observed = controller.cache.observe(&key("web")).unwrap();
    assert_eq!(observed.rollout.metadata.resource_version, "7");
}

/// A watch may be late: a plan made from what it told last would repeat the write, or count without it.
#[test]
fn what_a_write_may_have_changed_is_read_before_the_next_plan() {
    for failure in [
        Failure::no_answer("the connection broke"),
        Failure::new(409, "Conflict", "the object has been modified"),
        Failure::new(504, "Timeout", "timed out"),
    ] {
        let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
        let mut job = controller.next_job(at(1)).unwrap();
        let request = first_request(&mut controller, &mut job);
        assert!(request.verb.writes());
        controller.answer(&mut job, Err(failure.clone()), at(1));
        assert_eq!(controller.step(&mut job, at(1)), None);
        controller.finish(job, at(1));
        let read = Request::get(&ROLLOUTS, "shop", "web");
        // As long as nobody says, nothing is written.
        for seconds in [60, 120] {
            let mut job = controller.next_job(at(seconds)).unwrap();
            assert_eq!(first_request(&mut controller, &mut job), read, "{failure}");
            controller.answer(&mut job, Err(Failure::no_answer("still broken")), at(seconds));
            assert_eq!(controller.step(&mut job, at(seconds)), None);
            controller.finish(job, at(seconds));
        }
        let mut job = controller.next_job(at(300)).unwrap();
        assert_eq!(first_request(&mut controller, &mut job), read);
        let mut written = rollout("web", 7);
        written["metadata"]["annotations"] = json!({"rollout.argoproj.io/revision": "1"});
        controller.answer(&mut job, Ok(written), at(300));
        assert_eq!(
            first_request(&mut controller, &mut job).verb,
            Verb::Create,
            "the revision is there, the ReplicaSet comes next"
        );
    }
}

#[test]
fn a_refused_write_needs_no_look_at_its_object() {
    let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
    let mut job = controller.next_job(at(1)).unwrap();
    first_request(&mut controller, &mut job);
    controller.answer(&mut job, Err(Failure::new(403, "Forbidden", "no")), at(1));
    assert!(controller.unsure.is_empty());
}

#[test]
fn a_429_keeps_everybody_back_and_only_for_so_long() {
    let mut controller = listed(&[(Kind::Rollout, rollout("a", 1)), (Kind::Rollout, rollout("b", 1))]);
    let mut job = controller.next_job(at(1)).unwrap();
    first_request(&mut controller, &mut job);
    let failure = Failure {
        retry_after: Some(SignedDuration::from_secs(3)),
        ..Failure::new(429, "TooManyRequests", "")
    };
    controller.answer(&mut job, Err(failure), at(1));
    controller.finish(job, at(1));
    assert!(controller.next_job(at(3)).is_none());
    assert_eq!(controller.next_wake(), Some(at(4)));
    assert_eq!(due(&mut controller, at(4)), ["b", "a"]);
}

#[test]
fn as_many_at_once_as_there_are_threads() {
    let objects: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| (Kind::Rollout, rollout(name, 1)))
        .collect();
    let mut controller = Controller::new(
        Options {
            rollout_threads: 2,
            ..Options::default()
        },
        at(0),
    );
    list(&mut controller, &objects);
    let first = controller.next_job(at(1)).unwrap();
    controller.next_job(at(1)).unwrap();
    assert!(controller.next_job(at(1)).is_none());
    assert_eq!(controller.next_wake(), None, "the end of a job wakes");
    controller.finish(first, at(1));
    assert!(controller.next_job(at(1)).is_some());
}

#[test]
fn a_service_is_let_go_of_when_no_rollout_names_it() {
    let named = {
        let mut rollout = rollout("web", 1);
        rollout["spec"]["strategy"]["canary"] = json!({"stableService": "named"});
        rollout
    };
    let controller = &mut listed(&[
        (Kind::Rollout, named.clone()),
        (Kind::Service, service("named", 3, Some("web"))),
        (Kind::Service, service("left", 3, Some("web"))),
        (Kind::Service, service("orphan", 3, Some("gone"))),
        (Kind::Service, service("free", 3, None)),
    ]);
    let mut patched = Vec::new();
    while let Some(mut job) = controller.next_job(at(1)) {
        if let Key::Service(key) = job.key().clone() {
            if let Some(Step::Request(request)) = controller.step(&mut job, at(1)) {
                let (rollout, answer) = match key.name.as_str() {
                    "left" => ("web", Ok(named.clone())),
                    _ => ("gone", Err(Failure::new(404, "NotFound", ""))),
                };
                assert_eq!(request, Request::get(&ROLLOUTS, "shop", rollout));
                controller.answer(&mut job, answer, at(1));
            }
            if let Some(Step::Request(request)) = controller.step(&mut job, at(1)) {
                patched.push((key.name.clone(), request.body));
                controller.answer(&mut job, Ok(service(&key.name, 4, None)), at(1));
            }
            assert_eq!(controller.step(&mut job, at(1)), None);
            assert_eq!(controller.finish(job, at(1)), Outcome::Done);
        }
    }
    let body = |name: &str| {
        json!({
            "metadata": {
                "uid": format!("svc-{name}"), "resourceVersion": "3",
                "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": null},
            },
            "spec": {"selector": {"rollouts-pod-template-hash": null}},
        })
    };
    assert_eq!(
        patched,
        [
            ("left".to_owned(), body("left")),
            ("orphan".to_owned(), body("orphan"))
        ]
    );
}

#[test]
fn a_service_is_let_go_of_when_its_rollout_is_deleted() {
    let mut web = rollout("web", 1);
    web["spec"]["strategy"]["canary"] = json!({"stableService": "web"});
    let mut controller = listed(&[
        (Kind::Rollout, web.clone()),
        (Kind::Service, service("web", 3, Some("web"))),
    ]);
    due(&mut controller, at(1));
    controller.deliver(Kind::Rollout, Signal::Deleted(Object::Value(&web)), at(2));
    let keys: Vec<Key> = std::iter::from_fn(|| controller.next_job(at(2)).map(|job| job.key)).collect();
    let [Key::Service(service), Key::Rollout(rollout), Key::Deleted(_)] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    assert_eq!((service, rollout), (&key("web"), &key("web")));
}

/// What is not in the cache may exist all the same: another instance's, or one that the watch has not told yet.
#[test]
fn a_service_is_kept_while_the_api_server_has_its_rollout() {
    let mut named = rollout("gone", 1);
    named["spec"]["strategy"]["canary"] = json!({"stableService": "orphan"});
    let mut theirs = rollout("gone", 1);
    theirs["metadata"]["labels"] = json!({tidegate_crds::labels::INSTANCE_ID_LABEL: "blue"});
    let down = Failure::new(503, "ServiceUnavailable", "");
    for (answer, outcome) in [
        (Ok(named), Outcome::Done),
        (Ok(theirs), Outcome::Done),
        (Err(down.clone()), Outcome::Failed(down)),
    ] {
        let mut controller = listed(&[(Kind::Service, service("orphan", 3, Some("gone")))]);
        let mut job = controller.next_job(at(1)).unwrap();
        assert_eq!(
            first_request(&mut controller, &mut job),
            Request::get(&ROLLOUTS, "shop", "gone")
        );
        controller.answer(&mut job, answer, at(1));
        assert_eq!(controller.step(&mut job, at(1)), None);
        assert_eq!(controller.finish(job, at(1)), outcome);
    }
}

/// A Rollout that another instance has taken over is gone from our watch, and lives.
#[test]
fn a_rollout_that_lives_is_not_told_to_be_deleted() {
    let web = rollout("web", 1);
    let mut controller = listed(&[(Kind::Rollout, web.clone())]);
    due(&mut controller, at(1));
    controller.deliver(Kind::Rollout, Signal::Deleted(Object::Value(&web)), at(2));
    let mut theirs = rollout("web", 5);
    theirs["metadata"]["labels"] = json!({tidegate_crds::labels::INSTANCE_ID_LABEL: "blue"});
    let mut asked = 0;
    while let Some(mut job) = controller.next_job(at(2)) {
        while let Some(step) = controller.step(&mut job, at(2)) {
            let Step::Request(request) = step else {
                panic!("{step:?}")
            };
            assert_eq!(request, Request::get(&ROLLOUTS, "shop", "web"));
            asked += 1;
            controller.answer(&mut job, Ok(theirs.clone()), at(2));
        }
        controller.finish(job, at(2));
    }
    assert_eq!(asked, 1);
}

/// Contract 2.8: name and namespace in upstream's order. Told once, and not by who was no leader at the time.
#[test]
fn the_end_of_a_rollout_is_told_while_it_is_news() {
    let web = rollout("web", 1);
    let told = |looked: Timestamp| -> Vec<String> {
        let mut controller = listed(&[(Kind::Rollout, web.clone())]);
        due(&mut controller, at(1));
        controller.deliver(Kind::Rollout, Signal::Deleted(Object::Value(&web)), at(2));
        let mut told = Vec::new();
        while let Some(mut job) = controller.next_job(looked) {
            while let Some(step) = controller.step(&mut job, looked) {
                if let Step::Request(request) = &step {
                    assert_eq!(*request, Request::get(&ROLLOUTS, "shop", "web"));
                    controller.answer(&mut job, Err(Failure::new(404, "NotFound", "")), looked);
                }
                if let Step::Event(request) = step {
                    let text = |field: &str| request.body[field].as_str().unwrap().to_owned();
                    told.push(format!("{} {} {}", text("type"), text("reason"), text("message")));
                }
            }
            controller.finish(job, looked);
        }
        told
    };
    assert_eq!(
        told(at(2)),
        ["Normal RolloutDeleted Rollout web/shop is deleted."]
    );
    assert_eq!(told(at(70)), [""; 0]);
}

/// A bug must not cost more than the look that meets it: not the slot, not the key, nobody else.
#[test]
fn a_panic_gives_slot_and_key_back() {
    let options = Options {
        rollout_threads: 1,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    let objects = [(Kind::Rollout, rollout("a", 1)), (Kind::Rollout, rollout("b", 1))];
    list(&mut controller, &objects);
    let mut job = controller.next_job(at(1)).unwrap();
    let key = job.key().clone();
    assert!(guarded(|| -> u8 { panic!("a bug") }).is_none());
    job.panicked();
    assert_eq!(controller.step(&mut job, at(1)), None);
    assert!(matches!(controller.finish(job, at(1)), Outcome::Failed(failure) if failure.reason == "Panic"));
    let other = controller.next_job(at(1)).unwrap();
    assert_ne!(*other.key(), key);
    controller.finish(other, at(1));
    assert_eq!(*controller.next_job(at(2)).unwrap().key(), key);
}

/// What is refused is known to the next plan of the same look, so all else is done.
#[test]
fn a_refused_write_does_not_end_the_look() {
    let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
    let mut job = controller.next_job(at(1)).unwrap();
    let mut sent = Vec::new();
    while let Some(step) = controller.step(&mut job, at(1)) {
        let Step::Request(request) = step else { continue };
        sent.push(request.to_string());
        let refused = Failure::new(403, "Forbidden", "exceeded quota: small");
        let answer = match request.resource.kind {
            "ReplicaSet" => Err(refused),
            _ => Ok(rollout("web", 1 + sent.len() as u32)),
        };
        controller.answer(&mut job, answer, at(1));
    }
    let names: Vec<&str> = sent
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(names.last(), Some(&"rollouts/status"), "{sent:?}");
    assert_eq!(
        names.iter().filter(|name| **name == "replicasets").count(),
        1,
        "{sent:?}"
    );
    assert_eq!(controller.finish(job, at(1)), Outcome::Done);
    let (_, refused) = &controller.refusals[&key("web")];
    assert_eq!(
        refused.values().map(|refusal| refusal.times).collect::<Vec<_>>(),
        [1]
    );
}

/// What the API server breaks on for long holds nothing else up, and the status says so; a moment of it is nobody's news.
#[test]
fn a_write_that_breaks_for_long_does_not_end_the_look() {
    let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
    let mut statuses = Vec::new();
    let (mut now, mut version) = (at(1), 1);
    for _ in 0..16 {
        let mut job = controller.next_job(now).unwrap();
        while let Some(step) = controller.step(&mut job, now) {
            let Step::Request(request) = step else { continue };
            version += 1;
            let answer = match (request.resource.kind, request.subresource) {
                ("ReplicaSet", _) => Err(Failure::new(500, "", "etcdserver: request is too large")),
                (_, Some("status")) => {
                    statuses.push((now, request.body.to_string()));
                    Ok(rollout("web", version))
                }
                _ => Ok(rollout("web", version)),
            };
            controller.answer(&mut job, answer, now);
        }
        if controller.finish(job, now) == Outcome::Done {
            break;
        }
        now = controller.next_wake().unwrap();
    }
    let (told, status) = statuses.first().unwrap();
    let after = told.duration_since(at(1));
    assert!(
        after >= TROUBLE_PASSES && after < SignedDuration::from_secs(20),
        "{after:?}"
    );
    assert!(
        status.contains("WriteRefused") && status.contains("too large"),
        "{status}"
    );
    assert!(controller.troubles.is_empty());
}

/// F154: it must not wait for kinds that a cluster with analysis runs only does not have.
#[test]
fn analysis_alone_waits_for_nothing_else() {
    let options = Options {
        part: Part::Analysis,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    assert_eq!(controller.wanted(), [Kind::AnalysisRun, Kind::Job].into());
    let run = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": "run", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
        "spec": {"metrics": []},
    });
    for kind in [Kind::AnalysisRun, Kind::Job] {
        assert!(!controller.synced());
        controller.deliver(kind, Signal::ListStart, at(0));
        if kind == Kind::AnalysisRun {
            controller.deliver(kind, Signal::Applied(Object::Value(&run)), at(0));
        }
        controller.deliver(kind, Signal::ListEnd { version: "1" }, at(0));
    }
    let job = controller.next_job(at(1)).expect("the run is due");
    assert_eq!(*job.key(), Key::Run(key("run")));
}

#[test]
fn deliveries_alone_leave_rollouts_to_upstream() {
    let options = Options {
        part: Part::Deliveries,
        deliveries: true,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    let delivery = json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": "shop", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
        "spec": {"source": {"git": {"url": "https://git.test/shop"}}},
    });
    let there = [
        (Kind::Rollout, Some(rollout("web", 1))),
        (Kind::AnalysisRun, None),
        (Kind::Delivery, Some(delivery)),
    ];
    assert_eq!(controller.wanted(), there.iter().map(|(kind, _)| *kind).collect());
    for (kind, object) in &there {
        assert!(!controller.synced());
        controller.deliver(*kind, Signal::ListStart, at(0));
        if let Some(object) = object {
            controller.deliver(*kind, Signal::Applied(Object::Value(object)), at(0));
        }
        controller.deliver(*kind, Signal::ListEnd { version: "1" }, at(0));
    }
    let keys: Vec<Key> = std::iter::from_fn(|| controller.next_job(at(1)).map(|job| job.key)).collect();
    assert_eq!(keys, [Key::Delivery(ObjectKey::new("shop", "shop"))]);
}

/// A standby sees Rollouts come and go for months.
#[test]
fn a_standby_keeps_no_looks_at_what_is_gone() {
    let mut controller = listed(&[
        (Kind::Rollout, rollout("web", 1)),
        (Kind::Rollout, rollout("gone", 2)),
    ]);
    controller.deliver(
        Kind::Rollout,
        Signal::Deleted(Object::Value(&rollout("gone", 2))),
        at(2),
    );
    controller.forget_gone();
    let keys: Vec<Key> = std::iter::from_fn(|| controller.next_job(at(2)).map(|job| job.key)).collect();
    assert_eq!(keys, [Key::Rollout(key("web"))]);
}

#[test]
fn a_malformed_object_disturbs_nobody() {
    let mut controller = listed(&[(Kind::Rollout, rollout("good", 1))]);
    for text in [
        "{}",
        "[]",
        "not json",
        r#"{"metadata":{"name":7}}"#,
        r#"{"metadata":{"name":"a","labels":[]}}"#,
    ] {
        controller.deliver(Kind::Rollout, Signal::Applied(Object::Text(text)), at(0));
    }
    let mut odd = rollout("odd", 1);
    odd["spec"]["strategy"] = json!("no strategy");
    odd["status"] = json!(["no status"]);
    controller.deliver(Kind::Rollout, Signal::Applied(Object::Value(&odd)), at(0));
    let mut names = due(&mut controller, at(1));
    names.retain(|name| !name.is_empty());
    assert_eq!(names, ["good", "odd"]);
}

#[test]
fn objects_of_another_instance_are_not_ours() {
    let mut other = rollout("other", 1);
    other["metadata"]["labels"] = json!({"argo-rollouts.argoproj.io/controller-instance-id": "x"});
    let objects = [(Kind::Rollout, rollout("mine", 1)), (Kind::Rollout, other)];
    assert_eq!(due(&mut listed(&objects), at(1)), ["mine"]);
    let settings = Settings {
        instance_id: Some("x".into()),
        ..Settings::default()
    };
    let mut instance = Controller::new(
        Options {
            settings,
            ..Options::default()
        },
        at(0),
    );
    list(&mut instance, &objects);
    assert_eq!(due(&mut instance, at(1)), ["other"]);
}

#[test]
fn workloads_are_watched_when_somebody_names_one() {
    let mut controller = listed(&[]);
    assert!(!controller.wanted().contains(&Kind::Deployment));
    let mut rollout = rollout("web", 1);
    rollout["spec"]["workloadRef"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "old"});
    controller.deliver(Kind::Rollout, Signal::Applied(Object::Value(&rollout)), at(0));
    assert!(controller.wanted().contains(&Kind::Deployment));
}

#[test]
fn a_kind_that_is_not_served_concerns_only_who_needs_it() {
    let split = Kind::Route(&tidegate_traffic::smi::V1ALPHA1);
    let mut controller = listed(&[]);
    // Nobody needs it: it is watched where one of ours may have been left behind, but not in vain.
    assert!(
        !controller
            .wanted()
            .contains(&Kind::Route(&tidegate_traffic::traefik::TRAEFIK_SERVICE))
    );
    assert!(controller.wanted().contains(&split));
    let gone = Signal::Unserved {
        why: "no such kind",
        gone: true,
    };
    controller.deliver(split, gone, at(0));
    assert!(!controller.wanted().contains(&split) && controller.is_in_vain(split));
    let mut web = rollout("web", 1);
    web["spec"]["strategy"]["canary"] =
        json!({"stableService": "web", "canaryService": "web-canary", "trafficRouting": {"smi": {}}});
    let mut fresh = Controller::new(Options::default(), at(0));
    for kind in Kind::all().filter(|kind| *kind != split) {
        fresh.deliver(kind, Signal::ListStart, at(0));
        for object in [&web, &rollout("idle", 1)]
            .into_iter()
            .filter(|_| kind == Kind::Rollout)
        {
            fresh.deliver(kind, Signal::Applied(Object::Value(object)), at(0));
        }
        fresh.deliver(kind, Signal::ListEnd { version: "100" }, at(0));
    }
    assert!(fresh.wanted().contains(&split) && fresh.synced());
    let waits = |controller: &Controller, name| controller.cache.waits_for_a_list(&key(name));
    assert!(waits(&fresh, "web") && !waits(&fresh, "idle"));
    let unserved = || Signal::Unserved {
        why: "no such kind",
        gone: true,
    };
    fresh.deliver(split, unserved(), at(0));
    assert!(!waits(&fresh, "web"));
    let mut names = due(&mut fresh, at(1));
    names.sort();
    assert_eq!(names, ["idle", "web"]);
    let observed = fresh.cache.observe(&key("web")).unwrap();
    assert_eq!(observed.routes.unserved.len(), 1);
    // Again is no news; and then it is there.
    fresh.deliver(split, unserved(), at(1));
    assert!(due(&mut fresh, at(1)).is_empty());
    fresh.deliver(split, Signal::ListStart, at(2));
    fresh.deliver(split, Signal::ListEnd { version: "100" }, at(2));
    assert_eq!(due(&mut fresh, at(2)), ["web"]);
    let observed = fresh.cache.observe(&key("web")).unwrap();
    assert!(observed.routes.unserved.is_empty());
    // What was seen is kept while it is only hidden for a while.
    let hidden = Signal::Unserved {
        why: "overloaded",
        gone: false,
    };
    fresh.deliver(split, hidden, at(3));
    assert!(due(&mut fresh, at(3)).is_empty());
}

/// A process ended after somebody took the router away and before it could delete what it had made.
#[test]
fn what_a_router_left_behind_is_seen_by_the_next_process() {
    let split = Kind::Route(&tidegate_traffic::smi::V1ALPHA1);
    let mut fresh = Controller::new(Options::default(), at(0));
    assert!(fresh.wanted().contains(&split));
    let object = json!({
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "split", "resourceVersion": "9",
            "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "uid-web", "controller": true}],
        },
        "spec": {"service": "web", "backends": []},
    });
    list(&mut fresh, &[(Kind::Rollout, rollout("web", 1)), (split, object)]);
    assert_eq!(due(&mut fresh, at(1)), ["web"]);
    let observed = fresh.cache.observe(&key("web")).unwrap();
    assert_eq!(observed.routes.live.len(), 1);
    assert!(fresh.wanted().contains(&split));
}

#[test]
fn changes_around_a_rollout_wake_it() {
    let mut web = rollout("web", 1);
    web["spec"]["strategy"]["canary"] = json!({
        "stableService": "web", "canaryService": "web-canary",
        "trafficRouting": {"nginx": {"stableIngress": "web"}},
        "analysis": {"templates": [{"templateName": "direct"}]},
    });
    let object = |name: &str, uid: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": "200"}, "spec": spec});
    let of_a_version = || json!({"selector": {"matchLabels": {"rollouts-pod-template-hash": "1"}}});
    let owned = |name: &str| {
        let mut object = object(name, name, of_a_version());
        object["metadata"]["labels"] = json!({"rollouts-pod-template-hash": "1"});
        object["metadata"]["ownerReferences"] =
            json!([{"kind": "Rollout", "name": "web", "uid": "uid-web", "controller": true}]);
        object
    };
    let orphan = {
        let mut object = object("orphan", "orphan", of_a_version());
        object["metadata"]["labels"] = json!({"app": "web", "rollouts-pod-template-hash": "1"});
        object
    };
    let direct = object("direct", "t1", json!({"templates": [{"templateName": "nested"}]}));
    let mut controller = listed(&[(Kind::Rollout, web), (Kind::Rollout, rollout("idle", 1))]);
    due(&mut controller, at(1));
    let table = [
        (Kind::ReplicaSet, owned("web-1"), true),
        (Kind::ReplicaSet, orphan, true),
        (Kind::ReplicaSet, object("foreign", "f", json!({})), false),
        (Kind::Service, service("web", 200, None), true),
        (Kind::Service, service("other", 200, None), false),
        (Kind::INGRESS, object("web", "i1", json!({})), true),
        (Kind::INGRESS, owned("owned"), true),
        (Kind::INGRESS, object("other", "i2", json!({})), false),
        (Kind::AnalysisRun, owned("run"), true),
        (Kind::AnalysisTemplate, direct, true),
        (Kind::AnalysisTemplate, object("nested", "t2", json!({})), true),
        (Kind::AnalysisTemplate, object("other", "t3", json!({})), false),
    ];
    for (kind, object, woken) in table {
        controller.deliver(kind, Signal::Applied(Object::Value(&object)), at(2));
        let expected: &[&str] = if woken { &["web"] } else { &[] };
        assert_eq!(
            due(&mut controller, at(2)),
            expected,
            "{kind:?} {}",
            object["metadata"]["name"]
        );
        // The same once more is no news.
        controller.deliver(kind, Signal::Applied(Object::Value(&object)), at(2));
        assert!(due(&mut controller, at(2)).is_empty(), "{kind:?}");
        if woken {
            controller.deliver(kind, Signal::Deleted(Object::Value(&object)), at(2));
            assert_eq!(due(&mut controller, at(2)), ["web"], "{kind:?} gone");
            let mut again = object;
            again["metadata"]["resourceVersion"] = json!("201");
            controller.deliver(kind, Signal::Applied(Object::Value(&again)), at(2));
            due(&mut controller, at(2));
        }
    }
}

/// An owner is one of the same namespace: whoever may write objects elsewhere decides nothing here by naming a uid.
#[test]
fn an_object_of_another_namespace_is_not_owned() {
    let kinds = [Kind::ReplicaSet, Kind::INGRESS, Kind::AnalysisRun];
    let owned = |kind: Kind, namespace: &str| {
        let mut object = json!({
            "metadata": {
                "name": "one", "namespace": namespace, "uid": format!("{kind:?}-{namespace}"), "resourceVersion": "200",
                "labels": {"rollouts-pod-template-hash": "5c"},
                "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "uid-web", "controller": true}],
            },
            "spec": {"selector": {"matchLabels": {"rollouts-pod-template-hash": "5c"}}},
        });
        if kind == Kind::AnalysisRun {
            object["status"] = json!({"phase": "Failed"});
        }
        object
    };
    for (namespace, seen) in [("evil", 0), ("shop", 1)] {
        let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
        due(&mut controller, at(1));
        for kind in kinds {
            let object = owned(kind, namespace);
            controller.deliver(kind, Signal::Applied(Object::Value(&object)), at(2));
            assert_eq!(due(&mut controller, at(2)).len(), seen, "{kind:?} of {namespace}");
        }
        let observed = controller.cache.observe(&key("web")).unwrap();
        let counts = [
            observed.replica_sets.len(),
            observed.routes.live.len(),
            observed.analysis_runs.len(),
            controller.cache.runs_of(&key("web")).len(),
            controller.cache.replica_set_uids(&key("web"), "5c").len(),
        ];
        assert_eq!(counts, [seen; 5], "of {namespace}");
        for kind in kinds {
            let object = owned(kind, namespace);
            controller.deliver(kind, Signal::Deleted(Object::Value(&object)), at(3));
            assert_eq!(
                due(&mut controller, at(3)).len(),
                seen,
                "{kind:?} of {namespace} gone"
            );
        }
    }
}

#[test]
fn routes_are_as_old_as_the_process_or_as_their_last_change() {
    let mut web = rollout("web", 1);
    web["spec"]["strategy"]["canary"] = json!({"stableService": "web"});
    let mut controller = listed(&[(Kind::Rollout, web), (Kind::Service, service("web", 3, None))]);
    let since =
        |controller: &Controller| controller.cache.observe(&key("web")).unwrap().routed_since["Service/web"];
    assert_eq!(since(&controller), at(0));
    let mut changed = service("web", 4, None);
    changed["metadata"]["labels"] = json!({"a": "b"});
    controller.deliver(Kind::Service, Signal::Applied(Object::Value(&changed)), at(5));
    assert_eq!(since(&controller), at(0), "the same selector");
    changed["metadata"]["resourceVersion"] = json!("5");
    changed["spec"]["selector"]["rollouts-pod-template-hash"] = json!("6d");
    controller.deliver(Kind::Service, Signal::Applied(Object::Value(&changed)), at(6));
    assert_eq!(since(&controller), at(6));
}

/// Tools annotate Ingresses all the time. If each of that counted as routing, the old pods would be kept for as long.
#[test]
fn only_what_routes_makes_a_route_object_young() {
    let mut web = rollout("web", 1);
    web["spec"]["strategy"]["canary"] = json!({
        "stableService": "web", "canaryService": "canary", "trafficRouting": {"nginx": {"stableIngress": "web"}},
    });
    let mut ingress = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "i1", "resourceVersion": "3", "annotations": {}},
        "spec": {"ingressClassName": "nginx"},
    });
    let mut controller = listed(&[(Kind::Rollout, web), (Kind::INGRESS, ingress.clone())]);
    let table = [
        ("/metadata/annotations/cert-manager.io~1issuer", json!("a"), false),
        (
            "/metadata/annotations/nginx.ingress.kubernetes.io~1ssl-redirect",
            json!("false"),
            false,
        ),
        (
            "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight",
            json!("20"),
            true,
        ),
        (
            "/metadata/annotations/own.example~1canary-by-cookie",
            json!("a"),
            true,
        ),
        (
            "/metadata/annotations/kubernetes.io~1ingress.class",
            json!("nginx"),
            true,
        ),
        ("/spec/ingressClassName", json!("other"), true),
        ("/metadata/labels", json!({"a": "b"}), false),
    ];
    let mut last = at(0);
    for (row, (pointer, value, routes)) in table.into_iter().enumerate() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        ingress.pointer_mut(parent).unwrap()[field.replace("~1", "/")] = value;
        let seconds = 5 + i64::try_from(row).unwrap();
        ingress["metadata"]["resourceVersion"] = json!(seconds.to_string());
        controller.deliver(
            Kind::INGRESS,
            Signal::Applied(Object::Value(&ingress)),
            at(seconds),
        );
        if routes {
            last = at(seconds);
        }
        let observed = controller.cache.observe(&key("web")).unwrap();
        let since: Vec<Timestamp> = observed.routed_since.into_values().collect();
        assert_eq!(since, [last], "{pointer}");
    }
}

#[test]
fn what_this_process_made_is_known_from_the_answer() {
    let run = |uid: &str, version: u32| {
        json!({"metadata": {
            "name": "run", "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
            "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "uid-web", "controller": true}],
        }})
    };
    let mut controller = listed(&[(Kind::Rollout, rollout("web", 1))]);
    let made = |controller: &Controller| {
        let observed = controller.cache.observe(&key("web")).unwrap();
        assert_eq!(observed.analysis_runs.len(), 1);
        observed.made_here
    };
    controller.deliver(
        Kind::AnalysisRun,
        Signal::Applied(Object::Value(&run("a", 200))),
        at(1),
    );
    assert!(made(&controller).is_empty());
    let create = Request::create(&ANALYSIS_RUNS, "shop", json!({"metadata": {"name": "run"}}));
    controller.learn(&create, &run("a", 200), at(1));
    assert_eq!(made(&controller), ["a".to_owned()].into());
    controller.deliver(
        Kind::AnalysisRun,
        Signal::Applied(Object::Value(&run("a", 201))),
        at(2),
    );
    assert_eq!(made(&controller), ["a".to_owned()].into());
    // Another object of the name.
    controller.deliver(
        Kind::AnalysisRun,
        Signal::Applied(Object::Value(&run("b", 202))),
        at(3),
    );
    assert!(made(&controller).is_empty());
}

#[test]
fn a_measurement_is_asked_for_once_and_its_reading_written() {
    let run = json!({
        "metadata": {"name": "run", "namespace": "shop", "uid": "run-1", "resourceVersion": "9"},
        "spec": {
            "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "key"}}}],
            "metrics": [{"name": "m", "provider": {"web": {"url": "http://x/{{args.token}}", "jsonPath": "{$.a}"}}}],
        },
    });
    let mut controller = listed(&[(Kind::AnalysisRun, run.clone())]);
    let mut job = controller.next_job(at(1)).unwrap();
    let request = first_request(&mut controller, &mut job);
    assert_eq!(request.to_string(), "get secrets shop/secret");
    controller.answer(&mut job, Ok(json!({"data": {"key": "c2VjcmV0"}})), at(1));
    let Some(Step::Measure(ask)) = controller.step(&mut job, at(1)) else {
        panic!("a question")
    };
    assert_eq!(ask.metric.provider.web.as_ref().unwrap().url, "http://x/secret");
    while controller.step(&mut job, at(1)).is_some() {
        controller.answer(&mut job, Ok(run.clone()), at(1));
    }
    controller.finish(job, at(1));
    // While it is under way it is not asked again.
    controller.runs.add(Key::Run(key("run")), Lane::Normal, at(1));
    let mut job = controller.next_job(at(1)).unwrap();
    assert_eq!(controller.step(&mut job, at(1)), None);
    controller.finish(job, at(1));

    let reading = ask.failed(tidegate_analysis::Trouble::NoData, "nothing", at(2));
    controller.measured(&key("run"), "another uid", reading.clone(), at(2));
    assert!(controller.next_job(at(2)).is_none(), "a run of another uid");
    controller.measured(&key("run"), "run-1", reading, at(2));
    let mut job = controller.next_job(at(2)).unwrap();
    let request = first_request(&mut controller, &mut job);
    assert_eq!(request.to_string(), "get secrets shop/secret");
    controller.answer(&mut job, Ok(json!({"data": {"key": "c2VjcmV0"}})), at(2));
    let status = first_request(&mut controller, &mut job);
    assert_eq!(status.to_string(), "patch analysisruns shop/run");
    assert_eq!(
        status.body["metadata"],
        json!({"uid": "run-1", "resourceVersion": "9"})
    );
    assert_eq!(
        status.body["status"]["metricResults"][0]["measurements"][0]["phase"],
        json!("Error")
    );
    // The write is lost: the reading is not.
    controller.answer(&mut job, Err(Failure::no_answer("timeout")), at(2));
    assert_eq!(controller.step(&mut job, at(2)), None);
    assert!(matches!(controller.finish(job, at(2)), Outcome::Failed(_)));
    assert_eq!(controller.memory[&key("run")].readings.len(), 1);
}

#[test]
fn a_webhook_makes_the_repository_be_asked_before_its_time() {
    let delivery = json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "1", "generation": 1},
        "spec": {"source": {"git": {"url": "https://git.example.com/shop/deploy.git", "webhookSecretRef": {"name": "hook"}}}},
    });
    let options = Options {
        deliveries: true,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    list(&mut controller, &[(Kind::Delivery, delivery)]);
    assert_eq!(controller.webhook_secret_of(&key("web")).as_deref(), Some("hook"));
    assert_eq!(controller.webhook_secret_of(&key("other")), None);
    let mut asked = 0;
    let mut work = |controller: &mut Controller, now| {
        asked += work_off(controller, now);
        asked
    };
    assert_eq!(work(&mut controller, at(1)), 1);
    assert_eq!(work(&mut controller, at(2)), 1, "it is asked once in an interval");
    controller.ask_repository_of(&key("other"), at(3));
    assert_eq!(work(&mut controller, at(3)), 1);
    controller.ask_repository_of(&key("web"), at(4));
    assert_eq!(work(&mut controller, at(4)), 2);
}

/// Does everything that is due, where all objects and refs are missing; how often repositories were asked.
fn work_off(controller: &mut Controller, now: Timestamp) -> usize {
    let mut asked = 0;
    while let Some(mut job) = controller.next_job(now) {
        while let Some(step) = controller.step(&mut job, now) {
            match step {
                Step::Outside(_) => {
                    asked += 1;
                    let heads = OutsideAnswer::Git(Ok(GitAnswer::Heads(Vec::new())));
                    controller.answer_outside(&mut job, heads, now);
                }
                Step::Request(_) => {
                    let gone = Failure::new(404, "NotFound", "");
                    controller.answer(&mut job, Err(gone), now);
                }
                _ => {}
            }
        }
        controller.finish(job, now);
    }
    asked
}

#[test]
fn who_stood_by_asks_repositories_again() {
    let delivery = json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "1", "generation": 1},
        "spec": {"source": {"git": {"url": "https://git.example.com/shop/deploy.git"}}},
    });
    let options = Options {
        deliveries: true,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    list(&mut controller, &[(Kind::Delivery, delivery)]);
    assert_eq!(work_off(&mut controller, at(1)), 1);
    assert_eq!(
        work_off(&mut controller, at(2)),
        0,
        "what is known is believed for a while"
    );
    for seconds in [3, 4] {
        controller.stand_by(at(seconds));
        controller.forget_gone();
    }
    assert_eq!(work_off(&mut controller, at(5)), 1);
    // and from then on as before
    assert_eq!(work_off(&mut controller, at(60)), 1);
}

const BAD: &str = "9f3c000000000000000000000000000000000000";

/// A Delivery whose newest commit was rejected, which its chat does not know yet.
fn delivery_with_a_bad_commit() -> Value {
    let good =
        json!({"revision": "main@sha1:41d0000000000000000000000000000000000000", "digest": "sha256:good"});
    json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "10", "generation": 1},
        "spec": {
            "source": {"git": {"url": "https://git.example.com/shop/deploy.git"}},
            "feedback": {"notify": [{"type": "Slack", "secretRef": {"name": "team"}}]},
        },
        "status": {
            "head": {"revision": format!("main@sha1:{BAD}"), "digest": "sha256:bad"},
            "target": good, "applied": good, "verified": good, "why": "Pinned",
            "ledger": [
                {
                    "digest": "sha256:bad", "commits": [BAD], "state": "Rejected", "reason": "AnalysisFailed",
                    "message": "error-rate is 0.08", "since": "1970-01-12T13:46:30Z",
                },
                {
                    "digest": "sha256:good", "commits": ["41d0000000000000000000000000000000000000"],
                    "state": "Deployed", "objects": 0, "stored": true,
                },
            ],
        },
    })
}

#[test]
fn a_chat_is_told_once_although_the_status_loses_a_race() {
    let mut stored = delivery_with_a_bad_commit();
    let options = Options {
        deliveries: true,
        ..Options::default()
    };
    let mut controller = Controller::new(options, at(0));
    list(&mut controller, &[(Kind::Delivery, stored.clone())]);
    let (mut posts, mut conflicts, mut version) = (Vec::new(), 0, 10);
    for now in (1..20).map(at) {
        while let Some(mut job) = controller.next_job(now) {
            while let Some(step) = controller.step(&mut job, now) {
                match step {
                    Step::Outside(Outside::Chat(post)) => {
                        posts.push(post.address.clone());
                        controller.answer_outside(&mut job, OutsideAnswer::Chat(Ok(())), now);
                    }
                    Step::Outside(_) => {
                        let heads = vec![("refs/heads/main".to_owned(), Oid::parse(BAD).unwrap())];
                        let heads = OutsideAnswer::Git(Ok(GitAnswer::Heads(heads)));
                        controller.answer_outside(&mut job, heads, now);
                    }
                    Step::Request(request) if request.resource.plural == "secrets" => {
                        let secret = json!({"data": {"address": "aHR0cHM6Ly9ob29rcy5leGFtcGxlLmNvbS94"}});
                        controller.answer(&mut job, Ok(secret), now);
                    }
                    Step::Request(request) => {
                        let records = request.body.to_string().contains("Slack/team");
                        if records && conflicts == 0 {
                            conflicts += 1;
                            let conflict = Failure::new(409, "Conflict", "somebody was faster");
                            controller.answer(&mut job, Err(conflict), now);
                            continue;
                        }
                        json_patch::merge(&mut stored, &request.body);
                        version += 1;
                        stored["metadata"]["resourceVersion"] = json!(version.to_string());
                        controller.answer(&mut job, Ok(stored.clone()), now);
                    }
                    _ => {}
                }
            }
            controller.finish(job, now);
        }
    }
    assert_eq!(
        (posts, conflicts),
        (vec!["https://hooks.example.com/x".to_owned()], 1)
    );
    assert_eq!(
        stored.pointer("/status/ledger/0/notified"),
        Some(&json!([format!("Slack/team {BAD} Rejected")]))
    );
}
