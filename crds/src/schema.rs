//! The CustomResourceDefinitions, made from the types: doc comments become descriptions, and a field is required
//! exactly if it is always written, unless `x-optional` says otherwise (upstream marks a few so by hand).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use crate::template::openapi::pod_spec;
use crate::{
    AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Delivery, Experiment, GoDuration, IntOrString,
    Kind, Rollout, Time, VERSION,
};

/// All CustomResourceDefinitions, by the plural name of their kind.
pub fn definitions() -> Vec<(&'static str, Value)> {
    let age = column("Age", "date", ".metadata.creationTimestamp");
    let status = column("Status", "string", ".status.phase");
    let rollout_columns = json!([
        column("Desired", "integer", ".spec.replicas"),
        column("Current", "integer", ".status.replicas"),
        column("Up-to-date", "integer", ".status.updatedReplicas"),
        column("Available", "integer", ".status.availableReplicas"),
        age,
    ]);
    // Only Rollouts have subresources; the status of the others is written with the object (contract 2.1).
    let rollout_subresources = json!({
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.HPAReplicas",
            "labelSelectorPath": ".status.selector",
        },
    });
    let ready = |field| format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    let delivery_columns = json!([
        column("Ready", "string", &ready("status")),
        column("Reason", "string", &ready("reason")),
        column("Revision", "string", ".status.target.revision"),
        column("Message", "string", &ready("message")),
        age,
    ]);
    vec![
        definition::<AnalysisRun>("ar", &json!([status, age]), None),
        definition::<AnalysisTemplate>("at", &json!([age]), None),
        definition::<ClusterAnalysisTemplate>("cat", &json!([age]), None),
        definition::<Delivery>("dl", &delivery_columns, Some(json!({ "status": {} }))),
        definition::<Experiment>("exp", &json!([status, age]), None),
        definition::<Rollout>("ro", &rollout_columns, Some(rollout_subresources)),
    ]
}

/// A column of `kubectl get`.
fn column(name: &str, kind: &str, path: &str) -> Value {
    json!({ "name": name, "type": kind, "jsonPath": path })
}

/// The definition of one kind.
fn definition<K: Kind + JsonSchema>(
    short_name: &str,
    columns: &Value,
    subresources: Option<Value>,
) -> (&'static str, Value) {
    let mut version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "schema": { "openAPIV3Schema": structural::<K>() },
        "additionalPrinterColumns": columns,
    });
    if let (Some(subresources), Some(version)) = (subresources, version.as_object_mut()) {
        version.insert("subresources".to_owned(), subresources);
    }
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", K::PLURAL, K::GROUP) },
        "spec": {
            "group": K::GROUP,
            "names": {
                "kind": K::KIND,
                "listKind": format!("{}List", K::KIND),
                "plural": K::PLURAL,
                "singular": K::KIND.to_lowercase(),
                "shortNames": [short_name],
            },
            "scope": if K::NAMESPACED { "Namespaced" } else { "Cluster" },
            "versions": [version],
        },
    });
    (K::PLURAL, definition)
}

/// The schema of a kind, in the subset of JSON Schema that Kubernetes takes.
fn structural<K: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().for_serialize().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut schema = settings.into_generator().into_root_schema_for::<K>().to_value();
    simplify(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("required".to_owned(), json!(["spec"]));
        // The API server judges these; a schema may say no more of them.
        if let Some(metadata) = root
            .get_mut("properties")
            .and_then(|properties| properties.get_mut("metadata"))
        {
            *metadata = json!({ "type": "object" });
        }
    }
    schema
}

