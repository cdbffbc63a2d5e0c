//! The control groups of a box's containers. Control groups have no namespace here: what a box made must be removed by hand.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::folder::Folder;

const ROOT: &str = "/sys/fs/cgroup";
/// containerd's own: the kubelet names another one only where it manages a whole tree.
const CONTAINERS: &str = "k8s.io";
/// containerd makes a folder for each container in its own, named as its control group.
const CONTAINER_FOLDERS: &str = "containerd/io.containerd.runtime.v2.task/k8s.io";

/// Eight times what another group gets. Each container asks for next to nothing, and a measurement beside a compiler would
/// measure the compiler.
const SHARES: &str = "8192";

/// Gives the containers of boxes, and the calling process's own programs, more of a busy processor than others have.
pub(crate) fn prefer() -> Result<()> {
    let hierarchy = Path::new(ROOT).join("cpu");
    if hierarchy.is_dir() {
        let group = hierarchy.join(CONTAINERS);
        fs::create_dir_all(&group)?;
        fs::write(group.join("cpu.shares"), SHARES)
            .context("cannot set the containers' share of the processor")?;
    }
    // not every kernel groups sessions
    fs::write("/proc/self/autogroup", "-10").ok();
    Ok(())
}

/// Removes the groups of a box whose processes have ended.
pub(crate) fn remove(folder: &Folder) -> Result<()> {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let containers: Vec<_> = entries(folder.path(CONTAINER_FOLDERS))
        .map(|entry| entry.file_name())
        .collect();
    for hierarchy in entries(ROOT.into()) {
        for container in &containers {
            let group = hierarchy.path().join(CONTAINERS).join(container);
            if group.is_dir() {
                remove_tree(&group).with_context(|| format!("cannot remove {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Only the folders of a control group can be removed, not its files; and the kernel takes a moment after the last process.
fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.filter_map(Result::ok) {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    for _ in 0..100 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
    fs::remove_dir(group)
}
