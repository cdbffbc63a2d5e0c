//! The same story driven from Git: a push is a release, its metrics judge the commit, and a bad one is taken back.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::{Delivery, LedgerEntry, TargetReason, VerdictState};
use tidegate_gitsync::remote::StatusState;
use tidegate_gitsync::tree::{Files, Oid};
use tidegate_sim::api::kinds;
use tidegate_sim::dataplane::Load;
use tidegate_sim::forge::{HOST, Repository};
use tidegate_sim::live::Live;

use super::story::{
    MANIFESTS, NAMESPACE, PATIENCE, PEOPLE, REQUESTS_A_SECOND, REST, Tale, USER, open, phase, refused,
};
use super::{Error, scene};

/// The repository, its branch, and the Delivery that follows it.
const REPOSITORY: &str = "shop/deploy";
const BRANCH: &str = "main";
const DELIVERY: &str = "shop";
/// The folder of the repository that is delivered.
const FOLDER: &str = "prod";
const WRITE_SECRET: &str = "deploy";
/// The version that the manifests are written with.
const FIRST: &str = "shop:v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chapter {
    Begin,
    Install,
    People,
    Good,
    Calm,
    Bad,
    TakeBack,
    End,
}

/// The story, and how far it has come.
#[derive(Debug)]
pub(super) struct GitStory {
    chapter: Chapter,
    since: Timestamp,
    /// The commit of the current release.
    commit: Option<Oid>,
    /// When all traffic was away from the bad version, and how high its weight was.
    safe: Option<Timestamp>,
    weight: u64,
    seen: Seen,
    summaries: Vec<String>,
}

/// What has been told of the repository and the Delivery.
#[derive(Debug, Default)]
struct Seen {
    statuses: usize,
    pushes: usize,
    rejected: Vec<String>,
    pinned: bool,
}

