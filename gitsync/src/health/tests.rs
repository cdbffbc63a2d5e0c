use serde_json::{Value, json};
use tidegate_crds::DeliverySpec;

use super::*;
use crate::spec::Spec;

fn of(checks: &Checks, id: &str, object: &Value) -> Health {
    health_by(checks, &Checks::budget(), &ObjectId::parse(id).unwrap(), object)
}

fn progressing(words: &str) -> Health {
    Health::Progressing(words.to_owned())
}

fn failed(words: &str) -> Health {
    Health::Failed(words.to_owned())
}

/// An object of generation 2 with one condition.
fn with_condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"metadata": {"generation": 2}, "status": {"conditions": [
        {"type": "Other", "status": "True"},
        {"type": kind, "status": status, "reason": "Because", "message": message},
    ]}})
}

fn do_as(checks: &Checks, table: impl IntoIterator<Item = (&'static str, Value, Health)>) {
    for (id, object, expected) in table {
        assert_eq!(of(checks, id, &object), expected, "{id} {object}");
    }
}

#[test]
fn how_a_deployment_does() {
    let deployment = "apps/v1/Deployment/a/a";
    let status = |updated: i64, all: i64, available: i64| {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {
            "observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available}})
    };
    do_as(
        &Checks::default(),
        [
            (deployment, status(3, 3, 3), Health::Current),
            (
                deployment,
                status(1, 3, 3),
                progressing("1 of 3 pods are updated"),
            ),
            (
                deployment,
                status(3, 4, 3),
                progressing("1 old pods are still there"),
            ),
            (
                deployment,
                status(3, 3, 2),
                progressing("2 of 3 pods are available"),
            ),
            (
                deployment,
                json!({"spec": {}}),
                progressing("0 of 1 pods are updated"),
            ),
            (
                deployment,
                json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}),
                progressing("has not been seen by its controller yet"),
            ),
            (
                deployment,
                json!({"status": {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}}),
                failed("timed out"),
            ),
        ],
    );
}

#[test]
fn how_the_other_usual_kinds_do() {
    let job = "batch/v1/Job/a/a";
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    do_as(
        &Checks::default(),
        [
            (job, json!({}), progressing("has not ended yet")),
            (job, json!({"spec": {"suspend": true}}), Health::Current),
            (
                job,
                with_condition("Failed", "True", "too often"),
                failed("Because: too often"),
            ),
            (job, with_condition("Complete", "True", ""), Health::Current),
            ("/v1/PersistentVolumeClaim/a/a", phase("Bound"), Health::Current),
            (
                "/v1/PersistentVolumeClaim/a/a",
                phase("Pending"),
                progressing("is Pending"),
            ),
            ("/v1/PersistentVolumeClaim/a/a", phase("Lost"), failed("is Lost")),
            (
                "argoproj.io/v1alpha1/AnalysisRun/a/a",
                phase("Running"),
                progressing("is Running"),
            ),
            (
                "argoproj.io/v1alpha1/AnalysisRun/a/a",
                phase("Inconclusive"),
                failed("is Inconclusive"),
            ),
            (
                "argoproj.io/v1alpha1/Experiment/a/a",
                phase("Successful"),
                Health::Current,
            ),
            (
                "argoproj.io/v1alpha1/Workflow/a/a",
                phase("Error"),
                failed("is Error"),
            ),
            (
                "argoproj.io/v1alpha1/Workflow/a/a",
                phase("Succeeded"),
                Health::Current,
            ),
            (
                "apiregistration.k8s.io/v1/APIService//v1.a",
                with_condition("Available", "False", "no endpoints"),
                progressing("no endpoints"),
            ),
            (
                "bitnami.com/v1alpha1/SealedSecret/a/a",
                json!({}),
                progressing("is not Synced yet"),
            ),
            (
                "bitnami.com/v1alpha1/SealedSecret/a/a",
                with_condition("Synced", "True", ""),
                Health::Current,
            ),
            (
                "bitnami.com/v1alpha1/SealedSecret/a/a",
                with_condition("Synced", "False", "no key could decrypt secret"),
                progressing("no key could decrypt secret"),
            ),
        ],
    );
}

