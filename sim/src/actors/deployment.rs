//! A small Deployment controller, for workloads that a Rollout takes over (`spec.workloadRef`): a new ReplicaSet for each
//! template, brought up before the old ones go.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Actor, Cx, Dirty, controller_of, is_deleting, key_of, kind_of, object_of, owner_reference, text, uid_of,
};
use crate::api::kinds;
use crate::rng::Rng;
use crate::store::Commit;

/// The Deployment controller.
#[derive(Debug, Default)]
pub struct Deployments {
    dirty: Dirty,
}

impl Actor for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        match kind_of(commit) {
            "Deployment" => self.dirty.mark(key_of(object_of(commit))),
            "ReplicaSet" => match controller_of(object_of(commit)) {
                Some(owner) if owner["kind"] == "Deployment" => {
                    let (namespace, _) = key_of(object_of(commit));
                    self.dirty.mark((namespace, text(&owner["name"]).to_owned()))
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        for key in self.dirty.take() {
            if let Some(deployment) = cx.api.get(&kinds::DEPLOYMENTS, &key.0, &key.1)
                && !is_deleting(&deployment)
            {
                sync(cx, &deployment);
            }
        }
        None
    }
}

fn sync(cx: &mut Cx<'_>, deployment: &Value) {
    let (namespace, name) = key_of(deployment);
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let hash = template_hash(&deployment["spec"]["template"]);
    let sets = super::controlled(&cx.api, &kinds::REPLICA_SETS, &namespace, uid_of(deployment));
    let of = |set: &Value, field: &str| set["status"][field].as_i64().unwrap_or(0);
    let set_name = format!("{name}-{hash}");
    let current = sets.iter().find(|set| set["metadata"]["name"] == *set_name);
    match current {
        None => {
            let set = replica_set(deployment, &set_name, &hash, wanted);
            let _ = cx.api.create(&kinds::REPLICA_SETS, &namespace, set);
        }
        Some(set) => scale(cx, set, wanted),
    }
    // all old ones at once, when the new one can take over: it is a stage prop, not the real thing
    if current.is_some_and(|set| of(set, "availableReplicas") >= wanted) {
        for old in sets.iter().filter(|set| set["metadata"]["name"] != *set_name) {
            scale(cx, old, 0);
        }
    }
    let sum = |field| sets.iter().map(|set| of(set, field)).sum::<i64>();
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": sum("replicas"),
        "updatedReplicas": current.map_or(0, |set| of(set, "replicas")),
        "readyReplicas": sum("readyReplicas"),
        "availableReplicas": sum("availableReplicas"),
        "conditions": [{
            "type": "Available", "reason": "MinimumReplicasAvailable", "message": "",
            "status": if sum("availableReplicas") >= wanted { "True" } else { "False" },
        }],
    });
    if deployment["status"] != status {
        let _ = cx.api.replace_status(&kinds::DEPLOYMENTS, deployment, status);
    }
}

fn scale(cx: &mut Cx<'_>, set: &Value, replicas: i64) {
    if set["spec"]["replicas"] != replicas {
        let (namespace, name) = key_of(set);
        let _ = cx.api.merge(
            &kinds::REPLICA_SETS,
            &namespace,
            &name,
            json!({"spec": {"replicas": replicas}}),
        );
    }
}

fn replica_set(deployment: &Value, name: &str, hash: &str, replicas: i64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.into();
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    })
}

/// A name for a template; not the real one's, which nothing here depends on.
fn template_hash(template: &Value) -> String {
    super::suffix(&mut Rng::new(0).fork(&template.to_string()))
}
