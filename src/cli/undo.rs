//! `squall undo`.

use std::path::PathBuf;

use squall::fault::undo_ledger;

use super::exit::Exit;

/// Which ledger.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ledger (or the run's folder).
    ledger: PathBuf,
}

/// Takes back what the ledger still lists.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let path = if args.ledger.is_dir() {
        args.ledger.join("ledger.jsonl")
    } else {
        args.ledger
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(undo_ledger(&path, squall::platform::undo_detached))?;
    println!("{outcome}");
    Ok(if outcome.failures.is_empty() {
        Exit::Pass
    } else {
        Exit::UndoFailed
    })
}
