//! kubectl tidegate: get, promote, abort, watch, explain, lint, deliver.
//!
//! What is said and what is written are pure functions (`info`, `patches`, `phase`, `list`); around them is a thin
//! layer that talks to the API server (`api`, `gather`) and to the terminal (`output`).

mod age;
mod api;
mod canary;
mod cli;
mod delivery;
pub mod demo;
mod explain;
mod failure;
mod gather;
mod import;
mod info;
mod lint;
mod list;
mod output;
mod patches;
mod phase;
mod render;
mod show;
#[cfg(test)]
mod testing;
mod verbs;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use jiff::Timestamp;

use crate::api::Api;
use crate::cli::{Cli, Command, Explain, Get, List, Retry, Set, Terminate};
use crate::failure::Failure;
use crate::output::{Output, note};
use crate::patches::Promotion;
use crate::show::{Listing, Subject};

/// Runs the command line of this process. Exit codes as upstream's plugin has them: 0 done; 1 failed, the answer is no, or
/// the command line makes no sense. `delivery diff` has those of `kubectl diff`: 1 for a difference, 2 for a failure.
pub async fn main() -> ExitCode {
    // `cargo demo -- --git` is what one types who is used to cargo, whose alias ends in the verb.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|verb| verb == "demo")
        && arguments.get(2).is_some_and(|dashes| dashes == "--")
    {
        arguments.remove(2);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody can be told when this fails.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let mut out = Output::stdout(cli.connection.no_color);
    let compares = matches!(
        cli.command,
        Command::Delivery {
            what: cli::Delivery::Diff { .. }
        }
    );
    match run(cli, &mut out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(words) = failure.words() {
                note(&words);
            }
            match failure {
                Failure::Said => ExitCode::FAILURE,
                _ if compares => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// How far a promotion goes; nothing asked for is the next step only.
fn promotion(full: bool, skip_current_step: bool, skip_all_steps: bool) -> Promotion {
    match (full, skip_current_step, skip_all_steps) {
        (true, _, _) => Promotion::Full,
        (_, true, _) => Promotion::SkipStep,
        (_, _, true) => Promotion::SkipSteps,
        _ => Promotion::Next,
    }
}

async fn run(cli: Cli, out: &mut Output) -> Result<(), Failure> {
    let Cli { connection, command } = cli;
    let connect = async || Api::connect(&connection).await;
    match command {
        Command::Get { what } => get(&connect().await?, what, out).await,
        Command::List { what } => list(&connect().await?, what, out).await,
        Command::Status {
            name,
            watch,
            timeout,
            print,
        } => show::status(&connect().await?, &name, watch, timeout, print, out).await,
        Command::Promote {
            name,
            full,
            skip_current_step,
            skip_all_steps,
        } => {
            let how = promotion(full, skip_current_step, skip_all_steps);
            verbs::promote(&connect().await?, &name, how, out).await
        }
        Command::Abort { names } => verbs::abort(&connect().await?, &names, out).await,
        Command::Retry { what: None, names }
        | Command::Retry {
            what: Some(Retry::Rollout { names }),
            ..
        } => verbs::retry(&connect().await?, &names, out).await,
        Command::Retry {
            what: Some(Retry::Experiment { names }),
            ..
        } => verbs::retry_experiments(&connect().await?, &names, out).await,
        Command::Pause { names } => verbs::pause(&connect().await?, &names, out).await,
        Command::Restart { name, r#in } => {
            verbs::restart(&connect().await?, &name, r#in, Timestamp::now(), out).await
        }
        Command::Undo { name, to_revision } => verbs::undo(&connect().await?, &name, to_revision, out).await,
        Command::Set {
            what: Set::Image { name, images },
        } => verbs::set_image(&connect().await?, &name, &images, out).await,
        Command::Terminate {
            what: Terminate::AnalysisRun { names },
        } => verbs::terminate_runs(&connect().await?, &names, out).await,
        Command::Terminate {
            what: Terminate::Experiment { names },
        } => verbs::terminate_experiments(&connect().await?, &names, out).await,
        Command::Explain {
            what: Some(Explain::Rollout { name, print }),
            ..
        } => explain::explain(&connect().await?, &name, print, out).await,
        Command::Explain {
            what: Some(Explain::Delivery { name, print }),
            ..
        } => delivery::explain(&connect().await?, &name, print, out).await,
        Command::Explain {
            what: None,
            name,
            print,
        } => explain::explain(&connect().await?, &name.unwrap_or_default(), print, out).await,
        Command::Delivery { what } => delivery::run(&connection, what, out).await,
        Command::Import { what } => import::run(&connection, what, out).await,
        Command::Lint {
            files,
            filename,
            print,
        } => lint::lint(&[files, filename].concat(), print.output, out),
        Command::Demo(args) => demo::run(args, connection.no_color).await,
        Command::Version { short, print } => version(short, print.output, out),
        Command::Completion { shell } => completion(shell, out),
    }
}

async fn get(api: &Api, what: Get, out: &mut Output) -> Result<(), Failure> {
    match what {
        Get::Rollout {
            name: Some(name),
            watching,
            print,
            ..
        } => show::get(api, Subject::Rollout, &name, watching, print, out).await,
        Get::Rollout {
            name: None,
            watching,
            all_namespaces,
            print,
        } => {
            let listing = Listing {
                name: None,
                all_namespaces,
                watch: watching.watch,
                timestamps: false,
                print,
            };
            show::list(api, &listing, out).await
        }
        Get::Experiment {
            name,
            watching,
            print,
        } => show::get(api, Subject::Experiment, &name, watching, print, out).await,
    }
}

async fn list(api: &Api, what: List, out: &mut Output) -> Result<(), Failure> {
    match what {
        List::Rollouts {
            name,
            all_namespaces,
            watch,
            timestamps,
            print,
        } => {
            let listing = Listing {
                name,
                all_namespaces,
                watch,
                timestamps,
                print,
            };
            show::list(api, &listing, out).await
        }
        List::Experiments {
            all_namespaces,
            print,
        } => show::list_experiments(api, all_namespaces, print, out).await,
    }
}

fn version(short: bool, format: Option<output::Format>, out: &mut Output) -> Result<(), Failure> {
    let (version, platform) = (
        env!("CARGO_PKG_VERSION"),
        format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    );
    match format {
        Some(format) => out.value(
            format,
            &serde_json::json!({"version": version, "platform": platform}),
        ),
        None if short => out.line(&format!("kubectl-tidegate: v{version}")),
        None => out.text(&format!("kubectl-tidegate: v{version}\n  Platform: {platform}\n")),
    }
}

fn completion(shell: clap_complete::Shell, out: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-tidegate", &mut script);
    script.flush().map_err(Failure::Output)?;
    out.text(&String::from_utf8_lossy(&script))
}
