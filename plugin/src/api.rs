//! The API server, as far as the verbs need it: whole objects as JSON, and the patches of [`patches`](crate::patches).

use futures::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use serde_json::Value;
use tidegate_controller::request::{DELIVERIES, ROLLOUTS, Resource};
use tidegate_gitsync::object::FIELD_MANAGER;

use crate::cli::Connection;
use crate::failure::{ApiError, Failure};
use crate::patches::Patch;

/// Experiments.
pub(crate) static EXPERIMENTS: Resource = Resource {
    group: "argoproj.io",
    version: "v1alpha1",
    plural: "experiments",
    kind: "Experiment",
    namespaced: true,
};

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
/// Objects of one page of a list.
const PAGE: usize = 500;
/// Longest name of an object.
const MAX_NAME: usize = 253;

/// A cluster, and the namespace that is meant.
pub(crate) struct Api {
    client: Client,
    /// Where it is, for messages.
    server: String,
    pub(crate) namespace: String,
}

/// A list, and what it was a list of.
pub(crate) struct Listed {
    pub(crate) items: Vec<Value>,
    pub(crate) version: String,
}

/// Something that a watch says.
pub(crate) enum Event {
    /// An object is there, or has changed.
    Applied(Value),
    /// An object is gone.
    Gone(Value),
}

