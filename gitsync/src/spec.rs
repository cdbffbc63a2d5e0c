//! The spec of a Delivery, read once into what cannot be wrong any more.

use std::borrow::Cow;

mod helm;

use jiff::SignedDuration;
use tidegate_crds::{
    BootstrapFrom, DeliveryGit, DeliveryObserve, DeliverySpec, ForgeType, GoDuration, PruneAfter,
    RejectedAction, RejectedReason, SyncerKind,
};

use crate::health::Checks;
use crate::notify::{Chat, chats};
use crate::remote::ForgeKind;
use crate::render::helm::Release;

const DEFAULT_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
const MAX_DURATION: SignedDuration = SignedDuration::from_hours(24 * 30);
const MAX_TEXT: usize = 1024;

/// A field of a spec that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidSpec {
    field: Cow<'static, str>,
    message: String,
}

pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> InvalidSpec {
    InvalidSpec {
        field: field.into(),
        message: message.into(),
    }
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Full name: `refs/heads/main`.
    pub full: String,
    /// Name alone, for people: `main`.
    pub short: String,
    /// Whether it is a branch, which may be written to.
    pub branch: bool,
}

/// Who may apply a folder instead of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syncer {
    /// Argo CD's.
    Application,
    /// Flux's.
    Kustomization,
}

/// The object of another syncer that is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observe {
    pub(crate) kind: Syncer,
    pub(crate) name: String,
    /// `None`: that of the Delivery.
    pub(crate) namespace: Option<String>,
}

/// The forge and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Its software.
    pub kind: ForgeKind,
    /// Address of its API.
    pub api: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// Set a status on each commit.
    pub commit_status: bool,
    /// Keep a comment on pull requests.
    pub comment: bool,
}

/// A spec that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Address of the repository.
    pub url: String,
    /// Secret for reading.
    pub secret: Option<String>,
    /// Secret with those whose signatures count; `None`: no signature is asked for.
    pub signers_secret: Option<String>,
    /// Secret for writing.
    pub write_secret: Option<String>,
    /// Secret for the forge.
    pub forge_secret: Option<String>,
    /// What is followed.
    pub reference: Reference,
    /// The folder, without slashes around it; empty for all.
    pub path: String,
    /// How a chart is rendered; the names may be missing.
    helm: Release,
    /// How often the branch is looked at.
    pub interval: SignedDuration,
    /// Whether nothing is to be done.
    pub suspend: bool,
    /// Service account that objects are applied as.
    pub service_account: String,
    /// Who applies instead, if somebody does.
    pub(crate) observe: Option<Observe>,
    /// When objects that are in Git no more are deleted; `None`: never.
    pub(crate) prune: Option<PruneAfter>,
    /// Where to start without history, and whether to record it in Git.
    pub(crate) bootstrap_from_verified: bool,
    pub(crate) soak: SignedDuration,
    pub(crate) require_verified: bool,
    pub(crate) health: Checks,
    pub(crate) action: RejectedAction,
    pub(crate) write_on: Vec<RejectedReason>,
    /// The forge, if it is known.
    pub feedback: Option<Feedback>,
    /// Chats that are told what became of commits.
    pub chats: Vec<Chat>,
}

impl Spec {
    /// The refs that record the last good and the last rejected commit of a Delivery, if they are wanted.
    pub fn recorded_refs(&self, namespace: &str, name: &str) -> Vec<String> {
        if !self.bootstrap_from_verified {
            return Vec::new();
        }
        let of = |what: &str| format!("refs/tidegate/{namespace}/{name}/{what}");
        vec![of("verified"), of("rejected")]
    }

    /// Whether somebody else applies, and commits are only judged.
    pub fn observes(&self) -> bool {
        self.observe.is_some()
    }

