//! A shop in a repository, the Delivery that delivers it, and what is asked of both.

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_crds::{Delivery, LedgerEntry, VerdictState};
use tidegate_gitsync::remote::StatusState;
use tidegate_gitsync::tree::{Files, Oid};
use tidegate_sim::api::kinds;
use tidegate_sim::clock::EPOCH;
use tidegate_sim::dataplane::Load;
use tidegate_sim::faults::FaultPlan;
use tidegate_sim::forge::{HOST, Repository};
use tidegate_sim::invariants::facts::Facts;
use tidegate_sim::scenario::build::{analysis_template, ingress, rollout, service, success_rate};
use tidegate_sim::scenario::{NAMESPACE, ROLLOUT, create, state};
use tidegate_sim::world::{Setup, World};

/// The repository of the manifests.
pub(crate) const DEPLOY: &str = "shop/deploy";
/// The Delivery.
pub(crate) const DELIVERY: &str = "shop";
/// The branch that it follows.
pub(crate) const MAIN: &str = "main";

/// A world with a Delivery in it.
pub(crate) struct Story {
    pub(crate) world: World,
}

/// The path of an object's file.
pub(crate) fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    format!(
        "shop/{}-{}.yaml",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Writes objects into files.
pub(crate) fn with(files: Files, objects: &[Value]) -> Files {
    objects.iter().fold(files, |files, object| {
        files.with(&path_of(object), &format!("{object:#}\n"))
    })
}

/// The same objects, in a base that the folder of the Delivery is made from, as another folder is.
pub(crate) fn based(objects: &[Value]) -> Files {
    let below = |object| path_of(object).replace("shop/", "base/");
    let all = Value::Array(
        objects
            .iter()
            .map(|object| below(object).replace("base/", "").into())
            .collect(),
    );
    let overlay = "resources: [../base]\n";
    let files = Files::new()
        .with("shop/kustomization.yaml", overlay)
        .with("staging/kustomization.yaml", overlay)
        .with("base/kustomization.yaml", &format!("resources: {all}\n"));
    objects.iter().fold(files, |files, object| {
        files.with(&below(object), &format!("{object:#}\n"))
    })
}

pub(crate) fn config(release: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"release": release}})
}

/// The Service of the stable version, with a label that names a release.
pub(crate) fn stable_service(release: &str) -> Value {
    let mut service = service("stable");
    service["metadata"]["labels"] = json!({"release": release});
    service
}

/// The Rollout with an image: a look at its canary decides.
pub(crate) fn canary(image: &str) -> Value {
    canary_with(
        image,
        json!([{"setWeight": 20}, {"pause": {"duration": 12}},
            {"analysis": {"templates": [{"templateName": "success"}]}}, {"setWeight": 60}]),
    )
}

pub(crate) fn canary_with(image: &str, steps: Value) -> Value {
    let mut rollout = rollout(
        5,
        json!({"canary": {
            "stableService": "stable", "canaryService": "canary",
            "trafficRouting": {"nginx": {"stableIngress": "web"}}, "steps": steps,
        }}),
    );
    rollout["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    rollout
}

/// Everything of a release.
pub(crate) fn release(name: &str) -> Vec<Value> {
    let metric = json!({"interval": "2s", "count": 3, "successCondition": "result[0] >= 0.95"});
    vec![
        config(name),
        stable_service(name),
        service("canary"),
        ingress("web", "stable"),
        analysis_template("success", metric, &success_rate("canary")),
        canary(&format!("shop:{name}")),
    ]
}

/// A Delivery with a spec besides the source.
pub(crate) fn delivery(more: &Value) -> Value {
    let mut delivery = json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": DELIVERY, "namespace": NAMESPACE},
        "spec": {
            "source": {"git": {"url": format!("{HOST}{DEPLOY}.git"), "path": "shop", "secretRef": {"name": "deploy"}}},
            "interval": "5s",
            "onRejected": {"action": "RevertPR", "writeSecretRef": {"name": "deploy"}},
            "feedback": {"forge": {"type": "Gitea"}, "commitStatus": true},
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        delivery["spec"][field] = value.clone();
    }
    delivery
}

pub(crate) fn on_rejected(action: &str) -> Value {
    json!({"onRejected": {"action": action, "writeSecretRef": {"name": "deploy"}}})
}

pub(crate) fn secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "deploy", "namespace": NAMESPACE},
        "data": {"username": "Zm9v", "password": "Zm9vYmFy"}})
}

impl Story {
    /// A cluster with a Delivery of that spec, and a repository with a first release `v1`.
    pub(crate) fn new(more: &Value, faults: &FaultPlan) -> Self {
        Self::with_objects(more, &release("v1"), faults)
    }

    pub(crate) fn with_objects(more: &Value, objects: &[Value], faults: &FaultPlan) -> Self {
        let mut story = Self::empty(faults);
        story.begin(more, objects);
        story
    }

    /// Makes the first commit, and a Delivery for it.
    pub(crate) fn begin(&mut self, more: &Value, objects: &[Value]) {
        let files = with(Files::new(), objects);
        self.repository().commit(MAIN, files, "The first release", EPOCH);
        self.create(&secret());
        self.create(&delivery(more));
    }

