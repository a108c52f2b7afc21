//! `squall run`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use squall::judge;
use squall::judge::compare::CompareExpectation;
use squall::report::{Judged, Style};
use squall::run::{self, Finished, InCluster, Options, Progress, Remote, Repeat, Series};
use squall::say;
use squall::scenario::{Scenario, Target, units};

use super::exit::Exit;
use super::place::Place;
use super::quick::Quick;

/// What to run, and where the record goes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario file, or a URL to send requests to.
    #[arg(value_name = "FILE|URL")]
    scenario: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Make so many runs, each with a seed of its own, and judge them together.
    #[arg(long, value_name = "RUNS", value_parser = clap::value_parser!(u32).range(1..=999))]
    #[arg(conflicts_with_all = ["in_cluster", "hold"])]
    repeat: Option<u32>,
    /// Make as many runs of this scenario in turn with those of the other, and compare them: this one is the baseline.
    #[arg(long, value_name = "BASELINE", requires = "repeat")]
    against: Option<PathBuf>,
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
    #[command(flatten)]
    quick: Quick,
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
    let mut scenario = args.quick.scenario(&args.scenario, &env)?;
    args.place.choose(&mut scenario);
    if args.in_cluster {
        return in_cluster(scenario, args, used.take());
    }
    if let (true, Target::Kubernetes(target)) = (args.as_runner, &mut scenario.target) {
        (target.kubeconfig, target.context) = (None, None);
    }
    if let Some(runs) = args.repeat {
        let against = args.against.as_ref();
        let against = against.map(|source| args.quick.scenario(source, &env));
        let against = against.transpose()?.map(|mut baseline| {
            args.place.choose(&mut baseline);
            (baseline, CompareExpectation::default())
        });
        let repeat = Repeat {
            scenario,
            runs,
            against,
        };
        return shown(run::repeat(repeat, args.place.options())?);
    }
    let finished = run::run(scenario, args.place.options())?;
    let exit = told(&finished, args.as_runner);
    if let Some(hold) = args.hold {
        run::hold(&finished.dir, hold)?;
    }
    Ok(exit)
}

/// What is shown meanwhile.
pub fn progress(quiet: bool) -> Progress {
    if quiet {
        Progress::None
    } else if std::io::stderr().is_terminal() {
        Progress::Redrawn(style(&std::io::stderr()))
    } else {
        Progress::Lines(style(&std::io::stderr()))
    }
}

/// Prints what a run found, unless somebody else will, and gives its exit code.
fn told(finished: &Finished, silent: bool) -> Exit {
    if !silent {
        // Where nobody reads it, the exit code and the run's folder still tell.
        let _ = say::out(finished.terminal(style(&std::io::stdout())));
    }
    match not_undone(&finished.undo_failures) {
        true => Exit::UndoFailed,
        false => exit_of(&finished.judged()),
    }
}

/// Runs it in the cluster. The exit code is that of the run there; here its record is judged once more, for the pages.
fn in_cluster(
    scenario: Scenario,
    args: Args,
    env: BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let options = Options {
        progress: Progress::None,
        ..args.place.options()
    };
    let remote = InCluster {
        file: args.scenario,
        env,
        account: args.account,
        keep: args.keep,
        quiet: args.place.quiet,
    };
    let Remote { finished, code } = run::run_in_cluster(scenario, options, &remote)?;
    if let Some(finished) = &finished {
        told(finished, false);
    }
    Ok(Exit::from_code(code))
}

/// Prints a series of runs; exits as it says.
pub fn shown(series: Series) -> anyhow::Result<Exit> {
    let style = style(&std::io::stdout());
    let _ = say::out(series.sheet.terminal(style, Some(&series.dir)));
    if not_undone(&series.undo_failures) {
        return Ok(Exit::UndoFailed);
    }
    match (series.error, series.aborted) {
        (Some(error), _) => Err(error.into()),
        (None, true) => Ok(Exit::Aborted),
        (None, false) => Ok(Exit::of(series.sheet.overall())),
    }
}

/// Says what could not be undone; whether there is anything.
fn not_undone(failures: &[String]) -> bool {
    for failure in failures {
        say::err(format_args!("error: not undone: {failure}"));
    }
    !failures.is_empty()
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
