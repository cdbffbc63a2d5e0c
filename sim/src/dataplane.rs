//! The data plane: an NGINX-like router and the Services behind it, which see changes after a lag, and users whose
//! requests it splits and counts. Nothing here is random: shares are exact.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::behavior::Behavior;
use crate::metrics::{Labels, labels};
use crate::planes::{Plane, entry};

mod config;

use config::Share;
pub use config::{Config, Route};

/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Counters of each tally: three codes, the buckets, and three more of the histogram.
const COUNTERS: usize = 3 + BUCKETS.len() + 3;

/// Who sends requests, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Where to.
    pub target: Target,
    /// Requests a second.
    pub per_second: u32,
    /// Headers of each request.
    pub headers: BTreeMap<String, String>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Through the router.
    Ingress {
        /// Namespace of the Ingress.
        namespace: String,
        /// Host; empty for a rule without a host.
        host: String,
        /// Path.
        path: String,
    },
    /// To a Service, past the router.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
    },
}

impl Load {
    /// Requests through the router.
    pub fn ingress(namespace: &str, host: &str, path: &str, per_second: u32) -> Self {
        let target = Target::Ingress {
            namespace: namespace.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
        };
        Self {
            target,
            per_second,
            headers: BTreeMap::new(),
        }
    }

    /// Requests to a Service.
    pub fn service(namespace: &str, name: &str, per_second: u32) -> Self {
        let target = Target::Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Self {
            target,
            per_second,
            headers: BTreeMap::new(),
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_ascii_lowercase(), value.to_owned());
        self
    }
}

/// What is really so of a pod, whatever its object says.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its pod template hash, empty when it has none.
    pub hash: String,
    /// How it behaves.
    pub behavior: Behavior,
    /// Whether it answers.
    pub serving: bool,
}

/// Requests of one Service to one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answered with 200.
    pub ok: u64,
    /// Answered with 500 by the pod itself.
    pub errors: u64,
    /// Lost: sent to a pod that does not answer any more, or to nobody. 502 and 503.
    pub lost: u64,
    /// How many there were before it.
    number: usize,
    hash: String,
    version: String,
    latency_ms: u32,
    error_rest: u64,
}

/// Requests that nobody answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// The Service, `namespace/name`.
    pub service: String,
    /// The pod that they went to; empty when the Service had none.
    pub pod: String,
    /// How many.
    pub requests: u64,
}

/// The data plane.
#[derive(Clone, Debug)]
pub struct DataPlane {
    /// Between these it takes until a change of an object is in force.
    pub lag: (SignedDuration, SignedDuration),
    loads: Vec<(Load, u64)>,
    shares: BTreeMap<Target, Share>,
    turns: BTreeMap<String, u64>,
    applied: Arc<Config>,
    coming: VecDeque<(Timestamp, Arc<Config>)>,
    backends: BTreeMap<String, Backend>,
    tallies: BTreeMap<String, BTreeMap<String, Tally>>,
    /// How many tallies there are.
    tallied: usize,
    losses: Vec<Loss>,
    served_until: Timestamp,
}

impl DataPlane {
    /// A data plane without routes and users.
    pub fn new(now: Timestamp) -> Self {
        Self {
            lag: (SignedDuration::from_millis(100), SignedDuration::from_millis(900)),
            loads: Vec::new(),
            shares: BTreeMap::new(),
            turns: BTreeMap::new(),
            applied: Arc::new(Config::default()),
            coming: VecDeque::new(),
            backends: BTreeMap::new(),
            tallies: BTreeMap::new(),
            tallied: 0,
            losses: Vec::new(),
            served_until: now,
        }
    }

    /// Adds users.
    pub fn add_load(&mut self, load: Load) {
        self.loads.push((load, 0));
    }

    /// Replaces all users.
    pub fn set_loads(&mut self, loads: impl IntoIterator<Item = Load>) {
        self.loads = loads.into_iter().map(|load| (load, 0)).collect();
    }

    /// The users.
    pub fn loads(&self) -> impl Iterator<Item = &Load> {
        self.loads.iter().map(|(load, _)| load)
    }

