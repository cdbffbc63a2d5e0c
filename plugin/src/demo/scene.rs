//! What is to be seen of the demo's cluster at one moment, read from its objects and its data plane.

use std::collections::VecDeque;

use jiff::SignedDuration;
use serde_json::Value;
use tidegate_sim::api::{Api, kinds};
use tidegate_sim::crowd::Count;
use tidegate_sim::live::Live;

use super::story::{CANARY, HOST, NAMESPACE, ROLLOUT, STABLE};

/// Over how many ticks the error rate is taken: three seconds.
const WINDOW: usize = 30;
/// Of how many seconds the error rate of the canary is kept.
const HISTORY: usize = 24;

/// Pods of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pods {
    pub(super) ready: i64,
    pub(super) wanted: i64,
}

/// A version and what becomes of the requests to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    /// The tag of its image.
    pub(super) version: String,
    pub(super) pods: Pods,
    /// Share of its answers of the last seconds that were errors; `None`: nobody asked.
    pub(super) errors: Option<f64>,
}

/// A measurement of the analysis that runs, or ran last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) value: String,
    pub(super) good: bool,
}

/// What is to be seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scene {
    /// Since the begin.
    pub(super) at: SignedDuration,
    /// The version hash that is wanted: another one is another release.
    pub(super) release: String,
    pub(super) phase: String,
    pub(super) message: String,
    /// The steps of the strategy in a word each.
    pub(super) steps: Vec<String>,
    /// The current one, from 0; as many as there are: all are done.
    pub(super) step: usize,
    /// The metrics, or somebody, ended the release.
    pub(super) aborted: bool,
    /// Percentage of the requests that the data plane sends to the canary.
    pub(super) weight: u64,
    pub(super) stable: Side,
    /// The version that is being released; `None` when the stable one is all there is.
    pub(super) canary: Option<Side>,
    /// Error rate of the canary, second by second.
    pub(super) history: Vec<f64>,
    /// The analysis run and its measurements so far.
    pub(super) run: String,
    pub(super) measured: Vec<Measured>,
    pub(super) requests: Count,
    /// People who asked for something, and who met an error, since the release began.
    pub(super) people: (u64, u64),
}

/// Looks at the cluster tick by tick.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    recent: VecDeque<[Count; 2]>,
    history: VecDeque<f64>,
    ticks: u64,
}

impl Watcher {
    /// What is to be seen now.
    pub(super) fn look(&mut self, live: &mut Live) -> Scene {
        let [stable_errors, canary_errors] = self.errors(live);
        let mut scene = Scene {
            at: live.elapsed(),
            weight: weight(live),
            requests: live.crowd.count(),
            people: (live.crowd.active(), live.crowd.hurt()),
            ..Scene::default()
        };
        let api = live.world.api("demo");
        let Some(rollout) = api.get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT) else {
            return scene;
        };
        let status = &rollout["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        scene.phase = text(&status["phase"]);
        scene.message = text(&status["message"]);
        let steps = rollout["spec"]["strategy"]["canary"]["steps"].as_array();
        scene.steps = steps.into_iter().flatten().map(step_label).collect();
        scene.step = status["currentStepIndex"].as_u64().unwrap_or(0) as usize;
        scene.aborted = status["abort"] == true;
        let (stable, current) = (text(&status["stableRS"]), text(&status["currentPodHash"]));
        scene.stable = side(&api, &stable, stable_errors);
        if !stable.is_empty() && stable != current {
            scene.canary = Some(side(&api, &current, canary_errors));
        }
        (scene.run, scene.measured) = measurements(&api, &current);
        scene.release = current;
        self.remember(&scene);
        scene.history = self.history.iter().copied().collect();
        scene
    }

