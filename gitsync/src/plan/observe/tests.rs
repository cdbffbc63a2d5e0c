//! Verdicts on commits that another syncer applies, each from a whole [`Observed`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_crds::{AnalysisPhase, Delivery, DeliverySpec};

use super::super::plan;
use super::*;
use crate::observed::{Observed, Refusal, RunView};
use crate::remote::CommitInfo;
use crate::render::{Limits, render};
use crate::tree::Files;

const GOOD: &str = "1111111111111111111111111111111111111111";
const BAD: &str = "2222222222222222222222222222222222222222";
const ELSEWHERE: &str = "3333333333333333333333333333333333333333";

fn oid(commit: &str) -> Oid {
    Oid::parse(commit).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A cluster in which Argo CD applies.
struct World {
    delivery: Delivery,
    commits: BTreeMap<Oid, Files>,
    tip: Oid,
    objects: BTreeMap<String, Result<Value, Refusal>>,
    runs: Vec<RunView>,
    renders_to: BTreeMap<Oid, String>,
}

fn spec_of(image: &str) -> Value {
    json!({"replicas": 3, "strategy": {"canary": {"steps": [{"setWeight": 20}]}},
        "template": {"spec": {"containers": [{"name": "web", "image": image}]}}})
}

fn rollout(spec: &Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "prod"}, "spec": spec})
}

fn files(image: &str) -> Files {
    let hook = "{apiVersion: batch/v1, kind: Job, metadata: {name: h, annotations: {argocd.argoproj.io/hook: PreSync}}}";
    Files::new()
        .with("web.yaml", &rollout(&spec_of(image)).to_string())
        .with("hook.yaml", hook)
}

const APPLICATION: &str = "argoproj.io/v1alpha1/Application/argocd/shop";
const ROLLOUT: &str = "argoproj.io/v1alpha1/Rollout/prod/web";

impl World {
    fn new(more: &Value) -> Self {
        let mut spec = json!({
            "source": {"git": {"url": "https://git.example.com/shop/deploy.git"}},
            "observe": {"kind": "Application", "name": "shop", "namespace": "argocd"},
        });
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let mut delivery = Delivery {
            spec: serde_json::from_value::<DeliverySpec>(spec).unwrap(),
            ..Delivery::default()
        };
        delivery.metadata.name = "shop".to_owned();
        delivery.metadata.namespace = "prod".to_owned();
        let mut world = Self {
            delivery,
            commits: BTreeMap::from([
                (oid(GOOD), files("web:1")),
                (oid(BAD), files("web:2")),
                (oid(ELSEWHERE), files("web:1")),
            ]),
            tip: oid(GOOD),
            objects: BTreeMap::new(),
            runs: Vec::new(),
            renders_to: BTreeMap::new(),
        };
        world.sync(GOOD, "web:1", 1);
        world
    }

    fn application(&mut self, status: &Value) {
        let application = json!({
            "spec": {"source": {"repoURL": "https://git.example.com/shop/deploy.git", "path": "."}}, "status": status,
        });
        self.objects.insert(APPLICATION.to_owned(), Ok(application));
    }

    /// Argo CD applies a commit.
    fn sync(&mut self, commit: &str, image: &str, generation: i64) {
        self.application(&json!({
            "sync": {"status": "Synced", "revision": commit},
            "operationState": {"phase": "Succeeded", "syncResult": {"revision": commit}},
        }));
        let mut rollout = rollout(&spec_of(image));
        rollout["metadata"]["generation"] = json!(generation);
        self.objects.insert(ROLLOUT.to_owned(), Ok(rollout));
    }

    /// The controller of the Rollout says what became of it.
    fn rolled(&mut self, generation: i64, status: &Value) {
        let Some(Ok(rollout)) = self.objects.get_mut(ROLLOUT) else {
            return;
        };
        rollout["status"] = status.clone();
        rollout["status"]["observedGeneration"] = json!(generation.to_string());
    }

