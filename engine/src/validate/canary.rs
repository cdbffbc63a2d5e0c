//! The rules for canaries and their steps (contract 4.1).

use tidegate_analysis::args;
use tidegate_crds::{
    AnalysisRunArgument, CanaryStep, CanaryStrategy, IntOrString, ReplicaProgressThresholdType, Rollout,
    RolloutTrafficRouting, SetHeaderRoute, SetMirrorRoute, StringMatch,
};

use super::path::FieldPath;
use super::routers::{self, Routers};
use super::rules;
use super::violation::{Found, Json, Violation};

const STEP_MESSAGE: &str =
    "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause";
const ARGS_MESSAGE: &str = "Analyses arguments must refer to valid object metadata supported by downwardAPI";
const MISSED_VALUE: &str =
    "StringMatch value missed, match value must have one of the following: exact, regex, prefix";
const MULTIPLE_VALUES: &str =
    "StringMatch match value must have exactly one of the following: exact, regex, prefix";

pub(super) fn check(rollout: &Rollout, canary: &CanaryStrategy, found: &mut Found) {
    let path = FieldPath::of("spec.strategy.canary");
    surge(canary, &path, found);
    let routers = routers::of(rollout);
    services(canary, &routers, &path, found);
    routing(canary, &routers, &path, found);
    progress_threshold(canary, &path, found);
    for (index, step) in canary.steps.iter().enumerate() {
        if found.is_full() {
            return;
        }
        let at = Step {
            rollout,
            canary,
            path: &path,
            index,
        };
        at.check(step, found);
    }
    rules::anti_affinity(&path, canary.anti_affinity.as_ref(), found);
}

/// Upstream leaves the strategy's name out of the path.
fn said(field: &str) -> String {
    format!("spec.strategy.{field}")
}

fn blank(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

fn surge(canary: &CanaryStrategy, path: &FieldPath, found: &mut Found) {
    let is_zero = |number: Option<&IntOrString>| match number {
        // the default is 25 percent
        None => false,
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
            // what is no number is told as such
            percent
                .unwrap_or(text)
                .parse::<i64>()
                .is_ok_and(|share| share == 0)
        }
        Some(number) => number.int_value() == 0,
    };
    if let Some(surge) = &canary.max_surge
        && is_zero(Some(surge))
        && is_zero(canary.max_unavailable.as_ref())
    {
        found.add(
            Violation::invalid(
                path.child("maxSurge"),
                Json(surge),
                "MaxSurge and MaxUnavailable both can not be zero",
            )
            .said(said("maxSurge"))
            .fix("set maxSurge or maxUnavailable to more than 0"),
        );
    }
}

fn services(canary: &CanaryStrategy, routers: &Routers<'_>, path: &FieldPath, found: &mut Found) {
    if let (Some(stable), Some(_)) = (&canary.stable_service, &canary.canary_service)
        && !stable.is_empty()
        && canary.canary_service == canary.stable_service
    {
        found.add(
            Violation::invalid(
                path.child("stableService"),
                stable.as_str(),
                "This rollout uses the same service for the stable and canary services, but two different services \
                 are required.",
            )
            .said(said("stableService"))
            .fix("name another Service in canaryService"),
        );
    }
    ping_pong(canary, path, found);
    if requires_services(canary, routers) {
        for (field, service) in [
            ("stableService", &canary.stable_service),
            ("canaryService", &canary.canary_service),
        ] {
            if blank(service.as_ref()) {
                found.add(
                    Violation::invalid(
                        path.child(field),
                        "",
                        "Canary service and Stable service must to be set to use Traffic Routing",
                    )
                    .said(said(field))
                    .fix(format!("set {field} to a Service of its own")),
                );
            }
        }
    }
}

