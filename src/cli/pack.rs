//! `squall pack`.

use std::io::Write;
use std::path::PathBuf;

use squall::run::{TAKEN, pack};

use super::exit::Exit;

/// What to pack.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's folder.
    folder: PathBuf,
    /// Pack nothing; say that the record has been taken away, which ends the wait of `squall run --hold`.
    #[arg(long)]
    taken: bool,
}

/// Writes the folder to standard output.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    if args.taken {
        std::fs::write(args.folder.join(TAKEN), "")?;
        return Ok(Exit::Pass);
    }
    let mut out = std::io::stdout().lock();
    pack(&args.folder, &mut out)
        .map_err(|e| anyhow::anyhow!("cannot pack {}: {e}", args.folder.display()))?;
    out.flush()?;
    Ok(Exit::Pass)
}
