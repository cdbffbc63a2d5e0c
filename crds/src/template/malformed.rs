//! Taking out of a template what its Go type cannot hold.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    gojson::{accepts, fits},
    schema::{Kind, Schema},
};

/// Removes every field of a pod template whose value does not fit its type, and answers with their paths
/// (`spec.containers[0].resources.limits.memory`). Custom resources are stored with such values (quantities above
/// all), and a ReplicaSet made of them would be refused (contract 2.1). Unknown fields stay.
pub fn drop_malformed_fields(template: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    clean(
        &Schema::get().pod_template,
        template,
        &mut String::new(),
        &mut dropped,
    );
    dropped
}

fn clean(kind: &Kind, value: &mut Value, path: &mut String, dropped: &mut Vec<String>) {
    match (kind, value) {
        (Kind::Pointer(inner), value) => clean(inner, value, path, dropped),
        (Kind::Struct(index), Value::Object(object)) => {
            for field in Schema::get().fields(*index) {
                let Some(value) = object.get_mut(&field.name).filter(|value| !value.is_null()) else {
                    continue;
                };
                let parent = path.len();
                if parent > 0 {
                    path.push('.');
                }
                path.push_str(&field.name);
                if accepts(field, value) {
                    clean(&field.kind, value, path, dropped);
                } else {
                    object.remove(&field.name);
                    dropped.push(path.clone());
                }
                path.truncate(parent);
            }
        }
        (Kind::List(inner), Value::Array(items)) => {
            for (position, item) in items.iter_mut().enumerate() {
                let parent = path.len();
                let _ = write!(path, "[{position}]");
                clean(inner, item, path, dropped);
                path.truncate(parent);
            }
        }
        (Kind::Map(inner), Value::Object(entries)) => entries.retain(|key, value| {
            let keep = value.is_null() || fits(inner, value);
            if !keep {
                dropped.push(format!("{path}.{key}"));
            }
            keep
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::pod_template_hash;

    #[test]
    fn only_what_does_not_fit_goes() {
        let mut template = json!({
            "metadata": { "labels": { "app": "web", "n": 1 } },
            "spec": {
                "ourOwn": { "new": true },
                "containers": [{
                    "name": "a", "image": ["x"], "newField": 1,
                    "resources": { "limits": { "cpu": "1", "memory": "invalid" } },
                    "ports": [80],
                    "readinessProbe": { "httpGet": { "port": "http", "path": null } },
                }],
                "ephemeralContainers": [{ "name": "e", "resources": { "limits": { "memory": "invalid" } } }],
            },
        });
        let hash = pod_template_hash(&template, None);
        assert_eq!(
            drop_malformed_fields(&mut template),
            [
                "metadata.labels.n",
                "spec.containers[0].image",
                "spec.containers[0].ports",
                "spec.containers[0].resources.limits.memory",
                "spec.ephemeralContainers",
            ]
        );
        assert_eq!(
            template,
            json!({
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "ourOwn": { "new": true },
                    "containers": [{
                        "name": "a", "newField": 1,
                        "resources": { "limits": { "cpu": "1" } },
                        "readinessProbe": { "httpGet": { "port": "http", "path": null } },
                    }],
                },
            })
        );
        assert_eq!(pod_template_hash(&template, None), hash);
        assert_eq!(drop_malformed_fields(&mut template), Vec::<String>::new());
    }
}
