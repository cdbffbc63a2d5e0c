use serde_json::{Value, json};
use tidegate_crds::Delivery;

use super::*;
use crate::observed::Observed;
use crate::plan::{Plan, plan};
use crate::remote::RemoteError;
use crate::tree::Oid;

const GOOD: &str = "41d0000000000000000000000000000000000000";
const BAD: &str = "9f3c000000000000000000000000000000000000";

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// A Delivery whose newest commit was rejected a minute ago, held at the one before, which was good long ago.
fn rejected(notify: &Value) -> Observed {
    let good = json!({"revision": format!("main@sha1:{GOOD}"), "digest": "sha256:good"});
    let delivery = json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "d", "generation": 1},
        "spec": {
            "source": {"git": {"url": "https://git.example.com/shop/deploy.git", "secretRef": {"name": "deploy"}}},
            "feedback": {"forge": {"type": "Gitea"}, "commitStatus": false, "notify": notify},
        },
        "status": {
            "observedGeneration": 1,
            "head": {"revision": format!("main@sha1:{BAD}"), "digest": "sha256:bad"},
            "target": good, "applied": good, "verified": good, "why": "Pinned",
            "ledger": [
                {
                    "digest": "sha256:bad", "commits": [BAD], "subject": "Faster", "author": "Ann", "state": "Rejected",
                    "reason": "AnalysisFailed", "message": "error-rate is 0.08", "since": "2026-01-02T03:03:05Z",
                },
                {
                    "digest": "sha256:good", "commits": [GOOD], "subject": "Solid", "state": "Deployed",
                    "since": "2025-12-01T00:00:00Z", "objects": 0, "stored": true,
                },
            ],
        },
    });
    let head = Oid::parse(BAD).unwrap();
    Observed {
        delivery: serde_json::from_value::<Delivery>(delivery).unwrap(),
        head: Some(Ok(head.clone())),
        tip: Some(head),
        ..Observed::default()
    }
}

/// What is told, and to which chat.
fn told(plan: &Plan) -> Vec<(usize, String, Note)> {
    let told = plan.tasks.iter().map(|task| match task {
        Task::Notify(chat, key, note) => (*chat, key.clone(), (**note).clone()),
        other => panic!("{other:?}"),
    });
    told.collect()
}

fn records(plan: &Plan) -> Vec<&[String]> {
    let entries = plan.status.ledger.iter();
    entries.map(|entry| entry.notified.as_slice()).collect()
}

fn slack() -> Value {
    json!([{"type": "Slack", "secretRef": {"name": "team"}}])
}

const KEY: &str = "Slack/team 9f3c000000000000000000000000000000000000 Rejected";

#[test]
fn a_rejection_is_told_once() {
    let mut observed = rejected(&slack());
    let first = plan(&observed, now());
    let note = Note {
        news: News::Rejected,
        delivery: ("shop".to_owned(), "web".to_owned()),
        commit: BAD.to_owned(),
        subject: "Faster".to_owned(),
        author: "Ann".to_owned(),
        message: format!("AnalysisFailed: error-rate is 0.08\nThe cluster is held at main@sha1:{GOOD}"),
        link: format!("https://git.example.com/shop/deploy/commit/{BAD}"),
        since: "2026-01-02T03:03:05Z".parse().unwrap(),
    };
    assert_eq!(told(&first), [(0, KEY.to_owned(), note)]);
    assert!(
        first.write_first,
        "the verdict is written before others hear of it"
    );

    observed.notified.insert(KEY.to_owned(), Ok(()));
    let second = plan(&observed, now());
    assert!(second.tasks.is_empty());
    assert_eq!(records(&second), [&[KEY.to_owned()][..], &[]]);

    observed.delivery.status = second.status;
    observed.notified.clear();
    assert_eq!(plan(&observed, now()).tasks, []);
}

