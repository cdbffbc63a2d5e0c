//! What goes wrong in a run: written down, so that it can be listed, drawn from a seed, shortened and played again.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_controller::request::Request;

use crate::metrics::SourceFault;
use crate::rng::Rng;

/// Where in a request the process dies (fault 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CrashAt {
    /// Before the request leaves.
    BeforeSend,
    /// The request is applied, its answer never read.
    AppliedNoResponse,
    /// The answer is read, the rest of the plan is lost.
    AfterResponse,
}

impl CrashAt {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BeforeSend, Self::AppliedNoResponse, Self::AfterResponse];
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestFault {
    /// The process dies, and comes back after so many milliseconds.
    Crash {
        /// Where.
        at: CrashAt,
        /// How long nobody is there.
        down_ms: u32,
    },
    /// The server answers with this code and does nothing (fault 7): 409 is `Conflict`, 429 comes with a `Retry-After` of 1 s.
    Refused(u16),
    /// The server answers with this code and these words, and does nothing.
    Denied {
        /// HTTP status.
        code: u16,
        /// Message.
        message: String,
    },
    /// The server does it, and the answer is lost (fault 7).
    TimeoutAfterEffect,
    /// Somebody else writes the object just before (fault 6).
    Meddling,
    /// It takes so many milliseconds (fault 8).
    Slow(u32),
}

/// How often things go wrong by chance, in cases of 1000; what happens to a request follows from the seed and its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rates {
    /// Of the draws.
    pub seed: u64,
    /// Crashes; at most three a run.
    pub crash: u32,
    /// 429, 500, 503, 504 and 409.
    pub refused: u32,
    /// Timeouts after the effect.
    pub timeout: u32,
    /// Other writers.
    pub meddling: u32,
    /// Slow answers.
    pub slow: u32,
}

/// A change of the controller's wall clock (fault 9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockJump {
    /// Milliseconds after the start.
    pub at_ms: u64,
    /// By how much.
    pub by_ms: i64,
}

/// A second controller process for a while (fault 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondLeader {
    /// Milliseconds after the start.
    pub at_ms: u64,
    /// How long both run; the older one ends.
    pub for_ms: u64,
}

/// A watch that is closed and listed anew (fault 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relist {
    /// Kind, as in objects.
    pub kind: String,
    /// Milliseconds after the start.
    pub at_ms: u64,
}

/// A time in which the metrics source has a fault (fault 14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTrouble {
    /// Milliseconds after the start.
    pub from_ms: u64,
    /// Milliseconds after the start.
    pub until_ms: u64,
    /// What is wrong.
    pub fault: SourceFault,
}

/// Requests that the API server refuses for a time, as validation, a quota or an admission webhook does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// Kind, as in objects; with the subresource, if it is about that: `Rollout/status`.
    pub kind: String,
    /// As RBAC says it: `create`, `patch`, `delete`.
    pub verb: String,
    /// Only of this object; `None`: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only requests with this text in their body; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Milliseconds after the start.
    pub from_ms: u64,
    /// Milliseconds after the start; `None`: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// HTTP status of the answer.
    pub code: u16,
    /// Its message.
    pub message: String,
}

impl Refusal {
    /// Whether it refuses a request that is sent so many milliseconds after the start.
    fn refuses(&self, request: &Request, ms: u64) -> bool {
        let kind = match request.subresource {
            Some(subresource) => format!("{}/{subresource}", request.resource.kind),
            None => request.resource.kind.to_owned(),
        };
        let created = request.body.pointer("/metadata/name").and_then(Value::as_str);
        let name = Some(request.name.as_str())
            .filter(|name| !name.is_empty())
            .or(created);
        kind == self.kind
            && request.verb.as_str() == self.verb
            && self.name.as_deref().is_none_or(|only| Some(only) == name)
            && self
                .only
                .as_ref()
                .is_none_or(|only| request.body.to_string().contains(only))
            && self.from_ms <= ms
            && self.until_ms.is_none_or(|until| ms < until)
    }
}