#[test]
fn how_custom_kinds_do() {
    let certificate = "cert-manager.io/v1/Certificate/a/a";
    let stale = json!({"metadata": {"generation": 3}, "status": {"conditions": [
        {"type": "Ready", "status": "True", "observedGeneration": 2}]}});
    let table = [
        ("example.com/v1/Thing/a/a", json!({}), Health::Current),
        (
            "example.com/v1/Thing/a/a",
            with_condition("Stalled", "True", "no quota"),
            failed("no quota"),
        ),
        (
            "example.com/v1/Thing/a/a",
            with_condition("Reconciling", "True", "making it"),
            progressing("making it"),
        ),
        (
            "example.com/v1/Thing/a/a",
            json!({"metadata": {"deletionTimestamp": "x"}}),
            progressing("is being deleted"),
        ),
        (
            "example.com/v1/Thing/a/a",
            json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "2"}}),
            progressing("has not been seen by its controller yet"),
        ),
        (
            "example.com/v1/Thing/a/a",
            json!({"metadata": {"generation": 3}, "status": {"observedGeneration": "6f7c4b"}}),
            Health::Current,
        ),
        (certificate, json!({}), progressing("is not Ready yet")),
        (certificate, with_condition("Ready", "True", ""), Health::Current),
        (
            certificate,
            stale,
            progressing("has not been seen by its controller yet"),
        ),
        (
            "external-secrets.io/v1/ExternalSecret/a/a",
            with_condition("Ready", "False", "no such key"),
            progressing("no such key"),
        ),
        (
            "serving.knative.dev/v1/Service/a/a",
            with_condition("Ready", "Unknown", "waits for a revision"),
            progressing("waits for a revision"),
        ),
        (
            "tidegate.io/v1alpha1/Delivery/a/a",
            json!({}),
            progressing("is not Ready yet"),
        ),
        (
            "tidegate.io/v1alpha1/Delivery/a/a",
            with_condition("Stalled", "True", "spec.interval"),
            failed("spec.interval"),
        ),
    ];
    for (id, object, expected) in table {
        assert_eq!(of(&Checks::default(), id, &object), expected, "{id} {object}");
    }
}

#[test]
fn how_the_kinds_of_gateway_api_do() {
    let route = |parents: Value| {
        let object = json!({"metadata": {"generation": 2}, "spec": {"parentRefs": [{"name": "web"}]}, "status": {"parents": parents}});
        of(
            &Checks::default(),
            "gateway.networking.k8s.io/v1/HTTPRoute/a/a",
            &object,
        )
    };
    let parent = |accepted: &str, resolved: &str, generation: i64| {
        json!([{"parentRef": {"name": "web"}, "conditions": [
            {"type": "Accepted", "status": accepted, "message": "no listener", "observedGeneration": generation},
            {"type": "ResolvedRefs", "status": resolved, "message": "no Service", "observedGeneration": generation}]}])
    };
    let table = [
        (json!([]), progressing("no Gateway has taken it yet")),
        (parent("True", "True", 2), Health::Current),
        (parent("False", "True", 2), progressing("no listener")),
        (parent("True", "False", 2), progressing("no Service")),
        (
            parent("True", "True", 1),
            progressing("has not been seen by its controller yet"),
        ),
    ];
    for (parents, expected) in table {
        assert_eq!(route(parents.clone()), expected, "{parents}");
    }
    let gateway = json!({"status": {"conditions": [{"type": "Accepted", "status": "True"}, {"type": "Programmed", "status": "False", "message": "no address"}]}});
    assert_eq!(
        of(
            &Checks::default(),
            "gateway.networking.k8s.io/v1/Gateway/a/a",
            &gateway
        ),
        progressing("no address")
    );
}

#[test]
fn an_object_may_say_that_its_health_does_not_count() {
    let mut object = with_condition("Ready", "False", "no");
    object["metadata"]["annotations"] = json!({IGNORE_ANNOTATION: "true"});
    let id = "cert-manager.io/v1/Certificate/a/a";
    assert_eq!(of(&Checks::default(), id, &object), Health::Current);
    object["metadata"]["annotations"] = json!({IGNORE_ANNOTATION: "false"});
    assert_eq!(of(&Checks::default(), id, &object), progressing("no"));
}

