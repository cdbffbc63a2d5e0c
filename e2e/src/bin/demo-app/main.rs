//! The app that the tests and the examples release, and the load on it: one static program for an empty image.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::future::pending;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

mod app;
mod load;

/// A small web service with a version, and the load on it.
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Serve until SIGTERM
    App(app::App),
    /// Send requests at a constant rate and count the answers
    Load(load::Load),
    /// Only wait: the first process of a pod
    Pause,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::App(app) => app::run(app).await,
        Command::Load(load) => load::run(load).await,
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
