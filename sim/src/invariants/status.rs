//! The status and who writes it: S8, S10.

use std::collections::BTreeSet;

use serde_json::Value;

use super::facts::Facts;
use super::{Judge, Scene};
use crate::actors::is_kind;
use crate::store::value::Fields as _;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Writes of others: revision and the fields that they changed.
    writes: Vec<(u64, BTreeSet<&'static str>)>,
}

/// Fields that clients write and that must not be lost (S8).
const INTENTS: [&str; 9] = [
    "/status/pauseConditions",
    "/status/abort",
    "/status/promoteFull",
    "/status/currentStepIndex",
    "/spec/replicas",
    "/spec/template",
    "/spec/strategy",
    "/spec/paused",
    "/spec/restartAt",
];

fn changed(before: &Value, after: &Value) -> BTreeSet<&'static str> {
    INTENTS
        .into_iter()
        .filter(|path| before.field(path) != after.field(path))
        .collect()
}

fn observed(facts: &Facts) -> i64 {
    facts.status()["observedGeneration"]
        .as_str()
        .and_then(|g| g.parse().ok())
        .unwrap_or(0)
}

impl Judge {
    pub(super) fn judge_status(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        if !is_kind(scene.commit, "Rollout") || scene.commit.name != scene.after.name {
            return;
        }
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let fields = changed(&before.rollout, &after.rollout);
        if !scene.ours {
            if !fields.is_empty() {
                memory.writes.push((commit.revision, fields));
            }
            return;
        }
        let heard = |revision: u64| {
            let known = scene.cause.map(|cause| &cause.known);
            known.is_some_and(|known| known.has("Rollout", &after.namespace, &after.name, revision))
        };
        for (revision, theirs) in memory.writes.iter().filter(|(revision, _)| !heard(*revision)) {
            self.active("S8");
            let lost: Vec<_> = fields.intersection(theirs).copied().collect();
            if !lost.is_empty() {
                let what = format!(
                    "{} written over, which revision {revision} had changed unseen",
                    lost.join(", ")
                );
                self.violated("S8", commit, what);
            }
        }
        memory.writes.retain(|(revision, _)| !heard(*revision));
        self.active("S10");
        let generation = after.rollout["metadata"]["generation"].as_i64().unwrap_or(0);
        if observed(after) < observed(before) || observed(after) > generation {
            let what = format!(
                "observedGeneration {} after {} of {generation}",
                observed(after),
                observed(before)
            );
            self.violated("S10", commit, what);
        }
        let healthy = |facts: &Facts| facts.status()["phase"] == "Healthy";
        if healthy(after) && !healthy(before) {
            let served = self.was_so(scene, |facts| {
                facts.versions.get(after.stable()).map_or(0, |v| v.available) >= facts.replicas
            });
            if !served || after.stable() != after.current() {
                self.violated(
                    "S10",
                    commit,
                    format!("Healthy, but {} is not fully available", after.stable()),
                );
            }
            if observed(after) == generation
                && let Some(version) = after.versions.get(after.stable())
                && let Some(set) = self.picture.get("ReplicaSet", &after.namespace, &version.name)
                && after.rollout["spec"]["workloadRef"].is_null()
            {
                let image = |o: &Value| o["spec"]["template"]["spec"]["containers"][0]["image"].clone();
                if image(&after.rollout) != image(set) {
                    let what = format!(
                        "Healthy with {}, but the spec wants {}",
                        image(set),
                        image(&after.rollout)
                    );
                    self.violated("S10", commit, what);
                }
            }
        }
    }
}
