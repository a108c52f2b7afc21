//! Autoscalers that cannot do what they are for.

use k8s_openapi::api::core::v1::Container;
use serde_json::Value;

use super::{Finding, Harm, Objects, Workload};

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
    let template = workload.template.spec.as_ref();
    // Defaults of the namespace and limits are requests in the pods, and not in the template.
    let pods = workload.pods(objects);
    let pod = pods.first().and_then(|p| p.spec.as_ref());
    let containers: Vec<&Container> = match pod {
        Some(spec) => spec.containers.iter().collect(),
        None => template.iter().flat_map(|s| &s.containers).collect(),
    };
    for resource in of_pod {
        let missing: Vec<&str> = containers
            .iter()
            .filter(|c| !requests(c, resource, pod.is_none()))
            .map(|c| c.name.as_str())
            .collect();
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
                change: format!("set resources.requests.{resource} of every container"),
            });
        }
    }
    None
}

fn requests(container: &Container, resource: &str, limit_counts: bool) -> bool {
    let resources = container.resources.as_ref();
    let has = |list: Option<&std::collections::BTreeMap<String, _>>| {
        list.is_some_and(|l| l.contains_key(resource))
    };
    has(resources.and_then(|r| r.requests.as_ref()))
        || (limit_counts && has(resources.and_then(|r| r.limits.as_ref())))
}
