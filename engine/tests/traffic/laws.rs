//! What holds after every action of every plan (S1, S2, S3), for one Rollout in memory.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidegate_crds::labels;
use tidegate_engine::{Change, Observed};

use super::mini::{Mini, ingress_ref};

/// How long the data plane goes on as before.
const PROPAGATION: SignedDuration = SignedDuration::from_secs(2);

type Shares = BTreeMap<String, i32>;

/// Remembers where requests went, and says what was broken.
#[derive(Default)]
pub(crate) struct Laws {
    /// The shares of the canary's versions since a time, the latest last.
    history: Vec<(Timestamp, Shares)>,
    pub(crate) broken: Vec<String>,
}

/// Share of the requests by version, as Services and routes say.
pub(crate) fn shares(seen: &Observed) -> Shares {
    let ingress = seen.routes.live.get(&ingress_ref("web-web-canary"));
    let weight = ingress
        .and_then(|i| i["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].as_str())
        .map_or(0, |w| w.parse().unwrap());
    let mut shares = Shares::new();
    for (service, share) in [("canary", weight), ("stable", 100 - weight)] {
        if let Some(hash) = seen.services[service]
            .selector
            .get(labels::POD_TEMPLATE_HASH_LABEL)
            && share > 0
        {
            *shares.entry(hash.clone()).or_default() += share;
        }
    }
    shares
}

fn size(seen: &Observed) -> i32 {
    seen.rollout.spec.replicas.unwrap()
}

fn available(seen: &Observed, hash: &str) -> i32 {
    let set = seen.replica_sets.iter().find(|rs| rs.hash == hash);
    set.map_or(0, |rs| rs.available.min(rs.spec_replicas))
}

/// The place of a version, for messages.
fn version(seen: &Observed, hash: &str) -> String {
    let place = seen.replica_sets.iter().position(|rs| rs.hash == hash);
    format!("v{}", place.map_or(0, |i| i + 1))
}

impl Laws {
    /// One look, with every action judged.
    pub(crate) fn look(&mut self, world: &mut Mini) {
        self.remember(world);
        world.look_and(|change, before, after| {
            match change {
                Change::PatchReplicaSet {
                    name,
                    scale: Some(scale),
                    ..
                } if scale.to < scale.from => {
                    self.lowered(name, before, after);
                }
                Change::SetServiceSelector { .. } | Change::Route(_) => self.routed(before, after),
                _ => {}
            }
            self.remember(after);
        });
    }

    fn remember(&mut self, world: &Mini) {
        let shares = shares(&world.seen);
        if self.history.last().is_none_or(|(_, last)| *last != shares) {
            self.history.push((world.now, shares));
        }
        while self
            .history
            .get(1)
            .is_some_and(|(since, _)| *since + PROPAGATION <= world.now)
        {
            self.history.remove(0);
        }
    }

    /// Who serves stays large enough for what it may still be sent.
    fn lowered(&mut self, name: &str, before: &Observed, after: &Mini) {
        let set = after
            .seen
            .replica_sets
            .iter()
            .find(|rs| rs.name == *name)
            .unwrap();
        let most = self
            .history
            .iter()
            .filter_map(|(_, shares)| shares.get(&set.hash))
            .max()
            .copied()
            .unwrap_or(0);
        let needed = (size(&after.seen) * most + 99) / 100;
        if set.spec_replicas < needed {
            let from = before.replica_sets.iter().find(|rs| rs.name == *name).unwrap();
            self.broken.push(format!(
                "{} from {} to {} pods with {most} % of the requests of {}",
                version(&after.seen, &set.hash),
                from.spec_replicas,
                set.spec_replicas,
                size(&after.seen)
            ));
        }
    }

    /// Who gets more requests can carry them.
    fn routed(&mut self, before: &Observed, after: &Mini) {
        let (old, new) = (shares(before), shares(&after.seen));
        let strategy = after.seen.rollout.spec.strategy.as_ref().unwrap();
        let canary = strategy.canary.as_ref().unwrap();
        let dynamic = canary.dynamic_stable_scale == Some(true);
        // Who asks for a threshold in percent takes so many for all.
        let threshold = canary.replica_progress_threshold.as_ref();
        let percent = threshold
            .filter(|t| t.type_.as_str() == "Percent")
            .map_or(100, |t| t.value);
        let stable = after.seen.rollout.status.stable_rs.clone().unwrap_or_default();
        // Whatever carries them is better than pods that are not there.
        if old.keys().any(|hash| available(before, hash) == 0) {
            return;
        }
        for (hash, share) in &new {
            let risen = *share > old.get(hash).copied().unwrap_or(0);
            // A stable version that is not dynamic is whole, but for pods that it has just lost.
            let given_back = !dynamic && *hash == stable && available(&after.seen, hash) > 0;
            let needed = size(&after.seen) * share / 100 * percent / 100;
            if risen && !given_back && available(&after.seen, hash) < needed {
                self.broken.push(format!(
                    "{} gets {share} % of the requests with {} of {needed} pods",
                    version(&after.seen, hash),
                    available(&after.seen, hash)
                ));
            }
        }
    }
}

/// Without a router: capacity is kept while there is any to keep, and the surge is not exceeded by growing.
pub(crate) fn look_unrouted(world: &mut Mini, least: i32, most: i32, broken: &mut Vec<String>) {
    world.look_and(|change, before, after| {
        let serving = |seen: &Observed| -> i32 {
            seen.replica_sets
                .iter()
                .map(|rs| rs.available.min(rs.spec_replicas))
                .sum()
        };
        let wanted = |seen: &Observed| -> i32 { seen.replica_sets.iter().map(|rs| rs.spec_replicas).sum() };
        if !matches!(
            change,
            Change::PatchReplicaSet { .. } | Change::CreateReplicaSet { .. }
        ) {
            return;
        }
        let (had, has) = (serving(before), serving(&after.seen));
        if has < had.min(least) {
            broken.push(format!(
                "{has} pods serve where {had} did and {least} must: {:?}",
                after.sizes()
            ));
        }
        if wanted(&after.seen) > wanted(before).max(most) {
            broken.push(format!("more than {most} pods: {:?}", after.sizes()));
        }
    });
}
