//! Gitea and Forgejo. Token rights: `write:repository` and `write:issue`.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_gitsync::remote::{PullRequestState, RemoteError, StatusState};
use tidegate_gitsync::tree::Oid;

use super::http::{Api, Ask, MAX_PAGES, PAGE, found};
use super::{Comment, Proposal, Pull, Software, Status};

const REPOSITORY: &str = "write:repository";
const ISSUE: &str = "write:issue";

pub(super) struct Gitea<'a>(pub(super) Api<'a>);

#[derive(Deserialize)]
struct Combined {
    statuses: Option<Vec<StatusWire>>,
}

#[derive(Deserialize)]
struct StatusWire {
    status: String,
    context: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    target_url: String,
}

#[derive(Deserialize)]
struct PullWire {
    number: u64,
    html_url: String,
    state: String,
    #[serde(default)]
    merged: bool,
}

#[derive(Deserialize)]
struct CommentWire {
    id: u64,
    body: String,
}

impl From<PullWire> for Pull {
    fn from(wire: PullWire) -> Self {
        let state = match wire.state.as_str() {
            _ if wire.merged => PullRequestState::Merged,
            "open" => PullRequestState::Open,
            _ => PullRequestState::Closed,
        };
        Self {
            number: wire.number,
            url: wire.html_url,
            state,
        }
    }
}

impl Gitea<'_> {
    fn path<'p>(&'p self, rest: &[&'p str]) -> Vec<&'p str> {
        let parts = self.0.repository_parts();
        [&["repos"], &*parts, rest].concat()
    }
}

impl Software for Gitea<'_> {
    fn word(state: StatusState) -> &'static str {
        match state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Error => "error",
            StatusState::Cancelled => "warning",
        }
    }

    async fn status(&self, commit: &Oid, context: &str) -> Result<Option<Status>, RemoteError> {
        let path = self.path(&["commits", commit.as_str(), "status"]);
        for page in 1..=MAX_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let query = [("page", &*page), ("limit", &*limit)];
            let combined: Combined = self.0.ask(Ask::get(&path, &query, REPOSITORY)).await?;
            let statuses = combined.statuses.unwrap_or_default();
            // a server may allow fewer on a page than were asked for
            let last = statuses.is_empty();
            if let Some(wire) = statuses.into_iter().find(|status| status.context == context) {
                return Ok(Some(Status {
                    state: wire.status,
                    description: wire.description,
                    target_url: wire.target_url,
                }));
            }
            if last {
                break;
            }
        }
        Ok(None)
    }

    async fn set_status(&self, commit: &Oid, context: &str, status: &Status) -> Result<(), RemoteError> {
        let path = self.path(&["statuses", commit.as_str()]);
        let body = json!({
            "context": context,
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
        });
        let _: Value = self
            .0
            .ask(Ask::send(Method::POST, &path, body, REPOSITORY))
            .await?;
        Ok(())
    }

    async fn pull_between(&self, head: &str, base: &str) -> Result<Option<Pull>, RemoteError> {
        let mut path = self.path(&["pulls", base]);
        path.extend(head.split('/'));
        let pull = self.0.ask::<PullWire>(Ask::get(&path, &[], REPOSITORY)).await;
        Ok(found(pull)?.map(Pull::from))
    }

    async fn open_pull(&self, proposal: &Proposal) -> Result<Pull, RemoteError> {
        let path = self.path(&["pulls"]);
        let body = json!({
            "head": proposal.head,
            "base": proposal.base,
            "title": proposal.title,
            "body": proposal.body,
        });
        let pull: PullWire = self
            .0
            .ask(Ask::send(Method::POST, &path, body, REPOSITORY))
            .await?;
        Ok(pull.into())
    }

    /// Gitea knows the merged one only.
    async fn pulls_with(&self, commit: &Oid) -> Result<Vec<u64>, RemoteError> {
        let path = self.path(&["commits", commit.as_str(), "pull"]);
        let pull = self.0.ask::<PullWire>(Ask::get(&path, &[], REPOSITORY)).await;
        Ok(found(pull)?.map(|pull| pull.number).into_iter().collect())
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, RemoteError> {
        let number = number.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let comments: Vec<CommentWire> = self.0.ask(Ask::get(&path, &[], ISSUE)).await?;
        let comments = comments.into_iter().map(|wire| Comment {
            id: wire.id,
            body: wire.body,
        });
        Ok(comments.collect())
    }

    async fn add_comment(&self, number: u64, body: &str) -> Result<(), RemoteError> {
        let number = number.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::POST, &path, json!({"body": body}), ISSUE))
            .await?;
        Ok(())
    }

    async fn edit_comment(&self, _number: u64, comment: u64, body: &str) -> Result<(), RemoteError> {
        let comment = comment.to_string();
        let path = self.path(&["issues", "comments", &comment]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::PATCH, &path, json!({"body": body}), ISSUE))
            .await?;
        Ok(())
    }
}
