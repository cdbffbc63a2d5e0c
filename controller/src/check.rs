//! `tidegate check`: proves that the CRDs and all rights are there, and says what is missing.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_crds::DELIVERY_API_VERSION;
use tidegate_traffic::Dialect;

use crate::args::Cli;
use crate::client::{Api, JSON};
use crate::connect;
use crate::request::{Failure, Request, Resource, Verb, resources};

const TIMEOUT: Duration = Duration::from_secs(10);

static REVIEWS: Resource = Resource {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "selfsubjectaccessreviews",
    kind: "SelfSubjectAccessReview",
    namespaced: false,
};

/// Rights that the controller needs: plural (with subresource) and verbs. `deploy/` grants exactly these, which a test
/// holds it to.
pub const RIGHTS: &[(&str, &[&str])] = &[
    ("rollouts", &["get", "list", "watch", "patch"]),
    ("rollouts/status", &["patch"]),
    ("rollouts/finalizers", &["update"]),
    ("analysisruns/finalizers", &["update"]),
    (
        "analysisruns",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("analysistemplates", &["list", "watch"]),
    ("clusteranalysistemplates", &["list", "watch"]),
    (
        "replicasets",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("deployments", &["get", "list", "watch", "patch"]),
    ("podtemplates", &["get", "list", "watch"]),
    ("pods", &["list", "patch"]),
    ("pods/eviction", &["create"]),
    ("services", &["get", "list", "watch", "patch"]),
    (
        "ingresses",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    (
        "trafficsplits",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("traefikservices", &["get", "list", "watch", "patch"]),
    ("events", &["create"]),
    ("jobs", &["get", "list", "watch", "create", "delete"]),
    ("secrets", &["get", "create", "delete"]),
    ("deliveries", &["list", "watch"]),
    ("deliveries/status", &["patch"]),
    ("serviceaccounts", &["impersonate"]),
    ("leases", &["get", "create", "update"]),
];

/// The resources of a right, in all groups that they may have.
pub fn resources_of(right: &str) -> impl Iterator<Item = &'static Resource> {
    let plural = right.split('/').next().unwrap_or_default();
    resources().filter(move |resource| resource.plural == plural)
}

/// The resource of a right, in the group that is spoken.
fn resource(right: &str, dialect: &Dialect) -> Option<&'static Resource> {
    let mut spoken = dialect.kinds().map(Resource::of_route);
    resources_of(right).find(|resource| {
        let is_route = tidegate_traffic::kinds().any(|kind| kind.plural == resource.plural);
        !is_route || spoken.any(|route| route == *resource)
    })
}

/// What was found: one line for each thing looked at, and how many are missing.
#[derive(Debug, Default)]
pub struct Findings {
    /// To print.
    pub text: String,
    /// How many things are missing.
    pub missing: usize,
}

impl Findings {
    fn note(&mut self, what: &str, problem: Option<&str>) {
        let mark = if problem.is_some() { "missing" } else { "ok" };
        _ = writeln!(
            self.text,
            "{mark:<8} {what}{}",
            problem.map(|text| format!(": {text}")).unwrap_or_default()
        );
        self.missing += usize::from(problem.is_some());
    }
}

/// Looks at everything. An error means that the API server could not be asked.
pub async fn check(cli: &Cli) -> anyhow::Result<Findings> {
    let dialect = cli.run.dialect().map_err(anyhow::Error::msg)?;
    let (client, namespace) = connect::connect(&cli.cluster).await?;
    let api = Api::new(client, std::sync::Arc::default());
    let mut findings = Findings::default();
    crds(&api, &mut findings, "argoproj.io/v1alpha1", ROLLOUT_KINDS).await?;
    if cli.run.git_cache.is_some() {
        crds(&api, &mut findings, DELIVERY_API_VERSION, DELIVERY_KINDS).await?;
    }
    let everywhere = if cli.scope.namespaced {
        namespace.as_str()
    } else {
        ""
    };
    for (right, verbs) in RIGHTS {
        let Some(resource) = resource(right, &dialect) else {
            continue;
        };
        let of_deliveries = ["deliveries", "serviceaccounts"].contains(&resource.plural);
        if cli.scope.namespaced && !resource.namespaced || of_deliveries && cli.run.git_cache.is_none() {
            continue;
        }
        let namespace = if resource.plural == "leases" {
            &cli.run.lease_namespace
        } else {
            everywhere
        };
        let mut denied = Vec::new();
        for verb in *verbs {
            if !allowed(&api, resource, right, verb, namespace).await? {
                denied.push(*verb);
            }
        }
        let scope = if namespace.is_empty() {
            "all namespaces".to_owned()
        } else {
            format!("namespace {namespace}")
        };
        let what = format!("right to {} {right} in {scope}", verbs.join(", "));
        let problem = format!("{} not allowed; apply deploy/install.yaml", denied.join(", "));
        findings.note(&what, (!denied.is_empty()).then_some(&problem));
    }
    Ok(findings)
}

const ROLLOUT_KINDS: &[&str] = &[
    "rollouts",
    "rollouts/status",
    "analysisruns",
    "analysistemplates",
    "clusteranalysistemplates",
];
const DELIVERY_KINDS: &[&str] = &["deliveries", "deliveries/status"];

async fn crds(api: &Api, findings: &mut Findings, api_version: &str, kinds: &[&str]) -> anyhow::Result<()> {
    let served = match api.page(&format!("/apis/{api_version}"), JSON, TIMEOUT).await {
        Ok(text) => serde_json::from_str::<Value>(&text)?,
        Err(failure) if failure.is_not_found() => Value::Null,
        Err(failure) => return Err(unanswered(&failure)),
    };
    let names: Vec<&str> = served
        .get("resources")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|resource| resource.get("name")?.as_str())
        .collect();
    for plural in kinds {
        let problem = "install the CRDs: kubectl apply --server-side -f deploy/crds";
        findings.note(
            &format!("{plural} of {api_version}"),
            (!names.contains(plural)).then_some(problem),
        );
    }
    Ok(())
}

async fn allowed(
    api: &Api,
    resource: &Resource,
    right: &str,
    verb: &str,
    namespace: &str,
) -> anyhow::Result<bool> {
    let subresource = right.split_once('/').map_or("", |(_, subresource)| subresource);
    let body = json!({
        "apiVersion": REVIEWS.api_version(),
        "kind": REVIEWS.kind,
        "spec": {"resourceAttributes": {
            "group": resource.group,
            "resource": resource.plural,
            "subresource": subresource,
            "verb": verb,
            "namespace": if resource.namespaced { namespace } else { "" },
        }},
    });
    let request = Request::new(Verb::Create, &REVIEWS, "", "", body);
    let review = api
        .send(&request, TIMEOUT)
        .await
        .map_err(|failure| unanswered(&failure))?;
    Ok(review
        .pointer("/status/allowed")
        .and_then(Value::as_bool)
        .unwrap_or_default())
}

fn unanswered(failure: &Failure) -> anyhow::Error {
    match failure.code {
        401 => anyhow::anyhow!(
            "the API server does not accept our credentials: {}",
            failure.message
        ),
        0 => anyhow::anyhow!("the API server cannot be reached: {}", failure.message),
        _ => anyhow::anyhow!("the API server cannot be asked: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Document {
        kind: String,
        metadata: Named,
        rules: Vec<Rule>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        name: String,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Rule {
        api_groups: Vec<String>,
        resources: Vec<String>,
        verbs: Vec<String>,
    }

    fn granted(manifest: &str, kind: &str) -> BTreeSet<(String, String, String)> {
        let documents: Vec<Document> = serde_saphyr::from_multiple(manifest).unwrap();
        let roles = documents.into_iter().filter(|document| {
            let name = document.metadata.name.as_str();
            (document.kind == kind && name == "tidegate")
                || (document.kind == "Role" && name == "tidegate-leader")
        });
        roles
            .flat_map(|role| role.rules)
            .flat_map(|rule| {
                let Rule {
                    api_groups,
                    resources,
                    verbs,
                } = rule;
                let pairs = api_groups.into_iter().flat_map(move |group| {
                    resources
                        .clone()
                        .into_iter()
                        .map(move |resource| (group.clone(), resource))
                });
                pairs.flat_map(move |(group, resource)| {
                    verbs
                        .clone()
                        .into_iter()
                        .map(move |verb| (group.clone(), resource.clone(), verb))
                })
            })
            .collect()
    }

    fn needed(cluster: bool) -> BTreeSet<(String, String, String)> {
        let rights = RIGHTS.iter().flat_map(|(right, verbs)| {
            let resources = resources_of(right).filter(|resource| cluster || resource.namespaced);
            resources.map(move |resource| (resource.group, *right, *verbs))
        });
        rights
            .flat_map(|(group, right, verbs)| {
                verbs
                    .iter()
                    .map(move |verb| (group.to_owned(), right.to_owned(), (*verb).to_owned()))
            })
            .collect()
    }

    #[test]
    fn the_manifests_grant_exactly_what_is_needed() {
        let cluster = include_str!("../../deploy/install.yaml");
        let namespaced = include_str!("../../deploy/namespaced/install.yaml");
        assert_eq!(granted(cluster, "ClusterRole"), needed(true));
        assert_eq!(granted(namespaced, "Role"), needed(false));
    }
}
