//! What the server answers: exactly what `gitsync::remote` promises.

use jiff::Timestamp;
use tidegate_controller::step::{Outside, OutsideAnswer};
use tidegate_gitsync::remote::{
    Credentials, ForgeAnswer, ForgeRequest, GitAnswer, GitRequest, PullRequestState, RemoteError, Restore,
};
use tidegate_gitsync::render::helm::Release;
use tidegate_gitsync::render::{Limits, render_as};
use tidegate_gitsync::tree::{Closure, Oid, Tree as _};

use super::{Commit, Forge, HOST, PullRequest, Push, Repository, Status};

/// What a question is about, for logs, and whether it may change something.
pub(crate) fn describe(question: &Outside) -> (String, bool) {
    let words = match question {
        Outside::Git(request) => match &**request {
            GitRequest::Heads { remote, .. } => format!("heads of {}", remote.url),
            GitRequest::Render { commit, .. } => format!("render {}", commit.short()),
            GitRequest::Point {
                reference, commit, ..
            } => format!("point {reference} to {}", commit.short()),
            GitRequest::Restore(order) => format!("restore {} to {}", order.good.short(), order.push_to),
        },
        Outside::Forge(request) => match &request.1 {
            ForgeRequest::Status { commit, state, .. } => format!("status {} {state:?}", commit.short()),
            ForgeRequest::PullRequest { head, .. } => format!("pull request {head}"),
            ForgeRequest::Comment { commit, .. } => format!("comment {}", commit.short()),
        },
        Outside::Chat(post) => format!("tell {:?}", post.kind),
    };
    (words, question.writes())
}

/// The answer of a server that cannot be reached.
pub(crate) fn unreachable(question: &Outside) -> OutsideAnswer {
    let error = RemoteError::Unavailable("the server cannot be reached".to_owned());
    match question {
        Outside::Git(_) => OutsideAnswer::Git(Err(error)),
        Outside::Forge(_) => OutsideAnswer::Forge(Err(error)),
        Outside::Chat(_) => OutsideAnswer::Chat(Err(error)),
    }
}

fn not_found(what: &str) -> RemoteError {
    RemoteError::NotFound(format!("there is no {what}"))
}

/// Everybody may read, but whoever writes has to say who it is.
fn may_write(credentials: &Credentials) -> Result<(), RemoteError> {
    match credentials {
        Credentials::None => Err(RemoteError::Denied("log in first".to_owned())),
        _ => Ok(()),
    }
}

impl Forge {
    pub(crate) fn answer(&mut self, question: &Outside) -> OutsideAnswer {
        if self.down && !self.is_on_disk(question) {
            return unreachable(question);
        }
        match question {
            Outside::Chat(_) => OutsideAnswer::Chat(Ok(())),
            Outside::Git(request) => OutsideAnswer::Git(self.answer_git(request)),
            Outside::Forge(request) => {
                let (forge, request) = &**request;
                let known = self.repositories.get_mut(&forge.repository);
                OutsideAnswer::Forge(may_write(&forge.credentials).and_then(|()| {
                    let repository = known.ok_or_else(|| not_found(&forge.repository))?;
                    repository.answer_forge(request, &forge.repository)
                }))
            }
        }
    }

    fn is_on_disk(&self, question: &Outside) -> bool {
        let Outside::Git(request) = question else {
            return false;
        };
        matches!(&**request, GitRequest::Render { commit, .. } if self.fetched.contains(commit))
    }

    fn answer_git(&mut self, request: &GitRequest) -> Result<GitAnswer, RemoteError> {
        let remote = match request {
            GitRequest::Heads { remote, .. }
            | GitRequest::Render { remote, .. }
            | GitRequest::Point { remote, .. } => remote,
            GitRequest::Restore(order) => &order.remote,
        };
        let name = remote
            .url
            .strip_prefix(HOST)
            .map(|name| name.trim_end_matches(".git"));
        let known = name.and_then(|name| self.repositories.get_mut(name));
        let repository = known.ok_or_else(|| not_found(&remote.url))?;
        match request {
            GitRequest::Heads { refs, .. } => {
                let at = |name: &String| Some((name.clone(), repository.refs.get(name)?.clone()));
                Ok(GitAnswer::Heads(refs.iter().filter_map(at).collect()))
            }
            GitRequest::Render {
                commit,
                path,
                release,
                known,
                ..
            } => {
                self.fetched.insert(commit.clone());
                repository.render(commit, path, release, known.as_ref())
            }
            GitRequest::Point {
                remote,
                reference,
                commit,
            } => {
                may_write(&remote.credentials)?;
                repository.found(commit)?;
                repository.refs.insert(reference.clone(), commit.clone());
                Ok(GitAnswer::Pointed)
            }
            GitRequest::Restore(order) => {
                may_write(&order.remote.credentials)?;
                repository.restore(order)
            }
        }
    }
}

