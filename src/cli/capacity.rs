//! `squall capacity`.

use std::path::PathBuf;

use squall::run::{self, Options};
use squall::scenario::at_least;
use squall::scenario::units::Rate;

use super::exit::Exit;
use super::run::{progress, shown};

/// Which scenario, and where the records go.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The scenario says what to search in its `capacity` section, and what must hold in `expect`:
  capacity: { from: 100/s, to: 5000/s, hold: 10s, resolution: 5%, at-least: 500/s }

Exit codes: 0 found (and at least what was asked for), 1 too little, 3 could not be told.")]
pub struct Args {
    /// The scenario file.
    scenario: PathBuf,
    /// The capacity that must be there, instead of the scenario's: less is a FAIL.
    #[arg(long, value_name = "RATE")]
    at_least: Option<Rate>,
    /// Folder under which the search's own folder is made.
    #[arg(long, default_value = "reports", env = "SQUALL_REPORTS")]
    reports: PathBuf,
    /// The search's own folder; it must not exist yet.
    #[arg(long, conflicts_with = "reports")]
    out: Option<PathBuf>,
    /// Seed, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Squall's own image, for what runs in the cluster, instead of the scenario's.
    #[arg(long, env = "SQUALL_IMAGE")]
    image: Option<String>,
    /// Show no progress; the result is still printed.
    #[arg(short, long)]
    quiet: bool,
}

/// Searches, judges, reports.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let mut scenario = super::files::load(&args.scenario)?;
    scenario.seed = args.seed.or(scenario.seed);
    super::files::use_image(&mut scenario, args.image);
    if let (Some(search), Some(rate)) = (&mut scenario.capacity, args.at_least) {
        at_least(search, rate).map_err(|e| anyhow::anyhow!("--at-least: {e}"))?;
        search.at_least = Some(rate);
    }
    let options = Options {
        reports: args.reports,
        out: args.out,
        progress: progress(args.quiet),
    };
    shown(run::capacity(scenario, options)?)
}