    /// Routes and endpoints in force.
    pub fn config(&self) -> &Config {
        &self.applied
    }

    /// Requests so far, by Service (`namespace/name`) and pod (name; empty for nobody).
    pub fn tallies(&self) -> &BTreeMap<String, BTreeMap<String, Tally>> {
        &self.tallies
    }

    /// Requests that nobody answered, oldest first.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Requests answered with 200 by version hash.
    pub fn served_by_hash(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for tally in self.tallies.values().flat_map(BTreeMap::values) {
            *all.entry(tally.hash.clone()).or_default() += tally.ok;
        }
        all
    }

    /// Learns what is really so of a pod (`namespace/name`); `None` when it is gone. Time has to be at the change.
    pub fn set_backend(&mut self, pod: String, backend: Option<Backend>) {
        match backend {
            Some(backend) => self.backends.insert(pod, backend),
            None => self.backends.remove(&pod),
        };
    }

    /// Takes in new objects, in force at a time; times never go back.
    pub fn learn(&mut self, config: Config, in_force: Timestamp) {
        let at = self
            .coming
            .back()
            .map_or(in_force, |(last, _)| in_force.max(*last));
        self.coming.push_back((at, Arc::new(config)));
    }

    /// When the next change comes into force.
    pub fn due(&self) -> Option<Timestamp> {
        self.coming.front().map(|(at, _)| *at)
    }

