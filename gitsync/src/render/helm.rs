//! A folder that is a Helm chart: which files it is made of, what `helm template` is asked, and what it answers.
//!
//! `helm` itself is run by somebody else ([`Helm`]); it sees these files and nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_manifests::{Limits as ReadLimits, path as pointer, read};

use super::{CHART, Limits, Manifest, RenderError, digest_of, plain};
use crate::tree::{EntryKind, Tree, TreeError};

/// The version of Kubernetes that charts are rendered for if the spec names none. A constant, not the cluster's: the same
/// commit renders to the same bytes everywhere.
pub const KUBE_VERSION: &str = "1.34.0";

/// Longest name that Helm takes for a release.
pub(crate) const MAX_NAME: usize = 53;
/// Most characters of what `helm` complains about.
const MAX_QUOTE: usize = 500;
/// Where the chart is in what `helm` sees.
const FOLDER: &str = "chart";
/// What stands before each object that `helm` prints.
const SOURCE: &str = "# Source: ";

/// As what a chart is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Whether the spec has `source.helm`: then the folder has to be a chart.
    pub asked: bool,
    /// Name of the release.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Version of Kubernetes that the chart is told.
    pub kube_version: String,
    /// Files with values, relative to the chart, or with a slash before them to the root of the repository; the last one counts.
    pub value_files: Vec<String>,
    /// Values that count more than those of all files.
    pub values: Option<Value>,
    /// Leave out what is in the chart's `crds/`.
    pub without_crds: bool,
}

/// One call of `helm`: it runs in an empty folder with these files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Path and content of each file. Paths have no `.` or `..` and no slash at either end.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// What `helm` is called with.
    pub arguments: Vec<String>,
}

/// Why `helm` printed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelmError {
    /// The chart is not good: what `helm` complains about, or which limit was met. The same each time.
    #[error("{0}")]
    Refused(String),
    /// `helm` could not be run, or not to its end: worth another try.
    #[error("{0}")]
    Unavailable(String),
}

/// Runs `helm` without network and without anything but the files of the call.
pub trait Helm {
    /// What it prints.
    ///
    /// # Errors
    /// What it complains about, or why it could not be run.
    fn run(&self, call: &Call) -> Result<String, HelmError>;
}

/// The objects of a chart.
pub(super) fn chart(
    tree: &dyn Tree,
    folder: &str,
    release: &Release,
    helm: Option<&dyn Helm>,
    limits: &Limits,
) -> Result<Vec<Manifest>, RenderError> {
    let chart = Chart::load(tree, folder, release, limits)?;
    let Some(helm) = helm else {
        return Err(chart.fault(
            "is a Helm chart, and there is no helm: start the controller with --helm PATH, or commit what `helm template` prints"
                .to_owned(),
        ));
    };
    let call = chart.call(release)?;
    let objects = chart.objects(&chart.ask(helm, &call)?, limits)?;
    // A second time: a password or a date of the moment would make another commit of it at each look.
    let again = chart.objects(&chart.ask(helm, &call)?, limits)?;
    if digest_of(&objects) == digest_of(&again) {
        return Ok(objects);
    }
    let first = objects.iter().find(|object| !again.contains(object));
    let path = first.map_or_else(|| chart.file(CHART), |object| object.place.file.to_string());
    let message = "renders to something else each time (a random value, a certificate, the time of day?): give the value in a \
                   file or in spec.source.helm.values"
        .to_owned();
    Err(RenderError::File { path, message })
}

/// A chart and the files with values.
struct Chart {
    folder: String,
    /// As Chart.yaml has it.
    name: String,
    files: BTreeMap<String, Arc<[u8]>>,
    /// Paths in the repository of the files with values, in their order.
    value_files: Vec<String>,
}

/// What was taken so far.
struct Taken<'a> {
    tree: &'a dyn Tree,
    limits: &'a Limits,
    files: BTreeMap<String, Arc<[u8]>>,
    bytes: u64,
}

