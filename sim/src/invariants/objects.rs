//! Other objects: owners and leftovers (S11), flapping (S12), revisions (S15), reach (S19).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use tidegate_crds::labels::INSTANCE_ID_LABEL;

use super::facts::{Facts, HASH};
use super::{Judge, Scene, is_free, named};
use crate::actors::{controller_of, is_kind, kind_of, object_of, text, uid_of};
use crate::planes::{PLANES, is_route};
use crate::store::Commit;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Counts changes of what decisions depend on.
    inputs: u64,
    /// Counts the Services that the controller pointed elsewhere.
    switches: u64,
    /// Values that the controller wrote, by field, with what they depended on and whether it had old news, newest last.
    values: BTreeMap<String, Vec<(Seen, String, bool)>>,
}

/// What a value depended on: inputs, switches, whether a deadline had passed.
type Seen = (u64, u64, bool);

impl Judge {
    /// S11, S19: what the controller makes has an owner, and it touches only what is a Rollout's.
    pub(super) fn objects_of_nobody(&mut self, commit: &Commit) {
        let object = object_of(commit);
        if is_free(kind_of(commit)) {
            return;
        }
        self.active("S19");
        if !self.is_of_a_rollout(commit, object) {
            self.violated(
                "S19",
                commit,
                format!("{} belongs to no Rollout of its namespace", named(commit)),
            );
        }
        if commit.before.is_none() {
            self.active("S11");
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
            let right = controller_of(object).is_some_and(|owner| {
                let found = self
                    .picture
                    .get(text(&owner["kind"]), &commit.namespace, text(&owner["name"]));
                let is_there = found.is_some_and(|found| owner["uid"] == *uid_of(found));
                is_there || self.uids.contains(text(&owner["uid"]))
            });
            if controllers != 1 || !right {
                self.violated(
                    "S11",
                    commit,
                    format!("{} was made without its one owner", named(commit)),
                );
            }
        }
    }

    /// S19: what a Rollout of another instance owns or manages is left alone.
    pub(super) fn objects_of_others(&mut self, commit: &Commit) {
        let Some(instance) = self.instances.get(&commit.user) else {
            return;
        };
        let before = commit.before.as_deref().unwrap_or_else(|| object_of(commit));
        let annotations = &before["metadata"]["annotations"];
        let manager = &annotations["argo-rollouts.argoproj.io/managed-by-rollouts"];
        let owner = controller_of(before);
        let is_theirs = |rollout: &Value| {
            let is_of = owner.is_some_and(|owner| owner["uid"] == *uid_of(rollout))
                || is_kind(commit, "Service") && rollout["metadata"]["name"] == *manager
                || is_kind(commit, "Rollout") && rollout["metadata"]["name"] == *commit.name;
            is_of && rollout["metadata"]["labels"][INSTANCE_ID_LABEL].as_str() != instance.as_deref()
        };
        // The answer that there is no such Rollout may be as old as a request may take.
        let oldest = commit.at - self.window;
        let is_young = |rollout: &Value| {
            let created = text(&rollout["metadata"]["creationTimestamp"]).parse::<Timestamp>();
            created.is_ok_and(|created| created > oldest)
        };
        let theirs = self
            .picture
            .all("Rollout", &commit.namespace)
            .any(|rollout| is_theirs(rollout) && !is_young(rollout));
        if theirs {
            let what = format!("{} is another instance's", named(commit));
            self.violated("S19", commit, what);
        }
    }

    fn is_of_a_rollout(&self, commit: &Commit, object: &Value) -> bool {
        let rollouts: Vec<_> = self.picture.all("Rollout", &commit.namespace).collect();
        let owned = controller_of(object).is_some_and(|owner| {
            self.uids.contains(text(&owner["uid"]))
                || matches!(text(&owner["kind"]), "AnalysisRun" | "ReplicaSet")
        });
        let name = commit.name.as_str();
        match kind_of(commit) {
            "Rollout" => true,
            "Service" => {
                let managed = |o: &Value| {
                    o["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"].is_string()
                };
                let named = rollouts
                    .iter()
                    .any(|r| named_services(r).any(|named| named == name));
                // news of another strategy may be on its way
                let was_named = self.services.contains(name);
                named || was_named || commit.before.as_deref().is_some_and(managed)
            }
            kind if is_route(kind) => {
                let mut planes = PLANES.iter().filter(|plane| plane.kind == kind);
                owned || planes.any(|plane| rollouts.iter().any(|rollout| plane.object_of(rollout) == name))
            }
            "Deployment" => rollouts.iter().any(|r| r["spec"]["workloadRef"]["name"] == *name),
            _ => owned,
        }
    }

