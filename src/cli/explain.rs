//! `squall explain`.

use super::exit::Exit;

/// Which verdict.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The verdict: one of the names in a report's first column.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(squall::judge::ORACLES))]
    verdict: String,
}

/// Prints what a verdict checks.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let text = squall::judge::explain(&args.verdict)
        .ok_or_else(|| anyhow::anyhow!("no verdict is called `{}`", args.verdict))?;
    squall::say::out(format_args!("{}\n", text.trim_end()))?;
    Ok(Exit::Pass)
}
