//! `squall undo`.

use std::path::PathBuf;

use squall::fault::undo_ledger;
use squall::platform::Undo;
use squall::say;

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
    let report = runtime.block_on(undo_ledger(&path, async |undo| match undo {
        Undo::Run { command, dir, .. } => {
            squall::platform::kubernetes::run_command(command, dir).await
        }
        Undo::Restore { .. } | Undo::Remove { .. } => {
            let left = squall::platform::kubernetes::undo_detached(undo).await?;
            let warn = |text| say::err(format_args!("warning: {text}"));
            left.iter().for_each(warn);
            Ok(())
        }
        _ => squall::platform::local::undo_detached(undo),
    }))?;
    for pending in &report.done {
        say::out(format_args!(
            "undone: {} (injection {})\n",
            pending.undo, pending.injection
        ))?;
    }
    for failure in &report.failed {
        say::err(format_args!("error: {failure}"));
    }
    for line in &report.damage {
        say::err(format_args!("warning: {line}"));
    }
    if report.done.is_empty() && report.failed.is_empty() {
        say::out("nothing is left to undo\n")?;
    }
    Ok(match report.failed.is_empty() {
        true => Exit::Pass,
        false => Exit::UndoFailed,
    })
}
