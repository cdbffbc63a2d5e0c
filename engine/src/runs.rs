//! Analysis runs of a Rollout: which shall exist, what they say, which may go (contract 3.7, 3.12).

use std::cell::LazyCell;
use std::sync::Arc;

use tidegate_analysis::run::{Placed, RunError, RunRequest, RunRole, is_made_as, new_run, place};
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::{
    AnalysisPhase, AnalysisRun, PauseReason, RolloutAnalysis, RolloutAnalysisRunStatus, RolloutConditionType,
    Time, labels,
};

use crate::condition;
use crate::context::{Context, Strategy};
use crate::draft::Draft;
use crate::plan::Change;
use crate::revision::new_revision;
use crate::why::Reason;

/// The runs of the update in progress.
#[derive(Default)]
pub(crate) struct Verdict<'a> {
    step: Option<&'a AnalysisRun>,
    background: Option<&'a AnalysisRun>,
    pre: Option<&'a AnalysisRun>,
    post: Option<&'a AnalysisRun>,
    /// A person resumed after an inconclusive run: another one measures again.
    measures_again: bool,
    /// Somebody deleted a run that could not decide. Nobody has decided by that.
    held: bool,
}

/// Which runs shall exist now.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) step: Option<(usize, &'a RolloutAnalysis)>,
    pub(crate) background: Option<&'a RolloutAnalysis>,
    pub(crate) pre: Option<&'a RolloutAnalysis>,
    pub(crate) post: Option<&'a RolloutAnalysis>,
    /// Neither create nor stop any.
    pub(crate) keep: bool,
}

impl<'a> Verdict<'a> {
    fn all(&self) -> impl Iterator<Item = &'a AnalysisRun> {
        [self.step, self.background, self.pre, self.post]
            .into_iter()
            .flatten()
    }

    /// Why the update is to be taken back, in upstream's words.
    pub(crate) fn failure(&self) -> Option<String> {
        let kinds = [
            ("Step-based", self.step),
            ("Background", self.background),
            ("Blue/green pre-promotion", self.pre),
            ("Blue/green post-promotion", self.post),
        ];
        kinds.into_iter().find_map(|(kind, run)| {
            let status = &run?.status;
            let failed = matches!(status.phase, AnalysisPhase::Failed | AnalysisPhase::Error);
            let message = status.message.as_deref().unwrap_or_default();
            failed.then(|| format!("{kind} analysis phase error/failed: {message}"))
        })
    }

    /// An analysis could not decide, and nobody has resumed since. What was ended because nothing waits for it any more has
    /// nothing to say.
    pub(crate) fn inconclusive(&self, wanted: &Wanted<'_>) -> bool {
        let runs = [
            (self.step, wanted.step.is_some()),
            (self.background, wanted.background.is_some()),
            (self.pre, wanted.pre.is_some()),
            (self.post, wanted.post.is_some()),
        ];
        runs.into_iter()
            .filter_map(|(run, waits)| Some((run?, waits)))
            .any(|(run, waits)| {
                run.status.phase == AnalysisPhase::Inconclusive
                    && !was_ended(run)
                    && (waits || run.spec.terminate != Some(true))
            })
            || self.held
    }

    /// Whether there is a background run, where one is wanted.
    pub(crate) fn measures(&self, wanted: &Wanted<'_>) -> bool {
        wanted.background.is_none() || self.background.is_some()
    }

    /// A person has just resumed after an inconclusive run.
    pub(crate) fn measures_again(&self) -> bool {
        self.measures_again
    }

    pub(crate) fn step_successful(&self) -> bool {
        self.step.is_some_and(passed)
    }

    /// There is a run of the current step.
    pub(crate) fn step_begun(&self) -> bool {
        self.step.is_some()
    }

    /// There is a run in the background.
    pub(crate) fn background_begun(&self) -> bool {
        self.background.is_some()
    }

    /// This attempt has an analysis before its promotion.
    pub(crate) fn pre_begun(&self) -> bool {
        self.pre.is_some()
    }

    /// This attempt has an analysis after its promotion.
    pub(crate) fn post_begun(&self) -> bool {
        self.post.is_some()
    }

    pub(crate) fn pre_successful(&self) -> bool {
        self.pre.is_some_and(passed)
    }

    pub(crate) fn post_successful(&self) -> bool {
        self.post.is_some_and(passed)
    }
}

