//! Kustomize, native and pure: what `kubectl kustomize` (Kustomize 5.7) prints, without remote bases, charts and
//! plugins. What is not supported is refused by name.

mod fields;
mod file;
mod generate;
mod id;
mod json_patch;
mod load;
mod merge;
mod names;
mod object;
mod order;
mod patch;
mod replace;
mod schema;
mod select;
mod transform;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use self::fields::Fields;
use self::file::File;
use self::generate::{Generator, Options};
use self::id::Key;
use self::load::{Loader, Target};
use self::object::{Behavior, Object};
use self::order::SortOptions;
use self::patch::Patch;
use self::replace::Replacement;
use self::transform::{End, Image, Labels, Replicas};
use super::{Limits, Manifest, RenderError};
use crate::tree::Tree;

/// Builds the kustomization of a folder.
///
/// # Errors
/// Names the file and the field, and what to do.
pub(super) fn build(tree: &dyn Tree, folder: &str, limits: &Limits) -> Result<Vec<Manifest>, RenderError> {
    let loader = Loader::new(tree, limits);
    let file = File::load(&loader, folder)?;
    let mut build = Build {
        objects: Vec::new(),
        fields: Fields::default(),
    };
    build.add(&loader, &file, &mut Vec::new())?;
    let Build { mut objects, fields } = build;
    finish(&mut objects, &fields).map_err(|message| file.fault("", &message))?;
    let options: Option<SortOptions> = file.get("sortOptions")?;
    let sorted = options.unwrap_or_else(SortOptions::legacy).sort(&mut objects);
    sorted.map_err(|message| file.fault("sortOptions", &message))?;
    let manifest = |object: Object| Manifest {
        value: object.value,
        place: object.place,
    };
    Ok(objects.into_iter().map(manifest).collect())
}

/// What is done once, at the end: digests in names, references to them, and what is but for the build.
fn finish(objects: &mut Vec<Object>, fields: &Fields) -> Result<(), String> {
    for object in objects.iter_mut().filter(|object| object.hashed) {
        let suffix = generate::suffix(object)?;
        object.remember();
        let name = format!("{}-{suffix}", object.name());
        object.set_name(name);
    }
    names::follow(objects, fields)?;
    objects.retain(|object| {
        let local = object
            .texts("annotations")
            .remove("config.kubernetes.io/local-config");
        local.is_none_or(|local| local == "false")
    });
    objects.iter_mut().for_each(transform::tidy_annotations);
    Ok(())
}

/// What has come together so far.
struct Build {
    objects: Vec<Object>,
    fields: Fields,
}

impl Build {
    /// Adds a kustomization: its resources, what it generates, its components, and then its transformations of all
    /// that. `above` are the folders that lead here.
    fn add(&mut self, loader: &Loader<'_>, file: &File, above: &mut Vec<String>) -> Result<(), RenderError> {
        if above.len() >= loader.limits.depth {
            return Err(RenderError::TooMuch {
                path: file.path.clone(),
                limit: loader.limits.depth as u64,
                what: "bases in one another",
            });
        }
        above.push(file.folder.clone());
        let mut seen = self.objects.iter().map(|object| object.id().key()).collect();
        for field in ["resources", "bases"] {
            for (field, resource) in file.list::<String>(field)? {
                let added = self.resource(loader, file, (&field, &resource), above)?;
                self.append(added, &mut seen)
                    .map_err(|message| file.fault(&field, &message))?;
            }
        }
        self.configure(loader, file)?;
        self.generate(loader, file)?;
        for (field, component) in file.list::<String>("components")? {
            let component = base_of(loader, file, (&field, &component), true, above)?;
            self.add(loader, &component, above)?;
        }
        self.transform(loader, file)?;
        above.pop();
        if self.objects.len() > loader.limits.objects {
            return Err(RenderError::TooMuch {
                path: file.path.clone(),
                limit: loader.limits.objects as u64,
                what: "objects",
            });
        }
        Ok(())
    }

