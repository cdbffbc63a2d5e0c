//! Which version a Service selects (contract 3.5).

use crate::canary::view::Canary;
use crate::context::{Context, Strategy};
use crate::draft::Draft;
use crate::observed::{ReplicaSetView, ServiceView};
use crate::replicas::floor_share;
use crate::routing;
use crate::time::after;
use crate::why::Reason;
use crate::workload;

/// Switches the Services of a canary; answers whether the stable Service selects the stable version, at the latest by this
/// plan.
pub(crate) fn of_canary(canary: &Canary<'_, '_>, draft: &mut Draft) -> bool {
    let cx = canary.cx;
    let stable_rs = cx.stable.or(cx.new.filter(|_| cx.fully_promoted()));
    let stable_service = cx.service(canary.spec.stable_service.as_deref());
    let canary_service = cx.service(canary.spec.canary_service.as_deref());
    let mut served = canary.stable_service_right();
    if let (Some(service), Some(rs)) = (stable_service, stable_rs) {
        if let Some(lacks) = lacks_pods(canary, service, rs) {
            draft.because(lacks);
        } else {
            served = target(cx, service, rs, false, draft);
        }
    }
    if let Some(service) = canary_service {
        // A match that no step can end must not lead to a canary that is meant to have no pods.
        // Without a router nothing but the Service keeps requests from it.
        let leads_there = routing::always_matched(cx) || cx.routing().is_none();
        let emptied = !cx.fully_promoted() && leads_there && canary.wanted().0 == 0;
        if canary.aborting || emptied {
            // Only once nothing goes there by weight: then the switch cannot be seen. One change, not a flutter.
            if let Some(rs) = stable_rs.filter(|_| cx.live.at_most() == 0 && served) {
                target(cx, service, rs, true, draft);
            }
        } else if let Some(rs) = cx.new.filter(|rs| may_move(canary, service, rs, draft)) {
            let moved = target(cx, service, rs, false, draft);
            // Without a router a version that was replaced in the middle must be able to go before the new one has a pod.
            let replaced = cx.older.iter().any(|older| older.hash == service.selected());
            if let (false, true, None, Some(stable)) = (moved, replaced, cx.routing(), stable_rs) {
                target(cx, service, stable, false, draft);
            }
        }
    }
    served
}

/// A stable version may lose its pods before the stable Service comes to it, or have none yet, as one that was promoted at size 0. Who
/// answers until then has more of them, and goes on answering until stable has what it shall have, or as many as the threshold asks for
/// (S2). What is taken back goes at once.
fn lacks_pods(canary: &Canary<'_, '_>, service: &ServiceView, stable: &ReplicaSetView) -> Option<Reason> {
    let cx = canary.cx;
    let answers = cx.owned().find(|rs| rs.hash == service.selected())?;
    let wanted = if cx.fully_promoted() {
        cx.size
    } else {
        canary.wanted().1
    };
    let fewer = stable.serving() < answers.serving().min(wanted);
    let lacks = !canary.aborting && fewer && !canary.meets(stable.serving(), wanted);
    lacks.then(|| Reason::WaitingForPods {
        replica_set: stable.name.clone(),
        available: stable.serving(),
        wanted,
    })
}

/// The canary Service leaves a version only when no weight goes there any more: or the next one gets at once what the last one
/// had, with the pods that it happens to have (S2). Where it leaves an intermediate version, the data plane has to know, too.
///
/// One that was never switched, or that somebody made again, sends requests to every version. It comes to the new one when that has the
/// pods for the weight: more than it is meant to have, as somebody wrote it, falls first.
fn may_move(canary: &Canary<'_, '_>, service: &ServiceView, to: &ReplicaSetView, draft: &mut Draft) -> bool {
    let (cx, from) = (canary.cx, service.selected());
    if from == to.hash || cx.routing().is_none() {
        return true;
    }
    if from.is_empty() {
        let (live, (wanted, _)) = (cx.live.at_most(), canary.wanted());
        let as_meant = live <= canary.step_weight() && canary.meets(to.serving(), wanted);
        return as_meant || to.serving() >= floor_share(cx.size, live, cx.total_weight());
    }
    if cx.live.at_most() > 0 {
        return false;
    }
    if from == cx.stable_hash() {
        return true;
    }
    let moved = cx
        .seen
        .routed_since
        .iter()
        .filter(|(k, _)| !k.starts_with("Service/"))
        .map(|(_, t)| *t)
        .max();
    moved.is_none_or(|t| draft.due(cx, after(t, cx.settings.propagation)))
}

/// Points a Service at a version when that version can serve: all of its pods when the Service is taken over for the first
/// time, one otherwise, or any when traffic is being taken away. A Service that was never taken over sends requests to every
/// version, so it is not left alone where nobody is meant to serve, or where there is another version to keep them from.
/// Answers whether it selects it, at the latest by this plan.
pub(crate) fn target(
    cx: &Context<'_>,
    service: &ServiceView,
    rs: &ReplicaSetView,
    unconditional: bool,
    draft: &mut Draft,
) -> bool {
    if rs.hash.is_empty() {
        return false;
    }
    if service.selected() == rs.hash && service.managed_by.as_deref() == Some(cx.name()) {
        return true;
    }
    // The pods of a Deployment that still runs answer where the Rollout has none.
    let workload = cx.seen.workload.as_ref().filter(|_| cx.valid.workload.is_some());
    let others = workload.is_some_and(|workload| workload.kind == "Deployment" && workload.replicas > 0);
    let answers = others && service.selected().is_empty();
    let emptied = cx.size == 0 && rs.spec_replicas == 0;
    let nobody = emptied && !answers;
    let promoted = rs.hash == cx.stable_hash();
    let ready = match (&service.managed_by, cx.strategy) {
        // All that a switch waits for is so when there is nothing to wait for.
        (_, Strategy::BlueGreen(_)) if nobody => true,
        (None, _) if nobody && promoted => true,
        (None, _) if promoted && !cx.is_new(rs) => rs.serving() > 0,
        (None, _) => rs.spec_replicas > 0 && rs.serving() >= rs.spec_replicas,
        (Some(_), _) => rs.serving() > 0,
    };
    if ready || unconditional {
        return draft.switch(cx, service, &rs.hash);
    }
    if let Some(workload) = workload.filter(|_| emptied && answers) {
        workload::because_it_runs(workload, draft);
    }
    false
}
