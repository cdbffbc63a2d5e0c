//! `kubectl tidegate delivery`: what is delivered from Git, and the annotations by which people tell the controller something.

mod diff;
mod disk;
#[cfg(test)]
mod examples;
mod explain;
mod folder;
mod info;

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_controller::request::{ANALYSIS_RUNS, DELIVERIES};
use tidegate_crds::decode::tolerant;
use tidegate_crds::{AnalysisRun, Delivery, VerdictState};
use tidegate_gitsync::object::{PIN_ANNOTATION, RETRY_ANNOTATION, SYNC_ANNOTATION};
use tidegate_gitsync::render::helm::{KUBE_VERSION, Release};

use self::folder::{delivery_in, release_of, rendered};
use self::info::{Info, Row};
use crate::api::Api;
use crate::cli::{self, Connection, Print};
use crate::failure::Failure;
use crate::output::{Format, Output, note, yaml};
use crate::patches::Patch;

/// The fewest digits that name a commit.
const MIN_DIGITS: usize = 4;

pub(crate) async fn run(
    connection: &Connection,
    what: cli::Delivery,
    out: &mut Output,
) -> Result<(), Failure> {
    if let cli::Delivery::Render {
        folder,
        delivery,
        print,
    } = what
    {
        let namespace = connection.namespace.as_deref().unwrap_or("default");
        let release = match delivery {
            Some(file) => release_of(&delivery_in(&file)?, namespace)?,
            None => Release {
                // as `helm template` has it
                name: "release-name".to_owned(),
                namespace: namespace.to_owned(),
                kube_version: KUBE_VERSION.to_owned(),
                ..Release::default()
            },
        };
        return render(&folder, release, print, out).await;
    }
    let api = Api::connect(connection).await?;
    let now = Timestamp::now();
    match what {
        cli::Delivery::List {
            all_namespaces,
            print,
        } => list(&api, all_namespaces, print, out).await,
        cli::Delivery::Get { name, print } => {
            let info = Info::from(&delivery(&api, &name).await?);
            match print.output {
                Some(format) => out.value(format, &info),
                None => out.text(&info::text(&info, now)),
            }
        }
        cli::Delivery::History { name, print } => {
            let ledger = delivery(&api, &name).await?.status.ledger;
            match print.output {
                Some(format) => out.value(format, &ledger),
                None if ledger.is_empty() => {
                    note("No commit has been seen yet.");
                    Ok(())
                }
                None => out.text(&info::history(&ledger, now)),
            }
        }
        cli::Delivery::Sync { name } => {
            annotate(&api, &name, SYNC_ANNOTATION, &json!(now.to_string())).await?;
            out.line(&format!("delivery '{name}' syncs"))
        }
        cli::Delivery::Retry { name } => retry(&api, &name, now, out).await,
        cli::Delivery::Pin { name, commit } => pin(&api, &name, &commit, out).await,
        cli::Delivery::Unpin { name } => {
            annotate(&api, &name, PIN_ANNOTATION, &Value::Null).await?;
            out.line(&format!("delivery '{name}' unpinned"))
        }
        cli::Delivery::Diff { name, path } => {
            diff::diff(&api, &delivery(&api, &name).await?, &path, out).await
        }
        cli::Delivery::Render { .. } => Ok(()),
    }
}

/// Reads a Delivery.
async fn delivery(api: &Api, name: &str) -> Result<Delivery, Failure> {
    Ok(tolerant(api.get(&DELIVERIES, name).await?).0)
}

async fn list(api: &Api, all_namespaces: bool, print: Print, out: &mut Output) -> Result<(), Failure> {
    let namespace = if all_namespaces {
        ""
    } else {
        api.namespace.as_str()
    };
    let now = Timestamp::now();
    let items = api.list(&DELIVERIES, namespace, "").await?.items;
    let rows: Vec<Row> = items
        .into_iter()
        .map(|object| Row::of(&tolerant(object).0, now))
        .collect();
    match print.output {
        Some(format) => out.value(format, &rows),
        None if rows.is_empty() => {
            note("No resources found.");
            Ok(())
        }
        None => out.text(&info::table(&rows, all_namespaces)),
    }
}

async fn annotate(api: &Api, name: &str, key: &str, value: &Value) -> Result<(), Failure> {
    let patch = Patch::Spec(json!({"metadata": {"annotations": {key: value}}}));
    api.patch(&DELIVERIES, name, &patch).await.map(drop)
}

/// Releases a rejected commit again.
async fn retry(api: &Api, name: &str, now: Timestamp, out: &mut Output) -> Result<(), Failure> {
    let known = delivery(api, name).await?;
    let head = info::head(&known).map(|commit| commit.words());
    let rejected = info::head_entry(&known).is_some_and(|entry| entry.state == VerdictState::Rejected);
    if !rejected {
        return Err(Failure::other(format!(
            "delivery {name:?}: its newest commit {} is not rejected: there is nothing to retry",
            head.unwrap_or_default()
        )));
    }
    annotate(api, name, RETRY_ANNOTATION, &json!(now.to_string())).await?;
    out.line(&format!(
        "delivery '{name}' retries commit {}",
        head.unwrap_or_default()
    ))
}

