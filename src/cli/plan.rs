//! `squall plan`.

use std::path::PathBuf;

use super::exit::Exit;

/// Which scenario.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The scenario file.
    scenario: PathBuf,
    /// Seed, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Squall's own image, for what runs in the cluster, instead of the scenario's.
    #[arg(long, env = "SQUALL_IMAGE")]
    image: Option<String>,
}

/// Prints what a run would do.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let mut scenario = super::files::load(&args.scenario)?;
    scenario.seed = args.seed.or(scenario.seed);
    super::files::use_image(&mut scenario, args.image);
    squall::say::out(squall::run::plan(&scenario)?)?;
    Ok(Exit::Pass)
}
