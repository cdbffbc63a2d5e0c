//! An Application of Argo CD as a Delivery.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::{Imported, Mode, account, is_commit, named, set};
use crate::failure::Failure;

/// Where Argo CD says that a cluster is its own.
const HERE: [&str; 3] = ["", "https://kubernetes.default.svc", "in-cluster"];

/// Fields of `spec.source.kustomize` that a kustomization has by the same name.
const KUSTOMIZE: [&str; 9] = [
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "commonAnnotations",
    "replicas",
    "patches",
    "components",
    "images",
];

/// Makes a Delivery of an Application.
///
/// # Errors
/// There is no such Delivery: it does not deliver a folder of one repository.
pub(super) fn import(application: &Value, mode: Mode) -> Result<Imported, Failure> {
    let mut fields = Fields::of(application);
    let name = named(application)?;
    let refuse = |words: &str| Failure::other(format!("Application {name}: {words}"));
    if fields.take("spec.sources").is_some() {
        return Err(refuse(
            "spec.sources: a Delivery has one source; make an Application for each, or one folder of all",
        ));
    }
    if fields.take("spec.sourceHydrator").is_some() {
        return Err(refuse(
            "spec.sourceHydrator: name the branch that it writes in a Delivery; nothing has to be hydrated for it",
        ));
    }
    if fields.text("spec.source.chart").is_some() {
        return Err(refuse(
            "spec.source.chart: a chart of a Helm repository is not in Git; commit a Chart.yaml with it as a dependency, or what \
             `helm template` prints",
        ));
    }
    let Some(url) = fields.text("spec.source.repoURL") else {
        return Err(refuse("spec.source.repoURL: is missing"));
    };
    let mut spec = json!({"source": {"git": {"url": url}}});
    if let Some(path) = fields.text("spec.source.path").filter(|path| *path != ".") {
        set(&mut spec, "source.git.path", json!(path));
    }
    reference(&mut fields, &mut spec);
    let secret = format!("{name}-git");
    set(&mut spec, "source.git.secretRef", json!({"name": secret}));
    fields.note(
        "spec.source.repoURL",
        &format!(
            "Argo CD keeps the credentials in a Secret of its own namespace (label argocd.argoproj.io/secret-type: repository or \
             repo-creds): put its username and password, or sshPrivateKey and known_hosts, into a Secret {secret}, or take secretRef \
             out if the repository is public"
        ),
    );
    let namespace = destination(&mut fields, application);
    project(&mut fields);
    account(&mut fields, &mut spec, mode);
    match mode {
        Mode::Observe => {
            let own = application
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                .unwrap_or("argocd");
            set(
                &mut spec,
                "observe",
                json!({"kind": "Application", "name": name, "namespace": own}),
            );
            observed(&mut fields);
        }
        Mode::Deliver => {
            helm(&mut fields, &mut spec)?;
            kustomize(&mut fields)?;
            directory(&mut fields);
            policy(&mut fields, &mut spec);
            differences(&mut fields);
            metadata(&mut fields);
        }
    }
    Imported::new(name, &namespace, &spec, fields.into_notes("spec"))
}

fn reference(fields: &mut Fields<'_>, spec: &mut Value) {
    let path = "spec.source.targetRevision";
    let revision = fields.text(path).unwrap_or("HEAD");
    let version = |text: &str| {
        text.strip_prefix('v')
            .unwrap_or(text)
            .split('.')
            .all(|part| part.parse::<u64>().is_ok())
    };
    let (kind, name) = if let Some(tag) = revision.strip_prefix("refs/tags/") {
        ("tag", tag)
    } else if let Some(branch) = revision.strip_prefix("refs/heads/") {
        ("branch", branch)
    } else if revision == "HEAD" {
        fields.note(
            path,
            "HEAD is whatever the repository calls its default branch: main is assumed",
        );
        ("branch", "main")
    } else if is_commit(revision) {
        fields.note(
            path,
            "a Delivery follows a branch or a tag, not a fixed commit: main is assumed",
        );
        ("branch", "main")
    } else if revision.contains(['*', '<', '>', '^', '~', ' ', '|']) {
        fields.note(
            path,
            &format!("{revision} is a range of versions, which is not followed: main is assumed"),
        );
        ("branch", "main")
    } else if version(revision) {
        fields.note(
            path,
            &format!("{revision} is taken for a tag: for a branch write ref.branch"),
        );
        ("tag", revision)
    } else {
        ("branch", revision)
    };
    set(spec, "source.git.ref", json!({kind: name}));
}

