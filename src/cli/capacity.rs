//! `squall capacity`.

use std::path::PathBuf;

use squall::run;
use squall::scenario::at_least;
use squall::scenario::units::Rate;

use super::exit::Exit;
use super::place::Place;
use super::run::shown;

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
    #[command(flatten)]
    place: Place,
}

/// Searches, judges, reports.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let mut scenario = super::files::load(&args.scenario)?;
    args.place.choose(&mut scenario);
    if let (Some(search), Some(rate)) = (&mut scenario.capacity, args.at_least) {
        at_least(search, rate).map_err(|e| anyhow::anyhow!("--at-least: {e}"))?;
        search.at_least = Some(rate);
    }
    shown(run::capacity(scenario, args.place.options())?)
}