    fn healthy(&mut self, generation: i64, hash: &str) {
        self.rolled(
            generation,
            &json!({"phase": "Healthy", "currentPodHash": hash, "stableRS": hash}),
        );
    }

    fn aborted(&mut self, generation: i64, hash: &str) {
        let message =
            "RolloutAborted: metric \"success\" assessed Failed due to failed (1) > failureLimit (0)";
        self.rolled(generation, &json!({
            "phase": "Degraded", "currentPodHash": hash, "stableRS": "old", "abort": true, "abortedAt": at(90).to_string(),
            "conditions": [{"type": "Progressing", "status": "False", "reason": "RolloutAborted", "message": message}],
        }));
    }

    /// Looks until there is nothing to ask of the cluster or of Git any more.
    fn look(&mut self, second: i64) -> Plan {
        let kinds = |names: &[&str]| {
            let kinds = names.iter().map(|name| ((*name).to_owned(), true)).collect();
            Some(Arc::new(kinds))
        };
        let rollouts = self.objects.get(ROLLOUT).and_then(|found| found.clone().ok());
        let mut observed = Observed {
            delivery: self.delivery.clone(),
            head: Some(Ok(self.tip.clone())),
            tip: Some(self.tip.clone()),
            rollouts: rollouts
                .map(|rollout| {
                    (
                        ("prod".to_owned(), "web".to_owned()),
                        serde_json::from_value(rollout).unwrap(),
                    )
                })
                .into_iter()
                .collect(),
            runs: self.runs.clone(),
            renders_to: self.renders_to.clone(),
            ..Observed::default()
        };
        for _ in 0..20 {
            let plan = plan(&observed, at(second));
            assert!(!touches(&plan), "{:?}", plan.tasks);
            observed.delivery.status = plan.status.clone();
            for task in &plan.tasks {
                match task {
                    Task::Discover(version) => {
                        let served = match version.as_str() {
                            "argoproj.io/v1alpha1" => kinds(&["Application", "Rollout"]),
                            _ => None,
                        };
                        observed.kinds.insert(version.clone(), served);
                    }
                    Task::Read(id) => {
                        let found = self.objects.get(&id.to_string()).cloned();
                        observed.live.insert(id.clone(), found.transpose());
                    }
                    Task::Render(commit) => {
                        let rendered = render(&self.commits[commit], "", &Limits::default()).map(Arc::new);
                        observed
                            .rendered
                            .insert(commit.clone(), Ok((CommitInfo::default(), rendered)));
                    }
                    _ => {}
                }
            }
            let asks = |task: &Task| matches!(task, Task::Discover(_) | Task::Read(_) | Task::Render(_));
            if !plan.tasks.iter().any(asks) {
                self.delivery.status = plan.status.clone();
                return plan;
            }
        }
        panic!("the plan does not come to an end");
    }

    /// The first commit is there and good.
    fn settled(more: &Value) -> Self {
        let mut world = Self::new(more);
        world.healthy(1, "old");
        world.look(0);
        world
    }
}

/// Whether a plan would write anything into the cluster.
fn touches(plan: &Plan) -> bool {
    let writes = |task: &Task| {
        matches!(
            task,
            Task::Apply(..)
                | Task::Try(..)
                | Task::Delete(..)
                | Task::Store(..)
                | Task::Drop(..)
                | Task::Fetch(..)
        )
    };
    plan.tasks.iter().any(writes)
}

fn states(plan: &Plan) -> Vec<(&str, String)> {
    let reason = |entry: &LedgerEntry| entry.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    let ledger = plan.status.ledger.iter();
    ledger
        .map(|entry| (entry.state.as_str(), reason(entry)))
        .collect()
}

fn condition(plan: &Plan, kind: &str) -> (String, String, String) {
    let found = plan
        .status
        .conditions
        .iter()
        .find(|condition| condition.kind == kind);
    found.map_or_else(Default::default, |found| {
        (found.status.clone(), found.reason.clone(), found.message.clone())
    })
}

fn is(words: [&str; 3]) -> (String, String, String) {
    let [status, reason, message] = words.map(str::to_owned);
    (status, reason, message)
}