impl GitStory {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            chapter: Chapter::Begin,
            since: now,
            commit: None,
            safe: None,
            weight: 0,
            seen: Seen::default(),
            summaries: Vec::new(),
        }
    }

    fn go(&mut self, chapter: Chapter, now: Timestamp) {
        (self.chapter, self.since) = (chapter, now);
    }

    fn rested(&self, now: Timestamp) -> bool {
        now >= self.since + REST
    }

    /// Somebody pushes a version.
    fn push(&mut self, live: &mut Live, tag: &str, chapter: Chapter) -> String {
        let now = live.world.now();
        live.crowd.begin();
        self.weight = 0;
        let message = format!("Release {tag}");
        let commit = repository(live).commit(BRANCH, files(tag), &message, now);
        let said = format!("$ git commit -m '{message}' && git push   # {}", commit.short());
        self.commit = Some(commit);
        self.go(chapter, now);
        said
    }

    /// What became of the commit of the current release.
    fn state(&self, delivery: &Delivery) -> VerdictState {
        let commit = self.commit.as_ref();
        let entry = commit.and_then(|commit| entry(delivery, commit));
        entry.map(|entry| entry.state.clone()).unwrap_or_default()
    }

    fn chapter(&mut self, live: &mut Live, delivery: &Delivery) -> Result<Option<String>, Error> {
        let now = live.world.now();
        let weight = scene::weight(live);
        self.weight = self.weight.max(weight);
        let state = self.state(delivery);
        Ok(match self.chapter {
            Chapter::Begin => {
                let said = self.push(live, "v1", Chapter::Install);
                install(live)?;
                Some(format!("{said}; $ kubectl apply -f delivery.yaml"))
            }
            Chapter::Install if state == VerdictState::Deployed && open(live) => {
                live.world.dataplane.add_load(Load::ingress(
                    NAMESPACE,
                    super::story::HOST,
                    "/",
                    REQUESTS_A_SECOND,
                ));
                self.go(Chapter::People, now);
                Some(format!(
                    "{PEOPLE} users come, {REQUESTS_A_SECOND} requests a second"
                ))
            }
            Chapter::People if self.rested(now) => Some(self.push(live, "v2", Chapter::Good)),
            Chapter::Good if state == VerdictState::Rejected => {
                return Err(Error::Story("the good commit was rejected".to_owned()));
            }
            Chapter::Good if state == VerdictState::Verified && weight == 0 => {
                let took = now.duration_since(self.since).as_secs();
                let count = live.crowd.count();
                self.summaries.push(format!(
                    "{}: v2 verified in {took} s: {} of {} requests failed",
                    self.short(),
                    count.failed,
                    count.requests
                ));
                self.go(Chapter::Calm, now);
                None
            }
            Chapter::Calm if self.rested(now) => Some(self.push(live, "v3-bad", Chapter::Bad)),
            Chapter::Bad if matches!(state, VerdictState::Verified | VerdictState::Deployed) => {
                return Err(Error::Story("the bad commit was verified".to_owned()));
            }
            Chapter::Bad if state == VerdictState::Rejected && weight == 0 => {
                self.safe = Some(now);
                self.chapter = Chapter::TakeBack;
                None
            }
            Chapter::TakeBack
                if agrees(delivery)
                    && head_of(live) != self.commit
                    && phase(live) == "Healthy"
                    && self.calm(now) =>
            {
                self.sum_up(live, now);
                Some("Git and the cluster agree again".to_owned())
            }
            _ => None,
        })
    }

    /// Whether those who asked until the last moment have got their answers.
    fn calm(&self, now: Timestamp) -> bool {
        self.safe.is_some_and(|safe| now >= safe + REST)
    }

    fn short(&self) -> String {
        self.commit
            .as_ref()
            .map_or_else(String::new, |commit| commit.short().to_owned())
    }

    fn sum_up(&mut self, live: &mut Live, now: Timestamp) {
        let took = self.safe.unwrap_or(now).duration_since(self.since).as_secs();
        let (active, hurt) = (live.crowd.active(), live.crowd.hurt());
        self.summaries.push(format!(
            "{}: v3-bad taken back: rejected and away after {took} s at weight {}: {hurt} of {active} users hurt",
            self.short(),
            self.weight
        ));
        self.summaries
            .extend([String::new(), format!("$ git log -1 {BRANCH}")]);
        self.summaries.extend(log(live));
        self.go(Chapter::End, now);
    }

    /// What has become of commits since the last look, in words.
    fn news(&mut self, live: &mut Live, delivery: &Delivery) -> Vec<String> {
        let mut news = Vec::new();
        for entry in &delivery.status.ledger {
            let commit = entry.commits.last().cloned().unwrap_or_default();
            if entry.state == VerdictState::Rejected && !self.seen.rejected.contains(&commit) {
                let reason = entry.reason.as_ref().map(ToString::to_string);
                news.push(format!(
                    "{} is rejected: {}",
                    short(&commit),
                    reason.unwrap_or_default()
                ));
                self.seen.rejected.push(commit);
            }
        }
        let pinned = delivery.status.why == Some(TargetReason::Pinned);
        if pinned && !self.seen.pinned {
            let target = delivery.status.target.as_ref();
            let commit = target.and_then(|target| target.revision.rsplit_once(':'));
            let commit = commit.map_or("", |(_, commit)| commit);
            news.push(format!("the cluster is pinned to {}", short(commit)));
        }
        self.seen.pinned = pinned;
        let repository = repository(live);
        for status in repository.statuses().iter().skip(self.seen.statuses) {
            let colour = match status.state {
                StatusState::Success => "green",
                StatusState::Failure => "red",
                _ => continue,
            };
            let reason = status.description.split([':', ';']).next().unwrap_or_default();
            news.push(format!("{} is {colour}: {reason}", status.commit.short()));
        }
        for push in repository.pushes().iter().skip(self.seen.pushes) {
            let subject = repository
                .get(&push.commit)
                .and_then(|commit| commit.message.lines().next())
                .unwrap_or_default();
            news.push(format!(
                "the controller pushes {} to {BRANCH}: {subject}",
                push.commit.short()
            ));
        }
        self.seen.statuses = repository.statuses().len();
        self.seen.pushes = repository.pushes().len();
        news
    }
}