/// Turns a schema, and all within, into a structural one.
fn simplify(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    schema.remove("title");
    without_null(schema);
    if let Some(nullable) = schema.remove("x-nullable") {
        schema.insert("nullable".to_owned(), nullable);
    }
    // What Rust would read for an absent field is not for the API server to write; what upstream's would write is.
    schema.remove("default");
    if let Some(default) = schema.remove("x-default") {
        schema.insert("default".to_owned(), default);
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = plain(description);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let optional: Vec<String> = properties
            .iter_mut()
            .filter_map(|(name, property)| {
                property
                    .as_object_mut()?
                    .remove("x-optional")
                    .map(|_| name.clone())
            })
            .collect();
        properties.values_mut().for_each(simplify);
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|name| !optional.iter().any(|optional| name == optional));
            if required.is_empty() {
                schema.remove("required");
            }
        }
    }
    for inner in ["items", "additionalProperties"] {
        schema.get_mut(inner).into_iter().for_each(simplify);
    }
}

/// No field of this API may be `null`: takes the alternative `null` of an `Option` away.
fn without_null(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(alternatives)) = schema.get("anyOf")
        && let [Value::Object(only), null] = alternatives.as_slice()
        && null.get("type").is_some_and(|kind| kind == "null")
    {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}

/// A doc comment as plain text: the lines of a paragraph joined, links to types as their names, and without the numbers of
/// rules. They are for whoever reads the code; `kubectl explain` has no links to follow.
fn plain(description: &str) -> String {
    let paragraphs: Vec<String> = description
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    let text = paragraphs.join("\n\n").replace("[`", "`").replace("`]", "`");
    let mut parts = text.split(" (");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        let reference = part.strip_prefix('F').is_some_and(numbered) || part.starts_with("contract ");
        match part.split_once(')') {
            Some((_, rest)) if reference => plain.push_str(rest),
            _ => plain.extend([" (", part]),
        }
    }
    plain
}

/// Schema of a type that is written as text.
macro_rules! text_schema {
    ($name:ty) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}
pub(crate) use text_schema;

text_schema!(GoDuration);

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl JsonSchema for IntOrString {
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string" }], "x-kubernetes-int-or-string": true })
    }
}

/// An object that this API does not look into.
pub(crate) struct Opaque;

impl JsonSchema for Opaque {
    fn schema_name() -> Cow<'static, str> {
        "Opaque".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

/// A pod template: of its metadata only labels and annotations are stored (F3), its spec is Kubernetes' to judge, but for what no Go
/// client can read.
///
/// Of the spec, upstream's schema writes one default into the stored object, the protocol of a port. It is part of
/// the pod template hash (contract 2.4), so the same manifest has to get it here.
pub(crate) struct PodTemplate;

impl JsonSchema for PodTemplate {
    fn schema_name() -> Cow<'static, str> {
        "PodTemplate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        let mut spec = pod_spec();
        if let Some(spec) = spec.as_object_mut() {
            // That there is one is for validation to ask for, and no `null` was taken here before.
            spec.remove("x-nullable");
        }
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            let path = format!("/properties/{containers}/items/properties/ports");
            if let Some(Value::Object(ports)) = spec.pointer_mut(&path) {
                key_ports(ports);
            }
        }
        json_schema!({
            "type": "object",
            "properties": {
                "metadata": { "type": "object", "properties": { "annotations": texts, "labels": texts } },
                "spec": spec,
            },
        })
    }
}

/// Ports are known by their number and protocol.
fn key_ports(ports: &mut Map<String, Value>) {
    ports.extend([
        ("x-kubernetes-list-type".to_owned(), json!("map")),
        (
            "x-kubernetes-list-map-keys".to_owned(),
            json!(["containerPort", "protocol"]),
        ),
    ]);
    let Some(Value::Object(port)) = ports.get_mut("items") else {
        return;
    };
    port.remove("x-nullable");
    port.insert("required".to_owned(), json!(["containerPort"]));
    if let Some(Value::Object(properties)) = port.get_mut("properties") {
        properties.extend([
            (
                "containerPort".to_owned(),
                json!({ "type": "integer", "format": "int32" }),
            ),
            (
                "protocol".to_owned(),
                json!({ "type": "string", "x-default": "TCP" }),
            ),
        ]);
    }
}
