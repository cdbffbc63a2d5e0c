//! A local folder, rendered as the controller renders the same folder of a commit; a chart by the `helm` of this machine.

use std::fs;
use std::path::Path;

use tidegate_crds::Delivery;
use tidegate_crds::decode::tolerant;
use tidegate_git::Helm;
use tidegate_gitsync::render::helm::{Call, Helm as Renderer, HelmError, Release};
use tidegate_gitsync::render::{Limits, Rendered, render_as};
use tidegate_gitsync::spec::Spec;
use tidegate_manifests::{Limits as ReadLimits, read};

use super::disk::Disk;
use crate::failure::Failure;

/// Renders a local folder.
pub(super) async fn rendered(folder: &Path, release: Release) -> Result<Rendered, Failure> {
    let (disk, path) = Disk::around(folder)?;
    let work = move || render_as(&disk, &path, &release, Some(&OfPath), &Limits::default());
    let rendered = tokio::task::spawn_blocking(work).await.map_err(Failure::other)?;
    rendered.map_err(Failure::other)
}

/// The `helm` of the PATH, looked for when there is a chart.
struct OfPath;

impl Renderer for OfPath {
    fn run(&self, call: &Call) -> Result<String, HelmError> {
        let unavailable = |words: String| HelmError::Unavailable(words);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("helm"));
        let Some(program) = programs.find(|file| file.is_file()) else {
            let words = "is a Helm chart, and there is no helm on the PATH: install Helm 3";
            return Err(unavailable(words.to_owned()));
        };
        let helm = Helm::new(&program, std::env::temp_dir());
        helm.map_err(|error| unavailable(error.to_string()))?.run(call)
    }
}

/// As what a Delivery renders its folder.
pub(super) fn release_of(delivery: &Delivery, namespace: &str) -> Result<Release, Failure> {
    let spec = Spec::read(&delivery.spec).map_err(Failure::other)?;
    let namespace = match delivery.metadata.namespace.as_str() {
        "" => namespace,
        namespace => namespace,
    };
    Ok(spec.release(namespace, &delivery.metadata.name))
}

/// The Delivery of a manifest.
pub(super) fn delivery_in(file: &Path) -> Result<Delivery, Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Failure::File(name.clone(), error))?;
    let documents = read(&name, &text, &ReadLimits::default()).map_err(Failure::other)?;
    let mut values = documents.into_iter().map(|document| document.value);
    values
        .find(|value| value.get("kind").and_then(|kind| kind.as_str()) == Some("Delivery"))
        .map(|value| tolerant(value).0)
        .ok_or_else(|| Failure::Usage(format!("{name} has no Delivery in it")))
}