/// A run of an attempt that was aborted says nothing about the one that a client has just asked for.
fn counts(cx: &Context<'_>, run: &AnalysisRun) -> bool {
    !cx.retried() || run.metadata.creation_timestamp > cx.status().aborted_at
}

/// When the last run was made, by the clock of who made it.
pub(crate) fn newest(cx: &Context<'_>) -> Option<Time> {
    let made = cx.seen.analysis_runs.iter();
    made.filter_map(|run| run.metadata.creation_timestamp).max()
}

/// Whether a run says that what it measured is good.
fn passed(run: &AnalysisRun) -> bool {
    run.status.phase == AnalysisPhase::Successful && !was_ended(run)
}

/// Whether the controller ended a run before it was through, because nothing waited for it any more. Whatever it says then is no
/// measurement: if something waits for it again, another one is made.
fn was_ended(run: &AnalysisRun) -> bool {
    run.metadata
        .annotations
        .contains_key(labels::RUN_NOT_WANTED_ANNOTATION)
}

fn is_of_step(run: &AnalysisRun, index: i32) -> bool {
    run.metadata.labels.get(labels::STEP_INDEX_LABEL) == Some(&index.to_string())
}

/// Whether a run of that name is made for a step, whatever number it got because the name was taken (contract 2.3).
fn is_named_for_step(name: &str, index: i32) -> bool {
    let numbered = name
        .rsplit_once('.')
        .filter(|(_, number)| number.parse::<u32>().is_ok());
    numbered
        .map_or(name, |(base, _)| base)
        .ends_with(&format!("-{index}"))
}

/// Finds the runs of the update in progress: those that the status names, and those that were created but not recorded
/// before a crash. A run that could not decide is none of them once a person has resumed: another one measures again, and
/// what that one says counts. After a retry only what was made since the abort counts: all else measured the attempt before.
pub(crate) fn judge<'a>(cx: &Context<'a>) -> Verdict<'a> {
    let status = cx.status();
    let canary = status.canary.as_ref();
    let bg = status.blue_green.as_ref();
    let (mut measures_again, mut held) = (false, false);
    let mut find = |recorded: Option<&RolloutAnalysisRunStatus>, role: RunRole| {
        let named = recorded
            .and_then(|r| cx.run(&r.name))
            .filter(|run| counts(cx, run));
        // The pause was recorded with the phase: if it is gone, a person took it away, or an abort.
        let undecided = recorded.filter(|r| r.status == AnalysisPhase::Inconclusive);
        let goes_on = !cx.has_pause(&PauseReason::InconclusiveAnalysisRun) && status.abort != Some(true);
        let resumed = undecided.is_some() && goes_on;
        measures_again |= resumed;
        held |= undecided.is_some_and(|r| !resumed && cx.run(&r.name).is_none());
        let other = |run: &&Arc<AnalysisRun>| recorded.is_none_or(|r| r.name != run.metadata.name);
        let newer = unrecorded(cx, role).filter(other);
        named
            .filter(|run| !(resumed || was_ended(run) && newer.is_some()))
            .or(newer)
            .map(Arc::as_ref)
    };
    let mut verdict = Verdict::default();
    match cx.strategy {
        Strategy::Canary(_) => {
            if let Some(index) = status.current_step_index {
                let at_step = |r: &&RolloutAnalysisRunStatus| match cx.run(&r.name) {
                    Some(run) => is_of_step(run, index),
                    // Somebody deleted it. Its name tells.
                    None => is_named_for_step(&r.name, index),
                };
                // A client may have moved the index on: the run of the step before says nothing about this one.
                let recorded = canary.and_then(|c| c.current_step_analysis_run_status.as_ref());
                let recorded = recorded.filter(at_step);
                verdict.step = find(recorded, RunRole::Step(index));
            }
            let recorded = canary.and_then(|c| c.current_background_analysis_run_status.as_ref());
            verdict.background = find(recorded, RunRole::Background);
        }
        Strategy::BlueGreen(_) => {
            let recorded = bg.and_then(|b| b.pre_promotion_analysis_run_status.as_ref());
            verdict.pre = find(recorded, RunRole::PrePromotion);
            let recorded = bg.and_then(|b| b.post_promotion_analysis_run_status.as_ref());
            verdict.post = find(recorded, RunRole::PostPromotion);
        }
    }
    verdict.measures_again = measures_again;
    verdict.held = held;
    verdict
}