impl Repository {
    fn found(&self, oid: &Oid) -> Result<&Commit, RemoteError> {
        self.commits
            .get(oid)
            .ok_or_else(|| not_found(&format!("commit {oid}")))
    }

    fn render(
        &self,
        oid: &Oid,
        path: &str,
        release: &Release,
        known: Option<&Closure>,
    ) -> Result<GitAnswer, RemoteError> {
        let commit = self.found(oid)?;
        if known.is_some_and(|known| known.holds(&commit.files)) {
            return Ok(GitAnswer::Unchanged);
        }
        let rendered = render_as(&commit.files, path, release, None, &Limits::default());
        Ok(GitAnswer::Rendered(Box::new((commit.info(), rendered))))
    }

    fn restore(&mut self, order: &Restore) -> Result<GitAnswer, RemoteError> {
        let (tip, good) = (self.found(&order.tip)?, self.found(&order.good)?);
        let mut files = tip.files.restored(&order.path, &good.files);
        for path in &order.outside {
            files = files.restored(path, &good.files);
        }
        let commit = Commit {
            files,
            parents: vec![order.tip.clone()],
            message: order.message.clone(),
            author: order.author.0.clone(),
            time: Timestamp::from_second(order.time.as_second()).unwrap_or_default(),
        };
        let render = |files| render_as(files, &order.path, &order.release, None, &Limits::default());
        let rendered = render(&commit.files);
        if !rendered
            .as_ref()
            .is_ok_and(|rendered| rendered.digest == order.digest)
        {
            let closure = render(&good.files)
                .map(|rendered| rendered.closure)
                .unwrap_or_default();
            let outside = closure.outside(&order.path, |path| commit.files.entry(path));
            return match rendered {
                Err(error) if outside.is_empty() => Err(RemoteError::Refused(error.to_string())),
                _ => Ok(GitAnswer::NotTheSame(outside)),
            };
        }
        let oid = commit.oid();
        let there = self.refs.get(&order.push_to);
        if there == Some(&oid) {
            return Ok(GitAnswer::Restored(oid));
        }
        if let Some(there) = there
            && order.push_to != order.base
        {
            // A branch of our own that is there holds what an earlier order made.
            return Ok(GitAnswer::Restored(there.clone()));
        }
        if self.refs.get(&order.base) != Some(&order.tip) {
            return Ok(GitAnswer::Moved);
        }
        let to = order.push_to.clone();
        self.store(&to, commit);
        self.pushes.push(Push {
            to,
            commit: oid.clone(),
        });
        Ok(GitAnswer::Restored(oid))
    }

    fn answer_forge(&mut self, request: &ForgeRequest, name: &str) -> Result<ForgeAnswer, RemoteError> {
        match request {
            ForgeRequest::Status {
                commit,
                context,
                state,
                description,
                ..
            } => {
                self.found(commit)?;
                let status = Status {
                    commit: commit.clone(),
                    context: context.clone(),
                    state: *state,
                    description: description.clone(),
                };
                let same = |known: &&Status| known.commit == *commit && known.context == *context;
                if self.statuses.iter().rev().find(same) != Some(&status) {
                    self.statuses.push(status);
                }
                Ok(ForgeAnswer::Done)
            }
            ForgeRequest::PullRequest {
                head,
                base,
                title,
                body,
            } => self.pull_request(head, base, title, body, name),
            ForgeRequest::Comment { commit, marker, body } => {
                self.found(commit)?;
                self.comments
                    .insert((commit.clone(), marker.clone()), body.clone());
                Ok(ForgeAnswer::Done)
            }
        }
    }

    fn pull_request(
        &mut self,
        head: &str,
        base: &str,
        title: &str,
        body: &str,
        name: &str,
    ) -> Result<ForgeAnswer, RemoteError> {
        for branch in [head, base] {
            if self.head(branch).is_none() {
                return Err(not_found(&format!("branch {branch}")));
            }
        }
        let known = self.pull_requests.iter().position(|request| request.head == head);
        let index = known.unwrap_or_else(|| {
            self.pull_requests.push(PullRequest {
                head: head.to_owned(),
                base: base.to_owned(),
                title: title.to_owned(),
                body: body.to_owned(),
                state: PullRequestState::Open,
            });
            self.pull_requests.len() - 1
        });
        let state = self
            .pull_requests
            .get(index)
            .map_or(PullRequestState::Open, |request| request.state);
        let number = index as u64 + 1;
        Ok(ForgeAnswer::PullRequest {
            number,
            url: format!("{HOST}{name}/pulls/{number}"),
            state,
        })
    }
}