/// All that goes wrong in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FaultPlan {
    /// Faults of single requests, by the number of the controller's write, events not counted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<u32, RequestFault>,
    /// Faults of single writes to a repository or a forge, by number; `Refused` is a server that cannot be reached.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outside: BTreeMap<u32, RequestFault>,
    /// Faults by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Between these, in milliseconds, an event takes to the controller (fault 3), by kind; `""` for kinds without an entry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub watch_delays: BTreeMap<String, (u32, u32)>,
    /// Events of a kind, by number, that are never seen because a later one of the same object comes first (fault 5).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hidden: BTreeMap<String, Vec<u32>>,
    /// Watches that are closed and listed anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relists: Vec<Relist>,
    /// Jumps of the controller's clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clock_jumps: Vec<ClockJump>,
    /// Two controllers at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub second_leaders: Vec<SecondLeader>,
    /// Trouble of the metrics source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<SourceTrouble>,
    /// What the API server refuses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// After so many milliseconds no request goes wrong any more and delays are small ("GST"); `None`: never stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stops_ms: Option<u64>,
}

/// Most crashes by chance in one run.
const MAX_CRASHES: u32 = 3;

impl FaultPlan {
    /// One crash at one write.
    pub fn crash(write: u32, at: CrashAt) -> Self {
        Self {
            requests: BTreeMap::from([(write, RequestFault::Crash { at, down_ms: 3000 })]),
            ..Self::default()
        }
    }

    /// One fault of one write to a repository or a forge.
    pub fn outside(write: u32, fault: RequestFault) -> Self {
        Self {
            outside: BTreeMap::from([(write, fault)]),
            ..Self::default()
        }
    }

    /// One fault of one write.
    pub fn request(write: u32, fault: RequestFault) -> Self {
        Self {
            requests: BTreeMap::from([(write, fault)]),
            ..Self::default()
        }
    }

    /// Watch events that take between so many milliseconds, for every kind.
    pub fn slow_watches(low_ms: u32, high_ms: u32) -> Self {
        Self {
            watch_delays: BTreeMap::from([(String::new(), (low_ms, high_ms))]),
            ..Self::default()
        }
    }

    /// Draws a plan: about half of the fault kinds, each with a random strength, for the first minutes of a run.
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("faults");
        let mut plan = Self {
            stops_ms: Some(60_000 + rng.below(120_000)),
            ..Self::default()
        };
        let rate = |rng: &mut Rng, most: u64| {
            if rng.chance(500) {
                rng.below(most) as u32
            } else {
                0
            }
        };
        plan.rates = Some(Rates {
            seed,
            crash: rate(&mut rng, 60),
            refused: rate(&mut rng, 300),
            timeout: rate(&mut rng, 100),
            meddling: rate(&mut rng, 300),
            slow: rate(&mut rng, 300),
        });
        for kind in ["", "Rollout", "ReplicaSet", "Service", "Ingress", "AnalysisRun"] {
            if rng.chance(400) {
                let high = [50, 500, 5_000, 30_000]
                    .get(rng.below(4) as usize)
                    .copied()
                    .unwrap_or(50);
                plan.watch_delays.insert(kind.to_owned(), (0, high));
            }
        }
        for kind in ["Rollout", "ReplicaSet", "Service", "Ingress", "AnalysisRun"] {
            if rng.chance(300) {
                let events = (0..=rng.below(3)).map(|_| rng.below(30) as u32).collect();
                plan.hidden.insert(kind.to_owned(), events);
            }
            if rng.chance(200) {
                plan.relists.push(Relist {
                    kind: kind.to_owned(),
                    at_ms: rng.below(90_000),
                });
            }
        }
        if rng.chance(200) {
            let by_ms = rng.below(120_000) as i64 - 60_000;
            plan.clock_jumps.push(ClockJump {
                at_ms: rng.below(90_000),
                by_ms,
            });
        }
        if rng.chance(200) {
            plan.second_leaders.push(SecondLeader {
                at_ms: rng.below(60_000),
                for_ms: 1000 + rng.below(30_000),
            });
        }
        plan
    }

    /// The answer to a request that the API server refuses.
    pub(crate) fn refusal(&self, request: &Request, ms: u64) -> Option<RequestFault> {
        let refusal = self
            .refusals
            .iter()
            .find(|refusal| refusal.refuses(request, ms))?;
        Some(RequestFault::Denied {
            code: refusal.code,
            message: refusal.message.clone(),
        })
    }

    /// The longest time that an event may be under way to the controller.
    pub fn longest_delay(&self) -> SignedDuration {
        let longest = self
            .watch_delays
            .values()
            .map(|(_, high)| *high)
            .max()
            .unwrap_or(0);
        let hidden = if self.hidden.is_empty() {
            SignedDuration::ZERO
        } else {
            HIDDEN_AT_MOST
        };
        SignedDuration::from_millis(i64::from(longest)).max(hidden)
    }

    /// What goes wrong with a write; `crashes` is how many there were.
    pub(crate) fn of_request(&self, write: u32, crashes: u32) -> Option<RequestFault> {
        if let Some(fault) = self.requests.get(&write) {
            return Some(fault.clone());
        }
        let rates = self.rates.as_ref()?;
        let mut rng = Rng::new(rates.seed).fork(&format!("request {write}"));
        if let Some(crash) = rates.crash(&mut rng, crashes) {
            return Some(crash);
        }
        if rng.chance(rates.refused) {
            return [409, 429, 500, 503, 504]
                .get(rng.below(5) as usize)
                .copied()
                .map(RequestFault::Refused);
        }
        if rng.chance(rates.timeout) {
            return Some(RequestFault::TimeoutAfterEffect);
        }
        if rng.chance(rates.meddling) {
            return Some(RequestFault::Meddling);
        }
        rng.chance(rates.slow)
            .then(|| RequestFault::Slow(rng.below(10_000) as u32))
    }

    /// What goes wrong with a write to a repository or a forge; `crashes` is how many there were.
    pub(crate) fn of_outside(&self, write: u32, crashes: u32) -> Option<RequestFault> {
        if let Some(fault) = self.outside.get(&write) {
            return Some(fault.clone());
        }
        let rates = self.rates.as_ref()?;
        let mut rng = Rng::new(rates.seed).fork(&format!("outside {write}"));
        if let Some(crash) = rates.crash(&mut rng, crashes) {
            return Some(crash);
        }
        if rng.chance(rates.refused) {
            return Some(RequestFault::Refused(503));
        }
        rng.chance(rates.timeout)
            .then_some(RequestFault::TimeoutAfterEffect)
    }
}

