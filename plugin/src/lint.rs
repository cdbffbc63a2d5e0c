//! `lint`: the validation of the controller, for files, with the place of everything that is wrong.

mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::labels::MANAGED_BY_ANNOTATION;
use tidegate_crds::template::drop_malformed_fields;
use tidegate_crds::{
    API_VERSION, AnalysisRun, AnalysisTemplate, AnalysisTemplateSpec, Argument, ClusterAnalysisTemplate,
    Experiment, Metric, Rollout,
    decode::{Decode, tolerant},
};
use tidegate_engine::observed::ServiceView;
use tidegate_engine::validate::{
    References, Segment, Violation, ViolationKind, validate_references, validate_spec,
};
use tidegate_manifests::{Document, Limits, PathPart, ReadError, path, read};
use tidegate_traffic::{ObjectRef, RouteKind, Routes, kinds};

use crate::failure::Failure;
use crate::output::{Format, Output, printable};

/// Files that one run reads.
const MAX_FILES: usize = 10_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Finding {
    /// `file:line:column`, or less of it.
    #[serde(skip)]
    place: String,
    file: String,
    line: u32,
    column: u32,
    /// The field; empty when no document could be read.
    path: String,
    message: String,
    /// What to do about it; empty when the message says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
}

impl Finding {
    fn at(document: &Document, parts: &[PathPart], path: String, message: String, fix: String) -> Self {
        let place = document.place(parts);
        Self {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            place: place.to_string(),
            path,
            message,
            fix,
        }
    }

    fn text(&self) -> String {
        let path = if self.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.path)
        };
        let fix = if self.fix.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.fix)
        };
        printable(&format!("{}: {path}{}{fix}", self.place, self.message))
    }
}

impl From<ReadError> for Finding {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge { file, limit } => Self {
                place: file.to_string(),
                file: file.to_string(),
                line: 0,
                column: 0,
                path: String::new(),
                message: format!("file is larger than {limit} bytes"),
                fix: String::new(),
            },
            ReadError::Invalid { place, message } => Self {
                place: place.to_string(),
                file: place.file.to_string(),
                line: place.line,
                column: place.column,
                path: String::new(),
                message,
                fix: String::new(),
            },
        }
    }
}

/// `lint FILE…`: exit code 1 when something is wrong.
pub(crate) fn lint(paths: &[PathBuf], format: Option<Format>, out: &mut Output) -> Result<(), Failure> {
    let limits = Limits::default();
    let mut texts = Vec::new();
    for path in paths {
        add_texts(path, &limits, &mut texts)?;
    }
    let findings = check(&texts, &limits);
    match format {
        Some(format) => out.value(format, &findings)?,
        None => {
            for finding in &findings {
                out.line(&finding.text())?;
            }
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}

/// Reads a file, the manifests of a directory, or standard input.
fn add_texts(path: &Path, limits: &Limits, texts: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let label = path.display().to_string();
    let failed = |error| Failure::File(label.clone(), error);
    if path == Path::new("-") {
        let text = read_limited(std::io::stdin(), limits).map_err(failed)?;
        texts.push(("stdin".to_owned(), text));
        return Ok(());
    }
    let mut files = Vec::new();
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if file.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
                files.push(file);
            }
        }
        if files.is_empty() {
            let text = format!("no .yaml, .yml or .json file in {label}; folders in it are not read");
            return Err(Failure::Answer(text));
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    for file in files {
        if texts.len() >= MAX_FILES {
            return Err(Failure::Usage(format!("more than {MAX_FILES} files")));
        }
        let label = file.display().to_string();
        let failed = |error| Failure::File(label.clone(), error);
        let open = std::fs::File::open(&file).map_err(failed)?;
        let text = read_limited(open, limits).map_err(failed)?;
        texts.push((label, text));
    }
    Ok(())
}

/// Reads one byte more than allowed at most: the reader then says that it is too large.
fn read_limited(from: impl Read, limits: &Limits) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(limits.bytes as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// All that is wrong with files, by file and place.
fn check(texts: &[(String, String)], limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut documents = Vec::new();
    for (label, text) in texts {
        match read(label, text, limits) {
            Ok(found) => documents.extend(found),
            Err(error) => findings.push(Finding::from(error)),
        }
    }
    let objects: Vec<Object<'_>> = documents.iter().flat_map(objects).collect();
    let mut broken = BTreeSet::new();
    for object in &objects {
        if object.check(&mut findings) && object.text("/kind").ends_with("AnalysisTemplate") {
            broken.insert(object.key().1);
        }
    }
    let world = World::of(&objects);
    for object in objects.iter().filter(|object| object.is(API_VERSION, "Rollout")) {
        object.check_rollout(&world, &broken, &mut findings);
    }
    findings.sort_by(|a, b| (&a.file, a.line, a.column, &a.path).cmp(&(&b.file, b.line, b.column, &b.path)));
    findings.dedup();
    findings
}

/// An object of a document: the document itself, or an item of a `List`.
struct Object<'a> {
    document: &'a Document,
    value: &'a Value,
    /// Where in the document it is.
    at: Vec<PathPart>,
}

fn objects(document: &Document) -> Vec<Object<'_>> {
    let items = document.value.get("items").and_then(Value::as_array);
    let kind = document
        .value
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match items {
        Some(items) if kind.ends_with("List") => {
            let items = items.iter().enumerate();
            items
                .map(|(index, value)| Object {
                    document,
                    value,
                    at: vec!["items".into(), index.into()],
                })
                .collect()
        }
        _ => vec![Object {
            document,
            value: &document.value,
            at: Vec::new(),
        }],
    }
}

