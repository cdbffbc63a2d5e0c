//! Traffic of a routed canary: what the route objects say, what they shall say, what the status remembers (contract 3.6).

use std::collections::BTreeMap;

use tidegate_crds::{CanaryStatus, RolloutTrafficRouting, TrafficWeights, WeightDestination};
use tidegate_traffic::{
    HeaderRoute, HeaderValue, RouteOp, RouteWrite, RouterError, TrafficIntent, TrafficRouter, WeightState,
    Words, leftovers, routers,
};

use crate::canary::view::Canary;
use crate::context::Context;
use crate::draft::Draft;
use crate::drain;
use crate::observed::{ReplicaSetView, ServiceView};
use crate::plan::{Change, Event};
use crate::refusal::LeftOut;
use crate::replicas::ceil_share;
use crate::revision::new_revision;
use crate::why::Reason;

/// Pods that a version must keep for the traffic that it may be getting (S2).
pub(crate) fn needed(canary: &Canary<'_, '_>, rs: &ReplicaSetView) -> i32 {
    let cx = canary.cx;
    let total = cx.total_weight();
    let (least, most) = (cx.live.at_least(), cx.live.at_most());
    // A Service that was never switched sends requests to every version.
    let selects = |name: Option<&str>| {
        let hash = cx.service(name).map(ServiceView::selected);
        hash.is_some_and(|hash| hash == rs.hash || hash.is_empty())
    };
    let share = |weight| ceil_share(cx.size, weight, total);
    let mut needed = 0;
    let from_canary_service = selects(canary.spec.canary_service.as_deref());
    if from_canary_service {
        // A canary is smaller than its share only where setCanaryScale says so. Where that is 0 the requests go first (S1).
        let asked_for = canary.pods_asked_for().filter(|_| cx.is_new(rs));
        needed = share(most).min(asked_for.map_or(i32::MAX, |pods| pods.max(1)));
        // Requests that a route matches go there whatever the weight. A promoted version has them from both Services.
        if matched(cx) && rs.hash != cx.stable_hash() {
            needed = needed.max(1);
        }
    }
    if selects(canary.spec.stable_service.as_deref()) {
        // Where the stable Service has no pods at all, a router may answer 503 whatever share its canary has.
        let of_stable = share(total - least).max(share(total).min(1));
        // Where both lead to it, it has the requests of both.
        let of_both = share((most + total - least).min(total)).min(needed + of_stable);
        needed = of_stable.max(if from_canary_service { of_both } else { 0 });
    }
    // A Service that was never switched sends requests to the pods that there are: that is no reason for more of them.
    if cx.is_selected(&rs.hash) {
        needed
    } else {
        needed.min(rs.spec_replicas)
    }
}

/// Whether a live route leads to the canary by what a request carries.
fn matched(cx: &Context<'_>) -> bool {
    cx.routes.iter().any(|seen| seen.matches)
}

fn configured<'a>(cx: &Context<'a>) -> Vec<Box<dyn TrafficRouter + 'a>> {
    routers(cx.rollout(), &cx.seen.routes.dialect)
}

/// Whether there is always such a route, by the spec: no step ends it.
pub(crate) fn always_matched(cx: &Context<'_>) -> bool {
    configured(cx).iter().any(|router| router.always_matches())
}

/// Brings the route objects to the intended traffic.
pub(crate) fn act(canary: &Canary<'_, '_>, stable_served: bool, draft: &mut Draft) {
    let cx = canary.cx;
    let Some(routing) = cx.routing() else { return };
    let served = stable_served && !may_reach_old_pods(canary, draft);
    let Some(mut weight) = canary.intended_weight(served) else {
        return;
    };
    // A canary Service that has just left an intermediate version may still lead to the pods of that one: no more requests until it is
    // known everywhere (S2).
    let replaces = cx.older.iter().any(|rs| rs.spec_replicas > 0);
    if weight > cx.live.at_most() && replaces && !drain::settled(cx, draft) {
        weight = cx.live.at_most();
    }
    let intent = intent(canary, routing, weight);
    for router in configured(cx) {
        match router.render(&intent, &cx.seen.routes.live) {
            Ok(writes) => {
                let mut held = false;
                for write in writes {
                    // More only on a route that is as it shall be; less at once, whatever else is refused.
                    if held && write.op.raises() {
                        continue;
                    }
                    held |= !put(cx, write, draft);
                }
            }
            Err(error) => {
                failed(&error, draft);
                return;
            }
        }
    }
}

/// After a promotion all requests go to the stable Service. A dynamic stable version has hardly a pod left then, and its Service, which has
/// just moved to the promoted one, may still lead there (S2).
fn may_reach_old_pods(canary: &Canary<'_, '_>, draft: &mut Draft) -> bool {
    let cx = canary.cx;
    let falls = canary.spec.dynamic && cx.fully_promoted() && cx.live.at_most() > 0;
    falls && !drain::settled(cx, draft)
}

/// Takes requests from the canary while the Rollout is invalid: less weight and no matches on route objects that are there, and nothing
/// else. What a router cannot do is told by what makes the Rollout invalid.
pub(crate) fn take_back(canary: &Canary<'_, '_>, draft: &mut Draft) {
    let cx = canary.cx;
    let (Some(routing), Some(weight)) = (
        cx.routing(),
        canary.intended_weight(canary.stable_service_right()),
    ) else {
        return;
    };
    let intent = TrafficIntent {
        headers: Vec::new(),
        ..intent(canary, routing, weight)
    };
    let takes = |op: &RouteOp| !op.raises() && !matches!(op, RouteOp::Create(_));
    for router in configured(cx) {
        let writes = router.render(&intent, &cx.seen.routes.live).unwrap_or_default();
        for write in writes.into_iter().filter(|write| takes(&write.op)) {
            put(cx, write, draft);
        }
    }
}

