//! `explain delivery`: which commit runs, which was rejected and by what evidence, what is wrong, and what changes that.

use jiff::Timestamp;
use serde::Serialize;
use tidegate_crds::{
    AnalysisPhase, AnalysisRun, Delivery, LedgerEntry, LedgerRollout, Measurement, RejectedReason,
    TargetReason, VerdictState,
};
use tidegate_gitsync::object::PIN_ANNOTATION;

use super::info::{condition, head, head_entry, target, why, without_password};
use crate::age;
use crate::output::printable;

/// Measurements that are quoted of one metric: the last ones.
const QUOTED: usize = 3;

/// What `explain delivery` says.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    name: String,
    namespace: String,
    ready: String,
    message: String,
    /// The newest commit in Git, in words.
    git: String,
    /// The commit that the cluster is held at, in words.
    cluster: String,
    reasons: Vec<Cause>,
}

/// One reason why it is not where Git is.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Cause {
    why: String,
    /// What it is known from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
    moves: String,
    commands: Vec<String>,
}

/// Explains a Delivery; `runs` are the analysis runs that its newest commit was judged by, as far as they are still there.
pub(super) fn of(delivery: &Delivery, runs: &[AnalysisRun], now: Timestamp) -> Explanation {
    let ready = condition(delivery, "Ready").cloned().unwrap_or_default();
    let cx = Around { delivery, runs, now };
    let or_none =
        |commit: Option<super::info::Commit>| commit.map_or_else(|| "-".to_owned(), |commit| commit.words());
    let cluster = match why(delivery) {
        "" => or_none(target(delivery)),
        why => format!("{}, {why}", or_none(target(delivery))),
    };
    Explanation {
        name: delivery.metadata.name.clone(),
        namespace: delivery.metadata.namespace.clone(),
        ready: match ready.reason.as_str() {
            "" => "Unknown".to_owned(),
            reason => reason.to_owned(),
        },
        message: ready.message,
        git: or_none(head(delivery)),
        cluster,
        reasons: cx.causes(),
    }
}

/// What causes are made of.
struct Around<'a> {
    delivery: &'a Delivery,
    runs: &'a [AnalysisRun],
    now: Timestamp,
}