/// The namespace that everything goes to.
fn destination(fields: &mut Fields<'_>, application: &Value) -> String {
    for path in ["spec.destination.server", "spec.destination.name"] {
        let cluster = fields.text(path).unwrap_or_default();
        if !HERE.contains(&cluster) {
            let words = format!(
                "{cluster} is another cluster: a Delivery stands in the cluster that it delivers to, apply it there"
            );
            fields.note(path, &words);
        }
    }
    if let Some(namespace) = fields.text("spec.destination.namespace") {
        return namespace.to_owned();
    }
    fields.note(
        "spec.destination.namespace",
        "is not set: objects without a namespace go to that of the Delivery",
    );
    application
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or("default")
        .to_owned()
}

fn project(fields: &mut Fields<'_>) {
    let project = fields.text("spec.project").unwrap_or("default");
    if project != "default" {
        let words = format!(
            "what the AppProject {project} allows is not carried over: the rights of the service account are the limits"
        );
        fields.note("spec.project", &words);
    }
}

/// For a Delivery that only observes, all that applies stays with Argo CD.
fn observed(fields: &mut Fields<'_>) {
    for path in [
        "spec.source.helm",
        "spec.source.kustomize",
        "spec.source.plugin",
        "spec.source.directory.jsonnet",
    ] {
        fields.note_if(
            path,
            "Argo CD renders with it and the Delivery does not: there is no verdict where a Rollout differs because of it",
        );
    }
    for path in [
        "spec.source.directory",
        "spec.syncPolicy",
        "spec.ignoreDifferences",
        "spec.info",
        "spec.revisionHistoryLimit",
    ] {
        fields.take(path);
    }
}

// How it is rendered

fn helm(fields: &mut Fields<'_>, spec: &mut Value) -> Result<(), Failure> {
    let mut helm = Map::new();
    for (path, field) in [
        ("releaseName", "releaseName"),
        ("valueFiles", "valueFiles"),
        ("kubeVersion", "kubeVersion"),
    ] {
        if let Some(value) = fields.take(&format!("spec.source.helm.{path}")) {
            helm.insert(field.to_owned(), value.clone());
        }
    }
    if fields.switch("spec.source.helm.skipCrds") == Some(true) {
        helm.insert("includeCRDs".to_owned(), json!(false));
    }
    let mut values = match fields.take("spec.source.helm.valuesObject") {
        Some(values) => values.clone(),
        None => match fields.text("spec.source.helm.values") {
            Some(text) => serde_saphyr::from_str(text)
                .map_err(|error| Failure::other(format!("spec.source.helm.values: {error}")))?,
            None => json!({}),
        },
    };
    // Parameters count more than values, and those that are names of plain fields say the same as these.
    let parameters = fields
        .take("spec.source.helm.parameters")
        .and_then(Value::as_array);
    for parameter in parameters.into_iter().flatten() {
        let text = |field: &str| parameter.get(field).and_then(Value::as_str).unwrap_or_default();
        let (name, value) = (text("name"), text("value"));
        if name.is_empty() || name.contains(['[', '{', '\\', ',']) {
            fields.note(
                "spec.source.helm.parameters",
                &format!("{name:?} has to be written as a value by hand"),
            );
            continue;
        }
        let forced = parameter.get("forceString") == Some(&Value::Bool(true));
        let parsed = (!forced)
            .then(|| serde_saphyr::from_str::<Value>(value).ok())
            .flatten();
        set(
            &mut values,
            name,
            parsed
                .filter(|value| !value.is_object() && !value.is_array())
                .unwrap_or_else(|| json!(value)),
        );
    }
    if values.as_object().is_some_and(|values| !values.is_empty()) {
        helm.insert("values".to_owned(), values);
    }
    fields.take("spec.source.helm.version");
    if !helm.is_empty() {
        set(spec, "source.helm", Value::Object(helm));
        fields.note("spec.source.helm", "needs a controller with --helm");
    }
    Ok(())
}

