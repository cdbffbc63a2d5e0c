//! What validation said of certain versions of a Rollout and of what it refers to, so that a look at rest need not ask again.

use std::sync::Arc;

use serde_json::Value;
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::AnalysisTemplateSpec;

use crate::observed::Observed;
use crate::resolved_template;
use crate::valid::Valid;
use crate::validate::{Violation, validate};

/// The outcome of validation, with the versions of all objects that it read. It says nothing of others.
#[derive(Clone, Debug)]
pub struct Checked {
    outcome: Result<Valid, Vec<Violation>>,
    rollout: Version,
    workload: Option<Version>,
    services: Vec<(String, Version)>,
    ingresses: Vec<(String, Version)>,
    /// Held on to, so that the same place in memory is the same version.
    templates: Vec<(TemplateKey, Arc<AnalysisTemplateSpec>)>,
}

/// One version of an object, as the API server tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    uid: String,
    resource_version: String,
}

impl Version {
    fn of(uid: &str, resource_version: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            resource_version: resource_version.to_owned(),
        }
    }

    /// An object without a version is never known to be the same.
    fn is(&self, uid: &str, resource_version: &str) -> bool {
        !resource_version.is_empty() && self.resource_version == resource_version && self.uid == uid
    }
}

/// uid and resourceVersion of an object that is kept whole.
fn version_of(object: &Value) -> (&str, &str) {
    let metadata = object.get("metadata");
    let text = |key: &str| metadata.and_then(|m| m.get(key)?.as_str()).unwrap_or_default();
    (text("uid"), text("resourceVersion"))
}

impl Checked {
    /// What is known already, if it was said of what is observed; else validates.
    pub fn latest(known: Option<&Arc<Self>>, seen: &Observed) -> Arc<Self> {
        let known = known.filter(|known| known.holds(seen));
        known.map_or_else(|| Arc::new(Self::of(seen)), Arc::clone)
    }

    fn of(seen: &Observed) -> Self {
        let meta = &seen.rollout.metadata;
        let ingresses = seen.ingresses.iter().map(|(name, ingress)| {
            let (uid, version) = version_of(ingress);
            (name.clone(), Version::of(uid, version))
        });
        let services = seen.services.iter();
        let templates = seen.templates.iter();
        Self {
            outcome: validate(seen, resolved_template(seen)),
            rollout: Version::of(&meta.uid, &meta.resource_version),
            workload: seen
                .workload
                .as_ref()
                .map(|workload| Version::of(&workload.uid, &workload.resource_version)),
            services: services
                .map(|(name, service)| (name.clone(), Version::of(&service.uid, &service.resource_version)))
                .collect(),
            ingresses: ingresses.collect(),
            templates: templates
                .map(|(key, spec)| (key.clone(), Arc::clone(spec)))
                .collect(),
        }
    }

    /// Whether it was said of the very objects that are observed.
    fn holds(&self, seen: &Observed) -> bool {
        let meta = &seen.rollout.metadata;
        self.rollout.is(&meta.uid, &meta.resource_version)
            && same(self.workload.iter(), seen.workload.iter(), |known, workload| {
                known.is(&workload.uid, &workload.resource_version)
            })
            && same(
                self.services.iter(),
                seen.services.iter(),
                |known, (name, service)| {
                    known.0 == *name && known.1.is(&service.uid, &service.resource_version)
                },
            )
            && same(
                self.ingresses.iter(),
                seen.ingresses.iter(),
                |known, (name, ingress)| {
                    let (uid, version) = version_of(ingress);
                    known.0 == *name && known.1.is(uid, version)
                },
            )
            && same(
                self.templates.iter(),
                seen.templates.iter(),
                |known, (key, spec)| known.0 == *key && Arc::ptr_eq(&known.1, spec),
            )
    }

    pub(crate) fn outcome(&self) -> &Result<Valid, Vec<Violation>> {
        &self.outcome
    }
}

/// Whether there are as many, and each is the one beside it.
fn same<K, S>(
    known: impl ExactSizeIterator<Item = K>,
    seen: impl ExactSizeIterator<Item = S>,
    mut is: impl FnMut(K, S) -> bool,
) -> bool {
    known.len() == seen.len() && known.zip(seen).all(|(known, seen)| is(known, seen))
}
