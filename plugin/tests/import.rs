//! `kubectl tidegate import`: whole outputs, and from a simulated API server.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{command, run, same_as_file};

/// Runs an import of a file: what is printed, and after it what is said.
fn imported(file: &str, arguments: &[&str]) -> String {
    let mut all = vec!["import"];
    all.extend(arguments);
    all.extend(["-f", file]);
    let ran = run(command(&all));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    format!("{}### standard error\n{}", ran.stdout, ran.stderr)
}

#[test]
fn deliveries_and_all_that_is_not_in_them() {
    for (file, arguments, golden) in [
        ("import/argocd.yaml", &["argocd"][..], "import/argocd.txt"),
        (
            "import/argocd.yaml",
            &["argocd", "--observe"],
            "import/argocd-observe.txt",
        ),
        (
            "import/argocd-helm.yaml",
            &["argocd", "web"],
            "import/argocd-helm.txt",
        ),
        ("import/flux.yaml", &["flux"], "import/flux.txt"),
        (
            "import/flux.yaml",
            &["flux", "shop", "--observe"],
            "import/flux-observe.txt",
        ),
    ] {
        same_as_file(golden, &imported(file, arguments));
    }
}

#[test]
fn what_cannot_be_a_delivery_is_refused() {
    for (text, kind, expected) in [
        (
            "{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: a}, spec: {sources: [{}, {}]}}",
            "argocd",
            "Error: Application a: spec.sources: a Delivery has one source; make an Application for each, or one folder of all\n",
        ),
        (
            "{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, metadata: {name: a}}",
            "argocd",
            "Error: there is no Application in the file\n",
        ),
        (
            "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, namespace: b}, \
             spec: {sourceRef: {kind: Bucket, name: c}}}",
            "flux",
            "Error: Kustomization a: spec.sourceRef: Bucket c is no GitRepository, and a Delivery takes its manifests from Git\n",
        ),
        (
            "{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, namespace: b}, \
             spec: {sourceRef: {kind: GitRepository, name: c}}}",
            "flux",
            "Error: there is no GitRepository b/c, which the Kustomization takes its manifests from\n",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.yaml");
        std::fs::write(&path, text).unwrap();
        let ran = run(command(&["import", kind, "-f", path.to_str().unwrap()]));
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (1, "", expected)
        );
    }
}
