//! A GitOps tool that applies its manifests again and again, by server-side apply, and takes its fields back.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Actor, Cx, text};
use crate::store::{Commit, PatchKind, Request};

/// The tool.
#[derive(Debug)]
pub struct GitOps {
    namespace: String,
    manifests: Vec<Value>,
    every: SignedDuration,
    next: Timestamp,
}

impl GitOps {
    /// A tool that applies these manifests now and then.
    pub fn new(namespace: &str, manifests: Vec<Value>, every: SignedDuration, first: Timestamp) -> Self {
        Self {
            namespace: namespace.to_owned(),
            manifests,
            every,
            next: first,
        }
    }
}

impl Actor for GitOps {
    fn name(&self) -> &'static str {
        "gitops"
    }

    fn notice(&mut self, _: &Commit) -> bool {
        false
    }

    fn act(&mut self, cx: &mut Cx<'_>) -> Option<Timestamp> {
        if cx.now >= self.next {
            for manifest in &self.manifests {
                let registry = cx.api.store().registry();
                let found = registry
                    .by_kind(text(&manifest["apiVersion"]), text(&manifest["kind"]))
                    .cloned();
                let Some(resource) = found else { continue };
                let name = text(&manifest["metadata"]["name"]);
                let request = Request::patch(
                    &resource,
                    &self.namespace,
                    name,
                    PatchKind::Apply,
                    manifest.clone(),
                )
                .with(|o| {
                    o.force = true;
                    "gitops".clone_into(&mut o.field_manager);
                });
                // a manifest that the API server refuses is applied again next time
                let _ = cx.api.send(request);
            }
            self.next = cx.now + self.every;
        }
        Some(self.next)
    }
}
