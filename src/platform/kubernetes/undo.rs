//! Taking changes back: those of a living run, and those of one that is over.

use std::time::Duration;

use tokio::time::sleep;

use super::api::Cluster;
use super::change::{self, Place};
use super::node;
use super::owned::{self, Kind};
use crate::platform::{PlatformError, Undo};

/// What was not there to be removed is looked for once more after this.
const LATE: Duration = Duration::from_secs(5);

/// Takes a change of a run that is over back: finds the context that leads to the cluster it was made in. What there is to
/// say of it.
pub async fn undo_detached(change: &Undo) -> Result<Option<String>, PlatformError> {
    let (Undo::Restore { cluster, .. } | Undo::Remove { cluster, .. }) = change else {
        return Err(PlatformError::Failed("not of a Kubernetes cluster".into()));
    };
    let cluster = Cluster::at(cluster).await?;
    undo(&cluster, change).await
}

/// Whether it is the cluster that must be changed back, so that anybody in the cluster can do it.
pub(super) fn in_cluster(undo: &Undo) -> bool {
    matches!(undo, Undo::Restore { .. } | Undo::Remove { .. })
}

/// An undo is of the cluster that its change was made in.
fn is_in(cluster: &Cluster, server: &str, kind: &str, name: &str) -> Result<(), PlatformError> {
    if server == cluster.server {
        return Ok(());
    }
    Err(PlatformError::Failed(format!(
        "{kind} {name} is in the cluster at {server}, and context {} leads to {}",
        cluster.context, cluster.server
    )))
}

/// Takes a change back; works without the Service, for a ledger whose run is over.
pub async fn undo(cluster: &Cluster, undo: &Undo) -> Result<Option<String>, PlatformError> {
    if let Undo::Restore {
        cluster: server,
        kind,
        name,
        ..
    }
    | Undo::Remove {
        cluster: server,
        kind,
        name,
        ..
    } = undo
    {
        is_in(cluster, server, kind, name)?;
    }
    take_back(cluster, undo).await
}

/// Takes a change in this cluster back. From inside, a cluster's address is another than from outside: who knows that
/// it is the same one may do without the check.
pub(super) async fn take_back(
    cluster: &Cluster,
    undo: &Undo,
) -> Result<Option<String>, PlatformError> {
    match undo {
        Undo::Restore {
            kind,
            namespace,
            name,
            ..
        } => {
            let place = Place {
                kind: kind.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            change::restore(cluster, &place).await
        }
        Undo::Remove {
            api_version,
            kind,
            plural,
            namespace,
            name,
            marked,
            ..
        } => {
            let unmarked = match marked {
                Some(pod) => {
                    let place = Place {
                        kind: "Pod".into(),
                        namespace: Some(namespace.clone()),
                        name: pod.clone(),
                    };
                    change::restore(cluster, &place).await.map(drop)
                }
                None => Ok(()),
            };
            let kind = Kind {
                api_version: api_version.clone(),
                kind: kind.clone(),
                plural: plural.clone(),
            };
            // Also where the mark cannot be taken off: without the object it does nothing.
            let was_there = owned::remove(cluster, &kind, (namespace, name)).await?;
            if !was_there && marked.is_none() {
                // It may be on its way: the answer to its creation was lost, or not waited for.
                sleep(LATE).await;
                owned::remove(cluster, &kind, (namespace, name)).await?;
            }
            unmarked.map(|()| None)
        }
        Undo::Run { command, dir, .. } => node::run(command, dir).await.map(|()| None),
        other => Err(PlatformError::Failed(format!(
            "not of a Kubernetes cluster: {}",
            other.instance()
        ))),
    }
}
