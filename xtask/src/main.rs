//! Project chores: `cargo xtask`.

mod crds;

use clap::{Parser, Subcommand};

/// Project chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Crds { check } => crds::run(check),
    }
}
