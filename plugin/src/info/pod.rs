//! The state of a pod in one word, as `kubectl get pods` says it.

use serde::Deserialize;
use tidegate_crds::ObjectMeta;

/// What is read of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    init_containers: Vec<Container>,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    reason: String,
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    ready: bool,
    started: Option<bool>,
    restart_count: i64,
    state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Cause>,
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Cause {
    reason: String,
    exit_code: i64,
    signal: i64,
}

impl Cause {
    fn end(&self) -> String {
        match (self.reason.as_str(), self.signal) {
            ("", 0) => format!("ExitCode:{}", self.exit_code),
            ("", signal) => format!("Signal:{signal}"),
            (reason, _) => reason.to_owned(),
        }
    }
}

/// What is said of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `Running`, `CrashLoopBackOff`, `Init:0/1`, ….
    pub(crate) status: String,
    /// Ready containers.
    pub(crate) ready: usize,
    /// Containers.
    pub(crate) containers: usize,
    /// Restarts of its containers.
    pub(crate) restarts: i64,
}

impl Pod {
    pub(crate) fn summary(&self) -> Summary {
        let status = &self.status;
        let mut said = if status.reason.is_empty() {
            status.phase.clone()
        } else {
            status.reason.clone()
        };
        let mut ready = 0;
        let mut restarts = 0;
        if let Some((initializing, restarted)) = self.initializing() {
            said = initializing;
            restarts = restarted;
        } else {
            let mut running = false;
            for container in status.container_statuses.iter().rev() {
                restarts += container.restart_count;
                let state = &container.state;
                match (&state.waiting, &state.terminated) {
                    (Some(waiting), _) if !waiting.reason.is_empty() => said.clone_from(&waiting.reason),
                    (_, Some(terminated)) => said = terminated.end(),
                    _ if container.ready && state.running.is_some() => {
                        running = true;
                        ready += 1;
                    }
                    _ => {}
                }
            }
            if said == "Completed" && running {
                "Running".clone_into(&mut said);
            }
        }
        if self.metadata.deletion_timestamp.is_some() {
            let lost = status.reason == "NodeLost";
            if lost { "Unknown" } else { "Terminating" }.clone_into(&mut said);
        }
        Summary {
            status: said,
            ready,
            containers: self.spec.containers.len(),
            restarts,
        }
    }

    /// What the first init container that is not done is at, and the restarts so far.
    fn initializing(&self) -> Option<(String, i64)> {
        let mut restarts = 0;
        for (index, container) in self.status.init_container_statuses.iter().enumerate() {
            restarts += container.restart_count;
            let state = &container.state;
            let done = state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
            if done || (self.is_sidecar(&container.name) && container.started == Some(true)) {
                continue;
            }
            let said = match (&state.terminated, &state.waiting) {
                (Some(end), _) => format!("Init:{}", end.end()),
                (_, Some(waiting)) if !["", "PodInitializing"].contains(&waiting.reason.as_str()) => {
                    format!("Init:{}", waiting.reason)
                }
                _ => format!("Init:{index}/{}", self.spec.init_containers.len()),
            };
            return Some((said, restarts));
        }
        None
    }

    fn is_sidecar(&self, name: &str) -> bool {
        let mut containers = self.spec.init_containers.iter();
        containers.any(|container| container.name == name && container.restart_policy == "Always")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Status, ready containers and restarts of a pod with these init containers and containers, and these fields.
    fn of(init: &Value, main: &Value, extra: &Value) -> (String, usize, i64) {
        let mut pod = json!({
            "metadata": {},
            "spec": {
                "initContainers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}],
                "containers": [{"name": "main"}, {"name": "log"}],
            },
            "status": {"phase": "Pending", "initContainerStatuses": init, "containerStatuses": main},
        });
        for (pointer, value) in extra.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        let summary = serde_json::from_value::<Pod>(pod).unwrap().summary();
        (summary.status, summary.ready, summary.restarts)
    }

    fn running() -> Value {
        json!({"ready": true, "state": {"running": {}}, "restartCount": 2})
    }

    fn waiting(reason: &str) -> Value {
        json!({"name": "a", "state": {"waiting": {"reason": reason}}, "restartCount": 1})
    }

    fn ended(reason: &str, code: i64) -> Value {
        json!({"name": "a", "state": {"terminated": {"reason": reason, "exitCode": code}}})
    }

    #[test]
    fn as_kubectl_says_it() {
        let table = [
            (json!([]), json!({}), ("Pending", 0, 0)),
            (
                json!([running(), running()]),
                json!({"/status/phase": "Running"}),
                ("Running", 2, 4),
            ),
            (
                json!([running(), waiting("CrashLoopBackOff")]),
                json!({}),
                ("CrashLoopBackOff", 1, 3),
            ),
            (json!([ended("", 3)]), json!({}), ("ExitCode:3", 0, 0)),
            (
                json!([ended("Completed", 0), running()]),
                json!({}),
                ("Running", 1, 2),
            ),
            (
                json!([running()]),
                json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"}),
                ("Terminating", 1, 2),
            ),
            (
                json!([]),
                json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z", "/status/reason": "NodeLost"}),
                ("Unknown", 0, 0),
            ),
        ];
        for (main, extra, (status, ready, restarts)) in table {
            let is = of(&json!([]), &main, &extra);
            assert_eq!(is, (status.to_owned(), ready, restarts), "{main} {extra}");
        }
    }

    #[test]
    fn init_containers_as_kubectl_says_them() {
        let table = [
            (json!([waiting("PodInitializing")]), json!([]), ("Init:0/2", 0, 1)),
            (
                json!([waiting("ErrImagePull")]),
                json!([]),
                ("Init:ErrImagePull", 0, 1),
            ),
            (json!([ended("Error", 1)]), json!([]), ("Init:Error", 0, 0)),
            (
                json!([ended("Completed", 0), {"name": "b", "started": true}]),
                json!([running()]),
                ("Pending", 1, 2),
            ),
        ];
        for (init, main, (status, ready, restarts)) in table {
            let is = of(&init, &main, &json!({}));
            assert_eq!(is, (status.to_owned(), ready, restarts), "{init} {main}");
        }
    }
}