/// A run of this revision and role that the status does not name: made since the last look, or just before a crash. One that ended before
/// the last turn of the update (a retry, a pause) belongs to an earlier attempt. Others than this controller may create runs too: what it
/// does not know to be its own has to be the very one that it would have made.
fn unrecorded<'a>(cx: &Context<'a>, role: RunRole) -> Option<&'a Arc<AnalysisRun>> {
    if cx.fully_promoted() {
        // What is promoted waits for none.
        return None;
    }
    let turn =
        condition::find(cx.status(), &RolloutConditionType::Progressing).map(|c| c.last_transition_time);
    let index = match role {
        RunRole::Step(index) => Some(index.to_string()),
        _ => None,
    };
    // Times are whole seconds: one that did not end well in the second in which a retry began may be of the attempt before, and measuring
    // once more costs less than taking back a good version.
    let first = cx.status().abort.is_none();
    let began = cx.status().duration.as_ref().and_then(|d| d.rollout_started_at);
    let good = |run: &AnalysisRun| run.status.phase == AnalysisPhase::Successful;
    let revision = new_revision(cx).to_string();
    let of_these_steps = |run: &AnalysisRun| {
        // Of other steps, whatever it says: it measured another weight, or something else.
        let steps = run.metadata.annotations.get(labels::RUN_STEP_HASH_ANNOTATION);
        steps.map_or("", String::as_str) == cx.identity.step_hash
    };
    let mut candidates = cx.seen.analysis_runs.iter().rev().filter(|run| {
        let created = run.metadata.creation_timestamp;
        let label = |key: &str| run.metadata.labels.get(key).map(String::as_str);
        label(labels::ROLLOUT_TYPE_LABEL) == Some(role.label())
            && label(labels::POD_TEMPLATE_HASH_LABEL) == Some(cx.hash.as_str())
            && label(labels::STEP_INDEX_LABEL) == index.as_deref()
            && run.metadata.annotations.get(labels::REVISION_ANNOTATION) == Some(&revision)
            && run.metadata.deletion_timestamp.is_none()
            && run.spec.terminate != Some(true)
            && counts(cx, run)
            && of_these_steps(run)
            && (!run.status.phase.completed()
                || turn <= created && began <= created && (first || good(run) || began < created))
    });
    let ours = LazyCell::new(|| new_run_of(cx, role, analysis_of(cx, role)?).ok());
    candidates.find(|run| {
        cx.seen.made_here.contains(&run.metadata.uid)
            || ours.as_ref().is_some_and(|ours| is_made_as(run, ours))
    })
}

/// What the spec wants to be measured in a role.
fn analysis_of<'a>(cx: &Context<'a>, role: RunRole) -> Option<&'a RolloutAnalysis> {
    match (cx.strategy, role) {
        (Strategy::Canary(canary), RunRole::Step(index)) => {
            canary.steps.get(usize::try_from(index).ok()?)?.analysis()
        }
        (Strategy::Canary(canary), RunRole::Background) => Some(&canary.background.as_ref()?.analysis),
        (Strategy::BlueGreen(blue_green), RunRole::PrePromotion) => blue_green.pre_analysis.as_ref(),
        (Strategy::BlueGreen(blue_green), RunRole::PostPromotion) => blue_green.post_analysis.as_ref(),
        _ => None,
    }
}