    /// The objects of a file or a base.
    fn resource(
        &mut self,
        loader: &Loader<'_>,
        file: &File,
        (field, resource): (&str, &str),
        above: &mut Vec<String>,
    ) -> Result<Vec<Object>, RenderError> {
        let target = loader.find(&file.folder, resource);
        match target.map_err(|message| file.fault(field, &message))? {
            Target::File(path) => {
                let bytes = loader.read(&path)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| RenderError::File {
                    path: path.clone(),
                    message: "is not UTF-8 text".to_owned(),
                })?;
                load::objects(&path, text)
            }
            Target::Folder(_) => {
                let base = base_of(loader, file, (field, resource), false, above)?;
                let mut build = Self {
                    objects: Vec::new(),
                    fields: Fields::default(),
                };
                build.add(loader, &base, above)?;
                self.fields
                    .merge(&build.fields)
                    .map_err(|message| base.fault("configurations", &message))?;
                Ok(build.objects)
            }
        }
    }

    /// Adds objects, none of which may be there already.
    fn append(&mut self, objects: Vec<Object>, seen: &mut BTreeSet<Key>) -> Result<(), String> {
        for object in objects {
            let id = object.id();
            if !seen.insert(id.key()) {
                return Err(format!("{} is there twice", id.text()));
            }
            self.objects.push(object);
        }
        Ok(())
    }

    fn configure(&mut self, loader: &Loader<'_>, file: &File) -> Result<(), RenderError> {
        let mut fields = Fields::built_in().clone();
        for (field, path) in file.list::<String>("configurations")? {
            let loaded = loader.text(&file.folder, &path);
            let (path, text) = loaded.map_err(|error| file.at_field(&field, error))?;
            for document in load::documents(&path, &text)? {
                let fault = |message: String| RenderError::File {
                    path: path.clone(),
                    message,
                };
                let own = Fields::deserialize(&document.value).map_err(|error| fault(error.to_string()))?;
                fields.merge(&own).map_err(fault)?;
            }
        }
        self.fields
            .merge(&fields)
            .map_err(|message| file.fault("configurations", &message))
    }

    fn generate(&mut self, loader: &Loader<'_>, file: &File) -> Result<(), RenderError> {
        let options: Option<Options> = file.get("generatorOptions")?;
        for field in ["configMapGenerator", "secretGenerator"] {
            for (field, generator) in file.get_quietly::<Generator>(field)? {
                let (place, options) = (file.place(&field), options.as_ref());
                let object = if field.starts_with("secret") {
                    generator.secret(loader, &file.folder, options, place)
                } else {
                    generator.config_map(loader, &file.folder, options, place)
                };
                let object = object.map_err(|error| file.at_field(&field, error))?;
                self.absorb(object)
                    .map_err(|message| file.fault(&field, &message))?;
            }
        }
        Ok(())
    }

    /// Adds a generated object, or merges it into the one that is there.
    fn absorb(&mut self, mut object: Object) -> Result<(), String> {
        let id = object.id();
        let mut found = (0..self.objects.len()).filter(|at| {
            self.objects
                .get(*at)
                .is_some_and(|other| other.any_id(|other| other.same(&id)))
        });
        let (first, second) = (found.next(), found.next());
        if second.is_some() {
            return Err(format!("there are several {}", id.text()));
        }
        match (object.behavior, first.and_then(|at| self.objects.get_mut(at))) {
            (Behavior::Create, None) => {
                self.objects.push(object);
                Ok(())
            }
            (Behavior::Create, Some(_)) => Err(format!(
                "{} is there already; say with `behavior` whether to merge or to replace",
                id.text()
            )),
            (_, None) => Err(format!("there is no {} to merge with or to replace", id.text())),
            (behavior, Some(old)) => {
                object.succeed(old);
                if behavior == Behavior::Merge {
                    generate::merge_data(&mut object, old);
                }
                *old = object;
                Ok(())
            }
        }
    }

    fn transform(&mut self, loader: &Loader<'_>, file: &File) -> Result<(), RenderError> {
        self.patch(loader, file)?;
        let Self { objects, fields } = self;
        let at = |field: &'static str| move |message: String| file.fault(field, &message);
        let namespace = file.text("namespace")?;
        if !namespace.is_empty() {
            transform::namespace(objects, &namespace, fields).map_err(at("namespace"))?;
        }
        for (field, end) in [("namePrefix", End::Prefix), ("nameSuffix", End::Suffix)] {
            let add = file.text(field)?;
            if !add.is_empty() {
                transform::rename(objects, end, &add, fields).map_err(at(field))?;
            }
        }
        for (field, labels) in file.list::<Labels>("labels")? {
            labels
                .apply(objects, fields)
                .map_err(|message| file.fault(&field, &message))?;
        }
        for (field, specs) in [
            ("commonLabels", &fields.common_labels),
            ("commonAnnotations", &fields.common_annotations),
        ] {
            transform::entries(objects, &file.pairs(field)?, specs).map_err(at(field))?;
        }
        for (field, patch) in file.list::<Patch>("patchesJson6902")? {
            patch
                .apply_as_json(loader, file.at(), objects)
                .map_err(|error| file.at_field(&field, error))?;
        }
        for (field, replicas) in file.list::<Replicas>("replicas")? {
            replicas
                .apply(objects, fields)
                .map_err(|message| file.fault(&field, &message))?;
        }
        for field in ["images", "imageTags"] {
            for (field, image) in file.list::<Image>(field)? {
                image
                    .apply(objects, fields)
                    .map_err(|message| file.fault(&field, &message))?;
            }
        }
        for (field, replacement) in file.list::<Replacement>("replacements")? {
            for replacement in replacements(loader, file, &field, replacement)? {
                replacement
                    .apply(objects)
                    .map_err(|message| file.fault(&field, &message))?;
            }
        }
        Ok(())
    }

    fn patch(&mut self, loader: &Loader<'_>, file: &File) -> Result<(), RenderError> {
        let mut strategic = Vec::new();
        for (field, entry) in file.list::<String>("patchesStrategicMerge")? {
            let patches = patch::apply_strategic(&entry, loader, file.at());
            strategic.extend(patches.map_err(|error| file.at_field(&field, error))?);
        }
        patch::apply_all_strategic(&mut self.objects, &strategic)
            .map_err(|message| file.fault("patchesStrategicMerge", &message))?;
        for (field, patch) in file.list::<Patch>("patches")? {
            patch
                .apply(loader, file.at(), &mut self.objects)
                .map_err(|error| file.at_field(&field, error))?;
        }
        Ok(())
    }
}

