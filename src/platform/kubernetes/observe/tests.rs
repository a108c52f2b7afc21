use super::*;
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
    let mut teller = Teller {
        observed: of("Node"),
        selector: String::new(),
        last: BTreeMap::new(),
    };
    assert_eq!(teller.told(Change::All(vec![node("True", "1")])).len(), 1);
    assert!(teller.told(Change::Applied(node("True", "2"))).is_empty());
    let events = teller.told(Change::Applied(node("Unknown", "3")));
    let [What::Object(e)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(e.facts["ready"], "Unknown");
    assert!(!e.facts.contains_key("memorypressure"));
    let gone = teller.told(Change::Deleted(node("Unknown", "4")));
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
