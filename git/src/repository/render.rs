//! Rendering a folder of a commit.

use std::sync::Arc;

use tidegate_gitsync::remote::{GitAnswer, RemoteError};
use tidegate_gitsync::render::{RenderError, Rendered, render};
use tidegate_gitsync::tree::{Closure, Oid};

use super::files::Files;
use super::{Commit, Work};

impl Work<'_> {
    /// Renders a folder of a commit, unless it has the same files as a known one.
    pub(super) async fn render(
        &mut self,
        oid: &Oid,
        path: &str,
        known: Option<&Closure>,
    ) -> Result<GitAnswer, RemoteError> {
        let commit = self.commit(oid).await?;
        if known.is_some_and(|known| known.holds(&self.files(&commit))) {
            return Ok(GitAnswer::Unchanged);
        }
        // its listing may have outlived it
        self.ensure(oid).await?;
        let rendered = self.render_here(&commit, path).await?;
        Ok(GitAnswer::Rendered(Box::new((commit.info, rendered))))
    }

    /// Renders a commit that is here.
    pub(super) async fn render_here(
        &mut self,
        commit: &Commit,
        path: &str,
    ) -> Result<Result<Rendered, RenderError>, RemoteError> {
        let files = self.files(commit);
        let (path, limits) = (path.to_owned(), self.git.options.limits);
        let work = move || (render(&files, &path, &limits), files.broken());
        let (rendered, broken) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| RemoteError::Unavailable(self.doing(&format!("{error}: render"))))?;
        // then the next try begins anew
        self.repository.sound &= !broken;
        Ok(rendered)
    }

    fn files(&self, commit: &Commit) -> Files {
        Files::new(
            Arc::clone(&commit.listing),
            Arc::clone(&self.git.children),
            self.repository.folder.clone(),
        )
    }
}
