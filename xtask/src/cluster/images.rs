//! Container images without a registry: one program in an empty image, with the shared libraries that it needs, and beside the
//! controller's what it runs.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::{Running, tools};
use crate::{build, process};
use archive::Entry;

mod archive;
mod machine;

const IMPORT_LIMIT: Duration = Duration::from_mins(2);

/// What the tests need in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The demo app, which is the load generator and the pause program as well.
    App,
    /// The data plane.
    Traefik,
    /// The metrics source.
    Prometheus,
    /// The controller.
    Tidegate,
}

/// All of them.
pub(crate) const ALL: [Name; 4] = [Name::App, Name::Traefik, Name::Prometheus, Name::Tidegate];

/// Those of this workspace.
pub(crate) const OURS: [Name; 2] = [Name::App, Name::Tidegate];

/// One program as an image.
struct Image {
    tags: &'static [&'static str],
    /// Where the program is in the image, and on this machine.
    program: (&'static str, PathBuf),
    arguments: &'static [&'static str],
    /// User and group that it runs as, if it is not root.
    user: &'static str,
    /// What else is in the image.
    others: Vec<Entry>,
}

impl Image {
    fn new(tags: &'static [&'static str], path: &'static str, program: PathBuf) -> Self {
        Self {
            tags,
            program: (path, program),
            arguments: &[],
            user: "",
            others: Vec::new(),
        }
    }
}

/// Images whose programs are built.
pub(crate) struct Images(Vec<Image>);

impl Images {
    /// Builds what is missing.
    pub(crate) fn build(names: &[Name]) -> Result<Self> {
        let has = |name: Name| names.contains(&name);
        let mut images = Vec::new();
        if has(Name::App) || has(Name::Tidegate) {
            let ours = build::for_images()?;
            if has(Name::App) {
                images.extend(demo_app(&ours.demo_app)?);
            }
            if has(Name::Tidegate) {
                images.push(tidegate(ours.tidegate)?);
            }
        }
        // where the programs are, and how the images are called, is as in the images that other clusters pull
        if has(Name::Traefik) {
            let path = "usr/local/bin/traefik";
            images.push(Image::new(&["traefik:v3.7.15"], path, tools::traefik()?));
        }
        if has(Name::Prometheus) {
            let tags = &["prom/prometheus:v3.14.0"];
            images.push(Image::new(tags, "bin/prometheus", tools::prometheus()?));
        }
        Ok(Self(images))
    }

    /// Writes them into one archive.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result<()> {
        archive::write(&self.0, to)
    }

    /// Imports them into a box.
    pub(crate) fn import(&self, running: &Running) -> Result<()> {
        let start = Instant::now();
        let mut command = running.command("ctr");
        command
            .args(["-n", "k8s.io", "images", "import", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = command.spawn().context("cannot run ctr in the box")?;
        let mut input = child.stdin.take().context("invariant: the input is piped")?;
        // if ctr fails, then the write breaks: say what ctr says, not that
        let written = self.write(&mut input);
        drop(input);
        let status = process::wait(&mut child, IMPORT_LIMIT).context("`ctr images import`")?;
        if !status.success() {
            bail!("`ctr images import` failed ({status})");
        }
        written?;
        let tags: Vec<&str> = self.0.iter().flat_map(|image| image.tags).copied().collect();
        println!(
            "imported {} in {:.1} s",
            tags.join(", "),
            start.elapsed().as_secs_f32()
        );
        Ok(())
    }
}

/// The demo app under the names that it goes by.
fn demo_app(program: &Path) -> Result<[Image; 2]> {
    let app = |tags, path| -> Result<Image> {
        Ok(Image {
            others: machine::libraries_of(program)?,
            ..Image::new(tags, path, program.to_owned())
        })
    };
    Ok([
        // what the recordings' pods run: a shell that is our web server
        app(&["nginx:1.19-alpine"], "bin/sh")?,
        Image {
            arguments: &["pause"],
            ..app(&["tidegate/demo-app:dev", "tidegate.test/pause:1"], "demo-app")?
        },
    ])
}

/// The controller.
fn tidegate(program: PathBuf) -> Result<Image> {
    let mut others = machine::git(&program)?;
    others.push(helm()?);
    Ok(Image {
        user: "65532:65532",
        others,
        ..Image::new(&["tidegate/tidegate:dev"], "tidegate", program)
    })
}

/// What renders charts, where `docs/git/helm.md` puts it.
fn helm() -> Result<Entry> {
    Ok(Entry::copy("usr/local/bin/helm", 0o755, tools::helm()?))
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // writing to a string cannot fail
        write!(text, "{byte:02x}").ok();
        text
    })
}