/// Holds the cluster at a commit.
async fn pin(api: &Api, name: &str, digits: &str, out: &mut Output) -> Result<(), Failure> {
    let commit = named(&delivery(api, name).await?, digits)?;
    annotate(api, name, PIN_ANNOTATION, &json!(commit)).await?;
    out.line(&format!(
        "delivery '{name}' pinned to commit {}",
        info::short(&commit)
    ))
}

/// The commit of the ledger that begins with these digits.
fn named(delivery: &Delivery, digits: &str) -> Result<String, Failure> {
    let name = &delivery.metadata.name;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.len() < MIN_DIGITS || !hex {
        let text = format!("{digits:?} is no commit: name it by {MIN_DIGITS} digits at least");
        return Err(Failure::Usage(text));
    }
    let digits = digits.to_ascii_lowercase();
    let entries = delivery
        .status
        .ledger
        .iter()
        .filter(|entry| !entry.digest.is_empty());
    let commits = entries.flat_map(|entry| &entry.commits);
    let mut commits: Vec<&String> = commits.filter(|commit| commit.starts_with(&digits)).collect();
    commits.sort();
    commits.dedup();
    match commits.as_slice() {
        [commit] => Ok((*commit).clone()),
        [] => Err(Failure::other(format!(
            "delivery {name:?} knows no commit {digits} that could be released (what it knows: kubectl tidegate delivery history {name} -n {})",
            delivery.metadata.namespace
        ))),
        several => Err(Failure::other(format!(
            "delivery {name:?} knows {} commits that begin with {digits}: use more digits",
            several.len()
        ))),
    }
}

/// `explain delivery NAME`.
pub(crate) async fn explain(api: &Api, name: &str, print: Print, out: &mut Output) -> Result<(), Failure> {
    let known = delivery(api, name).await?;
    let runs = runs(api, &known).await?;
    let explanation = explain::of(&known, &runs, Timestamp::now());
    match print.output {
        Some(format) => out.value(format, &explanation),
        None => out.text(&explain::text(&explanation)),
    }
}

/// The analysis runs that the newest commit was judged by, as far as they are there and may be seen.
async fn runs(api: &Api, delivery: &Delivery) -> Result<Vec<AnalysisRun>, Failure> {
    let mut runs = Vec::new();
    let Some(entry) = info::head_entry(delivery) else {
        return Ok(runs);
    };
    let mut namespaces: Vec<&str> = entry
        .rollouts
        .iter()
        .map(|rollout| rollout.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for name in &entry.analysis_runs {
        for namespace in &namespaces {
            match api.find_at(&ANALYSIS_RUNS, namespace, name).await {
                Ok(run) => runs.extend(run.map(|run| tolerant(run).0)),
                Err(failure) if failure.code() == Some(403) => {
                    note(&format!("Warning: analysis run {name} is left out: {failure}"));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(runs)
}

async fn render(folder: &Path, release: Release, print: Print, out: &mut Output) -> Result<(), Failure> {
    let objects: Vec<Value> = rendered(folder, release)
        .await?
        .manifests
        .into_iter()
        .map(|manifest| manifest.value)
        .collect();
    if let Some(format @ Format::Json) = print.output {
        return out.value(
            format,
            &json!({"apiVersion": "v1", "kind": "List", "items": objects}),
        );
    }
    for object in &objects {
        out.text(&format!("---\n{}", yaml(object)?))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::examples::{BAD, GOOD, rejected};

    #[test]
    fn commits_are_named_by_their_first_digits() {
        let said = |digits: &str| named(&rejected(), digits).map_err(|failure| failure.to_string());
        assert_eq!(said("1a2b3c"), Ok(BAD.to_owned()));
        assert_eq!(said("9F8E7D6C"), Ok(GOOD.to_owned()));
        assert_eq!(said(GOOD), Ok(GOOD.to_owned()));
        for (digits, error) in [
            (
                "abcdef",
                "delivery \"web\" knows no commit abcdef that could be released (what it knows: kubectl tidegate delivery history web -n shop)",
            ),
            (
                "abc",
                "\"abc\" is no commit: name it by 4 digits at least (see --help)",
            ),
            (
                "main",
                "\"main\" is no commit: name it by 4 digits at least (see --help)",
            ),
        ] {
            assert_eq!(said(digits), Err(error.to_owned()));
        }
        let mut twice = rejected();
        twice.status.ledger[1].commits = vec![format!("1a2b{}", "0".repeat(36)), "f".repeat(40)];
        let failure = named(&twice, "1a2b").unwrap_err().to_string();
        assert_eq!(
            failure,
            "delivery \"web\" knows 2 commits that begin with 1a2b: use more digits"
        );
    }
}
