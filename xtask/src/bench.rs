//! `cargo xtask bench`: what the controller costs, measured on the binary that is shipped, in front of a simulated API
//! server full of Rollouts; and the benchmarks of the planner and the simulator.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rustix::process::{Pid, Signal};

use crate::{cluster, process};

/// Largest binary, in bytes.
const MAX_BINARY: u64 = 20_000_000;
/// Most memory at rest with the default numbers, in KiB.
const MAX_MEMORY: u64 = 30 * 1024;
/// Units of processor time in a second; Linux has no other value for programs.
const TICKS: f64 = 100.0;
/// Time for everything to be looked at.
const LIMIT: Duration = Duration::from_mins(3);
/// Time for a process to end by itself.
const END: Duration = Duration::from_secs(20);
/// Time after which a controller that has looked at everything is at rest.
const REST: Duration = Duration::from_secs(10);

/// `cargo xtask bench`
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Rollouts in the cluster.
    #[arg(long, default_value_t = 500)]
    rollouts: usize,
    /// `ReplicaSets` of each Rollout.
    #[arg(long, default_value_t = 11)]
    replica_sets: usize,
    /// How often to restart.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    restarts: u32,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Measure the process only, not the planner and the simulator.
    #[arg(long)]
    process: bool,
    /// Measure Git sync only: Deliveries on a real API server, in a box without a kubelet.
    #[arg(long, conflicts_with = "process")]
    deliveries: bool,
    /// Measure the simulated cluster only, in the profile in which tests play it: releases a second and core.
    #[arg(long, conflicts_with_all = ["process", "deliveries"])]
    sim: bool,
}

/// Measures and prints; sizes, memory and counts over their limits are errors, times are only printed.
pub(crate) fn run(arguments: &Bench) -> Result<()> {
    if arguments.sim {
        println!("{}", machine()?);
        let mut command = cargo();
        command.args([
            "run",
            "--quiet",
            "--package",
            "tidegate-sim",
            "--example",
            "releases",
        ]);
        return process::run(&mut command, Duration::from_hours(1));
    }
    let binary = if let Some(binary) = &arguments.binary {
        binary.clone()
    } else {
        build(&[
            "--profile",
            "dist",
            "--package",
            "tidegate-controller",
            "--bin",
            "tidegate",
        ])?;
        target().join("dist/tidegate")
    };
    if arguments.deliveries {
        println!("{}", machine()?);
        return deliveries(&binary);
    }
    build(&[
        "--release",
        "--package",
        "tidegate-sim",
        "--example",
        "large_cluster",
    ])?;

    println!("{}", machine()?);
    let size = fs::metadata(&binary)
        .with_context(|| format!("{} is missing", binary.display()))?
        .len();
    println!("binary: {:.1} MB", size as f64 / 1e6);
    let memory = processes(arguments, &binary)?;
    if !arguments.process {
        for package in ["tidegate-engine", "tidegate-sim"] {
            let mut command = cargo();
            command.args(["bench", "--quiet", "--package", package, "--benches"]);
            process::run(&mut command, Duration::from_hours(1))?;
        }
    }
    ensure!(
        size <= MAX_BINARY,
        "the binary has {size} bytes, more than {MAX_BINARY}"
    );
    ensure!(
        memory <= MAX_MEMORY || arguments.rollouts * arguments.replica_sets > 5500,
        "the controller takes {memory} KiB, more than {MAX_MEMORY}"
    );
    Ok(())
}

/// Runs the benchmark of Git sync in a box of its own, which ends with it.
fn deliveries(binary: &Path) -> Result<()> {
    build(&[
        "--release",
        "--package",
        "tidegate-e2e",
        "--example",
        "deliveries",
    ])?;
    let running = cluster::up_for_bench()?;
    let mut command = running.command(&target().join("release/examples/deliveries").to_string_lossy());
    let result = process::run(command.arg(std::path::absolute(binary)?), Duration::from_mins(20));
    running.down()?;
    result
}

