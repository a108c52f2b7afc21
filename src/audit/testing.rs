//! A healthy shop, to be broken by tests.

use serde_json::{Value, json};

use crate::audit::{Objects, Workload};

/// Front with three pods on three nodes in two zones, which calls cart with two; all as it should be.
pub struct Shop {
    pub front: Value,
    pub cart: Value,
    pub nodes: Vec<Value>,
    pub budgets: Vec<Value>,
    pub autoscalers: Vec<Value>,
    /// Where each pod runs.
    pub placed: Vec<(&'static str, &'static str)>,
}

pub fn workload(name: &str, replicas: u64, probes: Value) -> Value {
    let mut container =
        json!({"name": "main", "image": "shop", "resources": {"requests": {"cpu": "100m"}}});
    container
        .as_object_mut()
        .unwrap()
        .extend(probes.as_object().unwrap().clone());
    json!({"name": name, "replicas": replicas, "template": {
        "metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}})
}

pub fn probes() -> Value {
    json!({"readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "timeoutSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "timeoutSeconds": 1}})
}

pub fn budget(name: &str, app: &str, bound: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": app}}});
    spec.as_object_mut()
        .unwrap()
        .extend(bound.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

pub fn autoscaler(least: u64, metric: Value) -> Value {
    json!({"metadata": {"name": "front"}, "spec": {"minReplicas": least, "maxReplicas": 9,
        "scaleTargetRef": {"kind": "Deployment", "name": "front"}, "metrics": [{"type": "Resource", "resource": metric}]}})
}

pub fn healthy() -> Shop {
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

pub fn objects(shop: &Shop) -> Objects {
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
