//! The autoscalers that a run is to judge: whether they are there, and scale the target.

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};

use super::api::Cluster;
use super::target::Found;
use crate::platform::PlatformError;

/// Fails where one of these autoscalers is not there, or scales something else than the pods of the Service.
pub async fn check(
    cluster: &Cluster,
    found: &Found,
    names: &[String],
) -> Result<(), PlatformError> {
    if names.is_empty() {
        return Ok(());
    }
    let Some(api) = cluster.autoscalers(&found.namespace) else {
        return Err(PlatformError::Unsupported(format!(
            "the cluster of context {} serves neither autoscaling/v2 nor v2beta2: its autoscalers cannot be judged",
            cluster.context
        )));
    };
    let doing = format!(
        "list the HorizontalPodAutoscalers in namespace {}",
        found.namespace
    );
    let all = ListParams::default();
    let there = cluster.call(&doing, api.list(&all)).await?.items;
    let owners: Vec<String> = found.owners.iter().map(ToString::to_string).collect();
    for name in names {
        wrong(name, &there, &owners, found)
            .map_or(Ok(()), |text| Err(PlatformError::Unsupported(text)))?;
    }
    Ok(())
}

/// What is wrong with an autoscaler of this name, for pods with these owners.
fn wrong(name: &str, there: &[DynamicObject], owners: &[String], found: &Found) -> Option<String> {
    let Found {
        namespace, service, ..
    } = found;
    let Some(hpa) = there.iter().find(|hpa| hpa.name_any() == name) else {
        let names: Vec<String> = there
            .iter()
            .map(|hpa| format!("{} (of {})", hpa.name_any(), target(hpa)))
            .collect();
        let known = match names.is_empty() {
            true => "there is none".to_string(),
            false => format!("there: {}", names.join(", ")),
        };
        return Some(format!(
            "expect.autoscale: there is no HorizontalPodAutoscaler {name} in namespace {namespace} ({known})"
        ));
    };
    let scales = target(hpa);
    (!owners.contains(&scales)).then(|| {
        format!(
            "expect.autoscale: HorizontalPodAutoscaler {name} in namespace {namespace} scales {scales}, and the pods behind \
             Service {service} are of {}",
            owners.join(", ")
        )
    })
}

/// What it scales: `Deployment/checkout`.
fn target(hpa: &DynamicObject) -> String {
    let reference = &hpa.data["spec"]["scaleTargetRef"];
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    format!("{}/{}", text("kind"), text("name"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn hpa(name: &str, of: &str) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": of}}}))
        .unwrap()
    }

    #[test]
    fn an_autoscaler_that_is_not_there_or_scales_something_else_is_named() {
        let found = Found {
            namespace: "shop".into(),
            service: "front".into(),
            selector: "app=front".into(),
            port: 80,
            ready: 1,
            pods: 1,
            owners: BTreeSet::new(),
            ways: Vec::new(),
            pod_port: None,
        };
        let there = [hpa("front", "front"), hpa("cart", "cart")];
        let owners = ["Deployment/front".to_string()];
        let wrong = |name: &str, there: &[DynamicObject]| wrong(name, there, &owners, &found);
        assert_eq!(wrong("front", &there), None);
        let missing = wrong("frunt", &there).unwrap();
        assert!(
            missing.contains("no HorizontalPodAutoscaler frunt in namespace shop (there: front (of Deployment/front), cart"),
            "{missing}"
        );
        assert!(wrong("front", &[]).unwrap().contains("(there is none)"));
        let other = wrong("cart", &there).unwrap();
        assert!(
            other.contains(
                "scales Deployment/cart, and the pods behind Service front are of Deployment/front"
            ),
            "{other}"
        );
    }
}
