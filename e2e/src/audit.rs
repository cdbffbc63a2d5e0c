//! The API server's audit log: what a client asked for, and what it got.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// The requests of the counted users from a moment on: of all service accounts of workloads, and of the users `tidegate` and
/// `client`. The API server writes a request before it answers it.
#[derive(Debug)]
pub struct AuditLog {
    file: PathBuf,
    from: u64,
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditedRequest {
    /// `tidegate`, or `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// `rollouts.argoproj.io`, or `rollouts.argoproj.io/status` for a subresource.
    pub resource: String,
    /// Empty for objects that are in none.
    pub namespace: String,
    /// Of the object; empty for a list, a watch, and where the server chose the name.
    pub name: String,
    /// HTTP status code.
    pub code: u16,
    /// Whether the user had no right to it. A 403 alone may be something else: a namespace that is being removed takes no
    /// more objects.
    pub denied: bool,
    /// When it came.
    pub at: Timestamp,
    /// What a write sent.
    pub body: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: User,
    /// Whom the user acts for.
    impersonated_user: Option<User>,
    #[serde(default)]
    object_ref: Reference,
    response_status: Option<Status>,
    request_object: Option<Value>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

impl AuditLog {
    /// The requests from now on.
    pub(crate) fn from_now(file: PathBuf) -> Result<Self> {
        let from = File::open(&file).and_then(|mut file| file.seek(SeekFrom::End(0)));
        let from = from.with_context(|| format!("cannot read the audit log {}", file.display()))?;
        Ok(Self { file, from })
    }

    /// All requests since the cluster was made.
    pub(crate) fn from_start(file: PathBuf) -> Self {
        Self { file, from: 0 }
    }

    /// The requests so far. A watch is there once, from its first answer on.
    pub fn requests(&self) -> Result<Vec<AuditedRequest>> {
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut reader = BufReader::new(file);
        let mut requests = Vec::new();
        let mut line = String::new();
        // a line without an end is still being written
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let parsed: Line =
                serde_json::from_str(&line).with_context(|| format!("the audit log: {line}"))?;
            let last = if parsed.verb == "watch" {
                "ResponseStarted"
            } else {
                "ResponseComplete"
            };
            if parsed.stage == last || parsed.stage == "Panic" {
                requests.push(parsed.into());
            }
            line.clear();
        }
        Ok(requests)
    }

    /// The requests so far of one user.
    pub fn requests_of(&self, user: &str) -> Result<Vec<AuditedRequest>> {
        let mut requests = self.requests()?;
        requests.retain(|request| request.user == user);
        Ok(requests)
    }
}

impl AuditedRequest {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
    }

    /// Whether somebody else had changed the object, or made it already.
    pub fn is_conflict(&self) -> bool {
        self.code == 409
    }

    /// How many of them by verb and resource, to print and to compare: `patch rollouts.argoproj.io/status` → 3.
    pub fn count<'a>(requests: impl IntoIterator<Item = &'a Self>) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in requests {
            *counts
                .entry(format!("{} {}", request.verb, request.resource))
                .or_default() += 1;
        }
        counts
    }
}

impl From<Line> for AuditedRequest {
    fn from(line: Line) -> Self {
        let mut resource = line.object_ref.resource;
        for (sign, part) in [
            ('.', line.object_ref.api_group),
            ('/', line.object_ref.subresource),
        ] {
            if !part.is_empty() {
                resource.push(sign);
                resource.push_str(&part);
            }
        }
        Self {
            user: line.impersonated_user.unwrap_or(line.user).username,
            verb: line.verb,
            resource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            code: line.response_status.map_or(0, |status| status.code),
            denied: line
                .annotations
                .get("authorization.k8s.io/decision")
                .is_some_and(|decision| decision == "forbid"),
            at: line.request_received_timestamp,
            body: line.request_object,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn requests_from_a_moment_on() {
        let path = std::env::temp_dir().join(format!("tidegate-audit-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let line = |stage: &str, verb: &str, code: u16| {
            serde_json::json!({
                "kind": "Event", "stage": stage, "verb": verb, "user": {"username": "tidegate", "groups": []},
                "objectRef": {"resource": "rollouts", "namespace": "a", "name": "demo", "apiGroup": "argoproj.io",
                    "apiVersion": "v1alpha1", "subresource": "status"},
                "responseStatus": {"metadata": {}, "code": code},
                "requestObject": {"status": {}},
                "annotations": {"authorization.k8s.io/decision": if code == 403 { "forbid" } else { "allow" }},
                "requestReceivedTimestamp": "2026-11-21T11:00:00.123456Z",
            })
        };
        writeln!(file, "{}", line("ResponseComplete", "get", 200)).unwrap();
        let log = AuditLog::from_now(path.clone()).unwrap();
        assert_eq!(log.requests().unwrap(), []);
        for (stage, verb, code) in [
            ("ResponseStarted", "watch", 200),
            ("ResponseComplete", "watch", 200),
            ("ResponseComplete", "patch", 409),
            ("ResponseComplete", "patch", 403),
        ] {
            writeln!(file, "{}", line(stage, verb, code)).unwrap();
        }
        write!(file, "{{\"kind\": \"Eve").unwrap();
        let requests = log.requests_of("tidegate").unwrap();
        let counts = BTreeMap::from([
            ("patch rollouts.argoproj.io/status".to_owned(), 2),
            ("watch rollouts.argoproj.io/status".to_owned(), 1),
        ]);
        assert_eq!(AuditedRequest::count(&requests), counts);
        let first = requests.iter().find(|request| request.is_write()).unwrap();
        let expected = AuditedRequest {
            user: "tidegate".into(),
            verb: "patch".into(),
            resource: "rollouts.argoproj.io/status".into(),
            namespace: "a".into(),
            name: "demo".into(),
            code: 409,
            denied: false,
            at: "2026-11-21T11:00:00.123456Z".parse().unwrap(),
            body: Some(serde_json::json!({"status": {}})),
        };
        assert_eq!(*first, expected);
        assert!(first.is_conflict());
        assert_eq!(requests.iter().filter(|request| request.denied).count(), 1);
        assert_eq!(log.requests_of("nobody").unwrap(), []);
        std::fs::remove_file(path).unwrap();
    }
}
