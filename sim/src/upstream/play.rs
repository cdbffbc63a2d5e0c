//! Plays a story in the simulated cluster.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Error, Rest, Story, Turn, objects, rest};
use crate::actors::user::Op;
use crate::api::kinds;
use crate::scenario::{NAMESPACE, ROLLOUT};
use crate::world::{Setup, World};

/// Who acts.
const USER: &str = "user";
/// Nothing has to change for so long.
const QUIET: SignedDuration = SignedDuration::from_secs(8);
/// After this long it is restless.
const RESTLESS: SignedDuration = SignedDuration::from_secs(50);
/// How often it is looked at.
const LOOK: SignedDuration = SignedDuration::from_millis(250);
/// So many things may happen in all: some metrics are measured each second, without end.
const MOST: u64 = 300_000;

/// What came of a story.
#[derive(Clone, Debug)]
pub struct Played {
    /// After each act, how it was at rest; `None`: it did not come to rest.
    pub rests: Vec<Option<Rest>>,
    /// What must always hold and did not.
    pub broken: Vec<String>,
    /// What happened, line by line, when that is kept.
    pub log: Vec<String>,
}

/// Plays it with the settings that are delivered; `log` keeps a line for each thing that happens.
pub fn play(story: &Story, log: bool) -> Result<Played, Error> {
    let mut world = World::new(Setup {
        namespace: NAMESPACE.to_owned(),
        most: MOST,
        log,
        ..Setup::default()
    });
    objects::put_pages(&mut world.metrics);
    let mut rests = Vec::new();
    for turn in &story.acts {
        act(&mut world, story, turn)?;
        rests.push(come_to_rest(&mut world));
    }
    let violations = world.judge.violations().iter();
    Ok(Played {
        rests,
        broken: violations.map(ToString::to_string).collect(),
        log: world.log().to_vec(),
    })
}

fn act(world: &mut World, story: &Story, turn: &Turn) -> Result<(), Error> {
    let verb = turn.act.first().and_then(Value::as_str).unwrap_or_default();
    let argument = turn.act.get(1).unwrap_or(&Value::Null);
    let rollout = world.api(USER).get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT);
    let rollout = rollout.unwrap_or_default();
    let status = |fields: Value| Op::MergeStatus(json!({"status": fields}));
    let ops = match verb {
        "create" => vec![Op::Create(objects::all(story))],
        "image" => {
            let env = objects::env(argument.as_str().unwrap_or_default());
            let path = "/spec/template/spec/containers/0/env";
            vec![Op::JsonPatch(
                json!([{"op": "replace", "path": path, "value": env}]),
            )]
        }
        // without what newer plugins do in a step whose analysis was inconclusive
        "promote" if !is_empty(&rollout["status"]["pauseConditions"]) => {
            vec![Op::Unpause, status(json!({"pauseConditions": null}))]
        }
        "promote" => vec![Op::Promote],
        // without `spec.paused`, which the plugin would take away
        "full" if rollout["status"]["currentPodHash"] == rollout["status"]["stableRS"] => vec![],
        "full" => vec![status(json!({"promoteFull": true}))],
        "abort" => vec![Op::Abort],
        "retry" => vec![Op::Retry],
        "scale" => vec![Op::Scale(argument.as_i64().unwrap_or_default())],
        "pause" => vec![Op::Pause],
        "resume" => vec![Op::Unpause],
        // the plugin refuses it where there are no steps
        "skip" if is_empty(&rollout["spec"]["strategy"]["canary"]["steps"]) => vec![],
        "skip" => vec![Op::SkipStep],
        _ => return Err(Error::Act(turn.says())),
    };
    for op in ops {
        world
            .perform(NAMESPACE, ROLLOUT, &op)
            .map_err(|status| Error::Refused {
                act: turn.says(),
                answer: status.message,
            })?;
    }
    Ok(())
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn come_to_rest(world: &mut World) -> Option<Rest> {
    let end = world.now() + RESTLESS;
    let mut since = world.now();
    let mut last = rest::look(world);
    while world.now() < end {
        world.run_for(LOOK);
        let now = rest::look(world);
        if now != last {
            (since, last) = (world.now(), now);
        }
        if world.now() >= since + QUIET {
            return Some(last);
        }
    }
    None
}