impl Around<'_> {
    fn name(&self) -> &str {
        &self.delivery.metadata.name
    }

    fn tidegate(&self, words: &str) -> String {
        format!("kubectl tidegate {words} -n {}", self.delivery.metadata.namespace)
    }

    fn kubectl(&self, words: &str) -> String {
        format!("kubectl {words} -n {}", self.delivery.metadata.namespace)
    }

    fn verb(&self, verb: &str) -> String {
        self.tidegate(&format!("delivery {verb} {}", self.name()))
    }

    fn edit(&self) -> String {
        self.kubectl(&format!("edit delivery {}", self.name()))
    }

    fn diff(&self) -> String {
        self.tidegate(&format!("delivery diff {} --path FOLDER", self.name()))
    }

    /// Whether somebody else applies the folder.
    fn observes(&self) -> bool {
        self.delivery.spec.observe.is_some()
    }

    fn causes(&self) -> Vec<Cause> {
        let status = &self.delivery.status;
        if status.observed_generation != self.delivery.metadata.generation
            || status.observed_generation.is_none()
        {
            return vec![self.unseen()];
        }
        let trouble = self.trouble();
        let stopped = trouble.as_ref().is_some_and(|(stops, _)| *stops);
        let mut causes: Vec<Cause> = trouble.into_iter().map(|(_, cause)| cause).collect();
        if stopped {
            return causes;
        }
        if status.why == Some(TargetReason::PinnedByHand) {
            causes.push(Cause {
                why: format!("it is held by hand: annotation {PIN_ANNOTATION}"),
                moves: "the annotation is taken away: the newest commit is released then".to_owned(),
                commands: vec![self.verb("unpin")],
                ..Cause::default()
            });
        }
        if let Some(entry) = head_entry(self.delivery) {
            causes.extend(self.state(entry));
            causes.extend(self.write_back(entry));
        }
        causes
    }

    /// Nobody has looked at the spec as it is now.
    fn unseen(&self) -> Cause {
        Cause {
            why: "no controller has looked at it since it was written".to_owned(),
            moves: "a controller that acts on Deliveries (its flag --git-cache) looks at it".to_owned(),
            commands: vec![
                "kubectl get leases -A".to_owned(),
                self.kubectl(&format!("get delivery {} -o yaml", self.name())),
            ],
            ..Cause::default()
        }
    }

    /// What is wrong beside the commits, and whether that stops everything.
    fn trouble(&self) -> Option<(bool, Cause)> {
        let ready = condition(self.delivery, "Ready")?;
        let (stops, moves, commands) = match ready.reason.as_str() {
            "InvalidSpec" => (true, "the field is corrected".to_owned(), vec![self.edit()]),
            "Suspended" => {
                let patch = format!(
                    r#"patch delivery {} --type merge -p '{{"spec":{{"suspend":false}}}}'"#,
                    self.name()
                );
                let moves = "spec.suspend is set to false".to_owned();
                (true, moves, vec![self.kubectl(&patch)])
            }
            "FetchFailed" => (false, self.reachable(), vec![self.verb("sync"), self.edit()]),
            "Fetching" => (
                false,
                "it ends by itself".to_owned(),
                vec![self.verb("sync")],
            ),
            // Of a commit that is good otherwise: of the newest one, its state says it.
            "ApplyFailed" if !self.head_refused() => (false, self.allowed(), self.apply_commands()),
            "PruneFailed" => (
                false,
                "the object can be deleted, or is kept: annotate it with argocd.argoproj.io/sync-options: Prune=false"
                    .to_owned(),
                self.rights(),
            ),
            "PinFailed" => (
                false,
                "the annotation names a commit that is known, or is taken away".to_owned(),
                vec![self.verb("history"), self.verb("unpin")],
            ),
            "SyncerNotFound" => (true, "spec.observe names what applies this folder".to_owned(), vec![self.edit()]),
            "SyncerUnreadable" => (
                true,
                format!("the service account {} may get it", self.account()),
                self.rights(),
            ),
            "SourceMismatch" => (
                true,
                "repository, folder and branch are the same in both".to_owned(),
                vec![self.edit()],
            ),
            "Pending" if self.observes() => (true, "who applies the folder applies that commit".to_owned(), Vec::new()),
            "RenderFailed" if self.observes() => (
                true,
                "a commit that can be rendered here, too; this one is not rejected".to_owned(),
                vec!["kubectl tidegate delivery render FOLDER".to_owned()],
            ),
            _ => return None,
        };
        let why = format!("{}: {}", ready.reason, ready.message);
        Some((
            stops,
            Cause {
                why,
                moves,
                commands,
                ..Cause::default()
            },
        ))
    }

    fn head_refused(&self) -> bool {
        let refused = |entry: &LedgerEntry| {
            entry.state == VerdictState::Pending && entry.reason == Some(RejectedReason::ApplyFailed)
        };
        head_entry(self.delivery).is_some_and(refused)
    }

    fn reachable(&self) -> String {
        let git = &self.delivery.spec.source.git;
        let secret = match &git.secret_ref {
            Some(secret) => format!("Secret {} has the right to read it", secret.name),
            None => "it may be read without a Secret, or spec.source.git.secretRef names one".to_owned(),
        };
        format!(
            "{} answers and has the branch and folder of the spec; {secret}. It is tried again by itself",
            without_password(&git.url)
        )
    }

    fn account(&self) -> String {
        let named = self.delivery.spec.service_account_name.clone();
        named
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned())
    }

    fn allowed(&self) -> String {
        format!(
            "a commit that the API server takes, or more rights for the service account {}. It is tried again by itself",
            self.account()
        )
    }

    fn rights(&self) -> Vec<String> {
        let namespace = &self.delivery.metadata.namespace;
        vec![self.kubectl(&format!(
            "auth can-i --list --as system:serviceaccount:{namespace}:{}",
            self.account()
        ))]
    }

    fn apply_commands(&self) -> Vec<String> {
        std::iter::once(self.diff()).chain(self.rights()).collect()
    }

    /// What the newest commit waits for, or why it was rejected.
    fn state(&self, entry: &LedgerEntry) -> Option<Cause> {
        let said = |words: &str| match entry.message.as_str() {
            "" => format!("{} {words}", self.commit()),
            message => format!("{} {words}: {message}", self.commit()),
        };
        let (why, moves, commands) = match &entry.state {
            VerdictState::Verified | VerdictState::Deployed | VerdictState::Superseded => return None,
            VerdictState::Rejected => return Some(self.rejected(entry)),
            VerdictState::Pending if entry.reason == Some(RejectedReason::ApplyFailed) => {
                (said("cannot be applied"), self.allowed(), self.apply_commands())
            }
            VerdictState::Regressed => (
                said("was good, and is not any more"),
                "what it runs recovers, or a new commit".to_owned(),
                rollout_commands(entry),
            ),
            VerdictState::Paused => (
                said("waits"),
                "somebody promotes the Rollout, or its pause is over".to_owned(),
                rollout_commands(entry),
            ),
            _ => (
                said("is being released"),
                "its Rollouts come to their end, and all else of it is healthy".to_owned(),
                rollout_commands(entry),
            ),
        };
        Some(Cause {
            why,
            moves,
            commands,
            ..Cause::default()
        })
    }

    /// The newest commit with the first line of its message.
    fn commit(&self) -> String {
        let head = head(self.delivery).map(|commit| commit.words());
        format!("commit {}", head.unwrap_or_default())
    }

    fn rejected(&self, entry: &LedgerEntry) -> Cause {
        let reason = entry.reason.clone().unwrap_or_default();
        let since = age::age(entry.since.map(Timestamp::from), self.now);
        let why = format!(
            "{} was rejected {since} ago ({reason}): {}",
            self.commit(),
            entry.message
        );
        let newer = "a newer commit that changes the pods";
        let again = self.again(entry);
        let (moves, commands) = match reason {
            RejectedReason::RenderFailed => (
                "a newer commit that renders".to_owned(),
                vec!["kubectl tidegate delivery render FOLDER".to_owned()],
            ),
            RejectedReason::InvalidSpec => (
                "a newer commit with a Rollout that is valid".to_owned(),
                vec!["kubectl tidegate lint FOLDER".to_owned()],
            ),
            RejectedReason::HookFailed => (
                "a newer commit whose Job ends well, or a retry of this one".to_owned(),
                again,
            ),
            RejectedReason::NotSigned => (
                "a newer commit that is signed by somebody whom the Secret of spec.source.git.verify names"
                    .to_owned(),
                Vec::new(),
            ),
            RejectedReason::ApplyFailed => (self.allowed(), self.apply_commands()),
            RejectedReason::AnalysisError => (
                format!("the metrics can be measured again, and then a retry of this commit; or {newer}"),
                again,
            ),
            RejectedReason::DeadlineExceeded => (
                format!("{newer}, or a retry of this one once its pods can start"),
                [rollout_commands(entry), again].concat(),
            ),
            _ => (format!("{newer}, or a retry of this one"), again),
        };
        Cause {
            why,
            evidence: self.evidence(entry),
            moves,
            commands,
        }
    }

    /// Has a commit released again. Who only observes leaves its Rollouts to be retried.
    fn again(&self, entry: &LedgerEntry) -> Vec<String> {
        let retry = |rollout: &LedgerRollout| {
            format!(
                "kubectl tidegate retry rollout {} -n {}",
                rollout.name, rollout.namespace
            )
        };
        let first = entry.rollouts.iter().filter(|_| self.observes()).map(retry);
        first.chain([self.verb("retry")]).collect()
    }

    /// What the analysis runs of a commit measured that was not good.
    fn evidence(&self, entry: &LedgerEntry) -> Vec<String> {
        let mut lines = Vec::new();
        for name in &entry.analysis_runs {
            match self.runs.iter().find(|run| run.metadata.name == *name) {
                Some(run) => lines.extend(failed_metrics(run)),
                None => lines.push(format!("analysis run {name} is there no more")),
            }
        }
        lines
    }

    /// What was done, or was not, to take a rejected commit back in Git.
    fn write_back(&self, entry: &LedgerEntry) -> Option<Cause> {
        if entry.state != VerdictState::Rejected {
            return None;
        }
        let revert = entry.revert.as_ref()?;
        let back = if self.observes() {
            "the last good commit"
        } else {
            "what the cluster runs"
        };
        if !revert.pull_request.is_empty() {
            return Some(Cause {
                why: format!("Git is ahead of the cluster: {}", revert.message),
                moves: format!("merging {} brings Git back to {back}", revert.pull_request),
                ..Cause::default()
            });
        }
        if !revert.commit.is_empty() {
            let commit = super::info::short(&revert.commit);
            return Some(Cause {
                why: format!("commit {commit} takes it back in Git, and has not been seen yet"),
                moves: "the next look at the repository".to_owned(),
                commands: vec![self.verb("sync")],
                ..Cause::default()
            });
        }
        let moves = if revert.done {
            "nothing more is tried: take it back by hand, or push a newer commit".to_owned()
        } else {
            let secret = self.delivery.spec.on_rejected.as_ref();
            let secret = secret.and_then(|on_rejected| on_rejected.write_secret_ref.as_ref());
            let name = secret.map_or("onRejected.writeSecretRef", |secret| secret.name.as_str());
            format!("the branch may be written to with the Secret {name}. It is tried again by itself")
        };
        (!revert.message.is_empty()).then(|| Cause {
            why: format!("it is not taken back in Git: {}", revert.message),
            moves,
            ..Cause::default()
        })
    }
}

