//! What applying a folder would send, for whoever wants to see it before it is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_crds::Delivery;
use tidegate_manifests::Place;

pub use crate::desired::Obstacle;
use crate::desired::{Desired, Wanted};
use crate::object::{DELIVERY_LABEL, DELIVERY_NAMESPACE_LABEL, ObjectId, keeps_itself};
use crate::observed::{Kinds, Observed};
use crate::render::Rendered;

/// The objects of a folder as a Delivery would apply them, in that order.
#[derive(Clone, Debug)]
pub struct Preview(Desired);

impl Preview {
    /// Fills in namespaces and labels, and checks what can be checked without asking.
    ///
    /// # Errors
    /// An API version that nobody has asked for yet: ask, add it to `kinds` and try again. Or what is wrong, with its place.
    pub fn of(
        rendered: Rendered,
        delivery: &Delivery,
        kinds: &BTreeMap<String, Kinds>,
    ) -> Result<Self, Obstacle> {
        let observed = Observed {
            delivery: delivery.clone(),
            kinds: kinds.clone(),
            ..Observed::default()
        };
        Desired::of(&Arc::new(rendered), &observed).map(Self)
    }

    /// The objects.
    pub fn objects(&self) -> impl Iterator<Item = Previewed<'_>> {
        let desired = &self.0;
        desired
            .objects
            .iter()
            .map(move |wanted| Previewed { wanted, desired })
    }

    /// What a Delivery has in its inventory and the folder has not, unless the Delivery never deletes anything.
    pub fn left_over(&self, delivery: &Delivery) -> Vec<ObjectId> {
        let prune = delivery.spec.prune.as_ref();
        if prune.and_then(|prune| prune.enabled) == Some(false) {
            return Vec::new();
        }
        let inventory = delivery.status.inventory.iter();
        inventory
            .filter_map(|id| ObjectId::parse(id))
            .filter(|id| !self.0.objects.iter().any(|wanted| wanted.id.same(id)) && !self.0.leaves_alone(id))
            .collect()
    }
}

/// One object of a [`Preview`].
#[derive(Clone, Copy, Debug)]
pub struct Previewed<'a> {
    wanted: &'a Wanted,
    desired: &'a Desired,
}

impl<'a> Previewed<'a> {
    /// What it is called.
    pub fn id(&self) -> &'a ObjectId {
        &self.wanted.id
    }

    /// The file and line that it begins at.
    pub fn place(&self) -> &'a Place {
        &self.wanted.place
    }

    /// Whether its kind or namespace comes with the same folder, so that it may be refused before that is applied.
    pub fn comes_later(&self) -> bool {
        self.wanted.later
    }

    /// What is sent when `live` is there: what a Rollout or an autoscaler owns in it stays as it is.
    pub fn body(&self, live: Option<&Value>) -> Value {
        let mut body = self.wanted.body.clone();
        self.desired.owned.graft(&self.wanted.id, &mut body, live);
        body
    }
}

/// Whether a Delivery would delete an object that Git has no more: it is the Delivery's, and does not say of itself that it
/// is to be kept.
pub fn is_deleted(delivery: &Delivery, live: &Value) -> bool {
    let label = |key: &str| live.pointer("/metadata/labels")?.get(key)?.as_str();
    label(DELIVERY_LABEL) == Some(delivery.metadata.name.as_str())
        && label(DELIVERY_NAMESPACE_LABEL) == Some(delivery.metadata.namespace.as_str())
        && !keeps_itself(live)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::render::{Limits, render};
    use crate::tree::Files;

    fn delivery() -> Delivery {
        let value = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "status": {"inventory": ["/v1/ConfigMap/shop/old", "/v1/Service/shop/web"]},
        });
        serde_json::from_value(value).unwrap()
    }

    fn rendered() -> Rendered {
        let files = Files::new()
            .with("rollout.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec: {strategy: {blueGreen: {activeService: web}}}\n")
            .with("web.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n");
        render(&files, "", &Limits::default()).unwrap()
    }

    fn kinds() -> BTreeMap<String, Kinds> {
        let of = |kind: &str| Some(Arc::new(BTreeMap::from([(kind.to_owned(), true)])));
        BTreeMap::from([
            ("v1".to_owned(), of("Service")),
            ("argoproj.io/v1alpha1".to_owned(), of("Rollout")),
        ])
    }

    #[test]
    fn what_is_sent_is_what_a_delivery_sends() {
        let preview = Preview::of(rendered(), &delivery(), &kinds()).unwrap();
        let ids: Vec<String> = preview.objects().map(|object| object.id().to_string()).collect();
        assert_eq!(
            ids,
            ["/v1/Service/shop/web", "argoproj.io/v1alpha1/Rollout/shop/web"]
        );
        let service = preview.objects().next().unwrap();
        assert_eq!(service.place().to_string(), "web.yaml:1:1");
        let live = json!({"spec": {"selector": {"app": "web", "rollouts-pod-template-hash": "abc"}}});
        assert_eq!(
            service.body(Some(&live)),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop", "labels": {DELIVERY_LABEL: "web", DELIVERY_NAMESPACE_LABEL: "shop"}},
                "spec": {"selector": {"app": "web", "rollouts-pod-template-hash": "abc"}},
            })
        );
    }

    #[test]
    fn what_is_not_known_yet_is_asked_for() {
        let unknown = Preview::of(rendered(), &delivery(), &BTreeMap::new()).unwrap_err();
        let versions = ["v1", "argoproj.io/v1alpha1"].map(str::to_owned);
        assert_eq!(unknown, Obstacle::Unknown(BTreeSet::from(versions)));
    }

    #[test]
    fn what_is_left_over_is_deleted_if_it_may_be() {
        let mut delivery = delivery();
        let preview = Preview::of(rendered(), &delivery, &kinds()).unwrap();
        let left: Vec<String> = preview
            .left_over(&delivery)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(left, ["/v1/ConfigMap/shop/old"]);
        let mut live =
            json!({"metadata": {"labels": {DELIVERY_LABEL: "web", DELIVERY_NAMESPACE_LABEL: "shop"}}});
        assert!(is_deleted(&delivery, &live));
        live["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        assert!(!is_deleted(&delivery, &live));
        assert!(!is_deleted(&delivery, &json!({"metadata": {"name": "old"}})));
        delivery.spec.prune = Some(serde_json::from_value(json!({"enabled": false})).unwrap());
        assert_eq!(preview.left_over(&delivery), []);
    }
}
