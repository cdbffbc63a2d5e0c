//! Traffic and capacity: S1, S2, S3, S4, S5, S17.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::facts::{Facts, HASH, Picture, Strategy};
use super::{Failing, Judge, Past, Scene};
use crate::actors::{controller_of, is_kind, kind_of, object_of, text};
use crate::dataplane::{DataPlane, Route};
use crate::planes::is_route;
use crate::store::Commit;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When a version last had requests, and how the Rollout updated then; an intermediate version is promised nothing.
    last_traffic: BTreeMap<String, Served>,
    /// Versions that have been stable.
    was_stable: BTreeSet<String>,
}

/// Share of requests by hash as the data plane routes now.
pub(super) fn routed(facts: &Facts, dataplane: &DataPlane) -> BTreeMap<String, f64> {
    let config = dataplane.config();
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    let mut send = |service: &str, share: f64| {
        let pods = config.endpoints(&format!("{}/{service}", facts.namespace));
        for pod in pods {
            let name = pod.split_once('/').map_or("", |(_, name)| name);
            let version = facts
                .versions
                .iter()
                .find(|(_, v)| name.rsplit_once('-').is_some_and(|(set, _)| set == v.name));
            if let Some((hash, _)) = version {
                *shares.entry(hash.clone()).or_default() += share / pods.len() as f64;
            }
        }
    };
    match facts.strategy {
        Strategy::BlueGreen => {
            send(
                facts.rollout["spec"]["strategy"]["blueGreen"]["activeService"]
                    .as_str()
                    .unwrap_or_default(),
                1.0,
            );
        }
        Strategy::RoutedCanary => {
            let canary = &facts.rollout["spec"]["strategy"]["canary"];
            let stable = canary["stableService"].as_str().unwrap_or_default();
            let routes = config
                .routes()
                .filter(|((namespace, ..), route)| *namespace == facts.namespace && route.service == stable);
            // several routes of one Rollout change one after the other: the largest share of each side counts
            let share = |route: &Route| {
                let side = route.canary.as_ref();
                side.map_or(0.0, |side| side.weight.min(side.total) as f64 / side.total as f64)
            };
            let shares: Vec<f64> = routes.map(|(_, route)| share(route)).collect();
            let most = shares.iter().copied().fold(0.0, f64::max);
            let least = shares.into_iter().fold(most, f64::min);
            send(stable, 1.0 - least);
            send(canary["canaryService"].as_str().unwrap_or_default(), most);
        }
        Strategy::Canary | Strategy::None => {}
    }
    for share in shares.values_mut() {
        *share = share.min(1.0);
    }
    shares
}

/// Whether a commit may change where requests go.
fn routes(commit: &Commit) -> bool {
    is_kind(commit, "Service") || is_kind(commit, "Ingress") || is_route(kind_of(commit))
}

/// When a version last had requests, and what was promised then.
#[derive(Debug)]
struct Served {
    last: Timestamp,
    strategy: Strategy,
    stable: bool,
    /// How long it is to be kept, and how long if it is taken back.
    delays: [SignedDuration; 2],
}

impl Judge {
    pub(super) fn judge_traffic(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        self.no_black_hole(scene);
        self.enough_for_the_traffic(scene);
        self.carried(scene);
        self.enough_capacity(scene);
        self.schedule(scene);
        self.abort_is_one_way(scene);
        self.a_pause_releases_nothing(scene);
        self.nobody_takes_over(scene);
        self.drain_delay(scene, memory);
        let Scene {
            commit,
            before,
            after,
            ..
        } = scene;
        // A Service that selects no version sends to all of them: that is no promise to any.
        let selected = |hash: &str| before.selected.values().any(|selected| selected == hash);
        for hash in before.shares.keys().filter(|hash| selected(hash)) {
            let served = Served {
                last: commit.at,
                strategy: before.strategy,
                stable: hash == before.stable(),
                delays: [delay(before, false), delay(before, true)],
            };
            memory.last_traffic.insert(hash.clone(), served);
        }
        for served in memory.last_traffic.values_mut() {
            // A strategy in between may have had a shorter one.
            for (delay, aborted) in served.delays.iter_mut().zip([false, true]) {
                *delay = (*delay).min(self::delay(after, aborted));
            }
        }
        if !after.stable().is_empty() {
            memory.was_stable.insert(after.stable().to_owned());
        }
        if after.current() != after.stable() {
            // One that is released again is an update like any other, and may be replaced like one.
            memory.was_stable.remove(after.current());
        }
    }

