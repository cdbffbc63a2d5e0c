//! The scheduler and all kubelets in one: pods start late, crash, never become ready, and drain when they end.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Actor, Cx, Dirty, Key, is_deleting, key_of, kind_of, object_of, stamp, text, uid_of};
use crate::api::kinds;
use crate::behavior::Behavior;
use crate::dataplane::Backend;
use crate::store::Commit;

/// First and longest wait before a container that crashed is started again.
const CRASH_BACKOFF: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(10), SignedDuration::from_secs(300));

/// All kubelets.
#[derive(Debug)]
pub struct Kubelet {
    /// Between these it takes a pod to start, unless its template says how long.
    pub start: (SignedDuration, SignedDuration),
    /// By pod template hash: when its pods become ready, in the order in which they come (`None`: never). Those beyond
    /// take what [`Kubelet::start`] says.
    ready_at: BTreeMap<String, VecDeque<Option<Timestamp>>>,
    dirty: Dirty,
    pods: BTreeMap<Key, Pod>,
    addresses: u32,
}

#[derive(Debug)]
struct Pod {
    uid: String,
    behavior: Behavior,
    hash: String,
    address: u32,
    restarts: u32,
    state: State,
    due: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Running,
    Crashed,
    Draining,
}

impl Default for Kubelet {
    fn default() -> Self {
        Self {
            start: (
                SignedDuration::from_millis(300),
                SignedDuration::from_millis(1500),
            ),
            ready_at: BTreeMap::new(),
            dirty: Dirty::default(),
            pods: BTreeMap::new(),
            addresses: 0,
        }
    }
}

impl Actor for Kubelet {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn notice(&mut self, commit: &Commit) -> bool {
        kind_of(commit) == "Pod" && {
            let key = key_of(object_of(commit));
            let known = self.pods.get(&key).is_some_and(|pod| {
                pod.uid == uid_of(object_of(commit))
                    && commit.after.is_some()
                    && is_deleting(object_of(commit)) == (pod.state == State::Draining)
            });
            !known && self.dirty.mark(key)
        }
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        for key in self.dirty.take() {
            self.look(cx, key);
        }
        let due: Vec<Key> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.due.is_some_and(|at| at <= cx.now))
            .map(|(k, _)| k.clone())
            .collect();
        for key in due {
            self.proceed(cx, &key);
        }
        self.pods.values().filter_map(|pod| pod.due).min()
    }
}

impl Kubelet {
    /// One whose pods become ready at given times, by pod template hash and in the order in which they come; `None` is never.
    pub fn with_ready_times(ready_at: BTreeMap<String, VecDeque<Option<Timestamp>>>) -> Self {
        Self {
            ready_at,
            ..Self::default()
        }
    }

    /// Looks at a pod that is new, told to end, or gone.
    fn look(&mut self, cx: &mut Cx<'_>, key: Key) {
        let object = cx.api.get(&kinds::PODS, &key.0, &key.1);
        let same = |pod: &Pod| object.as_ref().is_some_and(|o| uid_of(o) == pod.uid);
        if let Some(pod) = self.pods.get_mut(&key) {
            if same(pod) && !object.as_ref().is_some_and(|o| is_deleting(o)) {
                return;
            }
            if pod.state != State::Draining {
                let serving = pod.state == State::Running && !pod.behavior.never_ready;
                pod.state = State::Draining;
                pod.due = Some(if serving {
                    cx.now + pod.behavior.drain
                } else {
                    cx.now
                });
            }
            return;
        }
        let Some(object) = object else { return };
        if is_deleting(&object) {
            let _ = cx.api.remove(&kinds::PODS, &key.0, &key.1);
            return;
        }
        let behavior = Behavior::of(&object);
        let hash = text(&object["metadata"]["labels"]["rollouts-pod-template-hash"]).to_owned();
        let due = match self.ready_at.get_mut(&hash).and_then(VecDeque::pop_front) {
            Some(at) => at,
            None => Some(cx.now + behavior.start.unwrap_or_else(|| cx.rng.between(self.start))),
        };
        self.addresses += 1;
        let pod = Pod {
            uid: uid_of(&object).to_owned(),
            behavior,
            hash,
            address: self.addresses,
            restarts: 0,
            state: State::Starting,
            due,
        };
        self.pods.insert(key, pod);
    }

    /// Does what is due for a pod.
    fn proceed(&mut self, cx: &mut Cx<'_>, key: &Key) {
        let Some(pod) = self.pods.get_mut(key) else { return };
        let place = format!("{}/{}", key.0, key.1);
        let backend = |serving| Backend {
            hash: pod.hash.clone(),
            behavior: pod.behavior.clone(),
            serving,
        };
        match pod.state {
            State::Draining => {
                cx.dataplane.set_backend(place, None);
                self.pods.remove(key);
                // the store may have let go of it long ago
                let _ = cx.api.remove(&kinds::PODS, &key.0, &key.1);
                // a pod of the same name that came meanwhile, or one that ended before it began
                self.dirty.mark(key.clone());
                for key in self.dirty.take() {
                    self.look(cx, key);
                }
            }
            State::Starting | State::Crashed => {
                let ready = !pod.behavior.never_ready;
                pod.state = State::Running;
                pod.due = pod.behavior.crash_after.map(|after| cx.now + after);
                cx.dataplane.set_backend(place, Some(backend(ready)));
                write_status(cx, key, pod, ready);
            }
            State::Running => {
                pod.state = State::Crashed;
                let wait = CRASH_BACKOFF.0 * 2_i32.saturating_pow(pod.restarts.min(8));
                pod.due = Some(cx.now + wait.min(CRASH_BACKOFF.1));
                pod.restarts += 1;
                cx.dataplane.set_backend(place, Some(backend(false)));
                write_status(cx, key, pod, false);
            }
        }
    }
}

fn write_status(cx: &mut Cx<'_>, key: &Key, pod: &Pod, ready: bool) {
    let Some(object) = cx.api.get(&kinds::PODS, &key.0, &key.1) else {
        return;
    };
    let truth = |t: bool| if t { "True" } else { "False" };
    let condition = |kind: &str, status: bool| {
        let before = super::condition(&object, kind).filter(|c| c["status"] == truth(status));
        let since = before.map_or_else(|| stamp(cx.now), |c| text(&c["lastTransitionTime"]).to_owned());
        json!({"type": kind, "status": truth(status), "lastTransitionTime": since})
    };
    let state = if pod.state == State::Crashed {
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}})
    } else {
        json!({"running": {"startedAt": stamp(cx.now)}})
    };
    let containers: Vec<Value> = object["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            json!({
                "name": c["name"], "image": c["image"], "imageID": "", "ready": ready, "started": ready,
                "restartCount": pod.restarts, "state": state,
            })
        })
        .collect();
    let address = format!(
        "10.{}.{}.{}",
        pod.address >> 16 & 255,
        pod.address >> 8 & 255,
        pod.address & 255
    );
    let status = json!({
        "phase": "Running",
        "podIP": address,
        "startTime": stamp(cx.now),
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true), condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "containerStatuses": containers,
    });
    let _ = cx.api.replace_status(&kinds::PODS, &object, status);
}
