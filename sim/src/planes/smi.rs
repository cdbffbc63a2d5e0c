//! A mesh that knows SMI: requests to the root Service are split between the backends.

use serde_json::Value;

use super::{Plane, entry, pair};
use crate::actors::text;

pub(super) static PLANE: Plane = Plane {
    field: "smi",
    group: "split.smi-spec.io",
    kind: "TrafficSplit",
    plural: "trafficsplits",
    name: |smi, rollout| smi["trafficSplitName"].as_str().unwrap_or(rollout).to_owned(),
    route: |split| {
        let backends = split["spec"]["backends"].as_array()?;
        let [canary, stable] = backends.as_slice() else {
            return None;
        };
        let side = |backend: &Value| weight(&backend["weight"]);
        let route = pair(
            (text(&stable["service"]), side(stable)?),
            (text(&canary["service"]), side(canary)?),
        );
        // In a mesh it is the caller's side that splits what goes to a Service.
        Some((entry("Service", text(&split["spec"]["service"])), route))
    },
};

/// In v1alpha1 a weight is the text of a quantity.
fn weight(weight: &Value) -> Option<u64> {
    weight.as_str()?.parse().ok()
}
