//! What is asked of repositories and forges, as data: a process answers it with `git` and HTTP, the simulator from memory.

use std::fmt;

use jiff::Timestamp;

use crate::render::helm::Release;
use crate::render::{RenderError, Rendered};
use crate::tree::{Closure, Oid};

/// What proves to a repository or a forge who asks. Never printed.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Credentials {
    /// Nothing: a public repository.
    #[default]
    None,
    /// User name and password or token, for HTTPS.
    Basic {
        /// User name; empty for a token alone.
        username: String,
        /// Password or token.
        password: String,
    },
    /// A private key, for SSH.
    Ssh {
        /// The key, in OpenSSH's or PEM form, without a passphrase.
        key: String,
        /// Lines of a `known_hosts` file: only these hosts are talked to.
        known_hosts: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Ssh { .. } => "Ssh",
        })
    }
}

/// A repository somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    /// `https://HOST/PATH`, `ssh://USER@HOST/PATH` or `USER@HOST:PATH`. Holds no password.
    pub url: String,
    /// Who we are there.
    pub credentials: Credentials,
}

/// A question to a repository, or an order.
#[derive(Clone, Debug, PartialEq)]
pub enum GitRequest {
    /// What refs point to; tags are peeled. Answered by [`GitAnswer::Heads`].
    Heads {
        /// The repository.
        remote: Remote,
        /// Full names: `refs/heads/main`, `refs/tags/v1`.
        refs: Vec<String>,
    },
    /// Fetches a commit if it is not here yet and renders a folder of it. Answered by [`GitAnswer::Rendered`], or
    /// by [`GitAnswer::Unchanged`] if `known` holds.
    Render {
        /// The repository.
        remote: Remote,
        /// The commit.
        commit: Oid,
        /// The folder, from the root.
        path: String,
        /// As what it is rendered if it is a Helm chart.
        release: Release,
        /// What an earlier commit was rendered from.
        known: Option<Closure>,
        /// Whose signature the commit has to have; `None`: none.
        signers: Option<Box<Signers>>,
    },
    /// Makes a ref of our own point to a commit that is there, wherever it pointed before. Answered by [`GitAnswer::Pointed`].
    Point {
        /// The repository, with credentials that may write.
        remote: Remote,
        /// The ref, in full, below `refs/tidegate/`.
        reference: String,
        /// The commit.
        commit: Oid,
    },
    /// Puts a folder back to what it was in an earlier commit and pushes that. Answered by [`GitAnswer::Restored`],
    /// [`GitAnswer::Moved`] or [`GitAnswer::NotTheSame`].
    Restore(Box<Restore>),
}

impl GitRequest {
    /// Whether it may change the repository: then only who leads may ask.
    pub fn writes(&self) -> bool {
        match self {
            Self::Heads { .. } | Self::Render { .. } => false,
            Self::Point { .. } | Self::Restore(_) => true,
        }
    }
}

/// Whose signatures of commits count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// Lines of an `allowed_signers` file of OpenSSH.
    pub ssh: String,
    /// Armored public PGP keys.
    pub pgp: Vec<String>,
}

/// Puts a folder back to what it was in an earlier commit: one new commit on top of `tip`, equal to it but for the folder. The same
/// order always makes the same commit, so that giving it twice pushes once.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// The repository, with credentials that may write.
    pub remote: Remote,
    /// The branch that is built upon, in full.
    pub base: String,
    /// The commit that the branch must be at.
    pub tip: Oid,
    /// The folder, from the root.
    pub path: String,
    /// As what it is rendered if it is a Helm chart.
    pub release: Release,
    /// The commit whose folder is taken.
    pub good: Oid,
    /// Files outside of the folder that are taken from it as well; those that it does not have are taken away.
    pub outside: Vec<String>,
    /// What the folder must render to before anything is pushed.
    pub digest: String,
    /// The ref that is pushed to, in full: the branch itself, or one of our own. If one of our own is there already, it stays
    /// as it is, and is the answer.
    pub push_to: String,
    /// Message of the commit.
    pub message: String,
    /// Name and mail address of author and committer.
    pub author: (String, String),
    /// Time of the commit.
    pub time: Timestamp,
}

