//! Two tables: what upstream was recorded to answer, and our own cases with every violation's path, words and fix.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::{AnalysisTemplateSpec, decode::tolerant};
use tidegate_traffic::{Dialect, ObjectRef, Routes, Wrong, nginx::INGRESS};

use super::violation::{MAX_QUOTED, MAX_VIOLATIONS};
use super::*;
use crate::observed::ServiceView;

/// Cases of the recording that are answered differently on purpose, with the reason.
const DIFFERENT: &[(&str, &str)] = &[];

/// The Rollout that the recording varies: one field of it, or its strategy.
fn recorded_rollout(create: &Value) -> Value {
    let mut spec = json!({
        "replicas": 1,
        "selector": { "matchLabels": { "app": "web" } },
        "template": {
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": "nginx:1.19-alpine" }] },
        },
        "strategy": create.get("strategy").cloned().unwrap_or_else(|| json!({ "canary": {} })),
    });
    for (field, value) in create
        .get("spec")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        spec[field] = value.clone();
    }
    json!({ "metadata": { "name": "web", "namespace": "rec" }, "spec": spec })
}

/// The condition's text that the status ended with; `None` if it had no such condition.
type Recorded = (String, Value, Option<String>);

fn recorded() -> Vec<Recorded> {
    let mut cases: Vec<Recorded> = Vec::new();
    for line in include_str!("../../../testdata/recordings/invalid-specs.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let action = line["action"].as_str().unwrap_or_default();
        if let Some(name) = action.strip_prefix("invalid: ") {
            cases.push((name.to_owned(), Value::Null, None));
        }
        let Some(case) = cases.last_mut() else { continue };
        if action == "create" {
            case.1 = line.clone();
        }
        let conditions = line["status"]["conditions"].as_array().into_iter().flatten();
        if let Some(condition) = conditions
            .into_iter()
            .find(|condition| condition["type"] == "InvalidSpec")
        {
            case.2 = condition["message"].as_str().map(str::to_owned);
        }
    }
    cases
}

#[test]
fn the_condition_says_what_upstream_was_recorded_to_say() {
    let cases = recorded();
    assert_eq!(cases.len(), 27);
    for (name, create, recorded) in cases {
        let seen = Observed {
            rollout: tolerant(recorded_rollout(&create)).0,
            ..Observed::default()
        };
        let violations = validate(&seen, seen.rollout.spec.template.as_ref())
            .err()
            .unwrap_or_default();
        let first = violations.first().map(|first| first.condition_text("web"));
        if create["answer"] == 201 {
            let different = DIFFERENT.iter().any(|(case, _)| *case == name);
            assert_eq!(
                first == recorded,
                !different,
                "{name}: {first:?} instead of {recorded:?}"
            );
        } else {
            assert!(first.is_some(), "{name}: the API server refuses it");
        }
    }
}

/// The objects that the cases may refer to.
struct World {
    services: BTreeMap<String, ServiceView>,
    routes: Routes,
    templates: BTreeMap<TemplateKey, Arc<AnalysisTemplateSpec>>,
}

impl World {
    fn read(world: &Value) -> Self {
        let entries = |key: &str| world[key].as_object().cloned().unwrap_or_default().into_iter();
        let service = |(name, value): (String, Value)| {
            let selector = serde_json::from_value(value["selector"].clone()).unwrap();
            let managed_by = value["managedBy"].as_str().map(str::to_owned);
            (
                name.clone(),
                ServiceView {
                    name,
                    selector,
                    managed_by,
                    ..ServiceView::default()
                },
            )
        };
        let template = |cluster: bool| {
            move |(name, spec): (String, Value)| {
                (
                    TemplateKey { cluster, name },
                    Arc::new(serde_json::from_value(spec).unwrap()),
                )
            }
        };
        Self {
            services: entries("services").map(service).collect(),
            routes: Routes {
                live: entries("ingresses")
                    .map(|(name, value)| (ObjectRef::new(&INGRESS, "shop", name), Arc::new(value)))
                    .collect(),
                ..Routes::default()
            },
            templates: entries("templates")
                .map(template(false))
                .chain(entries("clusterTemplates").map(template(true)))
                .collect(),
        }
    }
}

