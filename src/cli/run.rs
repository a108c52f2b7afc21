//! `squall run`.

use std::io::IsTerminal;
use std::path::PathBuf;

use squall::judge;
use squall::report::{Judged, Style};
use squall::run::{self, Options, Progress};

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
}

/// Runs, judges, reports.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let mut scenario = super::files::load(&args.scenario)?;
    scenario.seed = args.seed.or(scenario.seed);
    super::files::use_image(&mut scenario, args.image);
    let progress = if args.quiet {
        Progress::None
    } else if std::io::stderr().is_terminal() {
        Progress::Redrawn(style(&std::io::stderr()))
    } else {
        Progress::Lines(style(&std::io::stderr()))
    };
    let finished = run::run(
        scenario,
        Options {
            reports: args.reports,
            out: args.out,
            progress,
        },
    )?;
    print!("{}", finished.terminal(style(&std::io::stdout())));
    for failure in &finished.undo_failures {
        eprintln!("error: not undone: {failure}");
    }
    if !finished.undo_failures.is_empty() {
        return Ok(Exit::UndoFailed);
    }
    Ok(exit_of(&finished.judged()))
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
