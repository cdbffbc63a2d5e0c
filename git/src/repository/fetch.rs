//! Getting commits here.

use tidegate_gitsync::remote::RemoteError;
use tidegate_gitsync::tree::Oid;

use super::listing::Listing;
use super::{Commit, KEPT_LISTINGS, Work, commit};
use crate::child::{Call, Stopped};
use crate::trouble;

/// How far back it is looked for a commit on a server that gives out branches only.
const BRANCH_DEPTH: &str = "--depth=50";
/// Most refs that are fetched to find a commit.
const MAX_BRANCHES: usize = 20;
/// Each fetch leaves a pack; with this many it is better to begin anew.
const MAX_FETCHES: usize = 300;
/// Commits that servers are told we have.
const KEPT_REFS: usize = 8;

impl Work<'_> {
    /// A commit's listing: from memory, or after fetching it.
    pub(super) async fn commit(&mut self, oid: &Oid) -> Result<Commit, RemoteError> {
        if let Some(commit) = self.remembered(oid) {
            return Ok(commit);
        }
        self.ensure(oid).await?;
        let commit = self.list(oid).await?;
        let commits = &mut self.repository.commits;
        commits.push_back((oid.clone(), commit.clone()));
        if commits.len() > KEPT_LISTINGS {
            commits.pop_front();
        }
        Ok(commit)
    }

    fn remembered(&self, oid: &Oid) -> Option<Commit> {
        let mut commits = self.repository.commits.iter();
        commits
            .find(|(known, _)| known == oid)
            .map(|(_, commit)| commit.clone())
    }

    /// Lists a commit that is here.
    pub(super) async fn list(&self, oid: &Oid) -> Result<Commit, RemoteError> {
        let log = [
            "log",
            "-1",
            "--no-color",
            "--no-notes",
            commit::FORMAT,
            oid.as_str(),
            "--",
        ];
        let log = self.local(&log, Call::default()).await?;
        let Some((root, info)) = commit::parse(&log) else {
            let doing = self.doing("read a commit of");
            return Err(RemoteError::Unavailable(format!(
                "{doing}: git log wrote no commit"
            )));
        };
        let tree = ["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", oid.as_str()];
        let tree = self.local(&tree, Call::default()).await?;
        let listing = tokio::task::spawn_blocking(move || Listing::parse(root, &tree)).await;
        let listing = listing.map_err(|error| RemoteError::Unavailable(error.to_string()))?;
        let listing = listing.map_err(|error| match error {
            RemoteError::Refused(text) => RemoteError::Refused(format!("{}: {text}", self.access.address)),
            other => other,
        })?;
        Ok(Commit {
            listing: listing.into(),
            info,
        })
    }

    /// Sees to it that a commit with all its files is here.
    pub(super) async fn ensure(&mut self, oid: &Oid) -> Result<(), RemoteError> {
        if self.repository.sound && self.has(oid).await {
            return Ok(());
        }
        let fresh = !self.repository.sound || self.repository.fetches >= MAX_FETCHES;
        if fresh {
            self.begin(oid).await?;
        }
        match self.fetch(oid).await {
            // what has gathered here, not this commit, may be what is too big
            Err(Trouble::TooBig(_)) if !fresh => {
                self.begin(oid).await?;
                self.fetch(oid).await
            }
            fetched => fetched,
        }
        .map_err(|trouble| match trouble {
            Trouble::TooBig(limit) => RemoteError::Refused(format!(
                "{}: one commit takes more than {limit} bytes, the limit for a repository",
                self.access.address
            )),
            Trouble::Other(error) => error,
        })
    }

    async fn has(&self, oid: &Oid) -> bool {
        let name = format!("{oid}^{{commit}}");
        self.local(&["cat-file", "-e", &name], Call::default())
            .await
            .is_ok()
    }

    /// Begins with an empty repository.
    async fn begin(&mut self, oid: &Oid) -> Result<(), RemoteError> {
        self.repository.sound = false;
        self.repository.fetches = 0;
        // listings and readers would outlive what they list and read
        self.repository.commits.clear();
        self.repository.reader = None;
        let folder = self.repository.folder.clone();
        let failed = |error: std::io::Error| {
            RemoteError::Unavailable(format!("make a copy of {}: {error}", self.access.address))
        };
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
        let format = if oid.as_str().len() == 64 {
            "sha256"
        } else {
            "sha1"
        };
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        self.local(&init, Call::default()).await?;
        self.repository.sound = true;
        Ok(())
    }

    /// Fetches a commit by its name; on a server that refuses that, what earlier answers said of its
    /// branches.
    async fn fetch(&mut self, oid: &Oid) -> Result<(), Trouble> {
        let slot = self.repository.fetches % KEPT_REFS;
        let by_name = vec![format!("+{oid}:refs/kept/{slot}")];
        let refused = match self.fetch_refs("--depth=1", by_name).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Other(RemoteError::NotFound(reason))) => reason,
            Err(trouble) => return Err(trouble),
        };
        let branches: Vec<String> = self
            .repository
            .refs
            .keys()
            .take(MAX_BRANCHES)
            .enumerate()
            .map(|(index, name)| format!("+{name}:refs/branches/{index}"))
            .collect();
        if !branches.is_empty() {
            self.fetch_refs(BRANCH_DEPTH, branches).await?;
            if self.has(oid).await {
                return Ok(());
            }
        }
        Err(Trouble::Other(RemoteError::NotFound(refused)))
    }

    async fn fetch_refs(&mut self, depth: &str, refs: Vec<String>) -> Result<(), Trouble> {
        let doing = self.doing("fetch from");
        let args = [
            "fetch",
            "--quiet",
            depth,
            "--no-tags",
            "--no-write-fetch-head",
            "--",
        ];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.push(self.access.address.as_str().to_owned());
        args.extend(refs);
        // what is interrupted leaves locks behind
        self.repository.sound = false;
        self.repository.fetches += 1;
        let limit = self.git.options.max_repository_bytes;
        let call = Call {
            args,
            repository: Some(&self.repository.folder),
            access: Some(&self.access),
            max_output: 1 << 20,
            max_bytes: Some(limit),
            ..Call::default()
        };
        let ended = match self.git.children.run(call).await {
            Err(Stopped::TooBig(limit)) => return Err(Trouble::TooBig(limit)),
            Err(stopped) => return Err(Trouble::Other(trouble::stopped(&doing, &stopped))),
            Ok(ended) => ended,
        };
        // a small one may be over before it is looked at
        if crate::child::bytes_below(self.repository.folder.clone()).await > limit {
            return Err(Trouble::TooBig(limit));
        }
        self.repository.sound = true;
        if ended.success {
            Ok(())
        } else {
            Err(Trouble::Other(trouble::explain(&doing, &ended.complaint)))
        }
    }
}

enum Trouble {
    TooBig(u64),
    Other(RemoteError),
}
