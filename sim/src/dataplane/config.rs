//! What routers know: routes from Ingresses, with NGINX's canary annotations, and from the objects of other data planes, and
//! endpoints of Services.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::planes::Plane;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Routes and endpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    routes: BTreeMap<(String, String, String), Route>,
    endpoints: BTreeMap<String, Vec<String>>,
}

/// Where requests to a host and a path go.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The Service of the Ingress without canary annotations.
    pub service: String,
    /// The canary side.
    pub canary: Option<CanaryRoute>,
}

/// The Service of a canary Ingress and when it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryRoute {
    pub service: String,
    pub weight: u64,
    pub total: u64,
    header: Option<(String, HeaderRule)>,
}

#[derive(Clone, Debug, PartialEq)]
enum HeaderRule {
    /// `always` and `never`.
    Words,
    Exact(String),
    Pattern(String),
}

/// Requests that are owed to the canary, in parts of its total.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    rest: u64,
}

impl Config {
    /// The route of a host and a path, exactly as the Ingress spells them. Other data planes have an [`entry`](crate::planes::entry)
    /// in place of the host, and no path.
    pub fn route(&self, namespace: &str, host: &str, path: &str) -> Option<&Route> {
        self.routes
            .get(&(namespace.to_owned(), host.to_owned(), path.to_owned()))
    }

    /// All routes with namespace, host and path.
    pub fn routes(&self) -> impl Iterator<Item = (&(String, String, String), &Route)> {
        self.routes.iter()
    }

    /// Ready pods (`namespace/name`) of a Service (`namespace/name`).
    pub fn endpoints(&self, service: &str) -> &[String] {
        self.endpoints.get(service).map_or(&[], Vec::as_slice)
    }
}

impl Route {
    /// A route by weight alone.
    pub(crate) fn of(stable: &str, canary: &str, weight: u64, total: u64) -> Self {
        Self {
            service: stable.to_owned(),
            canary: Some(CanaryRoute {
                service: canary.to_owned(),
                weight,
                total: total.max(1),
                header: None,
            }),
        }
    }

    /// How many of so many requests go to the canary: by header, else by weight.
    pub(super) fn canary_requests(
        &self,
        headers: &BTreeMap<String, String>,
        requests: u64,
        share: &mut Share,
    ) -> u64 {
        let Some(canary) = &self.canary else { return 0 };
        if let Some((name, rule)) = &canary.header
            && let Some(value) = headers.get(name)
        {
            let fits = match rule {
                HeaderRule::Words => match value.as_str() {
                    "always" => Some(true),
                    "never" => Some(false),
                    _ => None,
                },
                HeaderRule::Exact(want) => (value == want).then_some(true),
                HeaderRule::Pattern(pattern) => regex::Regex::new(pattern)
                    .is_ok_and(|r| r.is_match(value))
                    .then_some(true),
            };
            if let Some(fits) = fits {
                return if fits { requests } else { 0 };
            }
        }
        let owed = share.rest + requests * canary.weight.min(canary.total);
        share.rest = owed % canary.total;
        (owed / canary.total).min(requests)
    }
}

pub(super) fn read<'a>(
    ingresses: impl Iterator<Item = &'a Value>,
    others: impl Iterator<Item = (&'static Plane, &'a Value)>,
    endpoint_slices: impl Iterator<Item = &'a Value>,
) -> Config {
    let (canaries, mains): (Vec<_>, Vec<_>) =
        ingresses.partition(|i| annotation(i, "canary").is_some_and(|v| v == "true"));
    let mut config = Config::default();
    for ingress in mains {
        for (key, service) in paths(ingress) {
            config.routes.entry(key).or_insert(Route {
                service,
                canary: None,
            });
        }
    }
    for ingress in canaries {
        for (key, service) in paths(ingress) {
            // a canary Ingress without a main one routes nothing
            if let Some(route) = config.routes.get_mut(&key) {
                route.canary = Some(canary(ingress, service));
            }
        }
    }
    for (plane, object) in others {
        if let Some((entry, route)) = plane.route(object) {
            let namespace = text(&object["metadata"]["namespace"]).to_owned();
            config.routes.insert((namespace, entry, String::new()), route);
        }
    }
    for slice in endpoint_slices {
        let namespace = text(&slice["metadata"]["namespace"]);
        let service = text(&slice["metadata"]["labels"]["kubernetes.io/service-name"]);
        let pods = config
            .endpoints
            .entry(format!("{namespace}/{service}"))
            .or_default();
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] != Value::Bool(false) {
                pods.push(format!("{namespace}/{}", text(&endpoint["targetRef"]["name"])));
            }
        }
    }
    config
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn annotation<'a>(ingress: &'a Value, name: &str) -> Option<&'a str> {
    ingress["metadata"]["annotations"]
        .get(format!("{PREFIX}{name}"))?
        .as_str()
}

fn paths(ingress: &Value) -> Vec<((String, String, String), String)> {
    let namespace = text(&ingress["metadata"]["namespace"]);
    let mut all = Vec::new();
    for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            let key = (
                namespace.to_owned(),
                text(&rule["host"]).to_owned(),
                text(&path["path"]).to_owned(),
            );
            all.push((key, text(&path["backend"]["service"]["name"]).to_owned()));
        }
    }
    all
}

fn canary(ingress: &Value, service: String) -> CanaryRoute {
    let number = |name| annotation(ingress, name).and_then(|v| v.parse::<u64>().ok());
    let header = annotation(ingress, "canary-by-header").map(|name| {
        let rule = match (
            annotation(ingress, "canary-by-header-value"),
            annotation(ingress, "canary-by-header-pattern"),
        ) {
            (Some(value), _) => HeaderRule::Exact(value.to_owned()),
            (None, Some(pattern)) => HeaderRule::Pattern(pattern.to_owned()),
            (None, None) => HeaderRule::Words,
        };
        (name.to_ascii_lowercase(), rule)
    });
    CanaryRoute {
        service,
        weight: number("canary-weight").unwrap_or(0),
        total: number("canary-weight-total").filter(|t| *t > 0).unwrap_or(100),
        header,
    }
}
