//! `demo --serve`: everything that it says one could type, typed. Plain `kubectl` commands are typed where there is one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The demo, ended when it goes out of sight.
struct Demo {
    process: Child,
    /// What it printed up to the head of the table below the commands.
    printed: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kubectl-tidegate"))
            .args(["demo", "--serve", "--speed", "1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let head = lines.next().unwrap();
        let printed: Vec<String> = lines.by_ref().take_while(|line| *line != head).collect();
        // somebody has to read the rest, or it stops when the pipe is full
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, printed }
    }

    /// The indented lines below "In another terminal", without their remarks.
    fn to_type(&self) -> Vec<&str> {
        let below = self
            .printed
            .iter()
            .skip_while(|line| !line.contains("In another terminal"));
        below
            .filter_map(|line| line.strip_prefix("    "))
            .map(|line| line.split("  #").next().unwrap().trim())
            .collect()
    }

    /// Types a command in a shell after the exports.
    fn type_in(&self, command: &str) -> Output {
        let exports: Vec<&str> = self
            .to_type()
            .into_iter()
            .filter(|line| line.starts_with("export "))
            .collect();
        assert_eq!(exports.len(), 2, "{:#?}", self.printed);
        let script = format!("{}\n{command}", exports.join("\n"));
        Command::new("sh").args(["-c", &script]).output().unwrap()
    }

    /// Waits until the Rollout has this phase and this image.
    fn wait_for(&self, phase: &str, version: &str) {
        let begun = Instant::now();
        loop {
            let output = self.type_in("kubectl-tidegate get rollout web -o json");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let info: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let is = &info["status"];
            let images = info["images"].as_array().into_iter().flatten();
            let runs = images
                .filter_map(|image| image["image"].as_str())
                .any(|image| image.ends_with(version));
            if is == phase && runs {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "no {phase} {version} but {is}: {output:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// As Ctrl-C does.
    fn interrupt(&mut self) -> bool {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &id])
                .status()
                .unwrap()
                .success()
        );
        self.process.wait().unwrap().success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn there_is_a_kubectl() -> bool {
    Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn everything_that_it_says_works() {
    let mut demo = Demo::start();
    let kubectl = there_is_a_kubectl();
    let commands: Vec<&str> = demo
        .to_type()
        .into_iter()
        .filter(|line| line.starts_with("kubectl"))
        .collect();
    assert!(commands.len() >= 10, "{:#?}", demo.printed);
    for command in commands {
        let own = command.replacen("kubectl tidegate", "kubectl-tidegate", 1);
        if !kubectl && own == command {
            continue;
        }
        let command = if kubectl { command } else { &own };
        // what watches is ended after a while
        let watches = command.ends_with(" -w");
        let output = demo.type_in(&if watches {
            format!("timeout 1 {command}")
        } else {
            command.to_owned()
        });
        assert!(
            output.status.success() || watches && output.status.code() == Some(124),
            "{command}: {output:?}"
        );
        assert!(!output.stdout.is_empty(), "{command}: {output:?}");
        // what each of them leads to
        if command.ends_with("abort web") {
            demo.wait_for("Degraded", "v4");
        } else if command.ends_with("retry web") {
            demo.wait_for("Progressing", "v4");
        } else if command.ends_with("--full") {
            demo.wait_for("Healthy", "v4");
        } else if command.ends_with("v5-bad") {
            demo.wait_for("Degraded", "v5-bad");
        }
    }
    let kubeconfig = demo
        .to_type()
        .into_iter()
        .find_map(|line| line.strip_prefix("export KUBECONFIG="))
        .unwrap()
        .to_owned();
    assert!(std::path::Path::new(&kubeconfig).exists());
    assert!(demo.interrupt());
    assert!(!std::path::Path::new(&kubeconfig).exists());
}
