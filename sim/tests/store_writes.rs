//! Creating, replacing and deleting: versions, generations, subresources, preconditions, validation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    reason = "a test fails by panicking, and its helpers read better so"
)]

#[path = "store_support/cluster.rs"]
mod cluster;

use cluster::{Cluster, config_map, pod, replica_set, rollout, template};
use serde_json::{Value, json};
use tidegate_sim::store::{FieldValidation, PatchKind, Reason, Request, Settings, Store, Verb};

#[test]
fn a_new_object_gets_what_the_server_adds() {
    let mut cluster = Cluster::new();
    let before = cluster.store.revision();
    let made = cluster.create("rollouts", rollout("web"));
    let meta = &made["metadata"];
    assert_eq!(meta["namespace"], "shop");
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["creationTimestamp"], "2026-11-21T10:00:00Z");
    assert_eq!(meta["resourceVersion"], (before + 1).to_string());
    assert_eq!(meta["uid"].as_str().map(str::len), Some(36));
    assert_eq!(cluster.get("rollouts", "web"), Some(made));
}

#[test]
fn the_same_seed_and_requests_give_the_same_cluster() {
    let run = || {
        let mut cluster = Cluster::new();
        let mut body = config_map("x");
        body["metadata"] = json!({"generateName": "x-"});
        let made = [
            cluster.create("configmaps", body.clone()),
            cluster.create("configmaps", body),
        ];
        (made, cluster.store.revision())
    };
    let (made, revision) = run();
    assert_ne!(made[0]["metadata"]["name"], made[1]["metadata"]["name"]);
    assert_eq!(made[0]["metadata"]["name"].as_str().map(str::len), Some(7));
    assert_eq!(run(), (made, revision));
    assert_ne!(
        Store::new(1).get(&Cluster::new().kind("namespaces"), "", "default"),
        None
    );
}

/// What is done, reason and words of the real server.
type Case = (
    &'static str,
    fn(&mut Cluster) -> Result<Value, tidegate_sim::store::Status>,
    Reason,
    &'static str,
);

fn are_refused(cases: &[Case]) {
    for (what, act, reason, message) in cases {
        let mut cluster = Cluster::new();
        cluster.create("rollouts", rollout("web"));
        let revision = cluster.store.revision();
        let status = act(&mut cluster)
            .err()
            .unwrap_or_else(|| panic!("{what} is not refused"));
        assert_eq!(
            (status.reason, status.message.as_str()),
            (*reason, *message),
            "{what}"
        );
        assert_eq!(status.to_value()["code"], reason.code(), "{what}");
        // the case of the old version has made one commit of its own
        assert!(
            cluster.store.revision() <= revision + 1,
            "{what}: a refused request writes nothing"
        );
    }
}

#[test]
fn refusals_of_names_have_the_servers_words() {
    are_refused(&[
        (
            "a name that is taken",
            |c| c.try_create("rollouts", rollout("web")),
            Reason::AlreadyExists,
            r#"rollouts.argoproj.io "web" already exists"#,
        ),
        (
            "no such object",
            |c| c.send(Request::get(&c.kind("services"), "shop", "none")),
            Reason::NotFound,
            r#"services "none" not found"#,
        ),
        (
            "no such namespace",
            |c| c.send(Request::create(&c.kind("rollouts"), "nowhere", rollout("x"))),
            Reason::NotFound,
            r#"namespaces "nowhere" not found"#,
        ),
    ]);
}

