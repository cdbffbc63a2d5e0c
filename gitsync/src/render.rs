//! From the files of a commit to objects: the same commit always gives the same bytes.

pub mod helm;
mod kustomize;
mod plain;

use serde_json::Value;
use tidegate_manifests::{Place, ReadError};

use self::helm::{Helm, Release};
use crate::digest::sha256;
use crate::tree::{Closure, EntryKind, Recorded, Tree, TreeError};

/// Names of files that make a folder one that Kustomize builds.
pub(crate) const KUSTOMIZATION: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Name of the file that makes a folder a Helm chart.
const CHART: &str = "Chart.yaml";

/// What a commit may cost to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files that are read.
    pub files: usize,
    /// Bytes of all files that are read.
    pub bytes: u64,
    /// Objects that come out.
    pub objects: usize,
    /// How deep folders, and bases of bases, may be nested.
    pub depth: usize,
}

impl Default for Limits {
    /// 2,000 files, 32 MiB, 2,000 objects, depth 20.
    fn default() -> Self {
        Self {
            files: 2_000,
            bytes: 32 << 20,
            objects: 2_000,
            depth: 20,
        }
    }
}

/// One object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The object.
    pub value: Value,
    /// The file and line that it begins at.
    pub place: Place,
}

/// What a commit renders to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The objects, in the order of the files.
    pub manifests: Vec<Manifest>,
    /// `sha256:` and the digest over all objects, whatever their order.
    pub digest: String,
    /// What was looked at.
    pub closure: Closure,
}

/// Why a commit cannot be rendered. Each text names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is nothing at the path.
    #[error("{path}: the commit has no such folder; set spec.source.git.path to one that it has")]
    NoFolder {
        /// The path.
        path: String,
    },
    /// A file is not valid YAML or exceeds a limit.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// A value is not what it should be.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong and what to do.
        message: String,
    },
    /// Something about a file as a whole.
    #[error("{path}: {message}")]
    File {
        /// Path from the root of the repository.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Too much of something.
    #[error("{path}: more than {limit} {what}")]
    TooMuch {
        /// Where the limit was met.
        path: String,
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The repository could not be read: worth another try.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Renders the folder at `path`, which is no chart.
///
/// # Errors
/// Names the file, and the line where it is a matter of one.
pub fn render(tree: &dyn Tree, path: &str, limits: &Limits) -> Result<Rendered, RenderError> {
    render_as(tree, path, &Release::default(), None, limits)
}

/// Renders the folder at `path`, which may be a Helm chart if there is a `helm`.
///
/// # Errors
/// Names the file, and the line where it is a matter of one.
pub fn render_as(
    tree: &dyn Tree,
    path: &str,
    release: &Release,
    helm: Option<&dyn Helm>,
    limits: &Limits,
) -> Result<Rendered, RenderError> {
    let path = path.trim_matches('/');
    let path = if path == "." { "" } else { path };
    match tree.entry(path) {
        Some(entry) if entry.kind == EntryKind::Folder => {}
        // An empty repository has no root folder.
        None if path.is_empty() => {}
        _ => {
            return Err(RenderError::NoFolder {
                path: path.to_owned(),
            });
        }
    }
    let tree = Recorded::new(tree);
    let file = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}/{name}")
        }
    };
    let has = |name: &str| tree.entry(&file(name)).is_some();
    let manifests = if release.asked && !has(CHART) {
        return Err(RenderError::File {
            path: file(CHART),
            message: "there is no such file, but spec.source.helm is set: take that out, or set spec.source.git.path to a chart"
                .to_owned(),
        });
    } else if !release.asked && KUSTOMIZATION.iter().any(|name| has(name)) {
        kustomize::build(&tree, path, limits)?
    } else if has(CHART) {
        helm::chart(&tree, path, release, helm, limits)?
    } else {
        plain::folder(&tree, path, limits)?
    };
    Ok(Rendered {
        digest: digest_of(&manifests),
        manifests,
        closure: tree.closure(),
    })
}

/// The digest of objects: of the sorted digests of each, whose keys are sorted by `serde_json` already.
pub(crate) fn digest_of(manifests: &[Manifest]) -> String {
    let mut digests: Vec<String> = manifests
        .iter()
        .map(|manifest| sha256(manifest.value.to_string().as_bytes()))
        .collect();
    digests.sort();
    format!("sha256:{}", sha256(digests.concat().as_bytes()))
}

#[cfg(test)]
mod tests;
