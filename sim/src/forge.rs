//! A Git server and the forge on it, in memory: branches, commits, pull requests, statuses and comments.

mod answer;
mod commit;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tidegate_gitsync::remote::{PullRequestState, StatusState};
use tidegate_gitsync::tree::{Files, Oid};

pub(crate) use self::answer::{describe as describe_question, unreachable};
pub use self::commit::Commit;

/// Where all repositories are: the address of one is this and its name.
pub const HOST: &str = "https://git.test/";

/// A Git server and the forge on it.
#[derive(Clone, Debug, Default)]
pub struct Forge {
    repositories: BTreeMap<String, Repository>,
    /// Whether nobody can reach it.
    pub down: bool,
    /// What a process has on its disk, and needs no server for.
    fetched: BTreeSet<Oid>,
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    commits: BTreeMap<Oid, Commit>,
    refs: BTreeMap<String, Oid>,
    pushes: Vec<Push>,
    pull_requests: Vec<PullRequest>,
    statuses: Vec<Status>,
    comments: BTreeMap<(Oid, String), String>,
}

/// What a program has pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The ref, in full.
    pub to: String,
    /// The commit.
    pub commit: Oid,
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// The branch that holds the change.
    pub head: String,
    /// The branch that it is for.
    pub base: String,
    /// Title.
    pub title: String,
    /// Text.
    pub body: String,
    /// What became of it.
    pub state: PullRequestState,
}

/// What was said of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The commit.
    pub commit: Oid,
    /// Name of the check.
    pub context: String,
    /// How it does.
    pub state: StatusState,
    /// One line.
    pub description: String,
}

impl Forge {
    /// A repository by its name, `OWNER/NAME`; made if there is none.
    pub fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}

/// The ref of a branch, in full.
fn branch_ref(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

impl Repository {
    /// A person pushes a commit on top of a branch, which is made if it is not there.
    pub fn commit(&mut self, branch: &str, files: Files, message: &str, now: Timestamp) -> Oid {
        let parent = self.head(branch).cloned();
        let commit = Commit {
            files,
            parents: parent.into_iter().collect(),
            message: message.to_owned(),
            author: "Ann".to_owned(),
            time: now,
        };
        self.store(&branch_ref(branch), commit)
    }

    fn store(&mut self, reference: &str, commit: Commit) -> Oid {
        let oid = commit.oid();
        self.commits.insert(oid.clone(), commit);
        self.refs.insert(reference.to_owned(), oid.clone());
        oid
    }

    /// The newest commit of a branch.
    pub fn head(&self, branch: &str) -> Option<&Oid> {
        self.refs.get(&branch_ref(branch))
    }

    /// The files of the newest commit of a branch; none if there is no such branch.
    pub fn files(&self, branch: &str) -> Files {
        let commit = self.head(branch).and_then(|oid| self.commits.get(oid));
        commit.map(|commit| commit.files.clone()).unwrap_or_default()
    }

    /// A commit.
    pub fn get(&self, oid: &Oid) -> Option<&Commit> {
        self.commits.get(oid)
    }

    /// How many commits there are, however they came.
    pub fn commits(&self) -> usize {
        self.commits.len()
    }

    /// A person merges a pull request, by its number from 1 on. `None` if there is none that is open.
    pub fn merge(&mut self, number: usize, now: Timestamp) -> Option<Oid> {
        let index = number.checked_sub(1)?;
        let request = self.pull_requests.get_mut(index)?;
        if request.state != PullRequestState::Open {
            return None;
        }
        request.state = PullRequestState::Merged;
        let (head, base) = (request.head.clone(), request.base.clone());
        let theirs = self.head(&head)?.clone();
        let ours = self.head(&base)?.clone();
        let change = self.commits.get(&theirs)?;
        let before = change
            .parents
            .first()
            .and_then(|parent| self.commits.get(parent))?;
        let commit = Commit {
            files: commit::merged(&self.commits.get(&ours)?.files, &before.files, &change.files),
            parents: vec![ours, theirs],
            message: format!("Merge pull request #{number}"),
            author: "Ann".to_owned(),
            time: now,
        };
        Some(self.store(&branch_ref(&base), commit))
    }

    /// What programs have pushed, oldest first.
    pub fn pushes(&self) -> &[Push] {
        &self.pushes
    }

    /// All pull requests, oldest first.
    pub fn pull_requests(&self) -> &[PullRequest] {
        &self.pull_requests
    }

    /// Everything that was said of commits, oldest first.
    pub fn statuses(&self) -> &[Status] {
        &self.statuses
    }
}
