//! `kubectl tidegate import`: the Delivery that does what an Application of Argo CD or a Kustomization of Flux does, and
//! every field that it does not.

mod argocd;
mod fields;
mod flux;

use std::io::Read;
use std::path::Path;

use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tidegate_controller::request::Resource;
use tidegate_crds::{DELIVERY_API_VERSION, DeliverySpec};
use tidegate_gitsync::spec::Spec;
use tidegate_manifests::{Limits, read};

use self::fields::Fields;
use crate::api::Api;
use crate::cli::{self, Connection, ImportArgs};
use crate::failure::Failure;
use crate::output::{Output, note, yaml};

static APPLICATIONS: Resource = Resource {
    group: "argoproj.io",
    version: "v1alpha1",
    plural: "applications",
    kind: "Application",
    namespaced: true,
};
static KUSTOMIZATIONS: Resource = Resource {
    group: "kustomize.toolkit.fluxcd.io",
    version: "v1",
    plural: "kustomizations",
    kind: "Kustomization",
    namespaced: true,
};
static GIT_REPOSITORIES: Resource = Resource {
    group: "source.toolkit.fluxcd.io",
    version: "v1",
    plural: "gitrepositories",
    kind: "GitRepository",
    namespaced: true,
};

/// What the Delivery is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Apply.
    Deliver,
    /// Judge what the other goes on applying.
    Observe,
}

/// A Delivery, and what of the original is not in it.
#[derive(Debug)]
struct Imported {
    delivery: Value,
    notes: Vec<String>,
}

impl Imported {
    fn new(name: &str, namespace: &str, spec: &Value, mut notes: Vec<String>) -> Result<Self, Failure> {
        let typed: DeliverySpec = DeliverySpec::deserialize(spec).map_err(Failure::other)?;
        if let Err(error) = Spec::read(&typed) {
            notes.push(format!("the Delivery is not valid as it is: {error}"));
        }
        Ok(Self {
            delivery: json!({
                "apiVersion": DELIVERY_API_VERSION, "kind": "Delivery",
                "metadata": {"name": name, "namespace": namespace}, "spec": spec,
            }),
            notes,
        })
    }
}

/// The service account of a Delivery whose syncer does all with the rights of its own controller.
fn account(fields: &mut Fields<'_>, spec: &mut Value, mode: Mode) {
    let (account, may) = match mode {
        Mode::Deliver => ("deployer", "the rights that the folder needs"),
        Mode::Observe => ("observer", "the right to get what it observes and the Rollouts"),
    };
    set(spec, "serviceAccountName", json!(account));
    fields.note(
        "spec.serviceAccountName",
        &format!("make a service account {account} in the namespace of the Delivery, with {may}"),
    );
}

/// `import argocd` and `import flux`: Deliveries on standard output, and all that is not in them on standard error.
pub(crate) async fn run(connection: &Connection, what: cli::Import, out: &mut Output) -> Result<(), Failure> {
    let (args, kind) = match &what {
        cli::Import::Argocd(args) => (args, &APPLICATIONS),
        cli::Import::Flux(args) => (args, &KUSTOMIZATIONS),
    };
    let mode = if args.observe {
        Mode::Observe
    } else {
        Mode::Deliver
    };
    let imported = match &args.filename {
        Some(path) => of_objects(&objects(path)?, args, kind, mode)?,
        None => vec![of_cluster(connection, args, kind, mode).await?],
    };
    let several = imported.len() > 1;
    for Imported { delivery, notes } in imported {
        out.text(&format!(
            "{}{}",
            if several { "---\n" } else { "" },
            yaml(&delivery)?
        ))?;
        for line in notes.iter().flat_map(|words| warning(words)) {
            note(&line);
        }
    }
    Ok(())
}

/// The first line says what it is.
fn warning(words: &str) -> impl Iterator<Item = String> {
    words.lines().enumerate().map(|(index, line)| {
        if index == 0 {
            format!("Warning: {line}")
        } else {
            line.to_owned()
        }
    })
}

