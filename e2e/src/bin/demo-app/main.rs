//! The app that the tests and the examples release, and the load on it: one static program for an empty image.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::{future::pending, path::Path};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod app;
mod load;
mod source;

/// A small web service with a version, and the load on it.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Serve until SIGTERM
    App(app::App),
    /// Send requests at a constant rate and count the answers
    Load(load::Load),
    /// Answer queries as Prometheus does, with what /admin says
    Source(source::Source),
    /// Only wait: the first process of a pod
    Pause,
}

/// What it was started as: as a shell it is the web server of the recordings' pods, whose templates must stay as they are.
fn command() -> Command {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "sh") {
        let version = std::env::var("V").unwrap_or_default();
        return Command::parse_from([
            "sh",
            "app",
            "--port=80",
            "--drain-ms=0",
            &format!("--version={version}"),
        ]);
    }
    Command::parse()
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    match command() {
        Command::App(app) => app::run(app).await,
        Command::Load(load) => load::run(load).await,
        Command::Source(source) => source::run(source).await,
        Command::Pause => {
            terminated().await;
            Ok(())
        }
    }
}

/// Waits for SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // then only SIGKILL ends it
        return pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
