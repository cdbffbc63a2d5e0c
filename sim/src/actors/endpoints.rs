//! The EndpointSlice controller: ready pods of each Service.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Actor, Cx, Dirty, Key, is_deleting, is_ready, key_of, kind_of, object_of, owner_reference, selects, text,
};
use crate::api::kinds;
use crate::store::Commit;

/// The EndpointSlice controller.
#[derive(Debug, Default)]
pub struct Endpoints {
    services: Dirty,
    namespaces: BTreeSet<String>,
}

impl Actor for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        match kind_of(commit) {
            "Service" => self.services.mark(key_of(object_of(commit))),
            "Pod" => {
                self.namespaces.insert(key_of(object_of(commit)).0);
                true
            }
            _ => false,
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        let mut keys = self.services.take();
        for namespace in std::mem::take(&mut self.namespaces) {
            keys.extend(
                cx.api
                    .list(&kinds::SERVICES, &namespace)
                    .iter()
                    .map(|service| key_of(service)),
            );
        }
        for key in keys {
            sync(cx, &key);
        }
        None
    }
}

fn sync(cx: &mut Cx<'_>, (namespace, name): &Key) {
    // a slice of a Service that is gone goes with its owner
    let Some(service) = cx.api.get(&kinds::SERVICES, namespace, name) else {
        return;
    };
    let endpoints: Vec<Value> = cx
        .api
        .list(&kinds::PODS, namespace)
        .iter()
        .filter(|pod| selects(&service["spec"]["selector"], pod) && pod["status"]["podIP"].is_string())
        .map(|pod| {
            let ready = is_ready(pod) && !is_deleting(pod);
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": ready, "serving": is_ready(pod), "terminating": is_deleting(pod)},
                "targetRef": {
                    "kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                },
            })
        })
        .collect();
    let slice_name = format!("{name}-sim");
    match cx.api.get(&kinds::ENDPOINT_SLICES, namespace, &slice_name) {
        Some(slice) if slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice) == endpoints => {}
        Some(_) => {
            let patch = json!({"endpoints": endpoints});
            let _ = cx
                .api
                .merge(&kinds::ENDPOINT_SLICES, namespace, &slice_name, patch);
        }
        None => {
            let ports: Vec<Value> = service["spec"]["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|p| json!({"name": text(&p["name"]), "port": p["port"], "protocol": "TCP"}))
                .collect();
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": slice_name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name},
                    "ownerReferences": [owner_reference(&service)],
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            });
            let _ = cx.api.create(&kinds::ENDPOINT_SLICES, namespace, slice);
        }
    }
}
