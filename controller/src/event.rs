//! Events as objects (contract 2.8), with names that a second attempt repeats.

use std::hash::Hasher;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::{API_VERSION, DELIVERY_API_VERSION};
use tidegate_engine::Event;

use crate::queue::Fnv;
use crate::request::{EVENTS, Request};

/// Component in the source of every event (contract 2.8).
const COMPONENT: &str = "rollouts-controller";
/// Longest message that the API server takes.
const MAX_MESSAGE: usize = 1024;
/// Longest name of an object, less the suffix.
const MAX_PREFIX: usize = 253 - 22;

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// uid.
    pub uid: String,
    /// resourceVersion.
    pub resource_version: String,
}

impl Subject {
    fn api_version(&self) -> &'static str {
        match self.kind {
            "Delivery" => DELIVERY_API_VERSION,
            _ => API_VERSION,
        }
    }
}

/// What an event says.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// Reason, as upstream's.
    pub reason: &'a str,
    /// Message, as upstream's.
    pub message: &'a str,
    /// What makes this occurrence different from another with the same words.
    pub occurrence: &'a str,
}

impl<'a> From<&'a Event> for Words<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            warning: event.warning,
            reason: event.reason,
            message: &event.message,
            occurrence: &event.occurrence,
        }
    }
}

/// The place of an event among those of the same second: clients sort by time and then by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    version: u64,
    number: u8,
}

impl Order {
    /// The first event that follows from objects of these resourceVersions. Whoever sees the same again has the same order.
    pub fn of<'v>(versions: impl IntoIterator<Item = &'v str>) -> Self {
        let versions = versions.into_iter().filter_map(|version| version.parse().ok());
        Self {
            version: versions.max().unwrap_or(0),
            number: 0,
        }
    }

    /// This one; each call answers a later one.
    #[must_use]
    pub fn step(&mut self) -> Self {
        let this = *self;
        self.number = self.number.saturating_add(1);
        this
    }
}

/// The request that records `event` about `subject`. The name follows from what it says and from what was seen, not from
/// the clock, so that recording it again after a crash meets the first one.
pub fn record<'a>(subject: &Subject, event: impl Into<Words<'a>>, order: Order, now: Timestamp) -> Request {
    let event = event.into();
    let time = tidegate_crds::Time::from(now);
    let message = cut(event.message, MAX_MESSAGE);
    let body: Value = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": subject.namespace, "name": name(subject, &event, order)},
        "involvedObject": {
            "apiVersion": subject.api_version(),
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
            "resourceVersion": subject.resource_version,
        },
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    });
    Request::create(&EVENTS, &subject.namespace, body)
}

fn name(subject: &Subject, event: &Words<'_>, order: Order) -> String {
    let mut digest = Fnv::default();
    for part in [
        subject.uid.as_str(),
        event.reason,
        event.message,
        event.occurrence,
    ] {
        digest.write(part.as_bytes());
        digest.write(&[0]);
    }
    let Order { version, number } = order;
    // Of one length, so that the order of names is that of numbers.
    format!(
        "{}.{:011x}{number:02x}{:08x}",
        cut(&subject.name, MAX_PREFIX).trim_end_matches(['.', '-']),
        version & 0xfff_ffff_ffff,
        digest.finish() >> 32
    )
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            kind: "Rollout",
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u-1".into(),
            resource_version: "7".into(),
        }
    }

    fn event(occurrence: &str) -> Event {
        Event {
            warning: false,
            reason: "RolloutUpdated",
            message: "Rollout updated to revision 2".into(),
            occurrence: occurrence.into(),
        }
    }

    #[test]
    fn the_whole_object() {
        let order = Order::of(["7"]);
        let request = record(
            &subject(),
            &event("2"),
            order,
            Timestamp::from_second(1_000).unwrap(),
        );
        let name = request.body["metadata"]["name"].as_str().unwrap().to_owned();
        assert_eq!(
            request,
            Request::create(
                &EVENTS,
                "shop",
                json!({
                    "apiVersion": "v1", "kind": "Event",
                    "metadata": {"namespace": "shop", "name": name},
                    "involvedObject": {
                        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "namespace": "shop", "name": "web",
                        "uid": "u-1", "resourceVersion": "7",
                    },
                    "type": "Normal", "reason": "RolloutUpdated", "message": "Rollout updated to revision 2",
                    "source": {"component": "rollouts-controller"},
                    "firstTimestamp": "1970-01-01T00:16:40Z", "lastTimestamp": "1970-01-01T00:16:40Z", "count": 1,
                })
            )
        );
    }

    #[test]
    fn the_name_follows_from_what_is_said_not_from_when() {
        let at = |second, occurrence| {
            let request = record(
                &subject(),
                &event(occurrence),
                Order::default(),
                Timestamp::from_second(second).unwrap(),
            );
            request.body["metadata"]["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(at(1, "a"), at(2, "a"));
        assert_ne!(at(1, "a"), at(1, "b"));
        assert_eq!(at(1, "a").len(), "web.".len() + 21);
    }

    #[test]
    fn names_are_in_the_order_in_which_things_happened() {
        let mut names = Vec::new();
        for versions in [["9", "7"], ["10", "7"], ["10", "200"], ["1000", "x"]] {
            let mut order = Order::of(versions);
            for occurrence in ["b", "a", "c"] {
                let request = record(
                    &subject(),
                    &event(occurrence),
                    order.step(),
                    Timestamp::UNIX_EPOCH,
                );
                names.push(request.body["metadata"]["name"].as_str().unwrap().to_owned());
            }
        }
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn limits() {
        let long = Subject {
            name: "é".repeat(200),
            ..subject()
        };
        let request = record(
            &long,
            &Event {
                message: "x".repeat(2000),
                ..event("")
            },
            Order::of(["18446744073709551615"]),
            Timestamp::UNIX_EPOCH,
        );
        assert!(request.body["metadata"]["name"].as_str().unwrap().len() <= 253);
        assert_eq!(request.body["message"].as_str().unwrap().len(), 1024);
    }
}
