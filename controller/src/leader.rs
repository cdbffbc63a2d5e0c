//! Holds the Lease: [`crate::lease`] with a clock and a connection.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::client::Api;
use crate::lease::{Election, RENEW_DEADLINE, RETRY_PERIOD, Verdict};
use crate::request::Failure;

/// Longest time that one request about the Lease may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether this process may act.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// `None`: without election we always lead.
    election: Option<Mutex<Election>>,
    epoch: Instant,
    changed: Notify,
}

impl Leadership {
    pub(crate) fn new(election: Option<Election>) -> Self {
        Self {
            election: election.map(Mutex::new),
            epoch: Instant::now(),
            changed: Notify::new(),
        }
    }

    fn with<T>(&self, election: &Mutex<Election>, f: impl FnOnce(&mut Election, Duration) -> T) -> T {
        f(
            &mut election.lock().unwrap_or_else(PoisonError::into_inner),
            self.epoch.elapsed(),
        )
    }

    /// How long a write may take at most; zero when we do not lead.
    pub(crate) fn remaining(&self) -> Duration {
        match &self.election {
            Some(election) => self.with(election, |election, now| election.remaining(now)),
            None => RENEW_DEADLINE,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Waits until we begin to lead, or stop.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes part in the election until it is dropped.
    pub(crate) async fn run(&self, api: Api) {
        let Some(election) = &self.election else { return };
        let mut led = false;
        let mut trouble = String::new();
        loop {
            let wait = match self.attempt(election, &api).await {
                Ok(verdict) => {
                    trouble.clear();
                    verdict
                }
                Err(failure) => {
                    let text = match failure.code {
                        403 => format!(
                            "no right to read and write the Lease: {}; apply deploy/install.yaml",
                            failure.message
                        ),
                        404 => format!(
                            "the Lease cannot be created: {}; create the namespace",
                            failure.message
                        ),
                        _ => format!("the Lease cannot be renewed: {failure}"),
                    };
                    if !failure.is_conflict() && text != trouble {
                        tracing::warn!("{text}; trying again");
                        trouble = text;
                    }
                    self.with(election, Election::failed)
                }
            };
            let leads = self.leads();
            if leads != led {
                led = leads;
                if leads {
                    tracing::info!("leading");
                } else {
                    tracing::warn!("not leading any more: no further write is sent");
                }
                self.changed.notify_one();
            }
            let until = match wait {
                Verdict::Yield(until) => until.saturating_sub(self.epoch.elapsed()).min(RETRY_PERIOD),
                Verdict::Lost | Verdict::Write(_) => RETRY_PERIOD,
            };
            tokio::time::sleep(until).await;
        }
    }

    async fn attempt(&self, election: &Mutex<Election>, api: &Api) -> Result<Verdict, Failure> {
        let read = self.with(election, |election, _| election.read());
        let lease = match api.send(&read, TIMEOUT).await {
            Ok(lease) => Some(lease),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure),
        };
        let verdict = self.with(election, |election, now| {
            election.evaluate(lease.as_ref(), now, Timestamp::now())
        });
        let Verdict::Write(request) = verdict else {
            return Ok(verdict);
        };
        // Counted from before it is sent, so that we never think that we hold it longer than others do.
        let sent = self.epoch.elapsed();
        api.send(&request, TIMEOUT).await?;
        self.with(election, |election, _| election.won(sent));
        Ok(Verdict::Yield(sent + RETRY_PERIOD))
    }

    /// Gives the Lease back, so that the next one need not wait.
    pub(crate) async fn release(&self, api: &Api) {
        let Some(election) = &self.election else { return };
        let read = self.with(election, |election, _| election.read());
        let Ok(lease) = api.send(&read, TIMEOUT).await else {
            return;
        };
        let request = self.with(election, |election, _| election.release(&lease, Timestamp::now()));
        if let Some(request) = request
            && let Err(failure) = api.send(&request, TIMEOUT).await
        {
            tracing::warn!(%failure, "the Lease could not be released: the next leader waits until it expires");
        }
    }
}
