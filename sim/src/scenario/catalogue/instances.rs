//! Two controllers in one cluster, told apart by their instance id (F19).

use serde_json::json;
use tidegate_controller::options::Options;
use tidegate_crds::labels::INSTANCE_ID_LABEL;
use tidegate_engine::Settings;

use super::{Scenario, act, blue_green, healthy, service, template, update};
use crate::actors::user::{Op, When};
use crate::api::kinds;
use crate::scenario::NAMESPACE;

/// Each instance has a blue-green Rollout: neither may touch what the other's has.
pub(super) fn add(all: &mut Vec<Scenario>) {
    let mut scenario = blue_green(
        "blue-green-two-instances",
        &json!({}),
        vec![
            update("v2"),
            act(
                When::PhaseOf("other", "Healthy"),
                Op::MergeOther(
                    &kinds::ROLLOUTS,
                    "other".into(),
                    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "shop:v2"}]}}}}),
                ),
            ),
        ],
        healthy("shop:v2"),
    );
    let mut pods = template("shop:v1");
    pods["metadata"]["labels"] = json!({"app": "other"});
    let mut other = service("other-active");
    other["spec"]["selector"] = json!({"app": "other"});
    scenario.objects.extend([
        other,
        json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "other", "namespace": NAMESPACE, "labels": {INSTANCE_ID_LABEL: "blue"}},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "other"}},
                "template": pods,
                "strategy": {"blueGreen": {"activeService": "other-active"}},
            },
        }),
    ]);
    scenario.further = vec![Options {
        settings: Settings {
            instance_id: Some("blue".to_owned()),
            ..Settings::default()
        },
        ..Options::default()
    }];
    all.push(scenario);
}