#[test]
fn a_broken_chat_keeps_nobody_else_waiting() {
    let two = json!([
        {"type": "Slack", "secretRef": {"name": "team"}},
        {"type": "WeCom", "secretRef": {"name": "team"}},
    ]);
    let mut observed = rejected(&two);
    assert_eq!(told(&plan(&observed, now())).len(), 2);
    let error = RemoteError::Refused("hooks.example.com: 404".to_owned());
    observed.notified.insert(KEY.to_owned(), Err(error));
    let later = now() + SignedDuration::from_secs(5);
    observed.retry_at.insert(RETRY[0], later);
    let after = plan(&observed, now());
    let keys: Vec<usize> = told(&after).into_iter().map(|(chat, ..)| chat).collect();
    assert_eq!(keys, [1]);
    assert_eq!(after.wake, Some(later));
    let event = after
        .events
        .iter()
        .find(|event| event.reason == "NotifyFailed")
        .unwrap();
    assert_eq!(
        event.message,
        "Slack/team could not be told: hooks.example.com: 404"
    );
    assert_eq!(records(&after), [&[] as &[String], &[]]);
}

#[test]
fn each_chat_hears_what_it_wants() {
    let news = |on: Value, change: &dyn Fn(&mut Observed)| {
        let mut observed = rejected(&json!([{"type": "Slack", "secretRef": {"name": "team"}, "on": on}]));
        change(&mut observed);
        let told = told(&plan(&observed, now())).into_iter();
        told.map(|(_, _, note)| (note.news, note.link))
            .collect::<Vec<_>>()
    };
    let commit = |commit: &str| format!("https://git.example.com/shop/deploy/commit/{commit}");
    let as_it_is = |_: &mut Observed| {};
    let taken_back = |observed: &mut Observed| {
        observed.delivery.status.ledger[0].revert = Some(tidegate_crds::LedgerRevert {
            commit: GOOD.to_owned(),
            pull_request: "https://git.example.com/shop/deploy/pulls/7".to_owned(),
            done: true,
            ..tidegate_crds::LedgerRevert::default()
        });
    };
    let hours_ago = |observed: &mut Observed| {
        observed.delivery.status.ledger[0].since = Some((now() - SignedDuration::from_hours(4)).into());
    };
    let heard_of = |observed: &mut Observed| {
        hours_ago(observed);
        observed.delivery.status.ledger[0].notified = vec![format!("Slack/team {BAD} Good")];
    };
    assert_eq!(news(json!(["Good"]), &as_it_is), []);
    assert_eq!(news(json!(["TakenBack"]), &as_it_is), []);
    assert_eq!(
        news(json!([]), &hours_ago),
        [],
        "a chat that is added later is not told the past"
    );
    assert_eq!(news(json!([]), &heard_of), [(News::Rejected, commit(BAD))]);
    assert_eq!(
        news(json!([]), &taken_back),
        [(
            News::TakenBack,
            "https://git.example.com/shop/deploy/pulls/7".to_owned()
        )]
    );
    assert_eq!(
        news(json!(["Rejected"]), &taken_back),
        [(News::Rejected, commit(BAD))]
    );
}

#[test]
fn what_is_good_after_a_rejection_is_news() {
    let entry = |state| LedgerEntry {
        state,
        ..LedgerEntry::default()
    };
    let (good, bad) = (entry(VerdictState::Verified), entry(VerdictState::Rejected));
    assert_eq!(news(&good, Some(&bad)), [News::Recovered]);
    assert_eq!(news(&good, Some(&good)), [News::Good]);
    assert_eq!(news(&good, None), [News::Good]);
    assert_eq!(
        news(&entry(VerdictState::Regressed), Some(&good)),
        [News::Regressed]
    );
    assert_eq!(news(&entry(VerdictState::Paused), Some(&bad)), []);
}

#[test]
fn names_of_chats_are_not_mixed_up() {
    let chat = |secret: &str| {
        let feedback = json!({"notify": [{"type": "Slack", "secretRef": {"name": secret}}]});
        let feedback: tidegate_crds::DeliveryFeedback = serde_json::from_value(feedback).unwrap();
        crate::notify::chats(&feedback).unwrap().remove(0)
    };
    assert!(is_of("Slack/team 9f3c Rejected", &chat("team")));
    assert!(!is_of("Slack/team-2 9f3c Rejected", &chat("team")));
}
