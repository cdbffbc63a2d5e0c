//! The command line: upstream's words (contract 1.10), and those that only we have.

use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use tidegate_crds::parse_go_duration;

use crate::output::Format;

/// Progressive delivery with Rollouts: watch, promote, abort, explain, lint.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-tidegate",
    bin_name = "kubectl tidegate",
    version,
    styles = Styles::plain(),
    propagate_version = false,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster and namespace, as for kubectl.
#[derive(Debug, Default, Args)]
pub(crate) struct Connection {
    /// The namespace; that of the context unless given
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The cluster of the kubeconfig
    #[arg(long, global = true, value_name = "CLUSTER", hide = true)]
    pub(crate) cluster: Option<String>,
    /// The user of the kubeconfig
    #[arg(long, global = true, value_name = "USER", hide = true)]
    pub(crate) user: Option<String>,
    /// The kubeconfig file; $KUBECONFIG or ~/.kube/config unless given
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Do not colorize output
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// For what prints something.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Print {
    /// Print for programs
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// For what waits for news.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Watching {
    /// Watch live updates
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Stop watching after so many seconds; 0 means never
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) timeout_seconds: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Get details about rollouts and experiments
    Get {
        #[command(subcommand)]
        what: Get,
    },
    /// List rollouts or experiments
    List {
        #[command(subcommand)]
        what: List,
    },
    /// Show the status of a rollout: wait until it is healthy (exit code 0), or degraded or late (1)
    Status {
        /// The rollout
        name: String,
        /// Watch the status until it is done
        #[arg(
            short,
            long,
            default_value_t = true,
            default_missing_value = "true",
            num_args = 0..=1,
            require_equals = true,
            action = clap::ArgAction::Set
        )]
        watch: bool,
        /// The length of time to watch before giving up (1s, 2m, 3h); 0 means wait forever
        #[arg(short, long, default_value = "0s", value_parser = duration, value_name = "DURATION")]
        timeout: SignedDuration,
        #[command(flatten)]
        print: Print,
    },
    /// Promote a rollout: end its pause, or its step
    Promote {
        /// The rollout
        name: String,
        /// Perform a full promotion, skipping analysis, pauses, and steps
        #[arg(long)]
        full: bool,
        /// Skip the current step; deprecated: use without the flag
        #[arg(short = 'c', long, hide = true, conflicts_with_all = ["full", "skip_all_steps"])]
        skip_current_step: bool,
        /// Skip the remaining steps; deprecated: use --full
        #[arg(short = 'a', long, hide = true, conflicts_with = "full")]
        skip_all_steps: bool,
    },
    /// Abort rollouts: all traffic goes back to the stable version
    Abort {
        /// The rollouts
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Retry an aborted rollout or a failed experiment
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Retry {
        #[command(subcommand)]
        what: Option<Retry>,
        /// The rollouts
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Pause rollouts
    Pause {
        /// The rollouts
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Restart the pods of a rollout
    Restart {
        /// The rollout
        name: String,
        /// Amount of time before the restart (30s, 5m, 1h)
        #[arg(short, long, value_parser = duration, default_value = "0s", value_name = "DURATION")]
        r#in: SignedDuration,
    },
    /// Go back to an earlier revision
    Undo {
        /// The rollout
        name: String,
        /// The revision to go back to; 0 is the one before the newest
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        to_revision: i64,
    },
    /// Change a rollout
    Set {
        #[command(subcommand)]
        what: Set,
    },
    /// Terminate an analysis run or an experiment
    Terminate {
        #[command(subcommand)]
        what: Terminate,
    },
    /// Say why a rollout or a delivery does not move, what would move it, and by which command
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Explain {
        #[command(subcommand)]
        what: Option<Explain>,
        /// The rollout
        #[arg(required = true)]
        name: Option<String>,
        #[command(flatten)]
        print: Print,
    },
    /// Look at what is delivered from Git, and steer it
    #[command(visible_alias = "dl")]
    Delivery {
        #[command(subcommand)]
        what: Delivery,
    },
    /// Print the delivery that does what Argo CD or Flux does now; changes nothing
    Import {
        #[command(subcommand)]
        what: Import,
    },
    /// Validate manifests: every rollout in the files, with what it refers to in the same files
    Lint {
        /// Files or directories; - is standard input
        #[arg(required_unless_present = "filename")]
        files: Vec<PathBuf>,
        /// A file or directory
        #[arg(short, long, value_name = "FILE")]
        filename: Vec<PathBuf>,
        #[command(flatten)]
        print: Print,
    },
    /// See a good release and a bad one in a simulated cluster
    Demo(crate::demo::Args),
    /// Print the version
    Version {
        /// Print just the version number
        #[arg(long)]
        short: bool,
        #[command(flatten)]
        print: Print,
    },
    /// Print a completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// Get a rollout as a tree; without a name, list rollouts
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// The rollout
        name: Option<String>,
        #[command(flatten)]
        watching: Watching,
        /// Include all namespaces, when listing
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        #[command(flatten)]
        print: Print,
    },
    /// Get an experiment as a tree
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// The experiment
        name: String,
        #[command(flatten)]
        watching: Watching,
        #[command(flatten)]
        print: Print,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum List {
    /// List rollouts
    #[command(visible_aliases = ["ro", "rollout"])]
    Rollouts {
        /// Only show the rollout with this name
        #[arg(long)]
        name: Option<String>,
        /// Include all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Watch for changes
        #[arg(short, long)]
        watch: bool,
        /// Print timestamps on updates
        #[arg(long)]
        timestamps: bool,
        #[command(flatten)]
        print: Print,
    },
    /// List experiments
    #[command(visible_aliases = ["exp", "experiment"])]
    Experiments {
        /// Include all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        #[command(flatten)]
        print: Print,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Retry {
    /// Retry aborted rollouts
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// The rollouts
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Retry failed experiments
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// The experiments
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Explain a rollout
    #[command(visible_alias = "ro")]
    Rollout {
        /// The rollout
        name: String,
        #[command(flatten)]
        print: Print,
    },
    /// Explain a delivery: which commit runs, which was rejected and by what evidence, and what changes that
    #[command(visible_alias = "dl")]
    Delivery {
        /// The delivery
        name: String,
        #[command(flatten)]
        print: Print,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Delivery {
    /// List deliveries
    #[command(visible_alias = "ls")]
    List {
        /// Include all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        #[command(flatten)]
        print: Print,
    },
    /// Get a delivery: what runs, what Git has, and what became of the last commits
    Get {
        /// The delivery
        name: String,
        #[command(flatten)]
        print: Print,
    },
    /// Show everything that is known of the last commits, newest first
    History {
        /// The delivery
        name: String,
        #[command(flatten)]
        print: Print,
    },
    /// Ask the repository now, and compare everything with Git
    Sync {
        /// The delivery
        name: String,
    },
    /// Release the newest commit again although it was rejected
    Retry {
        /// The delivery
        name: String,
    },
    /// Hold the cluster at a commit, whatever Git has
    Pin {
        /// The delivery
        name: String,
        /// One of the last commits: its name, or the first digits of it
        commit: String,
    },
    /// Let the cluster follow Git again
    Unpin {
        /// The delivery
        name: String,
    },
    /// Print what a local folder renders to, exactly as the controller renders it from a commit; asks no cluster
    Render {
        /// The folder; the checkout around it is the repository
        folder: PathBuf,
        /// Manifest of the delivery, for what it says about a Helm chart: release, values and so on
        #[arg(long, value_name = "FILE")]
        delivery: Option<PathBuf>,
        #[command(flatten)]
        print: Print,
    },
    /// Show what a local folder would change in the cluster: exit code 0 for nothing, 1 for something, 2 if it failed
    Diff {
        /// The delivery
        name: String,
        /// The folder of a checkout that the delivery would get
        #[arg(short, long, value_name = "FOLDER")]
        path: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// From an Application of Argo CD
    Argocd(ImportArgs),
    /// From a Kustomization of Flux and its GitRepository
    Flux(ImportArgs),
}

/// What is imported. The Delivery goes to standard output; every field that it has not, to standard error.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Its name; with a file, all of the kind unless given
    #[arg(required_unless_present = "filename")]
    pub(crate) name: Option<String>,
    /// Read it from a file instead of the cluster; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,
    /// Print a delivery that judges what the other goes on applying, and applies nothing itself
    #[arg(long)]
    pub(crate) observe: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Set images of containers
    Image {
        /// The rollout
        name: String,
        /// Container and image; * is every container
        #[arg(required = true, value_parser = image, value_name = "CONTAINER=IMAGE")]
        images: Vec<(String, String)>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Terminate {
    /// Terminate analysis runs
    #[command(name = "analysisrun", visible_aliases = ["ar", "analysisruns"])]
    AnalysisRun {
        /// The analysis runs
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Terminate experiments
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// The experiments
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// A duration as Go writes it; a bare 0 is none.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration = parse_go_duration(text).map_err(|error| format!("{error}; write it as 30s, 5m or 1h"))?;
    if duration.is_negative() {
        Err("must not be negative".to_owned())
    } else {
        Ok(duration)
    }
}

fn image(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((container, image)) if !container.is_empty() && !image.is_empty() => {
            Ok((container.to_owned(), image.to_owned()))
        }
        _ => Err("write it as CONTAINER=IMAGE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    /// What scripts written for upstream's plugin say.
    #[test]
    fn words_of_upstream_are_understood() {
        for (line, good) in [
            ("get rollout web", true),
            ("get ro web -w --no-color --timeout-seconds 5", true),
            ("get rollouts", true),
            ("get exp e", true),
            ("list rollouts -A", true),
            ("list ro --name web --watch --timestamps", true),
            ("list experiments --all-namespaces", true),
            ("status web", true),
            ("status web --watch=false", true),
            ("status web -w -t 60s", true),
            ("status --timeout 60s web", true),
            ("status --timeout 60 web", false),
            ("status --timeout -1s web", false),
            ("promote web", true),
            ("promote web --full", true),
            ("promote web -c", true),
            ("promote web -a", true),
            ("promote web -a -c", false),
            ("promote", false),
            ("promote a b", false),
            ("abort a b", true),
            ("abort", false),
            ("retry rollout a b", true),
            ("retry ro a", true),
            ("retry experiment e", true),
            ("retry web", true),
            ("retry", false),
            ("pause a b", true),
            ("restart web --in 10s", true),
            ("restart web -i 10s", true),
            ("undo web --to-revision=3", true),
            ("undo web --to-revision=-1", false),
            ("set image web www=image:v2", true),
            ("set image web *=image:v2 b=r/i@sha256:00", true),
            ("set image web image:v2", false),
            ("terminate analysisrun r", true),
            ("terminate ar r s", true),
            ("terminate experiment e", true),
            ("explain web", true),
            ("explain web -o json", true),
            ("explain rollout delivery", true),
            ("explain delivery web -o yaml", true),
            ("explain dl web", true),
            ("explain", false),
            ("explain delivery", false),
            ("delivery list -A", true),
            ("dl ls -o json", true),
            ("dl get web", true),
            ("dl history web -o yaml", true),
            ("dl sync web", true),
            ("dl retry web", true),
            ("dl pin web 1a2b3c4d", true),
            ("dl pin web", false),
            ("dl unpin web", true),
            ("dl render prod", true),
            ("dl diff web --path prod", true),
            ("dl diff web", false),
            ("dl", false),
            ("lint -f web.yaml", true),
            ("lint a.yaml b.yaml", true),
            ("lint", false),
            ("version --short", true),
            ("completion bash", true),
            ("-n shop --context c --kubeconfig f get ro web", true),
            ("get ro web -n shop --context c", true),
        ] {
            let words = std::iter::once("kubectl-tidegate").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