    fn errors(&mut self, live: &Live) -> [Option<f64>; 2] {
        let now = [STABLE, CANARY].map(|service| {
            let tallies = live
                .world
                .dataplane
                .tallies()
                .get(&format!("{NAMESPACE}/{service}"));
            Count::sum(tallies.into_iter().flat_map(|pods| pods.values()))
        });
        self.recent.push_back(now);
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        let before = self.recent.front().copied().unwrap_or(now);
        let rate = |now: Count, before: Count| {
            let Count { requests, failed } = now.since(before);
            (requests > 0).then(|| failed as f64 / requests as f64)
        };
        [rate(now[0], before[0]), rate(now[1], before[1])]
    }

    fn remember(&mut self, scene: &Scene) {
        let Some(canary) = &scene.canary else {
            self.history.clear();
            return;
        };
        self.ticks += 1;
        if self.ticks.is_multiple_of(10) && scene.weight > 0 {
            self.history.push_back(canary.errors.unwrap_or(0.0));
        }
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

/// Percentage of the requests that go to the canary by what is in force in the data plane.
pub(super) fn weight(live: &Live) -> u64 {
    let route = live.world.dataplane.config().route(NAMESPACE, HOST, "/");
    let canary = route.and_then(|route| route.canary.as_ref());
    canary.map_or(0, |canary| canary.weight * 100 / canary.total.max(1))
}

/// The tag of an image.
pub(super) fn version(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(_, tag)| tag)
}

fn side(api: &Api<'_>, hash: &str, errors: Option<f64>) -> Side {
    let sets = api.list(&kinds::REPLICA_SETS, NAMESPACE);
    let set = sets
        .iter()
        .find(|set| set["metadata"]["labels"]["rollouts-pod-template-hash"] == *hash);
    set.map(|set| Side {
        version: version(
            set["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap_or_default(),
        )
        .to_owned(),
        pods: Pods {
            ready: set["status"]["availableReplicas"].as_i64().unwrap_or(0),
            wanted: set["spec"]["replicas"].as_i64().unwrap_or(0),
        },
        errors,
    })
    .unwrap_or_default()
}

/// The newest analysis run of a version, and what it measured.
fn measurements(api: &Api<'_>, hash: &str) -> (String, Vec<Measured>) {
    let runs = api.list(&kinds::ANALYSIS_RUNS, NAMESPACE);
    let mine = runs
        .iter()
        .filter(|run| run["metadata"]["labels"]["rollouts-pod-template-hash"] == *hash);
    let Some(run) = mine.max_by_key(|run| run["metadata"]["creationTimestamp"].as_str().unwrap_or_default())
    else {
        return Default::default();
    };
    let results = run["status"]["metricResults"].as_array().into_iter().flatten();
    let all = results.flat_map(|result| result["measurements"].as_array().into_iter().flatten());
    let measured = all
        .filter(|measurement| measurement["finishedAt"].is_string())
        .map(|measurement| Measured {
            value: short(measurement["value"].as_str().unwrap_or("?")),
            good: measurement["phase"] == "Successful",
        })
        .collect();
    (
        run["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        measured,
    )
}

/// `[0.80123]` as `0.801`.
fn short(value: &str) -> String {
    let number = value.trim_matches(['[', ']']);
    number
        .parse::<f64>()
        .map_or_else(|_| value.to_owned(), |number| format!("{number:.3}"))
}

fn step_label(step: &Value) -> String {
    if let Some(weight) = step["setWeight"].as_i64() {
        return format!("{weight}%");
    }
    let name = step.as_object().and_then(|step| step.keys().next());
    match name.map(String::as_str) {
        Some("analysis") => "check".to_owned(),
        Some(name) => name.to_owned(),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_and_values_are_short() {
        let labels = [
            json!({"setWeight": 20}),
            json!({"analysis": {}}),
            json!({"pause": {}}),
            json!({}),
        ];
        assert_eq!(
            labels.map(|step| step_label(&step)),
            ["20%", "check", "pause", "?"]
        );
        assert_eq!(
            ["[0.80123]", "1", "NaN", ""].map(short),
            ["0.801", "1.000", "NaN", ""]
        );
        assert_eq!(["registry.example/shop:v1", "shop"].map(version), ["v1", "shop"]);
    }
}
