//! Repositories: one bare and shallow copy for each address and credentials, one operation at a time in each.

mod commit;
mod fetch;
mod files;
mod heads;
mod listing;
mod render;
mod restore;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tidegate_gitsync::remote::{CommitInfo, Credentials, GitAnswer, GitRequest, Remote, RemoteError};
use tidegate_gitsync::tree::Oid;
use tokio::sync::OwnedMutexGuard;

use self::files::Reader;
use self::listing::Listing;
use crate::address::Address;
use crate::child::{Access, Call, Children, bytes_below};
use crate::{Helm, Options, SetupError, trouble};

/// Commits of a repository whose listing is kept in memory.
const KEPT_LISTINGS: usize = 2;
/// A repository that nobody asks for so long is removed.
const UNUSED: Duration = Duration::from_hours(6);
/// How often, and after which pause, the cache folder is asked for while somebody has it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Most bytes that a child says about a repository which is here already.
const MAX_LOCAL_OUTPUT: usize = 64 << 20;

/// Answers what is asked of repositories.
pub struct Git {
    options: Options,
    children: Arc<Children>,
    helm: Option<Arc<Helm>>,
    repositories: Mutex<BTreeMap<String, Known>>,
    /// Held for as long as the cache is ours.
    _lock: File,
}

/// A repository in the cache.
struct Known {
    repository: Arc<tokio::sync::Mutex<Repository>>,
    used: Instant,
    bytes: u64,
}

/// What is here of a repository.
struct Repository {
    folder: PathBuf,
    /// Whether the folder is there and nothing was interrupted in it.
    sound: bool,
    /// Fetches since the folder was made: each leaves one pack.
    fetches: usize,
    /// What refs were at when last looked at.
    refs: BTreeMap<String, Oid>,
    /// The newest last.
    commits: VecDeque<(Oid, Commit)>,
    /// Kept only while somebody waits for the repository.
    reader: Option<Reader>,
}

/// A commit that was listed.
#[derive(Clone)]
struct Commit {
    listing: Arc<Listing>,
    info: CommitInfo,
}

/// One operation on a repository, which nobody else touches meanwhile.
struct Work<'a> {
    git: &'a Git,
    access: Access,
    repository: OwnedMutexGuard<Repository>,
}

impl Git {
    /// Takes the cache folder and looks for `git`, and for `helm` if that is wanted.
    ///
    /// # Errors
    /// There is no `git`, no `helm`, or the folder cannot be used.
    pub fn new(options: Options) -> Result<Self, SetupError> {
        let program = PathBuf::from("git");
        look_for(&program)?;
        let lock = take(&options.cache)?;
        let protocols: Vec<_> = options.protocols.iter().map(|protocol| protocol.name()).collect();
        let children = Children::new(program, &options.cache, protocols.join(":"), options.timeout);
        let helm = options
            .helm
            .as_ref()
            .map(|program| Helm::new(program, children.private.clone()))
            .transpose()?;
        Ok(Self {
            children: Arc::new(children),
            helm: helm.map(Arc::new),
            options,
            repositories: Mutex::default(),
            _lock: lock,
        })
    }

    /// What renders Helm charts.
    pub fn helm(&self) -> Option<&Helm> {
        self.helm.as_deref()
    }

    /// Asks or orders. Dropping the future stops what runs for it.
    ///
    /// # Errors
    /// Says what could not be done, where, and in git's words why.
    pub async fn answer(&self, request: GitRequest) -> Result<GitAnswer, RemoteError> {
        let remote = match &request {
            GitRequest::Heads { remote, .. }
            | GitRequest::Render { remote, .. }
            | GitRequest::Point { remote, .. } => remote,
            GitRequest::Restore(restore) => &restore.remote,
        };
        let address = Address::parse(&remote.url, &self.options.protocols)?;
        let access = Access::new(address, &remote.credentials, &self.children.private)?;
        let name = folder_name(remote);
        let mut work = Work {
            git: self,
            access,
            repository: self.repository(&name).lock_owned().await,
        };
        let answer = match request {
            GitRequest::Heads { refs, .. } => work.heads(&refs).await.map(GitAnswer::Heads),
            GitRequest::Render {
                commit,
                path,
                release,
                known,
                signers,
                ..
            } => {
                work.render(&commit, (&path, &release), known.as_ref(), signers.as_deref())
                    .await
            }
            GitRequest::Point {
                reference, commit, ..
            } => work.point(&reference, &commit).await,
            GitRequest::Restore(restore) => work.restore(&restore).await,
        };
        let folder = work.repository.folder.clone();
        drop(work);
        self.sweep(&name, bytes_below(folder).await).await;
        answer
    }

