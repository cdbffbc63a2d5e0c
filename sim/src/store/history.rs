//! What happened, in order: the source of watches, of lists of the past, and of the checks after each commit.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::store::{request::Verb, resource::Resource, selector::Selector, status::Status};

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The resourceVersion that it made.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub user: String,
    /// The field manager, if the request named one.
    pub field_manager: String,
    /// With which verb.
    pub verb: Verb,
    /// Of which kind.
    pub resource: Arc<Resource>,
    /// Through which subresource, empty for the object itself.
    pub subresource: String,
    /// Namespace of the object, empty if it has none.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The object before, `None` if this made it.
    pub before: Option<Arc<Value>>,
    /// The object after, `None` if this removed it.
    pub after: Option<Arc<Value>>,
    /// What watchers are shown of a removed object: its last state, with this commit's resourceVersion.
    pub(crate) last: Option<Arc<Value>>,
}

/// What a watch says about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The object came into view.
    Added,
    /// It changed.
    Modified,
    /// It went out of view.
    Deleted,
}

impl ChangeKind {
    /// As in a watch event's `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// What happened to the view.
    pub kind: ChangeKind,
    /// The object; for [`ChangeKind::Deleted`] its last state with the resourceVersion of the deletion.
    pub object: Arc<Value>,
    /// The revision, to continue from.
    pub revision: u64,
}

/// The kept commits, by revision and by table.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    commits: VecDeque<Arc<Commit>>,
    tables: BTreeMap<String, VecDeque<Arc<Commit>>>,
    /// Everything up to this revision is forgotten.
    compacted: u64,
    limit: usize,
}

impl History {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, table: &str, commit: Arc<Commit>) {
        self.commits.push_back(commit.clone());
        match self.tables.get_mut(table) {
            Some(log) => log.push_back(commit),
            None => drop(self.tables.insert(table.to_owned(), VecDeque::from([commit]))),
        }
        // a quarter at a time, so that the work is shared by many commits
        if self.commits.len() > self.limit {
            let keep = self.limit - self.limit / 4;
            let revision = self
                .commits
                .get(self.commits.len() - keep)
                .map_or(0, |first| first.revision);
            self.compact(revision.saturating_sub(1));
        }
    }

    pub(crate) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        let forget = |log: &mut VecDeque<Arc<Commit>>| {
            let count = log.partition_point(|commit| commit.revision <= revision);
            log.drain(..count);
        };
        forget(&mut self.commits);
        self.tables.values_mut().for_each(forget);
    }

    pub(crate) const fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &Arc<Commit>> {
        self.commits
            .range(self.commits.partition_point(|c| c.revision <= revision)..)
    }

    pub(crate) fn table_since(
        &self,
        table: &str,
        revision: u64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Commit>> {
        let log = self.tables.get(table);
        let start = log.map_or(0, |log| log.partition_point(|c| c.revision <= revision));
        log.into_iter().flat_map(move |log| log.range(start..))
    }

    /// The changes of a table after `revision`, as a watch of `namespace` with `selector` sees them.
    ///
    /// # Errors
    /// 410 if that revision is no longer kept.
    pub(crate) fn events(
        &self,
        table: &str,
        revision: u64,
        namespace: &str,
        selector: &Selector,
    ) -> Result<Vec<WatchEvent>, Status> {
        if revision < self.compacted {
            return Err(Status::too_old(revision, self.compacted));
        }
        let commits = self.table_since(table, revision);
        let mine = commits.filter(|c| namespace.is_empty() || c.namespace == namespace);
        Ok(mine.filter_map(|commit| commit.event(selector)).collect())
    }
}

impl Commit {
    /// How a watch with a selector sees this commit, `None` if not at all.
    pub fn event(&self, selector: &Selector) -> Option<WatchEvent> {
        let seen = |object: &Option<Arc<Value>>| object.as_ref().is_some_and(|o| selector.matches(o));
        let (kind, object) = match (seen(&self.before), seen(&self.after)) {
            (false, false) => return None,
            (false, true) => (ChangeKind::Added, self.after.clone()),
            (true, true) => (ChangeKind::Modified, self.after.clone()),
            // a watcher is told of the state that it knew, at the new revision
            (true, false) => (
                ChangeKind::Deleted,
                self.last.clone().or_else(|| self.before_at_revision()),
            ),
        };
        Some(WatchEvent {
            kind,
            object: object?,
            revision: self.revision,
        })
    }

    fn before_at_revision(&self) -> Option<Arc<Value>> {
        let mut object = (**self.before.as_ref()?).clone();
        super::value::metadata(&mut object)
            .insert("resourceVersion".to_owned(), self.revision.to_string().into());
        Some(Arc::new(object))
    }
}
