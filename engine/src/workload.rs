//! `workloadRef`: the pod template comes from another object, which may be scaled down (contract 3.10, F14 to F16).

use serde_json::json;
use tidegate_crds::{ConditionStatus, RolloutConditionType, labels};

use crate::condition;
use crate::context::{Annotated, Context};
use crate::draft::Draft;
use crate::observed::Workload;
use crate::plan::{Change, Scale};
use crate::valid::ScaleDown;
use crate::why::Reason;

/// Records the workload's generation, as long as there is a reference, and scales it down as the Rollout takes over.
pub(crate) fn act(cx: &Context<'_>, draft: &mut Draft) {
    let told = cx
        .rollout()
        .metadata
        .annotations
        .get(labels::WORKLOAD_GENERATION_ANNOTATION);
    let Some(scale_down) = cx.valid.workload else {
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
    if cx.size == 0 {
        // Nobody takes over from it where the Rollout has no pods.
        runs_beside(scale_down, workload, draft);
        return;
    }
    let Some(new) = cx.new.filter(|rs| rs.revision() == 1) else {
        // Before there is a first version, the Deployment is what runs. A later one may have no ReplicaSet, because that is refused.
        if cx.owned().next().is_some() || !cx.stable_hash().is_empty() {
            tell_that_it_runs(scale_down, workload, cx, draft);
        }
        return;
    };
    // What the condition says is of a size that may have changed since.
    let healthy = new.serving() >= cx.size
        && condition::find(cx.status(), &RolloutConditionType::Healthy)
            .is_some_and(|c| c.status == ConditionStatus::True);
    let to = match scale_down {
        ScaleDown::OnSuccess | ScaleDown::Progressively if healthy => 0,
        // One pod goes for each that is ready here, never up again. The first has to be ready: there may be more of them than here.
        ScaleDown::Progressively if new.ready > 0 => {
            cx.size.saturating_sub(new.ready).clamp(0, workload.replicas)
        }
        ScaleDown::OnSuccess | ScaleDown::Progressively | ScaleDown::Never => return,
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

fn runs_beside(scale_down: ScaleDown, workload: &Workload, draft: &mut Draft) {
    if scale_down != ScaleDown::Never {
        because_it_runs(workload, draft);
    }
}

/// Says once in a look that its pods are there.
pub(crate) fn because_it_runs(workload: &Workload, draft: &mut Draft) {
    let reason = Reason::WorkloadRuns {
        name: workload.name.clone(),
        replicas: workload.replicas,
    };
    if !draft.why.contains(&reason) {
        draft.because(reason);
    }
}

/// After the first revision the Deployment is left as it is, as upstream does: whoever scales it up again may be on the way
/// back to it. That it runs beside the Rollout is told, once for each change of it.
fn tell_that_it_runs(scale_down: ScaleDown, workload: &Workload, cx: &Context<'_>, draft: &mut Draft) {
    if scale_down == ScaleDown::Never {
        return;
    }
    let Workload { name, replicas, .. } = workload;
    runs_beside(scale_down, workload, draft);
    let seen = cx.status().workload_observed_generation.as_deref();
    if seen != Some(&*workload.generation.to_string()) {
        let text = format!(
            "Deployment {name} has {replicas} replicas beside those of the Rollout; after the first revision it is not scaled down"
        );
        draft.tell(true, "WorkloadScaledUp", text);
    }
}