/// Each case is a JSON merge patch over the base Rollout; `expected.txt` has what it must lead to.
#[test]
fn every_rule_with_path_words_and_fix() {
    let table: Value = serde_json::from_str(include_str!("../../testdata/validate/cases.json")).unwrap();
    let world = World::read(&table["world"]);
    let mut lines = String::new();
    for case in table["cases"].as_array().unwrap() {
        let mut rollout = table["base"].clone();
        merge(&mut rollout, &json!({ "spec": case["spec"] }));
        let workload = case.get("workload");
        let rollout = tolerant(rollout).0;
        let references = References {
            services: &world.services,
            routes: &world.routes,
            templates: &world.templates,
            complete: case.get("complete") != Some(&json!(false)),
        };
        let mut violations = validate_spec(&rollout, workload);
        if violations.is_empty() {
            violations = validate_references(&rollout, workload, &references);
        }
        writeln!(lines, "# {}", case["name"].as_str().unwrap()).unwrap();
        if violations.is_empty() {
            lines.push_str("accepted\n");
        }
        for violation in violations {
            assert!(!violation.fix.is_empty(), "{violation} has no fix");
            writeln!(lines, "{}\n  {violation}\n  -> {}", violation.path, violation.fix).unwrap();
        }
        lines.push('\n');
    }
    let expected = include_str!("../../testdata/validate/expected.txt");
    let different = lines
        .lines()
        .zip(expected.lines())
        .find(|(is, should)| is != should);
    assert!(lines == expected, "{different:?}; all that is said now:\n{lines}");
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn a_spec_of_nothing_but_mistakes_is_cut_short() {
    let mut rollout = recorded_rollout(&json!({}));
    rollout["spec"]["strategy"] = json!({ "canary": { "steps": vec![json!({}); 10_000] } });
    assert_eq!(validate_spec(&tolerant(rollout).0, None).len(), MAX_VIOLATIONS);
}

/// Each says the whole list, as upstream does: there is one of it, and nothing is quoted beyond the limit.
#[test]
fn thousands_of_names_that_nothing_has_cost_no_more_than_their_text() {
    let names: Vec<String> = (0..3_000).map(|number| format!("ingress-{number}")).collect();
    let mut rollout = recorded_rollout(&json!({}));
    rollout["spec"]["strategy"] = json!({ "canary": {
        "stableService": "stable", "canaryService": "canary",
        "trafficRouting": { "nginx": { "stableIngresses": names } },
    } });
    let rollout = tolerant::<Rollout>(rollout).0;
    let routers = tidegate_traffic::routers(&rollout, &Dialect::default());
    let problems: Vec<_> = routers
        .iter()
        .flat_map(|router| router.check_objects(&BTreeMap::new()))
        .collect();
    let values = problems.iter().map(|problem| match &problem.wrong {
        Wrong::Missing(value) => Arc::as_ptr(value),
        other => panic!("{other:?}"),
    });
    assert_eq!(values.collect::<BTreeSet<_>>().len(), 1);
    let nothing = Observed::default();
    let template = rollout.spec.template.as_ref();
    let said = validate_references(&rollout, template, &References::from(&nothing));
    assert_eq!(said.len(), MAX_VIOLATIONS);
    let longest = said.iter().map(|violation| violation.to_string().len()).max();
    assert!(longest < Some(2 * MAX_QUOTED), "{longest:?}");
}

#[test]
fn paths_are_json_pointers_too() {
    let path = FieldPath::of("spec.strategy.canary.steps")
        .index(3)
        .child("setWeight");
    assert_eq!(path.to_string(), "spec.strategy.canary.steps[3].setWeight");
    assert_eq!(path.pointer(), "/spec/strategy/canary/steps/3/setWeight");
}
