//! What objects are called, in which order they are applied, and which of them are whose.

use std::fmt;

use serde_json::Value;

/// Label of every object that a Delivery applies: its name.
pub const DELIVERY_LABEL: &str = "tidegate.io/delivery";
/// Label of every object that a Delivery applies: the namespace of the Delivery.
pub const DELIVERY_NAMESPACE_LABEL: &str = "tidegate.io/delivery-namespace";
/// Annotation of a Delivery: release a rejected commit again. Any new value is obeyed once.
pub const RETRY_ANNOTATION: &str = "tidegate.io/retry";
/// Annotation of a Delivery: look at the repository and compare with Git now. Any new value is obeyed once.
pub const SYNC_ANNOTATION: &str = "tidegate.io/sync";
/// Annotation of a Delivery: the commit that the cluster is to be held at, in full or the first digits of one in the ledger.
pub const PIN_ANNOTATION: &str = "tidegate.io/pin";
/// The field manager of everything that is applied.
pub const FIELD_MANAGER: &str = "tidegate";

/// Kind, namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for kinds without.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectId {
    /// What an object is called; a missing namespace is left empty.
    pub fn of(object: &Value) -> Self {
        let text = |pointer| {
            let value = object.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("/kind"),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
        }
    }

    /// Reads what [`fmt::Display`] wrote; `None` if it is nothing of that kind.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(5, '/').collect();
        let [group, version, kind, namespace, name] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            kind: (*kind).to_owned(),
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
        })
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether it is of a kind, whatever the version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// The object in whatever version.
    #[must_use]
    pub fn unversioned(&self) -> Self {
        Self {
            version: String::new(),
            ..self.clone()
        }
    }

    /// The same object in whatever version.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let without_version = |id: &Self| {
            (
                id.group.clone(),
                id.kind.clone(),
                id.namespace.clone(),
                id.name.clone(),
            )
        };
        without_version(self) == without_version(other)
    }

    /// For people: `Service shop/web`.
    pub fn words(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.kind, self.name)
        } else {
            format!("{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// `GROUP/VERSION/KIND/NAMESPACE/NAME`, as in `status.inventory`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            version,
            kind,
            namespace,
            name,
        } = self;
        write!(f, "{group}/{version}/{kind}/{namespace}/{name}")
    }
}

/// Kinds that others need, in the order in which they are applied (as Helm installs them); all others come after, and what
/// calls upon running pods comes last.
const FIRST: [(&str, &str); 24] = [
    ("", "Namespace"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("policy", "PodDisruptionBudget"),
    ("", "ServiceAccount"),
    ("", "Secret"),
    ("", "ConfigMap"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("argoproj.io", "ClusterAnalysisTemplate"),
    ("argoproj.io", "AnalysisTemplate"),
    ("", "Service"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "Ingress"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
];
const LAST: [(&str, &str); 5] = [
    ("argoproj.io", "Rollout"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("apiregistration.k8s.io", "APIService"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
];

/// Where an object comes in the order of its kind.
pub(crate) fn rank(id: &ObjectId) -> usize {
    let of = |list: &[(&str, &str)]| list.iter().position(|(group, kind)| id.is(group, kind));
    match (of(&FIRST), of(&LAST)) {
        (Some(place), _) => place,
        (_, Some(place)) => FIRST.len() + 1 + place,
        _ => FIRST.len(),
    }
}

/// Who else looks after an object, if somebody does: Argo CD, Flux, Helm or another Delivery.
pub(crate) fn other_owner(object: &Value, namespace: &str, name: &str) -> Option<String> {
    let text = |part: &str, key: &str| object.get("metadata")?.get(part)?.get(key)?.as_str();
    if let Some(id) = text("annotations", "argocd.argoproj.io/tracking-id") {
        let application = id.split(':').next().unwrap_or(id);
        return Some(format!("the Argo CD application {application}"));
    }
    for (kind, group) in [("Kustomization", "kustomize"), ("HelmRelease", "helm")] {
        if let Some(owner) = text("labels", &format!("{group}.toolkit.fluxcd.io/name")) {
            return Some(format!("the Flux {kind} {owner}"));
        }
    }
    let delivery = text("labels", DELIVERY_LABEL)?;
    let of = text("labels", DELIVERY_NAMESPACE_LABEL).unwrap_or_default();
    ((of, delivery) != (namespace, name)).then(|| format!("the Delivery {of}/{delivery}"))
}

/// Whether an object says of itself that it is not to be deleted when Git has it no more.
pub(crate) fn keeps_itself(object: &Value) -> bool {
    let annotation = |key: &str| {
        let value = object
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"));
        value
            .and_then(|annotations| annotations.get(key))
            .and_then(Value::as_str)
    };
    let options = annotation("argocd.argoproj.io/sync-options").unwrap_or_default();
    options.split(',').any(|option| option.trim() == "Prune=false")
        || annotation("kustomize.toolkit.fluxcd.io/prune") == Some("disabled")
        || annotation("helm.sh/resource-policy") == Some("keep")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(text: &str) -> ObjectId {
        ObjectId::parse(text).unwrap()
    }

    #[test]
    fn names_go_back_and_forth() {
        for text in [
            "/v1/Service/shop/web",
            "apps/v1/Deployment/shop/web",
            "/v1/Namespace//shop",
        ] {
            assert_eq!(id(text).to_string(), text);
        }
        assert_eq!(ObjectId::parse("v1/Service/web"), None);
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}});
        assert_eq!(ObjectId::of(&object).to_string(), "apps/v1/Deployment/shop/web");
        assert_eq!(id("/v1/Namespace//shop").words(), "Namespace shop");
    }

    #[test]
    fn what_others_need_comes_first_and_rollouts_come_late() {
        let mut ids = [
            "argoproj.io/v1alpha1/Rollout/a/a",
            "example.com/v1/Thing/a/a",
            "/v1/Service/a/a",
            "/v1/ConfigMap/a/a",
            "apiextensions.k8s.io/v1/CustomResourceDefinition//a",
            "/v1/Namespace//a",
        ]
        .map(id);
        ids.sort_by_key(rank);
        let kinds = ids.map(|id| id.kind);
        assert_eq!(
            kinds,
            [
                "Namespace",
                "CustomResourceDefinition",
                "ConfigMap",
                "Service",
                "Thing",
                "Rollout"
            ]
        );
    }

    #[test]
    fn other_owners_are_named() {
        let of = |metadata: Value| other_owner(&json!({"metadata": metadata}), "shop", "web");
        assert_eq!(of(json!({})), None);
        assert_eq!(
            of(json!({"annotations": {"argocd.argoproj.io/tracking-id": "web:apps/Deployment:a/b"}}))
                .unwrap(),
            "the Argo CD application web"
        );
        assert_eq!(
            of(json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}})).unwrap(),
            "the Flux Kustomization apps"
        );
        let labels =
            |namespace: &str| json!({"labels": {DELIVERY_LABEL: "web", DELIVERY_NAMESPACE_LABEL: namespace}});
        assert_eq!(of(labels("shop")), None);
        assert_eq!(of(labels("other")).unwrap(), "the Delivery other/web");
    }
}
