//! Flags of `tidegate`: upstream's (contract 1.11), so that its manifests work as they are.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use tidegate_traffic::{Dialect, RouteKind, smi, traefik};

/// Progressive delivery for Kubernetes, compatible with Argo Rollouts.
///
/// Without a command it runs the controller.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What to act on.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
    /// What to log.
    #[command(flatten)]
    pub log: LogArgs,
    /// What is accepted without effect.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Prove that the CRDs and all rights are there, and say what is missing.
    Check,
}

/// How to reach the cluster.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, then the service account of the pod.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Namespace, for --namespaced. Default: that of the context or of the pod.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Address of the API server.
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for the API server.
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with the certificate of the API server's authority.
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// Name that the API server's certificate must have.
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// File with a certificate to authenticate with.
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// File with the key of that certificate.
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// User name, for basic authentication.
    #[arg(long, global = true, value_name = "NAME")]
    pub username: Option<String>,
    /// Password, for basic authentication.
    #[arg(long, global = true, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Proxy to the API server.
    #[arg(long, global = true, value_name = "URL")]
    pub proxy_url: Option<String>,
    /// Do not check the API server's certificate.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub insecure_skip_tls_verify: bool,
    /// User to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to act as; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub impersonate_groups: Vec<String>,
}

/// What to act on.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Act on one namespace only, and need no rights in others.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub namespaced: bool,
    /// Act only on objects with this value of the label argo-rollouts.argoproj.io/controller-instance-id; without, only on
    /// objects without the label.
    #[arg(
        long,
        global = true,
        value_name = "ID",
        default_value = "",
        hide_default_value = true
    )]
    pub instance_id: String,
}

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GitProtocol {
    /// `https://`.
    Https,
    /// `ssh://` and `USER@HOST:PATH`.
    Ssh,
    /// `http://`: tokens go in the clear.
    Http,
    /// `file://`: folders that the controller sees.
    File,
}

/// How to run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Controller")]
pub struct RunArgs {
    /// Rollouts and Services that are worked on at once.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub rollout_threads: u16,
    /// Analysis runs that are worked on at once.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    pub analysis_threads: u16,
    /// Act on one kind only, and watch no more than that needs: analysis runs in a cluster without Rollouts, or Deliveries
    /// beside upstream's controller.
    #[arg(long, value_name = "NAME", value_enum, requires_if("deliveries", "git_cache"))]
    pub controllers: Option<Controllers>,
    /// Folder of our own for the repositories that Deliveries follow; what is in it is lost without harm. Without it,
    /// Deliveries are not acted on.
    #[arg(long, value_name = "FOLDER")]
    pub git_cache: Option<PathBuf>,
    /// Protocols that repositories may be reached by: https and ssh. http sends tokens in the clear, and file reads the
    /// controller's own disk.
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',', default_values_t = [GitProtocol::Https, GitProtocol::Ssh])]
    pub git_protocols: Vec<GitProtocol>,
    /// Program that renders the Helm charts of Deliveries, in a sandbox; without it, charts are refused. Only with --git-cache.
    #[arg(long, value_name = "PROGRAM", requires = "git_cache")]
    pub helm: Option<PathBuf>,
    /// Seconds after which each object is looked at even without news.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(i64).range(1..=31_536_000))]
    pub rollout_resync: i64,
    /// Elect a leader by the Lease argo-rollouts-controller-lock, which upstream uses too.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Port of /metrics.
    #[arg(
        long = "metricsPort",
        alias = "metricsport",
        value_name = "PORT",
        default_value_t = 8090
    )]
    pub metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long = "healthzPort", value_name = "PORT", default_value_t = 8080)]
    pub healthz_port: u16,
    /// Port of /hook/NAMESPACE/DELIVERY, where forges say that something was pushed; 0: none. Only with --git-cache.
    #[arg(long, value_name = "PORT", default_value_t = 9292)]
    pub webhook_port: u16,
    /// Namespace of the Lease.
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "argo-rollouts"
    )]
    pub lease_namespace: String,
    /// Version of TrafficSplits (split.smi-spec.io), for trafficRouting.smi.
    #[arg(
        long,
        value_name = "VERSION",
        default_value = "v1alpha1",
        value_parser = smi::PLANE.kinds.iter().map(|kind| kind.version).collect::<Vec<_>>()
    )]
    pub traffic_split_api_version: String,
    /// Group of TraefikServices, for trafficRouting.traefik. Default: that of --traefik-api-version, or traefik.io.
    #[arg(long, value_name = "GROUP", value_parser = of_traefik(|kind| kind.group.to_owned()))]
    pub traefik_api_group: Option<String>,
    /// Group and version of TraefikServices, for trafficRouting.traefik. Default: of --traefik-api-group, or traefik.io/v1alpha1.
    #[arg(long, value_name = "GROUP/VERSION", value_parser = of_traefik(RouteKind::api_version))]
    pub traefik_api_version: Option<String>,
    /// Milliseconds that the data plane may go on sending requests to where it sent them before; pods that lost their
    /// traffic are kept at least this long.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000, value_parser = clap::value_parser!(i64).range(0..=600_000))]
    pub propagation: i64,
}