#[test]
fn a_commit_is_judged_by_what_its_rollout_does() {
    let mut world = World::settled(&json!({}));
    let plan = world.look(1);
    assert_eq!(states(&plan), [("Deployed", String::new())]);
    assert_eq!(plan.status.why, Some(TargetReason::Observed));
    assert_eq!(
        plan.status.verified.as_ref().unwrap().revision,
        format!("main@sha1:{GOOD}")
    );
    assert_eq!(plan.wake, Some(at(31)));
    assert_eq!(plan.status.inventory, [""; 0]);
    // pushed, and not yet applied
    world.tip = oid(BAD);
    let plan = world.look(60);
    assert_eq!(
        condition(&plan, "Ready"),
        is([
            "False",
            "Pending",
            "commit 22222222 waits until the Argo CD Application argocd/shop applies it"
        ])
    );
    assert_eq!(condition(&plan, "GitAhead").1, "Pending");
    // applied, and its controller has not looked yet
    world.sync(BAD, "web:2", 2);
    world.healthy(1, "old");
    let plan = world.look(70);
    assert_eq!(
        states(&plan),
        [("Applied", String::new()), ("Deployed", String::new())]
    );
    world.rolled(
        2,
        &json!({"phase": "Paused", "currentPodHash": "new", "stableRS": "old"}),
    );
    assert_eq!(states(&world.look(80))[0].0, "Paused");
    world.healthy(2, "new");
    world.runs.push(RunView {
        namespace: "prod".to_owned(),
        name: "web-new-1".to_owned(),
        rollout: "web".to_owned(),
        pod_hash: "new".to_owned(),
        phase: AnalysisPhase::Successful,
        empty: true,
    });
    let plan = world.look(85);
    assert_eq!(states(&plan)[0].0, "Deployed", "nothing was measured");
    world.runs[0].empty = false;
    let plan = world.look(90);
    assert_eq!(states(&plan)[0].0, "Verified");
    assert_eq!(condition(&plan, "Ready").0, "True");
    assert_eq!(condition(&plan, "GitAhead").0, "");
}

#[test]
fn a_rejected_commit_is_taken_back_in_git_alone() {
    let mut world = World::settled(
        &json!({"onRejected": {"action": "RevertCommit", "writeSecretRef": {"name": "write"}}}),
    );
    world.tip = oid(BAD);
    world.sync(BAD, "web:2", 2);
    world.aborted(2, "new");
    let plan = world.look(100);
    assert_eq!(states(&plan)[0], ("Rejected", "AnalysisFailed".to_owned()));
    assert_eq!(
        condition(&plan, "GitAhead"),
        is([
            "True",
            "Rejected",
            "commit 22222222 was rejected, and Git still has it: the Argo CD Application argocd/shop goes on applying it"
        ])
    );
    assert_eq!(
        condition(&plan, "Pinned"),
        is([
            "False",
            "Observed",
            "nothing is pinned: the Argo CD Application argocd/shop applies"
        ])
    );
    let [Task::Restore(order)] = plan.tasks.as_slice() else {
        panic!("{:?}", plan.tasks)
    };
    assert_eq!((order.tip.as_str(), order.good.as_str()), (BAD, GOOD));
    assert_eq!(order.digest, plan.status.verified.as_ref().unwrap().digest);
    // Git has it back, and then the cluster
    world.tip = oid(ELSEWHERE);
    let plan = world.look(110);
    assert_eq!(condition(&plan, "Ready").1, "Pending");
    assert_eq!(condition(&plan, "Pinned").0, "");
    world.sync(ELSEWHERE, "web:1", 3);
    world.healthy(3, "old");
    let plan = world.look(120);
    assert_eq!(plan.tasks, []);
    assert_eq!(condition(&plan, "Ready").0, "True");
    assert_eq!(plan.status.ledger[0].commits, [GOOD, ELSEWHERE]);
}

