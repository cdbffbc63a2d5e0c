//! `cargo xtask stories`: a long run of the simulator's random stories.

use std::{process::Command, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::process;

/// What is played.
#[derive(Args)]
pub(crate) struct Stories {
    /// Seed of the first story.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many stories at most.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// How many minutes at most.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// How many of those that fail are made short.
    #[arg(long, default_value_t = 5)]
    shrink: u64,
}

pub(crate) fn run(arguments: &Stories) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args([
            "test",
            "--release",
            "--package",
            "tidegate-sim",
            "--test",
            "random",
            "stories",
        ])
        .args(["--", "--nocapture"])
        .env("TIDEGATE_SIM_SEED", arguments.seed.to_string())
        .env("TIDEGATE_SIM_STORIES", arguments.count.to_string())
        .env("TIDEGATE_SIM_MINUTES", arguments.minutes.to_string())
        .env("TIDEGATE_SIM_SHRINK", arguments.shrink.to_string());
    // beside the stories themselves: the build, and those that are made short
    let more = Duration::from_mins(30);
    process::run(&mut command, Duration::from_mins(arguments.minutes) + more)
}
