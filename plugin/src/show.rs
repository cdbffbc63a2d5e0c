//! `get`, `list` and `status`: once, or for as long as something changes.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_controller::request::{ROLLOUTS, Resource};
use tidegate_crds::decode::tolerant;
use tidegate_crds::{Experiment, Rollout};

use crate::api::{Api, EXPERIMENTS, Event};
use crate::cli::{Print, Watching};
use crate::failure::Failure;
use crate::gather::{self, Bell};
use crate::info::{self, Info};
use crate::list::{self, Columns, ExperimentRow, RolloutRow};
use crate::output::{Output, note};
use crate::{phase, render};

/// Ages move on by themselves.
const TICK: Duration = Duration::from_secs(1);

/// What `get` is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Rollout,
    Experiment,
}

impl Subject {
    fn resource(self) -> &'static Resource {
        match self {
            Self::Rollout => &ROLLOUTS,
            Self::Experiment => &EXPERIMENTS,
        }
    }

    async fn look(self, api: &Api, name: &str) -> Result<Info, Failure> {
        let object = api.get(self.resource(), name).await?;
        let objects = gather::objects(api).await?;
        Ok(match self {
            Self::Rollout => info::rollout(&tolerant::<Rollout>(object).0, &objects, Timestamp::now()),
            Self::Experiment => info::experiment(&tolerant::<Experiment>(object).0, &objects),
        })
    }
}

/// `get rollout` and `get experiment`.
pub(crate) async fn get(
    api: &Api,
    subject: Subject,
    name: &str,
    watching: Watching,
    print: Print,
    out: &mut Output,
) -> Result<(), Failure> {
    let first = subject.look(api, name).await?;
    if !watching.watch {
        return match print.output {
            Some(format) => out.value(format, &first),
            None => out.text(&render::get(&first, out.painter, Timestamp::now())),
        };
    }
    let follow = follow(api, subject, name, first, print, out);
    match watching.timeout_seconds {
        0 => follow.await,
        seconds => tokio::time::timeout(Duration::from_secs(seconds), follow)
            .await
            .unwrap_or(Ok(())),
    }
}

/// Shows every change: in place on a terminal, otherwise whole the first time and line by line after that.
async fn follow(
    api: &Api,
    subject: Subject,
    name: &str,
    first: Info,
    print: Print,
    out: &mut Output,
) -> Result<(), Failure> {
    let in_place = out.terminal && print.output.is_none();
    let mut bell = Bell::new(api, subject.resource(), name);
    let mut shown: Option<Info> = None;
    let mut latest = first;
    loop {
        match (&shown, print.output) {
            (_, None) if in_place => out.redraw(&render::get(&latest, out.painter, Timestamp::now()))?,
            (Some(shown), Some(_)) if *shown == latest => {}
            (_, Some(format)) => out.value(format, &latest)?,
            (None, None) => out.text(&render::get(&latest, out.painter, Timestamp::now()))?,
            (Some(shown), None) => out.text(&render::changes(shown, &latest))?,
        }
        shown = Some(latest.clone());
        if in_place {
            // An expired wait loses no news: the watches stay open.
            if tokio::time::timeout(TICK, bell.ring()).await.is_err() {
                continue;
            }
        } else {
            bell.ring().await;
        }
        latest = match subject.look(api, name).await {
            Err(failure @ Failure::Unreachable { .. }) => {
                note(&format!("Warning: {failure}"));
                latest
            }
            other => other?,
        };
    }
}

/// Which Rollouts `list` shows, and how.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) name: Option<String>,
    pub(crate) all_namespaces: bool,
    pub(crate) watch: bool,
    pub(crate) timestamps: bool,
    pub(crate) print: Print,
}

impl Listing {
    fn columns(&self) -> Columns {
        Columns {
            time: self.timestamps.then(Timestamp::now),
            namespace: self.all_namespaces,
        }
    }

    fn row(&self, object: Value) -> Option<RolloutRow> {
        let row = RolloutRow::from(&tolerant::<Rollout>(object).0);
        self.name
            .as_ref()
            .is_none_or(|name| *name == row.name)
            .then_some(row)
    }
}

