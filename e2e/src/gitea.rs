//! A real forge for one test: Gitea as a process beside the cluster, which pods reach at the node's address.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::ListParams;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{Cluster, eventually, text};
use api::Api;

pub use repository::{Change, Comment, Logged, PullRequest, PullRequestBranch, Repository, Status};

mod api;
mod repository;

/// The folder with the program and what it reads. Set by `cargo xtask e2e` where the cluster is a box.
const SWITCH: &str = "TIDEGATE_E2E_GITEA";
/// Owns the repositories and writes what people write.
const DEVELOPER: &str = "developer";
/// Whom the controller acts as.
const ROBOT: &str = "robot";
/// What the robot's token allows.
const ROBOT_MAY: &str = "write:repository,write:issue,read:user";
const START_LIMIT: Duration = Duration::from_mins(1);

/// A running Gitea with an administrator, and a user for the controller. It ends, and all its data goes, when this is dropped.
pub struct Gitea {
    // the folder goes last: the process writes into it
    process: Option<Child>,
    installed: PathBuf,
    address: String,
    http_port: u16,
    ssh_port: u16,
    developer: Api,
    robot: Api,
    folder: TempDir,
}

impl Gitea {
    /// Starts one; `None`, and says that the test is skipped, on a cluster that is not ours.
    #[allow(clippy::print_stderr, reason = "for whoever runs the tests")]
    pub async fn start(cluster: &Cluster) -> Result<Option<Self>> {
        let Some(installed) = std::env::var_os(SWITCH) else {
            eprintln!("skipped: it needs Gitea, which only the box of `cargo xtask e2e` has");
            return Ok(None);
        };
        let address = node_address(cluster).await?;
        let [http_port, ssh_port] = free_ports()?;
        let base = format!("http://{address}:{http_port}/api/v1");
        let mut gitea = Self {
            process: None,
            installed: installed.into(),
            address,
            http_port,
            ssh_port,
            developer: Api::new(base.clone(), DEVELOPER),
            robot: Api::new(base, ROBOT),
            folder: tempfile::Builder::new().prefix("tidegate-gitea-").tempdir()?,
        };
        fs::write(gitea.folder.path().join("app.ini"), gitea.configuration())?;
        new_key(&gitea.folder, "host_key").await?;
        gitea.run(&["migrate"]).await?;
        gitea.developer = gitea
            .developer
            .with_token(gitea.user(DEVELOPER, "all", true).await?);
        gitea.robot = gitea.robot.with_token(gitea.user(ROBOT, ROBOT_MAY, false).await?);
        gitea.start_again().await?;
        Ok(Some(gitea))
    }

    /// Ends the process: nobody answers any more. The data stays.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Starts the process again at the same address, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Gitea runs already");
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let child = self
            .command(&["web"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run gitea")?;
        self.process = Some(child);
        let up = eventually("Gitea's answer", START_LIMIT, async || {
            self.developer.get("/version").await.map(Some)
        });
        if let Err(error) = up.await {
            bail!("{error:#}\n{}", self.log());
        }
        Ok(())
    }

    /// Address of its pages: `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.address, self.http_port)
    }

    /// Address of its API, without a slash at the end.
    pub fn api(&self) -> &str {
        self.robot.base()
    }

