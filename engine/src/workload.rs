//! `workloadRef`: the pod template comes from another object, which may be scaled down (contract 3.10, F14 to F16).

use serde_json::json;
use tidegate_crds::{ConditionStatus, RolloutConditionType, ScaleDownStrategy, labels};

use crate::context::{Annotated, Context};
use crate::draft::Draft;
use crate::observed::Workload;
use crate::plan::{Change, Scale};
use crate::status;
use crate::why::Reason;

/// Records the workload's generation, as long as there is a reference, and scales it down as the Rollout takes over.
pub(crate) fn act(cx: &Context<'_>, draft: &mut Draft) {
    let told = cx
        .rollout()
        .metadata
        .annotations
        .get(labels::WORKLOAD_GENERATION_ANNOTATION);
    let Some(reference) = &cx.rollout().spec.workload_ref else {
        if told.is_some() {
            draft.act(Change::PatchRollout {
                patch: json!({ "metadata": { "annotations": { labels::WORKLOAD_GENERATION_ANNOTATION: null } } }),
            });
        }
        return;
    };
    let Some(workload) = &cx.seen.workload else { return };
    let generation = workload.generation.to_string();
    if told != Some(&generation) {
        draft.act(Change::PatchRollout {
            patch: json!({ "metadata": { "annotations": { labels::WORKLOAD_GENERATION_ANNOTATION: generation } } }),
        });
    }
    if workload.kind != "Deployment" || workload.replicas == 0 {
        return;
    }
    let Some(new) = cx.new.filter(|rs| rs.revision() == 1) else {
        // Before there is a first version, the Deployment is what runs.
        if cx.new.is_some() {
            tell_that_it_runs(reference.scale_down.as_ref(), workload, cx, draft);
        }
        return;
    };
    let healthy = status::find(cx.status(), &RolloutConditionType::Healthy)
        .is_some_and(|c| c.status == ConditionStatus::True);
    let to = match reference.scale_down {
        Some(ScaleDownStrategy::OnSuccess | ScaleDownStrategy::Progressively) if healthy => 0,
        // One pod goes for each that is ready here, never up again.
        Some(ScaleDownStrategy::Progressively) => {
            cx.size.saturating_sub(new.ready).clamp(0, workload.replicas)
        }
        _ => return,
    };
    if to < workload.replicas {
        draft.act(Change::ScaleWorkload {
            name: workload.name.clone(),
            uid: workload.uid.clone(),
            scale: Scale {
                from: workload.replicas,
                to,
            },
        });
    }
}

/// After the first revision the Deployment is left as it is, as upstream does: whoever scales it up again may be on the way
/// back to it. That it runs beside the Rollout is told, once for each change of it.
fn tell_that_it_runs(
    mode: Option<&ScaleDownStrategy>,
    workload: &Workload,
    cx: &Context<'_>,
    draft: &mut Draft,
) {
    if !matches!(
        mode,
        Some(ScaleDownStrategy::OnSuccess | ScaleDownStrategy::Progressively)
    ) {
        return;
    }
    let Workload { name, replicas, .. } = workload;
    draft.because(Reason::WorkloadRuns {
        name: name.clone(),
        replicas: *replicas,
    });
    let seen = cx.status().workload_observed_generation.as_deref();
    if seen != Some(&*workload.generation.to_string()) {
        let text = format!(
            "Deployment {name} has {replicas} replicas beside those of the Rollout; after the first revision it is not scaled down"
        );
        draft.tell(true, "WorkloadScaledUp", text);
    }
}
