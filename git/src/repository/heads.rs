//! What refs of a server point to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_gitsync::remote::RemoteError;
use tidegate_gitsync::tree::Oid;

use super::Work;
use crate::child::Call;
use crate::trouble;

/// Most refs that are asked for at once.
const MAX_REFS: usize = 500;
/// Most bytes of the answer.
const MAX_OUTPUT: usize = 1 << 20;
/// A look is short: a server that hangs must not hold up those who wait for a child.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Work<'_> {
    /// What refs are at on the server; those that are not there are left out. Tags are peeled.
    pub(super) async fn heads(&mut self, refs: &[String]) -> Result<Vec<(String, Oid)>, RemoteError> {
        let wanted: BTreeSet<&str> = refs.iter().map(String::as_str).collect();
        if wanted.len() > MAX_REFS {
            let message = format!("{}: more than {MAX_REFS} refs at once", self.access.address);
            return Err(RemoteError::Refused(message));
        }
        for name in &wanted {
            check_ref(name)?;
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.ls_remote(&wanted).await?;
        for name in wanted {
            match found.get(name) {
                Some(oid) => self.repository.refs.insert(name.to_owned(), oid.clone()),
                None => self.repository.refs.remove(name),
            };
        }
        let found = refs
            .iter()
            .filter_map(|name| Some((name.clone(), found.get(name)?.clone())));
        Ok(found.collect())
    }

    async fn ls_remote(&self, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Oid>, RemoteError> {
        let branch = |name: &&str| name.starts_with("refs/heads/");
        let tag = |name: &&str| name.starts_with("refs/tags/");
        let mut args = vec!["ls-remote".to_owned(), "--quiet".to_owned()];
        if wanted.iter().all(|name| branch(name) || tag(name)) {
            // then the server leaves all others out, of which there may be many
            args.extend(wanted.iter().any(branch).then(|| "--heads".to_owned()));
            args.extend(wanted.iter().any(tag).then(|| "--tags".to_owned()));
        }
        args.extend(["--".to_owned(), self.access.address.as_str().to_owned()]);
        args.extend(wanted.iter().map(|&name| name.to_owned()));
        args.extend(
            wanted
                .iter()
                .filter(|name| tag(name))
                .map(|name| format!("{name}^{{}}")),
        );
        let doing = self.doing("look at refs of");
        let call = Call {
            args,
            access: Some(&self.access),
            max_output: MAX_OUTPUT,
            timeout: Some(TIMEOUT),
            ..Call::default()
        };
        let ended = self.git.children.run(call).await;
        let ended = ended.map_err(|stopped| trouble::stopped(&doing, &stopped))?;
        if ended.success {
            Ok(parse(&String::from_utf8_lossy(&ended.output)))
        } else {
            Err(trouble::explain(&doing, &ended.complaint))
        }
    }
}

/// Lines of `<oid>\t<ref>`; what a tag points to (`<ref>^{}`) comes after the tag and wins.
fn parse(output: &str) -> BTreeMap<String, Oid> {
    let lines = output.lines().filter_map(|line| line.split_once('\t'));
    lines
        .filter_map(|(oid, name)| {
            let name = name.strip_suffix("^{}").unwrap_or(name);
            Some((name.to_owned(), Oid::parse(oid)?))
        })
        .collect()
}

/// A full name of a ref, by the rules of `git check-ref-format`.
pub(super) fn check_ref(name: &str) -> Result<(), RemoteError> {
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none();
    let bad = |char: char| char.is_control() || " ~^:?*[\\".contains(char);
    let good = name == "HEAD"
        || (name.starts_with("refs/")
            && name.len() <= 500
            && name.split('/').all(part)
            && !name.contains(bad)
            && !name.contains("..")
            && !name.contains("@{")
            && !name.ends_with('.'));
    if good {
        Ok(())
    } else {
        Err(RemoteError::Refused(format!(
            "ref {}: write it in full, like refs/heads/main",
            trouble::quote(name)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_refs() {
        for name in ["HEAD", "refs/heads/main", "refs/heads/a/b-1_2.x", "refs/tags/v1"] {
            assert_eq!(check_ref(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "main",
            "--upload-pack=x",
            "refs/heads/*",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a:refs/heads/b",
            "refs//a",
            "refs/heads/",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a\n",
            "refs/heads/a^{}",
        ] {
            assert!(matches!(check_ref(name), Err(RemoteError::Refused(_))), "{name}");
        }
    }
}
