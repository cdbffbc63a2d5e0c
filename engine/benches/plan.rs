//! How long the planner takes: for a Rollout that is at rest, which is what most looks find, and for a step of a canary.
//!
//! `cargo bench -p tidegate-engine`

#![allow(missing_docs, reason = "what criterion's macros make")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "nobody is harmed")]

#[path = "../tests/plan/mini.rs"]
mod mini;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate_crds::AnalysisPhase;
use tidegate_engine::observed::Identity;
use tidegate_engine::{Change, Checked, Settings, plan, resolved_template};

use self::mini::Mini;

/// A Rollout that has seen so many revisions and keeps their ReplicaSets: the default of `revisionHistoryLimit`, and the
/// newest one.
const REVISIONS: usize = 11;

/// At rest on the last revision but one; `last` is what comes after it.
fn at_rest(steps: &Value) -> Mini {
    let mut world = Mini::new(&mini::nginx(steps));
    world.settle();
    for revision in 2..REVISIONS {
        release(&mut world, revision);
        rest(&mut world);
    }
    world
}

fn release(world: &mut Mini, revision: usize) {
    world.release(&format!("v{revision}"));
    remember(world);
}

/// The shell keeps the hashes of a generation.
fn remember(world: &mut Mini) {
    let template = resolved_template(&world.seen).unwrap();
    world.seen.identity = Some(Arc::new(Identity::of(&world.seen.rollout, template)));
}

/// And what validation said, for as long as nothing changes.
fn remember_checked(world: &mut Mini) {
    world.seen.checked = Some(Checked::latest(None, &world.seen));
}

fn rest(world: &mut Mini) {
    for _ in 0..20 {
        world.settle();
        for run in &mut world.seen.analysis_runs {
            Arc::make_mut(run).status.phase = AnalysisPhase::Successful;
        }
        world.pass(40);
    }
    assert_eq!(world.phase(), "Healthy");
    assert!(world.look().actions.is_empty(), "at rest");
}

fn plans(criterion: &mut Criterion) {
    let settings = Settings::default();
    let pause = json!({ "pause": { "duration": 1 } });
    let mut world = at_rest(&json!([{ "setWeight": 20 }, pause, { "setWeight": 50 }, pause]));

    release(&mut world, REVISIONS);
    let moves_traffic = |world: &Mini| {
        let plan = plan(&world.seen, world.now, &settings);
        plan.actions
            .iter()
            .any(|action| matches!(action.change, Change::Route(_)))
    };
    while !moves_traffic(&world) {
        world.look();
        world.pass(1);
    }
    assert_eq!(
        (world.seen.replica_sets.len(), world.weight().as_str()),
        (REVISIONS, "0")
    );
    criterion.bench_function("plan of a step", |bencher| {
        bencher.iter(|| plan(black_box(&world.seen), world.now, &settings));
    });

    rest(&mut world);
    assert_eq!(world.seen.replica_sets.len(), REVISIONS);
    remember_checked(&mut world);
    criterion.bench_function("plan of a settled Rollout", |bencher| {
        bencher.iter(|| plan(black_box(&world.seen), world.now, &settings));
    });

    world.seen.identity = None;
    world.seen.checked = None;
    criterion.bench_function("plan of a settled Rollout at the first look", |bencher| {
        bencher.iter(|| plan(black_box(&world.seen), world.now, &settings));
    });

    let analysis = json!({ "analysis": { "templates": [{ "templateName": "rate" }] } });
    let mut world = at_rest(&json!([{ "setWeight": 20 }, analysis, { "setWeight": 50 }, analysis]));
    release(&mut world, REVISIONS);
    rest(&mut world);
    remember_checked(&mut world);
    criterion.bench_function(
        "plan of a settled Rollout with analyses in its steps",
        |bencher| {
            bencher.iter(|| plan(black_box(&world.seen), world.now, &settings));
        },
    );
}

criterion_group!(benches, plans);
criterion_main!(benches);
