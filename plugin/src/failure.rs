//! What can go wrong, in one line each, with what to do about it.

use std::io;

/// Why a command ends with an exit code that is not 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No such object.
    #[error("{resource} {name:?} not found in namespace {namespace} (what is there: {list})")]
    NotFound {
        /// `rollouts.argoproj.io`.
        resource: String,
        name: String,
        namespace: String,
        /// A command.
        list: String,
    },
    /// The API server refused.
    #[error("{0}")]
    Api(#[from] Box<ApiError>),
    /// The API server did not answer.
    #[error(
        "cannot reach the cluster at {server}: {why} (is the context right? see kubectl config get-contexts)"
    )]
    Unreachable {
        /// Its address.
        server: String,
        why: String,
    },
    /// No usable kubeconfig.
    #[error("cannot use the kubeconfig: {0} (choose one with --kubeconfig and --context)")]
    Kubeconfig(String),
    /// A file or directory could not be read.
    #[error("cannot read {0}: {1}")]
    File(String, io::Error),
    /// Standard output was closed, or is full.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// The command ended as it should, and its answer is no.
    #[error("{0}")]
    Answer(String),
    /// As [`Self::Answer`], with everything said on standard output already.
    #[error("")]
    Said,
    /// The command line makes no sense.
    #[error("{0} (see --help)")]
    Usage(String),
}

/// What the API server said.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", hint(*.code))]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) message: String,
}

fn hint(code: u16) -> &'static str {
    match code {
        401 => " (log in to the cluster again)",
        403 => " (ask for the rights, or choose another namespace with -n)",
        409 => " (somebody else changed it meanwhile: try again)",
        _ => "",
    }
}

impl Failure {
    /// Anything else that has words of its own.
    pub(crate) fn other(error: impl std::fmt::Display) -> Self {
        Self::Answer(error.to_string())
    }

    /// The status that the API server answered with, if that is what this is.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.code),
            Self::NotFound { .. } => Some(404),
            _ => None,
        }
    }

    /// What belongs on standard error. Nothing when the reader of the output went away: it knows.
    pub(crate) fn words(&self) -> Option<String> {
        match self {
            Self::Said => None,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            other => Some(format!("Error: {other}")),
        }
    }
}

impl From<crate::patches::Refused> for Failure {
    fn from(refused: crate::patches::Refused) -> Self {
        Self::other(refused)
    }
}
