//! A healthy shop, and each way to break it.

use serde_json::json;

use super::testing::*;
use super::*;

fn found(shop: &Shop) -> Vec<Finding> {
    audit(&objects(shop), Some("front")).unwrap().findings
}

/// The one finding of a shop with one thing broken.
#[track_caller]
fn one(change: impl FnOnce(&mut Shop)) -> (Harm, String) {
    let mut shop = healthy();
    change(&mut shop);
    let found = found(&shop);
    let [finding] = found.as_slice() else {
        panic!("{found:#?}");
    };
    let text = format!("{}: {} {}", finding.rule, finding.object, finding.what);
    (finding.harm, text)
}

#[track_caller]
fn breaks(change: impl FnOnce(&mut Shop), text: &str) {
    assert_eq!(one(change), (Harm::Breaks, text.into()));
}

#[track_caller]
fn weakens(change: impl FnOnce(&mut Shop), text: &str) {
    assert_eq!(one(change), (Harm::Weakens, text.into()));
}

#[test]
fn single_points_of_failure_are_found() {
    let one_cart = |s: &mut Shop| {
        s.cart["replicas"] = json!(1);
        s.placed.pop();
        s.budgets.pop();
    };
    breaks(one_cart, "one-replica: Deployment/cart it has one replica");
    breaks(
        |s| {
            s.placed.iter_mut().for_each(|p| {
                if p.0 == "front" {
                    p.1 = "n1"
                }
            })
        },
        "one-node: Deployment/front all its 3 pods are on node n1",
    );
    breaks(
        |s| {
            let mut more = s.nodes[0].clone();
            more["metadata"]["name"] = json!("n4");
            s.nodes.push(more);
            s.placed[2].1 = "n4";
        },
        "one-zone: Deployment/front all its 3 pods are in zone z1 of 2",
    );
    weakens(
        |s| s.placed[0].1 = "n3",
        "uneven: Deployment/front 2 of its 3 pods are on node n3",
    );
}

#[test]
fn budgets_that_forbid_every_drain_are_found() {
    for (bound, words) in [
        (json!({"maxUnavailable": 0}), "maxUnavailable 0"),
        (
            json!({"maxUnavailable": "0%"}),
            "maxUnavailable 0% of 3 = 0",
        ),
        (json!({"minAvailable": 3}), "minAvailable 3"),
        (json!({"minAvailable": "70%"}), "minAvailable 70% of 3 = 3"),
    ] {
        let text = format!(
            "budget-forbids-drains: PodDisruptionBudget/front {words} lets none of the 3 pods of Deployment/front be evicted"
        );
        breaks(|s| s.budgets[0] = budget("front", "front", bound), &text);
    }
    breaks(
        |s| {
            s.budgets
                .push(budget("second", "front", json!({"maxUnavailable": 1})))
        },
        "several-budgets: Deployment/front 2 disruption budgets cover its pods: front, second",
    );
}

#[test]
fn budgets_that_protect_nothing_are_found() {
    for (bound, words) in [
        (json!({"minAvailable": 0}), "minAvailable 0"),
        (
            json!({"maxUnavailable": "100%"}),
            "maxUnavailable 100% of 3 = 3",
        ),
    ] {
        let text = format!(
            "budget-protects-nothing: PodDisruptionBudget/front {words} lets all 3 pods of Deployment/front be evicted at once"
        );
        weakens(|s| s.budgets[0] = budget("front", "front", bound), &text);
    }
    weakens(
        |s| {
            s.budgets
                .push(budget("old", "frnt", json!({"maxUnavailable": 1})))
        },
        "budget-selects-nothing: PodDisruptionBudget/old its selector matches no workload and no pod",
    );
    weakens(
        |s| drop(s.budgets.remove(0)),
        "no-budget: Deployment/front no disruption budget covers its 3 pods",
    );
}

#[test]
fn probes_that_are_missing_or_kill_are_found() {
    let container = |s: &mut Shop| s.front["template"]["spec"]["containers"][0].take();
    breaks(
        |s| {
            let mut c = container(s);
            c.as_object_mut().unwrap().remove("readinessProbe");
            s.front["template"]["spec"]["containers"][0] = c;
        },
        "no-readiness-probe: Deployment/front none of its containers has a readiness probe",
    );
    let same = |timeout: u64| {
        move |s: &mut Shop| {
            let mut c = container(s);
            c["livenessProbe"]["httpGet"] = c["readinessProbe"]["httpGet"].clone();
            c["livenessProbe"]["timeoutSeconds"] = json!(timeout);
            s.front["template"]["spec"]["containers"][0] = c;
        }
    };
    breaks(
        same(1),
        "liveness-like-readiness: Deployment/front the liveness probe of container main asks what its readiness probe \
         asks, and gives up after 1 s (3 times in a row)",
    );
    let mut patient = healthy();
    same(5)(&mut patient);
    assert_eq!(found(&patient), []);
}