impl Tale for GitStory {
    fn turn(&mut self, live: &mut Live) -> Result<Option<String>, Error> {
        let delivery = delivery(live);
        if live.world.now().duration_since(self.since) > PATIENCE {
            let ready = delivery
                .status
                .conditions
                .iter()
                .find(|known| known.kind == "Ready");
            let message = ready.map_or("", |ready| ready.message.as_str());
            return Err(Error::Story(format!("stuck at {:?}: {message}", self.chapter)));
        }
        let mut said = self.news(live, &delivery);
        said.extend(self.chapter(live, &delivery)?);
        Ok((!said.is_empty()).then(|| said.join("; ")))
    }

    fn is_over(&self) -> bool {
        self.chapter == Chapter::End
    }

    fn summaries(&self) -> &[String] {
        &self.summaries
    }
}

/// The manifests of `examples/demo/` with another version.
fn files(tag: &str) -> Files {
    MANIFESTS.iter().fold(Files::new(), |files, (name, text)| {
        files.with(
            &format!("{FOLDER}/{name}"),
            &text.replace(FIRST, &format!("shop:{tag}")),
        )
    })
}

/// The Secret and the Delivery: the only things that are applied by hand.
fn install(live: &mut Live) -> Result<(), Error> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": WRITE_SECRET, "namespace": NAMESPACE},
        "stringData": {"username": "tidegate", "password": "simulated"},
    });
    let spec = json!({
        "source": {"git": {
            "url": format!("{HOST}{REPOSITORY}.git"), "ref": {"branch": BRANCH}, "path": FOLDER,
            "secretRef": {"name": WRITE_SECRET},
        }},
        "interval": "5s",
        "onRejected": {"action": "RevertCommit", "writeSecretRef": {"name": WRITE_SECRET}},
        "feedback": {"forge": {"type": "Gitea"}},
    });
    let delivery = json!({
        "apiVersion": "tidegate.io/v1alpha1", "kind": "Delivery",
        "metadata": {"name": DELIVERY, "namespace": NAMESPACE}, "spec": spec,
    });
    for (kind, object) in [(&kinds::SECRETS, secret), (&kinds::DELIVERIES, delivery)] {
        let created = live.world.api(USER).create(kind, NAMESPACE, object);
        created.map_err(|status| refused("the Delivery", &status))?;
    }
    Ok(())
}

fn repository(live: &mut Live) -> &mut Repository {
    live.world.forge.repository(REPOSITORY)
}

fn head_of(live: &mut Live) -> Option<Oid> {
    repository(live).head(BRANCH).cloned()
}

fn delivery(live: &mut Live) -> Delivery {
    let object = live.world.api(USER).get(&kinds::DELIVERIES, NAMESPACE, DELIVERY);
    let object = object.map_or(Value::Null, |object| (*object).clone());
    serde_json::from_value(object).unwrap_or_default()
}

fn entry<'a>(delivery: &'a Delivery, commit: &Oid) -> Option<&'a LedgerEntry> {
    let mut ledger = delivery.status.ledger.iter();
    ledger.find(|entry| entry.commits.iter().any(|known| known == commit.as_str()))
}

/// Whether the cluster runs the newest commit, and it is good.
fn agrees(delivery: &Delivery) -> bool {
    let status = &delivery.status;
    let mut conditions = status.conditions.iter();
    let ready = conditions.any(|known| known.kind == "Ready" && known.status == "True");
    ready && status.why == Some(TargetReason::Head) && status.applied == status.head
}

/// The newest commit as `git log` shows it.
fn log(live: &mut Live) -> Vec<String> {
    let repository = repository(live);
    let newest = repository.head(BRANCH).cloned();
    let Some((oid, commit)) = newest.and_then(|oid| repository.get(&oid).map(|commit| (oid.clone(), commit)))
    else {
        return Vec::new();
    };
    let head = [
        format!("commit {oid}"),
        format!("Author: {}", commit.author),
        String::new(),
    ];
    let message = commit.message.trim_end().lines();
    let message = message.map(|line| format!("    {line}").trim_end().to_owned());
    head.into_iter().chain(message).collect()
}

fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}
