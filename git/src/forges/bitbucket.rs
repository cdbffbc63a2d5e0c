//! bitbucket.org. Token rights: `repository:write` and `pullrequest:write`.

use std::fmt::Write as _;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tidegate_gitsync::remote::{PullRequestState, RemoteError, StatusState};
use tidegate_gitsync::tree::Oid;

use super::http::{Api, Ask, MAX_PAGES, PAGE, found};
use super::{Comment, Proposal, Pull, Software, Status};

const REPOSITORY: &str = "repository:write";
const PULLS: &str = "pullrequest:write";
/// Longest key of a status.
const MAX_KEY: usize = 40;

pub(super) struct Bitbucket<'a>(pub(super) Api<'a>);

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default = "Vec::new")]
    values: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct StatusWire {
    state: String,
    description: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct PullWire {
    id: u64,
    state: Option<String>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
struct CommentWire {
    id: u64,
    #[serde(default)]
    content: Content,
    #[serde(default)]
    deleted: bool,
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(default)]
    raw: String,
}

impl From<PullWire> for Pull {
    fn from(wire: PullWire) -> Self {
        let state = match wire.state.as_deref() {
            Some("MERGED") => PullRequestState::Merged,
            Some("DECLINED" | "SUPERSEDED") => PullRequestState::Closed,
            _ => PullRequestState::Open,
        };
        let page = wire.links.and_then(|links| links.html);
        Self {
            number: wire.id,
            url: page.map(|page| page.href).unwrap_or_default(),
            state,
        }
    }
}

impl Bitbucket<'_> {
    fn path<'p>(&'p self, rest: &[&'p str]) -> Vec<&'p str> {
        let parts = self.0.repository_parts();
        [&["repositories"], &*parts, rest].concat()
    }

    /// A status must have a page; without one of ours it is that of the commit.
    fn page(&self, commit: &Oid, given: &str) -> String {
        if given.is_empty() {
            format!("https://bitbucket.org/{}/commits/{commit}", self.0.repository)
        } else {
            given.to_owned()
        }
    }
}

/// The context with dots for slashes, which paths do not take; its digest if it is too long for a key.
fn key(context: &str) -> String {
    if context.len() <= MAX_KEY {
        return context.replace('/', ".");
    }
    let digest = Sha256::digest(context);
    digest
        .iter()
        .take(MAX_KEY / 2)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A text in the query language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Software for Bitbucket<'_> {
    fn word(state: StatusState) -> &'static str {
        match state {
            StatusState::Pending => "INPROGRESS",
            StatusState::Success => "SUCCESSFUL",
            StatusState::Failure | StatusState::Error => "FAILED",
            StatusState::Cancelled => "STOPPED",
        }
    }

    async fn status(&self, commit: &Oid, context: &str) -> Result<Option<Status>, RemoteError> {
        let key = key(context);
        let path = self.path(&["commit", commit.as_str(), "statuses", "build", &key]);
        let status = self.0.ask::<StatusWire>(Ask::get(&path, &[], REPOSITORY)).await;
        Ok(found(status)?.map(|wire| {
            let url = wire.url.unwrap_or_default();
            let own = url == self.page(commit, "");
            Status {
                state: wire.state,
                description: wire.description.unwrap_or_default(),
                target_url: if own { String::new() } else { url },
            }
        }))
    }

    /// The one of the same key is replaced.
    async fn set_status(&self, commit: &Oid, context: &str, status: &Status) -> Result<(), RemoteError> {
        let path = self.path(&["commit", commit.as_str(), "statuses", "build"]);
        let body = json!({
            "key": key(context),
            "name": context,
            "state": status.state,
            "description": status.description,
            "url": self.page(commit, &status.target_url),
        });
        let _: Value = self
            .0
            .ask(Ask::send(Method::POST, &path, body, REPOSITORY))
            .await?;
        Ok(())
    }

    async fn pull_between(&self, head: &str, base: &str) -> Result<Option<Pull>, RemoteError> {
        let path = self.path(&["pullrequests"]);
        let condition = format!(
            "source.branch.name={} AND destination.branch.name={}",
            quoted(head),
            quoted(base)
        );
        let query = [
            ("q", &*condition),
            ("state", "OPEN"),
            ("state", "MERGED"),
            ("state", "DECLINED"),
            ("state", "SUPERSEDED"),
            ("sort", "-created_on"),
            ("pagelen", "1"),
        ];
        let pulls: Page<PullWire> = self.0.ask(Ask::get(&path, &query, PULLS)).await?;
        Ok(pulls.values.into_iter().next().map(Pull::from))
    }

    async fn open_pull(&self, proposal: &Proposal) -> Result<Pull, RemoteError> {
        let path = self.path(&["pullrequests"]);
        let body = json!({
            "title": proposal.title,
            "description": proposal.body,
            "source": {"branch": {"name": proposal.head}},
            "destination": {"branch": {"name": proposal.base}},
        });
        let pull: PullWire = self.0.ask(Ask::send(Method::POST, &path, body, PULLS)).await?;
        Ok(pull.into())
    }

    async fn pulls_with(&self, commit: &Oid) -> Result<Vec<u64>, RemoteError> {
        let path = self.path(&["commit", commit.as_str(), "pullrequests"]);
        let pulls = self.0.ask::<Page<PullWire>>(Ask::get(&path, &[], PULLS)).await;
        let pulls = found(pulls)?.map(|page| page.values).unwrap_or_default();
        Ok(pulls
            .into_iter()
            .map(Pull::from)
            .filter(|pull| pull.state != PullRequestState::Closed)
            .map(|pull| pull.number)
            .collect())
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, RemoteError> {
        let number = number.to_string();
        let path = self.path(&["pullrequests", &number, "comments"]);
        let mut comments = Vec::new();
        for page in 1..=MAX_PAGES {
            let (page, limit) = (page.to_string(), PAGE.to_string());
            let query = [("page", &*page), ("pagelen", &*limit)];
            let some: Page<CommentWire> = self.0.ask(Ask::get(&path, &query, PULLS)).await?;
            let kept = some.values.into_iter().filter(|wire| !wire.deleted);
            comments.extend(kept.map(|wire| Comment {
                id: wire.id,
                body: wire.content.raw,
            }));
            if some.next.is_none() {
                break;
            }
        }
        Ok(comments)
    }

    async fn add_comment(&self, number: u64, body: &str) -> Result<(), RemoteError> {
        let number = number.to_string();
        let path = self.path(&["pullrequests", &number, "comments"]);
        let body = json!({"content": {"raw": body}});
        let _: Value = self.0.ask(Ask::send(Method::POST, &path, body, PULLS)).await?;
        Ok(())
    }

    async fn edit_comment(&self, number: u64, comment: u64, body: &str) -> Result<(), RemoteError> {
        let (number, comment) = (number.to_string(), comment.to_string());
        let path = self.path(&["pullrequests", &number, "comments", &comment]);
        let body = json!({"content": {"raw": body}});
        let _: Value = self.0.ask(Ask::send(Method::PUT, &path, body, PULLS)).await?;
        Ok(())
    }
}
