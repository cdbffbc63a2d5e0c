//! The box: a whole Kubernetes in namespaces of its own, without a virtual machine and without a registry.
//!
//! API server, controller manager, scheduler, kubelet, kube-proxy and containerd run in one set of network, mount and
//! process namespaces. Nothing in it reaches the machine's network, several boxes do not see each other, and all of it ends
//! with its first process.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, process::CommandExt as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};

use crate::process;
use folder::{Folder, Record, child_of, start_of};
use images::{Images, Name};

mod cgroup;
mod config;
mod folder;
pub(crate) mod images;
mod init;
pub(crate) mod install;
pub(crate) mod tools;

/// Debian's packages that a box with a kubelet needs.
const PACKAGES: &str = "containerd runc containernetworking-plugins iptables conntrack";

const START_LIMIT: Duration = Duration::from_mins(2);

/// `cargo xtask cluster`
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Which box: several can be up at the same time
    #[arg(long, default_value = "default", global = true)]
    name: String,
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a box; what is missing is built
    Up {
        /// Only Kubernetes: no images, no CRDs, no data plane, no Prometheus
        #[arg(long)]
        bare: bool,
        /// Only the API server, etcd and the controller manager: no pods, but it is up in a few seconds
        #[arg(long)]
        without_kubelet: bool,
    },
    /// Run a command in the box, with its network, KUBECONFIG and kubectl
    Exec {
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
    /// Say whether the box is up, and what is in it
    Status,
    /// End the box and remove everything it wrote
    Down,
    /// Build images and import them into the box
    Images {
        /// Which ones; all without a name
        names: Vec<Name>,
        /// Write an archive for `docker load`, `kind load image-archive` or `k3d image import` instead
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Print the path of a kubeconfig of the box
    Kubeconfig {
        /// admin, or tidegate or client, whose requests are in the audit log
        #[arg(long, default_value = config::ADMIN)]
        user: String,
    },
    /// The first process of a box
    #[command(hide = true)]
    Init {
        #[arg(long)]
        without_kubelet: bool,
        /// End with the standard input
        #[arg(long)]
        leash: bool,
    },
}

/// What runs in a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Profile {
    /// Everything that a node needs to run pods.
    Full,
    /// API server, etcd and controller manager.
    WithoutKubelet,
}

impl Profile {
    fn from_flag(without_kubelet: bool) -> Self {
        if without_kubelet {
            Self::WithoutKubelet
        } else {
            Self::Full
        }
    }
}

/// A box that is up.
pub(crate) struct Running {
    folder: Folder,
    pid: u32,
    /// Of a box that ends with this process: its parent, and the other side of its standard input.
    leash: Option<(Child, ChildStdin)>,
}

/// Runs the command.
pub(crate) fn run(arguments: Cluster) -> Result<()> {
    let folder = Folder::of(&arguments.name)?;
    match arguments.command {
        Verb::Up {
            bare,
            without_kubelet,
        } => {
            let profile = Profile::from_flag(without_kubelet);
            // before the box starts: it is of no use while something is built, and this may fail
            let images = (!bare && profile == Profile::Full)
                .then(|| Images::build(&images::ALL))
                .transpose()?;
            let running = up(&folder, profile, false)?;
            match images {
                Some(images) => running.fill(&images)?,
                None if bare => {}
                None => install::without_pods(&|| running.command("kubectl"))?,
            }
            let name = &arguments.name;
            println!("\nThe box {name:?} is up:");
            println!("  cargo xtask cluster --name {name} exec -- kubectl get pods --all-namespaces");
            println!("  cargo xtask cluster --name {name} exec -- bash");
            println!("  cargo xtask cluster --name {name} down");
            println!("logs: {}", folder.path("logs").display());
            Ok(())
        }
        Verb::Exec { command } => {
            let running = Running::find(folder)?;
            let [program, arguments @ ..] = command.as_slice() else {
                bail!("name a command")
            };
            // only comes back if it could not
            Err(running.command(program).args(arguments).exec()).context("cannot run nsenter")
        }
        Verb::Status => status(&folder),
        Verb::Down => down(&folder),
        Verb::Images { names, file } => {
            let names = if names.is_empty() {
                images::ALL.to_vec()
            } else {
                names
            };
            if let Some(file) = file {
                return Images::build(&names)?.write(&mut File::create(file)?);
            }
            let running = Running::find(folder)?;
            Images::build(&names)?.import(&running)
        }
        Verb::Kubeconfig { user } => {
            folder.expect_running()?;
            let file = folder.kubeconfig(&user);
            ensure!(file.is_file(), "the box has no user {user:?}");
            println!("{}", file.display());
            Ok(())
        }
        Verb::Init {
            without_kubelet,
            leash,
        } => init::run(&folder, Profile::from_flag(without_kubelet), leash),
    }
}

