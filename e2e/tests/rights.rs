//! What the shipped roles allow: enough, and not more. The last program of a run, because it looks back at all the others.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::{Value, json};
use tidegate_e2e::{AuditedRequest, Namespace, TIDEGATE_USER, e2e, eventually, is_whole, shipped};

const LIMIT: Duration = Duration::from_secs(30);
const KINDS: [&str; 4] = ["rollouts", "analysisruns", "analysistemplates", "experiments"];
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "patch", "update", "delete", "deletecollection"];

/// Not a request but a condition of others: asked for where blocking owner references are checked, and where a commit is applied.
const CONDITIONS: [&str; 3] = [
    "impersonate serviceaccounts",
    "update rollouts.argoproj.io/finalizers",
    "update analysisruns.argoproj.io/finalizers",
];

/// Groups of data planes that the cluster of the tests has not.
const OTHER_DATA_PLANES: [&str; 3] = [".split.smi-spec.io", ".traefik.io", ".traefik.containo.us"];

/// Whether a client may do this, says the API server.
async fn may(client: &Client, namespace: &str, verb: &str, resource: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": "argoproj.io", "resource": resource, "subresource": subresource,
        } },
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let answer: Value = client.request(request).await?;
    Ok(answer
        .pointer("/status/allowed")
        .is_some_and(|allowed| allowed == true))
}

/// A user with one of the cluster's own roles in a namespace.
async fn user(namespace: &Namespace, role: &str) -> Result<Client> {
    let name = format!("{role}-of-{}", namespace.name());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
    });
    namespace.apply(&binding.to_string()).await?;
    namespace.cluster().impersonate(&name)
}

#[test]
fn people_may_what_their_role_says() -> Result<()> {
    e2e(Duration::from_mins(2), async |cluster| {
        let namespace = cluster.namespace("people").await?;
        for (role, writes) in [("view", false), ("edit", true), ("admin", true)] {
            let client = user(&namespace, role).await?;
            let subresources = ["rollouts/status", "rollouts/scale"];
            for resource in KINDS.into_iter().chain(subresources) {
                eventually(&format!("{role} may read {resource}"), LIMIT, async || {
                    Ok(may(&client, namespace.name(), "get", resource)
                        .await?
                        .then_some(()))
                })
                .await?;
                for verb in READ {
                    assert!(
                        may(&client, namespace.name(), verb, resource).await?,
                        "{role} {verb} {resource}"
                    );
                }
                for verb in WRITE {
                    let allowed = may(&client, namespace.name(), verb, resource).await?;
                    assert_eq!(allowed, writes, "{role} {verb} {resource}");
                }
            }
            assert!(
                !may(&client, "default", "get", "rollouts").await?,
                "{role} elsewhere"
            );
        }
        Ok(())
    })
}

/// `verb resource.group/subresource` of every rule in the manifests.
fn granted() -> Result<BTreeSet<String>> {
    let mut granted = BTreeSet::new();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule.get(field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    for document in shipped()? {
        let name = document
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !["tidegate", "tidegate-drift", "tidegate-leader"].contains(&name) {
            continue;
        }
        for rule in document
            .get("rules")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
                    let mut whole = resource.to_owned();
                    for (sign, part) in [('.', group.as_str()), ('/', subresource)] {
                        if !part.is_empty() {
                            whole.push(sign);
                            whole.push_str(part);
                        }
                    }
                    granted.extend(words(rule, "verbs").iter().map(|verb| format!("{verb} {whole}")));
                }
            }
        }
    }
    Ok(granted)
}

#[test]
fn nothing_was_denied_and_no_right_is_unused() -> Result<()> {
    e2e(Duration::from_mins(1), async |cluster| {
        let Some(log) = cluster.whole_audit_log() else {
            return Ok(());
        };
        let requests = log.requests_of(TIDEGATE_USER)?;
        let denied: Vec<&AuditedRequest> = requests.iter().filter(|request| request.denied).collect();
        assert!(denied.is_empty(), "{denied:#?}");
        let used: BTreeSet<String> = AuditedRequest::count(&requests).into_keys().collect();
        let granted = granted().context("the manifests")?;
        assert!(granted.len() > 20, "{granted:?}");
        let unused: Vec<&String> = granted
            .iter()
            .filter(|right| !used.contains(*right) && !CONDITIONS.contains(&right.as_str()))
            .filter(|right| !OTHER_DATA_PLANES.iter().any(|group| right.ends_with(group)))
            .collect();
        println!("{} requests, none denied; unused: {unused:?}", requests.len());
        // of a part of the tests alone nothing follows
        assert!(
            !is_whole() || unused.is_empty(),
            "rights that nothing uses: {unused:?}"
        );
        Ok(())
    })
}