fn kustomize(fields: &mut Fields<'_>) -> Result<(), Failure> {
    for field in KUSTOMIZE {
        let path = format!("spec.source.kustomize.{field}");
        let Some(value) = fields.take(&path) else { continue };
        let value = match (field, value.as_array()) {
            ("images", Some(images)) => images.iter().filter_map(Value::as_str).map(image).collect(),
            _ => value.clone(),
        };
        fields.kustomization(&path, &json!({field: value}))?;
    }
    fields.take("spec.source.kustomize.version");
    Ok(())
}

/// `[NAME=]IMAGE[:TAG|@DIGEST]` as a kustomization writes it.
fn image(text: &str) -> Value {
    let (name, image) = text
        .split_once('=')
        .map_or((None, text), |(name, image)| (Some(name), image));
    let (image, digest) = image
        .split_once('@')
        .map_or((image, None), |(image, digest)| (image, Some(digest)));
    let registry = image.rfind('/').map_or(0, |slash| slash + 1);
    let tag = image
        .get(registry..)
        .and_then(|last| last.find(':'))
        .map(|colon| registry + colon);
    let (image, tag) = tag.map_or((image, None), |tag| {
        (image.get(..tag).unwrap_or(image), image.get(tag + 1..))
    });
    let mut entry = json!({"name": name.unwrap_or(image)});
    if name.is_some_and(|name| name != image) {
        entry["newName"] = json!(image);
    }
    match (digest, tag) {
        (Some(digest), _) => entry["digest"] = json!(digest),
        (None, Some(tag)) => entry["newTag"] = json!(tag),
        (None, None) => {}
    }
    entry
}

fn directory(fields: &mut Fields<'_>) {
    if fields.take("spec.source.directory").is_some()
        && fields.switch("spec.source.directory.recurse") != Some(true)
    {
        fields.note(
            "spec.source.directory.recurse",
            "is off: a Delivery takes all manifests below the folder unless there is a kustomization.yaml",
        );
    }
    fields.note_if(
        "spec.source.directory.include",
        "write a kustomization.yaml that names these files",
    );
    fields.note_if(
        "spec.source.directory.exclude",
        "write a kustomization.yaml that names the other files",
    );
    fields.note_if(
        "spec.source.directory.jsonnet",
        "is not rendered: commit what it gives",
    );
    fields.note_if("spec.source.plugin", "is not run: commit what it prints");
}

// How it is applied

fn policy(fields: &mut Fields<'_>, spec: &mut Value) {
    // An empty object is enough to switch it on.
    let automated = fields.is_there("spec.syncPolicy.automated");
    let enabled = automated && fields.switch("spec.syncPolicy.automated.enabled") != Some(false);
    if !enabled {
        fields.note(
            "spec.syncPolicy.automated",
            "is off, and a Delivery applies each commit by itself: set suspend: true until it shall",
        );
    }
    let prune = fields.switch("spec.syncPolicy.automated.prune") == Some(true);
    set(spec, "prune", json!({"enabled": prune}));
    if enabled && fields.switch("spec.syncPolicy.automated.selfHeal") != Some(true) {
        fields.note(
            "spec.syncPolicy.automated.selfHeal",
            "is off, and a Delivery always puts back what was changed by hand",
        );
    }
    if fields.switch("spec.syncPolicy.automated.allowEmpty") == Some(true) {
        fields.note(
            "spec.syncPolicy.automated.allowEmpty",
            "a commit without any manifest is always refused",
        );
    }
    fields.note_if(
        "spec.syncPolicy.retry",
        "what the API server refuses is tried again after 5 s to 5 min, without end",
    );
    fields.note_if(
        "spec.syncPolicy.managedNamespaceMetadata",
        "commit a manifest of the Namespace with these labels and annotations",
    );
    let options = fields
        .take("spec.syncPolicy.syncOptions")
        .and_then(Value::as_array);
    for option in options.into_iter().flatten().filter_map(Value::as_str) {
        if let Some(words) = option_words(option) {
            fields.note("spec.syncPolicy.syncOptions", &format!("{option}: {words}"));
        }
    }
}