    /// Reads a spec.
    ///
    /// # Errors
    /// Names the field, its value and what to do.
    pub fn read(spec: &DeliverySpec) -> Result<Self, InvalidSpec> {
        let git = &spec.source.git;
        let on_rejected = spec.on_rejected.clone().unwrap_or_default();
        let feedback = spec.feedback.clone().unwrap_or_default();
        let secret =
            |name: &Option<tidegate_crds::SecretName>| name.as_ref().map(|secret| secret.name.clone());
        let read_secret = secret(&git.secret_ref);
        let write_secret = secret(&on_rejected.write_secret_ref);
        let forge_secret = secret(&feedback.secret_ref)
            .or_else(|| write_secret.clone())
            .or_else(|| read_secret.clone());
        let url = url(git)?;
        let reference = reference(git)?;
        let observe = spec.observe.as_ref().map(observe).transpose()?;
        let action = action(on_rejected.action.clone(), observe.is_some())?;
        let writes = matches!(action, RejectedAction::RevertPR | RejectedAction::RevertCommit);
        if writes && write_secret.is_none() {
            let message =
                format!("is needed for onRejected.action {action}: name a Secret with the right to push");
            return Err(invalid("spec.onRejected.writeSecretRef", message));
        }
        if writes && !reference.branch {
            let message =
                format!("{action} needs a branch to write to: set spec.source.git.ref.branch, or use Pin");
            return Err(invalid("spec.onRejected.action", message));
        }
        let forge = self::feedback(spec, &url, forge_secret.is_some())?;
        if action == RejectedAction::RevertPR && forge.is_none() {
            let message = "is needed for onRejected.action RevertPR, because the host is not a known forge: set it to GitHub, \
                           GitLab, Gitea (also for Forgejo) or Bitbucket";
            return Err(invalid("spec.feedback.forge.type", message));
        }
        let prune = spec.prune.clone().unwrap_or_default();
        if observe.is_some() && spec.prune.is_some() && prune.enabled != Some(false) {
            let message =
                "nothing is deleted with spec.observe, which leaves that to the other syncer: take it out";
            return Err(invalid("spec.prune", message));
        }
        let verify = spec.verify.clone().unwrap_or_default();
        Ok(Self {
            signers_secret: git.verify.as_ref().map(|verify| verify.secret_ref.name.clone()),
            secret: read_secret,
            forge_secret,
            path: path(git)?,
            helm: helm::read(spec.source.helm.as_ref())?,
            interval: duration("spec.interval", spec.interval.as_ref(), DEFAULT_INTERVAL)?.max(MIN_INTERVAL),
            suspend: spec.suspend.unwrap_or(false),
            service_account: spec
                .service_account_name
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            prune: prune_after(prune.enabled.unwrap_or(observe.is_none()), prune.after)?,
            observe,
            bootstrap_from_verified: bootstrap(spec.bootstrap_from.clone(), write_secret.is_some())?,
            soak: duration("spec.verify.soak", verify.soak.as_ref(), SignedDuration::ZERO)?,
            require_verified: verify.require_verified.unwrap_or(false),
            health: Checks::read(&spec.health_checks)?,
            action,
            write_on: write_on(on_rejected.write_on)?,
            feedback: forge,
            chats: chats(&feedback)?,
            write_secret,
            url,
            reference,
        })
    }
}

fn url(git: &DeliveryGit) -> Result<String, InvalidSpec> {
    let url = git.url.trim();
    let field = "spec.source.git.url";
    if url.is_empty() {
        return Err(invalid(field, "is needed: the address of the repository"));
    }
    if url.len() > MAX_TEXT {
        return Err(invalid(field, format!("is longer than {MAX_TEXT} characters")));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.starts_with('-') {
        return Err(invalid(
            field,
            "is no address: it holds white space, or begins with a dash",
        ));
    }
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let user = authority.split('/').next().and_then(|host| host.rsplit_once('@'));
    if user.is_some_and(|(user, _)| user.contains(':')) {
        return Err(invalid(
            field,
            "holds a password: put it into a Secret and name that in spec.source.git.secretRef",
        ));
    }
    Ok(url.to_owned())
}

fn reference(git: &DeliveryGit) -> Result<Reference, InvalidSpec> {
    let field = "spec.source.git.ref";
    let chosen = git.reference.clone().unwrap_or_default();
    let (kind, name, branch) = match (chosen.branch, chosen.tag) {
        (Some(_), Some(_)) => return Err(invalid(field, "has both a branch and a tag: keep one")),
        (None, Some(tag)) => ("tags", tag, false),
        (branch, None) => ("heads", branch.unwrap_or_else(|| "main".to_owned()), true),
    };
    // what `git check-ref-format` says, as far as it could do harm
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if name.is_empty()
        || name.len() > 255
        || name.starts_with('-')
        || name.contains("..")
        || name.chars().any(odd)
    {
        return Err(invalid(field, format!("{name:?} is no name of a branch or tag")));
    }
    Ok(Reference {
        full: format!("refs/{kind}/{name}"),
        short: name,
        branch,
    })
}

fn path(git: &DeliveryGit) -> Result<String, InvalidSpec> {
    let path = git.path.as_deref().unwrap_or_default();
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    let path = if path == "." { "" } else { path };
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.len() > MAX_TEXT
        || path.chars().any(char::is_control)
        || !path.is_empty() && path.split('/').any(bad)
    {
        let message =
            format!("{path:?} is no folder of the repository: name it from the root, without \"..\"");
        return Err(invalid("spec.source.git.path", message));
    }
    Ok(path.to_owned())
}

fn duration(
    field: &'static str,
    text: Option<&GoDuration>,
    default: SignedDuration,
) -> Result<SignedDuration, InvalidSpec> {
    let Some(text) = text.filter(|text| !text.as_str().is_empty()) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(duration) if (SignedDuration::ZERO..=MAX_DURATION).contains(&duration) => Ok(duration),
        Ok(_) => Err(invalid(field, format!("{text}: use something from 0s to 720h"))),
        Err(error) => Err(invalid(field, format!("{error}: write it as 30s or 5m"))),
    }
}

