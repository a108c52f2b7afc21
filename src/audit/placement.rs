//! Whether one death, one node or one zone takes all pods of a workload.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use super::{Finding, Harm, Objects, Workload};

const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn check(objects: &Objects, workload: &Workload, findings: &mut Vec<Finding>) {
    if workload.kind == "DaemonSet" {
        // One on each node, by what it is.
        return;
    }
    match workload.replicas {
        0 => findings.push(Finding {
            rule: "no-replica",
            harm: Harm::Breaks,
            object: workload.object(),
            what: "it has no replica".into(),
            why: "Nothing answers the requests that are sent to it.",
            change: "set spec.replicas to 2 or more".into(),
        }),
        1 => findings.push(Finding {
            rule: "one-replica",
            harm: Harm::Breaks,
            object: workload.object(),
            what: "it has one replica".into(),
            why: "When its pod dies, is evicted or loses its node, nothing answers until another is ready.",
            change: "set spec.replicas to 2 or more, and keep them on different nodes".into(),
        }),
        _ => placed(objects, workload, findings),
    }
}

fn placed(objects: &Objects, workload: &Workload, findings: &mut Vec<Finding>) {
    let usable: Vec<&Node> = objects.nodes.iter().filter(|n| takes_pods(n)).collect();
    let pods = workload.pods(objects);
    let nodes: Vec<&str> = pods
        .iter()
        .filter_map(|p| p.spec.as_ref()?.node_name.as_deref())
        .collect();
    let by_node = counted(nodes.iter().copied());
    if nodes.len() < 2 {
        return;
    }
    if by_node.len() == 1 {
        let change = match usable.len() {
            0 | 1 => "give the cluster a second node".to_string(),
            _ => "spread them: topologySpreadConstraints over kubernetes.io/hostname, or podAntiAffinity".into(),
        };
        findings.push(Finding {
            rule: "one-node",
            harm: Harm::Breaks,
            object: workload.object(),
            what: format!("all its {} pods are on node {}", nodes.len(), nodes[0]),
            why: "When that node is lost or drained, all of them are gone at once.",
            change,
        });
    } else if let Some((node, n)) = by_node.iter().find(|(_, n)| **n * 2 > nodes.len()) {
        let fair = nodes.len().div_ceil(usable.len().max(1));
        if *n > fair {
            findings.push(Finding {
                rule: "uneven",
                harm: Harm::Weakens,
                object: workload.object(),
                what: format!("{n} of its {} pods are on node {node}", nodes.len()),
                why: "Losing that node takes most of the capacity; the rest must carry all of the load.",
                change: "spread them: topologySpreadConstraints over kubernetes.io/hostname with maxSkew 1".into(),
            });
        }
    }
    one_zone(workload, &nodes, &usable, by_node.len(), findings);
}

fn one_zone(
    workload: &Workload,
    nodes: &[&str],
    usable: &[&Node],
    on_nodes: usize,
    findings: &mut Vec<Finding>,
) {
    let zone_of = |node: &Node| node.metadata.labels.as_ref()?.get(ZONE).cloned();
    let zones: BTreeMap<&str, String> = usable
        .iter()
        .filter_map(|n| Some((n.metadata.name.as_deref()?, zone_of(n)?)))
        .collect();
    let there_are = counted(zones.values().map(String::as_str)).len();
    let used: Option<Vec<&str>> = nodes
        .iter()
        .map(|n| zones.get(n).map(String::as_str))
        .collect();
    let Some(used) = used else { return };
    // All on one node is told already.
    if there_are > 1 && on_nodes > 1 && counted(used.iter().copied()).len() == 1 {
        findings.push(Finding {
            rule: "one-zone",
            harm: Harm::Breaks,
            object: workload.object(),
            what: format!(
                "all its {} pods are in zone {} of {there_are}",
                nodes.len(),
                used[0]
            ),
            why: "When that zone is lost, all of them are gone at once.",
            change: "spread them: topologySpreadConstraints over topology.kubernetes.io/zone"
                .into(),
        });
    }
}

fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Whether an ordinary pod may be put there now.
fn takes_pods(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    let cordoned = spec.and_then(|s| s.unschedulable).unwrap_or(false);
    let mut taints = spec.and_then(|s| s.taints.as_ref()).into_iter().flatten();
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    ready && !cordoned && !taints.any(|t| matches!(&*t.effect, "NoSchedule" | "NoExecute"))
}
