//! The order of the objects that come out.

use serde::Deserialize;

use super::object::Object;

/// How to sort.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SortOptions {
    order: String,
    legacy_sort_options: Option<Kinds>,
}

/// Kinds that come before and after all others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Kinds {
    order_first: Vec<String>,
    order_last: Vec<String>,
}

const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

impl SortOptions {
    /// The order without options: by kind and name, what others depend on first.
    pub(super) fn legacy() -> Self {
        Self {
            order: "legacy".to_owned(),
            legacy_sort_options: None,
        }
    }

    /// Sorts the objects.
    ///
    /// # Errors
    /// The options contradict one another.
    pub(super) fn sort(&self, objects: &mut [Object]) -> Result<(), String> {
        match (self.order.as_str(), &self.legacy_sort_options) {
            ("fifo", None) => Ok(()),
            ("fifo", Some(_)) => Err("legacySortOptions needs the order `legacy`".to_owned()),
            ("legacy", options) => {
                let kinds = options.clone().unwrap_or_else(|| Kinds {
                    order_first: FIRST.map(str::to_owned).to_vec(),
                    order_last: LAST.map(str::to_owned).to_vec(),
                });
                objects.sort_by_cached_key(|object| kinds.key(object));
                Ok(())
            }
            (order, _) => Err(format!("order `{order}` is neither legacy nor fifo")),
        }
    }
}

impl Kinds {
    fn key(&self, object: &Object) -> (i64, String, String) {
        let id = object.id();
        let or = |text: &str, none: &str| {
            if text.is_empty() {
                none.to_owned()
            } else {
                text.to_owned()
            }
        };
        let gvk = format!(
            "{}_{}_{}",
            or(&id.gvk.group, "~G"),
            or(&id.gvk.version, "~V"),
            or(&id.gvk.kind, "~K")
        );
        let name = format!(
            "{}.{}.{}|{}|{}",
            or(&id.gvk.kind, "[noKind]"),
            or(&id.gvk.version, "[noVer]"),
            or(&id.gvk.group, "[noGrp]"),
            or(&id.namespace, "~X"),
            or(&id.name, "~N")
        );
        (self.rank(&id.gvk.kind), gvk, name)
    }

    /// Negative for the first, positive for the last, 0 for all between.
    fn rank(&self, kind: &str) -> i64 {
        let at = |kinds: &[String]| kinds.iter().rposition(|known| known == kind);
        if let Some(at) = at(&self.order_last) {
            return 1 + at as i64;
        }
        at(&self.order_first).map_or(0, |at| at as i64 - self.order_first.len() as i64)
    }
}
