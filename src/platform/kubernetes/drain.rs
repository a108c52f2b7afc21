//! Draining a node: it is cordoned, and the pods of one namespace on it are evicted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::change::{Place, make};
use super::evict::replaced;
use super::faults::{Faults, cordon};
use super::guard::Candidate;
use super::owned::MANAGED_BY;
use super::pods::{owner_of, priority_of};
use crate::platform::PlatformError;

impl Faults {
    pub(super) async fn drain(
        &self,
        node: &Place,
        deadline: Duration,
    ) -> Result<(), PlatformError> {
        // Before anything is done: a node with one pod that must stay is not drained by half.
        self.all_may_leave(&self.leaving(node).await?)?;
        let is_new = self.begin_to_empty(&node.name).await?;
        let cordoned = make(&self.cluster, node, cordon).await;
        if is_new && matches!(cordoned, Err(PlatformError::Refused(_))) {
            self.emptied.is_left(&node.name);
        }
        cordoned?;
        let pods = self.leaving(node).await?;
        // No longer a refusal: the node is cordoned by now.
        let allowed = self.all_may_leave(&pods);
        allowed.map_err(|e| PlatformError::Failed(e.to_string()))?;
        let leaving = pods
            .iter()
            .filter_map(|p| Some((p.metadata.name.as_deref()?, p.metadata.uid.as_deref()?)));
        let evictions = leaving.map(|(name, uid)| self.evict(name, uid, deadline));
        let mut held = Vec::new();
        for result in join_all(evictions).await {
            match result {
                Ok(()) => {}
                Err(PlatformError::Held(text)) => held.push(text),
                // Gone meanwhile: that is what a drain wants.
                Err(PlatformError::Failed(text)) if text.contains("nothing was evicted") => {}
                Err(e) => return Err(e),
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        Err(PlatformError::Held(format!(
            "{node} is cordoned but not empty: {}",
            held.join("; ")
        )))
    }

    /// The pods of the namespace that a drain of the node evicts.
    async fn leaving(&self, node: &Place) -> Result<Vec<Pod>, PlatformError> {
        let list = ListParams::default().fields(&format!("spec.nodeName={}", node.name));
        let doing = format!("list the pods of {node}");
        let pods = self.cluster.call(&doing, self.pods().list(&list)).await?;
        Ok(pods.items.into_iter().filter(|p| self.leaves(p)).collect())
    }

    /// Whether a drain evicts the pod; squall's own one stays where it is.
    pub(super) fn leaves(&self, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        leaves(pod) && !self.limits.is_own(&self.namespace, name)
    }

    fn all_may_leave(&self, pods: &[Pod]) -> Result<(), PlatformError> {
        let allowed = |pod: &Pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            replaced(&owner_of(pod), name)?;
            let owner_labels = self.view.workloads().labels(&owner_of(pod));
            self.limits.pod(Candidate {
                namespace: &self.namespace,
                name,
                priority: &priority_of(pod),
                labels: pod.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()),
                owner_labels: owner_labels.as_ref(),
            })
        };
        let allowed: Result<(), String> = pods.iter().try_for_each(allowed);
        allowed.map_err(PlatformError::Refused)
    }
}

/// Whether a drain evicts the pod: not daemons, which would come back, nor static pods, which no API controls, nor
/// squall's own, which are not what is tested.
fn leaves(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let mirror = pod
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"));
    let labels = pod.metadata.labels.as_ref();
    let own = labels.is_some_and(|l| l.get(MANAGED_BY).is_some_and(|by| by == "squall"));
    owner_of(pod).kind != "DaemonSet"
        && !mirror
        && !own
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_drain_leaves_daemons_and_static_pods() {
        let pod = |kind: &str, annotations: Value, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "annotations": annotations, "ownerReferences":
                [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]}, "status": {"phase": phase}}))
            .expect("a pod")
        };
        assert!(leaves(&pod("ReplicaSet", json!({}), "Running")));
        assert!(!leaves(&pod("DaemonSet", json!({}), "Running")));
        assert!(!leaves(&pod(
            "Node",
            json!({"kubernetes.io/config.mirror": "x"}),
            "Running"
        )));
        assert!(!leaves(&pod("Job", json!({}), "Succeeded")));
    }
}
