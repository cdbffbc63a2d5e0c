//! Rendering a folder of a commit.

use std::sync::Arc;
use std::time::SystemTime;

use tidegate_gitsync::remote::{GitAnswer, RemoteError, Signers};
use tidegate_gitsync::render::helm::{Helm, Release};
use tidegate_gitsync::render::{RenderError, Rendered, render_as};
use tidegate_gitsync::tree::{Closure, Oid};
use tokio::sync::OwnedMutexGuard;

use super::files::{Broken, Files, Reader};
use super::{Commit, Work};
use crate::child::{Call, Ended};
use crate::signature::Signature;
use crate::trouble;

impl Work<'_> {
    /// Renders a folder of a commit, unless it has the same files as a known one.
    pub(super) async fn render(
        &mut self,
        oid: &Oid,
        (path, release): (&str, &Release),
        known: Option<&Closure>,
        signers: Option<&Signers>,
    ) -> Result<GitAnswer, RemoteError> {
        let commit = self.commit(oid).await?;
        if known.is_some_and(|known| known.holds(&self.files(&commit, None))) {
            return Ok(GitAnswer::Unchanged);
        }
        if !self.repository.sound {
            self.ensure(oid).await?;
        }
        let rendered = self.render_here(&commit, path, release).await?;
        let mut info = commit.info;
        if let Some(signers) = signers {
            info.unsigned = self.unsigned(oid, signers).await?;
        }
        Ok(GitAnswer::Rendered(Box::new((info, rendered))))
    }

    /// Why a commit is not signed by one of these, if it is not.
    async fn unsigned(&self, oid: &Oid, signers: &Signers) -> Result<Option<String>, RemoteError> {
        let commit = self.ask(&["cat-file", "commit", oid.as_str()]).await?;
        if !commit.success {
            return Err(RemoteError::Unavailable(self.doing("read a commit of")));
        }
        match Signature::of(&commit.output, oid.as_str().len() == 64) {
            None => Ok(Some("it has no signature".to_owned())),
            Some(signature) if signature.is_pgp() => {
                self.refused_by_pgp(signature, signers.pgp.clone()).await
            }
            Some(_) if signers.ssh.is_empty() => Ok(Some("it has no PGP signature".to_owned())),
            Some(_) => self.refused_by_ssh(oid, &signers.ssh).await,
        }
    }

    async fn refused_by_pgp(
        &self,
        signature: Signature,
        keys: Vec<String>,
    ) -> Result<Option<String>, RemoteError> {
        let work = move || signature.refused_by_pgp(&keys, SystemTime::now());
        let refused = tokio::task::spawn_blocking(work).await;
        let refused = refused.map_err(|error| {
            RemoteError::Unavailable(self.doing(&format!("{error}: check a signature of")))
        })?;
        refused
            .map(|why| why.map(|why| trouble::quote(&why)))
            .map_err(|problem| RemoteError::Refused(format!("signatures: {}", trouble::quote(&problem))))
    }

    async fn refused_by_ssh(&self, oid: &Oid, signers: &str) -> Result<Option<String>, RemoteError> {
        let unwritten = |error: std::io::Error| {
            RemoteError::Unavailable(format!("the signers cannot be written: {error}"))
        };
        let folder = tempfile::Builder::new()
            .prefix("signers")
            .tempdir_in(&self.git.children.private)
            .map_err(unwritten)?;
        let file = folder.path().join("allowed_signers");
        std::fs::write(&file, signers).map_err(unwritten)?;
        let variable = format!("gpg.ssh.allowedSignersFile={}", file.display());
        let no_gpg = "gpg.program=false";
        let ended = self
            .ask(&[
                "-c",
                &variable,
                "-c",
                no_gpg,
                "verify-commit",
                "--raw",
                oid.as_str(),
            ])
            .await?;
        Ok((!ended.success).then(|| {
            let words = trouble::quote(ended.complaint.lines().next_back().unwrap_or_default());
            if words.is_empty() {
                "it has no SSH signature".to_owned()
            } else {
                words
            }
        }))
    }

    /// Asks git about a commit and its signature.
    async fn ask(&self, args: &[&str]) -> Result<Ended, RemoteError> {
        let call = Call {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            repository: Some(&self.repository.folder),
            max_output: 1 << 20,
            ..Call::default()
        };
        let doing = self.doing("check a signature of");
        let ended = self.git.children.run(call).await;
        ended.map_err(|stopped| trouble::stopped(&doing, &stopped))
    }

    /// Renders a commit that is here.
    pub(super) async fn render_here(
        &mut self,
        commit: &Commit,
        path: &str,
        release: &Release,
    ) -> Result<Result<Rendered, RenderError>, RemoteError> {
        let reader = self.repository.reader.take();
        let files = self.files(commit, reader);
        let (path, release) = (path.to_owned(), release.clone());
        let (helm, limits) = (self.git.helm.clone(), self.git.options.limits);
        let work = move || {
            let helm = helm.as_deref().map(|helm| helm as &dyn Helm);
            let rendered = render_as(&files, &path, &release, helm, &limits);
            (rendered, files.end())
        };
        let (rendered, reader) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| RemoteError::Unavailable(self.doing(&format!("{error}: render"))))?;
        match reader {
            // it goes with the last of those who stand in line
            Ok(reader) => self.repository.reader = reader.filter(|_| self.others_wait()),
            // then the next try begins anew
            Err(Broken) => self.repository.sound = false,
        }
        Ok(rendered)
    }

    /// Whether somebody waits for the repository.
    fn others_wait(&self) -> bool {
        // known to the list of repositories, and locked by us
        Arc::strong_count(OwnedMutexGuard::mutex(&self.repository)) > 2
    }

    fn files(&self, commit: &Commit, reader: Option<Reader>) -> Files {
        Files::new(
            Arc::clone(&commit.listing),
            Arc::clone(&self.git.children),
            self.repository.folder.clone(),
            reader,
        )
    }
}
