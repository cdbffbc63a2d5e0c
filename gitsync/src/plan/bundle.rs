//! Keeps the objects of the commits that a rollback may go to in Secrets, and of no others.

use tidegate_crds::VerdictState;

use super::apply::Missing;
use super::{Draft, Task};
use crate::bundle::pack;
use crate::spec::Spec;

/// How many good commits are kept.
const KEPT: usize = 2;

impl Draft<'_> {
    /// Writes and deletes the Secrets.
    pub(super) fn keep_bundles(&mut self, _: &Spec) {
        let good = |state: &VerdictState| matches!(state, VerdictState::Verified | VerdictState::Deployed);
        let ledger = &self.plan.status.ledger;
        let wanted = ledger
            .iter()
            .filter(|entry| good(&entry.state) && entry.objects.is_some());
        let wanted: Vec<String> = wanted.take(KEPT).map(|entry| entry.digest.clone()).collect();
        let changes: Vec<(String, bool)> = ledger
            .iter()
            .map(|entry| (entry.digest.clone(), wanted.contains(&entry.digest), entry.stored))
            .filter(|(digest, wanted, stored)| wanted != stored && !digest.is_empty())
            .map(|(digest, wanted, _)| (digest, wanted))
            .collect();
        for (digest, wanted) in changes {
            match self.observed.stored.get(&digest) {
                Some(Ok(())) => {
                    if let Some(entry) = self.entry_mut(&digest) {
                        entry.stored = wanted;
                    }
                }
                // A rollback then depends on Git, as it would without; it is tried again at the next occasion.
                Some(Err(_)) => {}
                None if wanted => match self.find_rendered(&digest) {
                    Ok(rendered) => {
                        if let Some(packed) = pack(&rendered) {
                            let name = self.bundle_name(&digest);
                            self.plan.tasks.push(Task::Store(digest, name, packed));
                        }
                    }
                    Err(Missing::Ask(task)) => self.plan.tasks.push(*task),
                    // It is kept at the next occasion.
                    Err(Missing::Gone(_)) => {}
                },
                None => {
                    let name = self.bundle_name(&digest);
                    self.plan.tasks.push(Task::Drop(digest, name));
                }
            }
        }
    }

    /// Name of the Secret that keeps the objects of a digest.
    pub(super) fn bundle_name(&self, digest: &str) -> String {
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
        let name = &self.observed.delivery.metadata.name;
        // A name may have 253 characters.
        let name: String = name.chars().take(200).collect();
        format!("tidegate-{name}-{}", digest.get(..16).unwrap_or(digest))
    }
}