impl Rates {
    fn crash(&self, rng: &mut Rng, crashes: u32) -> Option<RequestFault> {
        if crashes >= MAX_CRASHES || !rng.chance(self.crash) {
            return None;
        }
        let at = CrashAt::ALL.get(rng.below(3) as usize).copied()?;
        let down_ms = rng.below(20_000) as u32;
        Some(RequestFault::Crash { at, down_ms })
    }
}

/// A hidden event is seen after this time when no later one of the object comes.
pub(crate) const HIDDEN_AT_MOST: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_survive_being_printed() {
        let refusal = Refusal {
            kind: "Ingress".to_owned(),
            verb: "patch".to_owned(),
            name: Some("web".to_owned()),
            only: None,
            from_ms: 5,
            until_ms: None,
            code: 403,
            message: "no".to_owned(),
        };
        for seed in 0..200 {
            let mut plan = FaultPlan::swarm(seed);
            plan.refusals.push(refusal.clone());
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<FaultPlan>(&text).unwrap(), plan, "{text}");
        }
        assert_eq!(serde_json::to_string(&FaultPlan::default()).unwrap(), "{}");
        assert_eq!(
            serde_json::to_string(&FaultPlan::crash(3, CrashAt::AfterResponse)).unwrap(),
            r#"{"requests":{"3":{"crash":{"at":"afterResponse","down_ms":3000}}}}"#
        );
    }

    #[test]
    fn swarms_draw_every_kind_and_leave_every_kind_out() {
        let plans: Vec<_> = (0..300).map(FaultPlan::swarm).collect();
        let share = |has: &dyn Fn(&FaultPlan) -> bool| plans.iter().filter(|p| has(p)).count();
        let rates =
            |of: fn(&Rates) -> u32| share(&move |p: &FaultPlan| p.rates.as_ref().is_some_and(|r| of(r) > 0));
        let shares = [
            rates(|r| r.crash),
            rates(|r| r.refused),
            rates(|r| r.timeout),
            rates(|r| r.meddling),
            rates(|r| r.slow),
            share(&|p| !p.watch_delays.is_empty()),
            share(&|p| !p.hidden.is_empty()),
            share(&|p| !p.relists.is_empty()),
            share(&|p| !p.clock_jumps.is_empty()),
            share(&|p| !p.second_leaders.is_empty()),
        ];
        assert!(shares.iter().all(|n| (20..=295).contains(n)), "{shares:?}");
    }

    #[test]
    fn crashes_by_chance_end() {
        let plan = FaultPlan {
            rates: Some(Rates {
                crash: 1000,
                ..Rates::default()
            }),
            ..FaultPlan::default()
        };
        assert!(matches!(plan.of_request(1, 2), Some(RequestFault::Crash { .. })));
        assert_eq!(plan.of_request(1, 3), None);
    }
}
