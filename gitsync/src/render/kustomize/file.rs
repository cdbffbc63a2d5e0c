//! The file `kustomization.yaml`: what it may say, and where it says it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_manifests::{Document, Place, path};

use super::load::{LoadError, Loader, Target};
use crate::render::{KUSTOMIZATION, RenderError};

/// What Kustomize also knows and we do not do, each with the way out.
const REFUSED: [(&str, &str); 10] = [
    (
        "openapi",
        "merge keys are those of the built-in kinds; use JSON patches for others",
    ),
    (
        "crds",
        "use `configurations` to say where a custom kind refers to others",
    ),
    ("helmCharts", "render the chart in CI and commit the result"),
    ("helmGlobals", "render the chart in CI and commit the result"),
    (
        "helmChartInflationGenerator",
        "render the chart in CI and commit the result",
    ),
    ("transformers", "use the built-in fields"),
    ("generators", "commit what they generate"),
    ("validators", "validate in CI"),
    ("buildMetadata", "leave it out"),
    ("vars", "use `replacements`"),
];

const KNOWN: [&str; 28] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "components",
    "configurations",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "images",
    "imageTags",
    "replicas",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "replacements",
    "sortOptions",
    "openapi",
    "buildMetadata",
    "vars",
    "crds",
];

/// A kustomization.
pub(super) struct File {
    document: Document,
    /// Without the nulls, which mean nothing.
    value: Value,
    pub(super) folder: String,
    pub(super) path: String,
    pub(super) component: bool,
}

impl File {
    /// Reads the kustomization of a folder.
    pub(super) fn load(loader: &Loader<'_>, folder: &str) -> Result<Self, RenderError> {
        let path = name(loader, folder)?;
        let fault = |message: &str| RenderError::File {
            path: path.clone(),
            message: message.to_owned(),
        };
        let bytes = loader.read(&path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| fault("is not UTF-8 text"))?;
        let mut documents =
            tidegate_manifests::read(&path, text, &tidegate_manifests::Limits::default())?.into_iter();
        let (Some(document), None) = (documents.next(), documents.next()) else {
            return Err(fault("a kustomization is exactly one document"));
        };
        let mut value = document.value.clone();
        without_nulls(&mut value);
        let mut file = Self {
            document,
            value,
            folder: folder.to_owned(),
            path,
            component: false,
        };
        file.check()?;
        Ok(file)
    }

    fn check(&mut self) -> Result<(), RenderError> {
        let Value::Object(fields) = &self.value else {
            return Err(self.fault("", "a kustomization is a map"));
        };
        for (field, value) in fields {
            let empty = value.as_array().is_some_and(Vec::is_empty);
            if let Some((_, way_out)) = REFUSED.iter().find(|(refused, _)| refused == field)
                && !empty
            {
                return Err(self.key_fault(
                    field,
                    &format!("this field of Kustomize is not supported: {way_out}"),
                ));
            }
            if !KNOWN.contains(&field.as_str()) && !empty {
                return Err(self.key_fault(field, "Kustomize knows no such field; check the spelling"));
            }
        }
        let meaningful = |(field, value): (&String, &Value)| {
            !["apiVersion", "kind"].contains(&field.as_str()) && value.as_str() != Some("")
        };
        if !fields.iter().any(meaningful) {
            return Err(self.fault("", "the kustomization is empty"));
        }
        let kind = self.text("kind")?;
        self.component = kind == "Component";
        if !["", "Kustomization", "Component"].contains(&kind.as_str()) {
            return Err(self.fault("kind", "it is Kustomization or Component"));
        }
        let version = if self.component { "v1alpha1" } else { "v1beta1" };
        let wanted = format!("kustomize.config.k8s.io/{version}");
        let api_version = self.text("apiVersion")?;
        if !api_version.is_empty() && api_version != wanted {
            return Err(self.fault("apiVersion", &format!("it is {wanted}")));
        }
        Ok(())
    }

    /// Folder and file, for what a patch needs.
    pub(super) fn at(&self) -> (&str, &str) {
        (&self.folder, &self.path)
    }

    pub(super) fn place(&self, field: &str) -> Place {
        self.document.place(&path(field))
    }

    /// An error at the value of a field.
    pub(super) fn fault(&self, field: &str, message: &str) -> RenderError {
        let message = if field.is_empty() {
            message.to_owned()
        } else {
            format!("{field}: {message}")
        };
        RenderError::Invalid {
            place: self.place(field),
            message,
        }
    }

    fn key_fault(&self, field: &str, message: &str) -> RenderError {
        RenderError::Invalid {
            place: self.document.key_place(&[field.into()]),
            message: format!("{field}: {message}"),
        }
    }

    /// The error of a file as it is, any other at the field that names the file.
    pub(super) fn at_field(&self, field: &str, error: LoadError) -> RenderError {
        match error {
            LoadError::File(error) => error,
            LoadError::Field(message) => self.fault(field, &message),
        }
    }

    /// A field, or its default.
    pub(super) fn get<T: DeserializeOwned + Default>(&self, field: &str) -> Result<T, RenderError> {
        let Some(value) = self.value.get(field) else {
            return Ok(T::default());
        };
        T::deserialize(value).map_err(|error| self.fault(field, &error.to_string()))
    }

    /// A field that may hold secrets: its error says only where.
    pub(super) fn get_quietly<T: DeserializeOwned>(
        &self,
        field: &str,
    ) -> Result<Vec<(String, T)>, RenderError> {
        self.each(field, |_| {
            "it has fields that no generator has, or values that are no text".to_owned()
        })
    }

    pub(super) fn text(&self, field: &str) -> Result<String, RenderError> {
        self.get(field)
    }

    pub(super) fn pairs(&self, field: &str) -> Result<BTreeMap<String, String>, RenderError> {
        self.get(field)
    }

    /// The items of a list, each with its path.
    pub(super) fn list<T: DeserializeOwned>(&self, field: &str) -> Result<Vec<(String, T)>, RenderError> {
        self.each(field, ToString::to_string)
    }

    fn each<T: DeserializeOwned>(
        &self,
        field: &str,
        say: impl Fn(&serde_json::Error) -> String,
    ) -> Result<Vec<(String, T)>, RenderError> {
        let items = match self.value.get(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.fault(field, "it is a list")),
        };
        let item = |(at, item): (usize, &Value)| {
            let path = format!("{field}[{at}]");
            match T::deserialize(item) {
                Ok(item) => Ok((path, item)),
                Err(error) => Err(self.fault(&path, &say(&error))),
            }
        };
        items.iter().enumerate().map(item).collect()
    }
}

/// The one kustomization of a folder.
fn name(loader: &Loader<'_>, folder: &str) -> Result<String, RenderError> {
    let fault = |path: &str, message: String| RenderError::File {
        path: path.to_owned(),
        message,
    };
    let mut found = loader.kustomizations(folder);
    match (found.next(), found.next()) {
        (None, _) => Err(fault(
            folder,
            format!("the folder has no {}", KUSTOMIZATION.join(", ")),
        )),
        (Some(only), None) => match loader.find("", &only) {
            Ok(Target::File(path)) => Ok(path),
            Ok(Target::Folder(_)) => Err(fault(&only, "is a folder, not a file".to_owned())),
            Err(message) => Err(fault(&only, message)),
        },
        (_, Some(other)) => Err(fault(
            &other,
            "the folder has more than one kustomization: keep one".to_owned(),
        )),
    }
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        _ => {}
    }
}