#[test]
fn by_default_git_is_not_written() {
    let mut world = World::settled(&json!({}));
    world.tip = oid(BAD);
    world.sync(BAD, "web:2", 2);
    world.aborted(2, "new");
    let plan = world.look(100);
    assert_eq!(states(&plan)[0].0, "Rejected");
    assert_eq!(plan.tasks, []);
    assert_eq!(condition(&plan, "Ready").1, "Rejected");
}

#[test]
fn a_rollout_that_is_something_else_gives_no_verdict() {
    let mut world = World::new(&json!({}));
    // Argo CD was told to use another image
    world.sync(GOOD, "web:overridden", 1);
    world.aborted(1, "old");
    let plan = world.look(0);
    assert_eq!(states(&plan), [("Applied", String::new())]);
    assert_eq!(
        plan.status.ledger[0].message,
        "Rollout prod/web is not what the commit says (spec.template.spec.containers[0].image differs): somebody changed it, or \
         the Argo CD Application argocd/shop has parameters of its own; no verdict is drawn"
    );
    assert!(condition(&plan, "Ready").2.ends_with("no verdict is drawn"));
    world.objects.remove(ROLLOUT);
    assert_eq!(
        world.look(1).status.ledger[0].message,
        "Rollout prod/web is not there"
    );
    let code = 403;
    let message = "no".to_owned();
    world
        .objects
        .insert(ROLLOUT.to_owned(), Err(Refusal { code, message }));
    let plan = world.look(2);
    assert_eq!(
        plan.status.ledger[0].message,
        "Rollout prod/web cannot be read as the service account: no"
    );
}

#[test]
fn what_a_person_does_to_a_rollout_meanwhile_is_no_verdict_either() {
    let mut world = World::settled(&json!({}));
    world.tip = oid(BAD);
    world.sync(BAD, "web:2", 2);
    world.rolled(
        2,
        &json!({"phase": "Progressing", "currentPodHash": "new", "stableRS": "old"}),
    );
    world.look(60);
    world.aborted(3, "by-hand");
    let plan = world.look(70);
    assert_eq!(states(&plan)[0].0, "Progressing");
    assert!(
        plan.status.ledger[0]
            .message
            .ends_with("no verdict is drawn from it")
    );
}

#[test]
fn a_sync_that_is_not_over_can_reject_and_not_verify() {
    let running = json!({
        "sync": {"status": "OutOfSync", "revision": BAD},
        "operationState": {"phase": "Running", "message": "waiting for healthy state of web", "syncResult": {
            "revision": BAD, "resources": [{"group": "argoproj.io", "kind": "Rollout", "name": "web", "status": "Synced"}],
        }},
    });
    for reject in [false, true] {
        let mut world = World::settled(&json!({}));
        world.tip = oid(BAD);
        world.sync(BAD, "web:2", 2);
        world.application(&running);
        if reject {
            world.aborted(2, "new");
        } else {
            world.healthy(2, "new");
        }
        let plan = world.look(100);
        let expected = if reject { "Rejected" } else { "Progressing" };
        assert_eq!(states(&plan)[0].0, expected);
        let message = &plan.status.ledger[0].message;
        assert!(
            reject || message == "Argo CD's sync of it is Running: waiting for healthy state of web",
            "{message}"
        );
    }
}

#[test]
fn a_commit_elsewhere_in_the_repository_is_no_news() {
    let mut world = World::settled(&json!({}));
    let before = world.look(10).status;
    world.sync(ELSEWHERE, "web:1", 1);
    world.healthy(1, "old");
    let plan = world.look(20);
    assert_eq!(plan.status, before);
    // nor does it have to be rendered when that is known
    world
        .renders_to
        .insert(oid(ELSEWHERE), before.head.as_ref().unwrap().digest.clone());
    world.commits.remove(&oid(ELSEWHERE));
    assert_eq!(world.look(30).status, before);
}

