//! `restartAt`: pods that are older are evicted, few at a time (contract 3.9).

use std::collections::BTreeMap;

use jiff::SignedDuration;
use tidegate_crds::{Time, labels};

use crate::context::Context;
use crate::draft::Draft;
use crate::observed::{PodView, ReplicaSetView};
use crate::plan::Change;
use crate::time::after;
use crate::why::Reason;

/// How soon to look again while pods remain.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What a look does about a restart.
pub(crate) struct Restart<'a> {
    /// Whether the counters of the ReplicaSets are to be believed: they do not know yet of pods that go, so nothing may become smaller
    /// by them (contract 3.9).
    pub(crate) counted: bool,
    going: Vec<&'a PodView>,
}

impl Restart<'_> {
    const NONE: Self = Self {
        counted: true,
        going: Vec::new(),
    };

    /// Evicts the pods that are to go next.
    pub(crate) fn evict(&self, draft: &mut Draft) {
        for pod in &self.going {
            draft.act(eviction(pod));
        }
    }
}

fn eviction(pod: &PodView) -> Change {
    Change::EvictPod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
    }
}

/// Finds the next pods that are older than `restartAt`.
pub(crate) fn look<'a>(cx: &Context<'a>, draft: &mut Draft) -> Restart<'a> {
    let Some(at) = pending(cx, draft) else {
        return Restart::NONE;
    };
    draft.because(Reason::Restarting);
    let mut old: Vec<&PodView> = Vec::new();
    let mut ready: i32 = 0;
    for rs in in_order(cx) {
        let Some(pods) = cx.seen.pods.get(&rs.hash) else {
            draft.need_pods(&rs.hash);
            draft.wake_at(cx.now);
            return Restart {
                counted: false,
                going: Vec::new(),
            };
        };
        let serving = pods.iter().filter(|p| p.ready && !p.deleting).count();
        ready = ready.saturating_add(i32::try_from(serving).unwrap_or(i32::MAX));
        let mut pods: Vec<&PodView> = pods
            .iter()
            .filter(|p| p.created < at.timestamp() && !p.deleting)
            .collect();
        pods.sort_by_key(|p| (p.created, p.name.clone()));
        old.extend(pods);
    }
    let stale = cx.available() > ready;
    if old.is_empty() && !stale {
        draft.status.restarted_at = Some(at);
        return Restart::NONE;
    }
    for rs in in_order(cx) {
        draft.need_pods(&rs.hash);
    }
    let mut going = evictable(cx, &old);
    // Nothing but news can change that the last pods of their versions have to stay.
    if !going.is_empty() || old.is_empty() {
        draft.wake_at(after(cx.now, AGAIN));
    }
    let (mut serving, mut down): (Vec<_>, Vec<_>) = going.into_iter().partition(|pod| pod.ready);
    serving.truncate(budget(cx, ready));
    // Nobody misses a pod that is not ready, and it may be what the restart is for.
    down.truncate(usize::try_from(cx.valid.restart_limit).unwrap_or(0));
    going = down.into_iter().chain(serving).collect();
    // What a disruption budget forbids does not go, so the counters are right about it.
    let tried = going.iter().any(|pod| !draft.stands_refused(&eviction(pod)));
    Restart {
        counted: !stale && !tried,
        going,
    }
}

/// How many pods may go now.
fn budget(cx: &Context<'_>, ready: i32) -> usize {
    let total = cx
        .owned()
        .map(|rs| rs.spec_replicas)
        .fold(0, i32::saturating_add)
        .max(cx.size);
    // The counters of a ReplicaSet may not know yet of pods that have just gone.
    let unavailable = total.saturating_sub(cx.available().min(ready));
    usize::try_from(cx.valid.restart_limit.saturating_sub(unavailable)).unwrap_or(0)
}

/// Those of the old pods that may go, in their order. During an update Services send requests to one version alone, so the last pod that
/// answers them waits until there is another one, or until its version is the only one.
fn evictable<'p>(cx: &Context<'_>, old: &[&'p PodView]) -> Vec<&'p PodView> {
    let versions = cx.owned().filter(|rs| rs.spec_replicas > 0).count();
    if cx.fully_promoted() || versions < 2 {
        return old.to_vec();
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for rs in cx.owned().filter(|rs| cx.is_selected(&rs.hash)) {
        let pods = cx.seen.pods.get(&rs.hash).map_or(&[][..], Vec::as_slice);
        let serving = pods.iter().filter(|pod| pod.ready && !pod.deleting).count();
        left.insert(&rs.hash, serving);
    }
    let mut may_go = |pod: &&'p PodView| {
        let hash = pod.labels.get(labels::POD_TEMPLATE_HASH_LABEL);
        let Some(left) = hash
            .and_then(|hash| left.get_mut(hash.as_str()))
            .filter(|_| pod.ready)
        else {
            return true;
        };
        if *left <= 1 {
            return false;
        }
        *left -= 1;
        true
    };
    old.iter().copied().filter(|pod| may_go(pod)).collect()
}

/// The restart that is due and not done; a new update counts as one.
fn pending(cx: &Context<'_>, draft: &mut Draft) -> Option<Time> {
    let at = cx.valid.restart_at?;
    if cx.status().restarted_at == Some(at) {
        return None;
    }
    draft.due(cx, at.timestamp()).then_some(at)
}

fn in_order<'a>(cx: &Context<'a>) -> Vec<&'a ReplicaSetView> {
    let stable = cx.stable.into_iter();
    let new = cx
        .new
        .into_iter()
        .filter(|rs| cx.stable.is_none_or(|s| s.name != rs.name));
    stable
        .chain(new)
        .chain(cx.older.iter().copied())
        .filter(|rs| rs.spec_replicas > 0)
        .collect()
}
