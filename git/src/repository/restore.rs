//! Putting a folder back to what it was in an earlier commit.
//!
//! No index and no files: the folder's entry is taken over, and one new tree is written for each folder above
//! it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_gitsync::remote::{GitAnswer, RemoteError, Restore};
use tidegate_gitsync::tree::{EntryKind, Oid};

use super::heads::check_ref;
use super::{Commit, Work};
use crate::child::Call;
use crate::trouble;

/// Where refs of our own are.
const OURS: &str = "refs/tidegate/";
/// What a push may be turned down by because somebody else was faster.
const LOST: [&str; 5] = [
    "stale info",
    "fetch first",
    "non-fast-forward",
    "cannot lock ref",
    "reference already exists",
];

impl Work<'_> {
    pub(super) async fn restore(&mut self, order: &Restore) -> Result<GitAnswer, RemoteError> {
        let path = self.checked(order)?;
        let outside: Vec<String> = order
            .outside
            .iter()
            .map(|file| self.folder(file))
            .collect::<Result<_, _>>()?;
        let good = self.commit(&order.good).await?;
        let tip = self.commit(&order.tip).await?;
        // the one may have made room for the other
        self.ensure(&order.good).await?;
        self.ensure(&order.tip).await?;
        let tree = self
            .tree_with((&order.tip, &tip), (&order.good, &good), &path, &outside)
            .await?;
        let commit = self.write_commit(order, &tree).await?;
        let made = self.list(&commit).await?;
        let rendered = self.render_here(&made, &path, &order.release).await?;
        if rendered
            .as_ref()
            .is_ok_and(|rendered| rendered.digest == order.digest)
        {
            return self.publish(order, &commit).await;
        }
        let before = self.render_here(&good, &path, &order.release).await?;
        let closure = before.map(|rendered| rendered.closure).unwrap_or_default();
        let outside = closure.outside(&path, |file| made.listing.entry(file));
        match rendered {
            Err(error) if outside.is_empty() => {
                Err(self.refused(&format!("the folder of {} does not render: {error}", order.good)))
            }
            _ => Ok(GitAnswer::NotTheSame(outside)),
        }
    }

    /// Looks at what was ordered; gives the folder as git names it.
    fn checked(&self, order: &Restore) -> Result<String, RemoteError> {
        for name in [&order.base, &order.push_to] {
            check_ref(name)?;
            if !name.starts_with("refs/heads/") {
                return Err(self.refused(&format!("{name} is no branch, nothing is pushed to it")));
            }
        }
        let path = self.folder(&order.path)?;
        let (name, mail) = &order.author;
        let bad =
            |text: &str| text.is_empty() || text.contains(['<', '>']) || text.contains(char::is_control);
        if bad(name) || bad(mail) || order.message.trim().is_empty() || order.message.contains('\0') {
            return Err(
                self.refused("the commit needs a message, and an author with a name and a mail address")
            );
        }
        Ok(path)
    }

    /// A path as git names it.
    fn folder(&self, path: &str) -> Result<String, RemoteError> {
        let path = path.trim_matches('/');
        let path = if path == "." { "" } else { path };
        let part = |part: &str| !matches!(part, "" | "." | "..");
        if path.contains(char::is_control) || !(path.is_empty() || path.split('/').all(part)) {
            return Err(
                self.refused("the path of the folder holds an empty part, `.`, `..` or a control character")
            );
        }
        Ok(path.to_owned())
    }

    /// Makes a ref of our own point to a commit, wherever it pointed before.
    pub(super) async fn point(&mut self, reference: &str, commit: &Oid) -> Result<GitAnswer, RemoteError> {
        check_ref(reference)?;
        if !reference.starts_with(OURS) {
            return Err(self.refused(&format!(
                "{reference} is not below {OURS}, nothing is pushed to it"
            )));
        }
        let heads = self.heads(&[reference.to_owned()]).await?;
        let before = heads.first().map(|(_, oid)| oid.clone());
        if before.as_ref() == Some(commit) {
            return Ok(GitAnswer::Pointed);
        }
        self.commit(commit).await?;
        match self.push(reference, before.as_ref(), commit).await? {
            GitAnswer::Restored(_) => Ok(GitAnswer::Pointed),
            _ => Err(RemoteError::Unavailable(format!(
                "{}: {reference} was moved by somebody else",
                self.access.address
            ))),
        }
    }

    fn refused(&self, message: &str) -> RemoteError {
        RemoteError::Refused(format!("{}: {message}", self.access.address))
    }

    /// The tree of `tip` with what stands at `path` in `good`, and at the paths that are outside of it.
    async fn tree_with(
        &self,
        tip: (&Oid, &Commit),
        good: (&Oid, &Commit),
        path: &str,
        outside: &[String],
    ) -> Result<String, RemoteError> {
        if path.is_empty() {
            let root = self
                .local(&["rev-parse", &format!("{}^{{tree}}", good.0)], Call::default())
                .await?;
            return Ok(String::from_utf8_lossy(&root).trim().to_owned());
        }
        let Some(facts) = self.facts(good, path).await? else {
            return Err(RemoteError::NotFound(format!(
                "{}: commit {} has no folder {path}",
                self.access.address, good.0
            )));
        };
        let mut changes = BTreeMap::from([(path.to_owned(), Some(facts))]);
        for file in outside {
            changes.insert(file.clone(), self.facts(good, file).await?);
        }
        // folder by folder, the deepest first, up to the root
        loop {
            let above = |path: &String| split(path).0.to_owned();
            let depth = |folder: &String| folder.split('/').filter(|part| !part.is_empty()).count();
            let folder = changes.keys().map(above).max_by_key(depth).unwrap_or_default();
            let mut entries = self.level(tip, &folder).await?;
            for (path, facts) in changes.extract_if(.., |path, _| above(path) == folder) {
                let name = split(&path).1.as_bytes();
                entries.retain(|(_, other)| other != name);
                entries.extend(facts.map(|facts| (facts, name.to_owned())));
            }
            let tree = self.make_tree(&entries).await?;
            if folder.is_empty() {
                return Ok(tree);
            }
            // git has no empty folders
            changes.insert(
                folder,
                (!entries.is_empty()).then(|| format!("040000 tree {tree}")),
            );
        }
    }

    /// What stands at a path: `<mode> <type> <oid>`.
    async fn facts(&self, of: (&Oid, &Commit), path: &str) -> Result<Option<String>, RemoteError> {
        let (folder, name) = split(path);
        let entries = self.level(of, folder).await?;
        let found = entries.into_iter().find(|(_, found)| found == name.as_bytes());
        Ok(found.map(|(facts, _)| facts))
    }

    /// The entries of one folder of a commit: `<mode> <type> <oid>` and name. None if it has no such folder.
    async fn level(
        &self,
        (oid, commit): (&Oid, &Commit),
        folder: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, RemoteError> {
        let entry = commit.listing.entry(folder);
        if entry.is_none_or(|entry| entry.kind != EntryKind::Folder) {
            return Ok(Vec::new());
        }
        let folder = format!("{oid}:{folder}");
        let output = self
            .local(&["ls-tree", "-z", "--full-tree", &folder], Call::default())
            .await?;
        let entries = output.split(|byte| *byte == 0).filter_map(|line| {
            let tab = line.iter().position(|byte| *byte == b'\t')?;
            let facts = String::from_utf8_lossy(line.get(..tab)?).into_owned();
            Some((facts, line.get(tab + 1..)?.to_owned()))
        });
        Ok(entries.collect())
    }

    async fn make_tree(&self, entries: &[(String, Vec<u8>)]) -> Result<String, RemoteError> {
        let mut input = Vec::new();
        for (facts, name) in entries {
            input.extend_from_slice(facts.as_bytes());
            input.push(b'\t');
            input.extend_from_slice(name);
            input.push(0);
        }
        let call = Call {
            input,
            ..Call::default()
        };
        let tree = self.local(&["mktree", "-z"], call).await?;
        Ok(String::from_utf8_lossy(&tree).trim().to_owned())
    }

    /// Everything of the commit is given, so that the same order makes the same one.
    async fn write_commit(&self, order: &Restore, tree: &str) -> Result<Oid, RemoteError> {
        let (name, mail) = &order.author;
        let date = format!("@{} +0000", order.time.as_second().max(0));
        let call = Call {
            variables: vec![
                ("GIT_AUTHOR_NAME", name.clone()),
                ("GIT_AUTHOR_EMAIL", mail.clone()),
                ("GIT_AUTHOR_DATE", date.clone()),
                ("GIT_COMMITTER_NAME", name.clone()),
                ("GIT_COMMITTER_EMAIL", mail.clone()),
                ("GIT_COMMITTER_DATE", date),
            ],
            input: order.message.clone().into_bytes(),
            ..Call::default()
        };
        let args = ["commit-tree", tree, "-p", order.tip.as_str(), "-F", "-"];
        let commit = self.local(&args, call).await?;
        Oid::parse(String::from_utf8_lossy(&commit).trim()).ok_or_else(|| {
            RemoteError::Unavailable(format!("{}: git commit-tree made no commit", self.access.address))
        })
    }

    /// Pushes if the server is where it was expected to be.
    async fn publish(&mut self, order: &Restore, commit: &Oid) -> Result<GitAnswer, RemoteError> {
        let heads = self.heads(&[order.base.clone(), order.push_to.clone()]).await?;
        let at = |name: &str| heads.iter().find(|(found, _)| found == name).map(|(_, oid)| oid);
        if at(&order.push_to) == Some(commit) {
            return Ok(GitAnswer::Restored(commit.clone()));
        }
        let own = order.push_to != order.base;
        if let Some(earlier) = at(&order.push_to).filter(|_| own) {
            // The branch is only there for this: an earlier attempt made it, or somebody has gone on from there.
            return Ok(GitAnswer::Restored(earlier.clone()));
        }
        if at(&order.base) != Some(&order.tip) {
            return Ok(GitAnswer::Moved);
        }
        let expected = (!own).then_some(&order.tip);
        self.push(&order.push_to, expected, commit).await
    }

    async fn push(
        &mut self,
        branch: &str,
        expected: Option<&Oid>,
        commit: &Oid,
    ) -> Result<GitAnswer, RemoteError> {
        let doing = self.doing("push to");
        let mut lease = format!("--force-with-lease={branch}:");
        // nothing after the colon: the branch must not be there
        if let Some(expected) = expected {
            let _ = write!(lease, "{expected}");
        }
        let call = Call {
            args: vec![
                "push".to_owned(),
                "--porcelain".to_owned(),
                "--no-verify".to_owned(),
                lease,
                "--".to_owned(),
                self.access.address.as_str().to_owned(),
                format!("{commit}:{branch}"),
            ],
            repository: Some(&self.repository.folder),
            access: Some(&self.access),
            max_output: 1 << 20,
            ..Call::default()
        };
        let ended = self.git.children.run(call).await;
        let ended = ended.map_err(|stopped| trouble::stopped(&doing, &stopped))?;
        if ended.success {
            self.repository.refs.insert(branch.to_owned(), commit.clone());
            return Ok(GitAnswer::Restored(commit.clone()));
        }
        let report = self.access.scrub(&String::from_utf8_lossy(&ended.output));
        // `!\t<from>:<to>\t[rejected] (<why>)`
        let Some(rejection) = report.lines().find_map(|line| line.strip_prefix("!\t")) else {
            return Err(trouble::explain(&doing, &ended.complaint));
        };
        if LOST
            .iter()
            .any(|words| rejection.contains(words) || ended.complaint.contains(words))
        {
            return Ok(GitAnswer::Moved);
        }
        let verdict = rejection.split('\t').next_back().unwrap_or_default();
        let words = ended
            .complaint
            .lines()
            .filter_map(|line| line.strip_prefix("remote:"));
        let words: Vec<&str> = words
            .map(|line| line.trim().trim_start_matches("error:").trim())
            .collect();
        Err(RemoteError::Denied(format!(
            "{doing}: {branch} was not accepted: {}: {}",
            trouble::quote(verdict),
            trouble::quote(&words.join(" "))
        )))
    }
}

/// The folder of a path and its name there.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