    /// The user that the controller acts as: it may write to every repository that a test makes.
    pub fn robot(&self) -> &'static str {
        ROBOT
    }

    /// That user's token.
    pub fn token(&self) -> &str {
        self.robot.token()
    }

    /// What it has printed: warnings and errors.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The line of a `known_hosts` file for its SSH server.
    pub fn known_hosts(&self) -> Result<String> {
        let key = fs::read_to_string(self.folder.path().join("host_key.pub"))?;
        Ok(format!("[{}]:{} {key}", self.address, self.ssh_port))
    }

    /// Makes an empty repository, which everyone may read, and the robot may write.
    pub async fn create_repository(&self, name: &str) -> Result<Repository> {
        let wanted = json!({"name": name, "default_branch": "main"});
        let made = self.developer.post("/user/repos", &wanted).await?;
        let full_name = text(&made, "/full_name").to_owned();
        let may = json!({"permission": "write"});
        let path = format!("/repos/{full_name}/collaborators/{ROBOT}");
        self.developer.put(&path, &may).await?;
        Ok(Repository {
            url: format!("{}/{full_name}.git", self.url()),
            ssh_url: format!("ssh://git@{}:{}/{full_name}.git", self.address, self.ssh_port),
            full_name,
            actor: self.developer.clone(),
            robot: self.robot.clone(),
        })
    }

    /// From now on a push of the robot to a repository is held after it was received and before its branch moves.
    pub fn hold_pushes(&self, repository: &Repository) -> Result<HeldPush> {
        let git = self
            .folder
            .path()
            .join("repositories")
            .join(format!("{}.git", repository.full_name()));
        let held = HeldPush {
            begun: git.join("push-begun"),
            go: git.join("push-go"),
        };
        let script = format!(
            "#!/bin/sh\n\
             [ \"$GITEA_PUSHER_NAME\" = {ROBOT} ] || exit 0\n\
             touch '{begun}'\n\
             i=0; while [ ! -e '{go}' ] && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done\n",
            begun = held.begun.display(),
            go = held.go.display(),
        );
        let hook = git.join("hooks/pre-receive.d/hold");
        fs::write(&hook, script)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        Ok(held)
    }

    fn configuration(&self) -> String {
        let folder = self.folder.path().display();
        let files = self.installed.join("static");
        let (address, http, ssh) = (&self.address, self.http_port, self.ssh_port);
        format!(
            "\
RUN_MODE = prod
WORK_PATH = {folder}
; the box runs as root, and all of it ends with the test
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = 0.0.0.0
HTTP_PORT = {http}
DOMAIN = {address}
ROOT_URL = http://{address}:{http}/
LOCAL_ROOT_URL = http://127.0.0.1:{http}/
STATIC_ROOT_PATH = {files}
OFFLINE_MODE = true
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_USER = git
SSH_DOMAIN = {address}
SSH_PORT = {ssh}
SSH_LISTEN_HOST = 0.0.0.0
SSH_LISTEN_PORT = {ssh}
SSH_SERVER_HOST_KEYS = {folder}/host_key
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[repository]
ROOT = {folder}/repositories
[security]
INSTALL_LOCK = true
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = *
[indexer]
ISSUE_INDEXER_TYPE = db
[api]
MAX_RESPONSE_ITEMS = {most}
DEFAULT_PAGING_NUM = {most}
[actions]
ENABLED = false
[oauth2]
ENABLED = false
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = warn
",
            files = files.display(),
            most = repository::MOST,
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.installed.join("gitea"));
        command
            .arg("--config")
            .arg(self.folder.path().join("app.ini"))
            .args(arguments);
        // nothing of whoever runs the tests: git reads much of it
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path());
        command
    }

    /// Runs one of Gitea's commands that end, and returns what it printed.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        output(self.command(arguments))
            .await
            .with_context(|| format!("gitea {}", arguments.join(" ")))
    }

    /// Makes a user and returns a token of it.
    async fn user(&self, name: &str, may: &str, admin: bool) -> Result<String> {
        let email = format!("{name}@example.com");
        let mut arguments = vec!["admin", "user", "create", "--username", name, "--email", &email];
        arguments.extend(["--random-password", "--must-change-password=false"]);
        arguments.extend(["--access-token", "--access-token-scopes", may]);
        if admin {
            arguments.push("--admin");
        }
        let said = self.run(&arguments).await?;
        let token = said
            .lines()
            .find(|line| line.starts_with("Access token"))
            .and_then(|line| line.split_whitespace().next_back());
        Ok(token.context("gitea made no token")?.to_owned())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("gitea.log")
    }
}

/// Pushes that wait.
pub struct HeldPush {
    begun: PathBuf,
    go: PathBuf,
}

impl HeldPush {
    /// Waits until there is one.
    pub async fn wait(&self, limit: Duration) -> Result<()> {
        eventually("a push of the robot", limit, async || {
            Ok(self.begun.exists().then_some(()))
        })
        .await
    }

    /// Lets it go on, and all later ones.
    pub fn release(&self) -> Result<()> {
        fs::write(&self.go, "")?;
        Ok(())
    }
}

impl Drop for Gitea {
    fn drop(&mut self) {
        // it may have ended by itself, which the test has noticed
        self.stop().ok();
    }
}

/// The address at which pods reach the node, and this program, which runs beside it.
async fn node_address(cluster: &Cluster) -> Result<String> {
    let nodes = cluster.api("nodes", None).await?;
    for node in nodes.list(&ListParams::default()).await? {
        let addresses = node.data.pointer("/status/addresses").and_then(Value::as_array);
        let internal = addresses
            .into_iter()
            .flatten()
            .find(|address| text(address, "/type") == "InternalIP");
        if let Some(address) = internal {
            return Ok(text(address, "/address").to_owned());
        }
    }
    bail!("no node of the cluster has an address")
}

fn free_ports() -> Result<[u16; 2]> {
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0));
    // both at once, so that they differ
    let (one, other) = (listen()?, listen()?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}

/// Makes a pair of SSH keys: the file `name` in the folder, and the same with `.pub`.
async fn new_key(folder: &TempDir, name: &str) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(folder.path().join(name));
    output(command).await.context("ssh-keygen")?;
    Ok(())
}

/// Runs a program that ends, and returns what it printed.
async fn output(command: Command) -> Result<String> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(START_LIMIT, command.output())
        .await
        .context("does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "{}: {}{said}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(said.into_owned())
}