/// Starts a box that ends at the latest with this process.
pub(crate) fn up_on_leash(name: &str) -> Result<Running> {
    up(&Folder::of(name)?, Profile::Full, true)
}

/// The same, with no more in it than an API server that knows our kinds.
pub(crate) fn up_for_bench() -> Result<Running> {
    let running = up(&Folder::of("bench")?, Profile::WithoutKubelet, true)?;
    install::without_pods(&|| running.command("kubectl"))?;
    Ok(running)
}

fn up(folder: &Folder, profile: Profile, leash: bool) -> Result<Running> {
    check_machine(profile)?;
    let programs = tools::for_box(profile)?;
    let _lock = folder.lock()?;
    ensure!(
        folder.running()?.is_none(),
        "the box {:?} is already up",
        folder.name()
    );
    let start = Instant::now();
    folder.create()?;
    for program in programs {
        let name = program.file_name().context("invariant: a program has a name")?;
        symlink(&program, folder.path("bin").join(name))?;
    }
    config::write(folder)?;

    let log = File::create(folder.log("init"))?;
    let mut command = Command::new("setsid");
    command.args([
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]);
    command
        .arg(std::env::current_exe()?)
        .args(["cluster", "--name", folder.name(), "init"]);
    if profile == Profile::WithoutKubelet {
        command.arg("--without-kubelet");
    }
    if leash {
        command.arg("--leash");
    }
    command
        .stdin(if leash { Stdio::piped() } else { Stdio::null() })
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut parent = command.spawn().context("cannot run setsid")?;
    let input = parent.stdin.take();
    let started = follow(folder, profile, &mut parent);
    let pid = match started {
        Ok(pid) => pid,
        Err(error) => {
            // with its parent the box ends; its logs stay
            parent.kill().ok();
            parent.wait()?;
            return Err(error);
        }
    };
    println!("Kubernetes is ready after {:.1} s", start.elapsed().as_secs_f32());
    Ok(Running {
        folder: folder.clone(),
        pid,
        leash: input.map(|input| (parent, input)),
    })
}

