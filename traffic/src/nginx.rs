//! NGINX: canary Ingresses cloned from the stable ones (contract 3.14).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_crds::NginxTrafficRouting;

use crate::{
    HeaderValue, LiveObjects, RouteKind, RouteOp, RouteWrite, RouterError, TrafficIntent, TrafficRouter,
    WeightState,
};

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;
const DEFAULT_PREFIX: &str = "nginx.ingress.kubernetes.io";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Keys of annotations that were put on a canary Ingress because the spec asked for them, so that they are taken away when
/// it does not any more.
const RECORD_ANNOTATION: &str = "tidegate.io/canary-ingress-annotations";
/// Annotations of every canary Ingress, below the prefix.
const BUILT_IN: [&str; 6] = [
    "canary",
    "canary-weight",
    "canary-weight-total",
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
];

/// The router for `trafficRouting.nginx`.
#[derive(Clone, Copy, Debug)]
pub struct Nginx<'a> {
    /// Its spec.
    pub spec: &'a NginxTrafficRouting,
}

/// Name of the canary Ingress: `<rollout>-<ingress>-canary`, cut before the suffix to at most 253 characters.
pub fn canary_name(rollout: &str, ingress: &str) -> String {
    const SUFFIX: &str = "-canary";
    let mut name = format!("{rollout}-{ingress}");
    let mut end = name.len().min(MAX_NAME - SUFFIX.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name.push_str(SUFFIX);
    name
}

/// The key that one of `additionalIngressAnnotations` gets on the canary Ingress.
pub fn prefixed(prefix: Option<&str>, key: &str) -> String {
    let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
    if key.starts_with(prefix) {
        key.to_owned()
    } else {
        format!("{prefix}/{key}")
    }
}

impl<'a> Nginx<'a> {
    /// Stable Ingresses in the order of the spec.
    pub fn stable_ingresses(self) -> impl Iterator<Item = &'a str> {
        let single = self
            .spec
            .stable_ingress
            .as_deref()
            .filter(|name| !name.is_empty());
        single
            .into_iter()
            .chain(self.spec.stable_ingresses.iter().map(String::as_str))
    }

    fn prefix(self) -> &'a str {
        self.spec
            .annotation_prefix
            .as_deref()
            .filter(|p| !p.is_empty())
            .unwrap_or(DEFAULT_PREFIX)
    }

    /// Annotations of the canary Ingress that lead requests there by what they carry.
    fn matching_keys(self) -> [String; 2] {
        let prefix = self.prefix();
        ["canary-by-header", "canary-by-cookie"].map(|k| format!("{prefix}/{k}"))
    }

    fn annotations(self, stable: &Value, intent: &TrafficIntent<'_>) -> BTreeMap<String, String> {
        let prefix = self.prefix();
        let mut out = BTreeMap::new();
        if let Some(class) = annotation(stable, CLASS_ANNOTATION) {
            out.insert(CLASS_ANNOTATION.to_owned(), class.to_owned());
        }
        out.extend(self.given_annotations());
        // Validation lets one header route through; the annotations know no more.
        if let Some(route) = intent.headers.first() {
            let (name, value) = match &route.value {
                HeaderValue::Exact(value) => ("canary-by-header-value", value),
                HeaderValue::Regex(pattern) => ("canary-by-header-pattern", pattern),
            };
            out.insert(format!("{prefix}/canary-by-header"), route.header.clone());
            out.insert(format!("{prefix}/{name}"), value.clone());
        }
        out.insert(format!("{prefix}/canary"), "true".to_owned());
        out.insert(format!("{prefix}/canary-weight"), intent.weight.to_string());
        if let Some(total) = intent.total {
            out.insert(format!("{prefix}/canary-weight-total"), total.to_string());
        }
        out
    }

    /// Annotations that the spec gives the canary Ingress.
    fn given_annotations(self) -> BTreeMap<String, String> {
        let prefix = self.prefix();
        let additional = &self.spec.additional_ingress_annotations;
        let additional = additional
            .iter()
            .map(|(key, value)| (prefixed(Some(prefix), key), value.clone()));
        additional
            .chain(self.spec.canary_ingress_annotations.clone())
            .collect()
    }

    /// What a canary Ingress has to be told: the weight in a request of its own, so that nothing else can have it refused. It
    /// falls before anything else changes, and rises after.
    fn changes(self, live: &Value, mut annotations: BTreeMap<String, String>, spec: &Value) -> Vec<RouteOp> {
        let uid = text(live, "/metadata/uid").to_owned();
        let resource_version = text(live, "/metadata/resourceVersion").to_owned();
        let key = format!("{}/canary-weight", self.prefix());
        let number = |text: &str| text.parse::<i32>().ok().filter(|n| n.to_string() == text);
        let from = annotation(live, &key).and_then(number);
        let to = annotations.get(&key).and_then(|weight| number(weight));
        let weight = match (from, to) {
            (Some(from), Some(to)) if from != to => {
                annotations.insert(key.clone(), from.to_string());
                Some(RouteOp::SetWeight {
                    uid: uid.clone(),
                    resource_version: resource_version.clone(),
                    annotation: key,
                    from,
                    to,
                })
            }
            _ => None,
        };
        let rest = patch(live, self.prefix(), &annotations, spec).map(|patch| RouteOp::Patch {
            uid,
            resource_version,
            patch,
        });
        let changes = if from > to { [weight, rest] } else { [rest, weight] };
        changes.into_iter().flatten().collect()
    }
}

