//! The objects around a Rollout, read once, and a bell that rings when one of them changes.

use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, select_all};
use futures::{Stream, StreamExt, TryFutureExt};
use serde_json::Value;
use tidegate_controller::look;
use tidegate_controller::object::{Kind, ObjectKey};
use tidegate_controller::request::{ANALYSIS_RUNS, PODS, REPLICA_SETS, Resource};
use tidegate_crds::Rollout;
use tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL;

use crate::api::{Api, EXPERIMENTS};
use crate::failure::Failure;
use crate::info::Objects;
use crate::output::note;

/// What happens in a burst is shown once.
const BURST: Duration = Duration::from_millis(200);
/// Before a watch that ended is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// Lists objects of the namespace. What one may not see is taken as not there, and said.
async fn seen(api: &Api, resource: &Resource, selector: &str) -> Result<Vec<Value>, Failure> {
    match api.list(resource, &api.namespace, selector).await {
        Ok(list) => Ok(list.items),
        Err(failure) if matches!(failure.code(), Some(403 | 404)) => {
            note(&format!("Warning: {} are left out: {failure}", resource.plural));
            Ok(Vec::new())
        }
        Err(failure) => Err(failure),
    }
}

/// What the tree of a Rollout or experiment is made of.
pub(crate) async fn objects(api: &Api) -> Result<Objects, Failure> {
    let (replica_sets, pods, analysis_runs, experiments) = futures::try_join!(
        seen(api, &REPLICA_SETS, POD_TEMPLATE_HASH_LABEL),
        seen(api, &PODS, POD_TEMPLATE_HASH_LABEL),
        seen(api, &ANALYSIS_RUNS, ""),
        seen(api, &EXPERIMENTS, ""),
    )?;
    Ok(Objects {
        replica_sets,
        pods,
        analysis_runs,
        experiments,
    })
}

/// What a decision about a Rollout depends on beside [`objects`]: all that it names.
pub(crate) async fn named(api: &Api, rollout: &Rollout) -> Result<Vec<(Kind, Value)>, Failure> {
    let one = |(kind, key): (Kind, ObjectKey)| async move {
        let object = api.find(kind.resource(), &key.name).await?;
        Ok::<_, Failure>(object.map(|object| (kind, object)))
    };
    let names = look::named(rollout).into_iter();
    let found = futures::future::try_join_all(names.map(one));
    let templates = |kind: Kind| seen(api, kind.resource(), "").map_ok(move |list| (kind, list));
    let (found, of_namespace, of_cluster) = futures::try_join!(
        found,
        templates(Kind::AnalysisTemplate),
        templates(Kind::ClusterAnalysisTemplate)
    )?;
    let templates = [of_namespace, of_cluster].into_iter();
    let templates = templates.flat_map(|(kind, list)| list.into_iter().map(move |object| (kind, object)));
    Ok(found.into_iter().flatten().chain(templates).collect())
}

/// Rings when an object of a kind that [`objects`] reads has changed, or the Rollout or experiment itself.
pub(crate) struct Bell<'a> {
    api: &'a Api,
    subject: (&'static Resource, &'a str),
    watches: Option<SelectAll<BoxStream<'static, ()>>>,
}

impl<'a> Bell<'a> {
    pub(crate) fn new(api: &'a Api, subject: &'static Resource, name: &'a str) -> Self {
        Self {
            api,
            subject: (subject, name),
            watches: None,
        }
    }

    /// Waits for a change, and for the end of the burst that it is part of.
    pub(crate) async fn ring(&mut self) {
        let Self {
            api,
            subject: (subject, name),
            watches,
        } = self;
        if watches.is_none() {
            let kinds: [(&'static Resource, &str, &str); 4] = [
                (subject, name, ""),
                (&REPLICA_SETS, "", POD_TEMPLATE_HASH_LABEL),
                (&PODS, "", POD_TEMPLATE_HASH_LABEL),
                (&ANALYSIS_RUNS, "", ""),
            ];
            let mut open = Vec::new();
            for (resource, name, selector) in kinds {
                match api.watch(resource, &api.namespace, name, selector, "").await {
                    Ok(events) => open.push(news(events)),
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
            *watches = Some(select_all(open));
        }
        let Some(open) = watches else { return };
        if open.next().await.is_none() {
            *watches = None;
            tokio::time::sleep(AGAIN).await;
            return;
        }
        let until = tokio::time::Instant::now() + BURST;
        while let Ok(Some(())) = tokio::time::timeout_at(until, open.next()).await {}
    }
}

/// A watch without its words; ends with its first error.
fn news(
    events: impl Stream<Item = Result<crate::api::Event, Failure>> + Send + 'static,
) -> BoxStream<'static, ()> {
    events
        .take_while(|event| std::future::ready(event.is_ok()))
        .map(|_| ())
        .boxed()
}

/// The Rollout with what is around it, for a plan: kinds as the controller keeps them.
pub(crate) fn for_plan(rollout: &Value, objects: &Objects, named: Vec<(Kind, Value)>) -> Vec<(Kind, Value)> {
    let of = |kind: Kind, list: &[Value]| {
        list.iter()
            .map(|object| (kind, object.clone()))
            .collect::<Vec<_>>()
    };
    let mut all = vec![(Kind::Rollout, rollout.clone())];
    all.extend(of(Kind::ReplicaSet, &objects.replica_sets));
    all.extend(of(Kind::AnalysisRun, &objects.analysis_runs));
    all.extend(named);
    all
}
