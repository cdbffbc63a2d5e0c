//! The first process of a box: makes its mounts and its network, starts the programs, and reaps what ends.
//!
//! It runs in namespaces of its own. When it ends, for whatever reason, the kernel ends all that is in them.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{WaitOptions, wait};

use super::{
    Profile, cgroup,
    config::{ADMIN, CONTROLLER_MANAGER, KUBELET, NODE_ADDRESS, PROXY, SCHEDULER, SERVICES},
    folder::Folder,
};
use crate::process::{self, quiet};

/// The last line of the progress file when the box is ready.
pub(crate) const READY: &str = "ready";
/// What a line of the progress file begins with when the box could not start, or lost a program.
pub(crate) const FAILED: &str = "failed: ";

/// Starts the box and returns only when it is over. With a `leash` that is when the standard input ends.
pub(crate) fn run(folder: &Folder, profile: Profile, leash: bool) -> Result<()> {
    if leash {
        thread::spawn(|| {
            // however it ends, the one who held the other side is gone
            io::copy(&mut io::stdin(), &mut io::sink()).ok();
            std::process::exit(0);
        });
    }
    let mut starting = Starting {
        folder: folder.clone(),
        programs: BTreeMap::new(),
    };
    let result = starting.everything(profile).and_then(|()| {
        starting.say(READY)?;
        reap(&starting.programs)
    });
    if let Err(error) = &result {
        starting.say(&format!("{FAILED}{error:#}"))?;
    }
    result
}

struct Starting {
    folder: Folder,
    programs: BTreeMap<&'static str, Child>,
}

impl Starting {
    fn everything(&mut self, profile: Profile) -> Result<()> {
        cgroup::prefer()?;
        mounts(&self.folder)?;
        network()?;
        self.etcd()?;
        if profile == Profile::Full {
            self.start(
                "containerd",
                "containerd",
                &["--config".into(), self.file("containerd.toml")],
            )?;
        }
        self.until("etcd answers", |_| TcpStream::connect("127.0.0.1:2379").is_ok())?;
        self.api_server()?;
        self.until("the API server is ready", |folder| {
            kubectl(folder, &["get", "--raw", "/readyz"])
        })?;
        self.controller_manager()?;
        if profile == Profile::Full {
            self.node()?;
        }
        self.until("service accounts are made", |folder| {
            kubectl(folder, &["get", "serviceaccount", "default"])
        })?;
        if profile == Profile::Full {
            let ready = ["wait", "--for=condition=Ready", "node/node-1", "--timeout=1s"];
            self.until("the node is ready", |folder| kubectl(folder, &ready))?;
        }
        Ok(())
    }

    fn etcd(&mut self) -> Result<()> {
        let arguments = [
            format!("--data-dir={}", self.file("etcd")),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ];
        self.start("etcd", &self.file("bin/etcd"), &arguments)
    }

