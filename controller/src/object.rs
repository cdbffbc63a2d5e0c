//! Objects as they come in, and what they are called.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tidegate_crds::labels::{
    ANALYSIS_RUN_UID_LABEL, INSTANCE_ID_LABEL, LAST_APPLIED_ANNOTATION, POD_TEMPLATE_HASH_LABEL,
};
use tidegate_gitsync::drift::Metadata;
use tidegate_traffic::{ObjectRef, RouteKind, nginx};

use crate::request::{
    ANALYSIS_RUNS, ANALYSIS_TEMPLATES, CLUSTER_ANALYSIS_TEMPLATES, DELIVERIES, DEPLOYMENTS, JOBS,
    POD_TEMPLATES, REPLICA_SETS, ROLLOUTS, Resource, SERVICES,
};

/// Kinds of objects that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Rollouts.
    Rollout,
    /// ReplicaSets with a `rollouts-pod-template-hash` label.
    ReplicaSet,
    /// Services.
    Service,
    /// Route objects of a data plane; but for Ingresses only watched while a Rollout needs such.
    Route(&'static RouteKind),
    /// Analysis runs.
    AnalysisRun,
    /// Analysis templates.
    AnalysisTemplate,
    /// Cluster-scoped analysis templates.
    ClusterAnalysisTemplate,
    /// Jobs of analysis runs (label `analysisrun.argoproj.io/uid`); only to know when to look.
    Job,
    /// Deployments that `spec.workloadRef` names; only watched while there are such.
    Deployment,
    /// Pod templates that `spec.workloadRef` names; only watched while there are such.
    PodTemplate,
    /// Plain ReplicaSets that `spec.workloadRef` names; only watched while there are such.
    WorkloadReplicaSet,
    /// Deliveries; only watched where there is a folder for repositories.
    Delivery,
}

impl Kind {
    /// Ingresses.
    pub const INGRESS: Self = Self::Route(&nginx::INGRESS);

    /// All of them, in the order in which they should be listed: Rollouts first, because they say which Services and
    /// route objects matter.
    pub fn all() -> impl Iterator<Item = Self> {
        let first = [Self::Rollout, Self::ReplicaSet, Self::Service];
        let routes = tidegate_traffic::kinds().map(Self::Route);
        let rest = [
            Self::AnalysisRun,
            Self::AnalysisTemplate,
            Self::ClusterAnalysisTemplate,
            Self::Job,
            Self::Deployment,
            Self::PodTemplate,
            Self::WorkloadReplicaSet,
            Self::Delivery,
        ];
        first.into_iter().chain(routes).chain(rest)
    }

    /// Whether it is watched always, and not only while a Rollout names such an object.
    pub fn always(self) -> bool {
        match self {
            Self::Deployment | Self::PodTemplate | Self::WorkloadReplicaSet | Self::Delivery => false,
            Self::Route(kind) => kind.everywhere,
            _ => true,
        }
    }