/// What it does not know would count as something that nobody meant.
fn progress_threshold(canary: &CanaryStrategy, path: &FieldPath, found: &mut Found) {
    use ReplicaProgressThresholdType::{Percent, Pods};

    let threshold = canary.replica_progress_threshold.as_ref();
    if let Some(threshold) = threshold.filter(|t| !matches!(t.type_, Percent | Pods)) {
        found.add(
            Violation::unsupported(
                path.child("replicaProgressThreshold.type"),
                threshold.type_.as_str(),
                "supported values: \"Percent\", \"Pods\"",
            )
            .fix("set type to Percent or Pods"),
        );
    }
}

fn ping_pong(canary: &CanaryStrategy, path: &FieldPath, found: &mut Found) {
    let Some(ping_pong) = &canary.ping_pong else {
        return;
    };
    let routing = canary.traffic_routing.as_ref();
    if routing
        .is_some_and(|routing| routing.alb.is_none() && routing.istio.is_none() && routing.plugins.is_empty())
    {
        found.add(
            Violation::invalid(
                path.child("trafficRouting.alb"),
                Json(&()),
                "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only",
            )
            .said(said("trafficRouting.alb"))
            .fix("remove pingPong and set stableService and canaryService"),
        );
    }
    for (field, service) in [
        ("pingService", &ping_pong.ping_service),
        ("pongService", &ping_pong.pong_service),
    ] {
        if service.is_empty() {
            found.add(
                Violation::invalid(
                    path.child("pingPong").child(field),
                    "",
                    "Ping service and Pong service must to be set to use Ping-Pong feature",
                )
                .said(said(&format!("pingPong.{field}")))
                .fix(format!("set {field} to a Service of its own")),
            );
        }
    }
    if ping_pong.ping_service == ping_pong.pong_service {
        found.add(
            Violation::invalid(
                path.child("pingPong.pingService"),
                ping_pong.ping_service.as_str(),
                "This rollout uses the same service for the ping and pong services, but two different services are \
                 required.",
            )
            .said(said("pingPong.pingService"))
            .fix("name two Services"),
        );
    }
    if let Some(alb) = routing
        .and_then(|routing| routing.alb.as_ref())
        .filter(|alb| blank(alb.root_service.as_ref()))
    {
        found.add(
            Violation::invalid(
                path.child("trafficRouting.alb.rootService"),
                alb.root_service.as_deref().unwrap_or_default(),
                "Root service field is required for the configuration with ALB and ping-pong feature enabled",
            )
            .said(said("trafficRouting.alb.rootService"))
            .fix("set rootService to the Service that the Ingress names"),
        );
    }
}

fn requires_services(canary: &CanaryStrategy, routers: &Routers<'_>) -> bool {
    let Some(routing) = &canary.traffic_routing else {
        return false;
    };
    let ping_pong = canary.ping_pong.is_some();
    !routers.is_empty()
        || routing.apisix.is_some()
        || routing.ambassador.is_some()
        || routing.app_mesh.is_some()
        || (routing.alb.is_some() && !ping_pong)
        || (routing
            .istio
            .as_ref()
            .is_some_and(|istio| istio.destination_rule.is_none())
            && !ping_pong)
}