    /// S1: no traffic to a version without available pods.
    fn no_black_hole(&mut self, scene: &Scene<'_>) {
        // A ReplicaSet that grows sends no requests anywhere.
        let takes =
            lowered(scene).is_some() || is_kind(scene.commit, "ReplicaSet") && scene.commit.after.is_none();
        if !scene.ours || !(routes(scene.commit) || takes) {
            return;
        }
        if gives_back(scene) && !others_answer(scene) {
            return;
        }
        self.active("S1");
        self.convict("S1", scene, |facts| {
            let mut failing = Failing::new();
            let nobody = facts.versions.values().all(|v| v.available.min(v.wanted) == 0);
            // Without a pod to spare the old version has to go first.
            let spares = facts.strategy != Strategy::Canary || facts.limits().1 > 0;
            if facts.replicas == 0 || nobody || !spares {
                return failing;
            }
            let selected = facts.selected.values().chain(facts.shares.keys());
            for hash in selected {
                let available = facts.versions.get(hash).map_or(0, |v| v.available.min(v.wanted));
                if available == 0 {
                    let share = facts.shares.get(hash).copied().unwrap_or(0.0);
                    let percent = (share * 100.0).round();
                    let what = format!("requests ({percent} %) go to {hash}, which has no available pods");
                    failing.insert(hash.clone(), what);
                }
            }
            failing
        });
    }

    /// Whether the controller had heard of every change of a route when it decided: with another leader, a weight may have come and gone.
    fn has_heard_of_routes(&self, scene: &Scene<'_>) -> bool {
        let Some(cause) = scene.cause else { return true };
        let routes = |past: &&Past| is_kind(&past.commit, "Ingress") || is_route(kind_of(&past.commit));
        let mut changes = self.past.iter().filter(routes);
        changes.all(|past| past.id.is_known(&cause.known, past.commit.revision))
    }

    /// S2: who serves stays large enough for what it serves.
    fn enough_for_the_traffic(&mut self, scene: &Scene<'_>) {
        let Some(hash) = lowered(scene) else { return };
        let strategy = scene.after.strategy;
        if strategy == Strategy::Canary {
            return;
        }
        self.active("S2");
        // With a clock that jumps nobody knows how long ago a route was changed.
        let steady = self.clock_is_steady;
        // Nor how it is routed by what somebody else has just changed.
        let known = Facts::of(&self.known_to(scene), &scene.after.namespace, &scene.after.name);
        let heard =
            known.is_none_or(|known| known.shares == scene.before.shares) && self.has_heard_of_routes(scene);
        let routed = scene
            .routed
            .get(&hash)
            .copied()
            .filter(|_| steady && heard)
            .unwrap_or(0.0);
        self.convict("S2", scene, |facts| {
            let mut failing = Failing::new();
            let Some(version) = facts.versions.get(&hash) else {
                return failing;
            };
            // The data plane was asked by the strategy of today.
            if facts.strategy != strategy || facts.has_own_scale() && hash == facts.current() {
                return failing;
            }
            let share = facts.shares.get(&hash).copied().unwrap_or(0.0).max(routed);
            let mut needed = (facts.replicas as f64 * share - 1e-9).ceil() as i64;
            let dynamic = facts.rollout["spec"]["strategy"]["canary"]["dynamicStableScale"] == true;
            if facts.strategy == Strategy::RoutedCanary && !dynamic && hash == facts.stable() {
                needed = facts.replicas;
            }
            // what fails is how much it is lowered, so the state before (more) never fails alike
            if version.wanted < needed {
                let percent = (share * 100.0).round();
                let what = format!(
                    "{} has {percent} % of the requests and needs {needed} pods, not {}",
                    version.name, version.wanted
                );
                failing.insert(format!("{hash} {}", version.wanted), what);
            }
            failing
        });
    }

