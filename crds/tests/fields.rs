//! The generated CRDs against upstream's of August 2026: every path, type, required flag and rule of
//! `testdata/fields/`, and the columns and subresources of its header lines.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot read its data has failed"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use tidegate_crds::schema::definitions;

/// The definitions that upstream has too.
fn upstreams() -> impl Iterator<Item = (&'static str, Value)> {
    let theirs = |definition: &Value| definition["spec"]["group"] == "argoproj.io";
    definitions()
        .into_iter()
        .filter(move |(_, definition)| theirs(definition))
}

/// What upstream's list says of a field, or what ours would.
type Fields = BTreeMap<String, (String, bool, String)>;

fn upstream(kind: &str) -> (Vec<String>, Fields) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/fields/{kind}.tsv"));
    let text = fs::read_to_string(path).unwrap();
    let (header, rows): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
    let fields = rows
        .into_iter()
        .skip(1)
        .map(|row| {
            let cells: Vec<&str> = row.split('\t').collect();
            let [path, kind, required, rules] = cells[..] else {
                panic!("{row}")
            };
            (
                path.to_owned(),
                (kind.to_owned(), required == "required", rules.to_owned()),
            )
        })
        .collect();
    (header.into_iter().map(str::to_owned).collect(), fields)
}

/// Our schema in the form of upstream's list.
fn flatten(schema: &Value, path: &str, required: bool, out: &mut Fields) {
    let kind = if schema["x-kubernetes-int-or-string"] == true {
        "int-or-string"
    } else if schema["type"].is_null() && schema["x-kubernetes-preserve-unknown-fields"] == true {
        "any"
    } else {
        match schema["type"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} has no type: {schema}"))
        {
            "array" => "list",
            "object" if schema["additionalProperties"].is_object() => "map",
            other => other,
        }
    };
    let mut rules = Vec::new();
    if let Some(format) = schema["format"].as_str() {
        rules.push(format!("format={format}"));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| format!("'{}'", value.as_str().unwrap()))
            .collect();
        rules.push(format!("enum=[{}]", values.join(", ")));
    }
    if let Some(default) = schema["default"].as_str() {
        rules.push(format!("default={default}"));
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        rules.push("keeps-unknown".to_owned());
    }
    if !path.is_empty() {
        out.insert(path.to_owned(), (kind.to_owned(), required, rules.join(" ")));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|n| n == name));
        flatten(property, &format!("{path}.{name}"), required, out);
    }
    if schema["items"].is_object() {
        flatten(&schema["items"], &format!("{path}[]"), false, out);
    }
    if schema["additionalProperties"].is_object() {
        flatten(
            &schema["additionalProperties"],
            &format!("{path}{{}}"),
            false,
            out,
        );
    }
}

#[test]
fn every_field_is_upstreams() {
    for (plural, definition) in upstreams() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let (_, theirs) = upstream(kind);
        let mut ours = Fields::new();
        flatten(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            "",
            false,
            &mut ours,
        );
        // The list stops at Kubernetes' own types: what is below, and the rules that they have, is theirs.
        let foreign: Vec<String> = theirs
            .iter()
            .filter(|(_, field)| field.2 == "(Kubernetes type)")
            .map(|(path, _)| path.clone())
            .collect();
        ours.retain(|path, _| !foreign.iter().any(|outer| path.starts_with(&format!("{outer}."))));
        for path in &foreign {
            if let Some(field) = ours.get_mut(path) {
                field.2 = "(Kubernetes type)".to_owned();
            }
        }
        let differences: Vec<String> = theirs
            .keys()
            .chain(ours.keys())
            .filter(|path| theirs.get(*path) != ours.get(*path))
            .map(|path| {
                format!(
                    "{path}: upstream {:?}, ours {:?}",
                    theirs.get(path),
                    ours.get(path)
                )
            })
            .collect();
        assert!(
            theirs.len() > 100 || kind == "Experiment",
            "the list of {kind} is whole"
        );
        assert_eq!(differences, Vec::<String>::new(), "{plural}");
    }
}

#[test]
fn names_columns_and_subresources_are_upstreams() {
    for (plural, definition) in upstreams() {
        let spec = &definition["spec"];
        let version = &spec["versions"][0];
        let subresources = match version["subresources"].as_object() {
            None => "{}".to_owned(),
            Some(subresources) => {
                let scale = &subresources["scale"];
                let path = |name: &str| format!("'{name}': '{}'", scale[name].as_str().unwrap());
                assert_eq!(subresources["status"], serde_json::json!({}));
                assert_eq!(subresources.len(), 2);
                format!(
                    "{{'scale': {{{}, {}, {}}}, 'status': {{}}}}",
                    path("labelSelectorPath"),
                    path("specReplicasPath"),
                    path("statusReplicasPath")
                )
            }
        };
        let kind = spec["names"]["kind"].as_str().unwrap();
        let mut header = vec![format!(
            "# kind {kind} plural {plural} short {} scope {} subresources {subresources}",
            spec["names"]["shortNames"][0].as_str().unwrap(),
            spec["scope"].as_str().unwrap(),
        )];
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            let text = |name: &str| column[name].as_str().unwrap();
            assert_eq!(column.as_object().unwrap().len(), 3, "no priority: 0");
            header.push(format!(
                "# column {} {} {} priority 0",
                text("name"),
                text("jsonPath"),
                text("type")
            ));
        }
        assert_eq!(header, upstream(kind).0);
    }
}

/// F2.
#[test]
fn the_selector_of_a_rollout_is_immutable() {
    let (_, rollouts) = definitions()
        .into_iter()
        .find(|(plural, _)| *plural == "rollouts")
        .unwrap();
    let properties = &rollouts["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    assert_eq!(
        properties["spec"]["properties"]["selector"]["x-kubernetes-validations"][0]["rule"],
        "self == oldSelf"
    );
}

/// The one default of a pod template that upstream's CRDs write into stored objects.
#[test]
fn ports_of_pods_are_tcp_by_default() {
    let pods = [
        ("rollouts", "/template"),
        ("experiments", "/templates/items/properties/template"),
    ];
    for (plural, template) in pods {
        let (_, definition) = definitions()
            .into_iter()
            .find(|(name, _)| *name == plural)
            .unwrap();
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            let ports = format!(
                "{spec}{template}/properties/spec/properties/{containers}/items/properties/ports/items/properties"
            );
            let protocol = definition
                .pointer(&ports)
                .map(|port| &port["protocol"]["default"]);
            assert_eq!(protocol, Some(&Value::from("TCP")), "{plural} {containers}");
        }
    }
}

/// Kubernetes refuses other keys, and a client-side apply more than 256 KiB.
#[test]
fn schemas_are_structural_and_small() {
    fn check(schema: &Value, path: &str) {
        const KEYS: [&str; 18] = [
            "additionalProperties",
            "anyOf",
            "default",
            "description",
            "enum",
            "format",
            "items",
            "nullable",
            "pattern",
            "properties",
            "required",
            "type",
            "x-kubernetes-int-or-string",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-list-type",
            "x-kubernetes-map-type",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-validations",
        ];
        for (key, _) in schema.as_object().unwrap() {
            assert!(KEYS.contains(&key.as_str()), "{path}: {key}");
        }
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(
            !description.contains("(F") && !description.contains("contract"),
            "{path}: {description}"
        );
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            check(inner, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                check(&schema[key], &format!("{path}[]"));
            }
        }
    }
    for (plural, definition) in upstreams() {
        check(
            &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            plural,
        );
        assert!(definition.to_string().len() < 256 * 1024, "{plural}");
    }
}
