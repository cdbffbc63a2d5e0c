//! What happens in the demo: a shop is installed, people come, a good release, a bad one.

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_manifests::Limits;
use tidegate_sim::api::kinds;
use tidegate_sim::dataplane::Load;
use tidegate_sim::live::Live;
use tidegate_sim::store::Request;

use super::{Error, scene};

pub(super) const NAMESPACE: &str = "shop";
pub(super) const ROLLOUT: &str = "web";
pub(super) const STABLE: &str = "web-stable";
pub(super) const CANARY: &str = "web-canary";
pub(super) const HOST: &str = "shop.example";
pub(super) const PEOPLE: u64 = 1000;
pub(super) const REQUESTS_A_SECOND: u32 = 50;
/// Who releases, in the log of the store.
pub(super) const USER: &str = "you";
/// The images; a simulated pod of a version that is called bad fails every fifth answer.
const GOOD: &str = "registry.example/shop:v2";
const BAD: &str = "registry.example/shop:v3-bad";

/// What is applied, as it is in `examples/demo/`.
pub(super) const MANIFESTS: [(&str, &str); 4] = [
    (
        "services.yaml",
        include_str!("../../../examples/demo/services.yaml"),
    ),
    (
        "ingress.yaml",
        include_str!("../../../examples/demo/ingress.yaml"),
    ),
    (
        "analysis.yaml",
        include_str!("../../../examples/demo/analysis.yaml"),
    ),
    (
        "rollout.yaml",
        include_str!("../../../examples/demo/rollout.yaml"),
    ),
];

/// A chapter that takes longer than this has gone wrong.
pub(super) const PATIENCE: SignedDuration = SignedDuration::from_mins(3);
/// How long nothing happens between two chapters, for the eye.
pub(super) const REST: SignedDuration = SignedDuration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chapter {
    Begin,
    Install,
    People,
    Good,
    Calm,
    Bad,
    After,
    End,
}

/// A story that goes on tick by tick.
pub(super) trait Tale {
    /// Does what is due; answers what somebody did, to be told.
    fn turn(&mut self, live: &mut Live) -> Result<Option<String>, Error>;

    fn is_over(&self) -> bool;

    /// What became of it, in lines.
    fn summaries(&self) -> &[String];
}

/// The story, and how far it has come.
#[derive(Debug)]
pub(super) struct Story {
    chapter: Chapter,
    /// Since when.
    since: Timestamp,
    /// When what the chapter waits for was so.
    done: Option<Timestamp>,
    /// Highest weight of the release.
    weight: u64,
    /// What became of the releases.
    summaries: Vec<String>,
}

impl Story {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            chapter: Chapter::Begin,
            since: now,
            done: None,
            weight: 0,
            summaries: Vec::new(),
        }
    }

    fn go(&mut self, chapter: Chapter, now: Timestamp) {
        (self.chapter, self.since) = (chapter, now);
    }

    fn rested(&self, now: Timestamp) -> bool {
        now >= self.since + REST
    }

    fn release(&mut self, live: &mut Live, image: &str, chapter: Chapter) -> Result<String, Error> {
        let now = live.world.now();
        live.crowd.begin();
        self.weight = 0;
        let path = "/spec/template/spec/containers/0/image";
        let patch = json!([{"op": "replace", "path": path, "value": image}]);
        let done = live
            .world
            .api(USER)
            .json_patch(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT, patch);
        done.map_err(|status| refused("the new image", &status))?;
        self.go(chapter, now);
        Ok(format!("$ kubectl tidegate set image web web={image}"))
    }
}