impl Object<'_> {
    fn text(&self, pointer: &str) -> &str {
        self.value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn is(&self, api_version: &str, kind: &str) -> bool {
        self.text("/apiVersion") == api_version && self.text("/kind") == kind
    }

    fn key(&self) -> (&str, &str) {
        (self.text("/metadata/namespace"), self.text("/metadata/name"))
    }

    /// Everything but Rollouts, which refer to the rest: a template that is wrong is not said once more of each that uses
    /// it. Answers whether something was found.
    fn check(&self, findings: &mut Vec<Finding>) -> bool {
        let before = findings.len();
        if self.value.as_object().is_none() {
            let fix = "every document needs apiVersion, kind and metadata".to_owned();
            self.find(&[], String::new(), "not an object".to_owned(), fix, findings);
        }
        if self.text("/apiVersion") == API_VERSION {
            match self.text("/kind") {
                "AnalysisTemplate" => {
                    let spec = self.read::<AnalysisTemplate>(findings).0.spec;
                    self.check_metrics(&spec.metrics, &spec.args, findings);
                }
                "ClusterAnalysisTemplate" => {
                    let spec = self.read::<ClusterAnalysisTemplate>(findings).0.spec;
                    self.check_metrics(&spec.metrics, &spec.args, findings);
                }
                "AnalysisRun" => {
                    let spec = self.read::<AnalysisRun>(findings).0.spec;
                    self.check_metrics(&spec.metrics, &spec.args, findings);
                }
                "Experiment" => drop(self.read::<Experiment>(findings)),
                _ => {}
            }
        }
        findings.len() > before
    }

    fn check_metrics(&self, metrics: &[Metric], args: &[Argument], findings: &mut Vec<Finding>) {
        let of_metrics = metrics::problems(metrics, args);
        let of_args = metrics::arguments(args);
        let of_metrics = of_metrics.into_iter().map(|problem| ("metrics", problem));
        for (list, problem) in of_metrics.chain(of_args.into_iter().map(|problem| ("args", problem))) {
            let at: [PathPart; 2] = ["spec".into(), list.into()];
            let parts = [&at[..], &problem.path].concat();
            self.find(
                &parts,
                path_text(&parts),
                problem.message,
                String::new(),
                findings,
            );
        }
    }

    fn check_rollout(&self, world: &World<'_>, broken: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
        let (rollout, unreadable) = self.read::<Rollout>(findings);
        self.check_template(&rollout, &unreadable, findings);
        let (namespace, _) = self.key();
        for violation in world.violations(&rollout, namespace) {
            let parts: Vec<PathPart> = violation.path.segments().iter().map(part).collect();
            // What cannot be read was taken as absent: that it is missing, or what is in it, is no news.
            let is_known = unreadable.iter().any(|dropped| {
                let missing = violation.kind == ViolationKind::Required;
                parts.starts_with(dropped) || (missing && dropped.starts_with(&parts))
            });
            let names = templates(&violation);
            let is_said = names.is_some_and(|names| names.split(' ').any(|name| broken.contains(name)));
            if !is_known && !is_said {
                self.find(
                    &parts,
                    violation.path.to_string(),
                    said(&violation),
                    violation.fix,
                    findings,
                );
            }
        }
    }

    /// What no Go client can read: the CRD refuses it, and from an object that is stored already the controller takes it out.
    fn check_template(&self, rollout: &Rollout, unreadable: &[Vec<PathPart>], findings: &mut Vec<Finding>) {
        let Some(mut template) = rollout.spec.template.clone() else {
            return;
        };
        for dropped in drop_malformed_fields(&mut template) {
            let dropped = format!("spec.template.{dropped}");
            let parts = path(&dropped);
            if !unreadable.contains(&parts) {
                let message = "a value of another type than Kubernetes has here".to_owned();
                let fix = "correct it, or remove it: numbers where text is wanted need quotes".to_owned();
                self.find(&parts, dropped, message, fix, findings);
            }
        }
    }

    /// Reads the object, and says which fields nobody knows and which cannot be read. Answers those, too.
    fn read<T: Decode + DeserializeOwned>(&self, findings: &mut Vec<Finding>) -> (T, Vec<Vec<PathPart>>) {
        let (object, dropped) = tolerant::<T>(self.value.clone());
        // What cannot be read, and a null, would end the search for what nobody reads.
        let mut readable = self.value.clone();
        for field in &dropped {
            remove(&mut readable, &path(&field.path));
        }
        remove_nulls(&mut readable);
        let mut unknown = Vec::new();
        let _ = serde_ignored::deserialize::<_, _, T>(&readable, |path| unknown.push(ignored(&path)));
        let mut unreadable = Vec::new();
        for field in dropped {
            let parts = path(&field.path);
            unreadable.push(parts.clone());
            let fix = "correct it, or remove it".to_owned();
            self.find(&parts, field.path, plain(&field.message), fix, findings);
        }
        for parts in unknown {
            if !is_bookkeeping(&parts) {
                let text = path_text(&parts);
                let fix = "remove it, or correct its name or its indentation".to_owned();
                let full: Vec<PathPart> = self.at.iter().cloned().chain(parts).collect();
                let place = self.document.key_place(&full);
                findings.push(Finding {
                    file: place.file.to_string(),
                    line: place.line,
                    column: place.column,
                    place: place.to_string(),
                    path: text,
                    message: "unknown field".to_owned(),
                    fix,
                });
            }
        }
        (object, unreadable)
    }

    fn find(
        &self,
        parts: &[PathPart],
        path: String,
        message: String,
        fix: String,
        findings: &mut Vec<Finding>,
    ) {
        let full: Vec<PathPart> = self.at.iter().chain(parts).cloned().collect();
        findings.push(Finding::at(self.document, &full, path, message, fix));
    }
}

