//! SMI: a TrafficSplit of our own between the Services, in one of three versions (contract F85, 3.18).

use serde_json::{Value, json};
use tidegate_crds::SMITrafficRouting;

use crate::object::{controlled_by, guards, list, operation, owned, text};
use crate::{
    Can, Destination, LiveObjects, ObjectRef, Plane, Problem, RouteKind, RouteOp, RouteWrite, RouterError,
    Seen, Share, Subject, TrafficIntent, TrafficRouter, Words,
};

/// SMI.
pub static PLANE: Plane = Plane {
    id: "SMI",
    field: "smi",
    kinds: &[&V1ALPHA1, &V1ALPHA2, &V1ALPHA3],
    can: Can {
        headers: false,
        mirrors: false,
        total: false,
        additional: true,
    },
    router: |routing, subject, kind| {
        let spec = routing.smi.as_ref()?;
        Some(Box::new(Smi { spec, subject, kind }))
    },
};

const fn traffic_split(version: &'static str) -> RouteKind {
    RouteKind {
        group: "split.smi-spec.io",
        version,
        plural: "trafficsplits",
        kind: "TrafficSplit",
        everywhere: false,
        made: true,
        routes_by: &[],
    }
}

/// The version that upstream speaks when nobody says otherwise. Its weights are quantities.
pub static V1ALPHA1: RouteKind = traffic_split("v1alpha1");
/// Weights are numbers.
pub static V1ALPHA2: RouteKind = traffic_split("v1alpha2");
/// Weights are numbers.
pub static V1ALPHA3: RouteKind = traffic_split("v1alpha3");

/// The router for `trafficRouting.smi`.
#[derive(Clone, Copy, Debug)]
struct Smi<'a> {
    spec: &'a SMITrafficRouting,
    subject: Subject<'a>,
    kind: &'static RouteKind,
}

