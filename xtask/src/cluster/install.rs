//! What the tests need in a cluster besides Kubernetes: CRDs, a data plane, Prometheus.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::tools;
use crate::process;

const LIMIT: Duration = Duration::from_mins(2);

/// Installs all of it with this `kubectl`, and waits until it is ready.
pub(crate) fn everything(kubectl: &dyn Fn() -> Command) -> Result<()> {
    let start = Instant::now();
    apply(kubectl, &[tools::gateway_api_crds()?, own("deploy/crds")])?;
    apply(kubectl, &[own("e2e/manifests")])?;
    for deployment in ["traefik", "prometheus"] {
        let deployment = format!("deployment/{deployment}");
        let arguments = [
            "--namespace",
            "tidegate-e2e",
            "rollout",
            "status",
            &deployment,
            "--timeout=100s",
        ];
        process::run(
            kubectl().args(arguments).stdout(std::process::Stdio::null()),
            LIMIT,
        )?;
    }
    println!(
        "installed CRDs, Traefik and Prometheus in {:.1} s",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Installs what is of use without pods: our CRDs, and the rights of the counted users.
pub(crate) fn without_pods(kubectl: &dyn Fn() -> Command) -> Result<()> {
    apply(kubectl, &[own("deploy/crds"), own("e2e/manifests/clients.yaml")])
}

fn apply(kubectl: &dyn Fn() -> Command, sources: &[PathBuf]) -> Result<()> {
    let mut command = kubectl();
    // server-side: CRDs are too large for the annotation of the other kind
    command
        .args(["apply", "--server-side", "--force-conflicts"])
        .stdout(std::process::Stdio::null());
    for source in sources.iter().filter(|source| source.exists()) {
        command.arg("--filename").arg(source);
    }
    process::run(&mut command, LIMIT)?;
    let wait = [
        "wait",
        "--for=condition=Established",
        "customresourcedefinitions",
        "--all",
        "--timeout=60s",
    ];
    process::run(kubectl().args(wait).stdout(std::process::Stdio::null()), LIMIT)
}

fn own(path: impl AsRef<Path>) -> PathBuf {
    process::workspace().join(path)
}
