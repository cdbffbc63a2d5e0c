//! Owners, propagation and namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    reason = "a test fails by panicking, and its helpers read better so"
)]

#[path = "store_support/cluster.rs"]
mod cluster;

use cluster::{Cluster, config_map, owned, pod, replica_set, rollout};
use serde_json::{Value, json};
use tidegate_sim::store::{GARBAGE_COLLECTOR, Propagation, Reason, Request};

/// A Rollout with a ReplicaSet with a pod.
fn family(cluster: &mut Cluster, blocks: bool) {
    let parent = cluster.create("rollouts", rollout("web"));
    let child = cluster.create("replicasets", owned(replica_set("web-1"), &parent, blocks));
    cluster.create("pods", owned(pod("web-1-a"), &child, blocks));
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(
        there(cluster),
        ["web", "web-1", "web-1-a"],
        "nothing has lost its owner"
    );
}

fn there(cluster: &Cluster) -> Vec<&'static str> {
    [("rollouts", "web"), ("replicasets", "web-1"), ("pods", "web-1-a")]
        .into_iter()
        .filter(|(plural, name)| cluster.get(plural, name).is_some())
        .map(|(_, name)| name)
        .collect()
}

fn delete(cluster: &mut Cluster, propagation: Propagation) {
    let request = Request::delete(&cluster.kind("rollouts"), "shop", "web");
    cluster
        .send(request.with(|o| o.propagation = Some(propagation)))
        .unwrap();
}

#[test]
fn in_the_background_children_follow() {
    let mut cluster = Cluster::new();
    family(&mut cluster, true);
    delete(&mut cluster, Propagation::Background);
    assert_eq!(there(&cluster), ["web-1", "web-1-a"], "the owner goes at once");
    assert!(cluster.store.has_garbage());
    cluster.store.collect_garbage(cluster.now);
    assert_eq!(there(&cluster), ["web-1-a"], "one generation a round");
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(there(&cluster), Vec::<&str>::new());
    assert!(!cluster.store.has_garbage());
    let last = cluster.store.commits_since(0).last().unwrap();
    assert_eq!(
        (last.user.as_str(), last.verb.as_str()),
        (GARBAGE_COLLECTOR, "delete")
    );
}

#[test]
fn in_the_foreground_children_go_first() {
    let mut cluster = Cluster::new();
    family(&mut cluster, true);
    delete(&mut cluster, Propagation::Foreground);
    let waiting = cluster.get("rollouts", "web").unwrap();
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let mut order = vec![there(&cluster)];
    while cluster.store.collect_garbage(cluster.now) > 0 {
        let now = there(&cluster);
        if order.last() != Some(&now) {
            order.push(now);
        }
    }
    assert_eq!(
        order,
        [
            vec!["web", "web-1", "web-1-a"],
            vec!["web", "web-1"],
            vec!["web"],
            vec![]
        ]
    );
}

#[test]
fn orphans_stay_without_their_owner() {
    let mut cluster = Cluster::new();
    family(&mut cluster, true);
    delete(&mut cluster, Propagation::Orphan);
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(there(&cluster), ["web-1", "web-1-a"]);
    assert_eq!(
        cluster.get("replicasets", "web-1").unwrap()["metadata"].get("ownerReferences"),
        None
    );
}

#[test]
fn an_owner_that_never_was_is_no_owner() {
    let mut cluster = Cluster::new();
    let mut ghost = rollout("ghost");
    ghost["metadata"]["uid"] = json!("no-such-uid");
    cluster.create("replicasets", owned(replica_set("web-1"), &ghost, true));
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(
        there(&cluster),
        Vec::<&str>::new(),
        "as after restoring a dump without mapping the uids"
    );
}

#[test]
fn one_of_two_owners_is_enough() {
    let mut cluster = Cluster::new();
    let one = cluster.create("rollouts", rollout("one"));
    let two = cluster.create("configmaps", config_map("two"));
    let mut child = owned(replica_set("web-1"), &one, true);
    let second = owned(json!({"metadata": {}}), &two, false)["metadata"]["ownerReferences"][0].clone();
    let mut second: Value = second;
    second["controller"] = json!(false);
    child["metadata"]["ownerReferences"]
        .as_array_mut()
        .unwrap()
        .push(second);
    cluster.create("replicasets", child);
    cluster.delete("rollouts", "one").unwrap();
    cluster.store.collect_all_garbage(cluster.now);
    let kept = cluster.get("replicasets", "web-1").unwrap();
    assert_eq!(
        kept["metadata"]["ownerReferences"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(kept["metadata"]["ownerReferences"][0]["kind"], "ConfigMap");
    cluster.delete("configmaps", "two").unwrap();
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(there(&cluster), Vec::<&str>::new());
}

#[test]
fn a_namespace_takes_everything_with_it() {
    let mut cluster = Cluster::new();
    family(&mut cluster, true);
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.test/hold"]);
    cluster.create("configmaps", held);
    let kind = cluster.kind("namespaces");
    cluster.send(Request::delete(&kind, "", "shop")).unwrap();
    assert_eq!(
        cluster.get("namespaces", "shop").unwrap()["status"]["phase"],
        "Terminating"
    );
    let status = cluster.try_create("configmaps", config_map("late")).unwrap_err();
    assert_eq!(status.reason, Reason::Forbidden);
    assert_eq!(
        status.message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace shop because it is being terminated"
    );
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(there(&cluster), Vec::<&str>::new());
    assert!(
        cluster.get("namespaces", "shop").is_some(),
        "it waits for what a finalizer holds"
    );
    cluster.merge("configmaps", "held", json!({"metadata": {"finalizers": null}}));
    cluster.store.collect_all_garbage(cluster.now);
    assert_eq!(cluster.get("namespaces", "shop"), None);
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let mut cluster = Cluster::new();
    for name in ["a", "b", "c"] {
        let mut body = config_map(name);
        body["metadata"]["labels"] = json!({"keep": (name == "b").to_string()});
        cluster.create("configmaps", body);
    }
    let request = Request::delete_collection(&cluster.kind("configmaps"), "shop");
    cluster
        .send(request.with(|o| o.label_selector = "keep=false".to_owned()))
        .unwrap();
    let left: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .filter(|name| cluster.get("configmaps", name).is_some())
        .collect();
    assert_eq!(left, ["b"]);
}
