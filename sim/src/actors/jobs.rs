//! The Job controller: a Job ends after a while, well or badly as its template says.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Actor, Cx, Dirty, Key, is_deleting, key_of, kind_of, object_of, stamp};
use crate::api::kinds;
use crate::behavior::Behavior;
use crate::store::Commit;

/// How long it takes from a Job's creation to its pod's start.
const START: SignedDuration = SignedDuration::from_millis(500);

/// The Job controller.
#[derive(Debug, Default)]
pub struct Jobs {
    dirty: Dirty,
    running: BTreeMap<Key, (Timestamp, bool)>,
}

impl Actor for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        kind_of(commit) == "Job" && self.dirty.mark(key_of(object_of(commit)))
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        for key in self.dirty.take() {
            match cx
                .api
                .get(&kinds::JOBS, &key.0, &key.1)
                .filter(|job| !is_deleting(job))
            {
                None => {
                    self.running.remove(&key);
                }
                Some(job) if job["status"]["startTime"].is_null() => {
                    let behavior = Behavior::of(&job["spec"]["template"]);
                    self.running
                        .insert(key, (cx.now + START + behavior.job, behavior.job_fails));
                    let status = json!({"startTime": stamp(cx.now), "active": 1});
                    let _ = cx.api.replace_status(&kinds::JOBS, &job, status);
                }
                Some(_) => {}
            }
        }
        let ended: Vec<Key> = self
            .running
            .iter()
            .filter(|(_, (at, _))| *at <= cx.now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            let Some((_, fails)) = self.running.remove(&key) else {
                continue;
            };
            let Some(job) = cx.api.get(&kinds::JOBS, &key.0, &key.1) else {
                continue;
            };
            let condition = |kind: &str, reason: &str, message: &str| {
                json!([{
                    "type": kind, "status": "True", "reason": reason, "message": message,
                    "lastTransitionTime": stamp(cx.now), "lastProbeTime": stamp(cx.now),
                }])
            };
            let mut status = job["status"].clone();
            if let Some(status) = status.as_object_mut() {
                status.remove("active");
            }
            if fails {
                status["failed"] = 1.into();
                let message = "Job has reached the specified backoff limit";
                status["conditions"] = condition("Failed", "BackoffLimitExceeded", message);
            } else {
                status["succeeded"] = 1.into();
                status["completionTime"] = stamp(cx.now).into();
                status["conditions"] = condition(
                    "Complete",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                );
            }
            let _ = cx.api.replace_status(&kinds::JOBS, &job, status);
        }
        self.running.values().map(|(at, _)| *at).min()
    }
}