    /// A cluster with room for many, in which nothing but time and requests is judged.
    pub(crate) fn crowded() -> Self {
        let mut story = Self::of(Setup {
            most: 10_000_000,
            ..Self::setup(&FaultPlan::default())
        });
        story.world.judge.enabled = false;
        story
    }

    /// A cluster with nothing in it.
    pub(crate) fn empty(faults: &FaultPlan) -> Self {
        Self::of(Self::setup(faults))
    }

    fn of(setup: Setup) -> Self {
        let faults = setup.faults.clone();
        let mut world = World::new(setup);
        world.judge.clock_is_steady = faults.clock_jumps.is_empty();
        world.judge.one_leader = faults.second_leaders.is_empty();
        if faults.rates.is_some_and(|rates| rates.slow > 0) {
            world.judge.widen(SignedDuration::from_secs(10));
        }
        Self { world }
    }

    fn setup(faults: &FaultPlan) -> Setup {
        let mut setup = Setup {
            faults: faults.clone(),
            scrape: Some(SignedDuration::from_secs(1)),
            loads: vec![Load::ingress(NAMESPACE, "web.test", "/", 50)],
            namespace: NAMESPACE.to_owned(),
            log: std::env::var_os("TIDEGATE_SIM_LOG").is_some(),
            ..Setup::default()
        };
        setup.options.deliveries = true;
        setup
    }

    /// Creates an object as a user.
    pub(crate) fn create(&mut self, object: &Value) {
        create(&mut self.world, object).unwrap();
    }

    pub(crate) fn repository(&mut self) -> &mut Repository {
        self.world.forge.repository(DEPLOY)
    }

    /// Pushes objects, changed or new.
    pub(crate) fn push(&mut self, message: &str, objects: &[Value]) -> Oid {
        self.push_files(message, |files| with(files, objects))
    }

    pub(crate) fn push_files(&mut self, message: &str, change: impl FnOnce(Files) -> Files) -> Oid {
        let now = self.world.now();
        let repository = self.repository();
        let files = change(repository.files(MAIN));
        repository.commit(MAIN, files, message, now)
    }

    pub(crate) fn head(&mut self) -> Oid {
        self.repository().head(MAIN).cloned().unwrap()
    }

    // What is so

    pub(crate) fn delivery(&self) -> Delivery {
        let object = self.get(&kinds::DELIVERIES, DELIVERY);
        serde_json::from_value(object).unwrap()
    }

    pub(crate) fn get(&self, kind: &tidegate_sim::api::Kind, name: &str) -> Value {
        let store = self.world.store();
        let resource = store.registry().by_kind(kind.api_version, kind.kind).unwrap();
        let object = store.get(resource, NAMESPACE, name);
        object.map(|object| (*object).clone()).unwrap_or_default()
    }

    /// The ledger's entry of a commit.
    pub(crate) fn entry(&self, commit: &Oid) -> Option<LedgerEntry> {
        let has = |entry: &LedgerEntry| entry.commits.iter().any(|known| known == commit.as_str());
        self.delivery().status.ledger.into_iter().find(has)
    }

    pub(crate) fn state_of(&self, commit: &Oid) -> VerdictState {
        self.entry(commit).map(|entry| entry.state).unwrap_or_default()
    }

    /// Status and reason of a condition; empty if there is none.
    pub(crate) fn condition(&self, kind: &str) -> (String, String) {
        let conditions = self.delivery().status.conditions;
        let found = conditions.into_iter().find(|condition| condition.kind == kind);
        found
            .map(|found| (found.status, found.reason))
            .unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.condition("Ready").0 == "True"
    }

    /// The image that the Rollout asks for.
    pub(crate) fn image(&self) -> String {
        let rollout = self.get(&kinds::ROLLOUTS, ROLLOUT);
        let image = &rollout["spec"]["template"]["spec"]["containers"][0]["image"];
        image.as_str().unwrap_or_default().to_owned()
    }