    fn repository(&self, name: &str) -> Arc<tokio::sync::Mutex<Repository>> {
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = repositories.entry(name.to_owned()).or_insert_with(|| Known {
            repository: Arc::new(tokio::sync::Mutex::new(Repository {
                folder: self.options.cache.join("repositories").join(name),
                sound: false,
                fetches: 0,
                refs: BTreeMap::new(),
                commits: VecDeque::new(),
                reader: None,
            })),
            used: Instant::now(),
            bytes: 0,
        });
        known.used = Instant::now();
        Arc::clone(&known.repository)
    }

    /// Notes the size of a repository, and removes what was unused for long, or longest if there is too much
    /// of all.
    async fn sweep(&self, name: &str, bytes: u64) {
        let mut gone = Vec::new();
        {
            let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = repositories.get_mut(name) {
                known.bytes = bytes;
            }
            let mut oldest: Vec<_> = repositories
                .iter()
                .map(|(name, known)| (known.used, name.clone()))
                .collect();
            oldest.sort();
            let mut total: u64 = repositories.values().map(|known| known.bytes).sum();
            for (used, name) in oldest {
                let idle = |known: &Known| Arc::strong_count(&known.repository) == 1;
                if (total > self.options.max_cache_bytes || used.elapsed() > UNUSED)
                    && repositories.get(&name).is_some_and(idle)
                    && let Some(known) = repositories.remove(&name)
                {
                    total -= known.bytes;
                    gone.extend(self.set_aside(&name));
                }
            }
        }
        // removing takes its time, which nobody waits for with the lock in hand
        let _ = tokio::task::spawn_blocking(|| drop(gone)).await;
    }

    /// Moves a folder away, so that its name is free at once; it goes when what is returned goes.
    fn set_aside(&self, name: &str) -> Option<tempfile::TempDir> {
        let away = tempfile::tempdir_in(&self.children.private).ok()?;
        let folder = self.options.cache.join("repositories").join(name);
        std::fs::rename(folder, away.path().join(name)).ok()?;
        Some(away)
    }
}

impl Work<'_> {
    /// `verb address`, for messages.
    fn doing(&self, verb: &str) -> String {
        format!("{verb} {}", self.access.address)
    }

    /// Runs `git` in the repository, without a server.
    async fn local(&self, args: &[&str], call: Call<'_>) -> Result<Vec<u8>, RemoteError> {
        let doing = || self.doing(&format!("git {} in a copy of", args.first().unwrap_or(&"")));
        let call = Call {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            repository: Some(&self.repository.folder),
            max_output: MAX_LOCAL_OUTPUT,
            ..call
        };
        let ended = self.git.children.run(call).await;
        let ended = ended.map_err(|stopped| trouble::stopped(&doing(), &stopped))?;
        if ended.success {
            return Ok(ended.output);
        }
        let reason = trouble::reason(&ended.complaint);
        Err(RemoteError::Unavailable(format!("{}: {reason}", doing())))
    }
}

/// Name of a repository's folder.
fn folder_name(remote: &Remote) -> String {
    let (first, second) = match &remote.credentials {
        Credentials::None => ("", ""),
        Credentials::Basic { username, password } => (username.as_str(), password.as_str()),
        Credentials::Ssh { key, known_hosts } => (key.as_str(), known_hosts.as_str()),
    };
    let mut digest = Sha256::new();
    for text in [&remote.url, first, second] {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn look_for(program: &Path) -> Result<(), SetupError> {
    let version = std::process::Command::new(program)
        .arg("version")
        .output()
        .map_err(|error| SetupError::NoGit(error.to_string()))?;
    let text = String::from_utf8_lossy(&version.stdout);
    let mut numbers = text
        .trim()
        .trim_start_matches("git version ")
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < (2, 31) {
        return Err(SetupError::NoGit(format!("it is {}", trouble::quote(&text))));
    }
    Ok(())
}

/// Makes the cache folder ours and empty.
fn take(cache: &Path) -> Result<File, SetupError> {
    let refuse = |message: String| SetupError::Cache {
        path: cache.to_owned(),
        message,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    // it stands in a command line of a shell and in options of ssh
    if !cache.is_absolute() || !cache.as_os_str().as_encoded_bytes().iter().copied().all(plain) {
        return Err(refuse(
            "name an absolute path of letters, digits and /._-".to_owned(),
        ));
    }
    let make = || -> std::io::Result<Option<File>> {
        std::fs::create_dir_all(cache)?;
        let lock = File::create(cache.join("lock"))?;
        let mut tries = LOCK_TRIES;
        while let Err(error) = lock.try_lock() {
            match error {
                // a process that has just ended may have left a child that has it for a moment longer
                TryLockError::WouldBlock if tries > 0 => std::thread::sleep(LOCK_PAUSE),
                TryLockError::WouldBlock => return Ok(None),
                TryLockError::Error(error) => return Err(error),
            }
            tries -= 1;
        }
        for name in ["home", "private", "repositories"] {
            let folder = cache.join(name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            std::fs::create_dir(&folder)?;
            std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        }
        Ok(Some(lock))
    };
    match make() {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(refuse("another process uses it: give each its own".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
