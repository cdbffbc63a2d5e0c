//! What the tests need in a cluster besides Kubernetes: a data plane, Prometheus, and Tidegate as a user would install it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::tools;
use crate::process;

const LIMIT: Duration = Duration::from_mins(2);
/// Namespace and Deployment of deploy/install.yaml.
const TIDEGATE: (&str, &str) = ("argo-rollouts", "tidegate");

/// Installs all of it with this `kubectl`, and waits until it is ready.
pub(crate) fn everything(kubectl: &dyn Fn() -> Command) -> Result<()> {
    let start = Instant::now();
    apply(kubectl, &[tools::gateway_api_crds()?])?;
    apply(kubectl, &[own("e2e/manifests")])?;
    apply_kustomization(kubectl)?;
    for (namespace, deployment) in [
        ("tidegate-e2e", "traefik"),
        ("tidegate-e2e", "prometheus"),
        TIDEGATE,
    ] {
        wait_for(kubectl, namespace, deployment)?;
    }
    println!(
        "installed Tidegate, Traefik and Prometheus in {:.1} s",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Installs Tidegate again, with the image that was imported meanwhile.
pub(crate) fn tidegate_again(kubectl: &dyn Fn() -> Command) -> Result<()> {
    let (namespace, deployment) = TIDEGATE;
    apply_kustomization(kubectl)?;
    let deployment_name = format!("deployment/{deployment}");
    let restart = ["--namespace", namespace, "rollout", "restart", &deployment_name];
    process::run(kubectl().args(restart).stdout(Stdio::null()), LIMIT)?;
    wait_for(kubectl, namespace, deployment)
}

fn apply_kustomization(kubectl: &dyn Fn() -> Command) -> Result<()> {
    let mut command = kubectl();
    command
        .args(["apply", "--server-side", "--force-conflicts", "--kustomize"])
        .arg(own("e2e/tidegate"));
    process::run(command.stdout(Stdio::null()), LIMIT)
}

fn wait_for(kubectl: &dyn Fn() -> Command, namespace: &str, deployment: &str) -> Result<()> {
    let deployment = format!("deployment/{deployment}");
    let arguments = [
        "--namespace",
        namespace,
        "rollout",
        "status",
        &deployment,
        "--timeout=100s",
    ];
    process::run(kubectl().args(arguments).stdout(Stdio::null()), LIMIT)
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
        .stdout(Stdio::null());
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
    process::run(kubectl().args(wait).stdout(Stdio::null()), LIMIT)
}

fn own(path: impl AsRef<Path>) -> PathBuf {
    process::workspace().join(path)
}
