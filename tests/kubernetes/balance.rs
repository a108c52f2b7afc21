//! kube-proxy as the balancer under test: it chooses a pod for each connection.

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::harness::with_bed;
use crate::whole::{quick_demo, run_of};

/// The verdict on balance of a run against a Service, whole.
fn verdict(bed: &Bed, namespace: &str, service: &str, flow: &str, by: &str) -> Value {
    let text = format!(
        "squall: 1\nname: balance of {service}\nseed: 4\ntarget:\n  kubernetes: {{ kubeconfig: {}, namespace: {namespace}, service: {service}, \
         reach: cluster-ip }}\n\
         traffic:\n  browse: {{ {flow}, timeout: 5s, journey: [ get: /products ] }}\n\
         expect: [ {{ balance: {{ by: {by} }} }} ]\n",
        bed.kubeconfig.display()
    );
    let dir = tempfile::tempdir().unwrap();
    let ran = run_of(dir.path(), &text).status().expect("squall");
    let result = std::fs::read_to_string(dir.path().join("run/result.json"))
        .unwrap_or_else(|e| panic!("no result ({ran}): {e}"));
    let result: Value = serde_json::from_str(&result).unwrap();
    let mut verdicts = result["verdicts"].as_array().unwrap().iter();
    let found = verdicts.find(|v| v["oracle"] == "balance");
    found.expect("a verdict on balance").clone()
}

#[test]
#[ignore = "needs a real cluster: root, Debian"]
fn connections_through_a_service_are_spread_and_kept_ones_are_not() {
    with_bed(|bed| async move {
        let ns = &*bed.namespace("t-balance");
        let counters = tempfile::tempdir().unwrap();
        quick_demo(&bed, ns, counters.path(), &[]);
        bed.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sticky", "namespace": ns},
            "spec": {"selector": {"app": "web"}, "sessionAffinity": "ClientIP",
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
        let each = "arrivals: { rate: 150/s, hold: 20s }, connections: per-request";

        // All connections of one client to one pod.
        let sticky = verdict(&bed, ns, "sticky", each, "connection");
        assert_eq!(sticky["verdict"], "FAIL", "{sticky:#}");
        assert!(sticky.to_string().contains("client affinity"), "{sticky:#}");

        // Eight users keep eight connections: their requests go where those went.
        let kept = "users: { count: 8, hold: 10s, think: 20ms }";
        let kept = verdict(&bed, ns, "web", kept, "request");
        assert_ne!(kept["verdict"], "PASS", "{kept:#}");
        assert!(
            kept.to_string().contains("8 users pinned 8 connections"),
            "{kept:#}"
        );

        let spread = verdict(&bed, ns, "web", each, "connection");
        assert_eq!(spread["verdict"], "PASS", "{spread:#}");
    });
}
