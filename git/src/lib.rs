//! The one process side of [`tidegate_gitsync::remote`]: repositories by a `git` child process, forges and chats
//! by HTTP.
//!
//! Nothing is ever checked out: objects are read from bare, shallow repositories, so that no hook, filter or
//! link of a repository can act here.

mod address;
mod chats;
mod child;
mod forges;
mod helm;
mod repository;
mod signature;
mod trouble;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_gitsync::render::Limits;

pub use self::address::Protocol;
pub use self::chats::Chats;
pub use self::forges::Forges;
pub use self::helm::Helm;
pub use self::repository::Git;

/// Settings of [`Git`].
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder of our own for repositories: what an earlier process left in it is removed. One process at a
    /// time. Absolute, of letters, digits and `/._-`.
    pub cache: PathBuf,
    /// Protocols that repositories may be reached by.
    pub protocols: BTreeSet<Protocol>,
    /// Longest time of one exchange with a server.
    pub timeout: Duration,
    /// Most bytes that a repository may take on disk.
    pub max_repository_bytes: u64,
    /// Most bytes of all repositories: above it, those that were unused for the longest time go.
    pub max_cache_bytes: u64,
    /// What a commit may cost to render.
    pub limits: Limits,
    /// The program that renders Helm charts; `None`: they are refused.
    pub helm: Option<PathBuf>,
}

impl Options {
    /// HTTPS and SSH, 2 minutes, 512 MiB for each repository and 1 GiB for all.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            protocols: BTreeSet::from([Protocol::Https, Protocol::Ssh]),
            timeout: Duration::from_mins(2),
            max_repository_bytes: 512 << 20,
            max_cache_bytes: 1 << 30,
            limits: Limits::default(),
            helm: None,
        }
    }
}

/// Why repositories or forges cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No `git`.
    #[error("git cannot be run: {0}; install git 2.31 or newer on the PATH")]
    NoGit(String),
    /// No `helm`.
    #[error("helm {} cannot be used: {message}", path.display())]
    NoHelm {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The cache folder.
    #[error("cache folder {}: {message}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The binary has to install the TLS library's cryptography first.
    #[error("no cryptography for TLS: install rustls' default provider before asking forges")]
    NoCryptography,
    /// The HTTP client.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}
