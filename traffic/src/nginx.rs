//! NGINX: canary Ingresses cloned from the stable ones (contract 3.14).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate_crds::{HeaderRoutingMatch, NginxTrafficRouting, SetHeaderRoute, merge, names};

use crate::object::{controlled_by, guards, list, operation, owned};
use crate::{
    Can, HeaderValue, LiveObjects, ObjectRef, Plane, Problem, RouteKind, RouteOp, RouteWrite, RouterError,
    Seen, Share, Subject, TrafficIntent, TrafficRouter, Words, Wrong,
};

/// NGINX.
pub static PLANE: Plane = Plane {
    id: "Nginx",
    field: "nginx",
    kinds: &[&INGRESS],
    can: Can {
        headers: true,
        mirrors: false,
        total: true,
        additional: false,
    },
    router: |routing, subject, _| {
        let spec = routing.nginx.as_ref()?;
        Some(Box::new(Nginx { spec, subject }))
    },
};

/// Ingresses.
pub static INGRESS: RouteKind = RouteKind {
    group: "networking.k8s.io",
    version: "v1",
    plural: "ingresses",
    kind: "Ingress",
    everywhere: true,
    made: true,
    routes_by: &[
        "canary",
        "canary-weight",
        "canary-weight-total",
        "canary-by-header",
        "canary-by-header-value",
        "canary-by-header-pattern",
        "canary-by-cookie",
        "ingress.class",
    ],
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
    /// Whose traffic.
    pub subject: Subject<'a>,
}

