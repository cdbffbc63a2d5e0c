//! Watches, selectors, lists of the past and pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    reason = "a test fails by panicking, and its helpers read better so"
)]

#[path = "store_support/cluster.rs"]
mod cluster;

use cluster::{Cluster, config_map, pod, rollout};
use serde_json::{Value, json};
use tidegate_sim::store::{ChangeKind, Reason, Request, Selector, Settings};

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn a_watch_tells_what_happened_since() {
    let mut cluster = Cluster::new();
    let start = cluster.store.revision();
    cluster.create("rollouts", rollout("web"));
    cluster.create("configmaps", config_map("other-kind"));
    cluster.merge("rollouts", "web", json!({"spec": {"replicas": 4}}));
    cluster.delete("rollouts", "web").unwrap();
    let kind = cluster.kind("rollouts");
    let seen = |from: u64| {
        let events = cluster
            .store
            .events_since(&kind, "shop", &Selector::default(), from)
            .unwrap();
        events
            .iter()
            .map(|e| {
                (
                    e.kind,
                    e.revision - start,
                    e.object["spec"]["replicas"].as_i64(),
                    e.object["metadata"]["resourceVersion"]
                        .as_str()
                        .map(str::to_owned),
                )
            })
            .collect::<Vec<_>>()
    };
    let rv = |n: u64| Some((start + n).to_string());
    let all = vec![
        (ChangeKind::Added, 1, Some(3), rv(1)),
        (ChangeKind::Modified, 3, Some(4), rv(3)),
        (ChangeKind::Deleted, 4, Some(4), rv(4)),
    ];
    assert_eq!(seen(start), all);
    assert_eq!(seen(start + 1), all[1..]);
    assert_eq!(seen(start + 4), []);
    assert_eq!(
        cluster
            .store
            .events_since(&kind, "default", &Selector::default(), start)
            .unwrap(),
        []
    );
    let future = cluster
        .store
        .events_since(&kind, "", &Selector::default(), start + 99)
        .unwrap_err();
    assert_eq!((future.reason, future.code()), (Reason::Timeout, 504));
}

#[test]
fn a_selector_makes_objects_come_and_go() {
    let mut cluster = Cluster::new();
    let start = cluster.store.revision();
    cluster.create("rollouts", rollout("web"));
    cluster.merge(
        "rollouts",
        "web",
        json!({"metadata": {"labels": {"app": "other"}}}),
    );
    cluster.merge(
        "rollouts",
        "web",
        json!({"metadata": {"labels": {"app": "web", "x": "y"}}}),
    );
    let kind = cluster.kind("rollouts");
    let selector = Selector::parse(&kind, "app=web", "").unwrap();
    let events = cluster.store.events_since(&kind, "", &selector, start).unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e.kind, e.object["metadata"]["labels"]["app"].clone()))
        .collect();
    assert_eq!(
        seen,
        [
            (ChangeKind::Added, json!("web")),
            (ChangeKind::Deleted, json!("web")),
            (ChangeKind::Added, json!("web"))
        ],
        "the one who watches is told of the state that it knew"
    );
}

#[test]
fn what_is_compacted_is_gone() {
    let mut cluster = Cluster::new();
    let kind = cluster.kind("rollouts");
    cluster.create("rollouts", rollout("web"));
    let first = cluster.store.revision();
    cluster.merge("rollouts", "web", json!({"spec": {"replicas": 4}}));
    cluster.merge("rollouts", "web", json!({"spec": {"replicas": 5}}));
    cluster.store.compact(first + 1);
    let status = cluster
        .store
        .events_since(&kind, "", &Selector::default(), first)
        .unwrap_err();
    assert_eq!(
        (status.code(), status.to_value()["reason"].as_str()),
        (410, Some("Expired"))
    );
    assert_eq!(
        status.message,
        format!("too old resource version: {first} ({})", first + 1)
    );
    assert_eq!(
        cluster
            .store
            .events_since(&kind, "", &Selector::default(), first + 1)
            .unwrap()
            .len(),
        1
    );
    let status = cluster
        .store
        .list_at(&kind, "", &Selector::default(), first)
        .unwrap_err();
    assert_eq!(
        status.message,
        "The resourceVersion for the provided list is too old."
    );
    assert_eq!(
        cluster.get("rollouts", "web").unwrap()["spec"]["replicas"],
        5,
        "objects stay"
    );
}

