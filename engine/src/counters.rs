//! Counters of the status: pods by what they can do (contract 2.5).

use tidegate_crds::{RolloutStatus, labels};

use crate::context::{Context, Strategy};
use crate::observed::ReplicaSetView;

/// The version that users of a blue-green Rollout get, as recorded; empty if there is none.
pub(crate) fn active(status: &RolloutStatus) -> &str {
    let blue_green = status.blue_green.as_ref();
    blue_green
        .and_then(|bg| bg.active_selector.as_deref())
        .unwrap_or_default()
}

pub(crate) fn positive(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Counts the pods (contract 2.5).
pub(crate) fn count(cx: &Context<'_>, status: &mut RolloutStatus) {
    let sum = |count: fn(&ReplicaSetView) -> i32| cx.owned().map(count).fold(0, i32::saturating_add);
    let replicas = sum(|rs| rs.replicas);
    status.replicas = positive(replicas);
    status.updated_replicas = cx.new.and_then(|rs| positive(rs.replicas));
    let base = selector_text(cx);
    match cx.strategy {
        Strategy::Canary(_) => {
            status.ready_replicas = positive(sum(|rs| rs.ready));
            status.available_replicas = positive(sum(|rs| rs.available));
            status.hpa_replicas = positive(replicas);
            status.selector = Some(base);
        }
        Strategy::BlueGreen(_) => {
            let active = active(status).to_owned();
            let rs = cx.owned().find(|rs| !active.is_empty() && rs.hash == active);
            status.ready_replicas = rs.and_then(|rs| positive(rs.ready));
            status.available_replicas = rs.and_then(|rs| positive(rs.available));
            // Before there is an active version, the newest stands for it.
            let scaled = rs.or(cx.new.filter(|_| active.is_empty()));
            status.hpa_replicas = scaled.and_then(|rs| positive(rs.replicas));
            status.selector = Some(match rs {
                Some(_) => format!("{base},{}={active}", labels::POD_TEMPLATE_HASH_LABEL),
                None => base,
            });
        }
    }
}

/// A label selector in the text form that the scale subresource wants.
fn selector_text(cx: &Context<'_>) -> String {
    let Some(selector) = cx.selector() else {
        return String::new();
    };
    let mut terms: Vec<String> = selector
        .match_labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for term in &selector.match_expressions {
        let (key, mut values) = (&term.key, term.values.clone());
        values.sort();
        terms.push(match term.operator.as_str() {
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            _ => format!("{key} in ({})", values.join(",")),
        });
    }
    terms.sort();
    terms.join(",")
}