/// Takes fields without a value out, as the API server does.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Takes a field out.
fn remove(value: &mut Value, parts: &[PathPart]) {
    let Some((PathPart::Key(key), parents)) = parts.split_last() else {
        return;
    };
    let parent = parents.iter().try_fold(value, |value, part| match part {
        PathPart::Key(key) => value.get_mut(key),
        PathPart::Index(index) => value.get_mut(index),
    });
    if let Some(fields) = parent.and_then(Value::as_object_mut) {
        fields.remove(key);
    }
}

/// The templates that a violation is about, separated by spaces.
fn templates(violation: &Violation) -> Option<&str> {
    if let Some(of_one) = violation.message.strip_prefix("AnalysisTemplate ") {
        return of_one.split_once(": ").map(|(name, _)| name);
    }
    let ViolationKind::Invalid(value) = &violation.kind else {
        return None;
    };
    let of_several = value.strip_prefix("\"templateNames: [")?;
    of_several.split_once(']').map(|(names, _)| names)
}

/// What a reader of JSON expects, in words for people who write YAML.
fn plain(message: &str) -> String {
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let found = found
        .replace("invalid type: map", "invalid type: object")
        .replace("invalid type: sequence", "invalid type: list");
    match expected.split(' ').collect::<Vec<_>>()[..] {
        [""] => found,
        ["i32" | "i64" | "u32" | "u64"] => format!("{found}, expected a whole number"),
        ["struct", _] | ["a", "map"] => format!("{found}, expected an object"),
        ["a", "sequence"] => format!("{found}, expected a list"),
        _ => format!("{found}, expected {expected}"),
    }
}

/// The kind of violation and its words.
fn said(violation: &Violation) -> String {
    if violation.message.is_empty() {
        violation.kind.to_string()
    } else {
        format!("{}: {}", violation.kind, violation.message)
    }
}

fn part(segment: &Segment) -> PathPart {
    match segment {
        Segment::Field(field) => PathPart::Key(field.clone()),
        Segment::Index(index) => PathPart::Index(*index),
    }
}

/// The path of a field that was not read.
fn ignored(path: &serde_ignored::Path<'_>) -> Vec<PathPart> {
    use serde_ignored::Path;
    let (parent, part) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(PathPart::Index(*index))),
        Path::Map { parent, key } => (parent, Some(PathPart::Key(key.clone()))),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut parts = ignored(parent);
    parts.extend(part);
    parts
}

