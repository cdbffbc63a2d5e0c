//! SMI: a TrafficSplit of our own between the two Services, in one of three versions (contract F85, 3.18).

use serde_json::{Value, json};
use tidegate_crds::SMITrafficRouting;

use crate::object::{controlled_by, guards, list, operation, owned, text};
use crate::{
    Can, LiveObjects, ObjectRef, Plane, Problem, RouteKind, RouteOp, RouteWrite, RouterError, Seen, Share,
    Subject, TrafficIntent, TrafficRouter, Words,
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

/// Weights of the canary and of stable.
type Weights = (i32, i32);

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

    fn split(&self, (canary, stable): Weights) -> Value {
        let root = self.spec.root_service.as_deref();
        let root = root.filter(|root| !root.is_empty());
        json!({
            "service": root.unwrap_or(self.subject.stable_service),
            "backends": [
                { "service": self.subject.canary_service, "weight": self.weight(canary) },
                { "service": self.subject.stable_service, "weight": self.weight(stable) },
            ],
        })
    }

    /// Place and weight of a Service among the backends.
    fn backend<'v>(live: &'v Value, service: &str) -> Option<(usize, &'v Value)> {
        let found = list(live, "/spec/backends")
            .enumerate()
            .find(|(_, backend)| text(backend, "/service") == service)?;
        Some((found.0, found.1.get("weight").unwrap_or(&Value::Null)))
    }

    /// What a live split gives the two versions, if that can be understood.
    fn weights(&self, live: &Value) -> Option<Weights> {
        let of = |service| number(Self::backend(live, service)?.1);
        Some((of(self.subject.canary_service)?, of(self.subject.stable_service)?))
    }

    fn share(&self, live: &Value) -> Share {
        match self.weights(live) {
            Some((canary, stable)) if canary.saturating_add(stable) > 0 => {
                Share::of(canary, canary.saturating_add(stable))
            }
            _ => Share::unknown(),
        }
    }

    /// Whether but for its weights it is as it shall be.
    fn has_shape(&self, live: &Value) -> bool {
        let wanted = self.split((0, 0));
        let services = |split: &Value| -> Vec<String> {
            let backends = list(split, "/backends").map(|backend| text(backend, "/service").to_owned());
            backends.collect()
        };
        let spec = live.get("spec").unwrap_or(&Value::Null);
        spec["service"] == wanted["service"] && services(spec) == services(&wanted)
    }

    /// The weights alone, where both Services are `split` between already.
    fn set(&self, split: &Value, live: &Value, from: i32, intent: Weights) -> Option<RouteOp> {
        let (uid, resource_version) = guards(live);
        let pairs = [
            (self.subject.canary_service, intent.0),
            (self.subject.stable_service, intent.1),
        ];
        let (mut tests, mut sets) = (Vec::new(), Vec::new());
        for (service, weight) in pairs {
            let (place, old) = Self::backend(split, service)?;
            number(old)?;
            let path = format!("/spec/backends/{place}");
            tests.push(operation("test", &format!("{path}/service"), service));
            tests.push(operation("test", &format!("{path}/weight"), old.clone()));
            sets.push(operation(
                "replace",
                &format!("{path}/weight"),
                self.weight(weight),
            ));
        }
        Some(RouteOp::SetWeight {
            uid,
            resource_version,
            operations: tests.into_iter().chain(sets).collect(),
            from,
            to: intent.0,
        })
    }

    /// What a split has to be told. The weight has a request of its own, so that nothing else can have it refused: it falls before
    /// anything else changes, and rises after.
    fn changes(&self, live: &Value, intent: Weights) -> Vec<RouteOp> {
        let whole = intent.0 + intent.1;
        let share = self.share(live).in_parts_of(whole);
        let weights = self.weights(live);
        if self.has_shape(live) && weights == Some(intent) {
            return Vec::new();
        }
        if self.has_shape(live)
            && let Some(set) = self.set(live, live, share.most, intent)
        {
            return vec![set];
        }
        let (uid, resource_version) = guards(live);
        let shaped = |weights| RouteOp::Patch {
            uid: uid.clone(),
            resource_version: resource_version.clone(),
            patch: json!({ "spec": self.split(weights) }),
        };
        if share.most > intent.0 {
            let falls = self
                .set(live, live, share.most, intent)
                .filter(|_| weights != Some(intent));
            return falls.into_iter().chain([shaped(intent)]).collect();
        }
        let held = (share.least, whole - share.least);
        let after = json!({ "spec": self.split(held) });
        let rises = self
            .set(&after, live, share.least, intent)
            .filter(|_| held != intent);
        std::iter::once(shaped(held)).chain(rises).collect()
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
        let weights = (intent.weight, intent.whole() - intent.weight);
        let (ops, event) = match live.get(&object) {
            None => {
                let body = owned(self.kind, &self.subject, name, &self.split(weights));
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
            Some(split) => (self.changes(split, weights), None),
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
