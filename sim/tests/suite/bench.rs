//! What the tests do and expect, in the terms of upstream's fixtures.

#![expect(clippy::print_stdout, reason = "what happened, for who asks for it")]

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_sim::actors::user::Op;
use tidegate_sim::api::kinds;
use tidegate_sim::scenario::{NAMESPACE, ROLLOUT, build};
use tidegate_sim::world::{Setup, World};

/// `Err` says what was expected and what is.
pub(crate) type Outcome = Result<(), String>;

/// Nothing takes longer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(90);
const USER: &str = "user";
const HASH: &str = "rollouts-pod-template-hash";
const REVISION: &str = "rollout.argoproj.io/revision";

/// A cluster with one Rollout, and who tests it.
pub(crate) struct Bench {
    pub(crate) world: World,
    updates: u32,
}

/// A Rollout as the tests have it.
pub(crate) fn rollout(replicas: i64, strategy: Value) -> Value {
    build::rollout(replicas, strategy)
}

/// The same with more fields of `spec`.
pub(crate) fn with(mut rollout: Value, fields: Value) -> Value {
    json_patch::merge(&mut rollout, &json!({"spec": fields}));
    rollout
}

/// The same with pods that take so long to become ready.
pub(crate) fn slow(rollout: Value, seconds: u32) -> Value {
    let annotations = json!({"sim.tidegate.io/start-seconds": seconds.to_string()});
    with(
        rollout,
        json!({"template": {"metadata": {"annotations": annotations}}}),
    )
}

/// Pods of this image never become ready.
pub(crate) const BAD: &str = "shop:v2-stuck";
/// Pods of this one neither.
pub(crate) const BAD_TOO: &str = "shop:v3-stuck";
/// Pods of this one do.
pub(crate) const GOOD: &str = "shop:v4";

/// The Services and the Ingress of a canary with NGINX, and what its strategy says of them.
pub(crate) fn routed(replicas: i64, fields: Value) -> Vec<Value> {
    let mut canary = json!({
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": {"nginx": {"stableIngress": "web"}},
    });
    json_patch::merge(&mut canary, &fields);
    vec![
        build::service("stable"),
        build::service("canary"),
        build::ingress("web", "stable"),
        rollout(replicas, json!({"canary": canary})),
    ]
}

/// A Service `active`, if wanted one `preview`, and a blue-green Rollout of them.
pub(crate) fn blue_green(replicas: i64, mut fields: Value, preview: bool) -> Vec<Value> {
    let mut objects = vec![build::service("active")];
    fields["activeService"] = "active".into();
    if preview {
        objects.push(build::service("preview"));
        fields["previewService"] = "preview".into();
    }
    objects.push(rollout(replicas, json!({"blueGreen": fields})));
    objects
}

/// The same objects with more fields of the Rollout's `spec`; it is the last.
pub(crate) fn and(mut objects: Vec<Value>, fields: Value) -> Vec<Value> {
    let rollout = objects.pop().map(|rollout| with(rollout, fields));
    objects.extend(rollout);
    objects
}

/// An analysis template of a Job that sleeps and exits, with the arguments `duration` and `exit-code`.
pub(crate) fn sleep_job() -> Value {
    let container = json!({
        "name": "sleep", "image": "sleep:1", "command": ["sh", "-c"], "args": ["exit {{args.exit-code}}"],
        "env": [{"name": "SIM_JOB_SECONDS", "value": "{{args.duration}}"}],
    });
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "sleep-job"},
        "spec": {
            "args": [{"name": "duration", "value": "0"}, {"name": "exit-code", "value": "0"}],
            "metrics": [{"name": "sleep-job", "count": 1, "provider": {"job": {"spec": {
                "template": {"spec": {"containers": [container], "restartPolicy": "Never"}}, "backoffLimit": 0,
            }}}}],
        },
    })
}

/// An analysis that runs it, so many seconds and with this exit code.
pub(crate) fn sleeps(seconds: u32, code: u32) -> Value {
    json!({"templates": [{"templateName": "sleep-job"}], "args": [
        {"name": "duration", "value": seconds.to_string()}, {"name": "exit-code", "value": code.to_string()},
    ]})
}

impl Bench {
    pub(crate) fn run(test: fn(&mut Self) -> Outcome) -> Outcome {
        let log = std::env::var_os("TIDEGATE_SIM_LOG").is_some();
        let world = World::new(Setup {
            namespace: NAMESPACE.to_owned(),
            log,
            ..Setup::default()
        });
        let mut bench = Self { world, updates: 0 };
        let outcome = test(&mut bench);
        if log {
            println!("{}", bench.world.log().join("\n"));
        }
        outcome
    }

