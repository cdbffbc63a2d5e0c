//! Traefik: weights of the Services in a TraefikService that somebody else made (contract F88, 3.18).

use std::iter;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_crds::TraefikTrafficRouting;

use crate::object::{guards, operation, text};
use crate::{
    Can, Destination, LiveObjects, ObjectRef, Plane, Problem, RouteKind, RouteOp, RouteWrite, RouterError,
    Seen, Share, Subject, TrafficIntent, TrafficRouter, Wrong,
};

/// Traefik.
pub static PLANE: Plane = Plane {
    id: "Traefik",
    field: "traefik",
    kinds: &[&TRAEFIK_SERVICE, &TRAEFIK_SERVICE_2],
    can: Can {
        headers: false,
        mirrors: false,
        total: false,
        additional: true,
    },
    router: |routing, subject, kind| {
        let spec = routing.traefik.as_ref()?;
        Some(Box::new(Traefik { spec, subject, kind }))
    },
};

const fn traefik_service(group: &'static str) -> RouteKind {
    RouteKind {
        group,
        version: "v1alpha1",
        plural: "traefikservices",
        kind: "TraefikService",
        everywhere: false,
        made: false,
        routes_by: &[],
    }
}

/// TraefikServices, in the group of Traefik 3 and of later versions of Traefik 2.
pub static TRAEFIK_SERVICE: RouteKind = traefik_service("traefik.io");
/// The same, in the group of Traefik 2, which is upstream's default.
pub static TRAEFIK_SERVICE_2: RouteKind = traefik_service("traefik.containo.us");

/// What Traefik takes for a weight that is not given.
const DEFAULT_WEIGHT: i32 = 1;

/// The router for `trafficRouting.traefik`.
#[derive(Clone, Copy, Debug)]
struct Traefik<'a> {
    spec: &'a TraefikTrafficRouting,
    subject: Subject<'a>,
    kind: &'static RouteKind,
}

/// One of the weighted services.
struct Weighted<'v> {
    place: usize,
    whole: &'v Value,
    weight: i32,
}

impl Traefik<'_> {
    fn object(&self) -> ObjectRef {
        let name = self.spec.weighted_traefik_service_name.as_str();
        ObjectRef::new(self.kind, self.subject.namespace, name)
    }

    /// The weighted services of the [`Subject::services`]; what is wrong where one is not there. An additional one that is not
    /// there gets nothing.
    fn weighted<'v>(&self, live: &'v Value) -> Result<Vec<Weighted<'v>>, String> {
        let services = live.pointer("/spec/weighted/services").and_then(Value::as_array);
        let services = services.ok_or("spec.weighted.services was not found in traefik service manifest")?;
        let find = |name: &str| {
            let mut places = services.iter().enumerate();
            let (place, whole) = places.find(|(_, service)| text(service, "/name") == name)?;
            let weight = whole.get("weight").filter(|weight| !weight.is_null());
            let weight = match weight {
                Some(weight) => i32::try_from(weight.as_i64()?).ok()?.max(0),
                None => DEFAULT_WEIGHT,
            };
            Some(Weighted { place, whole, weight })
        };
        let canary = find(self.subject.canary_service).ok_or("traefik canary service was not found")?;
        let additional = self.subject.additional_services.iter();
        let additional = additional.filter_map(|name| find(name));
        let stable = find(self.subject.stable_service).ok_or("traefik stable service was not found")?;
        Ok(iter::once(canary).chain(additional).chain([stable]).collect())
    }
}

/// What the canary, the first of them, gets of what all get.
fn share(services: &[Weighted<'_>]) -> Share {
    let total = services
        .iter()
        .fold(0_i32, |sum, service| sum.saturating_add(service.weight));
    match services.first() {
        Some(canary) if total > 0 => Share::of(canary.weight, total),
        _ => Share::unknown(),
    }
}

/// The weights of all, as one request.
fn set(live: &Value, wanted: &[(&Weighted<'_>, i32)], from: i32, to: i32) -> RouteOp {
    let (uid, resource_version) = guards(live);
    let (mut tests, mut sets) = (Vec::new(), Vec::new());
    for (service, weight) in wanted {
        let path = format!("/spec/weighted/services/{}", service.place);
        let at = format!("{path}/weight");
        let op = if let Some(old) = service.whole.get("weight") {
            let name = service.whole.get("name").cloned().unwrap_or_default();
            tests.push(operation("test", &format!("{path}/name"), name));
            tests.push(operation("test", &at, old.clone()));
            "replace"
        } else {
            // What is not there cannot be tested for by itself.
            tests.push(operation("test", &path, service.whole.clone()));
            "add"
        };
        sets.push(operation(op, &at, *weight));
    }
    RouteOp::SetWeight {
        uid,
        resource_version,
        operations: tests.into_iter().chain(sets).collect(),
        from,
        to,
    }
}

impl TrafficRouter for Traefik<'_> {
    fn plane(&self) -> &'static Plane {
        &PLANE
    }

    fn kind(&self) -> &'static RouteKind {
        self.kind
    }

    fn objects(&self) -> Vec<ObjectRef> {
        vec![self.object()]
    }

    fn check_objects(&self, live: &LiveObjects) -> Vec<Problem> {
        let object = self.object();
        let name = &object.name;
        let problem = |wrong, message, fix: &str| Problem {
            path: "traefik.weightedTraefikServiceName".to_owned(),
            said: None,
            wrong,
            message,
            fix: fix.to_owned(),
        };
        let found = match live.get(&object) {
            None => Some(problem(
                Wrong::Missing(Arc::new(json!(name))),
                format!("{}.{} \"{name}\" not found", self.kind.plural, self.kind.group),
                "create the TraefikService with both Services under spec.weighted.services, or correct the name",
            )),
            Some(service) => self.weighted(service).err().map(|error| {
                problem(
                    Wrong::Invalid(json!(name)),
                    error,
                    "name both stableService and canaryService under spec.weighted.services",
                )
            }),
        };
        found.into_iter().collect()
    }

    fn render(&self, intent: &TrafficIntent, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError> {
        let object = self.object();
        let service = live.get(&object).ok_or_else(|| RouterError::Missing {
            kind: "TraefikService",
            name: object.name.clone(),
        })?;
        let services = self.weighted(service).map_err(RouterError::Unfit)?;
        let mut wanted = Vec::new();
        for Destination { service, weight } in intent.destinations(&self.subject) {
            match services
                .iter()
                .find(|there| text(there.whole, "/name") == service)
            {
                Some(there) => wanted.push((there, weight)),
                None if weight == 0 => {}
                None => {
                    return Err(RouterError::Unfit(format!(
                        "traefik service {service} was not found"
                    )));
                }
            }
        }
        let is = |there: &Weighted<'_>, weight| there.whole.get("weight").is_some() && there.weight == weight;
        if wanted.iter().all(|(there, weight)| is(there, *weight)) {
            return Ok(Vec::new());
        }
        let from = share(&services).in_parts_of(intent.whole()).most();
        let op = set(service, &wanted, from, intent.weight);
        Ok(vec![RouteWrite {
            object,
            op,
            event: None,
        }])
    }

    fn observe(&self, live: &LiveObjects) -> Seen {
        let share = live
            .get(&self.object())
            // What cannot be understood may send requests anywhere.
            .map(|service| {
                self.weighted(service)
                    .map_or_else(|_| Share::unknown(), |services| share(&services))
            });
        Seen {
            share,
            ..Seen::default()
        }
    }
}
