//! A look at rest asks validation nothing; any other version of anything that it reads does.

use serde_json::json;
use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::{AnalysisTemplateSpec, Rollout};

use tidegate_traffic::{ObjectRef, Routes, nginx::INGRESS};

use super::*;
use crate::observed::{ServiceView, Workload};

fn seen() -> Observed {
    let rollout: Rollout = serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7" },
        "spec": {
            "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "strategy": { "canary": { "steps": [{ "analysis": { "templates": [{ "templateName": "rate" }] } }] } },
        },
    }))
    .unwrap();
    let rate = json!({ "metrics": [{ "name": "rate", "provider": { "web": { "url": "http://metrics" } } }] });
    let key = TemplateKey {
        cluster: false,
        name: "rate".to_owned(),
    };
    let template = json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "web", "image": "web:v1" }] },
    });
    let service = ServiceView {
        name: "web".to_owned(),
        uid: "s1".to_owned(),
        resource_version: "1".to_owned(),
        ..ServiceView::default()
    };
    Observed {
        rollout,
        workload: Some(Workload {
            uid: "d1".to_owned(),
            resource_version: "3".to_owned(),
            template: Arc::new(template),
            ..Workload::default()
        }),
        services: [("web".to_owned(), service)].into(),
        routes: Routes {
            live: [(web(), ingress("4"))].into(),
            ..Routes::default()
        },
        templates: [(key, Arc::new(serde_json::from_value(rate).unwrap()))].into(),
        ..Observed::default()
    }
}

fn web() -> ObjectRef {
    ObjectRef::new(&INGRESS, "shop", "web")
}

fn ingress(version: &str) -> Arc<Value> {
    Arc::new(json!({ "metadata": { "name": "web", "uid": "i1", "resourceVersion": version } }))
}

/// A change of what is observed, and what it is.
type Named = (&'static str, fn(&mut Observed));

#[test]
fn what_was_said_counts_for_the_versions_that_it_was_said_of() {
    let changes: [Named; 12] = [
        ("the Rollout", |seen| {
            seen.rollout.metadata.resource_version = "8".to_owned();
        }),
        ("a Rollout of the same name", |seen| {
            seen.rollout.metadata.uid = "u2".to_owned();
        }),
        ("the workload", |seen| {
            seen.workload.as_mut().unwrap().resource_version = "4".to_owned();
        }),
        ("no workload", |seen| seen.workload = None),
        ("a Service", |seen| {
            seen.services.get_mut("web").unwrap().resource_version = "2".to_owned();
        }),
        ("another Service", |seen| {
            let service = seen.services["web"].clone();
            seen.services.insert("api".to_owned(), service);
        }),
        ("no Service", |seen| seen.services.clear()),
        ("an Ingress", |seen| {
            seen.routes.live.insert(web(), ingress("5"));
        }),
        ("an Ingress without a version", |seen| {
            seen.routes.live.insert(web(), ingress(""));
        }),
        ("no Ingress", |seen| seen.routes.live.clear()),
        ("a template", |seen| {
            // Its text is the same: that another version came is all that is asked.
            for template in seen.templates.values_mut() {
                *template = Arc::new(AnalysisTemplateSpec::clone(template));
            }
        }),
        ("no template", |seen| seen.templates.clear()),
    ];
    let before = seen();
    let known = Checked::latest(None, &before);
    assert_eq!(known.violations, []);
    for (what, change) in changes {
        let mut seen = before.clone();
        assert!(
            Arc::ptr_eq(&known, &Checked::latest(Some(&known), &seen)),
            "{what}: nothing changed"
        );
        change(&mut seen);
        assert!(
            !Arc::ptr_eq(&known, &Checked::latest(Some(&known), &seen)),
            "{what}"
        );
    }
}

/// What a look at rest does change: pods, runs, routes that took effect.
#[test]
fn what_validation_does_not_read_leaves_what_was_said() {
    let mut seen = seen();
    let known = Checked::latest(None, &seen);
    seen.replica_sets.push(crate::observed::ReplicaSetView::default());
    seen.routed_since
        .insert("Service/web".to_owned(), jiff::Timestamp::MAX);
    assert!(Arc::ptr_eq(&known, &Checked::latest(Some(&known), &seen)));
}

#[test]
fn what_was_said_of_another_version_changes_no_plan() {
    let mut seen = seen();
    let settings = crate::Settings::default();
    let now = jiff::Timestamp::UNIX_EPOCH;
    seen.checked = Some(Checked::latest(None, &seen));
    seen.rollout.metadata.resource_version = "8".to_owned();
    seen.rollout.spec.replicas = Some(-1);
    let stale = crate::plan(&seen, now, &settings);
    seen.checked = None;
    assert_eq!(stale, crate::plan(&seen, now, &settings));
    assert!(stale.actions.is_empty(), "{:?}", stale.actions);
}
