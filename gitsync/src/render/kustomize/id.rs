//! What an object is called, and how Kustomize compares that.

use serde::Deserialize;

/// Group, version and kind; as a selector, an empty one stands for any.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub(super) struct Gvk {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl Gvk {
    pub(super) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        }
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(super) fn selected_by(&self, selector: &Self) -> bool {
        let fits = |own: &str, wanted: &str| wanted.is_empty() || own == wanted;
        fits(&self.group, &selector.group)
            && fits(&self.version, &selector.version)
            && fits(&self.kind, &selector.kind)
    }
}

/// Stands for the namespace of objects that have none.
pub(super) const CLUSTER: &str = "_non_namespaceable_";

/// Kind, effective namespace and name.
pub(super) type Key = (Gvk, String, String);

/// What an object is, or once was, called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) gvk: Gvk,
    pub(super) name: String,
    /// As it is written; empty if it is not.
    pub(super) namespace: String,
    /// Whether the kind is known to be cluster-scoped.
    pub(super) cluster: bool,
}

impl Id {
    pub(super) fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.cluster => CLUSTER,
            "" => "default",
            namespace => namespace,
        }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        self.gvk == other.gvk
            && self.name == other.name
            && self.effective_namespace() == other.effective_namespace()
    }

    /// The same for ids that are the same.
    pub(super) fn key(&self) -> Key {
        (
            self.gvk.clone(),
            self.effective_namespace().to_owned(),
            self.name.clone(),
        )
    }

    /// For errors.
    pub(super) fn text(&self) -> String {
        let api_version = self.gvk.api_version();
        let namespace = match self.effective_namespace() {
            CLUSTER => String::new(),
            namespace => format!(" in namespace {namespace}"),
        };
        format!("{api_version} {} {}{namespace}", self.gvk.kind, self.name)
    }
}
