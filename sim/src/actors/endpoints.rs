//! The EndpointSlice controller: ready pods of each Service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Actor, Cx, Dirty, Key, is_deleting, is_ready, key_of, kind_of, object_of, owner_reference, selects, text,
};
use crate::api::kinds;
use crate::store::{Commit, copy_but};

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

    /// As the real one, it waits for more to come.
    fn lag(&self) -> (SignedDuration, SignedDuration) {
        (SignedDuration::from_millis(20), SignedDuration::from_millis(120))
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        match kind_of(commit) {
            "Service" => self.services.mark(key_of(object_of(commit))),
            "Pod" => {
                let before = commit.before.as_deref().and_then(Endpoint::of);
                let after = commit.after.as_deref().and_then(Endpoint::of);
                // most of what happens to a pod concerns no Service
                before != after && {
                    self.namespaces.insert(key_of(object_of(commit)).0);
                    true
                }
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
        let mut pods: BTreeMap<String, Vec<Arc<Value>>> = BTreeMap::new();
        for key in keys {
            let pods = pods
                .entry(key.0.clone())
                .or_insert_with(|| cx.api.list(&kinds::PODS, &key.0));
            sync(cx, &key, pods);
        }
        None
    }
}

/// What of a pod is in an EndpointSlice.
#[derive(PartialEq)]
struct Endpoint<'a> {
    labels: &'a Value,
    address: &'a str,
    ready: bool,
    ending: bool,
}

impl<'a> Endpoint<'a> {
    /// `None` as long as the pod has no address.
    fn of(pod: &'a Value) -> Option<Self> {
        Some(Self {
            labels: &pod["metadata"]["labels"],
            address: pod["status"]["podIP"].as_str()?,
            ready: is_ready(pod),
            ending: is_deleting(pod),
        })
    }
}

fn sync(cx: &mut Cx<'_>, (namespace, name): &Key, pods: &[Arc<Value>]) {
    // a slice of a Service that is gone goes with its owner
    let Some(service) = cx.api.get(&kinds::SERVICES, namespace, name) else {
        return;
    };
    let selector = &service["spec"]["selector"];
    let endpoints: Vec<Value> = pods
        .iter()
        .filter(|pod| selects(selector, pod))
        .filter_map(|pod| Some((pod, Endpoint::of(pod)?)))
        .map(|(pod, endpoint)| {
            json!({
                "addresses": [endpoint.address],
                "conditions": {
                    "ready": endpoint.ready && !endpoint.ending, "serving": endpoint.ready,
                    "terminating": endpoint.ending,
                },
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
        Some(slice) => {
            let mut slice = copy_but(&slice, "endpoints");
            slice["endpoints"] = endpoints.into();
            let _ = cx
                .api
                .replace(&kinds::ENDPOINT_SLICES, namespace, &slice_name, slice);
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
