//! One look at an analysis run: Secrets, questions for providers, the status. Sans-IO like [`crate::execute`].

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_analysis::args::{SecretKey, Secrets, secret_keys};
use tidegate_analysis::plan::measured_metric;
use tidegate_analysis::{Measure, MeasureKind, Reading, RunObserved, RunPlan, Trouble};
use tidegate_crds::decode::Encode as _;
use tidegate_crds::{AnalysisRun, merge};

use crate::event::{self, Order, Subject};
use crate::object::ObjectKey;
use crate::request::{ANALYSIS_RUNS, Failure, JOBS, Request, SECRETS, Verb};
use crate::step::{Ask, Outcome, Step};

/// What is remembered of a run between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunMemory {
    pub(crate) uid: String,
    /// Answers that are not in the status yet.
    pub(crate) readings: Vec<Reading>,
    /// Metrics that a provider is being asked about.
    pub(crate) in_flight: BTreeSet<String>,
}

#[derive(Debug)]
enum Waiting {
    Secret(String),
    Nothing,
    Status,
    Delete,
}

/// One look at a run.
#[derive(Debug)]
pub(crate) struct RunJob {
    observed: RunObserved,
    job_namespace: String,
    /// Secrets still to be read, and whether that was done.
    secrets: Option<VecDeque<String>>,
    plan: Option<RunPlan>,
    steps: VecDeque<Step>,
    waiting: Option<Waiting>,
    written: bool,
    outcome: Option<Outcome>,
}

impl RunJob {
    pub(crate) fn new(run: AnalysisRun, memory: Option<&RunMemory>, job_namespace: Option<String>) -> Self {
        let memory = memory.filter(|memory| memory.uid == run.metadata.uid);
        let observed = RunObserved {
            run,
            readings: memory.map(|memory| memory.readings.clone()).unwrap_or_default(),
            in_flight: memory.map(|memory| memory.in_flight.clone()).unwrap_or_default(),
            secrets: Secrets::default(),
        };
        Self {
            job_namespace: job_namespace.unwrap_or_else(|| observed.run.metadata.namespace.clone()),
            observed,
            secrets: None,
            plan: None,
            steps: VecDeque::new(),
            waiting: None,
            written: false,
            outcome: None,
        }
    }

    /// How many of the remembered readings are in the status now, or of no use any more.
    pub(crate) fn used_readings(&self) -> usize {
        if matches!(self.outcome, Some(Outcome::Done)) {
            self.observed.readings.len()
        } else {
            0
        }
    }

    pub(crate) fn wake(&self) -> Option<Timestamp> {
        self.plan.as_ref().and_then(|plan| plan.wake)
    }