/// Parts of the controller that can run without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Controllers {
    /// Analysis runs.
    Analysis,
    /// Deliveries: upstream's controller acts on Rollouts.
    Deliveries,
}

/// What to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// trace, debug, info, warn or error. $RUST_LOG, if set, counts more.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub loglevel: String,
    /// Form of the lines.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub logformat: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Upstream's flags that take a value and mean nothing here (contract 1.11). Server-side fairness limits the load instead of a
/// client's own quota, one watch serves all workers, and the routers that some are for are refused in the spec.
const IGNORED: &[&str] = &[
    "qps",
    "burst",
    "kloglevel",
    "enable-pprof-address",
    "experiment-threads",
    "service-threads",
    "ingress-threads",
    "ephemeral-metadata-threads",
    "ephemeral-metadata-update-pod-retries",
    "nginx-ingress-classes",
    "alb-ingress-classes",
    "leader-election-lease-duration",
    "leader-election-renew-deadline",
    "leader-election-retry-period",
    "istio-api-version",
    "ambassador-api-version",
    "appmesh-crd-version",
    "alb-tag-key-resource-id",
    "aws-target-group-binding-api-version",
    "request-timeout",
];

/// The same, of one that has a value which would mean something.
const INGRESS_API_VERSION: &str = "ingress-api-version";

/// The same, of those that are on or off.
const IGNORED_SWITCHES: &[&str] = &[
    "alb-verify-weight",
    "aws-verify-target-group",
    "self-service-notification-enabled",
    "disable-compression",
];

/// Flags that are accepted, so that upstream's manifests start, and have no effect.
#[derive(Clone, Debug, Default)]
pub struct IgnoredArgs {
    /// Names of those that were given.
    pub given: Vec<&'static str>,
}

