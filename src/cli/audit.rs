//! `squall audit`.

use std::path::PathBuf;

use squall::audit::{self, Audit};
use squall::platform::kubernetes::{Cluster, survey};
use squall::run::RunError;
use squall::say;
use squall::scenario::Target;

use super::exit::Exit;

/// What is looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing that breaks availability   1 something does   2 bad input   5 not all could be looked at")]
pub struct Args {
    /// The scenario: its target's Service, and those that its pods name.
    #[arg(required_unless_present = "namespace", conflicts_with_all = ["namespace", "context", "kubeconfig"])]
    scenario: Option<PathBuf>,
    /// Everything behind a Service of this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Context of the kubeconfig, instead of its current one.
    #[arg(long)]
    context: Option<String>,
    /// The kubeconfig, instead of KUBECONFIG or ~/.kube/config.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// How the findings are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Looks for what would bring a service down.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let format = args.format;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let audit = runtime.block_on(look(args))?;
    match format {
        Format::Text => say::out(audit::text(&audit))?,
        Format::Json => say::out(serde_json::to_string_pretty(&audit)? + "\n")?,
    }
    Ok(match audit.exit_code() {
        1 => Exit::Fail,
        5 => Exit::Unreachable,
        _ => Exit::Pass,
    })
}

async fn look(args: Args) -> anyhow::Result<Audit> {
    let (cluster, namespace, service) = match (&args.scenario, args.namespace) {
        (Some(path), _) => {
            let Target::Kubernetes(target) = super::files::load(path)?.target else {
                anyhow::bail!(
                    "{}: an audit is of a `kubernetes` target: only a cluster tells how a service is run",
                    path.display()
                );
            };
            let cluster = Cluster::of(&target).await.map_err(RunError::from)?;
            let namespace = target.namespace.unwrap_or(cluster.namespace.clone());
            (cluster, namespace, Some(target.service))
        }
        (None, Some(namespace)) => {
            let connected = Cluster::connect(args.kubeconfig.as_deref(), args.context.as_deref());
            (connected.await.map_err(RunError::from)?, namespace, None)
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let objects = survey(&cluster, &namespace).await.map_err(RunError::from)?;
    let nothing = |e: audit::Nothing| RunError::Unreachable(e.to_string());
    Ok(audit::audit(&objects, service.as_deref()).map_err(nothing)?)
}