/// Starts the controller, lets it settle everything, restarts it; answers the most memory at rest, in KiB.
fn processes(arguments: &Bench, binary: &Path) -> Result<u64> {
    let folder = std::env::temp_dir().join(format!("tidegate-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let kubeconfig = folder.join("kubeconfig");
    let result = Cluster::start(&kubeconfig, arguments).and_then(|_cluster| {
        println!(
            "{} Rollouts of {} ReplicaSets, two Services and an Ingress each",
            arguments.rollouts, arguments.replica_sets
        );
        let mut most = 0;
        for round in 0..=arguments.restarts {
            let first = round == 0;
            let controller = Controller::start(binary, &kubeconfig)?;
            let (ready, done) = controller.until_done(arguments.rollouts)?;
            let busy = controller.memory()?;
            thread::sleep(REST);
            let rest = controller.memory()?;
            let writes = controller.writes()?;
            let busy_for = controller.processor_time()?;
            controller.stop()?;
            println!(
                "{}: ready after {:.2} s, every Rollout looked at after {:.2} s, {:.2} s of them on a \
                 processor, {} writes; memory {:.1} MiB, \
                 at rest {:.1} MiB, at most {:.1} MiB",
                if first { "first start" } else { "restart" },
                ready.as_secs_f64(),
                done.as_secs_f64(),
                busy_for,
                writes,
                mebibytes(busy.now),
                mebibytes(rest.now),
                mebibytes(rest.peak),
            );
            if !first {
                ensure!(
                    writes == 0,
                    "a restart wrote {writes} times, though nothing has changed"
                );
                most = most.max(rest.now);
            }
        }
        Ok(most)
    });
    fs::remove_dir_all(&folder).ok();
    result
}

fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// The simulated API server; it ends with this value.
struct Cluster(Child);

impl Cluster {
    fn start(kubeconfig: &Path, arguments: &Bench) -> Result<Self> {
        let mut command = Command::new(target().join("release/examples/large_cluster"));
        command.arg(kubeconfig);
        command.args([arguments.rollouts.to_string(), arguments.replica_sets.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut cluster = Self(
            command
                .spawn()
                .context("the simulated cluster cannot be started")?,
        );
        let mut line = String::new();
        if let Some(output) = cluster.0.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        ensure!(line.trim() == "ready", "the simulated cluster has not started");
        Ok(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        process::wait(&mut self.0, END).ok();
    }
}

/// The controller; killed with this value, if it has not been stopped.
struct Controller {
    child: Child,
    started: Instant,
    metrics: u16,
    health: u16,
}

/// In KiB.
#[derive(Clone, Copy)]
struct Memory {
    now: u64,
    peak: u64,
}

impl Controller {
    fn start(binary: &Path, kubeconfig: &Path) -> Result<Self> {
        let (metrics, health) = (free_port()?, free_port()?);
        let mut command = process::quiet(binary);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args([
            format!("--metricsPort={metrics}"),
            format!("--healthzPort={health}"),
        ]);
        // as in deploy/install.yaml
        command.env("MALLOC_TRIM_THRESHOLD_", "131072");
        // its lines are not read, but they are written, as in a pod
        command.env_remove("RUST_LOG").stderr(Stdio::null());
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        Ok(Self {
            child,
            started,
            metrics,
            health,
        })
    }

    /// How long it takes to be ready, and to have looked at so many Rollouts with nothing left to do.
    fn until_done(&self, rollouts: usize) -> Result<(Duration, Duration)> {
        self.until("ready", || Ok(get(self.health, "/readyz").is_ok()))?;
        let ready = self.started.elapsed();
        let mut quiet = None;
        self.until("done", || {
            let page = get(self.metrics, "/metrics")?;
            let looked = values(&page, "rollout_reconcile_count").len();
            let due: f64 = values(&page, "tidegate_queue_depth")
                .iter()
                .map(|(_, value)| value)
                .sum();
            // work may beget work: it is done when nothing has been due for a while
            if looked < rollouts || due > 0.0 {
                quiet = None;
            } else {
                let since = *quiet.get_or_insert_with(|| self.started.elapsed());
                return Ok(self.started.elapsed() > since + Duration::from_secs(1));
            }
            Ok(false)
        })?;
        Ok((ready, quiet.unwrap_or_default()))
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        while !done()? {
            ensure!(
                self.started.elapsed() < LIMIT,
                "the controller is not {what} after {} s",
                LIMIT.as_secs()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            number.with_context(|| format!("no {name} in /proc/PID/status"))
        };
        Ok(Memory {
            now: field("VmRSS")?,
            peak: field("VmHWM")?,
        })
    }

    /// Seconds of processor time so far: the same on a machine that is busy with other things.
    fn processor_time(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // behind the program's name: state is the first field, the user's and the system's share are 12th and 13th
        let fields = stat.rsplit_once(')').context("/proc/PID/stat not understood")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2);
        Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
    }

    /// Writes so far, but for the Lease.
    fn writes(&self) -> Result<u64> {
        let page = get(self.metrics, "/metrics")?;
        let writes = values(&page, "tidegate_writes_total");
        let counted = writes
            .iter()
            .filter(|(labels, _)| !labels.contains(r#"resource="leases""#));
        Ok(counted.map(|(_, value)| *value as u64).sum())
    }

    /// Ends it as a pod is ended, so that it gives its Lease back.
    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("no process id")?;
        rustix::process::kill_process(pid, Signal::TERM)?;
        process::wait(&mut self.child, END)?;
        Ok(())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The page of a local web server.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").context("no answer")?;
    let first = head.lines().next().unwrap_or_default();
    ensure!(first.contains(" 200 "), "{path}: {first}");
    Ok(page.to_owned())
}

/// The samples of a metric, with their labels.
fn values<'a>(page: &'a str, metric: &str) -> Vec<(&'a str, f64)> {
    let lines = page.lines().filter_map(|line| line.strip_prefix(metric));
    lines
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| {
            let (labels, value) = rest.rsplit_once(' ')?;
            Some((labels, value.parse().ok()?))
        })
        .collect()
}

fn build(arguments: &[&str]) -> Result<()> {
    println!("building: cargo build {}", arguments.join(" "));
    let mut command = cargo();
    command.args(["build", "--quiet"]).args(arguments);
    process::run(&mut command, Duration::from_hours(1))
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(process::workspace());
    command
}

fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => process::workspace().join(folder),
        None => process::workspace().join("target"),
    }
}

/// What it was measured on.
fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let rustc = process::output(Command::new("rustc").arg("--version"))?;
    let fields = |text: &str, name: &str| -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for value in text.lines().filter_map(|line| line.strip_prefix(name)) {
            *found
                .entry(value.trim_start_matches([':', ' ', '\t']).to_owned())
                .or_default() += 1;
        }
        found
    };
    let Some((model, cores)) = fields(&cpus, "model name").pop_first() else {
        bail!("/proc/cpuinfo names no model");
    };
    let total = fields(&memory, "MemTotal").pop_first().unwrap_or_default().0;
    let kib: f64 = total.trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(format!(
        "machine: {model}, {cores} cores, {:.0} GiB, Linux {}, {}",
        kib / 1024.0 / 1024.0,
        kernel.trim(),
        rustc.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_metric_only() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na_count{x=\"1\"} 3\na 4\nab 5\n";
        assert_eq!(values(page, "a"), [("{x=\"1\"}", 2.0), ("", 4.0)]);
        assert_eq!(values(page, "c"), []);
    }
}