    pub(super) fn judge_objects(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        self.revisions_rise(scene);
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let counters = |facts: &Facts| -> Vec<i64> { facts.versions.values().map(|v| v.available).collect() };
        let theirs = !scene.ours && !is_kind(commit, "Pod") && commit.user != crate::store::GARBAGE_COLLECTOR;
        let input = (theirs
            && (is_kind(commit, "Rollout") || is_kind(commit, "AnalysisRun") || is_kind(commit, "Service")))
            || counters(before) != counters(after)
            || decided(before) != decided(after)
            || before.rollout["spec"] != after.rollout["spec"];
        if input {
            memory.inputs += 1;
        }
        if !scene.ours {
            return;
        }
        self.flapping(scene, memory);
    }

    /// S12: nothing that is written goes there and back while what it depends on is the same.
    fn flapping(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let mut written: Vec<(Seen, String, String)> = Vec::new();
        let mut named = named_services(&after.rollout);
        if is_kind(commit, "Service") && named.any(|name| name == commit.name) {
            let hash = |o: &Value| text(&o["spec"]["selector"][HASH]).to_owned();
            if let (Some(old), Some(new)) = (&commit.before, &commit.after)
                && hash(old) != hash(new)
            {
                memory.switches += 1;
                written.push((
                    (memory.inputs, 0, false),
                    format!("selector of Service {}", commit.name),
                    hash(new),
                ));
            }
        }
        if before.weight != after.weight {
            // A weight goes to whatever version the canary Service selects: another one is another weight.
            let seen = (memory.inputs, memory.switches, false);
            written.push((
                seen,
                format!("weight of {} {}", kind_of(commit), commit.name),
                after.weight.to_string(),
            ));
        }
        for (hash, version) in &after.versions {
            if before
                .versions
                .get(hash)
                .is_some_and(|old| old.wanted != version.wanted)
            {
                let size = version.wanted.to_string();
                // that a deadline has passed changes something, too
                let seen = (memory.inputs, 0, after.is_late(commit.at));
                written.push((seen, format!("size of {}", version.name), size));
            }
        }
        if written.is_empty() {
            return;
        }
        // What was decided on old news is put right by what comes next.
        let available =
            |facts: &Facts| -> Vec<i64> { facts.versions.values().map(|v| v.available).collect() };
        let known = Facts::of(&self.known_to(scene), &after.namespace, &after.name);
        let old_news = known
            .is_none_or(|known| available(&known) != available(before) || decided(&known) != decided(before));
        for (seen, field, value) in written {
            self.active("S12");
            let values = memory.values.entry(field.clone()).or_default();
            values.push((seen, value.clone(), old_news));
            if let [.., (then, first, _), (_, other, excused), (now, _, _)] = values.as_slice()
                && first == &value
                && other != &value
                && then == now
                && !excused
                && !old_news
                && self.one_leader
            {
                let what = format!("{field} went from {value} to {other} and back, and nothing had changed");
                self.violated("S12", commit, what);
            }
        }
    }