/// Writes a route object, and tells of it. Answers whether it is tried.
fn put(cx: &Context<'_>, mut write: RouteWrite, draft: &mut Draft) -> bool {
    let occurrence = match &write.op {
        RouteOp::Patch { resource_version, .. } | RouteOp::SetWeight { resource_version, .. } => {
            resource_version.clone()
        }
        _ => cx.uid().to_owned(),
    };
    let event = write.event.take();
    let change = Change::Route(write);
    match event {
        Some(Words { reason, message }) => draft.act_and_tell(change, reason, message, occurrence),
        None => draft.act(change),
    }
}

fn intent(canary: &Canary<'_, '_>, routing: &RolloutTrafficRouting, weight: i32) -> TrafficIntent {
    TrafficIntent {
        weight,
        // Only experiments have Services of their own, and validation refuses those.
        additional: BTreeMap::new(),
        total: canary.cx.max_weight(),
        headers: headers(canary, routing),
    }
}

fn failed(error: &RouterError, draft: &mut Draft) {
    draft.left_out.push(LeftOut::unroutable(&error.to_string()));
    draft.because(Reason::Routing {
        error: error.to_string(),
    });
}

/// Deletes route objects that the Rollout owns and no longer uses: after a change of strategy, of router, or of what that names.
pub(crate) fn clean_up(cx: &Context<'_>, draft: &mut Draft) {
    for write in leftovers(&configured(cx), cx.uid(), &cx.seen.routes.live) {
        draft.act(Change::Route(write));
    }
}

/// Header routes that the steps so far have set and none has taken away (contract F33); none outside an update.
fn headers(canary: &Canary<'_, '_>, routing: &RolloutTrafficRouting) -> Vec<HeaderRoute> {
    let cx = canary.cx;
    let over = canary.aborting || canary.full || cx.fully_promoted() || cx.stable.is_none();
    let Some(index) = canary.index.filter(|_| !over && new_revision(cx) > 1) else {
        return Vec::new();
    };
    // Before its last pod goes, not after it. One that is ready, and not available yet, keeps what it has.
    let answers = |rs: &ReplicaSetView| rs.serving() > 0 || matched(cx) && rs.answering() > 0;
    if !cx.new.is_some_and(answers) || canary.wanted().0 == 0 || !canary.introduced() {
        return Vec::new();
    }
    let mut routes = Vec::new();
    for managed in &routing.managed_routes {
        let last = canary.spec.steps.iter().take(index + 1).rev().find_map(|step| {
            step.header_route
                .as_ref()
                .filter(|r| r.name.as_deref() == Some(managed.name.as_str()))
        });
        let Some(matched) = last.and_then(|route| route.match_.first()) else {
            continue;
        };
        let value = matched.header_value.clone().unwrap_or_default();
        let value = match (value.exact, value.regex) {
            (Some(exact), _) => HeaderValue::Exact(exact),
            (None, Some(regex)) => HeaderValue::Regex(regex),
            (None, None) => continue,
        };
        routes.push(HeaderRoute {
            name: managed.name.clone(),
            header: matched.header_name.clone(),
            value,
        });
    }
    routes
}

/// A `setHeaderRoute` step is over when rendering it again changes nothing.
pub(crate) fn headers_placed(canary: &Canary<'_, '_>) -> bool {
    let cx = canary.cx;
    let Some(routing) = cx.routing() else { return true };
    if canary.step().is_none_or(|step| step.header_route.is_none()) {
        return true;
    }
    let intent = intent(canary, routing, cx.live.at_most());
    configured(cx).iter().all(|router| {
        router
            .render(&intent, &cx.seen.routes.live)
            .is_ok_and(|writes| writes.is_empty())
    })
}

/// Records the weights that the route objects carry (contract 2.5), and tells when they changed.
pub(crate) fn record(canary: &Canary<'_, '_>, draft: &mut Draft) {
    let cx = canary.cx;
    if cx.routing().is_none() {
        if let Some(status) = &mut draft.status.canary {
            status.weights = None;
        }
        return;
    }
    let WeightState::Set(weight) = cx.live else {
        return;
    };
    let stable = cx.status().stable_rs.clone();
    let new_there = cx.new.is_some();
    let destination = |weight, service: &Option<String>, hash: Option<String>| WeightDestination {
        weight,
        service_name: service.clone(),
        pod_template_hash: hash,
    };
    let weights = TrafficWeights {
        canary: destination(
            weight,
            &canary.spec.canary_service,
            new_there.then(|| cx.hash.clone()),
        ),
        stable: destination(cx.total_weight() - weight, &canary.spec.stable_service, stable),
        additional: Vec::new(),
        verified: cx.routes.iter().filter_map(|seen| seen.taken).min(),
    };
    let recorded = draft
        .status
        .canary
        .as_ref()
        .and_then(|canary| canary.weights.as_ref());
    let before = recorded.map(|weights| weights.canary.weight);
    let status = draft.status.canary.get_or_insert_with(CanaryStatus::default);
    if status.weights.as_ref() == Some(&weights) {
        return;
    }
    status.weights = Some(weights);
    let change = match before {
        Some(before) if before != weight => format!("from {before} to {weight}"),
        Some(_) => String::new(),
        None => format!("to {weight}"),
    };
    let occurrence = format!("{}/{weight}", cx.rollout().metadata.resource_version);
    draft.tell_scaling(Some(Event {
        warning: false,
        reason: "TrafficWeightUpdated",
        message: format!("Traffic weight updated {change}"),
        occurrence,
    }));
}
