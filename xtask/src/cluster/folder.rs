//! The folder of a box: everything that it writes lives here, and what the commands know about it.
//!
//! Not below /run or /var/log: the box sees its own ones there.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Profile;

/// The kubelet's sockets are below this folder, and a socket's path has at most 107 bytes.
const LONGEST: usize = 60;

/// The folder of one box.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    name: String,
    root: PathBuf,
}

/// What `up` leaves for the other commands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The first process of the box, as the machine numbers it.
    pub(crate) pid: u32,
    /// When that process started, in clock ticks since the machine did: tells it from a later one with the same number.
    pub(crate) started: u64,
    pub(crate) profile: Profile,
}

impl Folder {
    /// The folder of the box with this name, which need not exist.
    pub(crate) fn of(name: &str) -> Result<Self> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.len() <= 20 && name.chars().all(word),
            "a box is named with at most 20 of a-z, 0-9 and -, not {name:?}"
        );
        let state = user_folder("XDG_STATE_HOME", ".local/state")?;
        let root = state.join("boxes").join(name);
        ensure!(
            root.as_os_str().len() <= LONGEST && !root.starts_with("/run") && !root.starts_with("/var/log"),
            "{} cannot hold a box: set XDG_STATE_HOME to a short path that is not below /run or /var/log",
            root.display()
        );
        Ok(Self {
            name: name.to_owned(),
            root,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    /// The kubeconfig of one of the box's users.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.root.join("kubeconfigs").join(user)
    }

    /// What the programs of the box print.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.root.join("logs").join(format!("{program}.log"))
    }

    /// The requests of the counted users, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.root.join("logs/audit.log")
    }

    /// What the first process of the box has done so far, one line each.
    pub(crate) fn progress(&self) -> PathBuf {
        self.root.join("progress")
    }

    /// Makes the folder anew, for its user only.
    pub(crate) fn create(&self) -> Result<()> {
        self.remove()?;
        for folder in ["bin", "cni", "kubeconfigs", "logs"] {
            fs::create_dir_all(self.path(folder))?;
        }
        fs::set_permissions(&self.root, Permissions::from_mode(0o700))?;
        Ok(())
    }

    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.root.display()))
            }
            _ => Ok(()),
        }
    }

    /// One command at a time starts or ends a box; released when the file is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let file = self.root.with_extension("lock");
        fs::create_dir_all(file.parent().unwrap_or(&file))?;
        let lock = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        lock.lock()?;
        Ok(lock)
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        Ok(fs::write(self.path("box.json"), serde_json::to_vec(record)?)?)
    }

    /// The record of the box if its first process is alive.
    pub(crate) fn running(&self) -> Result<Option<Record>> {
        let Ok(text) = fs::read(self.path("box.json")) else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(&text).context("box.json of another version: remove it")?;
        Ok((start_of(record.pid) == Some(record.started)).then_some(record))
    }

    /// The record of the box, or an error that says how to start one.
    pub(crate) fn expect_running(&self) -> Result<Record> {
        let Some(record) = self.running()? else {
            bail!(
                "the box {:?} is not up: `cargo xtask cluster --name {} up`",
                self.name,
                self.name
            );
        };
        Ok(record)
    }
}

/// A folder of this user's own: `$variable/tidegate` or `~/fallback/tidegate`.
pub(crate) fn user_folder(variable: &str, fallback: &str) -> Result<PathBuf> {
    let base = match std::env::var_os(variable) {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        _ => {
            let home = std::env::home_dir().filter(|home| home.is_absolute());
            home.with_context(|| format!("neither {variable} nor HOME is set"))?
                .join(fallback)
        }
    };
    Ok(base.join("tidegate"))
}

/// When a process started, in clock ticks; `None` if there is no such process or it has ended.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the program's name, in brackets, may itself contain brackets and spaces
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (state != "Z").then_some(started)
}

/// The only child of a process.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
            fields.and_then(|fields| fields.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_words() {
        for name in ["", "Default", "a/b", "..", "a b", "a-name-that-is-much-too-long"] {
            assert!(Folder::of(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = start_of(std::process::id());
        assert!(own.is_some());
        assert_eq!(own, start_of(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // Other tests of this process have children as well.
        assert!(child_of(std::process::id()).is_some());
        assert!(start_of(child.id()) >= own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_of(child.id()), None);
    }
}
