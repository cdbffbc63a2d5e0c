//! Repositories that Deliveries follow: each is asked once in an interval, however many follow it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tidegate_gitsync::remote::{GitAnswer, GitRequest, Remote, RemoteError};
use tidegate_gitsync::tree::Oid;

use super::{Outside, retry_delay};
use crate::object::ObjectKey;

/// A Delivery that follows a ref.
#[derive(Clone, Debug, PartialEq)]
struct Follower {
    /// What is followed, and what else is asked for.
    references: Vec<String>,
    interval: SignedDuration,
}

#[derive(Debug, Default)]
struct Repository {
    followers: BTreeMap<ObjectKey, Follower>,
    /// What refs point to; `None`: there is no such ref.
    heads: BTreeMap<String, Option<Oid>>,
    trouble: Option<RemoteError>,
    failures: u32,
}

/// All repositories.
#[derive(Debug, Default)]
pub(crate) struct Repositories {
    known: BTreeMap<Remote, Repository>,
    of: BTreeMap<ObjectKey, Remote>,
}

impl Repositories {
    /// Notes that a Delivery follows a ref. Answers whether the repository has to be asked because of that.
    pub(crate) fn follow(
        &mut self,
        key: &ObjectKey,
        remote: &Remote,
        references: Vec<String>,
        interval: SignedDuration,
    ) -> bool {
        if self.of.get(key) != Some(remote) {
            self.leave(key);
            self.of.insert(key.clone(), remote.clone());
        }
        let repository = self.known.entry(remote.clone()).or_default();
        let follower = Follower { references, interval };
        let unknown = follower
            .references
            .iter()
            .any(|reference| !repository.heads.contains_key(reference));
        let changed = repository.followers.insert(key.clone(), follower.clone()) != Some(follower);
        changed && unknown
    }

    /// A Delivery follows nothing any more.
    pub(crate) fn leave(&mut self, key: &ObjectKey) {
        let Some(remote) = self.of.remove(key) else { return };
        if let Some(repository) = self.known.get_mut(&remote) {
            repository.followers.remove(key);
            if repository.followers.is_empty() {
                self.known.remove(&remote);
            }
        }
    }

    /// What a Delivery's ref points to, if somebody has asked.
    pub(crate) fn head(&self, key: &ObjectKey) -> Option<Result<Oid, RemoteError>> {
        let repository = self.known.get(self.of.get(key)?)?;
        let reference = repository.followers.get(key)?.references.first()?;
        match (repository.heads.get(reference), &repository.trouble) {
            (_, Some(trouble)) => Some(Err(trouble.clone())),
            (Some(Some(oid)), None) => Some(Ok(oid.clone())),
            (Some(None), None) => Some(Err(RemoteError::NotFound(format!(
                "the repository has no {reference}: set spec.source.git.ref to a branch or tag that it has"
            )))),
            (None, None) => None,
        }
    }

    /// What the refs point to that record the last good and the last rejected commit, if somebody has asked.
    pub(crate) fn recorded(&self, key: &ObjectKey) -> Option<[Option<Oid>; 2]> {
        let repository = self.known.get(self.of.get(key)?)?;
        let references = repository.followers.get(key)?.references.get(1..3)?;
        let head = |index: usize| repository.heads.get(references.get(index)?).cloned();
        Some([head(0)?, head(1)?])
    }

    /// The repository that a Delivery follows.
    pub(crate) fn of(&self, key: &ObjectKey) -> Option<&Remote> {
        self.of.get(key)
    }

    /// A look at a repository; `None` if nobody follows it any more.
    pub(crate) fn job(&self, remote: &Remote) -> Option<RepositoryJob> {
        let repository = self.known.get(remote)?;
        let refs: BTreeSet<&String> = repository
            .followers
            .values()
            .flat_map(|follower| &follower.references)
            .collect();
        Some(RepositoryJob {
            request: Some(GitRequest::Heads {
                remote: remote.clone(),
                refs: refs.into_iter().cloned().collect(),
            }),
        })
    }

    /// Takes an answer in. Tells when to ask again, and which Deliveries have to look.
    pub(crate) fn answered(
        &mut self,
        remote: &Remote,
        answer: Result<GitAnswer, RemoteError>,
        now: Timestamp,
    ) -> (Option<Timestamp>, Vec<ObjectKey>) {
        let Some(repository) = self.known.get_mut(remote) else {
            return (None, Vec::new());
        };
        let before = (repository.heads.clone(), repository.trouble.is_some());
        match answer {
            Ok(GitAnswer::Heads(heads)) => {
                let heads: BTreeMap<String, Oid> = heads.into_iter().collect();
                let wanted = repository
                    .followers
                    .values()
                    .flat_map(|follower| follower.references.clone());
                repository.heads = wanted
                    .map(|reference| (reference.clone(), heads.get(&reference).cloned()))
                    .collect();
                repository.trouble = None;
                repository.failures = 0;
            }
            Ok(_) => {}
            Err(error) => {
                repository.trouble = Some(error);
                repository.failures = repository.failures.saturating_add(1);
            }
        }
        let interval = repository
            .followers
            .values()
            .map(|follower| follower.interval)
            .min();
        let mut wait = interval.unwrap_or(SignedDuration::from_secs(30));
        if repository.failures > 0 {
            wait = retry_delay(repository.failures - 1);
        }
        // Not all repositories at once, and not in step with others: up to a tenth later.
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let spread = now.as_nanosecond().unsigned_abs() % 100;
        let jitter = SignedDuration::from_millis(millis / 1000 * i64::try_from(spread).unwrap_or_default());
        let due = now.saturating_add(wait.saturating_add(jitter)).unwrap_or(now);
        let look = |(key, follower): (&ObjectKey, &Follower)| {
            let differs = |reference: &String| before.0.get(reference) != repository.heads.get(reference);
            let changed =
                follower.references.first().is_some_and(differs) || before.1 != repository.trouble.is_some();
            changed.then(|| key.clone())
        };
        (Some(due), repository.followers.iter().filter_map(look).collect())
    }
}

/// One look at a repository.
#[derive(Debug)]
pub(crate) struct RepositoryJob {
    request: Option<GitRequest>,
}

impl RepositoryJob {
    pub(crate) fn step(&mut self) -> Option<Outside> {
        self.request.take().map(|request| Outside::Git(Box::new(request)))
    }
}
