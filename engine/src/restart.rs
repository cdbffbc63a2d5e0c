//! `restartAt`: pods that are older are evicted, few at a time (contract 3.9).

use jiff::SignedDuration;
use tidegate_crds::Time;

use crate::context::{Context, after};
use crate::draft::Draft;
use crate::observed::{PodView, ReplicaSetView};
use crate::plan::Change;
use crate::why::Reason;

/// How soon to look again while pods remain.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Evicts the next pods that are older than `restartAt`. Answers whether the counters of the ReplicaSets are to be believed: they do
/// not know yet of pods that go, so nothing may become smaller by them (contract 3.9).
pub(crate) fn act(cx: &Context<'_>, draft: &mut Draft) -> bool {
    let Some(at) = pending(cx, draft) else {
        return true;
    };
    draft.because(Reason::Restarting);
    let mut old: Vec<&PodView> = Vec::new();
    let mut ready: i32 = 0;
    for rs in in_order(cx) {
        let Some(pods) = cx.seen.pods.get(&rs.hash) else {
            draft.need_pods(&rs.hash);
            draft.wake_at(cx.now);
            return false;
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
        return true;
    }
    let total = cx
        .owned()
        .map(|rs| rs.spec_replicas)
        .fold(0, i32::saturating_add)
        .max(cx.size);
    // The counters of a ReplicaSet may not know yet of pods that have just gone.
    let unavailable = total.saturating_sub(cx.available().min(ready));
    let budget = usize::try_from(cx.valid.restart_limit.saturating_sub(unavailable)).unwrap_or(0);
    for pod in old.iter().take(budget) {
        draft.act(Change::EvictPod {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        });
    }
    for rs in in_order(cx) {
        draft.need_pods(&rs.hash);
    }
    draft.wake_at(after(cx.now, AGAIN));
    !stale && (old.is_empty() || budget == 0)
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
