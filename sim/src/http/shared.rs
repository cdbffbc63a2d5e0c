//! The plain backend: a store behind a lock, with the garbage collected after every request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    http::Backend,
    store::{Request, Response, Status, Store},
};

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// A store that many clients share.
pub struct SharedStore {
    store: Mutex<Store>,
    revision: watch::Sender<u64>,
    clock: Clock,
}

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedStore")
            .field("revision", &*self.revision.borrow())
            .finish_non_exhaustive()
    }
}

impl SharedStore {
    /// Shares a store; `clock` gives the time of its requests.
    pub fn new(store: Store, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let (revision, _) = watch::channel(store.revision());
        Self {
            store: Mutex::new(store),
            revision,
            clock: Box::new(clock),
        }
    }

    /// Does something to the store and tells the watches.
    pub fn with<T>(&self, work: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = (self.clock)();
        let mut store = self.lock();
        let result = work(&mut store, now);
        let revision = store.revision();
        drop(store);
        self.revision
            .send_if_modified(|old| std::mem::replace(old, revision) != revision);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // the store is consistent between commits, so a panic of another request has left nothing half done
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for SharedStore {
    fn request(&self, request: Request) -> Result<Response, Status> {
        self.with(|store, now| {
            let writes = request.verb.writes();
            let answer = store.request(request, now);
            if writes {
                store.collect_all_garbage(now);
            }
            answer
        })
    }

    fn read(&self, look: &mut dyn FnMut(&Store)) {
        look(&self.lock());
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}