fn rollout_commands(entry: &LedgerEntry) -> Vec<String> {
    let explain = |rollout: &LedgerRollout| {
        format!(
            "kubectl tidegate explain {} -n {}",
            rollout.name, rollout.namespace
        )
    };
    entry.rollouts.iter().map(explain).collect()
}

/// A line for each metric of a run that did not end well.
fn failed_metrics(run: &AnalysisRun) -> Vec<String> {
    let is_bad = |phase: &AnalysisPhase| {
        matches!(
            phase,
            AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive
        )
    };
    let name = &run.metadata.name;
    let results = run
        .status
        .metric_results
        .iter()
        .filter(|result| is_bad(&result.phase));
    let lines: Vec<String> = results
        .map(|result| {
            let bad: Vec<&Measurement> = result
                .measurements
                .iter()
                .filter(|measured| is_bad(&measured.phase))
                .collect();
            let first = bad.len().saturating_sub(QUOTED);
            let quoted = bad.iter().skip(first).map(|measured| measurement(measured));
            let quoted: Vec<String> = quoted.collect();
            let quoted = if quoted.is_empty() {
                result.message.clone().unwrap_or_default()
            } else {
                quoted.join(", ")
            };
            let phase = &result.phase;
            format!("metric {} of analysis run {name}: {phase}: {quoted}", result.name)
        })
        .collect();
    match &run.status.message {
        Some(message) if lines.is_empty() && is_bad(&run.status.phase) => {
            vec![format!("analysis run {name}: {}: {message}", run.status.phase)]
        }
        _ => lines,
    }
}

