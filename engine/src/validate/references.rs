//! The rules for what a Rollout refers to: workload, Services, analysis templates, route objects (contract 4.2).
//!
//! First all that is missing, then what is wrong with the rest, which is upstream's order.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tidegate_analysis::{
    args, run,
    templates::{self, TemplateKey, TemplatesError},
    validate as metrics,
};
use tidegate_crds::{
    AnalysisRunArgument, AnalysisTemplateRef, AnalysisTemplateSpec, Argument, DryRun, IntOrString,
    MeasurementRetention, Metric, ObjectRef, PodTemplateMetadata, Rollout, RolloutAnalysis, labels,
};
use tidegate_traffic::Routes;

use super::path::FieldPath;
use super::violation::{Found, Json, Violation};
use super::{routers, unsupported};
use crate::observed::{Observed, ServiceView};

/// The objects that a Rollout may refer to, as they are.
#[derive(Clone, Copy, Debug)]
pub struct References<'a> {
    /// Services of the namespace, by name.
    pub services: &'a BTreeMap<String, ServiceView>,
    /// Route objects of the namespace.
    pub routes: &'a Routes,
    /// Analysis templates of the namespace and of the cluster.
    pub templates: &'a BTreeMap<TemplateKey, Arc<AnalysisTemplateSpec>>,
    /// Whether an object that is not here does not exist. False where only some are known, as in `lint`: then what is
    /// not here is not looked at.
    pub complete: bool,
}

impl<'a> From<&'a Observed> for References<'a> {
    fn from(seen: &'a Observed) -> Self {
        Self {
            services: &seen.services,
            routes: &seen.routes,
            templates: &seen.templates,
            complete: true,
        }
    }
}

/// All that is wrong with the references of a Rollout whose spec is valid (contract 4.2).
pub fn validate_references(
    rollout: &Rollout,
    resolved_template: Option<&Value>,
    references: &References<'_>,
) -> Vec<Violation> {
    let mut found = Found::default();
    let template = match &rollout.spec.workload_ref {
        Some(reference) => {
            if resolved_template.is_none() && references.complete {
                workload_missing(reference, &mut found);
            }
            resolved_template
        }
        None => rollout.spec.template.as_ref(),
    };
    let services = services(rollout);
    let analyses = analyses(rollout);
    let mut routes = routers::Objects::of(rollout, references.routes, references.complete);
    if references.complete {
        for service in &services {
            service.check_exists(references, &mut found);
        }
        for analysis in &analyses {
            analysis.check_exist(references, &mut found);
        }
    }
    routes.check_exist(&mut found);
    for service in &services {
        service.check(rollout, template, references, &mut found);
    }
    for analysis in &analyses {
        analysis.check(rollout, references, &mut found);
    }
    routes.check(&mut found);
    found.violations
}

fn workload_missing(reference: &ObjectRef, found: &mut Found) {
    let group = reference
        .api_version
        .as_deref()
        .and_then(|version| version.split_once('/'))
        .map(|(group, _)| group);
    let kind = reference.kind.as_deref().unwrap_or_default().to_lowercase();
    let name = reference.name.as_deref().unwrap_or_default();
    let resource = group.map_or_else(|| format!("{kind}s"), |group| format!("{kind}s.{group}"));
    found.add(
        Violation::invalid(
            FieldPath::of("spec.workloadRef"),
            Json(reference),
            format!("{resource} \"{name}\" not found"),
        )
        .fix(format!(
            "create the {} {name:?}, or correct the reference",
            reference.kind.as_deref().unwrap_or_default()
        )),
    );
}

/// A Service that the Rollout names.
struct Service<'a> {
    path: FieldPath,
    name: &'a str,
    /// Labels that its pods get in this role.
    metadata: Option<&'a PodTemplateMetadata>,
}

/// In upstream's order.
fn services<'a>(rollout: &'a Rollout) -> Vec<Service<'a>> {
    let Some(strategy) = &rollout.spec.strategy else {
        return Vec::new();
    };
    let service = |field: &str, name: Option<&'a str>, metadata| {
        let name = name.filter(|name| !name.is_empty())?;
        Some(Service {
            path: FieldPath::of("spec.strategy").child(field),
            name,
            metadata,
        })
    };
    let named = if let Some(blue_green) = &strategy.blue_green {
        let active = Some(blue_green.active_service.as_str());
        vec![
            service(
                "blueGreen.activeService",
                active,
                blue_green.active_metadata.as_ref(),
            ),
            service(
                "blueGreen.previewService",
                blue_green.preview_service.as_deref(),
                blue_green.preview_metadata.as_ref(),
            ),
        ]
    } else if let Some(canary) = &strategy.canary {
        let stable = canary.stable_service.as_deref();
        vec![
            service("canary.stableService", stable, canary.stable_metadata.as_ref()),
            service(
                "canary.canaryService",
                canary.canary_service.as_deref(),
                canary.canary_metadata.as_ref(),
            ),
        ]
    } else {
        Vec::new()
    };
    named.into_iter().flatten().collect()
}