fn routing(canary: &CanaryStrategy, routers: &Routers<'_>, path: &FieldPath, found: &mut Found) {
    let dynamic = canary.dynamic_stable_scale == Some(true);
    let Some(routing) = &canary.traffic_routing else {
        if let Some(delay) = canary.scale_down_delay_seconds {
            found.add(
                Violation::invalid(
                    path.child("scaleDownDelaySeconds"),
                    delay,
                    "Canary scaleDownDelaySeconds can only be used with traffic routing",
                )
                .said(said("scaleDownDelaySeconds"))
                .fix("remove scaleDownDelaySeconds, or set trafficRouting"),
            );
        }
        if dynamic {
            found.add(
                Violation::invalid(
                    path.child("dynamicStableScale"),
                    true,
                    "Canary dynamicStableScale can only be used with traffic routing",
                )
                .said(said("dynamicStableScale"))
                .fix("remove dynamicStableScale, or set trafficRouting"),
            );
        }
        return;
    };
    if canary.scale_down_delay_seconds.is_some() && dynamic {
        found.add(
            Violation::invalid(
                path.child("dynamicStableScale"),
                true,
                "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds",
            )
            .said(said("dynamicStableScale"))
            .fix("keep one of dynamicStableScale and scaleDownDelaySeconds"),
        );
    }
    routers::check_specs(routers, &path.child("trafficRouting"), found);
    if let Some(most) = routing.max_traffic_weight {
        let path = path.child("trafficRouting.maxTrafficWeight");
        if !routers::planes(routers).any(|plane| plane.can.total) && routing.plugins.is_empty() {
            found.add(
                Violation::invalid(
                    path,
                    most,
                    "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins",
                )
                .said(said("trafficRouting.maxTrafficWeight"))
                .fix("remove maxTrafficWeight: weights are of 100"),
            );
        } else if most < 1 {
            // not a rule of upstream, which divides by it
            found.add(
                Violation::invalid(path, most, "must be greater than 0")
                    .fix("set maxTrafficWeight to 100 or more, or remove it"),
            );
        }
    }
}

/// Where a step is.
struct Step<'a> {
    rollout: &'a Rollout,
    canary: &'a CanaryStrategy,
    path: &'a FieldPath,
    index: usize,
}