async fn of_cluster(
    connection: &Connection,
    args: &ImportArgs,
    kind: &Resource,
    mode: Mode,
) -> Result<Imported, Failure> {
    let api = Api::connect(connection).await?;
    let object = api.get(kind, args.name.as_deref().unwrap_or_default()).await?;
    if kind.kind == APPLICATIONS.kind {
        return argocd::import(&object, mode);
    }
    let (_, namespace, name) = git_repository(&object)?;
    let found = api.find_at(&GIT_REPOSITORIES, &namespace, &name).await?;
    let repository = found.ok_or_else(|| no_repository(&namespace, &name))?;
    flux::import(&object, &repository, mode)
}

fn of_objects(
    objects: &[Value],
    args: &ImportArgs,
    kind: &Resource,
    mode: Mode,
) -> Result<Vec<Imported>, Failure> {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let is = |object: &Value, kind: &Resource| {
        text(object, "/kind") == kind.kind
            && text(object, "/apiVersion").starts_with(&format!("{}/", kind.group))
    };
    let wanted = |object: &&Value| {
        is(object, kind)
            && args
                .name
                .as_ref()
                .is_none_or(|name| text(object, "/metadata/name") == *name)
    };
    let mut imported = Vec::new();
    for object in objects.iter().filter(wanted) {
        if kind.kind == APPLICATIONS.kind {
            imported.push(argocd::import(object, mode)?);
            continue;
        }
        let (_, namespace, name) = git_repository(object)?;
        let found = objects.iter().find(|other| {
            is(other, &GIT_REPOSITORIES)
                && text(other, "/metadata/name") == name
                && [namespace.as_str(), ""].contains(&text(other, "/metadata/namespace").as_str())
        });
        let repository = found.ok_or_else(|| no_repository(&namespace, &name))?;
        imported.push(flux::import(object, repository, mode)?);
    }
    let Some(last) = imported.last_mut() else {
        let name = args
            .name
            .as_ref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        return Err(Failure::other(format!(
            "there is no {}{name} in the file",
            kind.kind
        )));
    };
    for (kind, words) in [
        (
            "ApplicationSet",
            "make a Delivery in each cluster, or for each folder, from the Applications that it generates",
        ),
        (
            "AppProject",
            "its limits are the rights of the service account, and who may write Deliveries in the namespace",
        ),
    ] {
        let found = objects.iter().filter(|object| text(object, "/kind") == kind);
        let notes = found.map(|object| format!("{kind} {}: {words}", text(object, "/metadata/name")));
        last.notes.extend(notes);
    }
    Ok(imported)
}

/// The GitRepository of a Kustomization.
fn git_repository(kustomization: &Value) -> Result<(String, String, String), Failure> {
    let source = flux::source(kustomization);
    if source.0 == GIT_REPOSITORIES.kind {
        return Ok(source);
    }
    Err(Failure::other(format!(
        "Kustomization {}: spec.sourceRef: {} {} is no GitRepository, and a Delivery takes its manifests from Git",
        named(kustomization)?,
        source.0,
        source.2
    )))
}

fn no_repository(namespace: &str, name: &str) -> Failure {
    let place = if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    };
    Failure::other(format!(
        "there is no GitRepository {place}, which the Kustomization takes its manifests from"
    ))
}

/// The objects of a file, or of standard input.
fn objects(path: &Path) -> Result<Vec<Value>, Failure> {
    let limits = Limits::default();
    let label = path.display().to_string();
    let mut text = String::new();
    // One byte more than may be read says that there are too many.
    let most = u64::try_from(limits.bytes).unwrap_or(u64::MAX).saturating_add(1);
    let read_all = if path == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read_all.map_err(|error| Failure::File(label.clone(), error))?;
    let documents = read(&label, &text, &limits).map_err(Failure::other)?;
    let values = documents.into_iter().flat_map(|document| {
        let mut value = document.value;
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![value],
        }
    });
    Ok(values.collect())
}

fn named(object: &Value) -> Result<&str, Failure> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.ok_or_else(|| Failure::other("metadata.name: is missing"))
}

/// Whether a revision is a commit.
fn is_commit(revision: &str) -> bool {
    revision.len() >= 7
        && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
        && revision.bytes().any(|byte| byte.is_ascii_digit())
}

/// Sets a field, and makes the objects around it; what is no object on the way is replaced.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(fields) = at else { return };
        at = fields.entry(part).or_insert(Value::Null);
    }
    *at = value;
}
