//! gitlab.com and GitLab at home. Token right: `api`, with the role Developer.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_gitsync::remote::{PullRequestState, RemoteError, StatusState};
use tidegate_gitsync::tree::Oid;

use super::http::{Api, Ask, MAX_PAGES, PAGE, found};
use super::{Comment, Proposal, Pull, Software, Status};

const RIGHT: &str = "api, with the role Developer";

pub(super) struct GitLab<'a>(pub(super) Api<'a>);

#[derive(Deserialize)]
struct StatusWire {
    status: String,
    name: String,
    description: Option<String>,
    target_url: Option<String>,
}

#[derive(Deserialize)]
struct PullWire {
    iid: u64,
    web_url: String,
    state: String,
}

#[derive(Deserialize)]
struct NoteWire {
    id: u64,
    body: String,
}

impl From<PullWire> for Pull {
    fn from(wire: PullWire) -> Self {
        let state = match wire.state.as_str() {
            "merged" => PullRequestState::Merged,
            "closed" => PullRequestState::Closed,
            _ => PullRequestState::Open,
        };
        Self {
            number: wire.iid,
            url: wire.web_url,
            state,
        }
    }
}

impl GitLab<'_> {
    /// A project goes by its whole name as one part.
    fn path<'p>(&'p self, rest: &[&'p str]) -> Vec<&'p str> {
        [&["projects", self.0.repository], rest].concat()
    }
}

impl Software for GitLab<'_> {
    fn word(state: StatusState) -> &'static str {
        match state {
            StatusState::Pending => "pending",
            StatusState::Success => "success",
            StatusState::Failure | StatusState::Error => "failed",
            StatusState::Cancelled => "canceled",
        }
    }

    /// Without `all` it gives the newest of each name only.
    async fn status(&self, commit: &Oid, context: &str) -> Result<Option<Status>, RemoteError> {
        let path = self.path(&["repository", "commits", commit.as_str(), "statuses"]);
        let query = [("name", context), ("order_by", "id"), ("sort", "desc")];
        let statuses: Vec<StatusWire> = self.0.ask(Ask::get(&path, &query, RIGHT)).await?;
        let newest = statuses.into_iter().find(|status| status.name == context);
        Ok(newest.map(|wire| Status {
            state: wire.status,
            description: wire.description.unwrap_or_default(),
            target_url: wire.target_url.unwrap_or_default(),
        }))
    }

    async fn set_status(&self, commit: &Oid, context: &str, status: &Status) -> Result<(), RemoteError> {
        let path = self.path(&["statuses", commit.as_str()]);
        let mut body = json!({
            "name": context,
            "state": status.state,
            "description": status.description,
        });
        if !status.target_url.is_empty() {
            body["target_url"] = json!(status.target_url);
        }
        match self
            .0
            .ask::<Value>(Ask::send(Method::POST, &path, body, RIGHT))
            .await
        {
            // older ones refuse a state that it is in already: only the description would be new
            Err(RemoteError::Refused(text)) if text.contains("Cannot transition status") => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn pull_between(&self, head: &str, base: &str) -> Result<Option<Pull>, RemoteError> {
        let path = self.path(&["merge_requests"]);
        let query = [
            ("source_branch", head),
            ("target_branch", base),
            ("state", "all"),
            ("order_by", "created_at"),
            ("sort", "desc"),
            ("per_page", "1"),
        ];
        let pulls: Vec<PullWire> = self.0.ask(Ask::get(&path, &query, RIGHT)).await?;
        Ok(pulls.into_iter().next().map(Pull::from))
    }

    async fn open_pull(&self, proposal: &Proposal) -> Result<Pull, RemoteError> {
        let path = self.path(&["merge_requests"]);
        let body = json!({
            "source_branch": proposal.head,
            "target_branch": proposal.base,
            "title": proposal.title,
            "description": proposal.body,
        });
        let pull: PullWire = self.0.ask(Ask::send(Method::POST, &path, body, RIGHT)).await?;
        Ok(pull.into())
    }

    async fn pulls_with(&self, commit: &Oid) -> Result<Vec<u64>, RemoteError> {
        let path = self.path(&["repository", "commits", commit.as_str(), "merge_requests"]);
        let pulls = self.0.ask::<Vec<PullWire>>(Ask::get(&path, &[], RIGHT)).await;
        let pulls = found(pulls)?.unwrap_or_default().into_iter().map(Pull::from);
        Ok(pulls
            .filter(|pull| pull.state != PullRequestState::Closed)
            .map(|pull| pull.number)
            .collect())
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, RemoteError> {
        let number = number.to_string();
        let path = self.path(&["merge_requests", &number, "notes"]);
        let mut comments = Vec::new();
        for page in 1..=MAX_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let query = [("sort", "asc"), ("page", &*page), ("per_page", &*limit)];
            let some: Vec<NoteWire> = self.0.ask(Ask::get(&path, &query, RIGHT)).await?;
            let last = some.len() < PAGE;
            comments.extend(some.into_iter().map(|wire| Comment {
                id: wire.id,
                body: wire.body,
            }));
            if last {
                break;
            }
        }
        Ok(comments)
    }

    async fn add_comment(&self, number: u64, body: &str) -> Result<(), RemoteError> {
        let number = number.to_string();
        let path = self.path(&["merge_requests", &number, "notes"]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::POST, &path, json!({"body": body}), RIGHT))
            .await?;
        Ok(())
    }

    async fn edit_comment(&self, number: u64, comment: u64, body: &str) -> Result<(), RemoteError> {
        let (number, comment) = (number.to_string(), comment.to_string());
        let path = self.path(&["merge_requests", &number, "notes", &comment]);
        let _: Value = self
            .0
            .ask(Ask::send(Method::PUT, &path, json!({"body": body}), RIGHT))
            .await?;
        Ok(())
    }
}
