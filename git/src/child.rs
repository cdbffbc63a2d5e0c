//! `git` as a child process: a bare environment, a time limit, limits of what it says, and an end for all
//! that it started.

mod access;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::access::Access;

/// Most children at once.
const MAX_CHILDREN: usize = 4;
/// How much is kept of the end of what a child complains about.
const MAX_COMPLAINT: usize = 16 << 10;
/// How often the size of a folder is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Configuration of every child; nothing else is read.
const CONFIG: [(&str, &str); 20] = [
    ("core.hooksPath", "/dev/null"),
    ("core.askPass", ""),
    ("core.fsmonitor", "false"),
    // larger ones are streamed to disk
    ("core.bigFileThreshold", "16m"),
    ("credential.helper", ""),
    ("protocol.version", "2"),
    ("transfer.fsckObjects", "true"),
    ("transfer.bundleURI", "false"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
    // always one pack: written as it comes, so that its size can be watched
    ("fetch.unpackLimit", "1"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("push.recurseSubmodules", "no"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("pack.threads", "1"),
    ("log.showSignature", "false"),
    ("commit.gpgSign", "false"),
];

/// What of our own environment counts for children as well, and how git calls it: proxies, and the authorities of certificates. Our
/// requests to forges and chats go by the same.
const CONNECTIONS: [(&str, &str); 7] = [
    ("HTTPS_PROXY", "HTTPS_PROXY"),
    ("https_proxy", "https_proxy"),
    ("http_proxy", "http_proxy"),
    ("ALL_PROXY", "ALL_PROXY"),
    ("NO_PROXY", "NO_PROXY"),
    ("no_proxy", "no_proxy"),
    ("SSL_CERT_FILE", "GIT_SSL_CAINFO"),
];

/// Starts children.
pub(crate) struct Children {
    pub(crate) program: PathBuf,
    /// Where programs are looked for.
    pub(crate) path: OsString,
    /// By which ways servers are reached.
    connections: Vec<(&'static str, OsString)>,
    /// An empty folder.
    pub(crate) home: PathBuf,
    /// For temporary files.
    pub(crate) private: PathBuf,
    /// `https:ssh`
    pub(crate) protocols: String,
    pub(crate) timeout: Duration,
    permits: Arc<Semaphore>,
}

/// What one child is to do.
#[derive(Default)]
pub(crate) struct Call<'a> {
    pub(crate) args: Vec<String>,
    /// The repository, if it needs one.
    pub(crate) repository: Option<&'a Path>,
    /// The server that it talks to.
    pub(crate) access: Option<&'a Access>,
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) input: Vec<u8>,
    /// Most bytes that it may write out.
    pub(crate) max_output: usize,
    /// Longest time, if shorter than for all.
    pub(crate) timeout: Option<Duration>,
    /// Most bytes that the repository may take meanwhile.
    pub(crate) max_bytes: Option<u64>,
}

/// What it did.
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) output: Vec<u8>,
    /// The end of what it complained about, without secrets.
    pub(crate) complaint: String,
}

/// How a child ended and what it said.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    /// The end of what it complained about.
    pub(crate) complaint: String,
}

/// Why it did not come to an end by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("git cannot be run: {0}")]
    Io(#[from] std::io::Error),
    #[error("no end within {} s", .0.as_secs_f64())]
    TooLong(Duration),
    #[error("an answer of more than {0} bytes")]
    TooMuch(usize),
    #[error("the repository takes more than {0} bytes")]
    TooBig(u64),
}