#[test]
fn refusals_of_old_versions_have_the_servers_words() {
    are_refused(&[
        (
            "a PUT with an old version",
            |c| {
                let mut old = c.get("rollouts", "web").unwrap();
                c.merge("rollouts", "web", json!({"spec": {"replicas": 9}}));
                old["spec"]["replicas"] = json!(4);
                c.send(Request::update(&c.kind("rollouts"), old))
            },
            Reason::Conflict,
            "Operation cannot be fulfilled on rollouts.argoproj.io \"web\": the object has been modified; please apply \
             your changes to the latest version and try again",
        ),
        (
            "a PUT of a custom resource without a version",
            |c| {
                let mut body = c.get("rollouts", "web").unwrap();
                body["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("resourceVersion");
                c.send(Request::update(&c.kind("rollouts"), body))
            },
            Reason::Invalid,
            "Rollout.argoproj.io \"web\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        ),
        (
            "a patch that names an old version",
            |c| {
                c.patch(
                    "rollouts",
                    "web",
                    PatchKind::Merge,
                    json!({"metadata": {"resourceVersion": "1"}}),
                )
            },
            Reason::Conflict,
            "Operation cannot be fulfilled on rollouts.argoproj.io \"web\": the object has been modified; please apply \
             your changes to the latest version and try again",
        ),
    ]);
}

#[test]
fn refusals_of_patches_and_deletes_have_the_servers_words() {
    are_refused(&[
        (
            "negative replicas (recorded in testdata/recordings/invalid-specs.jsonl)",
            |c| {
                c.patch(
                    "rollouts",
                    "web",
                    PatchKind::Merge,
                    json!({"spec": {"replicas": -1}}),
                )
            },
            Reason::Invalid,
            r#"Rollout.argoproj.io "web" is invalid: .spec.replicas: Invalid value: -1: should be a non-negative integer"#,
        ),
        (
            "a JSON patch whose test fails",
            |c| {
                let patch = json!([
                    {"op": "test", "path": "/spec/replicas", "value": 77}, {"op": "replace", "path": "/spec/replicas", "value": 1},
                ]);
                c.patch("rollouts", "web", PatchKind::Json, patch)
            },
            Reason::Invalid,
            "the server rejected our request due to an error in our request",
        ),
        (
            "strategic merge of a custom resource",
            |c| c.patch("rollouts", "web", PatchKind::Strategic, json!({})),
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
             application/merge-patch+json, application/apply-patch+yaml",
        ),
        (
            "a delete of another object with that name",
            |c| {
                let request = Request::delete(&c.kind("rollouts"), "shop", "web");
                c.send(request.with(|o| o.precondition_uid = Some("other".to_owned())))
                    .map_err(|mut status| {
                        status
                            .message
                            .truncate(status.message.find("match the").unwrap_or(0));
                        status
                    })
            },
            Reason::Conflict,
            "Operation cannot be fulfilled on Rollout.argoproj.io \"web\": the UID in the precondition (other) does not ",
        ),
    ]);
}

#[test]
fn refusals_of_objects_have_the_servers_words() {
    are_refused(&[
        (
            "a selector that does not match",
            |c| {
                let mut body = replica_set("web");
                body["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
                c.try_create("replicasets", body)
            },
            Reason::Invalid,
            "ReplicaSet.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` \
             does not match template `labels`",
        ),
        (
            "a name that is none",
            |c| {
                let mut body = config_map("x");
                body["metadata"]["name"] = json!("Not_A_Name");
                c.try_create("configmaps", body).map_err(|mut status| {
                    status
                        .message
                        .truncate(status.message.find(" must consist").unwrap_or(0));
                    status
                })
            },
            Reason::Invalid,
            "ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain",
        ),
        (
            "a label that is too long",
            |c| {
                let mut body = config_map("x");
                body["metadata"]["labels"] = json!({"a": "x".repeat(64)});
                c.try_create("configmaps", body).map_err(|mut status| {
                    status.message = status.message.replace(&"x".repeat(64), "…");
                    status
                })
            },
            Reason::Invalid,
            "ConfigMap \"x\" is invalid: metadata.labels: Invalid value: \"…\": must be no more than 63 bytes",
        ),
        (
            "annotations over 256 KiB, as after a client-side apply of a large CRD",
            |c| {
                let mut body = config_map("x");
                body["metadata"]["annotations"] = json!({"a": "x".repeat(256 * 1024)});
                c.try_create("configmaps", body)
            },
            Reason::Invalid,
            "ConfigMap \"x\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            "a value of the wrong type",
            |c| {
                let mut body = replica_set("x");
                body["spec"]["replicas"] = json!("three");
                c.try_create("replicasets", body)
            },
            Reason::BadRequest,
            "ReplicaSet in version \"v1\" cannot be handled as a ReplicaSet: json: cannot unmarshal string into Go struct \
             field spec.replicas of type int",
        ),
    ]);
}

/// Kind, subresource, patch, generation afterwards, whether anything is written.
type Generation = (&'static str, &'static str, Value, i64, bool);

/// What raises the generation, and what is written at all.
fn generations_are(cases: &[Generation]) {
    for (plural, subresource, patch, generation, written) in cases {
        let mut cluster = Cluster::new();
        let mut body = match *plural {
            "rollouts" => rollout("web"),
            "analysisruns" => json!({
                "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "web"}, "spec": {},
            }),
            _ => replica_set("web"),
        };
        body["kind"] = json!(cluster.kind(plural).kind);
        cluster.create(plural, body);
        let before = cluster.store.revision();
        let request = Request::patch(
            &cluster.kind(plural),
            "shop",
            "web",
            PatchKind::Merge,
            patch.clone(),
        );
        let after = cluster.send(request.subresource(subresource)).unwrap();
        let what = format!("{plural}/{subresource} {patch}");
        assert_eq!(after["metadata"]["generation"], *generation, "{what}");
        assert_eq!(cluster.store.revision() > before, *written, "{what}");
    }
}

#[test]
fn generations_of_custom_resources_follow_the_spec() {
    generations_are(&[
        ("rollouts", "", json!({"spec": {"paused": true}}), 2, true),
        (
            "rollouts",
            "",
            json!({"metadata": {"labels": {"a": "b"}}}),
            1,
            true,
        ),
        ("rollouts", "", json!({"status": {"phase": "Healthy"}}), 1, false),
        (
            "rollouts",
            "status",
            json!({"status": {"phase": "Healthy"}}),
            1,
            true,
        ),
        (
            "rollouts",
            "status",
            json!({"spec": {"paused": true}, "metadata": {"labels": {"a": "b"}}}),
            1,
            false,
        ),
        ("rollouts", "", json!({"spec": {"replicas": 3}}), 1, false),
        // no status subresource (contract 2.1): the status is part of the object and counts
        (
            "analysisruns",
            "",
            json!({"status": {"phase": "Running"}}),
            2,
            true,
        ),
        (
            "analysisruns",
            "",
            json!({"metadata": {"labels": {"a": "b"}}}),
            1,
            true,
        ),
    ]);
}

#[test]
fn generations_of_workloads_follow_the_spec() {
    let rs_status = json!({"status": {"replicas": 1}});
    generations_are(&[
        ("replicasets", "", json!({"spec": {"replicas": 7}}), 2, true),
        (
            "replicasets",
            "",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            1,
            true,
        ),
        ("replicasets", "status", rs_status.clone(), 1, true),
        ("replicasets", "", rs_status, 1, false),
        (
            "deployments",
            "",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            2,
            true,
        ),
        (
            "deployments",
            "",
            json!({"metadata": {"labels": {"a": "b"}}}),
            1,
            true,
        ),
    ]);
}

#[test]
fn analysis_runs_and_experiments_have_no_status_subresource() {
    let mut cluster = Cluster::new();
    for plural in ["analysisruns", "experiments"] {
        let kind = cluster.kind(plural);
        let body = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": kind.kind, "metadata": {"name": "x"}, "spec": {},
            "status": {"phase": "Running"},
        });
        let made = cluster.create(plural, body);
        assert_eq!(made["status"]["phase"], "Running", "a status is kept on create");
        let request = Request::patch(&kind, "shop", "x", PatchKind::Merge, json!({"status": null}));
        let status = cluster.send(request.clone().subresource("status")).unwrap_err();
        assert_eq!(
            (status.reason, status.message.as_str()),
            (
                Reason::NotFound,
                "the server could not find the requested resource"
            )
        );
        // what the plugin's `retry experiment` sends
        assert_eq!(cluster.send(request).unwrap().get("status"), None);
    }
    let mut body = rollout("web");
    body["status"] = json!({"phase": "Healthy"});
    assert_eq!(
        cluster.create("rollouts", body).get("status"),
        None,
        "with the subresource it is dropped on create"
    );
}

/// Column 1 of testdata/fields/Rollout.tsv names the paths.
#[test]
fn the_scale_subresource_reads_and_writes_the_declared_paths() {
    let mut cluster = Cluster::new();
    cluster.create("rollouts", rollout("web"));
    let kind = cluster.kind("rollouts");
    let status = json!({"status": {"HPAReplicas": 5, "replicas": 8, "selector": "app=web"}});
    let request = Request::patch(&kind, "shop", "web", PatchKind::Merge, status).subresource("status");
    cluster.send(request).unwrap();
    let mut scale = cluster
        .send(Request::get(&kind, "shop", "web").subresource("scale"))
        .unwrap();
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 5, "selector": "app=web"}));
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );

    scale["spec"]["replicas"] = json!(6);
    let mut put = Request::update(&kind, scale.clone()).subresource("scale");
    put.namespace = "shop".to_owned();
    assert_eq!(cluster.send(put.clone()).unwrap()["spec"]["replicas"], 6);
    assert_eq!(cluster.get("rollouts", "web").unwrap()["spec"]["replicas"], 6);
    assert_eq!(
        cluster.get("rollouts", "web").unwrap()["metadata"]["generation"],
        2
    );
    assert_eq!(
        cluster.send(put).unwrap_err().reason,
        Reason::Conflict,
        "its version is old now"
    );

    let patch = Request::patch(
        &kind,
        "shop",
        "web",
        PatchKind::Merge,
        json!({"spec": {"replicas": 0}}),
    );
    let scale = cluster.send(patch.subresource("scale")).unwrap();
    assert_eq!(scale["spec"], json!({}), "0 is left out, as the real server does");
    let patch = Request::patch(
        &kind,
        "shop",
        "web",
        PatchKind::Merge,
        json!({"spec": {"replicas": -2}}),
    );
    assert_eq!(
        cluster.send(patch.subresource("scale")).unwrap_err().reason,
        Reason::Invalid
    );

    cluster.create("replicasets", replica_set("web"));
    let scale = cluster
        .send(Request::get(&cluster.kind("replicasets"), "shop", "web").subresource("scale"))
        .unwrap();
    assert_eq!(scale["status"], json!({"replicas": 0, "selector": "app=web"}));
}