/// Who made a commit and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitInfo {
    /// First line of the message.
    pub subject: String,
    /// Name of the author.
    pub author: String,
    /// Trailers of the message: `Key: value` lines at its end.
    pub trailers: Vec<(String, String)>,
    /// When it was committed.
    pub time: Timestamp,
    /// Why its signature is not good, if one was asked for and is not.
    pub unsigned: Option<String>,
}

/// The answer to a [`GitRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum GitAnswer {
    /// What each ref points to; those that are not there are left out.
    Heads(Vec<(String, Oid)>),
    /// What the folder renders to, or why it does not.
    Rendered(Box<(CommitInfo, Result<Rendered, RenderError>)>),
    /// The commit has the same files as the one that is known.
    Unchanged,
    /// The ref points to the commit.
    Pointed,
    /// The commit that the folder was put back by; it is on the remote.
    Restored(Oid),
    /// The branch is not at the expected commit any more, or the ref to push to is at something else.
    Moved,
    /// The folder did not render to the expected digest, so nothing was pushed: the files outside of it that would have to go back
    /// as well, besides those that were in the order. Empty if that would not help.
    NotTheSame(Vec<String>),
}

/// Why a repository or forge could not do what was asked. Texts never hold credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It does not accept who we are, or does not let us do it.
    #[error("{0}")]
    Denied(String),
    /// There is no such repository, ref or commit.
    #[error("{0}")]
    NotFound(String),
    /// What is asked for is refused by our own rules: a protocol that is not allowed, a limit.
    #[error("{0}")]
    Refused(String),
    /// It could not be reached, or did not answer as it should: worth another try.
    #[error("{0}")]
    Unavailable(String),
}

/// The software of a forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForgeKind {
    /// github.com and GitHub Enterprise.
    GitHub,
    /// gitlab.com and GitLab at home.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// bitbucket.org.
    Bitbucket,
}

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forge {
    /// Its software.
    pub kind: ForgeKind,
    /// Address of its API, without a slash at the end: `https://git.example.com/api/v1`.
    pub api: String,
    /// `OWNER/NAME`; on GitLab there may be more groups.
    pub repository: String,
    /// A token; with a user name, basic authentication.
    pub credentials: Credentials,
}

/// How a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    /// Not decided.
    Pending,
    /// Verified.
    Success,
    /// Rejected.
    Failure,
    /// No verdict could be reached.
    Error,
    /// Replaced by a newer commit, or stopped by a person.
    Cancelled,
}

/// A message to a forge. Each may be sent again: what is there already is not made twice.
#[derive(Clone, Debug, PartialEq)]
pub enum ForgeRequest {
    /// Says how a commit does. Nothing is sent if the newest status of that context says the same.
    Status {
        /// The commit.
        commit: Oid,
        /// Name of the check: `tidegate/NAMESPACE/NAME`.
        context: String,
        /// How it does.
        state: StatusState,
        /// One line, at most 140 characters.
        description: String,
        /// Link for more, or empty.
        target_url: String,
    },
    /// Opens a pull request, unless there is one from that branch in whatever state.
    PullRequest {
        /// The branch that holds the change, without `refs/heads/`.
        head: String,
        /// The branch that it is for.
        base: String,
        /// Title.
        title: String,
        /// Text, in Markdown.
        body: String,
    },
    /// The one comment with a marker on each open or merged pull request that brought a commit: made, or edited when its text
    /// differs.
    Comment {
        /// The commit.
        commit: Oid,
        /// Words that stand in the comment as an HTML comment, to find it again.
        marker: String,
        /// Text, in Markdown.
        body: String,
    },
}

/// The answer to a [`ForgeRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForgeAnswer {
    /// It is so now.
    Done,
    /// The pull request.
    PullRequest {
        /// Its number.
        number: u64,
        /// Its page.
        url: String,
        /// Whether it is merged, or closed without.
        state: PullRequestState,
    },
}

/// What became of a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullRequestState {
    /// It waits.
    Open,
    /// It is in the branch.
    Merged,
    /// Somebody does not want it.
    Closed,
}
