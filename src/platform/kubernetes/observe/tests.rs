use super::*;
use crate::record::ObjectChange;
use serde_json::json;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

fn of(kind: &str) -> &'static Observed {
    OBSERVED.iter().find(|o| o.kind == kind).expect("observed")
}

#[test]
fn a_heartbeat_is_no_change_and_a_lost_node_is() {
    let node = |ready: &str, beat: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [
            {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": beat},
            {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}}),
        )
    };
    let observed = of("Node");
    let mut teller = Teller::new("Node");
    let mut told = |change| told(&mut teller, observed, "", &change);
    assert_eq!(told(Change::All(vec![node("True", "1")])).len(), 1);
    assert!(told(Change::Applied(node("True", "2"))).is_empty());
    let events = told(Change::Applied(node("Unknown", "3")));
    let [What::Object(e)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(e.facts["ready"], "Unknown");
    assert!(!e.facts.contains_key("memorypressure"));
    let gone = told(Change::Deleted(node("Unknown", "4")));
    assert!(matches!(&gone[..], [What::Object(e)] if e.change == ObjectChange::Deleted));
}

#[test]
fn a_failed_probe_is_told_by_an_event_of_the_cluster() {
    let event = |reason: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "reason": reason, "message": "Readiness probe failed: 503", "involvedObject": {"kind": "Pod", "name": "a"}}),
        )
    };
    assert_eq!(probe_failure(&event("Unhealthy")).unwrap().0, "a");
    assert_eq!(probe_failure(&event("Killing")), None);
}

#[test]
fn who_set_the_replicas_is_told_with_them() {
    let entry = |manager: &str, time: &str, field: &str| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": {"f:spec": {field: {}}}});
    let deployment = object(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "managedFields": [
            entry("kubectl-create", "2026-01-01T00:00:00Z", "f:replicas"),
            entry("kubectl-edit", "2026-01-01T00:00:09Z", "f:template"),
            entry("kube-controller-manager", "2026-01-01T00:00:05Z", "f:replicas")]},
        "spec": {"replicas": 3}}));
    let facts = facts::facts_of(of("Deployment"), &deployment);
    assert_eq!(facts["writer"]["manager"], "kube-controller-manager");
    assert_eq!(facts["writer"]["time"], "2026-01-01T00:00:05Z");
    let bare = object(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3}}),
    );
    assert!(!facts::facts_of(of("Deployment"), &bare).contains_key("writer"));
}

#[test]
fn a_pod_is_told_with_what_it_may_use() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web-5d-x",
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"pod-template-hash": "5d"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u", "controller": true}]},
        "spec": {"nodeName": "n1",
            "initContainers": [{"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}},
                {"name": "once", "resources": {"requests": {"cpu": "1"}}}],
            "containers": [{"name": "web", "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:01Z", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:03Z"}]}}))
    .unwrap();
    let facts = facts::pod_facts(&pod);
    assert_eq!(facts["owner"], "Deployment/web");
    assert_eq!(facts["ready"], "True");
    assert_eq!(facts["ready-since"], "2026-01-01T00:00:03Z");
    let containers = facts["containers"].as_object().unwrap();
    assert_eq!(containers.keys().collect::<Vec<_>>(), ["side", "web"]);
    assert_eq!(containers["web"]["limits"]["memory"], "64Mi");
    assert!(!facts.contains_key("deleted") && !facts.contains_key("resources"));
    let mut whole = pod;
    whole.spec.as_mut().unwrap().resources =
        serde_json::from_value(json!({"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}}))
            .unwrap();
    let facts = facts::pod_facts(&whole);
    assert_eq!(facts["resources"]["requests"]["cpu"], "2");
    assert_eq!(facts["resources"]["limits"]["memory"], "1Gi");
}