impl Args for IgnoredArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let with_value = IGNORED.iter().map(|name| Arg::new(*name).long(*name));
        let switches = IGNORED_SWITCHES.iter().map(|name| {
            Arg::new(*name)
                .long(*name)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
        });
        let checked = Arg::new(INGRESS_API_VERSION)
            .long(INGRESS_API_VERSION)
            .value_parser(ingress_api_version);
        let all = with_value.chain(switches).chain([checked]);
        command.args(all.map(|arg| arg.hide(true)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for IgnoredArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = IGNORED.iter().chain(IGNORED_SWITCHES).copied();
        let names = names.chain([INGRESS_API_VERSION]);
        Ok(Self {
            given: names.filter(|name| matches.contains_id(name)).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The old version is not served since Kubernetes 1.22; with any other value upstream takes the one that is.
fn ingress_api_version(version: &str) -> Result<String, String> {
    if version == "extensions/v1beta1" {
        return Err("Ingresses are only driven as networking.k8s.io/v1: leave the flag out".to_owned());
    }
    Ok(version.to_owned())
}

/// Takes a name of TraefikServices that is spoken.
fn of_traefik(
    name: fn(&RouteKind) -> String,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |given| {
        let known: Vec<String> = traefik::PLANE.kinds.iter().map(|kind| name(kind)).collect();
        if known.iter().any(|known| known == given) {
            Ok(given.to_owned())
        } else {
            Err(format!("use {}", known.join(" or ")))
        }
    }
}

impl RunArgs {
    /// The versions of route objects that are spoken. An error says which flags contradict each other.
    pub fn dialect(&self) -> Result<Dialect, String> {
        let split = smi::PLANE.kinds.iter();
        let split = split
            .copied()
            .find(|kind| kind.version == self.traffic_split_api_version);
        let (group, version) = (&self.traefik_api_group, &self.traefik_api_version);
        let traefik = traefik::PLANE.kinds.iter().copied().find(|kind| {
            group.as_ref().is_none_or(|group| group == kind.group)
                && version
                    .as_ref()
                    .is_none_or(|version| *version == kind.api_version())
        });
        if traefik.is_none() {
            return Err(format!(
                "--traefik-api-group {} is not the group of --traefik-api-version {}: leave one of them out",
                group.as_deref().unwrap_or_default(),
                version.as_deref().unwrap_or_default()
            ));
        }
        Ok(split
            .into_iter()
            .chain(traefik)
            .fold(Dialect::default(), Dialect::with))
    }
}

impl ScopeArgs {
    /// The instance id, if one is given.
    pub fn instance(&self) -> Option<String> {
        (!self.instance_id.is_empty()).then(|| self.instance_id.clone())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn upstreams_flags_are_understood() {
        let cli = Cli::parse_from([
            "tidegate",
            "--namespaced",
            "--instance-id",
            "a",
            "--leader-elect=false",
            "--metricsport",
            "1",
            "--healthzPort=2",
            "--qps",
            "40",
            "--logformat",
            "json",
            "-n",
            "shop",
            "--rollout-threads=3",
            "--controllers=analysis",
            "--aws-verify-target-group",
        ]);
        assert!(cli.scope.namespaced && !cli.run.leader_elect);
        assert_eq!(cli.scope.instance().as_deref(), Some("a"));
        assert_eq!(
            (
                cli.run.metrics_port,
                cli.run.healthz_port,
                cli.run.rollout_threads
            ),
            (1, 2, 3)
        );
        assert_eq!(cli.cluster.namespace.as_deref(), Some("shop"));
        assert_eq!(cli.ignored.given, ["qps", "aws-verify-target-group"]);
        assert_eq!(cli.run.controllers, Some(Controllers::Analysis));
        assert_eq!(cli.command, None);
    }

    #[test]
    fn every_flag_without_effect_is_taken() {
        for name in IGNORED.iter().chain(&[INGRESS_API_VERSION]) {
            let cli = Cli::parse_from(["tidegate".to_owned(), format!("--{name}"), "1".to_owned()]);
            assert_eq!(cli.ignored.given, [*name]);
        }
        for name in IGNORED_SWITCHES {
            for form in ["", "=true", "=false"] {
                let cli = Cli::parse_from([
                    "tidegate".to_owned(),
                    format!("--{name}{form}"),
                    "check".to_owned(),
                ]);
                assert_eq!(
                    (cli.ignored.given, cli.command),
                    (vec![*name], Some(Command::Check))
                );
            }
        }
    }

    #[test]
    fn traffic_splits_have_three_versions() {
        let run = |version: &str| Cli::try_parse_from(["tidegate", "--traffic-split-api-version", version]);
        for kind in smi::PLANE.kinds {
            let dialect = run(kind.version).unwrap().run.dialect().unwrap();
            let spoken: Vec<&RouteKind> = dialect
                .kinds()
                .filter(|kind| smi::PLANE.kinds.contains(kind))
                .collect();
            assert_eq!(spoken, [*kind]);
        }
        assert!(run("v1").is_err());
    }

    #[test]
    fn traefik_services_have_two_groups() {
        let run = |flags: &[&str]| Cli::try_parse_from(["tidegate"].iter().chain(flags));
        let (new, old) = (&traefik::TRAEFIK_SERVICE, &traefik::TRAEFIK_SERVICE_2);
        let table: [(&[&str], &RouteKind); 5] = [
            (&[], new),
            (&["--traefik-api-group=traefik.io"], new),
            (&["--traefik-api-group=traefik.containo.us"], old),
            (&["--traefik-api-version=traefik.containo.us/v1alpha1"], old),
            (
                &[
                    "--traefik-api-group=traefik.io",
                    "--traefik-api-version=traefik.io/v1alpha1",
                ],
                new,
            ),
        ];
        for (flags, kind) in table {
            let dialect = run(flags).unwrap().run.dialect().unwrap();
            let spoken = dialect.kinds().find(|kind| traefik::PLANE.kinds.contains(kind));
            assert_eq!(spoken, Some(kind), "{flags:?}");
        }
        let contradicts = [
            "--traefik-api-group=traefik.io",
            "--traefik-api-version=traefik.containo.us/v1alpha1",
        ];
        let error = run(&contradicts).unwrap().run.dialect().unwrap_err();
        assert_eq!(
            error,
            "--traefik-api-group traefik.io is not the group of --traefik-api-version traefik.containo.us/v1alpha1: \
             leave one of them out"
        );
    }

    #[test]
    fn a_version_that_is_not_spoken_is_refused_with_those_that_are() {
        for (flag, value, advice) in [
            (
                "--traffic-split-api-version",
                "v1alpha4",
                "v1alpha1, v1alpha2, v1alpha3",
            ),
            (
                "--traefik-api-group",
                "traefik.example",
                "use traefik.io or traefik.containo.us",
            ),
            (
                "--traefik-api-version",
                "traefik.io/v1",
                "use traefik.io/v1alpha1 or traefik.containo.us/v1alpha1",
            ),
            (
                "--ingress-api-version",
                "extensions/v1beta1",
                "leave the flag out",
            ),
        ] {
            let error = Cli::try_parse_from(["tidegate", flag, value])
                .unwrap_err()
                .to_string();
            for words in [flag, value, advice] {
                assert!(error.contains(words), "{error}");
            }
        }
    }

    #[test]
    fn deliveries_alone_need_a_folder_for_repositories() {
        let alone = ["tidegate", "--controllers=deliveries"];
        let error = Cli::try_parse_from(alone).unwrap_err().to_string();
        assert!(error.contains("--git-cache"), "{error}");
        let cli = Cli::parse_from(alone.into_iter().chain(["--git-cache=/cache"]));
        assert_eq!(cli.run.controllers, Some(Controllers::Deliveries));
    }

    #[test]
    fn check_takes_the_cluster_after_it() {
        let cli = Cli::parse_from(["tidegate", "check", "--kubeconfig", "f", "--namespaced"]);
        assert_eq!(cli.command, Some(Command::Check));
        assert!(cli.scope.namespaced && cli.cluster.kubeconfig.is_some());
    }
}