#[test]
fn an_older_commit_that_comes_back_is_judged_again() {
    let mut world = World::settled(&json!({}));
    world.tip = oid(BAD);
    let plan = world.look(10);
    assert_eq!(states(&plan)[0].0, "Pending");
    world.tip = oid(ELSEWHERE);
    assert_eq!(
        states(&world.look(20)),
        [("Deployed", String::new()), ("Superseded", String::new())]
    );
    // a person has Argo CD go to what was passed by
    world.sync(BAD, "web:2", 2);
    world.healthy(2, "new");
    let plan = world.look(30);
    assert_eq!(
        states(&plan),
        [("Deployed", String::new()), ("Deployed", String::new())]
    );
    assert_eq!(condition(&plan, "Ready").1, "Pending");
    assert_eq!(condition(&plan, "GitAhead").0, "True");
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut world = World::settled(&json!({"serviceAccountName": "observer"}));
    let good = world.look(1).status;
    world.objects.remove(APPLICATION);
    let plan = world.look(2);
    assert_eq!(
        condition(&plan, "Ready"),
        is([
            "False",
            "SyncerNotFound",
            "spec.observe: there is no Application argocd/shop: name the one that applies this folder"
        ])
    );
    assert_eq!(plan.status.ledger, good.ledger);
    assert_eq!(plan.wake, Some(at(32)));
    let refusal = Refusal {
        code: 403,
        message: "applications.argoproj.io is forbidden".to_owned(),
    };
    world.objects.insert(APPLICATION.to_owned(), Err(refusal));
    assert_eq!(
        condition(&world.look(3), "Ready").2,
        "the Argo CD Application argocd/shop cannot be read as the service account observer: applications.argoproj.io is forbidden"
    );
    let other = json!({"spec": {"source": {"repoURL": "https://git.example.com/shop/other.git"}}});
    world.objects.insert(APPLICATION.to_owned(), Ok(other));
    let plan = world.look(4);
    let (status, reason, message) = condition(&plan, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "SourceMismatch"));
    assert!(
        message.contains("shop/other.git") && message.contains("shop/deploy.git"),
        "{message}"
    );
    assert_eq!(plan.wake, Some(at(34)));
    // and it is over when that is
    world.sync(GOOD, "web:1", 1);
    world.healthy(1, "old");
    let plan = world.look(5);
    assert_eq!(condition(&plan, "Ready").0, "True");
    assert_eq!(condition(&plan, "Stalled").0, "");
}

#[test]
fn what_only_the_syncer_can_render_is_no_rejection() {
    let mut world = World::settled(&json!({}));
    world
        .commits
        .insert(oid(BAD), Files::new().with("a.yaml", "kind: ["));
    world.tip = oid(BAD);
    world.sync(BAD, "web:2", 2);
    world.aborted(2, "new");
    let plan = world.look(60);
    assert_eq!(states(&plan), [("Deployed", String::new())]);
    let (_, reason, message) = condition(&plan, "Ready");
    assert_eq!(reason, "RenderFailed");
    assert!(
        message.starts_with("commit 22222222: no verdict, because it cannot be read here: a.yaml:1"),
        "{message}"
    );
}

#[test]
fn a_pin_is_refused_in_words() {
    let mut world = World::settled(&json!({}));
    world
        .delivery
        .metadata
        .annotations
        .insert(PIN_ANNOTATION.to_owned(), GOOD.to_owned());
    assert_eq!(condition(&world.look(1), "Ready").1, "PinFailed");
}