#[test]
fn a_dry_run_answers_and_keeps_nothing() {
    let mut cluster = Cluster::new();
    let revision = cluster.store.revision();
    let request =
        Request::create(&cluster.kind("rollouts"), "shop", rollout("web")).with(|o| o.dry_run = true);
    assert_eq!(cluster.send(request).unwrap()["metadata"]["generation"], 1);
    assert_eq!(cluster.get("rollouts", "web"), None);
    cluster.create("rollouts", rollout("web"));
    let request = Request::delete(&cluster.kind("rollouts"), "shop", "web").with(|o| o.dry_run = true);
    cluster.send(request).unwrap();
    assert_eq!(cluster.store.revision(), revision + 1);
}

#[test]
fn a_finalizer_holds_a_deleted_object() {
    let mut cluster = Cluster::new();
    let mut body = rollout("web");
    body["metadata"]["finalizers"] = json!(["example.test/hold"]);
    cluster.create("rollouts", body);
    cluster.delete("rollouts", "web").unwrap();
    let held = cluster.get("rollouts", "web").unwrap();
    assert_eq!(held["metadata"]["deletionTimestamp"], "2026-11-21T10:00:00Z");
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(held["metadata"]["generation"], 2, "a deletion counts");
    let revision = cluster.store.revision();
    cluster.delete("rollouts", "web").unwrap();
    assert_eq!(
        cluster.store.revision(),
        revision,
        "deleting it again changes nothing"
    );
    let more = json!({"metadata": {"finalizers": ["example.test/hold", "example.test/more"]}});
    let status = cluster
        .patch("rollouts", "web", PatchKind::Merge, more)
        .unwrap_err();
    assert_eq!(
        status.message,
        "Rollout.argoproj.io \"web\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object \
         is being deleted, found new finalizers []string{\"example.test/more\"}"
    );
    cluster.merge("rollouts", "web", json!({"metadata": {"finalizers": null}}));
    assert_eq!(cluster.get("rollouts", "web"), None);
    let last = cluster.store.commits_since(revision).last().unwrap();
    assert_eq!((last.verb, last.after.is_none()), (Verb::Patch, true));
}

