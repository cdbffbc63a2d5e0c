//! Why a Rollout does not move, what would move it, and by which command: from the plan that the controller makes.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;
use tidegate_controller::look;
use tidegate_controller::object::ObjectKey;
use tidegate_controller::request::ROLLOUTS;
use tidegate_crds::decode::tolerant;
use tidegate_crds::labels::{INSTANCE_ID_LABEL, POD_TEMPLATE_HASH_LABEL, REVISION_ANNOTATION};
use tidegate_crds::{AnalysisRun, Rollout};
use tidegate_engine::why::Reason;
use tidegate_engine::{Change, Plan, Settings};

use crate::api::Api;
use crate::cli::Print;
use crate::failure::Failure;
use crate::info::Objects;
use crate::info::pod::Pod;
use crate::output::{Output, printable};
use crate::{age, canary, gather, phase};

/// Pods that are named one by one.
const MAX_PODS: usize = 3;

/// What `explain` says.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    name: String,
    namespace: String,
    status: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    reasons: Vec<Cause>,
    /// Writes that the controller has still to make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending: Vec<String>,
}

/// One reason.
#[derive(Debug, PartialEq, Serialize)]
struct Cause {
    why: String,
    moves: String,
    commands: Vec<String>,
}

/// `explain NAME`.
pub(crate) async fn explain(api: &Api, name: &str, print: Print, out: &mut Output) -> Result<(), Failure> {
    let object = api.get(&ROLLOUTS, name).await?;
    let rollout: Rollout = tolerant(object.clone()).0;
    let (objects, named) = futures::try_join!(gather::objects(api), gather::named(api, &rollout))?;
    let now = Timestamp::now();
    let key = ObjectKey::new(rollout.metadata.namespace.as_str(), name);
    let all = gather::for_plan(&object, &objects, named);
    let seen = look::observed(&all, &objects.pods, &key, now)
        .ok_or_else(|| Failure::other(format!("rollout {name:?} cannot be read")))?;
    let settings = Settings {
        instance_id: rollout.metadata.labels.get(INSTANCE_ID_LABEL).cloned(),
        ..Settings::default()
    };
    let plan = tidegate_engine::plan(&seen, now, &settings);
    let explanation = of(&rollout, &plan, &objects, now);
    match print.output {
        Some(format) => out.value(format, &explanation),
        None => out.text(&text(&explanation)),
    }
}

fn of(rollout: &Rollout, plan: &Plan, objects: &Objects, now: Timestamp) -> Explanation {
    let (status, message) = phase::of(rollout);
    let cx = Around {
        rollout,
        objects,
        now,
    };
    let mut reasons: Vec<Cause> = Vec::new();
    for reason in &plan.why {
        let cause = cx.cause(reason);
        if !reasons.contains(&cause) {
            reasons.push(cause);
        }
    }
    Explanation {
        name: rollout.metadata.name.clone(),
        namespace: rollout.metadata.namespace.clone(),
        status,
        message,
        position: position(rollout),
        reasons,
        pending: plan
            .actions
            .iter()
            .map(|action| pending(&action.change))
            .collect(),
    }
}

fn position(rollout: &Rollout) -> Option<String> {
    canary::strategy(rollout)?;
    let weight = canary::set_weight(rollout);
    Some(match canary::step_text(rollout) {
        Some(step) => format!("step {step} of the canary, set weight {weight}"),
        None => format!("canary without steps, set weight {weight}"),
    })
}

/// What commands are made of.
struct Around<'a> {
    rollout: &'a Rollout,
    objects: &'a Objects,
    now: Timestamp,
}