    /// Whether an answer is missing.
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
            .clone()
            .unwrap_or_else(|| Outcome::Failed(Failure::no_answer("given up")))
    }

    pub(crate) fn step(&mut self, now: Timestamp) -> Option<Step> {
        loop {
            if self.waiting.is_some() {
                return None;
            }
            if let Some(step) = self.steps.pop_front() {
                if matches!(step, Step::Request(_) | Step::Terminate(_)) {
                    self.waiting = Some(Waiting::Nothing);
                }
                return Some(step);
            }
            if self.outcome.is_some() {
                return None;
            }
            if let Some(name) = self.secrets.as_mut().and_then(VecDeque::pop_front) {
                let request = Request::get(&SECRETS, &self.observed.run.metadata.namespace, &name);
                self.waiting = Some(Waiting::Secret(name));
                return Some(Step::Request(request));
            }
            let Some(plan) = self.plan.clone() else {
                self.look(now);
                continue;
            };
            if !self.written {
                self.written = true;
                if let Some(request) = self.status_patch(&plan) {
                    self.waiting = Some(Waiting::Status);
                    return Some(Step::Request(request));
                }
            }
            if plan.delete_run {
                self.waiting = Some(Waiting::Delete);
                return Some(Step::Request(self.delete_run()));
            }
            self.outcome = Some(Outcome::Done);
        }
    }

    /// Plans; Secrets are read first when a provider is to be asked or has answered.
    fn look(&mut self, now: Timestamp) {
        let plan = tidegate_analysis::plan(&self.observed, now);
        if self.secrets.is_none() {
            let keys = secret_keys(&self.observed.run.spec.args);
            let needed = !plan.measure.is_empty() || !self.observed.readings.is_empty();
            let names: BTreeSet<String> = keys.into_iter().map(|key| key.name).collect();
            self.secrets = Some(VecDeque::new());
            if needed && !names.is_empty() {
                self.secrets = Some(names.into_iter().collect());
                return;
            }
        }
        let mut unasked = Vec::new();
        for measure in &plan.measure {
            match self.ask(measure) {
                Ok(ask) if matches!(measure.kind, MeasureKind::Terminate(_)) => {
                    self.steps.push_back(Step::Terminate(Box::new(ask)));
                }
                Ok(ask) => self.steps.push_back(Step::Measure(Box::new(ask))),
                // There is nothing to stop where nothing could be started.
                Err(_) if matches!(measure.kind, MeasureKind::Terminate(_)) => {}
                Err(message) => unasked.push(Reading::of_trouble(measure, now, Trouble::Cluster, message)),
            }
        }
        if !unasked.is_empty() {
            // What cannot be asked has been answered: the next plan takes it in. It asks less each time.
            self.steps.clear();
            self.observed.readings.extend(unasked);
            return;
        }
        let metadata = &self.observed.run.metadata;
        let run = ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str());
        for metric in &plan.cancel {
            self.steps.push_back(Step::Cancel {
                run: run.clone(),
                metric: metric.clone(),
            });
        }
        for name in &plan.garbage {
            let body =
                json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
            let request = Request::new(Verb::Delete, &JOBS, &self.job_namespace, name, body);
            self.steps.push_back(Step::Request(request));
        }
        self.plan = Some(plan);
    }

    fn ask(&self, measure: &Measure) -> Result<Ask, String> {
        let RunObserved { run, secrets, .. } = &self.observed;
        let metric = measured_metric(run, &measure.metric, secrets).map_err(|error| error.to_string())?;
        Ok(Ask {
            run: ObjectKey::new(run.metadata.namespace.as_str(), run.metadata.name.as_str()),
            uid: run.metadata.uid.clone(),
            metric: metric.ok_or("the run has no such metric")?,
            measure: measure.clone(),
            secrets: secrets.clone(),
        })
    }

    fn status_patch(&self, plan: &RunPlan) -> Option<Request> {
        if !plan.write_status {
            return None;
        }
        let run = &self.observed.run;
        let patch = merge::difference(&run.status.encode(), &plan.status.encode())?;
        let guard = json!({"uid": run.metadata.uid, "resourceVersion": run.metadata.resource_version});
        // Analysis runs have no status subresource (contract 2.1).
        let body = json!({"metadata": guard, "status": patch});
        Some(Request::new(
            Verb::MergePatch,
            &ANALYSIS_RUNS,
            &run.metadata.namespace,
            &run.metadata.name,
            body,
        ))
    }

    fn delete_run(&self) -> Request {
        let metadata = &self.observed.run.metadata;
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata.uid},
        });
        Request::new(
            Verb::Delete,
            &ANALYSIS_RUNS,
            &metadata.namespace,
            &metadata.name,
            body,
        )
    }

    pub(crate) fn answer(&mut self, answer: Result<Value, Failure>, now: Timestamp) {
        let Some(waiting) = self.waiting.take() else {
            return;
        };
        match (waiting, answer) {
            (Waiting::Secret(name), Ok(secret)) => self.read_secret(&name, &secret),
            // Without it the question cannot be asked, and the status will say so: a run that fails is heard of, one that waits is not.
            (Waiting::Secret(name), Err(failure)) if failure.is_not_found() || failure.is_refusal() => {
                tracing::warn!(secret = name, %failure, "a secret of an analysis run cannot be read");
            }
            (Waiting::Secret(name), Err(failure)) => {
                let message = format!("Secret {name}: {}", failure.message);
                self.outcome = Some(Outcome::Failed(Failure { message, ..failure }));
            }
            // That Jobs are stopped and removed does not hold the status up.
            (Waiting::Nothing, _) => {}
            (Waiting::Status, Ok(object)) => self.tell(&object, now),
            (Waiting::Delete, Ok(_)) => self.outcome = Some(Outcome::Done),
            (Waiting::Status | Waiting::Delete, Err(failure)) => {
                self.steps.clear();
                self.outcome = Some(match failure {
                    failure if failure.is_not_found() => Outcome::Done,
                    failure if failure.is_conflict() => Outcome::LookAgain(failure),
                    failure => Outcome::Failed(failure),
                });
            }
        }
    }

    fn read_secret(&mut self, name: &str, secret: &Value) {
        for key in secret_keys(&self.observed.run.spec.args)
            .into_iter()
            .filter(|key| key.name == name)
        {
            let encoded = secret
                .get("data")
                .and_then(|data| data.get(&key.key))
                .and_then(Value::as_str);
            if let Some(value) = encoded.and_then(crate::base64::decode) {
                let SecretKey { name, key } = key;
                self.observed.secrets.insert(SecretKey { name, key }, value);
            }
        }
    }

    fn tell(&mut self, object: &Value, now: Timestamp) {
        let Some(plan) = &self.plan else { return };
        let metadata = &self.observed.run.metadata;
        let version = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        let subject = Subject {
            kind: "AnalysisRun",
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: version.unwrap_or(&metadata.resource_version).to_owned(),
        };
        let mut order = Order::of([subject.resource_version.as_str()]);
        for event in &plan.events {
            let words = event::Words {
                warning: event.warning,
                reason: &event.reason,
                message: &event.message,
                occurrence: &event.occurrence,
            };
            self.steps
                .push_back(Step::Event(event::record(&subject, words, order.step(), now)));
        }
        if plan.status.phase != self.observed.run.status.phase {
            tracing::info!(
                run = %ObjectKey::new(metadata.namespace.as_str(), metadata.name.as_str()),
                phase = %plan.status.phase,
                message = plan.status.message.as_deref().unwrap_or_default(),
                "analysis run"
            );
        }
    }
}
