use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(feature = "schema")]
use crate::schema;
use crate::{GoDuration, text_enum};

/// What is delivered, from where, and what happens when it turns out bad.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliverySpec {
    /// Where the manifests are.
    pub source: DeliverySource,
    /// How often the branch is looked at; a webhook is quicker. At least 5s. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// Does nothing while true, not even heal what was changed by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// The service account of this namespace that everything is applied as; its rights are the limits of what a commit can
    /// do. Default `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Who applies the folder instead: then nothing is applied, pruned, healed or pinned here, and the commits are only judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe: Option<DeliveryObserve>,
    /// What happens to objects that are in Git no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<DeliveryPrune>,
    /// What a cluster without history starts with: `Head` (the default), or `Verified`, the last commit that was found good
    /// anywhere. `Verified` records good and rejected commits in the repository, as refs below `refs/tidegate/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_from: Option<BootstrapFrom>,
    /// When a commit counts as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<DeliveryVerify>,
    /// How kinds are asked for their health, before the rules that are built in; at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<DeliveryHealthCheck>,
    /// What happens when a commit is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_rejected: Option<DeliveryOnRejected>,
    /// What the forge is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<DeliveryFeedback>,
}

/// Who applies the folder instead of Tidegate. It is read as the service account, and never written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryObserve {
    /// Its kind.
    pub kind: SyncerKind,
    /// Its name.
    pub name: String,
    /// Its namespace. Default: that of the Delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

text_enum! {
    /// Who applies a folder.
    SyncerKind {
        /// An Application of Argo CD, `argoproj.io/v1alpha1`.
        Application,
        /// A Kustomization of Flux, `kustomize.toolkit.fluxcd.io/v1`.
        Kustomization,
    }
}

/// Where the manifests are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliverySource {
    /// A folder of a Git repository.
    pub git: DeliveryGit,
    /// How the folder is rendered if it is a Helm chart; refused if it is none. Needs a controller with `--helm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm: Option<DeliveryHelm>,
}

/// How a Helm chart is rendered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryHelm {
    /// Name of the release. Default: the Delivery's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_name: Option<String>,
    /// Files with values: relative to the chart, or with a slash before them to the root of the repository. The last one counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub value_files: Vec<String>,
    /// Values that count more than those of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<schema::Opaque>"))]
    pub values: Option<Value>,
    /// Deliver what is in the chart's `crds/` as well. Default true.
    #[serde(rename = "includeCRDs", skip_serializing_if = "Option::is_none")]
    pub include_crds: Option<bool>,
    /// The version of Kubernetes that the chart is told; the cluster is not asked. Default 1.34.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kube_version: Option<String>,
}

/// A folder of a Git repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryGit {
    /// `https://HOST/PATH`, `ssh://git@HOST/PATH` or `git@HOST:PATH`.
    pub url: String,
    /// What is followed. Default: the branch `main`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<DeliveryRef>,
    /// The folder, from the root of the repository. Default: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Takes only commits with a signature, by an SSH or a PGP key, of somebody who is named here. Default: all commits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<DeliverySignatures>,
    /// A Secret of this namespace: `username` and `password`, or `bearerToken`; for SSH `identity` and `known_hosts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// A Secret of this namespace with the key `token`, which the forge signs its webhooks with: a push that it reports to
    /// `/hook/NAMESPACE/NAME` is looked at at once. One webhook does for all Deliveries of a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_ref: Option<SecretName>,
}

/// Whose commits are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliverySignatures {
    /// A Secret of this namespace. Its key `allowed_signers`, and all that end in `.sshpub`, are files in the format of that name
    /// of OpenSSH: one line for each key, with who it belongs to. All that end in `.asc` are public PGP keys. A commit that none
    /// of them has signed is rejected.
    pub secret_ref: SecretName,
}

/// What is followed: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryRef {
    /// A branch: its newest commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A tag. Nothing is ever written to a repository for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct SecretName {
    /// Its name.
    pub name: String,
}

/// What happens to objects that are in Git no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryPrune {
    /// Delete them. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// When: once the commit is `Verified` (the default, so that a rollback finds them), or as soon as it is `Applied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<PruneAfter>,
}

text_enum! {
    /// What a cluster without history starts with.
    BootstrapFrom {
        /// The newest commit.
        Head,
        /// The last commit that was found good.
        Verified,
    }
}

text_enum! {
    /// When objects that are in Git no more are deleted.
    PruneAfter {
        /// Once the commit that misses them counts as good.
        Verified,
        /// As soon as the commit that misses them is applied.
        Applied,
    }
}

