//! What a look asks for next, and how it ends: to the API server, to providers, to the world outside the cluster.

use jiff::Timestamp;
use tidegate_analysis::args::Secrets;
use tidegate_analysis::{Measure, Reading, Trouble};
use tidegate_crds::Metric;
use tidegate_gitsync::notify::Post;
use tidegate_gitsync::remote::{Forge, ForgeAnswer, ForgeRequest, GitAnswer, GitRequest, RemoteError};

use crate::object::ObjectKey;
use crate::request::{Failure, Request};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send this and give the answer before the next step.
    Request(Request),
    /// Send this and do not wait: an event never delays a plan, nor fails it.
    Event(Request),
    /// Ask a repository or a forge and give the answer before the next step.
    Outside(Outside),
    /// Ask a provider and do not wait; [`Controller::measured`](crate::controller::Controller::measured) takes the reading.
    Measure(Box<Ask>),
    /// Have a provider stop, and answer [`Step::Terminate`] with `Null` or a failure before the next step.
    Terminate(Box<Ask>),
    /// The reading of a question that is under way will be of no use.
    Cancel {
        /// The run.
        run: ObjectKey,
        /// Its metric.
        metric: String,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All is written.
    Done,
    /// Something else wrote first, or the cache is behind: look again.
    LookAgain(Failure),
    /// A request failed: look again after a while.
    Failed(Failure),
}

/// A question for a metric provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The run.
    pub run: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// The metric with its arguments filled in, Secrets included: never for a log.
    pub metric: Metric,
    /// Which measurement, and what to do about it.
    pub measure: Measure,
    /// The values that must not show up in what the provider says.
    pub secrets: Secrets,
}

impl Ask {
    /// The reading of a question that could not be asked.
    pub fn failed(&self, trouble: Trouble, message: impl Into<String>, now: Timestamp) -> Reading {
        Reading::of_trouble(&self.measure, now, trouble, message)
    }
}

/// A question to the world outside the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Outside {
    /// To a repository.
    Git(Box<GitRequest>),
    /// To a forge.
    Forge(Box<(Forge, ForgeRequest)>),
    /// To a chat.
    Chat(Box<Post>),
}

impl Outside {
    /// Whether it may change something: then only who leads may ask.
    pub fn writes(&self) -> bool {
        match self {
            Self::Git(request) => request.writes(),
            Self::Forge(_) | Self::Chat(_) => true,
        }
    }
}

/// The answer to an [`Outside`].
#[derive(Clone, Debug, PartialEq)]
pub enum OutsideAnswer {
    /// Of a repository.
    Git(Result<GitAnswer, RemoteError>),
    /// Of a forge.
    Forge(Result<ForgeAnswer, RemoteError>),
    /// Of a chat.
    Chat(Result<(), RemoteError>),
}
