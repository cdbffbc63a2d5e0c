//! New analysis runs: their names, labels, owners and specs (contract 2.2, 2.3, 3.12).

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_crds::{
    API_VERSION, AnalysisRun, AnalysisRunSpec, AnalysisTemplateRef, Argument, DryRun, Kind,
    MeasurementRetention, ObjectMeta, OwnerReference, Rollout, RolloutAnalysis,
    labels::{
        INSTANCE_ID_LABEL, POD_TEMPLATE_HASH_LABEL, REVISION_ANNOTATION, ROLLOUT_TYPE_BACKGROUND,
        ROLLOUT_TYPE_LABEL, ROLLOUT_TYPE_POST_PROMOTION, ROLLOUT_TYPE_PRE_PROMOTION, ROLLOUT_TYPE_STEP,
        RUN_STEP_HASH_ANNOTATION, STEP_INDEX_LABEL,
    },
};

use crate::{
    args::{self, ArgsError},
    templates::{self, Lookup, TemplatesError},
};

/// Most runs of one name, told apart by `.1`, `.2` and so on.
const MAX_COLLISIONS: u32 = 10_000;

/// Why there is no new run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The templates.
    #[error(transparent)]
    Templates(#[from] TemplatesError),
    /// The arguments.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// All names are taken.
    #[error("analysis run '{0}' has too many namesakes: delete old ones")]
    Collisions(String),
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunRole {
    /// The analysis of the step with this index.
    Step(i32),
    /// The analysis beside the steps.
    Background,
    /// Before the switch of a blue-green update.
    PrePromotion,
    /// After it.
    PostPromotion,
}

impl RunRole {
    /// Value of the label `rollout-type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Step(_) => ROLLOUT_TYPE_STEP,
            Self::Background => ROLLOUT_TYPE_BACKGROUND,
            Self::PrePromotion => ROLLOUT_TYPE_PRE_PROMOTION,
            Self::PostPromotion => ROLLOUT_TYPE_POST_PROMOTION,
        }
    }
}

/// What a Rollout's run is made from.
#[derive(Clone, Copy)]
pub struct RunRequest<'a> {
    /// The Rollout.
    pub rollout: &'a Rollout,
    /// What the run is for.
    pub role: RunRole,
    /// The analysis.
    pub analysis: &'a RolloutAnalysis,
    /// Pod template hash of the new version.
    pub hash: &'a str,
    /// Pod template hash of the stable version; empty if there is none.
    pub stable_hash: &'a str,
    /// Revision of the new version, in decimal.
    pub revision: &'a str,
    /// Hash of the steps that it belongs to; empty where there are none.
    pub step_hash: &'a str,
    /// Value of the instance id label, if the controller has one.
    pub instance_id: Option<&'a str>,
    /// Finds templates.
    pub templates: &'a Lookup<'a>,
}

/// The run that a Rollout needs, under the first name of its kind; [`place`] tells whether that is the name to use.
pub fn new_run(request: &RunRequest<'_>) -> Result<AnalysisRun, RunError> {
    let RunRequest {
        rollout,
        role,
        analysis,
        hash,
        revision,
        ..
    } = *request;
    let given = args::of_rollout(&analysis.args, rollout, request.stable_hash, hash)?;
    let spec = run_spec(
        &analysis.templates,
        &given,
        &analysis.dry_run,
        &analysis.measurement_retention,
        request.templates,
    )?;

    let suffix = match role {
        RunRole::Step(index) => format!("-{index}"),
        RunRole::Background => String::new(),
        RunRole::PrePromotion => "-pre".to_owned(),
        RunRole::PostPromotion => "-post".to_owned(),
    };
    let mut labels: BTreeMap<String, String> = [
        (POD_TEMPLATE_HASH_LABEL.to_owned(), hash.to_owned()),
        (ROLLOUT_TYPE_LABEL.to_owned(), role.label().to_owned()),
    ]
    .into();
    if let RunRole::Step(index) = role {
        labels.insert(STEP_INDEX_LABEL.to_owned(), index.to_string());
    }
    if let Some(instance_id) = request.instance_id {
        labels.insert(INSTANCE_ID_LABEL.to_owned(), instance_id.to_owned());
    }
    let own_labels = labels.clone();
    let mut annotations: BTreeMap<String, String> =
        [(REVISION_ANNOTATION.to_owned(), revision.to_owned())].into();
    if let Some(extra) = &analysis.analysis_run_metadata {
        labels.extend(extra.labels.clone());
        annotations.extend(extra.annotations.clone());
    }
    if let Some(selector) = &rollout.spec.selector {
        labels.extend(selector.match_labels.clone());
    }
    // The controller finds its runs by these, so nothing may replace them.
    labels.extend(own_labels);
    annotations.insert(REVISION_ANNOTATION.to_owned(), revision.to_owned());
    annotations.remove(RUN_STEP_HASH_ANNOTATION);
    if !request.step_hash.is_empty() {
        annotations.insert(RUN_STEP_HASH_ANNOTATION.to_owned(), request.step_hash.to_owned());
    }

    Ok(AnalysisRun {
        metadata: ObjectMeta {
            name: format!("{}-{hash}-{revision}{suffix}", rollout.metadata.name),
            namespace: rollout.metadata.namespace.clone(),
            labels,
            annotations,
            owner_references: vec![controlled_by(rollout)],
            ..ObjectMeta::default()
        },
        spec,
        ..AnalysisRun::default()
    })
}