impl Api {
    /// Connects as `kubectl` would.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Failure> {
        let options = KubeConfigOptions {
            context: connection.context.clone(),
            cluster: connection.cluster.clone(),
            user: connection.user.clone(),
        };
        let chosen = connection.kubeconfig.is_some()
            || connection.context.is_some()
            || connection.cluster.is_some()
            || connection.user.is_some();
        let bad = |error: kube::config::KubeconfigError| Failure::Kubeconfig(chain(&error));
        let mut config = match &connection.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(bad)?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(bad)?
            }
            None if chosen => Config::from_kubeconfig(&options).await.map_err(bad)?,
            None => Config::infer()
                .await
                .map_err(|error| Failure::Kubeconfig(chain(&error)))?,
        };
        // A watch has no end by itself; ends of connections are noticed by TCP.
        config.read_timeout = None;
        let namespace = connection
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        check_name("namespace", &namespace)?;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| Failure::Kubeconfig(chain(&error)))?;
        Ok(Self {
            client,
            server,
            namespace,
        })
    }

    /// Reads an object of the namespace.
    pub(crate) async fn get(&self, resource: &Resource, name: &str) -> Result<Value, Failure> {
        let path = self.path(resource, name)?;
        self.named(
            resource,
            name,
            self.send(Method::GET, &path, None, &Value::Null).await,
        )
    }

    /// Reads an object that may not exist.
    pub(crate) async fn find(&self, resource: &Resource, name: &str) -> Result<Option<Value>, Failure> {
        match self.get(resource, name).await {
            Ok(object) => Ok(Some(object)),
            Err(Failure::NotFound { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads an object of any namespace that may not exist.
    pub(crate) async fn find_at(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let path = object_path(resource, namespace, name)?;
        match self.send(Method::GET, &path, None, &Value::Null).await {
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Applies an object as the controller would, but keeps nothing: what it would be then.
    pub(crate) async fn dry_apply(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let path = object_path(resource, namespace, name)?;
        let query = query(&[
            ("dryRun", "All"),
            ("fieldManager", FIELD_MANAGER),
            ("fieldValidation", "Strict"),
            ("force", "true"),
        ]);
        self.send(Method::PATCH, &format!("{path}{query}"), Some(APPLY), body)
            .await
    }

    /// The kinds of an API version; `None` if the cluster does not serve it.
    pub(crate) async fn served(&self, api_version: &str) -> Result<Option<Vec<&'static Resource>>, Failure> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-./".contains(c);
        if api_version.contains("..") || !api_version.chars().all(known) {
            return Ok(None);
        }
        let path = Resource::discovered(api_version, "", "APIResourceList", false).path("");
        let list = match self.send(Method::GET, &path, None, &Value::Null).await {
            Ok(list) => list,
            Err(failure) if failure.code() == Some(404) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let items = list.get("resources").and_then(Value::as_array);
        let resource = |item: &Value| {
            let text = |field: &str| item.get(field)?.as_str();
            let (plural, kind) = (text("name")?, text("kind")?);
            let namespaced = item.get("namespaced") == Some(&Value::Bool(true));
            // Those with a slash are subresources.
            (!plural.contains('/')).then(|| Resource::discovered(api_version, plural, kind, namespaced))
        };
        Ok(Some(items.into_iter().flatten().filter_map(resource).collect()))
    }

    /// Reads all objects: of `namespace`, or of all when that is empty. Cluster-scoped kinds have none.
    pub(crate) async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &str,
    ) -> Result<Listed, Failure> {
        let path = resource.path(namespace);
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let query = query(&[
                ("limit", &PAGE.to_string()),
                ("labelSelector", selector),
                ("continue", &next),
            ]);
            let mut page = self
                .send(Method::GET, &format!("{path}{query}"), None, &Value::Null)
                .await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            let meta = |field: &str| {
                let value = page
                    .pointer(&format!("/metadata/{field}"))
                    .and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            next = meta("continue");
            if next.is_empty() {
                return Ok(Listed {
                    items,
                    version: meta("resourceVersion"),
                });
            }
        }
    }

    /// Changes an object.
    pub(crate) async fn patch(
        &self,
        resource: &Resource,
        name: &str,
        patch: &Patch,
    ) -> Result<Value, Failure> {
        let path = self.path(resource, name)?;
        let (path_first, body) = match patch {
            Patch::Spec(body) => (path.clone(), body),
            Patch::Status(body) => (format!("{path}/status"), body),
        };
        let mut answer = self.send(Method::PATCH, &path_first, Some(MERGE), body).await;
        // Very old definitions have no status subresource (contract 2.9).
        if path_first != path && answer.as_ref().is_err_and(|failure| failure.code() == Some(404)) {
            answer = self.send(Method::PATCH, &path, Some(MERGE), body).await;
        }
        self.named(resource, name, answer)
    }

    /// Changes an object by a JSON patch.
    pub(crate) async fn json_patch(
        &self,
        resource: &Resource,
        name: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let path = self.path(resource, name)?;
        self.named(
            resource,
            name,
            self.send(Method::PATCH, &path, Some(JSON), body).await,
        )
    }

    /// Writes a whole object; loses with a conflict when somebody else wrote it after it was read.
    pub(crate) async fn replace(
        &self,
        resource: &Resource,
        name: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let path = self.path(resource, name)?;
        self.named(
            resource,
            name,
            self.send(Method::PUT, &path, Some("application/json"), body)
                .await,
        )
    }

    /// Watches objects from a version on: of `namespace`, or of all when that is empty; one of them when `name` says so.
    /// Ends when the server ends it; then list again.
    pub(crate) async fn watch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        selector: &str,
        version: &str,
    ) -> Result<impl Stream<Item = Result<Event, Failure>> + use<>, Failure> {
        let fields = if name.is_empty() {
            String::new()
        } else {
            format!("metadata.name={name}")
        };
        let query = query(&[
            ("watch", "true"),
            ("resourceVersion", version),
            ("fieldSelector", &fields),
            ("labelSelector", selector),
        ]);
        let uri = format!("{}{query}", resource.path(namespace));
        let request = Request::get(uri).body(Vec::new()).map_err(Failure::other)?;
        let events = self
            .client
            .request_events::<Value>(request)
            .await
            .map_err(|error| failure(&self.server, error))?;
        let server = self.server.clone();
        Ok(events.filter_map(move |event| {
            std::future::ready(match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    Some(Ok(Event::Applied(object)))
                }
                Ok(WatchEvent::Deleted(object)) => Some(Ok(Event::Gone(object))),
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(status)) => Some(Err(api_failure(status.code, status.message))),
                Err(error) => Some(Err(failure(&server, error))),
            })
        }))
    }

    fn path(&self, resource: &Resource, name: &str) -> Result<String, Failure> {
        check_name("name", name)?;
        Ok(format!("{}/{name}", resource.path(&self.namespace)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<&str>,
        body: &Value,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content) = content {
            request = request.header(CONTENT_TYPE, content);
        }
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = request.body(body).map_err(Failure::other)?;
        self.client
            .request(request)
            .await
            .map_err(|error| failure(&self.server, error))
    }

    /// A 404 with what else there is.
    fn named(
        &self,
        resource: &Resource,
        name: &str,
        answer: Result<Value, Failure>,
    ) -> Result<Value, Failure> {
        answer.map_err(|failure| match failure {
            Failure::Api(error) if error.message.contains("could not find the requested resource") => {
                Failure::other(format!(
                    "the cluster knows no {}: install the CRDs",
                    resource.plural
                ))
            }
            Failure::Api(error) if error.code == 404 => Failure::NotFound {
                resource: if resource.group.is_empty() {
                    resource.plural.to_owned()
                } else {
                    format!("{}.{}", resource.plural, resource.group)
                },
                name: name.to_owned(),
                namespace: self.namespace.clone(),
                list: match resource {
                    resource if *resource == ROLLOUTS => {
                        format!("kubectl tidegate list rollouts -n {}", self.namespace)
                    }
                    resource if *resource == DELIVERIES => {
                        format!("kubectl tidegate delivery list -n {}", self.namespace)
                    }
                    _ => format!("kubectl get {} -n {}", resource.plural, self.namespace),
                },
            },
            other => other,
        })
    }
}

/// Names become parts of paths.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('.') && name.chars().all(known) {
        Ok(())
    } else {
        Err(Failure::Usage(format!(
            "{name:?} is not a {what}: use lower case letters, digits, - and ."
        )))
    }
}

