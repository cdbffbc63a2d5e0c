//! What a child may touch, by Landlock: a thread restricts itself and then starts the child, which inherits that.

use std::fmt;
use std::io;
use std::path::Path;
use std::thread;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// What programs that are not static are linked with.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];
/// Landlock as of Linux 6.12; of an older kernel as much as it has.
const WANTED: ABI = ABI::V6;
/// From this one on, TCP is denied as well as files.
const WITH_NETWORK: ABI = ABI::V4;

/// A fence around one child.
pub(super) struct Fence<'a> {
    /// What it may run.
    pub(super) program: &'a Path,
    /// What it may read, beside libraries. It may write nowhere.
    pub(super) folder: &'a Path,
}

/// What the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Files, network and signals.
    Whole(ABI),
    /// What an older kernel can.
    Part(ABI),
    /// Nothing.
    None,
}

impl Force {
    /// Whether both files and network are denied.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Self::Whole(_)) || matches!(self, Self::Part(abi) if abi >= WITH_NETWORK)
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(abi) => write!(f, "other files and TCP are denied by Landlock {abi}"),
            Self::Part(abi) if *abi >= WITH_NETWORK => {
                write!(f, "other files and TCP are denied by Landlock {abi}")
            }
            Self::Part(abi) => write!(
                f,
                "other files are denied by Landlock {abi}; the network is not, which takes Linux 6.7"
            ),
            Self::None => f.write_str(
                "neither files nor the network are denied: this kernel has no Landlock, which takes Linux 5.13",
            ),
        }
    }
}

impl Fence<'_> {
    /// Does what starts the child, behind the fence. The calling thread stays free.
    pub(super) fn start<T: Send>(
        &self,
        child: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<(T, Force)> {
        let work = || {
            let status = self.restrict().map_err(io::Error::other)?;
            Ok((child()?, force(&status)))
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("helm fence".to_owned())
                .spawn_scoped(scope, work)?;
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread that starts helm panicked")))
        })
    }

    fn restrict(&self) -> Result<RestrictionStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = read | AccessFs::Execute;
        Ruleset::default()
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::from_all(WANTED))?
            .scope(Scope::from_all(WANTED))?
            .create()?
            .add_rules(path_beneath_rules(LIBRARIES, run))?
            .add_rules(path_beneath_rules([self.program], run))?
            .add_rules(path_beneath_rules([self.folder], read))?
            // what the child's input is
            .add_rules(path_beneath_rules(
                ["/dev/null"],
                AccessFs::ReadFile | AccessFs::WriteFile,
            ))?
            .restrict_self()
    }
}

fn force(status: &RestrictionStatus) -> Force {
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::NotEnforced, _) => Force::None,
        (RulesetStatus::FullyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            Force::Whole(*effective_abi)
        }
        (_, LandlockStatus::Available { effective_abi, .. }) => Force::Part(*effective_abi),
        _ => Force::None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    /// What a shell says behind the fence, and what is in force.
    fn shell(folder: &Path, script: &str) -> (bool, Force) {
        let program = Path::new("/bin/sh").canonicalize().unwrap();
        let fence = Fence {
            program: &program,
            folder,
        };
        let start = || {
            Command::new(&program)
                .args(["-c", script])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()
        };
        let (status, force) = fence.start(start).unwrap();
        (status.success(), force)
    }

    #[test]
    fn only_the_folder_can_be_read_and_nothing_written() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&mine, &other] {
            std::fs::write(folder.path().join("file"), "words\n").unwrap();
        }
        let (mine, other) = (mine.path(), other.path());
        let read = |folder: &Path| format!("read word < {}/file", folder.display());
        let (ran, force) = shell(mine, &read(mine));
        assert!(ran);
        if force == Force::None {
            eprintln!("skipped: {force}");
            return;
        }
        for denied in [
            read(other),
            "read word < /etc/passwd".to_owned(),
            "read word < /proc/self/environ".to_owned(),
            format!("echo > {}/new", mine.display()),
            format!("echo > {}/new", other.display()),
            "/bin/true".to_owned(),
        ] {
            assert!(!shell(mine, &denied).0, "{denied}");
        }
        // this process is as free as before
        std::fs::read(other.join("file")).unwrap();
        TcpListener::bind("127.0.0.1:0").unwrap();
    }
}
