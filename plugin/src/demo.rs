//! `kubectl tidegate demo`: a good release and a bad one in a simulated cluster, told by what the real controller does.
//! With `--git` they are commits.

mod draw;
mod git;
mod plain;
mod scene;
mod screen;
mod serve;
mod story;

use std::io::{self, IsTerminal, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tidegate_manifests::ReadError;
use tidegate_sim::clock::EPOCH;
use tidegate_sim::live::{Live, Shared, TICK};
use tidegate_sim::world::Setup;
use tokio::signal::unix::{SignalKind, signal};

use self::git::GitStory;
use self::scene::{Scene, Watcher};
use self::screen::Screen;
use self::serve::Served;
use self::story::{Story, Tale};
use crate::failure::Failure;

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// So long before now a cluster begins that is served afterwards: longer than the story takes in the cluster's time.
const LONGEST_STORY: SignedDuration = SignedDuration::from_mins(3);

/// See two releases in a cluster that is not there: a good one is promoted by its metrics, a bad one rolled back.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Release by commits: the bad one is pinned away from, and taken back in Git.
    #[arg(long, conflicts_with = "serve")]
    git: bool,
    /// How many seconds of the cluster pass in one of yours.
    #[arg(long, default_value_t = 3.0, value_parser = speed)]
    speed: f64,
    /// Everything that is left to chance follows from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Afterwards, keep the cluster up for kubectl, and say what to try.
    #[arg(long)]
    serve: bool,
    /// The port of 127.0.0.1 that it is served on; 0: any that is free.
    #[arg(long, default_value_t = 0, requires = "serve")]
    port: u16,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.1..=1000.0).contains(speed));
    speed.ok_or_else(|| "it has to be a number from 0.1 to 1000".to_owned())
}

/// Why the story could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A manifest is no manifest.
    #[error(transparent)]
    Manifest(#[from] ReadError),
    /// The simulated API server said no.
    #[error("the simulated cluster refused {what}: {why}")]
    Refused {
        /// What was asked of it.
        what: String,
        /// What it said.
        why: String,
    },
    /// The releases went another way than they should, or no way at all.
    #[error("the story took a wrong turn: {0}")]
    Story(String),
    /// The cluster could not be served.
    #[error("cannot serve the cluster ({what}): {error}")]
    Serve {
        /// What was tried.
        what: String,
        /// What went wrong.
        error: io::Error,
    },
}

/// What is on the screen, and how it came about.
struct Stage<W: Write> {
    watcher: Watcher,
    scene: Scene,
    screen: Screen<W>,
}

impl<W: Write> Stage<W> {
    fn new(screen: Screen<W>) -> Self {
        Self {
            watcher: Watcher::default(),
            scene: Scene::default(),
            screen,
        }
    }

    /// Shows what a tick has changed, and what somebody did.
    fn show(&mut self, live: &mut Live, done: Option<String>) -> io::Result<()> {
        let scene = self.watcher.look(live);
        self.screen.tell(&self.scene, &scene, done)?;
        self.scene = scene;
        Ok(())
    }

    /// One tick of the story.
    fn act(&mut self, live: &mut Live, story: &mut dyn Tale) -> Result<(), Error> {
        live.tick();
        let done = story.turn(live)?;
        Ok(self.show(live, done)?)
    }

    fn sum_up(&mut self, story: &dyn Tale) -> io::Result<()> {
        let indented = |line: &String| format!("  {line}").trim_end().to_owned();
        let lines: Vec<String> = story.summaries().iter().map(indented).collect();
        self.screen.say(&[vec![String::new()], lines].concat())
    }
}

/// Ticks that are due by now, from how many there were.
struct Pace {
    begun: Instant,
    speed: f64,
    ticks: u64,
}

impl Pace {
    fn new(speed: f64) -> Self {
        Self {
            begun: Instant::now(),
            speed,
            ticks: 0,
        }
    }

    fn is_due(&mut self) -> bool {
        let due = (self.begun.elapsed().as_secs_f64() * self.speed / TICK.as_secs_f64()) as u64;
        let is_due = self.ticks < due;
        self.ticks += u64::from(is_due);
        is_due
    }
}

