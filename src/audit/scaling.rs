//! Autoscalers that cannot do what they are for.

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use serde_json::Value;

use super::{Finding, Harm, Objects, Workload};
use crate::platform::kubernetes::lasting;
use crate::record::quantity::without_request;

pub(super) fn check(objects: &Objects, on_path: &[&Workload], findings: &mut Vec<Finding>) {
    for autoscaler in &objects.autoscalers {
        let text = |pointer| autoscaler.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (
            text("/spec/scaleTargetRef/kind"),
            text("/spec/scaleTargetRef/name"),
        );
        let scaled = (on_path.iter())
            .find(|w| Some(w.kind.as_str()) == kind && Some(w.name.as_str()) == name);
        let Some(workload) = scaled else { continue };
        let object = format!(
            "HorizontalPodAutoscaler/{}",
            text("/metadata/name").unwrap_or_default()
        );
        findings.extend(without_base(objects, workload, autoscaler, &object));
        let least = autoscaler
            .pointer("/spec/minReplicas")
            .and_then(Value::as_u64);
        if least.unwrap_or(1) <= 1 && workload.replicas > 1 {
            findings.push(Finding {
                rule: "scales-to-one",
                harm: Harm::Weakens,
                object,
                what: format!(
                    "it may scale {} down to {} replica",
                    workload.object(),
                    least.unwrap_or(1)
                ),
                why: "In a quiet hour one pod is left, and its death is an outage.",
                change: "set minReplicas to 2 or more".into(),
            });
        }
    }
}

/// Utilization is of requests: a container without one leaves it without a base, and nothing is scaled.
fn without_base(
    objects: &Objects,
    workload: &Workload,
    autoscaler: &Value,
    object: &str,
) -> Option<Finding> {
    let metrics = autoscaler.pointer("/spec/metrics")?.as_array()?;
    let of_pod = metrics.iter().filter_map(|metric| {
        let resource = metric.get("resource")?;
        resource.pointer("/target/averageUtilization")?;
        resource.get("name")?.as_str()
    });
    // Defaults of the namespace and limits are requests in the pods, and not in the template.
    let pods = workload.pods(objects);
    let pod = pods.first().and_then(|p| p.spec.as_ref());
    let spec = pod.or(workload.template.spec.as_ref())?;
    for resource in of_pod {
        let missing = requests_nothing(spec, resource, pod.is_none());
        if !missing.is_empty() {
            return Some(Finding {
                rule: "no-request",
                harm: Harm::Breaks,
                object: object.into(),
                what: format!(
                    "it scales {} by {resource} utilization, and {} has no {resource} request",
                    workload.object(),
                    match missing[..] {
                        [one] => format!("container {one}"),
                        _ => format!("containers {}", missing.join(", ")),
                    }
                ),
                why: "Utilization is a share of requests: without them there is none, and nothing is scaled however high the \
                      load.",
                change: format!(
                    "set resources.requests.{resource} of every container, sidecars among them"
                ),
            });
        }
    }
    None
}

/// Containers without a request that the utilization of the whole pod is a share of, as the controller looks for it: the
/// pod's own where it has any (its containers' make up for what it has none of), else that of each container.
fn requests_nothing<'a>(spec: &'a PodSpec, resource: &str, limit_counts: bool) -> Vec<&'a str> {
    let has = |given: Option<&ResourceRequirements>| {
        let requests = given.and_then(|r| r.requests.as_ref());
        let limits = given.and_then(|r| r.limits.as_ref());
        let mut lists = [requests, limits.filter(|_| limit_counts)]
            .into_iter()
            .flatten();
        lists.any(|list| list.contains_key(resource))
    };
    let containers = lasting(spec).map(|c| (c.name.as_str(), has(c.resources.as_ref())));
    let own = spec.resources.as_ref();
    let own = own.filter(|r| r.requests.is_some() || limit_counts && r.limits.is_some());
    without_request(containers, own.map(|r| has(Some(r))))
}
