//! Makes a story that shows something wrong as short as possible: fewer acts, fewer fields, fewer faults.

use serde_json::Value;

use super::{Shape, Story};
use crate::faults::{FaultPlan, Rates};

/// So many stories are played at most to shorten one.
const MOST: usize = 1200;

impl Story {
    /// The shortest story that is found in which the same is wrong: `kind` is what `wrong` says of this one.
    #[must_use]
    pub fn shrink(&self) -> Self {
        let Some(kind) = self.play(false).kind() else {
            return self.clone();
        };
        let mut best = self.clone();
        let mut left = MOST;
        loop {
            let before = best.clone();
            for smaller in [acts, rollouts, faults, fields, numbers] {
                improve(&mut best, smaller, &kind, &mut left);
            }
            if best == before || left == 0 {
                return best;
            }
        }
    }
}

/// Takes the first smaller story that still shows it, again and again.
fn improve(best: &mut Story, smaller: fn(&Story) -> Vec<Story>, kind: &str, left: &mut usize) {
    let mut from = 0;
    loop {
        let tries = smaller(best);
        let mut found = None;
        for (index, story) in tries.into_iter().enumerate().skip(from) {
            if *left == 0 {
                return;
            }
            *left -= 1;
            if story.play(false).kind().as_deref() == Some(kind) {
                found = Some((index, story));
                break;
            }
        }
        match found {
            // what was tried before it is most likely still needed
            Some((index, story)) => {
                *best = story;
                from = index;
            }
            None if from > 0 => from = 0,
            None => return,
        }
    }
}

/// Without a stretch of acts: long stretches first.
fn acts(story: &Story) -> Vec<Story> {
    let count = story.acts.len();
    let mut all = Vec::new();
    let mut length = count.div_ceil(2);
    while length > 0 {
        for start in (0..count).step_by(length).rev() {
            let mut acts = story.acts.clone();
            acts.drain(start..(start + length).min(count));
            all.push(Story {
                acts,
                ..story.clone()
            });
        }
        length /= 2;
    }
    all
}

/// Without the second Rollout.
fn rollouts(story: &Story) -> Vec<Story> {
    if story.rollouts.len() < 2 {
        return Vec::new();
    }
    let only = |which: usize| Story {
        rollouts: vec![story.rollouts[which].clone()],
        acts: story.acts.iter().filter(|act| act.on == which).cloned().collect(),
        ..story.clone()
    };
    // what belongs to the second is named after it, so it cannot take the first one's place
    vec![only(0)]
}

/// Without a class of faults.
fn faults(story: &Story) -> Vec<Story> {
    let with = |change: &dyn Fn(&mut FaultPlan)| {
        let mut faults = story.faults.clone();
        change(&mut faults);
        (faults != story.faults).then(|| Story {
            faults,
            ..story.clone()
        })
    };
    let rate = |change: fn(&mut Rates)| {
        with(&|f| {
            if let Some(rates) = &mut f.rates {
                change(rates);
            }
        })
    };
    [
        with(&|f| *f = FaultPlan::default()),
        with(&|f| f.rates = None),
        with(&|f| f.watch_delays.clear()),
        with(&|f| f.hidden.clear()),
        with(&|f| f.relists.clear()),
        with(&|f| f.clock_jumps.clear()),
        with(&|f| f.second_leaders.clear()),
        with(&|f| f.refusals.clear()),
        with(&|f| {
            f.refusals.pop();
        }),
        rate(|r| r.crash = 0),
        rate(|r| r.refused = 0),
        rate(|r| r.timeout = 0),
        rate(|r| r.meddling = 0),
        rate(|r| r.slow = 0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Without one field of a strategy or a spec, or one step.
fn fields(story: &Story) -> Vec<Story> {
    let mut all = Vec::new();
    for (index, shape) in story.rollouts.iter().enumerate() {
        let mut put = |shape: Shape| {
            let mut rollouts = story.rollouts.clone();
            rollouts[index] = shape;
            all.push(Story {
                rollouts,
                ..story.clone()
            });
        };
        if shape.other_instance {
            put(Shape {
                other_instance: false,
                ..shape.clone()
            });
        }
        if shape.taken_over.is_some() {
            put(Shape {
                taken_over: None,
                ..shape.clone()
            });
        }
        if !shape.more.is_null() {
            for more in without_each(&shape.more) {
                put(Shape {
                    more,
                    ..shape.clone()
                });
            }
        }
        for kind in ["canary", "blueGreen"] {
            if !shape.strategy[kind].is_object() {
                continue;
            }
            for spec in without_each(&shape.strategy[kind]) {
                let mut strategy = shape.strategy.clone();
                strategy[kind] = spec;
                put(Shape {
                    strategy,
                    ..shape.clone()
                });
            }
            let steps = shape.strategy[kind]["steps"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for gone in (0..steps.len()).rev() {
                let mut steps = steps.clone();
                steps.remove(gone);
                let mut strategy = shape.strategy.clone();
                strategy[kind]["steps"] = Value::Array(steps);
                put(Shape {
                    strategy,
                    ..shape.clone()
                });
            }
        }
    }
    all
}

fn without_each(object: &Value) -> Vec<Value> {
    let keys: Vec<String> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, _)| k.clone())
        .collect();
    let without = |key: &String| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove(key);
        }
        object
    };
    keys.iter().map(without).collect()
}

/// Fewer pods, rounder times, another seed.
fn numbers(story: &Story) -> Vec<Story> {
    let mut all = Vec::new();
    for (index, shape) in story.rollouts.iter().enumerate() {
        for replicas in [1, 2, 4, 10] {
            if replicas < shape.replicas {
                let mut rollouts = story.rollouts.clone();
                rollouts[index].replicas = replicas;
                all.push(Story {
                    rollouts,
                    ..story.clone()
                });
            }
        }
    }
    for (index, act) in story.acts.iter().enumerate() {
        for after_ms in [0, 1000, 10_000] {
            // a round number is easier to read than a smaller one
            if act.after_ms % 1000 != 0 || after_ms < act.after_ms {
                let mut acts = story.acts.clone();
                acts[index].after_ms = after_ms;
                all.push(Story {
                    acts,
                    ..story.clone()
                });
            }
        }
    }
    if story.seed > 3 {
        all.extend((1..=3).map(|seed| Story {
            seed,
            ..story.clone()
        }));
    }
    all
}
