//! One repository of the forge: what people do with it, and what they see there.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{DEVELOPER, api::Api, new_key};
use crate::{eventually, text};

/// Most items of a list.
pub(super) const MOST: usize = 1000;
/// The forge finds out in the background whether a pull request can be merged.
const MERGE_LIMIT: Duration = Duration::from_secs(20);
const BRANCH: &str = "main";

/// A repository. Everything is done as the developer who owns it.
#[derive(Clone)]
pub struct Repository {
    pub(super) url: String,
    pub(super) ssh_url: String,
    pub(super) full_name: String,
    pub(super) actor: Api,
    pub(super) robot: Api,
}

/// What a commit does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// This path gets this content.
    Write(&'a str, &'a str),
    /// This path goes.
    Delete(&'a str),
}

/// A status of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is about.
    pub context: String,
    /// `pending`, `success`, `failure`, `error` or `warning`.
    #[serde(rename(deserialize = "status"))]
    pub state: String,
    /// One line.
    pub description: String,
    /// Link for more, or empty.
    pub target_url: String,
}

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Title.
    pub title: String,
    /// Text.
    pub body: String,
    /// `open` or `closed`; a merged one is closed.
    pub state: String,
    /// Whether it is in the branch that it is for.
    pub merged: bool,
    /// The branch with the change.
    pub head: PullRequestBranch,
    /// The branch that it is for.
    pub base: PullRequestBranch,
}

/// A branch of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PullRequestBranch {
    /// Its name.
    #[serde(rename = "ref")]
    pub name: String,
    /// The commit that it is at.
    #[serde(rename = "sha")]
    pub commit: String,
}

/// A comment on a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its number.
    pub id: u64,
    /// Who wrote it.
    pub user: String,
    /// Text.
    pub body: String,
}

/// A commit of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its id.
    pub commit: String,
    /// Its message.
    pub message: String,
    /// Name of its author.
    pub author: String,
}

impl Repository {
    /// `OWNER/NAME`.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Its address for git over HTTP, without a password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its address for git over SSH.
    pub fn ssh_url(&self) -> &str {
        &self.ssh_url
    }

    /// The same repository, with everything done as the controller's user.
    #[must_use]
    pub fn as_robot(&self) -> Self {
        Self {
            actor: self.robot.clone(),
            ..self.clone()
        }
    }

    /// Only its owner and the robot may read it from now on.
    pub async fn make_private(&self) -> Result<()> {
        self.actor
            .patch(&self.path(""), &json!({"private": true}))
            .await?;
        Ok(())
    }

    /// One commit on `main` that writes these files: path and content. Returns its id.
    pub async fn push(&self, message: &str, files: &[(impl AsRef<str>, impl AsRef<str>)]) -> Result<String> {
        let changes: Vec<_> = files
            .iter()
            .map(|(path, content)| Change::Write(path.as_ref(), content.as_ref()))
            .collect();
        self.push_to(BRANCH, message, &changes).await
    }