#[test]
fn old_history_goes_by_itself() {
    let mut cluster = Cluster::with(Settings {
        history: 40,
        ..Settings::default()
    });
    cluster.create("rollouts", rollout("web"));
    let start = cluster.store.revision();
    for replicas in 10..100 {
        cluster.merge("rollouts", "web", json!({"spec": {"replicas": replicas}}));
    }
    assert!(cluster.store.commits_since(0).count() <= 40);
    let kind = cluster.kind("rollouts");
    assert_eq!(
        cluster
            .store
            .events_since(&kind, "", &Selector::default(), start)
            .unwrap_err()
            .code(),
        410
    );
    let recent = cluster.store.revision() - 20;
    assert_eq!(
        cluster
            .store
            .events_since(&kind, "", &Selector::default(), recent)
            .unwrap()
            .len(),
        20
    );
}

#[test]
fn a_list_of_the_past_is_the_state_of_then() {
    let mut cluster = Cluster::new();
    let kind = cluster.kind("rollouts");
    let mut states = Vec::new();
    let mut remember = |cluster: &Cluster| {
        let now: Vec<Value> = cluster.store.objects(&kind, "").map(|o| (*o).clone()).collect();
        states.push((cluster.store.revision(), now));
    };
    remember(&cluster);
    for step in 0..6 {
        match step {
            0 | 4 => drop(cluster.create("rollouts", rollout("a"))),
            1 => drop(cluster.create("rollouts", rollout("b"))),
            2 => drop(cluster.merge("rollouts", "a", json!({"spec": {"replicas": 9}}))),
            3 => drop(cluster.delete("rollouts", "a").unwrap()),
            _ => drop(cluster.delete("rollouts", "b").unwrap()),
        }
        remember(&cluster);
    }
    for (revision, state) in states {
        let list = cluster
            .store
            .list_at(&kind, "shop", &Selector::default(), revision)
            .unwrap();
        assert_eq!(
            list.items.iter().map(|o| (**o).clone()).collect::<Vec<_>>(),
            state,
            "at {revision}"
        );
        let request = Request::list(&kind, "shop").with(|o| {
            o.resource_version = Some(revision);
            o.exact = true;
        });
        assert_eq!(
            cluster.send(request).unwrap()["metadata"]["resourceVersion"],
            revision.to_string()
        );
    }
}

#[test]
fn pages_show_one_state() {
    let mut cluster = Cluster::new();
    for name in ["a", "b", "c", "d", "e"] {
        cluster.create("configmaps", config_map(name));
    }
    let kind = cluster.kind("configmaps");
    let page = |cluster: &mut Cluster, token: &str| {
        cluster.send(Request::list(&kind, "shop").with(|o| {
            o.limit = 2;
            o.continue_token = token.to_owned();
        }))
    };
    let first = page(&mut cluster, "").unwrap();
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a", "b"], &json!(3))
    );
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    cluster.delete("configmaps", "c").unwrap();
    cluster.create("configmaps", config_map("cc"));
    let second = page(&mut cluster, &token).unwrap();
    assert_eq!(names(&second), ["c", "d"], "the state of the first page");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let third = page(&mut cluster, second["metadata"]["continue"].as_str().unwrap()).unwrap();
    assert_eq!(
        (names(&third), third["metadata"].get("continue")),
        (vec!["e"], None)
    );
    cluster.store.compact(cluster.store.revision());
    let status = page(&mut cluster, &token).unwrap_err();
    assert_eq!(
        (
            status.code(),
            status
                .message
                .starts_with("The provided continue parameter is too old")
        ),
        (410, true)
    );
}