/// Annotations of every canary Ingress with this prefix.
fn is_built_in(key: &str, prefix: &str) -> bool {
    let name = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| BUILT_IN.contains(&name))
}

/// The keys of ours that are on an object: those that are ours in any case, and those that it says were put there.
fn ours<'v>(live: &'v Value, prefix: &'v str) -> impl Iterator<Item = &'v str> {
    let present = live.pointer("/metadata/annotations").and_then(Value::as_object);
    let built_in = present.into_iter().flatten().map(|(key, _)| key.as_str());
    let recorded = annotation(live, RECORD_ANNOTATION).unwrap_or_default();
    built_in
        .filter(move |key| is_built_in(key, DEFAULT_PREFIX) || is_built_in(key, prefix))
        .chain(recorded.split(',').filter(|key| !key.is_empty()))
}

/// Writes down the keys that could not be told from those of others.
fn with_record(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys = annotations.keys().map(String::as_str);
    // Below another prefix they are not known any more when the prefix changes.
    let recorded: Vec<&str> = keys.filter(|key| !is_built_in(key, DEFAULT_PREFIX)).collect();
    if !recorded.is_empty() {
        let recorded = recorded.join(",");
        annotations.insert(RECORD_ANNOTATION.to_owned(), recorded);
    }
    annotations
}

/// Sets what is wanted and takes away what is ours and not wanted any more; what others put there stays.
fn patch(live: &Value, prefix: &str, annotations: &BTreeMap<String, String>, spec: &Value) -> Option<Value> {
    let mut changed = Map::new();
    for (key, value) in annotations {
        if annotation(live, key) != Some(value) {
            changed.insert(key.clone(), json!(value));
        }
    }
    for key in ours(live, prefix).chain([RECORD_ANNOTATION]) {
        if annotation(live, key).is_some() && !annotations.contains_key(key) {
            changed.insert(key.to_owned(), Value::Null);
        }
    }
    let mut patch = Map::new();
    if !changed.is_empty() {
        patch.insert("metadata".to_owned(), json!({ "annotations": changed }));
    }
    let live_spec = live.get("spec").unwrap_or(&Value::Null);
    if live_spec != spec {
        patch.insert("spec".to_owned(), merge_patch(live_spec, spec));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

impl TrafficRouter for Nginx<'_> {
    fn id(&self) -> &'static str {
        "Nginx"
    }

    fn wants(&self, rollout: &str) -> Vec<(RouteKind, String)> {
        self.stable_ingresses()
            .flat_map(|name| [name.to_owned(), canary_name(rollout, name)])
            .map(|name| (RouteKind::Ingress, name))
            .collect()
    }

    fn render(&self, intent: &TrafficIntent<'_>, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError> {
        let mut writes = Vec::new();
        for ingress in self.stable_ingresses() {
            let stable = live.get(ingress).ok_or_else(|| RouterError::Missing {
                kind: "ingress",
                name: ingress.to_owned(),
            })?;
            let annotations = with_record(self.annotations(stable, intent));
            let spec = spec_of_clone(ingress, stable, intent)?;
            let name = canary_name(intent.rollout, ingress);
            let ops = match live.get(&name) {
                None => vec![RouteOp::Create(json!({
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "Ingress",
                    "metadata": {
                        "name": name,
                        "namespace": intent.namespace,
                        "annotations": annotations,
                        "ownerReferences": [{
                            "apiVersion": "argoproj.io/v1alpha1",
                            "kind": "Rollout",
                            "name": intent.rollout,
                            "uid": intent.uid,
                            "controller": true,
                            "blockOwnerDeletion": true,
                        }],
                    },
                    "spec": spec,
                }))],
                Some(canary) if !controlled_by(canary, intent.uid) => return Err(RouterError::Foreign(name)),
                Some(canary) => self.changes(canary, annotations, &spec),
            };
            writes.extend(ops.into_iter().map(|op| RouteWrite {
                kind: RouteKind::Ingress,
                name: name.clone(),
                op,
            }));
        }
        Ok(writes)
    }

    fn observe(&self, rollout: &str, uid: &str, live: &LiveObjects) -> WeightState {
        let key = format!("{}/canary-weight", self.prefix());
        let weights: Vec<Option<i32>> = self
            .stable_ingresses()
            .map(|ingress| {
                let canary = live
                    .get(&canary_name(rollout, ingress))
                    .filter(|c| controlled_by(c, uid))?;
                annotation(canary, &key)?.parse().ok()
            })
            .collect();
        match weights.split_first() {
            None | Some((None, [])) => WeightState::Absent,
            Some((Some(first), rest)) if rest.iter().all(|w| *w == Some(*first)) => WeightState::Set(*first),
            Some(_) => match weights.iter().flatten().max() {
                None => WeightState::Absent,
                Some(most) => WeightState::Mixed(*most),
            },
        }
    }

    fn matches(&self, rollout: &str, uid: &str, live: &LiveObjects) -> bool {
        let keys = self.matching_keys();
        self.stable_ingresses()
            .filter_map(|ingress| live.get(&canary_name(rollout, ingress)))
            .filter(|canary| controlled_by(canary, uid))
            .any(|canary| keys.iter().any(|key| annotation(canary, key).is_some()))
    }

    fn always_matches(&self) -> bool {
        let given = self.given_annotations();
        self.matching_keys().iter().any(|key| given.contains_key(key))
    }
}

