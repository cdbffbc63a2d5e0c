//! Archives as `docker save` writes them: for each image one layer and its configuration, by digest, and a manifest.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Image, hex};

/// Something in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path, without a slash at the beginning.
    path: String,
    mode: u32,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Copy(PathBuf),
    Text(String),
    Link(String),
    Folder,
}

impl Entry {
    /// A file of this machine, or what a link of this machine leads to.
    pub(super) fn copy(path: impl Into<String>, mode: u32, from: impl Into<PathBuf>) -> Self {
        Self::new(path, mode, Content::Copy(from.into()))
    }

    pub(super) fn text(path: &str, text: &str) -> Self {
        Self::new(path, 0o644, Content::Text(text.to_owned()))
    }

    pub(super) fn link(path: impl Into<String>, to: &str) -> Self {
        Self::new(path, 0o777, Content::Link(to.to_owned()))
    }

    pub(super) fn folder(path: &str, mode: u32) -> Self {
        Self::new(path, mode, Content::Folder)
    }

    fn new(path: impl Into<String>, mode: u32, content: Content) -> Self {
        Self {
            path: path.into(),
            mode,
            content,
        }
    }

    fn write(&self, to: &mut impl Write) -> Result<()> {
        let (path, mode) = (&self.path, self.mode);
        match &self.content {
            Content::Copy(from) => file(to, path, mode, &read(from)?),
            Content::Text(text) => file(to, path, mode, text.as_bytes()),
            Content::Link(target) => header(to, path, mode, 0, '2', target),
            Content::Folder => header(to, path, mode, 0, '5', ""),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes the images into one archive.
pub(super) fn write(images: &[Image], to: &mut impl Write) -> Result<()> {
    let mut manifest = Vec::new();
    for image in images {
        let layer = layer(image)?;
        let digest = hex(&Sha256::digest(&layer));
        let program = format!("/{}", image.program.0);
        let config = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": [program],
                "Cmd": image.arguments,
                "Env": ["PATH=/usr/bin:/bin:/usr/local/bin:/"],
                "User": image.user,
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        }))?;
        let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
        let layer_name = format!("{digest}/layer.tar");
        file(to, &config_name, 0o644, &config)?;
        file(to, &layer_name, 0o644, &layer)?;
        manifest.push(json!({"Config": config_name, "RepoTags": image.tags, "Layers": [layer_name]}));
    }
    file(to, "manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
    to.write_all(&END)?;
    Ok(())
}

fn layer(image: &Image) -> Result<Vec<u8>> {
    let (path, program) = &image.program;
    let mut layer = Vec::new();
    file(&mut layer, path, 0o755, &read(program)?)?;
    for entry in &image.others {
        entry.write(&mut layer)?;
    }
    layer.extend(END);
    Ok(layer)
}

const BLOCK: usize = 512;
/// Two empty blocks end an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn file(to: &mut impl Write, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    header(to, path, mode, content.len(), '0', "")?;
    to.write_all(content)?;
    let rest = content.len().next_multiple_of(BLOCK) - content.len();
    Ok(to.write_all(END.get(..rest).unwrap_or_default())?)
}

/// Writes what stands before a content, in the POSIX ustar format. Without a time: the same content is the same layer.
fn header(to: &mut impl Write, path: &str, mode: u32, size: usize, kind: char, link: &str) -> Result<()> {
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |value: &str, width: usize| {
        header.extend_from_slice(value.as_bytes());
        header.resize(header.len() + width.saturating_sub(value.len()), 0);
    };
    for name in [path, link] {
        ensure!(name.len() <= 100, "{name} is too long for an archive");
    }
    field(path, 100);
    field(&format!("{mode:07o}"), 8);
    field("0000000", 8); // owner
    field("0000000", 8); // group
    field(&format!("{size:011o}"), 12);
    field("00000000000", 12); // time
    field("        ", 8); // checksum: counted as spaces
    field(&kind.to_string(), 1);
    field(link, 100);
    field("ustar", 6);
    field("00", 2); // version of the format
    header.resize(BLOCK, 0);
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    Ok(to.write_all(&header)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process;

    #[test]
    fn tar_reads_what_was_written() {
        let folder = std::env::temp_dir().join(format!("tidegate-images-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        fs::write(&program, "x".repeat(1000)).unwrap();
        let image = Image {
            arguments: &["serve"],
            user: "7:8",
            others: vec![
                Entry::copy("lib/copy", 0o755, &program),
                Entry::text("etc/text", "text\n"),
                Entry::link("lib/link", "copy"),
                Entry::folder("tmp", 0o1777),
            ],
            ..Image::new(&["a:1", "b:2"], "bin/p", program)
        };
        let file = folder.join("images.tar");
        write(&[image], &mut fs::File::create(&file).unwrap()).unwrap();
        process::output(Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&folder)).unwrap();

        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let read = |name: &serde_json::Value| fs::read(folder.join(name.as_str().unwrap())).unwrap();
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
        assert_eq!(config["config"]["User"], json!("7:8"));
        assert_eq!(manifest[0]["RepoTags"], json!(["a:1", "b:2"]));

        let mut list = Command::new("tar");
        list.arg("-tvf")
            .arg(folder.join(manifest[0]["Layers"][0].as_str().unwrap()));
        let listed = process::output(&mut list).unwrap();
        // the times are not ours to say: everything but them
        let lines: Vec<String> = listed
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                [&words[..3], &words[5..]].concat().join(" ")
            })
            .collect();
        assert_eq!(
            lines,
            [
                "-rwxr-xr-x 0/0 1000 bin/p",
                "-rwxr-xr-x 0/0 1000 lib/copy",
                "-rw-r--r-- 0/0 5 etc/text",
                "lrwxrwxrwx 0/0 0 lib/link -> copy",
                "drwxrwxrwt 0/0 0 tmp",
            ]
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