    /// Image of the version that has all traffic; empty while several share it.
    pub(crate) fn serving(&self) -> String {
        let picture = self.world.judge.picture();
        let Some(facts) = Facts::of(picture, NAMESPACE, ROLLOUT) else {
            return String::new();
        };
        let mut shares = facts.shares.keys();
        let (Some(hash), None) = (shares.next(), shares.next()) else {
            return String::new();
        };
        let set = facts
            .versions
            .get(hash)
            .and_then(|version| picture.get("ReplicaSet", NAMESPACE, &version.name));
        let image = set.map(|set| set["spec"]["template"]["spec"]["containers"][0]["image"].clone());
        image
            .as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn rollout_phase(&self) -> String {
        let rollout = self.get(&kinds::ROLLOUTS, ROLLOUT);
        // The status has it as text.
        let generation = rollout["metadata"]["generation"].to_string();
        let seen = rollout["status"]["observedGeneration"] == *generation;
        let phase = rollout["status"]["phase"].as_str().filter(|_| seen);
        phase.unwrap_or_default().to_owned()
    }

    /// The release that the ConfigMap and the stable Service are of.
    pub(crate) fn release(&self) -> (String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&self.get(&kinds::CONFIG_MAPS, "settings")["data"]["release"]),
            text(&self.get(&kinds::SERVICES, "stable")["metadata"]["labels"]["release"]),
        )
    }

    /// Whether everything in the cluster is of a release, and serves all requests.
    pub(crate) fn runs(&self, release: &str) -> bool {
        let image = format!("shop:{release}");
        self.image() == image
            && self.serving() == image
            && self.rollout_phase() == "Healthy"
            && self.release() == (release.to_owned(), release.to_owned())
    }

    /// The statuses that a commit got, oldest first.
    pub(crate) fn told(&mut self, commit: &Oid) -> Vec<StatusState> {
        let statuses = self.repository().statuses().iter();
        let of = statuses.filter(|status| status.commit == *commit);
        of.map(|status| status.state).collect()
    }

    pub(crate) fn entry_of_head(&self) -> LedgerEntry {
        self.delivery().status.ledger.into_iter().next().unwrap()
    }

    pub(crate) fn annotate(&mut self, key: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        let mut api = self.world.api("ann");
        api.merge(&kinds::DELIVERIES, NAMESPACE, DELIVERY, patch).unwrap();
    }

    // What was so at any time

    /// The images that pods ever had.
    pub(crate) fn images_ever(&self) -> Vec<Value> {
        let commits = self.world.store().commits_since(0);
        let pods = commits
            .filter(|commit| commit.resource.kind == "Pod")
            .filter_map(|commit| commit.after.as_deref());
        let mut images: Vec<Value> = pods
            .map(|pod| pod["spec"]["containers"][0]["image"].clone())
            .collect();
        images.sort_by_key(ToString::to_string);
        images.dedup();
        images
    }

    /// Fails if any object was ever like that.
    pub(crate) fn assert_never(&self, like_that: impl Fn(&Value) -> bool) {
        let mut commits = self.world.store().commits_since(0);
        let found = commits.find(|commit| commit.after.as_deref().is_some_and(&like_that));
        assert!(found.is_none(), "{found:#?}");
    }

    // Time

    pub(crate) fn run_for(&mut self, seconds: i64) {
        self.world.run_for(SignedDuration::from_secs(seconds));
    }

    /// Lets time pass until something is so.
    pub(crate) fn wait(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let limit = self.world.now() + SignedDuration::from_mins(10);
        while !so(self) {
            if self.world.now() >= limit || self.world.is_exhausted() {
                let text = self.describe();
                panic!("not so in time: {what}\n{text}");
            }
            self.run_for(1);
        }
    }

    /// The first release is there, and another one was verified: what a rejection goes back to.
    pub(crate) fn verified_v2(&mut self) -> Oid {
        self.verified(|story| story.push("Release 2", &release("v2")))
    }

    /// Waits for the first release, has `v2` pushed, and waits until it is good.
    pub(crate) fn verified(&mut self, push: impl FnOnce(&mut Self) -> Oid) -> Oid {
        self.wait("v1 is deployed", |story| story.is_ready() && story.runs("v1"));
        let good = push(self);
        self.wait("v2 is verified", |story| {
            story.state_of(&good) == VerdictState::Verified
        });
        good
    }

    /// All that there is to say, for a test that fails.
    pub(crate) fn describe(&mut self) -> String {
        let delivery = self.get(&kinds::DELIVERIES, DELIVERY);
        let log = self.world.log().join("\n");
        format!(
            "after {:#}\n{log}\n{}\n{:#}\npushes {:?}\nstatuses {:#?}\npull requests {:#?}\nlast writes {:#?}\noutside {:#?}",
            self.world.elapsed(),
            state(&self.world),
            delivery["status"],
            self.repository().pushes().to_vec(),
            self.repository().statuses().to_vec(),
            self.repository().pull_requests().to_vec(),
            self.world.stats.writes.iter().rev().take(10).collect::<Vec<_>>(),
            self.world.stats.outside,
        )
    }

    /// What went wrong that must never go wrong.
    pub(crate) fn failures(&self) -> Vec<String> {
        let violations = self.world.judge.violations().iter();
        let mut failures: Vec<String> = violations.map(ToString::to_string).collect();
        if self.world.stats.panics > 0 {
            failures.push("the planner panicked".to_owned());
        }
        if self.world.is_exhausted() {
            failures.push("S18: a loop without rest".to_owned());
        }
        failures
    }

    /// Ends the story: at rest nothing is written, and no invariant was broken.
    pub(crate) fn end(&mut self) {
        self.run_for(120);
        let count = |story: &Self| (story.world.stats.writes.len(), story.world.stats.outside.len());
        let before = count(self);
        self.world.stop_scraping();
        self.run_for(600);
        assert_eq!(count(self), before, "written at rest\n{}", self.describe());
        let failures = self.failures();
        assert!(
            failures.is_empty(),
            "{}\n{}",
            failures.join("\n"),
            self.describe()
        );
    }
}