impl Around<'_> {
    fn name(&self) -> &str {
        &self.rollout.metadata.name
    }

    fn tidegate(&self, words: &str) -> String {
        format!("kubectl tidegate {words} -n {}", self.rollout.metadata.namespace)
    }

    fn kubectl(&self, words: &str) -> String {
        format!("kubectl {words} -n {}", self.rollout.metadata.namespace)
    }

    fn verb(&self, verb: &str) -> String {
        self.tidegate(&format!("{verb} {}", self.name()))
    }

    fn events(&self) -> String {
        self.kubectl(&format!(
            "get events --field-selector involvedObject.name={}",
            self.name()
        ))
    }

    fn left(&self, until: &Timestamp) -> String {
        age::human((until.as_second() - self.now.as_second()).max(0))
    }

    fn unpause(&self) -> String {
        self.kubectl(&format!(
            r#"patch rollout {} --type merge -p '{{"spec":{{"paused":false}}}}'"#,
            self.name()
        ))
    }

    fn end_analysis(&self, run: &str) -> Vec<String> {
        vec![
            self.kubectl(&format!("get analysisrun {run} -o yaml")),
            self.tidegate(&format!("terminate analysisrun {run}")),
            self.verb("promote"),
        ]
    }

    fn end_pause(&self) -> Vec<String> {
        vec![self.verb("promote"), self.verb("abort")]
    }

    fn end_abort(&self) -> Vec<String> {
        self.failed_run()
            .map(|run| self.kubectl(&format!("get analysisrun {run} -o yaml")))
            .into_iter()
            .chain([self.verb("retry rollout"), self.back_to_stable()])
            .collect()
    }

    fn cause(&self, reason: &Reason) -> Cause {
        let (moves, commands) = self.remedy(reason);
        let why = match reason {
            // The fix is what moves it.
            Reason::Invalid { text, .. } => text.clone(),
            Reason::Aborted { because } if because.is_empty() => self.abort_text(),
            other => other.to_string(),
        };
        Cause { why, moves, commands }
    }

    /// What moves it, and the commands for that.
    fn remedy(&self, reason: &Reason) -> (String, Vec<String>) {
        match reason {
            Reason::Invalid { fix, .. } => (
                fix.clone(),
                vec!["kubectl tidegate lint FILE".to_owned(), self.kubectl(&format!("edit rollout {}", self.name()))],
            ),
            Reason::WaitingForPods { replica_set, .. } => {
                let mut commands = self.pod_commands(replica_set);
                if self.is_updating() {
                    commands.push(self.verb("abort"));
                }
                ("more of its pods become available".to_owned(), commands)
            }
            Reason::WaitingForPodsToGo { .. } => (
                "they end by themselves, as soon as no request may come to them any more".to_owned(),
                vec![self.kubectl("get pods")],
            ),
            Reason::WaitingForWeight { .. } | Reason::WaitingForService { .. } => (
                "the routes and Services are changed by themselves; when they are not, their events say why".to_owned(),
                vec![self.events()],
            ),
            Reason::Paused { until: None, .. } => ("a promotion".to_owned(), self.end_pause()),
            Reason::Paused { until: Some(until), .. } => (
                format!("it goes on by itself in {}, or when it is promoted", self.left(until)),
                self.end_pause(),
            ),
            Reason::ManuallyPaused => {
                ("spec.paused is set to false".to_owned(), vec![self.verb("promote"), self.unpause()])
            }
            Reason::WaitingForAnalysis { run, .. } => (
                self.analysis(run),
                self.end_analysis(run),
            ),
            Reason::Aborted { .. } => (
                "a retry of the same version, or a template that differs: the one of the stable version ends the abort"
                    .to_owned(),
                self.end_abort(),
            ),
            Reason::ScaleDownDelayed { until, .. } | Reason::Draining { until, .. } => {
                (format!("it ends by itself in {}", self.left(until)), Vec::new())
            }
            Reason::Routing { .. } => (
                "the object that routes the traffic is mended; the controller then tries again".to_owned(),
                vec![self.events()],
            ),
            Reason::Refused { .. } | Reason::RefusedBefore { .. } => (
                "what stands against it is mended: the spec, a quota, an admission webhook, a right of the controller. It is \
                 tried again at least once a minute, and at once when the spec changes"
                    .to_owned(),
                vec![self.events()],
            ),
            Reason::DeadlineExceeded { replica_set } => {
                let mut commands = self.pod_commands(replica_set);
                commands.extend([self.verb("abort"), self.back_to_stable()]);
                ("its pods become available, or another version takes its place".to_owned(), commands)
            }
            Reason::Restarting => {
                ("it ends by itself, a few pods at a time".to_owned(), vec![self.kubectl("get pods")])
            }
            Reason::WorkloadRuns { name, .. } => (
                "the Deployment is scaled to 0; after the first revision nobody does that for you".to_owned(),
                vec![self.kubectl(&format!("scale deployment {name} --replicas=0"))],
            ),
            Reason::Missing { kind, name } => (
                format!("{kind} {name} is created, or the rollout names another"),
                vec![self.kubectl(&format!("get {} {name}", kind.to_lowercase()))],
            ),
        }
    }

    /// The template of the stable version once more: the revision before this one may be another that was rejected.
    fn back_to_stable(&self) -> String {
        let stable = self.rollout.status.stable_rs.as_deref();
        let part = |set: &serde_json::Value, map: &str, key: &str| {
            let value = set.pointer(&format!("/metadata/{map}"))?.get(key)?;
            value.as_str().map(str::to_owned)
        };
        let mut sets = self.objects.replica_sets.iter();
        let set = sets.find(|set| {
            stable.is_some() && part(set, "labels", POD_TEMPLATE_HASH_LABEL).as_deref() == stable
        });
        match set.and_then(|set| part(set, "annotations", REVISION_ANNOTATION)) {
            Some(revision) => self.verb(&format!("undo --to-revision={revision}")),
            None => self.verb("undo"),
        }
    }

    /// Whether there is a version that is not the stable one yet.
    fn is_updating(&self) -> bool {
        let status = &self.rollout.status;
        status.stable_rs.is_some() && status.stable_rs != status.current_pod_hash
    }

    /// What the controller said when it noticed the abort; a client that aborts gives no reason.
    fn abort_text(&self) -> String {
        let conditions = &self.rollout.status.conditions;
        let mut said = conditions
            .iter()
            .filter(|condition| condition.reason == "RolloutAborted");
        let said = said.next().map(|condition| condition.message.as_str());
        let text = said.unwrap_or_default().trim_start_matches("Rollout ");
        match text.rsplit_once(' ').map(|(before, _)| before) {
            None => "aborted".to_owned(),
            Some("aborted update to revision") => format!("{text} by a client"),
            Some(_) => text.to_owned(),
        }
    }

    /// The newest analysis run of the current version that did not end well.
    fn failed_run(&self) -> Option<&str> {
        let text =
            |run: &'_ serde_json::Value, pointer: &str| run.pointer(pointer)?.as_str().map(str::to_owned);
        let hash = self.rollout.status.current_pod_hash.as_deref()?;
        let runs = self.objects.analysis_runs.iter().filter(|run| {
            let label = run
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(POD_TEMPLATE_HASH_LABEL));
            let phase = text(run, "/status/phase").unwrap_or_default();
            label.and_then(serde_json::Value::as_str) == Some(hash)
                && ["Failed", "Error", "Inconclusive"].contains(&phase.as_str())
        });
        let newest = runs.max_by_key(|run| text(run, "/metadata/creationTimestamp"))?;
        newest.pointer("/metadata/name")?.as_str()
    }

    /// Looks at the pods of a ReplicaSet that are not ready.
    fn pod_commands(&self, replica_set: &str) -> Vec<String> {
        let meta = |object: &serde_json::Value, field: &str| {
            object
                .pointer(&format!("/metadata/{field}"))
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        let mut sets = self.objects.replica_sets.iter();
        let set = sets.find(|set| meta(set, "name").as_deref() == Some(replica_set));
        let Some(uid) = set.and_then(|set| meta(set, "uid")) else {
            return vec![self.kubectl("get pods")];
        };
        let pods = self
            .objects
            .pods
            .iter()
            .filter_map(|pod| serde_json::from_value::<Pod>(pod.clone()).ok());
        let of_set = pods.filter(|pod| pod.metadata.owner_references.iter().any(|owner| owner.uid == uid));
        let not_ready = of_set.filter_map(|pod| {
            let summary = pod.summary();
            (summary.ready < summary.containers || summary.status != "Running").then(|| {
                format!(
                    "{}   # {}, ready {}/{}",
                    self.kubectl(&format!("describe pod {}", pod.metadata.name)),
                    summary.status,
                    summary.ready,
                    summary.containers
                )
            })
        });
        let named: Vec<String> = not_ready.take(MAX_PODS).collect();
        if named.is_empty() {
            vec![self.kubectl(&format!("describe replicaset {replica_set}"))]
        } else {
            named
        }
    }

    /// What a run has measured so far.
    fn analysis(&self, name: &str) -> String {
        let mut runs = self
            .objects
            .analysis_runs
            .iter()
            .map(|run| tolerant::<AnalysisRun>(run.clone()).0);
        let run = runs.find(|run| run.metadata.name == name);
        let results = run.map(|run| run.status.metric_results).unwrap_or_default();
        let said = results.iter().map(|result| {
            let mut text = format!("{}: {}", result.name, result.phase);
            for (count, word) in [
                (result.successful, "successful"),
                (result.failed, "failed"),
                (result.inconclusive, "inconclusive"),
                (result.error, "errors"),
            ] {
                if let Some(count) = count.filter(|count| *count > 0) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, ", {count} {word}");
                }
            }
            text
        });
        let said: Vec<String> = said.collect();
        let so_far = if said.is_empty() {
            "nothing measured yet".to_owned()
        } else {
            said.join("; ")
        };
        format!("its result ({so_far})")
    }
}