fn read(checks: &Value) -> Result<Checks, String> {
    let spec = json!({"source": {"git": {"url": "https://git.example.com/a/b"}}, "healthChecks": checks});
    let spec: DeliverySpec = serde_json::from_value(spec).unwrap();
    Spec::read(&spec)
        .map(|spec| spec.health)
        .map_err(|error| error.to_string())
}

/// Checks as Flux has them, of two kinds.
fn checks_of_flux() -> Checks {
    read(&json!([
        {
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "failed": "status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'False')",
            "current": "status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'True')",
        },
        {
            "apiVersion": "example.com/v1",
            "kind": "Thing",
            "inProgress": "status.phase == 'Making' || status.wait",
            "failed": "status.phase in ['Broken', 'Making']",
            "current": "status.phase == 'Made'",
        },
    ]))
    .unwrap()
}

#[test]
fn expressions_are_asked_in_the_order_of_flux() {
    let thing = "example.com/v2/Thing/a/a";
    let phase =
        |phase: &str| json!({"metadata": {"generation": 2}, "status": {"phase": phase, "wait": false}});
    do_as(
        &checks_of_flux(),
        [
            (
                thing,
                phase("Making"),
                progressing("inProgress of the health check of Thing is true"),
            ),
            (
                thing,
                phase("Broken"),
                failed("failed of the health check of Thing is true"),
            ),
            (thing, phase("Made"), Health::Current),
            (
                thing,
                phase("Odd"),
                progressing("current of the health check of Thing is not true"),
            ),
            (
                thing,
                json!({}),
                progressing("inProgress of the health check of Thing: the object has no status"),
            ),
            (
                thing,
                json!({"status": {"phase": "Made"}}),
                progressing("inProgress of the health check of Thing: there is no wait"),
            ),
            (
                "bitnami.com/v1alpha1/SealedSecret/a/a",
                with_condition("Synced", "False", ""),
                failed("failed of the health check of SealedSecret is true"),
            ),
            (
                "bitnami.com/v1alpha1/SealedSecret/a/a",
                with_condition("Synced", "True", ""),
                Health::Current,
            ),
            // all other kinds as before
            (
                "cert-manager.io/v1/Certificate/a/a",
                json!({}),
                progressing("is not Ready yet"),
            ),
        ],
    );
}

#[test]
fn what_its_controller_has_not_seen_is_not_asked() {
    let thing = "example.com/v2/Thing/a/a";
    let observed = |observed: Value| {
        json!({"metadata": {"generation": 2}, "status": {
            "phase": "Made", "wait": false, "observedGeneration": observed,
        }})
    };
    do_as(
        &checks_of_flux(),
        [
            (thing, observed(json!(2)), Health::Current),
            (thing, observed(json!("2")), Health::Current),
            (
                thing,
                observed(json!("1")),
                progressing("has not been seen by its controller yet"),
            ),
        ],
    );
}

#[test]
fn a_bad_check_names_field_place_and_fix() {
    let good = json!({"apiVersion": "example.com/v1", "kind": "Thing", "current": "true"});
    let with = |field: &str, value: &str| {
        let mut check = good.clone();
        check[field] = json!(value);
        json!([check])
    };
    let table = [
        (with("current", " "), "spec.healthChecks[0].current: is needed"),
        (with("kind", ""), "spec.healthChecks[0].kind: is needed"),
        (
            with("failed", "status.phase = 'x'"),
            "spec.healthChecks[0].failed: at character 14: `=` compares nothing: write `==`",
        ),
        (
            with("inProgress", "(true"),
            "spec.healthChecks[0].inProgress: at character 6: `)` is missing before the end",
        ),
        (
            json!([good, good]),
            "spec.healthChecks[1].kind: Thing has an entry already: make one of both",
        ),
        (
            json!(vec![good.clone(); 21]),
            "spec.healthChecks: has 21 entries: at most 20 are taken",
        ),
    ];
    for (checks, expected) in table {
        assert_eq!(read(&checks).unwrap_err(), expected, "{checks}");
    }
}
