//! Leader election by upstream's Lease, so that the two controllers never act together (contract F159).
//!
//! Pure: what the Lease says and a monotonic time go in, what to do comes out. The expiry of another's Lease is counted
//! on our own clock from when we last saw it change; its timestamps are never compared with ours.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::options::Part;
use crate::request::{LEASES, Request, Verb};

/// How long a Lease that is not renewed belongs to its holder.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Name of the Lease, without the instance.
const NAME: &str = "argo-rollouts-controller-lock";
/// The same, where upstream's controller acts on Rollouts and we do not.
const DELIVERIES_NAME: &str = "tidegate-deliveries-lock";

/// Name of the Lease: upstream's, but where both are to act; with the instance id at its end if there is one.
pub fn lease_name(part: Part, instance_id: Option<&str>) -> String {
    let name = match part {
        Part::All | Part::Analysis => NAME,
        Part::Deliveries => DELIVERIES_NAME,
    };
    match instance_id {
        Some(id) => format!("{name}-{id}"),
        None => name.to_owned(),
    }
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Write this; a success makes us the leader, or keeps us it.
    Write(Request),
    /// Somebody else holds it: look again then.
    Yield(Duration),
    /// We were the leader and are no more: stop at once.
    Lost,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    namespace: String,
    name: String,
    me: String,
    /// The record as seen last, and when it was first seen so.
    seen: Option<(Record, Duration)>,
    /// When the last successful write of ours was sent.
    renewed: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Record {
    holder: String,
    duration: Duration,
    renew_time: String,
    acquire_time: String,
    transitions: i64,
    resource_version: String,
}

impl Record {
    fn read(lease: &Value) -> Self {
        let text = |path| {
            lease
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let number = |path| lease.pointer(path).and_then(Value::as_i64);
        let seconds = number("/spec/leaseDurationSeconds").and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: text("/spec/holderIdentity"),
            duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
            renew_time: text("/spec/renewTime"),
            acquire_time: text("/spec/acquireTime"),
            transitions: number("/spec/leaseTransitions").unwrap_or_default(),
            resource_version: text("/metadata/resourceVersion"),
        }
    }
}

impl Election {
    /// A candidate with the identity `me`, which must differ from process to process.
    pub fn new(namespace: &str, name: &str, me: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            me: me.to_owned(),
            seen: None,
            renewed: None,
        }
    }

    /// The request that reads the Lease.
    pub fn read(&self) -> Request {
        Request::get(&LEASES, &self.namespace, &self.name)
    }

    /// Whether we may act now.
    pub fn leads(&self, now: Duration) -> bool {
        !self.remaining(now).is_zero()
    }

    /// How long we may still act without another renewal: the longest time that a write may take.
    pub fn remaining(&self, now: Duration) -> Duration {
        self.renewed.map_or(Duration::ZERO, |renewed| {
            (renewed + RENEW_DEADLINE).saturating_sub(now)
        })
    }

    /// What to do, given the Lease as read just now (`None`: there is none). `now` is monotonic, `wall` is written into
    /// the Lease for others to read.
    pub fn evaluate(&mut self, lease: Option<&Value>, now: Duration, wall: Timestamp) -> Verdict {
        let was_leader = self.renewed.is_some();
        let Some(lease) = lease else {
            self.seen = None;
            return if was_leader {
                self.lose()
            } else {
                Verdict::Write(self.create(wall))
            };
        };
        let record = Record::read(lease);
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        self.seen = Some((record.clone(), since));
        if record.holder == self.me {
            if was_leader && !self.leads(now) {
                return self.lose();
            }
            return Verdict::Write(self.replace(lease, &record, wall, false));
        }
        if was_leader {
            return self.lose();
        }
        let expires = since + record.duration;
        if record.holder.is_empty() || now >= expires {
            return Verdict::Write(self.replace(lease, &record, wall, true));
        }
        Verdict::Yield(expires.min(now + RETRY_PERIOD))
    }

    /// The write that was sent at `sent` succeeded: we lead.
    pub fn won(&mut self, sent: Duration) {
        self.renewed = Some(sent);
    }

    /// The renewal failed. While there is time left it is tried again; after that we are the leader no more.
    pub fn failed(&mut self, now: Duration) -> Verdict {
        if self.renewed.is_some() && !self.leads(now) {
            return self.lose();
        }
        Verdict::Yield(now + RETRY_PERIOD)
    }

    /// The request that gives the Lease back, after the last write; `None` when we do not lead.
    pub fn release(&mut self, lease: &Value, wall: Timestamp) -> Option<Request> {
        self.renewed.take()?;
        let record = Record::read(lease);
        (record.holder == self.me).then(|| {
            let mut request = self.replace(lease, &record, wall, false);
            if let Some(spec) = request.body.get_mut("spec") {
                spec["holderIdentity"] = json!("");
                // As upstream does: whoever reads it need not wait.
                spec["leaseDurationSeconds"] = json!(1);
            }
            request
        })
    }

    fn lose(&mut self) -> Verdict {
        self.renewed = None;
        Verdict::Lost
    }

    fn create(&self, wall: Timestamp) -> Request {
        let wall = micro_time(wall);
        let body = json!({
            "apiVersion": LEASES.api_version(),
            "kind": LEASES.kind,
            "metadata": {"namespace": self.namespace, "name": self.name},
            "spec": {
                "holderIdentity": self.me,
                "leaseDurationSeconds": LEASE_DURATION.as_secs(),
                "acquireTime": wall,
                "renewTime": wall,
                "leaseTransitions": 0,
            },
        });
        Request::create(&LEASES, &self.namespace, body)
    }

    /// The whole Lease as read, with our name in it: its resourceVersion makes a second winner impossible.
    fn replace(&self, lease: &Value, record: &Record, wall: Timestamp, acquire: bool) -> Request {
        let wall = micro_time(wall);
        let mut body = lease.clone();
        if !body.is_object() {
            body = json!({});
        }
        let acquire_time = if acquire || record.acquire_time.is_empty() {
            &wall
        } else {
            &record.acquire_time
        };
        // Every change of the holder counts, also to and from nobody, as upstream's does.
        let transitions = record.transitions + i64::from(acquire);
        body["spec"] = json!({
            "holderIdentity": self.me,
            "leaseDurationSeconds": LEASE_DURATION.as_secs(),
            "acquireTime": acquire_time,
            "renewTime": wall,
            "leaseTransitions": transitions,
        });
        Request::new(Verb::Replace, &LEASES, &self.namespace, &self.name, body)
    }
}

