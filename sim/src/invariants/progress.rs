//! Steps and pauses: S9.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::facts::Facts;
use super::{Judge, Scene};
use crate::actors::{is_kind, text};

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Pauses that ended, in this attempt: hash and step.
    ended: BTreeSet<(String, i64)>,
    /// Whether somebody else wrote the Rollout since the controller did.
    touched: bool,
    /// Whether the strategy changed while there was a pause: it may know of none any more.
    other_strategy: bool,
}

fn pause(facts: &Facts) -> Option<(&str, Timestamp)> {
    let condition = facts.status()["pauseConditions"].as_array()?.first()?;
    Some((
        text(&condition["reason"]),
        text(&condition["startTime"]).parse().ok()?,
    ))
}

/// How long the current pause lasts; `None` when it has no end.
fn duration(facts: &Facts, reason: &str) -> Option<SignedDuration> {
    if reason == "BlueGreenPause" {
        let seconds = facts.rollout["spec"]["strategy"]["blueGreen"]["autoPromotionSeconds"].as_i64();
        return seconds.filter(|s| *s > 0).map(SignedDuration::from_secs);
    }
    let index = usize::try_from(facts.step()?).ok()?;
    match &facts.steps().get(index)?["pause"]["duration"] {
        Value::Number(seconds) => seconds.as_i64().map(SignedDuration::from_secs),
        Value::String(text) => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = match text.get(digits.len()..)? {
                "h" => 3600,
                "m" => 60,
                _ => 1,
            };
            digits
                .parse::<i64>()
                .ok()
                .map(|n| SignedDuration::from_secs(n * unit))
        }
        _ => None,
    }
}

impl Judge {
    pub(super) fn judge_progress(&mut self, scene: &Scene<'_>, memory: &mut Memory) {
        if !is_kind(scene.commit, "Rollout") || scene.commit.name != scene.after.name {
            return;
        }
        let Scene { before, after, .. } = scene;
        if !scene.ours {
            let changed =
                before.status() != after.status() || before.rollout["spec"] != after.rollout["spec"];
            memory.other_strategy |= before.rollout["spec"]["strategy"] != after.rollout["spec"]["strategy"];
            if changed {
                memory.touched = true;
                memory.ended.clear();
            }
            return;
        }
        let mut touched = std::mem::take(&mut memory.touched);
        touched |= memory.other_strategy;
        memory.other_strategy &= pause(after).is_some();
        self.pauses(scene, touched, memory);
        let same_update = before.current() == after.current();
        if !same_update || (before.aborted() && !after.aborted()) {
            memory.ended.clear();
        }
    }

    /// S9: how a pause ends, and that it does not begin again. What a client touched it may have ended.
    fn pauses(&mut self, scene: &Scene<'_>, touched: bool, memory: &mut Memory) {
        let Scene {
            before,
            after,
            commit,
            ..
        } = scene;
        let same_update = before.current() == after.current();
        if let Some((reason, start)) = pause(before)
            && matches!(reason, "CanaryPauseStep" | "BlueGreenPause")
        {
            // Without a stable version, which somebody has deleted, the one in the spec is the first.
            let first = !before.versions.contains_key(before.stable());
            let fast = first || before.status()["promoteFull"] == true || before.aborted() || after.aborted();
            match pause(after) {
                None if same_update && !fast && !touched => {
                    self.active("S9");
                    let step = before.step().unwrap_or(-1);
                    memory.ended.insert((after.current().to_owned(), step));
                    let ended_early = match duration(before, reason) {
                        None => true,
                        Some(duration) => {
                            self.clock_is_steady
                                && commit.at + SignedDuration::from_secs(1) <= start + duration
                        }
                    };
                    if ended_early {
                        let what =
                            format!("the pause of step {step}, begun {start}, ended by itself too early");
                        self.violated("S9", commit, what);
                    }
                }
                Some((again, later))
                    if again == reason
                        && same_update
                        && before.step() == after.step()
                        && later != start
                        && !touched =>
                {
                    self.violated(
                        "S9",
                        commit,
                        format!("the pause begun {start} begins again {later}"),
                    );
                }
                _ => {}
            }
        } else if let Some(("CanaryPauseStep", _)) = pause(after)
            && memory
                .ended
                .contains(&(after.current().to_owned(), after.step().unwrap_or(-1)))
        {
            self.violated(
                "S9",
                commit,
                format!("the pause of step {:?} ended and begins again", after.step()),
            );
        }
    }
}