/// Creates what is wanted and missing, stops what runs and is not wanted, deletes what is beyond the history limits. Answers whether
/// all that is wanted is there, or is tried.
pub(crate) fn act(cx: &Context<'_>, verdict: &Verdict<'_>, wanted: &Wanted<'_>, draft: &mut Draft) -> bool {
    if wanted.keep {
        return true;
    }
    let roles = [
        (
            wanted
                .step
                .map(|(i, a)| (RunRole::Step(i32::try_from(i).unwrap_or(0)), a)),
            verdict.step,
        ),
        (
            wanted.background.map(|a| (RunRole::Background, a)),
            verdict.background,
        ),
        (wanted.pre.map(|a| (RunRole::PrePromotion, a)), verdict.pre),
        (wanted.post.map(|a| (RunRole::PostPromotion, a)), verdict.post),
    ];
    let (mut current, mut missing): (Vec<&str>, Vec<_>) = (Vec::new(), Vec::new());
    for (wish, run) in roles {
        let Some((role, analysis)) = wish else { continue };
        match run {
            Some(run) if !was_ended(run) => {
                current.push(&run.metadata.name);
                if !run.status.phase.completed() && !matches!(role, RunRole::Background) {
                    draft.because(Reason::WaitingForAnalysis {
                        run: run.metadata.name.clone(),
                        phase: run.status.phase.to_string(),
                    });
                }
            }
            // Its word still holds: who deleted it has not resumed.
            None if verdict.held => {}
            _ => missing.push((role, analysis)),
        }
    }
    // Ended before others are made: no two measure the same at once.
    let mut ended = true;
    for run in &cx.seen.analysis_runs {
        let running = !run.status.phase.completed() && run.spec.terminate != Some(true);
        if running && !current.contains(&run.metadata.name.as_str()) {
            ended &= draft.act(Change::TerminateAnalysisRun {
                name: run.metadata.name.clone(),
                uid: run.metadata.uid.clone(),
            });
        }
    }
    let mut measured = ended || missing.is_empty();
    for (role, analysis) in missing.into_iter().filter(|_| ended) {
        measured &= create(cx, role, analysis, draft);
    }
    forget(cx, verdict, draft);
    measured
}

/// The run that is made for a role, under the first name of its kind.
fn new_run_of(cx: &Context<'_>, role: RunRole, analysis: &RolloutAnalysis) -> Result<AnalysisRun, RunError> {
    let revision = new_revision(cx).to_string();
    let lookup = |cluster: bool, name: &str| {
        cx.seen
            .templates
            .get(&TemplateKey {
                cluster,
                name: name.to_owned(),
            })
            .map(Arc::as_ref)
    };
    new_run(&RunRequest {
        rollout: cx.rollout(),
        role,
        analysis,
        hash: &cx.hash,
        stable_hash: cx.stable_hash(),
        revision: &revision,
        step_hash: &cx.identity.step_hash,
        instance_id: cx.settings.instance_id.as_deref(),
        templates: &lookup,
    })
}

/// Answers whether the run is there, or its creation is tried.
fn create(cx: &Context<'_>, role: RunRole, analysis: &RolloutAnalysis, draft: &mut Draft) -> bool {
    let made = new_run_of(cx, role, analysis);
    match made.and_then(|run| place(run, |name| cx.run(name).map(Arc::as_ref))) {
        Ok(Placed::Create(run)) => draft.act(Change::CreateAnalysisRun(run)),
        Ok(Placed::Reuse(_)) => true,
        Err(error) => {
            draft.because(Reason::Invalid {
                text: error.to_string(),
                fix: "correct the analysis, its templates or its arguments".to_owned(),
            });
            false
        }
    }
}

/// Runs that no update needs any more (contract F11, F12; 3.12 "History").
fn forget(cx: &Context<'_>, verdict: &Verdict<'_>, draft: &mut Draft) {
    let (mut room_good, mut room_bad) = (cx.valid.good_runs, cx.valid.bad_runs);
    let current: Vec<&str> = verdict.all().map(|run| run.metadata.name.as_str()).collect();
    // Newest first, so that the oldest are the ones beyond the limit.
    for run in cx.seen.analysis_runs.iter().rev() {
        let done = run.status.phase.completed() && run.metadata.deletion_timestamp.is_none();
        if !done || current.contains(&run.metadata.name.as_str()) {
            continue;
        }
        let hash = run.metadata.labels.get(labels::POD_TEMPLATE_HASH_LABEL);
        let gone = !cx.owned().any(|rs| Some(&rs.hash) == hash);
        let room = if run.status.phase == AnalysisPhase::Successful {
            &mut room_good
        } else {
            &mut room_bad
        };
        if gone || *room == 0 {
            draft.act(Change::DeleteAnalysisRun {
                name: run.metadata.name.clone(),
                uid: run.metadata.uid.clone(),
            });
        } else {
            *room -= 1;
        }
    }
}