/// Prints what the first process does until the box is ready, and returns its number.
fn follow(folder: &Folder, profile: Profile, parent: &mut Child) -> Result<u32> {
    let start = Instant::now();
    let mut pid = None;
    let mut shown = 0;
    loop {
        if pid.is_none()
            && let Some(child) = child_of(parent.id())
            && let Some(started) = start_of(child)
        {
            folder.write_record(&Record {
                pid: child,
                started,
                profile,
            })?;
            pid = Some(child);
        }
        let ended = parent.try_wait()?;
        let said = fs::read_to_string(folder.progress()).unwrap_or_default();
        for line in said.lines().skip(shown) {
            shown += 1;
            if let Some(reason) = line.strip_prefix(init::FAILED) {
                bail!("the box did not start: {reason}\n{}", last_words(folder, reason));
            }
            if line == init::READY
                && let Some(pid) = pid
            {
                return Ok(pid);
            }
            println!("  {:4.1} s: {line}", start.elapsed().as_secs_f32());
        }
        if let Some(status) = ended {
            bail!("the box did not start ({status})\n{}", last_words(folder, "init"));
        }
        ensure!(
            start.elapsed() < START_LIMIT,
            "the box is not ready after {} s",
            START_LIMIT.as_secs()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// The end of the log of the program that a reason begins with.
fn last_words(folder: &Folder, reason: &str) -> String {
    let program = reason.split(' ').next().unwrap_or_default();
    let file = folder.log(program);
    let text = fs::read_to_string(&file).unwrap_or_default();
    format!(
        "{}\nlogs: {}",
        process::tail(&text, 5),
        folder.path("logs").display()
    )
}

fn check_machine(profile: Profile) -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "a box needs Linux: use kind or k3d, and `cargo xtask e2e --kubeconfig FILE`"
    );
    ensure!(
        geteuid().is_root(),
        "a box needs root, for namespaces and containers: run this as root"
    );
    for (program, package) in [
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("ip", "iproute2"),
        ("python3", "python3 python3-pip"),
    ] {
        ensure!(
            process::find(program).is_some(),
            "{program} is missing: `apt-get install {package}`"
        );
    }
    ensure!(
        process::find("go").is_some(),
        "Go 1.26 or newer is missing: Kubernetes is built from its Go module"
    );
    let plugins = ["bridge", "host-local", "portmap"].map(|name| PathBuf::from("/usr/lib/cni").join(name));
    let found = |program: &str| process::find(program).is_some();
    if profile == Profile::Full
        && !(["containerd", "ctr", "runc", "iptables", "conntrack"]
            .into_iter()
            .all(found)
            && plugins.iter().all(|file| file.is_file()))
    {
        bail!("packages are missing: `apt-get install --no-install-recommends {PACKAGES}`");
    }
    Ok(())
}

fn status(folder: &Folder) -> Result<()> {
    let Some(record) = folder.running()? else {
        println!("the box {:?} is down", folder.name());
        std::process::exit(1);
    };
    println!(
        "the box {:?} is up: process {}, {:?}, {}",
        folder.name(),
        record.pid,
        record.profile,
        folder.root().display()
    );
    let running = Running::find(folder.clone())?;
    let what = if record.profile == Profile::Full {
        "nodes,pods"
    } else {
        "namespaces"
    };
    let mut command = running.command("kubectl");
    process::run(
        command.args(["--request-timeout=10s", "get", what, "--all-namespaces"]),
        Duration::from_secs(20),
    )
}

fn down(folder: &Folder) -> Result<()> {
    let _lock = folder.lock()?;
    if let Some(record) = folder.running()? {
        let pid = Pid::from_raw(record.pid.cast_signed()).context("box.json is damaged")?;
        kill_process(pid, Signal::KILL)?;
        let end = Instant::now() + Duration::from_secs(20);
        while start_of(record.pid) == Some(record.started) {
            ensure!(Instant::now() < end, "process {} does not end", record.pid);
            thread::sleep(Duration::from_millis(20));
        }
    }
    cgroup::remove(folder)?;
    folder.remove()
}

impl Running {
    fn find(folder: Folder) -> Result<Self> {
        let pid = folder.expect_running()?.pid;
        Ok(Self {
            folder,
            pid,
            leash: None,
        })
    }

    /// The box with this name, which is up.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::find(Folder::of(name)?)
    }

    /// A command in the box: its network, mounts and processes, its kubectl, and the administrator's KUBECONFIG.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.pid.to_string())
            .args(["--net", "--mount", "--pid"]);
        if let Ok(folder) = std::env::current_dir() {
            command.arg(format!("--wd={}", folder.display()));
        }
        let mut path = vec![self.folder.path("bin")];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command.env("KUBECONFIG", self.folder.kubeconfig(config::ADMIN));
        // every box has the same address: one must not see what another served
        command.env("KUBECACHEDIR", self.folder.path("kubectl"));
        command.arg("--").arg(program);
        command
    }

    /// The requests of the counted users.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.audit_log()
    }

    /// Imports the images and installs what the tests need.
    pub(crate) fn fill(&self, images: &Images) -> Result<()> {
        images.import(self)?;
        install::everything(&|| self.command("kubectl"))
    }

    /// Imports our own images once more, and has Tidegate run the new one.
    pub(crate) fn renew(&self) -> Result<()> {
        Images::build(&images::OURS)?.import(self)?;
        install::tidegate_again(&|| self.command("kubectl"))
    }

    /// Ends the box and removes everything it wrote.
    pub(crate) fn down(self) -> Result<()> {
        let result = down(&self.folder);
        if let Some((mut parent, input)) = self.leash {
            drop(input);
            process::wait(&mut parent, Duration::from_secs(20))?;
        }
        result
    }
}