impl Step<'_> {
    /// The field of the step, as it is and as upstream says it.
    fn at(&self, field: &str) -> (FieldPath, String) {
        let step = self.path.child("steps").index(self.index);
        if field.is_empty() {
            return (step, said(&format!("steps[{}]", self.index)));
        }
        (step.child(field), said(&format!("steps[{}].{field}", self.index)))
    }

    fn check(&self, step: &CanaryStep, found: &mut Found) {
        self.kinds(step, found);
        if let Some(weight) = step.set_weight {
            let most = self
                .canary
                .traffic_routing
                .as_ref()
                .and_then(|r| r.max_traffic_weight)
                .unwrap_or(100);
            if !(0..=most).contains(&weight) {
                let (path, said) = self.at("setWeight");
                found.add(
                    Violation::invalid(
                        path,
                        weight,
                        format!("SetWeight needs to be between 0 and {most}"),
                    )
                    .said(said)
                    .fix(format!("set the weight to a number from 0 to {most}")),
                );
            }
        }
        if let Some(Err(violation)) = step.pause.as_ref().map(|pause| rules::pause(pause, self.index)) {
            found.add(*violation);
        }
        if step.set_canary_scale.is_some() && self.canary.traffic_routing.is_none() {
            found.add(
                Violation::required(
                    self.path.child("trafficRouting"),
                    "SetCanaryScale requires TrafficRouting to be set",
                )
                .said(said("trafficRouting"))
                .fix("set trafficRouting, or replace setCanaryScale by setWeight"),
            );
        }
        if let Some(route) = &step.set_header_route {
            self.header_route(route, found);
        }
        if let Some(route) = &step.set_mirror_route {
            self.mirror_route(route, found);
        }
        self.managed_routes(step, found);
        self.experiment_weights(step, found);
        self.arguments(step, found);
    }

    fn kinds(&self, step: &CanaryStep, found: &mut Found) {
        let exclusive = [
            step.set_weight.is_some(),
            step.pause.is_some(),
            step.experiment.is_some(),
            step.analysis.is_some(),
        ];
        let (path, said) = self.at("");
        if exclusive.iter().filter(|given| **given).count() > 1 {
            let value = format!(
                "step.Experiment: {} step.Pause: {} step.SetWeight: {} step.Analysis: {}",
                step.experiment.is_some(),
                step.pause.is_some(),
                step.set_weight.is_some(),
                step.analysis.is_some()
            );
            found.add(
                Violation::invalid(path.clone(), value.as_str(), STEP_MESSAGE)
                    .said(said.clone())
                    .fix("make a step of its own for each"),
            );
        }
        if step == &CanaryStep::default() {
            // upstream prints which ones are nil
            let value = "step.Experiment: true step.Pause: true step.SetWeight: true step.Analysis: true \
                         step.SetCanaryScale: true step.SetHeaderRoute: true step.SetMirrorRoute: true step.Plugin: true";
            found.add(
                Violation::invalid(path, value, STEP_MESSAGE)
                    .said(said)
                    .fix("remove the step, or say what it does, such as setWeight: 20 or pause: {}"),
            );
        }
    }

    fn header_route(&self, route: &SetHeaderRoute, found: &mut Found) {
        let (path, said) = self.at("setHeaderRoute");
        let able = routers::planes(&routers::of(self.rollout)).any(|plane| plane.can.headers);
        let routes = |routing: &&RolloutTrafficRouting| {
            routing.istio.is_some()
                || routing.alb.is_some()
                || routing.apisix.is_some()
                || !routing.plugins.is_empty()
                || able
        };
        let Some(routing) = self.canary.traffic_routing.as_ref().filter(routes) else {
            found.add(
                Violation::invalid(
                    path,
                    Json(route),
                    "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix",
                )
                .said(said)
                .fix("set trafficRouting.nginx, or remove the step"),
            );
            return;
        };
        for (position, matched) in route.match_.iter().enumerate() {
            let path = path.child("match").index(position);
            let said = format!("{said}.match[{position}]");
            let value = matched.header_value.as_ref();
            if routing.alb.is_some() {
                alb_value(value, path, said, found);
            } else {
                one_value(value, path, said, found);
            }
        }
        let steps = self.canary.steps.iter().take(self.index);
        let earlier: Vec<_> = steps.filter_map(|step| step.set_header_route.as_ref()).collect();
        routers::check_header_route(&routers::of(self.rollout), route, &earlier, &path, found);
    }

    fn mirror_route(&self, route: &SetMirrorRoute, found: &mut Found) {
        let (path, said) = self.at("setMirrorRoute");
        let able = routers::planes(&routers::of(self.rollout)).any(|plane| plane.can.mirrors);
        let routes =
            |routing: &RolloutTrafficRouting| routing.istio.is_some() || !routing.plugins.is_empty() || able;
        if !self.canary.traffic_routing.as_ref().is_some_and(routes) {
            found.add(
                Violation::invalid(
                    path.clone(),
                    Json(route),
                    "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins",
                )
                .said(said.clone())
                .fix("remove the step"),
            );
        }
        for (position, matched) in route.match_.iter().enumerate() {
            for value in [matched.method.as_ref(), matched.path.as_ref()]
                .into_iter()
                .flatten()
            {
                let path = path.child("match").index(position);
                one_value(Some(value), path, format!("{said}.match[{position}]"), found);
            }
        }
    }

    fn managed_routes(&self, step: &CanaryStep, found: &mut Found) {
        let Some(routing) = &self.canary.traffic_routing else {
            return;
        };
        let header = step
            .set_header_route
            .as_ref()
            .map(|route| route.name.as_deref().unwrap_or_default());
        let mirror = step.set_mirror_route.as_ref().map(|route| route.name.as_str());
        let named = [("setHeaderRoute", header), ("setMirrorRoute", mirror)];
        let mut named = named
            .into_iter()
            .filter_map(|(field, name)| Some((field, name?)))
            .peekable();
        if routing.managed_routes.is_empty() {
            if named.peek().is_some() {
                found.add(
                    Violation::required(
                        self.path.child("trafficRouting.managedRoutes"),
                        "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'",
                    )
                    .said(said("trafficRouting.managedRoutes"))
                    .fix("list the names of the routes in trafficRouting.managedRoutes"),
                );
            }
            return;
        }
        for (field, name) in named {
            if !routing.managed_routes.iter().any(|managed| managed.name == name) {
                let (path, said) = self.at(field);
                found.add(
                    Violation::invalid(
                        path.child("name"),
                        name,
                        "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes",
                    )
                    .said(said)
                    .fix(format!("add {name:?} to trafficRouting.managedRoutes")),
                );
            }
        }
    }

    fn experiment_weights(&self, step: &CanaryStep, found: &mut Found) {
        let templates = step
            .experiment
            .as_ref()
            .and_then(|experiment| experiment.templates.as_ref());
        for (position, template) in templates.into_iter().flatten().enumerate() {
            let Some(weight) = template.weight else { continue };
            let able = routers::planes(&routers::of(self.rollout)).any(|plane| plane.can.additional);
            let problem = match &self.canary.traffic_routing {
                None => "Experiment template weight cannot be set unless TrafficRouting is enabled",
                Some(routing)
                    if !able
                        && routing.alb.is_none()
                        && routing.istio.is_none()
                        && routing.plugins.is_empty() =>
                {
                    "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins \
                     at this time"
                }
                Some(_) => continue,
            };
            let (path, said) = self.at("experiment.templates");
            found.add(
                Violation::invalid(path.index(position).child("weight"), weight, problem)
                    .said(format!("{said}[{position}].weight"))
                    .fix("remove the weight"),
            );
        }
    }

    fn arguments(&self, step: &CanaryStep, found: &mut Found) {
        let experiment = step.experiment.iter().flat_map(|experiment| &experiment.analyses);
        let analysis = step.analysis.iter().flat_map(|analysis| &analysis.args);
        let all: Vec<&AnalysisRunArgument> = experiment
            .flat_map(|analysis| &analysis.args)
            .chain(analysis)
            .collect();
        if all.iter().any(|argument| !resolves(self.rollout, argument)) {
            let (_, said) = self.at("analyses");
            let (path, _) = self.at(if step.analysis.is_some() {
                "analysis.args"
            } else {
                "experiment.analyses"
            });
            found.add(Violation::invalid(path, Json(&all), ARGS_MESSAGE).said(said).fix(
                "use a path such as metadata.name, metadata.labels['app'] or metadata.annotations['owner']",
            ));
        }
    }
}