/// `list rollouts`.
pub(crate) async fn list(api: &Api, listing: &Listing, out: &mut Output) -> Result<(), Failure> {
    let namespace = if listing.all_namespaces {
        ""
    } else {
        api.namespace.as_str()
    };
    let list = api.list(&ROLLOUTS, namespace, "").await?;
    let mut rows: Vec<RolloutRow> = list
        .items
        .into_iter()
        .filter_map(|object| listing.row(object))
        .collect();
    if rows.is_empty() && !listing.watch && listing.print.output.is_none() {
        note("No resources found.");
        return Ok(());
    }
    match listing.print.output {
        Some(format) => out.value(format, &rows)?,
        None => out.text(&list::rollouts(&rows, listing.columns(), true))?,
    }
    if !listing.watch {
        return Ok(());
    }
    let mut version = list.version;
    loop {
        let events = match api.watch(&ROLLOUTS, namespace, "", "", &version).await {
            Ok(events) => events,
            Err(failure @ Failure::Unreachable { .. }) => {
                note(&format!("Warning: {failure}"));
                tokio::time::sleep(TICK).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let (object, gone) = match event {
                Event::Applied(object) => (object, false),
                Event::Gone(object) => (object, true),
            };
            let Some(row) = listing.row(object) else { continue };
            let same_object =
                |other: &RolloutRow| (&other.namespace, &other.name) == (&row.namespace, &row.name);
            let before = rows.iter().position(same_object);
            if !gone && before.is_some_and(|index| rows.get(index) == Some(&row)) {
                continue;
            }
            if let Some(index) = before {
                rows.swap_remove(index);
            }
            if gone {
                continue;
            }
            match listing.print.output {
                Some(format) => out.value(format, &row)?,
                None => out.text(&list::rollouts(
                    std::slice::from_ref(&row),
                    listing.columns(),
                    false,
                ))?,
            }
            rows.push(row);
        }
        // From what is there now on: the rows that are known keep it quiet.
        version.clear();
        tokio::time::sleep(TICK).await;
    }
}

/// `list experiments`.
pub(crate) async fn list_experiments(
    api: &Api,
    all_namespaces: bool,
    print: Print,
    out: &mut Output,
) -> Result<(), Failure> {
    let namespace = if all_namespaces {
        ""
    } else {
        api.namespace.as_str()
    };
    let items = api.list(&EXPERIMENTS, namespace, "").await?.items;
    let now = Timestamp::now();
    let rows: Vec<ExperimentRow> = items
        .into_iter()
        .map(|object| ExperimentRow::of(&tolerant(object).0, now))
        .collect();
    match print.output {
        Some(format) => out.value(format, &rows),
        None if rows.is_empty() => {
            note("No resources found.");
            Ok(())
        }
        None => out.text(&list::experiments(
            &rows,
            Columns {
                time: None,
                namespace: all_namespaces,
            },
        )),
    }
}

/// Prints the state of a Rollout when it has changed.
struct Teller<'a> {
    watch: bool,
    print: Print,
    out: &'a mut Output,
    said: String,
}

impl Teller<'_> {
    /// Says the state; the outcome of `status` when it is a final one.
    fn say(&mut self, rollout: &Rollout) -> Result<Option<Result<(), Failure>>, Failure> {
        let (status, message) = phase::of(rollout);
        let end = match status.as_str() {
            "Healthy" => Some(Ok(())),
            "Degraded" => Some(Err(Failure::Answer(format!(
                "The rollout is in a degraded state with message: {message}"
            )))),
            _ => None,
        };
        // Upstream's plugin gives the message of a final state only while it watches; it is in the error anyway.
        let text = if message.is_empty() || (end.is_some() && !self.watch) {
            status.clone()
        } else {
            format!("{status} - {message}")
        };
        if text != self.said {
            match self.print.output {
                Some(format) => {
                    let meta = &rollout.metadata;
                    let value = json!({"name": meta.name, "namespace": meta.namespace, "status": status, "message": message});
                    self.out.value(format, &value)?;
                }
                None => self.out.line(&crate::output::printable(&text))?,
            }
            self.said = text;
        }
        Ok(end)
    }
}

/// `status`: waits for a final state unless told not to; 0 waits forever.
pub(crate) async fn status(
    api: &Api,
    name: &str,
    watch: bool,
    timeout: SignedDuration,
    print: Print,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut teller = Teller {
        watch,
        print,
        out,
        said: String::new(),
    };
    let rollout = tolerant::<Rollout>(api.get(&ROLLOUTS, name).await?).0;
    if let Some(end) = teller.say(&rollout)? {
        return end;
    }
    if !watch {
        return Ok(());
    }
    let until_end = until_end(api, name, rollout.metadata.resource_version, &mut teller);
    match Duration::try_from(timeout) {
        Ok(timeout) if !timeout.is_zero() => {
            let late = || {
                Err(Failure::Answer(
                    "Rollout status watch exceeded timeout".to_owned(),
                ))
            };
            tokio::time::timeout(timeout, until_end)
                .await
                .unwrap_or_else(|_| late())
        }
        _ => until_end.await,
    }
}

async fn until_end(
    api: &Api,
    name: &str,
    mut version: String,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    loop {
        let events = api.watch(&ROLLOUTS, &api.namespace, name, "", &version).await;
        if let Ok(events) = events {
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                match event {
                    Event::Applied(object) => {
                        if let Some(end) = teller.say(&tolerant::<Rollout>(object).0)? {
                            return end;
                        }
                    }
                    Event::Gone(_) => break,
                }
            }
        }
        // The watch ended: look again. An object that is gone says so here.
        tokio::time::sleep(TICK).await;
        match api.get(&ROLLOUTS, name).await {
            Ok(object) => {
                let rollout = tolerant::<Rollout>(object).0;
                if let Some(end) = teller.say(&rollout)? {
                    return end;
                }
                version = rollout.metadata.resource_version;
            }
            Err(failure @ Failure::Unreachable { .. }) => note(&format!("Warning: {failure}")),
            Err(failure) => return Err(failure),
        }
    }
}
