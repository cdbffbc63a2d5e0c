//! Repositories, forges and chats, for the Deliveries.

use std::sync::Arc;

use tidegate_git::{Chats, Forges, Git, Options, Protocol};
use tidegate_gitsync::remote::RemoteError;
use tracing::{info, warn};

use crate::args::{GitProtocol, RunArgs};
use crate::leader::Leadership;
use crate::step::{Outside, OutsideAnswer};

/// All that is asked outside the cluster.
pub(crate) struct Outsiders(Option<(Git, Forges, Chats)>);

impl Outsiders {
    pub(crate) fn new(args: &RunArgs) -> anyhow::Result<Self> {
        let Some(cache) = &args.git_cache else {
            return Ok(Self(None));
        };
        let mut options = Options::new(cache.clone());
        options.protocols = args.git_protocols.iter().copied().map(protocol).collect();
        options.helm.clone_from(&args.helm);
        let forges = Forges::new()?;
        let chats = Chats::beside(&forges);
        let git = Git::new(options)?;
        match git.helm() {
            Some(helm) if helm.is_fenced() => info!("charts: {}", helm.describe()),
            Some(helm) => warn!("charts: {}", helm.describe()),
            None => {}
        }
        Ok(Self(Some((git, forges, chats))))
    }

    /// Asks. What changes something is asked only while we lead.
    pub(crate) async fn ask(&self, question: Outside, leadership: &Arc<Leadership>) -> OutsideAnswer {
        let refused = |words: &str| RemoteError::Unavailable(words.to_owned());
        let may = !question.writes() || !leadership.remaining().is_zero();
        match (question, &self.0) {
            (Outside::Git(_), _) if !may => OutsideAnswer::Git(Err(refused("not leading any more"))),
            (Outside::Forge(_), _) if !may => OutsideAnswer::Forge(Err(refused("not leading any more"))),
            (Outside::Chat(_), _) if !may => OutsideAnswer::Chat(Err(refused("not leading any more"))),
            (Outside::Git(_), None) => OutsideAnswer::Git(Err(refused("--git-cache is not set"))),
            (Outside::Forge(_), None) => OutsideAnswer::Forge(Err(refused("--git-cache is not set"))),
            (Outside::Chat(_), None) => OutsideAnswer::Chat(Err(refused("--git-cache is not set"))),
            (Outside::Git(request), Some((git, ..))) => OutsideAnswer::Git(git.answer(*request).await),
            (Outside::Forge(request), Some((_, forges, _))) => {
                let (forge, request) = *request;
                OutsideAnswer::Forge(forges.answer(&forge, request).await)
            }
            (Outside::Chat(post), Some((.., chats))) => OutsideAnswer::Chat(chats.tell(&post).await),
        }
    }
}

fn protocol(named: GitProtocol) -> Protocol {
    match named {
        GitProtocol::Https => Protocol::Https,
        GitProtocol::Ssh => Protocol::Ssh,
        GitProtocol::Http => Protocol::Http,
        GitProtocol::File => Protocol::File,
    }
}
