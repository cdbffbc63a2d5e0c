//! Project chores: `cargo xtask`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

mod bench;
mod build;
mod citations;
mod cluster;
mod crds;
mod e2e;
mod mutants;
mod process;
mod stories;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Project chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Writes the CustomResourceDefinitions in deploy/crds from the types.
    Crds {
        /// Fails if the files differ from the types, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Fails if a comment cites a rule that docs/contract.md and docs/invariants.md do not have.
    Citations,
    /// Starts and ends a whole Kubernetes in a box, for tests and for trying things out.
    Cluster(cluster::Cluster),
    /// Runs the end-to-end tests.
    E2e(e2e::E2e),
    /// Builds the Helm of the tests, once, and prints where it is: for the variable TIDEGATE_HELM.
    Helm,
    /// Builds what the box needs beside this workspace, once: `e2e` does it as well, later.
    Tools,
    /// Measures time, memory and size, for docs/performance.md.
    Bench(bench::Bench),
    /// Plays random stories on the simulated cluster, as many as there is time for.
    Stories(stories::Stories),
    /// Takes guards of the planner away, one at a time: a scenario of the simulator has to fail for each.
    Mutants(mutants::Mutants),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Crds { check } => crds::run(check),
        Chore::Citations => citations::check(),
        Chore::Cluster(arguments) => cluster::run(arguments),
        Chore::E2e(arguments) => e2e::run(&arguments),
        Chore::Helm => cluster::tools::helm().map(|program| println!("{}", program.display())),
        Chore::Tools => cluster::tools::all(),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Stories(arguments) => stories::run(&arguments),
        Chore::Mutants(arguments) => mutants::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
