//! The pod that squall itself runs in, where it runs in the cluster that it tests.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use super::api::Cluster;

/// Where a pod finds its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Squall's own pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub node: Option<String>,
}

impl Own {
    /// What identifies the pod.
    pub fn of(pod: &Pod) -> Option<Self> {
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        })
    }
}

/// The name of the machine, which in a pod is the pod's.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_string()
}

/// The pod; `None` outside the cluster, or where it may not be looked up.
pub async fn pod(cluster: &Cluster) -> Option<Pod> {
    let namespace = std::fs::read_to_string(NAMESPACE).ok()?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace.trim());
    let list = ListParams::default().fields(&format!("metadata.name={}", hostname()));
    let listed = cluster
        .call("look at squall's own pod", pods.list(&list))
        .await;
    listed.ok()?.items.pop()
}

/// The image of the pod.
pub fn image(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image.clone()
}
