//! From an HTTP request to a request to the store, and back.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Query, Request as HttpRequest, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response as HttpResponse,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch as signal;

use crate::{
    http::{
        Backend, ServerOptions,
        accept::{self, Form},
        discovery, openapi, protobuf,
        route::{self, Route, Target},
        table::{self, Include},
        watch,
    },
    store::{
        FieldValidation, List, Options, Outcome, PatchKind, Propagation, Reason, Registry, Request, Resource,
        Response, Selector, Status, Verb,
    },
};

/// The real server's limit for a body.
const MAX_BODY: usize = 3 << 20;

/// What every request needs.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: ServerOptions,
    pub(crate) stopped: signal::Receiver<bool>,
}

/// All paths go to one place: the paths of a cluster are data.
pub(crate) fn router(app: App) -> Router {
    Router::new().fallback(handle).with_state(app)
}

async fn handle(State(app): State<App>, request: HttpRequest) -> HttpResponse {
    answer(&app, request)
        .await
        .unwrap_or_else(|status| refusal(&status))
}

async fn answer(app: &App, request: HttpRequest) -> Result<HttpResponse, Status> {
    let (parts, body) = request.into_parts();
    let route = route::parse(parts.uri.path());
    if route == Route::Health {
        return Ok(plain("ok"));
    }
    let user = user(app, &parts.headers)?;
    let form = accept::form(header_text(&parts.headers, &header::ACCEPT));
    if let Route::Objects(target) = route {
        return objects(app, target, &parts, body, form, user).await;
    }
    if parts.method != Method::GET && parts.method != Method::HEAD {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::new(Reason::MethodNotAllowed, message));
    }
    let mut document = None;
    app.backend
        .read(&mut |store| document = describe(store.registry(), &route, form, &parts.headers));
    let document = document.ok_or_else(unknown_path)?;
    let aggregated = form == Form::Discovery && matches!(route, Route::CoreVersions | Route::Groups);
    let media = if aggregated {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json"
    };
    Ok(respond(200, media, &document))
}

fn describe(registry: &Registry, route: &Route, form: Form, headers: &HeaderMap) -> Option<Value> {
    match route {
        Route::CoreVersions | Route::Groups if form == Form::Discovery => {
            Some(discovery::aggregated(registry, *route == Route::CoreVersions))
        }
        Route::CoreVersions => Some(discovery::core_versions(header_text(headers, &header::HOST))),
        Route::Groups => Some(discovery::group_list(registry)),
        Route::Group(name) => discovery::group(registry, name),
        Route::Resources { group, version } => discovery::resource_list(registry, group, version),
        Route::OpenApiIndex => Some(openapi::index(registry)),
        Route::OpenApi { group, version } => openapi::document(registry, group, version),
        Route::Version => Some(discovery::version()),
        Route::Health | Route::Unknown | Route::Objects(_) => None,
    }
}

fn unknown_path() -> Status {
    Status::new(
        Reason::NotFound,
        "the server could not find the requested resource",
    )
}

fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Who asks: the user of the token, if tokens are asked for.
fn user(app: &App, headers: &HeaderMap) -> Result<String, Status> {
    let tokens = &app.options.tokens;
    if tokens.is_empty() {
        return Ok(app.options.anonymous.clone());
    }
    let token = header_text(headers, &header::AUTHORIZATION)
        .strip_prefix("Bearer ")
        .unwrap_or_default();
    tokens
        .get(token)
        .cloned()
        .ok_or_else(|| Status::new(Reason::Unauthorized, "Unauthorized"))
}

// ---------------------------------------------------------------------------------------------------- objects

/// What a table says of the objects beside its cells.
fn include(asked: Option<&str>) -> Include {
    match asked {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    }
}

/// Who owns fields that are written without a manager: the real server takes the first word of the client's name.
fn default_manager(headers: &HeaderMap) -> String {
    let agent = header_text(headers, &header::USER_AGENT);
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().take(128).collect()
}

