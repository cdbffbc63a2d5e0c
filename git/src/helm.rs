//! `helm template` as a child process, behind a fence: it sees a copy of the chart and nothing else of this machine or of any
//! network, and has limits of time, memory and output.

mod fence;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tempfile::TempDir;
use tidegate_gitsync::render::helm::{Call, Helm as Renderer, HelmError};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::fence::{Fence, Force};
use crate::SetupError;
use crate::child::{Running, Said, Stopped};
use crate::trouble::quote;

/// The oldest `helm` that has all flags.
const OLDEST: (u32, u32) = (3, 8);
/// A proxy that nobody is: the second fence before a network, after Landlock.
const NO_PROXY: &str = "http://127.0.0.1:9";

/// What one chart may cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    time: Duration,
    /// Seconds of a processor.
    processor: u64,
    /// Bytes.
    memory: u64,
    /// Bytes that are printed.
    output: usize,
}

const COST: Cost = Cost {
    time: Duration::from_secs(30),
    processor: 20,
    memory: 512 << 20,
    output: 32 << 20,
};

/// Runs `helm template`, one child for each processor at a time.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    version: String,
    force: Force,
    /// For the copies of charts.
    private: PathBuf,
    cost: Cost,
    permits: Semaphore,
}

impl Helm {
    /// Looks for `helm`, and tries the fence that is around it. `private` is a folder of ours that nobody else sees.
    ///
    /// # Errors
    /// There is no `helm` at that path, it is too old, or it does not run behind the fence.
    pub fn new(program: &Path, private: PathBuf) -> Result<Self, SetupError> {
        let refuse = |message: String| SetupError::NoHelm {
            path: program.to_owned(),
            message,
        };
        let failed = |error: io::Error| refuse(error.to_string());
        let program = program.canonicalize().map_err(failed)?;
        let folder = tempfile::tempdir_in(&private).map_err(failed)?;
        let mut command = std::process::Command::new(&program);
        command
            .args(["version", "--template", "{{.Version}}"])
            .current_dir(folder.path())
            .env_clear()
            .envs(environment(folder.path()))
            .stdin(Stdio::null());
        let (output, force) = fence(&program, folder.path())
            .start(|| command.output())
            .map_err(failed)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = quote(&said);
        if !output.status.success() || number(&version).is_none_or(|number| number < OLDEST) {
            let complaint = quote(&String::from_utf8_lossy(&output.stderr));
            return Err(refuse(format!(
                "it says {version:?} {complaint}: use Helm {}.{} or newer",
                OLDEST.0, OLDEST.1
            )));
        }
        let permits = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            program,
            version,
            force,
            private,
            cost: COST,
            permits: Semaphore::new(permits),
        })
    }

    /// Its version, and what the fence around it is made of: for the log.
    pub fn describe(&self) -> String {
        let Cost {
            time,
            processor,
            memory,
            output,
        } = self.cost;
        format!(
            "helm {} at {}; {}; at most {} s, {processor} s of a processor, {} MiB of memory and {} MiB of output",
            self.version,
            self.program.display(),
            self.force,
            time.as_secs(),
            memory >> 20,
            output >> 20,
        )
    }

    /// Whether the kernel keeps it from other files and from the network.
    pub fn is_fenced(&self) -> bool {
        self.force.is_whole()
    }

    async fn template(&self, call: &Call) -> Result<String, HelmError> {
        let failed = |error: io::Error| HelmError::Unavailable(format!("helm cannot be run: {error}"));
        // fails only when the semaphore is closed, which nobody does
        let _permit = self.permits.acquire().await.ok();
        let folder = self.write(&call.files).map_err(failed)?;
        let begin = Instant::now();
        let running = self.spawn(&call.arguments, folder.path()).map_err(failed)?;
        let time = self.cost.time;
        let stop = async {
            tokio::time::sleep(time).await;
            Stopped::TooLong(time)
        };
        let said = running.finish(&[], self.cost.output, stop).await;
        let said = said.map_err(|stopped| match stopped {
            Stopped::TooMuch(_) | Stopped::TooBig(_) => HelmError::Refused(format!(
                "the chart renders to more than {} bytes",
                self.cost.output
            )),
            // the machine may be busy
            Stopped::TooLong(_) | Stopped::Io(_) => HelmError::Unavailable(format!("helm: {stopped}")),
        })?;
        let here = format!("{}/", folder.path().display());
        self.judge(said, begin.elapsed()).map_err(|error| match error {
            HelmError::Refused(words) => HelmError::Refused(words.replace(&here, "")),
            HelmError::Unavailable(words) => HelmError::Unavailable(words.replace(&here, "")),
        })
    }

    /// A folder with these files, which goes with what is returned.
    fn write(&self, files: &BTreeMap<String, Arc<[u8]>>) -> io::Result<TempDir> {
        let folder = tempfile::Builder::new()
            .prefix("chart")
            .tempdir_in(&self.private)?;
        for (path, content) in files {
            let path = folder.path().join(path);
            if let Some(above) = path.parent() {
                std::fs::create_dir_all(above)?;
            }
            std::fs::write(path, content)?;
        }
        Ok(folder)
    }

    fn spawn(&self, arguments: &[String], folder: &Path) -> io::Result<Running> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .envs(environment(folder))
            .env("GOMEMLIMIT", format!("{}MiB", (self.cost.memory >> 20) * 3 / 4))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let runtime = Handle::current();
        let (child, _) = fence(&self.program, folder).start(|| {
            let _within = runtime.enter();
            command.spawn()
        })?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let running = Running::new(child, None);
        for (resource, most) in [
            (Resource::Cpu, self.cost.processor),
            // Go reserves far more addresses than it uses: only what it may write to counts
            (Resource::Data, self.cost.memory),
            (Resource::Fsize, 0),
            (Resource::Core, 0),
            (Resource::Nofile, 256),
        ] {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            prlimit(pid, resource, limit)?;
        }
        Ok(running)
    }

    /// What an end means.
    fn judge(&self, said: Said, took: Duration) -> Result<String, HelmError> {
        let Said {
            status,
            output,
            complaint,
        } = said;
        if status.success() {
            return String::from_utf8(output).map_err(|_| {
                HelmError::Refused("the chart renders to something that is not UTF-8 text".to_owned())
            });
        }
        let killed = |by: Signal, status: ExitStatus| status.signal() == Some(by.as_raw());
        // Go collects on every core, so the time is used up in a part of itself.
        let cores =
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let used_up = took.saturating_mul(cores) >= Duration::from_secs(self.cost.processor);
        if killed(Signal::XCPU, status) || killed(Signal::KILL, status) && used_up {
            let message = format!(
                "the chart needs more than {} s of a processor",
                self.cost.processor
            );
            return Err(HelmError::Refused(message));
        }
        if complaint.contains("out of memory") || complaint.contains("cannot allocate memory") {
            let message = format!(
                "the chart needs more than {} MiB of memory",
                self.cost.memory >> 20
            );
            return Err(HelmError::Refused(message));
        }
        match status.code() {
            Some(1) => Err(HelmError::Refused(complaint)),
            _ => Err(HelmError::Unavailable(format!(
                "helm ended with {status}: {}",
                quote(&complaint)
            ))),
        }
    }
}

impl Renderer for Helm {
    /// Blocks: for a thread of a tokio runtime that may be blocked.
    fn run(&self, call: &Call) -> Result<String, HelmError> {
        Handle::current().block_on(self.template(call))
    }
}

fn fence<'a>(program: &'a Path, folder: &'a Path) -> Fence<'a> {
    Fence { program, folder }
}

/// All that `helm` gets to know of where it runs.
fn environment(folder: &Path) -> BTreeMap<&'static str, String> {
    let here = folder.display().to_string();
    let home = [
        "HOME",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ];
    let proxy = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let plain = [
        ("PATH", "/nonexistent"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("GOMAXPROCS", "1"),
        ("GOTRACEBACK", "none"),
    ];
    let home = home.into_iter().map(|key| (key, here.clone()));
    let proxy = proxy.into_iter().map(|key| (key, NO_PROXY.to_owned()));
    let plain = plain.into_iter().map(|(key, value)| (key, value.to_owned()));
    home.chain(proxy).chain(plain).collect()
}

/// `v3.22.0` as numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests;