impl Taken<'_> {
    fn file(&mut self, from: &str, to: String) -> Result<(), RenderError> {
        let content = self.tree.read(from)?;
        self.bytes += content.len() as u64;
        self.files.insert(to, content);
        let over = |limit: u64, what: &'static str| RenderError::TooMuch {
            path: from.to_owned(),
            limit,
            what,
        };
        if self.files.len() > self.limits.files {
            return Err(over(self.limits.files as u64, "files"));
        }
        if self.bytes > self.limits.bytes {
            return Err(over(self.limits.bytes, "bytes of a chart"));
        }
        Ok(())
    }

    fn folder(&mut self, from: &str, to: &str, depth: usize) -> Result<(), RenderError> {
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(RenderError::TooMuch {
                path: from.to_owned(),
                limit: self.limits.depth as u64,
                what: "folders in one another",
            });
        };
        for (name, entry) in self.tree.children(from) {
            let (path, to) = (join(from, &name), format!("{to}/{name}"));
            // a name of a path that is written to disk
            if name.contains(['/', '\0', '\\']) || matches!(name.as_str(), "" | "." | "..") {
                return Err(fault(
                    path,
                    "is no name that a file of a chart can have: rename it",
                ));
            }
            match entry.kind {
                EntryKind::File => self.file(&path, to)?,
                EntryKind::Folder => self.folder(&path, &to, deeper)?,
                EntryKind::Link => {
                    return Err(fault(
                        path,
                        "is a symbolic link, which is not followed: put the file itself here",
                    ));
                }
                EntryKind::Submodule => {
                    return Err(fault(
                        path,
                        "is a submodule, which is not fetched: put its files here",
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Chart {
    fn load(tree: &dyn Tree, folder: &str, release: &Release, limits: &Limits) -> Result<Self, RenderError> {
        let mut taken = Taken {
            tree,
            limits,
            files: BTreeMap::new(),
            bytes: 0,
        };
        taken.folder(folder, FOLDER, limits.depth)?;
        let mut value_files = Vec::new();
        for (index, named) in release.value_files.iter().enumerate() {
            let path = resolve(folder, named).ok_or_else(|| {
                let message =
                    format!("spec.source.helm.valueFiles[{index}]: {named:?} leaves the repository");
                fault(join(folder, CHART), &message)
            })?;
            if tree
                .entry(&path)
                .is_none_or(|entry| entry.kind != EntryKind::File)
            {
                let message = format!(
                    "there is no such file: spec.source.helm.valueFiles[{index}] is {named:?}; paths are relative to the chart, \
                     or begin with a slash"
                );
                return Err(RenderError::File { path, message });
            }
            taken.file(&path, value_file(index))?;
            value_files.push(path);
        }
        let chart = Self {
            folder: folder.to_owned(),
            name: chart_name(tree, &join(folder, CHART))?,
            files: taken.files,
            value_files,
        };
        Ok(chart)
    }

    fn file(&self, below: &str) -> String {
        join(&self.folder, below)
    }

    fn fault(&self, message: String) -> RenderError {
        RenderError::File {
            path: self.file(CHART),
            message,
        }
    }

    fn call(&self, release: &Release) -> Result<Call, RenderError> {
        if release.name.len() > MAX_NAME {
            return Err(self.fault(format!(
                "{:?} is too long for the name of a release: set spec.source.helm.releaseName, at most {MAX_NAME} characters",
                release.name
            )));
        }
        let mut files = self.files.clone();
        let mut arguments: Vec<String> = [
            "template",
            &release.name,
            &format!("./{FOLDER}"),
            "--namespace",
            &release.namespace,
            "--kube-version",
            &release.kube_version,
            "--skip-tests",
            if release.without_crds {
                "--skip-crds"
            } else {
                "--include-crds"
            },
        ]
        .map(str::to_owned)
        .into();
        let mut count = self.value_files.len();
        if let Some(values) = &release.values {
            files.insert(value_file(count), values.to_string().into_bytes().into());
            count += 1;
        }
        for index in 0..count {
            arguments.extend(["--values".to_owned(), value_file(index)]);
        }
        Ok(Call { files, arguments })
    }

    fn ask(&self, helm: &dyn Helm, call: &Call) -> Result<String, RenderError> {
        helm.run(call).map_err(|error| match error {
            HelmError::Refused(complaint) => self.complaint(&complaint),
            HelmError::Unavailable(message) => RenderError::Tree(TreeError {
                path: self.file(CHART),
                message,
            }),
        })
    }

    /// What `helm` complains about, with the file that it names.
    fn complaint(&self, complaint: &str) -> RenderError {
        let words = complaint.strip_prefix("Error: ").unwrap_or(complaint);
        let words = words.replace("Use --debug flag to render out invalid YAML", "");
        if let Some((_, missing)) = words.split_once("missing in charts/ directory: ") {
            return self.fault(format!(
                "charts/ lacks {}: run `helm dependency update` and commit charts/",
                quote(missing)
            ));
        }
        let (mut words, mut path) = (quote(&words), None);
        for (index, file) in self.value_files.iter().enumerate() {
            let seen = value_file(index);
            if words.contains(&seen) {
                words = words.replace(&seen, file);
                path = Some(file.clone());
            }
        }
        let inline = value_file(self.value_files.len());
        words = words.replace(&inline, "spec.source.helm.values");
        let path = path
            .or_else(|| self.named(&words))
            .unwrap_or_else(|| self.file(CHART));
        let message = format!("helm: {words}");
        RenderError::File { path, message }
    }

    /// The first file of the chart that words name, as `helm` writes it: `NAME/templates/web.yaml`.
    fn named(&self, words: &str) -> Option<String> {
        let begin = format!("{}/", self.name);
        words
            .split([' ', '"', '(', ')', ':', ',', ';'])
            .filter_map(|word| word.strip_prefix(&begin))
            .find(|below| {
                ["templates/", "charts/", "crds/"]
                    .iter()
                    .any(|folder| below.starts_with(folder))
            })
            .map(|below| self.file(below))
    }

    /// The objects that `helm` printed. Each stands in the template that made it; lines count from where that one's own
    /// document begins in the output, since nobody knows the line of the template.
    fn objects(&self, output: &str, limits: &Limits) -> Result<Vec<Manifest>, RenderError> {
        let mut manifests = Vec::new();
        for (source, text) in pieces(output) {
            let below = source.strip_prefix(&self.name).unwrap_or(source);
            let path = self.file(match below.trim_matches('/') {
                "" => CHART,
                below => below,
            });
            for document in read(&path, text, &ReadLimits::default())? {
                plain::objects(&document, &mut manifests)?;
            }
            if manifests.len() > limits.objects {
                return Err(RenderError::TooMuch {
                    path,
                    limit: limits.objects as u64,
                    what: "objects",
                });
            }
        }
        Ok(manifests)
    }
}

/// Cuts the output where a template begins: its name, and what it printed.
fn pieces(output: &str) -> Vec<(&str, &str)> {
    let mut pieces = Vec::new();
    let (mut source, mut begin, mut at, mut after_dashes) = ("", 0, 0, true);
    for line in output.split_inclusive('\n') {
        let end = at + line.len();
        let text = line.trim_end();
        if let Some(named) = text.strip_prefix(SOURCE).filter(|_| after_dashes) {
            pieces.push((source, output.get(begin..at).unwrap_or_default()));
            (source, begin) = (named, end);
        }
        after_dashes = text == "---";
        at = end;
    }
    pieces.push((source, output.get(begin..).unwrap_or_default()));
    pieces
}

/// The `name` of a Chart.yaml.
fn chart_name(tree: &dyn Tree, path: &str) -> Result<String, RenderError> {
    let bytes = tree.read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| fault(path.to_owned(), "is not UTF-8 text"))?;
    let documents = read(path, text, &ReadLimits::default())?;
    let document = documents
        .first()
        .ok_or_else(|| fault(path.to_owned(), "is empty"))?;
    let name = document.value.get("name").and_then(Value::as_str);
    let name = name.filter(|name| !name.is_empty() && !name.contains('/'));
    name.map(str::to_owned).ok_or_else(|| RenderError::Invalid {
        place: document.place(&pointer("name")),
        message: "name: a chart needs a name".to_owned(),
    })
}

/// Where `named` is in the repository: relative to the chart's folder, or to the root if it begins with a slash.
fn resolve(folder: &str, named: &str) -> Option<String> {
    let base = if named.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in named.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn join(folder: &str, below: &str) -> String {
    if folder.is_empty() {
        below.to_owned()
    } else {
        format!("{folder}/{below}")
    }
}

fn value_file(index: usize) -> String {
    format!("values/{index}.yaml")
}

fn fault(path: String, message: &str) -> RenderError {
    RenderError::File {
        path,
        message: message.to_owned(),
    }
}

/// Somebody else's words in one line, not too long and without control characters.
fn quote(text: &str) -> String {
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests;