async fn objects(
    app: &App,
    target: Target,
    parts: &Parts,
    body: Body,
    form: Form,
    user: String,
) -> Result<HttpResponse, Status> {
    let mut resource = None;
    app.backend.read(&mut |store| {
        resource = store
            .registry()
            .by_path(&target.group, &target.version, &target.plural)
            .cloned();
    });
    let resource = resource.ok_or_else(unknown_path)?;
    if resource.namespaced && target.namespace.is_empty() && !target.name.is_empty() {
        return Err(unknown_path());
    }
    let query = query(parts)?;
    let include = include(query.get("includeObject").map(String::as_str));
    let verb = verb(&parts.method, &target, &resource)?;
    if verb == Verb::List && is_true(&query, "watch") {
        let wanted = wanted(&resource, &target, &query, form, include)?;
        let body = watch::body(app, wanted);
        let mut response = HttpResponse::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    }
    let content = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        Status::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {MAX_BODY}"),
        )
    })?;
    let media = header_text(&parts.headers, &header::CONTENT_TYPE);
    let media = media.split(';').next().unwrap_or_default().trim();
    let mut request = Request {
        verb,
        resource: resource.clone(),
        namespace: target.namespace,
        name: target.name,
        subresource: target.subresource,
        body: Value::Null,
        patch: PatchKind::default(),
        options: options(&query)?,
        user,
    };
    match verb {
        Verb::Get | Verb::List => {}
        Verb::Create | Verb::Update => request.body = parse(media, &content)?,
        Verb::Patch => {
            request.patch = patch_kind(media)?;
            request.body = parse(media, &content)?;
        }
        Verb::Delete | Verb::DeleteCollection => {
            if !content.is_empty() {
                delete_options(&parse(media, &content)?, &mut request.options);
            }
        }
    }
    if request.options.field_manager.is_empty() && request.patch != PatchKind::Apply {
        request.options.field_manager = default_manager(&parts.headers);
    }
    let response = app.backend.request(request)?;
    Ok(reply(app, &resource, verb, &response, form, include))
}

fn verb(method: &Method, target: &Target, resource: &Resource) -> Result<Verb, Status> {
    let named = !target.name.is_empty();
    match (method.as_str(), named) {
        ("GET" | "HEAD", true) => Ok(Verb::Get),
        ("GET" | "HEAD", false) => Ok(Verb::List),
        ("POST", false) => Ok(Verb::Create),
        ("POST", true) if !target.subresource.is_empty() => Ok(Verb::Create),
        ("PUT", true) => Ok(Verb::Update),
        ("PATCH", true) => Ok(Verb::Patch),
        ("DELETE", true) => Ok(Verb::Delete),
        ("DELETE", false) => Ok(Verb::DeleteCollection),
        _ => Err(Status::method_not_allowed(resource, method.as_str())),
    }
}

fn query(parts: &Parts) -> Result<BTreeMap<String, String>, Status> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let Query(pairs) = query.map_err(|_| Status::bad_request("the query of the URL cannot be read"))?;
    Ok(pairs.into_iter().collect())
}

fn is_true(query: &BTreeMap<String, String>, key: &str) -> bool {
    query
        .get(key)
        .is_some_and(|value| matches!(value.as_str(), "true" | "1"))
}

fn number<T: std::str::FromStr>(query: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, Status> {
    match query.get(key).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => {
            let wrong = || Status::bad_request(format!("{key}: Invalid value: {text:?}: must be a number"));
            text.parse().map(Some).map_err(|_| wrong())
        }
    }
}

fn options(query: &BTreeMap<String, String>) -> Result<Options, Status> {
    let text = |key: &str| query.get(key).cloned().unwrap_or_default();
    let mut options = Options {
        dry_run: text("dryRun") == "All",
        field_manager: text("fieldManager"),
        force: is_true(query, "force"),
        field_validation: match text("fieldValidation").as_str() {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        },
        label_selector: text("labelSelector"),
        field_selector: text("fieldSelector"),
        resource_version: number(query, "resourceVersion")?,
        exact: text("resourceVersionMatch") == "Exact",
        limit: number(query, "limit")?.unwrap_or(0),
        continue_token: text("continue"),
        grace_period_seconds: number(query, "gracePeriodSeconds")?,
        ..Options::default()
    };
    options.propagation = propagation(&text("propagationPolicy"));
    Ok(options)
}

fn propagation(text: &str) -> Option<Propagation> {
    match text {
        "Background" => Some(Propagation::Background),
        "Foreground" => Some(Propagation::Foreground),
        "Orphan" => Some(Propagation::Orphan),
        _ => None,
    }
}

fn delete_options(body: &Value, options: &mut Options) {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    options.propagation = text("/propagationPolicy")
        .and_then(|t| propagation(&t))
        .or(options.propagation);
    if body.get("orphanDependents") == Some(&Value::Bool(true)) {
        options.propagation = Some(Propagation::Orphan);
    }
    let seconds = body.get("gracePeriodSeconds").and_then(Value::as_i64);
    options.grace_period_seconds = seconds.or(options.grace_period_seconds);
    options.precondition_uid = text("/preconditions/uid");
    options.precondition_resource_version = text("/preconditions/resourceVersion");
    let dry = body
        .get("dryRun")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|v| v == "All"));
    options.dry_run |= dry;
}

fn patch_kind(media: &str) -> Result<PatchKind, Status> {
    match media {
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ => Err(unknown_media()),
    }
}

fn unknown_media() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: \
        application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
        application/apply-patch+yaml, application/json, application/yaml";
    Status::new(Reason::UnsupportedMediaType, message)
}