/// A write in a few words.
fn pending(change: &Change) -> String {
    match change {
        Change::CreateReplicaSet { name, .. } => format!("create ReplicaSet {name}"),
        Change::PatchReplicaSet {
            name,
            scale: Some(scale),
            ..
        } => {
            format!("scale ReplicaSet {name} from {} to {}", scale.from, scale.to)
        }
        Change::PatchReplicaSet { name, .. } => format!("change ReplicaSet {name}"),
        Change::DeleteReplicaSet { name, .. } => format!("delete ReplicaSet {name}"),
        Change::SetServiceSelector {
            name,
            hash: Some(hash),
            ..
        } => format!("point Service {name} at {hash}"),
        Change::SetServiceSelector { name, hash: None, .. } => format!("let go of Service {name}"),
        Change::Route(_) => "change the route".to_owned(),
        Change::CreateAnalysisRun(run) => format!("create AnalysisRun {}", run.metadata.name),
        Change::TerminateAnalysisRun { name, .. } => format!("terminate AnalysisRun {name}"),
        Change::DeleteAnalysisRun { name, .. } => format!("delete AnalysisRun {name}"),
        Change::PatchRollout { .. } => "change the Rollout".to_owned(),
        Change::ScaleWorkload { name, scale, .. } => {
            format!("scale Deployment {name} from {} to {}", scale.from, scale.to)
        }
        Change::EvictPod { name, .. } => format!("evict Pod {name}"),
        Change::PatchPod { name, .. } => format!("change Pod {name}"),
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation {
        name,
        namespace,
        status,
        message,
        position,
        reasons,
        pending,
    } = explanation;
    let message = if message.is_empty() {
        String::new()
    } else {
        format!(" - {message}")
    };
    let mut lines = vec![format!("{name} (namespace {namespace}): {status}{message}")];
    lines.extend(position.clone());
    for cause in reasons {
        lines.push(String::new());
        lines.push(format!("{:<7}{}", "Why:", cause.why));
        lines.push(format!("{:<7}{}", "Moves:", cause.moves));
        for (index, command) in cause.commands.iter().enumerate() {
            lines.push(format!("{:<7}{command}", if index == 0 { "Do:" } else { "or:" }));
        }
    }
    if !pending.is_empty() {
        lines.push(String::new());
        lines.push("The controller has still to:".to_owned());
        lines.extend(pending.iter().map(|write| format!("  {write}")));
        lines.push(
            "If that stays so, no controller looks after this rollout, or what it writes has no effect:"
                .to_owned(),
        );
        lines.push("  kubectl get leases -A".to_owned());
    }
    if reasons.is_empty() && pending.is_empty() {
        lines.push(String::new());
        lines.push("Nothing holds it: it is where it should be.".to_owned());
    }
    lines.iter().map(|line| printable(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use tidegate_controller::object::Kind;

    use super::*;
    use crate::testing::{Dump, dump};

    /// Plans from the dumps of upstream's controller.
    fn explained(dump: &Dump) -> String {
        let object = serde_json::to_value(&dump.rollout).unwrap();
        let named = dump.others.iter().filter_map(|object| {
            let kind = match object["kind"].as_str().unwrap() {
                "Service" => Kind::Service,
                "Ingress" => Kind::INGRESS,
                "AnalysisTemplate" => Kind::AnalysisTemplate,
                _ => return None,
            };
            Some((kind, object.clone()))
        });
        let all = gather::for_plan(&object, &dump.objects, named.collect());
        let meta = &dump.rollout.metadata;
        let key = ObjectKey::new(meta.namespace.as_str(), meta.name.as_str());
        let seen = look::observed(&all, &dump.objects.pods, &key, dump.now).unwrap();
        let plan = tidegate_engine::plan(&seen, dump.now, &Settings::default());
        text(&of(&dump.rollout, &plan, &dump.objects, dump.now))
    }

    #[test]
    fn real_rollouts() {
        insta::assert_snapshot!("canary-nginx", explained(&dump("canary-nginx")));
        insta::assert_snapshot!("bluegreen-manual", explained(&dump("bluegreen-manual")));
        insta::assert_snapshot!(
            "canary-nginx-abort-retry",
            explained(&dump("canary-nginx-abort-retry"))
        );
    }

    #[test]
    fn every_reason_has_a_way_out() {
        let rollout =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "web", "namespace": "shop"}}));
        let rollout: Rollout = rollout.unwrap();
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let until = "2026-01-01T12:05:00Z".parse().unwrap();
        let plan = Plan {
            why: vec![
                Reason::Invalid {
                    text: "x".to_owned(),
                    fix: "set spec.strategy".to_owned(),
                },
                Reason::WaitingForPods {
                    replica_set: "web-5c".to_owned(),
                    available: 1,
                    wanted: 2,
                },
                Reason::WaitingForService {
                    service: "web-canary".to_owned(),
                    replica_set: "web-5c".to_owned(),
                },
                Reason::Paused {
                    reason: "CanaryPauseStep".to_owned(),
                    until: Some(until),
                },
                Reason::Paused {
                    reason: "BlueGreenPause".to_owned(),
                    until: None,
                },
                Reason::ManuallyPaused,
                Reason::WaitingForAnalysis {
                    run: "web-5c-2".to_owned(),
                    phase: "Running".to_owned(),
                },
                Reason::Aborted {
                    because: "a user".to_owned(),
                },
                Reason::ScaleDownDelayed {
                    replica_set: "web-4b".to_owned(),
                    until,
                },
                Reason::Routing {
                    error: "no rule".to_owned(),
                },
                Reason::Refused {
                    what: "create ReplicaSet web-5c".to_owned(),
                    words: "exceeded quota: small".to_owned(),
                },
                Reason::RefusedBefore {
                    text: "Failed to change Ingress web-web-canary: no".to_owned(),
                },
                Reason::DeadlineExceeded {
                    replica_set: "web-5c".to_owned(),
                },
                Reason::Restarting,
                Reason::WorkloadRuns {
                    name: "web".to_owned(),
                    replicas: 3,
                },
                Reason::Missing {
                    kind: "Service",
                    name: "web".to_owned(),
                },
                Reason::ManuallyPaused,
            ],
            ..Plan::default()
        };
        insta::assert_snapshot!("reasons", text(&of(&rollout, &plan, &Objects::default(), now)));
    }

    /// The condition says why, the run says more; a client that aborts says nothing.
    #[test]
    fn aborted_by_whom() {
        let metric = "Step-based analysis phase error/failed: Metric \"rate\" assessed Failed";
        let failed = format!("Rollout aborted update to revision 2: {metric}");
        let run = |name: &str, hash: &str, phase: &str, second: u32| {
            serde_json::json!({
                "metadata": {
                    "name": name, "labels": {"rollouts-pod-template-hash": hash},
                    "creationTimestamp": format!("2026-01-01T00:00:0{second}Z"),
                },
                "status": {"phase": phase},
            })
        };
        let objects = Objects {
            analysis_runs: vec![
                run("other", "cd", "Failed", 9),
                run("older", "ab", "Failed", 1),
                run("this", "ab", "Failed", 2),
                run("well", "ab", "Successful", 3),
            ],
            replica_sets: vec![serde_json::json!({"metadata": {
                "labels": {"rollouts-pod-template-hash": "ef"}, "annotations": {"rollout.argoproj.io/revision": "7"},
            }})],
            ..Objects::default()
        };
        let retry = "kubectl tidegate retry rollout web -n shop";
        let undo = "kubectl tidegate undo web -n shop";
        let look = "kubectl get analysisrun this -o yaml -n shop";
        for (message, objects, why, commands) in [
            (
                failed.as_str(),
                &objects,
                format!("aborted update to revision 2: {metric}"),
                vec![look, retry, "kubectl tidegate undo --to-revision=7 web -n shop"],
            ),
            (
                "Rollout aborted update to revision 2",
                &Objects::default(),
                "aborted update to revision 2 by a client".to_owned(),
                vec![retry, undo],
            ),
            ("", &Objects::default(), "aborted".to_owned(), vec![retry, undo]),
        ] {
            let rollout: Rollout = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "web", "namespace": "shop"},
                "status": {
                    "abort": true, "currentPodHash": "ab", "stableRS": "ef",
                    "conditions": [{
                        "type": "Progressing", "status": "False", "reason": "RolloutAborted", "message": message,
                    }],
                },
            }))
            .unwrap();
            let plan = Plan {
                why: vec![Reason::Aborted {
                    because: String::new(),
                }],
                ..Plan::default()
            };
            let reasons = of(&rollout, &plan, objects, Timestamp::UNIX_EPOCH).reasons;
            let said: Vec<_> = reasons
                .iter()
                .map(|cause| (&cause.why, &cause.commands))
                .collect();
            assert_eq!(
                said,
                [(
                    &why,
                    &commands.iter().map(|&command| command.to_owned()).collect()
                )]
            );
        }
    }

    #[test]
    fn nothing_to_explain() {
        let rollout = Rollout::default();
        let healthy = text(&of(
            &rollout,
            &Plan::default(),
            &Objects::default(),
            Timestamp::UNIX_EPOCH,
        ));
        assert!(
            healthy.ends_with("Nothing holds it: it is where it should be.\n"),
            "{healthy}"
        );
    }
}