/// Name of the canary Ingress: `<rollout>-<ingress>-canary`, cut before the suffix to at most 253 characters.
fn canary_name(rollout: &str, ingress: &str) -> String {
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
fn prefixed(prefix: Option<&str>, key: &str) -> String {
    let prefix = prefix.unwrap_or(DEFAULT_PREFIX);
    if key.starts_with(prefix) {
        key.to_owned()
    } else {
        format!("{prefix}/{key}")
    }
}

impl<'a> Nginx<'a> {
    /// Stable Ingresses in the order of the spec.
    fn stable_ingresses(self) -> impl Iterator<Item = &'a str> {
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

    fn object(self, name: impl Into<String>) -> ObjectRef {
        ObjectRef::new(&INGRESS, self.subject.namespace, name)
    }

    fn canary_of(self, ingress: &str) -> ObjectRef {
        self.object(canary_name(self.subject.rollout, ingress))
    }

    /// The canary Ingresses that are there and the Rollout's own, with a gap where one is not.
    fn canaries(self, live: &LiveObjects) -> impl Iterator<Item = Option<&Value>> {
        self.stable_ingresses().map(move |ingress| {
            let canary = live.get(&self.canary_of(ingress));
            canary
                .map(AsRef::as_ref)
                .filter(|canary| controlled_by(canary, self.subject.uid))
        })
    }

    fn annotations(self, stable: &Value, intent: &TrafficIntent) -> BTreeMap<String, String> {
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

    /// The annotations with the weight of a canary Ingress, and with what that is a part of.
    fn weight_keys(self) -> [String; 2] {
        ["canary-weight", "canary-weight-total"].map(|key| format!("{}/{key}", self.prefix()))
    }

    /// What a canary Ingress gives the canary; `None` where it has no weight that can be read.
    fn share(self, canary: &Value) -> Option<Share> {
        let [weight, total] = self.weight_keys();
        let number = |key: &str| annotation(canary, key)?.parse::<i32>().ok();
        let total = number(&total).filter(|total| *total > 0);
        Some(Share::of(number(&weight)?, total.unwrap_or(100)))
    }

    /// What requests get: an Ingress that somebody took the mark of a canary from is a second one for the same paths, and NGINX keeps to
    /// the older one, whatever the weight.
    fn gives(self, canary: &Value) -> Option<Share> {
        let share = self.share(canary)?;
        let marked = annotation(canary, &format!("{}/canary", self.prefix())) == Some("true");
        Some(if marked { share } else { Share::of(0, 100) })
    }

    /// What a canary Ingress has to be told: the weight in a request of its own, so that nothing else can have it refused. It
    /// falls before anything else changes, and rises after.
    fn changes(
        self,
        live: &Value,
        mut annotations: BTreeMap<String, String>,
        spec: &Value,
        intent: &TrafficIntent,
    ) -> Vec<RouteOp> {
        let (uid, resource_version) = guards(live);
        let weight = self.set(live, &mut annotations, intent);
        let rest = patch(live, self.prefix(), &annotations, spec).map(|patch| RouteOp::Patch {
            uid,
            resource_version,
            patch,
        });
        let rises = weight.as_ref().is_some_and(RouteOp::raises);
        let changes = if rises { [rest, weight] } else { [weight, rest] };
        changes.into_iter().flatten().collect()
    }

    /// The weight alone, with its total where that changes what it means: between two requests the share would be another
    /// one. What it sets stays in `annotations` as it is, for the request with the rest.
    fn set(
        self,
        live: &Value,
        annotations: &mut BTreeMap<String, String>,
        intent: &TrafficIntent,
    ) -> Option<RouteOp> {
        let share = self.share(live)?.in_parts_of(intent.whole());
        let to = intent.weight;
        let [weight, total] = self.weight_keys();
        // Nothing is nothing of any total: the way back to stable depends on no other annotation.
        let total = (to != 0).then_some(total);
        let (mut tests, mut sets) = (Vec::new(), Vec::new());
        for key in [Some(weight), total].into_iter().flatten() {
            let path = format!(
                "/metadata/annotations/{}",
                key.replace('~', "~0").replace('/', "~1")
            );
            let now = annotation(live, &key);
            tests.extend(now.map(|now| operation("test", &path, now)));
            let wanted = match now {
                Some(now) => annotations.insert(key, now.to_owned()),
                None => annotations.remove(&key),
            };
            sets.extend(match wanted {
                Some(wanted) if now == Some(wanted.as_str()) => None,
                Some(wanted) if now.is_some() => Some(operation("replace", &path, wanted)),
                Some(wanted) => Some(operation("add", &path, wanted)),
                None => now.map(|_| json!({"op": "remove", "path": path})),
            });
        }
        let (uid, resource_version) = guards(live);
        (!sets.is_empty()).then(|| RouteOp::SetWeight {
            uid,
            resource_version,
            operations: tests.into_iter().chain(sets).collect(),
            from: if share.most() > to {
                share.most()
            } else {
                share.least()
            },
            to,
        })
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
    if let Some(change) = merge::difference(live_spec, spec) {
        patch.insert("spec".to_owned(), change);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

impl Nginx<'_> {
    /// Keys of annotations that the API server would not take, and with them no canary Ingress. Upstream finds that out when
    /// it writes the Ingress.
    fn check_annotations(self) -> Vec<Problem> {
        let prefix = self
            .spec
            .annotation_prefix
            .as_deref()
            .filter(|prefix| !prefix.is_empty());
        // Case does not matter in the key of an annotation.
        let problem = |key: &str| names::qualified_name(&key.to_lowercase());
        if let Some(prefix) = prefix
            && let Some(message) = problem(&format!("{prefix}/canary"))
        {
            return vec![Problem {
                path: "nginx.annotationPrefix".to_owned(),
                said: None,
                wrong: Wrong::Invalid(json!(prefix)),
                message: message.to_owned(),
                fix: "use the name of a domain, such as nginx.ingress.kubernetes.io".to_owned(),
            }];
        }
        let additional = self.spec.additional_ingress_annotations.keys();
        let additional = additional.map(|key| ("additionalIngressAnnotations", key, prefixed(prefix, key)));
        let verbatim = self.spec.canary_ingress_annotations.keys();
        let verbatim = verbatim.map(|key| ("canaryIngressAnnotations", key, key.clone()));
        let problems = additional.chain(verbatim).filter_map(|(field, key, full)| {
            let fix = if *key == full {
                "correct the key".to_owned()
            } else {
                format!("it becomes {full}: leave its prefix out, or move it to canaryIngressAnnotations")
            };
            Some(Problem {
                path: format!("nginx.{field}"),
                said: None,
                wrong: Wrong::Invalid(json!(key)),
                message: problem(&full)?.to_owned(),
                fix,
            })
        });
        problems.collect()
    }

    /// The field of each Ingress, the field as upstream says it, and the name.
    fn named(&self) -> impl Iterator<Item = (String, &'static str, &str)> {
        let single = self
            .spec
            .stable_ingress
            .as_deref()
            .filter(|name| !name.is_empty());
        let single = single.map(|name| ("nginx.stableIngress".to_owned(), "nginx.stableIngress", name));
        let several = self.spec.stable_ingresses.iter().enumerate();
        let several = several.map(|(index, name)| {
            let path = format!("nginx.stableIngresses[{index}]");
            (path, "nginx.stableIngresses", name.as_str())
        });
        single.into_iter().chain(several)
    }

    fn check_ingresses(self, live: &LiveObjects) -> Vec<Problem> {
        let mut problems = Vec::new();
        let single = self
            .spec
            .stable_ingress
            .as_deref()
            .filter(|name| !name.is_empty());
        let how_many = match (single, self.spec.stable_ingresses.as_slice()) {
            (Some(_), [_, ..]) => "Both are configured.",
            (None, []) => "Neither are configured.",
            _ => "",
        };
        if !how_many.is_empty() {
            problems.push(Problem {
                path: "nginx".to_owned(),
                said: None,
                wrong: Wrong::Contradiction,
                message: format!("Either StableIngress or StableIngresses must be configured. {how_many}"),
                fix: "set one of stableIngress and stableIngresses".to_owned(),
            });
        }
        let service = self.subject.stable_service;
        // Upstream says the whole list of each that is missing from it.
        let all = Arc::new(json!(self.spec.stable_ingresses));
        for (path, said, name) in self.named() {
            match live.get(&self.object(name)) {
                None => {
                    let one = single == Some(name);
                    problems.push(Problem {
                        path,
                        said: (!one).then(|| "nginx.StableIngresses".to_owned()),
                        wrong: Wrong::Missing(if one {
                            Arc::new(json!(name))
                        } else {
                            Arc::clone(&all)
                        }),
                        message: format!("ingress.networking.k8s.io \"{name}\" not found"),
                        fix: format!("create the Ingress {name:?}, or correct the name"),
                    });
                }
                Some(ingress) if !has_rule(ingress, service) => problems.push(Problem {
                    path,
                    said: Some(said.to_owned()),
                    wrong: Wrong::Invalid(json!(name)),
                    message: no_backend(name, service),
                    fix: format!(
                        "add a rule with the backend {service:?} to the Ingress, or correct stableService"
                    ),
                }),
                Some(_) => {}
            }
        }
        problems
    }
}

fn has_rule(ingress: &Value, service: &str) -> bool {
    list(ingress, "/spec/rules")
        .flat_map(|rule| list(rule, "/http/paths"))
        .any(|path| path.pointer("/backend/service/name").and_then(Value::as_str) == Some(service))
}

/// Ours: NGINX can send one header to a canary Ingress, as an exact value or a pattern.
fn check_header_route(route: &SetHeaderRoute, earlier: &[&SetHeaderRoute]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut unsupported = |path: String, value: Value, message: String, fix: String| {
        problems.push(Problem {
            path,
            said: None,
            wrong: Wrong::Unsupported(value),
            message,
            fix,
        });
    };
    let name = route.name.as_deref().unwrap_or_default();
    if let Some(other) = earlier
        .iter()
        .map(|other| other.name.as_deref().unwrap_or_default())
        .find(|other| *other != name)
    {
        unsupported(
            "name".to_owned(),
            json!(name),
            format!("NGINX has one header route for a canary, and an earlier step makes {other:?}"),
            format!("use the one route {other:?} in all steps"),
        );
    }
    if route.match_.len() > 1 {
        unsupported(
            "match".to_owned(),
            json!(route.match_),
            "NGINX matches one header for a canary".to_owned(),
            "keep one match".to_owned(),
        );
    }
    for (position, matched) in route.match_.iter().enumerate() {
        problems.extend(check_match(matched, &format!("match[{position}]")));
    }
    problems
}

fn check_match(matched: &HeaderRoutingMatch, path: &str) -> Vec<Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut problems = Vec::new();
    if matched.header_name.is_empty() || !matched.header_name.bytes().all(token) {
        problems.push(Problem {
            path: format!("{path}.headerName"),
            said: None,
            wrong: Wrong::Invalid(json!(matched.header_name)),
            message: "must consist of letters, digits, '-' and '_'".to_owned(),
            fix: "name a header, such as X-Canary".to_owned(),
        });
    }
    let value = matched.header_value.as_ref();
    if let Some(prefix) = value
        .and_then(|value| value.prefix.as_ref())
        .filter(|prefix| !prefix.is_empty())
    {
        problems.push(Problem {
            path: format!("{path}.headerValue.prefix"),
            said: None,
            wrong: Wrong::Unsupported(json!(prefix)),
            message: "NGINX matches the value of a header exactly or by a regular expression".to_owned(),
            fix: "use exact, or regex with ^ and the prefix".to_owned(),
        });
    }
    problems
}

impl TrafficRouter for Nginx<'_> {
    fn plane(&self) -> &'static Plane {
        &PLANE
    }

    fn kind(&self) -> &'static RouteKind {
        &INGRESS
    }

    fn objects(&self) -> Vec<ObjectRef> {
        self.stable_ingresses()
            .flat_map(|name| [self.object(name), self.canary_of(name)])
            .collect()
    }

    fn check_spec(&self) -> Vec<Problem> {
        self.check_annotations()
    }

    fn check_header_route(&self, route: &SetHeaderRoute, earlier: &[&SetHeaderRoute]) -> Vec<Problem> {
        check_header_route(route, earlier)
    }

    fn check_objects(&self, live: &LiveObjects) -> Vec<Problem> {
        self.check_ingresses(live)
    }

    fn render(&self, intent: &TrafficIntent, live: &LiveObjects) -> Result<Vec<RouteWrite>, RouterError> {
        let mut writes = Vec::new();
        for ingress in self.stable_ingresses() {
            let stable = live
                .get(&self.object(ingress))
                .ok_or_else(|| RouterError::Missing {
                    kind: "ingress",
                    name: ingress.to_owned(),
                })?;
            let annotations = with_record(self.annotations(stable, intent));
            let spec = spec_of_clone(ingress, stable, &self.subject)?;
            let object = self.canary_of(ingress);
            let name = &object.name;
            let ops = match live.get(&object) {
                None => {
                    let mut body = owned(&INGRESS, &self.subject, name, &spec);
                    body["metadata"]["annotations"] = json!(annotations);
                    vec![RouteOp::Create(body)]
                }
                Some(canary) if !controlled_by(canary, self.subject.uid) => {
                    let error = format!("canary ingress `{name}` is controlled by different object");
                    return Err(RouterError::Unfit(error));
                }
                Some(canary) => self.changes(canary, annotations, &spec, intent),
            };
            // One event tells of all that is written to it.
            let mut event = ops.first().map(|op| words(name, op, intent.weight));
            writes.extend(ops.into_iter().map(|op| RouteWrite {
                object: object.clone(),
                op,
                event: event.take(),
            }));
        }
        Ok(writes)
    }

    fn observe(&self, live: &LiveObjects) -> Seen {
        let shares: Vec<Option<Share>> = self.canaries(live).map(|canary| self.gives(canary?)).collect();
        let keys = self.matching_keys();
        Seen {
            share: Share::join(&shares),
            taken: None,
            matches: self
                .canaries(live)
                .flatten()
                .any(|canary| keys.iter().any(|key| annotation(canary, key).is_some())),
        }
    }

    fn always_matches(&self) -> bool {
        let given = self.given_annotations();
        self.matching_keys().iter().any(|key| given.contains_key(key))
    }
}

/// The event of a write to a canary Ingress.
fn words(name: &str, op: &RouteOp, weight: i32) -> Words {
    match op {
        RouteOp::Create(_) => Words {
            reason: "CreatingCanaryIngress",
            message: format!("Creating canary ingress `{name}` with weight `{weight}`"),
        },
        _ => Words {
            reason: "PatchingCanaryIngress",
            message: format!("Updating Ingress `{name}` to desiredWeight '{weight}'"),
        },
    }
}

fn spec_of_clone(ingress: &str, stable: &Value, subject: &Subject<'_>) -> Result<Value, RouterError> {
    let rules: Vec<Value> = stable
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|rule| clone_rule(rule, subject.stable_service, subject.canary_service))
        .collect();
    if rules.is_empty() {
        return Err(RouterError::Unfit(no_backend(ingress, subject.stable_service)));
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

/// No rule of the Ingress uses the stable Service (contract 3.14).
fn no_backend(ingress: &str, service: &str) -> String {
    format!("ingress `{ingress}` has no rules using service {service} backend")
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

fn annotation<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}
