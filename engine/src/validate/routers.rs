//! What routers say of themselves, as rules (contract 4.1 and 4.2).

use serde_json::Value;
use tidegate_crds::{Rollout, SetHeaderRoute};
use tidegate_traffic::{Dialect, ObjectRef, PLANES, Plane, Problem, Routes, TrafficRouter, Wrong};

use super::path::FieldPath;
use super::violation::{Found, Json, Quoted as _, Violation, ViolationKind};

/// The routers of a Rollout.
pub(super) type Routers<'a> = [Box<dyn TrafficRouter + 'a>];

/// The routers of a Rollout, for rules that hold in every version of their kinds.
pub(super) fn of(rollout: &Rollout) -> Vec<Box<dyn TrafficRouter + '_>> {
    tidegate_traffic::routers(rollout, &Dialect::default())
}

/// Fields of `trafficRouting` that are supported: `"nginx"`.
pub(super) fn supported() -> String {
    let fields: Vec<String> = PLANES.iter().map(|plane| format!("{:?}", plane.field)).collect();
    fields.join(", ")
}

/// Whether there is a router for a field of `trafficRouting`.
pub(super) fn is_supported(field: &str) -> bool {
    PLANES.iter().any(|plane| plane.field == field)
}

/// The planes that a strategy names.
pub(super) fn planes(routers: &Routers<'_>) -> impl Iterator<Item = &'static Plane> {
    routers.iter().map(|router| router.plane())
}

/// What is wrong with the routers' own fields.
pub(super) fn check_specs(routers: &Routers<'_>, path: &FieldPath, found: &mut Found) {
    for router in routers {
        for problem in router.check_spec() {
            found.add(violation(problem, path));
        }
    }
}

/// A header route that not every router can make, or not this one.
pub(super) fn check_header_route(
    routers: &Routers<'_>,
    route: &SetHeaderRoute,
    earlier: &[&SetHeaderRoute],
    path: &FieldPath,
    found: &mut Found,
) {
    for router in routers {
        let Plane { id, can, .. } = router.plane();
        if !can.headers {
            let problem = format!("{id} cannot lead requests with a header to the canary");
            let violation = Violation::unsupported(path.clone(), Json(route), problem);
            found.add(violation.fix("remove the step, or that router"));
        }
        for problem in router.check_header_route(route, earlier) {
            found.add(violation(problem, path));
        }
    }
}

/// What is wrong with the objects that routers name: those that are not there, and the others.
pub(super) struct Objects {
    missing: Found,
    wrong: Found,
}

impl Objects {
    /// Those that are not there count where all are known (`complete`).
    pub(super) fn of(rollout: &Rollout, known: &Routes, complete: bool) -> Self {
        let path = FieldPath::of("spec.strategy.canary.trafficRouting");
        let (mut missing, mut wrong) = (Found::default(), Found::default());
        for router in tidegate_traffic::routers(rollout, &known.dialect) {
            let plane = router.plane();
            if let Some(why) = known.unserved.get(router.kind()) {
                let problem = unserved(router.as_ref(), why);
                let field = path.child(plane.field);
                missing.add(
                    Violation::new(field, ViolationKind::Internal, problem).fix(format!(
                        "install the CRDs of {}, or remove trafficRouting.{}",
                        plane.id, plane.field
                    )),
                );
                continue;
            }
            for problem in router.check_objects(&known.live) {
                let found = match &problem.wrong {
                    Wrong::Missing(_) if !complete => continue,
                    Wrong::Missing(_) | Wrong::Contradiction => &mut missing,
                    Wrong::Invalid(_) | Wrong::Unsupported(_) => &mut wrong,
                };
                // A value that is quoted may be as long as the spec.
                if !found.is_full() {
                    found.add(violation(problem, &path));
                }
            }
        }
        Self { missing, wrong }
    }

    pub(super) fn check_exist(&mut self, found: &mut Found) {
        found.extend(std::mem::take(&mut self.missing));
    }

    pub(super) fn check(self, found: &mut Found) {
        found.extend(self.wrong);
    }
}

fn unserved(router: &dyn TrafficRouter, why: &str) -> String {
    let kind = router.kind();
    let names: Vec<String> = router
        .objects()
        .iter()
        .map(|ObjectRef { name, .. }| format!("{} {name:?}", kind.kind))
        .collect();
    format!(
        "{} of {} cannot be read: {why}",
        names.join(", "),
        kind.api_version()
    )
}

fn violation(problem: Problem, below: &FieldPath) -> Violation {
    let Problem {
        path,
        said,
        wrong,
        message,
        fix,
    } = problem;
    let quoted = |value: &Value| match value {
        Value::String(text) => text.as_str().quoted(),
        other => Json(other).quoted(),
    };
    let kind = match wrong {
        Wrong::Missing(value) => ViolationKind::Invalid(quoted(&value)),
        Wrong::Invalid(value) => ViolationKind::Invalid(quoted(&value)),
        Wrong::Unsupported(value) => ViolationKind::Unsupported(quoted(&value)),
        Wrong::Contradiction => ViolationKind::Internal,
    };
    let violation = Violation::new(below.below(&path), kind, message).fix(fix);
    match said {
        Some(said) => violation.said(format!("{below}.{said}")),
        None => violation,
    }
}
