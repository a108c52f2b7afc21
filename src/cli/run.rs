//! `squall run`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use squall::judge;
use squall::report::{Judged, Style};
use squall::run::{self, Finished, InCluster, Options, Progress, Remote};
use squall::scenario::{self, Scenario, Target, units};

use super::exit::Exit;

/// What to run, and where the record goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario file.
    scenario: PathBuf,
    /// Folder under which the run's own folder is made.
    #[arg(long, default_value = "reports", env = "SQUALL_REPORTS")]
    reports: PathBuf,
    /// The run's own folder; it must not exist yet.
    #[arg(long, conflicts_with = "reports")]
    out: Option<PathBuf>,
    /// Seed, instead of the scenario's: the same choices again.
    #[arg(long)]
    seed: Option<u64>,
    /// Squall's own image, for what runs in the cluster (the guardian), instead of the scenario's
    /// (target.kubernetes.guardian.image).
    #[arg(long, env = "SQUALL_IMAGE")]
    image: Option<String>,
    /// Show no progress; the summary is still printed.
    #[arg(short, long)]
    quiet: bool,
    /// Run in a pod of the target's cluster: its progress is shown here, its record brought back, its exit code taken.
    /// Takes squall's own image (--image) and an account there (deploy/kubernetes/rbac.yaml).
    #[arg(long)]
    in_cluster: bool,
    /// The service account that --in-cluster runs as; the guardian's when left out.
    #[arg(long, requires = "in_cluster", value_name = "NAME")]
    account: Option<String>,
    /// With --in-cluster: leave the Job and its pod in the cluster at the end.
    #[arg(long, requires = "in_cluster")]
    keep: bool,
    /// After the run wait so long (10m) for somebody to take its record away (`squall pack --taken`).
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    hold: Option<Duration>,
    /// Started by --in-cluster: the pod's own account, whatever the scenario says, and no summary.
    #[arg(long, hide = true)]
    as_runner: bool,
}

/// Runs, judges, reports.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let used = RefCell::new(BTreeMap::new());
    let env = |name: &str| {
        let value = std::env::var(name).ok()?;
        // What a pod is told of its cluster is its own.
        if !name.starts_with("KUBERNETES_") {
            used.borrow_mut().insert(name.to_string(), value.clone());
        }
        Some(value)
    };
    let mut scenario = scenario::load(&args.scenario, &env)?;
    scenario.seed = args.seed.or(scenario.seed);
    super::files::use_image(&mut scenario, args.image.clone());
    if args.in_cluster {
        return in_cluster(scenario, args, used.take());
    }
    if let (true, Target::Kubernetes(target)) = (args.as_runner, &mut scenario.target) {
        (target.kubeconfig, target.context) = (None, None);
    }
    let progress = if args.quiet {
        Progress::None
    } else if std::io::stderr().is_terminal() {
        Progress::Redrawn(style(&std::io::stderr()))
    } else {
        Progress::Lines(style(&std::io::stderr()))
    };
    let finished = run::run(scenario, options(&args, progress))?;
    let exit = told(&finished, args.as_runner);
    if let Some(hold) = args.hold {
        run::hold(&finished.dir, hold)?;
    }
    Ok(exit)
}

fn options(args: &Args, progress: Progress) -> Options {
    Options {
        reports: args.reports.clone(),
        out: args.out.clone(),
        progress,
    }
}

/// Prints what a run found, unless somebody else will, and gives its exit code.
fn told(finished: &Finished, silent: bool) -> Exit {
    if !silent {
        print!("{}", finished.terminal(style(&std::io::stdout())));
    }
    for failure in &finished.undo_failures {
        eprintln!("error: not undone: {failure}");
    }
    match finished.undo_failures.as_slice() {
        [] => exit_of(&finished.judged()),
        _ => Exit::UndoFailed,
    }
}

/// Runs it in the cluster. The exit code is that of the run there; here its record is judged once more, for the pages.
fn in_cluster(
    scenario: Scenario,
    args: Args,
    env: BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let options = options(&args, Progress::None);
    let remote = InCluster {
        file: args.scenario,
        env,
        account: args.account,
        keep: args.keep,
        quiet: args.quiet,
    };
    let Remote { finished, code } = run::run_in_cluster(scenario, options, &remote)?;
    if let Some(finished) = &finished {
        told(finished, false);
    }
    Ok(Exit::from_code(code))
}

/// The exit code of a run: aborted, or what its verdicts say.
pub fn exit_of(run: &Judged<'_>) -> Exit {
    match judge::exit_code(run.verdicts, run.summary.ended.as_ref()) {
        0 => Exit::Pass,
        1 => Exit::Fail,
        3 => Exit::Inconclusive,
        _ => Exit::Aborted,
    }
}

/// Colours and width for a stream: plain where it is no terminal or NO_COLOR is set.
pub fn style(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Style {
    let terminal = stream.is_terminal();
    let width = rustix::termios::tcgetwinsize(stream)
        .ok()
        .filter(|size| size.ws_col > 0)
        .map_or(100, |size| usize::from(size.ws_col));
    Style {
        color: terminal && std::env::var_os("NO_COLOR").is_none(),
        width: width.clamp(60, 160),
    }
}