#[test]
fn a_pod_on_a_node_is_deleted_by_its_kubelet() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("loose"));
    cluster.delete("pods", "loose").unwrap();
    assert_eq!(cluster.get("pods", "loose"), None, "no kubelet, no grace");

    cluster.create("pods", pod("bound"));
    cluster.merge("pods", "bound", json!({"spec": {"nodeName": "node-1"}}));
    cluster.delete("pods", "bound").unwrap();
    let leaving = cluster.get("pods", "bound").unwrap();
    assert_eq!(leaving["metadata"]["deletionTimestamp"], "2026-11-21T10:00:30Z");
    assert_eq!(leaving["metadata"]["deletionGracePeriodSeconds"], 30);
    let kubelet = Request::delete(&cluster.kind("pods"), "shop", "bound").by("system:node:node-1");
    cluster
        .send(kubelet.with(|o| o.grace_period_seconds = Some(0)))
        .unwrap();
    assert_eq!(cluster.get("pods", "bound"), None);

    cluster.create("pods", pod("evicted"));
    cluster.merge("pods", "evicted", json!({"spec": {"nodeName": "node-1"}}));
    let mut eviction = Request::create(
        &cluster.kind("pods"),
        "shop",
        json!({"metadata": {"name": "evicted"}}),
    );
    eviction = eviction.subresource("eviction");
    cluster.send(eviction).unwrap();
    assert!(
        cluster.get("pods", "evicted").unwrap()["metadata"]
            .get("deletionTimestamp")
            .is_some()
    );
}