/// `[0.801] at 2026-11-21T10:00:00Z`.
fn measurement(measured: &Measurement) -> String {
    let text = measured.value.clone().or_else(|| measured.message.clone());
    let at = measured.finished_at.map(|at| format!(" at {at}"));
    format!(
        "{}{}",
        text.filter(|text| !text.is_empty())
            .unwrap_or_else(|| measured.phase.to_string()),
        at.unwrap_or_default()
    )
}

pub(super) fn text(explanation: &Explanation) -> String {
    let Explanation {
        name,
        namespace,
        ready,
        message,
        git,
        cluster,
        reasons,
    } = explanation;
    // The reasons say it again, and more.
    let message = if message.is_empty() || !reasons.is_empty() {
        String::new()
    } else {
        format!(" - {message}")
    };
    let mut lines = vec![
        format!("{name} (namespace {namespace}): {ready}{message}"),
        format!("Git has {git}"),
        format!("the cluster runs {cluster}"),
    ];
    for cause in reasons {
        lines.push(String::new());
        lines.push(format!("{:<7}{}", "Why:", cause.why));
        lines.extend(cause.evidence.iter().map(|line| format!("{:<7}{line}", "")));
        lines.push(format!("{:<7}{}", "Moves:", cause.moves));
        for (index, command) in cause.commands.iter().enumerate() {
            lines.push(format!("{:<7}{command}", if index == 0 { "Do:" } else { "or:" }));
        }
    }
    if reasons.is_empty() {
        lines.push(String::new());
        lines.push("Nothing holds it: the cluster runs what is in Git.".to_owned());
    }
    lines.iter().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::delivery::examples::{NOW, fresh, rejected, verified};

    fn explained(delivery: &Delivery, runs: &[AnalysisRun]) -> String {
        text(&of(delivery, runs, NOW.parse().unwrap()))
    }

    /// The reasons of each alone.
    fn reasons(deliveries: impl IntoIterator<Item = Delivery>) -> String {
        let below = deliveries.into_iter().map(|delivery| {
            let all = explained(&delivery, &[]);
            all.split_once("\n\n").unwrap().1.to_owned()
        });
        below.collect::<Vec<_>>().join("\n")
    }

    fn failed_run() -> AnalysisRun {
        let measured = |phase: &str, value: &str, second: u8| json!({"phase": phase, "value": value, "finishedAt": format!("2026-11-21T09:59:{second}Z")});
        let run = json!({
            "metadata": {"name": "web-5b7b-3", "namespace": "shop"},
            "status": {"phase": "Failed", "metricResults": [
                {"name": "latency", "phase": "Successful", "measurements": [measured("Successful", "[0.2]", 40)]},
                {"name": "success-rate", "phase": "Failed", "measurements": [
                    measured("Successful", "[0.981]", 40), measured("Failed", "[0.801]", 43), measured("Failed", "[0.799]", 46),
                ]},
            ]},
        });
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn commits_good_and_bad() {
        insta::assert_snapshot!("explain-rejected", explained(&rejected(), &[failed_run()]));
        insta::assert_snapshot!("explain-rejected-without-runs", explained(&rejected(), &[]));
        insta::assert_snapshot!("explain-verified", explained(&verified(), &[]));
        insta::assert_snapshot!("explain-fresh", explained(&fresh(), &[]));
    }

    /// A Delivery whose Ready condition says this.
    fn troubled(reason: &str, message: &str) -> Delivery {
        let mut delivery = serde_json::to_value(verified()).unwrap();
        let ready = &mut delivery["status"]["conditions"][0];
        (ready["status"], ready["reason"], ready["message"]) =
            (json!("False"), json!(reason), json!(message));
        serde_json::from_value(delivery).unwrap()
    }

    #[test]
    fn every_trouble_has_a_way_out() {
        let troubles = [
            ("InvalidSpec", "spec.interval: 1: write it as 30s or 5m"),
            ("Suspended", "spec.suspend is true: nothing is done"),
            (
                "FetchFailed",
                "https://git.test/shop/deploy.git: no route to host",
            ),
            ("Fetching", "the repository is being looked at"),
            (
                "ApplyFailed",
                "prod/web.yaml:3:1: Service shop/web: services is forbidden",
            ),
            ("PruneFailed", "Service shop/old: services is forbidden"),
            (
                "PinFailed",
                "the annotation tidegate.io/pin names \"abc\", which is not among the last commits",
            ),
        ];
        let all = troubles.map(|(reason, message)| troubled(reason, message));
        insta::assert_snapshot!("explain-troubles", reasons(all));
    }

    /// The same of one that applies nothing.
    fn observing(mut delivery: Delivery) -> Delivery {
        delivery.spec.observe =
            serde_json::from_value(json!({"kind": "Application", "name": "shop"})).unwrap();
        delivery
    }

    #[test]
    fn who_observes_has_ways_out_of_its_own() {
        let troubles = [
            (
                "SyncerNotFound",
                "spec.observe: there is no Argo CD Application argocd/shop: name the one that applies this folder",
            ),
            (
                "SyncerUnreadable",
                "the Argo CD Application argocd/shop cannot be read as the service account observer: forbidden",
            ),
            (
                "SourceMismatch",
                "the Argo CD Application argocd/shop: its folder is staging, not prod",
            ),
            (
                "Pending",
                "commit 1a2b3c4d (Third version) waits until the Argo CD Application argocd/shop applies it",
            ),
            (
                "RenderFailed",
                "commit 1a2b3c4d: no verdict, because it cannot be read here: prod/a.yaml:1:1: x",
            ),
        ];
        let revert = json!({"pullRequest": "https://git.test/shop/deploy/pulls/7", "message": "a pull request waits to be merged", "done": true});
        let rejected = with_head(&[("revert", revert), ("analysisRuns", json!([]))]);
        let troubled = troubles.map(|(reason, message)| troubled(reason, message));
        let all = troubled.into_iter().chain([rejected]).map(observing);
        insta::assert_snapshot!("explain-observers", reasons(all));
    }

    /// A Delivery whose newest commit is like that.
    fn with_head(changes: &[(&str, Value)]) -> Delivery {
        let mut delivery = serde_json::to_value(rejected()).unwrap();
        for (field, value) in changes {
            delivery["status"]["ledger"][0][*field] = value.clone();
        }
        serde_json::from_value(delivery).unwrap()
    }

    #[test]
    fn every_state_has_a_way_out() {
        let states = [
            ("Pending", "ApplyFailed"),
            ("Applied", ""),
            ("Progressing", ""),
            ("Paused", ""),
            ("Regressed", ""),
            ("Rejected", "AnalysisError"),
            ("Rejected", "DeadlineExceeded"),
            ("Rejected", "ManualAbort"),
            ("Rejected", "InvalidSpec"),
            ("Rejected", "HookFailed"),
            ("Rejected", "NotSigned"),
            ("Rejected", "ApplyFailed"),
            ("Rejected", "RenderFailed"),
            ("Rejected", "Quarantined"),
        ];
        let all = states.map(|(state, reason)| {
            let changes = [
                ("state", json!(state)),
                ("reason", json!(reason)),
                ("message", json!("x")),
                ("analysisRuns", json!([])),
                ("revert", Value::Null),
            ];
            with_head(&changes)
        });
        insta::assert_snapshot!("explain-states", reasons(all));
    }

    #[test]
    fn ways_to_take_it_back() {
        let reverts = [
            json!({"commit": "ffffffffffffffffffffffffffffffffffffffff", "done": true}),
            json!({"message": "what was rejected is not in this folder alone: take it back by hand", "done": true}),
            json!({"message": "https://git.test/shop/deploy.git: access denied"}),
        ];
        let all = reverts.map(|revert| {
            let changes = [("revert", revert), ("analysisRuns", json!([]))];
            with_head(&changes)
        });
        insta::assert_snapshot!("explain-reverts", reasons(all));
    }

    #[test]
    fn a_pin_by_hand_is_named() {
        let mut delivery = verified();
        delivery.status.why = Some(TargetReason::PinnedByHand);
        insta::assert_snapshot!("explain-pinned", explained(&delivery, &[]));
    }
}