impl Tale for Story {
    fn turn(&mut self, live: &mut Live) -> Result<Option<String>, Error> {
        let now = live.world.now();
        if now.duration_since(self.since) > PATIENCE {
            let message = rollout(live).map(|rollout| rollout["status"]["message"].to_string());
            let what = format!("stuck at {:?}: {}", self.chapter, message.unwrap_or_default());
            return Err(Error::Story(what));
        }
        let weight = scene::weight(live);
        self.weight = self.weight.max(weight);
        let phase = phase(live);
        Ok(match self.chapter {
            Chapter::Begin => {
                install(live)?;
                self.go(Chapter::Install, now);
                Some("$ kubectl apply -f examples/demo".to_owned())
            }
            Chapter::Install if phase == "Healthy" && open(live) => {
                live.world
                    .dataplane
                    .add_load(Load::ingress(NAMESPACE, HOST, "/", REQUESTS_A_SECOND));
                self.go(Chapter::People, now);
                Some(format!(
                    "{PEOPLE} users come, {REQUESTS_A_SECOND} requests a second"
                ))
            }
            Chapter::People if self.rested(now) => Some(self.release(live, GOOD, Chapter::Good)?),
            Chapter::Good if phase == "Degraded" => {
                return Err(Error::Story("the good release was rolled back".to_owned()));
            }
            Chapter::Good if phase == "Healthy" && weight == 0 => {
                let took = now.duration_since(self.since).as_secs();
                let count = live.crowd.count();
                let (failed, requests) = (count.failed, count.requests);
                self.summaries.push(format!(
                    "v2 promoted in {took} s: {failed} of {requests} requests failed"
                ));
                self.go(Chapter::Calm, now);
                None
            }
            Chapter::Calm if self.rested(now) => Some(self.release(live, BAD, Chapter::Bad)?),
            Chapter::Bad if phase == "Healthy" => {
                return Err(Error::Story("the bad release was promoted".to_owned()));
            }
            Chapter::Bad if phase == "Degraded" && weight == 0 => {
                self.done = Some(now);
                self.chapter = Chapter::After;
                None
            }
            // those who asked until the last moment count
            Chapter::After if self.done.is_some_and(|done| now >= done + REST) => {
                let took = self.done.unwrap_or(now).duration_since(self.since).as_secs();
                let (active, hurt) = (live.crowd.active(), live.crowd.hurt());
                self.summaries.push(format!(
                    "v3-bad rolled back after {took} s at weight {}: {hurt} of {active} users hurt",
                    self.weight
                ));
                self.go(Chapter::End, now);
                None
            }
            _ => None,
        })
    }

    fn is_over(&self) -> bool {
        self.chapter == Chapter::End
    }

    fn summaries(&self) -> &[String] {
        &self.summaries
    }
}

fn install(live: &mut Live) -> Result<(), Error> {
    for (file, text) in MANIFESTS {
        for document in tidegate_manifests::read(file, text, &Limits::default())? {
            let object = document.value;
            let kind = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            let registry = live.world.store().registry();
            let resource = registry.by_kind(&kind("apiVersion"), &kind("kind")).cloned();
            let resource = resource.ok_or_else(|| refused(file, &"it has no such kind"))?;
            let request = Request::create(&resource, NAMESPACE, object);
            live.world
                .api(USER)
                .send(request)
                .map_err(|status| refused(file, &status))?;
        }
    }
    Ok(())
}

pub(super) fn refused(what: &str, why: &dyn Display) -> Error {
    Error::Refused {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

fn rollout(live: &mut Live) -> Option<std::sync::Arc<Value>> {
    live.world.api(USER).get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT)
}

/// The phase, once the controller has seen the spec as it is.
pub(super) fn phase(live: &mut Live) -> String {
    let Some(rollout) = rollout(live) else {
        return String::new();
    };
    let status = &rollout["status"];
    let observed = status["observedGeneration"].as_str();
    let seen = observed.and_then(|text| text.parse().ok()) == rollout["metadata"]["generation"].as_i64();
    status["phase"]
        .as_str()
        .filter(|_| seen)
        .unwrap_or_default()
        .to_owned()
}

/// Whether the data plane has somewhere to send people to.
pub(super) fn open(live: &Live) -> bool {
    let config = live.world.dataplane.config();
    let route = config.route(NAMESPACE, HOST, "/");
    route.is_some_and(|route| {
        !config
            .endpoints(&format!("{NAMESPACE}/{}", route.service))
            .is_empty()
    })
}
