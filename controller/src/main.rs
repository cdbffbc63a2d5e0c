//! The `tidegate` binary.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tidegate_controller::args::{Cli, Command, LogArgs, LogFormat};
use tidegate_controller::{check, shell};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = init_log(&cli.log) {
        return fail(&error);
    }
    // One provider for the whole process; the choice is made here and nowhere else.
    _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: plans take microseconds, all else waits for others, and each thread would bring a heap of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => fail(&error.into()),
    }
}

async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Some(Command::Check) => match check::check(&cli).await {
            Ok(findings) => {
                _ = std::io::stdout().write_all(findings.text.as_bytes());
                return if findings.missing == 0 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                };
            }
            Err(error) => Err(error),
        },
        None => {
            if !cli.ignored.given.is_empty() {
                tracing::warn!("flags without effect: --{}", cli.ignored.given.join(", --"));
            }
            match stop_on_signals() {
                Ok(stop) => shell::run(cli, stop).await,
                Err(error) => Err(error),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Cancelled by SIGTERM and SIGINT; a second signal ends the process at once.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        for round in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if round == 0 {
                tracing::info!("stopping");
                stopping.cancel();
            } else {
                std::process::exit(1);
            }
        }
    });
    Ok(stop)
}

fn init_log(args: &LogArgs) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter)?,
        _ => {
            let level = args.loglevel.parse::<LevelFilter>().map_err(|error| {
                anyhow::anyhow!(
                    "--loglevel {}: {error}; use error, warn, info, debug or trace",
                    args.loglevel
                )
            })?;
            // Our own lines; what libraries have to say at lower levels is asked for by RUST_LOG.
            EnvFilter::try_new(format!("{},tidegate={level}", level.min(LevelFilter::WARN)))?
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(std::io::stderr);
    match args.logformat {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    _ = writeln!(std::io::stderr(), "tidegate: {error:#}");
    ExitCode::FAILURE
}