/// A Rollout whose pods are those of a Deployment of the commit.
#[test]
fn a_workload_that_is_referred_to_has_to_be_seen_first() {
    let deployment = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "prod"},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
    };
    let spec = json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    let files = Files::new()
        .with("a.yaml", &rollout(&spec).to_string())
        .with("b.yaml", &deployment("web:1").to_string());
    let rendered = Arc::new(render(&files, "", &Limits::default()).unwrap());
    let kinds = |kind: &str| Some(Arc::new(BTreeMap::from([(kind.to_owned(), true)])));
    let mut live_rollout = rollout(&spec);
    live_rollout["metadata"]["generation"] = json!(1);
    live_rollout["status"] = json!({"workloadObservedGeneration": "7"});
    let mut live = deployment("web:1");
    live["metadata"]["generation"] = json!(7);
    live["spec"]["replicas"] = json!(0);
    let check = |live_rollout: &Value, live: &Value| {
        let observed = Observed {
            kinds: BTreeMap::from([
                ("argoproj.io/v1alpha1".to_owned(), kinds("Rollout")),
                ("apps/v1".to_owned(), kinds("Deployment")),
            ]),
            live: [live_rollout, live]
                .into_iter()
                .map(|object| (ObjectId::of(object), Ok(Some(object.clone()))))
                .collect(),
            ..Observed::default()
        };
        let draft = Draft::new(&observed, at(0));
        let desired = draft.judged_of(&rendered).unwrap();
        let rollouts = desired.rollouts();
        draft.generation_of_same(&desired, &rollouts[0])
    };
    assert_eq!(check(&live_rollout, &live), Ok(1));
    live["metadata"]["generation"] = json!(8);
    assert_eq!(
        check(&live_rollout, &live).unwrap_err(),
        "has not seen Deployment prod/web yet"
    );
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:0");
    assert!(
        check(&live_rollout, &live)
            .unwrap_err()
            .starts_with("is not what the commit says (template.spec.containers[0].image")
    );
}

fn any_status() -> impl Strategy<Value = Value> {
    let commit = prop_oneof![Just(GOOD), Just(BAD), Just(ELSEWHERE), Just(""), Just("HEAD")];
    let sync = prop_oneof![Just("Synced"), Just("OutOfSync"), Just("Unknown")];
    let phase = prop_oneof![Just("Succeeded"), Just("Running"), Just("Failed"), Just("")];
    (commit.clone(), sync, commit, phase).prop_map(|(compared, sync, done, phase)| {
        json!({"sync": {"status": sync, "revision": compared},
            "operationState": {"phase": phase, "syncResult": {"revision": done, "resources": [
                {"group": "argoproj.io", "kind": "Rollout", "status": "Synced"}]}}})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the other syncer, the Rollout, Git and people do: nothing is ever written into the cluster. `look` checks each
    /// plan.
    #[test]
    fn nothing_is_ever_written(
        action in prop_oneof![Just("Hold"), Just("RevertPR"), Just("RevertCommit")],
        bootstrap in prop_oneof![Just("Head"), Just("Verified")],
        steps in prop::collection::vec((any_status(), 0..3_usize, 0..5_usize, any::<bool>(), any::<bool>()), 1..8),
    ) {
        let mut world = World::new(&json!({
            "onRejected": {"action": action, "writeSecretRef": {"name": "write"}},
            "feedback": {"forge": {"type": "Gitea"}}, "bootstrapFrom": bootstrap,
        }));
        for (index, (status, tip, what, retry, pin)) in steps.into_iter().enumerate() {
            let generation = i64::try_from(index).unwrap() + 1;
            let commit = [GOOD, BAD, ELSEWHERE][tip];
            world.tip = oid(commit);
            world.sync(commit, ["web:1", "web:2", "web:1"][tip], generation);
            world.application(&status);
            match what {
                0 => world.healthy(generation, "old"),
                1 => world.aborted(generation, "new"),
                2 => _ = world.objects.remove(ROLLOUT),
                3 => _ = world.objects.remove(APPLICATION),
                _ => world.rolled(generation, &json!({"phase": "Progressing", "currentPodHash": "new"})),
            }
            let annotations = &mut world.delivery.metadata.annotations;
            annotations.clear();
            if retry {
                annotations.insert(crate::object::RETRY_ANNOTATION.to_owned(), index.to_string());
            }
            if pin {
                annotations.insert(PIN_ANNOTATION.to_owned(), GOOD.to_owned());
            }
            let plan = world.look(i64::try_from(index).unwrap() * 60);
            prop_assert!(plan.status.inventory.is_empty());
            prop_assert!(plan.status.why.is_none_or(|why| why == TargetReason::Observed));
        }
    }
}