/// JSON, or YAML where that is said; JSON goes first as it is what clients send in an apply.
fn parse(media: &str, content: &[u8]) -> Result<Value, Status> {
    let wrong =
        |error: &dyn std::fmt::Display| Status::bad_request(format!("error decoding the body: {error}"));
    match media {
        "application/vnd.kubernetes.protobuf" => protobuf::decode(content).map_err(|error| wrong(&error)),
        "application/cbor" => Err(unknown_media()),
        "application/yaml" | "application/apply-patch+yaml" => {
            serde_json::from_slice(content).or_else(|_| {
                let text = std::str::from_utf8(content).map_err(|error| wrong(&error))?;
                serde_saphyr::from_str(text).map_err(|error| wrong(&error))
            })
        }
        _ => serde_json::from_slice(content).map_err(|error| wrong(&error)),
    }
}

fn wanted(
    resource: &Arc<Resource>,
    target: &Target,
    query: &BTreeMap<String, String>,
    form: Form,
    include: Include,
) -> Result<watch::Wanted, Status> {
    let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    Ok(watch::Wanted {
        resource: resource.clone(),
        namespace: target.namespace.clone(),
        selector: Selector::parse(resource, text("labelSelector"), text("fieldSelector"))?,
        resource_version: number(query, "resourceVersion")?,
        initial: query
            .get("sendInitialEvents")
            .map(|value| value == "true" || value == "1"),
        bookmarks: is_true(query, "allowWatchBookmarks"),
        form,
        include,
        seconds: number(query, "timeoutSeconds")?.filter(|&seconds: &u64| seconds > 0),
    })
}

// ---------------------------------------------------------------------------------------------------- answers

fn reply(
    app: &App,
    resource: &Resource,
    verb: Verb,
    response: &Response,
    form: Form,
    include: Include,
) -> HttpResponse {
    let code = response.code();
    let mut reply = match &response.outcome {
        Outcome::List(list) => reply_list(app, resource, list, form, include),
        Outcome::Deleted(object) if !gives_deleted(resource) => {
            respond(code, "application/json", &deleted(resource, object))
        }
        Outcome::Object(object) | Outcome::Created(object) | Outcome::Deleted(object) => {
            let is_own = object.get("kind").and_then(Value::as_str) == Some(resource.kind.as_str());
            match form {
                Form::Table if is_own && verb != Verb::Delete => {
                    let version = object
                        .pointer("/metadata/resourceVersion")
                        .cloned()
                        .unwrap_or_default();
                    let metadata = json!({"resourceVersion": version});
                    let now = app.backend.now();
                    let drawn = table::draw(resource, std::slice::from_ref(object), &metadata, include, now);
                    respond(code, "application/json", &drawn)
                }
                Form::Metadata if is_own => respond(code, "application/json", &table::partial(object)),
                _ => respond(code, "application/json", &**object),
            }
        }
    };
    for warning in &response.warnings {
        // text that does not fit into a header is not worth failing for
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", json!(warning))) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
    reply
}

/// Kinds whose deletion is answered with the object instead of a Status.
fn gives_deleted(resource: &Resource) -> bool {
    let plurals = [
        "pods",
        "services",
        "serviceaccounts",
        "persistentvolumeclaims",
        "podtemplates",
    ];
    resource.group.is_empty() && plurals.contains(&resource.plural.as_str())
}

fn deleted(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({
        "name": object.pointer("/metadata/name"), "kind": resource.plural, "uid": object.pointer("/metadata/uid"),
    });
    if let (false, Some(map)) = (resource.group.is_empty(), details.as_object_mut()) {
        map.insert("group".to_owned(), json!(resource.group));
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// A list as it is sent: the items are not copied.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListBody<'a> {
    kind: String,
    api_version: String,
    metadata: Value,
    items: Vec<&'a Value>,
}

fn reply_list(app: &App, resource: &Resource, list: &List, form: Form, include: Include) -> HttpResponse {
    match form {
        Form::Table => {
            let now = app.backend.now();
            respond(
                200,
                "application/json",
                &table::draw(resource, &list.items, &list.metadata(), include, now),
            )
        }
        Form::Metadata => {
            let items: Vec<Value> = list.items.iter().map(|item| table::partial(item)).collect();
            let body = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list.metadata(),
                "items": items,
            });
            respond(200, "application/json", &body)
        }
        Form::Plain | Form::Discovery => {
            let body = ListBody {
                kind: format!("{}List", resource.kind),
                api_version: resource.api_version(),
                metadata: list.metadata(),
                items: list.items.iter().map(|item| &**item).collect(),
            };
            respond(200, "application/json", &body)
        }
    }
}

fn refusal(status: &Status) -> HttpResponse {
    let mut response = respond(status.code(), "application/json", &status.to_value());
    if let Some(seconds) = status.details.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn respond(code: u16, media: &'static str, body: &impl Serialize) -> HttpResponse {
    let (code, bytes) = match serde_json::to_vec(body) {
        Ok(bytes) => (
            StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            bytes,
        ),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    };
    let mut response = HttpResponse::new(Body::from(bytes));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn plain(text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