/// A cluster and its story, from Git or by hand.
fn begun(git: bool, seed: u64, begin: Timestamp) -> (Live, Box<dyn Tale>) {
    let mut setup = Setup {
        seed,
        namespace: story::NAMESPACE.to_owned(),
        ..Setup::default()
    };
    setup.options.deliveries = git;
    let live = Live::new(setup, story::PEOPLE, begin);
    let now = live.world.now();
    let story: Box<dyn Tale> = if git {
        Box::new(GitStory::new(now))
    } else {
        Box::new(Story::new(now))
    };
    (live, story)
}

/// Tells the whole story as text, as fast as it goes; the same seed gives the same text.
pub fn tell(seed: u64, out: impl Write) -> Result<(), Error> {
    tell_all(begun(false, seed, EPOCH), out)
}

/// [`tell`], with releases by commits.
pub fn tell_git(seed: u64, out: impl Write) -> Result<(), Error> {
    tell_all(begun(true, seed, EPOCH), out)
}

fn tell_all((mut live, mut story): (Live, Box<dyn Tale>), out: impl Write) -> Result<(), Error> {
    let mut stage = Stage::new(Screen::lines(out)?);
    while !story.is_over() {
        stage.act(&mut live, &mut *story)?;
    }
    Ok(stage.sum_up(&*story)?)
}

/// Runs the demo until the story is over, or until Ctrl-C.
pub(crate) async fn run(args: Args, no_color: bool) -> Result<(), Failure> {
    play(args, no_color).await.map_err(|error| match error {
        Error::Output(error) => Failure::Output(error),
        error => Failure::other(error),
    })
}

async fn play(args: Args, no_color: bool) -> Result<(), Error> {
    let out = io::stdout();
    let screen = if out.is_terminal() {
        Screen::picture(
            out,
            !no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        )?
    } else {
        Screen::lines(out)?
    };
    // real clients compare times with their own clock, so a cluster that is served has to end up at the real time
    let begin = if args.serve {
        Timestamp::now() - LONGEST_STORY
    } else {
        EPOCH
    };
    let (mut live, mut story) = begun(args.git, args.seed, begin);
    let mut stage = Stage::new(screen);
    let mut pace = Pace::new(args.speed);
    let mut interrupted = pin!(interruption());
    while !story.is_over() {
        while !story.is_over() && pace.is_due() {
            stage.act(&mut live, &mut *story)?;
        }
        stage.screen.draw(&stage.scene)?;
        tokio::select! {
            () = tokio::time::sleep(FRAME) => {}
            _ = &mut interrupted => return Ok(()),
        }
    }
    stage.sum_up(&*story)?;
    if args.serve {
        while live.world.now() < Timestamp::now() {
            live.tick();
        }
        drop(stage);
        serve(live, args.port, interrupted).await?;
    }
    Ok(())
}

/// Ctrl-C, or the polite way of a process manager to end it.
async fn interruption() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Keeps the cluster up in real time until Ctrl-C, and tells line by line what happens.
async fn serve(
    live: Live,
    port: u16,
    mut interrupted: Pin<&mut impl Future<Output = io::Result<()>>>,
) -> Result<(), Error> {
    let world = Arc::new(Shared::new(live));
    let served = Served::start(Arc::clone(&world), port).await?;
    let mut stage = Stage::new(Screen::Lines(io::stdout()));
    stage.screen.say(&served.instructions())?;
    stage.screen.say(&[plain::HEAD.trim_end().to_owned()])?;
    stage.scene = world.with(|live| stage.watcher.look(live));
    let mut pace = Pace::new(1.0);
    loop {
        while pace.is_due() {
            world.with(|live| {
                live.tick();
                let release = stage.scene.release.clone();
                stage.show(live, None)?;
                if stage.scene.release != release {
                    live.crowd.begin();
                }
                io::Result::Ok(())
            })?;
        }
        tokio::select! {
            () = tokio::time::sleep(FRAME / 4) => {}
            _ = &mut interrupted => break,
        }
    }
    served.stop().await;
    Ok(())
}
