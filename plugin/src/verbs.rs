//! The verbs that change something: read, patch, say so in upstream's words.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tidegate_controller::request::{
    ANALYSIS_RUNS, DEPLOYMENTS, POD_TEMPLATES, REPLICA_SETS, ROLLOUTS, Resource,
};
use tidegate_crds::decode::tolerant;
use tidegate_crds::labels::POD_TEMPLATE_HASH_LABEL;
use tidegate_crds::{ObjectRef, Rollout};

use crate::api::{Api, EXPERIMENTS};
use crate::failure::Failure;
use crate::output::{Output, note};
use crate::patches::{self, Patch, Promotion};

/// How often a whole object is written again after a conflict.
const ATTEMPTS: u32 = 5;

/// Reads a Rollout.
pub(crate) async fn rollout(api: &Api, name: &str) -> Result<Rollout, Failure> {
    Ok(tolerant(api.get(&ROLLOUTS, name).await?).0)
}

pub(crate) async fn promote(api: &Api, name: &str, how: Promotion, out: &mut Output) -> Result<(), Failure> {
    let deprecated = match how {
        Promotion::SkipStep => Some(
            "Flag --skip-current-step has been deprecated, use without the flag instead ex: promote ROLLOUT_NAME",
        ),
        Promotion::SkipSteps => Some("Flag --skip-all-steps has been deprecated, use --full instead"),
        _ => None,
    };
    if let Some(text) = deprecated {
        note(text);
    }
    for patch in patches::promote(&rollout(api, name).await?, how)? {
        api.patch(&ROLLOUTS, name, &patch).await?;
    }
    let fully = if how == Promotion::Full { "fully " } else { "" };
    out.line(&format!("rollout '{name}' {fully}promoted"))
}

/// The same patch for each of several objects; the first failure ends it.
pub(crate) async fn each(
    api: &Api,
    resource: &Resource,
    names: &[String],
    patch: &Patch,
    (kind, done): (&str, &str),
    out: &mut Output,
) -> Result<(), Failure> {
    for name in names {
        api.patch(resource, name, patch).await?;
        out.line(&format!("{kind} '{name}' {done}"))?;
    }
    Ok(())
}

pub(crate) async fn abort(api: &Api, names: &[String], out: &mut Output) -> Result<(), Failure> {
    each(
        api,
        &ROLLOUTS,
        names,
        &patches::abort(),
        ("rollout", "aborted"),
        out,
    )
    .await
}

pub(crate) async fn retry(api: &Api, names: &[String], out: &mut Output) -> Result<(), Failure> {
    each(
        api,
        &ROLLOUTS,
        names,
        &patches::retry(),
        ("rollout", "retried"),
        out,
    )
    .await
}

pub(crate) async fn retry_experiments(api: &Api, names: &[String], out: &mut Output) -> Result<(), Failure> {
    each(
        api,
        &EXPERIMENTS,
        names,
        &patches::retry_experiment(),
        ("experiment", "retried"),
        out,
    )
    .await
}

pub(crate) async fn pause(api: &Api, names: &[String], out: &mut Output) -> Result<(), Failure> {
    each(
        api,
        &ROLLOUTS,
        names,
        &patches::pause(),
        ("rollout", "paused"),
        out,
    )
    .await
}

pub(crate) async fn terminate_runs(api: &Api, names: &[String], out: &mut Output) -> Result<(), Failure> {
    each(
        api,
        &ANALYSIS_RUNS,
        names,
        &patches::terminate(),
        ("analysisRun", "terminated"),
        out,
    )
    .await
}

pub(crate) async fn terminate_experiments(
    api: &Api,
    names: &[String],
    out: &mut Output,
) -> Result<(), Failure> {
    each(
        api,
        &EXPERIMENTS,
        names,
        &patches::terminate(),
        ("experiment", "terminated"),
        out,
    )
    .await
}

pub(crate) async fn restart(
    api: &Api,
    name: &str,
    delay: SignedDuration,
    now: Timestamp,
    out: &mut Output,
) -> Result<(), Failure> {
    let at = now
        .checked_add(delay)
        .map_err(|_| Failure::Usage("--in is too long".to_owned()))?;
    api.patch(&ROLLOUTS, name, &patches::restart(at.into())).await?;
    let seconds = delay.as_secs();
    let said = if seconds == 0 {
        "0s".to_owned()
    } else {
        crate::age::human(seconds)
    };
    out.line(&format!("rollout '{name}' restarts in {said}"))
}

pub(crate) async fn undo(api: &Api, name: &str, to_revision: i64, out: &mut Output) -> Result<(), Failure> {
    let rollout = rollout(api, name).await?;
    let sets = api
        .list(&REPLICA_SETS, &api.namespace, POD_TEMPLATE_HASH_LABEL)
        .await?
        .items;
    let owned: Vec<Value> = sets
        .into_iter()
        .filter(|set| is_controlled_by(set, &rollout.metadata.uid))
        .collect();
    let (resource, target, path, template) = match &rollout.spec.workload_ref {
        None => (
            &ROLLOUTS,
            name,
            "/spec/template",
            rollout.spec.template.clone().unwrap_or_default(),
        ),
        Some(reference) => {
            let (resource, path) = workload_resource(reference)?;
            let target = reference.name.as_deref().unwrap_or_default();
            let workload = api.get(resource, target).await?;
            (
                resource,
                target,
                path,
                workload.pointer(path).cloned().unwrap_or_default(),
            )
        }
    };
    let undo = patches::undo(name, &owned, to_revision, &template, path)?;
    let Some(patch) = undo.patch else {
        return out.line(&format!(
            "skipped rollback (current template already matches revision {})",
            undo.revision
        ));
    };
    api.json_patch(resource, target, &patch).await?;
    out.line(&format!("rollout '{name}' undo"))
}

fn is_controlled_by(object: &Value, uid: &str) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        owner.get("uid").and_then(Value::as_str) == Some(uid)
            && owner.get("controller").and_then(Value::as_bool) == Some(true)
    })
}

/// The kind of a workload, and where its pod template stands.
fn workload_resource(reference: &ObjectRef) -> Result<(&'static Resource, &'static str), Failure> {
    match reference.kind.as_deref() {
        Some("Deployment") => Ok((&DEPLOYMENTS, "/spec/template")),
        Some("ReplicaSet") => Ok((&REPLICA_SETS, "/spec/template")),
        Some("PodTemplate") => Ok((&POD_TEMPLATES, "/template")),
        other => Err(Failure::other(format!(
            "workload of type {} is not supported",
            other.unwrap_or_default()
        ))),
    }
}

pub(crate) async fn set_image(
    api: &Api,
    name: &str,
    images: &[(String, String)],
    out: &mut Output,
) -> Result<(), Failure> {
    let rollout = rollout(api, name).await?;
    let (resource, target) = match &rollout.spec.workload_ref {
        None => (&ROLLOUTS, name),
        Some(reference) => match workload_resource(reference)? {
            (resource, _) if *resource == DEPLOYMENTS => {
                (resource, reference.name.as_deref().unwrap_or_default())
            }
            _ => {
                let text = "images of a workload that is no Deployment cannot be set: edit it, or apply its manifest";
                return Err(Failure::other(text));
            }
        },
    };
    let mut attempt = 1;
    loop {
        let mut object = api.get(resource, target).await?;
        patches::set_images(&mut object, images)?;
        match api.replace(resource, target, &object).await {
            Err(failure) if failure.code() == Some(409) && attempt < ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure),
            Ok(_) => break,
        }
    }
    out.line(&format!(
        "{} \"{target}\" image updated",
        resource.kind.to_lowercase()
    ))
}