    fn api_server(&mut self) -> Result<()> {
        let arguments = [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={NODE_ADDRESS}"),
            format!("--tls-cert-file={}", self.file("server.pem")),
            format!("--tls-private-key-file={}", self.file("server-key.pem")),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("service-accounts.pem")),
            format!(
                "--service-account-signing-key-file={}",
                self.file("service-accounts-key.pem")
            ),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--allow-privileged".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--audit-policy-file={}", self.file("audit-policy.yaml")),
            format!("--audit-log-path={}", self.folder.audit_log().display()),
            // megabytes; the default is to begin a new file after a hundred
            "--audit-log-maxsize=100000".to_owned(),
        ];
        self.start("kube-apiserver", &self.file("bin/kube-apiserver"), &arguments)
    }

    fn controller_manager(&mut self) -> Result<()> {
        let arguments = [
            self.kubeconfig(CONTROLLER_MANAGER),
            format!(
                "--service-account-private-key-file={}",
                self.file("service-accounts-key.pem")
            ),
            format!("--root-ca-file={}", self.file("ca.pem")),
            "--use-service-account-credentials".to_owned(),
            "--controllers=*,-nodeipam,-route,-service,-cloud-node-lifecycle".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        self.start(
            "kube-controller-manager",
            &self.file("bin/kube-controller-manager"),
            &arguments,
        )
    }

    /// What runs pods.
    fn node(&mut self) -> Result<()> {
        let scheduler = [
            self.kubeconfig(SCHEDULER),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        self.start("kube-scheduler", &self.file("bin/kube-scheduler"), &scheduler)?;
        self.until("containerd answers", |_| {
            quiet("ctr")
                .arg("version")
                .status()
                .is_ok_and(|status| status.success())
        })?;
        let kubelet = [
            self.kubeconfig(KUBELET),
            format!("--config={}", self.file("kubelet.yaml")),
            format!("--root-dir={}", self.file("kubelet")),
            format!("--cert-dir={}", self.file("kubelet/pki")),
            "--hostname-override=node-1".to_owned(),
            format!("--node-ip={NODE_ADDRESS}"),
        ];
        self.start("kubelet", &self.file("bin/kubelet"), &kubelet)?;
        let proxy = [format!("--config={}", self.file("kube-proxy.yaml"))];
        debug_assert!(include_str!("../../../e2e/cluster/kube-proxy.yaml").contains(PROXY));
        self.start("kube-proxy", &self.file("bin/kube-proxy"), &proxy)
    }

    fn start(&mut self, name: &'static str, program: &str, arguments: &[String]) -> Result<()> {
        let log = File::create(self.folder.log(name))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        self.programs.insert(name, child);
        Ok(())
    }

    /// Waits until something is so. A program that ends meanwhile is an error.
    fn until(&mut self, what: &str, mut so: impl FnMut(&Folder) -> bool) -> Result<()> {
        let start = Instant::now();
        while !so(&self.folder) {
            for (name, child) in &mut self.programs {
                if let Some(status) = child.try_wait()? {
                    bail!("{name} ended ({status})");
                }
            }
            if start.elapsed() > Duration::from_secs(45) {
                bail!("waited for 45 s, but it is not so that {what}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.say(what)
    }

    fn say(&self, line: &str) -> Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.progress())?;
        Ok(file.write_all(format!("{line}\n").as_bytes())?)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path(name).to_string_lossy().into_owned()
    }

    fn kubeconfig(&self, user: &str) -> String {
        format!("--kubeconfig={}", self.folder.kubeconfig(user).display())
    }
}

fn mounts(folder: &Folder) -> Result<()> {
    // /sys stays as it is: a new one would hide the control groups
    process::output(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    process::output(
        Command::new("mount")
            .arg("--bind")
            .arg(folder.path("logs"))
            .arg("/var/log"),
    )?;
    Ok(())
}

fn network() -> Result<()> {
    let node = format!("{NODE_ADDRESS}/24");
    for arguments in [
        &["link", "set", "lo", "up"] as &[&str],
        // a bridge: not every kernel has the dummy type
        &["link", "add", "node0", "type", "bridge"],
        &["address", "add", &node, "dev", "node0"],
        &["link", "set", "node0", "up"],
        // nothing is behind it, but programs look for their address there
        &["route", "add", "default", "dev", "node0"],
    ] {
        process::output(Command::new("ip").args(arguments))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot turn on forwarding")
}

fn kubectl(folder: &Folder, arguments: &[&str]) -> bool {
    let mut command = quiet(folder.path("bin/kubectl"));
    command.env("KUBECACHEDIR", folder.path("kubectl"));
    command
        .arg("--kubeconfig")
        .arg(folder.kubeconfig(ADMIN))
        .arg("--request-timeout=5s")
        .args(arguments);
    command.status().is_ok_and(|status| status.success())
}

/// Reaps every process that nobody else waits for; returns when a program of the box has ended.
fn reap(programs: &BTreeMap<&str, Child>) -> Result<()> {
    loop {
        let Ok(Some((pid, status))) = wait(WaitOptions::empty()) else {
            // interrupted, or nothing to wait for
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let ended = programs
            .iter()
            .find(|(_, child)| child.id().cast_signed() == pid.as_raw_nonzero().get());
        if let Some((name, _)) = ended {
            let status = status
                .exit_status()
                .map_or_else(|| "by a signal".to_owned(), |code| format!("status {code}"));
            bail!("{name} ended ({status})");
        }
    }
}