#[test]
fn builtin_kinds_get_the_defaults_that_clients_depend_on() {
    let mut cluster = Cluster::new();
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        })
    };
    let made = cluster.create("services", service("one"));
    assert_eq!(
        made["spec"],
        json!({
            "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}], "type": "ClusterIP",
            "sessionAffinity": "None", "clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        })
    );
    assert_eq!(
        cluster.create("services", service("two"))["spec"]["clusterIP"],
        "10.96.0.3"
    );
    // a client that sends its manifest again keeps the address
    let mut again = Request::update(&cluster.kind("services"), service("one"));
    again.namespace = "shop".to_owned();
    assert_eq!(cluster.send(again).unwrap()["spec"]["clusterIP"], "10.96.0.2");

    let made = cluster.create("replicasets", replica_set("web"));
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(made["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    assert_eq!(made["status"], json!({"replicas": 0}));

    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "tide"}});
    let made = cluster.create("secrets", secret);
    assert_eq!(
        (&made["data"], &made["type"]),
        (&json!({"k": "dGlkZQ=="}), &json!("Opaque"))
    );
}

#[test]
fn unknown_fields_are_dropped_warned_of_or_refused() {
    let mut body = replica_set("web");
    body["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("typo");
    body["spec"]["nope"] = json!(null);
    let send = |validation: FieldValidation| {
        let mut cluster = Cluster::new();
        let request = Request::create(&cluster.kind("replicasets"), "shop", body.clone());
        cluster
            .store
            .request(request.with(|o| o.field_validation = validation), cluster.now)
    };
    let silent = send(FieldValidation::Ignore).unwrap();
    assert_eq!(
        silent.object().unwrap()["spec"]["template"]["spec"]["containers"][0].get("imagee"),
        None
    );
    assert_eq!(silent.warnings, Vec::<String>::new());
    assert_eq!(
        send(FieldValidation::Warn).unwrap().warnings,
        [
            r#"unknown field "spec.nope""#,
            r#"unknown field "spec.template.spec.containers[0].imagee""#
        ]
    );
    assert_eq!(
        send(FieldValidation::Strict).unwrap_err().message,
        "ReplicaSet in version \"v1\" cannot be handled as a ReplicaSet: strict decoding error: unknown field \"spec.nope\", \
         unknown field \"spec.template.spec.containers[0].imagee\""
    );
}

#[test]
fn sizes_are_limited() {
    let mut cluster = Cluster::with(Settings {
        max_object_bytes: 10_000,
        ..Settings::default()
    });
    let mut body = config_map("big");
    body["data"]["a"] = json!("x".repeat(9_000));
    cluster.create("configmaps", body);
    let status = cluster
        .patch(
            "configmaps",
            "big",
            PatchKind::Merge,
            json!({"data": {"b": "x".repeat(2_000)}}),
        )
        .unwrap_err();
    assert_eq!(
        (status.reason, status.code()),
        (Reason::RequestEntityTooLarge, 413)
    );
}

#[test]
fn pods_and_templates_keep_what_may_not_change() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("one"));
    cluster.merge(
        "pods",
        "one",
        json!({"spec": {"containers": [{"name": "app", "image": "app:2"}]}}),
    );
    let status = cluster
        .patch(
            "pods",
            "one",
            PatchKind::Merge,
            json!({"spec": {"dnsPolicy": "Default"}}),
        )
        .unwrap_err();
    assert_eq!(status.reason, Reason::Invalid);
    cluster.create("replicasets", replica_set("web"));
    let other = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": template("b")}});
    let status = cluster
        .patch("replicasets", "web", PatchKind::Merge, other)
        .unwrap_err();
    assert_eq!(
        status.message,
        "ReplicaSet.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"
    );
}