/// Records what the runs say and tells when it changed (contract 2.5, 2.8).
pub(crate) fn record(cx: &Context<'_>, verdict: &Verdict<'_>, draft: &mut Draft) {
    if verdict.held {
        // What is recorded is all that is left of what it said.
        return;
    }
    let old = |s: &Option<RolloutAnalysisRunStatus>| s.clone();
    let summary = |run: Option<&AnalysisRun>, old: &Option<RolloutAnalysisRunStatus>| {
        let said = run.map(|run| RolloutAnalysisRunStatus {
            name: run.metadata.name.clone(),
            status: run.status.phase.clone(),
            message: run.status.message.clone().filter(|m| !m.is_empty()),
        });
        // One that a person has gone on from stays on record until there is another: it must not be found anew.
        let left =
            |r: &&RolloutAnalysisRunStatus| verdict.measures_again && r.status == AnalysisPhase::Inconclusive;
        said.or_else(|| old.as_ref().filter(left).cloned())
    };
    let aborted = cx.status().abort == Some(true) && cx.status().aborted_at.is_some();
    let mut changes = Vec::new();
    match cx.strategy {
        Strategy::Canary(_) => {
            let canary = draft.status.canary.get_or_insert_default();
            let step = summary(verdict.step, &canary.current_step_analysis_run_status).filter(|_| !aborted);
            changes.push((
                "Step",
                old(&canary.current_step_analysis_run_status),
                step.clone(),
            ));
            canary.current_step_analysis_run_status = step;
            let recorded = &canary.current_background_analysis_run_status;
            let background = summary(verdict.background, recorded).filter(|_| !aborted);
            changes.push((
                "Background",
                old(&canary.current_background_analysis_run_status),
                background.clone(),
            ));
            canary.current_background_analysis_run_status = background;
        }
        Strategy::BlueGreen(_) => {
            let bg = draft.status.blue_green.get_or_insert_default();
            let pre = summary(verdict.pre, &bg.pre_promotion_analysis_run_status);
            changes.push((
                "PrePromotion",
                old(&bg.pre_promotion_analysis_run_status),
                pre.clone(),
            ));
            bg.pre_promotion_analysis_run_status = pre;
            let post = summary(verdict.post, &bg.post_promotion_analysis_run_status);
            changes.push((
                "PostPromotion",
                old(&bg.post_promotion_analysis_run_status),
                post.clone(),
            ));
            bg.post_promotion_analysis_run_status = post;
        }
    }
    tell(changes, draft);
}

/// What was recorded of a run of some kind, and what is recorded now.
type Changed = (
    &'static str,
    Option<RolloutAnalysisRunStatus>,
    Option<RolloutAnalysisRunStatus>,
);

/// Tells what runs say now and did not say before.
fn tell(changes: Vec<Changed>, draft: &mut Draft) {
    for (kind, old, new) in changes {
        let Some(new) = new else { continue };
        let previous = old
            .filter(|o| o.name == new.name)
            .map_or(AnalysisPhase::default(), |o| o.status);
        let (warning, reason) = match new.status {
            AnalysisPhase::Running => (false, "AnalysisRunRunning"),
            AnalysisPhase::Successful => (false, "AnalysisRunSuccessful"),
            AnalysisPhase::Inconclusive => (false, "AnalysisRunInconclusive"),
            AnalysisPhase::Failed => (true, "AnalysisRunFailed"),
            AnalysisPhase::Error => (true, "AnalysisRunError"),
            _ => continue,
        };
        if previous != new.status {
            draft.tell(
                warning,
                reason,
                format!(
                    "{kind} Analysis Run '{}' Status New: '{}' Previous: '{previous}'",
                    new.name, new.status
                ),
            );
        }
    }
}

/// Forgets the runs of an earlier attempt.
pub(crate) fn clear(draft: &mut Draft) {
    if let Some(canary) = &mut draft.status.canary {
        canary.current_step_analysis_run_status = None;
        canary.current_background_analysis_run_status = None;
    }
    if let Some(bg) = &mut draft.status.blue_green {
        bg.pre_promotion_analysis_run_status = None;
        bg.post_promotion_analysis_run_status = None;
    }
}
