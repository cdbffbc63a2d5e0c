//! Keys of labels and annotations (contract 2.2). They are the API: never rename one.

/// Label: version identity, on ReplicaSets (selector and template too), pods, analysis runs and experiments; in
/// selectors of Services and Istio subsets.
pub const POD_TEMPLATE_HASH_LABEL: &str = "rollouts-pod-template-hash";
/// Label: which controller instance an object belongs to (F19); copied to analysis runs and experiments.
pub const INSTANCE_ID_LABEL: &str = "argo-rollouts.argoproj.io/controller-instance-id";
/// Label of an analysis run: one of the `ROLLOUT_TYPE_*` values.
pub const ROLLOUT_TYPE_LABEL: &str = "rollout-type";
/// [`ROLLOUT_TYPE_LABEL`] of the analysis of a step.
pub const ROLLOUT_TYPE_STEP: &str = "Step";
/// [`ROLLOUT_TYPE_LABEL`] of the analysis in the background.
pub const ROLLOUT_TYPE_BACKGROUND: &str = "Background";
/// [`ROLLOUT_TYPE_LABEL`] of the analysis before a blue-green switch.
pub const ROLLOUT_TYPE_PRE_PROMOTION: &str = "PrePromotion";
/// [`ROLLOUT_TYPE_LABEL`] of the analysis after a blue-green switch.
pub const ROLLOUT_TYPE_POST_PROMOTION: &str = "PostPromotion";
/// Label of the analysis run of a step: decimal index.
pub const STEP_INDEX_LABEL: &str = "step-index";
/// Annotation of an analysis run, ours: hash of the steps that it belongs to. Whoever changes the steps begins anew, and what the
/// old ones measured says nothing about the new ones.
pub const RUN_STEP_HASH_ANNOTATION: &str = "tidegate.io/step-hash";
/// Annotation of an analysis run, ours: the controller ended it because nothing waited for it any more. It was not measured to its end,
/// so it says nothing good about anything.
pub const RUN_NOT_WANTED_ANNOTATION: &str = "tidegate.io/not-wanted";
/// Label of a Job and its pods: uid of the analysis run.
pub const ANALYSIS_RUN_UID_LABEL: &str = "analysisrun.argoproj.io/uid";

/// Annotation of a Job: name of the analysis run.
pub const ANALYSIS_RUN_NAME_ANNOTATION: &str = "analysisrun.argoproj.io/name";
/// Annotation of a Job: namespace of the analysis run.
pub const ANALYSIS_RUN_NAMESPACE_ANNOTATION: &str = "analysisrun.argoproj.io/namespace";
/// Annotation of a Job: the metric that it measures.
pub const ANALYSIS_RUN_METRIC_ANNOTATION: &str = "analysisrun.argoproj.io/metric-name";
/// Annotation of ReplicaSets and Services of an experiment: its name.
pub const EXPERIMENT_NAME_ANNOTATION: &str = "experiment.argoproj.io/name";
/// Annotation of ReplicaSets and Services of an experiment: the template.
pub const EXPERIMENT_TEMPLATE_NAME_ANNOTATION: &str = "experiment.argoproj.io/template-name";
/// Annotation of Rollouts, ReplicaSets, analysis runs and experiments: decimal revision.
pub const REVISION_ANNOTATION: &str = "rollout.argoproj.io/revision";
/// Annotation of a ReplicaSet that was used again: its earlier revisions, separated by commas.
pub const REVISION_HISTORY_ANNOTATION: &str = "rollout.argoproj.io/revision-history";
/// Annotation of a ReplicaSet: `spec.replicas` of the Rollout when it was scaled last.
pub const DESIRED_REPLICAS_ANNOTATION: &str = "rollout.argoproj.io/desired-replicas";
/// Annotation of a Rollout: generation of the referenced workload.
pub const WORKLOAD_GENERATION_ANNOTATION: &str = "rollout.argoproj.io/workload-generation";
/// Annotation of a ReplicaSet: JSON of the labels and annotations that were put in, to take them out again.
pub const EPHEMERAL_METADATA_ANNOTATION: &str = "rollout.argoproj.io/ephemeral-metadata";
/// Annotation of a ReplicaSet, ours: JSON of the labels and annotations that live pods may still have of earlier roles.
pub const METADATA_OF_PODS_ANNOTATION: &str = "tidegate.io/metadata-of-pods";
/// Annotation of a ReplicaSet, ours: hash of the stable version from which a blue-green Rollout goes back to this one, whose delay had not
/// passed when that began. However long its pods take, it comes back without pause and analysis.
pub const RETURNS_ANNOTATION: &str = "tidegate.io/returns-from";
/// Annotation of a ReplicaSet, ours: it was aborted, and never promoted since. Going back to it is no return to what was good.
pub const ABORTED_ANNOTATION: &str = "tidegate.io/aborted";
/// Annotation of a ReplicaSet: RFC 3339 time at which it is scaled down. The key has no prefix.
pub const SCALE_DOWN_DEADLINE_ANNOTATION: &str = "scale-down-deadline";
/// Annotation of Services, DestinationRules and VirtualNodes: the Rollout that owns their selection.
pub const MANAGED_BY_ANNOTATION: &str = "argo-rollouts.argoproj.io/managed-by-rollouts";
/// Annotation of an ALB Ingress: JSON map from Rollout to the annotation keys that it wrote.
pub const MANAGED_ALB_ANNOTATIONS_ANNOTATION: &str = "rollouts.argoproj.io/managed-alb-annotations";
/// Older form of [`MANAGED_ALB_ANNOTATIONS_ANNOTATION`]; read, never written.
pub const MANAGED_ALB_ACTIONS_ANNOTATION: &str = "rollouts.argoproj.io/managed-alb-actions";
/// Prefix of an annotation of a Rollout: `subscribe.<trigger>.<service>` follows (F129).
pub const NOTIFICATIONS_SUBSCRIBE_PREFIX: &str = "notifications.argoproj.io/subscribe";
/// Annotation of a Rollout: which notifications were sent (F133).
pub const NOTIFIED_ANNOTATION: &str = "notified.notifications.argoproj.io";
/// Annotation that `kubectl apply` writes; never copied to a ReplicaSet.
pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Default prefix of annotations for the NGINX ingress controller (F79).
pub const NGINX_ANNOTATION_PREFIX: &str = "nginx.ingress.kubernetes.io";
/// Default prefix of annotations for the ALB controller (F80).
pub const ALB_ANNOTATION_PREFIX: &str = "alb.ingress.kubernetes.io";

/// Largest revision that counts: nobody gets there by releasing, and there has to be a number above all that count.
pub const MAX_REVISION: i64 = 1_000_000_000_000;

/// The revision that the text of [`REVISION_ANNOTATION`] says; `None` where it is none that can be.
pub fn revision(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .filter(|revision| (0..=MAX_REVISION).contains(revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_number_that_somebody_can_have_counted_to() {
        for (text, read) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("1000000000000", Some(MAX_REVISION)),
            ("1000000000001", None),
            ("9223372036854775807", None),
            ("9223372036854775808", None),
            ("-1", None),
            ("", None),
            ("two", None),
        ] {
            assert_eq!(revision(text), read, "{text:?}");
        }
    }
}
