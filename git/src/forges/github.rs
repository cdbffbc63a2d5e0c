//! github.com and GitHub Enterprise. Token rights: commit statuses, pull requests: read and write.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_gitsync::remote::{PullRequestState, RemoteError, StatusState};
use tidegate_gitsync::tree::Oid;

use super::http::{Api, Ask, MAX_PAGES, PAGE, found};
use super::{Comment, Proposal, Pull, Software, Status};

const STATUSES: &str = "Commit statuses: read and write (classic: repo:status)";
const PULLS: &str = "Pull requests: read and write (classic: repo)";

pub(super) struct GitHub<'a>(pub(super) Api<'a>);

#[derive(Deserialize)]
struct Combined {
    statuses: Vec<StatusWire>,
}

#[derive(Deserialize)]
struct StatusWire {
    state: String,
    context: String,
    description: Option<String>,
    target_url: Option<String>,
}

#[derive(Deserialize)]
struct PullWire {
    number: u64,
    html_url: String,
    state: String,
    merged_at: Option<String>,
}

#[derive(Deserialize)]
struct CommentWire {
    id: u64,
    body: Option<String>,
}

impl From<PullWire> for Pull {
    fn from(wire: PullWire) -> Self {
        let state = match wire.state.as_str() {
            _ if wire.merged_at.is_some() => PullRequestState::Merged,
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

impl GitHub<'_> {
    fn path<'p>(&'p self, rest: &[&'p str]) -> Vec<&'p str> {
        let parts = self.0.repository_parts();
        [&["repos"], &*parts, rest].concat()
    }
}

impl Software for GitHub<'_> {
    fn word(state: StatusState) -> &'static str {
        match state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure => "failure",
            StatusState::Error | StatusState::Cancelled => "error",
        }
    }

    async fn status(&self, commit: &Oid, context: &str) -> Result<Option<Status>, RemoteError> {
        let path = self.path(&["commits", commit.as_str(), "status"]);
        for page in 1..=MAX_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let query = [("page", &*page), ("per_page", &*limit)];
            let combined: Combined = self.0.ask(Ask::get(&path, &query, STATUSES)).await?;
            let last = combined.statuses.len() < PAGE;
            let mut statuses = combined.statuses.into_iter();
            if let Some(wire) = statuses.find(|status| status.context == context) {
                return Ok(Some(Status {
                    state: wire.state,
                    description: wire.description.unwrap_or_default(),
                    target_url: wire.target_url.unwrap_or_default(),
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
        let mut body = json!({
            "context": context,
            "state": status.state,
            "description": status.description,
        });
        if !status.target_url.is_empty() {
            body["target_url"] = json!(status.target_url);
        }
        let _: Value = self.0.ask(Ask::send(Method::POST, &path, body, STATUSES)).await?;
        Ok(())
    }

    async fn pull_between(&self, head: &str, base: &str) -> Result<Option<Pull>, RemoteError> {
        let owner = self.0.repository_parts().first().copied().unwrap_or_default();
        let head = format!("{owner}:{head}");
        let path = self.path(&["pulls"]);
        let query = [
            ("head", &*head),
            ("base", base),
            ("state", "all"),
            ("sort", "created"),
            ("direction", "desc"),
            ("per_page", "1"),
        ];
        let pulls: Vec<PullWire> = self.0.ask(Ask::get(&path, &query, PULLS)).await?;
        Ok(pulls.into_iter().next().map(Pull::from))
    }

    async fn open_pull(&self, proposal: &Proposal) -> Result<Pull, RemoteError> {
        let path = self.path(&["pulls"]);
        let body = json!({
            "head": proposal.head,
            "base": proposal.base,
            "title": proposal.title,
            "body": proposal.body,
        });
        let pull: PullWire = self.0.ask(Ask::send(Method::POST, &path, body, PULLS)).await?;
        Ok(pull.into())
    }

    async fn pulls_with(&self, commit: &Oid) -> Result<Vec<u64>, RemoteError> {
        let path = self.path(&["commits", commit.as_str(), "pulls"]);
        let pulls = self.0.ask::<Vec<PullWire>>(Ask::get(&path, &[], PULLS)).await;
        let pulls = found(pulls)?.unwrap_or_default().into_iter().map(Pull::from);
        Ok(pulls
            .filter(|pull| pull.state != PullRequestState::Closed)
            .map(|pull| pull.number)
            .collect())
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, RemoteError> {
        let number = number.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let mut comments = Vec::new();
        for page in 1..=MAX_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let query = [("page", &*page), ("per_page", &*limit)];
            let some: Vec<CommentWire> = self.0.ask(Ask::get(&path, &query, PULLS)).await?;
            let last = some.len() < PAGE;
            comments.extend(some.into_iter().map(|wire| Comment {
                id: wire.id,
                body: wire.body.unwrap_or_default(),
            }));
            if last {
                break;
            }
        }
        Ok(comments)
    }

    async fn add_comment(&self, number: u64, body: &str) -> Result<(), RemoteError> {
        let number = number.to_string();
        let path = self.path(&["issues", &number, "comments"]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::POST, &path, json!({"body": body}), PULLS))
            .await?;
        Ok(())
    }

    async fn edit_comment(&self, _number: u64, comment: u64, body: &str) -> Result<(), RemoteError> {
        let comment = comment.to_string();
        let path = self.path(&["issues", "comments", &comment]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::PATCH, &path, json!({"body": body}), PULLS))
            .await?;
        Ok(())
    }
}
