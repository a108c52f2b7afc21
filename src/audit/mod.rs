//! What would bring a service down one day, read from the objects of its cluster before anything is broken: single
//! points of failure, budgets that protect nothing or forbid every drain, probes that hurt. Pure: objects in, findings
//! out; getting the objects is for `platform::kubernetes`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde_json::Value;

mod budgets;
mod path;
mod placement;
mod probes;
mod report;
mod scaling;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use report::text;

/// The objects of one namespace, and the nodes, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// The namespace.
    pub namespace: String,
    /// Its Services.
    pub services: Vec<Service>,
    /// What makes its pods.
    pub workloads: Vec<Workload>,
    /// Its pods.
    pub pods: Vec<Pod>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// Its disruption budgets; `None` where they could not be looked at.
    pub budgets: Option<Vec<PodDisruptionBudget>>,
    /// Whether a budget with an empty selector is for all pods (`policy/v1`) or for none (`v1beta1`).
    pub empty_selects_all: bool,
    /// Its HorizontalPodAutoscalers.
    pub autoscalers: Vec<Value>,
    /// What could not be looked at, and why. Nothing is concluded from what it would have shown.
    pub unseen: Vec<String>,
}

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How many pods it is to have; of a DaemonSet, how many its nodes want.
    pub replicas: u64,
    /// What its pods are made from.
    pub template: PodTemplateSpec,
}

impl Workload {
    fn object(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
    fn labels(&self) -> BTreeMap<String, String> {
        let metadata = self.template.metadata.as_ref();
        metadata.and_then(|m| m.labels.clone()).unwrap_or_default()
    }
    /// The workload's own pods that are not ending.
    fn pods<'o>(&self, objects: &'o Objects) -> Vec<&'o Pod> {
        let is_own = |pod: &&Pod| {
            let owner = crate::platform::kubernetes::owner_of(pod);
            owner.kind == self.kind && owner.name == self.name
        };
        let alive = |pod: &&Pod| {
            let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
            pod.metadata.deletion_timestamp.is_none()
                && !matches!(phase, Some("Failed" | "Succeeded"))
        };
        objects.pods.iter().filter(is_own).filter(alive).collect()
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    /// One event that is bound to come takes the service down, or work on a node cannot be done without.
    Breaks,
    /// It makes such an event worse, or hides that something is missing.
    Weakens,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its rule, in one word: `one-replica`.
    pub rule: &'static str,
    /// How bad it is.
    pub harm: Harm,
    /// `Deployment/front`.
    pub object: String,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// What to change.
    pub change: String,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// The namespace.
    pub namespace: String,
    /// The workloads on the request path, which are those looked at.
    pub workloads: Vec<String>,
    /// The findings, worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unseen: Vec<String>,
}

impl Audit {
    /// The exit code: 1 where something breaks availability, 5 where not all could be looked at, else 0.
    pub fn exit_code(&self) -> u8 {
        let breaks = self.findings.iter().any(|f| f.harm == Harm::Breaks);
        match (breaks, self.unseen.is_empty()) {
            (true, _) => 1,
            (false, false) => 5,
            (false, true) => 0,
        }
    }
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Nothing(String);

/// Audits what stands behind this Service and those that it calls, or behind every Service of the namespace.
pub fn audit(objects: &Objects, service: Option<&str>) -> Result<Audit, Nothing> {
    let on_path = path::on_path(objects, service)?;
    let mut findings = Vec::new();
    for workload in &on_path {
        placement::check(objects, workload, &mut findings);
        probes::check(workload, &mut findings);
    }
    budgets::check(objects, &on_path, &mut findings);
    scaling::check(objects, &on_path, &mut findings);
    findings.sort_by(|a, b| (a.harm, &a.object, a.rule).cmp(&(b.harm, &b.object, b.rule)));
    Ok(Audit {
        namespace: objects.namespace.clone(),
        workloads: on_path.iter().map(|w| w.object()).collect(),
        findings,
        unseen: objects.unseen.clone(),
    })
}

/// Whether a selector takes these labels.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(k, v)| labels.get(k) == Some(v))
        && expressions.all(|e| {
            let value = labels.get(&e.key);
            let among = || value.is_some_and(|v| e.values.iter().flatten().any(|x| x == v));
            match e.operator.as_str() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
