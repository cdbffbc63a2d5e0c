//! Programs of this machine for an image: each at its own path, with the shared libraries that it needs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::archive::Entry;
use crate::process;

/// Where a program of Debian's looks for the authorities of the web's certificates.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The shared libraries of a program.
pub(super) fn libraries_of(program: &Path) -> Result<Vec<Entry>> {
    let found = listed_for(program)?;
    found.iter().map(|library| copy(library, 0o755)).collect()
}

/// What the controller runs to talk to repositories, as the image of `deploy/Containerfile` has it: git and ssh, a shell,
/// the user that they run as, and folders to write in; and the shared libraries of all of them and of the controller.
pub(super) fn git(controller: &Path) -> Result<Vec<Entry>> {
    let git = find("git")?;
    let core = process::output(Command::new(&git).arg("--exec-path"))?;
    let http = Path::new(core.trim()).join("git-remote-http");
    let programs = [
        git,
        http.clone(),
        find("ssh")?,
        find("ssh-keygen")?,
        PathBuf::from("/bin/sh"),
    ];
    let mut libraries = BTreeSet::from_iter(listed_for(controller)?);
    for program in &programs {
        libraries.extend(listed_for(program)?);
    }
    let authorities = PathBuf::from(AUTHORITIES);
    let mut entries = vec![copy(&authorities, 0o644)?];
    for program in programs.iter().chain(&libraries) {
        entries.push(copy(program, 0o755)?);
    }
    entries.extend([
        // git's own name for the same program when the address begins with https
        Entry::link(format!("{}s", inside(&http)?), "git-remote-http"),
        Entry::folder("usr/share/git-core/templates", 0o755),
        // ssh does not work for a user without a name
        Entry::text(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\ntidegate:x:65532:65532::/tmp:/bin/sh\n",
        ),
        Entry::text("etc/group", "root:x:0:\ntidegate:x:65532:\n"),
        Entry::folder("tmp", 0o1777),
        Entry::folder("var/cache/tidegate", 0o1777),
    ]);
    Ok(entries)
}

fn find(program: &str) -> Result<PathBuf> {
    process::find(program).with_context(|| {
        format!(
            "{program} is missing: `apt-get install --no-install-recommends git openssh-client ca-certificates`"
        )
    })
}

fn copy(file: &Path, mode: u32) -> Result<Entry> {
    Ok(Entry::copy(inside(file)?, mode, file))
}

/// The same path in an image.
fn inside(file: &Path) -> Result<String> {
    let path = file
        .to_str()
        .and_then(|path| path.strip_prefix('/'))
        .with_context(|| format!("{} is not an absolute path", file.display()))?;
    Ok(path.to_owned())
}

fn listed_for(program: &Path) -> Result<Vec<PathBuf>> {
    libraries(&process::output(Command::new("ldd").arg(program))?)
        .with_context(|| format!("the shared libraries of {}", program.display()))
}

/// The files that `ldd` names: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` for the one that loads the others. What the kernel
/// brings has no path.
fn libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let wanted = line.split_once(" => ").map_or(line, |(_, path)| path).trim();
        if wanted == "not found" {
            bail!("{}", line.trim());
        }
        let path = wanted.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_in_what_ldd_says() {
        let listed = "\tlinux-vdso.so.1 (0x00007f135b9cc000)
\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f135b547000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f135b9ce000)\n";
        assert_eq!(
            libraries(listed).unwrap(),
            ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        let missing = libraries("\tliba.so.1 => not found\n").unwrap_err();
        assert_eq!(missing.to_string(), "liba.so.1 => not found");
        assert!(libraries("\tstatically linked\n").unwrap().is_empty());
    }
}