    // ------------------------------------------------------------------------------------------------- what is done

    pub(crate) fn act(&mut self, op: &Op) -> Outcome {
        let done = self.world.perform(NAMESPACE, ROLLOUT, op);
        done.map_err(|status| format!("{op:?} was refused: {}", status.message))
    }

    pub(crate) fn create(&mut self, objects: impl Into<Vec<Value>>) -> Outcome {
        self.act(&Op::Create(objects.into()))
    }

    /// Creates them and waits for the Rollout.
    pub(crate) fn healthy(&mut self, objects: impl Into<Vec<Value>>) -> Outcome {
        self.create(objects)?;
        self.phase("Healthy")
    }

    pub(crate) fn merge(&mut self, patch: Value) -> Outcome {
        self.act(&Op::Merge(patch))
    }

    /// Another template each time.
    pub(crate) fn update(&mut self) -> Outcome {
        self.updates += 1;
        let annotations = json!({"update": self.updates.to_string()});
        self.merge(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
    }

    pub(crate) fn image(&mut self, image: &str) -> Outcome {
        self.act(&Op::SetImage(image.to_owned()))
    }

    pub(crate) fn scale(&mut self, replicas: i64) -> Outcome {
        self.act(&Op::Scale(replicas))
    }

    pub(crate) fn abort(&mut self) -> Outcome {
        self.act(&Op::Abort)
    }

    pub(crate) fn retry(&mut self) -> Outcome {
        self.act(&Op::Retry)
    }

    pub(crate) fn sleep(&mut self, seconds: i64) {
        self.world.run_for(SignedDuration::from_secs(seconds));
    }

    pub(crate) fn promote(&mut self) -> Outcome {
        self.promoted(&Op::Promote)
    }

    pub(crate) fn promote_full(&mut self) -> Outcome {
        self.promoted(&Op::PromoteFull)
    }

    /// Upstream's fixtures wait until the pause is there, and a little for the promotion to be noticed.
    fn promoted(&mut self, op: &Op) -> Outcome {
        self.wait("the pause to be written", |ro| {
            is_observed(ro) && !is_unpausing(ro)
        })?;
        self.act(op)?;
        self.world.run_for(SignedDuration::from_millis(100));
        Ok(())
    }

    // --------------------------------------------------------------------------------------------- what is waited for

    /// Waits until the Rollout was so, however short: as a watch that begins now.
    pub(crate) fn wait(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> Outcome {
        let end = self.world.now() + PATIENCE;
        let mut seen = self.world.store().revision();
        if self.get().is_some_and(|rollout| so(&rollout)) {
            return Ok(());
        }
        while self.world.now() < end {
            self.world.run_for(SignedDuration::from_millis(50));
            let commits = self.world.store().commits_since(seen);
            let mut rollouts = commits.filter(|commit| commit.resource.kind == "Rollout");
            if rollouts.any(|commit| commit.after.as_deref().is_some_and(&so)) {
                return Ok(());
            }
            seen = self.world.store().revision();
        }
        Err(format!("waited for {what}; {}", self.state()))
    }

    pub(crate) fn phase(&mut self, phase: &str) -> Outcome {
        self.wait(phase, |rollout| visible_phase(rollout) == phase)
    }

    /// Waits for a step, and if it is a pause, until it is paused.
    pub(crate) fn step(&mut self, index: usize) -> Outcome {
        self.wait(&format!("step {index}"), |rollout| {
            let step = &rollout["spec"]["strategy"]["canary"]["steps"][index];
            rollout["status"]["currentStepIndex"] == index
                && (step["pause"].is_null() || visible_phase(rollout) == "Paused")
        })
    }

    pub(crate) fn replicas(&mut self, count: i64) -> Outcome {
        self.wait(&format!("{count} replicas"), |rollout| {
            rollout["status"]["replicas"] == count
        })
    }

    pub(crate) fn available(&mut self, count: i64) -> Outcome {
        self.wait(&format!("{count} available"), |rollout| {
            rollout["status"]["availableReplicas"] == count
        })
    }

    pub(crate) fn becomes_active(&mut self, revision: &str) -> Outcome {
        let hash = self.hash(revision)?;
        self.wait(&format!("revision {revision} to be active"), |rollout| {
            rollout["status"]["blueGreen"]["activeSelector"] == *hash
        })
    }

    // ----------------------------------------------------------------------------------------------- what is expected

    pub(crate) fn is(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> Outcome {
        let rollout = self.rollout();
        ensure(so(&rollout), || format!("expected {what}; {}", self.state()))
    }

    pub(crate) fn phase_is(&mut self, phase: &str) -> Outcome {
        self.is(phase, |rollout| visible_phase(rollout) == phase)
    }

    /// Desired, current, updated, ready and available.
    pub(crate) fn counts(&mut self, expected: [i64; 5]) -> Outcome {
        let rollout = self.rollout();
        let status = [
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
        ]
        .map(|field| rollout["status"][field].as_i64().unwrap_or(0));
        let mut is = vec![rollout["spec"]["replicas"].as_i64().unwrap_or(1)];
        is.extend(status);
        same("counts", &expected.to_vec(), &is)
    }

    /// Pods of the version of the template, and of the stable one.
    pub(crate) fn canary_and_stable(&mut self, canary: usize, stable: usize) -> Outcome {
        let rollout = self.rollout();
        let of = |field: &str| rollout["status"][field].as_str().unwrap_or_default().to_owned();
        let is = (
            self.pods(&of("currentPodHash")).len(),
            self.pods(&of("stableRS")).len(),
        );
        same("canary and stable pods", &(canary, stable), &is)
    }

    pub(crate) fn revision_pods(&mut self, revision: &str, count: usize) -> Outcome {
        let hash = self.hash(revision)?;
        let is = self.pods(&hash).len();
        same(&format!("pods of revision {revision}"), &count, &is)
    }

    /// Labels that all pods of a revision have, or, with null, have not.
    pub(crate) fn revision_labels(&mut self, revision: &str, labels: &Value) -> Outcome {
        let hash = self.hash(revision)?;
        for pod in self.pods(&hash) {
            for (label, value) in labels.as_object().into_iter().flatten() {
                let is = &pod["metadata"]["labels"][label];
                same(
                    &format!("label {label} of a pod of revision {revision}"),
                    value,
                    is,
                )?;
            }
        }
        Ok(())
    }

    /// Whether its ReplicaSet has a time to be scaled down.
    pub(crate) fn has_deadline(&mut self, revision: &str, expected: bool) -> Outcome {
        let set = self.set(revision)?;
        let is = !set["metadata"]["annotations"]["scale-down-deadline"].is_null();
        same(&format!("a deadline of revision {revision}"), &expected, &is)
    }

    pub(crate) fn set_size(&mut self, revision: &str, replicas: i64) -> Outcome {
        let set = self.set(revision)?;
        let is = set["spec"]["replicas"].as_i64().unwrap_or(0);
        same(&format!("size of revision {revision}"), &replicas, &is)
    }

    pub(crate) fn runs(&mut self, count: usize) -> Outcome {
        let runs = self.world.api(USER).list(&kinds::ANALYSIS_RUNS, NAMESPACE);
        same("analysis runs", &count, &runs.len())
    }

    /// The newest run comes to this phase.
    pub(crate) fn run_becomes(&mut self, phase: &str) -> Outcome {
        let so = |world: &mut World| {
            let runs = world.api(USER).list(&kinds::ANALYSIS_RUNS, NAMESPACE);
            let newest = runs.iter().max_by_key(|run| {
                let made = run["metadata"]["creationTimestamp"].as_str();
                made.and_then(|at| at.parse::<Timestamp>().ok())
            });
            newest.is_some_and(|run| run["status"]["phase"] == *phase)
        };
        let arrived = self.world.run_until(PATIENCE, so);
        ensure(arrived, || {
            format!("waited for a run to be {phase}; {}", self.state())
        })
    }

    pub(crate) fn stable_revision(&mut self, revision: &str) -> Outcome {
        let hash = self.hash(revision)?;
        self.is(&format!("revision {revision} to be stable"), |rollout| {
            rollout["status"]["stableRS"] == *hash
        })
    }

    /// `active` or `preview` is a revision within three seconds, in the status and in the Service.
    pub(crate) fn service_revision(&mut self, which: &str, revision: &str) -> Outcome {
        let hash = self.hash(revision)?;
        let so = |world: &mut World| {
            let service = world.api(USER).get(&kinds::SERVICES, NAMESPACE, which);
            let rollout = world.api(USER).get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT);
            let says = |rollout: &Value| rollout["status"]["blueGreen"][format!("{which}Selector")] == *hash;
            service.is_some_and(|service| service["spec"]["selector"][HASH] == *hash)
                && rollout.is_some_and(|rollout| says(&rollout))
        };
        let arrived = self.world.run_until(SignedDuration::from_secs(3), so);
        ensure(arrived, || {
            format!("expected {which} to be revision {revision}; {}", self.state())
        })
    }

    /// A merge patch of the Deployment `ref`.
    pub(crate) fn merge_deployment(&mut self, patch: Value) -> Outcome {
        self.act(&Op::MergeOther(&kinds::DEPLOYMENTS, "ref".to_owned(), patch))
    }

    pub(crate) fn deployment_size(&mut self, replicas: i64) -> Outcome {
        let deployment = self.world.api(USER).get(&kinds::DEPLOYMENTS, NAMESPACE, "ref");
        let is = deployment.and_then(|deployment| deployment["spec"]["replicas"].as_i64());
        same("replicas of the Deployment", &Some(replicas), &is)
    }

    /// The reasons of the events about the Rollout, in the order in which clients show them: by time, then by name.
    pub(crate) fn events(&mut self, expected: &[&str]) -> Outcome {
        self.sleep(1);
        let mut events = self.world.api(USER).list(&kinds::EVENTS, NAMESPACE);
        events.retain(|event| event["involvedObject"]["kind"] == "Rollout");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events.sort_by_key(|event| (text(&event["firstTimestamp"]), text(&event["metadata"]["name"])));
        let is: Vec<String> = events.iter().map(|event| text(&event["reason"])).collect();
        let expected: Vec<String> = expected.iter().map(|reason| (*reason).to_owned()).collect();
        same("events", &expected, &is)
    }

    // ------------------------------------------------------------------------------------------------ what there is

    fn get(&mut self) -> Option<Value> {
        let rollout = self.world.api(USER).get(&kinds::ROLLOUTS, NAMESPACE, ROLLOUT)?;
        Some((*rollout).clone())
    }

    pub(crate) fn rollout(&mut self) -> Value {
        self.get().unwrap_or_default()
    }

    /// `status.duration`.
    pub(crate) fn duration(&mut self) -> Value {
        self.rollout()["status"]["duration"].clone()
    }

    /// The hash that a Service selects.
    pub(crate) fn selector(&mut self, service: &str) -> Value {
        let service = self.world.api(USER).get(&kinds::SERVICES, NAMESPACE, service);
        service.map_or(Value::Null, |service| service["spec"]["selector"][HASH].clone())
    }

    fn set(&mut self, revision: &str) -> Result<Value, String> {
        let sets = self.world.api(USER).list(&kinds::REPLICA_SETS, NAMESPACE);
        let found = sets
            .iter()
            .find(|set| set["metadata"]["annotations"][REVISION] == *revision);
        let set = found.ok_or_else(|| format!("there is no revision {revision}; {}", self.state()))?;
        Ok((**set).clone())
    }

    fn hash(&mut self, revision: &str) -> Result<String, String> {
        let set = self.set(revision)?;
        Ok(set["metadata"]["labels"][HASH]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Pods that do not end.
    fn pods(&mut self, hash: &str) -> Vec<Value> {
        let pods = self.world.api(USER).list(&kinds::PODS, NAMESPACE);
        pods.iter()
            .filter(|pod| {
                pod["metadata"]["labels"][HASH] == *hash && pod["metadata"]["deletionTimestamp"].is_null()
            })
            .map(|pod| (**pod).clone())
            .collect()
    }

    fn state(&mut self) -> String {
        let now = self.world.elapsed().as_secs();
        let status = &self.rollout()["status"];
        format!("after {now} s it is {} {}", status["phase"], status["message"])
    }
}

fn ensure(so: bool, message: impl FnOnce() -> String) -> Outcome {
    if so { Ok(()) } else { Err(message()) }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, is: &T) -> Outcome {
    ensure(expected == is, || {
        format!("{what}: expected {expected:?}, is {is:?}")
    })
}

/// The phase that upstream's clients show: what is not observed yet is progressing.
fn visible_phase(rollout: &Value) -> &str {
    if is_observed(rollout) && !is_unpausing(rollout) {
        rollout["status"]["phase"].as_str().unwrap_or_default()
    } else {
        "Progressing"
    }
}

fn is_observed(rollout: &Value) -> bool {
    let generation = rollout["metadata"]["generation"].to_string();
    rollout["status"]["observedGeneration"] == *generation
}

fn is_unpausing(rollout: &Value) -> bool {
    let status = &rollout["status"];
    rollout["spec"]["paused"] != true
        && status["controllerPause"] == true
        && status["pauseConditions"].as_array().is_none_or(Vec::is_empty)
}