#[test]
fn label_selectors() {
    let mut cluster = Cluster::new();
    for (name, labels) in [
        ("a", json!({"app": "x", "tier": "web"})),
        ("b", json!({"app": "y"})),
        ("c", json!({})),
    ] {
        let mut body = config_map(name);
        body["metadata"]["labels"] = labels;
        cluster.create("configmaps", body);
    }
    let cases: &[(&str, &[&str])] = &[
        ("", &["a", "b", "c"]),
        ("app=x", &["a"]),
        ("app==y", &["b"]),
        ("app!=x", &["b", "c"]),
        ("app", &["a", "b"]),
        ("!app", &["c"]),
        ("app in (x, y)", &["a", "b"]),
        ("app in (x,y),tier=web", &["a"]),
        ("app notin (x)", &["b", "c"]),
        ("tier,app notin (z),app=x", &["a"]),
    ];
    let kind = cluster.kind("configmaps");
    for (selector, expected) in cases {
        let request = Request::list(&kind, "shop").with(|o| o.label_selector = (*selector).to_owned());
        assert_eq!(names(&cluster.send(request).unwrap()), *expected, "{selector}");
    }
    for wrong in ["app in x", "=", "a b", "app in (x"] {
        let request = Request::list(&kind, "shop").with(|o| o.label_selector = wrong.to_owned());
        assert_eq!(cluster.send(request).unwrap_err().code(), 400, "{wrong}");
    }
}

#[test]
fn field_selectors() {
    let mut cluster = Cluster::new();
    for name in ["a", "b"] {
        cluster.create("pods", pod(name));
    }
    cluster.merge("pods", "a", json!({"spec": {"nodeName": "node-1"}}));
    let kind = cluster.kind("pods");
    let cases: &[(&str, &[&str])] = &[
        ("metadata.name=a", &["a"]),
        ("metadata.namespace=shop,metadata.name!=a", &["b"]),
        ("spec.nodeName=node-1", &["a"]),
        ("spec.nodeName=", &["b"]),
        ("status.phase=Pending", &["a", "b"]),
        ("metadata.name=none", &[]),
    ];
    for (selector, expected) in cases {
        let request = Request::list(&kind, "shop").with(|o| o.field_selector = (*selector).to_owned());
        assert_eq!(names(&cluster.send(request).unwrap()), *expected, "{selector}");
    }
    let kind = cluster.kind("rollouts");
    let status = cluster
        .send(Request::list(&kind, "shop").with(|o| o.field_selector = "spec.replicas=3".to_owned()))
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message.as_str()),
        (400, "field label not supported: spec.replicas")
    );
}

#[test]
fn every_commit_says_who_changed_what() {
    let mut cluster = Cluster::new();
    let start = cluster.store.revision();
    let request = Request::create(&cluster.kind("rollouts"), "shop", rollout("web")).by("alice");
    cluster.send(request).unwrap();
    cluster.merge("rollouts", "web", json!({"spec": {"replicas": 4}}));
    let log: Vec<_> = cluster
        .store
        .commits_since(start)
        .map(|c| {
            let replicas =
                |o: &Option<std::sync::Arc<Value>>| o.as_ref().and_then(|o| o["spec"]["replicas"].as_i64());
            (
                c.user.as_str(),
                c.verb.as_str(),
                c.resource.plural.as_str(),
                c.name.as_str(),
                replicas(&c.before),
                replicas(&c.after),
            )
        })
        .collect();
    assert_eq!(
        log,
        [
            ("alice", "create", "rollouts", "web", None, Some(3)),
            ("admin", "patch", "rollouts", "web", Some(3), Some(4))
        ]
    );
}
