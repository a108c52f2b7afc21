//! Nodes that faults empty: a drain, or the loss of a node, takes pods of every workload that stands there, and
//! `keep-ready` holds for each of them, not for those behind the Service alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::faults::Faults;
use super::pods::{Owner, is_ready, owner_of};
use crate::platform::{PlatformError, Undo};
use crate::scenario::KeepReady;

/// The nodes that faults in force empty: what is ready there still is not counted on.
#[derive(Debug, Clone, Default)]
pub(super) struct Emptied(Arc<Mutex<BTreeSet<String>>>);

impl Emptied {
    fn nodes(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node is not emptied after all.
    pub(super) fn is_left(&self, node: &str) {
        self.nodes().remove(node);
    }

    /// Once this is undone its node is one like the others again.
    pub(super) fn is_back(&self, undo: &Undo) {
        match undo {
            Undo::Restore { kind, name, .. } if kind == "Node" => self.is_left(name),
            Undo::Run { node, .. } => self.is_left(node),
            _ => {}
        }
    }
}

impl Faults {
    /// Counts the node among those that are emptied, if each workload of the namespace keeps enough pods that are ready
    /// elsewhere; whether it was none of them before. To be asked before anything is done.
    pub(super) async fn begin_to_empty(&self, node: &str) -> Result<bool, PlatformError> {
        // Before the look: of two faults at the same moment each must see the other.
        let is_new = self.emptied.nodes().insert(node.into());
        let allowed = self.keeps_ready(node).await;
        if allowed.is_err() && is_new {
            self.emptied.is_left(node);
        }
        allowed.map(|()| is_new)
    }

    async fn keeps_ready(&self, node: &str) -> Result<(), PlatformError> {
        let Some(keep) = self.limits.keep_ready else {
            return Ok(());
        };
        let doing = format!("list the pods of namespace {}", self.namespace);
        let (api, all) = (self.pods(), ListParams::default());
        let pods = self.cluster.call(&doing, api.list(&all)).await?;
        let pods = pods.items.iter().filter(|p| self.leaves(p));
        let emptied = self.emptied.nodes().clone();
        enough(keep, pods, node, &emptied)
            .map_err(|why| PlatformError::Refused(format!("node {node} cannot be emptied: {why}")))
    }
}

/// Whether each workload with a pod on the node keeps enough that are ready where nothing is emptied.
fn enough<'a>(
    keep: KeepReady,
    pods: impl Iterator<Item = &'a Pod>,
    node: &str,
    emptied: &BTreeSet<String>,
) -> Result<(), String> {
    #[derive(Default)]
    struct Counts {
        is_there: bool,
        places: usize,
        ready: usize,
        hit: usize,
    }
    let mut owners: BTreeMap<Owner, Counts> = BTreeMap::new();
    for pod in pods.filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let stands = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        let counts = owners.entry(owner_of(pod)).or_default();
        counts.is_there |= stands == Some(node);
        counts.places += 1;
        if is_ready(pod) {
            counts.ready += 1;
            counts.hit += usize::from(stands.is_some_and(|n| emptied.contains(n)));
        }
    }
    let there = owners.iter().filter(|(_, counts)| counts.is_there);
    there.into_iter().try_for_each(|(owner, counts)| {
        let enough = keep.check(counts.ready, counts.hit, counts.places);
        enough.map_err(|why| format!("{why} ({owner})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::units::Ratio;
    use serde_json::json;

    fn pod(owner: &str, node: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": "u", "controller": true}]},
            "spec": {"nodeName": node, "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": status}]}}))
        .expect("a pod")
    }

    #[test]
    fn each_workload_that_stands_on_the_node_keeps_enough_elsewhere() {
        let half = KeepReady::Share(Ratio::fraction(0.5));
        let mut going = pod("web", "n2", true);
        let at = json!("2026-01-01T00:00:00Z");
        going.metadata.deletion_timestamp = serde_json::from_value(at).expect("a time");
        for (pods, emptied, allowed) in [
            (
                vec![pod("web", "n1", true), pod("web", "n2", true)],
                &["n1"][..],
                true,
            ),
            // Another workload has all that it has there.
            (
                vec![pod("web", "n2", true), pod("db", "n1", true)],
                &["n1"],
                false,
            ),
            // Its other pod is not ready, or on its way out, or stands on a node that is emptied too.
            (
                vec![pod("web", "n1", true), pod("web", "n2", false)],
                &["n1"],
                false,
            ),
            (vec![pod("web", "n1", true), going], &["n1"], false),
            (
                vec![pod("web", "n1", true), pod("web", "n2", true)],
                &["n1", "n2"],
                false,
            ),
            (
                vec![pod("web", "n1", false), pod("web", "n2", true)],
                &["n1"],
                true,
            ),
            // What does not stand there is not this fault's matter.
            (
                vec![
                    pod("web", "n1", true),
                    pod("web", "n2", true),
                    pod("db", "n2", false),
                ],
                &["n1"],
                true,
            ),
        ] {
            let emptied = emptied.iter().map(|n| n.to_string()).collect();
            let enough = enough(half, pods.iter(), "n1", &emptied);
            assert_eq!(enough.is_ok(), allowed, "{enough:?}");
        }
        let pods = [pod("db", "n1", true)];
        let error = enough(half, pods.iter(), "n1", &BTreeSet::from(["n1".into()])).unwrap_err();
        assert_eq!(
            error,
            "keep-ready 50% is 1 of 1 instances: 1 are ready and free of faults, 1 of them would be hit, which leaves 0 \
             (StatefulSet/db)"
        );
    }
}
