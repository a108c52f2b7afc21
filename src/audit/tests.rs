//! A healthy shop, and each way to break it.

use serde_json::{Value, json};

use super::*;

/// Front with three pods on three nodes in two zones, which calls cart with two; all as it should be.
struct Shop {
    front: Value,
    cart: Value,
    nodes: Vec<Value>,
    budgets: Vec<Value>,
    autoscalers: Vec<Value>,
    /// Where each pod runs.
    placed: Vec<(&'static str, &'static str)>,
}

fn workload(name: &str, replicas: u64, probes: Value) -> Value {
    let mut container =
        json!({"name": "main", "image": "shop", "resources": {"requests": {"cpu": "100m"}}});
    container
        .as_object_mut()
        .unwrap()
        .extend(probes.as_object().unwrap().clone());
    json!({"name": name, "replicas": replicas, "template": {
        "metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}})
}

fn probes() -> Value {
    json!({"readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "timeoutSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "timeoutSeconds": 1}})
}

fn budget(name: &str, app: &str, bound: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": app}}});
    spec.as_object_mut()
        .unwrap()
        .extend(bound.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

fn autoscaler(least: u64, metric: Value) -> Value {
    json!({"metadata": {"name": "front"}, "spec": {"minReplicas": least, "maxReplicas": 9,
        "scaleTargetRef": {"kind": "Deployment", "name": "front"}, "metrics": [{"type": "Resource", "resource": metric}]}})
}

fn healthy() -> Shop {
    let mut front = workload("front", 3, probes());
    front["template"]["spec"]["containers"][0]["args"] = json!(["--cart-url", "http://cart:80"]);
    let node = |(name, zone): (&str, &str)| {
        json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let one = json!({"maxUnavailable": 1});
    Shop {
        front,
        cart: workload("cart", 2, probes()),
        nodes: [("n1", "z1"), ("n2", "z1"), ("n3", "z2")]
            .map(node)
            .to_vec(),
        budgets: vec![
            budget("front", "front", one.clone()),
            budget("cart", "cart", one),
        ],
        autoscalers: vec![autoscaler(
            2,
            json!({"name": "cpu", "target": {"averageUtilization": 60}}),
        )],
        placed: vec![
            ("front", "n1"),
            ("front", "n2"),
            ("front", "n3"),
            ("cart", "n2"),
            ("cart", "n3"),
        ],
    }
}

fn objects(shop: &Shop) -> Objects {
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }
    let workloads = [&shop.front, &shop.cart].map(|w| Workload {
        kind: "Deployment".into(),
        name: w["name"].as_str().unwrap().into(),
        replicas: w["replicas"].as_u64().unwrap(),
        template: read(w["template"].clone()),
    });
    let pods = shop.placed.iter().enumerate().map(|(i, (app, node))| {
        let template = if *app == "front" { &shop.front } else { &shop.cart };
        let mut spec = template["template"]["spec"].clone();
        spec["nodeName"] = json!(node);
        read(json!({"metadata": {"name": format!("{app}-h-{i}"), "labels": {"app": app, "pod-template-hash": "h"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-h"), "uid": "u", "controller": true}]},
            "spec": spec, "status": {"phase": "Running"}}))
    });
    let service =
        |name: &str| read(json!({"metadata": {"name": name}, "spec": {"selector": {"app": name}}}));
    Objects {
        namespace: "shop".into(),
        services: vec![service("front"), service("cart")],
        workloads: workloads.to_vec(),
        pods: pods.collect(),
        nodes: shop.nodes.iter().cloned().map(read).collect(),
        budgets: Some(shop.budgets.iter().cloned().map(read).collect()),
        empty_selects_all: true,
        autoscalers: shop.autoscalers.clone(),
        unseen: Vec::new(),
    }
}

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