fn prune_after(enabled: bool, after: Option<PruneAfter>) -> Result<Option<PruneAfter>, InvalidSpec> {
    match after.unwrap_or_default() {
        PruneAfter::Other(text) => {
            let message = format!("{text:?} is not known: use Verified or Applied");
            Err(invalid("spec.prune.after", message))
        }
        PruneAfter::Unset => Ok(enabled.then_some(PruneAfter::Verified)),
        after => Ok(enabled.then_some(after)),
    }
}

fn observe(observe: &DeliveryObserve) -> Result<Observe, InvalidSpec> {
    let kind = match &observe.kind {
        SyncerKind::Application => Syncer::Application,
        SyncerKind::Kustomization => Syncer::Kustomization,
        SyncerKind::Unset => {
            return Err(invalid(
                "spec.observe.kind",
                "is needed: Application or Kustomization",
            ));
        }
        SyncerKind::Other(text) => {
            let message = format!("{text:?} is not known: use Application (Argo CD) or Kustomization (Flux)");
            return Err(invalid("spec.observe.kind", message));
        }
    };
    let odd = |name: &str| {
        name.is_empty() || name.len() > 253 || name.contains(['/', '?', '#', '%']) || name.contains("..")
    };
    if odd(&observe.name) {
        let message = format!(
            "{:?} is no name of an object: name the {}",
            observe.name, observe.kind
        );
        return Err(invalid("spec.observe.name", message));
    }
    let namespace = observe
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    if let Some(namespace) = namespace.as_deref().filter(|namespace| odd(namespace)) {
        return Err(invalid(
            "spec.observe.namespace",
            format!("{namespace:?} is no name of a namespace"),
        ));
    }
    Ok(Observe {
        kind,
        name: observe.name.clone(),
        namespace,
    })
}

fn action(action: Option<RejectedAction>, observes: bool) -> Result<RejectedAction, InvalidSpec> {
    match action.unwrap_or_default() {
        RejectedAction::Unset if observes => Ok(RejectedAction::Hold),
        RejectedAction::Unset => Ok(RejectedAction::Pin),
        RejectedAction::Pin if observes => {
            let message = "Pin needs a Delivery that applies, and with spec.observe another syncer does: use Hold, RevertPR or \
                           RevertCommit";
            Err(invalid("spec.onRejected.action", message))
        }
        RejectedAction::Other(text) => {
            let message = format!("{text:?} is not known: use Hold, Pin, RevertPR or RevertCommit");
            Err(invalid("spec.onRejected.action", message))
        }
        action => Ok(action),
    }
}

fn bootstrap(from: Option<BootstrapFrom>, can_write: bool) -> Result<bool, InvalidSpec> {
    let field = "spec.bootstrapFrom";
    match from.unwrap_or_default() {
        BootstrapFrom::Unset | BootstrapFrom::Head => Ok(false),
        BootstrapFrom::Verified if !can_write => {
            let message = "Verified is recorded in the repository: set spec.onRejected.writeSecretRef, a Secret with the right to push";
            Err(invalid(field, message))
        }
        BootstrapFrom::Verified => Ok(true),
        BootstrapFrom::Other(text) => Err(invalid(
            field,
            format!("{text:?} is not known: use Head or Verified"),
        )),
    }
}

