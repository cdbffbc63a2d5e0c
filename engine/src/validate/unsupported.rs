//! What upstream acts on and this controller does not, yet: named, never ignored.

use tidegate_crds::{CanaryStrategy, IntOrString, MetricProvider, Rollout, RolloutTrafficRouting};

use super::path::FieldPath;
use super::routers;
use super::violation::{Found, Violation};

const KEEP: &str = "or keep this Rollout with Argo Rollouts until it is supported";

pub(super) fn check(rollout: &Rollout, found: &mut Found) {
    let Some(strategy) = &rollout.spec.strategy else {
        return;
    };
    if let Some(canary) = &strategy.canary {
        let path = FieldPath::of("spec.strategy.canary");
        steps(canary, &path, found);
        allowance(&path, "maxSurge", canary.max_surge.as_ref(), found);
        allowance(&path, "maxUnavailable", canary.max_unavailable.as_ref(), found);
        if canary.ping_pong.is_some() {
            found.add(
                Violation::unsupported(
                    path.child("pingPong"),
                    "pingPong",
                    "ping-pong Services are not supported yet",
                )
                .fix(format!(
                    "remove pingPong and set stableService and canaryService, {KEEP}"
                )),
            );
        }
        if let Some(routing) = &canary.traffic_routing {
            self::routing(routing, &path.child("trafficRouting"), found);
        }
    }
    if let Some(blue_green) = &strategy.blue_green {
        let path = FieldPath::of("spec.strategy.blueGreen");
        allowance(
            &path,
            "maxUnavailable",
            blue_green.max_unavailable.as_ref(),
            found,
        );
    }
}

/// Pods that may be there or be missing, as a Deployment takes them. Upstream reads `"3"` as three percent, which nobody means,
/// and the default for `"-3"` and `"three"`.
fn allowance(path: &FieldPath, field: &str, value: Option<&IntOrString>, found: &mut Found) {
    let path = path.child(field);
    match value {
        Some(IntOrString::Int(count)) if *count < 0 => found.add(
            Violation::invalid(path, *count, "must be greater than or equal to 0")
                .fix(format!("set {field} to 0 or more")),
        ),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%');
            if percent.is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
            }) {
                return;
            }
            let fix = match text.trim().parse::<u32>() {
                Ok(count) => {
                    format!("write {count} without quotes for pods, or \"{count}%\" for a share of them")
                }
                Err(_) => format!("set {field} to a number of pods, or to a percentage such as \"25%\""),
            };
            let message = "a valid percent string must be a numeric string followed by an ending '%'";
            found.add(Violation::invalid(path, text.as_str(), message).fix(fix));
        }
        _ => {}
    }
}

fn steps(canary: &CanaryStrategy, path: &FieldPath, found: &mut Found) {
    for (index, step) in canary.steps.iter().enumerate() {
        let kinds = [
            (
                "experiment",
                step.experiment.is_some(),
                "experiment steps are not supported yet",
            ),
            (
                "setMirrorRoute",
                step.set_mirror_route.is_some(),
                "mirrored traffic is not supported yet",
            ),
            (
                "plugin",
                step.plugin.is_some(),
                "step plugins are not supported yet",
            ),
        ];
        for (field, _, problem) in kinds.into_iter().filter(|(_, given, _)| *given) {
            found.add(
                Violation::unsupported(path.child("steps").index(index).child(field), field, problem)
                    .fix(format!("remove the step, {KEEP}")),
            );
        }
    }
}

fn routing(routing: &RolloutTrafficRouting, path: &FieldPath, found: &mut Found) {
    let all = [
        ("istio", routing.istio.is_some()),
        ("nginx", routing.nginx.is_some()),
        ("alb", routing.alb.is_some()),
        ("smi", routing.smi.is_some()),
        ("ambassador", routing.ambassador.is_some()),
        ("appMesh", routing.app_mesh.is_some()),
        ("traefik", routing.traefik.is_some()),
        ("apisix", routing.apisix.is_some()),
        ("plugins", !routing.plugins.is_empty()),
    ];
    let given = || all.into_iter().filter(|(_, given)| *given);
    for (field, _) in given().filter(|(field, _)| !routers::is_supported(field)) {
        let problem = format!("supported values: {}", routers::supported());
        found.add(
            Violation::unsupported(path.child(field), field, problem)
                .fix(format!("use trafficRouting.nginx, {KEEP}")),
        );
    }
    if given().next().is_none() {
        // upstream takes it, and nobody sets the weights that the status then shows
        found.add(
            Violation::required(
                path.clone(),
                "trafficRouting names no router, so weights would have no effect",
            )
            .fix("set trafficRouting.nginx, or remove trafficRouting to weigh by the number of pods"),
        );
    }
}

/// The provider of a metric that nobody here can ask, if it is one.
pub(super) fn provider(provider: &MetricProvider) -> Option<&'static str> {
    [
        ("kayenta", provider.kayenta.is_some()),
        ("datadog", provider.datadog.is_some()),
        ("wavefront", provider.wavefront.is_some()),
        ("newRelic", provider.new_relic.is_some()),
        ("cloudWatch", provider.cloud_watch.is_some()),
        ("graphite", provider.graphite.is_some()),
        ("influxdb", provider.influxdb.is_some()),
        ("skywalking", provider.skywalking.is_some()),
        ("plugin", !provider.plugin.is_empty()),
    ]
    .into_iter()
    .find_map(|(name, given)| given.then_some(name))
}
