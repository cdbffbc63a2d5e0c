//! Forges: statuses of commits, pull requests and comments on them. What is there already is not made twice.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod http;

use reqwest::Client;
use tidegate_gitsync::remote::{
    Forge, ForgeAnswer, ForgeKind, ForgeRequest, PullRequestState, RemoteError, StatusState,
};
use tidegate_gitsync::tree::Oid;

use self::http::Api;
pub(crate) use self::http::{ReadError, cause, read};
use crate::SetupError;

/// Longest description of a status: GitHub takes no more.
const MAX_DESCRIPTION: usize = 140;
/// Longest text of a comment or pull request.
const MAX_BODY: usize = 60_000;
/// Longest of all other texts.
const MAX_LINE: usize = 250;

/// Answers what is asked of forges. Connections are shared by all of them.
pub struct Forges {
    client: Client,
}

impl Forges {
    /// Makes the HTTP client.
    ///
    /// # Errors
    /// There is no cryptography for TLS.
    pub fn new() -> Result<Self, SetupError> {
        Ok(Self {
            client: http::client()?,
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Tells a forge something.
    ///
    /// # Errors
    /// Says what could not be done, where, why, and which right the token needs.
    pub async fn answer(&self, forge: &Forge, request: ForgeRequest) -> Result<ForgeAnswer, RemoteError> {
        match forge.kind {
            ForgeKind::Gitea => {
                carry_out(&gitea::Gitea(Api::new(&self.client, forge, "token")?), request).await
            }
            ForgeKind::GitHub => {
                carry_out(&github::GitHub(Api::new(&self.client, forge, "Bearer")?), request).await
            }
            ForgeKind::GitLab => {
                carry_out(&gitlab::GitLab(Api::new(&self.client, forge, "Bearer")?), request).await
            }
            ForgeKind::Bitbucket => {
                let api = Api::new(&self.client, forge, "Bearer")?;
                carry_out(&bitbucket::Bitbucket(api), request).await
            }
        }
    }
}

/// A status as a forge keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Status {
    /// In the forge's own words.
    state: String,
    description: String,
    target_url: String,
}

/// A pull request as a forge keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pull {
    number: u64,
    url: String,
    state: PullRequestState,
}

/// A pull request to be.
struct Proposal {
    head: String,
    base: String,
    title: String,
    body: String,
}

/// A comment on a pull request.
struct Comment {
    id: u64,
    body: String,
}

/// What one kind of forge can do.
trait Software {
    /// The forge's word for a state.
    fn word(state: StatusState) -> &'static str;
    /// The newest status of a context.
    async fn status(&self, commit: &Oid, context: &str) -> Result<Option<Status>, RemoteError>;
    async fn set_status(&self, commit: &Oid, context: &str, status: &Status) -> Result<(), RemoteError>;
    /// The newest pull request from one branch to another, in whatever state.
    async fn pull_between(&self, head: &str, base: &str) -> Result<Option<Pull>, RemoteError>;
    async fn open_pull(&self, proposal: &Proposal) -> Result<Pull, RemoteError>;
    /// Numbers of the open or merged pull requests that brought a commit.
    async fn pulls_with(&self, commit: &Oid) -> Result<Vec<u64>, RemoteError>;
    async fn comments(&self, number: u64) -> Result<Vec<Comment>, RemoteError>;
    async fn add_comment(&self, number: u64, body: &str) -> Result<(), RemoteError>;
    async fn edit_comment(&self, number: u64, comment: u64, body: &str) -> Result<(), RemoteError>;
}

async fn carry_out(forge: &impl Software, request: ForgeRequest) -> Result<ForgeAnswer, RemoteError> {
    match request {
        ForgeRequest::Status {
            commit,
            context,
            state,
            description,
            target_url,
        } => {
            let status = Status {
                state: word(forge, state).to_owned(),
                description: cut(&description, MAX_DESCRIPTION),
                target_url,
            };
            say(forge, &commit, &cut(&context, MAX_LINE), &status).await
        }
        ForgeRequest::PullRequest {
            head,
            base,
            title,
            body,
        } => {
            let proposal = Proposal {
                head,
                base,
                title: cut(&title, MAX_LINE),
                body: cut(&body, MAX_BODY),
            };
            propose(forge, &proposal).await
        }
        ForgeRequest::Comment { commit, marker, body } => comment(forge, &commit, &marker, &body).await,
    }
}

fn word<F: Software>(_: &F, state: StatusState) -> &'static str {
    F::word(state)
}

async fn say(
    forge: &impl Software,
    commit: &Oid,
    context: &str,
    status: &Status,
) -> Result<ForgeAnswer, RemoteError> {
    if forge.status(commit, context).await?.as_ref() != Some(status) {
        forge.set_status(commit, context, status).await?;
    }
    Ok(ForgeAnswer::Done)
}

async fn propose(forge: &impl Software, proposal: &Proposal) -> Result<ForgeAnswer, RemoteError> {
    let found = forge.pull_between(&proposal.head, &proposal.base).await?;
    let pull = match found {
        Some(pull) => pull,
        None => match forge.open_pull(proposal).await {
            Ok(pull) => pull,
            // somebody may have been faster
            Err(error) => match forge.pull_between(&proposal.head, &proposal.base).await {
                Ok(Some(pull)) => pull,
                _ => return Err(error),
            },
        },
    };
    Ok(ForgeAnswer::PullRequest {
        number: pull.number,
        url: pull.url,
        state: pull.state,
    })
}

async fn comment(
    forge: &impl Software,
    commit: &Oid,
    marker: &str,
    body: &str,
) -> Result<ForgeAnswer, RemoteError> {
    let marker = format!("<!-- {} -->", marker.replace("--", "-"));
    let body = format!("{marker}\n{}", cut(body, MAX_BODY));
    for number in forge.pulls_with(commit).await? {
        let comments = forge.comments(number).await?;
        let ours = comments
            .into_iter()
            .find(|comment| comment.body.contains(&marker));
        match ours {
            Some(ours) if ours.body.trim() == body.trim() => {}
            Some(ours) => forge.edit_comment(number, ours.id, &body).await?,
            None => forge.add_comment(number, &body).await?,
        }
    }
    Ok(ForgeAnswer::Done)
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

#[cfg(test)]
mod tests;