    /// S2: who gets more requests can carry them: a new version always, the stable one when it is made to shrink.
    fn carried(&mut self, scene: &Scene<'_>) {
        let Scene { before, after, .. } = scene;
        let canary = &after.rollout["spec"]["strategy"]["canary"];
        let routes = routes(scene.commit);
        let own_size = !canary["replicaProgressThreshold"].is_null()
            || after
                .steps()
                .iter()
                .any(|step| step["setCanaryScale"].is_object());
        let composed = matches!(after.strategy, Strategy::RoutedCanary | Strategy::BlueGreen);
        if !scene.ours || !routes || !composed || own_size {
            return;
        }
        let dynamic = canary["dynamicStableScale"] == true;
        self.active("S2");
        let stable_service = text(&canary["stableService"]);
        let share = |facts: &Facts, hash: &str| {
            let share = facts.shares.get(hash).copied().unwrap_or(0.0);
            // What a stable Service without a selector sends to every version depends on no weight.
            let spread =
                facts.strategy == Strategy::RoutedCanary && !facts.selected.contains_key(stable_service);
            let most = if spread {
                facts.weight as f64 / facts.total as f64
            } else {
                1.0
            };
            share.min(most)
        };
        if gives_back(scene) || is_put_back(scene.commit) {
            return;
        }
        // Whatever carries them is better than pods that are not there, or a Service that is gone.
        let serves = |hash: &String| after.versions.get(hash).is_some_and(|v| v.available > 0);
        let answered: f64 = before.shares.values().sum();
        if !before.shares.keys().all(serves) || answered < 1.0 - 1e-9 {
            return;
        }
        // Nor has the weight all to say where the stable Service was never switched, because nobody of that version could answer.
        let stable_service = after.selected.get(text(&canary["stableService"]));
        if !is_kind(scene.commit, "Service") && stable_service.is_some_and(String::is_empty) {
            return;
        }
        // A Service that sent requests to every version keeps those from the new one that the stable version gets.
        let every = text(&scene.commit.before.as_deref().unwrap_or(&Value::Null)["spec"]["selector"][HASH]);
        let taken_over = is_kind(scene.commit, "Service") && every.is_empty();
        let dynamic = dynamic && !taken_over;
        // Nor does it do harm that they come from fewer pods than they go to, as after a promotion that came just before a larger size.
        let serving = |hash: &str| after.versions.get(hash).map_or(0, |v| v.available.min(v.wanted));
        let better = |hash: &&String| is_kind(scene.commit, "Service") && serving(every) <= serving(hash);
        let more: Vec<String> = after
            .shares
            .keys()
            .filter(|hash| taken_over || !better(hash))
            .filter(|hash| share(after, hash) > share(before, hash) + 1e-9)
            .filter(|hash| dynamic || *hash == after.current() && *hash != after.stable())
            .cloned()
            .collect();
        // Those that a restart takes are missing for a moment.
        let restarts = after.rollout["spec"]["restartAt"] != before.status()["restartedAt"];
        self.convict("S2", scene, |facts| {
            let mut failing = Failing::new();
            let spare = if restarts { facts.limits().0.max(1) } else { 0 };
            for hash in &more {
                let needed = (facts.replicas as f64 * share(facts, hash) + 1e-9).floor() as i64 - spare;
                let available = facts.versions.get(hash).map_or(0, |v| v.available.min(v.wanted));
                if available < needed {
                    let percent = (share(facts, hash) * 100.0).round();
                    let what =
                        format!("{hash} gets {percent} % of the requests: {needed} pods, not {available}");
                    failing.insert(format!("{hash} {needed}"), what);
                }
            }
            failing
        });
    }

