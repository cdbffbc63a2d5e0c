//! `cargo xtask e2e`: the end-to-end tests, in a box of their own or on a cluster that is there already.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    build,
    cluster::{
        self, Running,
        images::{self, Images},
        install, tools,
    },
    process,
};

/// Of one test program.
const TEST_LIMIT: Duration = Duration::from_hours(1);

/// What the name of the last test program begins with.
const LAST: &str = "rights-";

/// What stands in the source of a test that needs a forge.
const STARTS_GITEA: &str = "Gitea::start";

/// `cargo xtask e2e`
#[derive(Debug, Args)]
pub(crate) struct E2e {
    /// Use this cluster, which has the images of `cargo xtask cluster images --file`, instead of a box
    #[arg(long, conflicts_with = "running")]
    kubeconfig: Option<PathBuf>,
    /// Use this box, which is up already, and leave it up; Tidegate in it is brought up to date
    #[arg(long, value_name = "BOX")]
    running: Option<String>,
    /// The name of the box that is started
    #[arg(long, default_value = "e2e")]
    name: String,
    /// The long tests as well
    #[arg(long)]
    full: bool,
    /// Only this test program, a file in e2e/tests; may be repeated
    #[arg(long)]
    test: Vec<String>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs the tests; a test that failed is an error.
pub(crate) fn run(arguments: &E2e) -> Result<()> {
    let programs = in_order(build::end_to_end_tests(&arguments.test)?);
    let kubeconfig = arguments
        .kubeconfig
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    // as with `cargo test`
    std::env::set_current_dir(process::workspace().join("e2e"))?;
    if let Some(kubeconfig) = kubeconfig {
        ensure!(process::find("kubectl").is_some(), "kubectl is missing");
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.env("KUBECONFIG", &kubeconfig);
            command
        };
        install::everything(&|| command("kubectl"))?;
        return test(&programs, arguments, command);
    }
    let gitea = starts_gitea(&programs)?.then(tools::gitea).transpose()?;
    let test_in = |running: &Running| {
        test(&programs, arguments, |program| {
            let mut command = running.command(program);
            command.env("TIDEGATE_E2E_AUDIT_LOG", running.audit_log());
            if let Some(gitea) = &gitea {
                command.env("TIDEGATE_E2E_GITEA", gitea);
            }
            command
        })
    };
    if let Some(name) = &arguments.running {
        let running = Running::named(name)?;
        running.renew()?;
        return test_in(&running);
    }
    let images = Images::build(&images::ALL)?;
    let running = cluster::up_on_leash(&arguments.name)?;
    let result = running.fill(&images).and_then(|()| test_in(&running));
    running.down()?;
    result
}

/// The one that looks back at all others comes last.
fn in_order(mut programs: Vec<PathBuf>) -> Vec<PathBuf> {
    programs.sort_by_key(|program| {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name.starts_with(LAST), name)
    });
    programs
}

/// Whether one of the test programs needs a forge: it takes minutes to build, once.
fn starts_gitea(programs: &[PathBuf]) -> Result<bool> {
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        // cargo adds a digest to the name
        let Some((name, _)) = name.rsplit_once('-') else {
            continue;
        };
        let source = process::workspace().join(format!("e2e/tests/{name}.rs"));
        let text =
            fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        if text.contains(STARTS_GITEA) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn test(programs: &[PathBuf], arguments: &E2e, command: impl Fn(&str) -> Command) -> Result<()> {
    let start = Instant::now();
    let mut failed = Vec::new();
    for program in programs {
        let mut command = command(&program.to_string_lossy());
        command.env("TIDEGATE_E2E", if arguments.full { "full" } else { "1" });
        if arguments.test.is_empty() && arguments.filter.is_none() {
            command.env("TIDEGATE_E2E_WHOLE", "1");
        }
        // one after the other: tests measure, and the machine may be small
        command
            .args(&arguments.filter)
            .args(["--test-threads=1", "--show-output"]);
        if let Err(error) = process::run(&mut command, TEST_LIMIT) {
            eprintln!("{error:#}");
            failed.push(
                program
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    println!(
        "{} test programs in {} s",
        programs.len(),
        start.elapsed().as_secs()
    );
    if !failed.is_empty() {
        bail!("tests failed: {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forge_is_built_for_the_tests_that_start_one() {
        let programs = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert!(!starts_gitea(&programs(&["/t/box-0123", "/t/bad_input-89ab"])).unwrap());
        assert!(starts_gitea(&programs(&["/t/box-0123", "/t/forge-89ab"])).unwrap());
        assert!(starts_gitea(&programs(&["/t/nothing-0123"])).is_err());
    }

    #[test]
    fn the_one_that_looks_back_comes_last() {
        let programs = ["/t/writes-2", "/t/rights-1", "/t/box-3"].map(PathBuf::from);
        assert_eq!(
            in_order(programs.to_vec()),
            ["/t/box-3", "/t/writes-2", "/t/rights-1"].map(PathBuf::from)
        );
    }
}
