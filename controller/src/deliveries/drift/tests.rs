use serde::Deserialize as _;
use serde_json::json;

use super::*;
use crate::request::{SECRETS, SERVICES};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn key() -> ObjectKey {
    ObjectKey::new("shop", "shop")
}

fn id(kind: &str, name: &str) -> ObjectId {
    ObjectId {
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        ..ObjectId::default()
    }
}

fn state(version: &str) -> Fingerprint {
    let metadata = json!({"resourceVersion": version});
    Metadata::deserialize(&metadata).unwrap().fingerprint()
}

/// What one Delivery applied: a Service that is watched, and a Secret that is not.
struct Applied {
    drift: Drift,
    kinds: Kinds,
}

impl Applied {
    fn new() -> Self {
        let mut applied = Self {
            drift: Drift::default(),
            kinds: Kinds::default(),
        };
        applied.kinds.list_start(&SERVICES);
        assert!(applied.kinds.list_end(&SERVICES).is_empty());
        let now = at(0);
        assert_eq!(applied.due(now), Compare::Nothing);
        let settled =
            [("Service", "web"), ("Secret", "key")].map(|(kind, name)| (id(kind, name), state("1")));
        applied
            .drift
            .compared(&Compare::Everything, true, &settled.into(), |_| true, now);
        applied
    }

    fn due(&mut self, now: Timestamp) -> Compare {
        self.drift.due(&key(), &self.kinds, now)
    }

    fn seen(&mut self, version: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        self.drift
            .seen(id("Service", "web").unversioned(), version.map(state), now)
    }

    fn compared(&mut self, version: &str, changed: bool, now: Timestamp) {
        let compare = self.due(now);
        let settled = [(id("Service", "web"), state(version))];
        self.drift
            .compared(&compare, false, &settled.into(), |_| changed, now);
    }
}

fn these(ids: &[ObjectId]) -> Compare {
    Compare::These(ids.iter().map(ObjectId::unversioned).collect())
}

#[test]
fn all_is_compared_once_some_time_after_the_start() {
    let (mut drift, kinds) = (Drift::default(), Kinds::default());
    assert_eq!(drift.due(&key(), &kinds, at(0)), Compare::Nothing);
    let first = drift.wake().unwrap();
    assert!(first >= at(0) && first < at(600), "{first}");
    assert_eq!(drift.due(&key(), &kinds, first), Compare::Everything);
    // its objects could not be had
    drift.compared(&Compare::Everything, false, &BTreeMap::new(), |_| false, first);
    assert_eq!(drift.due(&key(), &kinds, first), Compare::Nothing);
    let second = drift.wake().unwrap();
    assert_eq!(second, first + PERIOD);
    assert_eq!(drift.due(&key(), &kinds, second), Compare::Everything);
    drift.compared(&Compare::Everything, true, &BTreeMap::new(), |_| false, second);
    assert_eq!(drift.due(&key(), &kinds, second + PERIOD), Compare::Nothing);
    drift.forget();
    assert_eq!(drift.due(&key(), &kinds, first), Compare::Everything);
}

#[test]
fn what_was_applied_here_needs_no_first_comparison() {
    for (inventory, expected) in [
        (vec![id("Service", "web")], Compare::Nothing),
        (
            vec![id("Service", "web"), id("Service", "other")],
            Compare::Everything,
        ),
    ] {
        let (mut drift, mut kinds) = (Drift::default(), Kinds::default());
        kinds.list_start(&SERVICES);
        kinds.list_end(&SERVICES);
        drift.due(&key(), &kinds, at(0));
        let settled = [(id("Service", "web"), state("1"))];
        drift.compared(&Compare::Nothing, false, &settled.into(), |_| true, at(0));
        let inventory: Vec<String> = inventory.iter().map(ObjectId::to_string).collect();
        drift.keep(&inventory);
        assert_eq!(drift.due(&key(), &kinds, at(600)), expected);
    }
}

#[test]
fn a_change_is_compared_after_a_second_and_alone() {
    let mut applied = Applied::new();
    assert_eq!(applied.seen(Some("1"), at(5)), None, "as it was left");
    assert_eq!(applied.seen(Some("2"), at(5)), Some(at(6)));
    assert_eq!(
        applied.seen(Some("3"), at(5)),
        Some(at(6)),
        "one comparison does for both"
    );
    assert_eq!(applied.due(at(5)), Compare::Nothing);
    assert_eq!(applied.drift.wake(), Some(at(6)));
    assert_eq!(applied.due(at(6)), these(&[id("Service", "web")]));
    applied.compared("4", true, at(6));
    assert_eq!(applied.due(at(7)), Compare::Nothing);
    assert_eq!(applied.seen(Some("4"), at(7)), None, "our own write");
}

