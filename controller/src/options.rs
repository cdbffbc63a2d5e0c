//! What a controller is started with.

use jiff::SignedDuration;
use tidegate_engine::Settings;
use tidegate_traffic::Dialect;

/// Delay of the next look at objects whose watch does not tell: a resync (F155).
const RESYNC: SignedDuration = SignedDuration::from_secs(900);

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decisions depend on.
    pub settings: Settings,
    /// Rollouts and Services that are worked on at once (F155).
    pub rollout_threads: usize,
    /// Analysis runs that are worked on at once (F155).
    pub analysis_threads: usize,
    /// An object is looked at after this long even without news (F155).
    pub resync: SignedDuration,
    /// What is acted on.
    pub part: Part,
    /// Namespace for the Jobs of all runs; `None`: that of the run (F164).
    pub job_namespace: Option<String>,
    /// Act on Deliveries.
    pub deliveries: bool,
    /// Deliveries and repositories that are worked on at once.
    pub delivery_threads: usize,
    /// The versions of route objects that are spoken.
    pub dialect: Dialect,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            rollout_threads: 10,
            analysis_threads: 30,
            resync: RESYNC,
            part: Part::All,
            job_namespace: None,
            deliveries: false,
            delivery_threads: 20,
            dialect: Dialect::default(),
        }
    }
}

/// Parts of the controller that can run without the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    All,
    /// Analysis runs, as `--controllers=analysis` asks (F154).
    Analysis,
    /// Deliveries, as `--controllers=deliveries` asks: somebody else acts on Rollouts and analysis runs.
    Deliveries,
}
