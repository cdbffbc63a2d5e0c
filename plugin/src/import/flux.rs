//! A Kustomization of Flux and its GitRepository as a Delivery.

use serde_json::{Value, json};

use super::fields::Fields;
use super::{Imported, Mode, account, named, set};
use crate::failure::Failure;

/// Fields of a Kustomization that a kustomization has by the same name.
const KUSTOMIZE: [&str; 5] = ["namePrefix", "nameSuffix", "patches", "images", "components"];

/// What a Kustomization may ask for that a Delivery does in another way, or not at all.
const NOT_DONE: [(&str, &str); 5] = [
    (
        "spec.postBuild",
        "variables are not replaced: commit the values, by a replacement of Kustomize for instance",
    ),
    (
        "spec.decryption",
        "nothing is decrypted: use sealed secrets or an operator that fetches them",
    ),
    (
        "spec.dependsOn",
        "is not waited for: what belongs together goes into one folder, in waves",
    ),
    (
        "spec.healthCheckExprs",
        "write the expressions into spec.healthChecks of the Delivery",
    ),
    (
        "spec.deletionPolicy",
        "a Delivery that is deleted leaves its objects as they are",
    ),
];

/// Kind, namespace and name of what a Kustomization takes its manifests from.
pub(super) fn source(kustomization: &Value) -> (String, String, String) {
    let text = |pointer: &str| {
        kustomization
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let namespace = match text("/spec/sourceRef/namespace") {
        "" => text("/metadata/namespace"),
        namespace => namespace,
    };
    (
        text("/spec/sourceRef/kind").to_owned(),
        namespace.to_owned(),
        text("/spec/sourceRef/name").to_owned(),
    )
}

/// Makes a Delivery of a Kustomization and its GitRepository.
///
/// # Errors
/// There is no such Delivery: its manifests do not come from a GitRepository.
pub(super) fn import(kustomization: &Value, repository: &Value, mode: Mode) -> Result<Imported, Failure> {
    let name = named(kustomization)?;
    let mut fields = Fields::of(kustomization);
    let mut from = Fields::of(repository);
    let Some(url) = from.text("spec.url") else {
        return Err(Failure::other(format!(
            "GitRepository {}: spec.url: is missing",
            named(repository)?
        )));
    };
    let mut spec = json!({"source": {"git": {"url": url}}});
    fields.take("spec.sourceRef");
    if let Some(path) = fields
        .text("spec.path")
        .filter(|path| !matches!(*path, "." | "./"))
    {
        set(&mut spec, "source.git.path", json!(path.trim_start_matches("./")));
    }
    reference(&mut from, &mut spec);
    let own = kustomization
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or("default");
    let target = fields.text("spec.targetNamespace");
    let namespace = target.unwrap_or(own).to_owned();
    credentials(&mut from, &mut spec, &source(kustomization).1, &namespace);
    if let Some(interval) = from.text("spec.interval") {
        set(&mut spec, "interval", json!(interval));
    }
    fields.note_if(
        "spec.kubeConfig",
        "a Delivery stands in the cluster that it delivers to: apply it there",
    );
    match mode {
        Mode::Observe => observed(&mut fields, &mut from, &mut spec, name, own),
        Mode::Deliver => deliver(&mut fields, &mut from, &mut spec, target)?,
    }
    let mut notes = fields.into_notes("spec");
    let of_source = from.into_notes("spec").into_iter();
    notes.extend(of_source.map(|note| format!("GitRepository {note}")));
    Imported::new(name, &namespace, &spec, notes)
}

fn reference(from: &mut Fields<'_>, spec: &mut Value) {
    // The order in which Flux looks at them.
    let commit = from.text("spec.ref.commit");
    let name = from.text("spec.ref.name");
    let semver = from.text("spec.ref.semver");
    let tag = from.text("spec.ref.tag");
    let branch = from.text("spec.ref.branch");
    let reference = match (name, tag, branch) {
        (Some(name), ..) if name.starts_with("refs/heads/") => {
            json!({"branch": name.trim_start_matches("refs/heads/")})
        }
        (Some(name), ..) if name.starts_with("refs/tags/") => {
            json!({"tag": name.trim_start_matches("refs/tags/")})
        }
        (_, Some(tag), _) => json!({"tag": tag}),
        (_, _, branch) => json!({"branch": branch.unwrap_or("master")}),
    };
    if commit.is_some() {
        from.note(
            "spec.ref.commit",
            "a Delivery follows a branch or a tag, not a fixed commit",
        );
    }
    if let Some(semver) = semver.filter(|_| commit.is_none() && name.is_none()) {
        from.note(
            "spec.ref.semver",
            &format!("{semver} is a range of versions, which is not followed: name a branch or a tag"),
        );
    }
    if let Some(name) =
        name.filter(|name| !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/"))
    {
        from.note(
            "spec.ref.name",
            &format!("{name} is neither a branch nor a tag, which is what a Delivery follows"),
        );
    }
    set(spec, "source.git.ref", reference);
}

fn credentials(from: &mut Fields<'_>, spec: &mut Value, there: &str, here: &str) {
    if let Some(secret) = from.text("spec.secretRef.name") {
        set(spec, "source.git.secretRef", json!({"name": secret}));
        if there != here {
            let words = format!(
                "copy the Secret {secret} from namespace {there} to {here}: its keys are understood as they are"
            );
            from.note("spec.secretRef", &words);
        }
    }
    if let Some(secret) = from.text("spec.verify.secretRef.name") {
        set(spec, "source.git.verify", json!({"secretRef": {"name": secret}}));
        from.note(
            "spec.verify",
            &format!(
                "commits are verified by the keys .asc and .sshpub of the Secret {secret} of namespace {here}"
            ),
        );
        if from
            .text("spec.verify.mode")
            .is_some_and(|mode| mode.to_ascii_lowercase().contains("tag"))
        {
            from.note(
                "spec.verify.mode",
                "signatures of commits count, not those of tags",
            );
        }
        from.take("spec.verify.provider");
    }
    for (path, words) in [
        (
            "spec.proxySecretRef",
            "proxies are those of the controller's environment",
        ),
        (
            "spec.provider",
            "put a token of the cloud into the Secret: there is no workload identity for Git",
        ),
        (
            "spec.recurseSubmodules",
            "submodules are not fetched: commit their files",
        ),
        (
            "spec.include",
            "commit the files of the other repository, or make a Delivery for it",
        ),
        (
            "spec.ignore",
            "only the files that the folder needs are read: write a kustomization.yaml that names them",
        ),
    ] {
        let off = from.switch(path) == Some(false) || from.text(path) == Some("generic");
        if !off {
            from.note_if(path, words);
        }
    }
    // Only what is needed is fetched anyway, and time limits are the controller's.
    for path in ["spec.sparseCheckout", "spec.timeout", "spec.gitImplementation"] {
        from.take(path);
    }
}

/// For a Delivery that only observes, all that applies stays with Flux.
fn observed(fields: &mut Fields<'_>, from: &mut Fields<'_>, spec: &mut Value, name: &str, own: &str) {
    set(
        spec,
        "observe",
        json!({"kind": "Kustomization", "name": name, "namespace": own}),
    );
    account(fields, spec, Mode::Observe);
    let kustomize = KUSTOMIZE.map(|field| format!("spec.{field}"));
    for path in kustomize
        .iter()
        .map(String::as_str)
        .chain(["spec.postBuild", "spec.decryption"])
    {
        fields.note_if(
            path,
            "Flux renders with it and the Delivery does not: there is no verdict where a Rollout differs because of it",
        );
    }
    from.take("spec.suspend");
    for path in [
        "spec.interval",
        "spec.retryInterval",
        "spec.timeout",
        "spec.prune",
        "spec.suspend",
        "spec.serviceAccountName",
        "spec.wait",
        "spec.healthChecks",
        "spec.healthCheckExprs",
        "spec.dependsOn",
        "spec.force",
        "spec.deletionPolicy",
        "spec.commonMetadata",
    ] {
        fields.take(path);
    }
}

fn deliver(
    fields: &mut Fields<'_>,
    from: &mut Fields<'_>,
    spec: &mut Value,
    target: Option<&str>,
) -> Result<(), Failure> {
    let prune = fields.switch("spec.prune") == Some(true);
    set(spec, "prune", json!({"enabled": prune}));
    if fields.switch("spec.suspend") == Some(true) || from.switch("spec.suspend") == Some(true) {
        set(spec, "suspend", json!(true));
    }
    if let Some(account) = fields.text("spec.serviceAccountName") {
        set(spec, "serviceAccountName", json!(account));
    } else {
        account(fields, spec, Mode::Deliver);
    }
    if let Some(target) = target {
        let words = format!(
            "Flux puts all objects into {target}, the Delivery only those without a namespace of their own"
        );
        fields.note("spec.targetNamespace", &words);
    }
    for field in KUSTOMIZE {
        let path = format!("spec.{field}");
        if let Some(value) = fields.take(&path) {
            fields.kustomization(&path, &json!({field: value}))?;
        }
    }
    if let Some(labels) = fields.take("spec.commonMetadata.labels") {
        fields.kustomization(
            "spec.commonMetadata.labels",
            &json!({"labels": [{"pairs": labels}]}),
        )?;
    }
    if let Some(annotations) = fields.take("spec.commonMetadata.annotations") {
        fields.kustomization(
            "spec.commonMetadata.annotations",
            &json!({"commonAnnotations": annotations}),
        )?;
    }
    for (path, words) in NOT_DONE {
        fields.note_if(path, words);
    }
    if fields.switch("spec.force") == Some(true) {
        fields.note(
            "spec.force",
            "is not done: what cannot be changed needs a new name",
        );
    }
    // The branch is looked at as often as the GitRepository says; health is always waited for, by the verdict.
    for path in [
        "spec.interval",
        "spec.retryInterval",
        "spec.timeout",
        "spec.wait",
        "spec.healthChecks",
    ] {
        fields.take(path);
    }
    Ok(())
}