/// A running child. It ends with all that it started when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    group: Option<Pid>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// A child that leads a process group.
    pub(crate) fn new(child: Child, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            group: child.id().and_then(|id| Pid::from_raw(id.cast_signed())),
            child,
            _permit: permit,
        }
    }

    /// Talks with it until its end, or until `stop` says why it has to end.
    pub(crate) async fn finish(
        mut self,
        input: &[u8],
        max_output: usize,
        stop: impl Future<Output = Stopped>,
    ) -> Result<Said, Stopped> {
        let ended = tokio::select! {
            ended = converse(&mut self.child, input, max_output) => ended,
            stopped = stop => Err(stopped),
        };
        match ended {
            Ok(said) => {
                self.group = None;
                Ok(said)
            }
            Err(stopped) => {
                self.kill();
                self.child.wait().await?;
                Err(stopped)
            }
        }
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // it may be over already
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Children {
    pub(crate) fn new(program: PathBuf, cache: &Path, protocols: String, timeout: Duration) -> Self {
        Self {
            program,
            path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
            connections: connections(|name| std::env::var_os(name)),
            home: cache.join("home"),
            private: cache.join("private"),
            protocols,
            timeout,
            permits: Arc::new(Semaphore::new(MAX_CHILDREN)),
        }
    }

    /// Runs a child to its end.
    pub(crate) async fn run(&self, call: Call<'_>) -> Result<Ended, Stopped> {
        let permit = self.permit().await;
        let running = self.spawn(&call, permit)?;
        let timeout = call
            .timeout
            .map_or(self.timeout, |shorter| self.timeout.min(shorter));
        let stop = async {
            tokio::select! {
                () = tokio::time::sleep(timeout) => Stopped::TooLong(timeout),
                bytes = outgrown(call.repository, call.max_bytes) => Stopped::TooBig(bytes),
            }
        };
        let Said {
            status,
            output,
            complaint,
        } = running.finish(&call.input, call.max_output, stop).await?;
        let complaint = call
            .access
            .map_or_else(|| complaint.clone(), |access| access.scrub(&complaint));
        Ok(Ended {
            success: status.success(),
            output,
            complaint,
        })
    }

    /// Waits until there are few enough children that do something.
    pub(crate) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // fails only when the semaphore is closed, which nobody does
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Starts a child, which keeps the permit as long as it runs.
    pub(crate) fn spawn(
        &self,
        call: &Call<'_>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> std::io::Result<Running> {
        Ok(Running::new(self.command(call).spawn()?, permit))
    }

    fn command(&self, call: &Call<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&call.args)
            .current_dir(&self.home)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("TMPDIR", &self.private)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("GIT_ALLOW_PROTOCOL", &self.protocols)
            .envs(self.connections.iter().map(|(key, value)| (key, value)))
            .envs(call.variables.iter().map(|(key, value)| (key, value)))
            // no repository that lies around is found
            .env("GIT_DIR", call.repository.unwrap_or(&self.home))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let ours = CONFIG.iter().map(|(key, value)| (*key, *value));
        let theirs = call.access.iter().flat_map(|access| &access.config);
        let theirs = theirs.map(|(key, value)| (key.as_str(), value.as_str()));
        let mut count = 0;
        for (key, value) in ours.chain(theirs) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        if let Some(access) = call.access {
            command.envs(access.variables.iter().map(|(key, value)| (key, value)));
        }
        command
    }
}

/// [`CONNECTIONS`] as they are set for us.
fn connections(of: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let set = CONNECTIONS
        .iter()
        .map(|(ours, theirs)| Some((*theirs, of(ours)?)));
    set.flatten().collect()
}

/// Writes the input and reads both outputs at once, so that neither side waits for the other.
async fn converse(child: &mut Child, input: &[u8], max_output: usize) -> Result<Said, Stopped> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // a child that wants no more of it says why in its complaint
            let _ = stdin.write_all(input).await;
        }
        Ok(())
    };
    let ((), output, complaint) = tokio::try_join!(feed, whole(stdout, max_output), end(stderr))?;
    Ok(Said {
        status: child.wait().await?,
        output,
        complaint: String::from_utf8_lossy(&complaint).into_owned(),
    })
}

async fn whole(source: Option<impl AsyncRead + Unpin>, max: usize) -> Result<Vec<u8>, Stopped> {
    let mut output = Vec::new();
    if let Some(source) = source {
        source.take(max as u64 + 1).read_to_end(&mut output).await?;
    }
    if output.len() > max {
        return Err(Stopped::TooMuch(max));
    }
    Ok(output)
}

async fn end(source: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, Stopped> {
    let mut kept = Vec::new();
    let mut chunk = [0; 4_096];
    if let Some(mut source) = source {
        loop {
            let read = source.read(&mut chunk).await?;
            if read == 0 {
                break;
            }
            kept.extend(chunk.iter().take(read));
            let over = kept.len().saturating_sub(MAX_COMPLAINT);
            kept.drain(..over);
        }
    }
    Ok(kept)
}

/// Waits until a folder is larger than it may be; for ever if there is no limit. Gives the limit.
async fn outgrown(folder: Option<&Path>, limit: Option<u64>) -> u64 {
    let (Some(folder), Some(limit)) = (folder, limit) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(LOOK).await;
        if bytes_below(folder.to_owned()).await > limit {
            return limit;
        }
    }
}

