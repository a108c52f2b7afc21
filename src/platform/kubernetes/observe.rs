//! Everything the cluster does around the Service, as events on the run's clock.
//!
//! Pods and their endpoints become the same events that the local platform tells, so that the same judges read
//! them. The rest (deployments, autoscalers, nodes, budgets, the cluster's own events) is told as objects with
//! the few facts that matter, each time one of these changes.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::endpoints::Endpoints;
use super::api::Cluster;
use super::target::Found;
use super::view::View;
use super::watch::{Change, Followed, Sight, follow};
use crate::record::{Incident, Sink, What};

mod endpoints;
mod facts;

pub use facts::{OBSERVED, Observed, Seen, Teller, WORKLOADS};
use facts::{told, told_pod};

/// The failed probe that an Event of the cluster tells of: the pod and the words.
fn probe_failure(object: &DynamicObject) -> Option<(String, String)> {
    let text = |pointer| object.data.pointer(pointer).and_then(Value::as_str);
    let is_probe =
        text("/reason") == Some("Unhealthy") && text("/involvedObject/kind") == Some("Pod");
    let name = text("/involvedObject/name").filter(|_| is_probe)?;
    Some((name.into(), text("/message").unwrap_or_default().into()))
}

/// Starts all watches. Resolves `listed` to true once pods and endpoints have been listed.
pub fn observe(
    cluster: &Cluster,
    found: &Found,
    view: &View,
    sink: &Sink,
) -> (JoinSet<()>, watch::Receiver<(bool, bool)>) {
    let mut tasks = JoinSet::new();
    let (listed, seen) = watch::channel((false, false));
    let pods = Followed {
        api: Api::<Pod>::namespaced(cluster.client.clone(), &found.namespace),
        of: "pods",
        labels: Some(found.selector.clone()),
        sight: view.sight.clone(),
    };
    let (known, out, first) = (view.clone(), sink.clone(), listed.clone());
    let mut teller = Teller::new("Pod");
    tasks.spawn(follow(pods, sink.clone(), move |change| {
        let is_list = matches!(change, Change::All(_));
        let objects = told_pod(&mut teller, &change);
        let events = known.pods().told(change);
        events.into_iter().chain(objects).for_each(|e| out.emit(e));
        if is_list {
            first.send_modify(|seen| seen.0 = true);
        }
    }));
    match cluster.endpoint_slices(&found.namespace) {
        Some(api) => {
            let labels = Some(format!("kubernetes.io/service-name={}", found.service));
            let (out, mut endpoints) = (sink.clone(), Endpoints::default());
            let slices = Followed {
                api,
                of: "endpointslices",
                labels,
                sight: Sight::default(),
            };
            tasks.spawn(follow(slices, sink.clone(), move |change| {
                endpoints.told(change).into_iter().for_each(|e| out.emit(e));
                listed.send_modify(|seen| seen.1 = true);
            }));
        }
        None => listed.send_modify(|seen| seen.1 = true),
    }
    for observed in &OBSERVED {
        if let Some(mut followed) = followed(cluster, &found.namespace, observed) {
            followed.sight = view.sight_of(observed.kind);
            let (out, known) = (sink.clone(), view.clone());
            let mut teller = Teller::new(observed.kind);
            let selector = found.selector.clone();
            tasks.spawn(follow(followed, sink.clone(), move |change| {
                if WORKLOADS.contains(&observed.kind) {
                    known.workloads().told(observed.kind, &change, &selector);
                }
                if let Change::Applied(object) = &change
                    && let Some((instance, detail)) = probe_failure(object)
                    && known.pods().get(&instance).is_some()
                {
                    out.emit(What::Incident {
                        incident: Incident::ProbeFailed,
                        instance,
                        detail,
                    });
                }
                if observed.kind == "Node" {
                    note_nodes(&known, &change);
                }
                // Events that were there before are not news.
                let old = observed.kind == "Event" && matches!(change, Change::All(_));
                let events = told(&mut teller, observed, &selector, &change);
                events
                    .into_iter()
                    .filter(|_| !old)
                    .for_each(|e| out.emit(e));
            }));
        }
    }
    (tasks, seen)
}

fn note_nodes(view: &View, change: &Change<DynamicObject>) {
    let nodes = match change {
        Change::All(all) => all.as_slice(),
        Change::Applied(one) => std::slice::from_ref(one),
        Change::Deleted(one) => {
            view.nodes().remove(&one.name_any());
            return;
        }
    };
    if matches!(change, Change::All(_)) {
        view.nodes().clear();
    }
    for node in nodes {
        view.nodes().insert(node.name_any(), node_is_ready(node));
        if let Some(zone) = node.labels().get("topology.kubernetes.io/zone") {
            view.zones().insert(node.name_any(), zone.clone());
        }
    }
}

/// Whether the node's Ready condition is true; one that nobody has written yet is not.
fn node_is_ready(node: &DynamicObject) -> bool {
    let conditions = node.data.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let ready = conditions
        .filter(|c| c.get("type").and_then(Value::as_str) == Some("Ready"))
        .all(|c| c.get("status").and_then(Value::as_str) == Some("True"));
    ready && node.data.pointer("/status/conditions").is_some()
}

/// Follows the pods of another namespace, to know whom a fault can hit there; they are not of the target, so nothing
/// is told of them.
pub fn elsewhere(
    tasks: &mut JoinSet<()>,
    cluster: &Cluster,
    namespace: &str,
    view: &View,
    sink: &Sink,
) {
    let pods = Followed {
        api: Api::<Pod>::namespaced(cluster.client.clone(), namespace),
        of: "pods",
        labels: None,
        sight: view.sight.clone(),
    };
    let known = view.clone();
    tasks.spawn(follow(pods, sink.clone(), move |change| {
        known.pods().told(change);
    }));
}

/// Where to follow a kind; `None` where this cluster does not serve it.
fn followed(
    cluster: &Cluster,
    namespace: &str,
    observed: &'static Observed,
) -> Option<Followed<DynamicObject>> {
    let served = &cluster.served;
    let version = match observed.group {
        "policy" => served.policy.clone()?,
        "autoscaling" => served.autoscaling.clone()?,
        _ => "v1".to_string(),
    };
    let api_version = match observed.group {
        "" => version.clone(),
        group => format!("{group}/{version}"),
    };
    let resource = ApiResource {
        group: observed.group.into(),
        version,
        api_version,
        kind: observed.kind.into(),
        plural: observed.plural.into(),
    };
    let api = match observed.namespaced {
        true => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        false => Api::all_with(cluster.client.clone(), &resource),
    };
    Some(Followed {
        api,
        of: observed.plural,
        labels: None,
        sight: Sight::default(),
    })
}

#[cfg(test)]
mod tests;
