//! Which version a Service selects (contract 3.5).

use crate::canary::Canary;
use crate::context::{Context, after};
use crate::draft::{Draft, selected};
use crate::observed::{ReplicaSetView, ServiceView};

/// Whether any Service that the Rollout names selects this version.
pub(crate) fn selects(cx: &Context<'_>, hash: &str) -> bool {
    cx.seen.services.values().any(|s| selected(s) == hash)
}

/// Switches the Services of a canary; answers whether the stable Service selects the stable version, at the latest by this
/// plan.
pub(crate) fn of_canary(canary: &Canary<'_, '_>, draft: &mut Draft) -> bool {
    let cx = canary.cx;
    let stable_rs = cx.stable.or(cx.new.filter(|_| cx.fully_promoted()));
    let stable_service = cx.service(canary.spec.stable_service.as_deref());
    let canary_service = cx.service(canary.spec.canary_service.as_deref());
    let mut served = canary.stable_service_right();
    if let (Some(service), Some(rs)) = (stable_service, stable_rs) {
        served = target(cx, service, rs, false, draft);
    }
    if let Some(service) = canary_service {
        if canary.aborting {
            // Only once nothing goes there by weight: then the switch cannot be seen. One change, not a flutter.
            if let Some(rs) = stable_rs.filter(|_| cx.live.at_most() == 0 && served) {
                target(cx, service, rs, true, draft);
            }
        } else if let Some(rs) = cx.new.filter(|rs| may_move(canary, service, rs, served, draft)) {
            target(cx, service, rs, false, draft);
        }
    }
    served
}

/// The canary Service leaves an intermediate version only when no weight goes there any more, and the data plane knows. It
/// leaves the stable version only when the new one is not given more than it is meant to have: after a promotion all
/// weight is still there until the route is back at the stable Service (S2).
fn may_move(
    canary: &Canary<'_, '_>,
    service: &ServiceView,
    to: &ReplicaSetView,
    served: bool,
    draft: &mut Draft,
) -> bool {
    let cx = canary.cx;
    let from = selected(service);
    if from.is_empty() || from == to.hash || cx.routing().is_none() {
        return true;
    }
    let live = cx.live.at_most();
    if from == cx.stable_hash() {
        return live == 0 || live <= canary.intended_weight(served).unwrap_or(0);
    }
    if live > 0 && !cx.fully_promoted() {
        return false;
    }
    let moved = cx
        .seen
        .routed_since
        .iter()
        .filter(|(k, _)| k.starts_with("Ingress/"))
        .map(|(_, t)| *t)
        .max();
    moved.is_none_or(|t| draft.due(cx, after(t, cx.settings.propagation)))
}

/// Points a Service at a version when that version can serve: all of its pods when the Service is taken over for the first
/// time, one otherwise, or any when traffic is being taken away.
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
    if selected(service) == rs.hash && service.managed_by.as_deref() == Some(cx.name()) {
        return true;
    }
    let ready = match service.managed_by {
        None => rs.spec_replicas > 0 && rs.available >= rs.spec_replicas,
        Some(_) => rs.available > 0,
    };
    if ready || unconditional {
        draft.switch(cx, service, &rs.hash);
        return true;
    }
    false
}
