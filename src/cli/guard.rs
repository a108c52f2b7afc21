//! The hidden `__guard`: the program of the guardian in the cluster.

use squall::platform::kubernetes::guardian::{Watched, watch};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;

/// What to watch.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Namespace of the Lease.
    #[arg(long)]
    namespace: String,
    /// Its name.
    #[arg(long)]
    lease: String,
    /// Its uid.
    #[arg(long)]
    uid: String,
    /// A call that an undo takes, as `VERB RESOURCE.GROUP [in NAMESPACE]`; may be given several times.
    #[arg(long)]
    needs: Vec<String>,
}

/// Watches until nothing is left to do. Told to end before that, it says so with its code: the Job's controller then
/// starts another, elsewhere if need be.
pub fn main(args: Args) -> anyhow::Result<Exit> {
    let watched = Watched {
        namespace: args.namespace,
        lease: args.lease,
        uid: args.uid,
        needs: args.needs,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        tokio::select! {
            () = watch(&watched) => Ok(Exit::Pass),
            _ = term.recv() => Ok(Exit::Aborted),
        }
    })
}
