//! `delivery diff`: what a local folder would change in the cluster, asked of the API server without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use similar::TextDiff;
use tidegate_controller::request::Resource;
use tidegate_crds::Delivery;
use tidegate_gitsync::object::ObjectId;
use tidegate_gitsync::observed::Kinds;
use tidegate_gitsync::preview::{Obstacle, Preview, Previewed, is_deleted};

use crate::api::Api;
use crate::failure::Failure;
use crate::output::{Output, printable, yaml};

/// Questions to the API server at a time.
const AT_ONCE: usize = 8;

/// What a server fills in by itself, which differs without meaning anything.
const NOISE: [&str; 5] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
];

/// One object before and after.
#[derive(Debug)]
struct Change {
    id: ObjectId,
    /// Where it would come from: a file and line.
    from: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// Prints what the folder would change; fails without words if it is anything.
pub(super) async fn diff(
    api: &Api,
    delivery: &Delivery,
    folder: &Path,
    out: &mut Output,
) -> Result<(), Failure> {
    let release = super::release_of(delivery, &api.namespace)?;
    let rendered = super::rendered(folder, release).await?;
    let mut served = Served::default();
    let preview = loop {
        match Preview::of(rendered.clone(), delivery, &served.kinds) {
            Ok(preview) => break preview,
            Err(Obstacle::Wrong(problem) | Obstacle::NoKind(problem)) => return Err(Failure::other(problem)),
            Err(Obstacle::Unknown(versions)) => served.learn(api, versions).await?,
        }
    };
    let left = preview.left_over(delivery);
    let versions = preview.objects().map(|object| object.id()).chain(&left);
    let versions = versions.map(ObjectId::api_version);
    let unknown: BTreeSet<String> = versions
        .filter(|version| !served.kinds.contains_key(version))
        .collect();
    served.learn(api, unknown).await?;
    let served = &served;
    let wanted = preview.objects().map(|object| wanted(api, served, object));
    let changes: Vec<Change> = stream::iter(wanted).buffered(AT_ONCE).try_collect().await?;
    let gone = left.into_iter().map(|id| gone(api, served, delivery, id));
    let gone: Vec<Option<Change>> = stream::iter(gone).buffered(AT_ONCE).try_collect().await?;
    let mut same = true;
    for change in changes.into_iter().chain(gone.into_iter().flatten()) {
        let text = unified(change)?;
        same &= text.is_empty();
        out.text(&text)?;
    }
    if same { Ok(()) } else { Err(Failure::Said) }
}

/// What API versions serve.
#[derive(Debug, Default)]
struct Served {
    kinds: BTreeMap<String, Kinds>,
    resources: BTreeMap<(String, String), &'static Resource>,
}

impl Served {
    async fn learn(&mut self, api: &Api, versions: BTreeSet<String>) -> Result<(), Failure> {
        for version in versions {
            let served = api.served(&version).await?;
            let kinds = served.as_ref().map(|resources| {
                let of = |resource: &&'static Resource| (resource.kind.to_owned(), resource.namespaced);
                Arc::new(resources.iter().map(of).collect())
            });
            for resource in served.into_iter().flatten() {
                self.resources
                    .insert((version.clone(), resource.kind.to_owned()), resource);
            }
            self.kinds.insert(version, kinds);
        }
        Ok(())
    }

    fn resource(&self, id: &ObjectId) -> Option<&'static Resource> {
        self.resources.get(&(id.api_version(), id.kind.clone())).copied()
    }
}

/// What would become of an object of the folder.
async fn wanted(api: &Api, served: &Served, object: Previewed<'_>) -> Result<Change, Failure> {
    let id = object.id();
    let change = |before, after| Change {
        id: id.clone(),
        from: object.place().to_string(),
        before,
        after: Some(after),
    };
    // Its kind comes with the same folder.
    let Some(resource) = served.resource(id) else {
        return Ok(change(None, object.body(None)));
    };
    let before = api.find_at(resource, &id.namespace, &id.name).await?;
    let body = object.body(before.as_ref());
    match api.dry_apply(resource, &id.namespace, &id.name, &body).await {
        Ok(after) => Ok(change(before, after)),
        Err(failure) if object.comes_later() && failure.code() == Some(404) => Ok(change(None, body)),
        Err(Failure::Api(error)) => {
            let text = format!("{}: {}: {error}", object.place(), id.words());
            Err(Failure::other(text))
        }
        Err(failure) => Err(failure),
    }
}