/// The spec of a run over these templates: arguments given and declared, rules of the caller before the templates'.
pub fn run_spec(
    references: &[AnalysisTemplateRef],
    given: &[Argument],
    dry_run: &[DryRun],
    retention: &[MeasurementRetention],
    lookup: &Lookup<'_>,
) -> Result<AnalysisRunSpec, RunError> {
    let mut flat = templates::flatten(references, lookup)?;
    let args = args::merge(given, &flat.args)?;
    templates::merge_rules(&mut flat, dry_run, retention)?;
    Ok(AnalysisRunSpec {
        metrics: flat.metrics,
        args,
        dry_run: flat.dry_run,
        measurement_retention: flat.measurement_retention,
        ..AnalysisRunSpec::default()
    })
}

/// The reference to an owner that manages the object.
pub fn controlled_by<K: Kind>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: owner.metadata().name.clone(),
        uid: owner.metadata().uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether a run is what became of one that was made, under its name or a later number of it. Whoever may create runs can give one our
/// labels and our owner, and call it successful: it has to be the same in all that we give it. One that is about to go is none.
pub fn is_made_as(found: &AnalysisRun, made: &AnalysisRun) -> bool {
    let (there, ours) = (&found.metadata, &made.metadata);
    let has = |there: &BTreeMap<String, String>, ours: &BTreeMap<String, String>| {
        ours.iter().all(|(key, value)| there.get(key) == Some(value))
    };
    is_number_of(&there.name, &ours.name)
        && there.namespace == ours.namespace
        && there.deletion_timestamp.is_none()
        && there.labels.get(INSTANCE_ID_LABEL) == ours.labels.get(INSTANCE_ID_LABEL)
        && has(&there.labels, &ours.labels)
        && has(&there.annotations, &ours.annotations)
        && same_controller(found, made)
        && same_spec(&found.spec, &made.spec)
}

/// Whether a name is another or, where that was taken, a number of it (contract 2.3).
fn is_number_of(name: &str, base: &str) -> bool {
    let number = name.strip_prefix(base).and_then(|rest| rest.strip_prefix('.'));
    name == base || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Where a new run goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Placed {
    /// The very run is there already, and not finished. Its name.
    Reuse(String),
    /// Create this one.
    Create(Box<AnalysisRun>),
}

/// Gives a new run a name that is free, unless the very run is there already and not finished (contract 2.3).
pub fn place<'a>(
    mut run: AnalysisRun,
    existing: impl Fn(&str) -> Option<&'a AnalysisRun>,
) -> Result<Placed, RunError> {
    let base = run.metadata.name.clone();
    for collision in 0..MAX_COLLISIONS {
        if collision > 0 {
            run.metadata.name = format!("{base}.{collision}");
        }
        let Some(taken) = existing(&run.metadata.name) else {
            return Ok(Placed::Create(Box::new(run)));
        };
        if !taken.status.phase.completed() && is_made_as(taken, &run) {
            return Ok(Placed::Reuse(run.metadata.name));
        }
    }
    Err(RunError::Collisions(base))
}