/// The kustomization that a field names.
fn base_of(
    loader: &Loader<'_>,
    file: &File,
    (field, relative): (&str, &str),
    component: bool,
    above: &[String],
) -> Result<File, RenderError> {
    let fault = |message: String| file.fault(field, &message);
    let folder = match loader.find(&file.folder, relative).map_err(fault)? {
        Target::Folder(folder) => folder,
        Target::File(path) => return Err(fault(format!("{path} is a file, not a folder"))),
    };
    let inside = |outer: &str, inner: &str| {
        outer.is_empty()
            || inner == outer
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if let Some(inner) = above.iter().find(|above| inside(&folder, above)) {
        return Err(fault(format!(
            "`{relative}` is a cycle: it holds {inner}, which is being built"
        )));
    }
    let base = File::load(loader, &folder)?;
    match (component, base.component) {
        (true, false) => Err(fault(format!(
            "{} is no Component; name it in resources",
            base.path
        ))),
        (false, true) => Err(fault(format!(
            "{} is a Component; name it in components",
            base.path
        ))),
        _ => Ok(base),
    }
}

/// The replacement itself, or those of the file that it names.
fn replacements(
    loader: &Loader<'_>,
    file: &File,
    field: &str,
    replacement: Replacement,
) -> Result<Vec<Replacement>, RenderError> {
    if !replacement
        .is_path()
        .map_err(|message| file.fault(field, &message))?
    {
        return Ok(vec![replacement]);
    }
    let loaded = loader.text(&file.folder, &replacement.path);
    let (path, text) = loaded.map_err(|error| file.at_field(field, error))?;
    let mut all = Vec::new();
    for document in load::documents(&path, &text)? {
        let items = match document.value {
            Value::Array(items) => items,
            one => vec![one],
        };
        for item in items {
            let replacement = Replacement::deserialize(&item).map_err(|error| RenderError::File {
                path: path.clone(),
                message: error.to_string(),
            })?;
            all.push(replacement);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