impl Service<'_> {
    fn check_exists(&self, references: &References<'_>, found: &mut Found) {
        if !references.services.contains_key(self.name) {
            found.add(
                Violation::invalid(
                    self.path.clone(),
                    self.name,
                    format!("service \"{}\" not found", self.name),
                )
                .fix(format!("create the Service {:?}, or correct the name", self.name)),
            );
        }
    }

    fn check(
        &self,
        rollout: &Rollout,
        template: Option<&Value>,
        references: &References<'_>,
        found: &mut Found,
    ) {
        let Some(service) = references.services.get(self.name) else {
            return;
        };
        // without a template there is nothing to compare with
        for (key, value) in service.selector.iter().filter(|_| template.is_some()) {
            let label =
                template.and_then(|template| template.get("metadata")?.get("labels")?.get(key)?.as_str());
            let in_this_role = self.metadata.and_then(|metadata| metadata.labels.get(key));
            if key != labels::POD_TEMPLATE_HASH_LABEL && label != Some(value) && in_this_role != Some(value) {
                found.add(
                    Violation::invalid(
                        self.path.clone(),
                        self.name,
                        format!("Service \"{}\" has unmatch label \"{key}\" in rollout", self.name),
                    )
                    .fix(format!(
                        "give the pod template the label {key}: {value}, or remove it from the selector of the Service"
                    )),
                );
            }
        }
        if let Some(manager) = service
            .managed_by
            .as_ref()
            .filter(|manager| **manager != rollout.metadata.name)
        {
            found.add(
                Violation::invalid(
                    self.path.clone(),
                    self.name,
                    format!("Service \"{}\" is managed by another Rollout", self.name),
                )
                .fix(format!(
                    "use a Service of its own, or remove the annotation {} if Rollout {manager:?} no longer uses it",
                    labels::MANAGED_BY_ANNOTATION
                )),
            );
        }
    }
}

/// An analysis that the Rollout starts.
struct Analysis<'a> {
    /// Of its list of templates.
    path: FieldPath,
    templates: &'a [AnalysisTemplateRef],
    args: &'a [AnalysisRunArgument],
    dry_run: &'a [DryRun],
    retention: &'a [MeasurementRetention],
    /// Whether something waits for its end.
    awaited: bool,
}

/// In upstream's order.
fn analyses<'a>(rollout: &'a Rollout) -> Vec<Analysis<'a>> {
    let Some(strategy) = &rollout.spec.strategy else {
        return Vec::new();
    };
    let root = FieldPath::of("spec.strategy");
    let awaited = |path: FieldPath, analysis: &'a RolloutAnalysis| Analysis {
        path: path.child("templates"),
        templates: &analysis.templates,
        args: &analysis.args,
        dry_run: &analysis.dry_run,
        retention: &analysis.measurement_retention,
        awaited: true,
    };
    let mut analyses = Vec::new();
    if let Some(blue_green) = &strategy.blue_green {
        let both = [
            (
                "blueGreen.prePromotionAnalysis",
                &blue_green.pre_promotion_analysis,
            ),
            (
                "blueGreen.postPromotionAnalysis",
                &blue_green.post_promotion_analysis,
            ),
        ];
        for (field, analysis) in both {
            analyses.extend(
                analysis
                    .iter()
                    .map(|analysis| awaited(root.child(field), analysis)),
            );
        }
    } else if let Some(canary) = &strategy.canary {
        for (index, step) in canary.steps.iter().enumerate() {
            let path = || root.child("canary.steps").index(index).child("analysis");
            analyses.extend(step.analysis.iter().map(|analysis| awaited(path(), analysis)));
        }
        analyses.extend(canary.analysis.iter().map(|analysis| Analysis {
            path: root.child("canary.analysis.templates"),
            templates: &analysis.templates,
            args: &analysis.args,
            dry_run: &analysis.dry_run,
            retention: &analysis.measurement_retention,
            awaited: false,
        }));
    }
    analyses
}