/// The path of an object whose name may be of any kind: those of RBAC have colons.
fn object_path(resource: &Resource, namespace: &str, name: &str) -> Result<String, Failure> {
    if !namespace.is_empty() {
        check_name("namespace", namespace)?;
    }
    if name.is_empty() || name.len() > MAX_NAME || name == "." || name == ".." || name.contains('/') {
        return Err(Failure::other(format!(
            "{name:?} is not a name of a {}",
            resource.kind
        )));
    }
    Ok(format!("{}/{}", resource.path(namespace), encoded(name)))
}

fn query(parameters: &[(&str, &str)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let given: Vec<String> = given
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    if given.is_empty() {
        String::new()
    } else {
        format!("?{}", given.join("&"))
    }
}

fn encoded(value: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    value.bytes().map(byte).collect()
}

fn api_failure(code: u16, message: String) -> Failure {
    Box::new(ApiError { code, message }).into()
}

fn failure(server: &str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => api_failure(status.code, status.message),
        other => Failure::Unreachable {
            server: server.trim_end_matches('/').to_owned(),
            why: chain(&other),
        },
    }
}

/// An error with all that caused it, each said once. First lines only: what follows quotes the kubeconfig, which has
/// secrets in it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = first_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = first_line(error);
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    // Words of libraries that help nobody.
    text.trim_start_matches("ServiceError: ")
        .replace("'\"", "\"")
        .replace("\"'", "\"")
}

fn first_line(error: &dyn std::error::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        assert_eq!(
            query(&[("limit", "500"), ("labelSelector", "a=b,c"), ("continue", "")]),
            "?limit=500&labelSelector=a%3Db%2Cc"
        );
        assert_eq!(query(&[("continue", "")]), "");
    }

    #[test]
    fn paths_of_objects() {
        let path = |namespace: &str, name: &str| object_path(&ROLLOUTS, namespace, name).ok();
        let shop = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts";
        assert_eq!(
            path("shop", "system:web?x"),
            Some(format!("{shop}/system%3Aweb%3Fx"))
        );
        for (namespace, name) in [
            ("shop", ".."),
            ("shop", "a/b"),
            ("shop", ""),
            ("../kube-system", "web"),
        ] {
            assert_eq!(path(namespace, name), None, "{namespace} {name}");
        }
    }

    #[test]
    fn names_that_would_leave_their_place() {
        for (name, good) in [
            ("web-1.a", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("web?x", false),
            ("Web", false),
            (&"a".repeat(254), false),
        ] {
            assert_eq!(check_name("name", name).is_ok(), good, "{name}");
        }
    }
}