/// `metav1.MicroTime`: exactly six digits after the point.
fn micro_time(at: Timestamp) -> String {
    format!("{at:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp::UNIX_EPOCH;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(holder: &str, renew_time: &str) -> Value {
        json!({
            "metadata": {"name": "l", "namespace": "ns", "resourceVersion": renew_time},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renew_time,
                "acquireTime": "1970-01-01T00:00:00.000000Z", "leaseTransitions": 3,
            },
        })
    }

    fn election() -> Election {
        Election::new("ns", "l", "me")
    }

    fn holder(verdict: &Verdict) -> Option<&str> {
        match verdict {
            Verdict::Write(request) => request
                .body
                .pointer("/spec/holderIdentity")
                .and_then(Value::as_str),
            _ => None,
        }
    }

    #[test]
    fn creates_what_is_not_there() {
        let Verdict::Write(request) = election().evaluate(None, seconds(0), WALL) else {
            panic!("must write")
        };
        assert_eq!(request.verb, Verb::Create);
        assert_eq!(
            request.body["spec"],
            json!({
                "holderIdentity": "me", "leaseDurationSeconds": 15, "acquireTime": "1970-01-01T00:00:00.000000Z",
                "renewTime": "1970-01-01T00:00:00.000000Z", "leaseTransitions": 0,
            })
        );
    }

    #[test]
    fn waits_for_anothers_lease_on_its_own_clock() {
        let mut election = election();
        // Its timestamps are years old; that says nothing.
        assert_eq!(
            election.evaluate(Some(&lease("other", "1")), seconds(100), WALL),
            Verdict::Yield(seconds(102))
        );
        assert_eq!(
            election.evaluate(Some(&lease("other", "1")), seconds(114), WALL),
            Verdict::Yield(seconds(115))
        );
        let taken = election.evaluate(Some(&lease("other", "1")), seconds(115), WALL);
        assert_eq!(holder(&taken), Some("me"));
        let Verdict::Write(request) = taken else {
            panic!("must write")
        };
        assert_eq!(request.body["spec"]["leaseTransitions"], json!(4));
        assert_eq!(request.body["metadata"]["resourceVersion"], json!("1"));
    }

    #[test]
    fn a_renewal_by_another_starts_the_wait_anew() {
        let mut election = election();
        election.evaluate(Some(&lease("other", "1")), seconds(0), WALL);
        election.evaluate(Some(&lease("other", "2")), seconds(14), WALL);
        assert_eq!(
            election.evaluate(Some(&lease("other", "2")), seconds(20), WALL),
            Verdict::Yield(seconds(22))
        );
    }

    #[test]
    fn takes_a_released_lease_at_once() {
        assert_eq!(
            holder(&election().evaluate(Some(&lease("", "1")), seconds(0), WALL)),
            Some("me")
        );
    }

    #[test]
    fn leads_ten_seconds_from_when_the_renewal_was_sent() {
        let mut election = election();
        assert!(!election.leads(seconds(0)));
        election.won(seconds(5));
        assert_eq!(election.remaining(seconds(8)), seconds(7));
        assert!(election.leads(seconds(14)));
        assert!(!election.leads(seconds(15)));
        assert_eq!(election.failed(seconds(14)), Verdict::Yield(seconds(16)));
        assert_eq!(election.failed(seconds(15)), Verdict::Lost);
    }

    #[test]
    fn a_leader_that_slept_too_long_stops_even_if_nobody_took_over() {
        let mut election = election();
        election.won(seconds(0));
        assert_eq!(
            election.evaluate(Some(&lease("me", "1")), seconds(60), WALL),
            Verdict::Lost
        );
    }

    #[test]
    fn a_leader_whose_lease_was_taken_or_deleted_stops() {
        for lease in [Some(lease("other", "1")), None] {
            let mut election = election();
            election.won(seconds(0));
            assert_eq!(election.evaluate(lease.as_ref(), seconds(1), WALL), Verdict::Lost);
            assert!(!election.leads(seconds(1)));
        }
    }

    #[test]
    fn releases_only_its_own() {
        let mut election = election();
        assert_eq!(election.release(&lease("me", "1"), WALL), None);
        election.won(seconds(0));
        let request = election.release(&lease("me", "1"), WALL).unwrap();
        assert_eq!(request.body["spec"]["holderIdentity"], json!(""));
        election.won(seconds(0));
        assert_eq!(election.release(&lease("other", "1"), WALL), None);
    }
}
