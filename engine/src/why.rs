//! Why a Rollout is where it is: typed, so that the message, `explain`, the terminal and the logs say the same.

use std::fmt;

use jiff::Timestamp;

/// One reason, with what would change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The spec or what it refers to is invalid: condition text, the fix.
    Invalid {
        /// The condition's text.
        text: String,
        /// What to do about it.
        fix: String,
    },
    /// A version has fewer available pods than the next move needs.
    WaitingForPods {
        /// ReplicaSet.
        replica_set: String,
        /// Available pods.
        available: i32,
        /// Pods needed.
        wanted: i32,
    },
    /// Pods of a version that is to become smaller are still there.
    WaitingForPodsToGo {
        /// ReplicaSet.
        replica_set: String,
        /// Pods.
        pods: i32,
        /// Pods that it is to have.
        wanted: i32,
    },
    /// The routes do not carry the weight of the step yet.
    WaitingForWeight {
        /// The canary's share as it is.
        live: i32,
        /// As it is meant to be.
        wanted: i32,
    },
    /// A Service that shows the new version does not select it yet.
    WaitingForService {
        /// The Service.
        service: String,
        /// ReplicaSet of the new version.
        replica_set: String,
    },
    /// A pause step, or a blue-green pause; ends by itself at `until`, or by `promote`.
    Paused {
        /// Reason of the pause condition.
        reason: String,
        /// When it ends by itself.
        until: Option<Timestamp>,
    },
    /// `spec.paused` is set.
    ManuallyPaused,
    /// An analysis run decides.
    WaitingForAnalysis {
        /// Name of the run.
        run: String,
        /// Its phase.
        phase: String,
    },
    /// The update was aborted.
    Aborted {
        /// By what.
        because: String,
    },
    /// A version that lost its traffic is kept until then.
    ScaleDownDelayed {
        /// ReplicaSet.
        replica_set: String,
        /// When it goes.
        until: Timestamp,
    },
    /// A version that is to lose its pods keeps them until then, since requests may still come to it.
    Draining {
        /// ReplicaSet.
        replica_set: String,
        /// When every data plane knows.
        until: Timestamp,
    },
    /// The traffic router cannot do what is intended.
    Routing {
        /// What it said.
        error: String,
    },
    /// The API server refuses a write.
    Refused {
        /// What it would do: `create ReplicaSet web-5c`.
        what: String,
        /// The server's words.
        words: String,
    },
    /// A write that is still to be done was refused earlier, as the status says.
    RefusedBefore {
        /// What the condition says.
        text: String,
    },
    /// Pods did not become available in time.
    DeadlineExceeded {
        /// ReplicaSet.
        replica_set: String,
    },
    /// Pods are being restarted.
    Restarting,
    /// The Deployment that `spec.workloadRef` names has pods beside those of the Rollout.
    WorkloadRuns {
        /// Its name.
        name: String,
        /// Its `spec.replicas`.
        replicas: i32,
    },
    /// An object that the Rollout names does not exist.
    Missing {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { text, fix } => write!(f, "{text} ({fix})"),
            Self::WaitingForPods {
                replica_set,
                available,
                wanted,
            } => {
                write!(
                    f,
                    "waiting for pods of {replica_set}: {available} of {wanted} available"
                )
            }
            Self::WaitingForPodsToGo {
                replica_set,
                pods,
                wanted,
            } => {
                write!(
                    f,
                    "waiting for pods of {replica_set} to go: {pods} there, {wanted} wanted"
                )
            }
            Self::WaitingForWeight { live, wanted } => {
                write!(f, "waiting for the routes: weight {live}, {wanted} wanted")
            }
            Self::WaitingForService { service, replica_set } => {
                write!(f, "waiting for Service {service} to select {replica_set}")
            }
            Self::Paused {
                reason,
                until: Some(until),
            } => write!(f, "paused ({reason}) until {until}"),
            Self::Paused { reason, until: None } => write!(f, "paused ({reason}) until it is promoted"),
            Self::ManuallyPaused => write!(f, "paused by spec.paused"),
            Self::WaitingForAnalysis { run, phase } => write!(f, "waiting for analysis run {run} ({phase})"),
            Self::Aborted { because } => write!(f, "aborted: {because}"),
            Self::ScaleDownDelayed { replica_set, until } => {
                write!(f, "{replica_set} keeps its pods until {until}")
            }
            Self::Draining { replica_set, until } => {
                write!(
                    f,
                    "{replica_set} keeps its pods until {until}, since requests may still come to it"
                )
            }
            Self::Routing { error } => write!(f, "traffic routing: {error}"),
            Self::Refused { what, words } => write!(f, "the API server refuses to {what}: {words}"),
            Self::RefusedBefore { text } => f.write_str(text),
            Self::DeadlineExceeded { replica_set } => {
                write!(
                    f,
                    "pods of {replica_set} did not become available within progressDeadlineSeconds"
                )
            }
            Self::Restarting => write!(f, "pods are being restarted"),
            Self::WorkloadRuns { name, replicas } => {
                write!(
                    f,
                    "Deployment {name} has {replicas} replicas beside those of the Rollout"
                )
            }
            Self::Missing { kind, name } => write!(f, "{kind} {name} does not exist"),
        }
    }
}
