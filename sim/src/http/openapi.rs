//! OpenAPI v3, as far as kubectl reads it: the schemas of the kinds, and that patches know `fieldValidation`.

use serde_json::{Map, Value, json};

use crate::store::{Registry, Resource};

/// `/openapi/v3`: where the document of each group and version is.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for resource in registry.all() {
        let name = group_path(resource);
        paths.insert(
            name.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{name}")}),
        );
    }
    json!({"paths": paths})
}

fn group_path(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

/// The document of one group and version.
pub(crate) fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in registry
        .all()
        .filter(|r| r.group == group && r.version == version)
    {
        let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let name = schema_name(resource);
        let mut schema = resource.schema.to_openapi();
        if let Some(map) = schema.as_object_mut() {
            map.insert("x-kubernetes-group-version-kind".to_owned(), json!([kind]));
        }
        schemas.insert(name.clone(), schema);
        let base = format!("/{}", group_path(resource));
        let collection = if resource.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("{base}/{}", resource.plural)
        };
        let body = json!({"$ref": format!("#/components/schemas/{name}")});
        let operation = |action: &str, media: &str| operation(action, media, &kind, &body);
        let post = json!({"post": operation("post", "application/json")});
        if !resource.review {
            let item = json!({
                "get": operation("get", ""), "put": operation("put", "application/json"),
                "patch": operation("patch", "application/merge-patch+json"), "delete": operation("delete", ""),
            });
            paths.insert(format!("{collection}/{{name}}"), item);
        }
        paths.insert(collection, post);
    }
    if schemas.is_empty() {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.34.2"},
        "paths": paths, "components": {"schemas": schemas},
    }))
}

fn operation(action: &str, media: &str, kind: &Value, body: &Value) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let answer = json!({"description": "OK", "content": {"application/json": {"schema": body}}});
    let mut operation = json!({
        "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"), parameter("force")],
        "responses": {"200": answer}, "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
    });
    if let (false, Some(map)) = (media.is_empty(), operation.as_object_mut()) {
        map.insert(
            "requestBody".to_owned(),
            json!({"content": {media: {"schema": body}}}),
        );
    }
    operation
}

/// `io.k8s.api.apps.v1.Deployment`, `io.argoproj.v1alpha1.Rollout`.
fn schema_name(resource: &Resource) -> String {
    if !resource.schema.name.is_empty() {
        return format!("io.k8s.api.{}", resource.schema.name);
    }
    let reversed: Vec<&str> = resource.group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
}