/// When a commit counts as good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryVerify {
    /// How long everything has to stay healthy before the verdict. Default 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<GoDuration>,
    /// Go back only to commits whose metrics were measured, not to those that were merely deployed. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_verified: Option<bool>,
}

/// How a kind is asked for its health: expressions in CEL over the fields of an object, in the order `inProgress`, `failed`,
/// `current`. What is none of these is in progress. Each has at most 1 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryHealthCheck {
    /// API version of the kind; all versions of the group count.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// True while the object is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<String>,
    /// True when the object will not get there by itself: then the commit is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// True when the object is as it should be.
    pub current: String,
}

/// What happens when a commit is rejected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryOnRejected {
    /// Default `Pin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<RejectedAction>,
    /// The reasons for which Git is written to. Default `AnalysisFailed` and `DeadlineExceeded`: an outage of the metrics or a
    /// person's abort reverts nobody's commit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_on: Vec<RejectedReason>,
    /// A Secret like that of the source, with the right to push. Needed by `RevertPR` and `RevertCommit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_secret_ref: Option<SecretName>,
}

text_enum! {
    /// What happens when a commit is rejected.
    RejectedAction {
        /// Nothing: what is in Git stays applied.
        Hold,
        /// The last good commit is applied until there is a newer one.
        Pin,
        /// Pin, and a pull request that takes the commit back.
        RevertPR,
        /// Pin, and a commit on the branch that takes it back.
        RevertCommit,
    }
}

/// What the forge is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryFeedback {
    /// Which software the forge runs. Default: by the host, for github.com, gitlab.com, bitbucket.org and codeberg.org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forge: Option<DeliveryForge>,
    /// Set a status on each commit. Default true where the forge is known and there is a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_status: Option<bool>,
    /// Keep one comment on the pull request that brought a commit. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<bool>,
    /// A Secret with a token of the forge: `bearerToken`, or `username` and `password`. Default: that of
    /// `onRejected.writeSecretRef`, or else of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// Chats and web servers that are told what became of commits; at most five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<DeliveryNotify>,
}

/// A chat or a web server that is told what became of commits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryNotify {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NotifyType,
    /// A Secret of this namespace: `address`, the address that is posted to, and for `DingTalk`, `Feishu` and `Webhook`
    /// optionally `secret`, which messages are signed with.
    pub secret_ref: SecretName,
    /// The news that are told. Default `Rejected`, `TakenBack` and `Recovered`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<NotifyOn>,
}

text_enum! {
    /// What is told.
    NotifyType {
        /// A robot of a group in DingTalk.
        DingTalk,
        /// A robot of a group in Feishu or Lark.
        Feishu,
        /// A robot of a group in WeCom.
        WeCom,
        /// An incoming webhook of Slack, or of what understands the same.
        Slack,
        /// Any web server: it gets JSON.
        Webhook,
    }
}

text_enum! {
    /// News that are worth a message.
    NotifyOn {
        /// A commit was rejected, or a good one became unhealthy; tells what the cluster is held at.
        Rejected,
        /// A rejected commit was taken back in Git, or a pull request would do so.
        TakenBack,
        /// A commit is good, and the one before it was rejected.
        Recovered,
        /// A commit is good.
        Good,
    }
}

/// The forge that hosts the repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "camelCase")]
pub struct DeliveryForge {
    /// Its software.
    #[serde(rename = "type")]
    pub kind: ForgeType,
    /// Address of its API. Default: made from the address of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
}

text_enum! {
    /// The software of a forge.
    ForgeType {
        /// github.com and GitHub Enterprise.
        GitHub,
        /// gitlab.com and GitLab at home.
        GitLab,
        /// Gitea and Forgejo.
        Gitea,
        /// bitbucket.org.
        Bitbucket,
    }
}

text_enum! {
    /// Why a commit was rejected.
    RejectedReason {
        /// A measured metric failed.
        AnalysisFailed,
        /// Metrics could not be measured.
        AnalysisError,
        /// A Rollout made no progress in time.
        DeadlineExceeded,
        /// A person aborted a Rollout.
        ManualAbort,
        /// A Rollout is not valid.
        InvalidSpec,
        /// A Job of it failed.
        HookFailed,
        /// The API server refused an object.
        ApplyFailed,
        /// The files of the commit are not valid manifests.
        RenderFailed,
        /// Nobody who may has signed it.
        NotSigned,
        /// It would release again what was rejected before.
        Quarantined,
    }
}
