//! The state of everything, in the terms of a story.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::actors::{kind_of, object_of, text};
use crate::api::kinds;
use crate::scenario::{NAMESPACE, ROLLOUT};
use crate::world::World;

const HASH: &str = "rollouts-pod-template-hash";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
/// Names that follow from hashes: of ReplicaSets and runs.
#[expect(clippy::expect_used, reason = "it is a constant")]
static NAMES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("{ROLLOUT}-[0-9a-z-]+")).expect("invariant: the pattern is valid"));

/// A state: each field by its name, those of `selectors` as `selectors.NAME`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct Rest(BTreeMap<String, Value>);

impl std::ops::Deref for Rest {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Map<String, Value>> for Rest {
    fn from(map: Map<String, Value>) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in map {
            match value {
                Value::Object(selectors) if name == "selectors" => fields.extend(
                    selectors
                        .into_iter()
                        .map(|(service, value)| (format!("{name}.{service}"), value)),
                ),
                value => {
                    fields.insert(name, value);
                }
            }
        }
        Self(fields)
    }
}

/// The state as it is now.
pub(super) fn look(world: &mut World) -> Rest {
    let versions = versions(world);
    let version = |hash: &Value| -> Value {
        let hash = hash.as_str().filter(|hash| !hash.is_empty());
        hash.map_or(Value::Null, |hash| {
            versions.get(hash).map_or(hash, String::as_str).into()
        })
    };
    let api = world.api("user");
    let rollout = api.get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT).unwrap_or_default();
    let status = &rollout["status"];
    let message = status["message"].as_str().filter(|message| !message.is_empty());
    let pauses: Vec<&Value> = entries(&status["pauseConditions"])
        .map(|pause| &pause["reason"])
        .collect();
    let selectors: Map<String, Value> = api
        .list(&kinds::SERVICES, NAMESPACE)
        .iter()
        .map(|service| {
            let name = text(&service["metadata"]["name"]).to_owned();
            (name, version(&service["spec"]["selector"][HASH]))
        })
        .collect();
    let ingresses = api.list(&kinds::INGRESSES, NAMESPACE);
    let route: Vec<&Value> = ingresses
        .iter()
        .filter_map(|ingress| ingress["metadata"]["annotations"].get(WEIGHT))
        .collect();
    let sizes: Map<String, Value> = api
        .list(&kinds::REPLICA_SETS, NAMESPACE)
        .iter()
        .filter_map(|set| {
            let (wanted, available) = (
                set["spec"]["replicas"].as_i64().unwrap_or(0),
                set["status"]["availableReplicas"].as_i64().unwrap_or(0),
            );
            let name = text(&version(&set["metadata"]["labels"][HASH])).to_owned();
            (wanted + available > 0).then(|| (name, json!([wanted, available])))
        })
        .collect();
    let fields = json!({
        "phase": status["phase"],
        "message": message.map(|message| NAMES.replace_all(message, "run")),
        "step": status["currentStepIndex"],
        "abort": status["abort"] == true,
        "full": status["promoteFull"] == true,
        "pauses": pauses,
        "controllerPause": status["controllerPause"] == true,
        "stable": version(&status["stableRS"]),
        "current": version(&status["currentPodHash"]),
        "weight": status["canary"]["weights"]["canary"]["weight"],
        "active": version(&status["blueGreen"]["activeSelector"]),
        "preview": version(&status["blueGreen"]["previewSelector"]),
        "sizes": sizes,
        "selectors": selectors,
        "route": route,
    });
    match fields {
        Value::Object(map) => map.into(),
        _ => Rest::default(),
    }
}

/// The version behind each hash, also behind those whose ReplicaSets are gone.
fn versions(world: &World) -> BTreeMap<String, String> {
    let commits = world.store().commits_since(0);
    commits
        .filter(|commit| kind_of(commit) == "ReplicaSet")
        .map(|commit| {
            let set = object_of(commit);
            let version = &set["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
            (
                text(&set["metadata"]["labels"][HASH]).to_owned(),
                text(version).to_owned(),
            )
        })
        .collect()
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