#[test]
fn events_have_two_forms_and_one_store() {
    let mut cluster = Cluster::new();
    let core = cluster
        .store
        .registry()
        .by_path("", "v1", "events")
        .unwrap()
        .clone();
    let new = cluster
        .store
        .registry()
        .by_path("events.k8s.io", "v1", "events")
        .unwrap()
        .clone();
    let body = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "hello", "reason": "Said",
        "type": "Normal", "regarding": {"kind": "Rollout", "name": "web", "namespace": "shop"},
        "reportingController": "tidegate", "eventTime": "2026-11-21T10:00:00.000000Z", "action": "Say",
    });
    cluster.send(Request::create(&new, "shop", body)).unwrap();
    let seen = cluster.store.get(&core, "shop", "e").unwrap();
    assert_eq!(
        (&seen["message"], &seen["involvedObject"]["name"]),
        (&json!("hello"), &json!("web"))
    );
    let patch = Request::patch(&new, "shop", "e", PatchKind::Merge, json!({"note": "again"}));
    assert_eq!(cluster.send(patch).unwrap()["note"], "again");
    assert_eq!(cluster.store.get(&core, "shop", "e").unwrap()["message"], "again");
    let list = Request::list(&core, "shop")
        .with(|o| o.field_selector = "involvedObject.name=web,type!=Warning".to_owned());
    assert_eq!(
        cluster.send(list).unwrap()["items"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn reviews_are_answered_and_not_kept() {
    let mut cluster = Cluster::new();
    let kind = cluster.kind("selfsubjectaccessreviews");
    let body =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}});
    let revision = cluster.store.revision();
    assert_eq!(
        cluster.send(Request::create(&kind, "", body)).unwrap()["status"]["allowed"],
        true
    );
    assert_eq!(cluster.store.revision(), revision);
}