    /// Serves requests up to a time, bringing changes into force on the way.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((at, config)) = self.coming.front().cloned() {
            if at > now {
                break;
            }
            self.coming.pop_front();
            self.serve(at);
            self.applied = config;
        }
        self.serve(now);
    }

    fn serve(&mut self, until: Timestamp) {
        let from = self.served_until;
        let micros = u64::try_from((until.duration_since(from)).as_micros()).unwrap_or(0);
        if micros == 0 {
            return;
        }
        self.served_until = until;
        let config = Arc::clone(&self.applied);
        let mut loads = std::mem::take(&mut self.loads);
        for (load, rest) in &mut loads {
            let due = *rest + u64::from(load.per_second) * micros;
            let requests = due / 1_000_000;
            *rest = due % 1_000_000;
            if requests == 0 {
                continue;
            }
            match &load.target {
                Target::Service { namespace, name } => {
                    if let Some(route) = config.route(namespace, &entry("Service", name), "") {
                        self.send_by(&config, route, load, requests, from, until);
                    } else {
                        let service = format!("{namespace}/{name}");
                        self.send_to_service(&config, &service, requests, from, until);
                    }
                }
                Target::Ingress {
                    namespace,
                    host,
                    path,
                } => match config.route(namespace, host, path) {
                    None => self.lose(from, until, &format!("{namespace}/"), "", requests),
                    Some(route) => self.send_by(&config, route, load, requests, from, until),
                },
            }
        }
        self.loads = loads;
    }

    /// Sends requests of a load on by a route.
    fn send_by(
        &mut self,
        config: &Config,
        route: &Route,
        load: &Load,
        requests: u64,
        from: Timestamp,
        until: Timestamp,
    ) {
        let (Target::Ingress { namespace, .. } | Target::Service { namespace, .. }) = &load.target;
        let share = self.shares.entry(load.target.clone()).or_default();
        let canary = route.canary_requests(&load.headers, requests, share);
        let to = |service: &str| format!("{namespace}/{service}");
        self.send_to_service(config, &to(&route.service), requests - canary, from, until);
        if let Some(side) = &route.canary {
            self.send_to_service(config, &to(&side.service), canary, from, until);
        }
    }

    fn send_to_service(
        &mut self,
        config: &Config,
        service: &str,
        requests: u64,
        from: Timestamp,
        until: Timestamp,
    ) {
        if requests == 0 {
            return;
        }
        let endpoints = config.endpoints(service);
        let count = endpoints.len() as u64;
        if count == 0 {
            self.lose(from, until, service, "", requests);
            return;
        }
        let turn = self.turns.entry(service.to_owned()).or_default();
        let first = *turn % count;
        *turn = (first + requests) % count;
        for (i, pod) in endpoints.iter().enumerate() {
            let place = (i as u64 + count - first) % count;
            let mine = requests / count + u64::from(place < requests % count);
            if mine > 0 {
                self.send_to_pod(service, pod, mine, from, until);
            }
        }
    }

    fn send_to_pod(&mut self, service: &str, pod: &str, requests: u64, from: Timestamp, until: Timestamp) {
        match self.backends.get(pod) {
            Some(backend) if backend.serving => {
                let name = pod.split_once('/').map_or(pod, |(_, name)| name);
                let new = || Tally {
                    hash: backend.hash.clone(),
                    version: backend.behavior.version.clone(),
                    latency_ms: backend.behavior.latency_ms,
                    ..Tally::default()
                };
                let tally = tally(&mut self.tallies, &mut self.tallied, (service, name), new);
                let due = tally.error_rest + u64::from(backend.behavior.errors_ppm) * requests;
                let errors = due / 1_000_000;
                tally.error_rest = due % 1_000_000;
                tally.errors += errors;
                tally.ok += requests - errors;
            }
            _ => self.lose(from, until, service, pod, requests),
        }
    }

    fn lose(&mut self, from: Timestamp, until: Timestamp, service: &str, pod: &str, requests: u64) {
        let name = pod.split_once('/').map_or(pod, |(_, name)| name);
        tally(
            &mut self.tallies,
            &mut self.tallied,
            (service, name),
            Tally::default,
        )
        .lost += requests;
        if let Some(last) = self.losses.last_mut()
            && last.until == from
            && last.service == service
            && last.pod == name
        {
            last.until = until;
            last.requests += requests;
            return;
        }
        self.losses.push(Loss {
            from,
            until,
            service: service.to_owned(),
            pod: name.to_owned(),
            requests,
        });
    }

    /// The counters as Prometheus would scrape them: `http_requests_total` and `http_request_duration_seconds`.
    pub fn counters(&self) -> Vec<(Labels, f64)> {
        let mut all = Vec::new();
        self.count(|_, labels, value| all.push((labels(), value)));
        all
    }

    /// The same, each with a number that it keeps; its labels are only made when they are asked for.
    pub(crate) fn count(&self, mut take: impl FnMut(usize, &dyn Fn() -> Labels, f64)) {
        for (service, pods) in &self.tallies {
            for (pod, tally) in pods {
                let first = tally.number * COUNTERS;
                let with = |name: &str, more: (&str, &str)| tally.labels(service, pod, name, more);
                let lost_code = if pod.is_empty() { "503" } else { "502" };
                let codes = [("200", tally.ok), ("500", tally.errors), (lost_code, tally.lost)];
                for (number, (code, count)) in (first..).zip(codes) {
                    if count > 0 || code == "200" {
                        let labels = || with("http_requests_total", ("code", code));
                        take(number, &labels, count as f64);
                    }
                }
                let answered = (tally.ok + tally.errors) as f64;
                if answered == 0.0 {
                    continue;
                }
                let first = first + codes.len();
                // answers take evenly between half and one and a half of the pod's latency
                let middle = f64::from(tally.latency_ms) / 1000.0;
                for (number, upper) in (first..).zip(BUCKETS) {
                    let share = ((upper - middle / 2.0) / middle).clamp(0.0, 1.0);
                    let labels = || with("http_request_duration_seconds_bucket", ("le", &upper.to_string()));
                    take(number, &labels, (answered * share).floor());
                }
                let rest = [
                    ("http_request_duration_seconds_bucket", ("le", "+Inf"), answered),
                    ("http_request_duration_seconds_count", ("", ""), answered),
                    ("http_request_duration_seconds_sum", ("", ""), answered * middle),
                ];
                for (number, (name, more, value)) in (first + BUCKETS.len()..).zip(rest) {
                    take(number, &|| with(name, more), value);
                }
            }
        }
    }
}