impl Analysis<'_> {
    fn check_exist(&self, references: &References<'_>, found: &mut Found) {
        let missing = templates::gather(self.templates, &|cluster, name| lookup(references, cluster, name));
        for key in match missing {
            Err(TemplatesError::Missing(missing)) => missing,
            _ => return,
        } {
            found.add(
                Violation::invalid(self.path.clone(), key.name.as_str(), format!("{key} not found"))
                    .fix(format!("create the {key}, or correct the name")),
            );
        }
    }

    fn check(&self, rollout: &Rollout, references: &References<'_>, found: &mut Found) {
        let lookup = |cluster: bool, name: &str| lookup(references, cluster, name);
        let (templates, problem) = match templates::gather(self.templates, &lookup) {
            Ok(templates) => (templates, None),
            Err(TemplatesError::Missing(_)) => return,
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let names = || {
            let of = |cluster: bool| templates.iter().filter(move |(key, _)| key.cluster == cluster);
            let names: Vec<&str> = of(false)
                .chain(of(true))
                .map(|(key, _)| key.name.as_str())
                .collect();
            format!("templateNames: [{}]", names.join(" "))
        };
        let refuse = |problem: String| {
            Violation::invalid(self.path.clone(), names().as_str(), problem).fix(
                "give every argument that the templates declare a value, and use templates that go together",
            )
        };
        if let Some(problem) = problem {
            return found.add(refuse(problem));
        }
        let given = args::of_rollout(self.args, rollout, "dummy-stable-hash", "dummy-new-hash");
        let none: &[Argument] = &[];
        let spec = run::run_spec(
            self.templates,
            given.as_deref().unwrap_or(none),
            self.dry_run,
            self.retention,
            &lookup,
        );
        // upstream drops the arguments when one of them does not resolve, and then says what is missing
        let spec = match (spec, given.err()) {
            (Ok(spec), None) => spec,
            (Err(error), _) => return found.add(refuse(error.to_string())),
            (Ok(_), Some(error)) => return found.add(refuse(error.to_string())),
        };
        let values = match args::values(&spec.args, None) {
            Ok(values) => values,
            Err(error) => return found.add(refuse(error.to_string())),
        };
        if spec.metrics.is_empty() {
            return found.add(refuse("no metrics specified".to_owned()));
        }
        for (key, template) in &templates {
            self.check_metrics(&key.name, template, &values, found);
        }
    }

    fn check_metrics(
        &self,
        template: &str,
        spec: &AnalysisTemplateSpec,
        values: &BTreeMap<String, String>,
        found: &mut Found,
    ) {
        let filled: Result<Vec<Metric>, _> = spec
            .metrics
            .iter()
            .map(|metric| args::fill_metric(metric, values))
            .collect();
        let refuse = |problem: String| Violation::invalid(self.path.clone(), template, problem);
        let filled = match filled {
            Ok(filled) => filled,
            Err(error) => {
                let problem = refuse(format!("AnalysisTemplate {template}: {error}"));
                return found.add(problem.fix("declare in the template every argument that its metrics use"));
            }
        };
        for metric in filled
            .iter()
            .filter(|metric| self.awaited && metrics::runs_indefinitely(metric))
        {
            let count = metric
                .count
                .as_ref()
                .map_or_else(|| "<nil>".to_owned(), IntOrString::to_string);
            found.add(
                refuse(format!(
                    "AnalysisTemplate {template} has metric {} which runs indefinitely. Invalid value for count: {count}",
                    metric.name
                ))
                .fix("set the count of the metric, or use the template in the background analysis of a canary"),
            );
        }
        if let Some(problem) = metrics::validate_metrics(&filled).filter(|_| !filled.is_empty()) {
            found.add(
                refuse(format!("AnalysisTemplate {template}: {problem}"))
                    .fix("correct the metric in the template"),
            );
        }
        for metric in &filled {
            if let Some(provider) = unsupported::provider(&metric.provider) {
                found.add(
                    Violation::unsupported(
                        self.path.clone(),
                        provider,
                        format!(
                            "metric {} of AnalysisTemplate {template} has a provider that is not supported yet; \
                             supported values: \"job\", \"prometheus\", \"web\"",
                            metric.name
                        ),
                    )
                    .fix("measure it with prometheus, web or job"),
                );
            }
        }
    }
}

fn lookup<'a>(references: &References<'a>, cluster: bool, name: &str) -> Option<&'a AnalysisTemplateSpec> {
    references
        .templates
        .get(&TemplateKey {
            cluster,
            name: name.to_owned(),
        })
        .map(AsRef::as_ref)
}