    /// One commit on a branch, which begins at `main` if it is not there yet. Returns its id.
    pub async fn push_to(&self, branch: &str, message: &str, changes: &[Change<'_>]) -> Result<String> {
        let files = changes
            .iter()
            .map(|change| match *change {
                Change::Write(path, content) => {
                    let content = ByteString(content.as_bytes().to_vec());
                    json!({"operation": "upload", "path": path, "content": content})
                }
                Change::Delete(path) => json!({"operation": "delete", "path": path}),
            })
            .collect::<Vec<_>>();
        let mut commit = json!({"message": message, "branch": branch, "files": files});
        if branch != BRANCH && self.find_head(branch).await?.is_none() {
            commit["branch"] = json!(BRANCH);
            commit["new_branch"] = json!(branch);
        }
        let made = self.actor.post(&self.path("/contents"), &commit).await?;
        let id = made.pointer("/commit/sha").and_then(Value::as_str);
        Ok(id.context("the forge names no commit")?.to_owned())
    }

    /// Sets a branch to another commit, which need not come after the one that it is at.
    pub async fn reset(&self, branch: &str, commit: &str) -> Result<()> {
        let wanted = json!({"new_commit_id": commit, "force": true});
        self.actor
            .put(&self.path(&format!("/branches/{branch}")), &wanted)
            .await?;
        Ok(())
    }

    /// Names of its branches.
    pub async fn branches(&self) -> Result<Vec<String>> {
        let path = self.path(&format!("/branches?limit={MOST}"));
        let branches: Vec<Value> = self.actor.read(&path).await?;
        Ok(branches
            .iter()
            .map(|branch| text(branch, "/name").to_owned())
            .collect())
    }

    /// The commit that a branch is at.
    pub async fn head(&self, branch: &str) -> Result<String> {
        let head = self.find_head(branch).await?;
        head.with_context(|| format!("there is no branch {branch}"))
    }

    async fn find_head(&self, branch: &str) -> Result<Option<String>> {
        let found = self
            .actor
            .find(&self.path(&format!("/branches/{branch}")))
            .await?;
        let Some(found) = found else { return Ok(None) };
        let branch: Value = serde_json::from_str(&found)?;
        Ok(Some(text(&branch, "/commit/id").to_owned()))
    }

    /// The content of a file in a branch; `None` if it is not there.
    pub async fn file(&self, branch: &str, path: &str) -> Result<Option<String>> {
        self.actor
            .find(&self.path(&format!("/raw/{path}?ref={branch}")))
            .await
    }

    /// The commits of a branch, newest first.
    pub async fn log(&self, branch: &str) -> Result<Vec<Logged>> {
        let options = "stat=false&verification=false&files=false";
        let path = self.path(&format!("/commits?sha={branch}&{options}&limit={MOST}"));
        let commits: Vec<Value> = self.actor.read(&path).await?;
        let logged = |commit: &Value| Logged {
            commit: text(commit, "/sha").to_owned(),
            message: text(commit, "/commit/message").to_owned(),
            author: text(commit, "/commit/author/name").to_owned(),
        };
        Ok(commits.iter().map(logged).collect())
    }

    /// All statuses that a commit ever got, oldest first.
    pub async fn statuses(&self, commit: &str) -> Result<Vec<Status>> {
        let path = format!("/commits/{commit}/statuses?sort=oldest&limit={MOST}");
        self.actor.read(&self.path(&path)).await
    }

    /// Gives a commit a status.
    pub async fn set_status(&self, commit: &str, status: &Status) -> Result<()> {
        let path = self.path(&format!("/statuses/{commit}"));
        self.actor.post(&path, &serde_json::to_value(status)?).await?;
        Ok(())
    }

    /// Opens a pull request from a branch to `main`. Returns its number.
    pub async fn open_pull_request(&self, head: &str, title: &str) -> Result<u64> {
        let wanted = json!({"head": head, "base": BRANCH, "title": title});
        let made = self.actor.post(&self.path("/pulls"), &wanted).await?;
        let number = made.get("number").and_then(Value::as_u64);
        number.context("the forge names no pull request")
    }

    /// All pull requests in whatever state, oldest first.
    pub async fn pull_requests(&self) -> Result<Vec<PullRequest>> {
        let path = self.path(&format!("/pulls?state=all&limit={MOST}"));
        let mut all: Vec<PullRequest> = self.actor.read(&path).await?;
        all.sort_by_key(|request| request.number);
        Ok(all)
    }

    /// Merges a pull request by a merge commit.
    pub async fn merge(&self, number: u64) -> Result<()> {
        let path = self.path(&format!("/pulls/{number}/merge"));
        let what = format!("the merge of pull request {number}");
        eventually(&what, MERGE_LIMIT, async || {
            self.actor.post(&path, &json!({"Do": "merge"})).await.map(Some)
        })
        .await?;
        Ok(())
    }

    /// Closes a pull request without merging it.
    pub async fn close(&self, number: u64) -> Result<()> {
        let path = self.path(&format!("/pulls/{number}"));
        self.actor.patch(&path, &json!({"state": "closed"})).await?;
        Ok(())
    }

    /// Writes a comment on a pull request.
    pub async fn comment(&self, number: u64, body: &str) -> Result<()> {
        let path = self.path(&format!("/issues/{number}/comments"));
        self.actor.post(&path, &json!({"body": body})).await?;
        Ok(())
    }

    /// The comments on a pull request, oldest first.
    pub async fn comments(&self, number: u64) -> Result<Vec<Comment>> {
        let path = self.path(&format!("/issues/{number}/comments"));
        let comments: Vec<Value> = self.actor.read(&path).await?;
        let comment = |comment: &Value| Comment {
            id: comment.get("id").and_then(Value::as_u64).unwrap_or_default(),
            user: text(comment, "/user/login").to_owned(),
            body: text(comment, "/body").to_owned(),
        };
        Ok(comments.iter().map(comment).collect())
    }

    /// Tells an address of every push from now on, signed with a secret.
    pub async fn add_webhook(&self, url: &str, secret: &str) -> Result<()> {
        let config = json!({"url": url, "content_type": "json", "secret": secret});
        let hook = json!({"type": "gitea", "active": true, "events": ["push"], "config": config});
        self.actor.post(&self.path("/hooks"), &hook).await?;
        Ok(())
    }

    /// Nobody but the developer may push to a branch any more: others have to open pull requests.
    pub async fn protect(&self, branch: &str) -> Result<()> {
        let rule = json!({
            "rule_name": branch,
            "enable_push": true,
            "enable_push_whitelist": true,
            "push_whitelist_usernames": [DEVELOPER],
            "enable_merge_whitelist": true,
            "merge_whitelist_usernames": [DEVELOPER],
        });
        self.actor.post(&self.path("/branch_protections"), &rule).await?;
        Ok(())
    }

    /// Allows a new key to read the repository over SSH, or to write it as well. Returns the private key.
    pub async fn add_deploy_key(&self, title: &str, may_write: bool) -> Result<String> {
        let folder = tempfile::tempdir()?;
        new_key(&folder, "key").await?;
        let public = fs::read_to_string(folder.path().join("key.pub"))?;
        let wanted = json!({"title": title, "key": public, "read_only": !may_write});
        self.actor.post(&self.path("/keys"), &wanted).await?;
        Ok(fs::read_to_string(folder.path().join("key"))?)
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.full_name)
    }
}