#[test]
fn autoscalers_without_a_base_or_a_second_pod_are_found() {
    breaks(
        |s| {
            s.autoscalers[0] = autoscaler(
                2,
                json!({"name": "memory", "target": {"averageUtilization": 60}}),
            )
        },
        "no-request: HorizontalPodAutoscaler/front it scales Deployment/front by memory utilization, and container main \
         has no memory request",
    );
    // A sidecar counts, an init container that ends does not.
    breaks(
        |s| {
            s.front["template"]["spec"]["initContainers"] = json!([{"name": "migrate"},
                {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"memory": "1Mi"}}}])
        },
        "no-request: HorizontalPodAutoscaler/front it scales Deployment/front by cpu utilization, and container proxy \
         has no cpu request",
    );
    // Requests of the whole pod stand for those of its containers, each where it is given.
    let mut whole = healthy();
    whole.front["template"]["spec"]["resources"] = json!({"requests": {"memory": "1Gi"}});
    for resource in ["memory", "cpu"] {
        let metric = json!({"name": resource, "target": {"averageUtilization": 60}});
        whole.autoscalers[0] = autoscaler(2, metric);
        assert_eq!(found(&whole), [], "{resource}");
    }
    breaks(
        |s| {
            s.front["template"]["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
            let metric = json!({"name": "memory", "target": {"averageUtilization": 60}});
            s.autoscalers[0] = autoscaler(2, metric);
        },
        "no-request: HorizontalPodAutoscaler/front it scales Deployment/front by memory utilization, and container main \
         has no memory request",
    );
    weakens(
        |s| s.autoscalers[0]["spec"]["minReplicas"] = json!(1),
        "scales-to-one: HorizontalPodAutoscaler/front it may scale Deployment/front down to 1 replica",
    );
    // A value, not a share of requests, needs none.
    let mut value = healthy();
    value.autoscalers[0] = autoscaler(
        2,
        json!({"name": "memory", "target": {"averageValue": "1Gi"}}),
    );
    assert_eq!(found(&value), []);
}

#[test]
fn a_healthy_shop_has_no_finding_and_only_the_request_path_is_looked_at() {
    let shop = healthy();
    let audited = audit(&objects(&shop), Some("front")).unwrap();
    assert_eq!(audited.findings, []);
    assert_eq!(audited.workloads, ["Deployment/cart", "Deployment/front"]);
    assert_eq!(audited.exit_code(), 0);
    // Cart calls nobody: a front that is broken is not on its path.
    let mut shop = healthy();
    shop.front["replicas"] = json!(1);
    let audited = audit(&objects(&shop), Some("cart")).unwrap();
    assert_eq!((audited.findings.len(), audited.workloads.len()), (0, 1));
    let whole = audit(&objects(&shop), None).unwrap();
    assert_eq!(whole.exit_code(), 1);
    insta::assert_snapshot!(text(&whole), @r"
    BREAKS  Deployment/front: it has one replica [one-replica]
            why:    When its pod dies, is evicted or loses its node, nothing answers until another is ready.
            change: set spec.replicas to 2 or more, and keep them on different nodes
    namespace shop: 2 workloads looked at (Deployment/cart, Deployment/front); findings that break availability: 1, that weaken it: 0
    ");
}

#[test]
fn what_could_not_be_looked_at_is_no_pass_and_nothing_is_made_of_it() {
    let mut unseen = objects(&healthy());
    unseen.budgets = None;
    unseen
        .unseen
        .push("could not list the disruption budgets: not allowed (403)".into());
    let audited = audit(&unseen, Some("front")).unwrap();
    assert_eq!((audited.findings.len(), audited.exit_code()), (0, 5));
    for (service, words) in [
        (Some("frnt"), "no Service frnt"),
        (None, "no Deployment, StatefulSet or DaemonSet"),
    ] {
        let empty = Objects {
            namespace: "shp".into(),
            ..Objects::default()
        };
        let error = audit(&empty, service).unwrap_err().to_string();
        assert!(
            error.contains(words) && error.contains("namespace shp"),
            "{error}"
        );
    }
}