    /// S3: together they keep the capacity that was promised.
    fn enough_capacity(&mut self, scene: &Scene<'_>) {
        if scene.after.strategy != Strategy::Canary || !scene.ours || !is_kind(scene.commit, "ReplicaSet") {
            return;
        }
        if lowered(scene).is_some() {
            self.active("S3");
            self.convict("S3", scene, |facts| {
                let capacity: i64 = facts.versions.values().map(|v| v.available.min(v.wanted)).sum();
                let least = facts.replicas - facts.limits().0;
                let what = format!("{capacity} pods can serve, at least {least} must");
                // each number fails for itself: too few already is no leave to take more
                if capacity < least {
                    Failing::from([(format!("capacity {capacity}"), what)])
                } else {
                    Failing::new()
                }
            });
        } else {
            self.active("S3");
            self.convict("S3", scene, |facts| {
                let wanted: i64 = facts.versions.values().map(|v| v.wanted).sum();
                // decided before the strategy was another one
                let plain = facts.strategy == Strategy::Canary;
                let most = if plain {
                    facts.replicas + facts.limits().1
                } else {
                    i64::MAX
                };
                let what = format!("{wanted} pods are wanted, at most {most} may be");
                if wanted > most {
                    Failing::from([(format!("surge {wanted}"), what)])
                } else {
                    Failing::new()
                }
            });
        }
    }

    /// S4: the weight is never above what the steps finished so far allow.
    fn schedule(&mut self, scene: &Scene<'_>) {
        if !scene.ours || scene.after.weight <= scene.before.weight {
            return;
        }
        if is_put_back(scene.commit) {
            return;
        }
        self.active("S4");
        let raised = scene.after.weight;
        self.convict("S4", scene, |facts| {
            let allowed = facts.allowed_weight();
            let what = format!("weight {raised} where step {:?} allows {allowed}", facts.step());
            // the weight before is lower and may have been too high already: each height fails for itself
            if facts.weight > allowed {
                Failing::from([(format!("weight {}", facts.weight), what)])
            } else {
                Failing::new()
            }
        });
    }

    /// S5: an aborted update gets neither traffic nor pods.
    fn abort_is_one_way(&mut self, scene: &Scene<'_>) {
        let Scene { before, after, .. } = scene;
        // Where no version is stable yet there is nothing to go back to.
        let first = after.stable().is_empty();
        if !scene.ours || !after.aborted() || first || after.current() == after.stable() {
            return;
        }
        // What it has while stable cannot carry it, it may have again.
        let whole = |facts: &Facts| {
            let stable = facts.versions.get(facts.stable());
            stable.is_some_and(|v| v.available >= facts.replicas)
        };
        if is_put_back(scene.commit) && !self.is_known_to_be_so(scene, whole) {
            return;
        }
        let strategy = &after.rollout["spec"]["strategy"];
        let delay =
            [&strategy["canary"], &strategy["blueGreen"]].map(|s| s["abortScaleDownDelaySeconds"].as_i64());
        let keeps = delay.contains(&Some(0));
        let current = after.current();
        let share = |facts: &Facts| facts.shares.get(current).copied().unwrap_or(0.0);
        let wanted = |facts: &Facts| facts.versions.get(current).map_or(0, |v| v.wanted);
        self.active("S5");
        let (less_share, fewer) = (share(before), wanted(before));
        if share(after) <= less_share + 1e-9 && (wanted(after) <= fewer || keeps) {
            return;
        }
        // the abort itself may not be known yet
        self.convict("S5", scene, |facts| {
            let mut failing = Failing::new();
            if facts.aborted() && facts.current() == current {
                if share(facts) > less_share + 1e-9 {
                    failing.insert(
                        "traffic".to_owned(),
                        format!("{current} is aborted and gets more requests"),
                    );
                }
                if wanted(facts) > fewer && !keeps {
                    failing.insert(
                        "pods".to_owned(),
                        format!("{current} is aborted and gets more pods"),
                    );
                }
            }
            failing
        });
    }