/// An object of the inventory that the folder has not: what would be deleted.
async fn gone(
    api: &Api,
    served: &Served,
    delivery: &Delivery,
    id: ObjectId,
) -> Result<Option<Change>, Failure> {
    let Some(resource) = served.resource(&id) else {
        return Ok(None);
    };
    let live = api.find_at(resource, &id.namespace, &id.name).await?;
    let live = live.filter(|live| is_deleted(delivery, live));
    Ok(live.map(|live| Change {
        id,
        from: "deleted".to_owned(),
        before: Some(live),
        after: None,
    }))
}

/// A change as a unified diff of YAML; empty if there is none.
fn unified(change: Change) -> Result<String, Failure> {
    let Change {
        id,
        from,
        mut before,
        mut after,
    } = change;
    let of_server = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !NOISE.contains(&field.as_str()));
        }
    };
    before.iter_mut().chain(&mut after).for_each(of_server);
    if id.is("", "Secret") {
        mask(before.as_mut(), after.as_mut());
    }
    let text = |object: &Option<Value>| object.as_ref().map_or(Ok(String::new()), yaml);
    let (before, after) = (text(&before)?, text(&after)?);
    if before == after {
        return Ok(String::new());
    }
    let words = id.words();
    let diff = TextDiff::from_lines(&before, &after);
    let text = diff
        .unified_diff()
        .header(&format!("{words} (cluster)"), &format!("{words} ({from})"))
        .to_string();
    Ok(text.lines().map(|line| printable(line) + "\n").collect())
}

/// Puts stars in the place of the values of a Secret; what differs can still be told apart.
fn mask(before: Option<&mut Value>, after: Option<&mut Value>) {
    let mut sides = [before, after];
    for part in ["data", "stringData"] {
        let values = sides.each_ref().map(|side| {
            let map = side.as_ref().and_then(|object| object.get(part)?.as_object());
            map.cloned().unwrap_or_default()
        });
        let [old, new] = &values;
        for (side, suffix) in sides.iter_mut().zip([" (before)", " (after)"]) {
            let map = side
                .as_mut()
                .and_then(|object| object.get_mut(part)?.as_object_mut());
            for (key, value) in map.into_iter().flatten() {
                let both = old.contains_key(key) && new.contains_key(key);
                let suffix = if both && old.get(key) != new.get(key) {
                    suffix
                } else {
                    ""
                };
                *value = Value::String(format!("***{suffix}"));
            }
        }
    }
    let last_applied = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    for side in sides.into_iter().flatten() {
        if let Some(value) = side.pointer_mut(last_applied) {
            *value = Value::String("***".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(before: Option<Value>, after: Option<Value>) -> String {
        let object = before.as_ref().or(after.as_ref()).unwrap();
        let change = Change {
            id: ObjectId::of(object),
            from: "prod/a.yaml:1:1".to_owned(),
            before,
            after,
        };
        unified(change).unwrap()
    }

    #[test]
    fn what_the_server_counts_is_no_difference() {
        let object = |generation: u8, replicas: u8| {
            Some(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop", "generation": generation, "managedFields": [generation]},
                "spec": {"replicas": replicas},
            }))
        };
        assert_eq!(text(object(1, 2), object(2, 2)), "");
        let expected = "--- Deployment shop/web (cluster)\n+++ Deployment shop/web (prod/a.yaml:1:1)\n@@ -4,4 +4,4 @@\n   \
                        name: web\n   namespace: shop\n spec:\n-  replicas: 2\n+  replicas: 3\n";
        assert_eq!(text(object(1, 2), object(2, 3)), expected);
    }

    #[test]
    fn values_of_secrets_are_not_shown() {
        let secret = |data: Value| {
            Some(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "hunter2",
                }},
                "data": data,
            }))
        };
        let before = secret(json!({"same": "aHVudGVyMg==", "other": "aHVudGVyMg==", "old": "aHVudGVyMg=="}));
        let after = secret(json!({"same": "aHVudGVyMg==", "other": "aHVudGVyMw==", "new": "aHVudGVyMw=="}));
        let shown = text(before.clone(), after.clone());
        assert!(
            shown.contains("-  old: '***'") || shown.contains("-  old: \"***\""),
            "{shown}"
        );
        assert!(
            shown.contains("*** (before)") && shown.contains("*** (after)"),
            "{shown}"
        );
        for shown in [shown, text(before, None), text(None, after)] {
            assert!(!shown.contains("hunter") && !shown.contains("aHVu"), "{shown}");
        }
    }
}
