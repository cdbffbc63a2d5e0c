//! The demo in lines of text: one for each change.

use super::scene::{Pods, Scene};

/// The head of the columns.
pub(super) const HEAD: &str = "    time  release  step        to canary  stable  canary  errors  ";

/// One line for a change; `None` when nothing changed that has a column or a note.
pub(super) fn line(before: &Scene, now: &Scene, notes: &[String]) -> Option<String> {
    let pods = |scene: &Scene| (scene.stable.pods, scene.canary.as_ref().map(|canary| canary.pods));
    if notes.is_empty() && pods(before) == pods(now) && (before.step, before.weight) == (now.step, now.weight)
    {
        return None;
    }
    let release = now
        .canary
        .as_ref()
        .map_or(&now.stable.version, |canary| &canary.version);
    let step = match (&now.canary, now.steps.get(now.step)) {
        (Some(_), _) if now.aborted => "aborted".to_owned(),
        (Some(_), Some(label)) => format!("{}/{} {label}", now.step + 1, now.steps.len()),
        _ => "-".to_owned(),
    };
    let stable = pods_text(now.stable.pods);
    let canary = now
        .canary
        .as_ref()
        .map_or_else(|| "-".to_owned(), |canary| pods_text(canary.pods));
    let errors = now.canary.as_ref().unwrap_or(&now.stable).errors;
    let line = format!(
        "{:>6.1} s  {release:<7}  {step:<11} {:>8}%  {stable:>6}  {canary:>6}  {:>6}  {}",
        now.at.as_secs_f64(),
        now.weight,
        rate(errors),
        notes.join("; "),
    );
    Some(line.trim_end().to_owned())
}

/// What changed, in words.
pub(super) fn notes(before: &Scene, now: &Scene) -> Vec<String> {
    let mut notes = Vec::new();
    if before.weight != now.weight {
        notes.push(match now.weight {
            0 => format!("every request goes to {}", now.stable.version),
            weight => format!("{weight} % of the requests go to the canary"),
        });
    }
    let known = match () {
        // going back to a version does not measure it anew
        () if before.release != now.release => now.measured.len(),
        () if before.run == now.run => before.measured.len(),
        () => 0,
    };
    for measured in now.measured.iter().skip(known) {
        let verdict = if measured.good { "good" } else { "too low" };
        notes.push(format!("success rate {}: {verdict}", measured.value));
    }
    if !before.aborted && now.aborted {
        notes.push("aborted".to_owned());
    }
    if before.phase != now.phase {
        notes.push(now.phase.clone());
        let (active, hurt) = now.people;
        if now.canary.is_some() && now.phase == "Degraded" {
            notes.push(format!("{hurt} of {active} users hurt so far"));
        }
    }
    notes
}

fn pods_text(pods: Pods) -> String {
    format!("{}/{}", pods.ready, pods.wanted)
}

/// A share as a percentage.
pub(super) fn rate(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}