    /// S1: the Deployment that a Rollout takes over loses no pods before that has any.
    fn nobody_takes_over(&mut self, scene: &Scene<'_>) {
        let Scene { after, commit, .. } = scene;
        let name = &after.rollout["spec"]["workloadRef"]["name"];
        if !scene.ours || !is_kind(commit, "Deployment") || *name != *commit.name {
            return;
        }
        let replicas = |object: &Option<Arc<Value>>| {
            let object = object.as_deref()?;
            object["spec"]["replicas"].as_i64()
        };
        self.active("S1");
        let serves = |facts: &Facts| facts.versions.values().any(|version| version.ready > 0);
        if replicas(&commit.after) < replicas(&commit.before) && !self.was_so(scene, serves) {
            let what = format!("Deployment {} is scaled down, and nobody takes over", commit.name);
            self.violated("S1", commit, what);
        }
    }

    /// S21: what a person holds gets no first pod, and no more requests by a route.
    fn a_pause_releases_nothing(&mut self, scene: &Scene<'_>) {
        let Scene { before, after, .. } = scene;
        let current = after.current();
        let held = |facts: &Facts| facts.rollout["spec"]["paused"] == true;
        let wanted = |facts: &Facts| facts.versions.get(current).map(|v| v.wanted);
        let begins = wanted(before).is_some_and(|pods| pods == 0) && wanted(after) > Some(0);
        if !scene.ours || !held(before) || current == after.stable() || after.current() != before.current() {
            return;
        }
        self.active("S21");
        let share = |facts: &Facts| facts.shares.get(current).copied().unwrap_or(0.0);
        let had = share(before);
        let rises =
            is_kind(scene.commit, "Ingress") && !is_put_back(scene.commit) && share(after) > had + 1e-9;
        if !begins && !rises {
            return;
        }
        self.convict("S21", scene, |facts| {
            let mut failing = Failing::new();
            if rises && held(facts) && facts.current() == current && share(facts) > had + 1e-9 {
                failing.insert(
                    "traffic".to_owned(),
                    format!("{current} is held and gets more requests"),
                );
                return failing;
            }
            if held(facts) && facts.current() == current && wanted(facts) > Some(0) {
                failing.insert(
                    "pods".to_owned(),
                    format!("{current} is held and gets its first pods"),
                );
            }
            failing
        });
    }

    /// S1: an eviction does not take the last pod that answers the requests of a version, while there is another one.
    pub(super) fn evicts_no_last_pod(&mut self, commit: &Arc<Commit>, known: &Picture) {
        let pod = object_of(commit);
        let deleted = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
        if !deleted(pod) || commit.before.as_deref().is_none_or(deleted) {
            return;
        }
        let set = controller_of(pod).map(|owner| text(&owner["name"]).to_owned());
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        for name in known.rollouts(&commit.namespace) {
            let Some(facts) = Facts::of(known, &commit.namespace, &name) else {
                continue;
            };
            let Some((hash, _)) = facts.versions.iter().find(|(_, v)| Some(&v.name) == set.as_ref()) else {
                continue;
            };
            let share = facts.shares.get(hash).copied().unwrap_or(0.0);
            if facts.current() == facts.stable() || share <= 0.0 || !ready(pod) {
                continue;
            }
            self.active("S1");
            let others = known.all("Pod", &commit.namespace).filter(|other| {
                controller_of(other).map(|owner| text(&owner["name"])) == set.as_deref()
                    && other["metadata"]["name"] != pod["metadata"]["name"]
                    && ready(other)
                    && !deleted(other)
            });
            if others.count() == 0 {
                let what = format!("the only pod of {hash} that serves is evicted, and it has requests");
                self.violated("S1", commit, what);
            }
        }
    }

