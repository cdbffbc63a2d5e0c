//! Whether an object may have changed since it was last compared with Git, by its metadata alone: so that a watch which
//! shows no more than that tells what is worth a comparison, and an object that nobody touches costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::digest::sha256;
use crate::object::{DELIVERY_LABEL, DELIVERY_NAMESPACE_LABEL, ObjectId};

/// What of the applied objects is to be compared with Git although there is no news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// Nothing.
    #[default]
    Nothing,
    /// These, whatever their version.
    These(BTreeSet<ObjectId>),
    /// Everything.
    Everything,
}

impl Compare {
    /// Whether an object is to be compared.
    pub(crate) fn has(&self, id: &ObjectId) -> bool {
        match self {
            Self::Nothing => false,
            Self::These(ids) => ids.contains(&id.unversioned()),
            Self::Everything => true,
        }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::These(mut ids), Self::These(more)) => {
                ids.extend(more);
                Self::These(ids)
            }
            _ => Self::Everything,
        }
    }
}

/// Tells two states of an object apart. A status that changes makes no difference, where the kind has generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// What is read of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Namespace; empty for kinds without.
    pub namespace: String,
    /// Name.
    pub name: String,
    uid: String,
    resource_version: String,
    generation: Option<i64>,
    deletion_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
}

impl Metadata {
    /// Namespace and name of the Delivery that applied the object, by its labels.
    pub fn delivery(&self) -> Option<(&str, &str)> {
        let labels = self.labels.as_ref()?;
        Some((labels.get(DELIVERY_NAMESPACE_LABEL)?, labels.get(DELIVERY_LABEL)?))
    }

    /// The state that it shows.
    pub fn fingerprint(&self) -> Fingerprint {
        // kinds without generations change their version with every write
        let version = match self.generation {
            Some(generation) => generation.to_string(),
            None => format!("v{}", self.resource_version),
        };
        let state = (
            &self.uid,
            version,
            self.deletion_timestamp.is_some(),
            &self.labels,
            &self.annotations,
            &self.finalizers,
        );
        let digest = sha256(format!("{state:?}").as_bytes());
        let digits = digest.get(..16).unwrap_or_default();
        Fingerprint(u64::from_str_radix(digits, 16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fingerprint(metadata: &Value) -> Fingerprint {
        Metadata::deserialize(metadata).unwrap().fingerprint()
    }

    #[test]
    fn a_status_changes_nothing_where_there_are_generations() {
        let with = json!({"uid": "a", "generation": 2, "resourceVersion": "7", "labels": {"a": "b"}});
        let mut later = with.clone();
        later["resourceVersion"] = json!("8");
        later["managedFields"] = json!([{"manager": "kubelet"}]);
        assert_eq!(fingerprint(&with), fingerprint(&later));
        let without = json!({"uid": "a", "resourceVersion": "7"});
        let mut later = without.clone();
        later["resourceVersion"] = json!("8");
        assert_ne!(fingerprint(&without), fingerprint(&later));
    }

    #[test]
    fn whatever_a_person_edits_changes_it() {
        let before = json!({
            "uid": "a", "generation": 2, "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["e"],
        });
        for (field, value) in [
            ("uid", json!("b")),
            ("generation", json!(3)),
            ("labels", json!({"a": "c"})),
            ("labels", Value::Null),
            ("annotations", json!({"c": "d", "d": ""})),
            ("finalizers", json!([])),
            ("deletionTimestamp", json!("2026-11-22T00:00:00Z")),
        ] {
            let mut after = before.clone();
            after[field] = value;
            assert_ne!(fingerprint(&before), fingerprint(&after), "{field}");
        }
    }

    #[test]
    fn the_delivery_of_an_object() {
        let of = |labels: Value| {
            let metadata = Metadata::deserialize(&json!({ "labels": labels })).unwrap();
            metadata
                .delivery()
                .map(|(namespace, name)| format!("{namespace}/{name}"))
        };
        let both = json!({DELIVERY_LABEL: "shop", DELIVERY_NAMESPACE_LABEL: "prod"});
        assert_eq!(of(both).as_deref(), Some("prod/shop"));
        assert_eq!(of(json!({DELIVERY_LABEL: "shop"})), None);
        assert_eq!(of(Value::Null), None);
    }

    #[test]
    fn comparisons_add_up() {
        let id = |name: &str| ObjectId {
            kind: "ConfigMap".to_owned(),
            name: name.to_owned(),
            ..ObjectId::default()
        };
        let these = |names: &[&str]| Compare::These(names.iter().map(|name| id(name)).collect());
        assert_eq!(Compare::Nothing.and(these(&["a"])), these(&["a"]));
        assert_eq!(these(&["a"]).and(these(&["b"])), these(&["a", "b"]));
        assert_eq!(these(&["a"]).and(Compare::Everything), Compare::Everything);
        let versioned = ObjectId {
            version: "v1".to_owned(),
            ..id("a")
        };
        assert!(these(&["a"]).has(&versioned) && !these(&["b"]).has(&versioned));
        assert!(Compare::Everything.has(&versioned) && !Compare::Nothing.has(&versioned));
    }
}
