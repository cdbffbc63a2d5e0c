//! Random stories: releases, promotions, aborts, sizes, pods that die, at random moments. The laws hold after every action,
//! and when trouble is over and everything is promoted, every story ends alike.

use serde_json::{Value, json};

use super::laws::{Laws, look_unrouted};
use super::mini::Mini;

/// A generator of numbers that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        let index = self.roll(all.len() as u64);
        &all[usize::try_from(index).unwrap()]
    }
}

fn steps(dice: &mut Dice, routed: bool) -> Vec<Value> {
    let count = dice.roll(6);
    (0..count)
        .map(|_| match dice.roll(6) {
            0 | 1 => json!({ "pause": {} }),
            2 if routed => json!({ "setCanaryScale": { "matchTrafficWeight": true } }),
            _ => json!({ "setWeight": dice.one_of(&[0, 5, 20, 50, 80, 100]) }),
        })
        .collect()
}

fn routed(dice: &mut Dice) -> Mini {
    let mut canary = json!({
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngress": "web" } },
        "steps": steps(dice, true),
        "dynamicStableScale": dice.roll(2) == 0,
    });
    if dice.roll(4) == 0 {
        canary["minPodsPerReplicaSet"] = json!(2);
    }
    let mut world = Mini::new(&json!({ "canary": canary }));
    if dice.roll(3) == 0 {
        world.seen.rollout.spec.rollback_window = serde_json::from_value(json!({ "revisions": 2 })).unwrap();
    }
    world
}

/// What people and nodes do.
fn act(dice: &mut Dice, world: &mut Mini) -> String {
    let updating = world.seen.rollout.status.stable_rs != world.seen.rollout.status.current_pod_hash;
    let status = &mut world.seen.rollout.status;
    match dice.roll(12) {
        0..=2 => {
            let version = format!("v{}", dice.roll(4) + 1);
            world.release(&version);
            version
        }
        3 | 4 if updating => {
            if status.pause_conditions.is_empty() {
                status.current_step_index = status.current_step_index.map(|i| i + 1);
            }
            status.pause_conditions.clear();
            "promote".to_owned()
        }
        5 if updating => {
            status.promote_full = Some(true);
            "full".to_owned()
        }
        6 if updating => {
            status.abort = Some(true);
            "abort".to_owned()
        }
        7 if status.abort == Some(true) => {
            status.abort = None;
            "retry".to_owned()
        }
        8 | 9 => {
            let size = i32::try_from(dice.roll(11)).unwrap();
            world.scale(size);
            format!("scale {size}")
        }
        10 => {
            let place = usize::try_from(dice.roll(4)).unwrap();
            let serving = i32::try_from(dice.roll(3)).unwrap();
            world.serving.insert(place, serving);
            format!("v{} has {serving} pods", place + 1)
        }
        _ => {
            world.serving.clear();
            "pods recover".to_owned()
        }
    }
}

/// Trouble is over and everything is promoted.
fn at_the_end(world: &mut Mini) {
    world.serving.clear();
    world.ready_at_once = i32::MAX;
    world.seen.rollout.status.abort = None;
    for _ in 0..60 {
        let status = &mut world.seen.rollout.status;
        if status.stable_rs != status.current_pod_hash {
            status.promote_full = Some(true);
        }
        world.look();
        world.pass(2);
    }
}

fn judge_the_end(world: &Mini, told: &mut Vec<String>) {
    let status = &world.seen.rollout.status;
    let size = world.seen.rollout.spec.replicas.unwrap();
    let hash = status.current_pod_hash.clone().unwrap();
    if world.phase() != "Healthy" || status.stable_rs.as_ref() != Some(&hash) {
        told.push(format!(
            "ends {} with sizes {:?} of {size}",
            world.phase(),
            world.sizes()
        ));
    }
    for rs in &world.seen.replica_sets {
        let wanted = if rs.hash == hash { size } else { 0 };
        if rs.spec_replicas != wanted {
            told.push(format!("ends with sizes {:?} of {size}", world.sizes()));
            break;
        }
    }
}

#[test]
fn requests_never_go_to_too_few_pods() {
    let mut report = String::new();
    for seed in 1..=900_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut world = routed(&mut dice);
        let mut told = vec![format!(
            "{}",
            serde_json::to_value(&world.seen.rollout.spec.strategy).unwrap()
        )];
        let mut laws = Laws::default();
        world.settle();
        world.ready_at_once = i32::try_from(dice.roll(3)).unwrap() + 1;
        for _ in 0..12 {
            told.push(act(&mut dice, &mut world));
            world.let_pods_come();
            for _ in 0..dice.roll(14) {
                laws.look(&mut world);
                told.extend(laws.broken.drain(..).map(|b| format!("BROKEN {b}")));
                world.pass(i64::try_from(dice.roll(2)).unwrap());
            }
            told.push(format!(
                "  {} w {} {:?}",
                world.phase(),
                world.weight(),
                world.sizes()
            ));
        }
        at_the_end(&mut world);
        let before = told.len();
        judge_the_end(&world, &mut told);
        if world.weight() != "0" {
            told.push(format!("ends with weight {}", world.weight()));
        }
        if told.len() > before || told.iter().any(|t| t.starts_with("BROKEN")) {
            report = format!("seed {seed}: {told:#?}");
            break;
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn without_a_router_pods_that_serve_are_kept() {
    let mut report = String::new();
    for seed in 1..=900_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (surge, unavailable) = *dice.one_of(&[(1, 0), (0, 1), (2, 0), (3, 2)]);
        let strategy = json!({ "canary": {
            "steps": steps(&mut dice, false), "maxSurge": surge, "maxUnavailable": unavailable,
        } });
        let mut world = Mini::new(&strategy);
        let mut told = vec![strategy.to_string()];
        world.settle();
        world.ready_at_once = i32::try_from(dice.roll(3)).unwrap() + 1;
        for _ in 0..12 {
            told.push(act(&mut dice, &mut world));
            world.let_pods_come();
            for _ in 0..dice.roll(14) {
                let size = world.seen.rollout.spec.replicas.unwrap();
                let mut broken = Vec::new();
                look_unrouted(
                    &mut world,
                    size - unavailable.min(size),
                    size + surge.min(size),
                    &mut broken,
                );
                told.extend(broken.into_iter().map(|b| format!("BROKEN {b}")));
                world.pass(1);
            }
            told.push(format!("  {} {:?}", world.phase(), world.sizes()));
        }
        at_the_end(&mut world);
        let before = told.len();
        judge_the_end(&world, &mut told);
        if told.len() > before || told.iter().any(|t| t.starts_with("BROKEN")) {
            report = format!("seed {seed}: {told:#?}");
            break;
        }
    }
    assert!(report.is_empty(), "{report}");
}