    /// S17: a version that lost its traffic keeps its pods for the promised delay.
    fn drain_delay(&mut self, scene: &Scene<'_>, memory: &Memory) {
        let Some(hash) = lowered(scene) else { return };
        let Scene { after, commit, .. } = scene;
        let canary = &after.rollout["spec"]["strategy"]["canary"];
        let blue_green = &after.rollout["spec"]["strategy"]["blueGreen"];
        let spec = if after.strategy == Strategy::BlueGreen {
            blue_green
        } else {
            canary
        };
        let gone = after.versions.get(&hash).is_some_and(|v| v.wanted == 0);
        if after.strategy == Strategy::Canary || !gone || !spec["scaleDownDelayRevisionLimit"].is_null() {
            return;
        }
        // Before it is known it promises nothing.
        let aborted = hash == after.current() && self.is_known_to_be_so(scene, Facts::aborted);
        if hash == after.current() && !aborted {
            // It is released again, from its first step on.
            return;
        }
        if canary["dynamicStableScale"] == true
            || !(aborted || memory.was_stable.contains(&hash))
            || self.was_so(scene, |facts| facts.replicas == 0)
        {
            return;
        }
        // The delay is that of the strategy that took the requests away.
        let served = memory.last_traffic.get(&hash);
        let Some(served) = served.filter(|s| s.strategy == after.strategy && (s.stable || aborted)) else {
            return;
        };
        // A deadline that was given stays when the spec says another delay.
        let mut delay = delay(after, aborted).min(served.delays[usize::from(aborted)]);
        if served.stable {
            // It lost its requests to a later version, and came back without getting any.
            delay = delay.min(served.delays[0]);
        }
        self.active("S17");
        let kept = commit.at.duration_since(served.last);
        // deadlines are whole seconds
        if self.clock_is_steady && kept < delay - SignedDuration::from_secs(1) {
            let what = format!("{hash} had requests {kept:#} ago and must be kept {delay:#}");
            self.violated("S17", commit, what);
        }
    }
}

/// A Service that has lost its selector is given back the version that it had, whatever pods that has by now.
fn gives_back(scene: &Scene<'_>) -> bool {
    let Scene { before, after, .. } = scene;
    let active = &before.status()["blueGreen"]["activeSelector"];
    after.strategy == Strategy::BlueGreen
        && is_kind(scene.commit, "Service")
        && before.selected.is_empty()
        && after.selected.values().all(|hash| *active == **hash)
}

/// Another version than the active one and the one in the spec, which users had before, could answer meanwhile.
fn others_answer(scene: &Scene<'_>) -> bool {
    let before = scene.before;
    let active = &before.status()["blueGreen"]["activeSelector"];
    let mut versions = before.versions.iter();
    versions.any(|(hash, version)| *active != **hash && *hash != before.current() && version.available > 0)
}

/// A route that somebody took out of use is put back as it was: that raises nothing.
fn is_put_back(commit: &Commit) -> bool {
    let written = |object: &Option<Arc<Value>>, what: &str| {
        let annotations = &object.as_deref().unwrap_or(&Value::Null)["metadata"]["annotations"];
        annotations[format!("nginx.ingress.kubernetes.io/{what}")].clone()
    };
    let same = |what| {
        let now = written(&commit.after, what);
        !now.is_null() && written(&commit.before, what) == now
    };
    is_kind(commit, "Ingress") && !same("canary") && same("canary-weight")
}

/// How long a version keeps its pods once it has lost its requests.
fn delay(facts: &Facts, aborted: bool) -> SignedDuration {
    let strategy = &facts.rollout["spec"]["strategy"];
    let spec = if facts.strategy == Strategy::BlueGreen {
        &strategy["blueGreen"]
    } else {
        &strategy["canary"]
    };
    let field = if aborted {
        "abortScaleDownDelaySeconds"
    } else {
        "scaleDownDelaySeconds"
    };
    SignedDuration::from_secs(spec[field].as_i64().unwrap_or(30))
}

/// The version whose size a commit of the controller lowers.
fn lowered(scene: &Scene<'_>) -> Option<String> {
    if !scene.ours || !is_kind(scene.commit, "ReplicaSet") {
        return None;
    }
    let (hash, after) = scene
        .after
        .versions
        .iter()
        .find(|(_, v)| v.name == scene.commit.name)?;
    let before = scene.before.versions.get(hash)?;
    (after.wanted < before.wanted).then(|| hash.clone())
}