fn same_controller(one: &AnalysisRun, other: &AnalysisRun) -> bool {
    let uid = |run: &AnalysisRun| {
        let controller = run
            .metadata
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        controller.map(|owner| owner.uid.clone())
    };
    uid(one).is_some() && uid(one) == uid(other)
}

/// Whether two runs measure the same: `terminate` and `ttlStrategy` do not count, nor do the empty objects that
/// upstream stores.
pub fn same_spec(one: &AnalysisRunSpec, other: &AnalysisRunSpec) -> bool {
    let measured = |spec: &AnalysisRunSpec| {
        let spec = AnalysisRunSpec {
            terminate: None,
            ttl_strategy: None,
            ..spec.clone()
        };
        serde_json::to_value(spec).map(without_empty)
    };
    matches!((measured(one), measured(other)), (Ok(one), Ok(other)) if one == other)
}

fn without_empty(json: Value) -> Value {
    match json {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (key, without_empty(value)));
            let is_empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_crds::{AnalysisPhase, AnalysisTemplateSpec};

    use super::*;

    fn rollout() -> Rollout {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}}
        }))
        .unwrap()
    }

    fn template() -> AnalysisTemplateSpec {
        serde_json::from_value(json!({
            "args": [{"name": "service", "value": "x"}],
            "metrics": [{"name": "rate", "provider": {"web": {"url": "http://x"}}}],
            "dryRun": [{"metricName": "rate"}]
        }))
        .unwrap()
    }

    fn run(role: RunRole, analysis: serde_json::Value) -> Result<AnalysisRun, RunError> {
        let (rollout, template) = (rollout(), template());
        let analysis: RolloutAnalysis = serde_json::from_value(analysis).unwrap();
        new_run(&RunRequest {
            rollout: &rollout,
            role,
            analysis: &analysis,
            hash: "5b7b5bfbd4",
            stable_hash: "old",
            revision: "2",
            step_hash: "",
            instance_id: None,
            templates: &|cluster, name| (!cluster && name == "good").then_some(&template),
        })
    }

    #[test]
    fn a_run_of_a_step_is_what_upstream_creates() {
        let step = run(
            RunRole::Step(1),
            json!({
                "templates": [{"templateName": "good"}], "args": [{"name": "service", "value": "canary"}],
                "analysisRunMetadata": {"labels": {"team": "a", "rollout-type": "mine"}, "annotations": {"x": "y"}}
            }),
        )
        .unwrap();
        assert_eq!(
            serde_json::to_value(&step).unwrap(),
            json!({
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AnalysisRun",
                "metadata": {
                    "name": "web-5b7b5bfbd4-2-1",
                    "namespace": "shop",
                    "labels": {"app": "web", "team": "a", "rollout-type": "Step", "step-index": "1",
                               "rollouts-pod-template-hash": "5b7b5bfbd4"},
                    "annotations": {"rollout.argoproj.io/revision": "2", "x": "y"},
                    "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web",
                                         "uid": "u1", "controller": true, "blockOwnerDeletion": true}]
                },
                "spec": {
                    "args": [{"name": "service", "value": "canary"}],
                    "metrics": [{"name": "rate", "provider": {"web": {"url": "http://x"}}}],
                    "dryRun": [{"metricName": "rate"}]
                }
            })
        );
    }

    #[test]
    fn names_and_types_of_the_roles() {
        let cases = [
            (RunRole::Step(0), "web-5b7b5bfbd4-2-0", "Step"),
            (RunRole::Background, "web-5b7b5bfbd4-2", "Background"),
            (RunRole::PrePromotion, "web-5b7b5bfbd4-2-pre", "PrePromotion"),
            (RunRole::PostPromotion, "web-5b7b5bfbd4-2-post", "PostPromotion"),
        ];
        for (role, name, label) in cases {
            let run = run(role, json!({"templates": [{"templateName": "good"}]})).unwrap();
            assert_eq!(
                (
                    run.metadata.name.as_str(),
                    run.metadata.labels["rollout-type"].as_str()
                ),
                (name, label)
            );
        }
        let missing = run(
            RunRole::Background,
            json!({"templates": [{"templateName": "gone"}]}),
        )
        .unwrap_err();
        assert_eq!(missing.to_string(), "AnalysisTemplate 'gone' not found");
        let twice = run(
            RunRole::Background,
            json!({"templates": [{"templateName": "good"}], "dryRun": [{"metricName": "rate"}]}),
        );
        assert_eq!(
            twice.unwrap_err().to_string(),
            "two Dry-Run metric rules have the same name 'rate'"
        );
    }

    #[test]
    fn a_run_is_made_as_another_under_its_name_or_a_number_of_it() {
        let made = run(
            RunRole::Background,
            json!({"templates": [{"templateName": "good"}]}),
        )
        .unwrap();
        for (name, same) in [
            ("web-5b7b5bfbd4-2", true),
            ("web-5b7b5bfbd4-2.1", true),
            ("web-5b7b5bfbd4-2.12", true),
            ("web-5b7b5bfbd4-2.x", false),
            ("web-5b7b5bfbd4-2.1.1", false),
            ("web-5b7b5bfbd4-21", false),
            ("web-5b7b5bfbd4-2-1", false),
            ("ok-1", false),
        ] {
            let mut found = made.clone();
            name.clone_into(&mut found.metadata.name);
            found.status.phase = AnalysisPhase::Successful;
            assert_eq!(is_made_as(&found, &made), same, "{name}");
        }
    }

    #[test]
    fn a_taken_name_is_reused_or_passed_over() {
        let new = run(
            RunRole::Background,
            json!({"templates": [{"templateName": "good"}]}),
        )
        .unwrap();
        let with = |change: &dyn Fn(&mut AnalysisRun)| {
            let mut run = new.clone();
            change(&mut run);
            run
        };
        let placed = |taken: &[(&str, AnalysisRun)]| {
            let mut runs: Vec<AnalysisRun> = taken.iter().map(|(_, run)| run.clone()).collect();
            for (run, (name, _)) in runs.iter_mut().zip(taken) {
                (*name).clone_into(&mut run.metadata.name);
            }
            let find = |name: &str| runs.iter().find(|run| run.metadata.name == name);
            match place(new.clone(), find).unwrap() {
                Placed::Reuse(name) => format!("reuse {name}"),
                Placed::Create(run) => format!("create {}", run.metadata.name),
            }
        };
        let name = "web-5b7b5bfbd4-2";
        let next = "web-5b7b5bfbd4-2.1";
        let running = with(&|run| run.spec.terminate = Some(true));
        let ended = with(&|run| run.status.phase = AnalysisPhase::Inconclusive);
        let foreign = with(&|run| "u2".clone_into(&mut run.metadata.owner_references[0].uid));
        let orphan = with(&|run| run.metadata.owner_references.clear());
        let stored_by_upstream = with(&|run| {
            let empty = json!({"basicAuth": {}, "oauth2": {}, "sigv4": {}});
            run.spec.metrics[0].provider.web.as_mut().unwrap().authentication =
                serde_json::from_value(empty).unwrap();
        });
        let different = with(&|run| run.spec.args.clear());
        let going =
            with(&|run| run.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let of_another_instance = with(&|run| {
            let nobody = (INSTANCE_ID_LABEL.to_owned(), "nobody".to_owned());
            run.metadata.labels.extend([nobody]);
        });
        let of_another_role = with(&|run| run.metadata.labels.clear());
        let cases = [
            (vec![], "create web-5b7b5bfbd4-2"),
            (vec![(name, running.clone())], "reuse web-5b7b5bfbd4-2"),
            (vec![(name, stored_by_upstream)], "reuse web-5b7b5bfbd4-2"),
            (vec![(name, ended.clone())], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, foreign)], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, orphan)], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, different)], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, going)], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, of_another_instance)], "create web-5b7b5bfbd4-2.1"),
            (vec![(name, of_another_role)], "create web-5b7b5bfbd4-2.1"),
            (
                vec![(name, ended.clone()), (next, ended.clone())],
                "create web-5b7b5bfbd4-2.2",
            ),
            (vec![(name, ended), (next, running)], "reuse web-5b7b5bfbd4-2.1"),
        ];
        for (taken, want) in cases {
            assert_eq!(placed(&taken), want);
        }
    }
}