fn write_on(reasons: Vec<RejectedReason>) -> Result<Vec<RejectedReason>, InvalidSpec> {
    if reasons.is_empty() {
        return Ok(vec![
            RejectedReason::AnalysisFailed,
            RejectedReason::DeadlineExceeded,
        ]);
    }
    let may = [
        RejectedReason::AnalysisFailed,
        RejectedReason::AnalysisError,
        RejectedReason::DeadlineExceeded,
        RejectedReason::ManualAbort,
        RejectedReason::HookFailed,
        RejectedReason::InvalidSpec,
    ];
    if let Some(reason) = reasons.iter().find(|reason| !may.contains(reason)) {
        let names = may.map(|reason| reason.to_string()).join(", ");
        return Err(invalid(
            "spec.onRejected.writeOn",
            format!(
                "{:?} is no reason to write to Git for: use some of {names}",
                reason.as_str()
            ),
        ));
    }
    Ok(reasons)
}

/// The host of a repository's address, with its port if it is one of HTTP, and its path without `.git`.
pub(crate) fn host_and_path(url: &str) -> Option<(String, String, String)> {
    let (scheme, host, path) = match url.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => {
            let (host, path) = rest.split_once('/')?;
            (scheme, host, path)
        }
        Some(("ssh", rest)) => {
            let (host, path) = rest.split_once('/')?;
            ("https", host.split(':').next()?, path)
        }
        Some(_) => return None,
        None => {
            let (host, path) = url.split_once(':')?;
            ("https", host, path)
        }
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some((scheme.to_owned(), host.to_owned(), path.to_owned()))
}