/// Bytes of all files of a folder; what vanishes meanwhile is not counted.
pub(crate) async fn bytes_below(folder: PathBuf) -> u64 {
    let count = move || {
        let (mut folders, mut bytes) = (vec![folder], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                    Ok(metadata) => bytes += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    };
    tokio::task::spawn_blocking(count).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use tidegate_gitsync::remote::Credentials;

    use super::*;
    use crate::address::{Address, Protocol};

    /// Children of a program in a temporary folder.
    fn children(program: &str, timeout: Duration) -> (tempfile::TempDir, Children) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "private"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let children = Children::new(program.into(), folder.path(), "https:ssh".to_owned(), timeout);
        (folder, children)
    }

    fn shell(script: &str, max_output: usize) -> Call<'static> {
        Call {
            args: vec!["-c".to_owned(), script.to_owned()],
            max_output,
            ..Call::default()
        }
    }

    #[test]
    fn the_command_holds_no_credentials_and_its_environment_is_our_own() {
        let (folder, mut children) = children("git", Duration::from_secs(1));
        children.connections = connections(|name| match name {
            "HTTPS_PROXY" => Some("http://proxy.test:3128".into()),
            "SSL_CERT_FILE" => Some("/etc/authorities.pem".into()),
            _ => None,
        });
        let address = Address::parse("https://git.test/a", &BTreeSet::from([Protocol::Https])).unwrap();
        let credentials = Credentials::Basic {
            username: "robot".to_owned(),
            password: "hunter2".to_owned(),
        };
        let access = Access::new(address, &credentials, folder.path()).unwrap();
        let command = children.command(&Call {
            args: vec!["fetch".to_owned(), access.address.as_str().to_owned()],
            access: Some(&access),
            ..Call::default()
        });
        let command = command.as_std();
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args, ["fetch", "https://git.test/a"]);
        let environment: BTreeMap<String, String> = command
            .get_envs()
            .map(|(key, value)| {
                let value = value.unwrap().to_str().unwrap().to_owned();
                (key.to_str().unwrap().to_owned(), value)
            })
            .collect();
        for (key, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", "https:ssh"),
            ("LC_ALL", "C"),
            ("HOME", children.home.to_str().unwrap()),
            ("HTTPS_PROXY", "http://proxy.test:3128"),
            ("GIT_SSL_CAINFO", "/etc/authorities.pem"),
            ("GIT_CONFIG_COUNT", "21"),
            ("GIT_CONFIG_KEY_0", "core.hooksPath"),
            ("GIT_CONFIG_KEY_20", "http.https://git.test/.extraHeader"),
            ("GIT_CONFIG_VALUE_20", "Authorization: Basic cm9ib3Q6aHVudGVyMg=="),
        ] {
            assert_eq!(environment.get(key).map(String::as_str), Some(value), "{key}");
        }
        // `env_clear` hides what is not listed, so the list is all there is
        assert!(!environment.contains_key("CARGO_MANIFEST_DIR"));
    }

    #[tokio::test]
    async fn a_child_speaks_and_ends() {
        let (_folder, children) = children("sh", Duration::from_secs(20));
        let mut call = shell("cat; echo no >&2; echo ${CARGO_MANIFEST_DIR-unset}; exit 3", 100);
        call.input = b"in ".to_vec();
        let ended = children.run(call).await.unwrap();
        assert_eq!(
            (ended.success, &*ended.output, &*ended.complaint),
            (false, b"in unset\n".as_slice(), "no\n")
        );
        let ended = children.run(shell("yes | head -c 99999 >&2", 0)).await.unwrap();
        assert_eq!(ended.complaint.len(), MAX_COMPLAINT);
    }

    #[tokio::test]
    async fn a_child_is_stopped_with_all_that_it_started() {
        let (folder, children) = children("sh", Duration::from_millis(300));
        // the grandchild holds the pipe and would write the file later
        let file = folder.path().join("late");
        let script = format!("(sleep 1; touch {}) & wait", file.display());
        let stopped = children.run(shell(&script, 10)).await.err().unwrap();
        assert_eq!(stopped.to_string(), "no end within 0.3 s");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(!file.exists());
    }

    #[tokio::test]
    async fn a_child_that_writes_too_much_is_stopped() {
        let (_folder, children) = children("sh", Duration::from_secs(20));
        let stopped = children.run(shell("yes", 1_000)).await.err().unwrap();
        assert_eq!(stopped.to_string(), "an answer of more than 1000 bytes");
    }

    #[tokio::test]
    async fn a_child_that_fills_its_folder_is_stopped() {
        let (folder, children) = children("sh", Duration::from_secs(20));
        let repository = folder.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        let mut call = shell("head -c 5000 /dev/zero > $GIT_DIR/a; sleep 20", 10);
        call.repository = Some(&repository);
        call.max_bytes = Some(4_999);
        let stopped = children.run(call).await.err().unwrap();
        assert_eq!(stopped.to_string(), "the repository takes more than 4999 bytes");
    }
}
