//! Which objects a Rollout names.

use std::collections::BTreeSet;

use tidegate_analysis::templates::TemplateKey;
use tidegate_crds::{AnalysisTemplateRef, Rollout, RolloutSpec};
use tidegate_traffic::Dialect;

use crate::object::{Kind, ObjectKey};

/// An object that a Rollout names.
pub(crate) type Ref = (Kind, ObjectKey);

/// The objects that `rollout` names, in the versions that are spoken, but for analysis templates, which name others in turn.
pub(crate) fn of(rollout: &Rollout, dialect: &Dialect) -> BTreeSet<Ref> {
    let namespace = rollout.metadata.namespace.as_str();
    let key = |name: &str| ObjectKey::new(namespace, name);
    let mut refs: BTreeSet<Ref> = services(&rollout.spec)
        .into_iter()
        .map(|name| (Kind::Service, key(name)))
        .collect();
    let routers = tidegate_traffic::routers(rollout, dialect);
    let routes = routers.iter().flat_map(|router| router.objects());
    refs.extend(routes.map(|object| (Kind::Route(object.kind), ObjectKey::from(object))));
    if let Some(reference) = &rollout.spec.workload_ref {
        let kind = reference.kind.as_deref().and_then(Kind::of_workload);
        if let (Some(kind), Some(name)) = (kind, reference.name.as_deref()) {
            refs.insert((kind, key(name)));
        }
    }
    refs
}

/// Names of the Services that a Rollout points at its versions.
pub(crate) fn services(spec: &RolloutSpec) -> BTreeSet<&str> {
    let Some(strategy) = &spec.strategy else {
        return BTreeSet::new();
    };
    let mut names: Vec<Option<&str>> = Vec::new();
    if let Some(canary) = &strategy.canary {
        names.push(canary.stable_service.as_deref());
        names.push(canary.canary_service.as_deref());
        if let Some(ping_pong) = &canary.ping_pong {
            names.push(Some(&ping_pong.ping_service));
            names.push(Some(&ping_pong.pong_service));
        }
    }
    if let Some(blue_green) = &strategy.blue_green {
        names.push(Some(&blue_green.active_service));
        names.push(blue_green.preview_service.as_deref());
    }
    names
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        .collect()
}

/// The analysis templates that a Rollout names itself.
pub(crate) fn templates(spec: &RolloutSpec) -> BTreeSet<TemplateKey> {
    let Some(strategy) = &spec.strategy else {
        return BTreeSet::new();
    };
    let mut names = BTreeSet::new();
    let mut add = |refs: &[AnalysisTemplateRef]| names.extend(refs.iter().map(TemplateKey::from));
    if let Some(canary) = &strategy.canary {
        if let Some(background) = &canary.analysis {
            add(&background.templates);
        }
        for step in &canary.steps {
            if let Some(analysis) = &step.analysis {
                add(&analysis.templates);
            }
            if let Some(experiment) = &step.experiment {
                for analysis in &experiment.analyses {
                    add(&[AnalysisTemplateRef {
                        template_name: analysis.template_name.clone(),
                        cluster_scope: analysis.cluster_scope,
                    }]);
                }
            }
        }
    }
    if let Some(blue_green) = &strategy.blue_green {
        for analysis in [
            &blue_green.pre_promotion_analysis,
            &blue_green.post_promotion_analysis,
        ]
        .into_iter()
        .flatten()
        {
            add(&analysis.templates);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(spec: &serde_json::Value) -> Rollout {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn everything_that_is_named() {
        let rollout = rollout(&json!({
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "old"},
            "strategy": {"canary": {
                "stableService": "web", "canaryService": "web-canary",
                "trafficRouting": {"nginx": {"stableIngress": "web"}},
                "analysis": {"templates": [{"templateName": "background"}]},
                "steps": [
                    {"analysis": {"templates": [{"templateName": "step", "clusterScope": true}]}},
                    {"experiment": {"templates": [], "analyses": [{"name": "a", "templateName": "experiment"}]}},
                ],
            }},
        }));
        let key = |name: &str| ObjectKey::new("shop", name);
        assert_eq!(
            of(&rollout, &Dialect::default()),
            BTreeSet::from([
                (Kind::Service, key("web")),
                (Kind::Service, key("web-canary")),
                (Kind::INGRESS, key("web")),
                (Kind::INGRESS, key("web-web-canary")),
                (Kind::Deployment, key("old")),
            ])
        );
        assert_eq!(
            templates(&rollout.spec),
            BTreeSet::from([
                TemplateKey {
                    cluster: false,
                    name: "background".to_owned()
                },
                TemplateKey {
                    cluster: true,
                    name: "step".to_owned()
                },
                TemplateKey {
                    cluster: false,
                    name: "experiment".to_owned()
                },
            ])
        );
    }

    #[test]
    fn a_blue_green_one() {
        let rollout = rollout(&json!({"strategy": {"blueGreen": {
            "activeService": "active", "previewService": "preview",
            "prePromotionAnalysis": {"templates": [{"templateName": "pre"}]},
        }}}));
        assert_eq!(services(&rollout.spec), BTreeSet::from(["active", "preview"]));
        assert_eq!(
            templates(&rollout.spec),
            BTreeSet::from([TemplateKey {
                cluster: false,
                name: "pre".to_owned()
            }])
        );
    }
}