    /// S15: a new version has the highest revision.
    fn revisions_rise(&mut self, scene: &Scene<'_>) {
        if !scene.ours || !is_kind(scene.commit, "ReplicaSet") || scene.commit.after.is_none() {
            return;
        }
        let find = |facts: &Facts| {
            facts
                .versions
                .values()
                .find(|v| v.name == scene.commit.name)
                .map(|v| v.revision)
        };
        let (old, Some(new)) = (find(scene.before), find(scene.after)) else {
            return;
        };
        if old == Some(new) {
            return;
        }
        self.active("S15");
        // One that it had not heard of gets another number by the next look.
        let known = Facts::of(&self.known_to(scene), &scene.after.namespace, &scene.after.name);
        let others = known.iter().flat_map(|known| known.versions.values());
        let others = others.filter(|v| v.name != scene.commit.name);
        let highest = others.map(|v| v.revision).max().unwrap_or(0);
        // So does what a former leader asked for when it still led.
        if new <= highest && self.one_leader {
            let what = format!("{} has revision {new}, another has {highest}", scene.commit.name);
            self.violated("S15", scene.commit, what);
        }
    }

    /// S11 at rest: nothing is left over.
    pub fn leftovers(&self, namespace: &str) -> Vec<String> {
        let mut left = Vec::new();
        let names = self.picture.rollouts(namespace);
        let all: Vec<Facts> = names
            .iter()
            .filter_map(|name| Facts::of(&self.picture, namespace, name))
            .collect();
        let uids: BTreeSet<&str> = all.iter().map(|facts| uid_of(&facts.rollout)).collect();
        let routes = PLANES.iter().map(|plane| plane.kind);
        for kind in ["ReplicaSet", "AnalysisRun", "Ingress"].into_iter().chain(routes) {
            for object in self.picture.all(kind, namespace) {
                if let Some(owner) = controller_of(object)
                    && owner["kind"] == "Rollout"
                    && !uids.contains(text(&owner["uid"]))
                {
                    left.push(format!(
                        "{kind} {} outlived its Rollout",
                        text(&object["metadata"]["name"])
                    ));
                }
            }
        }
        for facts in &all {
            let limit = facts.rollout["spec"]["revisionHistoryLimit"]
                .as_i64()
                .unwrap_or(10);
            let others: Vec<_> = facts
                .versions
                .iter()
                .filter(|(hash, _)| *hash != facts.stable() && *hash != facts.current())
                .collect();
            for (_, version) in others.iter().filter(|(_, v)| v.wanted > 0) {
                left.push(format!("{} still wants {} pods", version.name, version.wanted));
            }
            let stable = facts.versions.get(facts.stable());
            if facts.status()["phase"] == "Healthy"
                && let Some(stable) = stable.filter(|v| v.wanted != facts.replicas)
            {
                left.push(format!(
                    "{} wants {} pods, the Rollout {}",
                    stable.name, stable.wanted, facts.replicas
                ));
            }
            if others.len() as i64 > limit {
                left.push(format!("{} old ReplicaSets, {limit} may be kept", others.len()));
            }
            let named: BTreeSet<&str> = ["canary", "blueGreen"]
                .iter()
                .filter_map(|strategy| facts.status()[*strategy].as_object())
                .flat_map(|fields| fields.values())
                .map(|field| text(&field["name"]))
                .collect();
            for run in self.picture.all("AnalysisRun", namespace) {
                let name = text(&run["metadata"]["name"]);
                let mine = controller_of(run).is_some_and(|owner| owner["uid"] == *uid_of(&facts.rollout));
                if mine && !super::runs::is_completed(run) && !named.contains(name) {
                    left.push(format!("{name} runs and nobody waits for it"));
                }
            }
        }
        left
    }
}

/// What a status says that sizes, weights and selectors depend on.
fn decided(facts: &Facts) -> [Value; 6] {
    let status = facts.status();
    let own = [
        "abort",
        "promoteFull",
        "stableRS",
        "currentPodHash",
        "currentStepIndex",
        "pauseConditions",
    ];
    own.map(|field| status[field].clone())
}

/// Names of the Services in a Rollout's spec.
pub(super) fn named_services(rollout: &Value) -> impl Iterator<Item = String> {
    let strategy = &rollout["spec"]["strategy"];
    let names = [
        &strategy["canary"]["stableService"],
        &strategy["canary"]["canaryService"],
        &strategy["blueGreen"]["activeService"],
        &strategy["blueGreen"]["previewService"],
    ];
    names
        .map(|name| text(name).to_owned())
        .into_iter()
        .filter(|name| !name.is_empty())
}