fn spec_of_clone(ingress: &str, stable: &Value, intent: &TrafficIntent<'_>) -> Result<Value, RouterError> {
    let rules: Vec<Value> = stable
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|rule| clone_rule(rule, intent.stable_service, intent.canary_service))
        .collect();
    if rules.is_empty() {
        return Err(RouterError::NoBackend {
            ingress: ingress.to_owned(),
            service: intent.stable_service.to_owned(),
        });
    }
    let mut spec = Map::new();
    for field in ["ingressClassName", "tls"] {
        if let Some(value) = stable.pointer("/spec").and_then(|s| s.get(field)) {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    spec.insert("rules".to_owned(), Value::Array(rules));
    Ok(Value::Object(spec))
}

/// Canary Ingresses that this Rollout controls and that `keep` does not name: left behind by a change of the spec. Routing
/// them away is deleting them.
pub fn leftovers(keep: &[String], uid: &str, live: &LiveObjects) -> Vec<RouteWrite> {
    live.iter()
        .filter(|(name, object)| controlled_by(object, uid) && !keep.contains(name))
        .map(|(name, object)| RouteWrite {
            kind: RouteKind::Ingress,
            name: name.clone(),
            op: RouteOp::Delete {
                uid: text(object, "/metadata/uid").to_owned(),
            },
        })
        .collect()
}

/// The rule with the matching backends replaced, or nothing when none matches. All paths are kept (contract 3.14).
fn clone_rule(rule: &Value, stable: &str, canary: &str) -> Option<Value> {
    let mut rule = rule.clone();
    let mut matched = false;
    for path in rule.pointer_mut("/http/paths").and_then(Value::as_array_mut)? {
        if let Some(name) = path.pointer_mut("/backend/service/name")
            && name.as_str() == Some(stable)
        {
            *name = json!(canary);
            matched = true;
        }
    }
    matched.then_some(rule)
}

/// An RFC 7386 patch that turns `live` into `wanted`: fields of `live` that are not wanted become null.
fn merge_patch(live: &Value, wanted: &Value) -> Value {
    let (Some(live), Some(wanted)) = (live.as_object(), wanted.as_object()) else {
        return wanted.clone();
    };
    let mut patch = Map::new();
    for (key, value) in wanted {
        match live.get(key) {
            Some(old) if old == value => {}
            Some(old) => {
                patch.insert(key.clone(), merge_patch(old, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in live.keys().filter(|key| !wanted.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

fn annotation<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn controlled_by(object: &Value, uid: &str) -> bool {
    object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|owner| owner["uid"].as_str() == Some(uid) && owner["controller"].as_bool() == Some(true))
}