/// What there is to say about an option; `None` if a Delivery does so anyway.
fn option_words(option: &str) -> Option<&'static str> {
    let (key, value) = option.split_once('=').unwrap_or((option, "true"));
    match (key, value) {
        (
            "ServerSideApply"
            | "ApplyOutOfSyncOnly"
            | "PruneLast"
            | "RespectIgnoreDifferences"
            | "FailOnSharedResource"
            | "SkipDryRunOnMissingResource"
            | "Validate",
            "true",
        )
        | ("PrunePropagationPolicy", "background")
        | ("CreateNamespace" | "Replace" | "Force", "false") => None,
        ("CreateNamespace", _) => Some("commit a manifest of the Namespace"),
        ("PrunePropagationPolicy", _) => Some("dependents are always deleted in the background"),
        ("Replace" | "Force", _) => Some("is not done: what cannot be changed needs a new name"),
        ("Prune" | "Delete", "false") => {
            Some("annotate the objects themselves with argocd.argoproj.io/sync-options: Prune=false")
        }
        _ => Some("is not carried over"),
    }
}

fn differences(fields: &mut Fields<'_>) {
    let entries = fields.take("spec.ignoreDifferences").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let kind = entry.get("kind").and_then(Value::as_str).unwrap_or_default();
        for (field, words) in [
            (
                "jsonPointers",
                "what is in Git is always applied: take the field out of Git and whoever else sets it keeps it",
            ),
            (
                "jqPathExpressions",
                "what is in Git is always applied: take the fields out of Git",
            ),
            (
                "managedFieldsManagers",
                "what is in Git is always applied: take what they set out of Git",
            ),
        ] {
            let values = entry.get(field).and_then(Value::as_array);
            for value in values.into_iter().flatten().filter_map(Value::as_str) {
                if !left_alone(kind, value) {
                    fields.note("spec.ignoreDifferences", &format!("{kind} {value}: {words}"));
                }
            }
        }
    }
}

/// What a Delivery leaves alone without being told.
fn left_alone(kind: &str, pointer: &str) -> bool {
    matches!(
        (kind, pointer),
        (
            "Rollout",
            "/spec/paused" | "/spec/restartAt" | "/status" | "/spec/replicas"
        ) | ("Deployment", "/spec/replicas")
            | ("Service", "/spec/selector/rollouts-pod-template-hash")
    )
}

fn metadata(fields: &mut Fields<'_>) {
    let finalizers = fields.take("metadata.finalizers").and_then(Value::as_array);
    if finalizers.into_iter().flatten().any(|finalizer| {
        finalizer
            .as_str()
            .is_some_and(|text| text.starts_with("resources-finalizer"))
    }) {
        fields.note(
            "metadata.finalizers",
            "deleting the Application deletes all its objects: use argocd app delete --cascade=false",
        );
    }
    let annotations = fields.take("metadata.annotations").and_then(Value::as_object);
    for key in annotations.into_iter().flatten().map(|(key, _)| key) {
        if key.starts_with("notifications.argoproj.io/") {
            fields.note(
                &format!("metadata.annotations.{key}"),
                "chats are named in spec.feedback.notify",
            );
        } else if key.starts_with("argocd-image-updater.argoproj.io/") {
            fields.note(
                &format!("metadata.annotations.{key}"),
                "images are what Git says: have the updater write to Git (write-back-method: git)",
            );
        }
    }
    fields.take("spec.revisionHistoryLimit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_as_argo_cd_reads_them() {
        for (text, expected) in [
            ("nginx:1.2", json!({"name": "nginx", "newTag": "1.2"})),
            (
                "nginx=host:5000/a/nginx:1.2",
                json!({"name": "nginx", "newName": "host:5000/a/nginx", "newTag": "1.2"}),
            ),
            ("host:5000/nginx", json!({"name": "host:5000/nginx"})),
            ("a@sha256:00", json!({"name": "a", "digest": "sha256:00"})),
        ] {
            assert_eq!(image(text), expected, "{text}");
        }
    }
}
