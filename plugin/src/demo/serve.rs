//! The demo's cluster for real clients: on loopback, with a kubeconfig, and in real time from now on.

use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_sim::http::Server;
use tidegate_sim::live::Shared;

use super::Error;
use super::story::NAMESPACE;

/// What to try, in an order in which each of them works, and what it is good for.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("kubectl get rollouts,replicasets,pods", "what is there"),
    ("kubectl tidegate explain web", "why it stands where it stands"),
    (
        "kubectl tidegate set image web web=registry.example/shop:v4",
        "a good release",
    ),
    ("kubectl tidegate get rollout web -w", "watch it; Ctrl-C ends"),
    ("kubectl tidegate promote web", "skip the check that it waits for"),
    (
        "kubectl tidegate abort web",
        "everybody back to the stable version",
    ),
    ("kubectl tidegate retry web", "and once more from the first step"),
    ("kubectl tidegate promote web --full", "without steps and checks"),
    (
        "kubectl tidegate set image web web=registry.example/shop:v5-bad",
        "the metrics will not like it",
    ),
    ("kubectl get analysisruns", "what they said"),
    ("kubectl tidegate undo web", "back to the version before"),
    ("kubectl describe rollout web", "with its events"),
];

/// A cluster that is being served.
pub(super) struct Served {
    server: Server,
    directory: PathBuf,
}

impl Served {
    /// Serves a world on a port of 127.0.0.1; 0 is any that is free.
    pub(super) async fn start(world: Arc<Shared>, port: u16) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::start(world, address)
            .await
            .map_err(failed("listening", &address))?;
        let directory =
            std::env::temp_dir().join(format!("tidegate-demo-{}-{}", std::process::id(), server.port()));
        // it has to be new: nobody else's directory, and no link to somewhere
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(failed("making", &directory.display()))?;
        let served = Self { server, directory };
        let path = served.kubeconfig();
        write_new(&path, &served.server.kubeconfig(NAMESPACE)).map_err(failed("writing", &path.display()))?;
        Ok(served)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// What to type to get there, and what then.
    pub(super) fn instructions(&self) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "  The cluster is up at {} until Ctrl-C. In another terminal:",
                self.server.url()
            ),
            String::new(),
            format!("    export KUBECONFIG={}", quoted(&self.kubeconfig())),
        ];
        // kubectl finds a plugin in the path only
        if let Some(own) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            lines.push(format!("    export PATH={}:\"$PATH\"", quoted(own)));
        }
        lines.push(String::new());
        lines.extend(
            COMMANDS
                .iter()
                .map(|(command, what)| format!("    {command:<64}# {what}")),
        );
        lines.push(String::new());
        lines
    }

    /// Stops serving.
    pub(super) async fn stop(self) {
        self.server.shutdown().await;
        // a file in the temporary directory that cannot be removed is no reason to fail
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn failed(what: &str, place: &dyn Display) -> impl FnOnce(io::Error) -> Error {
    let what = format!("{what} {place}");
    move |error| Error::Serve { what, error }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

/// A path as one word for the shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(harmless) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word() {
        let quote = |path: &str| quoted(Path::new(path));
        assert_eq!(quote("/tmp/a-1/kubeconfig"), "/tmp/a-1/kubeconfig");
        assert_eq!(quote("/tmp/it's here"), r"'/tmp/it'\''s here'");
    }
}