#[test]
fn what_cannot_be_compared_is_asked_for_again_later() {
    let mut applied = Applied::new();
    applied.seen(Some("2"), at(5));
    let compare = applied.due(at(6));
    applied
        .drift
        .compared(&compare, false, &BTreeMap::new(), |_| false, at(6));
    assert_eq!(applied.due(at(7)), Compare::Nothing);
    let due = at(6) + PERIOD;
    assert_eq!(
        applied.due(due),
        these(&[id("Secret", "key"), id("Service", "web")])
    );
}

#[test]
fn what_is_gone_is_compared() {
    let mut applied = Applied::new();
    assert_eq!(applied.seen(None, at(5)), Some(at(6)));
    assert_eq!(applied.due(at(6)), these(&[id("Service", "web")]));
    // it was put back, and its watch says so later
    applied.compared("2", true, at(6));
    assert_eq!(applied.seen(None, at(7)), Some(at(8)));
    assert_eq!(applied.seen(Some("2"), at(7)), None);
    assert_eq!(applied.due(at(9)), Compare::Nothing);
}

#[test]
fn an_object_that_changes_all_the_time_is_compared_less_and_less() {
    let mut applied = Applied::new();
    let mut now = at(0);
    let mut waits = Vec::new();
    for version in 2..15 {
        let due = applied.seen(Some(&version.to_string()), now).unwrap();
        waits.push(due.duration_since(now).as_secs());
        applied.compared(&version.to_string(), false, due);
        now = due;
    }
    assert_eq!(waits, [1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 601, 601]);
    let due = applied.seen(Some("20"), now).unwrap();
    applied.compared("21", true, due);
    assert_eq!(applied.seen(Some("22"), due), Some(due + GATHER), "a real change");
}

#[test]
fn what_no_watch_covers_is_compared_every_ten_minutes() {
    let mut applied = Applied::new();
    assert_eq!(applied.due(at(599)), Compare::Nothing);
    assert_eq!(applied.due(at(600)), these(&[id("Secret", "key")]));
    assert_eq!(applied.due(at(600)), Compare::Nothing, "asked once");
    applied.kinds.lost(&SERVICES);
    assert_eq!(
        applied.due(at(1200)),
        these(&[id("Secret", "key"), id("Service", "web")])
    );
}

#[test]
fn what_a_new_list_does_not_show_is_gone() {
    let mut applied = Applied::new();
    let key = key();
    let mut look = |there: &[ObjectId]| {
        let there = there.iter().map(ObjectId::unversioned).collect();
        missing(&SERVICES, &there, [(&key, &mut applied.drift)].into_iter(), at(5))
    };
    assert_eq!(look(&[id("Service", "web"), id("Service", "other")]), []);
    assert_eq!(look(&[id("Service", "other")]), [(key.clone(), at(6))]);
}

#[test]
fn what_is_applied_no_more_is_forgotten() {
    let mut applied = Applied::new();
    applied.drift.keep(&[id("Service", "web").to_string()]);
    assert_eq!(applied.due(at(600)), Compare::Nothing);
    applied.drift.keep(&[]);
    assert_eq!(applied.seen(Some("2"), at(601)), None);
}

#[test]
fn kinds_that_are_watched_for_this() {
    let mut kinds = Kinds::beside(Part::All);
    let config_maps = Resource::discovered("v1", "configmaps", "ConfigMap", true);
    for resource in [&SECRETS, &SERVICES, config_maps, config_maps] {
        kinds.want(resource);
    }
    // Services are watched anyway, and Secrets never
    assert_eq!(kinds.wanted().collect::<Vec<_>>(), [config_maps]);
    let mut alone = Kinds::beside(Part::Deliveries);
    alone.want(&SERVICES);
    assert!(alone.wanted().eq([&SERVICES]));
    for number in 0..2 * MAX_KINDS {
        let kind = format!("Kind{number}");
        kinds.want(Resource::discovered(
            "test.io/v1",
            &kind.to_lowercase(),
            &kind,
            true,
        ));
    }
    assert_eq!(kinds.wanted().count(), MAX_KINDS);
}
