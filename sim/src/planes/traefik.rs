//! Traefik: requests to a TraefikService are split between the weighted services of it.

use serde_json::Value;

use super::{Plane, entry, pair};
use crate::actors::text;

pub(super) static PLANE: Plane = Plane {
    field: "traefik",
    group: "traefik.io",
    kind: "TraefikService",
    plural: "traefikservices",
    name: |traefik, _| text(&traefik["weightedTraefikServiceName"]).to_owned(),
    route: |object| {
        let services = object["spec"]["weighted"]["services"].as_array()?;
        let [stable, canary] = services.as_slice() else {
            return None;
        };
        let side = |service: &Value| service["weight"].as_u64().unwrap_or(1);
        let route = pair(
            (text(&stable["name"]), side(stable)),
            (text(&canary["name"]), side(canary)),
        );
        Some((entry("TraefikService", text(&object["metadata"]["name"])), route))
    },
};
