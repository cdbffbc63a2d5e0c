//! Container images without a registry: one static program in an empty image, in the form of `docker save`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Running, tools};
use crate::process;

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
}

/// Images whose programs are built.
pub(crate) struct Images(Vec<Image>);

impl Images {
    /// Builds what is missing.
    pub(crate) fn build(names: &[Name]) -> Result<Self> {
        let has = |name: Name| names.contains(&name);
        let mut ours = Vec::new();
        if has(Name::App) {
            ours.push(("tidegate-e2e", "demo-app"));
        }
        if has(Name::Tidegate) {
            ours.push(("tidegate-controller", "tidegate"));
        }
        let programs = static_programs(&ours)?;
        let mut images = Vec::new();
        for ((_, name), program) in ours.into_iter().zip(programs) {
            if name == "tidegate" {
                images.push(Image {
                    tags: &["tidegate/tidegate:dev"],
                    program: ("tidegate", program),
                    arguments: &[],
                });
                continue;
            }
            images.push(Image {
                // what the recordings' pods run: a shell that is our web server
                tags: &["nginx:1.19-alpine"],
                program: ("bin/sh", program.clone()),
                arguments: &[],
            });
            images.push(Image {
                tags: &["tidegate/demo-app:dev", "tidegate.test/pause:1"],
                program: ("demo-app", program),
                arguments: &["pause"],
            });
        }
        // where the programs are, and how the images are called, is as in the images that other clusters pull
        if has(Name::Traefik) {
            let program = ("usr/local/bin/traefik", tools::traefik()?);
            images.push(Image {
                tags: &["traefik:v3.7.15"],
                program,
                arguments: &[],
            });
        }
        if has(Name::Prometheus) {
            let program = ("bin/prometheus", tools::prometheus()?);
            images.push(Image {
                tags: &["prom/prometheus:v3.14.0"],
                program,
                arguments: &[],
            });
        }
        Ok(Self(images))
    }

    /// Writes them into one archive.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result<()> {
        archive(&self.0, to)
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

/// Builds programs of this workspace without any shared library, so that they run in an empty image.
fn static_programs(programs: &[(&str, &str)]) -> Result<Vec<PathBuf>> {
    if programs.is_empty() {
        return Ok(Vec::new());
    }
    let host = process::output(Command::new("rustc").args(["--version", "--verbose"]))?;
    let target = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc names no host")?;
    let folder = process::workspace().join("target/static");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(process::workspace())
        .args(["build", "--quiet", "--release"]);
    // with a named target the flags are not for build scripts and macros, which cannot be static
    command.args(["--target", target, "--target-dir"]).arg(&folder);
    command.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=symbols");
    for (package, program) in programs {
        command.args(["--package", package, "--bin", program]);
    }
    let what = programs
        .iter()
        .map(|(_, program)| *program)
        .collect::<Vec<_>>()
        .join(", ");
    println!("building {what} for the images");
    let start = Instant::now();
    process::run(&mut command, Duration::from_mins(30))?;
    println!("  built in {} s", start.elapsed().as_secs());
    Ok(programs
        .iter()
        .map(|(_, program)| folder.join(target).join("release").join(program))
        .collect())
}

/// Writes an archive as `docker save` does: the layers and configurations by digest, and a manifest.
fn archive(images: &[Image], to: &mut impl Write) -> Result<()> {
    let mut manifest = Vec::new();
    for image in images {
        let layer = layer(image.program.0, &image.program.1)?;
        let digest = hex(&Sha256::digest(&layer));
        let program = format!("/{}", image.program.0);
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": [program],
                "Cmd": image.arguments,
                "Env": ["PATH=/bin:/usr/local/bin:/"],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        }))?;
        let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
        let layer_name = format!("{digest}/layer.tar");
        entry(to, &config_name, 0o644, &config)?;
        entry(to, &layer_name, 0o644, &layer)?;
        manifest.push(json!({"Config": config_name, "RepoTags": image.tags, "Layers": [layer_name]}));
    }
    entry(to, "manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
    to.write_all(&END)?;
    Ok(())
}

fn layer(name: &str, program: &Path) -> Result<Vec<u8>> {
    let content = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let mut layer = Vec::with_capacity(content.len() + 4096);
    entry(&mut layer, name, 0o755, &content)?;
    layer.extend(END);
    Ok(layer)
}

const BLOCK: usize = 512;
/// Two empty blocks end an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Writes one file of an archive in the POSIX ustar format. Without a time: the same content is the same layer.
fn entry(to: &mut impl Write, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |value: &str, width: usize| {
        header.extend_from_slice(value.as_bytes());
        header.resize(header.len() + width.saturating_sub(value.len()), 0);
    };
    anyhow::ensure!(name.len() <= 100, "{name} is too long for an archive");
    field(name, 100);
    field(&format!("{mode:07o}"), 8);
    field("0000000", 8); // owner
    field("0000000", 8); // group
    field(&format!("{:011o}", content.len()), 12);
    field("00000000000", 12); // time
    field("        ", 8); // checksum: counted as spaces
    field("0", 1); // a plain file
    field("", 100); // link
    field("ustar", 6);
    field("00", 2); // version of the format
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    to.write_all(&header)?;
    to.write_all(content)?;
    let rest = content.len().next_multiple_of(BLOCK) - content.len();
    Ok(to.write_all(END.get(..rest).unwrap_or_default())?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let folder = std::env::temp_dir().join(format!("tidegate-images-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        std::fs::write(&program, "x".repeat(1000)).unwrap();
        let image = Image {
            tags: &["a:1", "b:2"],
            program: ("bin/p", program),
            arguments: &["serve"],
        };
        let file = folder.join("images.tar");
        archive(&[image], &mut std::fs::File::create(&file).unwrap()).unwrap();
        process::output(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&folder)).unwrap();

        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let read = |name: &serde_json::Value| std::fs::read(folder.join(name.as_str().unwrap())).unwrap();
        let config = read(&manifest[0]["Config"]);
        assert_eq!(
            manifest[0]["Config"],
            format!("{}.json", hex(&Sha256::digest(&config)))
        );
        let layer = read(&manifest[0]["Layers"][0]);
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex(&Sha256::digest(&layer)))
        );
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/p"]));
        assert_eq!(manifest[0]["RepoTags"], json!(["a:1", "b:2"]));

        let mut list = Command::new("tar");
        list.arg("-tvf")
            .arg(folder.join(manifest[0]["Layers"][0].as_str().unwrap()));
        let listed = process::output(&mut list).unwrap();
        assert!(
            listed.starts_with("-rwxr-xr-x 0/0 ") && listed.trim_end().ends_with(" bin/p"),
            "{listed}"
        );
        assert!(listed.contains(" 1000 "), "{listed}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