impl Smi<'_> {
    fn object(&self) -> ObjectRef {
        let name = self.spec.traffic_split_name.as_deref();
        let name = name.filter(|name| !name.is_empty());
        ObjectRef::new(
            self.kind,
            self.subject.namespace,
            name.unwrap_or(self.subject.rollout),
        )
    }

    fn weight(&self, weight: i32) -> Value {
        if *self.kind == V1ALPHA1 {
            json!(weight.to_string())
        } else {
            json!(weight)
        }
    }

    fn split(&self, to: &[Destination<'_>]) -> Value {
        let root = self.spec.root_service.as_deref();
        let root = root.filter(|root| !root.is_empty());
        let backends = to
            .iter()
            .map(|to| json!({ "service": to.service, "weight": self.weight(to.weight) }));
        json!({
            "service": root.unwrap_or(self.subject.stable_service),
            "backends": backends.collect::<Vec<_>>(),
        })
    }

    /// Place and weight of a Service among the backends.
    fn backend<'v>(live: &'v Value, service: &str) -> Option<(usize, &'v Value)> {
        let found = list(live, "/spec/backends")
            .enumerate()
            .find(|(_, backend)| text(backend, "/service") == service)?;
        Some((found.0, found.1.get("weight").unwrap_or(&Value::Null)))
    }

    /// What a live split gives the Services, if that can be understood. An additional one that is not there gets nothing.
    fn weights(&self, live: &Value) -> Option<Vec<i32>> {
        let of = |service: &str| match Self::backend(live, service) {
            Some((_, weight)) => number(weight),
            None => self.is_additional(service).then_some(0),
        };
        self.subject.services().map(of).collect()
    }

    fn is_additional(&self, service: &str) -> bool {
        self.subject.additional_services.contains(&service)
    }

    /// The same as shares, or nothing where that says nothing.
    fn shares(&self, live: &Value) -> Option<Vec<Share>> {
        let weights = self.weights(live)?;
        let total = weights
            .iter()
            .fold(0_i32, |sum, weight| sum.saturating_add(*weight));
        (total > 0).then(|| weights.iter().map(|weight| Share::of(*weight, total)).collect())
    }

    fn share(&self, live: &Value) -> Share {
        let shares = self.shares(live).unwrap_or_default();
        shares.first().copied().unwrap_or_else(Share::unknown)
    }

    /// What a split gives already, in the parts of an intent: of what cannot be said exactly, stable gets the rest.
    fn held(&self, live: &Value, intent: &TrafficIntent) -> TrafficIntent {
        let shares = self.shares(live).unwrap_or_default();
        let mut least = shares
            .iter()
            .map(|share| share.in_parts_of(intent.whole()).least());
        let weight = least.next().unwrap_or(0);
        let additional = self.subject.additional_services.iter();
        TrafficIntent {
            weight,
            additional: additional
                .map(|service| (*service).to_owned())
                .zip(least)
                .collect(),
            ..intent.clone()
        }
    }

    /// Whether but for its weights it is as it shall be.
    fn has_shape(&self, live: &Value, wanted: &[Destination<'_>]) -> bool {
        let wanted = self.split(wanted);
        let services = |split: &Value| -> Vec<String> {
            let backends = list(split, "/backends").map(|backend| text(backend, "/service").to_owned());
            backends.collect()
        };
        let spec = live.get("spec").unwrap_or(&Value::Null);
        spec["service"] == wanted["service"] && services(spec) == services(&wanted)
    }

    /// The weights alone, where all Services are `split` between already, or all but additional ones.
    fn set(&self, split: &Value, live: &Value, from: i32, to: &[Destination<'_>]) -> Option<RouteOp> {
        let (uid, resource_version) = guards(live);
        let (mut tests, mut sets) = (Vec::new(), Vec::new());
        for Destination { service, weight } in to {
            let Some((place, old)) = Self::backend(split, service) else {
                if self.is_additional(service) {
                    continue;
                }
                return None;
            };
            number(old)?;
            let path = format!("/spec/backends/{place}");
            tests.push(operation("test", &format!("{path}/service"), *service));
            tests.push(operation("test", &format!("{path}/weight"), old.clone()));
            sets.push(operation(
                "replace",
                &format!("{path}/weight"),
                self.weight(*weight),
            ));
        }
        Some(RouteOp::SetWeight {
            uid,
            resource_version,
            operations: tests.into_iter().chain(sets).collect(),
            from,
            to: to.first()?.weight,
        })
    }

    /// What a split has to be told. The weight has a request of its own, so that nothing else can have it refused: it falls before
    /// anything else changes, and rises after.
    fn changes(&self, live: &Value, intent: &TrafficIntent) -> Vec<RouteOp> {
        let wanted = intent.destinations(&self.subject);
        let share = self.share(live).in_parts_of(intent.whole());
        let weights = wanted.iter().map(|to| to.weight);
        let is_set = self.weights(live).is_some_and(|live| weights.eq(live));
        if self.has_shape(live, &wanted) {
            if is_set {
                return Vec::new();
            }
            if let Some(set) = self.set(live, live, share.most(), &wanted) {
                return vec![set];
            }
        }
        let (uid, resource_version) = guards(live);
        let shaped = |to: &[Destination<'_>]| RouteOp::Patch {
            uid: uid.clone(),
            resource_version: resource_version.clone(),
            patch: json!({ "spec": self.split(to) }),
        };
        if share.most() > intent.weight {
            let falls = self.set(live, live, share.most(), &wanted).filter(|_| !is_set);
            return falls.into_iter().chain([shaped(&wanted)]).collect();
        }
        let held = self.held(live, intent).destinations(&self.subject);
        let after = json!({ "spec": self.split(&held) });
        let rises = self
            .set(&after, live, share.least(), &wanted)
            .filter(|_| held != wanted);
        std::iter::once(shaped(&held)).chain(rises).collect()
    }
}

impl TrafficRouter for Smi<'_> {
    fn plane(&self) -> &'static Plane {
        &PLANE
    }

    fn kind(&self) -> &'static RouteKind {
        self.kind
    }

    fn objects(&self) -> Vec<ObjectRef> {
        vec![self.object()]
    }

    fn check_objects(&self, _live: &LiveObjects) -> Vec<Problem> {
        Vec::new()
    }

    fn render(&self, intent: &TrafficIntent, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError> {
        let object = self.object();
        let name = &object.name;
        let (ops, event) = match live.get(&object) {
            None => {
                let wanted = intent.destinations(&self.subject);
                let body = owned(self.kind, &self.subject, name, &self.split(&wanted));
                let event = Words {
                    reason: "TrafficSplitCreated",
                    message: format!("TrafficSplit `{name}` created"),
                };
                (vec![RouteOp::Create(body)], Some(event))
            }
            Some(split) if !controlled_by(split, self.subject.uid) => {
                let error = format!("Rollout does not own TrafficSplit `{name}`");
                return Err(RouterError::Unfit(error));
            }
            Some(split) => (self.changes(split, intent), None),
        };
        let writes = ops.into_iter().map(|op| RouteWrite {
            object: object.clone(),
            op,
            event: event.clone(),
        });
        Ok(writes.collect())
    }

    fn observe(&self, live: &LiveObjects) -> Seen {
        let split = live
            .get(&self.object())
            .filter(|split| controlled_by(split, self.subject.uid));
        Seen {
            share: split.map(|split| self.share(split)),
            ..Seen::default()
        }
    }
}

/// A weight as a whole number, or as the text of a quantity that is one: `50`, `"50"`, `"1e2"`.
fn number(weight: &Value) -> Option<i32> {
    let number = match weight {
        Value::String(text) => text.parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    let whole = (0.0..=1e9).contains(&number) && number.fract() == 0.0;
    whole.then(|| format!("{number:.0}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_in_every_form() {
        for (weight, expected) in [
            (json!(20), Some(20)),
            (json!(20.0), Some(20)),
            (json!("20"), Some(20)),
            (json!("1e2"), Some(100)),
            (json!("500m"), None),
            (json!(0.5), None),
            (json!(-1), None),
            (Value::Null, None),
        ] {
            assert_eq!(number(&weight), expected, "{weight}");
        }
    }
}
