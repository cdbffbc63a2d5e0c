//! `workloadRef`: the pod template comes from another object, which may be scaled down (contract 3.10, F14 to F16).

use serde_json::json;
use tidegate_crds::{ConditionStatus, RolloutConditionType, ScaleDownStrategy, labels};

use crate::context::{Annotated, Context};
use crate::draft::Draft;
use crate::plan::{Change, Scale};
use crate::status;

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