/// Whether a `fieldRef` to the metadata leads somewhere. Other paths are looked up when the run is made.
fn resolves(rollout: &Rollout, argument: &AnalysisRunArgument) -> bool {
    let field = argument
        .value_from
        .as_ref()
        .and_then(|from| from.field_ref.as_ref());
    field.is_none_or(|field| {
        !field.field_path.starts_with("metadata") || args::field(rollout, &field.field_path).is_ok()
    })
}

fn given(value: Option<&String>) -> bool {
    !blank(value)
}

fn alb_value(value: Option<&StringMatch>, path: FieldPath, said: String, found: &mut Found) {
    let problem = match value {
        None => MISSED_VALUE,
        Some(value)
            if !given(value.exact.as_ref())
                || given(value.regex.as_ref())
                || given(value.prefix.as_ref()) =>
        {
            "SetHeaderRoute match value invalid. ALB supports 'exact' value only"
        }
        Some(_) => return,
    };
    let violation = Violation::invalid(path, Json(&value), problem);
    found.add(
        violation
            .said(said)
            .fix("set headerValue.exact, and nothing else"),
    );
}

fn one_value(value: Option<&StringMatch>, path: FieldPath, said: String, found: &mut Found) {
    let count = value.map_or(0, |value| {
        [&value.exact, &value.regex, &value.prefix]
            .into_iter()
            .filter(|text| given(text.as_ref()))
            .count()
    });
    let problem = match count {
        0 => MISSED_VALUE,
        1 => return,
        _ => MULTIPLE_VALUES,
    };
    let violation = Violation::invalid(path, Json(&value), problem);
    found.add(violation.said(said).fix("set one of exact, regex and prefix"));
}
