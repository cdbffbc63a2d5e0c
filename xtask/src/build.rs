//! Programs of this workspace, built as `cargo test --workspace` builds them.
//!
//! Cargo chooses the features of a dependency by the packages that it is asked for: a package by itself has other features than the
//! workspace, and all that it needs would be compiled once more. So the whole workspace is named here, and what is wanted of it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process;

/// The folder of the package with the end-to-end tests.
const TESTS: &str = "e2e";

/// The smallest of its test programs.
const SMALLEST: &str = "box";

/// The programs that go into images.
pub(crate) struct ForImages {
    pub(crate) demo_app: PathBuf,
    pub(crate) tidegate: PathBuf,
}

/// Something that cargo has built, as its messages tell.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

/// Builds end-to-end tests, outside: a box has no way to fetch anything. All of them without a name.
pub(crate) fn end_to_end_tests(only: &[String]) -> Result<Vec<PathBuf>> {
    println!("building the tests");
    let all = ["*".to_owned()];
    let messages = cargo(if only.is_empty() { &all } else { only })?;
    let programs: Vec<PathBuf> = messages
        .into_iter()
        .filter(is_end_to_end_test)
        .filter_map(|message| message.executable)
        .collect();
    ensure!(!programs.is_empty(), "cargo has built no test");
    Ok(programs)
}

/// Builds what goes into images.
pub(crate) fn for_images() -> Result<ForImages> {
    println!("building demo-app and tidegate for the images");
    // without any test the features of dependencies that only tests have would be missing
    let messages = cargo(&[SMALLEST.to_owned()])?;
    Ok(ForImages {
        demo_app: program(&messages, "demo-app")?,
        tidegate: program(&messages, "tidegate")?,
    })
}

fn cargo(tests: &[String]) -> Result<Vec<Message>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(process::workspace())
        .stderr(Stdio::inherit())
        .args(["build", "--quiet", "--workspace"])
        .args(["--message-format=json-render-diagnostics"])
        .args(["--bin", "demo-app", "--bin", "tidegate"]);
    for test in tests {
        command.args(["--test", test]);
    }
    messages(&process::output(&mut command)?)
}

fn messages(printed: &str) -> Result<Vec<Message>> {
    printed
        .lines()
        .map(|line| serde_json::from_str(line).context("a message of cargo's"))
        .collect()
}

/// Other packages have tests of the same name.
fn is_end_to_end_test(message: &Message) -> bool {
    let is_test = |target: &Target| target.kind.iter().any(|kind| kind == "test");
    let package = message.manifest_path.as_deref().and_then(Path::parent);
    message.target.as_ref().is_some_and(is_test) && package.is_some_and(|package| package.ends_with(TESTS))
}

fn program(messages: &[Message], name: &str) -> Result<PathBuf> {
    let is_it = |target: &Target| target.name == name && target.kind.iter().any(|kind| kind == "bin");
    messages
        .iter()
        .filter(|message| message.target.as_ref().is_some_and(is_it))
        .find_map(|message| message.executable.clone())
        .with_context(|| format!("cargo has not built {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"a"},"manifest_path":"/w/a/Cargo.toml","executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"app"},"manifest_path":"/w/e2e/Cargo.toml","executable":"/t/app"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"git"},"manifest_path":"/w/e2e/Cargo.toml","executable":"/t/git-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"git"},"manifest_path":"/w/sim/Cargo.toml","executable":"/t/git-2"}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn programs_are_in_cargos_messages() {
        let messages = messages(PRINTED).unwrap();
        assert_eq!(program(&messages, "app").unwrap(), PathBuf::from("/t/app"));
        assert!(program(&messages, "git").is_err());
    }

    #[test]
    fn tests_of_other_packages_are_not_end_to_end() {
        let tests: Vec<PathBuf> = messages(PRINTED)
            .unwrap()
            .into_iter()
            .filter(is_end_to_end_test)
            .filter_map(|message| message.executable)
            .collect();
        assert_eq!(tests, [PathBuf::from("/t/git-1")]);
    }
}
