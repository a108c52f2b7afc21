//! The objects that an audit judges, listed once. Reads only.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::Cluster;
use crate::audit::{Objects, Workload};
use crate::platform::PlatformError;

/// Lists the namespace. Without its Services, workloads and pods there is nothing to say; what else is not allowed is told
/// in [`Objects::unseen`].
pub async fn survey(cluster: &Cluster, namespace: &str) -> Result<Objects, PlatformError> {
    let mut objects = Objects {
        namespace: namespace.into(),
        services: list(cluster, namespace, "Services").await?,
        pods: list(cluster, namespace, "pods").await?,
        workloads: workloads(cluster, namespace).await?,
        // The older version takes an empty selector for none.
        empty_selects_all: cluster.served.policy.as_deref() != Some("v1beta1"),
        ..Objects::default()
    };
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    match all(cluster, "list the nodes", &nodes).await {
        Ok(nodes) => objects.nodes = nodes,
        Err(why) => objects.unseen.push(why.to_string()),
    }
    match rest(cluster, cluster.budgets(namespace), "disruption budgets").await {
        Ok(budgets) => {
            let typed = budgets.into_iter().map(serde_json::from_value);
            let typed: Result<Vec<PodDisruptionBudget>, _> = typed.collect();
            let wrong =
                |e| PlatformError::Failed(format!("a disruption budget cannot be read: {e}"));
            objects.budgets = Some(typed.map_err(wrong)?);
        }
        Err(why) => objects.unseen.push(why.to_string()),
    }
    match rest(cluster, cluster.autoscalers(namespace), "autoscalers").await {
        Ok(autoscalers) => objects.autoscalers = autoscalers,
        Err(why) => objects.unseen.push(why.to_string()),
    }
    Ok(objects)
}

async fn workloads(cluster: &Cluster, namespace: &str) -> Result<Vec<Workload>, PlatformError> {
    let number = |n: Option<i32>, otherwise| n.map_or(otherwise, |n| u64::try_from(n).unwrap_or(0));
    let mut workloads = Vec::new();
    for d in list::<Deployment>(cluster, namespace, "Deployments").await? {
        let spec = d.spec;
        workloads.push(Workload {
            kind: "Deployment".into(),
            name: d.metadata.name.unwrap_or_default(),
            replicas: number(spec.replicas, 1),
            template: spec.template,
        });
    }
    for s in list::<StatefulSet>(cluster, namespace, "StatefulSets").await? {
        let spec = s.spec;
        workloads.push(Workload {
            kind: "StatefulSet".into(),
            name: s.metadata.name.unwrap_or_default(),
            replicas: number(spec.replicas, 1),
            template: spec.template,
        });
    }
    for d in list::<DaemonSet>(cluster, namespace, "DaemonSets").await? {
        let wanted = d.status.map(|s| s.desired_number_scheduled);
        workloads.push(Workload {
            kind: "DaemonSet".into(),
            name: d.metadata.name.unwrap_or_default(),
            replicas: number(wanted, 0),
            template: d.spec.template,
        });
    }
    Ok(workloads)
}

async fn list<K>(cluster: &Cluster, namespace: &str, what: &str) -> Result<Vec<K>, PlatformError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let doing = format!("list the {what} of namespace {namespace}");
    all(cluster, &doing, &api).await
}

async fn all<K>(cluster: &Cluster, doing: &str, api: &Api<K>) -> Result<Vec<K>, PlatformError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let listed = cluster.call(doing, api.list(&ListParams::default())).await;
    Ok(listed?.items)
}

/// Objects of a kind whose version differs between clusters; none where the cluster does not have the kind.
async fn rest(
    cluster: &Cluster,
    api: Option<Api<DynamicObject>>,
    what: &str,
) -> Result<Vec<Value>, PlatformError> {
    let Some(api) = api else {
        return Ok(Vec::new());
    };
    let found = all(cluster, &format!("list the {what}"), &api).await?;
    let values = found.into_iter().map(serde_json::to_value);
    let values: Result<Vec<Value>, _> = values.collect();
    values.map_err(|e| PlatformError::Failed(format!("{what} cannot be read: {e}")))
}
