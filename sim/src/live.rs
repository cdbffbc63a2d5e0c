//! A world that people watch: time is let into it in equal steps, as fast as wanted, and people use what runs in it.
//! The steps are the same at every speed, so what happens is, too.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::clock::EPOCH;
use crate::crowd::Crowd;
use crate::http::Backend;
use crate::store::{Request, Response, Status, Store};
use crate::world::{Setup, World};

/// How far one step goes.
pub const TICK: SignedDuration = SignedDuration::from_millis(100);
/// Metrics are scraped each time that so many steps have been made.
const SCRAPE: u64 = 10;

/// The world and its people.
pub struct Live {
    /// The world.
    pub world: World,
    /// The people.
    pub crowd: Crowd,
    begun: Timestamp,
    ticks: u64,
}

impl Live {
    /// A world that exists since [`EPOCH`], in which nothing has happened until `begin`. It scrapes metrics each second
    /// from then on, whatever the setup says.
    pub fn new(setup: Setup, people: u64, begin: Timestamp) -> Self {
        let crowd = Crowd::new(people, setup.seed);
        let mut world = World::new(Setup {
            scrape: None,
            ..setup
        });
        world.run_to(begin.max(EPOCH));
        Self {
            begun: world.now(),
            world,
            crowd,
            ticks: 0,
        }
    }

    /// Lets one step of time pass.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.world
            .run_to(self.begun + TICK * i32::try_from(self.ticks).unwrap_or(i32::MAX));
        self.crowd.look(&self.world.dataplane);
        if self.ticks.is_multiple_of(SCRAPE) {
            let now = self.world.now();
            let World {
                metrics, dataplane, ..
            } = &mut self.world;
            metrics.scrape_data_plane(now, dataplane);
        }
    }

    /// How long it has been since the begin.
    pub fn elapsed(&self) -> SignedDuration {
        self.world.now().duration_since(self.begun)
    }
}

/// A world that real clients share with whoever lets its time pass: what stands behind the HTTP face.
pub struct Shared {
    live: Mutex<Live>,
    revision: watch::Sender<u64>,
}

impl Shared {
    /// Shares a world.
    pub fn new(live: Live) -> Self {
        let (revision, _) = watch::channel(live.world.store().revision());
        Self {
            live: Mutex::new(live),
            revision,
        }
    }

    /// Does something to the world and tells the watches.
    pub fn with<T>(&self, work: impl FnOnce(&mut Live) -> T) -> T {
        // what a panic left half done is what a world is there for
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut live);
        let revision = live.world.store().revision();
        drop(live);
        self.revision
            .send_if_modified(|old| std::mem::replace(old, revision) != revision);
        result
    }
}

impl Backend for Shared {
    fn request(&self, request: Request) -> Result<Response, Status> {
        self.with(|live| {
            let now = live.world.now();
            live.world.api("").store().request(request, now)
        })
    }

    fn read(&self, look: &mut dyn FnMut(&Store)) {
        self.with(|live| look(live.world.store()));
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn now(&self) -> Timestamp {
        self.with(|live| live.world.now())
    }
}