    /// Whether it is a kind that not every cluster has, and that only those need who name such objects.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Route(kind) if !kind.everywhere)
    }

    /// How the API server calls it.
    pub fn resource(self) -> &'static Resource {
        match self {
            Self::Rollout => &ROLLOUTS,
            Self::ReplicaSet | Self::WorkloadReplicaSet => &REPLICA_SETS,
            Self::Service => &SERVICES,
            Self::Route(kind) => Resource::of_route(kind),
            Self::AnalysisRun => &ANALYSIS_RUNS,
            Self::AnalysisTemplate => &ANALYSIS_TEMPLATES,
            Self::ClusterAnalysisTemplate => &CLUSTER_ANALYSIS_TEMPLATES,
            Self::Job => &JOBS,
            Self::Deployment => &DEPLOYMENTS,
            Self::PodTemplate => &POD_TEMPLATES,
            Self::Delivery => &DELIVERIES,
        }
    }

    /// The label selector that a watch of this kind is narrowed to, for the instance of that id (F19); empty for all objects.
    pub fn selector(self, instance_id: Option<&str>) -> String {
        match self {
            Self::Rollout
            | Self::AnalysisRun
            | Self::AnalysisTemplate
            | Self::ClusterAnalysisTemplate
            | Self::Delivery => match instance_id {
                Some(id) => format!("{INSTANCE_ID_LABEL}={id}"),
                None => format!("!{INSTANCE_ID_LABEL}"),
            },
            Self::ReplicaSet => POD_TEMPLATE_HASH_LABEL.to_owned(),
            Self::Job => ANALYSIS_RUN_UID_LABEL.to_owned(),
            _ => String::new(),
        }
    }

    /// Its name, for metrics.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Route(kind) => kind.kind.to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// The kind that objects of a resource are kept as, if they are.
    pub fn of(resource: &Resource) -> Option<Self> {
        Self::all().find(|kind| kind.resource() == resource)
    }

    /// The kind of the object that `spec.workloadRef` names; `None` for one that is not supported (contract 3.10).
    pub fn of_workload(kind: &str) -> Option<Self> {
        match kind {
            "Deployment" => Some(Self::Deployment),
            "PodTemplate" => Some(Self::PodTemplate),
            "ReplicaSet" => Some(Self::WorkloadReplicaSet),
            _ => None,
        }
    }
}

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl From<ObjectRef> for ObjectKey {
    fn from(object: ObjectRef) -> Self {
        Self::new(object.namespace, object.name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object as it comes in: text from the wire, or a value from the simulator or from an answer.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// JSON text.
    Text(&'a str),
    /// A parsed value.
    Value(&'a Value),
}

impl Object<'_> {
    /// Reads it as `T`.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        match self {
            Self::Text(text) => serde_json::from_str(text),
            Self::Value(value) => T::deserialize(value),
        }
    }

    /// What is read of its metadata to tell whether it has changed; `None` if that cannot be read.
    pub(crate) fn metadata(self) -> Option<Metadata> {
        #[derive(Deserialize)]
        struct Raw {
            metadata: Metadata,
        }
        self.decode().ok().map(|Raw { metadata }| metadata)
    }

    /// Its text without what nobody here reads and what takes up to half of it: `managedFields` and what
    /// `kubectl apply` keeps for itself.
    pub(crate) fn compact(self) -> Result<Box<str>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Raw<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

        let text = match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Value(value) => {
                let text = value.to_string();
                // an answer to what we wrote has none of it more often than not
                let mentioned = text.contains("managedFields") || text.contains(LAST_APPLIED_ANNOTATION);
                if value["metadata"].is_object() && !mentioned {
                    return Ok(text.into());
                }
                Cow::Owned(text)
            }
        };
        let Raw(mut object) = serde_json::from_str(&text)?;
        let metadata = object
            .get("metadata")
            .map(|raw| serde_json::from_str::<Raw<'_>>(raw.get()))
            .transpose()?;
        let Some(Raw(mut metadata)) = metadata else {
            return Ok(text.into());
        };
        metadata.remove("managedFields");
        let annotations = match metadata.get("annotations") {
            Some(raw) if raw.get().contains(LAST_APPLIED_ANNOTATION) => {
                let Raw(mut annotations) = serde_json::from_str(raw.get())?;
                annotations.remove(LAST_APPLIED_ANNOTATION);
                Some(serde_json::value::to_raw_value(&annotations)?)
            }
            _ => None,
        };
        if let Some(annotations) = &annotations {
            metadata.insert(Cow::Borrowed("annotations"), annotations);
        }
        let metadata = serde_json::value::to_raw_value(&metadata)?;
        object.insert(Cow::Borrowed("metadata"), &metadata);
        Ok(serde_json::to_string(&object)?.into())
    }
}

/// The one owner that manages an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The controller among the owners of an object.
pub(crate) fn controller_of(metadata: &tidegate_crds::ObjectMeta) -> Option<Controller> {
    let owner = metadata
        .owner_references
        .iter()
        .find(|owner| owner.controller == Some(true))?;
    Some(Controller {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn compact_drops_the_bookkeeping_and_nothing_else() {
        let object = json!({
            "kind": "Rollout",
            "metadata": {
                "name": "web",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "\"b\""},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"replicas": 1},
        });
        let expected = json!({
            "kind": "Rollout",
            "metadata": {"name": "web", "annotations": {"a": "\"b\""}},
            "spec": {"replicas": 1},
        });
        let text = object.to_string();
        for object in [Object::Text(&text), Object::Value(&object)] {
            let compact = object.compact().unwrap();
            assert_eq!(serde_json::from_str::<Value>(&compact).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["", "[]", "{\"metadata\":[]}", "{\"metadata\":{}"] {
            assert!(Object::Text(text).compact().is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_resource() {
        for kind in Kind::all().filter(|kind| *kind != Kind::WorkloadReplicaSet) {
            assert_eq!(Kind::of(kind.resource()), Some(kind));
        }
    }
}