impl Tally {
    fn labels(&self, service: &str, pod: &str, name: &str, more: (&str, &str)) -> Labels {
        let (namespace, service) = service.split_once('/').unwrap_or(("", service));
        let pairs = [
            ("namespace", namespace),
            ("service", service),
            ("pod", pod),
            ("rollouts_pod_template_hash", self.hash.as_str()),
            ("version", self.version.as_str()),
            more,
        ];
        labels(name, &pairs)
    }
}

/// The tally of a Service's requests to a pod, made if there is none.
fn tally<'a>(
    tallies: &'a mut BTreeMap<String, BTreeMap<String, Tally>>,
    tallied: &mut usize,
    (service, pod): (&str, &str),
    new: impl FnOnce() -> Tally,
) -> &'a mut Tally {
    if !tallies.get(service).is_some_and(|pods| pods.contains_key(pod)) {
        let tally = Tally {
            number: *tallied,
            ..new()
        };
        *tallied += 1;
        let pods = tallies.entry(service.to_owned()).or_default();
        pods.insert(pod.to_owned(), tally);
    }
    let pods = tallies.entry(service.to_owned()).or_default();
    pods.entry(pod.to_owned()).or_default()
}

impl Config {
    /// Reads Ingresses, route objects of other data planes, and EndpointSlices.
    pub fn read<'a>(
        ingresses: impl Iterator<Item = &'a Value>,
        others: impl Iterator<Item = (&'static Plane, &'a Value)>,
        endpoint_slices: impl Iterator<Item = &'a Value>,
    ) -> Self {
        config::read(ingresses, others, endpoint_slices)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::EPOCH;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    fn ingress(name: &str, service: &str, annotations: &Value) -> Value {
        let path = json!({"path": "/", "backend": {"service": {"name": service, "port": {"number": 80}}}});
        json!({
            "metadata": {"namespace": "shop", "name": name, "annotations": annotations},
            "spec": {"rules": [{"host": "web.test", "http": {"paths": [path]}}]},
        })
    }

    fn slice(service: &str, pods: &[(&str, bool)]) -> Value {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|(p, ready)| json!({"conditions": {"ready": ready}, "targetRef": {"name": p}}))
            .collect();
        json!({
            "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints,
        })
    }

    fn config(weight: &str, more: &Value, canary_pods: &[(&str, bool)]) -> Config {
        let mut annotations = json!({
            "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": weight,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            annotations[format!("nginx.ingress.kubernetes.io/{key}")] = value.clone();
        }
        let ingresses = [
            ingress("web", "stable", &json!({})),
            ingress("c", "canary", &annotations),
        ];
        let slices = [
            slice("stable", &[("a", true), ("b", true)]),
            slice("canary", canary_pods),
        ];
        Config::read(ingresses.iter(), std::iter::empty(), slices.iter())
    }

    fn plane(config: Config, loads: &[Load]) -> DataPlane {
        let mut plane = DataPlane::new(EPOCH);
        plane.set_loads(loads.iter().cloned());
        for pod in ["a", "b", "c", "d"] {
            let hash = if pod < "c" { "old" } else { "new" };
            let behavior = Behavior {
                errors_ppm: 100_000 * u32::from(pod == "d"),
                ..Behavior::default()
            };
            plane.set_backend(
                format!("shop/{pod}"),
                Some(Backend {
                    hash: hash.to_owned(),
                    behavior,
                    serving: true,
                }),
            );
        }
        plane.learn(config, EPOCH);
        plane
    }

    /// Service, pod, ok, errors, lost.
    fn counts(plane: &DataPlane) -> Vec<(&str, &str, u64, u64, u64)> {
        let all = plane
            .tallies()
            .iter()
            .flat_map(|(service, pods)| pods.iter().map(move |p| (service, p)));
        all.map(|(service, (pod, t))| (service.as_str(), pod.as_str(), t.ok, t.errors, t.lost))
            .collect()
    }

    fn user() -> Load {
        Load::ingress("shop", "web.test", "/", 100)
    }

    #[test]
    fn weights_are_exact_however_time_is_cut() {
        let want = vec![
            ("shop/canary", "c", 100, 0, 0),
            ("shop/canary", "d", 90, 10, 0),
            ("shop/stable", "a", 400, 0, 0),
            ("shop/stable", "b", 400, 0, 0),
        ];
        for cuts in [1, 7, 1000] {
            let mut plane = plane(config("20", &json!({}), &[("c", true), ("d", true)]), &[user()]);
            for i in 1..=cuts {
                plane.advance(EPOCH + SignedDuration::from_micros(10_000_000 * i / cuts));
            }
            assert_eq!(counts(&plane), want, "{cuts} cuts");
        }
    }

    #[test]
    fn total_and_headers_count() {
        let pods = [("c", true)];
        let share = |config: Config, load: Load| {
            let mut plane = plane(config, &[load]);
            plane.advance(EPOCH + SECOND);
            plane.served_by_hash().get("new").copied().unwrap_or(0)
        };
        assert_eq!(
            share(
                config("300", &json!({"canary-weight-total": "1000"}), &pods),
                user()
            ),
            30
        );
        let by_header = json!({"canary-by-header": "X-Canary"});
        assert_eq!(
            share(
                config("0", &by_header, &pods),
                user().with_header("x-canary", "always")
            ),
            100
        );
        assert_eq!(
            share(
                config("50", &by_header, &pods),
                user().with_header("x-canary", "never")
            ),
            0
        );
        assert_eq!(
            share(
                config("50", &by_header, &pods),
                user().with_header("x-canary", "perhaps")
            ),
            50
        );
        let by_value = json!({"canary-by-header": "X-Canary", "canary-by-header-value": "yes"});
        assert_eq!(
            share(
                config("0", &by_value, &pods),
                user().with_header("X-Canary", "yes")
            ),
            100
        );
    }

    #[test]
    fn nobody_and_the_dead_lose_requests() {
        let mut plane = plane(config("20", &json!({}), &[("c", false)]), &[user()]);
        plane.advance(EPOCH + SECOND);
        plane.set_backend("shop/b".to_owned(), None);
        plane.advance(EPOCH + SECOND * 2);
        let loss = |from, until, service: &str, pod: &str, requests| Loss {
            from: EPOCH + SECOND * from,
            until: EPOCH + SECOND * until,
            service: service.to_owned(),
            pod: pod.to_owned(),
            requests,
        };
        let want = [
            loss(0, 1, "shop/canary", "", 20),
            loss(1, 2, "shop/stable", "b", 40),
            loss(1, 2, "shop/canary", "", 20),
        ];
        assert_eq!(plane.losses(), want);
    }

    #[test]
    fn a_change_is_in_force_only_after_its_lag() {
        let mut plane = plane(config("0", &json!({}), &[("c", true)]), &[user()]);
        plane.learn(config("100", &json!({}), &[("c", true)]), EPOCH + SECOND);
        plane.advance(EPOCH + SECOND * 3);
        assert_eq!(
            plane.served_by_hash(),
            BTreeMap::from([("new".to_owned(), 200), ("old".to_owned(), 100)])
        );
    }

    #[test]
    fn counters_read_like_an_application() {
        let mut plane = plane(config("10", &json!({}), &[("d", true)]), &[user()]);
        plane.advance(EPOCH + SECOND * 10);
        let counters: BTreeMap<_, _> = plane.counters().into_iter().collect();
        let of = |name: &str, more: &[(&str, &str)]| {
            let base = [
                ("namespace", "shop"),
                ("service", "canary"),
                ("pod", "d"),
                ("rollouts_pod_template_hash", "new"),
            ];
            counters.get(&labels(name, &[&base[..], more].concat())).copied()
        };
        assert_eq!(of("http_requests_total", &[("code", "500")]), Some(10.0));
        assert_eq!(of("http_requests_total", &[("code", "200")]), Some(90.0));
        assert_eq!(
            of("http_request_duration_seconds_bucket", &[("le", "0.025")]),
            Some(75.0)
        );
        assert_eq!(of("http_request_duration_seconds_count", &[]), Some(100.0));
    }
}
