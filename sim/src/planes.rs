//! Data planes beside NGINX: how each routes by its objects, and what these give the canary. A file for each.

mod smi;
mod traefik;

use serde_json::{Value, json};

use crate::actors::text;
use crate::dataplane::Route;

/// A data plane with one route object for a Rollout.
pub struct Plane {
    /// The field of `trafficRouting` that chooses it.
    field: &'static str,
    /// API group of its objects.
    group: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Plural of the kind.
    plural: &'static str,
    /// The name of the object, by `trafficRouting` and the name of the Rollout.
    name: fn(&Value, &str) -> String,
    /// How it routes: where requests come in, and where they go.
    route: fn(&Value) -> Option<(String, Route)>,
}

/// All of them.
pub static PLANES: [&Plane; 2] = [&smi::PLANE, &traefik::PLANE];

/// What a route object gives the canary: weight, and what that is a part of.
pub type Given = (i64, i64);

impl Plane {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        format!("{}/v1alpha1", self.group)
    }

    /// The definition that a cluster with this data plane has.
    pub fn definition(&self) -> Value {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group)},
            "spec": {
                "group": self.group,
                "names": {"kind": self.kind, "plural": self.plural},
                "scope": "Namespaced",
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                }],
            },
        })
    }

    /// Whether a field of `trafficRouting` chooses it.
    pub fn is_chosen_by(&self, field: &str) -> bool {
        self.field == field
    }

    /// Whether a Rollout uses it.
    pub fn is_used(&self, rollout: &Value) -> bool {
        routing(rollout)[self.field].is_object()
    }

    /// The name of the object that a Rollout uses.
    pub fn object_of(&self, rollout: &Value) -> String {
        (self.name)(&routing(rollout)[self.field], text(&rollout["metadata"]["name"]))
    }

    /// How an object routes, and what it gives the Service of the canary.
    pub fn route(&self, object: &Value) -> Option<(String, Route)> {
        (self.route)(object)
    }

    /// What an object gives the canary of a Rollout.
    pub fn given(&self, object: &Value, rollout: &Value) -> Given {
        let canary = text(&rollout["spec"]["strategy"]["canary"]["canaryService"]);
        let side = self.route(object).and_then(|(_, route)| route.canary);
        let side = side.filter(|side| side.service == canary && side.total > 0);
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        side.map_or((0, 1), |side| (number(side.weight), number(side.total)))
    }
}

/// The kind of a route object of any data plane but NGINX.
pub fn is_route(kind: &str) -> bool {
    PLANES.iter().any(|plane| plane.kind == kind)
}

/// Where requests come in that no host names: at an object of this kind and name.
pub fn entry(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

fn routing(rollout: &Value) -> &Value {
    &rollout["spec"]["strategy"]["canary"]["trafficRouting"]
}

/// Two services with their weights, as a route.
fn pair(stable: (&str, u64), canary: (&str, u64)) -> Route {
    Route::of(stable.0, canary.0, canary.1, stable.1.saturating_add(canary.1))
}