fn path_text(parts: &[PathPart]) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            PathPart::Key(key) if text.is_empty() => text.push_str(key),
            PathPart::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            PathPart::Index(index) => {
                // writing to a String cannot fail
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// What the API server writes, and what people copy back into files.
fn is_bookkeeping(parts: &[PathPart]) -> bool {
    let [PathPart::Key(top), PathPart::Key(field), ..] = parts else {
        return false;
    };
    top == "metadata" && ["managedFields", "selfLink", "deletionGracePeriodSeconds"].contains(&field.as_str())
}

/// The objects of the files that Rollouts can refer to.
struct World<'a> {
    services: BTreeMap<(&'a str, &'a str), ServiceView>,
    routes: BTreeMap<(&'static RouteKind, (&'a str, &'a str)), Arc<Value>>,
    templates: BTreeMap<(&'a str, TemplateKey), Arc<AnalysisTemplateSpec>>,
    /// Pod templates, by kind.
    workloads: BTreeMap<(&'static str, (&'a str, &'a str)), &'a Value>,
}

impl<'a> World<'a> {
    fn of(objects: &'a [Object<'_>]) -> Self {
        let mut world = Self {
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
            templates: BTreeMap::new(),
            workloads: BTreeMap::new(),
        };
        for object in objects {
            let key = object.key();
            let template = |cluster| TemplateKey {
                cluster,
                name: key.1.to_owned(),
            };
            if object.is("v1", "Service") {
                world.services.insert(key, service(object.value));
            } else if let Some(kind) = kinds().find(|kind| object.is(&kind.api_version(), kind.kind)) {
                world.routes.insert((kind, key), Arc::new(object.value.clone()));
            } else if object.is(API_VERSION, "AnalysisTemplate") {
                let spec = tolerant::<AnalysisTemplate>(object.value.clone()).0.spec;
                world.templates.insert((key.0, template(false)), Arc::new(spec));
            } else if object.is(API_VERSION, "ClusterAnalysisTemplate") {
                let spec = tolerant::<ClusterAnalysisTemplate>(object.value.clone()).0.spec;
                world.templates.insert(("", template(true)), Arc::new(spec));
            } else {
                for (api_version, kind, pointer) in [
                    ("apps/v1", "Deployment", "/spec/template"),
                    ("apps/v1", "ReplicaSet", "/spec/template"),
                    ("v1", "PodTemplate", "/template"),
                ] {
                    if let (true, Some(template)) =
                        (object.is(api_version, kind), object.value.pointer(pointer))
                    {
                        world.workloads.insert((kind, key), template);
                    }
                }
            }
        }
        world
    }

    /// All that is wrong with a Rollout of a namespace; objects without one may be meant for any.
    fn violations(&self, rollout: &Rollout, namespace: &str) -> Vec<Violation> {
        let near = |other: &str| other.is_empty() || namespace.is_empty() || other == namespace;
        let reference = rollout.spec.workload_ref.as_ref();
        let workload = reference.and_then(|reference| {
            let (kind, name) = (reference.kind.as_deref()?, reference.name.as_deref()?);
            let mut workloads = self.workloads.iter();
            let found = workloads.find(|((k, (ns, n)), _)| *k == kind && *n == name && near(ns))?;
            Some(*found.1)
        });
        let violations = validate_spec(rollout, workload);
        if !violations.is_empty() {
            return violations;
        }
        let services = self.services.iter().filter(|((ns, _), _)| near(ns));
        let services = services
            .map(|((_, name), view)| ((*name).to_owned(), view.clone()))
            .collect();
        let routes = self.routes.iter().filter(|((_, (ns, _)), _)| near(ns));
        let home = rollout.metadata.namespace.as_str();
        let routes = Routes {
            live: routes
                .map(|((kind, (_, name)), value)| (ObjectRef::new(kind, home, *name), Arc::clone(value)))
                .collect(),
            ..Routes::default()
        };
        let templates = self.templates.iter().filter(|((ns, _), _)| near(ns));
        let templates = templates
            .map(|((_, key), spec)| (key.clone(), Arc::clone(spec)))
            .collect();
        let references = References {
            services: &services,
            routes: &routes,
            templates: &templates,
            complete: false,
        };
        validate_references(rollout, workload, &references)
    }
}

fn service(object: &Value) -> ServiceView {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let selector = object.pointer("/spec/selector").and_then(Value::as_object);
    let selector = selector.into_iter().flatten();
    let managed_by = object
        .pointer("/metadata/annotations")
        .and_then(|all| all.get(MANAGED_BY_ANNOTATION));
    ServiceView {
        name: text("/metadata/name"),
        selector: selector
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
        managed_by: managed_by.and_then(Value::as_str).map(str::to_owned),
        ..ServiceView::default()
    }
}