fn feedback(spec: &DeliverySpec, url: &str, has_secret: bool) -> Result<Option<Feedback>, InvalidSpec> {
    let wanted = spec.feedback.clone().unwrap_or_default();
    let parts = host_and_path(url);
    let host = parts.as_ref().map_or("", |(_, host, _)| host.as_str());
    let named = wanted.forge.as_ref().map(|forge| forge.kind.clone());
    let kind = match (named, host) {
        (Some(ForgeType::GitHub), _) | (None, "github.com") => ForgeKind::GitHub,
        (Some(ForgeType::GitLab), _) | (None, "gitlab.com") => ForgeKind::GitLab,
        (Some(ForgeType::Gitea), _) | (None, "codeberg.org") => ForgeKind::Gitea,
        (Some(ForgeType::Bitbucket), _) | (None, "bitbucket.org") => ForgeKind::Bitbucket,
        (Some(ForgeType::Other(_) | ForgeType::Unset), _) => {
            let message = "is not known: use GitHub, GitLab, Gitea (also for Forgejo) or Bitbucket";
            return Err(invalid("spec.feedback.forge.type", message));
        }
        (None, _) if wanted.commit_status == Some(true) || wanted.comment == Some(true) => {
            let message = "is needed for feedback, because the host is not a known forge: set it to GitHub, GitLab, Gitea (also \
                           for Forgejo) or Bitbucket";
            return Err(invalid("spec.feedback.forge.type", message));
        }
        (None, _) => return Ok(None),
    };
    if !has_secret {
        if wanted.commit_status == Some(true) || wanted.comment == Some(true) {
            return Err(invalid(
                "spec.feedback.secretRef",
                "is needed for feedback: name a Secret with a token of the forge",
            ));
        }
        return Ok(None);
    }
    let Some((scheme, host, repository)) = parts.filter(|(_, _, path)| path.contains('/')) else {
        let message = "no OWNER/NAME can be made out of it, which the forge needs";
        return Err(invalid("spec.source.git.url", message));
    };
    let api = match (wanted.forge.and_then(|forge| forge.api), kind) {
        (Some(api), _) if api.starts_with("https://") || api.starts_with("http://") => {
            api.trim_end_matches('/').to_owned()
        }
        (Some(api), _) => {
            let message = format!("{api:?} is no address: it begins with https://");
            return Err(invalid("spec.feedback.forge.api", message));
        }
        (None, ForgeKind::GitHub) if host == "github.com" => "https://api.github.com".to_owned(),
        (None, ForgeKind::GitHub) => format!("{scheme}://{host}/api/v3"),
        (None, ForgeKind::GitLab) => format!("{scheme}://{host}/api/v4"),
        (None, ForgeKind::Gitea) => format!("{scheme}://{host}/api/v1"),
        (None, ForgeKind::Bitbucket) => "https://api.bitbucket.org/2.0".to_owned(),
    };
    Ok(Some(Feedback {
        kind,
        api,
        repository,
        commit_status: wanted.commit_status.unwrap_or(true),
        comment: wanted.comment.unwrap_or(false),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(spec: Value) -> Result<Spec, String> {
        let spec: DeliverySpec = serde_json::from_value(spec).unwrap();
        Spec::read(&spec).map_err(|error| error.to_string())
    }

    fn with(mut extra: Value) -> Value {
        extra["source"] = json!({"git": {"url": "https://git.example.com/shop/deploy.git"}});
        extra
    }

    #[test]
    fn ten_lines_are_enough() {
        let spec = read(json!({"source": {"git": {
            "url": "https://github.com/shop/deploy.git", "ref": {"branch": "live"}, "path": "./prod/", "secretRef": {"name": "deploy"},
        }}}))
        .unwrap();
        assert_eq!(
            (spec.reference.full.as_str(), spec.path.as_str()),
            ("refs/heads/live", "prod")
        );
        assert_eq!(
            (spec.interval, spec.action),
            (DEFAULT_INTERVAL, RejectedAction::Pin)
        );
        let feedback = spec.feedback.unwrap();
        assert_eq!(
            (feedback.api.as_str(), feedback.repository.as_str()),
            ("https://api.github.com", "shop/deploy")
        );
        assert_eq!(spec.forge_secret.as_deref(), Some("deploy"));
    }

    #[test]
    fn the_api_of_a_forge_is_made_from_the_address() {
        for (url, api, repository) in [
            (
                "http://10.0.0.1:3000/shop/deploy.git",
                "http://10.0.0.1:3000/api/v1",
                "shop/deploy",
            ),
            (
                "git@git.example.com:shop/deploy.git",
                "https://git.example.com/api/v1",
                "shop/deploy",
            ),
            (
                "ssh://git@git.example.com:2222/shop/deploy",
                "https://git.example.com/api/v1",
                "shop/deploy",
            ),
        ] {
            let spec = json!({"source": {"git": {"url": url, "secretRef": {"name": "a"}}}, "feedback": {"forge": {"type": "Gitea"}}});
            let feedback = read(spec).unwrap().feedback.unwrap();
            assert_eq!(
                (feedback.api.as_str(), feedback.repository.as_str()),
                (api, repository),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_field_value_and_fix() {
        let table = [
            (
                json!({}),
                "spec.source.git.url: is needed: the address of the repository",
            ),
            (
                json!({"source": {"git": {"url": "https://me:secret@git.example.com/a/b"}}}),
                "spec.source.git.url: holds a password: put it into a Secret and name that in spec.source.git.secretRef",
            ),
            (
                json!({"source": {"git": {"url": "https://h/a/b", "ref": {"branch": "a", "tag": "b"}}}}),
                "spec.source.git.ref: has both a branch and a tag: keep one",
            ),
            (
                json!({"source": {"git": {"url": "https://h/a/b", "path": "../x"}}}),
                "spec.source.git.path: \"../x\" is no folder of the repository: name it from the root, without \"..\"",
            ),
            (
                with(json!({"interval": "soon"})),
                "spec.interval: time: invalid duration \"soon\": write it as 30s or 5m",
            ),
            (
                with(json!({"onRejected": {"action": "Undo"}})),
                "spec.onRejected.action: \"Undo\" is not known: use Hold, Pin, RevertPR or RevertCommit",
            ),
            (
                with(json!({"onRejected": {"action": "RevertCommit"}})),
                "spec.onRejected.writeSecretRef: is needed for onRejected.action RevertCommit: name a Secret with the right to push",
            ),
            (
                with(
                    json!({"observe": {"kind": "Application", "name": "shop"}, "onRejected": {"action": "Pin"}}),
                ),
                "spec.onRejected.action: Pin needs a Delivery that applies, and with spec.observe another syncer does: use Hold, \
                 RevertPR or RevertCommit",
            ),
            (
                with(
                    json!({"observe": {"kind": "Application", "name": "shop"}, "prune": {"after": "Applied"}}),
                ),
                "spec.prune: nothing is deleted with spec.observe, which leaves that to the other syncer: take it out",
            ),
            (
                with(json!({"observe": {"kind": "HelmRelease", "name": "shop"}})),
                "spec.observe.kind: \"HelmRelease\" is not known: use Application (Argo CD) or Kustomization (Flux)",
            ),
            (
                with(json!({"observe": {"kind": "Kustomization"}})),
                "spec.observe.name: \"\" is no name of an object: name the Kustomization",
            ),
            (
                with(json!({"onRejected": {"action": "RevertPR", "writeSecretRef": {"name": "a"}}})),
                "spec.feedback.forge.type: is needed for onRejected.action RevertPR, because the host is not a known forge: set it to \
                 GitHub, GitLab, Gitea (also for Forgejo) or Bitbucket",
            ),
        ];
        for (spec, message) in table {
            assert_eq!(read(spec).unwrap_err(), message);
        }
    }
}
