//! Many canaries that wait for somebody do not slow anybody down.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_crds::VerdictState;
use tidegate_gitsync::tree::Files;
use tidegate_sim::api::kinds;
use tidegate_sim::clock::EPOCH;
use tidegate_sim::forge::HOST;
use tidegate_sim::scenario::NAMESPACE;
use tidegate_sim::scenario::build::rollout;
use tidegate_sim::world::Work;

use crate::story::{DELIVERY, MAIN, Story, release};

/// The repository of all the others.
const OTHERS: &str = "shop/others";

fn files(count: usize, image: &str) -> Files {
    let one = |index| {
        let mut rollout = rollout(
            1,
            json!({"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}),
        );
        let name = format!("app-{index}");
        rollout["metadata"]["name"] = json!(name);
        rollout["spec"]["selector"] = json!({"matchLabels": {"app": name}});
        rollout["spec"]["template"]["metadata"]["labels"] = json!({"app": name});
        rollout["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        rollout
    };
    (0..count).fold(Files::new(), |files, index| {
        files.with(
            &format!("app-{index}/rollout.yaml"),
            &format!("{:#}\n", one(index)),
        )
    })
}

fn delivery(index: usize) -> Value {
    json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": format!("app-{index}"), "namespace": NAMESPACE},
        "spec": {"source": {"git": {"url": format!("{HOST}{OTHERS}.git"), "path": format!("app-{index}")}}},
    })
}

fn all(story: &Story, so: impl Fn(&Value) -> bool) -> bool {
    let store = story.world.store();
    let rollouts = &kinds::ROLLOUTS;
    let resource = store
        .registry()
        .by_kind(rollouts.api_version, rollouts.kind)
        .unwrap();
    let of_crowd = |object: &Value| {
        object["metadata"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("app-"))
    };
    store
        .objects(resource, NAMESPACE)
        .filter(|object| of_crowd(object))
        .all(|object| so(&object["status"]["phase"]))
}

/// What the release of another Delivery costs.
#[derive(Debug)]
struct Cost {
    work: Work,
    took: Duration,
}

fn cost(others: usize) -> Cost {
    let mut story = Story::crowded();
    let repository = story.world.forge.repository(OTHERS);
    repository.commit(MAIN, files(others, "shop:v1"), "First", EPOCH);
    for index in 0..others {
        story.create(&delivery(index));
    }
    story.begin(&json!({}), &release("v1"));
    story.wait("all run", |story| {
        story.is_ready() && all(story, |phase| *phase == "Healthy")
    });
    story.run_for(30);
    let now = story.world.now();
    let repository = story.world.forge.repository(OTHERS);
    repository.commit(MAIN, files(others, "shop:v2"), "Second", now);
    story.run_for(60);
    story.wait("all paused", |story| all(story, |phase| *phase == "Paused"));
    story.run_for(60);

    let work = |story: &Story| story.world.stats.deliveries[&format!("{NAMESPACE}/{DELIVERY}")];
    let before = work(&story);
    let pushed = story.world.now();
    let commit = story.push("Release 2", &release("v2"));
    while story.state_of(&commit) != VerdictState::Verified {
        story.world.run_for(SignedDuration::from_millis(10));
        assert!(
            story.world.now() < pushed + SignedDuration::from_mins(5),
            "never verified"
        );
    }
    let took = story.world.now().duration_since(pushed).unsigned_abs();
    story.run_for(20);
    let after = work(&story);
    let work = Work {
        looks: after.looks - before.looks,
        requests: after.requests - before.requests,
    };
    Cost { work, took }
}

#[test]
fn five_hundred_paused_canaries_do_not_slow_another_release() {
    let (alone, crowded) = (cost(0), cost(500));
    // how many changes of its Rollout one look sees is chance
    assert!(
        crowded.work.requests <= alone.work.requests + 3 && crowded.work.looks <= alone.work.looks + 3,
        "{alone:?} {crowded:?}"
    );
    assert!(
        crowded.took <= alone.took + Duration::from_secs(1),
        "{alone:?} {crowded:?}"
    );
}
